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
//! tree.rs      how the Merkle tree reads the columns
//! columns.rs   RocksDB: columns, tuning, who has it open
//! keys.rs      how keys are laid out in the columns
//! ```
//!
//! The tree is a Jellyfish Merkle tree (`jmt`) with SHA-256, whose version is the height. It is ordered by the hash of
//! the key, so the values live beside it in the order of their keys.

mod columns;
mod error;
mod keys;
mod prune;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jmt::{KeyHash, RootHash, Sha256Jmt};
use rocksdb::{DB, WriteBatch, WriteOptions};
use sha2::{Digest, Sha256};

use columns::{INDEX, META, NODES, PREIMAGES, VALUES, handle};
pub use error::StoreError;
use keys::Stale;
pub use snapshot::{Pair, Range, Snapshot};
use tree::Tree;
pub use tree::provable;

/// A change of the state: per key its new value, or `None` to delete it.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What the tree is told of a change.
type Leaf = (KeyHash, Option<Vec<u8>>);

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many heights can be read (at least the latest one); `None` keeps all.
    pub keep_recent: Option<u64>,
    /// Memory for cached blocks, filters and indices, bytes.
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
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                keep_recent: options.keep_recent.map(|heights| heights.max(1)),
                latest: RwLock::new(latest),
                oldest: AtomicU64::new(oldest),
                writer: Mutex::default(),
            }),
        })
    }

    /// The app hash of the empty state.
    pub fn empty_root() -> [u8; 32] {
        Sha256Jmt::<'static, Tree<'static>>::EMPTY_ROOT.0
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
            inner: Arc::clone(&self.inner),
            height: self.latest().map_or(0, |latest| latest.height),
        }
    }

    /// The state at `height`.
    pub fn at(&self, height: u64) -> Result<Snapshot, StoreError> {
        self.inner.check(height)?;
        Ok(Snapshot {
            inner: Arc::clone(&self.inner),
            height,
        })
    }

    /// The app hash of `height`.
    pub fn app_hash(&self, height: u64) -> Result<[u8; 32], StoreError> {
        self.inner.check(height)?;
        let tree = Tree {
            db: &self.inner.db,
            before_first: None,
        };
        let root = Sha256Jmt::new(&tree).get_root_hash(height);
        self.inner.check_oldest(height)?;
        Ok(root?.0)
    }

    /// The note that was committed under `name`.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .inner
            .db
            .get_cf(handle(&self.inner.db, META)?, format!("{NOTE}{name}"))?)
    }

    /// Computes the state at `height` after `changes` and its app hash. Writes nothing.
    ///
    /// The first height may be any from 1 on; then each follows the one before. A height without changes has the app
    /// hash of the one before. Setting a key to the value it has and deleting a key that is not there are no changes.
    pub fn prepare(&self, height: u64, changes: Changes) -> Result<Batch, StoreError> {
        let db = &self.inner.db;
        let base = self.latest();
        let expected = base.map_or(1, |base| base.height + 1);
        if height < expected || (base.is_some() && height > expected) {
            return Err(StoreError::Height {
                found: height,
                expected,
            });
        }
        let mut writes = WriteBatch::default();
        let mut leaves = Vec::with_capacity(changes.len());
        for (key, value) in changes {
            if let Some(leaf) = self.change(height, &key, value, &mut writes)? {
                leaves.push(leaf);
            }
        }
        let tree = Tree {
            db,
            before_first: base.is_none().then(|| height - 1),
        };
        let (RootHash(app_hash), update) = Sha256Jmt::new(&tree).put_value_set(leaves, height)?;
        let (nodes, index) = (handle(db, NODES)?, handle(db, INDEX)?);
        for (key, node) in update.node_batch.nodes() {
            let row = borsh::to_vec(node).map_err(|error| StoreError::Tree(error.to_string()))?;
            writes.put_cf(nodes, keys::node(key), row);
        }
        for stale in &update.stale_node_index_batch {
            let key = keys::index(stale.stale_since_version, Stale::Node, &keys::node(&stale.node_key));
            writes.put_cf(index, key, []);
        }
        if let Some(base) = base {
            // The tree does not say so when it copies an unchanged root or replaces an empty one.
            writes.put_cf(
                index,
                keys::index(height, Stale::Node, &keys::node_root(base.height)),
                [],
            );
        }
        Ok(Batch {
            committed: Committed { height, app_hash },
            base,
            writes,
            notes: BTreeMap::new(),
        })
    }

    /// Adds one change to `writes`, unless it changes nothing, and returns the tree's leaf for it.
    fn change(
        &self,
        height: u64,
        key: &[u8],
        value: Option<Vec<u8>>,
        writes: &mut WriteBatch,
    ) -> Result<Option<Leaf>, StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        let db = &self.inner.db;
        let escaped = keys::escape(key);
        let before = snapshot::newest(db, &escaped, height)?;
        let live = before
            .as_ref()
            .and_then(|(version, value)| value.as_ref().map(|value| (*version, value)));
        if live.map(|(_, value)| value) == value.as_ref() {
            return Ok(None);
        }
        let row = keys::value(&escaped, height);
        writes.put_cf(handle(db, VALUES)?, &row, keys::encode_value(value.as_deref()));
        let index = handle(db, INDEX)?;
        let hash = key_hash(key);
        match live {
            Some((version, _)) => {
                let replaced = keys::value(&escaped, version);
                writes.put_cf(index, keys::index(height, Stale::Value, &replaced), []);
            }
            None => writes.put_cf(handle(db, PREIMAGES)?, hash.0, key),
        }
        if value.is_none() {
            writes.put_cf(index, keys::index(height, Stale::Tombstone, &row), []);
        }
        Ok(Some((
            hash,
            value.map(|value| {
                if value.is_empty() {
                    provable(&value).to_vec()
                } else {
                    value
                }
            }),
        )))
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
            writes.put_cf(meta, format!("{NOTE}{name}"), value);
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

    /// The value of `key` at `height` and a proof of it, or of its absence, against the app hash of `height`.
    ///
    /// It verifies with [`jmt::ics23_spec`]; what is proven of a stored empty value is [`provable`] of it.
    pub fn prove(&self, key: &[u8], height: u64) -> Result<(Option<Vec<u8>>, ics23::CommitmentProof), StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        if self.app_hash(height)? == Self::empty_root() {
            return Err(StoreError::EmptyTree { height });
        }
        let tree = Tree {
            db: &self.inner.db,
            before_first: None,
        };
        let proof = Sha256Jmt::new(&tree).get_with_ics23_proof(key.to_vec(), height);
        let value = self.at(height)?.get(key)?; // Also says so if the height was pruned meanwhile.
        Ok((value, proof?.1))
    }
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

/// Where a key lies in the tree.
fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(Sha256::digest(key).into())
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
