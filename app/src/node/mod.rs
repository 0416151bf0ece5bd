//! A node: the application behind its socket and CometBFT as its child.
//!
//! ```text
//! mod.rs       starting and stopping the two in the right order, and the doors to gRPC and REST with them
//! home.rs      the files of a node's home folder, and making one
//! settings.rs  app.toml: what an operator sets for our half
//! comet.rs     the CometBFT program: finding it, running it as a child, its log lines
//! comet_config.rs  CometBFT's config.toml, changed in place
//! upgrade.rs   the file that cosmovisor waits for
//! watched.rs   the application, observed: a log line per block, metrics, halting
//! metrics/     what is counted and watched, and where Prometheus and health checks ask for it
//! notify.rs    what systemd is told
//! genesis.rs   the genesis file
//! gentx.rs     signed transactions that create the first validators
//! localnet.rs  homes of several validators on one machine
//! error.rs     what can go wrong
//! ```
//!
//! CometBFT stops when its application goes away and never reconnects, so the two live and die together. A stopping node
//! ends CometBFT first, then the socket, then closes the store. However this process dies, the kernel kills its child.

mod comet;
pub mod comet_config;
mod error;
pub mod genesis;
pub mod gentx;
pub mod home;
pub mod localnet;
mod metrics;
mod notify;
pub mod settings;
mod upgrade;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use trainyard_client::rpc::Client;
use trainyard_modules::upgrade::{Binary, Refusal};

pub use self::comet::{CHILD_COMMAND, become_child, find as find_cometbft};
use self::comet::{Child, Ended};
use self::comet_config::Listens;
pub use self::error::Error;
use self::genesis::GenesisDoc;
use self::home::Home;
use self::settings::Settings;
use self::watched::Watched;
use crate::abci::{Address, Server, ServerError};
use crate::api::{self, Api};
use crate::application::{Application, Config, SnapshotConfig};
use crate::store::{Options as StoreOptions, Store, StoreError};

/// How a node is started.
#[derive(Clone)]
pub struct Options {
    /// Which program this is.
    pub binary: &'static Binary,
    /// Leaves running CometBFT to the operator.
    pub abci_only: bool,
    /// Where the application listens; without it what `app.toml` says, else a unix socket in the home.
    pub address: Option<Address>,
    /// Stops after committing this height; without it what `app.toml` says.
    pub halt_height: Option<u64>,
    /// CometBFT's log level (`debug`, `info`, `error`, `none`); without it what `config.toml` says.
    pub comet_log_level: Option<String>,
    /// Whether the log is read by programs: what CometBFT says is then taken apart into fields.
    pub structured: bool,
}

/// Why a node ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to stop.
    Stopped,
    /// It committed the height it was told to halt at.
    Halted(u64),
}

/// Runs a node in this process, whose program must pass [`CHILD_COMMAND`] on to [`become_child`], until it is stopped by SIGINT or SIGTERM, halts, or fails. When it returns, CometBFT has ended.
///
/// # Errors
/// Why the node cannot start or go on.
pub fn run(home: &Home, options: &Options) -> Result<Ending, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2) // The state machine has threads of its own; these serve gRPC and REST.
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(supervise(home, options))
}

