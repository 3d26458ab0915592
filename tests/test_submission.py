"""Submissions: rows as listed, values by hand, and everything that can be wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.special import rel_entr

from hsemotion_cli.abaw import emi, lists, validation
from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.abaw.lists import FrameList
from hsemotion_cli.abaw.predictions import find
from hsemotion_cli.abaw.submission import Override, SubmissionSettings, gather, submission_rows, write, write_per_video
from hsemotion_cli.abaw.validation import Problem, read, validate
from hsemotion_cli.commands import submit
from hsemotion_cli.commands.signature import call
from hsemotion_cli.domain import Face, Reading, Scores
from hsemotion_cli.errors import HsemotionError, InputError, OutputError, UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from hsemotion_cli.formats import features, raw_scores
from hsemotion_cli.models import heads
from hsemotion_cli.models.heads import Base, Head, Part
from hsemotion_cli.postprocess.compound import PRIOR
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing
from hsemotion_cli.tasks import ACTION_UNITS, COMPOUNDS, EMOTIONAL_MIMICRY, EXPRESSIONS
from hsemotion_cli.timeline import Timeline

FIRST, SECOND = "mp-blendshapes", "mt-mobilefacenet"
ORDER = [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]

Values = dict[str, np.ndarray]


def scores(n: int, seed: int) -> Values:
    """Of a model with AffectNet's eight classes."""
    random = np.random.default_rng(seed)
    return {
        "expression": np.column_stack([random.dirichlet(np.ones(8), n), np.full(n, np.nan)]).astype(np.float32),
        "valence_arousal": random.uniform(-1.2, 1.2, (n, 2)).astype(np.float32),
        "action_units": random.random((n, 12)).astype(np.float32),
    }


