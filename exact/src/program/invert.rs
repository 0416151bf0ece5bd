//! Turns a loop around: from "which element does the loop read" to "which loop positions read the element".
//!
//! The gradient of an input has one element for each element of it, and folds over all loop positions that read it. Each
//! axis of the input is written `offset + Σ factor · loop`; one loop axis of it, its *pivot*, is solved for:
//! `pivot = (axis − offset − Σ other factors · loop) / factor`. The other loop axes are folded over.

use super::ProgramError;
use crate::definition::{Coordinate, View};

/// A loop that runs over the elements of an input, in terms of the loop that read it.
pub(super) struct Inverse {
    /// Extents of the axes folded over: the old loop axes that are no pivot.
    pub(super) reduced: Vec<usize>,
    /// For each old loop axis, its coordinate in the new loop.
    old: Vec<Coordinate>,
    loops: usize,
}

/// Turns the loop with the extents `output` and `reduced` around `target`.
///
/// # Errors
/// When the view is not one that can be solved.
pub(super) fn invert(target: &View, output: &[usize], reduced: &[usize]) -> Result<Inverse, ProgramError> {
    let fail = |why| {
        Err(ProgramError::Derivative {
            operation: "a view",
            why,
        })
    };
    let extents = [output, reduced].concat();
    // A loop axis of extent 1 is always at 0, whatever its factor.
    let factor = |coordinate: &Coordinate, axis: usize| {
        if extents[axis] == 1 {
            0
        } else {
            coordinate.coefficients[axis]
        }
    };
    let mut pivots: Vec<Option<usize>> = Vec::with_capacity(target.shape.len());
    for (coordinate, extent) in target.coordinates.iter().zip(&target.shape) {
        if coordinate.divisor != 1 {
            return fail("a coordinate has a divisor");
        }
        let alone = |axis: usize| target.coordinates.iter().filter(|c| factor(c, axis) != 0).count() == 1;
        // An output axis of extent 1 still says which element it reads.
        let single = |axis: usize| {
            let reads = |c: &&Coordinate| c.coefficients[axis] != 0;
            extents[axis] == 1 && axis < output.len() && target.coordinates.iter().filter(reads).count() == 1
        };
        // Nothing keeps a folded axis within its extent, unlike an output axis, outside of which the gradient is 0: it must
        // be the whole axis of the input.
        let whole = |axis: usize| {
            let plain = coordinate.offset == 0 && coordinate.coefficients[axis] == 1 && extents[axis] == *extent;
            plain && (0..extents.len()).all(|other| other == axis || factor(coordinate, other) == 0)
        };
        let candidates = (0..extents.len()).filter(|axis| {
            let factor = factor(coordinate, *axis);
            let follows = (factor != 0 && alone(*axis)) || (coordinate.coefficients[*axis] != 0 && single(*axis));
            follows && (*axis < output.len() || whole(*axis))
        });
        // The longest axis, the first of equals, leaves the shortest folds.
        let pivot = candidates.max_by_key(|axis| (extents[*axis], std::cmp::Reverse(*axis)));
        let constant = *extent == 1 && coordinate.offset == 0 && (0..extents.len()).all(|i| factor(coordinate, i) == 0);
        if pivot.is_none() && !constant {
            return fail("an axis follows no loop axis of its own, or a folded one that covers only a part of it");
        }
        pivots.push(pivot);
    }
    let folded: Vec<usize> = (0..extents.len())
        .filter(|axis| !pivots.contains(&Some(*axis)))
        .collect();
    let rank = target.shape.len();
    let loops = rank + folded.len();
    let place = |axis: usize| folded.iter().position(|folded| *folded == axis).map(|at| rank + at);
    let mut old = Vec::with_capacity(extents.len());
    for axis in 0..extents.len() {
        let mut coefficients = vec![0; loops];
        let Some(solved) = pivots.iter().position(|pivot| *pivot == Some(axis)) else {
            if let Some(at) = place(axis) {
                coefficients[at] = 1;
            }
            old.push(Coordinate {
                offset: 0,
                coefficients,
                divisor: 1,
            });
            continue;
        };
        let coordinate = &target.coordinates[solved];
        let pivot = coordinate.coefficients[axis];
        let sign = pivot.signum();
        coefficients[solved] = sign;
        for other in (0..extents.len()).filter(|other| *other != axis) {
            if let Some(at) = place(other) {
                coefficients[at] -= sign * factor(coordinate, other);
            }
        }
        old.push(Coordinate {
            offset: -sign * coordinate.offset,
            coefficients,
            divisor: pivot.abs(),
        });
    }
    Ok(Inverse {
        reduced: folded.iter().map(|axis| extents[*axis]).collect(),
        old,
        loops,
    })
}

impl Inverse {
    /// A coordinate over the old loop, over the new one.
    pub(super) fn coordinate(&self, of: &Coordinate) -> Result<Coordinate, ProgramError> {
        let fail = |why| {
            Err(ProgramError::Derivative {
                operation: "a view",
                why,
            })
        };
        let used = || {
            self.old
                .iter()
                .zip(&of.coefficients)
                .filter(|(_, factor)| **factor != 0)
        };
        let mut divided = used().filter(|(old, _)| old.divisor != 1);
        let divisor = match (divided.next(), divided.next()) {
            (None, _) => 1,
            // The whole coordinate is a whole number exactly where that one is.
            (Some((old, 1)), None) if of.divisor == 1 => old.divisor,
            _ => return fail("strides of two axes meet"),
        };
        let mut result = Coordinate {
            offset: of.offset * divisor,
            coefficients: vec![0; self.loops],
            divisor: divisor * of.divisor,
        };
        for (old, factor) in used() {
            let scale = factor * (divisor / old.divisor);
            result.offset += scale * old.offset;
            for (sum, coefficient) in result.coefficients.iter_mut().zip(&old.coefficients) {
                *sum += scale * coefficient;
            }
        }
        Ok(result)
    }

    /// A view over the old loop, over the new one.
    pub(super) fn view(&self, of: &View, outside: f32) -> Result<View, ProgramError> {
        Ok(View {
            shape: of.shape.clone(),
            coordinates: of
                .coordinates
                .iter()
                .map(|c| self.coordinate(c))
                .collect::<Result<_, _>>()?,
            outside,
        })
    }
}
