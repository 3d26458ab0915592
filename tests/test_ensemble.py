"""Several heads on one network: the mean of their scores, and their disagreement as uncertainty."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.errors import UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.models import heads, registry
from hsemotion_cli.models.ensemble import average, check_members, distance
from hsemotion_cli.models.heads import Base, Head, Part
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import blend
from hsemotion_cli.postprocess.uncertainty import uncertainties
from hsemotion_cli.tasks import ACTION_UNITS, DISAGREEMENT, TASKS, VALENCE_AROUSAL
from hsemotion_cli.timeline import Timeline

MODEL = "mp-blendshapes"
CLASSES = {"expression": AFFWILD2_EXPRESSIONS, "valence_arousal": VALENCE_AROUSAL, "action_units": ACTION_UNITS}
LAST = {"expression": "softmax", "valence_arousal": "tanh", "action_units": "sigmoid"}


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def member(seed: int, size: int = 52, spread: float = 1.0, tasks: tuple[str, ...] = tuple(TASKS)) -> Head:
    """Heads that share most of their weights."""
    common, own = np.random.default_rng(99), np.random.default_rng(seed)
    parts = {}
    for task, classes in CLASSES.items():
        shape = (len(classes), size)
        weight = common.normal(0, 0.3, shape) + own.normal(0, 0.3 * spread, shape)
        parts[task] = Part("features", LAST[task], classes, ((weight, np.zeros(len(classes))),))
    thresholds = dict.fromkeys(ACTION_UNITS, 0.4 + 0.1 * seed)
    base = Base(MODEL, registry.card(MODEL).sha256, None, size, 0)
    return Head(f"m{seed}", str(seed), "unitask", base, {t: parts[t] for t in tasks}, {"thresholds": thresholds})


def test_an_ensemble_is_the_mean_of_its_members_and_their_mean_distance() -> None:
    members = [member(k) for k in range(3)]
    values = np.random.default_rng(0).normal(0, 1, (7, 52))
    values[3] = np.nan
    found = average(members, values, None)
    each = [head(values, None) for head in members]
    for task in TASKS:
        np.testing.assert_allclose(found[task], np.mean([one[task] for one in each], axis=0), atol=1e-6)
    for row in (0, 6):
        pairs = [(0, 1), (0, 2), (1, 2)]
        p = [one["expression"][row][[0, 1, 2, 3, 4, 5, 6, 8]].astype(float) for one in each]
        va = [one["valence_arousal"][row].astype(float) for one in each]
        au = [one["action_units"][row].astype(float) for one in each]
        expected = [
            np.mean([np.abs(p[i] - p[j]).sum() / 2 for i, j in pairs]),
            np.mean([np.linalg.norm(va[i] - va[j]) for i, j in pairs]),
            np.mean([np.abs(au[i] - au[j]).mean() for i, j in pairs]),
        ]
        np.testing.assert_allclose(found[DISAGREEMENT][row], expected, atol=1e-6)
    assert all(np.isnan(scores[3]).all() for scores in found.values())
    assert DISAGREEMENT not in average(members[:1], values, None)


def a_line(scores: dict[str, np.ndarray]) -> Timeline:
    n = len(scores["expression"])
    rows = np.arange(n)
    box = np.tile(np.array([0, 0, 9, 9], np.float32), (n, 1))
    return Timeline(rows, rows / 25, rows, np.zeros(n, np.int64), np.ones(n, np.float32), box, {MODEL: scores})


def test_uncertainty_rises_where_the_members_disagree() -> None:
    """The same mean scores; only the disagreement differs."""
    values = np.random.default_rng(1).normal(0, 1, (40, 52))
    found = average([member(k) for k in range(4)], values, None)
    recipe = Recipe((MODEL,), thresholds=dict.fromkeys(ACTION_UNITS, 0.5))
    without = a_line({task: scores for task, scores in found.items() if task != DISAGREEMENT})
    none, full = np.zeros_like(found[DISAGREEMENT]), np.full_like(found[DISAGREEMENT], 0.5)
    results = []
    for line in (a_line({**found, DISAGREEMENT: none}), a_line({**found, DISAGREEMENT: full}), without):
        blended = {task: blend(line, recipe, task) for task in TASKS}
        results.append(uncertainties(line, recipe, blended))
    for column, low in results[0].items():
        np.testing.assert_allclose(results[1][column], 1 - (1 - low) * 0.5, atol=1e-12)
        np.testing.assert_array_equal(results[2][column], low)  # members that agree say nothing more


def test_the_distance_ignores_classes_that_one_lacks() -> None:
    one, other = np.full((2, 9), 1 / 9), np.full((2, 9), np.nan)
    other[0, :8] = [0.5, 0.5, 0, 0, 0, 0, 0, 0]
    expected = (np.abs(one[0, :8] - other[0, :8]).sum()) / 2
    found = distance("expression", one, other)
    assert found[0] == pytest.approx(expected) and np.isnan(found[1])


def test_heads_that_cannot_be_averaged_are_refused() -> None:
    check_members([member(0), member(1)])
    with pytest.raises(UsageError, match="same tasks and classes"):
        check_members([member(0), member(1, tasks=("expression",))])
    with pytest.raises(UsageError, match="the same head"):
        check_members([member(0), member(0)])
    other = replace(member(1), base=replace(member(1).base, sha256="ab"))
    with pytest.raises(UsageError, match="same weights"):
        check_members([member(0), other])


def test_annotating_with_three_heads(smile: Path, tmp_path: Path) -> None:
    given = []
    for k in range(3):
        heads.write(member(k), tmp_path / f"m{k}.safetensors", "a page")
        given += ["--head", tmp_path / f"m{k}.safetensors"]
    run("annotate", smile, "-o", tmp_path / "three", "-q", *given)
    run("annotate", smile, "-o", tmp_path / "one", "-q", *given[:2])
    three, one = (pd.read_csv(tmp_path / name / "smile.csv") for name in ("three", "one"))
    raw = raw_scores.read(tmp_path / "three" / "smile.raw.npz").scores[MODEL]
    np.testing.assert_allclose(three["p_other"], raw["expression"][:, 8], atol=1e-6)
    assert (raw[DISAGREEMENT] > 0).all() and three["uncertainty_expression"].notna().all()
    assert not np.allclose(three["uncertainty_va"], one["uncertainty_va"], atol=1e-3)
    told = json.loads((tmp_path / "three" / "smile.json").read_text())
    assert [head["name"] for head in told["models"][0]["heads"]] == ["m0", "m1", "m2"]
    assert told["recipe"]["thresholds"]["AU12"] == pytest.approx(0.5)
    run("smooth", tmp_path / "three" / "smile.csv", "-o", tmp_path / "again", "-q")
    assert (tmp_path / "again" / "smile.csv").read_bytes() == (tmp_path / "three" / "smile.csv").read_bytes()


def test_members_are_trained_with_their_own_seeds(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from test_heads import lists, make

    make(tmp_path, videos=4, frames=40)
    out = tmp_path / "h.safetensors"
    options = ["--tasks", "expression", "--epochs", "2", "--members", "2", "-q"]
    run("train", "heads", tmp_path / "features", "-o", out, *lists(tmp_path), *options)
    run("train", "heads", tmp_path / "features", "-o", tmp_path / "s1.safetensors", *lists(tmp_path), *options[:4],
        "--seed", "1", "-q")  # fmt: skip
    assert not out.exists()
    one, two = (heads.read(tmp_path / f"h-{k}.safetensors") for k in (1, 2))
    check_members([one, two])
    assert [head.facts["plan"]["seed"] for head in (one, two)] == [0, 1]
    alone = heads.read(tmp_path / "s1.safetensors").parts["expression"].layers[0][0]
    np.testing.assert_array_equal(two.parts["expression"].layers[0][0], alone)
