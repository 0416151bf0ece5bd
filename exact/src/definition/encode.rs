//! A primitive as bytes, and back.
//!
//! ```text
//! primitive  = shape(output) ‖ shape(reduced) ‖ operation number ‖ operation
//! shape      = number of axes ‖ each extent
//! map 0      = number of terms ‖ terms ‖ number of views ‖ views      layout 5 = number of views ‖ views
//! contraction 1 = view ‖ view      sum 2 = view      max 3 = view      find 4 = view ‖ view
//! gather 6   = view ‖ view ‖ axis      scatter-add 7 = view ‖ view ‖ coordinate      random 8 = view ‖ stream
//! view       = shape ‖ a coordinate for each axis ‖ outside as f32
//! coordinate = offset, signed ‖ divisor ‖ a coefficient, signed, for each loop axis
//! term       = 0 ‖ input      or 1 ‖ constant as f32      or 2 ‖ axis
//!           or 3 ‖ function number ‖ as many arguments as it takes
//! ```
//!
//! in the forms of [`crate::encoding`]; functions are numbered as [`Function`] lists them.

use super::{
    Coordinate, Expression, Function, MAX_AXES, MAX_EXTENT, MAX_INPUTS, MAX_TERMS, Operation, Primitive, Term, View,
};
use crate::encoding::{EncodingError, Reader, write_f32, write_number, write_signed};

/// The most bytes of a primitive's encoding. Its other bounds keep every primitive below this: a view has at most
/// 16 · (5 + 5 + 4 + 16 · 4) + 5 bytes, and there are at most 64.
pub const MAX_ENCODING: usize = 1 << 17;

impl Primitive {
    /// Its bytes, at most [`MAX_ENCODING`]. Primitives that differ only in the payload of a NaN, which no element can
    /// show, have the same.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_shape(&mut out, &self.output);
        write_shape(&mut out, &self.reduced);
        match &self.operation {
            Operation::Map(expression, views) => {
                out.push(0);
                write_expression(&mut out, expression);
                write_number(&mut out, views.len() as u64);
            }
            Operation::Contraction(..) => out.push(1),
            Operation::Sum(_) => out.push(2),
            Operation::Max(_) => out.push(3),
            Operation::Find(..) => out.push(4),
            Operation::Layout(views) => {
                out.push(5);
                write_number(&mut out, views.len() as u64);
            }
            Operation::Gather(..) => out.push(6),
            Operation::ScatterAdd(..) => out.push(7),
            Operation::Random(..) => out.push(8),
        }
        for view in self.views() {
            write_view(&mut out, view);
        }
        match &self.operation {
            Operation::Gather(_, _, axis) => write_number(&mut out, *axis as u64),
            Operation::ScatterAdd(_, _, coordinate) => write_coordinate(&mut out, coordinate),
            Operation::Random(_, stream) => write_number(&mut out, u64::from(*stream)),
            _ => {}
        }
        out
    }

    /// The primitive with these bytes.
    ///
    /// # Errors
    /// When they are not exactly what [`Primitive::encode`] gives for some primitive that [`Primitive::new`] accepts.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut reader = Reader::new(bytes, MAX_ENCODING)?;
        let (output, reduced) = (read_shape(&mut reader)?, read_shape(&mut reader)?);
        let loops = output.len() + reduced.len();
        let operation = read_operation(&mut reader, loops)?;
        reader.finish()?;
        Ok(Self::new(output, reduced, operation)?)
    }
}

fn read_operation(reader: &mut Reader<'_>, loops: usize) -> Result<Operation, EncodingError> {
    let found = reader.byte()?;
    Ok(match found {
        0 => Operation::Map(read_expression(reader)?, read_views(reader, loops)?),
        1 => Operation::Contraction(read_view(reader, loops)?, read_view(reader, loops)?),
        2 => Operation::Sum(read_view(reader, loops)?),
        3 => Operation::Max(read_view(reader, loops)?),
        4 => Operation::Find(read_view(reader, loops)?, read_view(reader, loops)?),
        5 => Operation::Layout(read_views(reader, loops)?),
        6 => Operation::Gather(
            read_view(reader, loops)?,
            read_view(reader, loops)?,
            reader.count("axis", MAX_AXES)?,
        ),
        7 => Operation::ScatterAdd(
            read_view(reader, loops)?,
            read_view(reader, loops)?,
            read_coordinate(reader, loops)?,
        ),
        8 => {
            let view = read_view(reader, loops)?;
            let bound = u64::from(u32::MAX);
            let stream = reader.number("stream", bound)?;
            Operation::Random(
                view,
                u32::try_from(stream).map_err(|_| EncodingError::Number { what: "stream", bound })?,
            )
        }
        _ => {
            return Err(EncodingError::Unknown {
                what: "operation",
                found,
            });
        }
    })
}

