//! Speed of the kernels on one thread: `cargo bench -p trainyard-exact`.
//!
//! Matrix products are given in GFLOP/s and as a share of this CPU's peak, which is measured as independent chains of
//! multiply-adds in registers; element-wise functions in 10⁹ elements a second. Each number is a median; the peak is
//! measured again beside every product, so that both see the same clock and the same neighbours.

use std::hint::black_box;
use std::time::Instant;
use trainyard_exact::definition::Function;
use trainyard_exact::kernels::{Isa, Matrix, map, matmul, multiply_adds};

const RUNS: usize = 15;
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

fn main() {
    let levels = [("AVX2", Isa::avx2()), ("AVX-512", Isa::avx512())];
    for (name, isa) in levels {
        let Some(isa) = isa else {
            println!("{name}: this CPU lacks it");
            continue;
        };
        for size in [
            [64, 64, 64],
            [128, 128, 128],
            [256, 256, 256],
            [512, 512, 512],
            [1024, 1024, 1024],
            [100, 784, 300],
        ] {
            let [m, n, k] = size;
            let (a, b, mut output) = (ramp(m * k), ramp(k * n), vec![0.0; m * n]);
            let repeats = (20_000_000 / (m * n * k)).max(1);
            let (mut peaks, mut speeds) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let mut done = 0;
                let time = seconds(|| done = black_box(multiply_adds(isa, ROUNDS)).0);
                peaks.push(2e-9 * done as f64 / time);
                let time = seconds(|| {
                    for _ in 0..repeats {
                        let a = Matrix::row_major(black_box(&a), m, k).expect("it fills its data");
                        let b = Matrix::row_major(black_box(&b), k, n).expect("it fills its data");
                        matmul(isa, 1, a, b, &mut output).expect("the sizes fit");
                        black_box(&output);
                    }
                });
                speeds.push(2e-9 * (m * n * k * repeats) as f64 / time);
            }
            let (speed, peak) = (median(speeds), median(peaks));
            println!(
                "{name:8} matmul {m:4} x {n:4} x {k:4}  {speed:6.1} GFLOP/s of {peak:6.1}  {:3.0} %",
                100.0 * speed / peak
            );
        }
        use Function::{Add, Cos, Erf, Exp, Log, Rsqrt, Sigmoid, Sin, Tanh};
        for function in [Add, Rsqrt, Exp, Log, Tanh, Erf, Sigmoid, Sin, Cos] {
            let (x, mut output) = (ramp(8192), vec![0.0; 8192]);
            let inputs = &[&x[..], &x][..function.arity()];
            let times =
                (0..RUNS).map(|_| seconds(|| map(isa, function, inputs, black_box(&mut output)).expect("they fit")));
            println!(
                "{name:8} {function:?}: {:.2} elements/ns",
                8192e-9 / median(times.collect())
            );
        }
    }
}
