use std::fs;
use std::path::Path;

use trainyard_exact::onnx::{Limits, decode};
use trainyard_exact::state_root;
use trainyard_exact::weights_file::{self, from_safetensors};

use super::*;

/// The gradient that the engine computes against central differences of its loss.
fn check_gradient(graph: &Graph, loss: Loss) {
    let mut engine = engine(graph, loss, PLAIN);
    let batch = 4;
    let samples = numbers("samples", batch * graph.sample.iter().product::<usize>());
    let labels = [2, 0, 1, 1];
    let start = engine.weights().unwrap();
    let mut loss_at = |weights: &Weights| {
        engine.set_weights(weights).unwrap();
        let loss = engine.step(&samples, &labels, 1, 0).unwrap();
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
        (Op::Binary(Binary::Add), &[2, 4, 5][..]),
        (Op::Binary(Binary::Sub), &[2, 4, 5]),
        (Op::Binary(Binary::Mul), &[2, 4, 5]),
        (Op::Binary(Binary::Div), &[2, 4, 5]),
        (Op::MatMul, &[2, 4, 3]),
        (conv(window([3, 3], [1, 1], [1, 1], [1, 1]), 1), &[3, 4, 5]),
        (conv(window([2, 1], [2, 1], [0, 1], [1, 2]), 2), &[4, 2, 7]),
        (Op::MaxPool(pool), &[2, 2, 6]),
        (average(true), &[2, 2, 6]),
        (average(false), &[2, 2, 6]),
        (reduce(Reduction::Mean, &[2, 3]), &[2, 1, 1]),
        (Op::Transpose { perm: vec![0, 3, 1, 2] }, &[5, 2, 4]),
        (normalise, &[2, 4, 5]),
        (Op::Dropout { ratio: 0.3 }, &[2, 4, 5]),
        (Op::Unary(Unary::Relu), &[2, 4, 5]),
        (Op::Unary(Unary::Sigmoid), &[2, 4, 5]),
        (Op::Unary(Unary::Tanh), &[2, 4, 5]),
        (Op::Softmax { axis: 3 }, &[2, 4, 5]),
        (Op::LogSoftmax { axis: 2 }, &[2, 4, 5]),
        (Op::Unary(Unary::Clip { min: -0.2, max: 0.3 }), &[2, 4, 5]),
        (reduce(Reduction::Mean, &[1, 3]), &[4]),
    ] {
        check_gradient(&through(op, shape), Loss::CrossEntropy);
    }
    check_gradient(&through_gemm(), Loss::CrossEntropy);
    check_gradient(&through_gemm(), Loss::Mse);
}

#[test]
fn exports_of_pytorch_compute_what_pytorch_computes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../exact/tests/exports");
    for network in ["net", "head", "resnet", "gpt", "flash", "bert", "misc"] {
        let file = fs::read(folder.join(format!("{network}.safetensors"))).unwrap();
        let expected = from_safetensors(&file, &weights_file::Limits::default()).unwrap();
        for export in ["script", "dynamo", "training"] {
            let bytes = fs::read(folder.join(format!("{network}_{export}.onnx"))).unwrap();
            let graph = decode(&bytes, &Limits::default()).unwrap();
            let logits = engine(&graph, Loss::CrossEntropy, PLAIN)
                .forward(expected["input"].data())
                .unwrap();
            for (ours, theirs) in logits.iter().zip(expected["logits"].data()) {
                assert!(
                    (ours - theirs).abs() < 2e-5,
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
    engine.step(&samples, &[0, 1, 2], 1, 0).unwrap();
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
        engine.step(&samples, &[0, 1], 1, seed).unwrap();
        state_root(&engine.weights().unwrap())
    };
    assert_eq!(root(1), root(1));
    assert_ne!(root(1), root(2));
    let calm = |ratio| {
        let graph = through(Op::Dropout { ratio }, &[2, 4, 5]);
        super::engine(&graph, Loss::CrossEntropy, PLAIN)
            .forward(&samples)
            .unwrap()
    };
    assert_eq!(calm(0.25), calm(0.9));
}

#[test]
fn a_softmax_at_the_end_does_not_change_cross_entropy() {
    let plain = through(Op::Unary(Unary::Relu), &[2, 4, 5]);
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
        let loss = engine.step(&samples, &[2, 0], 1, 0).unwrap();
        (loss, engine.weights().unwrap(), engine.forward(&samples).unwrap())
    };
    let ((loss, weights, _), (other_loss, other_weights, probabilities)) = (run(&plain), run(&ended));
    assert_eq!((loss, weights), (other_loss, other_weights));
    assert!((probabilities[..3].iter().sum::<f32>() - 1.0).abs() < 1e-6);
}
