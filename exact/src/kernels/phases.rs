//! Folds that undo a stride, without the steps that read nothing.
//!
//! The gradient of a strided convolution or window reads, at most steps, between the elements of its input: `outside`.
//! Which steps those are depends on the positions modulo the stride alone. So the output is cut into *phases*, one for
//! each remainder, and each keeps only the steps of k that read something, in their order.
//!
//! A step may be left out where it cannot change the accumulator:
//! - a scatter adds nothing where `outside` is no coordinate that it compares with;
//! - a sum of `±0` changes nothing: from +0 on, the accumulator is never −0;
//! - a product of `±0` with a finite number changes nothing but −0, which it may turn to +0; and once the accumulators
//!   with and without the step differ so, the one without is −0 until a step gives both the same value. So it is enough
//!   that all factors are finite, and to evaluate the few elements that come out as −0 by the definition.

use super::affine::{Axis, joined};
use super::pool::Pool;
use super::scratch::Scratch;
use super::shared::Shared;
use super::walk::Walk;
use super::{Form, Isa, Kernel, KernelError};
use crate::definition::{Coordinate, Operation, Primitive, View, whole};

/// The most phases, and the most combinations of remainders that are looked at.
const PHASES: usize = 16;
const COMBINATIONS: usize = 256;
/// Elements of the output that one task puts in their places.
const PART: usize = 1 << 15;

/// A fold in phases.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    phases: Vec<Phase>,
    /// The input whose elements must all be finite, with the fold as a whole for where they are not.
    factors: Option<(usize, Box<Form>)>,
}

#[derive(Clone, Debug)]
struct Phase {
    /// Nothing where no step is left.
    kernel: Option<Kernel>,
    elements: usize,
    /// Where its elements lie in the output.
    places: Walk,
}

/// What every `modulus`-th position from `residue` on keeps of an axis.
#[derive(Clone, Copy)]
struct Split {
    modulus: i64,
    residue: i64,
}

impl Phases {
    /// `None` where no view undoes a stride, or leaving out steps could be seen.
    pub(super) fn new(primitive: &Primitive) -> Option<Self> {
        let (deciding, factors) = match primitive.operation() {
            Operation::Sum(view) if view.outside == 0.0 => (view, None),
            Operation::ScatterAdd(indices, _, at) if !reaches(at, primitive, indices.outside) => (indices, None),
            Operation::Contraction(a, b) if undoes(a, b) => (a, Some(1)),
            Operation::Contraction(a, b) if undoes(b, a) && !divides(a) => (b, Some(0)),
            _ => return None,
        };
        let loops = [primitive.output(), primitive.reduced()].concat();
        let moduli = moduli(deciding, &loops)?;
        let outputs = primitive.output().len();
        let (outer, inner) = moduli.split_at(outputs);
        let mut phases = Vec::new();
        for outer in combinations(outer)? {
            // The one choice of remainders of k at which the view reads its input.
            let mut kept = None;
            for inner in combinations(inner)? {
                let splits = [&outer[..], &inner].concat();
                if deciding
                    .coordinates
                    .iter()
                    .all(|c| split(c, &splits).offset % c.divisor == 0)
                    && kept.replace(splits).is_some()
                {
                    return None;
                }
            }
            if let Some(phase) = Phase::new(primitive, &outer, kept.as_deref())? {
                phases.push(phase);
            }
        }
        if phases.len() < 2 || phases.len() > PHASES {
            return None;
        }
        let factors = match factors {
            Some(input) => Some((input, Box::new(Form::whole(primitive)?))),
            None => None,
        };
        Some(Self { phases, factors })
    }

    pub(super) fn run(
        &self,
        primitive: &Primitive,
        isa: Isa,
        pool: &Pool,
        inputs: &[&[f32]],
        output: &mut [f32],
    ) -> Result<(), KernelError> {
        if let Some((input, whole)) = &self.factors
            && !inputs[*input].iter().all(|factor| factor.is_finite())
        {
            return whole.run(primitive, isa, pool, inputs, output);
        }
        let mut parts = Vec::with_capacity(self.phases.len());
        for phase in &self.phases {
            let mut part = Scratch::new(phase.elements);
            match &phase.kernel {
                Some(kernel) => kernel.run(isa, pool, inputs, &mut part)?,
                None => part.fill(primitive.start()),
            }
            parts.push(part);
        }
        let checked = self.factors.is_some();
        let tasks = output.len().div_ceil(PART);
        let output = Shared::new(output);
        // The same share of every phase lies about the same place of the output.
        pool.run(tasks, |task| {
            for (phase, part) in self.phases.iter().zip(&parts) {
                let first = phase.elements * task / tasks;
                let part = &part[first..phase.elements * (task + 1) / tasks];
                let mut from = part.iter();
                for run in phase.places.runs(first, part.len()) {
                    for (i, value) in (0..run.count as isize).zip(&mut from) {
                        let place = run.offset.wrapping_add(run.stride.wrapping_mul(i));
                        let value = if checked && value.to_bits() == (-0.0f32).to_bits() {
                            let read = |input: usize, offset: usize| inputs[input][offset];
                            primitive.element(place.cast_unsigned(), read)
                        } else {
                            *value
                        };
                        // SAFETY: places lie in the output, and no two elements of all phases have the same.
                        unsafe { *output.pointer().wrapping_offset(place) = value };
                    }
                }
            }
        });
        Ok(())
    }
}

