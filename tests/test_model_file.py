"""Trained networks as self-describing files: written, read, refused, cached, and used like any other model."""

from __future__ import annotations

import copy
import functools
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known, noting
from layers import linear
from scipy.special import expit, softmax
from stamps import unstamped
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs torch to make networks")
published = pytest.importorskip("published", reason="needs torch and timm to make networks")

import clips

from hsemotion_cli.cli import app
from hsemotion_cli.errors import HsemotionError, ModelUnavailable, OutputError, UsageError
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.models import (
    architectures,
    conversion,
    delta,
    engines,
    graph_file,
    model_file,
    onnx_graphs,
    registry,
    weights,
)
from hsemotion_cli.models import network_model as networks
from hsemotion_cli.models.cards import HALF, IMAGENET, ModelCard, NetworkSpec, network_card
from hsemotion_cli.models.network_model import NetworkModel
from hsemotion_cli.postprocess.recipe import Recipe, parse_models
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS

torch.set_num_threads(1)

CLASSES = ("happiness", "neutral", "surprise")
UNITS = ("AU12", "AU01", "AU26")
"""Neither all of them, nor in our order."""

FACTS = {"figures": {"expression": {"macro_f1": 0.51}}, "plan": "0" * 64, "commit": "abc"}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, no network, and nothing known from other tests."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HSEMOTION_HOME", str(folder))
    monkeypatch.setenv("HSEMOTION_OFFLINE", "1")
    monkeypatch.setattr(registry, "_added", {})
    return folder


def spec_of(architecture: str = "mobilefacenet", size: int = 112, columns: int = 512, **changes: Any) -> NetworkSpec:
    norm = HALF if architecture.startswith("mobilefacenet") else IMAGENET
    spec = NetworkSpec((architecture,), size, *norm, CLASSES, True, columns, "fc", action_units=UNITS)
    return replace(spec, **changes)


def card_of(spec: NetworkSpec, name: str = "tiny", crop: str = "face-112", **changes: Any) -> ModelCard:
    card = network_card(name, "Tiny", crop, "CC0-1.0", "random numbers", "nowhere", spec)
    thresholds = {unit: 0.3 for unit in spec.action_units[:1]}
    return replace(card, **{"au_thresholds": thresholds, **changes})


@functools.cache
def _network(spec: NetworkSpec, seed: int) -> architectures.Network:
    torch.manual_seed(seed)
    net = architectures.build(spec.architectures[0], spec.outputs)
    images = published.batch(8, spec, seed)
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    for layer in norms:
        torch.nn.init.uniform_(layer.weight, 0.7, 1.3)
        torch.nn.init.normal_(layer.bias, std=0.1)
        layer.momentum = 1.0
    with torch.no_grad():
        net.train()(images)
        net.eval()
        scores = net(images)[0]
        head = [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear)][-1]
        scale = torch.tensor([2.0] * len(spec.classes) + [0.4, 0.4] * spec.valence_arousal + [2.0] * len(UNITS))
        scale = scale[: spec.outputs] / scores.std(0)
        head.weight *= scale[:, None]
        head.bias.copy_((head.bias - scores.mean(0)) * scale)
    return net


def network(spec: NetworkSpec | None = None, seed: int = 0) -> architectures.Network:
    """Random weights whose outputs tell images apart, so that a test that compares them sees something."""
    nothing: Any = ()  # where the rules of resizing are, which are no matter here and cannot be hashed
    return copy.deepcopy(_network(replace(spec or spec_of(), resize=nothing), seed))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network of these tests and the right graph beside it."""
    folder = tmp_path_factory.mktemp("shelf")
    sha256 = engines.export_half(network(), spec_of(), folder / "tiny.onnx")
    model_file.write(folder / "tiny.safetensors", network(), card_of(spec_of()), {**FACTS, "onnx_sha256": sha256})
    return folder


@pytest.fixture
def file(shelf: Path, tmp_path: Path) -> Path:
    """The same, each test's own, without a graph."""
    path = tmp_path / "tiny.safetensors"
    path.write_bytes((shelf / path.name).read_bytes())
    return path


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else unstamped(result.stderr)


# --- outputs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [(), CLASSES])
@pytest.mark.parametrize("valence_arousal", [False, True])
@pytest.mark.parametrize("units", [(), UNITS])
def test_outputs_are_classes_then_valence_and_arousal_then_action_units(
    classes: tuple[str, ...], valence_arousal: bool, units: tuple[str, ...]
) -> None:
    spec = spec_of(classes=classes, valence_arousal=valence_arousal, action_units=units)
    assert spec.outputs == len(classes) + 2 * valence_arousal + len(units)
    raw = np.random.default_rng(3).normal(0, 3, (5, spec.outputs)).astype(np.float32)
    scores = networks.interpret(raw, spec)
    assert tuple(scores) == spec.tasks == network_card("a", "", "box", "", "", "", spec).tasks
    column = iter(raw.T.astype(float))
    if classes:
        logits = np.stack([next(column) for _ in classes])
        for name, expected in zip(classes, softmax(logits, axis=0), strict=True):
            assert scores["expression"][:, EXPRESSIONS.index(name)] == pytest.approx(expected, abs=1e-6)
        known = [name in classes for name in EXPRESSIONS]
        assert np.array_equal(~np.isnan(scores["expression"]), np.tile(known, (5, 1)))
    if valence_arousal:
        affect = np.stack([next(column), next(column)], 1)
        assert scores["valence_arousal"] == pytest.approx(affect.clip(-1, 1), abs=1e-6)
    if units:
        for name in units:
            found = scores["action_units"][:, ACTION_UNITS.index(name)]
            assert found == pytest.approx(expit(next(column)), abs=1e-6)
        known = [name in units for name in ACTION_UNITS]
        assert np.array_equal(~np.isnan(scores["action_units"]), np.tile(known, (5, 1)))
    assert all(values.dtype == np.float32 for values in scores.values())


def test_a_logistic_function_is_exact_also_far_from_zero() -> None:
    logits = np.array([-1e30, -200, -90, -20, -1e-3, 0, 1e-3, 20, 90, 1e30], np.float32)
    assert engines.sigmoid(logits) == pytest.approx(expit(logits.astype(float)), rel=1e-6, abs=1e-37)


