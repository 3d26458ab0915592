"""One frame on its way through the program: Frame -> Sighting -> Reading.

Every stage has one item per analysed frame, even without a face, so that count and order are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(height, width, 3), RGB, upright, square pixels."""


@dataclass(frozen=True, slots=True)
class View:
    """The position of an image in the displayed image: at ``left``, ``top``, with pixels ``scale`` pixels wide.

    An image is a part of the displayed image where only a region is analysed, and has another scale where a source
    changes its size.
    """

    left: float = 0.0
    top: float = 0.0
    scale: float = 1.0

    def to_canvas(self, x: float, y: float) -> tuple[float, float]:
        """A place in pixels of the image -> the same place in pixels of the displayed image."""
        return self.left + x * self.scale, self.top + y * self.scale

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """The other way round."""
        return (x - self.left) / self.scale, (y - self.top) / self.scale


WHOLE = View()
"""The view of an image that is the displayed image."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded image.

    Attributes:
        index: ordinal among the decoded frames, from 0 (or the number in the file name of an image).
        time: presentation time in seconds, as the container gives it.
        image: as it is displayed (rotation and pixel aspect applied), or the part that is analysed.
        cut: whether a new scene begins with this frame.
        segment: number of the part of the source; a new part begins where the source's clock jumps.
        duration: seconds that the source shows this frame, or None if unknown.
        view: the position of ``image`` in the displayed image.
    """

    index: int
    time: float
    image: Image
    cut: bool = False
    segment: int = 0
    duration: float | None = None
    view: View = WHOLE

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame(index={self.index}, time={self.time:.6f}, {width}x{height}{', cut' if self.cut else ''})"


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in one frame.

    Attributes:
        box: x, y, width, height in pixels of the displayed image; may extend past its edge.
        score: detector's confidence in [0, 1]; nan where no detector ran (``--crops``).
        points: (5, 2) pixels of the displayed image, by which crops are aligned: the eye that is left in the image,
            the other eye, the tip of the nose, the mouth's corners likewise; or None.
        landmarks: (478, 2) pixels of the displayed image in MediaPipe's order, or None.
        blendshapes: (52,) in [0, 1] in the order of ``tasks.BLENDSHAPES``, or None.
        measures: (len(tasks.MEASURES),), or None without landmarks; nan for what cannot be seen.
        crops: crop recipe -> the face cut out by it, uint8 RGB.
        look: mean colours of head and chest by which tracks are told apart (``faces.appearance``), or None.
        track: id of the person, the same through a clip; None before ``faces.tracking``.
    """

    box: tuple[float, float, float, float]
    score: float
    points: NDArray[np.float32] | None = None
    _: KW_ONLY
    landmarks: NDArray[np.float32] | None = None
    blendshapes: NDArray[np.float32] | None = None
    measures: NDArray[np.float32] | None = None
    crops: Mapping[str, Image] = field(default_factory=dict)
    look: NDArray[np.float32] | None = None
    track: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """All the faces of one frame, perhaps none."""

    index: int
    time: float
    faces: tuple[Face, ...]
    cut: bool = False
    segment: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The predictions of one model for n faces; a task that the model lacks is None.

    A row of nan is a face that the model could not score, a column of nan a class that it lacks.

    Attributes:
        tasks: a key of ``tasks.SCORES`` -> (n, its columns) float32: expression and action-unit probabilities in
            [0, 1], valence and arousal in [-1, 1].
        embeddings: (n, d) float32 features that the scores were computed from, or None.
        outputs: (n, k) float32 last layer of a network as it is, before any soft-max, or None.
    """

    tasks: Mapping[str, NDArray[np.float32]]
    embeddings: NDArray[np.float32] | None = None
    outputs: NDArray[np.float32] | None = None

    def spread(self, at: NDArray[np.bool_]) -> Scores:
        """Rows for the faces at which ``at`` (n,) is true -> rows for all n faces, nan for the others."""
        if at.all():
            return self

        def rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
            spread = np.full((len(at), values.shape[1]), np.nan, np.float32)
            spread[at] = values
            return spread

        embeddings, outputs = (None if values is None else rows(values) for values in (self.embeddings, self.outputs))
        return Scores({task: rows(values) for task, values in self.tasks.items()}, embeddings, outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One frame with the predictions of every model for its faces (model name -> Scores, rows as ``faces``)."""

    index: int
    time: float
    faces: tuple[Face, ...]
    scores: Mapping[str, Scores]
    segment: int = 0
