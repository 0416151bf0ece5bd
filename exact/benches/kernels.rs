//! Speed of the kernels: `cargo bench -p trainyard-exact --bench kernels --profile dev [-- FILTER]`.
//!
//! Contractions are given in GFLOP/s and as a share of this CPU's peak, which is measured as independent chains of
//! multiply-adds in registers; the others in GB/s read and written, beside the speed of a plain copy. Each number is a
//! median; the yardstick is measured again beside every kernel, so that both see the same clock and the same neighbours.

use std::hint::black_box;
use std::time::Instant;
use trainyard_exact::definition::{Coordinate, Expression, Function, Operation, Primitive, Term, View};
use trainyard_exact::kernels::{Isa, Kernel, Pool, multiply_adds};

const RUNS: usize = 15;
/// Rounds of the peak's chains: about a millisecond.
const ROUNDS: u32 = 200_000;

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.4).collect()
}

/// A coordinate of a loop of `count` axes that sums these multiples of axes, and an offset.
fn at(count: usize, factors: &[(usize, i64)], offset: i64) -> Coordinate {
    let mut coefficients = vec![0; count];
    for (axis, factor) in factors {
        coefficients[*axis] = *factor;
    }
    Coordinate {
        offset,
        coefficients,
        divisor: 1,
    }
}

/// The tensor whose axes are these axes of the loop.
fn along(loops: &[usize], axes: &[usize]) -> View {
    View {
        shape: axes.iter().map(|axis| loops[*axis]).collect(),
        coordinates: axes.iter().map(|axis| at(loops.len(), &[(*axis, 1)], 0)).collect(),
        outside: 0.0,
    }
}

fn primitive(output: &[usize], reduced: &[usize], operation: Operation) -> Primitive {
    Primitive::new(output.to_vec(), reduced.to_vec(), operation).expect("it is valid")
}

/// A batched product of m x k and k x n, either of which may lie transposed.
fn product(batch: usize, [m, n, k]: [usize; 3], transposed: [bool; 2]) -> Primitive {
    let loops = [batch, m, n, k];
    let a = along(&loops, if transposed[0] { &[0, 3, 1] } else { &[0, 1, 3] });
    let b = along(&loops, if transposed[1] { &[0, 2, 3] } else { &[0, 3, 2] });
    primitive(&loops[..3], &loops[3..], Operation::Contraction(a, b))
}

/// A 3x3 convolution with pad 1 of `n` square images, and its gradients for the input and for the weights.
fn convolutions(n: usize, channels: usize, filters: usize, side: usize, stride: usize) -> [Primitive; 3] {
    let small = (side - 1) / stride + 1;
    let step = i64::try_from(stride).expect("it is small");
    let (x, w, y) = (
        [n, channels, side, side],
        [filters, channels, 3, 3],
        [n, filters, small, small],
    );
    let view = |shape: &[usize], coordinates| View {
        shape: shape.to_vec(),
        coordinates,
        outside: 0.0,
    };
    let axis = |axis| at(7, &[(axis, 1)], 0);
    let image = |output, tap| at(7, &[(output, step), (tap, 1)], -1);
    let undone = |image, tap| Coordinate {
        divisor: step,
        ..at(7, &[(image, 1), (tap, -1)], 1)
    };
    [
        // n m h w | c p q
        primitive(
            &y,
            &[channels, 3, 3],
            Operation::Contraction(
                view(&x, vec![axis(0), axis(4), image(2, 5), image(3, 6)]),
                view(&w, vec![axis(1), axis(4), axis(5), axis(6)]),
            ),
        ),
        // n c h w | m p q
        primitive(
            &x,
            &[filters, 3, 3],
            Operation::Contraction(
                view(&y, vec![axis(0), axis(4), undone(2, 5), undone(3, 6)]),
                view(&w, vec![axis(4), axis(1), axis(5), axis(6)]),
            ),
        ),
        // m c p q | n h w
        primitive(
            &w,
            &[n, small, small],
            Operation::Contraction(
                view(&y, vec![axis(4), axis(0), axis(5), axis(6)]),
                view(&x, vec![axis(4), axis(1), image(5, 2), image(6, 3)]),
            ),
        ),
    ]
}

