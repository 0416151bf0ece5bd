//! Folds over dimensions, and what is made of them: normalisation and softmax.

use super::super::attributes::Operands;
use super::super::decode::Decoder;
use super::super::shapes::{self, show};
use super::super::value::{Item, Known, Type, Value};
use super::super::{Binary, Dim, Op, Reduction, Source, Unary, fold};
use super::{binary, fixed_dim, reshaped, unary};

pub(super) fn reduce(graph: &mut Decoder<'_>, operator: &str, cx: &Operands<'_>) -> Result<Value, String> {
    let shape = cx.shape(0)?;
    let global = operator.starts_with("Global");
    let keep = global || cx.flag("keepdims", true)?;
    let axes = if global {
        cx.at_most(1)?;
        if shape.len() < 3 {
            return Err(format!(
                "its input has shape {}, expected (N, channels, …)",
                show(&shape)
            ));
        }
        (2..shape.len()).collect()
    } else {
        cx.at_most(2)?;
        let noop = cx.flag("noop_with_empty_axes", false)?;
        match cx.list(1, "axes")? {
            Some(list) if !list.is_empty() => shapes::axes(&list, shape.len())?,
            _ if noop => return Ok(cx.value(0)?.clone()),
            _ => (0..shape.len()).collect::<Vec<_>>(),
        }
    };
    for axis in &axes {
        if fixed_dim(shape[*axis], "a dimension it folds")? == 0 {
            return Err("it folds a dimension of 0".to_owned());
        }
    }
    let reduced = |axis: usize| match (axes.contains(&axis), keep) {
        (false, _) => Some(shape[axis]),
        (true, true) => Some(Dim::Fixed(1)),
        (true, false) => None,
    };
    let dims: Vec<Dim> = (0..shape.len()).filter_map(reduced).collect();
    let x = cx.value(0)?;
    if operator == "ReduceProd" {
        return product(x, &axes, dims.len());
    }
    if axes.is_empty() {
        return Ok(x.clone());
    }
    let kind = match operator {
        "ReduceSum" => Reduction::Sum,
        "ReduceMean" | "GlobalAveragePool" => Reduction::Mean,
        _ => Reduction::Max,
    };
    let op = Op::Reduce { kind, axes };
    if operator != "ReduceMin" {
        return graph.emit(op, &[x], dims, x.kind()?);
    }
    let negative = unary(graph, Unary::Neg, x)?;
    let greatest = graph.emit(op, &[&negative], dims, x.kind()?)?;
    unary(graph, Unary::Neg, &greatest)
}

/// Of all elements of a known list: exporters count elements so.
fn product(x: &Value, axes: &[usize], rank: usize) -> Result<Value, String> {
    match x {
        Value::Known(known) if known.shape.len() == axes.len() => {
            let multiply = |product, item: &Item| fold::binary(Binary::Mul, product, *item, known.kind);
            let product = known.items.iter().try_fold(Item::Number(1.0), multiply)?;
            Ok(Known::new(known.kind, vec![1; rank], vec![product]).into())
        }
        _ => Err("only the product of all elements of a small constant is supported".to_owned()),
    }
}

pub(super) fn batch(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(5)?;
    let epsilon = epsilon(cx)?;
    let momentum = cx.float("momentum")?.unwrap_or(0.9);
    // Which statistics are used depends on whether an engine trains or infers, not on how the model was exported.
    cx.int("training_mode", 0)?;
    if !cx.flag("spatial", true)? {
        return Err("spatial 0 is not supported".to_owned());
    }
    if !(0.0..=1.0).contains(&momentum) {
        return Err(format!("its momentum is {momentum}, expected 0 to 1"));
    }
    let shape = cx.shape(0)?;
    let (Some(channels @ Dim::Fixed(_)), 2..=4) = (shape.get(1), shape.len()) else {
        return Err(format!(
            "its input has shape {}, expected (N, channels) or (N, channels, …)",
            show(&shape)
        ));
    };
    for index in 1..5 {
        let found = cx.shape(index)?;
        if found != [*channels] {
            return Err(format!(
                "its input {index} has shape {}, expected ({channels})",
                show(&found)
            ));
        }
    }
    for index in 3..5 {
        let Value::Tensor {
            source: Source::Weight(name),
            ..
        } = cx.value(index)?
        else {
            return Err(format!("its input {index} must be an initializer"));
        };
        graph.buffers.insert(name.clone());
    }
    let op = Op::BatchNormalization { epsilon, momentum };
    graph.emit(op, &cx.all()?, shape, Type::Float)
}

