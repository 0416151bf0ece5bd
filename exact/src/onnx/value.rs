//! What a name in the graph stands for while it is decoded.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use super::shapes::show;
use super::{Dim, Source};
use crate::tensor::Tensor;

/// The largest magnitude up to which f32 holds every integer.
const WHOLE: f64 = (1 << 24) as f64;

/// What the elements of a tensor mean; engines hold them all as f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Float,
    Integer,
    Bool,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "an f32",
            Self::Integer => "an integer",
            Self::Bool => "a bool",
        })
    }
}

/// A number, or the number of samples in the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item {
    /// Integers below 2⁵³ and every f32 are exact.
    Number(f64),
    Batch,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Batch => f.write_str("N"),
        }
    }
}

impl Item {
    pub(super) fn known(self) -> Result<f64, String> {
        match self {
            Self::Number(value) => Ok(value),
            Self::Batch => Err("an integer depends on the batch size".to_owned()),
        }
    }
}

/// A tensor whose elements are known now.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) kind: Type,
    pub(super) shape: Vec<usize>,
    /// As many as the product of the shape.
    pub(super) items: Vec<Item>,
    /// Where among the graph's constants it is, once an engine needs it.
    pub(super) constant: OnceCell<usize>,
}

impl Known {
    pub(super) fn new(kind: Type, shape: Vec<usize>, items: Vec<Item>) -> Self {
        let constant = OnceCell::new();
        Self {
            kind,
            shape,
            items,
            constant,
        }
    }

    pub(super) fn numbers(kind: Type, shape: Vec<usize>, numbers: impl Iterator<Item = f64>) -> Self {
        Self::new(kind, shape, numbers.map(Item::Number).collect())
    }

    pub(super) fn scalar(kind: Type, number: f64) -> Self {
        Self::numbers(kind, Vec::new(), std::iter::once(number))
    }

    pub(super) fn from_tensor(kind: Type, tensor: &Tensor) -> Self {
        let numbers = tensor.data().iter().map(|value| f64::from(*value));
        Self::numbers(kind, tensor.shape().to_vec(), numbers)
    }

    /// As engines see it.
    pub(super) fn to_tensor(&self) -> Result<Tensor, String> {
        let data = self.items.iter().map(|item| self.element(*item));
        Tensor::new(self.shape.clone(), data.collect::<Result<_, _>>()?).map_err(|error| error.to_string())
    }

    fn element(&self, item: Item) -> Result<f32, String> {
        let value = item.known()?;
        if self.kind != Type::Float && value.abs() > WHOLE {
            return Err(format!("the integer {value} is beyond 2^24, up to which f32 is exact"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "floats are rounded to f32 where they are made"
        )]
        Ok(value as f32)
    }

    /// The elements as integers; those beyond 64 bits become the nearest.
    pub(super) fn integers(&self) -> Result<Vec<i64>, String> {
        self.items.iter().map(|item| item.known().map(integer)).collect()
    }
}

/// Exporters write "to the end" as 2⁶³ − 1, which is not exact here, so out-of-range numbers saturate.
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
pub(super) fn integer(value: f64) -> i64 {
    value as i64
}

/// What a name in the graph stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A tensor an engine computes with.
    Tensor {
        source: Source,
        shape: Vec<Dim>,
        kind: Type,
    },
    /// A tensor that is known now.
    Known(Rc<Known>),
    /// A tensor whose batch was merged with the dimensions after it, `merged` in all: only its other dimensions may be permuted
    /// until it is reshaped apart.
    Merged { apart: Box<Value>, merged: usize },
    /// Something that may be passed around but not computed with, in words.
    Opaque(String),
}

impl From<Known> for Value {
    fn from(known: Known) -> Self {
        Self::Known(Rc::new(known))
    }
}

impl Value {
    pub(super) fn shape(&self) -> Result<Vec<Dim>, String> {
        match self {
            Self::Tensor { shape, .. } => Ok(shape.clone()),
            Self::Known(known) => Ok(fixed(&known.shape)),
            Self::Merged { apart, merged } => Err(format!(
                "one of its inputs has the first {merged} dimensions of {} merged into one, which only Transpose and \
                 Reshape support",
                show(&apart.shape()?)
            )),
            Self::Opaque(what) => Err(format!("one of its inputs is {what}")),
        }
    }

    pub(super) fn kind(&self) -> Result<Type, String> {
        match self {
            Self::Tensor { kind, .. } => Ok(*kind),
            Self::Known(known) => Ok(known.kind),
            Self::Merged { apart, .. } => apart.kind(),
            Self::Opaque(what) => Err(format!("one of its inputs is {what}")),
        }
    }
}

pub(super) fn fixed(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|size| Dim::Fixed(*size)).collect()
}
