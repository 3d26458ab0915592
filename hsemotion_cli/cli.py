"""The command line: options in, one call, and the one place where an error becomes an exit code.

Nothing heavy is imported here, so that --help answers at once. Annotations are no text here, as they are elsewhere:
Typer would have each of them evaluated twice.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from . import __version__
from .errors import HsemotionError, OutputError
from .runtime import malloc
from .runtime.terminal import say

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
        except MemoryError:
            say("there is not enough memory for this; free some, or give smaller or fewer files.")
            code = OutputError.exit_code
        except Exception as error:
            if os.environ.get("HSEMOTION_DEBUG"):
                raise
            say(f"a bug: {type(error).__name__}: {error}. Please report it with what HSEMOTION_DEBUG=1 prints.")
            code = 1
        raise typer.Exit(code)

    return run


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


Videos = Annotated[
    list[Path], typer.Argument(metavar="VIDEO...", help="Videos, pictures, or folders of them.", show_default=False)
]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Faces = Annotated[str, typer.Option(help="Faces kept in each frame: all, largest, or a number.")]
Every = Annotated[int, typer.Option(min=1, help="Analyse each n-th frame.")]
Crops = Annotated[bool, typer.Option("--crops", help="The pictures are faces already: detect nothing.")]
ImageFps = Annotated[float, typer.Option(help="Pictures per second of numbered pictures.")]
MinFace = Annotated[
    int | None,
    typer.Option(
        help="Find faces down to so many pixels, tile by tile (slow); else to 14 % of the longer "
        "side, or a tenth where nobody is nearer.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Faces scored together; changes speed only.", show_default="8, 128 on a GPU"),
]
Detector = Annotated[
    str,
    typer.Option(
        "--detector", metavar="landmarks|fast|mediapipe",
        help="How faces are found: with landmarks and blendshapes; eyes, nose and mouth only (fast, for networks); or "
        "by MediaPipe's own tasks, to compare with.",
    ),
]  # fmt: skip
DetectEvery = Annotated[
    int,
    typer.Option("--detect-every", metavar="N", help="Search each N-th frame for faces, and interpolate between."),
]
Stride = Annotated[
    int, typer.Option("--stride", metavar="N", help="Networks look at each N-th frame; scores between interpolated.")
]
Formats = Annotated[
    str, typer.Option("--format", "-f", help="Table formats: csv, parquet, jsonl; several with commas.")
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[,NAME]",
        help="A model, or two to blend them; FILE.safetensors for a trained one, NAME=FILE for weights of your own.",
        show_default="the two that come with it",
    ),
]
HeadFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--head",
        metavar="FILE",
        help="A head made by train heads, on top of its model; repeat for two models.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FOLDER",
        help="wav2vec 2.0 weights: a folder, or a name, which is fetched if the Hugging Face cache lacks it.",
        show_default="facebook/wav2vec2-base-960h",
    ),
]
AudioHead = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A head on features of extract --audio, to blend in.", show_default=False),
]
Start = Annotated[str | None, typer.Option(help="First time, as 90, 1:30.5 or 1:02:03.", show_default=False)]
End = Annotated[str | None, typer.Option(help="Time before which to stop.", show_default=False)]
Fps = Annotated[float | None, typer.Option(help="Analyse at most so many frames per second.", show_default=False)]
DetThreshold = Annotated[float, typer.Option(help="Detector confidence from which a face counts.")]
Overlay = Annotated[bool, typer.Option("--overlay", help="Also write NAME.overlay.mp4.")]
DeviceOption = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where networks run.")]
Backend = Annotated[str, typer.Option(metavar="auto|onnx|openvino|torch", help="What runs networks.")]
Precision = Annotated[str, typer.Option(metavar="fp32|bf16|fp16", help="Of networks; less than fp32 changes scores.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU cores to use.", show_default="all")]
Offline = Annotated[bool, typer.Option("--offline", help="Never fetch a model (also HSEMOTION_OFFLINE=1).")]
Recipe = Annotated[
    Path | None,
    typer.Option(
        help="A recipe: TOML, JSON, or the sidecar of a table. Options given beside it win.", show_default=False
    ),
]
Smooth = Annotated[
    str | None,
    typer.Option(
        metavar="KIND:WIDTH",
        help="none, gaussian:0.2 (standard deviation) or box:0.5 (full width) in seconds, or 5f in frames; "
        "TASK=... for single tasks.",
        show_default="none",
    ),
]
Blend = Annotated[
    str | None,
    typer.Option(
        metavar="WEIGHT", help="Weight of the first of two models; TASK=... for single tasks.", show_default="0.5"
    ),
]
MaxGap = Annotated[
    float | None, typer.Option(help="Seconds without a sighting across which nothing is smoothed.", show_default="0.5")
]
Interpolate = Annotated[
    float | None, typer.Option(help="Bridge gaps up to this many seconds with interpolated rows.", show_default="0")
]
Threshold = Annotated[
    list[str] | None,
    typer.Option(help="Presence threshold of an action unit, AU12=0.4; repeat for more."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
@boundary
def annotate(
    videos: Videos,
    out: Out = Path("hsemotion"),
    model: Model = None,
    head: HeadFiles = None,
    audio_head: AudioHead = None,
    audio_weights: Weights = None,
    recipe: Recipe = None,
    blend: Blend = None,
    smooth: Smooth = None,
    max_gap: MaxGap = None,
    interpolate: Interpolate = None,
    threshold: Threshold = None,
    format: Formats = "csv",
    overlay: Overlay = False,
    faces: Faces = "all",
    start: Start = None,
    end: End = None,
    fps: Fps = None,
    every: Every = 1,
    crops: Crops = False,
    image_fps: ImageFps = 30.0,
    detector: Detector = "landmarks",
    detect_every: DetectEvery = 1,
    stride: Stride = 1,
    min_face: MinFace = None,
    det_threshold: DetThreshold = 0.5,
    min_coverage: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 6 if faces are seen in a smaller share of frames.")
    ] = 0.0,
    batch_size: BatchSize = None,
    backend: Backend = "auto",
    device: DeviceOption = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    offline: Offline = False,
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
    malloc.settle()
    from .commands.annotate import run

    return run(
        videos, out, model=model, head=head or [], recipe=recipe, blend=blend, smooth=smooth, max_gap=max_gap,
        interpolate=interpolate, thresholds=threshold or [], formats=format, overlay=overlay, faces=faces, start=start,
        end=end, fps=fps, every=every, crops=crops, image_fps=image_fps, min_face=min_face,
        det_threshold=det_threshold, min_coverage=min_coverage, batch_size=batch_size, backend=backend, device=device,
        precision=precision, threads=threads, offline=offline, quiet=quiet, verbose=verbose, as_json=json,
        audio_head=audio_head, audio_weights=audio_weights, detector=detector, detect_every=detect_every,
        stride=stride,
    )  # fmt: skip


@app.command()
@boundary
def batch(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Files, folders, quoted patterns, @LIST for a file with one path a line, - for such a list on stdin.",
            show_default=False,
        ),
    ] = None,
    out: Out = Path("hsemotion"),
    listed: Annotated[
        list[Path] | None,
        typer.Option("--list", metavar="FILE", help="A list of inputs; repeat for more.", show_default=False),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Search folders below folders as well.")
    ] = True,
    extensions: Annotated[
        str | None,
        typer.Option(metavar="EXT[,EXT]", help="Files that count in folders and patterns.", show_default="all known"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and why not the rest.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is done already.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts after a crash, a time-out, a full disk.")] = 1,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that one attempt at a video may take.", show_default="no limit")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="by cores and free memory")
    ] = None,
    gigabytes: Annotated[
        float, typer.Option("--memory", help="GB that a worker takes, from which their number is chosen.")
    ] = 0.8,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only this share of the inputs, as 1/8 to 8/8.", show_default="all"),
    ] = None,
    engine: Annotated[str, typer.Option(metavar="local|ray", help="This machine, or a Ray cluster.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The Ray cluster; local starts one here.", show_default="auto"),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker", help="GPUs of each Ray worker, as 0.25.", show_default="1 with --device cuda"
        ),
    ] = None,
    model: Model = None,
    head: HeadFiles = None,
    audio_head: AudioHead = None,
    audio_weights: Weights = None,
    recipe: Recipe = None,
    blend: Blend = None,
    smooth: Smooth = None,
    max_gap: MaxGap = None,
    interpolate: Interpolate = None,
    threshold: Threshold = None,
    format: Formats = "csv",
    overlay: Overlay = False,
    faces: Faces = "all",
    start: Start = None,
    end: End = None,
    fps: Fps = None,
    every: Every = 1,
    crops: Crops = False,
    image_fps: ImageFps = 30.0,
    detector: Detector = "landmarks",
    detect_every: DetectEvery = 1,
    stride: Stride = 1,
    min_face: MinFace = None,
    det_threshold: DetThreshold = 0.5,
    batch_size: BatchSize = None,
    backend: Backend = "auto",
    device: DeviceOption = "auto",
    precision: Precision = "fp32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each worker.", show_default="cores / workers, 1 with Ray")
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Annotate a whole collection, in parallel; what is done already is skipped, and nothing stops the rest.

    hsemotion batch study/ -o results --smooth gaussian:0.2

    hsemotion batch 'study/*/cam1.mp4' @more.txt -o results --workers 8 --timeout 3600

    hsemotion batch study/ -o results --shard 3/8

    hsemotion batch study/ -o results --engine ray --address head:6379
    """
    malloc.settle()
    from .commands.batch import run

    return run(
        inputs or [], out, lists=listed or [], recursive=recursive, extensions=extensions, dry_run=dry_run,
        overwrite=overwrite, fail_fast=fail_fast, retries=retries, timeout=timeout, workers=workers, shard=shard,
        engine=engine, address=address, gpus=gpus, memory=gigabytes, quiet=quiet, as_json=json, threads=threads,
        model=model, head=head or [], recipe=recipe, blend=blend, smooth=smooth, max_gap=max_gap,
        interpolate=interpolate, thresholds=threshold or [], formats=format, overlay=overlay, faces=faces, start=start,
        end=end, fps=fps, every=every, crops=crops, image_fps=image_fps, detector=detector, detect_every=detect_every,
        stride=stride, min_face=min_face, det_threshold=det_threshold, batch_size=batch_size, backend=backend,
        device=device, precision=precision, offline=offline, audio_head=audio_head, audio_weights=audio_weights,
    )  # fmt: skip


