//! What is learned in a whole training, not in a step.

use std::path::PathBuf;
use std::{env, fs};

use trainyard_exact::model::{CnnSpec, TransformerSpec, cnn, transformer};
use trainyard_exact::onnx::{Limits, decode};
use trainyard_exact::task::{Decay, Schedule};

use super::*;

/// Pixels from 0 to 1, and labels, of a part of MNIST, which `scripts/setup` fetches.
fn mnist(part: &str) -> (Vec<f32>, Vec<i64>) {
    let cache = env::var_os("TRAINYARD_CACHE").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap()).join(".cache/trainyard"),
        PathBuf::from,
    );
    let read = |kind: &str, header: usize| {
        let path = cache.join("mnist").join(format!("{part}-{kind}-ubyte"));
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run scripts/setup", path.display()));
        bytes[header..].to_vec()
    };
    let pixels = read("images-idx3", 16)
        .iter()
        .map(|byte| f32::from(*byte) / 255.0)
        .collect();
    (
        pixels,
        read("labels-idx1", 8).iter().map(|byte| i64::from(*byte)).collect(),
    )
}

#[test]
fn a_cnn_knows_digits_after_two_epochs() {
    const BATCH: usize = 64;
    let spec = CnnSpec {
        filters: vec![8, 16],
        hidden: vec![64],
        ..CnnSpec::default()
    };
    let graph = decode(&cnn(&spec).unwrap(), &Limits::default()).unwrap();
    let (samples, labels) = mnist("train");
    let steps = 2 * labels.len().div_ceil(BATCH);
    let optimizer = Optimizer::Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        nesterov: false,
    };
    let task = Task {
        schedule: Schedule {
            warmup: 50,
            decay: Decay::Cosine {
                steps: u32::try_from(steps).unwrap(),
                floor: 0.0,
            },
        },
        ..Task::new(Loss::CrossEntropy, optimizer)
    };
    let mut engine = Exact::new(graph, task, BATCH, Isa::best(), 2).unwrap();
    // The files are in random order already. The last batch of an epoch begins with the next one's samples.
    let mut next = (0..labels.len()).cycle();
    for number in 1..=steps {
        let batch: Vec<usize> = next.by_ref().take(BATCH).collect();
        let x: Vec<f32> = batch
            .iter()
            .flat_map(|i| samples[784 * i..784 * (i + 1)].to_vec())
            .collect();
        let y: Vec<i64> = batch.iter().map(|i| labels[*i]).collect();
        engine.step(&x, &y, u32::try_from(number).unwrap(), 0).unwrap();
    }
    let (samples, labels) = mnist("t10k");
    let logits = engine.forward(&samples).unwrap();
    let best = |row: &[f32]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as i64;
    let right = logits
        .chunks(10)
        .zip(&labels)
        .filter(|(row, label)| best(row) == **label);
    let right = right.count();
    println!("{right} of 10000 digits are recognised");
    assert!(right >= 9_800, "{right} of 10000 digits are recognised");
}

/// Batches of a text's characters, each with the one that follows as its label.
fn characters(number: u32, batch: usize, context: usize) -> (Vec<f32>, Vec<i64>) {
    let text = include_bytes!("../../../../LICENSE");
    let mut stream = Stream::new(Tag::Init, &[b"characters", &number.to_le_bytes()]);
    let (mut tokens, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..batch {
        let room = u32::try_from(text.len() - context).unwrap();
        let start = stream.below(room) as usize;
        let part = &text[start..=start + context];
        tokens.extend(part[..context].iter().map(|byte| f32::from(*byte)));
        labels.extend(part[1..].iter().map(|byte| i64::from(*byte)));
    }
    (tokens, labels)
}

#[test]
fn a_transformer_learns_characters_as_well_as_on_libtorch() {
    const BATCH: usize = 16;
    let spec = TransformerSpec {
        vocabulary: 128,
        context: 32,
        width: 48,
        heads: 4,
        layers: 2,
        causal: true,
        seed: 3,
    };
    let graph = decode(&transformer(&spec).unwrap(), &Limits::default()).unwrap();
    let optimizer = Optimizer::Adam {
        learning_rate: 0.003,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.01,
        decoupled: true,
    };
    let task = Task {
        schedule: Schedule {
            warmup: 20,
            decay: Decay::Cosine { steps: 300, floor: 0.1 },
        },
        clip_norm: 1.0,
        ..Task::new(Loss::CrossEntropy, optimizer)
    };
    libtorch::set_threads(1);
    let mut engines: [Box<dyn Engine>; 2] = [
        Box::new(Exact::new(graph.clone(), task, BATCH, Isa::best(), 2).unwrap()),
        Box::new(LibTorch::new(graph, task, Device::Cpu).unwrap()),
    ];
    let losses = engines.each_mut().map(|engine| {
        let mut last = 0.0;
        for number in 1..=300 {
            let (tokens, labels) = characters(number, BATCH, 32);
            let loss = engine.step(&tokens, &labels, number, 0).unwrap();
            last += if number > 280 { f64::from(loss) / 20.0 } else { 0.0 };
        }
        last
    });
    println!("mean loss of the last 20 of 300 steps: {losses:?}");
    assert!(losses[0] < 2.2, "it has not learned: {losses:?}");
    assert!((losses[0] / losses[1] - 1.0).abs() < 0.01, "{losses:?}");
}
