"""Rows as streams of the Lab Streaming Layer (LSL): scores, and markers for expressions.

liblsl opens sockets: it answers on the local network when somebody looks for streams. So nothing of it is loaded before
``--lsl`` asks for it.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .. import __version__
from ..errors import UsageError
from ..formats.schema import COLUMNS
from ..media.live_source import Stamp
from ..postprocess.recipe import Recipe
from ..postprocess.refine import Affect
from .episodes import Episodes, Marker
from .outputs import Row

_LEFT_OUT = ("time", "face_detected", "interpolated")
"""Columns of numbers that say nothing in a stream: samples have times, and every face in it was seen."""

CHANNELS = tuple(
    column for column in COLUMNS if column.type != "text" and column.name not in _LEFT_OUT and column.name[-2:] != "_c"
)
"""Columns that are channels, in order."""

TYPE, MARKERS = "Affect", "Markers"

_CLOCK_LOOKS = 9

_KEPT = 600
"""Newest frames whose times on LSL's clock are kept, since a marker is sent after the frame that it is of."""


class LabStreams:
    """The two streams. A sample is a row; its time is when its frame arrived, on LSL's clock.

    Args:
        name: of the stream of scores; that of markers ends in "-markers".
        recipe: for the description.

    Raises:
        UsageError: pylsl or liblsl is missing.
    """

    def __init__(self, name: str, recipe: Recipe) -> None:
        self._lsl = _library()
        self._episodes = Episodes()
        self._arrived: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # time of a frame, and on LSL's clock
        self._offset = _clock_offset(self._lsl)
        self.description = f"LSL streams {name} and {name}-markers"
        info = self._lsl.StreamInfo(name, TYPE, len(CHANNELS), self._lsl.IRREGULAR_RATE, "double64", f"{name}-scores")
        self._describe(info, recipe)
        self._scores = self._lsl.StreamOutlet(info)
        marks = self._lsl.StreamInfo(
            f"{name}-markers", MARKERS, 1, self._lsl.IRREGULAR_RATE, "string", f"{name}-markers"
        )
        self._markers = self._lsl.StreamOutlet(marks)

    def send(self, rows: Sequence[Row], affect: Affect, stamp: Stamp) -> None:
        """See ``Output.send``; a frame without a face has one sample, with face_id -1 and no scores."""
        arrived = stamp.monotonic / 1e9 + self._offset
        for row in rows:
            self._scores.push_sample([_number(row[column.name], column.name) for column in CHANNELS], arrived)
        when = float(rows[0]["time"])
        self._arrived.append((when, arrived))
        self._mark(self._episodes.add(when, rows))

    def close(self) -> None:
        """See ``Output.close``: ends what goes on, and takes the streams away."""
        if self._scores is not None:
            self._mark(self._episodes.finish())
        self._scores = self._markers = None

    def _mark(self, markers: Sequence[Marker]) -> None:
        for marker in markers:
            self._markers.push_sample([marker.text], self._on_clock(marker.time))

    def _on_clock(self, time: float) -> float:
        """The time of a frame on LSL's clock; after the last frame, or long ago, by the nearest that is known."""
        when, arrived = min(self._arrived, key=lambda known: abs(known[0] - time))
        return arrived + time - when

    def _describe(self, info: Any, recipe: Recipe) -> None:
        """Labels, units and ranges of the channels, as XDF files have them, and where the numbers come from."""
        root = info.desc()
        root.append_child_value("manufacturer", f"hsemotion {__version__}")
        root.append_child_value("recipe", json.dumps(recipe.to_json()))
        channels = root.append_child("channels")
        for column in CHANNELS:
            channel = channels.append_child("channel")
            channel.append_child_value("label", column.name)
            channel.append_child_value("unit", column.unit or "none")
            channel.append_child_value("type", TYPE)


def _number(value: Any, name: str) -> float:
    if value is None:
        return -1.0 if name == "face_id" else math.nan
    return float(value)


def _library() -> Any:
    """pylsl with its liblsl."""
    try:
        return import_module("pylsl")
    except ImportError as error:
        raise UsageError("--lsl: pylsl is not installed; pip install 'hsemotion-cli[lsl]'.") from error
    except RuntimeError as error:  # so pylsl reports that it finds no liblsl
        raise UsageError(
            "--lsl: pylsl finds no liblsl; install it, or name its file in the variable PYLSL_LIB."
        ) from error


def _clock_offset(lsl: Any) -> float:
    """Seconds from ``time.monotonic`` to LSL's clock; on Linux they are the same."""
    looks = []
    for _ in range(_CLOCK_LOOKS):
        before, there, after = time.monotonic(), lsl.local_clock(), time.monotonic()
        looks.append((after - before, there - (before + after) / 2))
    return float(min(looks)[1])
