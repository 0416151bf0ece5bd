//! Whether a worker fits a job: what the chain asks of whoever joins, and what a worker asks itself before it does.
//!
//! GPUs and subnet tags stand in the worker's capability record, which it sends along; the registry has the record's hash, so
//! that a record made for the occasion does not match.

use trainyard_proto::{
    address::Address,
    capability,
    coin::show,
    job::{Job, JobSpec, JobState, Requirements},
    overlay::CapabilityRecord,
    prost::Message,
    registry::{Node, Role},
};

use super::{JobError, PARAMS, in_time, money, state_name};
use crate::{
    bank,
    error::Error,
    registry::{self, NODES},
    state::State,
};

/// Refuses a worker that may not take a place in an open job at `height`.
pub(super) fn check(
    state: &mut State<'_>,
    height: u64,
    job: &Job,
    spec: &JobSpec,
    worker: Address,
    capability: &[u8],
) -> Result<(), Error> {
    in_time(job, height)?;
    let node = registry::node_with_role(state, height, &worker, Role::Worker)?;
    if job.workers.iter().any(|w| w.address == node.owner) {
        return Err(JobError::Joined { job: job.id, worker }.into());
    }
    let max = places(spec);
    if job.workers.len() as u64 >= u64::from(max) {
        return Err(JobError::Full { job: job.id, max }.into());
    }
    match misfit(job, spec, &node, capability) {
        Some(reason) => Err(JobError::Unfit {
            job: job.id,
            worker,
            reason,
        }
        .into()),
        None => Ok(()),
    }
}

fn places(spec: &JobSpec) -> u32 {
    spec.requirements.as_ref().map_or(0, |r| r.max_workers)
}

/// All that keeps an account from joining a job in the block of `height`, in sentences.
pub(super) fn obstacles(
    state: &mut State<'_>,
    height: u64,
    job: &Job,
    spec: &JobSpec,
    worker: Address,
) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    if job.state() != JobState::Open {
        let now = state_name(job.state());
        found.push(format!(
            "it did not join while the job was open, and now the job is {now}"
        ));
    } else if let Err(late) = in_time(job, height) {
        found.push(late.log);
    } else if job.workers.len() as u64 >= u64::from(places(spec)) {
        found.push(format!("the job has its {} workers already", places(spec)));
    }
    let Some(node) = NODES.get(state, &worker)? else {
        if job.client == worker.to_string() {
            found.push("a client does not work for itself".into());
        }
        found.push("it runs no node: it is not registered as a worker".into());
        return Ok(found);
    };
    let kept = registry::obstacles(state, height, &node, Role::Worker)?;
    found.extend(kept.iter().map(ToString::to_string));
    found.extend(misfits(job, spec, &node, None));
    if needs_record(&spec.requirements.clone().unwrap_or_default()) {
        found.push(
            "whether its GPUs and subnet tags are those the job asks for is told by its capability record, sent when it joins"
                .into(),
        );
    }
    let stake = money::stake(spec, &PARAMS.get(state)?, job.budget)?;
    let has = bank::balance(state, &worker)?;
    if has < stake {
        found.push(format!(
            "it holds {}, the stake for a place is {}",
            show(has),
            show(stake)
        ));
    }
    Ok(found)
}

/// Why a node does not fit a job that has room; `None` where it does. `capability` is its encoded capability record.
#[must_use]
pub fn misfit(job: &Job, spec: &JobSpec, node: &Node, capability: &[u8]) -> Option<String> {
    misfits(job, spec, node, Some(capability)).into_iter().next()
}

/// All reasons of [`misfit`]; without a record those that stand on chain.
fn misfits(job: &Job, spec: &JobSpec, node: &Node, capability: Option<&[u8]>) -> Vec<String> {
    let requirements = spec.requirements.clone().unwrap_or_default();
    let mut found = Vec::new();
    if node.reputation < requirements.min_reputation {
        let (has, needs) = (node.reputation, requirements.min_reputation);
        found.push(format!("its reputation is {has}, the job asks for at least {needs}"));
    }
    if !node.classes.contains(&spec.verification) {
        found.push(format!("it does not offer {}", spec.verification().as_str_name()));
    }
    if job.client == node.owner || job.client == node.operator {
        found.push("a client does not work for itself".into());
    }
    if let Some(capability) = capability.filter(|_| needs_record(&requirements)) {
        found.extend(record_misfit(&requirements, node, capability));
    }
    found
}

/// Whether a job asks for something that only a capability record tells.
#[must_use]
pub fn needs_record(requirements: &Requirements) -> bool {
    requirements.gpus > 0 || !requirements.subnet.is_empty()
}

fn record_misfit(requirements: &Requirements, node: &Node, capability: &[u8]) -> Option<String> {
    if capability.is_empty() {
        return Some("it sends no capability record, and the job asks for GPUs or a subnet tag".into());
    }
    let found = capability::hash(capability);
    if node.capability_hash != found {
        let (found, expected) = (hex::encode(found), hex::encode(&node.capability_hash));
        return Some(format!(
            "its capability record has the hash {found}, the registry has {expected}"
        ));
    }
    let Ok(record) = CapabilityRecord::decode(capability) else {
        return Some("its capability record does not decode".into());
    };
    let (needs, memory) = (requirements.gpus, requirements.gpu_memory_mib);
    let fit = record.gpus.iter().filter(|g| g.memory_mib >= memory.into()).count();
    if (fit as u64) < needs.into() {
        return Some(format!(
            "it has {fit} GPUs with at least {memory} MiB, the job asks for {needs}"
        ));
    }
    if !requirements.subnet.is_empty() && !record.subnets.contains(&requirements.subnet) {
        let tags: String = format!("{:?}", record.subnets).chars().take(200).collect();
        return Some(format!(
            "its subnet tags are {tags}, the job's is {:?}",
            requirements.subnet
        ));
    }
    None
}
