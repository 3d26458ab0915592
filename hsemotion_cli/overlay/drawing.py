"""A picture and the table rows of its faces -> the picture with boxes, labels and score panels drawn in.

Everything drawn is made of stamps, which are kept: a frame costs a millisecond or two. Positions are whole pixels; all
lengths come from one text size, which comes from the size of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..domain import Image
from ..tasks import ACTION_UNITS, EXPRESSIONS
from .sprites import DARK, WHITE, Colour, block, cell, corner, dial_face, edge, ground, paste, word, write

Rect = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are outside
Row = Mapping[str, Any]  # one row of the table: column -> value; absent, None and nan all mean "unknown"

# Okabe and Ito's colours, told apart with any kind of colour vision; their black is left out.
PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
_BRIGHT: Colour = (248, 249, 250)
_DIM: Colour = (186, 191, 198)
_PLAIN: Colour = (150, 157, 166)  # bars that are not the highest

# Steps in which a bar grows: finer than a pixel for any bar here, few enough that every step can be kept.
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Sizes:
    """All lengths in pixels, from the size of the picture.

    Attributes:
        text: height of ordinary text.
        small: height of text in the cells and of the second line of a label.
        line: thickness of a box.
        gap: between things that belong together.
        pad: between a panel's edge and what it holds.
        row: height of a row with a bar.
        content: width of what a panel holds, in one column.
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
        # Tall pictures from telephones are narrow: there the width decides. Below 10 pixels nothing can be read.
        text = max(10, round(min(height, 0.8 * width) / 46))
        return cls(
            text=text,
            small=max(9, round(0.84 * text)),
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
        key: its id, or None; -1, -2, ... for people, whatever their ids.
        box: in pixels, in whole ones.
        sure: seen by the detector, not interpolated.
        label: name of the expression, or "".
        score: of that expression, in [0, 1].
        expressions: (name, probability) of the expressions that are known, in the order of ``EXPRESSIONS``.
        compound: name of the compound expression, or "".
        compound_score: in [0, 1].
        valence, arousal: in [-1, 1].
        units: (probability, present) of the twelve action units.
        person: who it is, or "".
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


@dataclass(frozen=True, slots=True)
class Panel:
    """Where the parts of a panel lie: left and top of each in pixels from the panel's own corner, or None."""

    width: int
    height: int
    expressions: tuple[int, int] | None
    compound: tuple[int, int] | None
    dial: tuple[int, int] | None
    units: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Label:
    """What stands beside a box, from its left to its right, and its size in pixels; ``bars`` is their number."""

    width: int
    height: int
    name: str
    text: str
    score: str
    bars: int
    second: str


@dataclass(frozen=True, slots=True)
class LabelPlace:
    """A panel at a side of a face; ``side`` and ``wide`` are remembered, so that it does not jump to and fro."""

    side: str
    wide: bool
    panel: Panel
    left: int
    top: int

    @property
    def rect(self) -> Rect:
        return self.left, self.top, self.left + self.panel.width, self.top + self.panel.height


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
    person = words(row, "person", spaces=False)
    if person and people is not None:
        key = people.setdefault(person, -1 - len(people))
    return DrawnFace(
        key=None if key is None else int(key),
        box=(left, top, max(right, left + 1), max(bottom, top + 1)),
        sure=not number(row, "interpolated") and number(row, "face_detected") != 0,
        label=label,
        score=number(row, "expression_score"),
        # A class that the model does not know has no row in the picture either.
        expressions=tuple((name, p) for name in EXPRESSIONS if (p := number(row, f"p_{name}")) is not None),
        compound=compound,
        compound_score=number(row, "p_" + compound.replace(" ", "_")),
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
    except (TypeError, ValueError):  # pandas has a missing value of its own that is no number
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


def label_height(sizes: Sizes) -> int:
    """Height in pixels of a label of one line."""
    return round(1.75 * sizes.text)


def labels(face: DrawnFace, rich: bool, sizes: Sizes) -> list[Label]:
    """What the label of a face may say, the fullest first; ``rich`` where no panel says the rest."""
    name = face.person or ("" if face.key is None else str(face.key))
    score = "" if face.score is None or not face.label else f"{face.score:.2f}"
    bars = len(face.expressions)
    second = "   ".join(
        f"{title} {signed(value)}"
        for title, value in (("valence", face.valence), ("arousal", face.arousal))
        if value is not None
    )
    kinds = [(face.label, score, 0, ""), (face.label, "", 0, ""), ("", "", 0, "")]
    if rich:
        kinds = [(face.label, score, bars, second), (face.label, score, bars, ""), *kinds]
    found = [size_label(name, *kind, sizes) for kind in kinds if name or any(kind)]
    return list(dict.fromkeys(found))


def size_label(name: str, text: str, score: str, bars: int, second: str, sizes: Sizes) -> Label:
    """A label with the size that its parts need."""
    height, gap = label_height(sizes), sizes.gap
    width = 0
    if name:
        width += name_width(name, sizes) + gap
    for part in (text, score):
        width += word(part, sizes.text, _BRIGHT).width + gap if part else 0
    if bars:
        width += bars * small_bar_width(sizes) + gap
    width += gap if text or bars else 0
    if second:
        width = max(width, word(second, sizes.small, _DIM).width + 3 * gap)
        height += round(1.35 * sizes.small)
    return Label(width, height, name, text, score, bars, second)


def name_width(name: str, sizes: Sizes) -> int:
    """Width in pixels of the coloured field that holds an id; never narrower than it is high."""
    inset = max(2, sizes.gap // 2)
    return max(word(name, sizes.text, DARK).width + 2 * sizes.gap, label_height(sizes) - 2 * inset) + inset


def small_bar_width(sizes: Sizes) -> int:
    """Width in pixels of an upright bar of a label, with the gap beside it."""
    return max(3, round(0.42 * sizes.text))


def draw_label(canvas: Image, face: DrawnFace, label: Label, left: int, top: int, sizes: Sizes) -> None:
    """Draw a label with its upper left corner there."""
    line, gap, inset = label_height(sizes), sizes.gap, max(2, sizes.gap // 2)
    radius = round(0.45 * sizes.text)
    paste(canvas, block(label.width, label.height, radius, DARK, 0.8 if face.sure else 0.66), left, top)
    x, middle = left, top + line // 2
    if label.name:
        field = name_width(label.name, sizes) - inset
        colour = face.colour
        paste(canvas, block(field, line - 2 * inset, radius - 1, colour, 1.0), left + inset, top + inset)
        # Black or white, whichever stands out more from the colour of this face (its luma, 0 to 255).
        ink = DARK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 115 else _BRIGHT
        write(canvas, label.name, sizes.text, ink, left + inset + field // 2, middle, 0.5)
        x += inset + field
    x += gap if label.name else 0
    x += gap if not label.name else 0
    if label.text:
        x += write(canvas, label.text, sizes.text, _BRIGHT, x, middle) + gap
    if label.score:
        x += write(canvas, label.score, sizes.text, _DIM, x, middle) + gap
    if label.bars:
        draw_small_bars(canvas, face, x, top + inset + 1, line - 2 * inset - 2, sizes)
    if label.second:
        write(canvas, label.second, sizes.small, _DIM, left + 2 * gap - inset, top + line + round(0.45 * sizes.small))


def draw_small_bars(canvas: Image, face: DrawnFace, left: int, top: int, height: int, sizes: Sizes) -> None:
    """An upright bar for each known expression in a field of this height, in the order of ``EXPRESSIONS``."""
    step = small_bar_width(sizes)
    highest = max((p for _, p in face.expressions), default=0.0)
    for index, (_, value) in enumerate(face.expressions):
        size = max(1, round(clamp(value, 0.0, 1.0) * height))
        colour = face.colour if value == highest else _PLAIN
        x, wide = left + index * step, step - max(1, step // 4)
        paste(canvas, block(wide, height, 0, WHITE, 0.14), x, top)
        paste(canvas, block(wide, size, 0, colour, 1.0), x, top + height - size)


@lru_cache(maxsize=256)
def lay_out(sections: tuple[int, bool, bool, bool], wide: bool, sizes: Sizes) -> Panel:
    """Place the sections of a panel: one below the other, or ``wide``, the expressions beside the rest."""
    pad, gap, row = sizes.pad, sizes.gap, sizes.row
    expressions, compound, dial, units = sections
    first = row * expressions + row * compound
    cells = 2 * cell_size(sizes)[1] + cell_gap(sizes)
    second = sizes.dial * dial + (pad if dial and units else 0) + cells * units
    left = pad + gap // 2
    beside = wide and first > 0 and second > 0
    if beside:
        x, start = left + sizes.content + 2 * pad, pad + max(0, (first - second) // 2)
        width, height = x + sizes.content + pad, max(first, second) + 2 * pad
    else:
        x, start = left, pad + first + (pad if first and second else 0)
        width, height = left + sizes.content + pad, start + second + pad
    return Panel(
        width=width,
        height=height,
        expressions=(left, pad) if expressions else None,
        compound=(left, pad + row * expressions) if compound else None,
        dial=(x, start) if dial else None,
        units=(x, start + (sizes.dial + pad if dial else 0)) if units else None,
    )


def draw_panel(canvas: Image, face: DrawnFace, place: LabelPlace, sizes: Sizes) -> None:
    """Draw all that is known of a face on a dark ground with a stripe of the face's colour."""
    panel = place.panel
    radius = round(0.6 * sizes.text)
    paste(canvas, ground(panel.width, panel.height, radius, max(2, sizes.gap // 2), face.colour), place.left, place.top)
    if panel.expressions:
        draw_expressions(canvas, face, place.left + panel.expressions[0], place.top + panel.expressions[1], sizes)
    if panel.compound:
        draw_compound(canvas, face, place.left + panel.compound[0], place.top + panel.compound[1], sizes)
    if panel.dial:
        draw_dial(canvas, face, place.left + panel.dial[0], place.top + panel.dial[1], sizes)
    if panel.units:
        draw_units(canvas, face, place.left + panel.units[0], place.top + panel.units[1], sizes)


def draw_expressions(canvas: Image, face: DrawnFace, left: int, top: int, sizes: Sizes) -> None:
    """A row of name, bar and score for each known expression; the highest in the colour of the face."""
    start, length, thick = left + round(5.3 * sizes.text), round(5.6 * sizes.text), max(4, round(0.5 * sizes.text))
    highest = max((p for _, p in face.expressions), default=0.0)
    for index, (name, value) in enumerate(face.expressions):
        middle = top + index * sizes.row + sizes.row // 2
        ink, colour = (_BRIGHT, face.colour) if value == highest else (_DIM, _PLAIN)
        write(canvas, name, sizes.text, ink, left, middle)
        paste(canvas, block(length, thick, thick / 2, WHITE, 0.14), start, middle - thick // 2)
        steps = round(clamp(value, 0.0, 1.0) * _STEPS)
        if steps:
            # No shorter than it is thick, so that it stays round.
            filled = max(thick, steps * length / _STEPS)
            paste(canvas, block(filled, thick, thick / 2, colour, 1.0), start, middle - thick // 2)
        write(canvas, f"{value:.2f}", sizes.text, ink, left + sizes.content, middle, 1.0)


def draw_compound(canvas: Image, face: DrawnFace, left: int, top: int, sizes: Sizes) -> None:
    """The name of the compound expression and its score in one row."""
    middle = top + sizes.row // 2 + sizes.gap // 2
    write(canvas, face.compound, sizes.small, _DIM, left, middle)
    if face.compound_score is not None:
        write(canvas, f"{face.compound_score:.2f}", sizes.text, _DIM, left + sizes.content, middle, 1.0)


def draw_dial(canvas: Image, face: DrawnFace, left: int, top: int, sizes: Sizes) -> None:
    """A circle with valence to the right and arousal upwards, a dot in it, and both numbers beside it.

    A point outside the unit circle is drawn on its rim.
    """
    paste(canvas, dial_face(sizes.dial), left, top)
    column = left + sizes.dial + 2 * sizes.gap + sizes.gap // 2
    for line, (name, value) in enumerate((("valence", face.valence), ("arousal", face.arousal))):
        if value is not None:
            middle = top + sizes.dial // 2 + (line * 2 - 1) * sizes.row // 2
            write(canvas, name, sizes.text, _DIM, column, middle)
            write(canvas, signed(value), sizes.text, _BRIGHT, left + sizes.content, middle, 1.0)
    if face.valence is None or face.arousal is None:
        return
    reach = (sizes.dial - 1) / 2
    size = max(5, round(0.75 * sizes.text)) | 1  # odd, so that it has a middle pixel
    scale = (reach - size / 4) / max(1.0, math.hypot(face.valence, face.arousal))
    x = left + round(reach + scale * face.valence) - size // 2
    y = top + round(reach - scale * face.arousal) - size // 2
    rim = max(1, size // 6)
    paste(canvas, block(size + 2 * rim, size + 2 * rim, size / 2 + rim, _BRIGHT, 1.0), x - rim, y - rim)
    paste(canvas, block(size, size, size / 2, face.colour, 1.0), x, y)


def draw_units(canvas: Image, face: DrawnFace, left: int, top: int, sizes: Sizes) -> None:
    """Two rows of six cells: the number of an action unit over a fill of its probability, a rim if it is present."""
    width, height = cell_size(sizes)
    gap = cell_gap(sizes)
    start = left + sizes.content - 6 * width - 5 * gap
    write(canvas, "AU", sizes.text, _DIM, left, top + height + gap // 2)
    for index, (unit, (value, present)) in enumerate(zip(ACTION_UNITS, face.units, strict=True)):
        if value is None and not present:
            continue
        x, y = start + index % 6 * (width + gap), top + index // 6 * (height + gap)
        level = round(clamp(value or 0.0, 0.0, 1.0) * height)
        paste(canvas, cell(width, height, level, present, face.colour), x, y)
        ink = _BRIGHT if present else _DIM
        write(canvas, str(int(unit[2:])), sizes.small, ink, x + width // 2, y + height // 2, 0.5)


def cell_size(sizes: Sizes) -> tuple[int, int]:
    """Width and height in pixels of the cell of one action unit."""
    return (sizes.content - round(2.0 * sizes.text) - 5 * cell_gap(sizes)) // 6, round(1.6 * sizes.text)


def cell_gap(sizes: Sizes) -> int:
    """Pixels between two cells."""
    return max(2, round(0.22 * sizes.text))


def signed(value: float) -> str:
    """A number with its sign, and none where it rounds to zero; the font has no other minus than the hyphen."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def clamp(value: Any, low: Any, high: Any) -> Any:
    """The value, or the nearest of both limits; the lower one where they cross."""
    return max(low, min(value, high))


def touching(one: Rect, other: Rect) -> bool:
    """Whether two rectangles share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def shared(one: Rect, other: Rect) -> int:
    """Pixels that two rectangles share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height)


def area(rect: Rect) -> int:
    """Pixels of a rectangle."""
    return (rect[2] - rect[0]) * (rect[3] - rect[1])
