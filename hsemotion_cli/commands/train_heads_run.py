"""Features and annotations -> rows to train a head on; progress, and a table of the results."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError
from ..evaluation.ground_truth import Annotations, clip_key, read_intensities, read_mtl, read_tree
from ..models import heads
from ..models.heads import CLIP_TASK, Head
from ..runtime.atomic_files import atomic_file
from .console import Table, note, print_line, print_table

if TYPE_CHECKING:
    from ..training.features import ClipFeatures, Rows
    from ..training.head_trainer import HeadConfig, Method
    from ..training.joint_features import JointRows
    from ..training.sequences import Sequences

T = TypeVar("T")

_EVERY = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Annotations to learn from and to validate with.

    Attributes:
        path: to learn from.
        validation: to validate with; None to hold out videos of the first.
        share: of the videos that is held out, where ``validation`` is None.
        seed: of the choice of those videos.
    """

    path: Path
    validation: Path | None
    share: float
    seed: int


def gather(
    kind: str, files: Mapping[str, Path], truth: Truth, plans: Mapping[str, HeadConfig], temporal: bool = False,
    sounds: Mapping[str, Path] | None = None,
) -> tuple[heads.Base, Mapping[str, Any], list[str]]:  # fmt: skip
    """The base model of the features; part ("train", "validation") -> rows of features with annotations; and sentences
    about labels and files that were not used.

    Args:
        sounds: video -> its features of sound, for a joint head.
    """
    if kind == "emi":
        return _clips(files, truth, plans[CLIP_TASK].source)
    return _rows(files, truth, plans, temporal, sounds)


def _rows(
    files: Mapping[str, Path], truth: Truth, plans: Mapping[str, HeadConfig], temporal: bool,
    sounds: Mapping[str, Path] | None,
) -> tuple[heads.Base, Mapping[str, Any], list[str]]:  # fmt: skip
    from ..training import features as matching
    from ..training import joint_features, sequences
    from ..training.unmatched import unmatched_frames, unmatched_sound

    truths = {"train": _annotations(truth.path, "train")}
    if truth.validation is not None:
        truths["validation"] = _annotations(truth.validation, "validation")
    elif truth.share and (there := truths["train"].keys() & files.keys()):
        truths = _split(truths["train"], matching.held_out(there, truth.share, truth.seed))
    embeddings = any(plan.source != "scores" for plan in plans.values())
    data: Mapping[str, Rows] | Mapping[str, Sequences] | Mapping[str, JointRows]
    if sounds is not None:
        base, data = joint_features.gather(files, sounds, truths, embeddings=embeddings)
    elif temporal:
        base, data = sequences.gather(files, truths)
    else:
        base, data = matching.gather(files, truths, embeddings=embeddings)
    if "validation" in data:
        matching.check_apart(data["train"], data["validation"], plans)
    silent = unmatched_sound({video for rows in data.values() for video in rows.video.tolist()}, sounds)
    return base, data, [*unmatched_frames(files, truths, data, plans), *silent]


def _clips(
    files: Mapping[str, Path], truth: Truth, source: str
) -> tuple[heads.Base, dict[str, ClipFeatures], list[str]]:
    from ..training import features as matching
    from ..training.unmatched import unmatched_clips

    truths = {"train": read_intensities(truth.path)}
    if truth.validation is not None:
        truths["validation"] = read_intensities(truth.validation)
        both = truths["train"].keys() & truths["validation"].keys()
        if both:
            raise InputError(f"{truth.path} and {truth.validation}: {min(both)} is in both; validate with other clips.")
    elif truth.share and (there := {clip_key(name) for name in files} & truths["train"].keys()):
        truths = _split(truths["train"], matching.held_out(there, truth.share, truth.seed))
    base, data = matching.gather_clips(files, truths, source)
    return base, data, unmatched_clips(files, truths, data)


def _annotations(path: Path, part: str) -> dict[str, Annotations]:
    """A list of the multi-task challenge, or a part of a tree."""
    return read_tree(path, part) if path.is_dir() else read_mtl(path)


def _split(truth: Mapping[str, T], kept: set[str]) -> dict[str, dict[str, T]]:
    return {
        "train": {name: found for name, found in truth.items() if name not in kept},
        "validation": {name: found for name, found in truth.items() if name in kept},
    }


def described(
    truth: Truth, files: Mapping[str, Path], data: Mapping[str, Any], unused: Sequence[str]
) -> dict[str, str]:
    """Where rows come from, and what was not used, in words."""
    kept = "none"
    if truth.validation is not None:
        kept = truth.validation.resolve().name
    elif "validation" in data:
        kept = f"{truth.share:.0%} of the videos, held out"
    found = {"features": f"{len(files)} files", "truth": truth.path.resolve().name, "validation": kept}
    return {**found, "left out": " ".join(unused)} if unused else found


def method(temporal: str | None, joint: bool = False) -> Method:
    """How the head is trained: each frame by itself, with its sound, or in windows of a mode of ``models.temporal``."""
    from ..training import head_trainer, joint_trainer, temporal_trainer

    if joint:
        return joint_trainer.JOINT
    return head_trainer.STATIC if temporal is None else temporal_trainer.method(temporal)


def timing(data: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the steps of sequences: how many there are per second; {} for rows without an order."""
    rate = getattr(data["train"], "rate", None)
    return {} if rate is None else {"rate": rate}


def heard(data: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the sound of a joint head's rows: how many of each part have some; {} for other heads."""
    counts = {part: int(rows.heard.sum()) for part, rows in data.items() if hasattr(rows, "heard")}
    return {"heard": counts} if counts else {}


def write_graph(head: Head, path: Path) -> None:
    """Write a temporal head as an ONNX graph, completely or not at all.

    Raises:
        ModelUnavailable: torch cannot export it.
        OutputError: it cannot be written.
    """
    from ..training.temporal_trainer import export

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / path.name
        export(head, graph)
        with atomic_file(path) as file:
            file.write(graph.read_bytes())


def progress(quiet: bool) -> Callable[[str, int, int, float], None]:
    """A line after an epoch, but not more often than every ten seconds."""
    last = time.monotonic()

    def report(task: str, epoch: int, epochs: int, score: float) -> None:
        nonlocal last
        if not quiet and time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            best = "" if math.isnan(score) else f", validation score {score:.4f}"
            note(f"{task}: epoch {epoch} of {epochs}{best}")

    return report


def show(head: Head) -> None:
    """A table with a row for each task."""
    facts = head.facts
    table = Table()
    table.add_column("task")
    for name in ("rows", "validation rows", "epoch kept"):
        table.add_column(name, justify="right")
    table.add_column("on validation data")
    for task in head.parts:
        found = facts["validation"].get(task, {})
        table.add_row(
            task,
            f"{facts['rows']['train'][task]:,}",
            f"{facts['rows'].get('validation', {}).get(task, 0):,}",
            f"{facts['epochs'][task]['kept']} of {facts['epochs'][task]['of']}",
            ", ".join(
                f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items() if isinstance(value, float)
            )
            or "-",
        )
    print_table(table)
    for part, count in facts.get("heard", {}).items():
        print_line(f"{count:,} {'' if part == 'train' else 'validation '}rows have sound")
