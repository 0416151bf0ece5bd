//! The derivative of every primitive against central differences in f64.

use trainyard_exact::definition::{Coordinate, Function, Operation, Primitive, Term, View};
use trainyard_exact::program::{Builder, Executor, Node, Program, ProgramError, Role, Terms, Var, Window};

/// `function` in f64, with the platform's mathematics: a second opinion.
fn apply(function: Function, [x, y, z]: [f64; 3]) -> f64 {
    match function {
        Function::Negate => -x,
        Function::Absolute => x.abs(),
        Function::Sqrt => x.sqrt(),
        Function::Rsqrt => 1.0 / x.sqrt(),
        Function::Exp => x.exp(),
        Function::Log => x.ln(),
        Function::Tanh => x.tanh(),
        // Abramowitz and Stegun 7.1.5, summed until nothing changes; arguments are small here.
        Function::Erf => {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                let n = f64::from(n);
                term *= -x * x / n;
                sum += term / (2.0 * n + 1.0);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        }
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Add => x + y,
        Function::Subtract => x - y,
        Function::Multiply => x * y,
        Function::Divide => x / y,
        Function::Maximum => x.max(y),
        Function::Minimum => x.min(y),
        Function::Less => f64::from(u8::from(x < y)),
        Function::Equal => f64::from(u8::from(x == y)),
        Function::MultiplyAdd => x * y + z,
        Function::Select => {
            if x == 0.0 {
                z
            } else {
                y
            }
        }
    }
}

fn coordinate(of: &Coordinate, position: &[i64]) -> Option<i64> {
    let sum: i64 = of.offset + of.coefficients.iter().zip(position).map(|(c, l)| c * l).sum::<i64>();
    (sum % of.divisor == 0).then(|| sum / of.divisor)
}

fn offset(view: &View, position: &[i64], shift: Option<(usize, i64)>) -> Option<usize> {
    let mut offset = 0;
    for (axis, extent) in view.shape.iter().enumerate() {
        let moved = shift.map_or(0, |(at, by)| if at == axis { by } else { 0 });
        let at = usize::try_from(coordinate(&view.coordinates[axis], position)? + moved).ok()?;
        if at >= *extent {
            return None;
        }
        offset = offset * extent + at;
    }
    Some(offset)
}

fn unravel(mut index: usize, shape: &[usize]) -> Vec<i64> {
    let mut position = vec![0; shape.len()];
    for (at, extent) in position.iter_mut().zip(shape).rev() {
        *at = (index % extent) as i64;
        index /= extent;
    }
    position
}

/// One output element, by the words of the specification, in f64.
fn element(primitive: &Primitive, inputs: &[&[f64]], index: usize) -> f64 {
    let read = |input: usize, view: &View, position: &[i64]| {
        offset(view, position, None).map_or(f64::from(view.outside), |at| inputs[input][at])
    };
    let outer = unravel(index, primitive.output());
    let steps = (0..primitive.terms()).map(|k| [&outer[..], &unravel(k, primitive.reduced())].concat());
    match primitive.operation() {
        Operation::Map(expression, views) => {
            let mut values: Vec<f64> = Vec::new();
            for term in expression.terms() {
                values.push(match *term {
                    Term::Input(input) => read(input, &views[input], &outer),
                    Term::Constant(value) => f64::from(value),
                    Term::Position(axis) => outer[axis] as f64,
                    Term::Apply(function, arguments) => {
                        apply(function, arguments.map(|at| values.get(at).copied().unwrap_or(0.0)))
                    }
                });
            }
            values[values.len() - 1]
        }
        Operation::Contraction(a, b) => steps.map(|at| read(0, a, &at) * read(1, b, &at)).sum(),
        Operation::Sum(view) => steps.map(|at| read(0, view, &at)).sum(),
        Operation::Max(view) => steps.map(|at| read(0, view, &at)).fold(f64::NEG_INFINITY, f64::max),
        Operation::Layout(views) => {
            let found = views
                .iter()
                .enumerate()
                .find_map(|(i, view)| Some(inputs[i][offset(view, &outer, None)?]));
            found.unwrap_or(f64::from(views[views.len() - 1].outside))
        }
        Operation::Gather(indices, data, axis) => {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number of the test")]
            let index = read(0, indices, &outer) as i64;
            offset(data, &outer, Some((*axis, index))).map_or(f64::from(data.outside), |at| inputs[1][at])
        }
        other => panic!("{other:?} is not part of a forward program"),
    }
}

