//! secp256k1 signatures as Cosmos chains use them: 64 bytes (r, s), low s only, over a SHA-256 digest.

use ::secp256k1::{Message, PublicKey, SECP256K1, ecdsa::Signature};
use trainyard_proto::{any::Any, cosmos::crypto::secp256k1 as wire, prost::Message as _};

/// Type URL of the public keys that accounts may have.
pub const PUBLIC_KEY_URL: &str = "/cosmos.crypto.secp256k1.PubKey";

/// The compressed key (33 bytes) in a public key; `None` when it is of another kind, or no point of the curve.
#[must_use]
pub fn public_key(any: &Any) -> Option<[u8; 33]> {
    if any.type_url != PUBLIC_KEY_URL {
        return None;
    }
    let key = wire::PubKey::decode(any.value.as_slice()).ok()?.key;
    let compressed: [u8; 33] = key.try_into().ok()?;
    PublicKey::from_slice(&compressed).ok()?;
    Some(compressed)
}

/// A public key as a point of the curve: finding it in the compressed form takes a tenth of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point(PublicKey);

impl Point {
    /// The point of a compressed key (33 bytes); `None` when it is none.
    #[must_use]
    pub fn read(compressed: &[u8; 33]) -> Option<Self> {
        PublicKey::from_slice(compressed).ok().map(Self)
    }

    /// Whether `signature` is one over `digest` by this key. High-s signatures are refused: they would be second texts of
    /// one signature.
    #[must_use]
    pub fn verify(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_compact(signature) else {
            return false;
        };
        let mut normal = signature;
        normal.normalize_s();
        normal == signature
            && SECP256K1
                .verify_ecdsa(&Message::from_digest(*digest), &signature, &self.0)
                .is_ok()
    }
}

/// Whether `signature` is one over `digest` by the compressed key; see [`Point::verify`].
#[must_use]
pub fn verify_digest(digest: &[u8; 32], signature: &[u8], public_key: &[u8; 33]) -> bool {
    Point::read(public_key).is_some_and(|point| point.verify(digest, signature))
}
