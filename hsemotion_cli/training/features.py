"""Files of ``extract`` and annotations -> matrices to train a head on: what a network said, and what is true.

Rows are matched by the video's name (the file's, without ``.features.parquet``) and the number of the frame; those of
sound by the time of the frame, and they belong to both people of a video of two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation.ground_truth import Annotations, clip_key, recording
from ..formats import features
from ..media.audio import nearest
from ..models.heads import Base, statistics

SUFFIX = ".features.parquet"

Truth = Mapping[str, Annotations]
"""Video -> its annotations."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n faces that something is known of, sorted by video and frame.

    Attributes:
        video: (n,) name of the video of each.
        frame: (n,) int64 from 1, as the annotations count.
        embeddings: (n, d) as extracted, or (n, 0) where no head asks for them.
        outputs: (n, k) last layer of the network; k is 0 if it has none.
        expression: (n,) index in ``truth.AFFWILD2_EXPRESSIONS``; -1 where it is not known.
        valence_arousal: (n, 2) in [-1, 1]; nan where not known.
        action_units: (n, 12), 0 or 1; nan where not known.
    """

    video: NDArray[np.str_]
    frame: NDArray[np.int64]
    embeddings: NDArray[np.floating]
    outputs: NDArray[np.float32]
    expression: NDArray[np.int64]
    valence_arousal: NDArray[np.float32]
    action_units: NDArray[np.float32]

    def known(self, task: str) -> NDArray[np.int64]:
        """Numbers of the rows that have a label for a task of ``tasks.TASKS``."""
        if task == "expression":
            return np.flatnonzero(self.expression >= 0)
        return np.flatnonzero(~np.isnan(getattr(self, task)).any(axis=1))

    def digest(self) -> str:
        """SHA-256 of all of it."""
        return _digest(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """n clips with the intensities of ``tasks.EMOTIONAL_MIMICRY``, sorted by name.

    Attributes:
        name: (n,) as in the truth.
        values: (n, 4 c) ``heads.statistics`` of the embeddings or outputs of all faces of each.
        intensities: (n, 6) in [0, 1].
    """

    name: NDArray[np.str_]
    values: NDArray[np.float32]
    intensities: NDArray[np.float32]

    def digest(self) -> str:
        """SHA-256 of all of it."""
        return _digest(getattr(self, field.name) for field in fields(self))


def find_files(paths: Iterable[Path]) -> dict[str, Path]:
    """Video -> its file of features, sorted by name; a folder stands for those in it.

    Raises:
        InputError: a path that is not there, a folder without such files, another kind of file, or two of one video.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder.")
        files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: no NAME{SUFFIX} in this folder; extract writes such files.")
        for file in files:
            if not file.name.endswith(SUFFIX):
                raise InputError(f"{file}: not called NAME{SUFFIX}, as the files are that extract writes.")
            name = file.name.removesuffix(SUFFIX)
            if name in found and found[name].resolve() != file.resolve():
                raise InputError(f"{found[name]} and {file} are both of {name}; give only one of them.")
            found[name] = file
    return {name: found[name] for name in sorted(found)}


def held_out(names: Iterable[str], share: float, seed: int) -> set[str]:
    """Names that are kept for validation: whole recordings (both people of a video of two), chosen by lot.

    Args:
        share: of the recordings, above 0 and below 1; at least one is kept, and at least one is not.

    Raises:
        UsageError: there is only one recording.
    """
    names = list(names)
    groups = sorted({recording(name) for name in names})
    if len(groups) < 2:
        raise UsageError(
            f"--val-share {share:g}: there is only one video with features and labels, and a share of its frames "
            "would show what is trained on; give --val-truth, more videos, or --val-share 0."
        )
    count = min(max(round(share * len(groups)), 1), len(groups) - 1)
    order = np.random.default_rng(seed).permutation(len(groups))
    kept = {groups[k] for k in order[:count]}
    return {name for name in names if recording(name) in kept}


