//! Blocks and pins on disk, in one redb file. Opens without a swarm, so that a command can add with no node running.
//!
//! | table | key | value |
//! |---|---|---|
//! | `blocks` | SHA-256 digest | the block |
//! | `pins` | CID | nothing: the whole DAG below it is kept |

#![expect(
    clippy::result_large_err,
    reason = "redb's own error is large, and never leaves this file"
)]

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use cid::Cid;
use redb::{Database, Durability, ReadableTable as _, TableDefinition};
use rust_unixfs::file::adder::FileAdder;

use crate::{Error, unixfs};

const BLOCKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blocks");
const PINS: TableDefinition<'_, &[u8], ()> = TableDefinition::new("pins");

/// Bytes of blocks written in one transaction.
pub(crate) const BATCH: usize = 4 << 20;

/// Bytes of the database kept in memory; the system caches the file besides.
const CACHE: usize = 32 << 20;

/// A file that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its CID: version 1, raw leaves, as `ipfs add --cid-version=1 --raw-leaves` gives.
    pub cid: Cid,
    /// Bytes of content.
    pub bytes: u64,
}

/// The block store. A cheap handle; one process at a time may have the file open.
#[derive(Clone)]
pub struct BlockStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// `None` after [`BlockStore::close`].
    db: RwLock<Option<Database>>,
    /// Roots being fetched, with a count: garbage collection keeps what hangs below them.
    live: Mutex<HashMap<Cid, usize>>,
    /// Adding holds it shared, collecting alone: blocks are added before their root exists.
    adding: RwLock<()>,
}

/// Keeps a DAG from being collected while it is fetched.
pub(crate) struct Live {
    store: BlockStore,
    root: Cid,
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut live = lock(&self.store.0.live);
        if let Some(count) = live.get_mut(&self.root) {
            *count -= 1;
            if *count == 0 {
                live.remove(&self.root);
            }
        }
    }
}

