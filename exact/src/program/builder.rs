//! Writes a program: each call adds the instruction that computes a new value.

use std::collections::BTreeMap;

use super::fuse::fuse;
use super::terms::{Node, Terms};
use super::{Instruction, Port, Program, ProgramError, Role};
use crate::definition::{Coordinate, Operation, Primitive, View};
use crate::tensor::{Tensor, elements};

/// A value and the shape it is seen under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Var {
    pub(super) value: Value,
    shape: Vec<usize>,
}

/// A value while the program is written: constants are numbered for themselves, as they may still be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Input(usize),
    Constant(usize),
    Result(usize),
}

impl Var {
    pub(super) fn new(value: Value, shape: Vec<usize>) -> Self {
        Self { value, shape }
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Windows that slide over the last two axes; each field (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub strides: [usize; 2],
    /// Padding before the first element.
    pub pads: [usize; 2],
    /// Step between the elements of a window.
    pub dilations: [usize; 2],
    /// How many windows there are.
    pub output: [usize; 2],
}

type Derivative = Box<dyn FnOnce(&mut Builder, &Var) -> Result<Vec<(Var, Var)>, ProgramError>>;

/// A program being written.
#[derive(Default)]
pub struct Builder {
    inputs: Vec<Port>,
    constants: Vec<Tensor>,
    pub(super) instructions: Vec<(Primitive, Vec<Value>)>,
    pub(super) derivatives: BTreeMap<Value, Derivative>,
    streams: u32,
}

/// `value · loop[axis]`, the only coordinate most views need.
pub(super) fn along(loops: usize, axis: Option<usize>) -> Coordinate {
    affine(loops, 0, &axis.map(|axis| (axis, 1)).into_iter().collect::<Vec<_>>())
}

/// `offset + Σ factor · loop[axis]`.
pub(super) fn affine(loops: usize, offset: i64, factors: &[(usize, i64)]) -> Coordinate {
    let mut coefficients = vec![0; loops];
    for (axis, factor) in factors {
        coefficients[*axis] += factor;
    }
    Coordinate {
        offset,
        coefficients,
        divisor: 1,
    }
}

fn refuse<T>(operation: &'static str, why: String) -> Result<T, ProgramError> {
    Err(ProgramError::Shape { operation, why })
}

/// The shape that both broadcast to, by NumPy's rules.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, ProgramError> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (left, right) if left == right || right == 1 => Ok(left),
            (1, right) => Ok(right),
            _ => refuse("broadcast", format!("shapes {a:?} and {b:?}")),
        })
        .collect()
}

/// The view of `shape` aligned with the last of the `output` axes, among `loops` loop axes.
fn broadcast_view(shape: &[usize], output: &[usize], loops: usize) -> View {
    let skip = output.len() - shape.len();
    let coordinates = shape
        .iter()
        .enumerate()
        .map(|(axis, extent)| along(loops, (*extent != 1).then_some(skip + axis)))
        .collect();
    View {
        shape: shape.to_vec(),
        coordinates,
        outside: 0.0,
    }
}

impl Builder {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new input.
    pub fn input(&mut self, role: Role, shape: &[usize]) -> Var {
        let number = self.inputs.len();
        self.inputs.push(Port {
            role,
            shape: shape.to_vec(),
            value: number,
        });
        Var::new(Value::Input(number), shape.to_vec())
    }

    /// A tensor that never changes.
    pub fn constant(&mut self, tensor: Tensor) -> Var {
        let number = self.constants.iter().position(|known| *known == tensor);
        let number = number.unwrap_or(self.constants.len());
        let shape = tensor.shape().to_vec();
        if number == self.constants.len() {
            self.constants.push(tensor);
        }
        Var::new(Value::Constant(number), shape)
    }

    /// Any primitive.
    ///
    /// # Errors
    /// When the operands are not those of the primitive's views.
    pub fn push(&mut self, primitive: Primitive, operands: &[&Var]) -> Result<Var, ProgramError> {
        let views = primitive.views();
        let fit = views.len() == operands.len()
            && views
                .iter()
                .zip(operands)
                .all(|(view, operand)| elements(&view.shape) == Some(operand.elements()));
        if !fit {
            return refuse(
                "instruction",
                format!("{} operands do not fit {} views", operands.len(), views.len()),
            );
        }
        let shape = primitive.output().to_vec();
        let operands = operands.iter().map(|operand| operand.value).collect();
        self.instructions.push((primitive, operands));
        Ok(Var::new(Value::Result(self.instructions.len() - 1), shape))
    }

