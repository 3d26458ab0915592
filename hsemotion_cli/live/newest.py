"""Readings as they come -> the rows of the newest frame, from the frames so far only.

The same steps as for a whole video (``postprocess.refine``) are applied to the last seconds. As all filters of a live
recipe look back only, blended and smoothed scores are those of the table that is made of the whole recording.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading, Scores
from ..errors import UsageError
from ..postprocess.recipe import Recipe
from ..postprocess.refine import Affect, refine
from ..postprocess.smoothing import reach_of
from ..timeline import gather

DEFAULT = "causal:0.2"
"""Filter of a live recipe that neither a recipe nor an option chooses: half a Gaussian of 0.2 s."""

_LEAST = 2.0
"""Seconds that are kept in any case: blinks and speaking are judged by what came before."""


def check_causal(recipe: Recipe) -> None:
    """Raise UsageError for a recipe that would need later frames."""
    for task, smoothing in recipe.smoothing.items():
        if not smoothing.causal:
            raise UsageError(
                f"{task} is smoothed by {smoothing}, which needs frames that have not arrived yet; give --smooth "
                f"{DEFAULT} (or another width), or none."
            )
        if smoothing.kernel != "none" and (smoothing.unit, smoothing.reach_unit) != ("seconds", "seconds"):
            raise UsageError(
                f"{task} is smoothed by {smoothing}: frames of a live source do not come evenly; give seconds, as in "
                f"--smooth {DEFAULT}."
            )
    if recipe.interpolate:
        raise UsageError(
            f"the recipe fills gaps of up to {recipe.interpolate:g} s, which needs frames that have not arrived yet; "
            "set --interpolate 0 (annotate and smooth can do it afterwards)."
        )


class NewestRows:
    """Keeps the last readings, and makes rows of the newest.

    Args:
        recipe: causal, see ``check_causal``.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._kept: deque[Reading] = deque()
        self._seconds = max([_LEAST, *(reach_of(one) for one in recipe.smoothing.values() if one.kernel != "none")])

    def add(self, reading: Reading, **extra: object) -> Affect:
        """The rows of a reading, which follows those before.

        Args:
            extra: optional columns of the table: name -> value.
        """
        if self._kept and self._kept[-1].segment != reading.segment:
            self._kept.clear()
        self._kept.append(_light(reading))
        while reading.time - self._kept[0].time > self._seconds:
            self._kept.popleft()
        return newest(refine(gather(self._kept), self._recipe), {k: np.array([v]) for k, v in extra.items()})


def newest(affect: Affect, extra: dict[str, NDArray]) -> Affect:
    """The last frame of some, alone."""
    own = np.flatnonzero(affect.row == len(affect.index) - 1)
    return replace(
        affect,
        index=affect.index[-1:],
        time=affect.time[-1:],
        row=np.zeros(len(own), np.int64),
        face_id=affect.face_id[own],
        interpolated=affect.interpolated[own],
        det_score=affect.det_score[own],
        box=affect.box[own],
        tasks={task: values[own] for task, values in affect.tasks.items()},
        measures={name: values[own] for name, values in affect.measures.items()},
        extra=extra,
    )


def _light(reading: Reading) -> Reading:
    """Without images, landmarks and embeddings, which weigh a hundred times as much as the rest."""
    faces = tuple(replace(face, crops={}, landmarks=None, blendshapes=None, points=None) for face in reading.faces)
    scores = {model: Scores(all_scores.tasks) for model, all_scores in reading.scores.items()}
    return replace(reading, faces=faces, scores=scores)
