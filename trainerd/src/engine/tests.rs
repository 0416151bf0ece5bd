use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use trainyard_exact::model::{CnnSpec, cnn};
use trainyard_exact::onnx::{Dim, Graph, Limits, Node, Op, Source, Window, decode};
use trainyard_exact::prf::{Stream, Tag};
use trainyard_exact::weights_file::{self, from_safetensors, to_safetensors};
use trainyard_exact::{Tensor, Weights, state_root};

use super::*;

const PLAIN: Optimizer = Optimizer::Sgd {
    learning_rate: 1.0,
    momentum: 0.0,
    weight_decay: 0.0,
    nesterov: false,
};

/// One thread, so that no other test can change the bits.
fn engine(graph: &Graph, loss: Loss, optimizer: Optimizer) -> LibTorch {
    libtorch::set_threads(1);
    LibTorch::new(graph.clone(), Task { loss, optimizer }, Device::Cpu).unwrap()
}

/// Numbers in −1..1, others for each name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut stream = Stream::new(Tag::Init, &[name.as_bytes()]);
    (0..count).map(|_| stream.symmetric_f32()).collect()
}

/// A graph under construction: (N, sample) → nodes → (N, 3).
struct Sketch {
    graph: Graph,
}

impl Sketch {
    fn new(sample: &[usize]) -> Self {
        Self {
            graph: Graph {
                input: "x".to_owned(),
                sample: sample.to_vec(),
                nodes: Vec::new(),
                output: Source::Input,
                output_shape: vec![Dim::Batch, Dim::Fixed(3)],
                weights: Weights::new(),
                buffers: BTreeSet::new(),
                constants: Vec::new(),
            },
        }
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Source {
        let tensor = Tensor::new(shape.to_vec(), numbers(name, shape.iter().product())).unwrap();
        self.graph.weights.insert(name.to_owned(), tensor);
        Source::Weight(name.to_owned())
    }

    fn node(&mut self, op: Op, inputs: Vec<Source>, shape: &[usize]) -> Source {
        let shape = std::iter::once(Dim::Batch)
            .chain(shape.iter().map(|size| Dim::Fixed(*size)))
            .collect();
        let index = self.graph.nodes.len();
        let (name, operator) = (format!("n{index}"), format!("{op:?}"));
        self.graph.nodes.push(Node {
            index,
            name,
            operator,
            op,
            inputs,
            shape,
            macs: 0,
        });
        Source::Node(index)
    }

    /// Flattens `value` and maps its `width` elements to three logits.
    fn finish(mut self, value: Source, width: usize) -> Graph {
        let flat = self.node(Op::Reshape, vec![value], &[width]);
        let weight = self.weight("last", &[width, 3]);
        self.graph.output = self.node(Op::MatMul, vec![flat, weight], &[3]);
        self.graph
    }
}

fn window(kernel: [usize; 2], strides: [usize; 2], pads: [usize; 2], dilations: [usize; 2]) -> Window {
    Window {
        kernel,
        strides,
        pads,
        dilations,
    }
}

/// x (N, 2, 4, 5) scaled by a weight, then `op`, then three logits: the gradient of the scale passes through `op`.
fn through(op: Op, shape: &[usize]) -> Graph {
    let mut sketch = Sketch::new(&[2, 4, 5]);
    let scale = sketch.weight("scale", &[2, 4, 5]);
    let scaled = sketch.node(Op::Mul, vec![Source::Input, scale], &[2, 4, 5]);
    let mut inputs = vec![scaled];
    match &op {
        Op::Conv { window, group } => {
            inputs.push(sketch.weight("filters", &[shape[0], 2 / group, window.kernel[0], window.kernel[1]]));
            inputs.push(sketch.weight("bias", &shape[..1]));
        }
        Op::BatchNormalization { .. } => {
            for name in ["gamma", "beta", "mean", "variance"] {
                inputs.push(sketch.weight(name, &[2]));
            }
            sketch.graph.buffers = ["mean", "variance"].map(str::to_owned).into();
            sketch
                .graph
                .weights
                .insert("variance".to_owned(), Tensor::new(vec![2], vec![0.5, 2.0]).unwrap());
        }
        Op::Add | Op::Sub | Op::Mul | Op::Div => {
            inputs.push(sketch.weight("other", &[4, 1]));
            // Away from zero, for the quotient.
            for value in sketch.graph.weights.get_mut("other").unwrap().data_mut() {
                *value += 2.0;
            }
        }
        Op::MatMul => inputs.push(sketch.weight("other", &[5, 3])),
        _ => {}
    }
    let value = sketch.node(op, inputs, shape);
    sketch.finish(value, shape.iter().product())
}

/// x (N, 4) through `alpha · A' · B' + beta · C` with both transposed, where the batch is turned around first.
fn through_gemm() -> Graph {
    let mut sketch = Sketch::new(&[4]);
    let (b, c) = (sketch.weight("b", &[6, 4]), sketch.weight("c", &[6]));
    let turned = sketch.node(Op::Transpose { perm: vec![1, 0] }, vec![Source::Input], &[4]);
    sketch.graph.nodes[0].shape = vec![Dim::Fixed(4), Dim::Batch];
    let gemm = Op::Gemm {
        alpha: 0.5,
        beta: 2.0,
        trans_a: true,
        trans_b: true,
    };
    let value = sketch.node(gemm, vec![turned, b, c], &[6]);
    sketch.finish(value, 6)
}

/// The gradient that the engine computes against central differences of its loss.
fn check_gradient(graph: &Graph, loss: Loss) {
    let mut engine = engine(graph, loss, PLAIN);
    let batch = 4;
    let samples = numbers("samples", batch * graph.sample.iter().product::<usize>());
    let labels = [2, 0, 1, 1];
    let start = engine.weights().unwrap();
    let mut loss_at = |weights: &Weights| {
        engine.set_weights(weights).unwrap();
        let loss = engine.step(&samples, &labels).unwrap();
        (f64::from(loss), engine.weights().unwrap())
    };
    let (_, end) = loss_at(&start);
    let operators: Vec<&str> = graph.nodes.iter().map(|node| node.operator.as_str()).collect();
    for (name, tensor) in graph.parameters() {
        let size = tensor.data().len();
        let largest = (0..size)
            .map(|i| (start[name].data()[i] - end[name].data()[i]).abs())
            .fold(0.0, f32::max);
        assert!(largest > 1e-5, "{operators:?}: {name} has no gradient");
        for i in 0..size {
            let gradient = f64::from(start[name].data()[i] - end[name].data()[i]);
            let mut slope = |width: f32| {
                let mut moved = start.clone();
                moved.get_mut(name).unwrap().data_mut()[i] += width;
                let (above, _) = loss_at(&moved);
                moved.get_mut(name).unwrap().data_mut()[i] -= 2.0 * width;
                (above - loss_at(&moved).0) / (2.0 * f64::from(width))
            };
            let tolerance = 0.02 * f64::from(largest) + 2e-4;
            // A kink (Relu, Clip, a maximum) within the wider interval may be outside the narrower one.
            let fits = [1e-2, 2e-3]
                .map(&mut slope)
                .iter()
                .any(|slope| (slope - gradient).abs() < tolerance);
            assert!(
                fits,
                "{operators:?}: {name}[{i}] has gradient {gradient}, the loss has slope {}",
                slope(1e-2)
            );
        }
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
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
    for (op, shape) in [
        (Op::Add, &[2, 4, 5][..]),
        (Op::Sub, &[2, 4, 5]),
        (Op::Mul, &[2, 4, 5]),
        (Op::Div, &[2, 4, 5]),
        (Op::MatMul, &[2, 4, 3]),
        (conv(window([3, 3], [1, 1], [1, 1], [1, 1]), 1), &[3, 4, 5]),
        (conv(window([2, 1], [2, 1], [0, 1], [1, 2]), 2), &[4, 2, 7]),
        (Op::MaxPool(pool), &[2, 2, 6]),
        (average(true), &[2, 2, 6]),
        (average(false), &[2, 2, 6]),
        (Op::GlobalAveragePool, &[2, 1, 1]),
        (Op::Transpose { perm: vec![0, 3, 1, 2] }, &[5, 2, 4]),
        (normalise, &[2, 4, 5]),
        (Op::Dropout { ratio: 0.3 }, &[2, 4, 5]),
        (Op::Relu, &[2, 4, 5]),
        (Op::Sigmoid, &[2, 4, 5]),
        (Op::Tanh, &[2, 4, 5]),
        (Op::Softmax { axis: 3 }, &[2, 4, 5]),
        (Op::LogSoftmax { axis: 2 }, &[2, 4, 5]),
        (Op::Clip { min: -0.2, max: 0.3 }, &[2, 4, 5]),
        (Op::ReduceMean { axes: vec![1, 3] }, &[4]),
    ] {
        check_gradient(&through(op, shape), Loss::CrossEntropy);
    }
    check_gradient(&through_gemm(), Loss::CrossEntropy);
    check_gradient(&through_gemm(), Loss::Mse);
}

#[test]
fn exports_of_pytorch_compute_what_pytorch_computes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../exact/tests/exports");
    for network in ["net", "head"] {
        let file = fs::read(folder.join(format!("{network}.safetensors"))).unwrap();
        let expected = from_safetensors(&file, &weights_file::Limits::default()).unwrap();
        for export in ["script", "fixed", "dynamo", "training"] {
            let bytes = fs::read(folder.join(format!("{network}_{export}.onnx"))).unwrap();
            let graph = decode(&bytes, &Limits::default()).unwrap();
            let logits = engine(&graph, Loss::CrossEntropy, PLAIN)
                .forward(expected["input"].data())
                .unwrap();
            for (ours, theirs) in logits.iter().zip(expected["logits"].data()) {
                assert!(
                    (ours - theirs).abs() < 1e-5,
                    "{network}_{export}: {ours} is not {theirs}"
                );
            }
        }
    }
}

#[test]
fn normalisation_moves_running_statistics_as_onnx_says() {
    let graph = through(
        Op::BatchNormalization {
            epsilon: 1e-3,
            momentum: 0.9,
        },
        &[2, 4, 5],
    );
    let mut engine = engine(&graph, Loss::CrossEntropy, PLAIN);
    let samples = numbers("samples", 3 * 40);
    let before = engine.forward(&samples).unwrap();
    engine.step(&samples, &[0, 1, 2]).unwrap();
    let after = engine.weights().unwrap();
    let scale = graph.weights["scale"].data();
    for channel in 0..2 {
        let of_channel = |i: usize| i / 20 % 2 == channel;
        let values: Vec<f64> = (0..120)
            .filter(|i| of_channel(*i))
            .map(|i| f64::from(samples[i]) * f64::from(scale[i % 40]))
            .collect();
        let mean = values.iter().sum::<f64>() / 60.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 59.0;
        for (name, batch) in [("mean", mean), ("variance", variance)] {
            let expected = 0.9 * f64::from(graph.weights[name].data()[channel]) + 0.1 * batch;
            let found = f64::from(after[name].data()[channel]);
            assert!(
                (found - expected).abs() < 1e-6,
                "{name} {channel}: {found} is not {expected}"
            );
        }
    }
    // Inference uses and keeps them.
    engine.set_weights(&graph.weights).unwrap();
    assert_eq!(engine.forward(&samples).unwrap(), before);
    assert_eq!(engine.weights().unwrap(), graph.weights);
}

#[test]
fn dropout_follows_the_seed_and_only_in_training() {
    let graph = through(Op::Dropout { ratio: 0.25 }, &[2, 4, 5]);
    let mut engine = engine(&graph, Loss::CrossEntropy, PLAIN);
    let samples = numbers("samples", 2 * 40);
    let mut root = |seed| {
        engine.set_weights(&graph.weights).unwrap();
        engine.seed(seed).unwrap();
        engine.step(&samples, &[0, 1]).unwrap();
        state_root(&engine.weights().unwrap())
    };
    assert_eq!(root(1), root(1));
    assert_ne!(root(1), root(2));
    let calm = |ratio| {
        let graph = through(Op::Dropout { ratio }, &[2, 4, 5]);
        super::tests::engine(&graph, Loss::CrossEntropy, PLAIN)
            .forward(&samples)
            .unwrap()
    };
    assert_eq!(calm(0.25), calm(0.9));
}

#[test]
fn a_softmax_at_the_end_does_not_change_cross_entropy() {
    let plain = through(Op::Relu, &[2, 4, 5]);
    let mut ended = plain.clone();
    let logits = ended.nodes[3].clone();
    let node = Node {
        index: 4,
        op: Op::Softmax { axis: 1 },
        inputs: vec![Source::Node(3)],
        ..logits
    };
    ended.nodes.push(node);
    ended.output = Source::Node(4);
    let samples = numbers("samples", 2 * 40);
    let run = |graph: &Graph| {
        let mut engine = engine(graph, Loss::CrossEntropy, PLAIN);
        let loss = engine.step(&samples, &[2, 0]).unwrap();
        (loss, engine.weights().unwrap(), engine.forward(&samples).unwrap())
    };
    let ((loss, weights, _), (other_loss, other_weights, probabilities)) = (run(&plain), run(&ended));
    assert_eq!((loss, weights), (other_loss, other_weights));
    assert!((probabilities[..3].iter().sum::<f32>() - 1.0).abs() < 1e-6);
}

/// The definitions of PyTorch's documentation, in f64.
fn reference(optimizer: &Optimizer, step: i32, value: f64, gradient: f64, state: &mut [f64; 2]) -> f64 {
    match *optimizer {
        Optimizer::Sgd {
            learning_rate,
            momentum,
            weight_decay,
            nesterov,
        } => {
            let gradient = gradient + f64::from(weight_decay) * value;
            state[0] = f64::from(momentum) * state[0] + gradient;
            let direction = if nesterov {
                gradient + f64::from(momentum) * state[0]
            } else {
                state[0]
            };
            value - f64::from(learning_rate) * direction
        }
        Optimizer::Adam {
            learning_rate,
            beta1,
            beta2,
            epsilon,
            weight_decay,
            decoupled,
        } => {
            let [rate, beta1, beta2, decay] = [learning_rate, beta1, beta2, weight_decay].map(f64::from);
            let (value, gradient) = if decoupled {
                (value - rate * decay * value, gradient)
            } else {
                (value, gradient + decay * value)
            };
            state[0] = beta1 * state[0] + (1.0 - beta1) * gradient;
            state[1] = beta2 * state[1] + (1.0 - beta2) * gradient * gradient;
            let (first, second) = (state[0] / (1.0 - beta1.powi(step)), state[1] / (1.0 - beta2.powi(step)));
            value - rate * first / (second.sqrt() + f64::from(epsilon))
        }
    }
}

const OPTIMIZERS: [Optimizer; 7] = [
    Optimizer::Sgd {
        learning_rate: 0.1,
        momentum: 0.0,
        weight_decay: 0.0,
        nesterov: false,
    },
    Optimizer::Sgd {
        learning_rate: 0.1,
        momentum: 0.0,
        weight_decay: 0.05,
        nesterov: false,
    },
    Optimizer::Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.01,
        nesterov: false,
    },
    Optimizer::Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        nesterov: true,
    },
    adam(0.0, false),
    adam(0.1, false),
    adam(0.1, true),
];