    /// Folds or moves `operands` seen through `views`, which `operation` takes in their order.
    fn compute(
        &mut self,
        output: &[usize],
        reduced: &[usize],
        operation: Operation,
        operands: &[&Var],
    ) -> Result<Var, ProgramError> {
        self.push(Primitive::new(output.to_vec(), reduced.to_vec(), operation)?, operands)
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, x: &Var, shape: &[usize]) -> Result<Var, ProgramError> {
        if elements(shape) != Some(x.elements()) {
            return refuse("reshape", format!("{:?} to {shape:?}", x.shape));
        }
        Ok(Var::new(x.value, shape.to_vec()))
    }

    /// An expression of operands that broadcast together (NumPy's rules).
    ///
    /// # Errors
    /// When they do not broadcast, or the expression is too long.
    pub fn map(
        &mut self,
        operands: &[&Var],
        write: impl FnOnce(&mut Terms, &[Node]) -> Node,
    ) -> Result<Var, ProgramError> {
        let mut output = Vec::new();
        for operand in operands {
            output = broadcast(&output, &operand.shape)?;
        }
        self.map_to(&output, operands, write)
    }

    /// An expression of operands that broadcast to `output`.
    ///
    /// # Errors
    /// When they do not, or the expression is too long.
    pub fn map_to(
        &mut self,
        output: &[usize],
        operands: &[&Var],
        write: impl FnOnce(&mut Terms, &[Node]) -> Node,
    ) -> Result<Var, ProgramError> {
        for operand in operands {
            if broadcast(output, &operand.shape)? != output {
                return refuse("map", format!("{:?} does not broadcast to {output:?}", operand.shape));
            }
        }
        // An operand that is given twice is one input.
        let first = |operand: &&Var| operands.iter().position(|known| known == operand).unwrap_or(0);
        let mut terms = Terms::default();
        let nodes: Vec<Node> = operands.iter().map(|operand| terms.input(first(operand))).collect();
        let result = write(&mut terms, &nodes);
        let views: Vec<View> = operands
            .iter()
            .map(|operand| broadcast_view(&operand.shape, output, output.len()))
            .collect();
        self.write(
            output,
            terms,
            result,
            &views,
            &operands.iter().map(|v| v.value).collect::<Vec<_>>(),
        )
    }

    /// Adds the map whose value is `result`, with the inputs it needs.
    pub(super) fn write(
        &mut self,
        output: &[usize],
        terms: Terms,
        result: Node,
        views: &[View],
        operands: &[Value],
    ) -> Result<Var, ProgramError> {
        let (expression, used) = terms.finish(result)?;
        let views = used.iter().map(|input| views[*input].clone()).collect();
        let operands = used.iter().map(|input| operands[*input]).collect();
        let primitive = Primitive::new(output.to_vec(), vec![], Operation::Map(expression, views))?;
        self.instructions.push((primitive, operands));
        Ok(Var::new(Value::Result(self.instructions.len() - 1), output.to_vec()))
    }

    /// A contraction written as `"bik,bkj->bij"`: axes of `a` and of `b`, then those of the result; what is not in the
    /// result is folded over, in the order in which it appears. An axis of extent 1 broadcasts.
    ///
    /// # Errors
    /// When the letters do not fit the shapes.
    pub fn einsum(&mut self, letters: &'static str, a: &Var, b: &Var) -> Result<Var, ProgramError> {
        let bad = || ProgramError::Shape {
            operation: "einsum",
            why: format!("{letters:?} of {:?} and {:?}", a.shape, b.shape),
        };
        let (sides, result) = letters.split_once("->").ok_or_else(bad)?;
        let (left, right) = sides.split_once(',').ok_or_else(bad)?;
        if left.len() != a.shape.len() || right.len() != b.shape.len() {
            return Err(bad());
        }
        let mut axes: Vec<char> = result.chars().collect();
        for letter in left.chars().chain(right.chars()) {
            if !axes.contains(&letter) {
                axes.push(letter);
            }
        }
        let of = |letter: char, side: &str, shape: &[usize]| side.find(letter).map_or(1, |at| shape[at]);
        let mut extents = Vec::with_capacity(axes.len());
        for letter in &axes {
            let (x, y) = (of(*letter, left, &a.shape), of(*letter, right, &b.shape));
            if x != y && x != 1 && y != 1 {
                return Err(bad());
            }
            // An axis of no elements stays one.
            extents.push(if x == 1 { y } else { x });
        }
        let view = |side: &str, shape: &[usize]| View {
            shape: shape.to_vec(),
            coordinates: side
                .chars()
                .zip(shape)
                .map(|(letter, extent)| along(axes.len(), axes.iter().position(|axis| *axis == letter && *extent != 1)))
                .collect(),
            outside: 0.0,
        };
        let operation = Operation::Contraction(view(left, &a.shape), view(right, &b.shape));
        let (output, reduced) = extents.split_at(result.len());
        self.compute(output, reduced, operation, &[a, b])
    }

