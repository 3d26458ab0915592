"""Evaluation against scikit-learn, scipy and numpy, on rows that a slow loop collects frame by frame from what was
written to disk; and messages about truth and tables that do not match."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import challenge
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from sklearn import metrics as sklearn

from hsemotion_cli.abaw import evaluation, scores
from hsemotion_cli.abaw.aligned import NAMES, EvaluationSettings
from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.abaw.evaluation import Report
from hsemotion_cli.commands import evaluate as command
from hsemotion_cli.commands.signature import call
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.evaluation.ground_truth import Annotations, recording
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.tasks import ACTION_UNITS, COMPOUNDS, EMOTIONAL_MIMICRY, EXPRESSIONS
from hsemotion_cli.timeline import Timeline

MODEL = "some-network"
UNITS = dict.fromkeys(ACTION_UNITS, 0.4)
FRAME_TASKS = {"expr": ["expression"], "va": ["valence_arousal"], "au": ["action_units"]}
FRAME_TASKS["mtl"] = ["valence_arousal", "expression", "action_units"]


@dataclass
class Face:
    """One face as a network saw it; values are those of the file, float32."""

    frame: int
    box: tuple[float, float, float, float]
    expression: np.ndarray
    valence_arousal: np.ndarray
    action_units: np.ndarray


@dataclass
class World:
    """One video: the numbers of its analysed frames, and the faces in them, in order."""

    frames: list[int]
    faces: list[Face]
    width: int = 640
    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(UNITS))


def a_face(random: np.random.Generator, frame: int, x: float, size: float, *, other: bool = False) -> Face:
    """A face of a network that knows contempt, or "other" in its place."""
    expression = np.full(9, np.nan, np.float32)
    expression[[*range(7), 8 if other else 7]] = random.dirichlet(np.full(8, 0.5))
    va = random.uniform(-1, 1, 2).astype(np.float32)
    return Face(frame, (x, 10, size, size), expression, va, random.random(12).astype(np.float32))


def a_world(
    random: np.random.Generator, last: int, *, people: int = 1, seen: float = 0.7, other: bool = False
) -> World:
    """Frames 1 to ``last``; faces are seen in a share of them, and each person in its own part of the image."""
    faces = []
    for frame in range(1, last + 1):
        for person in range(people):
            if random.random() < seen:
                x = 640 / people * person + random.uniform(5, 60)
                faces.append(a_face(random, frame, x, random.uniform(30, 90), other=other))
    if not faces:
        faces.append(a_face(random, last, 10, 50, other=other))
    return World(list(range(1, last + 1)), faces)


def write(folder: Path, name: str, world: World, *, kind: str = "video", tasks: Iterable[str] = FRAME_TASKS["mtl"],
          recipe: Mapping[str, Any] | None = None) -> None:  # fmt: skip
    """Raw scores and sidecar, as annotate leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    first = int(kind == "video")
    faces = sorted(enumerate(world.faces), key=lambda item: (item[1].frame, item[0]))
    position = {frame: k for k, frame in enumerate(world.frames)}
    ids, count = [], dict.fromkeys(world.frames, 0)
    for _, face in faces:
        ids.append(count[face.frame])
        count[face.frame] += 1
    values = {task: np.array([getattr(face, task) for _, face in faces], np.float32) for task in tasks}
    timeline = Timeline(
        np.array(world.frames, np.int64) - first,
        np.array(world.frames) / 25,
        np.array([position[face.frame] for _, face in faces], np.int64),
        np.array(ids, np.int64),
        np.ones(len(faces), np.float32),
        np.array([face.box for _, face in faces], np.float32).reshape(-1, 4),
        {MODEL: {task: found.reshape(len(faces), -1 if faces else len(NAMES.get(task, "")) + (task == "expression"))
                 for task, found in values.items()}},
    )  # fmt: skip
    with (folder / f"{name}.raw.npz").open("wb") as file:
        raw_scores.write(timeline, file)
    content = {"recipe": {"models": [MODEL], "thresholds": dict(world.thresholds), **(recipe or {})}}
    content["source"] = {"kind": kind, "width": world.width, "name": name}
    (folder / f"{name}.json").write_text(json.dumps(content))


# --- a slow evaluation, frame by frame ------------------------------------------------------------------------------


def of_person(world: World, side: str | None) -> list[Face]:
    if side is None:
        return world.faces
    left = [face.box[0] + face.box[2] / 2 < world.width / 2 for face in world.faces]
    return [face for face, is_left in zip(world.faces, left, strict=True) if is_left == (side == "left")]


def value_at(world: World, side: str | None, task: str, frame: int) -> tuple[np.ndarray, bool]:
    """The prediction for one frame, computed by hand, and whether it is of that very frame."""
    known: dict[int, np.ndarray] = {}
    for number in {face.frame for face in of_person(world, side)}:
        there = [face for face in of_person(world, side) if face.frame == number]
        if task == "compound":
            pairs = [[EXPRESSIONS.index(name) for name in pair] for pair in COMPOUNDS.values()]
            each = [[(float(f.expression[a]) + float(f.expression[b])) / 2 for a, b in pairs] for f in there]
            known[number] = np.max(each, axis=0)
        else:
            known[number] = getattr(max(there, key=lambda f: f.box[2] * f.box[3]), task).astype(float)
    before, after = [n for n in known if n <= frame], [n for n in known if n >= frame]
    if not before:
        return known[min(known)], False
    if not after:
        return known[max(known)], False
    p, n = max(before), min(after)
    t = 0.0 if p == n else (frame - p) / (n - p)
    return (1 - t) * known[p] + t * known[n], p == n


