"""Training end to end on tiny networks: what is learned, what is drawn, what is kept, and runs that are killed."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import labelled
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import linear
from scipy import special

torch = pytest.importorskip("torch", reason="training needs torch")

from safetensors.torch import save_file
from torch import Tensor, nn

from hsemotion_cli.errors import InputError, ModelUnavailable, OutputError, UsageError
from hsemotion_cli.models.architectures import DDAMFN, Network
from hsemotion_cli.runtime import atomic_files
from hsemotion_cli.training import checkpoint, losses
from hsemotion_cli.training.augment import Augmentation
from hsemotion_cli.training.batches import Batch, mix_up
from hsemotion_cli.training.checkpoint import CHECKPOINT, LOG
from hsemotion_cli.training.config import (
    DatasetSource,
    LossConfig,
    OptimiserConfig,
    RefitConfig,
    StageConfig,
    TrainingConfig,
)
from hsemotion_cli.training.dataset import Dataset, join
from hsemotion_cli.training.figures import EvaluationFigures
from hsemotion_cli.training.last_layer import class_weighted, fit_action_units, fit_last_layer
from hsemotion_cli.training.optimisation import learning_rate
from hsemotion_cli.training.sampler import Sampler, StageSampler
from hsemotion_cli.training.trainer import Trainer, infer, make_network

pytestmark = pytest.mark.slow

SIZE = 24
CLASSES = ("neutral", "anger", "fear")
STILL = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8, 0.0, 0.0, 0.0, 0.0)
LIVELY = Augmentation(flip=0.0, rotation=3.0, scale=1.05, shift=0.02, other_crop=0.2, resolution=0.1, least=16)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Tiny(Network):
    """A convolution, a layer over its whole map, and a linear head."""

    embedding_size = 32

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.PReLU(4))
        self.last = nn.Sequential(nn.Conv2d(4, 32, SIZE // 2, bias=False), nn.BatchNorm2d(32))
        self.fc = nn.Linear(32, outputs)

    @property
    def pooling(self) -> list[nn.Module]:
        return [self.last]

    def embed(self, images: Tensor) -> Tensor:
        return self.last(self.first(images)).flatten(1)

    def score(self, embeddings: Tensor) -> Tensor:
        return self.fc(embeddings)


class Flat(Network):
    """Pixels, and a linear head."""

    def __init__(self, outputs: int, size: int = 4) -> None:
        super().__init__()
        self.outputs, self.embedding_size = outputs, 3 * size * size
        self.fc = nn.Linear(self.embedding_size, outputs)

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def score(self, embeddings: Tensor) -> Tensor:
        return self.fc(embeddings)


def telling(count: int, seed: int = 0, *, missing: float = 0.0, meaning: bool = True, **columns: Any) -> Dataset:
    """Images that show their labels, which are there for some of the tasks only.

    Which third of the upper edge is bright is the class, twelve squares in the middle are the action units, the two
    halves of the lower edge are as bright as valence and arousal are high.
    """
    chance = np.random.default_rng(seed)
    classes = chance.integers(0, len(CLASSES), count)
    affect, units = chance.uniform(-1, 1, (count, 2)), chance.integers(0, 2, (count, 12))
    pictures = chance.normal(110, 10, (count, SIZE, SIZE))
    shown = chance.permutation(count) if not meaning else np.arange(count)
    for picture, row in zip(pictures, shown, strict=True):
        picture[:7, 8 * classes[row] : 8 * classes[row] + 8] += 90
        picture[8:17] += 70 * np.kron(units[row].reshape(3, 4), np.ones((3, 6)))
        picture[18:, :12] += 60 * affect[row, 0]
        picture[18:, 12:] += 60 * affect[row, 1]
    labels = {
        "expression": labelled.onehot(classes, len(CLASSES)),
        "valence_arousal": affect.astype(np.float32),
        "action_units": units.astype(np.float32),
    }
    for values in labels.values():
        values[chance.random(count) < missing] = np.nan
    part = chance.choice(["train", "calibration", "validation"], count, p=[0.7, 0.1, 0.2])
    given_columns = {"part": part, **labels, **columns}
    return labelled.make(list(pictures.clip(0, 255).astype(np.uint8)), len(CLASSES), **given_columns)


def planned(*stages: StageConfig, **options: Any) -> TrainingConfig:
    defaults: dict[str, Any] = {
        "name": "tiny",
        "architecture": "none",
        "sources": (DatasetSource("folder", Path("made"), "made"),),
        "stages": stages or (StageConfig(2.0, batch=16),),
        "size": SIZE,
        "classes": CLASSES,
        "augmentation": STILL,
        "loss": LossConfig(attention=0.0, balance_units=False),
        "optimiser": OptimiserConfig(weight_decay=0.0),
    }
    return TrainingConfig(**{**defaults, **options})


def tiny(plan: TrainingConfig, seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    return Tiny(plan.outputs)


def trainer(
    folder: Path, plan: TrainingConfig, samples: Dataset | None = None, network: Network | None = None
) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(plan, network or tiny(plan), telling(60) if samples is None else samples, folder)


def logged_in(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open(newline="") as file:
        return list(csv.DictReader(file))


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


# --- learning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meaning", [True, False])
def test_what_is_planted_is_learned_and_nothing_else(tmp_path: Path, meaning: bool) -> None:
    plan = planned(StageConfig(14.0, rate=5e-3, batch=32), augmentation=LIVELY, average=0.95, dropout=0.1)
    run = trainer(tmp_path, plan, telling(500, missing=0.4, meaning=meaning))
    run.run()
    found = run.measure("validation", averaged=True)
    assert set(found.rows) == set(plan.tasks)
    assert all(40 < count < 90 for count in found.rows.values())  # six in ten of a hundred have a label
    if meaning:
        assert found.expression["accuracy"] > 0.9
        assert min(found.valence_arousal.values()) > 0.7
        assert found.action_units["mean"] > 0.85
    else:
        assert found.expression["accuracy"] < 0.6
        assert max(found.valence_arousal.values()) < 0.4
        assert found.action_units["mean"] < 0.7
    network = run.result()
    again = infer(network, run.augmenter, run.dataset, run.dataset.rows("validation"))
    np.testing.assert_allclose(again, run.predict(run.dataset.rows("validation")), atol=1e-5)


@pytest.mark.parametrize("task", ["expression", "valence_arousal", "action_units"])
def test_a_network_of_one_task(tmp_path: Path, task: str) -> None:
    weights: dict[str, Any] = {name: float(name == task) for name in ("expression", "valence_arousal", "action_units")}
    plan = planned(StageConfig(12.0, rate=5e-3, batch=32), loss=LossConfig(**weights), average=0.9)
    run = trainer(tmp_path, plan, telling(300))
    run.run()
    found = run.measure("validation", averaged=True)
    assert plan.tasks == (task,) and run.network.outputs == {"expression": 3, "valence_arousal": 2}.get(task, 12)
    assert list(found.rows) == [task]
    assert found.score() > 0.75
    assert set(run.log[-1]) & {"expression", "valence_arousal", "action_units"} == {task}


def test_the_log_is_what_was_seen(tmp_path: Path) -> None:
    plan = planned(StageConfig(2.5, batch=16), StageConfig(1.0, rate=1e-4, batch=8), augmentation=LIVELY)
    run = trainer(tmp_path, plan)
    seen: list[tuple[int, int, dict[str, float]]] = []
    run.run(lambda *news: seen.append(news))
    assert [step for step, _, _ in seen] == list(range(1, run.steps + 1))
    assert {total for _, total, _ in seen} == {run.steps}
    assert [row["stage"] for row in run.log] == [0, 0, 0, 1]
    rows = logged_in(tmp_path)
    assert len(rows) == 4
    begin = 0
    for row, logged in zip(rows, run.log, strict=True):
        assert {name: float(value) for name, value in row.items()} == pytest.approx(logged)
        steps = [parts for _, _, parts in seen[begin : logged["step"]]]
        begin = logged["step"]
        for name in steps[0]:  # the mean over the epoch
            assert logged[name] == pytest.approx(np.mean([parts[name] for parts in steps]), rel=1e-6)
        stage, within = run.sampler.locate(logged["step"] - 1)
        assert stage == logged["stage"]
        assert logged["rate"] == learning_rate(plan.stages[stage].rate, within, run.sampler.stages[stage].steps)
        total = sum(logged[task] for task in plan.tasks)
        assert logged["loss"] == pytest.approx(total, rel=1e-5)
    last = run.measure("calibration", averaged=True).summary()
    assert {f"calibration_{name}": value for name, value in last.items()}.items() <= run.log[-1].items()
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == [CHECKPOINT, LOG]


def test_without_a_calibration_part_the_log_is_of_the_validation_part(tmp_path: Path) -> None:
    samples = telling(60)
    samples = samples.replaced(part=np.where(samples.part == "train", "train", "validation"))
    run = trainer(tmp_path, planned(), samples)
    run.run()
    assert "validation_accuracy" in run.log[-1] and "calibration_accuracy" not in run.log[-1]


# --- steps and rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "steps", "logged"),
    [(0.01, 1, [0.333]), (0.5, 2, [0.667]), (1.0, 3, [1.0]), (2.4, 7, [1.0, 2.0, 2.333]), (3.0, 9, [1.0, 2.0, 3.0])],
)
def test_steps_of_fractions_of_epochs(tmp_path: Path, epochs: float, steps: int, logged: list[float]) -> None:
    run = trainer(tmp_path, planned(StageConfig(epochs, batch=4)), telling(10, part="train"))
    assert run.steps == steps
    run.run()
    assert run.step == steps
    assert [row["epoch"] for row in run.log] == logged


@settings(deadline=None, max_examples=40)
@given(st.floats(0.1, 30), st.integers(2, 9), st.floats(1e-5, 1e-1))
def test_the_rate_rises_and_falls_in_every_stage(epochs: float, batch: int, rate: float) -> None:
    plan = planned(StageConfig(1.0, batch=5), StageConfig(epochs, rate, batch))
    samples = telling(30, part="train")
    sampler = Sampler(plan, samples)
    first, second = sampler.stages
    steps = second.steps
    assert steps == max(round(epochs * math.ceil(30 / batch)), 1)
    assert [sampler.locate(first.steps + k) for k in range(steps)] == [(1, k) for k in range(steps)]
    found = np.array([learning_rate(rate, k, steps) for k in range(steps)])
    warm = max(steps // 20, 1)
    np.testing.assert_allclose(found[:warm], rate * np.arange(1, warm + 1) / warm)
    after = np.arange(steps - warm) / max(steps - warm, 1)  # from 0 to 1
    np.testing.assert_allclose(found[warm:], rate * (0.01 + 0.99 * np.cos(np.pi * after / 2) ** 2))
    assert found.max() == pytest.approx(rate) and (np.diff(found[warm:]) < 0).all()
    assert sampler.locate(0) == (0, 0)
    assert learning_rate(rate, 0, first.steps) == rate  # a short first stage is at its highest at once


# --- what is drawn ----------------------------------------------------------------------------------------------


def drawn(samples: Dataset, stage: StageConfig, epochs: int = 1, **options: Any) -> np.ndarray:
    """(epochs, samples) how often each was drawn."""
    draw = StageSampler(planned(stage, **options), stage, samples)
    found = []
    for epoch in range(epochs):
        rows = [draw.rows(epoch * draw.epoch_steps + k) for k in range(draw.epoch_steps)]
        assert all(2 <= len(row) <= max(stage.batch, 2) for row in rows)
        found.append(np.bincount(np.concatenate(rows), minlength=len(samples)))
    return np.array(found)


def test_without_weights_everything_is_drawn_once() -> None:
    samples = telling(53)
    found = drawn(samples, StageConfig(1.0, batch=5), 3)
    np.testing.assert_array_equal(found, np.tile(samples.part == "train", (3, 1)))
    draw = StageSampler(planned(), StageConfig(1.0, batch=10), samples)
    first, second = ([draw.rows(e * draw.epoch_steps + k).tolist() for k in range(3)] for e in (0, 1))
    assert first != second  # in another order
    # A step's images do not depend on which were asked for before.
    assert StageSampler(planned(), StageConfig(1.0, batch=10), samples).rows(draw.epoch_steps + 1).tolist() == second[1]
    assert StageSampler(planned(seed=1), StageConfig(1.0, batch=10), samples).rows(0).tolist() != first[0]


def test_a_last_batch_of_one_gets_company(tmp_path: Path) -> None:
    samples = telling(11, part="train")
    found = drawn(samples, StageConfig(1.0, batch=5))[0]
    assert sorted(found) == [1] * 10 + [2]
    run = trainer(tmp_path, planned(StageConfig(1.0, batch=5)), samples)
    run.run()  # layers that normalise over a batch cannot do with one
    assert run.step == 3


def test_only_what_has_a_label_for_a_task_is_drawn() -> None:
    nothing = np.full((6, 3), np.nan, np.float32)
    expression = nothing.copy()
    expression[:3] = labelled.onehot(np.array([0, 1, 2]), 3)
    units = np.full((6, 12), np.nan, np.float32)
    units[4, 7] = 1  # one is enough
    samples = telling(6, part="train", expression=expression, action_units=units, valence_arousal=nothing[:, :2])
    assert drawn(samples, StageConfig(1.0))[0].tolist() == [1, 1, 1, 0, 1, 0]
    only = LossConfig(valence_arousal=0.0, action_units=0.0)
    assert drawn(samples, StageConfig(1.0), loss=only)[0].tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(InputError, match="nothing to train on: made"):
        drawn(samples, StageConfig(1.0), loss=LossConfig(expression=0.0, action_units=0.0))
    with pytest.raises(InputError, match="nothing to train on"):
        drawn(samples.replaced(part=np.full(6, "validation")), StageConfig(1.0))


def sourced(*counts: int) -> Dataset:
    return join([telling(n, k, part="train", source="abc"[k]) for k, n in enumerate(counts)])


def named(*weights: float) -> tuple[DatasetSource, ...]:
    return tuple(DatasetSource("folder", Path(x), x, weight) for x, weight in zip("abc", weights, strict=False))


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.floats(0, 4), st.floats(0.1, 4)), st.integers(2, 20))
def test_sources_are_drawn_by_their_weights(weights: tuple[float, float], batch: int) -> None:
    samples = sourced(20, 30)
    stage = StageConfig(1.0, batch=batch)
    draw = StageSampler(planned(stage, sources=named(*weights)), stage, samples)
    assert draw.count == max(round(20 * weights[0] + 30 * weights[1]), 2)
    found = drawn(samples, stage, 2, sources=named(*weights))
    spare = draw.count % batch == 1  # one more, for company
    for name, weight in zip("ab", weights, strict=True):
        there = found[:, samples.source == name]
        chance = 3 * math.sqrt(there.shape[1]) / 2  # of the parts of an image
        assert (abs(there.sum(axis=1) - there.shape[1] * weight) <= chance + 1 + spare).all()
        assert (there >= math.floor(weight * 0.97)).all() and (there <= math.ceil(weight * 1.03) + spare).all()


def test_stages_draw_from_their_own_sources() -> None:
    samples = sourced(6, 7, 8)
    found = drawn(samples, StageConfig(1.0, sources=("c", "a")), sources=named(1.0, 1.0, 2.0))[0]
    assert found[samples.source == "a"].tolist() == [1] * 6
    assert found[samples.source == "b"].tolist() == [0] * 7
    assert found[samples.source == "c"].tolist() == [2] * 8
    with pytest.raises(InputError, match="weight 0"):
        drawn(samples, StageConfig(1.0, sources=("a",)), sources=named(0.0, 1.0, 1.0))
    with pytest.raises(InputError, match="only one image"):
        drawn(sourced(1, 5), StageConfig(1.0, sources=("a",)), sources=named(1.0, 1.0))


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_classes_are_balanced_by_their_share(power: float) -> None:
    classes = np.repeat([0, 1, 2, -1], [160, 40, 20, 50])
    samples = telling(270, part="train", expression=labelled.onehot(classes, 3))
    epochs = 40
    found = drawn(samples, StageConfig(1.0, balance=power), epochs)
    assert (abs(found.sum(axis=1) - 270) <= 1).all()
    share = np.array([160, 40, 20]) / 220
    weights = share[classes] ** -power
    weights[classes >= 0] /= weights[classes >= 0].mean()
    weights[classes < 0] = 1
    expected = weights * 270 / weights.sum()
    for k in (0, 1, 2, -1):
        there = found[:, classes == k].sum(axis=1)
        assert (abs(there - expected[classes == k].sum()) < 1 + 2 * math.sqrt((classes == k).sum() / 4)).all()
        assert there.mean() == pytest.approx(expected[classes == k].sum(), rel=0.05)
    if power == 1.0:
        totals = [found[:, classes == k].sum() / epochs for k in (0, 1, 2)]
        assert totals == pytest.approx([220 / 3] * 3, rel=0.06)
    # Each as often as it should be in the long run, and never twice more or less in one epoch.
    assert abs(found.mean(axis=0) - expected).max() < 0.35
    assert (abs(found - expected) < 1.001).all()


def test_labels_are_shares_or_the_majority(tmp_path: Path) -> None:
    shares = np.array([[0.5, 0.3, 0.2], [np.nan] * 3, [0.1, 0.2, 0.7]], np.float32)
    samples = telling(3, part="train", expression=shares)
    rows = np.array([2, 1, 0, 0])
    run = trainer(tmp_path, planned(), samples)
    np.testing.assert_array_equal(run.loader.labels(rows)["expression"], shares[rows])
    np.testing.assert_array_equal(run.loader.labels(rows)["action_units"], samples.action_units[rows])
    run = trainer(tmp_path, planned(loss=LossConfig(targets="majority")), samples)
    expected = [[0, 0, 1], [np.nan] * 3, [1, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(run.loader.labels(rows)["expression"], expected)


@pytest.mark.filterwarnings("error")
def test_losses_are_weighed_by_what_the_training_part_has(tmp_path: Path) -> None:
    classes = np.array([0, 0, 0, 0, 1, 1, -1, 2, 2])
    units = np.tile(np.array([1, 0, 0, 0, np.nan, 0, 0, 1, 1], np.float32)[:, None], (1, 12))
    units[:, 3], units[:, 4], units[:, 5] = np.nan, 0, 1
    part = ["train"] * 7 + ["validation"] * 2
    samples = telling(9, expression=labelled.onehot(classes, 3), action_units=units, part=part)
    run = trainer(tmp_path, planned(loss=LossConfig(class_power=1.0, balance_units=True)), samples)
    np.testing.assert_allclose(run.loss_weights["expression"], [1, 2, 4])
    # As HSEmotion's N / (2 neg) and N / (2 pos); no class has too much weight.
    expected = np.tile([[6 / 10], [6 / 2]], (1, 12))
    expected[:, 3], expected[:, 4], expected[:, 5] = (1, 1), (0.5 / 0.99, 50), (50, 0.5 / 0.99)
    np.testing.assert_allclose(run.loss_weights["action_units"], expected, rtol=1e-5)
    run = trainer(tmp_path, planned(loss=LossConfig(class_power=0.5, balance_units=False)), samples)
    np.testing.assert_allclose(run.loss_weights["expression"], [1, math.sqrt(2), 2], rtol=1e-6)
    assert set(run.loss_weights) == {"expression"}


# --- one step ---------------------------------------------------------------------------------------------------


def flat_plan(**options: Any) -> TrainingConfig:
    loss = LossConfig(valence_arousal=0.0, action_units=0.0)
    return planned(StageConfig(1.0, rate=0.1, batch=6), size=4, loss=loss, **options)


def flat_samples() -> Dataset:
    chance = np.random.default_rng(3)
    pictures = list(chance.integers(0, 256, (6, 4, 4, 3), np.uint8))
    return labelled.make(pictures, 3, expression=labelled.onehot(np.array([0, 1, 2, 0, 1, 1]), 3))


def slopes(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the mean cross-entropy of a linear layer."""
    wrong = (special.softmax(x @ weight.T + bias, axis=1) - targets) / len(x)
    return wrong.T @ x, wrong.sum(axis=0)


