//! How a job moves from state to state: when everybody it waits for has answered, or when its deadline has come.
//!
//! ```text
//! OPEN ─workers─► TRAINING(keys) ─granted─► TRAINING(traces) ⇄ TRAINING(merged roots) ─last─► TRAINING(result)
//!   │                  │                         │                                              │
//!   ▼                  └──────────► FAILED ◄─────┴──────────────────────────────────────────────┤
//! CANCELLED                                              SETTLED ◄─ REVEALING ◄─ EVALUATING ◄─ SUBMITTED
//! ```

use std::collections::BTreeMap;

use trainyard_proto::job::{Artifact, Job, JobState, Round, RoundPhase, WorkerState};

use super::{
    DEADLINES, PARAMS, ROUNDS, active, contest, evaluators, evaluators::serving, event, index::put, money, round,
    settle, spec,
};
use crate::{
    context::{Ctx, beacon},
    error::Error,
    registry,
};

/// Deadlines handled in one block, at most; what is left over goes in the next.
pub(super) const MAX_DUE: usize = 200;
/// Gas' worth of work on deadlines in one block: none begins after it. A quarter of what a block's transactions may use. Nobody
/// pays for this work, and what one deadline takes grows with a job's workers and with all evaluators, of whom some are drawn.
const MAX_DUE_GAS: u64 = 100_000_000;

/// Sets the job's deadline `blocks` after this one.
pub(super) fn set_deadline(ctx: &mut Ctx<'_, '_>, job: &mut Job, blocks: u32) -> Result<(), Error> {
    clear_deadline(ctx, job)?;
    job.deadline = ctx.block.height.saturating_add(u64::from(blocks));
    DEADLINES.set(ctx.state, &(job.deadline, job.id), &true)
}

pub(super) fn clear_deadline(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    if job.deadline > 0 {
        DEADLINES.remove(ctx.state, &(job.deadline, job.id))?;
        job.deadline = 0;
    }
    Ok(())
}

/// Handles the deadlines that have come.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    let began = ctx.state.gas.used();
    for ((_, id), _) in DEADLINES.before(ctx.state, &(ctx.block.height + 1), MAX_DUE)? {
        if ctx.state.gas.used().saturating_sub(began) > MAX_DUE_GAS {
            break;
        }
        let mut job = super::job(ctx.state, id)?;
        expire(ctx, &mut job)?;
        put(ctx.state, &job)?;
    }
    Ok(())
}

fn expire(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    match job.state() {
        JobState::Open => {
            let need = spec(ctx.state, job.id)?.requirements.unwrap_or_default().min_workers;
            let found = job.workers.len();
            if found as u64 >= u64::from(need) {
                return start(ctx, job);
            }
            settle::cancel(ctx, job, &format!("{found} workers joined in time, {need} were needed"))
        }
        JobState::Training => match job.round_phase() {
            RoundPhase::Keys => settle::fail(ctx, job, "the client did not grant the train keys in time"),
            RoundPhase::Train => {
                let round = round(ctx.state, job.id, job.round)?;
                if round.commits.is_empty() {
                    // Perhaps the client's data could not be had: where all are silent, none is held to it.
                    return settle::fail(ctx, job, "no worker committed a trace in time");
                }
                drop_workers(ctx, job, "no trace before the deadline", |w| {
                    !round.commits.iter().any(|c| c.worker == w.address)
                })?;
                traces_are_in(ctx, job)
            }
            RoundPhase::Merge => {
                let round = round(ctx.state, job.id, job.round)?;
                close_round(ctx, job, round)
            }
            RoundPhase::Submit | RoundPhase::Unspecified => {
                let round = round(ctx.state, job.id, job.round)?;
                results_are_in(ctx, job, &round)
            }
        },
        JobState::Submitted => evaluators::keys_due(ctx, job),
        JobState::Evaluating => evaluators::commits_due(ctx, job),
        JobState::Revealing => evaluators::reveals_due(ctx, job),
        JobState::Unspecified | JobState::Settled | JobState::Cancelled | JobState::Failed => {
            Err(Error::fatal(format!("job {} is over and has a deadline", job.id)))
        }
    }
}

