//! The primitives against plain loops, and what their constructor refuses.

use trainyard_exact::definition::{
    Coordinate, DefinitionError, Expression, Function, MAX_EXTENT, MAX_FIND, Operation, Primitive, Term, View, uniform,
};

/// A coordinate that is `coefficients · loop + offset`.
fn at(coefficients: &[i64], offset: i64) -> Coordinate {
    Coordinate {
        offset,
        coefficients: coefficients.to_vec(),
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

fn evaluate(primitive: &Primitive, inputs: &[&[f32]]) -> Vec<f32> {
    (0..primitive.elements())
        .map(|index| primitive.element(index, |input, offset| inputs[input][offset]))
        .collect()
}

/// Small distinct numbers, exact in every sum the tests form.
fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7 % 23) as f32 - 11.0).collect()
}

fn primitive(output: &[usize], reduced: &[usize], operation: Operation) -> Primitive {
    Primitive::new(output.to_vec(), reduced.to_vec(), operation).unwrap()
}

#[test]
fn contraction_is_a_matrix_product() {
    let (m, n, k) = (3, 5, 4);
    let (a, b) = (ramp(m * k), ramp(k * n));
    // Loop axes: row, column, k.
    let left = view(&[m, k], vec![at(&[1, 0, 0], 0), at(&[0, 0, 1], 0)]);
    let right = view(&[k, n], vec![at(&[0, 0, 1], 0), at(&[0, 1, 0], 0)]);
    let product = primitive(&[m, n], &[k], Operation::Contraction(left, right));
    assert_eq!((product.elements(), product.terms()), (m * n, k));
    let expected: Vec<f32> = (0..m * n)
        .map(|i| (0..k).map(|k_| a[i / n * k + k_] * b[k_ * n + i % n]).sum())
        .collect();
    assert_eq!(evaluate(&product, &[&a, &b]), expected);
}

/// A convolution of stride 2 with padding 1, and the gradient for its input: the same operation with a divisor.
#[test]
fn contraction_is_a_convolution_and_its_gradient() {
    let (length, taps, stride, pad) = (9usize, 3usize, 2i64, 1i64);
    let outputs = 5;
    let (x, w, dy) = (ramp(length), ramp(taps), ramp(outputs));
    let forward = primitive(
        &[outputs],
        &[taps],
        Operation::Contraction(
            view(&[length], vec![at(&[stride, 1], -pad)]),
            view(&[taps], vec![at(&[0, 1], 0)]),
        ),
    );
    let mut y = vec![0.0; outputs];
    let mut dx = vec![0.0; length];
    for o in 0..outputs {
        for (tap, weight) in w.iter().enumerate() {
            if let Some(i) = (o * 2 + tap).checked_sub(1).filter(|i| *i < length) {
                y[o] += x[i] * weight;
                dx[i] += dy[o] * weight;
            }
        }
    }
    assert_eq!(evaluate(&forward, &[&x, &w]), y);
    let undo = Coordinate {
        offset: pad,
        coefficients: vec![1, -1],
        divisor: stride,
    };
    let backward = primitive(
        &[length],
        &[taps],
        Operation::Contraction(view(&[outputs], vec![undo]), view(&[taps], vec![at(&[0, 1], 0)])),
    );
    assert_eq!(evaluate(&backward, &[&dy, &w]), dx);
}

#[test]
fn a_fold_in_parts_gives_the_same_bits() {
    let terms = 100;
    let x: Vec<f32> = (0..terms).map(|i| 1.0 / (i as f32 + 1.5)).collect();
    let one = || view(&[terms], vec![at(&[1], 0)]);
    for operation in [
        Operation::Contraction(one(), one()),
        Operation::Sum(one()),
        Operation::Max(one()),
    ] {
        let fold = primitive(&[], &[terms], operation);
        let read = |_, offset: usize| x[offset];
        let parts = [0..17, 17..18, 18..18, 18..99, 99..1000];
        let acc = parts
            .into_iter()
            .fold(fold.start(), |acc, range| fold.fold(0, range, acc, read));
        assert_eq!(acc.to_bits(), fold.element(0, read).to_bits());
    }
}

#[test]
fn order_decides_a_sum() {
    let x = [1.0f32, 1e8, -1e8];
    let sum = |offset, step| primitive(&[], &[3], Operation::Sum(view(&[3], vec![at(&[step], offset)])));
    assert_eq!(evaluate(&sum(0, 1), &[&x]), [0.0]);
    assert_eq!(evaluate(&sum(2, -1), &[&x]), [1.0]);
}

#[test]
fn max_takes_the_first_of_equals_and_nan() {
    let max = primitive(
        &[2],
        &[2],
        Operation::Max(view(&[2, 2], vec![at(&[1, 0], 0), at(&[0, 1], 0)])),
    );
    let found = evaluate(&max, &[&[-0.0, 0.0, 3.0, f32::from_bits(0xffc1_2345)]]);
    assert_eq!(
        found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        [0x8000_0000, 0x7fc0_0000]
    );
}

