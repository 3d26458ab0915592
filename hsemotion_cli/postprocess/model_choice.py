"""Which models, heads and recipe a run begins with: shared by the command line and the Python interface."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..models import audio, heads, registry
from ..models.heads import Head
from ..tasks import ACTION_UNITS
from .recipe import Recipe, parse_models, with_sound


@dataclasses.dataclass(frozen=True, slots=True)
class ModelChoice:
    """What the options about models amount to.

    Attributes:
        recipe: the recipe that they begin with, before smoothing, blending and thresholds are changed.
        files: model -> weight file of the user's.
        heads: the user's heads, each for a different model.
        audio_head: the head on sound, or None.
        warnings: sentences about what may not be as the user expects.
    """

    recipe: Recipe
    files: Mapping[str, Path]
    heads: tuple[Head, ...]
    audio_head: Head | None
    warnings: tuple[str, ...]


def choose(
    model: str | None,
    recipe: Path | None,
    head: Sequence[Path] = (),
    audio_head: Path | None = None,
    audio_weights: str | None = None,
    detector: str = "landmarks",
    blend: str | None = None,
) -> ModelChoice:
    """Read recipe and heads, and choose the models.

    Args:
        model, recipe, head, audio_head, audio_weights, detector, blend: values of the options of these names.

    Raises:
        UsageError: options that make no sense together.
        ModelUnavailable: a head or a trained file that cannot be used.
    """
    given_heads = tuple(heads.per_face(path) for path in head)
    base, files = chosen_models(model, recipe, given_heads, detector)
    for name in base.models:
        if not registry.card(name).tasks and name not in {each.base.model for each in given_heads}:
            raise UsageError(
                f"--model {name}: it gives embeddings and predicts nothing itself; give a head on them with --head "
                "(train heads makes one)."
            )
    listening = _listening(audio_head, audio_weights, any(each.base.sound for each in given_heads))
    if listening is not None:
        base = with_sound(base, listening.base.model, listening.parts)
    everyone = (*given_heads, listening) if listening else given_heads
    warnings = head_warnings(everyone, _read_plain(recipe))
    if model is not None and recipe is None and blend is None:
        warnings = (*blend_warnings(model, base), *warnings)
    return ModelChoice(base, files, given_heads, listening, warnings)


def chosen_models(
    model: str | None, recipe: Path | None, given_heads: Sequence[Head] = (), detector: str = "landmarks"
) -> tuple[Recipe, dict[str, Path]]:
    """The recipe that the options begin with, and the weight files that the user brings.

    Models named beside a recipe replace the recipe's own models and keep the rest of it. Without either, the models
    are those that the heads belong to, or the default ones; only networks work without landmarks.
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
    content = _read_plain(recipe)
    own = set(content.get("recipe", content).get("thresholds", {}))
    return _with_thresholds(chosen, given_heads, own), given


def blend_warnings(model: str, base: Recipe) -> tuple[str, ...]:
    """That the default models, given by their names, are not blended in equal shares as other models are."""
    if len(base.models) < 2 or base.blend == Recipe.of(*base.models).blend:
        return ()
    shares = ", ".join(f"{task} {weight:g}" for task, weight in base.blend.items())
    return (
        f"--model {model}: these are the default models, blended as they are without --model (weight of "
        f"{base.models[0]}: {shares}); --blend 0.5 gives both equal weight.",
    )


def head_warnings(given_heads: Sequence[Head], recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """What about the heads may not be as the user expects.

    Args:
        recipe: content of the recipe file, which may be the sidecar of a table; {} for none.
    """
    sentences = [
        f"--head {head.name}: the weights of {head.base.model} that it was trained on are unknown."
        for head in given_heads
        if head.base.sha256 is None
    ]
    given = {head.sha256 for head in given_heads}
    for model in recipe.get("models", []):
        for before in _heads_of(model):
            if before.get("sha256") not in given:
                sentences.append(
                    f"--recipe: its table was made with the head {before.get('name')} on {model.get('name')}; "
                    "without --head FILE this one will be another."
                )
    return tuple(sentences)


def _heads_of(model: Any) -> list[dict[str, Any]]:
    """The heads in a sidecar's entry of a model."""
    found = [model.get("head"), *(model.get("heads") or [])] if isinstance(model, dict) else []
    return [each for each in found if isinstance(each, dict)]


def _listening(head: Path | None, weights: str | None, joint: bool) -> Head | None:
    """The head on sound.

    Args:
        joint: whether a head for faces uses the sound as well.
    """
    if head is not None:
        return audio.check(heads.per_face(head))
    if weights is not None and not joint:
        raise UsageError(
            f"--audio-weights {weights}: give the head on them with --audio-head, or a joint head with --head."
        )
    return None


def _with_thresholds(recipe: Recipe, given_heads: Sequence[Head], own: set[str]) -> Recipe:
    """The recipe with the heads' thresholds of action units except those that the recipe sets itself (``own``).

    Thresholds of an ensemble are the mean of its members'.
    """
    by_model: dict[str, list[Head]] = {}
    for head in given_heads:
        by_model.setdefault(head.base.model, []).append(head)
    usual: dict[str, float] = {}
    # As in ``Recipe.of``, the first model that knows the action units decides about their presence.
    for name in reversed(recipe.models):
        members = [head for head in by_model.get(name, []) if "action_units" in head.parts]
        if members:
            usual |= {
                unit: sum(head.thresholds.get(unit, 0.5) for head in members) / len(members) for unit in ACTION_UNITS
            }
        else:
            usual |= registry.card(name).au_thresholds
    thresholds = {unit: value for unit, value in usual.items() if unit not in own}
    return dataclasses.replace(recipe, thresholds={**recipe.thresholds, **thresholds})


def _read_plain(recipe: Path | None) -> dict[str, Any]:
    """The content of a recipe file, which has been read as a recipe before; {} for none."""
    if recipe is None:
        return {}
    text = recipe.read_text(encoding="utf-8")
    return tomllib.loads(text) if recipe.suffix.lower() == ".toml" else json.loads(text)
