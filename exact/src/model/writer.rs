//! Writes ONNX files.

use prost::Message as _;
use prost::bytes::Bytes;

use crate::onnx::proto::attribute_proto::AttributeType;
pub(super) use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use crate::onnx::{self, Error, Limits};
use crate::prf::{Stream, Tag};

/// Version of the format and of the operator set: the oldest that do, so that most tools read the files.
const VERSIONS: (i64, i64) = (8, 17);
const VERSIONS_WITH_GELU: (i64, i64) = (9, 20);

/// A graph under construction.
pub(super) struct Writer {
    seed: u64,
    limits: Limits,
    parameters: u64,
    graph: GraphProto,
}

impl Writer {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            limits: Limits::default(),
            parameters: 0,
            graph: GraphProto::default(),
        }
    }

    /// The product of sizes, none of which is 0.
    pub(super) fn product(&self, what: &str, sizes: &[usize]) -> Result<usize, Error> {
        let fail = || {
            Error::Graph(format!(
                "{what} has the shape {sizes:?}: each must be 1 to {}",
                self.limits.dim
            ))
        };
        let in_range = |size: &usize| *size > 0 && *size as u64 <= self.limits.dim;
        let product = sizes.iter().try_fold(1usize, |product, size| {
            product.checked_mul(*size).filter(|_| in_range(size))
        });
        product
            .filter(|product| *product as u64 <= self.limits.dim)
            .ok_or_else(fail)
    }

    /// Adds a node and gives back the name of its result.
    pub(super) fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let output = format!("{name}.out");
        self.push(operator, name, inputs, vec![output.clone()], attribute);
        output
    }

    /// Adds a `Split` and gives back the names of its results.
    pub(super) fn split(
        &mut self,
        name: &str,
        inputs: &[&str],
        parts: usize,
        attribute: Vec<AttributeProto>,
    ) -> Vec<String> {
        let outputs: Vec<String> = (1..=parts).map(|part| format!("{name}.out{part}")).collect();
        self.push("Split", name, inputs, outputs.clone(), attribute);
        outputs
    }

    fn push(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output,
            name: Some(name.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute,
            domain: None,
        });
    }

    /// A node with a random weight of that shape (outputs first) and a bias of zeros.
    pub(super) fn layer(
        &mut self,
        operator: &str,
        name: &str,
        input: &str,
        shape: &[usize],
        attributes: Vec<AttributeProto>,
    ) -> Result<String, Error> {
        let fan_in = self.product(name, &shape[1..])?;
        let weight = self.uniform(&format!("{name}.weight"), shape, (6.0 / fan_in as f32).sqrt())?;
        let bias = self.filled(&format!("{name}.bias"), &shape[..1], 0.0)?;
        Ok(self.node(operator, name, &[input, &weight, &bias], attributes))
    }

    /// A weight drawn from ±`bound`. Gives back its name.
    pub(super) fn uniform(&mut self, name: &str, shape: &[usize], bound: f32) -> Result<String, Error> {
        let elements = self.count(name, shape)?;
        let mut draws = Stream::new(Tag::Init, &[&self.seed.to_le_bytes(), name.as_bytes()]);
        let data = (0..elements).flat_map(|_| (draws.symmetric_f32() * bound).to_le_bytes());
        self.initializer(name, DataType::Float, shape, data.collect());
        Ok(name.to_owned())
    }

    /// A weight of equal elements. Gives back its name.
    pub(super) fn filled(&mut self, name: &str, shape: &[usize], value: f32) -> Result<String, Error> {
        let elements = self.count(name, shape)?;
        self.initializer(name, DataType::Float, shape, value.to_le_bytes().repeat(elements));
        Ok(name.to_owned())
    }

    /// A constant number. Gives back its name.
    pub(super) fn scalar(&mut self, name: &str, value: f32) -> String {
        self.initializer(name, DataType::Float, &[], value.to_le_bytes().to_vec());
        name.to_owned()
    }

    /// A list of integers. Gives back its name.
    pub(super) fn integers(&mut self, name: &str, values: &[usize]) -> String {
        let data = values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect();
        self.initializer(name, DataType::Int64, &[values.len()], data);
        name.to_owned()
    }

    /// The number of elements of a weight, within the limit.
    fn count(&mut self, name: &str, shape: &[usize]) -> Result<usize, Error> {
        let elements = self.product(name, shape)?;
        self.parameters = self.parameters.saturating_add(elements as u64);
        if self.parameters > self.limits.parameters {
            let what = "the number of parameters".to_owned();
            return Err(Error::Limit {
                what,
                found: self.parameters,
                limit: self.limits.parameters,
            });
        }
        Ok(elements)
    }

    /// A tensor of the graph from its little-endian bytes.
    pub(super) fn initializer(&mut self, name: &str, kind: DataType, shape: &[usize], data: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|size| *size as i64).collect(),
            data_type: Some(kind as i32),
            name: Some(name.to_owned()),
            raw_data: Some(Bytes::from(data)),
            ..TensorProto::default()
        });
    }

    /// Fully connected layers, the last one giving the logits.
    pub(super) fn classifier(
        &mut self,
        mut value: String,
        mut width: usize,
        hidden: &[usize],
        classes: usize,
    ) -> Result<(), Error> {
        let transposed = || vec![int("transB", 1)];
        for (i, next) in (1..).zip(hidden) {
            value = self.layer("Gemm", &format!("fc{i}"), &value, &[*next, width], transposed())?;
            value = self.node("Relu", &format!("fc{i}.relu"), &[&value], vec![]);
            width = *next;
        }
        self.layer(
            "Gemm",
            &format!("fc{}", hidden.len() + 1),
            &value,
            &[classes, width],
            transposed(),
        )?;
        Ok(())
    }

    /// The file. The last node's result becomes the output, of shape (N, `logits` …).
    pub(super) fn finish(
        mut self,
        name: &str,
        input: (DataType, &[usize]),
        logits: &[usize],
    ) -> Result<Vec<u8>, Error> {
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec!["logits".to_owned()];
        }
        self.graph.name = Some(name.to_owned());
        self.graph.input = vec![info("input", input)];
        self.graph.output = vec![info("logits", (DataType::Float, logits))];
        let gelu = self.graph.node.iter().any(|node| node.op_type() == "Gelu");
        let (ir_version, opset) = if gelu { VERSIONS_WITH_GELU } else { VERSIONS };
        let model = ModelProto {
            ir_version: Some(ir_version),
            producer_name: Some("trainyard".to_owned()),
            producer_version: None,
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(opset),
            }],
        };
        let bytes = model.encode_to_vec();
        onnx::decode(&bytes, &self.limits)?;
        Ok(bytes)
    }
}

/// A value of shape (N, …).
fn info(name: &str, (kind, sample): (DataType, &[usize])) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("N".to_owned());
    let fixed = sample.iter().map(|size| dimension::Value::DimValue(*size as i64));
    let dim = std::iter::once(batch)
        .chain(fixed)
        .map(|value| Dimension { value: Some(value) })
        .collect();
    let kind = type_proto::Tensor {
        elem_type: Some(kind as i32),
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(kind),
        }),
    }
}

/// An attribute of one integer.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        i: Some(value),
        ..attribute(name, AttributeType::Int)
    }
}

/// An attribute of one number.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        f: Some(value),
        ..attribute(name, AttributeType::Float)
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

/// An attribute of several integers.
pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        ints: values.iter().map(|value| *value as i64).collect(),
        ..attribute(name, AttributeType::Ints)
    }
}
