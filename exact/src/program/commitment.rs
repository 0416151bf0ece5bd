//! A program as bytes, and its root.
//!
//! The root is that of a Merkle tree whose leaves are, in this order,
//!
//! ```text
//! header      = 0 ‖ number of inputs ‖ of constants ‖ of instructions ‖ of tensors of state ‖ of other outputs
//! input       = 1 ‖ role ‖ shape
//! constant    = 2 ‖ number of elements ‖ tensor root
//! instruction = 3 ‖ number of operands ‖ the value behind each ‖ primitive, as in `definition::encode`
//! state       = 4 ‖ name ‖ shape ‖ value before ‖ value after
//! output      = 5 ‖ role ‖ shape ‖ value
//! role        = 0 ‖ name (state)   1 (samples)   2 (labels)   3 (rate)   4 (key)   5 (loss)   6 (result)
//! ```
//!
//! in the forms of [`crate::encoding`]. So value *v* of the program is leaf *v* + 1. There is one state leaf for each
//! tensor of the state, in name order; a tensor that the program does not output stays as it was.

use super::{Instruction, MAX_VALUES, Port, Program, ProgramError, Role};
use crate::definition::{MAX_AXES, MAX_ENCODING, MAX_EXTENT, MAX_INPUTS, Primitive};
use crate::encoding::{EncodingError, Reader, write_bytes, write_number};
use crate::merkle::{leaf_hash, prove_several, root_of_hashes, siblings_of_several, verify_several};
use crate::prf::Hash;
use crate::state::{MAX_NAME, tensor_root};

/// The most bytes of a leaf of a program.
pub const MAX_LEAF: usize = MAX_ENCODING + 8 * MAX_INPUTS;

/// How many of each kind of leaf a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Inputs: values from 0.
    pub inputs: u64,
    /// Constants: the values after the inputs.
    pub constants: u64,
    /// Instructions: the values after the constants.
    pub instructions: u64,
    /// Tensors of the state of training.
    pub states: u64,
    /// Outputs that are no tensors of the state.
    pub outputs: u64,
}

impl Header {
    /// How many values there are.
    pub fn values(&self) -> u64 {
        self.inputs
            .saturating_add(self.constants)
            .saturating_add(self.instructions)
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> u64 {
        let values = self.values().saturating_add(1);
        values.saturating_add(self.states).saturating_add(self.outputs)
    }

    /// The leaf of a value.
    pub fn value(&self, value: u64) -> Option<u64> {
        (value < self.values()).then(|| value + 1)
    }

    /// The leaf of the tensor of state of this position, in name order.
    pub fn state(&self, position: u64) -> Option<u64> {
        (position < self.states).then(|| self.values().saturating_add(1).saturating_add(position))
    }
}

/// One leaf of a program's tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// The first.
    Header(Header),
    /// An input, whose value has the position of the leaf.
    Input(Role, Vec<usize>),
    /// A constant: how many elements it has, and their root.
    Constant(usize, Hash),
    /// An instruction.
    Instruction(Instruction),
    /// A tensor of the state: its name, its shape, and its values before and after a step.
    State(String, Vec<usize>, [usize; 2]),
    /// Another output.
    Output(Port),
}

