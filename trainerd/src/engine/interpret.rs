//! The operators of a graph as libtorch calls. Every call is one that reports errors instead of aborting.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};
use trainyard_exact::onnx::{Binary, Graph, Node, Op, Reduction, Source, Unary, Window};
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
    let optional = |index: usize| inputs.get(index).copied();
    let operand = |index: usize| required(&inputs, index);
    let x = operand(0)?;
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
        Op::MatMul => x.f_matmul(operand(1)?)?,
        Op::Conv { window, group } => {
            let (x, pads) = padded(x, window, 0.0, false)?;
            let (strides, dilations) = (long(window.strides), long(window.dilations));
            x.f_conv2d(operand(1)?, optional(2), strides, pads, dilations, *group as i64)?
        }
        Op::MaxPool(window) => {
            let (x, pads) = padded(x, window, f64::NEG_INFINITY, true)?;
            let (kernel, strides, dilations) = (long(window.kernel), long(window.strides), long(window.dilations));
            x.f_max_pool2d(kernel, strides, pads, dilations, false)?
        }
        Op::AveragePool {
            window,
            count_include_pad,
        } => average_pool(x, window, *count_include_pad)?,
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
        Op::LayerNormalization { axis, epsilon } => {
            let dims = x.size().get(*axis..).unwrap_or_default().to_vec();
            let normal = x.f_layer_norm::<Tensor>(&dims, None, None, f64::from(*epsilon), false)?;
            match (optional(1), optional(2)) {
                (None, _) => normal,
                (Some(scale), None) => normal.f_mul(scale)?,
                (Some(scale), Some(bias)) => normal.f_mul(scale)?.f_add(bias)?,
            }
        }
        Op::Softmax { axis } => x.f_softmax(*axis as i64, None)?,
        Op::LogSoftmax { axis } => x.f_log_softmax(*axis as i64, None)?,
        Op::Unary(function) => unary(x, *function)?,
        Op::Binary(function) => binary(x, operand(1)?, *function)?,
        Op::Where => operand(1)?.f_where_self(&x.f_ne(0.0)?, operand(2)?)?,
        Op::Reduce { kind, axes } => {
            let axes: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
            let reduced = match kind {
                Reduction::Sum => x.f_sum_dim_intlist(&axes[..], true, None)?,
                Reduction::Mean => x.f_mean_dim(&axes[..], true, None)?,
                Reduction::Max => x.f_amax(&axes[..], true)?,
            };
            reduced.f_reshape(shape())?
        }
        Op::Expand => x.f_expand(shape(), false)?,
        Op::Slice { starts, steps } => slice(x, starts, steps, &shape())?,
        Op::Pad { starts, value } => {
            // libtorch wants the last dimension first.
            let sizes = x.size().into_iter().zip(shape()).zip(starts).rev();
            let pads: Vec<i64> = sizes
                .flat_map(|((before, after), start)| [*start as i64, after - before - *start as i64])
                .collect();
            x.f_pad(pads, "constant", f64::from(*value))?
        }
        Op::Concat { axis } => Tensor::f_cat(&inputs, *axis as i64)?,
        Op::Gather { axis } => gather(x, operand(1)?, *axis)?.f_reshape(shape())?,
    })
}

fn required<'a>(inputs: &[&'a Tensor], index: usize) -> Result<&'a Tensor, EngineError> {
    inputs.get(index).copied().ok_or_else(|| EngineError::State {
        what: "the node",
        problem: format!("has no input {index}"),
    })
}

fn long(sizes: [usize; 2]) -> [i64; 2] {
    sizes.map(|size| size as i64)
}

fn unary(x: &Tensor, function: Unary) -> Result<Tensor, EngineError> {
    Ok(match function {
        Unary::Abs => x.f_abs()?,
        Unary::Neg => x.f_neg()?,
        Unary::Reciprocal => x.f_reciprocal()?,
        Unary::Sqrt => x.f_sqrt()?,
        Unary::Exp => x.f_exp()?,
        Unary::Log => x.f_log()?,
        Unary::Sin => x.f_sin()?,
        Unary::Cos => x.f_cos()?,
        Unary::Erf => x.f_erf()?,
        Unary::Sigmoid => x.f_sigmoid()?,
        Unary::Tanh => x.f_tanh()?,
        Unary::Relu => x.f_relu()?,
        Unary::LeakyRelu { alpha } => x.f_where_self(&x.f_ge(0.0)?, &x.f_mul_scalar(f64::from(alpha))?)?,
        Unary::Gelu { tanh } => x.f_gelu(if tanh { "tanh" } else { "none" })?,
        Unary::HardSigmoid { alpha, beta } => {
            let line = x.f_mul_scalar(f64::from(alpha))?.f_add_scalar(f64::from(beta))?;
            line.f_clamp(0.0, 1.0)?
        }
        Unary::Clip { min, max } => x.f_clamp(f64::from(min), f64::from(max))?,
    })
}

