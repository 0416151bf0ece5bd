//! Nodes as processes, on real CometBFT. Where it is missing these tests fail and say so.

mod consensus;
mod continued;
mod crash;
mod disk;
mod lifecycle;
mod light;
mod load;
mod operate;
mod peers;
mod replay;
mod service;
mod slashing;
mod sync;
mod types;
mod upgrade;

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tendermint::block::Height;
use tendermint_rpc::{Client as _, HttpClient};
use trainyard_app::node::genesis::GenesisDoc;
use trainyard_app::testing::network::{Network, Node};
use trainyard_client::rpc::Client;
use trainyard_client::signer::{FeePolicy, Gas, GasPrice, Price, Signer};
use trainyard_modules::machine::Genesis;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::{self, UTRAIN_PER_TRAIN};
use trainyard_proto::cosmos::bank::v1beta1::{
    MsgSend, QueryBalanceRequest, QueryBalanceResponse, QuerySupplyOfRequest, QuerySupplyOfResponse,
};

/// Longest a chain of these tests may take for what it does in a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest it may take for what it does in ten or twenty seconds.
const LONG_PATIENCE: Duration = Duration::from_secs(180);

/// A running network where `alice` has 1000 TRAIN.
fn network(validators: u8) -> Network {
    Network::start(env!("CARGO_BIN_EXE_trainyard"), validators, |plan| {
        plan.accounts = vec![("alice".into(), 1000 * UTRAIN_PER_TRAIN)];
    })
}

/// Changes the genesis of a network that has not started.
fn change_genesis(network: &Network, change: impl FnOnce(&mut Genesis)) {
    let mut genesis = GenesisDoc::load(&network.nodes[0].home).unwrap();
    change(&mut genesis.app_state);
    for node in &network.nodes {
        genesis.save(&node.home).unwrap();
    }
}

/// Runs a command for an account of the network, at one of its nodes; gives its JSON, or what it complains of.
fn command(network: &Network, node: &Node, arguments: &[&str]) -> Result<Value, String> {
    let keys = network.keys().to_str().unwrap();
    let common = [
        "--node",
        &node.rpc,
        "--keyring-backend",
        "test",
        "--output",
        "json",
        "--home",
        keys,
    ];
    run(&[arguments, &common].concat()).map(|out| serde_json::from_str(&out).unwrap())
}

/// Runs a command; gives what it prints, or what it complains of.
fn run(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// Asks until there is an answer; what is waited for is named when it takes longer than `patience`.
async fn wait_for<T>(what: &str, patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} for {what} in vain");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The app hash that a node has in its header of `height`.
async fn app_hash(node: &Node, height: u64) -> Vec<u8> {
    let rpc = HttpClient::new(node.rpc.as_str()).unwrap();
    let block = rpc.block(Height::try_from(height).unwrap()).await.unwrap().block;
    block.header.app_hash.as_bytes().to_vec()
}

/// Sees that all running nodes have the same state after `height`.
async fn assert_agreement(network: &mut Network, height: u64) {
    network.wait_height(height + 1, LONG_PATIENCE).await;
    let expected = app_hash(&network.nodes[0], height + 1).await;
    for node in &network.nodes {
        assert_eq!(app_hash(node, height + 1).await, expected, "{} at {height}", node.rpc);
    }
}

/// Sends for an account of the network; the gas limit is given, for a simulation is not what is tested.
fn signer(network: &Network, client: Client, name: &str) -> Signer {
    let fees = FeePolicy {
        gas: Gas::Limit(1_000_000),
        price: Price::Fixed(GasPrice(1000)),
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

async fn supply(client: &Client) -> u64 {
    let request = QuerySupplyOfRequest {
        denom: coin::DENOM.into(),
    };
    let answer: QuerySupplyOfResponse = client
        .query("/cosmos.bank.v1beta1.Query/SupplyOf", &request)
        .await
        .unwrap();
    coin::parse_utrain(answer.amount.as_ref()).unwrap()
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
