"""Shares of expressions of each group: recordings, people, or the events in which they were seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...analysis.recordings import P_EXPRESSION, Recording, Track, is_face_id
from ...errors import InputError, UsageError
from ...palette import EXPRESSION_COLOURS, INK
from ...tasks import EXPRESSIONS
from .material import Material, known_expressions, labels, require
from .style import HATCHES, bare, note, page, swatch

GROUPINGS = ("recording", "person", "event")
_MOST_GROUPS = 60
_LABELLED = 0.07  # share from which a field holds its percentage


def draw(materials: Sequence[Material], path: Path, width: float, by: str) -> None:
    """Draw a bar for each group: seconds of each most probable expression, as shares of the seconds with one.

    Args:
        by: of ``GROUPINGS``.

    Raises:
        InputError: there is nothing to draw.
        UsageError: more groups than a figure can hold.
        ModelUnavailable, OutputError: as ``style.page``.
    """
    for material in materials:
        require(material, P_EXPRESSION, "expressions")
    groups = group_seconds(materials, by)
    if not groups:
        raise InputError("no expression lies in any of the events; compare their times with those of the tables.")
    if len(groups) > _MOST_GROUPS:
        raise UsageError(f"--by {by}: {len(groups)} groups, but a figure holds {_MOST_GROUPS}; give fewer tables.")
    names = known_expressions([track for material in materials for track in material.recording.tracks])
    with page(path, width, 6.2 * len(groups) + 27) as figure:
        axes = figure.subplots()
        for line, (_, seconds) in enumerate(groups.items()):
            left = 0.0
            for name in names:
                share = seconds[EXPRESSIONS.index(name)] / seconds.sum()
                axes.barh(
                    line, share, 0.72, left, color=EXPRESSION_COLOURS[name], hatch=HATCHES[name], edgecolor=INK,
                    linewidth=0.3,
                )  # fmt: skip
                if share >= _LABELLED:
                    axes.text(
                        left + share / 2, line, f"{100 * share:.0f}", ha="center", va="center", fontsize=6,
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.7},
                    )  # fmt: skip
                left += share
        axes.set_yticks(range(len(groups)), [f"{name}  ({s.sum():.1f} s)" for name, s in groups.items()])
        axes.set(xlim=(0, 1), ylim=(len(groups) - 0.5, -0.5), xlabel="share of the time with a face (%)")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
        axes.tick_params(axis="y", length=0)
        bare(axes, keep="bottom")
        figure.legend(
            handles=[swatch(name) for name in names], loc="outside upper center", frameon=False, handlelength=1.6,
            ncols=max(2, int(width / 24)), columnspacing=1.0, handletextpad=0.4,
        )  # fmt: skip
        note(figure, " / ".join(dict.fromkeys(m.made for m in materials if m.made)))


def group_seconds(materials: Sequence[Material], by: str) -> dict[str, np.ndarray]:
    """Group -> (9,) seconds of each expression of ``tasks.EXPRESSIONS``; groups without any are left out."""
    found: dict[str, np.ndarray] = {}
    for material in materials:
        for track in material.recording.tracks:
            for name, within in _groups(material, track, by):
                seconds = _seconds(material.recording, track, within)
                found[name] = found.get(name, np.zeros(len(EXPRESSIONS))) + seconds
    return {name: seconds for name, seconds in found.items() if seconds.sum() > 0}


def _groups(material: Material, track: Track, by: str) -> list[tuple[str, np.ndarray]]:
    """(group, (n,) whether each row of the track belongs to it)."""
    everything = np.ones(len(track.frame), bool)
    if by == "recording":
        return [(material.recording.name, everything)]
    if by == "person":
        if is_face_id(track.person):  # an id means nothing in another recording
            return [(f"{material.recording.name}, face {track.person}", everything)]
        return [(track.person, everything)]
    time = material.recording.time[track.frame]
    inside: dict[str, np.ndarray] = {}
    for event in material.events:
        if event.kind == "label" and event.person in ("", track.person):
            on = (time >= event.onset) & (time < event.offset)
            inside[event.label] = inside.get(event.label, np.zeros(len(time), bool)) | on
    return list(inside.items())


def _seconds(recording: Recording, track: Track, within: np.ndarray) -> np.ndarray:
    best = labels(track)
    on = within & (best >= 0)
    return np.bincount(best[on], weights=recording.length[track.frame][on], minlength=len(EXPRESSIONS))
