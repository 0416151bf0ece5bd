//! A party that has run the segment, or runs it when it is asked.

use super::descent::nodes;
use super::{Bisection, Descent, Dispute, Move, Phase, Place, Side, Target};
use crate::merkle::{Frontier, leaf_hash, prove_several};
use crate::prf::Hash;
use crate::program::{Commitment, Leaf, ProgramError, Role};
use crate::referee::Witness;
use crate::state::{LEAF_ELEMENTS, TensorLeaves};
use crate::trace::Execution;
use std::collections::BTreeMap;

/// Values by number.
type Values = BTreeMap<usize, Vec<f32>>;

/// Plays either side, by what its execution gives. It keeps the roots of one step's values and the values that are in
/// dispute, which a long search in one of them asks for again and again.
#[derive(Debug)]
pub struct Player<E> {
    program: Commitment,
    execution: E,
    roots: Option<(u64, Vec<Hash>)>,
    values: Option<((u64, u64), Values)>,
}

impl<E: Execution> Player<E> {
    /// A player of a segment of this program.
    pub fn new(program: Commitment, execution: E) -> Self {
        Self {
            program,
            execution,
            roots: None,
            values: None,
        }
    }

    /// The execution.
    pub fn execution(&mut self) -> &mut E {
        &mut self.execution
    }

    /// The move of the side whose turn it is; `None` when there is none that this player can make.
    ///
    /// # Errors
    /// When the segment cannot be run.
    pub fn play(&mut self, dispute: &Dispute) -> Result<Option<Move>, ProgramError> {
        match dispute.turn() {
            Some(Side::Defender) => self.defend(dispute),
            Some(Side::Challenger) => self.challenge(dispute),
            None => Ok(None),
        }
    }

    fn defend(&mut self, dispute: &Dispute) -> Result<Option<Move>, ProgramError> {
        Ok(match dispute.phase() {
            Phase::Steps(row) => Some(Move::Claims(self.states(row)?)),
            Phase::Values(place, row) => Some(Move::Claims(self.prefixes(place.step, row)?)),
            Phase::Value(place, row) => {
                let leaf = self
                    .program
                    .header()
                    .value(row.low)
                    .and_then(|leaf| self.program.open(leaf));
                let (mut frontier, mut root) = (Frontier::new(), None);
                for (value, next) in (0..).zip(self.roots(place.step)?) {
                    if value == row.low {
                        root = Some(*next);
                        break;
                    }
                    frontier.push(leaf_hash(next));
                }
                let frontier = frontier.tops().to_vec();
                leaf.zip(root).map(|(leaf, root)| Move::Value { leaf, root, frontier })
            }
            Phase::Tensor(target, descent) => self
                .with_value(target, |value| below(TensorLeaves::new(value).hashes(), descent))?
                .map(Move::Claims),
            Phase::After(place, _, descent) => below(&self.entries(place.step + 1)?, descent).map(Move::Claims),
            Phase::Elements(target, descent, _) => self
                .with_value(target, |value| Some(leaf(value, descent)?.to_vec()))?
                .map(Move::Numbers),
            Phase::Fold(target, element, row) => Some(Move::Numbers(self.accumulators(target, *element, row)?)),
            Phase::Input(..) | Phase::Question(..) | Phase::Entry(..) | Phase::Over(_) => None,
        })
    }

    fn challenge(&mut self, dispute: &Dispute) -> Result<Option<Move>, ProgramError> {
        Ok(match dispute.phase() {
            Phase::Steps(row) => Some(interval(&row.posted, &self.states(row)?)),
            Phase::Values(place, row) => Some(interval(&row.posted, &self.prefixes(place.step, row)?)),
            Phase::Input(place, _, role, _) => self.input(place, role, dispute)?,
            Phase::Tensor(target, descent) => self
                .with_value(target, |value| below(TensorLeaves::new(value).hashes(), descent))?
                .map(|own| first(&descent.posted, &own)),
            Phase::After(place, _, descent) => {
                below(&self.entries(place.step + 1)?, descent).map(|own| first(&descent.posted, &own))
            }
            Phase::Elements(target, descent, elements) => {
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
                self.with_value(target, |value| leaf(value, descent).map(bits))?
                    .map(|own| first(&bits(elements), &own))
            }
            Phase::Fold(target, element, row) => {
                let own = self.accumulators(target, *element, row)?;
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
                Some(interval(&bits(&row.posted), &bits(&own)))
            }
            Phase::Question(place, question) => {
                self.load(place.step, question.value)?;
                self.roots(place.step)?;
                let (Some((_, roots)), Some((_, values))) = (&self.roots, &self.values) else {
                    return Ok(None);
                };
                Witness::new(&self.program, question, roots, values).map(Move::Witness)
            }
            Phase::Entry(place, _, descent) => {
                let index = self.program.header().state(descent.index);
                let opened = index.and_then(|index| self.program.open(index));
                let leaf = index
                    .and_then(|index| self.program.leaves().get(usize::try_from(index).ok()?))
                    .cloned();
                let (Some(opened), Some(Leaf::State(_, _, [_, after]))) = (opened, leaf) else {
                    return Ok(None);
                };
                let roots = self.roots(place.step)?;
                let hashes = roots.iter().map(|root| leaf_hash(root)).collect();
                let siblings = prove_several(hashes, &[after as u64]);
                let root = roots.get(after).copied();
                root.zip(siblings).map(|(root, siblings)| Move::Output {
                    leaf: opened,
                    root,
                    siblings,
                })
            }
            Phase::Value(..) | Phase::Over(_) => None,
        })
    }

