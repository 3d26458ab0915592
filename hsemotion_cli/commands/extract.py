"""``hsemotion extract``: videos -> the embeddings of every face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..annotate import Annotator, Settings
from ..cli import say
from ..clock import StageClock
from ..domain import Reading
from ..errors import HsemotionError, InputError, UsageError, exit_code_of
from ..formats import features, sidecar
from ..inputs import find_jobs
from ..outputs import prepare_folder, whole
from ..predict import Running
from ..recipe import Recipe, parse_models
from ..source import Sampling
from ..tracks import parse_faces
from ..video import Source, open_source
from .console import fetching, print_line, progress


def run(
    videos: list[Path], out: Path, *, model: str, dtype: str, faces: str, every: int, crops: bool, image_fps: float,
    min_face: int | None, batch_size: int, backend: str, device: str, precision: str, threads: int | None,
    offline: bool, quiet: bool,
) -> int:  # fmt: skip
    """Write ``out / NAME.features.parquet`` for every video; returns the exit code."""
    names, given = parse_models(model)
    if len(names) != 1:
        raise UsageError(f"--model {model}: extract takes one model at a time.")
    features.check_dtype(dtype)
    settings = Settings(
        recipe=Recipe.of(*names),
        faces=parse_faces(faces),
        sampling=Sampling(every=every),
        crops=crops,
        image_fps=image_fps,
        min_face=min_face,
        batch_size=batch_size,
        running=Running(backend, device, precision, threads, offline, given, fetching(quiet)),
    )
    jobs = find_jobs(videos, crops=crops)
    prepare_folder(out)
    failures: list[HsemotionError] = []
    with Annotator(settings) as annotator:
        for job in jobs:
            path = out / f"{job.name}.features.parquet"
            try:
                with progress(job.path.name, quiet) as report:
                    source = open_source(job.path, image_fps)
                    readings = annotator.readings(source, StageClock(), report)
                    count = _write(annotator, source, readings, path, dtype)
            except HsemotionError as error:
                say(str(error))
                failures.append(error)
                continue
            if not quiet:
                print_line(f"{path}: {count} faces")
    return exit_code_of(failures, some_succeeded=len(failures) < len(jobs))


def _write(annotator: Annotator, source: Source, readings: Iterator[Reading], path: Path, dtype: str) -> int:
    (name, model), *_ = annotator.models.items()
    facts = {
        "source": {"name": source.path.name, "sha256": sidecar.source_hash(source), "kind": source.info.kind},
        "given_crops": annotator.settings.crops,
        "weights": dict(model.provenance),
        "crop": model.card.crop,
        "classes": list(model.card.network.classes) if model.card.network else [],
        "versions": sidecar.libraries(),
    }
    with whole(path) as file:
        count = features.write(readings, name, dtype, facts, file)
        if not count:
            raise InputError(f"{source.path}: no face was seen, so there is nothing to extract.")
    return count
