//! SGD, Adam and AdamW with PyTorch's definitions, on tensors we name ourselves: libtorch's optimizers keep theirs hidden.
//!
//! State of SGD with momentum: `opt/momentum/NAME` for each parameter. State of Adam: `opt/step` (number of steps taken, one
//! element), `opt/first/NAME` and `opt/second/NAME` (moments).

use std::collections::BTreeMap;

use tch::Tensor;
use trainyard_exact::task::Optimizer;

use super::EngineError;

/// Name of the number of steps taken.
pub(super) const STEP: &str = "opt/step";

/// The kinds of tensors an optimizer keeps for each parameter.
pub(super) fn slots(optimizer: &Optimizer) -> &'static [&'static str] {
    match optimizer {
        Optimizer::Sgd { momentum, .. } if *momentum == 0.0 => &[],
        Optimizer::Sgd { .. } => &["opt/momentum/"],
        Optimizer::Adam { .. } => &["opt/first/", "opt/second/"],
    }
}

/// Whether an optimizer counts its steps.
pub(super) fn counts(optimizer: &Optimizer) -> bool {
    matches!(optimizer, Optimizer::Adam { .. })
}

/// Moves one parameter along its gradient, at the learning rate `rate`. `step` is the number of this step since the state
/// was new, from 1. Must run without autograd.
pub(super) fn update(
    optimizer: &Optimizer,
    rate: f32,
    step: u32,
    name: &str,
    parameter: &mut Tensor,
    gradient: &Tensor,
    state: &mut BTreeMap<String, Tensor>,
) -> Result<(), EngineError> {
    let mut slot = |kind: &str| {
        state
            .get_mut(&format!("{kind}{name}"))
            .ok_or_else(|| EngineError::State {
                what: "the optimizer's state",
                problem: format!("lacks {kind}{name}"),
            })
            .map(|tensor| tensor.shallow_clone())
    };
    match *optimizer {
        Optimizer::Sgd {
            momentum,
            weight_decay,
            nesterov,
            ..
        } => {
            let mut gradient = decayed(gradient, parameter, weight_decay)?;
            if momentum != 0.0 {
                let momentum = f64::from(momentum);
                let mut velocity = slot("opt/momentum/")?;
                let _ = velocity.f_mul_scalar_(momentum)?.f_add_(&gradient)?;
                gradient = if nesterov {
                    gradient.f_add(&velocity.f_mul_scalar(momentum)?)?
                } else {
                    velocity
                };
            }
            let _ = parameter.f_sub_(&gradient.f_mul_scalar(f64::from(rate))?)?;
        }
        Optimizer::Adam {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            decoupled,
            ..
        } => {
            let [rate, beta1, beta2] = [rate, beta1, beta2].map(f64::from);
            let gradient = if decoupled {
                let _ = parameter.f_mul_scalar_(1.0 - rate * f64::from(weight_decay))?;
                gradient.shallow_clone()
            } else {
                decayed(gradient, parameter, weight_decay)?
            };
            let mut first = slot("opt/first/")?;
            let _ = first
                .f_mul_scalar_(beta1)?
                .f_add_(&gradient.f_mul_scalar(1.0 - beta1)?)?;
            let mut second = slot("opt/second/")?;
            let _ = second
                .f_mul_scalar_(beta2)?
                .f_add_(&gradient.f_square()?.f_mul_scalar(1.0 - beta2)?)?;
            let root = second.f_sqrt()?.f_mul_scalar(1.0 / (1.0 - power(beta2, step)).sqrt())?;
            let scale = root.f_add_scalar(f64::from(epsilon))?;
            let _ = parameter.f_sub_(&first.f_div(&scale)?.f_mul_scalar(rate / (1.0 - power(beta1, step)))?)?;
        }
    }
    Ok(())
}

fn decayed(gradient: &Tensor, parameter: &Tensor, weight_decay: f32) -> Result<Tensor, EngineError> {
    Ok(if weight_decay == 0.0 {
        gradient.shallow_clone()
    } else {
        gradient.f_add(&parameter.f_mul_scalar(f64::from(weight_decay))?)?
    })
}

/// `base` to the power of `exponent` by repeated squaring: the same bits on every machine, unlike libm's.
fn power(base: f64, exponent: u32) -> f64 {
    let (mut result, mut square) = (1.0, base);
    for bit in 0..u32::BITS {
        if exponent >> bit & 1 == 1 {
            result *= square;
        }
        square *= square;
    }
    result
}
