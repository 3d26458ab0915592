"""Timeline of one recording: expressions, valence and arousal, action units and coverage on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...analysis.recordings import P_EXPRESSION, P_UNIT, Track, called
from ...errors import UsageError
from ...formats.event_rows import Event
from ...palette import EXPRESSION_COLOURS, INK, QUIET
from ...runtime.comma_list import comma_list
from ...tasks import ACTION_UNITS
from .binning import Columns, columns_of
from .material import UNIT_PRESENT, Material, known_expressions, on_frames, require
from .mosaic import mosaic
from .style import EVENT, HATCHES, LINES, MISSING, bare, note, page, person_colour, swatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIPS = ("expression", "valence", "arousal", "action_units", "coverage")
_HEIGHTS = {"expression": 17.0, "valence": 16.0, "arousal": 16.0, "action_units": 25.0, "coverage": 2.6}
_MOST_PEOPLE = 6
_UNIT_HEAT = ("#00224e", "#fee838")
"""Both ends of cividis."""


def parse_strips(text: str) -> tuple[str, ...]:
    """Strips of ``--strips``, in the order given.

    Raises:
        UsageError: one is unknown, or none is named.
    """
    found = comma_list(text.lower().replace("-", "_"))
    if unknown := [name for name in found if name not in STRIPS]:
        raise UsageError(f"--strips {text}: {unknown[0]!r} is not a strip; choose from {', '.join(STRIPS)}.")
    if not found:
        raise UsageError(f"--strips is empty; choose from {', '.join(STRIPS)}.")
    return found


def draw(material: Material, path: Path, width: float, strips: Sequence[str] = STRIPS) -> None:
    """Draw the timeline of one recording.

    Args:
        path: the figure to write.
        width: millimetres.
        strips: of ``STRIPS``, from top to bottom.

    Raises:
        InputError: the table has nothing to draw.
        UsageError: it has more people than a figure can hold.
        ModelUnavailable, OutputError: as ``style.page``.
    """
    tracks = material.recording.tracks
    if len(tracks) > _MOST_PEOPLE:
        raise UsageError(
            f"{material.recording.path}: a timeline holds {_MOST_PEOPLE} people, this table has {len(tracks)}; choose "
            "some with --person."
        )
    require(material, [*P_EXPRESSION, "valence", "arousal", *P_UNIT, *UNIT_PRESENT], "scores")
    rows = _rows(material, strips)
    heights = [_HEIGHTS[strip] * (len(tracks) if strip == "coverage" else 1) for strip, _ in rows]
    with page(path, width, sum(heights) + 3.2 * len(rows) + 22) as figure:
        grid = figure.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        columns = columns_of(material.recording)
        for axes, (strip, track) in zip(grid, rows, strict=True):
            _draw_strip(axes, material, strip, track, columns)
            _shade(axes, material.events, label=axes is grid[0])
            bare(axes, keep="left bottom" if axes is grid[-1] else "left")
            axes.tick_params(axis="x", length=2.5 if axes is grid[-1] else 0)
        grid[-1].set_xlim(columns.edges[0], columns.edges[-1])
        grid[-1].set_xlabel("time (s)")
        figure.align_ylabels()
        _legend(figure, material, strips)
        note(figure, _words(material, columns))


def _rows(material: Material, strips: Sequence[str]) -> list[tuple[str, Track | None]]:
    """(strip, its person, or None for all) from top to bottom; strips without any value are left out."""
    rows: list[tuple[str, Track | None]] = []
    wanted = {"expression": P_EXPRESSION, "action_units": (*P_UNIT, *UNIT_PRESENT)}
    for strip in strips:
        tracks = material.recording.tracks
        if strip == "coverage":
            rows.append((strip, None))
        elif strip in wanted:
            rows += [(strip, track) for track in tracks if _known(track, wanted[strip])]
        elif any(_known(track, (strip,)) for track in tracks):
            rows.append((strip, None))
    return rows


def _known(track: Track, columns: Sequence[str]) -> bool:
    return any(name in track.values and not np.isnan(track.values[name]).all() for name in columns)


def _draw_strip(axes: Axes, material: Material, strip: str, track: Track | None, columns: Columns) -> None:
    several = len(material.recording.tracks) > 1
    if strip == "coverage":
        _coverage(axes, material, columns)
        return
    if track is None:
        _curves(axes, material, strip, columns)
        return
    (_ribbon if strip == "expression" else _heat)(axes, track, columns, len(material.recording.time))
    name = "probability" if strip == "expression" else "action units"
    axes.set_ylabel(f"{name}\n{called(track.person, 24)}" if several else name)


def _ribbon(axes: Axes, track: Track, columns: Columns, frames: int) -> None:
    """Probabilities stacked to 1; time without a face is a plain field with its own edge."""
    names = known_expressions([track])
    shares = np.stack([columns.mean(on_frames(track, f"p_{name}", frames)) for name in names])
    seen = ~np.isnan(shares).all(axis=0)
    top = np.vstack([np.zeros(shares.shape[1]), np.cumsum(np.nan_to_num(shares), axis=0)])
    axes.set_facecolor(MISSING)
    for k, name in enumerate(names):
        axes.stairs(
            np.where(seen, top[k + 1], np.nan), columns.edges, baseline=np.where(seen, top[k], np.nan), fill=True,
            facecolor=EXPRESSION_COLOURS[name], hatch=HATCHES[name], edgecolor="#333333", linewidth=0, label=name,
        )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "", "1"])


def _curves(axes: Axes, material: Material, column: str, columns: Columns) -> None:
    """Valence or arousal of all people, with breaks where there is none."""
    middle = (columns.edges[:-1] + columns.edges[1:]) / 2
    axes.axhline(0, color=QUIET, linewidth=0.5, linestyle=(0, (2, 2)))
    for track in material.recording.tracks:
        index = material.colours[track.person]
        values = columns.mean(on_frames(track, column, len(material.recording.time)))
        if np.isnan(values).all():
            continue
        style, _ = LINES[index % len(LINES)]
        axes.plot(
            middle, values, color=person_colour(index), linestyle=style, linewidth=1.0, label=called(track.person, 24),
            gid=f"{column}-{track.person}",
        )  # fmt: skip
        alone = ~np.isnan(values) & np.isnan(np.append(np.nan, values[:-1])) & np.isnan(np.append(values[1:], np.nan))
        axes.plot(middle[alone], values[alone], ".", color=person_colour(index), markersize=1.5)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1])
    axes.set_ylabel(column)


def _heat(axes: Axes, track: Track, columns: Columns, frames: int) -> None:
    """Action units, a row each: probability as lightness, presence as a line below; missing time stays grey."""
    probability = np.stack([columns.mean(on_frames(track, name, frames)) for name in P_UNIT])
    present = np.stack([columns.mean(on_frames(track, name, frames)) for name in UNIT_PRESENT])
    units = len(ACTION_UNITS)
    axes.set_facecolor(MISSING)
    if not np.isnan(probability).all():
        mosaic(axes, columns.edges, probability, "cividis")
    for k in range(units):
        line = np.where(present[k] >= 0.5, 1.0, np.nan)
        if not np.isnan(line).all():
            axes.stairs(
                line * (k + 0.98), columns.edges, baseline=line * (k + 0.74), fill=True, facecolor="white",
                edgecolor=INK, linewidth=0.3,
            )  # fmt: skip
    axes.set_ylim(units, 0)
    axes.set_yticks(np.arange(units) + 0.5, [unit[2:].lstrip("0") for unit in ACTION_UNITS], fontsize=4.8)
    axes.tick_params(axis="y", length=0)


def _coverage(axes: Axes, material: Material, columns: Columns) -> None:
    """A bar for each person: black where the face was seen, grey hatches where it was interpolated, empty where not."""
    tracks, frames = material.recording.tracks, len(material.recording.time)
    for k, track in enumerate(tracks):
        seen = np.zeros(frames)
        seen[track.frame] = np.where(track.detected, 1.0, 0.5)
        level = columns.mean(seen)
        for low, high, colour, hatch in ((0.75, 1.01, "#444444", ""), (1e-9, 0.75, "#bbbbbb", "//////")):
            on = np.where((level >= low) & (level < high), 1.0, np.nan)
            if not np.isnan(on).all():
                axes.stairs(
                    on * (k + 0.85), columns.edges, baseline=on * (k + 0.15), fill=True, linewidth=0, facecolor=colour,
                    hatch=hatch,
                )  # fmt: skip
    axes.set_ylim(len(tracks), 0)
    several = len(tracks) > 1
    axes.set_yticks(np.arange(len(tracks)) + 0.5, [called(t.person, 24) if several else "seen" for t in tracks])
    axes.tick_params(axis="y", length=0)
    if several:
        axes.set_ylabel("seen")


def _shade(axes: Axes, events: Sequence[Event], *, label: bool) -> None:
    """Events as bands between two lines, with their labels over the uppermost strip."""
    low, high = axes.get_xlim()
    for event in events:
        axes.axvspan(event.onset, max(event.offset, event.onset), color=EVENT, alpha=0.1, linewidth=0, zorder=3)
        for time in {event.onset, event.offset}:
            axes.axvline(time, color=EVENT, linewidth=0.6, linestyle=(0, (3, 2)), zorder=4)
        if label:
            axes.annotate(
                event.label, ((event.onset + event.offset) / 2, 1), (0, 2), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", va="bottom", fontsize=6, annotation_clip=True,
            )  # fmt: skip
    axes.set_xlim(low, high)


def _legend(figure: Figure, material: Material, strips: Sequence[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    tracks = material.recording.tracks
    fields = [swatch(name) for name in known_expressions(tracks)] if "expression" in strips else []
    if len(tracks) > 1:
        for track in tracks:
            k = material.colours[track.person]
            fields.append(
                Line2D(
                    [], [], color=person_colour(k), linestyle=LINES[k % len(LINES)][0], label=called(track.person, 24)
                )
            )
    if "action_units" in strips:
        fields.append(Patch(facecolor=_UNIT_HEAT[0], edgecolor=INK, linewidth=0.4, label="AU probability 0"))
        fields.append(Patch(facecolor=_UNIT_HEAT[1], edgecolor=INK, linewidth=0.4, label="AU probability 1"))
        fields.append(Patch(facecolor="white", edgecolor=INK, linewidth=0.4, label="AU present"))
    fields.append(Patch(facecolor=MISSING, edgecolor="none", label="no value"))
    wide = max(2, int(figure.get_figwidth() * 25.4 / 27))
    figure.legend(
        handles=fields, loc="outside upper center", ncols=min(wide, len(fields)), frameon=False, handlelength=1.6,
        handleheight=0.9, columnspacing=1.0, handletextpad=0.4,
    )  # fmt: skip


def _words(material: Material, columns: Columns) -> str:
    """Recording, model, and what a column of the figure stands for."""
    parts = [material.recording.name, material.made]
    if columns.seconds:
        parts.append(f"means of {columns.seconds:.2g} s")
    return " · ".join(part for part in parts if part)
