//! The engine on libtorch: CPU, and CUDA where libtorch was built with it and sees a GPU.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};
use trainyard_exact::onnx::{Graph, Op, Source};
use trainyard_exact::task::Loss;
use trainyard_exact::{Tensor as Plain, Weights};

use super::interpret::{Mode, Operands, run};
use super::optimizer::{self, STEP};
use super::{Device, Engine, EngineError, Task};

/// How many threads libtorch computes with, in this process; 0 for one on each core.
pub(super) fn set_threads(threads: usize) {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { cores() } else { threads };
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
}

/// Name and version of the library.
pub fn version() -> String {
    // tch refuses to build against any other.
    "libtorch 2.13.0".to_owned()
}

/// An engine that interprets a graph with libtorch.
pub struct LibTorch {
    graph: Graph,
    task: Task,
    device: tch::Device,
    weights: BTreeMap<String, Tensor>,
    constants: Vec<Tensor>,
    state: BTreeMap<String, Tensor>,
    steps: u32,
    seed: u64,
    /// Values of one sample.
    sample: usize,
    /// Outputs of one sample.
    outputs: usize,
    /// What the loss is computed from: the output, or what its `Softmax` is applied to.
    logits: Source,
}

impl LibTorch {
    /// An engine with the graph's start weights and a fresh optimizer.
    ///
    /// # Errors
    /// When the device is not there or the graph's output does not suit the loss.
    pub fn new(graph: Graph, task: Task, device: Device) -> Result<Self, EngineError> {
        let device = match device {
            Device::Auto => tch::Device::cuda_if_available(),
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda(index) if (index as i64) < tch::Cuda::device_count() => tch::Device::Cuda(index),
            Device::Cuda(index) => return Err(EngineError::NoGpu(index, tch::Cuda::device_count())),
        };
        let [_, outputs] = graph.output_shape[..] else {
            let dims: Vec<String> = graph.output_shape.iter().map(ToString::to_string).collect();
            return Err(EngineError::Output {
                loss: task.loss,
                found: format!("({})", dims.join(", ")),
            });
        };
        let logits = match (&graph.output, task.loss) {
            (Source::Node(index), Loss::CrossEntropy) => match graph.nodes.get(*index) {
                Some(node) if matches!(node.op, Op::Softmax { .. }) => node.inputs.first().cloned(),
                _ => None,
            },
            _ => None,
        };
        let constants = graph
            .constants
            .iter()
            .map(|tensor| to_torch(tensor, device))
            .collect::<Result<_, _>>()?;
        let mut engine = Self {
            logits: logits.unwrap_or_else(|| graph.output.clone()),
            outputs: outputs.with_batch(1),
            sample: graph.sample.iter().product(),
            weights: BTreeMap::new(),
            state: BTreeMap::new(),
            steps: 0,
            seed: 0,
            constants,
            device,
            task,
            graph,
        };
        let start = engine.graph.weights.clone();
        engine.set_weights(&start)?;
        engine.set_optimizer_state(&Weights::new())?;
        Ok(engine)
    }

    /// The samples as a batch (N, …).
    fn batch(&self, samples: &[f32]) -> Result<Tensor, EngineError> {
        if samples.is_empty() || !samples.len().is_multiple_of(self.sample) {
            return Err(EngineError::Samples {
                values: samples.len(),
                sample: self.sample,
            });
        }
        let mut shape = vec![(samples.len() / self.sample) as i64];
        shape.extend(self.graph.sample.iter().map(|size| *size as i64));
        Ok(Tensor::f_from_slice(samples)?
            .f_reshape(shape)?
            .f_to_device(self.device)?)
    }

    fn run(&self, input: &Tensor, mode: Mode, wanted: &Source) -> Result<Tensor, EngineError> {
        let operands = Operands {
            weights: &self.weights,
            constants: &self.constants,
            input,
        };
        let results = run(&self.graph, &operands, mode)?;
        Ok(operands.get(wanted, &results)?.shallow_clone())
    }

