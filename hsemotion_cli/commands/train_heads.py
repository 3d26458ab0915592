"""``hsemotion train heads``: features and annotations -> a head, and the page about it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..errors import ModelUnavailable, UsageError
from ..runtime.whole_numbers import whole_number
from .options import Only, OutputOptions
from .unread_options import refuse

if TYPE_CHECKING:
    from ..models.heads import Head
    from ..training.head_trainer import HeadConfig


@dataclass(frozen=True, slots=True)
class HeadDataOptions:
    """What a head learns from, and what it is validated with."""

    panel: ClassVar[str] = "Data"

    truth: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="Annotations: the list of s-Aff-Wild2, a folder of Aff-Wild2's (its training part), "
            "or the list of clips for emi.",
            show_default=False,
        ),
    ]
    val_truth: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Annotations to validate with: a second list, or a folder (its validation part).",
            show_default=False,
        ),
    ] = None
    val_share: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0, max=0.9, help="Share of videos held out for validation without --val-truth."
        ),
    ] = 0.2
    sound: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Features of the sound (extract --audio) of the same videos: a joint head takes faces and sound as "
            "one input. Repeat for more files or folders.",
            show_default=False,
        ),
    ] = None
    input: Annotated[
        str | None,
        typer.Option(
            metavar="features|scores|both",
            help="Input of every task: embeddings, the network's outputs, or both.",
            show_default="as in the papers; features for emi",
        ),
    ] = None
    terms: Annotated[str, typer.Option(metavar="TEXT", help="Terms of the data, kept in the head and its page.")] = ""


@dataclass(frozen=True, slots=True)
class HeadTrainingOptions:
    """How a head is wired and trained."""

    panel: ClassVar[str] = "Training"

    kind: Annotated[
        str,
        typer.Option(
            metavar="unitask|mtl|emi", help="Wiring: a network per task, one for all tasks, or one for whole clips."
        ),
    ] = "unitask"
    tasks: Annotated[
        str | None,
        typer.Option(
            metavar="TASK[,TASK]", help="Tasks with commas.", show_default="expression,valence_arousal,action_units"
        ),
    ] = None
    temporal: Annotated[
        str | None,
        typer.Option(
            metavar="causal|centred",
            help="Layers over time: of the past only, or of half a second to each side.",
            show_default="each frame by itself",
        ),
    ] = None
    epochs: Annotated[
        str | None,
        typer.Option(metavar="N", help="Epochs; TASK=N for single tasks.", show_default="as in the papers"),
    ] = None
    batch: Annotated[
        str | None,
        typer.Option(metavar="N", help="Rows per step; TASK=N for single tasks.", show_default="as in the papers"),
    ] = None
    rate: Annotated[float, typer.Option(metavar="RATE", help="Learning rate of Adam.")] = 1e-3
    hidden: Annotated[int, typer.Option(metavar="N", min=0, help="Units of a hidden layer, for emi.")] = 0
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed of weights, order and the held-out videos.")] = 0
    members: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=100,
            help="Number of heads to train with different seeds, for an ensemble: HEAD-1.safetensors and so on.",
        ),
    ] = 1


def run(
    features: Annotated[
        list[Path],
        typer.Argument(metavar="FEATURES", help="Files of extract, or folders of them.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Head to write, HEAD.safetensors.", show_default=False,
            rich_help_panel=OutputOptions.panel,
        ),
    ],
    data: HeadDataOptions,
    training: HeadTrainingOptions,
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json", "log")],
) -> None:  # fmt: skip
    """Train the papers' heads on embeddings from extract; annotate --head uses the result.

    hsemotion train heads features/ --truth training_set_annotations.txt --kind mtl -o head.safetensors
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"-o {out}: a head is a .safetensors file; call it {out.stem or 'head'}.safetensors.")
    if data.val_truth is not None:
        refuse(["val-share"], "--val-truth names what to validate with")
    try:
        from ..training import features as matching
        from ..training import head_trainer as trainer
    except ImportError as error:
        raise ModelUnavailable(f"training needs torch ({error}): pip install 'hsemotion-cli[torch]'.") from error
    from .. import __version__
    from ..formats.sidecar import libraries
    from ..models import heads
    from . import train_heads_run
    from .console import note

    plans = _plans(training, data.input, joint=bool(data.sound))
    files = matching.find_files(features)
    places = _places(out, training, output.overwrite)
    truth = train_heads_run.Truth(data.truth, data.val_truth, data.val_share, training.seed)
    sounds = matching.find_files(data.sound) if data.sound else None
    base, rows, unused = train_heads_run.gather(training.kind, files, truth, plans, bool(training.temporal), sounds)
    for sentence in unused:
        note(sentence, shown=not output.quiet)
    progress = train_heads_run.progress(output.quiet or output.json)
    method = train_heads_run.method(training.temporal, bool(data.sound))
    for k, place in enumerate(places):
        began = time.perf_counter()
        parts, facts = trainer.train(training.kind, base, rows, plans, training.seed + k, progress, method)
        facts = {
            "data": train_heads_run.described(truth, files, rows, unused),
            "terms": data.terms,
            **facts,
            **train_heads_run.timing(rows),
            **train_heads_run.heard(rows),
            "seconds": round(time.perf_counter() - began, 3),
            "versions": {"hsemotion": __version__, **libraries()},
        }
        _write(heads.Head(place.stem, "", training.kind, base, parts, facts), place, output)


