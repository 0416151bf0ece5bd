//! Who judges a job: drawn by lot, replaced when they miss their duty, slashed when their score stands alone.
//!
//! A replacement is never anybody drawn for the job before. It is drawn only while every score is secret: after the first
//! reveal a newcomer could copy, so the job then goes on with those who revealed.
//!
//! Who lies cannot be told from two scores that differ. A score outside of the tolerance is therefore never paid, but
//! slashed only where at least [`MIN_JURY`] were revealed and those inside hold more than half of both heads and weight.

use trainyard_proto::{
    address::Address,
    coin::show,
    job::{EvaluatorState, Job, Lot},
    registry::Role,
};

use super::{
    PARAMS, event,
    lifecycle::{ask_evaluators, begin_evaluation, begin_reveal},
    settle, spec,
    spec::tolerance_ppm,
};
use crate::{
    context::{self, Ctx, beacon},
    error::Error,
    registry::{self, NODES},
    words::percent,
};

/// Revealed scores from which on an outlier is slashed.
const MIN_JURY: usize = 3;

/// The evaluators of a job that are not out.
pub(super) fn serving(job: &Job) -> impl Iterator<Item = &EvaluatorState> {
    job.evaluators.iter().filter(|e| !e.dismissed)
}

/// Whether an evaluator has revealed what it found.
pub(super) fn revealed(evaluator: &EvaluatorState) -> bool {
    evaluator.attestation.is_some() || !evaluator.attestations.is_empty()
}

/// Draws evaluators by bond among those free to take on work: never one drawn before, the client, a worker of the job,
/// or a node of one operator with the client or a worker.
pub(super) fn draw(ctx: &mut Ctx<'_, '_>, job: &Job, count: u32) -> Result<Vec<context::Lot<Address>>, Error> {
    let drawn: Vec<String> = job.evaluators.iter().map(|e| e.address.clone()).collect();
    let mut kin = Vec::new();
    for party in job.workers.iter().map(|w| &w.address).chain([&job.client]) {
        kin.push(party.clone());
        kin.extend(NODES.get(ctx.state, &party.parse()?)?.map(|node| node.operator));
    }
    let candidates: Vec<(Address, u64)> = registry::candidates(ctx.state, ctx.block.height, Role::Evaluator)?
        .into_iter()
        .filter(|(_, n)| !drawn.contains(&n.owner) && !kin.contains(&n.owner) && !kin.contains(&n.operator))
        .map(|(owner, n)| (owner, n.bond))
        .collect();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let beacon = beacon(ctx.state)?;
    Ok(context::draw(&beacon, &job.id.to_be_bytes(), &candidates, count))
}

/// Takes those who were drawn into the job.
pub(super) fn engage(ctx: &mut Ctx<'_, '_>, job: &mut Job, drawn: Vec<context::Lot<Address>>) -> Result<(), Error> {
    let beacon = beacon(ctx.state)?.to_vec();
    for lot in drawn {
        registry::engage(ctx.state, &lot.winner)?;
        ctx.emit(event("job_evaluator_drawn", job.id).with("evaluator", lot.winner));
        job.evaluators.push(EvaluatorState {
            address: lot.winner.to_string(),
            weight: lot.weight,
            lot: Some(Lot {
                height: ctx.block.height,
                beacon: beacon.clone(),
                turn: lot.turn,
                candidates: u32::try_from(lot.candidates).unwrap_or(u32::MAX),
                total: lot.total,
                before: lot.before,
            }),
            ..EvaluatorState::default()
        });
    }
    Ok(())
}

/// Why the lot fell on an evaluator: the draw made again from what is kept of it.
pub(super) fn explain_lot(job: &Job, evaluator: &EvaluatorState) -> Vec<String> {
    let address = &evaluator.address;
    let mut lines = vec![format!(
        "{address} was drawn by lot, weighted by bond, to evaluate job {}.",
        job.id
    )];
    if let Some(lot) = &evaluator.lot {
        let ticket = context::ticket(&lot.beacon, &job.id.to_be_bytes(), lot.turn, lot.total);
        lines.push(format!(
            "At height {} {} evaluators with bonds of {} could be drawn, itself with {}: its chance in this lot was {}. Who works \
             on the job, posted it, or shares an operator with those could not.",
            lot.height,
            lot.candidates,
            show(lot.total),
            show(evaluator.weight),
            percent(evaluator.weight, lot.total)
        ));
        lines.push(format!(
            "Lot {} of that draw, from the beacon {}, the job's and the lot's number, modulo {}utrain, fell on {ticket}: among the \
             bonds, laid out in the order of addresses, its own lies from {} to {}.",
            lot.turn,
            hex::encode(&lot.beacon),
            lot.total,
            lot.before,
            lot.before.saturating_add(evaluator.weight)
        ));
    }
    lines
}

/// Puts those out who missed `duty`, and holds it against them; returns how many.
fn dismiss(
    ctx: &mut Ctx<'_, '_>,
    job: &mut Job,
    duty: &str,
    missed: impl Fn(&EvaluatorState) -> bool,
) -> Result<u32, Error> {
    let mut count = 0;
    for evaluator in job.evaluators.iter_mut().filter(|e| !e.dismissed && missed(e)) {
        evaluator.dismissed = true;
        count += 1;
        let owner = evaluator.address.parse()?;
        registry::miss(ctx, &owner, &format!("job {}: {duty}", job.id))?;
        registry::disengage(ctx.state, &owner)?;
        ctx.emit(
            event("job_evaluator_dismissed", job.id)
                .with("evaluator", owner)
                .with("reason", duty),
        );
    }
    Ok(count)
}

