"""Decoded images -> the chosen frames: what the sources made of single images have in common."""

from __future__ import annotations

import cv2
import numpy as np

from ..domain import Frame, Image
from .canvas import Canvas
from .scene_cuts import CutDetector
from .source import DecodeReport, Sampling


class ChosenFrames:
    """Takes the decoded images of a source one by one; its report gets their number, sizes and scene cuts.

    Args:
        sampling: the frames to choose.
        report: of the source; completed here.
        canvas: places each image in the coordinates of the source.
    """

    def __init__(self, sampling: Sampling, report: DecodeReport, canvas: Canvas) -> None:
        self._choose, self._report, self._canvas = sampling.chooser(), report, canvas
        self._scenes, self._cut = CutDetector(), False

    def frame(self, index: int, time: float, image: Image, *, adjacent: bool = True) -> Frame | None:
        """The frame of the next decoded image, or None if it is not chosen.

        Args:
            index: ordinal or file number.
            time: seconds.
            image: RGB, displayed upright.
            adjacent: whether it directly follows the image before it; otherwise a scene cut cannot be detected.
        """
        self._report.size(index, time, (image.shape[1], image.shape[0]))
        self._report.decoded += 1
        jump = self._scenes.cuts(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
        self._cut |= self._report.cut(time, jump and adjacent)
        if not self._choose(index, time):
            return None
        part, view = self._canvas.placed(image)
        cut, self._cut = self._cut, False
        return Frame(index, time, part, cut, view=view)
