"""Heads on frozen features: wiring, losses, training, the file, and annotating with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known
from scipy import optimize, special, stats
from stamps import unstamped
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs torch")

import challenge
import published
from sklearn import metrics as sklearn_metrics

from hsemotion_cli.cli import app
from hsemotion_cli.domain import Face, Reading, Scores
from hsemotion_cli.errors import InputError, ModelUnavailable, UsageError
from hsemotion_cli.evaluation import calibration
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations
from hsemotion_cli.formats import features, raw_scores
from hsemotion_cli.models import heads, registry
from hsemotion_cli.models.heads import Base, Head, Part
from hsemotion_cli.models.predict import HeadedModel, InferenceOptions, load_all
from hsemotion_cli.reporting.markdown import signed
from hsemotion_cli.runtime.row_file import in_memory
from hsemotion_cli.tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, EXPRESSIONS, FROZEN, TASKS
from hsemotion_cli.training import features as matching
from hsemotion_cli.training import head_card
from hsemotion_cli.training import head_trainer as training

SIZE, OUTPUTS = 48, 10
BASE = Base("enet_b0_8_va_mtl", "ab" * 32, "given", SIZE, OUTPUTS)
BRISK = ("--rate", "0.01", "--batch", "64")  # a small data set has few steps in an epoch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else unstamped(result.stderr)


# --- making features --------------------------------------------------------------------------------------------


def write_features(
    folder: Path,
    video: str,
    frames: Iterable[int],
    embeddings: np.ndarray,
    outputs: np.ndarray | None,
    *,
    faces: int = 1,
    dtype: str = "float32",
    **facts: Any,
) -> Path:
    """A file as extract writes it, of images that are crops unless ``facts`` say otherwise."""
    known: dict[str, Any] = {"source": {"name": video, "sha256": "00", "kind": "pictures"}, "given_crops": True}
    known |= {"weights": {"file": "w.onnx", "sha256": BASE.sha256}, "crop": "box"} | facts
    model = known.pop("model", BASE.model)
    readings = []
    for row, frame in enumerate(frames):
        seen = tuple(Face((0, 0, 9, 9), 1.0, track=k) for k in range(faces))
        rows = slice(row * faces, (row + 1) * faces)
        scores = Scores({}, embeddings[rows], None if outputs is None else outputs[rows])
        readings.append(Reading(int(frame), frame / 30, seen, {model: scores}))
    path = folder / f"{video}{matching.SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        features.write(readings, model, dtype, known, file)
    return path


def planted(labels: Annotations, random: np.random.Generator, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings that hold all labels linearly, and outputs that hold valence and arousal, both with noise."""
    known = np.column_stack([np.eye(8)[labels.expression], labels.valence_arousal, labels.action_units])
    embeddings = known @ maps + random.normal(0, 0.1, (len(known), SIZE))
    outputs = random.normal(0, 1, (len(known), OUTPUTS))
    outputs[:, 8:] = np.arctanh(0.95 * labels.valence_arousal) + random.normal(0, 0.05, (len(known), 2))
    return embeddings.astype(np.float32), outputs.astype(np.float32)


def shuffled(labels: Annotations, random: np.random.Generator) -> Annotations:
    order = random.permutation(len(labels.frames))
    columns = (labels.expression[order], labels.valence_arousal[order], labels.action_units[order])
    return Annotations(labels.video, labels.frames, *columns)


def make(folder: Path, *, meaning: bool = True, videos: int = 6, frames: int = 100) -> challenge.Challenge:
    """An s-Aff-Wild2 without images, and features of all its frames in ``folder / "features"``."""
    data = challenge.make_mtl(folder, videos=videos, frames=frames, validation=4, paint=None)
    random = np.random.default_rng(5)
    maps = random.normal(0, 1, (8 + 2 + 12, SIZE))
    for name, labels in data.beneath.items():
        about = labels if meaning else shuffled(labels, random)
        write_features(folder / "features", name, labels.frames, *planted(about, random, maps))
    return data


def lists(folder: Path) -> list[object]:
    """The options that name both lists."""
    return [
        *("--truth", folder / "training_set_annotations.txt"),
        *("--val-truth", folder / "validation_set_annotations.txt"),
    ]


def train(folder: Path, out: Path, *options: object) -> Head:
    run("train", "heads", folder / "features", "-o", out, *lists(folder), "-q", *options)
    return heads.read(out)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, challenge.Challenge]:
    folder = tmp_path_factory.mktemp("planted")
    return folder, make(folder)


@pytest.fixture(scope="module")
def trained(data: tuple[Path, challenge.Challenge]) -> dict[str, Head]:
    """A head of each kind for faces, trained on planted signals."""
    folder, _ = data
    return {
        kind: train(folder, folder / f"{kind}.safetensors", "--kind", kind, "--epochs", 40, *BRISK)
        for kind in ("unitask", "mtl")
    }


def saved(path: Path, head: Head) -> Head:
    heads.write(head, path, "")
    return heads.read(path)


def random_head(kind: str, seed: int = 0, base: Base = BASE, **facts: Any) -> Head:
    """A head of the papers' wiring with random weights."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for task, plan in training.HEAD_CONFIGS[kind].items():
        width = base.width(plan.source) * (4 if kind == "emi" else 1)
        net = training.HeadLayers(width, plan, len(training.CLASSES[task]), generator)
        for layer in net.dense:
            torch.nn.init.normal_(layer.bias, generator=generator)
        parts[task] = Part(plan.source, plan.activation, training.CLASSES[task], net.arrays())
    return Head("random", "", kind, base, parts, facts)


# --- wiring -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "task", "size", "outputs", "expected"),
    [
        ("unitask", "expression", 1280, 10, 1280 * 128 + 128 + 128 * 8 + 8),
        ("unitask", "valence_arousal", 1280, 10, 22),
        ("unitask", "valence_arousal", 1280, 8, 18),
        ("unitask", "action_units", 1280, 10, 1280 * 128 + 128 + 128 * 12 + 12),
        ("mtl", "expression", 1280, 10, 10_328),
        ("mtl", "valence_arousal", 1280, 10, 22),
        ("mtl", "action_units", 1280, 10, 166_796),
        ("mtl", "expression", 512, 10, 522 * 8 + 8),
        ("emi", heads.CLIP_TASK, 512, 10, 4 * 512 * 6 + 6),
    ],
)
def test_heads_have_as_many_numbers_as_the_papers(kind: str, task: str, size: int, outputs: int, expected: int) -> None:
    head = random_head(kind, base=Base("m", None, None, size, outputs))
    assert sum(weight.size + bias.size for weight, bias in head.parts[task].layers) == expected


def test_the_plans_are_the_papers() -> None:
    said = {
        (kind, task): (plan.batch, plan.epochs, plan.hidden, plan.l2, plan.rate)
        for kind, plans in training.HEAD_CONFIGS.items()
        for task, plan in plans.items()
    }
    assert said == {
        ("unitask", "expression"): (256, 10, 128, 0, 1e-3),
        ("unitask", "valence_arousal"): (1024, 5, 0, 1 / 1024, 1e-3),
        ("unitask", "action_units"): (512, 5, 128, 0, 1e-3),
        ("mtl", "expression"): (512, 10, 0, 1 / 512, 1e-3),
        ("mtl", "valence_arousal"): (512, 20, 0, 1 / 512, 1e-3),
        ("mtl", "action_units"): (512, 10, 128, 0, 1e-3),
        ("emi", "emotional_mimicry"): (512, 100, 0, 1 / 512, 1e-3),
    }
    hidden = training.mimicry_with_hidden(training.HEAD_CONFIGS["emi"]["emotional_mimicry"], 64)
    assert (hidden.batch, hidden.epochs, hidden.hidden, hidden.l2) == (512, 20, 64, 0)


def by_hand(kind: str, head: Head, embedding: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """What section 3 of the papers' description says, written down once more."""
    weights = {task: part.layers for task, part in head.parts.items()}
    both = np.concatenate([embedding, scores], axis=1)

    def dense(x: np.ndarray, task: str, k: int) -> np.ndarray:
        return x @ weights[task][k][0].T + weights[task][k][1]

    units = np.maximum(dense(embedding if kind == "unitask" else both, "action_units", 0), 0)
    found = {
        "valence_arousal": np.tanh(dense(both[:, -10:], "valence_arousal", 0)),
        "action_units": 1 / (1 + np.exp(-dense(units, "action_units", 1))),
    }
    if kind == "unitask":
        expression = dense(np.maximum(dense(embedding, "expression", 0), 0), "expression", 1)
    else:
        expression = dense(both, "expression", 0)
    found["expression"] = special.softmax(expression / head.temperature, axis=1)
    return found