/// Draws up to `missing` replacements, as far as the parameters allow; returns how many there are.
fn replace(ctx: &mut Ctx<'_, '_>, job: &mut Job, missing: u32) -> Result<usize, Error> {
    let left = PARAMS.get(ctx.state)?.max_replacements.saturating_sub(job.replacements);
    let drawn = draw(ctx, job, missing.min(left))?;
    let count = drawn.len();
    job.replacements += u32::try_from(count).unwrap_or(u32::MAX);
    engage(ctx, job, drawn)?;
    Ok(count)
}

/// The client's time to grant the test key is over. Without keys for the first draw nothing is scored; replacements that got
/// none are let go, and the job goes on with the others.
pub(super) fn keys_due(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    const SILENT: &str = "the client did not grant the test keys in time";
    if job.replacements == 0 {
        return settle::skip_scoring(ctx, job, SILENT);
    }
    for evaluator in job.evaluators.iter_mut().filter(|e| !e.dismissed && !e.key_granted) {
        evaluator.dismissed = true;
        registry::disengage(ctx.state, &evaluator.address.parse()?)?;
        ctx.emit(
            event("job_evaluator_dismissed", job.id)
                .with("evaluator", &evaluator.address)
                .with("reason", SILENT),
        );
    }
    if serving(job).next().is_none() {
        settle::skip_scoring(ctx, job, SILENT)
    } else if serving(job).any(|e| e.commitment.is_empty()) {
        begin_evaluation(ctx, job)
    } else {
        begin_reveal(ctx, job)
    }
}

/// The time to commit to a score is over.
pub(super) fn commits_due(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let missing = dismiss(ctx, job, "no score committed in time", |e| e.commitment.is_empty())?;
    if replace(ctx, job, missing)? > 0 {
        ask_evaluators(ctx, job)
    } else if serving(job).next().is_none() {
        settle::skip_scoring(ctx, job, "no evaluator committed a score in time")
    } else {
        begin_reveal(ctx, job)
    }
}

/// The time to reveal is over.
pub(super) fn reveals_due(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<(), Error> {
    let missing = dismiss(ctx, job, "no score revealed in time", |e| !revealed(e))?;
    if serving(job).next().is_none() && replace(ctx, job, missing)? > 0 {
        return ask_evaluators(ctx, job);
    }
    settle::settle(ctx, job)
}

/// The job's score, the median of the scores weighted by bond, and who lies within the tolerance around it; outliers are
/// slashed where it is clear who they are. `None` where nobody has revealed a score.
pub(super) fn judge(ctx: &mut Ctx<'_, '_>, job: &mut Job) -> Result<Option<u32>, Error> {
    let params = PARAMS.get(ctx.state)?;
    let tolerance = tolerance_ppm(&spec(ctx.state, job.id)?, &params);
    let revealed = |e: &EvaluatorState| e.attestation.as_ref().map(|a| (a.score_ppm, e.weight));
    let mut scores: Vec<(u32, u64)> = serving(job).filter_map(revealed).collect();
    let Some(median) = weighted_median(&mut scores) else {
        return Ok(None);
    };
    let inside = |score: u32| score.abs_diff(median) <= tolerance;
    for attestation in job.evaluators.iter_mut().filter_map(|e| e.attestation.as_mut()) {
        attestation.accepted = inside(attestation.score_ppm);
    }
    if is_clear(&scores, inside) {
        let reason = format!("job {}: a score outside of the tolerance", job.id);
        for evaluator in &mut job.evaluators {
            if evaluator.attestation.as_ref().is_some_and(|a| !a.accepted) {
                let owner = evaluator.address.parse()?;
                evaluator.slashed = registry::slash(ctx, &owner, params.outlier_slash_bp, &reason)?;
            }
        }
    }
    Ok(Some(median))
}

/// Whether the scores inside are enough to hold the others for wrong.
pub(super) fn is_clear(scores: &[(u32, u64)], inside: impl Fn(u32) -> bool) -> bool {
    let weight = |scores: &mut dyn Iterator<Item = &(u32, u64)>| scores.map(|(_, w)| u128::from(*w)).sum::<u128>();
    let heads = scores.iter().filter(|(score, _)| inside(*score)).count();
    let backed = weight(&mut scores.iter().filter(|(score, _)| inside(*score)));
    scores.len() >= MIN_JURY && heads * 2 > scores.len() && backed * 2 > weight(&mut scores.iter())
}

/// The least score at which half of the weight is reached.
pub(super) fn weighted_median(scores: &mut [(u32, u64)]) -> Option<u32> {
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
    use super::{is_clear, weighted_median};

    #[test]
    fn the_median_follows_the_weight() {
        assert_eq!(weighted_median(&mut []), None);
        assert_eq!(weighted_median(&mut [(9, 1), (1, 1), (5, 1)]), Some(5));
        assert_eq!(weighted_median(&mut [(9, 10), (1, 1), (5, 1)]), Some(9));
        assert_eq!(weighted_median(&mut [(7, 1), (3, 1)]), Some(3));
    }

    #[test]
    fn an_outlier_is_known_only_by_more_than_half_of_heads_and_weight_among_three() {
        let fives = |score| score == 5;
        assert!(is_clear(&[(5, 1), (5, 1), (9, 1)], fives));
        assert!(!is_clear(&[(5, 9), (9, 1)], fives), "two scores");
        assert!(!is_clear(&[(5, 1), (5, 1), (9, 2)], fives), "half of the weight");
        assert!(!is_clear(&[(5, 9), (1, 1), (9, 1)], fives), "one head of three");
        assert!(!is_clear(&[(5, 1), (5, 1), (9, 1), (1, 1)], fives), "half of the heads");
    }
}
