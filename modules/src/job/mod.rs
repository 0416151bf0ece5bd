//! Jobs: posted with money in escrow, trained round by round, scored, paid.
//!
//! | key | value |
//! |---|---|
//! | `job/job/{id}` | [`Job`] without its spec |
//! | `job/spec/{id}` | [`JobSpec`], written once |
//! | `job/round/{id}{round}` | [`Round`]: commits, merged roots, submissions |
//! | `job/grant/{id}{split}{recipient}` | a data key sealed to its recipient |
//! | `job/deadline/{height}{id}` | jobs whose deadline is at a height: nothing waits for somebody to poke the chain |
//! | `job/by_state/{state}{id}`, `job/by_client/{client}{id}`, `job/by_member/{member}{id}` | lists of jobs (`index.rs`) |
//! | `job/commits/{n}`, `job/models/{n}` | leaves of the epoch's checkpoint, taken by `pouw` |
//! | `job/next_id`, `job/params` | |
//!
//! Every message but `PostJob` and `RepostJob` comes at the job's deadline at the latest.
//!
//! | message | sender | job's state | file |
//! |---|---|---|---|
//! | `PostJob` | anyone | – | `msgs_client.rs` |
//! | `CancelJob` | its client | open | `msgs_client.rs` |
//! | `TopUpJob` | its client | open, training | `money.rs` |
//! | `RepostJob` | its client | failed, cancelled | `lineage.rs` |
//! | `GrantKeys` | its client | training (train key), submitted (test key) | `msgs_client.rs` |
//! | `JoinJob`, `LeaveJob` | a registered worker | open; training (leave) | `msgs_worker.rs` |
//! | `CommitTrace`, `RoundResult`, `SubmitResult` | an active worker of the job | training | `msgs_worker.rs` |
//! | `CommitEvaluation` | an evaluator drawn for the job | evaluating | `msgs_evaluator.rs` |
//! | `RevealEvaluation` | the same, having committed | revealing | `msgs_evaluator.rs` |
//! | `UpdateParams` | governance | – | `mod.rs` |
//!
//! `spec.rs` checks what a client asks for, `lifecycle.rs` moves a job from state to state, `matching.rs` says who may work
//! on it, `evaluators.rs` who judges it, `money.rs` what its rounds cost, `settle.rs` pays. Where workers compete, `variants.rs` says
//! what each of them trains, `contest.rs` how their rounds go, `verdict.rs` who wins and is paid what. Budgets and stakes lie in [`bank::ESCROW`]. Events are named `job_…` and carry `job_id`.

mod contest;
mod evaluators;
mod explain;
mod explain_contest;
mod genesis;
mod index;
mod lifecycle;
mod lineage;
mod matching;
mod money;
mod msgs_client;
mod msgs_evaluator;
mod msgs_worker;
mod queries;
mod settle;
mod spec;
mod variants;
mod verdict;

pub use contest::contestants;
pub use explain::query_explain;
pub use genesis::{Genesis, default_params, export, init};
pub use index::{BY_CLIENT, BY_MEMBER, BY_STATE};
pub use lifecycle::end_block;
pub use matching::{misfit, needs_record};
pub use queries::{query_grant, query_job, query_jobs, query_open_jobs_for, query_params, query_round};
pub use spec::{check_spec, parse_task};
use trainyard_exact::task::TaskError;
use trainyard_proto::{
    address::Address,
    job::{Job, JobSpec, JobState, MsgUpdateParams, MsgUpdateParamsResponse, Params, Round, RoundPhase, WorkerState},
};
pub use variants::{competes, spec_of, variant_of};
pub use verdict::standing_name;

use crate::{
    bank,
    context::{Ctx, Event},
    error::{Error, coded},
    governed::update_params,
    state::{Item, Map, State},
};

/// Samples, the first of the training data, that workers measure a job's target on, at most.
pub const TARGET_SAMPLES: usize = 1_000;
/// Jobs by number, without their specs.
pub const JOBS: Map<u64, Job> = Map::new("job/job/");
/// Specs by job.
pub const SPECS: Map<u64, JobSpec> = Map::new("job/spec/");
/// Rounds by job and number.
pub const ROUNDS: Map<(u64, u32), Round> = Map::new("job/round/");
/// Sealed data keys by job, split and recipient.
pub const GRANTS: Map<(u64, u32, Address), Vec<u8>> = Map::new("job/grant/");
/// Jobs by the height of their next deadline.
pub const DEADLINES: Map<(u64, u64), bool> = Map::new("job/deadline/");
/// Leaves of this epoch's commits, in order.
pub const COMMIT_LOG: Map<u64, Vec<u8>> = Map::new("job/commits/");
/// Leaves of this epoch's settled models, in order.
pub const MODEL_LOG: Map<u64, Vec<u8>> = Map::new("job/models/");
/// Counters of the two logs and the units of this epoch.
pub const LOG_COMMITS: Item<u64> = Item::new("job/log_commits");
/// Number of leaves in [`MODEL_LOG`].
pub const LOG_MODELS: Item<u64> = Item::new("job/log_models");
/// Multiply-accumulates of this epoch's commits.
pub const LOG_UNITS: Item<u64> = Item::new("job/log_units");
/// Number of the next job, less one: the first job is 1.
pub const LAST_ID: Item<u64> = Item::new("job/last_id");
/// Parameters.
pub const PARAMS: Item<Params> = Item::new("job/params");

