"""Summaries: statistics against pandas, baselines, windows that are refused or empty, wide and long form."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import curves
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hsemotion_cli.cli import app

FRAMES = 500  # 20 s


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, " ".join(result.output.split())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(row: dict[str, str], name: str) -> float:
    return float(row[name] or "nan")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Two people for 20 s; the second is away from 8 to 12 s."""
    random = np.random.default_rng(5)
    people: dict[int, dict[str, np.ndarray]] = {}
    for face in (0, 1):
        happy = np.clip(0.5 + 0.3 * curves.noise(random, FRAMES, 25), 0, 1)
        people[face] = {
            "valence": np.round(0.3 * curves.noise(random, FRAMES, 20), 6).clip(-1, 1),
            "p_happiness": happy,
            "p_neutral": 1 - happy,
        }
    for values in people[1].values():
        values[200:300] = np.nan
    return curves.table(tmp_path / "talk.csv", people, FRAMES)


def events(folder: Path, *lines: str, header: str = "recording,onset,offset,label,person") -> Path:
    path = folder / "events.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_statistics_are_those_of_pandas(talk: Path, tmp_path: Path) -> None:
    path = events(tmp_path, "talk,0,8,rest,", "talk,8,20,task,")
    code, output = run("summary", talk, "--events", path, "-o", tmp_path / "s.csv")
    assert code == 0, output
    frame = pd.read_csv(talk)
    found = rows(tmp_path / "s.csv")
    assert [(r["person"], r["window"]) for r in found] == [("0", "rest"), ("0", "task"), ("1", "rest"), ("1", "task")]
    for row in found:
        onset, offset = number(row, "onset"), number(row, "offset")
        own = frame[(frame.face_id == int(row["person"])) & (frame.time >= onset) & (frame.time < offset)]
        for name in ("valence", "p_happiness"):
            values = own[name]
            wanted = [values.mean(), values.std(), values.median(), values.quantile(0.95), values.max()]
            wanted.append(own.time[values.idxmax()] - onset)
            names = ("mean", "sd", "median", "p95", "maximum", "latency")
            assert [number(row, f"{name}_{n}") for n in names] == pytest.approx(wanted, abs=2e-6)
        assert number(row, "coverage") == pytest.approx(len(own) / curves.RATE / (offset - onset), abs=1e-6)
        assert int(row["frames"]) == len(own)
        assert row["reason"] == row["arousal_mean"] == ""


def test_segments_in_windows_are_counted_from_segments_csv(talk: Path, tmp_path: Path) -> None:
    path = events(tmp_path, ",2,9,a,", ",9,17,b,")
    assert run("summary", talk, "--events", path, "-o", tmp_path / "s.csv")[0] == 0
    assert run("segments", talk, "-o", tmp_path)[0] == 0
    frame, segments = pd.read_csv(talk), pd.read_csv(tmp_path / "segments.csv", dtype={"person": str})
    checked = 0
    for row in rows(tmp_path / "s.csv"):
        onset, offset = number(row, "onset"), number(row, "offset")
        own = segments[(segments.person == row["person"]) & (segments.label == "happiness")]
        begun = own.onset[(own.onset >= onset) & (own.onset < offset)]
        time = frame.time[(frame.face_id == int(row["person"])) & (frame.time >= onset) & (frame.time < offset)]
        inside = sum(((time >= s.onset - 1e-6) & (time < s.offset - 1e-6)).sum() for s in own.itertuples())
        assert number(row, "happiness_count") == len(begun)
        assert number(row, "happiness_share") == pytest.approx(inside / len(time), abs=1e-6)
        assert number(row, "happiness_first") == pytest.approx(
            begun.min() - onset if len(begun) else np.nan, abs=2e-6, nan_ok=True
        )
        checked += len(begun)
    assert checked > 2


@pytest.mark.parametrize("correction", ["difference", "z", "ratio"])
@pytest.mark.parametrize("base", ["0-5", "rest", "median"])
def test_a_baseline_is_each_persons_own(talk: Path, tmp_path: Path, base: str, correction: str) -> None:
    path = events(tmp_path, "talk,0,5,rest,", "talk,12,20,task,")
    words: list[str | Path] = ["--events", path, "--baseline", base, "--correct", correction]
    assert run("summary", talk, *words, "-o", tmp_path / "s.csv")[0] == 0
    frame = pd.read_csv(talk)
    for row in rows(tmp_path / "s.csv"):
        own = frame[frame.face_id == int(row["person"])]
        x = own.p_happiness[(own.time >= number(row, "onset")) & (own.time < number(row, "offset"))]
        b = own.p_happiness if base == "median" else own.p_happiness[own.time < 5]
        m = b.median() if base == "median" else b.mean()
        s = 1.4826 * (b - m).abs().median() if base == "median" else b.std()
        corrected = {"difference": x - m, "z": (x - m) / s, "ratio": x / m}[correction]
        assert number(row, "p_happiness_mean") == pytest.approx(corrected.mean(), abs=2e-6)
        assert number(row, "p_happiness_p95") == pytest.approx(corrected.quantile(0.95), abs=2e-6)
    settings = json.loads((tmp_path / "s.json").read_text())["settings"]["baseline"]
    assert settings == {"from": [0.0, 5.0] if base == "0-5" else base, "correction": correction}


