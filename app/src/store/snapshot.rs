//! The state at one height.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rocksdb::{DB, DBRawIterator, ReadOptions};

use super::columns::{VALUES, handle};
use super::{Inner, StoreError, keys};

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The state at one height. Cheap to clone; later commits do not change what it reads.
///
/// When the height is pruned while a snapshot is held, its reads fail with [`StoreError::Pruned`]; they never
/// return a wrong answer.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) inner: Arc<Inner>,
    pub(super) height: u64,
    /// Whether what it reads is remembered for those after it: not of queries, of which anybody may send any number.
    pub(super) remembers: bool,
    pub(super) _hold: Option<Arc<Hold>>,
}

/// Keeps a height, and those after it, from being forgotten.
pub(super) struct Hold {
    inner: Arc<Inner>,
    height: u64,
}

impl Hold {
    pub(super) fn new(inner: &Arc<Inner>, height: u64) -> Self {
        *inner.held().entry(height).or_default() += 1;
        Self {
            inner: Arc::clone(inner),
            height,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.inner.held();
        if let Some(holders) = held.get_mut(&self.height) {
            *holders -= 1;
            if *holders == 0 {
                held.remove(&self.height);
            }
        }
    }
}

impl Snapshot {
    /// The height whose state is read; 0 is the empty state before the first height.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The value of `key`, if it has one.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.cursor().get(key)
    }

    /// For many reads of single keys: the database is made ready once, when it is first needed.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor {
            snapshot: self,
            rows: None,
        }
    }

    /// Every key from `start` (inclusive) to `end` (exclusive; `None`: to the last key) with its value, in the order
    /// of the keys, or from the last to the first if `reverse`.
    pub fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Range<'_>, StoreError> {
        self.inner.wait_for(self.height)?;
        let lower = keys::escape(start);
        let upper = end.map(keys::escape);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_lower_bound(lower.clone());
        if let Some(upper) = &upper {
            // Bounds the wrong way round are an empty range, which the database does not promise.
            options.set_iterate_upper_bound(upper.clone().max(lower.clone()));
        }
        let mut rows = self
            .inner
            .db
            .raw_iterator_cf_opt(handle(&self.inner.db, VALUES)?, options);
        // The iterator sees the database as of its creation: if the height is complete now, it is complete in there.
        self.inner.check_oldest(self.height)?;
        if reverse {
            rows.seek_to_last();
        } else {
            rows.seek(&lower);
        }
        Ok(Range {
            rows,
            height: self.height,
            reverse,
            failed: false,
        })
    }
}

/// The height that wrote a row, and the value it holds (`None`: deleted).
pub(super) type Version = (u64, Option<Vec<u8>>);

/// Reads single keys at a height, one after another.
pub struct Cursor<'a> {
    snapshot: &'a Snapshot,
    /// With the height that was written when they were opened.
    rows: Option<(u64, DBRawIterator<'a>)>,
}

impl Cursor<'_> {
    /// The value of `key`, if it has one. A seek, unless it was read or written of late.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.newest(key)?.and_then(|(_, value)| value))
    }

    /// The newest row of `key`.
    pub(super) fn newest(&mut self, key: &[u8]) -> Result<Option<Version>, StoreError> {
        let Snapshot {
            inner,
            height,
            remembers,
            ..
        } = self.snapshot;
        if let Some(row) = inner.recent.get(key, *height) {
            inner.check_oldest(*height)?;
            return Ok(row);
        }
        // What the latest height wrote stays in memory until it is written. So a miss means that it has not written this key, or
        // that it is written by now: then the database must be asked anew.
        let written = inner.written.load(Ordering::SeqCst);
        let rows = match self.rows.take() {
            Some((seen, rows)) if seen >= written.min(*height) => (seen, rows),
            _ => (written, seeker(&inner.db)?),
        };
        let (_, rows) = self.rows.insert(rows);
        let row = seek(rows, &keys::escape(key), *height)?;
        inner.check_oldest(*height)?;
        if *remembers {
            inner.recent.note(key, *height, row.as_ref());
        }
        Ok(row)
    }
}

/// The newest version at or below `height` of the key `escaped`.
pub(super) fn newest(db: &DB, escaped: &[u8], height: u64) -> Result<Option<Version>, StoreError> {
    seek(&mut seeker(db)?, escaped, height)
}

/// An iterator that finds single keys.
pub(super) fn seeker(db: &DB) -> Result<DBRawIterator<'_>, StoreError> {
    let mut options = ReadOptions::default();
    options.set_prefix_same_as_start(true);
    Ok(db.raw_iterator_cf_opt(handle(db, VALUES)?, options))
}

pub(super) fn seek(rows: &mut DBRawIterator<'_>, escaped: &[u8], height: u64) -> Result<Option<Version>, StoreError> {
    rows.seek(keys::value(escaped, height));
    let Some((key, row)) = rows.item() else {
        rows.status()?;
        return Ok(None);
    };
    let (found, version) = keys::split_value(key)?;
    if found != escaped {
        return Ok(None);
    }
    Ok(Some((version, keys::decode_value(row)?)))
}

/// Iterates over a range of a [`Snapshot`]; ends after the first error.
pub struct Range<'a> {
    rows: DBRawIterator<'a>,
    height: u64,
    reverse: bool,
    failed: bool,
}

impl Range<'_> {
    /// The next key that has a value at the height.
    fn step(&mut self) -> Result<Option<Pair>, StoreError> {
        while let Some(escaped) = self.find()? {
            let Some((key, row)) = self.rows.item() else {
                self.rows.status()?;
                return Err(StoreError::Damaged("a row of the column `values` vanished".into()));
            };
            debug_assert_eq!(keys::value_prefix(key), escaped);
            let value = keys::decode_value(row)?;
            self.leave(&escaped);
            if let Some(value) = value {
                return Ok(Some((keys::unescape(&escaped)?, value)));
            }
        }
        Ok(None)
    }

    /// Moves to the newest visible row of the next key that has one, and returns that key, escaped.
    fn find(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            let Some(key) = self.rows.key() else {
                self.rows.status()?;
                return Ok(None);
            };
            let (escaped, version) = keys::split_value(key)?;
            let escaped = escaped.to_vec();
            // Rows of one key lie newest first: forwards this is its newest row, backwards its oldest.
            match (self.reverse, version <= self.height) {
                (false, true) => return Ok(Some(escaped)),
                (false, false) => self.rows.seek(keys::value(&escaped, self.height)),
                (true, false) => self.rows.seek_for_prev(&escaped),
                (true, true) => {
                    self.rows.seek(keys::value(&escaped, self.height));
                    return Ok(Some(escaped));
                }
            }
        }
    }

    /// Moves to the first row of the key after (or, in reverse, the last row of the key before) the key `escaped`.
    fn leave(&mut self, escaped: &[u8]) {
        if self.reverse {
            self.rows.seek_for_prev(escaped);
            return;
        }
        self.rows.next();
        if self.rows.key().is_some_and(|key| keys::value_prefix(key) == escaped) {
            self.rows.seek(keys::behind(escaped)); // A key may have a great many old versions: jump.
        }
    }
}

impl Iterator for Range<'_> {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}
