use super::*;
use crate::onnx::{Dim, Limits, Op, decode};
use sha2::{Digest, Sha256};

#[test]
fn the_default_cnn_is_what_it_says() {
    let graph = decode(&cnn(&CnnSpec::default()).unwrap(), &Limits::default()).unwrap();
    assert_eq!((graph.input.as_str(), &graph.sample[..]), ("input", &[1, 28, 28][..]));
    assert_eq!(graph.output_shape, [Dim::Batch, Dim::Fixed(10)]);
    let operators: Vec<&str> = graph.nodes.iter().map(|node| node.operator.as_str()).collect();
    let block = ["Conv", "Relu", "MaxPool"];
    assert_eq!(
        operators,
        [&block[..], &block, &["Flatten", "Gemm", "Relu", "Gemm"]].concat()
    );
    let conv = |out: u64, depth: u64, size: u64| out * depth * 9 * size * size;
    assert_eq!(graph.macs(), conv(16, 1, 28) + conv(32, 16, 14) + 1568 * 128 + 128 * 10);
    assert_eq!(graph.parameter_count(), 160 + 4640 + 200_832 + 1290);
    assert!(graph.buffers.is_empty());
    let bound = (6f32 / 1568.0).sqrt();
    let weight = &graph.weights["fc1.weight"];
    assert!(weight.data().iter().all(|value| value.abs() <= bound));
    let mean = weight.data().iter().map(|value| f64::from(*value)).sum::<f64>() / 200_704.0;
    assert!(
        mean.abs() < 5.0 * f64::from(bound) / (3f64 * 200_704.0).sqrt(),
        "{mean}"
    );
}

#[test]
fn an_mlp_flattens_only_what_has_several_dimensions() {
    let graph = decode(&mlp(&MlpSpec::default()).unwrap(), &Limits::default()).unwrap();
    assert_eq!((&graph.nodes[0].op, graph.nodes.len()), (&Op::Reshape, 4));
    assert_eq!(graph.nodes[0].shape, [Dim::Batch, Dim::Fixed(784)]);
    let flat = MlpSpec {
        sample: vec![4],
        hidden: vec![],
        classes: 3,
        seed: 0,
    };
    assert_eq!(decode(&mlp(&flat).unwrap(), &Limits::default()).unwrap().nodes.len(), 1);
}

#[test]
fn a_residual_network_is_what_it_says() {
    let graph = decode(&resnet(&ResNetSpec::default()).unwrap(), &Limits::default()).unwrap();
    assert_eq!(
        (&graph.sample[..], &graph.output_shape[..]),
        (&[3, 32, 32][..], &[Dim::Batch, Dim::Fixed(10)][..])
    );
    let count = |operator: &str| graph.nodes.iter().filter(|node| node.operator == operator).count();
    assert_eq!(
        [count("Conv"), count("BatchNormalization"), count("Add"), count("Gemm")],
        [9, 9, 3, 1]
    );
    let stage = |width: u64, size: u64, from: u64| width * size * size * (9 * from + 9 * width + from);
    let macs = 16 * 32 * 32 * 27 + 2 * 16 * 32 * 32 * 144 + stage(32, 16, 16) + stage(64, 8, 32) + 640;
    assert_eq!(graph.macs(), macs);
    assert_eq!((graph.parameter_count(), graph.buffers.len()), (78_042, 18));
    // Halved twice, whatever the number of blocks.
    let deep = ResNetSpec {
        blocks: 3,
        ..ResNetSpec::default()
    };
    let graph = decode(&resnet(&deep).unwrap(), &Limits::default()).unwrap();
    let mut convolutions = graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv { .. }));
    assert_eq!(convolutions.clone().count(), 1 + 18 + 2);
    assert_eq!(convolutions.next_back().unwrap().shape[2..], [Dim::Fixed(8); 2]);
}

