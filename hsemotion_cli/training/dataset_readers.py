"""Data sets on disk -> ``Dataset``: FER+, a folder with a table of labels, trees of Aff-Wild2, packed files.

Labels are read first; then a face is searched once in every image, for the five points that crops are aligned by. No
image is left out because of its content.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Face, Image
from ..errors import InputError
from ..evaluation import ground_truth
from ..faces.crops import FIVE_POINTS
from ..faces.detector import FaceDetector
from ..formats.npz import arrays
from ..tasks import ACTION_UNITS, BLENDSHAPES, VALENCE_AROUSAL
from .config import DatasetSource, TrainingConfig
from .dataset import Dataset, decode_image, join, pack, read
from .unit_labels import FROM_BLENDSHAPES, FROM_BOTH, label_units, predict_units

Progress = Callable[[str, int, int], None]
"""Called with a source's name, the images searched so far, and all its images."""

AFFECT: dict[str, tuple[float, float]] = {
    "neutral": (0.05, -0.80),
    "happiness": (0.49, 0.06),
    "surprise": (-0.03, 0.36),
    "sadness": (-0.55, 0.11),
    "anger": (-0.51, 0.32),
    "disgust": (-0.56, 0.26),
    "fear": (-0.68, 0.22),
    "contempt": (-0.13, -0.50),
}
"""Expression -> valence, arousal per unit of its share among raters, no intercept. Least squares on the rating study
kdoodoo/affectnetc25 (1,600 AffectNet images, 25 raters each); 5-fold r 0.94 for valence, 0.80 for arousal."""

SIDE = 192
"""Pixels to which small images are enlarged before the search: the landmarker then finds more faces."""

_CHUNK = 200
_LARGEST_CSV = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The images and labels of a source, before faces are searched. Columns as in ``Dataset``."""

    images: list[bytes]
    expression: NDArray[np.float32]
    valence_arousal: NDArray[np.float32]
    action_units: NDArray[np.float32]
    clear: NDArray[np.bool_]
    subject: NDArray[np.str_]
    part: NDArray[np.str_]


def gather(config: TrainingConfig, workers: int | None = None, progress: Progress | None = None) -> Dataset:
    """The samples of all sources of a config.

    Args:
        workers: processes that search for faces; by default one per processor.
        progress: called during the search.

    Raises:
        InputError: a source is missing or malformed.
    """
    return join([_read_source(source, config, workers, progress) for source in config.sources])


def _read_source(
    source: DatasetSource, config: TrainingConfig, workers: int | None, progress: Progress | None
) -> Dataset:
    if source.kind == "packed":
        return _packed(source, config)
    labels = read_labels(source, config)
    if not labels.images:
        raise InputError(f"{source.path}: it has no labelled image.")
    encoded, offsets = pack(labels.images)
    if source.given_crops:
        points, boxes, shapes = (np.full(shape, np.nan, np.float32) for shape in _unsearched(len(labels.images)))
    else:
        try:
            points, boxes, shapes = find_faces(
                labels.images, workers, lambda n: progress and progress(source.name, n, len(offsets) - 1)
            )
        except InputError as error:
            raise InputError(f"{source.path}: {error}") from error
    units = _units(source, config, shapes, labels.expression)
    units = labels.action_units if units is None else units
    count = len(labels.part)
    return Dataset(
        encoded=encoded,
        offsets=offsets,
        points=points,
        boxes=boxes,
        blendshapes=shapes,
        expression=labels.expression,
        valence_arousal=labels.valence_arousal,
        action_units=units,
        clear=labels.clear,
        source=np.full(count, source.name),
        subject=labels.subject.astype(str),
        part=_with_calibration(labels, source, config.split),
    )


def read_labels(source: DatasetSource, config: TrainingConfig) -> Labels:
    """The images and labels of a source that is not packed; no faces are searched.

    Raises:
        InputError: it is missing or malformed.
    """
    readers = {"ferplus": _ferplus, "folder": _folder, "affwild2": _affwild2}
    return readers[source.kind](source, config)


def _packed(source: DatasetSource, config: TrainingConfig) -> Dataset:
    """The samples of a packed file that have the source's name, or all of them, renamed, if none has it.

    They keep their parts.
    """
    dataset = read(source.path)
    if dataset.expression.shape[1] != len(config.classes):
        raise InputError(
            f"{source.path}: packed with {dataset.expression.shape[1]} classes, the plan has {len(config.classes)}."
        )
    named = dataset.source == source.name
    dataset = dataset.subset(np.flatnonzero(named)) if named.any() else dataset
    if not len(dataset):
        raise InputError(f"{source.path}: it has no images.")
    dataset = dataset.replaced(source=np.full(len(dataset), source.name))
    units = _units(source, config, dataset.blendshapes, dataset.expression)
    return dataset if units is None else dataset.replaced(action_units=units)


def _units(
    source: DatasetSource, config: TrainingConfig, shapes: NDArray[np.float32], shares: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """(n, 12) action units that are not the source's own labels; None if the source wants its labels."""
    if source.units == FROM_BLENDSHAPES:
        return predict_units(shapes)
    return label_units(shapes, shares, config.classes) if source.units == FROM_BOTH else None


