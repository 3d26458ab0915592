"""ONNX graphs with two outputs, scores and embeddings: made from published graphs, or exported from our modules.

A published graph ends in a Gemm and gives only its result. What goes into that Gemm is the embedding, so it is
declared an output as well. And ONNX Runtime's own kernel for PReLU is slow, so that layer is put to it in other words.
Both edit the serialised graph directly, so that annotating needs ONNX Runtime only and not the ``onnx`` package.
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
"""Has every operator that these networks need, and every ONNX Runtime since 1.11 (2022) reads it."""

# Field numbers in onnx.proto: ModelProto.graph; GraphProto.node, initializer, input, output; NodeProto.input, output,
# op_type, attribute; AttributeProto.name, i, t, type; TensorProto.dims, data_type, name, raw_data; ValueInfoProto.name,
# type; TypeProto.tensor_type, its shape, and of that dim, dim_param.
_GRAPH, _NODE, _INITIALIZER, _INPUT, _OUTPUT = 7, 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_TYPE = 1, 3, 5, 20
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW_DATA = 1, 2, 8, 9
_NAME, _TYPE, _TENSOR_TYPE, _SHAPE, _DIM, _DIM_PARAM = 1, 2, 1, 2, 1, 2
_LENGTH = 2
"""Wire type: a length, and then so many bytes."""
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

    With one thread it computes in the thread that calls it, without holding the interpreter, so one session serves as
    many callers as there are cores, and holds its weights once.

    Args:
        threads: of its own; 0 leaves their number to ONNX Runtime.
        sizes: of dimensions that the graph leaves open, by their names.

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
    except Exception as error:  # onnxruntime's own exceptions have no common parent but this one
        raise ModelUnavailable(f"ONNX Runtime cannot use it ({str(error)[:200]}).") from error


def with_embeddings(model: bytes) -> tuple[bytes, tuple[str, str]]:
    """Declare the input of a classifier's last Gemm an output of the graph.

    Args:
        model: a serialised ONNX model with one output, made by a Gemm.

    Returns:
        the model with a second output, and the names of both: scores, embeddings.

    Raises:
        ModelUnavailable: it is no ONNX model, or does not end in a Gemm.
    """
    try:
        graph = b"".join(_values(model, _GRAPH))
        outputs = [_text(value, _NAME) for value in _values(graph, _OUTPUT)]
        last = [node for node in _values(graph, _NODE) if _text(node, _NODE_OUTPUT) in outputs]
        if len(outputs) != 1 or len(last) != 1 or _text(last[0], _NODE_KIND) != "Gemm":
            raise ModelUnavailable("it does not end in one linear layer (Gemm), so its embeddings are not known.")
        embeddings = _text(last[0], _NODE_INPUT)
    except (ValueError, IndexError, StopIteration) as error:
        raise ModelUnavailable("it is not an ONNX model, or only a part of one.") from error
    # Protocol buffers are merged when they follow one another: a second, nearly empty model with one more output
    # in its graph adds that output to the first.
    addition = _field(_GRAPH, _field(_OUTPUT, _field(_NAME, embeddings.encode())))
    return model + addition, (outputs[0], embeddings)


def check_alone(model: bytes) -> None:
    """Raise ModelUnavailable for a graph that keeps numbers in other files: ONNX Runtime would read any that it names.

    Args:
        model: a serialised ONNX model; what is none is left to ONNX Runtime.
    """
    try:
        if any(any(_values(tensor, _EXTERNAL)) for graph in _values(model, _GRAPH) for tensor in _tensors(graph)):
            raise ModelUnavailable("it keeps numbers in other files; save it as one file.")
        # Functions of a model hold nodes as graphs do, under another number.
        for function in _values(model, _FUNCTION):
            for node in _values(function, _FUNCTION_NODE):
                if any(any(_values(tensor, _EXTERNAL)) for tensor in _of_node(node)):
                    raise ModelUnavailable("it keeps numbers in other files; save it as one file.")
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
    """What a model calls the number of pictures, the first dimension of its input; None where it is a number.

    Raises:
        ModelUnavailable: it is no ONNX model.
    """
    try:
        graph = b"".join(_values(model, _GRAPH))
        initialised = {_text(tensor, _TENSOR_NAME) for tensor in _values(graph, _INITIALIZER)}
        # Old exporters list the weights among the inputs as well.
        given = next(value for value in _values(graph, _INPUT) if _text(value, _NAME) not in initialised)
        for number in (_TYPE, _TENSOR_TYPE, _SHAPE, _DIM):
            given = next(_values(given, number))
        return next((name.decode() for name in _values(given, _DIM_PARAM)), None)
    except (ValueError, IndexError, StopIteration) as error:
        raise ModelUnavailable("it is not an ONNX model, or only a part of one.") from error


def with_fast_prelu(model: bytes) -> bytes:
    """Say PReLU in words that ONNX Runtime computes three to five times as fast, with the same result bit for bit.

    Its PRelu kernel takes a branch for each value, and in a trained network nobody can guess which; besides it knows
    only the plain layout of a map, into which and back every map must be brought for it. The same function is

        PReLU(x) = Relu(x) - slope * Relu(-x),

    where one of the two terms is always zero, so that nothing is rounded that was not before. With the products as
    depth-wise 1 x 1 convolutions all of it stays in the blocked layout of the convolutions around it, and ONNX
    Runtime fuses them with what follows them. A PRelu whose slopes are not one constant per channel is left as it is.

    Args:
        model: a serialised ONNX model.

    Returns:
        the model with other nodes and the same inputs, outputs and weights.

    Raises:
        ModelUnavailable: it is no ONNX model.
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
    """How many channels a PRelu with one constant slope for each has; None for any other node."""
    if _text(node, _NODE_KIND) != "PRelu":
        return None
    _, slope = (name.decode() for name in _values(node, _NODE_INPUT))
    shape = shapes.get(slope, ())
    return shape[0] if len(shape) == 3 and shape[0] > 1 and shape[1:] == (1, 1) else None