@app.command()
@boundary
def smooth(
    table: Annotated[Path, typer.Argument(help="A table made by annotate; NAME.raw.npz and NAME.json lie beside it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the new table.", show_default=False)],
    recipe: Recipe = None,
    smooth: Smooth = None,
    blend: Blend = None,
    max_gap: MaxGap = None,
    interpolate: Interpolate = None,
    threshold: Threshold = None,
    format: Formats = "csv",
    quiet: Quiet = False,
) -> None:
    """Make a table anew from its raw scores: other smoothing, blend, thresholds. The video is not needed.

    What is not given stays as it was.
    """
    from .commands.smooth import run

    run(
        table, out, recipe=recipe, smooth=smooth, blend=blend, max_gap=max_gap, interpolate=interpolate,
        thresholds=threshold or [], formats=format, quiet=quiet,
    )  # fmt: skip


@app.command()
@boundary
def render(
    video: Annotated[Path, typer.Argument(help="The video that was annotated.")],
    table: Annotated[Path, typer.Argument(help="Its table.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The overlay video to write, OUT.mp4.", show_default=False)],
    image_fps: ImageFps = 30.0,
    quiet: Quiet = False,
) -> None:
    """Draw a table over its video: H.264, original sound, original timing. No model is run."""
    malloc.settle()
    from .commands.render import run

    run(video, table, out, image_fps=image_fps, quiet=quiet)


