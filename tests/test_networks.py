"""From the authors' files to scores: conversion, backends, class orders, and agreement with the authors' library."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from known import known, noting
from layers import linear

pytest.importorskip("torch", reason="the networks need torch")
import torch

if importlib.util.find_spec("timm") is None:  # importing it here would fail beside a torch for the CPU only
    pytest.skip("the networks need timm", allow_module_level=True)

import published

from hsemotion_cli.domain import Face
from hsemotion_cli.errors import ModelUnavailable, UsageError
from hsemotion_cli.models import conversion, engines, onnx_graphs, weights
from hsemotion_cli.models import network_model as networks
from hsemotion_cli.models.cards import NETWORKS
from hsemotion_cli.models.network_model import NetworkModel
from hsemotion_cli.models.registry import MODELS, card
from hsemotion_cli.tasks import BASIC_EXPRESSIONS, EXPRESSIONS

pytestmark = pytest.mark.slow

SMALL = "mbf_va_mtl"
"""The network that is quickest to export and to run."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HSEMOTION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HSEMOTION_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One weight file for each published layout: model -> file."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for name in ("enet_b0_8_best_vgaf", "enet_b0_8_va_mtl", "mbf_va_mtl", "mobilevit_va_mtl"):
        made[name] = folder / f"{name}.pt"
    made["ddamfn_affectnet8"] = folder / "ddamfn_affectnet8.pth"
    for name, path in made.items():
        published.save(published.network(card(name)), card(name), path)
    return made


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / f"{SMALL}.onnx"
    published.save(published.network(card(SMALL)), card(SMALL), path)
    return path


