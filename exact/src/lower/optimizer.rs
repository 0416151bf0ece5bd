//! Gradient clipping, SGD, Adam and AdamW, with PyTorch's definitions.
//!
//! State of SGD with momentum: `opt/momentum/NAME` for each parameter. State of Adam: `opt/first/NAME` and
//! `opt/second/NAME` (moments), and the bias corrections `1 − βᵗ` as `opt/correction/first` and
//! `opt/correction/second`, one element each: `cₜ = β · cₜ₋₁ + (1 − β)` loses nothing to cancellation.

use std::collections::BTreeMap;

use crate::definition::{Coordinate, Operation, Primitive, View};
use crate::onnx::Graph;
use crate::program::{Builder, Node, ProgramError, Role, Terms, Var};
use crate::task::Optimizer;
use crate::tensor::{Tensor, Weights};

const CORRECTIONS: [&str; 2] = ["opt/correction/first", "opt/correction/second"];
/// Squares summed in one chain when the norm of the gradients is taken.
const CHAIN: usize = 1024;

/// The kinds of tensors an optimizer keeps for each parameter.
fn slots(optimizer: &Optimizer) -> &'static [&'static str] {
    match optimizer {
        Optimizer::Sgd { momentum, .. } if *momentum == 0.0 => &[],
        Optimizer::Sgd { .. } => &["opt/momentum/"],
        Optimizer::Adam { .. } => &["opt/first/", "opt/second/"],
    }
}

/// What the optimizer keeps between steps, before the first one: zeros.
pub(super) fn state(optimizer: &Optimizer, graph: &Graph) -> Weights {
    let mut state = Weights::new();
    for slot in slots(optimizer) {
        state.extend(
            graph
                .parameters()
                .map(|(name, tensor)| (format!("{slot}{name}"), tensor.zeros_like())),
        );
    }
    if matches!(optimizer, Optimizer::Adam { .. }) {
        let zero = || Tensor::scalar(0.0);
        state.extend(CORRECTIONS.map(|name| (name.to_owned(), zero())));
    }
    state
}

/// Scales the gradients so that their L2 norm together is at most `bound`, as `clip_grad_norm_` does: times
/// `min(1, bound / (norm + 1e-6))`. A bound of 0 is none.
pub(super) fn clip(builder: &mut Builder, bound: f32, gradients: &mut [Option<Var>]) -> Result<(), ProgramError> {
    if bound == 0.0 {
        return Ok(());
    }
    let mut squares = Vec::new();
    for gradient in gradients.iter().flatten() {
        squares.push(square_norm(builder, gradient)?);
    }
    let Some((first, rest)) = squares.split_first() else {
        return Ok(());
    };
    let mut total = first.clone();
    for square in rest {
        total = builder.map(&[&total, square], |t, x| t.add(x[0], x[1]))?;
    }
    let scale = builder.map(&[&total], |t, x| {
        let norm = t.sqrt(x[0]);
        let (bound, little, one) = (t.constant(bound), t.constant(1e-6), t.constant(1.0));
        let norm = t.add(norm, little);
        let ratio = t.divide(bound, norm);
        t.minimum(one, ratio)
    })?;
    for gradient in gradients.iter_mut().flatten() {
        let scale = builder.reshape(&scale, &vec![1; gradient.shape().len()])?;
        *gradient = builder.map(&[gradient, &scale], |t, x| t.multiply(x[0], x[1]))?;
    }
    Ok(())
}

/// `Σ x²`, in chains of [`CHAIN`] whose results are summed; one element.
fn square_norm(builder: &mut Builder, x: &Var) -> Result<Var, ProgramError> {
    let elements = x.elements();
    let rows = elements.div_ceil(CHAIN).max(1);
    let view = View {
        shape: vec![elements],
        coordinates: vec![Coordinate {
            offset: 0,
            coefficients: vec![CHAIN as i64, 1],
            divisor: 1,
        }],
        outside: 0.0,
    };
    let operation = Operation::Contraction(view.clone(), view);
    let chains = builder.push(
        Primitive::new(vec![rows], vec![CHAIN.min(elements)], operation)?,
        &[x, x],
    )?;
    builder.sum(&chains, &[0])
}

