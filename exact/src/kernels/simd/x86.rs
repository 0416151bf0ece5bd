//! The vectors of AVX2 and AVX-512.

use super::{MAX_LANES, Simd};
use crate::arith::NAN;
use std::arch::x86_64::*;

/// `fma_row` of two or four vectors as one piece: else the compiler loads the numbers of all rows of a tile first,
/// and then lacks registers for the sums.
macro_rules! fma_row {
    ($two:ident, $four:ident, $features:literal, $vector:ty, $register:ident) => {
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $two(row: *const f32, step: isize, right: [$vector; 2], sums: &mut [$vector]) {
            std::arch::asm!(
                "vbroadcastss {left}, dword ptr [{row} + 4*{step}]",
                "vfmadd231ps {s0}, {left}, {r0}",
                "vfmadd231ps {s1}, {left}, {r1}",
                left = out($register) _, row = in(reg) row, step = in(reg) step,
                r0 = in($register) right[0], r1 = in($register) right[1],
                s0 = inout($register) sums[0], s1 = inout($register) sums[1],
                options(pure, readonly, nostack, preserves_flags),
            );
        }

        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $four(row: *const f32, step: isize, right: [$vector; 4], sums: &mut [$vector]) {
            std::arch::asm!(
                "vbroadcastss {left}, dword ptr [{row} + 4*{step}]",
                "vfmadd231ps {s0}, {left}, {r0}",
                "vfmadd231ps {s1}, {left}, {r1}",
                "vfmadd231ps {s2}, {left}, {r2}",
                "vfmadd231ps {s3}, {left}, {r3}",
                left = out($register) _, row = in(reg) row, step = in(reg) step,
                r0 = in($register) right[0], r1 = in($register) right[1],
                r2 = in($register) right[2], r3 = in($register) right[3],
                s0 = inout($register) sums[0], s1 = inout($register) sums[1],
                s2 = inout($register) sums[2], s3 = inout($register) sums[3],
                options(pure, readonly, nostack, preserves_flags),
            );
        }
    };
}

fma_row!(two_avx2, four_avx2, "avx2,fma", __m256, ymm_reg);
fma_row!(two_avx512, four_avx512, "avx512f,avx2,fma", __m512, zmm_reg);

/// 256-bit vectors.
pub(in super::super) struct Avx2;

