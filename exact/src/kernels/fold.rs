//! Folds in which every output element has a chain of its own: sums, maxima, searches, windowed scatters, and
//! contractions that are no matrix product.
//!
//! Neighbouring outputs are the lanes of vectors, so that their chains run side by side. Where the lanes of an input are
//! no neighbours in it (they are rows of a matrix whose columns are folded, say) a panel of it is packed first.

use super::Isa;
use super::affine::{Affine, Axis, Data, joined};
use super::contraction::{BLOCK, Panel, Segment, pack, steps};
use super::pool::Pool;
use super::scratch::Scratch;
use super::shared::Shared;
use super::simd::{MAX_LANES, Simd, Work};
use super::walk::{Run, Walk};
use crate::arith::canonical;
use crate::definition::{Coordinate, Operation, Primitive, View, maximum};

/// Vectors of a panel: enough chains to hide the latency of an addition.
const VECTORS: usize = 4;
/// The most lanes of a panel.
const WIDTH: usize = VECTORS * MAX_LANES;
/// Steps of all elements together that are worth a task.
const TASK: usize = 1 << 16;
/// Up to this magnitude, whole numbers are exact in f32.
const EXACT: i64 = 1 << 24;

/// A fold over up to two views.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    kind: Kind,
    affine: Vec<Affine>,
    walks: Vec<Walk>,
    /// Strides in both inputs (the second's are the first's where there is none) and in the coordinate.
    reduced: Vec<Axis<3>>,
    depth: usize,
    start: f32,
    /// The coordinate that a scatter compares with.
    coordinate: Walk,
    outputs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sum,
    Max,
    Product,
    Find,
    Scatter,
}

impl Fold {
    pub(super) fn new(primitive: &Primitive) -> Option<Self> {
        let none = Coordinate {
            offset: 0,
            coefficients: vec![0; primitive.output().len() + primitive.reduced().len()],
            divisor: 1,
        };
        let (kind, views, coordinate) = match primitive.operation() {
            Operation::Sum(view) => (Kind::Sum, vec![view], &none),
            Operation::Max(view) => (Kind::Max, vec![view], &none),
            Operation::Contraction(a, b) => (Kind::Product, vec![a, b], &none),
            Operation::Find(a, b) => (Kind::Find, vec![a, b], &none),
            Operation::ScatterAdd(indices, updates, at) => (Kind::Scatter, vec![indices, updates], at),
            _ => return None,
        };
        let loops = [primitive.output(), primitive.reduced()].concat();
        let coordinate = exact(coordinate, &loops)?;
        let affine = |view: &&View| Affine::new(view, &loops, primitive.elements());
        let affine = views.iter().map(affine).collect::<Option<Vec<_>>>()?;
        let outputs = primitive.output().len();
        let second = affine.get(1).unwrap_or(&affine[0]);
        let reduced = primitive.reduced().iter().enumerate().map(|(i, extent)| {
            let at = outputs + i;
            Axis {
                extent: *extent,
                strides: [affine[0].strides[at], second.strides[at], coordinate.strides[at]],
            }
        });
        Some(Self {
            kind,
            reduced: joined(reduced),
            depth: primitive.terms(),
            start: primitive.start(),
            coordinate: Walk::new(&coordinate, primitive.output()),
            walks: affine
                .iter()
                .map(|affine| Walk::new(affine, primitive.output()))
                .collect(),
            affine,
            outputs: primitive.elements(),
        })
    }

    pub(super) fn run(&self, isa: Isa, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) {
        let data: Vec<Data<'_>> = self
            .affine
            .iter()
            .zip(inputs)
            .map(|(affine, input)| affine.data(isa, pool, input))
            .collect();
        // Few outputs are spread over the threads by smaller panels.
        let vectors = if self.outputs >= WIDTH * pool.threads() {
            VECTORS
        } else {
            1
        };
        let width = vectors * MAX_LANES;
        let panels = (TASK / self.depth).div_ceil(width).max(1);
        let part = panels.saturating_mul(width);
        let output = Shared::new(output);
        pool.run(self.outputs.div_ceil(part), |task| {
            let first = task * part;
            // SAFETY: the parts of different tasks do not overlap.
            let output = unsafe { output.part(first..self.outputs.min(first.saturating_add(part))) };
            isa.enter(Part {
                fold: self,
                data: &data,
                vectors,
                first,
                output,
            });
        });
    }

