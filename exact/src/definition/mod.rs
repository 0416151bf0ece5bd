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

mod encode;
mod expression;
mod random;
mod view;

pub use encode::MAX_ENCODING;
pub use expression::{Expression, Function, MAX_TERMS, Term};
pub use random::{philox, uniform};
pub(crate) use random::{round, round_keys, uniform_of};
pub use view::{Coordinate, View};

use crate::arith::{self, NAN, canonical};
pub(crate) use expression::maximum;
use std::ops::Range;
use view::check_shape;

/// The most loop axes of a primitive, and the most axes of an input.
pub const MAX_AXES: usize = 16;
/// The largest extent of an axis, and with it the largest offset.
pub const MAX_EXTENT: usize = 1 << 32;
/// The largest coefficient and divisor. With the bounds above, a coordinate stays below 2⁶² and cannot overflow.
pub const MAX_COEFFICIENT: i64 = 1 << 24;
/// The most inputs of a primitive.
pub const MAX_INPUTS: usize = 64;
/// The most steps of a [`Operation::Find`]: their numbers must be exact in f32.
pub const MAX_FIND: usize = 1 << 24;

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
    /// An expression without terms or with too many.
    #[error("{found} terms, 1 to {MAX_TERMS} are allowed")]
    Terms {
        /// How many there are.
        found: usize,
    },
    /// A term that uses one which is not before it, or an argument that its function does not take.
    #[error("term {term} has the argument {found}, which is not an earlier term that its function takes")]
    Argument {
        /// The term.
        term: usize,
        /// The argument.
        found: usize,
    },
    /// A key that is not four numbers, or a search over more than fits an f32.
    #[error("{what} has {found} elements, the bound is {bound}")]
    Elements {
        /// `a key` or `a search`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The bound.
        bound: usize,
    },
    /// An axis that is not there.
    #[error("axis {found}, the tensor has {axes}")]
    Axis {
        /// The axis named.
        found: usize,
        /// How many axes there are.
        axes: usize,
    },
}

