//! Contractions: one ordered chain of fused multiply-adds for each output element.
//!
//! The output's axes are told apart by which operand reads them: *batch* axes are read by both, *rows* by one, *columns*
//! by the other. So a matrix product, a convolution and both its gradients are the same thing: rows times columns, with
//! offsets instead of strides. Columns become the lanes of vectors; a tile of the output lives in registers while k
//! runs. The rows' operand is read where it lies, one number at a time; so is the columns' operand where its lanes are
//! contiguous, otherwise a panel of it is packed first.
//!
//! Where k is cut into blocks, the tile is stored and loaded again, which changes no bit: each element sees k ascending
//! from 0, exactly once. Which of two factors comes first does not matter either. Tasks own tiles of the output, never a
//! part of k.

mod lanes;
mod pack;
mod tile;

use super::affine::{Affine, Axis, joined, offsets};
use super::pool::Pool;
use super::scratch::Scratch;
use super::shared::Shared;
use super::simd::{Simd, Work, copy};
use super::{Isa, simd};
use crate::definition::{Primitive, View};
pub(super) use lanes::{Panel, Segment};
pub(super) use pack::pack;

use lanes::Lanes;
use std::ops::Range;
use std::sync::OnceLock;
use tile::{MAX_ROWS, Tile};

/// The most steps of k that a packed panel holds.
pub(super) const BLOCK: usize = 256;
/// Panels that are worked on while the same block of k.
const PANELS: usize = 16;
/// Below this many multiply-adds another task costs more than it brings.
const TASK: usize = 1 << 19;

/// A contraction, told apart into rows, columns and batch.
#[derive(Clone, Debug)]
pub(super) struct Contraction {
    /// The rows' operand and the columns', and which inputs they are.
    operands: [Affine; 2],
    inputs: [usize; 2],
    /// Offsets of each batch in the rows' operand, the columns' and the output.
    batch: Vec<[isize; 3]>,
    /// Offsets of each row in its operand and in the output.
    rows: Vec<[isize; 2]>,
    /// Strides in the columns' operand and in the output.
    columns: Vec<Axis<2>>,
    /// Strides in both operands.
    reduced: Vec<Axis<2>>,
    depth: usize,
    /// The columns as panels, for each number of lanes.
    lanes: [OnceLock<Lanes>; 2],
}

impl Contraction {
    pub(super) fn new(primitive: &Primitive, a: &View, b: &View) -> Option<Self> {
        let loops: Vec<usize> = [primitive.output(), primitive.reduced()].concat();
        let affine = |view| Affine::new(view, &loops, primitive.elements());
        let operands = [affine(a)?, affine(b)?];
        let plans = [
            Self::arranged(primitive, &operands, 0),
            Self::arranged(primitive, &operands, 1),
        ];
        plans.into_iter().min_by_key(Self::cost)
    }

    /// The contraction with input `lanes` as the columns' operand.
    fn arranged(primitive: &Primitive, operands: &[Affine; 2], lanes: usize) -> Self {
        let inputs = [1 - lanes, lanes];
        let operands = inputs.map(|input| operands[input].clone());
        let mut axes = [vec![], vec![], vec![]];
        let mut stride = 1isize;
        for (axis, extent) in primitive.output().iter().enumerate().rev() {
            let strides = [operands[0].strides[axis], operands[1].strides[axis], stride];
            stride *= *extent as isize;
            let kind = match (strides[0] != 0, strides[1] != 0) {
                (true, true) => 0,
                (_, false) => 1,
                (false, true) => 2,
            };
            let extent = *extent;
            axes[kind].insert(0, Axis { extent, strides });
        }
        let [batch, rows, columns] = axes;
        let outputs = primitive.output().len();
        let reduced = primitive.reduced().iter().enumerate().map(|(i, extent)| Axis {
            extent: *extent,
            strides: [operands[0].strides[outputs + i], operands[1].strides[outputs + i]],
        });
        let two = |axis: Axis<3>, operand: usize| Axis {
            extent: axis.extent,
            strides: [axis.strides[operand], axis.strides[2]],
        };
        Self {
            batch: offsets(&batch),
            rows: offsets(&joined(rows.into_iter().map(|axis| two(axis, 0)))),
            columns: joined(columns.into_iter().map(|axis| two(axis, 1))),
            reduced: joined(reduced),
            depth: primitive.terms(),
            lanes: Default::default(),
            operands,
            inputs,
        }
    }

