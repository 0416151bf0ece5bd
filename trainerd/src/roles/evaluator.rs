//! The evaluator's side of a job: score the artifact on the test data, commit, reveal.

mod contest;

use std::sync::Arc;

use color_eyre::eyre::{Context, OptionExt, Result, ensure, eyre};
use prost::Message as _;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trainyard_client::data::{Grant, Split, open_key};
use trainyard_exact::{
    Weights, state_root,
    weights_file::{Limits, from_safetensors},
};
use trainyard_modules::job::competes;
use trainyard_overlay::PeerId;
use trainyard_proto::{
    attest,
    job::{Artifact, DataSplit, Job, JobSpec, JobState, MsgCommitEvaluation, MsgRevealEvaluation},
    overlay::{Note, job_message::Body},
};

use super::{Next, Node};
use crate::{
    dataset::{Dataset, fetch_manifest},
    engine,
    files::{JobFiles, MAX_WEIGHTS},
    inputs::{Inputs, cid, providers},
    metrics::Metrics,
};

/// Samples of one forward pass.
const BATCH: usize = 256;

/// An evaluation, kept from before its commitment until its reveal: who loses the salt cannot reveal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Evaluation {
    score_ppm: u32,
    metrics: Metrics,
    model_sha256: String,
    salt: String,
}

/// The evaluator of one job.
pub struct Evaluator {
    node: Node,
    job: u64,
    files: JobFiles,
}

impl Evaluator {
    /// An evaluator of job `job`.
    pub fn new(node: Node, job: u64) -> Result<Self> {
        let files = JobFiles::open(&node.home, job)?;
        Ok(Self { node, job, files })
    }

    /// Does what is due.
    pub async fn advance(&mut self, job: &Job) -> Result<Next> {
        let me = self.node.chain.address().to_string();
        let own = job
            .evaluators
            .iter()
            .find(|e| e.address == me)
            .ok_or_eyre("not drawn for this job")?;
        let contest = job.spec.as_ref().is_some_and(competes);
        match job.state() {
            JobState::Open | JobState::Training => Ok(Next::Wait("the workers' result")),
            JobState::Submitted => Ok(Next::Wait("the client's test keys")),
            JobState::Evaluating if contest && own.commitment.is_empty() => self.commit_findings(job).await,
            JobState::Evaluating if own.commitment.is_empty() => {
                let evaluation = self.evaluation(job).await?;
                let (digest, salt) = self.digest(job, &evaluation)?;
                let commitment = attest::commitment(&digest, &salt, &self.node.chain.address()).to_vec();
                self.node
                    .chain
                    .send(&MsgCommitEvaluation {
                        evaluator: me,
                        job_id: self.job,
                        commitment,
                    })
                    .await?;
                Ok(Next::Again)
            }
            JobState::Evaluating => Ok(Next::Wait("the other evaluators' commitments")),
            JobState::Revealing if contest && own.attestations.is_empty() && !own.commitment.is_empty() => {
                self.reveal_findings(job).await
            }
            JobState::Revealing if !contest && own.attestation.is_none() && !own.commitment.is_empty() => {
                self.reveal(job).await?;
                Ok(Next::Again)
            }
            JobState::Revealing => Ok(Next::Wait("the other evaluators' scores")),
            JobState::Settled if contest => {
                self.keep_winner(job).await?;
                Ok(Next::Over)
            }
            _ => Ok(Next::Over),
        }
    }

