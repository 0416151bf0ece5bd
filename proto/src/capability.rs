//! The hash of a capability record, which a node registers on the chain.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::overlay::CapabilityRecord;

/// Longest encoded record that is taken, bytes.
pub const MAX_RECORD: usize = 4096;
/// Domain tag of the hash.
pub const TAG: &[u8] = b"trainyard/capability/1";

/// SHA-256 over the domain tag and an encoded record.
#[must_use]
pub fn hash(record: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(TAG).chain_update(record).finalize().into()
}

impl CapabilityRecord {
    /// [`hash`] of this record's protobuf bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.encode_to_vec())
    }
}
