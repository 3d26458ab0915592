"""Blinks and speech: by their written definition, on curves that are drawn, and on clips where they can be seen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.postprocess.blinks import CLOSES, OPENS, closed_eyes
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import refine
from hsemotion_cli.postprocess.speech import EVEN, mouth_open, speaking
from hsemotion_cli.timeline import Timeline

NAN = math.nan


def line(curves: dict[int, list[float]], rate: float = 25.0, photos: bool = False) -> tuple[Timeline, np.ndarray]:
    """Faces (id -> a value in each frame, None where it is not seen) as a timeline, and its rows' values."""
    frames = max(map(len, curves.values()))
    rows = [(f, i, c[f]) for f in range(frames) for i, c in sorted(curves.items()) if f < len(c) and c[f] is not None]
    n = len(rows)
    row, face_id = (np.array([r[k] for r in rows], np.int64) for k in (0, 1))
    extra = {"file": np.array([f"{k}.jpg" for k in range(frames)])} if photos else {}
    values = np.array([r[2] for r in rows], np.float32)
    return (
        Timeline(
            np.arange(frames), np.zeros(frames) if photos else np.arange(frames) / rate, row, face_id,
            np.ones(n, np.float32), np.ones((n, 4), np.float32), {}, extra=extra,
        ),
        values,
    )  # fmt: skip


def test_eyes_close_below_half_of_the_usual_and_open_above_two_thirds_of_it() -> None:
    usual = [0.8] * 60
    timeline, opening = line({0: [*usual, 0.45, 0.39, 0.3, 0.45, 0.51, 0.53, 0.45, *usual]})
    found = closed_eyes(timeline, opening, 0.5)
    assert (CLOSES, OPENS) == (0.5, 0.65)
    assert found[60:67].tolist() == [0, 1, 1, 1, 1, 0, 0]
    assert found[:60].sum() == found[67:].sum() == 0


def test_each_person_has_an_own_usual_opening() -> None:
    wide, narrow = [0.9] * 50, [0.4] * 50
    timeline, opening = line({3: [*wide, 0.4, *wide], 7: [*narrow, 0.4, *narrow]})
    found = closed_eyes(timeline, opening, 0.5)
    assert found[timeline.face_id == 3].tolist() == [0] * 50 + [1] + [0] * 50
    assert found[timeline.face_id == 7].sum() == 0


def test_eyes_that_are_never_open_are_not_known() -> None:
    timeline, opening = line({0: [0.1] * 60})
    assert np.isnan(closed_eyes(timeline, opening, 0.5)).all()
    # Eyes that are closed for long are known by how they look when they are open.
    timeline, opening = line({0: [0.8] * 60 + [0.05] * 200})
    assert closed_eyes(timeline, opening, 0.5).tolist() == [0] * 60 + [1] * 200


def test_a_wide_open_eye_counts_for_a_few_seconds() -> None:
    # 0.44 is a blink while the eyes are at 0.9, and open while they are at 0.7.
    timeline, opening = line({0: [0.7] * 300 + [0.9] * 60 + [0.44] + [0.9] * 60 + [0.7] * 300 + [0.44] + [0.7] * 50})
    found = closed_eyes(timeline, opening, 0.5)
    assert np.flatnonzero(found == 1).tolist() == [360]


def test_missing_rows_end_what_is_known_of_closed_eyes() -> None:
    usual = [0.8] * 60
    short = [*usual, 0.3, None, None, 0.45, *usual]
    timeline, opening = line({0: short})  # type: ignore[dict-item]
    assert closed_eyes(timeline, opening, 0.5)[60:62].tolist() == [1, 1]
    long = [*usual, 0.3, *[None] * 30, 0.45, *usual]
    timeline, opening = line({0: long})  # type: ignore[dict-item]
    assert closed_eyes(timeline, opening, 0.5)[60:62].tolist() == [1, 0]
    unknown = [*usual, 0.3, NAN, 0.45, *usual]
    timeline, opening = line({0: unknown})
    found = closed_eyes(timeline, opening, 0.5)
    assert found[60] == 1 and math.isnan(found[61]) and found[62] == 1


def test_single_images_use_what_is_usual_for_people() -> None:
    timeline, opening = line({0: [0.1, 0.3, 0.8, NAN]}, photos=True)
    found = closed_eyes(timeline, opening, 0.5)
    assert found[:3].tolist() == [1, 0, 0] and math.isnan(found[3])
    assert np.isnan(speaking(timeline, opening, 0.5)).all()


