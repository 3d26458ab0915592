"""Smoothing against scipy, at ends, gaps, and uneven times; blending and bridging."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing, from_sigma, parse_models, to_sigma
from hsemotion_cli.postprocess.refine import blend, refine
from hsemotion_cli.postprocess.smoothing import nested, segments, smooth, smooth_run
from hsemotion_cli.tasks import ACTION_UNITS, TASKS
from hsemotion_cli.timeline import Timeline


def timeline(rows: list[tuple[int, int]], times: np.ndarray, **models: dict[str, np.ndarray]) -> Timeline:
    """``rows`` are (frame position, face id)."""
    row, face = (np.array([r[k] for r in rows], np.int64).reshape(-1) for k in (0, 1))
    n = len(rows)
    box = np.column_stack([np.arange(n), np.zeros(n), np.full(n, 10), np.full(n, 10)]).astype(np.float32)
    index = np.arange(len(times))
    return Timeline(index, np.asarray(times, float), row, face, np.full(n, 0.9, np.float32), box, models)


def scores(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Of a model with AffectNet's eight classes; it does not know the ninth."""
    random = np.random.default_rng(seed)
    expression = np.column_stack([random.dirichlet(np.ones(8), n), np.full(n, np.nan)])
    return {
        "expression": expression.astype(np.float32),
        "valence_arousal": random.uniform(-1, 1, (n, 2)).astype(np.float32),
        "action_units": random.uniform(0, 1, (n, 12)).astype(np.float32),
    }


@pytest.mark.parametrize("width", [0.6, 0.9, 1.0, 2.5, 7.0])
@pytest.mark.parametrize("length", [1, 2, 9, 200])
def test_gaussian_is_scipys_with_its_weights_normalised_at_the_ends(width: float, length: int) -> None:
    values = np.random.default_rng(3).normal(size=(length, 4))
    kwargs = {"sigma": width, "axis": 0, "mode": "constant", "truncate": 4.0}
    expected = ndimage.gaussian_filter1d(values, **kwargs) / ndimage.gaussian_filter1d(np.ones((length, 1)), **kwargs)
    found = smooth_run(np.arange(float(length)), values, Smoothing("gaussian", width, "frames"))
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("width", [1, 3, 11, 101])
@pytest.mark.parametrize("length", [1, 2, 9, 200])
def test_box_is_scipys_with_its_window_cut_off_at_the_ends(width: int, length: int) -> None:
    values = np.random.default_rng(4).normal(size=(length, 3))
    kwargs = {"size": width, "axis": 0, "mode": "constant"}
    expected = ndimage.uniform_filter1d(values, **kwargs) / ndimage.uniform_filter1d(np.ones((length, 1)), **kwargs)
    found = smooth_run(np.arange(float(length)), values, Smoothing("box", width, "frames"))
    assert found == pytest.approx(expected, abs=1e-9)


def test_seconds_and_frames_agree_at_a_constant_rate() -> None:
    values = np.random.default_rng(5).normal(size=(100, 2))
    seconds = smooth_run(np.arange(100) / 25, values, Smoothing("gaussian", 0.1, "seconds"))
    frames = smooth_run(np.arange(100.0), values, Smoothing("gaussian", 2.5, "frames"))
    assert seconds == pytest.approx(frames, abs=1e-12)
    box = smooth_run(np.arange(100) / 25, values, Smoothing("box", 0.4, "seconds"))
    assert box == pytest.approx(smooth_run(np.arange(100.0), values, Smoothing("box", 11, "frames")), abs=1e-12)


def test_uneven_times_weigh_by_their_distance() -> None:
    times = np.array([0.0, 0.1, 0.15, 0.9])
    values = np.array([[1.0], [2.0], [4.0], [8.0]])
    weights = np.exp(-0.5 * ((times[:, None] - times[None]) / 0.1) ** 2)
    weights[np.abs(times[:, None] - times[None]) > 0.4 + 1e-9] = 0
    expected = weights @ values / weights.sum(axis=1, keepdims=True)
    assert smooth_run(times, values, Smoothing("gaussian", 0.1)) == pytest.approx(expected)


