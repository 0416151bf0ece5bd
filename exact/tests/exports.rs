//! Files exported by PyTorch (see `exports/export.py`) decode, by either exporter, and give what PyTorch computed.

use std::fs;
use std::path::Path;

use trainyard_exact::onnx::{Dim, Graph, Limits, decode};
use trainyard_exact::train::Inference;
use trainyard_exact::weights_file::{self, from_safetensors};

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

/// What each exporter makes of one network has these logits, multiply-accumulates and buffers.
fn check(network: &str, logits: &[usize], macs: u64, buffers: usize, weights: [usize; 3]) {
    for (exporter, weights) in ["training", "script", "dynamo"].into_iter().zip(weights) {
        let name = format!("{network}_{exporter}");
        let graph = export(&name);
        let shape: Vec<Dim> = std::iter::once(Dim::Batch)
            .chain(logits.iter().map(|size| Dim::Fixed(*size)))
            .collect();
        assert_eq!((&graph.output_shape, graph.macs()), (&shape, macs), "{name}");
        // Exports for inference have merged the normalisation into convolutions.
        let found = (graph.buffers.len(), graph.weights.len());
        assert_eq!(
            found,
            (if exporter == "training" { buffers } else { 0 }, weights),
            "{name}"
        );
    }
}

#[test]
fn a_residual_network_decodes() {
    let stem = 8 * 8 * 4 * 147;
    let first = 2 * 4 * 4 * 4 * 36;
    let second = 2 * 2 * 8 * (36 + 72 + 4);
    check("resnet", &[5], stem + first + second + 8 * 5, 12, [32, 14, 14]);
}

#[test]
fn transformers_decode() {
    let (tokens, width, vocabulary) = (6, 8, 13);
    let attention = 4 * width * width * tokens + 2 * tokens * tokens * width;
    let gpt = 2 * (attention + 8 * width * width * tokens) + tokens * width * vocabulary;
    // Exports for inference share initializers that are equal, such as the scales of all normalisations.
    check("gpt", &[6, 13], gpt, 0, [29, 21, 21]);
    // The newer one keeps the factor of the scores as an initializer of one element, which is then trained.
    check("flash", &[6, 13], gpt, 0, [29, 21, 22]);
    let bert = attention + 4 * width * width * tokens + width * width + width * 3;
    check("bert", &[3], bert, 0, [25, 21, 21]);
    // A mask that is compared with 0 is not trained.
    let graph = export("gpt_training");
    assert!(
        graph.weights.keys().all(|name| !name.contains("mask")),
        "{:?}",
        graph.weights.keys()
    );
}

#[test]
fn everything_else_decodes() {
    let macs = 64 * 8 * 6 + 13 * 6 * 24 + 12 * 4;
    // The newer exporter adds a scale and a bias to the instance normalisation that a group normalisation is written with.
    check("misc", &[4], macs, 0, [11, 11, 13]);
}

/// The largest difference of a logit from PyTorch's.
const TOLERANCE: f32 = 2e-5;

#[test]
fn inference_computes_what_pytorch_computes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports");
    for network in ["net", "head", "resnet", "gpt", "flash", "bert", "misc"] {
        let file = fs::read(folder.join(format!("{network}.safetensors"))).unwrap();
        let expected = from_safetensors(&file, &weights_file::Limits::default()).unwrap();
        for exporter in ["training", "script", "dynamo"] {
            let name = format!("{network}_{exporter}");
            let graph = export(&name);
            let mut inference = Inference::new(&graph, 5, 1).unwrap();
            let logits = inference.run(&graph.weights, expected["input"].data()).unwrap();
            assert_eq!(logits.len(), expected["logits"].data().len(), "{name}");
            for (ours, theirs) in logits.iter().zip(expected["logits"].data()) {
                assert!((ours - theirs).abs() < TOLERANCE, "{name}: {ours} is not {theirs}");
            }
        }
    }
}
