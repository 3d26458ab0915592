"""Files of ``extract`` and annotations -> matrices of features and labels to train a head on.

Rows are matched by the name of the video (that of the file, without ``.features.parquet``) and the frame number. Audio
features are matched by the time of the frame, and serve both people of a video of two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation.ground_truth import Annotations, clip_key, recording
from ..formats import features
from ..media.audio import nearest
from ..models.heads import Base, statistics
from ..reporting.wording import few
from ..runtime.row_file import RowFile

SUFFIX = ".features.parquet"

IN_MEMORY = 1 << 30
"""Bytes of embeddings that are kept in memory; more go to a file, so that two million faces need no more memory."""

Truth = Mapping[str, Annotations]
"""Video -> its annotations."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n labelled faces, sorted by video and frame.

    Attributes:
        video: (n,) name of the video.
        frame: (n,) int64 frame number from 1, as in the annotations.
        embeddings: (n, d) as extracted, in a file if they are many; or (n, 0) if no head needs them.
        outputs: (n, k) last layer of the network; k is 0 if it has none.
        expression: (n,) index into ``ground_truth.AFFWILD2_EXPRESSIONS``; -1 if unknown.
        valence_arousal: (n, 2) in [-1, 1]; nan if unknown.
        action_units: (n, 12), 0 or 1; nan if unknown.
    """

    video: NDArray[np.str_]
    frame: NDArray[np.int64]
    embeddings: NDArray[np.floating] | RowFile
    outputs: NDArray[np.float32]
    expression: NDArray[np.int64]
    valence_arousal: NDArray[np.float32]
    action_units: NDArray[np.float32]

    def known(self, task: str) -> NDArray[np.int64]:
        """Indices of the rows with a label for a task of ``tasks.TASKS``."""
        if task == "expression":
            return np.flatnonzero(self.expression >= 0)
        return np.flatnonzero(~np.isnan(getattr(self, task)).any(axis=1))

    def digest(self) -> str:
        """SHA-256 of all columns."""
        return digest_of(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """n clips with the intensities of ``tasks.EMOTIONAL_MIMICRY``, sorted by name.

    Attributes:
        name: (n,) as in the annotations.
        values: (n, 4 c) ``heads.statistics`` of the embeddings or outputs of all faces of a clip.
        intensities: (n, 6) in [0, 1].
    """

    name: NDArray[np.str_]
    values: NDArray[np.float32]
    intensities: NDArray[np.float32]

    def digest(self) -> str:
        """SHA-256 of all columns."""
        return digest_of(getattr(self, field.name) for field in fields(self))


def find_files(paths: Iterable[Path]) -> dict[str, Path]:
    """Video -> its file of features, sorted by name; a folder means the files in it.

    Raises:
        InputError: a missing path, a folder without such files, another kind of file, or two files of one video.
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
                raise InputError(f"{file}: not called NAME{SUFFIX}, like the files that extract writes.")
            name = file.name.removesuffix(SUFFIX)
            if name in found and found[name].resolve() != file.resolve():
                raise InputError(f"{found[name]} and {file} are both of {name}; give only one of them.")
            found[name] = file
    return {name: found[name] for name in sorted(found)}


def held_out(names: Iterable[str], share: float, seed: int) -> set[str]:
    """Randomly chosen names to hold out for validation, by whole recordings (both people of a video of two).

    Args:
        share: of the recordings, above 0 and below 1; at least one is held out, and at least one is not.

    Raises:
        UsageError: there is only one recording.
    """
    names = list(names)
    groups = sorted({recording(name) for name in names})
    if len(groups) < 2:
        raise UsageError(
            f"--val-share {share:g}: there is only one video with features and labels, and its frames are too similar "
            "to hold some out; give --val-truth, more videos, or --val-share 0."
        )
    count = min(max(round(share * len(groups)), 1), len(groups) - 1)
    order = np.random.default_rng(seed).permutation(len(groups))
    kept = {groups[k] for k in order[:count]}
    return {name for name in names if recording(name) in kept}


def gather(
    files: Mapping[str, Path], truths: Mapping[str, Truth], *, embeddings: bool = True, in_memory: int = IN_MEMORY
) -> tuple[Base, dict[str, Rows]]:
    """Match features with annotations.

    Args:
        files: video -> file.
        truths: part ("train", "validation") -> its annotations.
        embeddings: whether to keep embeddings, which take most of the memory.
        in_memory: bytes of embeddings of all parts from which on they are kept in files.

    Returns:
        the model that made the features, and part -> its rows with a label for any task.

    Raises:
        InputError: files of different models; a frame with several faces; no file or no row for a part.
    """
    base, first = None, None
    parts: dict[str, list[Rows]] = {part: [] for part in truths}
    stores = {part: RowStore() for part in truths}
    for video, path in files.items():
        wanted = [(part, truth[name]) for part, truth in truths.items() for name in matching_names(video, truth)]
        if not wanted:
            continue
        columns, facts = features.read(path)
        if not features.is_audio(facts):
            wanted = [(part, truth) for part, truth in wanted if truth.video == video]
        for part, truth in wanted:
            base, first = same_base(base, first, path, columns, facts)
            rows = _match(path, columns, facts, truth, embeddings)
            stores[part].add(np.asarray(rows.embeddings))
            parts[part].append(replace(rows, embeddings=np.empty((len(rows.frame), 0), np.float32)))
        if sum(store.bytes for store in stores.values()) > in_memory:
            for store in stores.values():
                store.to_file()
    return require_base(base, files, truths), {
        part: replace(_join(part, found, files, truths[part]), embeddings=stores[part].result())
        for part, found in parts.items()
    }


