//! Why a variant won, and why those who trained the others got what they got.

use trainyard_proto::{
    coin::show,
    job::{EvaluatorState, Job, JobSpec, JobState, Params, Standing, WorkerState},
};

use super::{contest::contestants, settle::accepted, spec::tolerance_ppm, variant_of, verdict};
use crate::error::Error;

/// Parts per million as percent.
pub(super) fn percent(ppm: u32) -> String {
    format!("{}.{:04} %", ppm / 10_000, ppm % 10_000)
}

/// How the pot is divided, and how each artifact stands.
pub(super) fn job_lines(job: &Job, spec: &JobSpec, pot: u64) -> Vec<String> {
    let mut lines = vec![format!(
        "Its workers compete: the best artifact that scores at least {} takes the workers' {}, less what the others are compensated: {}.{:02} % of what they would get if the pot were divided by units.",
        percent(spec.floor_ppm),
        show(pot),
        spec.partial_share_bp / 100,
        spec.partial_share_bp % 100
    )];
    for worker in &job.workers {
        let name = variant_name(spec, worker);
        let line = match (&worker.artifact, worker.standing()) {
            (None, _) if job.closed_at > 0 || !worker.active => format!(
                "{} trained {name} for {} rounds and submitted no artifact.",
                worker.address, worker.rounds
            ),
            (None, _) => format!("{} trains {name}: {} rounds so far.", worker.address, worker.rounds),
            (Some(_), Standing::Unspecified | Standing::Duplicate | Standing::Rejected) => {
                format!(
                    "{} trained {name}: {}.",
                    worker.address,
                    verdict::standing_name(worker.standing())
                )
            }
            (Some(_), standing) => format!(
                "{} trained {name}: {} with a score of {}, the bond-weighted median of the evaluators'.",
                worker.address,
                verdict::standing_name(standing),
                percent(worker.score_ppm)
            ),
        };
        lines.push(line);
    }
    lines
}

/// What people call the variant of a worker.
fn variant_name(spec: &JobSpec, worker: &WorkerState) -> String {
    let name = variant_of(spec, worker).map(|v| v.name.clone()).unwrap_or_default();
    let whose = if worker.variant.is_some() {
        "a variant of its own".to_string()
    } else {
        format!("variant {}", worker.variant_index)
    };
    if name.is_empty() {
        whose
    } else {
        format!("{whose} ({name:?})")
    }
}

/// Why a worker won or not, and what it is paid of `pot`.
pub(super) fn worker_lines(job: &Job, spec: &JobSpec, pot: u64, own: &WorkerState) -> Result<Vec<String>, Error> {
    let mut lines = vec![format!(
        "{} trains {} of job {}: {} completed rounds with {} samples of {} multiply-accumulates each, {} at stake, {}.",
        own.address,
        variant_name(spec, own),
        job.id,
        own.rounds,
        own.samples,
        variant_of(spec, own).map_or(0, |v| v.macs_per_sample),
        show(own.stake),
        if own.active { "active" } else { &own.gone }
    )];
    if job.closed_at == 0 || job.state() == JobState::Cancelled {
        return Ok(lines);
    }
    let score = percent(own.score_ppm);
    let best = job.workers.iter().find(|w| w.address == job.winner);
    lines.push(match (own.standing(), best) {
        (Standing::Won, _) => format!(
            "Its artifact scored {score}, the best of {} that were judged; of equal ones the first committed to counts.",
            contestants(job).count()
        ),
        (Standing::Beaten, Some(best)) if best.score_ppm == own.score_ppm => {
            format!("Its artifact scored {score}, as much as that of {}, which committed to it earlier.", best.address)
        }
        (Standing::Beaten, Some(best)) => {
            format!("Its artifact scored {score}; that of {} scored {}.", best.address, percent(best.score_ppm))
        }
        (Standing::BelowFloor, _) => format!("Its artifact scored {score}, below the floor of {}.", percent(spec.floor_ppm)),
        (Standing::Duplicate, _) => "Its artifact has the same weights as another's, which committed to them earlier: only that one counts, and these units are not paid.".into(),
        (Standing::Rejected, _) => "The evaluators rejected its artifact: it could not be had, or is not what its worker said. Its units are not paid.".into(),
        _ if own.artifact.is_some() => "Its artifact was not judged.".into(),
        _ => "It submitted no artifact.".into(),
    });
    let scored = contestants(job).any(|w| w.standing() != Standing::Unspecified);
    if scored {
        let shares = verdict::shares(spec, job, pot)?;
        let share = job
            .workers
            .iter()
            .position(|w| w.address == own.address)
            .map_or(0, |at| shares[at]);
        lines.push(if own.standing() == Standing::Won {
            format!(
                "It takes the workers' {} less {} of compensations: {}.",
                show(pot),
                show(pot - share),
                show(share)
            )
        } else {
            format!(
                "Its compensation is {}.{:02} % of its part by units of the workers' {}: {}, rounded down.",
                spec.partial_share_bp / 100,
                spec.partial_share_bp % 100,
                show(pot),
                show(share)
            )
        });
    } else if job.state() == JobState::Settled {
        lines.push(format!(
            "Nothing was scored: who submitted an artifact shares the workers' {} by units.",
            show(pot)
        ));
    } else {
        lines.push(format!(
            "The job failed: completed rounds are compensated at {}.{:02} % of what they would have earned by units.",
            spec.partial_share_bp / 100,
            spec.partial_share_bp % 100
        ));
    }
    Ok(lines)
}

/// What an evaluator of a contest found, and whether it is paid its part of `pot`; nothing where it has revealed nothing.
pub(super) fn evaluator_lines(
    job: &Job,
    spec: &JobSpec,
    params: &Params,
    pot: u64,
    own: &EvaluatorState,
) -> Vec<String> {
    let mut lines = Vec::new();
    for found in &own.attestations {
        let judged = job.workers.iter().find(|w| w.address == found.worker);
        let verdict = match judged {
            Some(w) if job.closed_at > 0 && w.standing() == Standing::Rejected => "it is rejected".to_string(),
            Some(w) if job.closed_at > 0 => format!("the median is {} ppm", w.score_ppm),
            _ => "it is not judged yet".to_string(),
        };
        lines.push(if found.rejected {
            format!("It rejected the artifact of {}; {verdict}.", found.worker)
        } else {
            format!(
                "It scored the artifact of {} {} ppm; {verdict}.",
                found.worker, found.score_ppm
            )
        });
    }
    if lines.is_empty() || job.closed_at == 0 {
        return lines;
    }
    let tolerance = tolerance_ppm(spec, params);
    let asked = spec.requirements.as_ref().map_or(1, |r| r.evaluators);
    lines.push(if accepted(own) {
        format!("All of that lies within {tolerance} ppm of the medians; its part of {} is 1 / {asked}.", show(pot))
    } else if own.slashed > 0 {
        format!(
            "Not all of that lies within {tolerance} ppm of the medians, and it is not paid; three or more revealed, and most agree against it, so it lost {} of its bond.",
            show(own.slashed)
        )
    } else {
        format!("Not all of that lies within {tolerance} ppm of the medians, and it is not paid; who is right is not clear enough to slash it.")
    });
    lines
}
