//! Matrix products, and what products cost.

use super::super::attributes::Operands;
use super::super::decode::Decoder;
use super::super::shapes::{self, show};
use super::super::value::{Type, Value};
use super::super::{Dim, Op};
use super::{fixed_dim, reshaped};

/// Multiply-accumulates for one sample of an operator with a result of that shape.
pub(in super::super) fn macs(op: &Op, inputs: &[Vec<Dim>], shape: &[Dim]) -> Result<u64, String> {
    let depth = match (op, inputs) {
        (Op::Gemm { trans_a, .. }, [a, ..]) => a.get(usize::from(!trans_a)).map(std::slice::from_ref),
        (Op::MatMul, [a, ..]) => a.last().map(std::slice::from_ref),
        (Op::Conv { .. }, [_, filters, ..]) => filters.get(1..),
        _ => return Ok(0),
    };
    let (elements, depth) = (shapes::elements(shape)?, shapes::elements(depth.unwrap_or_default())?);
    elements
        .checked_mul(depth)
        .ok_or_else(|| format!("{elements} × {depth} multiply-accumulates overflow"))
}

pub(super) fn gemm(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(3)?;
    let alpha = cx.float("alpha")?.unwrap_or(1.0);
    let beta = cx.float("beta")?.unwrap_or(1.0);
    let (trans_a, trans_b) = (cx.flag("transA", false)?, cx.flag("transB", false)?);
    let matrix = |index: usize, transposed: bool| match cx.shape(index)?[..] {
        [rows, columns] => Ok(if transposed { (columns, rows) } else { (rows, columns) }),
        ref other => Err(format!(
            "its input {index} has shape {}, expected a matrix",
            show(other)
        )),
    };
    let ((rows, inner), (inner_b, columns)) = (matrix(0, trans_a)?, matrix(1, trans_b)?);
    fixed_dim(inner, "the inner dimension")?;
    if inner != inner_b {
        return Err(format!("the inner dimensions {inner} and {inner_b} differ"));
    }
    let shape = vec![rows, columns];
    if cx.present(2) && shapes::broadcast(&shape, &cx.shape(2)?)? != shape {
        return Err(format!(
            "its input 2 has shape {}, which does not fit {}",
            show(&cx.shape(2)?),
            show(&shape)
        ));
    }
    let op = Op::Gemm {
        alpha,
        beta,
        trans_a,
        trans_b,
    };
    graph.emit(op, &cx.all()?, shape, Type::Float)
}

/// Vectors become matrices with one row or column, which then vanishes.
pub(super) fn matmul(graph: &mut Decoder<'_>, cx: &Operands<'_>) -> Result<Value, String> {
    cx.at_most(2)?;
    let (mut left, mut right) = (cx.value(0)?.clone(), cx.value(1)?.clone());
    let vectors = (left.shape()?.len() == 1, right.shape()?.len() == 1);
    if vectors.0 {
        let shape = [vec![Dim::Fixed(1)], left.shape()?].concat();
        left = reshaped(graph, &left, shape)?;
    }
    if vectors.1 {
        let shape = [right.shape()?, vec![Dim::Fixed(1)]].concat();
        right = reshaped(graph, &right, shape)?;
    }
    let (a, b) = (left.shape()?, right.shape()?);
    let ([outer_a @ .., rows, inner], [outer_b @ .., inner_b, columns]) = (&a[..], &b[..]) else {
        return Err(format!("shapes {} and {} are not matrices", show(&a), show(&b)));
    };
    fixed_dim(*inner, "the inner dimension")?;
    if inner != inner_b {
        return Err(format!("the inner dimensions {inner} and {inner_b} differ"));
    }
    let outer = shapes::broadcast(outer_a, outer_b)?;
    let shape = [&outer[..], &[*rows, *columns]].concat();
    let product = graph.emit(Op::MatMul, &[&left, &right], shape, Type::Float)?;
    let kept = [(!vectors.0).then_some(*rows), (!vectors.1).then_some(*columns)];
    let shape = outer.into_iter().chain(kept.into_iter().flatten()).collect();
    reshaped(graph, &product, shape)
}
