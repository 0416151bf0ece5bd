//! The dispute: how two parties who differ about the end of a segment find one claim that a referee can decide.
//!
//! The *defender* claims an end root, the *challenger* says it is wrong. The defender posts what lies between, up to 15
//! claims at a time; the challenger names the first interval whose end he computes otherwise. So they go down:
//!
//! | phase | the defender posts | until there is left |
//! |---|---|---|
//! | [`Phase::Steps`] | roots of states | one step |
//! | [`Phase::Values`] | prefixes: roots over the roots of the first values of the step | one value, or the state after |
//! | [`Phase::Value`] | the value's root, under its prefix, and what the program says of it | a tensor |
//! | [`Phase::Tensor`] | nodes of the tensor's tree | 64 elements |
//! | [`Phase::Elements`] | the elements | one element |
//! | [`Phase::Fold`] | accumulators of its fold | [`FINAL_TERMS`] terms |
//! | [`Phase::Question`] | – (the challenger shows a [`Witness`]) | the [`crate::referee`]'s verdict |
//!
//! What is not computed is decided at once: a constant by the program; a tensor of state, a batch, a rate or a key when
//! the challenger opens the root that was agreed on ([`Phase::Input`]); the state after the step by descending in its tree ([`Phase::After`]) to the entry of one tensor, which should hold the root of the
//! value that the program outputs ([`Phase::Entry`]).
//!
//! Every move is checked when it is made, and a move that is refused changes nothing. Whoever lets his time pass loses:
//! the caller keeps the time and calls [`Dispute::forfeit`]. An honest party can always move, and wins from either side,
//! since all that is agreed on at a phase's start is what the challenger computed himself, or what the defender did.

mod bisection;
mod descent;
mod moves;
mod player;

pub use bisection::{Bisection, PARTS};
pub use descent::Descent;
pub use moves::Move;
pub use player::Player;

use crate::merkle::{Frontier, leaf_hash, root_of_hashes, verify_several};
use crate::prf::Hash;
use crate::program::{Instruction, Leaf, OpenedLeaf, Role};
use crate::referee::{Question, Refused, Verdict, referee};
use crate::state::{LEAF_ELEMENTS, entry, hash_of_leaf, leaves, tensor_root};
use crate::trace::Segment;

/// The most terms of a fold that are left to the referee: with so few, a witness is a few KiB.
pub const FINAL_TERMS: u64 = 16;

/// A party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who claims the segment's end.
    Defender,
    /// Who says that it is wrong.
    Challenger,
}

impl Side {
    /// The other party.
    pub fn other(self) -> Self {
        match self {
            Self::Defender => Self::Challenger,
            Self::Challenger => Self::Defender,
        }
    }
}

/// Why a move is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisputeError {
    /// It is the other's turn, or the dispute is over.
    #[error("it is not the {0:?}'s turn")]
    Turn(Side),
    /// Another kind of move is due.
    #[error("a {found} is no move in the phase {phase}")]
    Kind {
        /// The move.
        found: &'static str,
        /// The phase.
        phase: &'static str,
    },
    /// Too few or too many.
    #[error("{found} {what}, {needed} are needed")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are due.
        needed: usize,
    },
    /// An interval, node or element that was not posted.
    #[error("{found} is picked, the last one is {bound}")]
    Pick {
        /// The pick.
        found: u64,
        /// The largest allowed.
        bound: usize,
    },
    /// Nodes that do not give the one above them.
    #[error("the nodes do not give the one above them")]
    Nodes,
    /// A value's root that is not what makes one prefix of the other.
    #[error("the root of value {value} does not lead from the prefix before it to the one after it")]
    Prefix {
        /// The value.
        value: u64,
    },
    /// Something that is not under the root it should be under.
    #[error("the move does not show {what} under its root")]
    Proof {
        /// What it should show.
        what: &'static str,
    },
    /// The elements do not have the hash that was posted for their leaf.
    #[error("the elements do not have the hash of leaf {leaf}")]
    Elements {
        /// The leaf.
        leaf: u64,
    },
    /// A witness that the referee refuses.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A segment without steps, in which nothing can differ.
    #[error("a segment of no steps cannot be disputed")]
    Empty,
}

/// The step in dispute, up to the values agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The step, from 0 within the segment.
    pub step: u64,
    /// The root of the state before it.
    pub before: Hash,
}

