//! Typed, gas-metered access to the chain's key-value state.
//!
//! [`Reader`] is what lies below (a committed version of the store, or another [`State`]); [`State`] collects writes over
//! it; [`Item`] and [`Map`] are the constants through which modules name their keys. Keys are order-preserving (integers
//! big-endian, strings behind their length), values are protobuf.

use std::{collections::BTreeMap, iter::Peekable, marker::PhantomData, ops::Bound};

use prost::Message;
use trainyard_proto::address::Address;

use crate::{
    error::Error,
    gas::{self, Gas},
};

/// Keys with their new values; `None` deletes.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);
/// Pairs in the order of their keys.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, Error>> + 'a>;

/// A key-value state to read from. Its errors are fatal: a node that cannot read its state cannot go on.
pub trait Reader {
    /// The value of a key.
    ///
    /// # Errors
    /// The store failed.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The pairs with `start <= key < end`, ascending, or descending when `reverse`. `None` is unbounded.
    ///
    /// # Errors
    /// The store failed.
    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error>;
}

/// An empty state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl Reader for Empty {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }

    fn range(&self, _: &[u8], _: Option<&[u8]>, _: bool) -> Result<Pairs<'_>, Error> {
        Ok(Box::new(std::iter::empty()))
    }
}

/// Writes over a [`Reader`], metered.
pub struct State<'a> {
    below: &'a dyn Reader,
    changes: Changes,
    /// What accesses are charged to.
    pub gas: Gas,
}

impl<'a> State<'a> {
    /// No changes yet over `below`.
    #[must_use]
    pub fn new(below: &'a dyn Reader, gas: Gas) -> Self {
        Self {
            below,
            changes: Changes::new(),
            gas,
        }
    }

    /// Goes on with changes collected earlier over the same `below`.
    #[must_use]
    pub fn resume(below: &'a dyn Reader, changes: Changes, gas: Gas) -> Self {
        Self { below, changes, gas }
    }

    /// The collected changes.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        self.changes
    }

    /// Takes over changes collected above this state; they were charged for there.
    pub fn apply(&mut self, changes: Changes) {
        self.changes.extend(changes);
    }

    fn read(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.gas.charge(gas::READ_FLAT, "read")?;
        let value = Reader::get(self, key)?;
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        self.gas.charge(gas::READ_BYTE.saturating_mul(bytes as u64), "read")?;
        Ok(value)
    }

    fn write(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        let bytes = (key.len() + value.len()) as u64;
        self.gas.charge(
            gas::WRITE_FLAT.saturating_add(gas::WRITE_BYTE.saturating_mul(bytes)),
            "write",
        )?;
        self.changes.insert(key, Some(value));
        Ok(())
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<(), Error> {
        self.gas.charge(gas::DELETE, "delete")?;
        self.changes.insert(key, None);
        Ok(())
    }
}

impl Reader for State<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.below.get(key),
        }
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error> {
        if end.is_some_and(|end| end <= start) {
            return Ok(Box::new(std::iter::empty()));
        }
        let below = self.below.range(start, end, reverse)?.peekable();
        let bounds = (
            Bound::Included(start.to_vec()),
            end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec())),
        );
        let own = self.changes.range(bounds);
        let own: Box<dyn Iterator<Item = _>> = if reverse { Box::new(own.rev()) } else { Box::new(own) };
        Ok(Box::new(Merge {
            below,
            own: own.peekable(),
            reverse,
        }))
    }
}

/// Merges changes into the pairs below them.
struct Merge<'a, I: Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>> {
    below: Peekable<Pairs<'a>>,
    own: Peekable<I>,
    reverse: bool,
}

impl<'a, I: Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>> Iterator for Merge<'a, I> {
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.own.peek(), self.below.peek()) {
                (None, _) | (_, Some(Err(_))) => return self.below.next(),
                (Some(_), None) => std::cmp::Ordering::Less,
                (Some((own, _)), Some(Ok((below, _)))) if self.reverse => below.cmp(own),
                (Some((own, _)), Some(Ok((below, _)))) => (*own).cmp(below),
            };
            if order == std::cmp::Ordering::Greater {
                return self.below.next();
            }
            if order == std::cmp::Ordering::Equal {
                self.below.next();
            }
            if let Some((key, Some(value))) = self.own.next() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

/// A part of a key whose bytes order as its values do.
pub trait Key: Sized {
    /// Appends the bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes the bytes off the front; `None` when they are not such a key.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! integer_key {
    ($($int:ty),*) => {$(
        impl Key for $int {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (head, tail) = bytes.split_first_chunk()?;
                *bytes = tail;
                Some(Self::from_be_bytes(*head))
            }
        }
    )*};
}
integer_key!(u8, u32, u64);

impl<const N: usize> Key for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (head, tail) = bytes.split_first_chunk()?;
        *bytes = tail;
        Some(*head)
    }
}

impl Key for Address {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Key::read(bytes).map(Self)
    }
}

