//! Disputes about a CNN for MNIST with Adam: `cargo bench -p trainyard-exact --bench dispute --profile dev`.
//!
//! For one instruction of each form, a defender whose result has one wrong bit is driven to the referee by a challenger
//! who runs the segment again. Given are the moves of the whole game, the time that the challenger took, the bytes of
//! the witness, and the time and the steps of the referee.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;
use trainyard_exact::dispute::{Dispute, Move, Phase, Player, Side};
use trainyard_exact::lower;
use trainyard_exact::model::{CnnSpec, cnn};
use trainyard_exact::onnx::{Limits, decode};
use trainyard_exact::prf::{Hash, Stream, Tag};
use trainyard_exact::program::{Commitment, Executor, Program, ProgramError};
use trainyard_exact::referee::{cost, referee};
use trainyard_exact::state::{StateTree, tensor_root};
use trainyard_exact::task::{Loss, Optimizer, Task};
use trainyard_exact::trace::{Batch, BatchLeaf, Execution, Replay, Segment, batches_root};
use trainyard_exact::{Weights, state_root};

const STEPS: u64 = 16;
const BATCH: usize = 64;
/// The step in which the defender is wrong.
const WRONG: u64 = 11;

fn batch(step: u64) -> Batch {
    let mut draws = Stream::new(Tag::Batches, &[&step.to_le_bytes()]);
    Batch {
        samples: (0..BATCH * 784).map(|_| draws.symmetric_f32()).collect(),
        labels: (0..BATCH).map(|_| draws.below(10) as f32).collect(),
        rate: 0.001,
        key: step,
    }
}

fn replay(program: &Program, segment: &Segment, start: &Weights) -> impl Execution {
    let executor = Executor::new(program.clone(), 1).expect("one thread is to be had");
    Replay::new(executor, segment.clone(), start.clone(), |step| Some(batch(step)), 1)
}

/// An execution with one wrong bit in the first element of a value. What follows from it is only claimed to differ: the
/// search never looks behind the first difference.
struct Liar<E> {
    honest: E,
    value: usize,
}

fn flip(value: &mut [f32]) {
    value[0] = f32::from_bits(value[0].to_bits() ^ 1);
}

impl<E: Execution> Execution for Liar<E> {
    fn state(&mut self, step: u64) -> Result<StateTree, ProgramError> {
        self.honest.state(step)
    }

    fn state_root(&mut self, step: u64) -> Result<Hash, ProgramError> {
        let root = self.honest.state_root(step)?;
        Ok(if step > WRONG { root.map(|byte| !byte) } else { root })
    }

    fn value_roots(&mut self, step: u64) -> Result<Vec<Hash>, ProgramError> {
        let mut roots = self.honest.value_roots(step)?;
        if let Some(value) = self.values(step, &[self.value])?.get(&self.value) {
            roots[self.value] = tensor_root(value);
        }
        Ok(roots)
    }

    fn values(&mut self, step: u64, wanted: &[usize]) -> Result<BTreeMap<usize, Vec<f32>>, ProgramError> {
        let mut values = self.honest.values(step, wanted)?;
        if let Some(value) = values.get_mut(&self.value) {
            flip(value);
        }
        Ok(values)
    }

    fn batches(&mut self) -> Result<Vec<BatchLeaf>, ProgramError> {
        self.honest.batches()
    }
}

fn main() {
    let graph = decode(
        &cnn(&CnnSpec::default()).expect("the default is valid"),
        &Limits::default(),
    );
    let graph = graph.expect("what we write we read");
    let optimizer = Optimizer::Adam {
        learning_rate: 0.001,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        decoupled: false,
    };
    let task = Task::new(Loss::CrossEntropy, optimizer);
    let program = lower::training(&graph, &task, BATCH).expect("the graph has a program");
    let mut start = graph.weights.clone();
    start.append(&mut lower::start_state(&graph, &task));
    let commitment = Commitment::new(&program).expect("the program has a root");
    let leaves: Vec<BatchLeaf> = (0..STEPS).map(|step| batch(step).leaf()).collect();
    let segment = Segment {
        program: commitment.root(),
        header: *commitment.header(),
        start: state_root(&start),
        steps: STEPS,
        batches: batches_root(&leaves),
    };
    let mut honest = replay(&program, &segment, &start);
    let time = Instant::now();
    let end = honest.state_root(STEPS).expect("the segment runs");
    println!(
        "{STEPS} steps in {:.0} ms, {} values",
        1e3 * time.elapsed().as_secs_f64(),
        program.values()
    );
    let time = Instant::now();
    honest.value_roots(0).expect("the segment runs");
    println!(
        "the roots of all values of a step in {:.0} ms",
        1e3 * time.elapsed().as_secs_f64()
    );
    let mut seen = Vec::new();
    for (at, instruction) in program.instructions().iter().enumerate() {
        let primitive = &instruction.primitive;
        let form = format!("{:?}", std::mem::discriminant(primitive.operation()));
        let form = (form, primitive.terms().ilog2(), instruction.operands.len());
        if seen.contains(&form) {
            continue;
        }
        seen.push(form);
        let (value, lie) = (program.first() + at, end.map(|byte| !byte));
        let honest = replay(&program, &segment, &start);
        let liar = Liar {
            honest: replay(&program, &segment, &start),
            value,
        };
        let mut defender = Player::new(commitment.clone(), liar);
        let mut challenger = Player::new(commitment.clone(), honest);
        let mut dispute = Dispute::new(segment.clone(), lie).expect("there are steps");
        let (mut moves, mut own, mut report) = (0, 0.0, String::new());
        while let Some(side) = dispute.turn() {
            let time = Instant::now();
            let made = match side {
                Side::Defender => defender.play(&dispute),
                Side::Challenger => challenger.play(&dispute),
            };
            let made = made.expect("the segment runs").expect("there is a move");
            if side == Side::Challenger {
                own += time.elapsed().as_secs_f64();
            }
            if let (Phase::Question(_, question), Move::Witness(witness)) = (dispute.phase(), &made) {
                let runs = (0..50).map(|_| {
                    let time = Instant::now();
                    black_box(referee(black_box(question), witness)).expect("the witness is whole");
                    time.elapsed().as_secs_f64()
                });
                let time = 1e6 * runs.fold(f64::INFINITY, f64::min);
                let (bytes, steps) = (witness.encode().len(), cost(primitive, &question.range));
                report = format!("witness {bytes} bytes, referee {time:.0} us and {steps} steps");
            }
            dispute.play(side, made).expect("the move is valid");
            moves += 1;
        }
        assert_eq!(dispute.winner(), Some(Side::Challenger));
        println!(
            "{:?} over {:?} of {} operands: {moves} moves, challenger {:.1} s, {report}",
            primitive.output(),
            primitive.reduced(),
            instruction.operands.len(),
            own
        );
    }
}
