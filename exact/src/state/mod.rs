//! The root of a state of training: weights, and the optimizer's state where it belongs to the state.
//!
//! ```text
//! tensor(t) = merkle root over the tensor's little-endian bytes, cut every 256 bytes (an empty tensor has no leaf)
//! entry(t)  = name length as u32 le ‖ name ‖ rank as u32 le ‖ each dimension as u64 le ‖ tensor(t)
//! state     = merkle root over entry(t), tensors in the byte order of their names
//! ```
//!
//! A leaf holds 64 elements, and 16 leaves that stand together, a *chunk* of 4 KiB, have a node of their own:
//! [`StateTree`] keeps the nodes of chunks, 32 bytes for 4 KiB, and hashes a chunk again when it changed. One element
//! opens with its leaf and two short proofs ([`ElementProof`]), several of one tensor with what their proofs do not
//! share ([`Opening`]). Other tensors, such as an activation in a step of training, have a [`tensor_root`] of the same
//! kind.
//!
//! Leaves of 256 bytes are a compromise: an opened leaf of half the size would save 96 bytes, and hashing would cost
//! 1.5 times as much; one of twice the size costs 224 bytes more and saves a third of the hashing.

mod opening;
mod proof;
mod tree;

pub use opening::{MAX_OPENED_LEAVES, Opening, OpeningError, TensorLeaves};
pub use proof::{ElementProof, MAX_NAME, MAX_PROOF, ProofError};
pub use tree::{StateTree, tensor_root};

use crate::merkle;
use crate::prf::Hash;
use crate::tensor::Weights;

/// Elements in a leaf: 256 bytes of f32.
pub const LEAF_ELEMENTS: usize = 64;
/// Elements in a chunk: 4 KiB of f32.
pub const CHUNK_ELEMENTS: usize = 1024;

/// The root over all tensors, in name order.
pub fn state_root(weights: &Weights) -> Hash {
    let entries = weights.iter().map(|(name, tensor)| {
        let entry = entry(name, tensor.shape(), &tensor_root(tensor.data()));
        merkle::leaf_hash(&entry)
    });
    merkle::root_of_hashes(entries.collect())
}

/// The leaf of one tensor in the state's tree, from its name, its shape and its [`tensor_root`].
pub fn entry(name: &str, shape: &[usize], tensor: &Hash) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 8 * shape.len() + 40);
    bytes.extend_from_slice(&length(name.len()));
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&length(shape.len()));
    for dim in shape {
        bytes.extend_from_slice(&(*dim as u64).to_le_bytes());
    }
    bytes.extend_from_slice(tensor);
    bytes
}

/// A length as u32 le. Names and ranks beyond 2³² cannot be held in memory as a `Weights`; saturating keeps this total.
fn length(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

/// The number of leaves of a tensor's tree.
pub fn leaves(elements: usize) -> usize {
    elements.div_ceil(LEAF_ELEMENTS)
}

/// The bytes of a leaf, in the first part of a buffer that holds the longest.
fn leaf_bytes<'a>(elements: &[f32], buffer: &'a mut [u8; 4 * LEAF_ELEMENTS]) -> &'a [u8] {
    for (bytes, value) in buffer.as_chunks_mut::<4>().0.iter_mut().zip(elements) {
        *bytes = value.to_le_bytes();
    }
    &buffer[..4 * elements.len().min(LEAF_ELEMENTS)]
}

/// The hash of a leaf.
pub(crate) fn hash_of_leaf(elements: &[f32]) -> Hash {
    merkle::leaf_hash(leaf_bytes(elements, &mut [0; 4 * LEAF_ELEMENTS]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

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
        let leaves: Vec<&[u8]> = bytes.chunks(256).collect();
        assert_eq!(leaves.len(), 47);
        let mut leaf = vec![
            1, 0, 0, 0, b'b', 2, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0,
        ];
        leaf.extend_from_slice(&merkle::root(&leaves));
        let entry = |name: &str| entry(name, weights[name].shape(), &tensor_root(weights[name].data()));
        assert_eq!(entry("b"), leaf);
        let entries = [entry("a"), leaf.clone(), entry("empty")];
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
