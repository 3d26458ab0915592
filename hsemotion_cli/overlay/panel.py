"""The panel of one face: all its scores on a dark ground, in a form for as much room as there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from ..domain import Image
from ..tasks import ACTION_UNITS
from .drawing import BRIGHT, DIM, DrawnFace, Sizes, clamp, signed
from .labels import draw_name, label_height
from .sprites import WHITE, Colour, block, cell, dial_face, ground, paste, word, write

_PLAIN: Colour = (150, 157, 166)  # bars that are not the highest

# Steps in which a bar grows: finer than a pixel for any bar here, few enough that every step can be cached.
_STEPS = 200

FORMS = ("full", "compact", "brief")
"""From the tallest to the lowest. Compact has valence and arousal as numbers only; brief has no bars either, but the
expression beside the name."""

Sections = tuple[int, bool, bool, bool]
"""As in ``DrawnFace.sections``."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Size of a panel in pixels, and the top of each of its parts from its upper edge, or None."""

    form: str
    width: int
    height: int
    expressions: int | None
    compound: int | None
    dial: int | None
    affect: int | None
    units: int | None


@lru_cache(maxsize=256)
def lay_out(sections: Sections, form: str, sizes: Sizes) -> Panel:
    """Stack the parts of a panel below its title."""
    count, compound, affect, units = sections
    gap = max(2, sizes.pad // (2 if form == "full" else 3))
    top = label_height(sizes) + gap // 2
    tops: dict[str, int | None] = dict.fromkeys(("expressions", "compound", "dial", "affect", "units"))
    row = row_height(form, sizes)
    if count and form != "brief":
        tops["expressions"], top = top, top + count * row
        if compound:
            tops["compound"], top = top, top + row
        top += gap
    if affect:
        kind, height = ("dial", sizes.dial) if form == "full" else ("affect", row)
        tops[kind], top = top, top + height + gap
    if units:
        tops["units"], top = top, top + 2 * cell_size(sizes)[1] + cell_gap(sizes) + gap
    return Panel(form, panel_width(sizes), top + gap // 2, **tops)


def row_height(form: str, sizes: Sizes) -> int:
    """Height in pixels of a row of a panel of this form: two compact panels fit beside an image of 16:9."""
    return sizes.row if form == "full" else round(1.2 * sizes.text)


def panel_width(sizes: Sizes) -> int:
    """Width in pixels of every panel."""
    return _left(sizes) + sizes.content + sizes.pad


def _left(sizes: Sizes) -> int:
    """Pixels from the left edge of a panel to its content; the stripe takes some of them."""
    return sizes.pad + sizes.gap // 2


def draw_panel(
    canvas: Image, face: DrawnFace, panel: Panel, left: int, top: int, sizes: Sizes, seen: bool = True
) -> None:
    """Draw the scores of a face on a dark ground with a stripe of the face's colour.

    Args:
        left, top: upper left corner of the panel in pixels of the canvas.
        seen: whether the face is in this frame; otherwise only its name is drawn.
    """
    radius, stripe = round(0.6 * sizes.text), max(2, sizes.gap // 2)
    paste(canvas, ground(panel.width, panel.height, radius, stripe, face.colour), left, top)
    left += _left(sizes)
    draw_title(canvas, face, panel, left, top + max(1, sizes.gap // 3), sizes, seen)
    if not seen:
        return
    row = row_height(panel.form, sizes)
    if panel.expressions is not None:
        draw_expressions(canvas, face, left, top + panel.expressions, row, sizes)
    if panel.compound is not None and face.compound:
        draw_compound(canvas, face, left, top + panel.compound, row, sizes)
    if panel.dial is not None:
        draw_dial(canvas, face, left, top + panel.dial, sizes)
    if panel.affect is not None:
        draw_affect(canvas, face, left, top + panel.affect, row, sizes)
    if panel.units is not None:
        draw_units(canvas, face, left, top + panel.units, sizes)


def draw_title(canvas: Image, face: DrawnFace, panel: Panel, left: int, top: int, sizes: Sizes, seen: bool) -> None:
    """The name or id of a face, and on the right what the panel's form leaves out, or why there are no scores."""
    middle, right = top + label_height(sizes) // 2, left + sizes.content
    name = shortened(face.name, sizes.content - 2 * sizes.gap, sizes)
    start = left + (draw_name(canvas, face, name, left, top, sizes) + sizes.gap if name else 0)
    note = "not found" if not seen else "interpolated" if not face.sure else ""
    if note:
        if start + word(note, sizes.small, DIM).width <= right:
            write(canvas, note, sizes.small, DIM, right, middle, 1.0)
    elif panel.form == "brief" and face.label:
        score = "" if face.score is None else f"{face.score:.2f}"
        room = right - start - word(score, sizes.text, DIM).width
        if word(face.label, sizes.text, BRIGHT).width + sizes.gap <= room:
            write(canvas, face.label, sizes.text, BRIGHT, start, middle)
            write(canvas, score, sizes.text, DIM, right, middle, 1.0)


@lru_cache(maxsize=256)
def shortened(text: str, width: int, sizes: Sizes) -> str:
    """The text, or its beginning and an ellipsis, not wider than ``width`` pixels."""
    if word(text, sizes.text, DIM).width <= width:
        return text
    while text and word(text + "…", sizes.text, DIM).width > width:
        text = text[:-1]
    return text.rstrip() + "…"


def draw_expressions(canvas: Image, face: DrawnFace, left: int, top: int, row: int, sizes: Sizes) -> None:
    """A row of name, bar and score for each known expression, ``row`` pixels high; the highest in the face's colour."""
    start, length, thick = left + round(5.3 * sizes.text), round(5.6 * sizes.text), max(4, round(0.5 * sizes.text))
    highest = max((p for _, p in face.expressions), default=0.0)
    for index, (name, value) in enumerate(face.expressions):
        middle = top + index * row + row // 2
        ink, colour = (BRIGHT, face.colour) if value == highest else (DIM, _PLAIN)
        write(canvas, name, sizes.text, ink, left, middle)
        paste(canvas, block(length, thick, thick / 2, WHITE, 0.14), start, middle - thick // 2)
        steps = round(clamp(value, 0.0, 1.0) * _STEPS)
        if steps:
            # No shorter than it is thick, so that it stays round.
            filled = max(thick, steps * length / _STEPS)
            paste(canvas, block(filled, thick, thick / 2, colour, 1.0), start, middle - thick // 2)
        write(canvas, f"{value:.2f}", sizes.text, ink, left + sizes.content, middle, 1.0)


def draw_compound(canvas: Image, face: DrawnFace, left: int, top: int, row: int, sizes: Sizes) -> None:
    """The name of the compound expression and its score in one row."""
    middle = top + row // 2 + sizes.gap // 2
    write(canvas, face.compound, sizes.small, DIM, left, middle)
    if face.compound_score is not None:
        write(canvas, f"{face.compound_score:.2f}", sizes.text, DIM, left + sizes.content, middle, 1.0)


def draw_dial(canvas: Image, face: DrawnFace, left: int, top: int, sizes: Sizes) -> None:
    """A circle with valence to the right and arousal upwards, a dot in it, and both numbers beside it.

    A point outside the unit circle is drawn on its rim.
    """
    paste(canvas, dial_face(sizes.dial), left, top)
    column = left + sizes.dial + 2 * sizes.gap + sizes.gap // 2
    for line, (name, value) in enumerate((("valence", face.valence), ("arousal", face.arousal))):
        if value is not None:
            middle = top + sizes.dial // 2 + (line * 2 - 1) * sizes.row // 2
            write(canvas, name, sizes.text, DIM, column, middle)
            write(canvas, signed(value), sizes.text, BRIGHT, left + sizes.content, middle, 1.0)
    if face.valence is None or face.arousal is None:
        return
    reach = (sizes.dial - 1) / 2
    size = max(5, round(0.75 * sizes.text)) | 1  # odd, so that it has a middle pixel
    scale = (reach - size / 4) / max(1.0, math.hypot(face.valence, face.arousal))
    x = left + round(reach + scale * face.valence) - size // 2
    y = top + round(reach - scale * face.arousal) - size // 2
    rim = max(1, size // 6)
    paste(canvas, block(size + 2 * rim, size + 2 * rim, size / 2 + rim, BRIGHT, 1.0), x - rim, y - rim)
    paste(canvas, block(size, size, size / 2, face.colour, 1.0), x, y)


def draw_affect(canvas: Image, face: DrawnFace, left: int, top: int, row: int, sizes: Sizes) -> None:
    """Valence on the left and arousal on the right of one row, as numbers."""
    middle, half = top + row // 2, affect_width(sizes)
    ends = (left + half, left + sizes.content)
    for end, name, value in zip(ends, ("valence", "arousal"), (face.valence, face.arousal), strict=True):
        if value is not None:
            write(canvas, name, sizes.small, DIM, end - half, middle)
            write(canvas, signed(value), sizes.small, BRIGHT, end, middle, 1.0)


def affect_width(sizes: Sizes) -> int:
    """Width in pixels of valence, and of arousal, where they share a row."""
    return (sizes.content - 3 * sizes.gap) // 2


def draw_units(canvas: Image, face: DrawnFace, left: int, top: int, sizes: Sizes) -> None:
    """Two rows of six cells: the number of an action unit over a fill of its probability, a rim if it is present."""
    width, height = cell_size(sizes)
    gap = cell_gap(sizes)
    start = left + sizes.content - 6 * width - 5 * gap
    write(canvas, "AU", sizes.text, DIM, left, top + height + gap // 2)
    for index, (unit, (value, present)) in enumerate(zip(ACTION_UNITS, face.units, strict=True)):
        if value is None and not present:
            continue
        x, y = start + index % 6 * (width + gap), top + index // 6 * (height + gap)
        level = round(clamp(value or 0.0, 0.0, 1.0) * height)
        paste(canvas, cell(width, height, level, present, face.colour), x, y)
        ink = BRIGHT if present else DIM
        write(canvas, str(int(unit[2:])), sizes.small, ink, x + width // 2, y + height // 2, 0.5)


def cell_size(sizes: Sizes) -> tuple[int, int]:
    """Width and height in pixels of the cell of one action unit."""
    return (sizes.content - round(2.0 * sizes.text) - 5 * cell_gap(sizes)) // 6, round(1.6 * sizes.text)


def cell_gap(sizes: Sizes) -> int:
    """Pixels between two cells."""
    return max(2, round(0.22 * sizes.text))
