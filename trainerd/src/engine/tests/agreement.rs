//! Truth: the exact engine against libtorch, on the same graphs, batches and tasks.

use std::fs;
use std::path::Path;

use trainyard_exact::model::{ResNetSpec, TransformerSpec, resnet, transformer};
use trainyard_exact::onnx::{Limits, decode};
use trainyard_exact::task::{Decay, Schedule};
use trainyard_exact::weights_file::{self, from_safetensors};

use super::*;

const BATCH: usize = 4;

/// Both engines, on a graph for which `task` is minimised.
fn engines(graph: &Graph, task: Task) -> (Exact, LibTorch) {
    libtorch::set_threads(1);
    let exact = Exact::new(graph.clone(), task, BATCH, Isa::best(), 2).unwrap();
    (exact, LibTorch::new(graph.clone(), task, Device::Cpu).unwrap())
}

/// The largest element.
fn largest(values: &[f32]) -> f64 {
    values
        .iter()
        .fold(0.0, |largest, x| f64::max(largest, f64::from(x.abs())))
}

/// The largest difference of two lists over the largest element of the second.
fn relative(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let differences: Vec<f32> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    largest(&differences) / largest(theirs)
}

/// The largest difference between tensors of two states over the largest element of its tensor, or over a hundredth of
/// the largest of all: a bias before a normalisation has no gradient but noise. With `start`, between the moves from
/// there; after a step of plain SGD these are the gradients.
fn difference(ours: &Weights, theirs: &Weights, start: Option<&Weights>) -> f64 {
    let moved = |weights: &Weights, name: &String| -> Vec<f32> {
        let now = weights[name].data();
        match start {
            None => now.to_vec(),
            Some(start) => now
                .iter()
                .zip(start[name].data())
                .map(|(now, then)| now - then)
                .collect(),
        }
    };
    let pairs: Vec<_> = theirs
        .keys()
        .map(|name| (moved(ours, name), moved(theirs, name)))
        .collect();
    let all = pairs.iter().map(|(_, theirs)| largest(theirs)).fold(0.0, f64::max);
    let pair = |(ours, theirs): &(Vec<f32>, Vec<f32>)| {
        let size = largest(theirs);
        relative(ours, theirs) * size / f64::max(size, all / 100.0)
    };
    pairs
        .iter()
        .map(pair)
        .filter(|found| !found.is_nan())
        .fold(0.0, f64::max)
}

/// Relative differences of a graph's forward pass, loss and gradients on random samples.
fn grade(graph: &Graph, task: Task) -> [f64; 3] {
    let samples = numbers("samples", BATCH * graph.sample.iter().product::<usize>());
    grade_on(graph, task, &samples, &[2, 0, 1, 1])
}

fn grade_on(graph: &Graph, task: Task, samples: &[f32], labels: &[i64]) -> [f64; 3] {
    let (mut exact, mut libtorch) = engines(graph, task);
    let forward = relative(&exact.forward(samples).unwrap(), &libtorch.forward(samples).unwrap());
    let ours = exact.step(samples, labels, 1, 0).unwrap();
    let theirs = libtorch.step(samples, labels, 1, 0).unwrap();
    let (ours_now, theirs_now) = (exact.weights().unwrap(), libtorch.weights().unwrap());
    let gradients = difference(&ours_now, &theirs_now, Some(&graph.weights));
    [forward, relative(&[ours], &[theirs]), gradients]
}

