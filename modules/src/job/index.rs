//! Lists of jobs by state, by client and by member, kept in step with the jobs by [`put`], the only way to write one.

use std::collections::BTreeSet;

use trainyard_proto::{
    address::Address,
    job::{Job, JobState},
};

use super::JOBS;
use crate::{
    error::Error,
    state::{Map, State},
};

/// Jobs by state and number.
pub const BY_STATE: Map<(u32, u64), bool> = Map::new("job/by_state/");
/// Jobs by client and number.
pub const BY_CLIENT: Map<(Address, u64), bool> = Map::new("job/by_client/");
/// Jobs by worker or evaluator and number. Who left while the job was open is none of it.
pub const BY_MEMBER: Map<(Address, u64), bool> = Map::new("job/by_member/");

/// The first part of a state's keys in [`BY_STATE`].
pub(super) fn state_key(state: JobState) -> u32 {
    i32::from(state).unsigned_abs()
}

fn members(job: &Job) -> BTreeSet<&str> {
    let workers = job.workers.iter().map(|w| w.address.as_str());
    workers
        .chain(job.evaluators.iter().map(|e| e.address.as_str()))
        .collect()
}

/// Writes a job, and moves it in the lists.
pub(super) fn put(state: &mut State<'_>, job: &Job) -> Result<(), Error> {
    let old = JOBS.get(state, &job.id)?;
    JOBS.set(state, &job.id, job)?;
    let before = old.as_ref().map(Job::state);
    if before != Some(job.state()) {
        if let Some(before) = before {
            BY_STATE.remove(state, &(state_key(before), job.id))?;
        }
        BY_STATE.set(state, &(state_key(job.state()), job.id), &true)?;
    }
    if old.is_none() {
        BY_CLIENT.set(state, &(job.client.parse()?, job.id), &true)?;
    }
    let (was, is) = (old.as_ref().map(members).unwrap_or_default(), members(job));
    for gone in was.difference(&is) {
        BY_MEMBER.remove(state, &(gone.parse()?, job.id))?;
    }
    for new in is.difference(&was) {
        BY_MEMBER.set(state, &(new.parse()?, job.id), &true)?;
    }
    Ok(())
}

/// The lists say what the jobs say.
pub(super) fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let (mut states, mut clients, mut parts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (id, job) in JOBS.all(state)? {
        states.insert((state_key(job.state()), id));
        clients.insert((job.client.parse::<Address>()?, id));
        for member in members(&job) {
            parts.insert((member.parse::<Address>()?, id));
        }
    }
    fn keys<K: Ord>(pairs: Vec<(K, bool)>) -> BTreeSet<K> {
        pairs.into_iter().map(|(key, _)| key).collect()
    }
    let lists = [
        ("state", keys(BY_STATE.all(state)?) == states),
        ("client", keys(BY_CLIENT.all(state)?) == clients),
        ("member", keys(BY_MEMBER.all(state)?) == parts),
    ];
    match lists.iter().find(|(_, agrees)| !agrees) {
        Some((list, _)) => Err(Error::fatal(format!(
            "the list of jobs by {list} is not what the jobs say"
        ))),
        None => Ok(()),
    }
}
