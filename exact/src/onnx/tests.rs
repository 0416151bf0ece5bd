use proptest::prelude::*;
use prost::Message as _;
use prost::bytes::Bytes;

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_proto::{DataLocation, DataType};
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, ExternalData, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use super::*;

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("/{output}")),
        op_type: Some(operator.to_owned()),
        attribute,
        domain: None,
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    let kind = Some(AttributeType::Ints as i32);
    AttributeProto {
        name: Some(name.to_owned()),
        ints: ints.to_vec(),
        r#type: kind,
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        ..AttributeProto::default()
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        f: Some(value),
        ..AttributeProto::default()
    }
}

fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>().clamp(0, 10_000);
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(DataType::Float as i32),
        float_data: (0..count).map(|i| i as f32).collect(),
        name: Some(name.to_owned()),
        ..TensorProto::default()
    }
}

fn integers(name: &str, dims: &[i64], data: &[i64]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(DataType::Int64 as i32),
        int64_data: data.to_vec(),
        name: Some(name.to_owned()),
        ..TensorProto::default()
    }
}

/// A value of these dimensions; −1 stands for a named one.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |size: &i64| Dimension {
        value: Some(if *size == -1 {
            dimension::Value::DimParam("N".to_owned())
        } else {
            dimension::Value::DimValue(*size)
        }),
    };
    let shape = Some(TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    });
    let kind = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape,
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(kind),
        }),
    }
}

fn model(sample: &[i64], initializer: Vec<TensorProto>, nodes: Vec<NodeProto>) -> ModelProto {
    let input: Vec<i64> = std::iter::once(-1).chain(sample.iter().copied()).collect();
    ModelProto {
        ir_version: Some(8),
        graph: Some(GraphProto {
            node: nodes,
            name: Some("g".to_owned()),
            initializer,
            input: vec![value("x", &input)],
            output: vec![value("y", &[-1])],
        }),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(17),
        }],
        ..ModelProto::default()
    }
}

/// x (N, 4) · w (4, 3).
fn linear() -> ModelProto {
    model(
        &[4],
        vec![tensor("w", &[4, 3])],
        vec![node("MatMul", &["x", "w"], "y", vec![])],
    )
}

fn decoded(model: &ModelProto) -> Result<Graph, Error> {
    decode(&model.encode_to_vec(), &Limits::default())
}

fn refused(model: &ModelProto) -> String {
    decoded(model).unwrap_err().to_string()
}

/// The shape of the output of nodes after which a matrix product with `w` (inner dimension `width`) follows.
fn shape_before_matmul(
    sample: &[i64],
    mut initializer: Vec<TensorProto>,
    mut nodes: Vec<NodeProto>,
    width: i64,
) -> Result<Graph, Error> {
    initializer.push(tensor("w", &[width, 2]));
    nodes.push(node("MatMul", &["z", "w"], "y", vec![]));
    decoded(&model(sample, initializer, nodes))
}

#[test]
fn a_linear_model_decodes() {
    let graph = decoded(&linear()).unwrap();
    assert_eq!(
        (graph.input.as_str(), &graph.sample[..], &graph.output),
        ("x", &[4][..], &Source::Node(0))
    );
    assert_eq!(graph.output_shape, [Dim::Batch, Dim::Fixed(3)]);
    assert_eq!(graph.nodes[0].inputs, [Source::Input, Source::Weight("w".to_owned())]);
    assert_eq!((graph.macs(), graph.parameter_count()), (12, 12));
    assert_eq!(graph.weights["w"].data()[11], 11.0);
}

#[test]
fn nodes_are_sorted_and_dead_ones_dropped() {
    let nodes = vec![
        node("Relu", &["b"], "y", vec![]),
        node("Tanh", &["a"], "dead", vec![]),
        node("MatMul", &["x", "w"], "a", vec![]),
        node("Identity", &["a"], "same", vec![]),
        node("Sigmoid", &["same"], "b", vec![]),
    ];
    let graph = decoded(&model(&[4], vec![tensor("w", &[4, 3]), tensor("unused", &[5])], nodes)).unwrap();
    let order: Vec<(usize, &str)> = graph
        .nodes
        .iter()
        .map(|node| (node.index, node.operator.as_str()))
        .collect();
    assert_eq!(order, [(2, "MatMul"), (4, "Sigmoid"), (0, "Relu")]);
    assert_eq!(graph.nodes[1].inputs, [Source::Node(0)]);
    assert_eq!(graph.output, Source::Node(2));
    assert_eq!(graph.weights.len(), 1);
}

