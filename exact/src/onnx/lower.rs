//! One operator after the other: what it asks of its operands and attributes, what comes out, what it costs.

use super::attributes::{Operands, Value};
use super::decode::{Decoder, Lowered};
use super::fold::{self, Int, Ints};
use super::literal::Literal;
use super::shapes::{self, show};
use super::{Binary, Dim, Op, Reduction, Unary, Window};
use crate::tensor::Tensor;

/// Element types of ONNX that `Cast` may name.
const FLOAT: i64 = 1;
const INT32: i64 = 6;
const INT64: i64 = 7;

/// What the operator of that name is, or `None` where the name is not known.
pub(super) fn lower(graph: &mut Decoder<'_>, operator: &str, cx: &mut Operands<'_>) -> Result<Option<Lowered>, String> {
    if cx.present(0)
        && matches!(cx.value(0)?, Value::Ints(_))
        && let Some(ints) = fold::evaluate(operator, cx)?
    {
        return Ok(Some(Lowered::Value(Value::Ints(ints))));
    }
    Ok(Some(match operator {
        "Constant" => constant(graph, cx)?,
        "Identity" => alias(cx)?,
        "Cast" => cast(cx)?,
        "Shape" => {
            cx.at_most(1)?;
            let (start, end) = (cx.int("start", 0)?, cx.optional_int("end")?);
            Lowered::Value(Value::Ints(fold::shape(cx.shape(0)?, start, end)))
        }
        "Gemm" => gemm(cx)?,
        "MatMul" => matmul(cx)?,
        "Conv" => conv(cx)?,
        "MaxPool" => max_pool(cx)?,
        "AveragePool" => average_pool(cx)?,
        "GlobalAveragePool" => {
            let [batch, channels, _, _] = image(cx)?;
            compute(
                cx,
                1,
                Op::Reduce {
                    kind: Reduction::Mean,
                    axes: vec![2, 3],
                },
                vec![batch, channels, Dim::Fixed(1), Dim::Fixed(1)],
            )?
        }
        "BatchNormalization" => batch_normalization(graph, cx)?,
        "Add" => broadcast(cx, Binary::Add)?,
        "Sub" => broadcast(cx, Binary::Sub)?,
        "Mul" => broadcast(cx, Binary::Mul)?,
        "Div" => broadcast(cx, Binary::Div)?,
        "Relu" => pointwise(cx, Unary::Relu)?,
        "Sigmoid" => pointwise(cx, Unary::Sigmoid)?,
        "Tanh" => pointwise(cx, Unary::Tanh)?,
        "Clip" => clip(cx)?,
        "Dropout" => dropout(cx)?,
        "Softmax" => softmax(graph, cx, |axis| Op::Softmax { axis })?,
        "LogSoftmax" => softmax(graph, cx, |axis| Op::LogSoftmax { axis })?,
        "Reshape" => {
            cx.at_most(2)?;
            let allow_zero = cx.flag("allowzero", false)?;
            reshape(graph, cx, &cx.ints(1)?.items, allow_zero)?
        }
        "Flatten" => flatten(graph, cx)?,
        "Squeeze" => squeeze(cx)?,
        "Unsqueeze" => unsqueeze(cx)?,
        "Transpose" => transpose(cx)?,
        "ReduceMean" => reduce_mean(cx)?,
        _ => return Ok(None),
    }))
}

/// A computation on the first `most` operands (those that are present) without multiply-accumulates.
fn compute(cx: &Operands<'_>, most: usize, op: Op, shape: Vec<Dim>) -> Result<Lowered, String> {
    cx.at_most(most)?;
    Ok(Lowered::Compute {
        op,
        operands: (0..cx.len()).collect(),
        shape,
        macs: 0,
    })
}

/// A computation on the first operand only; the others were read as attributes.
fn unary(op: Op, shape: Vec<Dim>) -> Lowered {
    Lowered::Compute {
        op,
        operands: vec![0],
        shape,
        macs: 0,
    }
}

fn pointwise(cx: &Operands<'_>, op: Unary) -> Result<Lowered, String> {
    compute(cx, 1, Op::Unary(op), cx.shape(0)?.to_vec())
}

fn broadcast(cx: &Operands<'_>, op: Binary) -> Result<Lowered, String> {
    compute(cx, 2, Op::Binary(op), shapes::broadcast(cx.shape(0)?, cx.shape(1)?)?)
}

