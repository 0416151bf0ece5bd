//! Disputes between an honest party and one that is wrong, and the referee's refusals.

mod programs;
mod referee;

use programs::{Case, Random, after, case, execute};
use std::collections::BTreeMap;
use trainyard_exact::dispute::{Dispute, Move, Phase, Player, Side};
use trainyard_exact::prf::Hash;
use trainyard_exact::program::{Commitment, Executor, ProgramError, Role};
use trainyard_exact::state::{StateTree, tensor_root};
use trainyard_exact::trace::{Batch, BatchLeaf, Execution, Replay, Segment, batches_root};
use trainyard_exact::{Weights, state_root};

/// An execution kept as a whole.
#[derive(Clone)]
struct Recorded {
    states: Vec<Weights>,
    trees: Vec<StateTree>,
    values: Vec<Vec<Vec<f32>>>,
    roots: Vec<Vec<Hash>>,
    batches: Vec<BatchLeaf>,
}

impl Execution for &Recorded {
    fn state(&mut self, step: u64) -> Result<StateTree, ProgramError> {
        Ok(self.trees[usize::try_from(step).unwrap()].clone())
    }

    fn value_roots(&mut self, step: u64) -> Result<Vec<Hash>, ProgramError> {
        Ok(self.roots[usize::try_from(step).unwrap()].clone())
    }

    fn values(&mut self, step: u64, wanted: &[usize]) -> Result<BTreeMap<usize, Vec<f32>>, ProgramError> {
        let values = &self.values[usize::try_from(step).unwrap()];
        Ok(wanted.iter().map(|number| (*number, values[*number].clone())).collect())
    }

    fn batches(&mut self) -> Result<Vec<BatchLeaf>, ProgramError> {
        Ok(self.batches.clone())
    }
}

/// Where and how an execution goes wrong.
#[derive(Clone, Copy, Debug)]
struct Fault {
    kind: Kind,
    step: usize,
    value: usize,
    pick: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// One bit of an element, whatever the value is: an input, a constant, a result, an optimizer's step.
    Bit,
    /// The last term of an element's fold is left out.
    Range,
    /// All elements of a result are those of another operation.
    Operation,
    /// A tensor of state after the step is not what the program put out.
    End,
}

impl Recorded {
    fn honest(case: &Case) -> Self {
        let mut recorded = Self {
            states: vec![case.start.clone()],
            trees: vec![StateTree::of(&case.start, 1)],
            values: Vec::new(),
            roots: Vec::new(),
            batches: case.batches.iter().map(Batch::leaf).collect(),
        };
        recorded.run(case, None);
        recorded
    }

    /// The same execution up to the fault, and what follows from it.
    fn corrupt(&self, case: &Case, fault: Fault) -> Self {
        let mut recorded = self.clone();
        recorded.states.truncate(fault.step + 1);
        recorded.trees.truncate(fault.step + 1);
        recorded.values.truncate(fault.step);
        recorded.roots.truncate(fault.step);
        recorded.run(case, Some(fault));
        recorded
    }

    fn run(&mut self, case: &Case, fault: Option<Fault>) {
        for step in self.values.len()..case.batches.len() {
            let before = self.states[step].clone();
            let fault = fault.filter(|fault| fault.step == step);
            let values = execute(case, step, &before, |number, value, values| {
                if let Some(fault) = fault.filter(|fault| fault.value == number) {
                    corrupt(case, fault, value, values);
                }
            });
            let mut next = after(case, &before, &values);
            if let Some(fault) = fault.filter(|fault| fault.kind == Kind::End) {
                let tensor = next.values_mut().nth(fault.pick % 3).unwrap();
                let at = fault.pick % tensor.data().len();
                tensor.data_mut()[at] += 1.0;
            }
            self.roots.push(values.iter().map(|value| tensor_root(value)).collect());
            self.values.push(values);
            self.trees.push(StateTree::of(&next, 1));
            self.states.push(next);
        }
    }

    fn end(&self) -> Hash {
        self.trees.last().unwrap().root()
    }
}

fn corrupt(case: &Case, fault: Fault, value: &mut [f32], values: &[Vec<f32>]) {
    let at = fault.pick % value.len().max(1);
    let instruction = fault
        .value
        .checked_sub(case.program.first())
        .map(|at| &case.program.instructions()[at]);
    match (fault.kind, instruction) {
        (Kind::Bit, _) => value[at] = f32::from_bits(value[at].to_bits() ^ 1 << (fault.pick % 32)),
        (Kind::Range, Some(instruction)) => {
            let primitive = &instruction.primitive;
            let read = |input: usize, at: usize| values[instruction.operands[input]][at];
            value[at] = primitive.fold(at, 0..primitive.terms() - 1, primitive.start(), read);
        }
        (Kind::Operation, Some(_)) => value.iter_mut().for_each(|value| *value = 1.0 - *value),
        _ => {}
    }
}