/// The value of the first output, in f64.
fn evaluate(program: &Program, inputs: &[Vec<f64>]) -> f64 {
    let mut values = inputs.to_vec();
    values.extend(
        program
            .constants()
            .iter()
            .map(|t| t.data().iter().map(|x| f64::from(*x)).collect::<Vec<_>>()),
    );
    for instruction in program.instructions() {
        let operands: Vec<&[f64]> = instruction.operands.iter().map(|at| &values[*at][..]).collect();
        let result = (0..instruction.primitive.elements()).map(|i| element(&instruction.primitive, &operands, i));
        let result = result.collect();
        values.push(result);
    }
    values[program.outputs()[0].value][0]
}

/// Numbers in ±1 without pattern, none of them near 0 or near another.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| {
            let place = (i * 7919 + seed * 104_729 + 13) % 1009;
            (place as f32 + 0.5) / 505.0 - 1.0
        })
        .collect()
}

type Write = fn(&mut Builder, &[Var]) -> Result<Var, ProgramError>;

/// Compares all gradients of `Σ weight · write(x…)` with central differences.
fn check(name: &str, shapes: &[&[usize]], inputs: Option<Vec<Vec<f32>>>, write: Write) {
    let build = |gradients: bool| {
        let mut b = Builder::new();
        let vars: Vec<Var> = (0..shapes.len())
            .map(|i| b.input(Role::State(format!("x{i}")), shapes[i]))
            .collect();
        let y = write(&mut b, &vars).unwrap();
        let flat = b.reshape(&y, &[y.elements()]).unwrap();
        let weight = trainyard_exact::Tensor::new(vec![y.elements()], numbers(y.elements(), 77)).unwrap();
        let weight = b.constant(weight);
        let loss = b.einsum("i,i->", &flat, &weight).unwrap();
        let mut outputs = vec![(Role::Loss, loss.clone())];
        if gradients {
            let all: Vec<&Var> = vars.iter().collect();
            let found = b.gradients(&loss, &all).unwrap();
            for (i, gradient) in found.into_iter().enumerate() {
                outputs.extend(gradient.map(|gradient| (Role::State(format!("x{i}")), gradient)));
            }
        }
        b.finish(outputs).unwrap()
    };
    let inputs = inputs.unwrap_or_else(|| {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| numbers(count(shape), i))
            .collect()
    });
    let mut executor = Executor::new(build(true), 1).unwrap();
    let ports = executor.program().outputs().to_vec();
    let of = |role: &Role| match role {
        Role::State(name) => inputs.get(name[1..].parse::<usize>().unwrap()).map(|x| &x[..]),
        _ => None,
    };
    let outputs = executor.run(of, |_, _| {}).unwrap();
    let forward = build(false);
    let start: Vec<Vec<f64>> = inputs
        .iter()
        .map(|x| x.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let value = evaluate(&forward, &start);
    assert!(
        (f64::from(outputs[0][0]) - value).abs() < 1e-4 * (1.0 + value.abs()),
        "{name}: {} {value}",
        outputs[0][0]
    );
    let mut found = 0;
    for (port, gradient) in ports.iter().zip(&outputs).skip(1) {
        let Role::State(input) = &port.role else { panic!() };
        let number: usize = input[1..].parse().unwrap();
        for at in 0..gradient.len() {
            let mut moved = start.clone();
            let mut side = |step: f64| {
                moved[number][at] = start[number][at] + step;
                evaluate(&forward, &moved)
            };
            let expected = (side(1e-6) - side(-1e-6)) / 2e-6;
            let got = f64::from(gradient[at]);
            assert!(
                (got - expected).abs() < 2e-4 * (1.0 + expected.abs()),
                "{name}: gradient {at} of {input} is {got}, expected {expected}"
            );
            found += 1;
        }
    }
    assert!(found > 0, "{name} has no gradient");
}

#[test]
fn every_function() {
    // A function pointer cannot capture, so each is a case of its own.
    macro_rules! cases {
        ($($name:ident),*) => {$(
            check(stringify!($name), &[&[7]], None, |b, x| b.map(&[&x[0]], |t, x| t.$name(x[0])));
        )*};
    }
    cases!(negate, absolute, exp, tanh, erf, sin, cos, sigmoid);
    let positive = |count| Some(vec![numbers(count, 1).iter().map(|x| x + 1.5).collect::<Vec<f32>>()]);
    check("sqrt", &[&[7]], positive(7), |b, x| {
        b.map(&[&x[0]], |t, x| t.sqrt(x[0]))
    });
    check("rsqrt", &[&[7]], positive(7), |b, x| {
        b.map(&[&x[0]], |t, x| t.rsqrt(x[0]))
    });
    check("log", &[&[7]], positive(7), |b, x| b.map(&[&x[0]], |t, x| t.log(x[0])));
    macro_rules! pairs {
        ($($name:ident),*) => {$(
            check(stringify!($name), &[&[2, 3], &[2, 3]], None, |b, x| b.map(&[&x[0], &x[1]], |t, x| t.$name(x[0], x[1])));
            check(stringify!($name), &[&[4, 1, 3], &[2, 1]], None, |b, x| {
                b.map(&[&x[0], &x[1]], |t, x| t.$name(x[0], x[1]))
            });
        )*};
    }
    pairs!(add, subtract, multiply, divide, maximum, minimum);
    check("multiply_add", &[&[3, 2], &[2], &[3, 1]], None, |b, x| {
        b.map(&[&x[0], &x[1], &x[2]], |t, x| t.multiply_add(x[0], x[1], x[2]))
    });
    check("select", &[&[6], &[6], &[6]], None, |b, x| {
        b.map(&[&x[0], &x[1], &x[2]], |t, x| {
            let condition = t.less(x[0], x[1]);
            t.select(condition, x[1], x[2])
        })
    });
    check("a whole expression", &[&[5], &[1]], None, |b, x| {
        b.map(&[&x[0], &x[1], &x[0]], |t, x: &[Node]| gelu(t, x))
    });
}