@pytest.mark.parametrize(("sam", "clip"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.01), (0.5, 0.01)])
def test_a_step_is_that_of_the_book(tmp_path: Path, sam: float, clip: float) -> None:
    plan = flat_plan(optimiser=OptimiserConfig("sgd", weight_decay=0.0, sam=sam, clip=clip))
    run = trainer(tmp_path, plan, flat_samples(), Flat(plan.outputs))
    batch = run.loader.batch(0)
    x, targets = batch.images.flatten(1).double().numpy(), batch.labels["expression"].double().numpy()
    layer = linear(run.network)
    weight, bias = (p.detach().double().numpy().copy() for p in (layer.weight, layer.bias))
    gradients = slopes(weight, bias, x, targets)
    length = math.sqrt(sum((g**2).sum() for g in gradients))
    if sam:
        gradients = slopes(weight + sam * gradients[0] / length, bias + sam * gradients[1] / length, x, targets)
        length = math.sqrt(sum((g**2).sum() for g in gradients))
    if clip:
        assert length > clip
        gradients = gradients[0] * clip / length, gradients[1] * clip / length
    run.run(stop_at=1)
    # The one step of the only epoch is at the highest rate.
    np.testing.assert_allclose(layer.weight.detach(), weight - 0.1 * gradients[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.bias.detach(), bias - 0.1 * gradients[1], rtol=1e-4, atol=1e-6)


def test_the_second_pass_of_a_sharp_step_leaves_statistics_alone(tmp_path: Path) -> None:
    found = []
    for sam in (0.0, 5.0):
        run = trainer(tmp_path / f"{sam}", planned(optimiser=OptimiserConfig(sam=sam)))
        before = state_of(run.network)
        run.run(stop_at=1)
        found.append({k: v for k, v in run.network.state_dict().items() if "running" in k or "tracked" in k})
        assert all(not torch.equal(value, before[name]) for name, value in found[-1].items())
        assert isinstance(last := run.network.get_submodule("last.1"), nn.BatchNorm2d) and last.track_running_stats
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name
    assert changed(trainer(tmp_path / "a", planned()).network.state_dict(), run.network.state_dict())


def test_a_sharp_step_without_a_gradient_to_speak_of_moves_nothing(tmp_path: Path) -> None:
    run = trainer(tmp_path, planned(optimiser=OptimiserConfig(sam=0.05)))
    run._set_scope("all")
    batch, before = run.loader.batch(0), state_of(run.network)
    for parameter in run.network.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)  # as float16 overflows
    run._sam_gradient(batch.images, batch.labels, 0)
    assert not changed(before, run.network.state_dict())
    for parameter in run.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    run._sam_gradient(batch.images, batch.labels, 0)
    assert not {name for name in changed(before, run.network.state_dict()) if "running" not in name}