impl Leaf {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Header(header) => {
                out.push(0);
                for count in [
                    header.inputs,
                    header.constants,
                    header.instructions,
                    header.states,
                    header.outputs,
                ] {
                    write_number(&mut out, count);
                }
            }
            Self::Input(role, shape) => {
                out.push(1);
                write_role(&mut out, role);
                write_shape(&mut out, shape);
            }
            Self::Constant(elements, root) => {
                out.push(2);
                write_number(&mut out, *elements as u64);
                out.extend_from_slice(root);
            }
            Self::Instruction(instruction) => {
                out.push(3);
                write_shape(&mut out, &instruction.operands);
                out.extend_from_slice(&instruction.primitive.encode());
            }
            Self::State(name, shape, values) => {
                out.push(4);
                write_bytes(&mut out, name.as_bytes());
                write_shape(&mut out, shape);
                values.iter().for_each(|value| write_number(&mut out, *value as u64));
            }
            Self::Output(port) => {
                out.push(5);
                write_role(&mut out, &port.role);
                write_shape(&mut out, &port.shape);
                write_number(&mut out, port.value as u64);
            }
        }
        out
    }

    /// The leaf with these bytes.
    ///
    /// # Errors
    /// When they are not exactly what [`Leaf::encode`] gives for some leaf of some program.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut reader = Reader::new(bytes, MAX_LEAF)?;
        let leaf = match reader.byte()? {
            0 => {
                let mut count = || reader.number("number of leaves", MAX_VALUES as u64);
                Self::Header(Header {
                    inputs: count()?,
                    constants: count()?,
                    instructions: count()?,
                    states: count()?,
                    outputs: count()?,
                })
            }
            1 => Self::Input(read_role(&mut reader)?, read_shape(&mut reader)?),
            2 => Self::Constant(reader.count("number of elements", MAX_EXTENT)?, reader.hash()?),
            3 => {
                let operands = reader.count("number of operands", MAX_INPUTS)?;
                let operands = (0..operands).map(|_| reader.count("operand", MAX_VALUES));
                let operands: Vec<usize> = operands.collect::<Result<_, _>>()?;
                let primitive = Primitive::decode(reader.rest())?;
                if primitive.views().len() != operands.len() {
                    return Err(EncodingError::Form {
                        what: "number of operands",
                    });
                }
                return Ok(Self::Instruction(Instruction { primitive, operands }));
            }
            4 => Self::State(
                read_name(&mut reader)?,
                read_shape(&mut reader)?,
                [reader.count("value", MAX_VALUES)?, reader.count("value", MAX_VALUES)?],
            ),
            5 => Self::Output(Port {
                role: read_role(&mut reader)?,
                shape: read_shape(&mut reader)?,
                value: reader.count("value", MAX_VALUES)?,
            }),
            found => return Err(EncodingError::Unknown { what: "leaf", found }),
        };
        reader.finish()?;
        Ok(leaf)
    }
}

fn write_shape(out: &mut Vec<u8>, shape: &[usize]) {
    write_number(out, shape.len() as u64);
    shape.iter().for_each(|extent| write_number(out, *extent as u64));
}

fn read_shape(reader: &mut Reader<'_>) -> Result<Vec<usize>, EncodingError> {
    let axes = reader.count("number of axes", MAX_AXES)?;
    (0..axes).map(|_| reader.count("extent", MAX_EXTENT)).collect()
}

fn read_name(reader: &mut Reader<'_>) -> Result<String, EncodingError> {
    let name = std::str::from_utf8(reader.bytes("name", MAX_NAME)?);
    Ok(name.map_err(|_| EncodingError::Form { what: "name" })?.to_owned())
}

fn write_role(out: &mut Vec<u8>, role: &Role) {
    match role {
        Role::State(name) => {
            out.push(0);
            write_bytes(out, name.as_bytes());
        }
        Role::Samples => out.push(1),
        Role::Labels => out.push(2),
        Role::Rate => out.push(3),
        Role::Key => out.push(4),
        Role::Loss => out.push(5),
        Role::Result => out.push(6),
    }
}

fn read_role(reader: &mut Reader<'_>) -> Result<Role, EncodingError> {
    Ok(match reader.byte()? {
        0 => Role::State(read_name(reader)?),
        1 => Role::Samples,
        2 => Role::Labels,
        3 => Role::Rate,
        4 => Role::Key,
        5 => Role::Loss,
        6 => Role::Result,
        found => return Err(EncodingError::Unknown { what: "role", found }),
    })
}

