//! What an evaluator sends.

use trainyard_proto::{
    address::Address,
    attest,
    job::{
        Attestation, Job, JobState, MsgCommitEvaluation, MsgCommitEvaluationResponse, MsgRevealEvaluation,
        MsgRevealEvaluationResponse,
    },
};

use super::{JobError, contest, evaluators, event, index::put, job, job_in, lifecycle, spec::check_32, verdict};
use crate::{
    auth,
    context::{Ctx, Handler},
    crypto,
    error::Error,
    gas,
};

/// Position of `evaluator` among those drawn for the job and not dismissed.
fn position(job: &Job, evaluator: Address) -> Result<usize, Error> {
    let address = evaluator.to_string();
    let found = job.evaluators.iter().position(|e| !e.dismissed && e.address == address);
    Ok(found.ok_or(JobError::NotEvaluator { job: job.id, evaluator })?)
}

impl Handler for MsgCommitEvaluation {
    type Response = MsgCommitEvaluationResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.evaluator.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_32("commitment", &self.commitment)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCommitEvaluationResponse, Error> {
        let evaluator = self.signer()?;
        position(&job(ctx.state, self.job_id)?, evaluator)?;
        let mut job = job_in(ctx, self.job_id, JobState::Evaluating)?;
        let at = position(&job, evaluator)?;
        if !job.evaluators[at].commitment.is_empty() {
            return Err(JobError::CommittedTwice { job: job.id, evaluator }.into());
        }
        job.evaluators[at].commitment.clone_from(&self.commitment);
        ctx.emit(event("job_evaluation_committed", job.id).with("evaluator", evaluator));
        lifecycle::after_evaluation_commit(ctx, &mut job)?;
        put(ctx.state, &job)?;
        Ok(MsgCommitEvaluationResponse {})
    }
}

impl Handler for MsgRevealEvaluation {
    type Response = MsgRevealEvaluationResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.evaluator.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_32("salt", &self.salt)?;
        if !self.scores.is_empty() {
            return verdict::check_form(&self.scores);
        }
        if self.score_ppm > 1_000_000 {
            let (found, bound) = (self.score_ppm.to_string(), "0 to 1000000 parts per million".into());
            return Err(JobError::Bound {
                what: "score",
                found,
                bound,
            }
            .into());
        }
        if self.signature.len() != 64 {
            let (found, bound) = (format!("{} bytes", self.signature.len()), "64 bytes".into());
            return Err(JobError::Bound {
                what: "signature",
                found,
                bound,
            }
            .into());
        }
        check_32("metrics hash", &self.metrics_hash)?;
        check_32("model SHA-256", &self.model_sha256)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgRevealEvaluationResponse, Error> {
        let evaluator = self.signer()?;
        position(&job(ctx.state, self.job_id)?, evaluator)?;
        let mut job = job_in(ctx, self.job_id, JobState::Revealing)?;
        let at = position(&job, evaluator)?;
        if evaluators::revealed(&job.evaluators[at]) {
            return Err(JobError::RevealedTwice { job: job.id, evaluator }.into());
        }
        let account = auth::ensure(ctx.state, evaluator)?;
        let invalid = || JobError::Signature {
            job: self.job_id,
            evaluator,
        };
        let public_key = account
            .pub_key
            .as_ref()
            .and_then(crypto::public_key)
            .ok_or_else(invalid)?;
        if contest::is_one(ctx, &job)? {
            let signed = self
                .scores
                .iter()
                .filter(|score| !score.metrics_hash.is_empty())
                .count();
            let verifying = gas::SIGNATURE.saturating_mul(signed as u64);
            ctx.state.gas.charge(verifying, "attestations")?;
            let committed = &job.evaluators[at].commitment;
            let found = verdict::attestations(&ctx.block.chain_id, &job, committed, self, &public_key)?;
            ctx.emit(
                event("job_evaluation_revealed", job.id)
                    .with("evaluator", evaluator)
                    .with("artifacts", found.len()),
            );
            job.evaluators[at].attestations = found;
            lifecycle::after_reveal(ctx, &mut job)?;
            put(ctx.state, &job)?;
            return Ok(MsgRevealEvaluationResponse {});
        }
        let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap_or_default();
        let (model, metrics) = (fixed(&self.model_sha256), fixed(&self.metrics_hash));
        let digest = attest::attestation(&ctx.block.chain_id, job.id, &model, &metrics, self.score_ppm);
        let commitment = attest::commitment(&digest, &fixed(&self.salt), &evaluator);
        if job.evaluators[at].commitment != commitment {
            return Err(JobError::Mismatch { job: job.id, evaluator }.into());
        }
        let expected = job.artifact.clone().unwrap_or_default().model_sha256;
        if expected != self.model_sha256 {
            let (found, expected) = (hex::encode(&self.model_sha256), hex::encode(expected));
            return Err(JobError::Root {
                what: "model SHA-256",
                found,
                expected,
            }
            .into());
        }
        ctx.state.gas.charge(gas::SIGNATURE, "attestation")?;
        if !crypto::verify_digest(&digest, &self.signature, &public_key) {
            return Err(invalid().into());
        }
        job.evaluators[at].attestation = Some(Attestation {
            evaluator: self.evaluator.clone(),
            score_ppm: self.score_ppm,
            metrics_hash: self.metrics_hash.clone(),
            model_sha256: self.model_sha256.clone(),
            signature: self.signature.clone(),
            public_key: public_key.to_vec(),
            ..Attestation::default()
        });
        ctx.emit(
            event("job_evaluation_revealed", job.id)
                .with("evaluator", evaluator)
                .with("score_ppm", self.score_ppm),
        );
        lifecycle::after_reveal(ctx, &mut job)?;
        put(ctx.state, &job)?;
        Ok(MsgRevealEvaluationResponse {})
    }
}
