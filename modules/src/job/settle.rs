//! How a job ends: who is paid what, from the budget and to the last utrain.

use trainyard_proto::{
    address::Address,
    coin::DENOM,
    job::{Job, JobState, MsgSubmitResult, Payment},
    prost::Message,
};

use super::{
    LOG_MODELS, MODEL_LOG, PARAMS, event, lifecycle::clear_deadline, portion, pots, spec, spec::tolerance_ppm,
};
use crate::{
    bank::{self, transfer},
    context::Ctx,
    error::Error,
    registry,
};

/// Pays `amount` of the budget and writes it into the ledger.
fn pay(ctx: &mut Ctx<'_, '_>, job: &mut Job, to: Address, amount: u64, reason: &str) -> Result<(), Error> {
    if amount == 0 {
        return Ok(());
    }
    transfer(ctx, Address::of_module(bank::ESCROW), to, amount)?;
    ctx.emit(
        event("job_payment", job.id)
            .with("recipient", to)
            .with("amount", format!("{amount}{DENOM}"))
            .with("reason", reason),
    );
    job.payments.push(Payment {
        recipient: to.to_string(),
        amount,
        reason: reason.into(),
    });
    Ok(())
}

/// What of the budget is not paid yet.
fn unpaid(job: &Job) -> u64 {
    job.budget - job.payments.iter().map(|p| p.amount).sum::<u64>()
}

/// Pays `pot` to the workers by the samples of their completed rounds, rounded down; returns what was paid.
fn pay_workers(ctx: &mut Ctx<'_, '_>, job: &mut Job, pot: u64) -> Result<(), Error> {
    let total: u64 = job.workers.iter().map(|w| w.samples).sum();
    for worker in job.workers.clone() {
        if worker.samples > 0 {
            let amount = portion(pot, worker.samples, total)?;
            pay(ctx, job, worker.address.parse()?, amount, "worker")?;
        }
    }
    Ok(())
}

/// Returns the stakes, releases everybody, and closes the job. The budget must be paid out in full before.
fn close(ctx: &mut Ctx<'_, '_>, job: &mut Job, state: JobState, reason: &str) -> Result<(), Error> {
    for worker in job.workers.clone() {
        let address: Address = worker.address.parse()?;
        transfer(ctx, Address::of_module(bank::ESCROW), address, worker.stake)?;
        if worker.stake > 0 {
            job.payments.push(Payment {
                recipient: worker.address,
                amount: worker.stake,
                reason: "stake".into(),
            });
        }
        // A worker that was dropped missed its duty; one whose job never started had none.
        let duty = (state != JobState::Cancelled).then_some(worker.active);
        registry::disengage(ctx.state, &address, duty)?;
    }
    for evaluator in job.evaluators.clone() {
        let asked = job.state() == JobState::Evaluating || job.state() == JobState::Revealing;
        let duty = asked.then_some(evaluator.attestation.is_some_and(|a| a.accepted));
        registry::disengage(ctx.state, &evaluator.address.parse()?, duty)?;
    }
    clear_deadline(ctx, job)?;
    job.set_state(state);
    job.reason = reason.into();
    job.closed_at = ctx.block.height;
    let name = super::state_name(state);
    ctx.emit(
        event(&format!("job_{name}"), job.id)
            .with("score_ppm", job.score_ppm)
            .with("reason", reason),
    );
    Ok(())
}

/// Never started: the whole budget goes back.
pub(super) fn cancel(ctx: &mut Ctx<'_, '_>, job: &mut Job, reason: &str) -> Result<(), Error> {
    let client = job.client.parse()?;
    pay(ctx, job, client, unpaid(job), "refund")?;
    close(ctx, job, JobState::Cancelled, reason)
}

