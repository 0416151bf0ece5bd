//! The built-in architectures, written as ONNX: input `input`, output `logits`, both with the batch N first. Images are
//! (N, channels, height, width) f32 and give (N, classes); tokens are (N, T) i64 and give (N, T, vocabulary).
//!
//! Weights are drawn uniformly, those of convolutions and fully connected layers from ±√(6 / fan-in) (He et al., arXiv
//! 1502.01852), biases are zero. The draws are [`Stream`](crate::prf::Stream) keyed by the seed (u64 le) and the tensor's
//! name, and every operation is exactly rounded, so a specification gives the same bytes everywhere.

mod plain;
mod resnet;
mod transformer;
mod writer;

#[cfg(test)]
mod tests;

pub use plain::{CnnSpec, MlpSpec, cnn, mlp};
pub use resnet::{ResNetSpec, resnet};
pub use transformer::{TransformerSpec, transformer};
