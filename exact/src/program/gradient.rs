//! Reverse-mode differentiation: the derivative of each primitive, written in primitives.
//!
//! | primitive | gradient of an input |
//! |---|---|
//! | `Map` | the expression's derivative times the gradient, summed over broadcast axes |
//! | `Contraction` | a contraction of the gradient with the other input, the loop turned around |
//! | `Sum`, `Layout` | the gradient, the loop turned around |
//! | `Max` | the gradient, where the input was the first to be greatest |
//! | `Gather` | an ordered scatter-add |
//!
//! `Random` and `Find` have none, nor have the indices of `Gather`. Contributions to one value are added in the order in
//! which the instructions that read it are visited, the last first.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Value, along};
use super::folds::run_start;
use super::invert::invert;
use super::terms::{Node, Terms};
use super::{Builder, ProgramError, Var};
use crate::definition::{Expression, Function, Operation, Primitive, Term, View};

/// The view of a tensor by the first loop axes.
fn plain(shape: &[usize], loops: usize, outside: f32) -> View {
    View {
        shape: shape.to_vec(),
        coordinates: (0..shape.len()).map(|axis| along(loops, Some(axis))).collect(),
        outside,
    }
}

impl Builder {
    /// The gradients of `loss` (one element) with respect to `wrt`, each of the variable's shape; `None` for one that the
    /// loss does not depend on.
    ///
    /// # Errors
    /// When a derivative cannot be formed.
    pub fn gradients(&mut self, loss: &Var, wrt: &[&Var]) -> Result<Vec<Option<Var>>, ProgramError> {
        // What depends on `wrt`, and only that, is differentiated.
        let mut active: BTreeSet<Value> = wrt.iter().map(|var| var.value).collect();
        for (at, (_, operands)) in self.instructions.iter().enumerate() {
            if operands.iter().any(|operand| active.contains(operand)) {
                active.insert(Value::Result(at));
            }
        }
        let one = self.map_to(&[loss.elements()], &[], |terms, _| terms.constant(1.0))?;
        let mut gradients: BTreeMap<Value, Var> = BTreeMap::from([(loss.value, one)]);
        for at in (0..self.instructions.len()).rev() {
            let value = Value::Result(at);
            if !active.contains(&value) {
                continue;
            }
            let Some(gradient) = gradients.get(&value).cloned() else {
                continue;
            };
            let contributions = match self.derivatives.remove(&value) {
                Some(derivative) => {
                    let contributions = derivative(self, &gradient)?;
                    contributions
                        .into_iter()
                        .map(|(var, gradient)| (var.value, gradient))
                        .collect()
                }
                None => self.derivative(at, &gradient, &active)?,
            };
            for (to, gradient) in contributions {
                if !active.contains(&to) {
                    continue;
                }
                let flat = self.reshape(&gradient, &[gradient.elements()])?;
                let sum = match gradients.remove(&to) {
                    Some(before) => self.map(&[&before, &flat], |terms, x| terms.add(x[0], x[1]))?,
                    None => flat,
                };
                gradients.insert(to, sum);
            }
        }
        wrt.iter()
            .map(|var| {
                let gradient = gradients.get(&var.value);
                gradient.map(|gradient| self.reshape(gradient, var.shape())).transpose()
            })
            .collect()
    }