/// Drops the active workers that `failed`, and holds it against them.
pub(super) fn drop_workers(
    ctx: &mut Ctx<'_, '_>,
    job: &mut Job,
    reason: &str,
    failed: impl Fn(&WorkerState) -> bool,
) -> Result<(), Error> {
    for worker in job.workers.iter_mut().filter(|w| w.active && failed(w)) {
        worker.active = false;
        worker.gone = reason.into();
        registry::miss(ctx, &worker.address.parse()?, &format!("job {}: {reason}", job.id))?;
        ctx.emit(
            event("job_worker_dropped", job.id)
                .with("worker", &worker.address)
                .with("reason", reason),
        );
    }
    Ok(())
}

/// Leaves OPEN: draws the evaluators and opens the first round.
pub(super) fn start(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let spec = spec(ctx.state, job.id)?;
    let need = spec.requirements.unwrap_or_default().evaluators;
    let drawn = evaluators::draw(ctx, job, need)?;
    if drawn.len() as u64 != u64::from(need) {
        let reason = format!("{} evaluators may judge this job, {need} are needed", drawn.len());
        return settle::cancel(ctx, job, &reason);
    }
    evaluators::engage(ctx, job, drawn)?;
    job.set_state(JobState::Training);
    ctx.emit(event("job_started", job.id).with("workers", job.workers.len()));
    if spec.train.is_some_and(|t| t.encrypted) {
        job.set_round_phase(RoundPhase::Keys);
        return set_deadline(ctx, job, spec.deadlines.unwrap_or_default().grant);
    }
    open_round(ctx, job, 0)
}

fn open_round(ctx: &mut Ctx<'_, '_>, job: &mut Job, number: u32) -> Result<(), Error> {
    let beacon = beacon(ctx.state)?.to_vec();
    job.round = number;
    job.round_beacon.clone_from(&beacon);
    job.set_round_phase(RoundPhase::Train);
    let opened = Round {
        job_id: job.id,
        round: number,
        start_root: job.round_root.clone(),
        beacon,
        workers: active(job).map(|w| w.address.clone()).collect(),
        opened_at: ctx.block.height,
        ..Round::default()
    };
    ROUNDS.set(ctx.state, &(job.id, number), &opened)?;
    ctx.emit(
        event("job_round_opened", job.id)
            .with("round", number)
            .with("workers", opened.workers.len()),
    );
    let blocks = spec(ctx.state, job.id)?.deadlines.unwrap_or_default().round;
    set_deadline(ctx, job, blocks)
}

/// After a grant: goes on when everybody has a key.
pub(super) fn after_grant(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    match job.state() {
        JobState::Training if active(job).all(|w| w.key_granted) => open_round(ctx, job, 0),
        JobState::Submitted if serving(job).all(|e| e.key_granted) => begin_evaluation(ctx, job),
        _ => Ok(()),
    }
}

/// After a worker is gone: the others may be complete without it.
pub(super) fn after_drop(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    if active(job).next().is_none() {
        return settle::fail(ctx, job, "every worker has left or was dropped");
    }
    match job.round_phase() {
        RoundPhase::Keys => after_grant(ctx, job),
        phase => {
            let round = round(ctx.state, job.id, job.round)?;
            match phase {
                RoundPhase::Train => after_commit(ctx, job, &round),
                RoundPhase::Merge => after_vote(ctx, job, round),
                _ => after_submission(ctx, job, &round),
            }
        }
    }
}

/// After a trace: merging begins when every active worker has committed one.
pub(super) fn after_commit(ctx: &mut Ctx<'_, '_>, job: &mut Job, round: &Round) -> Result<(), Error> {
    let complete = active(job).all(|w| round.commits.iter().any(|c| c.worker == w.address));
    if complete { traces_are_in(ctx, job) } else { Ok(()) }
}

/// All traces that will come have come: they are merged, or the round closes, where the workers compete.
fn traces_are_in(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    if contest::is_one(ctx, job)? {
        contest::close_round(ctx, job)
    } else {
        begin_merge(ctx, job)
    }
}

fn begin_merge(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    job.set_round_phase(RoundPhase::Merge);
    ctx.emit(event("job_round_committed", job.id).with("round", job.round));
    let blocks = spec(ctx.state, job.id)?.deadlines.unwrap_or_default().round;
    set_deadline(ctx, job, blocks)
}

