//! What was read or written of late, in memory: what the next block needs is mostly what the last ones needed. It holds what the
//! database holds and nothing else, so that no answer depends on it.

use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use super::generations::Generations;
use super::{Row, Version};

/// What an entry takes beside its key and its value, bytes, about.
const OVERHEAD: usize = 100;

/// The newest rows of keys.
pub(super) struct Recent(RwLock<Known>);

/// Every entry is the key's newest row as of `height`; `None` where it has none.
struct Known {
    height: u64,
    rows: Generations<Vec<u8>, Option<Version>>,
}

impl Known {
    fn put(&mut self, key: &[u8], row: Option<Version>) {
        let value = row.as_ref().and_then(|(_, value)| value.as_ref());
        let bytes = key.len() + value.map_or(0, Vec::len) + OVERHEAD;
        self.rows.put(key.to_vec(), row, bytes);
    }
}

impl Recent {
    /// Nothing is known yet of the state at `height`. It takes `bytes`, about.
    pub(super) fn new(height: u64, bytes: usize) -> Self {
        let rows = Generations::new(bytes / 2);
        Self(RwLock::new(Known { height, rows }))
    }

    /// The newest row of a key at or below `height`, if it is known.
    pub(super) fn get(&self, key: &[u8], height: u64) -> Option<Option<Version>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if height > known.height {
            return None;
        }
        let row = known.rows.get(key)?;
        // What was written after that height hides what was there before.
        let hidden = row.as_ref().is_some_and(|(version, _)| *version > height);
        (!hidden).then(|| row.clone())
    }

    /// Remembers what the database says of a key at `height`, while there is room.
    pub(super) fn note(&self, key: &[u8], height: u64, row: Option<&Version>) {
        let mut known = self.known();
        // Of an older height it might not be the newest.
        if known.height == height && !known.rows.is_full() {
            known.put(key, row.cloned());
        }
    }

    /// Goes on to a height that wrote `changes`. They are kept until the height after the next one at least, for the database may
    /// not have them before the next, and readers rely on finding them here: generations turn here alone, and once.
    pub(super) fn advance(&self, height: u64, changes: &[Row]) {
        let mut known = self.known();
        known.height = height;
        known.rows.turn();
        for change in changes {
            known.put(&change.key, Some((height, change.value.clone())));
        }
    }

    /// Forgets everything: the state is another one.
    pub(super) fn reset(&self, height: u64) {
        let mut known = self.known();
        known.height = height;
        known.rows.clear();
    }

    fn known(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
