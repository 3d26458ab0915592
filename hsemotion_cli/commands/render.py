"""``hsemotion render``: a video and its table -> the overlay video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import InputOptions, Only, OutputOptions


def run(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The video that was annotated.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Its table.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT.mp4", help="Overlay video to write.", show_default=False)
    ],
    input: Annotated[InputOptions, Only("image_fps", "stream", "video_fps", "deinterlace", "rotate")],
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "log")],
) -> None:
    """Draw a table over its video: H.264, original sound, original timing. Runs no model."""
    from ..runtime import malloc

    malloc.settle()
    from ..errors import UsageError
    from ..formats.ownership import check_outputs
    from ..formats.table import read_frames
    from ..media.video import open_source
    from ..overlay.video import render
    from ..runtime.atomic_files import prepare_folder
    from .console import print_line, progress
    from .settings import decode_options
    from .unread_options import refuse_for_sources

    if out.suffix.lower() != ".mp4":
        raise UsageError(f"-o {out}: overlays are MP4 files; give a name that ends in .mp4.")
    if out.exists() and video.exists() and out.samefile(video):
        raise UsageError(f"-o {out}: that is the video itself; choose another name.")
    refuse_for_sources([video])
    check_outputs([out], output.overwrite)
    prepare_folder(out.parent)
    source = open_source(video, decode_options(input))
    with progress(video.name, output.quiet) as report:
        render(source, read_frames(table), out, progress=lambda done: report("overlay", done, 0, None))
    if not output.quiet:
        print_line(str(out))
        for note in source.notes:
            print_line(f"{video}: {note}")