def table(
    folder: Path, name: str, seen: list[int], length: int, *, recipe: Recipe | None = None, kind: str = "video",
    boxes: np.ndarray | None = None, told: Mapping[str, Any] | None = None, **models: Values,
) -> Mapping[str, Values]:  # fmt: skip
    """What annotate leaves of a video of ``length`` frames with a face in the frames ``seen``, which count from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {key.replace("_", "-"): value for key, value in models.items()}
    models = models or {FIRST: scores(len(seen), len(name) + length)}
    n = len(seen)
    index = np.arange(length) + (kind != "video")
    row = np.array(seen, np.int64) - 1
    ids = np.array([sum(seen[k] == seen[j] for j in range(k)) for k in range(n)], np.int64)
    box = np.tile([10.0, 10, 50, 50], (n, 1)) if boxes is None else boxes
    line = Timeline(index, index / 25, row, ids, np.ones(n, np.float32), box.astype(np.float32), models)
    with (folder / f"{name}.raw.npz").open("wb") as file:
        raw_scores.write(line, file)
    content = {"source": {"kind": kind, "width": 200}, "recipe": (recipe or Recipe.of(*models)).to_json()}
    (folder / f"{name}.json").write_text(json.dumps(content | dict(told or {})))
    return models


def listing(folder: Path, track: str, names: list[str], tail: str = ",") -> FrameList:
    path = folder / f"{track}_list.txt"
    path.write_text("\n".join([TRACKS[track].header, *(name + tail for name in names), ""]))
    return lists.read(path, TRACKS[track])


def pictures(video: str, numbers: Any) -> list[str]:
    return [f"{video}/{number:05d}.jpg" for number in numbers]


def submitted(folder: Path, listed: FrameList, settings: SubmissionSettings | None = None) -> list[str]:
    """The lines of the file, which must be good."""
    out = folder / "out.txt"
    write(listed, gather(listed, submission_rows(listed, find([folder]), settings)), out)
    assert validate(out, listed) == []
    data = out.read_bytes()
    assert b"\r" not in data and b" " not in data.partition(b"\n")[2] and data.endswith(b"\n")
    return data.decode().splitlines()


def by_hand(seen: list[int], values: np.ndarray, numbers: list[int]) -> np.ndarray:
    """Values of any frames: between neighbours by distance, as the first and the last beyond them."""
    ends = (values[0], values[-1])
    return interp1d(seen, values, axis=0, bounds_error=False, fill_value=ends)(numbers)


SEEN, LENGTH = [3, 4, 8, 9, 15], 16
NUMBERS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14, 15, 16, 17, 20]


@pytest.fixture
def one(tmp_path: Path) -> Values:
    """The scores of the video "a"."""
    return dict(table(tmp_path, "a", SEEN, LENGTH)[FIRST])


# --- writing ----------------------------------------------------------------------------------------------------


def test_valence_and_arousal(one: Values, tmp_path: Path) -> None:
    lines = submitted(tmp_path, listing(tmp_path, "va", pictures("a", NUMBERS)))
    assert lines[0] == "image_location,valence,arousal"
    assert [line.split(",")[0] for line in lines[1:]] == pictures("a", NUMBERS)
    expected = np.clip(by_hand(SEEN, one["valence_arousal"].astype(float), NUMBERS), -1, 1)
    found = np.array([line.split(",")[1:] for line in lines[1:]], float)
    np.testing.assert_allclose(found, expected, atol=5.1e-7)
    assert np.abs(one["valence_arousal"]).max() > 1 and np.abs(found).max() == 1


def test_expressions_are_decided_after_gaps_are_filled(one: Values, tmp_path: Path) -> None:
    lines = submitted(tmp_path, listing(tmp_path, "expr", pictures("a", NUMBERS)))
    assert lines[0] == "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    soft = one["expression"][:, :8].astype(float)  # with contempt for "other"
    assert [int(line.split(",")[1]) for line in lines[1:]] == by_hand(SEEN, soft, NUMBERS).argmax(axis=1).tolist()


def test_the_label_between_two_may_be_that_of_neither(tmp_path: Path) -> None:
    soft = np.full((2, 9), np.nan, np.float32)
    soft[:, :8] = [[0.5, 0.4, 0, 0, 0, 0.1, 0, 0], [0, 0.4, 0.5, 0, 0, 0.1, 0, 0]]
    table(tmp_path, "a", [1, 3], 3, mp_blendshapes=scores(2, 0) | {"expression": soft})
    lines = submitted(tmp_path, listing(tmp_path, "expr", pictures("a", [1, 2, 3])))
    assert [line[-1] for line in lines[1:]] == ["0", "1", "2"]


def test_of_two_equal_probabilities_the_first_counts(tmp_path: Path) -> None:
    soft = np.full((1, 9), np.nan, np.float32)
    soft[:, :8] = [0.1, 0.1, 0.25, 0.05, 0.25, 0.1, 0.1, 0.05]
    table(tmp_path, "a", [1], 1, mp_blendshapes=scores(1, 0) | {"expression": soft})
    assert submitted(tmp_path, listing(tmp_path, "expr", ["a/00001.jpg"]))[1] == "a/00001.jpg,2"


def test_what_stands_for_other(tmp_path: Path) -> None:
    soft = np.full((2, 9), np.nan, np.float32)
    soft[:, :8] = [0, 0.1, 0, 0, 0, 0.2, 0.1, 0.6]
    table(tmp_path, "a", [1, 2], 2, mp_blendshapes=scores(2, 0) | {"expression": soft})
    listed = listing(tmp_path, "expr", pictures("a", [1]))
    assert submitted(tmp_path, listed)[1] == "a/00001.jpg,7"
    assert submitted(tmp_path, listed, SubmissionSettings(other="none"))[1] == "a/00001.jpg,5"


@pytest.mark.parametrize("other", ["contempt", "none"])
def test_a_face_that_was_not_scored_is_a_gap(other: str, tmp_path: Path) -> None:
    values = scores(3, 4)
    values["expression"][1] = np.nan
    values["expression"][[0, 2], :8] = [[0, 0, 0, 0, 0.9, 0.1, 0, 0]] * 2
    table(tmp_path, "a", [1, 2, 3], 3, mp_blendshapes=values)
    listed = listing(tmp_path, "expr", pictures("a", [1, 2, 3]))
    assert [line[-1] for line in submitted(tmp_path, listed, SubmissionSettings(other=other))[1:]] == ["4"] * 3
    assert [(part.seen, part.filled) for part in submission_rows(listed, find([tmp_path]))] == [(2, 1)]


def test_action_units_by_the_thresholds_of_the_recipe(tmp_path: Path) -> None:
    recipe = replace(Recipe.of(FIRST), thresholds={unit: (k + 1) / 16 for k, unit in enumerate(ACTION_UNITS)})
    values = scores(len(SEEN), 1)
    values["action_units"][0, :2] = [1 / 16, 2 / 16 - 1e-6]  # the first is just enough, the second just not
    table(tmp_path, "a", SEEN, LENGTH, recipe=recipe, mp_blendshapes=values)
    listed = listing(tmp_path, "au", pictures("a", NUMBERS))
    soft = by_hand(SEEN, values["action_units"].astype(float), NUMBERS)
    for own, limits in ((None, recipe), (replace(recipe, thresholds=dict.fromkeys(ACTION_UNITS, 0.5)),) * 2):
        lines = submitted(tmp_path, listed, SubmissionSettings(own))
        assert lines[0] == "image_location,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
        expected = (soft >= [limits.thresholds[unit] for unit in ACTION_UNITS]).astype(int)
        assert [line.split(",")[1:] for line in lines[1:]] == expected.astype(str).tolist()
        assert lines[3].startswith("a/00003.jpg,1,0," if own is None else "a/00003.jpg,0,0,")


def test_compounds_of_every_face(tmp_path: Path) -> None:
    values = scores(5, 7)
    seen = [2, 2, 3, 6, 6]
    table(tmp_path, "01", seen, 7, mp_blendshapes=values)
    listed = listing(tmp_path, "ce", pictures("01", range(1, 9)))
    means: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "arithmetic": lambda a, b: (a + b) / 2,
        "geometric": lambda a, b: np.sqrt(a * b),
        "harmonic": lambda a, b: 2 * a * b / (a + b),
    }
    pairs = [[EXPRESSIONS.index(name) for name in pair] for pair in COMPOUNDS.values()]
    for name, mean in means.items():
        each = np.column_stack([mean(*values["expression"][:, pair].astype(float).T) for pair in pairs])
        frames = np.array([each[:2].max(axis=0), each[2], each[3:].max(axis=0)])
        lines = submitted(tmp_path, listed, SubmissionSettings(mean=name))
        assert lines[0].startswith("image_location,Fearfully_Surprised,Happily_Surprised,Sadly_Surprised,Disgustedly_")
        expected = by_hand([2, 3, 6], frames, list(range(1, 9))).argmax(axis=1)
        assert [int(line.split(",")[1]) for line in lines[1:]] == expected.tolist()


def test_the_multi_task_challenge_has_sixteen_fields(one: Values, tmp_path: Path) -> None:
    listed = {name: listing(tmp_path, name, pictures("a", NUMBERS)) for name in ("va", "expr", "au", "mtl")}
    lines = {name: submitted(tmp_path, each) for name, each in listed.items()}
    assert lines["mtl"][0] == "image,valence,arousal,expression,aus"
    for va, expr, au, mtl in zip(*(lines[name][1:] for name in ("va", "expr", "au", "mtl")), strict=True):
        assert mtl == ",".join([va, expr.split(",")[1], *au.split(",")[1:]])
        assert mtl.count(",") == 15


def test_smoothing_comes_before_all_else(tmp_path: Path) -> None:
    recipe = replace(Recipe.of(FIRST), smoothing={"valence_arousal": Smoothing("box", 3, "frames")})
    values = table(tmp_path, "a", list(range(1, 10)), 9, recipe=recipe)[FIRST]["valence_arousal"].astype(float)
    lines = submitted(tmp_path, listing(tmp_path, "va", pictures("a", [5])))
    assert [float(x) for x in lines[1].split(",")[1:]] == pytest.approx(values[3:6].mean(axis=0), abs=1e-6)


def test_rows_and_their_order_are_the_lists_alone(tmp_path: Path) -> None:
    for name, seen in (("b", [2, 3]), ("a", [1, 5, 6]), ("c.x", [4])):
        table(tmp_path / "tables", name, seen, 6)
    names = [*pictures("b", [3, 1, 2]), *pictures("a", [7, 1]), "c.x/4.png", *pictures("b", [9]), "a/000002.JPG"]
    raws = find([tmp_path / "tables"])
    lines: dict[str, str] = {}
    for order in ([0, 1, 2, 3, 4, 5, 6, 7], [7, 3, 0, 6, 5, 1, 4, 2]):
        listed = listing(tmp_path, "va", [names[k] for k in order], tail=",0.5,-0.5")
        write(listed, gather(listed, submission_rows(listed, raws)), tmp_path / "out.txt")
        rows = (tmp_path / "out.txt").read_text().splitlines()[1:]
        assert [row.split(",")[0] for row in rows] == [names[k] for k in order]
        lines = lines or {row.split(",")[0]: row for row in rows}
        assert {row.split(",")[0]: row for row in rows} == lines


def test_what_was_seen_is_counted(one: Values, tmp_path: Path) -> None:
    part = submission_rows(listing(tmp_path, "mtl", pictures("a", NUMBERS)), find([tmp_path]))[0]
    assert (part.seen, part.filled, part.beyond) == (5, 8, 2)
    assert part.frames.tolist() == NUMBERS and part.overridden == 0


def test_images_count_by_their_names(tmp_path: Path) -> None:
    values = table(tmp_path, "a", [1, 3], 3, kind="pictures")[FIRST]["valence_arousal"]
    lines = submitted(tmp_path, listing(tmp_path, "va", pictures("a", [1, 3])))
    assert np.array([line.split(",")[1:] for line in lines[1:]], float) == pytest.approx(values.clip(-1, 1), abs=1e-6)


def test_numbers_are_short_and_exact(tmp_path: Path) -> None:
    listed = listing(tmp_path, "va", pictures("a", [1, 2, 3]))
    values = np.array([[0.5, -1], [-1e-9, 1], [1 / 3, -2 / 3]])
    write(listed, values, tmp_path / "out.txt")
    rows = (tmp_path / "out.txt").read_text().splitlines()[1:]
    assert [row.partition(",")[2] for row in rows] == ["0.5,-1", "0,1", "0.333333,-0.666667"]
    assert validate(tmp_path / "out.txt", listed) == []


def test_the_two_people_of_a_video(tmp_path: Path) -> None:
    """Two faces in each frame; the tables of X_left and of X itself are given, that of X_right is not."""
    boxes = np.array([[10.0, 0, 40, 40], [140, 0, 50, 50]] * 2)
    values = table(tmp_path, "x", [1, 1, 2, 2], 2, boxes=boxes)[FIRST]["valence_arousal"].clip(-1, 1)
    own = table(tmp_path, "x_left", [1, 2], 2)[FIRST]["valence_arousal"].clip(-1, 1)
    names = [f"{name}/0000{k}.jpg" for name in ("x", "x_left", "x_right") for k in (1, 2)]
    lines = submitted(tmp_path, listing(tmp_path, "va", names))
    found = np.array([line.split(",")[1:] for line in lines[1:]], float)
    assert found == pytest.approx(np.concatenate([values[[1, 3]], own, values[[1, 3]]]), abs=1e-6)
    (tmp_path / "x_left.raw.npz").unlink()
    lines = submitted(tmp_path, listing(tmp_path, "va", pictures("x_left", [1, 2])))
    assert np.array([line.split(",")[1:] for line in lines[1:]], float) == pytest.approx(values[[0, 2]], abs=1e-6)


# --- a second model that overrides ------------------------------------------------------------------------------


@pytest.mark.parametrize("track", ["expr", "mtl"])
def test_a_sure_second_model_overrides_after_smoothing(track: str, tmp_path: Path) -> None:
    n = 40
    random = np.random.default_rng(2)
    models = {FIRST: scores(n, 1), SECOND: scores(n, 2)}
    models[SECOND]["expression"][:, :8] = random.dirichlet(np.full(8, 0.15), n)
    recipe = replace(Recipe.of(FIRST, SECOND), smoothing={"expression": Smoothing("box", 3, "frames")})
    table(tmp_path, "a", list(range(1, n + 1)), n, recipe=recipe, mp_blendshapes=models[FIRST],
          mt_mobilefacenet=models[SECOND])  # fmt: skip
    smooth = {
        name: np.array([own["expression"][max(k - 1, 0) : k + 2, :8].astype(float).mean(axis=0) for k in range(n)])
        for name, own in models.items()
    }
    sure = smooth[SECOND][:, :7]
    expected = np.where(sure.max(axis=1) > 0.4, sure.argmax(axis=1), smooth[FIRST].argmax(axis=1))
    listed = listing(tmp_path, track, pictures("a", range(1, n + 1)))
    settings = SubmissionSettings(override=Override(0.4, SECOND))
    column = 1 if track == "expr" else 3
    lines = submitted(tmp_path, listed, settings)
    assert [int(line.split(",")[column]) for line in lines[1:]] == expected.tolist()
    part = submission_rows(listed, find([tmp_path]), settings)[0]
    assert part.overridden == (sure.max(axis=1) > 0.4).sum() and 0 < part.overridden < n
    if track == "mtl":  # nothing else changes
        plain = submitted(tmp_path, listed)
        assert [[*x.split(",")[:3], *x.split(",")[4:]] for x in lines] == [
            [*x.split(",")[:3], *x.split(",")[4:]] for x in plain
        ]


def test_contempt_overrides_nothing(tmp_path: Path) -> None:
    first, second = scores(1, 0), scores(1, 1)
    first["expression"][:, :8] = [0, 0, 0, 0, 0, 1, 0, 0]
    second["expression"][:, :8] = [0.2, 0, 0, 0, 0, 0, 0, 0.8]
    table(tmp_path, "a", [1], 1, mp_blendshapes=first, mt_mobilefacenet=second)
    listed = listing(tmp_path, "expr", pictures("a", [1]))
    assert submitted(tmp_path, listed, SubmissionSettings(override=Override(0.5, SECOND)))[1] == "a/00001.jpg,5"
    assert submitted(tmp_path, listed, SubmissionSettings(override=Override(0.1, SECOND)))[1] == "a/00001.jpg,0"
    # It must exceed the threshold.
    assert (
        submitted(tmp_path, listed, SubmissionSettings(override=Override(float(np.float32(0.2)), SECOND)))[1][-1] == "5"
    )


def test_what_cannot_override(one: Values, tmp_path: Path) -> None:
    listed = listing(tmp_path, "expr", pictures("a", [1]))
    with pytest.raises(UsageError, match=r"was annotated with no other model"):
        submission_rows(listed, find([tmp_path]), SubmissionSettings(override=Override(0.5, FIRST)))
    with pytest.raises(InputError, match=rf"a\.raw\.npz: there are no raw scores of {SECOND}"):
        submission_rows(listed, find([tmp_path]), SubmissionSettings(override=Override(0.5, SECOND)))
    with pytest.raises(UsageError, match=r"--override 1\.5: give a probability"):
        Override(1.5, SECOND)


# --- a file per video -------------------------------------------------------------------------------------------


def test_a_file_per_video_has_a_line_for_each_frame(tmp_path: Path) -> None:
    values = table(tmp_path / "t", "a", [2, 4], 5)[FIRST]
    table(tmp_path / "t", "b", [1], 3)
    listed = listing(tmp_path, "va", [*pictures("a", [7, 3]), *pictures("b", [2])])
    parts = submission_rows(listed, find([tmp_path / "t"]), every_frame=True)
    (tmp_path / "out").mkdir()
    paths = write_per_video(listed.track, parts, tmp_path / "out")
    assert paths == [tmp_path / "out" / "a.txt", tmp_path / "out" / "b.txt"] == sorted((tmp_path / "out").iterdir())
    lines = paths[0].read_text().splitlines()
    assert lines[0] == "valence,arousal" and len(lines) == 8
    expected = by_hand([2, 4], values["valence_arousal"].astype(float), list(range(1, 8))).clip(-1, 1)
    np.testing.assert_allclose(np.array([line.split(",") for line in lines[1:]], float), expected, atol=1e-6)
    assert len(paths[1].read_text().splitlines()) == 3
    assert (parts[0].seen, parts[0].filled, parts[0].beyond) == (2, 3, 2)


@pytest.mark.parametrize(("kind", "decoded", "extra", "rows"), [
    ("video", None, 1, 6), ("video", 9, 1, 10), ("video", 9, 0, 9), ("video", 3, 0, 5), ("pictures", 9, 1, 6),
])  # fmt: skip
def test_of_whole_videos_the_decoded_frames_count(
    kind: str, decoded: int | None, extra: int, rows: int, tmp_path: Path
) -> None:
    table(tmp_path, "a", [1], 5, kind=kind, told={"frames": {"decoded": decoded}})
    (tmp_path / "list.txt").write_text("a\n")
    listed = lists.read(tmp_path / "list.txt", TRACKS["expr"])
    assert len(submission_rows(listed, find([tmp_path]), every_frame=True, extra_frames=extra)[0].frames) == rows
    with pytest.raises(InputError, match=r"it lists videos, not images"):
        submission_rows(listed, find([tmp_path]))


def test_all_files_appear_or_none(tmp_path: Path) -> None:
    for name in "ab":
        table(tmp_path / "t", name, [1], 2)
    parts = submission_rows(listing(tmp_path, "au", ["a/1.jpg", "b/1.jpg"]), find([tmp_path / "t"]), every_frame=True)
    with pytest.raises(OutputError):
        write_per_video(TRACKS["au"], [parts[0], replace(parts[1], video="no/b")], tmp_path)
    assert not list(tmp_path.glob("a.txt*")) and not list(tmp_path.glob(".*part"))
    with pytest.raises(UsageError, match=r"never had one file per video"):
        write_per_video(TRACKS["mtl"], parts, tmp_path)


# --- what cannot be answered ------------------------------------------------------------------------------------


def test_videos_without_a_table_are_named(one: Values, tmp_path: Path) -> None:
    listed = listing(tmp_path, "va", [f"{name}/00001.jpg" for name in "abcdefgh"])
    with pytest.raises(InputError, match=r"7 of its 8 videos have no table: b, c, d, e, f and 2 more; annotate them"):
        submission_rows(listed, find([tmp_path]))


def test_a_table_without_the_task(tmp_path: Path) -> None:
    table(tmp_path, "a", [1], 1, mp_blendshapes={"expression": scores(1, 0)["expression"]})
    for track, missing in (("au", "action units"), ("mtl", "valence arousal")):
        with pytest.raises(InputError, match=rf"a\.raw\.npz: its models do not predict {missing}"):
            submission_rows(listing(tmp_path, track, ["a/00001.jpg"]), find([tmp_path]))
    values = scores(1, 0)
    values["action_units"][:, [1, 3]] = np.nan
    table(tmp_path, "a", [1], 1, mp_blendshapes=values)
    with pytest.raises(InputError, match=r"do not predict AU02, AU06"):
        submission_rows(listing(tmp_path, "au", ["a/00001.jpg"]), find([tmp_path]))


def test_a_video_without_any_face(tmp_path: Path) -> None:
    table(tmp_path, "a", [], 3)
    with pytest.raises(InputError, match=r"no face was found in any frame"):
        submission_rows(listing(tmp_path, "va", ["a/00001.jpg"]), find([tmp_path]))


@pytest.mark.parametrize(("task", "value"), [
    ("expression", 1.5), ("expression", -0.2), ("action_units", 2), ("valence_arousal", np.inf),
])  # fmt: skip
def test_raw_scores_that_cannot_be(task: str, value: float, tmp_path: Path) -> None:
    values = scores(3, 0)
    values[task][1, 0] = value
    table(tmp_path, "a", [1, 2, 3], 3, mp_blendshapes=values)
    with pytest.raises(InputError, match=rf"mp-blendshapes gives {value:g} for {task.replace('_', ' ')}"):
        submission_rows(listing(tmp_path, "mtl", ["a/00001.jpg"]), find([tmp_path]))


def test_nothing_is_written_where_something_is_not_known(tmp_path: Path) -> None:
    listed = listing(tmp_path, "va", pictures("a", [1, 2]))
    (tmp_path / "out.txt").write_text("before")
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match=r"there is no prediction for a/00002\.jpg; nothing was written"):
            write(listed, np.array([[0, 0], [0, value]]), tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "before"


@pytest.mark.parametrize("wrong", [{"mean": "median"}, {"other": "neutral"}])
def test_settings_that_there_are_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"choose from"):
        SubmissionSettings(**wrong)


# --- checking ---------------------------------------------------------------------------------------------------

GOOD = {
    "va": ["0.5,-0.5", "-1,1", "0,0.333333", "1e-3,-.25", "0.1,0.2"],
    "expr": ["0", "7", "3", "4", "4"],
    "ce": ["0", "6", "3", "4", "4"],
    "au": ["1,0,1,1,1,0,0,1,0,0,0,1"] * 5,
    "mtl": ["0.69932,0.32634,7,0,0,0,1,1,1,1,0,0,0,1,0"] * 5,
    "emi": ["0.49,0.188,0.111,0.074,0.13,0.315"] * 5,
}
NAMES = ["b/00001.jpg", "b/00002.jpg", "a/00009.jpg", "a/00010.jpg", "a/00011.jpg"]
CLIPS = ["12660", "00001", "7", "8", "9"]


def good(folder: Path, track: str) -> tuple[FrameList, str]:
    names = CLIPS if track == "emi" else NAMES
    rows = [f"{name},{row}" for name, row in zip(names, GOOD[track], strict=True)]
    return listing(folder, track, names), "\n".join([TRACKS[track].header, *rows, ""])


def problems(folder: Path, listed: FrameList, data: bytes) -> list[Problem]:
    path = folder / "submitted.txt"
    path.write_bytes(data)
    return validate(path, listed)


@pytest.mark.parametrize("track", list(TRACKS))
def test_good_files_are_good(track: str, tmp_path: Path) -> None:
    listed, text = good(tmp_path, track)
    assert problems(tmp_path, listed, text.encode()) == []
    names, values = read(tmp_path / "submitted.txt", TRACKS[track])
    assert names.names == listed.names
    assert values.tolist() == [[float(x) for x in row.split(",")] for row in GOOD[track]]


def lines(text: str, change: Callable[[list[str]], object]) -> str:
    """A text whose list of lines was changed."""
    found = text.split("\n")
    return "\n".join(change(found) or found)  # type: ignore[arg-type]


def cell(line: int, field: int, value: str) -> Callable[[str], str]:
    """Put another value into a field of a line, both counted from 1."""

    def change(found: list[str]) -> None:
        cells = found[line - 1].split(",")
        cells[field - 1] = value
        found[line - 1] = ",".join(cells)

    return lambda text: lines(text, change)


def swap(a: int, b: int) -> Callable[[str], str]:
    def change(found: list[str]) -> None:
        found[a - 1], found[b - 1] = found[b - 1], found[a - 1]

    return lambda text: lines(text, change)


BROKEN: dict[str, tuple[str, Callable[[str], str | bytes], list[tuple[int, str]]]] = {
    "empty": ("va", lambda t: "", [(1, "the file is empty")]),
    "binary": ("va", lambda t: t.encode() + b"\x89PNG\xff\xfe", [(7, "not UTF-8 text")]),
    "nul": ("va", lambda t: t.replace("0.333333", "0.3\0"), [(4, "not UTF-8 text")]),
    "utf-16": ("va", lambda t: t.encode("utf-16"), [(1, "not UTF-8 text")]),
    "latin-1": ("va", lambda t: t.encode() + b"\xe4/00001.jpg,0,0\n", [(7, "not UTF-8 text")]),
    "byte order mark": ("va", lambda t: "\ufeff" + t, [(1, "byte order mark")]),
    "windows": ("va", lambda t: t.replace("\n", "\r\n"), [(1, "lines end with CR LF in 6 of 6; expected LF")]),
    "mixed ends": ("va", lambda t: t.replace("-1,1\n", "-1,1\r\n"), [(3, "lines end with LF in 5, CR LF in 1 of 6")]),
    "header of another track": ("va", lambda t: t.replace(TRACKS["va"].header, TRACKS["au"].header),
                                [(1, "the header is that of --track au")]),
    "header of annotations": ("va", lambda t: t.replace("image_location,", "", 1), [(1, "of a per-video file")]),
    "header with a space": ("va", lambda t: t.replace(",valence", ", valence"),
                            [(1, "the header is 'image_location, valence,arousal'; expected exactly")]),
    "header in capitals": ("mtl", lambda t: t.replace("image,", "Image,"), [(1, "the header is 'Image,valence")]),
    "no header": ("va", lambda t: t.partition("\n")[2], [(1, "no header")]),
    "no header, clips": ("emi", lambda t: t.partition("\n")[2], [(1, "no header")]),
    "only the header": ("va", lambda t: t.partition("\n")[0] + "\n",
                        [(2, "5 rows from b/00001.jpg to a/00011.jpg missing after the end")]),
    "empty line": ("va", lambda t: lines(t, lambda x: x.insert(3, "")), [(4, "an empty line")]),
    "empty line at the end": ("va", lambda t: t + "\n", [(7, "an empty line")]),
    "spaces after commas": ("va", lambda t: t.replace("0.5,-0.5", "0.5, -0.5"), [(2, "a space next to arousal")]),
    "space at the end": ("va", lambda t: t.replace("-0.5\n", "-0.5 \n"), [(2, "a space next to arousal")]),
    "space before the name": ("va", lambda t: t.replace("a/00010", " a/00010"), [(5, "a space next to it")]),
    "a field too few": ("va", lambda t: t.replace(",0.333333", ""), [(4, "found 2 fields, expected 3")]),
    "a field too many": ("va", lambda t: t.replace(",0.333333", ",0.333333,0"), [(4, "found 4 fields, expected 3")]),
    "a comma at the end": ("expr", lambda t: t.replace(",7", ",7,"), [(3, "found 3 fields, expected 2")]),
    "an empty field": ("va", cell(3, 2, ""), [(3, "valence is missing")]),
    "nan": ("va", cell(3, 2, "nan"), [(3, "valence is 'nan', expected a number from -1 to 1: every frame needs")]),
    "inf": ("va", cell(3, 3, "-inf"), [(3, "arousal is '-inf', expected a number from -1 to 1: every frame needs")]),
    "placeholder -5": ("va", cell(4, 2, "-5"), [(4, "valence is '-5', expected a number from -1 to 1: -5 marks")]),
    "placeholder -5.0": ("mtl", cell(4, 3, "-5.0"), [(4, "arousal is '-5.0'")]),
    "out of range": ("va", cell(2, 2, "1.000001"), [(2, "valence is '1.000001', expected a number from -1 to 1")]),
    "words": ("va", cell(2, 3, "calm"), [(2, "arousal is 'calm'")]),
    "hexadecimal": ("va", cell(2, 3, "0x0"), [(2, "arousal is '0x0'")]),
    "underscores": ("va", cell(2, 3, "0.1_0"), [(2, "arousal is '0.1_0'")]),
    "placeholder -1": ("expr", cell(6, 2, "-1"), [(6, "the expression is '-1', expected a whole number from 0 to 7")]),
    "eight probabilities": ("expr", cell(3, 2, "0.1,0.2,0,0.3,0.1,0.1,0.1,0.1"),
                            [(3, "found 9 fields, expected 2: these are probabilities")]),
    "a class too high": ("expr", cell(3, 2, "8"), [(3, "the expression is '8'")]),
    "a compound too high": ("ce", cell(3, 2, "7"), [(3, "expected a whole number from 0 to 6")]),
    "a broken class": ("expr", cell(3, 2, "4.0"), [(3, "the expression is '4.0', expected a whole number")]),
    "a class by name": ("expr", cell(3, 2, "Fear"), [(3, "the expression is 'Fear'")]),
    "other digits": ("expr", cell(3, 2, "\u0663"), [(3, "the expression is '\u0663'")]),
    "a probability of a unit": ("au", cell(5, 4, "0.73"), [(5, "AU4 is '0.73', expected 0 or 1: a probability")]),
    "unit -1": ("au", cell(5, 13, "-1"), [(5, "AU26 is '-1', expected 0 or 1: -1 marks")]),
    "unit 2": ("mtl", cell(5, 5, "2"), [(5, "AU1 is '2'")]),
    "an intensity below 0": ("emi", cell(4, 5, "-0.01"), [(4, "Empathic Pain is '-0.01', expected a number from 0")]),
    "a row twice": ("va", lambda t: lines(t, lambda x: x.insert(5, x[2])), [(6, "'b/00002.jpg' is already in")]),
    "a row that is not listed": ("va", lambda t: t + "z/00001.jpg,0,0\n", [(7, "'z/00001.jpg' is not in the list")]),
    "a missing row": ("va", lambda t: lines(t, lambda x: x.pop(3) and None), [(4, "a/00009.jpg missing here")]),
    "missing rows": ("va", lambda t: lines(t, lambda x: [x[0], *x[3:]]),
                     [(2, "2 rows from b/00001.jpg to b/00002.jpg missing here")]),
    "truncated between rows": ("va", lambda t: "\n".join(t.split("\n")[:4]) + "\n",
                               [(5, "2 rows from a/00010.jpg to a/00011.jpg missing after the end")]),
    "two rows swapped": ("va", swap(3, 5), [(3, "a/00010.jpg is where b/00002.jpg belongs; 2 rows")]),
    "wrong zeros": ("va", lambda t: t.replace("a/00010", "a/0010"), [(5, "the leading zeros of its number differ")]),
    "zeros of a clip": ("emi", lambda t: t.replace("00001,", "1,"), [(3, "in the list: the leading zeros")]),
    "wrong case": ("va", lambda t: t.replace("a/00010.jpg", "A/00010.JPG"), [(5, "upper and lower case differ")]),
    "another suffix": ("va", lambda t: t.replace("00010.jpg", "00010.png"),
                       [(5, "'a/00010.png' is not in the list"), (5, "a/00010.jpg missing here")]),
    "the wrong list": ("va", lambda t: t.replace("a/0", "x/0"),
                       [(4, "not in the list"), (4, "3 rows from a/00009.jpg to a/00011.jpg missing here"),
                        (5, "not in the list"), (6, "not in the list")]),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(BROKEN))
def test_broken_files_are_rejected_with_line_and_reason(kind: str, tmp_path: Path) -> None:
    track, change, expected = BROKEN[kind]
    listed, text = good(tmp_path, track)
    changed = change(text)
    data = changed if isinstance(changed, bytes) else changed.encode()
    assert data != text.encode()
    found = problems(tmp_path, listed, data)
    assert len(found) == len(expected), found
    for line, reason in expected:
        assert any(p.line == line and reason in p.reason and not p.warning for p in found), found


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    listed, text = good(tmp_path, "au")
    found = problems(tmp_path, listed, text[: text.index("a/00010") + 20].encode())
    assert [(p.line, p.warning) for p in found] == [(5, True), (5, False), (6, False)]
    assert "the last line has no line end" in found[0].reason
    assert found[1].reason == "found 6 fields, expected 13; the file ends in the middle of this row"
    assert found[2].reason == "a/00011.jpg missing after the end"
    # A missing last end alone is worth no more than a word.
    assert [p.warning for p in problems(tmp_path, listed, text[:-1].encode())] == [True]


def test_all_problems_are_found(tmp_path: Path) -> None:
    listed, text = good(tmp_path, "va")
    text = cell(2, 2, "3")(cell(3, 3, "nan")(cell(6, 2, "-5")(text)))
    text = text.replace("a/00009", "a/9").replace("image_location", "picture")
    assert [p.line for p in problems(tmp_path, listed, text.encode())] == [1, 2, 3, 4, 6]


def test_the_first_problem_is_reported_where_a_file_is_read(tmp_path: Path) -> None:
    _, text = good(tmp_path, "va")
    path = tmp_path / "submitted.txt"
    for change, message in (
        (cell(3, 2, "7"), r"line 3: valence is '7'"),
        (lambda t: t.replace("a/00010", "a/00009"), r"line 5: a/00009\.jpg is already in line 4"),
        (lambda t: t.replace("a/00010", "a/x"), r"line 5: 'a/x\.jpg' is not an image"),
        (lambda t: t.partition("\n")[2], r"line 1: no header"),
        (lambda t: t.partition("\n")[0], r"nothing below the header"),
        (lambda t: "", r"not a submission"),
        (lambda t: t.replace(TRACKS["va"].header, TRACKS["ce"].header), r"line 1: the header is that of --track ce"),
    ):
        path.write_text(change(text))
        with pytest.raises(InputError, match=message):
            read(path, TRACKS["va"])
    path.write_text("\ufeff" + text.replace("\n", "\r\n"))
    assert read(path, TRACKS["va"])[0].names == tuple(NAMES)


def test_a_list_of_videos_does_not_set_rows(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"it lists videos, not images"):
        validate(tmp_path / "list.txt", lists.read(tmp_path / "list.txt", TRACKS["va"]))


@pytest.fixture(scope="module")
def goods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, FrameList, str]]:
    found = {}
    for track in TRACKS:
        folder = tmp_path_factory.mktemp(track)
        found[track] = (folder, *good(folder, track))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(TRACKS)), st.floats(0, 1, exclude_max=True), st.sampled_from(b"\0\r\n ,.-+/019ae5_\"\xff"),
       st.sampled_from(["change", "insert", "delete"]))  # fmt: skip
def test_no_byte_can_be_changed_unseen(
    goods: dict[str, tuple[Path, FrameList, str]], track: str, where: float, byte: int, way: str
) -> None:
    """Either it is rejected, or another valid value is where one was, and all else is as it was."""
    folder, listed, text = goods[track]
    data = text.encode()
    at = int(where * len(data))
    data = data[:at] + (b"" if way == "delete" else bytes([byte])) + data[at + (way != "insert") :]
    if any(not problem.warning for problem in problems(folder, listed, data)):
        return
    rows = data.decode().split("\n")
    assert rows[0] == TRACKS[track].header
    rows = rows[1:-1] if rows[-1] == "" else rows[1:]
    assert [row.split(",")[0] for row in rows] == list(listed.names)
    for row in rows:
        for text_of_it, field in zip(row.split(",")[1:], validation.fields_of(TRACKS[track]), strict=True):
            assert field.low <= float(text_of_it) <= field.high
            assert not field.whole or text_of_it in {"0", "1", "2", "3", "4", "5", "6", "7"}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.data(), st.sampled_from(["expr", "va", "au", "mtl", "ce"]))  # fmt: skip
def test_what_was_written_is_always_good(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, track: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    names = []
    for video in data.draw(st.lists(st.sampled_from(["a", "b_left", "c 2"]), min_size=1, unique=True)):
        length = data.draw(st.integers(1, 9))
        seen = sorted(data.draw(st.sets(st.integers(1, length), min_size=1)))
        table(folder, video, seen, length)
        names += pictures(video, data.draw(st.lists(st.integers(1, 15), min_size=1, unique=True)))
    listed = listing(folder, track, data.draw(st.permutations(names)))
    out = folder / "out.txt"
    parts = submission_rows(listed, find([folder]))
    write(listed, gather(listed, parts), out)
    assert validate(out, listed) == []
    again, values = read(out, listed.track)
    assert again.names == listed.names
    np.testing.assert_allclose(values, gather(listed, parts), atol=5.1e-7)
    assert sum(part.seen + part.filled + part.beyond for part in parts) == len(names)


# --- emotional mimicry ------------------------------------------------------------------------------------------

SIZE, OUTPUTS = 5, 3


def clip_head(folder: Path, name: str, seed: int, model: str = "enet_b0_8_va_mtl", source: str = "features") -> Path:
    """A head of one layer, whatever it says."""
    outputs = OUTPUTS if model == "enet_b0_8_va_mtl" else 0
    base = Base(model, "ab", None, SIZE, outputs)
    random = np.random.default_rng(seed)
    layer = (random.normal(0, 1, (6, 4 * base.width(source))), random.normal(0, 1, 6))
    part = Part(source, "sigmoid", EMOTIONAL_MIMICRY, (layer,))
    heads.write(Head(name, "", "emi", base, {"emotional_mimicry": part}, {}), folder / f"{name}.safetensors", "page")
    return folder / f"{name}.safetensors"


def clip(folder: Path, name: str, seed: int, model: str = "enet_b0_8_va_mtl", sha256: str = "ab") -> np.ndarray:
    """Features of a clip of seven faces; returns the embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows = random.normal(0, 1, (7, SIZE)).astype(np.float32)
    last = random.normal(0, 1, (7, OUTPUTS)).astype(np.float32) if model == "enet_b0_8_va_mtl" else None
    readings = [
        Reading(k, k / 30, (Face((0, 0, 9, 9), 1.0, track=0),),
                {model: Scores({}, rows[k : k + 1], None if last is None else last[k : k + 1])})
        for k in range(7)
    ]  # fmt: skip
    with (folder / f"{name}.features.parquet").open("wb") as file:
        features.write(readings, model, "float32", {"weights": {"sha256": sha256}, "source": {"kind": "video"}}, file)
    return rows


