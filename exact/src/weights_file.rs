//! Weights as safetensors: f32 only, tensors in name order, no metadata, so the bytes are a function of the tensors.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::tensor::{Tensor, TensorError, Weights};

/// What a weights file from outside may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest header, in bytes.
    pub header_bytes: u64,
    /// Most tensors.
    pub tensors: usize,
    /// Most elements over all tensors.
    pub elements: u64,
    /// Largest rank of a tensor.
    pub rank: usize,
}

impl Default for Limits {
    /// 4 MiB of header, 10 000 tensors, 2²⁸ elements (1 GiB), rank 8.
    fn default() -> Self {
        Self {
            header_bytes: 4 << 20,
            tensors: 10_000,
            elements: 1 << 28,
            rank: 8,
        }
    }
}

/// Why bytes are not a weights file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More than a limit allows.
    #[error("{what} is {found}, the limit is {limit}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The value found.
        found: u64,
        /// The bound it broke.
        limit: u64,
    },
    /// Not safetensors.
    #[error("not a safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A tensor of another type than f32.
    #[error("tensor {name:?} has dtype {dtype:?}; only F32 is supported")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
    },
    /// A tensor whose data does not fit its shape.
    #[error("tensor {name:?}: {error}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        error: TensorError,
    },
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        Tensor::shape(self)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.to_le_bytes())
    }

    fn data_len(&self) -> usize {
        4 * Tensor::data(self).len()
    }
}

/// The safetensors file of `weights`.
///
/// # Errors
/// When the sizes overflow (never for tensors that are held in memory).
pub fn to_safetensors(weights: &Weights) -> Result<Vec<u8>, Error> {
    Ok(safetensors::serialize(weights, None)?)
}

/// The tensors of a safetensors file from an untrusted source. Their values may be anything, NaN and infinities too.
///
/// # Errors
/// When the file is malformed, holds another type than f32 or breaks a limit. Costs no more memory than the limits allow.
pub fn from_safetensors(bytes: &[u8], limits: &Limits) -> Result<Weights, Error> {
    if let Some(length) = bytes.first_chunk::<8>() {
        check(
            "the header's length in bytes",
            u64::from_le_bytes(*length),
            limits.header_bytes,
        )?;
    }
    let file = SafeTensors::deserialize(bytes)?;
    check("the number of tensors", file.len() as u64, limits.tensors as u64)?;
    check(
        "the number of elements",
        bytes.len() as u64 / 4,
        limits.elements.saturating_add(limits.header_bytes / 4 + 2),
    )?;
    let mut weights = Weights::new();
    let mut tensors = file.tensors();
    // Found in the order of a hash table: sorted, so that of several faults always the same one is named.
    tensors.sort_by(|(left, _), (right, _)| left.cmp(right));
    for (name, view) in tensors {
        if view.dtype() != Dtype::F32 {
            return Err(Error::Dtype {
                name,
                dtype: view.dtype(),
            });
        }
        check("the rank of a tensor", view.shape().len() as u64, limits.rank as u64)?;
        match Tensor::from_le_bytes(view.shape().to_vec(), view.data()) {
            Ok(tensor) => weights.insert(name, tensor),
            Err(error) => return Err(Error::Tensor { name, error }),
        };
    }
    let elements = weights.values().map(|tensor| tensor.data().len() as u64).sum();
    check("the number of elements", elements, limits.elements)?;
    Ok(weights)
}

fn check(what: &'static str, found: u64, limit: u64) -> Result<(), Error> {
    if found > limit {
        Err(Error::Limit { what, found, limit })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn bytes_are_the_documented_ones() {
        let weights = Weights::from([
            ("b".to_owned(), Tensor::scalar(1.0)),
            ("a".to_owned(), Tensor::new(vec![1, 2], vec![2.0, 3.0]).unwrap()),
        ]);
        let header = concat!(
            r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"#,
            r#""b":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}"#
        );
        let padded = format!("{header:<width$}", width = header.len().next_multiple_of(8));
        let data = [2f32, 3.0, 1.0].map(f32::to_le_bytes).concat();
        assert_eq!(to_safetensors(&weights).unwrap(), file(&padded, &data));
        assert_eq!(
            from_safetensors(&file(&padded, &data), &Limits::default()).unwrap(),
            weights
        );
        let empty = to_safetensors(&Weights::new()).unwrap();
        assert_eq!(from_safetensors(&empty, &Limits::default()).unwrap(), Weights::new());
    }

    #[test]
    fn hostile_files_are_refused() {
        let one = |dtype: &str, shape: &str, end: u64| {
            file(
                &format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#),
                &[0; 8],
            )
        };
        let tiny = Limits {
            tensors: 1,
            elements: 1,
            rank: 1,
            header_bytes: 200,
        };
        let two = concat!(
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#,
            r#""b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#
        );
        let table: Vec<(Vec<u8>, &str)> = vec![
            (vec![], "not a safetensors file"),
            (vec![1, 2, 3], "not a safetensors file"),
            (
                u64::MAX.to_le_bytes().to_vec(),
                "header's length in bytes is 18446744073709551615, the limit is 200",
            ),
            (file("[]", &[]), "not a safetensors file"),
            (one("I64", "[1]", 8), "tensor \"x\" has dtype I64"),
            (one("F32", "[2]", 9), "not a safetensors file"),
            (one("F32", "[3]", 8), "not a safetensors file"),
            (one("F32", "[4294967296,4294967296]", 8), "not a safetensors file"),
            (one("F32", "[-2]", 8), "not a safetensors file"),
            (one("F32", "[1,2]", 8), "the rank of a tensor is 2, the limit is 1"),
            (one("F32", "[2]", 8), "the number of elements is 2, the limit is 1"),
            (file(two, &[0; 8]), "the number of tensors is 2, the limit is 1"),
        ];
        for (bytes, expected) in table {
            let error = from_safetensors(&bytes, &tiny).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should say {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn every_value_returns_bit_for_bit(bits in prop::collection::vec(any::<u32>(), 0..50), name in "\\PC{0,9}") {
            prop_assume!(name != "__metadata__");
            let data: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
            let weights = Weights::from([(name.clone(), Tensor::new(vec![data.len()], data).unwrap())]);
            let bytes = to_safetensors(&weights).unwrap();
            let back = from_safetensors(&bytes, &Limits::default()).unwrap();
            prop_assert_eq!(back[&name].to_le_bytes(), weights[&name].to_le_bytes());
            prop_assert_eq!(to_safetensors(&back).unwrap(), bytes);
        }

        #[test]
        fn damage_never_panics(cut in 0usize..120, at in 0usize..120, flip: u8) {
            let weights = Weights::from([("w".to_owned(), Tensor::new(vec![4], vec![1.0; 4]).unwrap())]);
            let mut bytes = to_safetensors(&weights).unwrap();
            let length = bytes.len();
            bytes[at % length] ^= flip;
            bytes.truncate(cut.max(1));
            let _ = from_safetensors(&bytes, &Limits::default());
        }
    }
}
