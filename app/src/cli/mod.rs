//! The command line: one file per group of commands.
//!
//! | file | commands |
//! |---|---|
//! | `keys` | `keys add list show parse multisig delete rename export import` |
//! | `model` | `model new inspect` |
//! | `data` | `data pack inspect serve` |
//! | `job/` | `job post watch show fetch cancel explain` |
//! | `explain` | `explain job node validator account`: why things stand as they stand |
//! | `tx` | `tx bank staking registry`: build, sign, send |
//! | `query` | `query`: ask a node |
//! | `light` | `light`: ask a node without trusting it; `receipt export verify`: results in files |
//! | `init` | `init`: a node's home |
//! | `config` | `config get set view`: what is not said with every command |
//! | `genesis` | `genesis add-account gentx collect-gentxs validate` |
//! | `start` | `start`: run a node; `export` its state; `rollback` its last block; `unsafe-reset-all` |
//! | `status` | `status` of a node |
//! | `chain_info` | `chain-info`: what wallets and registries are told of the chain |
//! | `testnet` | `testnet`: homes of several validators on one machine |
//! | `output` | results as text or JSON |
//! | `logging` | what is logged, and how |

mod chain_info;
mod config;
mod data;
mod explain;
mod genesis;
mod init;
mod job;
mod keys;
mod light;
mod logging;
mod model;
mod output;
mod query;
mod start;
mod status;
mod testnet;
mod tx;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use color_eyre::eyre::{Result, WrapErr as _, eyre};
use tracing::level_filters::LevelFilter;
use trainyard_client::keys::{Backend, Keyring};
use trainyard_client::rpc::Client;
use trainyard_modules::upgrade::Binary;
use trainyard_proto::address::Address;

pub use output::Format;

use self::logging::{LogFilter, LogFormat};
use crate::node::CHILD_COMMAND;
use crate::node::home::Home;

/// Where a node of this machine serves RPC unless told otherwise.
const DEFAULT_RPC: &str = "127.0.0.1:26657";

/// A blockchain that trains machine-learning models.
#[derive(Debug, Parser)]
#[command(name = "trainyard", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// Folder of keys, data and node [default: ~/.trainyard]
    #[arg(
        long,
        global = true,
        env = "TRAINYARD_HOME",
        value_name = "FOLDER",
        hide_env_values = true
    )]
    home: Option<PathBuf>,
    /// RPC address of the node to talk to [default: the home's node, else http://127.0.0.1:26657]
    #[arg(long, global = true, env = "TRAINYARD_NODE", value_name = "URL")]
    node: Option<String>,
    /// Chain id to sign for [default: the node's]
    #[arg(long, global = true, env = "TRAINYARD_CHAIN_ID", value_name = "ID")]
    chain_id: Option<String>,
    /// Where keys are kept: encrypted with a password, or in plain text for throw-away networks
    #[arg(
        long,
        global = true,
        env = "TRAINYARD_KEYRING_BACKEND",
        value_name = "BACKEND",
        default_value = "file"
    )]
    keyring_backend: KeyringBackend,
    /// How results are printed
    #[arg(
        long,
        short,
        global = true,
        env = "TRAINYARD_OUTPUT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeyringBackend {
    File,
    Test,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Manage account keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Write a built-in model as ONNX, or look into one
    #[command(subcommand)]
    Model(model::Command),
    /// Turn data into shards and manifests, or look into them
    #[command(subcommand)]
    Data(data::Command),
    /// Post jobs, follow them, fetch their models
    #[command(subcommand)]
    Job(job::Command),
    /// Say in sentences why things stand as they stand
    #[command(subcommand)]
    Explain(explain::Command),
    /// Send transactions
    Tx(tx::Tx),
    /// Ask the chain
    #[command(visible_alias = "q")]
    Query(query::Query),
    /// Ask the chain without trusting a node
    #[command(subcommand)]
    Light(light::Command),
    /// Files that prove a job's result without a node
    #[command(subcommand)]
    Receipt(light::Receipts),
    /// Settings of the home's user: node, chain, keyring, form of results
    #[command(subcommand)]
    Config(config::Command),
    /// Make a node's home
    Init(init::Init),
    /// Write the genesis of a chain
    #[command(subcommand)]
    Genesis(genesis::Command),
    /// Run a node: the application and CometBFT as its child
    Start(start::Start),
    /// Become the CometBFT of a running node
    #[command(name = CHILD_COMMAND, hide = true)]
    RunCometbft(start::Child),
    /// Print a stopped node's state as the genesis of a chain that continues it, under the name given by --chain-id
    Export(start::Export),
    /// Take back a stopped node's last block, to execute it again
    Rollback,
    /// Make a stopped node forget blocks, state and votes, to start from another genesis. Keys and settings stay. A validator
    /// whose chain goes on may vote twice after it, and is slashed for that
    UnsafeResetAll,
    /// Make the homes of several validators on this machine
    Testnet(testnet::Testnet),
    /// Show the node's status
    Status,
    /// Print what wallets and registries are told of the chain: for the chain registry and for Keplr
    ChainInfo(chain_info::ChainInfo),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// Runs the command line of this process, which is the program `binary`.
