"""Benchmark job and result records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..pipeline import Settings

KINDS = ("annotate", "decode", "faces", "peer")
"""Everything; only decoding; decoding and face detection without a model; emotiefflib."""


@dataclass(frozen=True, slots=True)
class BenchmarkJob:
    """One benchmark run.

    Attributes:
        path: the clip.
        kind: of ``KINDS``.
        settings: for the annotator; "peer" uses their first model.
        in_turn: whether all stages run in one thread.
        weights: of the model for "peer".
        keep: folder in which to keep the results for a comparison, or None.
    """

    path: Path
    kind: str
    settings: Settings
    in_turn: bool = False
    weights: Path | None = None
    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The result of a benchmark run.

    Attributes:
        frames, faces: analysed frames, and rows with a face.
        wall, cpu: seconds after everything was loaded; CPU time of all threads.
        first: CPU seconds from the start of the process to the first result, including imports and loading.
        memory: largest resident memory of the process in bytes.
        busy: stage -> seconds of work.
        waits: "STAGE: what" -> seconds of waiting, over all threads.
    """

    frames: int
    faces: int
    wall: float
    cpu: float
    first: float
    memory: int
    busy: dict[str, float]
    waits: dict[str, float]
