//! What an element-wise operation computes: a pure function of a few numbers.

use super::{DefinitionError, MAX_AXES};
use crate::arith::{self, NAN, canonical};

/// The most terms of an expression.
pub const MAX_TERMS: usize = 64;

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

const _: () = assert!(Function::ALL.len() == Function::Select as usize + 1);

impl Function {
    /// All functions, in the order in which they are numbered.
    pub const ALL: [Self; 21] = [
        Self::Negate,
        Self::Absolute,
        Self::Sqrt,
        Self::Rsqrt,
        Self::Exp,
        Self::Log,
        Self::Tanh,
        Self::Erf,
        Self::Sin,
        Self::Cos,
        Self::Sigmoid,
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Maximum,
        Self::Minimum,
        Self::Less,
        Self::Equal,
        Self::MultiplyAdd,
        Self::Select,
    ];

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
pub(crate) fn maximum(x: f32, y: f32) -> f32 {
    if y > x || y.is_nan() { y } else { x }
}

/// One step of an [`Expression`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// The value that the view of this number reads.
    Input(usize),
    /// A number. Every NaN is the canonical one.
    Constant(f32),
    /// The coordinate of the output element along this axis, rounded to f32 (exact up to 2²⁴).
    Position(usize),
    /// A function of earlier terms; arguments beyond its arity must be 0 and are ignored.
    Apply(Function, [usize; 3]),
}

/// A function of the values that the views read: terms evaluated one after the other, the last one being the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Vec<Term>);

impl Expression {
    /// The expression of these terms.
    ///
    /// # Errors
    /// When there are no terms or more than [`MAX_TERMS`], or a term applies a function to a term that is not before it.
    pub fn new(mut terms: Vec<Term>) -> Result<Self, DefinitionError> {
        let found = terms.len();
        if found == 0 || found > MAX_TERMS {
            return Err(DefinitionError::Terms { found });
        }
        for (at, term) in terms.iter_mut().enumerate() {
            match term {
                Term::Apply(function, arguments) => {
                    for (i, argument) in arguments.iter().enumerate() {
                        let bound = if i < function.arity() { at } else { 1 };
                        if *argument >= bound {
                            return Err(DefinitionError::Argument {
                                term: at,
                                found: *argument,
                            });
                        }
                    }
                }
                Term::Constant(value) => *value = canonical(*value),
                Term::Input(_) | Term::Position(_) => {}
            }
        }
        Ok(Self(terms))
    }

    /// The expression that is one function of as many inputs.
    pub fn function(function: Function) -> Self {
        let arity = function.arity();
        let mut arguments = [0; 3];
        let mut terms = Vec::with_capacity(arity + 1);
        for (i, argument) in arguments.iter_mut().enumerate().take(arity) {
            terms.push(Term::Input(i));
            *argument = i;
        }
        terms.push(Term::Apply(function, arguments));
        Self(terms)
    }

    /// The terms.
    pub fn terms(&self) -> &[Term] {
        &self.0
    }

    /// Checks that inputs and axes exist, and that every input is used.
    pub(super) fn check(&self, inputs: usize, axes: usize) -> Result<(), DefinitionError> {
        let mut needed = 0;
        for term in &self.0 {
            match term {
                Term::Input(input) => needed = needed.max(input.saturating_add(1)),
                Term::Position(axis) if *axis >= axes => return Err(DefinitionError::Axis { found: *axis, axes }),
                _ => {}
            }
        }
        if needed == inputs {
            Ok(())
        } else {
            Err(DefinitionError::Inputs { found: inputs, needed })
        }
    }

    /// The value, where `input(i)` is what view `i` reads and `position` is where the loop stands.
    pub(super) fn evaluate(&self, position: &[i64; MAX_AXES], mut input: impl FnMut(usize) -> f32) -> f32 {
        let mut values = [0.0; MAX_TERMS];
        let mut last = NAN;
        for (at, term) in self.0.iter().enumerate() {
            last = match term {
                Term::Input(i) => input(*i),
                Term::Constant(value) => *value,
                Term::Position(axis) => position[*axis] as f32,
                Term::Apply(function, arguments) => function.apply(arguments.map(|argument| values[argument])),
            };
            values[at] = last;
        }
        canonical(last)
    }
}