def told_by_hand(head: Path, rows: np.ndarray) -> np.ndarray:
    weight, bias = heads.read(head).parts["emotional_mimicry"].layers[0]
    x = rows.astype(float)
    moments = np.concatenate([x.mean(axis=0), x.std(axis=0), x.min(axis=0), x.max(axis=0)])
    return 1 / (1 + np.exp(-(weight @ moments + bias)))


def test_faces_and_sound_are_fused(tmp_path: Path) -> None:
    face, ear = clip_head(tmp_path, "face", 0), clip_head(tmp_path, "ear", 1, "wav2vec2")
    faces = {name: clip(tmp_path / "f", name, k) for k, name in enumerate(["12660", "1", "00007"])}
    sounds = {name: clip(tmp_path / "s", name, 9 + k, "wav2vec2") for k, name in enumerate(["12660", "00001", "8"])}
    listed = listing(tmp_path, "emi", ["7", "12660", "00001", "8"])
    found = tmp_path / "out.csv"
    assert emi_run(listed, [tmp_path / "f"], found, head=face, audio_head=ear, audio=[tmp_path / "s"]) == 0
    share = np.array([0.9] * 5 + [0.6])
    f = {name: told_by_hand(face, rows) for name, rows in faces.items()}
    s = {name: told_by_hand(ear, rows) for name, rows in sounds.items()}
    expected = np.array([
        f["00007"], (1 - share) * f["12660"] + share * s["12660"], (1 - share) * f["1"] + share * s["00001"], s["8"],
    ])  # fmt: skip
    again, values = read(found, TRACKS["emi"])
    assert again.names == listed.names == ("7", "12660", "00001", "8")
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert found.read_text().startswith("Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy\n7,")
    assert validate(found, listed) == []


