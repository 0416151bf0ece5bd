//! The CometBFT program.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::home::Home;
use super::{Error, Options};
use crate::abci::Address;

/// How long a CometBFT that was asked to stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a child of a killed run may take to notice; it does within seconds.
const LEFT_PATIENCE: Duration = Duration::from_secs(10);
/// The hidden command behind which [`become_child`] is.
pub const CHILD_COMMAND: &str = "run-cometbft";
/// What it logs when consensus has panicked.
const CONSENSUS_FAILURE: &str = "CONSENSUS FAILURE!!!";
/// The file in the data folder that a running child has locked.
pub(super) const LOCK: &str = "cometbft.lock";
/// Lines kept for the report of a sudden end.
const TAIL: usize = 12;

/// The program: on the PATH or where `scripts/setup` puts it, `${TRAINYARD_CACHE:-~/.cache/trainyard}/bin`.
///
/// # Errors
/// It is in neither place.
pub fn find() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = match std::env::var_os("TRAINYARD_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/trainyard"),
    };
    let cached = cache.join("bin");
    let found = std::env::split_paths(&path)
        .chain([cached.clone()])
        .map(|folder| folder.join("cometbft"))
        .find(|program| program.is_file());
    found.ok_or(Error::NoComet(cached))
}

/// Lets CometBFT write its configuration and keys into a home.
///
/// # Errors
/// It is not installed, or fails.
pub(super) fn init(home: &Home) -> Result<(), Error> {
    run(home, "init").map(drop)
}

/// Runs one of its commands on a home; returns what it printed.
fn run(home: &Home, command: &str) -> Result<String, Error> {
    let program = find()?;
    let output = std::process::Command::new(&program)
        .args([OsStr::new(command), OsStr::new("--home"), home.path().as_os_str()])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::CannotRun { program, source })?;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .trim()
        .to_owned();
    if output.status.success() {
        return Ok(printed);
    }
    Err(Error::CometFailed {
        command: command.into(),
        output: printed,
    })
}

/// Takes back CometBFT's last state; returns the height it is at then.
///
/// # Errors
/// It is not installed, or fails.
pub(super) fn rollback(home: &Home) -> Result<u64, Error> {
    let output = run(home, "rollback")?;
    let height = output.split_once("height ").map(|(_, rest)| rest);
    let height = height.and_then(|rest| rest.split(' ').next()?.parse().ok());
    height.ok_or_else(|| Error::CometFailed {
        command: "rollback".into(),
        output,
    })
}

/// How a child came to its end.
pub(super) struct Ended {
    what: String,
    lines: Vec<String>,
}

impl From<Ended> for Error {
    fn from(Ended { what, lines }: Ended) -> Self {
        Self::CometEnded { what, lines }
    }
}

/// The log of a child, on its way to ours.
#[derive(Default)]
struct Log {
    tail: Mutex<VecDeque<String>>,
    silent: AtomicBool,
    /// Whether its lines are taken apart.
    structured: bool,
    /// Told when consensus has stopped for good.
    failed: Notify,
}

/// CometBFT, running.
pub(super) struct Child {
    process: tokio::process::Child,
    readers: Vec<JoinHandle<()>>,
    log: Arc<Log>,
}

impl Child {
    /// Starts CometBFT on a home, with the application at `address`.
    pub(super) async fn start(home: &Home, address: &Address, options: &Options) -> Result<Self, Error> {
        let program = find()?;
        let lock = lock(home).await?;
        // This program again, which ties itself to us and then becomes CometBFT: see `become_child`.
        let mut command = Command::new("/proc/self/exe");
        command
            .args([CHILD_COMMAND, &std::process::id().to_string()])
            .args([program.as_os_str(), OsStr::new("start")])
            .args([OsStr::new("--home"), home.path().as_os_str()])
            .arg(format!("--proxy_app={address}"))
            // The form that we read, whatever its config.toml says.
            .env("CMT_LOG_FORMAT", "plain")
            // Ctrl-C in a terminal reaches the foreground group: only us, who then stop it in order.
            .process_group(0)
            // Not to be read: the lock is held as long as any process has it open, so as long as the child lives.
            .stdin(Stdio::from(lock))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(level) = &options.comet_log_level {
            command.arg(format!("--log_level={level}"));
        }
        let mut process = command.spawn().map_err(|source| Error::CannotRun { program, source })?;
        let log = Arc::new(Log {
            structured: options.structured,
            ..Log::default()
        });
        let mut readers = Vec::new();
        if let Some(output) = process.stdout.take() {
            readers.push(tokio::spawn(forward(output, Arc::clone(&log))));
        }
        if let Some(output) = process.stderr.take() {
            readers.push(tokio::spawn(forward(output, Arc::clone(&log))));
        }
        Ok(Self { process, readers, log })
    }

    /// Waits for it to end by itself, or to stop working: after a panic in consensus the process stays and serves RPC.
    pub(super) async fn ended(&mut self) -> Ended {
        let what = tokio::select! {
            ended = self.process.wait() => {
                for reader in self.readers.drain(..) {
                    // What it wrote last is still in the pipe.
                    let _ = timeout(Duration::from_secs(1), reader).await;
                }
                let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                format!("ended by itself ({status})")
            }
            () = self.log.failed.notified() => "failed and cannot go on".into(),
        };
        let tail = self.log.tail.lock().unwrap_or_else(PoisonError::into_inner);
        Ended {
            what,
            lines: tail.iter().cloned().collect(),
        }
    }

