//! One operator of the graph after the other.

use super::{Lowering, norm};
use crate::onnx::{Binary, Node, Op, Reduction, Source, Unary, Window};
use crate::program::{self, Builder, Node as Term, ProgramError, Terms, Var};
use crate::tensor::Tensor;

fn refuse<T>(operation: &'static str, why: String) -> Result<T, ProgramError> {
    Err(ProgramError::Shape { operation, why })
}

/// The window with as many places as the node's shape says.
fn sliding(window: &Window, shape: &[usize]) -> Result<program::Window, ProgramError> {
    let &[_, _, height, width] = shape else {
        return refuse("window", format!("{shape:?} has not four dimensions"));
    };
    Ok(program::Window {
        kernel: window.kernel,
        strides: window.strides,
        pads: window.pads_begin,
        dilations: window.dilations,
        output: [height, width],
    })
}

impl Lowering<'_> {
    /// Where an operand comes from.
    pub(super) fn source(&mut self, source: &Source, results: &[Var]) -> Var {
        match source {
            Source::Input => self.samples.clone(),
            Source::Node(index) => results[*index].clone(),
            Source::Weight(name) => self.weights[name].clone(),
            Source::Constant(index) => self.builder.constant(self.graph.constants[*index].clone()),
        }
    }

    /// The result of one node, of the shape `shape`.
    pub(super) fn node(&mut self, node: &Node, operands: &[Var], shape: &[usize]) -> Result<Var, ProgramError> {
        let x = match operands.first() {
            Some(x) => x.clone(),
            None => return refuse("node", "it has no operands".to_owned()),
        };
        let second = || {
            operands.get(1).ok_or_else(|| ProgramError::Shape {
                operation: "node",
                why: "its second operand is missing".to_owned(),
            })
        };
        let builder = &mut self.builder;
        let y = match &node.op {
            Op::Gemm {
                alpha,
                beta,
                trans_a,
                trans_b,
            } => gemm(
                builder,
                &x,
                second()?,
                operands.get(2),
                [*alpha, *beta],
                [*trans_a, *trans_b],
            )?,
            Op::MatMul => builder.matmul(&x, second()?)?,
            Op::Conv { window, group } => {
                let y = builder.conv(&x, second()?, &sliding(window, shape)?, *group)?;
                match operands.get(2) {
                    None => y,
                    Some(bias) => {
                        let bias = builder.reshape(bias, &[1, shape[1], 1, 1])?;
                        builder.map(&[&y, &bias], |t, x| t.add(x[0], x[1]))?
                    }
                }
            }
            Op::MaxPool(window) => builder.max_pool(&x, &sliding(window, shape)?)?,
            Op::AveragePool {
                window,
                count_include_pad,
            } => average_pool(builder, &x, window, *count_include_pad, shape)?,
            Op::BatchNormalization { epsilon, momentum } => {
                let name = |operand: usize| match node.inputs.get(operand) {
                    Some(Source::Weight(name)) => Some(name.as_str()),
                    _ => None,
                };
                norm::batch(self, operands, [name(3), name(4)], *epsilon, *momentum)?
            }
            Op::LayerNormalization { axis, epsilon } => {
                norm::layer(builder, &x, operands.get(1), operands.get(2), *axis, *epsilon)?
            }
            Op::Softmax { axis } => norm::softmax(builder, &x, *axis)?,
            Op::LogSoftmax { axis } => norm::log_softmax(builder, &x, *axis)?,
            Op::Dropout { ratio } => match &self.key {
                Some(key) if *ratio > 0.0 => {
                    let draws = builder.random(key, shape)?;
                    let (ratio, scale) = (*ratio, 1.0 / (1.0 - ratio));
                    builder.map(&[&x, &draws], |t, x| {
                        let (ratio, scale, zero) = (t.constant(ratio), t.constant(scale), t.constant(0.0));
                        let dropped = t.less(x[1], ratio);
                        let kept = t.multiply(x[0], scale);
                        t.select(dropped, zero, kept)
                    })?
                }
                _ => x,
            },
            Op::Unary(Unary::Relu) => relu(builder, &x)?,
            Op::Unary(kind) => builder.map(&[&x], |t, x| unary(t, *kind, x[0]))?,
            Op::Binary(kind) => builder.map(&[&x, second()?], |t, x| binary(t, *kind, x[0], x[1]))?,
            Op::Where => match operands {
                [condition, yes, no] => builder.map(&[condition, yes, no], |t, x| t.select(x[0], x[1], x[2]))?,
                _ => return refuse("Where", format!("{} operands, 3 are needed", operands.len())),
            },
            Op::Reduce { kind, axes } => reduce(builder, &x, *kind, axes)?,
            Op::Reshape => x,
            Op::Transpose { perm } => builder.transpose(&x, perm)?,
            Op::Expand => builder.expand(&x, shape)?,
            Op::Slice { starts, steps } => {
                let starts: Vec<i64> = starts.iter().map(|start| *start as i64).collect();
                let steps: Vec<i64> = steps.iter().map(|step| *step as i64).collect();
                builder.slice(&x, &starts, &steps, shape, 0.0)?
            }
            Op::Pad { starts, value } => {
                let starts: Vec<i64> = starts.iter().map(|start| -(*start as i64)).collect();
                builder.slice(&x, &starts, &vec![1; shape.len()], shape, *value)?
            }
            Op::Concat { axis } => builder.concat(&operands.iter().collect::<Vec<_>>(), *axis)?,
            Op::Gather { axis } => builder.gather(&x, second()?, *axis)?,
        };
        self.builder.reshape(&y, shape)
    }
}

