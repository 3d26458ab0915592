"""Raw scores and recipes on disk -> predictions for each frame of each video, as the ABAW challenges count frames.

The challenges expect one face per frame and a value for every listed frame, also for those without a face.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS, recording
from ..formats import raw_scores, sidecar
from ..postprocess.compound import frame_scores
from ..postprocess.recipe import Recipe
from ..postprocess.refine import refine
from ..tasks import EXPRESSIONS, TASKS
from ..timeline import Timeline

Floats = NDArray[np.float64]

RAW = ".raw.npz"

OTHERS = ("contempt", "none")
"""The stand-ins for class "other" of models without it; see ``affwild2``."""

BASIC = len(AFFWILD2_EXPRESSIONS) - 1
"""Classes of Aff-Wild2 without "other", which is the last."""


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedVideo:
    """One annotated video, as ``annotate`` wrote it.

    Attributes:
        video: name of the recording: its file name without the suffix, or its folder name.
        path: of its raw scores.
        timeline: the raw scores.
        recipe: that its table was made with.
        first: the challenges' number of frame 0 of the timeline: 1 for videos, 0 for images, which are numbered.
        width: of the displayed image, in pixels.
    """

    video: str
    path: Path
    timeline: Timeline
    recipe: Recipe
    first: int
    width: int

    @property
    def last(self) -> int:
        """Number of the last analysed frame; 0 if there is none."""
        return int(self.timeline.index[-1]) + self.first if len(self.timeline.index) else 0


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions for the frames of one video that have a face.

    Attributes:
        video: its name, with the ``_left`` or ``_right`` of a video of two people.
        frames: (n,) int64, increasing, from 1 as in ``00001.jpg``.
        last: number of the last analysed frame; later ones were never decoded.
        tasks: task -> (n, columns) float64; the tasks of ``tasks.TASKS``, and "compound" (n, 7). All nan for a task
            that no model predicts.
        thresholds: action unit -> probability from which it counts as present.
        path: of the raw scores.
    """

    video: str
    frames: NDArray[np.int64]
    last: int
    tasks: Mapping[str, Floats]
    thresholds: Mapping[str, float]
    path: Path

    def at(self, task: str, frames: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
        """Values for any frames: ((k, columns), (k,) whether the frame has a prediction of its own).

        Other frames are interpolated linearly; before the first and after the last prediction, its value is repeated
        (HSEmotion, ABAW-6). For frames p < f < n the value is (1 - t) out(p) + t out(n) with t = (f - p) / (n - p);
        the first published code has the two weights swapped.

        Raises:
            InputError: there is no prediction to interpolate from.
        """
        values = self.tasks[task]
        known = ~np.isnan(values).all(axis=1)
        if not known.any():
            raise InputError(f"{self.path}: {_why_empty(task, len(values))}")
        at, given = self.frames[known], values[known]
        filled = np.column_stack([np.interp(frames, at, column) for column in given.T])
        return filled, np.isin(frames, at)

    def in_affwild2(self, other: str) -> Predictions:
        """The same with expressions in Aff-Wild2's classes, all of them known before gaps are filled."""
        return replace(self, tasks={**self.tasks, "expression": affwild2(self.tasks["expression"], other)})


def _why_empty(task: str, rows: int) -> str:
    name = task.replace("_", " ")
    if rows:
        return f"its models do not predict {name}; annotate with one that does (see hsemotion models list)."
    return "no face was found in any frame, so it has no predictions."


def find(paths: Iterable[Path]) -> dict[str, Path]:
    """Video -> its raw scores, sorted by name.

    Args:
        paths: tables, their raw scores or sidecars, or folders of them.

    Raises:
        InputError: a missing path, a folder without raw scores, a table without them, or two videos of one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for raw in _raw_files(path):
            name = raw.name.removesuffix(RAW)
            if name in found and found[name].resolve() != raw.resolve():
                raise InputError(f"{found[name]} and {raw} are both of {name}; give only one of them.")
            found[name] = raw
    return {name: found[name] for name in sorted(found)}


def _raw_files(path: Path) -> list[Path]:
    if path.is_dir():
        raws = sorted(path.glob(f"*{RAW}"))
        if not raws:
            raise InputError(f"{path}: no NAME{RAW} in this folder; annotate writes them beside its tables.")
        return raws
    raw = path if path.name.endswith(RAW) else path.with_name(f"{path.stem}{RAW}")
    if not raw.is_file():
        missing = path if not path.exists() else raw
        raise InputError(f"{missing}: no such file; annotate writes NAME{RAW} beside each table.")
    return [raw]


def place(video: str, names: Container[str]) -> tuple[str, str | None] | None:
    """The name with the predictions for a video, and the side of the image, if only that counts; None without a match.

    It is the video's own name or, for the left or right person of a video, that of the recording.
    """
    whole = recording(video)
    if video in names:
        return video, None
    return (whole, video.removeprefix(f"{whole}_")) if whole in names else None


def load(path: Path) -> AnnotatedVideo:
    """The raw scores of one video with its sidecar.

    Raises:
        InputError: one of the two is missing or damaged.
    """
    name = path.name.removesuffix(RAW)
    beside = path.with_name(f"{name}.json")
    content = sidecar.read(beside)
    timeline = raw_scores.read(path)
    if timeline.photos:
        raise InputError(
            f"{path}: was made from a folder of photos, which have no frame numbers; only videos and folders of "
            "numbered images (00001.jpg, ...) can be compared with annotations."
        )
    kind, width = _source_facts(path, content)
    return AnnotatedVideo(name, path, timeline, sidecar.recipe(content, beside), int(kind == "video"), width)


def _source_facts(path: Path, content: Mapping[str, Any]) -> tuple[str, int]:
    source = content.get("source")
    try:
        return str(source["kind"]), int(source["width"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its sidecar does not describe the source ({error}).") from error


def predict(
    source: AnnotatedVideo, recipe: Recipe | None = None, *, side: str | None = None, mean: str = "arithmetic"
) -> Predictions:
    """The predictions for each frame of a video, with its own recipe or another.

    Each face is smoothed separately; then the largest face of a frame counts, and for compound expressions the highest
    score of any face (HSEmotion, ABAW-6).

    Args:
        side: "left" or "right", to use only faces in that half of the image, for a video of two people.
        mean: of ``compound.MEANS``.

    Raises:
        InputError: the recipe names a model without raw scores.
    """
    recipe = source.recipe if recipe is None else recipe
    try:
        affect = refine(source.timeline, recipe)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from error
    rows = np.arange(len(affect.row)) if side is None else on_side(affect.box, source.width, side)
    chosen = rows[largest(affect.row[rows], affect.box[rows])]
    frames = affect.index[affect.row[chosen]] + source.first
    expression = affect.tasks["expression"]
    compound = frame_scores(expression[rows], np.searchsorted(affect.row[chosen], affect.row[rows]), len(chosen), mean)
    tasks = {task: affect.tasks[task][chosen] for task in TASKS} | {"compound": compound}
    name = source.video if side is None else f"{source.video}_{side}"
    return Predictions(name, frames, source.last, tasks, affect.recipe.thresholds, source.path)


def largest(row: NDArray[np.int64], box: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices of the largest face of each frame; the first one of equals.

    Args:
        row: (n,) the frame of each face, in increasing order.
        box: (n, 4) x, y, width, height.
    """
    order = np.lexsort((np.arange(len(row)), -(box[:, 2] * box[:, 3]), row))
    _, first = np.unique(row[order], return_index=True)
    return order[first]


def on_side(box: NDArray[np.floating], width: int, side: str) -> NDArray[np.int64]:
    """Indices of the faces whose centre lies in the "left" or "right" half of an image of ``width`` pixels."""
    middle = box[:, 0] + box[:, 2] / 2
    return np.flatnonzero(middle < width / 2 if side == "left" else middle >= width / 2)


def affwild2(expression: Floats, other: str = "contempt") -> Floats:
    """(n, 9) probabilities in the order of ``tasks.EXPRESSIONS`` -> (n, 8) in Aff-Wild2's.

    Args:
        other: of ``OTHERS``, the stand-in for "other" of models without it, such as those trained on AffectNet:
            "contempt", as in HSEmotion, or "none", so that it is never predicted.
    """
    columns = [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]
    found = expression[:, columns]
    lacking = np.isnan(found[:, -1]) & ~np.isnan(found).all(axis=1)  # a face without scores stays nan
    stand_in = expression[:, EXPRESSIONS.index("contempt")] if other == "contempt" else np.zeros(len(found))
    found[lacking, -1] = stand_in[lacking]
    return np.where(np.isnan(found) & ~np.isnan(found).all(axis=1, keepdims=True), 0.0, found)
