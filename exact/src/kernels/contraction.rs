//! The contraction of two matrices: one ordered chain of fused multiply-adds for each output element.
//!
//! Blocked as usual: panels of A and B are packed so that a tile of the output lives in registers while k runs. Where
//! k is cut into blocks, the tile is stored and loaded again, which changes no bit; so each element sees k ascending
//! from 0, exactly once. Threads own bands of rows or of columns and share nothing that is written.

use super::{Isa, KernelError, Level};
use crate::arith::canonical;

/// The most rows, and the most columns, of a tile at any level.
const TILE: [usize; 2] = [12, 32];
/// Steps of k that a packed panel holds.
const BLOCK_K: usize = 256;
/// Rows of A packed at a time, a multiple of every tile's rows: they stay in the second-level cache.
const BLOCK_ROWS: usize = 120;
/// Columns of B packed at a time, a multiple of every tile's columns.
const BLOCK_COLUMNS: usize = 2048;
/// Below this many multiply-adds another thread costs more than it brings.
const THREAD_WORK: usize = 1 << 18;

/// A matrix in a slice, with any strides: swapping rows and columns transposes it.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    size: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// The matrix of `rows` x `columns` with element (i, j) at `data[i * strides[0] + j * strides[1]]`.
    ///
    /// # Errors
    /// When an element lies behind the end of `data`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, strides: [usize; 2]) -> Result<Self, KernelError> {
        let last = |count: usize, stride: usize| count.saturating_sub(1).checked_mul(stride);
        let end = last(rows, strides[0])
            .zip(last(columns, strides[1]))
            .and_then(|(i, j)| i.checked_add(j));
        if rows == 0 || columns == 0 || end.is_some_and(|end| end < data.len()) {
            Ok(Self {
                data,
                size: [rows, columns],
                strides,
            })
        } else {
            Err(KernelError::Matrix {
                rows,
                columns,
                strides,
                found: data.len(),
            })
        }
    }

    /// The row-major matrix that fills `data`.
    ///
    /// # Errors
    /// When `data` is too short.
    pub fn row_major(data: &'a [f32], rows: usize, columns: usize) -> Result<Self, KernelError> {
        Self::new(data, rows, columns, [columns, 1])
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, across]) = (self.size, self.strides);
        Self {
            data: self.data,
            size: [columns, rows],
            strides: [across, down],
        }
    }

    /// Rows, or columns, from `start` on for `count`.
    fn band(self, axis: usize, start: usize, count: usize) -> Self {
        let mut size = self.size;
        size[axis] = count;
        let skipped = if size.contains(&0) {
            self.data.len()
        } else {
            start * self.strides[axis]
        };
        Self {
            data: &self.data[skipped..],
            size,
            strides: self.strides,
        }
    }
}

/// `output = a · b`, row-major: element (i, j) is the fold `acc = fma(a[i][k], b[k][j], acc)` from +0 for ascending k,
/// its NaN canonical. `threads` is an upper bound.
///
/// # Errors
/// When the sizes do not fit each other.
pub fn matmul(isa: Isa, threads: usize, a: Matrix<'_>, b: Matrix<'_>, output: &mut [f32]) -> Result<(), KernelError> {
    let [rows, columns] = [a.size[0], b.size[1]];
    if a.size[1] != b.size[0] || rows.checked_mul(columns) != Some(output.len()) {
        return Err(KernelError::Product {
            left: a.size,
            right: b.size,
            found: output.len(),
        });
    }
    if output.is_empty() {
        return Ok(());
    }
    let work = output.len().saturating_mul(a.size[1]);
    let threads = threads.min(work / THREAD_WORK).max(1);
    // The longer side is cut. Bands are whole tiles, so that only the last has ragged ones.
    let cut = usize::from(columns > rows);
    let band = [rows, columns][cut].div_ceil(threads).next_multiple_of(TILE[cut]);
    if band >= [rows, columns][cut] {
        multiply(isa, a, b, output);
    } else if cut == 0 {
        std::thread::scope(|scope| {
            for (i, output) in output.chunks_mut(band * columns).enumerate() {
                let a = a.band(0, i * band, output.len() / columns);
                scope.spawn(move || multiply(isa, a, b, output));
            }
        });
    } else {
        // Bands of columns are not contiguous in the output: each thread fills its own matrix.
        let mut parts: Vec<(usize, Vec<f32>)> = (0..columns)
            .step_by(band)
            .map(|start| (start, vec![0.0; rows * band.min(columns - start)]))
            .collect();
        std::thread::scope(|scope| {
            for (start, part) in &mut parts {
                let b = b.band(1, *start, part.len() / rows);
                scope.spawn(move || multiply(isa, a, b, part));
            }
        });
        for (start, part) in &parts {
            let width = part.len() / rows;
            for (row, part) in output.chunks_exact_mut(columns).zip(part.chunks_exact(width)) {
                row[*start..start + width].copy_from_slice(part);
            }
        }
    }
    Ok(())
}

