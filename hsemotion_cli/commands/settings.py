"""``hsemotion annotate``: options -> settings -> every video in turn -> a table on the terminal."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import HsemotionError, LowCoverage, OutputError, UsageError, exit_code_of
from ..faces.tracking import parse_faces
from ..formats.table import parse_formats
from ..media.discovery import find_jobs, parse_time
from ..media.source import Sampling
from ..models import audio, heads, registry
from ..models.predict import Running
from ..pipeline import Annotator, Settings, Summary
from ..postprocess.recipe import Recipe, parse_models, with_sound
from ..runtime.atomic_files import prepare_folder
from ..runtime.terminal import say
from ..tasks import ACTION_UNITS
from .console import fetching, print_summaries, progress


def run(
    videos: list[Path], out: Path, *, model: str | None, head: list[Path], recipe: Path | None, blend: str | None,
    smooth: str | None, max_gap: float | None, interpolate: float | None, thresholds: list[str], formats: str,
    overlay: bool, faces: str, start: str | None, end: str | None, fps: float | None, every: int, crops: bool,
    image_fps: float, min_face: int | None, det_threshold: float, min_coverage: float, batch_size: int | None,
    backend: str, device: str, precision: str, threads: int | None, offline: bool, quiet: bool, verbose: bool,
    as_json: bool, audio_head: Path | None = None, audio_weights: str | None = None, detector: str = "landmarks",
    detect_every: int = 1, stride: int = 1,
) -> int:  # fmt: skip
    """Annotate every video; returns the exit code.

    Everything that can be checked is checked before the first frame. A video that fails does not stop the others.
    """
    settings = chosen_settings(
        model=model, head=head, recipe=recipe, blend=blend, smooth=smooth, max_gap=max_gap, interpolate=interpolate,
        thresholds=thresholds, formats=formats, overlay=overlay, faces=faces, start=start, end=end, fps=fps,
        every=every, crops=crops, image_fps=image_fps, min_face=min_face, det_threshold=det_threshold,
        batch_size=batch_size, backend=backend, device=device, precision=precision, threads=threads, offline=offline,
        quiet=quiet, audio_head=audio_head, audio_weights=audio_weights, detector=detector, detect_every=detect_every,
        stride=stride,
    )  # fmt: skip
    jobs = find_jobs(videos, crops=crops)
    prepare_folder(out)
    done: list[Summary] = []
    failures: list[HsemotionError] = []
    with Annotator(settings) as annotator:
        for job in jobs:
            try:
                with progress(job.path.name, quiet or as_json) as report:
                    done.append(annotator.annotate(job.path, out, job.name, report))
            except HsemotionError as error:
                say(str(error))
                failures.append(error)
    for summary in done:
        if summary.problem:
            say(summary.problem)
            failures.append(OutputError(summary.problem))
    if as_json:
        print(json.dumps([dataclasses.asdict(summary) for summary in done], indent=2))
    elif done and not quiet:
        print_summaries(done, verbose=verbose)
    return _exit_code(done, failures, min_coverage)


def chosen_settings(
    *, model: str | None, head: Sequence[Path], recipe: Path | None, blend: str | None, smooth: str | None,
    max_gap: float | None, interpolate: float | None, thresholds: Sequence[str], formats: str, overlay: bool,
    faces: str, start: str | None, end: str | None, fps: float | None, every: int, crops: bool, image_fps: float,
    min_face: int | None, det_threshold: float, batch_size: int | None, backend: str, device: str, precision: str,
    threads: int | None, offline: bool, quiet: bool, audio_head: Path | None = None, audio_weights: str | None = None,
    detector: str = "landmarks", detect_every: int = 1, stride: int = 1,
) -> Settings:  # fmt: skip
    """What the options ask for; says what about the heads may not be as the user thinks.

    Raises:
        UsageError: options that make no sense.
        ModelUnavailable: a head or a trained file that cannot be used.
    """
    given_heads = tuple(heads.per_face(path) for path in head)
    base, given = chosen_models(model, recipe, given_heads, detector)
    listening = _listening(audio_head, audio_weights)
    if listening is not None:
        base = with_sound(base)
    settings = Settings(
        recipe=base.changed(
            blend=blend, smooth=smooth, max_gap=max_gap, interpolate=interpolate, thresholds=thresholds
        ),
        formats=parse_formats(formats),
        overlay=overlay,
        faces=parse_faces(faces),
        sampling=Sampling(parse_time(start, "--start"), parse_time(end, "--end"), fps, every),
        crops=crops,
        image_fps=image_fps,
        detector=detector,
        detect_every=detect_every,
        stride=stride,
        min_face=min_face,
        threshold=det_threshold,
        batch_size=batch_size,
        running=Running(backend, device, precision, threads, offline, given, fetching(quiet), given_heads),
        audio_head=listening,
        audio_weights=audio_weights,
    )
    if not quiet:
        _warn((*given_heads, listening) if listening else given_heads, _said_by(recipe))
    return settings


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
    models are those that the heads stand on, or the usual ones; of these only networks work without landmarks.
    """
    names: tuple[str, ...] = tuple(dict.fromkeys(head.base.model for head in given_heads))
    given: dict[str, Path] = {}
    if model is not None:
        names, given = parse_models(model)
    if recipe is None:
        if not names and detector == "fast":
            names = tuple(name for name in Recipe.usual().models if registry.card(name).network)
        chosen = Recipe.of(*names) if names else Recipe.usual()
    else:
        chosen = Recipe.read(recipe)
        if model is not None:
            chosen = Recipe.from_json({**chosen.to_json(), "models": list(names)})
    if not given_heads:
        return chosen, given
    said = _said_by(recipe)
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


def _said_by(recipe: Path | None) -> dict[str, Any]:
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


def _exit_code(done: list[Summary], failures: list[HsemotionError], min_coverage: float) -> int:
    if failures:
        return exit_code_of(failures, some_succeeded=bool(done))
    low = [summary for summary in done if summary.coverage < min_coverage]
    for summary in low:
        seen = f"a face was seen in {summary.coverage:.1%} of its frames"
        say(f"{summary.source}: {seen}, below --min-coverage {min_coverage:g}.")
    return LowCoverage.exit_code if low else 0