fn constant(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Lowered, String> {
    let known = |items: Vec<i64>, scalar| {
        Lowered::Value(Value::Ints(Ints {
            scalar,
            items: items.into_iter().map(Int::Known).collect(),
        }))
    };
    if let Some(value) = cx.optional_int("value_int")? {
        return Ok(known(vec![value], true));
    }
    if let Some(values) = cx.int_list("value_ints") {
        return Ok(known(values.to_vec(), false));
    }
    if let Some(value) = cx.float("value_float")? {
        return Ok(Lowered::Constant(Tensor::scalar(value)));
    }
    let tensor = cx.tensor("value").ok_or("it has no value of a supported kind")?;
    Ok(match graph.literal(tensor)? {
        Literal::Float(tensor) => Lowered::Constant(tensor),
        Literal::Ints(ints) => Lowered::Value(Value::Ints(ints)),
        Literal::Opaque(what) => Lowered::Value(Value::Opaque(what)),
    })
}

fn alias(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(1)?;
    Ok(Lowered::Value(cx.value(0)?.clone()))
}

fn cast(cx: &Operands<'_>) -> Result<Lowered, String> {
    let to = cx.int("to", 0)?;
    cx.int("saturate", 1)?;
    match (cx.value(0)?, to) {
        (Value::Ints(_), INT32 | INT64) | (Value::Tensor { .. } | Value::Initializer { .. }, FLOAT) => alias(cx),
        (Value::Ints(ints), FLOAT) => {
            let values = ints.known()?;
            let data: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            let shape = if ints.scalar { vec![] } else { vec![data.len()] };
            Tensor::new(shape, data)
                .map(Lowered::Constant)
                .map_err(|error| error.to_string())
        }
        (Value::Opaque(what), _) => Ok(Lowered::Value(Value::Opaque(what.clone()))),
        _ => Err(format!("casting an f32 tensor to type {to} is not supported")),
    }
}

fn fixed_dim(dim: Dim, what: &str) -> Result<usize, String> {
    match dim {
        Dim::Fixed(size) => Ok(size),
        Dim::Batch => Err(format!("{what} is the batch size")),
    }
}

/// Multiply-accumulates of `outputs` elements that are each a sum over `depth` products.
fn macs(outputs: &[Dim], depth: usize) -> Result<u64, String> {
    let elements = shapes::elements(outputs)?;
    elements
        .checked_mul(depth as u64)
        .ok_or_else(|| format!("{elements} × {depth} multiply-accumulates overflow"))
}

fn gemm(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(3)?;
    let alpha = cx.float("alpha")?.unwrap_or(1.0);
    let beta = cx.float("beta")?.unwrap_or(1.0);
    let (trans_a, trans_b) = (cx.flag("transA", false)?, cx.flag("transB", false)?);
    let matrix = |index: usize, transposed: bool| match *cx.shape(index)? {
        [rows, columns] => Ok(if transposed { (columns, rows) } else { (rows, columns) }),
        ref other => Err(format!(
            "its input {index} has shape {}, expected a matrix",
            show(other)
        )),
    };
    let ((rows, inner), (inner_b, columns)) = (matrix(0, trans_a)?, matrix(1, trans_b)?);
    let depth = fixed_dim(inner, "the inner dimension")?;
    if inner != inner_b {
        return Err(format!("the inner dimensions {inner} and {inner_b} differ"));
    }
    let shape = vec![rows, columns];
    if cx.present(2) && shapes::broadcast(&shape, cx.shape(2)?)? != shape {
        return Err(format!(
            "its input 2 has shape {}, which does not fit {}",
            show(cx.shape(2)?),
            show(&shape)
        ));
    }
    let macs = macs(&shape, depth)?;
    Ok(Lowered::Compute {
        op: Op::Gemm {
            alpha,
            beta,
            trans_a,
            trans_b,
        },
        operands: (0..cx.len()).collect(),
        shape,
        macs,
    })
}

fn matmul(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(2)?;
    let (left, right) = (cx.shape(0)?, cx.shape(1)?);
    let ([outer_a @ .., rows, inner], [outer_b @ .., inner_b, columns]) = (left, right) else {
        return Err(format!("shapes {} and {} are not matrices", show(left), show(right)));
    };
    let depth = fixed_dim(*inner, "the inner dimension")?;
    if inner != inner_b {
        return Err(format!("the inner dimensions {inner} and {inner_b} differ"));
    }
    let mut shape = shapes::broadcast(outer_a, outer_b)?;
    shape.extend([*rows, *columns]);
    let macs = macs(&shape, depth)?;
    Ok(Lowered::Compute {
        op: Op::MatMul,
        operands: vec![0, 1],
        shape,
        macs,
    })
}

/// The first operand as (batch, channels, height, width).
fn image(cx: &Operands<'_>) -> Result<[Dim; 4], String> {
    let shape = cx.shape(0)?;
    match *shape {
        [batch, channels, height, width] if ![channels, height, width].contains(&Dim::Batch) => {
            Ok([batch, channels, height, width])
        }
        _ => Err(format!(
            "its input has shape {}, expected (N, channels, height, width)",
            show(shape)
        )),
    }
}

fn window(cx: &Operands<'_>, kernel: [usize; 2]) -> Result<Window, String> {
    match cx.string("auto_pad")? {
        None | Some("" | "NOTSET" | "VALID") => {}
        Some(other) => {
            return Err(format!(
                "auto_pad {other:?} is not supported; write the padding as numbers"
            ));
        }
    }
    let strides = cx.sizes("strides")?.unwrap_or([1; 2]);
    let dilations = cx.sizes("dilations")?.unwrap_or([1; 2]);
    let [top, left, bottom, right] = cx.sizes("pads")?.unwrap_or([0; 4]);
    if (top, left) != (bottom, right) {
        return Err(format!(
            "the padding {:?} differs between the two sides",
            [top, left, bottom, right]
        ));
    }
    if kernel.contains(&0) || strides.contains(&0) || dilations.contains(&0) {
        return Err(format!(
            "kernel {kernel:?}, strides {strides:?} and dilations {dilations:?} must be at least 1"
        ));
    }
    Ok(Window {
        kernel,
        strides,
        pads_begin: [top, left],
        pads_end: [bottom, right],
        dilations,
    })
}

fn slid(cx: &Operands<'_>, channels: Dim, window: &Window) -> Result<Vec<Dim>, String> {
    let [batch, _, height, width] = image(cx)?;
    let size = [fixed_dim(height, "the height")?, fixed_dim(width, "the width")?];
    let [height, width] = shapes::slide(size, window)?;
    Ok(vec![batch, channels, Dim::Fixed(height), Dim::Fixed(width)])
}

fn conv(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(3)?;
    let [_, channels, _, _] = image(cx)?;
    let filters = cx.shape(1)?;
    let [
        Dim::Fixed(out),
        Dim::Fixed(depth),
        Dim::Fixed(height),
        Dim::Fixed(width),
    ] = *filters
    else {
        return Err(format!(
            "its weight has shape {}, expected 4 fixed dimensions",
            show(filters)
        ));
    };
    let window = window(cx, [height, width])?;
    if let Some(kernel) = cx.sizes::<2>("kernel_shape")?
        && kernel != window.kernel
    {
        return Err(format!(
            "kernel_shape {kernel:?} differs from its weight's, {:?}",
            window.kernel
        ));
    }
    let group = cx.int("group", 1)?;
    let group = usize::try_from(group)
        .ok()
        .filter(|group| *group > 0)
        .ok_or_else(|| format!("group is {group}"))?;
    if depth.checked_mul(group).map(Dim::Fixed) != Some(channels) || out % group != 0 {
        let weight = show(filters);
        return Err(format!(
            "its input has {channels} channels, its weight has shape {weight}, with {group} groups"
        ));
    }
    if cx.present(2) && cx.shape(2)? != [Dim::Fixed(out)] {
        return Err(format!("its bias has shape {}, expected ({out})", show(cx.shape(2)?)));
    }
    let shape = slid(cx, Dim::Fixed(out), &window)?;
    // Bounded by the limit on parameters: the product is a part of the weight.
    let macs = macs(&shape, depth * height * width)?;
    Ok(Lowered::Compute {
        op: Op::Conv { window, group },
        operands: (0..cx.len()).collect(),
        shape,
        macs,
    })
}

fn pool(cx: &Operands<'_>) -> Result<(Window, Vec<Dim>), String> {
    cx.at_most(1)?;
    let kernel = cx
        .sizes("kernel_shape")?
        .ok_or("it has no kernel_shape of two dimensions")?;
    let window = window(cx, kernel)?;
    if cx.flag("ceil_mode", false)? {
        return Err("ceil_mode 1 is not supported".to_owned());
    }
    if (0..2).any(|axis| window.pads_begin[axis] > kernel[axis] / 2) {
        return Err(format!(
            "the padding {:?} is more than half of the kernel {kernel:?}",
            window.pads_begin
        ));
    }
    let [_, channels, _, _] = image(cx)?;
    let shape = slid(cx, channels, &window)?;
    Ok((window, shape))
}

fn max_pool(cx: &Operands<'_>) -> Result<Lowered, String> {
    let (window, shape) = pool(cx)?;
    // The order of the indices, which are the second output.
    cx.int("storage_order", 0)?;
    Ok(unary(Op::MaxPool(window), shape))
}

fn average_pool(cx: &Operands<'_>) -> Result<Lowered, String> {
    let (window, shape) = pool(cx)?;
    if window.dilations != [1; 2] {
        return Err(format!("dilations {:?} are not supported", window.dilations));
    }
    let count_include_pad = cx.flag("count_include_pad", false)?;
    Ok(unary(
        Op::AveragePool {
            window,
            count_include_pad,
        },
        shape,
    ))
}

fn batch_normalization(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Lowered, String> {
    let epsilon = cx.float("epsilon")?.unwrap_or(1e-5);
    let momentum = cx.float("momentum")?.unwrap_or(0.9);
    // Which statistics are used depends on whether an engine trains or infers, not on how the model was exported.
    cx.int("training_mode", 0)?;
    if !cx.flag("spatial", true)? {
        return Err("spatial 0 is not supported".to_owned());
    }
    if !(0.0..=1.0).contains(&momentum) || epsilon <= 0.0 {
        return Err(format!(
            "epsilon {epsilon} must be positive and momentum {momentum} between 0 and 1"
        ));
    }
    let shape = cx.shape(0)?;
    let (Some(channels @ Dim::Fixed(_)), 2..=4) = (shape.get(1), shape.len()) else {
        return Err(format!(
            "its input has shape {}, expected (N, channels) or (N, channels, …)",
            show(shape)
        ));
    };
    for index in 1..5 {
        let found = cx.shape(index)?;
        if found != [*channels] {
            return Err(format!(
                "its input {index} has shape {}, expected ({channels})",
                show(found)
            ));
        }
    }
    for index in 3..5 {
        graph.buffers.insert(cx.initializer(index)?.to_owned());
    }
    compute(cx, 5, Op::BatchNormalization { epsilon, momentum }, shape.to_vec())
}

fn clip(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(3)?;
    let min = cx.scalar(1, "min")?.unwrap_or(f32::MIN);
    let max = cx.scalar(2, "max")?.unwrap_or(f32::MAX);
    if min > max {
        return Err(format!("its lower bound {min} is above its upper bound {max}"));
    }
    Ok(unary(Op::Unary(Unary::Clip { min, max }), cx.shape(0)?.to_vec()))
}

fn dropout(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(3)?;
    let ratio = cx.scalar(1, "ratio")?.unwrap_or(0.5);
    // Masks come from the job's seed, and whether there are any from the engine's mode.
    cx.int("seed", 0)?;
    if !(0.0..1.0).contains(&ratio) {
        return Err(format!("its ratio is {ratio}, expected 0 or more and less than 1"));
    }
    Ok(unary(Op::Dropout { ratio }, cx.shape(0)?.to_vec()))
}

fn softmax(graph: &Decoder<'_>, cx: &Operands<'_>, op: impl Fn(usize) -> Op) -> Result<Lowered, String> {
    let shape = cx.shape(0)?;
    // Before version 13 the operand was flattened into a matrix at the axis, which is the same along the last one.
    let old = graph.opset < 13;
    let axis = shapes::axis(cx.int("axis", if old { 1 } else { -1 })?, shape.len())?;
    if old && axis + 1 != shape.len() {
        return Err(format!(
            "axis {axis} of operator set {} is not the last one",
            graph.opset
        ));
    }
    fixed_dim(shape[axis], "the dimension it normalises")?;
    compute(cx, 1, op(axis), shape.to_vec())
}

fn reshape(graph: &Decoder<'_>, cx: &Operands<'_>, target: &[Int], allow_zero: bool) -> Result<Lowered, String> {
    let shape = shapes::reshape(cx.shape(0)?, target, allow_zero, graph.fixed_batch)?;
    Ok(unary(Op::Reshape, shape))
}

fn flatten(graph: &Decoder<'_>, cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(1)?;
    let from = cx.shape(0)?;
    let axis = match cx.int("axis", 1)? {
        axis if axis == from.len() as i64 => from.len(),
        axis => shapes::axis(axis, from.len())?,
    };
    let side = |dims: &[Dim]| match dims {
        [Dim::Batch, rest @ ..] if rest.iter().all(|dim| *dim == Dim::Fixed(1)) => Ok(Int::Batch),
        dims if dims.contains(&Dim::Batch) => Err(format!("axis {axis} of {} merges the batch", show(from))),
        dims => Ok(Int::Known(
            i64::try_from(shapes::elements(dims)?).map_err(|error| error.to_string())?,
        )),
    };
    reshape(graph, cx, &[side(&from[..axis])?, side(&from[axis..])?], true)
}

fn squeeze(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(2)?;
    let shape = cx.shape(0)?;
    let axes = match cx.axes()? {
        Some(list) => shapes::axes(&list, shape.len())?,
        None => (0..shape.len()).filter(|axis| shape[*axis] == Dim::Fixed(1)).collect(),
    };
    if let Some(axis) = axes.iter().find(|axis| shape[**axis] != Dim::Fixed(1)) {
        return Err(format!("axis {axis} of {} is not 1", show(shape)));
    }
    let kept = (0..shape.len())
        .filter(|axis| !axes.contains(axis))
        .map(|axis| shape[axis]);
    Ok(unary(Op::Reshape, kept.collect()))
}

fn unsqueeze(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(2)?;
    let shape = cx.shape(0)?;
    let list = cx.axes()?.ok_or("it names no axes")?;
    let rank = shape.len() + list.len();
    let axes = shapes::axes(&list, rank)?;
    let mut old = shape.iter().copied();
    let dims = (0..rank).map(|axis| {
        if axes.contains(&axis) {
            Some(Dim::Fixed(1))
        } else {
            old.next()
        }
    });
    Ok(unary(Op::Reshape, dims.flatten().collect()))
}

fn transpose(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(1)?;
    let shape = cx.shape(0)?;
    let perm: Vec<usize> = match cx.int_list("perm") {
        None => (0..shape.len()).rev().collect(),
        Some(list) => {
            let perm: Option<Vec<usize>> = list.iter().map(|axis| usize::try_from(*axis).ok()).collect();
            let perm = perm.unwrap_or_default();
            if perm.len() != shape.len() || (0..shape.len()).any(|axis| !perm.contains(&axis)) {
                return Err(format!("perm {list:?} is no permutation of {} dimensions", shape.len()));
            }
            perm
        }
    };
    let dims = perm.iter().map(|axis| shape[*axis]).collect();
    Ok(unary(Op::Transpose { perm }, dims))
}

fn reduce_mean(cx: &Operands<'_>) -> Result<Lowered, String> {
    cx.at_most(2)?;
    let shape = cx.shape(0)?;
    let keep = cx.flag("keepdims", true)?;
    let noop = cx.flag("noop_with_empty_axes", false)?;
    let axes = match cx.axes()? {
        Some(list) if !list.is_empty() => shapes::axes(&list, shape.len())?,
        _ if noop => return Ok(Lowered::Value(cx.value(0)?.clone())),
        _ => (0..shape.len()).collect(),
    };
    for axis in &axes {
        fixed_dim(shape[*axis], "a dimension it averages over")?;
    }
    let reduced = |axis: usize| match (axes.contains(&axis), keep) {
        (false, _) => Some(shape[axis]),
        (true, true) => Some(Dim::Fixed(1)),
        (true, false) => None,
    };
    let dims = (0..shape.len()).filter_map(reduced).collect();
    Ok(unary(
        Op::Reduce {
            kind: Reduction::Mean,
            axes,
        },
        dims,
    ))
}
