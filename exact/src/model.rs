//! The built-in architectures, written as ONNX: input `input` (N, …) f32, output `logits` (N, classes) f32.
//!
//! Weights are drawn uniformly from ±√(6 / fan-in) (He et al., arXiv 1502.01852), biases are zero. The draws are
//! [`Stream`] keyed by the seed (u64 le) and the tensor's name, and every operation is exactly rounded, so a
//! specification gives the same bytes everywhere.

use prost::Message as _;
use prost::bytes::Bytes;

use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use crate::onnx::{self, Error, Limits};
use crate::prf::{Stream, Tag};

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// A multi-layer perceptron: fully connected layers with `Relu` between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlpSpec {
    /// Shape of one sample; flattened if it has several dimensions.
    pub sample: Vec<usize>,
    /// Width of each hidden layer.
    pub hidden: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for MlpSpec {
    /// 28×28 grey images, one hidden layer of 128, 10 classes.
    fn default() -> Self {
        Self {
            sample: vec![1, 28, 28],
            hidden: vec![128],
            classes: 10,
            seed: 0,
        }
    }
}

/// A convolutional network: blocks of a convolution that keeps the image's size, `Relu` and 2×2 max pooling, then fully
/// connected layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CnnSpec {
    /// Channels, height and width of one sample.
    pub sample: [usize; 3],
    /// Number of filters of each block.
    pub filters: Vec<usize>,
    /// Height and width of the filters; odd.
    pub kernel: usize,
    /// Width of each hidden fully connected layer.
    pub hidden: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// Seed of the initial weights.
    pub seed: u64,
}

impl Default for CnnSpec {
    /// 28×28 grey images, 16 and 32 filters of 3×3, one hidden layer of 128, 10 classes.
    fn default() -> Self {
        Self {
            sample: [1, 28, 28],
            filters: vec![16, 32],
            kernel: 3,
            hidden: vec![128],
            classes: 10,
            seed: 0,
        }
    }
}

/// The ONNX file of a multi-layer perceptron.
///
/// # Errors
/// When a dimension is 0 or the default [`Limits`] are broken.
pub fn mlp(spec: &MlpSpec) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(spec.seed);
    let width = writer.product("sample", &spec.sample)?;
    let flat = if spec.sample.len() > 1 {
        writer.node("Flatten", "flatten", &["input"], vec![])
    } else {
        "input".into()
    };
    writer.classifier(flat, width, &spec.hidden, spec.classes)?;
    writer.finish("mlp", &spec.sample, spec.classes)
}

/// The ONNX file of a convolutional network.
///
/// # Errors
/// When a dimension is 0, the kernel is even, the image is too small for its pooling layers or the default [`Limits`] are
/// broken.
pub fn cnn(spec: &CnnSpec) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(spec.seed);
    let kernel = spec.kernel;
    if kernel.is_multiple_of(2) || kernel > 15 {
        return Err(Error::Graph(format!(
            "the kernel is {kernel}, expected an odd number up to 15"
        )));
    }
    let [mut channels, mut height, mut width] = spec.sample;
    writer.product("sample", &spec.sample)?;
    let mut value = "input".to_owned();
    for (i, filters) in (1..).zip(&spec.filters) {
        let pads = ints("pads", &[kernel / 2; 4]);
        let shape = ints("kernel_shape", &[kernel; 2]);
        value = writer.layer(
            "Conv",
            &format!("conv{i}"),
            &value,
            &[*filters, channels, kernel, kernel],
            vec![shape, pads],
        )?;
        value = writer.node("Relu", &format!("relu{i}"), &[&value], vec![]);
        if height < 2 || width < 2 {
            return Err(Error::Graph(format!(
                "the image is {height}×{width} before pool{i}, too small to be halved"
            )));
        }
        let window = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        value = writer.node("MaxPool", &format!("pool{i}"), &[&value], window);
        (channels, height, width) = (*filters, height / 2, width / 2);
    }
    let flat = writer.node("Flatten", "flatten", &[&value], vec![]);
    let features = writer.product("features", &[channels, height, width])?;
    writer.classifier(flat, features, &spec.hidden, spec.classes)?;
    writer.finish("cnn", &spec.sample, spec.classes)
}

