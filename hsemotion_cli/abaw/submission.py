"""Predictions and an organisers' list -> the submission of a track, with exactly the rows of the list.

Rows and their order come from the list alone, whatever the number of decoded frames. Frames without a face are
interpolated between their neighbours, frames after the last analysed one repeat it. This is done on probabilities, and
labels are derived from the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..formats import sidecar
from ..postprocess.compound import MEANS
from ..postprocess.recipe import Recipe
from ..reporting.wording import few
from ..runtime.atomic_files import atomic_file, write_together
from ..tasks import ACTION_UNITS
from .challenges import FIELDS, Track
from .lists import FrameList
from .predictions import BASIC, OTHERS, AnnotatedVideo, Predictions, load, place, predict

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LABELLED = ("expression", "compound", "action_units")
"""Tasks whose fields are integers."""


@dataclass(frozen=True, slots=True)
class Override:
    """A second model whose label is used where it is confident (HSEmotion, ABAW-8).

    Attributes:
        threshold: its highest probability among the first seven classes of Aff-Wild2 must exceed this, in [0, 1].
        model: its name; the table needs raw scores of this model and of another one.
    """

    threshold: float
    model: str

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"--override {self.threshold:g}: give a probability from 0 to 1.")


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """How scores become submitted values.

    Attributes:
        recipe: replaces the one that each table was made with.
        mean: of ``compound.MEANS``.
        other: of ``predictions.OTHERS``.
        override: for expressions.
    """

    recipe: Recipe | None = None
    mean: str = "arithmetic"
    other: str = "contempt"
    override: Override | None = None

    def __post_init__(self) -> None:
        for option, value, choices in (("--mean", self.mean, list(MEANS)), ("--other", self.other, OTHERS)):
            if value not in choices:
                raise UsageError(f"{option} {value}: choose from {', '.join(choices)}.")


@dataclass(frozen=True, slots=True, eq=False)
class VideoRows:
    """The submission rows of one video.

    Attributes:
        video: its name in the list.
        frames: (k,) frame number of each row, in the order of the list.
        values: (k, c) float64, the fields of each row after its name.
        seen: number of rows of frames with a face that has all predictions.
        filled: number of rows of other frames, interpolated.
        beyond: number of rows after the last analysed frame, which repeat it.
        overridden: number of rows with the label of the second model.
    """

    video: str
    frames: Ints
    values: Floats
    seen: int
    filled: int
    beyond: int
    overridden: int


def submission_rows(
    listed: FrameList,
    raws: Mapping[str, Path],
    settings: SubmissionSettings | None = None,
    *,
    every_frame: bool = False,
    extra_frames: int = 1,
    progress: Callable[[int, int, str], None] = lambda done, total, video: None,
) -> list[VideoRows]:
    """The submission rows of each video of a list, in their order in the list.

    Args:
        listed: of any track but emi.
        raws: name of a video -> its raw scores, as ``predictions.find`` returns them. For a listed ``NAME_left``,
            those of that name are used, or else the faces in the left half of ``NAME``; likewise on the right.
        every_frame: make rows for all frames from 1 to the highest in the list, as the layout with a file per video
            requires. For a list of whole videos, the highest is the number of decoded frames plus ``extra_frames``:
            the organisers count one more than decoding yields for most videos of Aff-Wild2 (HSEmotion, ABAW-3).
        progress: called with the videos done, all videos, and the last one done.

    Raises:
        InputError: a video has no raw scores, or they lack a task of the track or are out of range; or the list names
            whole videos and ``every_frame`` is not set.
        UsageError: the second model is the only one.
    """
    settings = settings or SubmissionSettings()
    if listed.whole and not every_frame:
        raise InputError(f"{listed.path}: it lists videos, not images; give --layout per-video.")
    chosen = _sources(listed, raws)
    parts, source = [], None
    for video, rows in zip(listed.videos, listed.rows(), strict=True):
        path, side = chosen[video]
        if source is None or source.path != path:
            source = load(path)
        frames = listed.frame[rows]
        if every_frame:
            last = _decoded_frames(source) + extra_frames if listed.whole else int(frames.max())
            frames = np.arange(1, last + 1)
        parts.append(_predict_video(listed.track, video, source, side, frames, settings))
        progress(len(parts), len(listed.videos), video)
    return parts


def gather(listed: FrameList, parts: Sequence[VideoRows]) -> Floats:
    """(n, c) the values for all rows of a list, in its order."""
    values = np.full((len(listed.names), listed.track.fields - 1), np.nan)
    for part, rows in zip(parts, listed.rows(), strict=True):
        values[rows] = part.values
    return values


def write(listed: FrameList, values: Floats, path: Path) -> None:
    """Write the single file of a track: its header and a row for each of the list, with LF line ends and no spaces.

    Numbers have at most 6 decimals, without trailing zeros: 0.5, -1, 0.

    Args:
        values: (n, c), as ``gather`` returns them; for emi (n, 6).

    Raises:
        InputError: a value is not finite.
        OutputError: it cannot be written; an existing file then stays as it was.
    """
    lost = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(lost):
        raise InputError(f"{listed.path}: there is no prediction for {listed.names[lost[0]]}; nothing was written.")
    rows = zip(listed.names, *_columns(listed.track, values), strict=True)
    with atomic_file(path) as file:
        file.write("\n".join([listed.track.header, *map(",".join, rows), ""]).encode())


def write_per_video(track: Track, parts: Sequence[VideoRows], folder: Path) -> list[Path]:
    """Write a file for each video, as up to the 3rd edition: a header, then a line for each frame from 1.

    Args:
        parts: rows for every frame.

    Returns:
        the files; either all are written, or none.

    Raises:
        UsageError: the track never had such files.
        OutputError: one cannot be written.
    """
    if track.per_video is None:
        raise UsageError(f"--layout per-video: --track {track.name} never had one file per video; leave it out.")
    paths = [folder / f"{part.video}.txt" for part in parts]
    with write_together() as opened:
        for part, path in zip(parts, paths, strict=True):
            rows = zip(*_columns(track, part.values), strict=True)
            with opened(path) as file:
                file.write("\n".join([track.per_video, *map(",".join, rows), ""]).encode())
    return paths


def _sources(listed: FrameList, raws: Mapping[str, Path]) -> dict[str, tuple[Path, str | None]]:
    """Listed video -> raw scores, and the side of the image, if only that counts."""
    found: dict[str, tuple[Path, str | None]] = {}
    for video in listed.videos:
        if match := place(video, raws):
            name, side = match
            found[video] = raws[name], side
    missing = [video for video in listed.videos if video not in found]
    if missing:
        raise InputError(
            f"{listed.path}: {len(missing):,} of its {len(listed.videos):,} videos have no table: {few(missing)}; "
            "annotate them first and give their tables, too."
        )
    return found


def _decoded_frames(source: AnnotatedVideo) -> int:
    """Number of frames of a video, whether or not all were analysed; for images the highest number."""
    frames = sidecar.read(source.path.with_name(f"{source.video}.json")).get("frames")
    decoded = frames.get("decoded") if isinstance(frames, dict) else None
    return max(source.last, decoded) if source.first and isinstance(decoded, int) else source.last


def _predict_video(
    track: Track, video: str, source: AnnotatedVideo, side: str | None, frames: Ints, settings: SubmissionSettings
) -> VideoRows:
    recipe = settings.recipe or source.recipe
    _check_scores(source, recipe, track)
    predictions = predict(source, recipe, side=side, mean=settings.mean)
    columns, seen = [], np.ones(len(frames), bool)
    overridden = 0
    for task in track.tasks:
        if task == "expression" and settings.override is not None:
            label, known, replaced = _with_override(source, recipe, settings.override, side, frames, settings.other)
            columns.append(label)
            overridden = int(replaced.sum())
        else:
            values, known = _soft(predictions, task, frames, settings.other)
            columns.append(_final(task, values, predictions.thresholds))
        seen &= known
    beyond = frames > predictions.last
    counts = int((seen & ~beyond).sum()), int((~seen & ~beyond).sum()), int(beyond.sum())
    return VideoRows(video, frames, np.concatenate(columns, axis=1), *counts, overridden)


def _soft(predictions: Predictions, task: str, frames: Ints, other: str) -> tuple[Floats, NDArray[np.bool_]]:
    """Values for any frames, expressions in Aff-Wild2's order, and whether each frame has a prediction of its own."""
    if task == "expression":
        predictions = predictions.in_affwild2(other)
    values, known = predictions.at(task, frames)
    if not np.isfinite(values).all():
        lost = np.flatnonzero(~np.isfinite(values).all(axis=0))

        what = f"{few(ACTION_UNITS[k] for k in lost)} of " if task == "action_units" else "some classes of "
        raise InputError(f"{predictions.path}: its models do not predict {what}the {task.replace('_', ' ')}.")
    return values, known