    fn loss(&self, logits: &Tensor, labels: &[i64]) -> Result<Tensor, EngineError> {
        let classes = self.outputs;
        let numeric = self.task.loss != Loss::CrossEntropy && classes == 1;
        let outside = |label: &i64| usize::try_from(*label).map_or(true, |label| label >= classes);
        if let Some(sample) = labels.iter().position(outside).filter(|_| !numeric) {
            return Err(EngineError::Label {
                sample,
                label: labels[sample],
                classes,
            });
        }
        let labels = Tensor::f_from_slice(labels)?.f_to_device(self.device)?;
        Ok(match self.task.loss {
            Loss::CrossEntropy => {
                let log = logits.f_log_softmax(-1, Kind::Float)?;
                log.f_nll_loss::<Tensor>(&labels, None, tch::Reduction::Mean, -100)?
            }
            Loss::Mse | Loss::BceWithLogits => {
                let target = if numeric {
                    labels.f_reshape([-1, 1])?
                } else {
                    labels.f_one_hot(classes as i64)?
                };
                let target = target.f_to_kind(Kind::Float)?;
                if self.task.loss == Loss::Mse {
                    logits.f_mse_loss(&target, tch::Reduction::Mean)?
                } else {
                    let none = None::<Tensor>;
                    logits.f_binary_cross_entropy_with_logits(
                        &target,
                        none.as_ref(),
                        none.as_ref(),
                        tch::Reduction::Mean,
                    )?
                }
            }
        })
    }

    fn parameters(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.weights
            .iter()
            .filter(|(name, _)| !self.graph.buffers.contains(*name))
    }
}

impl Engine for LibTorch {
    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError> {
        same_shapes("the weights", &self.graph.weights, weights)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in weights {
            if let Some((index, value)) = tensor.first_non_finite() {
                let problem = format!("hold {value} at element {index} of {name:?}");
                return Err(EngineError::State {
                    what: "the weights",
                    problem,
                });
            }
            let trained = !self.graph.buffers.contains(name);
            tensors.insert(
                name.clone(),
                to_torch(tensor, self.device)?.f_set_requires_grad(trained)?,
            );
        }
        self.weights = tensors;
        Ok(())
    }

