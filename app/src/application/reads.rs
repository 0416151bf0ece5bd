//! The last committed state as the state machine reads it.

use std::{cell::RefCell, collections::HashMap};

use trainyard_modules::{
    error::Error,
    state::{Pairs, Reader},
};

use crate::store::{Cursor, Known, Snapshot, StoreError};

fn fatal(error: &StoreError) -> Error {
    Error::fatal(error.to_string())
}

/// A committed version.
pub(super) struct Committed(pub(super) Snapshot);

impl Reader for Committed {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(key).map_err(|e| fatal(&e))
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error> {
        let range = self.0.range(start, end, reverse).map_err(|e| fatal(&e))?;
        Ok(Box::new(range.map(|pair| pair.map_err(|e| fatal(&e)))))
    }
}

/// A committed version while a block is executed on it: a key is read from the store once.
pub(super) struct Reads<'a> {
    base: &'a Committed,
    cursor: RefCell<Cursor<'a>>,
    known: RefCell<Known>,
}

impl<'a> Reads<'a> {
    /// Reads from `base`; some keys may be known.
    pub(super) fn new(base: &'a Committed, known: Known) -> Result<Self, Error> {
        Ok(Self {
            base,
            cursor: RefCell::new(base.0.cursor().map_err(|e| fatal(&e))?),
            known: RefCell::new(known),
        })
    }

    /// All that was read.
    pub(super) fn into_known(self) -> Known {
        self.known.into_inner()
    }
}

impl Reader for Reads<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(found) = self.known.borrow().get(key) {
            return Ok(found.as_ref().and_then(|(_, value)| value.clone()));
        }
        let found = self.cursor.borrow_mut().get(key).map_err(|e| fatal(&e))?;
        let value = found.as_ref().and_then(|(_, value)| value.clone());
        self.known.borrow_mut().insert(key.to_vec(), found);
        Ok(value)
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error> {
        self.base.range(start, end, reverse)
    }
}

/// Values by key.
pub(super) type Values = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// The state below waiting transactions: a key is read once between two blocks, whichever of them needs it.
pub(super) struct Remembered<'a> {
    base: &'a dyn Reader,
    values: RefCell<Values>,
}

impl<'a> Remembered<'a> {
    /// Reads from `base`; what was read of it before is given.
    pub(super) fn new(base: &'a dyn Reader, values: Values) -> Self {
        let values = RefCell::new(values);
        Self { base, values }
    }

    /// All that was read.
    pub(super) fn into_values(self) -> Values {
        self.values.into_inner()
    }
}

impl Reader for Remembered<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(value) = self.values.borrow().get(key) {
            return Ok(value.clone());
        }
        let value = self.base.get(key)?;
        self.values.borrow_mut().insert(key.to_vec(), value.clone());
        Ok(value)
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error> {
        self.base.range(start, end, reverse)
    }
}
