"""The table of models: every fact about a model is a field of its card, and none is guessed from its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import UsageError
from .networks.cards import NETWORKS, NetworkSpec
from .tasks import ACTION_UNITS


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What must be known to feed a model rightly and to read what it says.

    Attributes:
        name: as given to ``--model``.
        paper_name: as the literature calls it.
        family: which recogniser runs it ("geometry", "network").
        tasks: the tasks of ``tasks.TASKS`` that it has.
        crop: crop recipe that it was trained with ("box", "aligned-112"), or None if it needs no picture.
        licence: of the weights.
        training_data: what the weights were trained on.
        citation: where the model is described.
        file: name of the weights inside the package's assets, or None.
        sha256: of that file.
        au_thresholds: action unit -> probability from which it counts as present.
        network: how a network is fed and read, and where its weights are; None for other families.
    """

    name: str
    paper_name: str
    family: str
    tasks: tuple[str, ...]
    crop: str | None
    licence: str
    training_data: str
    citation: str
    file: str | None = None
    sha256: str | None = None
    au_thresholds: Mapping[str, float] = field(default_factory=dict)
    network: NetworkSpec | None = None


DEFAULT_MODEL = "mp-blendshapes"

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

MODELS.update(
    (
        entry.name,
        ModelCard(
            name=entry.name,
            paper_name=entry.paper_name,
            family="network",
            tasks=entry.tasks,
            crop=entry.crop,
            licence=entry.licence,
            training_data=entry.training_data,
            citation=entry.citation,
            network=entry.network,
        ),
    )
    for entry in NETWORKS
)


def card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        UsageError: there is no such model; the message lists those that there are.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise UsageError(f"unknown model {name!r}: choose from {', '.join(MODELS)}.") from None
