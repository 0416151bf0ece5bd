//! What the referee is shown.

use super::Question;
use crate::encoding::{EncodingError, Reader, write_number};
use crate::merkle::{leaf_hash, prove_several, siblings_of_several};
use crate::prf::Hash;
use crate::program::{Commitment, Instruction, Leaf, MAX_VALUES, OpenedLeaf};
use crate::state::{MAX_OPENED_LEAVES, Opening, TensorLeaves};
use crate::tensor::elements;
use std::collections::BTreeMap;

/// The most bytes of a witness: 1024 terms that each read two leaves of tensors of 2³² elements stay below.
pub const MAX_WITNESS: usize = 1 << 21;

/// What is read of one operand.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// The number of the value.
    pub value: usize,
    /// Its tensor root.
    pub root: Hash,
    /// The leaves that are read.
    pub opening: Opening,
}

/// The instruction, and the leaves that it reads, with what proves them.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness {
    /// The instruction, under the program's root.
    pub instruction: OpenedLeaf,
    /// The operands that are read, in ascending order.
    pub operands: Vec<Operand>,
    /// Shows the operands' roots under the prefix.
    pub siblings: Vec<Hash>,
}

impl Witness {
    /// The witness for a question, from the roots of the values before and the values themselves; `None` where they do
    /// not hold what the instruction reads.
    pub fn new(
        program: &Commitment,
        question: &Question,
        roots: &[Hash],
        values: &BTreeMap<usize, Vec<f32>>,
    ) -> Option<Self> {
        let leaf = question.header.value(question.value)?;
        let Leaf::Instruction(Instruction { primitive, operands }) =
            program.leaves().get(usize::try_from(leaf).ok()?)?
        else {
            return None;
        };
        let mut read: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut whole = true;
        primitive.fold(
            question.element,
            question.range.clone(),
            question.before,
            |input, at| {
                let element = operands.get(input).and_then(|value| {
                    read.entry(*value).or_default().push(at);
                    values.get(value)?.get(at).copied()
                });
                whole &= element.is_some();
                element.unwrap_or_default()
            },
        );
        if !whole {
            return None;
        }
        let before = roots.get(..usize::try_from(question.value).ok()?)?;
        let opened = read.into_iter().map(|(value, elements)| {
            Some(Operand {
                value,
                root: *before.get(value)?,
                opening: TensorLeaves::new(values.get(&value)?).open(elements)?,
            })
        });
        let operands: Vec<Operand> = opened.collect::<Option<_>>()?;
        let indices: Vec<u64> = operands.iter().map(|operand| operand.value as u64).collect();
        let hashes = before.iter().map(|root| leaf_hash(root));
        let siblings = match indices.is_empty() {
            true => Vec::new(),
            false => prove_several(hashes.collect(), &indices)?,
        };
        Some(Self {
            instruction: program.open(leaf)?,
            operands,
            siblings,
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.instruction.encode(&mut out);
        write_number(&mut out, self.operands.len() as u64);
        for operand in &self.operands {
            write_number(&mut out, operand.value as u64);
            out.extend_from_slice(&operand.root);
            operand.opening.encode(&mut out);
        }
        self.siblings.iter().for_each(|hash| out.extend_from_slice(hash));
        out
    }

    /// The witness for `question` with these bytes.
    ///
    /// # Errors
    /// When they are not exactly what [`Witness::encode`] gives for some witness of that question.
    pub fn decode(bytes: &[u8], question: &Question) -> Result<Self, EncodingError> {
        let mut reader = Reader::new(bytes, MAX_WITNESS)?;
        let none = EncodingError::Form { what: "instruction" };
        let leaf = question.header.value(question.value).ok_or_else(|| none.clone())?;
        let instruction = OpenedLeaf::decode(&mut reader, &question.header, leaf)?;
        let Leaf::Instruction(read) = Leaf::decode(&instruction.bytes)? else {
            return Err(none);
        };
        let views = read.primitive.views();
        let count = reader.count("number of operands", views.len())?;
        let mut operands: Vec<Operand> = Vec::new();
        for _ in 0..count {
            let value = reader.count("operand", MAX_VALUES)?;
            let view = read.operands.iter().position(|operand| *operand == value);
            let size = view.and_then(|view| elements(&views.get(view)?.shape));
            let size = size.filter(|_| operands.last().is_none_or(|last| last.value < value));
            operands.push(Operand {
                value,
                root: reader.hash()?,
                opening: Opening::decode(
                    &mut reader,
                    size.ok_or(EncodingError::Form { what: "operand" })?,
                    MAX_OPENED_LEAVES,
                )?,
            });
        }
        let indices: Vec<u64> = operands.iter().map(|operand| operand.value as u64).collect();
        let siblings = reader.take(32 * siblings_of_several(question.value, &indices))?;
        let siblings = siblings.as_chunks::<32>().0.to_vec();
        reader.finish()?;
        Ok(Self {
            instruction,
            operands,
            siblings,
        })
    }
}
