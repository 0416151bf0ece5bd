//! How keys are laid out in the columns.
//!
//! | column | key | value |
//! |---|---|---|
//! | `nodes` | version ‖ depth ‖ branches | a node of the Merkle tree |
//! | `values` | escaped key ‖ inverted version | `1` ‖ value, or `0`: deleted |
//! | `preimages` | SHA-256 of a key | the key |
//! | `index` | version ‖ number | what that version made superfluous: kind ‖ length ‖ a key of `nodes` or `values`, … |
//! | `meta` | name | latest version, lowest version, the node's own notes |
//!
//! Integers are big-endian. A key is escaped (`00` → `00 ff`, then `00 01` at the end) so that no key is a prefix of
//! another and the order of the bytes is the order of the keys; the inverted version puts the newest value first.

use super::StoreError;
use super::tree::Hash;

/// Length of a version at the end of a key in `values`, bytes.
const VERSION: usize = 8;
const TERMINATOR: [u8; 2] = [0, 1];

/// The key in `nodes` of the node of `version` at `depth` (four bits each) on the way to `key`.
pub(super) fn node(version: u64, key: &Hash, depth: usize) -> Vec<u8> {
    let mut bytes = root(version);
    bytes[8] = u8::try_from(depth).unwrap_or(u8::MAX);
    bytes.extend_from_slice(&key[..depth.div_ceil(2)]);
    if depth % 2 == 1
        && let Some(last) = bytes.last_mut()
    {
        *last &= 0xf0;
    }
    bytes
}

/// The key in `nodes` of the root of `version`.
pub(super) fn root(version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.push(0);
    bytes
}

/// The part of a key in `values` that all versions of `key` share.
pub(super) fn escape(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + TERMINATOR.len() + VERSION);
    let mut rest = key;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        bytes.extend_from_slice(&rest[..=zero]);
        bytes.push(0xff);
        rest = &rest[zero + 1..];
    }
    bytes.extend_from_slice(rest);
    bytes.extend_from_slice(&TERMINATOR);
    bytes
}

/// Inverts [`escape`].
pub(super) fn unescape(escaped: &[u8]) -> Result<Vec<u8>, StoreError> {
    let damaged = || StoreError::Damaged(format!("{escaped:02x?} is no key of the column `values`"));
    let body = escaped.strip_suffix(&TERMINATOR).ok_or_else(damaged)?;
    let mut key = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(&byte) = bytes.next() {
        if byte == 0 && bytes.next() != Some(&0xff) {
            return Err(damaged());
        }
        key.push(byte);
    }
    Ok(key)
}

/// The key in `values` of the key `escaped` at `version`.
pub(super) fn value(escaped: &[u8], version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(escaped.len() + VERSION);
    bytes.extend_from_slice(escaped);
    bytes.extend_from_slice(&(!version).to_be_bytes());
    bytes
}

/// The lowest key in `values` behind every version of the key `escaped`.
pub(super) fn behind(escaped: &[u8]) -> Vec<u8> {
    let mut bytes = escaped.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1; // The terminator `00 01` becomes `00 02`, still below an escaped zero, `00 ff`.
    }
    bytes
}

/// The shared part of a key in `values`: what the bloom filters are built over.
pub(super) fn value_prefix(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(VERSION)]
}

/// Splits a key in `values` into the escaped key and the version.
pub(super) fn split_value(key: &[u8]) -> Result<(&[u8], u64), StoreError> {
    let (escaped, version) = key
        .split_last_chunk::<VERSION>()
        .ok_or_else(|| StoreError::Damaged(format!("a key of {} bytes in the column `values`", key.len())))?;
    Ok((escaped, !u64::from_be_bytes(*version)))
}

/// What a version made superfluous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// A node of the tree that the version replaced.
    Node = 0,
    /// A value that the version replaced or deleted.
    Value = 1,
    /// The mark of a deletion that happened in the version itself.
    Tombstone = 2,
}

/// Bytes from which on a row of `index` is full.
const INDEX_ROW: usize = 16 << 10;

