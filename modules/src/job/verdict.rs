//! Who wins a competitive job, and who is paid what.
//!
//! Every evaluator scores every artifact. An artifact's score is the median of those given to it, weighted by bond; it is
//! rejected when more than half of the bond rejects it. The best score at or above the floor wins; of equal ones the one
//! whose worker committed to its weights first.
//!
//! With the workers' pot `W` of the completed rounds, the job's partial-compensation share `p`, and a worker's units `u` (multiply-accumulates of its
//! variant × samples of its completed rounds) of all units `U`, duplicates and rejected ones left out:
//!
//! ```text
//! compensation = ⌊⌊W · p⌋ · u / U⌋        of everybody but the winner
//! prize        = W − Σ compensations      of the winner
//! ```

use std::collections::BTreeSet;

use trainyard_proto::{
    address::Address,
    attest,
    job::{ArtifactScore, Attestation, EvaluatorState, Job, JobSpec, MsgRevealEvaluation, Standing, WorkerState},
};

use super::{
    JobError, PARAMS,
    contest::{contestants, order},
    evaluators::{is_clear, weighted_median},
    event, portion, round,
    settle::pay,
    spec::{bad, check_32, tolerance_ppm, within},
    spec_of,
};
use crate::{context::Ctx, crypto, error::Error, registry};

/// Why nobody has won.
pub(super) const NO_WINNER: &str = "no artifact reached the floor";

/// Checks the form of an evaluator's findings.
pub(super) fn check_form(findings: &[ArtifactScore]) -> Result<(), Error> {
    within("number of scores", findings.len() as u64, 1, 100)?;
    for found in findings {
        found.worker.parse::<Address>()?;
        if found.metrics_hash.is_empty() {
            let given = u64::from(found.score_ppm) + found.signature.len() as u64;
            within("score and signature of a rejected artifact", given, 0, 0)?;
            continue;
        }
        within("score (parts per million)", found.score_ppm.into(), 0, 1_000_000)?;
        check_32("metrics hash", &found.metrics_hash)?;
        within("bytes of a signature", found.signature.len() as u64, 64, 64)?;
    }
    Ok(())
}

/// The attestations that an evaluator reveals, which must be those that it committed to.
pub(super) fn attestations(
    chain_id: &str,
    job: &Job,
    committed: &[u8],
    reveal: &MsgRevealEvaluation,
    public_key: &[u8; 33],
) -> Result<Vec<Attestation>, Error> {
    let evaluator: Address = reveal.evaluator.parse()?;
    let expected: Vec<&WorkerState> = contestants(job).collect();
    if !expected
        .iter()
        .map(|w| &w.address)
        .eq(reveal.scores.iter().map(|s| &s.worker))
    {
        let bound = format!("one for each of the {} artifacts, in their order", expected.len());
        return Err(bad("list of scores", format!("{} long", reveal.scores.len()), bound));
    }
    let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap_or_default();
    let (mut digests, mut revealed) = (Vec::new(), Vec::new());
    for (worker, found) in expected.iter().zip(&reveal.scores) {
        let model = worker.artifact.clone().unwrap_or_default().model_sha256;
        let rejected = found.metrics_hash.is_empty();
        digests.push((!rejected).then(|| {
            let metrics = fixed(&found.metrics_hash);
            attest::attestation(chain_id, job.id, &fixed(&model), &metrics, found.score_ppm)
        }));
        revealed.push(Attestation {
            evaluator: reveal.evaluator.clone(),
            score_ppm: found.score_ppm,
            metrics_hash: found.metrics_hash.clone(),
            model_sha256: model,
            signature: found.signature.clone(),
            public_key: public_key.to_vec(),
            accepted: false,
            worker: worker.address.clone(),
            rejected,
        });
    }
    let findings = attest::findings(job.id, &digests);
    if committed != attest::commitment(&findings, &fixed(&reveal.salt), &evaluator) {
        return Err(JobError::Mismatch { job: job.id, evaluator }.into());
    }
    for (digest, attestation) in digests.iter().zip(&revealed) {
        if digest.is_some_and(|d| !crypto::verify_digest(&d, &attestation.signature, public_key)) {
            return Err(JobError::Signature { job: job.id, evaluator }.into());
        }
    }
    Ok(revealed)
}

