"""Resuming: whether a video is done already. Its sidecar proves it; otherwise it is annotated again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import HsemotionError
from ..formats import sidecar
from ..formats.output_names import output_names
from ..media.photos import images_in
from . import jsonl
from .messages import Task
from .output_paths import check_inside

_LARGEST_SIDECAR = 1 << 24  # bytes
_ALWAYS = ("version", "numpy", "av", "opencv-python-headless", "mediapipe", "onnxruntime")
_BY_BACKEND = {"openvino": ("openvino",), "torch": ("torch", "timm")}
_RATE_IN_CLOCK = re.compile(r"(file|page) numbers / \S+")  # where --image-fps decides about times
_UNIMPORTANT = ("licence", "training_data")


@dataclass(frozen=True, slots=True)
class SourceStamp:
    """A cheap sign that a source is unchanged.

    Attributes:
        size: bytes; for a folder of images, of all of them together.
        mtime_ns: last change in nanoseconds; for a folder, of the latest image or of the folder itself.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> SourceStamp:
        """Raises OSError if there is nothing, InputError if a folder has no images."""
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            return cls(status.st_size, status.st_mtime_ns)
        images = [image.stat() for image in images_in(Path(path))]
        latest = max(status.st_mtime_ns, *(p.st_mtime_ns for p in images))
        return cls(sum(p.st_size for p in images), latest)


@dataclass(frozen=True, slots=True)
class ExpectedResults:
    """The results that a batch makes.

    Attributes:
        settings: everything that changes them, as ``settings_of`` reads it from a sidecar.
        clock: of numbered images, as a sidecar names it.
        formats: of the table.
        overlay: whether an overlay is made.
    """

    settings: Mapping[str, Any]
    clock: str
    formats: tuple[str, ...]
    overlay: bool

    @property
    def hash(self) -> str:
        """SHA-256 of all of it, in hexadecimal: equal settings give equal results."""
        content = [self.settings, self.clock, self.overlay, sorted(self.formats)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def files(self, name: str) -> dict[str, str]:
        """Kind -> file name of each result."""
        return output_names(name, self.formats, self.overlay)


@dataclass(frozen=True, slots=True)
class ResumeDecision:
    """Whether a video is done.

    Attributes:
        done: its results exist, are complete, and were made as they would be made now.
        reason: why, or why not, in a few words.
        facts: about a video that is done, as in ``Outcome``.
    """

    done: bool
    reason: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def settings_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Everything in a sidecar that changes results and is not a property of the source.

    It includes the versions of the tool and of the libraries in use, but not the names of licences.
    """
    models = [{k: v for k, v in model.items() if k not in _UNIMPORTANT} for model in content["models"]]
    backends = {model.get("backend", "") for model in models}
    names = [*_ALWAYS, *(name for backend in sorted(backends) for name in _BY_BACKEND.get(backend, ()))]
    return {
        "schema": content["schema_version"],
        "tool": {name: content["tool"].get(name) for name in names},
        "recipe": content["recipe"],
        "models": models,
        "detector": content["detector"],
        "sampling": content["sampling"],
        "decoding": content.get("decoding"),
    }


def judge(
    task: Task, out: Path, wanted: ExpectedResults, stamp: SourceStamp, noted: Mapping[str, Any] | None
) -> ResumeDecision:
    """Whether the results of a task exist already.

    Args:
        stamp: of its source, now.
        noted: the last line about its place in a manifest.
    """
    folder = task.folder(out)
    try:
        check_inside(out, folder, wanted.files(task.name).values())
        if (folder / f"{task.name}.json").stat().st_size > _LARGEST_SIDECAR:
            return ResumeDecision(False, "its sidecar cannot be used")
        content = sidecar.read(folder / f"{task.name}.json")
        made, source, frames = settings_of(content), content["source"], content["frames"]
        if made != wanted.settings:
            return ResumeDecision(False, f"made with {_difference(made, wanted.settings)}")
        if (
            _RATE_IN_CLOCK.fullmatch(source["clock"])
            and source["clock"].partition(" ")[2] != wanted.clock.partition(" ")[2]
        ):
            return ResumeDecision(False, "made with another --image-fps")
        if missing := _incomplete(folder, wanted.files(task.name), content["outputs"]):
            return ResumeDecision(False, missing)
        if not _same_source(task, stamp, source["sha256"], noted):
            return ResumeDecision(False, "its source has changed")
        facts = {
            "frames": int(frames["analysed"]),
            "coverage": float(content["faces"]["coverage"]),
            "faces": int(content["faces"]["ids"]),
            "problem": sidecar.problem_of(task.path, content),
            "unreadable": len(frames.get("failed_files", ())),
            "decoding": " ".join(map(str, source.get("notes", ()))),
            "size": stamp.size,
            "mtime_ns": stamp.mtime_ns,
            "sha256": str(source["sha256"]),
            "settings": wanted.hash,
        }
    except FileNotFoundError:
        return ResumeDecision(False, "new")
    except (HsemotionError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return ResumeDecision(False, "its sidecar cannot be used")
    return ResumeDecision(True, "done already", facts)


def notes(out: Path) -> dict[str, dict[str, Any]]:
    """Place -> the last line about it in the manifests of a folder, whatever shard wrote it."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(out.glob("manifest*.jsonl")):
        found.update((str(record.get("output")), record) for record in jsonl.read(path))
    return found


def _difference(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What differs, in a few words."""
    names = {"recipe": "another recipe", "models": "other models", "detector": "other options of the detector"}
    names |= {
        "sampling": "another choice of frames",
        "decoding": "other options of decoding",
        "tool": "other versions of hsemotion or libraries",
    }
    return next((words for key, words in names.items() if made.get(key) != wanted.get(key)), "another version")


def _incomplete(folder: Path, files: Mapping[str, str], listed: Mapping[str, str]) -> str:
    """What is missing or was not written together with the sidecar, or "".

    The sidecar is written last. A newer file was replaced later, perhaps by a run that was killed before it could
    replace the sidecar as well.
    """
    when = (folder / files["sidecar"]).stat().st_mtime_ns
    for kind, name in files.items():
        path = folder / name
        if listed.get(kind) != name or not path.is_file() or not path.stat().st_size:
            return f"{name} is missing"
        if path.stat().st_mtime_ns > when:
            return f"{name} is newer than its sidecar"
    return ""


def _same_source(task: Task, stamp: SourceStamp, sha256: str, noted: Mapping[str, Any] | None) -> bool:
    source = (noted or {}).get("source")
    if isinstance(source, dict) and (noted or {}).get("path") == task.path:
        known = source.get("size"), source.get("mtime_ns"), source.get("sha256")
        if known == (stamp.size, stamp.mtime_ns, sha256):
            return True
    return sidecar.source_hash(_Named(Path(task.path))) == sha256  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Named:
    """The part of a source that its checksum needs; nothing is decoded."""

    path: Path
