"""Draw sample_videos/two_faces.mp4: two public-domain portraits side by side, slowly moving, for six seconds.

Run: python scripts/make_two_faces.py
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from hsemotion_cli.domain import Image
from hsemotion_cli.media.images import read_image

SAMPLES = Path(__file__).parent.parent / "sample_videos"
WIDTH, HEIGHT, RATE, SECONDS = 640, 360, 25, 6
# Image, and the centre (x, y) and height of the part that is shown, in its pixels.
PORTRAITS = (("astronaut.png", 225, 140, 250), ("grace_hopper.jpg", 265, 190, 420))


def main() -> None:
    """Write the clip."""
    pictures = [(portrait(name), x, y, h) for name, x, y, h in PORTRAITS]
    with av.open(str(SAMPLES / "two_faces.mp4"), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "20", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k in range(RATE * SECONDS):
            halves = [view(*picture, phase=k / RATE + 2 * n) for n, picture in enumerate(pictures)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.hstack(halves), format="rgb24")))
        container.mux(stream.encode())


def portrait(name: str) -> Image:
    """One of the stills."""
    image = read_image(SAMPLES / "stills" / name)
    assert image is not None, name
    return image


def view(picture: np.ndarray, x: float, y: float, height: float, *, phase: float) -> np.ndarray:
    """Half a frame of a portrait that sways, nods and comes closer; ``phase`` in seconds."""
    zoom = HEIGHT / height * (1 + 0.08 * math.sin(0.9 * phase))
    matrix = cv2.getRotationMatrix2D((x, y), 5 * math.sin(1.3 * phase), zoom)
    shift = np.array([WIDTH / 4 - x + 14 * math.sin(1.7 * phase), HEIGHT / 2 - y + 6 * math.sin(1.1 * phase)])
    matrix[:, 2] = matrix[:, 2] + shift
    return cv2.warpAffine(picture, matrix, (WIDTH // 2, HEIGHT), borderMode=cv2.BORDER_REPLICATE)


if __name__ == "__main__":
    main()
