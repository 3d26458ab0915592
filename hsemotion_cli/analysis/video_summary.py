"""The summary of one annotated video: what the terminal shows and ``--json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..formats import sidecar
from ..postprocess.refine import Affect
from ..runtime.stage_timer import StageClock
from ..tasks import EXPRESSIONS
from ..timeline import Timeline
from .first_looks import Look, first_looks


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """The results of one video in short, for a person or a program to read.

    Attributes:
        problem: a sentence if the source could not be read to its end, else "".
        coverage: share of analysed frames in which a face was seen.
        expressions: share of the seen faces by their expression.
        valence, arousal: means over the seen faces.
        seconds: wall seconds by stage.
        notes: how the source was decoded, in sentences.
        looks: what to look at first.
        kind: of the source, as in the sidecar: "video", "pictures", "picture" or "photos".
    """

    source: str
    problem: str
    outputs: dict[str, str]
    frames: dict[str, Any]
    coverage: float
    faces: int
    rows: int
    expressions: dict[str, float]
    valence: float | None
    arousal: float | None
    seconds: dict[str, float]
    elapsed: float
    notes: list[str]
    looks: list[Look]
    kind: str


def summarise(
    path: Path, timeline: Timeline, affect: Affect, outputs: dict[str, str], content: dict[str, Any], clock: StageClock
) -> VideoSummary:
    """Shares and means over the rows in which a face was seen."""
    seen = ~affect.interpolated
    expression = affect.tasks["expression"][seen]
    known = np.nan_to_num(expression[~np.isnan(expression).all(axis=1)], nan=-1.0)  # -1: a class the model lacks
    counts = np.bincount(known.argmax(axis=1), minlength=len(EXPRESSIONS)) if len(known) else np.zeros(len(EXPRESSIONS))
    va = affect.tasks["valence_arousal"][seen]
    va = va[~np.isnan(va).any(axis=1)]
    return VideoSummary(
        source=str(path),
        problem=sidecar.problem_of(str(path), content),
        outputs=outputs,
        frames=content["frames"],
        coverage=round(timeline.coverage, 6),
        faces=content["faces"]["ids"],
        rows=len(affect.row),
        expressions={n: round(float(c) / max(len(known), 1), 6) for n, c in zip(EXPRESSIONS, counts, strict=True)},
        valence=round(float(va[:, 0].mean()), 6) if len(va) else None,
        arousal=round(float(va[:, 1].mean()), 6) if len(va) else None,
        seconds={k: round(v, 3) for k, v in clock.seconds().items()},
        elapsed=round(clock.elapsed, 3),
        notes=content["source"]["notes"],
        looks=first_looks(affect),
        kind=content["source"]["kind"],
    )