fn gemm(
    builder: &mut Builder,
    a: &Var,
    b: &Var,
    c: Option<&Var>,
    [alpha, beta]: [f32; 2],
    transposed: [bool; 2],
) -> Result<Var, ProgramError> {
    let letters = match transposed {
        [false, false] => "ik,kj->ij",
        [false, true] => "ik,jk->ij",
        [true, false] => "ki,kj->ij",
        [true, true] => "ki,jk->ij",
    };
    let product = builder.einsum(letters, a, b)?;
    match c.filter(|_| beta != 0.0) {
        None if alpha == 1.0 => Ok(product),
        None => builder.map(&[&product], |t, x| {
            let alpha = t.constant(alpha);
            t.multiply(alpha, x[0])
        }),
        Some(c) => builder.map(&[&product, c], |t, x| {
            let (alpha, beta) = (t.constant(alpha), t.constant(beta));
            let scaled = t.multiply(beta, x[1]);
            if alpha == t.constant(1.0) {
                t.add(x[0], scaled)
            } else {
                t.multiply_add(alpha, x[0], scaled)
            }
        }),
    }
}

fn average_pool(
    builder: &mut Builder,
    x: &Var,
    window: &Window,
    count_include_pad: bool,
    shape: &[usize],
) -> Result<Var, ProgramError> {
    let places = sliding(window, shape)?;
    let sum = builder.sum_pool(x, &places)?;
    let size = [x.shape()[2], x.shape()[3]];
    // How many elements the window at a place holds along one dimension; what is beyond the padding never counts.
    let along = |i: usize, at: usize| {
        let (low, high) = if count_include_pad {
            (0, window.pads_begin[i] + size[i] + window.pads_end[i])
        } else {
            (window.pads_begin[i], window.pads_begin[i] + size[i])
        };
        let first = at * window.strides[i];
        (first..first + window.kernel[i])
            .filter(|at| (low..high).contains(at))
            .count()
    };
    let [height, width] = places.output;
    let counts: Vec<f32> = (0..height * width)
        .map(|at| (along(0, at / width) * along(1, at % width)) as f32)
        .collect();
    let first = counts.first().copied().unwrap_or(1.0);
    if counts.iter().all(|count| *count == first) {
        return builder.map(&[&sum], |t, x| {
            let share = t.constant(1.0 / first);
            t.multiply(x[0], share)
        });
    }
    let counts = Tensor::new(vec![height, width], counts).map_err(|error| ProgramError::Shape {
        operation: "AveragePool",
        why: error.to_string(),
    })?;
    let counts = builder.constant(counts);
    builder.map(&[&sum, &counts], |t, x| t.divide(x[0], x[1]))
}

