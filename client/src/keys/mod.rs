//! Account keys: mnemonics, derivation, addresses, signatures; and the [`Keyring`] that stores them.
//!
//! Keys are secp256k1, derived from a BIP 39 mnemonic along `m/44'/118'/0'/0/0` as on every Cosmos chain.

mod keyring;

use secp256k1::ecdsa::Signature;
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use sha2::{Digest, Sha256};
use trainyard_proto::address::Address;
use zeroize::{Zeroize, Zeroizing};

pub use keyring::{Backend, KeyInfo, Keyring};

/// The derivation path: coin type 118.
pub const DERIVATION_PATH: &str = "m/44'/118'/0'/0/0";
/// Words of a new mnemonic.
const WORDS: usize = 24;

/// What can go wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a mnemonic: a word outside the list, a wrong number of words, a wrong checksum. The words are not repeated.
    #[error("not a valid mnemonic: {0}")]
    Mnemonic(String),
    /// Not a private key.
    #[error("not a secp256k1 private key: 32 bytes as 64 hex digits are needed")]
    PrivateKey,
    /// A name that cannot be a file's.
    #[error("key name {0:?} is not 1 to 64 of a-z A-Z 0-9 . _ - (not starting with a dot)")]
    Name(String),
    /// No such key.
    #[error("no key {name:?} in {folder}; `trainyard keys list` shows which there are")]
    Missing {
        /// The name asked for.
        name: String,
        /// The keyring's folder.
        folder: String,
    },
    /// The name is taken.
    #[error("there already is a key {0:?}; delete or rename it first")]
    Exists(String),
    /// The key file is encrypted and no password came.
    #[error("key {0:?} is encrypted: a password is needed (prompt, or TRAINYARD_KEYRING_PASSWORD)")]
    PasswordNeeded(String),
    /// The password does not open the key file.
    #[error("wrong password for key {0:?}")]
    WrongPassword(String),
    /// A password too short to protect anything.
    #[error("a password of {0} characters is too short, at least 8 are needed")]
    ShortPassword(usize),
    /// A key file that cannot be understood.
    #[error("key file {file}: {what}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file system said no.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// A new 24-word mnemonic from the operating system's randomness.
#[must_use]
pub fn generate_mnemonic() -> Zeroizing<String> {
    let mut entropy = Zeroizing::new([0u8; WORDS / 3 * 4]);
    rand::RngCore::fill_bytes(&mut rand::rngs::OsRng, entropy.as_mut());
    // 32 bytes are one of BIP 39's sizes, so there always is a mnemonic for them.
    bip39::Mnemonic::from_entropy(entropy.as_ref()).map_or_else(|_| unreachable!(), |m| Zeroizing::new(m.to_string()))
}

/// A secp256k1 private key. Its bytes are wiped when it is dropped and never printed.
pub struct PrivateKey(SecretKey);

impl PrivateKey {
    /// The account key of a mnemonic (12 to 24 words) at [`DERIVATION_PATH`].
    ///
    /// # Errors
    /// The words are no mnemonic.
    pub fn from_mnemonic(words: &str) -> Result<Self, Error> {
        let words = Zeroizing::new(words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
        let mnemonic = bip39::Mnemonic::parse_normalized(&words).map_err(|e| Error::Mnemonic(e.to_string()))?;
        let seed = Zeroizing::new(mnemonic.to_seed_normalized(""));
        let path = DERIVATION_PATH
            .parse()
            .map_err(|e: bip32::Error| Error::Mnemonic(e.to_string()))?;
        let derived = bip32::XPrv::derive_from_path(*seed, &path).map_err(|e| Error::Mnemonic(e.to_string()))?;
        Self::from_bytes(&Zeroizing::new(derived.to_bytes()))
    }

    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// Zero, or not below the curve's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        SecretKey::from_byte_array(bytes)
            .map(Self)
            .map_err(|_| Error::PrivateKey)
    }

