//! Jobs at genesis. The money of unfinished jobs lies in the balance of the escrow (bank).

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    coin::UTRAIN_PER_TRAIN,
    job::{Job, JobState, KeyGrant, Params, Round},
};

use super::{
    COMMIT_LOG, DEADLINES, GRANTS, JOBS, LAST_ID, LOG_COMMITS, LOG_MODELS, LOG_UNITS, MODEL_LOG, PARAMS, ROUNDS, SPECS,
    index::put,
};
use crate::{
    error::{Error, SdkError},
    state::State,
};

/// A sealed key and what it opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantGenesis {
    /// Job.
    pub job: u64,
    /// 1 train, 2 test.
    pub split: u32,
    /// Recipient and key.
    pub grant: KeyGrant,
}

/// Jobs with their rounds and grants, the epoch's logs, parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Parameters.
    pub params: Params,
    /// Number of the last job.
    pub last_id: u64,
    /// Jobs with their specs.
    pub jobs: Vec<Job>,
    /// Rounds.
    pub rounds: Vec<Round>,
    /// Grants.
    pub grants: Vec<GrantGenesis>,
    /// This epoch's commits, hex.
    pub commits: Vec<String>,
    /// This epoch's models, hex.
    pub models: Vec<String>,
    /// This epoch's units.
    pub units: u64,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: default_params(),
            last_id: 0,
            jobs: Vec::new(),
            rounds: Vec::new(),
            grants: Vec::new(),
            commits: Vec::new(),
            models: Vec::new(),
            units: 0,
        }
    }
}

/// PROTOCOL §11.
#[must_use]
pub fn default_params() -> Params {
    Params {
        posting_fee_bp: 100,
        workers_bp: 9_000,
        evaluators_bp: 500,
        stake_multiple: 3,
        commit_blocks: 20,
        reveal_blocks: 20,
        tolerance_ppm: 5_000,
        max_workers: 64,
        max_evaluators: 15,
        max_rounds: 10_000,
        max_deadline: 1_000_000,
        min_budget: UTRAIN_PER_TRAIN,
        max_replacements: 2,
        outlier_slash_bp: 1_000,
        max_variants: 16,
        treasury_burn_bp: 0,
    }
}

pub(super) fn check_params(params: &Params) -> Result<(), Error> {
    let Params {
        posting_fee_bp,
        workers_bp,
        evaluators_bp,
        stake_multiple,
        commit_blocks,
        reveal_blocks,
        tolerance_ppm,
        max_workers,
        max_evaluators,
        max_rounds,
        max_deadline,
        min_budget,
        max_replacements,
        outlier_slash_bp,
        max_variants,
        treasury_burn_bp,
    } = params;
    let checks = [
        ("posting_fee_bp", u64::from(*posting_fee_bp), 0, 10_000),
        (
            "workers_bp + evaluators_bp",
            u64::from(*workers_bp) + u64::from(*evaluators_bp),
            0,
            10_000,
        ),
        ("stake_multiple", u64::from(*stake_multiple), 0, 100),
        ("commit_blocks", u64::from(*commit_blocks), 1, 1_000_000),
        ("reveal_blocks", u64::from(*reveal_blocks), 1, 1_000_000),
        ("tolerance_ppm", u64::from(*tolerance_ppm), 0, 1_000_000),
        ("max_workers", u64::from(*max_workers), 1, 1_000),
        ("max_evaluators", u64::from(*max_evaluators), 1, 100),
        ("max_rounds", u64::from(*max_rounds), 1, 1_000_000),
        ("max_deadline", u64::from(*max_deadline), 1, 1_000_000_000),
        ("min_budget", *min_budget, 1, i64::MAX as u64),
        ("max_replacements", u64::from(*max_replacements), 0, 100),
        ("outlier_slash_bp", u64::from(*outlier_slash_bp), 0, 10_000),
        ("max_variants", u64::from(*max_variants), 1, 100),
        ("treasury_burn_bp", u64::from(*treasury_burn_bp), 0, 10_000),
    ];
    for (name, found, low, high) in checks {
        if !(low..=high).contains(&found) {
            return Err(SdkError::InvalidRequest(format!("job {name} is {found}, expected {low} to {high}")).into());
        }
    }
    Ok(())
}

fn over(job: &Job) -> bool {
    matches!(job.state(), JobState::Settled | JobState::Cancelled | JobState::Failed)
}

/// Writes jobs, logs and parameters.
///
/// # Errors
/// What is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    check_params(&genesis.params)?;
    PARAMS.set(state, &genesis.params)?;
    LAST_ID.set(state, &genesis.last_id)?;
    for job in &genesis.jobs {
        let mut job = job.clone();
        if let Some(spec) = job.spec.take() {
            SPECS.set(state, &job.id, &spec)?;
        }
        if !over(&job) {
            DEADLINES.set(state, &(job.deadline, job.id), &true)?;
        }
        put(state, &job)?;
    }
    for round in &genesis.rounds {
        ROUNDS.set(state, &(round.job_id, round.round), round)?;
    }
    for GrantGenesis { job, split, grant } in &genesis.grants {
        GRANTS.set(state, &(*job, *split, grant.recipient.parse()?), &grant.sealed_key)?;
    }
    let bytes = |text: &String| {
        hex::decode(text).map_err(|e| Error::from(SdkError::InvalidRequest(format!("job genesis log {text:?}: {e}"))))
    };
    for (number, leaf) in (0..).zip(&genesis.commits) {
        COMMIT_LOG.set(state, &number, &bytes(leaf)?)?;
    }
    for (number, leaf) in (0..).zip(&genesis.models) {
        MODEL_LOG.set(state, &number, &bytes(leaf)?)?;
    }
    LOG_COMMITS.set(state, &(genesis.commits.len() as u64))?;
    LOG_MODELS.set(state, &(genesis.models.len() as u64))?;
    LOG_UNITS.set(state, &genesis.units)
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let mut jobs = Vec::new();
    for (id, mut job) in JOBS.all(state)? {
        job.spec = SPECS.get(state, &id)?;
        jobs.push(job);
    }
    let grants = GRANTS
        .all(state)?
        .into_iter()
        .map(|((job, split, recipient), sealed_key)| GrantGenesis {
            job,
            split,
            grant: KeyGrant {
                recipient: recipient.to_string(),
                sealed_key,
            },
        });
    Ok(Genesis {
        params: PARAMS.get(state)?,
        last_id: LAST_ID.get(state)?,
        grants: grants.collect(),
        jobs,
        rounds: ROUNDS.all(state)?.into_iter().map(|(_, round)| round).collect(),
        commits: COMMIT_LOG
            .all(state)?
            .into_iter()
            .map(|(_, leaf)| hex::encode(leaf))
            .collect(),
        models: MODEL_LOG
            .all(state)?
            .into_iter()
            .map(|(_, leaf)| hex::encode(leaf))
            .collect(),
        units: LOG_UNITS.get(state)?,
    })
}
