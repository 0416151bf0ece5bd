//! The node's state on disk: a Merkle tree over versioned values, one version per height.
//!
//! [`Store::prepare`] computes a height's changes and its app hash without writing anything; [`Store::commit`] makes
//! them the latest height, and has them written, with whatever the node notes beside them, in one atomic, synced write.
//! That write goes on while the next height is computed, and is over before the next one is committed: whoever loses
//! power loses at most the latest height, which CometBFT then asks for again. [`Snapshot`] reads the state at any height
//! that is still there, [`Store::prove`] proves a value or its absence against the app hash of a height.
//!
//! ```text
//! mod.rs       the store: open, prepare, commit, prove
//! snapshot.rs  reading the state at a height: single keys and ordered ranges
//! prune.rs     forgetting old heights, taking back the latest one
//! writer.rs    writing, one at a time, and behind the back of whoever commits
//! recent.rs    what was read or written of late, in memory
//! tree.rs      the Merkle tree: its nodes, how they are hashed and stored
//! update.rs    what a height changes in the tree
//! proof.rs     ICS23 proofs out of the tree
//! restore.rs   building a height out of keys and values brought by others
//! generations.rs
//!              a memory of bounded size
//! columns.rs   RocksDB: columns, tuning, who has it open
//! keys.rs      how keys are laid out in the columns
//! ```
//!
//! The tree is a Jellyfish Merkle tree with SHA-256, whose version is the height. It is ordered by the hash of the key, so
//! the values live beside it in the order of their keys.

mod columns;
mod error;
mod generations;
mod keys;
mod proof;
mod prune;
mod recent;
mod restore;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;
mod update;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rayon::prelude::*;
use rocksdb::{DB, WaitForCompactOptions};
use sha2::{Digest, Sha256};
use trainyard_client::proof::{EMPTY, provable};

use columns::{META, handle};
pub use error::StoreError;
pub(crate) use generations::Generations;
use keys::StaleRows;
use recent::Recent;
pub use restore::Restore;
use snapshot::Version;
pub use snapshot::{Cursor, Pair, Range, Snapshot};
use tree::Hash;
use update::{Change, Output, Update};
use writer::Writer;

/// A change of the state: per key its new value, or `None` to delete it.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Which part of the memory for cached blocks stands beside it for single keys.
const RECENT_SHARE: usize = 4;
/// Below how many changes threads cost more than they bring.
const PARALLEL: usize = 64;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many heights can be read (at least the latest one); `None` keeps all.
    pub keep_recent: Option<u64>,
    /// Memory for cached blocks of files, bytes. Beside it stand, in a quarter of it, what was read and written of late; and
    /// filters and indices of files, about two bytes a key.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_recent: None,
            cache_bytes: 256 << 20,
        }
    }
}

/// A committed height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The height, from 1.
    pub height: u64,
    /// The root of the tree at that height.
    pub app_hash: [u8; 32],
}

/// What [`Store::prepare`] computed and [`Store::commit`] writes.
pub struct Batch {
    committed: Committed,
    /// The version it was computed on.
    base: Option<Committed>,
    rows: Rows,
    notes: BTreeMap<String, Vec<u8>>,
}

/// What a version changes, and the nodes of its tree.
struct Rows {
    changes: Vec<Row>,
    tree: Output,
}

impl Batch {
    /// The height that the batch commits and its app hash.
    pub fn committed(&self) -> Committed {
        self.committed
    }

    /// Adds a note, written with the batch or not at all; read it with [`Store::note`].
    pub fn put_note(&mut self, name: &str, value: Vec<u8>) {
        self.notes.insert(name.to_owned(), value);
    }
}

/// The state of the node. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Drop for Store {
    /// What is being written holds the database open: a process must not end meanwhile.
    fn drop(&mut self) {
        // Whoever wants to know how it went has called [`Store::flush`].
        let _ = self.flush();
    }
}

/// What the clones of a [`Store`] and its snapshots share.
struct Inner {
    db: DB,
    recent: Recent,
    keep_recent: Option<u64>,
    latest: RwLock<Option<Committed>>,
    /// The lowest height that can be read; 0 while nothing is committed.
    oldest: AtomicU64,
    /// The heights that snapshots hold, each with the number of its holders: they and what follows are not forgotten.
    held: Mutex<BTreeMap<u64, usize>>,
    /// Up to which height everything is on disk: the latest one, or the one before while that is being written.
    written: AtomicU64,
    /// Taken by whoever writes.
    writer: Mutex<Writer>,
}

const LATEST: &str = "latest";
const OLDEST: &str = "oldest";
/// Before the names of notes in the column `meta`.
const NOTE: &str = "note/";