    /// About how many cycles a step of k takes, times a constant.
    fn cost(&self) -> usize {
        let columns = self.columns.iter().map(|axis| axis.extent).product::<usize>();
        let rows = self.rows.len();
        let vectors = columns.div_ceil(simd::MAX_LANES);
        // A multiply-add takes half a cycle, or four where the chains are too few.
        let chains = (rows.min(MAX_ROWS) * vectors).min(8);
        let multiply = rows * vectors * 8 / chains * 8;
        let contiguous = self.columns.last().is_none_or(|axis| axis.strides[0] == 1);
        let transposable = self
            .reduced
            .last()
            .is_some_and(|axis| axis.strides[1] == 1 && axis.extent >= 4);
        let pack = columns
            * match (contiguous, transposable) {
                (true, _) => 1,
                (false, true) => 5,
                (false, false) => 20,
            };
        let spread = self.columns.last().is_some_and(|axis| axis.strides[1] != 1);
        let store = if spread {
            16 * rows * columns / self.depth.max(1)
        } else {
            0
        };
        multiply + pack + store
    }

    /// Whether there are hardly any rows and columns: nothing that a tile could share.
    pub(super) fn is_batch(&self) -> bool {
        let columns = self.columns.iter().map(|axis| axis.extent).product::<usize>();
        self.batch.len() > 1 && self.rows.len() * columns < simd::MAX_LANES
    }

    /// How many vectors wide a panel is.
    fn vectors<S: Simd>(&self) -> usize {
        let columns = self.columns.iter().map(|axis| axis.extent).product::<usize>();
        let most = columns.div_ceil(S::LANES).next_power_of_two();
        tile::vectors::<S>(self.rows.len()).min(most)
    }

    pub(super) fn run(&self, isa: Isa, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) {
        let [rows, columns] = [0, 1].map(|i| self.operands[i].data(isa, pool, inputs[self.inputs[i]]));
        isa.enter(Run {
            contraction: self,
            isa,
            pool,
            rows: &rows,
            columns: &columns,
            output,
        });
    }
}

/// Cuts a contraction into tasks.
struct Run<'a> {
    contraction: &'a Contraction,
    isa: Isa,
    pool: &'a Pool,
    rows: &'a [f32],
    columns: &'a [f32],
    output: &'a mut [f32],
}

impl Work for Run<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self {
            contraction, isa, pool, ..
        } = self;
        let vectors = contraction.vectors::<S>();
        let width = vectors * S::LANES;
        let lanes = contraction.lanes[usize::from(S::LANES > 8)]
            .get_or_init(|| Lanes::new(&contraction.columns, width, S::LANES));
        let panels = contraction.batch.len() * lanes.groups.len() * lanes.panels.len();
        let tiles = contraction.rows.len().div_ceil(tile::rows::<S>(vectors));
        // Panels first; rows are cut as well where there are too few panels for all threads.
        let panel = contraction.rows.len().saturating_mul(contraction.depth * width);
        let wanted = match pool.threads() {
            1 => 1,
            threads => (panel.saturating_mul(panels) / TASK).clamp(1, 4 * threads),
        };
        let panels_each = panels.div_ceil(wanted);
        let across = panels.div_ceil(panels_each);
        let down = wanted.div_ceil(across).min(tiles);
        let tiles_each = tiles.div_ceil(down);
        let down = tiles.div_ceil(tiles_each);
        let output = Shared::new(self.output);
        pool.run(across * down, |task| {
            let first = task / down * panels_each;
            let top = task % down * tiles_each;
            isa.enter(Part {
                contraction,
                lanes,
                vectors,
                rows: self.rows.as_ptr().wrapping_offset(contraction.operands[0].base),
                columns: self.columns.as_ptr().wrapping_offset(contraction.operands[1].base),
                output: output.pointer(),
                panels: first..panels.min(first + panels_each),
                tiles: top..tiles.min(top + tiles_each),
                all_tiles: tiles,
            });
        });
    }
}

