//! Operators that move elements without changing them.

use super::super::attributes::Operands;
use super::super::decode::Decoder;
use super::super::shapes::{self, show};
use super::super::value::{Item, Known, Type, Value, integer};
use super::super::{Dim, Op};
use super::{fixed_dim, number, reshaped};

pub(super) fn reshape(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let allow_zero = cx.flag("allowzero", false)?;
    let target = cx.items(1)?;
    if let Value::Merged { apart, .. } = cx.value(0)? {
        if target.contains(&Item::Number(0.0)) {
            return Err("a 0 copies a dimension of a tensor whose batch is merged".to_owned());
        }
        let shape = shapes::reshape(&apart.shape()?, target, true, graph.fixed_batch)?;
        return reshaped(graph, apart, shape);
    }
    let from = cx.shape(0)?;
    if let Some(merged) = merges(&from, target) {
        let apart = Box::new(cx.value(0)?.clone());
        return Ok(Value::Merged { apart, merged });
    }
    let shape = shapes::reshape(&from, target, allow_zero, graph.fixed_batch)?;
    reshaped(graph, cx.value(0)?, shape)
}

/// How many dimensions a reshape merges, if it does no more than merging the batch with those after it.
fn merges(from: &[Dim], target: &[Item]) -> Option<usize> {
    let merged = (from.len() + 1)
        .checked_sub(target.len())
        .filter(|merged| *merged > 1)?;
    let (first, rest) = target.split_first()?;
    let same = rest
        .iter()
        .zip(from.get(merged..)?)
        .all(|(item, dim)| match (item, dim) {
            (Item::Number(number), Dim::Fixed(size)) => *number == *size as f64,
            _ => false,
        });
    let batch = from.first() == Some(&Dim::Batch) && from[1..merged].iter().any(|dim| *dim != Dim::Fixed(1));
    (batch && same && *first == Item::Number(-1.0)).then_some(merged)
}

pub(super) fn flatten(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
    let from = cx.shape(0)?;
    let axis = match cx.int("axis", 1)? {
        axis if axis == from.len() as i64 => from.len(),
        axis => shapes::axis(axis, from.len())?,
    };
    let side = |dims: &[Dim]| match dims {
        [Dim::Batch, rest @ ..] if rest.iter().all(|dim| *dim == Dim::Fixed(1)) => Ok(Dim::Batch),
        dims if dims.contains(&Dim::Batch) => Err(format!("axis {axis} of {} merges the batch", show(&from))),
        dims => usize::try_from(shapes::elements(dims)?)
            .map(Dim::Fixed)
            .map_err(|error| error.to_string()),
    };
    reshaped(graph, cx.value(0)?, vec![side(&from[..axis])?, side(&from[axis..])?])
}

pub(super) fn squeeze(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let shape = cx.shape(0)?;
    let axes = match cx.list(1, "axes")? {
        Some(list) => shapes::axes(&list, shape.len())?,
        None => (0..shape.len()).filter(|axis| shape[*axis] == Dim::Fixed(1)).collect(),
    };
    if let Some(axis) = axes.iter().find(|axis| shape[**axis] != Dim::Fixed(1)) {
        return Err(format!("axis {axis} of {} is not 1", show(&shape)));
    }
    let kept = (0..shape.len())
        .filter(|axis| !axes.contains(axis))
        .map(|axis| shape[axis]);
    reshaped(graph, cx.value(0)?, kept.collect())
}

pub(super) fn unsqueeze(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let shape = cx.shape(0)?;
    let list = cx.list(1, "axes")?.ok_or("it names no axes")?;
    let rank = shape.len() + list.len();
    let axes = shapes::axes(&list, rank)?;
    let mut old = shape.into_iter();
    let dims = (0..rank).map(|axis| {
        if axes.contains(&axis) {
            Some(Dim::Fixed(1))
        } else {
            old.next()
        }
    });
    let dims = dims.flatten().collect();
    reshaped(graph, cx.value(0)?, dims)
}

