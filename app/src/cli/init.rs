//! `trainyard init`

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::Args;
use color_eyre::eyre::{Result, ensure};
use serde_json::json;

use super::Global;
use crate::node::comet_config::{CometConfig, parse_block_time};
use crate::node::genesis::GenesisDoc;
use crate::node::home::Home;
use crate::node::settings::{CACHE_MB, Doors};

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
    };
    home.create(&config, CACHE_MB, &Doors::beside(config.rpc), &genesis)?;
    global.print(&json!({
        "home": home.path(),
        "chain_id": chain_id,
        "moniker": init.moniker,
        "node_id": home.identity()?.node_id,
    }))
}
