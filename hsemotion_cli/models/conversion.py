"""Converts the authors' weight files to safetensors, after checking every name, shape and layer setting.

The pickle is read once, for the conversion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelUnavailable
from ..runtime.atomic_files import name_failed_file, replace_when_done
from .cards import ModelCard, NetworkSpec
from .checkpoints import Array, Checkpoint, read

if TYPE_CHECKING:
    from .architectures import Network

FORMAT = "1"
"""Format version of converted files; a file of another version is converted again."""

SETTINGS = ("eps", "stride", "padding", "dilation", "groups", "kernel_size")
"""Attributes that change what a layer computes without changing the shape of its weights."""

Shapes = Mapping[str, tuple[int, ...]]


def spec_of(card: ModelCard) -> NetworkSpec:
    """The inputs and outputs of a card's network.

    Raises:
        ValueError: the card is not of the network family.
    """
    if card.network is None:
        raise ValueError(f"{card.name} is not a network")
    return card.network


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all weights that a network expects, in its order."""
    state = network.body.state_dict()
    # A count of training batches, which the oldest files lack and inference does not use.
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}


def matched(expected: Shapes, found: Shapes) -> dict[str, str]:
    """The name in a file of each expected tensor.

    Names may differ by a prefix (the file wraps the network in another module), in the last layer (wrapped in a
    Sequential, or with any name if the rest is wrapped), or throughout, if types and shapes match in order.

    Args:
        expected: name -> shape of the network.
        found: name -> shape of the file.

    Returns:
        expected name -> name in the file.

    Raises:
        ModelUnavailable: they do not match; the message names the first difference.
    """
    first = next(iter(expected))
    prefixes = [name[: -len(first)] for name in found if name == first or name.endswith(f".{first}")] or [""]
    problem = ""
    for prefix in prefixes:
        pairs = {name: f"{prefix}{name}" for name in expected if f"{prefix}{name}" in found}
        missing = [name for name in expected if name not in pairs]
        taken = set(pairs.values())
        spare = [name for name in found if name not in taken]
        if len(missing) <= 2 and _kinds(missing) == _kinds(spare):
            pairs.update(zip(missing, spare, strict=True))
            missing, spare = [], []
        problem = problem or _difference(expected, found, pairs, missing, spare)
        if not _difference(expected, found, pairs, missing, spare):
            return pairs
    if _kinds(expected) == _kinds(found) and list(expected.values()) == list(found.values()):
        return dict(zip(expected, found, strict=True))
    raise ModelUnavailable(problem)


def check_same(expected: Shapes, found: Shapes) -> None:
    """Compare the weights that a network expects with those of a file that uses the same names.

    Raises:
        ModelUnavailable: they differ; the message names the first difference.
    """
    pairs = {name: name for name in expected if name in found}
    missing = [name for name in expected if name not in found]
    spare = [name for name in found if name not in expected]
    if problem := _difference(expected, found, pairs, missing, spare):
        raise ModelUnavailable(problem)


def _kinds(names: Any) -> list[str]:
    return [name.rpartition(".")[2] for name in names]


def _difference(expected: Shapes, found: Shapes, pairs: Mapping[str, str], missing: list[str], spare: list[str]) -> str:
    """The first difference as a sentence, or "" if there is none."""
    if missing:
        return f"it has no weights named {missing[0]} ({len(missing)} of {len(expected)} are missing)."
    if spare:
        return f"it has {len(spare)} weights that the network lacks, such as {spare[0]}."
    for name, other in pairs.items():
        if expected[name] != found[other]:
            return f"{other} has shape {found[other]} where {expected[name]} is expected."
    return ""


