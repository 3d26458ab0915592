"""The ONNX graph beside a trained file: written with float16 weights, and read if its checksum is the noted one.

In the package it is kept as ``.graph``, delta-encoded against the weights that the trained file already holds.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelUnavailable
from . import delta
from .model_file import delta_graph_path, graph_path, read_card, read_description

if TYPE_CHECKING:
    from .architectures import Network


def read_graph(path: Path) -> bytes | None:
    """The graph beside a trained file, if its checksum is the one in the file's facts; else None.

    Raises:
        ModelUnavailable: as ``model_file.read_card``.
    """
    expected = read_card(path)[1].get("onnx_sha256")
    for read in (_plain_graph, _delta_graph) if isinstance(expected, str) else ():
        try:
            content = read(path)
        except (OSError, ValueError):
            continue
        if hashlib.sha256(content).hexdigest() == expected:
            return content
    return None


def _plain_graph(path: Path) -> bytes:
    return graph_path(path).read_bytes()


def _delta_graph(path: Path) -> bytes:
    return delta.decode(delta_graph_path(path).read_bytes(), path.read_bytes())


def encode_graph(path: Path) -> bytes:
    """The content of ``delta_graph_path`` for a trained file that has its graph beside it.

    Raises:
        ModelUnavailable: as ``model_file.read_card``, or the graph is missing or another one.
    """
    whole = read_graph(path)
    if whole is None:
        raise ModelUnavailable(f"{graph_path(path)} is missing, or not the graph of {path.name}.")
    _, table, start = read_description(path)
    tensors = [(start + begin, start + end) for begin, end in (entry["data_offsets"] for entry in table.values())]
    return delta.encode(whole, path.read_bytes(), tensors)


def write_graph(network: Network, size: int, target: Path) -> None:
    """Write a network as an ONNX graph with float16 weights: "input" (n, 3, size, size) -> "scores", "embeddings".

    ONNX Runtime converts the weights to float32 once, when it reads the graph, and computes in float32. Only weights
    that float16 represents exactly are stored so. Folding normalisations into kernels would produce other numbers, so
    the exporter does not fold; ONNX Runtime folds when it reads the graph.

    Args:
        network: as ``model_file.rounded`` returns it.

    Raises:
        ModelUnavailable: torch cannot export it, or the ``onnx`` package is missing.
    """
    from .onnx_graphs import export

    try:
        import onnx
    except ImportError as error:
        raise ModelUnavailable(
            f"writing a graph with float16 weights needs the onnx package ({error}): pip install onnx."
        ) from error
    export(network, size, target, fold=False)
    model = onnx.load(str(target))
    _store_half(model.graph)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _store_half(graph: Any) -> None:
    """Store the weights of a graph as float16 where that is lossless, each with a node that casts it back."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    kept, widening = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            short = values.astype(np.float16)
        if values.dtype == np.float32 and values.ndim >= 2 and np.array_equal(short.astype(np.float32), values):
            kept.append(numpy_helper.from_array(short, f"{tensor.name}.half"))
            widening.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
        else:
            kept.append(tensor)
    nodes = [*widening, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
