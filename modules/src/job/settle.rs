//! How a job ends: who is paid what, from the budget and to the last utrain.

use trainyard_proto::{
    address::Address,
    job::{EvaluatorState, Job, JobSpec, JobState, MsgSubmitResult, Payment, WorkerState},
    prost::Message,
};

use super::{
    LOG_MODELS, MODEL_LOG, PARAMS, competes, evaluators, event, lifecycle::clear_deadline, money, portion, pots, spec,
    verdict,
};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Value},
    error::Error,
    registry,
};

/// Pays `amount` of the budget and writes it into the ledger.
pub(super) fn pay(ctx: &mut Ctx<'_, '_>, job: &mut Job, to: Address, amount: u64, reason: &str) -> Result<(), Error> {
    if amount == 0 {
        return Ok(());
    }
    transfer(ctx, Address::of_module(bank::ESCROW), to, amount)?;
    ctx.emit(
        event("job_payment", job.id)
            .with("recipient", to)
            .with("amount", Value::Utrain(amount))
            .with("reason", reason),
    );
    job.payments.push(Payment {
        recipient: to.to_string(),
        amount,
        reason: reason.into(),
    });
    Ok(())
}

/// Burns `amount` of the budget and writes it into the ledger.
fn burn(ctx: &mut Ctx<'_, '_>, job: &mut Job, amount: u64) -> Result<(), Error> {
    if amount == 0 {
        return Ok(());
    }
    bank::burn(ctx, Address::of_module(bank::ESCROW), amount)?;
    job.payments.push(Payment {
        recipient: String::new(),
        amount,
        reason: "burned".into(),
    });
    Ok(())
}

/// What of the budget is not paid yet.
pub(super) fn unpaid(job: &Job) -> u64 {
    job.budget - job.payments.iter().map(|p| p.amount).sum::<u64>()
}

/// Pays `pot` to the workers by the samples of their completed rounds, rounded down: of its part each gets what `share_bp`
/// says, in basis points. Returns what they forgo.
fn pay_workers(
    ctx: &mut Ctx<'_, '_>,
    job: &mut Job,
    pot: u64,
    share_bp: impl Fn(&WorkerState) -> u32,
) -> Result<u64, Error> {
    let total: u64 = job.workers.iter().map(|w| w.samples).sum();
    let mut forgone = 0;
    for worker in job.workers.clone() {
        let part = portion(pot, worker.samples, total)?;
        let amount = portion(part, share_bp(&worker).into(), 10_000)?;
        forgone += part - amount;
        pay(ctx, job, worker.address.parse()?, amount, "worker")?;
    }
    Ok(forgone)
}

/// Returns the stakes, releases everybody, and closes the job. The budget must be paid out in full before.
pub(super) fn close(ctx: &mut Ctx<'_, '_>, job: &mut Job, state: JobState, reason: &str) -> Result<(), Error> {
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
        // Who was dropped has paid for it already; who leaves, or whose job came to nothing, neither gains nor loses.
        if worker.active && worker.rounds > 0 {
            registry::fulfil(ctx, &address)?;
        }
        registry::disengage(ctx.state, &address)?;
    }
    for evaluator in job.evaluators.clone().iter().filter(|e| !e.dismissed) {
        let address = evaluator.address.parse()?;
        if accepted(evaluator) {
            registry::fulfil(ctx, &address)?;
        }
        registry::disengage(ctx.state, &address)?;
    }
    clear_deadline(ctx, job)?;
    job.set_state(state);
    job.reason = reason.into();
    job.closed_at = ctx.block.height;
    let kind = match state {
        JobState::Settled => "job_settled",
        JobState::Cancelled => "job_cancelled",
        _ => "job_failed",
    };
    ctx.emit(
        event(kind, job.id)
            .with("score_ppm", job.score_ppm)
            .with("reason", reason),
    );
    Ok(())
}

/// Whether everything that an evaluator found is accepted.
pub(super) fn accepted(evaluator: &EvaluatorState) -> bool {
    let all = &evaluator.attestations;
    let one = || evaluator.attestation.as_ref().is_some_and(|a| a.accepted);
    if all.is_empty() {
        one()
    } else {
        all.iter().all(|a| a.accepted)
    }
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
    let (workers, _) = earned(ctx, job, &spec)?;
    if competes(&spec) {
        verdict::pay_workers(ctx, job, &spec, workers)?;
    } else {
        pay_workers(ctx, job, workers, |_| spec.partial_share_bp)?;
    }
    let client = job.client.parse()?;
    pay(ctx, job, client, unpaid(job), "refund")?;
    close(ctx, job, JobState::Failed, reason)
}