/// Started and not finished: completed rounds are paid at the job's partial-compensation share, the rest goes back.
pub(super) fn fail(ctx: &mut Ctx<'_, '_>, job: &mut Job, reason: &str) -> Result<(), Error> {
    let spec = spec(ctx.state, job.id)?;
    let (workers, _) = pots(&PARAMS.get(ctx.state)?, job.budget)?;
    let completed = job.workers.iter().map(|w| w.rounds).max().unwrap_or(0);
    let earned = portion(workers, completed.into(), spec.rounds.into())?;
    pay_workers(ctx, job, portion(earned, spec.partial_share_bp.into(), 10_000)?)?;
    let client = job.client.parse()?;
    pay(ctx, job, client, unpaid(job), "refund")?;
    close(ctx, job, JobState::Failed, reason)
}

/// The result is in and cannot be scored: the workers are paid in full, the rest goes to the treasury.
pub(super) fn skip_scoring(ctx: &mut Ctx<'_, '_>, job: &mut Job, reason: &str) -> Result<(), Error> {
    let (workers, _) = pots(&PARAMS.get(ctx.state)?, job.budget)?;
    pay_workers(ctx, job, workers)?;
    finish(ctx, job, reason)
}

/// Scored: the median of the scores, weighted by bond, is the job's; who lies within the tolerance around it is paid.
pub(super) fn settle(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let params = PARAMS.get(ctx.state)?;
    let mut scores = Vec::new();
    for evaluator in &job.evaluators {
        if let Some(attestation) = &evaluator.attestation {
            let bond = registry::node(ctx.state, &evaluator.address.parse()?)?.bond;
            scores.push((attestation.score_ppm, bond));
        }
    }
    let Some(median) = weighted_median(&mut scores) else {
        return skip_scoring(ctx, job, "no evaluator revealed its score in time");
    };
    job.score_ppm = median;
    let tolerance = tolerance_ppm(&spec(ctx.state, job.id)?, &params);
    for attestation in job.evaluators.iter_mut().filter_map(|e| e.attestation.as_mut()) {
        attestation.accepted = attestation.score_ppm.abs_diff(median) <= tolerance;
    }
    let (workers, evaluators) = pots(&params, job.budget)?;
    pay_workers(ctx, job, workers)?;
    let share = portion(evaluators, 1, job.evaluators.len() as u64)?;
    for evaluator in job.evaluators.clone() {
        if evaluator.attestation.is_some_and(|a| a.accepted) {
            pay(ctx, job, evaluator.address.parse()?, share, "evaluator")?;
        }
    }
    finish(ctx, job, "")
}

/// What is left, the treasury's share with the dust and what absent evaluators forwent, goes to the treasury.
fn finish(ctx: &mut Ctx<'_, '_>, job: &mut Job, reason: &str) -> Result<(), Error> {
    pay(ctx, job, Address::of_module(bank::TREASURY), unpaid(job), "treasury")?;
    close(ctx, job, JobState::Settled, reason)?;
    let logged = LOG_MODELS.get(ctx.state)?;
    let leaf = MsgSubmitResult {
        worker: String::new(),
        job_id: job.id,
        artifact: job.artifact.clone(),
    };
    MODEL_LOG.set(ctx.state, &logged, &leaf.encode_to_vec())?;
    LOG_MODELS.set(ctx.state, &(logged + 1))
}

/// The least score at which half of the weight is reached.
fn weighted_median(scores: &mut [(u32, u64)]) -> Option<u32> {
    scores.sort_unstable();
    let total: u128 = scores.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let mut sum = 0;
    scores.iter().find_map(|(score, weight)| {
        sum += u128::from(*weight);
        (sum * 2 >= total).then_some(*score)
    })
}

#[cfg(test)]
mod tests {
    use super::weighted_median;

    #[test]
    fn the_median_follows_the_weight() {
        assert_eq!(weighted_median(&mut []), None);
        assert_eq!(weighted_median(&mut [(9, 1), (1, 1), (5, 1)]), Some(5));
        assert_eq!(weighted_median(&mut [(9, 10), (1, 1), (5, 1)]), Some(9));
        assert_eq!(weighted_median(&mut [(7, 1), (3, 1)]), Some(3));
    }
}
