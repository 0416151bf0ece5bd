//! What a client may ask for. The chain sees no data and no graph: it bounds every number here, and workers check the rest
//! (graph, manifest, roots) before they join.

use trainyard_exact::task::{self as exact, Loss, OptimizerText, ScheduleText, TaskError};
use trainyard_proto::{
    job::{DataRef, Deadlines, JobSpec, Params, Provider, Requirements, Task},
    registry::VerificationClass,
};

use super::{JobError, variants};
use crate::error::Error;

pub(super) fn bad(what: &'static str, found: impl ToString, bound: impl Into<String>) -> Error {
    let found: String = found.to_string().chars().take(100).collect();
    JobError::Bound {
        what,
        found,
        bound: bound.into(),
    }
    .into()
}

pub(super) fn within(what: &'static str, found: u64, low: u64, high: u64) -> Result<(), Error> {
    if (low..=high).contains(&found) {
        Ok(())
    } else {
        Err(bad(what, found, format!("{low} to {high}")))
    }
}

fn one_of(what: &'static str, found: &str, allowed: &[&str]) -> Result<(), Error> {
    if allowed.contains(&found) {
        Ok(())
    } else {
        Err(bad(what, format!("{found:?}"), format!("one of {allowed:?}")))
    }
}

/// Checks the form of a CID: the chain cannot fetch it, but it refuses what cannot be one.
pub(super) fn check_cid(what: &'static str, cid: &str) -> Result<(), Error> {
    if (46..=120).contains(&cid.len()) && cid.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(bad(what, format!("{cid:?}"), "a CID of 46 to 120 letters and digits"))
    }
}

pub(super) fn check_32(what: &'static str, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() == 32 {
        Ok(())
    } else {
        Err(bad(what, format!("{} bytes", bytes.len()), "32 bytes"))
    }
}

/// What a job's task asks of an engine.
///
/// # Errors
/// The first hyper-parameter that makes no sense, with its value and its bound.
pub fn parse_task(task: &Task) -> Result<exact::Task, TaskError> {
    let optimizer = task.optimizer.clone().unwrap_or_default();
    let schedule = task.schedule.clone().unwrap_or_default();
    let parsed = exact::Task {
        loss: task.loss.parse()?,
        label_smoothing: exact::label_smoothing(&task.label_smoothing)?,
        optimizer: OptimizerText {
            name: &optimizer.name,
            learning_rate: &optimizer.learning_rate,
            momentum: &optimizer.momentum,
            weight_decay: &optimizer.weight_decay,
            nesterov: optimizer.nesterov,
            beta1: &optimizer.beta1,
            beta2: &optimizer.beta2,
            epsilon: &optimizer.epsilon,
        }
        .try_into()?,
        schedule: ScheduleText {
            name: &schedule.name,
            warmup: schedule.warmup,
            steps: schedule.steps,
            factor: &schedule.factor,
        }
        .try_into()?,
        clip_norm: exact::clip_norm(&task.clip_norm)?,
    };
    if parsed.loss != Loss::CrossEntropy && !task.label_smoothing.is_empty() {
        let (name, optimizer) = ("label_smoothing", task.loss.clone());
        return Err(TaskError::Unused { name, optimizer });
    }
    Ok(parsed)
}

pub(super) fn check_task(task: &Task) -> Result<(), Error> {
    parse_task(task).map_err(JobError::from)?;
    one_of("metric", &task.metric, &["accuracy"])?;
    within("batch size", u64::from(task.batch_size), 1, 65_536)?;
    within("local steps", u64::from(task.local_steps), 1, 100_000)
}

/// How far from the median a score may lie, in parts per million. In class exact equal work has equal scores.
pub(super) fn tolerance_ppm(spec: &JobSpec, params: &Params) -> u32 {
    if spec.verification() == VerificationClass::Exact {
        0
    } else {
        params.tolerance_ppm
    }
}

