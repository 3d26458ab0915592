"""Predictions per frame as the challenges count them: which face, which frame number, and gaps between detections."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d

from hsemotion_cli.abaw.challenges import TRACKS, track
from hsemotion_cli.abaw.predictions import Predictions, affwild2, find, largest, load, on_side, predict
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.postprocess.compound import compounds
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing
from hsemotion_cli.tasks import EXPRESSIONS, TASKS
from hsemotion_cli.timeline import Timeline

MODEL = "mp-blendshapes"


def timeline(frames: Sequence[int], faces: Sequence[Sequence[tuple[float, float]]], seed: int = 0) -> Timeline:
    """Frames by number, each with faces of (left edge, width); the k-th face of every frame is person k."""
    random = np.random.default_rng(seed)
    row = [k for k, found in enumerate(faces) for _ in found]
    ids = [k for found in faces for k in range(len(found))]
    box = [(x, 10.0, width, width) for found in faces for x, width in found]
    n = len(row)
    expression = np.full((n, 9), np.nan)
    expression[:, :8] = random.dirichlet(np.ones(8), n)
    scores = {
        "expression": expression,
        "valence_arousal": random.uniform(-1, 1, (n, 2)),
        "action_units": random.random((n, 12)),
    }
    return Timeline(
        np.array(frames, np.int64), np.array(frames) / 25, np.array(row, np.int64), np.array(ids, np.int64),
        np.ones(n, np.float32), np.array(box, np.float32).reshape(-1, 4),
        {MODEL: {task: values.astype(np.float32) for task, values in scores.items()}},
    )  # fmt: skip


def annotated(folder: Path, name: str, content: Timeline, kind: str = "video", recipe: Recipe | None = None) -> Path:
    """The files that annotate leaves, without the table."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.raw.npz"
    with path.open("wb") as file:
        raw_scores.write(content, file)
    told = {"source": {"kind": kind, "width": 200}, "recipe": (recipe or Recipe.of(MODEL)).to_json()}
    (folder / f"{name}.json").write_text(json.dumps(told))
    return path


def test_frames_of_videos_count_from_one_and_images_by_their_names(tmp_path: Path) -> None:
    frames, faces = [0, 1, 4, 5], [[(0, 50)], [], [(0, 50)], [(0, 50)]]
    video = load(annotated(tmp_path, "a", timeline(frames, faces)))
    pictures = load(annotated(tmp_path, "b", timeline(frames, faces), "pictures"))
    assert predict(video).frames.tolist() == [1, 5, 6] and video.last == 6
    assert predict(pictures).frames.tolist() == [0, 4, 5] and pictures.last == 5


def test_the_largest_face_of_a_frame_counts(tmp_path: Path) -> None:
    content = timeline([0, 1, 2], [[(0, 30), (100, 60)], [(0, 70), (100, 60)], [(0, 60), (100, 60)]])
    found = predict(load(annotated(tmp_path, "a", content)))
    for task in TASKS:
        np.testing.assert_allclose(found.tasks[task], content.scores[MODEL][task][[1, 2, 4]])
    assert largest(np.array([0, 0]), np.array([[0, 0, 2, 2], [0, 0, 2, 2]])).tolist() == [0]


def test_of_compounds_the_highest_of_all_faces_counts(tmp_path: Path) -> None:
    content = timeline([0, 1], [[(0, 30), (100, 60)], [(100, 60)]])
    found = predict(load(annotated(tmp_path, "a", content)), mean="geometric").tasks["compound"]
    each = compounds(content.scores[MODEL]["expression"].astype(float), "geometric")
    np.testing.assert_allclose(found, [each[:2].max(axis=0), each[2]])


def test_the_two_people_of_a_video(tmp_path: Path) -> None:
    """The image is 200 wide; a middle at 100 is on the right."""
    content = timeline([0, 1, 2], [[(0, 40), (90, 60)], [(80, 40)], [(79, 40)]])
    source = load(annotated(tmp_path, "talk", content))
    left, right = predict(source, side="left"), predict(source, side="right")
    assert (left.video, right.video) == ("talk_left", "talk_right")
    assert (left.frames.tolist(), right.frames.tolist()) == ([1, 3], [1, 2])
    values = content.scores[MODEL]["valence_arousal"]
    np.testing.assert_allclose(left.tasks["valence_arousal"], values[[0, 3]])
    np.testing.assert_allclose(right.tasks["valence_arousal"], values[[1, 2]])
    assert on_side(np.array([[90.0, 0, 20, 20]]), 200, "right").tolist() == [0]


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    content = timeline(range(20), [[(0, 50)]] * 20)
    source = load(annotated(tmp_path, "a", content))
    smoother = replace(
        source.recipe, smoothing={"valence_arousal": Smoothing("box", 5, "frames")}, thresholds={"AU12": 0.9}
    )
    found, plain = predict(source, smoother), predict(source)
    values = content.scores[MODEL]["valence_arousal"].astype(float)
    np.testing.assert_allclose(found.tasks["valence_arousal"][7], values[5:10].mean(axis=0))
    np.testing.assert_allclose(plain.tasks["valence_arousal"], values)
    assert found.thresholds == {"AU12": 0.9}
    with pytest.raises(InputError, match=r"a\.raw\.npz: there are no raw scores of mt-mobilefacenet"):
        predict(source, replace(source.recipe, models=("mt-mobilefacenet",)))