def _places(out: Path, training: HeadTrainingOptions, overwrite: bool) -> list[Path]:
    """The file of each head to train; they may be written, and their folder is there."""
    from ..formats.ownership import check_outputs
    from ..runtime.atomic_files import prepare_folder

    places = [out] if training.members == 1 else [out.with_stem(f"{out.stem}-{k + 1}") for k in range(training.members)]
    suffixes = (".safetensors", ".md", *([".onnx"] if training.temporal else []))
    check_outputs([place.with_suffix(suffix) for place in places for suffix in suffixes], overwrite)
    prepare_folder(out.parent)
    return places


def _write(head: Head, out: Path, output: OutputOptions) -> None:
    """Write a head and its page, and print a summary."""
    from ..models import heads
    from ..reporting.markdown import signed
    from ..training import head_card
    from . import train_heads_run
    from .console import print_json, print_line

    digest = heads.write(head, out, signed(head_card.head_card(head)))
    graph = out.with_suffix(".onnx")
    if head.temporal:
        train_heads_run.write_graph(head, graph)
    if output.json:
        page = str(out.with_suffix(".md"))
        print_json({"head": str(out), "page": page, "sha256": digest, "facts": head.facts}, indent=None)
    elif not output.quiet:
        train_heads_run.show(head)
        print_line(str(out))
        print_line(str(out.with_suffix(".md")))
        if head.temporal:
            print_line(str(graph))


def _plans(training: HeadTrainingOptions, source: str | None, joint: bool = False) -> dict[str, HeadConfig]:
    """The papers' plans of the wanted tasks, with what the options change."""
    from ..models.heads import CLIP_TASK, INPUTS, KINDS
    from ..models.temporal import MODES
    from ..tasks import TASKS
    from ..training.head_trainer import HEAD_CONFIGS, mimicry_with_hidden
    from ..training.joint_trainer import joint_config
    from ..training.temporal_trainer import temporal_config

    kind, tasks = training.kind, training.tasks
    if kind not in KINDS:
        raise UsageError(f"--kind {kind}: choose from {', '.join(KINDS)}.")
    allowed = ("features", "scores") if kind == "emi" else INPUTS
    if source is not None and source not in allowed:
        raise UsageError(f"--input {source}: choose from {', '.join(allowed)}.")
    if training.temporal is not None and training.temporal not in MODES:
        raise UsageError(f"--temporal {training.temporal}: choose from {', '.join(MODES)}.")
    if joint and (kind == "emi" or training.temporal is not None):
        other = "--kind emi" if kind == "emi" else "--temporal"
        raise UsageError(f"--sound: a joint head scores single frames, so it cannot be combined with {other}.")
    if kind == "emi":
        if tasks is not None:
            raise UsageError(f"--tasks {tasks}: a head of --kind emi has one task, which needs no name.")
        if training.temporal is not None:
            raise UsageError("--temporal: a head of --kind emi takes statistics of a whole clip; leave it out.")
    elif training.hidden:
        raise UsageError("--hidden is for --kind emi only; the other heads are wired as in the papers.")
    wanted = [CLIP_TASK] if kind == "emi" else list(TASKS) if tasks is None else _names(tasks)
    plans = {task: HEAD_CONFIGS[kind][task] for task in wanted}
    if source is not None:
        plans = {task: replace(plan, source=source) for task, plan in plans.items()}
    if training.hidden:
        plans[CLIP_TASK] = mimicry_with_hidden(plans[CLIP_TASK], training.hidden)
    if training.temporal is not None:
        plans = {task: temporal_config(plan) for task, plan in plans.items()}
    if joint:
        plans = {task: joint_config(plan) for task, plan in plans.items()}
    if not 0 < training.rate < math.inf:
        raise UsageError(f"--rate {training.rate:g}: give a number above 0.")
    rounds = _counts("--epochs", training.epochs, wanted)
    sizes = _counts("--batch", training.batch, wanted)
    return {
        task: replace(plan, rate=training.rate, epochs=rounds.get(task, plan.epochs), batch=sizes.get(task, plan.batch))
        for task, plan in plans.items()
    }


def _names(tasks: str) -> list[str]:
    from ..tasks import TASKS

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
        count = whole_number(number)
        if not count:
            raise UsageError(f"{option} {text}: give a whole number from 1.")
        found[task] = count
    return found
