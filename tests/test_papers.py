"""The papers' experiments: every hyper-parameter as published, and planted effects come out of the whole chain."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import challenge
import numpy as np
import pytest
from scipy.stats import entropy, pearsonr
from sklearn.metrics import f1_score
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs torch")
import torch
from planted import NETWORKS, plant, write_features

from hsemotion_cli.cli import app
from hsemotion_cli.errors import UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations
from hsemotion_cli.formats import features, sidecar
from hsemotion_cli.models import architectures, heads
from hsemotion_cli.papers import experiment
from hsemotion_cli.tasks import ACTION_UNITS, COMPOUNDS, EMOTIONAL_MIMICRY, EXPRESSIONS
from hsemotion_cli.training import config
from hsemotion_cli.training.head_trainer import HEAD_CONFIGS, HeadConfig

PLANS = Path(__file__).parent.parent / "plans" / "papers"
EXPERIMENTS = sorted(path.stem for path in PLANS.glob("*.toml") if "finetune" not in path.stem)


# --- hyper-parameters -------------------------------------------------------------------------------------------

SIGMAS = (0.1, 1, 10, 50, 100, 500, 1000, 10000, 100000)
TENTHS = tuple(k / 10 for k in range(1, 10))
UNITASK = {
    "expression": ("features", "softmax", 256, 10, 128, 0.0),
    "valence_arousal": ("scores", "tanh", 1024, 5, 0, 1 / 1024),
    "action_units": ("features", "sigmoid", 512, 5, 128, 0.0),
}
"""ABAW-6: input, activation, batch, epochs, hidden units, L2. Adam with 1e-3."""
MTL = {
    "expression": ("both", "softmax", 512, 10, 0, 1 / 512),
    "valence_arousal": ("scores", "tanh", 512, 20, 0, 1 / 512),
    "action_units": ("both", "sigmoid", 512, 10, 128, 0.0),
}
BOXES = {
    "abaw6-expr": (5, 15, 25, 50, 100, 200, 500),
    "abaw6-va": (1, 10, 25, 50, 100, 200),
    "abaw6-au": (3, 5, 7, 10, 15, 20, 25, 50),
}


def wiring(task: experiment.HeadTask) -> tuple:
    return task.source, task.activation, task.batch, task.epochs, task.hidden, task.l2


def load(name: str) -> experiment.Experiment:
    return experiment.read(PLANS / f"{name}.toml")


@pytest.mark.parametrize("name", ["abaw6-expr", "abaw6-va", "abaw6-au"])
def test_the_heads_of_abaw_6(name: str) -> None:
    found = load(name)
    task = {"abaw6-expr": "expression", "abaw6-va": "valence_arousal", "abaw6-au": "action_units"}[name]
    assert {"enet_b0_8_best_vgaf", "enet_b0_8_va_mtl", "mbf_va_mtl"} <= {network.model for network in found.networks}
    assert len(found.heads) == len(found.networks)
    for head in found.heads:
        assert head.kind == "unitask" and set(head.tasks) == {task}
        one = head.tasks[task]
        assert wiring(one) == UNITASK[task]
        assert (one.rate, one.weighted, one.keep) == (1e-3, True, "best")
        same = HeadConfig(one.source, one.activation, one.batch, one.epochs, one.hidden, one.l2, one.rate)
        assert HEAD_CONFIGS["unitask"][task] == same, "train heads by itself does the same"
    assert found.search.sigmas == () and found.search.deltas == BOXES[name]
    if task == "action_units":
        assert found.search.thresholds == TENTHS
    assert found.data.train == found.data.validation == "."


def test_the_heads_of_abaw_7() -> None:
    found = load("abaw7-mtl")
    for head in found.heads:
        assert head.kind == "mtl" and not head.complete
        assert {task: wiring(one) for task, one in head.tasks.items()} == MTL
        assert all((one.rate, one.weighted) == (1e-3, True) for one in head.tasks.values())
    assert found.search.sigmas == SIGMAS and found.search.deltas == (1, 5, 10, 50, 100)
    assert found.search.weights == tuple(k / 10 for k in range(11)) and found.search.thresholds == TENTHS
    assert not found.search.both
    blended = next(row for row in found.rows if row.name == "blend, smoothing")
    assert dict(blended.blend) == {"valence_arousal": "0.8", "expression": "0.5", "action_units": "0.5"}
    assert blended.thresholds == "0.5" and "action_units" not in blended.smoothing
    assert blended.members == ("ddamfn-mtl-head", "enet-mtl-head")
    best = {"valence_arousal": 0.5578, "expression": 0.4168, "action_units": 0.5194, "total": 1.4939}
    assert dict(blended.paper) == best
    for row in found.rows:
        parts = sum(row.paper[task] for task in MTL)
        assert row.paper["total"] == pytest.approx(parts, abs=2.1e-4), "rounded to four digits"


def test_the_heads_of_mimicry() -> None:
    found = load("abaw6-emi")
    for head in found.heads:
        one = head.tasks["emotional_mimicry"]
        source = "scores" if head.network in ("mobilevit", "mbf") else "features"
        assert wiring(one) == (source, "sigmoid", 512, 100, 0, 1 / 512) and one.rate == 1e-3
    assert found.data.every == 5
    fused = [row for row in found.rows if len(row.members) == 2]
    assert len(fused) == 3
    for row in fused:
        weight = [float(row.blend.get(name, row.blend["emotional_mimicry"])) for name in EMOTIONAL_MIMICRY]
        assert weight == [0.1, 0.1, 0.1, 0.1, 0.1, 0.4], "of the faces; joy is last"
    assert {row.name: row.paper["emotional_mimicry"] for row in fused}["mbf and sound"] == 0.2989


def test_compound_expressions() -> None:
    six, seven = load("abaw6-ce"), load("abaw7-ce")
    divergences = {"mbf": 0.0603, "vgaf": 0.1186, "enet-mtl": 0.0830, "ddamfn": 0.1847, "ddamfn-mtl": 0.2687}
    for found in (six, seven):
        paper = {row.name: row.paper.get("kl") for row in found.rows}
        assert {name: paper[name] for name in divergences} == divergences
        assert not found.data.train and not found.data.validation and not found.data.crops
    assert {row.mean for row in six.rows} == {"arithmetic"}
    assert {row.mean for row in seven.rows} == {"arithmetic", "geometric", "harmonic"}
    boxes = {row.smoothing["expression"] for row in seven.rows if "box" in row.name}
    assert boxes == {"abaw:box/10", "abaw:box/50", "abaw:box/100"}
    gaussians = {row.smoothing["expression"] for row in seven.rows if "Gaussian" in row.name}
    assert gaussians == {"abaw:100/50", "abaw:1000/50", "abaw:10000/50"}


def test_the_schemes_of_ddamfn() -> None:
    found = load("ddamfn-mtl")
    (head,) = found.heads
    assert head.network == "finetuned" and head.complete, "(b) is trained on the features of (a)"
    activations = {"expression": "softmax", "valence_arousal": "tanh", "action_units": "sigmoid"}
    for task, one in head.tasks.items():
        assert wiring(one) == ("features", activations[task], 32, 10, 512, 0.0)
        assert (one.rate, one.weighted) == (1e-5, False)
    assert found.search.thresholds == tuple(k / 100 for k in range(10, 90)) and found.search.both
    assert found.search.deltas == () and all(not row.smoothing for row in found.rows), "no smoothing in time"
    tasks = {
        "ddamfn-finetune": ("expression", "valence_arousal", "action_units"),
        "ddamfn-finetune-va": ("valence_arousal",),
        "ddamfn-finetune-expr": ("expression",),
        "ddamfn-finetune-au": ("action_units",),
    }
    assert {network.finetune for network in found.networks} == {f"{name}.toml" for name in tasks}
    for name, trained in tasks.items():
        plan = config.read(PLANS / f"{name}.toml")
        assert plan.tasks == trained
        (source,), (stage,) = plan.sources, plan.stages
        assert (plan.architecture, plan.size, plan.normalisation) == ("ddamfn_deep", 112, "imagenet")
        assert plan.start is not None and plan.start.name == "affecnet8_epoch25_acc0.6469.pth"
        assert (stage.epochs, stage.rate, stage.batch, stage.schedule, stage.scope) == (10, 1e-5, 32, "constant", "all")
        weights = {task: getattr(plan.loss, task) for task in trained}
        assert set(weights.values()) == {1.0} and plan.loss.attention == 0.1
        assert not plan.loss.class_power and not plan.loss.balance_units and not plan.loss.smoothing
        chosen = plan.optimiser
        assert (chosen.kind, chosen.weight_decay, chosen.sam, chosen.clip) == ("adam", 0, 0, 0)
        assert plan.keep == "best" and not plan.average and not plan.dropout and not plan.refit.weight_decay
        assert source.complete and source.given_crops and source.crops == "cropped_aligned" and not source.calibration
        change = plan.augmentation
        assert (change.flip, change.rotation, change.shift, change.moved) == (0.5, 20, 0.2, 0.7)
        assert (1 / change.scale, change.shrink, change.erase, change.erased) == (0.8, True, 1.0, 0.05)
        assert not any((change.other_crop, change.resolution, change.light, change.noise, change.jpeg, change.mixup))


def test_the_classifier_of_ddamfn() -> None:
    """274,455 parameters with the ninth class, 4,458,271 with the whole network, both as published."""
    network = architectures.build("ddamfn_deep", 9 + 2 + 12)
    assert sum(p.numel() for p in network.fc.parameters()) == 274_455
    assert sum(p.numel() for p in network.parameters()) == 4_458_271


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_where_its_figures_come_from(name: str) -> None:
    found = load(name)
    assert found.name == name and found.citation.startswith("arXiv:") and found.figures and found.chosen
    text = (PLANS / f"{name}.toml").read_text()
    assert "unverified" not in text.lower()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"track": "faces"}, "track = 'faces'"), ({"rows": [{"name": "x", "members": ["nobody"]}]}, "'nobody'"),
        ({"rows": [{"name": "x"}]}, "give one or two members"), ({"speed": 1}, "unknown key speed"),
        ({"rows": [{"name": "x", "members": ["vgaf"], "thresholds": "2"}]}, "'2'"),
        ({"rows": [{"name": "x", "members": ["vgaf"], "paper": {"luck": 1.0}}]}, "no figure 'luck'"),
    ],
)  # fmt: skip
def test_experiments_that_make_no_sense(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    from hsemotion_cli.formats import toml_writer

    data = tomllib.loads((PLANS / "abaw6-va.toml").read_text())
    for one, several in (("network", "networks"), ("head", "heads"), ("row", "rows")):
        data[several] = data.pop(one)
    path = tmp_path / "plan.toml"
    path.write_text("\n".join(toml_writer.lines({**data, **change})))
    with pytest.raises(UsageError, match=says):
        experiment.read(path)


# --- planted effects --------------------------------------------------------------------------------------------


def reproduce(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["train", "reproduce", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, challenge.Challenge]:
    """A synthetic s-Aff-Wild2 with features of three networks, after the whole chain."""
    root = tmp_path_factory.mktemp("planted")
    made, out = plant(root, seed=5, videos=7, frames=400), root / "run"
    reproduce(PLANS / "abaw7-mtl.toml", "--data", root / "data", "-o", out, "--network", ",".join(NETWORKS), "-q")
    return root, out, made


def test_the_order_of_the_rows_is_the_planted_one(planted: tuple[Path, Path, challenge.Challenge]) -> None:
    _, out, _ = planted
    rows = {row["name"]: row["ours"] for row in json.loads((out / "results.json").read_text())["rows"]}
    assert len(rows) == 8, "all rows but those of networks that were left out"
    for score in ("expression", "action_units", "total"):
        assert rows["mbf"][score] < rows["enet-mtl"][score] < rows["ddamfn-mtl"][score]
    assert rows["ddamfn-mtl"]["total"] < rows["ddamfn-mtl, smoothing"]["total"], "labels hold for twelve frames"
    assert rows["ddamfn-mtl"]["action_units"] <= rows["ddamfn-mtl, thresholds"]["action_units"]
    assert rows["ddamfn-mtl"]["total"] < rows["blend"]["total"] < rows["blend, smoothing"]["total"]
    page = (out / "results.md").read_text()
    assert "| blend, smoothing | 0.5578 |" in page and "arXiv:2407.13184" in page
    assert "## What the paper does not say" in page


def test_p_is_the_sum_of_its_parts_by_somebody_elses_code(planted: tuple[Path, Path, challenge.Challenge]) -> None:
    """From the raw scores on disk and the list of annotations alone, without this package's metrics."""
    root, out, _ = planted
    truth: dict[str, tuple[list[float], int, list[int]]] = {}
    for line in (root / "data" / "validation_set_annotations.txt").read_text().splitlines()[1:]:
        name, valence, arousal, expression, *units = line.split(",")
        truth[name] = [float(valence), float(arousal)], int(expression), list(map(int, units))
    pairs: dict[str, list] = {"va": [], "expr": [], "au": []}
    for path in sorted((out / "tables" / "ddamfn-mtl-head").glob("*.raw.npz")):
        with np.load(path) as raw:
            frames = raw["index"][raw["row"]]
            scores = {task: raw[f"scores/ddamfn-mtl-head/{task}"] for task in MTL}
        for k, frame in enumerate(frames):
            known = truth.get(f"{path.name.removesuffix('.raw.npz')}/{frame:05d}.jpg")
            if known is None:
                continue
            affect, label, presence = known
            if -5 not in affect:
                pairs["va"].append((affect, np.clip(scores["valence_arousal"][k], -1, 1)))
            if label >= 0:
                columns = [EXPRESSIONS.index(each) for each in AFFWILD2_EXPRESSIONS]
                pairs["expr"].append((label, int(scores["expression"][k, columns].argmax())))
            if -1 not in presence:
                pairs["au"].append((presence, scores["action_units"][k] >= 0.5))
    x, y = (np.array(part, float) for part in zip(*pairs["va"], strict=True))
    shared = [2 * np.cov(x[:, k], y[:, k], bias=True)[0, 1] for k in range(2)]
    ccc = shared / (x.var(axis=0) + y.var(axis=0) + (x.mean(axis=0) - y.mean(axis=0)) ** 2)
    true, said = zip(*pairs["expr"], strict=True)
    expression_f1 = f1_score(true, said, average="macro", labels=range(8), zero_division=0)
    units_true, units_said = (np.array(part, int) for part in zip(*pairs["au"], strict=True))
    unit_f1 = f1_score(units_true, units_said, average=None, zero_division=0).mean()
    ours = next(
        row["ours"] for row in json.loads((out / "results.json").read_text())["rows"] if row["name"] == "ddamfn-mtl"
    )
    assert ours["valence_arousal"] == pytest.approx(np.mean(ccc), abs=1e-6)
    assert ours["expression"] == pytest.approx(expression_f1, abs=1e-9)
    assert ours["action_units"] == pytest.approx(unit_f1, abs=1e-9)
    assert ours["total"] == pytest.approx(np.mean(ccc) + expression_f1 + unit_f1, abs=1e-6)


