"""ONNX graphs with two outputs, scores and embeddings: made from published graphs, or exported from our modules.

A published graph ends in a Gemm and has one output, the scores. The input of that Gemm is the embedding, so it is
declared as a second output. ONNX Runtime's kernel for PReLU is slow, so PReLU is replaced by equivalent operators.
Both steps edit the serialised graph directly, so that annotating does not need the ``onnx`` package.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelUnavailable

if TYPE_CHECKING:
    from .architectures import Network

OPSET = 17
"""It has every operator that these networks need, and every ONNX Runtime since 1.11 (2022) supports it."""

# Field numbers in onnx.proto: ModelProto.graph; GraphProto.node, initializer, input, output; NodeProto.input, output,
# op_type, attribute; AttributeProto.name, i, t, type; TensorProto.dims, data_type, name, raw_data; ValueInfoProto.name,
# type; TypeProto.tensor_type, its shape, and of that dim, dim_param.
_GRAPH, _NODE, _INITIALIZER, _INPUT, _OUTPUT = 7, 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_TYPE = 1, 3, 5, 20
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW_DATA = 1, 2, 8, 9
_NAME, _TYPE, _TENSOR_TYPE, _SHAPE, _DIM, _DIM_PARAM = 1, 2, 1, 2, 1, 2
_LENGTH = 2
"""Wire type: a length, then that number of bytes."""
_FLOAT, _INT64 = 1, 7
"""Values of TensorProto.DataType."""
_INT = 2
"""Value of AttributeProto.AttributeType."""
# ModelProto.functions; FunctionProto.node; GraphProto.sparse_initializer; SparseTensorProto.values, indices;
# AttributeProto.t, tensors; sparse_tensor, sparse_tensors; g, graphs;
# TensorProto.external_data.
_FUNCTION, _FUNCTION_NODE = 25, 7
_SPARSE, _SPARSE_VALUES, _SPARSE_INDICES = 15, 1, 2
_ATTRIBUTE_TENSORS, _ATTRIBUTE_SPARSE, _ATTRIBUTE_GRAPHS = (5, 10), (22, 23), (6, 11)
_EXTERNAL = 13


def session(model: bytes, threads: int = 0, sizes: Mapping[str, int] | None = None) -> Any:
    """A graph ready to run in ONNX Runtime, on the CPU.

    With one thread it computes in the calling thread and releases the GIL, so one session, with one copy of the
    weights, can serve as many callers as there are cores.

    Args:
        threads: size of its thread pool; 0 leaves it to ONNX Runtime.
        sizes: values of the graph's symbolic dimensions, by name.

    Raises:
        ModelUnavailable: ONNX Runtime cannot use it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # its warnings are about initialisers in old graphs
    for name, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no other common base class
        raise ModelUnavailable(f"ONNX Runtime cannot use it ({str(error)[:200]}).") from error


def with_embeddings(model: bytes) -> tuple[bytes, tuple[str, str]]:
    """Declare the input of a classifier's last Gemm as an output of the graph.

    Args:
        model: a serialised ONNX model with one output, made by a Gemm.

    Returns:
        the model with a second output, and the names of both: scores, embeddings.

    Raises:
        ModelUnavailable: it is not an ONNX model, or does not end in a Gemm.
    """
    try:
        graph = b"".join(_values(model, _GRAPH))
        outputs = [_text(value, _NAME) for value in _values(graph, _OUTPUT)]
        last = [node for node in _values(graph, _NODE) if _text(node, _NODE_OUTPUT) in outputs]
        if len(outputs) != 1 or len(last) != 1 or _text(last[0], _NODE_KIND) != "Gemm":
            raise ModelUnavailable("it does not end in a linear layer (Gemm), so its embeddings are unknown.")
        embeddings = _text(last[0], _NODE_INPUT)
    except (ValueError, IndexError, StopIteration) as error:
        raise ModelUnavailable("it is not an ONNX model, or only a part of one.") from error
    # Concatenated protocol buffers are merged: appending a model that contains only one more output adds that output
    # to the first.
    addition = _field(_GRAPH, _field(_OUTPUT, _field(_NAME, embeddings.encode())))
    return model + addition, (outputs[0], embeddings)


