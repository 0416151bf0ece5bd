//! Fast forms of the primitives, giving the bits of [`crate::definition`].
//!
//! A kernel may use other registers, another order over *elements* and any number of threads, but for each output
//! element it performs the definition's operations in the definition's order. So neither the instruction set nor the
//! thread count can change a bit; `tests/kernels.rs` holds every kernel against the definition.
//!
//! This folder alone may use `unsafe`, to enter functions compiled for instructions that were detected at run time and
//! to see an array as a vector.

#![allow(unsafe_code)]

mod contraction;
mod map;
mod peak;

pub use contraction::{Matrix, matmul};
pub use map::map;
pub use peak::multiply_adds;

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

/// Operands that do not fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A matrix whose last element lies behind its data.
    #[error("a {rows} x {columns} matrix with strides {strides:?} needs more than its {found} elements")]
    Matrix {
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
        /// Distance between rows, and between columns, in elements.
        strides: [usize; 2],
        /// The elements there are.
        found: usize,
    },
    /// Matrices that cannot be multiplied.
    #[error("{left:?} times {right:?} does not give {found} elements")]
    Product {
        /// Rows and columns of the left matrix.
        left: [usize; 2],
        /// Rows and columns of the right matrix.
        right: [usize; 2],
        /// The length of the output.
        found: usize,
    },
    /// An input of a map that is not as long as its output.
    #[error("an input has {found} elements, the output {needed}")]
    Length {
        /// The input's length.
        found: usize,
        /// The output's length.
        needed: usize,
    },
    /// A wrong number of inputs.
    #[error("{found} inputs, the function takes {needed}")]
    Inputs {
        /// How many there are.
        found: usize,
        /// How many the function takes.
        needed: usize,
    },
}
