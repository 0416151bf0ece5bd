//! Signatures are verified once: `CheckTx` remembers those that hold, `FinalizeBlock` asks.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use trainyard_modules::{crypto, machine::ante::Verifier};

/// Remembered signatures of one generation; two generations are kept.
const GENERATION_SIZE: usize = 50_000;

/// Keys of good signatures.
type Generation = HashSet<[u8; 32]>;

/// A verifier with a memory of bounded size. A verdict's key is the hash of all that was verified (digest, signature, public
/// key), so it can stand for nothing else, and only good signatures are remembered.
#[derive(Default)]
pub(super) struct Remembering {
    good: Mutex<(Generation, Generation)>,
}

impl Verifier for Remembering {
    fn verify(&self, digest: &[u8; 32], signature: &[u8], public_key: &[u8; 33]) -> bool {
        let key = Sha256::new()
            .chain_update(digest)
            .chain_update(public_key)
            .chain_update(signature)
            .finalize()
            .into();
        {
            let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
            if good.0.contains(&key) || good.1.contains(&key) {
                return true;
            }
        }
        let holds = crypto::verify_digest(digest, signature, public_key);
        if holds {
            let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
            if good.0.len() >= GENERATION_SIZE {
                good.1 = std::mem::take(&mut good.0);
            }
            good.0.insert(key);
        }
        holds
    }
}