def _constant_shapes(graph: bytes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights of a graph, also of those that an Unsqueeze adds dimensions to.

    An exporter that may not multiply constants out leaves the slopes of a PReLU as a vector and such a node.
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
    """The nodes and constants that stand for a PRelu."""
    x, slope = (name.decode() for name in _values(node, _NODE_INPUT))
    y = _text(node, _NODE_OUTPUT)
    minus, shape = f"{y}/minus", f"{y}/shape"
    group = _field(_ATTRIBUTE_NAME, b"group") + _integer(_ATTRIBUTE_INT, channels) + _integer(_ATTRIBUTE_TYPE, _INT)
    kernels = (channels, 1, 1, 1)
    # ONNX Runtime computes what follows from constants alone once, when it reads the graph.
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
    """All fields of a message: number, the whole field, and the content of those that have a length."""
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
    """The contents of all fields of one number that have a length."""
    return (content for number, whole, content in _fields(data) if number == wanted and whole[0] & 7 == _LENGTH)


def _integers(data: bytes, wanted: int) -> Iterator[int]:
    """The integers of a repeated field, each by itself or packed behind a length."""
    for number, whole, content in _fields(data):
        if number != wanted:
            continue
        position = 0 if content else _varint(whole, 0)[1]
        packed = content or whole
        while position < len(packed):
            value, position = _varint(packed, position)
            yield value


def _text(data: bytes, wanted: int) -> str:
    """The first field of that number, as text."""
    return next(_values(data, wanted)).decode()


def _number(value: int) -> bytes:
    """A variable-length integer, serialised; not below zero."""
    content = b""
    while value > 0x7F:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


def _field(number: int, content: bytes) -> bytes:
    """One field with a length, serialised."""
    return _number(number << 3 | _LENGTH) + _number(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    """One field with an integer, serialised."""
    return _number(number << 3) + _number(value)


def _node(kind: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    """A NodeProto of one output, serialised."""
    content = b"".join(_field(_NODE_INPUT, name.encode()) for name in inputs)
    content += _field(_NODE_OUTPUT, output.encode()) + _field(_NODE_KIND, kind.encode())
    return content + (_field(_ATTRIBUTE, attribute) if attribute else b"")


def _tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    """A TensorProto, serialised."""
    content = b"".join(_integer(_DIMS, size) for size in values.shape) + _integer(_DATA_TYPE, kind)
    # Numbers lie in it from their lowest byte on, whatever the machine.
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return content + _field(_TENSOR_NAME, name.encode()) + _field(_RAW_DATA, raw)


# --- exporting --------------------------------------------------------------------------------------------------


def export(network: Network, size: int, target: Path, fold: bool = True) -> None:
    """Write a network as an ONNX graph: "input" (n, 3, size, size) -> "scores", "embeddings".

    Its layers are those of ``lean``.

    Args:
        fold: multiply normalisations into the kernels before them.

    Raises:
        ModelUnavailable: torch cannot export it.
    """
    import torch

    from .reparameterise import reparameterise

    with warnings.catch_warnings():
        # The exporter that traces is the older one. It is used because it needs no further packages and is the
        # faster; its warnings are that a newer one exists, and that shapes are fixed, which they are meant to be.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                reparameterise(network),
                (torch.zeros(2, 3, size, size),),
                str(target),
                dynamo=False,
                opset_version=OPSET,
                do_constant_folding=fold,
                input_names=["input"],
                output_names=["scores", "embeddings"],
                dynamic_axes={name: {0: "faces"} for name in ("input", "scores", "embeddings")},
            )
        except (RuntimeError, ValueError, TypeError, ImportError) as error:
            raise ModelUnavailable(
                f"torch {torch.__version__} cannot export this network to ONNX ({error}); use --backend torch."
            ) from error
