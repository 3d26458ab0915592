"""The card of a trained network as plain data, as it is stored in the header of its file, and back with all checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..tasks import ACTION_UNITS, EXPRESSIONS
from .cards import CROP_RECIPE, RESIZE, ModelCard, NetworkSpec
from .safetensors_header import is_integer

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Names of networks, which become file names and command-line arguments."""

_TEXTS = ("paper_name", "licence", "training_data", "citation")
_CARD = {"name", *_TEXTS, "crop", "au_thresholds", "network"}
_NETWORK = {
    "architectures", "size", "mean", "std", "classes", "valence_arousal", "action_units", "embedding_size",
    "embedding_source",
}  # fmt: skip


def check_name(name: str) -> None:
    """Raise UsageError if a trained network cannot have this name."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a network: give up to 64 letters, digits, - and _.")


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """A card as the plain data that ``card_from_json`` reads.

    Raises:
        ValueError: it is not a network, or has an unusual resize rule.
    """
    spec = card.network
    if spec is None or spec.resize != RESIZE:
        raise ValueError(f"{card.name} is not a network with the usual resize rule")
    network = {
        "architectures": list(spec.architectures),
        "size": spec.size,
        "mean": list(map(float, spec.mean)),
        "std": list(map(float, spec.std)),
        "classes": list(spec.classes),
        "valence_arousal": spec.valence_arousal,
        "action_units": list(spec.action_units),
        "embedding_size": spec.embedding_size,
        "embedding_source": spec.embedding_source,
    }
    thresholds = {unit: float(threshold) for unit, threshold in card.au_thresholds.items()}
    texts = {key: getattr(card, key) for key in _TEXTS}
    return {"name": card.name, **texts, "crop": card.crop, "au_thresholds": thresholds, "network": network}


def card_from_json(content: Mapping[str, Any], path: Path | None) -> ModelCard:
    """The card in a file's header.

    Raises:
        ValueError: it is invalid; the message says what is wrong, without a full stop.
    """
    check_keys("the card", content, _CARD)
    name = content["name"]
    _require(isinstance(name, str) and bool(NAME.fullmatch(name)), f"{name!r} cannot be the name of a network")
    for key in _TEXTS:
        _require(_is_line(content[key]), f"{key} is not a line of text")
    crop, thresholds = content["crop"], content["au_thresholds"]
    _require(isinstance(crop, str) and bool(re.fullmatch(CROP_RECIPE, crop)), f"{crop!r} is not a crop recipe")
    spec = _spec_from_json(content["network"])
    _require(isinstance(thresholds, dict), "au_thresholds is not a table")
    for unit, threshold in thresholds.items():
        _require(unit in spec.action_units, f"it has a threshold of {unit!r}, which the network does not predict")
        _require(_is_number(threshold, 0, 1), f"the threshold of {unit} is not between 0 and 1")
    texts = {key: content[key] for key in _TEXTS}
    return ModelCard(
        name=name,
        family="network",
        tasks=spec.tasks,
        crop=crop,
        au_thresholds={unit: float(threshold) for unit, threshold in thresholds.items()},
        network=spec,
        path=path,
        **texts,
    )


def _spec_from_json(content: Any) -> NetworkSpec:
    _require(isinstance(content, dict), "network is not a table")
    check_keys("the network", content, _NETWORK)
    architectures, mean, std = (content[key] for key in ("architectures", "mean", "std"))
    _require(
        isinstance(architectures, list) and bool(architectures) and all(map(_is_line, architectures)),
        "architectures is not a list of names",
    )
    _require(is_integer(content["size"], 16, 1024), "size is not a number of pixels from 16 to 1024")
    _require(is_integer(content["embedding_size"], 1, 1 << 16), "embedding_size is not a number of columns")
    _require(_is_line(content["embedding_source"]), "embedding_source is not a line of text")
    _require(isinstance(content["valence_arousal"], bool), "valence_arousal is neither true nor false")
    for key, values, least in (("mean", mean, -100.0), ("std", std, 1e-6)):
        three = isinstance(values, list) and len(values) == 3 and all(_is_number(value, least, 100) for value in values)
        _require(three, f"{key} is not three numbers, one per channel")
    for key, known in (("classes", EXPRESSIONS), ("action_units", ACTION_UNITS)):
        names = content[key]
        _require(isinstance(names, list), f"{key} is not a list")
        for name in names:
            _require(
                name in known, f"{name!r} among its {key} is unknown to this version, which knows {', '.join(known)}"
            )
        _require(len(set(names)) == len(names), f"one of its {key} is listed twice")
    spec = NetworkSpec(
        architectures=tuple(architectures),
        size=content["size"],
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
        classes=tuple(content["classes"]),
        valence_arousal=content["valence_arousal"],
        embedding_size=content["embedding_size"],
        embedding_source=content["embedding_source"],
        action_units=tuple(content["action_units"]),
    )
    _require(spec.outputs > 0, "it has no outputs")
    return spec


def _require(fulfilled: bool, otherwise: str) -> None:
    if not fulfilled:
        raise ValueError(otherwise)


def check_keys(what: str, content: Mapping[str, Any], expected: set[str]) -> None:
    """Raise ValueError for missing or unknown keys: an unknown one might change the meaning of the others."""
    for key in sorted(set(content) ^ expected):
        raise ValueError(f"{what} {'lacks' if key in expected else 'has the unknown key'} {key!r}")


def _is_line(value: Any) -> bool:
    """Whether a value is a line of text without control characters."""
    return isinstance(value, str) and value.isprintable() and len(value) <= 2000


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
