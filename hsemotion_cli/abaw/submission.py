"""Predictions and a list of the organisers -> the file of a track, with exactly the rows that the list has.

Which rows there are, and their order, is the list's alone; how many frames were decoded changes no line. A frame
without a face gets what lies between its neighbours, one after the last that was decoded what the last one has.
Everything stays soft until then: gaps are filled in probabilities, and labels made of the result.
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
from ..runtime.atomic_files import atomic_file, write_together
from ..tasks import ACTION_UNITS
from .challenges import FIELDS, Track
from .lists import FrameList, few
from .predictions import BASIC, OTHERS, AnnotatedVideo, Predictions, load, place, predict

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LABELLED = ("expression", "compound", "action_units")
"""Tasks whose fields are whole numbers."""


@dataclass(frozen=True, slots=True)
class Override:
    """A second model whose label counts where it is sure (HSEmotion, ABAW-8).

    Attributes:
        threshold: where its highest probability of the first seven classes of Aff-Wild2 exceeds this, in [0, 1].
        model: its name; the table needs its raw scores beside those of another.
    """

    threshold: float
    model: str

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"--override {self.threshold:g}: give a probability from 0 to 1.")


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """How scores become answers.

    Attributes:
        recipe: instead of the one by which each table was made.
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
class Part:
    """The answer for one video.

    Attributes:
        video: its name in the list.
        frames: (k,) numbers of its rows, as the list has them.
        values: (k, c) float64, the fields of each row behind its name.
        seen: rows of frames in which all of it was said of a face.
        filled: rows of frames without one, from those before and after.
        beyond: rows of frames after the last that was analysed, as the last one.
        overridden: rows with the label of the second model.
    """

    video: str
    frames: Ints
    values: Floats
    seen: int
    filled: int
    beyond: int
    overridden: int


def answer(
    listed: FrameList,
    raws: Mapping[str, Path],
    settings: SubmissionSettings | None = None,
    *,
    every_frame: bool = False,
    extra_frames: int = 1,
    progress: Callable[[int, int, str], None] = lambda done, total, video: None,
) -> list[Part]:
    """What is to be submitted of each video of a list, in the order in which they appear in it.

    Args:
        listed: of any track but emi.
        raws: name of a video -> its raw scores, as ``predictions.find`` gives them. For a listed ``NAME_left`` those
            of that very name are taken, or else the faces in the left half of ``NAME``; likewise on the right.
        every_frame: answer for all frames from 1 to the highest that the list has, as the layout of a file per video
            wants it. For a list of whole videos the highest is the number of decoded frames and ``extra_frames``: the
            organisers count one more than decoding gives for most videos of Aff-Wild2 (HSEmotion, ABAW-3).
        progress: is told how many videos of how many are done, and the last of them.

    Raises:
        InputError: a video has no raw scores, or they lack what the track asks for, or are out of range; the list
            names no pictures and ``every_frame`` is not asked for.
        UsageError: the second model cannot be set beside another.
    """
    settings = settings or SubmissionSettings()
    if listed.whole and not every_frame:
        raise InputError(f"{listed.path}: it names videos, not pictures; that is answered with --layout per-video.")
    chosen = _chosen(listed, raws)
    parts, source = [], None
    for video, rows in zip(listed.videos, listed.rows(), strict=True):
        path, side = chosen[video]
        if source is None or source.path != path:
            source = load(path)
        frames = listed.frame[rows]
        if every_frame:
            last = _decoded(source) + extra_frames if listed.whole else int(frames.max())
            frames = np.arange(1, last + 1)
        parts.append(_part(listed.track, video, source, side, frames, settings))
        progress(len(parts), len(listed.videos), video)
    return parts


def gather(listed: FrameList, parts: Sequence[Part]) -> Floats:
    """(n, c) the answers for all rows of a list, in its order."""
    values = np.full((len(listed.names), listed.track.fields - 1), np.nan)
    for part, rows in zip(parts, listed.rows(), strict=True):
        values[rows] = part.values
    return values


def write(listed: FrameList, values: Floats, path: Path) -> None:
    """Write the one file of a track: its header, then a row for each of the list, LF, nothing around the commas.

    Numbers have at most 6 decimals, of which no zeros at the end are written: 0.5, -1, 0.

    Args:
        values: (n, c), as ``gather`` gives them; for emi (n, 6).

    Raises:
        InputError: a value is no finite number.
        OutputError: it cannot be written; whatever was there before still is.
    """
    lost = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(lost):
        raise InputError(f"{listed.path}: nothing is known of {listed.names[lost[0]]}; nothing was written.")
    rows = zip(listed.names, *_columns(listed.track, values), strict=True)
    with atomic_file(path) as file:
        file.write("\n".join([listed.track.header, *map(",".join, rows), ""]).encode())


def write_per_video(track: Track, parts: Sequence[Part], folder: Path) -> list[Path]:
    """Write a file for each video, as in the 3rd edition and before: a header, then a line for each frame from 1.

    Args:
        parts: answers for every frame.

    Returns:
        the files, all of which appear, or none.

    Raises:
        UsageError: the track never had such files.
        OutputError: one cannot be written.
    """
    if track.per_video is None:
        raise UsageError(f"--layout per-video: --track {track.name} never had a file per video; leave it out.")
    paths = [folder / f"{part.video}.txt" for part in parts]
    with write_together() as opened:
        for part, path in zip(parts, paths, strict=True):
            rows = zip(*_columns(track, part.values), strict=True)
            with opened(path) as file:
                file.write("\n".join([track.per_video, *map(",".join, rows), ""]).encode())
    return paths


