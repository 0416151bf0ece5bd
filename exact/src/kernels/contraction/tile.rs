//! The innermost loop: a few rows by a few vectors of outputs, held in registers while k runs.

use super::super::simd::{Simd, Work};

/// The most rows of a tile.
pub(super) const MAX_ROWS: usize = 12;

/// A tile of `R` rows of `V` vectors.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// Where each row's operand starts; step k reads the element `row_steps[k]` further on.
    pub(super) rows: &'a [*const f32],
    pub(super) row_steps: &'a [isize],
    /// Where the vectors' operand starts; step k reads the vectors `lane_steps[k]` further on.
    pub(super) lanes: *const f32,
    pub(super) lane_steps: &'a [isize],
    /// Where each row of the output starts.
    pub(super) outputs: &'a [*mut f32],
    /// Whether the chains start here, and whether they end here.
    pub(super) first: bool,
    pub(super) last: bool,
}

/// How many vectors a tile that many rows high may be wide, as a power of two: few rows take more vectors, so that there
/// are enough independent chains to hide the latency of a multiply-add.
pub(super) const fn vectors<S: Simd>(rows: usize) -> usize {
    match (rows, S::REGISTERS >= 32) {
        (1, true) => 8,
        (2 | 3, true) | (1, false) => 4,
        _ => 2,
    }
}

/// How many rows a tile that many vectors wide may be high.
pub(super) const fn rows<S: Simd>(vectors: usize) -> usize {
    match (vectors, S::REGISTERS >= 32) {
        (1, _) | (2, true) => MAX_ROWS,
        (2, false) => 6,
        (4, true) => 6,
        (4, false) => 2,
        (_, true) => 2,
        (_, false) => 1,
    }
}

/// Continues the chains of a tile `vectors` wide, by the steps that `row_steps` and `lane_steps` list.
///
/// # Safety
/// `rows` and `outputs` are of one length, at most `rows(vectors)`. Every row has elements at all its steps, the lanes
/// have `vectors` whole vectors at all theirs, and so has every output; nothing else uses those of the outputs.
#[inline(always)]
pub(super) unsafe fn run<S: Simd>(vectors: usize, tile: Tile<'_>) {
    macro_rules! sizes {
        ($($v:literal: $($r:literal)*;)*) => {
            match (vectors, tile.rows.len()) {
                // SAFETY: called within the level's `Work`, and the size is the arm's.
                $($(($v, $r) => unsafe { S::call(Sized::<$r, $v>(tile)) },)*)*
                _ => unreachable!("a tile of no size"),
            }
        };
    }
    sizes! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12;
        2: 1 2 3 4 5 6 7 8 9 10 11 12;
        4: 1 2 3 4 5 6;
        8: 1 2;
    }
}

struct Sized<'a, const R: usize, const V: usize>(Tile<'a>);

impl<const R: usize, const V: usize> Work for Sized<'_, R, V> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        if const { R > rows::<S>(V) } {
            return;
        }
        let tile = self.0;
        let (Ok(rows), Ok(outputs)) = (<&[_; R]>::try_from(tile.rows), <&[_; R]>::try_from(tile.outputs)) else {
            return;
        };
        // SAFETY: `run`'s caller promises that all these elements exist.
        unsafe {
            let mut sums = [[S::splat(0.0); V]; R];
            if !tile.first {
                for (sums, output) in sums.iter_mut().zip(outputs) {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(output.add(v * S::LANES));
                    }
                }
            }
            for (row_step, lane_step) in tile.row_steps.iter().zip(tile.lane_steps) {
                let lanes = tile.lanes.wrapping_offset(*lane_step);
                let mut right = [S::splat(0.0); V];
                for (v, right) in right.iter_mut().enumerate() {
                    *right = S::load(lanes.wrapping_add(v * S::LANES));
                }
                for (sums, row) in sums.iter_mut().zip(rows) {
                    S::fma_row(*row, *row_step, &right, sums);
                }
            }
            for (sums, output) in sums.iter().zip(outputs) {
                for (v, sum) in sums.iter().enumerate() {
                    let sum = if tile.last { S::canonical(*sum) } else { *sum };
                    S::store(output.add(v * S::LANES), sum);
                }
            }
        }
    }
}