fn segment(case: &Case, commitment: &Commitment) -> Segment {
    let leaves: Vec<BatchLeaf> = case.batches.iter().map(Batch::leaf).collect();
    Segment {
        program: commitment.root(),
        header: *commitment.header(),
        start: state_root(&case.start),
        steps: case.batches.len() as u64,
        batches: batches_root(&leaves),
    }
}

/// How a dispute went.
struct Course {
    winner: Side,
    last: Phase,
    moves: usize,
    witness: Option<usize>,
}

/// Plays to the end; a side without a valid move gives up.
fn play<D: Execution, C: Execution>(
    mut dispute: Dispute,
    defender: &mut Player<D>,
    challenger: &mut Player<C>,
    mut twist: impl FnMut(Side, Move) -> Move,
) -> Course {
    let (mut last, mut moves, mut witness) = (dispute.phase().clone(), 0, None);
    while let Some(side) = dispute.turn() {
        last = dispute.phase().clone();
        let made = match side {
            Side::Defender => defender.play(&dispute).unwrap(),
            Side::Challenger => challenger.play(&dispute).unwrap(),
        };
        moves += 1;
        assert!(moves < 300, "a dispute must end: {last:?}");
        let made = made.map(|made| twist(side, made));
        if let Some(Move::Witness(shown)) = &made {
            witness = Some(shown.encode().len());
        }
        match made {
            None => dispute.forfeit(),
            Some(made) => {
                let before = dispute.clone();
                if dispute.play(side, made).is_err() {
                    assert_eq!(dispute, before, "a refused move changes nothing");
                    dispute.forfeit();
                }
            }
        }
    }
    Course {
        winner: dispute.winner().unwrap(),
        last,
        moves,
        witness,
    }
}

/// The fault must be what the last phase is about.
fn ends_at(course: &Course, case: &Case, fault: Fault, honest: &Recorded, wrong: &Recorded) -> bool {
    let (ours, theirs) = (&honest.values[fault.step], &wrong.values[fault.step]);
    let element = |value: usize| {
        let mut pairs = ours[value].iter().zip(&theirs[value]);
        pairs.position(|(a, b)| a.to_bits() != b.to_bits())
    };
    match &course.last {
        Phase::Question(place, question) => {
            place.step == fault.step as u64
                && question.value == fault.value as u64
                && Some(question.element) == element(fault.value)
        }
        Phase::Input(place, _, role, _) => {
            place.step == fault.step as u64 && case.program.inputs()[fault.value].role == *role
        }
        Phase::Value(place, row) => place.step == fault.step as u64 && row.low == fault.value as u64,
        Phase::Entry(place, ..) => place.step == fault.step as u64 && fault.kind == Kind::End,
        _ => false,
    }
}

/// Plays `games` disputes over random programs; gives how many were played and how they ended.
fn tournament(seed: u64, games: usize) -> BTreeMap<&'static str, usize> {
    let mut random = Random::new(seed);
    let mut counts = BTreeMap::new();
    let mut played = 0;
    while played < games {
        let steps = 1 + random.below(3);
        let case = case(&mut random, steps);
        let commitment = Commitment::new(&case.program).unwrap();
        let (segment, honest) = (segment(&case, &commitment), Recorded::honest(&case));
        for _ in 0..100 {
            let kinds = [Kind::Bit, Kind::Bit, Kind::Range, Kind::Operation, Kind::End];
            let fault = Fault {
                kind: kinds[random.below(kinds.len())],
                step: random.below(steps),
                value: random.below(case.program.values()),
                pick: random.below(1 << 30),
            };
            let wrong = honest.corrupt(&case, fault);
            if wrong.end() == honest.end() {
                // The fault changed nothing that lasts, so there is nothing to dispute.
                continue;
            }
            let player = |execution| Player::new(commitment.clone(), execution);
            let dispute = Dispute::new(segment.clone(), wrong.end()).unwrap();
            let course = play(dispute, &mut player(&wrong), &mut player(&honest), |_, made| made);
            assert_eq!(course.winner, Side::Challenger, "{fault:?} {:?}", course.last);
            assert!(
                ends_at(&course, &case, fault, &honest, &wrong),
                "{fault:?} {:?}",
                course.last
            );
            let end = match course.last {
                Phase::Question(..) => "referee",
                Phase::Input(..) => "input",
                Phase::Value(..) => "constant",
                _ => "end",
            };
            *counts.entry(end).or_insert(0) += 1;
            // A challenger who ran the segment wrongly, and one who picks at random.
            let dispute = Dispute::new(segment.clone(), honest.end()).unwrap();
            let course = play(dispute, &mut player(&honest), &mut player(&wrong), |_, made| made);
            assert_eq!(course.winner, Side::Defender, "{fault:?} {:?}", course.last);
            let dispute = Dispute::new(segment.clone(), honest.end()).unwrap();
            let course = play(
                dispute,
                &mut player(&honest),
                &mut player(&honest),
                |_, made| match made {
                    Move::Pick(_) => Move::Pick(random.below(16) as u64),
                    made => made,
                },
            );
            assert_eq!(course.winner, Side::Defender, "{:?}", course.last);
            *counts.entry("lying challenger").or_insert(0) += 2;
            played += 3;
        }
    }
    counts
}

