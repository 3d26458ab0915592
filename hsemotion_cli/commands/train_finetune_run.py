"""A training plan -> labelled faces -> a trained network; and a table of its figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Table, counting, note, print_line, print_table

if TYPE_CHECKING:
    from ..training.config import TrainingConfig
    from ..training.dataset import Dataset


def gathered(plan: TrainingConfig, workers: int | None, quiet: bool) -> Dataset:
    from ..training.dataset_readers import gather

    with counting("detecting faces", "images", quiet) as report:
        return gather(plan, workers, lambda name, done, total: report(done, total, name))


def trained(
    plan: TrainingConfig, folder: Path, load: Callable[[], Dataset], device: str, threads: int | None, quiet: bool
) -> dict[str, Any]:
    """Train a network in a folder, where a stopped run continues, and write its results.

    Args:
        load: reads or makes the samples; called when the network is made.
        device: as ``resolve_device`` returns it.

    Returns:
        the facts that are stored with the weights.

    Raises:
        UsageError: another run is training in the folder.
    """
    import torch

    from ..training import checkpoint, export
    from ..training import trainer as training

    if threads:
        torch.set_num_threads(threads)
    with checkpoint.only_run(folder):
        network = training.make_network(plan)
        trainer = training.Trainer(plan, network, load(), folder, device)
        if trainer.step and not quiet:
            note(f"{folder}: continuing after step {trainer.step} of {trainer.steps}.")
        with counting(plan.name, "steps", quiet) as report:
            trainer.run(lambda done, total, losses: report(done, total, f"loss {losses['loss']:.3f}"))
        return export.export(trainer, folder, note)


def show(facts: dict[str, Any], folder: Path, name: str) -> None:
    table = Table()
    for column in ("measured on", "images", "accuracy", "macro F1", "valence", "arousal", "AU F1"):
        table.add_column(column, justify="left" if column == "measured on" else "right")
    for where, found in facts["figures"].items():
        expression, affect, units = (found[task] for task in ("expression", "valence_arousal", "action_units"))
        cells = [expression.get("accuracy"), expression.get("f1"), affect.get("valence"), affect.get("arousal")]
        shown = ["-" if value is None else f"{value:.3f}" for value in [*cells, units.get("mean")]]
        table.add_row(where, f"{max(found['rows'].values(), default=0):,}", *shown)
    print_table(table)
    spent = time.strftime("%H:%M:%S", time.gmtime(facts["seconds"]))
    print_line(f"{facts['steps']:,} steps in {spent}; {folder / name}.safetensors")
