//! What proving costs: hashing states, re-running a segment, one call of the referee.

use std::collections::BTreeMap;
use std::hint::black_box;

use trainyard_exact::merkle;
use trainyard_exact::prf::Hash;
use trainyard_exact::program::{Commitment, Instruction, Role};
use trainyard_exact::referee::{MAX_TERMS_PER_CALL, Question, Witness, referee};
use trainyard_exact::state::{StateTree, tensor_root};
use trainyard_exact::tensor::Tensor;
use trainyard_exact::train::{Trainer, key_words};

use crate::steps::{Model, models};
use crate::{Bench, Row, median, seconds};

/// Steps of a segment, after which a worker commits to its state.
const SEGMENT: u32 = 16;

pub(crate) fn run(bench: &mut Bench) {
    for model in models() {
        segment(bench, &model);
    }
    let [_, cnn, ..] = models();
    question(bench, &cnn);
}

/// A segment on one thread, and the hashing of the state after it.
fn segment(bench: &mut Bench, model: &Model) {
    let mut trainer = Trainer::new(&model.graph, &model.task, model.batch, 1).expect("it has a program");
    let (samples, labels) = model.batch();
    let labels: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
    let mut steps = || {
        for number in 1..=SEGMENT {
            trainer.step(&samples, &labels, number, 1).expect("it trains");
        }
    };
    let steps = median((0..3).map(|_| seconds(1, &mut steps)).collect());
    let mut hash = || {
        black_box(StateTree::of(black_box(trainer.state()), 1).root());
    };
    let hash = median((0..7).map(|_| seconds(1, &mut hash)).collect());
    let rows = [
        (
            format!("running a segment of {}", model.name),
            steps,
            format!("{SEGMENT} steps"),
        ),
        (
            format!("hashing the state of {}", model.name),
            hash,
            format!("{:.1} % of the segment", 100.0 * hash / steps),
        ),
    ];
    for (name, time, remark) in rows {
        let row = Row {
            name,
            unit: "ms",
            ours: 1e3 * time,
            peer: None,
        };
        bench.note(row, &remark);
    }
}

/// A question about as many terms as the referee takes at once, in the longest fold of a step.
fn question(bench: &mut Bench, model: &Model) {
    let mut trainer = Trainer::new(&model.graph, &model.task, model.batch, 1).expect("it has a program");
    let (samples, labels) = model.batch();
    let labels: Vec<f32> = labels.iter().map(|label| *label as f32).collect();
    let program = trainer.executor().program().clone();
    let commitment = Commitment::new(&program).expect("it is within the bounds");
    let mut values: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    for (number, port) in program.inputs().iter().enumerate() {
        let value = match &port.role {
            Role::State(name) => trainer.state()[name].data().to_vec(),
            Role::Samples => samples.clone(),
            Role::Labels => labels.clone(),
            Role::Rate => vec![model.task.rate(1)],
            _ => key_words(1).to_vec(),
        };
        values.insert(number, value);
    }
    values.extend((program.inputs().len()..).zip(program.constants().iter().map(|t: &Tensor| t.data().to_vec())));
    let keep = |number, value: &[f32]| drop(values.insert(number, value.to_vec()));
    trainer.observed(&samples, &labels, 1, 1, keep).expect("it trains");
    let longest = (program.first()..).zip(program.instructions());
    let longest = longest.max_by_key(|(_, instruction)| instruction.primitive.terms());
    let Some((number, Instruction { primitive, operands })) = longest else {
        return;
    };
    let roots: Vec<Hash> = values.range(..number).map(|(_, value)| tensor_root(value)).collect();
    let range = 0..primitive.terms().min(MAX_TERMS_PER_CALL);
    let read = |input: usize, offset: usize| values[&operands[input]][offset];
    let question = Question {
        program: commitment.root(),
        header: *commitment.header(),
        prefix: merkle::root(&roots),
        value: number as u64,
        element: 0,
        before: primitive.start(),
        after: primitive.fold(0, range.clone(), primitive.start(), read),
        range,
    };
    let bytes = Witness::new(&commitment, &question, &roots, &values)
        .expect("the values are there")
        .encode();
    let mut call = || {
        let witness = Witness::decode(black_box(&bytes), &question).expect("it is a witness");
        black_box(referee(&question, &witness)).expect("it shows what is read");
    };
    let time = median((0..15).map(|_| seconds(20, &mut call)).collect());
    let terms = format!("{} terms", question.range.len());
    for (name, unit, ours) in [
        ("a call of the referee", "us", 1e6 * time),
        ("its witness", "kB", bytes.len() as f64 / 1e3),
    ] {
        let row = Row {
            name: format!("{name}, {}", model.name),
            unit,
            ours,
            peer: None,
        };
        bench.note(row, &terms);
    }
}
