//! What can go wrong in the store, and whether the node may go on.

use std::path::PathBuf;
use std::sync::Arc;

/// An error of the store. [`StoreError::is_fatal`] tells a damaged or full disk from a question that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or this one, has the store open.
    #[error("another process{} already uses {}; stop it first", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), .path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
        /// The process that holds it, where it could be read.
        pid: Option<u32>,
    },
    /// The directory could not be created, read or locked.
    #[error("cannot open the store in {}: {source}", .path.display())]
    Open {
        /// The store's directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A write failed for lack of space. The last committed version is intact.
    #[error("the disk is full; free some space and start again, the last committed height is intact ({0})")]
    DiskFull(String),
    /// RocksDB could not read or write.
    #[error("the database failed: {0}")]
    Database(rocksdb::Error),
    /// What the last write met, behind the back of whoever committed. The height before it is intact.
    #[error(transparent)]
    Unwritten(Arc<StoreError>),
    /// What is on the disk is not what this program writes.
    #[error("the store is damaged: {0}; restore it from a snapshot or sync again")]
    Damaged(String),
    /// The height was there once.
    #[error("height {height} is not available: the lowest height available is {oldest}")]
    Pruned {
        /// The height asked for.
        height: u64,
        /// The lowest height that can be read.
        oldest: u64,
    },
    /// The height is still to come.
    #[error("height {height} is not committed yet: the latest height is {latest}")]
    NotYet {
        /// The height asked for.
        height: u64,
        /// The latest committed height.
        latest: u64,
    },
    /// There is no committed state.
    #[error("nothing is committed yet")]
    Empty,
    /// An empty tree has no neighbours that could prove an absence.
    #[error("the state at height {height} is empty: nothing can be proven about it")]
    EmptyTree {
        /// The height asked for.
        height: u64,
    },
    /// Heights follow one another without a gap, from 1 or above.
    #[error("height {found} cannot be prepared: the next height is {expected}")]
    Height {
        /// The height given.
        found: u64,
        /// The only height that would do (the lowest one, in an empty store).
        expected: u64,
    },
    /// The batch was prepared on another version than the latest one.
    #[error("the batch for height {height} was prepared on {base}, but the latest height is {latest}")]
    Outdated {
        /// The height of the batch.
        height: u64,
        /// The height the batch was prepared on (0: the empty store).
        base: u64,
        /// The latest committed height (0: none).
        latest: u64,
    },
    /// Only an empty store can be restored.
    #[error("the store is at height {latest}; only an empty one can be restored from a snapshot")]
    NotEmpty {
        /// The latest committed height.
        latest: u64,
    },
    /// What was to be restored is not the state that was asked for.
    #[error("the state restored at height {height} has the app hash {}, expected {}", hex::encode(.found), hex::encode(.expected))]
    WrongHash {
        /// The height.
        height: u64,
        /// The hash of what was put.
        found: [u8; 32],
        /// The hash it should have.
        expected: [u8; 32],
    },
    /// Pairs to be restored are damaged, or not in the order of their keys.
    #[error("the pairs to restore are not in the order of their keys")]
    Unsorted,
    /// ICS23 cannot prove anything about an empty key, so it may not be written.
    #[error("an empty key cannot be written")]
    EmptyKey,
}

impl StoreError {
    /// Whether the node must stop: the state can no longer be trusted to be read or written.
    /// `false` for a question about a height that is not there.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Pruned { .. } | Self::NotYet { .. } | Self::Empty | Self::EmptyTree { .. }
        )
    }
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        let text: &str = error.as_ref();
        if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
            Self::DiskFull(error.into_string())
        } else {
            Self::Database(error)
        }
    }
}
