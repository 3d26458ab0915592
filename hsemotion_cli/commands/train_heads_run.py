"""``hsemotion train heads``: features and annotations -> a head, and the page about it."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import __version__
from ..errors import InputError, ModelUnavailable, UsageError
from ..evaluation.ground_truth import Annotations, clip_key, read_intensities, read_mtl, read_tree
from ..formats.sidecar import libraries
from ..models import heads
from ..models.heads import CLIP_TASK, KINDS, Head
from ..runtime.atomic_files import prepare_folder
from ..tasks import TASKS
from .console import print_line, stdout

if TYPE_CHECKING:
    from ..training.features import ClipFeatures, Rows
    from ..training.head_trainer import HeadConfig

T = TypeVar("T")

_EVERY = 10.0
"""Seconds between two lines of progress."""


def run(
    features: list[Path], truth: Path, out: Path, *, kind: str, tasks: str | None, val_truth: Path | None,
    val_share: float, epochs: str | None, batch: str | None, rate: float, hidden: int, source: str, seed: int,
    terms: str, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train a head, write it and its page, and print what came of it."""
    began = time.perf_counter()
    if out.suffix != ".safetensors":
        raise UsageError(f"-o {out}: a head is a .safetensors file; call it {out.stem or 'head'}.safetensors.")
    try:
        from ..training import features as matching
        from ..training import head_card
        from ..training import head_trainer as training
    except ImportError as error:
        raise ModelUnavailable(f"training needs torch ({error}): pip install 'hsemotion-cli[torch]'.") from error
    plans = _plans(kind, tasks, epochs, batch, rate, hidden, source)
    files = matching.find_files(features)
    prepare_folder(out.parent)
    data: Mapping[str, Rows] | Mapping[str, ClipFeatures]
    if kind == "emi":
        base, data = _clips(files, truth, val_truth, val_share, seed, plans[CLIP_TASK].source)
    else:
        base, data = _rows(files, truth, val_truth, val_share, seed, plans)
    parts, facts = training.train(kind, base, data, plans, seed, _progress(quiet or as_json))
    facts = {
        "data": _described(truth, val_truth, val_share, files, data),
        "terms": terms,
        **facts,
        "seconds": round(time.perf_counter() - began, 3),
        "versions": {"hsemotion": __version__, **libraries()},
    }
    head = Head(out.stem, "", kind, base, parts, facts)
    digest = heads.write(head, out, head_card.head_card(head))
    if as_json:
        print(json.dumps({"head": str(out), "page": str(out.with_suffix(".md")), "sha256": digest, "facts": facts}))
    elif not quiet:
        _print(head)
        print_line(str(out))
        print_line(str(out.with_suffix(".md")))


def _plans(
    kind: str, tasks: str | None, epochs: str | None, batch: str | None, rate: float, hidden: int, source: str
) -> dict[str, HeadConfig]:
    """The papers' plans of the wanted tasks, with what the options change."""
    from ..training.head_trainer import HEAD_CONFIGS, mimicry_with_hidden

    if kind not in KINDS:
        raise UsageError(f"--kind {kind}: choose from {', '.join(KINDS)}.")
    if kind == "emi":
        if tasks is not None:
            raise UsageError(f"--tasks {tasks}: a head of --kind emi has one task, which needs no name.")
        if source not in ("features", "scores"):
            raise UsageError(f"--input {source}: choose features or scores.")
    elif hidden or source != "features":
        raise UsageError("--hidden and --input are for --kind emi only; the other heads are wired as in the papers.")
    wanted = [CLIP_TASK] if kind == "emi" else list(TASKS) if tasks is None else _names(tasks)
    plans = {task: HEAD_CONFIGS[kind][task] for task in wanted}
    if kind == "emi":
        plan = replace(plans[CLIP_TASK], source=source)
        plans[CLIP_TASK] = mimicry_with_hidden(plan, hidden) if hidden else plan
    if not 0 < rate < math.inf:
        raise UsageError(f"--rate {rate:g}: give a number above 0.")
    rounds, sizes = _counts("--epochs", epochs, wanted), _counts("--batch", batch, wanted)
    return {
        task: replace(plan, rate=rate, epochs=rounds.get(task, plan.epochs), batch=sizes.get(task, plan.batch))
        for task, plan in plans.items()
    }


