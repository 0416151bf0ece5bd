//! `trainerd`: trains and evaluates jobs of a Trainyard chain.

use std::{io::IsTerminal, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use color_eyre::eyre::{Context, Result, eyre};
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};
use trainyard_client::data::Input;
use trainyard_exact::kernels::Isa;
use trainyard_trainerd::{
    audit::{Audit, audit},
    config::Config,
    daemon,
    engine::{Compute, Kind},
    identity::Identity,
    score::score,
};

/// Trains and evaluates jobs of a Trainyard chain.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Home of the daemon: configuration, keys, blocks, jobs.
    #[arg(long, global = true, env = "TRAINERD_HOME", default_value_os_t = default_home())]
    home: PathBuf,
    /// What to log: error, warn, info, debug, or a filter such as "info,libp2p=debug".
    #[arg(long, global = true, env = "TRAINERD_LOG", default_value = "info")]
    log: String,
    /// Log JSON lines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a home: writes config.toml from the flags and makes the keys.
    Init(Settings),
    /// Prints account and peer id.
    Show,
    /// Runs the daemon; flags override config.toml.
    Start(Settings),
    /// Trains a job again from what the chain has fixed and compares every root; fails at the first that differs.
    Audit {
        /// The job.
        #[arg(long)]
        job: u64,
        /// The last round to train, from 0; without it the last one that was closed.
        #[arg(long)]
        round: Option<u32>,
        /// Home of the job's client, whose vault has the key of encrypted training data.
        #[arg(long, value_name = "FOLDER")]
        vault: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
        #[command(flatten)]
        machine: Machine,
    },
    /// Scores a model on labelled data, without chain or mesh.
    Score {
        /// The graph, an ONNX file.
        #[arg(long, value_name = "FILE")]
        model: PathBuf,
        /// The weights, a safetensors file.
        #[arg(long, value_name = "FILE")]
        weights: PathBuf,
        /// Images in IDX format.
        #[arg(long, value_name = "FILE")]
        images: PathBuf,
        /// Their labels in IDX format.
        #[arg(long, value_name = "FILE")]
        labels: PathBuf,
        #[command(flatten)]
        machine: Machine,
    },
}

/// How to compute.
#[derive(Args, Default)]
struct Machine {
    /// `exact` or `libtorch`; without it what suits the job: exact for class exact, otherwise libtorch.
    #[arg(long)]
    engine: Option<Kind>,
    /// Instructions of the exact engine: `scalar`, `avx2` or `avx512`; without it the fastest of this CPU.
    #[arg(long)]
    isa: Option<Isa>,
    /// Threads of the engine; 0 uses every core.
    #[arg(long)]
    threads: Option<usize>,
}

impl Machine {
    fn compute(&self) -> Compute {
        Compute {
            kind: self.engine,
            threads: self.threads.unwrap_or_default(),
            isa: self.isa,
        }
    }
}

/// Where chain and mesh are.
#[derive(Args, Default)]
struct Reach {
    /// RPC address of a Trainyard node.
    #[arg(long, env = "TRAINERD_NODE")]
    node: Option<String>,
    /// Chain id.
    #[arg(long, env = "TRAINERD_CHAIN_ID")]
    chain_id: Option<String>,
    /// Address to listen on; may be given several times.
    #[arg(long)]
    listen: Vec<String>,
    /// Peer to join through, ending in /p2p/…; may be given several times.
    #[arg(long)]
    bootstrap: Vec<String>,
}