#[test]
fn layout_transposes_pads_and_joins() {
    let x = ramp(6);
    let transpose = Operation::Layout(vec![view(&[2, 3], vec![at(&[0, 1], 0), at(&[1, 0], 0)])]);
    assert_eq!(
        evaluate(&primitive(&[3, 2], &[], transpose), &[&x]),
        [x[0], x[3], x[1], x[4], x[2], x[5]]
    );
    let mut last = view(&[2], vec![at(&[1], -3)]);
    last.outside = 9.0;
    let joined = primitive(&[6], &[], Operation::Layout(vec![view(&[3], vec![at(&[1], 0)]), last]));
    assert_eq!(
        evaluate(&joined, &[&[1.0, 2.0, 3.0], &[4.0, 5.0]]),
        [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]
    );
}

#[test]
fn gather_and_scatter_undo_each_other() {
    let table = ramp(8);
    let indices = [3.0, 0.0, 3.0, 7.0, 0.5];
    let rows = view(&[5], vec![at(&[1, 0], 0)]);
    let gather = Operation::Gather(rows, view(&[4, 2], vec![at(&[0, 0], 0), at(&[0, 1], 0)]), 0);
    let found = evaluate(&primitive(&[5, 2], &[], gather), &[&indices, &table]);
    assert_eq!(
        found[..8],
        [table[6], table[7], table[0], table[1], table[6], table[7], 0.0, 0.0]
    );
    assert!(found[8].is_nan() && found[9].is_nan());
    // Loop axes: row of the table, column, position in the list.
    let scatter = Operation::ScatterAdd(
        view(&[5], vec![at(&[0, 0, 1], 0)]),
        view(&[5, 2], vec![at(&[0, 0, 1], 0), at(&[0, 1, 0], 0)]),
        at(&[1, 0, 0], 0),
    );
    let updates = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
    let found = evaluate(&primitive(&[4, 2], &[5], scatter), &[&indices, &updates]);
    assert_eq!(found, [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 6.0, 8.0]);
}

#[test]
fn maps_broadcast_and_select() {
    let column = view(&[2], vec![at(&[1, 0], 0)]);
    let row = view(&[3], vec![at(&[0, 1], 0)]);
    let map = |function, views| primitive(&[2, 3], &[], Operation::Map(Expression::function(function), views));
    let sums = map(Function::Add, vec![column.clone(), row.clone()]);
    assert_eq!(
        evaluate(&sums, &[&[10.0, 20.0], &[1.0, 2.0, 3.0]]),
        [11.0, 12.0, 13.0, 21.0, 22.0, 23.0]
    );
    let selected = map(Function::Select, vec![column.clone(), row.clone(), column]);
    assert_eq!(
        evaluate(&selected, &[&[1.0, 0.0], &[1.0, 2.0, 3.0], &[7.0, 8.0]]),
        [1.0, 2.0, 3.0, 8.0, 8.0, 8.0]
    );
    let bits = map(Function::Negate, vec![row])
        .element(0, |_, _| f32::from_bits(0x7f80_0001))
        .to_bits();
    assert_eq!(bits, 0x7fc0_0000);
}

#[test]
fn an_expression_sees_inputs_constants_and_its_place() {
    // 2 · x + column, of a row vector.
    let terms = vec![
        Term::Input(0),
        Term::Constant(2.0),
        Term::Position(1),
        Term::Apply(Function::MultiplyAdd, [0, 1, 2]),
    ];
    let row = view(&[3], vec![at(&[0, 1], 0)]);
    let map = |terms, views| Primitive::new(vec![2, 3], vec![], Operation::Map(Expression::new(terms)?, views));
    let found = evaluate(&map(terms, vec![row.clone()]).unwrap(), &[&[1.0, 2.0, 3.0]]);
    assert_eq!(found, [2.0, 5.0, 8.0, 2.0, 5.0, 8.0]);
    let forward = vec![Term::Constant(1.0), Term::Apply(Function::Add, [0, 1, 0])];
    assert_eq!(
        map(forward, vec![]).unwrap_err(),
        DefinitionError::Argument { term: 1, found: 1 }
    );
    assert_eq!(map(vec![], vec![]).unwrap_err(), DefinitionError::Terms { found: 0 });
    let unused = map(vec![Term::Constant(1.0)], vec![row]).unwrap_err();
    assert_eq!(unused, DefinitionError::Inputs { found: 1, needed: 0 });
    let outside = map(vec![Term::Position(2)], vec![]).unwrap_err();
    assert_eq!(outside, DefinitionError::Axis { found: 2, axes: 2 });
}