    /// The contributions of instruction `at` to the gradients of its operands.
    fn derivative(
        &mut self,
        at: usize,
        gradient: &Var,
        active: &BTreeSet<Value>,
    ) -> Result<Vec<(Value, Var)>, ProgramError> {
        let (primitive, operands) = self.instructions[at].clone();
        let gradient = self.reshape(gradient, primitive.output())?;
        let mut contributions = Vec::new();
        let y = Var::new(Value::Result(at), primitive.output().to_vec());
        for (number, operand) in operands.iter().enumerate() {
            if !active.contains(operand) {
                continue;
            }
            let contribution = match primitive.operation() {
                Operation::Map(expression, views) => {
                    self.map_derivative(&primitive, expression, views, &operands, number, &gradient)?
                }
                Operation::Contraction(a, b) => {
                    let (target, other) = if number == 0 { (a, b) } else { (b, a) };
                    let other_var = Var::new(operands[1 - number], other.shape.clone());
                    let inverse = invert(target, primitive.output(), primitive.reduced())?;
                    let loops = primitive.output().len() + primitive.reduced().len();
                    let seen = inverse.view(&plain(primitive.output(), loops, 0.0), 0.0)?;
                    let other = inverse.view(other, other.outside)?;
                    let operation = Operation::Contraction(seen, other);
                    let product = Primitive::new(target.shape.clone(), inverse.reduced, operation)?;
                    Some(self.push(product, &[&gradient, &other_var])?)
                }
                Operation::Sum(view) => Some(self.spread(view, &primitive, &gradient)?),
                Operation::Layout(views) => Some(self.spread(&views[number], &primitive, &gradient)?),
                Operation::Max(view) => {
                    let x = Var::new(*operand, view.shape.clone());
                    Some(self.max_derivative(view, &primitive, &x, &y, &gradient)?)
                }
                Operation::Gather(indices, data, axis) if number == 1 => {
                    let places = Var::new(operands[0], indices.shape.clone());
                    Some(self.gather_derivative(indices, data, *axis, &primitive, &places, &gradient)?)
                }
                Operation::ScatterAdd(..) => {
                    return Err(ProgramError::Derivative {
                        operation: "ScatterAdd",
                        why: "second derivatives are not supported",
                    });
                }
                Operation::Gather(..) | Operation::Find(..) | Operation::Random(..) => None,
            };
            contributions.extend(contribution.map(|contribution| (*operand, contribution)));
        }
        Ok(contributions)
    }

    /// The gradient of what `view` reads, where each read passes the output's gradient on.
    fn spread(&mut self, view: &View, primitive: &Primitive, gradient: &Var) -> Result<Var, ProgramError> {
        let inverse = invert(view, primitive.output(), primitive.reduced())?;
        let loops = primitive.output().len() + primitive.reduced().len();
        let seen = inverse.view(&plain(primitive.output(), loops, 0.0), 0.0)?;
        let operation = if inverse.reduced.iter().all(|extent| *extent == 1) {
            // Axes of extent 1 are at 0 and leave the coordinates as they are.
            let rank = view.shape.len();
            let mut seen = seen;
            seen.coordinates.iter_mut().for_each(|c| c.coefficients.truncate(rank));
            return self.push(
                Primitive::new(view.shape.clone(), vec![], Operation::Layout(vec![seen]))?,
                &[gradient],
            );
        } else {
            Operation::Sum(seen)
        };
        self.push(
            Primitive::new(view.shape.clone(), inverse.reduced, operation)?,
            &[gradient],
        )
    }

    fn max_derivative(
        &mut self,
        view: &View,
        primitive: &Primitive,
        x: &Var,
        y: &Var,
        gradient: &Var,
    ) -> Result<Var, ProgramError> {
        let (output, reduced) = (primitive.output(), primitive.reduced());
        let loops = output.len() + reduced.len();
        let find = Operation::Find(view.clone(), plain(output, loops, 0.0));
        let first = self.push(Primitive::new(output.to_vec(), reduced.to_vec(), find)?, &[x, y])?;
        // The number k of a step, from its coordinates.
        let mut step = along(loops, None);
        let mut stride = 1;
        for (axis, extent) in reduced.iter().enumerate().rev() {
            step.coefficients[output.len() + axis] = stride;
            stride *= i64::try_from(*extent).unwrap_or(i64::MAX);
        }
        let inverse = invert(view, output, reduced)?;
        let found = inverse.view(&plain(output, loops, -1.0), -1.0)?;
        let seen = inverse.view(&plain(output, loops, 0.0), 0.0)?;
        let scatter = Operation::ScatterAdd(found, seen, inverse.coordinate(&step)?);
        self.push(
            Primitive::new(view.shape.clone(), inverse.reduced, scatter)?,
            &[&first, gradient],
        )
    }

    fn gather_derivative(
        &mut self,
        indices: &View,
        data: &View,
        axis: usize,
        primitive: &Primitive,
        places: &Var,
        gradient: &Var,
    ) -> Result<Var, ProgramError> {
        let output = primitive.output();
        let gathered = &data.coordinates[axis];
        if gathered.coefficients.iter().any(|factor| *factor != 0) || gathered.offset != 0 || gathered.divisor != 1 {
            return Err(ProgramError::Derivative {
                operation: "Gather",
                why: "the gathered axis also follows the loop",
            });
        }
        // Without the gathered axis the loop is turned around as any other; then the axis is put back.
        let mut rest = data.clone();
        rest.shape[axis] = 1;
        let inverse = invert(&rest, output, &[])?;
        let found = inverse.view(indices, -1.0)?;
        let seen = inverse.view(&plain(output, output.len(), 0.0), 0.0)?;
        let row = along(data.shape.len() + inverse.reduced.len(), Some(axis));
        let scatter = Operation::ScatterAdd(found, seen, row);
        self.push(
            Primitive::new(data.shape.clone(), inverse.reduced, scatter)?,
            &[places, gradient],
        )
    }

