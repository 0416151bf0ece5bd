//! The daemon: joins mesh and chain, registers itself, and gives every job that concerns it a task of its own.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use color_eyre::eyre::{Context, Result};
use prost::Message as _;
use tokio::task::JoinHandle;
use trainyard_overlay::{Config as OverlayConfig, Overlay};
use trainyard_proto::{
    job::{Job, JobState},
    registry::Role,
};

use crate::{
    chain::Chain,
    config::Config,
    identity::Identity,
    registration,
    roles::{Next, Node, evaluator::Evaluator, worker::Worker},
    serve::Server,
    upkeep::Upkeep,
};

/// A wait that is longer is told of.
const STUCK: Duration = Duration::from_secs(60);
/// Attempts to join a job that failed, before it is left alone.
const ATTEMPTS: u32 = 5;
/// Blocks between two announcements of the capability record.
const ANNOUNCE_BLOCKS: u64 = 100;

/// Runs until `stop` is done.
pub async fn run(home: &Path, config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    config.check()?;
    let identity = Identity::load_or_create(home, &config)?;
    let chain = Chain::connect(&config.node, &config.chain_id, identity.account).await?;
    let mut settings = OverlayConfig::new(
        identity.peer,
        home.join("blocks"),
        config.listen()?,
        config.bootstrap()?,
    );
    settings.relay = true;
    let overlay = Overlay::start(settings, Arc::new(chain.clone())).await?;
    overlay.serve_streams(Arc::new(Server {
        home: home.to_path_buf(),
        chain: chain.clone(),
    }));
    let addresses: Vec<String> = overlay.listen_addrs().iter().map(ToString::to_string).collect();
    tracing::info!(account = %chain.address(), peer_id = %overlay.peer_id(), ?addresses, "trainerd is up");
    let node = Node {
        chain,
        overlay: overlay.clone(),
        config: Arc::new(config),
        home: home.to_path_buf(),
        sealing: identity.sealing,
        salt_secret: identity.salt_secret,
        capability: Arc::default(),
    };
    let worked = tokio::select! {
        ended = work(node) => ended,
        () = stop => Ok(()),
    };
    overlay.shutdown().await;
    worked
}

async fn work(mut node: Node) -> Result<()> {
    let mut chain = node.chain.clone();
    let record = registration::register(&node).await?;
    node.capability = record.encode_to_vec().into();
    let mut upkeep = Upkeep::default();
    let mut jobs = Jobs {
        node: node.clone(),
        running: BTreeMap::new(),
        failed: BTreeMap::new(),
    };
    let mut announced = 0;
    loop {
        let height = chain.next_block().await?;
        if let Err(e) = upkeep.look(&node, height).await {
            tracing::warn!(error = format!("{e:#}"), "trying again with the next block");
        }
        if height >= announced + ANNOUNCE_BLOCKS || announced == 0 {
            match node.overlay.publish_record(&record).await {
                Ok(()) => announced = height,
                Err(e) => tracing::debug!(error = %e, "the capability record is not in the DHT yet"),
            }
        }
        if let Err(e) = jobs.look().await {
            tracing::warn!(
                error = format!("{e:#}"),
                "the chain did not answer; trying again with the next block"
            );
        }
    }
}

/// The jobs that this node has a task for.
struct Jobs {
    node: Node,
    running: BTreeMap<u64, JoinHandle<bool>>,
    /// Jobs that could not be joined, and how often that was tried.
    failed: BTreeMap<u64, u32>,
}