def test_a_card_whose_tasks_are_not_its_outputs_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="its tasks are"):
        replace(card_of(spec_of()), tasks=("expression",))


@pytest.mark.parametrize("column", [0, 3, 7])
def test_a_graph_that_differs_in_any_output_is_noticed(column: int) -> None:
    spec, net = spec_of(), network()
    reference = engines.TorchEngine(net, "cpu")

    class Shifted:
        backend, device, batch = reference.backend, reference.device, reference.batch

        def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            scores, embeddings = reference(images)
            scores[:, column] += 0.05
            return scores, embeddings

    assert engines._parity(reference, net, spec) == 0
    assert engines._parity(Shifted(), net, spec) > 10 * engines.PARITY


# --- there and back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("architecture", "size", "columns"),
    [
        ("mobilefacenet", 112, 512),
        ("mobilefacenet_first", 112, 512),
        ("ddamfn", 112, 512),
        ("tf_efficientnet_b0", 96, 1280),
        ("mobilevitv2_150", 128, 768),
        ("mobilefacenet_first_48+mirror", 48, 512),
        ("timm:mobilenetv3_small_050", 64, 1024),
    ],
)
def test_every_architecture_goes_into_a_file_and_comes_back(
    architecture: str, size: int, columns: int, half: bool, tmp_path: Path
) -> None:
    spec = spec_of(architecture, size, columns)
    torch.manual_seed(1)
    net = architectures.build(architecture, spec.outputs).train()
    path = tmp_path / "new" / "tiny.safetensors"
    model_file.write(path, net, card_of(spec), FACTS, half)
    assert net.training, "writing changes nothing about the network"
    card, facts = model_file.read_card(path)
    assert card == replace(card_of(spec), path=path)
    assert facts == FACTS
    loaded = model_file.load(card, path)
    original = net.state_dict()
    assert list(loaded.state_dict()) == list(original)
    assert not loaded.training
    assert loaded.mirrored == architecture.endswith("+mirror")
    for key, value in loaded.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert value.dtype == torch.float32
            wanted = original[key].half().float() if half and value.ndim > 1 else original[key]
            assert torch.equal(value, wanted), key
    count = sum(value.numel() for value in original.values())
    assert path.stat().st_size < count * (2.4 if half else 4.2)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_graph_looks_at_both_sides_as_well(tmp_path: Path) -> None:
    card = registry.card("mt-mobilefacenet")
    assert card.path and published.spec(card)
    net = model_file.load(card, card.path)
    images = published.batch(3, published.spec(card), 1).numpy()
    found = {}
    for net.mirrored in (False, True):
        path = tmp_path / f"{net.mirrored}.onnx"
        engines.export_half(net, published.spec(card), path)  # compares it with torch
        session = onnxruntime.InferenceSession(path)
        found[net.mirrored] = [
            session.run(None, {"input": np.ascontiguousarray(x)})[0] for x in (images, images[..., ::-1])
        ]
    assert np.abs(found[False][0] - found[False][1]).max() > 1e-2
    np.testing.assert_allclose(found[True][0], found[True][1], atol=1e-4)
    np.testing.assert_allclose(found[True][0], np.mean(found[False], axis=0), atol=1e-4)