def test_a_second_run_finds_everything_again(planted: tuple[Path, Path, challenge.Challenge]) -> None:
    root, out, _ = planted
    arguments = (PLANS / "abaw7-mtl.toml", "--data", root / "data", "-o", out, "--network", ",".join(NETWORKS))
    kept = {path: path.stat().st_mtime_ns for place in ("heads", "tables") for path in (out / place).rglob("*.*")}
    results = (out / "results.json").read_text()
    text = reproduce(*arguments)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (out / "results.json").read_text() == results and "blend, smoothing" in text
    # A head that is lost is trained again, to the same numbers, and so are only its own tables.
    lost = out / "heads" / "mbf-head.safetensors"
    before = lost.read_bytes()
    lost.unlink()
    reproduce(*arguments, "-q")
    assert lost.read_bytes() == before and (out / "results.json").read_text() == results
    changed = {path for path, when in kept.items() if path.stat().st_mtime_ns != when}
    assert {path.parent.name for path in changed} == {"heads", "mbf-head"}


def test_networks_that_are_not_in_the_plan() -> None:
    found = load("abaw7-mtl")
    with pytest.raises(UsageError, match="--network nobody: abaw7-mtl has"):
        experiment.only(found, ["nobody"])
    assert [row.name for row in experiment.only(found, ["mbf"]).rows] == ["mbf"]


