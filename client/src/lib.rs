//! A user's side: keys, signing, RPC, event streams, datasets.
//!
//! | module | what |
//! |---|---|
//! | [`keys`] | mnemonics, account keys, signatures, the keyring |
//! | [`tx`] | transactions: built, signed, hashed |
//! | [`rpc`] | a client of a node's RPC: queries, broadcasts, waiting for a transaction |
//! | [`signer`] | an account that sends transactions and keeps count of its sequence |
//! | [`blocks`] | what CometBFT knows beside the state: blocks, validators, transactions |
//! | [`events`] | blocks' events, in order and without gaps |
//! | [`light`] | headers from a trusted one on, values with proofs: no node is trusted |
//! | [`receipt`] | a file that proves a value to someone without a node |
//! | [`proof`] | ICS23 proofs of the state against an app hash |
//! | [`members`] | who belongs to a job |
//! | [`data`] | datasets: manifests, shards, importers, key grants |

pub mod blocks;
pub mod data;
pub mod events;
pub mod keys;
pub mod light;
pub mod members;
pub mod proof;
pub mod receipt;
pub mod rpc;
pub mod signer;
pub mod tx;
