//! The node's state on disk: a Merkle tree over versioned values, one version per height.
//!
//! [`Store::prepare`] computes a height's changes and its app hash without writing anything; [`Store::commit`] writes
//! them, and whatever the node notes beside them, in one atomic, synced write. [`Snapshot`] reads the state at any
//! height that is still there, [`Store::prove`] proves a value or its absence against the app hash of a height.
//!
//! ```text
//! mod.rs       the store: open, prepare, commit, prove
//! snapshot.rs  reading the state at a height: single keys and ordered ranges
//! prune.rs     forgetting old heights, taking back the latest one
//! tree.rs      the Merkle tree: its nodes, how they are hashed and stored
//! update.rs    what a height changes in the tree
//! proof.rs     ICS23 proofs out of the tree
//! restore.rs   building a height out of keys and values brought by others
//! columns.rs   RocksDB: columns, tuning, who has it open
//! keys.rs      how keys are laid out in the columns
//! ```
//!
//! The tree is a Jellyfish Merkle tree with SHA-256, whose version is the height. It is ordered by the hash of the key, so
//! the values live beside it in the order of their keys.

mod columns;
mod error;
mod keys;
mod proof;
mod prune;
mod restore;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;
mod update;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rayon::prelude::*;
use rocksdb::{DB, DBRawIterator, WaitForCompactOptions, WriteBatch, WriteOptions};
use sha2::{Digest, Sha256};
use trainyard_client::proof::{EMPTY, provable};

use columns::{INDEX, META, NODES, PREIMAGES, VALUES, handle};
pub use error::StoreError;
use keys::{Stale, StaleRows};
pub use restore::Restore;
pub use snapshot::{Cursor, Pair, Range, Snapshot, Version};
use tree::Hash;
use update::{Change, Output, Update};

/// A change of the state: per key its new value, or `None` to delete it.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The newest rows of keys as of the latest height, read while the next one was computed.
pub type Known = HashMap<Vec<u8>, Option<Version>>;

/// Below how many changes threads cost more than they bring.
const PARALLEL: usize = 64;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many heights can be read (at least the latest one); `None` keeps all.
    pub keep_recent: Option<u64>,
    /// Memory for cached blocks, bytes. Filters and indices of files stand beside it: about two bytes a key.
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
    writes: WriteBatch,
    notes: BTreeMap<String, Vec<u8>>,
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

