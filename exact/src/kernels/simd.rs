//! Vectors of f32, the same code for each level of instructions.

use super::{Isa, Level};
use crate::arith;

/// Work that is compiled once for each level. `run` and all it calls in a hot loop must be `inline(always)`: only what
/// is inlined is compiled for the level.
pub(super) trait Work {
    fn run<S: Simd>(self);
}

impl Isa {
    /// Runs `work` with this level's vectors.
    pub(super) fn enter(self, work: impl Work) {
        match self.0 {
            Level::Scalar => work.run::<Scalar>(),
            // SAFETY: an `Isa` of this level exists only where AVX2 and FMA were detected.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { enter_avx2(work) },
            // SAFETY: an `Isa` of this level exists only where AVX-512 F, AVX2 and FMA were detected.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { enter_avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn enter_avx2(work: impl Work) {
    work.run::<Avx2>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn enter_avx512(work: impl Work) {
    work.run::<Avx512>();
}

/// The most lanes of a vector at any level.
pub(super) const MAX_LANES: usize = 16;

/// A level's vectors. None of the bits depend on the level.
///
/// # Safety
/// The functions may only be called in `Work::run` for the level (which proves that the CPU has the instructions), with
/// pointers to at least as many elements as are named: `LANES`, or `count`, which is at most `LANES`.
pub(super) trait Simd {
    /// A vector of `LANES` numbers.
    type V: Copy;
    const LANES: usize;
    /// Vectors that may be held in registers at once.
    const REGISTERS: usize;

    /// Runs `work` with these vectors, in a function of its own.
    unsafe fn call(work: impl Work);
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `count` lanes; the others are zero, and what would be in them is not touched.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V;
    /// Lane `i` of the first `count` is the element at `from + i * stride`; the others are anything.
    unsafe fn load_strided(from: *const f32, stride: isize, count: usize) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// Stores the first `count` lanes.
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize);
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Adds to each sum the number at `row + step`, times the vector of the same place.
    #[inline(always)]
    unsafe fn fma_row<const V: usize>(row: *const f32, step: isize, right: &[Self::V; V], sums: &mut [Self::V; V]) {
        // SAFETY: the caller promises that the number exists, and to be in `Work::run`.
        unsafe {
            let left = Self::splat(*row.wrapping_offset(step));
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = Self::fma(left, *right, *sum);
            }
        }
    }
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// The definition's greater of an accumulator and a number.
    unsafe fn maximum(acc: Self::V, x: Self::V) -> Self::V;
    /// `acc`, or `step` where `acc` is below 0 and `x` and `y` are equal numbers or both NaN.
    unsafe fn found(acc: Self::V, x: Self::V, y: Self::V, step: f32) -> Self::V;
    /// `acc`, or `acc + x` where `index` equals `at`.
    unsafe fn add_where(acc: Self::V, index: Self::V, at: Self::V, x: Self::V) -> Self::V;
    unsafe fn canonical(v: Self::V) -> Self::V;
    /// Reads `count` elements from each of the first `LANES` rows and stores `count` vectors, `stride` elements apart:
    /// the i-th holds the i-th element of every row.
    unsafe fn transpose(rows: &[*const f32; MAX_LANES], count: usize, to: *mut f32, stride: usize);
}

/// Copies `count` elements.
///
/// # Safety
/// As for [`Simd`]; the elements do not overlap.
#[inline(always)]
pub(super) unsafe fn copy<S: Simd>(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the offsets stay below `count`, says the caller. The last elements are copied by two pieces that may
    // overlap: quicker than a mask.
    unsafe {
        if count >= S::LANES {
            let mut done = 0;
            while count - done >= S::LANES {
                S::store(to.add(done), S::load(from.add(done)));
                done += S::LANES;
            }
            let last = count - S::LANES;
            S::store(to.add(last), S::load(from.add(last)));
        } else if count >= 8 {
            piece::<8>(from, to, count);
        } else if count >= 4 {
            piece::<4>(from, to, count);
        } else {
            for i in 0..count {
                *to.add(i) = *from.add(i);
            }
        }
    }
}

/// Copies `N` to `2 * N` elements.
///
/// # Safety
/// There are as many in both.
#[inline(always)]
unsafe fn piece<const N: usize>(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: both pieces lie within `count` elements.
    unsafe {
        let first = from.cast::<[f32; N]>().read_unaligned();
        let last = from.add(count - N).cast::<[f32; N]>().read_unaligned();
        to.cast::<[f32; N]>().write_unaligned(first);
        to.add(count - N).cast::<[f32; N]>().write_unaligned(last);
    }
}

/// Sets `count` elements.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
pub(super) unsafe fn fill<S: Simd>(to: *mut f32, value: f32, count: usize) {
    let mut done = 0;
    // SAFETY: the offsets stay below `count`, says the caller.
    unsafe {
        let value = S::splat(value);
        while count - done >= S::LANES {
            S::store(to.add(done), value);
            done += S::LANES;
        }
        if done < count {
            S::store_first(to.add(done), value, count - done);
        }
    }
}

/// Copies `count` elements that lie `stride` apart.
///
/// # Safety
/// As for [`Simd`]; what is read and what is written does not overlap.
#[inline(always)]
pub(super) unsafe fn copy_strided<S: Simd>(from: *const f32, stride: isize, to: *mut f32, count: usize) {
    // SAFETY: the offsets stay below `count` strides, says the caller.
    unsafe {
        match stride {
            1 => copy::<S>(from, to, count),
            0 => fill::<S>(to, *from, count),
            _ => {
                let mut done = 0;
                while done < count {
                    let next = S::LANES.min(count - done);
                    let from = from.wrapping_offset(stride.wrapping_mul(done as isize));
                    let vector = S::load_strided(from, stride, next);
                    if next == S::LANES {
                        S::store(to.add(done), vector);
                    } else {
                        S::store_first(to.add(done), vector, next);
                    }
                    done += next;
                }
            }
        }
    }
}

/// Copies `count` elements that lie `stride` apart, with every NaN the one NaN.
///
/// # Safety
/// As for [`copy_strided`].
#[inline(always)]
pub(super) unsafe fn copy_canonical<S: Simd>(from: *const f32, stride: isize, to: *mut f32, count: usize) {
    // SAFETY: the offsets stay below `count` strides, says the caller.
    unsafe {
        if stride == 0 {
            return fill::<S>(to, arith::canonical(*from), count);
        }
        let mut done = 0;
        while done < count {
            let next = S::LANES.min(count - done);
            let from = from.wrapping_offset(stride.wrapping_mul(done as isize));
            let vector = match stride {
                1 if next == S::LANES => S::load(from),
                1 => S::load_first(from, next),
                _ => S::load_strided(from, stride, next),
            };
            if next == S::LANES {
                S::store(to.add(done), S::canonical(vector));
            } else {
                S::store_first(to.add(done), S::canonical(vector), next);
            }
            done += next;
        }
    }
}

/// Portable vectors: arrays.
pub(super) struct Scalar;

#[expect(
    unsafe_op_in_unsafe_fn,
    reason = "each function is one access under its caller's promise"
)]
impl Simd for Scalar {
    type V = [f32; 8];
    const LANES: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn call(work: impl Work) {
        work.run::<Self>();
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        from.cast::<[f32; 8]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
        std::array::from_fn(|i| if i < count { *from.add(i) } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn load_strided(from: *const f32, stride: isize, count: usize) -> Self::V {
        std::array::from_fn(|i| *from.wrapping_offset((i.min(count - 1) as isize).wrapping_mul(stride)))
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        to.cast::<[f32; 8]>().write_unaligned(v);
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize) {
        for (i, value) in v.into_iter().enumerate().take(count) {
            *to.add(i) = value;
        }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| arith::fma(a[i], b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn maximum(acc: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|i| if x[i] > acc[i] || x[i].is_nan() { x[i] } else { acc[i] })
    }
    #[inline(always)]
    unsafe fn found(acc: Self::V, x: Self::V, y: Self::V, step: f32) -> Self::V {
        std::array::from_fn(|i| {
            let equal = x[i] == y[i] || (x[i].is_nan() && y[i].is_nan());
            if acc[i] < 0.0 && equal { step } else { acc[i] }
        })
    }
    #[inline(always)]
    unsafe fn add_where(acc: Self::V, index: Self::V, at: Self::V, x: Self::V) -> Self::V {
        std::array::from_fn(|i| if index[i] == at[i] { acc[i] + x[i] } else { acc[i] })
    }
    #[inline(always)]
    unsafe fn canonical(v: Self::V) -> Self::V {
        v.map(arith::canonical)
    }
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; MAX_LANES], count: usize, to: *mut f32, stride: usize) {
        for i in 0..count {
            for (lane, row) in rows.iter().enumerate().take(Self::LANES) {
                *to.add(i * stride + lane) = *row.add(i);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_op_in_unsafe_fn,
    reason = "each function is one access under its caller's promise"
)]
mod x86;
