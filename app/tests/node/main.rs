//! Nodes as processes, on real CometBFT. Where it is missing these tests fail and say so.

mod crash;
mod disk;
mod governance;
mod lifecycle;
mod load;
mod peers;
mod replay;

use std::fs::File;
use std::time::{Duration, Instant};

use trainyard_app::testing::network::{Network, Node};
use trainyard_client::rpc::Client;
use trainyard_client::signer::{FeePolicy, Gas, GasPrice, Signer};
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::{self, UTRAIN_PER_TRAIN};
use trainyard_proto::cosmos::bank::v1beta1::{MsgSend, QueryBalanceRequest, QueryBalanceResponse};

/// Longest a chain of these tests may take for what it does in a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running network where `alice` has 1000 TRAIN.
fn network(validators: u8) -> Network {
    Network::start(env!("CARGO_BIN_EXE_trainyard"), validators, |plan| {
        plan.accounts = vec![("alice".into(), 1000 * UTRAIN_PER_TRAIN)];
    })
}

/// Sends for an account of the network; the gas limit is given, for a simulation is not what is tested.
fn signer(network: &Network, client: Client, name: &str) -> Signer {
    let fees = FeePolicy {
        gas: Gas::Limit(200_000),
        price: GasPrice(1000),
    };
    Signer::new(client, network.key(name), &network.plan.chain_id, fees, PATIENCE)
}

fn send(from: Address, to: Address, amount: u64) -> Vec<Any> {
    vec![any::pack(&MsgSend {
        from_address: from.to_string(),
        to_address: to.to_string(),
        amount: vec![coin::utrain(amount)],
    })]
}

async fn balance(client: &Client, owner: Address) -> u64 {
    let request = QueryBalanceRequest {
        address: owner.to_string(),
        denom: coin::DENOM.into(),
    };
    let path = "/cosmos.bank.v1beta1.Query/Balance";
    let answer: QueryBalanceResponse = client.query(path, &request).await.unwrap();
    coin::parse_utrain(answer.balance.as_ref()).unwrap()
}

/// Waits until no CometBFT runs on a node's home: it holds the lock as long as it lives.
fn wait_comet_gone(node: &Node, patience: Duration) {
    let lock = File::open(node.home.data().join("cometbft.lock")).unwrap();
    let start = Instant::now();
    while lock.try_lock().is_err() {
        assert!(start.elapsed() < patience, "CometBFT still runs after {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The process id of a running node's CometBFT, its only child.
fn comet_pid(node: &Node) -> i32 {
    let pid = node.pid().unwrap();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}
