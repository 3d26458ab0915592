"""Options that have no effect on the inputs or the mode of a run are refused rather than ignored.

Only options on the command line count: a default from a file or the environment that does not apply to a run is no
fault.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path

from ..errors import InputError, UsageError

GIVEN: ContextVar[frozenset[str] | None] = ContextVar("options on the command line", default=None)
"""Names of the options on the command line, without the hyphens; None outside of a command."""

DECODING = ("crops", "image-fps", "stream", "video-fps", "deinterlace", "rotate", "region")
"""Options about how a source is decoded, of commands that also take tables."""

_PHOTOS = ("start", "end", "fps", "people")
_NOT_READ: Mapping[str, tuple[str, ...]] = {
    "VideoFile": ("image-fps",),
    "ImageSequence": ("stream", "video-fps", "deinterlace"),
    "AnimatedImage": ("image-fps", "stream", "video-fps", "deinterlace"),
    "TiffStack": ("stream", "video-fps", "deinterlace"),
    "PhotoFolder": ("image-fps", "stream", "video-fps", "deinterlace", *_PHOTOS),
}
"""Class of a source -> options that it does not read."""

_REASONS: Mapping[str, str] = {
    "image-fps": "it is the frame rate of a folder of numbered images, and no input is one",
    **dict.fromkeys(("stream", "video-fps", "deinterlace"), "it is about video files, and no input is one"),
    **dict.fromkeys(_PHOTOS, "it is about the frames of a recording, and the inputs are single photos"),
}
_BESIDE_CROPS = ("faces", "min-face", "det-threshold", "fov")


def refuse(options: Iterable[str], reason: str) -> None:
    """Raise UsageError if one of the options is on the command line.

    Args:
        options: names without the hyphens.
        reason: the rest of the sentence.
    """
    given = GIVEN.get() or frozenset()
    if found := [f"--{name}" for name in options if name in given]:
        raise UsageError(f"{' and '.join(found)}: {reason}; leave {'it' if len(found) == 1 else 'them'} out.")


def refuse_for_sources(paths: Iterable[Path], *, crops: bool = False) -> None:
    """Raise UsageError for an option on the command line that none of the sources reads.

    Sources that cannot be opened count as reading everything: they are reported when they are annotated.
    """
    if crops:
        refuse(_BESIDE_CROPS, "with --crops each image is one face and nothing is detected")
    unread = _REASONS.keys() & (GIVEN.get() or frozenset())
    some = False
    for path in paths:
        if not unread:
            return
        some, unread = True, unread.intersection(not_read(path))
    for name in sorted(unread if some else ()):
        refuse([name], _REASONS[name])


def not_read(path: Path) -> Collection[str]:
    """Options that a source does not read; () for one that cannot be opened."""
    from ..media.video import source_class

    try:
        return _NOT_READ[source_class(path).__name__]
    except InputError:
        return ()