/// `max(x, 0)`. Its derivative asks the result, so that nothing else needs `x`.
fn relu(builder: &mut Builder, x: &Var) -> Result<Var, ProgramError> {
    let y = builder.map(&[x], |t, x| unary(t, Unary::Relu, x[0]))?;
    let (x, value) = (x.clone(), y.clone());
    builder.differentiate(&y, move |builder, gradient| {
        let gradient = builder.reshape(gradient, value.shape())?;
        let result = builder.map(&[&value, &gradient], |t, x| {
            let zero = t.constant(0.0);
            let positive = t.less(zero, x[0]);
            t.select(positive, x[1], zero)
        })?;
        Ok(vec![(x, result)])
    });
    Ok(y)
}

fn unary(t: &mut Terms, kind: Unary, x: Term) -> Term {
    let (zero, one) = (t.constant(0.0), t.constant(1.0));
    match kind {
        Unary::Abs => t.absolute(x),
        Unary::Neg => t.negate(x),
        Unary::Reciprocal => t.divide(one, x),
        Unary::Sqrt => t.sqrt(x),
        Unary::Exp => t.exp(x),
        Unary::Log => t.log(x),
        Unary::Sin => t.sin(x),
        Unary::Cos => t.cos(x),
        Unary::Erf => t.erf(x),
        Unary::Sigmoid => t.sigmoid(x),
        Unary::Tanh => t.tanh(x),
        Unary::Relu => t.maximum(zero, x),
        Unary::LeakyRelu { alpha } => {
            let alpha = t.constant(alpha);
            let negative = t.less(x, zero);
            let scaled = t.multiply(alpha, x);
            t.select(negative, scaled, x)
        }
        Unary::Gelu { tanh: false } => {
            let (half, root) = (t.constant(0.5), t.constant(std::f32::consts::FRAC_1_SQRT_2));
            let scaled = t.multiply(x, root);
            let erf = t.erf(scaled);
            let sum = t.add(one, erf);
            let half = t.multiply(half, x);
            t.multiply(half, sum)
        }
        Unary::Gelu { tanh: true } => {
            // √(2/π), rounded to f32.
            let (half, root, cubic) = (t.constant(0.5), t.constant(0.797_884_6), t.constant(0.044_715));
            let square = t.multiply(x, x);
            let inner = t.multiply(square, x);
            let inner = t.multiply_add(cubic, inner, x);
            let inner = t.multiply(root, inner);
            let tanh = t.tanh(inner);
            let sum = t.add(one, tanh);
            let half = t.multiply(half, x);
            t.multiply(half, sum)
        }
        Unary::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (t.constant(alpha), t.constant(beta));
            let line = t.multiply_add(alpha, x, beta);
            let low = t.maximum(zero, line);
            t.minimum(one, low)
        }
        Unary::Clip { min, max } => {
            let (min, max) = (t.constant(min), t.constant(max));
            let low = t.maximum(x, min);
            t.minimum(low, max)
        }
    }
}

fn binary(t: &mut Terms, kind: Binary, a: Term, b: Term) -> Term {
    match kind {
        Binary::Add => t.add(a, b),
        Binary::Sub => t.subtract(a, b),
        Binary::Mul => t.multiply(a, b),
        Binary::Div => t.divide(a, b),
        Binary::Pow => {
            let log = t.log(a);
            let product = t.multiply(b, log);
            t.exp(product)
        }
        Binary::Min => t.minimum(a, b),
        Binary::Max => t.maximum(a, b),
        Binary::Equal => t.equal(a, b),
        Binary::Less => t.less(a, b),
        // Not `1 − (b < a)`: a comparison with NaN is 0.
        Binary::LessOrEqual => {
            let (less, equal) = (t.less(a, b), t.equal(a, b));
            t.maximum(less, equal)
        }
    }
}

fn reduce(builder: &mut Builder, x: &Var, kind: Reduction, axes: &[usize]) -> Result<Var, ProgramError> {
    match kind {
        Reduction::Sum => builder.sum(x, axes),
        Reduction::Max => builder.max(x, axes),
        Reduction::Mean => norm::mean(builder, x, axes),
    }
}
