"""A clip to measure on where the user brings none: one portrait, as often as wanted, swaying and nodding.

It says nothing of how real faces move; decoding, finding and reading cost what they would.
"""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path

import av
import cv2
import numpy as np

from ..domain import Image

RATE = 25
"""Frames per second."""


def write(path: Path, faces: int = 1, height: int = 720, seconds: float = 12.0) -> None:
    """Encode the clip as H.264 in mp4, 16:9.

    Args:
        faces: in every frame, in a grid of equal cells.
        height: pixels, even.
        seconds: length; more than ten repeat themselves.
    """
    data = files("hsemotion_cli").joinpath("assets", "doctor_face.jpg").read_bytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None  # it is part of the package
    portrait = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
    width = height * 16 // 9 // 2 * 2
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for k in range(round(seconds * RATE)):
            frame = _frame(portrait, faces, width, height, (k % (10 * RATE)) / RATE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _frame(portrait: Image, faces: int, width: int, height: int, time: float) -> Image:
    columns = math.ceil(math.sqrt(faces))
    rows = math.ceil(faces / columns)
    frame = np.full((height, width, 3), (96, 102, 110), np.uint8)
    # An edge in the background that moves: a picture at rest would be cheaper to decode than any recording.
    cv2.circle(frame, (round(width * (0.5 + 0.4 * math.sin(time))), height // 2), height // 3, (120, 118, 104), -1)
    for face in range(faces):
        left, top = (face % columns) * width // columns, (face // columns) * height // rows
        cell = frame[top : top + height // rows, left : left + width // columns]
        phase = time + 2 * face
        size = min(cell.shape[:2])
        scale = size / portrait.shape[0] * (0.9 + 0.06 * math.sin(0.9 * phase))
        matrix = cv2.getRotationMatrix2D(
            (portrait.shape[1] / 2, portrait.shape[0] / 2), 5 * math.sin(1.3 * phase), scale
        )
        matrix[0, 2] += cell.shape[1] / 2 - portrait.shape[1] / 2 + 0.05 * size * math.sin(1.7 * phase)
        matrix[1, 2] += cell.shape[0] / 2 - portrait.shape[0] / 2 + 0.02 * size * math.sin(1.1 * phase)
        cv2.warpAffine(portrait, matrix, cell.shape[1::-1], dst=cell, borderMode=cv2.BORDER_TRANSPARENT)
    return frame