fn binary(a: &Tensor, b: &Tensor, function: Binary) -> Result<Tensor, EngineError> {
    Ok(match function {
        Binary::Add => a.f_add(b)?,
        Binary::Sub => a.f_sub(b)?,
        Binary::Mul => a.f_mul(b)?,
        Binary::Div => a.f_div(b)?,
        Binary::Pow => a.f_log()?.f_mul(b)?.f_exp()?,
        Binary::Min => a.f_minimum(b)?,
        Binary::Max => a.f_maximum(b)?,
        Binary::Equal => a.f_eq_tensor(b)?.f_to_kind(Kind::Float)?,
        Binary::Less => a.f_lt_tensor(b)?.f_to_kind(Kind::Float)?,
        Binary::LessOrEqual => a.f_le_tensor(b)?.f_to_kind(Kind::Float)?,
    })
}

/// The image and the padding left to do. libtorch pads both sides alike, and for pooling by at most half a window; what
/// is not so is padded here, with `value`.
fn padded(x: &Tensor, window: &Window, value: f64, pooling: bool) -> Result<(Tensor, [i64; 2]), EngineError> {
    let ([top, left], [bottom, right]) = (long(window.pads_begin), long(window.pads_end));
    let narrow = |axis: usize| !pooling || window.pads_begin[axis] <= window.kernel[axis] / 2;
    if (top, left) == (bottom, right) && narrow(0) && narrow(1) {
        return Ok((x.shallow_clone(), [top, left]));
    }
    Ok((x.f_pad([left, right, top, bottom], "constant", value)?, [0, 0]))
}

fn average_pool(x: &Tensor, window: &Window, count_include_pad: bool) -> Result<Tensor, EngineError> {
    let mean = |x: &Tensor, pads: [i64; 2], include: bool| {
        x.f_avg_pool2d(long(window.kernel), long(window.strides), pads, false, include, None)
    };
    let (image, pads) = padded(x, window, 0.0, true)?;
    let native = (long(window.pads_begin), long(window.pads_end)) == (pads, pads);
    if count_include_pad || native {
        return Ok(mean(&image, pads, count_include_pad)?);
    }
    // The share of each window that is no padding.
    let (ones, _) = padded(&x.f_ones_like()?, window, 0.0, true)?;
    Ok(mean(&image, pads, true)?.f_div(&mean(&ones, pads, true)?)?)
}

fn slice(x: &Tensor, starts: &[usize], steps: &[isize], shape: &[i64]) -> Result<Tensor, EngineError> {
    let mut part = x.shallow_clone();
    for (axis, ((start, step), count)) in (0..).zip(starts.iter().zip(steps).zip(shape)) {
        let (start, step) = (*start as i64, *step as i64);
        let last = start + (count - 1) * step;
        part = part.f_slice(axis, start.min(last), start.max(last) + 1, step.abs())?;
        if step < 0 {
            part = part.f_flip([axis])?;
        }
    }
    Ok(part)
}

/// The slices of `data` along `axis` that `indices` name, one after the other.
fn gather(data: &Tensor, indices: &Tensor, axis: usize) -> Result<Tensor, EngineError> {
    let size = data.size().get(axis).copied().unwrap_or(0);
    let indices = indices.f_reshape([-1])?.f_to_kind(Kind::Int64)?;
    let (least, greatest) = (
        indices.f_min()?.f_int64_value(&[])?,
        indices.f_max()?.f_int64_value(&[])?,
    );
    if least < 0 || greatest >= size {
        let problem = format!("holds the indices {least} to {greatest}, expected 0 to {}", size - 1);
        return Err(EngineError::State {
            what: "the node",
            problem,
        });
    }
    Ok(data.f_index_select(axis as i64, &indices)?)
}

fn gemm(inputs: &[&Tensor], alpha: f32, beta: f32, trans_a: bool, trans_b: bool) -> Result<Tensor, EngineError> {
    let turned = |matrix: &Tensor, turn: bool| {
        if turn {
            matrix.f_transpose(0, 1)
        } else {
            Ok(matrix.shallow_clone())
        }
    };
    let a = turned(required(inputs, 0)?, trans_a)?;
    let b = turned(required(inputs, 1)?, trans_b)?;
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
