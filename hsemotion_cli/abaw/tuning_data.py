"""Saved raw scores and ground truth -> the aligned rows that settings are chosen on; no video is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation.ground_truth import Annotations, recording
from ..models import registry
from ..postprocess.recipe import Recipe, recording_key
from ..postprocess.refine import blend
from ..reporting.wording import few
from ..tasks import ACTION_UNITS, TASKS
from . import challenges
from .predictions import AnnotatedVideo, largest, load, on_side, place

Floats = NDArray[np.float64]

TRACKS = ("expr", "va", "au", "mtl")
"""Tracks with settings to choose and ground truth to choose them on."""

SPARSE_GAP = 86400.0
"""Seconds: ``max_gap`` for lists of single images, so that smoothing crosses whatever lies between two of them."""


@dataclass(frozen=True, slots=True, eq=False)
class AlignedRows:
    """The labelled frames of one person for one task, and the timeline rows that their predictions come from.

    Attributes:
        frames: (n,) int64 frame numbers.
        before, after: (n,) timeline rows to interpolate between; equal if the frame itself has a row, and at both ends.
        share: (n,) weight of ``after``, in [0, 1].
        truth: (n,) class numbers, (n, 2) or (n, 12), as in the annotations.
        filled: number of frames without a row of their own, whose predictions are interpolated.
    """

    frames: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    share: Floats
    truth: NDArray
    filled: int


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedPerson:
    """One entry of the ground truth.

    Attributes:
        name: in the ground truth.
        side: "left" or "right", if the table is of a video of two people; else None.
        rows: task -> its labelled frames; only tasks that have some.
    """

    name: str
    side: str | None
    rows: Mapping[str, AlignedRows]


@dataclass(frozen=True, slots=True, eq=False)
class TunedVideo:
    """A table with raw scores, and the people in it that have ground truth."""

    source: AnnotatedVideo
    people: tuple[AnnotatedPerson, ...]

    @property
    def recording(self) -> str:
        """The unit of cross-validation: the left and right person of one recording belong to the same fold."""
        return recording(self.source.video)


@dataclass(frozen=True, slots=True, eq=False)
class TuningData:
    """Everything that settings are chosen on.

    Attributes:
        track: of ``TRACKS``.
        videos: sorted by name; only those with ground truth and faces.
        models: one or two, in the order of the blend weights.
        max_gap: seconds, see ``smoothing.segments``.
        sparse: whether these are lists of single images, which ``max_gap`` was set for.
        without_faces: entries of the ground truth whose table has no scored face; they are left out.
        without_table: number of entries of the ground truth without a table.
        default: the recipe that the tables were annotated with, in the order of ``models``; see ``baseline``.
        default_name: of that recipe, for people.
        truth: SHA-256 of the labels that count.
    """

    track: str
    videos: tuple[TunedVideo, ...]
    models: tuple[str, ...]
    max_gap: float
    sparse: bool
    without_faces: tuple[str, ...]
    without_table: int
    default: Recipe
    default_name: str
    truth: str

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the track."""
        return challenges.track(self.track).tasks

    @property
    def people(self) -> list[tuple[TunedVideo, AnnotatedPerson]]:
        """All people with their videos."""
        return [(video, person) for video in self.videos for person in video.people]

    @property
    def recordings(self) -> int:
        """Number of recordings; the left and right person of a video count once."""
        return len({video.recording for video in self.videos})

    @property
    def tuned_on(self) -> dict[str, Any]:
        """What a recipe records about this data, as ``Recipe.tuned_on``."""
        names = sorted(recording_key(name) for name in {video.recording for video in self.videos})
        return {"track": self.track, "truth": self.truth, "recordings": names}

    def frames(self, task: str) -> tuple[int, int]:
        """Number of labelled frames for a task, and how many of them have interpolated predictions."""
        rows = [person.rows[task] for _, person in self.people if task in person.rows]
        return sum(len(one.frames) for one in rows), sum(one.filled for one in rows)