@app.command()
@boundary
def extract(
    videos: Videos,
    out: Out = Path("hsemotion"),
    model: Annotated[str, typer.Option(metavar="NAME", help="A model, or NAME=FILE.")] = "mp-blendshapes",
    audio: Annotated[
        bool, typer.Option("--audio", help="Hidden states of wav2vec 2.0 from the sound instead (the audio extra).")
    ] = False,
    weights: Weights = None,
    video_fps: Annotated[
        float | None,
        typer.Option(help="With --audio: frames per second of the video of a bare sound file.", show_default=False),
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="float16|float32", help="Of the embeddings.")] = "float32",
    faces: Faces = "all",
    every: Every = 1,
    crops: Crops = False,
    image_fps: ImageFps = 30.0,
    detector: Detector = "landmarks",
    min_face: MinFace = None,
    batch_size: BatchSize = None,
    backend: Backend = "auto",
    device: DeviceOption = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    offline: Offline = False,
    quiet: Quiet = False,
) -> int:
    """Write the embeddings of every face: NAME.features.parquet, one row per frame per face."""
    malloc.settle()
    from .commands.extract import run

    return run(
        videos, out, model=model, dtype=dtype, faces=faces, every=every, crops=crops, image_fps=image_fps,
        detector=detector, min_face=min_face, batch_size=batch_size, backend=backend, device=device,
        precision=precision, threads=threads, offline=offline, quiet=quiet, audio=audio, weights=weights,
        video_fps=video_fps,
    )  # fmt: skip


