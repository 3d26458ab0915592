"""``hsemotion train finetune``: a plan -> labelled faces -> a trained network with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ModelUnavailable
from .options import Only, OutputOptions, RunningOptions
from .unread_options import refuse

Plan = Annotated[Path, typer.Argument(metavar="PLAN", help="Training plan, PLAN.toml.", show_default=False)]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processes for face detection.", show_default="all")
]


def run(
    plan: Plan,
    running: Annotated[RunningOptions, Only("device", "threads")],
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json", "log")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the run.", show_default="runs/NAME"),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File from train pack, used instead of the plan's sources.", show_default=False
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Train a network end to end as a plan describes; a stopped run continues where it was.

    hsemotion train finetune plans/mobilefacenet.toml
    """
    if samples is not None:
        refuse(["workers"], "--samples are packed already, so no image is read")
    try:
        from ..training import checkpoint, config, dataset_cache, export
        from ..training.dataset import Dataset, read
    except ImportError as error:
        raise ModelUnavailable(f"training needs torch ({error}): pip install 'hsemotion-cli[train]'.") from error
    from ..formats.ownership import check_outputs
    from ..models.engines import resolve_device
    from ..runtime import malloc
    from ..runtime.atomic_files import prepare_folder
    from . import train_finetune_run
    from .console import print_json

    quiet = output.quiet or output.json
    todo = config.read(plan)
    folder = out or Path("runs") / todo.name
    device = resolve_device(running.device, "torch")
    packed = None if samples is None else read(samples)
    check_outputs(export.outputs(todo, folder), output.overwrite, checkpoint.is_ours)
    prepare_folder(folder)
    malloc.keep_freed_memory()

    def load() -> Dataset:
        if packed is not None:
            return packed
        return dataset_cache.load_or_build(todo, folder, lambda: train_finetune_run.gathered(todo, workers, quiet))

    facts = train_finetune_run.trained(todo, folder, load, device, running.threads, quiet)
    if output.json:
        print_json({"folder": str(folder), "facts": facts}, indent=None)
    elif not output.quiet:
        train_finetune_run.show(facts, folder, todo.name)
