//! The primitives: the specification of what **one output element** of every operation is.
//!
//! A [`Primitive`] runs over *loop axes*: the axes of its output, then the axes it folds over ("reduced"). Both count
//! row-major, the last axis fastest, so an output element is one number and a position `k` in its fold is one number.
//! A [`View`] says which element of an input the loop stands at: each axis of the input has the coordinate
//!
//! ```text
//! (offset + Σ coefficient[i] · loop[i]) / divisor
//! ```
//!
//! and where that is no integer, or lies outside the axis, the view reads its constant `outside` instead. This one form
//! holds broadcasting (coefficient 0), transposing, slicing, padding, strides and dilation, so that matrix product,
//! convolution and both gradients of each are the same [`Operation::Contraction`] with other numbers.
//!
//! An element costs [`Primitive::terms`] steps, known before it is evaluated; nothing is allocated for it.
//! [`Primitive::fold`] evaluates a part of a long fold, which is how a dispute is cut down to size. Input elements come
//! from a callback, so they may be a slice, or leaves with a proof.

use crate::arith::{self, NAN, canonical};
use crate::tensor::elements;
use std::ops::Range;

/// The most loop axes of a primitive, and the most axes of an input.
pub const MAX_AXES: usize = 16;
/// The largest extent of an axis, and with it the largest offset.
pub const MAX_EXTENT: usize = 1 << 32;
/// The largest coefficient and divisor. With the bounds above, a coordinate stays below 2⁶² and cannot overflow.
pub const MAX_COEFFICIENT: i64 = 1 << 24;
/// The most inputs of a primitive.
pub const MAX_INPUTS: usize = 64;

/// Why a primitive is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Too many axes.
    #[error("{found} axes, at most {MAX_AXES} are allowed")]
    Axes {
        /// How many there are.
        found: usize,
    },
    /// An extent that is too large, or too many elements in all.
    #[error("shape {0:?} has an extent above {MAX_EXTENT} or more elements than fit in memory")]
    Size(Vec<usize>),
    /// A wrong number of inputs.
    #[error("{found} inputs, {needed} are needed")]
    Inputs {
        /// How many there are.
        found: usize,
        /// How many the operation takes.
        needed: usize,
    },
    /// A view without exactly one coordinate for each axis of its input, or one coefficient for each loop axis.
    #[error("a view has {found} {what}, its shape and loop need {needed}")]
    View {
        /// `coordinates` or `coefficients`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        needed: usize,
    },
    /// A number in a coordinate that is out of bounds.
    #[error("{what} {found} lies outside {low}..={high}")]
    Coordinate {
        /// `coefficient`, `offset` or `divisor`.
        what: &'static str,
        /// Its value.
        found: i64,
        /// The least allowed.
        low: i64,
        /// The greatest allowed.
        high: i64,
    },
    /// An operation that does not fold was given axes to fold over.
    #[error("{found} reduced axes, but the operation does not fold")]
    Reduced {
        /// How many there are.
        found: usize,
    },
    /// Gather or scatter along an axis that is not there.
    #[error("axis {found}, the tensor has {axes}")]
    Axis {
        /// The axis named.
        found: usize,
        /// How many axes there are.
        axes: usize,
    },
}

/// The coordinate along one axis of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinate {
    /// The constant part.
    pub offset: i64,
    /// One factor for each loop axis.
    pub coefficients: Vec<i64>,
    /// Divides the sum; positions that do not divide evenly read `outside`. 1 unless undoing a stride.
    pub divisor: i64,
}

impl Coordinate {
    fn at(&self, position: &[i64; MAX_AXES]) -> Option<i64> {
        let terms = self.coefficients.iter().zip(position).map(|(factor, at)| factor * at);
        let sum = self.offset + terms.sum::<i64>();
        (sum % self.divisor == 0).then(|| sum / self.divisor)
    }
}

/// How an operation reads one input: see the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The input's shape, row-major.
    pub shape: Vec<usize>,
    /// One coordinate for each axis of `shape`.
    pub coordinates: Vec<Coordinate>,
    /// What is read where a coordinate is fractional or outside the input.
    pub outside: f32,
}