/// A mask of the first `count` lanes: eight of these words from `8 - count` on.
static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    _mm256_loadu_si256(FIRST.as_ptr().add(8 - count).cast())
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn call(work: impl super::Work) {
        super::enter_avx2(work);
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        _mm256_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        _mm256_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
        _mm256_maskload_ps(from, first(count))
    }
    #[inline(always)]
    unsafe fn load_strided(from: *const f32, stride: isize, count: usize) -> Self::V {
        let at = |i: usize| *from.wrapping_offset((i.min(count - 1) as isize).wrapping_mul(stride));
        _mm256_setr_ps(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        _mm256_storeu_ps(to, v);
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize) {
        _mm256_maskstore_ps(to, first(count), v);
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn fma_row<const V: usize>(row: *const f32, step: isize, right: &[Self::V; V], sums: &mut [Self::V; V]) {
        match V {
            2 => two_avx2(row, step, [right[0], right[1]], sums),
            4 => four_avx2(row, step, [right[0], right[1], right[2], right[3]], sums),
            _ => {
                let left = Self::splat(*row.wrapping_offset(step));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = Self::fma(left, *right, *sum);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn maximum(acc: Self::V, x: Self::V) -> Self::V {
        // True as well where x is NaN or acc is; there the sum, a NaN, is right.
        let taken = _mm256_cmp_ps::<_CMP_NLE_UQ>(x, acc);
        let value = _mm256_blendv_ps(x, _mm256_add_ps(x, acc), _mm256_cmp_ps::<_CMP_UNORD_Q>(x, acc));
        _mm256_blendv_ps(acc, value, taken)
    }
    #[inline(always)]
    unsafe fn found(acc: Self::V, x: Self::V, y: Self::V, step: f32) -> Self::V {
        let nan = _mm256_and_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x), _mm256_cmp_ps::<_CMP_UNORD_Q>(y, y));
        let equal = _mm256_or_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(x, y), nan);
        let open = _mm256_cmp_ps::<_CMP_LT_OQ>(acc, _mm256_setzero_ps());
        _mm256_blendv_ps(acc, _mm256_set1_ps(step), _mm256_and_ps(equal, open))
    }
    #[inline(always)]
    unsafe fn add_where(acc: Self::V, index: Self::V, at: Self::V, x: Self::V) -> Self::V {
        _mm256_blendv_ps(acc, _mm256_add_ps(acc, x), _mm256_cmp_ps::<_CMP_EQ_OQ>(index, at))
    }
    #[inline(always)]
    unsafe fn canonical(v: Self::V) -> Self::V {
        _mm256_blendv_ps(v, _mm256_set1_ps(NAN), _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v))
    }
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; MAX_LANES], count: usize, to: *mut f32, stride: usize) {
        let mut r = [_mm256_setzero_ps(); 8];
        for (r, row) in r.iter_mut().zip(rows) {
            *r = if count == 8 {
                _mm256_loadu_ps(*row)
            } else {
                _mm256_maskload_ps(*row, first(count))
            };
        }
        // By fours of rows; `quads[q][c]` holds, in its 128-bit part p, column 4p + c of rows 4q to 4q + 3.
        let mut quads = [[_mm256_setzero_ps(); 4]; 2];
        for (quad, r) in quads.iter_mut().zip(r.as_chunks::<4>().0) {
            let (a, b) = (_mm256_unpacklo_ps(r[0], r[1]), _mm256_unpackhi_ps(r[0], r[1]));
            let (c, d) = (_mm256_unpacklo_ps(r[2], r[3]), _mm256_unpackhi_ps(r[2], r[3]));
            *quad = [
                _mm256_shuffle_ps::<0x44>(a, c),
                _mm256_shuffle_ps::<0xee>(a, c),
                _mm256_shuffle_ps::<0x44>(b, d),
                _mm256_shuffle_ps::<0xee>(b, d),
            ];
        }
        let mut columns = [_mm256_setzero_ps(); 8];
        for c in 0..4 {
            columns[c] = _mm256_permute2f128_ps::<0x20>(quads[0][c], quads[1][c]);
            columns[4 + c] = _mm256_permute2f128_ps::<0x31>(quads[0][c], quads[1][c]);
        }
        for (i, column) in columns.into_iter().enumerate() {
            if i < count {
                _mm256_storeu_ps(to.add(i * stride), column);
            }
        }
    }
}

/// 512-bit vectors.
pub(in super::super) struct Avx512;

