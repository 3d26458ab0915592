"""Raw scores and recipes on disk -> what is said of each frame of each video, as the ABAW challenges count frames.

The challenges know one face a frame and want a value for every frame that they list, also for those without a face.
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
"""What may stand for "other" where a model does not know it; see ``affwild2``."""

BASIC = len(AFFWILD2_EXPRESSIONS) - 1
"""Classes of Aff-Wild2 without "other", which is the last."""


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedVideo:
    """One annotated video, as ``annotate`` left it.

    Attributes:
        video: name of the recording: its file's without the suffix, or its folder's.
        path: of its raw scores.
        timeline: what the models said.
        recipe: by which its table was made.
        first: what the challenges call frame 0 of the timeline: 1 for videos, 0 for pictures, which have numbers.
        width: pixels of the displayed picture.
    """

    video: str
    path: Path
    timeline: Timeline
    recipe: Recipe
    first: int
    width: int

    @property
    def last(self) -> int:
        """Number of the last frame that was analysed; 0 if none was."""
        return int(self.timeline.index[-1]) + self.first if len(self.timeline.index) else 0


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What is said of the frames of one video in which a face was seen.

    Attributes:
        video: its name, with the ``_left`` or ``_right`` of a video of two people.
        frames: (n,) int64, increasing, from 1 as in ``00001.jpg``.
        last: number of the last frame that was analysed; later ones were never decoded.
        tasks: task -> (n, columns) float64; the tasks of ``tasks.TASKS``, and "compound" (n, 7). All nan for a task
            that no model gives.
        thresholds: action unit -> probability from which it counts as present.
        path: of the raw scores that they come from.
    """

    video: str
    frames: NDArray[np.int64]
    last: int
    tasks: Mapping[str, Floats]
    thresholds: Mapping[str, float]
    path: Path

    def at(self, task: str, frames: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
        """Values for any frames: ((k, columns), (k,) whether they were said of that very frame).

        A frame without a value gets that between its neighbours, by its distance from each; before the first and after
        the last it is theirs (HSEmotion, ABAW-6). For frames p < f < n it is (1 - t) out(p) + t out(n) with
        t = (f - p) / (n - p); the first published code has the two weights the wrong way round.

        Raises:
            InputError: there is nothing to fill from.
        """
        values = self.tasks[task]
        known = ~np.isnan(values).all(axis=1)
        if not known.any():
            raise InputError(f"{self.path}: {_nothing(task, len(values))}")
        at, given = self.frames[known], values[known]
        filled = np.column_stack([np.interp(frames, at, column) for column in given.T])
        return filled, np.isin(frames, at)

    def in_affwild2(self, other: str) -> Predictions:
        """The same with expressions as ``affwild2`` gives them: of its classes none is missing before gaps close."""
        return replace(self, tasks={**self.tasks, "expression": affwild2(self.tasks["expression"], other)})


def _nothing(task: str, rows: int) -> str:
    name = task.replace("_", " ")
    if rows:
        return f"its models say nothing of {name}; annotate with one that does (see hsemotion models list)."
    return "no face was seen in any frame, so nothing can be said of it."


def find(paths: Iterable[Path]) -> dict[str, Path]:
    """Video -> its raw scores, sorted by name.

    Args:
        paths: tables, their raw scores or sidecars, or folders of them.

    Raises:
        InputError: a path that is not there, nothing in a folder, no raw scores beside a table, or two of one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for raw in _raws(path):
            name = raw.name.removesuffix(RAW)
            if name in found and found[name].resolve() != raw.resolve():
                raise InputError(f"{found[name]} and {raw} are both of {name}; give only one of them.")
            found[name] = raw
    return {name: found[name] for name in sorted(found)}


def _raws(path: Path) -> list[Path]:
    if path.is_dir():
        raws = sorted(path.glob(f"*{RAW}"))
        if not raws:
            raise InputError(f"{path}: no NAME{RAW} in this folder; annotate writes them beside its tables.")
        return raws
    raw = path if path.name.endswith(RAW) else path.with_name(f"{path.stem}{RAW}")
    if not raw.is_file():
        missing = path if not path.exists() else raw
        raise InputError(f"{missing}: not there; annotate writes NAME{RAW} beside each table.")
    return [raw]


def place(video: str, names: Container[str]) -> tuple[str, str | None] | None:
    """Which name answers for a video, and for which side of the picture; None where there is none.

    The table of that very name, and else, for the left or right person of a video, that of the recording.
    """
    whole = recording(video)
    if video in names:
        return video, None
    return (whole, video.removeprefix(f"{whole}_")) if whole in names else None


def load(path: Path) -> AnnotatedVideo:
    """The raw scores of one video and what its sidecar says of them.

    Raises:
        InputError: one of the two is missing or damaged.
    """
    name = path.name.removesuffix(RAW)
    beside = path.with_name(f"{name}.json")
    content = sidecar.read(beside)
    timeline = raw_scores.read(path)
    kind, width = _described(path, content)
    return AnnotatedVideo(name, path, timeline, sidecar.recipe(content, beside), int(kind == "video"), width)


def _described(path: Path, content: Mapping[str, Any]) -> tuple[str, int]:
    source = content.get("source")
    try:
        return str(source["kind"]), int(source["width"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its sidecar does not say what was annotated ({error}).") from error


def predict(
    source: AnnotatedVideo, recipe: Recipe | None = None, *, side: str | None = None, mean: str = "arithmetic"
) -> Predictions:
    """What is said of each frame of a video, by its own recipe or another.

    Faces are smoothed each for itself; then the largest of a frame counts, and for compound expressions the highest
    score of any face (HSEmotion, ABAW-6).

    Args:
        side: "left" or "right": only faces in that half of the picture, for a video of two people.
        mean: of ``compound.MEANS``.

    Raises:
        InputError: the recipe names a model that the raw scores do not have.
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
    """Positions of the largest face of each frame; the first of equals.

    Args:
        row: (n,) number of the frame of each face, in order.
        box: (n, 4) x, y, width, height.
    """
    order = np.lexsort((np.arange(len(row)), -(box[:, 2] * box[:, 3]), row))
    _, first = np.unique(row[order], return_index=True)
    return order[first]


def on_side(box: NDArray[np.floating], width: int, side: str) -> NDArray[np.int64]:
    """Positions of the faces whose middle lies in the "left" or "right" half of a picture of ``width`` pixels."""
    middle = box[:, 0] + box[:, 2] / 2
    return np.flatnonzero(middle < width / 2 if side == "left" else middle >= width / 2)


def affwild2(expression: Floats, other: str = "contempt") -> Floats:
    """(n, 9) probabilities in the order of ``tasks.EXPRESSIONS`` -> (n, 8) in Aff-Wild2's.

    Args:
        other: of ``OTHERS``, what stands for "other" where the model does not know it, as those that learned from
            AffectNet: "contempt", as HSEmotion does it, or "none", so that it is never the answer.
    """
    columns = [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]
    found = expression[:, columns]
    lacking = np.isnan(found[:, -1]) & ~np.isnan(found).all(axis=1)  # a face that was not scored stays unknown
    stand_in = expression[:, EXPRESSIONS.index("contempt")] if other == "contempt" else np.zeros(len(found))
    found[lacking, -1] = stand_in[lacking]
    return np.where(np.isnan(found) & ~np.isnan(found).all(axis=1, keepdims=True), 0.0, found)