impl View {
    /// The row-major offset in the input, with `shift` added to the coordinate of one axis; `None` for `outside`.
    fn offset(&self, position: &[i64; MAX_AXES], shift: Option<(usize, i64)>) -> Option<usize> {
        let mut offset = 0;
        for (axis, (extent, coordinate)) in self.shape.iter().zip(&self.coordinates).enumerate() {
            let shift = shift.map_or(0, |(shifted, by)| if shifted == axis { by } else { 0 });
            let at = usize::try_from(coordinate.at(position)? + shift).ok()?;
            if at >= *extent {
                return None;
            }
            offset = offset * extent + at;
        }
        Some(offset)
    }

    fn read(&self, input: usize, position: &[i64; MAX_AXES], read: &mut impl FnMut(usize, usize) -> f32) -> f32 {
        self.offset(position, None)
            .map_or(self.outside, |offset| read(input, offset))
    }

    fn check(&self, loops: usize) -> Result<(), DefinitionError> {
        check_shape(&self.shape)?;
        let (found, needed) = (self.coordinates.len(), self.shape.len());
        if found != needed {
            return Err(DefinitionError::View {
                what: "coordinates",
                found,
                needed,
            });
        }
        for coordinate in &self.coordinates {
            let found = coordinate.coefficients.len();
            if found != loops {
                return Err(DefinitionError::View {
                    what: "coefficients",
                    found,
                    needed: loops,
                });
            }
            for factor in &coordinate.coefficients {
                within("coefficient", *factor, -MAX_COEFFICIENT, MAX_COEFFICIENT)?;
            }
            within("offset", coordinate.offset, -(MAX_EXTENT as i64), MAX_EXTENT as i64)?;
            within("divisor", coordinate.divisor, 1, MAX_COEFFICIENT)?;
        }
        Ok(())
    }
}

fn within(what: &'static str, found: i64, low: i64, high: i64) -> Result<(), DefinitionError> {
    if (low..=high).contains(&found) {
        Ok(())
    } else {
        Err(DefinitionError::Coordinate { what, found, low, high })
    }
}

fn check_shape(shape: &[usize]) -> Result<usize, DefinitionError> {
    if shape.len() > MAX_AXES {
        return Err(DefinitionError::Axes { found: shape.len() });
    }
    let fits = shape.iter().all(|extent| *extent <= MAX_EXTENT);
    elements(shape)
        .filter(|_| fits)
        .ok_or_else(|| DefinitionError::Size(shape.to_vec()))
}

/// A pure function of one to three numbers. Comparisons give 1 or 0, and 0 where either side is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the operation it is named after; `apply` defines it")]
pub enum Function {
    Negate,
    Absolute,
    Sqrt,
    Rsqrt,
    Exp,
    Log,
    Tanh,
    Erf,
    Sin,
    Cos,
    Sigmoid,
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
    Less,
    Equal,
    MultiplyAdd,
    Select,
}

impl Function {
    /// How many arguments it takes.
    pub fn arity(self) -> usize {
        match self {
            Self::Negate | Self::Absolute | Self::Sqrt | Self::Rsqrt | Self::Exp | Self::Log | Self::Tanh => 1,
            Self::Erf | Self::Sin | Self::Cos | Self::Sigmoid => 1,
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide => 2,
            Self::Maximum | Self::Minimum | Self::Less | Self::Equal => 2,
            Self::MultiplyAdd | Self::Select => 3,
        }
    }

    /// Its value; arguments beyond its arity are ignored.
    #[inline(always)]
    pub fn apply(self, [x, y, z]: [f32; 3]) -> f32 {
        canonical(match self {
            Self::Negate => -x,
            Self::Absolute => x.abs(),
            Self::Sqrt => arith::sqrt(x),
            Self::Rsqrt => arith::rsqrt(x),
            Self::Exp => arith::exp(x),
            Self::Log => arith::log(x),
            Self::Tanh => arith::tanh(x),
            Self::Erf => arith::erf(x),
            Self::Sin => arith::sin(x),
            Self::Cos => arith::cos(x),
            Self::Sigmoid => arith::sigmoid(x),
            Self::Add => x + y,
            Self::Subtract => x - y,
            Self::Multiply => x * y,
            Self::Divide => x / y,
            Self::Maximum => maximum(x, y),
            Self::Minimum => -maximum(-x, -y),
            Self::Less => f32::from(x < y),
            Self::Equal => f32::from(x == y),
            Self::MultiplyAdd => arith::fma(x, y, z),
            // x decides: zero of either sign takes z, everything else takes y.
            Self::Select => {
                if x == 0.0 {
                    z
                } else {
                    y
                }
            }
        })
    }
}