def test_weight_decay_is_of_kernels_only(tmp_path: Path) -> None:
    for kind, expected in (("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        run = trainer(tmp_path, planned(optimiser=OptimiserConfig(kind, weight_decay=0.3)))
        assert type(run.optimiser) is expected
        decay = {id(p): group["weight_decay"] for group in run.optimiser.param_groups for p in group["params"]}
        found = {name: decay[id(parameter)] for name, parameter in run.network.named_parameters()}
        kernels = {"first.0.weight", "last.0.weight", "fc.weight"}
        assert found == {name: 0.3 if name in kernels else 0.0 for name in found}


def test_dropout_is_before_the_last_layer(tmp_path: Path) -> None:
    plan = flat_plan(dropout=0.6, optimiser=OptimiserConfig("sgd", weight_decay=0.0, clip=0.0))
    run = trainer(tmp_path, plan, flat_samples(), Flat(plan.outputs))
    seen: list[Tensor] = []
    run.network.fc.register_forward_pre_hook(lambda _, values: seen.append(values[0].detach()))
    run.run(stop_at=1)
    given_values = run.loader.batch(0).images.flatten(1)
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0][kept], given_values[kept] / 0.4)
    assert 0.25 < kept.float().mean() < 0.55
    assert run.predict(np.arange(6)).shape == (6, 3)
    assert all(torch.equal(values != 0, values == values) for values in seen[1:])  # none where it is measured