/// A leaf's bytes and the hashes that lead from them to a program's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedLeaf {
    /// The leaf, encoded.
    pub bytes: Vec<u8>,
    /// The hashes, from the leaf upward.
    pub siblings: Vec<Hash>,
}

impl OpenedLeaf {
    /// The leaf, if it is number `index` of the program with this root and header.
    pub fn verify(&self, root: &Hash, header: &Header, index: u64) -> Option<Leaf> {
        let known = vec![(index, leaf_hash(&self.bytes))];
        let proven = self.bytes.len() <= MAX_LEAF && verify_several(root, header.leaves(), known, &self.siblings);
        proven.then(|| Leaf::decode(&self.bytes).ok()).flatten()
    }

    /// Appends its bytes: their number, they, the hashes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_bytes(out, &self.bytes);
        self.siblings.iter().for_each(|hash| out.extend_from_slice(hash));
    }

    /// Reads leaf `index` of a program with this header.
    ///
    /// # Errors
    /// When the bytes end early or the leaf is longer than [`MAX_LEAF`].
    pub fn decode(reader: &mut Reader<'_>, header: &Header, index: u64) -> Result<Self, EncodingError> {
        let bytes = reader.bytes("length of a leaf", MAX_LEAF)?.to_vec();
        let siblings = reader.take(32 * siblings_of_several(header.leaves(), &[index]))?;
        let siblings = siblings.as_chunks::<32>().0.to_vec();
        Ok(Self { bytes, siblings })
    }
}

/// The tree over a program.
#[derive(Clone, Debug)]
pub struct Commitment {
    header: Header,
    leaves: Vec<Leaf>,
    hashes: Vec<Hash>,
}

impl Commitment {
    /// The tree over this program.
    ///
    /// # Errors
    /// When the program outputs a tensor of state that is no input of the same shape, or a name is longer than
    /// [`MAX_NAME`].
    pub fn new(program: &Program) -> Result<Self, ProgramError> {
        let mut states: Vec<(&String, &Vec<usize>, [usize; 2])> = Vec::new();
        for port in program.inputs() {
            if let Role::State(name) = &port.role {
                if name.len() > MAX_NAME {
                    let (found, limit) = (name.len() as u64, MAX_NAME as u64);
                    let what = "bytes in the name of a tensor";
                    return Err(ProgramError::Limit { what, found, limit });
                }
                states.push((name, &port.shape, [port.value; 2]));
            }
        }
        states.sort_unstable_by_key(|(name, ..)| *name);
        let mut outputs = Vec::new();
        for port in program.outputs() {
            let Role::State(name) = &port.role else {
                outputs.push(Leaf::Output(port.clone()));
                continue;
            };
            let state = states
                .iter_mut()
                .find(|(known, shape, _)| *known == name && **shape == port.shape);
            let Some((.., values)) = state else {
                return Err(ProgramError::Shape {
                    operation: "output",
                    why: format!("{:?} of shape {:?} is no input", port.role, port.shape),
                });
            };
            values[1] = port.value;
        }
        let header = Header {
            inputs: program.inputs().len() as u64,
            constants: program.constants().len() as u64,
            instructions: program.instructions().len() as u64,
            states: states.len() as u64,
            outputs: outputs.len() as u64,
        };
        let mut leaves = vec![Leaf::Header(header)];
        let inputs = program.inputs().iter();
        leaves.extend(inputs.map(|port| Leaf::Input(port.role.clone(), port.shape.clone())));
        let constants = program.constants().iter();
        leaves.extend(constants.map(|tensor| Leaf::Constant(tensor.data().len(), tensor_root(tensor.data()))));
        leaves.extend(program.instructions().iter().cloned().map(Leaf::Instruction));
        let states = states.into_iter();
        leaves.extend(states.map(|(name, shape, values)| Leaf::State(name.clone(), shape.clone(), values)));
        leaves.extend(outputs);
        let hashes = leaves.iter().map(|leaf| leaf_hash(&leaf.encode())).collect();
        Ok(Self { header, leaves, hashes })
    }

