//! Why a job stands where it stands, and why an account was paid what it was: answered from state, in sentences.

use trainyard_proto::{
    address::Address,
    coin::show,
    job::{Job, JobSpec, JobState, Params, QueryExplainRequest, QueryExplainResponse, RoundPhase},
};

use super::{
    PARAMS, TARGET_SAMPLES, competes, evaluators, explain_contest, job, lifecycle::MAX_DUE, matching, money,
    phase_name, portion, pots, spec, spec::tolerance_ppm, state_name,
};
use crate::{context::Block, error::Error, state::State};

/// `/trainyard.job.v1.Query/Explain`.
///
/// # Errors
/// No such job, or the account is no address.
pub fn query_explain(
    state: &mut State<'_>,
    block: &Block,
    request: QueryExplainRequest,
) -> Result<QueryExplainResponse, Error> {
    let (job, spec) = (job(state, request.job_id)?, spec(state, request.job_id)?);
    let params = PARAMS.get(state)?;
    let lines = if request.account.is_empty() {
        explain_job(block.height, &job, &spec, &params)?
    } else {
        let account: Address = request.account.parse()?;
        explain_account(state, block.height.saturating_add(1), &job, &spec, &params, account)?
    };
    Ok(QueryExplainResponse { lines })
}

fn explain_job(height: u64, job: &Job, spec: &JobSpec, params: &Params) -> Result<Vec<String>, Error> {
    let requirements = spec.requirements.clone().unwrap_or_default();
    let mut lines = vec![format!(
        "Job {} of {}: {} with a budget of {}, posted at height {}.",
        job.id,
        job.client,
        state_name(job.state()),
        show(job.budget),
        job.posted_at
    )];
    let over = matches!(job.state(), JobState::Settled | JobState::Cancelled | JobState::Failed);
    let rounds = if over { job.completed } else { spec.rounds };
    let cost = money::cost(spec, job.budget, rounds)?;
    let (workers, evaluators) = pots(params, cost)?;
    if competes(spec) {
        lines.extend(explain_contest::job_lines(job, spec, workers));
    }
    lines.push(format!(
        "{} of {} rounds are completed; {rounds} cost {}. That splits into {} for the workers{}, {} for {} evaluators, the rest for the treasury; what of the budget is not spent returns to the client. A posting fee of {} went to the validators.",
        job.completed, spec.rounds, show(cost), show(workers), if competes(spec) { "" } else { " by samples" }, show(evaluators), requirements.evaluators,
        show(job.posting_fee)
    ));
    if spec.start_job > 0 {
        lines.push(format!("It starts from the result of job {}.", spec.start_job));
    }
    if job.repost_of > 0 {
        lines.push(format!("It repeats job {}.", job.repost_of));
    }
    if job.reposted_as > 0 {
        lines.push(format!("It was posted again as job {}.", job.reposted_as));
    }
    if spec.target_ppm > 0 {
        lines.push(format!(
            "Training ends early when the merged model reaches {} ppm on the first {} samples of the training data: the lower median of what the workers measure who state the agreed root.",
            spec.target_ppm,
            spec.train.as_ref().map_or(0, |t| t.samples.min(TARGET_SAMPLES as u64))
        ));
    }
    if !job.ended.is_empty() {
        lines.push(format!(
            "Training ended after {} of {} rounds: {}.",
            job.completed, spec.rounds, job.ended
        ));
    }
    lines.push(match job.state() {
        JobState::Open => format!(
            "It waits for workers: {} of {} have joined. At height {} it starts with at least {}, or is cancelled and refunded.",
            job.workers.len(), requirements.max_workers, job.deadline, requirements.min_workers
        ),
        JobState::Training if job.round_phase() == RoundPhase::Keys => format!(
            "It waits for the client's train keys until height {}; without them it fails and is refunded.",
            job.deadline
        ),
        JobState::Training => format!(
            "Round {} of {} waits for {} until height {}.",
            job.round + 1, spec.rounds, phase_name(job.round_phase()), job.deadline
        ),
        JobState::Submitted => format!(
            "The result is in. It waits for the client's test keys until height {}; without them the workers are paid and scoring is skipped.",
            job.deadline
        ),
        JobState::Evaluating => format!("Evaluators commit to their scores until height {}.", job.deadline),
        JobState::Revealing => format!("Evaluators reveal their scores until height {}.", job.deadline),
        JobState::Settled if job.reason.is_empty() => format!(
            "It settled at height {} with a score of {}.{:04} %, the bond-weighted median of the evaluators'.",
            job.closed_at, job.score_ppm / 10_000, job.score_ppm % 10_000
        ),
        _ => format!("It ended at height {}: {}.", job.closed_at, job.reason),
    });
    if job.deadline > 0 && height >= job.deadline {
        lines.push(format!(
            "Its deadline has come, and many others with it: it waits for its turn (at most {MAX_DUE} a block) and takes no messages."
        ));
    }
    for payment in &job.payments {
        let (amount, reason) = (show(payment.amount), &payment.reason);
        lines.push(match payment.recipient.as_str() {
            "" => format!("{amount} {reason}."),
            recipient => format!("{amount} to {recipient} ({reason})."),
        });
    }
    Ok(lines)
}