/// Errors of jobs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum JobError {
    #[error("job {0} does not exist")]
    NoJob(u64),
    #[error("{what} is {found}, expected {bound}")]
    Bound {
        what: &'static str,
        found: String,
        bound: String,
    },
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("job {job} is {found}, this message needs it {need}")]
    State {
        job: u64,
        found: &'static str,
        need: &'static str,
    },
    #[error("job {job} belongs to {client}, not to {sender}")]
    NotClient { job: u64, client: String, sender: Address },
    #[error("{worker} is not an active worker of job {job}")]
    NotWorker { job: u64, worker: Address },
    #[error("{evaluator} was not drawn as an evaluator of job {job}")]
    NotEvaluator { job: u64, evaluator: Address },
    #[error("{worker} has joined job {job} already")]
    Joined { job: u64, worker: Address },
    #[error("job {job} has its {max} workers already")]
    Full { job: u64, max: u32 },
    #[error("{worker} may not join job {job}: {reason}")]
    Unfit { job: u64, worker: Address, reason: String },
    #[error("job {job} is in round {expected}, the message names round {found}")]
    Round { job: u64, expected: u32, found: u32 },
    #[error("job {job} waits for {expected}, not for {found}")]
    Phase {
        job: u64,
        expected: &'static str,
        found: &'static str,
    },
    #[error("{worker} has sent its {what} of round {round} of job {job} already")]
    Twice {
        job: u64,
        round: u32,
        worker: Address,
        what: &'static str,
    },
    #[error("{what} is {found}, the job's is {expected}")]
    Root {
        what: &'static str,
        found: String,
        expected: String,
    },
    #[error("{evaluator} has committed to a score of job {job} already")]
    CommittedTwice { job: u64, evaluator: Address },
    #[error("{evaluator} has revealed its score of job {job} already")]
    RevealedTwice { job: u64, evaluator: Address },
    #[error("what {evaluator} reveals for job {job} does not match its commitment")]
    Mismatch { job: u64, evaluator: Address },
    #[error("the signature of {evaluator} over its attestation of job {job} is not valid")]
    Signature { job: u64, evaluator: Address },
    #[error(
        "job {job} had its deadline at height {deadline}, it is {now}; it takes no messages before the queue of deadlines, at most {} a block, has come to it",
        lifecycle::MAX_DUE
    )]
    Late { job: u64, deadline: u64, now: u64 },
    #[error("job {job} was posted again as job {new} already")]
    Reposted { job: u64, new: u64 },
    #[error("{recipient} is no {role} of job {job}; a key is granted only to those")]
    Recipient {
        job: u64,
        recipient: String,
        role: &'static str,
    },
    #[error("{worker} trains this variant of job {job} already")]
    Taken { job: u64, worker: String },
    #[error("root and salt do not open the commitment of {worker} of round {round} of job {job}")]
    NotCommitted { job: u64, round: u32, worker: Address },
}

coded!(JobError, "job", |error| match error {
    JobError::NoJob(_) => 2,
    JobError::Bound { .. } | JobError::Task(_) => 3,
    JobError::State { .. } => 4,
    JobError::NotClient { .. } => 5,
    JobError::NotWorker { .. } => 6,
    JobError::NotEvaluator { .. } => 7,
    JobError::Joined { .. } => 8,
    JobError::Full { .. } => 9,
    JobError::Unfit { .. } => 10,
    JobError::Round { .. } => 11,
    JobError::Phase { .. } => 12,
    JobError::Twice { .. } => 13,
    JobError::Root { .. } => 14,
    JobError::CommittedTwice { .. } => 15,
    JobError::Mismatch { .. } => 16,
    JobError::Signature { .. } => 17,
    JobError::Recipient { .. } => 18,
    JobError::RevealedTwice { .. } => 19,
    JobError::Reposted { .. } => 20,
    JobError::Late { .. } => 21,
    JobError::Taken { .. } => 30,
    JobError::NotCommitted { .. } => 31,
});

/// A state as people read it.
#[must_use]
pub fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Unspecified => "unspecified",
        JobState::Open => "open",
        JobState::Training => "training",
        JobState::Submitted => "submitted",
        JobState::Evaluating => "evaluating",
        JobState::Revealing => "revealing",
        JobState::Settled => "settled",
        JobState::Cancelled => "cancelled",
        JobState::Failed => "failed",
    }
}

