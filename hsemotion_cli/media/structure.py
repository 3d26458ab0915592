"""Two small images -> which share of their structure is in both, whatever the light, and though things have moved.

Blocks of one image are searched for in the other by normalised cross-correlation, which ignores brightness and contrast
of each block.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 90
"""Of the images in pixels."""

_BLOCK = 16, 18
"""Width and height of a block in pixels."""

_REACH = 10, 8
"""Pixels by which a block may have moved to the right or left, and up or down: 6 % of the width, 9 % of the height."""

_ALIKE = 0.7
"""Correlation from which a block has a match."""

_PLAIN, _RICH = 2.0, 27.0
"""Standard deviation in levels of 255 up to which a block has no structure, and from which it counts in full."""

_NOISE = 0.8
"""Standard deviation below which a block is only noise, and matches nothing."""

_LEAST = 0.5
"""Mean weight of the blocks, in levels, below which there is no structure to compare."""

_SOME = 1.0
"""Weight from which a block is missed as a part of the image."""

_PAN = 0.88
"""Correlation from which a shift of the whole image is a pan. Of two scenes the best shift had 0.83 at most, of fast
pans 0.93 at least."""

_MARGIN = 20, 11
"""Pixels at half size by which a pan may shift the image: a quarter."""


def unmatched(one: NDArray[np.uint8], other: NDArray[np.uint8], white: int) -> float:
    """The share of two images that has no match, in [0, 1]; after a pan, of the part that is in both.

    It is that of the structure or that of the area, whichever is smaller: so nobody who comes or goes before a plain
    wall changes most of an image.

    Args:
        one: (HEIGHT, WIDTH) brightness.
        other: likewise.
        white: brightness from which pixels may be clipped.
    """
    one, other = _exposed_alike(one, other, white), _exposed_alike(other, one, white)
    share = _unmatched(one, other)
    right, down = _pan(one, other)
    if (right, down) == (0, 0):
        return share
    ours, theirs = _shared(one, right, down), _shared(other, -right, -down)
    return min(share, _unmatched(ours, theirs))


def _exposed_alike(image: NDArray[np.uint8], other: NDArray[np.uint8], white: int) -> NDArray[np.uint8]:
    """An image so bright that as many pixels are white as in the other, its brightest at least.

    What the brighter image has lost, if it is the same scene in more light, is lost in both then; and in little light
    structure counts as it does in much.
    """
    lost = max(float((other >= white).mean()), float((image >= white).mean()))
    limit = max(float(np.quantile(image, 1 - lost)), 1.0)
    return np.minimum(image * max(white / limit, 1.0), white).astype(np.uint8)


def _unmatched(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The same without a pan and clipping; the larger share of both directions."""
    contrasts = np.stack([_blocks(image).std(axis=(2, 3)) for image in (one, other)])
    weights = np.clip(contrasts.max(axis=0) - _PLAIN, 0, _RICH - _PLAIN)
    if weights.mean() < _LEAST:
        return 0.0
    matches = np.stack([_best_matches(one, other), _best_matches(other, one)])
    missing = (matches < _ALIKE) | (contrasts < _NOISE)
    of_structure = (weights * missing).sum(axis=(1, 2)).max() / weights.sum()
    of_image = (missing & (weights > _SOME)).mean(axis=(1, 2)).max()
    return float(min(of_structure, of_image))


def _blocks(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(rows, columns, height, width of a block): the whole blocks of an image."""
    (width, height), (down, across) = _BLOCK, _count(image)
    whole = image[: down * height, : across * width]
    return whole.reshape(down, height, across, width).swapaxes(1, 2).astype(np.float32)


def _count(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[0] // _BLOCK[1], image.shape[1] // _BLOCK[0]


def _best_matches(image: NDArray[np.uint8], there: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(rows, columns): highest correlation of each block of ``image`` with a part of ``there`` near its place."""
    (width, height), (aside, up) = _BLOCK, _REACH
    padded = cv2.copyMakeBorder(there, up, up, aside, aside, cv2.BORDER_REPLICATE)
    found = np.zeros(_count(image), np.float32)
    for row, column in np.ndindex(found.shape):
        y, x = row * height, column * width
        part = padded[y : y + height + 2 * up, x : x + width + 2 * aside]
        correlation = cv2.matchTemplate(part, image[y : y + height, x : x + width], cv2.TM_CCOEFF_NORMED)
        found[row, column] = np.nan_to_num(correlation).max()
    return found


def _pan(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[int, int]:
    """Pixels to the right and down at which ``one`` has what is at (0, 0) in ``other``; both 0 if it was no pan."""
    halves = [cv2.resize(image, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA) for image in (one, other)]
    (aside, up), best, shift = _MARGIN, _PAN, (0, 0)
    for there, image, sign in ((halves[0], halves[1], 1), (halves[1], halves[0], -1)):
        correlation = cv2.matchTemplate(there, image[up:-up, aside:-aside], cv2.TM_CCOEFF_NORMED)
        _, value, _, (x, y) = cv2.minMaxLoc(np.nan_to_num(correlation))
        if value >= best:
            best, shift = value, (sign * 2 * (x - aside), sign * 2 * (y - up))
    return shift


def _shared(image: NDArray[np.uint8], right: int, down: int) -> NDArray[np.uint8]:
    """The part of an image that is also in another one, which is shifted by ``right`` and ``down`` pixels."""
    rows = slice(max(down, 0), HEIGHT + min(down, 0))
    return np.ascontiguousarray(image[rows, max(right, 0) : WIDTH + min(right, 0)])
