//! An output that several threads write, each its own elements.

use std::marker::PhantomData;
use std::ops::Range;

/// A borrowed slice of which threads may write disjoint parts.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: every access goes through `part` or `pointer`, whose callers keep to elements that no other thread uses.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(values: &'a mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            len: values.len(),
            borrowed: PhantomData,
        }
    }

    /// The first element. Where several threads write through it, they must keep to elements of their own.
    pub(super) fn pointer(&self) -> *mut f32 {
        self.start
    }

    /// The elements `range`.
    ///
    /// # Safety
    /// While the slice lives, nothing else reads or writes these elements.
    ///
    /// # Panics
    /// When the range does not lie within the slice.
    #[expect(clippy::mut_from_ref, reason = "the caller keeps parts disjoint")]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: the range lies within the slice, and nothing else uses it, says the caller.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }
}
