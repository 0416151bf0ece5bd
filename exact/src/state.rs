//! The root of a state of training: weights, and the optimizer's state where it belongs to the state.
//!
//! ```text
//! chunks(t) = merkle root over the tensor's little-endian bytes, cut every 4096 bytes (an empty tensor has no chunk)
//! entry(t)  = name length as u32 le ‖ name ‖ rank as u32 le ‖ each dimension as u64 le ‖ chunks(t)
//! state     = merkle root over entry(t), tensors in the byte order of their names
//! ```
//!
//! So one element opens with a chunk and two short proofs ([`crate::merkle::Proof`]).

use crate::merkle;
use crate::prf::Hash;
use crate::tensor::{Tensor, Weights};

/// Elements in a chunk: 4 KiB of f32.
pub const CHUNK_ELEMENTS: usize = 1024;

/// The root over all tensors, in name order.
pub fn state_root(weights: &Weights) -> Hash {
    let entries: Vec<Vec<u8>> = weights.iter().map(|(name, tensor)| entry(name, tensor)).collect();
    merkle::root(&entries)
}

/// The leaf of one tensor in the state's tree.
pub fn entry(name: &str, tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 8 * tensor.shape().len() + 40);
    bytes.extend_from_slice(&length(name.len()));
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&length(tensor.shape().len()));
    for dim in tensor.shape() {
        bytes.extend_from_slice(&(*dim as u64).to_le_bytes());
    }
    bytes.extend_from_slice(&chunks_root(tensor));
    bytes
}

/// The root over one tensor's chunks.
pub fn chunks_root(tensor: &Tensor) -> Hash {
    let mut bytes = Vec::with_capacity(4 * CHUNK_ELEMENTS);
    let hashes = tensor.data().chunks(CHUNK_ELEMENTS).map(|chunk| {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        merkle::leaf_hash(&bytes)
    });
    merkle::root_of_hashes(hashes.collect())
}

/// A length as u32 le. Names and ranks beyond 2³² cannot be held in memory as a `Weights`; saturating keeps this total.
fn length(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        let data: Vec<f32> = (0..3000).map(|i| i as f32).collect();
        Weights::from([
            ("b".to_owned(), Tensor::new(vec![30, 100], data).unwrap()),
            ("a".to_owned(), Tensor::new(vec![2], vec![1.0, 2.0]).unwrap()),
            ("empty".to_owned(), Tensor::new(vec![0], vec![]).unwrap()),
        ])
    }

    #[test]
    fn the_layout_is_as_documented() {
        let weights = weights();
        let tensor = &weights["b"];
        let bytes = tensor.to_le_bytes();
        let chunks: Vec<&[u8]> = bytes.chunks(4096).collect();
        assert_eq!(chunks.len(), 3);
        let mut leaf = vec![
            1, 0, 0, 0, b'b', 2, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0,
        ];
        leaf.extend_from_slice(&merkle::root(&chunks));
        assert_eq!(entry("b", tensor), leaf);
        let entries = [
            entry("a", &weights["a"]),
            leaf.clone(),
            entry("empty", &weights["empty"]),
        ];
        let root = state_root(&weights);
        assert_eq!(root, merkle::root(&entries));
        assert!(merkle::verify(&root, &leaf, &merkle::prove(&entries, 1).unwrap()));
    }

    #[test]
    fn name_shape_and_every_bit_matter() {
        let root = state_root(&weights());
        let mut flipped = weights();
        flipped.get_mut("b").unwrap().data_mut()[2999] += 1.0;
        let mut signed = weights();
        signed.get_mut("b").unwrap().data_mut()[0] = -0.0;
        let mut renamed = weights();
        let tensor = renamed.remove("a").unwrap();
        renamed.insert("c".to_owned(), tensor);
        let mut reshaped = weights();
        let data = reshaped["b"].data().to_vec();
        reshaped.insert("b".to_owned(), Tensor::new(vec![100, 30], data).unwrap());
        let mut fewer = weights();
        fewer.remove("empty");
        for other in [flipped, signed, renamed, reshaped, fewer, Weights::new()] {
            assert_ne!(state_root(&other), root);
        }
    }
}
