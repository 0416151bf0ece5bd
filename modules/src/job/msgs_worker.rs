//! What a worker sends.

use trainyard_proto::{
    address::Address,
    capability::MAX_RECORD,
    job::{
        Job, JobState, MsgCommitTrace, MsgCommitTraceResponse, MsgJoinJob, MsgJoinJobResponse, MsgLeaveJob,
        MsgLeaveJobResponse, MsgRoundResult, MsgRoundResultResponse, MsgSubmitResult, MsgSubmitResultResponse,
        RoundPhase, RoundVote, Submission, TraceCommit, WorkerState,
    },
    prost::Message,
};

use super::{
    COMMIT_LOG, JobError, LOG_COMMITS, LOG_UNITS, PARAMS, ROUNDS, competes, contest, event, in_time,
    index::put,
    job, job_in, lifecycle, matching, money, phase_name, round, spec,
    spec::{check_32, check_cid},
    spec_of, state_name,
    variants::{self, most_samples},
};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Handler, Value},
    error::Error,
    registry,
};

impl Handler for MsgJoinJob {
    type Response = MsgJoinJobResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.worker.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        if self.capability.len() <= MAX_RECORD {
            return Ok(());
        }
        Err(JobError::Bound {
            what: "length of the capability record",
            found: format!("{} bytes", self.capability.len()),
            bound: format!("at most {MAX_RECORD} bytes"),
        }
        .into())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgJoinJobResponse, Error> {
        let worker = self.signer()?;
        let mut job = job_in(ctx, self.job_id, JobState::Open)?;
        let spec = spec(ctx.state, job.id)?;
        matching::check(ctx.state, ctx.block.height, &job, &spec, worker, &self.capability)?;
        let (variant_index, variant) = variants::entry(&job, &spec, self)?;
        let stake = money::stake(&spec, &PARAMS.get(ctx.state)?, job.budget)?;
        transfer(ctx, worker, Address::of_module(bank::ESCROW), stake)?;
        registry::engage(ctx.state, &worker)?;
        job.workers.push(WorkerState {
            address: self.worker.clone(),
            stake,
            active: true,
            variant_index,
            variant,
            ..WorkerState::default()
        });
        let mut joined = event("job_joined", job.id)
            .with("worker", worker)
            .with("stake", Value::Utrain(stake));
        if let Some(variant) = job.workers.last().and_then(|own| variants::variant_of(&spec, own)) {
            joined = joined.with("variant", variants::name_of(variant, variant_index));
        }
        ctx.emit(joined);
        let places = spec.requirements.map_or(0, |r| r.max_workers);
        if job.workers.len() as u64 == u64::from(places) {
            lifecycle::start(ctx, &mut job)?;
        }
        put(ctx.state, &job)?;
        Ok(MsgJoinJobResponse { stake })
    }
}

impl Handler for MsgLeaveJob {
    type Response = MsgLeaveJobResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.worker.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgLeaveJobResponse, Error> {
        let worker = self.signer()?;
        let mut job = job(ctx.state, self.job_id)?;
        let position = active_position(&job, worker)?;
        if matches!(job.state(), JobState::Open | JobState::Training) {
            in_time(&job, ctx.block.height)?;
        }
        match job.state() {
            JobState::Open => {
                let left = job.workers.remove(position);
                transfer(ctx, Address::of_module(bank::ESCROW), worker, left.stake)?;
                registry::disengage(ctx.state, &worker)?;
            }
            JobState::Training => {
                job.workers[position].active = false;
                job.workers[position].gone = "it left".into();
                lifecycle::after_drop(ctx, &mut job)?;
            }
            state => {
                let need = "open or training";
                return Err(JobError::State {
                    job: job.id,
                    found: state_name(state),
                    need,
                }
                .into());
            }
        }
        ctx.emit(event("job_left", job.id).with("worker", worker));
        put(ctx.state, &job)?;
        Ok(MsgLeaveJobResponse {})
    }
}

fn active_position(job: &Job, worker: Address) -> Result<usize, Error> {
    let address = worker.to_string();
    let found = job.workers.iter().position(|w| w.active && w.address == address);
    Ok(found.ok_or(JobError::NotWorker { job: job.id, worker })?)
}

/// The job, which must be training and wait for `phase`, with `worker` an active worker of it.
fn working(ctx: &mut Ctx<'_, '_>, id: u64, worker: Address, phase: RoundPhase) -> Result<Job, Error> {
    let found = job(ctx.state, id)?;
    active_position(&found, worker)?;
    let job = job_in(ctx, id, JobState::Training)?;
    if job.round_phase() != phase {
        let (expected, found) = (phase_name(job.round_phase()), phase_name(phase));
        return Err(JobError::Phase {
            job: id,
            expected,
            found,
        }
        .into());
    }
    Ok(job)
}

fn check_round(job: &Job, found: u32) -> Result<(), Error> {
    if job.round == found {
        Ok(())
    } else {
        Err(JobError::Round {
            job: job.id,
            expected: job.round,
            found,
        }
        .into())
    }
}

pub(super) fn check_root(what: &'static str, found: &[u8], expected: &[u8]) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(JobError::Root {
        what,
        found: hex::encode(found),
        expected: hex::encode(expected),
    }
    .into())
}

