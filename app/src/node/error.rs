//! What can go wrong with a node.

use std::io;
use std::path::PathBuf;

use crate::abci::ServerError;
use crate::application::Fatal;
use crate::store::StoreError;
use trainyard_modules::upgrade::Refusal;

/// Why a node cannot be made, started or kept running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is no home.
    #[error("{} is no node's home: {missing} is missing; make one with `trainyard init`", .home.display())]
    NoHome {
        /// The folder.
        home: PathBuf,
        /// The file that is not there.
        missing: &'static str,
    },
    /// The folder already is a home.
    #[error("{} already holds a node ({} is there); choose another --home or move it away", .home.display(), .found)]
    HomeTaken {
        /// The folder.
        home: PathBuf,
        /// The file that is there.
        found: &'static str,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file does not say what it should.
    #[error("{}: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A value the operator gave cannot be used.
    #[error("{0}")]
    Value(String),
    /// gRPC or REST cannot be served.
    #[error("gRPC and REST: {0}; see grpc and rest in app.toml")]
    Doors(String),
    /// CometBFT is not installed.
    #[error("the program cometbft is neither on the PATH nor in {}; scripts/setup installs it", .0.display())]
    NoComet(PathBuf),
    /// CometBFT cannot be started.
    #[error("cannot run {}: {source}", .program.display())]
    CannotRun {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A short run of CometBFT failed.
    #[error("`cometbft {command}` failed: {output}")]
    CometFailed {
        /// What it was asked to do.
        command: String,
        /// What it printed.
        output: String,
    },
    /// The child of an earlier run, whose parent was killed, does not end.
    #[error("the CometBFT of an earlier run still uses {}; end it first", .0.display())]
    CometLeft(PathBuf),
    /// The child ended by itself, or still runs without doing its work.
    #[error("CometBFT {what}{}; its last lines:\n{}", disk_full(.lines), .lines.join("\n"))]
    CometEnded {
        /// What happened to it.
        what: String,
        /// What it said last.
        lines: Vec<String>,
    },
    /// The genesis file is not the one that the node's blocks began with.
    #[error(
        "the genesis is of chain {:?} from height {} on, the node has blocks of chain {:?} up to height {}; \
         to begin from this genesis let it forget them with `trainyard unsafe-reset-all`",
        .genesis.0, .genesis.1, .blocks.0, .blocks.1
    )]
    OtherChain {
        /// Chain id and first height in the file.
        genesis: (String, String),
        /// Chain id and height of the last block.
        blocks: (String, u64),
    },
    /// There is nothing left to do before the height to halt at.
    #[error(
        "the node is at height {height} and is to halt at {halt_height}; give it a higher height to halt at, or 0 for none"
    )]
    AlreadyHalted {
        /// The last committed height.
        height: u64,
        /// The height to halt at.
        halt_height: u64,
    },
    /// The next block needs another program. The text is what the SDK logs.
    #[error("{needed}; upgrade-info.json is written, start the program of that name")]
    UpgradeNeeded {
        /// What cosmovisor's users know.
        needed: Refusal,
    },
    /// The program is the wrong one for the next block.
    #[error(transparent)]
    Version(#[from] Refusal),
    /// The process cannot be set up.
    #[error("cannot set the process up: {0}")]
    Runtime(io::Error),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The application does not start.
    #[error(transparent)]
    Application(#[from] Fatal),
    /// The socket, or the application behind it, failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] trainyard_client::keys::Error),
    /// The state machine refuses a genesis.
    #[error("the genesis is not valid: {0}")]
    Genesis(trainyard_modules::error::Error),
}

/// What an operator should know first, where the child's last lines say it.
fn disk_full(lines: &[String]) -> &'static str {
    if lines.iter().any(|line| line.contains("no space left on device")) {
        " because the disk is full: free some space and start again"
    } else {
        ""
    }
}
