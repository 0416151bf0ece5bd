//! Bech32 addresses (BIP 173) with Trainyard's prefixes, derived as the Cosmos SDK derives them.

use std::{fmt, str::FromStr};

use bech32::{Bech32, Hrp, primitives::decode::CheckedHrpstring};
use ripemd::Ripemd160;
use sha2::{Digest, Sha256};

/// Prefix of account addresses.
pub const ACCOUNT_PREFIX: &str = "train";
/// Prefix of validator operator addresses: the account's bytes under another name.
pub const OPERATOR_PREFIX: &str = "trainvaloper";
/// Prefix of consensus addresses.
pub const CONSENSUS_PREFIX: &str = "trainvalcons";

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not bech32, or the checksum is wrong.
    #[error("address {text:?} is not valid bech32: {reason}")]
    Bech32 {
        /// What was given, cut to 100 characters.
        text: String,
        /// What the decoder said.
        reason: String,
    },
    /// Another chain's address, or a validator's where an account's is asked.
    #[error("address {text:?} starts with {found:?}, expected {expected:?}")]
    Prefix {
        /// What was given.
        text: String,
        /// Its prefix.
        found: String,
        /// The prefix asked for.
        expected: &'static str,
    },
    /// Not 20 bytes.
    #[error("address {text:?} holds {found} bytes, expected 20")]
    Length {
        /// What was given.
        text: String,
        /// Its length in bytes.
        found: usize,
    },
}

/// A 20-byte account address; orders as its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// Address of a compressed secp256k1 public key (33 bytes): RIPEMD-160 of SHA-256.
    #[must_use]
    pub fn from_public_key(compressed: &[u8; 33]) -> Self {
        Self(Ripemd160::digest(Sha256::digest(compressed)).into())
    }

    /// Address of a module's account: the first 20 bytes of SHA-256 of its name, as the SDK does; nobody holds its key.
    #[must_use]
    pub fn of_module(name: &str) -> Self {
        Self::truncated(&Sha256::digest(name.as_bytes()).into())
    }

    /// Address of an ed25519 consensus key (32 bytes): the first 20 bytes of its SHA-256.
    #[must_use]
    pub fn of_consensus_key(key: &[u8]) -> Self {
        Self::truncated(&Sha256::digest(key).into())
    }

    fn truncated(hash: &[u8; 32]) -> Self {
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&hash[..20]);
        Self(bytes)
    }

    /// Parses an address with the given prefix.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, prefix: &'static str) -> Result<Self, AddressError> {
        let shown = || text.chars().take(100).collect::<String>();
        let wrong = |reason: String| AddressError::Bech32 { text: shown(), reason };
        // Only the original checksum is in use on Cosmos chains: bech32m texts, those in capitals (whose prefix is too) and those
        // with a letter of padding would be second names of one account.
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|e| wrong(e.to_string()))?;
        let hrp = checked.hrp();
        if hrp.as_str() != prefix {
            return Err(AddressError::Prefix {
                text: shown(),
                found: hrp.to_string(),
                expected: prefix,
            });
        }
        let bytes = checked.byte_iter();
        let found = bytes.len();
        let mut address = [0; 20];
        if found != address.len() {
            return Err(AddressError::Length { text: shown(), found });
        }
        if checked.data_part_ascii_no_checksum().len() != address.len() * 8 / 5 {
            return Err(wrong("it has more letters than 20 bytes need".into()));
        }
        address.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        Ok(Self(address))
    }

    /// Parses a validator operator address.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse_operator(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, OPERATOR_PREFIX)
    }

    /// The validator operator address of this account.
    #[must_use]
    pub fn operator(&self) -> String {
        Self::encode_bytes(&self.0, OPERATOR_PREFIX)
    }

    /// Parses a validator's consensus address.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse_consensus(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, CONSENSUS_PREFIX)
    }

    /// This address as a consensus address.
    #[must_use]
    pub fn consensus(&self) -> String {
        Self::encode_bytes(&self.0, CONSENSUS_PREFIX)
    }

    /// Bytes of an address as bech32 with a prefix, this chain's or another's; empty where the prefix is none.
    #[must_use]
    pub fn encode_bytes(bytes: &[u8], prefix: &str) -> String {
        Hrp::parse(prefix)
            .ok()
            .and_then(|hrp| bech32::encode::<Bech32>(hrp, bytes).ok())
            .unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Events name many addresses: the prefix is not looked at each time.
        const PREFIX: Hrp = Hrp::parse_unchecked(ACCOUNT_PREFIX);
        bech32::encode_lower_to_fmt::<Bech32, _>(f, PREFIX, &self.0).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, ACCOUNT_PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use bech32::{ByteIterExt as _, Fe32, Fe32IterExt as _};

    use super::*;

    #[test]
    fn text_round_trips_under_each_prefix() {
        let a = Address([7; 20]);
        assert_eq!(a.to_string().parse::<Address>(), Ok(a));
        assert_eq!(Address::parse_operator(&a.operator()), Ok(a));
        assert!(a.to_string().starts_with("train1"));
    }

    #[test]
    fn wrong_texts_are_named() {
        let a = Address([7; 20]);
        assert!(matches!(
            a.operator().parse::<Address>(),
            Err(AddressError::Prefix { .. })
        ));
        let mut flipped = a.to_string();
        let last = if flipped.pop() == Some('q') { 'p' } else { 'q' };
        flipped.push(last);
        assert!(matches!(flipped.parse::<Address>(), Err(AddressError::Bech32 { .. })));
        assert!(a.to_string().to_uppercase().parse::<Address>().is_err());
        let modified = bech32::encode::<bech32::Bech32m>(Hrp::parse(ACCOUNT_PREFIX).unwrap(), &a.0).unwrap();
        assert!(matches!(modified.parse::<Address>(), Err(AddressError::Bech32 { .. })));
        // 33 letters hold 20 bytes and five bits of nothing.
        let letters = a.0.iter().copied().bytes_to_fes().chain([Fe32::Q]);
        let padded: String = letters
            .with_checksum::<Bech32>(&Hrp::parse(ACCOUNT_PREFIX).unwrap())
            .chars()
            .collect();
        assert!(CheckedHrpstring::new::<Bech32>(&padded).is_ok());
        assert!(
            matches!(padded.parse::<Address>(), Err(AddressError::Bech32 { .. })),
            "{padded}"
        );
        let short = Address::encode_bytes(&[1; 19], ACCOUNT_PREFIX);
        assert_eq!(
            short.parse::<Address>(),
            Err(AddressError::Length { text: short, found: 19 })
        );
    }
}
