//! A panel's operand, copied so that a step reads whole vectors.

use super::super::simd::{MAX_LANES, Simd, copy_strided};
use super::lanes::Panel;

/// Shorter runs of contiguous steps are not worth transposing.
const RUN: usize = 4;

/// Writes, for each of `steps`, the lanes of `panel`: lane j of step k is the element of `data` at `base`, the step's
/// offset and the lane's, and goes to `packed[k * width + j]`. What lies beyond the lanes is anything.
///
/// # Safety
/// Called in the level's `Work`; all those elements lie in `data`; `packed` has `steps.len() * width` elements, and
/// `width`, a multiple of the level's vectors, is at least the panel's lanes.
#[inline(always)]
pub(in super::super) unsafe fn pack<S: Simd>(
    panel: &Panel,
    data: *const f32,
    base: isize,
    steps: &[isize],
    width: usize,
    packed: &mut [f32],
) {
    let data = data.wrapping_offset(base);
    let to = packed.as_mut_ptr();
    let contiguous = panel.contiguous_source().is_some();
    let mut k = 0;
    while k < steps.len() {
        let run = steps[k..].iter().zip(steps[k]..).take(S::LANES);
        let run = run.take_while(|(step, next)| *step == next).count();
        if contiguous || run < RUN {
            for segment in &panel.sources {
                let from = data.wrapping_offset(segment.offset + steps[k]);
                // SAFETY: what is read is promised by the caller; the segments lie within a row of `packed`.
                unsafe { copy_strided::<S>(from, segment.stride, to.add(k * width + segment.lane), segment.count) };
            }
            k += 1;
            continue;
        }
        let mut lanes = panel.sources.iter().flat_map(|segment| {
            (0..segment.count as isize).map(|i| segment.offset.wrapping_add(segment.stride.wrapping_mul(i)))
        });
        for left in (0..panel.count).step_by(S::LANES) {
            // Lanes beyond the last repeat one that is there.
            let mut rows = [data; MAX_LANES];
            let mut last = data;
            for row in rows.iter_mut().take(S::LANES) {
                last = lanes.next().map_or(last, |lane| data.wrapping_offset(lane + steps[k]));
                *row = last;
            }
            // SAFETY: as above; `width` is a multiple of the level's lanes.
            unsafe { S::transpose(&rows, run, to.add(k * width + left), width) };
        }
        k += run;
    }
}
