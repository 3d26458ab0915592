"""Synchrony: the formula written out, known lags, surrogates that tell chance from movement, and what is refused."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import curves
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from typer.testing import CliRunner

from hsemotion_cli.analysis.recordings import read_recording
from hsemotion_cli.analysis.series import sample
from hsemotion_cli.analysis.synchrony import Windows, effect, lagged_ccc, synchrony
from hsemotion_cli.cli import app
from hsemotion_cli.evaluation.metrics import ccc

FRAMES = 1500  # 60 s


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, " ".join(result.output.split())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_formula(x: np.ndarray, y: np.ndarray, size: int, step: int, lag: int) -> np.ndarray:
    """(windows, lags) Fisher's z, one correlation after the other."""
    found, start = [], 0
    while start + size + lag <= len(x):
        line = []
        for k in range(-lag, lag + 1):
            if k >= 0:
                one, other = x[start : start + size], y[start + k : start + k + size]
            else:
                one, other = x[start - k : start - k + size], y[start : start + size]
            bad = np.isnan(one).any() or np.isnan(other).any() or np.ptp(one) == 0 or np.ptp(other) == 0
            r = np.nan if bad else np.corrcoef(one, other)[0, 1]
            line.append(np.nan if bad else np.clip(np.arctanh(np.clip(r, -1 + 1e-16, 1 - 1e-16)), -10, 10))
        found.append(line)
        start += step
    return np.array(found)


@pytest.mark.parametrize("rate", [5, 10])
def test_windows_and_average_are_those_of_rmea(rate: int) -> None:
    """MEAccf of rMEA, in its own terms: seconds, windows counted from 0, each of them with ``lag`` samples more."""
    lag_s, window_s, increment_s = 2, 10, 3
    random = np.random.default_rng(rate)
    x, y = random.normal(size=(2, 61 * rate + 3)).cumsum(axis=1)
    window, lag, increment = window_s * rate, lag_s * rate, increment_s * rate
    count = math.ceil((len(x) - window - lag + 1) / increment)
    table = np.empty((count, 2 * lag + 1))
    for k in range(count):
        part = slice(k * increment, k * increment + window + lag)
        for j, shift in enumerate(range(-lag, lag + 1)):
            near, far = slice(0, window), slice(abs(shift), window + abs(shift))
            first, second = (near, far) if shift >= 0 else (far, near)
            table[k, j] = np.arctanh(pearsonr(x[part][first], y[part][second])[0])
    found = synchrony(x, y, Windows(window, increment, lag), 1, random)
    np.testing.assert_allclose(found.z, table, rtol=1e-6)
    assert found.strength == pytest.approx(np.abs(table).mean())


def test_what_moves_exactly_alike_has_the_largest_z_of_rmea() -> None:
    x = np.sin(np.arange(200) / 7)
    found = synchrony(x, 2 * x, Windows(50, 10, 3), 1, np.random.default_rng(0))
    assert (found.z[:, 3] == 10).all() and (np.abs(found.z) <= 10).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(5, 20), st.integers(1, 9), st.integers(0, 8))
def test_correlations_are_those_of_the_formula(seed: int, size: int, step: int, lag: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(2, 60)).cumsum(axis=1)
    x[20:22], y[40:50] = np.nan, 1.0
    windows = Windows(size, step, lag)
    found = synchrony(x, y, windows, 3, random)
    wanted = by_formula(x, y, size, step, lag)
    assert found.z == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    if (~np.isnan(wanted)).any():
        assert found.strength == pytest.approx(np.nanmean(np.abs(wanted)), abs=1e-6)
    for k, value in zip(range(-lag, lag + 1), lagged_ccc(x, y, windows), strict=True):
        one, other = (x[: len(x) - k], y[k:]) if k >= 0 else (x[-k:], y[: len(y) + k])
        both = ~np.isnan(one) & ~np.isnan(other)
        assert value == pytest.approx(float(ccc(one[both], other[both])))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(-15, 15))
def test_a_shift_is_found_as_the_peak_lag(seed: int, shift: int) -> None:
    """y follows x by ``shift`` samples: the lag is positive where x leads."""
    whole = curves.noise(np.random.default_rng(seed), 700, 6)
    x, y = whole[50:650], whole[50 - shift : 650 - shift]
    noisy = y + 0.3 * np.random.default_rng(seed + 1).normal(size=600)
    found = synchrony(x, noisy, Windows(100, 50, 20), 0, np.random.default_rng(0))
    assert found.curve.argmax() - 20 == shift
    assert Windows(100, 50, 20).lags[np.nanargmax(found.ccc)] == shift


def test_surrogates_never_pair_a_window_with_its_own_time() -> None:
    x = curves.noise(np.random.default_rng(0), 600, 6)
    found = synchrony(x, x, Windows(100, 100, 0), 50, np.random.default_rng(0))
    assert found.strength > 7, "artanh of the highest correlation that counts"
    assert found.surrogates.max() < 2