# --- labels ---------------------------------------------------------------------------------------------------


def _ferplus(source: DatasetSource, config: TrainingConfig) -> Labels:
    """FER+ (Barsoum et al. 2016): shares of the config's classes among the ten votes.

    Images for which most raters chose none of these classes (unknown, not a face) have no expression label. Valence and
    arousal follow from ``AFFECT``. A label counts as clear if at least five raters agree.
    """
    what = "FER+ as images, votes, vote_names and split"
    file = arrays(source.path, ("images", "votes", "vote_names", "split"), what)
    images, votes, names, split = (file[key] for key in ("images", "votes", "vote_names", "split"))
    count = len(images) if images.ndim == 3 and images.dtype == np.uint8 else -1
    if (votes.shape, names.shape, split.shape) != ((count, names.size), (names.size,), (count,)):
        raise InputError(f"{source.path}: not {what}: its arrays have other shapes.")
    if not np.isin(split, ("train", "val")).all():
        raise InputError(f"{source.path}: not {what}: a split is neither train nor val.")
    if missing := [name for name in config.classes if name not in names]:
        raise InputError(f"{source.path}: FER+ has no {missing[0]}; its classes are {', '.join(map(str, names))}.")
    votes = votes.astype(np.float64)
    chosen = votes[:, [names.tolist().index(name) for name in config.classes]]
    usable = chosen.sum(axis=1) > votes.sum(axis=1) / 2
    shares = np.where(usable[:, None], chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1), np.nan)
    affect = np.array([AFFECT.get(name, (np.nan, np.nan)) for name in config.classes])
    return Labels(
        images=[cv2.imencode(".png", image)[1].tobytes() for image in images],
        expression=shares.astype(np.float32),
        valence_arousal=(shares @ affect).astype(np.float32),
        action_units=np.full((len(votes), len(ACTION_UNITS)), np.nan, np.float32),
        clear=usable & (chosen.max(axis=1) >= 5),
        subject=np.full(len(votes), ""),
        part=np.where(split == "val", "validation", "train"),
    )


def _folder(source: DatasetSource, config: TrainingConfig) -> Labels:
    """A folder with ``labels.csv``: image or path, and any of label, valence, arousal, AU01 ..., subject, split.

    The column image holds file names, beside the table or in ``images/``; path holds paths from the table's folder.
    Without a column split, whole people (or images) are held out.
    """
    table = source.path / "labels.csv"
    names, lines, rows = _table(table, source.left_out)
    column = "image" if "image" in names else "path"
    inside = column == "image" and (source.path / "images").is_dir()
    folder = source.path / "images" if inside else source.path
    images = [
        _read_image(_image_path(folder, row[column], table, n), table, n) for n, row in zip(lines, rows, strict=True)
    ]
    subject = np.array([row.get("subject", "").strip() for row in rows], str)
    if "split" in names:
        part = np.array([_part_name(row["split"].strip(), table, line) for line, row in zip(lines, rows, strict=True)])
    else:
        part = _hold_out(np.where(subject == "", [row[column] for row in rows], subject), source, config.split)
    return Labels(
        images=images,
        expression=_one_hot(rows, lines, config.classes, table),
        valence_arousal=_numbers(rows, lines, VALENCE_AROUSAL, table, -1),
        action_units=_numbers(rows, lines, ACTION_UNITS, table, 0),
        clear=np.ones(len(rows), bool),
        subject=subject,
        part=part,
    )


