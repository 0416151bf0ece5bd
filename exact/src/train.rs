//! Steps of training, and inference, on the kernels.

use crate::kernels::Isa;
use crate::lower::{self, LowerError};
use crate::onnx::Graph;
use crate::program::{Executor, ProgramError, Role};
use crate::task::Task;
use crate::tensor::{Tensor, Weights};

/// Why a step was not taken. The state is the one from before it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainError {
    /// The graph cannot be lowered.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The batch does not fit the program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A state of another graph or optimizer.
    #[error("the state {problem}")]
    State {
        /// What does not fit.
        problem: String,
    },
    /// A label that is no class.
    #[error("row {row} has the label {label}, expected a whole number from 0 to {max}", max = classes - 1)]
    Label {
        /// The row of the output.
        row: usize,
        /// Its label.
        label: f32,
        /// How many classes there are.
        classes: usize,
    },
    /// Training diverged.
    #[error("the loss is {0}: training diverged, or the samples are not finite")]
    Diverged(f32),
}

/// The key of random numbers as a program takes it: 16-bit words, the lowest first.
pub fn key_words(key: u64) -> [f32; 4] {
    [0, 16, 32, 48].map(|shift| {
        let word = (key >> shift & 0xffff) as u16;
        f32::from(word)
    })
}

/// Trains a graph, one batch after the other. The state is that of training: weights, buffers and the optimizer's `opt/…`.
#[derive(Debug)]
pub struct Trainer {
    task: Task,
    executor: Executor,
    state: Weights,
    /// How many classes a label can name; 0 where labels are numbers.
    classes: usize,
}

impl Trainer {
    /// A trainer for batches of `batch` samples that starts from the graph's weights, on `threads` threads.
    ///
    /// # Errors
    /// When the graph or the task has no program, or the system refuses the threads.
    pub fn new(graph: &Graph, task: &Task, batch: usize, threads: usize) -> Result<Self, TrainError> {
        Self::with_isa(graph, task, batch, Isa::best(), threads)
    }

    /// [`Trainer::new`] with certain instructions, which change no bit.
    ///
    /// # Errors
    /// Those of [`Trainer::new`].
    pub fn with_isa(graph: &Graph, task: &Task, batch: usize, isa: Isa, threads: usize) -> Result<Self, TrainError> {
        let program = lower::training(graph, task, batch)?;
        let mut state = graph.weights.clone();
        state.append(&mut lower::start_state(graph, task));
        let last = if graph.output_shape.len() > 1 {
            graph.output_shape.last()
        } else {
            None
        };
        let classes = last.map_or(1, |dim| dim.with_batch(batch));
        let numeric = classes == 1 && task.loss != crate::task::Loss::CrossEntropy;
        Ok(Self {
            task: *task,
            executor: Executor::with_isa(program, isa, threads)?,
            state,
            classes: if numeric { 0 } else { classes },
        })
    }

    /// Weights, buffers and optimizer state.
    pub fn state(&self) -> &Weights {
        &self.state
    }