/// What the completed rounds have earned the workers, and the evaluators, utrain.
pub(super) fn earned(ctx: &mut Ctx<'_, '_>, job: &Job, spec: &JobSpec) -> Result<(u64, u64), Error> {
    pots(&PARAMS.get(ctx.state)?, money::cost(spec, job.budget, job.completed)?)
}

/// The result is in and cannot be scored: the workers are paid in full, the evaluators' part goes to the treasury.
pub(super) fn skip_scoring(ctx: &mut Ctx<'_, '_>, job: &mut Job, reason: &str) -> Result<(), Error> {
    let spec = spec(ctx.state, job.id)?;
    let (workers, _) = earned(ctx, job, &spec)?;
    if competes(&spec) {
        verdict::share_by_units(ctx, job, &spec, workers)?;
        return finish(ctx, job, &spec, 0, reason);
    }
    let forgone = pay_stayers(ctx, job, &spec, workers)?;
    finish(ctx, job, &spec, forgone, reason)
}

/// Scored: those whose scores are accepted share the evaluators' part, one part for each that was asked for.
pub(super) fn settle(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let spec = spec(ctx.state, job.id)?;
    let score = if competes(&spec) {
        verdict::judge(ctx, job, &spec)?
    } else {
        evaluators::judge(ctx, job)?
    };
    let Some(score) = score else {
        return skip_scoring(ctx, job, "no evaluator revealed its score in time");
    };
    job.score_ppm = score;
    let (workers, evaluators) = earned(ctx, job, &spec)?;
    let forgone = if competes(&spec) {
        verdict::pay_workers(ctx, job, &spec, workers)?;
        0
    } else {
        pay_stayers(ctx, job, &spec, workers)?
    };
    let asked = spec.requirements.as_ref().map_or(1, |r| r.evaluators);
    let share = portion(evaluators, 1, asked.into())?;
    for evaluator in job.evaluators.clone() {
        if accepted(&evaluator) {
            pay(ctx, job, evaluator.address.parse()?, share, "evaluator")?;
        }
    }
    if competes(&spec) && job.winner.is_empty() {
        let client = job.client.parse()?;
        pay(ctx, job, client, unpaid(job), "refund")?;
        return close(ctx, job, JobState::Failed, verdict::NO_WINNER);
    }
    finish(ctx, job, &spec, forgone, "")
}

/// Pays the workers of a finished job; who left or was dropped gets the partial share. Returns what they forgo.
fn pay_stayers(ctx: &mut Ctx<'_, '_>, job: &mut Job, spec: &JobSpec, pot: u64) -> Result<u64, Error> {
    let share = |w: &WorkerState| if w.active { 10_000 } else { spec.partial_share_bp };
    pay_workers(ctx, job, pot, share)
}

/// What workers forgo returns to the client, with the cost of the rounds that were not trained. What is left then, the
/// treasury's part with the dust and what absent evaluators forwent, is burned in part and goes to the treasury.
pub(super) fn finish(
    ctx: &mut Ctx<'_, '_>,
    job: &mut Job,
    spec: &JobSpec,
    forgone: u64,
    reason: &str,
) -> Result<(), Error> {
    let unspent = job.budget - money::cost(spec, job.budget, job.completed)?;
    let client = job.client.parse()?;
    pay(ctx, job, client, unspent + forgone, "refund")?;
    let burn_bp = PARAMS.get(ctx.state)?.treasury_burn_bp;
    burn(ctx, job, portion(unpaid(job), burn_bp.into(), 10_000)?)?;
    pay(ctx, job, Address::of_module(bank::TREASURY), unpaid(job), "treasury")?;
    close(ctx, job, JobState::Settled, reason)?;
    if job.artifact.is_none() {
        return Ok(());
    }
    let logged = LOG_MODELS.get(ctx.state)?;
    let leaf = MsgSubmitResult {
        worker: String::new(),
        job_id: job.id,
        artifact: job.artifact.clone(),
        salt: Vec::new(),
    };
    MODEL_LOG.set(ctx.state, &logged, &leaf.encode_to_vec())?;
    LOG_MODELS.set(ctx.state, &(logged + 1))
}