impl Jobs {
    /// Looks at the chain's jobs and starts tasks for those that concern this node.
    async fn look(&mut self) -> Result<()> {
        self.reap().await;
        let me = self.node.chain.address().to_string();
        for state in [
            JobState::Training,
            JobState::Submitted,
            JobState::Evaluating,
            JobState::Revealing,
        ] {
            for job in self.node.chain.jobs(state, &me).await? {
                self.start(&job)?;
            }
        }
        if !self.node.config.roles()?.contains(&Role::Worker) {
            return Ok(());
        }
        for job in self.node.chain.jobs(JobState::Open, "").await? {
            let mine = job.workers.iter().any(|w| w.address == me);
            let room = self.running.len() < self.node.config.max_jobs;
            let spec = job.spec.clone().unwrap_or_default();
            let full = job.workers.len() as u64 >= u64::from(spec.requirements.unwrap_or_default().max_workers);
            let given_up = self.failed.get(&job.id).is_some_and(|n| *n >= ATTEMPTS);
            let due = is_due(&job, self.node.chain.latest());
            if mine || (room && !full && !due && !given_up && job.client != me) {
                self.start(&job)?;
            }
        }
        Ok(())
    }

    /// Takes away tasks that have ended.
    async fn reap(&mut self) {
        let ended: Vec<u64> = self
            .running
            .iter()
            .filter(|(_, task)| task.is_finished())
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            if let Some(task) = self.running.remove(&id)
                && !task.await.unwrap_or(false)
            {
                *self.failed.entry(id).or_default() += 1;
            }
        }
    }

    fn start(&mut self, job: &Job) -> Result<()> {
        if self.running.contains_key(&job.id) {
            return Ok(());
        }
        let me = self.node.chain.address().to_string();
        let evaluates = job.evaluators.iter().any(|e| e.address == me);
        let own = job.workers.iter().find(|w| w.address == me);
        if !evaluates && job.state() != JobState::Open && !own.is_some_and(|w| w.active) {
            return Ok(());
        }
        let role = if evaluates {
            Part::Evaluator(Evaluator::new(self.node.clone(), job.id)?)
        } else {
            Part::Worker(Worker::new(self.node.clone(), job.id)?)
        };
        tracing::info!(
            job = job.id,
            role = if evaluates { "evaluator" } else { "worker" },
            "takes up a job"
        );
        self.running
            .insert(job.id, tokio::spawn(follow(role, self.node.chain.clone(), job.id)));
        Ok(())
    }
}

/// Whether a job's deadline has come and the chain, `height` blocks long, has not handled it yet: then it takes no messages.
fn is_due(job: &Job, height: u64) -> bool {
    job.deadline > 0 && height >= job.deadline
}

enum Part {
    Worker(Worker),
    Evaluator(Evaluator),
}

/// Follows one job to its end; `false` when it was given up before it began.
async fn follow(mut part: Part, mut chain: Chain, id: u64) -> bool {
    let mut waiting = ("", Instant::now());
    loop {
        let looked = async {
            let job = chain.job(id).await?;
            if is_due(&job, chain.latest()) {
                return Ok((Next::Wait("the chain to come to the job's deadline"), job.state()));
            }
            let next = match &mut part {
                Part::Worker(worker) => worker.advance(&job).await,
                Part::Evaluator(evaluator) => evaluator.advance(&job).await,
            };
            next.map_err(|e| {
                e.wrap_err(format!(
                    "job {id} is {}",
                    trainyard_modules::job::state_name(job.state())
                ))
            })
            .map(|next| (next, job.state()))
        };
        match looked.await {
            Ok((Next::Again, _)) => continue,
            Ok((Next::Over, state)) => {
                tracing::info!(
                    job = id,
                    state = trainyard_modules::job::state_name(state),
                    "the job is over here"
                );
                return true;
            }
            Ok((Next::Wait(what), _)) => {
                if waiting.0 != what {
                    waiting = (what, Instant::now());
                    tracing::info!(job = id, "waits for {what}");
                } else if waiting.1.elapsed() > STUCK {
                    tracing::warn!(job = id, "has waited more than a minute for {what}");
                    waiting.1 = Instant::now();
                }
            }
            Err(e) => {
                tracing::warn!(
                    job = id,
                    error = format!("{e:#}"),
                    "could not do what is due; trying again with the next block"
                );
                if chain.job(id).await.is_ok_and(|job| job.state() == JobState::Open) {
                    return false;
                }
            }
        }
        if chain.next_block().await.wrap_err("following the chain").is_err() {
            return false;
        }
    }
}