def test_a_loss_that_is_no_number_is_reported(tmp_path: Path) -> None:
    run = trainer(tmp_path, planned())
    with torch.no_grad():
        linear(run.network).bias[0] = torch.nan
    with pytest.raises(ModelUnavailable, match="tiny: the loss is nan at step 0; use a lower rate"):
        run.run()
    assert not (tmp_path / CHECKPOINT).exists()
    # A rate that is far too high makes it so by itself, and what was kept before is still good.
    run = trainer(tmp_path, planned(StageConfig(4.0, rate=1e25, batch=16), optimiser=OptimiserConfig("sgd", clip=0.0)))
    with pytest.raises(ModelUnavailable, match="use a lower rate"):
        run.run()
    # Also where an epoch ends right after the step that did it.
    run = trainer(
        tmp_path / "b",
        planned(StageConfig(4.0, rate=1e38, batch=99), optimiser=OptimiserConfig("sgd", clip=0.0), average=0),
    )
    with pytest.raises(ModelUnavailable, match="tiny: outputs are not finite at step 1; use a lower rate"):
        run.run()
    assert not (tmp_path / "b" / CHECKPOINT).exists()


# --- what is trained --------------------------------------------------------------------------------------------

SCOPES = {"head": {"fc"}, "head and pooling": {"fc", "last"}, "all": {"fc", "last", "first"}}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("sam", [0.0, 0.05])
def test_a_scope_changes_its_own_weights_only(tmp_path: Path, scope: str, sam: float) -> None:
    plan = planned(StageConfig(2.0, batch=16, scope=scope), optimiser=OptimiserConfig(weight_decay=0.1, sam=sam))
    run = trainer(tmp_path, plan)
    before = state_of(run.network)
    run.run()
    for after in (run.network.state_dict(), run.average.state):
        expected = {name for name in before if name.partition(".")[0] in SCOPES[scope]}
        assert changed(before, after) == expected


