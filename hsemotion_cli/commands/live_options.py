"""Options that only ``hsemotion live`` has: the source, what is recorded, and where rows are sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from .options import OutputOptions


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What is watched, and how long."""

    panel: ClassVar[str] = "Source"

    camera: Annotated[
        str,
        typer.Option(
            metavar="N|FILE|URL",
            help="Number of a camera; a video file, which plays in real time; or a stream (rtsp://, http://, ...).",
        ),
    ] = "0"
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Image size to ask the camera for, as 1280x720.",
            show_default="its own",
        ),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Frames per second to ask the camera for.",
            show_default="its own",
        ),
    ] = None
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="End after this time.",
            show_default="Ctrl-C or the end of the source",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """Name of the results, and the recording of the images."""

    panel: ClassVar[str] = OutputOptions.panel

    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the results, without a suffix.",
            show_default="live and date and time",
        ),
    ] = None
    record: Annotated[bool, typer.Option("--record", help="Also write NAME.mkv, the images that were analysed.")] = (
        False
    )
    record_quality: Annotated[
        str,
        typer.Option(
            metavar="lossless|small",
            help="Recorded images: exactly those that were analysed, or compressed to a tenth or less.",
        ),
    ] = "lossless"


@dataclass(frozen=True, slots=True)
class SendingOptions:
    """Where rows are sent while the session runs."""

    panel: ClassVar[str] = "Sending"

    jsonl: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|-",
            help="Send rows as JSON Lines to a file or named pipe, or to stdout.",
            show_default=False,
        ),
    ] = None
    udp: Annotated[
        str | None,
        typer.Option(
            metavar="127.0.0.1:PORT",
            help="Send rows as JSON in datagrams to a program of this machine.",
            show_default=False,
        ),
    ] = None
    lsl: Annotated[
        bool,
        typer.Option(
            "--lsl",
            help="Offer rows and markers as streams of the Lab Streaming Layer, to the whole local network.",
        ),
    ] = False
