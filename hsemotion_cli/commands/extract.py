"""``hsemotion extract``: videos -> the embeddings of every face, or the hidden states of their sound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..errors import UsageError
from .options import FaceOptions, InputOptions, Only, OutputOptions, Reworded, RunningOptions, Videos

VideoRate = Reworded(
    video_fps={
        "help": "Frame rate that replaces the time stamps of a video; with --audio, that of the video that a sound "
        "file belongs to."
    }
)


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """What is extracted."""

    panel: ClassVar[str] = "Features"

    model: Annotated[str, typer.Option(metavar="NAME", help="A model, or NAME=FILE.")] = "mp-blendshapes"
    audio: Annotated[
        bool,
        typer.Option(
            "--audio",
            help="Extract hidden states of wav2vec 2.0 or WavLM from the sound instead (needs the audio extra).",
        ),
    ] = False
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Weights of wav2vec 2.0 or WavLM: a folder, or a name to download if the Hugging Face cache lacks it.",
            show_default="facebook/wav2vec2-base-960h",
        ),
    ] = None
    dtype: Annotated[str, typer.Option(metavar="float16|float32", help="Number format of the embeddings.")] = "float32"


def run(
    videos: Videos,
    input: Annotated[
        InputOptions,
        Only("every", "crops", "image_fps", "stream", "video_fps", "deinterlace", "rotate", "region"),
        VideoRate,
    ],
    faces: Annotated[FaceOptions, Only("faces", "detector", "min_face")],
    output: Annotated[OutputOptions, Only("out", "overwrite", "quiet", "log")],
    running: RunningOptions,
    wanted: FeatureOptions,
) -> int:
    """Write the embeddings of every face: NAME.features.parquet, one row per frame per face."""
    from ..runtime import malloc

    malloc.settle()
    from ..faces.tracking import parse_faces
    from ..formats import features
    from ..media.source import Sampling
    from ..pipeline import Settings
    from ..postprocess.recipe import Recipe, parse_models
    from . import extract_run
    from .settings import decode_options, how_to_run
    from .unread_options import refuse

    features.check_dtype(wanted.dtype)
    if wanted.audio:
        _check_sound(input)
        wav2vec = extract_run.SoundModel(wanted.weights, running.device, running.threads, running.offline)
        return extract_run.sound(videos, output, wav2vec, wanted.dtype, input.video_fps).code
    refuse(["weights"], "it is for --audio; weights of --model are given as NAME=FILE")
    names, given = parse_models(wanted.model)
    if len(names) != 1:
        raise UsageError(f"--model {wanted.model}: extract takes one model at a time.")
    settings = Settings(
        recipe=Recipe.of(*names),
        faces=parse_faces(faces.faces),
        sampling=Sampling(every=input.every),
        crops=input.crops,
        decoding=decode_options(input),
        detector=faces.detector,
        min_face=faces.min_face,
        batch_size=running.batch_size,
        running=how_to_run(running, given, quiet=output.quiet),
    )
    return extract_run.faces(videos, output, settings, wanted.dtype).code


def _check_sound(input: InputOptions) -> None:
    """Raise UsageError for an option that has no effect beside --audio."""
    from .unread_options import DECODING, refuse

    images = [*(name for name in DECODING if name != "video-fps"), "every", "faces", "detector", "min-face"]
    refuse(images, "with --audio no image is read")
    refuse(["model", "backend", "precision"], "--audio runs its network in torch and float32")
    if input.video_fps is not None and not 0 < input.video_fps < math.inf:
        raise UsageError(f"--video-fps {input.video_fps:g}: give a rate above 0.")
