"""A window with the newest image, its faces drawn in, and a line of figures; through Tk, which Python brings along.

OpenCV could show images as well, but the one distribution of it that this program uses has no windows. Tk wants one
thread for everything, on macOS the main one: ``show`` only stores what ``update`` draws.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from ..domain import Image
from ..errors import UsageError
from ..overlay.layout import OverlayPainter
from ..overlay.strip import Moment
from .outputs import Row

_LARGEST = (1600, 900)
"""Pixels of the image and its scores in the window; larger ones are made smaller."""

_SHARE = 0.9  # of the screen
_BLACK, _LIGHT = "#111111", "#eeeeee"


def why_no_window() -> str:
    """Why no window can be opened here, in part of a sentence; "" if one can."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    try:
        import tkinter

        from PIL import ImageTk  # noqa: F401  # it needs Tk as well

        root = tkinter.Tk()
        root.destroy()
    except ImportError as error:
        return f"this Python lacks tkinter ({error}); on Debian and Ubuntu it is in python3-tk"
    except tkinter.TclError as error:
        return f"the display cannot be opened ({error})"
    return ""


class Window:
    """The window; all but ``show`` belongs to the thread that makes it.

    Args:
        title: of the window.
        status: gives the line of figures below the image.

    Attributes:
        closed: whether it was closed, by its button, or by q or Escape.

    Raises:
        UsageError: no window can be opened here.
    """

    def __init__(self, title: str, status: Callable[[], str]) -> None:
        if problem := why_no_window():
            raise UsageError(f"--window: {problem}; use --window none.")
        import tkinter

        self.closed = False
        self._status, self._lock = status, threading.Lock()
        self._waiting: tuple[Image, Sequence[Row]] | None = None
        self._painter: OverlayPainter | None = None
        self._photo: Any = None
        self._root = tkinter.Tk()
        self._root.title(title)
        self._root.configure(background=_BLACK)
        self._image = tkinter.Label(self._root, borderwidth=0, background=_BLACK)
        self._image.pack()
        self._line = tkinter.Label(self._root, anchor="w", background=_BLACK, foreground=_LIGHT, padx=8, pady=4)
        self._line.pack(fill="x")
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("q", "<Escape>"):
            self._root.bind(key, lambda _event: self._close())

    def show(self, image: Image, rows: Sequence[Row]) -> None:
        """Show an image and its rows at the next ``update``, from any thread; an older one is forgotten."""
        with self._lock:
            self._waiting = image, rows

    def update(self) -> None:
        """Draw the newest image, and answer to keys and buttons."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None and not self.closed:
            self._draw(*waiting)
        if not self.closed:
            self._root.update()

    def destroy(self) -> None:
        """Close the window for good."""
        if not self.closed:
            self._close()

    def _draw(self, image: Image, rows: Sequence[Row]) -> None:
        from PIL import Image as Pillow
        from PIL import ImageTk

        height, width = image.shape[:2]
        if self._painter is None or (self._painter.width, self._painter.height) != (width, height):
            self._painter = OverlayPainter(width, height)
        moment = Moment(rows[0]["frame"], rows[0]["time"], rows[0]["frame"])  # there is a row without a face as well
        faces = [row for row in rows if row["face_id"] is not None]
        drawn = self._fitted(self._painter.draw(image, faces, moment))
        size = (drawn.shape[1], drawn.shape[0])
        if self._photo is None or (self._photo.width(), self._photo.height()) != size:
            self._photo = ImageTk.PhotoImage("RGB", size)
            self._image.configure(image=self._photo)
        self._photo.paste(Pillow.fromarray(drawn))
        self._line.configure(text=self._status())

    def _fitted(self, image: Image) -> Image:
        height, width = image.shape[:2]
        most = (
            min(_LARGEST[0], _SHARE * self._root.winfo_screenwidth()),
            min(_LARGEST[1], _SHARE * self._root.winfo_screenheight()),
        )
        scale = min(most[0] / width, most[1] / height, 1.0)
        if scale == 1.0:
            return image
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _close(self) -> None:
        self.closed = True
        self._root.destroy()
