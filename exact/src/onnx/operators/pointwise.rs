//! Functions of single elements, with broadcasting.

use super::super::attributes::Operands;
use super::super::decode::{Decoder, FLOAT, INT32, INT64};
use super::super::shapes;
use super::super::value::{Known, Type, Value, integer};
use super::super::{Binary, Op, Unary};
use super::{alias, binary, number, unary as apply};

/// Other element types that `Cast` may name.
const BOOL: i64 = 9;
const DOUBLE: i64 = 11;

/// The function of one number that has this name.
pub(super) fn unary(operator: &str, cx: &Operands<'_>) -> Result<Option<Unary>, String> {
    Ok(Some(match operator {
        "Abs" => Unary::Abs,
        "Neg" => Unary::Neg,
        "Reciprocal" => Unary::Reciprocal,
        "Sqrt" => Unary::Sqrt,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        "Erf" => Unary::Erf,
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "Relu" => Unary::Relu,
        "LeakyRelu" => Unary::LeakyRelu {
            alpha: cx.float("alpha")?.unwrap_or(0.01),
        },
        "HardSigmoid" => Unary::HardSigmoid {
            alpha: cx.float("alpha")?.unwrap_or(0.2),
            beta: cx.float("beta")?.unwrap_or(0.5),
        },
        "Gelu" => match cx.string("approximate")? {
            None | Some("none") => Unary::Gelu { tanh: false },
            Some("tanh") => Unary::Gelu { tanh: true },
            Some(other) => return Err(format!("the approximation {other:?} is not known")),
        },
        _ => return Ok(None),
    }))
}

/// `x` times a sigmoid of it.
pub(super) fn gated(graph: &mut Decoder<'_>, operator: &str, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
    let x = cx.value(0)?;
    let gate = if operator == "HardSwish" {
        let (alpha, beta) = (1.0 / 6.0, 0.5);
        apply(graph, Unary::HardSigmoid { alpha, beta }, x)?
    } else {
        let alpha = number(Type::Float, cx.float("alpha")?.unwrap_or(1.0).into());
        let scaled = binary(graph, Binary::Mul, &alpha, x)?;
        apply(graph, Unary::Sigmoid, &scaled)?
    };
    binary(graph, Binary::Mul, x, &gate)
}

pub(super) fn decode(graph: &mut Decoder<'_>, operator: &str, cx: &Operands<'_>) -> Result<Value, String> {
    let two = |graph: &mut Decoder<'_>, function: Binary, first: usize, second: usize| {
        cx.at_most(2)?;
        binary(graph, function, cx.value(first)?, cx.value(second)?)
    };
    match operator {
        "Cast" => cast(graph, cx),
        "Clip" => clip(graph, cx),
        "Dropout" => dropout(graph, cx),
        "Where" => choose(graph, cx),
        "Pow" => power(graph, cx),
        "Not" => {
            cx.at_most(1)?;
            binary(graph, Binary::Equal, cx.value(0)?, &number(cx.kind(0)?, 0.0))
        }
        "Add" => two(graph, Binary::Add, 0, 1),
        "Sub" => two(graph, Binary::Sub, 0, 1),
        "Mul" | "And" => two(graph, Binary::Mul, 0, 1),
        "Div" => two(graph, Binary::Div, 0, 1),
        "Or" => two(graph, Binary::Max, 0, 1),
        "Equal" => two(graph, Binary::Equal, 0, 1),
        "Xor" => {
            let same = two(graph, Binary::Equal, 0, 1)?;
            binary(graph, Binary::Equal, &same, &number(Type::Bool, 0.0))
        }
        "Less" => two(graph, Binary::Less, 0, 1),
        "LessOrEqual" => two(graph, Binary::LessOrEqual, 0, 1),
        "Greater" => two(graph, Binary::Less, 1, 0),
        "GreaterOrEqual" => two(graph, Binary::LessOrEqual, 1, 0),
        _ => several(graph, operator, cx),
    }
}

/// `Min`, `Max`, `Sum` and `Mean` of one or more operands.
fn several(graph: &mut Decoder<'_>, operator: &str, cx: &Operands<'_>) -> Result<Value, String> {
    let function = match operator {
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        _ => Binary::Add,
    };
    let mut result = cx.value(0)?.clone();
    for other in cx.all()?.into_iter().skip(1) {
        result = binary(graph, function, &result, other)?;
    }
    if operator == "Mean" {
        let count = number(Type::Float, cx.len() as f64);
        result = binary(graph, Binary::Div, &result, &count)?;
    }
    Ok(result)
}

