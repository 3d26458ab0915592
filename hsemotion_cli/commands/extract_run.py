"""``hsemotion extract``: videos -> the embeddings of every face, or the hidden states of their sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading
from ..errors import HsemotionError, InputError, UsageError, exit_code_of
from ..faces.tracking import parse_faces
from ..formats import features, sidecar
from ..media.audio import RATE, AudioFile
from ..media.discovery import Job, find_jobs
from ..media.source import Sampling
from ..media.video import Source, VideoFile, open_source
from ..models.predict import Running
from ..models.registry import SOUND
from ..models.wav2vec import Wav2Vec2
from ..pipeline import Annotator, Progress, Settings
from ..postprocess.recipe import Recipe, parse_models
from ..runtime.atomic_files import atomic_file, prepare_folder
from ..runtime.stage_timer import StageClock
from ..runtime.terminal import say
from .console import fetching, print_line, progress


def run(
    videos: list[Path], out: Path, *, model: str, dtype: str, faces: str, every: int, crops: bool, image_fps: float,
    min_face: int | None, batch_size: int | None, backend: str, device: str, precision: str, threads: int | None,
    offline: bool, quiet: bool, audio: bool = False, weights: str | None = None, video_fps: float | None = None,
    detector: str = "landmarks",
) -> int:  # fmt: skip
    """Write ``out / NAME.features.parquet`` for every video; returns the exit code."""
    if audio:
        _check_sound(crops, every, min_face, backend, precision, video_fps)
        features.check_dtype(dtype)
        return _listen(videos, out, dtype, weights, video_fps, device, threads, offline, quiet)
    if weights is not None or video_fps is not None:
        raise UsageError("--weights and --video-fps are for --audio; weights for --model are given as NAME=FILE.")
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
        detector=detector,
        min_face=min_face,
        batch_size=batch_size,
        running=Running(backend, device, precision, threads, offline, given, fetching(quiet)),
    )
    jobs = find_jobs(videos, crops=crops)
    prepare_folder(out)
    with Annotator(settings) as annotator:

        def extract(job: Job, path: Path, report: Progress) -> str:
            source = open_source(job.path, image_fps)
            readings = annotator.readings(source, StageClock(), report)
            return f"{_write(annotator, source, readings, path, dtype)} faces"

        return _each(jobs, out, quiet, extract)


def _each(jobs: list[Job], out: Path, quiet: bool, extract: Callable[[Job, Path, Progress], str]) -> int:
    """Extract one after the other, whatever becomes of the others; returns the exit code."""
    failures: list[HsemotionError] = []
    for job in jobs:
        path = out / f"{job.name}.features.parquet"
        try:
            with progress(job.path.name, quiet) as report:
                found = extract(job, path, report)
        except HsemotionError as error:
            say(str(error))
            failures.append(error)
            continue
        if not quiet:
            print_line(f"{path}: {found}")
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
    with atomic_file(path) as file:
        count = features.write(readings, name, dtype, facts, file)
        if not count:
            raise InputError(f"{source.path}: no face was seen, so there is nothing to extract.")
    return count


def _check_sound(
    crops: bool, every: int, min_face: int | None, backend: str, precision: str, video_fps: float | None
) -> None:
    """Raise UsageError for an option that means nothing beside --audio."""
    if crops or every != 1 or min_face is not None:
        raise UsageError("--crops, --every and --min-face are about pictures; leave them out beside --audio.")
    if backend == "onnx" or precision != "fp32":
        raise UsageError("--audio runs in torch and float32; leave out --backend and --precision.")
    if video_fps is not None and not 0 < video_fps < math.inf:
        raise UsageError(f"--video-fps {video_fps:g}: give a rate above 0.")


def _listen(
    videos: list[Path], out: Path, dtype: str, weights: str | None, video_fps: float | None, device: str,
    threads: int | None, offline: bool, quiet: bool,
) -> int:  # fmt: skip
    jobs = find_jobs(videos, sound=True)
    prepare_folder(out)
    model = Wav2Vec2(weights, offline=offline, device=device, threads=threads)
    return _each(
        jobs, out, quiet, lambda job, path, report: _write_sound(model, job.path, path, dtype, video_fps, report)
    )


def _write_sound(
    model: Wav2Vec2, source: Path, path: Path, dtype: str, video_fps: float | None, report: Progress
) -> str:
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
        count = features.write_audio(states(), SOUND.name, dtype, facts, file)
    return f"{count} states of sound, {model.provenance['rate']:g} a second"


def _video(source: Path, fps: float | None) -> dict[str, float | None]:
    """Frame rate of the video that the sound belongs to, and the time of its first frame; None where nobody knows."""
    try:
        info = VideoFile(source).info
    except InputError:  # nothing but sound, or pictures that cannot be decoded
        return {"fps": fps, "start": None}
    return {"fps": fps or info.fps, "start": info.start}
