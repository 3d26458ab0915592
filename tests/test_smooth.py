"""Smoothing against scipy, at ends, gaps, and uneven times; blending and bridging."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.recipe import Recipe, Smoothing, parse_models
from hsemotion_cli.refine import blend, refine
from hsemotion_cli.smooth import segments, smooth, smooth_run
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


filters = st.one_of(
    st.builds(Smoothing, st.just("gaussian"), st.floats(1e-3, 100), st.sampled_from(["seconds", "frames"])),
    st.builds(Smoothing, st.just("box"), st.integers(0, 50).map(lambda k: 2 * k + 1.0), st.just("frames")),
    st.builds(Smoothing, st.just("box"), st.floats(1e-3, 100), st.just("seconds")),
)


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


@pytest.mark.parametrize("text", ["gaussian:0.2", "gaussian:5f", "box:1.5", "box:11f", "none"])
def test_smoothing_words_round_trip(text: str) -> None:
    assert str(Smoothing.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "median:3", "gaussian", "gaussian:", "gaussian:-1", "box:4f", "box:0", "gaussian:1e3x"]
)
def test_other_smoothing_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--smooth"):
        Smoothing.parse(text)


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