def brute_force(timeline: Timeline, gap: np.ndarray) -> np.ndarray:
    """The written definition, for one face without gaps."""
    time, found = timeline.time[timeline.row], []
    for now in time:
        inside = np.flatnonzero(np.abs(time - now) <= 0.5 + 1e-6)
        moved = sum(abs(float(gap[i + 1]) - float(gap[i])) for i in inside[:-1])
        seconds = time[inside[-1]] - time[inside[0]]
        found.append(1 / (1 + (EVEN / max(moved / seconds, 1e-9)) ** 4))
    return np.array(found)


def test_speaking_is_movement_of_the_lips_in_a_second() -> None:
    random = np.random.default_rng(2)
    curve = np.cumsum(random.normal(0, 0.02, 120)).clip(0).tolist()
    timeline, gap = line({0: curve})
    assert speaking(timeline, gap, 0.5) == pytest.approx(brute_force(timeline, gap), abs=1e-6)
    still, steady = line({0: [0.3] * 60})
    assert speaking(still, steady, 0.5).max() == 0
    # 0.35 per second: back and forth by 0.014 at 25 frames per second.
    timeline, gap = line({0: [0.1, 0.114] * 60})
    assert speaking(timeline, gap, 0.5) == pytest.approx(np.full(120, 0.5), abs=1e-3)


def test_a_low_frame_rate_and_a_short_run_give_no_speech_score() -> None:
    for curve, rate in (([0.1, 0.2] * 30, 5.0), ([0.1, 0.2, 0.1], 25.0), ([0.1], 25.0)):
        timeline, gap = line({0: curve}, rate)
        assert np.isnan(speaking(timeline, gap, 0.5)).all()


def test_people_do_not_mix_and_gaps_are_not_movement() -> None:
    timeline, gap = line({0: [0.1, 0.2] * 40, 1: [0.3] * 80})
    found = speaking(timeline, gap, 0.5)
    assert found[timeline.face_id == 0].min() > 0.99 and found[timeline.face_id == 1].max() == 0
    apart = [0.0] * 20 + [None] * 20 + [0.5] * 20
    timeline, gap = line({0: apart})  # type: ignore[dict-item]
    assert speaking(timeline, gap, 0.5).max() == 0


def test_a_mouth_is_open_by_its_gap() -> None:
    found = mouth_open(np.array([0.0, 0.3, 0.6, 0.9, NAN], np.float32))
    assert found[:4] == pytest.approx([0, 0.5, 1, 1]) and math.isnan(found[4])


def test_bridged_rows_have_no_blink_but_a_mouth() -> None:
    timeline, opening = line({0: [0.8] * 30 + [None] * 4 + [0.8] * 30})  # type: ignore[dict-item]
    n = len(opening)
    scores = {"m": {"valence_arousal": np.zeros((n, 2), np.float32)}}
    measures = {"eye_opening": opening, "mouth_gap": np.linspace(0, 0.3, n, dtype=np.float32)}
    timeline = Timeline(
        timeline.index, timeline.time, timeline.row, timeline.face_id, timeline.det_score, timeline.box, scores,
        measures=measures,
    )  # fmt: skip
    recipe = Recipe(("m",), interpolate=1.0, thresholds=Recipe.of("mp-blendshapes").thresholds)
    found = refine(timeline, recipe)
    assert np.isnan(found.measures["blink"][30:34]).all() and not np.isnan(found.measures["blink"][34:]).any()
    between = np.linspace(found.measures["mouth_open"][29], found.measures["mouth_open"][34], 6)
    assert found.measures["mouth_open"][29:35] == pytest.approx(between)
    assert not np.isnan(found.measures["speaking"]).any()


def test_a_clip_with_blinks_that_can_be_seen(samples: Path, tmp_path: Path) -> None:
    words = ["annotate", samples / "langer_pexels.mp4", "-o", tmp_path, "--model", "mp-blendshapes"]
    result = CliRunner().invoke(app, [str(word) for word in [*words, "--start", "9", "--end", "17"]])
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / "langer_pexels.csv")
    begins = found["time"][(found["blink"] == 1) & (found["blink"].shift(fill_value=0) == 0)].tolist()
    assert begins == pytest.approx([10.34, 12.01, 16.1], abs=0.06)  # seen in single frames
    assert found["speaking"].median() < 0.1  # she smiles
    assert found["mouth_open"].between(0.05, 0.45).all()


def test_an_actor_speaks(shared_videos: list[Path], tmp_path: Path) -> None:
    path = next(p for p in shared_videos if p.name == "M030_neutral_level1_001.mp4")
    result = CliRunner().invoke(app, ["annotate", str(path), "-o", str(tmp_path), "--model", "mp-blendshapes"])
    assert result.exit_code == 0, result.output
    found = pd.read_csv(tmp_path / f"{path.stem}.csv")
    assert found["speaking"][found["time"] < 3].median() > 0.7
    assert found["blink"].sum() == 0