/// 10⁵ disputes: honesty wins from either side, and the search ends at the fault.
#[test]
fn the_honest_side_always_wins() {
    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|seed| scope.spawn(move || tournament(seed, 50_000)))
            .collect();
        let counts: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        counts
    });
    for end in ["referee", "input", "constant", "end", "lying challenger"] {
        let count: usize = counts.iter().map(|counts| counts.get(end).copied().unwrap_or(0)).sum();
        assert!(count > 500, "{end}: {count}");
    }
}

/// A defender who says anything at some point of the game.
#[test]
fn noise_loses() {
    let mut random = Random::new(9);
    for _ in 0..30 {
        let case = case(&mut random, 3);
        let commitment = Commitment::new(&case.program).unwrap();
        let (segment, honest) = (segment(&case, &commitment), Recorded::honest(&case));
        for _ in 0..20 {
            let fault = Fault {
                kind: Kind::Bit,
                step: random.below(3),
                value: random.below(case.program.values()),
                pick: random.below(1 << 30),
            };
            let wrong = honest.corrupt(&case, fault);
            let end = if wrong.end() == honest.end() {
                [3; 32]
            } else {
                wrong.end()
            };
            let player = |execution| Player::new(commitment.clone(), execution);
            let dispute = Dispute::new(segment.clone(), end).unwrap();
            let course = play(
                dispute,
                &mut player(&wrong),
                &mut player(&honest),
                |side, made| match made {
                    _ if side == Side::Challenger || !random.one_in(4) => made,
                    Move::Claims(mut claims) => {
                        let at = random.below(claims.len());
                        claims[at] = [random.below(256).try_into().unwrap(); 32];
                        Move::Claims(claims)
                    }
                    Move::Numbers(mut numbers) => {
                        let at = random.below(numbers.len());
                        numbers[at] += 1.0;
                        Move::Numbers(numbers)
                    }
                    made => made,
                },
            );
            assert_eq!(course.winner, Side::Challenger, "{fault:?} {:?}", course.last);
        }
    }
}

/// The kernels' execution, run again for every question, plays as the definition's does.
#[test]
fn a_replay_plays_as_well_as_a_record() {
    let mut random = Random::new(5);
    for _ in 0..20 {
        let case = case(&mut random, 3);
        let commitment = Commitment::new(&case.program).unwrap();
        let (segment, honest) = (segment(&case, &commitment), Recorded::honest(&case));
        let batches = case.batches.clone();
        let executor = Executor::new(case.program.clone(), 1).unwrap();
        let mut replay = Replay::new(
            executor,
            segment.clone(),
            case.start.clone(),
            move |step| batches.get(usize::try_from(step).ok()?).cloned(),
            1,
        );
        assert_eq!(state_root(replay.end().unwrap()), honest.end());
        assert_eq!(replay.value_roots(1).unwrap(), honest.roots[1]);
        let update = case
            .program
            .outputs()
            .iter()
            .find(|port| matches!(port.role, Role::State(_)))
            .unwrap();
        let fault = Fault {
            kind: Kind::Bit,
            step: random.below(3),
            value: update.value,
            pick: random.below(1 << 30),
        };
        let wrong = honest.corrupt(&case, fault);
        let mut replay = Player::new(commitment.clone(), replay);
        let mut liar = Player::new(commitment.clone(), &wrong);
        let dispute = Dispute::new(segment.clone(), wrong.end()).unwrap();
        let course = play(dispute, &mut liar, &mut replay, |_, made| made);
        assert_eq!(course.winner, Side::Challenger);
        assert!(ends_at(&course, &case, fault, &honest, &wrong));
        let witness = course.witness.unwrap();
        assert!(
            witness < 8 << 10 && course.moves < 30,
            "{witness} bytes, {} moves",
            course.moves
        );
        let dispute = Dispute::new(segment, honest.end()).unwrap();
        let course = play(dispute, &mut replay, &mut liar, |_, made| made);
        assert_eq!(course.winner, Side::Defender);
    }
}
