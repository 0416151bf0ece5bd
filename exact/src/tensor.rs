//! f32 tensors and sets of them by name.

use std::collections::BTreeMap;

/// Tensors by ONNX initializer name, in name order: a model's weights, a delta, or an optimizer's state.
pub type Weights = BTreeMap<String, Tensor>;

/// A dense, row-major f32 tensor. The number of elements always equals the product of the shape (1 for a scalar).
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

/// What is wrong with a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The product of the shape does not fit the address space.
    #[error("shape {0:?} has more elements than fit in memory")]
    Overflow(Vec<usize>),
    /// The data does not fill the shape.
    #[error("shape {shape:?} needs {needed} {unit}, found {found}")]
    Length {
        /// The shape asked for.
        shape: Vec<usize>,
        /// How many units the shape needs.
        needed: usize,
        /// How many units the data has.
        found: usize,
        /// `elements` or `bytes`.
        unit: &'static str,
    },
}

/// The number of elements of a shape, or `None` where their bytes would not fit the address space.
pub fn elements(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the product 0, whatever the other dimensions are.
    if shape.contains(&0) {
        return Some(0);
    }
    let count = shape
        .iter()
        .try_fold(1usize, |product, dim| product.checked_mul(*dim))?;
    (count <= isize::MAX as usize / 4).then_some(count)
}

impl Tensor {
    /// A tensor of `shape` holding `data` in row-major order.
    ///
    /// # Errors
    /// When the number of elements of `shape` overflows or differs from `data.len()`.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Result<Self, TensorError> {
        match elements(&shape) {
            None => Err(TensorError::Overflow(shape)),
            Some(needed) if needed != data.len() => Err(TensorError::Length {
                shape,
                needed,
                found: data.len(),
                unit: "elements",
            }),
            Some(_) => Ok(Self { shape, data }),
        }
    }

    /// A tensor of `shape` from little-endian f32 bytes.
    ///
    /// # Errors
    /// When the number of bytes of `shape` overflows or differs from `bytes.len()`.
    pub fn from_le_bytes(shape: Vec<usize>, bytes: &[u8]) -> Result<Self, TensorError> {
        match elements(&shape) {
            None => Err(TensorError::Overflow(shape)),
            Some(count) if count * 4 != bytes.len() => Err(TensorError::Length {
                shape,
                needed: count * 4,
                found: bytes.len(),
                unit: "bytes",
            }),
            Some(_) => {
                let data = bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|chunk| f32::from_le_bytes(*chunk))
                    .collect();
                Ok(Self { shape, data })
            }
        }
    }

    /// A tensor of zeros with the shape of `self`.
    pub fn zeros_like(&self) -> Self {
        Self {
            shape: self.shape.clone(),
            data: vec![0.0; self.data.len()],
        }
    }

    /// A scalar: rank 0, one element.
    pub fn scalar(value: f32) -> Self {
        Self {
            shape: Vec::new(),
            data: vec![value],
        }
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Elements in row-major order, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Puts other elements in the place of these, which it gives back. Where their number differs, nothing changes and
    /// `data` comes back.
    pub(crate) fn replace(&mut self, mut data: Vec<f32>) -> Vec<f32> {
        if data.len() == self.data.len() {
            std::mem::swap(&mut data, &mut self.data);
        }
        data
    }

    /// The elements as little-endian bytes, row-major.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.data.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Index and value of the first NaN or infinity, if there is one.
    pub fn first_non_finite(&self) -> Option<(usize, f32)> {
        self.data
            .iter()
            .copied()
            .enumerate()
            .find(|(_, value)| !value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_check_the_number_of_elements() {
        assert_eq!(Tensor::new(vec![2, 3], vec![0.0; 6]).unwrap().shape(), [2, 3]);
        assert_eq!(Tensor::new(vec![], vec![1.0]).unwrap(), Tensor::scalar(1.0));
        assert_eq!(Tensor::new(vec![usize::MAX, 0], vec![]).unwrap().data(), [0f32; 0]);
        let short = Tensor::new(vec![2, 3], vec![0.0; 5]).unwrap_err();
        assert_eq!(short.to_string(), "shape [2, 3] needs 6 elements, found 5");
        let ragged = Tensor::from_le_bytes(vec![1], &[0; 5]).unwrap_err();
        assert_eq!(ragged.to_string(), "shape [1] needs 4 bytes, found 5");
        for shape in [vec![usize::MAX, 2], vec![usize::MAX], vec![1 << 40, 1 << 40]] {
            assert_eq!(Tensor::new(shape.clone(), vec![]), Err(TensorError::Overflow(shape)));
        }
    }

    #[test]
    fn bytes_are_little_endian_and_return() {
        let tensor = Tensor::new(vec![2], vec![1.0, -0.0]).unwrap();
        assert_eq!(tensor.to_le_bytes(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0x80]);
        let back = Tensor::from_le_bytes(vec![2], &tensor.to_le_bytes()).unwrap();
        assert_eq!(back.data()[1].to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn non_finite_values_are_found() {
        let tensor = Tensor::new(vec![3], vec![1.0, f32::NEG_INFINITY, f32::NAN]).unwrap();
        assert_eq!(tensor.first_non_finite(), Some((1, f32::NEG_INFINITY)));
        assert_eq!(Tensor::scalar(f32::MAX).first_non_finite(), None);
    }
}