fn write_shape(out: &mut Vec<u8>, shape: &[usize]) {
    write_number(out, shape.len() as u64);
    for extent in shape {
        write_number(out, *extent as u64);
    }
}

fn read_shape(reader: &mut Reader<'_>) -> Result<Vec<usize>, EncodingError> {
    let axes = reader.count("number of axes", MAX_AXES)?;
    (0..axes).map(|_| reader.count("extent", MAX_EXTENT)).collect()
}

fn write_coordinate(out: &mut Vec<u8>, coordinate: &Coordinate) {
    write_signed(out, coordinate.offset);
    write_signed(out, coordinate.divisor);
    for factor in &coordinate.coefficients {
        write_signed(out, *factor);
    }
}

fn read_coordinate(reader: &mut Reader<'_>, loops: usize) -> Result<Coordinate, EncodingError> {
    let (offset, divisor) = (reader.signed("offset")?, reader.signed("divisor")?);
    let coefficients = (0..loops).map(|_| reader.signed("coefficient"));
    Ok(Coordinate {
        offset,
        coefficients: coefficients.collect::<Result<_, _>>()?,
        divisor,
    })
}

fn write_view(out: &mut Vec<u8>, view: &View) {
    write_shape(out, &view.shape);
    for coordinate in &view.coordinates {
        write_coordinate(out, coordinate);
    }
    write_f32(out, view.outside);
}

fn read_view(reader: &mut Reader<'_>, loops: usize) -> Result<View, EncodingError> {
    let shape = read_shape(reader)?;
    let coordinates = shape.iter().map(|_| read_coordinate(reader, loops));
    let coordinates = coordinates.collect::<Result<_, _>>()?;
    let outside = reader.f32("outside")?;
    Ok(View {
        shape,
        coordinates,
        outside,
    })
}

fn read_views(reader: &mut Reader<'_>, loops: usize) -> Result<Vec<View>, EncodingError> {
    let views = reader.count("number of views", MAX_INPUTS)?;
    (0..views).map(|_| read_view(reader, loops)).collect()
}

fn write_expression(out: &mut Vec<u8>, expression: &Expression) {
    write_number(out, expression.terms().len() as u64);
    for term in expression.terms() {
        match term {
            Term::Input(input) => {
                out.push(0);
                write_number(out, *input as u64);
            }
            Term::Constant(value) => {
                out.push(1);
                write_f32(out, *value);
            }
            Term::Position(axis) => {
                out.push(2);
                write_number(out, *axis as u64);
            }
            Term::Apply(function, arguments) => {
                out.push(3);
                out.push(*function as u8);
                for argument in &arguments[..function.arity()] {
                    write_number(out, *argument as u64);
                }
            }
        }
    }
}

fn read_expression(reader: &mut Reader<'_>) -> Result<Expression, EncodingError> {
    let terms = reader.count("number of terms", MAX_TERMS)?;
    let terms = (0..terms).map(|_| {
        let kind = reader.byte()?;
        Ok(match kind {
            0 => Term::Input(reader.count("input", MAX_INPUTS)?),
            1 => Term::Constant(reader.f32("constant")?),
            2 => Term::Position(reader.count("axis", MAX_AXES)?),
            3 => {
                let found = reader.byte()?;
                let function = *Function::ALL.get(usize::from(found)).ok_or(EncodingError::Unknown {
                    what: "function",
                    found,
                })?;
                let mut arguments = [0; 3];
                for argument in arguments.iter_mut().take(function.arity()) {
                    *argument = reader.count("argument", MAX_TERMS)?;
                }
                Term::Apply(function, arguments)
            }
            found => return Err(EncodingError::Unknown { what: "term", found }),
        })
    });
    let terms = terms.collect::<Result<_, EncodingError>>()?;
    Ok(Expression::new(terms)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_their_own_number() {
        for (number, function) in Function::ALL.iter().enumerate() {
            assert_eq!(*function as usize, number);
        }
    }
}
