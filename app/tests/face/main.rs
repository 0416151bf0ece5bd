//! The chain as the tools of Cosmos see it, on a real network.

mod doors;
mod readers;
mod wire;

use std::time::Duration;

use trainyard_app::node::settings::Doors;
use trainyard_app::testing::network::Network;
use trainyard_client::signer::{FeePolicy, Gas, Price, Signer};
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

/// Longest a chain of these tests may take for what it does in a second.
const PATIENCE: Duration = Duration::from_secs(60);
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
