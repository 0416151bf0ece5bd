//! From bytes to a checked graph.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::attributes::{Operands, Value};
use super::literal::fixed;
use super::proto::tensor_proto::DataType;
use super::proto::type_proto::Tensor as TensorType;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, tensor_shape_proto};
use super::wire::limit;
use super::{Dim, Error, Graph, Limits, Node, NodeName, Op, Source, lower, order, shapes, wire};
use crate::tensor::{Tensor, Weights};

/// Versions of the default operator set whose operators mean what is computed here.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=26;

/// Decodes and checks an ONNX file.
///
/// # Errors
/// When the file is malformed, breaks a limit, refers to other files, or holds anything that is not supported; the text
/// names the node or tensor.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Graph, Error> {
    wire::check(bytes, limits)?;
    let model = ModelProto::decode(bytes).map_err(|error| Error::Format(error.to_string()))?;
    let mut opset = None;
    for import in &model.opset_import {
        // Exporters also list domains that no node uses; a node that uses one is refused as an unknown operator.
        if matches!(import.domain(), "" | "ai.onnx") && opset.replace(import.version()).is_some() {
            return Err(Error::Graph("the default operator set is imported twice".to_owned()));
        }
    }
    let opset = match opset {
        Some(version) if OPSETS.contains(&version) => version,
        Some(version) => {
            let why = format!(
                "operator set {version} is not supported, only {} to {}",
                OPSETS.start(),
                OPSETS.end()
            );
            return Err(Error::Graph(why));
        }
        None => {
            return Err(Error::Graph(
                "the file does not say which operator set it uses".to_owned(),
            ));
        }
    };
    let graph = model
        .graph
        .ok_or_else(|| Error::Graph("the file has no graph".to_owned()))?;
    Decoder::new(opset, limits).graph(graph)
}

/// State of decoding one graph; `lower` adds to it node by node.
pub(super) struct Decoder<'a> {
    pub(super) opset: i64,
    pub(super) limits: &'a Limits,
    /// The batch size an export without dynamic batch was made with.
    pub(super) fixed_batch: Option<i64>,
    pub(super) buffers: BTreeSet<String>,
    pub(super) values: BTreeMap<String, Value>,
    nodes: Vec<Node>,
    pub(super) initializers: Weights,
    constants: Vec<Tensor>,
    /// f32 elements so far.
    pub(super) parameters: u64,
    activations: u64,
}

/// What a node turned out to be.
pub(super) enum Lowered {
    /// A computation on the operands with these positions.
    Compute {
        op: Op,
        operands: Vec<usize>,
        shape: Vec<Dim>,
        macs: u64,
    },
    /// Known now.
    Value(Value),
    /// An f32 constant.
    Constant(Tensor),
}

impl<'a> Decoder<'a> {
    fn new(opset: i64, limits: &'a Limits) -> Self {
        Self {
            opset,
            limits,
            fixed_batch: None,
            buffers: BTreeSet::new(),
            values: BTreeMap::new(),
            nodes: Vec::new(),
            initializers: Weights::new(),
            constants: Vec::new(),
            parameters: 0,
            activations: 0,
        }
    }

