//! Running a segment again, as far as a question about it needs.

use super::{Batch, BatchLeaf, Segment};
use crate::prf::Hash;
use crate::program::{Executor, ProgramError, Role};
use crate::state::{StateTree, tensor_root};
use crate::tensor::{Tensor, Weights};
use crate::train::key_words;
use std::collections::BTreeMap;

/// What can be asked about the execution of a segment. Steps count from 0; the state *before* step `steps` is the end.
pub trait Execution {
    /// The tree over the state before a step.
    ///
    /// # Errors
    /// When the segment cannot be run that far.
    fn state(&mut self, step: u64) -> Result<StateTree, ProgramError>;

    /// The root of the state before a step.
    ///
    /// # Errors
    /// When the segment cannot be run that far.
    fn state_root(&mut self, step: u64) -> Result<Hash, ProgramError> {
        Ok(self.state(step)?.root())
    }

    /// The tensor roots of all values of a step, in the order of their numbers.
    ///
    /// # Errors
    /// When the segment cannot be run that far.
    fn value_roots(&mut self, step: u64) -> Result<Vec<Hash>, ProgramError>;

    /// These values of a step; a number that is none is left out.
    ///
    /// # Errors
    /// When the segment cannot be run that far.
    fn values(&mut self, step: u64, wanted: &[usize]) -> Result<BTreeMap<usize, Vec<f32>>, ProgramError>;

    /// The leaf of each step's batch.
    ///
    /// # Errors
    /// When a batch is not there.
    fn batches(&mut self) -> Result<Vec<BatchLeaf>, ProgramError>;
}

/// An honest execution. It keeps two states, the start and the one it stands at, and the root of every state it passed;
/// values are computed again when asked for, and only those asked for are kept.
#[derive(Debug)]
pub struct Replay<B> {
    executor: Executor,
    segment: Segment,
    start: Weights,
    batch: B,
    state: Weights,
    step: u64,
    roots: Vec<Hash>,
    threads: usize,
}

impl<B: FnMut(u64) -> Option<Batch>> Replay<B> {
    /// A replay of the segment from the state it starts from; `batch` gives what each step is fed. States are hashed by
    /// at most `threads` threads.
    pub fn new(executor: Executor, segment: Segment, start: Weights, batch: B, threads: usize) -> Self {
        let roots = vec![StateTree::of(&start, threads).root()];
        Self {
            executor,
            segment,
            state: start.clone(),
            start,
            batch,
            step: 0,
            roots,
            threads,
        }
    }

    /// Runs to the end and gives the state there.
    ///
    /// # Errors
    /// When a batch is missing, or a tensor of the state that the program asks for.
    pub fn end(&mut self) -> Result<&Weights, ProgramError> {
        self.seek(self.segment.steps)?;
        Ok(&self.state)
    }

    /// Goes to the state before a step.
    fn seek(&mut self, step: u64) -> Result<(), ProgramError> {
        if step < self.step {
            self.state.clone_from(&self.start);
            self.step = 0;
        }
        while self.step < step.min(self.segment.steps) {
            let outputs = self.run(&mut |_, _| ())?;
            let ports = self.executor.program().outputs().to_vec();
            let mut spare = Vec::new();
            for (port, data) in ports.into_iter().zip(outputs) {
                match port.role {
                    Role::State(name) => {
                        let shape = || ProgramError::Shape {
                            operation: "output",
                            why: format!("{name:?} does not fill its shape"),
                        };
                        let tensor = Tensor::new(port.shape, data).map_err(|_| shape())?;
                        self.state.insert(name, tensor);
                    }
                    _ => spare.push(data),
                }
            }
            self.executor.recycle(spare);
            self.step += 1;
            if self.roots.len() as u64 == self.step {
                self.roots.push(StateTree::of(&self.state, self.threads).root());
            }
        }
        Ok(())
    }

    /// Runs the step it stands before, and shows every value.
    fn run(&mut self, observe: &mut (dyn FnMut(usize, &[f32]) + Send)) -> Result<Vec<Vec<f32>>, ProgramError> {
        let batch = (self.batch)(self.step).unwrap_or_default();
        let (rate, key) = ([batch.rate], key_words(batch.key));
        let state = &self.state;
        let input = |role: &Role| match role {
            Role::State(name) => state.get(name).map(Tensor::data),
            Role::Samples => Some(&batch.samples[..]),
            Role::Labels => Some(&batch.labels[..]),
            Role::Rate => Some(&rate[..]),
            Role::Key => Some(&key[..]),
            Role::Loss | Role::Result => None,
        };
        let program = self.executor.program();
        for port in program.inputs() {
            observe(port.value, input(&port.role).unwrap_or_default());
        }
        for (at, constant) in program.constants().iter().enumerate() {
            observe(program.inputs().len() + at, constant.data());
        }
        self.executor.run(input, observe)
    }
}

impl<B: FnMut(u64) -> Option<Batch>> Execution for Replay<B> {
    fn state(&mut self, step: u64) -> Result<StateTree, ProgramError> {
        self.seek(step)?;
        Ok(StateTree::of(&self.state, self.threads))
    }

    fn state_root(&mut self, step: u64) -> Result<Hash, ProgramError> {
        let known = |roots: &[Hash]| usize::try_from(step).ok().and_then(|step| roots.get(step).copied());
        match known(&self.roots) {
            Some(root) => Ok(root),
            None => Ok(self.state(step)?.root()),
        }
    }

    fn value_roots(&mut self, step: u64) -> Result<Vec<Hash>, ProgramError> {
        self.seek(step)?;
        let mut roots = Vec::new();
        let outputs = self.run(&mut |_, value| roots.push(tensor_root(value)))?;
        self.executor.recycle(outputs);
        Ok(roots)
    }

    fn values(&mut self, step: u64, wanted: &[usize]) -> Result<BTreeMap<usize, Vec<f32>>, ProgramError> {
        self.seek(step)?;
        let mut values = BTreeMap::new();
        let outputs = self.run(&mut |number, value| {
            if wanted.contains(&number) {
                values.insert(number, value.to_vec());
            }
        })?;
        self.executor.recycle(outputs);
        Ok(values)
    }

    fn batches(&mut self) -> Result<Vec<BatchLeaf>, ProgramError> {
        let steps = 0..self.segment.steps;
        let leaves = steps.map(|step| (self.batch)(step).unwrap_or_default().leaf());
        Ok(leaves.collect())
    }
}