impl Store {
    /// Opens the store in `dir`, creating it if need be. Only one process can have it open.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, StoreError> {
        let db = columns::open(dir, options)?;
        let meta = handle(&db, META)?;
        let latest = db.get_cf(meta, LATEST)?.map(|row| decode_committed(&row)).transpose()?;
        let oldest = db.get_cf(meta, OLDEST)?.map_or(Ok(0), |row| decode_height(&row))?;
        let height = latest.map_or(0, |latest| latest.height);
        let writer = Writer::start().map_err(|source| StoreError::Open {
            path: dir.to_owned(),
            source,
        })?;
        let store = Self {
            inner: Arc::new(Inner {
                db,
                recent: Recent::new(height, options.cache_bytes / RECENT_SHARE),
                keep_recent: options.keep_recent.map(|heights| heights.max(1)),
                latest: RwLock::new(latest),
                oldest: AtomicU64::new(oldest),
                held: Mutex::default(),
                written: AtomicU64::new(height),
                writer: Mutex::new(writer),
            }),
        };
        if latest.is_none() {
            store.wipe()?;
        }
        Ok(store)
    }

    /// The app hash of the empty state.
    pub fn empty_root() -> [u8; 32] {
        EMPTY
    }

    /// The latest committed height, if there is one.
    pub fn latest(&self) -> Option<Committed> {
        self.inner.latest()
    }

    /// The lowest height that can be read, if any.
    pub fn oldest(&self) -> Option<u64> {
        self.latest().map(|_| self.inner.oldest.load(Ordering::SeqCst))
    }

    /// The state at the latest height, or the empty state (height 0) while nothing is committed.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            remembers: true,
            ..self.view(self.latest().map_or(0, |latest| latest.height))
        }
    }

    fn view(&self, height: u64) -> Snapshot {
        Snapshot {
            inner: Arc::clone(&self.inner),
            height,
            remembers: false,
            _hold: None,
        }
    }

    /// The state at `height`, which is not forgotten before the snapshot and its clones are dropped.
    pub fn hold(&self, height: u64) -> Result<Snapshot, StoreError> {
        let hold = snapshot::Hold::new(&self.inner, height);
        self.inner.check(height)?;
        Ok(Snapshot {
            _hold: Some(Arc::new(hold)),
            ..self.view(height)
        })
    }

    /// The state at `height`.
    pub fn at(&self, height: u64) -> Result<Snapshot, StoreError> {
        self.inner.check(height)?;
        Ok(self.view(height))
    }

    /// The app hash of `height`.
    pub fn app_hash(&self, height: u64) -> Result<[u8; 32], StoreError> {
        self.inner.check(height)?;
        self.inner.wait_for(height)?;
        let root = tree::root(&self.inner.db, height);
        self.inner.check_oldest(height)?;
        Ok(root?.hash())
    }

    /// The note that was committed under `name`.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.flush()?;
        Ok(self.inner.db.get_cf(handle(&self.inner.db, META)?, note_key(name))?)
    }

    /// Computes the state at `height` after `changes` and its app hash. Writes nothing.
    ///
    /// The first height may be any from 1 on; then each follows the one before. A height without changes has the app
    /// hash of the one before. Setting a key to the value it has and deleting a key that is not there are no changes.
    pub fn prepare(&self, height: u64, changes: Changes) -> Result<Batch, StoreError> {
        let base = self.latest();
        let expected = base.map_or(1, |base| base.height + 1);
        if height < expected || (base.is_some() && height > expected) {
            return Err(StoreError::Height {
                found: height,
                expected,
            });
        }
        self.inner.wait_for(base.map_or(0, |base| base.height))?;
        let changes: Vec<_> = changes.into_iter().collect();
        let before = self.snapshot();
        let cursor = || before.cursor();
        let rows: Result<Vec<Option<Row>>, _> = if changes.len() < PARALLEL {
            let mut before = cursor();
            let changed = changes
                .into_iter()
                .map(|(key, value)| change(&mut before, height, key, value));
            changed.collect()
        } else {
            let changed = changes
                .into_par_iter()
                .with_min_len(PARALLEL)
                .map_init(cursor, |before, (key, value)| change(before, height, key, value));
            changed.collect()
        };
        let changes = rows?.into_iter().flatten().collect();
        let (app_hash, rows) = self.rows(base.map(|base| base.height), height, changes)?;
        Ok(Batch {
            committed: Committed { height, app_hash },
            base,
            rows,
            notes: BTreeMap::new(),
        })
    }

    /// The rows of a version over another one, and its app hash.
    fn rows(&self, base: Option<u64>, height: u64, mut changes: Vec<Row>) -> Result<(Hash, Rows), StoreError> {
        let mut tree = Output::default();
        changes.sort_unstable_by_key(|row| row.change.key);
        let leaves: Vec<Change> = changes.iter().map(|row| row.change).collect();
        let update = Update {
            db: &self.inner.db,
            version: height,
        };
        let root = update.run(base, &leaves, &mut tree)?;
        Ok((root, Rows { changes, tree }))
    }

    /// Makes a batch the latest height and has it written, synced, or nothing at all; then sweeps what `keep_recent` allows to
    /// forget. Returns before that is done: [`Self::flush`] waits. After an error, which may be of the batch before, the store
    /// must be opened again to know what was written.
    pub fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let Batch {
            committed,
            base,
            rows,
            notes,
        } = batch;
        let mut writer = self.inner.writer()?;
        let latest = self.latest();
        if latest != base {
            let height = |of: Option<Committed>| of.map_or(0, |of| of.height);
            return Err(StoreError::Outdated {
                height: committed.height,
                base: height(base),
                latest: height(latest),
            });
        }
        if base.is_none() {
            self.inner.oldest.store(committed.height, Ordering::SeqCst);
        }
        self.inner.recent.advance(committed.height, &rows.changes);
        self.inner.set_latest(committed);
        if let Some(keep) = self.inner.keep_recent {
            self.inner.raise((committed.height + 1).saturating_sub(keep));
        }
        let (write, sweep) = (Arc::clone(&self.inner), Arc::clone(&self.inner));
        writer.run(
            move || {
                let written = write.write_height(committed, base.is_none(), rows, notes);
                written.inspect_err(|error| {
                    // Whoever needs the height is told; until then nobody asks.
                    tracing::error!(target: "store", height = committed.height, %error, "a height could not be written");
                })
            },
            move |swept| {
                let written = sweep.written.load(Ordering::SeqCst) == committed.height;
                if written && sweep.keep_recent.is_some() {
                    sweep.forget(swept, prune::PER_COMMIT)?;
                }
                Ok(())
            },
        );
        Ok(committed)
    }

    /// Waits until the latest height is on disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.inner.writer().map(drop)
    }

    /// Waits until the database has put its files in order. After a great many writes at once it does so for a while, at the
    /// expense of whatever else runs.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.flush()?;
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        Ok(self.inner.db.wait_for_compact(&options)?)
    }

    /// The value of `key` at `height` and a proof of it, or of its absence, against the app hash of `height`.
    ///
    /// It verifies with [`trainyard_client::proof::spec`]; what is proven of a stored empty value is [`provable`] of it.
    pub fn prove(&self, key: &[u8], height: u64) -> Result<(Option<Vec<u8>>, ics23::CommitmentProof), StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        self.inner.check(height)?;
        self.inner.wait_for(height)?;
        let proven = proof::prove(&self.inner.db, key, height);
        self.inner.check_oldest(height)?; // It may have been pruned meanwhile.
        proven
    }
}

