//! Writes a program: each call adds the instruction that computes a new value.

use std::collections::BTreeMap;

use super::fuse::fuse;
use super::terms::{Node, Terms};
use super::{Instruction, Port, Program, ProgramError, Role};
use crate::definition::{Coordinate, Operation, Primitive, View};
use crate::tensor::{Tensor, elements};

/// A value and the shape it is seen under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Var {
    pub(super) value: Value,
    pub(super) shape: Vec<usize>,
}

/// A value while the program is written: constants are numbered for themselves, as they may still be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Input(usize),
    Constant(usize),
    Result(usize),
}

impl Var {
    pub(super) fn new(value: Value, shape: Vec<usize>) -> Self {
        Self { value, shape }
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

type Derivative = Box<dyn FnOnce(&mut Builder, &Var) -> Result<Vec<(Var, Var)>, ProgramError>>;

/// A program being written.
#[derive(Default)]
pub struct Builder {
    inputs: Vec<Port>,
    constants: Vec<Tensor>,
    pub(super) instructions: Vec<(Primitive, Vec<Value>)>,
    pub(super) derivatives: BTreeMap<Value, Derivative>,
    pub(super) streams: u32,
}

/// `value · loop[axis]`, the only coordinate most views need.
pub(super) fn along(loops: usize, axis: Option<usize>) -> Coordinate {
    affine(loops, 0, &axis.map(|axis| (axis, 1)).into_iter().collect::<Vec<_>>())
}

/// `offset + Σ factor · loop[axis]`.
pub(super) fn affine(loops: usize, offset: i64, factors: &[(usize, i64)]) -> Coordinate {
    let mut coefficients = vec![0; loops];
    for (axis, factor) in factors {
        coefficients[*axis] += factor;
    }
    Coordinate {
        offset,
        coefficients,
        divisor: 1,
    }
}

pub(super) fn refuse<T>(operation: &'static str, why: String) -> Result<T, ProgramError> {
    Err(ProgramError::Shape { operation, why })
}

/// The shape that both broadcast to, by NumPy's rules.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, ProgramError> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (left, right) if left == right || right == 1 => Ok(left),
            (1, right) => Ok(right),
            _ => refuse("broadcast", format!("shapes {a:?} and {b:?}")),
        })
        .collect()
}

/// The view of `shape` aligned with the last of the `output` axes, among `loops` loop axes.
pub(super) fn broadcast_view(shape: &[usize], output: &[usize], loops: usize) -> View {
    let skip = output.len() - shape.len();
    let coordinates = shape
        .iter()
        .enumerate()
        .map(|(axis, extent)| along(loops, (*extent != 1).then_some(skip + axis)))
        .collect();
    View {
        shape: shape.to_vec(),
        coordinates,
        outside: 0.0,
    }
}

impl Builder {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new input.
    pub fn input(&mut self, role: Role, shape: &[usize]) -> Var {
        let number = self.inputs.len();
        self.inputs.push(Port {
            role,
            shape: shape.to_vec(),
            value: number,
        });
        Var::new(Value::Input(number), shape.to_vec())
    }

    /// A tensor that never changes.
    pub fn constant(&mut self, tensor: Tensor) -> Var {
        let number = self.constants.iter().position(|known| *known == tensor);
        let number = number.unwrap_or(self.constants.len());
        let shape = tensor.shape().to_vec();
        if number == self.constants.len() {
            self.constants.push(tensor);
        }
        Var::new(Value::Constant(number), shape)
    }

    /// Any primitive.
    ///
    /// # Errors
    /// When the operands are not those of the primitive's views.
    pub fn push(&mut self, primitive: Primitive, operands: &[&Var]) -> Result<Var, ProgramError> {
        let views = primitive.views();
        let fit = views.len() == operands.len()
            && views
                .iter()
                .zip(operands)
                .all(|(view, operand)| elements(&view.shape) == Some(operand.elements()));
        if !fit {
            return refuse(
                "instruction",
                format!("{} operands do not fit {} views", operands.len(), views.len()),
            );
        }
        let shape = primitive.output().to_vec();
        let operands = operands.iter().map(|operand| operand.value).collect();
        self.instructions.push((primitive, operands));
        Ok(Var::new(Value::Result(self.instructions.len() - 1), shape))
    }

    /// Folds or moves `operands` seen through `views`, which `operation` takes in their order.
    pub(super) fn compute(
        &mut self,
        output: &[usize],
        reduced: &[usize],
        operation: Operation,
        operands: &[&Var],
    ) -> Result<Var, ProgramError> {
        self.push(Primitive::new(output.to_vec(), reduced.to_vec(), operation)?, operands)
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, x: &Var, shape: &[usize]) -> Result<Var, ProgramError> {
        if elements(shape) != Some(x.elements()) {
            return refuse("reshape", format!("{:?} to {shape:?}", x.shape));
        }
        Ok(Var::new(x.value, shape.to_vec()))
    }