class RowStore:
    """Embeddings or states of one part, file by file; in memory until they are moved to a file."""

    def __init__(self) -> None:
        self._held: list[NDArray] = []
        self._file: RowFile | None = None
        self._empty = 0  # rows of zeros that stand before the first real one
        self.bytes = 0

    def add_empty(self, count: int) -> None:
        """Add rows of zeros, as wide as the others."""
        if self._file is not None:
            self._file.append(np.zeros((count, self._file.shape[1]), self._file.dtype))
        elif self._held:
            self._held.append(np.zeros((count, self._held[0].shape[1]), self._held[0].dtype))
        else:
            self._empty += count

    def add(self, rows: NDArray) -> None:
        if self._empty:
            rows = np.concatenate([np.zeros((self._empty, rows.shape[1]), rows.dtype), rows])
            self._empty = 0
        self.bytes += rows.nbytes
        if self._file is None:
            self._held.append(rows)
        elif np.result_type(self._file.dtype, rows.dtype) != self._file.dtype:
            raise InputError("some features are float16 and some float32; extract all with the same --dtype.")
        else:
            self._file.append(rows)

    def to_file(self) -> None:
        """Move what is held to a file, where later rows go as well."""
        if self._file is None and self._held:
            self._file = RowFile(self._held[0].shape[1], np.result_type(*self._held))
            for rows in self._held:
                self._file.append(rows)
            self._held = []

    def result(self) -> NDArray | RowFile:
        """All rows; there must be one that is not empty."""
        return np.concatenate(self._held) if self._file is None else self._file


def gather_clips(
    files: Mapping[str, Path], truths: Mapping[str, Mapping[str, Sequence[float]]], source: str
) -> tuple[Base, dict[str, ClipFeatures]]:
    """The same for clips: all faces of a file become one row.

    Args:
        truths: part -> clip -> six intensities, as ``ground_truth.read_intensities`` returns them.
        source: "features" or "scores".

    Raises:
        InputError: files of different models, or without outputs that are needed; no file for a part.
    """
    base, first = None, None
    parts: dict[str, list[tuple[str, NDArray, Sequence[float]]]] = {part: [] for part in truths}
    for name, path in files.items():
        wanted = {part: truth[clip_key(name)] for part, truth in truths.items() if clip_key(name) in truth}
        if not wanted:
            continue
        columns, facts = features.read(path)
        base, first = same_base(base, first, path, columns, facts)
        if source == "scores" and not base.outputs:
            raise InputError(f"{path}: {base.model} has only embeddings; use --input features.")
        values = statistics(columns["embedding" if source == "features" else "outputs"])
        for part, intensities in wanted.items():
            parts[part].append((name, values, intensities))
    found = require_base(base, files, truths)
    for part, clips in parts.items():
        if not clips:
            raise InputError(no_match(part, files, truths[part]))
    return found, {
        part: ClipFeatures(
            np.array([name for name, _, _ in clips]),
            np.array([values for _, values, _ in clips], np.float32),
            np.array([intensities for _, _, intensities in clips], np.float32),
        )
        for part, clips in parts.items()
    }


class Labelled(Protocol):
    """Rows with labels: ``Rows``, or sequences of them."""

    @property
    def video(self) -> NDArray[np.str_]: ...

    @property
    def frame(self) -> NDArray[np.int64]: ...

    def known(self, task: str) -> NDArray[np.int64]: ...


def check_apart(train: Labelled, validation: Labelled, tasks: Iterable[str]) -> None:
    """Raise InputError if a frame is used for both training and validation of the same task."""
    for task in tasks:
        one, other = train.known(task), validation.known(task)
        for video in np.intersect1d(train.video[one], validation.video[other]):
            ours, theirs = (
                rows.frame[known][rows.video[known] == video] for rows, known in ((train, one), (validation, other))
            )
            both = np.intersect1d(ours, theirs)
            if len(both):
                raise InputError(
                    f"frame {both[0]} of {video} is in both the training and the validation annotations of {task}; "
                    "validate on other frames, or leave out --val-truth."
                )


def matching_names(video: str, truth: Truth) -> list[str]:
    """The annotations that a file belongs to: those of its name, else those of both people of a video of two."""
    return [video] if video in truth else [name for name in truth if recording(name) == video]