/// The new parameters and the new state of the optimizer, by name; `start` is its [`state`] before the first step. A parameter that the loss does not depend on stays.
pub(super) fn update(
    builder: &mut Builder,
    optimizer: &Optimizer,
    start: &Weights,
    rate: &Var,
    parameters: &[(&String, &Var)],
    gradients: &[Option<Var>],
) -> Result<BTreeMap<String, Var>, ProgramError> {
    let mut state: BTreeMap<String, Var> = start
        .iter()
        .map(|(name, tensor)| {
            let var = builder.input(Role::State(name.clone()), tensor.shape());
            (name.clone(), var)
        })
        .collect();
    // What is the same for all elements is computed once: √(1 − β₂ᵗ) and rate / (1 − β₁ᵗ).
    let mut shared = None;
    if let Optimizer::Adam { beta1, beta2, .. } = optimizer {
        for (name, beta) in CORRECTIONS.iter().zip([*beta1, *beta2]) {
            let new = builder.map(&[&state[*name]], |t, x| moving(t, x[0], beta, None))?;
            state.insert((*name).to_owned(), new);
        }
        let root = builder.map(&[&state[CORRECTIONS[1]]], |t, x| t.sqrt(x[0]))?;
        let scaled = builder.map(&[rate, &state[CORRECTIONS[0]]], |t, x| t.divide(x[0], x[1]))?;
        shared = Some((root, scaled));
    }
    let mut result = BTreeMap::new();
    for ((name, parameter), gradient) in parameters.iter().zip(gradients) {
        let Some(gradient) = gradient else {
            continue;
        };
        let new = match *optimizer {
            Optimizer::Sgd {
                momentum,
                weight_decay,
                nesterov,
                ..
            } => {
                let slot = format!("opt/momentum/{name}");
                if momentum == 0.0 {
                    builder.map(&[parameter, gradient, rate], |t, x| {
                        let gradient = decayed(t, x[1], x[0], weight_decay);
                        descend(t, x[0], x[2], gradient)
                    })?
                } else {
                    let velocity = builder.map(&[&state[&slot], gradient, parameter], |t, x| {
                        let gradient = decayed(t, x[1], x[2], weight_decay);
                        let momentum = t.constant(momentum);
                        t.multiply_add(momentum, x[0], gradient)
                    })?;
                    let new = builder.map(&[parameter, &velocity, rate, gradient], |t, x| {
                        let step = if nesterov {
                            let gradient = decayed(t, x[3], x[0], weight_decay);
                            let momentum = t.constant(momentum);
                            t.multiply_add(momentum, x[1], gradient)
                        } else {
                            x[1]
                        };
                        descend(t, x[0], x[2], step)
                    })?;
                    state.insert(slot, velocity);
                    new
                }
            }
            Optimizer::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
                decoupled,
                ..
            } => {
                let slots = [format!("opt/first/{name}"), format!("opt/second/{name}")];
                let coupled = if decoupled { 0.0 } else { weight_decay };
                let first = builder.map(&[&state[&slots[0]], gradient, parameter], |t, x| {
                    let gradient = decayed(t, x[1], x[2], coupled);
                    moving(t, x[0], beta1, Some(gradient))
                })?;
                let second = builder.map(&[&state[&slots[1]], gradient, parameter], |t, x| {
                    let gradient = decayed(t, x[1], x[2], coupled);
                    let square = t.multiply(gradient, gradient);
                    moving(t, x[0], beta2, Some(square))
                })?;
                let Some((root, scaled)) = &shared else {
                    continue;
                };
                let new = builder.map(&[parameter, &first, &second, root, scaled, rate], |t, x| {
                    let start = if decoupled && weight_decay != 0.0 {
                        let decay = t.constant(-weight_decay);
                        let shrink = t.multiply(x[5], decay);
                        t.multiply_add(x[0], shrink, x[0])
                    } else {
                        x[0]
                    };
                    let size = t.sqrt(x[2]);
                    let size = t.divide(size, x[3]);
                    let little = t.constant(epsilon);
                    let size = t.add(size, little);
                    let step = t.divide(x[1], size);
                    descend(t, start, x[4], step)
                })?;
                for (slot, value) in slots.into_iter().zip([first, second]) {
                    state.insert(slot, value);
                }
                new
            }
        };
        result.insert((*name).clone(), builder.reshape(&new, parameter.shape())?);
    }
    result.extend(state);
    Ok(result)
}

/// `gradient + decay · parameter`.
fn decayed(t: &mut Terms, gradient: Node, parameter: Node, decay: f32) -> Node {
    if decay == 0.0 {
        return gradient;
    }
    let decay = t.constant(decay);
    t.multiply_add(decay, parameter, gradient)
}

/// `parameter − rate · step`.
fn descend(t: &mut Terms, parameter: Node, rate: Node, step: Node) -> Node {
    let down = t.negate(rate);
    t.multiply_add(down, step, parameter)
}

/// `beta · old + (1 − beta) · new`, where no `new` is 1.
fn moving(t: &mut Terms, old: Node, beta: f32, new: Option<Node>) -> Node {
    let (keep, share) = (t.constant(beta), t.constant(1.0 - beta));
    let new = new.map_or(share, |new| t.multiply(share, new));
    t.multiply_add(keep, old, new)
}