def test_too_little_coverage_gives_empty_cells_and_the_reason(talk: Path, tmp_path: Path) -> None:
    path = events(tmp_path, "talk,7,12,short,1", "talk,9,11,away,1", "talk,7.96,12.2,few,1", "talk,11.92,12.4,brief,1")
    code, output = run("summary", talk, "--events", path, "-o", tmp_path / "s.csv")
    assert code == 0
    assert "4 windows have too little coverage" in output
    found = {row["window"]: row for row in rows(tmp_path / "s.csv")}
    assert found["short"]["reason"] == "coverage 0.20, below 0.5"
    assert found["away"]["reason"] == "no face in it"
    assert found["few"]["reason"] == "a face in 0.24 s only, below 1"
    assert found["brief"]["reason"] == "a face in 0.40 s only, below 1"
    assert {row["p_happiness_mean"] + row["happiness_count"] for row in found.values()} == {""}
    words = ["--window-coverage", "0", "--min-seconds", "0"]
    assert run("summary", talk, "--events", path, *words, "-o", tmp_path / "s.csv")[0] == 0
    assert [bool(row["p_happiness_mean"]) for row in rows(tmp_path / "s.csv")] == [True, False, True, True]
    code, _ = run("summary", talk, "--baseline", "9-11", "-o", tmp_path / "s.csv")
    assert code == 0
    assert [row["reason"] for row in rows(tmp_path / "s.csv")] == ["", "baseline: no face in it"]


def test_excluded_time_does_not_count(talk: Path, tmp_path: Path) -> None:
    path = events(
        tmp_path, "talk,0,8,a,,label", "talk,2,6,,0,exclude", header="recording,onset,offset,label,person,kind"
    )
    assert run("summary", talk, "--events", path, "-o", tmp_path / "s.csv")[0] == 0
    assert [row["frames"] for row in rows(tmp_path / "s.csv")] == ["100", "200"]


def test_the_long_form_has_the_same_values(talk: Path, tmp_path: Path) -> None:
    path = events(tmp_path, "talk,0,8,a,", "talk,9,11,b,1")
    assert run("summary", talk, "--events", path, "-o", tmp_path / "w.csv")[0] == 0
    assert run("summary", talk, "--events", path, "--form", "long", "-o", tmp_path / "l.csv")[0] == 0
    long = {
        (r["person"], r["window"], f"{r['measure']}_{r['statistic']}"): r["value"] for r in rows(tmp_path / "l.csv")
    }
    assert ("1", "b", "_") in long, "a window without values has its line with the reason"
    count = 0
    for row in rows(tmp_path / "w.csv"):
        for name in list(row)[9:]:
            value = long.get((row["person"], row["window"], name), "")
            assert float(value or "nan") == pytest.approx(float(row[name] or "nan"), nan_ok=True)
            count += bool(value)
    assert count > 40


def test_by_averages_the_rows_that_agree(talk: Path, tmp_path: Path) -> None:
    path = events(tmp_path, "talk,0,8,a,,x", "talk,8,20,b,,y", header="recording,onset,offset,label,person,group")
    for by in ("window", "person", "group"):
        assert run("summary", talk, "--events", path, "-o", tmp_path / "s.csv")[0] == 0
        assert run("summary", talk, "--events", path, "--by", by, "-o", tmp_path / "b.csv")[0] == 0
        single = pd.read_csv(tmp_path / "s.csv", dtype={"person": str})
        wanted = single.groupby(by)[["valence_mean", "happiness_count", "happiness_first"]].mean()
        pooled = pd.read_csv(tmp_path / "b.csv", dtype={"person": str}).set_index(by)
        pd.testing.assert_frame_equal(pooled[wanted.columns].astype(float), wanted, check_exact=False, atol=2e-6)
        assert pooled["rows"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["talk,0,8,a,", "talk,7,9,a,"], "row 3: the window 'a' overlaps the one in"),
        (["talk,0,8,a,", ",7,9,a,1"], "row 3: the window 'a' overlaps the one in"),
        (["talk,-1,8,a,"], "row 2: the onset -1 is negative"),
        (["talk,30,40,a,"], "row 2: from 30 to 40 s is outside of talk, which lasts from 0 to 20 s"),
        (["talk,0,8,a,Ann"], "row 2: there is no person 'Ann' in talk; there are 0, 1"),
        ([",0,8,a,Ann"], "row 2: there is no person 'Ann' in any of the tables"),
        (["walk,0,8,a,"], "row 2: no table of the recording 'walk'"),
        (["talk,3,3,a,"], "row 2: 'a' has no duration"),
    ],
)
def test_windows_that_do_not_fit_are_one_sentence_and_nothing_is_written(
    talk: Path, tmp_path: Path, lines: list[str], sentence: str
) -> None:
    code, output = run("summary", talk, "--events", events(tmp_path, *lines), "-o", tmp_path / "out" / "s.csv")
    assert code == 4
    assert sentence in output
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--form", "tall"], "choose from wide, long"),
        (["--by", "frame"], "choose from recording, person, window, group"),
        (["--baseline", "rest"], "give median, a span of seconds as 0-10, or the label of an event"),
        (["--baseline", "5-1"], "it ends before it begins"),
        (["--baseline", "median", "--correct", "log"], "choose from difference, z, ratio"),
        (["--measures", "smile"], "'smile' is not a column of numbers"),
        (["-o", "s.tsv"], "summaries are CSV files"),
    ],
)
def test_options_that_make_no_sense_are_refused(talk: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    code, output = run("summary", talk, "-o", tmp_path / "s.csv", *words)
    assert code == 2
    assert sentence in output


def test_windows_of_every_recording_skip_those_that_are_shorter(talk: Path, tmp_path: Path) -> None:
    curves.table(tmp_path / "brief.csv", {0: {"valence": np.zeros(50)}}, 50)
    path = events(tmp_path, ",5,9,a,")
    assert run("summary", talk, tmp_path / "brief.csv", "--events", path, "-o", tmp_path / "out" / "s.csv")[0] == 0
    reasons = {row["recording"]: row["reason"] for row in rows(tmp_path / "out" / "s.csv")}
    assert reasons == {"brief": "no face in it", "talk": ""}
