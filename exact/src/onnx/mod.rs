//! A model as an ONNX graph, decoded from bytes that may come from anywhere.
//!
//! [`decode`] accepts what exports of CNNs, ResNets, MLPs and transformers contain and refuses everything else by name.
//! What it returns is fully checked: nodes are in topological order, every shape is known up to the batch size, and what does
//! not depend on input and weights (shape arithmetic, positions, masks) is already evaluated, so an engine only computes.
//!
//! | file | does |
//! |---|---|
//! | `op.rs` | the operators of a graph |
//! | `wire.rs` | counts and bounds what the bytes would cost before anything is allocated |
//! | `decode.rs` | the file as a whole: input, nodes, output |
//! | `literal.rs` | tensors written in the file |
//! | `value.rs`, `attributes.rs` | what names stand for; a node's operands and attributes |
//! | `operators/` | one ONNX operator after the other, written in those of `op.rs` |
//! | `fold.rs` | operators on tensors that are known now: evaluated, never part of the graph |
//! | `order.rs` | topological order, pruning, which tensors are trained |
//! | `shapes.rs` | broadcasting, reshaping, sliding windows |
//!
//! # Elements
//! Engines compute in f32 only. Integers are whole numbers, at most 2²⁴ in magnitude; booleans are 0 and 1. The input may be
//! i32 or i64 (tokens); its samples are then whole numbers in f32.
//!
//! # The output
//! It has the shape `(N, classes)`, or more dimensions, such as `(N, T, vocabulary)`: a loss is then taken over each row of
//! the last dimension, and a sample has one label for each of its rows.
//!
//! # Which tensors are trained
//! Every finite f32 initializer that the output has a gradient for is a trainable parameter. The running mean and variance of a
//! `BatchNormalization` are *buffers* (kept and averaged, no gradient); both belong to the weights. Scalars (rank 0), tensors
//! without a gradient, those with infinities (masks) and the outputs of `Constant` nodes are constants of the graph.

mod attributes;
mod decode;
mod fold;
mod literal;
mod op;
mod operators;
mod order;
pub(crate) mod proto;
mod shapes;
mod value;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use crate::tensor::{Tensor, Weights};

pub use decode::decode;
pub use op::{Binary, Op, Reduction, Unary, Window};

/// What a graph from outside may cost. Decoding allocates at most about four times `bytes`,
/// 16 bytes for each of `evaluated` and 1 KiB for each of `fields`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most bytes of the file.
    pub bytes: u64,
    /// Most nodes.
    pub nodes: u64,
    /// Most initializers.
    pub tensors: u64,
    /// Most fields over all messages of the file (names, attributes, dimensions, integers).
    pub fields: u64,
    /// Most elements over all initializers and constants in the file.
    pub parameters: u64,
    /// Most elements over all tensors that decoding evaluates; each costs 16 bytes.
    pub evaluated: u64,
    /// Largest rank of a tensor.
    pub rank: u64,
    /// Largest dimension of a tensor.
    pub dim: u64,
    /// Most elements over all values the graph computes, for one sample.
    pub activations: u64,
    /// Longest name, in bytes.
    pub name: u64,
}

impl Default for Limits {
    /// 256 MiB, 10 000 nodes, 10 000 tensors, 250 000 fields, 2²⁶ parameters, rank 8, dimensions up to 2²⁸,
    /// 2²⁴ elements evaluated, 2²⁶ activations a sample (256 MiB), names up to 512 bytes.
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            nodes: 10_000,
            tensors: 10_000,
            fields: 250_000,
            parameters: 1 << 26,
            evaluated: 1 << 24,
            rank: 8,
            dim: 1 << 28,
            activations: 1 << 26,
            name: 512,
        }
    }
}

/// Why bytes are not a graph that can be trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than a limit allows.
    #[error("{what} is {found}, the limit is {limit}")]
    Limit {
        /// What is limited.
        what: String,
        /// The value found.
        found: u64,
        /// The bound it broke.
        limit: u64,
    },
    /// The bytes are no ONNX file.
    #[error("not an ONNX file: {0}")]
    Format(String),
    /// An operator this crate does not know.
    #[error("{node}: the operator {operator:?} is not supported")]
    Operator {
        /// The node.
        node: NodeName,
        /// Its operator, with the domain if it has one.
        operator: String,
    },
    /// A node that cannot be computed.
    #[error("{node}: {why}")]
    Node {
        /// The node.
        node: NodeName,
        /// What is wrong.
        why: String,
    },
    /// A tensor that cannot be used.
    #[error("tensor {name:?}: {why}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The graph as a whole.
    #[error("{0}")]
    Graph(String),
}

/// How an error points at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName {
    /// Position in the file, from 0.
    pub index: usize,
    /// The node's name; may be empty.
    pub name: String,
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.index)?;
        if self.name.is_empty() {
            Ok(())
        } else {
            write!(f, " {:?}", self.name)
        }
    }
}

/// A dimension: the batch size, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// The number of samples in the batch.
    Batch,
    /// A fixed number of elements.
    Fixed(usize),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("N"),
            Self::Fixed(size) => write!(f, "{size}"),
        }
    }
}

impl Dim {
    /// The dimension when the batch has `batch` samples.
    pub fn with_batch(self, batch: usize) -> usize {
        match self {
            Self::Batch => batch,
            Self::Fixed(size) => size,
        }
    }
}

/// A checked graph: one input `(N, …)`, one output `(N, …)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Name of the input.
    pub input: String,
    /// Shape of one input sample, without the batch dimension.
    pub sample: Vec<usize>,
    /// Nodes that the output depends on, in topological order: operands come before their users.
    pub nodes: Vec<Node>,
    /// What the output is.
    pub output: Source,
    /// Shape of the output; the first dimension is the batch.
    pub output_shape: Vec<Dim>,
    /// Start values of the parameters and buffers.
    pub weights: Weights,
    /// Which of `weights` are buffers: running statistics, without gradient.
    pub buffers: BTreeSet<String>,
    /// Tensors that never change.
    pub constants: Vec<Tensor>,
}

impl Graph {
    /// Multiply-accumulates of one forward pass over one sample (`Gemm`, `MatMul`, `Conv`): the unit work is paid in.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().fold(0, |sum, node| sum.saturating_add(node.macs))
    }

    /// The trainable tensors, in name order.
    pub fn parameters(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.weights.iter().filter(|(name, _)| !self.buffers.contains(*name))
    }

    /// Number of trainable elements.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().map(|(_, tensor)| tensor.data().len() as u64).sum()
    }
}

/// One computation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Position in the ONNX file, from 0.
    pub index: usize,
    /// The node's name in the file; may be empty.
    pub name: String,
    /// The operator's name in the file, such as `Flatten` for an `Op::Reshape`.
    pub operator: String,
    /// What is computed.
    pub op: Op,
    /// The operands, in ONNX order; optional ones that are absent can only be the last.
    pub inputs: Vec<Source>,
    /// Shape of the result.
    pub shape: Vec<Dim>,
    /// Multiply-accumulates for one sample.
    pub macs: u64,
}

/// Where an operand comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The graph's input.
    Input,
    /// The result of `nodes[_]`.
    Node(usize),
    /// `weights[_]`.
    Weight(String),
    /// `constants[_]`.
    Constant(usize),
}
