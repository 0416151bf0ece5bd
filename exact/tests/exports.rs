//! Files exported by PyTorch (see `exports/export.py`) decode, by either exporter. That an engine computes what PyTorch
//! does is tested where the engines are.

use std::fs;
use std::path::Path;

use trainyard_exact::onnx::{Dim, Graph, Limits, decode};

fn export(name: &str) -> Graph {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/exports")
        .join(name)
        .with_extension("onnx");
    decode(&fs::read(path).unwrap(), &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn operators(graph: &Graph) -> String {
    graph
        .nodes
        .iter()
        .map(|node| node.operator.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn both_exporters_give_the_same_network() {
    let inference = "Conv Relu MaxPool Conv Clip AveragePool Reshape Gemm Tanh Gemm Mul";
    let training = "Conv BatchNormalization Relu MaxPool Conv Clip AveragePool Reshape Gemm Tanh Dropout Gemm Mul";
    // Multiply-accumulates: two convolutions and two fully connected layers.
    let macs = 4 * 14 * 14 * 9 + 6 * 3 * 3 * 18 + 24 * 8 + 8 * 3;
    for (name, expected) in [
        ("net_script", inference),
        ("net_fixed", inference),
        ("net_dynamo", inference),
        ("net_training", training),
    ] {
        let graph = export(name);
        assert_eq!(operators(&graph), expected, "{name}");
        assert_eq!((&graph.sample[..], graph.macs()), (&[1, 14, 14][..], macs), "{name}");
        assert_eq!(graph.output_shape, [Dim::Batch, Dim::Fixed(3)], "{name}");
    }
    let graph = export("net_training");
    let buffers: Vec<&str> = graph.buffers.iter().map(String::as_str).collect();
    assert_eq!(buffers, ["b1.running_mean", "b1.running_var"]);
    assert_eq!(graph.weights.len(), 12);
}

#[test]
fn heads_with_means_and_permutations_decode() {
    for name in ["head_script", "head_fixed", "head_dynamo", "head_training"] {
        let graph = export(name);
        assert!(
            operators(&graph).ends_with("Div Unsqueeze Squeeze Gemm LogSoftmax"),
            "{name}: {}",
            operators(&graph)
        );
        assert_eq!(
            (graph.weights.len(), graph.output_shape),
            (6, vec![Dim::Batch, Dim::Fixed(3)]),
            "{name}"
        );
    }
}