    /// An expression of operands that broadcast together (NumPy's rules).
    ///
    /// # Errors
    /// When they do not broadcast, or the expression is too long.
    pub fn map(
        &mut self,
        operands: &[&Var],
        write: impl FnOnce(&mut Terms, &[Node]) -> Node,
    ) -> Result<Var, ProgramError> {
        let mut output = Vec::new();
        for operand in operands {
            output = broadcast(&output, &operand.shape)?;
        }
        self.map_to(&output, operands, write)
    }

    /// An expression of operands that broadcast to `output`.
    ///
    /// # Errors
    /// When they do not, or the expression is too long.
    pub fn map_to(
        &mut self,
        output: &[usize],
        operands: &[&Var],
        write: impl FnOnce(&mut Terms, &[Node]) -> Node,
    ) -> Result<Var, ProgramError> {
        for operand in operands {
            if broadcast(output, &operand.shape)? != output {
                return refuse("map", format!("{:?} does not broadcast to {output:?}", operand.shape));
            }
        }
        // An operand that is given twice is one input.
        let first = |operand: &&Var| operands.iter().position(|known| known == operand).unwrap_or(0);
        let mut terms = Terms::default();
        let nodes: Vec<Node> = operands.iter().map(|operand| terms.input(first(operand))).collect();
        let result = write(&mut terms, &nodes);
        let views: Vec<View> = operands
            .iter()
            .map(|operand| broadcast_view(&operand.shape, output, output.len()))
            .collect();
        self.write(
            output,
            terms,
            result,
            &views,
            &operands.iter().map(|v| v.value).collect::<Vec<_>>(),
        )
    }

    /// Adds the map whose value is `result`, with the inputs it needs.
    pub(super) fn write(
        &mut self,
        output: &[usize],
        terms: Terms,
        result: Node,
        views: &[View],
        operands: &[Value],
    ) -> Result<Var, ProgramError> {
        let (expression, used) = terms.finish(result)?;
        let views = used.iter().map(|input| views[*input].clone()).collect();
        let operands = used.iter().map(|input| operands[*input]).collect();
        let primitive = Primitive::new(output.to_vec(), vec![], Operation::Map(expression, views))?;
        self.instructions.push((primitive, operands));
        Ok(Var::new(Value::Result(self.instructions.len() - 1), output.to_vec()))
    }

    /// Gives `y` a derivative of its own instead of those of the instructions behind it: from the gradient of `y`, pairs
    /// of a variable and a contribution to its gradient.
    pub fn differentiate(
        &mut self,
        y: &Var,
        derivative: impl FnOnce(&mut Self, &Var) -> Result<Vec<(Var, Var)>, ProgramError> + 'static,
    ) {
        self.derivatives.insert(y.value, Box::new(derivative));
    }

    /// The program that computes `outputs`, without the instructions and constants that they do not need, and with maps
    /// joined. All inputs stay.
    ///
    /// # Errors
    /// Those of [`Program::new`].
    pub fn finish(mut self, outputs: Vec<(Role, Var)>) -> Result<Program, ProgramError> {
        let kept: Vec<Value> = outputs.iter().map(|(_, var)| var.value).collect();
        let (needed, _) = self.needed(&kept);
        fuse(&mut self.instructions, &needed, &kept);
        let (needed, constants) = self.needed(&kept);
        let place = |flags: &[bool], number: usize| flags[..number].iter().filter(|flag| **flag).count();
        let constant_base = self.inputs.len();
        let base = constant_base + place(&constants, constants.len());
        let mut places = Vec::with_capacity(needed.len());
        let mut next = base;
        for flag in &needed {
            places.push(next);
            next += usize::from(*flag);
        }
        let number = |value: Value| match value {
            Value::Input(number) => number,
            Value::Constant(number) => constant_base + place(&constants, number),
            Value::Result(number) => places[number],
        };
        let outputs = outputs
            .into_iter()
            .map(|(role, var)| Port {
                role,
                value: number(var.value),
                shape: var.shape,
            })
            .collect();
        let instructions = self
            .instructions
            .iter()
            .zip(&needed)
            .filter(|(_, needed)| **needed)
            .map(|((primitive, operands), _)| Instruction {
                primitive: primitive.clone(),
                operands: operands.iter().map(|operand| number(*operand)).collect(),
            })
            .collect();
        let kept = self.constants.iter().zip(&constants).filter(|(_, kept)| **kept);
        let constants = kept.map(|(tensor, _)| tensor.clone()).collect();
        Program::new(self.inputs, constants, instructions, outputs)
    }

    /// Which instructions and which constants the values `kept` need.
    fn needed(&self, kept: &[Value]) -> (Vec<bool>, Vec<bool>) {
        let mut needed = vec![false; self.instructions.len()];
        let mut constants = vec![false; self.constants.len()];
        let mut mark = |value: &Value, needed: &mut Vec<bool>| match value {
            Value::Input(_) => {}
            Value::Constant(number) => constants[*number] = true,
            Value::Result(number) => needed[*number] = true,
        };
        kept.iter().for_each(|value| mark(value, &mut needed));
        for at in (0..self.instructions.len()).rev() {
            if needed[at] {
                self.instructions[at]
                    .1
                    .iter()
                    .for_each(|operand| mark(operand, &mut needed));
            }
        }
        (needed, constants)
    }
}
