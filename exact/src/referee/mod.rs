//! The referee: whether a few steps of one output element of one instruction give what was claimed.
//!
//! Two parties agree on the values before an instruction, as the root over their tensor roots (the *prefix*), and on
//! an accumulator before some terms of an element's fold; they differ about the accumulator after them. A [`Question`]
//! states this, a [`Witness`] proves what was read, and [`referee`] evaluates [`crate::definition`] and nothing else.
//!
//! A call reads at most [`MAX_TERMS_PER_CALL`] terms and [`MAX_WITNESS`] bytes; its [`cost`] is known from the question
//! and the instruction. It allocates no more than a small multiple of the witness, and panics on no input. A witness
//! must open exactly the leaves that are read: with one missing, left over or wrong it is [`Refused`], which decides
//! nothing.

mod witness;

pub use witness::{MAX_WITNESS, Operand, Witness};

use crate::definition::{Operation, Primitive};
use crate::encoding::EncodingError;
use crate::merkle::{leaf_hash, verify_several};
use crate::prf::Hash;
use crate::program::{Header, Instruction, Leaf};
use crate::state::OpeningError;
use crate::tensor::elements;
use std::ops::Range;

/// The most terms of a fold, each a multiply-add or less, in one call.
pub const MAX_TERMS_PER_CALL: usize = 1024;

/// What the referee is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The program's root.
    pub program: Hash,
    /// The program's header, as under that root.
    pub header: Header,
    /// The root over the roots of the values before this one.
    pub prefix: Hash,
    /// The number of the value, which an instruction computes.
    pub value: u64,
    /// The element of the value.
    pub element: usize,
    /// The terms of its fold.
    pub range: Range<usize>,
    /// The accumulator before them.
    pub before: f32,
    /// The accumulator claimed after them; after the last term, the element.
    pub after: f32,
}

/// What the referee finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The claim holds, bit for bit.
    Holds,
    /// It does not: the definition gives another accumulator.
    Fails(f32),
}

/// Why a question and a witness decide nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many terms.
    #[error("{found} terms, at most {MAX_TERMS_PER_CALL} are evaluated at once")]
    Terms {
        /// How many were asked for.
        found: usize,
    },
    /// Terms or an element that the instruction does not have.
    #[error("{what} {found} is asked for, value {value} has {bound}")]
    Outside {
        /// `term` or `element`.
        what: &'static str,
        /// The number asked for.
        found: usize,
        /// The value.
        value: u64,
        /// How many there are.
        bound: usize,
    },
    /// Bytes that are no witness.
    #[error("the witness cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    /// No instruction under the program's root.
    #[error("the witness does not show the instruction of value {value} under the program's root")]
    Instruction {
        /// The value.
        value: u64,
    },
    /// A value that the instruction does not read, or that is out of order.
    #[error("value {value} is opened out of order, or is no operand")]
    Operand {
        /// The value opened.
        value: usize,
    },
    /// Roots of operands that are not under the prefix.
    #[error("the roots of the {operands} operands do not lead to the root over the values before")]
    Prefix {
        /// How many there are.
        operands: usize,
    },
    /// Leaves of an operand that are not in it.
    #[error("operand {value}: {error}")]
    Opening {
        /// The operand.
        value: usize,
        /// What is wrong.
        error: OpeningError,
    },
    /// An element that is read but not opened.
    #[error("element {element} of operand {value} is read, but not opened")]
    Missing {
        /// The operand.
        value: usize,
        /// The element.
        element: usize,
    },
    /// A leaf that is opened but not read, or an operand without a leaf.
    #[error("operand {value} is opened without need")]
    Superfluous {
        /// The operand.
        value: usize,
    },
}

/// The arithmetic steps that `range` of one element's fold takes at most: for each term the products in the coordinates
/// of every view, the terms of an expression, and one. Hashing comes on top, at most 2 compressions of SHA-256 for every
/// 32 bytes of the witness.
pub fn cost(primitive: &Primitive, range: &Range<usize>) -> u64 {
    let loops = (primitive.output().len() + primitive.reduced().len()) as u64;
    let axes: u64 = primitive.views().iter().map(|view| view.shape.len() as u64).sum();
    let expression = match primitive.operation() {
        Operation::Map(expression, _) => expression.terms().len() as u64,
        _ => 0,
    };
    let terms = range.end.saturating_sub(range.start) as u64;
    terms.saturating_mul(axes * (loops + 2) + expression + 1)
}