fn explain_account(
    state: &mut State<'_>,
    height: u64,
    job: &Job,
    spec: &JobSpec,
    params: &Params,
    account: Address,
) -> Result<Vec<String>, Error> {
    let address = account.to_string();
    let mut lines = Vec::new();
    let total: u64 = job.workers.iter().map(|w| w.samples).sum();
    let requirements = spec.requirements.clone().unwrap_or_default();
    let over = matches!(job.state(), JobState::Settled | JobState::Cancelled | JobState::Failed);
    let rounds = if over { job.completed } else { spec.rounds };
    let (pot, evaluators_pot) = pots(params, money::cost(spec, job.budget, rounds)?)?;
    let worker = job.workers.iter().find(|w| w.address == address);
    if let (true, Some(worker)) = (competes(spec), worker) {
        lines.extend(explain_contest::worker_lines(job, spec, pot, worker)?);
    } else if let Some(worker) = worker {
        lines.push(format!(
            "{address} works on job {}: {} completed rounds with {} of {total} samples, {} at stake, {}.",
            job.id,
            worker.rounds,
            worker.samples,
            show(worker.stake),
            if worker.active {
                "active".into()
            } else {
                format!("out: {}", worker.gone)
            }
        ));
        if total > 0 && job.state() == JobState::Failed {
            lines.push(format!(
                "The job failed: completed rounds are paid by samples, at {}.{:02} % of what they would have earned.",
                spec.partial_share_bp / 100,
                spec.partial_share_bp % 100
            ));
        } else if total > 0 {
            let share = portion(pot, worker.samples, total)?;
            lines.push(format!(
                "Of the workers' {} its part is {} / {total} = {}, rounded down.",
                show(pot),
                worker.samples,
                show(share)
            ));
            if !worker.active {
                lines.push(format!(
                    "It did not stay to the end: of its part it gets {}.{:02} %, the rest returns to the client.",
                    spec.partial_share_bp / 100,
                    spec.partial_share_bp % 100
                ));
            }
        }
    }
    let needs_key = spec.test.as_ref().is_some_and(|t| t.encrypted);
    if let Some(evaluator) = job.evaluators.iter().find(|e| e.address == address) {
        lines.extend(evaluators::explain_lot(job, evaluator));
        let contest = explain_contest::evaluator_lines(job, spec, params, evaluators_pot, evaluator);
        let one = || match &evaluator.attestation {
            Some(a) if a.accepted => format!(
                "It scored {} ppm, within {} of the median {}; its part of {} is 1 / {}.",
                a.score_ppm,
                tolerance_ppm(spec, params),
                job.score_ppm,
                show(evaluators_pot),
                requirements.evaluators
            ),
            Some(a) if job.closed_at > 0 => format!(
                "It scored {} ppm, more than {} away from the median {}, and is not paid; {}.",
                a.score_ppm,
                tolerance_ppm(spec, params),
                job.score_ppm,
                if evaluator.slashed > 0 {
                    format!(
                        "three or more revealed, and most agree against it, so it lost {} of its bond",
                        show(evaluator.slashed)
                    )
                } else {
                    "who is right is not clear enough to slash it".to_string()
                }
            ),
            Some(a) => format!("It scored {} ppm.", a.score_ppm),
            None if evaluator.dismissed && !evaluator.commitment.is_empty() => {
                "It committed to a score and revealed none in time: it missed a duty, is out and is not paid."
                    .to_string()
            }
            None if evaluator.dismissed && needs_key && !evaluator.key_granted => {
                "As a replacement it was granted no test key in time: it was let go, without a penalty.".to_string()
            }
            None if evaluator.dismissed => {
                "It committed to no score in time: it missed a duty, is out and is not paid.".to_string()
            }
            None if job.closed_at > 0 => "It was asked for no score and is not paid.".to_string(),
            None => "It has revealed no score yet.".to_string(),
        };
        if contest.is_empty() {
            lines.push(one());
        } else {
            lines.extend(contest);
        }
    }
    if lines.is_empty() {
        lines.extend(why_not(state, height, job, spec, account)?);
    }
    for payment in job.payments.iter().filter(|p| p.recipient == address) {
        lines.push(format!("It was paid {} ({}).", show(payment.amount), payment.reason));
    }
    Ok(lines)
}

/// Why an account has no part in the job: all that keeps it from joining.
fn why_not(
    state: &mut State<'_>,
    height: u64,
    job: &Job,
    spec: &JobSpec,
    account: Address,
) -> Result<Vec<String>, Error> {
    let mut lines = vec![format!("{account} has no part in job {}.", job.id)];
    let obstacles = matching::obstacles(state, height, job, spec, account)?;
    if obstacles.is_empty() {
        lines.push("Nothing on chain keeps it from joining.".into());
    } else {
        lines.push("What keeps it from joining:".into());
        lines.extend(obstacles.into_iter().map(|obstacle| format!("- {obstacle}")));
    }
    Ok(lines)
}