def test_nothing_is_smoothed_across_a_long_gap_or_between_people() -> None:
    times = np.arange(60) / 25
    rows = [(k, 0) for k in range(20)] + [(k, 1) for k in range(60)] + [(k, 0) for k in range(40, 60)]
    rows.sort()
    line = timeline(rows, times)
    values = np.array([[1000.0 * face + (100 if frame >= 40 else 0)] for frame, face in rows])
    wide = Smoothing("gaussian", 5.0)
    split = smooth(line, values, wide, max_gap=0.5)
    for frame, face in rows:
        if face == 0:
            assert split[rows.index((frame, face)), 0] == pytest.approx(100 if frame >= 40 else 0)
    # The same gap of 0.8 s is bridged where longer ones are allowed.
    joined = smooth(line, values, wide, max_gap=1.0)
    assert 1 < joined[rows.index((19, 0)), 0] < 99


def test_frames_analysed_rarely_are_no_gaps() -> None:
    line = timeline([(k, 0) for k in range(5)], np.arange(5) * 2.0)
    assert len(segments(line, 0.5)) == 1
    assert len(segments(timeline([(0, 0), (1, 0), (4, 0)], np.arange(5) * 2.0), 0.5)) == 2


def test_unscored_rows_stay_unscored_and_weigh_nothing() -> None:
    values = np.array([[1.0], [np.nan], [3.0]])
    found = smooth_run(np.arange(3.0), values, Smoothing("box", 3, "frames"))
    assert found[[0, 2], 0] == pytest.approx([1, 3])
    assert np.isnan(found[1, 0])


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
numbers = st.floats(1e-3, 100)
counts = st.integers(1, 60).map(float)
odd = st.integers(0, 50).map(lambda k: 2 * k + 1.0)
filters = st.one_of(
    st.builds(Smoothing, st.just("gaussian"), numbers, st.sampled_from(["seconds", "frames", "neighbours"])),
    st.builds(Smoothing, st.just("gaussian"), numbers, st.just("seconds"), numbers, st.just("seconds")),
    st.builds(Smoothing, st.just("gaussian"), numbers, st.just("frames"), counts, st.just("frames")),
    st.builds(
        Smoothing,
        st.just("gaussian"),
        numbers,
        st.sampled_from(["seconds", "frames", "neighbours"]),
        counts,
        st.just("neighbours"),
    ),
    st.builds(Smoothing, st.just("box"), odd, st.sampled_from(["frames", "neighbours"])),
    st.builds(Smoothing, st.just("box"), odd, st.just("frames"), counts, st.sampled_from(["frames", "neighbours"])),
    st.builds(Smoothing, st.just("box"), numbers),
    st.builds(Smoothing, st.just("box"), numbers, st.just("seconds"), numbers, st.just("seconds")),
    st.builds(Smoothing, st.just("box"), numbers, st.just("seconds"), counts, st.just("neighbours")),
)


@patient
@given(filters, st.lists(st.tuples(st.floats(0.001, 3), st.floats(-1, 1)), min_size=1, max_size=40))
def test_smoothing_keeps_shape_range_and_constants(filter_: Smoothing, steps: list[tuple[float, float]]) -> None:
    times = np.cumsum([s for s, _ in steps])
    position = np.arange(float(len(steps))) if filter_.unit == "frames" else times
    values = np.array([[v, 0.25] for _, v in steps])
    found = smooth_run(position, values, filter_)
    assert found.shape == values.shape
    assert found[:, 0].min() >= values[:, 0].min() - 1e-9
    assert found[:, 0].max() <= values[:, 0].max() + 1e-9
    assert found[:, 1] == pytest.approx(np.full(len(steps), 0.25))


def brute(position: np.ndarray, values: np.ndarray, filter_: Smoothing) -> np.ndarray:
    """Sums over pairs of rows, written down from what the documentation says."""
    result = np.full(values.shape, np.nan)
    for i, j in np.ndindex(*values.shape):
        if np.isnan(values[i, j]):
            continue
        above = below = 0.0
        for k in range(len(position)):
            apart = abs(i - k)
            d = float(apart) if filter_.unit == "neighbours" else abs(position[k] - position[i])
            dust = 1e-9 if filter_.unit == "seconds" else 0.0
            if filter_.kernel == "box":
                own = filter_.width / 2 if filter_.unit == "seconds" else (filter_.width - 1) / 2
                inside, weight = d <= own + dust, 1.0
            else:
                own = 4 * filter_.width if filter_.unit == "seconds" else int(4 * filter_.width + 0.5)
                inside, weight = bool(filter_.reach) or d <= own + dust, np.exp(-(d**2) / (2 * filter_.width**2))
            if filter_.reach:
                there = apart if filter_.reach_unit == "neighbours" else d
                inside = inside and there <= filter_.reach + dust
            if inside and not np.isnan(values[k, j]):
                above, below = above + weight * values[k, j], below + weight
        result[i, j] = above / below
    return result


