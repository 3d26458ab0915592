"""The label beside the box of a face: id or name, expression, score, and more for a face without a panel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..domain import Image
from .drawing import BRIGHT, DIM, DrawnFace, Rect, Sizes, clamp, signed
from .sprites import DARK, block, paste, word, write


@dataclass(frozen=True, slots=True)
class Label:
    """The texts of a label from left to right, those of its second line, and its size in pixels."""

    width: int
    height: int
    name: str
    text: str
    score: str
    second: str


def label_height(sizes: Sizes) -> int:
    """Height in pixels of a label of one line."""
    return round(1.75 * sizes.text)


def labels(face: DrawnFace, rich: bool, sizes: Sizes) -> list[Label]:
    """Possible labels of a face, the fullest first; ``rich`` for a face without a panel."""
    score = "" if face.score is None or not face.label else f"{face.score:.2f}"
    second = "   ".join(
        f"{title} {signed(value)}"
        for title, value in (("valence", face.valence), ("arousal", face.arousal))
        if value is not None
    )
    kinds = [(face.label, score, ""), (face.label, "", ""), ("", "", "")]
    if rich:
        kinds = [(face.label, score, second), *kinds]
    found = [size_label(face.name, *kind, sizes) for kind in kinds if face.name or any(kind)]
    return list(dict.fromkeys(found))


def size_label(name: str, text: str, score: str, second: str, sizes: Sizes) -> Label:
    """A label with the size that its parts need."""
    height, gap = label_height(sizes), sizes.gap
    width = 0
    if name:
        width += name_width(name, sizes) + gap
    for part in (text, score):
        width += word(part, sizes.text, BRIGHT).width + gap if part else 0
    width += gap if text else 0
    if second:
        width = max(width, word(second, sizes.small, DIM).width + 3 * gap)
        height += round(1.35 * sizes.small)
    return Label(width, height, name, text, score, second)


def name_width(name: str, sizes: Sizes) -> int:
    """Width in pixels of the coloured field that holds a name or id; never narrower than it is high."""
    inset = max(2, sizes.gap // 2)
    return max(word(name, sizes.text, DARK).width + 2 * sizes.gap, label_height(sizes) - 2 * inset) + inset


def draw_name(canvas: Image, face: DrawnFace, name: str, left: int, top: int, sizes: Sizes) -> int:
    """Draw the coloured field with a name or id at the left end of a line of label height; its width in pixels."""
    line, inset = label_height(sizes), max(2, sizes.gap // 2)
    field = name_width(name, sizes) - inset
    red, green, blue = face.colour
    paste(canvas, block(field, line - 2 * inset, round(0.45 * sizes.text) - 1, face.colour, 1.0), left, top + inset)
    # Black or white, whichever has more contrast with the colour of this face (its luma, 0 to 255).
    ink = DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 115 else BRIGHT
    write(canvas, name, sizes.text, ink, left + field // 2, top + line // 2, 0.5)
    return field


def draw_label(canvas: Image, face: DrawnFace, label: Label, left: int, top: int, sizes: Sizes) -> None:
    """Draw a label with its upper left corner there."""
    line, gap, inset = label_height(sizes), sizes.gap, max(2, sizes.gap // 2)
    radius = round(0.45 * sizes.text)
    paste(canvas, block(label.width, label.height, radius, DARK, 0.8 if face.sure else 0.66), left, top)
    x, middle = left + gap, top + line // 2
    if label.name:
        x = left + inset + draw_name(canvas, face, label.name, left + inset, top, sizes) + gap
    if label.text:
        x += write(canvas, label.text, sizes.text, BRIGHT, x, middle) + gap
    if label.score:
        write(canvas, label.score, sizes.text, DIM, x, middle)
    if label.second:
        write(canvas, label.second, sizes.small, DIM, left + 2 * gap - inset, top + line + round(0.45 * sizes.small))


class LabelPlacer:
    """Chooses where labels stand in images of one size.

    A label keeps its side of the face while there is room for it, so that it does not flip with a trembling box.

    Args:
        width, height: of the image in pixels.
    """

    def __init__(self, width: int, height: int, sizes: Sizes) -> None:
        self.width = width
        self.height = height
        self.sizes = sizes
        self._sides: dict[int | None, str] = {}

    def place(self, face: DrawnFace, avoid: Sequence[Rect], rich: bool) -> tuple[Label, int, int] | None:
        """The fullest label with room for it, its left and its top; None where there is room for none.

        Args:
            avoid: rectangles that the label must not touch: boxes of other faces and their labels.
            rich: see ``labels``.
        """
        variants = labels(face, rich, self.sizes)
        before = self._sides.get(face.key)
        for label in variants:
            spots = sorted(self._around(face, label), key=lambda spot: spot[0] != before)
            for side, left, top in spots:
                if self._is_free(label, left, top, avoid):
                    self._sides[face.key] = side
                    return label, left, top
        left, top = (max(edge, 0) + 2 * self.sizes.gap for edge in face.box[:2])
        for label in variants:  # inside the box
            if self._is_free(label, left, top, avoid):
                return label, left, top
        return None

    def _is_free(self, label: Label, left: int, top: int, avoid: Sequence[Rect]) -> bool:
        rect = left, top, left + label.width, top + label.height
        inside = rect[0] >= 0 and rect[1] >= 0 and rect[2] <= self.width and rect[3] <= self.height
        return inside and not any(touching(rect, other) for other in avoid)

    def _around(self, face: DrawnFace, label: Label) -> Iterator[tuple[str, int, int]]:
        """Side, left and top of a label around a box, best first."""
        left, top, right, bottom = face.box
        gap = self.sizes.gap + self.sizes.line
        # Aligned with the box, unless it would then extend past the edge of the image.
        start = clamp(left - self.sizes.line, self.sizes.gap, self.width - self.sizes.gap - label.width)
        yield "above", start, top - gap - label.height
        yield "below", start, bottom + gap
        level = clamp(top - self.sizes.line, self.sizes.gap, self.height - self.sizes.gap - label.height)
        yield "right", right + gap, level
        yield "left", left - gap - label.width, level


def touching(one: Rect, other: Rect) -> bool:
    """Whether two rectangles share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