@app.command()
@boundary
def bench(
    video: Annotated[
        Path | None, typer.Argument(metavar="[VIDEO]", help="A video; else one is drawn.", show_default=False)
    ] = None,
    peer: Annotated[
        bool, typer.Option("--peer", help="Also run emotiefflib with MTCNN, which must be installed.")
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Also drawn clips with more faces, of other sizes, and longer ones.")
    ] = False,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds.")] = 3,
    only: Annotated[
        str | None, typer.Option(metavar="NAME[,NAME]", help="Only these variants.", show_default="all")
    ] = None,
    people: Annotated[int, typer.Option(min=1, max=64, help="Faces of the drawn clip.")] = 1,
    height: Annotated[int, typer.Option(min=120, max=4320, help="Pixels of the drawn clip, 16:9.")] = 720,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of the drawn clip.")] = 12.0,
    minutes: Annotated[float, typer.Option(min=1, help="With --scaling: length of the longest clip.")] = 2.0,
    model: Model = None,
    detector: Detector = "landmarks",
    detect_every: DetectEvery = 1,
    stride: Stride = 1,
    min_face: MinFace = None,
    batch_size: BatchSize = None,
    backend: Backend = "auto",
    device: DeviceOption = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure how fast this machine annotates, where the time goes, and what each shortcut gives and costs.

    hsemotion bench talk.mp4

    hsemotion bench --people 4 --model enet_b0_8_va_mtl=enet_b0_8_va_mtl.onnx --peer
    """
    malloc.settle()
    from .commands.bench import run

    run(
        video, peer=peer, scaling=scaling, repeat=repeat, only=only, people=people, height=height, seconds=seconds,
        minutes=minutes, model=model, detector=detector, detect_every=detect_every, stride=stride,
        min_face=min_face, batch_size=batch_size, backend=backend, device=device, precision=precision,
        threads=threads, quiet=quiet, as_json=json,
    )  # fmt: skip


models = typer.Typer(help="The models, and their weights in the cache.", no_args_is_help=True)
app.add_typer(models, name="models")

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Models.", show_default=False)]


@models.command("list")
@boundary
def models_list(json: Json = False) -> None:
    """List every model, and whether its weights are here."""
    from .commands import models

    models.list_models(as_json=json)


@models.command("info")
@boundary
def models_info(name: Annotated[str, typer.Argument(help="A model.")], json: Json = False) -> None:
    """Print everything that is known of a model."""
    from .commands import models

    models.info(name, as_json=json)


@models.command("add")
@boundary
def models_add(
    file: Annotated[Path, typer.Argument(help="A trained network, FILE.safetensors.", show_default=False)],
    json: Json = False,
) -> None:
    """Keep a trained network, so that every command knows it by its own name."""
    from .commands import models

    models.add(file, as_json=json)


@models.command("download")
@boundary
def models_download(
    names: Names = None,
    all: Annotated[bool, typer.Option("--all", help="Every published model.")] = False,
    kind: Annotated[
        str, typer.Option(metavar="onnx|pt|pth|all", help="Which files: graphs for CPUs, checkpoints, or all.")
    ] = "all",
    offline: Offline = False,
    json: Json = False,
) -> None:
    """Fetch weights, verified by their checksums; an interrupted download is continued."""
    from .commands import models

    models.download(names or [], everything=all, kind=kind, offline=offline, as_json=json)


@models.command("verify")
@boundary
def models_verify(names: Names = None, json: Json = False) -> int:
    """Check the cached weights against their checksums; exit with 5 if one is damaged."""
    from .commands import models

    return models.verify(names or [], as_json=json)


@models.command("path")
@boundary
def models_path(
    name: Annotated[
        str | None, typer.Argument(help="A model; the cache itself without one.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Print where weights are, or would be put."""
    from .commands import models

    models.path(name, as_json=json)


@models.command("remove")
@boundary
def models_remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models.")], json: Json = False
) -> None:
    """Remove weights from the cache, with all that was made from them."""
    from .commands import models

    models.remove(names, as_json=json)