/// Overrides of config.toml.
#[derive(Args, Default)]
struct Settings {
    #[command(flatten)]
    reach: Reach,
    /// Name of the account's key.
    #[arg(long)]
    key: Option<String>,
    /// `test` or `file`.
    #[arg(long)]
    keyring_backend: Option<String>,
    /// Folder of the keyring, when it is not the home.
    #[arg(long)]
    keyring_home: Option<String>,
    /// `worker`, `evaluator`; may be given twice.
    #[arg(long = "role")]
    roles: Vec<String>,
    /// Bond to register with, such as 100TRAIN.
    #[arg(long)]
    bond: Option<String>,
    /// Name shown to others.
    #[arg(long)]
    moniker: Option<String>,
    #[command(flatten)]
    machine: Machine,
    /// Jobs worked on at once.
    #[arg(long)]
    max_jobs: Option<usize>,
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_list(field: &mut Vec<String>, value: Vec<String>) {
    if !value.is_empty() {
        *field = value;
    }
}

impl Reach {
    fn apply(self, config: &mut Config) {
        set(&mut config.node, self.node);
        set(&mut config.chain_id, self.chain_id);
        set_list(&mut config.listen, self.listen);
        set_list(&mut config.bootstrap, self.bootstrap);
    }
}

impl Machine {
    fn apply(self, config: &mut Config) {
        set(&mut config.engine, self.engine.map(|kind| kind.to_string()));
        set(&mut config.isa, self.isa.map(|isa| isa.to_string()));
        set(&mut config.threads, self.threads);
    }
}

impl Settings {
    fn apply(self, config: &mut Config) {
        self.reach.apply(config);
        self.machine.apply(config);
        set(&mut config.key, self.key);
        set(&mut config.keyring_backend, self.keyring_backend);
        set(&mut config.keyring_home, self.keyring_home);
        set_list(&mut config.roles, self.roles);
        set(&mut config.bond, self.bond);
        set(&mut config.moniker, self.moniker);
        set(&mut config.max_jobs, self.max_jobs);
    }
}

fn default_home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(
        || PathBuf::from(".trainerd"),
        |home| PathBuf::from(home).join(".trainerd"),
    )
}

fn main() -> Result<()> {
    color_eyre::config::HookBuilder::default()
        .display_env_section(false)
        .display_location_section(false)
        .install()?;
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).wrap_err_with(|| format!("--log {:?}", cli.log))?;
    // The daemon's log is its output; other commands print what they find.
    let daemon = matches!(cli.command, Command::Start(_));
    let (terminal, writer) = if daemon {
        (std::io::stdout().is_terminal(), BoxMakeWriter::new(std::io::stdout))
    } else {
        (std::io::stderr().is_terminal(), BoxMakeWriter::new(std::io::stderr))
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(terminal)
        .with_writer(writer);
    if cli.json {
        logs.json().flatten_event(true).init();
    } else {
        logs.init();
    }
    match cli.command {
        Command::Init(settings) => {
            let mut config = Config::read(&cli.home)?;
            settings.apply(&mut config);
            config.check()?;
            config.write(&cli.home)?;
            show(&cli.home, &config)
        }
        Command::Show => show(&cli.home, &Config::read(&cli.home)?),
        Command::Score {
            model,
            weights,
            images,
            labels,
            machine,
        } => {
            let found = score(&model, &weights, Input::Idx { images, labels }, machine.compute())?;
            let (metrics, right) = (&found.metrics, found.metrics.correct);
            println!("sha256      {}", hex::encode(found.sha256));
            println!("state root  {}", hex::encode(found.state_root));
            println!("metrics     {}", hex::encode(metrics.hash()?));
            println!("right       {right} of {}", metrics.samples);
            println!("accuracy    {} ppm", metrics.accuracy_ppm());
            Ok(())
        }
        Command::Audit {
            job,
            round,
            vault,
            reach,
            machine,
        } => {
            let mut config = Config::read(&cli.home)?;
            // A daemon of this home may be running.
            config.listen = vec!["/ip4/0.0.0.0/tcp/0".into()];
            reach.apply(&mut config);
            machine.apply(&mut config);
            config.check()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(audit(&cli.home, &config, Audit { job, round, vault }))
        }
        Command::Start(settings) => {
            let mut config = Config::read(&cli.home)?;
            settings.apply(&mut config);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let ran = runtime.block_on(async {
                let stop = stopped()?;
                daemon::run(&cli.home, config, stop).await
            });
            // A training step under way must not hold up the end; its round goes on from its checkpoint.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            ran
        }
    }
}

fn show(home: &std::path::Path, config: &Config) -> Result<()> {
    let identity = Identity::load_or_create(home, config)?;
    println!("account  {}", identity.account.address());
    println!("peer id  {}", identity.peer.public().to_peer_id());
    Ok(())
}

/// Done when the process is asked to stop.
fn stopped() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| eyre!("cannot listen for SIGTERM: {e}"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| eyre!("cannot listen for SIGINT: {e}"))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stops on SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stops on SIGINT"),
        }
    })
}
