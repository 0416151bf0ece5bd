//! Reading a strided view in the order of the output.

use super::affine::{Affine, Axis, joined};
use super::simd::{Simd, copy_strided};
use crate::definition::MAX_AXES;

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

    /// The stretches of the last axis that make up the positions from `first` on, `count` in all.
    #[inline(always)]
    pub(super) fn runs(&self, first: usize, count: usize) -> Runs<'_> {
        let mut runs = Runs {
            axes: &self.axes,
            position: [0; MAX_AXES],
            offset: self.base,
            start: 0,
            left: count,
        };
        if let Some((inner, outer)) = self.axes.split_last() {
            runs.start = first % inner.extent;
            let mut index = first / inner.extent;
            for (axis, at) in outer.iter().zip(&mut runs.position).rev() {
                *at = index % axis.extent;
                index /= axis.extent;
                runs.offset += axis.strides[0] * *at as isize;
            }
        }
        runs
    }

    /// Calls `visit` with the offsets of the first `count` positions in two walks over the same axes.
    #[inline(always)]
    pub(super) fn both(walks: &[Self; 2], count: usize, mut visit: impl FnMut(isize, isize)) {
        let axes = &walks[0].axes;
        let mut position = [0; MAX_AXES];
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
        for run in self.runs(first, output.len()) {
            // SAFETY: the runs are as long as the output in all, and what they read is promised by the caller.
            unsafe { copy_strided::<S>(data.wrapping_offset(run.offset), run.stride, to, run.count) };
            to = to.wrapping_add(run.count);
        }
    }
}

/// A stretch of a walk: elements at even distances.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) offset: isize,
    pub(super) stride: isize,
    pub(super) count: usize,
}

/// See [`Walk::runs`]. An iterator, as a closure would not be compiled for the level that calls it.
pub(super) struct Runs<'a> {
    axes: &'a [Axis<1>],
    position: [usize; MAX_AXES],
    offset: isize,
    start: usize,
    left: usize,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline(always)]
    fn next(&mut self) -> Option<Run> {
        if self.left == 0 {
            return None;
        }
        let Some((inner, outer)) = self.axes.split_last() else {
            let count = std::mem::take(&mut self.left);
            return Some(Run {
                offset: self.offset,
                stride: 0,
                count,
            });
        };
        let run = Run {
            offset: self.offset + inner.strides[0] * self.start as isize,
            stride: inner.strides[0],
            count: self.left.min(inner.extent - self.start),
        };
        self.left -= run.count;
        self.start = 0;
        for (axis, at) in outer.iter().zip(&mut self.position).rev() {
            *at += 1;
            self.offset += axis.strides[0];
            if *at < axis.extent {
                break;
            }
            self.offset -= axis.strides[0] * axis.extent as isize;
            *at = 0;
        }
        Some(run)
    }
}
