"""Videos -> the embeddings of every face, or the hidden states of their sound, one file each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading
from ..errors import HsemotionError, InputError, OutputError, exit_code_of
from ..formats import features, sidecar
from ..formats.ownership import check_outputs
from ..media.audio import RATE, AudioFile
from ..media.discovery import Job, discover, find_jobs
from ..media.photos import PhotoFolder
from ..media.video import Source, VideoFile, open_source
from ..models.wav2vec import Wav2Vec2
from ..pipeline import Annotator, Progress, Settings
from ..runtime.atomic_files import atomic_file, prepare_folder
from ..runtime.stage_timer import StageClock
from ..runtime.terminal import say
from .console import print_line, progress, say_passed_over
from .options import OutputOptions
from .unread_options import refuse_for_sources


@dataclass(frozen=True, slots=True)
class SoundModel:
    """Which network for sound to run, and where.

    Attributes:
        weights: a folder, a name, or None for the usual ones.
        device: auto, cpu or cuda.
        threads: CPU threads; None for all.
        offline: whether nothing may be downloaded.
    """

    weights: str | None
    device: str
    threads: int | None
    offline: bool


@dataclass(frozen=True, slots=True)
class Extracted:
    """How an extraction ended.

    Attributes:
        code: exit code.
        failed: sources of which nothing, or only a part, could be extracted.
    """

    code: int
    failed: tuple[Path, ...]


def faces(videos: list[Path], output: OutputOptions, settings: Settings, dtype: str) -> Extracted:
    """Write the embeddings of the faces of every video to ``NAME.features.parquet``."""
    found = discover(videos, crops=settings.crops)
    refuse_for_sources((job.path for job in found.jobs), crops=settings.crops)
    if not output.quiet:
        say_passed_over(found.passed_over, found.notes)
    _prepare(found.jobs, output)
    with Annotator(settings) as annotator:

        def extract(job: Job, path: Path, report: Progress) -> list[str]:
            source = open_source(job.path, settings.decoding)
            readings = annotator.readings(source, StageClock(), report)
            count, analysed = _write(annotator, source, readings, path, dtype)
            frames = {"analysed": analysed, **sidecar.report(source.report)}
            if problem := sidecar.problem_of(str(job.path), {"frames": frames}):
                raise OutputError(problem)  # what could be read has been written
            return [f"{path}: {count} faces", *(f"{job.path}: {note}" for note in source.notes)]

        return _each(found.jobs, output, extract)


def sound(
    videos: list[Path], output: OutputOptions, model: SoundModel, dtype: str, video_fps: float | None
) -> Extracted:
    """Write the hidden states of the sound of every video in the same way."""
    jobs = find_jobs(videos, sound=True)
    _prepare(jobs, output)
    opened = Wav2Vec2(model.weights, offline=model.offline, device=model.device, threads=model.threads)
    return _each(jobs, output, lambda job, path, report: _write_sound(opened, job.path, path, dtype, video_fps, report))


def _prepare(jobs: list[Job], output: OutputOptions) -> None:
    """Make sure that all files can be written, and that none of the user's is lost."""
    check_outputs((_place(job, output) for job in jobs), output.overwrite)
    prepare_folder(output.out)


def _place(job: Job, output: OutputOptions) -> Path:
    return output.out / f"{job.name}.features.parquet"


def _each(jobs: list[Job], output: OutputOptions, extract: Callable[[Job, Path, Progress], list[str]]) -> Extracted:
    """Extract one after the other; a failure does not stop the rest.

    Args:
        extract: returns the lines to print.
    """
    failures: dict[Path, HsemotionError] = {}
    for job in jobs:
        path = _place(job, output)
        try:
            with progress(job.path.name, output.quiet) as report:
                lines = extract(job, path, report)
        except HsemotionError as error:
            say(str(error))
            failures[job.path] = error
            continue
        for line in lines if not output.quiet else ():
            print_line(line)
    code = exit_code_of(list(failures.values()), some_succeeded=len(failures) < len(jobs))
    return Extracted(code, tuple(failures))


def _write(
    annotator: Annotator, source: Source, readings: Iterator[Reading], path: Path, dtype: str
) -> tuple[int, int]:
    """Write the embeddings of one source; returns the number of faces and of analysed frames."""
    analysed = 0

    def counted() -> Iterator[Reading]:
        nonlocal analysed
        for reading in readings:
            analysed += 1
            yield reading

    (name, model), *_ = annotator.models.items()
    facts = {
        "source": {"name": source.path.name, "sha256": sidecar.source_hash(source), "kind": source.info.kind},
        "decoding": annotator.conditions["decoding"],
        "given_crops": annotator.settings.crops,
        "weights": dict(model.provenance),
        "crop": model.card.crop,
        "classes": list(model.card.network.classes) if model.card.network else [],
        "versions": sidecar.libraries(),
    }
    with atomic_file(path) as file:
        files = source.name_of if isinstance(source, PhotoFolder) else None
        count = features.write(counted(), name, dtype, facts, file, files)
        if not count:
            raise InputError(f"{source.path}: no face was seen, so there is nothing to extract.")
    return count, analysed


def _write_sound(
    model: Wav2Vec2, source: Path, path: Path, dtype: str, video_fps: float | None, report: Progress
) -> list[str]:
    sound = AudioFile(source)
    survey = sound.survey()
    total = model.count(survey.samples)
    facts = {
        "source": {"name": source.name, "sha256": sidecar.file_hash(source), "kind": features.AUDIO},
        "weights": dict(model.provenance),
        "classes": [],
        "rate": model.provenance["rate"],
        "audio": {
            "codec": sound.codec,
            "rate": sound.rate,
            "channels": sound.channels,
            "start": sound.start,
            "seconds": survey.samples / RATE,
            "decode_failures": survey.failures,
            "ended_early": survey.ended_early,
        },
        "video": _video(source, video_fps),
        "versions": sidecar.libraries(),
    }

    def states() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        done = 0
        for found in model.states(sound, survey):
            yield found.time, found.embeddings
            done += len(found.time)
            report("sound", done, 0, total)

    with atomic_file(path) as file:
        count = features.write_audio(states(), model.kind, dtype, facts, file)
    return [f"{path}: {count} states of sound, {model.provenance['rate']:g} a second"]


def _video(source: Path, fps: float | None) -> dict[str, float | None]:
    """Frame rate of the video that the sound belongs to, and the time of its first frame; None if unknown."""
    try:
        info = VideoFile(source).info
    except InputError:  # sound only, or images that cannot be decoded
        return {"fps": fps, "start": None}
    return {"fps": fps or info.fps, "start": info.start}