/// Behind its length (u32), so that no string is a prefix of another's key: strings of one length are in order.
impl Key for String {
    fn write(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).write(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let length = usize::try_from(u32::read(bytes)?).ok()?;
        let (head, tail) = bytes.split_at_checked(length)?;
        *bytes = tail;
        Self::from_utf8(head.to_vec()).ok()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?, C::read(bytes)?))
    }
}

fn decode<V: Message + Default>(key: &[u8], value: &[u8]) -> Result<V, Error> {
    V::decode(value).map_err(|e| {
        Error::fatal(format!(
            "the value under key {:?} is damaged: {e}",
            String::from_utf8_lossy(key)
        ))
    })
}

/// One value under a fixed key.
pub struct Item<V> {
    key: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<V: Message + Default> Item<V> {
    /// The value under `key`: `module/name`.
    #[must_use]
    pub const fn new(key: &'static str) -> Self {
        Self {
            key,
            value: PhantomData,
        }
    }

    /// The value, or its default where nothing was written.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn get(&self, state: &mut State<'_>) -> Result<V, Error> {
        state
            .read(self.key.as_bytes())?
            .map_or_else(|| Ok(V::default()), |v| decode(self.key.as_bytes(), &v))
    }

    /// Writes the value.
    ///
    /// # Errors
    /// Out of gas.
    pub fn set(&self, state: &mut State<'_>, value: &V) -> Result<(), Error> {
        state.write(self.key.as_bytes().to_vec(), value.encode_to_vec())
    }

    /// The raw key, for proofs.
    #[must_use]
    pub fn raw_key(&self) -> Vec<u8> {
        self.key.as_bytes().to_vec()
    }
}

/// What most keys need behind their prefix, bytes: an address and a denomination.
const KEY_ROOM: usize = 32;

/// Values under keys that share a prefix.
pub struct Map<K, V> {
    prefix: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Message + Default> Map<K, V> {
    /// The values under `prefix`: `module/name/`.
    #[must_use]
    pub const fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            types: PhantomData,
        }
    }

    /// The raw key, for proofs.
    #[must_use]
    pub fn raw_key(&self, key: &K) -> Vec<u8> {
        self.raw(key)
    }

    fn raw<P: Key>(&self, part: &P) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.prefix.len() + KEY_ROOM);
        out.extend_from_slice(self.prefix.as_bytes());
        part.write(&mut out);
        out
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn get(&self, state: &mut State<'_>, key: &K) -> Result<Option<V>, Error> {
        let raw = self.raw(key);
        state.read(&raw)?.map(|v| decode(&raw, &v)).transpose()
    }

    /// Writes a value.
    ///
    /// # Errors
    /// Out of gas.
    pub fn set(&self, state: &mut State<'_>, key: &K, value: &V) -> Result<(), Error> {
        state.write(self.raw(key), value.encode_to_vec())
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// Out of gas.
    pub fn remove(&self, state: &mut State<'_>, key: &K) -> Result<(), Error> {
        state.delete(self.raw(key))
    }

    /// All pairs, in key order. For genesis, invariants and small tables; anything a user can grow is read in pages.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn all(&self, state: &mut State<'_>) -> Result<Vec<(K, V)>, Error> {
        let prefix = self.prefix.as_bytes();
        self.scan(state, prefix, after(prefix).as_deref(), false, usize::MAX)
    }

    /// The pairs whose keys begin with `part`, in key order, at most `limit`.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn under<P: Key>(&self, state: &mut State<'_>, part: &P, limit: usize) -> Result<Vec<(K, V)>, Error> {
        let prefix = self.raw(part);
        self.scan(state, &prefix, after(&prefix).as_deref(), false, limit)
    }

    /// The pairs whose keys begin with `part`, from `start` on, in key order, at most `limit`.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn under_from<P: Key>(
        &self,
        state: &mut State<'_>,
        part: &P,
        start: &K,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        let prefix = self.raw(part);
        let end = after(&prefix);
        self.scan(state, &self.raw(start).max(prefix), end.as_deref(), false, limit)
    }

    /// The pairs whose keys begin with `part`, down from `start` (`None`: from the last), at most `limit`.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn under_down<P: Key>(
        &self,
        state: &mut State<'_>,
        part: &P,
        start: Option<&K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        let prefix = self.raw(part);
        let end = after(&prefix);
        let end = match start {
            Some(start) => end.map(|end| beyond(self.raw(start)).min(end)),
            None => end,
        };
        self.scan(state, &prefix, end.as_deref(), true, limit)
    }

    /// The pairs with keys from `start` on (`None`: from the first), in key order, at most `limit`.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn from<P: Key>(&self, state: &mut State<'_>, start: Option<&P>, limit: usize) -> Result<Vec<(K, V)>, Error> {
        let end = after(self.prefix.as_bytes());
        let start = start.map_or_else(|| self.prefix.as_bytes().to_vec(), |start| self.raw(start));
        self.scan(state, &start, end.as_deref(), false, limit)
    }

    /// The pairs down from `start` (`None`: from the last), at most `limit`.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn down_from(&self, state: &mut State<'_>, start: Option<&K>, limit: usize) -> Result<Vec<(K, V)>, Error> {
        let prefix = self.prefix.as_bytes();
        let end = start.map_or_else(|| after(prefix), |start| Some(beyond(self.raw(start))));
        self.scan(state, prefix, end.as_deref(), true, limit)
    }

    /// The pairs with keys before `end`, in key order, at most `limit`: what is due in a queue keyed by height or time.
    ///
    /// # Errors
    /// Out of gas, or the store failed.
    pub fn before<P: Key>(&self, state: &mut State<'_>, end: &P, limit: usize) -> Result<Vec<(K, V)>, Error> {
        let end = self.raw(end);
        self.scan(state, self.prefix.as_bytes(), Some(&end), false, limit)
    }

    fn scan(
        &self,
        state: &mut State<'_>,
        start: &[u8],
        end: Option<&[u8]>,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        let mut gas = state.gas;
        let result = self.scan_metered(state, &mut gas, start, end, reverse, limit);
        state.gas = gas;
        let out = result?;
        state.gas.charge(gas::READ_FLAT, "iteration")?;
        Ok(out)
    }

    fn scan_metered(
        &self,
        state: &State<'_>,
        gas: &mut Gas,
        start: &[u8],
        end: Option<&[u8]>,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(K, V)>, Error> {
        let mut out = Vec::new();
        for pair in Reader::range(state, start, end, reverse)?.take(limit) {
            let (raw, value) = pair?;
            let bytes = (raw.len() + value.len()) as u64;
            gas.charge(
                gas::STEP.saturating_add(gas::READ_BYTE.saturating_mul(bytes)),
                "iteration",
            )?;
            let mut rest = &raw[self.prefix.len()..];
            let key = K::read(&mut rest)
                .filter(|_| rest.is_empty())
                .ok_or_else(|| Error::fatal(format!("damaged key under {:?}", self.prefix)))?;
            out.push((key, decode(&raw, &value)?));
        }
        Ok(out)
    }
}

