"""Calibration: what it finds, what it gains on people that it has not seen, and the recipe that other commands read."""

from __future__ import annotations

import csv
import itertools
import json
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import curves
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hsemotion_cli.analysis import cross_validation
from hsemotion_cli.analysis.calibration import Choice, Coded, Sample, fit
from hsemotion_cli.analysis.cross_validation import _p
from hsemotion_cli.analysis.rules import read_rules
from hsemotion_cli.cli import app
from hsemotion_cli.postprocess.offsets import shifted
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing
from hsemotion_cli.tasks import EXPRESSIONS

FRAMES, STEP = 400, 0.04
GROUPS = 6


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, " ".join(result.output.split())


def spans(on: np.ndarray) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
    return [(a * STEP, b * STEP) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]


def study(folder: Path, seed: int, informative: bool = True, groups: int = GROUPS) -> tuple[Path, Path]:
    """Tables whose AU12 lies at 0.3 without a smile and at 0.7 with one, and which call most faces sad; a coding."""
    random, lines = np.random.default_rng(seed), ["recording,onset,offset,label"]
    (folder / "in").mkdir()
    for k in range(groups):
        smiles = np.repeat(random.random(FRAMES // 40) < 0.5, 40)
        smiles[:80] = np.repeat([True, False], 40)
        coded = smiles if informative else np.repeat(random.random(FRAMES // 40) < 0.5, 40)
        lips = (np.where(smiles, 0.7, 0.3) + 0.08 * random.normal(size=FRAMES)).clip(0, 1)
        happy, sad = np.where(smiles, 0.38, 0.1), np.where(smiles, 0.42, 0.5)
        noise = np.exp(0.1 * random.normal(size=(3, FRAMES)))
        p = np.stack([happy, sad, 1 - happy - sad]) * noise
        names = ("p_happiness", "p_sadness", "p_neutral")
        people = {0: {"AU12_p": lips, **dict(zip(names, p / p.sum(axis=0), strict=True))}}
        curves.table(folder / "in" / f"r{k}.csv", people, FRAMES)
        for label, on in (("smile", coded), ("happiness", coded), ("neutral", ~coded)):
            lines += [f"r{k},{a:.2f},{b:.2f},{label}" for a, b in spans(on)]
    coding = folder / "coding.csv"
    coding.write_text("\n".join(lines) + "\n")
    return folder / "in", coding


def test_what_is_wrong_with_a_model_is_found_and_the_gain_is_beyond_chance(tmp_path: Path) -> None:
    tables, coding = study(tmp_path, 1)
    recipe = tmp_path / "recipe.toml"
    code, output = run("calibrate", tables, "--coding", coding, "-o", recipe, "--json")
    assert code == 0, output
    printed = json.loads(output[output.index("{") :])
    gains = {gain["part"]: gain for gain in printed["gain"]}
    for part in ("expression", "action_units"):
        assert gains[part]["after"] > gains[part]["before"] + 0.2
        assert gains[part]["p"] == pytest.approx(1 / 2**GROUPS), "of 64 exchanges none gains as much"
        assert gains[part]["low"] > 0
    assert {"expression", "action_units"} <= set(printed["kept"])
    found = Recipe.read(recipe)
    assert 0.4 < found.thresholds["AU12"] < 0.6
    assert found.offsets["happiness"] > found.offsets["sadness"]
    assert sum(found.offsets.values()) == pytest.approx(0, abs=1e-3)
    assert {k: v for k, v in found.thresholds.items() if k != "AU12"} == {
        k: v for k, v in Recipe.usual().thresholds.items() if k != "AU12"
    }
    before = run("agree", tables, "--coding", coding, "-o", tmp_path / "a", "--bootstrap", "0", "-q")
    after = run("agree", tables, "--coding", coding, "--recipe", recipe, "-o", tmp_path / "b", "--bootstrap", "0", "-q")
    assert before[0] == after[0] == 0, (before, after)
    kappa = []
    for name in ("a", "b"):
        with (tmp_path / name / "agree.csv").open(newline="") as file:
            rows = {(r["label"], r["statistic"]): float(r["value"] or "nan") for r in csv.DictReader(file)}
        kappa.append([rows["smile", "kappa"], rows["expression", "accuracy"]])
    assert all(b > a + 0.2 for a, b in zip(*kappa, strict=True)), "segments and agree read the recipe"


def test_a_coding_that_has_nothing_to_do_with_the_faces_gains_nothing(tmp_path: Path) -> None:
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        tables, coding = study(folder, seed, informative=False)
        code, output = run("calibrate", tables, "--coding", coding, "-o", folder / "r.toml", "--json")
        assert code == 0, output
        printed = json.loads(output[output.index("{") :])
        assert not {"expression", "action_units"} & set(printed["kept"])
        assert Recipe.read(folder / "r.toml") == Recipe.usual()


def test_few_recordings_cannot_show_a_gain(tmp_path: Path) -> None:
    tables, coding = study(tmp_path, 2, groups=3)
    code, output = run("calibrate", tables, "--coding", coding, "-o", tmp_path / "r.toml")
    assert code == 0
    assert "the coded sample has 3 recordings; with fewer than 5, no gain can be distinguished from chance" in output
    assert "the defaults, since no part gained beyond chance" in output
    assert Recipe.read(tmp_path / "r.toml") == Recipe.usual()
    assert run("calibrate", tables, "--coding", coding, "--keep-all", "-o", tmp_path / "r.toml")[0] == 0
    assert 0.4 < Recipe.read(tmp_path / "r.toml").thresholds["AU12"] < 0.6
    content = tomllib.loads((tmp_path / "r.toml").read_text())
    assert content["calibration"]["codings"] == ["coding.csv"]
    assert content["calibration"]["gain"][0]["groups"] == 3
    rules = read_rules(tmp_path / "r.toml")
    written = {task: str(one) for task, one in rules.filters.items()}
    assert written == content["segments"]["smooth"]
    assert set(written) == {"expression", "action_units"}
    assert {name: str(one) for name, one in Recipe.read(tmp_path / "r.toml").smoothing.items()} == {
        task: text for task, text in written.items() if text != "none"
    }
    assert rules.thresholds["AU12"] == Recipe.read(tmp_path / "r.toml").thresholds["AU12"]


def test_people_stay_together_where_they_have_names(tmp_path: Path) -> None:
    tables, coding = study(tmp_path, 3)
    names = tmp_path / "people.csv"
    names.write_text("recording,face_id,person\n" + "".join(f"r{k},0,{'ABC'[k // 2]}nn\n" for k in range(GROUPS)))
    code, output = run("calibrate", tables, "--coding", coding, "--people", names, "-o", tmp_path / "r.toml", "--json")
    assert code == 0, output
    printed = json.loads(output[output.index("{") :])
    assert (printed["by"], printed["gain"][0]["groups"]) == ("person", 3)


def test_no_person_is_scored_by_what_was_fitted_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real fit runs; what it is given is noted."""
    seen: list[set[str]] = []

    def noted(samples: Sequence[Sample], coded: Coded, *parts: Collection[str]) -> Choice:
        seen.append({sample.group for sample in samples})
        return fit(samples, coded, *parts)

    monkeypatch.setattr(cross_validation, "fit", noted)
    tables, coding = study(tmp_path, 1)
    assert run("calibrate", tables, "--coding", coding, "-o", tmp_path / "r.toml", "-q")[0] == 0
    everyone = {f"r{k}" for k in range(GROUPS)}
    assert sorted(map(sorted, (everyone - own for own in seen))) == [[name] for name in sorted(everyone)]


def test_p_is_the_share_of_exchanges_that_gain_as_much() -> None:
    random = np.random.default_rng(0)
    pair = random.integers(1, 9, (4, 2, 3, 3)).astype(float)

    def f1(total: np.ndarray) -> float:
        return float(np.mean(2 * total[:, 0] / (total[:, 1] + total[:, 2])))

    observed = f1(pair.sum(axis=0)[1]) - f1(pair.sum(axis=0)[0])
    higher = 0
    for exchange in itertools.product((False, True), repeat=4):
        turned = np.stack([group[::-1] if turn else group for group, turn in zip(pair, exchange, strict=True)])
        higher += f1(turned.sum(axis=0)[1]) - f1(turned.sum(axis=0)[0]) >= observed - 1e-12
    assert _p("segments", pair, observed, 0, 10) == higher / 16


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_offsets_keep_probabilities_and_can_be_taken_back(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(8), 5)
    values = np.column_stack([p, np.full(5, np.nan)])
    values[3] = np.nan
    offsets = {name: float(random.normal()) for name in EXPRESSIONS[:8]}
    moved = shifted(values, "expression", offsets)
    assert np.nansum(moved, axis=1)[[0, 1, 2, 4]] == pytest.approx(1)
    assert np.isnan(moved[3]).all()
    assert np.isnan(moved[:, 8]).all()
    back = shifted(moved, "expression", {name: -value for name, value in offsets.items()})
    assert back == pytest.approx(values, nan_ok=True)
    ratio = np.log(moved[0, 1] / moved[0, 0]) - np.log(p[0, 1] / p[0, 0])
    assert ratio == pytest.approx(offsets["anger"] - offsets["neutral"])


def test_a_neutral_makes_a_person_neutral_in_smooth_and_segments(smile: Path, tmp_path: Path) -> None:
    assert run("annotate", smile, "-o", tmp_path / "in", "-q")[0] == 0
    table, recipe = tmp_path / "in" / "smile.csv", tmp_path / "ann.toml"
    code, output = run("calibrate", table, "--neutral", "0-1", "-o", recipe)
    assert code == 4, "twelve frames are half a second"
    assert "face 0 is seen for 0.48 s from 0 to 1 s, but --neutral needs at least 1 s; choose a longer span" in output
    content = json.loads((tmp_path / "in" / "smile.json").read_text())
    names = [f"p_{name}" for name in EXPRESSIONS]
    with table.open(newline="") as file:
        before = np.array([[float(row[n] or "nan") for n in (*names, "valence")] for row in csv.DictReader(file)])
    long = {n: np.tile(before[:, k], 10) for k, n in enumerate((*names, "valence"))}
    made = curves.table(tmp_path / "long.csv", {0: long}, 120, recipe=Recipe.from_json(content["recipe"]))
    code, output = run("calibrate", made, "--neutral", "0-4", "-o", recipe)
    assert code == 0, output
    assert "use the recipe for recordings of that person only" in output
    assert run("smooth", table, "-o", tmp_path / "out", "--recipe", recipe, "-q")[0] == 0
    with (tmp_path / "out" / "smile.csv").open(newline="") as file:
        after = np.array([[float(row[n] or "nan") for n in (*names, "valence")] for row in csv.DictReader(file)])
    offsets = Recipe.read(recipe).offsets
    wanted = shifted(before[:, :9], "expression", offsets)
    assert after[:, :9] == pytest.approx(wanted, abs=2e-4, nan_ok=True), "as near as six decimals, magnified, allow"
    assert after[:, 9] == pytest.approx(before[:, 9] + offsets["valence"], abs=2e-6)
    assert after[:, 0].mean() > before[:, 0].mean()
    assert np.median(after[:, 9]) == pytest.approx(0, abs=1e-4)
    assert json.loads((tmp_path / "out" / "smile.json").read_text())["recipe"]["offsets"] == offsets
    assert "offsets" not in content["recipe"], "sidecars without a calibration are as they were"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([], 2, "give either a coding with --coding, or a neutral span with --neutral"),
        (["--neutral", "0-4", "--coding", "c.csv"], 2, "give either a coding with --coding, or a neutral span"),
        (["--neutral", "start"], 2, "--neutral start: give a span of seconds"),
        (["--neutral", "0-4", "--person", "Ann"], 2, "two.csv; choose from 0, 1"),
        (["--neutral", "0-4"], 2, "two.csv has 2 people; choose one with --person (0, 1)"),
        (["--neutral", "0-4", "-o", "r.json"], 2, "recipes are TOML files"),
        (["--neutral", "100-104", "--person", "1"], 4, "is seen for 0.00 s from 100 to 104 s"),
        (["--coding", "empty.csv"], 4, "the coding has no event of these tables"),
        (["--coding", "tiers.csv", "--tier", "Bob"], 2, "--tier Bob: no event has it; choose from Ann"),
        (["--coding", "empty.csv", "--tier", "Bob"], 2, "the files have no tiers, so leave it out"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(tmp_path: Path, words: list[str], code: int, sentence: str) -> None:
    person = {"p_neutral": np.full(200, 0.5), "p_sadness": np.full(200, 0.5)}
    path = curves.table(tmp_path / "two.csv", {0: person, 1: person}, 200)
    (tmp_path / "empty.csv").write_text("recording,onset,offset,label\n")
    (tmp_path / "tiers.csv").write_text("recording,person,onset,offset,label,tier\ntwo,0,1,2,smile,Ann\n")
    words = [str(tmp_path / word) if word.endswith("s.csv") or word == "empty.csv" else word for word in words]
    out = [] if "-o" in words else ["-o", str(tmp_path / "r.toml")]
    got, output = run("calibrate", path, *words, *out)
    assert (got, sentence in output) == (code, True), output
    assert not (tmp_path / "r.toml").exists()


def test_a_recording_without_a_face_has_no_neutral(tmp_path: Path) -> None:
    nobody = curves.table(tmp_path / "nobody.csv", {}, 100)
    code, output = run("calibrate", nobody, "--neutral", "0-3", "-o", tmp_path / "r.toml")
    assert (code, "nobody.csv: no face was found in this recording" in output) == (4, True), output


def test_tables_that_are_smoothed_already_are_refused(tmp_path: Path) -> None:
    recipe = replace(Recipe.usual(), smoothing={"expression": Smoothing("gaussian", 0.2)})
    path = curves.table(tmp_path / "talk.csv", {0: {"p_neutral": np.ones(100)}}, 100, recipe=recipe)
    code, output = run("calibrate", path, "--neutral", "0-3", "-o", tmp_path / "r.toml")
    assert code == 4
    assert "it is smoothed or calibrated already" in output
