"""``hsemotion batch``: many inputs -> tasks -> workers -> results, a manifest, and a list of what failed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..errors import InputError, UsageError
from ..runtime import malloc, resources
from ..runtime.terminal import say
from .annotate import FORMAT_HELP
from .options import (
    FaceOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    Reworded,
    RunningOptions,
    SmoothingOptions,
)
from .unread_options import refuse, refuse_for_sources

if TYPE_CHECKING:
    from ..batch.engine import Engine
    from ..batch.exporting import ExportPlan
    from ..batch.job import JobConfig
    from ..pipeline import Settings


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """Which inputs to annotate, and how to treat finished and failed ones."""

    panel: ClassVar[str] = "Collection"

    lists: Annotated[
        list[Path],
        typer.Option(
            "--list", metavar="FILE", help="List of inputs, one per line; repeat for more.", show_default=False
        ),
    ] = field(default_factory=list)
    recursive: Annotated[bool, typer.Option("--recursive/--no-recursive", help="Also search subfolders.")] = True
    extensions: Annotated[
        str | None,
        typer.Option(
            metavar="EXT[,EXT]", help="File types to pick up in folders and patterns.", show_default="all supported"
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be annotated, and why the rest would not.")
    ] = False
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False
    retries: Annotated[
        int, typer.Option(metavar="N", min=0, help="Further attempts after a crash, a timeout or a full disk.")
    ] = 1
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Time limit for one attempt at one video.", show_default="no limit"),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Annotate only this share of the inputs: 1/8 to 8/8.", show_default="all"),
    ] = None


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The processes that annotate, on this machine or on a cluster."""

    panel: ClassVar[str] = "Workers"

    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Worker processes.", show_default="from cores and free memory"),
    ] = None
    memory: Annotated[float, typer.Option(metavar="GB", help="Memory of one worker, used to choose their number.")] = (
        resources.USUAL_MEMORY
    )
    engine: Annotated[str, typer.Option(metavar="local|ray", help="Run on this machine, or on a Ray cluster.")] = (
        "local"
    )
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ray cluster to use; local starts one here.", show_default="auto"),
    ] = None
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker",
            metavar="GPUS",
            help="GPUs of each Ray worker, as 0.25.",
            show_default="1 with --device cuda",
        ),
    ] = None


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, quoted patterns, @LIST for a file with one path per line, - for such a list on stdin.",
        show_default=False,
    ),
]
Again = Reworded(
    overwrite={"help": "Annotate again what is done already, also over files that hsemotion did not write."},
    formats={"help": FORMAT_HELP},
)
Threads = Reworded(threads={"help": "CPU threads of each worker.", "show_default": "cores / workers, 1 with Ray"})


def run(
    input: InputOptions,
    faces: FaceOptions,
    models: ModelOptions,
    smoothing: SmoothingOptions,
    output: Annotated[OutputOptions, Again],
    running: Annotated[RunningOptions, Threads],
    collection: CollectionOptions,
    worker: WorkerOptions,
    inputs: Inputs = None,
) -> int:
    """Annotate a whole collection in parallel; finished videos are skipped and failures do not stop the rest.

    hsemotion batch study/ -o results --smooth gaussian:0.2

    hsemotion batch 'study/*/cam1.mp4' @more.txt -o results --workers 8 --timeout 3600

    hsemotion batch study/ -o results --shard 3/8

    hsemotion batch study/ -o results --format csv,elan

    hsemotion batch study/ -o results --engine ray --address head:6379
    """
    malloc.settle()
    from ..batch.discovery import Search, find, parse_suffixes
    from ..batch.shards import Shard
    from . import batch_run
    from .batch_export import BatchExports
    from .export_run import split_targets
    from .settings import chosen_settings

    _check(inputs, collection, worker)
    output, targets = split_targets(output)
    cut = Shard.parse(collection.shard) if collection.shard else Shard()
    settings = chosen_settings(input, faces, models, smoothing, output, running)
    search = Search(output.out, collection.recursive, parse_suffixes(collection.extensions), settings.crops)
    finding = find(inputs or [], collection.lists, search)
    if not finding.tasks and not finding.faults:
        raise InputError("nothing to annotate was found: the lists are empty.")
    refuse_for_sources((Path(task.path) for task in finding.tasks), crops=input.crops)
    tasks = [task for task in finding.tasks if cut.has(task.place)]
    exports = BatchExports(output.out, targets, settings.formats[0], output.overwrite)
    exports.check(finding.tasks, cut, settings.formats)
    engine, job = _engine(settings, running.threads, output, collection, worker, len(tasks), exports.plan)
    options = batch_run.BatchOptions(
        output.overwrite, collection.fail_fast, output.min_coverage, output.quiet, output.json, output.report
    )  # fmt: skip
    whole = batch_run.Inputs(finding, tasks, cut)
    return batch_run.run(engine, job, whole, options, exports, dry_run=collection.dry_run)


