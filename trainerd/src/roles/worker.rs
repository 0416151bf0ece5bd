//! The worker's side of a job: join, train rounds, merge, submit.

mod alone;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use color_eyre::eyre::{Context, OptionExt, Result, bail, ensure, eyre};
use prost::Message as _;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use trainyard_client::data::{Grant, Split, open_key};
use trainyard_exact::{
    Weights, state_root, trace,
    weights_file::{Limits, from_safetensors, to_safetensors},
};
use trainyard_modules::job::{TARGET_SAMPLES, competes, misfit, needs_record, spec_of};
use trainyard_overlay::PeerId;
use trainyard_proto::{
    job::{
        Artifact, DataSplit, Job, JobState, MsgCommitTrace, MsgJoinJob, MsgRoundResult, MsgSubmitResult, Round,
        RoundPhase, TraceCommit, WorkerState,
    },
    overlay::{Progress, job_message::Body},
};

use super::{Next, Node, evaluator::evaluate};
use crate::{
    audit::OpenedTrace,
    dataset::Dataset,
    files::{JobFiles, MAX_WEIGHTS},
    inputs::{Inputs, cid, providers},
    paradigm::{
        delta::{Delta, merge},
        federated::{self, Report, Share, Trained},
    },
    serve::{delta_key, state_key},
};

/// Reports and messages that wait for their reader.
const BUFFER: usize = 64;

/// The worker of one job.
pub struct Worker {
    node: Node,
    job: u64,
    files: JobFiles,
    /// In a contest, of this worker's own variant.
    inputs: Option<Arc<Inputs>>,
    data: Option<Arc<Dataset>>,
    topic: Option<mpsc::Sender<Vec<u8>>>,
}

impl Worker {
    /// A worker of job `job`.
    pub fn new(node: Node, job: u64) -> Result<Self> {
        let files = JobFiles::open(&node.home, job)?;
        Ok(Self {
            node,
            job,
            files,
            inputs: None,
            data: None,
            topic: None,
        })
    }

    /// Checks an open job and volunteers for it.
    ///
    /// # Errors
    /// Why the job is not taken.
    pub async fn join(&mut self, job: &Job) -> Result<()> {
        let spec = job.spec.clone().ok_or_eyre("the job has no spec")?;
        let requirements = spec.requirements.clone().unwrap_or_default();
        let subnets = &self.node.config.subnets;
        ensure!(
            subnets.is_empty() || subnets.contains(&requirements.subnet),
            "the job's subnet tag is {:?}, this node takes {subnets:?}",
            requirements.subnet
        );
        let worker = self.node.chain.address().to_string();
        let node = self.node.chain.node(&worker).await?;
        let node = node.ok_or_eyre("this node is not registered")?;
        if let Some(reason) = misfit(job, &spec, &node, &self.node.capability) {
            bail!("this node does not fit: {reason}");
        }
        let entry = if competes(&spec) {
            self.choose(job, &spec).await?
        } else {
            WorkerState::default()
        };
        let peers = providers(&self.node.overlay, &self.node.chain, job).await;
        let inputs = Inputs::fetch(&self.node.overlay, &spec_of(&spec, &entry), &peers).await?;
        // The engine says now, before any money moves, what it cannot run.
        self.node.config.compute()?.open(&inputs.graph, &inputs.spec)?;
        let capability = if needs_record(&requirements) {
            self.node.capability.to_vec()
        } else {
            Vec::new()
        };
        let message = MsgJoinJob {
            worker,
            job_id: self.job,
            capability,
            variant_index: entry.variant_index,
            variant: entry.variant,
        };
        self.node.chain.send(&message).await?;
        self.inputs = Some(Arc::new(inputs));
        tracing::info!(job = self.job, variant = entry.variant_index, "joined");
        Ok(())
    }

