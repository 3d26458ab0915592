"""Analysed images -> a Matroska file, in a thread of its own, with the times of their rows.

A file without its end is still readable up to where it was written, as Matroska has its index last.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..domain import Image
from ..errors import OutputError, UsageError
from ..media.live_source import Stamp
from ..runtime import file_marks

QUALITIES: dict[str, tuple[str, str, dict[str, str]]] = {
    # The pixels that were analysed, exactly, so that the recording has the same rows. H.264 4:4:4 Predictive: players
    # based on FFmpeg show it, browsers do not.
    "lossless": ("libx264rgb", "rgb24", {"qp": "0", "preset": "ultrafast"}),
    "small": ("libx264", "yuv420p", {"crf": "18", "preset": "superfast"}),
}
"""Name -> encoder, format of pixels, options of the encoder."""

_ROOM = 8
"""Images that may wait for the encoder; with more, the analysis waits, and frames are dropped before it."""

_MILLISECONDS = Fraction(1, 1000)  # Matroska's clock


class Recorder:
    """Writes images with their times.

    Args:
        path: of the file; is replaced.
        quality: of ``QUALITIES``.
    """

    def __init__(self, path: Path, quality: str) -> None:
        if quality not in QUALITIES:
            raise UsageError(f"--record-quality {quality}: choose from {', '.join(QUALITIES)}.")
        self.path, self.quality = path, quality
        self.frames = 0
        self._queue: queue.Queue[tuple[Image, float, Stamp] | None] = queue.Queue(_ROOM)
        self._error: OutputError | None = None
        self._closed = False
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def add(self, image: Image, time: float, stamp: Stamp) -> None:
        """Write an image; waits while too many wait already.

        Args:
            time: seconds, in whole milliseconds.

        Raises:
            OutputError: the file cannot be written.
        """
        self._check()
        self._queue.put((image, time, stamp))
        self.frames += 1

    def close(self) -> None:
        """Write what waits, and end the file; a second call does nothing.

        Raises:
            OutputError: it could not be written to its end.
        """
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:  # after an error the queue is only emptied, so that nobody waits for room
                self._guarded(lambda item=item: self._write(*item))  # type: ignore[misc]
        if self._container is not None:
            self._guarded(self._finish)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._error = OutputError(
                f"{self.path}: could not be recorded ({getattr(error, 'strerror', None) or error}); what was written "
                "before is kept."
            )

    def _write(self, image: Image, time: float, stamp: Stamp) -> None:
        if self._container is None:
            self._begin(image, time, stamp)
        height, width = image.shape[:2]
        if (width, height) != self._size:
            raise ValueError(f"the images changed from {self._size} to {(width, height)} pixels")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture.pts, picture.time_base = round(time * 1000), _MILLISECONDS
        self._container.mux(self._stream.encode(picture))

    def _begin(self, image: Image, time: float, stamp: Stamp) -> None:
        encoder, pixels, options = QUALITIES[self.quality]
        self._size = (image.shape[1], image.shape[0])
        self.path.unlink(missing_ok=True)  # a link would be written through
        container = av.open(f"file:{self.path}", "w", format="matroska")
        container.metadata["encoding_tool"] = file_marks.TOOL
        zero = datetime.fromtimestamp(stamp.wall / 1e9 - time, UTC)
        container.metadata["creation_time"] = zero.isoformat(timespec="microseconds")
        stream: Any = container.add_stream(encoder, rate=30, options={**options, "bf": "0"})
        stream.width, stream.height = self._size
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = _MILLISECONDS
        self._container, self._stream = container, stream

    def _finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
