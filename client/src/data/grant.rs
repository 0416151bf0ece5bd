//! A dataset key sealed for one recipient: HPKE (RFC 9180), base mode, X25519-HKDF-SHA256, HKDF-SHA256 and
//! ChaCha20-Poly1305. The `info` binds chain, job, split and recipient, so a grant cannot be replayed elsewhere.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use rand::RngCore as _;
use zeroize::Zeroizing;

use super::{DataKey, Error, Split};

type Kem = X25519HkdfSha256;

/// Bytes of a sealed key: the encapsulated X25519 key, the 32-byte key, the tag.
const GRANT_BYTES: usize = 32 + 32 + 16;

/// What a grant is for; both ends must agree on every field.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The chain's id.
    pub chain_id: &'a str,
    /// The job's id.
    pub job: u64,
    /// The recipient's bech32 address.
    pub recipient: &'a str,
    /// Whose key it is: the train or the test split's.
    pub split: Split,
}

impl Grant<'_> {
    fn info(&self) -> Vec<u8> {
        // Every part is length-prefixed, so no two grants share an encoding.
        let mut info = b"trainyard/grant/v1".to_vec();
        for part in [
            self.chain_id.as_bytes(),
            &self.job.to_be_bytes(),
            self.recipient.as_bytes(),
        ] {
            info.extend_from_slice(&(part.len() as u64).to_be_bytes());
            info.extend_from_slice(part);
        }
        info.extend_from_slice(self.split.as_str().as_bytes());
        info
    }
}

/// An X25519 key pair that grants are sealed to; its public half is registered on chain.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        Self::from_bytes(super::pack::random_key())
    }

    /// The key with this secret half.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret half.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*self.0)).to_bytes()
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingKey({})", hex::encode(self.public()))
    }
}

/// Seals a dataset key to a recipient's X25519 public key: 80 bytes.
pub fn seal_key(recipient: &[u8; 32], key: &DataKey, grant: &Grant<'_>) -> Result<Vec<u8>, Error> {
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(recipient)
        .map_err(|e| Error::Grant(format!("{} is not an X25519 public key: {e}", hex::encode(recipient))))?;
    let (encapsulated, sealed) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem, _>(
        &OpModeS::Base,
        &public,
        &grant.info(),
        key,
        &[],
        &mut SystemRandom,
    )
    .map_err(|e| Error::Grant(format!("cannot seal to {}: {e}", hex::encode(recipient))))?;
    Ok([encapsulated.to_bytes().as_slice(), &sealed].concat())
}

/// Opens a sealed dataset key.
pub fn open_key(recipient: &SealingKey, sealed: &[u8], grant: &Grant<'_>) -> Result<DataKey, Error> {
    if sealed.len() != GRANT_BYTES {
        return Err(Error::Grant(format!(
            "{} bytes, a sealed key has {GRANT_BYTES}",
            sealed.len()
        )));
    }
    let refuse = |e: hpke::HpkeError| {
        Error::Grant(format!(
            "the {} key of job {} on {} for {} does not open ({e}): it was sealed for another recipient, job or split",
            grant.split, grant.job, grant.chain_id, grant.recipient
        ))
    };
    let secret = <Kem as hpke::Kem>::PrivateKey::from_bytes(&*recipient.0).map_err(refuse)?;
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed[..32]).map_err(refuse)?;
    let key = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        &secret,
        &encapsulated,
        &grant.info(),
        &sealed[32..],
        &[],
    )
    .map_err(refuse)?;
    key.try_into()
        .map_err(|k: Vec<u8>| Error::Grant(format!("{} bytes inside, a key has 32", k.len())))
}

/// The operating system's randomness, behind the `rand_core` version that `hpke` speaks.
struct SystemRandom;

impl hpke::rand_core::RngCore for SystemRandom {
    fn next_u32(&mut self) -> u32 {
        rand::rngs::OsRng.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        rand::rngs::OsRng.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        rand::rngs::OsRng.fill_bytes(bytes);
    }
}

impl hpke::rand_core::CryptoRng for SystemRandom {}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant<'_> = Grant {
        chain_id: "trainyard-1",
        job: 7,
        recipient: "train1abc",
        split: Split::Train,
    };

    #[test]
    fn only_the_recipient_opens_a_grant_and_only_for_its_job() {
        let (alice, eve) = (SealingKey::generate(), SealingKey::generate());
        let key = [9; 32];
        let sealed = seal_key(&alice.public(), &key, &GRANT).unwrap();
        assert_eq!(sealed.len(), GRANT_BYTES);
        assert_eq!(open_key(&alice, &sealed, &GRANT).unwrap(), key);
        assert_eq!(
            open_key(&SealingKey::from_bytes(*alice.to_bytes()), &sealed, &GRANT).unwrap(),
            key
        );

        assert!(open_key(&eve, &sealed, &GRANT).is_err());
        for other in [
            Grant {
                chain_id: "trainyard-2",
                ..GRANT
            },
            Grant { job: 8, ..GRANT },
            Grant {
                recipient: "train1abd",
                ..GRANT
            },
            Grant {
                split: Split::Test,
                ..GRANT
            },
        ] {
            let error = open_key(&alice, &sealed, &other).unwrap_err().to_string();
            assert!(error.contains("does not open"), "{error}");
        }
    }

    #[test]
    fn damaged_grants_are_refused() {
        let alice = SealingKey::generate();
        let sealed = seal_key(&alice.public(), &[9; 32], &GRANT).unwrap();
        for at in [0, 31, 32, 79] {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open_key(&alice, &bad, &GRANT).is_err(), "byte {at}");
        }
        let error = open_key(&alice, &sealed[..79], &GRANT).unwrap_err().to_string();
        assert!(error.contains("79 bytes"), "{error}");
        // A public key of low order would give every sender the same secret.
        assert!(seal_key(&[0; 32], &[9; 32], &GRANT).is_err());
    }
}
