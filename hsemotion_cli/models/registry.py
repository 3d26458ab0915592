"""The models: every fact about a model is a field of its card, and none is guessed from its name.

Some are part of the program, by their cards at least; others are trained files (``networks.trained``), which carry
their cards themselves: those that ``models add`` keeps in the cache, and those that are named by their file.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelUnavailable, UsageError
from ..tasks import ACTION_UNITS
from . import card_json, model_file
from .cards import NETWORKS, ModelCard

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
            training_data="FER+ training part (labels MIT); MediaPipe Face Landmarker (Apache-2.0) gives its input; "
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

SOUND = ModelCard(
    name="wav2vec2",
    paper_name="wav2vec 2.0 with a head",
    family="audio",
    tasks=("expression",),
    crop=None,
    licence="that of the weights (facebook/wav2vec2-base-960h: Apache-2.0), and of what the head was trained on",
    training_data="facebook/wav2vec2-base-960h: LibriSpeech, 960 hours of read English; besides, what the head says",
    citation="Baevski, Zhou, Mohamed and Auli 2020, arXiv:2006.11477",
)
"""What hears: the second model beside one that sees, with a head of the user's. No name for ``--model``."""

SHIPPED: tuple[str, ...] = ("mt-mobilefacenet.safetensors",)
"""Trained files among the package's assets."""

ASSETS = Path(__file__).parent.parent / "assets"

MODELS.update((shipped.name, shipped) for shipped, _ in (model_file.read_card(ASSETS / name) for name in SHIPPED))

_added: dict[str, ModelCard] = {}


def add(path: Path) -> ModelCard:
    """Make a trained file known under its own name, for as long as this process lives.

    Of two files of one name the last that was added counts, also before one of that name in the cache.

    Raises:
        ModelUnavailable: it is no trained file.
        UsageError: a model of the program has its name.
    """
    found, _ = model_file.read_card(path)
    ours = MODELS.get(found.name)
    if ours and ours.path and ours.path.samefile(path):
        return ours
    if ours or found.name == SOUND.name:
        raise UsageError(f"{path}: its name, {found.name}, is that of a model of the program; train it under another.")
    _added[found.name] = found
    return found


def forget(name: str) -> None:
    """Take back what ``add`` did; harmless where it did nothing."""
    _added.pop(name, None)


def card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        UsageError: there is no such model; the message lists those that there are.
        ModelUnavailable: its file in the cache is damaged.
    """
    if found := MODELS.get(name) or _added.get(name):
        return found
    if name == SOUND.name:
        return SOUND
    if card_json.NAME.fullmatch(name) and (path := model_file.place(name)).is_file():
        return kept_card(path)
    raise UsageError(f"unknown model {name!r}: choose from {', '.join(known())}.")


def known() -> dict[str, ModelCard]:
    """Name -> card of all models: the program's, those in the cache that can be read, those that were added."""
    cards = dict(MODELS)
    for path in kept():
        try:
            cards.setdefault(path.stem, kept_card(path))
        except ModelUnavailable:  # ``models list`` and ``models verify`` say so; the others are as good as before
            continue
    return cards | _added


def kept() -> list[Path]:
    """The trained files in the cache, readable or not."""
    return sorted(model_file.place("any").parent.glob(f"*{model_file.SUFFIX}"))


def kept_card(path: Path) -> ModelCard:
    """The card of a trained file in the cache, where its name is that of the file.

    Raises:
        ModelUnavailable: it is damaged, or holds another network.
    """
    found, _ = model_file.read_card(path)
    if found.name != path.stem:
        raise ModelUnavailable(
            f"{path}: it holds {found.name}; remove it, and add it again with 'hsemotion models add'."
        )
    return found
