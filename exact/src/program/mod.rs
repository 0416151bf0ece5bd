//! A step of training, or an inference, as one list of primitives.
//!
//! A [`Program`] is in static single-assignment form. Its *values* are flat f32 buffers, numbered: first the inputs, then
//! the constants, then the result of each instruction. An instruction is a [`Primitive`] and the values it reads, all of
//! lower number. A primitive's view may see a value under any shape of as many elements, so reshaping costs nothing.
//!
//! | file | does |
//! |---|---|
//! | `builder.rs`, `folds.rs`, `layout.rs` | writes programs: broadcasting maps; products, convolutions, reductions; slices, gathers |
//! | `terms.rs` | writes expressions |
//! | `gradient.rs`, `invert.rs` | reverse-mode differentiation: the derivative of each primitive, in primitives |
//! | `fuse.rs` | joins maps |
//! | `commitment.rs` | the program's root, and its parts as bytes with proofs |
//! | `cost.rs` | memory and steps of a run, known before it |
//! | `executor.rs` | runs a program on the kernels |

mod builder;
mod commitment;
mod cost;
mod executor;
mod folds;
mod fuse;
mod gradient;
mod invert;
mod layout;
mod terms;

pub use builder::{Builder, Var};
pub use commitment::{Commitment, Header, Leaf, MAX_LEAF, OpenedLeaf};
pub use cost::Cost;
pub use executor::Executor;
pub use folds::Window;
pub use terms::{Node, Terms};

use crate::definition::{DefinitionError, Primitive};
use crate::kernels::KernelError;
use crate::tensor::{Tensor, elements};

/// The most values of a program.
pub const MAX_VALUES: usize = 1 << 20;
/// The most bytes that the values of a program may take together: 1 TiB.
pub const MAX_BYTES: u64 = 1 << 40;

/// What an input or an output of a program is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A tensor of the state of training: a weight, a buffer or part of the optimizer's state (`opt/…`).
    State(String),
    /// The batch: (N, …).
    Samples,
    /// Labels as whole numbers, one for each row of the graph's output.
    Labels,
    /// The learning rate of this step; one element.
    Rate,
    /// The key of random numbers: four 16-bit words, the lowest first.
    Key,
    /// The loss of the batch before the step; one element. Only an output.
    Loss,
    /// What the graph gives. Only an output.
    Result,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// What it is.
    pub role: Role,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// The number of its value.
    pub value: usize,
}

/// One primitive and the values it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// What is computed.
    pub primitive: Primitive,
    /// The value behind each of the primitive's views.
    pub operands: Vec<usize>,
}

/// A checked list of instructions.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    inputs: Vec<Port>,
    constants: Vec<Tensor>,
    instructions: Vec<Instruction>,
    outputs: Vec<Port>,
}