def same_base(
    base: Base | None, first: Path | None, path: Path, columns: Mapping[str, NDArray], facts: Mapping[str, Any]
) -> tuple[Base, Path]:
    """The model that made a file, which must be the one that made the first file."""
    weights = facts.get("weights") or {}
    outputs = columns["outputs"].shape[1] if "outputs" in columns else 0
    crop = "given" if facts.get("given_crops") else facts.get("crop")
    own = Base(str(facts.get("model")), weights.get("sha256"), crop, columns["embedding"].shape[1], outputs)
    if base is None or first is None:
        return own, path
    for field in fields(Base):
        own_value, first_value = getattr(own, field.name), getattr(base, field.name)
        if own_value != first_value:
            raise InputError(
                f"{first} and {path} were not made by the same model: {field.name} is {first_value} and {own_value}; "
                "extract both with the same one."
            )
    return base, first


def _match(
    path: Path, columns: Mapping[str, NDArray], facts: Mapping[str, Any], truth: Annotations, embeddings: bool
) -> Rows:
    """The labelled faces, or audio states, of one file."""
    labelled = (
        (truth.expression >= 0)
        | ~np.isnan(truth.valence_arousal).any(axis=1)
        | ~np.isnan(truth.action_units).any(axis=1)
    )
    rows, labels = (_audio_rows if features.is_audio(facts) else face_rows)(path, columns, facts, truth, labelled)
    size = len(rows)
    return Rows(
        np.full(size, truth.video),
        truth.frames[labels],
        columns["embedding"][rows] if embeddings else np.empty((size, 0), np.float32),
        columns["outputs"][rows].astype(np.float32) if "outputs" in columns else np.empty((size, 0), np.float32),
        truth.expression[labels],
        truth.valence_arousal[labels],
        truth.action_units[labels],
    )


def face_rows(
    path: Path,
    columns: Mapping[str, NDArray],
    facts: Mapping[str, Any],
    truth: Annotations,
    labelled: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of labelled faces, and the index of each one's frame in the annotations."""
    if "file" in columns:
        raise InputError(
            f"{path}: was made from a folder of photos, which have no frame numbers; name them 00001.jpg, ... by the "
            "frames of the annotations, and extract them again."
        )
    frame = frame_numbers(columns, facts)
    place = np.searchsorted(truth.frames, frame)
    rows = np.flatnonzero(place < len(truth.frames))
    rows = rows[(truth.frames[place[rows]] == frame[rows]) & labelled[place[rows]]]
    rows = rows[np.argsort(frame[rows], kind="stable")]
    twice = np.flatnonzero(np.diff(frame[rows]) == 0)
    if len(twice):
        raise InputError(
            f"{path}: frame {columns['frame'][rows[twice[0]]]} has more than one face, but the annotations are of one; "
            "extract from its crops with --crops, or with --faces largest."
        )
    return rows, place[rows]


def frame_numbers(columns: Mapping[str, NDArray], facts: Mapping[str, Any]) -> NDArray[np.int64]:
    """(n,) frame of each row as in annotations, from 1: images have such numbers in their names, videos begin at 0."""
    return np.asarray(columns["frame"].astype(np.int64) + ((facts.get("source") or {}).get("kind") == "video"))


def _audio_rows(
    path: Path,
    columns: Mapping[str, NDArray],
    facts: Mapping[str, Any],
    truth: Annotations,
    labelled: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each labelled frame with audio, the state nearest in time, and the frame's index in the annotations."""
    video = facts.get("video") or {}
    if not video.get("fps"):
        raise InputError(f"{path}: the frame rate of its video is unknown; extract it again with --video-fps.")
    state = nearest(columns["time"], (video.get("start") or 0.0) + (truth.frames - 1) / video["fps"])
    labels = np.flatnonzero(labelled & (state >= 0))
    return state[labels], labels


def _join(part: str, found: Sequence[Rows], files: Mapping[str, Path], truth: Truth) -> Rows:
    if not sum(len(rows.frame) for rows in found):
        raise InputError(no_match(part, files, truth))
    return Rows(*(np.concatenate([getattr(rows, field.name) for rows in found]) for field in fields(Rows)))


def require_base(base: Base | None, files: Mapping[str, Path], truths: Mapping[str, Mapping[str, Any]]) -> Base:
    """The base that was found; raises InputError if no file belongs to the annotations."""
    if base is None:
        part, truth = next(iter(truths.items()))
        raise InputError(no_match(part, files, truth))
    return base


def no_match(part: str, files: Mapping[str, Path], truth: Mapping[str, Any]) -> str:
    """The message that no row of a part has a label."""
    return (
        f"no row of the features has a {part} label: the features are of {few(files, 3) or 'nothing'}, and the "
        f"annotations of {few(truth, 3) or 'nothing'}; files are matched by video name, rows by frame number."
    )


def digest_of(columns: Iterable[NDArray | RowFile]) -> str:
    """SHA-256 of some arrays, their types and shapes."""
    whole = hashlib.sha256()
    for column in columns:
        whole.update(f"{column.dtype.str} {column.shape} ".encode())
        if isinstance(column, RowFile):
            for block in column.blocks():
                whole.update(np.ascontiguousarray(block).view(np.uint8).data)
        elif column.size:
            whole.update(np.ascontiguousarray(column).view(np.uint8).data)
    return whole.hexdigest()