const fn adam(weight_decay: f32, decoupled: bool) -> Optimizer {
    Optimizer::Adam {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay,
        decoupled,
    }
}

#[test]
fn optimizers_follow_their_definitions() {
    let graph = through_gemm();
    let samples = numbers("samples", 12);
    let labels = [0, 1, 2];
    for optimizer in OPTIMIZERS {
        let mut trained = engine(&graph, Loss::CrossEntropy, optimizer);
        let mut measure = engine(&graph, Loss::CrossEntropy, PLAIN);
        let mut states = vec![[0.0; 2]; 100];
        for step in 1..=5 {
            let before = trained.weights().unwrap();
            measure.set_weights(&before).unwrap();
            measure.step(&samples, &labels).unwrap();
            trained.step(&samples, &labels).unwrap();
            let (moved, after) = (measure.weights().unwrap(), trained.weights().unwrap());
            let flat = |weights: &Weights| {
                weights
                    .values()
                    .flat_map(|tensor| tensor.data().to_vec())
                    .collect::<Vec<_>>()
            };
            let (before, moved, after) = (flat(&before), flat(&moved), flat(&after));
            for i in 0..before.len() {
                let gradient = f64::from(before[i]) - f64::from(moved[i]);
                let expected = reference(&optimizer, step, f64::from(before[i]), gradient, &mut states[i]);
                // Adam divides by the gradient's size: what is lost when it is read off the weights grows with it.
                let close = (f64::from(after[i]) - expected).abs() < if gradient.abs() < 1e-3 { 2e-3 } else { 2e-5 };
                assert!(
                    close,
                    "{optimizer:?}: step {step}, element {i}: {} is not {expected}",
                    after[i]
                );
            }
        }
    }
}