struct Bench {
    filter: Option<String>,
    isas: Vec<(&'static str, Isa)>,
    pools: Vec<Pool>,
}

impl Bench {
    /// Medians of the seconds of a run of `primitive`, and of the yardstick.
    fn time(
        &self,
        primitive: &Primitive,
        isa: Isa,
        pool: &Pool,
        mut yardstick: impl FnMut() -> f64 + Send,
    ) -> (f64, f64) {
        let kernel = Kernel::new(primitive);
        let inputs: Vec<Vec<f32>> = primitive
            .views()
            .iter()
            .map(|view| ramp(view.shape.iter().product()))
            .collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut output = vec![0.0; primitive.elements()];
        pool.install(|| {
            let mut run = || kernel.run(isa, pool, black_box(&inputs), &mut output).expect("it fits");
            run();
            let mut repeats = 1;
            while repeats < 1024 && seconds(|| (0..repeats).for_each(|_| run())) < 0.0005 {
                repeats *= 2;
            }
            let (mut times, mut sticks) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                sticks.push(yardstick());
                times.push(seconds(|| (0..repeats).for_each(|_| run())) / f64::from(repeats));
            }
            (median(times), median(sticks))
        })
    }

    fn wanted(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }

    fn contraction(&self, name: &str, primitive: &Primitive) {
        if !self.wanted(name) {
            return;
        }
        for (level, isa) in &self.isas {
            for pool in &self.pools {
                let (time, peak) = self.time(primitive, *isa, pool, || {
                    let mut done = 0;
                    let time = seconds(|| done = black_box(multiply_adds(*isa, ROUNDS)).0);
                    2e-9 * done as f64 / time
                });
                let speed = 2e-9 * (primitive.elements() * primitive.terms()) as f64 / time;
                println!(
                    "{name:36} {level:8} x{} {:9.1} us {speed:7.1} GFLOP/s {:4.0} % of peak",
                    pool.threads(),
                    time * 1e6,
                    100.0 * speed / peak / pool.threads() as f64
                );
            }
        }
    }

    /// What reads its inputs once and writes its output, beside a copy of as many bytes in all.
    fn moves(&self, name: &str, primitive: &Primitive) {
        if !self.wanted(name) {
            return;
        }
        let inputs: usize = primitive
            .views()
            .iter()
            .map(|view| view.shape.iter().product::<usize>())
            .sum();
        let elements = inputs + primitive.elements();
        let from = ramp(elements / 2);
        let mut to = from.clone();
        for (level, isa) in &self.isas {
            for pool in &self.pools {
                let (time, copy) = self.time(primitive, *isa, pool, || {
                    let time = seconds(|| (0..4).for_each(|_| black_box(&mut to).copy_from_slice(black_box(&from))));
                    4e-9 * 8.0 * from.len() as f64 / time
                });
                let speed = 4e-9 * elements as f64 / time;
                println!(
                    "{name:44} {level:8} x{} {:9.1} us {speed:7.1} GB/s    {:4.0} % of a copy on one thread",
                    pool.threads(),
                    time * 1e6,
                    100.0 * speed / copy
                );
            }
        }
    }
}

/// The expression of these functions, each of the term before it and the input of its number.
fn chain(functions: &[Function]) -> Expression {
    let mut terms = vec![Term::Input(0)];
    for (i, function) in functions.iter().enumerate() {
        let last = terms.len() - 1;
        let arguments = match function.arity() {
            1 => [last, 0, 0],
            arity => {
                terms.push(Term::Input(i % 2 + 1));
                [last, last + 1, if arity == 3 { last } else { 0 }]
            }
        };
        terms.push(Term::Apply(*function, arguments));
    }
    Expression::new(terms).expect("it is valid")
}

