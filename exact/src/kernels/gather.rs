//! Gathers: rows that are copied from where the indices say.

use super::Isa;
use super::affine::{Affine, Axis, Data, joined};
use super::pool::Pool;
use super::shared::Shared;
use super::simd::{Simd, Work, copy_canonical};
use super::walk::Walk;
use crate::arith::{NAN, canonical};
use crate::definition::{Primitive, View, whole};

/// Elements that are worth a task.
const TASK: usize = 1 << 14;

/// A gather whose index is the same along the inner axes, which make up a row.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    indices: Affine,
    /// The outer axes: strides in the indices, of the coordinate without the index, and in the data.
    outer: Vec<Axis<3>>,
    /// Where the coordinate starts, how many there are, and how far apart they are in the data.
    start: isize,
    extent: usize,
    pitch: isize,
    /// A row in the data.
    row: Walk,
    length: usize,
    outside: f32,
}

impl Gather {
    /// `None` unless the data's other coordinates always stay inside.
    pub(super) fn new(primitive: &Primitive, indices: &View, data: &View, axis: usize) -> Option<Self> {
        let output = primitive.output();
        let indices = Affine::new(indices, output, primitive.elements())?;
        let coordinate = &data.coordinates[axis];
        if coordinate.divisor != 1 || data.shape[axis] == 0 {
            return None;
        }
        let mut others = data.clone();
        others.coordinates[axis].offset = 0;
        others.coordinates[axis].coefficients.fill(0);
        let others = Affine::new(&others, output, primitive.elements()).filter(|others| !others.expands())?;
        let moves = |at: usize| indices.strides[at] != 0 || coordinate.coefficients[at] != 0;
        let split = (0..output.len())
            .rev()
            .find(|at| output[*at] > 1 && moves(*at))
            .map_or(0, |at| at + 1);
        let mut outer = Vec::with_capacity(split);
        for (at, extent) in output.iter().enumerate().take(split) {
            outer.push(Axis {
                extent: *extent,
                strides: [
                    indices.strides[at],
                    isize::try_from(coordinate.coefficients[at]).ok()?,
                    others.strides[at],
                ],
            });
        }
        let inner = Affine::inside(others.base, others.strides[split..].to_vec());
        Some(Self {
            outer: joined(outer),
            start: isize::try_from(coordinate.offset).ok()?,
            extent: data.shape[axis],
            pitch: data.shape[axis + 1..].iter().product::<usize>().try_into().ok()?,
            row: Walk::new(&inner, &output[split..]),
            length: output[split..].iter().product(),
            indices,
            outside: canonical(data.outside),
        })
    }

    pub(super) fn run(&self, isa: Isa, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) {
        let indices = self.indices.data(isa, pool, inputs[0]);
        let rows = output.len() / self.length;
        let part = TASK.div_ceil(self.length);
        let output = Shared::new(output);
        pool.run(rows.div_ceil(part), |task| {
            let first = task * part;
            let end = rows.min(first + part);
            // SAFETY: the parts of different tasks do not overlap.
            let output = unsafe { output.part(first * self.length..end * self.length) };
            isa.enter(Part {
                gather: self,
                indices: &indices,
                data: inputs[1],
                first,
                output,
            });
        });
    }
}

/// The rows from `first` on: what one task does.
struct Part<'a> {
    gather: &'a Gather,
    indices: &'a Data<'a>,
    data: &'a [f32],
    first: usize,
    output: &'a mut [f32],
}

impl Work for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let gather = self.gather;
        for (i, row) in self.output.chunks_exact_mut(gather.length).enumerate() {
            let mut index = self.first + i;
            let mut offsets = [gather.indices.base, 0, 0];
            for axis in gather.outer.iter().rev() {
                for (offset, stride) in offsets.iter_mut().zip(axis.strides) {
                    *offset += stride * (index % axis.extent) as isize;
                }
                index /= axis.extent;
            }
            // SAFETY: the view of the indices was checked to stay inside.
            let index = whole(unsafe { *self.indices.as_ptr().wrapping_offset(offsets[0]) });
            let Some(index) = index else {
                row.fill(NAN);
                continue;
            };
            let at = isize::try_from(index)
                .ok()
                .map(|index| gather.start + offsets[1] + index);
            let Some(at) = at.filter(|at| (0..gather.extent.cast_signed()).contains(at)) else {
                row.fill(gather.outside);
                continue;
            };
            let from = self.data.as_ptr().wrapping_offset(at * gather.pitch + offsets[2]);
            let mut to = row.as_mut_ptr();
            for run in gather.row.runs(0, gather.length) {
                // SAFETY: called in the level's `Work`; the coordinate lies inside, as just checked, and the others do
                // for the whole loop. The runs make up the row.
                unsafe { copy_canonical::<S>(from.wrapping_offset(run.offset), run.stride, to, run.count) };
                to = to.wrapping_add(run.count);
            }
        }
    }
}