#[test]
fn reshape_chains_are_evaluated() {
    // x.view(x.size(0), -1), as PyTorch traces it.
    let nodes = vec![
        node("Shape", &["x"], "shape", vec![]),
        node("Gather", &["shape", "zero"], "n", vec![int("axis", 0)]),
        node("Unsqueeze", &["n", "axes"], "n1", vec![]),
        node("Concat", &["n1", "minus"], "target", vec![int("axis", 0)]),
        node("Reshape", &["x", "target"], "z", vec![]),
    ];
    let constants = vec![
        integers("zero", &[], &[0]),
        integers("axes", &[1], &[0]),
        integers("minus", &[1], &[-1]),
    ];
    let graph = shape_before_matmul(&[2, 3, 4], constants, nodes, 24).unwrap();
    assert_eq!(graph.nodes.len(), 2);
    assert_eq!(graph.nodes[0].shape, [Dim::Batch, Dim::Fixed(24)]);
    // x.view(-1, x.size(1) * x.size(2), 4)
    let nodes = vec![
        node("Shape", &["x"], "shape", vec![]),
        node("Slice", &["shape", "one", "three"], "dims", vec![]),
        node("ReduceProd", &["dims"], "six", vec![int("keepdims", 0)]),
        node("Unsqueeze", &["six", "zero"], "list", vec![]),
        node("Concat", &["minus", "list", "four"], "target", vec![int("axis", 0)]),
        node("Reshape", &["x", "target"], "z", vec![]),
    ];
    let constants = [("zero", 0), ("minus", -1), ("one", 1), ("three", 3), ("four", 4)];
    let constants = constants.map(|(name, value)| integers(name, &[1], &[value])).to_vec();
    let graph = shape_before_matmul(&[2, 3, 4], constants, nodes, 4).unwrap();
    assert_eq!(graph.nodes[0].shape, [Dim::Batch, Dim::Fixed(6), Dim::Fixed(4)]);
}

#[test]
fn reshape_keeps_the_batch_apart() {
    let target = |dims: &[i64]| {
        let constants = vec![integers("t", &[dims.len() as i64], dims)];
        shape_before_matmul(&[2, 6], constants, vec![node("Reshape", &["x", "t"], "z", vec![])], 12)
            .map(|graph| shapes::show(&graph.nodes[0].shape))
            .map_err(|error| error.to_string())
    };
    assert_eq!(target(&[-1, 12]).unwrap(), "(N, 12)");
    assert_eq!(target(&[0, -1]).unwrap(), "(N, 12)");
    assert_eq!(target(&[0, 1, 12]).unwrap(), "(N, 1, 12)");
    for (dims, why) in [
        (&[-1, 6][..], "the batch must stay a dimension of its own"),
        (&[12, -1], "the batch must stay where it is"),
        (&[0, 5], "the number of elements differs"),
        (&[0, -1, 5], "the number of elements differs"),
        (&[0, -1, -1], "more than one dimension is -1"),
        (&[0, -2], "dimensions must be positive"),
        (&[0, 1, 1, 0], "a 0 copies a dimension that does not exist"),
        (&[0, i64::MAX, i64::MAX], "more than 2^64 elements"),
    ] {
        let error = target(dims).unwrap_err();
        assert!(
            error.contains(why) && error.contains("node 0 \"/z\""),
            "{dims:?}: {error}"
        );
    }
}

#[test]
fn an_export_with_a_fixed_batch_is_understood() {
    let mut fixed = model(
        &[2, 6],
        vec![tensor("w", &[12, 2]), integers("t", &[2], &[5, 12])],
        vec![
            node("Reshape", &["x", "t"], "z", vec![]),
            node("MatMul", &["z", "w"], "y", vec![]),
        ],
    );
    assert!(refused(&fixed).contains("the batch must stay"));
    fixed.graph.as_mut().unwrap().input = vec![value("x", &[5, 2, 6])];
    assert_eq!(decoded(&fixed).unwrap().output_shape, [Dim::Batch, Dim::Fixed(2)]);
}