#[test]
fn find_gives_the_first_place() {
    // Loop axes: row, place.
    let rows = view(&[4, 3], vec![at(&[1, 0], 0), at(&[0, 1], 0)]);
    let sought = view(&[4], vec![at(&[1, 0], 0)]);
    let find = primitive(&[4], &[3], Operation::Find(rows, sought));
    let rows = [1.0, 2.0, 2.0, 0.0, -0.0, 0.0, f32::NAN, 1.0, 2.0, 4.0, 5.0, 6.0];
    let found = evaluate(&find, &[&rows, &[2.0, -0.0, f32::NAN, 7.0]]);
    assert_eq!(found, [1.0, 0.0, 0.0, -1.0]);
    let long = view(&[1], vec![at(&[0], 0)]);
    let error = Primitive::new(vec![], vec![MAX_FIND + 1], Operation::Find(long.clone(), long)).unwrap_err();
    assert!(error.to_string().contains("a search has 16777217 elements"), "{error}");
}

#[test]
fn random_numbers_follow_from_key_stream_and_index() {
    let key = view(&[4], vec![at(&[0], 0)]);
    let random = primitive(&[9], &[], Operation::Random(key.clone(), 5));
    let found = evaluate(&random, &[&[1.0, 2.0, 65535.0, 0.0]]);
    let expected: Vec<f32> = (0..9).map(|i| uniform([0x0002_0001, 0xffff], 5, i)).collect();
    assert_eq!(found, expected);
    for bad in [0.5, -1.0, 65536.0, f32::NAN] {
        assert!(random.element(0, |_, at| if at == 3 { bad } else { 0.0 }).is_nan());
    }
    let short = View { shape: vec![3], ..key };
    let error = Primitive::new(vec![9], vec![], Operation::Random(short, 0)).unwrap_err();
    assert!(error.to_string().contains("a key has 3 elements"), "{error}");
}

#[test]
fn bad_primitives_are_refused() {
    let refuse = |output: &[usize], reduced: &[usize], operation| {
        Primitive::new(output.to_vec(), reduced.to_vec(), operation).unwrap_err()
    };
    let good = || view(&[4], vec![at(&[1], 0)]);
    assert!(matches!(
        refuse(&[1; 17], &[], Operation::Sum(good())),
        DefinitionError::Axes { found: 17 }
    ));
    assert!(matches!(
        refuse(&[MAX_EXTENT + 1], &[], Operation::Sum(good())),
        DefinitionError::Size(_)
    ));
    assert!(matches!(
        refuse(&[4], &[2], Operation::Sum(good())),
        DefinitionError::View {
            what: "coefficients",
            ..
        }
    ));
    assert!(matches!(
        refuse(&[4], &[], Operation::Sum(view(&[4, 4], vec![at(&[1], 0)]))),
        DefinitionError::View {
            what: "coordinates",
            found: 1,
            needed: 2
        }
    ));
    let zero = Coordinate {
        offset: 0,
        coefficients: vec![1],
        divisor: 0,
    };
    for (what, coordinate) in [
        ("divisor", zero),
        ("offset", at(&[1], i64::MIN)),
        ("coefficient", at(&[i64::MAX], 0)),
    ] {
        let found = refuse(&[4], &[], Operation::Sum(view(&[4], vec![coordinate])));
        assert!(
            matches!(found, DefinitionError::Coordinate { what: named, .. } if named == what),
            "{found}"
        );
    }
    let map = Operation::Map(Expression::function(Function::Add), vec![good()]);
    assert_eq!(refuse(&[4], &[], map), DefinitionError::Inputs { found: 1, needed: 2 });
    assert!(matches!(
        refuse(&[4], &[], Operation::Layout(vec![])),
        DefinitionError::Inputs { found: 0, .. }
    ));
    let layout = Operation::Layout(vec![view(&[4], vec![at(&[1, 0], 0)])]);
    assert_eq!(refuse(&[4], &[2], layout), DefinitionError::Reduced { found: 1 });
    let gather = Operation::Gather(good(), good(), 1);
    assert_eq!(refuse(&[4], &[], gather), DefinitionError::Axis { found: 1, axes: 1 });
}

/// An empty fold is its start, an empty tensor has no element, and neither divides by zero.
#[test]
fn empty_axes_are_harmless() {
    let view = |coefficients: &[i64]| view(&[0], vec![at(coefficients, 0)]);
    let empty_fold = primitive(&[2], &[0], Operation::Sum(view(&[0, 1])));
    assert_eq!(evaluate(&empty_fold, &[&[]]), [0.0, 0.0]);
    let no_output = primitive(&[0], &[], Operation::Layout(vec![view(&[1])]));
    assert!(no_output.element(0, |_, _| 1.0).is_nan());
}
