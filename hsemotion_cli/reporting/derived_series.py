"""What pages draw beside a table's valence and arousal: before smoothing, smoothed, and where models disagree."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..postprocess.recipe import Recipe, Smoothing
from ..postprocess.refine import blend
from ..postprocess.smoothing import smooth
from ..tasks import VALENCE_AROUSAL
from ..timeline import Timeline
from .report_table import ReportTable

_TASK = "valence_arousal"
_FOR_THE_EYE = Smoothing("gaussian", 0.25)
"""Of tables that are not smoothed: a quarter of a second keeps every expression that a person can follow."""


@dataclass(frozen=True, slots=True)
class Derived:
    """Further series of a recording.

    Attributes:
        series: name -> (N,) values beside the rows of the recording. ``valence_raw`` is the table's value before
            smoothing, ``valence_shown`` the same value smoothed, ``valence_least`` and ``valence_most`` the lower and
            the higher of the models' values.
        sentence: what the thin and the thick line and the band are.
    """

    series: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    sentence: str = ""


def derive(recording: ReportTable, timeline: Timeline | None, recipe: Recipe | None) -> Derived:
    """The further series of a recording.

    Args:
        timeline: the raw scores, or None if they are not there.
        recipe: by which the table was made, or None if that is not known.

    Raises:
        InputError: the raw scores lack a model of the recipe.
    """
    if not {*VALENCE_AROUSAL} & recording.numbers.keys():
        return Derived()
    series: dict[str, NDArray[np.float64]] = {}
    sentence = ""
    smoothing = recipe.smoothing.get(_TASK, Smoothing()) if recipe else Smoothing()
    if smoothing.kernel == "none":
        sentence = f"Thin line: the table. Thick line: smoothed for the eye ({_FOR_THE_EYE}), which the table is not."
        series |= _smoothed(recording)
    if timeline is not None and recipe is not None:
        place = _places(recording, timeline)
        if smoothing.kernel != "none":
            sentence = f"Thin line: before smoothing. Thick line: the table, smoothed ({smoothing})."
            series |= _named("raw", blend(timeline, recipe, _TASK), place)
        models = [timeline.scores[name][_TASK] for name in recipe.models if _TASK in timeline.scores.get(name, {})]
        if len(models) > 1:
            kernel = smoothing if smoothing.kernel != "none" else _FOR_THE_EYE
            each = np.stack([smooth(timeline, values, kernel, recipe.max_gap) for values in models])
            series |= _named("least", np.fmin.reduce(each), place) | _named("most", np.fmax.reduce(each), place)
            sentence += f" Band: between the models {' and '.join(recipe.models)}; where it is wide they disagree."
    return Derived({name: values for name, values in series.items() if not np.isnan(values).all()}, sentence)


def _smoothed(recording: ReportTable) -> dict[str, NDArray[np.float64]]:
    """``valence_shown`` and ``arousal_shown`` of a table that is not smoothed."""
    rows = len(recording.row)
    empty = np.full(rows, np.nan)
    bare = Timeline(
        recording.frame, recording.time, recording.row, recording.face_id, empty.astype(np.float32),
        np.zeros((rows, 4), np.float32), {},
    )  # fmt: skip
    values = np.stack([recording.numbers.get(name, empty) for name in VALENCE_AROUSAL], axis=1)
    return _named("shown", smooth(bare, values, _FOR_THE_EYE, 0.5), np.arange(rows))


def _named(suffix: str, values: NDArray[np.floating], place: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
    """Two columns of a timeline by their names, in the order of the recording's rows; nan where it has no such row."""
    there = np.where(place[:, None] >= 0, values[place] if len(values) else np.nan, np.nan)
    return {f"{name}_{suffix}": there[:, k] for k, name in enumerate(VALENCE_AROUSAL)}


def _places(recording: ReportTable, timeline: Timeline) -> NDArray[np.intp]:
    """(N,) row of the timeline that each row of the recording comes from; -1 for none, as for interpolated rows."""
    rows = zip(timeline.index[timeline.row].tolist(), timeline.face_id.tolist(), strict=True)
    where = {key: k for k, key in enumerate(rows)}
    wanted = zip(recording.frame[recording.row].tolist(), recording.face_id.tolist(), strict=True)
    return np.array([where.get(key, -1) for key in wanted], np.intp)