/// Opens a node's state without running it, for commands of `binary` that read it. The node must not be running.
///
/// # Errors
/// The home is none, its store does not open, or its state is in another form than the program's.
pub fn open(home: &Home, binary: &'static Binary) -> Result<Application, Error> {
    let app = open_with(home, &Settings::load(home)?, binary)?;
    match app.check_version() {
        // The state is still in this program's form, up to the last block that it can execute.
        Ok(()) | Err(Refusal::Needed(_)) => Ok(app),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Makes a node that is not running forget its blocks, its state and what it has voted for. Keys and settings stay.
///
/// # Errors
/// The home is none, the node runs, or the disk refuses.
pub fn reset(home: &Home) -> Result<(), Error> {
    home.expect()?;
    // A store that is damaged may go; one that is in use may not.
    if let Err(error @ StoreError::InUse { .. }) = Store::open(&home.store(), &StoreOptions::default()) {
        return Err(error.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let _lock = runtime.block_on(comet::lock(home))?;
    home.forget()
}

fn open_with(home: &Home, settings: &Settings, binary: &'static Binary) -> Result<Application, Error> {
    let options = StoreOptions {
        keep_recent: settings.heights(),
        cache_bytes: usize::from(settings.store_cache_mb) << 20,
    };
    let store = Store::open(&home.store(), &options)?;
    let config = Config {
        min_gas_price_micro: settings.min_gas_price.0,
        halt_height: settings.halt_height,
        min_retain_blocks: settings.min_retain_blocks,
        chain_id: Some(GenesisDoc::load(home)?.chain_id),
        snapshots: Some(SnapshotConfig {
            folder: home.snapshots(),
            interval: settings.snapshot_interval,
            keep: settings.snapshot_keep.into(),
        }),
        binary,
    };
    Ok(Application::new(store, config)?)
}

/// Takes back the last block of a node that is not running, of CometBFT and of the application: it is executed again when the
/// node starts, perhaps by another program. Returns the height the node is at then.
///
/// # Errors
/// The node runs, or has nothing to take back.
pub fn rollback(home: &Home, binary: &'static Binary) -> Result<u64, Error> {
    // The application first: opening it tells whether the node runs.
    let app = open_with(home, &Settings::load(home)?, binary)?;
    let last = app.last_block().map_or(0, |block| block.height);
    let height = comet::rollback(home)?;
    if last == height + 1 {
        app.rollback()?;
    } else if last != height {
        return Err(Error::Value(format!(
            "CometBFT went back to height {height}, but the application is at {last}; start the node once, so that it catches up"
        )));
    }
    Ok(height)
}

/// What ended the waiting.
enum Cause {
    Signal,
    Halted,
    Served(Result<(), ServerError>),
    Child(Ended),
}

async fn supervise(home: &Home, options: &Options) -> Result<Ending, Error> {
    let mut signals = Signals::catch()?;
    let mut settings = Settings::load(home)?;
    if let Some(height) = options.halt_height {
        settings.halt_height = height;
    }
    let app = Arc::new(open_with(home, &settings, options.binary)?);
    if let Some(last) = app.last_block() {
        GenesisDoc::expect_chain(home, &last)?;
    } else {
        // CometBFT keeps the first genesis it sees: one that does not work must not reach it.
        GenesisDoc::load(home)?.check()?;
    }
    if let Some(plan) = app.needed_upgrade() {
        return Err(upgrade::needed(home, &plan));
    }
    app.check_version()?;
    if let Some(last) = app.last_block().filter(|_| app.halted()) {
        return Err(Error::AlreadyHalted {
            height: last.height,
            halt_height: settings.halt_height,
        });
    }
    let address = match (&options.address, &settings.abci) {
        (Some(address), _) | (None, Some(address)) => address.clone(),
        (None, None) => Address::Unix(home.socket()?),
    };
    let rpc = home.listens()?.rpc.replace("0.0.0.0", "127.0.0.1");
    let comet = Client::new(&format!("http://{rpc}")).map_err(|e| Error::Doors(e.to_string()))?;
    let api = Arc::new(Api::new(Arc::clone(&app), comet, settings.clone()).map_err(Error::Doors)?);
    api.serve_abci(tokio::runtime::Handle::current());
    let watch = metrics::Watch::new(&app, home);
    let (app, mut halted) = Watched::new(app);
    let app = Arc::new(app);
    if let Some(address) = settings.metrics {
        let address = metrics::serve(address, Arc::clone(app.metrics()), Some(watch))?;
        tracing::info!(target: "node", "metrics and health at http://{address}");
    }
    let server = Server::bind(&address, Arc::clone(&app))?;
    let address = server.address().clone();
    let stop = server.stop_handle();
    let (report, mut served) = oneshot::channel();
    thread::spawn(move || report.send(server.run()));

    let doors = match api::open(api).await {
        Ok(doors) => doors,
        Err(error) => {
            stop.stop();
            return Err(Error::Doors(error.to_string()));
        }
    };
    let shown = |at: Option<std::net::SocketAddr>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    tracing::info!(target: "node", grpc = shown(doors.grpc), rest = shown(doors.rest), "serving");
    let mut child = None;
    if options.abci_only {
        tracing::info!(target: "node", "waiting for CometBFT on {address}");
    } else {
        match Child::start(home, &address, options).await {
            Ok(started) => {
                child = Some(started);
                let Listens { rpc, p2p } = home.listens()?;
                tracing::info!(target: "node", rpc, p2p, "CometBFT started");
            }
            Err(error) => {
                stop.stop();
                return Err(error);
            }
        }
    }
    let notify = Arc::clone(app.notify());
    let cause = tokio::select! {
        () = signals.caught() => Cause::Signal,
        _ = &mut halted => Cause::Halted,
        result = &mut served => Cause::Served(result.unwrap_or(Ok(()))),
        ended = wait(child.as_mut()) => Cause::Child(ended),
    };
    notify.stopping();
    drop(doors);
    if let Some(child) = &mut child {
        child.stop(signals.caught()).await;
    }
    let (result, ended) = match cause {
        Cause::Served(result) => (result, None),
        cause => {
            stop.stop();
            let ended = if let Cause::Child(ended) = cause {
                Some(ended)
            } else {
                None
            };
            (served.await.unwrap_or(Ok(())), ended)
        }
    };
    // Whichever of the two noticed first: halting comes before the application's failure, and that before the child's end. It has
    // not halted where the block that it was to halt after did not get to the disk.
    let flushed = app.flush();
    if flushed.is_ok() {
        if let Some(plan) = app.needed_upgrade() {
            return Err(upgrade::needed(home, &plan));
        }
        if let Some(height) = app.halted() {
            return Ok(Ending::Halted(height));
        }
    }
    result?;
    flushed?;
    match ended {
        Some(ended) => Err(ended.into()),
        None => Ok(Ending::Stopped),
    }
}

/// Waits for a child, for ever where there is none.
async fn wait(child: Option<&mut Child>) -> Ended {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}

/// The signals that stop a node.
struct Signals(Signal, Signal);

impl Signals {
    fn catch() -> Result<Self, Error> {
        let catch = |kind| signal(kind).map_err(Error::Runtime);
        Ok(Self(catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?))
    }

    async fn caught(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// A file's text, with its path in the error.
fn read(path: PathBuf) -> Result<String, Error> {
    std::fs::read_to_string(&path).map_err(|source| Error::File { path, source })
}

/// Writes a file, with its path in the error.
fn write(path: PathBuf, text: &str) -> Result<(), Error> {
    std::fs::write(&path, text).map_err(|source| Error::File { path, source })
}
