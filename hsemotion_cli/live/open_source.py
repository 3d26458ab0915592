"""``--camera`` -> an open source: the number of a camera, a file, or the address of a stream."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, UsageError
from ..media.camera import Camera
from ..media.live_source import LiveSource
from ..media.network_stream import NetworkStream
from ..media.paced_file import PacedFile
from ..media.photos import PhotoFolder
from ..media.video import open_source
from ..runtime.whole_numbers import whole_number


def open_live(name: str, size: tuple[int, int] | None = None, rate: float | None = None) -> LiveSource | PacedFile:
    """Open a camera, a stream, or a file that is to be played at its own pace.

    Args:
        size, rate: to ask a camera for.

    Raises:
        InputError: there is nothing there, or it cannot be used.
        UsageError: a size or rate for something that is no camera.
    """
    number, path = whole_number(name), Path(name)
    if number is not None and not path.exists():
        return Camera(number, size, rate)
    if path.is_char_device():
        return Camera(name, size, rate)
    if size is not None or rate is not None:
        raise UsageError(f"--camera {name}: --size and --rate are for cameras; a file or stream has its own.")
    if "://" in name:
        return NetworkStream(name)
    if name.startswith("/dev/") and not path.exists():
        raise InputError(f"{name}: there is no such camera.")
    if not path.exists():
        raise InputError(f"{name}: no such file; give the number of a camera, a video file, or a stream's address.")
    source = open_source(path)
    if isinstance(source, PhotoFolder) or source.info.kind in ("picture", "photos"):
        raise InputError(f"{name}: a single image or a folder of photos has no pace; use annotate.")
    return PacedFile(source)


def parse_size(text: str) -> tuple[int, int]:
    """``--size``: "1280x720".

    Raises:
        UsageError: anything else.
    """
    parts = [whole_number(part) for part in text.lower().split("x")]
    if len(parts) != 2 or not parts[0] or not parts[1]:
        raise UsageError(f"--size {text}: give width and height in pixels, as 1280x720.")
    return parts[0], parts[1]