/// Why a program is refused or does not run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProgramError {
    /// A primitive that makes no sense.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// Operands that do not fit an operation.
    #[error("{operation}: {why}")]
    Shape {
        /// What was asked for.
        operation: &'static str,
        /// What does not fit.
        why: String,
    },
    /// An instruction that does not fit the values before it.
    #[error("instruction {instruction}: {why}")]
    Instruction {
        /// Its position.
        instruction: usize,
        /// What does not fit.
        why: String,
    },
    /// More than a bound allows.
    #[error("the program has {found} {what}, the limit is {limit}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// A derivative that cannot be written as primitives.
    #[error("the derivative of {operation} cannot be formed: {why}")]
    Derivative {
        /// The operation.
        operation: &'static str,
        /// What is in the way.
        why: &'static str,
    },
    /// An input or output that the program does not have, or of another size.
    #[error("{role:?} has {found} elements, the program needs {needed}")]
    Input {
        /// Which.
        role: Role,
        /// Elements found.
        found: usize,
        /// Elements needed.
        needed: usize,
    },
    /// A kernel that does not fit its operands.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Program {
    /// A program of these parts: the values of inputs and constants are numbered in their order.
    ///
    /// # Errors
    /// When an instruction reads a value that is not before it or of another size, a port names a value of another
    /// size, a role appears twice, or a limit of this module is broken.
    pub fn new(
        inputs: Vec<Port>,
        constants: Vec<Tensor>,
        instructions: Vec<Instruction>,
        outputs: Vec<Port>,
    ) -> Result<Self, ProgramError> {
        let program = Self {
            inputs,
            constants,
            instructions,
            outputs,
        };
        program.check()?;
        Ok(program)
    }

    fn check(&self) -> Result<(), ProgramError> {
        let limit = |what, found, limit| ProgramError::Limit { what, found, limit };
        let first = self.inputs.len() + self.constants.len();
        let count = first + self.instructions.len();
        if count > MAX_VALUES {
            return Err(limit("values", count as u64, MAX_VALUES as u64));
        }
        let mut sizes = Vec::with_capacity(count);
        for (number, port) in self.inputs.iter().enumerate() {
            let found = elements(&port.shape).ok_or_else(|| DefinitionError::Size(port.shape.clone()))?;
            if port.value != number || matches!(port.role, Role::Loss | Role::Result) {
                return Err(ProgramError::Shape {
                    operation: "input",
                    why: format!("input {number} is {:?}, value {}", port.role, port.value),
                });
            }
            sizes.push(found);
        }
        sizes.extend(self.constants.iter().map(|tensor| tensor.data().len()));
        for (at, instruction) in self.instructions.iter().enumerate() {
            let fail = |why| ProgramError::Instruction { instruction: at, why };
            let views = instruction.primitive.views();
            if views.len() != instruction.operands.len() {
                let (found, needed) = (instruction.operands.len(), views.len());
                return Err(fail(format!("{found} operands, its primitive reads {needed}")));
            }
            for (view, operand) in views.iter().zip(&instruction.operands) {
                let size = sizes
                    .get(*operand)
                    .ok_or_else(|| fail(format!("operand {operand} is not before it")))?;
                if elements(&view.shape) != Some(*size) {
                    return Err(fail(format!(
                        "operand {operand} has {size} elements, its view has the shape {:?}",
                        view.shape
                    )));
                }
            }
            sizes.push(instruction.primitive.elements());
        }
        for port in &self.outputs {
            if sizes.get(port.value).copied() != elements(&port.shape) || sizes.get(port.value).is_none() {
                return Err(ProgramError::Shape {
                    operation: "output",
                    why: format!("{:?} of shape {:?} is value {}", port.role, port.shape, port.value),
                });
            }
        }
        for ports in [&self.inputs, &self.outputs] {
            let mut roles: Vec<&Role> = ports.iter().map(|port| &port.role).collect();
            roles.sort_unstable();
            if let Some(pair) = roles.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(ProgramError::Shape {
                    operation: "port",
                    why: format!("{:?} appears twice", pair[0]),
                });
            }
        }
        let bytes = sizes
            .iter()
            .fold(0u64, |sum, size| sum.saturating_add(4 * *size as u64));
        if bytes > MAX_BYTES {
            return Err(limit("bytes of values", bytes, MAX_BYTES));
        }
        Ok(())
    }

    /// What goes in: values `0..inputs().len()`.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Tensors that never change: the values after the inputs.
    pub fn constants(&self) -> &[Tensor] {
        &self.constants
    }

    /// What is computed: the values after the constants.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// What comes out.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The number of the first instruction's value.
    pub fn first(&self) -> usize {
        self.inputs.len() + self.constants.len()
    }

    /// How many values there are.
    pub fn values(&self) -> usize {
        self.first() + self.instructions.len()
    }

    /// How many elements value `value` has; `None` if there is no such value.
    pub fn elements(&self, value: usize) -> Option<usize> {
        if let Some(port) = self.inputs.get(value) {
            return elements(&port.shape);
        }
        if let Some(tensor) = self.constants.get(value - self.inputs.len()) {
            return Some(tensor.data().len());
        }
        self.instructions
            .get(value - self.first())
            .map(|instruction| instruction.primitive.elements())
    }
}
