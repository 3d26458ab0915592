"""The model registry: every fact about a model is a field of its card; none is derived from its name.

The cards of some models are part of the program. Others are trained files (``model_file``), which contain their
cards: those that ``models add`` stored in the cache, and those that a command names by path.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelUnavailable, UsageError
from ..tasks import ACTION_UNITS
from . import card_json, model_file
from .cards import ENCODERS, NETWORKS, ModelCard

MODELS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard(
            name="mp-blendshapes",
            paper_name="MediaPipe blendshapes with a FER+ head",
            family="geometry",
            tasks=("expression", "valence_arousal", "action_units"),
            crop=None,
            licence="Apache-2.0",
            training_data="FER+ training part (labels MIT); MediaPipe Face Landmarker (Apache-2.0) computes its input; "
            "action units calibrated on emotion prototypes (Du et al. 2014), not validated against FACS coders",
            citation="docs/models/mp-blendshapes.md",
            file="mp_blendshapes.safetensors",
            sha256="90bb4bfda22bb9ab280b74c1866256d2d031d5864141c7abc1f4be28df69b1aa",
            # Chosen by scripts/train_geometry.py, which writes them into the weights as well.
            au_thresholds=dict(
                zip(ACTION_UNITS, (0.28, 0.49, 0.19, 0.31, 0.28, 0.57, 0.13, 0.13, 0.08, 0.11, 0.26, 0.16), strict=True)
            ),
        ),
    )
}

MODELS.update((entry.name, entry) for entry in NETWORKS)

SOUNDS: dict[str, ModelCard] = {
    "wav2vec2": ModelCard(
        name="wav2vec2",
        paper_name="wav2vec 2.0 with a head",
        family="audio",
        tasks=("expression",),
        crop=None,
        licence="that of the weights (facebook/wav2vec2-base-960h: Apache-2.0), and of what the head was trained on",
        training_data="facebook/wav2vec2-base-960h: LibriSpeech, 960 hours of read English; and what the head was "
        "trained on",
        citation="Baevski, Zhou, Mohamed and Auli 2020, arXiv:2006.11477",
    ),
    "wavlm": ModelCard(
        name="wavlm",
        paper_name="WavLM with a head",
        family="audio",
        tasks=("expression",),
        crop=None,
        licence="that of the weights, and of what the head was trained on",
        training_data="that of the weights, and what the head was trained on",
        citation="Chen et al. 2022, arXiv:2110.13900",
    ),
}
"""The audio models, by ``model_type`` of their weights. One is blended with a model for faces, with the user's audio
head, whose tasks count; or a head takes its states together with embeddings of faces. None can be given to
``--model``."""

SHIPPED: tuple[str, ...] = ("mt-mobilefacenet.safetensors",)
"""Trained files in the package's assets."""

ASSETS = Path(__file__).parent.parent / "assets"

MODELS.update((shipped.name, shipped) for shipped, _ in (model_file.read_card(ASSETS / name) for name in SHIPPED))

_added: dict[str, ModelCard] = {}


def add(path: Path) -> ModelCard:
    """Register a trained file under its own name, in this process.

    The last file registered under a name counts, before one of that name in the cache.

    Raises:
        ModelUnavailable: it is not a trained file.
        UsageError: a model of the program has the same name.
    """
    found, _ = model_file.read_card(path)
    ours = MODELS.get(found.name)
    if ours and ours.path and ours.path.samefile(path):
        return ours
    if ours or found.name in SOUNDS:
        raise UsageError(f"{path}: its name, {found.name}, belongs to a model of the program; train it under another.")
    _added[found.name] = found
    return found


def forget(name: str) -> None:
    """Undo ``add``; no effect on a name that was not added."""
    _added.pop(name, None)


def card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        UsageError: there is no such model; the message lists all models.
        ModelUnavailable: its file in the cache is damaged.
    """
    if found := MODELS.get(name) or _added.get(name):
        return found
    if name in SOUNDS:
        return SOUNDS[name]
    if name.startswith(ENCODERS):
        from .encoder_cards import encoder_card

        return encoder_card(name)
    if card_json.NAME.fullmatch(name) and (path := model_file.place(name)).is_file():
        return kept_card(path)
    raise UsageError(f"unknown model {name!r}: choose from {', '.join(known())}.")


def known() -> dict[str, ModelCard]:
    """Name -> card of all models: the program's, readable ones in the cache, and those that were added."""
    cards = dict(MODELS)
    for path in kept():
        try:
            cards.setdefault(path.stem, kept_card(path))
        except ModelUnavailable:  # ``models list`` and ``models verify`` report it; the others remain usable
            continue
    return cards | _added


def kept() -> list[Path]:
    """The trained files in the cache, readable or not."""
    return sorted(model_file.place("any").parent.glob(f"*{model_file.SUFFIX}"))


def kept_card(path: Path) -> ModelCard:
    """The card of a trained file in the cache, whose name must be that of the file.

    Raises:
        ModelUnavailable: it is damaged, or contains another network.
    """
    found, _ = model_file.read_card(path)
    if found.name != path.stem:
        raise ModelUnavailable(
            f"{path}: it contains {found.name}; remove it, and add it again with 'hsemotion models add'."
        )
    return found
