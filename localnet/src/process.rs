//! A process that ends with its owner.

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use color_eyre::eyre::{Context, Result, bail, eyre};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How long a process may take to stop when asked.
const GRACE: Duration = Duration::from_secs(15);

/// A process in a group of its own, with its output in a file. Dropping it stops it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Path of one of the workspace's binaries: beside this one, or where cargo put it for a test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| eyre!("{name} is not built; `cargo build --workspace --bins` builds it"))
}

impl Process {
    /// Starts `name` with arguments; its output goes to `log`.
    pub fn start<S: AsRef<OsStr>>(name: &str, args: &[S], log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .wrap_err_with(|| log.display().to_string())?;
        let child = Command::new(binary(name)?)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .wrap_err_with(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.into(),
            child,
            log: log.to_path_buf(),
        })
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Fails when it has ended, with the end of what it printed.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(8).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!("{} ended with {status}:\n{}", self.name, tail.join("\n"));
        }
        Ok(())
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(nix::sys::signal::kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            signal,
        )?)
    }

    /// Kills it as a power cut would: no chance to clean up.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.end()
    }

    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Whatever it started goes with it.
        let _ = killpg(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGKILL);
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Runs one of the binaries to its end and gives what it printed.
pub fn run<S: AsRef<OsStr>>(name: &str, args: &[S]) -> Result<String> {
    let output = Command::new(binary(name)?).args(args).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let shown: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
        bail!(
            "{name} {} ended with {}: {}",
            shown.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until `condition` gives something; what it waits for is named when it takes too long.
pub async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = None;
    while start.elapsed() < limit {
        match condition().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(e) => last = Some(e),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let why = last.map(|e| format!(": {e:#}")).unwrap_or_default();
    bail!("waited {} s for {what} in vain{why}", limit.as_secs())
}
