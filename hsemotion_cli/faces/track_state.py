"""Where a followed face is expected and how it looks: a Kalman filter with time steps of any length, and mean colours.

The filter's state is the centre of the face's box, its velocity, and its size. Velocities are an Ornstein-Uhlenbeck
process: people who walk go on for a moment, and nobody walks on for ever. Lengths are counted in sizes of the face
(the square root of its area), so that near and far faces are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..domain import Face
from .appearance import UNKNOWN, Difference, Look, difference, difference_of_part, mixed
from .mediapipe_onnx import Box

_SPEED = 2.5
"""Sizes per second: standard deviation of a face's velocity. Walkers have about 1.5, a fast pan of the camera 9."""

_LASTS = 0.5
"""Seconds after which a velocity is forgotten (to 1/e)."""

_JITTER = 0.06
"""Sizes: standard deviation of a detected centre."""

_GROWTH = 0.08, 0.5
"""Logarithm of the ratio of sizes: standard deviation at once, and more of it for each second."""

_ALIKE = 0.15
"""Difference of looks (``appearance.Difference.alike``) of consecutive images of a face, at most."""

_LESS_CERTAIN = 3.0
"""Factor on the probability that a face is none, from which it counts as half hidden."""

_LEARNT = 0.15
"""Share of a new face in the mean look and the usual score of a track."""

_LEARNT_BELOW = 0.02
"""The same for a lower score: while something comes before a face, its usual score stays."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Where a face is expected: its centre in pixels, the share of its velocity that is left, and the covariance of
    position and velocity in sizes and seconds."""

    x: float
    y: float
    decay: float
    pp: float
    pv: float
    vv: float


@dataclass(slots=True)
class Track:
    """A followed face: its last position, velocity (pixels per second), how sure both are (in sizes), and its look."""

    id: int
    box: Box
    x: float
    y: float
    time: float
    look: Look | None
    mean_look: Look | None
    score: float
    vx: float = 0.0
    vy: float = 0.0
    pp: float = _JITTER**2
    pv: float = 0.0
    vv: float = _SPEED**2

    @classmethod
    def begun(cls, number: int, face: Face, time: float) -> Track:
        """A track that begins with a face."""
        x, y, _ = centre_and_size(face.box)
        return cls(number, face.box, x, y, time, face.look, face.look, face.score)

    @property
    def size(self) -> float:
        """Square root of the area of the last box, in pixels."""
        return math.sqrt(self.box[2] * self.box[3])

    def expected(self, time: float) -> Expected:
        """Where the face is expected at a later time."""
        gap = max(time - self.time, 0.0)
        decay = math.exp(-gap / _LASTS)
        ahead = _LASTS * (1 - decay)
        # Integrals of the process's covariance over the gap.
        pp = (_SPEED * _LASTS) ** 2 * max(2 * gap / _LASTS - 3 + 4 * decay - decay * decay, 0.0)
        pv = _SPEED**2 * _LASTS * (1 - decay) ** 2
        vv = _SPEED**2 * (1 - decay * decay)
        return Expected(
            self.x + self.vx * ahead,
            self.y + self.vy * ahead,
            decay,
            pp + self.pp + 2 * ahead * self.pv + ahead**2 * self.vv,
            pv + decay * (self.pv + ahead * self.vv),
            vv + decay**2 * self.vv,
        )

    def motion_cost(self, there: Expected, box: Box, time: float) -> float:
        """How badly a box fits to where the face is expected, as the negative logarithm of a likelihood.

        A normal distribution would rule out every sudden move, so the cost of a distance grows slowly, as Student's
        does. Where a face was not seen for long, all places are unlikely: of two tracks the more recent one goes on.
        """
        x, y, size = centre_and_size(box)
        variance = there.pp + _JITTER**2
        distance = ((x - there.x) ** 2 + (y - there.y) ** 2) / (variance * self.size * size)
        spread = _GROWTH[0] + _GROWTH[1] * max(time - self.time, 0.0)
        growth = (math.log(size / self.size) / spread) ** 2
        return math.log1p(distance / 2) + math.log1p(growth / 2) + math.log(variance / _JITTER**2)

    def difference(self, face: Face) -> Difference:
        """Of looks: a face may look as it did just now, or as it usually does, after a hand was before it."""
        if face.look is None or self.look is None or self.mean_look is None:
            return UNKNOWN
        now = difference(self.look, face.look)
        if now.alike <= _ALIKE:
            return now
        return min(now, difference(self.mean_look, face.look))

    def difference_of_part(self, face: Face) -> float:
        """Of the part of the looks that is most alike, where something may be before most of the face."""
        if face.look is None or self.look is None or self.mean_look is None:
            return 0.0
        return min(difference_of_part(self.look, face.look), difference_of_part(self.mean_look, face.look))

    def half_hidden(self, face: Face) -> bool:
        """Whether a face is much less certain than the track's usually are, mostly because something is before it."""
        return 1 - face.score > _LESS_CERTAIN * (1 - self.score) + 0.003

    def move(self, face: Face, time: float, differs: float) -> None:
        """Go on with a face, which looks so differently (see ``difference``)."""
        x, y, _ = centre_and_size(face.box)
        there = self.expected(time)
        variance = there.pp + _JITTER**2
        gain, gain_of_velocity = there.pp / variance, there.pv / variance
        off_x, off_y = x - there.x, y - there.y
        self.x, self.y = there.x + gain * off_x, there.y + gain * off_y
        self.vx = there.decay * self.vx + gain_of_velocity * off_x
        self.vy = there.decay * self.vy + gain_of_velocity * off_y
        self.pp, self.pv = (1 - gain) * there.pp, (1 - gain) * there.pv
        self.vv = there.vv - gain_of_velocity * there.pv
        width, height = self.box[2:] if self.half_hidden(face) else face.box[2:]  # a part is smaller than the face
        self.box, self.time = (x - width / 2, y - height / 2, width, height), time
        rate = _LEARNT if face.score > self.score else _LEARNT_BELOW
        self.score += rate * (face.score - self.score)
        if face.look is not None:
            if self.mean_look is None:
                self.mean_look = face.look
            elif differs <= _ALIKE:  # with a hand before it, it does not look as usual
                self.mean_look = mixed(self.mean_look, face.look, _LEARNT)
            self.look = face.look


def centre_and_size(box: Box) -> tuple[float, float, float]:
    """Centre x and y, and the square root of the area, all in pixels."""
    x, y, width, height = box
    return x + width / 2, y + height / 2, math.sqrt(width * height)