/// What a round waits for, as people read it.
#[must_use]
pub fn phase_name(phase: RoundPhase) -> &'static str {
    match phase {
        RoundPhase::Unspecified => "nothing",
        RoundPhase::Keys => "the client's train keys",
        RoundPhase::Train => "traces",
        RoundPhase::Merge => "merged roots",
        RoundPhase::Submit => "the result",
    }
}

/// The job with this number.
///
/// # Errors
/// No such job.
pub fn job(state: &mut State<'_>, id: u64) -> Result<Job, Error> {
    Ok(JOBS.get(state, &id)?.ok_or(JobError::NoJob(id))?)
}

/// The spec of a job.
///
/// # Errors
/// No such job.
pub fn spec(state: &mut State<'_>, id: u64) -> Result<JobSpec, Error> {
    Ok(SPECS.get(state, &id)?.ok_or(JobError::NoJob(id))?)
}

/// The job, which must be in `need`, with its deadline still to come.
fn job_in(ctx: &mut Ctx<'_, '_>, id: u64, need: JobState) -> Result<Job, Error> {
    let job = job(ctx.state, id)?;
    if job.state() != need {
        let (found, need) = (state_name(job.state()), state_name(need));
        return Err(JobError::State { job: id, found, need }.into());
    }
    in_time(&job, ctx.block.height)?;
    Ok(job)
}

/// Refuses what comes at `height`, after the job's deadline. Messages of the deadline's own block are in time: it is handled at
/// that block's end, or, where many jobs are due, in a later one. Without this, whoever makes the queue long would give
/// himself time that others, who kept to the deadline, did not have.
fn in_time(job: &Job, height: u64) -> Result<(), Error> {
    if job.deadline == 0 || height <= job.deadline {
        return Ok(());
    }
    Err(JobError::Late {
        job: job.id,
        deadline: job.deadline,
        now: height,
    }
    .into())
}

/// The round of a job.
fn round(state: &mut State<'_>, id: u64, number: u32) -> Result<Round, Error> {
    ROUNDS
        .get(state, &(id, number))?
        .ok_or_else(|| Error::fatal(format!("job {id} lacks its round {number}")))
}

fn event(kind: &'static str, job: u64) -> Event {
    Event::new(kind).with("job_id", job)
}

fn active(job: &Job) -> impl Iterator<Item = &WorkerState> {
    job.workers.iter().filter(|w| w.active)
}

/// `value × parts / whole`, rounded down; `whole` must not be 0.
fn portion(value: u64, parts: u64, whole: u64) -> Result<u64, Error> {
    let wide = u128::from(value) * u128::from(parts) / u128::from(whole.max(1));
    u64::try_from(wide).map_err(|_| Error::fatal(format!("{value} × {parts} / {whole} overflows")))
}

/// utrain of the budget that the workers, and the evaluators, share.
fn pots(params: &Params, budget: u64) -> Result<(u64, u64), Error> {
    let workers = portion(budget, params.workers_bp.into(), 10_000)?;
    let evaluators = portion(budget, params.evaluators_bp.into(), 10_000)?;
    Ok((workers, evaluators))
}

/// The escrow holds the budgets and stakes of unfinished jobs, no more and no less; every unfinished job has one deadline; the lists
/// agree with the jobs.
///
/// # Errors
/// The sums, when they differ; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    // Wide: a genesis can claim any amounts.
    let mut owed = 0u128;
    let mut deadlines = Vec::new();
    for (id, job) in JOBS.all(state)? {
        let over = matches!(job.state(), JobState::Settled | JobState::Cancelled | JobState::Failed);
        if over {
            let paid: u128 = job
                .payments
                .iter()
                .filter(|p| p.reason != "stake")
                .map(|p| u128::from(p.amount))
                .sum();
            if paid != u128::from(job.budget) {
                return Err(Error::fatal(format!(
                    "job {id} paid {paid}utrain of a budget of {}utrain",
                    job.budget
                )));
            }
        } else {
            if !job.payments.is_empty() {
                return Err(Error::fatal(format!("job {id} has paid and is not over")));
            }
            let stakes = job.workers.iter().map(|w| u128::from(w.stake)).sum::<u128>();
            owed += u128::from(job.budget) + stakes;
            deadlines.push((job.deadline, id));
        }
    }
    let held = bank::balance(state, &Address::of_module(bank::ESCROW))?;
    if u128::from(held) != owed {
        return Err(Error::fatal(format!(
            "escrow holds {held}utrain, jobs are owed {owed}utrain"
        )));
    }
    deadlines.sort_unstable();
    index::invariant(state)?;
    let queued: Vec<_> = DEADLINES.all(state)?.into_iter().map(|(key, _)| key).collect();
    if queued != deadlines {
        return Err(Error::fatal(format!(
            "deadline queue {queued:?}, jobs' deadlines {deadlines:?}"
        )));
    }
    Ok(())
}

update_params!(MsgUpdateParams, MsgUpdateParamsResponse, genesis::check_params, PARAMS);
