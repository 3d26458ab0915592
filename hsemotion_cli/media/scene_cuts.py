"""Frames -> scene cuts: the frames with which a new scene begins.

Every decoded frame is looked at, analysed or not, so that the answer does not depend on which ones are. What counts is
structure, not brightness: a lamp that is switched, a flash or a new exposure changes every pixel and is no cut.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from .structure import HEIGHT, WIDTH, unmatched

_CHANGE = 0.35
"""Least mean difference of coarse images with mean 0 and standard deviation 1. Of 153 cuts the least has 0.38."""

_FLAT = 4.0
"""Levels of 255 that are added to the standard deviation, so that noise in a plain image does not count."""

_UNMATCHED = 0.3
"""Share of the image that has no match in the other frame. Of the same cuts the least has 0.32; of 216 changes of light
that reach ``_CHANGE`` the most has 0.24."""

_TIMES_USUAL = 4.0
"""A cut changes the image this much more than the frame before did, and than ``_RECENT`` frames did in the median: so
neither a camera that shakes nor somebody who passes by counts."""

_RECENT = 12

_FLASH = 0.8, 0.4
"""Share of white pixels from which a frame shows nothing, unless the frame before has more than the other share."""

_WHITE = 230
"""Brightness from which a pixel may be clipped; in limited range white is 235."""


class CutDetector:
    """Detects scene cuts in consecutive frames."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def cuts(self, luma: NDArray[np.uint8]) -> bool:
        """Whether a new scene begins with this frame; never with the first.

        A frame that a flash has made white is none; the next is compared with the frame before the flash.

        Args:
            luma: (height, width) brightness.
        """
        now, before = _thumbnail(luma), self._before
        if before is not None and _is_flash(before, now):
            return False
        self._before = now
        if before is None:
            return False
        change = float(np.abs(_standard(before) - _standard(now)).mean())
        usual = max(float(np.median(self._recent)), self._recent[-1]) if self._recent else 0.0
        if change > max(_CHANGE, _TIMES_USUAL * usual) and unmatched(before, now, _WHITE) > _UNMATCHED:
            return True
        # A jump is not recorded: it must not hide a cut that follows shortly.
        self._recent.append(change)
        return False


def _thumbnail(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means on a small grid; rows and columns are skipped first, which is exact enough and several times cheaper."""
    step = max(1, min(luma.shape) // 180)
    return np.asarray(cv2.resize(luma[::step, ::step], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _standard(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """32 x 18 means, less their mean and over their standard deviation."""
    coarse = cv2.resize(image, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((coarse - coarse.mean()) / (coarse.std() + np.float32(_FLAT)), np.float32)


def _is_flash(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> bool:
    return float((now >= _WHITE).mean()) >= _FLASH[0] and float((before >= _WHITE).mean()) <= _FLASH[1]