def test_the_same_network_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    card, facts = model_file.read_card(file)
    model_file.write(tmp_path / "again.safetensors", model_file.load(card, file), card, facts)
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_any_reader_of_safetensors_reads_it(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as content:
        metadata = content.metadata()
        assert content.get_tensor("fc.weight").dtype == np.float16
        assert content.get_tensor("fc.bias").dtype == np.float32
    assert list(metadata) == ["hsemotion"]
    said = json.loads(metadata["hsemotion"])
    assert (said["format"], said["kind"]) == (1, "network")
    assert set(said["card"]) == {
        *("name", "paper_name", "crop", "licence", "training_data", "citation", "au_thresholds", "network")
    }
    assert said["card"]["network"]["action_units"] == list(UNITS)


def test_half_precision_costs_next_to_nothing(file: Path) -> None:
    spec = spec_of()
    images = published.batch(8, spec, seed=5)
    with torch.inference_mode():
        exact, short = (
            networks.interpret(net(images)[0].numpy(), spec)
            for net in (network(), model_file.load(card_of(spec), file))
        )
    assert exact["expression"][:, [0, 4, 6]].std(axis=0).min() > 0.05, "a test that sees nothing"
    for task, values in exact.items():
        difference = np.nanmax(np.abs(values - short[task]))
        assert 0 < difference < 0.02, task


def test_what_float16_cannot_hold_stays_float32(tmp_path: Path) -> None:
    net = network()
    with torch.no_grad():
        linear(net).weight[0, 0] = 1e6
    model_file.write(tmp_path / "a.safetensors", net, card_of(spec_of()), {})
    loaded = model_file.load(card_of(spec_of()), tmp_path / "a.safetensors")
    assert torch.equal(linear(loaded).weight, linear(net).weight)
    assert torch.equal(linear(model_file.rounded(net)).weight, linear(net).weight)


def test_reading_a_card_takes_neither_torch_nor_safetensors(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hsemotion_cli.models import registry\n"
        f"card = registry.add(Path({str(file)!r}))\n"
        "assert registry.card(card.name).network.outputs == 8\n"
        "print(*sorted({'torch', 'safetensors', 'onnxruntime', 'cv2', 'timm'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- writing what cannot be -------------------------------------------------------------------------------------


def _with_nan(net: architectures.Network) -> None:
    linear(net).weight.data[0, 0] = float("nan")


@pytest.mark.parametrize(
    ("spec", "card", "facts", "spoil", "error", "message"),
    [
        ({}, {}, {}, _with_nan, ModelUnavailable, r"a\.safetensors: fc\.weight has values that are not finite"),
        ({"classes": ()}, {}, {}, None, ModelUnavailable, r"fc\.weight has shape \(8, 512\) where \(5, 512\)"),
        ({"architectures": ("ddamfn",)}, {}, {}, None, ModelUnavailable, "ddamfn: it has no weights named features"),
        ({"architectures": ("resnet",)}, {}, {}, None, ModelUnavailable, "resnet: unknown to this version"),
        ({"size": 128}, {}, {}, None, ModelUnavailable, "it does not run on 128 pixels"),
        ({"embedding_size": 256}, {}, {}, None, ModelUnavailable, "its embedding has 512 columns"),
        ({}, {"name": "../x"}, {}, None, UsageError, "'../x' cannot be the name of a network"),
        ({}, {"name": "a.b"}, {}, None, UsageError, "cannot be the name"),
        ({}, {"crop": None}, {}, None, ValueError, "None is not a crop recipe"),
        ({}, {"licence": "a\nb"}, {}, None, ValueError, "licence is not a line of text"),
        ({}, {"au_thresholds": {"AU02": 0.5}}, {}, None, ValueError, "a threshold of 'AU02'"),
        ({"action_units": ("AU12", "AU99", "AU26")}, {"au_thresholds": {}}, {}, None, ValueError, "'AU99' among its"),
        ({"resize": {"torch": "cv2-bilinear"}}, {}, {}, None, ValueError, "resize rule"),
        ({}, {}, {"f1": float("nan")}, None, ValueError, "Out of range float values"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    spec: dict, card: dict, facts: dict, spoil: Callable | None, error: type, message: str, tmp_path: Path
) -> None:
    net = network()
    if spoil:
        spoil(net)
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(error, match=message):
        model_file.write(path, net, card_of(spec_of(**spec), **card), facts)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_where_nothing_can_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file/a\.safetensors: could not be written"):
        model_file.write(tmp_path / "file" / "a.safetensors", network(), card_of(spec_of()), {})


# --- malformed files --------------------------------------------------------------------------------------------


def parts(path: Path) -> tuple[dict, bytes]:
    """The header of a file and what follows."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def said(change: Callable[[dict], object]) -> Callable[[dict, bytes], bytes]:
    """A file whose description is another one."""

    def make(header: dict, data: bytes) -> bytes:
        content = json.loads(header["__metadata__"]["hsemotion"])
        content.pop("sha256")
        content = change(content) or content
        header["__metadata__"]["hsemotion"] = json.dumps(content)
        return join(header, data)

    return make


def table(change: Callable[[dict], object]) -> Callable[[dict, bytes], bytes]:
    """A file whose table of tensors is another one."""

    def make(header: dict, data: bytes) -> bytes:
        change(header)
        return join(header, data)

    return make


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


MALFORMED: dict[str, tuple[Callable[[dict, bytes], bytes], str]] = {
    "nothing": (lambda h, d: b"", "it is not a safetensors file, or only a part of one"),
    "three bytes": (lambda h, d: b"abc", "it is not a safetensors file"),
    "a zip archive": (lambda h, d: b"PK\x03\x04" + bytes(4000), "it is not a safetensors file"),
    "an endless header": (lambda h, d: b"\xff" * 8 + d, "it is not a safetensors file"),
    "a header of 5 MB": (lambda h, d: join(b" " * 5_000_000, d), "it is not a safetensors file"),
    "the first half": (lambda h, d: join(h, d[: len(d) // 2]), "bytes of weights instead of .*; copy it again"),
    "one byte more": (lambda h, d: join(h, d + b"\0"), "bytes of weights instead of .*"),
    "half a header": (lambda h, d: join(json.dumps(h).encode()[:500], d), "its header is not JSON"),
    "no UTF-8": (lambda h, d: join(b'{"\xff\xfe": 1}', d), "its header is not JSON"),
    "a list": (lambda h, d: join([1], d), "its header is not a table"),
    "a deep header": (lambda h, d: join(b"[" * 100_000, d), "its header is not JSON"),
    "metadata in a list": (lambda h, d: join({"__metadata__": []}, d), "its metadata are not a table"),
    "somebody else's weights": (
        table(lambda h: h.pop("__metadata__")),
        "does not contain a model card; if it has weights of a known network, give NAME=FILE",
    ),
    "a description that is no text": (table(lambda h: h.update(__metadata__={"hsemotion": 1})), "is not text"),
    "a description that is no JSON": (table(lambda h: h.update(__metadata__={"hsemotion": "x"})), "is not JSON"),
    "a description that is a list": (said(lambda c: [c]), "its description is not a table"),
    "the next format": (said(lambda c: c.update(format=2)), "it has the format 2, but this version reads 1; update"),
    "a format that is true": (said(lambda c: c.update(format=True)), "it has the format True"),
    "another kind": (said(lambda c: c.update(kind="poem")), "it holds a 'poem', not a network"),
    "no card": (said(lambda c: c.pop("card") and None), "its description has no card"),
    "no facts": (said(lambda c: c.update(facts=[])), "its description has no facts"),
    "deep facts": (said(lambda c: c.update(facts={"a": nested(40)})), "nested more than 32 deep"),
    "a key of its own": (said(lambda c: c.update(shape=1)), "has the unknown key 'shape'"),
    "a card without licence": (said(lambda c: c["card"].pop("licence") and None), "the card lacks 'licence'"),
    "a card that knows more": (said(lambda c: c["card"].update(x=1)), "the card has the unknown key 'x'"),
    "a name that is a path": (said(lambda c: c["card"].update(name="a/b")), "'a/b' cannot be the name"),
    "a name that is a number": (said(lambda c: c["card"].update(name=7)), "7 cannot be the name"),
    "colours for the terminal": (
        said(lambda c: c["card"].update(licence="\x1b[31mfree")),
        "licence is not a line of text",
    ),
    "an unknown crop": (said(lambda c: c["card"].update(crop="face")), "'face' is not a crop recipe"),
    "a strange threshold": (said(lambda c: c["card"]["au_thresholds"].update(AU12=2)), "AU12 is not between 0 and 1"),
    "thresholds in a list": (said(lambda c: c["card"].update(au_thresholds=[])), "au_thresholds is not a table"),
    "no network": (said(lambda c: c["card"].update(network=None)), "network is not a table"),
    "no architecture": (said(lambda c: c["card"]["network"].update(architectures=[])), "architectures is not a list"),
    "a huge input": (said(lambda c: c["card"]["network"].update(size=100_000)), "size is not a number of pixels"),
    "two colours": (said(lambda c: c["card"]["network"].update(mean=[0.5, 0.5])), "mean is not three numbers"),
    "no deviation": (said(lambda c: c["card"]["network"].update(std=[1, 0, 1])), "std is not three numbers"),
    "an infinite mean": (
        said(lambda c: c["card"]["network"].update(mean=[1, float("inf"), 1])),
        "Infinity is not a JSON number",
    ),
    "an unknown class": (
        said(lambda c: c["card"]["network"].update(classes=["joy"])),
        "'joy' among its classes is unk",
    ),
    "a class twice": (said(lambda c: c["card"]["network"].update(classes=["fear", "fear"])), "classes is listed twice"),
    "a class in a list": (said(lambda c: c["card"]["network"].update(classes=[["fear"]])), "among its classes is unkn"),
    "an unknown action unit": (said(lambda c: c["card"]["network"].update(action_units=["AU99"])), "'AU99' among its"),
    "perhaps valence": (said(lambda c: c["card"]["network"].update(valence_arousal=1)), "neither true nor false"),
    "no outputs": (
        said(
            lambda c: c["card"].update(
                au_thresholds={},
                network={**c["card"]["network"], "classes": [], "action_units": [], "valence_arousal": False},
            )
        ),
        "it has no outputs",
    ),
    "an empty embedding": (said(lambda c: c["card"]["network"].update(embedding_size=0)), "embedding_size is not"),
    "no weights": (lambda h, d: join({"__metadata__": h["__metadata__"]}, b""), "it holds no weights"),
    "double precision": (table(lambda h: h["fc.bias"].update(dtype="F64")), "of kind 'F64'; choose F16 or F32"),
    "a tensor without a place": (table(lambda h: h["fc.bias"].pop("data_offsets")), "lacks a kind, shape or position"),
    "a tensor that is a number": (table(lambda h: h.update({"fc.bias": 3})), "lacks a kind, shape or position"),
    "a negative shape": (
        table(lambda h: h["fc.bias"].update(shape=[-8])),
        "'fc.bias' has an invalid shape or position",
    ),
    "a wrong shape": (
        table(lambda h: h["fc.bias"].update(shape=[9])),
        "'fc.bias' has a length that does not match its shape",
    ),
    "a hole": (table(lambda h: h.pop("fc.bias") and None), "are not contiguous|bytes of weights instead"),
    "two tensors in one place": (
        table(lambda h: h.update({"fc.more": h["fc.bias"]})),
        "are not contiguous|bytes of weights instead",
    ),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_file_is_refused_with_a_sentence(fault: str, file: Path) -> None:
    make, message = MALFORMED[fault]
    file.write_bytes(make(*parts(file)))
    for read in (
        model_file.read_card,
        model_file.verify,
        registry.add,
        lambda path: model_file.load(card_of(spec_of()), path),
    ):
        with pytest.raises(ModelUnavailable, match=message) as caught:
            read(file)
        assert str(caught.value).startswith(f"{file}: ")
        assert str(caught.value).endswith(".")
    told = run("annotate", "clip.mp4", "--model", file, code=5)
    assert told.startswith("hsemotion: ")
    assert file.name in told


def test_files_that_are_not_there_are_refused_too(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(ModelUnavailable, match="no such file"):
            model_file.read_card(path)
    assert "no such file" in run("annotate", "clip.mp4", "--model", tmp_path / "none.safetensors", code=5)


def test_the_unchanged_parts_make_the_unchanged_file(file: Path) -> None:
    """The faults above are what is refused, not the way in which the files are made."""
    before = model_file.read_card(file)
    file.write_bytes(said(lambda c: None)(*parts(file)))
    assert model_file.read_card(file) == before
    assert model_file.verify(file)
    model_file.load(before[0], file)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_bit_is_noticed_wherever_it_is(shelf: Path, data: st.DataObject) -> None:
    content = bytearray((shelf / "tiny.safetensors").read_bytes())
    header = struct.unpack("<Q", content[:8])[0]
    place = data.draw(st.integers(0, 7) | st.integers(8, 8 + header - 1) | st.integers(8 + header, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = shelf / "flipped.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable):
        model_file.verify(path)


def test_weights_of_another_network_are_refused(file: Path) -> None:
    make = table(lambda h: h.update({"fc.zero": h.pop("fc.bias")}))
    header, data = parts(file)
    content = json.loads(header["__metadata__"]["hsemotion"])
    content.pop("sha256")
    header["__metadata__"]["hsemotion"] = json.dumps(content)
    file.write_bytes(make(header, data))
    with pytest.raises(ModelUnavailable, match=r"mobilefacenet: it has no weights named fc\.bias"):
        model_file.load(card_of(spec_of()), file)


def test_a_file_that_became_another_network_is_noticed(file: Path) -> None:
    card, _ = model_file.read_card(file)
    other = spec_of(classes=("fear", "neutral", "surprise"))
    model_file.write(file, network(), card_of(other), {})
    with pytest.raises(ModelUnavailable, match="it was replaced by another network after its card was read"):
        model_file.load(card, file)


# --- the graph beside it ----------------------------------------------------------------------------------------


def test_the_graph_is_half_as_large_and_predicts_what_the_file_predicts(shelf: Path, tmp_path: Path) -> None:
    onnx_graphs.export(network(), 112, tmp_path / "full.onnx")
    size = (shelf / "tiny.onnx").stat().st_size
    assert size < 0.55 * (tmp_path / "full.onnx").stat().st_size
    card, facts = model_file.read_card(shelf / "tiny.safetensors")
    assert weights.checksums(shelf / "tiny.onnx")[0] == facts["onnx_sha256"]
    images = published.batch(6, spec_of(), seed=9)
    with torch.inference_mode():
        scores, embeddings = model_file.load(card, shelf / "tiny.safetensors")(images)
    model = NetworkModel(card)
    assert model.engine.backend == "onnx"
    found = model.engine(images.numpy())
    np.testing.assert_allclose(found[0], scores, atol=1e-4)
    np.testing.assert_allclose(found[1], embeddings, atol=1e-4)


def test_the_graph_holds_its_weights_as_float16_and_loses_nothing(shelf: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(shelf / "tiny.onnx")).graph
    onnx.checker.check_model(str(shelf / "tiny.onnx"))
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    matrices = [values for values in arrays.values() if values.ndim > 1]
    assert matrices
    assert all(values.dtype == np.float16 for values in matrices)
    assert arrays["fc.weight.half"] == pytest.approx(linear(network()).weight.detach().half().numpy(), abs=0)


@pytest.mark.parametrize(("architecture", "size", "columns"), [("ddamfn", 112, 512), ("tf_efficientnet_b0", 96, 1280)])
def test_other_architectures_have_such_graphs_as_well(
    architecture: str, size: int, columns: int, tmp_path: Path
) -> None:
    spec = spec_of(architecture, size, columns)
    path = tmp_path / "tiny.safetensors"
    sha256 = engines.export_half(network(spec), spec, tmp_path / "tiny.onnx")
    model_file.write(path, network(spec), card_of(spec), {"onnx_sha256": sha256})
    images = published.faces(2)
    raw = {backend: NetworkModel(model_file.read_card(path)[0], backend, "cpu").infer(images)[0] for backend in
           ("onnx", "torch")}  # fmt: skip
    assert raw["onnx"].std() > 0.1
    np.testing.assert_allclose(raw["onnx"], raw["torch"], atol=2e-4)


def test_the_right_graph_needs_no_torch(shelf: Path, tmp_path: Path) -> None:
    images = published.faces(3, seed=8)
    np.savez(tmp_path / "in.npz", *images)
    path = shelf / "tiny.safetensors"
    code = (
        "import sys\n"
        "for name in ('torch', 'timm', 'torchvision', 'onnx'): sys.modules[name] = None\n"
        "import numpy as np; from pathlib import Path\n"
        "from hsemotion_cli.models.network_model import NetworkModel; from hsemotion_cli.models import registry\n"
        f"images = list(np.load({str(tmp_path / 'in.npz')!r}).values())\n"
        f"raw, _ = NetworkModel(registry.add(Path({str(path)!r}))).infer(images)\n"
        f"np.save({str(tmp_path / 'out.npy')!r}, raw)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = NetworkModel(model_file.read_card(path)[0], "torch", "cpu").infer(images)[0]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-4)


@pytest.mark.parametrize("beside", ["another network's", "damaged", "none"])
def test_a_wrong_graph_is_not_used(beside: str, shelf: Path, file: Path, home: Path) -> None:
    if beside == "another network's":
        engines.export_half(network(seed=7), spec_of(), file.with_suffix(".onnx"))
    elif beside == "damaged":
        content = bytearray((shelf / "tiny.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        file.with_suffix(".onnx").write_bytes(content)
    assert graph_file.read_graph(file) is None
    images = published.faces(3, seed=2)
    card, _ = model_file.read_card(file)
    expected = NetworkModel(card, "torch", "cpu").infer(images)[0]
    assert not list(home.rglob("*.onnx"))
    model = NetworkModel(card)
    assert model.engine.backend == "onnx"
    np.testing.assert_allclose(model.infer(images)[0], expected, atol=1e-4)
    (exported,) = home.rglob("*.onnx")
    assert exported.name == f"tiny.{weights.checksums(file)[0][:16]}.onnx"


@given(st.lists(st.binary(min_size=250, max_size=300) | st.integers(0, 5), max_size=9), st.data())
def test_a_delta_encoded_file_is_restored_exactly(pieces: list[bytes | int], data: st.DataObject) -> None:
    tensors = [np.random.default_rng(k).bytes(256 + k) for k in range(6)]
    other = b"head" + b"".join(tensors)
    ends = 4 + np.cumsum([0, *map(len, tensors)])
    whole = b"".join(tensors[piece] if isinstance(piece, int) else piece for piece in pieces)
    content = delta.encode(whole, other, list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)))
    assert delta.decode(content, other) == whole
    if used := {piece for piece in pieces if isinstance(piece, int)}:
        assert not any(tensors[k] in content for k in used if pieces.count(k) == 1)
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError):
        delta.decode(content[:cut], other)


@pytest.mark.parametrize(
    "parts", ["[[-1, 5]]", "[[0, 99]]", "[3]", "[-1]", "7", "[[1]]", '["a"]', "[null]", "{}x", "[1.5]"]
)
def test_a_delta_that_encodes_no_file_is_refused(parts: str) -> None:
    with pytest.raises(ValueError):
        delta.decode(struct.pack("<Q", len(parts)) + parts.encode(), b"0123456789")


def test_what_would_unpack_to_far_more_than_it_is_is_refused() -> None:
    parts = json.dumps([[0, 10**6]] * 10**5).encode()
    with pytest.raises(ValueError, match="parts are longer than both files"):
        delta.decode(struct.pack("<Q", len(parts)) + parts, bytes(10**6))


def test_a_graph_may_be_delta_encoded_against_the_weights(shelf: Path, file: Path, home: Path) -> None:
    told = model_file.delta_graph_path(file)
    told.write_bytes(graph_file.encode_graph(shelf / "tiny.safetensors"))
    assert told.stat().st_size < 0.1 * (shelf / "tiny.onnx").stat().st_size
    assert graph_file.read_graph(file) == (shelf / "tiny.onnx").read_bytes()
    assert NetworkModel(model_file.read_card(file)[0]).engine.backend == "onnx"
    assert not list(home.rglob("*.onnx"))
    run("models", "add", file)
    assert model_file.graph_path(model_file.place("tiny")).read_bytes() == (shelf / "tiny.onnx").read_bytes()
    content = bytearray(told.read_bytes())
    content[-1] ^= 1
    told.write_bytes(content)
    assert graph_file.read_graph(file) is None
    with pytest.raises(ModelUnavailable, match=r"tiny\.onnx is missing, or not the graph of"):
        graph_file.encode_graph(file)


def test_an_export_into_the_cache_is_made_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = onnx_graphs.export
    monkeypatch.setattr(onnx_graphs, "export", noting(made, 1, original))
    for _ in range(2):
        NetworkModel(model_file.read_card(file)[0])
    assert len(made) == 1


def test_without_torch_and_without_a_graph_both_remedies_are_named(file: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'timm', 'torchvision'): sys.modules[name] = None\n"
        "from hsemotion_cli.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", code, "annotate", str(clips.PORTRAIT), "--model", str(file), "--crops"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=file.parent)
    assert done.returncode == 5, done.stderr
    assert "needs torch" in done.stderr
    assert f"Without torch, {file.with_suffix('.onnx')}" in done.stderr


def test_without_the_onnx_package_writing_a_graph_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelUnavailable, match=r"needs the onnx package .*: pip install onnx"):
        engines.export_half(network(), spec_of(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PARITY", 0.0)
    (tmp_path / "a.onnx").write_bytes(b"before")
    with pytest.raises(ModelUnavailable, match=r"the graph exported from a differs from torch by"):
        engines.export_half(network(), spec_of(), tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_user_s_weights_take_the_place_of_the_trained_ones(file: Path, tmp_path: Path) -> None:
    other = network(seed=4)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    images = published.faces(2)
    card, _ = model_file.read_card(file)
    found = NetworkModel(card, "torch", "cpu", path=tmp_path / "other.pth").infer(images)[0]
    with torch.inference_mode():
        expected = other(torch.from_numpy(networks.prepare(images, published.spec(card), "pil-bilinear")))[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


# --- the registry -----------------------------------------------------------------------------------------------


def test_a_trained_file_is_known_by_its_own_name(file: Path) -> None:
    with pytest.raises(UsageError, match="unknown model 'tiny'"):
        registry.card("tiny")
    first = registry.add(file)
    assert registry.add(file) == first == registry.card("tiny") == registry.known()["tiny"]
    assert first.path == file
    assert Recipe.of("tiny").thresholds["AU12"] == 0.3
    assert "tiny" not in registry.MODELS
    registry.forget("tiny")
    registry.forget("tiny")
    assert "tiny" not in registry.known()


def test_the_last_file_of_a_name_counts(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "tiny.safetensors"
    model_file.write(other, network(), replace(card_of(spec_of()), licence="another"), {})
    registry.add(file)
    assert registry.add(other) == registry.card("tiny")
    assert registry.card("tiny").licence == "another"


def test_a_name_of_the_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    model_file.write(path, network(), card_of(spec_of(), name="mbf_va_mtl"), {})
    with pytest.raises(UsageError, match="its name, mbf_va_mtl, belongs to a model of the program"):
        registry.add(path)
    assert registry.card("mbf_va_mtl").path is None


@pytest.mark.parametrize("name", ["", ".", "..", "../tiny", "a/tiny", "tiny.safetensors", "x" * 300, "a\0b"])
def test_names_that_are_no_names_are_not_looked_for(name: str, file: Path, home: Path) -> None:
    (home / "models" / "a").mkdir(parents=True)
    for place in (home, home / "models" / "a"):
        (place / "tiny.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(UsageError, match="unknown model"):
        registry.card(name)


def test_models_are_named_by_name_or_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_models(f"{file},mp-blendshapes") == (("tiny", "mp-blendshapes"), {})
    assert parse_models(f"tiny={file}") == (("tiny",), {})
    renamed = tmp_path / "mbf_va_mtl.safetensors"
    renamed.write_bytes(file.read_bytes())
    assert parse_models(str(renamed)) == (("tiny",), {}), "what it says counts, and not what it is called"
    with pytest.raises(UsageError, match=r"contains the model tiny; give --model .*tiny\.safetensors"):
        parse_models(f"mbf_va_mtl={file}")
    monkeypatch.chdir(tmp_path)
    assert parse_models("tiny.safetensors") == (("tiny",), {})
    assert parse_models("tiny=w/other.pth") == (("tiny",), {"tiny": Path("w/other.pth")})
    # Weights that say nothing belong to the model that is named.
    conversion.convert(card_of(spec_of()), _dictionary(tmp_path), tmp_path / "ddamfnet_8.safetensors")
    assert parse_models("ddamfnet_8.safetensors") == (("ddamfnet_8",), {"ddamfnet_8": Path("ddamfnet_8.safetensors")})
    with pytest.raises(UsageError, match=r"give the model that these weights belong to, as NAME=w/mine\.pt"):
        parse_models("w/mine.pt")


def _dictionary(folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(network().state_dict(), path)
    return path


# --- the cache --------------------------------------------------------------------------------------------------


def test_an_added_network_is_there_in_every_command(smile: Path, shelf: Path, home: Path, tmp_path: Path) -> None:
    path = shelf / "tiny.safetensors"
    place = home / "models" / "tiny.safetensors"
    assert run("models", "add", path).split() == [str(place), str(place.with_suffix(".onnx"))]
    assert json.loads(run("models", "add", path, "--json")) == [str(place), str(place.with_suffix(".onnx"))]
    registry.forget("tiny")  # as in a process of its own
    rows = {row["name"]: row for row in json.loads(run("models", "list", "--json"))}
    assert rows["tiny"] == {
        "name": "tiny",
        "paper_name": "Tiny",
        "tasks": ["expression", "valence_arousal", "action_units"],
        "crop": "face-112",
        "input": 112,
        "licence": "CC0-1.0",
        "weights": "in the cache",
    }
    assert "tiny" in run("models", "list")
    assert run("models", "path", "tiny").split() == [str(place), str(place.with_suffix(".onnx"))]
    told = json.loads(run("models", "info", "tiny", "--json"))
    assert told["facts"]["figures"] == FACTS["figures"]
    assert told["path"] == str(place)
    printed = run("models", "info", "tiny")
    for word in ("facts.figures.expression.macro_f1", "0.51", "AU12, AU01, AU26", "CC0-1.0"):
        assert word in printed
    for names in ([], ["tiny"]):
        (checked,) = json.loads(run("models", "verify", *names, "--json"))
        assert checked == {"file": str(place), "ok": True, "sha256": weights.checksums(place)[0]}
    assert "there is nothing to fetch: its weights are in" in run("models", "download", "tiny", code=2)
    run("annotate", smile, "-o", tmp_path, "--model", "tiny,mp-blendshapes", "--every", "6", "-q")
    assert raw_scores.read(tmp_path / "smile.raw.npz").scores["tiny"]["action_units"].shape == (2, 12)
    removed = run("models", "remove", "tiny")
    assert removed.split() == ["removed", str(place), "removed", str(place.with_suffix(".onnx"))]
    assert "unknown model 'tiny'" in run("models", "info", "tiny", code=2)
    assert path.is_file()


def test_removing_takes_what_was_made_from_it(file: Path, home: Path) -> None:
    run("models", "add", file)
    registry.forget("tiny")
    NetworkModel(registry.card("tiny"))
    assert len(list((home / "converted").glob("tiny.*"))) == 2
    run("models", "remove", "tiny")
    assert not list((home / "converted").iterdir())
    assert not list((home / "models").iterdir())


def test_a_wrong_graph_is_not_added(file: Path, home: Path) -> None:
    file.with_suffix(".onnx").write_bytes(b"something else")
    result = CliRunner().invoke(app, ["models", "add", str(file)])
    assert result.exit_code == 0
    assert "tiny.onnx is not the graph of tiny.safetensors; it is left out" in result.stderr
    assert [path.name for path in (home / "models").iterdir()] == ["tiny.safetensors"]


def test_adding_replaces_nothing_and_takes_nothing_damaged(file: Path, tmp_path: Path, home: Path) -> None:
    run("models", "add", file)
    other = tmp_path / "other.safetensors"
    model_file.write(other, network(seed=2), card_of(spec_of()), {})
    told = run("models", "add", other, code=2)
    assert "is another network; first take it away: hsemotion models remove tiny" in told
    assert model_file.place("tiny").read_bytes() == file.read_bytes()
    content = bytearray(other.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    assert "it is damaged" in run("models", "add", other, code=5)
    model_file.write(other, network(), card_of(spec_of(), name="ddamfnet_8"), {})
    assert "belongs to a model of the program" in run("models", "add", other, code=2)
    assert "no such file" in run("models", "add", tmp_path / "none.safetensors", code=5)
    assert [path.name for path in (home / "models").iterdir()] == ["tiny.safetensors"]


def test_a_trained_file_may_be_part_of_the_program(
    shelf: Path, file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("models", "add", file)
    registry.forget("tiny")
    path = shelf / "tiny.safetensors"
    monkeypatch.setitem(registry.MODELS, "tiny", model_file.read_card(path)[0])
    monkeypatch.setattr(registry, "ASSETS", shelf)
    assert registry.card("tiny").path == path, "it comes before one of its name in the cache"
    assert parse_models(str(path)) == (("tiny",), {})
    assert "belongs to a model of the program" in run("annotate", "clip.mp4", "--model", file, code=2)
    assert "tiny is part of the program; there is nothing to add" in run("models", "add", path, code=2)
    (row,) = [row for row in json.loads(run("models", "list", "--json")) if row["name"] == "tiny"]
    assert row["weights"] == "in the package"
    assert run("models", "verify", "tiny").split() == ["ok", str(path)]
    assert run("models", "remove", "tiny").split() == ["removed", str(home / "models" / "tiny.safetensors")]
    assert run("models", "remove", "tiny") == ""
    assert path.is_file()


def test_a_damaged_file_in_the_cache_hurts_only_itself(file: Path) -> None:
    run("models", "add", file)
    registry.forget("tiny")
    place = model_file.place("tiny")
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    told = run("models", "verify", code=5)
    assert "tiny.safetensors: it is damaged" in told
    place.write_bytes(content[:2000])
    assert "not a safetensors file" in run("models", "verify", code=5)
    assert "not a safetensors file" in run("annotate", "clip.mp4", "--model", "tiny", code=5)
    result = CliRunner().invoke(app, ["models", "list"])
    assert result.exit_code == 0
    assert "tiny.safetensors cannot be used; 'hsemotion models verify' says why" in result.stderr
    assert "enet_b0_8_va_mtl" in result.stdout
    assert "unknown model 'nonsense'" in run("models", "info", "nonsense", code=2)
    assert run("models", "remove", "tiny").split() == ["removed", str(place)]


def test_a_file_in_the_cache_under_another_name_is_not_that_network(file: Path) -> None:
    run("models", "add", file)
    registry.forget("tiny")
    other = model_file.place("huge")
    os.rename(model_file.place("tiny"), other)
    assert f"{other}: it contains tiny" in run("models", "info", "huge", code=5)
    assert "it contains tiny" in run("models", "verify", code=5)
    assert set(registry.known()) == set(registry.MODELS)


def test_a_wrong_graph_in_the_cache_is_reported_by_verify(shelf: Path, home: Path) -> None:
    run("models", "add", shelf / "tiny.safetensors")
    (home / "models" / "tiny.onnx").write_bytes(b"something else")
    assert "tiny.onnx is not the graph of tiny.safetensors" in run("models", "verify", code=5)


def test_text_from_a_file_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    strange = {"[red]figures[/red]": "\x1b[31m[bold]high\x07", "list": [{"a": 1}]}
    model_file.write(path, network(), card_of(spec_of(), paper_name="[blink]Tiny[/blink]"), strange)
    run("models", "add", path)
    listed, told = run("models", "list"), run("models", "info", "tiny")
    assert "[blink]Tiny[/blink]" in listed
    assert "[blink]Tiny[/blink]" in told
    printed = listed + told
    assert "[red]figures[/red]" in printed
    assert "[bold]high" in printed
    assert not {c for c in printed if not c.isprintable()} - {"\n"}


# --- in the product ---------------------------------------------------------------------------------------------


def test_annotating_with_a_file_gives_what_the_network_says(smile: Path, shelf: Path, tmp_path: Path) -> None:
    from hsemotion_cli.faces import crops
    from hsemotion_cli.faces.detector import FaceDetector
    from hsemotion_cli.media.video import VideoFile

    path = shelf / "tiny.safetensors"
    for backend in ("onnx", "torch"):
        options = ["--every", "4", "--backend", backend, "-q"]
        run("annotate", smile, "-o", tmp_path / backend, "--model", path, *options)
    found, other = (pd.read_csv(tmp_path / backend / "smile.csv") for backend in ("onnx", "torch"))
    # By hand: the faces of those frames, cut, normalised and given to the network as it was before it was written.
    frames = [frame.image for frame in VideoFile(smile).frames() if frame.index % 4 == 0]
    with FaceDetector() as finder:
        faces = [finder.find(image)[0] for image in frames]
    cut = np.stack([crops.face(image, known(face.points), 112) for image, face in zip(frames, faces, strict=True)])
    with torch.inference_mode():
        raw = network()(torch.from_numpy((cut / 127.5 - 1).transpose(0, 3, 1, 2).astype(np.float32)))[0].double()
    expected = {f"p_{name}": p for name, p in zip(CLASSES, raw[:, :3].softmax(1).T, strict=True)}
    expected |= {"valence": raw[:, 3].clip(-1, 1), "arousal": raw[:, 4].clip(-1, 1)}
    expected |= {f"{name}_p": p for name, p in zip(UNITS, raw[:, 5:].sigmoid().T, strict=True)}
    for column, values in expected.items():
        assert found[column].to_numpy() == pytest.approx(values.numpy(), abs=0.02), column
        assert other[column].to_numpy() == pytest.approx(found[column].to_numpy(), abs=2e-4), column
    assert set(found["expression"]) <= set(CLASSES)
    assert found[["p_anger", "AU02_p", "AU02_c"]].isna().all(axis=None)
    assert found["AU12_c"].tolist() == (found["AU12_p"] >= 0.3).astype(int).tolist()
    (told,) = json.loads((tmp_path / "onnx" / "smile.json").read_text())["models"]
    assert told["name"] == "tiny"
    assert (told["file"], told["sha256"]) == ("tiny.safetensors", weights.checksums(path)[0])
    assert (told["crop"], told["licence"]) == ("face-112", "CC0-1.0")


@pytest.mark.parametrize(
    "outputs",
    [
        {"classes": (), "action_units": ()},
        {"classes": (), "valence_arousal": False},
        {"valence_arousal": False, "action_units": ()},
    ],
    ids=["valence and arousal", "action units", "expressions"],
)
def test_networks_of_one_task_leave_the_others_empty(outputs: dict, smile: Path, tmp_path: Path) -> None:
    spec = spec_of(**outputs)
    path = tmp_path / "tiny.safetensors"
    model_file.write(path, network(spec), card_of(spec), {})
    run("annotate", smile, "-o", tmp_path, "--model", path, "--every", "6", "--backend", "torch", "-q")
    table = pd.read_csv(tmp_path / "smile.csv")
    assert len(table) == 2
    for task, columns in {
        "expression": ["expression", "p_happiness"],
        "valence_arousal": ["valence", "arousal"],
        "action_units": ["AU12_p", "AU12_c"],
    }.items():
        assert table[columns].notna().all(axis=None) == (task in spec.tasks)
        assert table[columns].isna().all(axis=None) == (task not in spec.tasks)


def test_given_crops_are_cropped_again_for_a_network_of_face_crops(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    picture = clips.portrait(480, 480)
    # The same face, cropped in two ways, and one frame without a face.
    for name, crop in (("00001", picture), ("00002", picture[20:460, 40:440]), ("00003", clips.blank(90, 90))):
        cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(crop[..., ::-1]))
    path = shelf / "tiny.safetensors"
    run("annotate", folder, "-o", tmp_path / "out", "--model", path, "--crops", "-q")
    table = pd.read_csv(tmp_path / "out" / "faces.csv")
    columns = ["p_happiness", "p_neutral", "valence", "arousal", "AU12_p"]
    one, two, nobody = table[columns].to_numpy()
    assert two == pytest.approx(one, abs=0.15), "the place of the crop hardly matters"
    # What is no face is shown to the network as it is, and it says what it says.
    card, _ = model_file.read_card(path)
    whole = np.asarray(cv2.resize(clips.blank(90, 90), (112, 112), interpolation=cv2.INTER_LINEAR), np.uint8)
    raw, _ = NetworkModel(card).infer([whole])
    assert nobody[2:4] == pytest.approx(np.clip(raw[0, 3:5], -1, 1), abs=1e-5)


def test_a_table_outlives_the_network_that_made_it(smile: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = f"{file},mp-blendshapes"
    options = ["--every", "3", "--backend", "torch", "-q"]
    run("annotate", smile, "-o", out, "--model", model, "--blend", "0.7", *options)
    before = (out / "smile.csv").read_bytes()
    file.unlink()
    registry.forget("tiny")
    run("smooth", out / "smile.csv", "-o", tmp_path / "same", "-q")
    assert (tmp_path / "same" / "smile.csv").read_bytes() == before
    changes = ["--smooth", "box:7f", "--blend", "1", "--threshold", "AU12=0.9"]
    run("smooth", out / "smile.csv", "-o", tmp_path / "later", *changes, "-q")
    raw = raw_scores.read(out / "smile.raw.npz").scores["tiny"]["valence_arousal"].astype(float)
    later = pd.read_csv(tmp_path / "later" / "smile.csv")
    smoothed = [raw[max(k - 1, 0) : k + 2].mean(axis=0) for k in range(len(raw))]
    assert later[["valence", "arousal"]].to_numpy() == pytest.approx(np.array(smoothed), abs=1e-6)
    assert later["AU12_c"].tolist() == (later["AU12_p"] >= 0.9).astype(int).tolist()
    again = ["--recipe", tmp_path / "later" / "smile.json"]
    run("smooth", out / "smile.csv", "-o", tmp_path / "again", *again, "-q")
    assert (tmp_path / "again" / "smile.csv").read_bytes() == (tmp_path / "later" / "smile.csv").read_bytes()
    run("render", smile, out / "smile.csv", "-o", tmp_path / "smile.overlay.mp4", "-q")
    assert (tmp_path / "smile.overlay.mp4").stat().st_size > 1000
    # To annotate with that recipe takes the network.
    told = run("annotate", smile, "-o", tmp_path / "no", "--recipe", out / "smile.json", code=2)
    assert "unknown model 'tiny'" in told


def test_a_recipe_that_needs_an_unknown_model_s_card_reports_it() -> None:
    whole = Recipe.of("mp-blendshapes").to_json() | {"models": ["gone"]}
    assert Recipe.from_json(whole).models == ("gone",)
    assert Recipe.from_json(whole | {"models": ["gone", "mp-blendshapes"]}).blend["expression"] == 0.5
    del whole["thresholds"]["AU12"]
    with pytest.raises(UsageError, match="unknown model 'gone'"):
        Recipe.from_json(whole)
    for models in ("gone", [3], None, [["gone"]], []):
        with pytest.raises(UsageError):
            Recipe.from_json(whole | {"models": models, "thresholds": dict.fromkeys(ACTION_UNITS, 0.5)})


def test_every_fault_is_one_of_the_family() -> None:
    assert issubclass(engines.ExportDiffers, HsemotionError)
