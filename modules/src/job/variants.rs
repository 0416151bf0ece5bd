//! What a job computes: one model and task for all, or variants that compete.

use trainyard_proto::{
    job::{Job, JobSpec, MsgJoinJob, Paradigm, Params, Task, Variant, WorkerState},
    registry::VerificationClass,
};

use super::{
    JobError,
    spec::{bad, check_32, check_cid, check_task, within},
};
use crate::error::Error;

/// Checks the part of a spec that says what is computed.
///
/// # Errors
/// The first field that is out of bounds, with its value and the bound.
pub(super) fn check(spec: &JobSpec, params: &Params) -> Result<(), Error> {
    match spec.paradigm() {
        Paradigm::Federated => {
            check_variant(&start_given(spec)?, spec.verification())?;
            within("variants of a federated job", spec.variants.len() as u64, 0, 0)?;
            within("floor of a federated job", spec.floor_ppm.into(), 0, 0)
        }
        Paradigm::Competitive => {
            if of_spec(spec) != Variant::default() {
                let bound = "nothing: in a competitive job the variants name them";
                return Err(bad("model, start weights and task of the job itself", "set", bound));
            }
            let bound = "0: every variant has its own start";
            if spec.start_job > 0 {
                return Err(bad("job that a competitive one starts from", spec.start_job, bound));
            }
            within("target of a competitive job", spec.target_ppm.into(), 0, 0)?;
            within(
                "share of deltas of a competitive job",
                spec.delta_share_ppm.into(),
                0,
                0,
            )?;
            within("floor (parts per million)", spec.floor_ppm.into(), 0, 1_000_000)?;
            let workers = u64::from(spec.requirements.clone().unwrap_or_default().max_workers);
            within("workers of a competitive job", workers, 1, params.max_variants.into())?;
            if spec.variants.is_empty() {
                return Ok(());
            }
            within("number of variants", spec.variants.len() as u64, workers, workers)?;
            for (number, variant) in spec.variants.iter().enumerate() {
                check_variant(variant, spec.verification())?;
                if let Some(twin) = spec.variants[..number].iter().position(|v| same(v, variant)) {
                    let bound = format!("another one than variant {twin}");
                    return Err(bad("variant", format!("{number}, the same"), bound));
                }
            }
            Ok(())
        }
        Paradigm::Unspecified | Paradigm::DataParallel => {
            let bound = "PARADIGM_FEDERATED or PARADIGM_COMPETITIVE (data-parallel jobs are still to come)";
            Err(bad("paradigm", spec.paradigm().as_str_name(), bound))
        }
    }
}

/// Checks one computation, whoever asks for it.
fn check_variant(variant: &Variant, verification: VerificationClass) -> Result<(), Error> {
    let Variant {
        name,
        model_cid,
        start_cid,
        start_root,
        task,
        program_root,
        macs_per_sample,
    } = variant;
    within("bytes of a variant's name", name.len() as u64, 0, 64)?;
    check_cid("model CID", model_cid)?;
    if !start_cid.is_empty() {
        check_cid("start weights' CID", start_cid)?;
    }
    check_32("start root", start_root)?;
    check_task(task.as_ref().ok_or_else(|| bad("task", "missing", "one"))?)?;
    within("multiply-accumulates per sample", *macs_per_sample, 1, 1 << 50)?;
    if verification == VerificationClass::Exact {
        return check_32("program root", program_root);
    }
    let found = program_root.len() as u64;
    within("program root's bytes outside of class exact", found, 0, 0)
}

/// The computation that a spec itself names, which lacks its start only where another job's result is one.
fn start_given(spec: &JobSpec) -> Result<Variant, Error> {
    let mut variant = of_spec(spec);
    if spec.start_job > 0 {
        let (root, cid) = (variant.start_root.len() as u64, variant.start_cid.len() as u64);
        within("start root's bytes beside a job to start from", root, 0, 0)?;
        within("start CID's bytes beside a job to start from", cid, 0, 0)?;
        variant.start_root = vec![0; 32];
    }
    Ok(variant)
}

/// The computation that a spec itself names.
fn of_spec(spec: &JobSpec) -> Variant {
    Variant {
        name: String::new(),
        model_cid: spec.model_cid.clone(),
        start_cid: spec.start_cid.clone(),
        start_root: spec.start_root.clone(),
        task: spec.task.clone(),
        program_root: spec.program_root.clone(),
        macs_per_sample: spec.macs_per_sample,
    }
}

/// Whether two variants are the same computation, whatever their names.
fn same(one: &Variant, other: &Variant) -> bool {
    let unnamed = |variant: &Variant| Variant {
        name: String::new(),
        ..variant.clone()
    };
    unnamed(one) == unnamed(other)
}

/// Whether the job's workers compete.
#[must_use]
pub fn competes(spec: &JobSpec) -> bool {
    spec.paradigm() == Paradigm::Competitive
}

/// What a worker trains in a contest; `None` where all train the same.
#[must_use]
pub fn variant_of<'a>(spec: &'a JobSpec, worker: &'a WorkerState) -> Option<&'a Variant> {
    let index = usize::try_from(worker.variant_index).unwrap_or(usize::MAX);
    worker.variant.as_ref().or_else(|| spec.variants.get(index))
}

/// What people call a variant.
pub(super) fn name_of(variant: &Variant, index: u32) -> String {
    if variant.name.is_empty() {
        format!("variant {index}")
    } else {
        variant.name.clone()
    }
}

/// The job as one of its workers has it: its variant's model and task stand where those of a federated job do.
#[must_use]
pub fn spec_of(spec: &JobSpec, worker: &WorkerState) -> JobSpec {
    let mut own = spec.clone();
    if let Some(variant) = variant_of(spec, worker).cloned() {
        own.model_cid = variant.model_cid;
        own.start_cid = variant.start_cid;
        own.start_root = variant.start_root;
        own.task = variant.task;
        own.program_root = variant.program_root;
        own.macs_per_sample = variant.macs_per_sample;
    }
    own
}

/// What a worker that joins is to train, as its state keeps it: the place in the list, or what it brings.
pub(super) fn entry(job: &Job, spec: &JobSpec, joining: &MsgJoinJob) -> Result<(u32, Option<Variant>), Error> {
    let (index, brought) = (joining.variant_index, joining.variant.as_ref());
    let taken = |by: &WorkerState| -> Error {
        JobError::Taken {
            job: job.id,
            worker: by.address.clone(),
        }
        .into()
    };
    if let (true, [], Some(variant)) = (competes(spec), spec.variants.as_slice(), brought) {
        check_variant(variant, spec.verification())?;
        let twin = |w: &&WorkerState| w.variant.as_ref().is_some_and(|other| same(other, variant));
        return match job.workers.iter().find(twin) {
            Some(by) => Err(taken(by)),
            None => Ok((0, Some(variant.clone()))),
        };
    }
    if competes(spec) && spec.variants.is_empty() {
        return Err(bad("variant", "missing", "one: the job's workers bring their own"));
    }
    if brought.is_some() {
        return Err(bad("variant", "given", "none: the job says what its workers train"));
    }
    let last = (spec.variants.len() as u64).saturating_sub(1);
    within("index of the variant", index.into(), 0, last)?;
    match job.workers.iter().find(|w| competes(spec) && w.variant_index == index) {
        Some(by) => Err(taken(by)),
        None => Ok((index, None)),
    }
}

/// Samples of one worker in one round, at most.
pub(super) fn most_samples(task: &Task) -> u64 {
    u64::from(task.batch_size) * u64::from(task.local_steps)
}
