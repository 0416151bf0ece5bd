//! ONNX's wire format, generated from `proto/onnx.proto`.
#![allow(missing_docs, unreachable_pub, rust_2018_idioms, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