def _check(inputs: list[str] | None, collection: CollectionOptions, worker: WorkerOptions) -> None:
    """Raise UsageError for options that make no sense together."""
    if not inputs and not collection.lists:
        raise UsageError("nothing was named: give files, folders, patterns or lists.")
    if (collection.timeout is not None and not collection.timeout > 0) or not worker.memory > 0:
        raise UsageError("--timeout and --memory take numbers above 0.")
    if worker.engine not in ("local", "ray"):
        raise UsageError(f"--engine {worker.engine}: choose local or ray.")
    if worker.engine == "local" and (worker.address is not None or worker.gpus is not None):
        raise UsageError("--address and --gpus-per-worker are for --engine ray.")
    if worker.engine == "local" and worker.workers is not None:
        refuse(["memory"], "it is for choosing the number of workers, which --workers sets")
    if worker.gpus is not None and not 0 <= worker.gpus < float("inf"):
        raise UsageError("--gpus-per-worker takes a number from 0, such as 0.25 for four workers to a GPU.")


def _engine(
    settings: Settings, threads: int | None, output: OutputOptions, collection: CollectionOptions,
    worker: WorkerOptions, tasks: int, exports: ExportPlan,
) -> tuple[Engine, JobConfig]:  # fmt: skip
    """The engine that runs the workers, and the job that each of them does."""
    from ..batch.job import OPENER, JobConfig
    from ..batch.local_engine import LocalEngine
    from ..batch.worker import WorkerConfig
    from .batch_run import without_progress
    from .console import fetching

    limits: dict[str, Any] = {
        "timeout": collection.timeout,
        "retries": collection.retries,
        "fetching": fetching(output.quiet),
    }
    if worker.engine == "ray":
        cores = threads or 1
        job = JobConfig(without_progress(settings, cores), Path(os.path.abspath(output.out)), exports)
        return _ray(WorkerConfig(OPENER, job, cores), job, worker, limits), job
    count = min(worker.workers or resources.usual_workers(worker.memory), max(tasks, 1))
    cores = threads or max(resources.cores() // count, 1)
    job = JobConfig(without_progress(settings, cores), output.out, exports)
    return LocalEngine(WorkerConfig(OPENER, job, cores), output.out, workers=count, **limits), job


def _ray(setup: Any, job: JobConfig, worker: WorkerOptions, limits: dict[str, Any]) -> Engine:
    try:
        from ..batch.ray_engine import RayEngine
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--engine ray: {error}; pip install 'hsemotion-cli[ray]', on every machine of the cluster."
        ) from error
    device = job.settings.running.device
    return RayEngine(
        setup, job.out, address=worker.address or os.environ.get("RAY_ADDRESS") or "auto", workers=worker.workers,
        gpus=worker.gpus if worker.gpus is not None else float(device.startswith("cuda")), memory=worker.memory,
        tell=say, **limits,
    )  # fmt: skip
