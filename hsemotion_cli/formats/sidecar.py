"""NAME.json, the sidecar of each table: source, versions, models, settings, and a summary of the results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..errors import InputError, UsageError, shortened
from ..media.arrays import ArraySource
from ..media.live_source import LiveSource
from ..media.photos import images_in
from ..media.source import DecodeReport
from ..media.video import Source
from ..models.predict import FaceModel
from ..postprocess.recipe import Recipe
from ..timeline import Timeline
from .schema import SCHEMA_VERSION

_NAMED = 5  # files that a sentence names
_LIBRARIES = ("numpy", "av", "opencv-python-headless", "mediapipe", "onnxruntime", "openvino", "torch", "timm")


def describe(
    source: Source,
    timeline: Timeline,
    recipe: Recipe,
    models: Mapping[str, FaceModel],
    conditions: Mapping[str, Any],
    fleeting: int = 0,
) -> dict[str, Any]:
    """Everything about one annotated source that its table does not say itself.

    Args:
        conditions: as ``pipeline.Annotator`` has them.
        fleeting: tracks that were left out because they were too short and too unlikely to be a person.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "hsemotion", "version": __version__, "python": platform.python_version(), **libraries()},
        "source": {
            "name": source.path.name,
            "sha256": None if isinstance(source, LiveSource) else source_hash(source),  # nothing is kept of it
            **{k: _plain(v) for k, v in dataclasses.asdict(source.info).items()},
            **({} if source.info.width else {"width": None, "height": None}),  # photos of several sizes
            "notes": source.notes,
        },
        "frames": {"analysed": len(timeline.index), **report(source.report)},
        "faces": {
            "coverage": round(timeline.coverage, 6),
            "rows": len(timeline.row),
            "ids": timeline.people,
            "fleeting_tracks": fleeting,
        },
        **conditions,
        "models": [
            {
                "name": model.card.name,
                **model.provenance,
                "crop": model.card.crop,
                "tasks": list(model.card.tasks),
                "licence": model.card.licence,
                "training_data": model.card.training_data,
            }
            for model in models.values()
        ],
        "recipe": recipe.to_json(),
    }


def report(decoding: DecodeReport) -> dict[str, Any]:
    """A decode report as plain data; files that could not be read are named only where there are any."""
    more: dict[str, Any] = {}
    if decoding.failed_files:
        more["failed_files"] = [{"file": file, "reason": reason} for file, reason in decoding.failed_files]
    return {
        "decoded": decoding.decoded,
        "decode_failures": decoding.failures,
        "failed_at": [_plain(t) for t in decoding.failed_at],
        "corrupt": decoding.corrupt,
        "ended_early": decoding.ended_early,
        "guessed_times": decoding.guessed_times,
        "variable_frame_rate": decoding.variable_rate,
        "clock_jumps": decoding.clock_jumps,
        "jumped_at": decoding.jumped_at,
        "deinterlaced": decoding.deinterlaced,
        "size_changes": decoding.size_changes,
        "sizes": [dataclasses.asdict(size) for size in decoding.sizes],
        "cuts": decoding.cuts,
        **more,
    }


def problem_of(path: str, content: Mapping[str, Any]) -> str:
    """A sentence if a table does not hold the whole of its source, else "".

    Args:
        path: of the source.
        content: of the sidecar.
    """
    frames = content["frames"]
    if early := str(frames["ended_early"]):
        return f"{path}: {early}; the {frames['analysed']} frames before that are written."
    failed = [f"{one['file']} ({one['reason']})" for one in frames.get("failed_files", ())]
    if not failed:
        return ""
    named = "; ".join(failed[:_NAMED]) + (f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else "")
    total = len(failed) + int(frames["decoded"])
    return f"{path}: {len(failed)} of {total} photos could not be read and have no row: {named}."


def write(content: Mapping[str, Any], file: IO[bytes]) -> None:
    """Indented JSON, keys in the order given."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A byte of a file name that is no UTF-8 is a lone surrogate in Python; JSON writes it as \udcXX.
    file.write(text.encode("utf-8", "backslashreplace"))


def read(path: Path) -> dict[str, Any]:
    """Read a sidecar back.

    Raises:
        InputError: missing, or no sidecar.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError as error:
        raise InputError(f"{path}: not there; annotate writes it beside the table.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a sidecar written by annotate ({error}).") from error
    if not isinstance(content, dict) or "recipe" not in content:
        raise InputError(f"{path}: not a sidecar written by annotate (it has no recipe).")
    return content


def recipe(content: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe by which a table was made.

    Args:
        content: as ``read`` gives it.
        path: that it was read from.

    Raises:
        InputError: it is none.
    """
    if content["recipe"] is None:
        raise InputError(f"{path}: its table was imported from another program, so it has no recipe.")
    try:
        return Recipe.from_json(content["recipe"])
    except UsageError as error:
        raise InputError(f"{path}: {shortened(str(error))}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def libraries() -> dict[str, str]:
    """Installed versions of what the numbers depend on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def source_hash(source: Source) -> str:
    """SHA-256 of a video or image file; of a folder, that of its images' names and hashes, in order; of arrays, that of
    their sizes and pixels.

    Raises:
        InputError: it cannot be read (any more).
    """
    if isinstance(source, ArraySource):
        return source.sha256
    try:
        if not source.path.is_dir():
            return file_hash(source.path)
        whole = hashlib.sha256()
        for image in images_in(source.path):
            whole.update(os.fsencode(image.name) + f" {file_hash(image)}\n".encode())
        return whole.hexdigest()
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read to its end ({error.strerror}).") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