/// The instruction in dispute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The step.
    pub place: Place,
    /// The prefix before the value.
    pub prefix: Hash,
    /// The number of the value.
    pub value: u64,
    /// How many elements it has.
    pub elements: usize,
    /// How many terms the fold of one element has.
    pub terms: usize,
    /// The accumulator before the first of them.
    pub start: f32,
}

/// Where a dispute stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Between the states of two steps.
    Steps(Bisection<Hash>),
    /// Between the prefixes of one step; place *n* is the prefix of *n* values, and the place after the last the state
    /// after the step.
    Values(Place, Bisection<Hash>),
    /// One value, between the prefix before it and the prefix with it.
    Value(Place, Bisection<Hash>),
    /// An input whose root the defender claims, and the role it has with this shape.
    Input(Place, Hash, Role, Vec<usize>),
    /// In the tree of a computed value.
    Tensor(Target, Descent),
    /// In a leaf of the value, whose elements are empty while it is the defender's turn.
    Elements(Target, Descent, Vec<f32>),
    /// In the fold of the element of this index.
    Fold(Target, u64, Bisection<f32>),
    /// For the referee.
    Question(Place, Question),
    /// In the tree of the state after the step, all values (this is their prefix) being agreed on.
    After(Place, Hash, Descent),
    /// One entry of the state after the step.
    Entry(Place, Hash, Descent),
    /// Decided.
    Over(Side),
}

/// A dispute about the end of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispute {
    segment: Segment,
    phase: Phase,
}

impl Dispute {
    /// A dispute in which the defender claims that the segment ends in the state with the root `end`. The caller has
    /// checked the segment's header against its program, and who the parties are.
    ///
    /// # Errors
    /// When the segment has no steps.
    pub fn new(segment: Segment, end: Hash) -> Result<Self, DisputeError> {
        if segment.steps == 0 {
            return Err(DisputeError::Empty);
        }
        let row = Bisection::new([0, segment.steps], segment.start, end);
        let phase = Phase::Steps(row);
        let mut dispute = Self { segment, phase };
        dispute.settle();
        Ok(dispute)
    }

    /// What it is about.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whose turn it is; nobody's when it is over.
    pub fn turn(&self) -> Option<Side> {
        let after = |posted: bool| Some(if posted { Side::Challenger } else { Side::Defender });
        match &self.phase {
            Phase::Steps(row) | Phase::Values(_, row) => after(!row.posted.is_empty()),
            Phase::Tensor(_, descent) | Phase::After(_, _, descent) => after(!descent.posted.is_empty()),
            Phase::Fold(_, _, row) => after(!row.posted.is_empty()),
            Phase::Elements(_, _, elements) => after(!elements.is_empty()),
            Phase::Value(..) => Some(Side::Defender),
            Phase::Input(..) | Phase::Question(..) | Phase::Entry(..) => Some(Side::Challenger),
            Phase::Over(_) => None,
        }
    }

    /// Who won.
    pub fn winner(&self) -> Option<Side> {
        match self.phase {
            Phase::Over(side) => Some(side),
            _ => None,
        }
    }

    /// Ends the dispute against the party that has let its time pass, or gives up.
    pub fn forfeit(&mut self) {
        if let Some(side) = self.turn() {
            self.phase = Phase::Over(side.other());
        }
    }

    /// Makes a move.
    ///
    /// # Errors
    /// When it is not this side's turn, or the move does not fit the phase or does not show what it must. The dispute
    /// is then as it was.
    pub fn play(&mut self, side: Side, play: Move) -> Result<(), DisputeError> {
        if self.turn() != Some(side) {
            return Err(DisputeError::Turn(side));
        }
        let mut phase = self.phase.clone();
        let decided = self.apply(&mut phase, side, play)?;
        self.phase = decided.unwrap_or(phase);
        self.settle();
        Ok(())
    }

