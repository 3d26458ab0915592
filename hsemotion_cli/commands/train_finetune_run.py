"""``hsemotion train finetune`` and ``train pack``: a plan -> labelled faces -> a trained network with its card."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelUnavailable, UsageError
from ..runtime import malloc
from ..runtime.atomic_files import prepare_folder
from .console import counting, print_line, stdout

if TYPE_CHECKING:
    from ..training.config import TrainingConfig
    from ..training.dataset import Dataset


def run(
    path: Path, out: Path | None, *, samples: Path | None, device: str, threads: int | None, workers: int | None,
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train what a plan says, or go on where a run of it was stopped."""
    try:
        import torch

        from ..training import config, dataset_cache, export
        from ..training import trainer as training
        from ..training.dataset import read
    except ImportError as error:
        raise ModelUnavailable(f"training needs torch ({error}): pip install 'hsemotion-cli[train]'.") from error
    from ..models.engines import resolve_device

    quiet = quiet or as_json
    todo = config.read(path)
    folder = out or Path("runs") / todo.name
    device = resolve_device(device, "torch")
    packed = None if samples is None else read(samples)
    prepare_folder(folder)
    malloc.keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    network = training.make_network(todo)
    if packed is None:
        packed = dataset_cache.load_or_build(todo, folder, lambda: _gathered(todo, workers, quiet))
    trainer = training.Trainer(todo, network, packed, folder, device)
    if trainer.step and not quiet:
        _say(f"{folder}: going on after step {trainer.step} of {trainer.steps}.")
    with counting(todo.name, "steps", quiet) as report:
        trainer.run(lambda done, total, losses: report(done, total, f"loss {losses['loss']:.3f}"))
    facts = export.export(trainer, folder, _say)
    if as_json:
        print(json.dumps({"folder": str(folder), "facts": facts}))
    elif not quiet:
        _print(facts, folder, todo.name)


def run_pack(path: Path, out: Path, *, workers: int | None, quiet: bool) -> None:
    """Look at all pictures of a plan's sources and put them into one file."""
    from ..training import config, dataset

    todo = config.read(path)
    if out.suffix != ".npz":
        raise UsageError(f"-o {out}: packed samples are an .npz file; call it {out.stem or 'samples'}.npz.")
    prepare_folder(out.parent)
    found = _gathered(todo, workers, quiet)
    dataset.write(out, found)
    if not quiet:
        print_line(f"{out}: {len(found):,} pictures, {out.stat().st_size / 1e6:.1f} MB")


def _gathered(plan: TrainingConfig, workers: int | None, quiet: bool) -> Dataset:
    from ..training.dataset_readers import gather

    with counting("looking for faces", "pictures", quiet) as report:
        return gather(plan, workers, lambda name, done, total: report(done, total, name))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _print(facts: dict[str, Any], folder: Path, name: str) -> None:
    from rich.table import Table

    table = Table(header_style="bold")
    for column in ("measured on", "pictures", "accuracy", "macro F1", "valence", "arousal", "AU F1"):
        table.add_column(column, justify="left" if column == "measured on" else "right")
    for where, found in facts["figures"].items():
        expression, affect, units = (found[task] for task in ("expression", "valence_arousal", "action_units"))
        cells = [expression.get("accuracy"), expression.get("f1"), affect.get("valence"), affect.get("arousal")]
        shown = ["-" if value is None else f"{value:.3f}" for value in [*cells, units.get("mean")]]
        table.add_row(where, f"{max(found['rows'].values(), default=0):,}", *shown)
    stdout().print(table)
    spent = time.strftime("%H:%M:%S", time.gmtime(facts["seconds"]))
    print_line(f"{facts['steps']:,} steps in {spent}; {folder / name}.safetensors")
