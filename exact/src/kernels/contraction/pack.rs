//! A panel's operand, copied so that a step reads whole vectors.

use super::super::simd::{MAX_LANES, Simd, copy};
use super::lanes::{Panel, Source};

/// Shorter runs of contiguous steps are not worth transposing.
const RUN: usize = 4;

/// Writes, for each of `steps`, the lanes of `panel`: lane j of step k is the element of `data` at `base`, the step's
/// offset and the lane's, and goes to `packed[k * width + j]`. What lies beyond the lanes is anything.
///
/// # Safety
/// Called in the level's `Work`; all those elements lie in `data`; `packed` has `steps.len() * width` elements, and
/// `width`, a multiple of the level's vectors, is at least the panel's lanes.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(
    panel: &Panel,
    data: *const f32,
    base: isize,
    steps: &[isize],
    width: usize,
    packed: &mut [f32],
) {
    let lane = |j: usize| match &panel.source {
        Source::Even(first, stride) => first + stride.wrapping_mul(j as isize),
        Source::Each(offsets) => offsets[j],
    };
    let data = data.wrapping_offset(base);
    let to = packed.as_mut_ptr();
    // SAFETY: what is read is promised by the caller; rows of `packed` are written within their width.
    unsafe {
        match panel.source {
            Source::Even(first, 1) => {
                for (k, step) in steps.iter().enumerate() {
                    copy::<S>(data.wrapping_offset(first + step), to.add(k * width), panel.count);
                }
                return;
            }
            Source::Even(first, stride) if steps.len() < RUN || steps[1] - steps[0] != 1 => {
                let whole = panel.count / S::LANES * S::LANES;
                for (k, step) in steps.iter().enumerate() {
                    let (from, to) = (data.wrapping_offset(first + step), to.add(k * width));
                    for j in (0..whole).step_by(S::LANES) {
                        let from = from.wrapping_offset(stride.wrapping_mul(j as isize));
                        S::store(to.add(j), S::load_strided(from, stride));
                    }
                    for j in whole..panel.count {
                        *to.add(j) = *from.wrapping_offset(stride.wrapping_mul(j as isize));
                    }
                }
                return;
            }
            _ => {}
        }
        let mut k = 0;
        while k < steps.len() {
            let run = steps[k..]
                .iter()
                .zip(steps[k]..)
                .take(S::LANES)
                .take_while(|(step, next)| *step == next)
                .count();
            if run >= RUN {
                for left in (0..panel.count).step_by(S::LANES) {
                    // Lanes beyond the last repeat it.
                    let mut rows = [data; MAX_LANES];
                    for (i, row) in rows.iter_mut().enumerate().take(S::LANES) {
                        let j = (left + i).min(panel.count - 1);
                        *row = data.wrapping_offset(lane(j).wrapping_add(steps[k]));
                    }
                    S::transpose(&rows, run, to.add(k * width + left), width);
                }
                k += run;
            } else {
                let (from, to) = (data.wrapping_offset(steps[k]), to.add(k * width));
                for j in 0..panel.count {
                    *to.add(j) = *from.wrapping_offset(lane(j));
                }
                k += 1;
            }
        }
    }
}