fn small_cnn() -> Graph {
    let spec = CnnSpec {
        sample: [1, 8, 8],
        filters: vec![4, 8],
        hidden: vec![16],
        classes: 3,
        ..CnnSpec::default()
    };
    decode(&cnn(&spec).unwrap(), &Limits::default()).unwrap()
}

/// Images whose bright half tells their class: left, right or top; with noise.
fn images(name: &str, count: usize) -> (Vec<f32>, Vec<i64>) {
    let mut samples = numbers(name, 64 * count);
    let labels: Vec<i64> = (0..count as i64).map(|i| i % 3).collect();
    for (i, value) in samples.iter_mut().enumerate() {
        let (label, row, column) = (labels[i / 64], i % 64 / 8, i % 8);
        let bright = match label {
            0 => column < 4,
            1 => column >= 4,
            _ => row < 4,
        };
        *value += if bright { 0.5 } else { 0.0 };
    }
    (samples, labels)
}

#[test]
fn training_learns() {
    let mut engine = engine(&small_cnn(), Loss::CrossEntropy, adam(0.0, false));
    let first = {
        let (samples, labels) = images("first", 48);
        engine.step(&samples, &labels).unwrap()
    };
    let mut last = first;
    for step in 0..60 {
        let (samples, labels) = images(&format!("batch {step}"), 48);
        last = engine.step(&samples, &labels).unwrap();
    }
    assert!(first > 0.9 && last < 0.2, "the loss went from {first} to {last}");
    let (samples, labels) = images("test", 99);
    let logits = engine.forward(&samples).unwrap();
    let best = |row: &[f32]| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let correct = logits
        .chunks(3)
        .zip(&labels)
        .filter(|(row, label)| best(row) as i64 == **label)
        .count();
    assert!(correct >= 90, "{correct} of 99 test images were recognised");
}

