//! Reading a strided view in the order of the output.

use super::affine::{Affine, Axis, joined};
use super::simd::{Simd, copy_strided};

/// Elements `base + Σ stride · position` of some data, one for each position in the axes, the last axis fastest.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    pub(super) base: isize,
    pub(super) axes: Vec<Axis<1>>,
}

impl Walk {
    /// The view over all of `extents`, the first loop axes.
    pub(super) fn new(affine: &Affine, extents: &[usize]) -> Self {
        let axis = |(extent, stride): (&usize, &isize)| Axis {
            extent: *extent,
            strides: [*stride],
        };
        Self {
            base: affine.base,
            axes: joined(extents.iter().zip(&affine.strides).map(axis)),
        }
    }

    /// The offset of the first element, if the others follow it one by one.
    pub(super) fn contiguous(&self) -> Option<isize> {
        match self.axes[..] {
            [] | [Axis { strides: [1], .. }] => Some(self.base),
            _ => None,
        }
    }

    /// Whether there is one element for all positions.
    pub(super) fn constant(&self) -> bool {
        self.axes.iter().all(|axis| axis.strides == [0])
    }

    /// Calls `run(offset, stride, count)` for the stretches of the last axis that make up the positions from `first`
    /// on, `count` in all.
    #[inline(always)]
    pub(super) fn runs(&self, first: usize, count: usize, mut run: impl FnMut(isize, isize, usize)) {
        let Some((inner, outer)) = self.axes.split_last() else {
            return run(self.base, 0, count);
        };
        let mut position = [0; crate::definition::MAX_AXES];
        let mut start = first % inner.extent;
        let mut offset = self.base;
        let mut index = first / inner.extent;
        for (axis, at) in outer.iter().zip(&mut position).rev() {
            *at = index % axis.extent;
            index /= axis.extent;
            offset += axis.strides[0] * *at as isize;
        }
        let mut left = count;
        loop {
            let count = left.min(inner.extent - start);
            run(offset + inner.strides[0] * start as isize, inner.strides[0], count);
            left -= count;
            if left == 0 {
                return;
            }
            start = 0;
            for (axis, at) in outer.iter().zip(&mut position).rev() {
                *at += 1;
                offset += axis.strides[0];
                if *at < axis.extent {
                    break;
                }
                offset -= axis.strides[0] * axis.extent as isize;
                *at = 0;
            }
        }
    }

    /// Calls `visit` with the offsets of the first `count` positions in two walks over the same axes.
    #[inline(always)]
    pub(super) fn both(walks: &[Self; 2], count: usize, mut visit: impl FnMut(isize, isize)) {
        let axes = &walks[0].axes;
        let mut position = [0; crate::definition::MAX_AXES];
        let mut offsets = [walks[0].base, walks[1].base];
        for _ in 0..count {
            visit(offsets[0], offsets[1]);
            for (i, (axis, at)) in axes.iter().zip(&mut position).enumerate().rev() {
                let strides = [axis.strides[0], walks[1].axes[i].strides[0]];
                *at += 1;
                if *at < axis.extent {
                    offsets = [offsets[0] + strides[0], offsets[1] + strides[1]];
                    break;
                }
                let back = axis.extent as isize - 1;
                offsets = [offsets[0] - back * strides[0], offsets[1] - back * strides[1]];
                *at = 0;
            }
        }
    }

    /// Writes the elements of the positions from `first` on.
    ///
    /// # Safety
    /// Called in the level's `Work`; all elements lie in `data`, and the output ends with the positions.
    #[inline(always)]
    pub(super) unsafe fn read<S: Simd>(&self, data: *const f32, first: usize, output: &mut [f32]) {
        let mut to = output.as_mut_ptr();
        self.runs(first, output.len(), |offset, stride, count| {
            // SAFETY: the runs are as long as the output in all, and what they read is promised by the caller.
            unsafe { copy_strided::<S>(data.wrapping_offset(offset), stride, to, count) };
            to = to.wrapping_add(count);
        });
    }
}
