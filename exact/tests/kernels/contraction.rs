//! Contractions: matrix products, convolutions with both gradients, and any two views.

use super::{Draw, check, choices, inputs};
use proptest::prelude::*;
use trainyard_exact::definition::{Coordinate, Operation, Primitive, View};

fn at(coefficients: Vec<i64>, offset: i64, divisor: i64) -> Coordinate {
    Coordinate {
        offset,
        coefficients,
        divisor,
    }
}

/// Loop axis `axis` of `count`.
fn unit(axis: usize, count: usize) -> Coordinate {
    let mut coefficients = vec![0; count];
    coefficients[axis] = 1;
    at(coefficients, 0, 1)
}

fn view(shape: &[usize], coordinates: Vec<Coordinate>) -> View {
    View {
        shape: shape.to_vec(),
        coordinates,
        outside: 0.0,
    }
}

/// The tensor whose axes are these loop axes.
fn along(loops: &[usize], axes: &[usize]) -> View {
    let shape: Vec<usize> = axes.iter().map(|axis| loops[*axis]).collect();
    view(&shape, axes.iter().map(|axis| unit(*axis, loops.len())).collect())
}

/// A batched product with batch, row, column and k in any order in both operands and in the output.
fn product(draw: &mut Draw) -> Primitive {
    let kind = draw.range(0, 5);
    let mut size = |high| if draw.range(0, 5) == 0 { 1 } else { draw.size(1, high) };
    let extents = match kind {
        0 => [size(3), size(30), size(70), size(20)],
        1 => [1, size(4), size(150), size(12)],
        2 => [1, size(140), size(5), size(12)],
        3 => [1, size(5), size(20), 250 + size(300)],
        4 => [size(40), size(5), size(5), size(9)],
        _ => [size(2), size(100), size(40), size(4)],
    };
    let mut outer = [0, 1, 2];
    for i in 0..2 {
        let j = draw.size(i, 2);
        outer.swap(i, j);
    }
    let output: Vec<usize> = outer.iter().map(|axis| extents[*axis]).collect();
    let loops = [&output[..], &[extents[3]]].concat();
    let place = |axis| outer.iter().position(|other| *other == axis).unwrap();
    let mut operand = |mut axes: Vec<usize>| {
        for i in 0..2 {
            let j = draw.size(i, 2);
            axes.swap(i, j);
        }
        along(&loops, &axes)
    };
    let operation = Operation::Contraction(
        operand(vec![place(0), place(1), 3]),
        operand(vec![place(0), place(2), 3]),
    );
    Primitive::new(output, vec![extents[3]], operation).unwrap()
}

/// A two-dimensional convolution with groups, strides, pads and dilations, or its gradient for the input or the weights.
fn convolution(draw: &mut Draw) -> Primitive {
    let (n, groups) = (draw.size(1, 3), draw.size(1, 2));
    let (channels, filters) = (draw.size(1, 3), draw.size(1, 14));
    let images = [draw.size(3, 12), draw.size(3, 20)];
    let taps = [draw.size(1, 3), draw.size(1, 3)];
    let stride = [draw.range(1, 2), draw.range(1, 2)];
    let dilation = [draw.range(1, 2), 1];
    let pad = [draw.range(0, 2), draw.range(0, 1)];
    let outputs: [usize; 2] = std::array::from_fn(|i| {
        let spanned = dilation[i] * (taps[i] as i64 - 1) + 1;
        usize::try_from(((images[i] as i64 + 2 * pad[i] - spanned) / stride[i] + 1).max(1)).unwrap()
    });
    let [x, w, y] = [
        [n, groups, channels, images[0], images[1]],
        [groups, filters, channels, taps[0], taps[1]],
        [n, groups, filters, outputs[0], outputs[1]],
    ];
    // The place in the image of an output and a tap, and that in the output of a place in the image and a tap.
    let image = |output: usize, tap: usize, i: usize| {
        let mut coefficients = vec![0; 8];
        coefficients[output] = stride[i];
        coefficients[tap] = dilation[i];
        at(coefficients, -pad[i], 1)
    };
    let undone = |image: usize, tap: usize, i: usize| {
        let mut coefficients = vec![0; 8];
        coefficients[image] = 1;
        coefficients[tap] = -dilation[i];
        at(coefficients, pad[i], stride[i])
    };
    let axis = |axis| unit(axis, 8);
    let (output, reduced, a, b) = match draw.range(0, 2) {
        // n g m h w | c p q
        0 => (
            y,
            [channels, taps[0], taps[1]],
            view(&x, vec![axis(0), axis(1), axis(5), image(3, 6, 0), image(4, 7, 1)]),
            view(&w, vec![axis(1), axis(2), axis(5), axis(6), axis(7)]),
        ),
        // n g c h w | m p q
        1 => (
            x,
            [filters, taps[0], taps[1]],
            view(&y, vec![axis(0), axis(1), axis(5), undone(3, 6, 0), undone(4, 7, 1)]),
            view(&w, vec![axis(1), axis(5), axis(2), axis(6), axis(7)]),
        ),
        // g m c p q | n h w
        _ => (
            w,
            [n, outputs[0], outputs[1]],
            view(&y, vec![axis(5), axis(0), axis(1), axis(6), axis(7)]),
            view(&x, vec![axis(5), axis(0), axis(2), image(6, 3, 0), image(7, 4, 1)]),
        ),
    };
    let operation = if draw.flip() {
        Operation::Contraction(a, b)
    } else {
        Operation::Contraction(b, a)
    };
    Primitive::new(output.to_vec(), reduced.to_vec(), operation).unwrap()
}