@pytest.mark.parametrize("kind", ["unitask", "mtl"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_head_predicts_what_the_papers_wiring_gives(kind: str, temperature: float, tmp_path: Path) -> None:
    head = saved(tmp_path / "h.safetensors", random_head(kind, temperature=temperature))
    random = np.random.default_rng(1)
    embedding, scores = random.normal(size=(7, SIZE)).astype(np.float32), random.normal(size=(7, OUTPUTS))
    scores = scores.astype(np.float32)
    expected, found = by_hand(kind, head, embedding, scores), head(embedding, scores)
    assert set(found) == set(expected)
    columns = [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]
    np.testing.assert_allclose(found["expression"][:, columns], expected["expression"], atol=1e-6)
    assert np.isnan(found["expression"][:, EXPRESSIONS.index("contempt")]).all()
    for task in ("valence_arousal", "action_units"):
        np.testing.assert_allclose(found[task], expected[task], atol=1e-6)
    # ... and so do the modules that are trained.
    for task, part in head.parts.items():
        plan = training.HEAD_CONFIGS[kind][task]
        net = training.HeadLayers(head.base.width(part.source), plan, len(part.classes), torch.Generator())
        with torch.no_grad():
            for layer, (weight, bias) in zip(net.dense, part.layers, strict=True):
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
        inputs = heads.select_inputs(part.source, embedding, scores)
        theirs = [part.logits(row) for row in inputs.astype(np.float64)]
        np.testing.assert_allclose(net(torch.from_numpy(inputs)).detach().numpy(), theirs, atol=1e-4)


def test_training_starts_where_keras_does() -> None:
    net = training.HeadLayers(522, training.HEAD_CONFIGS["mtl"]["action_units"], 12, torch.Generator().manual_seed(0))
    for layer, (width, outputs) in zip(net.dense, ((522, 128), (128, 12)), strict=True):
        limit = np.sqrt(6 / (width + outputs))
        weights = layer.weight.detach().numpy()
        assert weights.shape == (outputs, width) and not layer.bias.any()
        assert 0.95 * limit < np.abs(weights).max() <= limit
        assert weights.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)


def test_the_scores_of_a_face_are_bit_identical_in_any_batch() -> None:
    head, random = random_head("mtl"), np.random.default_rng(2)
    rows = random.normal(size=(40, SIZE)).astype(np.float32), random.normal(size=(40, OUTPUTS)).astype(np.float32)
    whole = head(*rows)
    for task, values in head(rows[0][5:17], rows[1][5:17]).items():
        assert values.tobytes() == whole[task][5:17].tobytes()


def test_a_face_without_any_scores_is_a_row_of_nan() -> None:
    head = random_head("mtl")
    embedding, scores = np.ones((3, SIZE), np.float32), np.ones((3, OUTPUTS), np.float32)
    embedding[1] = scores[1] = np.nan
    for task, values in head(embedding, scores).items():
        assert np.isnan(values[1]).all()
        assert np.isfinite(values[[0, 2]]).sum() == 2 * len(training.CLASSES[task])
    assert {task: values.shape for task, values in head(embedding[:0], scores[:0]).items()} == {
        task: (0, len(TASKS[task])) for task in head.parts
    }
    for wrong in ((embedding[:, 1:], scores), (embedding, scores[:, 1:]), (embedding, None)):
        with pytest.raises(ValueError, match="expected"):
            head(*wrong)


@pytest.mark.parametrize("source", ["features", "scores"])
def test_a_clip_is_its_statistics_through_one_layer(source: str) -> None:
    head = random_head("emi")
    width = BASE.width(source)
    found = head.parts[heads.CLIP_TASK]
    assert isinstance(found, Part)
    part = replace(found, source=source)
    weight, bias = np.random.default_rng(0).normal(0, 0.1, (6, 4 * width)), np.arange(6) / 10
    head = replace(head, parts={heads.CLIP_TASK: replace(part, layers=((weight, bias),))})
    random = np.random.default_rng(3)
    embedding, scores = random.normal(size=(9, SIZE)), random.normal(size=(9, OUTPUTS))
    frame = pd.DataFrame(embedding if source == "features" else scores)
    row = np.concatenate([frame.mean(), frame.std(ddof=0), frame.min(), frame.max()])
    np.testing.assert_allclose(head.clip(embedding, scores), 1 / (1 + np.exp(-(weight @ row + bias))), atol=1e-12)
    with pytest.raises(ValueError, match="for clips"):
        head(embedding, scores)
    with pytest.raises(ValueError, match="for faces"):
        random_head("mtl").clip(embedding, scores)


# --- losses and weights -----------------------------------------------------------------------------------------


def test_class_weights_are_the_papers() -> None:
    for counts, expected in (
        (
            (177198, 16573, 10771, 9080, 95463, 78751, 31615, 165866),
            (1.000, 10.692, 16.451, 19.515, 1.856, 2.250, 5.605, 1.068),
        ),
        (
            (23976, 4555, 3168, 3122, 18135, 7609, 5228, 24852),
            (1.037, 5.456, 7.845, 7.960, 1.370, 3.266, 4.754, 1.000),
        ),
    ):
        labels = np.repeat(np.arange(8), counts)
        assert training.class_weights(labels, 8).round(3).tolist() == pytest.approx(expected, abs=1e-9)
    assert np.isfinite(training.class_weights(np.array([1, 1]), 8)).all()


def test_unit_weights_are_the_papers() -> None:
    n = 103_316
    for absent, present in ((0.611, 2.761), (0.512, 20.999), (1.578, 0.732)):
        labels = (np.arange(n) < n / (2 * present)).astype(np.float32)[:, None]
        assert training.unit_weights(labels)[:, 0] == pytest.approx((absent, present), rel=2e-3)
    assert np.isfinite(training.unit_weights(np.zeros((5, 12)))).all()


def test_losses_are_those_of_other_implementations() -> None:
    random = np.random.default_rng(0)
    n = 50
    logits, classes = random.normal(0, 2, (n, 8)), random.integers(0, 8, n)
    weights = random.uniform(0.5, 20, 8)
    as_tensor = lambda a: torch.from_numpy(np.asarray(a, np.float32))  # noqa: E731
    each = -np.log(special.softmax(logits, axis=1)[np.arange(n), classes])
    found = training.cross_entropy(as_tensor(logits), torch.from_numpy(classes), as_tensor(weights))
    assert float(found) == pytest.approx((weights[classes] * each).sum() / n, rel=1e-5)
    # scikit-learn divides by the sum of weights, Keras by the number of rows.
    theirs = sklearn_metrics.log_loss(
        classes, special.softmax(logits, axis=1), sample_weight=weights[classes], labels=range(8)
    )
    assert float(found) == pytest.approx(theirs * weights[classes].sum() / n, rel=1e-5)

    units, said = (random.random((n, 12)) < 0.3).astype(float), random.normal(0, 2, (n, 12))
    w = random.uniform(0.5, 20, (2, 12))
    p = special.expit(said)
    factor = w[0] ** (1 - units) * w[1] ** units
    expected = -(factor * (units * np.log(p) + (1 - units) * np.log(1 - p))).mean()
    assert float(training.weighted_bce(as_tensor(said), as_tensor(units), as_tensor(w))) == pytest.approx(
        expected, rel=1e-5
    )

    x, y = random.normal(size=(n, 2)), random.normal(0.3, 2, (n, 2))
    ccc = [
        2
        * np.cov(x[:, k], y[:, k], ddof=0)[0, 1]
        / (x[:, k].var() + y[:, k].var() + np.diff([x, y], axis=0).mean(1)[0, k] ** 2)
        for k in range(2)
    ]
    assert float(training.one_minus_ccc(as_tensor(x), as_tensor(y))) == pytest.approx(1 - np.mean(ccc), rel=1e-5)
    mimicry = (random.random((n, 6)), random.random((n, 6)))
    r = [stats.pearsonr(mimicry[0][:, k], mimicry[1][:, k])[0] for k in range(6)]
    share = np.array([1, 1 / 8, 1 / 4, 1 / 2, 1 / 8, 1 / 8])
    found = training.one_minus_pearson(
        as_tensor(mimicry[0]), as_tensor(mimicry[1]), as_tensor(training.MIMICRY_WEIGHTS)
    )
    assert float(found) == pytest.approx(1 - (share * r).sum() / share.sum(), rel=1e-5)


def test_a_batch_of_one_row_does_not_spoil_the_weights() -> None:
    one = torch.tensor([[0.3, -0.2]], requires_grad=True)
    training.one_minus_ccc(one, torch.tensor([[0.1, 0.1]])).backward()
    assert torch.isfinite(one.grad).all()
    six = torch.rand(1, 6, requires_grad=True)
    training.one_minus_pearson(six, torch.rand(1, 6), torch.ones(6)).backward()
    assert torch.isfinite(six.grad).all()


def toy(task: str, n: int = 400, seed: int = 0) -> training.Examples:
    """A task that a line can solve."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, SIZE)).astype(np.float32)
    directions = np.random.default_rng(9).normal(size=(SIZE, len(training.CLASSES[task])))
    z = values @ directions
    labels = z.argmax(axis=1) if task == "expression" else (z > 0).astype(np.float32)
    if task == "valence_arousal":
        labels = np.tanh(z).astype(np.float32)
    return training.Examples((values,), np.arange(n), labels, 1)


def test_l2_is_added_for_weights_and_not_for_biases() -> None:
    net = training.HeadLayers(5, training.HeadConfig("features", "softmax", 1, 1, hidden=4), 8, torch.Generator())
    with torch.no_grad():
        for layer in net.dense:
            layer.bias.fill_(100.0)
    expected = sum(float((layer.weight.detach().numpy().astype(float) ** 2).sum()) for layer in net.dense)
    assert float(net.squares().detach()) == pytest.approx(expected, rel=1e-6)
    plan = replace(training.HEAD_CONFIGS["mtl"]["expression"], batch=50, epochs=8, rate=0.01)
    sizes = {}
    for l2 in (0.0, plan.l2, 1.0):
        fitted = training.fit("expression", replace(plan, l2=l2), toy("expression"), None, 0, lambda *_: None)
        sizes[l2] = float((fitted.part.layers[0][0] ** 2).sum())
    assert sizes[0.0] > sizes[plan.l2] > 10 * sizes[1.0]


def test_the_first_of_the_best_epochs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(training.HEAD_CONFIGS["unitask"]["expression"], epochs=5)
    weights, scores = [], iter([0.1, 0.4, 0.2, 0.4, 0.3])

    def score(_task: str, _plan: object, net: training.HeadLayers, *_: object) -> float:
        weights.append(net.arrays())
        return next(scores)

    monkeypatch.setattr(training, "_score", score)
    fitted = training.fit("expression", plan, toy("expression"), toy("expression", 50, 1), 0, lambda *_: None)
    assert (fitted.epoch, fitted.scores) == (2, [0.1, 0.4, 0.2, 0.4, 0.3])
    assert np.array_equal(fitted.part.layers[0][0], weights[1][0][0])
    assert not np.array_equal(fitted.part.layers[0][0], weights[4][0][0])


@pytest.mark.parametrize("task", ["expression", "valence_arousal", "action_units"])
def test_epochs_are_chosen_by_accuracy_or_loss_over_all_validation_rows(task: str) -> None:
    plan = replace(training.HEAD_CONFIGS["mtl"][task], source="features", batch=50, epochs=3)
    train_on, check = toy(task), toy(task, 120, seed=1)
    nets: list[Part] = []
    for epochs in (1, 2, 3):
        part = training.fit(task, replace(plan, epochs=epochs), train_on, None, 0, lambda *_: None).part
        assert isinstance(part, Part)
        nets.append(part)
    scores = training.fit(task, plan, train_on, check, 0, lambda *_: None).scores
    for part, score in zip(nets, scores, strict=True):
        z = np.array([part.logits(row) for row in in_memory(check.values[0]).astype(float)])
        if task == "expression":
            assert score == pytest.approx((z.argmax(axis=1) == check.labels).mean())
            continue
        penalty = plan.l2 * sum((weight**2).sum() for weight, _ in part.layers)
        if task == "valence_arousal":
            said, y = np.tanh(z), check.labels.astype(float)
            below = said.var(axis=0) + y.var(axis=0) + (said.mean(axis=0) - y.mean(axis=0)) ** 2
            loss = 1 - (2 * ((said - said.mean(0)) * (y - y.mean(0))).mean(axis=0) / below).mean()
        else:
            w, y, p = training.unit_weights(train_on.labels), check.labels.astype(float), special.expit(z)
            loss = -(np.where(y > 0, w[1], w[0]) * (y * np.log(p) + (1 - y) * np.log(1 - p))).mean()
        assert -score == pytest.approx(loss + penalty, rel=1e-4)


# --- thresholds and temperature ---------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_thresholds_are_the_best_of_the_grid(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = (random.random((30, 12)) < 0.3).astype(np.float32)
    labels[:, 0] = 0
    p = np.round(random.random((30, 12)), 1)  # many ties, and values that lie on the grid
    for unit, found in enumerate(calibration.choose_thresholds(labels, p)):
        tried = [
            sklearn_metrics.f1_score(labels[:, unit], p[:, unit] >= k / 10, zero_division=0.0) for k in range(1, 10)
        ]
        best = next(k for k, f1 in enumerate(tried, 1) if f1 > max(tried) - 1e-12) / 10
        assert found == (best if labels[:, unit].any() else 0.5)


def test_the_temperature_makes_the_labels_likeliest() -> None:
    random = np.random.default_rng(0)
    honest = random.normal(0, 1.5, (4000, 8))
    labels = np.array([random.choice(8, p=row) for row in special.softmax(honest, axis=1)])
    for temperature in (0.4, 1.0, 3.0):
        found = calibration.choose_temperature(honest * temperature, np.eye(8)[labels])
        assert found == pytest.approx(temperature, rel=0.06)

        def loss(t: np.ndarray, z: np.ndarray = honest * temperature) -> float:
            return sklearn_metrics.log_loss(labels, special.softmax(z / t[0], axis=1), labels=range(8))

        theirs = optimize.minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-5}).x[0]
        assert found == pytest.approx(theirs, rel=1e-3)


# --- learning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unitask", "mtl"])
def test_a_planted_signal_is_learned(trained: dict[str, Head], kind: str) -> None:
    found = trained[kind].facts["validation"]
    assert found["expression"]["f1"] > 0.8
    assert found["valence_arousal"]["ccc"] > 0.8
    assert found["action_units"]["f1"] > 0.8
    assert trained[kind].facts["p_mtl"] > 2.4


@pytest.mark.parametrize("kind", ["unitask", "mtl"])
def test_labels_that_have_nothing_to_do_with_the_features_are_not_learned(tmp_path: Path, kind: str) -> None:
    make(tmp_path, meaning=False)
    found = train(tmp_path, tmp_path / "h.safetensors", "--kind", kind, "--epochs", 40, *BRISK).facts["validation"]
    assert found["expression"]["f1"] < 0.25
    assert found["valence_arousal"]["ccc"] < 0.2
    assert found["action_units"]["f1"] < found["action_units"]["f1_of_always"] + 0.08


def test_figures_are_those_of_scikit_learn(trained: dict[str, Head], data: tuple[Path, challenge.Challenge]) -> None:
    folder, truth = data
    head = trained["mtl"]
    said: dict[str, list[np.ndarray]] = {task: [] for task in TASKS}
    for video in truth.validation:
        columns, _ = features.read(folder / "features" / f"{video}{matching.SUFFIX}")
        rows = np.isin(columns["frame"], truth.validation[video].frames)
        for task, values in head(columns["embedding"][rows], columns["outputs"][rows]).items():
            said[task].append(values)
    pooled = {task: np.concatenate(values) for task, values in said.items()}
    labels = np.concatenate([found.expression for found in truth.validation.values()])
    known = labels >= 0
    own = pooled["expression"][:, [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]]
    figures = head.facts["validation"]["expression"]
    assert head.facts["rows"]["validation"]["expression"] == known.sum() < len(known)
    best = own[known].argmax(axis=1)
    assert figures["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels[known], best))
    assert figures["f1"] == pytest.approx(sklearn_metrics.f1_score(labels[known], best, average="macro"))
    assert figures["confusion"] == sklearn_metrics.confusion_matrix(labels[known], best, labels=range(8)).tolist()
    assert figures["nll"] == pytest.approx(
        sklearn_metrics.log_loss(labels[known], own[known], labels=range(8)), rel=1e-3
    )
    assert figures["nll"] < figures["nll_at_temperature_1"]
    units = np.concatenate([found.action_units for found in truth.validation.values()])
    there = ~np.isnan(units).any(axis=1)
    present = pooled["action_units"][there] >= [head.thresholds[unit] for unit in ACTION_UNITS]
    f1 = sklearn_metrics.f1_score(units[there], present, average=None)
    assert [row["f1"] for row in head.facts["validation"]["action_units"]["classes"].values()] == pytest.approx(f1)


def test_the_same_seed_gives_the_same_head_and_another_seed_another(
    data: tuple[Path, challenge.Challenge], tmp_path: Path
) -> None:
    folder, _ = data
    files = sorted((folder / "features").iterdir())
    found = {}
    for name, inputs, options in (
        ("one", [folder / "features"], []),
        ("two", list(reversed(files)), []),
        ("alone", files, ["--tasks", "action_units"]),
        ("other", files, ["--seed", 1]),
    ):
        out = tmp_path / f"{name}.safetensors"
        run("train", "heads", *inputs, "-o", out, *lists(folder), "--epochs", 2, "--kind", "mtl", *options, "-q")
        found[name] = heads.read(out)

    def same(one: Head, other: Head, task: str) -> bool:
        pairs = zip(one.parts[task].layers, other.parts[task].layers, strict=True)
        return all(np.array_equal(a, b) for layers in pairs for a, b in zip(*layers, strict=True))

    for task in TASKS:
        assert same(found["one"], found["two"], task)
        assert not same(found["one"], found["other"], task)
    assert same(found["one"], found["alone"], "action_units"), "a task does not depend on what else is trained"
    digests = [found[name].facts["plan_sha256"] for name in ("one", "two", "alone", "other")]
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_the_number_of_threads_changes_nothing_and_is_left_as_it_was() -> None:
    plan = replace(training.HEAD_CONFIGS["mtl"]["action_units"], source="features", epochs=1)
    random = np.random.default_rng(0)
    # Large enough for torch to share the work out.
    values = random.normal(size=(1024, 1280)).astype(np.float32)
    wide = training.Examples((values,), np.arange(1024), (random.random((1024, 12)) < 0.5).astype(np.float32), 1)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(training.fit("action_units", plan, wide, None, 0, lambda *_: None).part.layers)
        assert torch.get_num_threads() == threads
    assert all(np.array_equal(a, b) for one, two in zip(*found, strict=True) for a, b in zip(one, two, strict=True))


# --- matching ---------------------------------------------------------------------------------------------------


def labels_of(video: str, frames: Iterable[int], seed: int = 0) -> Annotations:
    frames, random = np.array(list(frames), np.int64), np.random.default_rng(seed)
    n = len(frames)
    return Annotations(
        video,
        frames,
        random.integers(0, 8, n),
        random.uniform(-1, 1, (n, 2)).astype(np.float32),
        (random.random((n, 12)) < 0.5).astype(np.float32),
    )


def numbered(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features that tell their row."""
    return (
        np.repeat(np.arange(count)[:, None], SIZE, axis=1).astype(np.float32),
        np.repeat(np.arange(count)[:, None], OUTPUTS, axis=1).astype(np.float32),
    )


def test_rows_are_matched_by_video_and_frame(tmp_path: Path) -> None:
    write_features(tmp_path, "a", (2, 3, 5, 9, 11), *numbered(5))
    write_features(tmp_path, "b_left", (5, 7), *numbered(2))
    write_features(tmp_path, "c", (1,), *numbered(1))
    truth = {"a": labels_of("a", (1, 3, 5, 11, 12)), "b_left": labels_of("b_left", (7,), 1)}
    truth["a"].expression[1] = -1
    truth["a"].valence_arousal[1] = truth["a"].action_units[1] = np.nan  # frame 3: nothing is known
    truth["a"].action_units[2] = np.nan  # frame 5
    base, data = matching.gather(matching.find_files([tmp_path]), {"train": truth})
    assert base == BASE
    rows = data["train"]
    assert list(zip(rows.video, rows.frame, in_memory(rows.embeddings)[:, 0], strict=True)) == [
        ("a", 5, 2.0),
        ("a", 11, 4.0),
        ("b_left", 7, 1.0),
    ]
    assert np.array_equal(rows.outputs[:, 0], in_memory(rows.embeddings)[:, 0])
    assert rows.expression.tolist() == [
        truth["a"].expression[2],
        truth["a"].expression[3],
        truth["b_left"].expression[0],
    ]
    assert np.array_equal(rows.valence_arousal[2], truth["b_left"].valence_arousal[0])
    assert {task: rows.known(task).tolist() for task in TASKS} == {
        "expression": [0, 1, 2],
        "valence_arousal": [0, 1, 2],
        "action_units": [1, 2],
    }


def test_frames_of_a_video_count_from_0_and_images_from_1(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"source": {"name": "a.mp4", "sha256": "00", "kind": "video"}, "given_crops": False}
    write_features(tmp_path, "a", (0, 1, 4), *numbered(3), **facts)
    base, data = matching.gather(matching.find_files([tmp_path]), {"train": {"a": labels_of("a", range(1, 9))}})
    assert data["train"].frame.tolist() == [1, 2, 5]
    assert base.crop == "box"


def test_half_precision_stays_half_until_it_is_used(tmp_path: Path) -> None:
    write_features(tmp_path, "a", range(1, 7), *numbered(6), dtype="float16")
    truth = {"train": {"a": labels_of("a", range(1, 7))}}
    _, data = matching.gather(matching.find_files([tmp_path]), truth)
    assert data["train"].embeddings.dtype == np.float16
    found = training.examples(data["train"], "expression", "both").inputs(np.array([1, 3]))
    assert (found.dtype, tuple(found.shape)) == (torch.float32, (2, SIZE + OUTPUTS))
    assert found[:, [0, -1]].tolist() == [[1, 1], [3, 3]]
    _, without = matching.gather(matching.find_files([tmp_path]), truth, embeddings=False)
    assert without["train"].embeddings.shape == (6, 0)


names = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["", "_left", "_right"])), min_size=1, max_size=20, unique=True
)


