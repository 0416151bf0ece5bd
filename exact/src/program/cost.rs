//! What a program costs, known before it runs.

use super::Program;

/// What one run of a program costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of the values that live at once, at most: inputs and constants always, a result from the instruction that computes
    /// it to the last that reads it, outputs to the end.
    pub memory: u64,
    /// Steps of all folds; an element that does not fold is one.
    pub steps: u64,
}

impl Program {
    /// What one run costs. A caller who takes programs from strangers compares it with what there is before an
    /// [`Executor`](super::Executor) allocates anything.
    pub fn cost(&self) -> Cost {
        let bytes = |value: usize| 4 * self.elements(value).unwrap_or(0) as u64;
        let mut last: Vec<usize> = (0..self.values())
            .map(|value| value.saturating_sub(self.first()))
            .collect();
        for (at, instruction) in self.instructions.iter().enumerate() {
            instruction.operands.iter().for_each(|operand| last[*operand] = at);
        }
        let end = self.instructions.len();
        for port in &self.outputs {
            last[port.value] = end;
        }
        let mut dying = vec![0; end + 1];
        for value in self.first()..self.values() {
            dying[last[value]] += bytes(value);
        }
        let mut living: u64 = (0..self.first()).map(bytes).sum();
        let mut cost = Cost {
            memory: living,
            steps: 0,
        };
        for (at, instruction) in self.instructions.iter().enumerate() {
            living += bytes(self.first() + at);
            cost.memory = cost.memory.max(living);
            living -= dying[at];
            let primitive = &instruction.primitive;
            let steps = (primitive.elements() as u64).saturating_mul(primitive.terms() as u64);
            cost.steps = cost.steps.saturating_add(steps);
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, Role};
    use super::*;

    #[test]
    fn values_die_with_their_last_reader() {
        let mut builder = Builder::new();
        let x = builder.input(Role::Samples, &[10]);
        // A fold of each keeps the maps from being joined.
        let square = builder.map(&[&x], |t, x| t.multiply(x[0], x[0])).unwrap();
        let sum = builder.sum(&square, &[0]).unwrap();
        let scaled = builder.map(&[&x, &sum], |t, x| t.multiply(x[0], x[1])).unwrap();
        let result = builder.max(&scaled, &[0]).unwrap();
        let program = builder.finish(vec![(Role::Result, result)]).unwrap();
        // x with the squares and their sum; the squares are gone when x is scaled.
        let cost = Cost {
            memory: 4 * (10 + 10 + 1),
            steps: 4 * 10,
        };
        assert_eq!(program.cost(), cost);
    }
}
