//! Tensors written in the file: weights, constants, small ones that are kept as numbers, and what is neither.

use super::decode::Decoder;
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType};
use super::value::{Known, Type, Value, fixed};
use super::wire::limit;
use super::{Error, Source};
use crate::tensor::Tensor;

/// Most elements of a constant that is kept as numbers: those that say something about shapes are smaller.
const SMALL: u64 = 64;

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
        let value = self.literal(proto, Some(&name)).map_err(&fail)?;
        limit("the number of parameters", self.parameters, self.limits.parameters)?;
        if self.values.insert(name.clone(), value).is_some() {
            return Err(fail("the name is given to two initializers".to_owned()));
        }
        Ok(())
    }

    /// A tensor written in the file. An f32 tensor with a name is a weight, unless it is a scalar or holds an infinity.
    pub(super) fn literal(&mut self, proto: &TensorProto, name: Option<&str>) -> Result<Value, String> {
        let (shape, count) = self.shape_of(proto)?;
        let (kind, data) = match DataType::try_from(proto.data_type()) {
            Ok(DataType::Float) => (Type::Float, Data::Floats(floats(proto)?)),
            // Exporters write scalars in f64 that are then cast.
            Ok(DataType::Double) if shape.is_empty() => {
                (Type::Float, Data::Numbers(numbers(proto, f64::from_le_bytes)?))
            }
            Ok(DataType::Int64) if proto.raw_data.is_some() => {
                let read = |bytes| i64::from_le_bytes(bytes) as f64;
                (Type::Integer, Data::Numbers(numbers(proto, read)?))
            }
            Ok(DataType::Int64) => {
                let data = proto.int64_data.iter().map(|value| *value as f64);
                (Type::Integer, Data::Numbers(data.collect()))
            }
            Ok(kind @ (DataType::Int32 | DataType::Bool)) => {
                let data = match kind {
                    _ if proto.raw_data.is_none() => proto.int32_data.iter().map(|value| f64::from(*value)).collect(),
                    DataType::Int32 => numbers(proto, |bytes| f64::from(i32::from_le_bytes(bytes)))?,
                    _ => numbers(proto, |[byte]| f64::from(u8::from(byte != 0)))?,
                };
                let kind = if kind == DataType::Bool {
                    Type::Bool
                } else {
                    Type::Integer
                };
                (kind, Data::Numbers(data))
            }
            Ok(kind) => {
                let what = format!("a tensor of type {} and shape {shape:?}", kind.as_str_name());
                return Ok(Value::Opaque(what));
            }
            Err(_) => return Ok(Value::Opaque(format!("a tensor of type {}", proto.data_type()))),
        };
        let found = match &data {
            Data::Floats(values) => values.len(),
            Data::Numbers(values) => values.len(),
        } as u64;
        if found != count {
            return Err(format!("shape {shape:?} needs {count} elements, found {found}"));
        }
        self.parameters = self.parameters.saturating_add(count);
        let values = match data {
            Data::Numbers(values) if kind != Type::Float && (count > SMALL || shape.len() > 1) => {
                let known = Known::numbers(kind, shape, values.into_iter());
                return Ok(self.constant_of(known.to_tensor()?, kind));
            }
            Data::Numbers(values) => return Ok(Known::numbers(kind, shape, values.into_iter()).into()),
            Data::Floats(values) => values,
        };
        if count == 0 {
            return Err(format!("it has no elements: {shape:?}"));
        }
        let tensor = Tensor::new(shape, values).map_err(|error| error.to_string())?;
        let finite = match tensor.first_non_finite() {
            Some((index, value)) if value.is_nan() => return Err(format!("element {index} is NaN")),
            found => found.is_none(),
        };
        Ok(match name {
            Some(name) if finite && !tensor.shape().is_empty() => {
                let (source, dims) = (Source::Weight(name.to_owned()), fixed(tensor.shape()));
                self.initializers.insert(name.to_owned(), tensor);
                Value::Tensor {
                    source,
                    shape: dims,
                    kind,
                }
            }
            _ if count <= SMALL => Known::from_tensor(kind, &tensor).into(),
            _ => self.constant_of(tensor, kind),
        })
    }

    /// The shape and the number of elements, within the limits.
    fn shape_of(&self, proto: &TensorProto) -> Result<(Vec<usize>, u64), String> {
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
        let total = self.parameters.saturating_add(count);
        if total > self.limits.parameters {
            let limit = self.limits.parameters;
            return Err(format!("with it the graph has {total} elements, the limit is {limit}"));
        }
        Ok((shape, count))
    }
}

/// The elements of a tensor in the file.
enum Data {
    Floats(Vec<f32>),
    Numbers(Vec<f64>),
}

fn floats(proto: &TensorProto) -> Result<Vec<f32>, String> {
    match &proto.raw_data {
        None => Ok(proto.float_data.clone()),
        Some(raw) => chunks(raw, f32::from_le_bytes),
    }
}

fn numbers<const SIZE: usize>(proto: &TensorProto, read: impl Fn([u8; SIZE]) -> f64) -> Result<Vec<f64>, String> {
    chunks(proto.raw_data.as_deref().unwrap_or_default(), read)
}

fn chunks<const SIZE: usize, T>(raw: &[u8], read: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>, String> {
    match raw.as_chunks::<SIZE>() {
        (chunks, []) => Ok(chunks.iter().map(|bytes| read(*bytes)).collect()),
        _ => Err(format!("its data has {} bytes, not a multiple of {SIZE}", raw.len())),
    }
}
