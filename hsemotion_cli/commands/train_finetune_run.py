"""A training plan -> labelled faces; and a table of a trained network's figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Table, counting, print_line, print_table

if TYPE_CHECKING:
    from ..training.config import TrainingConfig
    from ..training.dataset import Dataset


def gathered(plan: TrainingConfig, workers: int | None, quiet: bool) -> Dataset:
    from ..training.dataset_readers import gather

    with counting("detecting faces", "images", quiet) as report:
        return gather(plan, workers, lambda name, done, total: report(done, total, name))


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