/// The greater; the first of two equals (so of +0 and −0), and NaN if either is NaN.
#[inline(always)]
fn maximum(x: f32, y: f32) -> f32 {
    if y > x || y.is_nan() { y } else { x }
}

/// What an element is made of. Inputs are numbered in the order in which the views are listed.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// `function(views…)`.
    Map(Function, Vec<View>),
    /// From `acc = +0`, for ascending k: `acc = fma(a, b, acc)`.
    Contraction(View, View),
    /// From `acc = +0`, for ascending k: `acc = acc + x`.
    Sum(View),
    /// From `acc = −∞`, for ascending k: the greater of `acc` and `x`, `acc` if equal, NaN if either is NaN.
    Max(View),
    /// The first of the views that does not lie outside its input, else the last view's `outside`: a transposed,
    /// sliced or padded tensor, or several side by side.
    Layout(Vec<View>),
    /// The value of the first view, a whole number, is added to the second view's coordinate along this axis. Any
    /// other value gives NaN; an index that leaves the input gives `outside`.
    Gather(View, View, usize),
    /// From `acc = +0`, for ascending k: `acc = acc + x` (second view) where the first view's value equals the output
    /// element's coordinate along this axis.
    ScatterAdd(View, View, usize),
}

/// A checked operation: every element of it can be evaluated, whatever its inputs hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Primitive {
    output: Vec<usize>,
    reduced: Vec<usize>,
    elements: usize,
    terms: usize,
    operation: Operation,
}

impl Primitive {
    /// An operation whose output has the shape `output` and which folds over the axes `reduced`.
    ///
    /// # Errors
    /// When the axes, sizes or views break a bound of this module or do not fit each other.
    pub fn new(output: Vec<usize>, reduced: Vec<usize>, operation: Operation) -> Result<Self, DefinitionError> {
        let loops = output.len() + reduced.len();
        if loops > MAX_AXES {
            return Err(DefinitionError::Axes { found: loops });
        }
        let (elements, terms) = (check_shape(&output)?, check_shape(&reduced)?);
        let primitive = Self {
            output,
            reduced,
            elements,
            terms,
            operation,
        };
        let views = primitive.views();
        if let Operation::Map(function, views) = &primitive.operation {
            let (found, needed) = (views.len(), function.arity());
            if found != needed {
                return Err(DefinitionError::Inputs { found, needed });
            }
        }
        if views.is_empty() || views.len() > MAX_INPUTS {
            return Err(DefinitionError::Inputs {
                found: views.len(),
                needed: views.len().clamp(1, MAX_INPUTS),
            });
        }
        for view in &views {
            view.check(loops)?;
        }
        let (folds, axis) = match &primitive.operation {
            Operation::Map(..) | Operation::Layout(_) => (false, None),
            Operation::Gather(_, data, axis) => (false, Some((*axis, data.shape.len()))),
            Operation::ScatterAdd(_, _, axis) => (true, Some((*axis, primitive.output.len()))),
            Operation::Contraction(..) | Operation::Sum(_) | Operation::Max(_) => (true, None),
        };
        if !folds && !primitive.reduced.is_empty() {
            return Err(DefinitionError::Reduced {
                found: primitive.reduced.len(),
            });
        }
        match axis {
            Some((found, axes)) if found >= axes => Err(DefinitionError::Axis { found, axes }),
            _ => Ok(primitive),
        }
    }