def _chosen(listed: FrameList, raws: Mapping[str, Path]) -> dict[str, tuple[Path, str | None]]:
    """Listed video -> raw scores, and the side of the picture where its person is, if only that counts."""
    found: dict[str, tuple[Path, str | None]] = {}
    for video in listed.videos:
        if there := place(video, raws):
            name, side = there
            found[video] = raws[name], side
    missing = [video for video in listed.videos if video not in found]
    if missing:
        raise InputError(
            f"{listed.path}: {len(missing):,} of its {len(listed.videos):,} videos have no table: {few(missing)}; "
            "annotate them first, and give their tables as well."
        )
    return found


def _decoded(source: AnnotatedVideo) -> int:
    """Frames of a video, also where not all of them were analysed; of pictures the highest number."""
    told = sidecar.read(source.path.with_name(f"{source.video}.json")).get("frames")
    decoded = told.get("decoded") if isinstance(told, dict) else None
    return max(source.last, decoded) if source.first and isinstance(decoded, int) else source.last


def _part(
    track: Track, video: str, source: AnnotatedVideo, side: str | None, frames: Ints, settings: SubmissionSettings
) -> Part:
    recipe = settings.recipe or source.recipe
    _check_scores(source, recipe, track)
    said = predict(source, recipe, side=side, mean=settings.mean)
    columns, seen = [], np.ones(len(frames), bool)
    overridden = 0
    for task in track.tasks:
        if task == "expression" and settings.override is not None:
            label, known, replaced = _overridden(source, recipe, settings.override, side, frames, settings.other)
            columns.append(label)
            overridden = int(replaced.sum())
        else:
            soft, known = _at(said, task, frames, settings.other)
            columns.append(_hard(task, soft, said.thresholds))
        seen &= known
    beyond = frames > said.last
    counts = int((seen & ~beyond).sum()), int((~seen & ~beyond).sum()), int(beyond.sum())
    return Part(video, frames, np.concatenate(columns, axis=1), *counts, overridden)


def _at(said: Predictions, task: str, frames: Ints, other: str) -> tuple[Floats, NDArray[np.bool_]]:
    """Soft values for any frames, expressions in Aff-Wild2's order, and whether each was said of that very frame."""
    if task == "expression":
        said = said.in_affwild2(other)
    soft, known = said.at(task, frames)
    if not np.isfinite(soft).all():
        lost = np.flatnonzero(~np.isfinite(soft).all(axis=0))
        names = f" {few(ACTION_UNITS[k] for k in lost)}" if task == "action_units" else ""
        raise InputError(f"{said.path}: its models say nothing of{names or ' a part'} of the {task.replace('_', ' ')}.")
    return soft, known


def _hard(task: str, soft: Floats, thresholds: Mapping[str, float]) -> Floats:
    """Soft values -> what is written of them, (k, fields); of equal probabilities the first class."""
    if task == "action_units":
        return (soft >= [thresholds.get(unit, 0.5) for unit in ACTION_UNITS]).astype(np.float64)
    if task == "valence_arousal":
        return np.clip(soft, -1, 1)
    return soft.argmax(axis=1)[:, None].astype(np.float64)


def _overridden(
    source: AnnotatedVideo, recipe: Recipe, override: Override, side: str | None, frames: Ints, other: str
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """(k, 1) labels of the recipe's other models, or of the second one where it is sure enough.

    Both are smoothed as the recipe says before they are compared.

    Returns:
        the labels, whether the first was said of that very frame, and where the second's label stands.
    """
    models = tuple(name for name in recipe.models if name != override.model)
    if not models:
        raise UsageError(
            f"--override-model {override.model}: {source.path} was annotated with nothing else; "
            "annotate with two models, and name here the one that shall have its way where it is sure."
        )
    _check_probabilities(source, (override.model,), "expression")
    first, second = (
        _at(predict(source, replace(recipe, models=names), side=side), "expression", frames, other)
        for names in (models, (override.model,))
    )
    sure = second[0][:, :BASIC]
    wins = sure.max(axis=1) > override.threshold
    label = np.where(wins, sure.argmax(axis=1), first[0].argmax(axis=1))
    return label[:, None].astype(np.float64), first[1], wins


def _check_scores(source: AnnotatedVideo, recipe: Recipe, track: Track) -> None:
    """Raise InputError if what the models said is not what it should be."""
    for task in track.tasks:
        _check_probabilities(source, recipe.models, "expression" if task == "compound" else task)


def _check_probabilities(source: AnnotatedVideo, models: Sequence[str], task: str) -> None:
    for model in models:
        values = source.timeline.scores.get(model, {}).get(task)
        if values is None:
            continue
        # Valence and arousal may leave their range, and are clipped; a soft-max may exceed 1 by its last digit.
        low, high = (-np.inf, np.inf) if task == "valence_arousal" else (-1e-3, 1 + 1e-3)
        wrong = values[(values < low) | (values > high) | np.isinf(values)]
        if len(wrong):
            raise InputError(
                f"{source.path}: {model} gives {wrong[0]:g} for {task.replace('_', ' ')}, which cannot be; "
                "the raw scores are damaged, annotate the video anew."
            )


def _columns(track: Track, values: Floats) -> list[list[str]]:
    """The texts of each field, column by column."""
    whole_numbers = [task in _LABELLED for task in track.tasks for _ in range(FIELDS[task])]
    return [
        list(map(str, column.astype(np.int64).tolist())) if exact else list(map(_number, _rounded(column).tolist()))
        for column, exact in zip(values.T, whole_numbers, strict=True)
    ]


def _rounded(column: Floats) -> Floats:
    return np.round(column, 6) + 0.0  # adding 0 leaves no -0


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