    /// One element of a sum or a maximum: a single chain needs no vectors.
    fn single(&self, data: &[Data<'_>], index: usize) -> f32 {
        let start = self.walks[0].runs(index, 1).next().map_or(0, |run| run.offset);
        let mut acc = self.start;
        let axes = self.reduced.iter().map(|axis| Axis {
            extent: axis.extent,
            strides: [axis.strides[0]],
        });
        let walk = Walk {
            base: start,
            axes: joined(axes),
        };
        let data = data[0].as_ptr();
        for Run { offset, stride, count } in walk.runs(0, self.depth) {
            for i in 0..count as isize {
                // SAFETY: the view was checked to stay inside for the whole loop.
                let x = unsafe { *data.wrapping_offset(offset.wrapping_add(stride.wrapping_mul(i))) };
                acc = if self.kind == Kind::Sum {
                    acc + x
                } else {
                    maximum(acc, x)
                };
            }
        }
        canonical(acc)
    }
}

/// The strides of a coordinate that is always a whole number which f32 holds exactly.
fn exact(coordinate: &Coordinate, loops: &[usize]) -> Option<Affine> {
    let divisor = coordinate.divisor;
    let mut reach = (coordinate.offset / divisor).checked_abs()?;
    let mut strides = Vec::with_capacity(loops.len());
    for (coefficient, extent) in coordinate.coefficients.iter().zip(loops) {
        let coefficient = if *extent == 1 { 0 } else { *coefficient };
        if coefficient % divisor != 0 {
            return None;
        }
        let last = i64::try_from(extent - 1).ok()?;
        reach = reach.checked_add((coefficient / divisor).checked_mul(last)?.checked_abs()?)?;
        strides.push(isize::try_from(coefficient / divisor).ok()?);
    }
    if coordinate.offset % divisor != 0 || reach > EXACT {
        return None;
    }
    Some(Affine::inside(
        isize::try_from(coordinate.offset / divisor).ok()?,
        strides,
    ))
}

/// What one task does: the elements from `first` on.
struct Part<'a> {
    fold: &'a Fold,
    data: &'a [Data<'a>],
    vectors: usize,
    first: usize,
    output: &'a mut [f32],
}

impl Work for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let fold = self.fold;
        let width = self.vectors * S::LANES;
        let block = fold.depth.min(BLOCK);
        let mut packed = [Scratch::new(block * width), Scratch::new(block * width)];
        let packed_steps: [isize; BLOCK] = std::array::from_fn(|k| (k * width) as isize);
        let mut tables = [[0; BLOCK]; 3];
        let mut panels = [Panel::default(), Panel::default()];
        let mut coordinates = [fold.coordinate.base as f32; WIDTH];
        let follows = fold.kind == Kind::Scatter && !fold.coordinate.constant();
        for (i, output) in self.output.chunks_mut(width).enumerate() {
            let index = self.first + i * width;
            for (panel, walk) in panels.iter_mut().zip(&fold.walks) {
                panel.count = output.len();
                panel.sources.clear();
                let mut lane = 0;
                for Run { offset, stride, count } in walk.runs(index, output.len()) {
                    panel.sources.push(Segment {
                        lane,
                        count,
                        offset,
                        stride,
                    });
                    lane += count;
                }
            }
            if follows {
                let mut to = coordinates.iter_mut();
                for run in fold.coordinate.runs(index, output.len()) {
                    for (i, to) in (0..run.count).zip(&mut to) {
                        *to = run.offset.wrapping_add(run.stride.wrapping_mul(i as isize)) as f32;
                    }
                }
            }
            let mut sums = [fold.start; WIDTH];
            if let ([_], Kind::Sum | Kind::Max) = (&*output, fold.kind) {
                output[0] = fold.single(self.data, index);
                continue;
            }
            for first in (0..fold.depth).step_by(BLOCK) {
                let count = BLOCK.min(fold.depth - first);
                let [a, b, c] = &mut tables;
                steps(
                    &fold.reduced,
                    first,
                    [&mut a[..count], &mut b[..count], &mut c[..count]],
                );
                let mut sources = [(std::ptr::null(), &packed_steps[..count]); 2];
                for (input, (source, packed)) in sources.iter_mut().zip(&mut packed).enumerate().take(self.data.len()) {
                    let (panel, data) = (&panels[input], self.data[input].as_ptr());
                    let steps = &tables[input][..count];
                    *source = match panel.contiguous_source().filter(|_| panel.count == width) {
                        Some(start) => (data.wrapping_offset(start), steps),
                        None => {
                            // SAFETY: called in the level's `Work`; the view was checked to stay inside for the whole
                            // loop, and `packed` has a row of `width` elements for each step.
                            unsafe { pack::<S>(panel, data, 0, steps, width, packed) };
                            (packed.as_ptr(), &packed_steps[..count])
                        }
                    };
                }
                let chunk = Chunk {
                    sources,
                    first,
                    coordinates: &coordinates,
                    coordinate_steps: &tables[2][..count],
                };
                // SAFETY: called in the level's `Work`; the sources have `width` elements at each of their steps.
                unsafe {
                    match self.vectors {
                        1 => chunk.fold::<S, 1>(fold.kind, &mut sums),
                        _ => chunk.fold::<S, VECTORS>(fold.kind, &mut sums),
                    }
                }
            }
            for (value, sum) in output.iter_mut().zip(sums) {
                *value = canonical(sum);
            }
        }
    }
}

