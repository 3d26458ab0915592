"""ONNX graphs with two outputs, scores and embeddings: made from published graphs, or exported from our modules.

A published graph ends in a Gemm and gives only its result. What goes into that Gemm is the embedding, so it is
declared an output as well. This edits the serialised graph directly, so that annotating needs ONNX Runtime only
and not the ``onnx`` package.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelUnavailable

if TYPE_CHECKING:
    from .architectures import Network

OPSET = 17
"""Has every operator that these networks need, and every ONNX Runtime since 1.11 (2022) reads it."""

# Field numbers in onnx.proto: ModelProto.graph; GraphProto.node, output; NodeProto.input, output, op_type;
# ValueInfoProto.name. Wire type 2 is a length and then so many bytes.
_GRAPH, _NODE, _OUTPUT, _NODE_INPUT, _NODE_OUTPUT, _NODE_KIND, _NAME = 7, 1, 12, 1, 2, 4, 1
_LENGTH = 2
# ModelProto.functions; FunctionProto.node; GraphProto.initializer, sparse_initializer; SparseTensorProto.values,
# indices; NodeProto.attribute; AttributeProto.t, tensors; sparse_tensor, sparse_tensors; g, graphs;
# TensorProto.external_data.
_FUNCTION, _FUNCTION_NODE = 25, 7
_INITIALIZER, _SPARSE, _SPARSE_VALUES, _SPARSE_INDICES = 5, 15, 1, 2
_ATTRIBUTE, _ATTRIBUTE_TENSORS, _ATTRIBUTE_SPARSE, _ATTRIBUTE_GRAPHS = 5, (5, 10), (22, 23), (6, 11)
_EXTERNAL = 13


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


def _values(data: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of all fields of one number that have a length."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            _, position = _varint(data, position)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        elif kind == _LENGTH:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise ValueError("a field reaches past the end")
            if key >> 3 == wanted:
                yield data[position : position + length]
            position += length
        else:
            raise ValueError(f"unknown wire type {kind}")


def _text(data: bytes, wanted: int) -> str:
    """The first field of that number, as text."""
    return next(_values(data, wanted)).decode()


def _field(number: int, content: bytes) -> bytes:
    """One field with a length, serialised."""
    length, size = b"", len(content)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | _LENGTH]) + length + bytes([size]) + content


def export(network: Network, size: int, target: Path, fold: bool = True) -> None:
    """Write a network as an ONNX graph: "input" (n, 3, size, size) -> "scores", "embeddings".

    Args:
        fold: multiply normalisations into the kernels before them.

    Raises:
        ModelUnavailable: torch cannot export it.
    """
    import torch

    with warnings.catch_warnings():
        # The exporter that traces is the older one. It is used because it needs no further packages and is the
        # faster; its warnings are that a newer one exists, and that shapes are fixed, which they are meant to be.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
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
