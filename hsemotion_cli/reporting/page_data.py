"""Columns of a recording -> tiles of a page: quantised, delta coded, compressed, as text.

Each column of each face id becomes whole numbers from 1 to ``levels`` over its range, and 0 where nothing is. Up to
``_MUCH`` values there are 65,534 levels, for more there are 1,022: that is the same step for screens, and half the
size. A value is off by at most half a step, which the page states. The page builds its pyramid of minima, maxima and
means from the tiles.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tasks import ACTION_UNITS, EXPRESSIONS
from .report_table import ReportTable

FINE, COARSE = 65_534, 1_022
"""Levels of a column in small and in large pages."""

_MUCH = 4_000_000
_LARGEST = 1e15  # what a series can be; nothing that hsemotion writes comes near to it
_OF_ITS_OWN = frozenset(("face_id", "face_detected", "interpolated", "expression_score", "det_score",
                         "person_score", "person_second"))  # fmt: skip
"""Columns that become no series: they are stored otherwise, or follow from others."""

_SIMILARITIES = {"score": "person_score", "second": "person_second"}
"""How sure it is who a face id is: key of the page -> column."""

_KNOWN_RANGES = {"valence": (-1.0, 1.0), "arousal": (-1.0, 1.0)}


@dataclass(slots=True)
class Packed:
    """What the page's script reads.

    Attributes:
        facts: for JSON.
        tiles: id -> raw deflate stream in base64.
    """

    facts: dict[str, Any]
    tiles: dict[str, str] = field(default_factory=dict)


def pack(recording: ReportTable, derived: Mapping[str, NDArray[np.float64]], levels: int | None = None) -> Packed:
    """Everything of a recording that is drawn.

    Args:
        derived: further series -> (N,) values beside the rows of the recording, such as ``valence_raw``.
        levels: of each series; None for what suits the size.
    """
    columns = {name: np.clip(values, -_LARGEST, _LARGEST) for name, values in {**_series(recording), **derived}.items()}
    rows = len(recording.row)
    levels = levels or (FINE if rows * len(columns) <= _MUCH else COARSE)
    ranges = {name: _range(name, values) for name, values in columns.items()}
    packed = Packed(
        {
            "levels": levels,
            "frames": len(recording.frame),
            "clock": recording.clock,
            "expressions": list(EXPRESSIONS),
            "units": list(ACTION_UNITS),
            "series": [{"name": name, "low": low, "high": high} for name, (low, high) in ranges.items()],
        }
    )
    packed.facts["times"] = _number_tile(packed, "times", np.round(recording.time * 1e6))
    packed.facts["numbers"] = _number_tile(packed, "numbers", recording.frame.astype(np.float64))
    codes = {name: _codes(values, *ranges[name], levels) for name, values in columns.items()}
    packed.facts["faces"] = [_face_tile(packed, recording, face, codes) for face in recording.ids]
    return packed


def _series(recording: ReportTable) -> dict[str, NDArray[np.float64]]:
    left_out = {*_OF_ITS_OWN, *(f"{unit}_c" for unit in ACTION_UNITS), *_compound_columns(recording)}
    return {name: values for name, values in recording.numbers.items() if name not in left_out}


def _compound_columns(recording: ReportTable) -> list[str]:
    """Compound expressions follow from probabilities that the page has already."""
    own = {f"p_{name}" for name in EXPRESSIONS}
    return [name for name in recording.numbers if name.startswith("p_") and name not in own]


def _range(name: str, values: NDArray[np.float64]) -> tuple[float, float]:
    """The range of a series: that of its kind, made larger where a table goes beyond it."""
    probability = name.startswith("p_") or name.endswith("_p")
    low, high = (0.0, 1.0) if probability else _KNOWN_RANGES.get(name.partition("_")[0], (np.inf, -np.inf))
    low, high = float(np.nanmin(values, initial=low)), float(np.nanmax(values, initial=high))
    return low, high if high > low else low + 1.0


def _codes(values: NDArray[np.float64], low: float, high: float, levels: int) -> NDArray[np.uint16]:
    """(N,) 0 for nan, else 1 to ``levels``."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.where(np.isnan(values), 0, np.rint(np.nan_to_num(share) * (levels - 1)) + 1).astype(np.uint16)