@pytest.mark.parametrize("name", ["abaw6-expr", "abaw6-va", "abaw6-au"])
def test_the_tracks_of_abaw_6(tmp_path: Path, name: str) -> None:
    """A tree with a folder for each track; smoothing helps where labels last."""
    made = challenge.make_tracks(tmp_path / "data", videos=8, frames=500, validation=3, hold=12, paint=None, seed=2)
    for place in ("cropped", "cropped_aligned"):
        (tmp_path / "data" / place).mkdir()
    for k, (video, labels) in enumerate(made.beneath.items()):
        for place in ("cropped", "cropped_aligned"):
            (tmp_path / "data" / place / video).mkdir()
        for j, (network, (model, noise)) in enumerate(
            [("vgaf", ("enet_b0_8_best_vgaf", 1.0)), ("mbf", ("mbf_va_mtl", 4.0))]
        ):
            write_features(
                tmp_path / "run" / "features" / network / f"{video}.features.parquet", labels, model, noise, 31 * k + j
            )
    reproduce(
        PLANS / f"{name}.toml", "--data", tmp_path / "data", "-o", tmp_path / "run", "--network", "vgaf,mbf", "-q"
    )
    rows = {
        row["name"]: row["ours"]["total"] for row in json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    }
    assert rows["mbf"] < rows["vgaf"]
    best = "vgaf, thresholds and box" if name == "abaw6-au" else "vgaf, box"
    assert rows["vgaf"] < rows[best]


