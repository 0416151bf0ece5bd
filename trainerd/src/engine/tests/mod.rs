use std::collections::BTreeSet;

use trainyard_exact::onnx::{Binary, Dim, Graph, Node, Op, Reduction, Source, Unary, Window};
use trainyard_exact::prf::{Stream, Tag};
use trainyard_exact::task::{Loss, Optimizer, Task};
use trainyard_exact::{Tensor, Weights};

use super::*;

mod agreement;
mod learning;
mod operators;
mod training;

const PLAIN: Optimizer = Optimizer::Sgd {
    learning_rate: 1.0,
    momentum: 0.0,
    weight_decay: 0.0,
    nesterov: false,
};

/// One thread, so that no other test can change the bits.
fn engine(graph: &Graph, loss: Loss, optimizer: Optimizer) -> LibTorch {
    libtorch::set_threads(1);
    LibTorch::new(graph.clone(), Task::new(loss, optimizer), Device::Cpu).unwrap()
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
        pads_begin: pads,
        pads_end: pads,
        dilations,
    }
}

fn reduce(kind: Reduction, axes: &[usize]) -> Op {
    Op::Reduce {
        kind,
        axes: axes.to_vec(),
    }
}

/// x (N, 2, 4, 5) scaled by a weight, then `op`, then three logits: the gradient of the scale passes through `op`.
fn through(op: Op, shape: &[usize]) -> Graph {
    let mut sketch = Sketch::new(&[2, 4, 5]);
    let scale = sketch.weight("scale", &[2, 4, 5]);
    let scaled = sketch.node(Op::Binary(Binary::Mul), vec![Source::Input, scale], &[2, 4, 5]);
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
        Op::Binary(_) => {
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
