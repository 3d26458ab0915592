"""Segments: the written definition against an independent loop, its properties, files, and what is refused."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import curves
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hsemotion_cli.analysis.evidence import columns
from hsemotion_cli.analysis.intervals import hysteresis, merged, runs
from hsemotion_cli.analysis.recordings import find_tables, read_recording, unread_folders
from hsemotion_cli.analysis.rules import DEFAULTS, Rule, Rules, read_rules
from hsemotion_cli.analysis.segments import Segment, segments
from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.formats.schema import NAMES
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing

RAW = Rules(smoothing=Smoothing())
STEP = 0.04


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, result.output


def found(path: Path, rules: Rules = RAW) -> list[Segment]:
    return segments(read_recording(path, columns(rules)), rules)


def by_loop(value: np.ndarray, rule: Rule, step: float = STEP) -> list[tuple[float, float]]:
    """The definition of docs/segments.md, frame by frame, for evenly spaced frames: (onset, offset)."""
    state, lacking, spans, gap = False, 0.0, [], rule.merge_gap + 1e-9
    for k, v in enumerate(value):
        if np.isnan(v):
            lacking += step
            continue
        if lacking > gap:
            state = False
        lacking = 0.0
        state = v >= rule.onset or (state and v >= rule.offset)
        if state:
            spans.append((k * step, (k + 1) * step))
    joined: list[tuple[float, float]] = []
    for onset, offset in spans:
        if joined and onset - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], offset)
        else:
            joined.append((onset, offset))
    kept = [s for s in joined if s[1] - s[0] >= rule.min_duration - 1e-9]

    def missing(span: tuple[float, float]) -> float:
        inside = value[round(span[0] / step) : round(span[1] / step)]
        return float(np.isnan(inside).mean())

    return [s for s in kept if missing(s) <= rule.max_missing + 1e-9]


def test_hysteresis_does_not_reach_across_a_long_loss() -> None:
    """Evidence between the two thresholds continues what was on, but not after more than the merge gap without any."""
    time, length, nan = np.arange(8, dtype=np.float64) * STEP, np.full(8, STEP), np.nan
    value = np.array([0.9, 0.45, nan, nan, 0.45, 0.3, 0.45, 0.9])
    after = hysteresis(time, length, value, Rule(0.5, 0.4, merge_gap=0.08))
    assert after.tolist() == [True, True, False, False, True, False, False, True]
    after = hysteresis(time, length, value, Rule(0.5, 0.4, merge_gap=0.04))
    assert after.tolist() == [True, True, False, False, False, False, False, True]


evidence_curves = st.lists(
    st.one_of(st.just(float("nan")), st.sampled_from([0.0, 0.3, 0.45, 0.5, 0.8, 1.0])), min_size=1, max_size=80
)
rules_of_one = st.builds(
    Rule, onset=st.just(0.5), offset=st.sampled_from([0.2, 0.4, 0.5]), min_duration=st.sampled_from([0.0, 0.1, 0.5]),
    merge_gap=st.sampled_from([0.0, 0.08, 0.25]), max_missing=st.sampled_from([0.0, 0.2, 1.0]),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(evidence_curves, rules_of_one)
def test_segments_are_those_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], rule: Rule
) -> None:
    value = np.array(values)
    path = curves.table(
        tmp_path_factory.mktemp("t") / "talk.csv", {0: {"p_fear": value, "valence": np.zeros(len(value))}}, len(value)
    )
    changes = {"expression": {name: getattr(rule, name) for name in Rule.__slots__}}
    rules = Rules(kinds=("expression",), changes=changes, smoothing=Smoothing())
    got = [(s.onset, s.offset) for s in found(path, rules)]
    want = by_loop(value, rule)
    assert np.array(got) == pytest.approx(np.array(want))


@settings(deadline=None, max_examples=100)
@given(evidence_curves, rules_of_one, st.sampled_from([0.5, 2.0, 3.0]))
def test_scaling_time_scales_the_intervals(values: list[float], rule: Rule, factor: float) -> None:
    value = np.array(values)
    time = np.arange(len(value), dtype=np.float64) * STEP
    length: np.ndarray = np.full(len(value), STEP)
    scaled = replace(rule, merge_gap=rule.merge_gap * factor)
    before = merged(runs(time, length, hysteresis(time, length, value, rule)), rule.merge_gap)
    on = hysteresis(time * factor, length * factor, value, scaled)
    after = merged(runs(time * factor, length * factor, on), scaled.merge_gap)
    assert np.array(after) == pytest.approx(np.array(before) * factor)


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=12).map(
    lambda parts: sorted((a / 10, (a + b) / 10) for a, b in parts)
)


@given(spans, st.sampled_from([0.0, 0.1, 0.5]))
def test_merging_twice_changes_nothing_and_leaves_gaps(intervals: list[tuple[float, float]], gap: float) -> None:
    once = merged(intervals, gap)
    assert merged(once, gap) == once
    assert all(b[0] - a[1] > gap for a, b in itertools.pairwise(once))
    inside = {k for k in range(500) for a, b in intervals if a <= k / 100 < b}
    assert inside <= {k for k in range(500) for a, b in once if a <= k / 100 < b}


def talker(random: np.random.Generator, frames: int) -> dict[str, np.ndarray]:
    """Probabilities whose highest class changes several times a second, around slower episodes."""
    slow = np.stack([curves.noise(random, frames, 40) for _ in range(3)])
    fast = np.stack([curves.noise(random, frames, 1.5) for _ in range(3)])
    p = np.exp(1.5 * slow + 1.0 * fast)
    return dict(zip(("p_neutral", "p_happiness", "p_sadness"), p / p.sum(axis=0), strict=True))


def test_the_default_does_not_flicker_on_a_talker(tmp_path: Path) -> None:
    frames = 1500
    p = talker(np.random.default_rng(0), frames)
    path = curves.table(tmp_path / "talk.csv", {0: p}, frames)
    raw = np.stack(list(p.values())).argmax(axis=0)
    seconds = frames / curves.RATE
    assert 2.3 <= (np.diff(raw) != 0).sum() / seconds <= 4.7
    got = found(path, Rules(kinds=("expression",)))
    assert min(s.duration for s in got) >= 0.5
    assert 5 <= len(got) <= 0.5 * seconds
    for label in {s.label for s in got}:  # no frame twice under one label, and gaps wider than what is closed
        own = [s for s in got if s.label == label]
        assert all(b.onset - a.offset > 0.25 for a, b in itertools.pairwise(own))
    ordered = sorted(got, key=lambda s: s.onset)
    assert all(b.onset >= a.offset - 1e-9 for a, b in itertools.pairwise(ordered))


def test_raw_and_smoothed_tables_have_the_same_segments(tmp_path: Path) -> None:
    """The stated rule: segments smooths what is not smoothed, by the filter that the other table had."""
    from hsemotion_cli.postprocess.smoothing import smooth_run

    frames, random = 700, np.random.default_rng(1)
    p = talker(random, frames)
    for values in p.values():
        values[300:306] = np.nan
    filter_ = Smoothing("gaussian", 0.2)
    seen = ~np.isnan(p["p_neutral"])
    time = np.arange(frames) / curves.RATE
    smooth = {name: np.full(frames, np.nan) for name in p}
    for name, values in p.items():
        smooth[name][seen] = smooth_run(time[seen], values[seen, None], filter_)[:, 0]
    recipe = replace(Recipe.usual(), smoothing={"expression": filter_})
    (tmp_path / "raw").mkdir()
    raw = curves.table(tmp_path / "raw" / "talk.csv", {0: p}, frames)
    done = curves.table(tmp_path / "talk.csv", {0: smooth}, frames, recipe=recipe)
    rules = Rules(kinds=("expression",))
    one, other = found(raw, rules), found(done, rules)
    assert len(one) > 3
    assert [(s.label, s.onset, s.offset) for s in one] == [(s.label, s.onset, s.offset) for s in other]
    assert [s.mean for s in one] == pytest.approx([s.mean for s in other], abs=1e-5)


def test_the_numbers_of_a_segment_are_those_of_the_definition(tmp_path: Path) -> None:
    value = np.zeros(100)
    value[20:60] = np.concatenate([np.linspace(0.2, 0.9, 20), np.linspace(0.9, 0.2, 20)])
    value[30:32] = np.nan
    path = curves.table(tmp_path / "talk.csv", {4: {"AU12_p": value, "AU06_p": 0.6 * value}}, 100)
    (one,) = [s for s in found(path, replace(RAW, thresholds={"AU12": 0.5, "AU06": 0.5})) if s.label == "AU12"]
    on = np.flatnonzero(value >= 0.4)  # the offset threshold is 0.8 of the onset threshold
    on = on[on >= np.flatnonzero(value >= 0.5)[0]]
    assert (one.recording, one.person, one.kind) == ("talk", "4", "action_unit")
    assert (one.onset, one.offset) == pytest.approx((on[0] * STEP, (on[-1] + 1) * STEP))
    assert one.peak == pytest.approx(39 * STEP)
    assert one.rise == pytest.approx(one.peak - one.onset)
    assert one.mean == pytest.approx(np.nanmean(value[on[0] : on[-1] + 1]), abs=1e-6)
    assert one.area == pytest.approx(np.nansum(value[on[0] : on[-1] + 1]) * STEP, abs=1e-6)
    assert one.coverage == pytest.approx(1 - 2 / (on[-1] + 1 - on[0]))
    assert (one.first_row, one.last_row, one.frames) == (on[0] + 1, on[-1] + 1, on[-1] - on[0] - 1)


def test_a_duchenne_smile_needs_both_units(tmp_path: Path) -> None:
    lips, cheeks = np.zeros(200), np.zeros(200)
    lips[20:150], cheeks[60:180] = 0.9, 0.7
    path = curves.table(tmp_path / "talk.csv", {0: {"AU12_p": lips, "AU06_p": cheeks}}, 200)
    got = {s.label: s for s in found(path, replace(RAW, kinds=("smile",)))}
    assert (got["smile"].onset, got["smile"].offset) == pytest.approx((20 * STEP, 150 * STEP))
    assert (got["duchenne"].onset, got["duchenne"].offset) == pytest.approx((60 * STEP, 150 * STEP))
    assert got["duchenne"].maximum == pytest.approx(0.7)


def test_quadrants_absences_and_new_columns(tmp_path: Path) -> None:
    valence, arousal = np.full(200, 0.4), np.full(200, -0.3)
    valence[:50] = arousal[120:160] = np.nan
    arousal[:50] = valence[120:160] = np.nan
    yaw = np.where(np.arange(200) < 100, 25.0, 5.0) + 0 * valence
    blink = np.where((np.arange(200) >= 80) & (np.arange(200) < 85), 1.0, 0.0) + 0 * valence
    person = {"valence": valence, "arousal": arousal, "gaze_yaw": yaw, "gaze_pitch": 0 * yaw, "blink": blink}
    path = curves.table(tmp_path / "talk.csv", {0: person}, 200)
    got = [(s.kind, s.label, round(s.onset, 2), round(s.offset, 2)) for s in found(path, RAW)]
    assert ("quadrant", "pleasant_deactivated", 2.0, 4.8) in got
    assert ("no_face", "no_face", 0.0, 2.0) in got
    assert ("no_face", "no_face", 4.8, 6.4) in got
    assert ("gaze_away", "gaze_away", 2.0, 4.0) in got
    if "blink" in NAMES:  # a table's reader leaves out columns that the schema does not have
        assert ("blink", "blink", 3.2, 3.4) in got
    nobody = found(curves.table(tmp_path / "nobody.csv", {}, 50))
    assert [(s.person, s.kind, s.duration, s.first_row) for s in nobody] == [("", "no_face", 2.0, None)]


def test_a_lost_face_ends_a_segment_and_a_short_loss_does_not(tmp_path: Path) -> None:
    value = np.full(200, 0.9)
    value[50:54] = np.nan  # 0.16 s
    value[100:120] = np.nan  # 0.8 s
    path = curves.table(tmp_path / "talk.csv", {0: {"p_fear": value}}, 200)
    got = found(path, replace(RAW, kinds=("expression",)))
    assert np.array([(s.onset, s.offset) for s in got]) == pytest.approx(np.array([(0.0, 4.0), (4.8, 8.0)]))
    assert got[0].coverage == pytest.approx(0.96)


def test_interpolated_rows_count_as_values_but_not_as_coverage(tmp_path: Path) -> None:
    value, seen = np.full(100, 0.9), np.ones(100, int)
    seen[40:60] = 0
    columns_ = {"p_fear": value, "face_detected": seen, "interpolated": 1 - seen}
    (one,) = found(curves.table(tmp_path / "talk.csv", {0: columns_}, 100), Rules(kinds=("expression",)))
    assert (one.duration, one.coverage) == pytest.approx((4.0, 0.8))


def test_the_command_writes_a_table_and_every_parameter(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    frames = 300
    for name in ("a", "b"):
        curves.table(tmp_path / "in" / f"{name}.csv", {0: talker(np.random.default_rng(3), frames)}, frames)
    (tmp_path / "in" / "notes.csv").write_text("not,a,table\n")
    code, output = run("segments", tmp_path / "in", "-o", tmp_path / "out", "--min-duration", "happiness=0.2", "-q")
    assert (code, output) == (0, "")
    with (tmp_path / "out" / "segments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["recording"] for row in rows} == {"a", "b"}
    assert list(rows[0]) == list(Segment.__slots__)
    content = json.loads((tmp_path / "out" / "segments.json").read_text())
    assert content["settings"]["changes"] == {"happiness": {"min_duration": 0.2}}
    assert content["settings"]["defaults"]["expression"] == {
        "onset": 0.5, "offset": 0.4, "min_duration": 0.5, "merge_gap": 0.25, "max_missing": 0.2,
    }  # fmt: skip
    assert content["recordings"]["a"]["thresholds"]["AU12"] == Recipe.usual().thresholds["AU12"]
    assert run("segments", tmp_path / "in", "-o", tmp_path / "out", "-q")[0] == 0, "its own files are replaced"
    (tmp_path / "out" / "segments.csv").write_text("my,own\n")
    code, output = run("segments", tmp_path / "in", "-o", tmp_path / "out")
    assert code == 2
    assert "not recognised as written by hsemotion" in output


def test_one_bad_table_does_not_stop_the_others_and_only_bad_ones_write_nothing(tmp_path: Path) -> None:
    good = curves.table(tmp_path / "good.csv", {0: talker(np.random.default_rng(3), 60)}, 60)
    bad = tmp_path / "bad.csv"
    bad.write_text(good.read_text().replace("\n5,0.200000", "\nx,0.200000"))
    code, output = run("segments", good, bad, "-o", tmp_path / "out")
    assert code == 3
    assert "bad.csv: not a table made by annotate (the column frame holds 'x')" in output
    assert json.loads((tmp_path / "out" / "segments.json").read_text())["failed"]
    code, output = run("segments", bad, "-o", tmp_path / "none")
    assert code == 4
    assert not list((tmp_path / "none").iterdir())


def test_tables_without_sidecar_are_used_and_this_is_reported(tmp_path: Path) -> None:
    path = curves.table(tmp_path / "talk.csv", {0: talker(np.random.default_rng(3), 60)}, 60, sidecar=False)
    code, output = run("segments", path, "-o", tmp_path / "out")
    assert code == 0
    assert "no sidecar beside it, so it counts as not smoothed" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--kinds", "grin"], "--kinds grin: choose from expression"),
        (["--onset", "0.5"], "say of which kind or label"),
        (["--onset", "grin=0.5"], "'grin' is neither a kind of segment"),
        (["--onset", "AU12=0.5", "--offset", "AU12=0.6"], "cannot end only below 0.6"),
        (["--min-duration", "x"], "'x' is not a number"),
        (["--min-duration", "-1"], "seconds from 0"),
        (["--max-missing", "2"], "largest missing share is 0 to 1"),
        (["--merge-gap", "nan"], "finite"),
    ],
)
def test_rules_that_make_no_sense_are_refused(tmp_path: Path, words: list[str], sentence: str) -> None:
    path = curves.table(tmp_path / "talk.csv", {0: {"p_fear": np.ones(5)}}, 5)
    code, output = run("segments", path, "-o", tmp_path / "out", *words)
    assert code == 2
    assert sentence in " ".join(output.split())
    assert not (tmp_path / "out").exists()


def test_tables_are_found_once_and_photos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no tables with their sidecars"):
        find_tables([tmp_path / "empty"])
    path = curves.table(tmp_path / "talk.csv", {0: {"p_fear": np.ones(5)}}, 5)
    assert find_tables([tmp_path, path]) == [path]
    assert unread_folders([tmp_path, path]) == []
    with pytest.raises(InputError, match="photos"):
        photos = curves.table(tmp_path / "photos.csv", {0: {"p_fear": np.ones(5), "file": ["a.png"] * 5}}, 5)
        read_recording(photos, ())
    shuffled = path.read_text().splitlines()
    path.write_text("\n".join([shuffled[0], *reversed(shuffled[1:])]) + "\n")
    with pytest.raises(InputError, match="not sorted by frame"):
        read_recording(path, ())


def test_thresholds_of_rules_count_before_those_of_the_table(tmp_path: Path) -> None:
    recipe = replace(Recipe.usual(), thresholds={**Recipe.usual().thresholds, "AU12": 0.7})
    rule = Rules().of("action_unit", "AU12", recipe)
    assert (rule.onset, rule.offset) == pytest.approx((0.7, 0.56))
    assert Rules(thresholds={"AU12": 0.3}).of("action_unit", "AU12", recipe).onset == 0.3
    given_ = Rules().changed(min_duration=["AU12=1"]).of("action_unit", "AU12", recipe)
    assert (given_.onset, given_.min_duration) == (0.7, 1.0)
    with pytest.raises(UsageError):
        read_rules(tmp_path / "gone.toml")
    assert DEFAULTS["expression"] == Rule(0.5, 0.4)


def test_people_join_face_ids(tmp_path: Path) -> None:
    """Two face ids of one person, the second after a cut, become one track; a third keeps its number."""
    half = np.arange(200) < 100
    people = {
        0: {"p_fear": np.where(half, 0.9, np.nan)}, 1: {"p_fear": np.where(half, np.nan, 0.9)},
        2: {"p_fear": np.where(half, 0.9, np.nan)},
    }  # fmt: skip
    path = curves.table(tmp_path / "talk.csv", people, 200)
    names = tmp_path / "people.csv"
    names.write_text("recording,face_id,person\ntalk,0,Ann\ntalk,1,Ann\n")
    assert run("segments", path, "--people", names, "--kinds", "expression", "-o", tmp_path / "out")[0] == 0
    with (tmp_path / "out" / "segments.csv").open(newline="") as file:
        found = [(r["person"], float(r["onset"]), float(r["offset"])) for r in csv.DictReader(file)]
    assert found == [("2", 0.0, 4.0), ("Ann", 0.0, 8.0)]


def test_the_column_person_of_a_table_joins_face_ids(tmp_path: Path) -> None:
    half = np.arange(200) < 100
    people = {
        face: {"p_fear": np.where(own, 0.9, np.nan), "person": np.where(own, "Ann", np.array(np.nan, object))}
        for face, own in ((0, half), (1, ~half))
    }  # fmt: skip
    path = curves.table(tmp_path / "talk.csv", people, 200)
    got = found(path, replace(RAW, kinds=("expression",)))
    assert [(s.person, s.onset, s.offset) for s in got] == [("Ann", 0.0, 8.0)]


def test_a_name_that_is_a_formula_is_made_harmless(tmp_path: Path) -> None:
    path = curves.table(tmp_path / "=talk.csv", {0: {"p_fear": np.full(100, 0.9)}}, 100)
    names = tmp_path / "people.csv"
    names.write_text("recording,face_id,person\n,0,=1+1\n")
    assert run("segments", path, "--people", names, "--kinds", "expression", "-o", tmp_path / "out")[0] == 0
    with (tmp_path / "out" / "segments.csv").open(newline="") as file:
        assert [(r["recording"], r["person"]) for r in csv.DictReader(file)] == [("'=talk", "'=1+1")]


def test_tables_in_subfolders_are_not_read_in_silence(tmp_path: Path) -> None:
    """batch keeps the folders of its input, so its output folder is usually a tree."""
    top, below = tmp_path / "results", tmp_path / "results" / "p1" / "cam2"
    below.mkdir(parents=True)
    curves.table(below / "talk.csv", {0: {"p_fear": np.ones(50)}}, 50)
    (tmp_path / "results" / "p2").mkdir()
    (tmp_path / "results" / "p2" / "notes.csv").write_text("no table\n")
    with pytest.raises(InputError, match=r"results: no tables .*; its subfolders have some: give .*p1/cam2\."):
        find_tables([top])
    curves.table(top / "walk.csv", {0: {"p_fear": np.ones(50)}}, 50)
    code, output = run("segments", top, "-o", tmp_path / "one")
    assert code == 0
    assert "results: tables in its subfolders are not read; give" in " ".join(output.split())
    code, output = run("segments", top, below, "-o", tmp_path / "both")
    assert code == 0 and "are not read" not in output
    written = (tmp_path / "both" / "segments.csv").read_text().splitlines()
    found = {row["recording"] for row in csv.DictReader(written)}
    assert found == {"talk", "walk"}
