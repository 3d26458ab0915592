"""Frame -> Frame: mark the frames with which a new scene begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .domain import Frame, Image

# A cut changes most of the picture at once: the mean absolute difference of small thumbnails (0 to 255) jumps far
# above what the frames before it did. Both must hold, so that neither a camera shake nor a slow fade counts.
_LEAST_CHANGE = 24.0
_TIMES_RECENT = 4.0
_RECENT = 12


def mark_cuts(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Pass frames through; ``cut`` is set on the first frame of each new scene, never on the first of all."""
    before: NDArray[np.float32] | None = None
    recent: deque[float] = deque(maxlen=_RECENT)
    for frame in frames:
        now = _thumbnail(frame.image)
        cut = False
        if before is not None:
            change = float(np.abs(now - before).mean())
            cut = change > _LEAST_CHANGE and change > _TIMES_RECENT * (float(np.median(recent)) if recent else 0.0)
            # The jump itself must not hide a cut that follows shortly.
            if not cut:
                recent.append(change)
        before = now
        yield replace(frame, cut=True) if cut else frame


def _thumbnail(image: Image) -> NDArray[np.float32]:
    """32 x 18 mean colours; rows and columns are skipped first, which is exact enough and four times cheaper."""
    step = max(1, min(image.shape[:2]) // 180)
    return cv2.resize(image[::step, ::step], (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32)
