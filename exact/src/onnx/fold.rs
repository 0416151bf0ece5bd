//! Operators on tensors that are known now: shapes, positions, masks. They are evaluated, never part of the graph.
//!
//! Floats are computed in f64 and rounded to f32, which for one operation on f32 numbers is the correctly rounded result.

use super::value::{Item, Known, Type, integer};
use super::{Binary, Op, Unary};

/// The elements of the result, or `None` where engines have to compute it. `shape` is the result's.
pub(super) fn evaluate(op: &Op, inputs: &[&Known], shape: &[usize], kind: Type) -> Result<Option<Vec<Item>>, String> {
    let (Some(first), count) = (inputs.first(), shape.iter().product()) else {
        return Ok(None);
    };
    let items = match op {
        Op::Reshape => first.items.clone(),
        Op::Expand => read(first, shape, 0, &broadcast(first, shape)),
        Op::Transpose { perm } => {
            let strides = strides(&first.shape);
            let permuted: Vec<isize> = perm.iter().map(|axis| strides[*axis]).collect();
            read(first, shape, 0, &permuted)
        }
        Op::Slice { starts, steps } => {
            let strides = strides(&first.shape);
            let offset = strides
                .iter()
                .zip(starts)
                .map(|(stride, start)| stride * *start as isize)
                .sum();
            let stepped: Vec<isize> = strides.iter().zip(steps).map(|(stride, step)| stride * step).collect();
            read(first, shape, offset, &stepped)
        }
        Op::Concat { axis } => {
            let block = |known: &Known| known.shape[*axis..].iter().product::<usize>();
            let outer = shape[..*axis].iter().product();
            let mut items = Vec::with_capacity(count);
            for i in 0..outer {
                for known in inputs {
                    let size = block(known);
                    items.extend_from_slice(&known.items[i * size..(i + 1) * size]);
                }
            }
            items
        }
        Op::Gather { axis } => {
            let inner = first.shape[axis + 1..].iter().product::<usize>();
            let outer = first.shape[..*axis].iter().product::<usize>();
            let mut items = Vec::with_capacity(count);
            for i in 0..outer {
                for index in &inputs[1].items {
                    let at = usize::try_from(integer(index.known()?)).map_err(|error| error.to_string())?;
                    let start = (i * first.shape[*axis] + at) * inner;
                    let part = first.items.get(start..start + inner);
                    items.extend_from_slice(part.ok_or_else(|| format!("the index {at} is outside the data"))?);
                }
            }
            items
        }
        Op::Where => {
            let condition = read(first, shape, 0, &broadcast(first, shape));
            let yes = read(inputs[1], shape, 0, &broadcast(inputs[1], shape));
            let no = read(inputs[2], shape, 0, &broadcast(inputs[2], shape));
            let chosen = condition.into_iter().zip(yes.into_iter().zip(no));
            let items = chosen.map(|(condition, (yes, no))| Ok(if condition.known()? == 0.0 { no } else { yes }));
            items.collect::<Result<_, String>>()?
        }
        Op::Unary(function @ (Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Reciprocal)) => {
            let items = first.items.iter().map(|item| unary(*function, item.known()?, kind));
            items.collect::<Result<_, _>>()?
        }
        Op::Binary(Binary::Pow) => return Ok(None),
        Op::Binary(function) => {
            let left = read(first, shape, 0, &broadcast(first, shape));
            let right = read(inputs[1], shape, 0, &broadcast(inputs[1], shape));
            let pairs = left.into_iter().zip(right);
            pairs
                .map(|(left, right)| binary(*function, left, right, kind))
                .collect::<Result<_, _>>()?
        }
        _ => return Ok(None),
    };
    Ok(Some(items))
}

/// The distance between neighbours along each axis, in elements.
fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

/// Strides with which a tensor is read in a shape that it broadcasts to.
fn broadcast(known: &Known, shape: &[usize]) -> Vec<isize> {
    let mut result = vec![0; shape.len()];
    let lead = shape.len() - known.shape.len();
    for (axis, stride) in strides(&known.shape).into_iter().enumerate() {
        if known.shape[axis] != 1 {
            result[lead + axis] = stride;
        }
    }
    result
}

/// The elements at `offset + Σ index[i] · strides[i]` for all indices of `shape`, in row-major order.
fn read(known: &Known, shape: &[usize], offset: isize, strides: &[isize]) -> Vec<Item> {
    let count = shape.iter().product();
    let mut items = Vec::with_capacity(count);
    let mut index = vec![0; shape.len()];
    let mut at = offset;
    for _ in 0..count {
        items.push(known.items[at.cast_unsigned()]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * index[axis] as isize;
            index[axis] = 0;
        }
    }
    items
}

fn rounded(value: f64, kind: Type) -> Result<Item, String> {
    #[expect(clippy::cast_possible_truncation, reason = "rounds")]
    let value = if kind == Type::Float {
        f64::from(value as f32)
    } else {
        value
    };
    if value.is_nan() {
        return Err("a constant is not a number".to_owned());
    }
    Ok(Item::Number(value))
}

fn unary(function: Unary, value: f64, kind: Type) -> Result<Item, String> {
    rounded(
        match function {
            Unary::Neg => -value,
            Unary::Abs => value.abs(),
            Unary::Sqrt => value.sqrt(),
            _ => 1.0 / value,
        },
        kind,
    )
}

/// Also the product of `ReduceProd`.
pub(super) fn binary(function: Binary, left: Item, right: Item, kind: Type) -> Result<Item, String> {
    let (a, b) = match (left, right) {
        (Item::Number(a), Item::Number(b)) => (a, b),
        (left, right) => return with_batch(function, left, right),
    };
    let truth = |value: bool| Ok(Item::Number(f64::from(u8::from(value))));
    match function {
        Binary::Add => rounded(a + b, kind),
        Binary::Sub => rounded(a - b, kind),
        Binary::Mul => rounded(a * b, kind),
        Binary::Div if kind != Type::Float && b == 0.0 => Err(format!("{a} is divided by 0")),
        Binary::Div if kind != Type::Float => rounded((a / b).trunc(), kind),
        Binary::Div => rounded(a / b, kind),
        Binary::Min => rounded(a.min(b), kind),
        Binary::Max => rounded(a.max(b), kind),
        Binary::Equal => truth(a == b),
        Binary::Less => truth(a < b),
        Binary::LessOrEqual => truth(a <= b),
        Binary::Pow => Err("powers are not evaluated".to_owned()),
    }
}

/// What can be said about the batch size without knowing it: it is at least 1.
fn with_batch(function: Binary, left: Item, right: Item) -> Result<Item, String> {
    let result = match (function, left, right) {
        (Binary::Add | Binary::Sub, batch, Item::Number(0.0)) => Some(batch),
        (Binary::Mul | Binary::Div, batch, Item::Number(1.0)) => Some(batch),
        (Binary::Add, Item::Number(0.0), batch) | (Binary::Mul, Item::Number(1.0), batch) => Some(batch),
        (Binary::Equal, Item::Batch, Item::Batch) => Some(Item::Number(1.0)),
        (Binary::Equal, Item::Batch, Item::Number(value)) | (Binary::Equal, Item::Number(value), Item::Batch)
            if value < 1.0 =>
        {
            Some(Item::Number(0.0))
        }
        _ => None,
    };
    result.ok_or_else(|| format!("{function:?} of the integers {left} and {right} has no value here"))
}
