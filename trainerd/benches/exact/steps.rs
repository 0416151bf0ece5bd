//! Whole steps of training.

use trainyard_exact::kernels::Isa;
use trainyard_exact::model::{CnnSpec, MlpSpec, ResNetSpec, TransformerSpec, cnn, mlp, resnet, transformer};
use trainyard_exact::onnx::{Graph, Limits, decode};
use trainyard_exact::task::{Loss, Optimizer, Task};
use trainyard_trainerd::engine::{Device, Engine, Exact, LibTorch};

use crate::{Bench, Row, on};

/// A model, and what a step of it is.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) graph: Graph,
    pub(crate) task: Task,
    pub(crate) batch: usize,
}

/// The models that are measured: 28×28 grey images, 32×32 colour images, 128 bytes of text.
pub(crate) fn models() -> [Model; 4] {
    let sgd = Optimizer::Sgd {
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 0.0,
        nesterov: false,
    };
    let adamw = Optimizer::Adam {
        learning_rate: 0.0001,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        decoupled: true,
    };
    [
        ("MLP", mlp(&MlpSpec::default()), sgd, 64),
        ("MNIST CNN", cnn(&CnnSpec::default()), sgd, 64),
        ("ResNet-8", resnet(&ResNetSpec::default()), sgd, 32),
        ("transformer", transformer(&TransformerSpec::default()), adamw, 4),
    ]
    .map(|(name, file, optimizer, batch)| Model {
        name,
        graph: decode(&file.expect("it can be written"), &Limits::default()).expect("it decodes"),
        task: Task::new(Loss::CrossEntropy, optimizer),
        batch,
    })
}

impl Model {
    /// Samples, and a label for each row of the output.
    pub(crate) fn batch(&self) -> (Vec<f32>, Vec<i64>) {
        let tokens = self.graph.output_shape.len() == 3;
        let count = self.batch * self.graph.sample.iter().product::<usize>();
        let value = |i: usize| {
            if tokens {
                (i * 37 % 251) as f32
            } else {
                (i * 37 % 101) as f32 / 101.0
            }
        };
        let rows = &self.graph.output_shape[..self.graph.output_shape.len() - 1];
        let rows: usize = rows.iter().map(|dim| dim.with_batch(self.batch)).product();
        (
            (0..count).map(value).collect(),
            (0..rows).map(|i| (i * 7 % 10) as i64).collect(),
        )
    }

    pub(crate) fn exact(&self, threads: usize) -> Exact {
        Exact::new(self.graph.clone(), self.task, self.batch, Isa::best(), threads).expect("it has a program")
    }

    pub(crate) fn libtorch(&self) -> LibTorch {
        LibTorch::new(self.graph.clone(), self.task, Device::Cpu).expect("it suits the graph")
    }
}

pub(crate) fn run(bench: &mut Bench, threads: usize, wanted: &dyn Fn(&str) -> bool) {
    tch::set_num_threads(i32::try_from(threads).expect("it is small"));
    for model in models() {
        let name = format!("step {} batch {}, {}", model.name, model.batch, on(threads));
        if !wanted(&name) {
            continue;
        }
        let (mut ours, mut peer) = (model.exact(threads), model.libtorch());
        let (samples, labels) = model.batch();
        let [ours, peer, best] = bench.pair(
            || {
                ours.step(&samples, &labels, 1, 1).expect("it trains");
            },
            || {
                peer.step(&samples, &labels, 1, 1).expect("it trains");
            },
        );
        let row = Row {
            name,
            unit: "ms",
            ours: 1e3 * ours,
            peer: Some(1e3 * peer),
        };
        bench.note(row, &format!("best {best:.2}"));
    }
}
