"""A camera of this machine -> frames as they arrive, through OpenCV's back-end of the system.

On Linux that is Video4Linux, on Windows Media Foundation or DirectShow, on macOS AVFoundation.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..domain import Frame, Image
from ..errors import InputError
from .live_source import ArrivalClock, Captured, LiveSource, Stamp
from .source import SourceInfo, fits

PATIENCE = 2.0
"""Seconds without an image after which a camera counts as gone."""

_RETRY = 0.05


class Camera(LiveSource):
    """An open camera.

    Args:
        device: number of the camera, from 0, or what OpenCV opens by name, such as /dev/video2.
        size: width and height to ask for in pixels, or None for the camera's own choice.
        rate: frames per second to ask for, or None.

    Raises:
        InputError: there is no such camera, it may not be opened, or it delivers no image.
    """

    def __init__(self, device: int | str, size: tuple[int, int] | None = None, rate: float | None = None) -> None:
        name = f"camera {device}" if isinstance(device, int) else device
        self._failures = 0
        with _quiet():
            self._video = cv2.VideoCapture(device)
        if not self._video.isOpened():
            raise InputError(_problem(device, name))
        self._ask(size, rate)
        first = self._read()
        if first is None:
            self.close()
            raise InputError(f"{name}: it was opened but delivers no image; another program may be using it.")
        self._first: Image | None = first
        height, width = first.shape[:2]
        declared = float(self._video.get(cv2.CAP_PROP_FPS))
        super().__init__(name, camera_info(width, height, declared if 0 < declared < 1000 else None, self.backend))
        if size is not None and size != (width, height):
            self.notes.append(f"the camera gives {width} x {height} pixels, not {size[0]} x {size[1]} as asked for.")

    @property
    def backend(self) -> str:
        """OpenCV's name of what it reads through: V4L2, MSMF, DSHOW, AVFOUNDATION, ..."""
        return str(self._video.getBackendName())

    def captured(self) -> Iterator[Captured]:
        """See ``LiveSource.captured``."""
        clock = ArrivalClock()
        while True:
            image, self._first = self._first, None
            if image is None and (image := self._read()) is None:
                self.report.ended_early = "the camera stopped delivering images"
                return
            stamp = Stamp.now()
            index, when = self.report.decoded, clock.time(stamp)
            self.report.decoded += 1
            self.report.failures = self._failures
            rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            self.report.size(index, when, (rgb.shape[1], rgb.shape[0]))
            yield Captured(Frame(index, when, rgb), stamp)

    def close(self) -> None:
        """See ``LiveSource.close``."""
        self._video.release()

    def _ask(self, size: tuple[int, int] | None, rate: float | None) -> None:
        wanted: list[tuple[int, Any]] = [(cv2.CAP_PROP_BUFFERSIZE, 1)]  # an old image is of no use
        if size is not None:
            wanted += [(cv2.CAP_PROP_FRAME_WIDTH, size[0]), (cv2.CAP_PROP_FRAME_HEIGHT, size[1])]
        if rate is not None:
            wanted.append((cv2.CAP_PROP_FPS, rate))
        for name, value in wanted:
            self._video.set(name, value)

    def _read(self) -> Image | None:
        """The next image in BGR, or None for a camera that is gone; a damaged image is passed over."""
        until = time.monotonic() + PATIENCE
        while True:
            with _quiet():
                there, image = self._video.read()
            if there and image is not None and image.ndim == 3 and fits(image.shape[1], image.shape[0]):
                return np.asarray(image, np.uint8)
            if time.monotonic() >= until:
                return None
            self._failures += 1
            time.sleep(_RETRY)


def camera_info(width: int, height: int, fps: float | None, codec: str) -> SourceInfo:
    """What is known of a live source before its frames.

    Args:
        fps: that it declares, or None.
        codec: of the stream, or the back-end of a camera.
    """
    return SourceInfo(
        kind="video",
        width=width,
        height=height,
        fps=fps,
        frames=None,
        duration=None,
        start=0.0,
        rotation=0,
        pixel_aspect=1.0,
        codec=codec,
        audio=None,
        clock="arrival",
    )


def _problem(device: int | str, name: str) -> str:
    """Why a camera could not be opened, as far as the system says."""
    if sys.platform.startswith("linux"):
        node = Path(f"/dev/video{device}" if isinstance(device, int) else device)
        there = sorted(str(path) for path in Path("/dev").glob("video*"))
        if not node.exists():
            here = f"this machine has {', '.join(there)}" if there else "this machine has none"
            return f"{name}: there is no such camera ({node}); {here}."
        if not os.access(node, os.R_OK | os.W_OK):
            return f"{name}: {node} may not be opened; add your user to the group that owns it, usually video."
    return f"{name}: it could not be opened; it may be missing, or in use by another program."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's own messages on the terminal; what is wrong is said in a sentence."""
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
