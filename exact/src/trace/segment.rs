//! The steps of a segment, and what their inputs are tied to.

use crate::merkle::{leaf_hash, root_of_hashes};
use crate::prf::Hash;
use crate::program::Header;
use crate::state::tensor_root;
use crate::train::key_words;

/// What one step is fed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The samples, row-major.
    pub samples: Vec<f32>,
    /// The labels as whole numbers.
    pub labels: Vec<f32>,
    /// The learning rate of the step.
    pub rate: f32,
    /// The key of its random numbers.
    pub key: u64,
}

impl Batch {
    /// Its leaf in the tree over a segment's batches: the tensor roots of samples, labels, rate and key.
    pub fn leaf(&self) -> BatchLeaf {
        [
            tensor_root(&self.samples),
            tensor_root(&self.labels),
            tensor_root(&[self.rate]),
            tensor_root(&key_words(self.key)),
        ]
    }
}

/// The tensor roots of samples, labels, rate and key of one step.
pub type BatchLeaf = [Hash; 4];

/// The root over what the steps of a segment are fed: a Merkle tree with, for each, the 128 bytes of its leaf.
pub fn batches_root(leaves: &[BatchLeaf]) -> Hash {
    root_of_hashes(leaves.iter().map(|leaf| leaf_hash(leaf.as_flattened())).collect())
}

/// Everything that determines where a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The program's root.
    pub program: Hash,
    /// The program's header, as under that root.
    pub header: Header,
    /// The root of the state it starts from.
    pub start: Hash,
    /// How many steps it has.
    pub steps: u64,
    /// The root over its batches ([`batches_root`]).
    pub batches: Hash,
}