train = typer.Typer(help="Train on data of your own.", no_args_is_help=True)
app.add_typer(train, name="train")


@train.command("heads")
@boundary
def train_heads(
    features: Annotated[
        list[Path],
        typer.Argument(metavar="FEATURES...", help="Files of extract, or folders of them.", show_default=False),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            help="Annotations: the list of s-Aff-Wild2, a folder of Aff-Wild2's (its training part), "
            "or the list of clips for emi.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The head to write, HEAD.safetensors.", show_default=False)],
    kind: Annotated[
        str, typer.Option(metavar="unitask|mtl|emi", help="Wiring: one task a net, all from one input, or clips.")
    ] = "unitask",
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks with commas.", show_default="expression,valence_arousal,action_units"),
    ] = None,
    val_truth: Annotated[
        Path | None,
        typer.Option(
            help="Annotations to validate with: a second list, or a folder (its validation part).", show_default=False
        ),
    ] = None,
    val_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the videos kept for validation without --val-truth.")
    ] = 0.2,
    epochs: Annotated[
        str | None, typer.Option(help="Epochs; TASK=... for single tasks.", show_default="as in the papers")
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Rows per step; TASK=... for single tasks.", show_default="as in the papers")
    ] = None,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    hidden: Annotated[int, typer.Option(min=0, help="Units of a hidden layer, for emi.")] = 0,
    input: Annotated[
        str, typer.Option(metavar="features|scores", help="What the statistics of a clip are made of, for emi.")
    ] = "features",
    seed: Annotated[int, typer.Option(help="Of starting weights, order and the videos held out.")] = 0,
    terms: Annotated[str, typer.Option(help="Terms of the data, kept in the head and its page.")] = "",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train the papers' heads on embeddings that extract wrote; annotate --head uses the result.

    hsemotion train heads features/ --truth training_set_annotations.txt --kind mtl -o head.safetensors
    """
    from .commands.train_heads import run

    run(
        features, truth, out, kind=kind, tasks=tasks, val_truth=val_truth, val_share=val_share, epochs=epochs,
        batch=batch, rate=rate, hidden=hidden, source=input, seed=seed, terms=terms, quiet=quiet, as_json=json,
    )  # fmt: skip


@train.command("finetune")
@boundary
def train_finetune(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A training plan, PLAN.toml.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder of the run.", show_default="runs/NAME")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="A file of train pack, instead of the plan's sources.", show_default=False)
    ] = None,
    device: DeviceOption = "auto",
    threads: Threads = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that look for faces.", show_default="all")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a network end to end, as a plan says; a run that was stopped goes on where it was.

    hsemotion train finetune plans/mobilefacenet.toml
    """
    from .commands.train_finetune import run

    run(plan, out, samples=samples, device=device, threads=threads, workers=workers, quiet=quiet, as_json=json)


