//! The bits of whole programs, fixed forever: 50 steps of each end in one state, whatever instructions and however many
//! threads compute them. A root that changes here is another arithmetic, and a fork of every chain that uses it.

use std::fs;
use std::path::Path;

use trainyard_exact::kernels::Isa;
use trainyard_exact::model::{CnnSpec, MlpSpec, ResNetSpec, TransformerSpec, cnn, mlp, resnet, transformer};
use trainyard_exact::onnx::{Graph, Limits, decode};
use trainyard_exact::prf::{Stream, Tag};
use trainyard_exact::state_root;
use trainyard_exact::task::{Decay, Loss, Optimizer, Schedule, Task};
use trainyard_exact::train::Trainer;

const STEPS: u32 = 50;
const THREADS: [usize; 4] = [1, 2, 3, 8];

/// A model, what is done with it, and the root of the state that this ends in.
struct Case {
    model: Vec<u8>,
    task: Task,
    batch: usize,
    /// Tokens below this number instead of numbers in (−1, 1).
    vocabulary: Option<u32>,
    /// Labels are below it.
    classes: u32,
    root: &'static str,
}

/// The levels of instructions to try; those that this CPU lacks are named on stderr.
fn levels() -> Vec<(&'static str, Isa)> {
    let all = [
        ("scalar", Some(Isa::SCALAR)),
        ("AVX2", Isa::avx2()),
        ("AVX-512", Isa::avx512()),
    ];
    let found = all.into_iter().filter_map(|(name, isa)| {
        if isa.is_none() {
            eprintln!("this CPU has no {name}: its bits are not compared");
        }
        Some((name, isa?))
    });
    found.collect()
}

impl Case {
    fn run(&self, graph: &Graph, isa: Isa, threads: usize) -> String {
        let mut trainer = Trainer::with_isa(graph, &self.task, self.batch, isa, threads).unwrap();
        let count = self.batch * graph.sample.iter().product::<usize>();
        let dims = &graph.output_shape[..graph.output_shape.len() - 1];
        let rows: usize = dims.iter().map(|dim| dim.with_batch(self.batch)).product();
        for number in 1..=STEPS {
            let mut draws = Stream::new(Tag::Init, &[b"golden", &number.to_le_bytes()]);
            let samples: Vec<f32> = (0..count)
                .map(|_| match self.vocabulary {
                    None => draws.symmetric_f32(),
                    Some(tokens) => draws.below(tokens) as f32,
                })
                .collect();
            let labels: Vec<f32> = (0..rows).map(|_| draws.below(self.classes) as f32).collect();
            let key = u64::from(number) << 40 | 7;
            trainer.step(&samples, &labels, number, key).unwrap();
        }
        state_root(trainer.state())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn check(&self) {
        let graph = decode(&self.model, &Limits::default()).unwrap();
        for (level, isa) in levels() {
            for threads in THREADS {
                assert_eq!(self.run(&graph, isa, threads), self.root, "{level}, {threads} threads");
            }
        }
    }
}

fn sgd(learning_rate: f32) -> Optimizer {
    Optimizer::Sgd {
        learning_rate,
        momentum: 0.9,
        weight_decay: 0.001,
        nesterov: true,
    }
}

fn adam(decoupled: bool) -> Optimizer {
    Optimizer::Adam {
        learning_rate: 0.003,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.01,
        decoupled,
    }
}

fn cosine() -> Schedule {
    Schedule {
        warmup: 5,
        decay: Decay::Cosine { steps: 50, floor: 0.1 },
    }
}

fn perceptron(task: Task, root: &'static str) {
    let spec = MlpSpec {
        sample: vec![37],
        hidden: vec![29, 19],
        classes: 5,
        seed: 1,
    };
    let case = Case {
        model: mlp(&spec).unwrap(),
        task,
        batch: 13,
        vocabulary: None,
        classes: 5,
        root,
    };
    case.check();
}

#[test]
fn a_perceptron_with_smoothed_cross_entropy() {
    let decay = Decay::Step { every: 10, factor: 0.7 };
    let task = Task {
        label_smoothing: 0.1,
        schedule: Schedule { warmup: 0, decay },
        ..Task::new(Loss::CrossEntropy, sgd(0.05))
    };
    perceptron(task, "ff8b815b9b930a3e9af70af2e3d87c77689ba2dab123ee361a887231f29dd999");
}

#[test]
fn a_perceptron_with_binary_cross_entropy() {
    perceptron(
        Task::new(Loss::BceWithLogits, adam(false)),
        "920cea127570aa37852e52eccce77822d9a9fdfee2be26d3d93bbfb79cb09bb7",
    );
}

#[test]
fn a_perceptron_with_squared_error() {
    perceptron(
        Task::new(Loss::Mse, sgd(0.01)),
        "4f23e074a288294c7403d23c01f5219e8dc6a43f9dbb97e320fe696c6dfb319b",
    );
}

#[test]
fn a_convolutional_network() {
    let spec = CnnSpec {
        sample: [1, 28, 28],
        filters: vec![4, 8],
        kernel: 3,
        hidden: vec![32],
        classes: 10,
        seed: 2,
    };
    let case = Case {
        model: cnn(&spec).unwrap(),
        task: Task {
            schedule: cosine(),
            clip_norm: 0.5,
            ..Task::new(Loss::CrossEntropy, adam(false))
        },
        batch: 5,
        vocabulary: None,
        classes: 10,
        root: "a38be2d8a39f1913ec4ceff3a2cf805a9d301bf67eb81f0f666da687ae2ffe64",
    };
    case.check();
}

/// An export with batch normalisation, dropout, tanh and both poolings.
#[test]
fn an_export() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports/net_training.onnx");
    let case = Case {
        model: fs::read(path).unwrap(),
        task: Task {
            clip_norm: 1.0,
            ..Task::new(Loss::CrossEntropy, adam(true))
        },
        batch: 7,
        vocabulary: None,
        classes: 3,
        root: "86c1bd2cab7caf4991633d3b28fdc5e1a3bc563efe1be011185ba27f42d4660b",
    };
    case.check();
}

#[test]
fn a_residual_network() {
    let spec = ResNetSpec {
        widths: vec![4, 8, 16],
        ..ResNetSpec::default()
    };
    let case = Case {
        model: resnet(&spec).unwrap(),
        task: Task {
            schedule: cosine(),
            ..Task::new(Loss::CrossEntropy, sgd(0.05))
        },
        batch: 3,
        vocabulary: None,
        classes: 10,
        root: "4f819cb7770f52072c27f45852015fe4dbb540f6b09ec73b4b818b28f6ba1d0a",
    };
    case.check();
}

#[test]
fn a_transformer() {
    let spec = TransformerSpec {
        vocabulary: 31,
        context: 12,
        width: 24,
        heads: 3,
        layers: 2,
        causal: true,
        seed: 3,
    };
    let case = Case {
        model: transformer(&spec).unwrap(),
        task: Task {
            schedule: cosine(),
            clip_norm: 1.0,
            ..Task::new(Loss::CrossEntropy, adam(true))
        },
        batch: 3,
        vocabulary: Some(31),
        classes: 31,
        root: "c432db300d510c6e39892c1de27bbe4ea85b2bbdef86ed210f92b28739682fb6",
    };
    case.check();
}
