//! Forgetting old heights, and taking back the latest one.

use std::sync::atomic::Ordering;

use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::columns::{INDEX, META, NODES, PREIMAGES, VALUES, handle};
use super::keys::{self, Stale};
use super::tree::{self, Child, Leaf, Node};
use super::{Committed, Inner, LATEST, OLDEST, Store, StoreError, encode_committed, key_hash, note_key, snapshot};

/// How many rows a commit sweeps at most, so that a long backlog does not hold up a block.
pub(super) const PER_COMMIT: usize = 20_000;
/// How many rows one write deletes at most.
const PER_WRITE: usize = 10_000;

impl Store {
    /// Forgets every height below `keep_from` and deletes what only they needed. Returns the number of rows deleted.
    pub fn prune(&self, keep_from: u64) -> Result<usize, StoreError> {
        let mut writer = self.inner.writer()?;
        let latest = self.inner.latest().ok_or(StoreError::Empty)?.height;
        if keep_from > latest {
            return Err(StoreError::NotYet {
                height: keep_from,
                latest,
            });
        }
        self.inner.raise(keep_from);
        self.inner.forget(&mut writer.swept, usize::MAX)
    }

    /// Takes back the latest height: the one before becomes the latest again. Notes stay as they are, but for those given:
    /// `None` deletes one. For a node that is not running: snapshots of the height taken back do not notice.
    pub fn rollback(&self, notes: &[(&str, Option<Vec<u8>>)]) -> Result<Committed, StoreError> {
        let _writer = self.inner.writer()?;
        let db = &self.inner.db;
        let last = self.inner.latest().ok_or(StoreError::Empty)?.height;
        let height = last - 1;
        let committed = Committed {
            height,
            app_hash: self.app_hash(height)?,
        };

        let mut writes = WriteBatch::default();
        let (nodes, values, index) = (handle(db, NODES)?, handle(db, VALUES)?, handle(db, INDEX)?);
        let version = last.to_be_bytes();
        let from_last = || IteratorMode::From(&version, Direction::Forward);
        for row in db.iterator_cf(nodes, from_last()) {
            let (key, node) = row?;
            let leaves: Vec<Leaf> = match tree::decode(&node)? {
                Node::Empty => Vec::new(),
                Node::Leaf(leaf) => vec![leaf],
                Node::Inner(branches) => {
                    let leaves = branches.into_iter().flatten().filter_map(|child| match child {
                        Child::Leaf(leaf) => Some(leaf),
                        Child::Node { .. } => None,
                    });
                    leaves.collect()
                }
            };
            for leaf in leaves.iter().filter(|leaf| leaf.version == last) {
                if let Some(user_key) = db.get_cf(handle(db, PREIMAGES)?, leaf.key)? {
                    writes.delete_cf(values, keys::value(&keys::escape(&user_key), last));
                }
            }
            writes.delete_cf(nodes, key);
        }
        for row in db.iterator_cf(index, from_last()) {
            let (key, stale) = row?;
            for entry in keys::stale(&stale) {
                if let (Stale::Tombstone, tombstone) = entry? {
                    writes.delete_cf(values, tombstone);
                }
            }
            writes.delete_cf(index, key);
        }
        let meta = handle(db, META)?;
        for (name, note) in notes {
            match note {
                Some(note) => writes.put_cf(meta, note_key(name), note),
                None => writes.delete_cf(meta, note_key(name)),
            }
        }
        writes.put_cf(meta, LATEST, encode_committed(committed));
        self.inner.write_synced(writes)?;
        self.inner.jump(committed);
        Ok(committed)
    }
}

impl Inner {
    /// Makes `keep_from` the lowest height that can be read, or the lowest one that a snapshot holds. To be called before
    /// [`Self::forget`].
    pub(super) fn raise(&self, keep_from: u64) {
        let held = self.held();
        let keep_from = held.keys().next().map_or(keep_from, |held| keep_from.min(*held));
        // While nobody can come to hold a height.
        self.oldest.fetch_max(keep_from, Ordering::SeqCst);
    }

    /// Deletes about `limit` rows that no height that can be read needs. `swept` is the writer's note of where in the index to
    /// begin: what lies before is deleted, and slow to step over.
    pub(super) fn forget(&self, swept: &mut Vec<u8>, limit: usize) -> Result<usize, StoreError> {
        let oldest = self.oldest.load(Ordering::SeqCst);
        self.db.put_cf(handle(&self.db, META)?, OLDEST, oldest.to_be_bytes())?;
        let mut deleted = 0;
        while deleted < limit {
            let count = self.sweep(swept, oldest, PER_WRITE.min(limit - deleted))?;
            if count == 0 {
                break;
            }
            deleted += count;
        }
        Ok(deleted)
    }

    /// Deletes about `limit` rows that no height from `keep_from` on needs.
    fn sweep(&self, swept: &mut Vec<u8>, keep_from: u64, limit: usize) -> Result<usize, StoreError> {
        let db = &self.db;
        let index = handle(db, INDEX)?;
        let mut writes = WriteBatch::default();
        let mut last = None;
        let mut count = 0;
        for row in db.iterator_cf(index, IteratorMode::From(swept.as_slice(), Direction::Forward)) {
            let (key, stale) = row?;
            if key[..] >= (keep_from + 1).to_be_bytes()[..] || count >= limit {
                break;
            }
            for entry in keys::stale(&stale) {
                self.delete_stale(entry?, &mut writes)?;
                count += 1;
            }
            writes.delete_cf(index, &key);
            last = Some(key);
        }
        if let Some(last) = last {
            db.write(writes)?;
            *swept = last.into_vec();
        }
        Ok(count)
    }

    fn delete_stale(&self, (kind, key): (Stale, &[u8]), writes: &mut WriteBatch) -> Result<(), StoreError> {
        let db = &self.db;
        match kind {
            Stale::Node => writes.delete_cf(handle(db, NODES)?, key),
            Stale::Value => writes.delete_cf(handle(db, VALUES)?, key),
            Stale::Tombstone => {
                writes.delete_cf(handle(db, VALUES)?, key);
                let (escaped, version) = keys::split_value(key)?;
                // The key's preimage goes with it, unless the key was set again since.
                if snapshot::newest(db, escaped, u64::MAX)?.is_none_or(|(newest, _)| newest == version) {
                    writes.delete_cf(handle(db, PREIMAGES)?, key_hash(&keys::unescape(escaped)?));
                }
            }
        }
        Ok(())
    }
}
