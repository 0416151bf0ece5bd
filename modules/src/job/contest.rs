//! How a competitive job runs: every worker trains its own variant from its own weights, round after round, and submits an
//! artifact of its own. Nothing is merged.
//!
//! A worker says which weights a round ended with only when everybody's round is closed: its trace carries a commitment to
//! their root, which its next trace, or its result, opens. So nobody can claim another's weights: when they become known,
//! its own are fixed.

use trainyard_proto::{
    address::Address,
    attest,
    job::{Job, JobSpec, MsgCommitTrace, Round, RoundPhase, Standing, TraceCommit, WorkerState},
};

use super::{
    JobError, ROUNDS, competes, event, lifecycle, round, settle, spec,
    spec::{check_32, check_cid},
    spec_of,
};
use crate::{context::Ctx, error::Error};

/// Checks the form of a trace: it names a delta, or in a contest a commitment to the weights at its end.
pub(super) fn check_form(trace: &MsgCommitTrace) -> Result<(), Error> {
    if trace.end_commitment.is_empty() {
        check_32("delta root", &trace.delta_root)?;
        return check_cid("delta CID", &trace.delta_cid);
    }
    check_32("end commitment", &trace.end_commitment)?;
    if trace.delta_root.is_empty() && trace.delta_cid.is_empty() {
        return Ok(());
    }
    let bound = "a delta or an end commitment";
    Err(super::spec::bad("delta and end commitment", "both", bound))
}

/// Checks that a trace of a contest starts from the weights that its worker's last one ended with.
pub(super) fn check_start(
    spec: &JobSpec,
    job: &Job,
    worker: &WorkerState,
    trace: &MsgCommitTrace,
) -> Result<(), Error> {
    check_32("end commitment", &trace.end_commitment)?;
    if let Some(last) = job.round.checked_sub(1) {
        return opens(job, last, worker, &trace.start_root, &trace.start_salt);
    }
    super::msgs_worker::check_root("start root", &trace.start_root, &spec_of(spec, worker).start_root)
}

/// Checks that root and salt open a worker's commitment of its last round.
pub(super) fn opens(job: &Job, round: u32, worker: &WorkerState, root: &[u8], salt: &[u8]) -> Result<(), Error> {
    check_32("salt of the end commitment", salt)?;
    let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap_or_default();
    let address: Address = worker.address.parse()?;
    let commitment = attest::end_commitment(job.id, round, &address, &fixed(root), &fixed(salt));
    if worker.end_commitment == commitment {
        return Ok(());
    }
    Err(JobError::NotCommitted {
        job: job.id,
        round,
        worker: address,
    }
    .into())
}

/// Closes a round whose traces are all in, or whose deadline has come: it counts for everybody who committed.
pub(super) fn close_round(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let mut round = round(ctx.state, job.id, job.round)?;
    job.completed += 1;
    for worker in &mut job.workers {
        if let Some(commit) = round.commits.iter().find(|c| c.worker == worker.address) {
            worker.samples = worker.samples.saturating_add(commit.samples);
            worker.rounds += 1;
        }
    }
    round.closed_at = ctx.block.height;
    ROUNDS.set(ctx.state, &(job.id, job.round), &round)?;
    ctx.emit(event("job_round_closed", job.id).with("round", job.round));
    lifecycle::after_round(ctx, job, 0)
}

/// Takes the artifacts of the active workers. Of equal weights those count that were committed to first.
pub(super) fn take_results(ctx: &mut Ctx<'_, '_>, job: &mut Job, round: &Round) -> Result<(), Error> {
    for worker in job.workers.iter_mut().filter(|w| w.active) {
        let submitted = round.submissions.iter().find(|s| s.worker == worker.address);
        worker.artifact = submitted.and_then(|s| s.artifact.clone());
    }
    lifecycle::drop_workers(ctx, job, "no artifact before the deadline", |w| w.artifact.is_none())?;
    let mut seen = Vec::new();
    for place in order(job, &round.commits) {
        let worker = &mut job.workers[place];
        let root = worker.artifact.clone().unwrap_or_default().state_root;
        if seen.contains(&root) {
            worker.set_standing(Standing::Duplicate);
            ctx.emit(event("job_artifact_duplicate", job.id).with("worker", &worker.address));
        } else {
            seen.push(root);
        }
    }
    if seen.is_empty() {
        return settle::fail(ctx, job, "no worker submitted its artifact in time");
    }
    ctx.emit(event("job_submitted", job.id).with("artifacts", seen.len()));
    job.set_round_phase(RoundPhase::Unspecified);
    lifecycle::ask_evaluators(ctx, job)
}

/// Places of the workers that have an artifact, in the order of their traces of the last round.
pub(super) fn order(job: &Job, commits: &[TraceCommit]) -> Vec<usize> {
    let place = |commit: &TraceCommit| {
        job.workers
            .iter()
            .position(|w| w.address == commit.worker && w.artifact.is_some())
    };
    commits.iter().filter_map(place).collect()
}

/// The workers whose artifacts the evaluators judge, in the order of the job's workers.
pub fn contestants(job: &Job) -> impl Iterator<Item = &WorkerState> {
    let judged = |w: &&WorkerState| w.artifact.is_some() && w.standing() != Standing::Duplicate;
    job.workers.iter().filter(judged)
}

/// Whether the workers of a job compete.
pub(super) fn is_one(ctx: &mut Ctx<'_, '_>, job: &Job) -> Result<bool, Error> {
    Ok(competes(&spec(ctx.state, job.id)?))
}