def test_chance_gives_small_p_rarely_and_movement_together_nearly_always() -> None:
    random = np.random.default_rng(7)
    together: list[float] = []
    apart: list[float] = []
    for _ in range(25):
        x, y = (curves.noise(random, 600, 8) for _ in range(2))
        for other, p in ((0.6 * np.roll(x, 5) + 0.8 * y, together), (y, apart)):
            found = synchrony(x, other, Windows(100, 50, 20), 59, random)
            p.append(effect(found.strength, found.surrogates)[3])
    assert np.mean(np.array(apart) <= 0.05) <= 0.15
    assert np.mean(np.array(together) <= 0.05) >= 0.6


def test_effect_and_p_are_as_written() -> None:
    mean, spread, size, p = effect(3.0, np.array([1.0, 2.0, 3.0, np.nan]))
    assert (mean, spread, size, p) == pytest.approx((2.0, 1.0, 1.0, 0.5))
    assert np.isnan(effect(3.0, np.array([1.0]))).all()


def test_samples_are_means_of_frames_and_long_gaps_stay_empty(tmp_path: Path) -> None:
    value = np.arange(100) / 100
    value[40:44], value[60:80] = np.nan, np.nan
    path = curves.table(tmp_path / "talk.csv", {0: {"valence": value}}, 100)
    recording = read_recording(path, ["valence"])
    series = sample(recording, recording.tracks[0], "valence", 10.0, (recording.start, recording.end))
    time = np.arange(100) * 0.04
    for k in range(40):
        inside = (time >= k / 10 - 0.05 - 1e-9) & (time < k / 10 + 0.05 - 1e-9) & ~np.isnan(value)
        if inside.any():
            assert series.values[k] == pytest.approx(value[inside].mean(), abs=1e-6)
        elif 16 <= k < 18:
            assert series.values[k] == pytest.approx(0.42, abs=0.03), "0.16 s are bridged"
        else:
            assert np.isnan(series.values[k])
    assert np.isnan(series.values[25:31]).all()
    assert series.coverage == pytest.approx(1 - np.isnan(series.values).mean())


def pair(folder: Path, name: str, seed: int, lag: int = 0, share: float = 0.98) -> Path:
    """Two people: the second follows the first by ``lag`` frames."""
    random = np.random.default_rng(seed)
    whole = curves.noise(random, FRAMES + 100, 20)
    first, copied = whole[50 : FRAMES + 50], whole[50 - lag : FRAMES + 50 - lag]
    second = share * copied + np.sqrt(1 - share**2) * curves.noise(random, FRAMES, 20)
    people = {0: {"valence": 0.2 * first.clip(-4, 4)}, 1: {"valence": 0.2 * second.clip(-4, 4)}}
    return curves.table(folder / f"{name}.csv", people, FRAMES)


def test_the_command_finds_who_leads_and_compares_with_shuffles(tmp_path: Path) -> None:
    tables = [pair(tmp_path, "lead", 1, 20), pair(tmp_path, "follow", 2, -10), pair(tmp_path, "none", 3, 0, 0.0)]
    code, output = run("sync", *tables, "--measure", "valence", "-o", tmp_path / "out")
    assert code == 0, output
    found = {row["recording"]: row for row in rows(tmp_path / "out" / "sync.csv")}
    assert float(found["lead"]["peak_lag"]) == pytest.approx(0.8, abs=0.15)
    assert float(found["follow"]["peak_lag"]) == pytest.approx(-0.4, abs=0.15)
    assert (found["lead"]["leader"], found["follow"]["leader"]) == ("first", "second")
    for name in ("lead", "follow"):
        assert float(found[name]["shuffled_p"]) < 0.02
        assert float(found[name]["shuffled_effect"]) > 2
        assert float(found[name]["pairs_effect"]) > float(found["none"]["pairs_effect"])
    assert float(found["none"]["shuffled_p"]) > 0.05
    windows = [row for row in rows(tmp_path / "out" / "sync_windows.csv") if row["recording"] == "lead"]
    assert len(windows) == int(found["lead"]["windows"]) == 10
    strengths = [float(row["synchrony"]) for row in windows]
    assert np.mean(strengths) == pytest.approx(float(found["lead"]["synchrony"]), abs=1e-5)
    content = json.loads((tmp_path / "out" / "sync.json").read_text())["settings"]
    assert (content["window"], content["step"], content["max_lag"], content["surrogates"]) == (10.0, 5.0, 2.0, 200)
    code, _ = run("sync", *tables, "--measure", "valence", "-o", tmp_path / "again")
    assert (tmp_path / "again" / "sync.csv").read_bytes() == (tmp_path / "out" / "sync.csv").read_bytes()


