use trainyard_exact::model::{CnnSpec, cnn};
use trainyard_exact::onnx::{Limits, decode};
use trainyard_exact::state_root;
use trainyard_exact::weights_file::{self, from_safetensors, to_safetensors};

use super::*;
use crate::paradigm::delta::{Delta, merge};

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

pub(super) const OPTIMIZERS: [Optimizer; 7] = [
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

pub(super) const fn adam(weight_decay: f32, decoupled: bool) -> Optimizer {
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
            measure.step(&samples, &labels, 1, 0).unwrap();
            trained.step(&samples, &labels, 1, 0).unwrap();
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

pub(super) fn small_cnn() -> Graph {
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
pub(super) fn images(name: &str, count: usize) -> (Vec<f32>, Vec<i64>) {
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
        engine.step(&samples, &labels, 1, 0).unwrap()
    };
    let mut last = first;
    for step in 0..60 {
        let (samples, labels) = images(&format!("batch {step}"), 48);
        last = engine.step(&samples, &labels, 1, 0).unwrap();
    }
    assert!(first > 0.9 && last < 0.2, "the loss went from {first} to {last}");
    let correct = recognised(&mut engine);
    assert!(correct >= 90, "{correct} of 99 test images were recognised");
}

/// How many of 99 test images the engine recognises.
fn recognised(engine: &mut LibTorch) -> usize {
    let (samples, labels) = images("test", 99);
    let logits = engine.forward(&samples).unwrap();
    let best = |row: &[f32]| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let rows = logits.chunks(3).zip(&labels);
    rows.filter(|(row, label)| best(row) as i64 == **label).count()
}

#[test]
fn workers_that_exchange_compressed_deltas_learn() {
    let graph = small_cnn();
    let mut engine = engine(&graph, Loss::CrossEntropy, adam(0.0, false));
    for delta_share_ppm in [0, 1_000_000, 50_000] {
        let spec = job::JobSpec {
            delta_share_ppm,
            ..job::JobSpec::default()
        };
        let mut start = graph.weights.clone();
        let mut carried = [None, None, None];
        for round in 0..12 {
            let mut deltas = Vec::new();
            for (worker, carried) in carried.iter_mut().enumerate() {
                engine.set_weights(&start).unwrap();
                engine.set_optimizer_state(&Weights::new()).unwrap();
                for step in 0..5 {
                    let (samples, labels) = images(&format!("{worker} {round} {step}"), 48);
                    engine.step(&samples, &labels, 1, 0).unwrap();
                }
                let end = engine.weights().unwrap();
                let (delta, error) = Delta::new(&spec, &start, &end, carried.as_ref()).unwrap();
                *carried = error;
                deltas.push((240, delta));
            }
            start = merge(&start, &deltas).unwrap();
        }
        engine.set_weights(&start).unwrap();
        let correct = recognised(&mut engine);
        assert!(
            correct >= 90,
            "{correct} of 99 test images were recognised with {delta_share_ppm} ppm"
        );
    }
}

#[test]
fn a_restart_continues_bit_for_bit() {
    let graph = small_cnn();
    for optimizer in OPTIMIZERS {
        let step = |engine: &mut LibTorch, step: usize| {
            let (samples, labels) = images(&format!("batch {step}"), 12);
            engine.step(&samples, &labels, 1, step as u64).unwrap();
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
        let error = engine.step(samples, labels, 1, 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
        assert_eq!(engine.weights().unwrap(), start);
    };
    says(
        &samples[1..],
        &labels,
        "383 values are no whole number of samples of 64 values",
    );
    says(&[], &[], "0 values are no whole number");
    says(&samples, &labels[1..], "5 labels for 6 rows of output");
    says(&samples, &[0, 1, 2, 3, 0, 0], "row 3 has the label 3, expected 0 to 2");
    says(&samples, &[0, 1, -1, 0, 0, 0], "row 2 has the label -1");
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
}

#[test]
fn a_jobs_task_opens_the_engine_of_its_class() {
    let optimizer = job::Optimizer {
        name: "sgd".to_owned(),
        learning_rate: "0.1".to_owned(),
        ..Default::default()
    };
    let task = job::Task {
        loss: "cross_entropy".to_owned(),
        optimizer: Some(optimizer),
        batch_size: 4,
        ..Default::default()
    };
    let spec = |class: VerificationClass| JobSpec {
        task: Some(task.clone()),
        verification: class.into(),
        ..JobSpec::default()
    };
    let compute = |kind| Compute {
        kind,
        threads: 1,
        isa: Some(Isa::SCALAR),
    };
    for (class, wanted, device) in [
        (VerificationClass::Exact, None, "scalar"),
        (VerificationClass::Exact, Some(Kind::Exact), "scalar"),
        (VerificationClass::Pinned, None, "cpu"),
        (VerificationClass::Tolerant, Some(Kind::Exact), "scalar"),
    ] {
        let mut engine = compute(wanted).open(&small_cnn(), &spec(class)).unwrap();
        assert_eq!(engine.device(), device);
        assert_eq!(engine.forward(&[0.0; 128]).unwrap().len(), 6);
    }
    let refused = |compute: Compute, spec: &JobSpec| match compute.open(&small_cnn(), spec) {
        Ok(engine) => panic!("{} takes it", engine.device()),
        Err(error) => error.to_string(),
    };
    let error = refused(compute(Some(Kind::LibTorch)), &spec(VerificationClass::Exact));
    assert!(
        error.contains("class exact, whose bits libtorch does not give"),
        "{error}"
    );
    let mut spec = spec(VerificationClass::Exact);
    spec.task.as_mut().unwrap().optimizer = None;
    assert_eq!(
        refused(compute(None), &spec),
        "the optimizer \"\" is not known: choose sgd, adam or adamw"
    );
}
