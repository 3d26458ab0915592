"""ONNX graphs prepared for ONNX Runtime: replaced nodes, identical results; and the content of an export."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from known import known

from hsemotion_cli.errors import ModelUnavailable
from hsemotion_cli.models import graph_file, onnx_graphs
from hsemotion_cli.models.engines import SCORES_AND_EMBEDDINGS, OnnxEngine
from hsemotion_cli.models.registry import ASSETS, card

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper

NETWORK = known(card("mt-mobilefacenet").network)
SIZE = NETWORK.size
SHIPPED = known(graph_file.read_graph(ASSETS / "mt-mobilefacenet.safetensors"))


def kinds(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


def run(model: bytes, images: np.ndarray) -> list[np.ndarray]:
    """In a plain session, with all that ONNX Runtime does by itself."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": images})


def small(slope: np.ndarray, unsqueezed: bool = False, dimensions: int = 4) -> bytes:
    """A convolution (or, of two dimensions, a matrix), a PRelu and another of the same; 16 channels."""
    rng = np.random.default_rng(1)
    shape = (16, 16, 3, 3) if dimensions == 4 else (16, 16)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name in ("first", "second")}
    layer = {"op_type": "Conv", "pads": [1, 1, 1, 1]} if dimensions == 4 else {"op_type": "MatMul"}
    given: list[str | int] = ["N", 16, 9, 9] if dimensions == 4 else ["N", 16]
    nodes = [
        helper.make_node(inputs=["input", "first"], outputs=["x"], **layer),
        helper.make_node("PRelu", ["x", "slope"], ["y"]),
        helper.make_node(inputs=["y", "second"], outputs=["output"], **layer),
    ]
    initial = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    initial.append(numpy_helper.from_array(slope, "vector" if unsqueezed else "slope"))
    if unsqueezed:
        axes = numpy_helper.from_array(np.array([1, 2]), "axes")
        nodes.insert(0, helper.make_node("Constant", [], ["axes"], value=axes))
        nodes.insert(1, helper.make_node("Unsqueeze", ["vector", "axes"], ["slope"]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, given) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


SLOPES = np.array([0, 1, -1, 2, -3, 0.25, *np.linspace(-0.5, 1.5, 10)], np.float32)


@pytest.mark.parametrize("unsqueezed", [False, True])
def test_prelu_in_other_words_has_the_same_bits(unsqueezed: bool) -> None:
    plain = small(SLOPES if unsqueezed else SLOPES.reshape(16, 1, 1), unsqueezed)
    fast = onnx_graphs.with_fast_prelu(plain)
    assert kinds(plain)["PRelu"] == 1 and kinds(fast)["PRelu"] == 0
    onnx.checker.check_model(onnx.load_from_string(fast), full_check=True)
    images = np.random.default_rng(0).normal(size=(3, 16, 9, 9)).astype(np.float32)
    images[0, :4, :2] = 0
    np.testing.assert_array_equal(run(fast, images)[0], run(plain, images)[0])


def test_the_shipped_network_has_the_same_bits_and_no_prelu_left() -> None:
    assert kinds(SHIPPED)["PRelu"] == 33 and kinds(onnx_graphs.with_fast_prelu(SHIPPED))["PRelu"] == 0
    images = np.random.default_rng(0).normal(size=(5, 3, SIZE, SIZE)).astype(np.float32)
    engine = OnnxEngine(SHIPPED, SCORES_AND_EMBEDDINGS, 1)
    for ours, plain in zip(engine(images), run(SHIPPED, images), strict=True):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("slope", [np.full((1, 1, 1), 0.3), np.full((16, 1, 9), 0.3)])
def test_a_prelu_that_is_not_one_slope_per_channel_is_left_as_it_is(slope: np.ndarray) -> None:
    model = small(slope.astype(np.float32))
    assert onnx_graphs.with_fast_prelu(model) == model


def test_a_prelu_of_vectors_is_left_as_it_is() -> None:
    model = small(SLOPES, dimensions=2)
    assert onnx_graphs.with_fast_prelu(model) == model
    assert run(model, np.ones((2, 16), np.float32))[0].shape == (2, 16)


def test_what_is_no_model_is_refused() -> None:
    for content in (b"", b"\xff" * 99, SHIPPED[: len(SHIPPED) // 2]):
        with pytest.raises(ModelUnavailable, match="it is not an ONNX model"):
            OnnxEngine(content, SCORES_AND_EMBEDDINGS)


def test_what_onnx_runtime_is_given_has_no_slow_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither PRelu nor, with the number of faces known, shapes that are worked out again for each face."""
    plain = onnxruntime.InferenceSession

    def session(model: bytes, options: onnxruntime.SessionOptions, **kwargs: object) -> onnxruntime.InferenceSession:
        options.optimized_model_filepath = str(tmp_path / "a.onnx")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return plain(model, options, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    engine = OnnxEngine(SHIPPED, SCORES_AND_EMBEDDINGS)
    assert engine.session.get_inputs()[0].shape == [1, 3, SIZE, SIZE]
    assert {"PRelu", "Shape"} <= set(kinds(SHIPPED))
    assert not {"PRelu", "Shape", "Slice", "Cast", "Reshape"} & set(kinds((tmp_path / "a.onnx").read_bytes()))


def test_one_engine_gives_every_thread_the_right_bits() -> None:
    engine = OnnxEngine(SHIPPED, SCORES_AND_EMBEDDINGS, 1)
    images = np.random.default_rng(0).normal(size=(12, 1, 3, SIZE, SIZE)).astype(np.float32)
    alone = [engine(image) for image in images]
    wrong: list[int] = []

    def look(first: int) -> None:
        for k in range(120):
            found, expected = engine(images[(first + k) % 12]), alone[(first + k) % 12]
            if not all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
                wrong.append(k)

    threads = [threading.Thread(target=look, args=(3 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.slow
def test_ddamfn_is_exported_lean_and_gives_what_it_gives(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="exporting needs torch")
    import published

    from hsemotion_cli.models.registry import card
    from hsemotion_cli.models.reparameterise import reparameterise

    net, spec = published.network(card("ddamfn_affectnet8")), published.spec(card("ddamfn_affectnet8"))
    images = published.batch(3, spec)
    with torch.inference_mode():
        expected, ours = net(images), reparameterise(net)(images)
        assert torch.equal(net(images)[0], expected[0]), "the network itself has been changed"
    onnx_graphs.export(net, spec.size, tmp_path / "a.onnx")
    graph = (tmp_path / "a.onnx").read_bytes()
    found = OnnxEngine(graph, SCORES_AND_EMBEDDINGS)(images.numpy())
    for k in range(2):
        np.testing.assert_allclose(ours[k], expected[k], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(found[k], expected[k], atol=1e-4, rtol=1e-4)
    assert not {"Split", "Slice", "Concat", "ReduceMean", "Transpose"} & set(kinds(graph)), kinds(graph)
