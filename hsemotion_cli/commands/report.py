"""``hsemotion report``: a table, a video or a folder of tables -> HTML pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Only, OutputOptions


def run(
    input: Annotated[
        Path, typer.Argument(metavar="TABLE|VIDEO|FOLDER", help="A table, a video, or a folder of tables.")
    ],
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "log")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="OUT.html|FOLDER", help="Page to write; a folder of pages for a folder.",
            show_default="NAME.html beside the table",
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER", help="The video that was annotated, or the folder that holds it.",
            show_default="beside the table, one folder up, or where the manifest has it",
        ),
    ] = None,
    embed_video: Annotated[
        bool, typer.Option("--embed-video", help="Put the video into the page (H.264), instead of a link to it.")
    ] = False,
    people: Annotated[
        Path | None,
        typer.Option(
            metavar="people.csv", help="Names of face ids: recording, face_id, person, as the page saves them.",
            show_default=False,
        ),
    ] = None,
    marks: Annotated[
        Path | None,
        typer.Option(
            metavar="marks.csv", help="Spans to show: recording, person, onset, offset, kind, label, as the page saves "
            "them, or any file of events.", show_default=False,
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Events to jump to with [ and ]: of segments, or any file of events.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Decode the video for images of the strongest expressions.")
    ] = True,
) -> int:  # fmt: skip
    """Make an HTML page that shows a recording: video, curves and people in step. It opens without network or server.

    hsemotion report hsemotion/talk.csv --video talk.mp4

    hsemotion report talk.mp4 --embed-video -o talk.html

    hsemotion report results/ --people people.csv
    """
    from . import report_run

    request = report_run.Request(
        input, out, video, embed_video, people, marks, events, images, output.overwrite, output.quiet
    )
    return report_run.run(request)