def gather(
    files: Mapping[str, Path], truths: Mapping[str, Truth], *, embeddings: bool = True
) -> tuple[Base, dict[str, Rows]]:
    """Match features with annotations.

    Args:
        files: video -> file.
        truths: name of a part ("train", "validation") -> what is known of it.
        embeddings: whether embeddings are needed at all; they are most of the memory.

    Returns:
        what made the features, and part -> its rows, only those with a label for any task.

    Raises:
        InputError: files of different models; a frame with several faces; no file or no row for a part.
    """
    base, first = None, None
    parts: dict[str, list[Rows]] = {part: [] for part in truths}
    for video, path in files.items():
        wanted = [(part, truth[name]) for part, truth in truths.items() for name in _of(video, truth)]
        if not wanted:
            continue
        columns, facts = features.read(path)
        if not features.is_audio(facts):
            wanted = [(part, truth) for part, truth in wanted if truth.video == video]
        for part, truth in wanted:
            base, first = _same_base(base, first, path, columns, facts)
            parts[part].append(_match(path, columns, facts, truth, embeddings))
    return _found(base, files, truths), {
        part: _joined(part, found, files, truths[part]) for part, found in parts.items()
    }


def gather_clips(
    files: Mapping[str, Path], truths: Mapping[str, Mapping[str, Sequence[float]]], source: str
) -> tuple[Base, dict[str, ClipFeatures]]:
    """The same for clips: all faces of a file are one row.

    Args:
        truths: part -> clip -> six intensities, as ``truth.read_intensities`` gives them.
        source: "features" or "scores".

    Raises:
        InputError: files of different models, or without outputs where those are asked for; no file for a part.
    """
    base, first = None, None
    parts: dict[str, list[tuple[str, NDArray, Sequence[float]]]] = {part: [] for part in truths}
    for name, path in files.items():
        wanted = {part: truth[clip_key(name)] for part, truth in truths.items() if clip_key(name) in truth}
        if not wanted:
            continue
        columns, facts = features.read(path)
        base, first = _same_base(base, first, path, columns, facts)
        if source == "scores" and not base.outputs:
            raise InputError(f"{path}: {base.model} has no outputs beside its embeddings; use --input features.")
        values = statistics(columns["embedding" if source == "features" else "outputs"])
        for part, intensities in wanted.items():
            parts[part].append((name, values, intensities))
    found = _found(base, files, truths)
    for part, clips in parts.items():
        if not clips:
            raise InputError(_nothing(part, files, truths[part]))
    return found, {
        part: ClipFeatures(
            np.array([name for name, _, _ in clips]),
            np.array([values for _, values, _ in clips], np.float32),
            np.array([intensities for _, _, intensities in clips], np.float32),
        )
        for part, clips in parts.items()
    }


def check_apart(train: Rows, validation: Rows, tasks: Iterable[str]) -> None:
    """Raise InputError if a frame is both trained on and validated with, for the same task."""
    for task in tasks:
        one, other = train.known(task), validation.known(task)
        for video in np.intersect1d(train.video[one], validation.video[other]):
            ours, theirs = (
                rows.frame[known][rows.video[known] == video] for rows, known in ((train, one), (validation, other))
            )
            both = np.intersect1d(ours, theirs)
            if len(both):
                raise InputError(
                    f"frame {both[0]} of {video} is in the training and in the validation truth of {task}; "
                    "validate with other frames, or leave out --val-truth."
                )


def _of(video: str, truth: Truth) -> list[str]:
    """Names of annotations that a file's name may mean: its own, else those of both people of a video of two."""
    return [video] if video in truth else [name for name in truth if recording(name) == video]


def _same_base(
    base: Base | None, first: Path | None, path: Path, columns: Mapping[str, NDArray], facts: Mapping[str, Any]
) -> tuple[Base, Path]:
    """What made a file, which must be what made the first one."""
    weights = facts.get("weights") or {}
    outputs = columns["outputs"].shape[1] if "outputs" in columns else 0
    crop = "given" if facts.get("given_crops") else facts.get("crop")
    own = Base(str(facts.get("model")), weights.get("sha256"), crop, columns["embedding"].shape[1], outputs)
    if base is None or first is None:
        return own, path
    for field in fields(Base):
        here, there = getattr(own, field.name), getattr(base, field.name)
        if here != there:
            raise InputError(
                f"{first} and {path} were not made by the same model: {field.name} is {there} and {here}; "
                "extract both with the same one."
            )
    return base, first