def _face_tile(packed: Packed, recording: ReportTable, face: int, codes: Mapping[str, NDArray[np.uint16]]) -> dict:
    """Add the tile of one face id; returns what the page must know to read it.

    It covers the frames from the id's first to its last row. Bytes: state (1 detected, 2 interpolated), expression
    (its position + 1), presence of action units as bits (low, high), then each series.
    """
    rows = np.flatnonzero(recording.face_id == face)
    at = recording.row[rows]
    start, count = int(at[0]), int(at[-1] - at[0]) + 1

    def spread(values: NDArray, kind: type) -> NDArray:
        whole: NDArray = np.zeros(count, kind)
        whole[at - start] = values
        return whole

    interpolated = recording.numbers.get("interpolated", np.zeros(len(recording.row)))[rows] == 1
    state = spread(np.where(interpolated, 2, 1), np.uint8)
    label = spread(recording.expression[rows] + 1, np.uint8)
    there = {name: values[rows] for name, values in codes.items() if values[rows].any()}
    parts = [state.tobytes(), label.tobytes(), _planes(spread(_presence(recording, rows), np.uint16))]
    parts += [_planes(spread(values, np.uint16)) for values in there.values()]
    name = f"face-{len(packed.tiles)}"
    packed.tiles[name] = _compressed(b"".join(parts))
    detected = int(recording.detected[rows].sum())
    return {
        "id": face, "tile": name, "start": start, "count": count, "rows": len(rows), "detected": detected,
        "series": list(there), "person": recording.people.get(face, ""),
        **{key: _constant(recording, column, rows) for key, column in _SIMILARITIES.items()},
    }  # fmt: skip


def _constant(recording: ReportTable, column: str, rows: NDArray[np.intp]) -> float | None:
    """The value that a column has in all rows of a face id; None if it is empty."""
    values = recording.numbers.get(column, np.full(len(recording.row), np.nan))[rows]
    known = values[~np.isnan(values)]
    return round(float(known[0]), 3) if len(known) else None


def _presence(recording: ReportTable, rows: NDArray[np.intp]) -> NDArray[np.uint16]:
    """(n,) bit k is set where the k-th action unit is present."""
    bits = np.zeros(len(rows), np.uint16)
    for k, unit in enumerate(ACTION_UNITS):
        if f"{unit}_c" in recording.numbers:
            bits |= (recording.numbers[f"{unit}_c"][rows] == 1).astype(np.uint16) << np.uint16(k)
    return bits


def _planes(values: NDArray[np.uint16]) -> bytes:
    """Differences from value to value, all low bytes, then all high bytes: close values compress well so."""
    steps = np.diff(values, prepend=np.uint16(0))
    return (steps & 255).astype(np.uint8).tobytes() + (steps >> 8).astype(np.uint8).tobytes()


def _number_tile(packed: Packed, name: str, values: NDArray[np.float64]) -> dict[str, Any]:
    """Add whole numbers that rise, as differences where these fit into 32 bits, else as they are."""
    steps = np.diff(values)
    small = bool(np.all(np.abs(steps) < 2**31))
    content = steps.astype("<i4").tobytes() if small else values.astype("<f8").tobytes()
    packed.tiles[name] = _compressed(content)
    return {"tile": name, "first": float(values[0]), "steps": small}


def _compressed(content: bytes) -> str:
    """A raw deflate stream, which browsers inflate by themselves, in base64."""
    packer = zlib.compressobj(9 if len(content) < 1 << 20 else 6, wbits=-15)
    return base64.b64encode(packer.compress(content) + packer.flush()).decode()
