//! The machine's multiply-add peak, against which kernels are measured.

use super::{Isa, Level};

/// Chains that run at once: enough to hide the latency of a multiply-add, few enough for the registers.
const CHAINS: usize = 12;

/// Does `rounds` rounds of independent multiply-adds in registers and gives how many that were, with a value that
/// depends on all of them. Timed by the benchmarks; nothing else needs it.
pub fn multiply_adds(isa: Isa, rounds: u32) -> (u64, f32) {
    let (lanes, sum) = match isa.0 {
        Level::Scalar => (1, chains(rounds)),
        // SAFETY: an `Isa` of this level exists only where AVX2 and FMA were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => (8, unsafe { x86::chains_avx2(rounds) }),
        // SAFETY: an `Isa` of this level exists only where AVX-512 F was detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => (16, unsafe { x86::chains_avx512(rounds) }),
    };
    (u64::from(rounds) * CHAINS as u64 * lanes, sum)
}

/// The factor and the term of every chain; opaque, so that the chains cannot be worked out beforehand.
fn step() -> (f32, f32) {
    std::hint::black_box((0.5, 1.0))
}

fn chains(rounds: u32) -> f32 {
    let (factor, term) = step();
    let mut sums = [1.0f32; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(factor, term);
        }
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, step};
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_add_ps, _mm512_cvtss_f32,
        _mm512_fmadd_ps, _mm512_set1_ps,
    };

    macro_rules! chains {
        ($name:ident, $features:literal, $set:ident, $fma:ident, $add:ident, $first:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(rounds: u32) -> f32 {
                let (factor, term) = step();
                let (factor, term) = ($set(factor), $set(term));
                let mut sums = [$set(1.0); CHAINS];
                for _ in 0..rounds {
                    for sum in &mut sums {
                        *sum = $fma(*sum, factor, term);
                    }
                }
                $first(sums.into_iter().fold($set(0.0), |all, sum| $add(all, sum)))
            }
        };
    }

    chains!(
        chains_avx2,
        "avx2,fma",
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_cvtss_f32
    );
    chains!(
        chains_avx512,
        "avx512f",
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_cvtss_f32
    );
}
