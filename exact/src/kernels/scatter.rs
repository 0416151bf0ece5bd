//! Scatters of whole rows, the gradient of a gather: each update is added to the row that its index names.
//!
//! One pass over k adds every row where it belongs, so each element sees its updates in ascending k, as the definition
//! has it, without looking at those of the others.

use super::Isa;
use super::affine::{Affine, Axis, joined, offsets};
use super::contraction::{BLOCK, steps};
use super::pool::Pool;
use super::shared::Shared;
use super::simd::{Simd, Work, copy_strided};
use crate::definition::{Coordinate, Primitive, View, whole};
use std::ops::Range;

/// Columns that one task adds in: whole vectors of every level.
const COLUMNS: usize = 64;

/// A scatter whose coordinate is one axis of the output, which the views do not read.
#[derive(Clone, Debug)]
pub(super) struct Scatter {
    indices: Affine,
    updates: Affine,
    /// Strides in both.
    reduced: Vec<Axis<2>>,
    depth: usize,
    /// How many rows there are, and how far apart they are in the output.
    rows: usize,
    pitch: isize,
    /// The axes of a row but the last: offsets in the updates and in the output.
    outer: Vec<[isize; 2]>,
    inner: Axis<2>,
}

impl Scatter {
    pub(super) fn new(primitive: &Primitive, indices: &View, updates: &View, at: &Coordinate) -> Option<Self> {
        let (output, reduced) = (primitive.output(), primitive.reduced());
        let loops = [output, reduced].concat();
        let mut moving = (0..loops.len()).filter(|axis| loops[*axis] > 1 && at.coefficients[*axis] != 0);
        let (axis, None) = (moving.next()?, moving.next()) else {
            return None;
        };
        if axis >= output.len() || at.coefficients[axis] != 1 || at.offset != 0 || at.divisor != 1 {
            return None;
        }
        let indices = Affine::new(indices, &loops, primitive.elements())?;
        let updates = Affine::new(updates, &loops, primitive.elements())?;
        if indices.strides[..output.len()].iter().any(|stride| *stride != 0) || updates.strides[axis] != 0 {
            return None;
        }
        let mut pitches = vec![1isize; output.len()];
        for i in (1..output.len()).rev() {
            pitches[i - 1] = pitches[i] * isize::try_from(output[i]).ok()?;
        }
        let others = (0..output.len()).filter(|other| *other != axis).map(|other| Axis {
            extent: output[other],
            strides: [updates.strides[other], pitches[other]],
        });
        let mut others = joined(others);
        let inner = others.pop().unwrap_or(Axis {
            extent: 1,
            strides: [1, 1],
        });
        if inner.strides[1] != 1 {
            return None;
        }
        let reduced = reduced.iter().enumerate().map(|(i, extent)| Axis {
            extent: *extent,
            strides: [indices.strides[output.len() + i], updates.strides[output.len() + i]],
        });
        Some(Self {
            reduced: joined(reduced),
            depth: primitive.terms(),
            rows: output[axis],
            pitch: pitches[axis],
            outer: offsets(&others),
            inner,
            indices,
            updates,
        })
    }

    pub(super) fn run(&self, isa: Isa, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) {
        let indices = self.indices.data(isa, pool, inputs[0]);
        let updates = self.updates.data(isa, pool, inputs[1]);
        let each = self.inner.extent.div_ceil(pool.threads()).next_multiple_of(COLUMNS);
        let output = Shared::new(output);
        pool.run(self.inner.extent.div_ceil(each), |task| {
            isa.enter(Part {
                scatter: self,
                indices: indices.as_ptr().wrapping_offset(self.indices.base),
                updates: updates.as_ptr().wrapping_offset(self.updates.base),
                output: output.pointer(),
                columns: task * each..self.inner.extent.min((task + 1) * each),
            });
        });
    }
}

/// Some columns of all rows: what one task does.
struct Part<'a> {
    scatter: &'a Scatter,
    indices: *const f32,
    updates: *const f32,
    output: *mut f32,
    columns: Range<usize>,
}

impl Work for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let scatter = self.scatter;
        let (first, count) = (self.columns.start as isize, self.columns.len());
        let stride = scatter.inner.strides[0];
        for row in 0..scatter.rows as isize {
            for [_, output] in &scatter.outer {
                let to = self.output.wrapping_offset(row * scatter.pitch + output + first);
                // SAFETY: the columns lie within each row of the output and belong to this task.
                unsafe { copy_strided::<S>(&0.0, 0, to, count) };
            }
        }
        let mut tables = [[0; BLOCK]; 2];
        for start in (0..scatter.depth).step_by(BLOCK) {
            let steps_here = BLOCK.min(scatter.depth - start);
            let [indices, updates] = &mut tables;
            steps(
                &scatter.reduced,
                start,
                [&mut indices[..steps_here], &mut updates[..steps_here]],
            );
            for (index, update) in indices.iter().zip(updates.iter()).take(steps_here) {
                // SAFETY: the view was checked to stay inside for the whole loop.
                let row = whole(unsafe { *self.indices.wrapping_offset(*index) });
                let Some(row) = row
                    .and_then(|row| usize::try_from(row).ok())
                    .filter(|row| *row < scatter.rows)
                else {
                    continue;
                };
                for [from, to] in &scatter.outer {
                    let from = self.updates.wrapping_offset(update + from + stride * first);
                    let to = self.output.wrapping_offset(row as isize * scatter.pitch + to + first);
                    for left in (0..count).step_by(S::LANES) {
                        let lanes = S::LANES.min(count - left);
                        let (from, to) = (from.wrapping_offset(stride * left as isize), to.wrapping_add(left));
                        // SAFETY: as above, and called in the level's `Work`.
                        unsafe {
                            let x = match stride {
                                0 => S::splat(*from),
                                1 => S::load_first(from, lanes),
                                _ => S::load_strided(from, stride, lanes),
                            };
                            // A NaN stays one, whether it is made canonical now or at the end.
                            let sum = S::canonical(S::add(S::load_first(to, lanes), x));
                            S::store_first(to, sum, lanes);
                        }
                    }
                }
            }
        }
    }
}
