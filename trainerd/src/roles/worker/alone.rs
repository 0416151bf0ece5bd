//! The worker's side of a contest: choose a variant, train it alone, hand in the artifact.

use color_eyre::eyre::{OptionExt, Result, WrapErr as _, ensure};
use sha2::{Digest, Sha256};
use trainyard_exact::{Tensor, Weights, state_root, trace, weights_file::to_safetensors};
use trainyard_modules::job::competes;
use trainyard_proto::{
    attest,
    job::{Artifact, Job, JobSpec, MsgCommitTrace, MsgLeaveJob, MsgSubmitResult, Round, WorkerState},
    registry::VerificationClass,
};

use super::Worker;
use crate::{
    audit::OpenedTrace,
    paradigm::{
        competitive::{end_salt, share},
        federated::Trained,
    },
    roles::Next,
};

impl Worker {
    pub(super) fn competes(&self, job: &Job) -> bool {
        job.spec.as_ref().is_some_and(competes)
    }

    /// What to train in a contest: a free variant of its list, or the own one. Which free one depends on the account, so
    /// that workers who come at the same time do not all want the same.
    pub(super) async fn choose(&self, job: &Job, spec: &JobSpec) -> Result<WorkerState> {
        if spec.variants.is_empty() {
            let own = self.node.config.variant.as_ref();
            let own = own.ok_or_eyre("its workers bring their own variants, and [variant] is not configured")?;
            let exact = spec.verification() == VerificationClass::Exact;
            return Ok(WorkerState {
                variant: Some(own.offer(&self.node.overlay, exact).await?),
                ..WorkerState::default()
            });
        }
        let count = u32::try_from(spec.variants.len())?;
        let free: Vec<u32> = (0..count)
            .filter(|index| job.workers.iter().all(|w| w.variant_index != *index))
            .collect();
        ensure!(!free.is_empty(), "every variant of job {} is taken", job.id);
        let place = usize::from(self.node.chain.address().0[0]);
        Ok(WorkerState {
            variant_index: free[place % free.len()],
            ..WorkerState::default()
        })
    }

    /// Trains a round and commits to its trace and its end; a round that was trained before is only committed to.
    pub(super) async fn commit_alone(&mut self, job: &Job, round: &Round, me: &str) -> Result<Next> {
        let spec = self.inputs(job).await?.spec.clone();
        let start_root = match round.round.checked_sub(1) {
            Some(last) => self.end(last)?.ok_or_eyre("the weights of the last round are gone")?,
            None => spec.start_root.clone(),
        };
        let share = share(&spec, round, &start_root)?;
        if self.end(round.round)?.is_none() {
            let data = self.data(job).await?;
            let start = self.own_weights(job, &start_root).await?;
            let Some(trained) = self.run_round(job, data, share.clone(), start).await? else {
                return Ok(Next::Again);
            };
            let finite = |tensor: &Tensor| tensor.data().iter().all(|value| value.is_finite());
            if !trained.end.values().all(finite) {
                tracing::warn!(
                    job = self.job,
                    round = round.round,
                    "training diverged; leaves the contest"
                );
                let worker = me.to_string();
                let job_id = self.job;
                self.node.chain.send(&MsgLeaveJob { worker, job_id }).await?;
                return Ok(Next::Over);
            }
            self.keep(round.round, &start_root, &trained)?;
        }
        let end = self.end(round.round)?.ok_or_eyre("the round's end is gone")?;
        let opened = self.files.read(&self.files.trace(round.round))?;
        let opened: OpenedTrace = serde_json::from_slice(&opened.ok_or_eyre("the round's trace is gone")?)?;
        let message = MsgCommitTrace {
            worker: me.to_string(),
            job_id: self.job,
            round: round.round,
            start_root,
            start_salt: match round.round.checked_sub(1) {
                Some(last) => end_salt(&self.node.salt_secret, self.job, last).to_vec(),
                None => Vec::new(),
            },
            trace_root: opened.root(self.job, round.round)?.to_vec(),
            samples: share.samples(),
            end_commitment: attest::end_commitment(
                self.job,
                round.round,
                &self.node.chain.address(),
                end.as_slice().try_into().wrap_err("the round's end is no root")?,
                &end_salt(&self.node.salt_secret, self.job, round.round),
            )
            .to_vec(),
            ..MsgCommitTrace::default()
        };
        self.node.chain.send(&message).await?;
        tracing::info!(
            job = self.job,
            round = round.round,
            samples = share.samples(),
            "committed its trace"
        );
        Ok(Next::Again)
    }

    /// Writes down what a round ended with, the root last: from then on the round is not trained again.
    fn keep(&self, round: u32, start_root: &[u8], trained: &Trained) -> Result<()> {
        let root = state_root(&trained.end);
        self.files.write_weights(&self.files.state(&root), &trained.end)?;
        let count = u32::try_from(trained.states.len())?;
        let salts = trace::salts(&self.node.salt_secret, self.job, round, count);
        let opened = serde_json::to_vec(&OpenedTrace::new(&trained.states, &salts))?;
        self.files.write(&self.files.trace(round), &opened)?;
        self.files.write(&self.files.end(round), hex::encode(root).as_bytes())?;
        self.files.forget(&[start_root, &root], round)
    }

    /// The root of the weights that a round ended with.
    fn end(&self, round: u32) -> Result<Option<Vec<u8>>> {
        let text = self.files.read(&self.files.end(round))?;
        text.map(|text| Ok(hex::decode(text)?)).transpose()
    }

    /// The weights with a root: from the job's folder, or the variant's start. Nobody else has them.
    async fn own_weights(&mut self, job: &Job, root: &[u8]) -> Result<Weights> {
        let kept = self.files.read_weights(&self.files.state(root))?;
        if let Some(weights) = kept.filter(|weights| state_root(weights).as_slice() == root) {
            return Ok(weights);
        }
        let inputs = self.inputs(job).await?;
        ensure!(
            inputs.spec.start_root == root,
            "the weights {} are gone",
            hex::encode(root)
        );
        Ok(inputs.start.clone())
    }

    /// Hands in the weights of the last round, and opens the commitment to them.
    pub(super) async fn submit_alone(&mut self, job: &Job, me: &str) -> Result<Next> {
        let root = self
            .end(job.round)?
            .ok_or_eyre("the weights of the last round are gone")?;
        let bytes = to_safetensors(&self.own_weights(job, &root).await?)?;
        let model_sha256 = Sha256::digest(&bytes).to_vec();
        let added = self.node.overlay.add_bytes(bytes).await?;
        self.node.announce(added.cid);
        let message = MsgSubmitResult {
            worker: me.to_string(),
            job_id: self.job,
            artifact: Some(Artifact {
                model_cid: added.cid.to_string(),
                model_sha256,
                state_root: root,
            }),
            salt: end_salt(&self.node.salt_secret, self.job, job.round).to_vec(),
        };
        self.node.chain.send(&message).await?;
        tracing::info!(job = self.job, model_cid = %added.cid, "submitted its artifact");
        Ok(Next::Again)
    }
}
