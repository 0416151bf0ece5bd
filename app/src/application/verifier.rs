//! Signatures are verified once: `CheckTx` remembers those that hold, `FinalizeBlock` asks.

use std::{hash::Hash, sync::Mutex};

use sha2::{Digest, Sha256};
use trainyard_modules::{crypto::Point, machine::ante::Verifier};

use super::lock;
use crate::store::Generations;

/// What one generation of a memory holds; two generations are kept.
const GENERATION_SIZE: usize = 50_000;

/// A memory of bounded size.
struct Memory<K, V>(Mutex<Generations<K, V>>);

impl<K: Eq + Hash, V: Copy> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Generations::new(GENERATION_SIZE)))
    }
}

impl<K: Eq + Hash, V: Copy> Memory<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        lock(&self.0).get(key).copied()
    }

    fn put(&self, key: K, value: V) {
        let mut memory = lock(&self.0);
        memory.turn();
        memory.put(key, value, 1);
    }
}

/// A verifier with memories. A verdict's key is the hash of all that was verified (digest, signature, public key), so it can
/// stand for nothing else, and only good signatures are remembered, with the keys that gave them.
#[derive(Default)]
pub(super) struct Remembering {
    good: Memory<[u8; 32], ()>,
    points: Memory<[u8; 33], Point>,
}

impl Verifier for Remembering {
    fn verify(&self, digest: &[u8; 32], signature: &[u8], public_key: &[u8; 33]) -> bool {
        let key = Sha256::new()
            .chain_update(digest)
            .chain_update(public_key)
            .chain_update(signature)
            .finalize()
            .into();
        if self.good.get(&key).is_some() {
            return true;
        }
        let known = self.points.get(public_key);
        let Some(point) = known.or_else(|| Point::read(public_key)) else {
            return false;
        };
        let holds = point.verify(digest, signature);
        if holds {
            self.good.put(key, ());
            if known.is_none() {
                self.points.put(*public_key, point);
            }
        }
        holds
    }
}