@patient
@given(filters, st.lists(st.tuples(st.integers(1, 30), st.floats(-1, 1)), min_size=1, max_size=25), st.data())
def test_every_filter_is_what_it_is_documented_to_be(
    filter_: Smoothing, steps: list[tuple[int, float]], data: st.DataObject
) -> None:
    """Rows with some or all columns unknown get no weight; frames may be far apart."""
    index = np.cumsum([s for s, _ in steps])
    position = index.astype(float) if filter_.unit == "frames" else index / 25
    values = np.array([[v, -v, v * v] for _, v in steps])
    values[data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))] = np.nan
    values[: data.draw(st.integers(0, 3)), 1] = np.nan
    found = smooth_run(position, values, filter_)
    np.testing.assert_allclose(found, brute(position, values, filter_), rtol=1e-9, atol=1e-12)


@patient
@given(filters)
def test_smoothing_words_are_exact(filter_: Smoothing) -> None:
    assert Smoothing.parse(str(filter_)) == filter_
    assert "=" not in str(filter_) and "," not in str(filter_)


@patient
@given(st.floats(1e-300, 1e300), st.integers(1, 10**14))
def test_any_width_survives_being_written(width: float, reach: int) -> None:
    for filter_ in (
        Smoothing("gaussian", width, "frames", float(reach), "neighbours"),
        Smoothing("gaussian", width, "seconds", width, "seconds"),
        Smoothing("box", width),
    ):
        assert Smoothing.parse(str(filter_)) == filter_


@pytest.mark.parametrize(
    "text",
    [
        "gaussian:0.2", "gaussian:5f", "gaussian:5n", "box:1.5", "box:11f", "box:101n", "none", "gaussian:0.2/1.5",
        "gaussian:5f/50f", "gaussian:5f/50n", "gaussian:0.2/7n", "box:101f/50n", "box:101f/20f", "box:1.5/0.25",
        "gaussian:1e-07", "abaw:100/50", "abaw:0.1/5",
    ],
)  # fmt: skip
def test_smoothing_words_round_trip(text: str) -> None:
    assert str(Smoothing.parse(text)) == text
    assert Recipe.of("mp-blendshapes").changed(smooth=text).smoothing.get("expression", Smoothing()) == (
        Smoothing.parse(text)
    )
    single = Recipe.of("mp-blendshapes").changed(smooth=f"expression={text},action_units=none")
    assert single.smoothing.get("expression", Smoothing()) == Smoothing.parse(text)


def test_smoothing_words_mean_what_they_say() -> None:
    assert Smoothing.parse("gaussian:0.2s/1.5s") == Smoothing("gaussian", 0.2, "seconds", 1.5, "seconds")
    assert Smoothing.parse("gaussian:5f/50n") == Smoothing("gaussian", 5, "frames", 50, "neighbours")
    assert Smoothing.parse("abaw:1e5/50") == Smoothing("gaussian", 5e4**0.5, "frames", 50, "neighbours")
    assert Smoothing.parse("abaw:50/10") == Smoothing.parse("gaussian:5f/10n")
    assert Smoothing.parse("abaw:box/50") == Smoothing("box", 101, "neighbours") == Smoothing.parse("box:101n")
    assert Smoothing.parse("abaw:box/0") == Smoothing("box", 1, "neighbours")


@pytest.mark.parametrize(
    "text",
    [
        "", "median:3", "gaussian", "gaussian:", "gaussian:-1", "box:4f", "box:0", "gaussian:1e3x", "box:4n",
        "gaussian:5f/50", "gaussian:0.2/5f", "gaussian:5f/2.5n", "gaussian:5f/0n", "gaussian:5f/", "gaussian:0.2/0",
        "box:0.4/1e999", "gaussian:1e999", "abaw:100", "abaw:0/5", "abaw:100/0", "abaw:100/2.5", "abaw:-1/5",
        "abaw:box/", "abaw:gaussian/5", "abaw:100/50n", "gaussian:5f/50n/3", "gaussian:5n/3f", "gaussian:0.2/1.5m",
    ],
)  # fmt: skip
def test_other_smoothing_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--smooth"):
        Smoothing.parse(text)


