//! What moves numbers: layouts, gathers, scatters of rows; and random numbers.

use super::{Draw, bits, check, choices, inputs};
use proptest::prelude::*;
use trainyard_exact::definition::{Coordinate, Operation, Primitive, View};

fn at(count: usize, factors: &[(usize, i64)], offset: i64) -> Coordinate {
    let mut coefficients = vec![0; count];
    for (axis, factor) in factors {
        coefficients[*axis] += factor;
    }
    Coordinate {
        offset,
        coefficients,
        divisor: 1,
    }
}

fn view(shape: &[usize], coordinates: Vec<Coordinate>) -> View {
    View {
        shape: shape.to_vec(),
        coordinates,
        outside: 0.0,
    }
}

/// Transposed, sliced with steps, padded, side by side, or any views.
fn layout(draw: &mut Draw) -> Primitive {
    let output: Vec<usize> = match draw.range(0, 3) {
        0 => draw.shape(4, 600),
        1 => vec![draw.size(1, 40), draw.size(1, 40)],
        _ => vec![draw.size(1, 4), draw.size(1, 20), draw.size(1, 20)],
    };
    let count = output.len();
    if count == 0 || draw.range(0, 3) == 0 {
        let views = (0..draw.size(1, 3)).map(|_| draw.view(&output)).collect();
        return Primitive::new(output, vec![], Operation::Layout(views)).unwrap();
    }
    let mut order: Vec<usize> = (0..count).collect();
    for i in 0..count {
        let j = draw.size(i, count - 1);
        order.swap(i, j);
    }
    let along = draw.size(0, count - 1);
    let mut start = 0;
    let mut views = Vec::new();
    for _ in 0..draw.size(1, 3) {
        let (step, pad) = (draw.range(1, 2), draw.range(-1, 2));
        let mut shape = Vec::new();
        let mut coordinates = Vec::new();
        for axis in &order {
            let extent = output[*axis];
            if *axis != along {
                shape.push(extent);
                coordinates.push(at(count, &[(*axis, 1)], 0));
                continue;
            }
            let part = draw.size(1, extent.max(1));
            shape.push(part);
            coordinates.push(at(count, &[(*axis, step)], pad - start));
            start += part as i64;
        }
        views.push(View {
            outside: draw.numbers(1)[0],
            ..view(&shape, coordinates)
        });
    }
    Primitive::new(output, vec![], Operation::Layout(views)).unwrap()
}

/// Rows along any axis of the data, now and then with a coordinate that moves with the loop.
fn gather(draw: &mut Draw) -> Primitive {
    let output = vec![draw.size(1, 6), draw.size(1, 40), draw.size(1, 40)];
    let axis = draw.size(0, 2);
    let (mut shape, mut coordinates) = (vec![], vec![]);
    for (i, extent) in output.iter().enumerate() {
        if i == axis {
            shape.push(draw.size(1, 8));
            let moves = draw.range(0, 3) == 0;
            coordinates.push(at(3, &[(draw.size(0, 2), i64::from(moves))], draw.range(-1, 1)));
        } else {
            let short = usize::from(draw.range(0, 7) == 0);
            shape.push((extent - short).max(1));
            coordinates.push(at(3, &[(i, 1)], 0));
        }
    }
    let data = View {
        outside: draw.numbers(1)[0],
        ..view(&shape, coordinates)
    };
    let indices = match draw.range(0, 2) {
        0 => view(&output[axis..=axis], vec![at(3, &[(axis, 1)], 0)]),
        1 => view(&output[..2], vec![at(3, &[(0, 1)], 0), at(3, &[(1, 1)], 0)]),
        _ => draw.view(&output),
    };
    Primitive::new(output, vec![], Operation::Gather(indices, data, axis)).unwrap()
}