fn maps(bench: &Bench) {
    use Function::{Add, Cos, Divide, Erf, Exp, Log, Maximum, Multiply, MultiplyAdd, Rsqrt, Sigmoid, Sin, Tanh};
    let whole = |output: &[usize]| along(output, &(0..output.len()).collect::<Vec<_>>());
    for count in [1 << 16, 1 << 22] {
        for function in [Add, Rsqrt, Exp, Log, Tanh, Erf, Sigmoid, Sin, Cos] {
            let views = vec![whole(&[count]); function.arity()];
            let operation = Operation::Map(Expression::function(function), views);
            bench.moves(
                &format!("map {function:?} of {count}"),
                &primitive(&[count], &[], operation),
            );
        }
        let operation = Operation::Map(chain(&[Multiply, Add, Multiply, Add]), vec![whole(&[count]); 3]);
        bench.moves(
            &format!("map of four terms of {count}"),
            &primitive(&[count], &[], operation),
        );
        let operation = Operation::Map(
            chain(&[Multiply, MultiplyAdd, Divide, Maximum]),
            vec![whole(&[count]); 3],
        );
        bench.moves(
            &format!("map with a quotient of {count}"),
            &primitive(&[count], &[], operation),
        );
    }
    let output = [64, 16, 784];
    let operation = Operation::Map(Expression::function(Add), vec![whole(&output), along(&output, &[1])]);
    bench.moves("map add bias to channels", &primitive(&output, &[], operation));
    let output = [8192, 128];
    let operation = Operation::Map(Expression::function(Add), vec![whole(&output), along(&output, &[1])]);
    bench.moves("map add bias to columns", &primitive(&output, &[], operation));
    let operation = Operation::Map(Expression::function(Add), vec![whole(&output), along(&output, &[0])]);
    bench.moves("map add to rows", &primitive(&output, &[], operation));
}

fn folds(bench: &Bench) {
    for (name, operation) in [
        ("sum", Operation::Sum as fn(View) -> Operation),
        ("max", Operation::Max),
    ] {
        let fold = |output: &[usize], reduced: &[usize], axes: &[usize]| {
            let loops = [output, reduced].concat();
            primitive(output, reduced, operation(along(&loops, axes)))
        };
        bench.moves(&format!("{name} of rows 8192x128"), &fold(&[8192], &[128], &[0, 1]));
        bench.moves(&format!("{name} of columns 1024x256"), &fold(&[256], &[1024], &[1, 0]));
        bench.moves(
            &format!("{name} of channels 64x16x784"),
            &fold(&[16], &[64, 784], &[1, 0, 2]),
        );
        bench.moves(&format!("{name} of all of 1048576"), &fold(&[], &[1 << 20], &[0]));
        let window = View {
            shape: vec![1024, 28, 28],
            coordinates: vec![
                at(5, &[(0, 1)], 0),
                at(5, &[(1, 2), (3, 1)], 0),
                at(5, &[(2, 2), (4, 1)], 0),
            ],
            outside: f32::NEG_INFINITY,
        };
        bench.moves(
            &format!("{name} of windows 2x2 of 64x16x28x28"),
            &primitive(&[1024, 14, 14], &[2, 2], operation(window.clone())),
        );
        // Which element of a window was the greatest, and the gradient that goes there.
        let y = along(&[1024, 14, 14, 2, 2], &[0, 1, 2]);
        let find = primitive(&[1024, 14, 14], &[2, 2], Operation::Find(window, y));
        bench.moves("find in windows 2x2 of 64x16x28x28", &find);
        let undone = |axis: usize, outside: f32| View {
            shape: vec![1024, 14, 14],
            coordinates: vec![
                at(5, &[(0, 1)], 0),
                Coordinate {
                    divisor: 2,
                    ..at(5, &[(1, 1), (3, -1)], 0)
                },
                Coordinate {
                    divisor: 2,
                    ..at(5, &[(2, 1), (axis, -1)], 0)
                },
            ],
            outside,
        };
        let scatter = Operation::ScatterAdd(undone(4, -1.0), undone(4, 0.0), at(5, &[(3, 2), (4, 1)], 0));
        bench.moves(
            "scatter to windows 2x2 of 64x16x28x28",
            &primitive(&[1024, 28, 28], &[2, 2], scatter),
        );
    }
}

