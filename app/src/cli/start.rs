//! `trainyard start`, `export`, `rollback` and `unsafe-reset-all`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use color_eyre::eyre::{Result, WrapErr as _, eyre};
use serde_json::json;
use trainyard_modules::upgrade::Binary;

use super::Global;
use super::logging::{LogFilter, LogFormat};
use crate::abci::Address;
use crate::node::genesis::GenesisDoc;
use crate::node::home::Home;
use crate::node::{self, Ending};

#[derive(Debug, Args)]
pub(super) struct Start {
    /// Serve the application only; CometBFT is run by someone else
    #[arg(long)]
    abci_only: bool,
    /// Where the application listens: unix:///path or tcp://host:port [default: a unix socket in the home]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Address>,
    /// Stop after committing this height
    #[arg(long, value_name = "HEIGHT")]
    halt_height: Option<u64>,
    /// What is logged: a level (off, error, warn, info, debug, trace), and perhaps others for parts of the node, as in
    /// info,cometbft=debug,abci=off; from debug on CometBFT tells more as well
    #[arg(long, env = "TRAINYARD_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    pub(super) log_level: LogFilter,
    /// Lines for people, or JSON for programs
    #[arg(long, env = "TRAINYARD_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,
}

pub(super) fn start(global: &Global, start: Start, binary: &'static Binary) -> Result<()> {
    let home = Home::new(&global.home()?)?;
    let options = node::Options {
        binary,
        abci_only: start.abci_only,
        address: start.address,
        halt_height: start.halt_height,
        comet_log_level: start.log_level.comet_level().map(str::to_owned),
        structured: start.log_format == LogFormat::Json,
    };
    match node::run(&home, &options)? {
        Ending::Stopped => tracing::info!(target: "node", "stopped"),
        Ending::Halted(height) => tracing::info!(target: "node", height, "halted as asked"),
    }
    Ok(())
}

/// For ourselves: see [`node::become_child`].
#[derive(Debug, Args)]
pub(super) struct Child {
    parent: i32,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn become_child(child: &Child) -> Result<()> {
    match node::become_child(child.parent, child.program.clone(), &child.arguments)? {}
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write to a file instead of stdout
    #[arg(long, value_name = "FILE")]
    output_document: Option<PathBuf>,
}

/// Forgets what a stopped node knows of its chain, so that it can start from another genesis.
pub(super) fn reset(global: &Global) -> Result<()> {
    let home = Home::new(&global.home()?)?;
    node::reset(&home)?;
    global.print(&json!({"home": home.path(), "forgotten": "blocks, state and votes", "kept": "keys and settings"}))
}

/// Prints the latest state as the genesis of a chain that continues this one, under the id given by `--chain-id`. The node must
/// be stopped.
pub(super) fn export(global: &Global, export: Export, binary: &'static Binary) -> Result<()> {
    let home = Home::new(&global.home()?)?;
    let app = node::open(&home, binary)?;
    let last = app
        .last_block()
        .ok_or_else(|| eyre!("there is nothing to export before block 1"))?;
    let mut genesis = GenesisDoc::load(&home)?;
    genesis.app_state = app.export()?;
    genesis.continue_after(&last, global.chain_id.as_deref())?;
    match export.output_document {
        Some(path) => {
            std::fs::write(&path, genesis.to_json() + "\n").wrap_err_with(|| path.display().to_string())?;
        }
        None => println!("{}", genesis.to_json()),
    }
    Ok(())
}

/// Takes back the last block, which is executed again at the next start. The node must be stopped.
pub(super) fn rollback(global: &Global, binary: &'static Binary) -> Result<()> {
    let home = Home::new(&global.home()?)?;
    let height = node::rollback(&home, binary)?;
    global.print(&json!({ "height": height }))
}