/// What the clones of a [`Store`] and its snapshots share.
struct Inner {
    db: DB,
    keep_recent: Option<u64>,
    latest: RwLock<Option<Committed>>,
    /// The lowest height that can be read; 0 while nothing is committed.
    oldest: AtomicU64,
    /// The heights that snapshots hold, each with the number of its holders: they and what follows are not forgotten.
    held: Mutex<BTreeMap<u64, usize>>,
    /// Taken by whoever writes; holds the key in `index` up to which nothing is left to sweep.
    writer: Mutex<Vec<u8>>,
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
        let store = Self {
            inner: Arc::new(Inner {
                db,
                keep_recent: options.keep_recent.map(|heights| heights.max(1)),
                latest: RwLock::new(latest),
                oldest: AtomicU64::new(oldest),
                held: Mutex::default(),
                writer: Mutex::default(),
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
        self.view(self.latest().map_or(0, |latest| latest.height))
    }

    fn view(&self, height: u64) -> Snapshot {
        Snapshot {
            inner: Arc::clone(&self.inner),
            height,
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
        let root = tree::root(&self.inner.db, height);
        self.inner.check_oldest(height)?;
        Ok(root?.hash())
    }

    /// The note that was committed under `name`.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner.db.get_cf(handle(&self.inner.db, META)?, note_key(name))?)
    }

    /// Computes the state at `height` after `changes` and its app hash. Writes nothing.
    ///
    /// The first height may be any from 1 on; then each follows the one before. A height without changes has the app
    /// hash of the one before. Setting a key to the value it has and deleting a key that is not there are no changes.
    pub fn prepare(&self, height: u64, changes: Changes) -> Result<Batch, StoreError> {
        self.prepare_known(height, changes, &Known::new())
    }

    /// Like [`Self::prepare`], without reading again what is `known` of the latest height.
    pub fn prepare_known(&self, height: u64, changes: Changes, known: &Known) -> Result<Batch, StoreError> {
        let base = self.latest();
        let expected = base.map_or(1, |base| base.height + 1);
        if height < expected || (base.is_some() && height > expected) {
            return Err(StoreError::Height {
                found: height,
                expected,
            });
        }
        let changes: Vec<_> = changes.into_iter().collect();
        let (db, seeker) = (&self.inner.db, || snapshot::seeker(&self.inner.db));
        let rows: Result<Vec<Option<Row>>, _> = if changes.len() < PARALLEL {
            let mut rows = seeker()?;
            let changed = changes
                .into_iter()
                .map(|(key, value)| change(&mut rows, height, key, value, known));
            changed.collect()
        } else {
            let changed = changes
                .into_par_iter()
                .with_min_len(PARALLEL)
                .map_init(seeker, |rows, (key, value)| match rows {
                    Ok(rows) => change(rows, height, key, value, known),
                    Err(_) => change(&mut snapshot::seeker(db)?, height, key, value, known),
                });
            changed.collect()
        };
        let rows = rows?.into_iter().flatten().collect();
        let (app_hash, writes) = self.write(base.map(|base| base.height), height, rows)?;
        Ok(Batch {
            committed: Committed { height, app_hash },
            base,
            writes,
            notes: BTreeMap::new(),
        })
    }

    /// The writes of a version over another one, and its app hash.
    fn write(&self, base: Option<u64>, height: u64, mut rows: Vec<Row>) -> Result<(Hash, WriteBatch), StoreError> {
        let db = &self.inner.db;
        let (nodes, values) = (handle(db, NODES)?, handle(db, VALUES)?);
        let (preimages, index) = (handle(db, PREIMAGES)?, handle(db, INDEX)?);
        let mut writes = WriteBatch::default();
        let mut output = Output::default();
        for row in &rows {
            writes.put_cf(values, &row.row, &row.value);
            match &row.replaced {
                Some(replaced) => output.stale.push(Stale::Value, replaced),
                None => writes.put_cf(preimages, row.change.key, &row.key),
            }
            if row.change.value.is_none() {
                output.stale.push(Stale::Tombstone, &row.row);
            }
        }
        rows.sort_unstable_by_key(|row| row.change.key);
        let changes: Vec<Change> = rows.into_iter().map(|row| row.change).collect();
        let root = Update { db, version: height }.run(base, &changes, &mut output)?;
        for (key, row) in output.rows {
            writes.put_cf(nodes, key, row);
        }
        for (key, row) in output.stale.rows(height) {
            writes.put_cf(index, key, row);
        }
        Ok((root, writes))
    }

    /// Writes a batch, synced, or nothing at all; then sweeps what `keep_recent` allows to forget. After an error the
    /// store must be opened again to know which it was.
    pub fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let Batch {
            committed,
            base,
            mut writes,
            notes,
        } = batch;
        let mut writer = self.inner.writer();
        let latest = self.latest();
        if latest != base {
            let height = |of: Option<Committed>| of.map_or(0, |of| of.height);
            return Err(StoreError::Outdated {
                height: committed.height,
                base: height(base),
                latest: height(latest),
            });
        }
        let meta = handle(&self.inner.db, META)?;
        writes.put_cf(meta, LATEST, encode_committed(committed));
        if base.is_none() {
            writes.put_cf(meta, OLDEST, committed.height.to_be_bytes());
        }
        for (name, value) in notes {
            writes.put_cf(meta, note_key(&name), value);
        }
        self.inner.write_synced(writes)?;
        if base.is_none() {
            self.inner.oldest.store(committed.height, Ordering::SeqCst);
        }
        self.inner.set_latest(committed);
        if let Some(keep) = self.inner.keep_recent {
            self.inner.forget(
                &mut writer,
                (committed.height + 1).saturating_sub(keep),
                prune::PER_COMMIT,
            )?;
        }
        Ok(committed)
    }

    /// Waits until the database has put its files in order. After a great many writes at once it does so for a while, at the
    /// expense of whatever else runs.
    pub fn settle(&self) -> Result<(), StoreError> {
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
        let proven = proof::prove(&self.inner.db, key, height);
        self.inner.check_oldest(height)?; // It may have been pruned meanwhile.
        proven
    }
}

/// What one change writes; nothing where it changes nothing.
fn change(
    rows: &mut DBRawIterator<'_>,
    height: u64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    known: &Known,
) -> Result<Option<Row>, StoreError> {
    if key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    let escaped = keys::escape(&key);
    let read;
    let before = match known.get(&key) {
        Some(before) => before,
        None => {
            read = snapshot::seek(rows, &escaped, height)?;
            &read
        }
    };
    let live = before
        .as_ref()
        .and_then(|(version, value)| value.as_ref().map(|value| (*version, value)));
    if live.map(|(_, value)| value) == value.as_ref() {
        return Ok(None);
    }
    Ok(Some(Row {
        change: Change {
            key: key_hash(&key),
            value: value.as_deref().map(|value| Sha256::digest(provable(value)).into()),
        },
        row: keys::value(&escaped, height),
        replaced: live.map(|(version, _)| keys::value(&escaped, version)),
        value: keys::encode_value(value.as_deref()),
        key,
    }))
}

/// What a change writes.
struct Row {
    change: Change,
    key: Vec<u8>,
    /// Its place in `values`, and what stands there.
    row: Vec<u8>,
    value: Vec<u8>,
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

    fn writer(&self) -> MutexGuard<'_, Vec<u8>> {
        // What it guards is only a hint where to start sweeping.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_synced(&self, writes: WriteBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.db.write_opt(writes, &options)?)
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
