//! Where the time of a training step goes, instruction by instruction:
//! `cargo bench -p trainyard-exact --bench profile --profile dev [-- FILTER]`, with `mlp`, `cnn`, `resnet`, `transformer` or
//! `2 threads` as the filter.
//!
//! Each instruction is timed as the least of several steps, which neighbours on the machine disturb least. Instructions of one
//! form are added up; contractions are given in GFLOP/s and all in GB/s of what they read and write, each operand once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use trainyard_exact::definition::{Operation, Primitive, Term};
use trainyard_exact::model::{CnnSpec, MlpSpec, ResNetSpec, TransformerSpec, cnn, mlp, resnet, transformer};
use trainyard_exact::onnx::{Dim, Graph, Limits, decode};
use trainyard_exact::program::Program;
use trainyard_exact::task::{Loss, Optimizer, Task};
use trainyard_exact::train::Trainer;

const STEPS: u32 = 20;
/// Rows printed of each profile.
const ROWS: usize = 24;

/// What is added up: form and shape of an instruction.
fn form(primitive: &Primitive) -> String {
    let name = match primitive.operation() {
        Operation::Map(expression, views) => {
            let mut functions: BTreeMap<String, usize> = BTreeMap::new();
            for term in expression.terms() {
                if let Term::Apply(function, _) = term {
                    *functions.entry(format!("{function:?}")).or_default() += 1;
                }
            }
            let functions: Vec<String> = functions
                .into_iter()
                .map(|(name, count)| if count > 1 { format!("{count} {name}") } else { name })
                .collect();
            format!("Map of {}: {}", views.len(), functions.join(", "))
        }
        Operation::Contraction(..) => "Contraction".to_owned(),
        Operation::Sum(_) => "Sum".to_owned(),
        Operation::Max(_) => "Max".to_owned(),
        Operation::Find(..) => "Find".to_owned(),
        Operation::Layout(views) => format!("Layout of {}", views.len()),
        Operation::Gather(..) => "Gather".to_owned(),
        Operation::ScatterAdd(..) => "ScatterAdd".to_owned(),
        Operation::Random(..) => "Random".to_owned(),
    };
    format!("{name} {:?} over {:?}", primitive.output(), primitive.reduced())
}

#[derive(Default)]
struct Row {
    count: usize,
    time: Duration,
    multiply_adds: f64,
    bytes: f64,
}

fn report(program: &Program, times: &[Duration]) {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (instruction, time) in program.instructions().iter().zip(times) {
        let primitive = &instruction.primitive;
        let row = rows.entry(form(primitive)).or_default();
        row.count += 1;
        row.time += *time;
        if matches!(primitive.operation(), Operation::Contraction(..)) {
            row.multiply_adds += primitive.elements() as f64 * primitive.terms() as f64;
        }
        let read: usize = primitive
            .views()
            .iter()
            .map(|view| view.shape.iter().product::<usize>())
            .sum();
        row.bytes += 4.0 * (read + primitive.elements()) as f64;
    }
    let total: Duration = times.iter().sum();
    let mut rows: Vec<(String, Row)> = rows.into_iter().collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.time));
    println!("{:>7} {:>5} {:>4} {:>8} {:>7}  form", "ms", "%", "n", "GFLOP/s", "GB/s");
    for (name, row) in rows.iter().take(ROWS) {
        let seconds = row.time.as_secs_f64();
        println!(
            "{:7.3} {:5.1} {:4} {:8.1} {:7.1}  {name}",
            1e3 * seconds,
            100.0 * seconds / total.as_secs_f64(),
            row.count,
            2e-9 * row.multiply_adds / seconds,
            1e-9 * row.bytes / seconds
        );
    }
    let rest: Duration = rows.iter().skip(ROWS).map(|(_, row)| row.time).sum();
    println!(
        "{:7.3} {:5.1}       the rest; {:.3} ms in all\n",
        1e3 * rest.as_secs_f64(),
        100.0 * rest.as_secs_f64() / total.as_secs_f64(),
        1e3 * total.as_secs_f64()
    );
}

fn profile(name: &str, graph: &Graph, batch: usize, optimizer: Optimizer, threads: usize) {
    let task = Task::new(Loss::CrossEntropy, optimizer);
    let mut trainer = Trainer::new(graph, &task, batch, threads).expect("it has a program");
    let sample: usize = graph.sample.iter().product();
    let tokens = graph.output_shape.len() == 3;
    let samples: Vec<f32> = (0..batch * sample)
        .map(|i| {
            if tokens {
                (i * 37 % 64) as f32
            } else {
                (i * 37 % 101) as f32 / 101.0
            }
        })
        .collect();
    let rows = graph.output_shape[..graph.output_shape.len() - 1]
        .iter()
        .map(|dim: &Dim| dim.with_batch(batch))
        .product();
    let labels: Vec<f32> = (0..rows).map(|i: usize| (i * 7 % 10) as f32).collect();
    let program = trainer.executor().program().clone();
    let mut times = vec![Duration::MAX; program.instructions().len()];
    for number in 1..=STEPS {
        let mut last = Instant::now();
        let step = trainer.observed(&samples, &labels, number, 1, |value, _| {
            let now = Instant::now();
            let time = &mut times[value - program.first()];
            *time = (*time).min(now - last);
            last = Instant::now();
        });
        step.expect("it trains");
    }
    println!("{name}, batch {batch}, {threads} threads: {} instructions", times.len());
    report(&program, &times);
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let sgd = Optimizer::Sgd {
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 0.0,
        nesterov: false,
    };
    let adam = Optimizer::Adam {
        learning_rate: 0.001,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        decoupled: true,
    };
    let models = [
        ("mlp", mlp(&MlpSpec::default()), 64, sgd),
        ("cnn", cnn(&CnnSpec::default()), 64, sgd),
        ("resnet", resnet(&ResNetSpec::default()), 32, sgd),
        ("transformer", transformer(&TransformerSpec::default()), 4, adam),
    ];
    for threads in [1, 2] {
        for (name, bytes, batch, optimizer) in &models {
            let title = format!("{name} {threads} threads");
            if filter.as_ref().is_none_or(|filter| title.contains(filter)) {
                let bytes = bytes.as_ref().expect("it can be written");
                let graph = decode(bytes, &Limits::default()).expect("it decodes");
                profile(name, &graph, *batch, *optimizer, threads);
            }
        }
    }
}
