use super::*;

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
        (&[7, 6][..], "the batch must stay a dimension of its own"),
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
    let error = target(&[-1, 6]).unwrap_err();
    assert!(error.contains("the first 2 dimensions of (N, 2, 6) merged"), "{error}");
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