    /// The output's shape.
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    /// The operation.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The views in the order of the inputs they read.
    pub fn views(&self) -> Vec<&View> {
        match &self.operation {
            Operation::Map(_, views) | Operation::Layout(views) => views.iter().collect(),
            Operation::Sum(view) | Operation::Max(view) => vec![view],
            Operation::Contraction(a, b) | Operation::Gather(a, b, _) | Operation::ScatterAdd(a, b, _) => vec![a, b],
        }
    }

    /// How many elements the output has.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// How many steps one element takes: the length of its fold, or 1.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// Output element `index`, or NaN if there is no such element. `read(input, offset)` gives an element of an input;
    /// it is asked only for offsets within the shape of that input's view.
    pub fn element(&self, index: usize, mut read: impl FnMut(usize, usize) -> f32) -> f32 {
        self.fold(index, 0..self.terms, self.start(), &mut read)
    }

    /// The accumulator before the first step of a fold.
    pub fn start(&self) -> f32 {
        if matches!(self.operation, Operation::Max(_)) {
            f32::NEG_INFINITY
        } else {
            0.0
        }
    }

    /// The accumulator of output element `index` after the steps `range`, when it was `acc` before them. Folding
    /// consecutive ranges one after the other gives the bits of folding them at once. Steps past the end do nothing.
    pub fn fold(&self, index: usize, range: Range<usize>, acc: f32, mut read: impl FnMut(usize, usize) -> f32) -> f32 {
        if index >= self.elements {
            return NAN;
        }
        let mut position = [0; MAX_AXES];
        let (outer, inner) = position.split_at_mut(self.output.len());
        unravel(index, &self.output, outer);
        // `inner` is only set while there is a step, so no extent of it is 0 then.
        unravel(0, &self.reduced, inner);
        let mut acc = acc;
        for k in range.start..range.end.min(self.terms) {
            unravel(k, &self.reduced, &mut position[self.output.len()..]);
            acc = self.step(acc, &position, &mut read);
        }
        canonical(acc)
    }

    /// One step of a fold, or all there is of an element that does not fold.
    fn step(&self, acc: f32, position: &[i64; MAX_AXES], read: &mut impl FnMut(usize, usize) -> f32) -> f32 {
        match &self.operation {
            Operation::Map(function, views) => {
                let mut arguments = [0.0; 3];
                for (input, (argument, view)) in arguments.iter_mut().zip(views).enumerate() {
                    *argument = view.read(input, position, read);
                }
                function.apply(arguments)
            }
            Operation::Contraction(a, b) => arith::fma(a.read(0, position, read), b.read(1, position, read), acc),
            Operation::Sum(view) => acc + view.read(0, position, read),
            Operation::Max(view) => maximum(acc, view.read(0, position, read)),
            Operation::Layout(views) => {
                let mut outside = 0.0;
                for (input, view) in views.iter().enumerate() {
                    if let Some(offset) = view.offset(position, None) {
                        return read(input, offset);
                    }
                    outside = view.outside;
                }
                outside
            }
            Operation::Gather(indices, data, axis) => {
                let Some(index) = whole(indices.read(0, position, read)) else {
                    return NAN;
                };
                let offset = data.offset(position, Some((*axis, index)));
                offset.map_or(data.outside, |offset| read(1, offset))
            }
            Operation::ScatterAdd(indices, updates, axis) => {
                if whole(indices.read(0, position, read)) == Some(position[*axis]) {
                    acc + updates.read(1, position, read)
                } else {
                    acc
                }
            }
        }
    }
}

/// The whole number that `value` is, if it is one of at most 2³² in magnitude.
#[expect(clippy::cast_possible_truncation, reason = "the bound makes the cast exact")]
fn whole(value: f32) -> Option<i64> {
    (value.abs() <= MAX_EXTENT as f32 && value.trunc() == value).then_some(value as i64)
}

/// Writes the row-major coordinates of `index` in `shape`.
fn unravel(mut index: usize, shape: &[usize], position: &mut [i64]) {
    for (extent, at) in shape.iter().zip(position).rev() {
        // Extents are at most 2³² and only those of a tensor without elements are 0.
        *at = (index % extent.max(&1)) as i64;
        index /= extent.max(&1);
    }
}