def test_filters_that_there_are_not() -> None:
    for wrong in (("median", 3.0), ("gaussian", 3.0, "hours"), ("box", 3.0, "frames", 5.0, "metres")):
        with pytest.raises(UsageError, match="no such filter"):
            Smoothing(*wrong)
    with pytest.raises(UsageError, match="reach"):
        Smoothing("gaussian", 5, "frames", 0, "frames")


@patient
@given(st.floats(1e-6, 1e6))
def test_sigma_is_twice_the_variance(sigma: float) -> None:
    d = np.arange(50.0)
    found = np.exp(-(d**2) / (2 * from_sigma(sigma) ** 2))
    np.testing.assert_allclose(found, np.exp(-(d**2) / sigma), rtol=1e-9, atol=1e-300)
    assert to_sigma(from_sigma(sigma)) == pytest.approx(sigma, rel=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 1, 10, 50, 100, 500, 1000, 1e4, 1e5])
@pytest.mark.parametrize("delta", [1, 5, 10, 50, 100])
def test_the_papers_gaussian(sigma: float, delta: int) -> None:
    """Sparse frame lists: the window counts rows, the weights know the true distance; both sides reach equally far."""
    random = np.random.default_rng(8)
    frames = np.cumsum(random.integers(1, 30, 160)).astype(float)
    values = random.random((160, 12))
    expected = np.empty_like(values)
    for i in range(160):
        window = slice(max(i - delta, 0), i + delta + 1)
        w = np.exp(-((frames[window] - frames[i]) ** 2) / sigma)
        expected[i] = (w[:, None] * values[window]).sum(axis=0) / w.sum()
    found = smooth_run(frames, values, Smoothing.parse(f"abaw:{sigma}/{delta}"))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # ... and turned around in time it is the same, which a window that lacks a row on one side would not be.
    back = smooth_run(-frames[::-1], values[::-1], Smoothing.parse(f"abaw:{sigma}/{delta}"))[::-1]
    np.testing.assert_allclose(found, back, rtol=1e-9)


@pytest.mark.parametrize("delta", [0, 1, 5, 50, 200])
def test_the_papers_box_is_cut_off_at_the_ends(delta: int) -> None:
    values = np.random.default_rng(9).random((120, 8))
    expected = [values[max(0, i - delta) : i + delta + 1].mean(axis=0) for i in range(120)]
    frames = np.cumsum(np.random.default_rng(1).integers(1, 90, 120)).astype(float)
    found = smooth_run(frames, values, Smoothing.parse(f"abaw:box/{delta}"))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    if 0 < delta < 50:
        inside = ndimage.uniform_filter1d(values, 2 * delta + 1, axis=0)[delta:-delta]
        np.testing.assert_allclose(found[delta:-delta], inside, atol=1e-12)
    dense = smooth_run(np.arange(120.0), values, Smoothing("box", 2 * delta + 1, "frames"))
    np.testing.assert_allclose(found, dense, atol=1e-12, err_msg="where every frame is there, rows are frames")


@pytest.mark.parametrize("reach", [3, 10, 25])
def test_a_reach_is_scipys_radius(reach: int) -> None:
    values = np.random.default_rng(3).normal(size=(200, 4))
    inside = ndimage.gaussian_filter1d(values, 7.5, axis=0, radius=reach)[reach:-reach]
    for text in (f"gaussian:7.5f/{reach}f", f"gaussian:7.5f/{reach}n", f"gaussian:7.5n/{reach}n"):
        found = smooth_run(np.arange(200.0), values, Smoothing.parse(text))
        np.testing.assert_allclose(found[reach:-reach], inside, atol=1e-12)


