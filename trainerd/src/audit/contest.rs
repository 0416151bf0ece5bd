//! An audit of a contest: each worker's variant is trained alone, round after round, up to its artifact.

use std::sync::Arc;

use color_eyre::eyre::Result;
use trainyard_exact::{Weights, state_root};
use trainyard_modules::job::{spec_of, standing_name};
use trainyard_overlay::Overlay;
use trainyard_proto::job::{Job, JobSpec, Round, TraceCommit, WorkerState};

use super::{Audit, opened, same, same_states, training_data};
use crate::{
    chain::Chain,
    dataset::Dataset,
    engine::{Compute, Engine},
    inputs::{Inputs, providers},
    paradigm::{competitive::share, federated::replay},
};

/// Trains every worker's rounds again; see [`super::audit`].
pub(super) async fn run(
    chain: &Chain,
    overlay: &Overlay,
    compute: Compute,
    audit: &Audit,
    job: &Job,
    spec: &JobSpec,
    rounds: &[Round],
) -> Result<()> {
    let peers = providers(overlay, chain, job).await;
    let mut data = None;
    for worker in &job.workers {
        let inputs = Inputs::fetch(overlay, &spec_of(spec, worker), &peers).await?;
        let data = match &data {
            Some(data) => Arc::clone(data),
            None => data
                .insert(Arc::new(training_data(overlay, &inputs, audit, &peers).await?))
                .clone(),
        };
        let engine = compute.open(&inputs.graph, &inputs.spec)?;
        println!("worker      {}", worker.address);
        println!("engine      {} with {} threads", engine.device(), compute.threads());
        println!("start root  {}", hex::encode(&inputs.spec.start_root));
        let mut auditor = Alone {
            engine,
            data,
            weights: inputs.start.clone(),
            spec: inputs.spec.clone(),
        };
        let mut whole = true;
        for round in rounds {
            let Some(commit) = round.commits.iter().find(|c| c.worker == worker.address).cloned() else {
                println!("round {}: no trace", round.round);
                whole = false;
                break;
            };
            let states = match opened(chain, overlay, round, &commit).await {
                Ok(states) => Some(states),
                Err(e) => {
                    tracing::warn!(
                        worker = commit.worker,
                        error = format!("{e:#}"),
                        "its trace is not opened"
                    );
                    None
                }
            };
            let round = round.clone();
            auditor = tokio::task::spawn_blocking(move || {
                auditor.round(&round, &commit, states.as_deref())?;
                Ok::<_, color_eyre::Report>(auditor)
            })
            .await??;
        }
        if whole && rounds.len() as u64 == u64::from(spec.rounds) {
            auditor.artifact(worker)?;
        }
    }
    Ok(())
}

/// Where the audit of one worker stands.
struct Alone {
    engine: Box<dyn Engine>,
    data: Arc<Dataset>,
    spec: JobSpec,
    /// At the start of the next round.
    weights: Weights,
}

impl Alone {
    /// Trains a round, and compares the root it starts from, which opens the last one's commitment, and the states it passes.
    fn round(&mut self, round: &Round, commit: &TraceCommit, states: Option<&[[u8; 32]]>) -> Result<()> {
        let what = format!("round {}, {}", round.round, commit.worker);
        let here = state_root(&self.weights);
        same(&format!("{what}: the start root"), &here, &commit.start_root)?;
        let share = share(&self.spec, round, &here)?;
        let trained = replay(self.engine.as_mut(), &self.data, &share, &self.weights)?;
        if let Some(states) = states {
            same_states(&what, &trained.states, states)?;
        }
        self.weights = trained.end;
        let opened = states.map_or(0, <[_]>::len);
        println!(
            "round {}     {}, {opened} states",
            round.round,
            hex::encode(state_root(&self.weights))
        );
        Ok(())
    }

    /// Compares the weights that the last round gave with the artifact.
    fn artifact(&self, worker: &WorkerState) -> Result<()> {
        let Some(artifact) = &worker.artifact else {
            println!("artifact    none was submitted");
            return Ok(());
        };
        let here = state_root(&self.weights);
        same(
            &format!("{}: the artifact's state root", worker.address),
            &here,
            &artifact.state_root,
        )?;
        println!(
            "artifact    {}  {}",
            hex::encode(here),
            standing_name(worker.standing())
        );
        Ok(())
    }
}