    /// Makes a move in `phase`, or gives the phase that takes its place.
    fn apply(&self, phase: &mut Phase, side: Side, play: Move) -> Result<Option<Phase>, DisputeError> {
        let name = phase.name();
        match (phase, play) {
            (Phase::Steps(row) | Phase::Values(_, row), Move::Claims(claims)) if side == Side::Defender => {
                row.post(claims)?;
            }
            (Phase::Steps(row) | Phase::Values(_, row), Move::Pick(pick)) if side == Side::Challenger => {
                row.pick(pick)?;
            }
            (Phase::Tensor(_, descent) | Phase::After(_, _, descent), Move::Claims(nodes))
                if side == Side::Defender =>
            {
                descent.post(nodes)?;
            }
            (Phase::Tensor(_, descent) | Phase::After(_, _, descent), Move::Pick(pick)) if side == Side::Challenger => {
                descent.pick(pick)?;
            }
            (Phase::Fold(_, _, row), Move::Numbers(numbers)) if side == Side::Defender => row.post(numbers)?,
            (Phase::Fold(_, _, row), Move::Pick(pick)) if side == Side::Challenger => row.pick(pick)?,
            (Phase::Elements(target, descent, elements), Move::Numbers(numbers)) if side == Side::Defender => {
                check_elements(target, descent, &numbers)?;
                *elements = numbers;
            }
            (Phase::Elements(target, descent, elements), Move::Pick(pick)) if side == Side::Challenger => {
                let at = usize::try_from(pick).ok().and_then(|at| elements.get(at));
                let bound = elements.len().saturating_sub(1);
                let claimed = at.ok_or(DisputeError::Pick { found: pick, bound })?;
                let element = descent.index * LEAF_ELEMENTS as u64 + pick;
                let row = Bisection::new([0, target.terms as u64], target.start, *claimed);
                return Ok(Some(Phase::Fold(*target, element, row)));
            }
            (Phase::Value(place, row), Move::Value { leaf, root, frontier }) => {
                return self.value(*place, row, &leaf, root, frontier).map(Some);
            }
            (Phase::Input(place, claimed, role, shape), play) => {
                let root = self
                    .input(place, role, shape, &play)
                    .ok_or(DisputeError::Proof { what: "the input" })?;
                return Ok(Some(decide(root == *claimed)));
            }
            (Phase::Question(_, question), Move::Witness(witness)) => {
                return Ok(Some(decide(referee(question, &witness)? == Verdict::Holds)));
            }
            (Phase::Entry(_, prefix, descent), Move::Output { leaf, root, siblings }) => {
                let header = &self.segment.header;
                let index = header.state(descent.index);
                let leaf = index.and_then(|index| leaf.verify(&self.segment.program, header, index));
                let Some(Leaf::State(name, shape, [_, after])) = leaf else {
                    return Err(DisputeError::Proof {
                        what: "the tensor of state",
                    });
                };
                let known = vec![(after as u64, leaf_hash(&root))];
                if !verify_several(prefix, header.values(), known, &siblings) {
                    return Err(DisputeError::Proof {
                        what: "the output's root",
                    });
                }
                return Ok(Some(decide(leaf_hash(&entry(&name, &shape, &root)) == descent.node)));
            }
            (_, play) => {
                return Err(DisputeError::Kind {
                    found: play.name(),
                    phase: name,
                });
            }
        }
        Ok(None)
    }
}

impl Dispute {
    /// Takes the defender's word about a value: its root and what the program says of it.
    fn value(
        &self,
        place: Place,
        row: &Bisection<Hash>,
        leaf: &OpenedLeaf,
        root: Hash,
        frontier: Vec<Hash>,
    ) -> Result<Phase, DisputeError> {
        let (value, header) = (row.low, &self.segment.header);
        let index = header.value(value);
        let leaf = index.and_then(|index| leaf.verify(&self.segment.program, header, index));
        let mut frontier = Frontier::of(value, frontier).ok_or(DisputeError::Prefix { value })?;
        let before = frontier.root();
        frontier.push(leaf_hash(&root));
        if before != row.agreed || frontier.root() != row.claimed {
            return Err(DisputeError::Prefix { value });
        }
        match leaf {
            Some(Leaf::Input(role, shape)) => Ok(Phase::Input(place, root, role, shape)),
            Some(Leaf::Constant(_, constant)) => Ok(decide(constant == root)),
            Some(Leaf::Instruction(Instruction { primitive, .. })) => {
                let elements = primitive.elements();
                if elements == 0 {
                    return Ok(decide(root == tensor_root(&[])));
                }
                let target = Target {
                    place,
                    prefix: before,
                    value,
                    elements,
                    terms: primitive.terms(),
                    start: primitive.start(),
                };
                Ok(Phase::Tensor(target, Descent::new(root, leaves(elements) as u64)))
            }
            _ => Err(DisputeError::Proof { what: "the value" }),
        }
    }

