//! A network of real nodes, for end-to-end tests: per validator a process `trainyard start` with its CometBFT, on loopback
//! addresses that no other network uses. What still runs is ended when the [`Network`] is dropped.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tendermint_rpc::{Client as _, HttpClient};
use trainyard_client::keys::{Backend, Keyring, PrivateKey};
use trainyard_client::rpc::Client;

use crate::node::home::Home;
use crate::node::localnet::{Localnet, Plan};
use crate::node::settings::NodeType;

/// How often a node is asked for its height.
const POLL: Duration = Duration::from_millis(30);
/// How long a node may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// Lines of a node's log that a failing test prints.
const SHOWN: usize = 30;

/// A network of nodes as processes. Panics instead of failing, as tests do.
pub struct Network {
    /// The validators, by number, then nodes that were added.
    pub nodes: Vec<Node>,
    /// What it was made from.
    pub plan: Plan,
    keys: PathBuf,
    program: PathBuf,
    // Deleted last, when no process uses it any more.
    folder: TempDir,
}

/// One node, running or not.
pub struct Node {
    /// Its home.
    pub home: Home,
    /// Where its RPC is.
    pub rpc: String,
    /// The binary it is started from.
    pub program: PathBuf,
    /// Variables of its environment, beside ours.
    pub environment: Vec<(String, String)>,
    process: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Network {
    /// Makes a network of `validators` and starts it, with the built binary `program` (in integration tests of this crate
    /// `env!("CARGO_BIN_EXE_trainyard")`). `change` may alter the plan: accounts, block time, blocks of an epoch.
    #[must_use]
    pub fn start(program: impl Into<PathBuf>, validators: u8, change: impl FnOnce(&mut Plan)) -> Self {
        let mut network = Self::make(program, validators, change);
        for node in &mut network.nodes {
            node.start(&[]);
        }
        network
    }

    /// Makes a network without starting it.
    #[must_use]
    pub fn make(program: impl Into<PathBuf>, validators: u8, change: impl FnOnce(&mut Plan)) -> Self {
        let program = program.into();
        let folder = tempfile::Builder::new().prefix("trainyard-net").tempdir().unwrap();
        let mut plan = Plan::new(&folder.path().join("net"), "trainyard-test");
        plan.validators = validators;
        plan.block_time = Duration::from_millis(100);
        plan.base_ip = free_ips(plan.base_port);
        change(&mut plan);
        let Localnet { nodes, keys } = plan.create().unwrap_or_else(|e| panic!("{e}"));
        let nodes = nodes
            .into_iter()
            .map(|node| Node::new(&program, node.home, node.rpc))
            .collect();
        Self {
            nodes,
            plan,
            keys,
            program,
            folder,
        }
    }

    /// Adds the home of a node that is no validator, not started, which follows the first validator.
    pub fn add_full_node(&mut self) -> &mut Node {
        self.add_node(NodeType::Full)
    }

    /// The same with the settings of a type.
    pub fn add_node(&mut self, node_type: NodeType) -> &mut Node {
        let index = u8::try_from(self.nodes.len()).unwrap();
        let home = self.plan.create_node(index, &self.nodes[0].home, node_type);
        let (home, rpc) = home.unwrap_or_else(|e| panic!("{e}"));
        self.nodes.push(Node::new(&self.program, home, rpc));
        self.nodes.last_mut().unwrap()
    }

    /// A client of the first validator.
    #[must_use]
    pub fn client(&self) -> Client {
        self.nodes[0].client()
    }

    /// The key of an account of the plan, or of `validator0` and so on.
    #[must_use]
    pub fn key(&self, name: &str) -> PrivateKey {
        Keyring::open(&self.keys, Backend::Test, None).get(name).unwrap()
    }

    /// Home of the keyring (`test` backend) with all accounts.
    #[must_use]
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// A folder that lives as long as the network.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until every running node has a height.
    pub async fn wait_height(&mut self, height: u64, patience: Duration) {
        for node in self.nodes.iter_mut().filter(|node| node.process.is_some()) {
            node.wait_height(height, patience).await;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in &self.nodes {
            node.signal(Signal::SIGTERM); // All at once, so that they stop at the same time.
        }
        for node in &mut self.nodes {
            if std::thread::panicking() {
                eprintln!("--- {} ---\n{}", node.home.path().display(), node.log_tail());
            }
            node.end();
        }
    }
}

impl Node {
    fn new(program: &Path, home: Home, rpc: String) -> Self {
        Self {
            home,
            rpc,
            program: program.into(),
            environment: Vec::new(),
            process: None,
            log: Arc::default(),
            readers: Vec::new(),
        }
    }

    /// Starts it, with further arguments.
    pub fn start(&mut self, arguments: &[&str]) {
        assert!(self.process.is_none(), "{} runs already", self.home.path().display());
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut process = Command::new(&self.program)
            .args(["start", "--home"])
            .arg(self.home.path())
            .args(arguments)
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        self.readers.extend(process.stdout.take().map(|out| self.keep(out)));
        self.readers.extend(process.stderr.take().map(|out| self.keep(out)));
        self.process = Some(process);
    }

    fn keep(&self, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })
    }

