"""Options that several commands share, each declared once, and how a command takes them.

To add an option:

- For one command: add a parameter to that command's ``run`` in its own file,
  ``name: Annotated[TYPE, typer.Option(help="...")] = DEFAULT``, or a field to the dataclass that stands there.
- For several commands: add a field to the group below that it belongs to. Every command that takes the whole group has
  the option at once; a command that takes part of a group names its fields with ``Only``.

Then use it as ``GROUP.NAME`` where the command runs: ``settings.py`` turns the groups into ``pipeline.Settings`` for
``annotate`` and ``batch``. A flag needs its name spelled out (``"--crops"``), or Typer adds ``--no-crops``. An option
that may be repeated is a ``list`` field with ``field(default_factory=list)``. ``--help`` shows each group in a panel
with the group's title.

A command is a plain function whose parameters are Typer arguments, Typer options and groups::

    def run(
        videos: Videos,
        faces: FaceOptions,
        output: Annotated[OutputOptions, Only("out", "quiet")],
        running: Annotated[RunningOptions, Reworded(threads={"help": "CPU threads of each worker."})],
    ) -> int: ...

``signature.expand`` makes of it what Typer reads; ``signature.call`` calls it with options by their names.

Nothing heavy is imported here: every ``--help`` reads this file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

Videos = Annotated[
    list[Path], typer.Argument(metavar="VIDEO", help="Videos, images, or folders of them.", show_default=False)
]

NamesByHand = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="CSV with recording, face_id and person: names given by hand, which always count.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What is read of an input, and how."""

    panel: ClassVar[str] = "Input"

    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start here: 90, 1:30.5 or 1:02:03.", show_default="the first frame"),
    ] = None
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop before this time.", show_default="the last frame")
    ] = None
    fps: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Analyse at most this many frames per second.", show_default="every frame"),
    ] = None
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Analyse every N-th frame.")] = 1
    crops: Annotated[
        bool, typer.Option("--crops", help="The images are already cropped faces; skip face detection.")
    ] = False
    image_fps: Annotated[float, typer.Option(metavar="RATE", help="Frame rate of a folder of numbered images.")] = 30.0
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="N|LANGUAGE",
            help="Video stream of a file with several: its number, from 0, or its language.",
            show_default="the one that players show",
        ),
    ] = None
    video_fps: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Frame rate that replaces the time stamps of a video.", show_default="its time stamps"
        ),
    ] = None
    deinterlace: Annotated[
        str,
        typer.Option(
            metavar="auto|on|off", help="Deinterlace frames that are flagged as interlaced (auto), all, or none."
        ),
    ] = "auto"
    rotate: Annotated[
        str,
        typer.Option(
            metavar="auto|0|90|180|270",
            help="Rotation: as declared by the file (auto), or degrees counter-clockwise that replace it.",
        ),
    ] = "auto"
    region: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Analyse this part of the displayed image only, in pixels; boxes stay those of the whole image.",
            show_default="all of it",
        ),
    ] = None
    clock: Annotated[
        bool,
        typer.Option(
            "--clock", help="Add a column with date and time of day, from the creation time that the file declares."
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """How faces are found and followed."""

    panel: ClassVar[str] = "Faces"

    faces: Annotated[
        str,
        typer.Option(metavar="all|largest|N", help="Faces to keep in each frame: all, the largest, or the N largest."),
    ] = "all"
    detector: Annotated[
        str,
        typer.Option(
            metavar="landmarks|fast|mediapipe",
            help="Face detector: landmarks and blendshapes; eyes, nose and mouth only (fast, for networks); or "
            "MediaPipe's own tasks, for comparison.",
        ),
    ] = "landmarks"
    detect_every: Annotated[
        int, typer.Option(metavar="N", help="Detect faces in every N-th frame and interpolate between.")
    ] = 1
    min_face: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Smallest face to detect, in pixels; lower values take more time.",
            show_default="1/32 of the longer side, 24 at least",
        ),
    ] = None
    det_threshold: Annotated[
        float,
        typer.Option(metavar="SCORE", help="Lowest probability (det_score) from which a candidate counts as a face."),
    ] = 0.75
    fov: Annotated[
        float,
        typer.Option(metavar="DEGREES", help="Field of view of the image's longer side, for head poses and gaze."),
    ] = 60.0
    identify: Annotated[
        bool,
        typer.Option(
            "--identify", help="Link face ids of one person across cuts and absences (biometric; adds person columns)."
        ),
    ] = False
    people: NamesByHand = None
    gallery: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Recognise people that hsemotion people enrolled in this folder.", show_default=False
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which models score the faces."""

    panel: ClassVar[str] = "Models"

    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="One model, or two to blend; FILE.safetensors for one you trained, NAME=FILE for your own weights.",
            show_default="the two included models",
        ),
    ] = None
    head: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="Head made by train heads, replaces its model's own; repeat for a second model, or to average.",
            show_default=False,
        ),
    ] = field(default_factory=list)
    audio_head: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Head trained on extract --audio features; blends in the sound.", show_default=False
        ),
    ] = None
    audio_weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Weights of wav2vec 2.0 or WavLM: a folder, or a name to download if the Hugging Face cache lacks it.",
            show_default="facebook/wav2vec2-base-960h",
        ),
    ] = None
    stride: Annotated[
        int, typer.Option(metavar="N", help="Run networks on every N-th frame and interpolate between.")
    ] = 1


@dataclass(frozen=True, slots=True)
class SmoothingOptions:
    """How raw scores become the values in the table."""

    panel: ClassVar[str] = "Smoothing and blending"

    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recipe: TOML, JSON, or a table's sidecar. Options on the command line override it.",
            show_default=False,
        ),
    ] = None
    blend: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHT",
            help="Weight of the first of two models; TASK=WEIGHT for single tasks.",
            show_default="0.5",
        ),
    ] = None
    smooth: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:WIDTH",
            help="none, gaussian:0.2 (standard deviation), box:0.5 (full width) or causal:0.2 (Gaussian over the past "
            "only), in seconds or as 5f in frames; "
            "TASK=KIND:WIDTH for single tasks.",
            show_default="none",
        ),
    ] = None
    max_gap: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Never smooth across a longer stretch without a face.", show_default="0.5"
        ),
    ] = None
    interpolate: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Fill gaps up to this long with interpolated rows.", show_default="0"),
    ] = None
    gate: Annotated[
        str | None,
        typer.Option(
            metavar="PROBABILITY",
            help="Where the network itself is surer of an expression than this, it counts instead of its --head.",
            show_default="none",
        ),
    ] = None
    threshold: Annotated[
        list[str],
        typer.Option(
            metavar="AU=VALUE", help="Presence threshold of an action unit, as AU12=0.4; repeat for more.",
            show_default=False,
        ),
    ] = field(default_factory=list)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is written and printed."""

    panel: ClassVar[str] = "Output"

    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.")] = Path(
        "hsemotion"
    )
    formats: Annotated[
        str,
        typer.Option(
            "--format", "-f", metavar="NAME[,NAME]", help="Table formats: csv, parquet, jsonl; several with commas."
        ),
    ] = "csv"
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write NAME.overlay.mp4.")] = False
    report: Annotated[
        bool, typer.Option("--report", help="Also write NAME.html, a page that shows video and curves in step.")
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace existing files that hsemotion did not write.")
    ] = False
    min_coverage: Annotated[
        float,
        typer.Option(metavar="SHARE", min=0, max=1, help="Exit with 6 if fewer frames than this have a face."),
    ] = 0.0
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append messages and progress to this file, with times.", show_default=False),
    ] = None