    /// The root that an input has by what was agreed on, if the move shows it.
    fn input(&self, place: &Place, role: &Role, shape: &[usize], play: &Move) -> Option<Hash> {
        match (role, play) {
            (
                Role::State(name),
                Move::Entry {
                    position,
                    root,
                    siblings,
                },
            ) => {
                let known = vec![(*position, leaf_hash(&entry(name, shape, root)))];
                verify_several(&place.before, self.segment.header.states, known, siblings).then_some(*root)
            }
            (_, Move::Batch { roots, siblings }) => {
                let known = vec![(place.step, leaf_hash(roots.as_flattened()))];
                let shown = verify_several(&self.segment.batches, self.segment.steps, known, siblings);
                let at = match role {
                    Role::Samples => 0,
                    Role::Labels => 1,
                    Role::Rate => 2,
                    Role::Key => 3,
                    Role::State(_) | Role::Loss | Role::Result => return None,
                };
                shown.then_some(roots[at])
            }
            _ => None,
        }
    }

    /// Goes on to the next phase where one is at its end.
    fn settle(&mut self) {
        let header = &self.segment.header;
        let next = match &self.phase {
            Phase::Steps(row) if row.high - row.low == 1 => {
                let place = Place {
                    step: row.low,
                    before: row.agreed,
                };
                let end = header.values().saturating_add(1);
                Phase::Values(place, Bisection::new([0, end], Frontier::new().root(), row.claimed))
            }
            Phase::Values(place, row) if row.high - row.low == 1 && row.low < header.values() => {
                Phase::Value(*place, row.clone())
            }
            Phase::Values(_, row) if row.high - row.low == 1 && header.states == 0 => {
                decide(row.claimed == root_of_hashes(Vec::new()))
            }
            Phase::Values(place, row) if row.high - row.low == 1 => {
                Phase::After(*place, row.agreed, Descent::new(row.claimed, header.states))
            }
            Phase::After(place, prefix, descent) if descent.done() => Phase::Entry(*place, *prefix, descent.clone()),
            Phase::Tensor(target, descent) if descent.done() => Phase::Elements(*target, descent.clone(), Vec::new()),
            Phase::Fold(target, element, row) if row.high - row.low <= FINAL_TERMS => {
                let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let question = Question {
                    program: self.segment.program,
                    header: *header,
                    prefix: target.prefix,
                    value: target.value,
                    element: bound(*element),
                    range: bound(row.low)..bound(row.high),
                    before: row.agreed,
                    after: row.claimed,
                };
                Phase::Question(target.place, question)
            }
            _ => return,
        };
        self.phase = next;
        self.settle();
    }
}

/// The end: for the defender if what he claimed is so.
fn decide(holds: bool) -> Phase {
    Phase::Over(if holds { Side::Defender } else { Side::Challenger })
}

/// Checks the elements of a leaf against its hash.
fn check_elements(target: &Target, descent: &Descent, numbers: &[f32]) -> Result<(), DisputeError> {
    let leaf = descent.index;
    let start = usize::try_from(leaf)
        .ok()
        .and_then(|leaf| leaf.checked_mul(LEAF_ELEMENTS));
    let needed = start.map_or(0, |start| target.elements.saturating_sub(start).min(LEAF_ELEMENTS));
    if numbers.len() != needed {
        return Err(DisputeError::Count {
            what: "elements",
            found: numbers.len(),
            needed,
        });
    }
    if hash_of_leaf(numbers) == descent.node {
        Ok(())
    } else {
        Err(DisputeError::Elements { leaf })
    }
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Steps(_) => "steps",
            Self::Values(..) => "values",
            Self::Value(..) => "value",
            Self::Input(..) => "input",
            Self::Tensor(..) => "tensor",
            Self::Elements(..) => "elements",
            Self::Fold(..) => "fold",
            Self::Question(..) => "question",
            Self::After(..) => "state after",
            Self::Entry(..) => "entry",
            Self::Over(_) => "over",
        }
    }
}