def _table(table: Path, left_out: Sequence[str]) -> tuple[list[str], list[int], list[dict[str, str]]]:
    """The columns of a folder's table, and the number of the line and the cells of each row that is used."""
    try:
        if table.stat().st_size > _LARGEST_CSV:
            raise InputError(f"{table}: larger than {_LARGEST_CSV >> 20} MiB, too large for a table of labels.")
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restval="")
            lines, rows = [], []
            for row in reader:
                if row.get("label", "").strip() not in left_out:
                    lines.append(reader.line_num)
                    rows.append(row)
            names = reader.fieldnames or []
    except OSError as error:
        raise InputError(f"{table}: cannot be read ({error.strerror}).") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{table}: not a CSV table ({error}).") from error
    column = "image" if "image" in names else "path"
    if column not in names:
        raise InputError(f"{table}: no column 'image' or 'path'; its columns are {', '.join(names) or 'none'}.")
    for line, row in zip(lines, rows, strict=True):
        if None in row:
            raise InputError(f"{table}, line {line}: more fields than the header.")
    for task in (VALENCE_AROUSAL, ACTION_UNITS):
        if 0 < len(lacking := [name for name in task if name not in names]) < len(task):
            raise InputError(f"{table}: no column {lacking[0]!r}; give all of {', '.join(task)}, or none.")
    return list(names), lines, rows


def _one_hot(rows: list[dict[str, str]], lines: list[int], classes: Sequence[str], table: Path) -> NDArray[np.float32]:
    """(n, classes) 1 for the labelled class; nan where there is no label."""
    shares = np.full((len(rows), len(classes)), np.nan, np.float32)
    for k, row in enumerate(rows):
        label = row.get("label", "").strip()
        if label:
            if label not in classes:
                raise InputError(
                    f"{table}, line {lines[k]}: {label!r} is not one of {', '.join(classes)}; to train without its "
                    "images, name it in the source's left_out."
                )
            shares[k] = np.eye(len(classes))[classes.index(label)]
    return shares


def _affwild2(source: DatasetSource, config: TrainingConfig) -> Labels:
    """A tree of Aff-Wild2 or s-Aff-Wild2: annotations and, in ``crops``, a folder of NNNNN.jpg for each video.

    Annotated frames without a crop are left out, as in HSEmotion's training; those that lack a label for any of the
    three tasks as well if the source is ``complete``.
    """
    columns: dict[str, list[Any]] = {key: [] for key in ("picture", "expression", "va", "au", "subject", "part")}
    order = [
        ground_truth.AFFWILD2_EXPRESSIONS.index(name) if name in ground_truth.AFFWILD2_EXPRESSIONS else -1
        for name in config.classes
    ]
    if -1 in order:
        raise InputError(
            f"{source.path}: Aff-Wild2 has no {config.classes[order.index(-1)]}; its classes are "
            f"{', '.join(ground_truth.AFFWILD2_EXPRESSIONS)}."
        )
    for part in ("train", "validation"):
        for video, labels in ground_truth.read_tree(source.path, part).items():
            for k, frame in enumerate(labels.frames):
                path = source.path / source.crops / video / f"{frame:05d}.jpg"
                if not path.exists():
                    continue
                label = int(labels.expression[k])
                lacks = {
                    "expression": label not in order,
                    "valence_arousal": np.isnan(labels.valence_arousal[k]).any(),
                    "action_units": np.isnan(labels.action_units[k]).any(),
                }
                if source.complete and any(lacks.values()):
                    continue
                row = np.full(len(config.classes), np.nan, np.float32)
                if label in order:
                    row[:] = 0
                    row[order.index(label)] = 1
                columns["picture"].append(_read_image(path))
                columns["expression"].append(row)
                columns["va"].append(labels.valence_arousal[k])
                columns["au"].append(labels.action_units[k])
                columns["subject"].append(video)
                columns["part"].append(part)
    return Labels(
        images=columns["picture"],
        expression=np.array(columns["expression"], np.float32).reshape(-1, len(config.classes)),
        valence_arousal=np.array(columns["va"], np.float32).reshape(-1, 2),
        action_units=np.array(columns["au"], np.float32).reshape(-1, len(ACTION_UNITS)),
        clear=np.ones(len(columns["part"]), bool),
        subject=np.array(columns["subject"], str),
        part=np.array(columns["part"], str),
    )


def _image_path(folder: Path, name: str, table: Path, line: int) -> Path:
    """The path of an image in a table; tables from others must not refer to files outside their folder."""
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise InputError(f"{table}, line {line}: the image {name!r} is not in {folder}; put it there.")
    return folder / name


def _read_image(path: Path, table: Path | None = None, line: int = 0) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        where = f"{table}, line {line}: " if table else ""
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{where}{path}: cannot be read ({reason}).") from error


def _part_name(text: str, table: Path, line: int) -> str:
    names = {"train": "train", "val": "validation", "validation": "validation", "calibration": "calibration"}
    if text not in names:
        raise InputError(f"{table}, line {line}: split {text!r} is not one of {', '.join(names)}.")
    return names[text]