    /// The executor and its program.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Replaces tensors of the state; those that `tensors` does not name stay.
    ///
    /// # Errors
    /// When a name or shape is not one of the state's; then nothing is replaced.
    pub fn set(&mut self, tensors: &Weights) -> Result<(), TrainError> {
        for (name, tensor) in tensors {
            let problem = match self.state.get(name) {
                None => format!("has no tensor {name:?}"),
                Some(known) if known.shape() != tensor.shape() => {
                    format!("has {name:?} of shape {:?}, found {:?}", known.shape(), tensor.shape())
                }
                Some(_) => continue,
            };
            return Err(TrainError::State { problem });
        }
        self.state
            .extend(tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
        Ok(())
    }

    /// One step on a batch: samples (N, …), row-major; labels as whole numbers, one for each row of the output. `number`
    /// is the step's number within the job, from 1, which decides its rate; `key` decides the masks of dropout. Gives the
    /// loss before the step.
    ///
    /// # Errors
    /// When the batch has another size, a label is no class, or the loss is not finite; then the state is as before.
    pub fn step(&mut self, samples: &[f32], labels: &[f32], number: u32, key: u64) -> Result<f32, TrainError> {
        self.observed(samples, labels, number, key, |_, _| {})
    }

    /// [`Trainer::step`], with each value of the program shown to `observe` as it is computed.
    ///
    /// # Errors
    /// Those of [`Trainer::step`].
    pub fn observed(
        &mut self,
        samples: &[f32],
        labels: &[f32],
        number: u32,
        key: u64,
        observe: impl FnMut(usize, &[f32]) + Send,
    ) -> Result<f32, TrainError> {
        let classes = self.classes;
        let fits = |label: f32| label.trunc() == label && label >= 0.0 && label < classes as f32;
        if classes > 0
            && let Some((row, label)) = labels.iter().enumerate().find(|(_, label)| !fits(**label))
        {
            let label = *label;
            return Err(TrainError::Label { row, label, classes });
        }
        let (rate, key) = ([self.task.rate(number)], key_words(key));
        let state = &self.state;
        let input = |role: &Role| match role {
            Role::State(name) => state.get(name).map(Tensor::data),
            Role::Samples => Some(samples),
            Role::Labels => Some(labels),
            Role::Rate => Some(&rate[..]),
            Role::Key => Some(&key[..]),
            Role::Loss | Role::Result => None,
        };
        let outputs = self.executor.run(input, observe)?;
        let roles: Vec<Role> = self
            .executor
            .program()
            .outputs()
            .iter()
            .map(|port| port.role.clone())
            .collect();
        let position = roles.iter().position(|role| *role == Role::Loss);
        let loss = position.and_then(|at| outputs[at].first().copied()).unwrap_or(f32::NAN);
        if !loss.is_finite() {
            self.executor.recycle(outputs);
            return Err(TrainError::Diverged(loss));
        }
        let mut old = Vec::with_capacity(outputs.len());
        for (role, output) in roles.iter().zip(outputs) {
            match role {
                Role::State(name) => {
                    if let Some(tensor) = self.state.get_mut(name) {
                        old.push(tensor.replace(output));
                    }
                }
                _ => old.push(output),
            }
        }
        self.executor.recycle(old);
        Ok(loss)
    }
}

/// Computes what a graph gives in inference mode, batch by batch.
#[derive(Debug)]
pub struct Inference {
    executor: Executor,
    samples: usize,
}

impl Inference {
    /// For batches of `batch` samples, on `threads` threads.
    ///
    /// # Errors
    /// When the graph has no program, or the system refuses the threads.
    pub fn new(graph: &Graph, batch: usize, threads: usize) -> Result<Self, TrainError> {
        Self::with_isa(graph, batch, Isa::best(), threads)
    }

    /// [`Inference::new`] with certain instructions, which change no bit.
    ///
    /// # Errors
    /// Those of [`Inference::new`].
    pub fn with_isa(graph: &Graph, batch: usize, isa: Isa, threads: usize) -> Result<Self, TrainError> {
        let program = lower::inference(graph, batch)?;
        let samples = program.inputs().iter().find(|port| port.role == Role::Samples);
        let samples = samples.map_or(0, |port| port.shape.iter().product());
        Ok(Self {
            executor: Executor::with_isa(program, isa, threads)?,
            samples,
        })
    }

    /// The graph's output for a batch, row-major. A shorter batch than planned is filled up with zeros, which changes no
    /// sample's result; what it gives for them is part of the output.
    ///
    /// # Errors
    /// When the samples are more than the batch, or a weight is missing or of another size.
    pub fn run(&mut self, weights: &Weights, samples: &[f32]) -> Result<Vec<f32>, TrainError> {
        let mut padded = Vec::new();
        let samples = if samples.len() < self.samples {
            padded.extend_from_slice(samples);
            padded.resize(self.samples, 0.0);
            &padded[..]
        } else {
            samples
        };
        let input = |role: &Role| match role {
            Role::State(name) => weights.get(name).map(Tensor::data),
            Role::Samples => Some(samples),
            _ => None,
        };
        let mut outputs = self.executor.run(input, |_, _| {})?;
        Ok(outputs.pop().unwrap_or_default())
    }
}