EMI: dict[str, Any] = {
    "track": "emi", "validate": None, "recipe": None, "mean": None, "other": None, "override": None,
    "override_model": None, "layout": "file", "extra_frames": None, "head": None, "audio_head": None, "audio": [],
    "audio_weights": [], "quiet": True, "json": False, "overwrite": True,
}  # fmt: skip


def emi_run(listed: FrameList, tables: list[Path], out: Path | None, **options: Any) -> int:
    return call(submit.run, tables=tables, out=out, listed=listed.path, **{**EMI, **options})


def test_what_is_from_one_of_the_two_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face, ear = clip_head(tmp_path, "face", 0), clip_head(tmp_path, "ear", 1, "wav2vec2")
    for folder, names in (("f", ["1", "2"]), ("s", ["2", "3"])):
        for name in names:
            clip(tmp_path / folder, name, 3, "enet_b0_8_va_mtl" if folder == "f" else "wav2vec2")
    both = {"head": face, "audio_head": ear, "audio": [tmp_path / "s"]}
    listed = listing(tmp_path, "emi", ["1", "2", "3"])
    emi_run(listed, [tmp_path / "f"], tmp_path / "out.csv", quiet=False, **both)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "3 clips: 1 from faces and sound, 1 from faces alone (1), 1 from sound alone (3)."
    emi_run(listed, [tmp_path / "f"], tmp_path / "out.csv", json=True, audio_weights=["0.5", "JOY=1"], **both)
    found = json.loads(capsys.readouterr().out)
    assert (found["faces_alone"], found["sound_alone"], found["faces_and_sound"]) == (["1"], ["3"], 1)
    assert found["audio_weights"] == dict.fromkeys(EMOTIONAL_MIMICRY, 0.5) | {"joy": 1.0}
    with pytest.raises(InputError, match=r"no predictions for 1 of its 3 clips: 3; each needs"):
        emi_run(listed, [tmp_path / "f"], tmp_path / "new.csv", head=face)
    assert not (tmp_path / "new.csv").exists()
    listed = listing(tmp_path, "emi", ["2", "1"])
    emi_run(listed, [tmp_path / "f"], tmp_path / "out.csv", quiet=False, head=face)
    assert capsys.readouterr().out.splitlines()[0] == "2 clips, all from faces."


