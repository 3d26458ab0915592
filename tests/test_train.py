"""Calibration, and ``train finetune`` from a folder of images to an annotated video."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import labelled
import numpy as np
import pytest
import torch
from known import known
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.evaluation import calibration
from hsemotion_cli.models import architectures, graph_file, registry
from hsemotion_cli.tasks import ACTION_UNITS
from hsemotion_cli.training import calibrate, checkpoint
from hsemotion_cli.training.augment import LUMA
from hsemotion_cli.training.config import DatasetSource, LossConfig, StageConfig, TrainingConfig
from hsemotion_cli.training.dataset import Dataset

pytestmark = pytest.mark.slow

ASSETS = Path(__file__).parent.parent / "hsemotion_cli" / "assets"


def plan(**changes: Any) -> TrainingConfig:
    given: dict = {
        "name": "tiny",
        "architecture": "mobilefacenet_first_48",
        "sources": (DatasetSource("packed", Path("x"), "made"),),
        "stages": (StageConfig(1),),
        "size": 48,
        "luminance": True,
    }
    return TrainingConfig(**{**given, **changes})


def votes(count: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that are too sure of themselves, with the shares and units behind them."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, (count, 8))
    shares = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    units = rng.random((count, 12))
    raw = np.column_stack([2.5 * true, np.zeros((count, 2)), 6 * (units - 0.6)])
    return raw, shares.astype(np.float32), units.astype(np.float32)


def samples_of(shares: np.ndarray, units: np.ndarray) -> Dataset:
    grey = np.zeros((8, 8), np.uint8)
    return labelled.make([grey] * len(shares), expression=shares, action_units=units, part="calibration")


def test_the_temperature_undoes_what_was_planted() -> None:
    raw, shares, units = votes()
    found = calibrate.fit(raw, samples_of(shares, units), np.arange(len(raw)), plan())
    assert found.temperature == pytest.approx(2.5, rel=0.01)

    def cross_entropy(p: np.ndarray) -> float:
        wanted, given = torch.from_numpy(shares), torch.from_numpy(raw[:, :8] / p[0])
        return float(torch.nn.functional.cross_entropy(given, wanted.double()))

    best = minimize(cross_entropy, [1.0], method="Nelder-Mead", options={"xatol": 1e-5})
    assert found.temperature == pytest.approx(best.x[0], rel=1e-3)


def test_thresholds_are_the_first_of_the_best_by_another_library() -> None:
    raw, shares, units = votes()
    found = calibrate.fit(raw, samples_of(shares, units), np.arange(len(raw)), plan())
    assert found.thresholds is not None
    p = 1 / (1 + np.exp(-raw[:, 10:]))
    for k, name in enumerate(ACTION_UNITS):
        scores = [f1_score(units[:, k] >= 0.5, p[:, k] >= t) for t in calibration.THRESHOLDS]
        assert found.thresholds[name] == calibration.THRESHOLDS[int(np.argmax(scores))]


def test_nothing_is_fitted_without_labels() -> None:
    raw, shares, units = votes(100)
    samples = samples_of(np.full_like(shares, np.nan), np.full_like(units, np.nan))
    found = calibrate.fit(raw, samples, np.arange(100), plan())
    assert found == calibrate.Calibration(1.0, None)


def test_evened_classes_are_divided_by_their_shares_among_what_was_trained_on() -> None:
    counts = {"made": [50, 30, 0, 10, 5, 3, 1, 1], "unused": [0, 0, 0, 0, 0, 0, 0, 400]}
    classes = np.concatenate([np.repeat(np.arange(8), n) for n in counts.values()])
    source = np.repeat(list(counts), [sum(n) for n in counts.values()])
    shares = labelled.onehot(np.r_[classes, np.full(200, 7)])
    samples = labelled.make(
        [np.zeros((8, 8), np.uint8)] * len(shares),
        expression=shares,
        source=np.r_[source, np.full(200, "made")],
        part=np.r_[np.full(len(classes), "train"), np.full(200, "calibration")],
    )
    two = plan(
        evened=0.4,
        sources=(DatasetSource("packed", Path("x"), "made"), DatasetSource("packed", Path("y"), "unused")),
        stages=(StageConfig(1, sources=("made",)),),
    )
    logits = np.random.default_rng(3).normal(0, 2, (200, 22))
    found = calibrate.fit(logits, samples, np.arange(len(classes), len(shares)), two)
    p = softmax(logits[:, :8] / found.temperature, axis=1)
    share = np.maximum(counts["made"], 1) / np.maximum(counts["made"], 1).sum()  # the class without samples, as one
    expected = p / share**0.4
    shift = [found.shift[name] for name in two.classes]
    np.testing.assert_allclose(
        softmax(logits[:, :8] / found.temperature + shift, axis=1),
        expected / expected.sum(axis=1, keepdims=True),
        rtol=1e-6,
    )
    assert calibrate.fit(logits, samples, np.arange(len(classes), len(shares)), plan()).shift == {}


def test_a_calibration_is_built_into_the_last_layer_and_grey_into_the_first() -> None:
    torch.manual_seed(0)
    network = architectures.build("mobilefacenet_first_48", 22)
    colour = torch.rand(3, 3, 48, 48) * 2 - 1
    grey = (colour * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    with torch.no_grad():
        before = network(grey)[0].numpy()
    shift = dict(zip(plan().classes, np.linspace(-1, 1, 8), strict=True))
    calibrate.build_in(network, plan(), calibrate.Calibration(1.7, shift=shift))
    with torch.no_grad():
        after = network(colour)[0].numpy()
    np.testing.assert_allclose(after[:, :8], before[:, :8] / 1.7 + np.linspace(-1, 1, 8), atol=1e-4)
    np.testing.assert_allclose(after[:, 8:], before[:, 8:], atol=1e-4)


def test_a_network_without_expressions_is_left_alone() -> None:
    network = architectures.build("mobilefacenet_first_48", 12)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    only_units = plan(loss=LossConfig(expression=0, valence_arousal=0), luminance=False)
    calibrate.build_in(network, only_units, calibrate.Calibration(2.0))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of one face in different light, with labels, and a plan beside them."""
    root = tmp_path_factory.mktemp("train")
    face = cv2.resize(known(cv2.imread(str(ASSETS / "doctor_face.jpg"))), (128, 128))
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "valence", "arousal", "split"])
        for k in range(24):
            cv2.imwrite(str(root / f"{k}.png"), np.clip(face * (0.4 + 0.05 * k), 0, 255).astype(np.uint8))
            label = ("neutral", "happiness", "surprise")[k % 3]
            writer.writerow([f"{k}.png", label, f"{k / 24:.2f}", f"{-k / 24:.2f}", "val" if k % 4 == 3 else "train"])
    (root / "plan.toml").write_text(
        'name = "tiny"\narchitecture = "mobilefacenet_first_48"\nsize = 48\nluminance = true\nlicence = "CC0"\n'
        '[[source]]\nkind = "folder"\npath = "."\nunits = "blendshapes"\ncalibration = 0.2\nterms = "ours"\n'
        "[[stage]]\nepochs = 2\nbatch = 8\n"
    )
    return root


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_from_a_plan_to_an_annotated_video(folder: Path, smile: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    told = run("train", "finetune", folder / "plan.toml", "-o", out, "--threads", "1", "--workers", "1", "--json")
    facts = json.loads(told.splitlines()[-1])["facts"]
    pictures = {row["part"]: row["pictures"] for row in facts["data"]}
    assert pictures["train"] + pictures["calibration"] == 18 and pictures["validation"] == 6
    assert facts["steps"] == 2 * -(-pictures["train"] // 8)
    names = {path.name for path in out.iterdir() if not path.name.startswith("samples-")}
    assert names == {
        "tiny.safetensors", "tiny.onnx", "tiny.md", "log.csv", "curves.png", "confusion-folder.png", "checkpoint.pt",
        ".hsemotion-train.lock",
    }  # fmt: skip
    assert str(tmp_path) not in (out / "tiny.safetensors").read_bytes()[:20000].decode(errors="ignore")
    assert (
        "(<curves.png>)" in (out / "tiny.md").read_text()
        and "(<confusion-folder.png>)" in (out / "tiny.md").read_text()
    )
    assert "ours" in (out / "tiny.md").read_text() and facts["plan_sha256"] in (out / "tiny.md").read_text()
    log = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in log] == [str(facts["steps"] // 2), str(facts["steps"])]

    run("annotate", smile, "-o", tmp_path / "a", "--model", out / "tiny.safetensors", "--every", "6", "-q")
    table = list(csv.DictReader((tmp_path / "a" / "smile.csv").read_text().splitlines()))
    assert all(row["p_neutral"] and row["valence"] and row["AU12_p"] and not row["p_other"] for row in table)

    # A finished run has nothing left to train; asked again it says the same.
    again = run("train", "finetune", folder / "plan.toml", "-o", out, "--threads", "1", "--workers", "1", "--json")
    assert json.loads(again.splitlines()[-1])["facts"]["figures"] == facts["figures"]


def test_two_runs_cannot_train_in_one_folder(folder: Path, tmp_path: Path) -> None:
    with checkpoint.only_run(tmp_path):
        refused = run("train", "finetune", folder / "plan.toml", "-o", tmp_path, "--workers", "1", "-q", code=2)
    assert "another run is training there" in " ".join(refused.split())
    assert [path.name for path in tmp_path.iterdir()] == [".hsemotion-train.lock"]
    with checkpoint.only_run(tmp_path):
        pass  # it was given back


def test_packed_samples_train_as_their_sources_do(folder: Path, tmp_path: Path) -> None:
    run("train", "pack", folder / "plan.toml", "-o", tmp_path / "faces.npz", "--workers", "1", "-q")
    options = ["--threads", "1", "--workers", "1", "--json"]
    one = run("train", "finetune", folder / "plan.toml", "-o", tmp_path / "one", *options)
    packed = ["--threads", "1", "--json", "--samples", tmp_path / "faces.npz"]
    other = run("train", "finetune", folder / "plan.toml", "-o", tmp_path / "other", *packed)
    figures = [json.loads(told.splitlines()[-1])["facts"]["figures"] for told in (one, other)]
    assert figures[0] == figures[1]
    assert run("train", "pack", folder / "plan.toml", "-o", tmp_path / "faces.txt", code=2)


def test_a_plan_that_cannot_work_is_refused_before_anything_is_looked_at(folder: Path, tmp_path: Path) -> None:
    text = (folder / "plan.toml").read_text()
    for wrong, said in (("mobilefacenet_first_48", "nonesuch"), ("[[stage]]", "[[stages]]"), ("size = 48", "size = 0")):
        path = folder / "wrong.toml"
        path.write_text(text.replace(wrong, said) if wrong != "[[stage]]" else text.replace("batch = 8", "bach = 8"))
        assert "wrong.toml" in run("train", "finetune", path, "-o", tmp_path, code=2) or said == "nonesuch"
    assert not list(tmp_path.glob("samples-*"))
    nothing = ("--samples", tmp_path / "nothing.npz")
    assert "no such file" in run("train", "finetune", folder / "plan.toml", "-o", tmp_path / "run", *nothing, code=4)
    assert not (tmp_path / "run").exists()


def test_the_networks_of_the_package_are_what_their_cards_say() -> None:
    for name in registry.SHIPPED:
        card = registry.card(name.removesuffix(".safetensors"))
        assert card.path is not None and graph_file.read_graph(card.path)
        assert (ASSETS.parent.parent / "docs" / "models" / f"{card.name}.md").is_file()
        assert card.licence == "Apache-2.0"
    sizes = [path.stat().st_size for path in ASSETS.iterdir() if path.suffix not in (".jpg", ".json")]
    assert sum(sizes) < 20e6
