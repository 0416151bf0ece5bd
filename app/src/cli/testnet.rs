//! `trainyard testnet`

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use color_eyre::eyre::Result;
use serde_json::json;
use trainyard_proto::coin;

use super::Global;
use crate::node::comet_config::parse_block_time;
use crate::node::localnet::Plan;

#[derive(Debug, Args)]
pub(super) struct Testnet {
    /// Folder to make: node0/, node1/, … and keys/
    #[arg(long, short, value_name = "FOLDER")]
    dir: PathBuf,
    /// How many validators
    #[arg(long, default_value_t = 4)]
    validators: u8,
    /// A further account with a key of that name, as alice=1000TRAIN; can be given several times
    #[arg(long = "account", value_name = "NAME=AMOUNT", value_parser = account)]
    accounts: Vec<(String, u64)>,
    /// Time between blocks
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_block_time)]
    block_time: Duration,
    /// Blocks of an epoch [default: 100]
    #[arg(long, value_name = "BLOCKS")]
    epoch_blocks: Option<u64>,
    /// Address of the first validator; the others follow
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST)]
    base_ip: Ipv4Addr,
    /// Port for peers, the same on every address; RPC is on the next one
    #[arg(long, value_name = "PORT", default_value_t = 26656)]
    base_port: u16,
}

fn account(text: &str) -> Result<(String, u64), String> {
    let (name, amount) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=AMOUNT, as alice=1000TRAIN"))?;
    let amount = coin::parse_human(amount).map_err(|e| e.to_string())?;
    Ok((name.into(), amount))
}

pub(super) fn run(global: &Global, testnet: Testnet) -> Result<()> {
    let plan = Plan {
        folder: testnet.dir,
        chain_id: global.chain_id.clone().unwrap_or_else(|| "trainyard-local".into()),
        validators: testnet.validators,
        base_ip: testnet.base_ip,
        base_port: testnet.base_port,
        block_time: testnet.block_time,
        epoch_blocks: testnet.epoch_blocks,
        accounts: testnet.accounts,
    };
    let network = plan.create()?;
    let nodes: Vec<_> = network
        .nodes
        .iter()
        .map(|node| {
            json!({
                "start": format!("trainyard start --home {}", node.home.path().display()),
                "rpc": node.rpc,
            })
        })
        .collect();
    global.print(&json!({
        "chain_id": plan.chain_id,
        "validators": nodes,
        "keys_in_plain_text": format!("trainyard keys list --home {} --keyring-backend test", network.keys.display()),
    }))
}
