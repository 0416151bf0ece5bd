//! The functions of `arith` against double precision, and their bits against a golden list.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the reference rounds to f32 and looks up cells on purpose"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use trainyard_exact::arith;

type Pair = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);

/// Function, reference, and the bound that the documentation of `arith` states, in ulp.
fn functions() -> Vec<Pair> {
    vec![
        ("exp", arith::exp, f64::exp, 0.91),
        ("log", arith::log, f64::ln, 0.76),
        ("tanh", arith::tanh, f64::tanh, 1.03),
        ("erf", arith::erf, reference::erf, 1.02),
        ("sqrt", arith::sqrt, f64::sqrt, 0.5),
        ("rsqrt", arith::rsqrt, |x| 1.0 / x.sqrt(), 1.50),
        ("sin", arith::sin, f64::sin, 1.33),
        ("cos", arith::cos, f64::cos, 1.32),
        ("sigmoid", arith::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 2.02),
    ]
}

mod reference {
    use std::f64::consts::PI;
    use std::sync::LazyLock;

    const STEP: f64 = 1.0 / 64.0;
    const TERMS: usize = 12;

    /// Taylor coefficients of erf around every multiple of `STEP` up to 6.
    static CELLS: LazyLock<Vec<[f64; TERMS]>> =
        LazyLock::new(|| (0..=384).map(|i| taylor(f64::from(i) * STEP)).collect());

    fn taylor(x: f64) -> [f64; TERMS] {
        let slope = 2.0 / PI.sqrt() * (-x * x).exp();
        // erf(x) = slope · Σ x (2x²)ⁿ / (1 · 3 ··· (2n + 1)), all terms positive.
        let (mut term, mut sum) = (x, 0.0);
        for n in 1..400 {
            sum += term;
            term *= 2.0 * x * x / f64::from(2 * n + 1);
        }
        let mut cell = [0.0; TERMS];
        cell[0] = slope * sum;
        // The (n+1)th derivative is (−1)ⁿ Hₙ(x) slope, with Hermite's polynomials; divided by (n+1)! for the series.
        let (mut before, mut hermite, mut factor) = (0.0, 1.0, slope);
        for (n, coefficient) in cell.iter_mut().skip(1).enumerate() {
            let n = n as f64;
            *coefficient = hermite * factor / (n + 1.0);
            (before, hermite) = (hermite, 2.0 * x * hermite - 2.0 * n * before);
            factor *= -1.0 / (n + 1.0);
        }
        cell
    }

    pub(crate) fn erf(x: f64) -> f64 {
        let magnitude = x.abs().min(6.0);
        if x.is_nan() {
            return x;
        }
        let cell = (magnitude / STEP).round();
        let offset = magnitude - cell * STEP;
        let value = CELLS[cell as usize].iter().rev().fold(0.0, |sum, c| sum * offset + c);
        value.copysign(x)
    }
}