def _numbers(
    rows: list[dict[str, str]], lines: list[int], names: tuple[str, ...], table: Path, least: int
) -> NDArray[np.float32]:
    """(n, columns) numbers from ``least`` to 1; a row of nan if a cell is empty or a column is missing."""
    found = np.full((len(rows), len(names)), np.nan, np.float32)
    for k, row in enumerate(rows):
        for column, name in enumerate(names):
            text = row.get(name, "").strip()
            if text:
                try:
                    found[k, column] = value = float(text)
                except ValueError:
                    value = math.nan
                if not least <= value <= 1:
                    raise InputError(f"{table}, line {lines[k]}: {name} is {text!r}, not a number from {least} to 1.")
    # With only some columns, a row would train on half a label.
    found[np.isnan(found).any(axis=1)] = np.nan
    return found


def _hold_out(names: NDArray[np.str_], source: DatasetSource, seed: int) -> NDArray[np.str_]:
    """Parts by whole people: a share ``held_out`` of them is for validation."""
    unique = np.unique(names)
    rng = np.random.default_rng((seed, 3))
    kept = unique[rng.random(len(unique)) < source.held_out]
    return np.where(np.isin(names, kept), "validation", "train")


def _with_calibration(labels: Labels, source: DatasetSource, seed: int) -> NDArray[np.str_]:
    """Parts with a share ``calibration`` of the training people (or images, if people are unknown) held out."""
    part = labels.part.astype("<U11")
    if "calibration" not in part:
        numbers = np.char.add("picture ", np.arange(len(part)).astype(str))
        names = np.where(labels.subject == "", numbers, labels.subject)
        unique = np.unique(names)
        rng = np.random.default_rng((seed, 4))
        chosen = unique[rng.random(len(unique)) < source.calibration]
        part[(part == "train") & np.isin(names, chosen)] = "calibration"
    return part


# --- faces ----------------------------------------------------------------------------------------------------


def find_faces(
    images: list[bytes], workers: int | None = None, progress: Callable[[int], Any] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Find the face in each image.

    Args:
        images: each a PNG or JPEG file.
        workers: processes that share the work; by default one per processor.
        progress: called with the number of images searched so far.

    Returns:
        points (n, 5, 2), boxes (n, 4), blendshapes (n, 52), as in ``Dataset``; nan if no face is found.

    Raises:
        InputError: an image cannot be decoded.
    """
    chunks = [(start, images[start : start + _CHUNK]) for start in range(0, len(images), _CHUNK)]
    found, done = [], 0
    with ProcessPoolExecutor(min(workers or os.cpu_count() or 1, len(chunks)), mp_context=get_context("spawn")) as pool:
        for chunk, result in zip(chunks, pool.map(_find_in_chunk, chunks), strict=True):
            found.append(result)
            done += len(chunk[1])
            if progress:
                progress(done)
    points, boxes, shapes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return points, boxes, shapes


def _unsearched(count: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of points, boxes and blendshapes of images in which no face is searched."""
    return (count, len(FIVE_POINTS), 2), (count, 4), (count, len(BLENDSHAPES))


def _find_in_chunk(
    chunk: tuple[int, list[bytes]],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    first, images = chunk
    cv2.setNumThreads(1)
    points = np.full((len(images), len(FIVE_POINTS), 2), np.nan, np.float32)
    boxes = np.full((len(images), 4), np.nan, np.float32)
    shapes = np.full((len(images), len(BLENDSHAPES)), np.nan, np.float32)
    with FaceDetector() as detector:
        for row, data in enumerate(images):
            image = decode_image(np.frombuffer(data, np.uint8))
            if image is None:
                raise InputError(
                    f"image {first + row + 1} of {len(data)} bytes cannot be decoded; is it a PNG or JPEG file?"
                )
            face = find_face(detector, image)
            if face is None or face.landmarks is None:
                continue
            points[row] = face.landmarks[list(FIVE_POINTS)]
            boxes[row] = face.box
            if face.blendshapes is not None:
                shapes[row] = face.blendshapes
    return points, boxes, shapes


def find_face(detector: FaceDetector, image: Image) -> Face | None:
    """The face that a grey or RGB image shows, searched as all training images are; None without landmarks.

    Returns:
        landmarks in pixels of the image, blendshapes if the detector computes them, and the box around the landmarks.
    """
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    scale = max(SIDE / max(image.shape[:2]), 1.0)
    enlarged = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    face = detector.find_in_crop(np.asarray(enlarged, np.uint8))
    if face.landmarks is None:
        return None
    landmarks = (face.landmarks + 0.5) / scale - 0.5
    # The first 468 of the 478 points are on the face's surface; the rest are the irises.
    low, high = landmarks[:468].min(axis=0), landmarks[:468].max(axis=0)
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    return replace(face, box=(left, top, width, height), landmarks=landmarks)
