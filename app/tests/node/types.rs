//! Every type of node, started once: a validator, an archive, a seed, and a full node that knows nobody but the seed.

use tendermint_rpc::query::Query;
use tendermint_rpc::{Client as _, HttpClient, Order};
use trainyard_app::node::gentx;
use trainyard_app::node::settings::{NodeType, Settings};
use trainyard_app::testing::network::Node;
use trainyard_proto::address::Address;
use trainyard_proto::cosmos::bank::v1beta1::{QueryBalanceRequest, QueryBalanceResponse};
use trainyard_proto::prost::Message as _;

use super::{LONG_PATIENCE, balance, network, send, signer};

const BOB: Address = Address([5; 20]);

/// What a node says that bob had after a height; what it refuses with otherwise.
async fn balance_at(node: &Node, height: u64) -> Result<u64, String> {
    let request = QueryBalanceRequest {
        address: BOB.to_string(),
        denom: "utrain".into(),
    };
    let path = Some("/cosmos.bank.v1beta1.Query/Balance".to_owned());
    let rpc = HttpClient::new(node.rpc.as_str()).unwrap();
    let height = tendermint::block::Height::try_from(height).unwrap();
    let answer = rpc
        .abci_query(path, request.encode_to_vec(), Some(height), false)
        .await
        .unwrap();
    if answer.code.is_err() {
        return Err(answer.log);
    }
    let answer = QueryBalanceResponse::decode(answer.value.as_slice()).unwrap();
    Ok(answer.balance.unwrap().amount.parse().unwrap())
}

/// Transactions that a node finds by their sender, if it has an index.
async fn found(node: &Node, sender: Address) -> Option<u32> {
    let rpc = HttpClient::new(node.rpc.as_str()).unwrap();
    let query = Query::eq("transfer.sender", sender.to_string());
    Some(
        rpc.tx_search(query, false, 1, 10, Order::Ascending)
            .await
            .ok()?
            .total_count,
    )
}

#[tokio::test]
async fn every_type_of_node_does_what_it_is_for() {
    let mut network = network(1);
    network.wait_height(1, LONG_PATIENCE).await;
    let alice = signer(&network, network.client(), "alice");
    let first = alice.send(send(alice.address(), BOB, 5)).await.unwrap().height;

    network.add_node(NodeType::Validator).start(&[]);
    network.add_node(NodeType::Archive).start(&[]);
    network.add_node(NodeType::Seed).start(&[]);
    network.wait_height(first + 1, LONG_PATIENCE).await;

    // Who is told of the seed alone finds the others through it. The variable is CometBFT's own.
    let seed = gentx::peer(&network.nodes[3].home, None).unwrap();
    let stranger = network.add_full_node();
    stranger.home.set_peers(&[]).unwrap();
    stranger.environment = vec![("CMT_P2P_SEEDS".into(), seed)];
    stranger.start(&[]);
    stranger.wait_height(first + 1, LONG_PATIENCE).await;
    assert_eq!(balance(&stranger.client(), BOB).await, 5);

    let second = alice.send(send(alice.address(), BOB, 6)).await.unwrap().height;
    network.wait_height(second + 5, LONG_PATIENCE).await;
    let [_, validator, archive, seed, full] = network.nodes.as_slice() else {
        panic!("five nodes")
    };
    for node in [validator, archive, full] {
        assert_eq!(balance_at(node, first).await, Ok(5), "{}", node.rpc);
    }
    // A seed forgets: only the last heights can be asked for.
    let refused = balance_at(seed, first).await.unwrap_err();
    assert!(refused.contains(&format!("height {first}")), "{refused}");
    assert_eq!(balance(&seed.client(), BOB).await, 11);

    for (node, count) in [(archive, Some(2)), (full, Some(2)), (validator, None), (seed, None)] {
        assert_eq!(
            found(node, alice.address()).await,
            count,
            "{}",
            node.home.path().display()
        );
    }
    let kept = |node: &Node| Settings::load(&node.home).unwrap().heights();
    assert_eq!(
        [validator, archive, seed, full].map(kept),
        [Some(362_880), None, Some(2), Some(362_880)]
    );
    for node in &mut network.nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    }
}
