"""One benchmark run of one variant in its own process: its results, time and memory."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..faces.tracking import pairs
from ..formats import raw_scores
from ..media.video import open_source
from ..pipeline import Annotator, Settings
from ..runtime import malloc
from ..runtime.executor import SerialExecutor, ThreadedExecutor
from ..runtime.processes import peak_memory
from ..runtime.stage_timer import StageClock
from ..timeline import Timeline
from . import emotiefflib
from .records import BenchmarkJob, BenchmarkResult


def run(job: BenchmarkJob) -> BenchmarkResult:
    """Run a benchmark job in this process, which should be a new one."""
    malloc.settle()  # as the commands do
    if job.kind == "peer":
        assert job.weights is not None
        return emotiefflib.run(job.path, job.settings.recipe.models[0], job.weights)
    if job.kind == "decode":
        cpu, start = time.process_time(), time.perf_counter()
        frames = sum(1 for _ in open_source(job.path).frames(job.settings.sampling))
        wall = time.perf_counter() - start
        return BenchmarkResult(frames, 0, wall, time.process_time() - cpu, 0.0, peak_memory(), {"decode": wall}, {})
    with Annotator(job.settings, SerialExecutor if job.in_turn else ThreadedExecutor) as annotator:
        if job.kind == "faces":
            return _only_faces(annotator, job)
        return _annotated(annotator, job)


def _annotated(annotator: Annotator, job: BenchmarkJob) -> BenchmarkResult:
    first = 0.0

    def progress(stage: str, done: int, faces: int, total: int | None) -> None:
        nonlocal first
        first = first or time.process_time()

    with tempfile.TemporaryDirectory(prefix="hsemotion-bench-") as folder:
        out = job.keep or Path(folder)
        cpu = time.process_time()
        summary = annotator.annotate(job.path, out, "run", progress)
        cpu = time.process_time() - cpu
        timing = json.loads(Path(summary.outputs["sidecar"]).read_text(encoding="utf-8"))["timing"]
        faces = len(raw_scores.read(Path(summary.outputs["raw"])).row)
    return BenchmarkResult(
        summary.frames["analysed"],
        faces,
        summary.elapsed,
        cpu,
        first,
        peak_memory(),
        summary.seconds,
        timing["waits"],
    )


def _only_faces(annotator: Annotator, job: BenchmarkJob) -> BenchmarkResult:
    annotator.models = {}
    clock, cpu = StageClock(), time.process_time()
    frames = faces = 0
    for reading in annotator.readings(open_source(job.path), clock, lambda *_: None):
        frames += 1
        faces += len(reading.faces)
    cpu = time.process_time() - cpu
    return BenchmarkResult(frames, faces, clock.elapsed, cpu, 0.0, peak_memory(), clock.seconds(), clock.waits())


@dataclass(frozen=True, slots=True)
class ScoreAgreement:
    """Agreement of one run's scores with a reference run's, over the faces that both detected.

    Attributes:
        faces: share of the reference's faces that were detected.
        expression: share of these with the same most likely expression, nan if there are none.
        valence_arousal: mean absolute difference, nan if there are none.
    """

    faces: float
    expression: float
    valence_arousal: float


def compare(folder: Path, reference: Path) -> ScoreAgreement:
    """Compare the raw scores that two runs saved, for the first model that both used."""
    one, other = (raw_scores.read(place / "run.raw.npz") for place in (folder, reference))
    model = next(name for name in other.scores if name in one.scores)
    rows = np.array(_same_faces(one, other), np.int64).reshape(-1, 2)
    found = len(rows) / len(other.row) if len(other.row) else 1.0
    ours, theirs = (run.scores[model] for run in (one, other))
    return ScoreAgreement(found, _same(ours, theirs, rows), _apart(ours, theirs, rows))


def _same_faces(one: Timeline, other: Timeline) -> list[tuple[int, int]]:
    """(row of one, row of the other) of the same face in the same frame."""
    places = {int(index): k for k, index in enumerate(one.index)}
    found = []
    for k, index in enumerate(other.index):
        if int(index) not in places:
            continue
        ours, theirs = np.flatnonzero(one.row == places[int(index)]), np.flatnonzero(other.row == k)
        boxes = [[tuple(map(float, run.box[row])) for row in rows] for run, rows in ((one, ours), (other, theirs))]
        found += [(int(ours[i]), int(theirs[j])) for i, j in pairs(boxes[0], boxes[1])]  # type: ignore[arg-type]
    return found


def _same(ours: Any, theirs: Any, rows: NDArray[np.int64]) -> float:
    if "expression" not in ours or not len(rows):
        return float("nan")
    labels = [np.nan_to_num(s["expression"][rows[:, k]], nan=-1).argmax(axis=1) for k, s in enumerate((ours, theirs))]
    return float((labels[0] == labels[1]).mean())


def _apart(ours: Any, theirs: Any, rows: NDArray[np.int64]) -> float:
    if "valence_arousal" not in ours or not len(rows):
        return float("nan")
    return float(np.abs(ours["valence_arousal"][rows[:, 0]] - theirs["valence_arousal"][rows[:, 1]]).mean())


def variants(settings: Settings, path: Path) -> dict[str, BenchmarkJob]:
    """Name -> benchmark job of each variant; the settings as they are come first, as "as chosen"."""
    whole = BenchmarkJob(path, "annotate", replace(settings, formats=("csv",), overlay=False))
    found = {"as chosen": whole, "stages in turn": replace(whole, in_turn=True)}
    names = [name for name in settings.recipe.models if name != "mp-blendshapes"]
    if settings.detector != "fast" and names:
        fast = replace(whole.settings, detector="fast", recipe=settings.recipe.of(*names))
        found["fast detector"] = replace(whole, settings=fast)
    if settings.detector == "landmarks":
        found["mediapipe tasks"] = replace(whole, settings=replace(whole.settings, detector="mediapipe"))
    found["search every 5th"] = replace(whole, settings=replace(whole.settings, detect_every=5))
    if names:
        found["look at every 3rd"] = replace(whole, settings=replace(whole.settings, stride=3))
    found["with overlay"] = replace(whole, settings=replace(whole.settings, overlay=True))
    found["no models"] = replace(whole, kind="faces")
    found["decode only"] = replace(whole, kind="decode")
    return found