pub(crate) fn a_product(draw: &mut Draw) -> (Primitive, Vec<Vec<f32>>) {
    let primitive = product(draw);
    let inputs = inputs(&primitive, draw);
    (primitive, inputs)
}

pub(crate) fn a_convolution(draw: &mut Draw) -> (Primitive, Vec<Vec<f32>>) {
    let primitive = convolution(draw);
    let inputs = inputs(&primitive, draw);
    (primitive, inputs)
}

/// Large enough for whole tiles, several blocks of k and several tasks, cut by panels and by rows.
#[test]
fn large_products_have_the_definitions_bits() {
    for [m, n, k] in [
        [150, 130, 300],
        [700, 30, 71],
        [3, 2100, 257],
        [12, 32, 1],
        [61, 301, 115],
    ] {
        for (a, b) in [([0, 2], [2, 1]), ([2, 0], [2, 1]), ([0, 2], [1, 2]), ([2, 0], [1, 2])] {
            let loops = [m, n, k];
            let operation = Operation::Contraction(along(&loops, &a), along(&loops, &b));
            let primitive = Primitive::new(vec![m, n], vec![k], operation).unwrap();
            let mut draw = Draw::new(vec![u32::try_from(m).unwrap()]);
            check(&primitive, &inputs(&primitive, &mut draw));
        }
    }
}

#[test]
fn without_k_a_product_is_zero() {
    let loops = [2, 3, 0];
    let operation = Operation::Contraction(along(&loops, &[0, 2]), along(&loops, &[2, 1]));
    let primitive = Primitive::new(vec![2, 3], vec![0], operation).unwrap();
    assert_eq!(check(&primitive, &[vec![], vec![]]), [0; 6]);
}

/// The gradient of a convolution of stride 2 whose products are too small for f32, or infinite: the steps between the
/// elements must not be left out where they turn −0 into +0, or ∞ into NaN.
#[test]
fn undone_strides_have_the_definitions_bits() {
    let (images, outputs, taps) = (40, 20, 3);
    let undone = view(&[outputs], vec![at(vec![1, -1, 0], 1, 2)]);
    let weights = along(&[images, taps, 2], &[1, 2]);
    let operation = Operation::Contraction(undone.clone(), weights.clone());
    let primitive = Primitive::new(vec![images], vec![taps, 2], operation).unwrap();
    let mut zeros = 0;
    for last in [1e-30, -1e-30, f32::INFINITY, f32::NAN] {
        for sign in [1.0, -1.0] {
            let dy: Vec<f32> = (0..outputs)
                .map(|i| if i % 3 == 0 { 1e-30 } else { -1e-30 } * sign)
                .collect();
            let w = [1e-30, -1e-30, 1e-30, 1e-30, -1e-30, last].to_vec();
            let expected = check(&primitive, &[dy, w]);
            zeros += expected.iter().filter(|bits| **bits == (-0.0f32).to_bits()).count();
        }
    }
    assert!(zeros > 0, "no element is −0");
    // Neither where the weights end and something infinite lies outside.
    let mut shifted = weights;
    shifted.coordinates[0].offset = 1;
    shifted.outside = f32::INFINITY;
    let operation = Operation::Contraction(undone, shifted);
    let primitive = Primitive::new(vec![images], vec![taps, 2], operation).unwrap();
    check(&primitive, &[vec![1.0; outputs], vec![1.0; taps * 2]]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn products_have_the_definitions_bits(mut draw in choices()) {
        let (primitive, inputs) = a_product(&mut draw);
        check(&primitive, &inputs);
    }

    #[test]
    fn convolutions_have_the_definitions_bits(mut draw in choices()) {
        let (primitive, inputs) = a_convolution(&mut draw);
        check(&primitive, &inputs);
    }

    #[test]
    fn contractions_of_any_views_have_the_definitions_bits(mut draw in choices()) {
        let (output, reduced) = (draw.shape(4, 300), draw.shape(3, 30));
        let loops = [&output[..], &reduced].concat();
        let operation = Operation::Contraction(draw.view(&loops), draw.view(&loops));
        let primitive = Primitive::new(output, reduced, operation).unwrap();
        check(&primitive, &inputs(&primitive, &mut draw));
    }
}