fn moves(bench: &Bench) {
    let transposed =
        |loops: &[usize], axes: &[usize]| primitive(loops, &[], Operation::Layout(vec![along(loops, axes)]));
    bench.moves("layout transpose 1024x1024", &transposed(&[1024, 1024], &[1, 0]));
    bench.moves(
        "layout heads 16x128x8x32",
        &transposed(&[16, 8, 128, 32], &[0, 2, 1, 3]),
    );
    let rows = [8192, 128];
    let table = View {
        shape: vec![1000, 128],
        coordinates: vec![at(2, &[], 0), at(2, &[(1, 1)], 0)],
        outside: 0.0,
    };
    let gather = Operation::Gather(along(&rows, &[0]), table, 0);
    bench.moves("gather 8192 rows of 128", &primitive(&rows, &[], gather));
    let loops = [1000, 128, 8192];
    let scatter = Operation::ScatterAdd(along(&loops, &[2]), along(&loops, &[2, 1]), at(3, &[(0, 1)], 0));
    bench.moves(
        "scatter 8192 rows of 128",
        &primitive(&loops[..2], &loops[2..], scatter),
    );
    let key = View {
        shape: vec![4],
        coordinates: vec![at(1, &[], 0)],
        outside: 0.0,
    };
    bench.moves("random 1048576", &primitive(&[1 << 20], &[], Operation::Random(key, 1)));
}

fn main() {
    let bench = Bench {
        filter: std::env::args().skip(1).find(|argument| !argument.starts_with("--")),
        isas: [("AVX2", Isa::avx2()), ("AVX-512", Isa::avx512())]
            .into_iter()
            .filter_map(|(name, isa)| Some((name, isa?)))
            .collect(),
        pools: [1, 2]
            .into_iter()
            .filter_map(|threads| Pool::new(threads).ok())
            .collect(),
    };
    for size in [64, 128, 256, 512, 1024] {
        bench.contraction(&format!("matmul {size}"), &product(1, [size; 3], [false, false]));
        bench.contraction(
            &format!("matmul {size} b transposed"),
            &product(1, [size; 3], [false, true]),
        );
        bench.contraction(
            &format!("matmul {size} a transposed"),
            &product(1, [size; 3], [true, false]),
        );
    }
    bench.contraction("matmul linear 64x784 128", &product(1, [64, 128, 784], [false, true]));
    bench.contraction("matmul linear 64x128 10", &product(1, [64, 10, 128], [false, true]));
    bench.contraction(
        "matmul linear dw 128 784 64",
        &product(1, [128, 784, 64], [true, false]),
    );
    bench.contraction(
        "matmul vector 1x1024 1024",
        &product(1, [1, 1024, 1024], [false, false]),
    );
    bench.contraction(
        "attention scores 64x128x128x32",
        &product(64, [128, 128, 32], [false, true]),
    );
    bench.contraction(
        "attention values 64x128x32x128",
        &product(64, [128, 32, 128], [false, false]),
    );
    for (n, channels, filters, side, stride) in [
        (64, 1, 16, 28, 1),
        (64, 16, 32, 14, 1),
        (32, 16, 16, 32, 1),
        (32, 16, 32, 32, 2),
        (32, 32, 32, 16, 1),
        (32, 64, 64, 8, 1),
    ] {
        let forms = convolutions(n, channels, filters, side, stride);
        for (form, primitive) in ["forward", "dx", "dw"].into_iter().zip(&forms) {
            let name = format!("conv {channels}->{filters} {side}x{side} /{stride} n={n} {form}");
            bench.contraction(&name, primitive);
        }
    }
    maps(&bench);
    folds(&bench);
    moves(&bench);
}
