//! The losses: means over the rows of the output.

use super::norm;
use crate::definition::{Coordinate, Operation, Primitive, View};
use crate::program::{Builder, Node, ProgramError, Terms, Var};
use crate::task::{Loss, Task};

/// The loss (one element) of `result`, seen as `rows` rows.
pub(super) fn loss(
    builder: &mut Builder,
    task: &Task,
    result: &Var,
    labels: &Var,
    rows: usize,
) -> Result<Var, ProgramError> {
    let classes = result.elements() / rows.max(1);
    let x = builder.reshape(result, &[rows, classes])?;
    let parts = match task.loss {
        Loss::CrossEntropy => cross_entropy(builder, &x, labels, task.label_smoothing)?,
        Loss::Mse => {
            let labels = builder.reshape(labels, &[rows, 1])?;
            builder.map(&[&x, &labels], |t, x| {
                let target = target(t, x[1], classes);
                let error = t.subtract(x[0], target);
                t.multiply(error, error)
            })?
        }
        Loss::BceWithLogits => bce(builder, &x, labels, classes)?,
    };
    let axes: Vec<usize> = (0..parts.shape().len()).collect();
    let mean = norm::mean(builder, &parts, &axes)?;
    builder.reshape(&mean, &[1])
}

/// The label itself for a single output, else 1 at the label and 0 elsewhere.
fn target(t: &mut Terms, label: Node, classes: usize) -> Node {
    if classes == 1 {
        return label;
    }
    let class = t.position(1);
    t.equal(label, class)
}

/// `(1 − s) · (log Σ eˣ − x[label]) + s · (log Σ eˣ − mean x)` of each row, with `s` the smoothing; (rows, 1).
fn cross_entropy(builder: &mut Builder, x: &Var, labels: &Var, smoothing: f32) -> Result<Var, ProgramError> {
    let &[rows, classes] = x.shape() else {
        return Err(ProgramError::Shape {
            operation: "cross_entropy",
            why: format!("{:?} has not two axes", x.shape()),
        });
    };
    let [max, powers, sum] = norm::powers(builder, x, 1)?;
    let labels = builder.reshape(labels, &[rows, 1])?;
    let chosen = choose(builder, x, &labels)?;
    // x[label], or its mixture with the mean.
    let aim = if smoothing == 0.0 {
        chosen
    } else {
        let total = builder.sum(x, &[1])?;
        builder.map(&[&chosen, &total], |t, x| {
            let (keep, spread) = (t.constant(1.0 - smoothing), t.constant(smoothing / classes as f32));
            let spread = t.multiply(x[1], spread);
            t.multiply_add(keep, x[0], spread)
        })?
    };
    let loss = builder.map(&[&sum, &max, &aim], |t, x| {
        let log = t.log(x[0]);
        let shifted = t.subtract(x[1], x[2]);
        t.add(log, shifted)
    })?;
    // softmax − target, times the row's gradient.
    let x = x.clone();
    builder.differentiate(&loss, move |builder, gradient| {
        let gradient = builder.reshape(gradient, &[rows, 1])?;
        let result = builder.map(&[&powers, &sum, &labels, &gradient], |t, x| {
            let softmax = t.divide(x[0], x[1]);
            let class = t.position(1);
            let hit = t.equal(x[2], class);
            let target = if smoothing == 0.0 {
                hit
            } else {
                let (keep, spread) = (t.constant(1.0 - smoothing), t.constant(smoothing / classes as f32));
                t.multiply_add(keep, hit, spread)
            };
            let error = t.subtract(softmax, target);
            t.multiply(error, x[3])
        })?;
        Ok(vec![(x, result)])
    });
    Ok(loss)
}

/// `x[row, label[row]]` of each row; NaN where the label is no class.
fn choose(builder: &mut Builder, x: &Var, labels: &Var) -> Result<Var, ProgramError> {
    let coordinate = |row: i64| Coordinate {
        offset: 0,
        coefficients: vec![row, 0],
        divisor: 1,
    };
    let view = |shape: &[usize]| View {
        shape: shape.to_vec(),
        coordinates: vec![coordinate(1), coordinate(0)],
        outside: f32::NAN,
    };
    let gather = Operation::Gather(view(labels.shape()), view(x.shape()), 1);
    builder.push(Primitive::new(labels.shape().to_vec(), vec![], gather)?, &[labels, x])
}

/// `max(x, 0) − x · target + log(1 + e^−|x|)` of each output: the stable form.
fn bce(builder: &mut Builder, x: &Var, labels: &Var, classes: usize) -> Result<Var, ProgramError> {
    let labels = builder.reshape(labels, &[x.shape()[0], 1])?;
    let loss = builder.map(&[x, &labels], |t, x| {
        let target = target(t, x[1], classes);
        let (zero, one) = (t.constant(0.0), t.constant(1.0));
        let positive = t.maximum(zero, x[0]);
        let down = t.negate(x[0]);
        let linear = t.multiply_add(down, target, positive);
        let size = t.absolute(x[0]);
        let size = t.negate(size);
        let power = t.exp(size);
        let sum = t.add(one, power);
        let log = t.log(sum);
        t.add(linear, log)
    })?;
    let (x, shape) = (x.clone(), loss.shape().to_vec());
    builder.differentiate(&loss, move |builder, gradient| {
        let gradient = builder.reshape(gradient, &shape)?;
        let result = builder.map(&[&x, &labels, &gradient], |t, x| {
            let target = target(t, x[1], classes);
            let chance = t.sigmoid(x[0]);
            let error = t.subtract(chance, target);
            t.multiply(error, x[2])
        })?;
        Ok(vec![(x, result)])
    });
    Ok(loss)
}