def test_a_scope_ends_with_its_stage(tmp_path: Path) -> None:
    plan = planned(*(StageConfig(1.0, batch=16, scope=scope) for scope in ("all", "head", "head and pooling")))
    run = trainer(tmp_path, plan)
    states = [state_of(run.network)]
    for end in run.sampler.ends:
        run.run(stop_at=int(end))
        states.append(state_of(run.network))
    for (before, after), scope in zip(itertools.pairwise(states), ("all", "head", "head and pooling"), strict=True):
        assert {name.partition(".")[0] for name in changed(before, after)} == SCOPES[scope]


def test_a_network_without_pooling_has_no_such_scope(tmp_path: Path) -> None:
    plan = planned(StageConfig(1.0), StageConfig(1.0, scope="head and pooling"), size=4)
    with pytest.raises(UsageError, match="no such layer; choose all or head"):
        trainer(tmp_path, plan, flat_samples(), Flat(plan.outputs))


def test_attention_maps_are_driven_apart(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    samples = labelled.make(list(chance.integers(0, 256, (4, 48, 48), np.uint8)), 3, expression=np.eye(3)[[0, 1, 2, 0]])
    found = {}
    torch.manual_seed(0)
    start = state_of(DDAMFN(17, size=48))
    for weight in (0.0, 1.0):
        plan = planned(StageConfig(3.0, rate=1e-3, batch=4), size=48, loss=LossConfig(attention=weight))
        network = DDAMFN(17, size=48)
        network.load_state_dict(start)
        run = trainer(tmp_path / f"{weight}", plan, samples, network)
        run._set_scope("all")
        batch, likeness = run.loader.batch(0), []
        for step in range(3):
            parts = run._train_step(batch, 1e-3, step)
            assert ("attention" in parts) == bool(weight)
            with torch.no_grad():
                likeness.append(losses.attention_similarity(network.attend(batch.images)[1]).item())
            total = sum(value for name, value in parts.items() if name != "loss")
            assert parts["loss"] == pytest.approx(total, rel=1e-5)
        found[weight] = likeness
    assert found[1.0][-1] < 0.8 * found[0.0][-1]
    # Other networks have no such maps.
    run = trainer(tmp_path / "tiny", planned(loss=LossConfig(attention=1.0)))
    run._set_scope("all")
    assert "attention" not in run._train_step(run.loader.batch(0), 1e-3, 0)


# --- averages and the best --------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.999])
def test_the_average_is_exponential(tmp_path: Path, decay: float) -> None:
    run = trainer(tmp_path, planned(StageConfig(4.0, batch=8), average=decay))
    expected = {name: value.double().numpy().copy() for name, value in run.network.state_dict().items()}

    def follow(step: int, steps: int, parts: dict[str, float]) -> None:
        kept = min(decay, step / (9 + step))  # little of the random start
        for name, value in run.network.state_dict().items():
            share = kept if value.dtype.is_floating_point else 0.0
            expected[name] = share * expected[name] + (1 - share) * value.double().numpy()

    run.run(follow)
    for name, value in run.average.state.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)
    assert bool(changed(state_of(run.network), run.average.state)) == bool(decay)
    result = run.result()
    assert not changed(run.average.state, result.state_dict())
    assert not result.training


def test_measuring_leaves_a_run_as_it_was(tmp_path: Path) -> None:
    run = trainer(tmp_path, planned(average=0.5))
    run.run(stop_at=2)
    weights, modes = state_of(run.network), [module.training for module in run.network.modules()]
    rows = run.dataset.rows("validation")
    own, averaged = run.predict(rows, averaged=False), run.predict(rows, averaged=True)
    assert not changed(weights, run.network.state_dict())
    assert [module.training for module in run.network.modules()] == modes
    assert abs(own - averaged).max() > 1e-4
    images = torch.from_numpy(run.augmenter.batch(run.dataset, rows))
    run.network.eval()
    with torch.no_grad():
        np.testing.assert_allclose(run.network(images)[0], own, atol=1e-5)
    assert infer(run.network, run.augmenter, run.dataset, rows[:0]).shape == (0, run.network.outputs)