fn gelu(t: &mut Terms, x: &[Node]) -> Node {
    let product = t.multiply(x[0], x[1]);
    let erf = t.erf(product);
    let place = t.position(0);
    let sum = t.add(erf, place);
    t.multiply(sum, x[2])
}

#[test]
fn products() {
    check("einsum", &[&[2, 3, 4], &[3, 5, 4]], None, |b, x| {
        b.einsum("bik,ijk->jbi", &x[0], &x[1])
    });
    check("matmul", &[&[2, 1, 3, 4], &[3, 4, 2]], None, |b, x| {
        b.matmul(&x[0], &x[1])
    });
    check("broadcast matmul", &[&[3, 4], &[2, 4, 2]], None, |b, x| {
        b.matmul(&x[0], &x[1])
    });
}

const WINDOW: Window = Window {
    kernel: [3, 2],
    strides: [2, 1],
    pads: [1, 0],
    dilations: [1, 2],
    output: [3, 4],
};

#[test]
fn convolutions() {
    check("conv", &[&[2, 3, 5, 6], &[4, 3, 3, 2]], None, |b, x| {
        b.conv(&x[0], &x[1], &WINDOW, 1)
    });
    check("grouped conv", &[&[1, 4, 5, 6], &[6, 2, 3, 2]], None, |b, x| {
        b.conv(&x[0], &x[1], &WINDOW, 2)
    });
    check("depthwise conv", &[&[2, 3, 5, 6], &[3, 1, 3, 2]], None, |b, x| {
        b.conv(&x[0], &x[1], &WINDOW, 3)
    });
    check("1x1 conv of stride 2", &[&[1, 2, 5, 5], &[3, 2, 1, 1]], None, |b, x| {
        b.conv(&x[0], &x[1], &POINT, 1)
    });
    check(
        "kernel larger than the output",
        &[&[2, 2, 4, 4], &[3, 2, 3, 3]],
        None,
        |b, x| b.conv(&x[0], &x[1], &LARGE, 1),
    );
}

const LARGE: Window = Window {
    kernel: [3, 3],
    strides: [2, 2],
    pads: [1, 1],
    dilations: [1, 1],
    output: [2, 2],
};

const POINT: Window = Window {
    kernel: [1, 1],
    strides: [2, 2],
    pads: [0, 0],
    dilations: [1, 1],
    output: [3, 3],
};

const GLOBAL: Window = Window {
    kernel: [5, 6],
    strides: [1, 1],
    pads: [0, 0],
    dilations: [1, 1],
    output: [1, 1],
};

#[test]
fn pools() {
    check("max_pool", &[&[2, 2, 5, 6]], None, |b, x| b.max_pool(&x[0], &WINDOW));
    check("sum_pool", &[&[2, 2, 5, 6]], None, |b, x| b.sum_pool(&x[0], &WINDOW));
    check(
        "max_pool of a kernel larger than the output",
        &[&[2, 2, 4, 4]],
        None,
        |b, x| b.max_pool(&x[0], &LARGE),
    );
    check("global max_pool", &[&[2, 2, 5, 6]], None, |b, x| {
        b.max_pool(&x[0], &GLOBAL)
    });
    check("global sum_pool", &[&[2, 2, 5, 6]], None, |b, x| {
        b.sum_pool(&x[0], &GLOBAL)
    });
}

#[test]
fn reductions() {
    check("sum", &[&[2, 3, 4, 2]], None, |b, x| b.sum(&x[0], &[0, 2, 3]));
    check("sum of all", &[&[2, 3]], None, |b, x| b.sum(&x[0], &[0, 1]));
    check("max", &[&[3, 5, 2]], None, |b, x| b.max(&x[0], &[1]));
    check("max over two runs", &[&[3, 5, 2]], None, |b, x| b.max(&x[0], &[0, 2]));
}