pub(super) fn transpose(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
    if let (Value::Merged { apart, merged }, Some([0, rest @ ..])) = (cx.value(0)?, cx.int_list("perm")) {
        let shape = apart.shape()?;
        let rest = shapes::permutation(rest, 1, shape.len() - merged)?;
        let perm: Vec<usize> = (0..*merged).chain(rest.into_iter().map(|axis| axis + merged)).collect();
        let dims = perm.iter().map(|axis| shape[*axis]).collect();
        let apart = Box::new(graph.emit(Op::Transpose { perm }, &[apart], dims, cx.kind(0)?)?);
        let merged = *merged;
        return Ok(Value::Merged { apart, merged });
    }
    let shape = cx.shape(0)?;
    let perm: Vec<usize> = match cx.int_list("perm") {
        None => (0..shape.len()).rev().collect(),
        Some(list) => shapes::permutation(list, 0, shape.len())?,
    };
    let dims = perm.iter().map(|axis| shape[*axis]).collect();
    graph.emit(Op::Transpose { perm }, &[cx.value(0)?], dims, cx.kind(0)?)
}

/// A shape written as integers.
pub(super) fn target(items: &[Item]) -> Result<Vec<Dim>, String> {
    let dim = |item: &Item| match item {
        Item::Batch => Ok(Dim::Batch),
        Item::Number(size) => usize::try_from(integer(*size))
            .map(Dim::Fixed)
            .map_err(|_| format!("a dimension is {size}")),
    };
    items.iter().map(dim).collect()
}

fn expanded(graph: &mut Decoder<'_>, x: &Value, shape: Vec<Dim>) -> Result<Value, String> {
    if x.shape()? == shape {
        return Ok(x.clone());
    }
    graph.emit(Op::Expand, &[x], shape, x.kind()?)
}

pub(super) fn expand(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let from = cx.shape(0)?;
    let mut target = target(cx.items(1)?)?;
    // An export with a fixed batch names it.
    if let (Some(batch), [Dim::Batch, ..], Some(first)) = (graph.fixed_batch, &from[..], target.first_mut())
        && from.len() == cx.items(1)?.len()
        && usize::try_from(batch).map(Dim::Fixed) == Ok(*first)
    {
        *first = Dim::Batch;
    }
    expanded(graph, cx.value(0)?, shapes::broadcast(&from, &target)?)
}

/// One range of a dimension: the first element, the distance to the next, how many.
type Part = (usize, isize, usize);

