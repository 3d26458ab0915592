"""Pretrained weights: a TensorFlow.js graph against a second reader, files of other networks, damaged files."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED
from known import known
from layers import linear

torch = pytest.importorskip("torch", reason="training needs torch")

from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from hsemotion_cli.domain import Frame
from hsemotion_cli.errors import ModelUnavailable
from hsemotion_cli.faces.detector import FaceDetector, detect_faces
from hsemotion_cli.media.images import read_image
from hsemotion_cli.models import (
    model_file,
    registry,
)
from hsemotion_cli.models.architectures import DDAMFN, FirstMobileFaceNet, MobileFaceNet
from hsemotion_cli.training.net2net import widen
from hsemotion_cli.training.pretrained import origin, read_tensorflow, start_from

EMBEDDING = "MobileFaceNet/Logits/Conv/BatchNorm/FusedBatchNorm"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def never() -> Tensor:
    raise AssertionError("no pictures are needed for this")


def pictures(count: int, size: int, seed: int = 0) -> Tensor:
    """Smooth images from -1 to 1, as a network sees them."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 9, 9, generator=random) * 2 - 1
    return functional.interpolate(coarse, (size, size), mode="bicubic").clamp(-1, 1)


# --- the graph of TensorFlow.js, interpreted --------------------------------------------------------------------


def graph() -> Path:
    path = SHARED / "models" / "mobilefacenet.json"
    if not path.is_file():
        pytest.skip("needs the face-identification network of ../shared/models, which is not here")
    return path


