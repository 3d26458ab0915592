"""Tables without raw scores are scored as they stand, and evaluate says when a recipe was tuned on what it scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_evaluate as worlds
from sklearn.metrics import f1_score

from hsemotion_cli.abaw import evaluation
from hsemotion_cli.abaw.aligned import EvaluationSettings
from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.abaw.predictions import load
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from hsemotion_cli.formats import table
from hsemotion_cli.postprocess.recipe import Recipe, recording_key
from hsemotion_cli.postprocess.refine import refine
from hsemotion_cli.tasks import ACTION_UNITS

FRAMES = 40


@pytest.fixture
def annotated(tmp_path: Path) -> tuple[Path, Path, pd.DataFrame]:
    """Two videos as annotate leaves them, a list with labels, and the labels."""
    random = np.random.default_rng(3)
    rows = []
    for name in ("a", "b"):
        worlds.write(tmp_path / "full", name, worlds.a_world(random, FRAMES, seen=0.8))
        source = load(tmp_path / "full" / f"{name}.raw.npz")
        with (tmp_path / "full" / f"{name}.csv").open("wb") as file:
            table.write_csv(refine(source.timeline, source.recipe), file)
        for frame in range(1, FRAMES + 1):
            units = (random.random(12) < 0.5).astype(int).tolist()
            rows.append([f"{name}/{frame:05d}.jpg", *random.uniform(-1, 1, 2).round(3), random.integers(8), *units])
    truth = pd.DataFrame(rows)
    listed = tmp_path / "validation_set_annotations.txt"
    listed.write_text("image,valence,arousal,expression,aus\n" + truth.to_csv(index=False, header=False))
    return tmp_path, listed, truth


def alone(folder: Path, *, sidecar: bool = True) -> Path:
    """The tables of a folder in a place of their own, without raw scores."""
    place = folder / "alone"
    place.mkdir()
    for path in [*(folder / "full").glob("*.csv"), *((folder / "full").glob("*.json") if sidecar else ())]:
        (place / path.name).write_bytes(path.read_bytes())
    return place


def score(place: Path, listed: Path, track: str, **more: object) -> evaluation.Report:
    return evaluation.evaluate([place], listed, EvaluationSettings(TRACKS[track], draws=0, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("track", ["expr", "va", "au", "mtl"])
def test_a_table_alone_scores_as_with_its_raw_scores(annotated: tuple[Path, Path, pd.DataFrame], track: str) -> None:
    """Of frames with a face the table says all; between them, presence of units is taken and not their probability."""
    folder, listed, _ = annotated
    full = score(folder / "full", listed, track, seen_only=True)
    plain = score(alone(folder), listed, track, seen_only=True)
    assert plain.score.value == pytest.approx(full.score.value, abs=2e-5), "six digits in the table"
    assert plain.frames == full.frames
    assert plain.alone == ("a", "b") and not full.alone and not full.notes
    assert "scored as they stand" in plain.notes[0] and "could not be changed" in plain.notes[0]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_every_format_is_read(annotated: tuple[Path, Path, pd.DataFrame], suffix: str) -> None:
    folder, listed, _ = annotated
    place = alone(folder)
    first = score(place, listed, "mtl")
    for path in sorted(place.glob("*.csv")):
        frame = table.load(path)
        with path.with_suffix(f".{suffix}").open("wb") as file:
            table.WRITERS[suffix](frame, file)
        path.unlink()
    assert score(place, listed, "mtl").score == first.score


def test_what_somebody_edited_counts(annotated: tuple[Path, Path, pd.DataFrame]) -> None:
    """The label of the cell, whatever the probabilities are; scored by scikit-learn from the table itself."""
    folder, listed, truth = annotated
    place = alone(folder)
    random = np.random.default_rng(9)
    true, said, units, present = [], [], [], []
    for name in ("a", "b"):
        frame = pd.read_csv(place / f"{name}.csv", dtype={"face_id": "Int64"})
        seen = frame["face_id"].notna()
        frame.loc[seen, "expression"] = random.choice([*AFFWILD2_EXPRESSIONS[:7], "contempt"], seen.sum())
        for unit in ACTION_UNITS:
            frame[f"{unit}_c"] = frame[f"{unit}_c"].astype("Int64")
        frame.loc[seen, "AU12_c"] = random.integers(0, 2, seen.sum())
        frame.to_csv(place / f"{name}.csv", index=False)
        own = truth[truth[0].str.startswith(f"{name}/")]
        at = [own[own[0] == f"{name}/{number + 1:05d}.jpg"].iloc[0] for number in frame["frame"][seen]]
        true += [row[3] for row in at]
        said += [AFFWILD2_EXPRESSIONS.index("other" if e == "contempt" else e) for e in frame["expression"][seen]]
        units += [row[4:].tolist() for row in at]
        present += frame.loc[seen, [f"{unit}_c" for unit in ACTION_UNITS]].to_numpy(int).tolist()
    expected = f1_score(true, said, average="macro", labels=range(8), zero_division=0)
    assert score(place, listed, "expr", seen_only=True).score.value == pytest.approx(expected, abs=1e-9)
    expected = f1_score(np.array(units, int), np.array(present), average=None, zero_division=0).mean()
    assert score(place, listed, "au", seen_only=True).score.value == pytest.approx(expected, abs=1e-9)


def test_nothing_can_be_changed_after_the_fact(annotated: tuple[Path, Path, pd.DataFrame]) -> None:
    folder, listed, _ = annotated
    place = alone(folder)
    recipe = Recipe((worlds.MODEL,), thresholds=dict(worlds.UNITS))
    for option, more in (("--recipe", {"recipe": recipe}), ("--threshold", {"thresholds": ("AU12=0.3",)})):
        with pytest.raises(UsageError, match=rf"{option}: .*a\.csv has no a\.raw\.npz beside it"):
            score(place, listed, "au", **more)


def test_without_a_sidecar_the_numbering_is_guessed_and_said(annotated: tuple[Path, Path, pd.DataFrame]) -> None:
    folder, listed, _ = annotated
    place = alone(folder, sidecar=False)
    from_zero = score(place, listed, "expr")
    assert "frame 0 is taken as the first of the video, 00001: a, b" in from_zero.notes[1]
    for path in place.glob("*.csv"):
        frame = pd.read_csv(path, dtype={"face_id": "Int64"})
        frame["frame"] += 1
        frame.to_csv(path, index=False)
    from_one = score(place, listed, "expr")
    assert "numbered like the images" in from_one.notes[1]
    assert from_one.score == from_zero.score == score(folder / "full", listed, "expr").score


def test_other_files_in_the_folder_are_no_tables(annotated: tuple[Path, Path, pd.DataFrame]) -> None:
    folder, listed, _ = annotated
    place = alone(folder)
    (place / "summary.csv").write_text("video,mean\na,1\n")
    (place / "broken.parquet").write_bytes(b"no")
    (place / "log.jsonl").write_text("not json\n")
    assert score(place, listed, "va").ignored == ()
    for path in place.glob("[ab].*"):
        path.unlink()
    with pytest.raises(InputError, match="no tables in this folder"):
        score(place, listed, "va")


def test_raw_scores_go_before_tables(annotated: tuple[Path, Path, pd.DataFrame]) -> None:
    folder, listed, _ = annotated
    (folder / "full" / "b.raw.npz").unlink()
    mixed = score(folder / "full", listed, "au")
    assert mixed.alone == ("b",) and mixed.half is None


def test_a_recipe_that_was_tuned_on_what_is_scored(annotated: tuple[Path, Path, pd.DataFrame]) -> None:
    folder, listed, _ = annotated
    tuned_on = {"track": "expr", "truth": "0" * 64, "recordings": [recording_key("a"), recording_key("x")]}
    recipe = Recipe((worlds.MODEL,), thresholds=dict(worlds.UNITS), tuned_on=tuned_on)
    report = score(folder / "full", listed, "expr", recipe=recipe)
    assert report.tuned == 1 and not report.same_labels
    assert "tuned on 1 of the 2 recordings that are scored here:" in report.notes[0]
    other = Recipe(recipe.models, thresholds=recipe.thresholds, tuned_on={**tuned_on, "recordings": ["c"]})
    assert not score(folder / "full", listed, "expr", recipe=other).notes
    # The tables themselves say it as well, if they were made with such a recipe.
    for name in ("a", "b"):
        path = folder / "full" / f"{name}.json"
        content = json.loads(path.read_text())
        content["recipe"]["tuned_on"] = tuned_on
        path.write_text(json.dumps(content))
    assert score(folder / "full", listed, "expr").tuned == 1