def check_alone(model: bytes) -> None:
    """Raise ModelUnavailable for a graph with external data: ONNX Runtime would read any file that it names.

    Args:
        model: a serialised ONNX model; anything else is left to ONNX Runtime.
    """
    try:
        if any(any(_values(tensor, _EXTERNAL)) for graph in _values(model, _GRAPH) for tensor in _tensors(graph)):
            raise ModelUnavailable("it stores weights in other files; save it as one file.")
        # Functions of a model contain nodes as graphs do, under another field number.
        for function in _values(model, _FUNCTION):
            for node in _values(function, _FUNCTION_NODE):
                if any(any(_values(tensor, _EXTERNAL)) for tensor in _of_node(node)):
                    raise ModelUnavailable("it stores weights in other files; save it as one file.")
    except (ValueError, IndexError, RecursionError) as error:
        raise ModelUnavailable("it is not an ONNX model, or only a part of one.") from error


def _tensors(graph: bytes) -> Iterator[bytes]:
    """All tensors in a graph and the graphs in it."""
    yield from _values(graph, _INITIALIZER)
    for sparse in _values(graph, _SPARSE):
        yield from _values(sparse, _SPARSE_VALUES)
        yield from _values(sparse, _SPARSE_INDICES)
    for node in _values(graph, _NODE):
        yield from _of_node(node)


def _of_node(node: bytes) -> Iterator[bytes]:
    for attribute in _values(node, _ATTRIBUTE):
        for number in _ATTRIBUTE_TENSORS:
            yield from _values(attribute, number)
        for number in _ATTRIBUTE_SPARSE:
            for sparse in _values(attribute, number):
                yield from _values(sparse, _SPARSE_VALUES)
                yield from _values(sparse, _SPARSE_INDICES)
        for number in _ATTRIBUTE_GRAPHS:
            for graph in _values(attribute, number):
                yield from _tensors(graph)


def free_dimension(model: bytes) -> str | None:
    """The name of the batch dimension, the first of a model's input; None if it is fixed.

    Raises:
        ModelUnavailable: it is not an ONNX model.
    """
    try:
        graph = b"".join(_values(model, _GRAPH))
        initialised = {_text(tensor, _TENSOR_NAME) for tensor in _values(graph, _INITIALIZER)}
        # Old exporters also list the weights as inputs.
        given = next(value for value in _values(graph, _INPUT) if _text(value, _NAME) not in initialised)
        for number in (_TYPE, _TENSOR_TYPE, _SHAPE, _DIM):
            given = next(_values(given, number))
        return next((name.decode() for name in _values(given, _DIM_PARAM)), None)
    except (ValueError, IndexError, StopIteration) as error:
        raise ModelUnavailable("it is not an ONNX model, or only a part of one.") from error


def with_fast_prelu(model: bytes) -> bytes:
    """Replace PReLU by operators that ONNX Runtime computes three to five times as fast, with identical results.

    Its PRelu kernel branches on each value, which branch prediction cannot follow, and it supports only the plain
    layout, so every feature map must be converted to it and back. The same function is

        PReLU(x) = Relu(x) - slope * Relu(-x),

    where one of the two terms is always zero, so no additional rounding occurs. With the products as depth-wise 1 x 1
    convolutions, everything stays in the blocked layout of the surrounding convolutions, and ONNX Runtime fuses them
    with the next operators. A PRelu whose slopes are not one constant per channel is left unchanged.

    Args:
        model: a serialised ONNX model.

    Returns:
        the model with the nodes replaced, and the same inputs, outputs and weights.

    Raises:
        ModelUnavailable: it is not an ONNX model.
    """
    try:
        graph = b"".join(_values(model, _GRAPH))
        shapes = _constant_shapes(graph)
        parts, added = [], []
        for number, whole, content in _fields(graph):
            channels = _prelu_channels(content, shapes) if number == _NODE else None
            if channels is None:
                parts.append(whole)
                continue
            nodes, tensors = _prelu(content, channels)
            parts += [_field(_NODE, node) for node in nodes]
            added += [_field(_INITIALIZER, tensor) for tensor in tensors]
        if not added:
            return model
        rest = [whole for number, whole, _ in _fields(model) if number != _GRAPH]
        return b"".join([*rest, _field(_GRAPH, b"".join([*parts, *added]))])
    except (ValueError, IndexError, StopIteration) as error:
        raise ModelUnavailable("it is not an ONNX model, or only a part of one.") from error


