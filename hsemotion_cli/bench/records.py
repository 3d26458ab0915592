"""What a run is told, and what it tells."""

from __future__ import annotations

import contextlib
import re
import sys
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


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    # The system's own record begins with what the parent had when it made this process; this one does not.
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
        if found:
            return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes elsewhere
