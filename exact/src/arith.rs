//! The arithmetic: what every floating-point operation of a training step gives, bit for bit.
//!
//! Numbers are IEEE 754 binary32, rounding is to nearest with ties to even, subnormals are kept (no flush to zero) and
//! [`fma`] rounds once. Addition, multiplication, division and square root are the IEEE operations. All other functions
//! are the fixed sequences of these and of bit operations written below; there is no libm, so there is nothing that
//! could differ between two machines. A second implementation must perform the same operations in the same order,
//! with the constants given here as bits.
//!
//! **NaN.** IEEE leaves the payload of a NaN open, so it must never be seen: every result that leaves a function of
//! this module, and every element a primitive writes, passes through [`canonical`], and the one NaN is `0x7fc00000`.
//!
//! **Accuracy.** The largest error found over all 2³² inputs, in units in the last place of the exact result (where
//! that is subnormal, units of 2⁻¹⁴⁹). `tests/arith.rs` measures it again with `--ignored`.
//!
//! | function | worst error, ulp | at |
//! |---|---|---|
//! | `exp` | 0.909 | `0x40a664c0` |
//! | `log` | 0.750 | `0x402d1458` |
//! | `tanh` | 1.020 | `0x3f79453f` |
//! | `erf` | 1.018 | `0x3f89d5e3` |
//! | `sqrt` | 0.500 | `0x037fffff` |
//! | `rsqrt` | 1.490 | `0x0080cab3` |
//! | `sin` | 1.322 | `0x4d43bcb1` |
//! | `cos` | 1.315 | `0xe082cc66` |
//! | `sigmoid` | 2.014 | `0xbe99a347` |

/// The one NaN.
pub const NAN: f32 = f32::from_bits(0x7fc0_0000);

const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200);
const LN_2_LOW: f32 = f32::from_bits(0x35bf_be8e);
const LOG2_E: f32 = f32::from_bits(0x3fb8_aa3b);
const HALF_PI_HIGH: f32 = f32::from_bits(0x3fc9_0fdb);
const HALF_PI_LOW: f32 = f32::from_bits(0xb33b_bd2e);
const SIGN: u32 = 0x8000_0000;

/// `value`, or the one NaN where it is any NaN.
///
/// Done on the bits: to the compiler all NaNs of floating-point arithmetic are alike, and it may drop a choice between
/// two of them.
#[inline(always)]
pub fn canonical(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(if bits & !SIGN > f32::INFINITY.to_bits() {
        NAN.to_bits()
    } else {
        bits
    })
}

/// `a * b + c`, rounded once. Its NaN is not yet canonical: chains of it are made canonical at their end.
///
/// Compiled without the FMA instructions this calls `fmaf`, which is the same correctly rounded operation in software.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// The polynomial with these coefficients, given as bits from the highest power down, by Horner's rule.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [u32; N]) -> f32 {
    let mut sum = f32::from_bits(coefficients[0]);
    for bits in &coefficients[1..] {
        sum = fma(sum, x, f32::from_bits(*bits));
    }
    sum
}

/// √x; −0 gives −0, below that NaN.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    canonical(x.sqrt())
}

/// 1 / √x, two roundings; ±0 gives ±∞.
#[inline(always)]
pub fn rsqrt(x: f32) -> f32 {
    canonical(1.0 / x.sqrt())
}

/// eˣ, with subnormal results and ∞ where they are due.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    canonical(exp_raw(x))
}

#[inline(always)]
fn exp_raw(x: f32) -> f32 {
    // Outside these bounds the result is 0 or ∞ already at the bound. A NaN passes both comparisons by.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    // x = n ln 2 + r. Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
    let magic = 12_582_912.0;
    let shifted = fma(x, LOG2_E, magic);
    let n = shifted - magic;
    let r = fma(n, -LN_2_LOW, fma(n, -LN_2_HIGH, x));
    let q = polynomial(r, [0x3ab6_b426, 0x3c09_1d59, 0x3d2a_aa68, 0x3e2a_aa48, 0x3f00_0000]);
    let power = fma(fma(q, r, 1.0), r, 1.0);
    // 2ⁿ in two factors, each a normal number, so that only the last product can round.
    let n = shifted.to_bits().wrapping_sub(0x4b40_0000).cast_signed();
    let half = n >> 1;
    power * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23).cast_unsigned())
}

/// ln x; ±0 gives −∞, below that NaN.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    // A subnormal is scaled by 2²³ first. Then x = m 2ᵉ with √½ ≤ m < √2.
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits().wrapping_sub(0x3f35_04f3).cast_signed();
    let exponent = (bits >> 23).wrapping_sub(if subnormal { 23 } else { 0 }) as f32;
    let f = f32::from_bits((bits & 0x007f_ffff).cast_unsigned().wrapping_add(0x3f35_04f3)) - 1.0;
    let p = polynomial(
        f,
        [
            0x3d8d_9f32,
            0xbdf1_70e4,
            0x3df3_2706,
            0xbdfd_a224,
            0x3e11_9982,
            0xbe2a_b16f,
            0x3e4c_d2a1,
            0xbe7f_fff7,
            0x3eaa_aaa3,
        ],
    );
    let square = f * f;
    let tail = fma(square * f, p, exponent * LN_2_LOW);
    let tail = fma(-0.5 * f, f, tail);
    let log = fma(exponent, LN_2_HIGH, f + tail);
    let log = if x == f32::INFINITY { x } else { log };
    let log = if x == 0.0 { f32::NEG_INFINITY } else { log };
    canonical(if x >= 0.0 { log } else { NAN })
}