#[test]
fn operators_and_their_gradients_are_libtorchs() {
    let normalise = Op::BatchNormalization {
        epsilon: 1e-3,
        momentum: 0.9,
    };
    let pool = window([2, 2], [2, 1], [0, 1], [1, 1]);
    let average = |count_include_pad| Op::AveragePool {
        window: pool,
        count_include_pad,
    };
    let conv = |window, group| Op::Conv { window, group };
    let unary = |function| (Op::Unary(function), &[2, 4, 5][..]);
    let mut graphs = vec![("Gemm".to_owned(), through_gemm())];
    for (op, shape) in [
        (Op::Binary(Binary::Add), &[2, 4, 5][..]),
        (Op::Binary(Binary::Sub), &[2, 4, 5]),
        (Op::Binary(Binary::Mul), &[2, 4, 5]),
        (Op::Binary(Binary::Div), &[2, 4, 5]),
        (Op::Binary(Binary::Min), &[2, 4, 5]),
        (Op::Binary(Binary::Max), &[2, 4, 5]),
        (Op::MatMul, &[2, 4, 3]),
        (conv(window([3, 3], [1, 1], [1, 1], [1, 1]), 1), &[3, 4, 5]),
        (conv(window([2, 1], [2, 1], [0, 1], [1, 2]), 2), &[4, 2, 7]),
        (Op::MaxPool(pool), &[2, 2, 6]),
        (average(true), &[2, 2, 6]),
        (average(false), &[2, 2, 6]),
        (reduce(Reduction::Mean, &[2, 3]), &[2, 1, 1]),
        (reduce(Reduction::Sum, &[1, 3]), &[4]),
        (reduce(Reduction::Max, &[3]), &[2, 4]),
        (Op::Transpose { perm: vec![0, 3, 1, 2] }, &[5, 2, 4]),
        (normalise, &[2, 4, 5]),
        (Op::Softmax { axis: 3 }, &[2, 4, 5]),
        (Op::LogSoftmax { axis: 2 }, &[2, 4, 5]),
        (Op::LayerNormalization { axis: 2, epsilon: 1e-5 }, &[2, 4, 5]),
        (
            Op::Slice {
                starts: vec![0, 0, 3, 0],
                steps: vec![1, 1, -2, 2],
            },
            &[2, 2, 3],
        ),
        (
            Op::Pad {
                starts: vec![0, 0, 1, 2],
                value: 0.5,
            },
            &[2, 6, 8],
        ),
        unary(Unary::Relu),
        unary(Unary::LeakyRelu { alpha: 0.1 }),
        unary(Unary::Sigmoid),
        unary(Unary::Tanh),
        unary(Unary::Exp),
        unary(Unary::Sin),
        unary(Unary::Cos),
        unary(Unary::Erf),
        unary(Unary::Abs),
        unary(Unary::Neg),
        unary(Unary::Gelu { tanh: true }),
        unary(Unary::Gelu { tanh: false }),
        unary(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        unary(Unary::Clip { min: -0.2, max: 0.3 }),
    ] {
        graphs.push((format!("{op:?}"), through(op, shape)));
    }
    let mut worst = [0.0; 3];
    for (name, graph) in &graphs {
        let found = grade(graph, Task::new(Loss::CrossEntropy, PLAIN));
        println!(
            "{name:60} forward {:.1e}  loss {:.1e}  gradient {:.1e}",
            found[0], found[1], found[2]
        );
        worst = std::array::from_fn(|i| f64::max(worst[i], found[i]));
        assert!(
            found[0] < 2e-6 && found[1] < 2e-6 && found[2] < 2e-5,
            "{name}: {found:?}"
        );
    }
    println!("worst: {worst:?}");
}

#[test]
fn losses_are_libtorchs() {
    let smooth = Task {
        label_smoothing: 0.1,
        ..Task::new(Loss::CrossEntropy, PLAIN)
    };
    for task in [
        smooth,
        Task::new(Loss::Mse, PLAIN),
        Task::new(Loss::BceWithLogits, PLAIN),
        Task {
            clip_norm: 0.1,
            ..smooth
        },
    ] {
        let found = grade(&through_gemm(), task);
        assert!(found.iter().all(|error| *error < 5e-6), "{task:?}: {found:?}");
    }
    // An output of three dimensions has a label for each of its rows.
    let mut rows = Sketch::new(&[2, 4, 5]);
    let weight = rows.weight("w", &[5, 3]);
    rows.graph.output = rows.node(Op::MatMul, vec![Source::Input, weight], &[2, 4, 3]);
    rows.graph.output_shape = [Dim::Batch].into_iter().chain([2, 4, 3].map(Dim::Fixed)).collect();
    let labels: Vec<i64> = (0..BATCH as i64 * 8).map(|row| row * 7 % 3).collect();
    let samples = numbers("samples", BATCH * 40);
    for task in [
        smooth,
        Task::new(Loss::Mse, PLAIN),
        Task::new(Loss::BceWithLogits, PLAIN),
    ] {
        let (mut exact, mut libtorch) = engines(&rows.graph, task);
        let losses = (
            exact.step(&samples, &labels, 1, 0).unwrap(),
            libtorch.step(&samples, &labels, 1, 0).unwrap(),
        );
        assert!(relative(&[losses.0], &[losses.1]) < 2e-6, "{task:?}: {losses:?}");
        let gradients = difference(
            &exact.weights().unwrap(),
            &libtorch.weights().unwrap(),
            Some(&rows.graph.weights),
        );
        assert!(gradients < 5e-6, "{task:?}: {gradients}");
        for engine in [&mut exact as &mut dyn Engine, &mut libtorch] {
            let error = engine.step(&samples, &labels[1..], 1, 0).unwrap_err().to_string();
            assert_eq!(error, "31 labels for 32 rows of output");
        }
    }
}

#[test]
fn optimizers_and_schedules_are_libtorchs() {
    let schedules = [
        Schedule::default(),
        Schedule {
            warmup: 3,
            decay: Decay::Step { every: 4, factor: 0.5 },
        },
        Schedule {
            warmup: 0,
            decay: Decay::Cosine { steps: 8, floor: 0.1 },
        },
    ];
    let graph = through_gemm();
    for optimizer in training::OPTIMIZERS {
        for schedule in schedules {
            let task = Task {
                schedule,
                clip_norm: 0.5,
                ..Task::new(Loss::CrossEntropy, optimizer)
            };
            let (mut exact, mut libtorch) = engines(&graph, task);
            for number in 1..=10 {
                let samples = numbers(&format!("samples {number}"), BATCH * 4);
                let labels = [2, 0, 1, 1];
                exact.step(&samples, &labels, number, 0).unwrap();
                libtorch.step(&samples, &labels, number, 0).unwrap();
            }
            let found = difference(&exact.weights().unwrap(), &libtorch.weights().unwrap(), None);
            assert!(found < 1e-4, "{task:?}: {found}");
        }
    }
}

#[test]
fn a_batch_of_another_size_goes_on_from_the_same_state() {
    let graph = training::small_cnn();
    let task = Task::new(Loss::CrossEntropy, training::adam(0.0, false));
    let (mut exact, mut libtorch) = engines(&graph, task);
    for (number, size) in (1..).zip([4, 7, 4, 1]) {
        let (samples, labels) = training::images(&format!("batch {number}"), size);
        let ours = exact.step(&samples, &labels, number, 0).unwrap();
        let theirs = libtorch.step(&samples, &labels, number, 0).unwrap();
        assert!(relative(&[ours], &[theirs]) < 1e-4, "step {number}: {ours}, {theirs}");
    }
    // More samples than are computed at once, after fewer: each as if it were alone.
    let (samples, _) = training::images("test", 150);
    let few = exact.forward(&samples[..64 * 3]).unwrap();
    let all = exact.forward(&samples).unwrap();
    assert_eq!(few, all[..9]);
    assert_eq!(exact.forward(&samples[64 * 149..]).unwrap(), all[3 * 149..]);
    assert!(relative(&all, &libtorch.forward(&samples).unwrap()) < 1e-3);
}

#[test]
fn exports_of_pytorch_train_as_on_libtorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../exact/tests/exports");
    // A great rate: what is read off the weights as a gradient then loses nothing to rounding.
    let optimizer = Optimizer::Sgd {
        learning_rate: 1000.0,
        momentum: 0.0,
        weight_decay: 0.0,
        nesterov: false,
    };
    for network in ["net", "head", "resnet", "gpt", "bert", "misc"] {
        let file = fs::read(folder.join(format!("{network}.safetensors"))).unwrap();
        let given = from_safetensors(&file, &weights_file::Limits::default()).unwrap();
        let (samples, logits) = (&given["input"], &given["logits"]);
        let classes = logits.shape().last().copied().unwrap();
        let labels: Vec<i64> = (0..logits.data().len() / classes)
            .map(|row| (row * 7 % classes) as i64)
            .collect();
        for export in ["script", "dynamo", "training"] {
            let path = folder.join(format!("{network}_{export}.onnx"));
            let mut graph = decode(&fs::read(path).unwrap(), &Limits::default()).unwrap();
            // Each engine draws masks of its own.
            for node in &mut graph.nodes {
                if let Op::Dropout { ratio } = &mut node.op {
                    *ratio = 0.0;
                }
            }
            let task = Task::new(Loss::CrossEntropy, optimizer);
            let found = grade_on(&graph, task, samples.data(), &labels);
            println!(
                "{network}_{export}: forward {:.1e}  loss {:.1e}  gradient {:.1e}",
                found[0], found[1], found[2]
            );
            assert!(
                found[0] < 5e-6 && found[1] < 5e-6 && found[2] < 1e-4,
                "{network}_{export}: {found:?}"
            );
        }
    }
}

#[test]
fn built_in_models_train_as_on_libtorch() {
    let small = ResNetSpec {
        sample: [3, 8, 8],
        widths: vec![4, 6],
        ..ResNetSpec::default()
    };
    let graph = decode(&resnet(&small).unwrap(), &Limits::default()).unwrap();
    let task = Task::new(Loss::CrossEntropy, PLAIN);
    let found = grade(&graph, task);
    assert!(found[0] < 5e-6 && found[1] < 5e-6 && found[2] < 1e-4, "{found:?}");
    for causal in [true, false] {
        let small = TransformerSpec {
            vocabulary: 11,
            context: 5,
            width: 12,
            heads: 3,
            layers: 2,
            causal,
            seed: 0,
        };
        let graph = decode(&transformer(&small).unwrap(), &Limits::default()).unwrap();
        let tokens: Vec<f32> = (0..BATCH * 5).map(|at| (at * 7 % 11) as f32).collect();
        let labels: Vec<i64> = (0..BATCH as i64 * 5).map(|at| at * 5 % 11).collect();
        let found = grade_on(&graph, task, &tokens, &labels);
        assert!(found[0] < 5e-6 && found[1] < 5e-6 && found[2] < 1e-4, "{found:?}");
    }
}
