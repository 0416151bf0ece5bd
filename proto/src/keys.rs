//! Public keys of accounts: one secp256k1 key, or several of which a number must sign.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    address::Address,
    any::{self, Any},
    cosmos::crypto::{
        multisig::{LegacyAminoPubKey, v1beta1::CompactBitArray},
        secp256k1,
    },
};

/// Keys of one account, at most, in all levels together: as many as the SDK lets sign one transaction.
pub const MAX_KEYS: usize = 7;
/// Levels of keys inside keys, at most.
const MAX_LEVELS: usize = 4;
/// What Amino writes before a multisig key: the first bytes of the hash of its name, `tendermint/PubKeyMultisigThreshold`.
const MULTISIG_PREFIX: [u8; 4] = [0x22, 0xc1, 0xf7, 0xe2];
/// What Amino writes before a secp256k1 key: the same of `tendermint/PubKeySecp256k1`, and the key's length.
const SECP256K1_PREFIX: [u8; 5] = [0xeb, 0x5a, 0xe9, 0x87, 33];

/// Why a public key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another kind of key.
    #[error("public key is a {0:?}, expected secp256k1 or multisig")]
    Kind(String),
    /// The bytes are not such a key.
    #[error("{0}")]
    Bytes(String),
    /// Nobody, or nobody among the keys, could ever sign.
    #[error("a multisig account with threshold {threshold} of {keys} keys, expected 1 to as many as there are")]
    Threshold {
        /// How many must sign.
        threshold: u32,
        /// How many there are.
        keys: usize,
    },
    /// Too many keys.
    #[error("a multisig account has more than {MAX_KEYS} keys")]
    TooMany,
    /// Keys inside keys inside keys.
    #[error("a multisig account has more than {MAX_LEVELS} levels of keys")]
    TooDeep,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Compressed secp256k1. Whether it is a point of the curve shows when a signature is verified.
    Single([u8; 33]),
    /// `threshold` of `keys`, whose order matters.
    Multisig {
        /// How many must sign.
        threshold: u32,
        /// Who may.
        keys: Vec<PublicKey>,
    },
}

impl PublicKey {
    /// Reads a key as accounts and transactions carry it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(any: &Any) -> Result<Self, KeyError> {
        let mut left = MAX_KEYS;
        Self::read_level(any, MAX_LEVELS, &mut left)
    }

    fn read_level(any: &Any, levels: usize, left: &mut usize) -> Result<Self, KeyError> {
        let undecodable = |e: prost::DecodeError| KeyError::Bytes(format!("public key: {e}"));
        if any.type_url == any::type_url::<secp256k1::PubKey>() {
            *left = left.checked_sub(1).ok_or(KeyError::TooMany)?;
            let key = secp256k1::PubKey::decode(any.value.as_slice())
                .map_err(undecodable)?
                .key;
            let found = key.len();
            return key
                .try_into()
                .map(Self::Single)
                .map_err(|_| KeyError::Bytes(format!("public key has {found} bytes, expected 33")));
        }
        if any.type_url != any::type_url::<LegacyAminoPubKey>() {
            return Err(KeyError::Kind(any.type_url.chars().take(100).collect()));
        }
        let deeper = levels.checked_sub(1).ok_or(KeyError::TooDeep)?;
        let LegacyAminoPubKey { threshold, public_keys } =
            LegacyAminoPubKey::decode(any.value.as_slice()).map_err(undecodable)?;
        let count = public_keys.len();
        if count > MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        if threshold == 0 || usize::try_from(threshold).map_or(true, |threshold| threshold > count) {
            return Err(KeyError::Threshold { threshold, keys: count });
        }
        let mut keys = Vec::with_capacity(count);
        for key in &public_keys {
            keys.push(Self::read_level(key, deeper, left)?);
        }
        Ok(Self::Multisig { threshold, keys })
    }

    /// The key as accounts and transactions carry it.
    #[must_use]
    pub fn pack(&self) -> Any {
        match self {
            Self::Single(key) => any::pack(&secp256k1::PubKey { key: key.to_vec() }),
            Self::Multisig { threshold, keys } => any::pack(&LegacyAminoPubKey {
                threshold: *threshold,
                public_keys: keys.iter().map(Self::pack).collect(),
            }),
        }
    }

    /// Amino's binary form, from which a multisig account has its address.
    fn amino(&self) -> Vec<u8> {
        match self {
            Self::Single(key) => [SECP256K1_PREFIX.as_slice(), key].concat(),
            Self::Multisig { threshold, keys } => {
                let mut out = MULTISIG_PREFIX.to_vec();
                out.push(0x08); // Field 1, a number.
                prost::encoding::encode_varint(u64::from(*threshold), &mut out);
                for key in keys {
                    let key = key.amino();
                    out.push(0x12); // Field 2, bytes.
                    prost::encoding::encode_varint(key.len() as u64, &mut out);
                    out.extend(key);
                }
                out
            }
        }
    }

    /// How many single keys it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Multisig { keys, .. } => keys.iter().map(Self::count).sum(),
        }
    }

    /// The account's address.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Single(key) => Address::from_public_key(key),
            Self::Multisig { .. } => {
                let hash = Sha256::digest(self.amino());
                let mut bytes = [0; 20];
                bytes.copy_from_slice(&hash[..20]);
                Address(bytes)
            }
        }
    }
}

