//! Building a height out of its keys and values, brought by others: for state sync.

use rocksdb::WriteBatch;

use super::columns::{ALL, META, handle};
use super::{Change, Committed, LATEST, OLDEST, Row, Store, StoreError, encode_committed, key_hash, keys};
use sha2::{Digest, Sha256};
use trainyard_client::proof::provable;

/// Stands in `meta` while a height is being built: what is in the other columns then counts for nothing.
pub(super) const RESTORING: &str = "restoring";
/// Above every key of every column: their first bytes are text, versions or hashes below.
const ABOVE_ALL: [u8; 64] = [0xff; 64];

/// A height in the making, over an empty store. Nothing of it counts before [`Restore::finish`].
pub struct Restore {
    store: Store,
    height: u64,
    /// The root so far; none before the first pairs.
    root: Option<[u8; 32]>,
    last_key: Vec<u8>,
}

impl Store {
    /// Begins to build `height`, and forgets what an earlier attempt left.
    ///
    /// # Errors
    /// The store is not empty.
    pub fn restore(&self, height: u64) -> Result<Restore, StoreError> {
        let _writer = self.inner.writer()?;
        if let Some(latest) = self.latest() {
            return Err(StoreError::NotEmpty { latest: latest.height });
        }
        self.wipe()?;
        let mut writes = WriteBatch::default();
        writes.put_cf(handle(&self.inner.db, META)?, RESTORING, height.to_be_bytes());
        self.inner.write_synced(writes)?;
        Ok(Restore {
            store: self.clone(),
            height,
            root: None,
            last_key: Vec::new(),
        })
    }

    /// Empties every column, where an attempt to restore was not finished.
    pub(super) fn wipe(&self) -> Result<(), StoreError> {
        let db = &self.inner.db;
        if db.get_cf(handle(db, META)?, RESTORING)?.is_none() {
            return Ok(());
        }
        let mut writes = WriteBatch::default();
        for column in ALL {
            writes.delete_range_cf(handle(db, column)?, &[][..], &ABOVE_ALL[..]);
        }
        self.inner.write_synced(writes)
    }
}

impl Restore {
    /// Adds pairs, in the order of their keys, behind those added before.
    ///
    /// # Errors
    /// A key is empty or not behind the one before it; or the store failed.
    pub fn put(&mut self, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), StoreError> {
        let mut rows = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if key <= self.last_key {
                return Err(StoreError::Unsorted);
            }
            self.last_key.clone_from(&key);
            rows.push(Row {
                change: Change {
                    key: key_hash(&key),
                    value: Some(Sha256::digest(provable(&value)).into()),
                },
                row: keys::value(&keys::escape(&key), self.height),
                key,
                value: Some(value),
                replaced: None,
            });
        }
        let base = self.root.map(|_| self.height);
        let (root, rows) = self.store.rows(base, self.height, rows)?;
        let db = &self.store.inner.db;
        db.write(rows.into_writes(db, self.height)?)?;
        self.root = Some(root);
        Ok(())
    }

    /// Makes what was put the store's only height, with notes, if it has that app hash.
    ///
    /// # Errors
    /// It has another one; or the store failed. Nothing of it is kept then.
    pub fn finish(mut self, app_hash: [u8; 32], notes: Vec<(String, Vec<u8>)>) -> Result<Committed, StoreError> {
        if self.root.is_none() {
            self.put(Vec::new())?;
        }
        let found = self.root.unwrap_or_else(Store::empty_root);
        if found != app_hash {
            return Err(StoreError::WrongHash {
                height: self.height,
                found,
                expected: app_hash,
            });
        }
        let inner = &self.store.inner;
        let _writer = inner.writer()?;
        let meta = handle(&inner.db, META)?;
        let committed = Committed {
            height: self.height,
            app_hash,
        };
        let mut writes = WriteBatch::default();
        writes.put_cf(meta, LATEST, encode_committed(committed));
        writes.put_cf(meta, OLDEST, self.height.to_be_bytes());
        for (name, value) in notes {
            writes.put_cf(meta, super::note_key(&name), value);
        }
        writes.delete_cf(meta, RESTORING);
        inner.write_synced(writes)?;
        inner.oldest.store(self.height, std::sync::atomic::Ordering::SeqCst);
        inner.jump(committed);
        Ok(committed)
    }
}