fn check_data(what: &'static str, data: Option<&DataRef>) -> Result<(), Error> {
    let data = data.ok_or_else(|| bad(what, "missing", "a dataset"))?;
    let DataRef {
        manifest_cid,
        plaintext_root,
        samples,
        encrypted: _,
    } = data;
    check_cid(what, manifest_cid)?;
    check_32(what, plaintext_root)?;
    within("number of samples", *samples, 1, 1 << 32)
}

/// Checks a spec against the parameters.
///
/// # Errors
/// The first field that is out of bounds, with its value and the bound.
pub fn check_spec(spec: &JobSpec, params: &Params) -> Result<(), Error> {
    let JobSpec {
        name,
        model_cid: _,
        start_cid: _,
        start_root: _,
        task: _,
        train,
        test,
        provider,
        paradigm: _,
        verification: _,
        requirements,
        rounds,
        deadlines,
        partial_share_bp,
        macs_per_sample: _,
        delta_share_ppm,
        round_price: _,
        target_ppm,
        start_job: _,
        program_root: _,
        variants: _,
        floor_ppm: _,
    } = spec;
    if name.len() > 128 {
        return Err(bad("name", format!("{} bytes", name.len()), "at most 128 bytes"));
    }
    check_data("training data", train.as_ref())?;
    check_data("test data", test.as_ref())?;
    let Provider { peer_id, addresses } = provider.as_ref().ok_or_else(|| bad("provider", "missing", "a peer"))?;
    within("provider's peer id length", peer_id.len() as u64, 32, 96)?;
    if addresses.len() > 8 || addresses.iter().any(|a| a.len() > 128) {
        return Err(bad(
            "provider's addresses",
            addresses.len(),
            "at most 8 of at most 128 bytes each",
        ));
    }
    if spec.verification() == VerificationClass::Unspecified {
        let bound = "VERIFICATION_CLASS_EXACT, VERIFICATION_CLASS_PINNED or VERIFICATION_CLASS_TOLERANT";
        return Err(bad("verification class", spec.verification().as_str_name(), bound));
    }
    variants::check(spec, params)?;
    let Requirements {
        min_workers,
        max_workers,
        evaluators,
        gpus,
        gpu_memory_mib,
        min_reputation,
        subnet,
    } = requirements
        .as_ref()
        .ok_or_else(|| bad("requirements", "missing", "some"))?;
    within("max workers", u64::from(*max_workers), 1, u64::from(params.max_workers))?;
    within("min workers", u64::from(*min_workers), 1, u64::from(*max_workers))?;
    within(
        "evaluators",
        u64::from(*evaluators),
        1,
        u64::from(params.max_evaluators),
    )?;
    within("GPUs", u64::from(*gpus), 0, 64)?;
    if *gpus == 0 {
        within("memory of each of no GPUs (MiB)", u64::from(*gpu_memory_mib), 0, 0)?;
    }
    within("minimum reputation", u64::from(*min_reputation), 0, 100)?;
    if subnet.len() > 32 {
        return Err(bad("subnet tag", format!("{} bytes", subnet.len()), "at most 32 bytes"));
    }
    within("rounds", u64::from(*rounds), 1, u64::from(params.max_rounds))?;
    let Deadlines {
        open,
        grant,
        round,
        submit,
    } = deadlines.as_ref().ok_or_else(|| bad("deadlines", "missing", "some"))?;
    let longest = u64::from(params.max_deadline);
    within("open deadline (blocks)", u64::from(*open), 1, longest)?;
    within("grant deadline (blocks)", u64::from(*grant), 1, longest)?;
    within("round deadline (blocks)", u64::from(*round), 1, longest)?;
    within("submit deadline (blocks)", u64::from(*submit), 1, longest)?;
    within(
        "partial-compensation share (basis points)",
        u64::from(*partial_share_bp),
        0,
        10_000,
    )?;
    within("target (parts per million)", u64::from(*target_ppm), 0, 1_000_000)?;
    within(
        "share of deltas (parts per million)",
        u64::from(*delta_share_ppm),
        0,
        1_000_000,
    )
}
