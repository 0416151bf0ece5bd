//! The node and its command line.
//!
//! ```text
//! store/   the state on disk: Merkle tree, versions, proofs, pruning
//! ```

pub mod store;
