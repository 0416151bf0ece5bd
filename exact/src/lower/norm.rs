//! Normalisations and softmax. Their derivatives are written out: shorter than what differentiating their parts gives.

use super::Lowering;
use crate::program::{Builder, ProgramError, Var};

/// Means over `axes`: the sum times 1 / count.
pub(super) fn mean(builder: &mut Builder, x: &Var, axes: &[usize]) -> Result<Var, ProgramError> {
    let count = count(x, axes);
    let sum = builder.sum(x, axes)?;
    builder.map(&[&sum], |t, x| {
        let share = t.constant(1.0 / count);
        t.multiply(x[0], share)
    })
}

fn count(x: &Var, axes: &[usize]) -> f32 {
    axes.iter().map(|axis| x.shape()[*axis]).product::<usize>() as f32
}

/// Mean and biased variance over `axes`, in two passes.
fn moments(builder: &mut Builder, x: &Var, axes: &[usize]) -> Result<[Var; 2], ProgramError> {
    let center = mean(builder, x, axes)?;
    let squares = builder.map(&[x, &center], |t, x| {
        let away = t.subtract(x[0], x[1]);
        t.multiply(away, away)
    })?;
    let variance = mean(builder, &squares, axes)?;
    Ok([center, variance])
}

/// `(x − mean) · 1/√(variance + epsilon) · scale + bias`; scale and bias broadcast to x.
fn affine(
    builder: &mut Builder,
    x: &Var,
    center: &Var,
    inverse: &Var,
    scale: Option<&Var>,
    bias: Option<&Var>,
) -> Result<Var, ProgramError> {
    let operands: Vec<&Var> = [Some(x), Some(center), Some(inverse), scale, bias]
        .into_iter()
        .flatten()
        .collect();
    builder.map(&operands, |t, x| {
        let away = t.subtract(x[0], x[1]);
        let normal = t.multiply(away, x[2]);
        match (scale, bias) {
            (None, None) => normal,
            (Some(_), None) => t.multiply(normal, x[3]),
            (None, Some(_)) => t.add(normal, x[3]),
            (Some(_), Some(_)) => t.multiply_add(normal, x[3], x[4]),
        }
    })
}

fn inverse_root(builder: &mut Builder, variance: &Var, epsilon: f32) -> Result<Var, ProgramError> {
    builder.map(&[variance], |t, x| {
        let epsilon = t.constant(epsilon);
        let sum = t.add(x[0], epsilon);
        t.rsqrt(sum)
    })
}

/// What a normalisation over `axes` hands to its derivative.
struct Normal {
    x: Var,
    center: Var,
    inverse: Var,
    axes: Vec<usize>,
}

impl Normal {
    /// Gradients of x, scale and bias:
    /// `inverse · (g − mean(g) − n · mean(g · n))` with `g = gradient · scale` and `n` the normalised x.
    fn derivative(
        self,
        builder: &mut Builder,
        gradient: &Var,
        scale: Option<Var>,
        bias: Option<Var>,
    ) -> Result<Vec<(Var, Var)>, ProgramError> {
        let gradient = builder.reshape(gradient, self.x.shape())?;
        let normal = affine(builder, &self.x, &self.center, &self.inverse, None, None)?;
        let mut result = Vec::new();
        // The axes that scale and bias broadcast along.
        let spread = |of: &Var| -> Vec<usize> {
            let skip = self.x.shape().len() - of.shape().len();
            (0..self.x.shape().len())
                .filter(|axis| *axis < skip || of.shape()[*axis - skip] == 1)
                .collect()
        };
        let mut scaled = None;
        if let Some(scale) = &scale {
            let sum = builder.dot(&gradient, &normal, &spread(scale))?;
            result.push((scale.clone(), builder.reshape(&sum, scale.shape())?));
            // Where the scale is one number for all that is normalised together, it factors out of the means.
            scaled = Some(builder.map(&[&gradient, scale], |t, x| t.multiply(x[0], x[1]))?);
        }
        if let Some(bias) = &bias {
            let sum = builder.sum(&gradient, &spread(bias))?;
            result.push((bias.clone(), builder.reshape(&sum, bias.shape())?));
        }
        let g = scaled.unwrap_or(gradient);
        let share = 1.0 / count(&self.x, &self.axes);
        let sums = [builder.sum(&g, &self.axes)?, builder.dot(&g, &normal, &self.axes)?];
        let x = builder.map(&[&g, &normal, &self.inverse, &sums[0], &sums[1]], |t, x| {
            let share = t.constant(share);
            let (first, second) = (t.multiply(x[3], share), t.multiply(x[4], share));
            let down = t.negate(second);
            let centred = t.subtract(x[0], first);
            let away = t.multiply_add(down, x[1], centred);
            t.multiply(away, x[2])
        })?;
        result.push((self.x, x));
        Ok(result)
    }
}

