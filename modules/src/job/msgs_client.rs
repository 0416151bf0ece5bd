//! What a client sends.

use trainyard_proto::{
    address::Address,
    coin::parse_utrain,
    job::{
        DataSplit, Job, JobSpec, JobState, MsgCancelJob, MsgCancelJobResponse, MsgGrantKeys, MsgGrantKeysResponse,
        MsgPostJob, MsgPostJobResponse, RoundPhase,
    },
};

use super::{
    GRANTS, JobError, LAST_ID, PARAMS, SPECS, check_spec, event, in_time,
    index::put,
    job, job_in,
    lifecycle::{self, set_deadline},
    lineage, money, phase_name, settle, state_name,
};
use crate::{
    context::{Ctx, Handler, Value},
    error::Error,
};

/// Longest sealed key, bytes: 32 of encapsulation, 32 of key, 16 of tag, and room for other suites.
const MAX_SEALED: usize = 256;

impl Handler for MsgPostJob {
    type Response = MsgPostJobResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.client.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        let missing = || JobError::Bound {
            what: "spec",
            found: "missing".into(),
            bound: "one".into(),
        };
        self.spec.as_ref().ok_or_else(missing)?;
        if parse_utrain(self.budget.as_ref())? == 0 {
            let (found, bound) = ("0utrain".into(), "more than nothing".into());
            return Err(JobError::Bound {
                what: "budget",
                found,
                bound,
            }
            .into());
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgPostJobResponse, Error> {
        let (spec, budget) = (
            self.spec.clone().unwrap_or_default(),
            parse_utrain(self.budget.as_ref())?,
        );
        let job_id = open(ctx, self.signer()?, spec, budget, 0)?;
        Ok(MsgPostJobResponse { job_id })
    }
}

/// Opens a job and locks its budget; `repost_of` is the job it repeats, or 0. Returns its number.
pub(super) fn open(
    ctx: &mut Ctx<'_, '_>,
    client: Address,
    mut spec: JobSpec,
    budget: u64,
    repost_of: u64,
) -> Result<u64, Error> {
    let params = PARAMS.get(ctx.state)?;
    check_spec(&spec, &params)?;
    lineage::fill_start(ctx.state, &mut spec)?;
    if budget < params.min_budget {
        let (found, bound) = (
            format!("{budget}utrain"),
            format!("at least {}utrain", params.min_budget),
        );
        return Err(JobError::Bound {
            what: "budget",
            found,
            bound,
        }
        .into());
    }
    if !money::covers(&spec, budget, 1) {
        let (found, bound) = (
            format!("{budget}utrain"),
            format!("at least the {}utrain of one round", spec.round_price),
        );
        return Err(JobError::Bound {
            what: "budget",
            found,
            bound,
        }
        .into());
    }
    let posting_fee = money::fund(ctx, client, budget)?;
    let id = LAST_ID.get(ctx.state)? + 1;
    LAST_ID.set(ctx.state, &id)?;
    SPECS.set(ctx.state, &id, &spec)?;
    let mut job = Job {
        id,
        client: client.to_string(),
        state: JobState::Open.into(),
        budget,
        posted_at: ctx.block.height,
        round_root: spec.start_root.clone(),
        posting_fee,
        repost_of,
        ..Job::default()
    };
    set_deadline(ctx, &mut job, spec.deadlines.unwrap_or_default().open)?;
    put(ctx.state, &job)?;
    ctx.emit(
        event("job_posted", id)
            .with("client", client)
            .with("budget", Value::Utrain(budget)),
    );
    Ok(id)
}

/// The job, which must belong to `sender`.
pub(super) fn check_client(job: &Job, sender: Address) -> Result<(), Error> {
    if job.client == sender.to_string() {
        return Ok(());
    }
    Err(JobError::NotClient {
        job: job.id,
        client: job.client.clone(),
        sender,
    }
    .into())
}

impl Handler for MsgCancelJob {
    type Response = MsgCancelJobResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.client.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCancelJobResponse, Error> {
        let found = job(ctx.state, self.job_id)?;
        check_client(&found, self.signer()?)?;
        let mut job = job_in(ctx, self.job_id, JobState::Open)?;
        settle::cancel(ctx, &mut job, "cancelled by its client")?;
        put(ctx.state, &job)?;
        Ok(MsgCancelJobResponse {})
    }
}

impl Handler for MsgGrantKeys {
    type Response = MsgGrantKeysResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.client.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        let bad = |what, found: String, bound: &str| {
            Error::from(JobError::Bound {
                what,
                found,
                bound: bound.into(),
            })
        };
        if !matches!(self.split(), DataSplit::Train | DataSplit::Test) {
            return Err(bad("split", self.split.to_string(), "1 (train) or 2 (test)"));
        }
        if self.grants.is_empty() || self.grants.len() > 256 {
            return Err(bad("number of grants", self.grants.len().to_string(), "1 to 256"));
        }
        for grant in &self.grants {
            grant.recipient.parse::<Address>()?;
            let length = grant.sealed_key.len();
            if length == 0 || length > MAX_SEALED {
                return Err(bad("length of a sealed key", length.to_string(), "1 to 256 bytes"));
            }
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgGrantKeysResponse, Error> {
        let mut job = job(ctx.state, self.job_id)?;
        check_client(&job, self.signer()?)?;
        let train = self.split() == DataSplit::Train;
        let (need, role) = if train {
            (JobState::Training, "active worker")
        } else {
            (JobState::Submitted, "evaluator")
        };
        if job.state() != need {
            let (found, need) = (state_name(job.state()), state_name(need));
            return Err(JobError::State {
                job: job.id,
                found,
                need,
            }
            .into());
        }
        in_time(&job, ctx.block.height)?;
        if train && job.round_phase() != RoundPhase::Keys {
            let (expected, found) = (phase_name(job.round_phase()), phase_name(RoundPhase::Keys));
            return Err(JobError::Phase {
                job: job.id,
                expected,
                found,
            }
            .into());
        }
        for grant in &self.grants {
            let granted = if train {
                job.workers
                    .iter_mut()
                    .find(|w| w.active && w.address == grant.recipient)
                    .map(|w| &mut w.key_granted)
            } else {
                job.evaluators
                    .iter_mut()
                    .find(|e| !e.dismissed && e.address == grant.recipient)
                    .map(|e| &mut e.key_granted)
            };
            let recipient = || JobError::Recipient {
                job: self.job_id,
                recipient: grant.recipient.clone(),
                role,
            };
            *granted.ok_or_else(recipient)? = true;
            let split = u32::try_from(self.split).unwrap_or(0);
            GRANTS.set(ctx.state, &(job.id, split, grant.recipient.parse()?), &grant.sealed_key)?;
        }
        ctx.emit(
            event("job_keys_granted", job.id)
                .with("split", if train { "train" } else { "test" })
                .with("recipients", self.grants.len()),
        );
        lifecycle::after_grant(ctx, &mut job)?;
        put(ctx.state, &job)?;
        Ok(MsgGrantKeysResponse {})
    }
}