/// The gradient of a gather: the updates of k are added to the row that its index names.
fn scatter(draw: &mut Draw) -> Primitive {
    let output = vec![draw.size(1, 5), draw.size(1, 12), draw.size(1, 150)];
    let reduced = vec![draw.size(1, 3), draw.size(1, 40)];
    let row = draw.size(0, 2);
    let mut updates: Vec<usize> = (0..5).filter(|axis| *axis != row).collect();
    for i in 0..3 {
        let j = draw.size(i, 3);
        updates.swap(i, j);
    }
    let loops = [&output[..], &reduced].concat();
    let along = |axes: &[usize]| {
        let shape: Vec<usize> = axes.iter().map(|axis| loops[*axis]).collect();
        view(&shape, axes.iter().map(|axis| at(5, &[(*axis, 1)], 0)).collect())
    };
    let operation = Operation::ScatterAdd(along(&[3, 4]), along(&updates), at(5, &[(row, 1)], 0));
    Primitive::new(output, reduced, operation).unwrap()
}

/// Inputs whose first one holds small whole numbers for the most part.
fn indexed(primitive: &Primitive, draw: &mut Draw) -> Vec<Vec<f32>> {
    let mut all = inputs(primitive, draw);
    for value in all[0]
        .iter_mut()
        .filter(|value| value.is_finite() && value.abs() < 100.0)
    {
        *value = (*value).abs().trunc();
    }
    all
}

pub(crate) fn a_move(draw: &mut Draw) -> (Primitive, Vec<Vec<f32>>) {
    match draw.range(0, 2) {
        0 => {
            let primitive = layout(draw);
            let inputs = inputs(&primitive, draw);
            (primitive, inputs)
        }
        kind => {
            let primitive = if kind == 1 { gather(draw) } else { scatter(draw) };
            let inputs = indexed(&primitive, draw);
            (primitive, inputs)
        }
    }
}

pub(crate) fn random_numbers(draw: &mut Draw) -> (Primitive, Vec<Vec<f32>>) {
    let key = view(&[4], vec![at(1, &[], 0)]);
    let words = (0..4).map(|_| draw.range(0, 65_535) as f32).collect();
    let operation = Operation::Random(key, 7);
    (
        Primitive::new(vec![draw.size(1, 500)], vec![], operation).unwrap(),
        vec![words],
    )
}

#[test]
fn large_moves_have_the_definitions_bits() {
    let mut draw = Draw::new(vec![3]);
    let transposed = view(&[300, 200], vec![at(2, &[(1, 1)], 0), at(2, &[(0, 1)], 0)]);
    let primitive = Primitive::new(vec![200, 300], vec![], Operation::Layout(vec![transposed])).unwrap();
    check(&primitive, &inputs(&primitive, &mut draw));
    let padded = view(
        &[40, 30, 40],
        vec![at(3, &[(0, 1)], 0), at(3, &[(1, 1)], -1), at(3, &[(2, 1)], -1)],
    );
    let primitive = Primitive::new(vec![40, 32, 42], vec![], Operation::Layout(vec![padded])).unwrap();
    check(&primitive, &inputs(&primitive, &mut draw));
}

#[test]
fn random_numbers_have_the_definitions_bits() {
    let key = view(&[4], vec![at(1, &[], 0)]);
    for count in [1, 3, 64, 65, 20_001] {
        let primitive = Primitive::new(vec![count], vec![], Operation::Random(key.clone(), 7)).unwrap();
        check(&primitive, &[vec![65535.0, 1.0, 0.0, 4711.0]]);
        let none = check(&primitive, &[vec![65536.0, 1.0, 0.0, 4711.0]]);
        assert_eq!(none[0], bits(&[f32::NAN])[0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn layouts_have_the_definitions_bits(mut draw in choices()) {
        let primitive = layout(&mut draw);
        check(&primitive, &inputs(&primitive, &mut draw));
    }

    #[test]
    fn gathers_have_the_definitions_bits(mut draw in choices()) {
        let primitive = gather(&mut draw);
        check(&primitive, &indexed(&primitive, &mut draw));
    }

    #[test]
    fn scatters_have_the_definitions_bits(mut draw in choices()) {
        let primitive = scatter(&mut draw);
        check(&primitive, &indexed(&primitive, &mut draw));
    }
}