/// The elements of a dimension of `size` from `start` up to, not including, `end`.
fn part(size: usize, start: i64, end: i64, step: i64) -> Result<Part, String> {
    let length = i64::try_from(size).map_err(|error| error.to_string())?;
    let position = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let step_size = isize::try_from(step).map_err(|error| error.to_string())?;
    let (start, count) = if step > 0 {
        let (start, end) = (position(start).clamp(0, length), position(end).clamp(0, length));
        (start, (end - start).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
    } else {
        let (start, end) = (
            position(start).clamp(-1, length - 1),
            position(end).clamp(-1, length - 1),
        );
        (start, (start - end).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
    };
    if count == 0 {
        return Ok((0, 1, 0));
    }
    let start = usize::try_from(start).map_err(|error| error.to_string())?;
    // A single element has no next one; its step could be anything.
    let step_size = if count == 1 { 1 } else { step_size };
    Ok((
        start,
        step_size,
        usize::try_from(count).map_err(|error| error.to_string())?,
    ))
}

/// The parts of some dimensions; the others stay whole.
fn sliced(graph: &mut Decoder<'_>, x: &Value, parts: &[(usize, Part)]) -> Result<Value, String> {
    let mut shape = x.shape()?;
    let (mut starts, mut steps) = (vec![0; shape.len()], vec![1; shape.len()]);
    for (axis, (start, step, count)) in parts {
        shape[*axis] = Dim::Fixed(*count);
        (starts[*axis], steps[*axis]) = (*start, *step);
    }
    if shape == x.shape()? && steps.iter().all(|step| *step == 1) {
        return Ok(x.clone());
    }
    graph.emit(Op::Slice { starts, steps }, &[x], shape, x.kind()?)
}

pub(super) fn slice(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(5)?;
    let shape = cx.shape(0)?;
    let starts = cx.list(1, "starts")?.ok_or("it names no starts")?;
    let ends: Vec<Item> = if cx.present(2) {
        cx.items(2)?.to_vec()
    } else {
        let list = cx.int_list("ends").ok_or("it names no ends")?;
        list.iter().map(|end| Item::Number(*end as f64)).collect()
    };
    let list = cx.list(3, "axes")?;
    let axes: Vec<i64> = list.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if cx.present(4) {
        cx.integers(4)?
    } else {
        vec![1; starts.len()]
    };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("it names different numbers of starts, ends, axes and steps".to_owned());
    }
    shapes::axes(&axes, shape.len())?;
    let mut parts = Vec::with_capacity(axes.len());
    for (axis, ((start, end), step)) in axes.iter().zip(starts.into_iter().zip(ends).zip(steps)) {
        let axis = shapes::axis(*axis, shape.len())?;
        match (shape[axis], end) {
            (_, _) if step == 0 => return Err("a step is 0".to_owned()),
            (Dim::Fixed(size), Item::Number(end)) => parts.push((axis, part(size, start, integer(end), step)?)),
            (Dim::Fixed(_), Item::Batch) => return Err(format!("axis {axis} ends at the batch size")),
            (Dim::Batch, Item::Batch) if (start, step) == (0, 1) => {}
            (Dim::Batch, Item::Number(end)) if (start, step) == (0, 1) && end >= i32::MAX.into() => {}
            (Dim::Batch, _) => return Err("it takes a part of the batch".to_owned()),
        }
    }
    sliced(graph, cx.value(0)?, &parts)
}

pub(super) fn split(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Vec<Value>, String> {
    cx.at_most(2)?;
    let shape = cx.shape(0)?;
    let axis = shapes::axis(cx.int("axis", 0)?, shape.len())?;
    let size = fixed_dim(shape[axis], "the dimension it splits")?;
    let count = cx.optional_int("num_outputs")?;
    let sizes = match cx.list(1, "split")? {
        Some(list) => {
            let sizes: Option<Vec<usize>> = list.iter().map(|size| usize::try_from(*size).ok()).collect();
            sizes.ok_or_else(|| format!("a part of {list:?} is negative"))?
        }
        None => {
            let count = count.unwrap_or(cx.outputs as i64);
            let count = usize::try_from(count)
                .ok()
                .filter(|count| (1..=size.min(cx.outputs)).contains(count))
                .ok_or_else(|| {
                    format!(
                        "{size} elements are split into {count} parts, for {} outputs",
                        cx.outputs
                    )
                })?;
            let each = size.div_ceil(count);
            (0..count).map(|i| each.min(size.saturating_sub(i * each))).collect()
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
    if total != Some(size) || sizes.len() > cx.outputs {
        return Err(format!(
            "{size} elements are split into parts of {sizes:?}, for {} outputs",
            cx.outputs
        ));
    }
    let mut start = 0;
    let mut results = Vec::with_capacity(sizes.len());
    for size in sizes {
        results.push(sliced(graph, cx.value(0)?, &[(axis, (start, 1, size))])?);
        start += size;
    }
    Ok(results)
}

pub(super) fn concat(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    let mut shape = cx.shape(0)?;
    let axis = shapes::axis(cx.int("axis", 0)?, shape.len())?;
    let mut total = fixed_dim(shape[axis], "the dimension it joins")?;
    for index in 1..cx.len() {
        let other = cx.shape(index)?;
        let fits = other.len() == shape.len()
            && (0..shape.len()).all(|dim| dim == axis || shape[dim] == other[dim])
            && cx.kind(index)? == cx.kind(0)?;
        let (true, Dim::Fixed(size)) = (fits, other.get(axis).copied().unwrap_or(Dim::Batch)) else {
            return Err(format!(
                "its input {index}, {} tensor of shape {}, does not fit {} tensor of shape {} along axis {axis}",
                cx.kind(index)?,
                show(&other),
                cx.kind(0)?,
                show(&shape)
            ));
        };
        total = total
            .checked_add(size)
            .ok_or_else(|| format!("{total} + {size} elements overflow"))?;
    }
    shape[axis] = Dim::Fixed(total);
    let mut operands = cx.all()?;
    // Empty ones are nothing to an engine.
    if operands.iter().any(|value| matches!(value, Value::Tensor { .. })) {
        operands.retain(|value| value.shape().is_ok_and(|shape| shape[axis] != Dim::Fixed(0)));
    }
    match operands[..] {
        [only] => Ok(only.clone()),
        _ => graph.emit(Op::Concat { axis }, &operands, shape, cx.kind(0)?),
    }
}

pub(super) fn gather(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let shape = cx.shape(0)?;
    let axis = shapes::axis(cx.int("axis", 0)?, shape.len())?;
    let size = fixed_dim(shape[axis], "the dimension it takes from")?;
    if cx.kind(1)? != Type::Integer {
        return Err(format!("its indices are {} tensor, expected integers", cx.kind(1)?));
    }
    let indices = match graph.known(cx.value(1)?)? {
        Some(known) => {
            let index =
                |index: i64| shapes::axis(index, size).map_err(|_| format!("index {index} is outside {size} elements"));
            let list = known
                .integers()?
                .into_iter()
                .map(index)
                .collect::<Result<Vec<_>, _>>()?;
            if let [index] = list[..] {
                let one = sliced(graph, cx.value(0)?, &[(axis, (index, 1, 1))])?;
                let dims = [&shape[..axis], &cx.shape(1)?, &shape[axis + 1..]].concat();
                return reshaped(graph, &one, dims);
            }
            let numbers = list.into_iter().map(|index| index as f64);
            Known::numbers(Type::Integer, known.shape.clone(), numbers).into()
        }
        None => cx.value(1)?.clone(),
    };
    let dims = [&shape[..axis], &cx.shape(1)?, &shape[axis + 1..]].concat();
    graph.emit(Op::Gather { axis }, &[cx.value(0)?, &indices], dims, cx.kind(0)?)
}

pub(super) fn pad(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(4)?;
    match cx.string("mode")? {
        None | Some("constant") => {}
        Some(other) => return Err(format!("the mode {other:?} is not supported")),
    }
    let mut shape = cx.shape(0)?;
    let axes = if cx.present(3) {
        let axes = cx.integers(3)?;
        shapes::axes(&axes, shape.len())?;
        axes.iter()
            .map(|axis| shapes::axis(*axis, shape.len()))
            .collect::<Result<_, _>>()?
    } else {
        (0..shape.len()).collect::<Vec<_>>()
    };
    let pads = cx.list(1, "pads")?.ok_or("it names no pads")?;
    if pads.len() != 2 * axes.len() {
        return Err(format!("it names {} pads for {} dimensions", pads.len(), axes.len()));
    }
    let value = cx.scalar(2, "value")?.unwrap_or(0.0);
    // Negative ones cut off.
    let mut parts = Vec::new();
    let mut starts = vec![0; shape.len()];
    for (i, axis) in axes.iter().enumerate() {
        let (before, after) = (pads[i], pads[axes.len() + i]);
        if (before, after) == (0, 0) {
            continue;
        }
        let size = fixed_dim(shape[*axis], "the dimension it pads")?;
        let limit = graph.limits.dim;
        if before.unsigned_abs() > limit || after.unsigned_abs() > limit {
            return Err(format!("the pads {before} and {after} are beyond the limit {limit}"));
        }
        let whole = |number: i64| usize::try_from(number.max(0)).map_err(|error| error.to_string());
        let (cut_before, cut_after) = (whole(-before)?, whole(-after)?);
        let kept = size
            .checked_sub(cut_before + cut_after)
            .filter(|kept| *kept > 0)
            .ok_or_else(|| format!("the pads {before} and {after} cut off all {size} elements"))?;
        if kept < size {
            parts.push((*axis, (cut_before, 1, kept)));
        }
        starts[*axis] = whole(before)?;
        shape[*axis] = Dim::Fixed(kept + whole(before)? + whole(after)?);
    }
    let kept = sliced(graph, cx.value(0)?, &parts)?;
    if kept.shape()? == shape {
        return Ok(kept);
    }
    let kind = kept.kind()?;
    graph.emit(Op::Pad { starts, value }, &[&kept], shape, kind)
}

/// What is above or below a diagonal; the rest is 0.
pub(super) fn trilu(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let upper = cx.flag("upper", true)?;
    let diagonal = if cx.present(1) { integer(cx.number(1)?) } else { 0 };
    let shape = cx.shape(0)?;
    let [.., Dim::Fixed(rows), Dim::Fixed(columns)] = shape[..] else {
        return Err(format!("its input has shape {}, expected matrices", show(&shape)));
    };
    graph.count_evaluated((rows as u64).saturating_mul(columns as u64))?;
    let kept = (0..rows).flat_map(|row| {
        (0..columns).map(move |column| {
            let distance = column as i64 - row as i64;
            let keep = if upper {
                distance >= diagonal
            } else {
                distance <= diagonal
            };
            f64::from(u8::from(keep))
        })
    });
    let mask = Known::numbers(Type::Bool, vec![rows, columns], kept).into();
    let kind = cx.kind(0)?;
    graph.emit(Op::Where, &[&mask, cx.value(0)?, &number(kind, 0.0)], shape, kind)
}
