//! A node's operands and attributes, as the operators ask for them. Every attribute must be asked for: one that nobody
//! knows could change what the node means.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::fold::Ints;
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::{Dim, Source};

/// What a name in the graph stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A tensor an engine computes with.
    Tensor { source: Source, shape: Vec<Dim> },
    /// An f32 initializer.
    Initializer {
        name: String,
        shape: Vec<Dim>,
        scalar: Option<f32>,
    },
    /// A constant integer tensor.
    Ints(Ints),
    /// Something that may be passed around but not computed with, in words.
    Opaque(String),
}

/// One node's operands and attributes.
pub(super) struct Operands<'a> {
    inputs: Vec<Option<&'a Value>>,
    attributes: BTreeMap<&'a str, (&'a AttributeProto, Cell<bool>)>,
}

impl<'a> Operands<'a> {
    pub(super) fn new(node: &'a NodeProto, values: &'a BTreeMap<String, Value>) -> Result<Self, String> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match (name.as_str(), values.get(name)) {
                ("", _) => None,
                (_, Some(value)) => Some(value),
                (_, None) => {
                    return Err(format!(
                        "its input {name:?} is neither an initializer nor computed before"
                    ));
                }
            });
        }
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let mut attributes = BTreeMap::new();
        for attribute in &node.attribute {
            if attributes
                .insert(attribute.name(), (attribute, Cell::new(false)))
                .is_some()
            {
                return Err(format!("the attribute {:?} is given twice", attribute.name()));
            }
        }
        Ok(Self { inputs, attributes })
    }

    pub(super) fn len(&self) -> usize {
        self.inputs.len()
    }

    pub(super) fn present(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }

    pub(super) fn value(&self, index: usize) -> Result<&'a Value, String> {
        self.inputs
            .get(index)
            .copied()
            .flatten()
            .ok_or_else(|| format!("its input {index} is missing"))
    }

    /// No more operands than an operator knows.
    pub(super) fn at_most(&self, count: usize) -> Result<(), String> {
        if self.len() > count {
            Err(format!("it has {} inputs, at most {count} are known", self.len()))
        } else {
            Ok(())
        }
    }

    /// The shape of an operand that an engine computes with.
    pub(super) fn shape(&self, index: usize) -> Result<&'a [Dim], String> {
        match self.value(index)? {
            Value::Tensor { shape, .. } | Value::Initializer { shape, .. } => Ok(shape),
            Value::Ints(_) => Err(format!("its input {index} is an integer tensor, expected f32")),
            Value::Opaque(what) => Err(format!("its input {index} is {what}, expected f32")),
        }
    }

    pub(super) fn ints(&self, index: usize) -> Result<&'a Ints, String> {
        match self.value(index)? {
            Value::Ints(ints) => Ok(ints),
            Value::Opaque(what) => Err(format!(
                "its input {index} is {what}, expected a constant integer tensor"
            )),
            _ => Err(format!(
                "its input {index} is an f32 tensor, expected a constant integer tensor"
            )),
        }
    }

    /// The name of an operand that must be an initializer.
    pub(super) fn initializer(&self, index: usize) -> Result<&'a str, String> {
        match self.value(index)? {
            Value::Initializer { name, scalar: None, .. } => Ok(name),
            _ => Err(format!("its input {index} must be an initializer")),
        }
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.attributes.get(name).map(|(attribute, used)| {
            used.set(true);
            *attribute
        })
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.optional_int(name)?.unwrap_or(default))
    }

    pub(super) fn optional_int(&self, name: &str) -> Result<Option<i64>, String> {
        self.typed(name, "an integer", |attribute| attribute.i)
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("the attribute {name:?} is {other}, expected 0 or 1")),
        }
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, String> {
        match self.typed(name, "a number", |attribute| attribute.f)? {
            Some(value) if !value.is_finite() => Err(format!("the attribute {name:?} is {value}")),
            value => Ok(value),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.typed(name, "a string", |attribute| {
            std::str::from_utf8(attribute.s.as_ref()?).ok()
        })
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name).and_then(|attribute| attribute.t.as_ref())
    }

    pub(super) fn int_list(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|attribute| &attribute.ints[..])
    }

    /// A list of positive numbers of a fixed length.
    pub(super) fn sizes<const L: usize>(&self, name: &str) -> Result<Option<[usize; L]>, String> {
        let Some(list) = self.int_list(name) else {
            return Ok(None);
        };
        let sizes: Option<Vec<usize>> = list.iter().map(|size| usize::try_from(*size).ok()).collect();
        match sizes.map(<[usize; L]>::try_from) {
            Some(Ok(sizes)) => Ok(Some(sizes)),
            _ => Err(format!(
                "the attribute {name:?} is {list:?}, expected {L} numbers that are not negative"
            )),
        }
    }

    /// A scalar operand, or an attribute of that name (older operator sets).
    pub(super) fn scalar(&self, index: usize, name: &str) -> Result<Option<f32>, String> {
        if !self.present(index) {
            return self.float(name);
        }
        match self.value(index)? {
            Value::Initializer {
                scalar: Some(value), ..
            } => Ok(Some(*value)),
            _ => Err(format!("its input {index} ({name}) must be a constant f32 scalar")),
        }
    }

    /// The axes: operand 1, or the attribute of older operator sets.
    pub(super) fn axes(&self) -> Result<Option<Vec<i64>>, String> {
        if self.present(1) {
            self.ints(1)?.known().map(Some)
        } else {
            Ok(self.int_list("axes").map(<[i64]>::to_vec))
        }
    }

    /// An error where an attribute was never asked for.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.attributes.iter().find(|(_, (_, used))| !used.get()) {
            Some((name, _)) => Err(format!("the attribute {name:?} is not known")),
            None => Ok(()),
        }
    }

    fn typed<T>(
        &self,
        name: &str,
        kind: &str,
        get: impl Fn(&'a AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.attribute(name).map(get) {
            None => Ok(None),
            Some(None) => Err(format!("the attribute {name:?} is not {kind}")),
            Some(value) => Ok(value),
        }
    }
}
