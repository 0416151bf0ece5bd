//! What an operator does: state sync, rollback, metrics.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use tendermint::block::Height;
use tendermint_rpc::{Client as _, HttpClient};
use trainyard_app::node::comet_config::StateSync;
use trainyard_app::node::home::Home;
use trainyard_app::testing::network::{Network, Node};
use trainyard_app::testing::prometheus;
use trainyard_proto::address::Address;
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

use super::{LONG_PATIENCE, balance, send, signer};

/// Changes lines of a home's `app.toml`.
pub(super) fn configure(home: &Home, changes: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(home.app_toml()).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text = text.replace(from, to);
    }
    std::fs::write(home.app_toml(), text).unwrap();
}

/// The hash of a header and the app hash in it.
pub(super) async fn header(node: &Node, height: u64) -> (String, String) {
    let rpc = HttpClient::new(node.rpc.as_str()).unwrap();
    let commit = rpc.commit(Height::try_from(height).unwrap()).await.unwrap();
    let header = commit.signed_header.header;
    (header.hash().to_string(), header.app_hash.to_string())
}

/// Where a running node, whose settings say so, tells its metrics and its health.
pub(super) fn metrics_of(node: &Node) -> String {
    let log = node.log();
    let said = log
        .lines()
        .find_map(|line| line.split_once("metrics and health at http://"));
    said.expect("the log says where the metrics are").1.trim().to_owned()
}

pub(super) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_node_joins_by_state_sync_and_follows() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |plan| {
        plan.accounts = vec![("alice".into(), 1000 * UTRAIN_PER_TRAIN)];
    });
    // Heights pass quickly here: snapshots are kept until somebody has had time to fetch them.
    let changes = [
        ("snapshot_interval = 1000", "snapshot_interval = 10"),
        ("snapshot_keep = 2", "snapshot_keep = 10000"),
    ];
    configure(&network.nodes[0].home, &changes);
    network.nodes[0].start(&[]);
    network.wait_height(1, LONG_PATIENCE).await;
    let bob = Address([5; 20]);
    let alice = signer(&network, network.client(), "alice");
    alice.send(send(alice.address(), bob, 77)).await.unwrap();
    network.wait_height(13, LONG_PATIENCE).await;
    let (hash, _) = header(&network.nodes[0], 2).await;
    let servers = vec![network.nodes[0].rpc.clone(); 2];

    let full = network.add_full_node();
    full.home
        .set_state_sync(&StateSync {
            servers,
            height: 2,
            hash,
        })
        .unwrap();
    configure(&full.home, &[("metrics = \"\"", "metrics = \"127.0.0.1:0\"")]);
    full.start(&[]);
    full.wait_height(20, LONG_PATIENCE).await;
    let log = full.log();
    assert!(
        log.contains("snapshot restored") && !log.contains("height=3 "),
        "it executed the blocks:\n{log}"
    );
    assert_eq!(balance(&full.client(), bob).await, 77);
    let height = full.height().await.unwrap() + 3;
    network.wait_height(height, LONG_PATIENCE).await;
    let (ours, theirs) = (&network.nodes[0], &network.nodes[1]);
    assert_eq!(header(ours, height).await, header(theirs, height).await);

    let address = &metrics_of(theirs);
    assert!(get(address, "/health").starts_with("HTTP/1.1 200"));
    let metrics = get(address, "/metrics");
    let samples = prometheus::read(metrics.split_once("\r\n\r\n").unwrap().1);
    let value = |name: &str| {
        samples
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
    };
    assert!(value("trainyard_height") >= 20.0);
    assert!(value("trainyard_abci_seconds_count{call=\"ApplySnapshotChunk\"}") >= 1.0);
    assert!(value("trainyard_abci_seconds_count{call=\"FinalizeBlock\"}") >= 1.0);
    assert!(value("trainyard_module_balance_utrain{account=\"bonded_tokens_pool\"}") > 0.0);
    assert!(value("trainyard_disk_bytes{folder=\"application.db\"}") > 0.0);
    assert!(value("trainyard_disk_bytes{folder=\"blockstore.db\"}") > 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(
        samples
            .keys()
            .any(|name| name.starts_with("trainyard_events_total{type="))
    );
}

#[tokio::test]
async fn the_last_block_is_taken_back_and_executed_again() {
    let mut network = super::network(1);
    network.wait_height(4, LONG_PATIENCE).await;
    let bob = Address([6; 20]);
    let alice = signer(&network, network.client(), "alice");
    let sent = alice.send(send(alice.address(), bob, 5)).await.unwrap().height;
    network.wait_height(sent + 1, LONG_PATIENCE).await;
    let node = &mut network.nodes[0];
    let rollback = |home: &Home| {
        let output = Command::new(env!("CARGO_BIN_EXE_trainyard"))
            .args(["rollback", "--output", "json", "--home"])
            .arg(home.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), text)
    };
    let (done, text) = rollback(&node.home);
    assert!(!done && text.contains("stop it first"), "{text}");

    assert_eq!(node.stop().code(), Some(0));
    let (done, text) = rollback(&node.home);
    assert!(done, "{text}");
    let back = serde_json::from_str::<Value>(&text).unwrap()["height"]
        .as_u64()
        .unwrap();
    assert!(back >= sent, "{back} is below {sent}");
    node.start(&[]);
    node.wait_height(back + 3, LONG_PATIENCE).await;
    assert_eq!(balance(&node.client(), bob).await, 5);
    assert!(
        node.log().contains(&format!("height={} ", back + 1)),
        "block {} was not executed again:\n{}",
        back + 1,
        node.log()
    );
}
