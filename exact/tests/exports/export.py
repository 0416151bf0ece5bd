"""Writes the ONNX files beside it: networks exported by both of PyTorch's exporters, and what PyTorch computes.

Made with torch 2.13.0, onnx 1.23.2, onnxscript and safetensors; run it only to make the files anew.
"""

import onnx
import torch
from networks import BERT, GPT, Attention, Flash, Misc, ResNet
from safetensors.torch import save_file
from torch import nn


class Net(nn.Module):
    """Convolutions, normalisation, pooling, a traced reshape, dropout."""

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 4, 3, padding=1)
        self.b1 = nn.BatchNorm2d(4)
        self.c2 = nn.Conv2d(4, 6, 3, stride=2, groups=2)
        self.d = nn.Dropout(0.25)
        self.p = nn.MaxPool2d(2)
        self.a = nn.AvgPool2d(2, padding=1)
        self.f = nn.Linear(24, 8)
        self.g = nn.Linear(8, 3)

    def forward(self, x):
        x = self.p(torch.relu(self.b1(self.c1(x))))
        x = self.a(torch.clamp(self.c2(x), -1, 1))
        x = x.view(x.size(0), -1)
        x = self.d(torch.tanh(self.f(x)))
        return self.g(x) * 2.0


class Head(nn.Module):
    """Means, permutations, matrix products in three dimensions, arithmetic with constants."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(1, 4, 3)
        self.m = nn.Linear(4, 4)
        self.l = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.sigmoid(self.c(x))
        y = x.mean((2, 3))
        z = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        t = self.m(x.permute(0, 2, 3, 1)).mean((1, 2))
        h = (y - z * 0.5 + t) / 1.5
        return torch.log_softmax(self.l(h.unsqueeze(1).squeeze(1)), 1)


def strip(path):
    """Leaves out stack traces and the like."""
    model = onnx.load(path)
    del model.metadata_props[:]
    for group in (model.graph.node, model.graph.input, model.graph.output, model.graph.value_info):
        for item in group:
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def script(net, x, path, **options):
    torch.onnx.export(net, (x,), path, dynamo=False, input_names=["input"], output_names=["logits"], **options)
    strip(path)


def dynamo(net, x, path):
    shapes = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(net, (x,), path, dynamo=True, dynamic_shapes=shapes, external_data=False)
    strip(path)


BATCH = {"dynamic_axes": {"input": {0: "N"}}}
TRAINING = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}

def tokens(count):
    return torch.randint(0, 13, (count, 6))


def images(*sample):
    return lambda count: torch.randn(count, *sample)


def export(name, net, inputs, fixed):
    """Writes a network in all ways, and its logits."""
    x = inputs(5)
    net.train()
    for _ in range(3):
        net(inputs(8))  # moves the running statistics
    script(net, x, f"{name}_training.onnx", **BATCH, **TRAINING)
    # Tracing in training mode moved the statistics once more: what counts are those in the file.
    state = net.state_dict()
    for tensor in onnx.load(f"{name}_training.onnx").graph.initializer:
        if tensor.name in state:
            state[tensor.name].copy_(torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()))
    net.eval()
    save_file({"input": x.to(torch.float32), "logits": net(x).detach().contiguous()}, f"{name}.safetensors")
    script(net, x, f"{name}_script.onnx", **BATCH)
    if fixed:
        script(net, x[:1], f"{name}_fixed.onnx")
    dynamo(net, x, f"{name}_dynamo.onnx")


torch.manual_seed(0)
first = (("net", Net(), images(1, 14, 14)), ("head", Head(), images(1, 6, 6)))
for name, net, inputs in first:
    export(name, net, inputs, True)
for name, net, inputs in (
    ("resnet", ResNet(), images(3, 16, 16)),
    ("gpt", GPT(Attention), tokens),
    ("flash", GPT(Flash), tokens),
    ("bert", BERT(), tokens),
    ("misc", Misc(), images(2, 8, 8)),
):
    export(name, net, inputs, False)