#[test]
fn shapes_of_layout_operators() {
    let cases: Vec<(NodeProto, &str, i64)> = vec![
        (node("Flatten", &["x"], "z", vec![]), "(N, 12)", 12),
        (
            node("Transpose", &["x"], "z", vec![ints("perm", &[0, 2, 1])]),
            "(N, 4, 3)",
            3,
        ),
        (node("Unsqueeze", &["x", "one"], "z", vec![]), "(N, 1, 3, 4)", 4),
        (
            node("Unsqueeze", &["x"], "z", vec![ints("axes", &[1])]),
            "(N, 1, 3, 4)",
            4,
        ),
        (
            node("ReduceMean", &["x", "one"], "z", vec![int("keepdims", 0)]),
            "(N, 4)",
            4,
        ),
        (
            node("ReduceMean", &["x"], "z", vec![ints("axes", &[-2])]),
            "(N, 1, 4)",
            4,
        ),
        (node("Softmax", &["x"], "z", vec![]), "(N, 3, 4)", 4),
        (node("Clip", &["x"], "z", vec![float("max", 6.0)]), "(N, 3, 4)", 4),
        (node("Dropout", &["x"], "z", vec![float("ratio", 0.1)]), "(N, 3, 4)", 4),
    ];
    for (node, expected, width) in cases {
        let operator = node.op_type().to_owned();
        let graph = shape_before_matmul(&[3, 4], vec![integers("one", &[1], &[1])], vec![node], width).unwrap();
        assert_eq!(shapes::show(&graph.nodes[0].shape), expected, "{operator}");
    }
}

#[test]
fn shapes_and_cost_of_convolution_and_pooling() {
    let conv = vec![
        ints("strides", &[2, 1]),
        ints("pads", &[1, 0, 1, 0]),
        ints("dilations", &[1, 2]),
        int("group", 2),
    ];
    let nodes = vec![
        node("Conv", &["x", "k", "b"], "c", conv),
        node(
            "BatchNormalization",
            &["c", "b", "b2", "m", "v"],
            "n",
            vec![float("momentum", 0.8)],
        ),
        node(
            "MaxPool",
            &["n"],
            "p",
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        ),
        node("AveragePool", &["p"], "a", vec![ints("kernel_shape", &[2, 1])]),
        node("GlobalAveragePool", &["a"], "g", vec![]),
        node("Flatten", &["g"], "z", vec![]),
    ];
    let weights = vec![
        tensor("k", &[6, 2, 3, 3]),
        tensor("b", &[6]),
        tensor("b2", &[6]),
        tensor("m", &[6]),
        tensor("v", &[6]),
    ];
    let graph = shape_before_matmul(&[4, 11, 14], weights, nodes, 6).unwrap();
    let found: Vec<String> = graph.nodes.iter().map(|node| shapes::show(&node.shape)).collect();
    assert_eq!(
        found[..5],
        [
            "(N, 6, 6, 10)",
            "(N, 6, 6, 10)",
            "(N, 6, 3, 5)",
            "(N, 6, 2, 5)",
            "(N, 6, 1, 1)"
        ]
    );
    assert_eq!(graph.macs(), 6 * 6 * 10 * (2 * 9) + 12);
    let buffers: Vec<&str> = graph.buffers.iter().map(String::as_str).collect();
    assert_eq!(buffers, ["m", "v"]);
    assert_eq!(graph.parameters().count(), 4);
}