fn cast(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
    let to = cx.int("to", 0)?;
    cx.int("saturate", 1)?;
    if let Value::Opaque(_) = cx.value(0)? {
        return alias(cx);
    }
    let (value, from) = (cx.value(0)?, cx.kind(0)?);
    let kind = match (to, value) {
        (DOUBLE, Value::Known(_)) => Type::Float,
        (BOOL, _) => Type::Bool,
        _ if to == i64::from(FLOAT) => Type::Float,
        _ if to == i64::from(INT32) || to == i64::from(INT64) => Type::Integer,
        _ => return Err(format!("casting {from} tensor to type {to} is not supported")),
    };
    match (value, kind) {
        _ if kind == from => alias(cx),
        (_, Type::Bool) => {
            let zero = binary(graph, Binary::Equal, value, &number(from, 0.0))?;
            binary(graph, Binary::Equal, &zero, &number(Type::Bool, 0.0))
        }
        (Value::Known(known), _) => {
            let mut result = Known::new(kind, known.shape.clone(), known.items.clone());
            if let (Type::Float, Type::Integer) = (from, kind) {
                let numbers = known.items.iter().map(|item| item.known().map(f64::trunc));
                let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
                result = Known::numbers(kind, known.shape.clone(), numbers.into_iter());
            }
            Ok(result.into())
        }
        (Value::Tensor { .. }, Type::Integer) if from == Type::Float => {
            Err("casting f32 to integers, which truncates, is not supported".to_owned())
        }
        (Value::Tensor { source, shape, .. }, _) => Ok(Value::Tensor {
            source: source.clone(),
            shape: shape.clone(),
            kind,
        }),
        (Value::Merged { .. } | Value::Opaque(_), _) => alias(cx),
    }
}

fn clip(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    let min = cx.scalar(1, "min")?.unwrap_or(f32::MIN);
    let max = cx.scalar(2, "max")?.unwrap_or(f32::MAX);
    if min > max {
        return Err(format!("its lower bound {min} is above its upper bound {max}"));
    }
    apply(graph, Unary::Clip { min, max }, cx.value(0)?)
}

fn dropout(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    let ratio = cx.scalar(1, "ratio")?.unwrap_or(0.5);
    // Masks come from the job's seed, and whether there are any from the engine's mode.
    cx.int("seed", 0)?;
    if !(0.0..1.0).contains(&ratio) {
        return Err(format!("its ratio is {ratio}, expected 0 or more and less than 1"));
    }
    graph.emit(Op::Dropout { ratio }, &[cx.value(0)?], cx.shape(0)?, Type::Float)
}

fn choose(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    let (yes, no) = (cx.kind(1)?, cx.kind(2)?);
    if cx.kind(0)? != Type::Bool || yes != no {
        let condition = cx.kind(0)?;
        return Err(format!(
            "its inputs are {condition}, {yes} and {no} tensor, expected a bool and two alike"
        ));
    }
    let shape = shapes::broadcast(&cx.shape(1)?, &cx.shape(2)?)?;
    let shape = shapes::broadcast(&cx.shape(0)?, &shape)?;
    graph.emit(Op::Where, &cx.all()?, shape, yes)
}

/// Whole exponents up to this one are written as products.
const PRODUCTS: f64 = 8.0;

fn power(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let (base, exponent) = (cx.value(0)?, cx.value(1)?);
    if let Value::Known(known) = exponent
        && let [item] = known.items[..]
        && known.shape.len() <= base.shape()?.len()
    {
        let exponent = item.known()?;
        if exponent.abs() == 0.5 {
            let root = apply(graph, Unary::Sqrt, base)?;
            return invert(graph, root, exponent);
        }
        if exponent.fract() == 0.0 && (1.0..=PRODUCTS).contains(&exponent.abs()) {
            let mut product = base.clone();
            for _ in 1..integer(exponent.abs()) {
                product = binary(graph, Binary::Mul, &product, base)?;
            }
            return invert(graph, product, exponent);
        }
    }
    binary(graph, Binary::Pow, base, exponent)
}

fn invert(graph: &mut Decoder<'_>, power: Value, exponent: f64) -> Result<Value, String> {
    if exponent < 0.0 {
        apply(graph, Unary::Reciprocal, &power)
    } else {
        Ok(power)
    }
}