/// tanh x.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = magnitude * magnitude;
    let p = polynomial(
        square,
        [
            0x390f_66cb,
            0xba6b_4bd6,
            0x3b4f_3b06,
            0xbc0d_dc5c,
            0x3cb2_acd7,
            0xbd5d_03f2,
            0x3e08_8857,
            0xbeaa_aaaa,
        ],
    );
    let near = fma(p * square, magnitude, magnitude);
    let far = 1.0 - 2.0 / (exp_raw(magnitude + magnitude) + 1.0);
    let tanh = if magnitude < 0.9 { near } else { far };
    canonical(tanh.copysign(x))
}

/// The error function, 2/√π ∫₀ˣ exp(−t²) dt.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = magnitude * magnitude;
    let p = polynomial(
        square,
        [
            0x38a7_6d71,
            0xba52_f0fa,
            0x3baa_2310,
            0xbcdc_0065,
            0x3de7_16b1,
            0xbec0_93a0,
            0x3e03_75d4,
        ],
    );
    let near = fma(p, magnitude, magnitude);
    // ln erfc(t) = t Q(t) − t; from t = 4 on, erf is 1.
    let t = if magnitude > 4.0 { 4.0 } else { magnitude };
    let q = polynomial(
        t,
        [
            0xb74b_ea9f,
            0x39ae_1415,
            0xbb71_2a71,
            0x3cc3_4e64,
            0xbdd9_c2b9,
            0xbf22_95a8,
            0xbe03_bffd,
        ],
    );
    let far = 1.0 - exp_raw(fma(q, t, -t));
    let erf = if magnitude < 0.9375 { near } else { far };
    canonical(erf.copysign(x))
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let power = exp_raw(-x.abs());
    let share = 1.0 / (1.0 + power);
    // p / (1 + p) = p − p² / (1 + p) for negative x: the errors of the quotient count only p-fold.
    canonical(if x >= 0.0 {
        share
    } else {
        fma(-power, power * share, power)
    })
}

/// sin x, x in radians; ±∞ gives NaN.
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    let (quadrant, high, low) = reduce(x.abs());
    let sin = in_quadrant(quadrant, high, low);
    let sin = f32::from_bits(sin.to_bits() ^ (x.to_bits() & SIGN));
    canonical(if x.is_finite() { sin } else { NAN })
}

/// cos x, x in radians; ±∞ gives NaN.
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    let (quadrant, high, low) = reduce(x.abs());
    let cos = in_quadrant(quadrant.wrapping_add(1), high, low);
    canonical(if x.is_finite() { cos } else { NAN })
}

/// The bits of 2/π after the binary point, behind 32 zeros.
const TWO_OVER_PI: [u32; 8] = [
    0,
    0xa2f9_836e,
    0x4e44_1529,
    0xfc27_57d1,
    0xf534_ddc0,
    0xdb62_9599,
    0x3c43_9041,
    0xfe51_63ab,
];

/// Payne and Hanek's reduction in integers: `x ≥ 0` is (quadrant + f) π/2 modulo 2π with |f| ≤ ½. Gives the quadrant
/// and f π/2 as an unevaluated sum of two numbers, good to about 2⁻⁶⁰ for every finite `x`.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "each cast takes the bits it wants, see the comments"
)]
fn reduce(x: f32) -> (u32, f32, f32) {
    // π/4 and below needs no reduction, and the exponent arithmetic below does not allow for it.
    if x < f32::from_bits(0x3f49_0fdb) {
        return (0, x, 0.0);
    }
    let bits = x.to_bits();
    let mantissa = u128::from(bits & 0x007f_ffff | 0x0080_0000);
    // x = mantissa · 2^(exponent − 150), and the bits of 2/π that weigh 4 or more after multiplying are left out. For
    // finite x from π/4 on, 4 ≤ skipped ≤ 134; a NaN or ∞ gives 135 and a result that the caller discards.
    let skipped = (bits >> 23).wrapping_sub(120);
    let word = (skipped >> 5) as usize;
    let window = TWO_OVER_PI[word..word + 4]
        .iter()
        .fold(0u128, |window, next| window << 32 | u128::from(*next));
    let window = (window << (skipped & 31)) >> 32;
    // In units of 2⁻⁹⁴ of a quadrant; the product is below 2¹²⁰ and counts modulo 2⁹⁶, four quadrants.
    let turned = mantissa * window + (1 << 93);
    let quadrant = (turned >> 94) as u32 & 3;
    // The fraction, −½ ≤ f < ½, in units of 2⁻⁶³.
    let fraction = (turned >> 31) as i64 & i64::MAX;
    let fraction = fraction.wrapping_sub(1 << 62);
    let unit = power_of_two(-63);
    let leading = fraction as f32;
    let rest = (fraction - leading as i64) as f32 * unit;
    let leading = leading * unit;
    let high = leading * HALF_PI_HIGH;
    let low = fma(leading, HALF_PI_HIGH, -high) + fma(leading, HALF_PI_LOW, rest * HALF_PI_HIGH);
    (quadrant, high, low)
}

/// sin(quadrant π/2 + high + low) for |high| ≤ π/4.
#[inline(always)]
fn in_quadrant(quadrant: u32, high: f32, low: f32) -> f32 {
    let square = high * high;
    let p = polynomial(square, [0x363e_6bb5, 0xb950_2ddc, 0x3c08_88bb, 0xbe2a_aaab]);
    let sin = high + fma(square * high, p, low);
    let q = polynomial(square, [0x37cc_f26a, 0xbab6_0611, 0x3d2a_aaa5]);
    let cos = fma(-0.5, square, 1.0) + fma(square * square, q, -(high * low));
    let value = if quadrant & 1 == 0 { sin } else { cos };
    f32::from_bits(value.to_bits() ^ ((quadrant & 2) << 30))
}
