//! The bytes that evaluators commit to and sign (PROTOCOL: Evaluation).
//!
//! The signature makes an artifact checkable by anyone, later, without the chain: who holds the weights, the chain id,
//! the job's number and an attestation checks SHA-256 of the file and the evaluator's signature over [`attestation`].

use sha2::{Digest, Sha256};

use crate::address::Address;

/// Domain tag of the signed document.
const ATTEST: &[u8] = b"trainyard/attestation/v1\0";
/// Domain tag of the commitment.
const COMMIT: &[u8] = b"trainyard/evaluation-commitment/v1\0";

/// SHA-256 of the attestation document: what the evaluator's account key signs (ECDSA over this digest).
///
/// Layout: tag, chain id (length as u32 big-endian, bytes), job (u64 big-endian), model SHA-256, metrics hash, score in
/// parts per million (u32 big-endian).
#[must_use]
pub fn attestation(
    chain_id: &str,
    job: u64,
    model_sha256: &[u8; 32],
    metrics_hash: &[u8; 32],
    score_ppm: u32,
) -> [u8; 32] {
    let length = u32::try_from(chain_id.len()).unwrap_or(u32::MAX);
    Sha256::new()
        .chain_update(ATTEST)
        .chain_update(length.to_be_bytes())
        .chain_update(chain_id)
        .chain_update(job.to_be_bytes())
        .chain_update(model_sha256)
        .chain_update(metrics_hash)
        .chain_update(score_ppm.to_be_bytes())
        .finalize()
        .into()
}

/// The commitment of an evaluator: hides the score behind the salt and binds it to its author, so that it cannot be copied.
#[must_use]
pub fn commitment(attestation: &[u8; 32], salt: &[u8; 32], evaluator: &Address) -> [u8; 32] {
    Sha256::new()
        .chain_update(COMMIT)
        .chain_update(attestation)
        .chain_update(salt)
        .chain_update(evaluator.0)
        .finalize()
        .into()
}
