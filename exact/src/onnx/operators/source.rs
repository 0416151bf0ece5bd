//! Operators whose result does not depend on what elements are: constants and shapes.

use super::super::attributes::Operands;
use super::super::decode::Decoder;
use super::super::value::{Item, Known, Type, Value};
use super::super::{Dim, Op};
use super::{layout, number};

pub(super) fn constant(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    if let Some(value) = cx.optional_int("value_int")? {
        return Ok(number(Type::Integer, value as f64));
    }
    if let Some(values) = cx.int_list("value_ints") {
        let numbers = values.iter().map(|value| *value as f64);
        return Ok(Known::numbers(Type::Integer, vec![values.len()], numbers).into());
    }
    if let Some(value) = cx.float("value_float")? {
        return Ok(number(Type::Float, value.into()));
    }
    let tensor = cx.tensor("value").ok_or("it has no value of a supported kind")?;
    graph.literal(tensor, None)
}

pub(super) fn constant_of_shape(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
    let value = match cx.tensor("value") {
        None => number(Type::Float, 0.0),
        Some(tensor) => match graph.literal(tensor, None)? {
            Value::Known(known) if known.items.len() == 1 => Known::new(known.kind, vec![], known.items.clone()).into(),
            _ => return Err("its value is no constant with one element".to_owned()),
        },
    };
    let shape = layout::target(cx.items(0)?)?;
    let kind = value.kind()?;
    graph.emit(Op::Expand, &[&value], shape, kind)
}

pub(super) fn range(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    let (start, limit, step) = (cx.number(0)?, cx.number(1)?, cx.number(2)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if !count.is_finite() {
        return Err(format!(
            "the range from {start} to {limit} in steps of {step} has no end"
        ));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let count = count as u64;
    graph.count_evaluated(count)?;
    let kind = cx.kind(0)?;
    #[expect(clippy::cast_possible_truncation, reason = "rounds")]
    let rounded = |value: f64| {
        if kind == Type::Float {
            f64::from(value as f32)
        } else {
            value
        }
    };
    let numbers = (0..count).map(|i| rounded(start + i as f64 * step));
    let shape = vec![usize::try_from(count).map_err(|error| error.to_string())?];
    Ok(Known::numbers(kind, shape, numbers).into())
}

/// The dimensions `start..end` of an operand.
pub(super) fn shape(cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
    let shape = cx.shape(0)?;
    let (start, end) = (cx.int("start", 0)?, cx.optional_int("end")?);
    let position = |at: i64| {
        let at = if at < 0 {
            at.saturating_add_unsigned(shape.len() as u64).max(0)
        } else {
            at
        };
        usize::try_from(at).map_or(shape.len(), |at| at.min(shape.len()))
    };
    let (start, end) = (position(start), position(end.unwrap_or(i64::MAX)));
    let item = |dim: &Dim| match dim {
        Dim::Batch => Item::Batch,
        Dim::Fixed(size) => Item::Number(*size as f64),
    };
    let items: Vec<Item> = shape[start..end.max(start)].iter().map(item).collect();
    Ok(Known::new(Type::Integer, vec![items.len()], items).into())
}