def _match(
    path: Path, columns: Mapping[str, NDArray], facts: Mapping[str, Any], truth: Annotations, embeddings: bool
) -> Rows:
    """The faces, or states of sound, of one file that something is known of."""
    labelled = (
        (truth.expression >= 0)
        | ~np.isnan(truth.valence_arousal).any(axis=1)
        | ~np.isnan(truth.action_units).any(axis=1)
    )
    rows, of = (_heard if features.is_audio(facts) else _seen)(path, columns, facts, truth, labelled)
    size = len(rows)
    return Rows(
        np.full(size, truth.video),
        truth.frames[of],
        columns["embedding"][rows] if embeddings else np.empty((size, 0), np.float32),
        columns["outputs"][rows].astype(np.float32) if "outputs" in columns else np.empty((size, 0), np.float32),
        truth.expression[of],
        truth.valence_arousal[of],
        truth.action_units[of],
    )


def _seen(
    path: Path,
    columns: Mapping[str, NDArray],
    facts: Mapping[str, Any],
    truth: Annotations,
    labelled: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of faces, and the place in the truth of each one's frame."""
    # Frames of a video count from 0, the numbers in the names of pictures as the annotations do.
    if "file" in columns:
        raise InputError(
            f"{path}: was made from a folder of photos, which have no frame numbers; name them 00001.jpg, ... by the "
            "frames of the annotations, and extract them again."
        )
    frame = columns["frame"].astype(np.int64) + ((facts.get("source") or {}).get("kind") == "video")
    place = np.searchsorted(truth.frames, frame)
    rows = np.flatnonzero(place < len(truth.frames))
    rows = rows[(truth.frames[place[rows]] == frame[rows]) & labelled[place[rows]]]
    rows = rows[np.argsort(frame[rows], kind="stable")]
    twice = np.flatnonzero(np.diff(frame[rows]) == 0)
    if len(twice):
        raise InputError(
            f"{path}: frame {columns['frame'][rows[twice[0]]]} has more than one face, and the truth is about one; "
            "extract from its crops with --crops, or with --faces largest."
        )
    return rows, place[rows]


def _heard(
    path: Path,
    columns: Mapping[str, NDArray],
    facts: Mapping[str, Any],
    truth: Annotations,
    labelled: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The state that is nearest to each frame in time, where there is sound, and the frame's place in the truth."""
    video = facts.get("video") or {}
    if not video.get("fps"):
        raise InputError(f"{path}: the frame rate of its video is not known; extract it again with --video-fps.")
    state = nearest(columns["time"], (video.get("start") or 0.0) + (truth.frames - 1) / video["fps"])
    of = np.flatnonzero(labelled & (state >= 0))
    return state[of], of


def _joined(part: str, found: Sequence[Rows], files: Mapping[str, Path], truth: Truth) -> Rows:
    if not sum(len(rows.frame) for rows in found):
        raise InputError(_nothing(part, files, truth))
    return Rows(*(np.concatenate([getattr(rows, field.name) for rows in found]) for field in fields(Rows)))


def _found(base: Base | None, files: Mapping[str, Path], truths: Mapping[str, Mapping[str, Any]]) -> Base:
    if base is None:
        part, truth = next(iter(truths.items()))
        raise InputError(_nothing(part, files, truth))
    return base


def _nothing(part: str, files: Mapping[str, Path], truth: Mapping[str, Any]) -> str:
    return (
        f"no row of the features has a label of the {part} truth: the features are of {_some(files)}, and the truth "
        f"is of {_some(truth)}; files are matched by the name of the video, rows by the number of the frame."
    )


def _some(names: Mapping[str, Any]) -> str:
    few = ", ".join(list(names)[:3])
    return few + (f" and {len(names) - 3} more" if len(names) > 3 else "") if few else "nothing"


def _digest(columns: Iterable[NDArray]) -> str:
    whole = hashlib.sha256()
    for column in columns:
        whole.update(f"{column.dtype.str} {column.shape} ".encode())
        if column.size:
            whole.update(np.ascontiguousarray(column).view(np.uint8).data)
    return whole.hexdigest()