@pytest.mark.parametrize(("texts", "expected"), [
    ([], [0.9] * 5 + [0.6]), (["0.7"], [0.7] * 6), (["Joy=0.5"], [0.9] * 5 + [0.5]),
    (["joy=1", "0"], [0] * 5 + [1]), (["empathic pain=1"], [0.9, 0.9, 0.9, 1, 0.9, 0.6]),
])  # fmt: skip
def test_weights_of_the_sound(texts: list[str], expected: list[float]) -> None:
    assert list(emi.parse_weights(texts).values()) == expected
    assert list(emi.parse_weights(texts)) == list(EMOTIONAL_MIMICRY)


@pytest.mark.parametrize("text", ["fear=0.5", "1.5", "-0.1", "nan", "much", "joy=", "=0.5"])
def test_weights_that_there_are_not(text: str) -> None:
    with pytest.raises(UsageError, match=r"--audio-weight"):
        emi.parse_weights([text])


def test_features_must_be_what_the_head_stands_on(tmp_path: Path) -> None:
    head = heads.read(clip_head(tmp_path, "face", 0))
    clip(tmp_path, "1", 0, sha256="cd")
    with pytest.raises(InputError, match=r"extracted with weights of SHA-256 cd, but face was trained on those of ab"):
        emi.predict_clips(head, {"1": tmp_path / "1.features.parquet"}, ["1"])
    clip(tmp_path, "1", 0, "wav2vec2")
    with pytest.raises(InputError, match=r"features of wav2vec2, but face needs those of enet_b0_8_va_mtl"):
        emi.predict_clips(head, {"1": tmp_path / "1.features.parquet"}, ["1"])
    assert emi.predict_clips(head, {"1": tmp_path / "1.features.parquet"}, ["2"]) == {}
    with pytest.raises(InputError, match=r"are both of clip 1; give only one"):
        emi.predict_clips(head, {"1": tmp_path / "a", "001": tmp_path / "b"}, ["1"])


