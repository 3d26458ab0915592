"""``hsemotion live``: a camera, a stream, or a file at its own pace -> rows at once, and a table that grows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    FaceOptions,
    ModelOptions,
    Only,
    OutputOptions,
    OwnDefaults,
    Reworded,
    RunningOptions,
    SmoothingOptions,
)

SOURCE, SENDING = "Source", "Sending"

SMOOTH_HELP = (
    "none, or causal:0.2, half a Gaussian over the past (standard deviation in seconds); TASK=KIND:WIDTH for single "
    "tasks."
)
MIN_FACE_HELP = "Smallest face to detect, in pixels; lower values take more time."


def run(
    faces: Annotated[
        FaceOptions,
        Only("faces", "detector", "min_face", "det_threshold", "fov"),
        Reworded(min_face={"help": MIN_FACE_HELP, "show_default": "1/12 of the longer side"}),
    ],
    models: Annotated[ModelOptions, Only("model", "head")],
    smoothing: Annotated[
        SmoothingOptions,
        OwnDefaults,
        Only("recipe", "blend", "smooth", "max_gap", "threshold"),
        Reworded(smooth={"help": SMOOTH_HELP, "show_default": "causal:0.2, or the recipe's"}),
    ],
    output: Annotated[OutputOptions, Only("out", "formats", "overwrite", "quiet", "json", "log")],
    running: Annotated[RunningOptions, Only("backend", "device", "precision", "offline")],
    camera: Annotated[
        str,
        typer.Option(
            metavar="N|FILE|URL",
            help="Number of a camera, a video file, which plays at its own pace, or a stream (rtsp://, http://, ...).",
            rich_help_panel=SOURCE,
        ),
    ] = "0",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Image size to ask the camera for, as 1280x720.", show_default="its own",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Frames per second to ask the camera for.", show_default="its own",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="End after this time.", show_default="Ctrl-C or the end of the source",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    window: Annotated[
        str,
        typer.Option(metavar="auto|none", help="Show the overlay in a window where there is a display, or never."),
    ] = "auto",
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the results, without a suffix.", show_default="live and date and time",
            rich_help_panel=OutputOptions.panel,
        ),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Also write NAME.mkv, the images that were analysed.",
                           rich_help_panel=OutputOptions.panel),
    ] = False,
    record_quality: Annotated[
        str,
        typer.Option(
            metavar="lossless|small",
            help="Recorded images: exactly those that were analysed, or compressed to a tenth or less.",
            rich_help_panel=OutputOptions.panel,
        ),
    ] = "lossless",
    jsonl: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|-", help="Send rows as JSON Lines to a file or named pipe, or to stdout.",
            show_default=False, rich_help_panel=SENDING,
        ),
    ] = None,
    udp: Annotated[
        str | None,
        typer.Option(
            metavar="127.0.0.1:PORT", help="Send rows as JSON in datagrams to a program of this machine.",
            show_default=False, rich_help_panel=SENDING,
        ),
    ] = None,
    lsl: Annotated[
        bool,
        typer.Option(
            "--lsl", help="Offer rows and markers as streams of the Lab Streaming Layer, to the whole local network.",
            rich_help_panel=SENDING,
        ),
    ] = False,
) -> int:  # fmt: skip
    """Annotate a camera, a stream or a file at its own pace, with results at once.

    The newest frame is always analysed next; frames for which there is no time are dropped and counted. Ctrl-C ends
    the session, and all results are written.

    hsemotion live

    hsemotion live --camera rtsp://192.0.2.7/stream1 --window none --seconds 600

    hsemotion live --camera 1 --record --jsonl -
    """
    from ..runtime import malloc

    malloc.settle()
    from .live_run import Wishes, run_live

    wishes = Wishes(camera, size, rate, seconds, window, name, record, record_quality, jsonl, udp, lsl)
    return run_live(wishes, faces, models, smoothing, output, running)
