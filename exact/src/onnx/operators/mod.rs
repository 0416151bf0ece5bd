//! One ONNX operator after the other: what it asks of its operands and attributes, and how it is written in the graph's own.

mod layout;
mod normalize;
mod pointwise;
mod product;
mod source;
mod window;

pub(super) use product::macs;

use super::attributes::Operands;
use super::decode::Decoder;
use super::shapes;
use super::value::{Known, Type, Value};
use super::{Binary, Dim, Op, Unary};

/// The results of the operator of that name, or `None` where the name is not known.
pub(super) fn decode(graph: &mut Decoder<'_>, operator: &str, cx: &Operands<'_>) -> Result<Option<Vec<Value>>, String> {
    if operator == "Split" {
        return layout::split(graph, cx).map(Some);
    }
    let value = match operator {
        "Cast" | "Clip" | "Dropout" | "Not" | "And" | "Or" | "Xor" | "Where" | "Pow" => {
            pointwise::decode(graph, operator, cx)
        }
        "Add" | "Sub" | "Mul" | "Div" | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "Min"
        | "Max" | "Sum" | "Mean" => pointwise::decode(graph, operator, cx),
        "Gemm" => product::gemm(graph, cx),
        "MatMul" => product::matmul(graph, cx),
        "Conv" => window::conv(graph, cx),
        "MaxPool" => window::max_pool(graph, cx),
        "AveragePool" => window::average_pool(graph, cx),
        "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin"
        | "ReduceProd" => normalize::reduce(graph, operator, cx),
        "BatchNormalization" => normalize::batch(graph, cx),
        "LayerNormalization" => normalize::layer(graph, cx),
        "GroupNormalization" | "InstanceNormalization" => normalize::group(graph, operator, cx),
        "Softmax" | "LogSoftmax" => normalize::softmax(graph, operator, cx),
        "Identity" => alias(cx),
        "Reshape" => layout::reshape(graph, cx),
        "Flatten" => layout::flatten(graph, cx),
        "Squeeze" => layout::squeeze(graph, cx),
        "Unsqueeze" => layout::unsqueeze(graph, cx),
        "Transpose" => layout::transpose(graph, cx),
        "Expand" => layout::expand(graph, cx),
        "Slice" => layout::slice(graph, cx),
        "Concat" => layout::concat(graph, cx),
        "Gather" => layout::gather(graph, cx),
        "Pad" => layout::pad(graph, cx),
        "Trilu" => layout::trilu(graph, cx),
        "Constant" => source::constant(graph, cx),
        "ConstantOfShape" => source::constant_of_shape(graph, cx),
        "Range" => source::range(graph, cx),
        "Shape" => source::shape(cx),
        _ => match pointwise::unary(operator, cx)? {
            Some(function) => pointwise_on(graph, cx, function),
            None if matches!(operator, "HardSwish" | "Swish") => pointwise::gated(graph, operator, cx),
            None => return Ok(None),
        },
    };
    value.map(|value| Some(vec![value]))
}

fn pointwise_on(graph: &mut Decoder<'_>, cx: &Operands<'_>, function: Unary) -> Result<Value, String> {
    cx.at_most(1)?;
    unary(graph, function, cx.value(0)?)
}

/// The first operand itself.
fn alias(cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(1)?;
    Ok(cx.value(0)?.clone())
}

fn number(kind: Type, number: f64) -> Value {
    Known::scalar(kind, number).into()
}

fn unary(graph: &mut Decoder<'_>, function: Unary, x: &Value) -> Result<Value, String> {
    graph.emit(Op::Unary(function), &[x], x.shape()?, x.kind()?)
}

fn binary(graph: &mut Decoder<'_>, function: Binary, a: &Value, b: &Value) -> Result<Value, String> {
    let (left, right) = (a.kind()?, b.kind()?);
    if left != right {
        return Err(format!("it combines {left} with {right} tensor"));
    }
    let compares = matches!(function, Binary::Equal | Binary::Less | Binary::LessOrEqual);
    let kind = if compares { Type::Bool } else { left };
    let shape = shapes::broadcast(&a.shape()?, &b.shape()?)?;
    graph.emit(Op::Binary(function), &[a, b], shape, kind)
}

/// The same elements in another shape; the value itself if it has that shape.
fn reshaped(graph: &mut Decoder<'_>, x: &Value, shape: Vec<Dim>) -> Result<Value, String> {
    if x.shape()? == shape {
        return Ok(x.clone());
    }
    graph.emit(Op::Reshape, &[x], shape, x.kind()?)
}

fn fixed_dim(dim: Dim, what: &str) -> Result<usize, String> {
    match dim {
        Dim::Fixed(size) => Ok(size),
        Dim::Batch => Err(format!("{what} is the batch size")),
    }
}
