//! Proofs of the chain's state: the form of its Merkle tree, in which ICS23 proofs of values and of absences are checked
//! against an app hash.
//!
//! The tree is a sparse binary Merkle tree over the SHA-256 of the keys in which a subtree with one leaf is that leaf (a
//! "Jellyfish" Merkle tree); its hash function is SHA-256. A leaf is `H(LEAF ‖ H(key) ‖ H(value))`, an inner node
//! `H(INNER ‖ left ‖ right)`, an empty subtree [`EMPTY`].

use ics23::{
    CommitmentProof, HashOp, HostFunctionsManager, InnerSpec, LeafOp, LengthOp, ProofSpec, verify_membership,
    verify_non_membership,
};

/// What the hash of a leaf begins with.
pub const LEAF: &[u8] = b"JMT::LeafNode";
/// What the hash of an inner node begins with.
pub const INNER: &[u8] = b"JMT::IntrnalNode";
/// The hash of an empty subtree, and so the app hash of an empty state.
pub const EMPTY: [u8; 32] = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";
/// What the tree commits to in place of an empty value: ICS23 can prove neither an empty value nor the absence of its
/// neighbours.
const EMPTY_VALUE: &[u8] = b"trainyard/empty-value";

/// The value a proof speaks of when `value` is stored: `value` itself, unless it is empty.
#[must_use]
pub fn provable(value: &[u8]) -> &[u8] {
    if value.is_empty() { EMPTY_VALUE } else { value }
}

/// How a leaf is hashed.
#[must_use]
pub fn leaf_op() -> LeafOp {
    LeafOp {
        hash: HashOp::Sha256.into(),
        prehash_key: HashOp::Sha256.into(),
        prehash_value: HashOp::Sha256.into(),
        length: LengthOp::NoPrefix.into(),
        prefix: LEAF.to_vec(),
    }
}

/// The tree as ICS23 describes it.
#[must_use]
pub fn spec() -> ProofSpec {
    ProofSpec {
        leaf_spec: Some(leaf_op()),
        inner_spec: Some(InnerSpec {
            hash: HashOp::Sha256.into(),
            child_order: vec![0, 1],
            min_prefix_length: 16,
            max_prefix_length: 16,
            child_size: 32,
            empty_child: EMPTY.to_vec(),
        }),
        min_depth: 0,
        max_depth: 64,
        prehash_key_before_comparison: true,
    }
}

/// Whether `proof` shows that `key` has `value` (`None`: no value) in the state with this app hash.
#[must_use]
pub fn holds(proof: &CommitmentProof, app_hash: &[u8], key: &[u8], value: Option<&[u8]>) -> bool {
    let root = app_hash.to_vec();
    match value {
        Some(value) => verify_membership::<HostFunctionsManager>(proof, &spec(), &root, key, provable(value)),
        None => verify_non_membership::<HostFunctionsManager>(proof, &spec(), &root, key),
    }
}