impl Handler for MsgCommitTrace {
    type Response = MsgCommitTraceResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.worker.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_32("start root", &self.start_root)?;
        check_32("trace root", &self.trace_root)?;
        contest::check_form(self)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCommitTraceResponse, Error> {
        let worker = self.signer()?;
        let mut job = working(ctx, self.job_id, worker, RoundPhase::Train)?;
        check_round(&job, self.round)?;
        let place = active_position(&job, worker)?;
        let spec = spec(ctx.state, job.id)?;
        if competes(&spec) {
            contest::check_start(&spec, &job, &job.workers[place], self)?;
        } else {
            check_32("delta root", &self.delta_root)?;
            check_root("start root", &self.start_root, &job.round_root)?;
        }
        let spec = spec_of(&spec, &job.workers[place]);
        let most = most_samples(&spec.task.unwrap_or_default());
        if self.samples == 0 || self.samples > most {
            let (found, bound) = (self.samples.to_string(), format!("1 to {most}"));
            return Err(JobError::Bound {
                what: "number of samples",
                found,
                bound,
            }
            .into());
        }
        let mut round = round(ctx.state, job.id, job.round)?;
        if round.commits.iter().any(|c| c.worker == self.worker) {
            return Err(JobError::Twice {
                job: job.id,
                round: job.round,
                worker,
                what: "trace",
            }
            .into());
        }
        round.commits.push(TraceCommit {
            worker: self.worker.clone(),
            start_root: self.start_root.clone(),
            trace_root: self.trace_root.clone(),
            delta_root: self.delta_root.clone(),
            delta_cid: self.delta_cid.clone(),
            samples: self.samples,
            height: ctx.block.height,
            end_commitment: self.end_commitment.clone(),
        });
        job.workers[place].end_commitment.clone_from(&self.end_commitment);
        ROUNDS.set(ctx.state, &(job.id, job.round), &round)?;
        let logged = LOG_COMMITS.get(ctx.state)?;
        COMMIT_LOG.set(ctx.state, &logged, &self.encode_to_vec())?;
        LOG_COMMITS.set(ctx.state, &(logged + 1))?;
        let units = LOG_UNITS
            .get(ctx.state)?
            .saturating_add(spec.macs_per_sample.saturating_mul(self.samples));
        LOG_UNITS.set(ctx.state, &units)?;
        ctx.emit(
            event("job_trace_committed", job.id)
                .with("round", job.round)
                .with("worker", worker)
                .with("samples", self.samples)
                .with("delta_cid", &self.delta_cid),
        );
        lifecycle::after_commit(ctx, &mut job, &round)?;
        put(ctx.state, &job)?;
        Ok(MsgCommitTraceResponse {})
    }
}

fn check_ppm(found: u32, most: u32, bound: &str) -> Result<(), Error> {
    if found <= most {
        return Ok(());
    }
    Err(JobError::Bound {
        what: "score",
        found: found.to_string(),
        bound: bound.into(),
    }
    .into())
}

impl Handler for MsgRoundResult {
    type Response = MsgRoundResultResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.worker.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_32("end root", &self.end_root)?;
        check_ppm(self.score_ppm, 1_000_000, "0 to 1000000 parts per million")
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgRoundResultResponse, Error> {
        let worker = self.signer()?;
        let mut job = working(ctx, self.job_id, worker, RoundPhase::Merge)?;
        check_round(&job, self.round)?;
        if spec(ctx.state, job.id)?.target_ppm == 0 {
            check_ppm(self.score_ppm, 0, "0: the job has no target")?;
        }
        let mut round = round(ctx.state, job.id, job.round)?;
        if round.votes.iter().any(|v| v.worker == self.worker) {
            return Err(JobError::Twice {
                job: job.id,
                round: job.round,
                worker,
                what: "merged root",
            }
            .into());
        }
        round.votes.push(RoundVote {
            worker: self.worker.clone(),
            end_root: self.end_root.clone(),
            score_ppm: self.score_ppm,
        });
        ROUNDS.set(ctx.state, &(job.id, job.round), &round)?;
        ctx.emit(
            event("job_round_result", job.id)
                .with("round", job.round)
                .with("worker", worker)
                .with("end_root", hex::encode(&self.end_root))
                .with("score_ppm", self.score_ppm),
        );
        lifecycle::after_vote(ctx, &mut job, round)?;
        put(ctx.state, &job)?;
        Ok(MsgRoundResultResponse {})
    }
}

impl Handler for MsgSubmitResult {
    type Response = MsgSubmitResultResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.worker.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        let artifact = self.artifact.clone().unwrap_or_default();
        check_cid("model CID", &artifact.model_cid)?;
        check_32("model SHA-256", &artifact.model_sha256)?;
        check_32("state root", &artifact.state_root)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgSubmitResultResponse, Error> {
        let worker = self.signer()?;
        let mut job = working(ctx, self.job_id, worker, RoundPhase::Submit)?;
        let artifact = self.artifact.clone().unwrap_or_default();
        if contest::is_one(ctx, &job)? {
            let own = &job.workers[active_position(&job, worker)?];
            contest::opens(&job, job.round, own, &artifact.state_root, &self.salt)?;
        } else {
            check_root("state root", &artifact.state_root, &job.round_root)?;
        }
        let mut round = round(ctx.state, job.id, job.round)?;
        if round.submissions.iter().any(|s| s.worker == self.worker) {
            return Err(JobError::Twice {
                job: job.id,
                round: job.round,
                worker,
                what: "result",
            }
            .into());
        }
        ctx.emit(
            event("job_result_submitted", job.id)
                .with("worker", worker)
                .with("model_cid", &artifact.model_cid),
        );
        round.submissions.push(Submission {
            worker: self.worker.clone(),
            artifact: Some(artifact),
        });
        ROUNDS.set(ctx.state, &(job.id, job.round), &round)?;
        lifecycle::after_submission(ctx, &mut job, &round)?;
        put(ctx.state, &job)?;
        Ok(MsgSubmitResultResponse {})
    }
}