@settings(deadline=None)
@given(names, st.floats(0.01, 0.9), st.integers(0, 5))
def test_whole_recordings_are_held_out(videos: list[tuple[int, str]], share: float, seed: int) -> None:
    everything = [f"{k}-30{side}" for k, side in videos]
    recordings = {k for k, _ in videos}
    if len(recordings) < 2:
        with pytest.raises(UsageError, match="only one video"):
            matching.held_out(everything, share, seed)
        return
    kept = matching.held_out(everything, share, seed)
    here, there = ({name.split("-")[0] for name in part} for part in (kept, set(everything) - kept))
    assert not here & there and here and there
    assert abs(len(here) - share * len(recordings)) <= 1
    assert kept == matching.held_out(reversed(everything), share, seed)


def test_missing_labels_leave_a_row_out_of_that_task_only(data: tuple[Path, challenge.Challenge]) -> None:
    folder, truth = data
    head = heads.read(folder / "mtl.safetensors") if (folder / "mtl.safetensors").exists() else None
    head = head or train(folder, folder / "few.safetensors", "--kind", "mtl", "--epochs", 1)
    counts = head.facts["rows"]
    for part, found in (("train", truth.train), ("validation", truth.validation)):
        assert counts[part] == {
            "expression": sum(int((a.expression >= 0).sum()) for a in found.values()),
            "valence_arousal": sum(int((~np.isnan(a.valence_arousal).any(axis=1)).sum()) for a in found.values()),
            "action_units": sum(int((~np.isnan(a.action_units).any(axis=1)).sum()) for a in found.values()),
        }
    assert len(set(counts["train"].values())) == 3, "the tasks differ in what is missing"