/// The first key after this one.
fn beyond(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The first key after all that begin with `prefix`; `None` when there is none.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NUMBERS: Map<(u64, String), u64> = Map::new("test/numbers/");

    proptest! {
        #[test]
        fn keys_round_trip_and_order(a: u64, b: u64, s in ".{0,12}", address: [u8; 20]) {
            let key = (a, s.clone(), Address(address));
            let mut raw = Vec::new();
            key.write(&mut raw);
            let mut rest = raw.as_slice();
            prop_assert_eq!(<(u64, String, Address)>::read(&mut rest), Some(key));
            prop_assert!(rest.is_empty());
            let (mut x, mut y) = (Vec::new(), Vec::new());
            a.write(&mut x);
            b.write(&mut y);
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
        }

        #[test]
        fn garbage_keys_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = <(u64, String, [u8; 32])>::read(&mut bytes.as_slice());
            bytes.truncate(3);
            prop_assert_eq!(u32::read(&mut bytes.as_slice()), None);
        }

        #[test]
        fn merged_ranges_equal_a_flat_map(
            below in proptest::collection::btree_map(0u64..40, any::<u64>(), 0..20),
            above in proptest::collection::btree_map(0u64..40, proptest::option::of(any::<u64>()), 0..20),
            start in 0u64..40,
            limit in 0usize..30,
        ) {
            let mut base = State::new(&Empty, Gas::unlimited());
            let mut model = BTreeMap::new();
            for (k, v) in &below {
                NUMBERS.set(&mut base, &(*k, String::new()), v).unwrap();
                model.insert(*k, *v);
            }
            let mut state = State::new(&base, Gas::unlimited());
            for (k, v) in &above {
                let key = (*k, String::new());
                match v {
                    Some(v) => { NUMBERS.set(&mut state, &key, v).unwrap(); model.insert(*k, *v); }
                    None => { NUMBERS.remove(&mut state, &key).unwrap(); model.remove(k); }
                }
            }
            let got: Vec<_> = NUMBERS.from(&mut state, Some(&start), limit).unwrap().into_iter().map(|((k, _), v)| (k, v)).collect();
            let want: Vec<_> = model.range(start..).take(limit).map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(got, want);
            let got: Vec<_> = NUMBERS.down_from(&mut state, Some(&(start, String::new())), limit).unwrap().into_iter().map(|((k, _), v)| (k, v)).collect();
            let want: Vec<_> = model.range(..=start).rev().take(limit).map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(got, want);
            let down: Vec<_> = Reader::range(&state, b"", None, true).unwrap().map(|p| p.unwrap().0).collect();
            let mut up: Vec<_> = Reader::range(&state, b"", None, false).unwrap().map(|p| p.unwrap().0).collect();
            up.reverse();
            prop_assert_eq!(down, up);
        }
    }

    #[test]
    fn gas_stops_a_read() {
        let mut state = State::new(&Empty, Gas::new(gas::READ_FLAT - 1));
        let error = NUMBERS.get(&mut state, &(1, String::new())).unwrap_err();
        assert_eq!((error.codespace, error.code), ("sdk", 11));
    }
}