    /// How many leaves of each kind there are.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The leaves.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The program's root.
    pub fn root(&self) -> Hash {
        root_of_hashes(self.hashes.clone())
    }

    /// Opens a leaf; `None` where there is none.
    pub fn open(&self, index: u64) -> Option<OpenedLeaf> {
        let leaf = self.leaves.get(usize::try_from(index).ok()?)?;
        Some(OpenedLeaf {
            bytes: leaf.encode(),
            siblings: prove_several(self.hashes.clone(), &[index])?,
        })
    }
}

impl Program {
    /// The root over everything that the program is: see [`Commitment`].
    ///
    /// # Errors
    /// Those of [`Commitment::new`].
    pub fn root(&self) -> Result<Hash, ProgramError> {
        Ok(Commitment::new(self)?.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Builder;
    use crate::tensor::Tensor;

    fn program(scale: f32) -> Program {
        let mut builder = Builder::new();
        let w = builder.input(Role::State("w".to_owned()), &[2, 3]);
        let x = builder.input(Role::Samples, &[4, 2]);
        builder.input(Role::State("a".to_owned()), &[1]);
        let scale = builder.constant(Tensor::scalar(scale));
        let product = builder.matmul(&x, &w).unwrap();
        let sum = builder.sum(&product, &[0, 1]).unwrap();
        let next = builder
            .map(&[&w, &scale], |terms, inputs| terms.multiply(inputs[0], inputs[1]))
            .unwrap();
        let outputs = vec![(Role::State("w".to_owned()), next), (Role::Loss, sum)];
        builder.finish(outputs).unwrap()
    }

    #[test]
    fn leaves_open_and_return_from_their_bytes() {
        let program = program(0.5);
        let tree = Commitment::new(&program).unwrap();
        let header = tree.header();
        assert_eq!((header.values(), header.states, header.outputs), (7, 2, 1));
        assert_eq!(tree.leaves().len() as u64, header.leaves());
        assert_eq!(program.root(), Ok(tree.root()));
        for (index, leaf) in (0..).zip(tree.leaves()) {
            let opened = tree.open(index).unwrap();
            assert_eq!(opened.verify(&tree.root(), header, index).as_ref(), Some(leaf));
            assert_eq!(opened.verify(&tree.root(), header, index + 1), None);
            let mut bytes = Vec::new();
            opened.encode(&mut bytes);
            let mut reader = Reader::new(&bytes, bytes.len()).unwrap();
            assert_eq!(OpenedLeaf::decode(&mut reader, header, index), Ok(opened.clone()));
            for at in 0..opened.bytes.len() {
                let mut other = opened.bytes.clone();
                other[at] ^= 1;
                if let Ok(leaf) = Leaf::decode(&other) {
                    assert_eq!(leaf.encode(), other);
                }
                assert!(Leaf::decode(&opened.bytes[..at]).is_err());
            }
        }
        assert_eq!(tree.open(header.leaves()), None);
        let states = tree.leaves().iter().filter(|leaf| matches!(leaf, Leaf::State(..)));
        let states: Vec<&Leaf> = states.collect();
        assert_eq!(*states[0], Leaf::State("a".to_owned(), vec![1], [2, 2]));
        assert!(matches!(states[1], Leaf::State(name, _, [0, after]) if name == "w" && *after > 3));
        assert_eq!(header.state(1), Some(9));
        assert_eq!(header.state(2), None);
    }

    #[test]
    fn every_part_matters() {
        assert_ne!(program(0.5).root(), program(0.25).root());
    }

    #[test]
    fn a_state_must_have_been_there() {
        let mut builder = Builder::new();
        let w = builder.input(Role::State("w".to_owned()), &[2]);
        let program = builder.finish(vec![(Role::State("v".to_owned()), w)]).unwrap();
        assert!(program.root().unwrap_err().to_string().contains("is no input"));
    }
}
