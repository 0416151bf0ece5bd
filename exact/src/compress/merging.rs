//! Merging compressed deltas in integers.

use super::block::{BLOCK_ELEMENTS, MIN_EXPONENT, Quantum};
use super::delta::CompressedDelta;
use crate::average::MergeError;
use crate::tensor::Weights;

/// Most samples that a merge may stand for, 2⁵³: so the sum of an element is below 2⁵³·127·2⁶⁴ < 2¹²⁴.
const MAX_SAMPLES: u128 = 1 << 53;

/// `start` moved by the average of `deltas`, weighted by their samples. Each element:
///
/// ```text
/// sum = Σ samples·q·2^(s + 48)     over all workers, in integers
/// N   = Σ samples                  between 1 and 2⁵³
/// end = start                      where sum = 0
///     = start + sum/N·2⁻⁴⁸         else: the quotient rounded to f32 once, half to even, then one f32 addition
/// ```
///
/// The sum is exact, so the order of the workers cannot matter.
///
/// # Errors
/// When there is no sample or too many, names or shapes differ from those of `start`, or `start` holds NaN or infinity.
pub fn merge(start: &Weights, deltas: &[(u64, &CompressedDelta)]) -> Result<Weights, MergeError> {
    let total = total(deltas.iter().map(|(samples, _)| *samples))?;
    for (index, (_, delta)) in deltas.iter().enumerate() {
        same_layout(start, delta, index)?;
    }
    let mut result = start.clone();
    let mut sums = [0i128; BLOCK_ELEMENTS];
    for (name, tensor) in &mut result {
        if let Some((index, value)) = tensor.first_non_finite() {
            return Err(MergeError::NonFinite {
                which: "start weights".to_owned(),
                name: name.clone(),
                index,
                value,
            });
        }
        for (index, values) in tensor.data_mut().chunks_mut(BLOCK_ELEMENTS).enumerate() {
            sums.fill(0);
            for (samples, delta) in deltas {
                let Some(block) = delta.tensors().get(name).and_then(|blocks| blocks.block(index)) else {
                    continue;
                };
                // The weight of 1 in this block; with |q| ≤ 127 and N ≤ 2⁵³ nothing here reaches 2¹²⁴.
                let unit = i128::from(*samples) << (i32::from(block.exponent()) - i32::from(MIN_EXPONENT));
                for (sum, value) in sums.iter_mut().zip(block.values()) {
                    if *value != 0 {
                        *sum += unit * i128::from(*value);
                    }
                }
            }
            for (value, sum) in values.iter_mut().zip(&sums) {
                *value = moved(*value, *sum, total);
            }
        }
    }
    Ok(result)
}

/// What one worker adds to one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// The samples that its delta stands for.
    pub samples: u64,
    /// Its value of the element.
    pub quantum: Quantum,
}

/// One element of [`merge`], from its start and what each worker adds to it.
///
/// # Errors
/// When the contributions stand for no sample or too many, or `start` is NaN or infinite.
pub fn merged_element(start: f32, contributions: &[Contribution]) -> Result<f32, MergeError> {
    let total = total(contributions.iter().map(|part| part.samples))?;
    if !start.is_finite() {
        let (which, name) = ("start weights".to_owned(), String::new());
        return Err(MergeError::NonFinite {
            which,
            name,
            index: 0,
            value: start,
        });
    }
    let sum = contributions
        .iter()
        .map(|part| i128::from(part.samples) * part.quantum.in_finest_units())
        .sum();
    Ok(moved(start, sum, total))
}

/// The sum of samples, where it is in bounds.
fn total(samples: impl Iterator<Item = u64>) -> Result<u64, MergeError> {
    let total = samples.map(u128::from).sum();
    match u64::try_from(total) {
        Ok(within @ 1..) if total <= MAX_SAMPLES => Ok(within),
        _ => Err(MergeError::Samples(total)),
    }
}

fn same_layout(start: &Weights, delta: &CompressedDelta, index: usize) -> Result<(), MergeError> {
    let which = || format!("delta {index}");
    let names = |problem, name: &String| MergeError::Names {
        which: which(),
        problem,
        name: name.clone(),
    };
    if let Some(name) = start.keys().find(|name| !delta.tensors().contains_key(*name)) {
        return Err(names("lacks", name));
    }
    for (name, blocks) in delta.tensors() {
        let tensor = start.get(name).ok_or_else(|| names("has an unknown", name))?;
        if tensor.shape() != blocks.shape() {
            return Err(MergeError::Shape {
                which: which(),
                name: name.clone(),
                found: blocks.shape().to_vec(),
                expected: tensor.shape().to_vec(),
            });
        }
    }
    Ok(())
}

/// `start` moved by `sum/total` units of `2^MIN_EXPONENT`.
fn moved(start: f32, sum: i128, total: u64) -> f32 {
    if sum == 0 { start } else { start + quotient(sum, total) }
}

/// `sum/total·2^MIN_EXPONENT` rounded to f32 once, half to even, for `0 < |sum| < 2¹²⁶` and `0 < total ≤ 2⁵³`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the exponent moves, the significand of 24 bits stays"
)]
fn quotient(sum: i128, total: u64) -> f32 {
    let dividend = sum.unsigned_abs();
    // With bit 126 set the quotient has at least 74 bits, so that a lowest bit for all that is cut off rounds rightly.
    let shift = dividend.leading_zeros() - 1;
    let (dividend, total) = (dividend << shift, u128::from(total));
    let sticky = u128::from(!dividend.is_multiple_of(total));
    let rounded = f64::from(((dividend / total) | sticky) as f32);
    // At least 2⁻⁴⁸/2⁵³ and below 2²⁴: a normal f32, so that moving the exponent is exact.
    let exponent = 1023 + i64::from(MIN_EXPONENT) - i64::from(shift);
    let magnitude = (rounded * f64::from_bits(exponent.cast_unsigned() << 52)) as f32;
    if sum < 0 { -magnitude } else { magnitude }
}
