//! A user's side: keys, signing, RPC, event streams, datasets.
//!
//! | module | what |
//! |---|---|
//! | [`keys`] | mnemonics, account keys, signatures, the keyring |
//! | [`data`] | datasets: manifests, shards, importers, key grants |

pub mod data;
pub mod keys;
