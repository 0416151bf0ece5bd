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

/// Domain tag of an evaluator's findings in a contest.
const FINDINGS: &[u8] = b"trainyard/findings/v1\0";
/// Domain tag of the commitment to the weights that a round of a contest ended with.
const END: &[u8] = b"trainyard/end-commitment/v1\0";

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

/// What an evaluator of a contest commits to: its findings on each artifact in their order, an [`attestation`] or, where it
/// rejects the artifact, none.
///
/// Layout: tag, job (u64 big-endian), number of artifacts (u32 big-endian), for each a byte 1 and the attestation, or a
/// byte 0 and 32 zeros.
#[must_use]
pub fn findings(job: u64, attestations: &[Option<[u8; 32]>]) -> [u8; 32] {
    let count = u32::try_from(attestations.len()).unwrap_or(u32::MAX);
    let mut hash = Sha256::new()
        .chain_update(FINDINGS)
        .chain_update(job.to_be_bytes())
        .chain_update(count.to_be_bytes());
    for attestation in attestations {
        hash.update([u8::from(attestation.is_some())]);
        hash.update(attestation.unwrap_or_default());
    }
    hash.finalize().into()
}

/// The commitment of a contest's worker to the root of the weights that its round ended with: hides the root, so that
/// nobody can claim it, and binds it to job, round and worker, so that it cannot be copied.
#[must_use]
pub fn end_commitment(job: u64, round: u32, worker: &Address, root: &[u8; 32], salt: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(END)
        .chain_update(job.to_be_bytes())
        .chain_update(round.to_be_bytes())
        .chain_update(worker.0)
        .chain_update(root)
        .chain_update(salt)
        .finalize()
        .into()
}