    /// The gradient of one operand of a map.
    fn map_derivative(
        &mut self,
        primitive: &Primitive,
        expression: &Expression,
        views: &[View],
        operands: &[Value],
        number: usize,
        gradient: &Var,
    ) -> Result<Option<Var>, ProgramError> {
        let output = primitive.output();
        let mut terms = Terms::default();
        let inputs: Vec<Node> = (0..views.len()).map(|input| terms.input(input)).collect();
        let upstream = terms.input(views.len());
        let Some(local) = differentiate(&mut terms, expression, &inputs, number, upstream) else {
            return Ok(None);
        };
        let target = &views[number];
        let mut seen = views.to_vec();
        seen.push(plain(output, output.len(), 0.0));
        let mut values = operands.to_vec();
        values.push(gradient.value);
        let summed = target.shape.iter().product::<usize>() != primitive.elements();
        // The axes that the operand does not follow are summed over.
        let follows = |axis: usize| target.coordinates.iter().any(|c| c.coefficients[axis] != 0);
        let mut axes: Vec<usize> = (0..output.len())
            .filter(|axis| output[*axis] != 1 && !follows(*axis))
            .collect();
        // A product of two inputs need not be written down: its last run of axes is contracted at once.
        if let (true, Term::Apply(Function::Multiply, [a, b, _])) = (summed, terms.term(local))
            && let (Some(a), Some(b)) = (input(&terms, a), input(&terms, b))
        {
            let end = axes.last().map_or(0, |last| last + 1);
            let start = run_start(&axes, end);
            axes.retain(|axis| *axis < start);
            let mut kept = output.to_vec();
            kept[start..end].fill(1);
            let fold = |view: &View| {
                let mut view = view.clone();
                for coordinate in &mut view.coordinates {
                    let run = coordinate.coefficients[start..end].to_vec();
                    coordinate.coefficients[start..end].fill(0);
                    coordinate.coefficients.extend(run);
                }
                view
            };
            let operation = Operation::Contraction(fold(&seen[a]), fold(&seen[b]));
            let product = Primitive::new(kept, output[start..end].to_vec(), operation)?;
            let [a, b] = [a, b].map(|at| Var::new(values[at], seen[at].shape.clone()));
            let product = self.push(product, &[&a, &b])?;
            let sum = self.sum(&product, &axes)?;
            return self.reshape(&sum, &target.shape).map(Some);
        }
        let full = if local == upstream {
            gradient.clone()
        } else {
            self.write(output, terms, local, &seen, &values)?
        };
        if !summed {
            // The operand may have been seen through a permutation only if some code wrote such a map: refuse it.
            let inverse = invert(target, output, &[])?;
            return if inverse.reduced.iter().all(|extent| *extent == 1) {
                self.reshape(&full, &target.shape).map(Some)
            } else {
                Err(ProgramError::Derivative {
                    operation: "Map",
                    why: "an operand is read twice",
                })
            };
        }
        let sum = self.sum(&full, &axes)?;
        self.reshape(&sum, &target.shape).map(Some)
    }
}

fn input(terms: &Terms, at: usize) -> Option<usize> {
    match terms.term_at(at) {
        Term::Input(input) => Some(input),
        _ => None,
    }
}

/// `upstream · ∂expression/∂input`, or `None` where it is zero: reverse mode within the expression.
fn differentiate(
    terms: &mut Terms,
    expression: &Expression,
    inputs: &[Node],
    input: usize,
    upstream: Node,
) -> Option<Node> {
    let nodes = terms.inline(expression, inputs);
    let list = expression.terms();
    // Only what depends on the input is followed.
    let mut depends = vec![false; list.len()];
    for (at, term) in list.iter().enumerate() {
        depends[at] = match term {
            Term::Input(number) => *number == input,
            Term::Apply(function, arguments) => arguments[..function.arity()].iter().any(|argument| depends[*argument]),
            Term::Constant(_) | Term::Position(_) => false,
        };
    }
    let mut adjoints: Vec<Option<Node>> = vec![None; list.len()];
    *adjoints.last_mut()? = Some(upstream);
    let mut result = None;
    for at in (0..list.len()).rev() {
        let Some(adjoint) = adjoints[at].filter(|_| depends[at]) else {
            continue;
        };
        let Term::Apply(function, arguments) = list[at] else {
            if matches!(list[at], Term::Input(_)) {
                result = Some(match result {
                    Some(sum) => terms.add(sum, adjoint),
                    None => adjoint,
                });
            }
            continue;
        };
        let values = arguments.map(|argument| nodes[argument]);
        for (number, argument) in arguments.iter().enumerate().take(function.arity()) {
            if !depends[*argument] {
                continue;
            }
            if let Some(part) = partial(terms, function, number, values, nodes[at], adjoint) {
                adjoints[*argument] = Some(match adjoints[*argument] {
                    Some(sum) => terms.add(sum, part),
                    None => part,
                });
            }
        }
    }
    result
}

