//! The chain as the tools of Cosmos see it: programs that nobody wrote for Trainyard, on a real network. Where one of them is
//! missing these tests fail and say so; `scripts/setup` fetches them.

mod cosmjs;
mod doors;
mod grpcurl;
mod habits;
mod readers;
mod wire;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use trainyard_app::node::settings::Doors;
use trainyard_app::testing::network::Network;
use trainyard_client::signer::{FeePolicy, Gas, Price, Signer};
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

/// Longest a chain of these tests may take for what it does in a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest a tool may take.
const TOOL_PATIENCE: Duration = Duration::from_secs(180);

/// A running network of one validator with short epochs, where alice, bob and carol have money.
async fn network() -> Network {
    let mut network = Network::start(env!("CARGO_BIN_EXE_trainyard"), 1, |plan| {
        let rich = 100_000 * UTRAIN_PER_TRAIN;
        plan.accounts = ["alice", "bob", "carol"].map(|name| (name.into(), rich)).to_vec();
        plan.epoch_blocks = Some(5);
    });
    network.wait_height(7, PATIENCE).await; // The first epoch is over.
    network
}

/// Sends for an account of the network.
fn signer(network: &Network, name: &str) -> Signer {
    let fees = FeePolicy {
        gas: Gas::Auto { percent: 150 },
        price: Price::Auto,
    };
    let chain = &network.plan.chain_id;
    Signer::new(network.client(), network.key(name), chain, fees, PATIENCE)
}

/// Where the first node of a network serves gRPC and REST.
fn doors_of(network: &Network) -> Doors {
    let listens = network.nodes[0].home.listens().unwrap();
    Doors::beside(listens.rpc.parse().unwrap())
}

/// Where `scripts/setup` keeps what it fetches.
fn cache() -> PathBuf {
    std::env::var_os("TRAINYARD_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache/trainyard"),
        PathBuf::from,
    )
}

/// Runs a tool; gives what it printed. Panics when it fails, or takes too long.
fn run(tool: &mut Command) -> String {
    let name = format!("{tool:?}");
    let mut child = tool
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{name}: {e}; scripts/setup fetches what tests need"));
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > TOOL_PATIENCE {
            let _ = child.kill();
            break child.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    assert!(
        status.success(),
        "{name} ended with {status} after {:?}:\n{out}{err}",
        start.elapsed()
    );
    out
}
