//! Several nodes.

use trainyard_proto::address::Address;

use super::{PATIENCE, app_hash, balance, network, send, signer};

#[tokio::test]
async fn four_validators_agree_and_do_without_one() {
    let mut network = network(4);
    let bob = Address([9; 20]);
    // Sent to one node, seen by all.
    let alice = signer(&network, network.nodes[3].client(), "alice");
    network.wait_height(1, PATIENCE).await;
    let sent = alice.send(send(alice.address(), bob, 5)).await.unwrap().height;

    network.nodes[0].kill();
    let alice = signer(&network, network.nodes[1].client(), "alice");
    let sent_without = alice.send(send(alice.address(), bob, 6)).await.unwrap().height;
    network.nodes[0].start(&[]);
    network.wait_height(sent_without + 2, PATIENCE).await;
    for height in [sent + 1, sent_without + 1] {
        let hash = app_hash(&network.nodes[0], height).await;
        for node in &network.nodes[1..] {
            assert_eq!(app_hash(node, height).await, hash, "height {height}");
        }
    }
    for node in &network.nodes {
        assert_eq!(balance(&node.client(), bob).await, 11);
    }
    for node in &mut network.nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    }
}

#[tokio::test]
async fn a_node_dropped_after_init_chain_recovers() {
    let mut network = network(1);
    network.wait_height(3, PATIENCE).await;
    // Without a peer it gets as far as InitChain and no further.
    assert_eq!(network.nodes[0].stop().code(), Some(0));
    let full = network.add_full_node();
    full.start(&[]);
    full.wait_height(0, PATIENCE).await;
    assert!(
        full.log().contains("new chain") && !full.log().contains("height=1"),
        "{}",
        full.log()
    );
    full.kill();
    for node in &mut network.nodes {
        node.start(&[]);
    }
    let alice = signer(&network, network.client(), "alice");
    network.wait_height(1, PATIENCE).await;
    let sent = alice
        .send(send(alice.address(), Address([9; 20]), 5))
        .await
        .unwrap()
        .height;
    network.wait_height(sent + 1, PATIENCE).await;
    for height in [2, 3, sent + 1] {
        let (own, others) = (
            app_hash(&network.nodes[1], height).await,
            app_hash(&network.nodes[0], height).await,
        );
        assert_eq!(own, others, "height {height}");
    }
    assert!(network.nodes[1].log().contains("new chain"));
}
