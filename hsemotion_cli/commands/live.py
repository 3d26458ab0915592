"""``hsemotion live``: a camera, a stream, or a file at its own pace -> rows at once, and a table that grows."""

from __future__ import annotations

from typing import Annotated

import typer

from .live_options import RecordingOptions, SendingOptions, SourceOptions
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
    source: SourceOptions,
    *,
    window: Annotated[
        str,
        typer.Option(metavar="auto|none", help="Show the overlay in a window where there is a display, or never."),
    ] = "auto",
    recording: RecordingOptions,
    sending: SendingOptions,
) -> int:
    """Annotate a camera, a stream or a file while it plays, and show or send the results live.

    The newest frame is always analysed next; frames that arrive too fast are dropped and counted. Ctrl-C ends
    the session, and all results are written.

    hsemotion live

    hsemotion live --camera rtsp://192.0.2.7/stream1 --window none --seconds 600

    hsemotion live --camera 1 --record --jsonl -
    """
    from ..runtime import malloc

    malloc.settle()
    from .live_run import Wishes, run_live

    return run_live(Wishes(source, recording, sending, window), faces, models, smoothing, output, running)
