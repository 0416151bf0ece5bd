//! Which element of an input the loop stands at.

use super::{DefinitionError, MAX_AXES, MAX_COEFFICIENT, MAX_EXTENT};
use crate::tensor::elements;

/// The coordinate along one axis of an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinate {
    /// The constant part.
    pub offset: i64,
    /// One factor for each loop axis.
    pub coefficients: Vec<i64>,
    /// Divides the sum; positions that do not divide evenly read `outside`. 1 unless undoing a stride.
    pub divisor: i64,
}

impl Coordinate {
    pub(super) fn at(&self, position: &[i64; MAX_AXES]) -> Option<i64> {
        let terms = self.coefficients.iter().zip(position).map(|(factor, at)| factor * at);
        let sum = self.offset + terms.sum::<i64>();
        (sum % self.divisor == 0).then(|| sum / self.divisor)
    }

    pub(super) fn check(&self, loops: usize) -> Result<(), DefinitionError> {
        let found = self.coefficients.len();
        if found != loops {
            return Err(DefinitionError::View {
                what: "coefficients",
                found,
                needed: loops,
            });
        }
        for factor in &self.coefficients {
            within("coefficient", *factor, -MAX_COEFFICIENT, MAX_COEFFICIENT)?;
        }
        within("offset", self.offset, -(MAX_EXTENT as i64), MAX_EXTENT as i64)?;
        within("divisor", self.divisor, 1, MAX_COEFFICIENT)
    }
}

/// How an operation reads one input: see the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The input's shape, row-major.
    pub shape: Vec<usize>,
    /// One coordinate for each axis of `shape`.
    pub coordinates: Vec<Coordinate>,
    /// What is read where a coordinate is fractional or outside the input.
    pub outside: f32,
}

impl View {
    /// The row-major offset in the input, with `shift` added to the coordinate of one axis; `None` for `outside`.
    pub(super) fn offset(&self, position: &[i64; MAX_AXES], shift: Option<(usize, i64)>) -> Option<usize> {
        let mut offset = 0;
        for (axis, (extent, coordinate)) in self.shape.iter().zip(&self.coordinates).enumerate() {
            let shift = shift.map_or(0, |(shifted, by)| if shifted == axis { by } else { 0 });
            let at = usize::try_from(coordinate.at(position)? + shift).ok()?;
            if at >= *extent {
                return None;
            }
            offset = offset * extent + at;
        }
        Some(offset)
    }

    pub(super) fn read(
        &self,
        input: usize,
        position: &[i64; MAX_AXES],
        read: &mut impl FnMut(usize, usize) -> f32,
    ) -> f32 {
        self.offset(position, None)
            .map_or(self.outside, |offset| read(input, offset))
    }

    pub(super) fn check(&self, loops: usize) -> Result<(), DefinitionError> {
        check_shape(&self.shape)?;
        let (found, needed) = (self.coordinates.len(), self.shape.len());
        if found != needed {
            return Err(DefinitionError::View {
                what: "coordinates",
                found,
                needed,
            });
        }
        for coordinate in &self.coordinates {
            coordinate.check(loops)?;
        }
        Ok(())
    }
}

fn within(what: &'static str, found: i64, low: i64, high: i64) -> Result<(), DefinitionError> {
    if (low..=high).contains(&found) {
        Ok(())
    } else {
        Err(DefinitionError::Coordinate { what, found, low, high })
    }
}

pub(super) fn check_shape(shape: &[usize]) -> Result<usize, DefinitionError> {
    if shape.len() > MAX_AXES {
        return Err(DefinitionError::Axes { found: shape.len() });
    }
    let fits = shape.iter().all(|extent| *extent <= MAX_EXTENT);
    elements(shape)
        .filter(|_| fits)
        .ok_or_else(|| DefinitionError::Size(shape.to_vec()))
}
