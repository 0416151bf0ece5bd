//! What trains: an engine interprets a checked ONNX graph ([`trainyard_exact::onnx::Graph`]) on a device.
//!
//! | file | does |
//! |---|---|
//! | `exact.rs` | the engine whose bits are the same on every machine: `trainyard_exact::train` |
//! | `libtorch.rs` | the engine on libtorch: steps of training, inference, weights in and out |
//! | `interpret.rs` | one operator of the graph after the other, as libtorch calls |
//! | `optimizer.rs` | SGD, Adam and AdamW for libtorch; their state is plain tensors |
//! | `batch.rs` | what a batch and a state must be, for both engines |
//! | `gpus.rs` | which GPUs there are |

mod batch;
mod exact;
mod gpus;
mod interpret;
mod libtorch;
mod optimizer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use trainyard_exact::Weights;
use trainyard_exact::kernels::Isa;
use trainyard_exact::onnx::Graph;
use trainyard_exact::task::TaskError;
use trainyard_exact::train::TrainError;
use trainyard_modules::job::parse_task;
use trainyard_proto::job::{self, JobSpec};
use trainyard_proto::registry::VerificationClass;

pub use exact::Exact;
pub use gpus::{Gpu, gpus};
pub use libtorch::{LibTorch, version};

/// Where libtorch computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The first GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Exact`].
    Exact,
    /// [`LibTorch`].
    LibTorch,
}

impl FromStr for Kind {
    type Err = EngineError;

    fn from_str(name: &str) -> Result<Self, EngineError> {
        match name {
            "exact" => Ok(Self::Exact),
            "libtorch" => Ok(Self::LibTorch),
            _ => Err(EngineError::Kind(name.to_owned())),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::LibTorch => "libtorch",
        })
    }
}

/// How a node computes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compute {
    /// The engine the operator wants; none is the one that suits the job.
    pub kind: Option<Kind>,
    /// CPU threads; 0 is as many as there are cores. They are one number for the whole process, and change the bits of
    /// libtorch, not of the exact engine.
    pub threads: usize,
    /// Instructions of the exact engine; none is the fastest of this CPU. They change no bit.
    pub isa: Option<Isa>,
}

impl Compute {
    /// The number of CPU threads.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads == 0 { cores() } else { self.threads }
    }

    /// The engine for a job: class exact asks for the exact one, other jobs run on what the operator wants, or on libtorch.
    ///
    /// # Errors
    /// When the operator wants libtorch for a job of class exact.
    pub fn kind_for(&self, spec: &JobSpec) -> Result<Kind, EngineError> {
        match (spec.verification(), self.kind) {
            (VerificationClass::Exact, Some(Kind::LibTorch)) => Err(EngineError::NotExact),
            (VerificationClass::Exact, _) => Ok(Kind::Exact),
            (_, kind) => Ok(kind.unwrap_or(Kind::LibTorch)),
        }
    }

    /// The engine for a job's graph: with its start weights and a fresh optimizer.
    ///
    /// # Errors
    /// When the job wants another engine, or its task makes no sense or does not suit the graph.
    pub fn open(&self, graph: &Graph, spec: &JobSpec) -> Result<Box<dyn Engine>, EngineError> {
        let task = spec.task.clone().unwrap_or_default();
        self.engine(self.kind_for(spec)?, graph, &task)
    }

    /// An engine of a kind, for a graph and a task.
    ///
    /// # Errors
    /// When the task makes no sense or does not suit the graph.
    pub fn engine(&self, kind: Kind, graph: &Graph, task: &job::Task) -> Result<Box<dyn Engine>, EngineError> {
        let parsed = parse_task(task)?;
        let threads = self.threads();
        Ok(match kind {
            Kind::Exact => {
                let isa = self.isa.unwrap_or_else(Isa::best);
                Box::new(Exact::new(
                    graph.clone(),
                    parsed,
                    task.batch_size as usize,
                    isa,
                    threads,
                )?)
            }
            Kind::LibTorch => {
                libtorch::set_threads(threads);
                Box::new(LibTorch::new(graph.clone(), parsed, Device::Auto)?)
            }
        })
    }
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

    /// One step of training on a batch: samples (N, …) as f32 in row-major order, one label for each row of the output
    /// (…, K). `number` is the step's number within the job, from 1, which decides its rate; `key` decides the masks of
    /// dropout, so each step has to be given its own. Gives the loss before the step.
    ///
    /// # Errors
    /// When the batch does not fit the graph, a label is no class, or the loss is NaN or infinite.
    fn step(&mut self, samples: &[f32], labels: &[i64], number: u32, key: u64) -> Result<f32, EngineError>;

    /// The graph's output (N, …, K) for a batch of samples, row-major, in inference mode. Memory may grow with the batch:
    /// cut large sets.
    ///
    /// # Errors
    /// When the batch does not fit the graph or the device fails.
    fn forward(&mut self, samples: &[f32]) -> Result<Vec<f32>, EngineError>;

    /// The graph that is interpreted.
    fn graph(&self) -> &Graph;

    /// What computes, such as `cpu`, `cuda:0` or `avx512`.
    fn device(&self) -> String;
}

/// Why an engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// libtorch refused.
    #[error("libtorch: {}", .0.to_string().lines().next().unwrap_or_default())]
    Torch(#[from] tch::TchError),
    /// An engine that there is not.
    #[error("the engine {0:?} is not known: choose exact or libtorch")]
    Kind(String),
    /// A job of class exact on libtorch.
    #[error("the job is of class exact, whose bits libtorch does not give: run it with the engine exact")]
    NotExact,
    /// The job's task.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The exact engine refused.
    #[error(transparent)]
    Exact(#[from] TrainError),
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
    /// The samples are not a batch.
    #[error("{values} values are no whole number of samples of {sample} values each, at least one")]
    Samples {
        /// Values found.
        values: usize,
        /// Values of one sample.
        sample: usize,
    },
    /// Another number of labels than of rows of the output.
    #[error("{labels} labels for {rows} rows of output")]
    Labels {
        /// Labels found.
        labels: usize,
        /// Rows of the output.
        rows: usize,
    },
    /// A label that is no class.
    #[error("row {row} has the label {label}, expected 0 to {max}", max = classes - 1)]
    Label {
        /// Row of the output.
        row: usize,
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
