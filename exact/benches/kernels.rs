//! Speed of the kernels: `cargo bench -p trainyard-exact --bench kernels --profile dev [-- FILTER]`.
//!
//! Contractions are given in GFLOP/s and as a share of this CPU's peak, which is measured as independent chains of
//! multiply-adds in registers; the others in GB/s read and written, beside the speed of a plain copy. Each number is a
//! median; the yardstick is measured again beside every kernel, so that both see the same clock and the same neighbours.

use std::hint::black_box;
use std::time::Instant;
use trainyard_exact::definition::{Coordinate, Operation, Primitive, View};
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
}