    /// The evaluation kept from before, or a new one.
    async fn evaluation(&self, job: &Job) -> Result<Evaluation> {
        let path = self.files.path("evaluation.json");
        let artifact = job.artifact.clone().ok_or_eyre("the job has no artifact")?;
        if let Some(bytes) = self.files.read(&path)? {
            let kept: Evaluation = serde_json::from_slice(&bytes).wrap_err("evaluation.json is damaged")?;
            if kept.model_sha256 == hex::encode(&artifact.model_sha256) {
                return Ok(kept);
            }
        }
        let metrics = self.score(job).await?;
        let mut salt = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut salt);
        let evaluation = Evaluation {
            score_ppm: metrics.accuracy_ppm(),
            metrics,
            model_sha256: hex::encode(&artifact.model_sha256),
            salt: hex::encode(salt),
        };
        self.files.write(&path, &serde_json::to_vec(&evaluation)?)?;
        Ok(evaluation)
    }

    /// Fetches model and test data and counts what the model gets right.
    async fn score(&self, job: &Job) -> Result<Metrics> {
        let node = &self.node;
        let peers = providers(&node.overlay, &node.chain, job).await;
        let spec = job.spec.clone().ok_or_eyre("the job has no spec")?;
        let inputs = Inputs::fetch(&node.overlay, &spec, &peers).await?;
        let artifact = job.artifact.clone().unwrap_or_default();
        let weights = self.weights(&artifact, &peers).await?;
        let model_cid = cid(&artifact.model_cid)?;
        node.overlay.pin(model_cid).await.wrap_err("cannot pin the model")?;
        node.announce(model_cid);
        let data = self.test_data(&spec, &peers).await?;
        let metrics = self.measure(inputs, weights, data).await?;
        tracing::info!(
            job = self.job,
            accuracy_ppm = metrics.accuracy_ppm(),
            "scored the model"
        );
        Ok(metrics)
    }

    /// The weights of an artifact, which must be what the chain says of it.
    async fn weights(&self, artifact: &Artifact, peers: &[PeerId]) -> Result<Weights> {
        let bytes = self
            .node
            .overlay
            .get_bytes(cid(&artifact.model_cid)?, MAX_WEIGHTS, peers)
            .await
            .wrap_err("cannot fetch the model")?;
        let sha256 = Sha256::digest(&bytes);
        ensure!(
            sha256.as_slice() == artifact.model_sha256,
            "the model's SHA-256 is {}, the chain says {}",
            hex::encode(sha256),
            hex::encode(&artifact.model_sha256)
        );
        let weights = from_safetensors(&bytes, &Limits::default())?;
        ensure!(
            state_root(&weights).as_slice() == artifact.state_root,
            "the model's state root is not the chain's"
        );
        Ok(weights)
    }

    /// The job's test data, opened where it is encrypted.
    async fn test_data(&self, spec: &JobSpec, peers: &[PeerId]) -> Result<Arc<Dataset>> {
        let node = &self.node;
        let test = spec.test.clone().ok_or_eyre("the job has no test data")?;
        let manifest = fetch_manifest(&node.overlay, &test, peers)
            .await
            .wrap_err("test data")?;
        let key = if test.encrypted {
            Some(self.test_key().await?)
        } else {
            None
        };
        let data = Dataset::fetch(&node.overlay, manifest, key.as_ref(), peers).await?;
        node.announce(cid(&test.manifest_cid)?);
        Ok(Arc::new(data))
    }

    /// Counts what weights get right, on a thread of its own.
    async fn measure(&self, inputs: Inputs, weights: Weights, data: Arc<Dataset>) -> Result<Metrics> {
        let compute = self.node.config.compute()?;
        tokio::task::spawn_blocking(move || {
            let mut engine = compute.open(&inputs.graph, &inputs.spec)?;
            engine.set_weights(&weights)?;
            evaluate(engine.as_mut(), &data, usize::MAX)
        })
        .await?
    }

    async fn test_key(&self) -> Result<trainyard_client::data::DataKey> {
        let chain = &self.node.chain;
        let sealed = chain
            .grant(self.job, DataSplit::Test)
            .await?
            .ok_or_eyre("no test key was granted")?;
        let recipient = chain.address().to_string();
        let grant = Grant {
            chain_id: chain.chain_id(),
            job: self.job,
            recipient: &recipient,
            split: Split::Test,
        };
        Ok(open_key(&self.node.sealing, &sealed, &grant)?)
    }

    fn digest(&self, job: &Job, evaluation: &Evaluation) -> Result<([u8; 32], [u8; 32])> {
        let model = job.artifact.clone().unwrap_or_default().model_sha256;
        let model = <[u8; 32]>::try_from(model).map_err(|_| eyre!("the artifact's SHA-256 is not 32 bytes"))?;
        let metrics = evaluation.metrics.hash()?;
        let chain_id = self.node.chain.chain_id();
        let digest = attest::attestation(chain_id, self.job, &model, &metrics, evaluation.score_ppm);
        let salt = hex::decode(&evaluation.salt)?
            .try_into()
            .map_err(|_| eyre!("the salt is not 32 bytes"))?;
        Ok((digest, salt))
    }

    async fn reveal(&self, job: &Job) -> Result<()> {
        let evaluation = self.evaluation(job).await?;
        let (digest, salt) = self.digest(job, &evaluation)?;
        let message = MsgRevealEvaluation {
            evaluator: self.node.chain.address().to_string(),
            job_id: self.job,
            score_ppm: evaluation.score_ppm,
            metrics_hash: evaluation.metrics.hash()?.to_vec(),
            model_sha256: hex::decode(&evaluation.model_sha256)?,
            salt: salt.to_vec(),
            signature: self.node.chain.key().sign_digest(&digest).to_vec(),
            ..MsgRevealEvaluation::default()
        };
        self.node.chain.send(&message).await?;
        let text = format!(
            "scored {} of {} test samples right",
            evaluation.metrics.correct, evaluation.metrics.samples
        );
        if let Ok(topic) = self.node.overlay.join(self.job).await {
            let body = self.node.message(self.job, Body::Note(Note { text })).encode_to_vec();
            if let Err(e) = topic.publish(body).await {
                tracing::debug!(error = %e, "nobody listens on the job's topic");
            }
        }
        Ok(())
    }
}

/// Counts, of the first `most` samples, those whose largest logit is their label's; among equal logits the first counts.
pub fn evaluate(engine: &mut dyn engine::Engine, data: &Dataset, most: usize) -> Result<Metrics> {
    let mut metrics = Metrics::new(data.classes());
    let indices: Vec<u32> = (0..u32::try_from(data.len().min(most))?).collect();
    for batch in indices.chunks(BATCH) {
        let (x, y) = data.gather(batch);
        let logits = engine.forward(&x)?;
        let width = logits.len() / y.len();
        ensure!(
            width >= data.classes(),
            "the model has {width} outputs, the data {} classes",
            data.classes()
        );
        for (row, label) in logits.chunks(width).zip(&y) {
            metrics.count(row, usize::try_from(*label)?)?;
        }
    }
    Ok(metrics)
}