/// `adjoint · ∂function/∂argument` at the arguments `values`, where the function's value is `y`; `None` for zero.
fn partial(
    t: &mut Terms,
    function: Function,
    argument: usize,
    [a, b, _]: [Node; 3],
    y: Node,
    adjoint: Node,
) -> Option<Node> {
    Some(match (function, argument) {
        (Function::Negate, _) | (Function::Subtract, 1) => t.negate(adjoint),
        (Function::Absolute, _) => {
            let zero = t.constant(0.0);
            let negative = t.less(a, zero);
            let opposite = t.negate(adjoint);
            let signed = t.select(negative, opposite, adjoint);
            t.select(a, signed, zero)
        }
        (Function::Sqrt, _) => {
            let half = t.constant(0.5);
            let scaled = t.multiply(adjoint, half);
            t.divide(scaled, y)
        }
        (Function::Rsqrt, _) => {
            // −½ y³.
            let half = t.constant(-0.5);
            let square = t.multiply(y, y);
            let cube = t.multiply(square, y);
            let slope = t.multiply(half, cube);
            t.multiply(adjoint, slope)
        }
        (Function::Exp, _) => t.multiply(adjoint, y),
        (Function::Log, _) => t.divide(adjoint, a),
        (Function::Tanh, _) => {
            let (one, down) = (t.constant(1.0), t.negate(y));
            let slope = t.multiply_add(down, y, one);
            t.multiply(adjoint, slope)
        }
        (Function::Erf, _) => {
            // 2/√π e^(−x²).
            let factor = t.constant(std::f32::consts::FRAC_2_SQRT_PI);
            let square = t.multiply(a, a);
            let down = t.negate(square);
            let bell = t.exp(down);
            let slope = t.multiply(factor, bell);
            t.multiply(adjoint, slope)
        }
        (Function::Sin, _) => {
            let slope = t.cos(a);
            t.multiply(adjoint, slope)
        }
        (Function::Cos, _) => {
            let sine = t.sin(a);
            let slope = t.negate(sine);
            t.multiply(adjoint, slope)
        }
        (Function::Sigmoid, _) => {
            let down = t.negate(y);
            let slope = t.multiply_add(down, y, y);
            t.multiply(adjoint, slope)
        }
        (Function::Add, _) | (Function::Subtract, 0) | (Function::MultiplyAdd, 2) => adjoint,
        (Function::Multiply | Function::MultiplyAdd, 0) => t.multiply(adjoint, b),
        (Function::Multiply | Function::MultiplyAdd, 1) => t.multiply(adjoint, a),
        (Function::Divide, 0) => t.divide(adjoint, b),
        (Function::Divide, _) => {
            // −a/b² = −y/b.
            let ratio = t.divide(y, b);
            let slope = t.negate(ratio);
            t.multiply(adjoint, slope)
        }
        // The first of two equals takes the gradient, as it gives the value.
        (Function::Maximum, _) => {
            let (zero, second) = (t.constant(0.0), t.less(a, b));
            if argument == 0 {
                t.select(second, zero, adjoint)
            } else {
                t.select(second, adjoint, zero)
            }
        }
        (Function::Minimum, _) => {
            let (zero, second) = (t.constant(0.0), t.less(b, a));
            if argument == 0 {
                t.select(second, zero, adjoint)
            } else {
                t.select(second, adjoint, zero)
            }
        }
        (Function::Select, 1) => {
            let zero = t.constant(0.0);
            t.select(a, adjoint, zero)
        }
        (Function::Select, 2) => {
            let zero = t.constant(0.0);
            t.select(a, zero, adjoint)
        }
        (Function::Less | Function::Equal | Function::Select | Function::Multiply | Function::MultiplyAdd, _)
        | (Function::Subtract, _) => return None,
    })
}