def with_figures(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    told = iter(scores)
    monkeypatch.setattr(
        Trainer, "measure", lambda self, part, averaged: EvaluationFigures(expression={"f1": next(told), "accuracy": 0})
    )


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 3)])
def test_the_best_epoch_is_kept_if_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, epoch: int
) -> None:
    plan = planned(StageConfig(4.0, batch=16), keep=keep, average=0.5)
    run = trainer(tmp_path, plan)
    with_figures(monkeypatch, [0.3, 0.9, 0.9, 0.2])
    averages: list[dict[str, Tensor]] = []
    for k in range(4):
        run.run(stop_at=(k + 1) * run.sampler.stages[0].epoch_steps)
        averages.append({name: value.clone() for name, value in run.average.state.items()})
        if k == 2:  # also when the run went on after a stop
            run = trainer(tmp_path, plan, network=tiny(plan, seed=9))
            assert run.best == (0.9 if keep == "best" else -math.inf)
    assert len({str(a["fc.bias"]) for a in averages}) == 4
    network = run.result()
    assert not changed(averages[epoch], network.state_dict())
    # What is fitted and reported afterwards is of the network that is kept.
    rows = run.dataset.rows("validation")
    np.testing.assert_array_equal(run.predict(rows), infer(network, run.augmenter, run.dataset, rows))


def test_the_best_needs_a_criterion(tmp_path: Path) -> None:
    samples = telling(20, part="train")
    with pytest.raises(InputError, match="keep = 'best'"):
        trainer(tmp_path, planned(keep="best"), samples)
    run = trainer(tmp_path, planned(keep="last"), samples)
    run.run()
    assert set(run.log[-1]) >= {"epoch", "loss"}


@given(alpha=st.floats(0.05, 5.0), seed=st.integers(0, 2**32 - 1), count=st.integers(1, 9))
def test_images_and_labels_are_mixed_alike(alpha: float, seed: int, count: int) -> None:
    """Labels that can be read off the image can be read off the mixture; each is above all itself."""
    chance = np.random.default_rng(seed)
    own = torch.from_numpy(chance.random((count, 3)).astype(np.float32))
    lacking = own.clone()
    lacking[chance.random(count) < 0.4] = torch.nan
    images = own[:, :, None, None].repeat(1, 1, 2, 2)
    found = mix_up(Batch(images, {"a": own, "b": lacking}), alpha, np.random.default_rng(seed))
    torch.testing.assert_close(found.images[:, :, 1, 0], found.labels["a"])
    apart = (found.labels["a"][:, None] - own[None]).norm(dim=2)
    between = (own[:, None] - own[None]).norm(dim=2)
    # On the way to another image, and never past the middle.
    assert all((apart[k] + apart[k, k] <= between[k] + 1e-5).any() or apart[k, k] < 1e-5 for k in range(count))
    assert (apart.diagonal() <= between.max(dim=1).values / 2 + 1e-5).all()
    told = ~found.labels["b"].isnan()
    torch.testing.assert_close(found.labels["b"][told], found.labels["a"][told])
    assert found.labels["b"][lacking.isnan()].isnan().all()


def test_mixing_shows_in_what_is_trained_on(tmp_path: Path) -> None:
    samples = telling(30)
    plain = trainer(tmp_path / "plain", planned(augmentation=STILL), samples).loader.batch(0)
    mixing = planned(augmentation=replace(STILL, mixup=1.0))
    mixed = trainer(tmp_path / "mixed", mixing, samples).loader.batch(0)
    assert set(np.unique(plain.labels["expression"].numpy())) == {0, 1}
    assert ((mixed.labels["expression"] > 0) & (mixed.labels["expression"] < 1)).any()
    assert not torch.equal(mixed.images, plain.images)


# --- going on ---------------------------------------------------------------------------------------------------


def busy() -> TrainingConfig:
    """All that a step can depend on: chance in images, order and dropout, averages, momenta, statistics, stages."""
    return planned(
        StageConfig(1.5, rate=3e-3, batch=7, scope="head"),
        StageConfig(3.4, rate=3e-3, batch=8, balance=0.5),
        augmentation=replace(LIVELY, erase=0.5, noise=0.1, mixup=0.3),
        optimiser=OptimiserConfig("adamw", weight_decay=0.02, sam=0.05),
        dropout=0.3,
        average=0.9,
        keep="best",
        seed=5,
    )


def some(plan: TrainingConfig, folder: Path) -> Tiny:
    """The network of the plan's seed; where there is a checkpoint, any other must do as well."""
    return tiny(plan, time.time_ns() % 1000 if (folder / CHECKPOINT).exists() else 0)


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def content(folder: Path) -> dict[str, Any]:
    kept = torch.load(folder / CHECKPOINT, weights_only=True)
    kept["log"], kept["seconds"] = without_time(kept["log"]), 0.0
    rows = without_time(logged_in(folder))
    return {"checkpoint": kept, "rows": rows, "best": torch.load(folder / "best.pt", weights_only=True)}


def same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}/{k}")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def test_a_run_that_was_stopped_at_any_step_goes_on_exactly(tmp_path: Path) -> None:
    plan, samples = busy(), telling(60, missing=0.3)
    whole = trainer(tmp_path / "whole", plan, samples)
    whole.run()
    often = replace(plan, checkpoint=1e-9)  # how often is no part of the plan's identity
    for _ in range(2):
        for step in range(1, whole.steps + 3, 3):
            part = trainer(tmp_path / "parts", often, samples, some(plan, tmp_path / "parts"))
            assert part.step == max(step - 3, 0) or part.step == whole.steps
            part.run(stop_at=step)
    assert part.step == whole.steps
    same(content(tmp_path / "parts"), content(tmp_path / "whole"))
    assert not changed(part.result().state_dict(), whole.result().state_dict())
    assert part.seconds > 0


def child(folder: Path, plan: TrainingConfig, samples: Dataset, kill: Callable[[Trainer], Any], pause: float) -> None:
    """One start of a run, in a process of its own; ``kill`` arranges for its end."""
    run = trainer(folder, plan, samples, some(plan, folder))
    progress = kill(run)

    def wait(step: int, steps: int, parts: dict[str, float]) -> None:
        time.sleep(pause)
        if progress:
            progress(step)

    run.run(wait)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(wanted: int) -> Callable[[Trainer], Any]:
    def watch(step: int) -> None:
        if step == wanted:
            die()

    return lambda run: watch