def gather(
    tables: Mapping[str, Path],
    truth: Mapping[str, Annotations],
    track: str,
    *,
    models: Sequence[str] = (),
    max_gap: float | None = None,
) -> TuningData:
    """Align raw scores with ground truth; tables without ground truth are not opened.

    The largest face of a frame counts. A name with ``_left`` or ``_right`` but no table of its own takes the faces in
    that half of the recording's table. Frames without a face are filled as ``predictions.Predictions.at`` does.

    Args:
        tables: video -> raw scores, as ``predictions.find`` returns them.
        models: one or two models of the raw scores; by default all of them, if there are at most two.
        max_gap: seconds; None for 0.5, or for ``SPARSE_GAP`` if these are lists of single images.

    Raises:
        UsageError: another track, more than two models, or models without raw scores.
        InputError: no table matches the ground truth, unusable raw scores, or no labelled frame.
    """
    if track not in TRACKS:
        challenges.track(track)
        raise UsageError(f"--track {track}: there is no ground truth to tune it on; choose from {', '.join(TRACKS)}.")
    tasks = challenges.track(track).tasks
    wanted = _match_names(tables, truth)
    sources = {name: load(tables[name]) for name in wanted}
    seen = [source for source in sources.values() if len(source.timeline.row)]
    if not seen:
        first = next(iter(sources.values())).path
        raise InputError(f"{first}: no face was found in it, nor in any other with ground truth.")
    chosen = _models(seen, models)
    for source in seen:
        _check_scores(source, chosen, tasks)
    recipe = Recipe(chosen, dict.fromkeys(TASKS, 0.5) if len(chosen) == 2 else {})
    videos, without_faces = _aligned(sources, wanted, truth, recipe, tasks)
    for task in tasks:
        if not any(task in person.rows for video in videos for person in video.people):
            raise InputError(f"no frame of these videos has both ground truth and a face for {task.replace('_', ' ')}.")
    sparse = max_gap is None and _sparse(videos)
    gap = max_gap if max_gap is not None else SPARSE_GAP if sparse else recipe.max_gap
    replace(recipe, max_gap=gap)  # raises UsageError for a gap that is no number of seconds
    without_table = len(truth) - sum(map(len, wanted.values()))
    default, name = baseline([source.recipe for source in seen], chosen)
    digest = truth_digest({person.name: truth[person.name] for video in videos for person in video.people}, tasks)
    without = tuple(sorted(without_faces))
    return TuningData(track, tuple(videos), chosen, gap, sparse, without, without_table, default, name, digest)


def _aligned(
    sources: Mapping[str, AnnotatedVideo],
    wanted: Mapping[str, Sequence[tuple[str, str | None]]],
    truth: Mapping[str, Annotations],
    recipe: Recipe,
    tasks: Sequence[str],
) -> tuple[list[TunedVideo], list[str]]:
    """The videos with ground truth and faces, and the entries of the ground truth without a scored face."""
    videos, without_faces = [], []
    for name, source in sources.items():
        people = []
        for label, side in wanted[name]:
            rows = _align(source, recipe, truth[label], side, tasks) if len(source.timeline.row) else None
            if rows is None:
                without_faces.append(label)
            elif rows:
                people.append(AnnotatedPerson(label, side, rows))
        if people:
            videos.append(TunedVideo(source, tuple(people)))
    return videos, without_faces


def baseline(recipes: Sequence[Recipe], models: tuple[str, ...]) -> tuple[Recipe, str]:
    """The recipe to compare with, and its name: that of the tables if all were made alike, else annotate's default.

    Args:
        recipes: of the tables.
        models: one or two, in the order of the blend weights.
    """
    usual: Recipe | None = None
    if set(models) <= set(registry.known()):
        default = Recipe.usual()
        usual = default.in_order(models) if set(models) == set(default.models) else Recipe.of(*models)
    first = recipes[0]
    if set(first.models) == set(models) and all(one == first for one in recipes):
        own = first.in_order(models)
        return own, "annotate's default" if own == usual else "the tables' recipe"
    if usual is not None:
        return usual, "annotate's default"
    blend = dict.fromkeys(TASKS, 0.5) if len(models) == 2 else {}
    return Recipe(models, blend, thresholds=dict.fromkeys(ACTION_UNITS, 0.5)), "an even blend"


def truth_digest(truth: Mapping[str, Annotations], tasks: Sequence[str]) -> str:
    """SHA-256 of the labels for some tasks, whichever file format and order they came in."""
    whole = hashlib.sha256()
    for name in sorted(truth):
        one = truth[name]
        expression = one.expression >= 0
        known = {"expression": expression, **{t: ~np.isnan(getattr(one, t)[:, 0]) for t in TASKS if t != "expression"}}
        for task in sorted(tasks):
            rows = np.ascontiguousarray(getattr(one, task)[known[task]], "<f4")
            whole.update(f"{name}\0{task}\0{len(rows)}\0".encode(errors="surrogateescape"))
            whole.update(one.frames[known[task]].astype("<i8").tobytes() + rows.tobytes())
    return whole.hexdigest()


