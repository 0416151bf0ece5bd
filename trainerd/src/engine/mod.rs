//! What trains: an engine interprets a checked ONNX graph ([`trainyard_exact::onnx::Graph`]) on a device.
//!
//! | file | does |
//! |---|---|
//! | `libtorch.rs` | the engine: steps of training, inference, weights in and out |
//! | `interpret.rs` | one operator of the graph after the other, as libtorch calls |
//! | `optimizer.rs` | SGD, Adam and AdamW; their state is plain tensors |
//! | `gpus.rs` | which GPUs there are |

mod gpus;
mod interpret;
mod libtorch;
mod optimizer;

#[cfg(test)]
mod tests;

use trainyard_exact::Weights;
use trainyard_exact::onnx::Graph;
use trainyard_exact::task::{Loss, Optimizer, OptimizerText, TaskError};
use trainyard_proto::job;

pub use gpus::{Gpu, gpus};
pub use libtorch::{LibTorch, version};

/// Where an engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The first GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

/// What an engine does with its graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// What is minimised.
    pub loss: Loss,
    /// How.
    pub optimizer: Optimizer,
}

impl TryFrom<&job::Task> for Task {
    type Error = TaskError;

    fn try_from(task: &job::Task) -> Result<Self, TaskError> {
        let fallback = job::Optimizer::default();
        let optimizer = task.optimizer.as_ref().unwrap_or(&fallback);
        let text = OptimizerText {
            name: &optimizer.name,
            learning_rate: &optimizer.learning_rate,
            momentum: &optimizer.momentum,
            weight_decay: &optimizer.weight_decay,
            nesterov: optimizer.nesterov,
            beta1: &optimizer.beta1,
            beta2: &optimizer.beta2,
            epsilon: &optimizer.epsilon,
        };
        Ok(Self {
            loss: task.loss.parse()?,
            optimizer: text.try_into()?,
        })
    }
}

/// The engine for a job's task, on the first GPU or else the CPU, with `threads` CPU threads (0: as many as there are
/// cores). The number of threads is one for the whole process; another number gives other bits.
///
/// # Errors
/// When the task makes no sense or does not suit the graph.
pub fn open(graph: &Graph, task: &job::Task, threads: usize) -> Result<Box<dyn Engine>, EngineError> {
    libtorch::set_threads(threads);
    Ok(Box::new(LibTorch::new(graph.clone(), task.try_into()?, Device::Auto)?))
}

/// Trains a graph and computes with it.
///
/// An engine is deterministic: the same calls on the same machine with the same number of threads give the same bits.
/// After an error in [`Engine::step`] the weights and the optimizer's state are those from before the step, but running
/// statistics (buffers) may have moved: set the weights anew before going on.
pub trait Engine: Send {
    /// Replaces all weights (parameters and buffers), not the optimizer's state.
    ///
    /// # Errors
    /// When names or shapes are not the graph's, or a value is NaN or infinite.
    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError>;

    /// All weights, by initializer name.
    ///
    /// # Errors
    /// When the device fails.
    fn weights(&self) -> Result<Weights, EngineError>;

    /// Replaces the optimizer's state; an empty one starts afresh.
    ///
    /// # Errors
    /// When it is not empty and its names or shapes are not those of [`Engine::optimizer_state`].
    fn set_optimizer_state(&mut self, state: &Weights) -> Result<(), EngineError>;

    /// The optimizer's state: tensors named `opt/…`, all that a restart needs beside the weights.
    ///
    /// # Errors
    /// When the device fails.
    fn optimizer_state(&self) -> Result<Weights, EngineError>;

    /// Decides the masks of dropout in the next step; each step has to be given a seed of its own.
    ///
    /// # Errors
    /// When the device fails.
    fn seed(&mut self, seed: u64) -> Result<(), EngineError>;

    /// One step of training on a batch: samples (N, …) as f32 in row-major order, one label for each. Gives the loss
    /// before the step.
    ///
    /// # Errors
    /// When the batch does not fit the graph, a label is no class, or the loss is NaN or infinite.
    fn step(&mut self, samples: &[f32], labels: &[i64]) -> Result<f32, EngineError>;

    /// The graph's output (N, K) for a batch of samples, row-major, in inference mode. Memory grows with the batch: cut
    /// large sets.
    ///
    /// # Errors
    /// When the batch does not fit the graph or the device fails.
    fn forward(&mut self, samples: &[f32]) -> Result<Vec<f32>, EngineError>;

    /// The graph that is interpreted.
    fn graph(&self) -> &Graph;

    /// What computes, such as `cpu` or `cuda:0`.
    fn device(&self) -> String;
}

/// Why an engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// libtorch refused.
    #[error("libtorch: {}", .0.to_string().lines().next().unwrap_or_default())]
    Torch(#[from] tch::TchError),
    /// The job's task.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// libtorch refused one operator of the graph.
    #[error("node {index} {name:?} ({operator}): {source}")]
    Node {
        /// Position of the node in the ONNX file.
        index: usize,
        /// Its name.
        name: String,
        /// Its operator.
        operator: String,
        /// What went wrong.
        source: Box<EngineError>,
    },
    /// There is no such GPU.
    #[error("GPU {0} is not there: libtorch sees {1}")]
    NoGpu(usize, i64),
    /// The graph cannot be trained with the loss.
    #[error("the loss {loss:?} needs an output of shape (N, K), the graph gives {found}")]
    Output {
        /// The loss.
        loss: Loss,
        /// Shape of the graph's output.
        found: String,
    },
    /// The samples are not a batch.
    #[error("{values} values are no whole number of samples of {sample} values each, at least one")]
    Samples {
        /// Values found.
        values: usize,
        /// Values of one sample.
        sample: usize,
    },
    /// Another number of labels than of samples.
    #[error("{labels} labels for {samples} samples")]
    Labels {
        /// Labels found.
        labels: usize,
        /// Samples in the batch.
        samples: usize,
    },
    /// A label that is no class.
    #[error("sample {sample} has the label {label}, expected 0 to {max}", max = classes - 1)]
    Label {
        /// Position in the batch.
        sample: usize,
        /// The label found.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// Training diverged.
    #[error("the loss is {0}: training diverged, or the samples are not finite")]
    Diverged(f32),
    /// Weights or optimizer state of another graph.
    #[error("{what} {problem}")]
    State {
        /// `the weights` or `the optimizer's state`.
        what: &'static str,
        /// What does not fit.
        problem: String,
    },
}
