//! `trainyard init`

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::Args;
use color_eyre::eyre::{Result, ensure};
use serde_json::json;

use super::Global;
use crate::node::comet_config::{CometConfig, StateSync, parse_block_time};
use crate::node::genesis::GenesisDoc;
use crate::node::home::Home;
use crate::node::settings::{CACHE_MB, Doors, NodeType};

/// Longest name of a node, bytes: the bound on a validator's moniker.
const MAX_MONIKER: usize = 70;
/// The chain of those who did not say which.
const DEFAULT_CHAIN: &str = "trainyard-local";

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The node's name among its peers
    moniker: String,
    /// Blocks of an epoch [default: 100]
    #[arg(long, value_name = "BLOCKS")]
    epoch_blocks: Option<u64>,
    /// Time between blocks; below 1s only for local networks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_block_time)]
    block_time: Duration,
    /// Port for peers, on all interfaces; RPC is on the next one, on this machine only; gRPC and REST on 9090 and 1317, or on
    /// the two after RPC where this is not the usual port
    #[arg(long, value_name = "PORT", default_value_t = 26656, value_parser = clap::value_parser!(u16).range(1..65535))]
    base_port: u16,
    /// What the node is there for
    #[arg(long, value_name = "TYPE", value_enum, default_value_t)]
    node_type: NodeType,
    /// Start from a snapshot of the peers' state; headers are checked with these RPC servers, two or more
    #[arg(
        long,
        value_name = "URL,URL",
        value_delimiter = ',',
        requires = "trust_height",
        requires = "trust_hash"
    )]
    state_sync: Vec<String>,
    /// Height of a block that you trust, for --state-sync
    #[arg(long, value_name = "HEIGHT", requires = "state_sync")]
    trust_height: Option<u64>,
    /// Hash of that block's header, hex
    #[arg(long, value_name = "HASH", requires = "state_sync")]
    trust_hash: Option<String>,
}

pub(super) fn run(global: &Global, init: &Init) -> Result<()> {
    let found = init.moniker.len();
    ensure!(
        (1..=MAX_MONIKER).contains(&found),
        "the moniker has {found} bytes, expected 1 to {MAX_MONIKER}"
    );
    let chain_id = global.chain_id.as_deref().unwrap_or(DEFAULT_CHAIN);
    let home = Home::new(&global.home()?)?;
    let genesis = GenesisDoc::new(chain_id, init.epoch_blocks)?;
    let config = CometConfig {
        moniker: init.moniker.clone(),
        block_time: init.block_time,
        p2p: (IpAddr::from(Ipv4Addr::UNSPECIFIED), init.base_port).into(),
        rpc: (IpAddr::from(Ipv4Addr::LOCALHOST), init.base_port + 1).into(),
        local: false,
        node_type: init.node_type,
    };
    home.create(&config, CACHE_MB, &Doors::beside(config.rpc), &genesis)?;
    if let (Some(height), Some(hash)) = (init.trust_height, &init.trust_hash) {
        let hash = hash.clone();
        let servers = init.state_sync.clone();
        home.set_state_sync(&StateSync { servers, height, hash })?;
    }
    global.print(&json!({
        "home": home.path(),
        "chain_id": chain_id,
        "moniker": init.moniker,
        "node_id": home.identity()?.node_id,
    }))
}