def _match_names(
    tables: Mapping[str, Path], truth: Mapping[str, Annotations]
) -> dict[str, list[tuple[str, str | None]]]:
    """Table -> the entries of the ground truth that it has predictions for, each with its side."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in truth:
        if there := place(name, tables):
            table, side = there
            found.setdefault(table, []).append((name, side))
    if not found:
        raise InputError(
            f"none of the {len(truth)} videos of the ground truth has a table: they are called "
            f"{few(sorted(truth), 3)}, but the tables {few(sorted(tables), 3)}."
        )
    return {name: found[name] for name in sorted(found)}


def _models(sources: Sequence[AnnotatedVideo], wanted: Sequence[str]) -> tuple[str, ...]:
    """The models that all raw scores have, or the wanted ones of them."""
    first = sources[0]
    if wanted:
        Recipe(tuple(wanted))  # raises UsageError for none, three, or the same twice
    for source in sources:
        held = list(source.timeline.scores)
        missing = [name for name in wanted if name not in held]
        if missing:
            raise UsageError(
                f"--model {','.join(wanted)}: {source.path} has no raw scores of {missing[0]}, "
                f"only of {', '.join(held)}."
            )
        if not wanted and set(held) != set(first.timeline.scores):
            raise InputError(
                f"{first.path} has raw scores of {', '.join(first.timeline.scores)}, but {source.path} of "
                f"{', '.join(held)}; annotate them alike, or choose with --model."
            )
    if wanted:
        return tuple(wanted)
    held = list(first.timeline.scores)
    if len(held) > 2:
        raise UsageError(f"{first.path} has raw scores of {', '.join(held)}; choose one or two of them with --model.")
    return first.recipe.models if set(first.recipe.models) == set(held) else tuple(held)


def _check_scores(source: AnnotatedVideo, models: Sequence[str], tasks: Sequence[str]) -> None:
    """Refuse raw scores that lack a task or have single nan values; whole rows and whole classes may be nan."""
    scores = source.timeline.scores
    for task in tasks:
        label = task.replace("_", " ")
        given = [scores[model][task] for model in models if task in scores[model]]
        if not given:
            raise InputError(
                f"{source.path}: {' and '.join(models)} gave no {label} scores; "
                "annotate with a model that does (see hsemotion models list)."
            )
        for values in given:
            unknown = np.isnan(values)
            known = unknown[~unknown.all(axis=1)]
            broken = bool((known.any(axis=0) != known.all(axis=0)).any()) if len(known) else False
            if np.isinf(values).any() or broken or (task == "valence_arousal" and known.any()):
                raise InputError(f"{source.path}: its {label} scores contain nan or infinity; annotate it again.")


def _align(
    source: AnnotatedVideo, recipe: Recipe, truth: Annotations, side: str | None, tasks: Sequence[str]
) -> dict[str, AlignedRows] | None:
    """Task -> its labelled frames; None if no face was scored."""
    timeline = source.timeline
    box = timeline.box.astype(np.float64)
    rows = np.arange(len(timeline.row)) if side is None else on_side(box, source.width, side)
    rows = rows[largest(timeline.row[rows], box[rows])]
    found, no_face = {}, False
    for task in tasks:
        values = getattr(truth, task)
        known = values >= 0 if task == "expression" else ~np.isnan(values[:, 0])
        if not known.any():
            continue
        scored = rows[~np.isnan(blend(timeline, recipe, task)[rows]).all(axis=1)]
        if not len(scored):
            no_face = True
            continue
        at, frames = timeline.index[timeline.row[scored]] + source.first, truth.frames[known]
        after = np.minimum(np.searchsorted(at, frames), len(at) - 1)
        before = np.where(at[after] > frames, np.maximum(after - 1, 0), after)
        apart = np.maximum(at[after] - at[before], 1)
        share = np.where(after == before, 0.0, (frames - at[before]) / apart)
        filled = len(frames) - int(np.isin(frames, at).sum())
        found[task] = AlignedRows(frames, scored[before], scored[after], share, values[known], filled)
    return None if no_face and not found else found


def _sparse(videos: Sequence[TunedVideo]) -> bool:
    """Whether these are single images rather than frames of a video: fewer than every second number is there."""
    steps = [np.diff(video.source.timeline.index) for video in videos if not video.source.first]
    return bool(steps) and bool(np.median(np.concatenate(steps) if any(map(len, steps)) else [1]) > 1)
