"""Which action units are present together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...palette import INK
from ...tasks import ACTION_UNITS
from ..plotting import vector_bar
from .material import UNIT_PRESENT, Material, require
from .style import MISSING, note, page

Floats = np.ndarray


def draw(materials: Sequence[Material], path: Path, width: float) -> None:
    """Draw a matrix: of the rows of the tables with one action unit, the share that has each other one as well.

    Raises:
        InputError: the tables have no action units.
        ModelUnavailable, OutputError: as ``style.page``.
    """
    for material in materials:
        require(material, UNIT_PRESENT, "action units")
    shares, count, rows = together(materials)
    units = len(ACTION_UNITS)
    names = [unit[2:].lstrip("0") for unit in ACTION_UNITS]
    with page(path, width, 0.8 * min(width, 110.0) + 12) as figure:
        axes = figure.subplots()
        axes.set_facecolor(MISSING)
        edges = np.arange(units + 1) - 0.5
        image = axes.pcolormesh(edges, edges, np.ma.masked_invalid(shares), cmap="cividis", vmin=0, vmax=1)
        axes.set(ylim=(units - 0.5, -0.5), aspect="equal")
        size = max(4.0, min(6.5, width / 85 * 4.6))
        for i, j in np.ndindex(units, units):
            value = shares[i, j]
            text = "\u2013" if np.isnan(value) else f"{100 * value:.0f}"
            ink = INK if np.isnan(value) or value > 0.5 else "white"
            axes.text(j, i, text, ha="center", va="center", fontsize=size, color=ink)
        axes.set_xticks(range(units), names)
        axes.set_yticks(range(units), [f"{name}  ({n:,})" for name, n in zip(names, count, strict=True)])
        axes.tick_params(length=0)
        axes.set_xlabel("is present as well (AU)")
        axes.set_ylabel("where this AU is present (faces)")
        for edge in axes.spines.values():
            edge.set_visible(False)
        bar = vector_bar(figure, image, axes, "share (%)", shrink=0.9, aspect=30, pad=0.02, ticks=[0, 0.5, 1])
        bar.ax.set_yticklabels(["0", "50", "100"])
        made = " / ".join(dict.fromkeys(m.made for m in materials if m.made))
        note(
            figure,
            " · ".join(
                part for part in (f"{rows:,} faces in {len(materials)} table{'s' * (len(materials) > 1)}", made) if part
            ),
        )


def together(materials: Sequence[Material]) -> tuple[Floats, Floats, int]:
    """Shares, counts and rows of the presence of action units.

    Returns:
        (12, 12) share of the rows with unit i that have unit j, nan where unit i is never present or never known
            together with j; (12,) rows with each unit; rows in which any unit is known.
    """
    present = np.concatenate([t.matrix(UNIT_PRESENT) for m in materials for t in m.recording.tracks])
    known = ~np.isnan(present)
    on = (np.nan_to_num(present) == 1).astype(np.int64)
    both, of = on.T @ on, on.T @ known.astype(np.int64)
    shares = np.divide(both, of, out=np.full(both.shape, np.nan), where=of > 0)
    return shares, on.sum(axis=0), int(known.any(axis=1).sum())
