//! Fast forms of the primitives, giving the bits of [`crate::definition`].
//!
//! A kernel may use other registers, another order over *elements* and any number of threads, but for each output
//! element it performs the definition's operations in the definition's order. So neither the instruction set nor the
//! thread count can change a bit; `tests/kernels.rs` holds every kernel against the definition.
//!
//! This folder alone may use `unsafe`: to enter functions compiled for instructions that were detected at run time, to
//! read and write vectors at offsets that a plan was checked for, and to let threads write parts of one output.

#![allow(unsafe_code)]

mod affine;
mod contraction;
mod fold;
mod gather;
mod layout;
mod map;
mod peak;
mod phases;
mod pool;
mod random;
mod scatter;
mod scratch;
mod shared;
mod simd;
mod walk;

pub use peak::multiply_adds;
pub use pool::Pool;

use std::fmt;
use std::str::FromStr;

use crate::definition::{Expression, Operation, Primitive, Term};
use contraction::Contraction;
use fold::Fold;
use gather::Gather;
use layout::Layout;
use map::Map;
use phases::Phases;
use scatter::Scatter;
use shared::Shared;

/// The instructions a kernel uses. A value of this type exists only for instructions that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Portable code, on every CPU.
    pub const SCALAR: Self = Self(Level::Scalar);

    /// AVX2 and FMA, if this CPU has them.
    pub fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Self(Level::Avx2));
        }
        None
    }

    /// AVX-512 F, if this CPU has it.
    pub fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if Self::avx2().is_some() && is_x86_feature_detected!("avx512f") {
            return Some(Self(Level::Avx512));
        }
        None
    }

    /// The fastest this CPU has.
    pub fn best() -> Self {
        Self::avx512().or_else(Self::avx2).unwrap_or(Self::SCALAR)
    }
}

/// The most elements of an output that is planned for.
const MAX_ELEMENTS: usize = 1 << 31;

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Level::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        })
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let found = match name {
            "scalar" => Some(Self::SCALAR),
            "avx2" => Self::avx2(),
            "avx512" => Self::avx512(),
            _ => return Err(IsaError::Unknown(name.to_owned())),
        };
        found.ok_or_else(|| IsaError::Missing(name.to_owned()))
    }
}

/// Why there are no such instructions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No such name.
    #[error("the instructions {0:?} are not known: choose scalar, avx2 or avx512")]
    Unknown(String),
    /// Not on this CPU.
    #[error("this CPU has no {0}")]
    Missing(String),
}

/// A primitive made ready to run: the form that suits it is chosen once.
#[derive(Clone, Debug)]
pub struct Kernel {
    primitive: Primitive,
    /// How many elements each input has.
    lengths: Vec<usize>,
    form: Form,
}

/// How a primitive is run.
#[derive(Clone, Debug)]
enum Form {
    /// By its definition, element by element.
    Defined,
    Contraction(Box<Contraction>),
    Fold(Fold),
    Gather(Gather),
    Layout(Layout),
    Map(Map),
    Phases(Phases),
    Random(u32),
    Scatter(Scatter),
}

impl Form {
    fn new(primitive: &Primitive) -> Option<Self> {
        // Plans hold tables for axes of the output, which such an output would not fit in memory with.
        if primitive.elements() == 0 || primitive.elements() > MAX_ELEMENTS || primitive.terms() == 0 {
            return None;
        }
        Phases::new(primitive)
            .map(Self::Phases)
            .or_else(|| Self::whole(primitive))
    }

    /// The form that performs every step.
    fn whole(primitive: &Primitive) -> Option<Self> {
        match primitive.operation() {
            Operation::Contraction(a, b) => {
                let contraction = Contraction::new(primitive, a, b)?;
                if contraction.is_batch() {
                    Fold::new(primitive).map(Self::Fold)
                } else {
                    Some(Self::Contraction(Box::new(contraction)))
                }
            }
            Operation::Sum(_) | Operation::Max(_) | Operation::Find(..) => Fold::new(primitive).map(Self::Fold),
            Operation::ScatterAdd(indices, updates, at) => Scatter::new(primitive, indices, updates, at)
                .map(Self::Scatter)
                .or_else(|| Fold::new(primitive).map(Self::Fold)),
            Operation::Layout(views) => Layout::new(primitive, views).map(Self::Layout).or_else(|| {
                // One view is also a map that does nothing.
                let same = Expression::new(vec![Term::Input(0)]).ok()?;
                Map::new(primitive, &same, views)
                    .filter(|_| views.len() == 1)
                    .map(Self::Map)
            }),
            Operation::Gather(indices, data, axis) => Gather::new(primitive, indices, data, *axis).map(Self::Gather),
            Operation::Random(_, stream) => Some(Self::Random(*stream)),
            Operation::Map(expression, views) => Map::new(primitive, expression, views).map(Self::Map),
        }
    }

