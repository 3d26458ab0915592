"""Networks in the product: annotate, blend and extract with weights in the published layout; the cache."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.formats import features, raw_scores
from hsemotion_cli.models import registry, weights
from hsemotion_cli.tasks import BASIC_EXPRESSIONS

pytestmark = pytest.mark.slow

published = pytest.importorskip("published", reason="needs torch to write weight files")

NETWORK = "mbf_va_mtl"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights of one network as its authors' ONNX graph and as their pickled module."""
    folder = tmp_path_factory.mktemp("weights")
    model = registry.card(NETWORK)
    net = published.network(model, seed=3)
    paths = {"onnx": folder / f"{NETWORK}.onnx", "pt": folder / f"{NETWORK}.pt"}
    published.save_graph(net, model, paths["onnx"])
    published.save_module(net, model, paths["pt"])
    return paths


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of our own, and no way to any server."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HSEMOTION_HOME", str(home))
    monkeypatch.delenv("HSEMOTION_OFFLINE", raising=False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", refuse)
    yield home


def test_annotating_with_a_network_needs_no_torch_for_a_graph(
    smile: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    run("annotate", smile, "-o", tmp_path, "--model", f"{NETWORK}={files['onnx']}", "--every", "3", "-q")
    table = pd.read_csv(tmp_path / "smile.csv")
    probabilities = table[[f"p_{name}" for name in BASIC_EXPRESSIONS]].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert table["valence"].between(-1, 1).all()
    assert table["AU12_p"].isna().all(), "this network knows no action units"
    (told,) = json.loads((tmp_path / "smile.json").read_text())["models"]
    assert told["sha256"] == hashlib.sha256(files["onnx"].read_bytes()).hexdigest()
    assert (told["backend"], told["device"], told["crop"]) == ("onnx", "cpu", "box")


def test_the_pickled_module_gives_the_same_table(smile: Path, files: dict[str, Path], tmp_path: Path) -> None:
    for kind, backend in (("onnx", "onnx"), ("pt", "onnx"), ("pt", "torch")):
        options = ["--model", f"{NETWORK}={files[kind]}", "--backend", backend, "--every", "6", "-q"]
        run("annotate", smile, "-o", tmp_path / f"{kind}-{backend}", *options)
    one, *others = (pd.read_csv(folder / "smile.csv") for folder in sorted(tmp_path.iterdir()))
    for other in others:
        for name in (*(f"p_{name}" for name in BASIC_EXPRESSIONS), "valence", "arousal"):
            assert other[name].to_numpy() == pytest.approx(one[name].to_numpy(), abs=2e-4), name


def test_a_blend_takes_each_task_from_who_has_it(smile: Path, files: dict[str, Path], tmp_path: Path) -> None:
    both = f"{NETWORK}={files['onnx']},mp-blendshapes"
    run(
        "annotate",
        smile,
        "-o",
        tmp_path,
        "--model",
        both,
        "--blend",
        "expression=0.7,valence_arousal=1",
        "-q",
        "--every",
        "4",
    )
    raw = raw_scores.read(tmp_path / "smile.raw.npz").scores
    table = pd.read_csv(tmp_path / "smile.csv")
    network, geometry = raw[NETWORK], raw["mp-blendshapes"]
    expected = 0.7 * network["expression"].astype(float) + 0.3 * geometry["expression"].astype(float)
    assert table[[f"p_{name}" for name in BASIC_EXPRESSIONS]].to_numpy() == pytest.approx(expected[:, :8], abs=1e-6)
    assert table["p_other"].isna().all()
    assert table["valence"].to_numpy() == pytest.approx(network["valence_arousal"][:, 0], abs=1e-6)
    assert table["AU12_p"].to_numpy() == pytest.approx(geometry["action_units"][:, 6], abs=1e-6)
    # The blend can be changed from what was written.
    run("smooth", tmp_path / "smile.csv", "-o", tmp_path / "later", "--blend", "0", "-q")
    later = pd.read_csv(tmp_path / "later" / "smile.csv")
    assert later["p_happiness"].to_numpy() == pytest.approx(geometry["expression"][:, 4], abs=1e-6)


def test_the_recipe_of_a_table_makes_the_same_table_again(smile: Path, files: dict[str, Path], tmp_path: Path) -> None:
    cache_file = weights.place(published.spec(registry.card(NETWORK)).files[1])
    both = f"{NETWORK}={files['onnx']},mp-blendshapes"
    options = ["--smooth", "box:3f", "--threshold", "AU12=0.6", "--every", "4", "-q"]
    run("annotate", smile, "-o", tmp_path / "a", "--model", both, "--blend", "0.8", *options)
    again = ["--recipe", tmp_path / "a" / "smile.json", "--model", both, "--every", "4", "-q"]
    run("annotate", smile, "-o", tmp_path / "b", *again)
    assert (tmp_path / "a" / "smile.csv").read_bytes() == (tmp_path / "b" / "smile.csv").read_bytes()
    recipes = [json.loads((tmp_path / x / "smile.json").read_text())["recipe"] for x in "ab"]
    assert recipes[0] == recipes[1]
    assert not cache_file.exists(), "weights that the user brings are not put into the cache"


def test_extract_writes_what_the_network_says(smile: Path, files: dict[str, Path], tmp_path: Path) -> None:
    model = f"{NETWORK}={files['onnx']}"
    run("annotate", smile, "-o", tmp_path, "--model", model, "--every", "4", "-q")
    table = pd.read_csv(tmp_path / "smile.csv")
    sizes = {}
    for dtype in features.DTYPES:
        run("extract", smile, "-o", tmp_path / dtype, "--model", model, "--every", "4", "--dtype", dtype, "-q")
        path = tmp_path / dtype / "smile.features.parquet"
        sizes[dtype] = path.stat().st_size
        columns, facts = features.read(path)
        assert columns["embedding"].dtype == dtype
        assert columns["embedding"].shape == (3, 512)
        for key in ("frame", "time", "face_id"):
            assert columns[key].tolist() == pytest.approx(table[key].tolist(), abs=1e-6)
        # The last layer once more, by hand, from the weights themselves.
        state = published.network(registry.card(NETWORK), seed=3).state_dict()
        last = [value.numpy() for name, value in state.items() if value.shape[:1] == (10,)]
        outputs = columns["embedding"].astype(np.float64) @ last[0].T + last[1]
        assert columns["outputs"] == pytest.approx(outputs, abs=2e-3 if dtype == "float32" else 0.1)
        assert facts["weights"]["sha256"] == hashlib.sha256(files["onnx"].read_bytes()).hexdigest()
        assert facts["classes"][4] == "happiness"
    assert sizes["float16"] < 0.8 * sizes["float32"]


def test_extract_refuses_what_it_cannot_do(smile: Path, nobody: Path, tmp_path: Path) -> None:
    assert "one model at a time" in run("extract", smile, "--model", f"{NETWORK},mp-blendshapes", code=2)
    assert "--dtype int8" in run("extract", smile, "--dtype", "int8", code=2)
    assert "no face was seen" in run("extract", nobody, "-o", tmp_path, code=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["--offline", "HSEMOTION_OFFLINE"])
def test_offline_names_the_file_and_its_place(
    smile: Path, tmp_path: Path, cache: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [setting] if setting.startswith("--") else []
    if not flags:
        monkeypatch.setenv(setting, "1")
    told = run("annotate", smile, "-o", tmp_path, "--model", "enet_b0_8_va_mtl", *flags, code=5)
    assert "enet_b0_8_va_mtl.onnx" in told
    assert str(cache) in told
    assert "https://github.com/sb-ai-lab/EmotiEffLib/" in told
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_published_weights_says_how_to_bring_them(smile: Path, tmp_path: Path) -> None:
    told = run("annotate", smile, "-o", tmp_path, "--model", "ddamfnet_8_mtl", code=5)
    assert "not published" in told
    assert "ddamfnet_8_mtl=FILE" in told


def test_a_gpu_that_is_not_there_is_an_error(smile: Path, files: dict[str, Path], tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    told = run("annotate", smile, "-o", tmp_path, "--model", f"{NETWORK}={files['pt']}", "--device", "cuda", code=5)
    assert "--device cuda" in told


def test_lists_and_cards_are_complete() -> None:
    rows = json.loads(run("models", "list", "--json"))
    assert [row["name"] for row in rows] == list(registry.known())
    printed = run("models", "list")
    for row in rows:
        assert row["name"] in printed
        card = json.loads(run("models", "info", row["name"], "--json"))
        assert all(card[key] for key in ("name", "paper_name", "tasks", "licence", "training_data", "citation"))
    assert "classifier" in run("models", "info", "enet_b0_8_va_mtl")
    assert "unknown model" in run("models", "info", "nonsense", code=2)


def test_verify_catches_a_flipped_bit(files: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no weights in the cache" in run("models", "verify")
    # The cache holds a file whose published checksum is that of our random weights.
    file = replace(published.spec(registry.card(NETWORK)).files[1], git_blob=weights.checksums(files["onnx"])[1])
    card = registry.card(NETWORK)
    monkeypatch.setitem(registry.MODELS, NETWORK, replace(card, network=replace(published.spec(card), files=(file,))))
    place = weights.place(file)
    place.parent.mkdir(parents=True)
    place.write_bytes(files["onnx"].read_bytes())
    assert json.loads(run("models", "verify", "--json"))[0]["ok"] is True
    assert run("models", "path", NETWORK).strip() == str(place)
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    told = run("models", "verify", NETWORK, code=5)
    assert str(place) in told
    assert "is damaged or another file" in told
    run("models", "remove", NETWORK)
    assert not list(place.parent.glob(f"{NETWORK}*"))


def test_path_is_that_of_files_that_are_there(cache: Path) -> None:
    told = run("models", "path", NETWORK, code=5)
    assert f"{NETWORK} is not downloaded; 'hsemotion models download {NETWORK}' puts" in told
    assert str(cache / "weights") in told
    (pt,) = (file for file in published.spec(NETWORK).files if file.kind == "pt")
    weights.place(pt).parent.mkdir(parents=True)
    weights.place(pt).write_bytes(b"x")
    assert run("models", "path", NETWORK) == f"{weights.place(pt)}\n"
    assert json.loads(run("models", "path", NETWORK, "--json")) == [str(weights.place(pt))]
    assert run("models", "path") == f"{cache}\n"
    assert "part of the program" in run("models", "path", "mp-blendshapes", code=2)


def test_download_says_what_it_cannot_fetch() -> None:
    assert "give --all" in run("models", "download", code=2)
    assert "part of the program" in run("models", "download", "mp-blendshapes", code=2)
    assert "not published" in run("models", "download", "ddamfnet_8_mtl", code=2)
    assert "no pth file" in run("models", "download", NETWORK, "--kind", "pth", code=2)
    assert "is not in the cache" in run("models", "download", NETWORK, "--offline", code=5)
