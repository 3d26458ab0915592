"""The confidence gate: where a frozen network is sure, its expressions count instead of those of its head."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tune import ONE, as_list, labels, line, sk_score, write
from typer.testing import CliRunner

from hsemotion_cli.abaw.grid_search import tune
from hsemotion_cli.abaw.predictions import find
from hsemotion_cli.abaw.search_space import Grid
from hsemotion_cli.abaw.tuning_data import gather
from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.models import heads, registry
from hsemotion_cli.models.heads import Base, Head, Part
from hsemotion_cli.postprocess.gate import gated
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import refine
from hsemotion_cli.tasks import EXPRESSIONS, FROZEN
from hsemotion_cli.timeline import Timeline

GRID = Grid(sigmas=(), deltas=(1,), gates=(0.5, 0.7, 0.9))
CONTEMPT, OTHER = EXPRESSIONS.index("contempt"), EXPRESSIONS.index("other")


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def certain(label: int, probability: float) -> np.ndarray:
    """One row of a network with AffectNet's classes, which gives ``probability`` to one of Aff-Wild2's seven."""
    row = np.full(9, (1 - probability) / 7)
    row[EXPRESSIONS.index(AFFWILD2_EXPRESSIONS[label])], row[OTHER] = probability, np.nan
    return row


def planted(truth: Annotations, seed: int, *, calibrated: bool) -> dict[str, np.ndarray]:
    """A head that is right half of the time, and a frozen network that is sure in a third of the frames.

    ``calibrated``: whether it is right there; otherwise it is sure of anything.
    """
    random = np.random.default_rng(seed)
    head, frozen = np.full((2, len(truth.frames), 9), np.nan)
    for k, label in enumerate(truth.expression):
        guess = label if label >= 0 and random.random() < 0.5 else random.integers(8)
        head[k] = 0.4 / 7
        head[k, EXPRESSIONS.index(AFFWILD2_EXPRESSIONS[guess])], head[k, CONTEMPT] = 0.6, np.nan
        right = calibrated and 0 <= label < 7
        sure = random.random() < 1 / 3
        probability = random.uniform(0.75, 0.89) if sure and (right or not calibrated) else 0.45
        frozen[k] = certain(label if right and sure else int(random.integers(7)), probability)
    return {"expression": head.astype(np.float32), FROZEN: frozen.astype(np.float32)}


def tables(folder: Path, *, calibrated: bool) -> dict[str, Annotations]:
    truth = {f"v{k}": labels(f"v{k}", 120, k) for k in range(6)}
    for k, (name, found) in enumerate(truth.items()):
        write(folder, name, line(found, {ONE: planted(found, 50 + k, calibrated=calibrated)}, seed=k))
    return truth


@given(st.integers(0, 10**6), st.floats(0.5, 0.99))
def test_each_row_is_the_heads_or_the_networks_own(seed: int, gate: float) -> None:
    random = np.random.default_rng(seed)
    head, frozen = random.dirichlet(np.full(9, 0.3), (2, 20))
    frozen[:, OTHER], frozen[3] = np.nan, np.nan
    found = gated(head, frozen, gate)
    for row, one, other in zip(found, head, frozen, strict=True):
        sure = any(p > gate for name, p in zip(EXPRESSIONS, other, strict=True) if name not in ("contempt", "other"))
        np.testing.assert_array_equal(row, other if sure else one)


def test_contempt_does_not_open_the_gate() -> None:
    frozen = np.full((1, 9), 0.01)
    frozen[0, CONTEMPT], frozen[0, OTHER] = 0.93, np.nan
    head = np.full((1, 9), 1 / 9)
    np.testing.assert_array_equal(gated(head, frozen, 0.5), head)


def scored(timeline: Timeline, truth: Annotations, gate: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of the labelled frames, written out: rows, then gaps between them."""
    both = timeline.scores[ONE]
    rows = []
    for own, frozen in zip(both["expression"].astype(float), both[FROZEN].astype(float), strict=True):
        chosen = frozen if gate is not None and np.nanmax(np.delete(frozen, [CONTEMPT, OTHER])) > gate else own
        classes = [chosen[EXPRESSIONS.index(name)] for name in AFFWILD2_EXPRESSIONS]
        classes[-1] = chosen[CONTEMPT] if np.isnan(classes[-1]) else classes[-1]
        rows.append(classes)
    known = truth.expression >= 0
    at = timeline.index[timeline.row] + 1
    filled = np.stack([np.interp(truth.frames[known], at, column) for column in np.array(rows).T], axis=1)
    return truth.expression[known], filled.argmax(axis=1)


def test_tune_finds_a_gate_that_helps_and_reports_what_it_gives(tmp_path: Path) -> None:
    truth = tables(tmp_path / "raw", calibrated=True)
    out = tmp_path / "gate.toml"
    options = ["--track", "expr", "--gates", "0.5,0.7,0.9", "--sigmas", "none", "--deltas", "none", "--json"]
    told = json.loads(run("tune", tmp_path / "raw", "--truth", as_list(tmp_path, truth), "-o", out, *options))
    found, recipe = told["tasks"]["expression"], Recipe.read(out)
    assert recipe.gate == found["gate"] == 0.5, "the first of 0.5 and 0.7, which are as good here"
    lines = {name: raw_scores.read(path) for name, path in find([tmp_path / "raw"]).items()}
    for gate, reported in ((0.5, "in_sample"), (None, "untuned")):
        pairs = [scored(lines[name], truth[name], gate) for name in truth]
        expected = sk_score("expression", *(np.concatenate(part) for part in zip(*pairs, strict=True)))
        assert found[reported] == pytest.approx(expected, abs=1e-12)
    assert found["cross_validated"] > found["untuned"] + 0.05
    assert {fold["gate"] for fold in found["folds"]} == {0.5}
    assert "the network's own expression counts where it is surer than 0.5" in run(
        "tune", tmp_path / "raw", "--truth", as_list(tmp_path, truth), "-o", out, *options[:-1]
    )