def test_a_very_wide_gaussian_is_nearly_a_box() -> None:
    """HSEmotion, ABAW-7: sigma 1e5 is in practice a box; at 50 rows its weight has fallen to 0.975."""
    values = np.random.default_rng(2).random((1000, 8))
    position = np.arange(1000.0)
    box = smooth_run(position, values, Smoothing.parse("abaw:box/50"))
    wide = smooth_run(position, values, Smoothing.parse("abaw:1e5/50"))
    narrower = smooth_run(position, values, Smoothing.parse("abaw:1000/50"))
    assert 0 < np.abs(wide - box).max() < 0.001 < 0.02 < np.abs(narrower - box).max()


def test_action_units_are_normalised_as_all_tasks_are() -> None:
    """The published code forgot to divide them, so that they grew with the window."""
    n = 80
    given_ = scores(n) | {"action_units": np.full((n, 12), 0.3, np.float32)}
    line = timeline([(k, 0) for k in range(n)], np.arange(n) / 25, m=given_)
    for text in ("abaw:1e4/10", "abaw:box/50", "gaussian:0.2", "gaussian:5f/7n"):
        affect = refine(line, Recipe(("m",), smoothing=dict.fromkeys(TASKS, Smoothing.parse(text))))
        assert affect.tasks["action_units"] == pytest.approx(np.full((n, 12), np.float32(0.3)), abs=1e-12)


def test_an_impulse_spreads_equally_to_both_sides() -> None:
    for text in ("abaw:100/5", "abaw:box/5", "gaussian:3f/5f", "gaussian:0.12/0.2", "box:11f"):
        filter_ = Smoothing.parse(text)
        position = np.arange(41.0) if filter_.unit == "frames" else np.arange(41) / 25
        values = np.zeros((41, 1))
        values[20] = 1
        found = smooth_run(position, values, filter_)[:, 0]
        assert np.flatnonzero(found).tolist() == list(range(15, 26)), text
        np.testing.assert_allclose(found, found[::-1], atol=1e-15)


def test_neighbours_are_rows_of_the_same_face() -> None:
    rows = sorted([(k, 0) for k in range(0, 60, 6)] + [(k, 1) for k in range(60)])
    line = timeline(rows, np.arange(60) / 25)
    values = np.array([[100.0 * face + frame] for frame, face in rows])
    found = smooth(line, values, Smoothing.parse("abaw:box/1"), max_gap=1.0)
    assert found[rows.index((30, 0)), 0] == pytest.approx(30)
    assert found[rows.index((0, 0)), 0] == pytest.approx(3), "the mean of frames 0 and 6"
    assert found[rows.index((59, 1)), 0] == pytest.approx(158.5)


def test_sparse_frames_count_by_their_true_distance() -> None:
    """The images of s-Aff-Wild2: gaps are no gaps there, and the Gaussian knows how long they are."""
    index = np.array([3, 17, 20, 400, 402])
    line = Timeline(
        index, index / 30, np.arange(5), np.zeros(5, np.int64), np.ones(5, np.float32), np.ones((5, 4), np.float32), {}
    )
    values = np.arange(5.0)[:, None]
    w = np.exp(-((index[:, None] - index[None]) ** 2) / 1000)
    w[np.abs(np.subtract.outer(np.arange(5), np.arange(5))) > 2] = 0
    found = smooth(line, values, Smoothing.parse("abaw:1000/2"), max_gap=1e5)
    np.testing.assert_allclose(found, w @ values / w.sum(axis=1, keepdims=True), rtol=1e-12)
    near = smooth(line, values, Smoothing.parse("abaw:1e9/2"), max_gap=0.5)
    np.testing.assert_allclose(near[:, 0], [1, 1, 1, 3.5, 3.5], atol=1e-4)


@patient
@given(filters.filter(lambda f: f.kernel == "gaussian" or f.unit == "neighbours"), st.integers(1, 40))
def test_nested_windows_are_each_window_to_the_last_bit(filter_: Smoothing, length: int) -> None:
    random = np.random.default_rng(length)
    position, values = np.cumsum(random.random(length)), random.random((length, 3))
    values[random.random(length) < 0.2] = np.nan
    windows = (1, 2, 5, 10, 100)
    for window, found in zip(windows, nested(position, values, filter_, windows), strict=True):
        if filter_.kernel == "box":
            alone = Smoothing("box", 2.0 * window + 1, "neighbours")
        else:
            alone = Smoothing("gaussian", filter_.width, filter_.unit, window, "neighbours")
        if filter_.reach_unit != "neighbours" or not (filter_.reach or filter_.kernel == "box"):
            continue  # its own end by distance stays in force
        assert np.array_equal(found, smooth_run(position, values, alone), equal_nan=True)