def _final(task: str, values: Floats, thresholds: Mapping[str, float]) -> Floats:
    """Probabilities or numbers -> (k, fields) submitted values; the first class wins ties."""
    if task == "action_units":
        return (values >= [thresholds.get(unit, 0.5) for unit in ACTION_UNITS]).astype(np.float64)
    if task == "valence_arousal":
        return np.clip(values, -1, 1)
    return values.argmax(axis=1)[:, None].astype(np.float64)


def _with_override(
    source: AnnotatedVideo, recipe: Recipe, override: Override, side: str | None, frames: Ints, other: str
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """(k, 1) labels of the recipe's other models, or of the second one where it is confident enough.

    Both are smoothed by the recipe before they are compared.

    Returns:
        the labels, whether each frame has a prediction of its own by the first, and where the second one's was used.
    """
    models = tuple(name for name in recipe.models if name != override.model)
    if not models:
        raise UsageError(
            f"--override-model {override.model}: {source.path} was annotated with no other model; "
            "annotate with two models, and give the model here whose confident labels are used."
        )
    _check_probabilities(source, (override.model,), "expression")
    first, second = (
        _soft(predict(source, replace(recipe, models=names), side=side), "expression", frames, other)
        for names in (models, (override.model,))
    )
    sure = second[0][:, :BASIC]
    wins = sure.max(axis=1) > override.threshold
    label = np.where(wins, sure.argmax(axis=1), first[0].argmax(axis=1))
    return label[:, None].astype(np.float64), first[1], wins


def _check_scores(source: AnnotatedVideo, recipe: Recipe, track: Track) -> None:
    """Raise InputError if raw scores are out of range."""
    for task in track.tasks:
        _check_probabilities(source, recipe.models, "expression" if task == "compound" else task)


def _check_probabilities(source: AnnotatedVideo, models: Sequence[str], task: str) -> None:
    for model in models:
        values = source.timeline.scores.get(model, {}).get(task)
        if values is None:
            continue
        # Valence and arousal may leave their range and are clipped; a softmax may exceed 1 by its last digit.
        low, high = (-np.inf, np.inf) if task == "valence_arousal" else (-1e-3, 1 + 1e-3)
        wrong = values[(values < low) | (values > high) | np.isinf(values)]
        if len(wrong):
            raise InputError(
                f"{source.path}: {model} gives {wrong[0]:g} for {task.replace('_', ' ')}, which is impossible; "
                "the raw scores are damaged, annotate the video again."
            )


def _columns(track: Track, values: Floats) -> list[list[str]]:
    """The text of each field, column by column."""
    whole_numbers = [task in _LABELLED for task in track.tasks for _ in range(FIELDS[task])]
    return [
        list(map(str, column.astype(np.int64).tolist())) if exact else list(map(_number, _rounded(column).tolist()))
        for column, exact in zip(values.T, whole_numbers, strict=True)
    ]


def _rounded(column: Floats) -> Floats:
    return np.round(column, 6) + 0.0  # adding 0 turns -0 into 0


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