# --- the command ------------------------------------------------------------------------------------------------


def run(listed: FrameList, tables: list[Path], out: Path | None, **options: Any) -> int:
    return call(
        submit.run, tables=tables, out=out, listed=listed.path, **{**EMI, "track": listed.track.name, **options}
    )


def test_the_command_writes_and_tells(one: Values, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, out = listing(tmp_path, "va", pictures("a", NUMBERS)), tmp_path / "new" / "va.txt"
    assert run(listed, [tmp_path / "a.csv"], out, quiet=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "15 rows of 1 videos: a face was seen in 5, 8 are filled from the frames around them, 2 lie after the last "
        "frame (a 2).",
        str(out),
    ]
    assert run(listed, [], None, validate=out, quiet=False) == 0
    assert capsys.readouterr().out == f"{out}: good, 15 rows of 1 videos.\n"
    assert run(listed, [tmp_path], out, json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["videos"] == {"a": {"rows": 15, "seen": 5, "filled": 8, "beyond": 2}}
    assert (said["track"], said["rows"], said["out"], said["notes"]) == ("va", 15, str(out), [])


def test_the_command_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, text = good(tmp_path, "va")
    path = tmp_path / "mine.txt"
    path.write_text(cell(3, 2, "7")(text)[:-1])
    assert run(listed, [], None, validate=path, quiet=False) == 3
    assert capsys.readouterr().out.splitlines() == [
        f"{path}:3: valence is '7', expected a number from -1 to 1.",
        f"{path}:6: warning: the last line has no line end, as if the file had been cut off.",
        f"{path}: 1 problems.",
    ]
    assert run(listed, [], None, validate=path) == 3
    assert capsys.readouterr().out == ""
    assert run(listed, [], None, validate=path, json=True) == 3
    said = json.loads(capsys.readouterr().out)
    assert (said["valid"], said["total"], said["problems"][0]["line"]) == (False, 2, 3)
    path.write_text(text[:-1])
    assert run(listed, [], None, validate=path, quiet=False) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"{path}: good, 5 rows of 2 videos."]


def test_only_a_hundred_problems_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = pictures("a", range(1, 251))
    listed = listing(tmp_path, "expr", names)
    path = tmp_path / "mine.txt"
    path.write_text("\n".join([TRACKS["expr"].header, *(f"{name},9" for name in names), ""]))
    assert run(listed, [], None, validate=path, quiet=False) == 3
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 102 and said[100:] == ["... and 150 more.", f"{path}: 250 problems."]
    run(listed, [], None, validate=path, json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["total"], len(found["problems"])) == (250, 100)


def test_compounds_are_predicted_by_each_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    n = 60
    values = scores(n, 3)
    table(tmp_path, "01", list(range(1, n + 1)), n, mp_blendshapes=values)
    listed, out = listing(tmp_path, "ce", pictures("01", range(1, n + 1))), tmp_path / "ce.txt"
    run(listed, [tmp_path], out, mean="geometric", json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["mean"] == "geometric" and list(said["means"]) == ["arithmetic", "geometric", "harmonic"]
    labels = read(out, TRACKS["ce"])[1][:, 0].astype(int)
    shares = np.bincount(labels, minlength=7) / n
    assert list(said["means"]["geometric"]["shares"].values()) == pytest.approx(shares)
    assert said["means"]["geometric"]["divergence"] == pytest.approx(rel_entr(PRIOR, shares).sum())
    run(listed, [tmp_path], out, mean="geometric", quiet=False)
    text = capsys.readouterr().out
    assert "geometric (written)" in text and f"{rel_entr(PRIOR, shares).sum():.4f}" in text
    # A class that is never predicted is infinitely far, which JSON cannot hold.
    run(listing(tmp_path, "ce", pictures("01", [1])), [tmp_path], out, json=True)
    assert json.loads(capsys.readouterr().out)["means"]["harmonic"]["divergence"] is None


def test_a_folder_of_files(one: Values, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos.txt").write_text("a\n")
    listed = lists.read(tmp_path / "videos.txt", TRACKS["expr"])
    run(listed, [tmp_path], tmp_path / "out", layout="per-video", json=True)
    assert json.loads(capsys.readouterr().out)["rows"] == LENGTH + 1
    assert len((tmp_path / "out" / "a.txt").read_text().splitlines()) == LENGTH + 2
    run(listed, [tmp_path], tmp_path / "out", layout="per-video", extra_frames=0)
    assert len((tmp_path / "out" / "a.txt").read_text().splitlines()) == LENGTH + 1


@pytest.mark.parametrize(("track", "options", "message"), [
    ("va", {"mean": "harmonic"}, "--mean is for --track ce, not for va"),
    ("au", {"other": "none"}, "--other is for --track expr and mtl, not for au"),
    ("ce", {"override": 0.5, "override_model": "x"}, "--override is for --track expr and mtl"),
    ("expr", {"override": 0.5}, "--override and --override-model go together"),
    ("expr", {"override_model": "x"}, "--override and --override-model go together"),
    ("va", {"head": Path("x")}, "--head is for --track emi"),
    ("emi", {"recipe": Path("x")}, "--recipe is for --track expr and va and au and mtl and ce, not for emi"),
    ("mtl", {"layout": "per-video"}, "--layout per-video: --track mtl never had one file per video"),
    ("va", {"layout": "tree"}, "--layout tree: choose from file, per-video"),
    ("va", {"extra_frames": 1}, "--extra-frames is for --layout per-video"),
    ("emi", {}, "--track emi needs --head"),
    ("emi", {"head": Path("x"), "audio_head": Path("y")}, "--audio-head, --audio and --audio-weight go together"),
    ("emi", {"head": Path("x"), "audio_weights": ["1"]}, "--audio-head, --audio and --audio-weight go together"),
    ("va", {"tables": []}, "give the listed videos"),
    ("va", {"out": None}, "-o: give the file to write"),
    ("va", {"validate": Path("x")}, "--validate takes --track, --list and the file alone"),
])  # fmt: skip
def test_options_that_do_not_go_together(track: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    listed, _ = good(tmp_path, track)
    options = {"tables": [tmp_path], "out": tmp_path / "out.txt", **options}
    with pytest.raises(UsageError) as error:
        run(listed, **options)
    assert message in str(error.value)
    assert not (tmp_path / "out.txt").exists()


def test_places_that_cannot_be_meant(one: Values, tmp_path: Path) -> None:
    listed = listing(tmp_path, "va", pictures("a", [1]))
    before = listed.path.read_bytes()
    for out, message in ((listed.path, "that is the list itself"), (tmp_path, "that is a folder")):
        with pytest.raises(HsemotionError, match=message):
            run(listed, [tmp_path], out)
    assert listed.path.read_bytes() == before