def stored_tensors(path: Path) -> dict[str, np.ndarray]:
    content = json.loads(path.read_text())
    (group,) = content["weightsManifest"]
    (name,) = group["paths"]
    data, found, start = (path.parent / name).read_bytes(), {}, 0
    for weight in group["weights"]:
        count = int(np.prod(weight["shape"]))
        kind = {"float32": "<f4", "int32": "<i4"}[weight["dtype"]]
        found[weight["name"]] = np.frombuffer(data, kind, count, start).reshape(weight["shape"])
        start += 4 * count
    assert start == len(data)
    return found


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int, padding: str, depthwise: bool) -> np.ndarray:
    """TensorFlow's convolutions: x (n, h, w, c); kernel (kh, kw, in, out) or, depth-wise, (kh, kw, c, 1)."""
    height, width = kernel.shape[:2]
    if padding == "SAME":
        margins = []
        for length, side in zip(x.shape[1:3], (height, width), strict=True):
            outputs = -(-length // stride)
            margin = max((outputs - 1) * stride + side - length, 0)
            margins.append((margin // 2, margin - margin // 2))
        x = np.pad(x, ((0, 0), *margins, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), (1, 2))[:, ::stride, ::stride]
    if depthwise:
        return np.einsum("nhwcij,ijc->nhwc", windows, kernel[..., 0])
    return np.tensordot(windows, kernel, ((4, 5, 3), (0, 1, 2)))


def text(value: dict[str, str]) -> str:
    return base64.b64decode(value["s"]).decode()


def interpreted(path: Path, images: np.ndarray, wanted: str) -> np.ndarray:
    """What a node of the graph gives for images (n, h, w, 3), but for two things that it was not trained with.

    It says relu(x) + m (x - |x|), and is read as relu(x) + m (|x| - x): only so it knows people (below). And the
    depth-wise layers hold a fused ReLU whose output y feeds their slopes as well; nothing of it would be left in
    y - |y|; y is read as x there.
    """
    values: dict[str, np.ndarray] = dict(stored_tensors(path))
    before: dict[str, np.ndarray] = {}
    for node in json.loads(path.read_text())["modelTopology"]["node"]:
        name, operation, inputs = node["name"], node["op"], node.get("input", [])
        if operation == "Const":
            continue
        given = [values[key] for key in inputs]
        if operation == "Placeholder":
            values[name] = images
        elif operation in ("_FusedConv2D", "FusedDepthwiseConv2dNative"):
            attributes = node["attr"]
            assert text(attributes["data_format"]) == "NHWC"
            assert set(attributes["dilations"]["list"]["i"]) == {"1"}
            stride = int(attributes["strides"]["list"]["i"][1])
            image, kernel, *_ = given
            found = convolved(image, kernel, stride, text(attributes["padding"]), operation.startswith("FusedDepth"))
            fused = [base64.b64decode(one).decode() for one in attributes["fused_ops"]["list"]["s"]]
            assert fused in (["BiasAdd"], ["BiasAdd", "Relu"])
            before[name] = found + given[2]
            values[name] = np.maximum(before[name], 0) if "Relu" in fused else before[name]
        elif operation == "Relu":
            values[name] = np.maximum(given[0], 0)
        elif operation == "Abs":
            values[name] = abs(before[inputs[0]])
        elif operation == "Sub":
            values[name] = given[1] - before[inputs[0]]
        elif operation == "Mul":
            values[name] = given[0] * given[1]
        elif operation == "Add":
            values[name] = given[0] + given[1]
        elif operation == "Squeeze":
            values[name] = given[0].squeeze((1, 2))
        else:
            raise AssertionError(f"{name}: {operation} is not expected before {wanted}")
        if name == wanted:
            return values[name]
    raise AssertionError(f"no {wanted}")


def test_the_network_predicts_what_the_graph_predicts() -> None:
    path, images = graph(), pictures(2, 112, seed=1)
    network = FirstMobileFaceNet(22).eval()
    head = linear(network).weight.clone()
    found = start_from(network, path, lambda: pictures(8, 112))
    expected = interpreted(path, images.permute(0, 2, 3, 1).numpy().astype(np.float64), EMBEDDING).reshape(2, 512)
    with torch.no_grad():
        given = network.embed(images).numpy()
    assert expected.std() > 0.1  # it says something
    assert abs(expected[0] - expected[1]).max() > 0.5
    np.testing.assert_allclose(given, expected, atol=2e-4 * abs(expected).max())
    assert torch.equal(network.fc.weight, head)
    assert set(found) == {name for name in network.state_dict() if not name.startswith("fc.")}


def test_every_tensor_of_the_file_is_read_as_it_is() -> None:
    found, expected = read_tensorflow(graph()), stored_tensors(graph())
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_padding_as_usual_would_be_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is not blind for what it is to prove."""
    path, images = graph(), pictures(1, 112, seed=1)
    network = FirstMobileFaceNet(22).eval()
    start_from(network, path, lambda: pictures(8, 112))
    expected = interpreted(path, images.permute(0, 2, 3, 1).numpy(), EMBEDDING).reshape(1, 512)
    for module in network.modules():
        if isinstance(module, nn.ZeroPad2d):
            module.padding = (1, 0, 1, 0)
    with torch.no_grad():
        assert abs(network.embed(images).numpy() - expected).max() > 0.05 * abs(expected).max()


def known_people(people: int) -> tuple[Tensor, np.ndarray]:
    """Faces (n, 3, 112, 112) of people with several images in muxspace, and who each is; grey, as they are there."""
    folder = SHARED / "data" / "muxspace"
    if not folder.is_dir():
        pytest.skip("needs the named faces of ../shared/data/muxspace, which are not here")
    pictures: dict[str, list[str]] = {}
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["subject"]:
                pictures.setdefault(row["subject"], []).append(row["image"])
    several = sorted(name for name, images in pictures.items() if len(images) == 3)[:people]
    assert len(several) == people
    faces, names = [], []
    with FaceDetector() as finder:
        for name in several:
            for image in pictures[name]:
                picture = known(read_image(folder / "images" / image))
                seen = detect_faces(Frame(0, 0.0, picture), finder, ["face-112"], given=True)
                faces.append(seen.faces[0].crops["face-112"])
                names.append(name)
    values = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 127.5 - 1
    grey = values.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return grey.contiguous(), np.array(names)


def same_person(embeddings: np.ndarray, names: np.ndarray) -> float:
    """Area under the curve of telling, by the cosine of two embeddings, whether they are of one person."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    pairs = np.triu_indices(len(names), 1)
    return float(roc_auc_score(names[pairs[0]] == names[pairs[1]], (unit @ unit.T)[pairs]))


@pytest.mark.slow
def test_the_network_to_start_from_recognises_people() -> None:
    path, (faces, names) = graph(), known_people(30)
    network = FirstMobileFaceNet(22).eval()
    start_from(network, path, lambda: faces)
    with torch.no_grad():
        known = same_person(network.embed(faces).numpy(), names)
        for module in network.modules():
            if isinstance(module, nn.PReLU):
                module.weight.neg_()
        as_written = same_person(network.embed(faces).numpy(), names)
    assert known > 0.93
    assert as_written < 0.8


@pytest.mark.parametrize("size", [48, 80])
def test_a_smaller_image_gets_the_last_kernel_resampled(size: int) -> None:
    network, full = FirstMobileFaceNet(22, size), FirstMobileFaceNet(22)
    start_from(network, graph(), lambda: pictures(4, size))
    start_from(full, graph(), lambda: pictures(4, 112))
    others = full.state_dict()
    kernels = {name: (own, others[name]) for name, own in network.state_dict().items() if own.ndim == 4}
    (name,) = [name for name, (own, other) in kernels.items() if own.shape != other.shape]
    assert all(torch.equal(own, other) for key, (own, other) in kernels.items() if key != name)
    check_resampled(*kernels[name])


def check_resampled(found: Tensor, given: Tensor) -> None:
    """The kernel answers to a map as the given one to that map enlarged."""
    assert found.shape[:2] == given.shape[:2]
    torch.testing.assert_close(found.sum((2, 3)), given.sum((2, 3)), atol=1e-5, rtol=1e-5)
    maps = torch.randn(5, *found.shape[2:])
    enlarged = functional.interpolate(maps[:, None], given.shape[2:], mode="bilinear")[:, 0]
    answers = torch.einsum("cohw,nhw->nco", found, maps)
    torch.testing.assert_close(answers, torch.einsum("cohw,nhw->nco", given, enlarged), atol=1e-4, rtol=1e-4)


# --- a graph that is made here ----------------------------------------------------------------------------------


def layers() -> Iterator[tuple[str, bool]]:
    """Name and whether it is depth-wise of each convolution of the graph, in its order."""
    yield from (("MobileFaceNet/MobileFaceNet/Conv2d_0", False), ("MobileFaceNet/MobileFaceNet/SeparableConv2d", True))
    yield "MobileFaceNet/MobileFaceNet/Conv", False
    for stage, blocks in ((2, 5), (3, 1), (4, 6), (5, 1), (6, 2)):
        for block in range(blocks):
            for layer in ("Conv", "SeparableConv2d", "Conv_1"):
                name = f"MobileFaceNet/MobileFaceNet/Conv2d_{stage}_InvResBlock_{block}/{layer}"
                yield name, layer == "SeparableConv2d"
    yield "MobileFaceNet/MobileFaceNet/Conv2d_7", False
    yield from (("MobileFaceNet/Logits/SeparableConv2d", True), ("MobileFaceNet/Logits/Conv", False))


def folded(size: int) -> tuple[FirstMobileFaceNet, dict[str, np.ndarray]]:
    """A network whose normalisation only adds offsets, and its weights as they are in a graph."""
    network = FirstMobileFaceNet(5, size).eval()
    modules = list(network.features.modules())
    convolutions = [m for m in modules if isinstance(m, nn.Conv2d)]
    norms = [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    tensors: dict[str, np.ndarray] = {}
    for (name, depthwise), convolution, norm in zip(layers(), convolutions, norms, strict=True):
        kind = ("depthwise_weights", "depthwise_bn_offset") if depthwise else ("Conv2D_weights", "Conv2D_bn_offset")
        known(norm.running_var).fill_(1 - norm.eps)
        norm.bias.data = 0.3 * torch.randn_like(norm.bias)
        order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        tensors[f"{name}/{kind[0]}"] = convolution.weight.detach().permute(order).numpy()
        tensors[f"{name}/{kind[1]}"] = norm.bias.detach().numpy()
        after = modules[modules.index(norm) + 1] if norm is not modules[-1] else None
        if isinstance(after, nn.PReLU):
            after.weight.data = torch.rand_like(after.weight)
            tensors[f"{name}/mul"] = (after.weight / -2).detach().numpy()
    return network, tensors


def write_graph(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    weights: list[dict[str, Any]] = [
        {"name": name, "shape": list(t.shape), "dtype": "float32"} for name, t in tensors.items()
    ]
    half = len(weights) // 2  # in two groups, the first one in two files
    contents = [
        b"".join(np.ascontiguousarray(tensors[w["name"]], "<f4").tobytes() for w in part)
        for part in (weights[:half], weights[half:])
    ]
    names = [f"{path.stem}.{k}.bin" for k in range(3)]
    for name, content in zip(names, (contents[0][:1001], contents[0][1001:], contents[1]), strict=True):
        (path.parent / name).write_bytes(content)
    manifest = [{"paths": names[:2], "weights": weights[:half]}, {"paths": names[2:], "weights": weights[half:]}]
    path.write_text(json.dumps({"modelTopology": {}, "weightsManifest": manifest}))
    return path


def test_a_graph_gives_back_the_network_that_it_was_made_of(tmp_path: Path) -> None:
    own, tensors = folded(48)
    network = FirstMobileFaceNet(5, 48)
    images = pictures(16, 48)
    start_from(network, write_graph(tmp_path / "made.json", tensors), lambda: images)
    with torch.no_grad():
        expected, found = own.embed(pictures(4, 48, seed=2)), network.eval().embed(pictures(4, 48, seed=2))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
        # Training goes on from there: normalised by the batch, the same images give the same.
        network.train()
        expected = own.embed(images)
        torch.testing.assert_close(network.embed(images), expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item())


def test_other_networks_have_no_graph(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="only the first MobileFaceNet"):
        start_from(MobileFaceNet(5), write_graph(tmp_path / "made.json", {}), never)


def without(tensors: dict[str, np.ndarray], end: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in tensors.items() if not name.endswith(end)}


def cropped(tensors: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return tensors | {name: tensors[name][..., :-1]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {}, "Conv2d_0/Conv2D_weights"),
        (lambda t: {f"other/{name}": values for name, values in t.items()}, "Conv2d_0/Conv2D_weights"),
        (lambda t: without(t, "Conv2d_7/Conv2D_weights"), "Conv2d_7/Conv2D_weights"),
        (lambda t: without(t, "Logits/Conv/Conv2D_bn_offset"), "Logits/Conv/Conv2D_bn_offset"),
        (lambda t: without(t, "Conv2d_7/mul"), "slopes"),
        (lambda t: cropped(t, "MobileFaceNet/MobileFaceNet/Conv2d_7/mul"), "(511,)"),
        (lambda t: cropped(t, "MobileFaceNet/MobileFaceNet/Conv2d_0/Conv2D_bn_offset"), "(63,)"),
        (lambda t: cropped(t, "MobileFaceNet/MobileFaceNet/Conv2d_0/Conv2D_weights"), "(63, 3, 3, 3)"),
        (lambda t: t | {"MobileFaceNet/MobileFaceNet/Conv2d_7/Conv2D_weights": np.zeros(3)}, "not the graph"),
    ],
)
def test_a_graph_of_another_network(tmp_path: Path, change: Any, words: str) -> None:
    path = write_graph(tmp_path / "made.json", change(folded(48)[1]))
    with pytest.raises(ModelUnavailable) as raised:
        start_from(FirstMobileFaceNet(5, 48), path, never)
    assert str(raised.value).startswith(f"{path}: not the graph of a MobileFaceNet (")
    assert words in str(raised.value)


def broken(path: Path) -> None:
    with pytest.raises(ModelUnavailable) as raised:
        start_from(FirstMobileFaceNet(5, 48), path, never)
    assert str(raised.value).startswith(f"{path}: not a TensorFlow.js graph with its weights (")
    assert "\n" not in str(raised.value)


def test_a_graph_whose_weights_are_cut_short_or_gone(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "made.json", {"a": np.arange(600.0), "b": np.arange(5.0)})
    assert read_tensorflow(path)["a"].tolist() == list(range(600))
    last = tmp_path / "made.2.bin"
    for length in (19, 16, 1, 0):
        last.write_bytes(last.read_bytes()[:length])
        broken(path)
    last.unlink()
    broken(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"3",
        b'"weightsManifest"',
        b"{}",
        b'{"weightsManifest": 4}',
        b'{"weightsManifest": "text"}',
        b'{"weightsManifest": [{"paths": [], "weights": [{"name": "a", "shape": [2], "dtype": "float32"}]}]}',
        b'{"weightsManifest": [{"paths": [], "weights": [{"name": "a", "shape": [0], "dtype": "complex"}]}]}',
        b'{"weightsManifest": [{"paths": [], "weights": [{"name": "a", "shape": "ab", "dtype": "float32"}]}]}',
        b'{"weightsManifest": [{"paths": ["nowhere.bin"], "weights": []}]}',
        b'{"weightsManifest": [{"paths": [4], "weights": []}]}',
        b'{"weightsManifest": [4]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_graph_that_is_broken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "graph.json").write_bytes(content)
    broken(tmp_path / "graph.json")


def test_weights_in_half_precision(tmp_path: Path) -> None:
    """As TensorFlow.js stores them: of the type float32, quantised to float16 or to whole numbers with a scale."""
    values = np.array([1.5, -2.25, 1e-3], np.float16)
    (tmp_path / "half.bin").write_bytes(values.tobytes() + np.array([7], "<i4").tobytes())
    half: dict[str, Any] = {"name": "a", "shape": [3], "dtype": "float32", "quantization": {"dtype": "float16"}}
    content = {
        "weightsManifest": [{"paths": ["half.bin"], "weights": [half, {"name": "b", "shape": [], "dtype": "int32"}]}]
    }
    (tmp_path / "graph.json").write_text(json.dumps(content))
    found = read_tensorflow(tmp_path / "graph.json")
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["a"], values.astype(np.float32))
    assert found["b"] == 7
    half["quantization"] = {"dtype": "uint8", "scale": 0.1, "min": -3}
    (tmp_path / "graph.json").write_text(json.dumps(content))
    broken(tmp_path / "graph.json")


def test_a_graph_that_is_missing(tmp_path: Path) -> None:
    broken(tmp_path / "graph.json")
    broken_folder = tmp_path / "folder.json"
    broken_folder.mkdir()
    broken(broken_folder)


# --- files of weights -------------------------------------------------------------------------------------------


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def test_a_head_of_another_size_keeps_its_random_weights(tmp_path: Path) -> None:
    given, network = FirstMobileFaceNet(22, 48).state_dict(), FirstMobileFaceNet(10, 48)
    head = linear(network).weight.clone(), linear(network).bias.clone()
    found = start_from(network, saved(tmp_path / "a.safetensors", given), never)
    for name, value in network.state_dict().items():
        if not name.startswith("fc."):
            assert name in found
            assert torch.equal(value, given[name])
    assert not any(name.startswith("fc.") for name in found)
    assert torch.equal(network.fc.weight, head[0]) and torch.equal(network.fc.bias, head[1])


def test_a_head_of_the_same_size_is_taken_over(tmp_path: Path) -> None:
    given, network = FirstMobileFaceNet(10, 48), FirstMobileFaceNet(10, 48)
    state = {name: v.half() for name, v in given.state_dict().items() if not name.endswith("num_batches_tracked")}
    found = start_from(network, saved(tmp_path / "a.safetensors", state), never)
    assert set(found) == set(state)
    own = network.state_dict()
    for name, value in state.items():
        assert own[name].dtype == torch.float32
        assert torch.equal(own[name], value.float())


@pytest.mark.parametrize(
    ("kind", "count"), [(FirstMobileFaceNet, 1), (DDAMFN, 7)], ids=["first MobileFaceNet", "DDAMFN"]
)
def test_a_network_for_images_of_another_size(tmp_path: Path, kind: Any, count: int) -> None:
    given, network = kind(10).state_dict(), kind(10, 48)
    found = start_from(network, saved(tmp_path / "a.safetensors", given), never)
    assert set(found) == set(network.state_dict())
    resampled = 0
    for name, value in network.state_dict().items():
        if value.shape != given[name].shape:
            check_resampled(value, given[name])
            resampled += 1
        else:
            assert torch.equal(value, given[name])
    assert resampled == count


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    network = FirstMobileFaceNet(10, 48)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert isinstance(network.features[1], nn.Conv2d)
    files = {
        # The same head on another body is no reason to call it a start.
        "other network": MobileFaceNet(10).state_dict(),
        "only a head": {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)},
        "only offsets": {name: value for name, value in before.items() if value.ndim == 1 and "weight" in name},
        "nothing": {},
        "other shapes": {"features.1.weight": torch.zeros(64, 3), "features.2.weight": torch.zeros(64, 1)},
    }
    for name, state in files.items():
        path = saved(tmp_path / f"{name}.safetensors", state)
        with pytest.raises(ModelUnavailable) as raised:
            start_from(network, path, never)
        assert str(raised.value) == f"{path}: none of its weights match this network."
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    saved(tmp_path / "short.safetensors", {"features.1.weight": torch.zeros(64, 3, 3, 3)})
    content = (tmp_path / "short.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(content[:-10])
    torch.save({"a": torch.zeros(3)}, tmp_path / "pickled.pt")
    for name in (
        "text.safetensors",
        "empty.safetensors",
        "short.safetensors",
        "missing.safetensors",
        ".",
    ):
        with pytest.raises(ModelUnavailable) as raised:
            start_from(FirstMobileFaceNet(10, 48), tmp_path / name, never)
        assert str(raised.value).startswith(f"{tmp_path / name}: cannot be read as safetensors (")
    with pytest.raises(ModelUnavailable, match=r"pickled\.pt: none of its weights match this network"):
        start_from(FirstMobileFaceNet(10, 48), tmp_path / "pickled.pt", never)


# --- the network itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 48, 64, 80, 96, 112])
def test_the_first_mobilefacenet_takes_images_of_many_sizes(size: int) -> None:
    network = FirstMobileFaceNet(7, size).eval()
    with torch.no_grad():
        scores, embeddings = network(pictures(2, size))
    assert scores.shape == (2, 7) and embeddings.shape == (2, 512) == (2, network.embedding_size)
    # What reduces the last map to the embedding, and nothing before it, is its pooling.
    pooled = {id(p) for module in network.pooling for p in module.parameters()}
    names = [name for name, parameter in network.features.named_parameters() if id(parameter) in pooled]
    last = [name for name, parameter in network.features.named_parameters() if parameter.shape[-1] == size // 16]
    kernel = max(name for name in last if network.features.get_parameter(name).shape[:2] == (512, 1))
    ordered = [name for name, _ in network.features.named_parameters()]
    assert names == ordered[ordered.index(kernel) :]
    assert {id(p) for p in network.head.parameters()} == {id(network.fc.weight), id(network.fc.bias)}


# --- a DDAMFN from a MobileFaceNet ------------------------------------------------------------------------------


class Strided(nn.Module):
    """A depth-wise step of two that pads at the left and top for its first channels, else at the right and bottom."""

    def __init__(self, convolution: nn.Conv2d, first: int) -> None:
        super().__init__()
        self.convolution, self.first = convolution, first

    def forward(self, x: Tensor) -> Tensor:
        before, after = (self.convolution(functional.pad(x, pad)) for pad in ((1, 0, 1, 0), (0, 1, 0, 1)))
        return torch.cat([before[:, : self.first], after[:, self.first :]], dim=1)


def mobilefacenet(size: int) -> FirstMobileFaceNet:
    """One with statistics, and without what a DDAMFN has no room for: activations and offsets after its kernels."""
    network = FirstMobileFaceNet(5, size).train()
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.5, 0.2)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        network(pictures(16, size))
    layers = [m for m in network.features.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.PReLU))]
    for convolution, norm, slopes in zip(layers[3:], layers[4:], layers[5:], strict=False):
        if isinstance(convolution, nn.Conv2d) and convolution.groups > 1 and isinstance(slopes, nn.PReLU):
            if convolution is layers[3]:
                continue
            assert isinstance(norm, nn.BatchNorm2d)
            nn.init.zeros_(norm.bias)
            nn.init.zeros_(known(norm.running_mean))
            nn.init.ones_(slopes.weight)
    return network.eval()


def with_the_steps_of_ddamfn(network: FirstMobileFaceNet) -> FirstMobileFaceNet:
    """Where a kernel of three cells must do, DDAMFN's steps of two see one cell more at the other side."""
    first = network.features[0]
    assert isinstance(first, nn.ZeroPad2d)
    first.padding = (1, 0, 1, 0)
    # Channels whose kernel has three cells: the first 64 of 128, the first 128 of 256, none of the middle 512 of 1024.
    parts = iter((64, 128, 0))
    for module in list(network.features.modules()):
        if isinstance(module, nn.Sequential) and any(isinstance(layer, nn.ZeroPad2d) for layer in module):
            pad = next((k for k, layer in enumerate(module) if isinstance(layer, nn.ZeroPad2d) and k), None)
            if pad is not None:
                convolution = module[pad + 1]
                assert isinstance(convolution, nn.Conv2d)
                module[pad], module[pad + 1] = nn.Identity(), Strided(convolution, next(parts))
    assert next(parts, None) is None
    return network


def test_a_ddamfn_begins_as_the_mobilefacenet_that_it_starts_from() -> None:
    small, large = mobilefacenet(64), DDAMFN(5, 64).eval()
    widen(small, large)
    for name, parameter in large.named_parameters():
        if "conv2." in name or "conv3." in name:  # attention that lets everything through
            nn.init.constant_(parameter, 30.0 if name.endswith("bias") else 0.0)
    images = pictures(6, 64, seed=3)
    with torch.no_grad():
        expected, found = with_the_steps_of_ddamfn(small)(images)[0], large(images)[0]
    assert expected.std(0).min() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_a_ddamfn_starts_from_the_file_of_a_mobilefacenet_of_any_size(tmp_path: Path) -> None:
    shipped = registry.card("mt-mobilefacenet").path
    assert shipped is not None
    for size in (48, 64, 112):
        network = DDAMFN(22, size)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        start_from(network, shipped, never)
        after = network.state_dict()
        assert sum(not torch.equal(before[name], after[name]) for name in before) > 100
        assert all(value.isfinite().all() for value in after.values())
    with pytest.raises(ModelUnavailable, match="it has 22 outputs, and this network 10"):
        start_from(DDAMFN(10, 64), shipped, never)


def test_the_origin_of_a_start_goes_back_to_the_first_file(tmp_path: Path) -> None:
    plain = saved(tmp_path / "a.safetensors", FirstMobileFaceNet(5, 48).state_dict())
    assert origin(plain) == {"file": "a.safetensors", "sha256": hashlib.sha256(plain.read_bytes()).hexdigest()}
    shipped = registry.card("mt-mobilefacenet").path
    assert shipped is not None
    found, facts = origin(shipped), model_file.read_card(shipped)[1]
    assert found["sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
    assert (found["plan_sha256"], found["commit"]) == (facts["plan_sha256"], facts["commit"])
    assert found["start"] == facts["start"] and found["start"]["file"] == "mt-mobilefacenet.safetensors"
    with pytest.raises(ModelUnavailable, match=r"gone\.json: cannot be read \(No such file"):
        origin(tmp_path / "gone.json")
