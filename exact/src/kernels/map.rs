//! Element-wise functions over slices.
//!
//! The loops are written once; compiled for each level of instructions, the compiler turns the branchless functions
//! of `arith` into vector code. Its bits are those of the scalar code, as it may neither reorder nor contract.

use super::{Isa, KernelError, Level};
use crate::definition::Function;

/// `output[i] = function(inputs[0][i], …)`.
///
/// # Errors
/// When the number of inputs is not the function's arity, or an input is not as long as the output.
pub fn map(isa: Isa, function: Function, inputs: &[&[f32]], output: &mut [f32]) -> Result<(), KernelError> {
    let (found, needed) = (inputs.len(), function.arity());
    if found != needed {
        return Err(KernelError::Inputs { found, needed });
    }
    if let Some(input) = inputs.iter().find(|input| input.len() != output.len()) {
        return Err(KernelError::Length {
            what: "an input",
            found: input.len(),
            needed: output.len(),
        });
    }
    // Arguments beyond the arity are ignored, so any slice of the length will do for them.
    let argument = |i: usize| inputs.get(i).copied().unwrap_or(inputs[0]);
    let arguments = [argument(0), argument(1), argument(2)];
    match isa.0 {
        Level::Scalar => run(function, arguments, output),
        // SAFETY: an `Isa` of this level exists only where AVX2 and FMA were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { run_avx2(function, arguments, output) },
        // SAFETY: an `Isa` of this level exists only where AVX-512 F, AVX2 and FMA were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { run_avx512(function, arguments, output) },
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(function: Function, arguments: [&[f32]; 3], output: &mut [f32]) {
    run(function, arguments, output);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512(function: Function, arguments: [&[f32]; 3], output: &mut [f32]) {
    run(function, arguments, output);
}

#[inline(always)]
fn run(function: Function, [x, y, z]: [&[f32]; 3], output: &mut [f32]) {
    // One loop for each function, so that the choice is made outside of it.
    macro_rules! loops {
        ($($name:ident)*) => {
            match function {
                $(Function::$name => {
                    for (((out, x), y), z) in output.iter_mut().zip(x).zip(y).zip(z) {
                        *out = Function::$name.apply([*x, *y, *z]);
                    }
                })*
            }
        };
    }
    loops!(Negate Absolute Sqrt Rsqrt Exp Log Tanh Erf Sin Cos Sigmoid Add Subtract Multiply Divide Maximum Minimum
        Less Equal MultiplyAdd Select);
}