def test_a_share_of_the_videos_validates_where_no_other_truth_is_given(
    data: tuple[Path, challenge.Challenge], tmp_path: Path
) -> None:
    folder, truth = data
    options = ["--truth", folder / "training_set_annotations.txt", "--kind", "mtl", "--epochs", 1, "-q"]
    run("train", "heads", folder / "features", "-o", tmp_path / "a.safetensors", *options, "--val-share", "0.4")
    facts = heads.read(tmp_path / "a.safetensors").facts
    # Six videos of five recordings; two recordings are kept.
    assert facts["videos"]["train"]["expression"] + facts["videos"]["validation"]["expression"] == len(truth.train)
    assert facts["videos"]["validation"]["expression"] in (2, 3)
    run("train", "heads", folder / "features", "-o", tmp_path / "b.safetensors", *options, "--val-share", "0")
    blind = heads.read(tmp_path / "b.safetensors")
    assert (blind.facts["validation"], blind.thresholds, blind.temperature) == ({}, {}, 1.0)
    assert "so its accuracy is unknown" in (tmp_path / "b.md").read_text()


def test_a_tree_of_tracks_has_its_own_parts(tmp_path: Path) -> None:
    tree = challenge.make_tracks(tmp_path / "tree", videos=4, frames=40, paint=None)
    random = np.random.default_rng(0)
    maps = random.normal(0, 1, (22, SIZE))
    for name, labels in tree.beneath.items():
        write_features(tmp_path / "features", name, labels.frames, *planted(labels, random, maps))
    options = ["--truth", tree.root, "--val-truth", tree.root, "--epochs", 1, "-q"]
    run("train", "heads", tmp_path / "features", "-o", tmp_path / "h.safetensors", *options)
    counts = heads.read(tmp_path / "h.safetensors").facts["rows"]
    for part, found in (("train", tree.train), ("validation", tree.validation)):
        assert counts[part]["expression"] == sum(int((a.expression >= 0).sum()) for a in found.values())


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with a list, and features of its two videos."""
    rows = [
        f"{v}/{f:05d}.jpg,0.1,{f / 10},{f % 8},{','.join(str((f + k) % 2) for k in range(12))}"
        for v in "ab"
        for f in range(1, 9)
    ]
    (tmp_path / "list.txt").write_text("\n".join(["image,valence,arousal,expression,aus", *rows]))
    for video in "ab":
        write_features(tmp_path / "features", video, range(1, 9), *numbered(8))
    return tmp_path


def refused(small: Path, *options: object, code: int, paths: Iterable[Path] | None = None) -> str:
    paths = [small / "features"] if paths is None else paths
    told = run("train", "heads", *paths, "-o", small / "h.safetensors", *options, code=code)
    assert not list(small.glob("h.*")), "nothing may be left"
    assert len(told.strip().splitlines()) == 1, told
    return told


def test_features_of_different_models_are_refused(small: Path) -> None:
    options = ["--truth", small / "list.txt"]
    for facts, says in (
        ({"model": "mbf_va_mtl"}, "model is enet_b0_8_va_mtl and mbf_va_mtl"),
        ({"weights": {"sha256": "cd" * 32}}, "sha256 is"),
        ({"given_crops": False}, "crop is given and box"),
    ):
        write_features(small / "features", "b", range(1, 9), *numbered(8), **facts)
        told = refused(small, *options, code=4)
        assert says in told and "a.features.parquet" in told and "b.features.parquet" in told
    write_features(small / "features", "b", range(1, 9), numbered(8)[0][:, 1:], numbered(8)[1])
    assert "embedding_size is 48 and 47" in refused(small, *options, code=4)


@pytest.mark.parametrize("kind", ["unitask", "mtl"])
def test_a_base_without_outputs_has_no_valence_and_arousal(small: Path, kind: str) -> None:
    for video in "ab":
        write_features(small / "features", video, range(1, 9), numbered(8)[0], None, model="mp-blendshapes")
    options = ["--truth", small / "list.txt", "--kind", kind, "--epochs", 1]
    told = refused(small, *options, "--tasks", "valence_arousal", code=4)
    assert "valence_arousal" in told and "mp-blendshapes has only embeddings" in told
    if kind == "unitask":
        run(
            "train",
            "heads",
            small / "features",
            "-o",
            small / "g.safetensors",
            *options,
            "--tasks",
            "expression,action_units",
        )
        assert set(heads.read(small / "g.safetensors").parts) == {"expression", "action_units"}


def test_truth_of_other_videos_or_frames_is_refused(small: Path) -> None:
    text = (small / "list.txt").read_text()
    for other in (text.replace("\na/", "\nx/").replace("\nb/", "\ny/"), text.replace("/0000", "/0100")):
        (small / "other.txt").write_text(other)
        told = refused(small, "--truth", small / "other.txt", code=4)
        assert "no row of the features has a train label" in told
    told = refused(small, "--truth", small / "list.txt", "--val-truth", small / "other.txt", code=4)
    assert "validation label" in told


def test_a_task_without_any_label_is_refused(small: Path) -> None:
    text = (small / "list.txt").read_text()
    (small / "list.txt").write_text(
        "\n".join(
            line if k == 0 else ",".join([*line.split(",")[:3], "-1", *line.split(",")[4:]])
            for k, line in enumerate(text.split("\n"))
        )
    )
    told = refused(small, "--truth", small / "list.txt", code=4)
    assert told.startswith("hsemotion: expression: none of the matched training rows has a label for it")
    assert "--tasks" in told


def test_the_same_frames_cannot_train_and_validate(small: Path) -> None:
    told = refused(small, "--truth", small / "list.txt", "--val-truth", small / "list.txt", code=4)
    assert "frame 1 of a is in both the training and the validation annotations of expression" in told


def test_several_faces_in_a_frame_are_refused(small: Path) -> None:
    write_features(small / "features", "b", range(1, 5), *numbered(8), faces=2)
    told = refused(small, "--truth", small / "list.txt", code=4)
    assert "frame 1 has more than one face" in told and "--faces largest" in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kind", "best"], "--kind best: choose from unitask, mtl, emi"),
        (["--tasks", "mood"], "'mood' is no task"),
        (["--epochs", "0"], "whole number from 1"),
        (["--epochs", "expression=x"], "whole number from 1"),
        (["--batch", "mood=3"], "no task of this head"),
        (["--rate", "0"], "--rate 0"),
        (["--rate", "nan"], "--rate nan"),
        (["--rate", "1e30"], "diverged"),
        (["--hidden", "64"], "--kind emi only"),
        (["--kind", "emi", "--tasks", "expression"], "needs no name"),
        (["--kind", "emi", "--input", "sound"], "--input sound"),
    ],
)
def test_impossible_options_are_usage_errors(small: Path, options: list[str], says: str) -> None:
    assert says in refused(small, "--truth", small / "list.txt", *options, code=2)


def test_files_that_are_no_features_are_refused(small: Path) -> None:
    (small / "x.parquet").write_text("x")
    (small / f"y{matching.SUFFIX}").write_text("y")
    (small / "empty").mkdir()
    write_features(small / "again", "a", range(1, 9), *numbered(8))
    options = ["--truth", small / "list.txt"]
    for paths, says in (
        ([small / "none"], "no such file or folder"),
        ([small / "empty"], "no NAME.features.parquet"),
        ([small / "x.parquet"], "not called NAME.features.parquet"),
        ([small / "features", small / "again"], "are both of a"),
    ):
        assert says in refused(small, *options, code=4, paths=paths)
    (small / "list.txt").write_text((small / "list.txt").read_text().replace("\na/", "\ny/"))
    options += ["--val-share", "0"]
    assert "not a file of features" in refused(small, *options, code=4, paths=[small / f"y{matching.SUFFIX}"])
    told = run("train", "heads", small / "features", "-o", small / "head.onnx", *options, code=2)
    assert "head.safetensors" in told


def test_a_damaged_number_in_a_file_of_features_is_noticed(tmp_path: Path) -> None:
    """Numbers that hardly compress are stored as they are, so only a checksum can find a changed bit."""
    random = np.random.default_rng(0)
    values, keys = random.normal(size=(400, 50)).astype(np.float32), np.zeros((400, 3))
    path = tmp_path / f"a{matching.SUFFIX}"
    with path.open("wb") as file:
        features.write_audio(iter([(keys[:, 0], values)]), "wavlm", "float32", {}, file)
    np.testing.assert_array_equal(features.read(path)[0]["embedding"], values)
    whole = path.read_bytes()
    place = whole.index(values[200].tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(InputError, match=r"or damaged .*checksum.*delete it, and extract it again"):
        features.read(path)


# --- clips ------------------------------------------------------------------------------------------------------


def make_clips(folder: Path, count: int = 120, seed: int = 0, *, meaning: bool = True) -> None:
    """Clips whose mean embedding determines their intensities, and both lists."""
    random = np.random.default_rng(seed)
    maps = random.normal(0, 1, (6, SIZE))
    for part, first, size in (("train", 1, count), ("valid", count + 1, count // 2)):
        lines = ["Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"]
        for number in range(first, first + size):
            truth, other = random.random(6), random.random(6)
            mean = (truth if meaning else other) @ maps
            rows = (mean + random.normal(0, 0.2, (5, SIZE))).astype(np.float32)
            write_features(folder / "features", f"{number:05d}", range(1, 6), rows, rows[:, :OUTPUTS])
            lines.append(",".join([f"{number:05d}" if number % 2 else str(number), *map(str, truth.round(4))]))
        (folder / f"{part}_split.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("options", [["--hidden", 64], ["--input", "scores"], []])
@pytest.mark.parametrize("meaning", [True, False])
def test_intensities_of_clips_are_learned_if_there_is_something_to_learn(
    tmp_path: Path, options: list[object], meaning: bool
) -> None:
    make_clips(tmp_path, meaning=meaning)
    out = tmp_path / "emi.safetensors"
    given_ = ["--truth", tmp_path / "train_split.csv", "--val-truth", tmp_path / "valid_split.csv", "--kind", "emi"]
    run("train", "heads", tmp_path / "features", "-o", out, *given_, "--epochs", 60, *BRISK, *options, "-q")
    head = heads.read(out)
    score = head.facts["validation"][heads.CLIP_TASK]["pearson"]
    assert score > 0.8 if meaning and "scores" not in options else score > 0.5 if meaning else score < 0.25
    # The figure once more, from the file and the features.
    table = pd.read_csv(tmp_path / "valid_split.csv")
    said = []
    for name in table["Filename"]:
        columns, _ = features.read(tmp_path / "features" / f"{int(name):05d}{matching.SUFFIX}")
        said.append(head.clip(columns["embedding"], columns["outputs"]))
    r = [stats.pearsonr(np.array(said)[:, k], table.iloc[:, k + 1])[0] for k in range(6)]
    assert score == pytest.approx(np.mean(r), abs=1e-4)
    assert "whole clips" in run("annotate", "x.mp4", "--head", out, code=2)


# --- the file ---------------------------------------------------------------------------------------------------


def test_a_head_survives_its_file(tmp_path: Path) -> None:
    head = random_head("mtl", thresholds=dict.fromkeys(ACTION_UNITS, 0.3), temperature=1.7, terms="for research only")
    digest = heads.write(head, tmp_path / "mine.safetensors", "a page")
    back = heads.read(tmp_path / "mine.safetensors")
    assert (back.name, back.sha256, back.kind, back.base) == ("mine", digest, "mtl", BASE)
    assert dict(back.facts) == dict(head.facts)
    for task, part in head.parts.items():
        other = back.parts[task]
        assert (other.source, other.activation, other.classes) == (part.source, part.activation, part.classes)
        for one, two in zip(part.layers, other.layers, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert back.thresholds["AU12"] == 0.3 and back.temperature == 1.7
    assert (tmp_path / "mine.md").read_text() == "a page"
    assert heads.write(head, tmp_path / "again.safetensors", "") == digest, "the same head, the same bytes"


def test_the_header_says_what_it_is(trained: dict[str, Head], data: tuple[Path, challenge.Challenge]) -> None:
    from safetensors import safe_open

    folder, _ = data
    with safe_open(folder / "mtl.safetensors", framework="numpy") as file:
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} == {"float32"}  # noqa: SIM118
        content = json.loads(file.metadata()["hsemotion"])
    assert (content["format"], content["kind"]) == (1, "head")
    assert content["head"]["base"] == {
        "model": BASE.model,
        "sha256": BASE.sha256,
        "crop": "given",
        "embedding_size": SIZE,
        "outputs": OUTPUTS,
    }
    assert content["head"]["classes"]["expression"] == list(AFFWILD2_EXPRESSIONS)
    facts = content["facts"]
    assert set(facts) >= {
        *("data", "terms", "rows", "validation", "plan", "plan_sha256", "thresholds", "temperature", "seconds"),
        "versions",
    }
    assert set(facts["thresholds"]) == set(ACTION_UNITS)
    assert facts["versions"]["torch"]


def test_the_page_says_what_the_facts_say(data: tuple[Path, challenge.Challenge], tmp_path: Path) -> None:
    folder, _ = data
    head = train(folder, tmp_path / "h.safetensors", "--kind", "mtl", "--epochs", 2, "--terms", "EULA of s-Aff-Wild2")
    page, found = (tmp_path / "h.md").read_text(), head.facts["validation"]
    assert "EULA of s-Aff-Wild2" in page and known(BASE.sha256) in page and str(head.facts["plan_sha256"]) in page
    assert f"f1 {found['expression']['f1']:.4f}" in page and f"temperature {head.temperature:.4f}" in page
    assert all(f"| {unit} |" in page for unit in ACTION_UNITS)
    for name, counts in zip(AFFWILD2_EXPRESSIONS, found["expression"]["confusion"], strict=True):
        assert f"| **{name}** | {' | '.join(map(str, counts))} |" in page
    assert "100 -> " not in page and f"{SIZE + OUTPUTS} -> 128 -> 12, sigmoid" in page
    assert page == signed(head_card.head_card(head))


def changed(path: Path, change: Any, tensors: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a head's file again with another header or other tensors."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(path, framework="numpy") as file:
        whole = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = json.loads(file.metadata()["hsemotion"])
    change(content)
    whole = {name: value for name, value in {**whole, **(tensors or {})}.items() if value is not None}
    save_file(whole, path, {"hsemotion": json.dumps(content)})


def nothing(_content: dict) -> None:
    """Leave the header as it is."""


@pytest.mark.parametrize(
    ("change", "tensors", "says"),
    [
        (lambda c: c.update(kind="network"), {}, "it is 'network'"),
        (lambda c: c.clear(), {}, "does not describe a head"),
        (lambda c: c.update(format=2), {}, "format is 2"),
        (lambda c: c.update(format=3), {}, "format is 3"),
        (lambda c: c["head"].update(kind="emi"), {}, "kind 'emi'"),
        (lambda c: c["head"].update(tasks=["mood"]), {}, "mood"),
        (lambda c: c["head"].update(tasks=["expression"]), {}, "unexpected"),
        (lambda c: c["head"]["base"].update(outputs=8), {}, "columns"),
        (lambda c: c["head"]["classes"].update(expression=["joy"] * 8), {}, "classes joy"),
        (lambda c: c["head"]["parts"]["expression"].update(activation="step"), {}, "by step"),
        (lambda c: c["head"]["parts"]["expression"].update(source="sound"), {}, "from sound"),
        (lambda c: c["facts"].update(temperature=-1), {}, "temperature -1"),
        (lambda c: c["facts"].update(thresholds={"AU12": 2}), {}, "threshold AU12=2"),
        (nothing, {"expression.0.bias": np.zeros(7, np.float32)}, "layer 0"),
        (nothing, {"expression.0.bias": np.full(8, np.nan, np.float32)}, "not finite"),
        (nothing, {"expression.0.bias": None}, "expression.0.bias"),
        (nothing, {"more": np.zeros(1, np.float32)}, "unexpected"),
    ],
)
def test_a_file_that_is_no_head_is_refused(tmp_path: Path, change: Any, tensors: dict, says: str) -> None:
    path = tmp_path / "h.safetensors"
    heads.write(random_head("mtl"), path, "")
    changed(path, change, tensors)
    with pytest.raises(ModelUnavailable, match=f"h.safetensors: not a head made by train heads .*{says}"):
        heads.read(path)


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.safetensors"
    heads.write(random_head("mtl"), path, "")
    whole = path.read_bytes()
    for content in (b"", whole[:7], whole[:200], whole[:-1], b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelUnavailable, match="not a head"):
            heads.read(path)
    with pytest.raises(ModelUnavailable, match="no such file"):
        heads.read(tmp_path / "none.safetensors")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        heads.read(tmp_path)
    assert "no such file" in run("annotate", "x.mp4", "--head", tmp_path / "none.safetensors", code=5)


# --- annotating -------------------------------------------------------------------------------------------------

NETWORK = "mbf_va_mtl"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """Painted crops with their lists, features by a network of random weights, and a head trained on these."""
    folder = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSEMOTION_HOME", str(folder / "home"))
        weights = folder / f"{NETWORK}.onnx"
        published.save_graph(published.network(registry.card(NETWORK), seed=3), registry.card(NETWORK), weights)
        made = challenge.make_mtl(folder, videos=3, frames=12, validation=2, paint=challenge.telling)
        model = ["--model", f"{NETWORK}={weights}", "--crops", "-q"]
        run("extract", made.pictures, "-o", folder / "features", *model)
        options = ["--kind", "mtl", "--epochs", "5", "--terms", "test"]
        run("train", "heads", folder / "features", "-o", folder / "head.safetensors", *lists(folder), *options)
        yield folder, model


def test_from_images_to_a_table_with_the_heads_scores(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    head = heads.read(folder / "head.safetensors")
    video = "1-30-1280x720"
    crops = folder / "cropped_aligned" / video
    run("annotate", crops, "-o", tmp_path, *model, "--head", folder / "head.safetensors")
    table = pd.read_csv(tmp_path / f"{video}.csv")
    columns, _ = features.read(folder / "features" / f"{video}{matching.SUFFIX}")
    assert table["frame"].tolist() == columns["frame"].tolist()
    expected = by_hand("mtl", head, columns["embedding"], columns["outputs"])
    for k, name in enumerate(AFFWILD2_EXPRESSIONS):
        assert table[f"p_{name}"].to_numpy() == pytest.approx(expected["expression"][:, k], abs=1e-5)
    assert table["p_contempt"].isna().all()
    assert table["valence"].to_numpy() == pytest.approx(expected["valence_arousal"][:, 0], abs=1e-5)
    for k, unit in enumerate(ACTION_UNITS):
        assert table[f"{unit}_p"].to_numpy() == pytest.approx(expected["action_units"][:, k], abs=1e-5)
        assert table[f"{unit}_c"].tolist() == (table[f"{unit}_p"] >= head.thresholds[unit]).astype(int).tolist()
    told = json.loads((tmp_path / f"{video}.json").read_text())
    assert told["recipe"]["thresholds"] == head.thresholds
    assert told["recipe"]["models"] == [NETWORK]
    assert told["models"][0]["head"] == {
        "name": "head",
        "sha256": head.sha256,
        "kind": "mtl",
        "tasks": list(TASKS),
        "terms": "test",
    }
    raw = raw_scores.read(tmp_path / f"{video}.raw.npz").scores[NETWORK]
    assert set(raw) == {*TASKS, FROZEN}


def test_smoothing_later_needs_no_head(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    video = "1-30-1280x720"
    own = tmp_path / "own.safetensors"
    own.write_bytes((folder / "head.safetensors").read_bytes())
    run(
        "annotate",
        folder / "cropped_aligned" / video,
        "-o",
        tmp_path / "now",
        *model,
        "--head",
        own,
        "--smooth",
        "box:5f",
    )
    run("annotate", folder / "cropped_aligned" / video, "-o", tmp_path / "raw", *model, "--head", own)
    own.unlink()
    run("smooth", tmp_path / "raw" / f"{video}.csv", "-o", tmp_path / "later", "--smooth", "box:5f", "-q")
    now, later = ((tmp_path / place / f"{video}.csv").read_bytes() for place in ("now", "later"))
    assert now == later
    assert (tmp_path / "raw" / f"{video}.csv").read_bytes() != now


def test_given_thresholds_override_those_of_the_head(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    head = heads.read(folder / "head.safetensors")
    video = "1-30-1280x720"
    (tmp_path / "r.toml").write_text(f'models = ["{NETWORK}"]\n[thresholds]\nAU12 = 0.5\n')
    options = ["--head", folder / "head.safetensors", "--recipe", tmp_path / "r.toml", "--threshold", "AU01=0.77"]
    run("annotate", folder / "cropped_aligned" / video, "-o", tmp_path, *model, *options)
    said = json.loads((tmp_path / f"{video}.json").read_text())["recipe"]["thresholds"]
    assert said == {**head.thresholds, "AU12": 0.5, "AU01": 0.77}


def test_a_blend_of_two_has_the_head_on_its_base(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    video, head = "1-30-1280x720", heads.read(folder / "head.safetensors")
    crops = folder / "cropped_aligned" / video
    both = ["--model", f"{model[1]},mp-blendshapes", "--crops", "-q", "--blend", "0.6"]
    run("annotate", crops, "-o", tmp_path, *both, "--head", folder / "head.safetensors")
    raw = raw_scores.read(tmp_path / f"{video}.raw.npz").scores
    columns, _ = features.read(folder / "features" / f"{video}{matching.SUFFIX}")
    expected = head(columns["embedding"], columns["outputs"])
    for task in TASKS:
        np.testing.assert_allclose(raw[NETWORK][task], expected[task], atol=1e-6)
    told = json.loads((tmp_path / f"{video}.json").read_text())
    assert ["head" in entry for entry in told["models"]] == [True, False]
    assert told["recipe"]["thresholds"] == head.thresholds, "the first model that knows action units decides"


def test_a_head_of_some_tasks_leaves_the_others_to_the_base(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    video = "1-30-1280x720"
    head = heads.read(folder / "head.safetensors")
    units = replace(head, parts={"action_units": head.parts["action_units"]}, facts={"thresholds": head.thresholds})
    heads.write(units, tmp_path / "units.safetensors", "")
    crops = folder / "cropped_aligned" / video
    run("annotate", crops, "-o", tmp_path / "a", *model)
    run("annotate", crops, "-o", tmp_path / "b", *model, "--head", tmp_path / "units.safetensors")
    plain, headed = (pd.read_csv(tmp_path / place / f"{video}.csv") for place in "ab")
    assert plain["AU12_p"].isna().all() and headed["AU12_p"].notna().all()
    own = [name for name in plain if not name.startswith("AU") and name != "uncertainty_au"]
    pd.testing.assert_frame_equal(plain[own], headed[own])
    assert headed["p_other"].isna().all() and headed["p_contempt"].notna().all()


def test_a_head_fits_its_own_base_only(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    crops, head = folder / "cropped_aligned" / "1-30-1280x720", folder / "head.safetensors"
    told = run("annotate", crops, "-o", tmp_path, "--model", "mp-blendshapes", "--crops", "--head", head, code=2)
    assert f"it is a head for {NETWORK}, but the model is mp-blendshapes" in told
    told = run("annotate", crops, "-o", tmp_path, *model, "--head", head, "--head", head, code=2)
    assert "it is the same head as head; members need other seeds" in told
    other = replace(heads.read(head), base=replace(heads.read(head).base, sha256="00" * 32))
    heads.write(other, tmp_path / "other.safetensors", "")
    told = run("annotate", crops, "-o", tmp_path, *model, "--head", tmp_path / "other.safetensors", code=5)
    assert f"with weights of SHA-256 {'00' * 32}, but these have" in told
    # The same weights, but an embedding of another size.
    wide = replace(heads.read(head).base, embedding_size=500)
    heads.write(random_head("mtl", base=wide), tmp_path / "wide.safetensors", "")
    told = run("annotate", crops, "-o", tmp_path, *model, "--head", tmp_path / "wide.safetensors", code=2)
    assert "embeddings of 500 numbers and 10 outputs" in told
    assert not list(tmp_path.glob("*.csv"))


def test_unknown_weights_are_a_warning(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    base = replace(heads.read(folder / "head.safetensors").base, sha256=None)
    heads.write(random_head("mtl", base=base), tmp_path / "old.safetensors", "")
    crops = folder / "cropped_aligned" / "1-30-1280x720"
    loud = [option for option in model if option != "-q"]
    result = CliRunner().invoke(
        app, [str(a) for a in ("annotate", crops, "-o", tmp_path, *loud, "--head", tmp_path / "old.safetensors")]
    )
    assert result.exit_code == 0
    assert "the weights of mbf_va_mtl that it was trained on are unknown" in result.stderr


def test_the_recipe_of_a_headed_table_asks_for_its_head(pictures: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, model = pictures
    video, head = "1-30-1280x720", folder / "head.safetensors"
    crops, loud = folder / "cropped_aligned" / video, [option for option in model if option != "-q"]
    run("annotate", crops, "-o", tmp_path / "a", *model, "--head", head)
    for options, says in ((["--head", head], False), ([], True)):
        again = ["annotate", crops, "-o", tmp_path / "b", *loud, "--recipe", tmp_path / "a" / f"{video}.json", *options]
        result = CliRunner().invoke(app, [str(a) for a in again])
        assert result.exit_code == 0, result.output
        assert ("its table was made with the head head on mbf_va_mtl" in result.stderr) == says
        same = (tmp_path / "a" / f"{video}.csv").read_bytes() == (tmp_path / "b" / f"{video}.csv").read_bytes()
        assert same != says


def test_without_a_model_the_base_of_the_head_is_it(tmp_path: Path, smile: Path) -> None:
    card = registry.card("mp-blendshapes")
    base = Base(card.name, card.sha256, None, 52, 0)
    head = random_head("unitask", base=replace(base, outputs=10))
    head = replace(head, base=base, parts={task: head.parts[task] for task in ("expression", "action_units")})
    heads.write(head, tmp_path / "h.safetensors", "")
    run("annotate", smile, "-o", tmp_path, "--head", tmp_path / "h.safetensors", "--every", 6, "-q")
    table = pd.read_csv(tmp_path / "smile.csv")
    raw = raw_scores.read(tmp_path / "smile.raw.npz").scores["mp-blendshapes"]
    assert table["p_other"].notna().all() and table["valence"].notna().all()
    assert table["p_other"].to_numpy() == pytest.approx(raw["expression"][:, 8], abs=1e-6)
    # Thresholds were never fitted: 0.5, and not those of the model's own action units.
    assert set(json.loads((tmp_path / "smile.json").read_text())["recipe"]["thresholds"].values()) == {0.5}


def test_annotating_with_a_head_loads_no_torch(tmp_path: Path, smile: Path) -> None:
    import subprocess
    import sys

    card = registry.card("mp-blendshapes")
    head = random_head("unitask", base=Base(card.name, card.sha256, None, 52, 10))
    head = replace(head, base=Base(card.name, card.sha256, None, 52, 0))
    head = replace(head, parts={"expression": head.parts["expression"]})
    heads.write(head, tmp_path / "h.safetensors", "")
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom hsemotion_cli.cli import app\n"
        "result = CliRunner().invoke(app, sys.argv[1:])\nassert result.exit_code == 0, result.output\n"
        "print(*sorted({'torch', 'timm', 'pandas', 'sklearn'} & set(sys.modules)))\n"
    )
    arguments = ["annotate", str(smile), "-o", str(tmp_path), "--every", "6", "--head", str(tmp_path / "h.safetensors")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_two_heads_belong_each_to_its_own_model() -> None:
    card = registry.card("mp-blendshapes")
    one = random_head("unitask", base=Base(card.name, card.sha256, None, 52, 10))
    one = replace(one, base=Base(card.name, card.sha256, None, 52, 0), parts={"expression": one.parts["expression"]})
    models = load_all([card], InferenceOptions(heads=(one,)))
    assert isinstance(models[card.name], HeadedModel)
    with pytest.raises(UsageError, match="give --model enet_b0_8_va_mtl"):
        load_all([card], InferenceOptions(heads=(one, random_head("mtl"))))
    assert set(EMOTIONAL_MIMICRY) == {"admiration", "amusement", "determination", "empathic_pain", "excitement", "joy"}