#[test]
fn layout() {
    check("transpose", &[&[2, 3, 4]], None, |b, x| b.transpose(&x[0], &[2, 0, 1]));
    check("slice", &[&[5, 4]], None, |b, x| {
        b.slice(&x[0], &[4, 1], &[-2, 1], &[3, 2], 0.0)
    });
    check("pad", &[&[2, 3]], None, |b, x| {
        b.slice(&x[0], &[-1, -2], &[1, 1], &[4, 6], 7.0)
    });
    check("expand", &[&[2, 1, 3]], None, |b, x| b.expand(&x[0], &[2, 2, 4, 3]));
    check("concat", &[&[2, 3], &[2, 1], &[2, 2]], None, |b, x| {
        b.concat(&[&x[0], &x[1], &x[2]], 1)
    });
    check("one element of each row", &[&[3, 4]], None, |b, x| {
        b.slice(&x[0], &[0, 2], &[1, 1], &[3, 1], 0.0)
    });
    check("reshape", &[&[3, 4], &[2, 1]], None, |b, x| {
        let y = b.reshape(&x[0], &[2, 6])?;
        b.map(&[&y, &x[1]], |t, x| t.multiply(x[0], x[1]))
    });
}

#[test]
fn gathers() {
    let whole = vec![1.0, 3.0, 0.0, 3.0, 2.0, 1.0];
    check(
        "embedding",
        &[&[4, 3], &[2, 3]],
        Some(vec![numbers(12, 0), whole.clone()]),
        |b, x| b.gather(&x[0], &x[1], 0),
    );
    check(
        "gather within",
        &[&[2, 4, 3], &[6]],
        Some(vec![numbers(24, 0), whole]),
        |b, x| b.gather(&x[0], &x[1], 1),
    );
}

#[test]
fn a_value_used_twice_and_one_not_used() {
    check("twice", &[&[3], &[3]], None, |b, x| {
        let square = b.map(&[&x[0], &x[0]], |t, x| t.multiply(x[0], x[1]))?;
        let exp = b.map(&[&square], |t, x| t.exp(x[0]))?;
        b.map(&[&exp, &square, &x[0]], |t, x| t.multiply_add(x[0], x[1], x[2]))
    });
}

#[test]
fn a_derivative_of_ones_own_replaces_the_instructions() {
    let mut b = Builder::new();
    let x = b.input(Role::State("x".into()), &[3]);
    let y = b.map(&[&x], |t, x| t.exp(x[0])).unwrap();
    let to = x.clone();
    b.differentiate(&y, move |b, gradient| {
        Ok(vec![(
            to,
            b.map(&[gradient], |t, g| {
                let seven = t.constant(7.0);
                t.multiply(g[0], seven)
            })?,
        )])
    });
    let loss = b.sum(&y, &[0]).unwrap();
    let gradient = b.gradients(&loss, &[&x]).unwrap()[0].clone().unwrap();
    let program = b.finish(vec![(Role::Result, gradient)]).unwrap();
    let outputs = Executor::new(program, 2)
        .unwrap()
        .run(|_| Some(&[1.0, 2.0, 3.0][..]), |_, _| {})
        .unwrap();
    assert_eq!(outputs, [[7.0; 3]]);
}

/// A chain of maps that nothing else reads becomes one instruction, one that is read twice stays.
#[test]
fn maps_are_joined_without_changing_a_bit() {
    let build = |keep: bool| {
        let mut b = Builder::new();
        let x = b.input(Role::State("x".into()), &[4, 3]);
        let bias = b.input(Role::State("bias".into()), &[3]);
        let sum = b.map(&[&x, &bias], |t, x| t.add(x[0], x[1])).unwrap();
        let exp = b.map(&[&sum], |t, x| t.exp(x[0])).unwrap();
        let y = b.map(&[&exp, &x], |t, x| t.divide(x[0], x[1])).unwrap();
        let mut outputs = vec![(Role::Result, y)];
        if keep {
            outputs.push((Role::State("sum".into()), sum));
        }
        b.finish(outputs).unwrap()
    };
    let x = numbers(12, 3);
    let run = |program: &Program| {
        let input = |role: &Role| match role {
            Role::State(name) if name == "x" => Some(&x[..]),
            _ => Some(&[0.5, -0.25, 3.0][..]),
        };
        Executor::new(program.clone(), 1)
            .unwrap()
            .run(input, |_, _| {})
            .unwrap()
    };
    let (joined, kept) = (build(false), build(true));
    assert_eq!((joined.instructions().len(), kept.instructions().len()), (1, 2));
    assert_eq!(joined.instructions()[0].operands, [0, 1]);
    assert_eq!(run(&joined)[0], run(&kept)[0]);
}