@train.command("pack")
@boundary
def train_pack(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A training plan.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write, FILE.npz.", show_default=False)],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that look for faces.", show_default="all")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Put a plan's labelled faces into one file, which trains on a machine without the data sets."""
    from .commands.train_finetune import run_pack

    run_pack(plan, out, workers=workers, quiet=quiet)


Track = Annotated[
    str, typer.Option(metavar="expr|va|au|mtl|ce|emi", help="Track of the ABAW challenges.", show_default=False)
]
Truth = Annotated[
    Path,
    typer.Option(
        help="Annotations: a tree of Aff-Wild2, the folder of one track, or a list (s-Aff-Wild2, ce, emi).",
        show_default=False,
    ),
]
Part = Annotated[str, typer.Option(metavar="train|validation", help="Part of a tree.")]
Tables = Annotated[
    list[Path],
    typer.Argument(metavar="TABLES...", help="Tables made by annotate, or folders of them.", show_default=False),
]


@app.command()
@boundary
def evaluate(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="TABLES...",
            help="Tables made by annotate, or folders of them; or one file as it is submitted (the only kind for emi).",
            show_default=False,
        ),
    ],
    truth: Truth,
    track: Track,
    part: Part = "validation",
    recipe: Recipe = None,
    threshold: Threshold = None,
    mean: Annotated[
        str, typer.Option(metavar="arithmetic|geometric|harmonic", help="Of two basic probabilities, for ce.")
    ] = "arithmetic",
    other: Annotated[
        str, typer.Option(metavar="contempt|none", help="What stands for Other in models that do not know it.")
    ] = "contempt",
    seen_only: Annotated[
        bool, typer.Option("--seen-only", help="Leave out the frames in which no face was seen.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out the videos of the truth that have no table, or no face.")
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Draws of whole recordings for the intervals; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw the result.", show_default=False)
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Score tables by the truth of a challenge, with 95 % intervals over recordings.

    hsemotion evaluate results --truth Aff-Wild2 --track expr

    hsemotion evaluate submission.txt --truth validation_set_annotations.txt --track mtl
    """
    from .commands.evaluate import run

    run(
        tables, truth, track=track, part=part, recipe=recipe, thresholds=threshold or [], mean=mean, other=other,
        seen_only=seen_only, partial=partial, bootstrap=bootstrap, seed=seed, picture=picture, quiet=quiet,
        as_json=json,
    )  # fmt: skip


@app.command()
@boundary
def tune(
    tables: Tables,
    truth: Truth,
    track: Annotated[str, typer.Option(metavar="expr|va|au|mtl", help="Track to tune for.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The recipe to write, RECIPE.toml or .json.", show_default=False)
    ],
    part: Part = "validation",
    model: Annotated[
        str | None, typer.Option(metavar="NAME[,NAME]", help="Of the models in the raw scores.", show_default="all")
    ] = None,
    sigmas: Annotated[
        str | None,
        typer.Option(
            help="Gaussians to try, as the papers write them.", show_default="0.1,1,10,50,100,500,1e3,1e4,1e5"
        ),
    ] = None,
    deltas: Annotated[str | None, typer.Option(help="Neighbours to each side.", show_default="1,5,10,50,100")] = None,
    seconds: Annotated[
        str | None, typer.Option(help="Also try Gaussians and boxes of so many seconds.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of the first of two models.", show_default="0,0.1,...,1")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation, by recording.")] = 5,
    max_gap: Annotated[
        float | None,
        typer.Option(
            help="Seconds without a sighting across which nothing is smoothed.",
            show_default="0.5; a day for lists of single pictures",
        ),
    ] = None,
    surface: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw the score over the grid.", show_default=False)
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Choose smoothing, blend weights and thresholds by the truth, from raw scores alone; write them as a recipe.

    hsemotion tune results --truth Aff-Wild2 --track expr -o expr.toml --surface expr.png
    """
    from .commands.tune import run

    run(
        tables, truth, out, track=track, part=part, model=model, sigmas=sigmas, deltas=deltas, seconds=seconds,
        weights=weights, folds=folds, max_gap=max_gap, picture=surface, threads=threads, quiet=quiet, as_json=json,
    )  # fmt: skip


@app.command()
@boundary
def submit(
    track: Track,
    listed: Annotated[
        Path, typer.Option("--list", help="The organisers' list or template; it says which rows.", show_default=False)
    ],
    tables: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[TABLES|VIDEOS...]",
            help="Tables made by annotate, or videos (annotated first), or folders of either; features for emi.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The file to write; a folder with --layout per-video.", show_default=False),
    ] = None,
    validate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write nothing; check this file.", show_default=False)
    ] = None,
    recipe: Recipe = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="arithmetic|geometric|harmonic", help="Of two probabilities, for ce.", show_default="arithmetic"
        ),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            metavar="contempt|none",
            help="What stands for Other in models that do not know it.",
            show_default="contempt",
        ),
    ] = None,
    override: Annotated[
        float | None,
        typer.Option(help="Where --override-model is surer than this, its label counts.", show_default=False),
    ] = None,
    override_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the models in the raw scores.", show_default=False)
    ] = None,
    layout: Annotated[
        str, typer.Option(metavar="file|per-video", help="One file, or one for each video as up to ABAW-3.")
    ] = "file",
    extra_frames: Annotated[
        int | None,
        typer.Option(min=0, help="Rows beyond the last decoded frame, where a list names no frames.", show_default="1"),
    ] = None,
    crops: Crops = False,
    image_fps: ImageFps = 30.0,
    head: Annotated[Path | None, typer.Option(help="For emi: a head made by train heads.", show_default=False)] = None,
    audio_head: Annotated[Path | None, typer.Option(help="For emi: a head on audio.", show_default=False)] = None,
    audio: Annotated[
        list[Path] | None, typer.Option(help="For emi: files of extract --audio, or folders.", show_default=False)
    ] = None,
    audio_weight: Annotated[
        list[str] | None,
        typer.Option(metavar="W|CLASS=W", help="For emi: share of the audio.", show_default="0.9, joy=0.6"),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Write the file of a challenge from tables, or check one: every row that the list names, in its order.

    hsemotion submit results --track expr --list Expr_test_set_example.txt -o expr.txt

    hsemotion submit --track expr --list Expr_test_set_example.txt --validate expr.txt
    """
    from .commands.submit import run

    return run(
        tables or [], out, track=track, listed=listed, validate=validate, recipe=recipe, mean=mean, other=other,
        override=override, override_model=override_model, layout=layout, extra_frames=extra_frames, head=head,
        audio_head=audio_head, audio=audio or [], audio_weights=audio_weight or [], quiet=quiet, as_json=json,
        crops=crops, image_fps=image_fps,
    )  # fmt: skip


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


def _lighten_help() -> None:
    """Load what draws Typer's help without Markdown and tracebacks, which it never draws here: a third of its time."""
    left_out = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
    stand_ins = {module: ModuleType(module) for module in left_out if module not in sys.modules}
    for module, stand_in in stand_ins.items():
        setattr(stand_in, left_out[module], type(left_out[module], (), {}))
        sys.modules[module] = stand_in
    import typer.rich_utils  # noqa: F401

    for module in stand_ins:
        del sys.modules[module]


def main() -> None:
    """Entry point of the ``hsemotion`` command."""
    if not sys.argv[1:] or {"-h", "--help"} & set(sys.argv[1:]):
        _lighten_help()
    app(prog_name="hsemotion")


if __name__ == "__main__":
    main()
