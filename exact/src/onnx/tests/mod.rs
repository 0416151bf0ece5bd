use prost::Message as _;

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use super::*;

mod accepted;
mod refused;

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
