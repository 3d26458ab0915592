"""The list of models, and the weights in the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import HsemotionError, ModelUnavailable, OutputError, UsageError
from ..models import graph_file, model_file, registry, weights
from ..models.registry import ModelCard, card
from ..runtime.atomic_files import name_failed_file, write_together
from ..runtime.terminal import say
from .console import Table, downloading, print_json, print_line, print_table


def list_models(*, as_json: bool) -> None:
    """Print every model with its tasks, crop, input size and where its weights are."""
    models = registry.known()
    for file in registry.kept():
        if file.stem not in models:
            say(f"{file} cannot be used; 'hsemotion models verify' says why.")
    rows = [_row(entry) for entry in models.values()]
    if as_json:
        print_json(rows)
        return
    table = Table()
    for column in ("model", "in the papers", "tasks", "crop", "input", "weights"):
        table.add_column(column, overflow="fold")
    for row in rows:
        size = f"{row['input']} px" if row["input"] else "-"
        texts = (row["name"], row["paper_name"], ", ".join(row["tasks"]), row["crop"] or "-", size, row["weights"])
        table.add_row(*texts)
    print_table(table)


def info(name: str, *, as_json: bool) -> None:
    """Print everything known about a model; for a trained one also the facts in its file."""
    entry: dict[str, Any] = asdict(card(name))
    if path := entry["path"]:
        entry |= {"path": str(path), "facts": model_file.read_card(path)[1]}
    if as_json:
        print_json(entry)
        return
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _flat(entry):
        table.add_row(key, value)
    print_table(table)


def add(file: Path, *, as_json: bool) -> None:
    """Copy a trained file, with the graph beside it, into the cache, where every command finds it by its name."""
    model_file.verify(file)
    entry = registry.add(file)
    if entry.name in registry.MODELS:
        raise UsageError(f"{file}: {entry.name} is part of the program; there is nothing to add.")
    target = model_file.place(entry.name)
    content = file.read_bytes()
    if target.is_file() and target.read_bytes() != content:
        raise UsageError(f"{target} is another network; first take it away: hsemotion models remove {entry.name}.")
    copies = {target: content}
    if graph := graph_file.read_graph(file):
        copies[model_file.graph_path(target)] = graph
    elif model_file.graph_path(file).is_file():
        say(f"{model_file.graph_path(file)} is not the graph of {file.name}; it is left out.")
    with name_failed_file(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with write_together() as opened:
        for path, content in copies.items():
            with opened(path) as stream:
                stream.write(content)
    registry.add(target)
    if as_json:
        print_json([str(path) for path in copies])
        return
    for path in copies:
        print_line(str(path))


def download(names: list[str], *, everything: bool, kind: str, offline: bool, as_json: bool) -> None:
    """Download and verify weights; files already in the cache are only verified."""
    if not names and not everything:
        raise UsageError("name the models to download, or give --all.")
    models = registry.known().values()
    cards = [entry for entry in models if weights.published(entry)] if everything else list(map(card, names))
    wanted = []
    for entry in cards:
        files = [file for file in weights.published(entry) if kind == "all" or file.kind == kind]
        if not files and not everything:
            raise UsageError(f"{entry.name}: {_why_not(entry, kind)}")
        wanted += files
    found = []
    for file in wanted:
        with downloading(file.name) as report:
            found.append({"name": file.name, "path": str(weights.ensure(file, offline, report))})
    if as_json:
        print_json(found)
        return
    for fetched in found:
        print_line(fetched["path"])


def verify(names: list[str], *, as_json: bool) -> int:
    """Check every cached file, or those of some models; returns the exit code, 5 if one is damaged."""
    own = [entry.path for entry in map(card, names)] if names else registry.kept()
    checks: list[tuple[Path, Callable[[], str]]] = [
        (cached.path, partial(weights.verify, cached.file, cached.path))
        for cached in weights.cached()
        if cached.size is not None and (not names or cached.model in names)
    ]
    checks += [(file, partial(_verify_trained, file)) for file in own if file]
    results, code = [], 0
    for file, check in checks:
        try:
            results.append({"file": str(file), "ok": True, "sha256": check()})
        except HsemotionError as error:
            say(str(error))
            results.append({"file": str(file), "ok": False, "sha256": None})
            code = error.exit_code
    if as_json:
        print_json(results)
    else:
        for result in results:
            line = f"{'ok    ' if result['ok'] else 'DAMAGED'} {result['file']}"
            print_line(line)
        if not results:
            print_line("no weights in the cache")
    return code


def path(name: str | None, *, as_json: bool) -> None:
    """Print where weights are: the files that are there, as ``which`` does.

    Raises:
        ModelUnavailable: none of a model's files is there; the message names the folder for them.
        UsageError: there is no such model, or it has no files in the cache.
    """
    if name is None:
        places = [weights.home()]
    elif file := card(name).path:
        beside = (model_file.graph_path(file), model_file.delta_graph_path(file)) if graph_file.read_graph(file) else ()
        places = [file, *(graph for graph in beside if graph.is_file())]
    else:
        places = [weights.place(file) for file in weights.published(card(name))]
    if not places:
        raise UsageError(f"{name}: {_why_not(card(str(name)), 'all')}")
    there = places if name is None else [place for place in places if place.is_file()]
    if not there:
        names = " or ".join(place.name for place in places)
        raise ModelUnavailable(
            f"{name} is not downloaded; 'hsemotion models download {name}' puts {names} into {places[0].parent}."
        )
    places = there
    if as_json:
        print_json([str(place) for place in places])
        return
    for place in places:
        print_line(str(place))


def remove(names: list[str], *, as_json: bool) -> None:
    """Remove the weights of models from the cache, with everything made from them."""
    gone: list[Path] = [file for name in names for file in _removed(name)]
    if as_json:
        print_json([str(file) for file in gone])
        return
    for file in gone:
        print_line(f"removed {file}")


def _removed(name: str) -> list[Path]:
    """The files of one model that were in the cache and no longer are."""
    kept = [file for file in registry.kept() if file.stem == name]
    if not kept:
        return weights.remove(card(name))
    # Not by its card, which cannot be read if the file is damaged.
    gone = [*kept, model_file.graph_path(kept[0]), *sorted(weights.derived("").glob(f"{name}.*"))]
    gone = [file for file in gone if file.is_file()]
    for file in gone:
        try:
            file.unlink()
        except OSError as error:
            raise OutputError(f"{file} cannot be removed ({error.strerror or error}).") from error
    registry.forget(name)
    return gone + (weights.remove(card(name)) if name in registry.MODELS else [])


def _verify_trained(file: Path) -> str:
    """Verify a trained file and the graph beside it; returns the file's SHA-256."""
    sha256 = model_file.verify(file)
    if file == model_file.place(file.stem):
        registry.kept_card(file)
    graph = model_file.graph_path(file)
    if graph.is_file() and graph_file.read_graph(file) is None:
        raise ModelUnavailable(f"{graph} is not the graph of {file.name}; remove it, or add the network again.")
    return sha256


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
    """Where a model's weights are: "in the package", "in the cache", "to download", "bring your own", or a file."""
    if entry.network is None or (entry.path and entry.path.parent == registry.ASSETS):
        return "in the package"
    if entry.path:
        return "in the cache" if entry.path == model_file.place(entry.name) else str(entry.path)
    files = weights.published(entry)
    if not files:
        return "bring your own"
    return "in the cache" if any(weights.place(file).is_file() for file in files) else "to download"


def _why_not(entry: ModelCard, kind: str) -> str:
    if entry.network is None:
        return "its weights are part of the program."
    if entry.path:
        return f"there is nothing to fetch: its weights are in {entry.path}."
    if not entry.network.files:
        return f"its weights are not published; bring a file of your own as --model {entry.name}=FILE."
    kinds = sorted({file.kind for file in entry.network.files})
    return f"there is no {kind} file of it, only {', '.join(kinds)}."


def _flat(entry: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as rows of name and value; empty ones are left out."""
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
