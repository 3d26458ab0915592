"""A picture and the rows of its faces -> the picture drawn over: where boxes, labels and panels go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..domain import Image
from .drawing import (
    DrawnFace,
    Label,
    LabelPlace,
    Rect,
    Row,
    Sizes,
    area,
    clamp,
    draw_box,
    draw_label,
    draw_panel,
    labels,
    lay_out,
    read_row,
    shared,
    touching,
)

MAX_PANELS = 2
"""With more faces than this in a picture, each one gets a label only."""


class OverlayPainter:
    """Draws on pictures of one size, in the order of a video.

    It remembers where the panel of each face was, only to keep it still while the face moves a little.

    Args:
        width, height: pixels, 1 or more.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.sizes = Sizes.of(width, height)
        self._places: dict[int | None, LabelPlace] = {}
        self._people: dict[str, int] = {}

    def draw(self, image: Image, faces: Sequence[Row]) -> Image:
        """A copy of a picture with its faces drawn in.

        Args:
            image: (height, width, 3) uint8 RGB of the painter's size.
            faces: table rows of the faces of this picture; what they do not know is not drawn.
        """
        if image.shape != (self.height, self.width, 3):
            raise ValueError(f"expected a picture of {(self.height, self.width, 3)}, got {image.shape}")
        canvas = image.copy()
        known = [face for row in faces if (face := read_row(row, self.width, self.height, self._people)) is not None]
        for face in known:
            draw_box(canvas, face, self.sizes)
        places = self._panels(known)
        taken = [place.rect for place in places]
        for index, face in enumerate(known):
            others = [other.box for k, other in enumerate(known) if k != index]
            rect = self._draw_label(canvas, face, others + taken, rich=not places)
            taken.extend(rect)
        for face, place in zip(known, places, strict=False):
            draw_panel(canvas, face, place, self.sizes)
            self._places[face.key] = place
        return canvas

    def _panels(self, faces: Sequence[DrawnFace]) -> list[LabelPlace]:
        """A place for the panel of each face, or none at all: half of the panels would look like a fault."""
        if not 0 < len(faces) <= MAX_PANELS or not any(any(face.sections) for face in faces):
            return []
        keep_clear = [rect for face in faces for rect in self._surroundings(face)]
        choices = [
            [place for place in self._candidates(face) if not any(touching(place.rect, rect) for rect in keep_clear)]
            for face in faces
        ]
        if len(faces) == 1:
            if not choices[0]:
                choices[0] = self._at_the_edge(faces[0])
            return choices[0][:1]
        pairs = (
            (rank + other_rank, [one, other])
            for rank, one in enumerate(choices[0])
            for other_rank, other in enumerate(choices[1])
            if not touching(one.rect, other.rect)
        )
        return min(pairs, key=lambda pair: pair[0], default=(0, []))[1]

    def _surroundings(self, face: DrawnFace) -> tuple[Rect, Rect]:
        """The box of a face with its line, and where its label belongs: above it, or below it at the upper edge."""
        left, top, right, bottom = face.box
        line = self.sizes.line
        label = labels(face, False, self.sizes)
        width, height = (label[0].width, label[0].height + 2 * self.sizes.gap) if label else (0, 0)
        start = top - line - height if top >= height + line else bottom + line
        return (left - line, top - line, right + line, bottom + line), (
            left - line,
            start,
            left + width,
            start + height,
        )

    def _candidates(self, face: DrawnFace) -> list[LabelPlace]:
        """Places beside a face that lie within the picture, best first; the one that it had comes first of all."""
        before = self._places.get(face.key)
        found = [place for place in self._around(face) if self._inside(place.rect)]
        # The side with more room is better: the face is likely to look there, and unlikely to move there soon.
        room = {"right": self.width - face.box[2], "left": face.box[0], "below": 0, "above": -1}
        found.sort(key=lambda p: (p.wide == (p.side in ("right", "left")), -room[p.side]))
        if before is None:
            return found
        same = [place for place in found if (place.side, place.wide) == (before.side, before.wide)]
        return [self._leashed(place, before, face) for place in same] + [place for place in found if place not in same]

    def _around(self, face: DrawnFace) -> Iterator[LabelPlace]:
        """Places on all sides of a face, in the picture or not, in both forms."""
        gap, margin = 2 * self.sizes.gap, self.sizes.gap
        box, label = self._surroundings(face)
        above, below = min(box[1], label[1]), max(box[3], label[3])
        for wide in (False, True):
            panel = lay_out(face.sections, wide, self.sizes)
            # Flush with the box; pushed back into the picture where it would stick out.
            top = clamp(box[1], margin, self.height - margin - panel.height)
            left = clamp(box[0], margin, self.width - margin - panel.width)
            yield LabelPlace("right", wide, panel, box[2] + gap, top)
            yield LabelPlace("left", wide, panel, box[0] - gap - panel.width, top)
            yield LabelPlace("below", wide, panel, left, below + gap)
            yield LabelPlace("above", wide, panel, left, above - gap - panel.height)

    def _leashed(self, place: LabelPlace, before: LabelPlace, face: DrawnFace) -> LabelPlace:
        """The place as near to where it was as a short leash allows, so that a trembling box does not shake it."""
        leash = self.sizes.text
        left = place.left + clamp(before.left - place.left, -leash, leash)
        top = place.top + clamp(before.top - place.top, -leash, leash)
        pulled = LabelPlace(place.side, place.wide, place.panel, left, top)
        free = not any(touching(pulled.rect, rect) for rect in self._surroundings(face))
        return pulled if free and self._inside(pulled.rect) else place

    def _at_the_edge(self, face: DrawnFace) -> list[LabelPlace]:
        """For a face too big to stand beside: corners of the picture where the panel hides little of it."""
        margin = self.sizes.gap
        found = []
        for wide in (False, True):
            panel = lay_out(face.sections, wide, self.sizes)
            for left in (self.width - margin - panel.width, margin):
                for top in (margin, self.height - margin - panel.height):
                    place = LabelPlace(f"edge {left > margin} {top > margin}", wide, panel, left, top)
                    if self._inside(place.rect):
                        found.append((shared(place.rect, face.box), place))
        before = self._places.get(face.key)
        small = 0.06 * area(face.box)
        fitting = [
            (not before or (place.side, place.wide) != (before.side, before.wide), hidden, place)
            for hidden, place in found
            if hidden <= small
        ]
        return [place for _, _, place in sorted(fitting, key=lambda item: item[:2])]

    def _inside(self, rect: Rect) -> bool:
        return rect[0] >= 0 and rect[1] >= 0 and rect[2] <= self.width and rect[3] <= self.height

    def _draw_label(self, canvas: Image, face: DrawnFace, avoid: Sequence[Rect], rich: bool) -> list[Rect]:
        """Draw the fullest label for which there is room; [where], or [] if there is room for none."""
        sizes = self.sizes
        variants = labels(face, rich, sizes)
        outside = ((label, spot) for label in variants for spot in self._spots(face, label))
        inside = (
            (label, (max(face.box[0], 0) + 2 * sizes.gap, max(face.box[1], 0) + 2 * sizes.gap)) for label in variants
        )
        for label, (left, top) in (*outside, *inside):
            rect = (left, top, left + label.width, top + label.height)
            if self._inside(rect) and not any(touching(rect, other) for other in avoid):
                draw_label(canvas, face, label, left, top, sizes)
                return [rect]
        return []

    def _spots(self, face: DrawnFace, label: Label) -> Iterator[tuple[int, int]]:
        """Left and top of a label around a box: above, below, right, left."""
        left, top, right, bottom = face.box
        gap = self.sizes.gap + self.sizes.line
        # Flush with the box, unless that would reach over the edge of the picture.
        flush = clamp(left - self.sizes.line, self.sizes.gap, self.width - self.sizes.gap - label.width)
        yield flush, top - gap - label.height
        yield flush, bottom + gap
        level = clamp(top - self.sizes.line, self.sizes.gap, self.height - self.sizes.gap - label.height)
        yield right + gap, level
        yield left - gap - label.width, level