def while_writing(name: str, count: int) -> Callable[[Trainer], Any]:
    """In the middle of the n-th writing of a file."""

    def arrange(run: Trainer) -> None:
        left, plain = [count], checkpoint.atomic_file

        @contextlib.contextmanager
        def broken(path: Path) -> Iterator[IO[bytes]]:
            left[0] -= path.name == name
            with plain(path) as file:
                if left[0] == 0 and path.name == name:
                    file.write(b"PK\3\4 half of it")
                    file.flush()
                    die()
                yield file

        checkpoint.atomic_file = broken

    return arrange


def at_naming(name: str, count: int, *, before: bool) -> Callable[[Trainer], Any]:
    """Right before or after a file gets its name for the n-th time."""

    def arrange(run: Trainer) -> None:
        left, plain = [count], os.replace

        def broken(source: Path, target: Path) -> None:
            left[0] -= Path(target).name == name
            now = left[0] == 0 and Path(target).name == name
            if now and before:
                die()
            plain(source, target)
            if now:
                die()

        atomic_files.os.replace = broken  # type: ignore[assignment]

    return arrange


def nothing(run: Trainer) -> None:
    return None


def driver(root: Path) -> None:
    """Run once without and once with many violent ends, each start in a forked process that dies for good."""
    torch.set_num_threads(1)
    plan, samples, chance = busy(), telling(60, missing=0.3), random.Random(1)
    often = replace(plan, checkpoint=1e-9)

    def start(
        folder: Path, todo: TrainingConfig, kill: Callable[[Trainer], Any], pause: float = 0.0, after: float = 0.0
    ) -> int:
        process = os.fork()
        if process == 0:
            try:
                child(folder, todo, samples, kill, pause)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if after:
            time.sleep(after)
            os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        return os.waitstatus_to_exitcode(status)

    for _ in range(2):  # what torch loads when it is first used is then there for all that follow
        trainer(root / "warm", often, samples).run(stop_at=1)
    assert start(root / "whole", plan, nothing) == 0
    ends = [
        (plan, at_step(4)),  # before anything was kept
        (plan, while_writing(CHECKPOINT, 1)),
        (plan, at_naming("best.pt", 1, before=False)),
        (plan, at_naming(LOG, 1, before=False)),
        (plan, at_naming(CHECKPOINT, 1, before=True)),
        (plan, at_naming(CHECKPOINT, 1, before=False)),
        (plan, at_step(8)),
        (often, at_step(10)),
        (often, while_writing(CHECKPOINT, 2)),
        (often, while_writing(LOG, 1)),
        (often, at_naming(CHECKPOINT, 3, before=False)),
    ]
    for todo, kill in ends:
        assert start(root / "killed", todo, kill) == -signal.SIGKILL
    for _ in range(3):
        found = start(root / "killed", often, nothing, pause=0.1, after=chance.uniform(0.1, 0.5))
        assert found == -signal.SIGKILL
    assert start(root / "killed", plan, nothing) == 0
    assert start(root / "killed", plan, nothing) == 0  # nothing more to do


@pytest.mark.posix
def test_a_run_that_was_killed_goes_on_exactly(tmp_path: Path) -> None:
    script = "import sys, pathlib, test_finetune; test_finetune.driver(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    same(content(tmp_path / "killed"), content(tmp_path / "whole"))
    assert (
        content(tmp_path / "whole")["checkpoint"]["step"]
        == trainer(tmp_path / "new", busy(), telling(60, missing=0.3)).steps
    )


def test_a_folder_is_of_one_plan_and_one_set_of_samples(tmp_path: Path) -> None:
    plan = planned(StageConfig(1.0, batch=16))
    run = trainer(tmp_path, plan)
    run.run()
    assert trainer(tmp_path, plan).step == run.steps
    before = (tmp_path / CHECKPOINT).read_bytes()
    for other, samples in (
        (replace(plan, seed=1), telling(60)),
        (replace(plan, stages=(StageConfig(2.0, batch=16),)), telling(60)),
        (replace(plan, augmentation=LIVELY), telling(60)),
        (plan, telling(61)),
        (plan, telling(60, seed=1)),  # as many, but others
    ):
        with pytest.raises(InputError) as raised:
            trainer(tmp_path, other, samples)
        assert str(raised.value).startswith(
            f"{tmp_path / CHECKPOINT}: this checkpoint belongs to another plan or other samples"
        )
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    moved = replace(plan, sources=(replace(plan.sources[0], path=Path("/elsewhere/made")),), checkpoint=9.0)
    assert trainer(tmp_path, moved).step == run.steps


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("hostile"),))