def _names(tasks: str) -> list[str]:
    names = [name.strip() for name in tasks.split(",")]
    for name in names:
        if name not in TASKS:
            raise UsageError(f"--tasks {tasks}: {name!r} is no task; choose from {', '.join(TASKS)}.")
    return [task for task in TASKS if task in names]


def _counts(option: str, text: str | None, tasks: list[str]) -> dict[str, int]:
    """One number for all tasks ("5"), or some of them each with their own ("expression=5,action_units=1")."""
    if text is None:
        return {}
    pairs = [part.partition("=") for part in text.split(",")] if "=" in text else [(task, "=", text) for task in tasks]
    found = {}
    for task, _, number in pairs:
        if task not in tasks:
            raise UsageError(f"{option} {text}: {task!r} is no task of this head; choose from {', '.join(tasks)}.")
        if not (number.isascii() and number.isdigit() and int(number)):
            raise UsageError(f"{option} {text}: give a whole number from 1.")
        found[task] = int(number)
    return found


def _rows(
    files: Mapping[str, Path], truth: Path, val_truth: Path | None, val_share: float, seed: int,
    plans: Mapping[str, HeadConfig],
) -> tuple[heads.Base, dict[str, Rows]]:  # fmt: skip
    from ..training import features as matching

    truths = {"train": _annotations(truth, "train")}
    if val_truth is not None:
        truths["validation"] = _annotations(val_truth, "validation")
    elif val_share and (there := truths["train"].keys() & files.keys()):
        truths = _split(truths["train"], matching.held_out(there, val_share, seed))
    embeddings = any(plan.source != "scores" for plan in plans.values())
    base, data = matching.gather(files, truths, embeddings=embeddings)
    if "validation" in data:
        matching.check_apart(data["train"], data["validation"], plans)
    return base, data


def _clips(
    files: Mapping[str, Path], truth: Path, val_truth: Path | None, val_share: float, seed: int, source: str
) -> tuple[heads.Base, dict[str, ClipFeatures]]:
    from ..training import features as matching

    truths = {"train": read_intensities(truth)}
    if val_truth is not None:
        truths["validation"] = read_intensities(val_truth)
        both = truths["train"].keys() & truths["validation"].keys()
        if both:
            raise InputError(f"{truth} and {val_truth}: {min(both)} is in both; validate with other clips.")
    elif val_share and (there := {clip_key(name) for name in files} & truths["train"].keys()):
        truths = _split(truths["train"], matching.held_out(there, val_share, seed))
    return matching.gather_clips(files, truths, source)


def _annotations(path: Path, part: str) -> dict[str, Annotations]:
    """A list of the multi-task challenge, or a part of a tree."""
    return read_tree(path, part) if path.is_dir() else read_mtl(path)


def _split(truth: Mapping[str, T], kept: set[str]) -> dict[str, dict[str, T]]:
    return {
        "train": {name: found for name, found in truth.items() if name not in kept},
        "validation": {name: found for name, found in truth.items() if name in kept},
    }


def _described(
    truth: Path, val_truth: Path | None, val_share: float, files: Mapping[str, Path], data: Mapping[str, Any]
) -> dict[str, str]:
    """Where rows come from, in words."""
    kept = "none"
    if val_truth is not None:
        kept = val_truth.resolve().name
    elif "validation" in data:
        kept = f"{val_share:.0%} of the videos, held out"
    return {"features": f"{len(files)} files", "truth": truth.resolve().name, "validation": kept}


def _progress(quiet: bool) -> Callable[[str, int, int, float], None]:
    """A line after an epoch, but not more often than every ten seconds."""
    last = time.monotonic()

    def report(task: str, epoch: int, epochs: int, score: float) -> None:
        nonlocal last
        if not quiet and time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            best = "" if math.isnan(score) else f", validation score {score:.4f}"
            print(f"{task}: epoch {epoch} of {epochs}{best}", file=sys.stderr, flush=True)

    return report


def _print(head: Head) -> None:
    """A table with a row for each task."""
    from rich.table import Table

    facts = head.facts
    table = Table(header_style="bold")
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
    stdout().print(table)