struct Writer {
    seed: u64,
    limits: Limits,
    parameters: u64,
    graph: GraphProto,
}

impl Writer {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            limits: Limits::default(),
            parameters: 0,
            graph: GraphProto::default(),
        }
    }

    /// The product of sizes, none of which is 0.
    fn product(&self, what: &str, sizes: &[usize]) -> Result<usize, Error> {
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
    fn node(&mut self, operator: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = format!("{name}.out");
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.clone()],
            name: Some(name.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute,
            domain: None,
        });
        output
    }

    /// A node with a random weight of that shape (outputs first) and a bias of zeros.
    fn layer(
        &mut self,
        operator: &str,
        name: &str,
        input: &str,
        shape: &[usize],
        attributes: Vec<AttributeProto>,
    ) -> Result<String, Error> {
        let fan_in = self.product(name, &shape[1..])?;
        let elements = self.product(name, shape)?;
        self.parameters = self.parameters.saturating_add(elements as u64 + shape[0] as u64);
        if self.parameters > self.limits.parameters {
            let what = "the number of parameters".to_owned();
            return Err(Error::Limit {
                what,
                found: self.parameters,
                limit: self.limits.parameters,
            });
        }
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let bound = (6.0 / fan_in as f32).sqrt();
        let mut draws = Stream::new(Tag::Init, &[&self.seed.to_le_bytes(), weight.as_bytes()]);
        self.initializer(&weight, shape, (0..elements).map(|_| draws.symmetric_f32() * bound));
        self.initializer(&bias, &shape[..1], std::iter::repeat_n(0.0, shape[0]));
        Ok(self.node(operator, name, &[input, &weight, &bias], attributes))
    }

    fn initializer(&mut self, name: &str, shape: &[usize], data: impl Iterator<Item = f32>) {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|size| *size as i64).collect(),
            data_type: Some(DataType::Float as i32),
            name: Some(name.to_owned()),
            raw_data: Some(Bytes::from(data.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())),
            ..TensorProto::default()
        });
    }

    /// Fully connected layers, the last one giving the logits.
    fn classifier(
        &mut self,
        mut value: String,
        mut width: usize,
        hidden: &[usize],
        classes: usize,
    ) -> Result<(), Error> {
        let transposed = || {
            vec![AttributeProto {
                i: Some(1),
                ..attribute("transB", AttributeType::Int)
            }]
        };
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

    fn finish(mut self, name: &str, sample: &[usize], classes: usize) -> Result<Vec<u8>, Error> {
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec!["logits".to_owned()];
        }
        self.graph.name = Some(name.to_owned());
        self.graph.input = vec![info("input", sample)];
        self.graph.output = vec![info("logits", &[classes])];
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("trainyard".to_owned()),
            producer_version: None,
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(OPSET),
            }],
        };
        let bytes = model.encode_to_vec();
        onnx::decode(&bytes, &self.limits)?;
        Ok(bytes)
    }
}

/// A value of shape (N, …).
fn info(name: &str, sample: &[usize]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("N".to_owned());
    let fixed = sample.iter().map(|size| dimension::Value::DimValue(*size as i64));
    let dim = std::iter::once(batch)
        .chain(fixed)
        .map(|value| Dimension { value: Some(value) })
        .collect();
    let kind = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(kind),
        }),
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        ints: values.iter().map(|value| *value as i64).collect(),
        ..attribute(name, AttributeType::Ints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Dim, Op, decode};
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
    fn bytes_follow_from_the_specification() {
        let bytes = cnn(&CnnSpec::default()).unwrap();
        assert_eq!(bytes, cnn(&CnnSpec::default()).unwrap());
        assert_ne!(
            bytes,
            cnn(&CnnSpec {
                seed: 1,
                ..CnnSpec::default()
            })
            .unwrap()
        );
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest,
            "9ed5a112b9bdd41d7291bbe3a89a1511ece50c8dc4fb2d87171e066bbf60f23e"
        );
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
                "fc2 has the shape [0, 128]",
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
}