    /// A client of its RPC.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.rpc).unwrap()
    }

    /// What it has printed since it was started last.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn log_tail(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log[log.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The last height that the application has committed, if the node answers. CometBFT's own status counts a block before
    /// its state can be queried.
    pub async fn height(&self) -> Option<u64> {
        let rpc = HttpClient::new(self.rpc.as_str()).ok()?;
        Some(rpc.abci_info().await.ok()?.last_block_height.value())
    }

    /// Waits until it has a height; panics when it ends or takes longer than `patience`.
    pub async fn wait_height(&mut self, height: u64, patience: Duration) {
        let start = Instant::now();
        loop {
            let found = self.height().await;
            if found >= Some(height) {
                return;
            }
            let shown = self.home.path().display();
            if let Some(status) = self.process.as_mut().and_then(|p| p.try_wait().unwrap()) {
                panic!(
                    "{shown} ended with {status} before height {height}:\n{}",
                    self.log_tail()
                );
            }
            assert!(
                start.elapsed() < patience,
                "{shown} is at height {found:?} after {patience:?}, expected {height}:\n{}",
                self.log_tail()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            let pid = i32::try_from(process.id()).unwrap();
            let _ = kill(Pid::from_raw(pid), signal); // It may have ended by itself.
        }
    }

    /// Asks it to stop, as Ctrl-C would, and waits.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGINT);
        self.wait_exit(STOP_PATIENCE)
    }

    /// Asks it to stop, as a service manager would, and waits.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit(STOP_PATIENCE)
    }

    /// Kills it with -9 and waits. Its CometBFT follows on its own.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_exit(STOP_PATIENCE);
    }

    /// Waits until it has ended; panics when that takes longer than `patience`.
    pub fn wait_exit(&mut self, patience: Duration) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let start = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > patience {
                let _ = process.kill();
                let _ = process.wait();
                panic!(
                    "{} did not end in {patience:?}:\n{}",
                    self.home.path().display(),
                    self.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        // The pipes close when the child's child has ended as well.
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Ends it, whatever it takes.
    fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let start = Instant::now();
        while process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if start.elapsed() > STOP_PATIENCE {
                let _ = process.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A loopback address from which on nobody listens on the ports of a network.
fn free_ips(port: u16) -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // By process and count, so that networks made at the same time do not even try the same.
    let start = std::process::id().wrapping_mul(37);
    for _ in 0..1000 {
        let n = start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)) % (250 * 250);
        let byte = |n: u32| u8::try_from(n % 250 + 2).unwrap_or(2);
        let ip = Ipv4Addr::new(127, byte(n / 250), byte(n), 1);
        let free = |port| TcpListener::bind((ip, port)).is_ok();
        if free(port) && free(port + 1) {
            return ip;
        }
    }
    panic!("no loopback address with free ports {port} and {} was found", port + 1);
}