/// Judges the artifacts by what was revealed: the winner's score, 0 without a winner, `None` where nobody has revealed.
/// Evaluators that stand alone with a score are slashed as those of a single artifact are.
pub(super) fn judge(ctx: &mut Ctx<'_, '_>, job: &mut Job, spec: &JobSpec) -> Result<Option<u32>, Error> {
    let params = PARAMS.get(ctx.state)?;
    if job.evaluators.iter().all(|e| e.attestations.is_empty()) {
        return Ok(None);
    }
    weigh(job, tolerance_ppm(spec, &params));
    let reason = format!("job {}: a score outside of the tolerance", job.id);
    for number in outliers(job) {
        let evaluator = &mut job.evaluators[number];
        let owner = evaluator.address.parse()?;
        evaluator.slashed = registry::slash(ctx, &owner, params.outlier_slash_bp, &reason)?;
    }
    let round = round(ctx.state, job.id, job.round)?;
    choose(job, order(job, &round.commits), spec.floor_ppm);
    for worker in contestants(job) {
        ctx.emit(
            event("job_artifact_judged", job.id)
                .with("worker", &worker.address)
                .with("score_ppm", worker.score_ppm)
                .with("standing", standing_name(worker.standing())),
        );
    }
    Ok(Some(job.score_ppm))
}

/// Sets each artifact's score, whether it is rejected, and which attestations agree with that.
fn weigh(job: &mut Job, tolerance: u32) {
    let names: Vec<String> = contestants(job).map(|w| w.address.clone()).collect();
    for (number, name) in names.iter().enumerate() {
        let (mut scores, mut rated, mut against) = (Vec::new(), 0, 0);
        for evaluator in &job.evaluators {
            match evaluator.attestations.get(number) {
                Some(a) if a.rejected => against += u128::from(evaluator.weight),
                Some(a) => {
                    scores.push((a.score_ppm, evaluator.weight));
                    rated += u128::from(evaluator.weight);
                }
                None => {}
            }
        }
        let median = weighted_median(&mut scores).filter(|_| against <= rated);
        let attestations = job.evaluators.iter_mut();
        for attestation in attestations.filter_map(|e| e.attestations.get_mut(number)) {
            attestation.accepted = match median {
                Some(median) => !attestation.rejected && attestation.score_ppm.abs_diff(median) <= tolerance,
                None => attestation.rejected,
            };
        }
        for worker in job.workers.iter_mut().filter(|w| w.address == *name) {
            worker.score_ppm = median.unwrap_or(0);
            if median.is_none() {
                worker.set_standing(Standing::Rejected);
            }
        }
    }
}

/// Places of the evaluators with a score that is wrong, where it is clear who is right. A rejection is not held against
/// anybody: a worker could show its artifact to some evaluators and not to others.
fn outliers(job: &Job) -> BTreeSet<usize> {
    let mut wrong = BTreeSet::new();
    for number in 0..contestants(job).count() {
        let scored = |e: &EvaluatorState| e.attestations.get(number).filter(|a| !a.rejected).map(|a| a.accepted);
        let mut votes = Vec::new();
        for (place, evaluator) in job.evaluators.iter().enumerate() {
            votes.extend(scored(evaluator).map(|right| (place, right, evaluator.weight)));
        }
        let weights: Vec<(u32, u64)> = votes
            .iter()
            .map(|(_, right, weight)| (u32::from(*right), *weight))
            .collect();
        if is_clear(&weights, |right| right == 1) {
            wrong.extend(votes.iter().filter(|(_, right, _)| !right).map(|(place, ..)| *place));
        }
    }
    wrong
}

