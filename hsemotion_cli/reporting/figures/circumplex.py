"""The path of each person through the plane of valence and arousal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...analysis.recordings import called
from ...errors import UsageError
from ...palette import INK, QUIET
from ..plotting import vector_bar
from .binning import columns_of
from .material import Material, on_frames, require
from .style import bare, note, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection

_MOST_PEOPLE = 6
_CORNERS = (
    ("negative, active", -1, 1),
    ("positive, active", 1, 1),
    ("negative, calm", -1, -1),
    ("positive, calm", 1, -1),
)


def draw(material: Material, path: Path, width: float) -> None:
    """Draw a panel for each person.

    Raises:
        InputError: the table has no valence and arousal.
        UsageError: more people than a figure can hold.
        ModelUnavailable, OutputError: as ``style.page``.
    """
    require(material, ["valence", "arousal"], "valence and arousal")
    tracks = material.recording.tracks
    if len(tracks) > _MOST_PEOPLE:
        raise UsageError(
            f"{material.recording.path}: a circumplex holds {_MOST_PEOPLE} people, this table has {len(tracks)}; "
            "choose some with --person."
        )
    across = 1 if width < 110 or len(tracks) == 1 else min(3, len(tracks))
    down = -(-len(tracks) // across)
    side = (min(width, 110.0) - 20) / across  # of a panel; the rest holds the axes' numbers and the colour bar
    columns = columns_of(material.recording)
    middle = (columns.edges[:-1] + columns.edges[1:]) / 2
    with page(path, width, down * (side + 9) + 10) as figure:
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        drawn = None
        for axes, track in zip(grid, tracks, strict=False):
            valence, arousal = (
                columns.mean(on_frames(track, name, len(material.recording.time))) for name in ("valence", "arousal")
            )
            drawn = _path(axes, middle, valence, arousal) or drawn
            if len(tracks) > 1:
                axes.set_title(called(track.person, 30))
        for axes in grid[len(tracks) :]:
            axes.set_visible(False)
        if drawn is not None:
            drawn.set_clim(float(columns.edges[0]), float(columns.edges[-1]))
            vector_bar(figure, drawn, list(grid), "time (s)", shrink=0.9, aspect=30, pad=0.02)
        averaged = f"means of {columns.seconds:.2g} s" if columns.seconds else ""
        words = (material.recording.name, material.made, averaged, "○ first, □ last")
        note(figure, " · ".join(part for part in words if part))


def _path(axes: Axes, time: np.ndarray, valence: np.ndarray, arousal: np.ndarray) -> LineCollection | None:
    """The circle, the path as a line coloured by time with gaps where values are missing, its start and its end."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=QUIET, linewidth=0.6))
    axes.axhline(0, color=QUIET, linewidth=0.4)
    axes.axvline(0, color=QUIET, linewidth=0.4)
    for text, x, y in _CORNERS:
        axes.text(
            x * 1.03, y * 1.04, text, ha="left" if x < 0 else "right", va="top" if y > 0 else "bottom", fontsize=5.5,
            color=QUIET,
        )  # fmt: skip
    axes.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), xlabel="valence", ylabel="arousal", aspect="equal")
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    bare(axes)
    known = np.flatnonzero(~np.isnan(valence) & ~np.isnan(arousal))
    if not len(known):
        return None
    points = np.column_stack([valence, arousal])
    joined = known[:-1][np.diff(known) == 1]
    segments = np.stack([points[joined], points[joined + 1]], axis=1)
    lines = LineCollection(list(segments), array=time[joined], cmap="cividis", linewidths=0.9, capstyle="round")
    axes.add_collection(lines)
    for place, marker in ((known[0], "o"), (known[-1], "s")):
        axes.plot(*points[place], marker, markersize=4.5, markerfacecolor="white", markeredgecolor=INK, zorder=5)
    return lines
