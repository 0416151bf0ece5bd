//! Whole programs: they learn, and give the same bits on every level of instructions and any number of threads.

use trainyard_exact::model::{CnnSpec, MlpSpec, cnn, mlp};
use trainyard_exact::onnx::{Graph, Limits, decode};
use trainyard_exact::task::{Loss, Optimizer, Task};
use trainyard_exact::train::{Inference, Trainer};

fn sgd() -> Optimizer {
    Optimizer::Sgd {
        learning_rate: 0.02,
        momentum: 0.9,
        weight_decay: 0.0,
        nesterov: false,
    }
}

fn graph(bytes: &[u8]) -> Graph {
    decode(bytes, &Limits::default()).unwrap()
}

/// Samples whose class is where they are bright.
fn batch(count: usize, width: usize, classes: usize, seed: usize) -> (Vec<f32>, Vec<f32>) {
    let mut samples = Vec::new();
    let mut labels = Vec::new();
    for i in 0..count {
        let class = (i * 7 + seed * 3) % classes;
        for at in 0..width {
            let noise = ((i * 31 + at * 17 + seed * 101) % 97) as f32 / 97.0;
            samples.push(if at % classes == class { 1.0 + noise } else { noise });
        }
        labels.push(class as f32);
    }
    (samples, labels)
}

fn learns(graph: &Graph, optimizer: Optimizer) {
    let width = graph.sample.iter().product();
    let mut trainer = Trainer::new(graph, &Task::new(Loss::CrossEntropy, optimizer), 32, 2).unwrap();
    let mut losses = Vec::new();
    for number in 1..=40 {
        let (samples, labels) = batch(32, width, 4, number);
        losses.push(
            trainer
                .step(&samples, &labels, u32::try_from(number).unwrap(), 0)
                .unwrap(),
        );
    }
    assert!(losses[39] < 0.2 * losses[0], "{losses:?}");
    let (samples, labels) = batch(20, width, 4, 1000);
    let logits = Inference::new(graph, 32, 1)
        .unwrap()
        .run(trainer.state(), &samples)
        .unwrap();
    let right = labels.iter().enumerate().filter(|(i, label)| {
        let row = &logits[i * 4..i * 4 + 4];
        let best = (0..4).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        best as f32 == **label
    });
    assert!(right.count() >= 18);
}

#[test]
fn an_mlp_and_a_cnn_learn() {
    let spec = MlpSpec {
        sample: vec![16],
        hidden: vec![32],
        classes: 4,
        seed: 1,
    };
    let mlp = graph(&mlp(&spec).unwrap());
    learns(&mlp, sgd());
    let adam = Optimizer::Adam {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        decoupled: true,
    };
    learns(&mlp, adam);
    let spec = CnnSpec {
        sample: [1, 8, 8],
        filters: vec![4, 8],
        kernel: 3,
        hidden: vec![16],
        classes: 4,
        seed: 1,
    };
    learns(&graph(&cnn(&spec).unwrap()), sgd());
}