/// What an element is made of. Inputs are numbered in the order in which the views are listed.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// The expression, of the values that the views read.
    Map(Expression, Vec<View>),
    /// From `acc = +0`, for ascending k: `acc = fma(a, b, acc)`.
    Contraction(View, View),
    /// From `acc = +0`, for ascending k: `acc = acc + x`.
    Sum(View),
    /// From `acc = −∞`, for ascending k: the greater of `acc` and `x`, `acc` if equal, NaN if either is NaN.
    Max(View),
    /// The first k at which both views read equal numbers, or both NaN; −1 if there is none.
    Find(View, View),
    /// The first of the views that does not lie outside its input, else the last view's `outside`: a transposed,
    /// sliced or padded tensor, or several side by side.
    Layout(Vec<View>),
    /// The value of the first view, a whole number, is added to the second view's coordinate along this axis. Any
    /// other value gives NaN; an index that leaves the input gives `outside`.
    Gather(View, View, usize),
    /// From `acc = +0`, for ascending k: `acc = acc + x` (second view) where the first view's value equals the
    /// coordinate. Where the coordinate is no integer, nothing is added.
    ScatterAdd(View, View, Coordinate),
    /// A uniform random number in [0, 1): [`uniform`] of this stream and the element's index, under the key whose four
    /// 16-bit words, the lowest first, are the view's first four elements; NaN if one of them is no such word.
    Random(View, u32),
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
        let least = usize::from(matches!(primitive.operation, Operation::Layout(_)));
        if views.len() < least || views.len() > MAX_INPUTS {
            return Err(DefinitionError::Inputs {
                found: views.len(),
                needed: views.len().clamp(least, MAX_INPUTS),
            });
        }
        for view in &views {
            view.check(loops)?;
        }
        let folds = match &primitive.operation {
            Operation::Map(expression, views) => {
                expression.check(views.len(), primitive.output.len())?;
                false
            }
            Operation::Gather(_, data, axis) if *axis >= data.shape.len() => {
                let (found, axes) = (*axis, data.shape.len());
                return Err(DefinitionError::Axis { found, axes });
            }
            Operation::Layout(_) | Operation::Gather(..) => false,
            Operation::Random(key, _) => {
                let found = check_shape(&key.shape)?;
                if found != 4 {
                    return Err(DefinitionError::Elements {
                        what: "a key",
                        found,
                        bound: 4,
                    });
                }
                false
            }
            Operation::Find(..) if terms > MAX_FIND => {
                return Err(DefinitionError::Elements {
                    what: "a search",
                    found: terms,
                    bound: MAX_FIND,
                });
            }
            Operation::ScatterAdd(_, _, coordinate) => {
                coordinate.check(loops)?;
                true
            }
            Operation::Contraction(..) | Operation::Sum(_) | Operation::Max(_) | Operation::Find(..) => true,
        };
        if !folds && !primitive.reduced.is_empty() {
            return Err(DefinitionError::Reduced {
                found: primitive.reduced.len(),
            });
        }
        Ok(primitive)
    }

    /// The output's shape.
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    /// The axes that are folded over.
    pub fn reduced(&self) -> &[usize] {
        &self.reduced
    }

    /// The operation.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The views in the order of the inputs they read.
    pub fn views(&self) -> Vec<&View> {
        match &self.operation {
            Operation::Map(_, views) | Operation::Layout(views) => views.iter().collect(),
            Operation::Sum(view) | Operation::Max(view) | Operation::Random(view, _) => vec![view],
            Operation::Contraction(a, b) | Operation::Find(a, b) => vec![a, b],
            Operation::Gather(a, b, _) | Operation::ScatterAdd(a, b, _) => vec![a, b],
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
        match self.operation {
            Operation::Max(_) => f32::NEG_INFINITY,
            Operation::Find(..) => -1.0,
            _ => 0.0,
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
            acc = self.step(acc, (index, k), &position, &mut read);
        }
        canonical(acc)
    }

    /// One step of a fold, or all there is of an element that does not fold.
    fn step(
        &self,
        acc: f32,
        (index, k): (usize, usize),
        position: &[i64; MAX_AXES],
        read: &mut impl FnMut(usize, usize) -> f32,
    ) -> f32 {
        match &self.operation {
            Operation::Map(expression, views) => {
                expression.evaluate(position, |input| views[input].read(input, position, read))
            }
            Operation::Contraction(a, b) => arith::fma(a.read(0, position, read), b.read(1, position, read), acc),
            Operation::Sum(view) => acc + view.read(0, position, read),
            Operation::Max(view) => maximum(acc, view.read(0, position, read)),
            Operation::Find(a, b) => {
                if acc >= 0.0 {
                    return acc;
                }
                let (x, y) = (a.read(0, position, read), b.read(1, position, read));
                let equal = x == y || (x.is_nan() && y.is_nan());
                if equal { k as f32 } else { -1.0 }
            }
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
            Operation::ScatterAdd(indices, updates, coordinate) => {
                let at = coordinate.at(position);
                if at.is_some() && whole(indices.read(0, position, read)) == at {
                    acc + updates.read(1, position, read)
                } else {
                    acc
                }
            }
            Operation::Random(_, stream) => {
                key(|offset| read(0, offset)).map_or(NAN, |key| uniform(key, *stream, index as u64))
            }
        }
    }
}

/// The key that four 16-bit words spell, the lowest first, if they are such words.
pub(crate) fn key(mut word: impl FnMut(usize) -> f32) -> Option<[u32; 2]> {
    let mut words = [0; 4];
    for (offset, whole_word) in words.iter_mut().enumerate() {
        *whole_word = u32::from(u16::try_from(whole(word(offset))?).ok()?);
    }
    Some([words[0] | words[1] << 16, words[2] | words[3] << 16])
}

/// The whole number that `value` is, if it is one of at most 2³² in magnitude.
#[expect(clippy::cast_possible_truncation, reason = "the bound makes the cast exact")]
pub(crate) fn whole(value: f32) -> Option<i64> {
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
