//! Primitives as bytes: exactly one encoding each, and no bytes harm the decoder.

use proptest::prelude::*;
use trainyard_exact::definition::{
    Coordinate, Expression, Function, MAX_ENCODING, MAX_EXTENT, Operation, Primitive, Term, View,
};

fn coordinate(loops: usize) -> impl Strategy<Value = Coordinate> {
    let number = prop_oneof![4 => -3i64..4, 1 => -(1i64 << 24)..(1 << 24)];
    (
        prop_oneof![3 => -9i64..9, 1 => -(1i64 << 32)..(1 << 32)],
        proptest::collection::vec(number, loops),
        prop_oneof![3 => Just(1i64), 1 => 1i64..(1 << 24)],
    )
        .prop_map(|(offset, coefficients, divisor)| Coordinate {
            offset,
            coefficients,
            divisor,
        })
}

fn view(loops: usize) -> impl Strategy<Value = View> {
    proptest::collection::vec((1usize..9, coordinate(loops)), 0..4)
        .prop_flat_map(|axes| (Just(axes), any::<f32>()))
        .prop_map(|(axes, outside)| {
            let (shape, coordinates) = axes.into_iter().unzip();
            View {
                shape,
                coordinates,
                outside,
            }
        })
}

fn terms(views: usize, axes: usize) -> impl Strategy<Value = Vec<Term>> {
    proptest::collection::vec((0u8..4, any::<f32>(), any::<[usize; 3]>()), 0..20).prop_map(move |seeds| {
        let mut terms: Vec<Term> = (0..views).map(Term::Input).collect();
        terms.push(Term::Constant(1.0));
        for (kind, value, [x, y, z]) in seeds {
            let before = terms.len();
            terms.push(match kind {
                0 => Term::Constant(value),
                1 if axes > 0 => Term::Position(x % axes),
                2 => Term::Apply(Function::Tanh, [x % before, 0, 0]),
                _ => Term::Apply(Function::Select, [x % before, y % before, z % before]),
            });
        }
        terms
    })
}

fn primitive() -> impl Strategy<Value = Primitive> {
    let shape = || proptest::collection::vec(0usize..7, 0..4);
    (shape(), shape(), 0u8..9)
        .prop_flat_map(|(output, reduced, kind)| {
            let reduced = if matches!(kind, 0 | 5 | 6 | 8) { vec![] } else { reduced };
            let loops = output.len() + reduced.len();
            let operation = match kind {
                0 => proptest::collection::vec(view(loops), 0..4)
                    .prop_flat_map({
                        let axes = output.len();
                        move |views| (terms(views.len(), axes), Just(views))
                    })
                    .prop_map(|(terms, views)| Operation::Map(Expression::new(terms).unwrap(), views))
                    .boxed(),
                1 => (view(loops), view(loops))
                    .prop_map(|(a, b)| Operation::Contraction(a, b))
                    .boxed(),
                2 => view(loops).prop_map(Operation::Sum).boxed(),
                3 => view(loops).prop_map(Operation::Max).boxed(),
                4 => (view(loops), view(loops))
                    .prop_map(|(a, b)| Operation::Find(a, b))
                    .boxed(),
                5 => proptest::collection::vec(view(loops), 1..4)
                    .prop_map(Operation::Layout)
                    .boxed(),
                6 => (view(loops), view(loops), coordinate(loops), any::<usize>())
                    .prop_map(|(indices, mut data, coordinate, axis)| {
                        data.shape.push(3);
                        data.coordinates.push(coordinate);
                        let axis = axis % data.shape.len();
                        Operation::Gather(indices, data, axis)
                    })
                    .boxed(),
                7 => (view(loops), view(loops), coordinate(loops))
                    .prop_map(|(indices, updates, coordinate)| Operation::ScatterAdd(indices, updates, coordinate))
                    .boxed(),
                _ => (coordinate(loops), any::<u32>())
                    .prop_map(|(coordinate, stream)| {
                        let key = View {
                            shape: vec![4],
                            coordinates: vec![coordinate],
                            outside: 0.0,
                        };
                        Operation::Random(key, stream)
                    })
                    .boxed(),
            };
            (Just(output), Just(reduced), operation)
        })
        .prop_map(|(output, reduced, operation)| Primitive::new(output, reduced, operation).unwrap())
}

proptest! {
    #[test]
    fn a_primitive_returns_from_its_bytes(primitive in primitive()) {
        let bytes = primitive.encode();
        let back = Primitive::decode(&bytes).unwrap();
        prop_assert_eq!(back.encode(), bytes);
        // Equal but for the payloads of NaN, which the text of neither shows.
        prop_assert_eq!(format!("{back:?}"), format!("{primitive:?}"));
    }

    #[test]
    fn changed_bytes_are_refused_or_another_primitive(primitive in primitive(), at: usize, flip in 1u8..255, cut: bool) {
        let bytes = primitive.encode();
        let mut other = bytes.clone();
        let at = at % bytes.len();
        if cut { other.truncate(at); } else { other[at] ^= flip; }
        if let Ok(decoded) = Primitive::decode(&other) {
            prop_assert!(!cut);
            prop_assert_eq!(&decoded.encode()[..], &other[..]);
        }
        other.clone_from(&bytes);
        other.push(0);
        prop_assert!(Primitive::decode(&other).is_err());
    }

    #[test]
    fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(primitive) = Primitive::decode(&bytes) {
            prop_assert_eq!(primitive.encode(), bytes);
        }
    }
}

/// The longest primitive there is: every number at its bound, every list full.
#[test]
fn the_largest_primitive_fits() {
    let extent = |axis: usize| if axis == 0 { MAX_EXTENT } else { 1 };
    let coordinate = Coordinate {
        offset: -(1 << 32),
        coefficients: vec![-(1 << 24); 16],
        divisor: 1 << 24,
    };
    let view = View {
        // No element, so that every extent may be the largest.
        shape: (0..16).map(|axis| if axis == 0 { 0 } else { MAX_EXTENT }).collect(),
        coordinates: vec![coordinate; 16],
        outside: 1.0,
    };
    let mut terms: Vec<Term> = (0..64).map(Term::Input).collect();
    assert!(Expression::new(terms.clone()).is_ok());
    let map = Operation::Map(Expression::new(terms.clone()).unwrap(), vec![view; 64]);
    let output: Vec<usize> = (0..16).map(extent).collect();
    let bytes = Primitive::new(output, vec![], map).unwrap().encode();
    assert!(bytes.len() > 80_000 && bytes.len() < MAX_ENCODING, "{}", bytes.len());
    assert!(Primitive::decode(&bytes).is_ok());
    terms.push(Term::Input(0));
    assert!(Expression::new(terms).is_err());
    let error = Primitive::decode(&vec![0; MAX_ENCODING + 1]).unwrap_err();
    assert_eq!(error.to_string(), "131073 bytes, at most 131072 are allowed");
}