impl Phase {
    /// The part of `primitive` at these remainders of the output's axes; `Some(None)` if that has no elements.
    fn new(primitive: &Primitive, outer: &[Split], kept: Option<&[Split]>) -> Option<Option<Self>> {
        let mut axes = Vec::new();
        let (mut base, mut pitch) = (0, 1isize);
        let mut output = Vec::new();
        for (extent, split) in primitive.output().iter().zip(outer).rev() {
            output.push(split.extent(*extent)?);
            base += isize::try_from(split.residue).ok()? * pitch;
            axes.push(Axis {
                extent: *output.last()?,
                strides: [isize::try_from(split.modulus).ok()? * pitch],
            });
            pitch *= isize::try_from(*extent).ok()?;
        }
        axes.reverse();
        output.reverse();
        let elements: usize = output.iter().product();
        if elements == 0 {
            return Some(None);
        }
        let kernel = match kept {
            None => None,
            Some(splits) => {
                let inner = primitive.reduced().iter().zip(&splits[outer.len()..]);
                let reduced = inner
                    .map(|(extent, split)| split.extent(*extent))
                    .collect::<Option<Vec<_>>>()?;
                let view = |view: &View| View {
                    coordinates: view.coordinates.iter().map(|c| self::split(c, splits)).collect(),
                    ..view.clone()
                };
                let operation = match primitive.operation() {
                    Operation::Sum(x) => Operation::Sum(view(x)),
                    Operation::Contraction(a, b) => Operation::Contraction(view(a), view(b)),
                    Operation::ScatterAdd(a, b, at) => Operation::ScatterAdd(view(a), view(b), self::split(at, splits)),
                    _ => return None,
                };
                Some(Kernel::new(&Primitive::new(output, reduced, operation).ok()?))
            }
        };
        Some(Some(Self {
            kernel,
            elements,
            places: Walk {
                base,
                axes: joined(axes),
            },
        }))
    }
}

impl Split {
    /// How many positions of an axis are kept.
    fn extent(self, extent: usize) -> Option<usize> {
        let left = usize::try_from(i64::try_from(extent).ok()? - self.residue).unwrap_or(0);
        Some(left.div_ceil(usize::try_from(self.modulus).ok()?))
    }
}

fn divides(view: &View) -> bool {
    view.coordinates.iter().any(|coordinate| coordinate.divisor != 1)
}

/// Whether steps at which `view` reads nothing may be left out where the elements of `other` are finite.
fn undoes(view: &View, other: &View) -> bool {
    divides(view) && view.outside == 0.0 && other.outside.is_finite()
}

/// Whether the coordinate may be `value`.
fn reaches(at: &Coordinate, primitive: &Primitive, value: f32) -> bool {
    let loops = primitive.output().iter().chain(primitive.reduced());
    let (mut low, mut high) = (at.offset, at.offset);
    for (coefficient, extent) in at.coefficients.iter().zip(loops) {
        let reach = coefficient * extent.saturating_sub(1) as i64;
        low += reach.min(0);
        high += reach.max(0);
    }
    whole(value).is_some_and(|value| (low..=high).contains(&(value * at.divisor)))
}

/// By what each loop axis must be cut for every coordinate to be whole everywhere or nowhere; `None` if by nothing.
fn moduli(view: &View, loops: &[usize]) -> Option<Vec<i64>> {
    let mut moduli = vec![1; loops.len()];
    for coordinate in &view.coordinates {
        for ((modulus, coefficient), extent) in moduli.iter_mut().zip(&coordinate.coefficients).zip(loops) {
            let needed = coordinate.divisor / common(*coefficient, coordinate.divisor);
            if needed == 1 || *extent == 1 {
                continue;
            }
            if *modulus != 1 && *modulus != needed {
                return None;
            }
            *modulus = needed;
        }
    }
    moduli.iter().any(|modulus| *modulus != 1).then_some(moduli)
}

/// The greatest common divisor.
fn common(a: i64, b: i64) -> i64 {
    if a == 0 { b.abs() } else { common(b % a, a) }
}

/// Every choice of remainders; `None` if there are too many.
fn combinations(moduli: &[i64]) -> Option<Vec<Vec<Split>>> {
    let mut all = vec![vec![]];
    for modulus in moduli {
        if usize::try_from(*modulus).ok()?.saturating_mul(all.len()) > COMBINATIONS {
            return None;
        }
        all = (0..*modulus)
            .flat_map(|residue| {
                let split = Split {
                    modulus: *modulus,
                    residue,
                };
                all.iter()
                    .map(move |chosen: &Vec<Split>| [&chosen[..], &[split]].concat())
            })
            .collect();
    }
    Some(all)
}

/// The coordinate in terms of the positions that are kept.
fn split(coordinate: &Coordinate, splits: &[Split]) -> Coordinate {
    let moved = coordinate
        .coefficients
        .iter()
        .zip(splits)
        .map(|(c, split)| c * split.residue);
    let coefficients = coordinate
        .coefficients
        .iter()
        .zip(splits)
        .map(|(c, split)| c * split.modulus);
    Coordinate {
        offset: coordinate.offset + moved.sum::<i64>(),
        coefficients: coefficients.collect(),
        divisor: coordinate.divisor,
    }
}
