//! The node and its command line.
//!
//! ```text
//! store/        the state on disk: Merkle tree, versions, proofs, pruning
//! application/  the state machine over the store, as ABCI calls it
//! cli/          the command line
//! ```

pub mod abci;
pub mod application;
pub mod cli;
pub mod store;
