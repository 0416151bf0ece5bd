//! Layouts: boxes of the output that are copied from strided inputs.

use super::Isa;
use super::affine::{Axis, joined};
use super::pool::Pool;
use super::shared::Shared;
use super::simd::{MAX_LANES, Simd, Work, copy_canonical};
use super::walk::Walk;
use crate::arith::canonical;
use crate::definition::{Primitive, View};
use std::ops::Range;

/// Elements that are worth a task.
const TASK: usize = 1 << 15;

/// Boxes to be copied, the last one first, into an output that may have to be filled before.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    fill: Option<f32>,
    pieces: Vec<Piece>,
}

/// A box.
#[derive(Clone, Debug)]
struct Piece {
    input: usize,
    /// Offsets of the first element in the input and in the output, and the strides.
    base: [isize; 2],
    axes: Vec<Axis<2>>,
}

impl Layout {
    /// `None` if what some view reads is no box.
    pub(super) fn new(primitive: &Primitive, views: &[View]) -> Option<Self> {
        let output = primitive.output();
        let boxes = views
            .iter()
            .map(|view| inside(view, output))
            .collect::<Option<Vec<_>>>()?;
        let volume = |ranges: &Vec<Range<i64>>| -> i64 { ranges.iter().map(|range| range.end - range.start).product() };
        let disjoint = |a: &Vec<Range<i64>>, b: &Vec<Range<i64>>| {
            volume(a) == 0 || volume(b) == 0 || a.iter().zip(b).any(|(a, b)| a.end <= b.start || b.end <= a.start)
        };
        let apart = (1..boxes.len()).all(|i| boxes[..i].iter().all(|other| disjoint(other, &boxes[i])));
        // Only of boxes apart from each other is the sum bounded.
        let whole = apart && usize::try_from(boxes.iter().map(volume).sum::<i64>()) == Ok(primitive.elements());
        let pieces = views.iter().zip(&boxes).enumerate();
        Some(Self {
            fill: views.last().map(|view| canonical(view.outside)).filter(|_| !whole),
            pieces: pieces
                .filter(|(_, (_, ranges))| volume(ranges) > 0)
                .map(|(input, (view, ranges))| Piece::new(input, view, ranges, output))
                .collect::<Option<_>>()?,
        })
    }

    pub(super) fn run(&self, isa: Isa, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) {
        if let Some(value) = self.fill {
            let elements = output.len();
            let output = Shared::new(output);
            pool.run(elements.div_ceil(TASK), |task| {
                // SAFETY: the parts of different tasks do not overlap.
                unsafe { output.part(task * TASK..elements.min((task + 1) * TASK)) }.fill(value);
            });
        }
        let output = Shared::new(output);
        for piece in self.pieces.iter().rev() {
            let elements: usize = piece.axes.iter().map(|axis| axis.extent).product();
            // The first axis is cut, unless it is the only one.
            let rows = if piece.axes.len() > 1 { piece.axes[0].extent } else { 1 };
            let tasks = (elements / TASK).clamp(1, rows);
            pool.run(tasks, |task| {
                let rows = rows * task / tasks..rows * (task + 1) / tasks;
                isa.enter(Part {
                    piece,
                    rows,
                    input: inputs[piece.input].as_ptr(),
                    output: output.pointer(),
                });
            });
        }
    }
}

/// Where the view stays inside its input, as ranges of the loop axes, if that is a box.
fn inside(view: &View, output: &[usize]) -> Option<Vec<Range<i64>>> {
    let mut ranges = Vec::with_capacity(output.len());
    for extent in output {
        ranges.push(0..i64::try_from(*extent).ok()?);
    }
    for (extent, coordinate) in view.shape.iter().zip(&view.coordinates) {
        if coordinate.divisor != 1 {
            return None;
        }
        let extent = i64::try_from(*extent).ok()?;
        let (mut low, mut high) = (coordinate.offset, coordinate.offset);
        let mut moving = Vec::new();
        for (axis, (coefficient, count)) in coordinate.coefficients.iter().zip(output).enumerate() {
            if *coefficient != 0 && *count > 1 {
                let reach = coefficient * i64::try_from(count - 1).ok()?;
                low += reach.min(0);
                high += reach.max(0);
                moving.push((axis, *coefficient));
            }
        }
        if low >= 0 && high < extent {
            continue;
        }
        match moving[..] {
            // Without an axis there is no empty box.
            [] if ranges.is_empty() => return None,
            [] => ranges.iter_mut().for_each(|range| range.end = range.start),
            [(axis, coefficient)] => {
                // 0 ≤ offset + coefficient · at < extent.
                let (first, end) = if coefficient > 0 {
                    (-coordinate.offset, extent - coordinate.offset)
                } else {
                    (coordinate.offset - extent + 1, coordinate.offset + 1)
                };
                let up = |bound: i64| {
                    bound.div_euclid(coefficient.abs()) + i64::from(bound.rem_euclid(coefficient.abs()) > 0)
                };
                let range = &mut ranges[axis];
                range.start = range.start.max(up(first));
                range.end = range.end.min(up(end)).max(range.start);
            }
            _ => return None,
        }
    }
    Some(ranges)
}

