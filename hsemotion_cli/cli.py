"""The command line: options in, one call, and the one place where an error becomes an exit code.

Nothing heavy is imported here, so that --help answers at once.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .errors import HsemotionError

EXIT_CODES = """Exit codes: 0 done, 1 a bug, 2 usage, 3 some inputs or results failed, 4 no usable input,
5 a model is missing, 6 coverage below --min-coverage, 130 interrupted."""

app = typer.Typer(
    help="Face videos to trustworthy tables of affect. Everything stays on this machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Device(StrEnum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def boundary(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a command raises into one sentence on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            code = command(*args, **options) or 0
        except HsemotionError as error:
            say(str(error))
            code = error.exit_code
        except KeyboardInterrupt:
            say("interrupted; nothing was left half-written.")
            code = 130
        except BrokenPipeError:
            # The reader of our output went away, as head does; there is nobody left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 0
        except Exception as error:
            if os.environ.get("HSEMOTION_DEBUG"):
                raise
            say(f"a bug: {type(error).__name__}: {error}. Please report it with what HSEMOTION_DEBUG=1 prints.")
            code = 1
        raise typer.Exit(code)

    return run


def say(sentence: str) -> None:
    """One line on stderr."""
    print(f"hsemotion: {sentence}", file=sys.stderr, flush=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hsemotion {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """hsemotion."""


Formats = Annotated[
    str, typer.Option("--format", "-f", help="Table formats: csv, parquet, jsonl; several with commas.")
]
Smooth = Annotated[
    str,
    typer.Option(help="none, gaussian:WIDTH (standard deviation) or box:WIDTH (full width); seconds, or frames as 5f."),
]
Blend = Annotated[float, typer.Option(min=0, max=1, help="Weight of the first of two models.")]
MaxGap = Annotated[float, typer.Option(help="Seconds without a sighting across which nothing is smoothed.")]
Interpolate = Annotated[float, typer.Option(help="Bridge gaps up to this many seconds with interpolated rows.")]
Threshold = Annotated[
    list[str] | None,
    typer.Option(help="Presence threshold of an action unit, AU12=0.4; repeat for more."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
@boundary
def annotate(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO...", help="Videos, pictures, or folders of them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("hsemotion"),
    model: Annotated[str, typer.Option(help="A model, or two with a comma to blend them.")] = "mp-blendshapes",
    blend: Blend = 0.5,
    smooth: Smooth = "none",
    max_gap: MaxGap = 0.5,
    interpolate: Interpolate = 0.0,
    threshold: Threshold = None,
    format: Formats = "csv",
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write NAME.overlay.mp4.")] = False,
    faces: Annotated[str, typer.Option(help="Faces kept in each frame: all, largest, or a number.")] = "all",
    start: Annotated[str | None, typer.Option(help="First time, as 90, 1:30.5 or 1:02:03.", show_default=False)] = None,
    end: Annotated[str | None, typer.Option(help="Time before which to stop.", show_default=False)] = None,
    fps: Annotated[
        float | None, typer.Option(help="Analyse at most so many frames per second.", show_default=False)
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Analyse each n-th frame.")] = 1,
    crops: Annotated[bool, typer.Option("--crops", help="The pictures are faces already: detect nothing.")] = False,
    image_fps: Annotated[float, typer.Option(help="Pictures per second of numbered pictures.")] = 30.0,
    min_face: Annotated[
        int | None,
        typer.Option(
            help="Find faces down to so many pixels, tile by tile (slow); else to 14 % of the longer side.",
            show_default=False,
        ),
    ] = None,
    det_threshold: Annotated[float, typer.Option(help="Detector confidence from which a face counts.")] = 0.5,
    min_coverage: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 6 if faces are seen in a smaller share of frames.")
    ] = 0.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces scored together; changes speed, never values.")] = 8,
    device: Annotated[Device, typer.Option(help="Where networks run.")] = Device.auto,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print times by stage and every path written.")
    ] = False,
    json: Json = False,
) -> int:
    """Annotate videos: a table, raw scores and a description of each, an overlay on request.

    hsemotion annotate talk.mp4 --overlay

    hsemotion annotate lab/ -o results --smooth gaussian:0.2 --format csv,parquet

    hsemotion annotate cropped_aligned/video45_1 --crops
    """
    from .commands.annotate import run

    return run(
        videos, out, model=model, blend=blend, smooth=smooth, max_gap=max_gap, interpolate=interpolate,
        thresholds=threshold or [], formats=format, overlay=overlay, faces=faces, start=start, end=end, fps=fps,
        every=every, crops=crops, image_fps=image_fps, min_face=min_face, det_threshold=det_threshold,
        min_coverage=min_coverage, batch_size=batch_size, device=device.value, quiet=quiet, verbose=verbose,
        as_json=json,
    )  # fmt: skip


@app.command()
@boundary
def smooth(
    table: Annotated[Path, typer.Argument(help="A table made by annotate; NAME.raw.npz and NAME.json lie beside it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the new table.", show_default=False)],
    smooth: Annotated[str | None, typer.Option(help="As in annotate.", show_default="as before")] = None,
    blend: Annotated[
        float | None, typer.Option(min=0, max=1, help="Weight of the first model.", show_default="as before")
    ] = None,
    max_gap: Annotated[float | None, typer.Option(help="As in annotate.", show_default="as before")] = None,
    interpolate: Annotated[float | None, typer.Option(help="As in annotate.", show_default="as before")] = None,
    threshold: Threshold = None,
    format: Formats = "csv",
    quiet: Quiet = False,
) -> None:
    """Make a table anew from its raw scores: other smoothing, blend, thresholds. The video is not needed."""
    from .commands.smooth import run

    run(
        table, out, smooth=smooth, blend=blend, max_gap=max_gap, interpolate=interpolate,
        thresholds=threshold or [], formats=format, quiet=quiet,
    )  # fmt: skip


@app.command()
@boundary
def render(
    video: Annotated[Path, typer.Argument(help="The video that was annotated.")],
    table: Annotated[Path, typer.Argument(help="Its table.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The overlay video to write, OUT.mp4.", show_default=False)],
    image_fps: Annotated[float, typer.Option(help="Pictures per second of numbered pictures.")] = 30.0,
    quiet: Quiet = False,
) -> None:
    """Draw a table over its video: H.264, original sound, original timing. No model is run."""
    from .commands.render import run

    run(video, table, out, image_fps=image_fps, quiet=quiet)


@app.command()
@boundary
def schema(json: Json = False) -> None:
    """Print the data dictionary: every column of the table, its unit, range and meaning."""
    from .commands.schema import run

    run(as_json=json)


@app.command()
@boundary
def doctor(json: Json = False) -> int:
    """Prove that this installation works: versions, codecs, models, and a two-second clip end to end."""
    from .commands.doctor import run

    return run(as_json=json)


def main() -> None:
    """Entry point of the ``hsemotion`` command."""
    app(prog_name="hsemotion")


if __name__ == "__main__":
    main()