#[test]
fn a_restart_continues_bit_for_bit() {
    let graph = small_cnn();
    for optimizer in OPTIMIZERS {
        let step = |engine: &mut LibTorch, step: usize| {
            let (samples, labels) = images(&format!("batch {step}"), 12);
            engine.seed(step as u64).unwrap();
            engine.step(&samples, &labels).unwrap();
        };
        let mut whole = engine(&graph, Loss::CrossEntropy, optimizer);
        (0..4).for_each(|i| step(&mut whole, i));
        // What a checkpoint on disk holds.
        let limits = weights_file::Limits::default();
        let kept = |weights: &Weights| from_safetensors(&to_safetensors(weights).unwrap(), &limits).unwrap();
        let (weights, state) = (kept(&whole.weights().unwrap()), kept(&whole.optimizer_state().unwrap()));
        let mut resumed = engine(&graph, Loss::CrossEntropy, optimizer);
        resumed.set_weights(&weights).unwrap();
        resumed.set_optimizer_state(&state).unwrap();
        for i in 4..8 {
            step(&mut whole, i);
            step(&mut resumed, i);
        }
        let roots = |engine: &LibTorch| {
            (
                state_root(&engine.weights().unwrap()),
                state_root(&engine.optimizer_state().unwrap()),
            )
        };
        assert_eq!(roots(&whole), roots(&resumed), "{optimizer:?}");
        assert_ne!(state_root(&weights), roots(&whole).0);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let graph = small_cnn();
    let mut engine = engine(&graph, Loss::CrossEntropy, adam(0.0, false));
    let (samples, labels) = images("batch", 6);
    let start = engine.weights().unwrap();
    let mut says = |samples: &[f32], labels: &[i64], expected: &str| {
        let error = engine.step(samples, labels).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
        assert_eq!(engine.weights().unwrap(), start);
    };
    says(
        &samples[1..],
        &labels,
        "383 values are no whole number of samples of 64 values",
    );
    says(&[], &[], "0 values are no whole number");
    says(&samples, &labels[1..], "5 labels for 6 samples");
    says(
        &samples,
        &[0, 1, 2, 3, 0, 0],
        "sample 3 has the label 3, expected 0 to 2",
    );
    says(&samples, &[0, 1, -1, 0, 0, 0], "sample 2 has the label -1");
    let mut broken = samples.clone();
    broken[7] = f32::NAN;
    says(&broken, &labels, "the loss is NaN");
    let mut refuses = |change: fn(&mut Weights), expected: &str| {
        let mut weights = start.clone();
        change(&mut weights);
        let error = engine.set_weights(&weights).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    };
    refuses(
        |w| drop(w.remove("fc1.bias")),
        "the weights lack the tensor \"fc1.bias\"",
    );
    refuses(
        |w| drop(w.insert("more".to_owned(), Tensor::scalar(1.0))),
        "have an unknown tensor \"more\"",
    );
    refuses(
        |w| drop(w.insert("fc1.bias".to_owned(), Tensor::scalar(1.0))),
        "with shape [], expected [16]",
    );
    refuses(
        |w| w.get_mut("fc1.bias").unwrap().data_mut()[3] = f32::INFINITY,
        "hold inf at element 3 of \"fc1.bias\"",
    );
    let mut state = engine.optimizer_state().unwrap();
    state.insert("opt/step".to_owned(), Tensor::scalar(0.5));
    let error = engine.set_optimizer_state(&state).unwrap_err().to_string();
    assert!(error.contains("says that 0.5 steps were taken"), "{error}");
    let mut output = graph.clone();
    output.output_shape = vec![Dim::Batch, Dim::Fixed(3), Dim::Fixed(4)];
    let task = Task {
        loss: Loss::Mse,
        optimizer: PLAIN,
    };
    let Err(error) = LibTorch::new(output, task, Device::Cpu) else {
        panic!("an image is no row of logits")
    };
    assert!(error.to_string().contains("(N, 3, 4)"), "{error}");
}

#[test]
fn a_jobs_task_opens_an_engine() {
    let optimizer = job::Optimizer {
        name: "sgd".to_owned(),
        learning_rate: "0.1".to_owned(),
        ..Default::default()
    };
    let task = job::Task {
        loss: "cross_entropy".to_owned(),
        optimizer: Some(optimizer),
        ..Default::default()
    };
    assert_eq!(
        open(&small_cnn(), &task, 1)
            .unwrap()
            .forward(&[0.0; 128])
            .unwrap()
            .len(),
        6
    );
    let task = job::Task {
        optimizer: None,
        ..task
    };
    let Err(error) = open(&small_cnn(), &task, 1) else {
        panic!("there is no optimizer")
    };
    assert_eq!(
        error.to_string(),
        "the optimizer \"\" is not known: choose sgd, adam or adamw"
    );
}
