//! How keys are laid out in the columns.
//!
//! | column | key | value |
//! |---|---|---|
//! | `nodes` | version ‖ nibble count ‖ nibbles | a node of the Merkle tree (borsh) |
//! | `values` | escaped key ‖ inverted version | `1` ‖ value, or `0`: deleted |
//! | `preimages` | SHA-256 of a key | the key |
//! | `index` | version ‖ kind ‖ a key of `nodes` or `values` | empty: what that version made superfluous |
//! | `meta` | name | latest version, lowest version, the node's own notes |
//!
//! Integers are big-endian. A key is escaped (`00` → `00 ff`, then `00 01` at the end) so that no key is a prefix of
//! another and the order of the bytes is the order of the keys; the inverted version puts the newest value first.

use jmt::storage::NodeKey;

use super::StoreError;

/// Length of a version at the end of a key in `values`, bytes.
const VERSION: usize = 8;
const TERMINATOR: [u8; 2] = [0, 1];

/// The key in `nodes` of a node of the tree.
pub(super) fn node(key: &NodeKey) -> Vec<u8> {
    let path = key.nibble_path();
    let mut bytes = node_root(key.version());
    bytes[8] = u8::try_from(path.num_nibbles()).unwrap_or(u8::MAX);
    let mut high = None;
    for nibble in path.nibbles() {
        let nibble = u8::from(nibble);
        match high.take() {
            None => high = Some(nibble << 4),
            Some(high) => bytes.push(high | nibble),
        }
    }
    bytes.extend(high);
    bytes
}

/// The key in `nodes` of the root at `version`: the empty path.
pub(super) fn node_root(version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.push(0);
    bytes
}

/// The part of a key in `values` that all versions of `key` share.
pub(super) fn escape(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + TERMINATOR.len() + VERSION);
    for &byte in key {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
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

/// The key in `index` that says: readers at `version` and above do not need `key`.
pub(super) fn index(version: u64, kind: Stale, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + key.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.push(kind as u8);
    bytes.extend_from_slice(key);
    bytes
}

/// Inverts [`index`], leaving out the version.
pub(super) fn split_index(key: &[u8]) -> Result<(Stale, &[u8]), StoreError> {
    let kind = match key.get(8) {
        Some(0) => Stale::Node,
        Some(1) => Stale::Value,
        Some(2) => Stale::Tombstone,
        other => return Err(StoreError::Damaged(format!("kind {other:?} in the column `index`"))),
    };
    Ok((kind, &key[9..]))
}

/// What a row of `values` holds for a value, or for its absence.
pub(super) fn encode_value(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        None => vec![0],
        Some(value) => [&[1], value].concat(),
    }
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
        assert!(split_index(&[0; 8]).is_err());
        assert!(split_index(&[9; 9]).is_err());
        assert!(decode_value(&[]).is_err());
        assert!(decode_value(&[0, 1]).is_err());
        assert_eq!(decode_value(&encode_value(Some(&[]))).unwrap(), Some(vec![]));
        assert_eq!(decode_value(&encode_value(None)).unwrap(), None);
    }
}