/// Layer normalisation over the dimensions from `axis` on.
pub(super) fn layer(
    builder: &mut Builder,
    x: &Var,
    scale: Option<&Var>,
    bias: Option<&Var>,
    axis: usize,
    epsilon: f32,
) -> Result<Var, ProgramError> {
    let axes: Vec<usize> = (axis..x.shape().len()).collect();
    let [center, variance] = moments(builder, x, &axes)?;
    let inverse = inverse_root(builder, &variance, epsilon)?;
    let y = affine(builder, x, &center, &inverse, scale, bias)?;
    let normal = Normal {
        x: x.clone(),
        center,
        inverse,
        axes,
    };
    let (scale, bias) = (scale.cloned(), bias.cloned());
    builder.differentiate(&y, move |builder, gradient| {
        normal.derivative(builder, gradient, scale, bias)
    });
    Ok(y)
}

/// Batch normalisation; operands x, scale, bias, running mean, running variance. In training the new running statistics
/// are kept under the names of the old ones.
pub(super) fn batch(
    lowering: &mut Lowering<'_>,
    operands: &[Var],
    names: [Option<&str>; 2],
    epsilon: f32,
    momentum: f32,
) -> Result<Var, ProgramError> {
    let [x, scale, bias, old_mean, old_variance] = operands else {
        return Err(ProgramError::Shape {
            operation: "batch normalisation",
            why: format!("{} operands, 5 are needed", operands.len()),
        });
    };
    let builder = &mut lowering.builder;
    let rank = x.shape().len();
    // Channels lie along dimension 1.
    let mut shape = vec![1; rank];
    shape[1] = x.shape()[1];
    let [scale, bias, old_mean, old_variance] = [
        builder.reshape(scale, &shape)?,
        builder.reshape(bias, &shape)?,
        builder.reshape(old_mean, &shape)?,
        builder.reshape(old_variance, &shape)?,
    ];
    if !lowering.training {
        let inverse = inverse_root(builder, &old_variance, epsilon)?;
        return affine(builder, x, &old_mean, &inverse, Some(&scale), Some(&bias));
    }
    let axes: Vec<usize> = (0..rank).filter(|axis| *axis != 1).collect();
    let [center, variance] = moments(builder, x, &axes)?;
    let inverse = inverse_root(builder, &variance, epsilon)?;
    let y = affine(builder, x, &center, &inverse, Some(&scale), Some(&bias))?;
    // One value a channel has no unbiased variance; it counts as it is.
    let count = count(x, &axes);
    let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
    for (name, old, new, factor) in [
        (names[0], &old_mean, &center, 1.0),
        (names[1], &old_variance, &variance, unbiased),
    ] {
        let Some(name) = name else { continue };
        let moved = builder.map(&[old, new], |t, x| {
            let (keep, share) = (t.constant(momentum), t.constant((1.0 - momentum) * factor));
            let new = t.multiply(share, x[1]);
            t.multiply_add(keep, x[0], new)
        })?;
        let channels = x.shape()[1];
        lowering
            .buffers
            .insert(name.to_owned(), builder.reshape(&moved, &[channels])?);
    }
    let normal = Normal {
        x: x.clone(),
        center,
        inverse,
        axes,
    };
    builder.differentiate(&y, move |builder, gradient| {
        normal.derivative(builder, gradient, Some(scale), Some(bias))
    });
    Ok(y)
}

/// `e^(x − max)` and its sum along `axis`.
pub(super) fn powers(builder: &mut Builder, x: &Var, axis: usize) -> Result<[Var; 3], ProgramError> {
    let max = builder.max(x, &[axis])?;
    let powers = builder.map(&[x, &max], |t, x| {
        let shifted = t.subtract(x[0], x[1]);
        t.exp(shifted)
    })?;
    let sum = builder.sum(&powers, &[axis])?;
    Ok([max, powers, sum])
}

pub(super) fn softmax(builder: &mut Builder, x: &Var, axis: usize) -> Result<Var, ProgramError> {
    let [_, powers, sum] = powers(builder, x, axis)?;
    let y = builder.map(&[&powers, &sum], |t, x| t.divide(x[0], x[1]))?;
    let (x, value) = (x.clone(), y.clone());
    builder.differentiate(&y, move |builder, gradient| {
        let gradient = builder.reshape(gradient, x.shape())?;
        let dot = builder.dot(&gradient, &value, &[axis])?;
        let result = builder.map(&[&gradient, &dot, &value], |t, x| {
            let away = t.subtract(x[0], x[1]);
            t.multiply(away, x[2])
        })?;
        Ok(vec![(x, result)])
    });
    Ok(y)
}

pub(super) fn log_softmax(builder: &mut Builder, x: &Var, axis: usize) -> Result<Var, ProgramError> {
    let [max, powers, sum] = powers(builder, x, axis)?;
    let y = builder.map(&[x, &max, &sum], |t, x| {
        let shifted = t.subtract(x[0], x[1]);
        let log = t.log(x[2]);
        t.subtract(shifted, log)
    })?;
    let x = x.clone();
    builder.differentiate(&y, move |builder, gradient| {
        let gradient = builder.reshape(gradient, x.shape())?;
        let total = builder.sum(&gradient, &[axis])?;
        let result = builder.map(&[&gradient, &total, &powers, &sum], |t, x| {
            let softmax = t.divide(x[2], x[3]);
            let down = t.negate(x[1]);
            t.multiply_add(down, softmax, x[0])
        })?;
        Ok(vec![(x, result)])
    });
    Ok(y)
}