    /// Does what is due.
    pub async fn advance(&mut self, job: &Job) -> Result<Next> {
        let me = self.node.chain.address().to_string();
        let own = job.workers.iter().find(|w| w.address == me);
        match (job.state(), own) {
            (JobState::Open, None) => {
                self.join(job).await?;
                Ok(Next::Again)
            }
            (JobState::Open, Some(_)) => Ok(Next::Wait("more workers")),
            (JobState::Training, Some(own)) if own.active => self.train(job, &me).await,
            (JobState::Submitted | JobState::Evaluating | JobState::Revealing, Some(_)) => {
                Ok(Next::Wait("the evaluation"))
            }
            _ => Ok(Next::Over),
        }
    }

    async fn train(&mut self, job: &Job, me: &str) -> Result<Next> {
        if self.topic.is_none() {
            self.topic = Some(self.join_topic().await?);
        }
        if job.round_phase() == RoundPhase::Keys {
            // The inputs may be fetched while the client grants.
            self.inputs(job).await?;
            return Ok(Next::Wait("the client's train keys"));
        }
        let round = self.node.chain.round(self.job, job.round).await?;
        match job.round_phase() {
            RoundPhase::Train if round.commits.iter().any(|c| c.worker == me) => {
                Ok(Next::Wait("the other workers' traces"))
            }
            RoundPhase::Train if self.competes(job) => self.commit_alone(job, &round, me).await,
            RoundPhase::Train => self.commit_round(job, &round, me).await,
            RoundPhase::Merge if round.votes.iter().any(|v| v.worker == me) => {
                Ok(Next::Wait("the other workers' merged roots"))
            }
            RoundPhase::Merge => self.merge_round(job, &round, me).await,
            RoundPhase::Submit if round.submissions.iter().any(|s| s.worker == me) => {
                Ok(Next::Wait("the other workers' results"))
            }
            RoundPhase::Submit if self.competes(job) => self.submit_alone(job, me).await,
            RoundPhase::Submit => self.submit(job, me).await,
            _ => Ok(Next::Wait("the next phase")),
        }
    }

    async fn inputs(&mut self, job: &Job) -> Result<Arc<Inputs>> {
        if let Some(inputs) = &self.inputs {
            return Ok(inputs.clone());
        }
        let peers = providers(&self.node.overlay, &self.node.chain, job).await;
        let spec = job.spec.clone().ok_or_eyre("the job has no spec")?;
        let me = self.node.chain.address().to_string();
        let own = job
            .workers
            .iter()
            .find(|w| w.address == me)
            .cloned()
            .unwrap_or_default();
        let inputs = Arc::new(Inputs::fetch(&self.node.overlay, &spec_of(&spec, &own), &peers).await?);
        self.inputs = Some(inputs.clone());
        Ok(inputs)
    }

