//! What the parties say.

use crate::prf::Hash;
use crate::program::OpenedLeaf;
use crate::referee::Witness;
use crate::trace::BatchLeaf;

/// A move of either party.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// The defender's roots of states, prefixes, or nodes of a tree.
    Claims(Vec<Hash>),
    /// The defender's elements of a leaf, or accumulators of a fold.
    Numbers(Vec<f32>),
    /// The defender's root of a value.
    Value {
        /// What the program says of the value.
        leaf: OpenedLeaf,
        /// The tensor root.
        root: Hash,
        /// The tops of the prefix before the value ([`crate::merkle::Frontier`]).
        frontier: Vec<Hash>,
    },
    /// The challenger's first interval, node or element that he computes otherwise.
    Pick(u64),
    /// The challenger's tensor of the state before the step.
    Entry {
        /// Its position among the tensors of state.
        position: u64,
        /// Its tensor root.
        root: Hash,
        /// The hashes that lead to the state's root.
        siblings: Vec<Hash>,
    },
    /// The challenger's roots of what the step is fed.
    Batch {
        /// The tensor roots.
        roots: BatchLeaf,
        /// The hashes that lead to the root over the segment's batches.
        siblings: Vec<Hash>,
    },
    /// The challenger's root of the value that a tensor of state should hold after the step.
    Output {
        /// What the program says of the tensor of state.
        leaf: OpenedLeaf,
        /// The value's tensor root.
        root: Hash,
        /// The hashes that lead to the prefix of all values.
        siblings: Vec<Hash>,
    },
    /// What the challenger shows the referee.
    Witness(Witness),
}

impl Move {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Claims(_) => "list of claims",
            Self::Numbers(_) => "list of numbers",
            Self::Value { .. } => "value",
            Self::Pick(_) => "pick",
            Self::Entry { .. } => "tensor of state",
            Self::Batch { .. } => "batch",
            Self::Output { .. } => "output",
            Self::Witness(_) => "witness",
        }
    }
}
