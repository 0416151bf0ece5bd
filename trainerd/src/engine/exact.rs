//! The engine whose bits are the same on every machine, with any number of threads.

use trainyard_exact::Weights;
use trainyard_exact::kernels::Isa;
use trainyard_exact::lower::start_state;
use trainyard_exact::onnx::Graph;
use trainyard_exact::task::Task;
use trainyard_exact::train::{Inference, Trainer};

use super::batch::{Sizes, check_weights, same_shapes};
use super::{Engine, EngineError};

/// The most samples of one inference: memory does not grow with the batch.
const CHUNK: usize = 64;

/// An engine that runs a graph's [`trainyard_exact::program::Program`].
pub struct Exact {
    graph: Graph,
    task: Task,
    isa: Isa,
    threads: usize,
    sizes: Sizes,
    /// Samples that the trainer takes.
    batch: usize,
    trainer: Trainer,
    /// Planned when first needed, with the samples it takes.
    inference: Option<(usize, Inference)>,
}

impl Exact {
    /// An engine with the graph's start weights and a fresh optimizer, planned for batches of `batch` samples (0 is taken
    /// for 1), on `threads` threads.
    ///
    /// # Errors
    /// When the graph or the task has no program, or the system refuses the threads.
    pub fn new(graph: Graph, task: Task, batch: usize, isa: Isa, threads: usize) -> Result<Self, EngineError> {
        let batch = batch.max(1);
        Ok(Self {
            trainer: Trainer::with_isa(&graph, &task, batch, isa, threads)?,
            sizes: Sizes::new(&graph, task.loss),
            inference: None,
            graph,
            task,
            isa,
            threads,
            batch,
        })
    }

    fn part(&self, optimizer: bool) -> Weights {
        let state = self.trainer.state().iter();
        state
            .filter(|(name, _)| self.graph.weights.contains_key(*name) != optimizer)
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect()
    }
}

impl Engine for Exact {
    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError> {
        check_weights(&self.graph.weights, weights)?;
        Ok(self.trainer.set(weights)?)
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        Ok(self.part(false))
    }

    fn set_optimizer_state(&mut self, state: &Weights) -> Result<(), EngineError> {
        let fresh = start_state(&self.graph, &self.task);
        let state = if state.is_empty() { &fresh } else { state };
        same_shapes("the optimizer's state", &fresh, state)?;
        Ok(self.trainer.set(state)?)
    }

    fn optimizer_state(&self) -> Result<Weights, EngineError> {
        Ok(self.part(true))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "classes are checked; a number is rounded to the nearest f32"
    )]
    fn step(&mut self, samples: &[f32], labels: &[i64], number: u32, key: u64) -> Result<f32, EngineError> {
        let count = self.sizes.count(samples)?;
        self.sizes.check_labels(count, labels)?;
        if count != self.batch {
            // All batches of a job have one size: only the last plan is kept.
            let mut trainer = Trainer::with_isa(&self.graph, &self.task, count, self.isa, self.threads)?;
            trainer.set(self.trainer.state())?;
            (self.batch, self.trainer) = (count, trainer);
        }
        let labels: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
        Ok(self.trainer.step(samples, &labels, number, key)?)
    }

    fn forward(&mut self, samples: &[f32]) -> Result<Vec<f32>, EngineError> {
        let count = self.sizes.count(samples)?;
        let needed = count.min(CHUNK);
        let (size, inference) = match &mut self.inference {
            Some((size, inference)) if *size >= needed => (*size, inference),
            slot => {
                let inference = Inference::with_isa(&self.graph, needed, self.isa, self.threads)?;
                (needed, &mut slot.insert((needed, inference)).1)
            }
        };
        let mut outputs = Vec::with_capacity(count * self.sizes.outputs());
        for chunk in samples.chunks(size * self.sizes.sample) {
            let mut output = inference.run(self.trainer.state(), chunk)?;
            output.truncate(chunk.len() / self.sizes.sample * self.sizes.outputs());
            outputs.append(&mut output);
        }
        Ok(outputs)
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn device(&self) -> String {
        self.isa.to_string()
    }
}
