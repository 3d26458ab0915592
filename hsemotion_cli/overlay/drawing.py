"""One table row as a face to be drawn, its box in the image, and the sizes that everything drawn has in common.

Everything drawn consists of cached sprites: a frame costs a millisecond or two. Positions are whole pixels; all
lengths derive from one text size, which derives from the size of the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..domain import Image
from ..palette import PERSON_COLOURS
from ..tasks import ACTION_UNITS, EXPRESSIONS
from .sprites import Colour, corner, edge, paste

Rect = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are outside
Row = Mapping[str, Any]  # one row of the table: column -> value; absent, None and nan all mean "unknown"

PALETTE: tuple[Colour, ...] = tuple(
    (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)) for text in PERSON_COLOURS
)
"""Colours of people as RGB."""

BRIGHT: Colour = (248, 249, 250)
DIM: Colour = (186, 191, 198)


@dataclass(frozen=True, slots=True)
class Sizes:
    """All lengths in pixels, derived from the size of the image.

    Attributes:
        text: height of ordinary text.
        small: height of text in the cells of action units and of other secondary text.
        line: thickness of a box.
        gap: between items that belong together.
        pad: between the edge of a panel and its content.
        row: height of a row with a bar.
        content: width of the content of a panel.
        dial: diameter of the valence-arousal dial.
    """

    text: int
    small: int
    line: int
    gap: int
    pad: int
    row: int
    content: int
    dial: int

    @classmethod
    def of(cls, width: int, height: int) -> Sizes:
        # Portrait videos from phones are narrow: there the width decides. Below 11 pixels text is hard to read after
        # the video has been compressed.
        text = max(11, round(min(height, 0.8 * width) / 46))
        return cls(
            text=text,
            small=max(10, round(0.84 * text)),
            line=max(2, round(0.17 * text)),
            gap=max(3, round(0.4 * text)),
            pad=round(0.85 * text),
            row=round(1.38 * text),
            content=round(13.6 * text),
            dial=round(5.2 * text),
        )


@dataclass(frozen=True, slots=True)
class DrawnFace:
    """One table row as it will be drawn; None and empty are not drawn.

    Attributes:
        key: its id, or None; -1, -2, ... for people with a name, whatever their ids.
        box: in whole pixels.
        sure: found by the detector, not interpolated.
        label: name of the expression, or "".
        score: of that expression, in [0, 1].
        expressions: (name, probability) of the expressions that are known, in the order of ``EXPRESSIONS``.
        compound: name of the compound expression, "no compound", or "" if nothing is known.
        compound_score: in [0, 1].
        valence, arousal: in [-1, 1].
        units: (probability, present) of the twelve action units.
        person: name of the person, or "".
    """

    key: int | None
    box: Rect
    sure: bool
    label: str
    score: float | None
    expressions: tuple[tuple[str, float], ...]
    compound: str
    compound_score: float | None
    valence: float | None
    arousal: float | None
    units: tuple[tuple[float | None, bool], ...]
    person: str = ""

    @property
    def name(self) -> str:
        """The person, or the id, or "" without both."""
        return self.person or ("" if self.key is None else str(self.key))

    @property
    def colour(self) -> Colour:
        key = self.key or 0
        return PALETTE[(key if key >= 0 else -1 - key) % len(PALETTE)]

    @property
    def sections(self) -> tuple[int, bool, bool, bool]:
        """How many expressions there are, and whether a compound, valence or arousal, action units."""
        return (
            len(self.expressions),
            bool(self.compound),
            self.valence is not None or self.arousal is not None,
            any(p is not None or present for p, present in self.units),
        )


def read_row(row: Row, width: int, height: int, people: dict[str, int] | None = None) -> DrawnFace | None:
    """A table row as a face; None without a box, or with one outside the image of this width and height.

    Args:
        people: key of each person so far; a new one is added.
    """
    x, y, w, h = (number(row, column) for column in "xywh")
    if x is None or y is None or w is None or h is None or w <= 0 or h <= 0:
        return None
    left, top, right, bottom = round(x), round(y), round(x + w), round(y + h)
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return None
    key, label, compound = number(row, "face_id"), words(row, "expression"), words(row, "compound")
    compound_score = number(row, "p_" + compound.replace(" ", "_"))
    if not compound and (none := number(row, "p_no_compound")) is not None:
        compound, compound_score = "no compound", none  # so that the panel keeps its size from frame to frame
    person = words(row, "person", spaces=False)
    if person and people is not None:
        key = people.setdefault(person, -1 - len(people))
    return DrawnFace(
        key=None if key is None else int(key),
        box=(left, top, max(right, left + 1), max(bottom, top + 1)),
        sure=not number(row, "interpolated") and number(row, "face_detected") != 0,
        label=label,
        score=number(row, "expression_score"),
        # A class that the model does not know has no row in the overlay either.
        expressions=tuple((name, p) for name in EXPRESSIONS if (p := number(row, f"p_{name}")) is not None),
        compound=compound,
        compound_score=compound_score,
        valence=number(row, "valence"),
        arousal=number(row, "arousal"),
        units=tuple((number(row, f"{unit}_p"), bool(number(row, f"{unit}_c"))) for unit in ACTION_UNITS),
        person=person,
    )


def number(row: Row, column: str) -> float | None:
    """A finite number of a table row; None where there is none."""
    value = row.get(column)
    if value is None or isinstance(value, str):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):  # pandas' own missing value is not a number
        return None
    return found if math.isfinite(found) else None


def words(row: Row, column: str, spaces: bool = True) -> str:
    """A name of a table row, short enough for a label, with ``spaces`` for low lines; "" where there is none."""
    value = row.get(column)
    if not isinstance(value, str):
        return ""
    return " ".join((value.replace("_", " ") if spaces else value).split())[:32]


def draw_box(canvas: Image, face: DrawnFace, sizes: Sizes) -> None:
    """The box of a face: four strong corners joined by thin lines, or dashes all around if it was interpolated."""
    left, top, right, bottom = face.box
    line, halo = sizes.line, max(1, sizes.line // 2)
    shorter = min(right - left, bottom - top)
    if face.sure and shorter >= 6 * line:
        arm = max(4 * line, min(shorter // 4, 3 * sizes.text))
        radius = min(round(0.6 * sizes.text), arm // 2)
        reach = halo + line // 2
        for across in (False, True):
            for down in (False, True):
                stamp = corner(arm, line, halo, radius, face.colour, across, down)
                height, width = stamp.light.shape[:2]
                x = right + reach - width if across else left - reach
                y = bottom + reach - height if down else top - reach
                paste(canvas, stamp, x, y)
        thin, dash, skip, opacity = max(1, line // 2), 0, arm, 0.5
    else:
        thin, dash, skip, opacity = line, max(4, round(0.55 * sizes.text)), 0, 0.85
    height, width = canvas.shape[:2]
    for position in (top, bottom):
        start, stop = max(left + skip, 0), min(right - skip, width)
        if stop > start:
            paste(canvas, edge(stop - start, thin, dash, face.colour, opacity, False), start, position - thin // 2)
    for position in (left, right):
        start, stop = max(top + skip, 0), min(bottom - skip, height)
        if stop > start:
            paste(canvas, edge(stop - start, thin, dash, face.colour, opacity, True), position - thin // 2, start)


def signed(value: float) -> str:
    """A number with its sign, and none where it rounds to zero; the font has no other minus than the hyphen."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def clamp(value: Any, low: Any, high: Any) -> Any:
    """The value clamped to the limits; the lower limit if they cross."""
    return max(low, min(value, high))