# --- compound expressions, emotional mimicry --------------------------------------------------------------------


def results_of(out: Path) -> dict[str, dict[str, float]]:
    return {row["name"]: row["ours"] for row in json.loads((out / "results.json").read_text())["rows"]}


def store(path: Path, facts: dict[str, Any], embedding: np.ndarray, outputs: np.ndarray | None = None) -> None:
    """A file of features with one row for each frame or state, as extract writes it."""
    n = len(embedding)
    keys = np.column_stack([np.arange(n), np.arange(n) / 25, np.zeros(n)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        features._write(iter([(keys, embedding, outputs)]), str(facts["model"]), "float16", facts, file)


@pytest.mark.parametrize("name", ["abaw6-ce", "abaw7-ce"])
def test_compound_expressions_run_from_features_to_the_table(tmp_path: Path, name: str) -> None:
    """KL of the planted shares; a network with more noise diverges more, and smoothing moves the borders."""
    random = np.random.default_rng(7)
    pairs = [[EXPRESSIONS.index(each) for each in pair] for pair in COMPOUNDS.values()]
    counts = [[30, 20, 10, 10, 10, 10, 10], [10, 40, 15, 15, 15, 5, 10]]
    for video, count in zip(("one", "two"), counts, strict=True):
        (tmp_path / "data" / "videos").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "videos" / f"{video}.mp4").touch()
        labels = np.repeat(np.arange(7), count)
        clean = np.zeros((len(labels), 8))
        for k, pair in enumerate(pairs):
            clean[np.ix_(labels == k, pair)] = 4
        for network, model, noise, width in (("vgaf", "enet_b0_8_best_vgaf", 9.0, 8), ("mbf", "mbf_va_mtl", 0.1, 10)):
            outputs = np.zeros((len(labels), width), np.float32)
            outputs[:, :8] = clean + random.normal(0, noise, clean.shape)
            facts = {"model": model, "source": {"kind": "video"}, "weights": {}, "classes": list(EXPRESSIONS[:8])}
            store(tmp_path / "run" / "features" / network / f"{video}.features.parquet", facts, outputs, outputs)
    out = tmp_path / "run"
    text = reproduce(PLANS / f"{name}.toml", "--data", tmp_path / "data", "-o", out, "--network", "vgaf,mbf")
    rows = results_of(out)
    shares = np.sum(counts, axis=0) / np.sum(counts)
    prior = np.array([14445, 24915, 10780, 10637, 10535, 10112, 8878]) / 90302
    assert rows["mbf"]["kl"] == pytest.approx(entropy(prior, shares), abs=1e-9)
    assert rows["mbf"]["kl"] < rows["vgaf"]["kl"]
    assert rows["mbf, box 10"]["kl"] != rows["mbf"]["kl"]
    assert "mbf, box 10" in text and "0.0603" in (out / "results.md").read_text()


def test_mimicry_runs_from_features_of_faces_and_sound_to_the_table(tmp_path: Path) -> None:
    """Joy is planted in faces and all other emotions in sound, so sight and sound together beat both."""
    random = np.random.default_rng(8)
    places = {"face_images": "", "audio": ".wav"}
    data, out = tmp_path / "data", tmp_path / "run"
    known = {}
    for part, first, count in (("train", 1, 300), ("valid", 301, 60)):
        lines = ["Filename," + ",".join(EMOTIONAL_MIMICRY)]
        for number in range(first, first + count):
            clip, truth = f"{number:05d}", random.random(6)
            known[clip] = truth
            for place, ending in places.items():
                (data / place).mkdir(parents=True, exist_ok=True)
                path = data / place / f"{clip}{ending}"
                path.touch() if ending else path.mkdir()
            seen, heard = (truth - 0.5) * [0, 0, 0, 0, 0, 9], (truth - 0.5) * [9, 9, 9, 9, 9, 0]
            # Many columns, because the published epochs are few steps on so few clips.
            faces, states = (np.tile(each, 20) + random.normal(0, 0.5, (4, 120)) for each in (seen, heard))
            for network, model, kind, values in (
                ("mbf", "mbf_va_mtl", "images", faces), ("sound", "wav2vec2-base-960h", features.AUDIO, states)
            ):  # fmt: skip
                facts = {"model": model, "source": {"kind": kind}, "weights": {"sha256": "0" * 64}, "classes": []}
                facts |= {"kind": features.AUDIO} if network == "sound" else {}
                outputs = None if network == "sound" else values.astype(np.float32)
                store(out / "features" / network / f"{clip}.features.parquet", facts, values, outputs)
            lines.append(",".join([clip, *map(str, truth.round(4))]))
        (data / f"{part}_split.csv").write_text("\n".join([*lines, ""]))
    arguments = (PLANS / "abaw6-emi.toml", "--data", data, "-o", out, "--network", "mbf,sound")
    text = reproduce(*arguments)
    rows = results_of(out)
    assert list(rows) == ["mbf", "sound", "mbf and sound"] and "0.2989" in text
    assert rows["mbf"]["joy"] > 0.7 > 0.4 > abs(rows["sound"]["joy"])
    assert min(rows["sound"][each] for each in EMOTIONAL_MIMICRY[:5]) > 0.7
    both = rows["mbf and sound"]
    assert both["emotional_mimicry"] > max(rows[each]["emotional_mimicry"] for each in ("mbf", "sound"))
    assert both["emotional_mimicry"] == pytest.approx(np.mean([both[each] for each in EMOTIONAL_MIMICRY]))
    # Joy once more, from the heads and the features.
    clips = [clip for clip in known if int(clip) > 300]
    said = []
    for network in ("mbf", "sound"):
        head = heads.read(out / "heads" / f"{network}-head.safetensors")
        each = [features.read(out / "features" / network / f"{clip}.features.parquet")[0] for clip in clips]
        said.append([head.clip(columns["embedding"], columns.get("outputs"))[5] for columns in each])
    fused = 0.4 * np.array(said[0]) + 0.6 * np.array(said[1])
    assert both["joy"] == pytest.approx(pearsonr(fused, [known[clip].round(4)[5] for clip in clips])[0], abs=1e-6)
    kept = {path: path.stat().st_mtime_ns for path in (out / "heads").iterdir()}
    reproduce(*arguments, "-q")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and results_of(out) == rows


# --- DDAMFN -----------------------------------------------------------------------------------------------------


def small_plans(folder: Path) -> Path:
    """The plans of DDAMFN for images of 48 pixels, with one epoch at a rate that shows in them."""
    folder.mkdir()
    for path in PLANS.glob("ddamfn-*.toml"):
        text = path.read_text().replace('"ddamfn_deep"', '"ddamfn_deep_48"').replace("size = 112", "size = 48")
        text = text.replace("epochs = 10\nrate = 1e-5\nbatch = 32", "epochs = 1\nrate = 1e-3\nbatch = 9")
        (folder / path.name).write_text(text.replace("epochs = 10\nrate = 1e-05", "epochs = 3\nrate = 0.001"))
    return folder / "ddamfn-mtl.toml"


def test_both_schemes_of_ddamfn_run_end_to_end(tmp_path: Path) -> None:
    """(a) and (b); single-task networks are trained by the same steps."""
    data = tmp_path / "data"
    challenge.make_mtl(data, videos=2, frames=9, validation=1, masked=0.0, paint=challenge.telling, seed=3)
    torch.manual_seed(1)
    start = architectures.build("ddamfn_48", 8)
    torch.save({"iter": 25, "model_state_dict": start.state_dict()}, data / "affecnet8_epoch25_acc0.6469.pth")
    plan, out = small_plans(tmp_path / "plans"), tmp_path / "run"
    arguments = (plan, "--data", data, "-o", out, "--threads", 1, "--device", "cpu", "--network", "finetuned")
    text = reproduce(*arguments)
    rows = {row["name"]: row["ours"] for row in json.loads((out / "results.json").read_text())["rows"]}
    assert list(rows) == [
        *("(a) end to end", "(a) end to end, thresholds"),
        *("(b) classifiers", "(b) classifiers, thresholds"),
    ]
    for ours in rows.values():
        assert ours["total"] == pytest.approx(sum(ours[task] for task in MTL)) and math.isfinite(ours["total"])
    assert "Not in the paper: " in text
    head = heads.read(out / "heads" / "classifiers.safetensors")
    network = out / "networks" / "finetuned" / "ddamfn-abaw.safetensors"
    assert head.base.model == "ddamfn-abaw" and head.base.sha256 == sidecar.file_hash(network)
    assert list(head.parts) == ["expression", "valence_arousal", "action_units"]
    places = ("networks", "heads", "features")
    kept = {path: path.stat().st_mtime_ns for place in places for path in (out / place).rglob("*.*")}
    reproduce(*arguments, "-q")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "nothing is trained or extracted again"


def test_frames_that_lack_a_label_are_left_out(tmp_path: Path) -> None:
    from hsemotion_cli.training.dataset_readers import read_labels

    made = challenge.make_mtl(tmp_path, videos=2, frames=20, validation=1, masked=0.3, seed=4)
    plan = config.read(PLANS / "ddamfn-finetune.toml")
    source = config.DatasetSource("affwild2", tmp_path, complete=True)

    def whole(parts: Sequence[Annotations]) -> int:
        return sum(
            int(
                ((one.expression >= 0) & ~np.isnan(one.valence_arousal[:, 0]) & ~np.isnan(one.action_units[:, 0])).sum()
            )
            for one in parts
        )

    found = read_labels(source, plan)
    assert len(found.images) == whole([*made.train.values(), *made.validation.values()])
    assert (found.part == "validation").sum() == whole(list(made.validation.values()))
    every = read_labels(config.DatasetSource("affwild2", tmp_path), plan)
    assert len(every.images) == 60 and len(ACTION_UNITS) == every.action_units.shape[1]