impl Piece {
    fn new(input: usize, view: &View, ranges: &[Range<i64>], output: &[usize]) -> Option<Self> {
        let mut strides = vec![0; output.len()];
        let mut base = [0isize; 2];
        let mut pitch = 1isize;
        for (coordinate, extent) in view.coordinates.iter().zip(&view.shape).rev() {
            let mut start = coordinate.offset;
            for ((stride, coefficient), range) in strides.iter_mut().zip(&coordinate.coefficients).zip(ranges) {
                start += coefficient * range.start;
                if range.end - range.start > 1 {
                    *stride += isize::try_from(*coefficient).ok()?.checked_mul(pitch)?;
                }
            }
            base[0] += isize::try_from(start).ok()?.checked_mul(pitch)?;
            pitch = pitch.checked_mul(isize::try_from(*extent).ok()?)?;
        }
        let mut axes = Vec::with_capacity(output.len());
        let mut pitch = 1isize;
        for ((range, extent), stride) in ranges.iter().zip(output).zip(strides).rev() {
            base[1] += isize::try_from(range.start).ok()? * pitch;
            axes.push(Axis {
                extent: usize::try_from(range.end - range.start).ok()?,
                strides: [stride, pitch],
            });
            pitch *= isize::try_from(*extent).ok()?;
        }
        axes.reverse();
        Some(Self {
            input,
            base,
            axes: joined(axes),
        })
    }
}

/// Some rows along the first axis: what one task does.
struct Part<'a> {
    piece: &'a Piece,
    rows: Range<usize>,
    input: *const f32,
    output: *mut f32,
}

impl Work for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Piece { base, axes, .. } = self.piece;
        let (input, output) = (
            self.input.wrapping_offset(base[0]),
            self.output.wrapping_offset(base[1]),
        );
        let Some((inner, outer)) = axes.split_last() else {
            // SAFETY: the box has one element, which lies in both.
            return unsafe { *output = canonical(*input) };
        };
        let mut outer = outer.to_vec();
        let mut start = [0; 2];
        if let Some(first) = outer.first_mut() {
            start = first.strides.map(|stride| stride * self.rows.start as isize);
            first.extent = self.rows.len();
        }
        // A transposed matrix: squares are turned around in registers.
        let across = outer.iter().position(|axis| axis.strides[0] == 1);
        let across = across.filter(|_| !matches!(inner.strides, [0 | 1, _]) && inner.strides[1] == 1);
        let across = across.map(|axis| outer.remove(axis));
        let walks = [0, 1].map(|i| Walk {
            base: start[i],
            axes: outer
                .iter()
                .map(|axis| Axis {
                    extent: axis.extent,
                    strides: [axis.strides[i]],
                })
                .collect(),
        });
        let count = outer.iter().map(|axis| axis.extent).product();
        Walk::both(&walks, count, |from, to| {
            let (from, to) = (input.wrapping_offset(from), output.wrapping_offset(to));
            // SAFETY: called in the level's `Work`; the box lies within both, and its part belongs to this task.
            unsafe {
                match &across {
                    Some(across) => transpose::<S>(from, to, inner, across),
                    None if inner.strides[1] == 1 => copy_canonical::<S>(from, inner.strides[0], to, inner.extent),
                    None => {
                        for i in 0..inner.extent as isize {
                            *to.wrapping_offset(i * inner.strides[1]) =
                                canonical(*from.wrapping_offset(i * inner.strides[0]));
                        }
                    }
                }
            }
        });
    }
}

/// Copies a matrix that is contiguous along `across` in the input and along `inner` in the output.
///
/// # Safety
/// Called in the level's `Work`; the matrix lies in both.
#[inline(always)]
unsafe fn transpose<S: Simd>(from: *const f32, to: *mut f32, inner: &Axis<2>, across: &Axis<2>) {
    let mut square = [0.0f32; MAX_LANES * MAX_LANES];
    for top in (0..across.extent).step_by(S::LANES) {
        let high = S::LANES.min(across.extent - top);
        for left in (0..inner.extent).step_by(S::LANES) {
            let wide = S::LANES.min(inner.extent - left);
            let from = from.wrapping_add(top);
            let row = |i: usize| from.wrapping_offset(inner.strides[0] * (left + i.min(wide - 1)) as isize);
            let rows = std::array::from_fn(row);
            // SAFETY: the rows have `high` elements from `top` on, and the square has a vector for each.
            unsafe {
                S::transpose(&rows, high, square.as_mut_ptr(), S::LANES);
                for i in 0..high {
                    let to = to
                        .wrapping_offset(across.strides[1] * (top + i) as isize)
                        .wrapping_add(left);
                    let vector = S::canonical(S::load(square.as_ptr().add(i * S::LANES)));
                    if wide == S::LANES {
                        S::store(to, vector);
                    } else {
                        S::store_first(to, vector, wide);
                    }
                }
            }
        }
    }
}
