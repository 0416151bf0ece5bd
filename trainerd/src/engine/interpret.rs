//! The operators of a graph as libtorch calls. Every call is one that reports errors instead of aborting.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};
use trainyard_exact::onnx::{Graph, Node, Op, Source, Window};
use trainyard_exact::prf::{Stream, Tag};

use super::EngineError;

/// How the graph is run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// Batch statistics, dropout with masks of this seed.
    Train { seed: u64 },
    /// Running statistics, no dropout.
    Infer,
}

/// The tensors a graph computes with.
pub(super) struct Operands<'a> {
    pub(super) weights: &'a BTreeMap<String, Tensor>,
    pub(super) constants: &'a [Tensor],
    pub(super) input: &'a Tensor,
}

impl Operands<'_> {
    pub(super) fn get<'b>(&'b self, source: &Source, results: &'b [Tensor]) -> Result<&'b Tensor, EngineError> {
        let found = match source {
            Source::Input => Some(self.input),
            Source::Node(index) => results.get(*index),
            Source::Weight(name) => self.weights.get(name),
            Source::Constant(index) => self.constants.get(*index),
        };
        found.ok_or_else(|| EngineError::State {
            what: "the graph",
            problem: format!("lacks {source:?}"),
        })
    }
}

/// The results of all nodes for a batch.
pub(super) fn run(graph: &Graph, operands: &Operands<'_>, mode: Mode) -> Result<Vec<Tensor>, EngineError> {
    let batch = operands
        .input
        .size()
        .first()
        .map_or(0, |size| usize::try_from(*size).unwrap_or(0));
    let mut results = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let result = evaluate(node, operands, &results, mode, batch).map_err(|source| EngineError::Node {
            index: node.index,
            name: node.name.clone(),
            operator: node.operator.clone(),
            source: Box::new(source),
        })?;
        results.push(result);
    }
    Ok(results)
}

fn evaluate(
    node: &Node,
    operands: &Operands<'_>,
    results: &[Tensor],
    mode: Mode,
    batch: usize,
) -> Result<Tensor, EngineError> {
    let inputs = node
        .inputs
        .iter()
        .map(|source| operands.get(source, results))
        .collect::<Result<Vec<_>, _>>()?;
    let [x, rest @ ..] = &inputs[..] else {
        return Err(EngineError::State {
            what: "the node",
            problem: "has no input".to_owned(),
        });
    };
    let optional = |index: usize| inputs.get(index).copied();
    let shape = || {
        node.shape
            .iter()
            .map(|dim| dim.with_batch(batch) as i64)
            .collect::<Vec<_>>()
    };
    Ok(match &node.op {
        Op::Gemm {
            alpha,
            beta,
            trans_a,
            trans_b,
        } => gemm(&inputs, *alpha, *beta, *trans_a, *trans_b)?,
        Op::MatMul => x.f_matmul(second(rest)?)?,
        Op::Add => x.f_add(second(rest)?)?,
        Op::Sub => x.f_sub(second(rest)?)?,
        Op::Mul => x.f_mul(second(rest)?)?,
        Op::Div => x.f_div(second(rest)?)?,
        Op::Conv { window, group } => {
            let Window {
                strides,
                pads,
                dilations,
                ..
            } = *window;
            let group = *group as i64;
            x.f_conv2d(
                second(rest)?,
                optional(2),
                long(strides),
                long(pads),
                long(dilations),
                group,
            )?
        }
        Op::MaxPool(window) => {
            let Window {
                kernel,
                strides,
                pads,
                dilations,
            } = *window;
            x.f_max_pool2d(long(kernel), long(strides), long(pads), long(dilations), false)?
        }
        Op::AveragePool {
            window,
            count_include_pad,
        } => {
            let Window {
                kernel, strides, pads, ..
            } = *window;
            x.f_avg_pool2d(long(kernel), long(strides), long(pads), false, *count_include_pad, None)?
        }
        Op::GlobalAveragePool => x.f_mean_dim(&[2i64, 3][..], true, None)?,
        Op::Reshape => x.f_reshape(shape())?,
        Op::Transpose { perm } => x.f_permute(perm.iter().map(|axis| *axis as i64).collect::<Vec<_>>())?,
        Op::BatchNormalization { epsilon, momentum } => {
            let training = matches!(mode, Mode::Train { .. });
            // ONNX weighs the old statistics, libtorch the new ones.
            let momentum = 1.0 - f64::from(*momentum);
            let [scale, bias, mean, variance] = [1, 2, 3, 4].map(optional);
            x.f_batch_norm(
                scale,
                bias,
                mean,
                variance,
                training,
                momentum,
                f64::from(*epsilon),
                false,
            )?
        }
        Op::Dropout { ratio } => match mode {
            Mode::Train { seed } if *ratio > 0.0 => x.f_mul(&mask(x, *ratio, seed, node.index)?)?,
            _ => x.shallow_clone(),
        },
        Op::Relu => x.f_relu()?,
        Op::Sigmoid => x.f_sigmoid()?,
        Op::Tanh => x.f_tanh()?,
        Op::Softmax { axis } => x.f_softmax(*axis as i64, None)?,
        Op::LogSoftmax { axis } => x.f_log_softmax(*axis as i64, None)?,
        Op::Clip { min, max } => x.f_clamp(f64::from(*min), f64::from(*max))?,
        Op::ReduceMean { axes } => {
            let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
            x.f_mean_dim(&axes[..], true, None)?.f_reshape(shape())?
        }
    })
}

fn second<'a>(rest: &[&'a Tensor]) -> Result<&'a Tensor, EngineError> {
    rest.first().copied().ok_or_else(|| EngineError::State {
        what: "the node",
        problem: "has no second input".to_owned(),
    })
}

fn long(sizes: [usize; 2]) -> [i64; 2] {
    sizes.map(|size| size as i64)
}

fn gemm(inputs: &[&Tensor], alpha: f32, beta: f32, trans_a: bool, trans_b: bool) -> Result<Tensor, EngineError> {
    let turned = |matrix: &Tensor, turn: bool| {
        if turn {
            matrix.f_transpose(0, 1)
        } else {
            Ok(matrix.shallow_clone())
        }
    };
    let a = turned(inputs[0], trans_a)?;
    let b = turned(second(&inputs[1..])?, trans_b)?;
    let scaled = |tensor: &Tensor, factor: f32| {
        if factor == 1.0 {
            Ok(tensor.shallow_clone())
        } else {
            tensor.f_mul_scalar(f64::from(factor))
        }
    };
    let a = scaled(&a, alpha)?;
    Ok(match inputs.get(2) {
        Some(c) => scaled(c, beta)?.f_addmm(&a, &b)?,
        None => a.f_matmul(&b)?,
    })
}

/// 0 or `1 / (1 − ratio)` for each element, drawn from the step's seed and the node.
fn mask(like: &Tensor, ratio: f32, seed: u64, node: usize) -> Result<Tensor, EngineError> {
    let mut draws = Stream::new(Tag::Dropout, &[&seed.to_le_bytes(), &(node as u64).to_le_bytes()]);
    let kept = 1.0 / (1.0 - ratio);
    let values: Vec<f32> = (0..like.numel())
        .map(|_| if draws.unit_f32() < ratio { 0.0 } else { kept })
        .collect();
    Ok(Tensor::f_from_slice(&values)?
        .f_reshape(like.size())?
        .f_to_device(like.device())?
        .f_to_kind(Kind::Float)?)
}