/// A block of steps of one panel.
struct Chunk<'a> {
    sources: [(*const f32, &'a [isize]); 2],
    /// The number of the first step.
    first: usize,
    coordinates: &'a [f32; WIDTH],
    coordinate_steps: &'a [isize],
}

impl Chunk<'_> {
    /// Continues the chains of `V` vectors.
    ///
    /// # Safety
    /// Called in the level's `Work`; the sources have as many elements at each step.
    #[inline(always)]
    unsafe fn fold<S: Simd, const V: usize>(&self, kind: Kind, sums: &mut [f32; WIDTH]) {
        let [(a, a_steps), (b, b_steps)] = self.sources;
        // SAFETY: `sums` has room for four vectors of any level, and the sources are as the caller promises.
        unsafe {
            let mut vectors: [S::V; V] = std::array::from_fn(|v| S::load(sums.as_ptr().add(v * S::LANES)));
            match kind {
                Kind::Sum => {
                    for step in a_steps {
                        let x = a.wrapping_offset(*step);
                        for (v, sum) in vectors.iter_mut().enumerate() {
                            *sum = S::add(*sum, S::load(x.wrapping_add(v * S::LANES)));
                        }
                    }
                }
                Kind::Max => {
                    for step in a_steps {
                        let x = a.wrapping_offset(*step);
                        for (v, sum) in vectors.iter_mut().enumerate() {
                            *sum = S::maximum(*sum, S::load(x.wrapping_add(v * S::LANES)));
                        }
                    }
                }
                Kind::Product => {
                    for (a_step, b_step) in a_steps.iter().zip(b_steps) {
                        let (x, y) = (a.wrapping_offset(*a_step), b.wrapping_offset(*b_step));
                        for (v, sum) in vectors.iter_mut().enumerate() {
                            let (x, y) = (x.wrapping_add(v * S::LANES), y.wrapping_add(v * S::LANES));
                            *sum = S::fma(S::load(x), S::load(y), *sum);
                        }
                    }
                }
                Kind::Find => {
                    for (k, (a_step, b_step)) in a_steps.iter().zip(b_steps).enumerate() {
                        let (x, y) = (a.wrapping_offset(*a_step), b.wrapping_offset(*b_step));
                        for (v, acc) in vectors.iter_mut().enumerate() {
                            let (x, y) = (x.wrapping_add(v * S::LANES), y.wrapping_add(v * S::LANES));
                            *acc = S::found(*acc, S::load(x), S::load(y), (self.first + k) as f32);
                        }
                    }
                }
                Kind::Scatter => {
                    let steps = a_steps.iter().zip(b_steps).zip(self.coordinate_steps);
                    for ((a_step, b_step), at_step) in steps {
                        let (index, x) = (a.wrapping_offset(*a_step), b.wrapping_offset(*b_step));
                        let step = S::splat(*at_step as f32);
                        for (v, acc) in vectors.iter_mut().enumerate() {
                            let (index, x) = (index.wrapping_add(v * S::LANES), x.wrapping_add(v * S::LANES));
                            let at = S::add(S::load(self.coordinates.as_ptr().add(v * S::LANES)), step);
                            *acc = S::add_where(*acc, S::load(index), at, S::load(x));
                        }
                    }
                }
            }
            for (v, sum) in vectors.into_iter().enumerate() {
                S::store(sums.as_mut_ptr().add(v * S::LANES), sum);
            }
        }
    }
}
