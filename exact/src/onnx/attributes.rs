//! A node's operands and attributes, as the operators ask for them. Every attribute must be asked for: one that nobody
//! knows could change what the node means.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::Dim;
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::value::{Item, Known, Type, Value, integer};

/// One node's operands and attributes.
pub(super) struct Operands<'a> {
    /// How many results it has.
    pub(super) outputs: usize,
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
        let outputs = node.output.len();
        Ok(Self {
            outputs,
            inputs,
            attributes,
        })
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

    /// The operands, all of which must be there.
    pub(super) fn all(&self) -> Result<Vec<&'a Value>, String> {
        (0..self.len()).map(|index| self.value(index)).collect()
    }

    pub(super) fn shape(&self, index: usize) -> Result<Vec<Dim>, String> {
        match self.value(index)? {
            Value::Opaque(what) => Err(format!("its input {index} is {what}")),
            value => value.shape(),
        }
    }

    pub(super) fn kind(&self, index: usize) -> Result<Type, String> {
        self.value(index)?.kind()
    }

    fn known(&self, index: usize) -> Result<&'a Known, String> {
        match self.value(index)? {
            Value::Known(known) => Ok(known),
            Value::Tensor { .. } | Value::Merged { .. } => {
                let kind = self.kind(index)?;
                Err(format!("its input {index} is {kind} tensor, expected a small constant"))
            }
            Value::Opaque(what) => Err(format!("its input {index} is {what}, expected a small constant")),
        }
    }

    /// The numbers of an operand that says something about shapes.
    pub(super) fn items(&self, index: usize) -> Result<&'a [Item], String> {
        let known = self.known(index)?;
        if known.kind != Type::Integer || known.shape.len() > 1 {
            return Err(format!(
                "its input {index} is {} tensor of rank {}, expected an integer tensor of rank 0 or 1",
                known.kind,
                known.shape.len()
            ));
        }
        Ok(&known.items)
    }

    pub(super) fn integers(&self, index: usize) -> Result<Vec<i64>, String> {
        self.items(index)?
            .iter()
            .map(|item| item.known().map(integer))
            .collect()
    }

    /// A constant with one element.
    pub(super) fn number(&self, index: usize) -> Result<f64, String> {
        match self.known(index)?.items[..] {
            [item] => item.known(),
            ref items => Err(format!("its input {index} has {} elements, expected 1", items.len())),
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

    /// A list of that many numbers, none of them negative.
    pub(super) fn sizes(&self, name: &str, count: usize) -> Result<Option<Vec<usize>>, String> {
        let Some(list) = self.int_list(name) else {
            return Ok(None);
        };
        let sizes: Option<Vec<usize>> = list.iter().map(|size| usize::try_from(*size).ok()).collect();
        match sizes.filter(|sizes| sizes.len() == count) {
            Some(sizes) => Ok(Some(sizes)),
            None => Err(format!(
                "the attribute {name:?} is {list:?}, expected {count} numbers that are not negative"
            )),
        }
    }

    /// A scalar operand, or an attribute of that name (older operator sets).
    pub(super) fn scalar(&self, index: usize, name: &str) -> Result<Option<f32>, String> {
        if !self.present(index) {
            return self.float(name);
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounds")]
        Ok(Some(self.number(index)? as f32))
    }

    /// Integers that are an operand, or an attribute of that name in older operator sets.
    pub(super) fn list(&self, index: usize, name: &str) -> Result<Option<Vec<i64>>, String> {
        if self.present(index) {
            self.integers(index).map(Some)
        } else {
            Ok(self.int_list(name).map(<[i64]>::to_vec))
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
