//! Merging a round: `start + Σ samples·delta / Σ samples`, element by element.
//!
//! Each element is `start + ((n₀·d₀ + n₁·d₁ + …) / Σn)` in f64 without fused operations, summed in the order given, and
//! rounded to f32 once at the end. Every operation is IEEE 754, so every node gets the same bytes from the same list; the
//! caller fixes the list's order (by worker address).

use crate::tensor::{Tensor, Weights};

/// Why weights cannot be merged or subtracted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// A delta has not the tensors of the start weights.
    #[error("{which} {problem} tensor {name:?}")]
    Names {
        /// `delta 2`, or `end weights`.
        which: String,
        /// `lacks` or `has an unknown`.
        problem: &'static str,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than in the start weights.
    #[error("{which}: tensor {name:?} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// `delta 2`, or `end weights`.
        which: String,
        /// The tensor.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape of the start weights.
        expected: Vec<usize>,
    },
    /// A value is NaN or infinite.
    #[error("{which}: tensor {name:?} holds {value} at element {index}; values must be finite")]
    NonFinite {
        /// `start weights`, `delta 2`, `end weights` or `the result`.
        which: String,
        /// The tensor.
        name: String,
        /// The element's row-major index.
        index: usize,
        /// The value found.
        value: f32,
    },
    /// No delta, or all weighted zero, or the sum of samples too large to be exact.
    #[error("the deltas stand for {0} samples; their sum must be between 1 and 2^53")]
    Samples(u128),
}

/// `end − start`, tensor by tensor, each element rounded to f32 once.
///
/// # Errors
/// When names or shapes differ, or a value is or becomes NaN or infinite.
pub fn delta(start: &Weights, end: &Weights) -> Result<Weights, MergeError> {
    comparable(start, end, "end weights")?;
    let mut result = start.clone();
    for ((name, tensor), end) in result.iter_mut().zip(end.values()) {
        for (value, end) in tensor.data_mut().iter_mut().zip(end.data()) {
            *value = end - *value;
        }
        finite("the result", name, tensor)?;
    }
    Ok(result)
}

/// The average of `deltas`, weighted by their samples and added to `start`.
///
/// # Errors
/// When there is no sample at all, names or shapes differ from those of `start`, or a value is or becomes NaN or infinite.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the definition")]
pub fn merge(start: &Weights, deltas: &[(u64, Weights)]) -> Result<Weights, MergeError> {
    let total: u128 = deltas.iter().map(|(samples, _)| u128::from(*samples)).sum();
    if total == 0 || total > 1 << 53 {
        return Err(MergeError::Samples(total));
    }
    for (index, (_, delta)) in deltas.iter().enumerate() {
        comparable(start, delta, &format!("delta {index}"))?;
    }
    // Exact: the total is at most 2⁵³.
    let total = total as f64;
    let mut result = start.clone();
    let mut sums = Vec::new();
    for (name, tensor) in &mut result {
        sums.clear();
        sums.resize(tensor.data().len(), 0f64);
        for (samples, delta) in deltas {
            for (sum, value) in sums.iter_mut().zip(delta[name].data()) {
                *sum += *samples as f64 * f64::from(*value);
            }
        }
        for (value, sum) in tensor.data_mut().iter_mut().zip(&sums) {
            *value = (f64::from(*value) + sum / total) as f32;
        }
        finite("the result", name, tensor)?;
    }
    Ok(result)
}

fn comparable(start: &Weights, other: &Weights, which: &str) -> Result<(), MergeError> {
    let names = |problem, name: &String| MergeError::Names {
        which: which.to_owned(),
        problem,
        name: name.clone(),
    };
    if let Some(name) = start.keys().find(|name| !other.contains_key(*name)) {
        return Err(names("lacks", name));
    }
    for (name, tensor) in other {
        let Some(expected) = start.get(name) else {
            return Err(names("has an unknown", name));
        };
        if tensor.shape() != expected.shape() {
            return Err(MergeError::Shape {
                which: which.to_owned(),
                name: name.clone(),
                found: tensor.shape().to_vec(),
                expected: expected.shape().to_vec(),
            });
        }
        finite("start weights", name, expected)?;
        finite(which, name, tensor)?;
    }
    Ok(())
}

