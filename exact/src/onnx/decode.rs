//! From bytes to a checked graph.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use prost::Message as _;

use super::attributes::Operands;
use super::proto::type_proto::Tensor as TensorType;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, tensor_shape_proto};
use super::value::{Known, Type, Value, fixed};
use super::wire::limit;
use super::{Binary, Dim, Error, Graph, Limits, Node, NodeName, Op, Source, fold, operators, order, shapes, wire};
use crate::tensor::{Tensor, Weights};

/// Element types of ONNX.
pub(super) const FLOAT: i32 = 1;
pub(super) const INT32: i32 = 6;
pub(super) const INT64: i32 = 7;

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

/// State of decoding one graph; the operators add to it node by node.
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
    /// Elements written in the file so far.
    pub(super) parameters: u64,
    /// Elements evaluated so far.
    evaluated: u64,
    activations: u64,
    /// The node being decoded: its position, name and operator.
    current: (usize, String, String),
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
            evaluated: 0,
            activations: 0,
            current: (0, String::new(), String::new()),
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
        for index in order::topological(&protos, &self.values)? {
            self.node(index, &protos[index])?;
        }
        let [output] = &output[..] else {
            return Err(Error::Graph(format!(
                "the graph has {} outputs, expected one",
                output.len()
            )));
        };
        let (output, output_shape) = match self.values.get(output.name()) {
            Some(Value::Tensor { source, shape, .. }) => (source.clone(), shape.clone()),
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
        let (nodes, output) = order::prune(self.nodes, output);
        let mut graph = Graph {
            input: input.to_owned(),
            sample,
            nodes,
            output,
            output_shape,
            weights: self.initializers,
            buffers: self.buffers,
            constants: self.constants,
        };
        order::settle(&mut graph)?;
        if graph.weights.len() == graph.buffers.len() {
            return Err(Error::Graph("the graph has no parameters to train".to_owned()));
        }
        Ok(graph)
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
        let kind = match elem_type.unwrap_or(0) {
            FLOAT => Type::Float,
            INT32 | INT64 => Type::Integer,
            other => {
                return Err(fail(format!(
                    "has element type {other}, expected f32 ({FLOAT}), i32 ({INT32}) or i64 ({INT64})"
                )));
            }
        };
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
                kind,
            },
        );
        Ok(sample)
    }

    fn node(&mut self, index: usize, proto: &NodeProto) -> Result<(), Error> {
        let at = || NodeName {
            index,
            name: proto.name().to_owned(),
        };
        let fail = |why| Error::Node { node: at(), why };
        if !matches!(proto.domain(), "" | "ai.onnx") {
            let operator = format!("{}.{}", proto.domain(), proto.op_type());
            return Err(Error::Operator { node: at(), operator });
        }
        self.current = (index, proto.name().to_owned(), proto.op_type().to_owned());
        let values = std::mem::take(&mut self.values);
        let operands = Operands::new(proto, &values).map_err(fail)?;
        let results = operators::decode(self, proto.op_type(), &operands)
            .map_err(|why| fail(format!("{}: {why}", proto.op_type())))?
            .ok_or_else(|| Error::Operator {
                node: at(),
                operator: proto.op_type().to_owned(),
            })?;
        operands.finish().map_err(fail)?;
        self.values = values;
        for (position, name) in proto.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let missing = || Value::Opaque(format!("output {position} of {}, which is not supported", at()));
            let value = results.get(position).cloned().unwrap_or_else(missing);
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }

    /// Adds a computation, or its result where that is known now.
    pub(super) fn emit(&mut self, op: Op, inputs: &[&Value], shape: Vec<Dim>, kind: Type) -> Result<Value, String> {
        for input in inputs {
            if input.kind()? != Type::Float && !op.takes_integers() {
                return Err(format!("one of its inputs is {} tensor, expected f32", input.kind()?));
            }
        }
        if let Some(known) = self.evaluate(&op, inputs, &shape, kind)? {
            return Ok(known.into());
        }
        let batches = shape.iter().filter(|dim| **dim == Dim::Batch).count();
        if batches > 1 || shape.contains(&Dim::Fixed(0)) {
            return Err(format!(
                "its result would have shape {}, which holds the batch twice or no elements",
                shapes::show(&shape)
            ));
        }
        if kind == Type::Integer && op == Op::Binary(Binary::Div) {
            return Err("quotients of integers that depend on the input are not supported".to_owned());
        }
        let operands = inputs
            .iter()
            .map(|input| input.shape())
            .collect::<Result<Vec<_>, _>>()?;
        let macs = operators::macs(&op, &operands, &shape)?;
        let inputs = inputs
            .iter()
            .map(|input| self.source(input))
            .collect::<Result<_, _>>()?;
        self.charge(&shape).map_err(|error| error.to_string())?;
        let (index, name, operator) = self.current.clone();
        self.nodes.push(Node {
            index,
            name,
            operator,
            op,
            inputs,
            shape: shape.clone(),
            macs,
        });
        Ok(Value::Tensor {
            source: Source::Node(self.nodes.len() - 1),
            shape,
            kind,
        })
    }

    fn evaluate(&mut self, op: &Op, inputs: &[&Value], shape: &[Dim], kind: Type) -> Result<Option<Known>, String> {
        let sizes: Option<Vec<usize>> = shape
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(size) => Some(*size),
                Dim::Batch => None,
            })
            .collect();
        let Some(sizes) = sizes else {
            return Ok(None);
        };
        let mut known = Vec::with_capacity(inputs.len());
        for input in inputs {
            match self.known(input)? {
                Some(input) => known.push(input),
                None => return Ok(None),
            }
        }
        charge_evaluated(&mut self.evaluated, shapes::elements(shape)?, self.limits)?;
        let known: Vec<&Known> = known.iter().map(Rc::as_ref).collect();
        let items = fold::evaluate(op, &known, &sizes, kind)?;
        Ok(items.map(|items| Known::new(kind, sizes, items)))
    }

    /// The elements of a value that does not depend on the input or the weights.
    pub(super) fn known(&mut self, value: &Value) -> Result<Option<Rc<Known>>, String> {
        Ok(match value {
            Value::Known(known) => Some(Rc::clone(known)),
            Value::Tensor {
                source: Source::Constant(index),
                kind,
                ..
            } => {
                let tensor = &self.constants[*index];
                charge_evaluated(&mut self.evaluated, tensor.data().len() as u64, self.limits)?;
                Some(Rc::new(Known::from_tensor(*kind, tensor)))
            }
            _ => None,
        })
    }

    /// A number of elements that are made up while decoding.
    pub(super) fn count_evaluated(&mut self, count: u64) -> Result<(), String> {
        charge_evaluated(&mut self.evaluated, count, self.limits)
    }

    /// Where an engine finds a value.
    fn source(&mut self, value: &Value) -> Result<Source, String> {
        match value {
            Value::Tensor { source, .. } => Ok(source.clone()),
            Value::Merged { .. } | Value::Opaque(_) => Err("one of its inputs is no tensor".to_owned()),
            Value::Known(known) => {
                if let Some(index) = known.constant.get() {
                    return Ok(Source::Constant(*index));
                }
                let source = self.constant(known.to_tensor()?);
                let _ = known.constant.set(self.constants.len() - 1);
                Ok(source)
            }
        }
    }

    pub(super) fn constant_of(&mut self, tensor: Tensor, kind: Type) -> Value {
        let shape = fixed(tensor.shape());
        Value::Tensor {
            source: self.constant(tensor),
            shape,
            kind,
        }
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

fn charge_evaluated(total: &mut u64, count: u64, limits: &Limits) -> Result<(), String> {
    *total = total.saturating_add(count);
    limit(
        "the number of elements evaluated while decoding",
        *total,
        limits.evaluated,
    )
    .map_err(|error| error.to_string())
}