    async fn data(&mut self, job: &Job) -> Result<Arc<Dataset>> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let inputs = self.inputs(job).await?;
        let encrypted = inputs.spec.train.as_ref().is_some_and(|t| t.encrypted);
        let chain = &self.node.chain;
        let key = if encrypted {
            let sealed = chain
                .grant(self.job, DataSplit::Train)
                .await?
                .ok_or_eyre("no train key was granted")?;
            let recipient = chain.address().to_string();
            let grant = Grant {
                chain_id: chain.chain_id(),
                job: self.job,
                recipient: &recipient,
                split: Split::Train,
            };
            Some(open_key(&self.node.sealing, &sealed, &grant)?)
        } else {
            None
        };
        let peers = providers(&self.node.overlay, chain, job).await;
        let data = Arc::new(Dataset::fetch(&self.node.overlay, inputs.train.clone(), key.as_ref(), &peers).await?);
        tracing::info!(job = self.job, samples = data.len(), "the training data is here");
        if let Some(train) = &inputs.spec.train {
            self.node.announce(cid(&train.manifest_cid)?);
        }
        self.data = Some(data.clone());
        Ok(data)
    }

    /// The weights with a root: from the job's folder, from the job's start, or from another worker.
    async fn weights(&mut self, job: &Job, root: &[u8]) -> Result<Weights> {
        let path = self.files.state(root);
        if let Some(weights) = self.files.read_weights(&path)?
            && state_root(&weights).as_slice() == root
        {
            return Ok(weights);
        }
        let inputs = self.inputs(job).await?;
        if inputs.spec.start_root == root {
            return Ok(inputs.start.clone());
        }
        let key = state_key(self.job, root);
        for peer in providers(&self.node.overlay, &self.node.chain, job).await {
            match self.fetch_state(peer, &key, root).await {
                Ok(weights) => {
                    self.files.write_weights(&path, &weights)?;
                    tracing::info!(job = self.job, %peer, "caught up with the round's start weights");
                    return Ok(weights);
                }
                Err(e) => tracing::debug!(%peer, error = %e, "no start weights from this peer"),
            }
        }
        Err(eyre!(
            "no worker of the job serves the round's start weights {}",
            hex::encode(root)
        ))
    }

    async fn fetch_state(&self, peer: PeerId, key: &str, root: &[u8]) -> Result<Weights> {
        let bytes = self.node.overlay.fetch_stream(peer, key, MAX_WEIGHTS).await?;
        let weights = from_safetensors(&bytes, &Limits::default())?;
        let found = state_root(&weights);
        ensure!(
            found.as_slice() == root,
            "the tensors' root is {}, expected {}",
            hex::encode(found),
            hex::encode(root)
        );
        Ok(weights)
    }

    async fn commit_round(&mut self, job: &Job, round: &Round, me: &str) -> Result<Next> {
        let data = self.data(job).await?;
        let start = self.weights(job, &job.round_root).await?;
        let spec = self.inputs(job).await?.spec.clone();
        let share = Share::of(&spec, round, me)?;
        let Some(trained) = self.run_round(job, data, share.clone(), start.clone()).await? else {
            return Ok(Next::Again);
        };
        let carried = self.files.carried(round.round)?;
        let (delta, error) = Delta::new(&spec, &start, &trained.end, carried.as_ref())
            .wrap_err("training diverged; the trace is not committed")?;
        if let Some(error) = error {
            self.files.write_weights(&self.files.error(round.round), &error)?;
        }
        let bytes = delta.to_bytes()?;
        self.files.write(&self.files.delta(round.round), &bytes)?;
        let delta_bytes = bytes.len();
        let added = self.node.overlay.add_bytes(bytes).await?;
        self.node.announce(added.cid);
        let count = u32::try_from(trained.states.len())?;
        let salts = trace::salts(&self.node.salt_secret, self.job, round.round, count);
        let opened = serde_json::to_vec(&OpenedTrace::new(&trained.states, &salts))?;
        self.files.write(&self.files.trace(round.round), &opened)?;
        let message = MsgCommitTrace {
            worker: me.to_string(),
            job_id: self.job,
            round: round.round,
            start_root: job.round_root.clone(),
            trace_root: trace::trace_root(self.job, round.round, &trained.states, &salts)?.to_vec(),
            delta_root: delta.root().to_vec(),
            delta_cid: added.cid.to_string(),
            samples: share.samples(),
            ..MsgCommitTrace::default()
        };
        self.node.chain.send(&message).await?;
        tracing::info!(
            job = self.job,
            round = round.round,
            samples = share.samples(),
            delta_bytes,
            "committed its trace"
        );
        Ok(Next::Again)
    }

    /// Trains on a thread of its own while the chain is watched: a round that was closed without us is given up.
    async fn run_round(
        &mut self,
        job: &Job,
        data: Arc<Dataset>,
        share: Share,
        start: Weights,
    ) -> Result<Option<Trained>> {
        let inputs = self.inputs(job).await?;
        let (compute, every) = (self.node.config.compute()?, self.node.config.checkpoint_steps);
        let (files, stop) = (self.files.clone(), Arc::new(AtomicBool::new(false)));
        let (sender, mut reports) = mpsc::channel(BUFFER);
        let (round, steps, stopped) = (share.round, share.steps, stop.clone());
        let mut training = tokio::task::spawn_blocking(move || -> Result<Option<Trained>> {
            let mut engine = compute.open(&inputs.graph, &inputs.spec)?;
            // A report that finds no room is dropped: progress is for people.
            let mut report = |report| _ = sender.try_send(report);
            federated::train(
                engine.as_mut(),
                &data,
                &share,
                &start,
                &files,
                every,
                &stopped,
                &mut report,
            )
        });
        let mut chain = self.node.chain.clone();
        loop {
            tokio::select! {
                done = &mut training => return done?,
                Some(report) = reports.recv() => self.tell(round, steps, report),
                block = chain.next_block() => {
                    let closed = match block {
                        Ok(_) => chain.job(self.job).await.is_ok_and(|now| {
                            now.state() != JobState::Training || now.round != round || now.round_phase() != RoundPhase::Train
                        }),
                        Err(_) => true,
                    };
                    if closed {
                        stop.store(true, Ordering::Relaxed);
                        return training.await?;
                    }
                }
            }
        }
    }

    async fn merge_round(&mut self, job: &Job, round: &Round, me: &str) -> Result<Next> {
        let start = self.weights(job, &round.start_root).await?;
        let half = u64::from(self.inputs(job).await?.spec.deadlines.unwrap_or_default().round / 2);
        let mut deltas = Vec::new();
        // In the order of the round's workers, on every worker the same.
        for commit in round
            .workers
            .iter()
            .filter_map(|w| round.commits.iter().find(|c| c.worker == *w))
        {
            match self.fetch_delta(job, round, commit, me, &start).await {
                Ok(delta) => match merge(&start, &[(commit.samples, delta.clone())]) {
                    Ok(_) => deltas.push((commit.samples, delta)),
                    // What its root commits to cannot be merged, for nobody: all leave it out.
                    Err(e) => tracing::warn!(worker = commit.worker, error = %e, "a delta is left out"),
                },
                Err(e) => {
                    let now = self.node.chain.latest();
                    if now + half < job.deadline {
                        tracing::warn!(worker = commit.worker, error = %e, "a delta is not to be had yet");
                        return Ok(Next::Wait("a worker's delta"));
                    }
                    tracing::warn!(worker = commit.worker, error = %e, "a delta was withheld and is left out");
                }
            }
        }
        ensure!(!deltas.is_empty(), "no delta of round {} can be merged", round.round);
        let merged = tokio::task::spawn_blocking(move || merge(&start, &deltas)).await??;
        let root = state_root(&merged).to_vec();
        self.files.write_weights(&self.files.state(&root), &merged)?;
        self.files.forget(&[&round.start_root, &root], round.round)?;
        let score_ppm = self.measure(job, merged).await?;
        let message = MsgRoundResult {
            worker: me.to_string(),
            job_id: self.job,
            round: round.round,
            end_root: root.clone(),
            score_ppm,
        };
        self.node.chain.send(&message).await?;
        tracing::info!(
            job = self.job,
            round = round.round,
            root = hex::encode(&root),
            score_ppm,
            "merged"
        );
        Ok(Next::Again)
    }

    /// The metric of merged weights on the first samples of the training data, parts per million; 0 where the job has no
    /// target.
    async fn measure(&mut self, job: &Job, weights: Weights) -> Result<u32> {
        let inputs = self.inputs(job).await?;
        if inputs.spec.target_ppm == 0 {
            return Ok(0);
        }
        let data = self.data(job).await?;
        let compute = self.node.config.compute()?;
        let measured = tokio::task::spawn_blocking(move || {
            let mut engine = compute.open(&inputs.graph, &inputs.spec)?;
            engine.set_weights(&weights)?;
            evaluate(engine.as_mut(), &data, TARGET_SAMPLES)
        });
        Ok(measured.await??.accuracy_ppm())
    }

    /// A worker's delta: our own from the folder, another's over a direct stream, or from whoever has its blocks.
    async fn fetch_delta(
        &mut self,
        job: &Job,
        round: &Round,
        commit: &TraceCommit,
        me: &str,
        start: &Weights,
    ) -> Result<Delta> {
        let inputs = self.inputs(job).await?;
        let checked = |bytes: &[u8]| Delta::from_bytes(&inputs.spec, start, bytes, &commit.delta_root);
        if commit.worker == me
            && let Some(bytes) = self.files.read(&self.files.delta(round.round))?
        {
            return checked(&bytes);
        }
        let peer = self.node.chain.peer_of(&commit.worker).await?;
        let key = delta_key(self.job, round.round);
        let overlay = &self.node.overlay;
        let streamed = overlay.fetch_stream(peer, &key, MAX_WEIGHTS).await;
        match streamed.map_err(Into::into).and_then(|bytes| checked(&bytes)) {
            Ok(delta) => Ok(delta),
            Err(e) => {
                tracing::debug!(%peer, error = %e, "no delta by stream, asking for its blocks");
                let peers = providers(overlay, &self.node.chain, job).await;
                let bytes = overlay.get_bytes(cid(&commit.delta_cid)?, MAX_WEIGHTS, &peers).await?;
                checked(&bytes)
            }
        }
    }

    async fn submit(&mut self, job: &Job, me: &str) -> Result<Next> {
        let weights = self.weights(job, &job.round_root).await?;
        let bytes = to_safetensors(&weights)?;
        let model_sha256 = Sha256::digest(&bytes).to_vec();
        let added = self.node.overlay.add_bytes(bytes).await?;
        self.node.announce(added.cid);
        let artifact = Artifact {
            model_cid: added.cid.to_string(),
            model_sha256,
            state_root: job.round_root.clone(),
        };
        let message = MsgSubmitResult {
            worker: me.to_string(),
            job_id: self.job,
            artifact: Some(artifact),
            ..MsgSubmitResult::default()
        };
        self.node.chain.send(&message).await?;
        let traffic = self.node.overlay.bytes_transferred();
        tracing::info!(job = self.job, model_cid = %added.cid, ?traffic, "submitted the result");
        Ok(Next::Again)
    }

    fn tell(&self, round: u32, steps: u32, report: Report) {
        let Report {
            step,
            loss,
            samples_per_second,
        } = report;
        tracing::info!(job = self.job, round, step, steps, loss, samples_per_second, "progress");
        let body = Body::Progress(Progress {
            round,
            step,
            steps,
            loss,
            samples_per_second,
        });
        if let Some(topic) = &self.topic {
            // As with reports: progress that finds no room is dropped.
            let _ = topic.try_send(self.node.message(self.job, body).encode_to_vec());
        }
    }

    /// Joins the job's topic; what is sent into the channel is published there.
    async fn join_topic(&self) -> Result<mpsc::Sender<Vec<u8>>> {
        let mut topic = self
            .node
            .overlay
            .join(self.job)
            .await
            .wrap_err("cannot join the job's topic")?;
        let (sender, mut outgoing) = mpsc::channel::<Vec<u8>>(BUFFER);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    bytes = outgoing.recv() => match bytes {
                        Some(bytes) => if let Err(e) = topic.publish(bytes).await {
                            tracing::debug!(error = %e, "nobody listens on the job's topic");
                        },
                        None => break,
                    },
                    message = topic.next() => match message {
                        Some(message) => tracing::trace!(peer = %message.peer, bytes = message.bytes.len(), "topic"),
                        None => break,
                    },
                }
            }
        });
        Ok(sender)
    }
}