    fn run(
        &self,
        primitive: &Primitive,
        isa: Isa,
        pool: &Pool,
        inputs: &[&[f32]],
        output: &mut [f32],
    ) -> Result<(), KernelError> {
        match self {
            Self::Defined => defined(primitive, pool, inputs, output),
            Self::Contraction(contraction) => contraction.run(isa, pool, inputs, output),
            Self::Fold(fold) => fold.run(isa, pool, inputs, output),
            Self::Gather(gather) => gather.run(isa, pool, inputs, output),
            Self::Layout(layout) => layout.run(isa, pool, inputs, output),
            Self::Phases(phases) => phases.run(primitive, isa, pool, inputs, output)?,
            Self::Random(stream) => random::run(isa, pool, *stream, inputs[0], output),
            Self::Scatter(scatter) => scatter.run(isa, pool, inputs, output),
            Self::Map(map) => map.run(isa, pool, inputs, output),
        }
        Ok(())
    }
}

/// The definition itself, for what has no faster form.
fn defined(primitive: &Primitive, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) {
    const PART: usize = 64;
    let elements = output.len();
    let output = Shared::new(output);
    pool.run(elements.div_ceil(PART), |task| {
        let first = task * PART;
        // SAFETY: the parts of different tasks do not overlap.
        let part = unsafe { output.part(first..elements.min(first + PART)) };
        for (i, value) in part.iter_mut().enumerate() {
            *value = primitive.element(first + i, |input, offset| inputs[input][offset]);
        }
    });
}

impl Kernel {
    /// Chooses how to run `primitive`.
    pub fn new(primitive: &Primitive) -> Self {
        let views = primitive.views();
        Self {
            primitive: primitive.clone(),
            lengths: views.iter().map(|view| view.shape.iter().product()).collect(),
            form: Form::new(primitive).unwrap_or(Form::Defined),
        }
    }

    /// Writes every element of the output, row-major: the bits of [`Primitive::element`], whatever `isa` and `pool`
    /// are. `inputs` are as many as the primitive has views, each with as many elements as its view's shape.
    ///
    /// # Errors
    /// When an input or the output has another number of elements.
    pub fn run(&self, isa: Isa, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) -> Result<(), KernelError> {
        if inputs.len() != self.lengths.len() {
            return Err(KernelError::Inputs {
                found: inputs.len(),
                needed: self.lengths.len(),
            });
        }
        for (input, needed) in inputs.iter().zip(&self.lengths) {
            if input.len() != *needed {
                return Err(KernelError::Length {
                    what: "an input",
                    found: input.len(),
                    needed: *needed,
                });
            }
        }
        if output.len() != self.primitive.elements() {
            return Err(KernelError::Length {
                what: "the output",
                found: output.len(),
                needed: self.primitive.elements(),
            });
        }
        self.form.run(&self.primitive, isa, pool, inputs, output)
    }
}

/// Why a kernel did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Threads that the system did not give.
    #[error("no pool of {found} threads: {reason}")]
    Threads {
        /// How many were asked for.
        found: usize,
        /// What the system says.
        reason: String,
    },
    /// An input or an output with another number of elements than the primitive's.
    #[error("{what} has {found} elements, the primitive {needed}")]
    Length {
        /// `an input` or `the output`.
        what: &'static str,
        /// How many it has.
        found: usize,
        /// How many the primitive has.
        needed: usize,
    },
    /// A wrong number of inputs.
    #[error("{found} inputs, the primitive takes {needed}")]
    Inputs {
        /// How many there are.
        found: usize,
        /// How many the function takes.
        needed: usize,
    },
}
