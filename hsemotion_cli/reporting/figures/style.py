"""The style of figures for print: sizes in millimetres, one font, colours that are never the only mark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...palette import EXPRESSION_COLOURS, INK, PERSON_COLOURS, QUIET, YELLOW
from ...tasks import EXPRESSIONS
from ..plotting import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCH = 25.4  # millimetres
NARROWEST, WIDEST = 40.0, 600.0
"""Millimetres between which a figure's width lies: less holds no label, more is a poster."""

MISSING = "#e9e9e9"
EVENT = "#000000"

_HATCHES = ("", "////", "....", "\\\\\\\\", "oo", "xxxx", "||||", "----", "++++")
HATCHES: dict[str, str] = dict(zip(EXPRESSIONS, _HATCHES, strict=True))
"""Expression -> hatch; only neutral has none."""

LINES: tuple[tuple[Any, str], ...] = (
    ("solid", "o"),
    ((0, (4, 1.5)), "s"),
    ((0, (1, 1)), "^"),
    ((0, (6, 1.5, 1, 1.5)), "D"),
    ((0, (8, 2)), "v"),
)
"""Line style and marker of people, in their order; the sixth has the first again."""

_SETTINGS: dict[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "hatch.linewidth": 0.4,
    "hatch.color": "#333333",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
}


def person_colour(index: int) -> str:
    """Colour of the person with this position, dark enough for a line on white."""
    return _DARKER.get(PERSON_COLOURS[index % len(PERSON_COLOURS)], PERSON_COLOURS[index % len(PERSON_COLOURS)])


_DARKER = {YELLOW: "#8a8000"}  # yellow lines cannot be seen on white paper


def millimetres(text: str) -> float:
    """A length such as 85mm, 8.5cm or 3.35in in millimetres; a number alone is in millimetres.

    Raises:
        UsageError: it is no length between ``NARROWEST`` and ``WIDEST``.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(mm|cm|in|)\s*", text.lower())
    length = float(match[1]) * {"mm": 1.0, "": 1.0, "cm": 10.0, "in": INCH}[match[2]] if match else 0.0
    if not NARROWEST <= length <= WIDEST:
        raise UsageError(
            f"--width {text}: give a length from {NARROWEST:.0f}mm to {WIDEST:.0f}mm, such as 85mm, 17.4cm or 3.35in."
        )
    return length


@contextmanager
def page(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure in this style, which is written when the block ends.

    Args:
        path: ``.pdf``, ``.svg`` or ``.png``.
        width, height: millimetres.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    with save_figure(path, (width / INCH, height / INCH), _SETTINGS) as figure:
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, hspace=0.02, wspace=0.02)
        yield figure


def bare(axes: Axes, *, keep: str = "left bottom") -> None:
    """Leave only the named edges of a panel."""
    for edge, line in axes.spines.items():
        line.set_visible(edge in keep.split())


def note(figure: Figure, text: str) -> None:
    """A line below the figure: what was measured, by which model."""
    figure.supxlabel(text, fontsize=5.5, color=QUIET, x=0.01, ha="left")


def swatch(name: str) -> Any:
    """The legend's field of an expression."""
    from matplotlib.patches import Patch

    return Patch(
        facecolor=EXPRESSION_COLOURS[name], hatch=HATCHES[name], edgecolor=INK, linewidth=0.4, label=name
    )  # fmt: skip