/// After a merged root: the round closes when every active worker has stated one.
pub(super) fn after_vote(ctx: &mut Ctx<'_, '_>, job: &mut Job, round: Round) -> Result<(), Error> {
    let complete = active(job).all(|w| round.votes.iter().any(|v| v.worker == w.address));
    if complete { close_round(ctx, job, round) } else { Ok(()) }
}

/// The value that more than half of `votes` name.
fn majority<T: Ord + Clone>(votes: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    let mut total = 0;
    for vote in votes {
        *counts.entry(vote).or_default() += 1;
        total += 1;
    }
    counts
        .into_iter()
        .find(|(_, count)| count * 2 > total)
        .map(|(value, _)| value)
}

/// The middle value, the lower of two; 0 of none.
fn lower_median(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(0)
}

/// Closes a round on the root that the majority of those who stated one agree on. Who stated another, or none in time, is
/// dropped: without audits (still to come) the majority is the judge.
fn close_round(ctx: &mut Ctx<'_, '_>, job: &mut Job, mut round: Round) -> Result<(), Error> {
    let Some(root) = majority(round.votes.iter().map(|v| v.end_root.clone())) else {
        return settle::fail(
            ctx,
            job,
            "no merged root was stated by a majority of the workers in time",
        );
    };
    job.completed += 1;
    for worker in &mut job.workers {
        if let Some(commit) = round.commits.iter().find(|c| c.worker == worker.address) {
            worker.samples = worker.samples.saturating_add(commit.samples);
            worker.rounds += 1;
        }
    }
    let stated = |w: &WorkerState| round.votes.iter().find(|v| v.worker == w.address);
    drop_workers(ctx, job, "no merged root before the deadline", |w| stated(w).is_none())?;
    const WRONG: &str = "its merged root is not the majority's";
    let wrong = |w: &WorkerState| stated(w).is_some_and(|v| v.end_root != root);
    // Who has left since it stated the root answers for it all the same.
    for worker in job.workers.iter().filter(|w| !w.active && wrong(w)) {
        let owner = worker.address.parse()?;
        registry::miss(ctx, &owner, &format!("job {}: {WRONG}", job.id))?;
    }
    drop_workers(ctx, job, WRONG, wrong)?;
    ctx.emit(
        event("job_round_closed", job.id)
            .with("round", job.round)
            .with("end_root", hex::encode(&root)),
    );
    let agreed = round.votes.iter().filter(|v| v.end_root == root).map(|v| v.score_ppm);
    let score = lower_median(agreed.collect());
    round.score_ppm = score;
    round.end_root.clone_from(&root);
    round.closed_at = ctx.block.height;
    ROUNDS.set(ctx.state, &(job.id, job.round), &round)?;
    job.round_root = root;
    after_round(ctx, job, score)
}

/// After a round that ended with `score`: the next one, where there is one, the target is not reached and the budget covers
/// it, or the result.
pub(super) fn after_round(ctx: &mut Ctx<'_, '_>, job: &mut Job, score: u32) -> Result<(), Error> {
    if active(job).next().is_none() {
        return settle::fail(ctx, job, "every worker has left or was dropped");
    }
    let spec = spec(ctx.state, job.id)?;
    let next = job.round + 1;
    if next < spec.rounds {
        let target = spec.target_ppm;
        if target > 0 && score >= target {
            end_training(ctx, job, &format!("the target of {target} ppm is reached with {score}"));
        } else if money::covers(&spec, job.budget, next + 1) {
            return open_round(ctx, job, next);
        } else {
            end_training(ctx, job, "the budget is exhausted");
        }
    }
    job.set_round_phase(RoundPhase::Submit);
    set_deadline(ctx, job, spec.deadlines.unwrap_or_default().submit)
}

/// Notes that training ends before the last round.
fn end_training(ctx: &mut Ctx<'_, '_>, job: &mut Job, reason: &str) {
    job.ended = reason.into();
    ctx.emit(
        event("job_training_ended", job.id)
            .with("rounds", job.completed)
            .with("reason", reason),
    );
}