@pytest.mark.parametrize("rate", [25.0, 30000 / 1001, 60.0])
@pytest.mark.parametrize("text", ["gaussian:5f", "gaussian:2f/7f", "gaussian:2f/7n", "box:11f", "box:11f/3f", "box:9n"])
def test_frames_and_seconds_of_a_frame_rate(text: str, rate: float) -> None:
    filter_ = Smoothing.parse(text)
    seconds = filter_.in_seconds(rate)
    assert seconds.unit == seconds.reach_unit == "seconds"
    values = np.random.default_rng(5).normal(size=(100, 2))
    expected = smooth_run(np.arange(100.0), values, filter_)
    times = np.arange(100) / rate
    np.testing.assert_allclose(smooth_run(times, values, seconds), expected, atol=1e-12)
    rounded = np.round(times, 3)  # as in a container that counts milliseconds
    np.testing.assert_allclose(smooth_run(rounded, values, seconds), expected, atol=0.05)
    back = seconds.in_frames(rate)
    assert {back.unit, back.reach_unit} <= {"frames", "seconds"}
    assert back.reach == filter_.reach
    np.testing.assert_allclose(smooth_run(np.arange(100.0), values, back), expected, atol=1e-12)
    assert seconds.in_seconds(50) == seconds and filter_.in_frames(50) == filter_


def test_seconds_that_reach_no_other_frame_are_no_smoothing_in_frames() -> None:
    assert Smoothing.parse("gaussian:0.2/0.01").in_frames(25) == Smoothing()
    assert Smoothing.parse("box:0.01").in_frames(25) == Smoothing("box", 1, "frames")
    assert Smoothing.parse("gaussian:0.2/7n").in_frames(25) == Smoothing.parse("gaussian:5f/7n")
    assert Smoothing().in_frames(25) == Smoothing().in_seconds(25) == Smoothing()


def test_blending_is_the_weighted_mean_and_takes_a_task_from_who_has_it() -> None:
    a, b = scores(6, 1), scores(6, 2)
    del b["action_units"]
    line = timeline([(k, 0) for k in range(6)], np.arange(6) / 25, a=a, b=b)
    recipe = Recipe(("a", "b"), blend=dict.fromkeys(TASKS, 0.6), thresholds={})
    expected = 0.6 * a["expression"].astype(float) + 0.4 * b["expression"].astype(float)
    assert blend(line, recipe, "expression") == pytest.approx(expected, nan_ok=True)
    assert np.array_equal(blend(line, recipe, "action_units"), a["action_units"])
    everything = Recipe(("a", "b"), blend=dict.fromkeys(TASKS, 1.0))
    assert np.array_equal(blend(line, everything, "expression"), a["expression"], equal_nan=True)
    with pytest.raises(InputError, match="raw scores of c"):
        blend(line, Recipe(("c",)), "expression")


def test_a_face_that_one_model_could_not_score_is_the_others() -> None:
    a, b = scores(2, 1), scores(2, 2)
    a["expression"][0] = np.nan
    line = timeline([(0, 0), (1, 0)], np.arange(2) / 25, a=a, b=b)
    found = blend(line, Recipe(("a", "b"), blend={"expression": 0.5}), "expression")
    assert np.array_equal(found[0], b["expression"][0], equal_nan=True)
    assert found[1] == pytest.approx((a["expression"][1] + b["expression"][1]) / 2, nan_ok=True)