def test_a_network_that_is_sure_of_anything_is_not_let_through(tmp_path: Path) -> None:
    truth = tables(tmp_path, calibrated=False)
    result = tune(gather(find([tmp_path]), truth, "expr"), Grid(sigmas=(), deltas=(), gates=GRID.gates))
    outcome = result.tasks["expression"]
    # At 0.9 the gate never opens, which is as good as none; of equals none is taken.
    assert outcome.choice.gate is None and result.recipe.gate is None and "gate" not in result.recipe.to_json()
    assert all(fold.choice.gate is None for fold in outcome.folds)


def test_without_gates_nothing_changes(tmp_path: Path) -> None:
    truth = tables(tmp_path, calibrated=True)
    data = gather(find([tmp_path]), truth, "expr")
    plain, tried = (tune(data, Grid(sigmas=(), deltas=(1,), gates=gates)) for gates in ((), (0.95,)))
    np.testing.assert_array_equal(plain.tasks["expression"].surface, tried.tasks["expression"].surface)
    assert plain.recipe == tried.recipe


def test_gates_need_a_head_and_expressions(tmp_path: Path) -> None:
    truth = {"a": labels("a", 60, 1)}
    write(tmp_path, "a", line(truth["a"], {ONE: {"expression": planted(truth["a"], 1, calibrated=True)["expression"]}}))
    data = gather(find([tmp_path]), truth, "expr")
    with pytest.raises(UsageError, match="holds no expressions of a frozen network"):
        tune(data, GRID)
    with pytest.raises(InputError, match=r"gate of 0\.7"):
        refine(raw_scores.read(tmp_path / "a.raw.npz"), Recipe((ONE,), gate=0.7))
    for text in ("0.4", "1", "x"):
        with pytest.raises(UsageError, match="--gates"):
            Grid.of(gates=text)
    assert Grid.of(gates="usual").gates == (0.5, 0.6, 0.7, 0.8, 0.9)


def test_recipes_keep_a_gate_and_lose_it_when_asked() -> None:
    recipe = Recipe((ONE,)).changed(gate="0.7")
    assert recipe.gate == 0.7 and Recipe.from_json(recipe.to_json()) == Recipe.from_json({"models": [ONE], "gate": 0.7})
    assert recipe.changed(smooth="box:3f").gate == 0.7 and recipe.changed(gate="none").gate is None
    for text in ("0.3", "1", "2"):
        with pytest.raises(UsageError, match=f"--gate {text}"):
            recipe.changed(gate=text)


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A head on MediaPipe's blendshapes, with random weights."""
    random, card = np.random.default_rng(1), registry.card("mp-blendshapes")
    layers = ((random.normal(0, 1, (8, 52)), random.normal(0, 1, 8)),)
    part = Part("features", "softmax", AFFWILD2_EXPRESSIONS, layers)
    made = Head("h", "", "unitask", Base(card.name, card.sha256, None, 52, 0), {"expression": part}, {})
    heads.write(made, tmp_path / "h.safetensors", "a page")
    return tmp_path / "h.safetensors"


def test_annotating_and_smoothing_apply_it(head: Path, smile: Path, tmp_path: Path) -> None:
    for name, options in (("own", ()), ("with", ("--head", head)), ("gated", ("--head", head, "--gate", "0.5"))):
        run("annotate", smile, "--model", "mp-blendshapes", "-o", tmp_path / name, "-q", *options)
    run("smooth", tmp_path / "with" / "smile.csv", "-o", tmp_path / "later", "--gate", "0.5", "-q")
    run("smooth", tmp_path / "gated" / "smile.csv", "-o", tmp_path / "back", "--gate", "none", "-q")
    texts = {name: (tmp_path / name / "smile.csv").read_bytes() for name in ("with", "gated", "later", "back")}
    assert texts["gated"] == texts["later"] != texts["with"] == texts["back"]
    own, plain, table = (pd.read_csv(tmp_path / name / "smile.csv") for name in ("own", "with", "gated"))
    seven = [f"p_{name}" for name in AFFWILD2_EXPRESSIONS[:7]]
    sure = own[seven].max(axis=1) > 0.5
    assert sure.any(), "the network must be sure of a smile somewhere"
    columns = [name for name in table if name.startswith("p_") or name.startswith("expression")]
    pd.testing.assert_frame_equal(table.loc[sure, columns], own.loc[sure, columns])
    pd.testing.assert_frame_equal(table.loc[~sure, columns], plain.loc[~sure, columns])
    assert json.loads((tmp_path / "gated" / "smile.json").read_text())["recipe"]["gate"] == 0.5


def test_a_gate_without_a_head_is_refused_before_the_first_frame(smile: Path, tmp_path: Path) -> None:
    says = run("annotate", smile, "-o", tmp_path, "--gate", "0.7", code=2)
    assert "there is no such head" in says and not list(tmp_path.iterdir())