    /// Asks it to stop; kills it when it takes too long or when `impatient` is done first.
    pub(super) async fn stop(&mut self, impatient: impl Future<Output = ()>) {
        let Some(pid) = self.process.id().and_then(|id| i32::try_from(id).ok()) else {
            return; // It has ended and been waited for.
        };
        self.log.silent.store(true, Ordering::Relaxed); // From here on it reports broken connections, as it should.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        tokio::select! {
            _ = self.process.wait() => return,
            () = impatient => tracing::warn!(target: "node", "killing CometBFT"),
            () = sleep(STOP_PATIENCE) => {
                tracing::warn!(target: "node", "CometBFT did not stop in {} s; killing it", STOP_PATIENCE.as_secs());
            }
        }
        let _ = self.process.kill().await;
    }
}

/// Turns this process into CometBFT, so that it is killed when its parent dies, however that happens: CometBFT alone ends
/// when its application goes away, but hangs while it does so if it was in the middle of a block. Returns only on failure.
///
/// # Errors
/// The parent is gone already, or the program cannot be run.
pub fn become_child(parent: i32, program: PathBuf, arguments: &[OsString]) -> Result<Infallible, Error> {
    set_pdeathsig(Signal::SIGKILL).map_err(|e| Error::Runtime(e.into()))?;
    if getppid() != Pid::from_raw(parent) {
        return Err(Error::Value(format!("process {parent} has ended")));
    }
    let mut command = std::process::Command::new(&program);
    command.args(arguments);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < LEAST_GO_THREADS && std::env::var_os(GO_THREADS).is_none() {
        // Its ABCI client sets a timer of 20 ns with every request (`flushThrottleMS`), which fires again and again while the
        // client's own goroutine waits for its turn. With few threads that can take ten milliseconds; one more takes it on.
        command.env(GO_THREADS, LEAST_GO_THREADS.to_string());
    }
    let source = command.exec();
    Err(Error::CannotRun { program, source })
}

/// How many threads run Go code at once.
const GO_THREADS: &str = "GOMAXPROCS";
const LEAST_GO_THREADS: usize = 4;

/// Waits until no earlier CometBFT runs on this home, and returns the lock that says so.
pub(super) async fn lock(home: &Home) -> Result<File, Error> {
    let path = home.data().join(LOCK);
    let failed = |source| Error::File {
        path: path.clone(),
        source,
    };
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(&path)
        .map_err(failed)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if start.elapsed() > LEFT_PATIENCE => {
                return Err(Error::CometLeft(home.path().into()));
            }
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn forward(output: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let (level, text) = parse(&line);
        // The stack of a panic, in one line, hides what it is about.
        let text = text.split(" stack=\"").next().unwrap_or(text);
        if !log.silent.load(Ordering::Relaxed) {
            if log.structured {
                let (message, module, details) = parts(text);
                match level {
                    Level::Debug => tracing::debug!(target: "cometbft", module, details, "{message}"),
                    Level::Info => tracing::info!(target: "cometbft", module, details, "{message}"),
                    Level::Error => tracing::error!(target: "cometbft", module, details, "{message}"),
                }
            } else {
                match level {
                    Level::Debug => tracing::debug!(target: "cometbft", "{text}"),
                    Level::Info => tracing::info!(target: "cometbft", "{text}"),
                    Level::Error => tracing::error!(target: "cometbft", "{text}"),
                }
            }
        }
        if !text.is_empty() {
            let mut tail = log.tail.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(text.into());
        }
        if text.starts_with(CONSENSUS_FAILURE) {
            log.failed.notify_one();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    Debug,
    Info,
    Error,
}

/// A line of CometBFT's log, `I[2026-01-01|12:00:00.000] text   module=main`, as level and text. Lines of another form are
/// what Go prints of a panic.
fn parse(line: &str) -> (Level, &str) {
    let parts = line
        .split_once('[')
        .and_then(|(level, rest)| Some((level, rest.split_once("] ")?.1)));
    match parts {
        Some(("D", text)) => (Level::Debug, text.trim_end()),
        Some(("I", text)) => (Level::Info, text.trim_end()),
        Some(("E", text)) => (Level::Error, text.trim_end()),
        _ => (Level::Error, line.trim_end()),
    }
}

/// A line's message, the module that wrote it, and its other fields as they stand: `text   module=p2p err=EOF`.
fn parts(text: &str) -> (&str, &str, &str) {
    let Some((message, rest)) = text.split_once(" module=") else {
        return (text, "", "");
    };
    let (module, details) = rest.split_once(' ').unwrap_or((rest, ""));
    (message.trim_end(), module, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_told_apart() {
        let line = "E[2026-11-23|21:49:09.905] Stopping peer                 module=p2p err=EOF ";
        let text = "Stopping peer                 module=p2p err=EOF";
        assert_eq!(parse(line), (Level::Error, text));
        assert_eq!(parse("I[x] Started [node]"), (Level::Info, "Started [node]"));
        assert_eq!(
            parse("goroutine 1 [running]:"),
            (Level::Error, "goroutine 1 [running]:")
        );
        assert_eq!(parse(""), (Level::Error, ""));
        assert_eq!(parts(text), ("Stopping peer", "p2p", "err=EOF"));
        assert_eq!(parts("Started [node]"), ("Started [node]", "", ""));
    }
}
