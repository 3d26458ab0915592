"""``hsemotion submit``: tables and an organisers' list -> the file of a track; or what is wrong with such a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..errors import UsageError
from .options import InputOptions, Only, OutputOptions, OwnDefaults, SmoothingOptions
from .unread_options import DECODING, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..abaw.challenges import Track
    from ..abaw.lists import FrameList

_LAYOUTS = ("file", "per-video")


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """How predictions for frames are made."""

    panel: ClassVar[str] = "Predictions for frames"

    mean: Annotated[
        str | None,
        typer.Option(
            metavar="arithmetic|geometric|harmonic",
            help="Mean of two basic expressions' probabilities, for ce.",
            show_default="arithmetic",
        ),
    ] = None
    other: Annotated[
        str | None,
        typer.Option(
            metavar="contempt|none", help='Class used as "Other" for models without one.', show_default="contempt"
        ),
    ] = None
    override: Annotated[
        float | None,
        typer.Option(
            metavar="PROBABILITY",
            help="Use the label of --override-model where it is more certain than this.",
            show_default=False,
        ),
    ] = None
    override_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the models in the raw scores.", show_default=False)
    ] = None
    layout: Annotated[
        str, typer.Option(metavar="file|per-video", help="One file, or one per video as in ABAW up to the third.")
    ] = "file"
    extra_frames: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Rows past the last decoded frame, where a list names no frames.",
            show_default="1",
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True, slots=True)
class MimicryOptions:
    """How predictions for clips are made, for the track emi."""

    panel: ClassVar[str] = "Predictions for clips (emi)"

    head: Annotated[Path | None, typer.Option(metavar="FILE", help="Head made by train heads.", show_default=False)] = (
        None
    )
    audio_head: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Head trained on audio features.", show_default=False)
    ] = None
    audio: Annotated[
        list[Path], typer.Option(metavar="PATH", help="Files of extract --audio, or folders.", show_default=False)
    ] = field(default_factory=list)
    audio_weights: Annotated[
        list[str],
        typer.Option(
            "--audio-weight", metavar="W|CLASS=W", help="Weight of the audio head.", show_default="0.9, joy=0.6"
        ),
    ] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SubmissionOptions:
    """The file of a challenge."""

    panel: ClassVar[str] = "Submission"

    track: Annotated[str, typer.Option(metavar="expr|va|au|mtl|ce|emi", help="ABAW track.", show_default=False)]
    listed: Annotated[
        Path,
        typer.Option(
            "--list", metavar="FILE", help="The organisers' list or template, which sets the rows.", show_default=False
        ),
    ]
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="PATH", help="File to write; a folder with --layout per-video.", show_default=False
        ),
    ] = None
    validate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check this file and write nothing.", show_default=False)
    ] = None


def run(
    wanted: SubmissionOptions,
    input: Annotated[
        InputOptions, Only("crops", "image_fps", "stream", "video_fps", "deinterlace", "rotate", "region")
    ],
    smoothing: Annotated[SmoothingOptions, Only("recipe"), OwnDefaults],
    frames: FrameOptions,
    mimicry: MimicryOptions,
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json")],
    tables: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="TABLES|VIDEOS",
            help="Tables made by annotate, or videos (annotated first), or folders of either; features for emi.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Write a challenge's submission file from tables, or check one: every row the list names, in its order.

    hsemotion submit results --track expr --list Expr_test_set_example.txt -o expr.txt

    hsemotion submit --track expr --list Expr_test_set_example.txt --validate expr.txt
    """
    from ..abaw import lists
    from ..abaw.challenges import track as track_of
    from ..formats.ownership import check_outputs
    from . import submit_run
    from .console import print_json

    asked, listed, out = track_of(wanted.track), wanted.listed, wanted.out
    given = _given(smoothing, frames, mimicry)
    if frames.layout not in _LAYOUTS:
        raise UsageError(f"--layout {frames.layout}: choose from {', '.join(_LAYOUTS)}.")
    if wanted.validate is not None:
        if tables or out is not None or given or frames.layout != "file":
            raise UsageError("--validate takes --track, --list and the file alone.")
        refuse(DECODING, "--validate takes --track, --list and the file alone")
        return submit_run.validated(wanted.validate, lists.read(listed, asked), output.quiet, output.json)
    _check_options(asked, given, frames.layout)
    if asked.name == "emi":
        refuse(DECODING, "--track emi reads features, and decodes no video")
    places = _checked(tables or [], out, listed, frames.layout)
    rows = lists.read(listed, asked)
    every = [places / f"{video}.txt" for video in rows.videos] if frames.layout == "per-video" else [places]
    check_outputs(every, output.overwrite)
    if asked.name == "emi":
        sound = submit_run.Sound(mimicry.audio_head, mimicry.audio, mimicry.audio_weights)
        summary = submit_run.mimicry(rows, tables or [], places, mimicry.head, sound)
    else:
        summary = _frames(rows, tables or [], places, input, smoothing, frames, output)
    if output.json:
        print_json(summary, indent=None)
    elif not output.quiet:
        submit_run.show(summary)
    return 0