fn epsilon(cx: &Operands<'_>) -> Result<f32, String> {
    match cx.float("epsilon")?.unwrap_or(1e-5) {
        epsilon if epsilon > 0.0 => Ok(epsilon),
        epsilon => Err(format!("its epsilon is {epsilon}, expected more than 0")),
    }
}

pub(super) fn layer(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    // The precision in which statistics are computed.
    cx.int("stash_type", 1)?;
    let epsilon = epsilon(cx)?;
    let shape = cx.shape(0)?;
    let axis = shapes::axis(cx.int("axis", -1)?, shape.len())?;
    if shape[axis..].contains(&Dim::Batch) {
        return Err(format!("axis {axis} of {} normalises over the batch", show(&shape)));
    }
    for index in 1..cx.len() {
        if shapes::broadcast(&shape[axis..], &cx.shape(index)?)? != shape[axis..] {
            return Err(format!(
                "its input {index} has shape {}, which does not fit {}",
                show(&cx.shape(index)?),
                show(&shape[axis..])
            ));
        }
    }
    graph.emit(Op::LayerNormalization { axis, epsilon }, &cx.all()?, shape, Type::Float)
}

/// A layer normalisation over (N, groups, rest). Scale and bias are for each group, or, from version 21 of the operator set
/// on, for each channel.
pub(super) fn group(graph: &mut Decoder<'_>, operator: &str, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    let epsilon = epsilon(cx)?;
    let shape = cx.shape(0)?;
    let [batch, Dim::Fixed(channels), ref rest @ ..] = shape[..] else {
        return Err(format!(
            "its input has shape {}, expected (N, channels, …)",
            show(&shape)
        ));
    };
    let groups = if operator == "InstanceNormalization" {
        channels
    } else {
        cx.int("stash_type", 1)?;
        let groups = cx.int("num_groups", 0)?;
        usize::try_from(groups)
            .ok()
            .filter(|groups| *groups > 0 && channels % groups == 0)
            .ok_or_else(|| format!("num_groups is {groups}, which does not divide {channels} channels"))?
    };
    if rest.contains(&Dim::Batch) {
        return Err(format!(
            "its input has shape {}, the batch must come first",
            show(&shape)
        ));
    }
    let affine = if groups == channels || graph.opset < 21 {
        groups
    } else {
        channels
    };
    for index in 1..3 {
        if cx.shape(index)? != [Dim::Fixed(affine)] {
            return Err(format!(
                "its input {index} has shape {}, expected ({affine})",
                show(&cx.shape(index)?)
            ));
        }
    }
    let size = shapes::elements(&shape[1..])? / groups as u64;
    let size = usize::try_from(size).map_err(|error| error.to_string())?;
    let grouped = reshaped(graph, cx.value(0)?, vec![batch, Dim::Fixed(groups), Dim::Fixed(size)])?;
    let op = Op::LayerNormalization { axis: 2, epsilon };
    // One for each channel, aligned with the dimensions after it.
    let mut aligned = |after: usize| {
        let dims = [&[Dim::Fixed(affine)], &vec![Dim::Fixed(1); after][..]].concat();
        let scale = reshaped(graph, cx.value(1)?, dims.clone())?;
        Ok::<_, String>((scale, reshaped(graph, cx.value(2)?, dims)?))
    };
    if affine == groups {
        let (scale, bias) = aligned(1)?;
        let dims = grouped.shape()?;
        let normal = graph.emit(op, &[&grouped, &scale, &bias], dims, Type::Float)?;
        return reshaped(graph, &normal, shape.clone());
    }
    let (scale, bias) = aligned(rest.len())?;
    let dims = grouped.shape()?;
    let normal = graph.emit(op, &[&grouped], dims, Type::Float)?;
    let normal = reshaped(graph, &normal, shape.clone())?;
    let scaled = binary(graph, Binary::Mul, &normal, &scale)?;
    binary(graph, Binary::Add, &scaled, &bias)
}

pub(super) fn softmax(graph: &mut Decoder<'_>, operator: &str, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
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
    let op = match operator {
        "Softmax" => Op::Softmax { axis },
        _ => Op::LogSoftmax { axis },
    };
    graph.emit(op, &[cx.value(0)?], shape, Type::Float)
}