/// Evaluates the definition on what the witness proves.
///
/// # Errors
/// When the question asks for too much or for what is not there, or the witness does not open exactly what is read.
pub fn referee(question: &Question, witness: &Witness) -> Result<Verdict, Refused> {
    let Instruction { primitive, operands } = instruction(question, witness)?;
    check_range(question, &primitive)?;
    check_openings(question, witness, &primitive, &operands)?;
    let opened = &witness.operands;
    let mut used: Vec<Vec<bool>> = opened.iter().map(|o| vec![false; o.opening.leaves().len()]).collect();
    let mut missing = None;
    let found = primitive.fold(
        question.element,
        question.range.clone(),
        question.before,
        |input, element| {
            // The number of operands is the number of views, which `Leaf::decode` has checked.
            let value = operands.get(input).copied().unwrap_or(usize::MAX);
            let at = opened.binary_search_by_key(&value, |operand| operand.value).ok();
            let leaf = at.and_then(|at| Some((at, opened[at].opening.leaf_of(element)?)));
            let read = leaf.and_then(|(at, leaf)| {
                used[at][leaf] = true;
                opened[at].opening.element(element)
            });
            read.unwrap_or_else(|| {
                missing.get_or_insert(Refused::Missing { value, element });
                0.0
            })
        },
    );
    if let Some(missing) = missing {
        return Err(missing);
    }
    let mut needed = opened.iter().zip(&used);
    if let Some((operand, _)) = needed.find(|(_, used)| used.is_empty() || used.contains(&false)) {
        return Err(Refused::Superfluous { value: operand.value });
    }
    if found.to_bits() == question.after.to_bits() {
        Ok(Verdict::Holds)
    } else {
        Ok(Verdict::Fails(found))
    }
}

/// The instruction that computes the value.
fn instruction(question: &Question, witness: &Witness) -> Result<Instruction, Refused> {
    let value = question.value;
    let leaf = question.header.value(value);
    let leaf = leaf.and_then(|leaf| witness.instruction.verify(&question.program, &question.header, leaf));
    match leaf {
        Some(Leaf::Instruction(instruction)) => Ok(instruction),
        _ => Err(Refused::Instruction { value }),
    }
}

fn check_range(question: &Question, primitive: &Primitive) -> Result<(), Refused> {
    let (value, Range { start, end }) = (question.value, question.range.clone());
    let outside = |what, found, bound| Refused::Outside {
        what,
        found,
        value,
        bound,
    };
    if question.element >= primitive.elements() {
        return Err(outside("element", question.element, primitive.elements()));
    }
    if start > end || end > primitive.terms() {
        return Err(outside("term", start.max(end), primitive.terms()));
    }
    if end - start > MAX_TERMS_PER_CALL {
        return Err(Refused::Terms { found: end - start });
    }
    Ok(())
}

/// Checks that the witness's operands are operands of the instruction, in ascending order, each as agreed on.
fn check_openings(
    question: &Question,
    witness: &Witness,
    primitive: &Primitive,
    operands: &[usize],
) -> Result<(), Refused> {
    let opened = &witness.operands;
    let views = primitive.views();
    let mut last = None;
    for Operand { value, root, opening } in opened {
        let view = operands.iter().position(|operand| operand == value);
        let size = view.and_then(|view| elements(&views.get(view)?.shape));
        let Some(size) = size.filter(|_| last < Some(*value)) else {
            return Err(Refused::Operand { value: *value });
        };
        last = Some(*value);
        let value = *value;
        opening
            .verify(root, size)
            .map_err(|error| Refused::Opening { value, error })?;
    }
    let known = opened
        .iter()
        .map(|operand| (operand.value as u64, leaf_hash(&operand.root)));
    let none = opened.is_empty() && witness.siblings.is_empty();
    if none || verify_several(&question.prefix, question.value, known.collect(), &witness.siblings) {
        Ok(())
    } else {
        let operands = opened.len();
        Err(Refused::Prefix { operands })
    }
}