    fn weights(&self) -> Result<Weights, EngineError> {
        self.weights
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), to_plain(tensor)?)))
            .collect()
    }

    fn set_optimizer_state(&mut self, state: &Weights) -> Result<(), EngineError> {
        let mut fresh = Weights::new();
        for slot in optimizer::slots(&self.task.optimizer) {
            for (name, tensor) in self.graph.parameters() {
                fresh.insert(format!("{slot}{name}"), tensor.zeros_like());
            }
        }
        if optimizer::counts(&self.task.optimizer) {
            fresh.insert(STEP.to_owned(), Plain::scalar(0.0));
        }
        let state = if state.is_empty() { &fresh } else { state };
        same_shapes("the optimizer's state", &fresh, state)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in state.iter().filter(|(name, _)| *name != STEP) {
            tensors.insert(name.clone(), to_torch(tensor, self.device)?);
        }
        let steps = state
            .get(STEP)
            .and_then(|tensor| tensor.data().first().copied())
            .unwrap_or(0.0);
        if !(0.0..=MAX_STEPS as f32).contains(&steps) || steps.fract() != 0.0 {
            let problem = format!("says that {steps} steps were taken, expected a whole number up to {MAX_STEPS}");
            return Err(EngineError::State {
                what: "the optimizer's state",
                problem,
            });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be a small whole number"
        )]
        let steps = steps as u32;
        (self.steps, self.state) = (steps, tensors);
        Ok(())
    }

    fn optimizer_state(&self) -> Result<Weights, EngineError> {
        let tensors = self
            .state
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), to_plain(tensor)?)));
        let mut state = tensors.collect::<Result<Weights, EngineError>>()?;
        if optimizer::counts(&self.task.optimizer) {
            state.insert(STEP.to_owned(), Plain::scalar(self.steps as f32));
        }
        Ok(state)
    }

    fn seed(&mut self, seed: u64) -> Result<(), EngineError> {
        self.seed = seed;
        Ok(())
    }

    fn step(&mut self, samples: &[f32], labels: &[i64]) -> Result<f32, EngineError> {
        let batch = self.batch(samples)?;
        let count = samples.len() / self.sample;
        if labels.len() != count {
            return Err(EngineError::Labels {
                labels: labels.len(),
                samples: count,
            });
        }
        let logits = self.run(&batch, Mode::Train { seed: self.seed }, &self.logits)?;
        let loss = self.loss(&logits, labels)?;
        #[expect(clippy::cast_possible_truncation, reason = "the loss is an f32")]
        let value = loss.f_double_value(&[])? as f32;
        if !value.is_finite() {
            return Err(EngineError::Diverged(value));
        }
        let (names, parameters): (Vec<String>, Vec<Tensor>) = self
            .parameters()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .unzip();
        let gradients = Tensor::f_run_backward(&[loss], &parameters, false, false)?;
        let steps = (self.steps + 1).min(MAX_STEPS);
        tch::no_grad(|| {
            for ((name, mut parameter), gradient) in names.iter().zip(parameters).zip(&gradients) {
                let optimizer = &self.task.optimizer;
                optimizer::update(optimizer, steps, name, &mut parameter, gradient, &mut self.state)?;
            }
            Ok::<(), EngineError>(())
        })?;
        self.steps = steps;
        Ok(value)
    }

    fn forward(&mut self, samples: &[f32]) -> Result<Vec<f32>, EngineError> {
        let batch = self.batch(samples)?;
        tch::no_grad(|| values(&self.run(&batch, Mode::Infer, &self.graph.output)?))
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn device(&self) -> String {
        match self.device {
            tch::Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_owned(),
        }
    }
}

/// Steps are counted in an f32 tensor, exact so far; Adam's correction for the start is long gone by then.
const MAX_STEPS: u32 = 1 << 24;

fn same_shapes(what: &'static str, expected: &Weights, found: &Weights) -> Result<(), EngineError> {
    let fail = |problem| Err(EngineError::State { what, problem });
    if let Some(name) = expected.keys().find(|name| !found.contains_key(*name)) {
        return fail(format!("lack the tensor {name:?}"));
    }
    for (name, tensor) in found {
        match expected.get(name) {
            None => return fail(format!("have an unknown tensor {name:?}")),
            Some(other) if other.shape() != tensor.shape() => {
                return fail(format!(
                    "have {name:?} with shape {:?}, expected {:?}",
                    tensor.shape(),
                    other.shape()
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn to_torch(tensor: &Plain, device: tch::Device) -> Result<Tensor, EngineError> {
    let shape: Vec<i64> = tensor.shape().iter().map(|size| *size as i64).collect();
    Ok(Tensor::f_from_slice(tensor.data())?
        .f_reshape(shape)?
        .f_to_device(device)?)
}

/// The elements in row-major order.
fn values(tensor: &Tensor) -> Result<Vec<f32>, EngineError> {
    let count = tensor.numel();
    let mut data = vec![0f32; count];
    tensor
        .f_detach()?
        .f_to_device(tch::Device::Cpu)?
        .f_reshape([-1])?
        .f_copy_data(&mut data, count)?;
    Ok(data)
}

fn to_plain(tensor: &Tensor) -> Result<Plain, EngineError> {
    let shape = tensor
        .size()
        .iter()
        .map(|size| usize::try_from(*size).unwrap_or(0))
        .collect();
    Plain::new(shape, values(tensor)?).map_err(|error| EngineError::State {
        what: "a tensor",
        problem: error.to_string(),
    })
}