/// No code panics while it holds one of these locks, and each guards plain data: a poisoned one is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl BlockStore {
    /// Opens the store in `dir`, creating both if absent.
    pub fn open(dir: impl AsRef<Path>) -> Result<BlockStore, Error> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let path = dir.join("blocks.redb");
        let db = Database::builder()
            .set_cache_size(CACHE)
            .create(&path)
            .map_err(|e| match e {
                redb::DatabaseError::DatabaseAlreadyOpen => Error::StoreInUse { path: path.clone() },
                e => Error::Store {
                    path: path.clone(),
                    cause: e.to_string(),
                },
            })?;
        let store = BlockStore(Arc::new(Inner {
            path,
            db: RwLock::new(Some(db)),
            live: Mutex::default(),
            adding: RwLock::default(),
        }));
        // Reading needs the tables to exist.
        store.write(Durability::Immediate, |tx| {
            tx.open_table(BLOCKS)?;
            tx.open_table(PINS)?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Closes the file, whatever handles remain; they answer [`Error::Closed`] from now on.
    pub fn close(&self) {
        self.0
            .db
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
    }

    fn with<T>(&self, f: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        let db = self.0.db.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let db = db.as_ref().ok_or(Error::Closed)?;
        f(db).map_err(|e| Error::Store {
            path: self.0.path.clone(),
            cause: e.to_string(),
        })
    }

    fn write<T>(
        &self,
        durability: Durability,
        f: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        self.with(|db| {
            let mut tx = db.begin_write()?;
            tx.set_durability(durability);
            let done = f(&tx)?;
            tx.commit()?;
            Ok(done)
        })
    }

    /// Whether the block is held.
    pub fn has(&self, cid: &Cid) -> Result<bool, Error> {
        self.with(|db| Ok(db.begin_read()?.open_table(BLOCKS)?.get(cid.hash().digest())?.is_some()))
    }

    /// The block, if held.
    pub fn get(&self, cid: &Cid) -> Result<Option<Bytes>, Error> {
        Ok(self.get_many(std::slice::from_ref(cid))?.pop().flatten())
    }

    /// The blocks, in order, each if held.
    pub fn get_many(&self, cids: &[Cid]) -> Result<Vec<Option<Bytes>>, Error> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(BLOCKS)?;
            cids.iter()
                .map(|cid| {
                    Ok(table
                        .get(cid.hash().digest())?
                        .map(|block| Bytes::copy_from_slice(block.value())))
                })
                .collect()
        })
    }

    /// Writes blocks whose hashes the caller has checked. `durable` waits for the disk.
    pub(crate) fn put_many(&self, blocks: &[(Cid, Bytes)], durable: bool) -> Result<(), Error> {
        let durability = if durable {
            Durability::Immediate
        } else {
            Durability::Eventual
        };
        self.write(durability, |tx| {
            let mut table = tx.open_table(BLOCKS)?;
            for (cid, block) in blocks {
                let key = cid.hash().digest();
                if table.get(key)?.is_none() {
                    table.insert(key, block.as_ref())?;
                }
            }
            Ok(())
        })
    }

    /// Adds bytes as a file and pins it.
    pub fn add_bytes(&self, bytes: &[u8]) -> Result<Added, Error> {
        self.add(bytes).map_err(|e| match e {
            AddError::Read(source) => Error::File {
                path: PathBuf::new(),
                source,
            },
            AddError::Store(e) => e,
        })
    }

    /// Adds a file and pins it.
    pub fn add_file(&self, path: impl AsRef<Path>) -> Result<Added, Error> {
        let path = path.as_ref();
        let file = std::fs::File::open(path).map_err(Error::file(path))?;
        self.add(file).map_err(|e| match e {
            AddError::Read(source) => Error::File {
                path: path.to_owned(),
                source,
            },
            AddError::Store(e) => e,
        })
    }

    fn add(&self, mut content: impl Read) -> Result<Added, AddError> {
        let _adding = self.0.adding.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut adder = FileAdder::default();
        let mut buffer = vec![0; adder.size_hint()];
        let mut batch = Vec::new();
        let (mut batched, mut bytes, mut root) = (0, 0, None);
        loop {
            let n = match content.read(&mut buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(AddError::Read(e)),
            };
            if n == 0 {
                break;
            }
            bytes += n as u64;
            let mut rest = &buffer[..n];
            while !rest.is_empty() {
                let (blocks, consumed) = adder.push(rest);
                for (cid, block) in blocks {
                    batched += block.len();
                    batch.push((cid, Bytes::from(block)));
                }
                rest = &rest[consumed..];
            }
            if batched >= BATCH {
                self.put_many(&batch, false)?;
                batch.clear();
                batched = 0;
            }
        }
        for (cid, block) in adder.finish() {
            root = Some(cid);
            batch.push((cid, Bytes::from(block)));
        }
        // A file of whole chunks of one leaf ends with nothing left to finish: the leaf is the root.
        let root = root.or(batch.last().map(|(cid, _)| *cid)).ok_or_else(|| {
            AddError::Store(Error::Store {
                path: self.0.path.clone(),
                cause: "adding produced no block".into(),
            })
        })?;
        self.put_many(&batch, false)?;
        self.pin(&root)?;
        Ok(Added { cid: root, bytes })
    }

    /// Keeps the DAG below `cid` from being collected, also what of it is fetched later.
    pub fn pin(&self, cid: &Cid) -> Result<(), Error> {
        unixfs::check_cid(cid)?;
        self.write(Durability::Immediate, |tx| {
            tx.open_table(PINS)?.insert(cid.to_bytes().as_slice(), ())?;
            Ok(())
        })
    }

    /// Takes a pin back; says whether there was one.
    pub fn unpin(&self, cid: &Cid) -> Result<bool, Error> {
        self.write(Durability::Immediate, |tx| {
            let had = tx.open_table(PINS)?.remove(cid.to_bytes().as_slice())?.is_some();
            Ok(had)
        })
    }

    /// All pinned roots.
    pub fn pins(&self) -> Result<Vec<Cid>, Error> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(PINS)?;
            let mut pins = Vec::new();
            for entry in table.iter()? {
                // Only `pin` writes here, so every key is a CID.
                pins.extend(Cid::try_from(entry?.0.value()));
            }
            Ok(pins)
        })
    }

    /// Blocks held and their bytes together.
    pub fn stat(&self) -> Result<(u64, u64), Error> {
        self.with(|db| {
            let table = db.begin_read()?.open_table(BLOCKS)?;
            let (mut count, mut bytes) = (0, 0);
            for entry in table.iter()? {
                count += 1;
                bytes += entry?.1.value().len() as u64;
            }
            Ok((count, bytes))
        })
    }

    /// Removes every block that hangs below no pin and no running fetch; gives the number removed.
    pub fn collect_garbage(&self) -> Result<u64, Error> {
        let _alone = self.0.adding.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut todo = self.pins()?;
        todo.extend(lock(&self.0.live).keys());
        // One transaction marks and sweeps, so no block can slip in between.
        self.write(Durability::Immediate, |tx| {
            let mut table = tx.open_table(BLOCKS)?;
            let mut keep = HashSet::new();
            while let Some(cid) = todo.pop() {
                let digest = cid.hash().digest();
                if digest.len() != 32 || keep.contains(digest) {
                    continue;
                }
                // A node that is pinned but not fetched yet has nothing below it here.
                let Some(block) = table.get(digest)?.map(|block| Bytes::copy_from_slice(block.value())) else {
                    continue;
                };
                keep.insert(digest.to_vec());
                todo.extend(unixfs::links(&cid, &block).unwrap_or_default());
            }
            let mut removed = 0;
            table.retain(|digest, _| {
                let kept = keep.contains(digest);
                removed += u64::from(!kept);
                kept
            })?;
            Ok(removed)
        })
    }

    /// Guards a root from collection while it is fetched.
    pub(crate) fn live(&self, root: Cid) -> Live {
        *lock(&self.0.live).entry(root).or_default() += 1;
        Live {
            store: self.clone(),
            root,
        }
    }

    /// Runs `f` on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&BlockStore) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || f(&store))
            .await
            .map_err(|_| Error::Closed)?
    }
}

enum AddError {
    Read(std::io::Error),
    Store(Error),
}

impl From<Error> for AddError {
    fn from(e: Error) -> AddError {
        AddError::Store(e)
    }
}