    /// A key from 64 hex digits.
    ///
    /// # Errors
    /// Other text, or no valid key.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut()).map_err(|_| Error::PrivateKey)?;
        Self::from_bytes(&bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.secret_bytes())
    }

    /// The compressed public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 33] {
        PublicKey::from_secret_key(&Secp256k1::signing_only(), &self.0).serialize()
    }

    /// The account's address.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::from_public_key(&self.public_key())
    }

    /// ECDSA over SHA-256 of `document`: `r ‖ s`, big-endian, s in the lower half (as Cosmos chains demand).
    #[must_use]
    pub fn sign(&self, document: &[u8]) -> [u8; 64] {
        self.sign_digest(&Sha256::digest(document).into())
    }

    /// ECDSA over a 32-byte digest, deterministic (RFC 6979): `r ‖ s`, s in the lower half.
    #[must_use]
    pub fn sign_digest(&self, digest: &[u8; 32]) -> [u8; 64] {
        Secp256k1::signing_only()
            .sign_ecdsa(&Message::from_digest(*digest), &self.0)
            .serialize_compact()
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.address())
    }
}

/// Whether `signature` (`r ‖ s`, s in the lower half) is `public_key`'s (compressed) over `digest`.
#[must_use]
pub fn verify_digest(public_key: &[u8], digest: &[u8; 32], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (PublicKey::from_slice(public_key), Signature::from_compact(signature)) else {
        return false;
    };
    // libsecp256k1 accepts the lower half only.
    Secp256k1::verification_only()
        .verify_ecdsa(&Message::from_digest(*digest), &signature, &key)
        .is_ok()
}

/// Takes a string's content and wipes the original.
fn into_zeroizing(mut text: String) -> Zeroizing<String> {
    let copy = Zeroizing::new(text.clone());
    text.zeroize();
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn a_known_mnemonic_gives_the_address_every_cosmos_wallet_gives() {
        let key = PrivateKey::from_mnemonic(WORDS).unwrap();
        let cosmos = Address::parse("cosmos19rl4cm2hmr8afy4kldpxz3fka4jguq0auqdal4", "cosmos").unwrap();
        assert_eq!(key.address(), cosmos);
        assert!(
            key.address()
                .to_string()
                .starts_with("train19rl4cm2hmr8afy4kldpxz3fka4jguq0a")
        );
        let shouted = format!("  {}\n", WORDS.to_uppercase().replace(' ', "  "));
        assert_eq!(PrivateKey::from_mnemonic(&shouted).unwrap().address(), cosmos);
    }

    #[test]
    fn new_mnemonics_differ_and_recover() {
        let (a, b) = (generate_mnemonic(), generate_mnemonic());
        assert_eq!(a.split(' ').count(), 24);
        assert_ne!(*a, *b);
        let key = PrivateKey::from_mnemonic(&a).unwrap();
        assert_eq!(key.address(), PrivateKey::from_mnemonic(&a).unwrap().address());
    }

    #[test]
    fn bad_mnemonics_and_keys_are_refused() {
        for bad in [
            "",
            "abandon",
            &WORDS.replace("about", "abandon"),
            &WORDS.replace("about", "xyzzy"),
        ] {
            assert!(
                matches!(PrivateKey::from_mnemonic(bad), Err(Error::Mnemonic(_))),
                "{bad:?}"
            );
        }
        assert!(PrivateKey::from_bytes(&[0; 32]).is_err());
        assert!(PrivateKey::from_bytes(&[0xff; 32]).is_err());
        assert!(PrivateKey::from_hex("abc").is_err());
    }

    #[test]
    fn signatures_verify_and_only_in_the_lower_half() {
        let key = PrivateKey::from_mnemonic(WORDS).unwrap();
        let digest = Sha256::digest(b"a document").into();
        let signature = key.sign(b"a document");
        assert_eq!(signature, key.sign_digest(&digest));
        assert!(verify_digest(&key.public_key(), &digest, &signature));
        assert!(!verify_digest(&key.public_key(), &[0; 32], &signature));
        assert!(!verify_digest(&key.public_key(), &digest, &signature[..63]));

        // n − s signs the same digest, but a second spelling of one signature must not pass.
        let s = SecretKey::from_slice(&signature[32..]).unwrap().negate();
        let high = [&signature[..32], &s.secret_bytes()].concat();
        assert!(!verify_digest(&key.public_key(), &digest, &high));
    }
}
