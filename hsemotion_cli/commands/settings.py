"""Groups of options -> what the library takes: settings and decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..faces.tracking import parse_faces
from ..formats.people import read_people
from ..formats.table import parse_formats
from ..media.canvas import parse_region
from ..media.discovery import parse_time
from ..media.source import DecodeOptions, Sampling
from ..models import heads
from ..models.predict import InferenceOptions
from ..pipeline import Settings
from ..postprocess.model_choice import choose, chosen_models
from ..postprocess.recipe import Recipe
from ..runtime.terminal import say
from .console import fetching
from .defaults import CHOSEN
from .options import FaceOptions, InputOptions, ModelOptions, OutputOptions, RunningOptions, SmoothingOptions

__all__ = ["changed_recipe", "chosen_models", "chosen_settings", "decode_options", "how_to_run"]


def chosen_settings(
    input: InputOptions, faces: FaceOptions, models: ModelOptions, smoothing: SmoothingOptions,
    output: OutputOptions, running: RunningOptions,
) -> Settings:  # fmt: skip
    """The settings that the options of ``annotate`` and ``batch`` describe.

    Unless ``--quiet`` is given, prints a warning for each head that may not do what the user expects.

    Raises:
        UsageError: options that make no sense.
        ModelUnavailable: a head or a trained file that cannot be used.
    """
    choice = choose(
        models.model, smoothing.recipe, models.head, models.audio_head, models.audio_weights, faces.detector,
        smoothing.blend,
    )  # fmt: skip
    settings = Settings(
        recipe=changed_recipe(choice.recipe, smoothing),
        formats=parse_formats(output.formats),
        overlay=output.overlay,
        faces=parse_faces(faces.faces),
        sampling=Sampling(parse_time(input.start, "--start"), parse_time(input.end, "--end"), input.fps, input.every),
        crops=input.crops,
        decoding=decode_options(input),
        detector=faces.detector,
        detect_every=faces.detect_every,
        stride=models.stride,
        min_face=faces.min_face,
        threshold=faces.det_threshold,
        fov=faces.fov,
        identify=faces.identify,
        names=tuple(read_people(faces.people)),
        gallery=faces.gallery,
        batch_size=running.batch_size,
        running=how_to_run(running, choice.files, choice.heads, output.quiet),
        audio_head=choice.audio_head,
        audio_weights=models.audio_weights,
        options=dict(CHOSEN.get()),
    )
    if not output.quiet:
        for sentence in choice.warnings:
            say(sentence)
    return settings


def changed_recipe(recipe: Recipe, smoothing: SmoothingOptions) -> Recipe:
    """A recipe with the changes that options ask for.

    Raises:
        UsageError: an invalid value, or one that does not fit the recipe's models.
    """
    return recipe.changed(
        blend=smoothing.blend,
        smooth=smoothing.smooth,
        max_gap=smoothing.max_gap,
        interpolate=smoothing.interpolate,
        thresholds=smoothing.threshold,
        gate=smoothing.gate,
    )


def decode_options(input: InputOptions) -> DecodeOptions:
    """How sources are decoded.

    Raises:
        UsageError: an option is out of range.
    """
    region = None if input.region is None else parse_region(input.region)
    return DecodeOptions(
        input.image_fps, input.stream, input.video_fps, input.deinterlace, input.rotate, region, input.clock
    )


def how_to_run(
    running: RunningOptions, files: Mapping[str, Path], given_heads: Sequence[heads.Head] = (), quiet: bool = True
) -> InferenceOptions:
    """The library's record of how networks run; downloads are reported unless ``quiet``."""
    return InferenceOptions(
        running.backend, running.device, running.precision, running.threads, running.offline, files,
        fetching(quiet), tuple(given_heads),
    )  # fmt: skip
