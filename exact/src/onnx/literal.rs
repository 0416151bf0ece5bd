//! Tensors written in the file: f32 data, integers that shapes are made of, and what is neither.

use super::attributes::Value;
use super::decode::Decoder;
use super::fold::{Int, Ints};
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType};
use super::wire::limit;
use super::{Dim, Error};
use crate::tensor::Tensor;

/// Most elements of an integer tensor that is evaluated: they are shapes and axes.
pub(super) const MAX_INTS: usize = 64;

/// What the data of a tensor in the file is.
pub(super) enum Literal {
    Float(Tensor),
    Ints(Ints),
    Opaque(String),
}

pub(super) fn fixed(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|size| Dim::Fixed(*size)).collect()
}

impl Decoder<'_> {
    /// Adds an initializer to the table of names.
    pub(super) fn initializer(&mut self, proto: &TensorProto) -> Result<(), Error> {
        let name = proto.name().to_owned();
        limit("the length of a name in bytes", name.len() as u64, self.limits.name)?;
        let fail = |why: String| Error::Tensor {
            name: name.clone(),
            why,
        };
        // Weight files keep `__metadata__`, checkpoints keep the optimizer's state under `opt/`.
        if name.is_empty() || name == "__metadata__" || name.starts_with("opt/") {
            return Err(fail("the name is reserved".to_owned()));
        }
        let value = match self.literal(proto).map_err(&fail)? {
            Literal::Float(tensor) => {
                let shape = fixed(tensor.shape());
                let scalar = if shape.is_empty() {
                    tensor.data().first().copied()
                } else {
                    None
                };
                self.initializers.insert(name.clone(), tensor);
                Value::Initializer {
                    name: name.clone(),
                    shape,
                    scalar,
                }
            }
            Literal::Ints(ints) => Value::Ints(ints),
            Literal::Opaque(what) => Value::Opaque(what),
        };
        limit("the number of parameters", self.parameters, self.limits.parameters)?;
        if self.values.insert(name.clone(), value).is_some() {
            return Err(fail("the name is given to two initializers".to_owned()));
        }
        Ok(())
    }

    /// A tensor written in the file.
    pub(super) fn literal(&mut self, proto: &TensorProto) -> Result<Literal, String> {
        if proto.data_location() == DataLocation::External || !proto.external_data.is_empty() {
            let place = proto
                .external_data
                .iter()
                .find(|entry| entry.key() == "location")
                .map_or("", |e| e.value());
            return Err(format!(
                "its data is in another file ({place:?}); embed the data in the ONNX file"
            ));
        }
        if proto.dims.len() as u64 > self.limits.rank {
            return Err(format!(
                "its rank is {}, the limit is {}",
                proto.dims.len(),
                self.limits.rank
            ));
        }
        let mut shape = Vec::with_capacity(proto.dims.len());
        let mut count = 1u64;
        for dim in &proto.dims {
            let size = u64::try_from(*dim).map_err(|_| format!("a dimension is negative: {:?}", proto.dims))?;
            if size > self.limits.dim {
                return Err(format!("a dimension is {size}, the limit is {}", self.limits.dim));
            }
            count = count
                .checked_mul(size)
                .ok_or_else(|| format!("{:?} has more than 2^64 elements", proto.dims))?;
            shape.push(usize::try_from(size).map_err(|error| error.to_string())?);
        }
        match DataType::try_from(proto.data_type()) {
            Ok(DataType::Float) => {
                self.parameters = self.parameters.saturating_add(count);
                if self.parameters > self.limits.parameters {
                    let limit = self.limits.parameters;
                    return Err(format!(
                        "with it the graph has {} f32 elements, the limit is {limit}",
                        self.parameters
                    ));
                }
                if count == 0 {
                    return Err(format!("it has no elements: {:?}", proto.dims));
                }
                let tensor = match &proto.raw_data {
                    Some(raw) => Tensor::from_le_bytes(shape, raw),
                    None => Tensor::new(shape, proto.float_data.clone()),
                };
                let tensor = tensor.map_err(|error| error.to_string())?;
                match tensor.first_non_finite() {
                    Some((index, value)) => Err(format!("element {index} is {value}; values must be finite")),
                    None => Ok(Literal::Float(tensor)),
                }
            }
            Ok(kind @ (DataType::Int64 | DataType::Int32)) if shape.len() <= 1 && count <= MAX_INTS as u64 => {
                let items: Vec<i64> = match (&proto.raw_data, kind) {
                    (Some(raw), DataType::Int64) if raw.len() % 8 == 0 => raw
                        .as_chunks::<8>()
                        .0
                        .iter()
                        .map(|bytes| i64::from_le_bytes(*bytes))
                        .collect(),
                    (Some(raw), DataType::Int32) if raw.len() % 4 == 0 => raw
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|bytes| i32::from_le_bytes(*bytes).into())
                        .collect(),
                    (Some(raw), _) => return Err(format!("its data has {} bytes", raw.len())),
                    (None, DataType::Int64) => proto.int64_data.clone(),
                    (None, _) => proto.int32_data.iter().map(|value| i64::from(*value)).collect(),
                };
                if items.len() as u64 != count {
                    return Err(format!(
                        "shape {:?} needs {count} integers, found {}",
                        proto.dims,
                        items.len()
                    ));
                }
                let items = items.into_iter().map(Int::Known).collect();
                Ok(Literal::Ints(Ints {
                    scalar: shape.is_empty(),
                    items,
                }))
            }
            Ok(kind) => Ok(Literal::Opaque(format!(
                "a tensor of type {} and shape {shape:?}",
                kind.as_str_name()
            ))),
            Err(_) => Ok(Literal::Opaque(format!("a tensor of type {}", proto.data_type()))),
        }
    }
}
