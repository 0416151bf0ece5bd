//! The node and its command line.
//!
//! ```text
//! abci/         the socket that CometBFT drives the application through
//! store/        the state on disk: Merkle tree, versions, proofs, pruning
//! application/  the state machine over the store, as ABCI calls it
//! api/          gRPC and REST: the queries of the state and of the node, for programs
//! node/         a running node: the application behind its socket, CometBFT as its child; homes, genesis, local networks
//! cli/          the command line
//! testing/      a chain in one process, for tests
//! book/         the book's pages that are made from the code; only in tests
//! ```

pub mod abci;
pub mod api;
pub mod application;
#[cfg(test)]
mod book;
pub mod cli;
pub mod node;
pub mod store;
pub mod testing;