def label_of(expression: np.ndarray, other: str, classes: int) -> int:
    eighth = expression[8] if not np.isnan(expression[8]) else expression[7] if other == "contempt" else 0.0
    return int(np.argmax([*expression[:7], eighth][:classes]))


def valid(truth: Any, task: str, k: int) -> bool:
    return (
        getattr(truth, task)[k] >= 0
        if task in ("expression", "compound")
        else not np.isnan(getattr(truth, task)[k]).any()
    )


def collected(
    truth: Mapping[str, Any], worlds: Mapping[str, World], task: str, *, seen_only: bool = False
) -> dict[str, list]:
    """Truth, values and kinds of all valid frames, over all videos."""
    found: dict[str, list] = {"truth": [], "said": [], "kind": [], "video": []}
    for name, part in truth.items():
        side = None if name in worlds else name.rsplit("_", 1)[1]
        world = worlds[name if side is None else recording(name)]
        for k, frame in enumerate(part.frames):
            if valid(part, task, k):
                value, seen = value_at(world, side, task, int(frame))
                if seen or not seen_only:
                    found["truth"].append(getattr(part, task)[k])
                    found["said"].append(value)
                    found["video"].append(name)
                found["kind"].append("seen" if seen else "beyond" if frame > max(world.frames) else "filled")
    return found


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    return float(2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def expected(found: dict[str, list], task: str, threshold: float = 0.4, other: str = "contempt") -> float:
    """The score of a task, from scikit-learn and numpy."""
    truth, said = np.array(found["truth"]), np.array(found["said"])
    if task == "valence_arousal":
        return float(np.mean([ccc(truth[:, k].astype(float), said[:, k]) for k in (0, 1)]))
    if task == "action_units":
        return float(
            np.mean([sklearn.f1_score(truth[:, k], said[:, k] >= threshold, zero_division=0) for k in range(12)])
        )
    labels = [label_of(value, other, 8) for value in said] if task == "expression" else said.argmax(axis=1)
    classes = range(8 if task == "expression" else 7)
    return float(sklearn.f1_score(truth, labels, labels=classes, average="macro", zero_division=0))


# --- fixtures -------------------------------------------------------------------------------------------------------


def asked(track: str, **options: Any) -> EvaluationSettings:
    return EvaluationSettings(TRACKS[track], **{"draws": 0, **options})


def evaluate(tables: Path | list[Path], truth: Path, track: str, **options: Any) -> Report:
    return evaluation.evaluate([tables] if isinstance(tables, Path) else tables, truth, asked(track, **options))


@dataclass
class Set:
    data: challenge.Challenge
    worlds: dict[str, World]
    tables: Path


def a_set(folder: Path, seed: int, *, dense: bool = False, **options: Any) -> Set:
    """A data set and tables of it: an end that was not decoded, frames without faces, two people in one table."""
    random = np.random.default_rng(seed)
    make = challenge.make_tracks if dense else challenge.make_mtl
    data = make(folder / "data", videos=4, frames=14, seed=seed, masked=0.25, paint=None, **options)
    worlds: dict[str, World] = {}
    for name, part in {**data.train, **data.validation}.items():
        whole = recording(name)
        if whole not in worlds:
            # The list has one frame more than the decoder gives.
            last = int(part.frames[-1]) - 1
            worlds[whole] = a_world(random, last, people=2 if whole != name else 1, other=bool(random.integers(2)))
    for name, world in worlds.items():
        write(folder / "tables", name, world)
    return Set(data, worlds, folder / "tables")


@pytest.fixture(scope="module")
def mtl(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return a_set(tmp_path_factory.mktemp("mtl"), 3)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Set:
    return a_set(tmp_path_factory.mktemp("dense"), 4, dense=True)


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track", ["expr", "va", "au", "mtl"])
@pytest.mark.parametrize("seen_only", [False, True])
def test_scores_are_those_of_all_valid_frames_together(mtl: Set, track: str, seen_only: bool) -> None:
    report = evaluate(mtl.tables, mtl.data.root, track, part="train", seen_only=seen_only)
    assert any(name.endswith("_left") for name in mtl.data.train)
    total = 0.0
    for task in FRAME_TASKS[track]:
        rows = collected(mtl.data.train, mtl.worlds, task, seen_only=seen_only)
        score = expected(rows, task)
        assert report.tasks[task].score.value == pytest.approx(score, abs=1e-9)
        total += score
        kinds = {kind: rows["kind"].count(kind) for kind in ("seen", "filled", "beyond")}
        assert kinds["filled"] and kinds["beyond"]
        frames = report.frames[task].to_json()
        assert frames == {**kinds, "valid": len(rows["kind"]), "scored": len(rows["truth"])}
    assert report.score.value == pytest.approx(total, abs=1e-9)
    assert report.ignored == tuple(mtl.data.validation) and not report.left_out


@pytest.mark.parametrize("track", ["expr", "va", "au", "mtl"])
def test_trees_of_tracks_are_read_as_well(dense: Set, track: str) -> None:
    for part, truth in (("train", dense.data.train), ("validation", dense.data.validation)):
        report = evaluate(dense.tables, dense.data.root, track, part=part)
        scores_ = [expected(collected(truth, dense.worlds, task), task) for task in FRAME_TASKS[track]]
        assert report.score.value == pytest.approx(sum(scores_), abs=1e-9)
    if track != "mtl":
        folders = {
            "expr": "EXPR_Recognition_Challenge",
            "va": "VA_Estimation_Challenge",
            "au": "AU_Detection_Challenge",
        }
        same = evaluate(dense.tables, dense.data.root / folders[track] / "Validation_Set", track, part="train")
        assert same.score == report.score
        # A broken file of another track must not matter here.
        other = folders["va" if track == "expr" else "expr"]
        broken = next((dense.data.root / other / "Train_Set").iterdir())
        text = broken.read_text()
        broken.write_text("nonsense\n1\n")
        try:
            assert evaluate(dense.tables, dense.data.root, track, part="train").score
        finally:
            broken.write_text(text)


def test_classes_one_by_one(mtl: Set) -> None:
    report = evaluate(mtl.tables, mtl.data.root / "training_set_annotations.txt", "expr")
    rows = collected(mtl.data.train, mtl.worlds, "expression")
    truth, labels = np.array(rows["truth"]), np.array([label_of(value, "contempt", 8) for value in rows["said"]])
    found = report.tasks["expression"]
    assert isinstance(found, scores.ClassScores)
    each = sklearn.precision_recall_fscore_support(truth, labels, labels=range(8), zero_division=0)
    for k, (name, row) in enumerate(found.classes.items()):
        assert name == NAMES["expression"][k]
        assert [row.precision, row.recall, row.f1.value, row.support] == pytest.approx([c[k] for c in each], abs=1e-9)
    np.testing.assert_array_equal(found.confusion, sklearn.confusion_matrix(truth, labels, labels=range(8)))
    assert found.accuracy.value == pytest.approx(sklearn.accuracy_score(truth, labels), abs=1e-9)
    # Over 7: frames whose truth is other are out, and so is the eighth answer.
    seven = np.array([label_of(value, "contempt", 7) for value in rows["said"]])
    keep = truth != 7
    expected_ = sklearn.f1_score(truth[keep], seven[keep], labels=range(7), average="macro", zero_division=0)
    assert found.without_other is not None and found.without_other.value == pytest.approx(expected_, abs=1e-9)


def test_other_may_have_no_stand_in(mtl: Set) -> None:
    rows = collected(mtl.data.train, mtl.worlds, "expression")
    none = evaluate(mtl.tables, mtl.data.root, "expr", part="train", other="none")
    contempt = evaluate(mtl.tables, mtl.data.root, "expr", part="train")
    assert none.score.value == pytest.approx(expected(rows, "expression", other="none"), abs=1e-9)
    assert none.score != contempt.score


def test_action_units_at_their_thresholds_and_at_a_half(mtl: Set, tmp_path: Path) -> None:
    rows = collected(mtl.data.train, mtl.worlds, "action_units")
    truth, said = np.array(rows["truth"]), np.array(rows["said"])
    report = evaluate(mtl.tables, mtl.data.root, "au", part="train", thresholds=("AU12=0.8",))
    found = report.tasks["action_units"]
    assert isinstance(found, scores.UnitScores) and report.half == found.half
    for k, (name, row) in enumerate(found.units.items()):
        limit = 0.8 if name == "AU12" else 0.4
        assert row.threshold == limit and row.half is not None
        each = sklearn.precision_recall_fscore_support(
            truth[:, k], said[:, k] >= limit, average="binary", zero_division=0
        )
        assert [row.precision, row.recall, row.f1.value] == pytest.approx(each[:3], abs=1e-9)
        assert row.half.value == pytest.approx(sklearn.f1_score(truth[:, k], said[:, k] >= 0.5), abs=1e-9)
        assert row.support == truth[:, k].sum()
    assert report.half is not None and report.half.value == pytest.approx(expected(rows, "action_units", 0.5), abs=1e-9)
    both = evaluate(mtl.tables, mtl.data.root, "mtl", part="train")
    assert both.half is not None
    difference = expected(rows, "action_units", 0.5) - expected(rows, "action_units")
    assert both.half.value - both.score.value == pytest.approx(difference, abs=1e-9)


def test_each_table_has_its_own_thresholds(mtl: Set, tmp_path: Path) -> None:
    name = sorted(mtl.data.validation)[0]
    for video in mtl.data.validation:
        world = mtl.worlds[video]
        limits = {**UNITS, "AU01": 0.9} if video == name else UNITS
        write(tmp_path, video, World(world.frames, world.faces, thresholds=limits))
    found = evaluate(tmp_path, mtl.data.root, "au").tasks["action_units"]
    assert isinstance(found, scores.UnitScores)
    assert found.units["AU01"].threshold is None and found.units["AU02"].threshold == 0.4
    rows = collected(mtl.data.validation, mtl.worlds, "action_units")
    limits_ = [0.9 if video == name else 0.4 for video in rows["video"]]
    said = np.array(rows["said"])[:, 0] >= limits_
    assert found.units["AU01"].f1.value == pytest.approx(
        sklearn.f1_score(np.array(rows["truth"])[:, 0], said), abs=1e-9
    )
    # A recipe for all of them takes their place.
    recipe = Recipe((MODEL,), thresholds=dict.fromkeys(ACTION_UNITS, 0.7))
    report = evaluate(tmp_path, mtl.data.root, "au", recipe=recipe)
    assert report.score.value == pytest.approx(expected(rows, "action_units", 0.7), abs=1e-9)


def test_where_values_come_from_is_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    write(tmp_path, "a", World([1, 2, 3, 4, 5], [a_face(random, frame, 10, 50) for frame in (2, 4)]))
    units = ",".join(["0"] * 12)
    lines = [f"a/{frame:05d}.jpg,0.{frame},0,{'-1' if frame == 3 else '0'},{units}" for frame in range(1, 8)]
    (tmp_path / "list.txt").write_text("\n".join(["image,valence,arousal,expression,aus", *lines]))
    report = evaluate(tmp_path, tmp_path / "list.txt", "mtl")
    every = {"valid": 7, "scored": 7, "seen": 2, "filled": 3, "beyond": 2}
    assert report.frames["valence_arousal"].to_json() == report.frames["action_units"].to_json() == every
    assert report.frames["expression"].to_json() == {**every, "valid": 6, "scored": 6, "filled": 2}
    seen = evaluate(tmp_path, tmp_path / "list.txt", "va", seen_only=True)
    assert seen.frames["valence_arousal"].to_json() == {**every, "scored": 2}


def test_bridged_gaps_are_not_seen(mtl: Set, tmp_path: Path) -> None:
    for video in mtl.data.validation:
        write(tmp_path, video, mtl.worlds[video], recipe={"interpolate": 5})
    plain = evaluate(mtl.tables, mtl.data.root, "va")
    bridged = evaluate(tmp_path, mtl.data.root, "va")
    assert bridged.frames == plain.frames
    assert bridged.score.value == pytest.approx(plain.score.value, abs=1e-9)  # bridged as frames are filled here


def test_images_have_their_own_numbers(mtl: Set, tmp_path: Path) -> None:
    for video in mtl.data.validation:
        write(tmp_path, video, mtl.worlds[video], kind="pictures")
    for track in ("expr", "va", "au"):
        as_video = evaluate(mtl.tables, mtl.data.root, track)
        assert evaluate(tmp_path, mtl.data.root, track).score == as_video.score


def test_a_table_of_one_person_comes_before_that_of_both(tmp_path: Path) -> None:
    made = a_set(tmp_path, 8)
    left, right = (name for name in made.data.train if name.endswith(("_left", "_right")))
    own = a_world(np.random.default_rng(0), 60)
    write(made.tables, left, own)
    worlds = {**made.worlds, left: own}
    report = evaluate(made.tables, made.data.root, "va", part="train")
    assert report.score.value == pytest.approx(
        expected(collected(made.data.train, worlds, "valence_arousal"), "valence_arousal"), abs=1e-9
    )
    assert recording(right) not in report.ignored


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_masks_of_any_shape(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Each task is masked by its own marks; whatever the others' are."""
    folder = tmp_path_factory.mktemp("masks")
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    truth, worlds, lines = {}, {}, ["image,valence,arousal,expression,aus"]
    for name in ("a", "b"):
        n = data.draw(st.integers(2, 8))
        masks = [data.draw(st.lists(st.booleans(), min_size=n, max_size=n)) for _ in range(3)]
        va = random.uniform(-1, 1, (n, 2)).round(3)
        labels, units = random.integers(0, 8, n), random.integers(0, 2, (n, 12))
        va[masks[0], data.draw(st.integers(0, 1))] = -5
        labels[masks[1]] = -1
        units[masks[2], data.draw(st.integers(0, 11))] = -1
        for k in range(n):
            lines.append(f"{name}/{k + 1:05d}.jpg,{va[k, 0]},{va[k, 1]},{labels[k]},{','.join(map(str, units[k]))}")
        known = np.where((va == -5).any(axis=1)[:, None], np.nan, va).astype(np.float32)
        present = np.where(np.any(units < 0, axis=1, keepdims=True), np.nan, units).astype(np.float32)
        truth[name] = Annotations(name, np.arange(1, n + 1), labels, known, present)
        worlds[name] = a_world(random, data.draw(st.integers(1, 9)), seen=data.draw(st.sampled_from([0.3, 1])))
        write(folder, name, worlds[name])
    path = folder / "list.txt"
    path.write_text("\r\n".join([*lines, ""]), encoding="utf-8-sig", newline="")
    for track in ("expr", "va", "au"):
        task = FRAME_TASKS[track][0]
        if not any(valid(part, task, k) for part in truth.values() for k in range(len(part.frames))):
            with pytest.raises(InputError, match="no frame has a label"):
                evaluate(folder, path, track)
            continue
        rows = collected(truth, worlds, task)
        report = evaluate(folder, path, track)
        assert report.frames[task].valid == len(rows["truth"])
        values = np.array(rows["truth"], float)
        if task != "valence_arousal":
            assert report.score.value == pytest.approx(expected(rows, task), abs=1e-9)
        elif (values != values[0]).all():
            assert report.score.value == pytest.approx(expected(rows, task), abs=1e-6)


# --- videos and intervals -------------------------------------------------------------------------------------------


def test_videos_by_themselves(mtl: Set) -> None:
    report = evaluate(mtl.tables, mtl.data.root, "mtl", part="train")
    assert [video.video for video in report.videos] == list(mtl.data.train)
    for video in report.videos:
        one = {video.video: mtl.data.train[video.video]}
        va, classes, units = (collected(one, mtl.worlds, task) for task in FRAME_TASKS["mtl"])
        truth, said = np.array(va["truth"], float), np.array(va["said"])
        assert [video.scores["valence"], video.scores["arousal"]] == pytest.approx(
            [ccc(truth[:, k], said[:, k]) for k in (0, 1)], abs=1e-9
        )
        labels = [label_of(value, "contempt", 8) for value in classes["said"]]
        f1 = sklearn.f1_score(classes["truth"], labels, average="macro", zero_division=0)
        assert video.scores["f1"] == pytest.approx(f1, abs=1e-9)
        assert video.scores["accuracy"] == pytest.approx(np.mean(np.array(classes["truth"]) == labels), abs=1e-9)
        truth, present = np.array(units["truth"]), np.array(units["said"]) >= 0.4
        there = [k for k in range(12) if truth[:, k].any() or present[:, k].any()]
        au = np.mean([sklearn.f1_score(truth[:, k], present[:, k], zero_division=0) for k in there])
        assert video.scores["au_f1"] == pytest.approx(au, abs=1e-9)
        assert video.mean == pytest.approx(np.mean([video.scores["ccc"], f1, au]), abs=1e-9)


def test_intervals_are_over_recordings(mtl: Set) -> None:
    reports = [evaluate(mtl.tables, mtl.data.root, "mtl", part="train", draws=150, seed=seed) for seed in (0, 0, 1)]
    assert reports[0].to_json() == reports[1].to_json() != reports[2].to_json()
    report = reports[0]
    names = list(mtl.data.train)
    groups = sorted({recording(name) for name in names})
    assert report.recordings == len(groups) == len(names) - 1
    often = np.random.default_rng(0).multinomial(len(groups), [1 / len(groups)] * len(groups), size=25)
    found = {task: collected(mtl.data.train, mtl.worlds, task) for task in FRAME_TASKS["mtl"]}
    values = []
    for one in often:
        total = 0.0
        for task, rows in found.items():
            counts = [one[groups.index(recording(name))] for name in rows["video"]]
            keys = ("truth", "said")
            again = {key: [v for v, n in zip(rows[key], counts, strict=True) for _ in range(n)] for key in keys}
            total += expected(again, task)
        values.append(total)
    few = evaluate(mtl.tables, mtl.data.root, "mtl", part="train", draws=25).score
    assert [few.low, few.high] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-9)
    assert report.score.low is not None and report.score.high is not None
    assert report.score.low < report.score.value < report.score.high
    assert all(scores.score.low is not None for scores in report.tasks.values())


def test_one_recording_has_no_interval(mtl: Set, tmp_path: Path) -> None:
    lines = (mtl.data.root / "training_set_annotations.txt").read_text().splitlines()
    both = [line for line in lines[1:] if "_left/" in line or "_right/" in line]
    path = tmp_path / "list.txt"
    path.write_text("\n".join([lines[0], *both]))
    report = evaluate(mtl.tables, path, "va", draws=100)
    assert report.recordings == 1 and len(report.videos) == 2
    assert report.score.low is None and report.to_json()["score"]["interval"] is None
    assert evaluate(mtl.tables, mtl.data.root, "va", part="train", draws=0).score.low is None


# --- compounds, clips and submitted files ---------------------------------------------------------------------------


@pytest.fixture
def compound(tmp_path: Path) -> tuple[Path, Path, dict[str, World], dict[str, Any]]:
    random = np.random.default_rng(2)
    lines, worlds, truth = [TRACKS["ce"].header], {}, {}
    for name in ("01", "02"):
        worlds[name] = a_world(random, 30, people=2)
        labels = random.integers(-1, 7, 31)
        lines += [f"{name}/{frame + 1:05d}.jpg,{label}" for frame, label in enumerate(labels)]
        truth[name] = type("Truth", (), {"frames": np.arange(1, 32), "compound": labels})
        write(tmp_path / "tables", name, worlds[name])
    path = tmp_path / "truth.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    return path, tmp_path / "tables", worlds, truth


def test_compounds(compound: tuple[Path, Path, dict[str, World], dict[str, Any]]) -> None:
    path, tables, worlds, truth = compound
    report = evaluate(tables, path, "ce")
    rows = collected(truth, worlds, "compound")
    assert report.score.value == pytest.approx(expected(rows, "compound"), abs=1e-9)
    assert report.frames["compound"].valid == len(rows["truth"]) < 62 and report.frames["compound"].beyond
    assert report.half is None
    others = [evaluate(tables, path, "ce", mean=mean).score for mean in ("geometric", "harmonic")]
    assert report.score not in others and others[0] != others[1]


INTENSITIES = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"


def intensities(path: Path, values: Mapping[str, np.ndarray]) -> Path:
    path.write_text(
        "\n".join([INTENSITIES, *(f"{name},{','.join(map(str, row))}" for name, row in values.items())]) + "\n"
    )
    return path


def test_intensities_of_clips(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth = {f"{k:05d}": random.random(6).round(3) for k in range(1, 41)}
    said = {str(int(name)): np.clip(row + random.normal(0, 0.2, 6), 0, 1).round(3) for name, row in truth.items()}
    known = intensities(tmp_path / "valid_split.csv", truth)
    given_ = intensities(tmp_path / "mine.csv", {**said, "999": np.zeros(6)})
    report = evaluate(given_, known, "emi", draws=200)
    x, y = np.array(list(truth.values())), np.array(list(said.values()))
    each = [stats.pearsonr(x[:, k], y[:, k]).statistic for k in range(6)]
    found = report.tasks["emotional_mimicry"]
    assert isinstance(found, scores.RegressionScores) and list(found.columns) == list(EMOTIONAL_MIMICRY)
    assert [score.value for score in found.columns.values()] == pytest.approx(each, abs=1e-9)
    assert report.score.value == pytest.approx(np.mean(each), abs=1e-9)
    assert (report.clips, report.recordings, report.ignored) == (40, 40, ("999",))
    assert report.score.low is not None and report.score.low < report.score.value < (report.score.high or 0)
    intensities(given_, dict(list(said.items())[2:]))
    with pytest.raises(InputError, match=r"no predictions for 2 of its 40: 1, 2; add it .* --partial"):
        evaluate(given_, known, "emi")
    partial = evaluate(given_, known, "emi", partial=True)
    assert partial.left_out == ("1", "2") and partial.clips == 38
    with pytest.raises(UsageError, match="one file of intensities"):
        evaluate([given_, given_], known, "emi")
    known.write_text(f"{INTENSITIES}\n")
    with pytest.raises(InputError, match="there are no clips"):
        evaluate(given_, known, "emi")
    given_.write_text("Filename,Joy\n1,0\n")
    with pytest.raises(InputError, match="no column 'admiration'"):
        evaluate(given_, known, "emi")


def submitted(path: Path, truth: Mapping[str, Any], worlds: Mapping[str, World], track: str) -> Path:
    """What the slow loop says, as a file of a track."""
    lines = [TRACKS[track].header]
    for name, part in truth.items():
        side = None if name in worlds else name.rsplit("_", 1)[1]
        world = worlds[name if side is None else recording(name)]
        for frame in part.frames:
            fields = []
            for task in TRACKS[track].tasks:
                value, _ = value_at(world, side, task, int(frame))
                if task == "expression":
                    fields.append(str(label_of(value, "contempt", 8)))
                elif task == "compound":
                    fields.append(str(int(value.argmax())))
                else:
                    fields += [f"{v:.6f}" if task == "valence_arousal" else str(int(v >= 0.4)) for v in value]
            lines.append(",".join([f"{name}/{frame:05d}.jpg", *fields]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("track", ["expr", "va", "au", "mtl"])
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_a_submitted_file_scores_as_its_tables(mtl: Set, tmp_path: Path, track: str, suffix: str) -> None:
    file = submitted(tmp_path / f"mine{suffix}", mtl.data.train, mtl.worlds, track)
    report = evaluate(file, mtl.data.root, track, part="train")
    tables = evaluate(mtl.tables, mtl.data.root, track, part="train")
    assert report.score.value == pytest.approx(tables.score.value, abs=1e-5 if track in ("va", "mtl") else 1e-12)
    assert report.half is None
    assert all(frames.seen is None and frames.valid == frames.scored for frames in report.frames.values())
    with pytest.raises(UsageError, match="final predictions, which --seen-only cannot change"):
        evaluate(file, mtl.data.root, track, part="train", seen_only=True)
    short = file.read_text().splitlines()
    labelled = mtl.data.train[next(iter(mtl.data.train))]
    row = next(k for k in range(len(labelled.frames)) if valid(labelled, FRAME_TASKS[track][0], k))
    file.write_text("\n".join([*short[: row + 1], *short[row + 2 :]]) + "\n")
    with pytest.raises(InputError, match=rf"1 labelled frames of .* have no row: {labelled.frames[row]:05d}"):
        evaluate(file, mtl.data.root, track, part="train")
    partial = evaluate(file, mtl.data.root, track, part="train", partial=True)
    frames = partial.frames[FRAME_TASKS[track][0]]
    assert frames.scored == frames.valid - 1


# --- what does not fit together -------------------------------------------------------------------------------------


def test_videos_without_a_table(mtl: Set, tmp_path: Path) -> None:
    names = list(mtl.data.validation)
    some = [mtl.tables / f"{names[0]}.raw.npz"]
    with pytest.raises(InputError, match=rf"no predictions for 2 of its 3: {names[1]}, {names[2]}; .*--partial"):
        evaluate(some, mtl.data.root, "va")
    report = evaluate(some, mtl.data.root, "va", partial=True)
    assert report.left_out == tuple(names[1:]) and report.recordings == 1
    one = {names[0]: mtl.data.validation[names[0]]}
    assert report.score.value == pytest.approx(
        expected(collected(one, mtl.worlds, "valence_arousal"), "valence_arousal"), abs=1e-9
    )
    write(tmp_path, "stranger", mtl.worlds[names[0]])
    with pytest.raises(InputError, match="the tables are of stranger; they are matched by name"):
        evaluate(tmp_path, mtl.data.root, "va", partial=True)


def test_a_video_without_labels_needs_no_table(mtl: Set, tmp_path: Path) -> None:
    lines = (mtl.data.root / "validation_set_annotations.txt").read_text()
    path = tmp_path / "list.txt"
    path.write_text(lines + f"unknown/00001.jpg,-5,-5,-1,{','.join(['-1'] * 12)}\n")
    assert evaluate(mtl.tables, path, "mtl").score == evaluate(mtl.tables, mtl.data.root, "mtl").score


def test_a_video_without_any_face(mtl: Set, tmp_path: Path) -> None:
    names = list(mtl.data.validation)
    for name in names:
        write(tmp_path, name, World(mtl.worlds[name].frames, []) if name == names[1] else mtl.worlds[name])
    with pytest.raises(InputError, match=rf"no face was found in any frame of {names[1]}.*--partial.*--seen-only"):
        evaluate(tmp_path, mtl.data.root, "expr")
    rest = {name: mtl.data.validation[name] for name in (names[0], names[2])}
    report = evaluate(tmp_path, mtl.data.root, "expr", partial=True)
    assert report.faceless == (names[1],) and not report.left_out
    rows = collected(rest, mtl.worlds, "expression")
    assert report.score.value == pytest.approx(expected(rows, "expression"), abs=1e-9)
    seen = evaluate(tmp_path, mtl.data.root, "mtl", seen_only=True, draws=50)
    rows = collected(rest, mtl.worlds, "expression", seen_only=True)
    assert seen.tasks["expression"].score.value == pytest.approx(expected(rows, "expression"), abs=1e-9)
    assert seen.recordings == 2 and not seen.faceless
    video = next(video for video in seen.videos if video.video == names[1])
    assert video.mean is None and not video.frames["expression"].scored and video.frames["expression"].valid


def test_models_that_lack_a_task(mtl: Set, tmp_path: Path) -> None:
    for name in mtl.data.validation:
        write(tmp_path, name, mtl.worlds[name], tasks=["expression"])
    for track, what in (("va", "valence arousal"), ("au", "action units"), ("mtl", "valence arousal")):
        with pytest.raises(InputError, match=rf"its models \({MODEL}\) do not predict {what}"):
            evaluate(tmp_path, mtl.data.root, track, partial=True)
    assert evaluate(tmp_path, mtl.data.root, "expr").score == evaluate(mtl.tables, mtl.data.root, "expr").score
    for name in mtl.data.validation:
        world = mtl.worlds[name]
        faces = [replace(f, action_units=np.where(np.arange(12) == 3, np.nan, f.action_units)) for f in world.faces]
        write(tmp_path, name, World(world.frames, faces))
    with pytest.raises(InputError, match="do not predict AU06"):
        evaluate(tmp_path, mtl.data.root, "au")


def test_truth_that_cannot_be_used(mtl: Set, compound: Any, tmp_path: Path) -> None:
    header = "image,valence,arousal,expression,aus"
    name = next(iter(mtl.data.validation))
    units = ",".join(["0"] * 12)
    for text, says in (
        (f"{header}\n{name}/00001.jpg,nan,0.1,0,{units}\n", "line 2: valence is 'nan', expected a number from -1 to 1"),
        (f"{header}\n{name}/00001.jpg,0.1,0.1,8,{units}\n", "line 2: expression is '8'"),
        (f"image,arousal\n{name}/00001.jpg,0.1,0.1,1,{units}\n", "line 1: the header is"),
        (f"{header}\n{name}/00001.jpg,-5,-5,-1,{units}\n", "no frame has a label for --track va"),
        ("", "the file is empty"),
    ):
        path = tmp_path / "list.txt"
        path.write_text(text)
        with pytest.raises(InputError, match=says):
            evaluate(mtl.tables, path, "va")
    with pytest.raises(InputError, match="no annotations of va for validation"):
        evaluate(mtl.tables, mtl.tables, "va")
    with pytest.raises(InputError, match="no annotations of mtl for validation"):
        evaluate(mtl.tables, mtl.tables, "mtl")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(mtl.tables, tmp_path / "none", "va")
    path, tables = compound[:2]
    lines = path.read_text("utf-8-sig").splitlines()
    for k, line, says in (
        (0, "image_location,Happily_Surprised", "line 1: the header is"),
        (1, "01/00001.jpg,7", "line 2: the label is '7', expected a whole number from -1 to 6"),
        (2, "01/00001.jpg,1", "line 3: 01/00001.jpg is already in line 2"),
        (3, "01/00003.jpg", "line 4: found 1 fields, expected 2"),
        (4, "00004.jpg,1", "line 5: the image is '00004.jpg'"),
    ):
        path.write_text("\n".join([*lines[:k], line, *lines[k + 1 :]]))
        with pytest.raises(InputError, match=says):
            evaluate(tables, path, "ce")
    path.write_text("\n".join([lines[0], "01/00001.jpg,-1", "02/00001.jpg,-1"]))
    with pytest.raises(InputError, match="no frame has a label for --track ce"):
        evaluate(tables, path, "ce")


@pytest.mark.parametrize(
    ("track", "options", "says"),
    [
        ("va", {"part": "test"}, "--part test: choose from train, validation"),
        ("ce", {"mean": "median"}, "--mean median: choose from arithmetic, geometric, harmonic"),
        ("expr", {"other": "anger"}, "--other anger: choose from contempt, none"),
        ("expr", {"mean": "harmonic"}, "--mean has no effect on --track expr"),
        ("va", {"thresholds": ("AU12=0.4",)}, "--threshold has no effect on --track va"),
        ("au", {"other": "none"}, "--other has no effect on --track au"),
        ("emi", {"seen_only": True}, "--seen-only has no effect on --track emi"),
        ("va", {"draws": -1}, "--bootstrap and --seed"),
    ],
)
def test_options_that_make_no_sense(track: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        asked(track, **options)


# --- the command ----------------------------------------------------------------------------------------------------


def run(tables: list[Path], truth: Path, track: str, **options: Any) -> None:
    usual: dict[str, Any] = {
        "part": "validation", "recipe": None, "threshold": [], "mean": "arithmetic", "other": "contempt",
        "seen_only": False, "partial": False, "bootstrap": 50, "seed": 0, "plot": None, "quiet": False,
        "json": False,
    }  # fmt: skip
    call(command.run, tables=tables, truth=truth, track=track, **{**usual, **options})


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return all(map(finite, value)) if isinstance(value, list) else not isinstance(value, float) or math.isfinite(value)


def test_what_is_printed(mtl: Set, capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluate(mtl.tables, mtl.data.root, "mtl", part="train", draws=50)
    run([mtl.tables], mtl.data.root, "mtl", part="train")
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith(f"mtl: P (mean CCC + macro F1 + mean F1) {report.score.value:.4f} (")
    for text in ("macro F1 of the 7 classes without other", "AU12", "F1 at 0.5", "arousal", "video, worst first"):
        assert text in shown
    assert "In brackets: 95 % bootstrap intervals; 3 recordings resampled with replacement, 50 times." in shown
    assert f"3 ignored, because the ground truth does not contain them: {', '.join(mtl.data.validation)}" in shown
    frames = report.frames["expression"]
    assert f"frames with a label: {frames.valid}; a face was seen in {frames.seen}" in shown
    worst = min(report.videos, key=lambda video: video.mean or 0)
    assert shown.index(worst.video) < min(shown.index(v.video) for v in report.videos if v is not worst)
    run([mtl.tables], mtl.data.root, "mtl", part="train", quiet=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("track", ["expr", "va", "au", "mtl"])
def test_json_is_the_report(mtl: Set, track: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"models": [MODEL], "thresholds": UNITS}))
    run([mtl.tables], mtl.data.root, track, json=True, recipe=recipe)
    out = capsys.readouterr()
    found = json.loads(out.out)
    assert out.err == "" and finite(found)
    report = evaluate(mtl.tables, mtl.data.root, track, draws=50)
    assert found["score"] == report.score.to_json() and found["track"] == track
    assert list(found["tasks"]) == FRAME_TASKS[track]
    assert found["settings"]["recipe"]["models"] == [MODEL]
    assert [video["video"] for video in found["videos"]] == list(mtl.data.validation)
    if track in ("expr", "mtl"):
        assert np.sum(found["tasks"]["expression"]["confusion"]) == found["frames"]["expression"]["scored"]


def test_many_videos_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    lines = ["image,valence,arousal,expression,aus"]
    for k in range(23):
        write(tmp_path, f"v{k:02d}", a_world(random, 4, seen=1))
        for frame in range(1, 5):
            value = 0.5 if k == 22 else random.uniform(-1, 1)  # of the last one nothing can be followed
            lines.append(f"v{k:02d}/{frame:05d}.jpg,{value:.3f},{value:.3f},-1,{','.join(['-1'] * 12)}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    run([tmp_path], tmp_path / "list.txt", "va", bootstrap=0)
    shown = capsys.readouterr().out
    assert "and 3 more, which --json has as well." in shown and "Intervals are turned off (--bootstrap 0)." in shown
    assert "v22" not in shown
    run([tmp_path / "v00.csv"], tmp_path / "list.txt", "va", partial=True)
    shown = capsys.readouterr().out
    assert "There is only one of recordings" in shown
    assert "22 left out, because there are no predictions for them: v01, v02, v03, v04, v05 and 17 more" in shown


def test_images(mtl: Set, compound: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib to draw")
    sizes = {}
    for track in ("expr", "va", "au", "mtl"):
        path = tmp_path / f"{track}.png"
        run([mtl.tables], mtl.data.root, track, plot=path)
        assert capsys.readouterr().out.splitlines()[-1] == str(path)
        with Image.open(path) as image:
            image.load()
            sizes[track] = image.size
    assert sizes["mtl"] == (1080, sum(sizes[track][1] for track in ("expr", "va", "au")))
    run([compound[1]], compound[0], "ce", plot=tmp_path / "ce.png", quiet=True)
    random = np.random.default_rng(0)
    clips = intensities(tmp_path / "clips.csv", {str(k): random.random(6) for k in range(9)})
    run([clips], clips, "emi", plot=tmp_path / "emi.png", json=True)
    assert json.loads(capsys.readouterr().out)["score"]["value"] == pytest.approx(1)
    assert (tmp_path / "ce.png").is_file() and (tmp_path / "emi.png").is_file()
    for suffix in ("pdf", "svg"):
        run([mtl.tables], mtl.data.root, "mtl", plot=tmp_path / f"mtl.{suffix}", quiet=True)
    text = (tmp_path / "mtl.svg").read_text()
    assert "<image" not in text and all(f">{word}<" in text for word in ("prediction", "ground truth", "F1", "AU12"))
    assert b"/Subtype /Image" not in (tmp_path / "mtl.pdf").read_bytes()
    for bad in (tmp_path / "mine.jpg", tmp_path / "none" / "mine.png"):
        with pytest.raises(UsageError, match=r"--plot .*\.png, \.pdf or \.svg file"):
            run([mtl.tables], mtl.data.root, "va", plot=bad)


def test_a_plot_shows_how_often_each_truth_met_each_prediction(mtl: Set, tmp_path: Path) -> None:
    """What lies on the diagonal is drawn on the diagonal, for valence on the left and for arousal on the right."""
    pytest.importorskip("matplotlib", reason="needs matplotlib to draw")
    from hsemotion_cli.abaw import report_plots

    place = np.arange(scores.BINS)
    counts = np.zeros((2, scores.BINS, scores.BINS), np.int64)
    counts[0, place, place] = counts[1, place, place[::-1]] = 50
    columns = {name: scores.Score(0.5) for name in ("valence", "arousal")}
    found = scores.RegressionScores("ccc", scores.Score(0.5), columns, counts)
    report = replace(evaluate(mtl.tables, mtl.data.root, "va"), tasks={"valence_arousal": found})
    report_plots.draw(report, path := tmp_path / "va.png")
    with Image.open(path) as image:
        blue, green, red = (np.asarray(image.convert("RGB"), int)[:, :, k] for k in (2, 1, 0))
    rows, columns_ = np.nonzero((blue > red + 60) & (blue > green + 30) & (red < 60))
    bar = columns_ > 0.9 * report_plots.NUMBERS_SIZE[0]
    left = columns_ < report_plots.NUMBERS_SIZE[0] * 0.45
    for half, sign in ((left, -1), (~left & ~bar, 1)):
        assert half.sum() > 1000
        assert np.sign(np.corrcoef(columns_[half], rows[half])[0, 1]) == sign  # rows of an image count downwards
        assert abs(np.corrcoef(columns_[half], rows[half])[0, 1]) > 0.95