@given(st.data())
def test_what_lies_between_two_sightings(data: st.DataObject) -> None:
    """Against scipy, with unknown rows among the seen ones."""
    frames = np.array(sorted(data.draw(st.sets(st.integers(1, 40), min_size=1, max_size=12))), np.int64)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = random.uniform(-1, 1, (len(frames), 2))
    unknown = random.random(len(frames)) < 0.3
    values[unknown] = np.nan
    wanted = np.array(data.draw(st.lists(st.integers(1, 45), min_size=1, max_size=20)), np.int64)
    said = Predictions("a", frames, 40, {"valence_arousal": values}, {}, Path("a.raw.npz"))
    if unknown.all():
        with pytest.raises(InputError, match="do not predict valence arousal"):
            said.at("valence_arousal", wanted)
        return
    found, seen = said.at("valence_arousal", wanted)
    np.testing.assert_array_equal(seen, np.isin(wanted, frames[~unknown]))
    at, given_ = frames[~unknown], values[~unknown]
    if len(at) == 1:
        np.testing.assert_allclose(found, np.repeat(given_, len(wanted), axis=0))
        return
    line = interp1d(at, given_, axis=0, bounds_error=False, fill_value=(given_[0], given_[-1]))
    np.testing.assert_allclose(found, line(wanted), atol=1e-12)


def test_the_nearer_sighting_weighs_more() -> None:
    said = Predictions("a", np.array([10, 14]), 20, {"x": np.array([[0.0], [1.0]])}, {}, Path("a"))
    assert said.at("x", np.array([1, 10, 11, 14, 20]))[0][:, 0].tolist() == [0, 0, 0.25, 1, 1]


def test_a_video_without_faces_is_an_error_when_values_are_asked_for(tmp_path: Path) -> None:
    said = predict(load(annotated(tmp_path, "a", timeline([0, 1], [[], []]))))
    assert len(said.frames) == 0
    with pytest.raises(InputError, match=r"a\.raw\.npz: no face was found"):
        said.at("expression", np.array([1]))


def test_aff_wild2s_classes() -> None:
    one = np.eye(9)
    contempt, other = EXPRESSIONS.index("contempt"), EXPRESSIONS.index("other")
    assert affwild2(one)[[0, 1, 2, 3, 4, 5, 6]].argmax(axis=1).tolist() == list(range(7))
    knows_other = one.copy()
    knows_other[:, contempt] = np.nan
    assert affwild2(knows_other)[other].argmax() == 7
    knows_contempt = one.copy()
    knows_contempt[:, other] = np.nan
    assert affwild2(knows_contempt)[contempt].argmax() == 7
    assert affwild2(knows_contempt, "none")[contempt].max() == 0
    # Both known: contempt is no class of Aff-Wild2.
    assert affwild2(one)[contempt].max() == 0
    assert np.isnan(affwild2(np.full((1, 9), np.nan))).all()


def test_finding_raw_scores(tmp_path: Path) -> None:
    content = timeline([0], [[(0, 50)]])
    one, other = annotated(tmp_path / "x", "b", content), annotated(tmp_path / "x", "a", content)
    elsewhere = annotated(tmp_path / "y", "a", content)
    assert list(find([tmp_path / "x"]).items()) == [("a", other), ("b", one)]
    assert find([tmp_path / "x" / "b.csv", one]) == {"b": one}
    for paths, sentence in [
        ([tmp_path / "x", elsewhere], "are both of a"),
        ([tmp_path], r"no NAME\.raw\.npz in this folder"),
        ([tmp_path / "none.csv"], r"none\.csv: no such file"),
    ]:
        with pytest.raises(InputError, match=sentence):
            find(paths)
    (tmp_path / "lone.csv").write_text("frame\n")
    with pytest.raises(InputError, match=re.escape("lone.raw.npz: no such file")):
        find([tmp_path / "lone.csv"])


@pytest.mark.parametrize("told", ['{"recipe": {}}', '{"recipe": {}, "source": {"kind": "video"}}', "{}", "[]", "x"])
def test_a_sidecar_that_does_not_say_what_is_needed(tmp_path: Path, told: str) -> None:
    path = annotated(tmp_path, "a", timeline([0], [[(0, 50)]]))
    (tmp_path / "a.json").write_text(told)
    with pytest.raises(InputError, match="a"):
        load(path)


def test_the_tracks() -> None:
    assert list(TRACKS) == ["expr", "va", "au", "mtl", "ce", "emi"]
    for name in ("expr", "va", "au", "ce", "emi"):  # the header of mtl names fewer fields than its rows have
        header = TRACKS[name].header.count(",") + 1
        assert TRACKS[name].fields == (2 if name in ("expr", "ce") else header)
    with pytest.raises(UsageError, match="--track x: choose from expr, va"):
        track("x")