/// What a version makes superfluous, packed into few rows: readers at that version and above do not need these keys.
#[derive(Default)]
pub(super) struct StaleRows(Vec<Vec<u8>>);

impl StaleRows {
    pub(super) fn push(&mut self, kind: Stale, key: &[u8]) {
        if self.0.last().is_none_or(|row| row.len() >= INDEX_ROW) {
            self.0.push(Vec::with_capacity(INDEX_ROW / 4));
        }
        if let Some(row) = self.0.last_mut() {
            row.push(kind as u8);
            row.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
            row.extend_from_slice(key);
        }
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The rows of `index`.
    pub(super) fn rows(self, version: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        (0_u32..)
            .zip(self.0)
            .map(move |(number, row)| ([&version.to_be_bytes()[..], &number.to_be_bytes()].concat(), row))
    }
}

/// The keys in a row of `index`.
pub(super) fn stale(row: &[u8]) -> impl Iterator<Item = Result<(Stale, &[u8]), StoreError>> {
    let mut rest = row;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = next_stale(&mut rest);
        if found.is_none() {
            rest = &[];
        }
        Some(found.ok_or_else(|| StoreError::Damaged("a row of the column `index` cannot be read".into())))
    })
}

fn next_stale<'a>(rest: &mut &'a [u8]) -> Option<(Stale, &'a [u8])> {
    let (kind, tail) = rest.split_first()?;
    let kind = match kind {
        0 => Stale::Node,
        1 => Stale::Value,
        2 => Stale::Tombstone,
        _ => return None,
    };
    let (length, tail) = tail.split_first_chunk()?;
    let (key, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = tail;
    Some((kind, key))
}

/// Writes what a row of `values` holds for a value, or for its absence, over what is in `row`.
pub(super) fn encode_value(value: Option<&[u8]>, row: &mut Vec<u8>) {
    row.clear();
    row.push(u8::from(value.is_some()));
    row.extend_from_slice(value.unwrap_or_default());
}

/// Inverts [`encode_value`].
pub(super) fn decode_value(row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    match row.split_first() {
        Some((0, [])) => Ok(None),
        Some((1, value)) => Ok(Some(value.to_vec())),
        _ => Err(StoreError::Damaged(format!(
            "a row of {} bytes in the column `values` has no mark",
            row.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaping_keeps_the_order_and_comes_back(a: Vec<u8>, b: Vec<u8>, version: u64) {
            let (x, y) = (escape(&a), escape(&b));
            prop_assert_eq!(unescape(&x).unwrap(), a.clone());
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            prop_assert_eq!(a == b, y.starts_with(&x));
            let row = value(&x, version);
            prop_assert_eq!(split_value(&row).unwrap(), (x.as_slice(), version));
            prop_assert!(x < row && row < behind(&x));
            prop_assert_eq!(a < b, behind(&x) < y);
        }
    }

    #[test]
    fn damaged_keys_are_refused() {
        for bad in [&[][..], &[1], &[0, 0, 0, 1], &[0, 1, 0, 1, 7]] {
            assert!(unescape(bad).is_err(), "{bad:?}");
        }
        assert!(split_value(&[0; 7]).is_err());
        for bad in [&[9, 0, 0, 0, 0][..], &[0, 0, 0], &[1, 0, 0, 0, 2, 7]] {
            assert!(stale(bad).any(|entry| entry.is_err()), "{bad:?}");
        }
        let mut rows = StaleRows::default();
        rows.push(Stale::Value, b"key");
        rows.push(Stale::Node, b"");
        let (_, row) = rows.rows(1).next().unwrap();
        let read: Vec<_> = stale(&row).map(Result::unwrap).collect();
        assert_eq!(read, [(Stale::Value, &b"key"[..]), (Stale::Node, &b""[..])]);
        assert!(decode_value(&[]).is_err());
        assert!(decode_value(&[0, 1]).is_err());
        let mut row = vec![7];
        for value in [None, Some(vec![]), Some(vec![0, 1])] {
            encode_value(value.as_deref(), &mut row);
            assert_eq!(decode_value(&row).unwrap(), value);
        }
    }
}
