//! A first pass over the bytes that allocates nothing: it follows the messages of `proto/onnx.proto` and counts what
//! decoding them would cost, because a message of two bytes decodes into hundreds.

use super::{Error, Limits};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Opset,
    Graph,
    Node,
    Attribute,
    Tensor,
    External,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
}

/// What a length-delimited field holds.
enum Field {
    Message(Message),
    /// Packed integers or floats that decode into up to eight times their bytes.
    Packed,
    Bytes,
}

fn field(message: Message, number: u64) -> Field {
    use Message::{
        Attribute, Dimension, External, Graph, Model, Node, Opset, Shape, Tensor, TensorType, Type, ValueInfo,
    };
    match (message, number) {
        (Model, 7) => Field::Message(Graph),
        (Model, 8) => Field::Message(Opset),
        (Graph, 1) => Field::Message(Node),
        (Graph, 5) | (Attribute, 5) => Field::Message(Tensor),
        (Graph, 11 | 12) => Field::Message(ValueInfo),
        (Node, 5) => Field::Message(Attribute),
        (Tensor, 13) => Field::Message(External),
        (ValueInfo, 2) => Field::Message(Type),
        (Type, 1) => Field::Message(TensorType),
        (TensorType, 2) => Field::Message(Shape),
        (Shape, 1) => Field::Message(Dimension),
        (Tensor, 1 | 5 | 7) | (Attribute, 7 | 8) => Field::Packed,
        _ => Field::Bytes,
    }
}

struct Count<'a> {
    limits: &'a Limits,
    nodes: u64,
    tensors: u64,
    fields: u64,
}

/// Refuses bytes that are no chain of protobuf fields, or whose messages would break a limit once decoded.
pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    limit("the size of the file in bytes", bytes.len() as u64, limits.bytes)?;
    Count {
        limits,
        nodes: 0,
        tensors: 0,
        fields: 0,
    }
    .message(bytes, Message::Model)
}

/// An error when `found` is over `limit`.
pub(super) fn limit(what: impl Into<String>, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit {
        Err(Error::Limit {
            what: what.into(),
            found,
            limit,
        })
    } else {
        Ok(())
    }
}

impl Count<'_> {
    /// Recursion is as deep as the messages nest: at most six levels.
    fn message(&mut self, mut bytes: &[u8], message: Message) -> Result<(), Error> {
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            self.fields += 1;
            match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                }
                1 => skip(&mut bytes, 8)?,
                5 => skip(&mut bytes, 4)?,
                2 => {
                    let length = varint(&mut bytes)?;
                    let content = bytes;
                    skip(&mut bytes, length)?;
                    let content = &content[..content.len() - bytes.len()];
                    match field(message, key >> 3) {
                        Field::Message(inner) => {
                            self.nodes += u64::from(inner == Message::Node);
                            self.tensors += u64::from(inner == Message::Tensor && message == Message::Graph);
                            self.within_limits()?;
                            self.message(content, inner)?;
                        }
                        Field::Packed => self.fields += length,
                        Field::Bytes => {}
                    }
                }
                wire => return Err(Error::Format(format!("a field has wire type {wire}"))),
            }
            self.within_limits()?;
        }
        Ok(())
    }

    fn within_limits(&self) -> Result<(), Error> {
        limit("the number of nodes", self.nodes, self.limits.nodes)?;
        limit("the number of initializers", self.tensors, self.limits.tensors)?;
        limit("the number of fields", self.fields, self.limits.fields)
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            return Err(truncated());
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Format("a varint is longer than 10 bytes".to_owned()))
}

fn skip(bytes: &mut &[u8], length: u64) -> Result<(), Error> {
    let rest = usize::try_from(length)
        .ok()
        .and_then(|length| bytes.get(length..))
        .ok_or_else(truncated)?;
    *bytes = rest;
    Ok(())
}

fn truncated() -> Error {
    Error::Format("truncated: a field ends beyond the end of the file".to_owned())
}