def test_a_class_that_one_model_lacks_is_the_others() -> None:
    a, b = scores(4, 1), scores(4, 2)
    seven = a["expression"][:, :7] / a["expression"][:, :7].sum(axis=1, keepdims=True)
    a["expression"][:] = np.nan
    a["expression"][:3, :7] = seven[:3]  # ... and of the last face it could say nothing
    line = timeline([(k, 0) for k in range(4)], np.arange(4) / 25, a=a, b=b)
    eight = b["expression"][:, :8].astype(float)
    for names, share in ((("a", "b"), 0.7), (("b", "a"), 0.3)):
        whole = blend(line, Recipe(names, blend={"expression": share}), "expression")
        found = whole[:, :8]
        assert np.isnan(whole[:, 8]).all(), "other is known to none of them"
        assert found.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-6)
        assert found[:, 7] == pytest.approx(eight[:, 7]), "contempt is known to one of them only"
        expected = 0.7 * seven[:3] * (1 - eight[:3, 7:]) + 0.3 * eight[:3, :7]
        assert found[:3, :7] == pytest.approx(expected, abs=1e-6)
        assert found[3] == pytest.approx(eight[3])
    alone = refine(line, Recipe(("a",), smoothing={"expression": Smoothing("box", 3, "frames")}))
    assert np.isnan(alone.tasks["expression"][:, 7]).all()
    assert not np.isnan(alone.tasks["expression"][:3, :7]).any()


def test_contempt_of_one_and_other_of_the_other_are_both_there() -> None:
    """A network with AffectNet's classes blended with a head with Aff-Wild2's."""
    affectnet, affwild2 = scores(3, 1), scores(3, 2)
    affwild2["expression"] = affwild2["expression"][:, [*range(7), 8, 7]]
    line = timeline([(k, 0) for k in range(3)], np.arange(3) / 25, a=affectnet, b=affwild2)
    found = blend(line, Recipe(("a", "b"), blend={"expression": 0.7}), "expression")
    one, two = affectnet["expression"].astype(float), affwild2["expression"].astype(float)
    contempt, other = one[:, 7:8], two[:, 8:]
    expected = 0.7 * one[:, :7] * (1 - other) + 0.3 * two[:, :7] * (1 - contempt)
    assert found[:, :7] == pytest.approx(expected, abs=1e-9)
    # Each takes the class that it lacks from the other one, and scales what it knows itself.
    assert found[:, 7:8] == pytest.approx(0.7 * contempt * (1 - other) + 0.3 * contempt, abs=1e-9)
    assert found[:, 8:] == pytest.approx(0.7 * other + 0.3 * other * (1 - contempt), abs=1e-9)
    assert found.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-6)


def test_bridging_interpolates_short_gaps_only_and_marks_them() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 2.0, 2.1])
    rows = [(0, 0), (1, 1), (3, 0), (5, 0), (6, 0)]
    line = timeline(rows, times, m=scores(5))
    affect = refine(line, Recipe(("m",), interpolate=0.25))
    added = [(int(r), int(i)) for r, i, b in zip(affect.row, affect.face_id, affect.interpolated, strict=True) if b]
    assert added == [(1, 0), (2, 0)]
    ours = {(int(r), int(i)): k for k, (r, i) in enumerate(zip(affect.row, affect.face_id, strict=True))}
    va = affect.tasks["valence_arousal"]
    expected = va[ours[0, 0]] * (2 / 3) + va[ours[3, 0]] * (1 / 3)
    assert va[ours[1, 0]] == pytest.approx(expected)
    assert affect.box[ours[1, 0]] == pytest.approx(line.box[0] * (2 / 3) + line.box[2] / 3)
    assert np.isnan(affect.det_score[ours[1, 0]])
    assert not refine(line, Recipe(("m",))).interpolated.any()


def test_a_recipe_survives_json() -> None:
    recipe = Recipe.of("mp-blendshapes").changed(smooth="box:5f", interpolate=0.2, thresholds=["AU12=0.4"])
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.thresholds["AU12"] == 0.4
    assert set(recipe.thresholds) == set(ACTION_UNITS)
    assert set(recipe.smoothing) == set(TASKS)


def test_a_recipe_file_may_say_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        'models = ["enet_b0_8_va_mtl", "mp-blendshapes"]\ninterpolate = 0.25\n'
        "[blend]\nexpression = 0.8\n[smoothing]\nexpression = 'gaussian:0.5'\n[thresholds]\nAU12 = 0.3\n"
    )
    recipe = Recipe.read(tmp_path / "r.toml")
    assert recipe.blend == {"expression": 0.8, "valence_arousal": 0.5, "action_units": 0.5}
    assert recipe.smoothing == {"expression": Smoothing("gaussian", 0.5, "seconds")}
    assert recipe.thresholds["AU12"] == 0.3
    assert recipe.thresholds["AU01"] == 0.28, "what the file does not say is the models' own"
    (tmp_path / "sidecar.json").write_text(json.dumps({"schema_version": 1, "recipe": recipe.to_json()}))
    assert Recipe.read(tmp_path / "sidecar.json") == recipe


