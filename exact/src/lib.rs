//! Bit-exact training: the ONNX graph, tensors, state roots
