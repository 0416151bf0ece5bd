//! Integer tensors: evaluated while decoding. Exporters use them to write shapes, so their rank is 0 or 1 and their elements
//! are numbers or the batch size.

use std::fmt;

use super::attributes::Operands;
use super::literal::MAX_INTS;
use super::{Dim, shapes};

/// An element of an integer tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Int {
    /// A number.
    Known(i64),
    /// The number of samples in the batch.
    Batch,
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => write!(f, "{value}"),
            Self::Batch => f.write_str("N"),
        }
    }
}

/// An integer tensor of rank 0 (`scalar`, one item) or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ints {
    pub(super) scalar: bool,
    pub(super) items: Vec<Int>,
}

impl Ints {
    fn scalar(item: Int) -> Self {
        Self {
            scalar: true,
            items: vec![item],
        }
    }

    fn list(items: Vec<Int>) -> Self {
        Self { scalar: false, items }
    }

    /// The elements as numbers.
    pub(super) fn known(&self) -> Result<Vec<i64>, String> {
        let number = |item: &Int| match item {
            Int::Known(value) => Ok(*value),
            Int::Batch => Err("an integer depends on the batch size".to_owned()),
        };
        self.items.iter().map(number).collect()
    }
}

/// `Shape`: the dimensions `start..end` of an operand.
pub(super) fn shape(of: &[Dim], start: i64, end: Option<i64>) -> Ints {
    let range = clamp(start, end.unwrap_or(i64::MAX), of.len());
    let item = |dim: &Dim| match dim {
        Dim::Batch => Int::Batch,
        // Dimensions are limited far below 2⁶³.
        Dim::Fixed(size) => Int::Known(*size as i64),
    };
    Ints::list(of[range].iter().map(item).collect())
}

/// The value of an operator whose first operand is an integer tensor, or `None` where the operator has no integer form.
pub(super) fn evaluate(operator: &str, cx: &Operands<'_>) -> Result<Option<Ints>, String> {
    let first = cx.ints(0)?.clone();
    let result = match operator {
        "Identity" => first,
        "Unsqueeze" | "Squeeze" => {
            let axes = cx.axes()?.unwrap_or_else(|| vec![0]);
            let scalar = operator == "Squeeze";
            if first.scalar == scalar || first.items.len() != 1 || !matches!(axes[..], [0 | -1]) {
                return Err(format!(
                    "an integer tensor cannot change its rank along the axes {axes:?}"
                ));
            }
            Ints {
                scalar,
                items: first.items,
            }
        }
        "Gather" => {
            let axis = cx.int("axis", 0)?;
            let indices = cx.ints(1)?;
            shapes::axis(axis, usize::from(!first.scalar))?;
            let pick = |index: &i64| shapes::axis(*index, first.items.len()).map(|index| first.items[index]);
            let items = indices.known()?.iter().map(pick).collect::<Result<_, _>>()?;
            Ints {
                scalar: indices.scalar,
                items,
            }
        }
        "Slice" => {
            let (starts, ends) = (cx.ints(1)?.known()?, cx.ints(2)?.known()?);
            let steps = if cx.present(4) { cx.ints(4)?.known()? } else { vec![1] };
            match (&starts[..], &ends[..], &steps[..]) {
                ([start], [end], [1]) if !first.scalar => {
                    Ints::list(first.items[clamp(*start, *end, first.items.len())].to_vec())
                }
                _ => return Err("integer tensors are sliced along one axis in steps of 1".to_owned()),
            }
        }
        "Concat" => {
            cx.int("axis", 0)?;
            let mut items = first.items;
            for i in 1..cx.len() {
                items.extend_from_slice(&cx.ints(i)?.items);
                if items.len() > MAX_INTS {
                    return Err(format!(
                        "an integer tensor has {} elements, the limit is {MAX_INTS}",
                        items.len()
                    ));
                }
            }
            Ints::list(items)
        }
        "Add" | "Sub" | "Mul" | "Div" => {
            let other = cx.ints(1)?;
            let length = first.items.len().max(other.items.len());
            if [&first, other]
                .iter()
                .any(|ints| ints.items.len() != length && ints.items.len() != 1)
            {
                return Err(format!(
                    "{} and {} integers do not broadcast",
                    first.items.len(),
                    other.items.len()
                ));
            }
            let at = |ints: &Ints, i: usize| ints.items[if ints.items.len() == 1 { 0 } else { i }];
            let items = (0..length)
                .map(|i| arithmetic(operator, at(&first, i), at(other, i)))
                .collect::<Result<_, _>>()?;
            Ints {
                scalar: first.scalar && other.scalar,
                items,
            }
        }
        "ReduceProd" => {
            cx.int("keepdims", 1)?;
            cx.axes()?;
            let product = first
                .items
                .iter()
                .try_fold(Int::Known(1), |product, item| arithmetic("Mul", product, *item))?;
            Ints::scalar(product)
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn arithmetic(operator: &str, left: Int, right: Int) -> Result<Int, String> {
    let result = match (operator, left, right) {
        ("Add", Int::Known(left), Int::Known(right)) => left.checked_add(right).map(Int::Known),
        ("Sub", Int::Known(left), Int::Known(right)) => left.checked_sub(right).map(Int::Known),
        ("Mul", Int::Known(left), Int::Known(right)) => left.checked_mul(right).map(Int::Known),
        ("Div", Int::Known(left), Int::Known(right)) => left.checked_div(right).map(Int::Known),
        ("Add" | "Sub", batch, Int::Known(0)) | ("Mul" | "Div", batch, Int::Known(1)) => Some(batch),
        ("Add", Int::Known(0), batch) | ("Mul", Int::Known(1), batch) => Some(batch),
        _ => None,
    };
    result.ok_or_else(|| format!("{operator} of the integers {left} and {right} has no value here"))
}

/// The range `start..end` of a list, negative positions counting from the end, both cut to the list.
fn clamp(start: i64, end: i64, length: usize) -> std::ops::Range<usize> {
    let position = |at: i64| {
        let at = if at < 0 {
            at.saturating_add_unsigned(length as u64).max(0)
        } else {
            at
        };
        usize::try_from(at).map_or(length, |at| at.min(length))
    };
    let (start, end) = (position(start), position(end));
    start..end.max(start)
}