/// The bits of an array; `None` where it says that it has more than it holds, or unused ones are set.
#[must_use]
pub fn bits(array: &CompactBitArray) -> Option<Vec<bool>> {
    let extra = usize::try_from(array.extra_bits_stored)
        .ok()
        .filter(|extra| *extra < 8)?;
    let whole = array.elems.len();
    if whole > MAX_KEYS.div_ceil(8) {
        return None;
    }
    let count = if extra == 0 {
        whole * 8
    } else {
        whole.checked_sub(1)? * 8 + extra
    };
    let bit = |at: usize| array.elems[at / 8] & (0x80 >> (at % 8)) != 0;
    if (count..whole * 8).any(bit) {
        return None;
    }
    Some((0..count).map(bit).collect())
}

/// An array of bits, the first one highest in the first byte.
#[must_use]
pub fn bit_array(bits: &[bool]) -> CompactBitArray {
    let mut elems = vec![0; bits.len().div_ceil(8)];
    for (at, _) in bits.iter().enumerate().filter(|(_, set)| **set) {
        elems[at / 8] |= 0x80 >> (at % 8);
    }
    CompactBitArray {
        extra_bits_stored: u32::try_from(bits.len() % 8).unwrap_or(0),
        elems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(byte: u8) -> PublicKey {
        PublicKey::Single([byte; 33])
    }

    fn of(threshold: u32, keys: Vec<PublicKey>) -> PublicKey {
        PublicKey::Multisig { threshold, keys }
    }

    #[test]
    fn keys_round_trip_within_bounds() {
        let nested = of(2, vec![single(1), of(1, vec![single(2), single(3)])]);
        assert_eq!(PublicKey::read(&nested.pack()), Ok(nested));
        let many = |count: u8| of(1, (0..count).map(single).collect());
        assert!(PublicKey::read(&many(7).pack()).is_ok());
        assert_eq!(PublicKey::read(&many(8).pack()), Err(KeyError::TooMany));
        let wide = of(1, vec![many(4), many(4)]);
        assert_eq!(PublicKey::read(&wide.pack()), Err(KeyError::TooMany));
        let deep = (0..5).fold(single(1), |key, _| of(1, vec![key]));
        assert_eq!(PublicKey::read(&deep.pack()), Err(KeyError::TooDeep));
        for (threshold, keys) in [(0, 2), (3, 2), (0, 0), (u32::MAX, 1)] {
            let key = of(threshold, (0..keys).map(single).collect());
            assert!(matches!(PublicKey::read(&key.pack()), Err(KeyError::Threshold { .. })));
        }
        let short = any::pack(&secp256k1::PubKey { key: vec![2; 32] });
        assert!(matches!(PublicKey::read(&short), Err(KeyError::Bytes(_))));
        assert!(matches!(PublicKey::read(&Any::default()), Err(KeyError::Kind(_))));
    }

    #[test]
    fn bits_are_as_many_as_they_say() {
        for count in 0..=7 {
            for pattern in 0..1u32 << count {
                let set: Vec<bool> = (0..count).map(|at| pattern >> at & 1 == 1).collect();
                assert_eq!(bits(&bit_array(&set)), Some(set));
            }
        }
        let array = |extra_bits_stored, elems: &[u8]| CompactBitArray {
            extra_bits_stored,
            elems: elems.to_vec(),
        };
        assert_eq!(bits(&array(3, &[0b1010_0000])), Some(vec![true, false, true]));
        for wrong in [
            array(3, &[]),
            array(8, &[0]),
            array(3, &[0b1011_0000]),
            array(1, &[0, 0]),
            array(u32::MAX, &[0]),
        ] {
            assert_eq!(bits(&wrong), None, "{wrong:?}");
        }
    }
}