def test_a_checkpoint_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned(StageConfig(1.0, batch=16))
    trainer(tmp_path, plan).run()
    good = (tmp_path / CHECKPOINT).read_bytes()
    torch.save({"plan": Hostile()}, tmp_path / "hostile.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"plan": plan.digest()}, tmp_path / "part.pt")
    bad = [(tmp_path / name).read_bytes() for name in ("hostile.pt", "list.pt", "part.pt")]
    for wrong in (*bad, b"", b"text", good[:-50], good[: len(good) // 2]):
        (tmp_path / CHECKPOINT).write_bytes(wrong)
        with pytest.raises(InputError) as raised:
            trainer(tmp_path, plan)
        assert str(raised.value).startswith(f"{tmp_path / CHECKPOINT}: the checkpoint cannot be read (")
        assert "delete it to start over" in str(raised.value)
    assert not (tmp_path / "hostile").exists()


@pytest.mark.linux
@pytest.mark.parametrize("name", [LOG, "best.pt", CHECKPOINT])
def test_a_full_disk_is_reported_and_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plan = planned(StageConfig(2.0, batch=16), keep="best")
    run = trainer(tmp_path, plan)
    run.run(stop_at=run.sampler.stages[0].epoch_steps)
    before = (tmp_path / CHECKPOINT).read_bytes()
    plain = os.fsync

    def full(handle: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(28, "No space left on device")
        plain(handle)

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with_figures(monkeypatch, [2.0])
    with pytest.raises(OutputError, match=name):
        run.run()
    monkeypatch.undo()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    again = trainer(tmp_path, plan)
    again.run()
    assert again.step == again.steps
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, LOG, "best.pt"}


def test_a_start_is_used_once(tmp_path: Path) -> None:
    given_network = Tiny(4)
    save_file(
        {name: value.contiguous() for name, value in given_network.state_dict().items()}, tmp_path / "a.safetensors"
    )
    plan = planned(StageConfig(1.0, batch=16), start=tmp_path / "a.safetensors")
    run = trainer(tmp_path / "run", plan)
    own = {name: value for name, value in run.network.state_dict().items() if not name.startswith("fc.")}
    assert not changed(own, {name: given_network.state_dict()[name] for name in own})
    assert not changed(run.network.state_dict(), run.average.state)
    run.run()
    begun = {"file": "a.safetensors", "sha256": hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()}
    (tmp_path / "a.safetensors").unlink()
    again = trainer(tmp_path / "run", plan)
    assert not changed(again.network.state_dict(), run.network.state_dict())
    assert run.origin == again.origin == begun
    assert trainer(tmp_path / "none", replace(plan, start=None)).origin is None
    with pytest.raises(ModelUnavailable, match=r"a\.safetensors: cannot be read \(No such file"):
        trainer(tmp_path / "new", plan)


def test_the_last_layer_is_fitted_again_on_the_final_embeddings(tmp_path: Path) -> None:
    sources = tuple(DatasetSource("folder", Path(name), name, weight) for name, weight in (("made", 1.0), ("web", 3.0)))
    samples = telling(200, missing=0.3, source=np.array(["made", "web"] * 100))
    plain = planned(StageConfig(1.0, batch=16), sources=sources)
    run = trainer(tmp_path / "plain", plain, samples)
    run.run()
    before = state_of(run.result())
    config = RefitConfig(weight_decay=1e-3, class_power=0.5)
    run = trainer(tmp_path / "again", replace(plain, refit=config), samples)
    run.run()
    network = run.result()
    after = state_of(network)
    assert changed(before, after) == {"fc.weight", "fc.bias"}
    assert torch.equal(before["fc.weight"][3:5], after["fc.weight"][3:5])  # valence and arousal

    rows = samples.rows("train")
    with torch.no_grad():
        seen = network.embed(torch.from_numpy(run.augmenter.batch(samples, rows))).numpy()
    weights = np.where(samples.source[rows] == "web", 3.0, 1.0)
    shares, units = samples.expression[rows], samples.action_units[rows]
    labelled, coded = (~np.isnan(labels).any(axis=1) for labels in (shares, units))
    assert 60 < labelled.sum() < 130
    assert 0 < (labelled & coded).sum() < coded.sum()
    kernel, bias = fit_last_layer(seen[labelled], shares[labelled], weights[labelled], config)
    torch.testing.assert_close(after["fc.weight"][:3].double(), kernel, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after["fc.bias"][:3].double(), bias, atol=1e-3, rtol=1e-3)
    shared = class_weighted(shares, weights, config)[coded]
    kernel, bias = fit_action_units(seen[coded], units[coded], shared, config)
    torch.testing.assert_close(after["fc.weight"][5:].double(), kernel, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after["fc.bias"][5:].double(), bias, atol=1e-3, rtol=1e-3)

    assert not changed(state_of(run.result()), after)  # once is enough
    held_out = samples.rows("validation")
    np.testing.assert_allclose(run.predict(held_out), infer(network, run.augmenter, samples, held_out), atol=1e-5)


def test_a_start_has_its_share_in_what_is_kept(tmp_path: Path) -> None:
    given_network = Tiny(17)
    weights = {name: value.contiguous() for name, value in given_network.state_dict().items()}
    save_file(weights, tmp_path / "a.safetensors")
    plain = planned(StageConfig(1.0, batch=16), start=tmp_path / "a.safetensors")
    shared = replace(plain, start_share=0.25)
    run = trainer(tmp_path / "plain", plain)
    run.run()
    trained = state_of(run.result())
    run = trainer(tmp_path / "shared", shared)
    run.run(stop_at=1)
    run.write_checkpoint()
    save_file({name: value + 1 for name, value in weights.items()}, tmp_path / "a.safetensors")  # what it was, counts
    run = trainer(tmp_path / "shared", shared, network=tiny(shared, seed=9))  # also when the run went on after a stop
    run.run()
    kept = state_of(run.result())
    assert changed(weights, trained)
    for name, value in kept.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.25 * weights[name] + 0.75 * trained[name])
    rows = run.dataset.rows("validation")
    np.testing.assert_array_equal(run.predict(rows), infer(run.result(), run.augmenter, run.dataset, rows))
    weights.pop("fc.weight")
    save_file(weights, tmp_path / "a.safetensors")
    with pytest.raises(ModelUnavailable, match=r"a\.safetensors: it lacks 1 of .*\(fc\.weight, .*start_share"):
        trainer(tmp_path / "lacking", shared)
    assert not changed(trained, state_of(trainer(tmp_path / "plain", plain).result()))


# --- the network ------------------------------------------------------------------------------------------------


def test_a_network_has_the_weights_of_its_seed() -> None:
    plan = planned(architecture="mobilefacenet_first_48", size=48)
    one, other = make_network(plan), make_network(plan)
    assert one.outputs == plan.outputs == 17
    assert not changed(one.state_dict(), other.state_dict())
    assert changed(one.state_dict(), make_network(replace(plan, seed=1)).state_dict())


@pytest.mark.parametrize(
    ("architecture", "size", "words"),
    [
        ("resnet", 112, "architecture = 'resnet': choose from ddamfn"),
        ("mobilefacenet_first", 48, "size = 48: mobilefacenet_first does not accept"),
        ("mobilefacenet_first_48", 112, "size = 112"),
        ("mobilefacenet", 96, "size = 96"),
    ],
)
def test_a_network_that_there_is_not(architecture: str, size: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_network(planned(architecture=architecture, size=size))
