"""``hsemotion export``: tables -> the files of other programs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from .options import Only, OutputOptions
from .segments import People, SegmentOptions, chosen_rules

TABLES = "Tables made by annotate, batch or import, or folders of them."


def run(
    tables: Annotated[list[Path], typer.Argument(metavar="TABLE", help=TABLES, show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="NAME[,NAME]",
            help="openface, pyfeat, bids, xdf, xlsx, elan, textgrid, webvtt, srt, lrc, edf, mne, boris, datavyu.",
            show_default=False,
        ),
    ],
    wanted: SegmentOptions,
    output: Annotated[OutputOptions, Only("out", "overwrite", "quiet", "json", "log")],
    clock: Annotated[
        str,
        typer.Option(
            metavar="WORDS",
            help="Clock of the times: video (seconds since its first frame), container (as in the table), "
            "offset=SECONDS, start=DATE-TIME, or match=SECONDS@TIME,... by events that both clocks have.",
        ),
    ] = "video",
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="HZ", help="Samples per second of formats with a constant rate.", show_default="the frame rate"
        ),
    ] = None,
    media: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder with the videos, for formats that link them.", show_default=False),
    ] = None,
    people: People = None,
) -> int:
    """Write tables in the formats of other programs, and report what each format cannot hold.

    Formats of intervals and events hold segments; the rules for those are as for hsemotion segments.
    """
    from .export_run import export_tables

    _refuse(to)
    return export_tables(tables, to, output, chosen_rules(wanted), clock, rate, media, people)


def _refuse(to: str) -> None:
    """Raise UsageError for an option that none of the formats uses."""
    from ..exports.catalogue import FORMATS, parse_targets
    from .unread_options import refuse

    chosen = [FORMATS[name] for name in parse_targets(to)]
    if not any(one.constant_rate for one in chosen):
        refuse(["rate"], f"--to {to} has no format with a constant rate")
    if not any(one.links_media for one in chosen):
        refuse(["media"], f"--to {to} has no format that links a video")
    if not any(one.intervals for one in chosen):
        rules = (field.name.replace("_", "-") for field in dataclasses.fields(SegmentOptions))
        refuse(rules, f"--to {to} has no format that holds segments")
