"""What a run is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..pipeline import Settings

KINDS = ("annotate", "decode", "faces", "peer")
"""Everything; decoding alone; decoding and faces without any model; emotiefflib."""


@dataclass(frozen=True, slots=True)
class BenchmarkJob:
    """What to run.

    Attributes:
        path: the clip.
        kind: of ``KINDS``.
        settings: of annotating; the peer takes its model from them.
        in_turn: all stages in one thread.
        weights: of the peer's model.
        keep: folder for the raw scores, to compare them later; None keeps nothing.
    """

    path: Path
    kind: str
    settings: Settings
    in_turn: bool = False
    weights: Path | None = None
    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What came of a run.

    Attributes:
        frames, faces: analysed frames, and rows with a face.
        wall, cpu: seconds from the moment when everything was loaded; CPU of all threads.
        first: CPU seconds from the start of the process to the first result, all imports and loading in it.
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
