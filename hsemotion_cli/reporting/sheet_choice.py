"""The rows of a recording that its contact sheet shows: the most uncertain, the most typical, and random ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tasks import EXPRESSIONS, UNCERTAINTIES
from .report_table import ReportTable

APART = 1.0
"""Seconds between two uncertain or typical moments of a face id at least: neighbouring frames look alike."""


@dataclass(frozen=True, slots=True)
class SheetSize:
    """How many moments each group has at most, and the seed of the random ones."""

    random: int = 50
    uncertain: int = 20
    typical: int = 20
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        rows: group -> positions among the rows of the recording; the random ones in order of time, the others with the
            most uncertain or typical one first.
        candidates: rows with a detected face and an expression, among which was chosen.
        measure: column that uncertain moments are chosen by.
    """

    rows: dict[str, list[int]]
    candidates: int
    measure: str


def choose(recording: ReportTable, size: SheetSize) -> Choice:
    """Choose the rows of a sheet.

    Random rows are a simple random sample without replacement of all candidates, so that the share of right labels
    among them is an estimate for the recording. A row may be in several groups.
    """
    able = np.flatnonzero(recording.detected & (recording.expression >= 0))
    drawn = np.random.default_rng(size.seed).choice(able, min(size.random, len(able)), replace=False)
    measure = UNCERTAINTIES["expression"] if UNCERTAINTIES["expression"] in recording.numbers else "expression_score"
    sign = 1.0 if measure == "expression_score" else -1.0  # a low score stands in for a high uncertainty
    values = recording.numbers.get(measure)
    uncertain: list[int] = []
    if values is not None:
        known = able[~np.isnan(values[able])]
        uncertain = _apart(recording, known[np.argsort(sign * values[known], kind="stable")], size.uncertain)
    rows = {
        "random": sorted(int(row) for row in drawn),
        "uncertain": uncertain,
        "typical": _typical(recording, able, size.typical),
    }
    return Choice(rows, len(able), measure)


def _typical(recording: ReportTable, able: NDArray[np.intp], most: int) -> list[int]:
    """The rows with the highest probability of their own expression: first the best of each, then the second, ..."""
    by_label: list[list[int]] = []
    for label, name in enumerate(EXPRESSIONS):
        values = recording.numbers.get(f"p_{name}")
        if values is None:
            continue
        own = able[(recording.expression[able] == label) & ~np.isnan(values[able])]
        by_label.append(_apart(recording, own[np.argsort(-values[own], kind="stable")], most))
    rounds = max((len(rows) for rows in by_label), default=0)
    return [rows[k] for k in range(rounds) for rows in by_label if k < len(rows)][:most]


def _apart(recording: ReportTable, rows: Iterable[np.intp], most: int) -> list[int]:
    """The first ``most`` rows that are ``APART`` seconds away from those of the same face id before them."""
    found: list[int] = []
    times: dict[int, list[float]] = {}
    for row in rows:
        if len(found) >= most:
            break
        time = float(recording.time[recording.row[row]])
        before = times.setdefault(int(recording.face_id[row]), [])
        if all(abs(time - other) >= APART for other in before):
            before.append(time)
            found.append(int(row))
    return found