/// A mask of the first `count` lanes.
#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    #[expect(clippy::cast_possible_truncation, reason = "at most 16 bits are set")]
    let mask = ((1u32 << count) - 1) as u16;
    mask
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn call(work: impl super::Work) {
        super::enter_avx512(work);
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        _mm512_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        _mm512_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
        _mm512_maskz_loadu_ps(mask(count), from)
    }
    #[inline(always)]
    unsafe fn load_strided(from: *const f32, stride: isize, count: usize) -> Self::V {
        if stride == 2 {
            // From the first to the last element there are `2 * count - 1`.
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let spanned = 2 * count - 1;
            let low = _mm512_maskz_loadu_ps(mask(spanned.min(16)), from);
            let high = _mm512_maskz_loadu_ps(mask(spanned.saturating_sub(16)), from.wrapping_add(16));
            return _mm512_permutex2var_ps(low, even, high);
        }
        let at = |i: usize| *from.wrapping_offset((i.min(count - 1) as isize).wrapping_mul(stride));
        let low = _mm256_setr_ps(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
        let high = _mm256_setr_ps(at(8), at(9), at(10), at(11), at(12), at(13), at(14), at(15));
        let low = _mm512_castps_pd(_mm512_castps256_ps512(low));
        _mm512_castpd_ps(_mm512_insertf64x4::<1>(low, _mm256_castps_pd(high)))
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        _mm512_storeu_ps(to, v);
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize) {
        _mm512_mask_storeu_ps(to, mask(count), v);
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn fma_row<const V: usize>(row: *const f32, step: isize, right: &[Self::V; V], sums: &mut [Self::V; V]) {
        match V {
            2 => two_avx512(row, step, [right[0], right[1]], sums),
            4 => four_avx512(row, step, [right[0], right[1], right[2], right[3]], sums),
            _ => {
                let left = Self::splat(*row.wrapping_offset(step));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = Self::fma(left, *right, *sum);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn maximum(acc: Self::V, x: Self::V) -> Self::V {
        let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, acc);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_blend_ps(greater | nan, acc, x)
    }
    #[inline(always)]
    unsafe fn found(acc: Self::V, x: Self::V, y: Self::V, step: f32) -> Self::V {
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x) & _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(y, y);
        let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, y) | nan;
        let open = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(acc, _mm512_setzero_ps());
        _mm512_mask_blend_ps(equal & open, acc, _mm512_set1_ps(step))
    }
    #[inline(always)]
    unsafe fn add_where(acc: Self::V, index: Self::V, at: Self::V, x: Self::V) -> Self::V {
        _mm512_mask_add_ps(acc, _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(index, at), acc, x)
    }
    #[inline(always)]
    unsafe fn canonical(v: Self::V) -> Self::V {
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v), v, _mm512_set1_ps(NAN))
    }
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; MAX_LANES], count: usize, to: *mut f32, stride: usize) {
        let mut r = [_mm512_setzero_ps(); 16];
        for (r, row) in r.iter_mut().zip(rows) {
            *r = _mm512_maskz_loadu_ps(mask(count), *row);
        }
        // By fours of rows; `quads[q][c]` holds, in its 128-bit part p, column 4p + c of rows 4q to 4q + 3.
        let mut quads = [[_mm512_setzero_ps(); 4]; 4];
        for (quad, r) in quads.iter_mut().zip(r.as_chunks::<4>().0) {
            let (a, b) = (_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpackhi_ps(r[0], r[1]));
            let (c, d) = (_mm512_unpacklo_ps(r[2], r[3]), _mm512_unpackhi_ps(r[2], r[3]));
            *quad = [
                _mm512_shuffle_ps::<0x44>(a, c),
                _mm512_shuffle_ps::<0xee>(a, c),
                _mm512_shuffle_ps::<0x44>(b, d),
                _mm512_shuffle_ps::<0xee>(b, d),
            ];
        }
        let mut columns = [_mm512_setzero_ps(); 16];
        for c in 0..4 {
            // Even and odd parts of the upper and the lower rows.
            let (x, y) = (
                _mm512_shuffle_f32x4::<0x88>(quads[0][c], quads[1][c]),
                _mm512_shuffle_f32x4::<0x88>(quads[2][c], quads[3][c]),
            );
            let (z, w) = (
                _mm512_shuffle_f32x4::<0xdd>(quads[0][c], quads[1][c]),
                _mm512_shuffle_f32x4::<0xdd>(quads[2][c], quads[3][c]),
            );
            columns[c] = _mm512_shuffle_f32x4::<0x88>(x, y);
            columns[8 + c] = _mm512_shuffle_f32x4::<0xdd>(x, y);
            columns[4 + c] = _mm512_shuffle_f32x4::<0x88>(z, w);
            columns[12 + c] = _mm512_shuffle_f32x4::<0xdd>(z, w);
        }
        for (i, column) in columns.into_iter().enumerate() {
            if i < count {
                _mm512_storeu_ps(to.add(i * stride), column);
            }
        }
    }
}
