"""The steps of an experiment that are commands of their own: extracting features, and training a network."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import extract_run
from .console import Table, print_line, print_table
from .options import OutputOptions, RunningOptions

if TYPE_CHECKING:
    from ..papers.chain import Extract, Finetune, Lost
    from ..papers.experiment import Data, Experiment, Network
    from ..papers.results import RowResult
    from ..training.dataset import Dataset


def is_ours(path: Path) -> bool:
    """Whether a result was written by an earlier run of an experiment."""
    if path.suffix == ".md":
        return path.with_suffix(".json").is_file() and is_ours(path.with_suffix(".json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    return isinstance(content, dict) and {"experiment", "rows"} <= content.keys()


def write_pages(pages: list[Path], experiment: Experiment, rows: list[RowResult], lost: Lost) -> dict[str, Any]:
    """Write a run's page and its figures as JSON, which are returned."""
    from ..papers import results
    from ..runtime.atomic_files import write_together

    content: dict[str, Any] = {"experiment": experiment.name, "citation": experiment.citation}
    content["rows"] = [row.to_json() for row in rows]
    if lost:
        content["not_extracted"] = {network: list(names) for network, names in lost.items()}
    with write_together() as opened:
        with opened(pages[0]) as file:
            file.write(results.page(experiment, rows, lost).encode())
        with opened(pages[1]) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())
    return content


def extractor(data: Data, running: RunningOptions, quiet: bool) -> Extract:
    """Extraction as ``hsemotion extract`` does it."""
    from ..faces.tracking import parse_faces
    from ..media.source import Sampling
    from ..models import wav2vec
    from ..pipeline import Settings
    from ..postprocess.recipe import Recipe, parse_models
    from .settings import how_to_run

    def extract(network: Network, model: str, sources: Sequence[Path], folder: Path) -> Sequence[Path]:
        output = OutputOptions(out=folder, quiet=quiet)
        if network.kind == "audio":
            usual = model == wav2vec.NAME.rpartition("/")[2]
            sound = extract_run.SoundModel(None if usual else model, running.device, running.threads, running.offline)
            return extract_run.sound(list(sources), output, sound, network.dtype, None).failed
        else:
            names, given = parse_models(model)
            settings = Settings(
                recipe=Recipe.of(*names),
                faces=parse_faces("all"),
                sampling=Sampling(every=data.every),
                crops=data.crops,
                running=how_to_run(running, given, quiet=quiet),
            )
            return extract_run.faces(list(sources), output, settings, network.dtype).failed

    return extract


def finetuner(data: Path, running: RunningOptions, quiet: bool) -> Finetune:
    """Training as ``hsemotion train finetune`` does it; a run that has ended is found again."""

    def finetune(plan: Path, folder: Path) -> Path:
        from ..models.engines import resolve_device
        from ..runtime.atomic_files import prepare_folder
        from ..training import config, dataset_cache
        from . import train_finetune_run

        todo = config.read(plan)
        # Paths of these plans are those within the data.
        sources = tuple(
            replace(one, path=data / one.path.relative_to(os.path.abspath(plan.parent))) for one in todo.sources
        )
        start = todo.start and data / todo.start.relative_to(os.path.abspath(plan.parent))
        todo = replace(todo, sources=sources, start=start)
        trained = folder / f"{todo.name}.safetensors"
        if trained.is_file() and _plan_of(trained) == todo.digest():
            return trained
        if start is not None and not start.is_file():
            raise InputError(f"{start}: no such file; {plan.name} says where these initial weights come from.")
        prepare_folder(folder)

        def load() -> Dataset:
            return dataset_cache.load_or_build(todo, folder, lambda: train_finetune_run.gathered(todo, None, quiet))

        device = resolve_device(running.device, "torch")
        train_finetune_run.trained(todo, folder, load, device, running.threads, quiet)
        return trained

    return finetune


def _plan_of(trained: Path) -> str:
    from ..models import model_file

    return str(model_file.read_card(trained)[1].get("plan_sha256"))


def show(found: Experiment, rows: list[RowResult], pages: Sequence[Path], lost: Lost) -> None:
    """The paper's table beside ours, and what it lacks."""
    from ..papers import results

    heading, *lines = results.table(found, rows)
    table = Table()
    for k, name in enumerate(heading):
        table.add_column(name, justify="right" if k else "left")
    for cells in lines:
        table.add_row(*cells)
    print_line(f"{found.paper} ({found.citation}): the paper's figures and ours")
    print_table(table)
    for sentence in results.lost_sentences(lost):
        print_line(sentence)
    for sentence in found.chosen:
        print_line(f"Not in the paper: {sentence}")
    for path in pages:
        print_line(str(path))