/// What one change writes; nothing where it changes nothing.
fn change(
    before: &mut Cursor<'_>,
    height: u64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
) -> Result<Option<Row>, StoreError> {
    if key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    let replaced = match before.newest(&key)? {
        Some((_, live)) if live == value => return Ok(None),
        Some((version, Some(_))) => Some(version),
        Some((_, None)) => None,
        None if value.is_none() => return Ok(None),
        None => None,
    };
    let escaped = keys::escape(&key);
    Ok(Some(Row {
        change: Change {
            key: key_hash(&key),
            value: value.as_deref().map(|value| Sha256::digest(provable(value)).into()),
        },
        row: keys::value(&escaped, height),
        replaced: replaced.map(|version| keys::value(&escaped, version)),
        key,
        value,
    }))
}

/// What a change writes.
struct Row {
    change: Change,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    /// Its place in `values`.
    row: Vec<u8>,
    /// The row that it replaces.
    replaced: Option<Vec<u8>>,
}

impl Inner {
    fn latest(&self) -> Option<Committed> {
        *self.latest.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_latest(&self, latest: Committed) {
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Some(latest);
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the state at `height` can be read.
    fn check(&self, height: u64) -> Result<(), StoreError> {
        let latest = self.latest().ok_or(StoreError::Empty)?.height;
        if height > latest {
            return Err(StoreError::NotYet { height, latest });
        }
        let oldest = self.oldest.load(Ordering::SeqCst);
        if height < oldest {
            Err(StoreError::Pruned { height, oldest })
        } else {
            Ok(())
        }
    }

    /// To be asked after reading: whether what was read was still complete. The mark is raised before anything is
    /// deleted. Height 0 is always empty.
    fn check_oldest(&self, height: u64) -> Result<(), StoreError> {
        let oldest = self.oldest.load(Ordering::SeqCst);
        if height != 0 && height < oldest {
            Err(StoreError::Pruned { height, oldest })
        } else {
            Ok(())
        }
    }
}

/// The key of a note in `meta`.
fn note_key(name: &str) -> String {
    format!("{NOTE}{name}")
}

/// Where a key lies in the tree.
fn key_hash(key: &[u8]) -> Hash {
    Sha256::digest(key).into()
}

fn encode_committed(committed: Committed) -> Vec<u8> {
    [&committed.height.to_be_bytes()[..], &committed.app_hash].concat()
}

fn decode_committed(row: &[u8]) -> Result<Committed, StoreError> {
    let damaged = || StoreError::Damaged(format!("the row `{LATEST}` has {} bytes instead of 40", row.len()));
    let (height, app_hash) = row.split_at_checked(8).ok_or_else(damaged)?;
    Ok(Committed {
        height: decode_height(height)?,
        app_hash: app_hash.try_into().map_err(|_| damaged())?,
    })
}

fn decode_height(row: &[u8]) -> Result<u64, StoreError> {
    let bytes = row
        .try_into()
        .map_err(|_| StoreError::Damaged(format!("a height has {} bytes", row.len())))?;
    Ok(u64::from_be_bytes(bytes))
}
