"""A synthetic clip to benchmark with if the user gives none: copies of one portrait that sway and nod.

Its faces do not move like real ones, but decoding, detection and models cost what they cost on a real clip.
"""

from __future__ import annotations

import math
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import PictureType

from ..domain import Image

RATE = 25
"""Frames per second."""


def write(path: Path, faces: int = 1, height: int = 720, seconds: float = 12.0) -> None:
    """Encode the clip as H.264 in mp4, 16:9.

    Args:
        faces: in every frame, in a grid of equal cells.
        height: pixels, even.
        seconds: length; after ten seconds the clip repeats itself.
    """
    data = files("hsemotion_cli").joinpath("assets", "doctor_face.jpg").read_bytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None  # it is part of the package
    portrait = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
    width = height * 16 // 9 // 2 * 2
    count = max(round(seconds * RATE), 1)
    period = min(count, 10 * RATE)
    begun = count % period  # frames of an incomplete repetition; they come first
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23", "forced-idr": "1"}
        packets = []
        for k in range(-begun, period):
            frame = av.VideoFrame.from_ndarray(
                _frame(portrait, faces, width, height, (k % period) / RATE), format="rgb24"
            )
            if k == 0:
                frame.pict_type = PictureType.I  # what is repeated must not depend on earlier frames
            packets += stream.encode(frame)
        packets += stream.encode()
        container.mux(packets[:begun])
        # An hour is encoded in the time of ten seconds: the same packets again, with later times.
        for again in range(count // period):
            for packet in packets[begun:]:
                if again:
                    later = round(Fraction(period, RATE) / packet.time_base)  # the container's, once it had the packet
                    assert packet.pts is not None and packet.dts is not None  # it has given them both
                    packet.pts, packet.dts = packet.pts + later, packet.dts + later
                container.mux(packet)


def _frame(portrait: Image, faces: int, width: int, height: int, time: float) -> Image:
    columns = math.ceil(math.sqrt(faces))
    rows = math.ceil(faces / columns)
    frame = np.full((height, width, 3), (96, 102, 110), np.uint8)
    # A moving edge in the background: a static image would be cheaper to decode than any recording.
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
