//! Views as plain strides.
//!
//! Where a view never leaves its input, element `loop` lies at `base + Σ strides[l] · loop[l]`. Where it may (padding,
//! and the divisor of an undone stride), the input is first expanded: copied into a buffer that has an element for every
//! coordinate the loop can ask for, `outside` where the input has none. So the kernels only ever see strides.

use super::Isa;
use super::pool::Pool;
use super::scratch::Scratch;
use super::shared::Shared;
use super::simd::{Simd, Work, copy, fill};
use crate::definition::View;

/// An expansion may have this many times the elements of the input and the output together.
const GROWTH: usize = 4;
/// Elements of an expansion that one task writes.
const PART: usize = 1 << 15;

/// A view as strides over the loop axes.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) base: isize,
    pub(super) strides: Vec<isize>,
    expansion: Option<Expansion>,
}

/// How an input is expanded.
#[derive(Clone, Debug)]
struct Expansion {
    /// The axes but the last: their extents in the expansion are the lengths, and each entry is an offset in the input.
    outer: Vec<Vec<Option<usize>>>,
    /// The last axis.
    inner: Vec<Option<usize>>,
    /// Where the last axis reads its input without gaps: from this position on, from this offset on, so many.
    run: (usize, usize, usize),
    outside: f32,
}

impl Affine {
    /// The view over a loop of these extents, none of which is 0; `None` if its expansion would be out of proportion to
    /// `elements`.
    pub(super) fn new(view: &View, loops: &[usize], elements: usize) -> Option<Self> {
        // Of each axis: offset, coefficients and divisor, and the least and the greatest undivided coordinate.
        let mut axes = Vec::with_capacity(view.shape.len());
        let mut inside = true;
        for (extent, coordinate) in view.shape.iter().zip(&view.coordinates) {
            let mut coefficients = coordinate.coefficients.clone();
            for (coefficient, count) in coefficients.iter_mut().zip(loops) {
                if *count == 1 {
                    *coefficient = 0;
                }
            }
            let (mut offset, mut divisor) = (coordinate.offset, coordinate.divisor);
            if offset % divisor == 0 && coefficients.iter().all(|c| c % divisor == 0) {
                offset /= divisor;
                coefficients.iter_mut().for_each(|c| *c /= divisor);
                divisor = 1;
            }
            let (mut low, mut high) = (offset, offset);
            for (coefficient, count) in coefficients.iter().zip(loops) {
                let reach = coefficient * i64::try_from(count - 1).ok()?;
                low += reach.min(0);
                high += reach.max(0);
            }
            inside &= divisor == 1 && low >= 0 && high < i64::try_from(*extent).ok()?;
            axes.push((offset, coefficients, divisor, low, high));
        }
        let mut extents = view.shape.clone();
        let mut expansion = None;
        if !inside {
            let bound = GROWTH.saturating_mul(view.shape.iter().product::<usize>().saturating_add(elements));
            let mut count = 1usize;
            for ((offset, _, _, low, high), extent) in axes.iter_mut().zip(&mut extents) {
                *extent = usize::try_from(*high - *low).ok()?.checked_add(1)?;
                count = count.checked_mul(*extent).filter(|count| *count <= bound)?;
                *offset -= *low;
            }
            expansion = Some(Expansion::new(view, &axes));
        }
        let (mut base, mut strides) = (0, vec![0; loops.len()]);
        let mut pitch = 1isize;
        for ((offset, coefficients, ..), extent) in axes.iter().zip(&extents).rev() {
            base += isize::try_from(*offset).ok()? * pitch;
            for (stride, coefficient) in strides.iter_mut().zip(coefficients) {
                *stride += isize::try_from(*coefficient).ok()? * pitch;
            }
            pitch = pitch.checked_mul(isize::try_from(*extent).ok()?)?;
        }
        Some(Self {
            base,
            strides,
            expansion,
        })
    }

    /// Strides that are known to stay inside their data.
    pub(super) fn inside(base: isize, strides: Vec<isize>) -> Self {
        Self {
            base,
            strides,
            expansion: None,
        }
    }

    /// Whether the view may leave its input.
    pub(super) fn expands(&self) -> bool {
        self.expansion.is_some()
    }

    /// What the strides are offsets in, when `input` is the view's input: itself, or its expansion.
    pub(super) fn data<'a>(&self, isa: Isa, pool: &Pool, input: &'a [f32]) -> Data<'a> {
        match &self.expansion {
            None => Data::Input(input),
            Some(expansion) => Data::Expanded(expansion.run(isa, pool, input)),
        }
    }
}

/// See [`Affine::data`].
pub(super) enum Data<'a> {
    Input(&'a [f32]),
    Expanded(Scratch),
}

impl std::ops::Deref for Data<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Input(input) => input,
            Self::Expanded(expanded) => expanded,
        }
    }
}