/// The product on one thread. Neither side of the output is empty.
fn multiply(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, output: &mut [f32]) {
    match isa.0 {
        Level::Scalar => blocked::<4, 8>(tile_scalar, a, b, output),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => blocked::<6, 16>(
            // SAFETY: an `Isa` of this level exists only where AVX2 and FMA were detected.
            |a, b, c, stride| unsafe { x86::tile_avx2(a, b, c, stride) },
            a,
            b,
            output,
        ),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => blocked::<12, 32>(
            // SAFETY: an `Isa` of this level exists only where AVX-512 F was detected.
            |a, b, c, stride| unsafe { x86::tile_avx512(a, b, c, stride) },
            a,
            b,
            output,
        ),
    }
}

/// Runs `tile(a, b, c, stride)` over the output: it continues the chains of the `R` x `C` tile at the start of `c`,
/// whose rows are `stride` apart, by the k steps of the packed panels `a` and `b`.
fn blocked<const R: usize, const C: usize>(
    tile: impl Fn(&[[f32; R]], &[[f32; C]], &mut [f32], usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    output: &mut [f32],
) {
    let ([rows, depth], columns) = (a.size, b.size[1]);
    output.fill(0.0);
    let mut packed_a = vec![[0.0; R]; BLOCK_K.min(depth) * BLOCK_ROWS.min(rows).div_ceil(R)];
    let mut packed_b = vec![[0.0; C]; BLOCK_K.min(depth) * BLOCK_COLUMNS.min(columns).div_ceil(C)];
    for left in (0..columns).step_by(BLOCK_COLUMNS) {
        let width = BLOCK_COLUMNS.min(columns - left);
        for first in (0..depth).step_by(BLOCK_K) {
            let steps = BLOCK_K.min(depth - first);
            let block = b.band(1, left, width).transposed().band(1, first, steps);
            pack(block, &mut packed_b);
            for top in (0..rows).step_by(BLOCK_ROWS) {
                let height = BLOCK_ROWS.min(rows - top);
                pack(a.band(0, top, height).band(1, first, steps), &mut packed_a);
                for (j, panel_b) in (0..width).step_by(C).zip(packed_b.chunks_exact(steps)) {
                    for (i, panel_a) in (0..height).step_by(R).zip(packed_a.chunks_exact(steps)) {
                        let c = &mut output[(top + i) * columns + left + j..];
                        if height - i >= R && width - j >= C {
                            tile(panel_a, panel_b, c, columns);
                        } else {
                            // A ragged tile is worked on in a copy.
                            let (high, wide) = (R.min(height - i), C.min(width - j));
                            let mut copy = [[0.0; C]; R];
                            for (row, c) in copy.iter_mut().zip(c.chunks(columns)).take(high) {
                                row[..wide].copy_from_slice(&c[..wide]);
                            }
                            tile(panel_a, panel_b, copy.as_flattened_mut(), C);
                            for (row, c) in copy.iter().zip(c.chunks_mut(columns)).take(high) {
                                c[..wide].copy_from_slice(&row[..wide]);
                            }
                        }
                    }
                }
            }
        }
    }
    for value in output {
        *value = canonical(*value);
    }
}

/// Packs panels of `N` rows, each column of a panel together, filled up with zeros. (Rows of zeros only ever reach
/// elements that are thrown away.)
fn pack<const N: usize>(matrix: Matrix<'_>, packed: &mut [[f32; N]]) {
    let ([rows, columns], [down, across]) = (matrix.size, matrix.strides);
    for (top, panel) in (0..rows).step_by(N).zip(packed.chunks_exact_mut(columns)) {
        let high = N.min(rows - top);
        let data = &matrix.data[top * down..];
        for (j, packed) in panel.iter_mut().enumerate() {
            let column = &data[j * across..];
            if down == 1 && high == N {
                packed.copy_from_slice(&column[..N]);
            } else {
                for (i, value) in packed.iter_mut().enumerate() {
                    *value = if i < high { column[i * down] } else { 0.0 };
                }
            }
        }
    }
}

fn tile_scalar(a: &[[f32; 4]], b: &[[f32; 8]], c: &mut [f32], stride: usize) {
    let mut sums = [[0.0; 8]; 4];
    for (row, c) in sums.iter_mut().zip(c.chunks(stride)) {
        row.copy_from_slice(&c[..8]);
    }
    for (a, b) in a.iter().zip(b) {
        for (row, a) in sums.iter_mut().zip(a) {
            for (sum, b) in row.iter_mut().zip(b) {
                *sum = a.mul_add(*b, *sum);
            }
        }
    }
    for (row, c) in sums.iter().zip(c.chunks_mut(stride)) {
        c[..8].copy_from_slice(row);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::mem::transmute;

    /// A tile of `$rows` x 2 vectors of `$lanes`, all in registers.
    macro_rules! tile {
        ($name:ident, $features:literal, $vector:ty, $rows:literal, $lanes:literal, $set:ident, $fma:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(a: &[[f32; $rows]], b: &[[f32; 2 * $lanes]], c: &mut [f32], stride: usize) {
                // Vectors are moved as arrays: the intrinsics for loading and storing take pointers, and their checks
                // in builds with debug assertions cost half the speed.
                // SAFETY: an array of `lanes` f32 and a vector have the same size, and any bits are valid in both.
                let load = |from: &[f32; $lanes]| unsafe { transmute::<[f32; $lanes], $vector>(*from) };
                // SAFETY: as above.
                let store = |vector: $vector| unsafe { transmute::<$vector, [f32; $lanes]>(vector) };
                let mut sums = [[$set(0.0); 2]; $rows];
                for (row, c) in sums.iter_mut().zip(c.chunks(stride)) {
                    let c = c[..2 * $lanes].as_chunks().0;
                    *row = [load(&c[0]), load(&c[1])];
                }
                for (a, b) in a.iter().zip(b) {
                    let b = b.as_chunks().0;
                    let (left, right) = (load(&b[0]), load(&b[1]));
                    for (row, a) in sums.iter_mut().zip(a) {
                        let a = $set(*a);
                        row[0] = $fma(a, left, row[0]);
                        row[1] = $fma(a, right, row[1]);
                    }
                }
                for (row, c) in sums.iter().zip(c.chunks_mut(stride)) {
                    let c = c[..2 * $lanes].as_chunks_mut().0;
                    c[0] = store(row[0]);
                    c[1] = store(row[1]);
                }
            }
        };
    }

    tile!(tile_avx2, "avx2,fma", __m256, 6, 8, _mm256_set1_ps, _mm256_fmadd_ps);
    tile!(tile_avx512, "avx512f", __m512, 12, 16, _mm512_set1_ps, _mm512_fmadd_ps);
}
