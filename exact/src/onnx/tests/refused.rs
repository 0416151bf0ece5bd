use proptest::prelude::*;
use prost::bytes::Bytes;

use super::super::proto::ExternalData;
use super::super::proto::tensor_proto::DataLocation;
use super::*;

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
            "expected a small constant",
        ),
        (one(node("Relu", &["x"], "y", vec![])), "no parameters to train"),
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
            pool(vec![ints("kernel_shape", &[2, 2]), ints("pads", &[2; 4])]),
            "a window of [2, 2] holds nothing else",
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
            "is 1099511627776, the limit is 67108864",
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
            "the graph has 1099511627776 elements, the limit is 67108864",
        ),
        (weight(|w| w.dims = vec![1; 9]), "its rank is 9, the limit is 8"),
        (
            weight(|w| w.dims = vec![0, 3]),
            "shape [0, 3] needs 0 elements, found 12",
        ),
        (
            weight(|w| w.dims = vec![4, 4]),
            "shape [4, 4] needs 16 elements, found 12",
        ),
        (
            weight(|w| w.raw_data = Some(Bytes::from_static(&[0; 47]))),
            "its data has 47 bytes, not a multiple of 4",
        ),
        (weight(|w| w.float_data[7] = f32::NAN), "tensor \"w\": element 7 is NaN"),
        (
            weight(|w| w.float_data[0] = f32::NEG_INFINITY),
            "no parameters to train",
        ),
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
    assert!(error.starts_with("the number of fields is 250001"), "{error}");
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