@dataclass(frozen=True, slots=True)
class RunningOptions:
    """Where and how networks run."""

    panel: ClassVar[str] = "Running"

    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Faces per inference batch; affects speed only.", show_default="8, 128 on a GPU"
        ),
    ] = None
    backend: Annotated[str, typer.Option(metavar="auto|onnx|openvino|torch", help="Inference runtime.")] = "auto"
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Device to run networks on.")] = "auto"
    precision: Annotated[
        str, typer.Option(metavar="fp32|bf16|fp16", help="Inference precision; scores change below fp32.")
    ] = "fp32"
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU cores to use.", show_default="all")] = (
        None
    )
    offline: Annotated[bool, typer.Option("--offline", help="Never download a model (also HSEMOTION_OFFLINE=1).")] = (
        False
    )


@dataclass(frozen=True, slots=True)
class TruthOptions:
    """Ground truth of a challenge."""

    panel: ClassVar[str] = "Ground truth"

    truth: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="Annotations: a tree of Aff-Wild2, one track's folder, or a list (s-Aff-Wild2, ce, emi).",
            show_default=False,
        ),
    ]
    track: Annotated[str, typer.Option(metavar="expr|va|au|mtl|ce|emi", help="ABAW track.", show_default=False)]
    part: Annotated[str, typer.Option(metavar="train|validation", help="Part of an annotation tree.")] = "validation"


@dataclass(frozen=True, slots=True)
class Only:
    """A command takes only these fields of a group; the rest keep their defaults."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


class OwnDefaults:
    """A command takes defaults of a group from its own table only, since its options change what is there already."""


class Reworded:
    """A command describes fields of a group in its own words: field -> attributes of its ``typer.Option``."""

    def __init__(self, **fields: dict[str, Any]) -> None:
        self.fields = fields