#[test]
fn what_cannot_be_trained_is_named() {
    let one = |node| refused(&model(&[4], vec![tensor("w", &[4, 3])], vec![node]));
    let image = |node| refused(&model(&[4, 8, 8], vec![tensor("w", &[4, 4, 3, 3])], vec![node]));
    let conv = |attributes| image(node("Conv", &["x", "w"], "y", attributes));
    let pool = |attributes| image(node("MaxPool", &["x"], "y", attributes));
    let mut custom = node("FusedConv", &["x"], "y", vec![]);
    custom.domain = Some("com.vendor".to_owned());
    let mut second = linear();
    second.graph.as_mut().unwrap().node[0].output.push("extra".to_owned());
    second.graph.as_mut().unwrap().output = vec![value("extra", &[-1])];
    let table = [
        (
            one(node("LSTM", &["x"], "y", vec![])),
            "node 0 \"/y\": the operator \"LSTM\" is not supported",
        ),
        (one(custom), "the operator \"com.vendor.FusedConv\" is not supported"),
        (
            one(node("MatMul", &["x", "nowhere"], "y", vec![])),
            "its input \"nowhere\" is neither",
        ),
        (
            one(node("MatMul", &["x"], "y", vec![])),
            "MatMul: its input 1 is missing",
        ),
        (one(node("MatMul", &["x", "x"], "y", vec![])), "the inner dimension"),
        (
            one(node("Relu", &["x", "w"], "y", vec![])),
            "it has 2 inputs, at most 1",
        ),
        (
            one(node("Relu", &["x"], "y", vec![int("axis", 1)])),
            "the attribute \"axis\" is not known",
        ),
        (
            one(node("Softmax", &["x"], "y", vec![int("axis", 2)])),
            "axis 2 is outside the 2 dimensions",
        ),
        (
            one(node("Softmax", &["x"], "y", vec![int("axis", i64::MIN)])),
            "axis -9223372036854775808 is outside",
        ),
        (
            one(node("Softmax", &["x"], "y", vec![int("axis", 0)])),
            "is the batch size",
        ),
        (
            one(node("Softmax", &["x"], "y", vec![int("axis", 1), int("axis", 1)])),
            "\"axis\" is given twice",
        ),
        (
            one(node("Softmax", &["x"], "y", vec![float("axis", 1.0)])),
            "\"axis\" is not an integer",
        ),
        (
            one(node("Dropout", &["x"], "y", vec![float("ratio", 1.0)])),
            "its ratio is 1,",
        ),
        (
            one(node("Clip", &["x"], "y", vec![float("min", f32::NAN)])),
            "the attribute \"min\" is NaN",
        ),
        (
            one(node("Transpose", &["x"], "y", vec![ints("perm", &[0, 0])])),
            "no permutation",
        ),
        (
            one(node("Transpose", &["x"], "y", vec![])),
            "its first dimension must be the batch",
        ),
        (
            one(node("Add", &["x", "w"], "y", vec![])),
            "shapes (N, 4) and (4, 3) do not broadcast",
        ),
        (
            one(node("Gemm", &["x", "w"], "y", vec![int("transB", 1)])),
            "the inner dimensions 4 and 3 differ",
        ),
        (
            one(node("Reshape", &["x", "w"], "y", vec![])),
            "expected a constant integer tensor",
        ),
        (one(node("Relu", &["x"], "y", vec![])), "no parameters to train"),
        (
            conv(vec![ints("pads", &[1, 1, 2, 1])]),
            "the padding [1, 1, 2, 1] differs",
        ),
        (conv(vec![ints("strides", &[0, 1])]), "must be at least 1"),
        (
            conv(vec![ints("strides", &[-1, 1])]),
            "\"strides\" is [-1, 1], expected 2 numbers",
        ),
        (
            conv(vec![ints("dilations", &[9, 9])]),
            "does not fit an image of [8, 8]",
        ),
        (conv(vec![ints("dilations", &[i64::MAX, 1])]), "does not fit an image"),
        (conv(vec![ints("pads", &[i64::MAX; 4])]), "does not fit an image"),
        (conv(vec![ints("pads", &[1 << 16; 4])]), "for one sample"),
        (conv(vec![int("group", 0)]), "group is 0"),
        (
            conv(vec![int("group", 3)]),
            "4 channels, its weight has shape (4, 4, 3, 3), with 3 groups",
        ),
        (
            conv(vec![ints("kernel_shape", &[5, 5])]),
            "kernel_shape [5, 5] differs from its weight's",
        ),
        (pool(vec![]), "no kernel_shape"),
        (pool(vec![ints("kernel_shape", &[0, 2])]), "must be at least 1"),
        (
            pool(vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 1)]),
            "ceil_mode 1",
        ),
        (
            pool(vec![ints("kernel_shape", &[2, 2]), ints("pads", &[2; 4])]),
            "more than half of the kernel",
        ),
        (
            image(node("GlobalAveragePool", &["w"], "y", vec![])),
            "its first dimension must be the batch",
        ),
        (refused(&second), "does not depend on the input"),
    ];
    for (error, expected) in table {
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}