    fn graph(mut self, graph: GraphProto) -> Result<Graph, Error> {
        let GraphProto {
            node: protos,
            initializer,
            input,
            output,
            ..
        } = graph;
        self.names(&protos)?;
        for proto in initializer {
            self.initializer(&proto)?;
        }
        // Files of IR version 3 list the initializers among the inputs too.
        let mut inputs = input.iter().filter(|info| !self.values.contains_key(info.name()));
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            let count = input
                .iter()
                .filter(|info| !self.values.contains_key(info.name()))
                .count();
            return Err(Error::Graph(format!(
                "the graph has {count} inputs, expected one (the batch of samples)"
            )));
        };
        let sample = self.input(input)?;
        for (index, output) in order::topological(&protos, &self.values)? {
            self.node(index, &protos[index], output)?;
        }
        let [output] = &output[..] else {
            return Err(Error::Graph(format!(
                "the graph has {} outputs, expected one",
                output.len()
            )));
        };
        let (output, output_shape) = match self.values.get(output.name()) {
            Some(Value::Tensor { source, shape }) => (source.clone(), shape.clone()),
            Some(_) => {
                return Err(Error::Graph(format!(
                    "the output {:?} does not depend on the input",
                    output.name()
                )));
            }
            None => {
                return Err(Error::Graph(format!(
                    "the output {:?} is never computed",
                    output.name()
                )));
            }
        };
        if output_shape.first() != Some(&Dim::Batch) || output_shape[1..].contains(&Dim::Batch) {
            let found = shapes::show(&output_shape);
            return Err(Error::Graph(format!(
                "the output has shape {found}; its first dimension must be the batch, N"
            )));
        }
        self.finish(input.name(), sample, &output, output_shape)
    }

    fn finish(self, input: &str, sample: Vec<usize>, output: &Source, output_shape: Vec<Dim>) -> Result<Graph, Error> {
        let (nodes, output, used) = order::prune(self.nodes, output);
        let weights: Weights = self
            .initializers
            .into_iter()
            .filter(|(name, _)| used.contains(name))
            .collect();
        let buffers: BTreeSet<String> = self.buffers.into_iter().filter(|name| used.contains(name)).collect();
        for node in &nodes {
            // The running statistics of a normalisation are its last two operands.
            let trained = if matches!(node.op, Op::BatchNormalization { .. }) {
                3
            } else {
                node.inputs.len()
            };
            for source in &node.inputs[..trained] {
                if let Source::Weight(name) = source
                    && buffers.contains(name)
                {
                    let why = "it is a running statistic of one node and a parameter of another".to_owned();
                    return Err(Error::Tensor {
                        name: name.clone(),
                        why,
                    });
                }
            }
        }
        if weights.len() == buffers.len() {
            return Err(Error::Graph("the graph has no parameters to train".to_owned()));
        }
        let input = input.to_owned();
        Ok(Graph {
            input,
            sample,
            nodes,
            output,
            output_shape,
            weights,
            buffers,
            constants: self.constants,
        })
    }

    fn names(&self, nodes: &[NodeProto]) -> Result<(), Error> {
        for node in nodes {
            let strings = node.input.iter().chain(&node.output).map(String::len);
            let longest = strings
                .chain([node.name().len(), node.op_type().len(), node.domain().len()])
                .max();
            limit(
                "the length of a name in bytes",
                longest.unwrap_or(0) as u64,
                self.limits.name,
            )?;
        }
        Ok(())
    }

    fn input(&mut self, info: &ValueInfoProto) -> Result<Vec<usize>, Error> {
        use tensor_shape_proto::dimension::Value::{DimParam, DimValue};
        let fail = |why: String| Error::Graph(format!("the input {:?} {why}", info.name()));
        limit(
            "the length of a name in bytes",
            info.name().len() as u64,
            self.limits.name,
        )?;
        if info.name().is_empty() {
            return Err(fail("has no name".to_owned()));
        }
        let Some(TensorType {
            elem_type,
            shape: Some(shape),
        }) = info.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref())
        else {
            return Err(fail("has no tensor shape".to_owned()));
        };
        if *elem_type != Some(DataType::Float as i32) {
            return Err(fail(format!(
                "has element type {}, expected f32 (1)",
                elem_type.unwrap_or(0)
            )));
        }
        let Some((batch, rest)) = shape.dim.split_first() else {
            return Err(fail("is a scalar; its first dimension must be the batch".to_owned()));
        };
        limit("the rank of the input", shape.dim.len() as u64, self.limits.rank)?;
        self.fixed_batch = match &batch.value {
            Some(DimValue(size)) if *size > 0 => Some(*size),
            Some(DimValue(size)) => return Err(fail(format!("has the batch size {size}"))),
            Some(DimParam(_)) | None => None,
        };
        let mut sample = Vec::with_capacity(rest.len());
        for dim in rest {
            match &dim.value {
                Some(DimValue(size)) => match usize::try_from(*size) {
                    Ok(size) if size > 0 && size as u64 <= self.limits.dim => sample.push(size),
                    _ => {
                        return Err(fail(format!(
                            "has a dimension of {size}, expected 1 to {}",
                            self.limits.dim
                        )));
                    }
                },
                Some(DimParam(name)) => {
                    return Err(fail(format!(
                        "has the variable dimension {name:?}; only the first may vary"
                    )));
                }
                None => return Err(fail("has an unknown dimension; only the first may vary".to_owned())),
            }
        }
        let mut dims = vec![Dim::Batch];
        dims.extend(fixed(&sample));
        self.charge(&dims)?;
        self.values.insert(
            info.name().to_owned(),
            Value::Tensor {
                source: Source::Input,
                shape: dims,
            },
        );
        Ok(sample)
    }

    fn node(&mut self, index: usize, proto: &NodeProto, output: &str) -> Result<(), Error> {
        let at = || NodeName {
            index,
            name: proto.name().to_owned(),
        };
        let fail = |why| Error::Node { node: at(), why };
        if !matches!(proto.domain(), "" | "ai.onnx") {
            let operator = format!("{}.{}", proto.domain(), proto.op_type());
            return Err(Error::Operator { node: at(), operator });
        }
        let values = std::mem::take(&mut self.values);
        let mut operands = Operands::new(proto, &values).map_err(fail)?;
        let lowered = lower::lower(self, proto.op_type(), &mut operands)
            .map_err(|why| Error::Node {
                node: at(),
                why: format!("{}: {why}", proto.op_type()),
            })?
            .ok_or_else(|| Error::Operator {
                node: at(),
                operator: proto.op_type().to_owned(),
            })?;
        operands.finish().map_err(fail)?;
        let value = match lowered {
            Lowered::Value(value) => value,
            Lowered::Constant(tensor) => {
                let shape = fixed(tensor.shape());
                let scalar = if shape.is_empty() {
                    tensor.data().first().copied()
                } else {
                    None
                };
                // Constants share the table of initializers until a node computes with them.
                match scalar {
                    Some(_) => Value::Initializer {
                        name: output.to_owned(),
                        shape,
                        scalar,
                    },
                    None => Value::Tensor {
                        source: self.constant(tensor),
                        shape,
                    },
                }
            }
            Lowered::Compute {
                op,
                operands: positions,
                shape,
                macs,
            } => {
                let mut inputs = Vec::with_capacity(positions.len());
                for position in positions {
                    inputs.push(match operands.value(position).map_err(fail)? {
                        Value::Tensor { source, .. } => source.clone(),
                        Value::Initializer {
                            scalar: Some(value), ..
                        } => self.constant(Tensor::scalar(*value)),
                        Value::Initializer { name, .. } => Source::Weight(name.clone()),
                        Value::Ints(_) | Value::Opaque(_) => {
                            return Err(fail(format!("its input {position} is not f32")));
                        }
                    });
                }
                self.charge(&shape)?;
                let (name, operator) = (proto.name().to_owned(), proto.op_type().to_owned());
                self.nodes.push(Node {
                    index,
                    name,
                    operator,
                    op,
                    inputs,
                    shape: shape.clone(),
                    macs,
                });
                Value::Tensor {
                    source: Source::Node(self.nodes.len() - 1),
                    shape,
                }
            }
        };
        self.values = values;
        for extra in proto.output.iter().skip(1).filter(|name| !name.is_empty()) {
            let what = format!("a second output of {}, which is not supported", at());
            self.values.insert(extra.clone(), Value::Opaque(what));
        }
        self.values.insert(output.to_owned(), value);
        Ok(())
    }

    fn constant(&mut self, tensor: Tensor) -> Source {
        self.constants.push(tensor);
        Source::Constant(self.constants.len() - 1)
    }

    fn charge(&mut self, shape: &[Dim]) -> Result<(), Error> {
        limit("the rank of a value", shape.len() as u64, self.limits.rank)?;
        let elements = shapes::elements(shape).map_err(Error::Graph)?;
        self.activations = self.activations.saturating_add(elements);
        limit(
            "the number of elements computed for one sample",
            self.activations,
            self.limits.activations,
        )
    }
}
