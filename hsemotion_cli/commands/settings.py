"""Groups of options -> what the library takes: settings, recipe, heads, weight files."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..faces.tracking import parse_faces
from ..formats.table import parse_formats
from ..media.discovery import parse_time
from ..media.source import DecodeOptions, Sampling
from ..models import audio, heads, registry
from ..models.predict import Running
from ..pipeline import Settings
from ..postprocess.recipe import Recipe, parse_models, with_sound
from ..runtime.terminal import say
from ..tasks import ACTION_UNITS
from .console import fetching
from .defaults import CHOSEN
from .options import FaceOptions, InputOptions, ModelOptions, OutputOptions, RunningOptions, SmoothingOptions


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
    given_heads = tuple(heads.per_face(path) for path in models.head)
    base, given = chosen_models(models.model, smoothing.recipe, given_heads, faces.detector)
    listening = _listening(models.audio_head, models.audio_weights)
    if listening is not None:
        base = with_sound(base)
    settings = Settings(
        recipe=base.changed(
            blend=smoothing.blend,
            smooth=smoothing.smooth,
            max_gap=smoothing.max_gap,
            interpolate=smoothing.interpolate,
            thresholds=smoothing.threshold,
        ),
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
        batch_size=running.batch_size,
        running=how_to_run(running, given, given_heads, output.quiet),
        audio_head=listening,
        audio_weights=models.audio_weights,
        options=dict(CHOSEN.get()),
    )
    if not output.quiet:
        _tell_blend(models, smoothing, base)
        _warn((*given_heads, listening) if listening else given_heads, _read_plain(smoothing.recipe))
    return settings


def decode_options(input: InputOptions) -> DecodeOptions:
    """How sources are decoded.

    Raises:
        UsageError: an option is out of range.
    """
    return DecodeOptions(input.image_fps, input.stream, input.video_fps, input.deinterlace, clock=input.clock)


def _tell_blend(models: ModelOptions, smoothing: SmoothingOptions, base: Recipe) -> None:
    """Say that the default models, given by their names, are not blended in equal shares as other models are."""
    if models.model is None or smoothing.recipe is not None or smoothing.blend is not None or len(base.models) < 2:
        return
    if base.blend != Recipe.of(*base.models).blend:
        shares = ", ".join(f"{task} {weight:g}" for task, weight in base.blend.items())
        say(
            f"--model {models.model}: these are the default models, blended as they are without --model (weight of "
            f"{base.models[0]}: {shares}); --blend 0.5 gives both equal weight."
        )


def how_to_run(
    running: RunningOptions, files: Mapping[str, Path], given_heads: Sequence[heads.Head] = (), quiet: bool = True
) -> Running:
    """The library's record of how networks run; downloads are reported unless ``quiet``."""
    return Running(
        running.backend, running.device, running.precision, running.threads, running.offline, files,
        fetching(quiet), tuple(given_heads),
    )  # fmt: skip


def _listening(head: Path | None, weights: str | None) -> heads.Head | None:
    """The head that listens."""
    if head is not None:
        return audio.check(heads.per_face(head))
    if weights is not None:
        raise UsageError(f"--audio-weights {weights}: give the head on them with --audio-head.")
    return None


def chosen_models(
    model: str | None, recipe: Path | None, given_heads: Sequence[heads.Head] = (), detector: str = "landmarks"
) -> tuple[Recipe, dict[str, Path]]:
    """The recipe that the options begin with, and the weight files that the user brings.

    Models named beside a recipe take the place of the recipe's own, which then keeps the rest. Without either, the
    models are those that the heads stand on, or the default ones; of these only networks work without landmarks.
    """
    names: tuple[str, ...] = tuple(dict.fromkeys(head.base.model for head in given_heads))
    given: dict[str, Path] = {}
    if model is not None:
        names, given = parse_models(model)
    if recipe is None:
        if not names and detector == "fast":
            names = tuple(name for name in Recipe.usual().models if registry.card(name).network)
        usual = Recipe.usual()
        # The default models by their names are blended as they are without them.
        same = sorted(names) == sorted(usual.models) and not given and not given_heads
        chosen = usual.in_order(names) if same else Recipe.of(*names) if names else usual
    else:
        chosen = Recipe.read(recipe)
        if model is not None:
            chosen = Recipe.from_json({**chosen.to_json(), "models": list(names)})
    if not given_heads:
        return chosen, given
    said = _read_plain(recipe)
    return _with_thresholds(chosen, given_heads, set(said.get("recipe", said).get("thresholds", {}))), given


def _with_thresholds(recipe: Recipe, given_heads: Sequence[heads.Head], own: set[str]) -> Recipe:
    """The recipe with the heads' thresholds of action units, but for those that it says itself (``own``)."""
    by_model = {head.base.model: head for head in given_heads}
    usual: dict[str, float] = {}
    # As in ``Recipe.of``, the first model that knows the action units decides about their presence.
    for name in reversed(recipe.models):
        if name in by_model and "action_units" in by_model[name].parts:
            usual |= dict.fromkeys(ACTION_UNITS, 0.5) | by_model[name].thresholds
        else:
            usual |= registry.card(name).au_thresholds
    thresholds = {unit: value for unit, value in usual.items() if unit not in own}
    return dataclasses.replace(recipe, thresholds={**recipe.thresholds, **thresholds})


def _read_plain(recipe: Path | None) -> dict[str, Any]:
    """All that a recipe file says, which has been read as a recipe before."""
    if recipe is None:
        return {}
    text = recipe.read_text(encoding="utf-8")
    return tomllib.loads(text) if recipe.suffix.lower() == ".toml" else json.loads(text)


def _warn(given_heads: Sequence[heads.Head], said: Mapping[str, Any]) -> None:
    """Say what about the heads may not be as the user thinks."""
    for head in given_heads:
        if head.base.sha256 is None:
            say(f"--head {head.name}: nobody knows with which weights of {head.base.model} it was trained.")
    given = {head.sha256 for head in given_heads}
    for model in said.get("models", []):
        before = model.get("head") if isinstance(model, dict) else None
        if isinstance(before, dict) and before.get("sha256") not in given:
            say(
                f"--recipe: its table was made with the head {before.get('name')} on {model.get('name')}; "
                "without --head FILE this one will be another."
            )