    /// Opens what an input should be.
    fn input(&mut self, place: &Place, role: &Role, dispute: &Dispute) -> Result<Option<Move>, ProgramError> {
        let Role::State(name) = role else {
            let leaves = self.execution.batches()?;
            let roots = usize::try_from(place.step)
                .ok()
                .and_then(|step| leaves.get(step))
                .copied();
            let hashes = leaves.iter().map(|leaf| leaf_hash(leaf.as_flattened())).collect();
            let siblings = prove_several(hashes, &[place.step]);
            return Ok(roots
                .zip(siblings)
                .map(|(roots, siblings)| Move::Batch { roots, siblings }));
        };
        let tree = self.execution.state(place.step)?;
        let (entries, root) = (tree.entries(), tree.tensor(name));
        let position = (0..dispute.segment().header.states)
            .zip(self.program.leaves().iter().filter_map(|leaf| match leaf {
                Leaf::State(known, ..) => Some(known),
                _ => None,
            }))
            .find_map(|(position, known)| (known == name).then_some(position));
        Ok(root.zip(position).and_then(|(root, position)| {
            let siblings = prove_several(entries, &[position])?;
            Some(Move::Entry {
                position,
                root,
                siblings,
            })
        }))
    }

    fn states(&mut self, row: &Bisection<Hash>) -> Result<Vec<Hash>, ProgramError> {
        row.points()
            .into_iter()
            .map(|step| self.execution.state_root(step))
            .collect()
    }

    fn prefixes(&mut self, step: u64, row: &Bisection<Hash>) -> Result<Vec<Hash>, ProgramError> {
        let points = row.points();
        let (mut frontier, mut prefixes) = (Frontier::new(), Vec::with_capacity(points.len()));
        for root in self.roots(step)? {
            frontier.push(leaf_hash(root));
            if points.get(prefixes.len()) == Some(&frontier.leaves()) {
                prefixes.push(frontier.root());
            }
        }
        Ok(prefixes)
    }

    fn entries(&mut self, step: u64) -> Result<Vec<Hash>, ProgramError> {
        Ok(self.execution.state(step)?.entries())
    }

    /// The roots of a step's values.
    fn roots(&mut self, step: u64) -> Result<&[Hash], ProgramError> {
        let known = self.roots.take().filter(|(at, _)| *at == step);
        let roots = match known {
            Some((_, roots)) => roots,
            None => self.execution.value_roots(step)?,
        };
        Ok(&self.roots.insert((step, roots)).1)
    }

    /// Gets hold of a computed value and of what its instruction reads.
    fn load(&mut self, step: u64, value: u64) -> Result<&Values, ProgramError> {
        let known = self.values.take().filter(|(at, _)| *at == (step, value));
        let values = match known {
            Some((_, values)) => values,
            None => {
                let mut wanted = Vec::from_iter(usize::try_from(value));
                if let Some(Leaf::Instruction(instruction)) = self.leaf(value) {
                    wanted.extend_from_slice(&instruction.operands);
                }
                self.execution.values(step, &wanted)?
            }
        };
        Ok(&self.values.insert(((step, value), values)).1)
    }

    fn leaf(&self, value: u64) -> Option<&Leaf> {
        let index = self.program.header().value(value)?;
        self.program.leaves().get(usize::try_from(index).ok()?)
    }

    fn with_value<T>(
        &mut self,
        target: &Target,
        look: impl FnOnce(&[f32]) -> Option<T>,
    ) -> Result<Option<T>, ProgramError> {
        let values = self.load(target.place.step, target.value)?;
        let value = usize::try_from(target.value).ok().and_then(|value| values.get(&value));
        Ok(value.and_then(|value| look(value)))
    }

    /// The accumulators at the points of a fold, from the start of the row on.
    fn accumulators(&mut self, target: &Target, element: u64, row: &Bisection<f32>) -> Result<Vec<f32>, ProgramError> {
        self.load(target.place.step, target.value)?;
        let (Some((_, values)), Some(Leaf::Instruction(instruction))) = (&self.values, self.leaf(target.value)) else {
            return Ok(Vec::new());
        };
        let read = |input: usize, at: usize| {
            let value = instruction.operands.get(input).and_then(|value| values.get(value));
            value.and_then(|value| value.get(at)).copied().unwrap_or_default()
        };
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let (mut at, mut acc) = (row.low, row.agreed);
        let points = row.points().into_iter().map(|point| {
            acc = instruction
                .primitive
                .fold(bound(element), bound(at)..bound(point), acc, read);
            at = point;
            acc
        });
        Ok(points.collect())
    }
}

/// A leaf of a value.
fn leaf<'a>(value: &'a [f32], descent: &Descent) -> Option<&'a [f32]> {
    value.chunks(LEAF_ELEMENTS).nth(usize::try_from(descent.index).ok()?)
}

/// The nodes that a descent opens next, in a tree of these leaves.
fn below(leaves: &[Hash], descent: &Descent) -> Option<Vec<Hash>> {
    let range = descent.range();
    let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
    nodes(leaves.to_vec(), descent.below()).get(range).map(<[Hash]>::to_vec)
}

/// Picks the first interval whose end differs: the last one where no claim does.
fn interval<T: PartialEq>(posted: &[T], own: &[T]) -> Move {
    let differs = posted.iter().zip(own).position(|(posted, own)| posted != own);
    Move::Pick(differs.unwrap_or(posted.len()) as u64)
}

/// Picks the first node or element that differs.
fn first<T: PartialEq>(posted: &[T], own: &[T]) -> Move {
    let differs = posted.iter().zip(own).position(|(posted, own)| posted != own);
    Move::Pick(differs.unwrap_or_default() as u64)
}