def test_two_videos_are_compared_on_a_common_clock(tmp_path: Path) -> None:
    whole = 0.2 * curves.noise(np.random.default_rng(4), FRAMES + 200, 20).clip(-4, 4)
    left = curves.table(tmp_path / "left.csv", {0: {"valence": whole[:FRAMES]}}, FRAMES)
    right = curves.table(tmp_path / "right.csv", {3: {"valence": whole[125 : FRAMES + 125]}}, FRAMES)
    code, output = run("sync", left, right, "--offset", "5", "--measure", "valence", "-o", tmp_path / "out")
    assert code == 0, output
    (row,) = rows(tmp_path / "out" / "sync.csv")
    assert (row["recording"], row["second_recording"], row["second"]) == ("left", "right", "3")
    assert float(row["peak_lag"]) == 0
    assert float(row["seconds"]) == pytest.approx(55)
    assert float(row["ccc"]) > 0.99
    assert run("sync", left, right, "--offset", "4", "--measure", "valence", "-o", tmp_path / "out")[0] == 0
    assert float(rows(tmp_path / "out" / "sync.csv")[0]["peak_lag"]) == pytest.approx(-1.0)


def test_a_pair_that_cannot_be_compared_has_a_reason(tmp_path: Path) -> None:
    path = pair(tmp_path, "talk", 1)
    table = {0: {"valence": 0.2 * curves.noise(np.random.default_rng(1), FRAMES, 20).clip(-4, 4)},
             1: {"valence": np.full(FRAMES, 0.1)}}  # fmt: skip
    away = {**table, 1: {"valence": np.where(np.arange(FRAMES) < 900, table[0]["valence"], np.nan)}}
    still, gone = curves.table(tmp_path / "still.csv", table, FRAMES), curves.table(tmp_path / "gone.csv", away, FRAMES)
    assert run("sync", path, still, gone, "--measure", "valence", "-o", tmp_path / "out")[0] == 0
    found = {row["recording"]: row for row in rows(tmp_path / "out" / "sync.csv")}
    assert found["still"]["reason"] == "face 1 hardly moves (standard deviation 0.000, below 0.02)"
    assert found["gone"]["reason"] == "face 1 is seen in 0.60 of the samples, below 0.8"
    assert found["still"]["synchrony"] == found["gone"]["peak_lag"] == ""
    assert found["talk"]["reason"] == ""


def test_what_cannot_be_compared_at_all_is_one_sentence(tmp_path: Path) -> None:
    alone = curves.table(tmp_path / "alone.csv", {0: {"valence": np.linspace(0, 1, 100)}}, 100)
    still = curves.table(tmp_path / "still.csv", {face: {"valence": np.zeros(FRAMES)} for face in (0, 1)}, FRAMES)
    nobody = curves.table(tmp_path / "nobody.csv", {}, 100)
    for words, code, sentence in (
        ([alone], 4, "alone.csv: fewer than two people; synchrony needs two faces of a video, or two tables"),
        ([nobody], 4, "nobody.csv: fewer than two people"),
        ([alone, nobody], 4, "alone.csv: 2 tables, none with two people"),
        ([alone, nobody, "--offset", "0"], 4, "one of them has no face, so there is no pair to compare"),
        ([still, "--measure", "valence"], 4, "face 0 and face 1 cannot be compared (valence: face 0 hardly moves"),
        ([still, "--measure", "valence,arousal"], 4, "; the same is true for one more pair and measure."),
        ([alone, alone, "--offset", "nan"], 2, "--offset nan: give a number of seconds"),
        ([alone, alone, "--offset", "90"], 4, "with --offset 90 they have no time in common"),
        ([alone, "--offset", "1"], 2, "--offset 1: it compares two tables; give two, not 1"),
        ([still, "--measure", "expression"], 2, "--measure expression: not a column of numbers"),
        ([still, "--measure", ""], 2, "--measure: no column is given"),
        ([still, "--window", "0"], 2, "--window 0: give a number above 0"),
        ([still, "--step", "nan"], 2, "--step nan: give a number above 0"),
        ([still, "--rate", "inf"], 2, "--rate inf: give a number above 0"),
        ([still, "--max-lag", "-1"], 2, "--max-lag -1: give a number of seconds from 0"),
        ([pair(tmp_path, "talk", 1), "--window", "70", "--measure", "valence"], 4, "the largest lag, 72 s; shorten"),
    ):  # fmt: skip
        got, output = run("sync", *words, "-o", tmp_path / "out")
        assert (got, sentence in output) == (code, True), output
        assert not (tmp_path / "out").exists()


def test_without_surrogates_there_is_no_effect_and_nothing_is_said_of_them(tmp_path: Path) -> None:
    code, output = run(
        "sync", pair(tmp_path, "talk", 1), "--measure", "valence", "--surrogates", "0", "-o", tmp_path / "out"
    )
    assert code == 0
    assert "nan" not in output and "shuffled pairs" not in output