/// |found − exact| in units in the last place of `exact`; infinite where one is special and the other is not.
fn ulps(found: f32, exact: f64) -> f64 {
    if exact.is_nan() || found.is_nan() {
        let both = exact.is_nan() && found.to_bits() == 0x7fc0_0000;
        return if both { 0.0 } else { f64::INFINITY };
    }
    if found.is_infinite() && found == exact as f32 {
        return 0.0;
    }
    // Beside the largest finite number, ∞ counts as 2¹²⁸.
    let wide = if found.is_infinite() {
        128f64.exp2().copysign(found.into())
    } else {
        found.into()
    };
    let exponent = ((exact.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    (wide - exact).abs() / f64::from(exponent.clamp(-126, 127) - 23).exp2()
}

/// The worst error over `first, first + stride, …` as (ulp, input bits).
fn worst(pair: &Pair, range: std::ops::RangeInclusive<u32>, stride: usize) -> (f64, u32) {
    let mut worst = (0.0, 0);
    for bits in range.step_by(stride) {
        let x = f32::from_bits(bits);
        let error = ulps(pair.1(x), pair.2(x.into()));
        if error > worst.0 {
            worst = (error, bits);
        }
    }
    worst
}

#[test]
fn errors_stay_below_the_stated_bounds() {
    for pair in &functions() {
        let (error, bits) = worst(pair, 0..=u32::MAX, 8_191);
        assert!(error <= pair.3, "{}({bits:#010x}) is off by {error} ulp", pair.0);
    }
}

/// The bits of every function, in the order of `functions`, for inputs that take every path.
#[rustfmt::skip]
const GOLDEN: &[(u32, [u32; 9])] = &[
    (0x00000000, [0x3f800000, 0xff800000, 0x00000000, 0x00000000, 0x00000000, 0x7f800000, 0x00000000, 0x3f800000, 0x3f000000]),
    (0x80000000, [0x3f800000, 0xff800000, 0x80000000, 0x80000000, 0x80000000, 0xff800000, 0x80000000, 0x3f800000, 0x3f000000]),
    (0x00000001, [0x3f800000, 0xc2ce8ed0, 0x00000001, 0x00000001, 0x1a3504f3, 0x64b504f3, 0x00000001, 0x3f800000, 0x3f000000]),
    (0x80000001, [0x3f800000, 0x7fc00000, 0x80000001, 0x80000001, 0x7fc00000, 0x7fc00000, 0x80000001, 0x3f800000, 0x3f000000]),
    (0x007fffff, [0x3f800000, 0xc2aeac50, 0x007fffff, 0x00906eb9, 0x1fffffff, 0x5f000001, 0x007fffff, 0x3f800000, 0x3f000000]),
    (0x00800000, [0x3f800000, 0xc2aeac50, 0x00800000, 0x00906eba, 0x20000000, 0x5f000000, 0x00800000, 0x3f800000, 0x3f000000]),
    (0x33000000, [0x3f800000, 0xc18aa123, 0x33000000, 0x33106eba, 0x393504f3, 0x45b504f3, 0x33000000, 0x3f800000, 0x3f000000]),
    (0x3d4ccccd, [0x3f86900d, 0xc03fba14, 0x3d4ca127, 0x3d66e64e, 0x3e64f92e, 0x408f1bbd, 0x3d4cb6f5, 0x3f7fae18, 0x3f033308]),
    (0xbe99999a, [0x3f3da643, 0x7fc00000, 0xbe9526ee, 0xbea841c5, 0x7fc00000, 0x7fc00000, 0xbe974e6d, 0x3f7490ee, 0x3ed9e2ac]),
    (0x3f000000, [0x3fd3094c, 0xbf317218, 0x3eec9a9f, 0x3f053f7b, 0x3f3504f3, 0x3fb504f3, 0x3ef57744, 0x3f60a940, 0x3f1f597f]),
    (0xbf490fda, [0x3ee970ba, 0x7fc00000, 0xbf27e221, 0xbf3bba4c, 0x7fc00000, 0x7fc00000, 0xbf3504f3, 0x3f3504f4, 0x3ea05633]),
    (0x3f490fdb, [0x400c5eb3, 0xbe775cac, 0x3f27e221, 0x3f3bba4c, 0x3f62dfc5, 0x3f906eba, 0x3f3504f3, 0x3f3504f3, 0x3f2fd4e7]),
    (0x3f666666, [0x401d6a23, 0xbdd7c745, 0x3f375f4c, 0x3f4c022d, 0x3f72dce8, 0x3f86ec82, 0x3f48881c, 0x3f1f21d5, 0x3f3600c9]),
    (0x3f700000, [0x40236e03, 0xbd842cc6, 0x3f3bec1c, 0x3f50aa8d, 0x3f77def6, 0x3f8432a5, 0x3f4e5b55, 0x3f178089, 0x3f37f5cd]),
    (0x3f800000, [0x402df854, 0x00000000, 0x3f42f7d6, 0x3f57bb3d, 0x3f800000, 0x3f800000, 0x3f576aa5, 0x3f0a5141, 0x3f3b26a8]),
    (0xbf800000, [0x3ebc5ab2, 0x7fc00000, 0xbf42f7d6, 0xbf57bb3d, 0x7fc00000, 0x7fc00000, 0xbf576aa5, 0x3f0a5141, 0x3e89b2b1]),
    (0x3fc90fdb, [0x4099ef6f, 0x3ee735da, 0x3f6aca7f, 0x3f794306, 0x3fa06c99, 0x3f4c422a, 0x3f800000, 0xb33bbd2e, 0x3f53f111]),
    (0x40490fdb, [0x41b92024, 0x3f928682, 0x3f7f0bb0, 0x3f7fff6b, 0x3fe2dfc5, 0x3f106eba, 0xb3bbbd2e, 0xbf800000, 0x3f75653f]),
    (0xc0a00000, [0x3bdcc9ff, 0x7fc00000, 0xbf7ffa0d, 0xbf800000, 0x7fc00000, 0x7fc00000, 0x3f757c0f, 0x3e913c2b, 0x3bdb4fb4]),
    (0x41200000, [0x46ac14ef, 0x40135d8e, 0x3f800000, 0x3f800000, 0x404a62c2, 0x3ea1e89b, 0xbf0b44f8, 0xbf56cd65, 0x3f7ffd06]),
    (0xc1a00000, [0x310da433, 0x7fc00000, 0xbf800000, 0xbf800000, 0x7fc00000, 0x7fc00000, 0xbf69b6c7, 0x3ed0f022, 0x310da433]),
    (0x42b00000, [0x7ef882b7, 0x408f4658, 0x3f800000, 0x3f800000, 0x411617e3, 0x3dda514a, 0x3d10fdd0, 0x3f7fd6ed, 0x3f800000]),
    (0xc2cc0000, [0x00000004, 0x7fc00000, 0xbf800000, 0xbf800000, 0x7fc00000, 0x7fc00000, 0xbf7eacf8, 0x3dd00c2a, 0x00000004]),
    (0x4b3f137b, [0x7f800000, 0x4182be85, 0x3f800000, 0x3f800000, 0x455d2b1f, 0x39942898, 0xbe3bd350, 0x3f7ba81f, 0x3f800000]),
    (0x6f79be45, [0x7f800000, 0x428508e7, 0x3f800000, 0x3f800000, 0x577cda2e, 0x278197ed, 0x3f800000, 0xb0ddeea9, 0x3f800000]),
    (0x7f7fffff, [0x7f800000, 0x42b17218, 0x3f800000, 0x3f800000, 0x5f7fffff, 0x1f800001, 0xbf0599b3, 0x3f5a5f96, 0x3f800000]),
    (0x7f800000, [0x7f800000, 0x7f800000, 0x3f800000, 0x3f800000, 0x7f800000, 0x00000000, 0x7fc00000, 0x7fc00000, 0x3f800000]),
    (0xff800001, [0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000]),
    (0xff800000, [0x00000000, 0x7fc00000, 0xbf800000, 0xbf800000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x00000000]),
    (0x7fc00001, [0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000]),
];

#[test]
fn bits_are_the_golden_ones() {
    for (input, expected) in GOLDEN {
        for (pair, bits) in functions().iter().zip(expected) {
            let found = pair.1(f32::from_bits(*input)).to_bits();
            assert_eq!(
                found, *bits,
                "{}({input:#010x}) gave {found:#010x}, not {bits:#010x}",
                pair.0
            );
        }
    }
}

/// All 2³² inputs: `cargo test --release -p trainyard-exact --test arith -- --ignored --nocapture`, many minutes.
#[test]
#[ignore = "4.3 billion inputs for each function"]
fn errors_over_all_inputs() {
    const BLOCK: u32 = 1 << 22;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for pair in &functions() {
        let next = AtomicU32::new(0);
        let (error, bits) = std::thread::scope(|scope| {
            let worker = || {
                let mut found = (0.0, 0);
                loop {
                    let block = next.fetch_add(1, Ordering::Relaxed);
                    if block > u32::MAX / BLOCK {
                        return found;
                    }
                    let start = block * BLOCK;
                    let (error, bits) = worst(pair, start..=start + (BLOCK - 1), 1);
                    if error > found.0 {
                        found = (error, bits);
                    }
                }
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            let results = workers
                .into_iter()
                .map(|worker| worker.join().expect("a worker panicked"));
            results.fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a })
        });
        println!("//! | `{}` | {error:.3} | `{bits:#010x}` |", pair.0);
        assert!(error <= pair.3, "{}({bits:#010x}) is off by {error} ulp", pair.0);
    }
}
