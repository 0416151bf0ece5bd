//! Maps: every function over every exponent, and any expression of any views.

use super::{Draw, check, choices, inputs};
use proptest::prelude::*;
use trainyard_exact::definition::{Coordinate, Expression, Function, Operation, Primitive, Term, View};

#[test]
fn functions_have_the_definitions_bits() {
    let mut draw = Draw::new(vec![4]);
    // Every exponent, ragged tails, and the special numbers; large enough for several tasks.
    let mut x: Vec<f32> = (0..4099u32)
        .map(|i| f32::from_bits(i.wrapping_mul(1_048_573)))
        .collect();
    x.extend(draw.numbers(33_000));
    let count = x.len();
    let view = View {
        shape: vec![count],
        coordinates: vec![Coordinate {
            offset: 0,
            coefficients: vec![1],
            divisor: 1,
        }],
        outside: 0.0,
    };
    for function in Function::ALL {
        let operation = Operation::Map(Expression::function(function), vec![view.clone(); function.arity()]);
        let map = Primitive::new(vec![count], vec![], operation).unwrap();
        let inputs = [x.clone(), draw.numbers(count), draw.numbers(count)];
        check(&map, &inputs[..function.arity()]);
    }
}

/// Any terms, of which the last is seldom all that matters.
fn expression(draw: &mut Draw, inputs: usize, axes: usize) -> Expression {
    let mut terms: Vec<Term> = (0..inputs).map(Term::Input).collect();
    for _ in 0..draw.size(usize::from(inputs == 0), 12) {
        let at = terms.len();
        terms.push(match draw.size(0, 9) {
            0 => Term::Constant(draw.numbers(1)[0]),
            1 if axes > 0 => Term::Position(draw.size(0, axes - 1)),
            2 if inputs > 0 => Term::Input(draw.size(0, inputs - 1)),
            _ if at == 0 => Term::Constant(1.5),
            _ => {
                let function = Function::ALL[draw.size(0, Function::ALL.len() - 1)];
                let mut arguments = [0; 3];
                for argument in &mut arguments[..function.arity()] {
                    *argument = draw.size(at.saturating_sub(4), at - 1);
                }
                Term::Apply(function, arguments)
            }
        });
    }
    Expression::new(terms).unwrap()
}

pub(crate) fn a_map(draw: &mut Draw) -> (Primitive, Vec<Vec<f32>>) {
    let output = draw.shape(4, 1500);
    let views: Vec<View> = (0..draw.size(0, 3)).map(|_| draw.view(&output)).collect();
    let expression = expression(draw, views.len(), output.len());
    let primitive = Primitive::new(output, vec![], Operation::Map(expression, views)).unwrap();
    let inputs = inputs(&primitive, draw);
    (primitive, inputs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn maps_of_any_views_have_the_definitions_bits(mut draw in choices()) {
        let (primitive, inputs) = a_map(&mut draw);
        check(&primitive, &inputs);
    }
}