def test_single_tasks_can_be_changed() -> None:
    recipe = Recipe.of("enet_b0_8_va_mtl", "mp-blendshapes").changed(
        blend="expression=0.7,valence_arousal=1", smooth="action_units=box:3f"
    )
    assert recipe.blend == {"expression": 0.7, "valence_arousal": 1.0, "action_units": 0.5}
    assert set(recipe.smoothing) == {"action_units"}
    again = recipe.changed(smooth="none", blend="0.25")
    assert again.smoothing == {}
    assert set(again.blend.values()) == {0.25}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("models = [", "r.toml"),
        ("smothing = 1", "no 'smothing'"),
        ("interpolate = 1", "models"),
        ('models = ["nonsense"]', "unknown model"),
        ('models = ["mp-blendshapes"]\n[thresholds]\nAU12 = "high"', "cannot be used"),
        ('models = ["mp-blendshapes"]\n[smoothing]\nexpression = 3', "cannot be used"),
        ('models = ["mp-blendshapes"]\n[smoothing]\nexpression = "median:3"', "--smooth median:3"),
        ('models = ["mp-blendshapes"]\nblend = 3', "cannot be used"),
    ],
)
def test_broken_recipe_files_are_usage_errors(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "r.toml").write_text(content)
    with pytest.raises(UsageError, match=says):
        Recipe.read(tmp_path / "r.toml")


def test_models_may_bring_their_files() -> None:
    assert parse_models("mbf_va_mtl=w/x.pt, mp-blendshapes") == (
        ("mbf_va_mtl", "mp-blendshapes"),
        {"mbf_va_mtl": Path("w/x.pt")},
    )
    assert parse_models("w/mbf_va_mtl.onnx") == (("mbf_va_mtl",), {"mbf_va_mtl": Path("w/mbf_va_mtl.onnx")})
    with pytest.raises(UsageError, match="NAME=w/mine"):
        parse_models("w/mine.pt")
    with pytest.raises(UsageError, match="unknown model 'mine'"):
        parse_models("mine")


@pytest.mark.parametrize("models", [(), ("nonsense",), ("",), ("mp-blendshapes", "mp-blendshapes")])
def test_impossible_models_are_usage_errors(models: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Recipe.of(*models)


@pytest.mark.parametrize(
    "options",
    [
        {"thresholds": ["AU99=0.5"]},
        {"thresholds": ["AU12=1.5"]},
        {"thresholds": ["AU12=x"]},
        {"interpolate": -1.0},
        {"max_gap": float("nan")},
        {"smooth": "mood=box:3f"},
        {"blend": "0.5"},
    ],
)
def test_impossible_changes_are_usage_errors(options: dict) -> None:
    with pytest.raises(UsageError):
        Recipe.of("mp-blendshapes").changed(**options)


def test_the_causal_filter_is_half_a_gaussian_over_the_past() -> None:
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.uniform(0.02, 0.08, 60))
    values = rng.uniform(0, 1, (60, 3))
    found = smooth_run(times, values, Smoothing.parse("causal:0.2"))
    for i in range(60):
        past = [j for j in range(i + 1) if times[i] - times[j] <= 0.8]
        weights = np.array([math.exp(-((times[i] - times[j]) ** 2) / (2 * 0.2**2)) for j in past])
        assert found[i] == pytest.approx(weights @ values[past] / weights.sum(), abs=1e-12)


def test_no_causal_value_depends_on_a_later_one() -> None:
    values, times = np.random.default_rng(6).uniform(0, 1, (40, 2)), np.arange(40) / 25
    whole = smooth_run(times, values, Smoothing.parse("causal:0.2"))
    for count in (1, 2, 17, 39):
        assert (smooth_run(times[:count], values[:count], Smoothing.parse("causal:0.2")) == whole[:count]).all()
    assert Smoothing.parse("causal:0.2").causal and not Smoothing.parse("gaussian:0.2").causal


@pytest.mark.parametrize("text", ["causal:0.2", "causal:0.2/0.5", "causal:5f", "causal:5f/50n"])
def test_causal_filters_are_written_as_they_are_read(text: str) -> None:
    assert str(Smoothing.parse(text)) == text
