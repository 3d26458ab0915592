"""The strip beside the image: frame number and time, and a panel for each person, which keeps its place.

It stands beside the image, not on it, because a panel on the image sooner or later hides a face or a gesture.
All decisions depend on this frame and earlier ones only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..domain import Image
from .drawing import BRIGHT, DIM, DrawnFace, Sizes
from .panel import FORMS, Panel, Sections, draw_panel, lay_out, panel_width
from .sprites import Colour, word, write

HOLD = 2.0
"""Seconds for which the place of a person who is not found any more is kept."""

GROUND: Colour = (38, 41, 46)
"""Colour of the strip, a little lighter than its panels."""

_ALL: Sections = (9, True, True, True)  # a face with everything: nine expressions


@dataclass(frozen=True, slots=True)
class Moment:
    """What identifies a frame in the table.

    Attributes:
        index: number of the frame, as in the column ``frame``.
        time: in seconds, as in the column ``time``; None where it says nothing, as for photos.
        analysed: number of the frame that the scores belong to; another one where frames were skipped.
    """

    index: int
    time: float | None
    analysed: int


@dataclass(slots=True)
class _Slot:
    """A place for a panel: who has it, and when that face was last found, in seconds; -inf for a free place."""

    face: DrawnFace
    last: float


def strip_size(width: int, height: int, sizes: Sizes) -> tuple[int, int]:
    """Width of the strip and height of the whole canvas in pixels, for an image of this width and height.

    The canvas is higher than the image where the image is lower than a compact panel. Width and height of the whole
    canvas are even, as yuv420p needs them.
    """
    wide = panel_width(sizes) + 2 * sizes.gap
    high = max(height, header_height(sizes) + lay_out(_ALL, "compact", sizes).height + sizes.gap)
    return wide + (width + wide) % 2, high + high % 2


def header_height(sizes: Sizes) -> int:
    """Pixels from the top of the strip to its first panel."""
    return round(1.9 * sizes.text) + round(1.5 * sizes.small) + sizes.gap


class PanelStrip:
    """Draws the strip of successive frames.

    Args:
        left: pixels to the left of the strip.
        height: of the canvas in pixels.
        hold: see ``HOLD``; 0 where successive images have nothing to do with each other.
    """

    def __init__(self, left: int, height: int, sizes: Sizes, hold: float = HOLD) -> None:
        self.left = left
        self.height = height
        self.sizes = sizes
        self._hold = hold
        self._slots: list[_Slot | None] = []
        self._sections: Sections = (0, False, False, False)

    def panels(self, faces: Sequence[DrawnFace], time: float) -> list[tuple[DrawnFace, Panel, int, bool]]:
        """(face, panel, its top in pixels, whether the face is in this frame) of each panel, from the top.

        Args:
            faces: of this frame; those for which there is no room have no panel.
            time: of this frame in seconds.
        """
        for face in faces:
            # Parts never disappear from a panel, so that it does not jump where a value is missing.
            pairs = zip(self._sections, face.sections, strict=True)
            self._sections = tuple(max(pair) for pair in pairs)  # type: ignore[assignment]
        if not any(self._sections):
            return []  # a table of boxes
        self._assign(faces, time)
        panel, room = self._choose()
        step = panel.height + self.sizes.gap
        keys = {face.key for face in faces}
        return [
            (slot.face, panel, header_height(self.sizes) + k * step, slot.face.key in keys)
            for k, slot in enumerate(self._slots[:room])
            if slot is not None
        ]

    def draw(self, canvas: Image, faces: Sequence[DrawnFace], moment: Moment) -> set[int | None]:
        """Draw the strip of a frame; the keys of the faces that have a panel."""
        shown = self.panels(faces, moment.index if moment.time is None else moment.time)
        left = self.left + self.sizes.gap
        for face, panel, top, seen in shown:
            draw_panel(canvas, face, panel, left, top, self.sizes, seen)
        drawn = {face.key for face, _, _, seen in shown if seen}
        left_out = len({face.key for face in faces} - drawn) if shown else 0
        self._draw_header(canvas, moment, len(faces), left_out)
        return drawn

    def _draw_header(self, canvas: Image, moment: Moment, count: int, left_out: int) -> None:
        """Frame and time in the first line; below it what is not to be seen."""
        sizes, left = self.sizes, self.left + self.sizes.gap + self.sizes.pad
        right, middle = left + sizes.content, round(1.1 * sizes.text)
        write(canvas, f"frame {moment.index}", sizes.text, BRIGHT, left, middle)
        if moment.time is not None:
            write(canvas, f"{moment.time:.3f} s", sizes.text, BRIGHT, right, middle, 1.0)
        below = middle + round(1.5 * sizes.text)
        notes = []
        if moment.analysed != moment.index:
            notes.append(f"scores of frame {moment.analysed}")
        if not count:
            notes.append("no face")
        if left_out:
            notes.append(f"{left_out} more: see the table")
        text = ", ".join(notes)
        if word(text, sizes.small, DIM).width > sizes.content + sizes.pad:
            text = notes[0]
        write(canvas, text, sizes.small, DIM, left, below)

    def _assign(self, faces: Sequence[DrawnFace], time: float) -> None:
        """Give each face a slot: its own, a free one, that of somebody not in this frame, or a new one."""
        keys = {face.key for face in faces}
        for k, slot in enumerate(self._slots):
            if slot is not None and slot.face.key not in keys and time - slot.last >= self._hold:
                self._slots[k] = None
        while self._slots and self._slots[-1] is None:
            self._slots.pop()
        given: set[int] = set()
        for face in sorted(faces, key=lambda face: self._own(face) is None):  # stable: those with a slot come first
            own = self._own(face)
            k = self._vacant(keys, given) if own is None else own
            if k == len(self._slots):
                self._slots.append(None)
            if k not in given:  # a second face of the same id has no panel of its own
                self._slots[k] = _Slot(face, time)
                given.add(k)

    def _own(self, face: DrawnFace) -> int | None:
        """Number of the slot that a face has already."""
        return next((k for k, slot in enumerate(self._slots) if slot and slot.face.key == face.key), None)

    def _vacant(self, keys: set[int | None], given: set[int]) -> int:
        """Number of a slot for a new face; the number of slots if none can be had."""
        for k, slot in enumerate(self._slots):
            if slot is None:
                return k
        absent = [
            (slot.last, k)
            for k, slot in enumerate(self._slots)
            if slot and slot.face.key not in keys and k not in given
        ]
        return min(absent)[1] if absent else len(self._slots)

    def _choose(self) -> tuple[Panel, int]:
        """The fullest form in which all slots have room, and how many panels of it there is room for."""
        room = self.height - header_height(self.sizes)
        for form in FORMS:
            panel = lay_out(self._sections, form, self.sizes)
            count = room // (panel.height + self.sizes.gap)
            if count >= len(self._slots):
                break
        return panel, count