def check_settings(network: Network, checkpoint: Checkpoint, pairs: Mapping[str, str]) -> None:
    """Compare the settings of the layers, if the file contains them (pickled modules do).

    Shapes alone do not distinguish ``tf_efficientnet_b0`` from ``efficientnet_b0``: they differ in the epsilon of
    their normalisation and in their padding, and either would give wrong scores with the other's weights.

    Raises:
        ModelUnavailable: a layer differs.
    """
    layers = dict(network.body.named_modules())
    for name, other in pairs.items():
        layer, theirs = layers[name.rpartition(".")[0]], checkpoint.modules.get(other.rpartition(".")[0], {})
        for setting in SETTINGS:
            ours = getattr(layer, setting, None)
            if setting in theirs and ours is not None and _wide(theirs[setting]) != _wide(ours):
                raise ModelUnavailable(
                    f"layer {other.rpartition('.')[0]} has {setting} {theirs[setting]} where {ours} is expected."
                )


def _wide(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def fit(card: ModelCard, checkpoint: Checkpoint) -> tuple[str, dict[str, Array]]:
    """Rename the tensors of a file to the names of the card's network.

    Returns:
        the architecture that they belong to, and name -> float32 values.

    Raises:
        ModelUnavailable: they match none of the card's architectures, or are not finite.
    """
    architectures = torch_side(card)
    spec = spec_of(card)
    tensors = {name: v for name, v in checkpoint.tensors.items() if not name.endswith("num_batches_tracked")}
    problems = []
    for architecture in spec.architectures:
        network = architectures.build(architecture, spec.outputs)
        try:
            pairs = matched(shapes(network), {name: value.shape for name, value in tensors.items()})
            check_settings(network, checkpoint, pairs)
        except ModelUnavailable as error:
            problems.append(f"{architecture}: {error}")
            continue
        values = {name: np.ascontiguousarray(tensors[other], np.float32) for name, other in pairs.items()}
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise ModelUnavailable(f"{pairs[name]} has values that are not finite.")
        return architecture, values
    raise ModelUnavailable(f"its weights do not match {card.name}: {' '.join(problems)}")


def convert(card: ModelCard, source: Path, target: Path) -> None:
    """Convert a weight file of the authors to safetensors.

    The metadata of the new file have the model, the architecture, and the SHA-256 of the source.

    Args:
        source: a ``.pt``, ``.pth`` or ``.safetensors`` file.
        target: written atomically.

    Raises:
        ModelUnavailable: the source cannot be used (the message says why), or torch or timm is missing.
        OutputError: the target cannot be written.
    """
    from safetensors.numpy import save_file

    checkpoint = read(source)
    try:
        architecture, tensors = fit(card, checkpoint)
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{source}: {error}") from error
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    metadata = {"model": card.name, "architecture": architecture, "source_sha256": digest, "format": FORMAT}
    with name_failed_file(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_when_done(target) as partial:
            save_file(tensors, partial, metadata)


def load(card: ModelCard, path: Path) -> Network:
    """The network with weights written by ``convert``.

    Raises:
        ModelUnavailable: the file was not written by ``convert`` for this model.
    """
    from safetensors import SafetensorError, safe_open

    architectures = torch_side(card)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError) as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error}); remove it, and it will be made again.") from error
    architecture = metadata.get("architecture", "")
    if (
        metadata.get("format") != FORMAT
        or metadata.get("model") != card.name
        or architecture not in (architectures.ARCHITECTURES)
    ):
        raise ModelUnavailable(f"{path}: is not a converted file of {card.name}; remove it, and it will be made again.")
    network = architectures.build(architecture, spec_of(card).outputs)
    try:
        check_same(shapes(network), {name: tuple(value.shape) for name, value in state.items()})
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{path}: {error} Remove it, and it will be made again.") from error
    network.body.load_state_dict(state, strict=False)
    return network


def torch_side(card: ModelCard) -> Any:
    """The module ``architectures``, which needs torch.

    Raises:
        ModelUnavailable: torch is missing.
    """
    try:
        from . import architectures
    except ImportError as error:
        raise ModelUnavailable(
            f"{card.name}: reading this weight file needs torch ({error}): pip install 'hsemotion-cli[torch]'."
        ) from error
    return architectures
