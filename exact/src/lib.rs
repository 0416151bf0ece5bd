//! What every node must agree on, bit for bit: the model's graph, its tensors, the roots that name a state of training,
//! who trains on which sample, and how rounds are merged.
//!
//! The crate is pure: no I/O, no clock, no randomness, no libm. Equal inputs give equal bytes on every machine, so the
//! chain and the nodes call the same functions and cannot disagree.
//!
//! | module | holds |
//! |---|---|
//! | [`tensor`] | `Tensor` (f32, row-major) and `Weights`, tensors by name |
//! | [`weights_file`] | `Weights` as safetensors bytes, and back |
//! | [`onnx`] | decoding, checking and shape inference of a model's ONNX graph |
//! | [`model`] | the built-in architectures, written as ONNX |
//! | [`merkle`], [`state`], [`trace`] | trees over bytes, over a state of training, over a round |
//! | [`batches`] | which samples a worker trains on, drawn from the beacon |
//! | [`average`] | merging the workers' deltas as f32 |
//! | [`compress`] | quantised sparse deltas with error feedback, merged in integers |
//! | [`task`] | loss and optimizer |
//! | [`arith`] | the floating-point operations, bit for bit |
//! | [`definition`] | the primitives: what one output element of every operation is |
//! | [`kernels`] | the primitives made fast, with the same bits |
//! | [`encoding`] | canonical bytes: how what is hashed or disputed is written and read |
//! | [`program`] | a step of training as one list of primitives; autograd; running it |
//! | [`lower`] | a graph and a task as a program |
//! | [`train`] | steps of training and inference |
//! | [`referee`] | whether a few steps of one element were done as defined, from proofs alone |
//! | [`dispute`] | how two parties find the one claim that the referee decides |
//! | [`prf`] | SHA-256 with a domain tag for each use, and a counter-mode stream |

pub mod arith;
pub mod average;
pub mod batches;
pub mod compress;
pub mod definition;
pub mod dispute;
pub mod encoding;
pub mod kernels;
pub mod lower;
pub mod merkle;
pub mod model;
pub mod onnx;
pub mod prf;
pub mod program;
pub mod referee;
pub mod state;
pub mod task;
pub mod tensor;
pub mod trace;
pub mod train;
pub mod weights_file;

pub use state::state_root;
pub use tensor::{Tensor, Weights};
