"""Choosing blend weights from saved scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from hsemotion_cli.evaluation.calibration import WEIGHTS, choose_weight
from hsemotion_cli.models import registry
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import blend, weighted_mean
from hsemotion_cli.timeline import Timeline

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)


def noisy(truth: np.ndarray, noise: float, classes: int = 9) -> np.ndarray:
    """(n, classes) probabilities around a truth."""
    logits = 3 * np.eye(classes)[truth] + noise * RNG.normal(size=(len(truth), classes))
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_better_model_gets_more_and_a_useless_one_nothing() -> None:
    truth = RNG.integers(0, 8, 3000)
    good, bad, useless = noisy(truth, 1.5), noisy(truth, 4.0), noisy(RNG.permutation(truth), 0.1)
    assert choose_weight(good, useless, truth, "expression") >= 0.9
    assert choose_weight(useless, good, truth, "expression") <= 0.1
    assert 0.5 < choose_weight(good, bad, truth, "expression") < 1
    values = RNG.uniform(-1, 1, (2000, 2))
    near, far = values + 0.1 * RNG.normal(size=values.shape), values + 0.6 * RNG.normal(size=values.shape)
    assert choose_weight(near, far, values, "valence_arousal") >= 0.8
    assert choose_weight(far, near, values, "valence_arousal") <= 0.2


def test_the_weight_is_the_best_of_the_grid_by_another_library() -> None:
    truth = RNG.integers(0, 8, 400)
    first, second = noisy(truth, 2.5), noisy(truth, 2.5)

    def score(weight: float) -> float:
        label = (weight * first + (1 - weight) * second).argmax(axis=1)
        f1 = f1_score(truth, label, labels=range(9), average="macro", zero_division=0)
        return float(accuracy_score(truth, label) + f1)

    chosen = choose_weight(first, second, truth, "expression")
    assert score(chosen) == pytest.approx(max(score(weight) for weight in WEIGHTS), abs=1e-12)


def test_of_equal_weights_the_most_even_one_is_taken() -> None:
    truth = RNG.integers(0, 8, 50)
    scores = noisy(truth, 0.1)
    assert choose_weight(scores, scores, truth, "expression") == 0.5


def test_no_other_task() -> None:
    with pytest.raises(ValueError, match="action_units"):
        choose_weight(np.zeros((2, 12)), np.zeros((2, 12)), np.zeros((2, 12)), "action_units")


@given(st.floats(0, 1), st.lists(st.sampled_from(["both", "first", "second", "neither"]), min_size=1, max_size=8))
def test_it_blends_as_annotating_does(weight: float, known: list[str]) -> None:
    first, second = (RNG.uniform(-1, 1, (len(known), 2)).astype(np.float32) for _ in range(2))
    first[[k in ("second", "neither") for k in known]] = np.nan
    second[[k in ("first", "neither") for k in known]] = np.nan
    n = len(known)
    scores = {"a": {"valence_arousal": first}, "b": {"valence_arousal": second}}
    timeline = Timeline(
        np.arange(n), np.arange(n) / 25, np.arange(n), np.zeros(n, int), np.ones(n, np.float32),
        np.zeros((n, 4), np.float32), scores,
    )  # fmt: skip
    recipe = replace(Recipe.of("mp-blendshapes"), models=("a", "b"), blend={"valence_arousal": weight})
    np.testing.assert_allclose(weighted_mean(first, second, weight), blend(timeline, recipe, "valence_arousal"))


def test_the_default_is_what_was_chosen() -> None:
    usual = Recipe.usual()
    for name in usual.models:
        assert registry.card(name)
    chosen = json.loads((ROOT / "docs" / "models" / "embedded.json").read_text())["default"]
    assert list(usual.models) == chosen["models"]
    assert dict(usual.blend) == chosen["blend"]
