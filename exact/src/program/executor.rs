//! Runs a program on the kernels.

use std::collections::BTreeMap;

use super::{Program, ProgramError, Role};
use crate::kernels::{Isa, Kernel, Pool};

/// A program with its kernels planned and its memory kept from run to run.
///
/// A value lives from the instruction that computes it to the last one that reads it; its buffer then serves a later
/// value of the same size.
#[derive(Debug)]
pub struct Executor {
    program: Program,
    kernels: Vec<Kernel>,
    /// The values whose last reader is each instruction.
    dying: Vec<Vec<usize>>,
    free: BTreeMap<usize, Vec<Vec<f32>>>,
    isa: Isa,
    pool: Pool,
}

impl Executor {
    /// Plans a program for the fastest instructions of this CPU and `threads` threads (at least 1), which change no bit.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new(program: Program, threads: usize) -> Result<Self, ProgramError> {
        Self::with_isa(program, Isa::best(), threads)
    }

    /// Plans a program for certain instructions.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn with_isa(program: Program, isa: Isa, threads: usize) -> Result<Self, ProgramError> {
        let kernels = program
            .instructions()
            .iter()
            .map(|i| Kernel::new(&i.primitive))
            .collect();
        let mut dying = vec![Vec::new(); program.instructions().len()];
        let mut living: Vec<bool> = vec![true; program.values()];
        for port in program.outputs() {
            living[port.value] = false;
        }
        for (at, instruction) in program.instructions().iter().enumerate().rev() {
            for operand in instruction
                .operands
                .iter()
                .filter(|operand| **operand >= program.first())
            {
                if std::mem::take(&mut living[*operand]) {
                    dying[at].push(*operand - program.first());
                }
            }
            // Nothing reads it after itself: it dies at once.
            if std::mem::take(&mut living[program.first() + at]) {
                dying[at].push(at);
            }
        }
        Ok(Self {
            program,
            kernels,
            dying,
            free: BTreeMap::new(),
            isa,
            pool: Pool::new(threads)?,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs the program once. `input(role)` gives the elements of each input; `observe(value, elements)` sees the result
    /// of each instruction, by its number as a value, before anything reads it. Gives the outputs in their order.
    ///
    /// # Errors
    /// When an input is missing or has another number of elements than the program asks for.
    pub fn run<'a>(
        &mut self,
        mut input: impl FnMut(&Role) -> Option<&'a [f32]>,
        mut observe: impl FnMut(usize, &[f32]) + Send,
    ) -> Result<Vec<Vec<f32>>, ProgramError> {
        let program = &self.program;
        let mut given: Vec<&[f32]> = Vec::with_capacity(program.first());
        for port in program.inputs() {
            let elements = input(&port.role).unwrap_or_default();
            let needed = port.shape.iter().product();
            if elements.len() != needed {
                return Err(ProgramError::Input {
                    role: port.role.clone(),
                    found: elements.len(),
                    needed,
                });
            }
            given.push(elements);
        }
        given.extend(program.constants().iter().map(crate::Tensor::data));
        let mut results: Vec<Vec<f32>> = vec![Vec::new(); program.instructions().len()];
        let (kernels, dying, free, pool) = (&self.kernels, &self.dying, &mut self.free, &self.pool);
        pool.install(|| {
            for (at, (instruction, kernel)) in program.instructions().iter().zip(kernels).enumerate() {
                let size = instruction.primitive.elements();
                let recycled = free.get_mut(&size).and_then(Vec::pop);
                let mut result = recycled.unwrap_or_else(|| vec![0.0; size]);
                let operands: Vec<&[f32]> = instruction
                    .operands
                    .iter()
                    .map(|operand| match operand.checked_sub(given.len()) {
                        Some(at) => &results[at][..],
                        None => given[*operand],
                    })
                    .collect();
                kernel.run(self.isa, pool, &operands, &mut result)?;
                observe(given.len() + at, &result);
                results[at] = result;
                for dead in &dying[at] {
                    let buffer = std::mem::take(&mut results[*dead]);
                    free.entry(buffer.len()).or_default().push(buffer);
                }
            }
            Ok::<(), ProgramError>(())
        })?;
        // A value may leave under several names, or be an input: it is copied for all but the last of them.
        let mut outputs: Vec<Vec<f32>> = Vec::with_capacity(program.outputs().len());
        for (number, port) in program.outputs().iter().enumerate() {
            let again = program.outputs()[number + 1..]
                .iter()
                .any(|later| later.value == port.value);
            outputs.push(match port.value.checked_sub(given.len()) {
                None => given[port.value].to_vec(),
                Some(at) if again => results[at].clone(),
                Some(at) => std::mem::take(&mut results[at]),
            });
        }
        Ok(outputs)
    }

    /// Gives the buffers of outputs back, so that the next run need not ask for new memory.
    pub fn recycle(&mut self, outputs: impl IntoIterator<Item = Vec<f32>>) {
        for buffer in outputs {
            self.free.entry(buffer.len()).or_default().push(buffer);
        }
    }
}