impl Expansion {
    fn new(view: &View, axes: &[(i64, Vec<i64>, i64, i64, i64)]) -> Self {
        let mut pitch = 1usize;
        let mut tables = Vec::with_capacity(axes.len());
        for ((_, _, divisor, low, high), extent) in axes.iter().zip(&view.shape).rev() {
            let offset = |at: i64| {
                let at = usize::try_from(at / divisor).ok().filter(|_| at % divisor == 0)?;
                (at < *extent).then(|| at.wrapping_mul(pitch))
            };
            tables.push((*low..=*high).map(offset).collect::<Vec<_>>());
            pitch = pitch.wrapping_mul(*extent);
        }
        let inner = if tables.is_empty() {
            vec![Some(0)]
        } else {
            tables.remove(0)
        };
        tables.reverse();
        let start = inner.iter().position(Option::is_some).unwrap_or(0);
        let from = inner[start].unwrap_or(0);
        let gapless = inner[start..]
            .iter()
            .zip(from..)
            .take_while(|(at, next)| **at == Some(*next))
            .count();
        let all = inner.iter().flatten().count();
        Self {
            outer: tables,
            run: (start, from, if gapless == all { gapless } else { 0 }),
            inner,
            outside: view.outside,
        }
    }

    fn run(&self, isa: Isa, pool: &Pool, input: &[f32]) -> Scratch {
        let rows = self.outer.iter().map(Vec::len).product::<usize>();
        let mut expanded = Scratch::new(rows * self.inner.len());
        let output = Shared::new(&mut expanded);
        let rows_of_part = PART.div_ceil(self.inner.len());
        pool.run(rows.div_ceil(rows_of_part), |task| {
            let rows = task * rows_of_part..rows.min((task + 1) * rows_of_part);
            // SAFETY: the rows of different tasks do not overlap.
            let output = unsafe { output.part(rows.start * self.inner.len()..rows.end * self.inner.len()) };
            isa.enter(Rows {
                expansion: self,
                input,
                first: rows.start,
                output,
            });
        });
        expanded
    }
}

/// Writes the rows of an expansion from `first` on.
struct Rows<'a> {
    expansion: &'a Expansion,
    input: &'a [f32],
    first: usize,
    output: &'a mut [f32],
}

impl Work for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Expansion {
            outer,
            inner,
            run: (start_of_run, from, count),
            outside,
        } = self.expansion;
        // SAFETY: called in the level's `Work`, and the output is a slice.
        unsafe { fill::<S>(self.output.as_mut_ptr(), *outside, self.output.len()) };
        // The position in the outer axes, counted up row by row; rows that lie outside are done.
        let mut position = vec![0; outer.len()];
        let mut index = self.first;
        for (at, axis) in position.iter_mut().zip(outer).rev() {
            *at = index % axis.len();
            index /= axis.len();
        }
        let mut rows = self.output.chunks_exact_mut(inner.len());
        let single = [Some(0)];
        let (last, others) = outer
            .split_last()
            .map_or((&single[..], &[][..]), |(last, others)| (last, others));
        let mut start = position.pop().unwrap_or(0);
        loop {
            let offset = others
                .iter()
                .zip(&position)
                .try_fold(0, |sum, (axis, at)| axis[*at].map(|offset| sum + offset));
            for at in &last[start..] {
                let Some(row) = rows.next() else {
                    return;
                };
                let Some(offset) = offset.zip(*at).map(|(sum, offset)| sum + offset) else {
                    continue;
                };
                if *count > 0 {
                    let run = &self.input[offset + from..][..*count];
                    // SAFETY: as above; the run lies within the row and has `count` elements.
                    unsafe { copy::<S>(run.as_ptr(), row[*start_of_run..][..*count].as_mut_ptr(), *count) };
                } else {
                    for (value, at) in row.iter_mut().zip(inner) {
                        if let Some(at) = at {
                            *value = self.input[offset + at];
                        }
                    }
                }
            }
            start = 0;
            for (at, axis) in position.iter_mut().zip(others).rev() {
                *at += 1;
                if *at < axis.len() {
                    break;
                }
                *at = 0;
            }
        }
    }
}

/// Axes that several strided views go over together, the last one fastest.
#[derive(Clone, Debug)]
pub(super) struct Axis<const N: usize> {
    pub(super) extent: usize,
    pub(super) strides: [isize; N],
}

/// Leaves out axes of extent 1 and joins neighbours that all views step through evenly.
pub(super) fn joined<const N: usize>(axes: impl IntoIterator<Item = Axis<N>>) -> Vec<Axis<N>> {
    let mut joined: Vec<Axis<N>> = Vec::new();
    for axis in axes.into_iter().filter(|axis| axis.extent != 1) {
        let even = |outer: &Axis<N>| {
            let extent = axis.extent as isize;
            (0..N).all(|i| outer.strides[i] == axis.strides[i].wrapping_mul(extent))
        };
        match joined.last_mut() {
            Some(outer) if even(outer) => {
                outer.extent *= axis.extent;
                outer.strides = axis.strides;
            }
            _ => joined.push(axis),
        }
    }
    joined
}

/// The offsets of every position in `axes`, in order.
pub(super) fn offsets<const N: usize>(axes: &[Axis<N>]) -> Vec<[isize; N]> {
    let mut all = vec![[0; N]];
    for axis in axes {
        let mut next = Vec::with_capacity(all.len() * axis.extent);
        for start in &all {
            for i in 0..axis.extent as isize {
                next.push(std::array::from_fn(|n| start[n] + i * axis.strides[n]));
            }
        }
        all = next;
    }
    all
}
