"""The OpenVINO backend: the scores of ONNX Runtime, only on request, and without usage reports."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import clips
import numpy as np
import pytest
from known import known

from hsemotion_cli.errors import ModelUnavailable, UsageError
from hsemotion_cli.models import engines, graph_file, openvino
from hsemotion_cli.models.engines import SCORES_AND_EMBEDDINGS, OnnxEngine
from hsemotion_cli.models.network_model import NetworkModel
from hsemotion_cli.models.registry import ASSETS, card

NAME = "mt-mobilefacenet"
NETWORK = card(NAME).network
assert NETWORK is not None
SIZE = NETWORK.size
GRAPH = known(graph_file.read_graph(ASSETS / f"{NAME}.safetensors"))


def faces(count: int) -> list[np.ndarray]:
    """Coarse noise, and in every other image the portrait under it: networks answer alike to noise alone."""
    rng = np.random.default_rng(4)
    smooth = rng.uniform(0, 255, (count, 4, 4, 3))
    noise = [np.kron(picture, np.ones((20, 20, 1))) for picture in smooth]
    face = clips.portrait(80, 80)
    return [(picture if k % 2 else 0.3 * picture + 0.7 * face).astype(np.uint8) for k, picture in enumerate(noise)]


def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


def test_without_openvino_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_openvino(monkeypatch)
    with pytest.raises(ModelUnavailable, match=r"^--backend openvino needs OpenVINO .*'hsemotion-cli\[openvino\]'"):
        NetworkModel(card(NAME), "openvino")


def test_it_is_never_chosen_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    without_openvino(monkeypatch)
    assert NetworkModel(card(NAME), "auto", "cpu").engine.backend == "onnx"


class TestInstalled:
    """What needs OpenVINO itself."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        try:
            openvino.import_openvino()
        except ModelUnavailable as error:
            pytest.skip(str(error))

    def test_it_gives_what_onnx_runtime_gives(self) -> None:
        images = faces(6)
        model, reference = NetworkModel(card(NAME), "openvino"), NetworkModel(card(NAME), "onnx")
        assert (model.engine.backend, model.provenance["precision"]) == ("openvino", "fp32")
        for ours, expected in zip(model.infer(images), reference.infer(images), strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, expected, atol=1e-4)
        assert reference.infer(images)[0].std(0).mean() > 0.1, "a test that sees nothing: the outputs hardly vary"

    def test_it_computes_in_float32_also_where_the_cpu_has_less(self) -> None:
        engine = openvino.OpenVinoEngine(GRAPH, SCORES_AND_EMBEDDINGS, SIZE)
        assert str(engine._compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"

    def test_an_answer_depends_neither_on_the_batch_nor_on_threads(self) -> None:
        images = np.random.default_rng(0).normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
        engine = openvino.OpenVinoEngine(GRAPH, SCORES_AND_EMBEDDINGS, SIZE, threads=1)
        together = engine(images)
        for k in range(8):
            for ours, rows in zip(engine(images[k : k + 1]), together, strict=True):
                np.testing.assert_array_equal(ours[0], rows[k])
        wrong: list[int] = []

        def look() -> None:
            for k in range(20):
                if not np.array_equal(engine(images)[0], together[0]):
                    wrong.append(k)

        workers = [threading.Thread(target=look) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not wrong
        for threads in (None, 2):
            other = openvino.OpenVinoEngine(GRAPH, SCORES_AND_EMBEDDINGS, SIZE, threads=threads)
            np.testing.assert_allclose(other(images)[0], together[0], atol=1e-5)

    def test_bfloat16_only_on_request_and_only_where_the_cpu_has_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        core = openvino.import_openvino().Core()
        images = faces(6)
        if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            reduced, exact = (NetworkModel(card(NAME), "openvino", precision=p) for p in ("bf16", "fp32"))
            assert 1e-5 < np.abs(reduced.infer(images)[0] - exact.infer(images)[0]).max() < 1
            assert reduced.provenance["precision"] == "bf16"

        class Older:
            """A CPU of before bfloat16; there is no way to make one of this."""

            def get_property(self, device: str, name: str) -> list[str]:
                return ["FP32", "INT8"]

        monkeypatch.setattr(openvino.import_openvino(), "Core", Older)
        with pytest.raises(ModelUnavailable, match=r"^--precision bf16: this CPU has no bfloat16"):
            NetworkModel(card(NAME), "openvino", precision="bf16")

    def test_what_it_does_not_compute_in_is_said(self) -> None:
        with pytest.raises(UsageError, match=r"^--precision fp16: the openvino backend computes in fp32 or bf16"):
            NetworkModel(card(NAME), "openvino", precision="fp16")

    def test_it_is_not_trusted_where_it_differs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Off(openvino.OpenVinoEngine):
            def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                scores, embeddings = super().__call__(images)
                return scores + np.linspace(0, 0.1, scores.shape[1], dtype=np.float32), embeddings

        monkeypatch.setattr(openvino, "OpenVinoEngine", Off)
        with pytest.raises(ModelUnavailable, match=r"OpenVINO differs from ONNX Runtime by \S+ in a probability"):
            NetworkModel(card(NAME), "openvino")

    def test_what_it_cannot_read_is_said(self) -> None:
        with pytest.raises(ModelUnavailable, match=r"^OpenVINO cannot use it .*; use --backend onnx"):
            openvino.OpenVinoEngine(GRAPH[: len(GRAPH) // 2], SCORES_AND_EMBEDDINGS, SIZE)

    def test_both_runtimes_read_a_graph_with_its_embeddings_declared(self, tmp_path: Path) -> None:
        """As the authors publish them: the second output is added to the serialised graph."""
        pytest.importorskip("torch", reason="making such a graph needs torch")
        import published

        spec = card("mbf_va_mtl").network
        path = tmp_path / "mbf_va_mtl.onnx"
        published.save(published.network(card("mbf_va_mtl")), card("mbf_va_mtl"), path)
        images = published.faces(3)
        ours, expected = (NetworkModel(card("mbf_va_mtl"), name, path=path) for name in ("openvino", "onnx"))
        for one, other in zip(ours.infer(images), expected.infer(images), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3, rtol=1e-3)
        assert ours.spec is spec

    def test_its_reporter_is_never_imported(self) -> None:
        code = (
            "import sys; from hsemotion_cli.models import openvino; openvino.import_openvino()\n"
            "import openvino.tools.ovc.telemetry_utils\n"
            "print([n for n, m in sys.modules.items() if n.startswith('openvino_telemetry') and m is not None])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_the_reference_is_the_default() -> None:
    assert isinstance(NetworkModel(card(NAME)).engine, OnnxEngine)
    assert engines.BACKENDS == ("auto", "onnx", "openvino", "torch")
