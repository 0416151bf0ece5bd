//! The last committed state as the state machine reads it.

use std::cell::RefCell;

use trainyard_modules::{
    error::Error,
    state::{Pairs, Reader},
};

use crate::store::{Cursor, Snapshot, StoreError};

fn fatal(error: &StoreError) -> Error {
    Error::fatal(error.to_string())
}

/// A committed version.
pub(super) struct Committed<'a> {
    snapshot: &'a Snapshot,
    cursor: RefCell<Cursor<'a>>,
}

impl<'a> Committed<'a> {
    /// Reads from `snapshot`.
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let cursor = RefCell::new(snapshot.cursor());
        Self { snapshot, cursor }
    }
}

impl Reader for Committed<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.cursor.borrow_mut().get(key).map_err(|e| fatal(&e))
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error> {
        let range = self.snapshot.range(start, end, reverse).map_err(|e| fatal(&e))?;
        Ok(Box::new(range.map(|pair| pair.map_err(|e| fatal(&e)))))
    }
}
