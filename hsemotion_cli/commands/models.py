"""``hsemotion models``: what there is, and the weights in the cache."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from ..cli import say
from ..errors import HsemotionError, UsageError
from ..networks import weights
from ..registry import MODELS, ModelCard, card
from .console import print_line, stderr, stdout


def list_models(*, as_json: bool) -> None:
    """Print every model with its tasks, crop, licence, and whether its weights are here."""
    rows = [_row(entry) for entry in MODELS.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(header_style="bold")
    for column in ("model", "in the papers", "tasks", "crop", "input", "weights"):
        table.add_column(column, overflow="fold")
    for row in rows:
        size = f"{row['input']} px" if row["input"] else "-"
        table.add_row(row["name"], row["paper_name"], ", ".join(row["tasks"]), row["crop"] or "-", size, row["weights"])
    stdout().print(table)


def info(name: str, *, as_json: bool) -> None:
    """Print everything that is known of a model."""
    entry = asdict(card(name))
    if as_json:
        print(json.dumps(entry, indent=2))
        return
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _flat(entry):
        table.add_row(key, value)
    stdout().print(table)


def download(names: list[str], *, everything: bool, kind: str, offline: bool, as_json: bool) -> None:
    """Fetch weights, verified; what is here already is only verified."""
    if not names and not everything:
        raise UsageError("name the models to download, or give --all.")
    cards = [entry for entry in MODELS.values() if weights.published(entry)] if everything else list(map(card, names))
    wanted = []
    for entry in cards:
        files = [file for file in weights.published(entry) if kind == "all" or file.kind == kind]
        if not files and not everything:
            raise UsageError(f"{entry.name}: {_why_not(entry, kind)}")
        wanted += files
    found = []
    for file in wanted:
        with _progress(file.name) as report:
            found.append({"name": file.name, "path": str(weights.ensure(file, offline, report))})
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for fetched in found:
        print_line(fetched["path"])


def verify(names: list[str], *, as_json: bool) -> int:
    """Check every cached file, or those of some models; returns the exit code, 5 if one is not what it should be."""
    wanted = {entry.name for entry in map(card, names)} or set(MODELS)
    results, code = [], 0
    for cached in weights.cached():
        if cached.model not in wanted or cached.size is None:
            continue
        try:
            results.append({"file": str(cached.path), "ok": True, "sha256": weights.verify(cached.file, cached.path)})
        except HsemotionError as error:
            say(str(error))
            results.append({"file": str(cached.path), "ok": False, "sha256": None})
            code = error.exit_code
    if as_json:
        print(json.dumps(results, indent=2))
    else:
        for result in results:
            said = f"{'ok    ' if result['ok'] else 'DAMAGED'} {result['file']}"
            print_line(said)
        if not results:
            stdout().print("no weights in the cache", highlight=False)
    return code


def path(name: str | None, *, as_json: bool) -> None:
    """Print where weights are, or would be."""
    places = [weights.place(file) for file in weights.published(card(name))] if name else [weights.home()]
    if not places:
        raise UsageError(f"{name}: {_why_not(card(str(name)), 'all')}")
    if as_json:
        print(json.dumps([str(place) for place in places], indent=2))
        return
    for place in places:
        print(place)


def remove(names: list[str], *, as_json: bool) -> None:
    """Remove the weights of models from the cache, with all that was made from them."""
    gone: list[Path] = [file for name in names for file in weights.remove(card(name))]
    if as_json:
        print(json.dumps([str(file) for file in gone], indent=2))
        return
    for file in gone:
        print_line(f"removed {file}")


def _row(entry: ModelCard) -> dict[str, Any]:
    return {
        "name": entry.name,
        "paper_name": entry.paper_name,
        "tasks": list(entry.tasks),
        "crop": entry.crop,
        "input": entry.network.size if entry.network else None,
        "licence": entry.licence,
        "weights": _state(entry),
    }


def _state(entry: ModelCard) -> str:
    """Where a model's weights are: "in the package", "in the cache", "to download" or "bring your own"."""
    if entry.network is None:
        return "in the package"
    files = weights.published(entry)
    if not files:
        return "bring your own"
    return "in the cache" if any(weights.place(file).is_file() for file in files) else "to download"


def _why_not(entry: ModelCard, kind: str) -> str:
    if entry.network is None:
        return "its weights are part of the program."
    if not entry.network.files:
        return f"its weights are not published; bring a file of your own as --model {entry.name}=FILE."
    kinds = sorted({file.kind for file in entry.network.files})
    return f"there is no {kind} file of it, only {', '.join(kinds)}."


def _flat(entry: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as rows of two words; what is empty is left out."""
    rows: list[tuple[str, str]] = []
    for key, value in entry.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
            for k, item in enumerate(value):
                rows += _flat(item, f"{name}.{k}.")
        elif value not in (None, (), []):
            rows.append((name, ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)))
    return rows


class _progress:
    """A bar for one download, which appears with its first byte and goes away with its last."""

    def __init__(self, name: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=stderr(),
            transient=True,
        )
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> weights.Progress:
        self._bar.start()
        return lambda have, total: self._bar.update(self._task, completed=have, total=total)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
