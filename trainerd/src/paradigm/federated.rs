//! Federated rounds (FedAvg, McMahan et al. 2017, arXiv:1602.05629): every worker takes local steps on batches of its own
//! from the same start weights, then all average their deltas, weighted by samples, to the same bytes.
//!
//! The optimizer starts anew in every round, so that a round is a function of what the chain has fixed: start root, beacon,
//! and the worker's place in the round. Its trace has one state root per segment: weights and optimizer state together.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use color_eyre::eyre::{Context, Result, bail, ensure};
use trainyard_exact::{Weights, batches::Batches, state_root};
use trainyard_proto::job::{JobSpec, Round};

use crate::{
    dataset::Dataset,
    engine::Engine,
    files::{Checkpoint, JobFiles},
};

/// Segments of a round, at most (PROTOCOL §11).
const SEGMENTS: u32 = 64;
/// Time between two reports of progress.
const REPORT: Duration = Duration::from_millis(500);

/// A worker's share of a round: all that its computation depends on besides data and start weights.
#[derive(Debug, Clone)]
pub struct Share {
    /// Job.
    pub job: u64,
    /// Round.
    pub round: u32,
    /// Root of the start weights.
    pub start_root: [u8; 32],
    /// Beacon at the round's start.
    pub beacon: [u8; 32],
    /// This worker's place among the round's workers.
    pub worker: u32,
    /// Workers at the round's start.
    pub workers: u32,
    /// Samples of one step.
    pub batch_size: u32,
    /// Steps.
    pub steps: u32,
    /// Seed of the job.
    pub seed: u64,
}

impl Share {
    /// The share of `account` in a round.
    pub fn of(spec: &JobSpec, round: &Round, account: &str) -> Result<Self> {
        let task = spec.task.clone().unwrap_or_default();
        let place = round.workers.iter().position(|w| w == account);
        let Some(place) = place else {
            bail!("{account} is not among the workers of round {}", round.round)
        };
        Ok(Self {
            job: round.job_id,
            round: round.round,
            start_root: round
                .start_root
                .as_slice()
                .try_into()
                .wrap_err("the round's start root")?,
            beacon: round.beacon.as_slice().try_into().wrap_err("the round's beacon")?,
            worker: u32::try_from(place)?,
            workers: u32::try_from(round.workers.len())?,
            batch_size: task.batch_size,
            steps: task.local_steps,
            seed: task.seed,
        })
    }

    /// Samples of the whole share.
    pub fn samples(&self) -> u64 {
        u64::from(self.batch_size) * u64::from(self.steps)
    }

    /// The number within the job, from 1, of the step after `done` steps of the round.
    fn number(&self, done: u32) -> u32 {
        let before = u64::from(self.round) * u64::from(self.steps) + u64::from(done);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    /// Whether a segment ends after `done` steps.
    fn ends_segment(&self, done: u32) -> bool {
        let segments = u64::from(self.steps.min(SEGMENTS));
        let segment = |step: u32| u64::from(step) * segments / u64::from(self.steps);
        segment(done) != segment(done - 1)
    }
}

/// How far a round is.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Steps done.
    pub step: u32,
    /// Mean loss since the last report.
    pub loss: f32,
    /// Samples per second since the last report.
    pub samples_per_second: f32,
}

/// A finished round of one worker.
pub struct Trained {
    /// End weights.
    pub end: Weights,
    /// Roots of the whole state, the optimizer's included: at the start, then at the end of each segment.
    pub states: Vec<[u8; 32]>,
}

/// Trains a share, from its checkpoint if one fits. Returns `None` when `stop` was set: the chain no longer waits for it.
#[allow(clippy::too_many_arguments)]
pub fn train(
    engine: &mut dyn Engine,
    data: &Dataset,
    share: &Share,
    start: &Weights,
    files: &JobFiles,
    checkpoint_steps: u32,
    stop: &AtomicBool,
    report: &mut dyn FnMut(Report),
) -> Result<Option<Trained>> {
    let (mut done, mut states) = begin(engine, share, start, files)?;
    let (mut losses, mut counted, mut since) = (0.0, 0u16, Instant::now());
    for batch in batches(data, share)?
        .skip(done as usize)
        .take((share.steps - done) as usize)
    {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        losses += step(engine, data, share, &batch, done, &mut states)?;
        done += 1;
        counted += 1;
        if done % checkpoint_steps == 0 && done < share.steps {
            files.save(&checkpoint(share, done, &states), &whole_state(engine)?)?;
        }
        if since.elapsed() >= REPORT || done == share.steps {
            let samples = f32::from(counted) * share.batch_size as f32;
            let samples_per_second = samples / since.elapsed().as_secs_f32().max(1e-6);
            report(Report {
                step: done,
                loss: losses / f32::from(counted),
                samples_per_second,
            });
            (losses, counted, since) = (0.0, 0, Instant::now());
        }
    }
    // The finished round stays restorable until its trace is on chain.
    files.save(&checkpoint(share, done, &states), &whole_state(engine)?)?;
    Ok(Some(Trained {
        end: engine.weights()?,
        states,
    }))
}

