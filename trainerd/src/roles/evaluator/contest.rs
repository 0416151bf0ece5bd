//! The evaluator's side of a contest: score every artifact, commit to all of it at once, reveal, keep the winner.

use std::{collections::BTreeMap, sync::Arc};

use color_eyre::eyre::{OptionExt, Result, WrapErr as _, eyre};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use trainyard_modules::job::{contestants, spec_of};
use trainyard_overlay::PeerId;
use trainyard_proto::{
    attest,
    job::{ArtifactScore, Job, JobSpec, MsgCommitEvaluation, MsgRevealEvaluation, WorkerState},
};

use super::Evaluator;
use crate::{
    dataset::Dataset,
    inputs::{Inputs, cid, providers},
    metrics::Metrics,
    roles::Next,
};

/// What was found of all artifacts, kept from before its commitment until its reveal.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Findings {
    salt: String,
    /// By worker.
    found: BTreeMap<String, Finding>,
}

/// What was found of one artifact.
#[derive(Debug, Serialize, Deserialize)]
struct Finding {
    model_sha256: String,
    /// None rejects it.
    metrics: Option<Metrics>,
}

impl Evaluator {
    /// Commits to what it finds of all artifacts, when it has found it.
    pub(super) async fn commit_findings(&self, job: &Job) -> Result<Next> {
        let Some(findings) = self.findings(job).await? else {
            return Ok(Next::Wait("an artifact that is not to be had yet"));
        };
        let digest = attest::findings(job.id, &self.digests(job, &findings)?);
        let salt = hash(&findings.salt)?;
        let message = MsgCommitEvaluation {
            evaluator: self.node.chain.address().to_string(),
            job_id: job.id,
            commitment: attest::commitment(&digest, &salt, &self.node.chain.address()).to_vec(),
        };
        self.node.chain.send(&message).await?;
        Ok(Next::Again)
    }

    /// Reveals what it committed to.
    pub(super) async fn reveal_findings(&self, job: &Job) -> Result<Next> {
        let findings = self
            .kept()?
            .ok_or_eyre("the findings are gone, and with them the salt")?;
        let mut scores = Vec::new();
        for (worker, digest) in contestants(job).zip(self.digests(job, &findings)?) {
            let metrics = findings.found.get(&worker.address).and_then(|f| f.metrics.as_ref());
            scores.push(ArtifactScore {
                worker: worker.address.clone(),
                score_ppm: metrics.map_or(0, Metrics::accuracy_ppm),
                metrics_hash: match metrics {
                    Some(metrics) => metrics.hash()?.to_vec(),
                    None => Vec::new(),
                },
                signature: digest.map_or(Vec::new(), |d| self.node.chain.key().sign_digest(&d).to_vec()),
            });
        }
        let message = MsgRevealEvaluation {
            evaluator: self.node.chain.address().to_string(),
            job_id: job.id,
            salt: hash(&findings.salt)?.to_vec(),
            scores,
            ..MsgRevealEvaluation::default()
        };
        self.node.chain.send(&message).await?;
        Ok(Next::Again)
    }

    /// Pins the artifact that won.
    pub(super) async fn keep_winner(&self, job: &Job) -> Result<()> {
        if let Some(artifact) = &job.artifact {
            let winner = cid(&artifact.model_cid)?;
            self.node.overlay.pin(winner).await.wrap_err("cannot pin the winner")?;
            self.node.announce(winner);
            tracing::info!(job = job.id, cid = artifact.model_cid, "keeps the winning artifact");
        }
        Ok(())
    }

    fn kept(&self) -> Result<Option<Findings>> {
        let bytes = self.files.read(&self.files.path("evaluation.json"))?;
        let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes).wrap_err("evaluation.json is damaged");
        bytes.map(parse).transpose()
    }

    /// Scores what is not scored yet. What cannot be scored by the middle of the window is rejected; `None` before.
    async fn findings(&self, job: &Job) -> Result<Option<Findings>> {
        let mut findings = self.kept()?.unwrap_or_default();
        if findings.salt.is_empty() {
            let mut salt = [0; 32];
            rand::rngs::OsRng.fill_bytes(&mut salt);
            findings.salt = hex::encode(salt);
        }
        let spec = job.spec.clone().ok_or_eyre("the job has no spec")?;
        let peers = providers(&self.node.overlay, &self.node.chain, job).await;
        let workers: Vec<&WorkerState> = contestants(job).collect();
        let window = u64::from(self.node.chain.job_params().await?.commit_blocks) * workers.len() as u64;
        let (mut data, mut whole) = (None, true);
        for worker in workers {
            let model_sha256 = hex::encode(worker.artifact.clone().unwrap_or_default().model_sha256);
            let known = findings.found.get(&worker.address);
            if known.is_some_and(|found| found.model_sha256 == model_sha256) {
                continue;
            }
            let metrics = match self.judge(&spec, worker, &mut data, &peers).await {
                Ok(metrics) => {
                    let accuracy_ppm = metrics.accuracy_ppm();
                    tracing::info!(
                        job = job.id,
                        worker = worker.address,
                        accuracy_ppm,
                        "scored an artifact"
                    );
                    Some(metrics)
                }
                Err(e) => {
                    let (worker, error) = (&worker.address, format!("{e:#}"));
                    if data.is_none() || self.node.chain.latest() + window / 2 < job.deadline {
                        tracing::warn!(job = job.id, worker, error, "an artifact cannot be scored yet");
                        whole = false;
                        continue;
                    }
                    tracing::warn!(job = job.id, worker, error, "an artifact is rejected");
                    None
                }
            };
            findings
                .found
                .insert(worker.address.clone(), Finding { model_sha256, metrics });
            self.files
                .write(&self.files.path("evaluation.json"), &serde_json::to_vec(&findings)?)?;
        }
        Ok(whole.then_some(findings))
    }

    /// Fetches the artifact of a worker and counts what it gets right. The test data is fetched once.
    async fn judge(
        &self,
        spec: &JobSpec,
        worker: &WorkerState,
        data: &mut Option<Arc<Dataset>>,
        peers: &[PeerId],
    ) -> Result<Metrics> {
        let data = match data {
            Some(data) => data.clone(),
            None => data.insert(self.test_data(spec, peers).await?).clone(),
        };
        let inputs = Inputs::fetch(&self.node.overlay, &spec_of(spec, worker), peers).await?;
        let artifact = worker.artifact.clone().unwrap_or_default();
        let weights = self.weights(&artifact, peers).await?;
        self.measure(inputs, weights, data).await
    }

    /// An attestation for each artifact, in their order; none where it is rejected.
    fn digests(&self, job: &Job, findings: &Findings) -> Result<Vec<Option<[u8; 32]>>> {
        let mut digests = Vec::new();
        for worker in contestants(job) {
            let found = findings.found.get(&worker.address);
            let found = found.ok_or_else(|| eyre!("nothing was found of the artifact of {}", worker.address))?;
            digests.push(match &found.metrics {
                Some(metrics) => Some(attest::attestation(
                    self.node.chain.chain_id(),
                    job.id,
                    &hash(&found.model_sha256)?,
                    &metrics.hash()?,
                    metrics.accuracy_ppm(),
                )),
                None => None,
            });
        }
        Ok(digests)
    }
}

fn hash(text: &str) -> Result<[u8; 32]> {
    hex::decode(text)?.try_into().map_err(|_| eyre!("{text:?} is no hash"))
}