    /// The matrix product over the last two axes, broadcast over the others; both have at least two axes.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn matmul(&mut self, a: &Var, b: &Var) -> Result<Var, ProgramError> {
        let (Some((left, &[m, k])), Some((right, &[inner, n]))) =
            (a.shape.split_last_chunk(), b.shape.split_last_chunk())
        else {
            return refuse("matmul", format!("{:?} and {:?} need two axes each", a.shape, b.shape));
        };
        if k != inner {
            return refuse("matmul", format!("{:?} times {:?}", a.shape, b.shape));
        }
        let batch = broadcast(left, right)?;
        let (rank, loops) = (batch.len(), batch.len() + 3);
        let view = |shape: &[usize], outer: &[usize], rows: usize, columns: usize| {
            let mut view = broadcast_view(outer, &batch, loops);
            view.coordinates.push(along(loops, Some(rows)));
            view.coordinates.push(along(loops, Some(columns)));
            view.shape = shape.to_vec();
            view
        };
        let operation = Operation::Contraction(
            view(&a.shape, left, rank, rank + 2),
            view(&b.shape, right, rank + 2, rank + 1),
        );
        let output = [&batch[..], &[m, n]].concat();
        self.compute(&output, &[k], operation, &[a, b])
    }

    /// The view of (N, G, C, H, W) or (N, C, H, W) images through a window: `lead` loop axes for the first axes, then
    /// rows and columns at `at`, and the window's at `inner`.
    fn window_view(shape: &[usize], loops: usize, lead: &[usize], at: usize, inner: usize, window: &Window) -> View {
        let mut coordinates: Vec<Coordinate> = lead.iter().map(|axis| along(loops, Some(*axis))).collect();
        for i in 0..2 {
            coordinates.push(affine(
                loops,
                -(window.pads[i] as i64),
                &[
                    (at + i, window.strides[i] as i64),
                    (inner + i, window.dilations[i] as i64),
                ],
            ));
        }
        View {
            shape: shape.to_vec(),
            coordinates,
            outside: 0.0,
        }
    }

    /// The convolution of `x` (N, C, H, W) with `w` (M, C / groups, kh, kw), giving (N, M, oh, ow).
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn conv(&mut self, x: &Var, w: &Var, window: &Window, groups: usize) -> Result<Var, ProgramError> {
        let (&[n, c, height, width], &[m, inner, kh, kw]) = (&x.shape[..], &w.shape[..]) else {
            return refuse("conv", format!("{:?} with {:?} needs four axes each", x.shape, w.shape));
        };
        if groups == 0 || c != inner * groups || m % groups != 0 || [kh, kw] != window.kernel {
            return refuse("conv", format!("{:?} with {:?} in {groups} groups", x.shape, w.shape));
        }
        // Loop axes: n, group, m, row, column | c, kh, kw.
        let loops = 8;
        let images = Self::window_view(&[n, groups, inner, height, width], loops, &[0, 1, 5], 3, 6, window);
        let filters = View {
            shape: vec![groups, m / groups, inner, kh, kw],
            coordinates: [1, 2, 5, 6, 7].map(|axis| along(loops, Some(axis))).to_vec(),
            outside: 0.0,
        };
        let [oh, ow] = window.output;
        let y = self.compute(
            &[n, groups, m / groups, oh, ow],
            &[inner, kh, kw],
            Operation::Contraction(filters, images),
            &[w, x],
        )?;
        self.reshape(&y, &[n, m, oh, ow])
    }

    /// Largest element of each window of `x` (N, C, H, W); padding never wins.
    ///
    /// # Errors
    /// When `x` has not four axes.
    pub fn max_pool(&mut self, x: &Var, window: &Window) -> Result<Var, ProgramError> {
        self.pool("max_pool", x, window, |view| {
            Operation::Max(View {
                outside: f32::NEG_INFINITY,
                ..view
            })
        })
    }

    /// Sum of each window of `x` (N, C, H, W).
    ///
    /// # Errors
    /// When `x` has not four axes.
    pub fn sum_pool(&mut self, x: &Var, window: &Window) -> Result<Var, ProgramError> {
        self.pool("sum_pool", x, window, Operation::Sum)
    }

    fn pool(
        &mut self,
        name: &'static str,
        x: &Var,
        window: &Window,
        operation: impl FnOnce(View) -> Operation,
    ) -> Result<Var, ProgramError> {
        let &[n, c, _, _] = &x.shape[..] else {
            return refuse(name, format!("{:?} needs four axes", x.shape));
        };
        let view = Self::window_view(&x.shape, 6, &[0, 1], 2, 4, window);
        let [oh, ow] = window.output;
        self.compute(&[n, c, oh, ow], &window.kernel, operation(view), &[x])
    }

    /// The sum over `axes`, which stay with extent 1. Runs of neighbouring axes are folded one after the other, the last
    /// run first: shorter chains are more exact, and quicker to dispute.
    ///
    /// # Errors
    /// When an axis is not there.
    pub fn sum(&mut self, x: &Var, axes: &[usize]) -> Result<Var, ProgramError> {
        self.reduce(x, axes, Operation::Sum)
    }

    /// `Σ a · b` over `axes`, which stay with extent 1; both have the same shape. The last run of neighbouring axes is
    /// contracted, the others are summed as [`Builder::sum`] does.
    ///
    /// # Errors
    /// When the shapes differ or an axis is not there.
    pub fn dot(&mut self, a: &Var, b: &Var, axes: &[usize]) -> Result<Var, ProgramError> {
        let rank = a.shape.len();
        if a.shape != b.shape || axes.iter().any(|axis| *axis >= rank) {
            return refuse("dot", format!("{:?} and {:?} over {axes:?}", a.shape, b.shape));
        }
        let end = axes.iter().max().map_or(0, |last| last + 1);
        let start = (0..end)
            .rev()
            .take_while(|axis| axes.contains(axis))
            .last()
            .unwrap_or(end);
        let loops = rank + end - start;
        let place = |axis: usize| {
            if (start..end).contains(&axis) {
                rank + axis - start
            } else {
                axis
            }
        };
        let view = View {
            shape: a.shape.clone(),
            coordinates: (0..rank).map(|axis| along(loops, Some(place(axis)))).collect(),
            outside: 0.0,
        };
        let mut output = a.shape.clone();
        output[start..end].fill(1);
        let operation = Operation::Contraction(view.clone(), view);
        let run = self.compute(&output, &a.shape[start..end], operation, &[a, b])?;
        let rest: Vec<usize> = axes.iter().copied().filter(|axis| *axis < start).collect();
        self.sum(&run, &rest)
    }

    /// The greatest along `axes`, which stay with extent 1.
    ///
    /// # Errors
    /// When an axis is not there.
    pub fn max(&mut self, x: &Var, axes: &[usize]) -> Result<Var, ProgramError> {
        self.reduce(x, axes, Operation::Max)
    }

    fn reduce(&mut self, x: &Var, axes: &[usize], operation: fn(View) -> Operation) -> Result<Var, ProgramError> {
        if let Some(axis) = axes.iter().find(|axis| **axis >= x.shape.len()) {
            return refuse("reduce", format!("axis {axis} of {:?}", x.shape));
        }
        let mut result = x.clone();
        let mut end = x.shape.len();
        while end > 0 {
            let start = (0..end)
                .rev()
                .take_while(|axis| axes.contains(axis))
                .last()
                .unwrap_or(end);
            if start < end && (x.shape[start..end].iter().any(|extent| *extent != 1)) {
                result = self.reduce_run(&result, start..end, operation)?;
            }
            end = start.min(end - 1);
        }
        Ok(result)
    }

    fn reduce_run(
        &mut self,
        x: &Var,
        run: std::ops::Range<usize>,
        operation: fn(View) -> Operation,
    ) -> Result<Var, ProgramError> {
        let (rank, loops) = (x.shape.len(), x.shape.len() + 1);
        let mut output = x.shape.clone();
        output[run.clone()].fill(1);
        // The run is seen as one axis.
        let extent: usize = x.shape[run.clone()].iter().product();
        let mut shape = x.shape.clone();
        shape.splice(run.clone(), [extent]);
        let coordinates = (0..shape.len())
            .map(|axis| match axis.cmp(&run.start) {
                std::cmp::Ordering::Less => along(loops, Some(axis)),
                std::cmp::Ordering::Equal => along(loops, Some(rank)),
                std::cmp::Ordering::Greater => along(loops, Some(axis + run.len() - 1)),
            })
            .collect();
        let view = View {
            shape,
            coordinates,
            outside: 0.0,
        };
        self.compute(&output, &[extent], operation(view), &[x])
    }

    /// Axis `i` of the result is axis `permutation[i]` of `x`.
    ///
    /// # Errors
    /// When it is no permutation of the axes.
    pub fn transpose(&mut self, x: &Var, permutation: &[usize]) -> Result<Var, ProgramError> {
        let rank = x.shape.len();
        let mut sorted = permutation.to_vec();
        sorted.sort_unstable();
        if sorted != (0..rank).collect::<Vec<_>>() {
            return refuse("transpose", format!("{permutation:?} of {:?}", x.shape));
        }
        let output: Vec<usize> = permutation.iter().map(|axis| x.shape[*axis]).collect();
        let place = |axis: usize| permutation.iter().position(|from| *from == axis);
        let view = View {
            shape: x.shape.clone(),
            coordinates: (0..rank).map(|axis| along(rank, place(axis))).collect(),
            outside: 0.0,
        };
        self.compute(&output, &[], Operation::Layout(vec![view]), &[x])
    }

    /// Elements `starts[i] + steps[i] · j` of each axis for `j` below `output[i]`; what lies outside `x` is `outside`. So
    /// it slices, reverses and pads.
    ///
    /// # Errors
    /// When there is not one of each for each axis.
    pub fn slice(
        &mut self,
        x: &Var,
        starts: &[i64],
        steps: &[i64],
        output: &[usize],
        outside: f32,
    ) -> Result<Var, ProgramError> {
        let rank = x.shape.len();
        if [starts.len(), steps.len(), output.len()] != [rank; 3] {
            return refuse("slice", format!("{starts:?} {steps:?} {output:?} of {:?}", x.shape));
        }
        let coordinate = |axis: usize| affine(rank, starts[axis], &[(axis, steps[axis])]);
        let view = View {
            shape: x.shape.clone(),
            coordinates: (0..rank).map(coordinate).collect(),
            outside,
        };
        self.compute(output, &[], Operation::Layout(vec![view]), &[x])
    }

    /// `x` broadcast to a shape.
    ///
    /// # Errors
    /// When it does not broadcast.
    pub fn expand(&mut self, x: &Var, shape: &[usize]) -> Result<Var, ProgramError> {
        if broadcast(shape, &x.shape)? != shape {
            return refuse("expand", format!("{:?} to {shape:?}", x.shape));
        }
        let view = broadcast_view(&x.shape, shape, shape.len());
        self.compute(shape, &[], Operation::Layout(vec![view]), &[x])
    }

    /// Tensors side by side along an axis.
    ///
    /// # Errors
    /// When there are none, or they differ along another axis.
    pub fn concat(&mut self, parts: &[&Var], axis: usize) -> Result<Var, ProgramError> {
        let bad = || ProgramError::Shape {
            operation: "concat",
            why: format!(
                "{:?} along {axis}",
                parts.iter().map(|part| &part.shape).collect::<Vec<_>>()
            ),
        };
        let mut output = parts.first().ok_or_else(bad)?.shape.clone();
        let rank = output.len();
        if axis >= rank {
            return Err(bad());
        }
        output[axis] = 0;
        let mut views = Vec::with_capacity(parts.len());
        for part in parts {
            let mut fits = part.shape.clone();
            if fits.len() != rank {
                return Err(bad());
            }
            fits[axis] = output[axis];
            if fits != output {
                return Err(bad());
            }
            let start = |at: usize| if at == axis { -(output[axis] as i64) } else { 0 };
            views.push(View {
                shape: part.shape.clone(),
                coordinates: (0..rank).map(|at| affine(rank, start(at), &[(at, 1)])).collect(),
                outside: 0.0,
            });
            output[axis] += part.shape[axis];
        }
        self.compute(&output, &[], Operation::Layout(views), parts)
    }

    /// The slices of `data` along `axis` that `indices` (whole numbers; negative ones give zeros) name: the axis is
    /// replaced by those of `indices`.
    ///
    /// # Errors
    /// When the axis is not there.
    pub fn gather(&mut self, data: &Var, indices: &Var, axis: usize) -> Result<Var, ProgramError> {
        if axis >= data.shape.len() {
            return refuse("gather", format!("axis {axis} of {:?}", data.shape));
        }
        let (before, after) = (&data.shape[..axis], &data.shape[axis + 1..]);
        let output = [before, indices.shape(), after].concat();
        let loops = output.len();
        let places = View {
            shape: indices.shape.clone(),
            coordinates: (axis..axis + indices.shape.len())
                .map(|at| along(loops, Some(at)))
                .collect(),
            outside: 0.0,
        };
        let place = |at: usize| match at.cmp(&axis) {
            std::cmp::Ordering::Less => Some(at),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(at + indices.shape.len() - 1),
        };
        let from = View {
            shape: data.shape.clone(),
            coordinates: (0..data.shape.len()).map(|at| along(loops, place(at))).collect(),
            outside: 0.0,
        };
        self.compute(&output, &[], Operation::Gather(places, from, axis), &[indices, data])
    }

    /// Uniform random numbers in [0, 1) under `key`; each call draws another stream.
    ///
    /// # Errors
    /// When `key` has not four elements.
    pub fn random(&mut self, key: &Var, shape: &[usize]) -> Result<Var, ProgramError> {
        let view = View {
            shape: key.shape.clone(),
            coordinates: key.shape.iter().map(|_| along(shape.len(), None)).collect(),
            outside: 0.0,
        };
        self.streams += 1;
        self.compute(shape, &[], Operation::Random(view, self.streams), &[key])
    }

    /// Gives `y` a derivative of its own instead of those of the instructions behind it: from the gradient of `y`, pairs
    /// of a variable and a contribution to its gradient.
    pub fn differentiate(
        &mut self,
        y: &Var,
        derivative: impl FnOnce(&mut Self, &Var) -> Result<Vec<(Var, Var)>, ProgramError> + 'static,
    ) {
        self.derivatives.insert(y.value, Box::new(derivative));
    }

    /// The program that computes `outputs`, without the instructions and constants that they do not need, and with maps
    /// joined. All inputs stay.
    ///
    /// # Errors
    /// Those of [`Program::new`].
    pub fn finish(mut self, outputs: Vec<(Role, Var)>) -> Result<Program, ProgramError> {
        let kept: Vec<Value> = outputs.iter().map(|(_, var)| var.value).collect();
        let (needed, _) = self.needed(&kept);
        fuse(&mut self.instructions, &needed, &kept);
        let (needed, constants) = self.needed(&kept);
        let place = |flags: &[bool], number: usize| flags[..number].iter().filter(|flag| **flag).count();
        let constant_base = self.inputs.len();
        let base = constant_base + place(&constants, constants.len());
        let mut places = Vec::with_capacity(needed.len());
        let mut next = base;
        for flag in &needed {
            places.push(next);
            next += usize::from(*flag);
        }
        let number = |value: Value| match value {
            Value::Input(number) => number,
            Value::Constant(number) => constant_base + place(&constants, number),
            Value::Result(number) => places[number],
        };
        let outputs = outputs
            .into_iter()
            .map(|(role, var)| Port {
                role,
                value: number(var.value),
                shape: var.shape,
            })
            .collect();
        let instructions = self
            .instructions
            .iter()
            .zip(&needed)
            .filter(|(_, needed)| **needed)
            .map(|((primitive, operands), _)| Instruction {
                primitive: primitive.clone(),
                operands: operands.iter().map(|operand| number(*operand)).collect(),
            })
            .collect();
        let kept = self.constants.iter().zip(&constants).filter(|(_, kept)| **kept);
        let constants = kept.map(|(tensor, _)| tensor.clone()).collect();
        Program::new(self.inputs, constants, instructions, outputs)
    }

    /// Which instructions and which constants the values `kept` need.
    fn needed(&self, kept: &[Value]) -> (Vec<bool>, Vec<bool>) {
        let mut needed = vec![false; self.instructions.len()];
        let mut constants = vec![false; self.constants.len()];
        let mut mark = |value: &Value, needed: &mut Vec<bool>| match value {
            Value::Input(_) => {}
            Value::Constant(number) => constants[*number] = true,
            Value::Result(number) => needed[*number] = true,
        };
        kept.iter().for_each(|value| mark(value, &mut needed));
        for at in (0..self.instructions.len()).rev() {
            if needed[at] {
                self.instructions[at]
                    .1
                    .iter()
                    .for_each(|operand| mark(operand, &mut needed));
            }
        }
        (needed, constants)
    }
}