/// Some panels by some tiles: what one task does.
struct Part<'a> {
    contraction: &'a Contraction,
    lanes: &'a Lanes,
    vectors: usize,
    rows: *const f32,
    columns: *const f32,
    output: *mut f32,
    panels: Range<usize>,
    tiles: Range<usize>,
    all_tiles: usize,
}

impl Part<'_> {
    /// The rows of a tile: all tiles are about equally high.
    fn rows(&self, tile: usize) -> &[[isize; 2]] {
        let rows = &self.contraction.rows;
        &rows[tile * rows.len() / self.all_tiles..(tile + 1) * rows.len() / self.all_tiles]
    }

    /// The offset of a panel's lanes, if they can be read where they lie.
    fn in_place(&self, panel: &Panel, vector: usize) -> Option<isize> {
        let far = self
            .contraction
            .reduced
            .last()
            .is_some_and(|axis| axis.strides[1].unsigned_abs() >= 256);
        let whole = panel.count / vector;
        let fits = panel.count.is_multiple_of(vector) && whole.is_power_of_two();
        panel
            .contiguous_source()
            .filter(|_| fits && !(far && self.tiles.len() >= 4))
    }
}

impl Work for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let contraction = self.contraction;
        let width = self.vectors * S::LANES;
        let depth = contraction.depth;
        let block = depth.div_ceil(depth.div_ceil(BLOCK));
        let mut packed = Scratch::new(block * width);
        let packed_steps: [isize; BLOCK] = std::array::from_fn(|k| (k * width) as isize);
        let mut row_steps = [0; BLOCK];
        let mut lane_steps = [0; BLOCK];
        // Tiles that do not lie in the output as they are, row after row of each panel.
        let heights: usize = self.tiles.clone().map(|tile| self.rows(tile).len()).sum();
        let mut copies = Scratch::new(heights * width * PANELS.min(self.panels.len()));
        for panels in self.panels.clone().step_by(PANELS) {
            let panels = panels..self.panels.end.min(panels + PANELS);
            for first in (0..depth).step_by(block) {
                let count = block.min(depth - first);
                steps(
                    &contraction.reduced,
                    first,
                    [&mut row_steps[..count], &mut lane_steps[..count]],
                );
                let (row_steps, lane_steps) = (&row_steps[..count], &lane_steps[..count]);
                for (index, copies) in panels.clone().zip(copies.chunks_exact_mut(heights * width)) {
                    let panel = &self.lanes.panels[index % self.lanes.panels.len()];
                    let outer = index / self.lanes.panels.len();
                    let [group, group_output] = self.lanes.groups[outer % self.lanes.groups.len()];
                    let [batch_rows, batch, batch_output] = contraction.batch[outer / self.lanes.groups.len()];
                    let base = group + batch;
                    let vectors = panel.count.div_ceil(S::LANES).next_power_of_two();
                    let (lanes, lane_steps) = if let Some(start) = self.in_place(panel, S::LANES) {
                        (self.columns.wrapping_offset(base + start), lane_steps)
                    } else {
                        // SAFETY: the panel's lanes are elements of the operand at every step, as its strides were
                        // checked to stay inside for the whole loop; `packed` was made that large.
                        unsafe { pack::<S>(panel, self.columns, base, lane_steps, width, &mut packed) };
                        (packed.as_ptr(), &packed_steps[..count])
                    };
                    let mut copies = copies;
                    for rows in self.tiles.clone().map(|tile| self.rows(tile)) {
                        let copy_of_tile;
                        (copy_of_tile, copies) = copies.split_at_mut(rows.len() * width);
                        let mut starts = [std::ptr::null(); MAX_ROWS];
                        let mut outputs = [std::ptr::null_mut(); MAX_ROWS];
                        let mut places = [std::ptr::null_mut(); MAX_ROWS];
                        for (i, [operand, output]) in rows.iter().enumerate() {
                            starts[i] = self.rows.wrapping_offset(batch_rows + operand);
                            outputs[i] = self.output.wrapping_offset(batch_output + group_output + output);
                        }
                        let whole = panel.contiguous_output().filter(|_| panel.count == vectors * S::LANES);
                        let tile = |outputs| Tile {
                            rows: &starts[..rows.len()],
                            row_steps,
                            lanes,
                            lane_steps,
                            outputs,
                            first: first == 0,
                            last: first + count == depth,
                        };
                        if let Some(start) = whole {
                            for (place, output) in places.iter_mut().zip(outputs) {
                                *place = output.wrapping_offset(start);
                            }
                            // SAFETY: rows and lanes are elements of their operands at every step, the output has all
                            // lanes of all rows, and they belong to this task.
                            unsafe { tile::run::<S>(vectors, tile(&places[..rows.len()])) };
                            continue;
                        }
                        // Lanes that are not neighbours in the output, or are none at all, are worked on in a copy.
                        for (place, row) in places.iter_mut().zip(copy_of_tile.chunks_exact_mut(width)) {
                            *place = row.as_mut_ptr();
                        }
                        let outputs = &outputs[..rows.len()];
                        // SAFETY: as above, but that the copy is the output; the segments' elements belong to this task.
                        unsafe {
                            tile::run::<S>(vectors, tile(&places[..rows.len()]));
                            if first + count == depth {
                                for (output, place) in outputs.iter().zip(places) {
                                    panel.outputs.iter().for_each(|s| s.store::<S>(place, *output));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Segment {
    /// Copies the segment's lanes in `tile` to their elements of `output`.
    ///
    /// # Safety
    /// Both have these elements, and this is called in the level's `Work`.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, tile: *const f32, output: *mut f32) {
        let output = output.wrapping_offset(self.offset);
        // SAFETY: the caller's promise.
        unsafe {
            if self.stride == 1 {
                return copy::<S>(tile.add(self.lane), output, self.count);
            }
            for i in 0..self.count {
                *output.wrapping_offset(self.stride.wrapping_mul(i as isize)) = *tile.add(self.lane + i);
            }
        }
    }
}

/// Writes the offsets of the steps from `first` on: for each list of strides as many as there is room for.
pub(super) fn steps<const N: usize>(reduced: &[Axis<N>], first: usize, mut offsets: [&mut [isize]; N]) {
    let wanted = offsets.first().map_or(0, |steps| steps.len());
    let Some((inner, outer)) = reduced.split_last() else {
        return offsets.iter_mut().for_each(|steps| steps.fill(0));
    };
    let mut done = 0;
    while done < wanted {
        let at = first + done;
        let (mut index, start) = (at / inner.extent, at % inner.extent);
        let mut offset = inner.strides.map(|stride| stride * start as isize);
        for axis in outer.iter().rev() {
            for (offset, stride) in offset.iter_mut().zip(axis.strides) {
                *offset += stride * (index % axis.extent) as isize;
            }
            index /= axis.extent;
        }
        let count = (inner.extent - start).min(wanted - done);
        for (steps, (offset, stride)) in offsets.iter_mut().zip(offset.into_iter().zip(inner.strides)) {
            for (i, step) in steps[done..done + count].iter_mut().enumerate() {
                *step = offset.wrapping_add(stride.wrapping_mul(i as isize));
            }
        }
        done += count;
    }
}
