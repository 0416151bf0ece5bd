"""Writes `cases.safetensors`: the published test cases of ONNX's operators that this crate's operators have.

Made with onnx 1.23.2 (Apache-2.0, https://github.com/onnx/onnx), whose `onnx.backend.test` holds them; run it only to make
the file anew.

A case is a model of one node with its inputs and outputs. Here the inputs become initializers, and the first output (of
`Split` all, one after the other) becomes `y = output + p · x` with an input `x` (N, 1) that is 0 and a parameter `p`, since
a graph to be trained has both. Each case is two tensors, `name/model` (the file) and `name/expected` (f32, flat); one that
cannot be packed is `name/skipped`, the reason in words.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from safetensors.numpy import save_file

OPERATORS = set(
    """Abs Add And AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv Cos Div Dropout Equal Erf Exp
    Expand Flatten Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid
    HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool
    Mean Min Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Shape
    Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Sum Swish Tanh Transpose Trilu Unsqueeze Where Xor""".split()
)
TYPES = {np.dtype(name) for name in ("float32", "int32", "int64", "bool")}
LARGEST = 20_000


def pack(case):
    """The model and what it gives, or the reason why there is none."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    inputs, outputs = case.data_sets[0]
    if graph.node[0].op_type != "Split":
        # Masks, indices and statistics have no place in a graph to be trained.
        outputs = outputs[:1]
        del graph.output[1:]
    for opset in model.opset_import:
        # The logical operators' first versions, which are still those of later sets.
        opset.version = max(opset.version, 9)
    if graph.node[0].op_type == "Dropout" and case.name.startswith("test_training"):
        return "random numbers of the reference's own"
    if graph.node[0].op_type == "BatchNormalization" and "training" in case.name:
        return "statistics of the batch, which only a step of training uses"
    if any(not isinstance(array, (np.ndarray, np.generic)) for array in [*inputs, *outputs]):
        return "an operand is no tensor"
    odd = {str(np.asarray(array).dtype) for array in [*inputs, *outputs]} - {str(kind) for kind in TYPES}
    if odd:
        return f"element type {', '.join(sorted(odd))}"
    if any(np.asarray(array).size == 0 for array in outputs):
        return "an empty output"
    if sum(np.asarray(array).size for array in [*inputs, *outputs]) > LARGEST:
        return f"more than {LARGEST} elements"
    for info, array in zip(graph.input, inputs):
        graph.initializer.append(numpy_helper.from_array(np.asarray(array), info.name))
    del graph.input[:]
    constants = {"flat_": np.array([-1]), "first_": np.array([0])}
    parts = []
    for i, (info, array) in enumerate(zip(graph.output, outputs)):
        value = info.name
        if np.asarray(array).dtype != np.float32:
            graph.node.append(helper.make_node("Cast", [value], [f"float_{i}"], to=TensorProto.FLOAT))
            value = f"float_{i}"
        graph.node.append(helper.make_node("Reshape", [value, "flat_"], [f"part_{i}"]))
        parts.append(f"part_{i}")
    graph.node.append(helper.make_node("Concat", parts, ["all_"], axis=0))
    graph.node.append(helper.make_node("Reshape", ["all_", "row_"], ["result_"]))
    graph.node.append(helper.make_node("Mul", ["x_", "p_"], ["zero_"]))
    graph.node.append(helper.make_node("Add", ["result_", "zero_"], ["y_"]))
    constants["row_"] = np.array([1, -1])
    for name, array in constants.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 1), np.float32), "p_"))
    graph.input.append(helper.make_tensor_value_info("x_", TensorProto.FLOAT, ["N", 1]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("y_", TensorProto.FLOAT, None))
    expected = np.concatenate([np.asarray(array).astype(np.float32).reshape(-1) for array in outputs])
    return model.SerializeToString(), expected


tensors = {}
for case in sorted(collect_testcases(None), key=lambda case: case.name):
    nodes = case.model.graph.node
    # Those that are written with other operators repeat what the operator's own case says.
    if len(nodes) != 1 or nodes[0].op_type not in OPERATORS or nodes[0].domain not in ("", "ai.onnx"):
        continue
    packed = pack(case)
    if isinstance(packed, str):
        tensors[f"{case.name}/skipped"] = np.frombuffer(packed.encode(), np.uint8).copy()
    else:
        tensors[f"{case.name}/model"] = np.frombuffer(packed[0], np.uint8).copy()
        tensors[f"{case.name}/expected"] = packed[1]
save_file(tensors, "cases.safetensors")