#[test]
fn hostile_files_are_refused() {
    let with = |change: fn(&mut GraphProto)| {
        let mut hostile = linear();
        change(hostile.graph.as_mut().unwrap());
        refused(&hostile)
    };
    let weight = |change: fn(&mut TensorProto)| {
        let mut hostile = linear();
        change(&mut hostile.graph.as_mut().unwrap().initializer[0]);
        refused(&hostile)
    };
    let opset = |version| {
        let mut hostile = linear();
        hostile.opset_import[0].version = Some(version);
        refused(&hostile)
    };
    let mut empty = linear();
    empty.graph = None;
    let table = [
        (refused(&empty), "the file has no graph"),
        (opset(3), "operator set 3 is not supported"),
        (opset(i64::MAX), "operator set 9223372036854775807 is not supported"),
        (
            with(|g| g.node[0].input[0] = "y".into()),
            "node 0 \"/y\": it is part of a cycle",
        ),
        (
            with(|g| g.node = vec![node("Relu", &["b"], "a", vec![]), node("Relu", &["a"], "b", vec![])]),
            "a cycle",
        ),
        (
            with(|g| g.node.push(node("Relu", &["x"], "y", vec![]))),
            "its output \"y\" is already the name",
        ),
        (
            with(|g| g.node.push(node("Relu", &["x"], "w", vec![]))),
            "its output \"w\" is already the name",
        ),
        (with(|g| g.node[0].output.clear()), "it has no output"),
        (
            with(|g| g.initializer.push(tensor("w", &[1]))),
            "tensor \"w\": the name is given to two initializers",
        ),
        (
            with(|g| g.initializer[0].name = Some("opt/m".into())),
            "tensor \"opt/m\": the name is reserved",
        ),
        (
            with(|g| g.initializer[0].name = Some("w".repeat(513))),
            "the length of a name in bytes is 513",
        ),
        (
            with(|g| g.node[0].name = Some("n".repeat(600))),
            "the length of a name in bytes is 600",
        ),
        (with(|g| g.input.push(value("x2", &[-1, 3]))), "the graph has 2 inputs"),
        (with(|g| g.input.clear()), "the graph has 0 inputs"),
        (with(|g| g.input = vec![value("x", &[])]), "is a scalar"),
        (
            with(|g| g.input = vec![value("x", &[-1, -1])]),
            "the variable dimension \"N\"; only the first may vary",
        ),
        (with(|g| g.input = vec![value("x", &[-1, -7])]), "has a dimension of -7"),
        (with(|g| g.input = vec![value("x", &[-1, 0])]), "has a dimension of 0"),
        (
            with(|g| g.input = vec![value("x", &[-1, i64::MAX])]),
            "has a dimension of 9223372036854775807",
        ),
        (with(|g| g.input = vec![value("x", &[-5, 4])]), "has the batch size -5"),
        (
            with(|g| g.input = vec![value("x", &[-1, 1 << 20, 1 << 20])]),
            "is 1099511627776, the limit is 268435456",
        ),
        (
            with(|g| g.input = vec![value("x", &[-1, 1, 1, 1, 1, 1, 1, 1, 1])]),
            "the rank of the input is 9",
        ),
        (
            with(|g| g.input[0].r#type = None),
            "the input \"x\" has no tensor shape",
        ),
        (with(|g| g.output.clear()), "the graph has 0 outputs"),
        (
            with(|g| g.output[0].name = Some("q".into())),
            "the output \"q\" is never computed",
        ),
        (weight(|w| w.dims = vec![4, -3]), "a dimension is negative: [4, -3]"),
        (
            weight(|w| w.dims = vec![1 << 40, 1]),
            "a dimension is 1099511627776, the limit is 268435456",
        ),
        (
            weight(|w| w.dims = vec![1 << 28, 1 << 28, 1 << 28]),
            "has more than 2^64 elements",
        ),
        (
            weight(|w| w.dims = vec![1 << 20, 1 << 20]),
            "the graph has 1099511627776 f32 elements, the limit is 67108864",
        ),
        (weight(|w| w.dims = vec![1; 9]), "its rank is 9, the limit is 8"),
        (weight(|w| w.dims = vec![0, 3]), "it has no elements"),
        (
            weight(|w| w.dims = vec![4, 4]),
            "shape [4, 4] needs 16 elements, found 12",
        ),
        (
            weight(|w| w.raw_data = Some(Bytes::from_static(&[0; 47]))),
            "needs 48 bytes, found 47",
        ),
        (weight(|w| w.float_data[7] = f32::NAN), "tensor \"w\": element 7 is NaN"),
        (weight(|w| w.float_data[0] = f32::NEG_INFINITY), "element 0 is -inf"),
        (
            weight(|w| w.data_location = Some(DataLocation::External as i32)),
            "its data is in another file",
        ),
        (
            weight(|w| {
                let place = ExternalData {
                    key: Some("location".into()),
                    value: Some("../../etc/passwd".into()),
                };
                w.external_data = vec![place];
            }),
            "its data is in another file (\"../../etc/passwd\")",
        ),
        (
            weight(|w| w.data_type = Some(DataType::Double as i32)),
            "a tensor of type DOUBLE",
        ),
        (weight(|w| w.data_type = Some(99)), "a tensor of type 99"),
    ];
    for (error, expected) in table {
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}

#[test]
fn a_million_nodes_cost_nothing() {
    let mut bytes = Vec::new();
    for _ in 0..1_000_000 {
        bytes.extend([0x0a, 0]);
    }
    let mut file = vec![0x3a];
    prost::encoding::encode_varint(bytes.len() as u64, &mut file);
    file.extend(&bytes);
    let error = decode(&file, &Limits::default()).unwrap_err().to_string();
    assert_eq!(error, "the number of nodes is 10001, the limit is 10000");
    // The same flood as attributes, opset entries and packed integers.
    let flood = |prefix: &[u8]| {
        let mut file = prefix.to_vec();
        prost::encoding::encode_varint(bytes.len() as u64, &mut file);
        file.extend(bytes.iter().map(|byte| if *byte == 0x0a { 0x2a } else { 0 }));
        decode(&file, &Limits::default()).unwrap_err().to_string()
    };
    assert_eq!(
        flood(&[0x3a]),
        "the number of initializers is 10001, the limit is 10000"
    );
    let opsets = [0x42, 0].repeat(1_000_000);
    let error = decode(&opsets, &Limits::default()).unwrap_err().to_string();
    assert!(error.starts_with("the number of fields is 500001"), "{error}");
    let small = Limits {
        bytes: 10,
        ..Limits::default()
    };
    let error = decode(&linear().encode_to_vec(), &small).unwrap_err().to_string();
    assert!(
        error.starts_with("the size of the file in bytes is ") && error.ends_with("the limit is 10"),
        "{error}"
    );
}

#[test]
fn malformed_bytes_are_refused() {
    let whole = linear().encode_to_vec();
    assert!(decode(&whole, &Limits::default()).is_ok());
    for cut in 0..whole.len() {
        assert!(
            decode(&whole[..cut], &Limits::default()).is_err(),
            "the first {cut} bytes passed"
        );
    }
    for (bytes, expected) in [
        (&b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], "truncated"),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            "a varint is longer than 10 bytes",
        ),
        (b"\x0b\x0c", "wire type 3"),
        (b"not an onnx file", "not an ONNX file"),
    ] {
        let error = decode(bytes, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0usize..100_000, flips in prop::collection::vec((0usize..100_000, any::<u8>()), 1..4), cut: bool) {
        let spec = crate::model::CnnSpec { sample: [1, 4, 4], filters: vec![2], hidden: vec![3], classes: 2, ..Default::default() };
        let mut bytes = crate::model::cnn(&spec).unwrap();
        let length = bytes.len();
        for (position, byte) in flips {
            bytes[position % length] = byte;
        }
        if cut {
            bytes.truncate(at % length);
        }
        let _ = decode(&bytes, &Limits::default());
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &Limits::default());
    }

    #[test]
    fn integers_in_attributes_never_panic(values in prop::collection::vec(prop_oneof![any::<i64>(), -3i64..9], 0..6), operator in 0usize..9) {
        let attribute = |name: &str| ints(name, &values);
        let one = *values.first().unwrap_or(&0);
        let shape = integers("s", &[values.len() as i64], &values);
        let tested = match operator {
            0 => node("Conv", &["x", "k"], "z", vec![attribute("pads"), attribute("strides"), attribute("dilations")]),
            1 => node("MaxPool", &["x"], "z", vec![attribute("kernel_shape"), ints("pads", &[one; 4])]),
            2 => node("AveragePool", &["x"], "z", vec![attribute("kernel_shape"), ints("strides", &[one; 2])]),
            3 => node("Reshape", &["x", "s"], "z", vec![]),
            4 => node("Transpose", &["x"], "z", vec![attribute("perm")]),
            5 => node("Squeeze", &["x", "s"], "z", vec![]),
            6 => node("Unsqueeze", &["x", "s"], "z", vec![]),
            7 => node("ReduceMean", &["x", "s"], "z", vec![]),
            _ => node("Flatten", &["x"], "z", vec![int("axis", one)]),
        };
        let _ = shape_before_matmul(&[4, 6, 6], vec![tensor("k", &[2, 4, 3, 3]), shape], vec![tested], 4);
    }
}
