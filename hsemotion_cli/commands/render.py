"""``hsemotion render``: a video and its table -> the overlay video."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..formats.table import read_frames
from ..media.video import open_source
from ..overlay.video import render
from ..runtime.atomic_files import prepare_folder
from .console import print_line, progress


def run(video: Path, table: Path, out: Path, *, image_fps: float, quiet: bool) -> None:
    """Draw the table over the video."""
    if out.suffix.lower() != ".mp4":
        raise UsageError(f"-o {out}: overlays are MP4 files; give a name that ends in .mp4.")
    if out.exists() and video.exists() and out.samefile(video):
        raise UsageError(f"-o {out}: that is the video itself; choose another name.")
    prepare_folder(out.parent)
    with progress(video.name, quiet) as report:
        render(
            open_source(video, image_fps),
            read_frames(table),
            out,
            progress=lambda done: report("overlay", done, 0, None),
        )
    if not quiet:
        print_line(str(out))
