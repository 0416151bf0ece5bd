//! The engine on libtorch: CPU, and CUDA where libtorch was built with it and sees a GPU.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};
use trainyard_exact::onnx::{Graph, Op, Source};
use trainyard_exact::task::{Loss, Task};
use trainyard_exact::{Tensor as Plain, Weights};

use super::batch::{Sizes, check_weights, same_shapes};
use super::interpret::{Mode, Operands, run};
use super::optimizer::{self, STEP};
use super::{Device, Engine, EngineError};

/// How many threads libtorch computes with, in this process.
pub(super) fn set_threads(threads: usize) {
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
    sizes: Sizes,
    /// What the loss is computed from: the output, or what its `Softmax` is applied to.
    logits: Source,
}

impl LibTorch {
    /// An engine with the graph's start weights and a fresh optimizer.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn new(graph: Graph, task: Task, device: Device) -> Result<Self, EngineError> {
        let device = match device {
            Device::Auto => tch::Device::cuda_if_available(),
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda(index) if (index as i64) < tch::Cuda::device_count() => tch::Device::Cuda(index),
            Device::Cuda(index) => return Err(EngineError::NoGpu(index, tch::Cuda::device_count())),
        };
        let last = graph.output_shape.len().saturating_sub(1);
        let logits = match (&graph.output, task.loss) {
            (Source::Node(index), Loss::CrossEntropy) => match graph.nodes.get(*index) {
                Some(node) if node.op == Op::Softmax { axis: last } => node.inputs.first().cloned(),
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
            sizes: Sizes::new(&graph, task.loss),
            weights: BTreeMap::new(),
            state: BTreeMap::new(),
            steps: 0,
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
        let mut shape = vec![self.sizes.count(samples)? as i64];
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

    fn loss(&self, output: &Tensor, labels: &[i64]) -> Result<Tensor, EngineError> {
        let (classes, mean) = (self.sizes.classes as i64, tch::Reduction::Mean);
        let logits = output.f_reshape([-1, classes])?;
        let labels = Tensor::f_from_slice(labels)?.f_to_device(self.device)?;
        if self.task.loss == Loss::CrossEntropy {
            let smoothing = f64::from(self.task.label_smoothing);
            return Ok(logits.f_cross_entropy_loss::<Tensor>(&labels, None, mean, -100, smoothing)?);
        }
        let target = if self.sizes.numeric {
            labels.f_reshape([-1, 1])?
        } else {
            labels.f_one_hot(classes)?
        };
        let target = target.f_to_kind(Kind::Float)?;
        if self.task.loss == Loss::Mse {
            return Ok(logits.f_mse_loss(&target, mean)?);
        }
        let none = None::<Tensor>;
        Ok(logits.f_binary_cross_entropy_with_logits(&target, none.as_ref(), none.as_ref(), mean)?)
    }

    /// Scales the gradients so that their L2 norm together is at most the task's bound.
    fn clip(&self, gradients: &mut [Tensor]) -> Result<(), EngineError> {
        let bound = f64::from(self.task.clip_norm);
        if bound == 0.0 {
            return Ok(());
        }
        let mut squares = 0.0;
        for gradient in gradients.iter() {
            squares += gradient.f_square()?.f_sum(Kind::Float)?.f_double_value(&[])?;
        }
        let scale = (bound / (squares.sqrt() + 1e-6)).min(1.0);
        for gradient in gradients {
            *gradient = gradient.f_mul_scalar(scale)?;
        }
        Ok(())
    }

    fn parameters(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.weights
            .iter()
            .filter(|(name, _)| !self.graph.buffers.contains(*name))
    }
}

impl Engine for LibTorch {
    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError> {
        check_weights(&self.graph.weights, weights)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in weights {
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

    fn step(&mut self, samples: &[f32], labels: &[i64], number: u32, key: u64) -> Result<f32, EngineError> {
        let batch = self.batch(samples)?;
        self.sizes.check_labels(self.sizes.count(samples)?, labels)?;
        let logits = self.run(&batch, Mode::Train { seed: key }, &self.logits)?;
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
        let mut gradients = Tensor::f_run_backward(&[loss], &parameters, false, false)?;
        let rate = self.task.rate(number);
        let steps = (self.steps + 1).min(MAX_STEPS);
        tch::no_grad(|| {
            self.clip(&mut gradients)?;
            for ((name, mut parameter), gradient) in names.iter().zip(parameters).zip(&gradients) {
                let optimizer = &self.task.optimizer;
                optimizer::update(optimizer, rate, steps, name, &mut parameter, gradient, &mut self.state)?;
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