def _frames(
    rows: FrameList, tables: Sequence[Path], out: Path, input: InputOptions, smoothing: SmoothingOptions,
    frames: FrameOptions, output: OutputOptions,
) -> dict[str, Any]:  # fmt: skip
    """Write the rows of frames, from tables or from videos that are annotated first."""
    from ..abaw import submission
    from ..postprocess.recipe import Recipe
    from . import submit_run

    if (frames.override is None) != (frames.override_model is None):
        raise UsageError("--override and --override-model go together: a probability, and whose.")
    override = None
    if frames.override is not None and frames.override_model is not None:
        override = submission.Override(frames.override, frames.override_model)
    settings = submission.SubmissionSettings(
        recipe=None if smoothing.recipe is None else Recipe.read(smoothing.recipe),
        mean=frames.mean or "arithmetic",
        other=frames.other or "contempt",
        override=override,
    )
    found = submit_run.annotated(tables, out, settings.recipe, input, output)
    extra = 1 if frames.extra_frames is None else frames.extra_frames
    return submit_run.frames(rows, found, out, settings, frames.layout, extra, output.quiet or output.json)


def _given(smoothing: SmoothingOptions, frames: FrameOptions, mimicry: MimicryOptions) -> list[str]:
    """The given options, of those that apply to some tracks only."""
    options = {
        "--recipe": smoothing.recipe,
        "--mean": frames.mean,
        "--other": frames.other,
        "--override": frames.override,
        "--override-model": frames.override_model,
        "--extra-frames": frames.extra_frames,
        "--head": mimicry.head,
        "--audio-head": mimicry.audio_head,
        "--audio": mimicry.audio or None,
        "--audio-weight": mimicry.audio_weights or None,
    }
    return [option for option, value in options.items() if value is not None]


def _check_options(track: Track, given: Sequence[str], layout: str) -> None:
    """Raise UsageError for an option that has no effect on this track."""
    expressions = ["expr", "mtl"]
    frames = ["expr", "va", "au", "mtl", "ce"]
    meant = {
        "--recipe": frames,
        "--mean": ["ce"],
        "--other": expressions,
        "--override": expressions,
        "--override-model": expressions,
        "--extra-frames": frames,
        "--head": ["emi"],
        "--audio-head": ["emi"],
        "--audio": ["emi"],
        "--audio-weight": ["emi"],
    }
    for option in given:
        if track.name not in meant[option]:
            raise UsageError(f"{option} is for --track {' and '.join(meant[option])}, not for {track.name}.")
    if layout == "per-video" and track.per_video is None:
        raise UsageError(f"--layout per-video: --track {track.name} never had one file per video; leave it out.")
    if "--extra-frames" in given and layout != "per-video":
        raise UsageError("--extra-frames is for --layout per-video; otherwise the list sets the rows.")


def _checked(tables: Sequence[Path], out: Path | None, listed: Path, layout: str) -> Path:
    """Check where to write, and return it.

    Raises:
        UsageError: nothing was given to read, or the output cannot be written there.
    """
    if not tables:
        raise UsageError("give the listed videos, or the tables that annotate made of them, or folders of either.")
    if out is None:
        raise UsageError("-o: give the file to write (a folder with --layout per-video).")
    if out.exists() and listed.exists() and out.samefile(listed):
        raise UsageError(f"-o {out}: that is the list itself; choose another file.")
    if layout == "file" and out.is_dir():
        raise UsageError(f"-o {out}: that is a folder; give the file to write in it.")
    return out