def _prelu_channels(node: bytes, shapes: dict[str, tuple[int, ...]]) -> int | None:
    """The number of channels of a PRelu with one constant slope per channel; None for any other node."""
    if _text(node, _NODE_KIND) != "PRelu":
        return None
    _, slope = (name.decode() for name in _values(node, _NODE_INPUT))
    shape = shapes.get(slope, ())
    return shape[0] if len(shape) == 3 and shape[0] > 1 and shape[1:] == (1, 1) else None


def _constant_shapes(graph: bytes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights of a graph, including those that an Unsqueeze adds dimensions to.

    Without constant folding, an exporter writes the slopes of a PReLU as a vector and such a node.
    """
    shapes = {_text(tensor, _TENSOR_NAME): tuple(_integers(tensor, _DIMS)) for tensor in _values(graph, _INITIALIZER)}
    for node in _values(graph, _NODE):
        kind, outputs = _text(node, _NODE_KIND), [name.decode() for name in _values(node, _NODE_OUTPUT)]
        if kind == "Constant":
            for attribute in _values(node, _ATTRIBUTE):
                for tensor in _values(attribute, _ATTRIBUTE_TENSOR):
                    shapes[outputs[0]] = tuple(_integers(tensor, _DIMS))
        elif kind == "Unsqueeze":
            inputs = [name.decode() for name in _values(node, _NODE_INPUT)]
            if len(inputs) == 2 and all(name in shapes for name in inputs):
                shapes[outputs[0]] = shapes[inputs[0]] + (1,) * shapes[inputs[1]][0]
    return shapes


def _prelu(node: bytes, channels: int) -> tuple[list[bytes], list[bytes]]:
    """The nodes and constants that replace a PRelu."""
    x, slope = (name.decode() for name in _values(node, _NODE_INPUT))
    y = _text(node, _NODE_OUTPUT)
    minus, shape = f"{y}/minus", f"{y}/shape"
    group = _field(_ATTRIBUTE_NAME, b"group") + _integer(_ATTRIBUTE_INT, channels) + _integer(_ATTRIBUTE_TYPE, _INT)
    kernels = (channels, 1, 1, 1)
    # ONNX Runtime folds constant expressions once, when it loads the graph.
    return [
        _node("Reshape", [slope, shape], f"{y}/slopes"),
        _node("Neg", [f"{y}/slopes"], f"{y}/minus_slopes"),
        _node("Conv", [x, minus], f"{y}/mirrored", group),
        _node("Relu", [f"{y}/mirrored"], f"{y}/below"),
        _node("Conv", [f"{y}/below", f"{y}/minus_slopes"], f"{y}/scaled", group),
        _node("Relu", [x], f"{y}/above"),
        _node("Add", [f"{y}/scaled", f"{y}/above"], y),
    ], [
        _tensor(minus, np.full(kernels, -1, np.float32), _FLOAT),
        _tensor(shape, np.array(kernels, np.int64), _INT64),
    ]


# --- protocol buffers -------------------------------------------------------------------------------------------


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("not a variable-length integer")


def _fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """All fields of a message: field number, the whole field, and the content of length-delimited ones."""
    position = 0
    while position < len(data):
        start = position
        key, position = _varint(data, position)
        kind, content = key & 7, b""
        if kind == 0:
            _, position = _varint(data, position)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        elif kind == _LENGTH:
            length, position = _varint(data, position)
            content = data[position : position + length]
            position += length
        else:
            raise ValueError(f"unknown wire type {kind}")
        if position > len(data):
            raise ValueError("a field reaches past the end")
        yield key >> 3, data[start:position], content


def _values(data: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of all length-delimited fields with one field number."""
    return (content for number, whole, content in _fields(data) if number == wanted and whole[0] & 7 == _LENGTH)


def _integers(data: bytes, wanted: int) -> Iterator[int]:
    """The integers of a repeated field, packed or not."""
    for number, whole, content in _fields(data):
        if number != wanted:
            continue
        position = 0 if content else _varint(whole, 0)[1]
        packed = content or whole
        while position < len(packed):
            value, position = _varint(packed, position)
            yield value


def _text(data: bytes, wanted: int) -> str:
    """The first field with that number, as text."""
    return next(_values(data, wanted)).decode()


def _number(value: int) -> bytes:
    """A non-negative variable-length integer, serialised."""
    content = b""
    while value > 0x7F:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


def _field(number: int, content: bytes) -> bytes:
    """One length-delimited field, serialised."""
    return _number(number << 3 | _LENGTH) + _number(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    """One integer field, serialised."""
    return _number(number << 3) + _number(value)


def _node(kind: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    """A NodeProto with one output, serialised."""
    content = b"".join(_field(_NODE_INPUT, name.encode()) for name in inputs)
    content += _field(_NODE_OUTPUT, output.encode()) + _field(_NODE_KIND, kind.encode())
    return content + (_field(_ATTRIBUTE, attribute) if attribute else b"")


def _tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    """A TensorProto, serialised."""
    content = b"".join(_integer(_DIMS, size) for size in values.shape) + _integer(_DATA_TYPE, kind)
    # The format is little-endian on every machine.
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return content + _field(_TENSOR_NAME, name.encode()) + _field(_RAW_DATA, raw)


# --- exporting --------------------------------------------------------------------------------------------------


def export(network: Network, size: int, target: Path, fold: bool = True) -> None:
    """Write a network as an ONNX graph: "input" (n, 3, size, size) -> "scores", "embeddings".

    Its layers are those of ``reparameterise``.

    Args:
        fold: fold batch normalisations into the preceding convolutions.

    Raises:
        ModelUnavailable: torch cannot export it.
    """
    import torch

    from .reparameterise import reparameterise

    examples = (torch.zeros(2, 3, size, size),)
    export_module(
        reparameterise(network), examples, target, ["input"], ["scores", "embeddings"], {0: "faces"}, fold=fold
    )


def export_module(
    module: Any,
    examples: tuple[Any, ...],
    target: Path,
    inputs: list[str],
    outputs: list[str],
    axes: Mapping[int, str],
    fold: bool = True,
) -> None:
    """Write a torch module as an ONNX graph.

    Args:
        examples: inputs of the right shapes.
        axes: number of a dimension that may have any size -> its name; the same of all inputs and outputs.
        fold: fold constants, batch normalisations among them.

    Raises:
        ModelUnavailable: torch cannot export it.
    """
    import torch

    with warnings.catch_warnings():
        # The tracing exporter is the older one. It is used because it needs no further packages and is
        # faster; it warns that a newer one exists, and that shapes are fixed, as intended here.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                examples,
                str(target),
                dynamo=False,
                opset_version=OPSET,
                do_constant_folding=fold,
                input_names=inputs,
                output_names=outputs,
                dynamic_axes={name: dict(axes) for name in (*inputs, *outputs)},
            )
        except (RuntimeError, ValueError, TypeError, ImportError) as error:
            raise ModelUnavailable(
                f"torch {torch.__version__} cannot export this network to ONNX ({error}); use --backend torch."
            ) from error
