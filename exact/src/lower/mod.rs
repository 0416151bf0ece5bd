//! A model's graph and a task, as a [`Program`].
//!
//! | file | does |
//! |---|---|
//! | `ops.rs` | one operator of the graph after the other |
//! | `norm.rs` | normalisations and softmax, with derivatives of their own |
//! | `loss.rs` | the losses |
//! | `optimizer.rs` | clipping, SGD, Adam and AdamW |
//!
//! Equal graphs, tasks and batch sizes give equal programs, instruction by instruction.

mod loss;
mod norm;
mod ops;
mod optimizer;

use std::collections::BTreeMap;

use crate::onnx::{Graph, NodeName, Op, Source};
use crate::program::{Builder, Program, ProgramError, Role, Var};
use crate::task::{Loss, Task};
use crate::tensor::Weights;

/// Why a graph cannot be lowered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LowerError {
    /// A node that has no program.
    #[error("{node}: {source}")]
    Node {
        /// The node.
        node: NodeName,
        /// What does not fit.
        source: ProgramError,
    },
    /// The loss, the optimizer or the program as a whole.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// No samples.
    #[error("a batch has at least one sample")]
    EmptyBatch,
}

/// One step of training on a batch of `batch` samples.
///
/// Inputs: the samples (N, …), the labels, the rate, the key of random numbers, all weights and the optimizer's state
/// ([`start_state`]), in name order. Outputs: the loss before the step, then the new weights and the new state.
///
/// # Errors
/// When the graph or the task has no program.
pub fn training(graph: &Graph, task: &Task, batch: usize) -> Result<Program, LowerError> {
    let mut lowering = Lowering::new(graph, batch, true)?;
    let rows = lowering.rows();
    let labels = lowering.builder.input(Role::Labels, &[rows]);
    let rate = lowering.builder.input(Role::Rate, &[1]);
    let result = lowering.run(logits(graph, task))?;
    let Lowering {
        mut builder,
        weights,
        mut buffers,
        ..
    } = lowering;
    let loss = loss::loss(&mut builder, task, &result, &labels, rows)?;
    let parameters: Vec<(&String, &Var)> = graph.parameters().map(|(name, _)| (name, &weights[name])).collect();
    let wanted: Vec<&Var> = parameters.iter().map(|(_, var)| *var).collect();
    let mut gradients = builder.gradients(&loss, &wanted)?;
    optimizer::clip(&mut builder, task.clip_norm, &mut gradients)?;
    let start = start_state(graph, task);
    let updates = optimizer::update(&mut builder, &task.optimizer, &start, &rate, &parameters, &gradients)?;
    let mut state: BTreeMap<String, Var> = weights.clone();
    state.append(&mut buffers);
    state.extend(updates);
    let outputs = state.into_iter().map(|(name, var)| (Role::State(name), var));
    let outputs = std::iter::once((Role::Loss, loss)).chain(outputs).collect();
    Ok(builder.finish(outputs)?)
}

/// What the graph gives for `batch` samples, in inference mode. Inputs: the samples (N, …) and all weights, in name order;
/// output: the result.
///
/// # Errors
/// When the graph has no program.
pub fn inference(graph: &Graph, batch: usize) -> Result<Program, LowerError> {
    let mut lowering = Lowering::new(graph, batch, false)?;
    let result = lowering.run(&graph.output)?;
    Ok(lowering.builder.finish(vec![(Role::Result, result)])?)
}

/// What the loss is taken of: a cross-entropy normalises each row by itself, so a last `Softmax` of the rows is left out.
fn logits<'a>(graph: &'a Graph, task: &Task) -> &'a Source {
    if let (Loss::CrossEntropy, Source::Node(index)) = (task.loss, &graph.output)
        && let Some(node) = graph.nodes.get(*index)
        && matches!(node.op, Op::Softmax { axis } if axis + 1 == graph.output_shape.len())
        && let Some(operand) = node.inputs.first()
    {
        return operand;
    }
    &graph.output
}

/// Zeros with the names and shapes of what a task's optimizer keeps between steps.
pub fn start_state(graph: &Graph, task: &Task) -> Weights {
    optimizer::state(&task.optimizer, graph)
}

/// A graph on its way into a program.
struct Lowering<'a> {
    graph: &'a Graph,
    batch: usize,
    training: bool,
    builder: Builder,
    samples: Var,
    /// The key of random numbers; only in training.
    key: Option<Var>,
    weights: BTreeMap<String, Var>,
    /// New values of running statistics; only in training.
    buffers: BTreeMap<String, Var>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, batch: usize, training: bool) -> Result<Self, LowerError> {
        if batch == 0 {
            return Err(LowerError::EmptyBatch);
        }
        let mut builder = Builder::new();
        let shape = [&[batch], &graph.sample[..]].concat();
        let samples = builder.input(Role::Samples, &shape);
        let key = training.then(|| builder.input(Role::Key, &[4]));
        let weights = graph
            .weights
            .iter()
            .map(|(name, tensor)| (name.clone(), builder.input(Role::State(name.clone()), tensor.shape())))
            .collect();
        Ok(Self {
            graph,
            batch,
            training,
            builder,
            samples,
            key,
            weights,
            buffers: BTreeMap::new(),
        })
    }

    /// Rows of the output: all dimensions but the last, which a one-dimensional output lacks.
    fn rows(&self) -> usize {
        let shape = &self.graph.output_shape;
        let rows = shape.len().saturating_sub(1).max(1);
        shape.iter().take(rows).map(|dim| dim.with_batch(self.batch)).product()
    }

    /// Lowers all nodes and gives what `wanted` is.
    fn run(&mut self, wanted: &Source) -> Result<Var, LowerError> {
        let mut results: Vec<Var> = Vec::with_capacity(self.graph.nodes.len());
        for node in &self.graph.nodes {
            let operands: Vec<Var> = node.inputs.iter().map(|source| self.source(source, &results)).collect();
            let shape: Vec<usize> = node.shape.iter().map(|dim| dim.with_batch(self.batch)).collect();
            let result = self.node(node, &operands, &shape).map_err(|source| LowerError::Node {
                node: NodeName {
                    index: node.index,
                    name: node.name.clone(),
                },
                source,
            })?;
            results.push(result);
        }
        Ok(self.source(wanted, &results))
    }
}