pub fn main(binary: &'static Binary) -> ExitCode {
    let given = arguments(std::env::args_os().collect());
    let given = match config::with_defaults(given, |name| std::env::var_os(name)) {
        Ok(given) => given,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let cli = Cli::parse_from(given);
    match &cli.command {
        Command::Start(start) => logging::init(&start.log_level, start.log_format),
        // Its keys are plain text by intention, and its answer says so.
        Command::Testnet(_) => logging::init(&LogFilter::level(LevelFilter::ERROR), LogFormat::Text),
        _ => logging::init(&LogFilter::level(LevelFilter::WARN), LogFormat::Text),
    }
    match run(cli, binary) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The arguments, with commands that the Cosmos SDK has at the top brought under `genesis`.
fn arguments(mut given: Vec<OsString>) -> Vec<OsString> {
    let command = match given.get(1).and_then(|first| first.to_str()) {
        Some("add-genesis-account") => "add-account",
        Some("gentx") => "gentx",
        Some("collect-gentxs") => "collect-gentxs",
        Some("validate-genesis") => "validate",
        _ => return given,
    };
    given.splice(1..2, ["genesis".into(), command.into()]);
    given
}

fn run(cli: Cli, binary: &'static Binary) -> Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Keys(command) => keys::run(&global, command),
        Command::Model(command) => model::run(&global, command),
        Command::Data(command) => data::run(&global, command),
        Command::Job(command) => block_on(job::run(&global, command)),
        Command::Explain(command) => block_on(explain::run(&global, command)),
        Command::Tx(tx) => block_on(tx::run(&global, tx)),
        Command::Query(query) => block_on(query::run(&global, query)),
        Command::Light(command) => block_on(light::run(&global, command)),
        Command::Receipt(command) => block_on(light::receipts(&global, command)),
        Command::Config(command) => config::run(&global, command),
        Command::Init(command) => init::run(&global, &command),
        Command::Genesis(command) => genesis::run(&global, command),
        Command::Start(command) => start::start(&global, command, binary),
        Command::RunCometbft(child) => start::become_child(&child),
        Command::Export(command) => start::export(&global, command, binary),
        Command::Rollback => start::rollback(&global, binary),
        Command::UnsafeResetAll => start::reset(&global),
        Command::Testnet(command) => testnet::run(&global, command),
        Command::Status => block_on(status::run(&global)),
        Command::ChainInfo(info) => block_on(chain_info::run(&global, info)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "trainyard", &mut std::io::stdout());
            Ok(())
        }
        Command::Version => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Runtime::new()
        .wrap_err("cannot start the runtime")?
        .block_on(work)
}

impl Global {
    /// The home folder; it need not exist.
    ///
    /// # Errors
    /// None was given and the user has none.
    pub fn home(&self) -> Result<PathBuf> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let user = std::env::var_os("HOME").ok_or_else(|| eyre!("no home folder: give --home or set HOME"))?;
        Ok(PathBuf::from(user).join(".trainyard"))
    }

    /// A client of the node.
    ///
    /// # Errors
    /// `--node` is no URL.
    pub fn client(&self) -> Result<Client> {
        if let Some(node) = &self.node {
            return Ok(Client::new(node)?);
        }
        let rpc = Home::new(&self.home()?)?.listens().map(|listens| listens.rpc);
        let rpc = rpc.unwrap_or_else(|_| DEFAULT_RPC.into());
        Ok(Client::new(&format!("http://{}", rpc.replace("0.0.0.0", "127.0.0.1")))?)
    }

    /// The chain to sign for: the one asked for, which the node must be of, or the node's own.
    ///
    /// # Errors
    /// The node is of another chain or does not answer.
    pub async fn chain_id(&self, client: &Client) -> Result<String> {
        if let Some(chain_id) = &self.chain_id {
            client.expect_chain(chain_id).await?;
            return Ok(chain_id.clone());
        }
        Ok(client.status().await?.node_info.network.to_string())
    }

    /// Whether results are printed as JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    /// Prints a result.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn print(&self, result: &impl serde::Serialize) -> Result<()> {
        self.output.print(result)
    }

    /// The keyring, without asking for a password.
    fn keyring(&self) -> Result<Keyring> {
        self.keyring_with(std::env::var(keys::PASSWORD_VARIABLE).ok())
    }

    fn keyring_with(&self, password: Option<String>) -> Result<Keyring> {
        Ok(Keyring::open(&self.home()?, self.backend(), password))
    }

    fn backend(&self) -> Backend {
        match self.keyring_backend {
            KeyringBackend::File => Backend::File,
            KeyringBackend::Test => Backend::Test,
        }
    }

    /// An account, given by its address or by the name of one of our keys.
    fn account(&self, text: &str) -> Result<Address> {
        if let Ok(key) = self.keyring()?.show(text) {
            return Ok(key.address);
        }
        text.parse()
            .wrap_err_with(|| format!("{text:?} is neither a key's name nor an address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_names_of_genesis_commands_work() {
        let parse = |words: &str| Cli::try_parse_from(arguments(words.split(' ').map(Into::into).collect()));
        for words in [
            "add-genesis-account alice 5TRAIN --home h",
            "gentx alice 5TRAIN",
            "collect-gentxs",
            "validate-genesis",
        ] {
            let cli = parse(&format!("trainyard {words}")).unwrap();
            assert!(matches!(cli.command, Command::Genesis(_)), "{words}");
        }
    }

    #[test]
    fn the_reference_of_the_command_line_is_what_it_takes() {
        let renew = "UPDATE_REFERENCE=1 cargo test -p trainyard-app --lib reference";
        crate::book::expect(
            "reference/trainyard.md",
            &crate::book::commands::page(Cli::command(), renew),
            renew,
        );
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_transactions_stand_where_one_likes() {
        for words in [
            "trainyard tx --from val -y staking delegate trainvaloper1x 5TRAIN",
            "trainyard tx staking delegate trainvaloper1x 5TRAIN --from val -y --fees 5000utrain",
            "trainyard tx staking create-validator --pubkey x --amount 1TRAIN --moniker m --commission-rate 0.05",
            "trainyard tx distribution withdraw-commission --from val --gas 100000",
            "trainyard tx bank send alice bob 5TRAIN --yes",
            "trainyard tx staking edit-validator --details trains --commission-rate 0.05 --from val",
            "trainyard tx staking redelegate trainvaloper1x trainvaloper1y 5TRAIN --from val",
            "trainyard tx staking cancel-unbond trainvaloper1x 5TRAIN 100 --from val",
            "trainyard tx slashing unjail --from val",
            "trainyard tx registry unbond 5TRAIN --from node",
            "trainyard tx registry unjail --from node",
            "trainyard tx registry renew --from node",
            "trainyard query registry penalties node",
            "trainyard explain job 7 node",
            "trainyard explain validator trainvaloper1x",
            "trainyard query --height 5 bank balances alice",
            "trainyard query staking historical-info 7 --height 9",
            "trainyard q gov proposals --height 9 --limit 3",
            "trainyard query block 7",
            "trainyard query txs --query message.sender='x' --limit 3 --page 2 --order desc",
            "trainyard query tx x/7 --type acc-seq",
            "trainyard tx bank send alice bob 5TRAIN --generate-only --offline --gas 200000 --note hello",
            "trainyard tx sign f --from alice --offline -a 7 -s 9 --chain-id c-1",
            "trainyard tx --broadcast-mode sync broadcast f",
            "trainyard tx bank send alice bob 5TRAIN -b async -y",
            "trainyard tx decode CgA= --output json",
        ] {
            let parsed = Cli::try_parse_from(words.split(' '));
            assert!(parsed.is_ok(), "{words}: {:?}", parsed.err());
        }
        let wrong = "trainyard tx staking create-validator --pubkey x --amount 1TRAIN --moniker m --commission-rate 5%";
        let error = Cli::try_parse_from(wrong.split(' ')).unwrap_err().to_string();
        assert!(error.contains("like 0.05"), "{error}");
    }
}
