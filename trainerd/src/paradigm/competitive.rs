//! Competitive rounds: every worker trains its own variant from its own weights, on all the data. Nothing is merged, and
//! nothing is shown to the others before all of them have committed to their last weights.
//!
//! The batches of a round are the same for all workers, so that variants differ in what makes them variants and in nothing
//! else.

use color_eyre::eyre::{Context, Result};
use sha2::{Digest, Sha256};
use trainyard_proto::job::{JobSpec, Round};

use super::federated::Share;

/// The share of a worker whose variant stands in `spec`, from the weights with a root.
///
/// # Errors
/// A root or beacon is malformed.
pub fn share(spec: &JobSpec, round: &Round, start_root: &[u8]) -> Result<Share> {
    let task = spec.task.clone().unwrap_or_default();
    Ok(Share {
        job: round.job_id,
        round: round.round,
        start_root: start_root.try_into().wrap_err("the start root")?,
        beacon: round.beacon.as_slice().try_into().wrap_err("the round's beacon")?,
        worker: 0,
        workers: 1,
        batch_size: task.batch_size,
        steps: task.local_steps,
        seed: task.seed,
    })
}

/// The salt that hides the weights which a round ended with, until the worker opens its commitment.
pub fn end_salt(secret: &[u8; 32], job: u64, round: u32) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"trainyard/end-salt/v1\0")
        .chain_update(secret)
        .chain_update(job.to_be_bytes())
        .chain_update(round.to_be_bytes())
        .finalize()
        .into()
}
