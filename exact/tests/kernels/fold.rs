//! Sums, maxima, searches and scatters of any views.

use super::{Draw, check, choices, inputs};
use proptest::prelude::*;
use trainyard_exact::definition::{Coordinate, Operation, Primitive, View};

/// The tensor whose axes are these axes of the loop.
fn along(loops: &[usize], axes: &[usize]) -> View {
    let unit = |axis: &usize| Coordinate {
        offset: 0,
        coefficients: (0..loops.len()).map(|other| i64::from(other == *axis)).collect(),
        divisor: 1,
    };
    View {
        shape: axes.iter().map(|axis| loops[*axis]).collect(),
        coordinates: axes.iter().map(unit).collect(),
        outside: 0.0,
    }
}

/// Both views and the coordinate are drawn until they are of some use.
fn fold(draw: &mut Draw) -> Primitive {
    let (output, reduced) = (draw.shape(4, 400), draw.shape(3, 40));
    let loops = [&output[..], &reduced].concat();
    let (a, b) = (draw.view(&loops), draw.view(&loops));
    let operation = match draw.range(0, 5) {
        0 => Operation::Sum(a),
        1 => Operation::Max(a),
        2 => Operation::Find(a, b),
        3 => Operation::Contraction(a, b),
        _ => {
            let mut coordinates = draw.view(&loops).coordinates;
            let none = Coordinate {
                offset: draw.range(-2, 2),
                coefficients: vec![0; loops.len()],
                divisor: 1,
            };
            Operation::ScatterAdd(a, b, coordinates.pop().unwrap_or(none))
        }
    };
    Primitive::new(output, reduced, operation).unwrap()
}

/// The first input of a search or a scatter holds small whole numbers for the most part, so that there is something to
/// be found, and the second input of a search as well.
fn small(primitive: &Primitive, draw: &mut Draw) -> Vec<Vec<f32>> {
    let mut all = inputs(primitive, draw);
    let few = match primitive.operation() {
        Operation::Find(..) => 2,
        Operation::ScatterAdd(..) => 1,
        _ => 0,
    };
    for input in all.iter_mut().take(few) {
        for value in input
            .iter_mut()
            .filter(|value| value.is_finite() && value.abs() < 100.0)
        {
            *value = (*value * 2.0).trunc();
        }
    }
    all
}

pub(crate) fn a_fold(draw: &mut Draw) -> (Primitive, Vec<Vec<f32>>) {
    let primitive = fold(draw);
    let inputs = small(&primitive, draw);
    (primitive, inputs)
}

#[test]
fn large_reductions_have_the_definitions_bits() {
    let mut draw = Draw::new(vec![11]);
    for (loops, axes) in [
        ([200, 1, 300], &[0, 2][..]),
        ([300, 1, 200], &[2, 0]),
        ([16, 1, 5000], &[0, 2]),
        ([9, 40, 33], &[0, 2, 1]),
        ([1, 1, 3000], &[2]),
    ] {
        for operation in [Operation::Sum, Operation::Max] {
            let operation = operation(along(&loops, axes));
            let primitive = Primitive::new(loops[..2].to_vec(), loops[2..].to_vec(), operation).unwrap();
            check(&primitive, &inputs(&primitive, &mut draw));
        }
    }
}

/// Sums and scatters that undo windows of stride 2, as the gradients of pooling do.
#[test]
fn undone_windows_have_the_definitions_bits() {
    let mut draw = Draw::new(vec![12]);
    for (taps, pad) in [(2, 0), (3, 1), (1, 0)] {
        let undone = |outside: f32| {
            let undo = |image: usize, tap: usize| {
                let mut coefficients = vec![0; 5];
                coefficients[image] = 1;
                coefficients[tap] = -1;
                Coordinate {
                    offset: pad,
                    coefficients,
                    divisor: 2,
                }
            };
            let mut view = along(&[3, 15, 15, 1, 1], &[0, 1, 2]);
            view.coordinates = vec![view.coordinates[0].clone(), undo(1, 3), undo(2, 4)];
            View { outside, ..view }
        };
        let number = Coordinate {
            offset: 0,
            coefficients: vec![0, 0, 0, taps, 1],
            divisor: 1,
        };
        let taps = usize::try_from(taps).unwrap();
        for operation in [
            Operation::Sum(undone(0.0)),
            Operation::Sum(undone(1.0)),
            Operation::ScatterAdd(undone(-1.0), undone(0.0), number.clone()),
            Operation::ScatterAdd(undone(1.0), undone(0.0), number),
        ] {
            let primitive = Primitive::new(vec![3, 29, 30], vec![taps, taps], operation).unwrap();
            let mut inputs = inputs(&primitive, &mut draw);
            if inputs.len() == 2 {
                inputs[0] = (0..inputs[0].len()).map(|i| (i * 7 % 5) as f32).collect();
            }
            check(&primitive, &inputs);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, ..ProptestConfig::default() })]

    #[test]
    fn folds_of_any_views_have_the_definitions_bits(mut draw in choices()) {
        let (primitive, inputs) = a_fold(&mut draw);
        check(&primitive, &inputs);
    }
}