fn finite(which: &str, name: &str, tensor: &Tensor) -> Result<(), MergeError> {
    match tensor.first_non_finite() {
        Some((index, value)) => Err(MergeError::NonFinite {
            which: which.to_owned(),
            name: name.to_owned(),
            index,
            value,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(values: &[f32]) -> Weights {
        Weights::from([
            (
                "w".to_owned(),
                Tensor::new(vec![values.len()], values.to_vec()).unwrap(),
            ),
            ("z".to_owned(), Tensor::scalar(0.5)),
        ])
    }

    #[test]
    fn the_average_is_weighted_by_samples() {
        let start = weights(&[1.0, -2.0]);
        let deltas = [(1, weights(&[4.0, 0.0])), (3, weights(&[0.0, 1.0]))];
        let merged = merge(&start, &deltas).unwrap();
        assert_eq!(merged["w"].data(), [2.0, -1.25]);
        assert_eq!(merged["z"].data(), [1.0]);
    }

    #[test]
    fn what_cannot_be_merged_is_named() {
        let start = weights(&[1.0, 2.0]);
        let mut lacking = start.clone();
        lacking.remove("z");
        let mut unknown = start.clone();
        unknown.insert("q".to_owned(), Tensor::scalar(1.0));
        let table = [
            (lacking, "delta 1 lacks tensor \"z\""),
            (unknown, "delta 1 has an unknown tensor \"q\""),
            (weights(&[1.0]), "delta 1: tensor \"w\" has shape [1], expected [2]"),
            (
                weights(&[1.0, f32::NAN]),
                "delta 1: tensor \"w\" holds NaN at element 1",
            ),
            (
                weights(&[f32::INFINITY, 0.0]),
                "delta 1: tensor \"w\" holds inf at element 0",
            ),
        ];
        for (bad, expected) in table {
            let error = merge(&start, &[(1, start.clone()), (1, bad)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should say {expected:?}");
        }
        let big = weights(&[f32::MAX, 0.0]);
        let error = merge(&big, &[(1, big.clone())]).unwrap_err().to_string();
        assert!(
            error.contains("the result: tensor \"w\" holds inf at element 0"),
            "{error}"
        );
        assert_eq!(merge(&start, &[]), Err(MergeError::Samples(0)));
        assert_eq!(merge(&start, &[(0, start.clone())]), Err(MergeError::Samples(0)));
        let huge = [(u64::MAX, start.clone()), (u64::MAX, start.clone())];
        assert_eq!(merge(&start, &huge), Err(MergeError::Samples(2 * u128::from(u64::MAX))));
        assert!(
            delta(&start, &weights(&[1.0]))
                .unwrap_err()
                .to_string()
                .contains("end weights")
        );
        assert!(
            delta(&weights(&[f32::NAN, 0.0]), &start)
                .unwrap_err()
                .to_string()
                .contains("start weights")
        );
    }

    proptest! {
        #[test]
        fn one_worker_moves_the_start_to_its_end(
            pairs in prop::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 1..9),
            n in 1u64..99,
        ) {
            let (from, to): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let (start, end) = (weights(&from), weights(&to));
            let merged = merge(&start, &[(n, delta(&start, &end).unwrap())]).unwrap();
            for (merged, end) in merged["w"].data().iter().zip(end["w"].data()) {
                prop_assert!((merged - end).abs() <= 2e-4);
            }
            let doubled = merge(&start, &[(n, start.clone())]).unwrap();
            prop_assert_eq!(doubled["z"].data(), &[1.0]);
        }
    }
}