/// Finds the winner among the artifacts that were not rejected, and writes down where everybody stands.
fn choose(job: &mut Job, order: Vec<usize>, floor_ppm: u32) {
    let judged = |job: &Job, place: usize| job.workers[place].standing() == Standing::Unspecified;
    let order: Vec<usize> = order.into_iter().filter(|place| judged(job, *place)).collect();
    let reaching = order
        .iter()
        .copied()
        .filter(|place| job.workers[*place].score_ppm >= floor_ppm);
    // The first of equal ones: the earliest.
    let winner = reaching.reduce(|best, next| {
        if job.workers[next].score_ppm > job.workers[best].score_ppm {
            next
        } else {
            best
        }
    });
    for place in order {
        let worker = &mut job.workers[place];
        worker.set_standing(match winner {
            Some(winner) if winner == place => Standing::Won,
            _ if worker.score_ppm >= floor_ppm => Standing::Beaten,
            _ => Standing::BelowFloor,
        });
    }
    if let Some(place) = winner {
        let won = job.workers[place].clone();
        for evaluator in &mut job.evaluators {
            let own = evaluator.attestations.iter().find(|a| a.worker == won.address);
            evaluator.attestation = own.filter(|a| !a.rejected).cloned();
        }
        (job.winner, job.artifact, job.score_ppm) = (won.address, won.artifact, won.score_ppm);
    }
}

/// A standing as people read it.
#[must_use]
pub fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Unspecified => "not judged",
        Standing::Won => "won",
        Standing::Beaten => "beaten",
        Standing::BelowFloor => "below the floor",
        Standing::Duplicate => "duplicate",
        Standing::Rejected => "rejected",
    }
}

/// Each worker's units by which a pot is divided, scaled down together where they would not fit; 0 for those that do not count.
fn units(spec: &JobSpec, workers: &[WorkerState], counts: impl Fn(&WorkerState) -> bool) -> (Vec<u64>, u64) {
    let of = |worker: &WorkerState| {
        if !counts(worker) {
            return 0;
        }
        u128::from(spec_of(spec, worker).macs_per_sample) * u128::from(worker.samples)
    };
    let mut units: Vec<u128> = workers.iter().map(of).collect();
    while units.iter().sum::<u128>() > u128::from(u64::MAX) {
        units.iter_mut().for_each(|u| *u >>= 1);
    }
    let units: Vec<u64> = units
        .into_iter()
        .map(|u| u64::try_from(u).unwrap_or(u64::MAX))
        .collect();
    let total = units.iter().sum();
    (units, total)
}

/// What each worker gets of the workers' pot, in their order: the winner its prize, the others their compensation.
///
/// # Errors
/// An amount overflows, which a supply of 63 bits rules out.
pub(super) fn shares(spec: &JobSpec, job: &Job, pot: u64) -> Result<Vec<u64>, Error> {
    let counts = |w: &WorkerState| !matches!(w.standing(), Standing::Duplicate | Standing::Rejected);
    let (units, total) = units(spec, &job.workers, counts);
    let partial = portion(pot, spec.partial_share_bp.into(), 10_000)?;
    let mut shares = Vec::new();
    for (worker, units) in job.workers.iter().zip(units) {
        let won = worker.standing() == Standing::Won;
        shares.push(if won { 0 } else { portion(partial, units, total)? });
    }
    let prize = pot - shares.iter().sum::<u64>();
    if let Some(winner) = job.workers.iter().position(|w| w.standing() == Standing::Won) {
        shares[winner] = prize;
    }
    Ok(shares)
}

/// Pays the workers out of `pot`.
pub(super) fn pay_workers(ctx: &mut Ctx<'_, '_>, job: &mut Job, spec: &JobSpec, pot: u64) -> Result<(), Error> {
    let shares = shares(spec, job, pot)?;
    for (worker, amount) in job.workers.clone().into_iter().zip(shares) {
        let won = worker.standing() == Standing::Won;
        let reason = if won { "winner" } else { "compensation" };
        pay(ctx, job, worker.address.parse()?, amount, reason)?;
    }
    Ok(())
}

/// The artifacts are in and cannot be judged: those who submitted one share the pot by units. There is no winner, and so no
/// artifact: silence does not buy a model.
pub(super) fn share_by_units(ctx: &mut Ctx<'_, '_>, job: &mut Job, spec: &JobSpec, pot: u64) -> Result<(), Error> {
    let submitted = |w: &WorkerState| w.artifact.is_some() && w.standing() != Standing::Duplicate;
    let (units, total) = units(spec, &job.workers, submitted);
    for (worker, units) in job.workers.clone().into_iter().zip(units) {
        let amount = portion(pot, units, total)?;
        pay(ctx, job, worker.address.parse()?, amount, "worker")?;
    }
    Ok(())
}
