"""Frames -> scene cuts: the frames with which a new scene begins.

Every decoded frame is looked at, analysed or not, so that the answer does not depend on which ones are.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

# A cut changes most of the image at once: the mean absolute difference of small thumbnails (0 to 255) jumps far
# above what the frames before it did. Both must hold, so that neither a camera shake nor a slow fade counts.
_LEAST_CHANGE = 24.0
_TIMES_RECENT = 4.0
_RECENT = 12


class CutDetector:
    """Detects scene cuts in consecutive frames."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def cuts(self, luma: NDArray[np.uint8]) -> bool:
        """Whether a new scene begins with this frame; never with the first.

        Args:
            luma: (height, width) brightness.
        """
        now = _thumbnail(luma)
        before, self._before = self._before, now
        if before is None:
            return False
        change = float(np.abs(now - before).mean())
        usual = float(np.median(self._recent)) if self._recent else 0.0
        if change > _LEAST_CHANGE and change > _TIMES_RECENT * usual:
            return True
        # A jump is not recorded: it must not hide a cut that follows shortly.
        self._recent.append(change)
        return False


def _thumbnail(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """32 x 18 means; rows and columns are skipped first, which is exact enough and several times cheaper."""
    step = max(1, min(luma.shape) // 180)
    return np.asarray(cv2.resize(luma[::step, ::step], (32, 18), interpolation=cv2.INTER_AREA), np.float32)
