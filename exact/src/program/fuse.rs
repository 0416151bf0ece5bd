//! Joins maps: one that a single other map reads, element by element, is computed there.
//!
//! This changes no bit of any other value, and saves writing and reading a whole tensor.

use super::builder::Value;
use super::terms::Terms;
use crate::definition::{Expression, MAX_TERMS, Operation, Primitive, View};

/// The most inputs of a joined map.
const MAX_VIEWS: usize = 8;

/// Joins maps among `instructions`. `kept` are values that leave the program; instructions that nothing needs must not be
/// among `needed`. What was joined is no longer read by anything.
pub(super) fn fuse(instructions: &mut [(Primitive, Vec<Value>)], needed: &[bool], kept: &[Value]) {
    let mut readers = vec![0usize; instructions.len()];
    let mut count = |value: &Value| {
        if let Value::Result(at) = value {
            readers[*at] += 1;
        }
    };
    kept.iter().for_each(&mut count);
    // A value that leaves the program always has another reader.
    kept.iter().for_each(&mut count);
    for ((_, operands), _) in instructions.iter().zip(needed).filter(|(_, needed)| **needed) {
        operands.iter().for_each(&mut count);
    }
    for at in (0..instructions.len()).filter(|at| needed[*at]) {
        // Each join may bring operands that can be joined in turn.
        while let Some(joined) = joinable(instructions, &readers, at) {
            instructions[at] = joined;
        }
    }
}

/// Instruction `at` with one of its operands computed in it.
fn joinable(instructions: &[(Primitive, Vec<Value>)], readers: &[usize], at: usize) -> Option<(Primitive, Vec<Value>)> {
    let (primitive, operands) = &instructions[at];
    let Operation::Map(expression, views) = primitive.operation() else {
        return None;
    };
    for (number, operand) in operands.iter().enumerate() {
        let Value::Result(producer) = *operand else {
            continue;
        };
        let (inner, inner_operands) = &instructions[producer];
        let Operation::Map(inner_expression, inner_views) = inner.operation() else {
            continue;
        };
        let size = expression.terms().len() + inner_expression.terms().len();
        let fits = readers[producer] == 1
            && inner.output() == primitive.output()
            && is_identity(&views[number], primitive.output())
            && size <= MAX_TERMS
            && views.len() + inner_views.len() <= MAX_VIEWS + 1;
        if !fits {
            continue;
        }
        // The inputs of both, the same one only once.
        let mut all: Vec<(&View, Value)> = Vec::new();
        let mut place = |view, value| {
            let known = all.iter().position(|known| *known == (view, value));
            known.unwrap_or_else(|| {
                all.push((view, value));
                all.len() - 1
            })
        };
        let inner_places: Vec<usize> = inner_views
            .iter()
            .zip(inner_operands)
            .map(|(v, o)| place(v, *o))
            .collect();
        let places: Vec<Option<usize>> = views
            .iter()
            .zip(operands)
            .enumerate()
            .map(|(i, (view, value))| (i != number).then(|| place(view, *value)))
            .collect();
        if let Some(joined) = join(primitive, [inner_expression, expression], &inner_places, &places, &all) {
            return Some(joined);
        }
    }
    None
}

fn join(
    primitive: &Primitive,
    [inner, outer]: [&Expression; 2],
    inner_places: &[usize],
    places: &[Option<usize>],
    all: &[(&View, Value)],
) -> Option<(Primitive, Vec<Value>)> {
    let mut terms = Terms::default();
    let inputs: Vec<_> = inner_places.iter().map(|place| terms.input(*place)).collect();
    let value = *terms.inline(inner, &inputs).last()?;
    let inputs: Vec<_> = places
        .iter()
        .map(|place| place.map_or(value, |place| terms.input(place)))
        .collect();
    let result = *terms.inline(outer, &inputs).last()?;
    let (expression, used) = terms.finish(result).ok()?;
    let views = used.iter().map(|input| all[*input].0.clone()).collect();
    let operands = used.iter().map(|input| all[*input].1).collect();
    let joined = Primitive::new(primitive.output().to_vec(), vec![], Operation::Map(expression, views)).ok()?;
    Some((joined, operands))
}

/// Whether the view reads the element at the loop's own place.
fn is_identity(view: &View, output: &[usize]) -> bool {
    view.shape == output
        && view.coordinates.iter().enumerate().all(|(axis, coordinate)| {
            let factor = |at: usize| coordinate.coefficients[at];
            coordinate.offset == 0
                && coordinate.divisor == 1
                && (factor(axis) == 1 || output[axis] == 1)
                && (0..output.len()).all(|other| other == axis || factor(other) == 0)
        })
}