/// Trains a share from its start, as whoever checks it does.
///
/// # Errors
/// When the start weights are not the share's, or training diverges.
pub fn replay(engine: &mut dyn Engine, data: &Dataset, share: &Share, start: &Weights) -> Result<Trained> {
    let mut states = fresh(engine, share, start)?;
    for (done, batch) in (0..share.steps).zip(batches(data, share)?) {
        step(engine, data, share, &batch, done, &mut states)?;
    }
    Ok(Trained {
        end: engine.weights()?,
        states,
    })
}

/// The batches of a share, without end.
fn batches(data: &Dataset, share: &Share) -> Result<Batches> {
    let samples = u64::try_from(data.len())?;
    Ok(Batches::new(
        &share.beacon,
        share.job,
        share.round,
        share.worker,
        share.workers,
        samples,
        share.batch_size,
    )?)
}

/// The step after `done` steps; gives its loss, and adds to `states` where a segment ends.
fn step(
    engine: &mut dyn Engine,
    data: &Dataset,
    share: &Share,
    batch: &[u32],
    done: u32,
    states: &mut Vec<[u8; 32]>,
) -> Result<f32> {
    let (x, y) = data.gather(batch);
    let loss = engine
        .step(&x, &y, share.number(done), dropout_key(share, done))
        .wrap_err_with(|| format!("step {} of round {}", done + 1, share.round))?;
    if share.ends_segment(done + 1) {
        states.push(state_root(&whole_state(engine)?));
    }
    Ok(loss)
}

/// Puts the engine where the round stands: at its checkpoint, or at its start.
fn begin(engine: &mut dyn Engine, share: &Share, start: &Weights, files: &JobFiles) -> Result<(u32, Vec<[u8; 32]>)> {
    if let Some((found, state)) = files.restore()? {
        let fresh = checkpoint(share, found.step, &[]);
        let states: Option<Vec<[u8; 32]>> = found
            .states
            .iter()
            .map(|s| hex::decode(s).ok().and_then(|b| b.try_into().ok()))
            .collect();
        let fits = Checkpoint {
            states: Vec::new(),
            ..found.clone()
        } == fresh
            && found.step <= share.steps;
        if let (true, Some(states)) = (fits, states) {
            let (optimizer, weights) = state.into_iter().partition(|(name, _)| name.starts_with(OPTIMIZER));
            engine.set_weights(&weights)?;
            engine.set_optimizer_state(&optimizer)?;
            tracing::info!(round = share.round, step = found.step, "goes on from its checkpoint");
            return Ok((found.step, states));
        }
    }
    Ok((0, fresh(engine, share, start)?))
}

/// Puts the engine at the start of a round, and gives the root of its whole state there.
fn fresh(engine: &mut dyn Engine, share: &Share, start: &Weights) -> Result<Vec<[u8; 32]>> {
    let root = state_root(start);
    ensure!(root == share.start_root, "the start weights' root is not the round's");
    engine.set_weights(start)?;
    engine.set_optimizer_state(&Weights::new())?;
    Ok(vec![state_root(&whole_state(engine)?)])
}

/// Prefix of optimizer tensors in a whole state; no ONNX initializer of ours begins so.
pub const OPTIMIZER: &str = "opt/";

fn whole_state(engine: &dyn Engine) -> Result<Weights> {
    let mut state = engine.weights()?;
    state.extend(engine.optimizer_state()?);
    Ok(state)
}

fn checkpoint(share: &Share, step: u32, states: &[[u8; 32]]) -> Checkpoint {
    Checkpoint {
        round: share.round,
        start_root: hex::encode(share.start_root),
        beacon: hex::encode(share.beacon),
        step,
        states: states.iter().map(hex::encode).collect(),
    }
}

/// Decides what is random in a step (dropout): fixed by the job and its seed, the beacon, the worker's place and the step.
fn dropout_key(share: &Share, step: u32) -> u64 {
    use sha2::{Digest, Sha256};
    let hash = Sha256::new()
        .chain_update(b"trainyard/dropout/v2\0")
        .chain_update(share.seed.to_be_bytes())
        .chain_update(share.beacon)
        .chain_update(share.job.to_be_bytes())
        .chain_update(share.round.to_be_bytes())
        .chain_update(share.worker.to_be_bytes())
        .chain_update(step.to_be_bytes())
        .finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_every_step() {
        for steps in [1, 3, 63, 64, 65, 100, 1000] {
            let share = Share {
                job: 1,
                round: 0,
                start_root: [0; 32],
                beacon: [0; 32],
                worker: 0,
                workers: 1,
                batch_size: 1,
                steps,
                seed: 0,
            };
            let ends = (1..=steps).filter(|done| share.ends_segment(*done)).count();
            assert_eq!(u32::try_from(ends).unwrap(), steps.min(SEGMENTS), "{steps} steps");
            assert!(share.ends_segment(steps), "the last of {steps} steps ends a segment");
        }
    }
}