/// After a result: it is taken when every active worker has submitted one.
pub(super) fn after_submission(ctx: &mut Ctx<'_, '_>, job: &mut Job, round: &Round) -> Result<(), Error> {
    let complete = active(job).all(|w| round.submissions.iter().any(|s| s.worker == w.address));
    if complete {
        results_are_in(ctx, job, round)
    } else {
        Ok(())
    }
}

/// All results that will come have come.
fn results_are_in(ctx: &mut Ctx<'_, '_>, job: &mut Job, round: &Round) -> Result<(), Error> {
    if contest::is_one(ctx, job)? {
        contest::take_results(ctx, job, round)
    } else {
        take_result(ctx, job, round)
    }
}

/// Takes the artifact that the majority of the submissions name. Its state root is the agreed one already.
fn take_result(ctx: &mut Ctx<'_, '_>, job: &mut Job, round: &Round) -> Result<(), Error> {
    let named = round.submissions.iter().filter_map(|s| s.artifact.as_ref());
    let Some((model_sha256, model_cid)) = majority(named.map(|a| (a.model_sha256.clone(), a.model_cid.clone()))) else {
        return settle::fail(
            ctx,
            job,
            "no artifact was submitted by a majority of the workers in time",
        );
    };
    ctx.emit(
        event("job_submitted", job.id)
            .with("model_cid", &model_cid)
            .with("model_sha256", hex::encode(&model_sha256)),
    );
    job.artifact = Some(Artifact {
        model_cid,
        model_sha256,
        state_root: job.round_root.clone(),
    });
    job.set_round_phase(RoundPhase::Unspecified);
    ask_evaluators(ctx, job)
}

/// Goes on to the evaluation; first to the client's grant where an evaluator lacks the key of the test data.
pub(super) fn ask_evaluators(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let spec = spec(ctx.state, job.id)?;
    if spec.test.is_some_and(|t| t.encrypted) && serving(job).any(|e| !e.key_granted) {
        job.set_state(JobState::Submitted);
        return set_deadline(ctx, job, spec.deadlines.unwrap_or_default().grant);
    }
    begin_evaluation(ctx, job)
}

pub(super) fn begin_evaluation(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    job.set_state(JobState::Evaluating);
    ctx.emit(event("job_evaluating", job.id));
    // Where several artifacts compete, each has its own time.
    let artifacts = u32::try_from(contest::contestants(job).count()).unwrap_or(u32::MAX);
    let blocks = PARAMS.get(ctx.state)?.commit_blocks.saturating_mul(artifacts.max(1));
    set_deadline(ctx, job, blocks)
}

/// After a commitment: scores are revealed when every evaluator has committed to one.
pub(super) fn after_evaluation_commit(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    if serving(job).any(|e| e.commitment.is_empty()) {
        Ok(())
    } else {
        begin_reveal(ctx, job)
    }
}

pub(super) fn begin_reveal(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    job.set_state(JobState::Revealing);
    ctx.emit(event("job_revealing", job.id));
    let blocks = PARAMS.get(ctx.state)?.reveal_blocks;
    set_deadline(ctx, job, blocks)
}

/// After a reveal: the job settles when everybody who committed has revealed.
pub(super) fn after_reveal(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let waiting = serving(job).any(|e| !evaluators::revealed(e));
    if waiting { Ok(()) } else { settle::settle(ctx, job) }
}

#[cfg(test)]
mod tests {
    use super::{lower_median, majority};

    #[test]
    fn of_two_in_the_middle_the_lower_counts() {
        assert_eq!(lower_median(vec![9, 1]), 1);
        assert_eq!(lower_median(vec![9, 1, 5]), 5);
        assert_eq!(lower_median(vec![4, 1, 9, 5]), 4);
        assert_eq!(lower_median(Vec::new()), 0);
    }

    #[test]
    fn only_more_than_half_is_a_majority() {
        assert_eq!(majority([1, 1, 2].into_iter()), Some(1));
        assert_eq!(majority([1, 2].into_iter()), None);
        assert_eq!(majority([7].into_iter()), Some(7));
        assert_eq!(majority(std::iter::empty::<u8>()), None);
    }
}