#[test]
fn a_transformer_is_what_it_says() {
    let spec = TransformerSpec {
        vocabulary: 11,
        context: 5,
        width: 12,
        heads: 3,
        layers: 2,
        ..Default::default()
    };
    let graph = decode(&transformer(&spec).unwrap(), &Limits::default()).unwrap();
    assert_eq!(graph.output_shape, [Dim::Batch, Dim::Fixed(5), Dim::Fixed(11)]);
    let layer = 12 * 36 + 36 + 12 * 12 + 12 + 2 * 12 * 48 + 60 + 4 * 12;
    assert_eq!(graph.parameter_count(), 16 * 12 + 2 * layer + 24 + 12 * 11);
    assert_eq!(graph.macs(), 2 * (5 * 12 * 12 * 12 + 2 * 5 * 5 * 12) + 5 * 12 * 11);
    // Factor, mask and what is not seen; a model that sees all needs the factor only.
    let open = TransformerSpec {
        causal: false,
        ..spec.clone()
    };
    let open = decode(&transformer(&open).unwrap(), &Limits::default()).unwrap();
    assert_eq!((graph.constants.len(), open.constants.len()), (3, 1));
    assert_eq!(graph.nodes.len(), open.nodes.len() + 2);
    let large = decode(&transformer(&TransformerSpec::default()).unwrap(), &Limits::default()).unwrap();
    assert_eq!(large.output_shape, [Dim::Batch, Dim::Fixed(128), Dim::Fixed(256)]);
}

#[test]
fn bytes_follow_from_the_specification() {
    let seeded = CnnSpec {
        seed: 1,
        ..CnnSpec::default()
    };
    let small = TransformerSpec {
        vocabulary: 11,
        context: 5,
        width: 12,
        heads: 3,
        layers: 2,
        ..Default::default()
    };
    for (bytes, digest) in [
        (
            cnn(&CnnSpec::default()).unwrap(),
            "9ed5a112b9bdd41d7291bbe3a89a1511ece50c8dc4fb2d87171e066bbf60f23e",
        ),
        (
            cnn(&seeded).unwrap(),
            "bb4c0652eccfd32205190eec682cbacee5d6b4761a3dfa851848da10e06df0ef",
        ),
        (
            resnet(&ResNetSpec::default()).unwrap(),
            "7d330565c58084eeb3cf6b1c6a3fcfdc500b3d6c9b6dd23f058556408366cd95",
        ),
        (
            transformer(&small).unwrap(),
            "d5b4cb71a86e1032528384e278051d51673a20410986600dd8e2cd1071bc406f",
        ),
    ] {
        let found: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found, digest);
    }
}

#[test]
fn what_is_no_network_is_refused() {
    let net = |change: fn(&mut ResNetSpec)| {
        let mut spec = ResNetSpec::default();
        change(&mut spec);
        resnet(&spec).unwrap_err().to_string()
    };
    let text = |change: fn(&mut TransformerSpec)| {
        let mut spec = TransformerSpec::default();
        change(&mut spec);
        transformer(&spec).unwrap_err().to_string()
    };
    for (error, expected) in [
        (net(|spec| spec.widths.clear()), "0 stages of 1 blocks"),
        (net(|spec| spec.blocks = 0), "3 stages of 0 blocks"),
        (net(|spec| spec.widths[1] = 0), "[0, 16, 3, 3]"),
        (
            net(|spec| spec.widths = vec![1 << 12; 2]),
            "the number of parameters is",
        ),
        (net(|spec| spec.sample[1] = usize::MAX), "sample has the shape"),
        (
            text(|spec| spec.heads = 3),
            "a width of 256 cannot be divided among 3 heads",
        ),
        (
            text(|spec| spec.heads = 0),
            "the scores of a layer has the shape [0, 128, 128]",
        ),
        (text(|spec| spec.layers = 0), "the stack of layers has the shape [0]"),
        (text(|spec| spec.layers = 1000), "the number of parameters is"),
        (
            text(|spec| spec.context = 1 << 14),
            "the scores of a layer has the shape",
        ),
        (
            text(|spec| spec.vocabulary = 0),
            "the table of tokens has the shape [0, 256]",
        ),
    ] {
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}

#[test]
fn absurd_specifications_are_refused() {
    let cases = [
        (
            CnnSpec {
                sample: [0, 28, 28],
                ..CnnSpec::default()
            },
            "[0, 28, 28]",
        ),
        (
            CnnSpec {
                sample: [1, usize::MAX, 28],
                ..CnnSpec::default()
            },
            "sample has the shape",
        ),
        (
            CnnSpec {
                kernel: 4,
                ..CnnSpec::default()
            },
            "the kernel is 4",
        ),
        (
            CnnSpec {
                filters: vec![1; 5],
                ..CnnSpec::default()
            },
            "the image is 1×1 before pool5",
        ),
        (
            CnnSpec {
                classes: 0,
                ..CnnSpec::default()
            },
            "fc2.weight has the shape [0, 128]",
        ),
        (
            CnnSpec {
                hidden: vec![1 << 17],
                ..CnnSpec::default()
            },
            "the number of parameters is 205",
        ),
    ];
    for (spec, expected) in cases {
        let error = cnn(&spec).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}