def expected(name: str, images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and embeddings of the network before it was written to a file."""
    batch = torch.from_numpy(networks.prepare(images, published.spec(card(name)), "pil-bilinear"))
    with torch.inference_mode():
        scores, embeddings = published.network(card(name))(batch)
    return scores.numpy(), embeddings.numpy()


# --- conversion -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["enet_b0_8_best_vgaf", "enet_b0_8_va_mtl", "mbf_va_mtl", "mobilevit_va_mtl", "ddamfn_affectnet8"]
)
def test_every_published_layout_is_converted_without_loss(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "made" / "a.safetensors"
    conversion.convert(card(name), files[name], target)
    ours = conversion.load(card(name), target)
    original = published.network(card(name)).state_dict()
    assert list(ours.state_dict()) == list(original)
    for key, value in ours.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, original[key]), key
    assert [path.name for path in target.parent.iterdir()] == ["a.safetensors"]


def test_the_old_format_of_torch_is_converted_as_well(tmp_path: Path) -> None:
    net = published.network(card(SMALL))
    published.save_module(net, card(SMALL), tmp_path / "old.pt", zipped=False)
    conversion.convert(card(SMALL), tmp_path / "old.pt", tmp_path / "new.safetensors")
    assert torch.equal(linear(conversion.load(card(SMALL), tmp_path / "new.safetensors")).weight, linear(net).weight)


def test_the_large_mobilefacenet_is_recognised_by_its_shapes(tmp_path: Path) -> None:
    from hsemotion_cli.models import architectures

    net: Any = architectures.build("mobilefacenet_large", 10)
    published.save_module(net, card(SMALL), tmp_path / "a.pt")
    conversion.convert(card(SMALL), tmp_path / "a.pt", tmp_path / "a.safetensors")
    loaded: Any = conversion.load(card(SMALL), tmp_path / "a.safetensors")
    assert torch.equal(
        loaded.layers[3].layers[7].layers[2].layers[0].weight, net.layers[3].layers[7].layers[2].layers[0].weight
    )


SHAPES = {"stem.weight": (4, 3), "stem.bias": (4,), "body.weight": (4, 4), "fc.weight": (2, 4), "fc.bias": (2,)}


@pytest.mark.parametrize(
    "names",
    [
        ["stem.weight", "stem.bias", "body.weight", "fc.weight", "fc.bias"],
        ["module.stem.weight", "module.stem.bias", "module.body.weight", "module.fc.weight", "module.fc.bias"],
        ["stem.weight", "stem.bias", "body.weight", "fc.0.weight", "fc.0.bias"],
        ["net.stem.weight", "net.stem.bias", "net.body.weight", "fc.weight", "fc.bias"],
        ["0.stem.weight", "0.stem.bias", "0.body.weight", "1.weight", "1.bias"],
        ["0.0.weight", "0.0.bias", "0.1.weight", "1.weight", "1.bias"],
    ],
)
def test_names_may_be_wrapped(names: list[str]) -> None:
    found = dict(zip(names, SHAPES.values(), strict=True))
    assert conversion.matched(SHAPES, found) == dict(zip(SHAPES, names, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("body.weight"), r"no weights named body\.weight \(1 of 5 are missing\)"),
        (lambda s: s.update(extra=(9,)), "1 weights that the network lacks, such as extra"),
        (lambda s: s.update({"fc.weight": (3, 4)}), r"fc\.weight has shape \(3, 4\) where \(2, 4\) is expected"),
        (lambda s: s.update({"stem.weight": (3, 4)}), r"stem\.weight has shape \(3, 4\) where \(4, 3\) is expected"),
    ],
)
def test_the_first_difference_is_named(change: Callable[[dict[str, Any]], object], message: str) -> None:
    found: dict[str, Any] = dict(SHAPES)
    change(found)
    with pytest.raises(ModelUnavailable, match=message):
        conversion.matched(SHAPES, found)


def test_a_layer_built_otherwise_is_refused_although_its_shapes_fit(tmp_path: Path) -> None:
    """tf_efficientnet_b0 and efficientnet_b0 have the same names and shapes and are different functions."""
    from hsemotion_cli.models.architectures import import_timm

    other = import_timm().create_model("efficientnet_b0", num_classes=8)
    torch.save(other, tmp_path / "a.pt")
    with pytest.raises(
        ModelUnavailable, match=r"a\.pt: its weights do not match enet_b0_8_best: .* has (padding|eps) "
    ):
        conversion.convert(card("enet_b0_8_best"), tmp_path / "a.pt", tmp_path / "a.safetensors")


def test_the_wrong_network_and_wrong_numbers_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="do not match ddamfnet_8: ddamfn: it has no weights named features"):
        conversion.convert(card("ddamfnet_8"), files["enet_b0_8_best_vgaf"], tmp_path / "a")
    with pytest.raises(ModelUnavailable, match=r"fc\.weight has shape \(8, 512\) where \(10, 512\) is expected"):
        conversion.convert(card("ddamfnet_8_mtl"), files["ddamfn_affectnet8"], tmp_path / "a")
    net: Any = published.network(card("ddamfnet_8"))
    net.fc.weight.data[0, 0] = float("nan")
    published.save_dictionary(net, tmp_path / "a.pth")
    with pytest.raises(ModelUnavailable, match=r"fc\.weight has values that are not finite"):
        conversion.convert(card("ddamfnet_8"), tmp_path / "a.pth", tmp_path / "a")
    assert not (tmp_path / "a").exists()


# --- class orders ---------------------------------------------------------------------------------------------

ALPHABETICAL = ["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]
NUMERIC = ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"]
OURS = {"Happy": "happiness", "Sad": "sadness"}


@pytest.mark.parametrize("name", [entry.name for entry in NETWORKS])
def test_each_output_of_each_network_is_the_expression_that_its_authors_name(name: str) -> None:
    spec = published.spec(card(name))
    authors = NUMERIC if name.startswith("ddamfn_") else ALPHABETICAL
    if len(spec.classes) == 7:
        authors = [label for label in authors if label != "Contempt"]
    for k, label in enumerate(authors):
        raw = np.zeros((1, spec.outputs), np.float32)
        raw[0, k] = 9
        scores = networks.interpret(raw, spec)["expression"][0]
        assert EXPRESSIONS[np.nanargmax(scores)] == OURS.get(label, label.lower())
        assert np.nansum(scores) == pytest.approx(1, abs=1e-6)
    if len(spec.classes) == 7:
        assert np.isnan(scores[EXPRESSIONS.index("contempt")])


def test_valence_and_arousal_follow_the_expressions_and_are_clipped() -> None:
    spec = published.spec(card("enet_b0_8_va_mtl"))
    raw = np.zeros((2, 10), np.float32)
    raw[:, 8], raw[:, 9] = [0.25, 1.5], [-0.5, -3]
    np.testing.assert_array_equal(networks.interpret(raw, spec)["valence_arousal"], [[0.25, -0.5], [1, -1]])
    assert "valence_arousal" not in networks.interpret(raw[:, :8], published.spec(card("enet_b0_8_best")))


def test_the_cards_agree_with_the_networks_tasks_and_sizes() -> None:
    assert set(MODELS) >= {entry.name for entry in NETWORKS}
    for entry in NETWORKS:
        spec, model = published.spec(entry), card(entry.name)
        assert model.family == "network"
        assert set(spec.classes) <= set(EXPRESSIONS)
        assert len(set(spec.classes)) == len(spec.classes)
        assert ("valence_arousal" in model.tasks) == spec.valence_arousal == entry.name.endswith("_mtl")
        assert model.crop in ("box", "aligned-112")
        assert all(getattr(model, field) for field in ("paper_name", "licence", "training_data", "citation"))


# --- resizing and normalising -----------------------------------------------------------------------------------


def test_both_resize_rules_are_those_of_the_libraries_that_they_are_named_after() -> None:
    from hsemotion_cli.models.architectures import import_timm

    import_timm()  # makes torchvision importable
    from PIL import Image
    from torchvision import transforms

    for picture in published.faces(6):
        theirs = transforms.Compose(
            [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(*published_norm())]
        )(Image.fromarray(picture))
        ours = networks.prepare([picture], published.spec(card("enet_b0_8_best")), "pil-bilinear")[0]
        np.testing.assert_array_equal(ours, theirs.numpy())
        plain = cv2.resize(picture, (112, 112))
        np.testing.assert_array_equal(networks.resize(picture, 112, "cv2-bilinear"), plain)
    assert (networks.resize(picture, 112, "pil-bilinear") != plain).any()


def published_norm() -> tuple[list[float], list[float]]:
    return [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


# --- engines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["enet_b0_8_va_mtl", "mbf_va_mtl", "ddamfn_affectnet8"])
def test_both_backends_give_what_the_network_gives(name: str, files: dict[str, Path]) -> None:
    images = published.faces(3, seed=8)
    scores, embeddings = expected(name, images)
    assert scores.std(0).mean() > 0.3, "a test that sees nothing: the outputs hardly vary"
    for backend in ("torch", "auto"):
        model = NetworkModel(card(name), backend, "cpu", path=files[name])
        assert model.engine.backend == ("torch" if backend == "torch" else "onnx")
        raw, features = model.infer(images)
        assert raw.dtype == features.dtype == np.float32
        np.testing.assert_allclose(raw, scores, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(features, embeddings, rtol=1e-4, atol=1e-4)


def test_a_published_graph_gives_scores_and_embeddings_without_torch_or_onnx(graph: Path, tmp_path: Path) -> None:
    images = published.faces(3, seed=8)
    scores, embeddings = expected(SMALL, images)
    np.savez(tmp_path / "in.npz", *images)
    code = (
        "import sys\n"
        "for name in ('torch', 'timm', 'torchvision', 'onnx'): sys.modules[name] = None\n"
        "import numpy as np; from pathlib import Path\n"
        "from hsemotion_cli.models.network_model import NetworkModel; from hsemotion_cli.models.registry import card\n"
        f"images = list(np.load({str(tmp_path / 'in.npz')!r}).values())\n"
        f"raw, embeddings = NetworkModel(card({SMALL!r}), path=Path({str(graph)!r})).infer(images)\n"
        f"np.savez({str(tmp_path / 'out.npz')!r}, raw=raw, embeddings=embeddings)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(out["raw"], scores, atol=1e-4)
    np.testing.assert_allclose(out["embeddings"], embeddings, atol=1e-4)


def test_the_edited_graph_is_what_the_onnx_package_would_make(graph: Path) -> None:
    onnx = pytest.importorskip("onnx")
    content, (scores, embeddings) = onnx_graphs.with_embeddings(graph.read_bytes())
    before, after = onnx.load_from_string(graph.read_bytes()), onnx.load_from_string(content)
    assert (
        [output.name for output in after.graph.output]
        == [scores, embeddings]
        == ["output", before.graph.node[-1].input[0]]
    )
    assert after.graph.node[-1].op_type == "Gemm"
    del after.graph.output[1]
    assert after == before


def test_what_is_no_classifier_s_graph_is_refused(graph: Path, tmp_path: Path) -> None:
    whole = graph.read_bytes()
    for content in (b"", b"\xff" * 99, whole[: len(whole) // 2], b"\x3a\x00"):
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(ModelUnavailable, match=r"a\.onnx: it (is not an ONNX model|does not end)"):
            NetworkModel(card(SMALL), path=tmp_path / "a.onnx")
    with pytest.raises(ModelUnavailable, match=r"mbf_va_mtl\.onnx: it (gives scores|does not run on 224)"):
        NetworkModel(card("enet_b0_8_va_mtl"), path=graph)


def test_an_answer_does_not_depend_on_the_other_faces(graph: Path) -> None:
    images = published.faces(5, seed=3)
    model = NetworkModel(card(SMALL), path=graph)
    raw, embeddings = model.infer(images)
    for k, image in enumerate(images):
        alone = model.infer([image])
        np.testing.assert_array_equal(alone[0][0], raw[k])
        np.testing.assert_array_equal(alone[1][0], embeddings[k])


def test_the_devices_in_use_are_recorded_for_the_sidecar(graph: Path) -> None:
    model = NetworkModel(card(SMALL), path=graph, resize="cv2-bilinear")
    assert model.provenance == {
        "file": f"{SMALL}.onnx",
        "sha256": weights.checksums(graph)[0],
        "backend": "onnx",
        "device": "cpu",
        "precision": "fp32",
        "resize": "cv2-bilinear",
    }


def test_faces_without_the_crop_get_rows_of_nan(graph: Path) -> None:
    images = published.faces(2)
    faces = [
        Face((0, 0, 1, 1), 1.0, crops={"box": images[0]}),
        Face((0, 0, 1, 1), 1.0, crops={"aligned-112": images[0]}),
        Face((0, 0, 1, 1), 1.0, crops={"box": images[1]}),
    ]
    model = NetworkModel(card(SMALL), path=graph)
    scores = model(faces)
    assert scores.tasks["expression"].shape == (3, 9)
    assert scores.tasks["valence_arousal"].shape == (3, 2)
    assert known(scores.embeddings).shape == (3, 512)
    assert np.isnan(scores.tasks["expression"][:, EXPRESSIONS.index("other")]).all()
    basic = scores.tasks["expression"][:, : len(BASIC_EXPRESSIONS)]
    for values in (basic, scores.tasks["valence_arousal"], known(scores.embeddings)):
        np.testing.assert_array_equal(np.isnan(values).all(1), [False, True, False])
        np.testing.assert_array_equal(np.isnan(values).any(1), [False, True, False])
    np.testing.assert_allclose(basic[[0, 2]].sum(1), 1, atol=1e-6)
    nobody = model([])
    assert {task: values.shape for task, values in nobody.tasks.items()} == {
        "expression": (0, 9),
        "valence_arousal": (0, 2),
    }
    assert known(nobody.embeddings).shape == (0, 512)


def test_an_export_is_kept_and_made_again_when_damaged(
    files: dict[str, Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = onnx_graphs.export
    monkeypatch.setattr(onnx_graphs, "export", noting(made, 1, original))
    for _ in range(2):
        NetworkModel(card(SMALL), path=files[SMALL])
    assert len(made) == 1
    kept = next(home.glob("converted/*.onnx"))
    assert f"{SMALL}.{weights.checksums(files[SMALL])[0][:16]}.onnx" == kept.name
    content = bytearray(kept.read_bytes())
    content[-5000] ^= 1
    kept.write_bytes(content)
    NetworkModel(card(SMALL), path=files[SMALL])
    assert len(made) == 2
    assert sorted(path.suffix for path in (home / "converted").iterdir()) == [".json", ".json", ".onnx", ".safetensors"]


def test_an_export_that_differs_is_not_trusted(
    files: dict[str, Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PARITY", 0.0)
    with pytest.raises(ModelUnavailable, match=r"differs from torch by \S+ in a probability .* use --backend torch"):
        NetworkModel(card(SMALL), "onnx", path=files[SMALL])
    assert NetworkModel(card(SMALL), "auto", "cpu", path=files[SMALL]).engine.backend == "torch"
    assert not list(home.glob("converted/*.onnx"))


def test_offline_names_the_missing_file(home: Path) -> None:
    with pytest.raises(ModelUnavailable, match=rf"enet_b2_8\.onnx is not in the cache .*put it at {home}"):
        NetworkModel(card("enet_b2_8"), "onnx")
    with pytest.raises(ModelUnavailable, match=r"enet_b2_8\.pt is not in the cache"):
        NetworkModel(card("enet_b2_8"), "torch", "cpu")
    with pytest.raises(ModelUnavailable, match="the weights of ddamfnet_8_mtl are not published"):
        NetworkModel(card("ddamfnet_8_mtl"))
    with pytest.raises(ModelUnavailable, match="no such file"):
        NetworkModel(card("ddamfnet_8_mtl"), path=home / "nothing.pt")


def test_a_cached_checkpoint_is_used_before_a_graph_is_fetched(
    files: dict[str, Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = home / "weights" / f"{SMALL}.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(files[SMALL].read_bytes())
    with pytest.raises(ModelUnavailable, match=r"mbf_va_mtl\.pt is damaged or another file"):
        NetworkModel(card(SMALL))  # random weights are not the published ones
    monkeypatch.setattr(weights, "verify", lambda *_: "")
    assert NetworkModel(card(SMALL)).engine.backend == "onnx"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "tensorflow"}, UsageError, "unknown backend 'tensorflow': choose from auto, onnx, openvino"),
        ({"device": "gpu"}, UsageError, "unknown device 'gpu': choose auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, UsageError, "unknown device 'cuda:x'"),
        ({"device": "cuda", "backend": "onnx"}, UsageError, "--backend onnx runs on the CPU"),
        ({"device": "cuda", "backend": "openvino"}, UsageError, "--backend openvino runs on the CPU"),
        ({"precision": "fp16", "backend": "openvino"}, UsageError, "the openvino backend computes in fp32 or bf16"),
        ({"precision": "int8"}, UsageError, "unknown precision 'int8': choose from fp32, bf16, fp16"),
        ({"precision": "bf16", "backend": "onnx"}, UsageError, "--precision bf16 needs --backend torch"),
        ({"resize": "nearest"}, UsageError, "unknown resize rule 'nearest'"),
        ({"backend": "torch", "device": "cpu"}, UsageError, "an ONNX file needs --backend onnx"),
    ],
)
def test_options_that_do_not_go_together_are_reported(
    options: dict[str, Any], error: type[Exception], message: str, graph: Path
) -> None:
    with pytest.raises(error, match=message):
        NetworkModel(card(SMALL), path=graph, **options)


def test_a_gpu_that_cannot_be_had_is_an_error(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelUnavailable, match="--device cuda: torch sees 0 CUDA devices here; use --device cpu"):
        NetworkModel(card(SMALL), device="cuda", path=files[SMALL])
    assert NetworkModel(card(SMALL), device="auto", path=files[SMALL]).engine.device == "cpu"


def test_the_device_resizes_and_normalises_as_pillow_does() -> None:
    from hsemotion_cli.models import gpu_preprocess

    rng = np.random.default_rng(2)
    shapes = [(1, 1), (3, 900), (900, 3), (450, 449), (300, 100), (100, 300), (112, 300), (300, 112)]
    for name in ("enet_b0_8_best", "mbf_va_mtl", "mt-mobilefacenet"):
        spec = published.spec(card(name))
        # Pillow chooses the order of its passes at these, if it does choose.
        edges = [(2 * width - spec.size + more, width) for width in (230, 260) for more in (0, 1)]
        random = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in (*shapes, *edges, (spec.size, spec.size))]
        pictures = [*published.faces(12, seed=1), *random]
        ours = gpu_preprocess.GpuPreprocessor(spec, "cpu")(pictures).numpy()
        np.testing.assert_array_equal(ours, networks.prepare(pictures, spec, "pil-bilinear"))


def test_images_are_processed_in_parts_that_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from hsemotion_cli.models import gpu_preprocess

    pictures, spec = published.faces(9, seed=2), published.spec(card(SMALL))
    together = gpu_preprocess.GpuPreprocessor(spec, "cpu")(pictures)
    monkeypatch.setattr(gpu_preprocess, "PIXELS", 200_000)
    assert list(gpu_preprocess._parts([])) == []
    parts = list(gpu_preprocess._parts(pictures))
    assert [picture.shape for part in parts for picture in part] == [picture.shape for picture in pictures]
    assert 2 < len(parts) < 9 or max(len(part) for part in parts) > 1
    for part in parts:
        padded = len(part) * max(p.shape[0] for p in part) * max(p.shape[1] for p in part)
        assert padded <= 200_000 or len(part) == 1
    assert torch.equal(gpu_preprocess.GpuPreprocessor(spec, "cpu")(pictures), together)


def test_torch_takes_faces_that_are_on_its_device(files: dict[str, Path]) -> None:
    from hsemotion_cli.models import gpu_preprocess

    model = NetworkModel(card(SMALL), "torch", "cpu", path=files[SMALL])
    engine: Any = model.engine  # takes a tensor as well
    images = published.faces(4, seed=3)
    on_device = gpu_preprocess.GpuPreprocessor(model.spec, "cpu")(images)
    for ours, from_numpy in zip(engine(on_device), engine(on_device.numpy()), strict=True):
        np.testing.assert_array_equal(ours, from_numpy)
    np.testing.assert_allclose(engine(on_device)[0], model.infer(images)[0], atol=1e-4)


def test_a_gpu_without_enough_memory_is_reported(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = NetworkModel(card(SMALL), "torch", "cpu", path=files[SMALL]).engine

    def full(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("what a GPU says that is full")

    monkeypatch.setattr(engine.network, "look", full)
    with pytest.raises(ModelUnavailable, match="memory is too small for 2 faces at once; give --precision fp16"):
        engine(np.zeros((2, 3, 112, 112), np.float32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 0.1)])
def test_the_gpu_gives_what_the_cpu_gives(files: dict[str, Path], precision: str, tolerance: float) -> None:
    images = published.faces(200)  # more than one batch
    on_gpu = NetworkModel(card(SMALL), device="cuda", path=files[SMALL], precision=precision)
    batch = on_gpu._prepare(images[:3])
    assert batch.is_cuda
    np.testing.assert_array_equal(batch.cpu().numpy(), networks.prepare(images[:3], on_gpu.spec, "pil-bilinear"))
    exact = torch.from_numpy(networks.prepare(images, on_gpu.spec, "pil-bilinear"))
    with torch.inference_mode():
        expected_scores = published.network(card(SMALL))(exact)[0].numpy()
    np.testing.assert_allclose(on_gpu.infer(images)[0], expected_scores, atol=tolerance)


def test_reduced_precision_is_near_and_only_on_request(files: dict[str, Path]) -> None:
    images = published.faces(3)
    reduced = NetworkModel(card(SMALL), device="cpu", path=files[SMALL], precision="bf16")
    assert reduced.engine.backend == "torch"
    ours, exact = (
        networks.interpret(raw, reduced.spec)["expression"]
        for raw in (reduced.infer(images)[0], expected(SMALL, images)[0])
    )
    assert 1e-5 < np.nanmax(np.abs(ours - exact)) < 0.3
    assert reduced.provenance["precision"] == "bf16"


# --- the authors' library ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["torch", "onnx"])
@pytest.mark.parametrize("name", ["enet_b0_8_va_mtl", "enet_b0_8_best_vgaf", "mobilevit_va_mtl"])
def test_scores_and_embeddings_are_those_of_emotiefflib(
    name: str, engine: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("emotiefflib") is None:
        pytest.skip("needs emotiefflib, the authors' library")
    from hsemotion_cli.models.architectures import import_timm

    import_timm()  # makes torchvision importable
    from emotiefflib import facial_analysis

    path = files[name]
    if engine == "onnx":
        path = tmp_path / f"{name}.onnx"
        published.save(published.network(card(name)), card(name), path)
    monkeypatch.setattr(facial_analysis, f"get_model_path_{engine}", lambda _: str(path))
    theirs = facial_analysis.EmotiEffLibRecognizer(engine, name)
    images = published.faces(4, seed=11)
    features = theirs.extract_features(images)
    labels, scores = theirs.classify_emotions(features.copy(), logits=False)
    resize = {"torch": "pil-bilinear", "onnx": "cv2-bilinear"}[engine]
    ours = NetworkModel(card(name), engine, "cpu", path=path, resize=resize)
    raw, embeddings = ours.infer(images)
    found = networks.interpret(raw, ours.spec)["expression"]
    assert [EXPRESSIONS[k] for k in np.nanargmax(found, axis=1)] == [label.lower() for label in labels]
    order = [EXPRESSIONS.index(theirs.idx_to_emotion_class[k].lower()) for k in range(8)]
    np.testing.assert_allclose(found[:, order], scores[:, :8], atol=1e-4)
    np.testing.assert_allclose(raw[:, 8:], scores[:, 8:], atol=1e-4)
    np.testing.assert_allclose(embeddings, features, atol=1e-4)


def test_a_module_wrapped_as_ordered_children_is_the_same_network(tmp_path: Path) -> None:
    """mobilefacenet's published pickle wraps the backbone in something unknown: any wrapping in order will do."""
    net: Any = published.network(card(SMALL))
    wrapped = torch.nn.Sequential(
        OrderedDict(a=net.layers, b=torch.nn.Sequential(net.conv_sep, net.features), c=net.fc)
    )
    with published.known_as(mobilefacenet={"ConvBlock": type(net.conv_sep)}):
        torch.save(wrapped, tmp_path / "a.pt")
    conversion.convert(card(SMALL), tmp_path / "a.pt", tmp_path / "a.safetensors")
    loaded = conversion.load(card(SMALL), tmp_path / "a.safetensors").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in net.state_dict().items() if "num_batches" not in k)
