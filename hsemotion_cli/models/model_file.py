"""A trained network as one self-describing file: its card in the header, then its weights.

The file is safetensors with tensors named as in ``Network.body.state_dict()``, float16 or float32. Its metadata has one
key, ``hsemotion``, whose value is JSON:

    {"format": 1, "kind": "network",
     "card": {name, paper_name, crop, licence, training_data, citation, au_thresholds,
              network: {architectures, size, mean, std, classes, valence_arousal, action_units,
                        embedding_size, embedding_source}},
     "facts": {about the training: metrics, config, commit, "onnx_sha256" and more},
     "sha256": of all this, of the table of tensors and of the weights; checked if present}

The ONNX graph of the network may be beside it, with the suffix ``.onnx``, or ``.graph`` if delta-encoded
(``graph_file``). Reading a card reads only the header, and needs neither safetensors nor torch.
"""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelUnavailable
from ..runtime.atomic_files import name_failed_file, replace_when_done
from ..runtime.user_folders import home
from .card_json import card_from_json, card_to_json, check_keys, check_name
from .cards import ModelCard
from .safetensors_header import check_tensors, metadata_of, parse_json, read_header

if TYPE_CHECKING:
    from torch import Tensor

    from .architectures import Network

FORMAT = 1
KIND = "network"
KEY = "hsemotion"
SUFFIX = ".safetensors"

LARGEST_HALF = 65504.0
"""The largest finite float16."""


# --- paths ------------------------------------------------------------------------------------------------------


def place(name: str) -> Path:
    """The path at which ``models add`` stores a trained network."""
    return home() / "models" / f"{name}{SUFFIX}"


def graph_path(path: Path) -> Path:
    """The path of a trained file's ONNX graph."""
    return path.with_suffix(".onnx")


def delta_graph_path(path: Path) -> Path:
    """The path of a trained file's delta-encoded graph."""
    return path.with_suffix(".graph")


# --- reading ----------------------------------------------------------------------------------------------------


def describes_itself(path: Path) -> bool:
    """Whether a file is a trained one by its header; it may still be truncated or of another version."""
    try:
        return path.is_file() and KEY in metadata_of(read_header(path)[0])
    except (OSError, ValueError):
        return False


def read_card(path: Path) -> tuple[ModelCard, dict[str, Any]]:
    """The card of a trained file (with ``path`` set to it) and its facts; only the header is read.

    Raises:
        ModelUnavailable: it cannot be read, is not a trained file, is truncated, or its card is invalid.
    """
    content, _, _ = read_description(path)
    try:
        return card_from_json(content["card"], path), content["facts"]
    except ValueError as error:
        raise ModelUnavailable(f"{path}: its description of the network cannot be used: {error}.") from error


def verify(path: Path) -> str:
    """Check a trained file against the checksum in its header, which covers card, facts and weights.

    Returns:
        the SHA-256 of the whole file, hexadecimal.

    Raises:
        ModelUnavailable: as ``read_card``, or it was changed after it was written.
    """
    read_card(path)
    content, table, start = read_description(path)
    try:
        with open(path, "rb") as file:
            whole = hashlib.sha256(file.read(start))
            inner = _start_digest(content, table)
            while chunk := file.read(1 << 20):
                whole.update(chunk)
                inner.update(chunk)
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror or error}).") from error
    if content.get("sha256", inner.hexdigest()) != inner.hexdigest():
        raise ModelUnavailable(
            f"{path}: it is damaged: its content has the SHA-256 {inner.hexdigest()}, expected {content['sha256']}; "
            "copy it again from its source."
        )
    return whole.hexdigest()


def load(card: ModelCard, path: Path) -> Network:
    """The network with the weights of a trained file, as float32.

    Raises:
        ModelUnavailable: as ``verify``, or the weights do not match the card's network, or torch is missing.
    """
    from . import conversion

    try:
        architectures = conversion.torch_side(card)
    except ModelUnavailable as error:
        graph = graph_path(path)
        raise ModelUnavailable(f"{error} Without torch, {graph} is needed as written with the file.") from error
    verify(path)
    found, _ = read_card(path)
    if (found.name, found.network) != (card.name, card.network):
        raise ModelUnavailable(
            f"{path}: it was replaced by another network after its card was read; run the command again."
        )
    state = _tensors(path)
    expected = conversion.spec_of(card)
    problems = []
    for architecture in expected.architectures:
        if not architectures.known(architecture):
            problems.append(f"{architecture}: unknown to this version; update hsemotion.")
            continue
        network: Network = architectures.build(architecture, expected.outputs)
        try:
            conversion.check_same(conversion.shapes(network), {k: tuple(v.shape) for k, v in state.items()})
        except ModelUnavailable as error:
            problems.append(f"{architecture}: {error}")
            continue
        if network.embedding_size != expected.embedding_size:
            problems.append(f"{architecture}: its embedding has {network.embedding_size} columns.")
            continue
        network.body.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
        return network
    raise ModelUnavailable(f"{path}: its weights do not match its description: {' '.join(problems)}")


def _tensors(path: Path) -> dict[str, Tensor]:
    """Name -> values of all tensors in a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError) as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error}).") from error
    for name, value in state.items():
        if not value.isfinite().all():
            raise ModelUnavailable(f"{path}: {name} has values that are not finite.")
    return state


def read_description(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The value of the key ``hsemotion``, the table of tensors, and the offset of the weights.

    Raises:
        ModelUnavailable: the file cannot be read, or is not one of format ``FORMAT``.
    """
    if not path.is_file():
        raise ModelUnavailable(f"{path}: no such file.")
    try:
        header, start, size = read_header(path)
        metadata = metadata_of(header)
        if KEY not in metadata:
            raise ValueError("it does not contain a model card; if it has weights of a known network, give NAME=FILE")
        content = parse_json(metadata[KEY])
        if not isinstance(content, dict):
            raise ValueError("its description is not a table of keys and values")
        version, kind = content.get("format"), content.get("kind")
        if version != FORMAT or isinstance(version, bool):
            raise ValueError(f"it has the format {version!r}, but this version reads {FORMAT}; update hsemotion")
        if kind != KIND:
            raise ValueError(f"it holds a {kind!r}, not a {KIND}")
        for part in ("card", "facts"):
            if not isinstance(content.get(part), dict):
                raise ValueError(f"its description has no {part}")
        check_keys("its description", {**content, "sha256": ""}, {"format", "kind", "card", "facts", "sha256"})
        table = {name: entry for name, entry in header.items() if name != "__metadata__"}
        check_tensors(table, size - start)
    except ValueError as error:
        raise ModelUnavailable(f"{path}: {error}.") from error
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror or error}).") from error
    return content, table, start


# --- writing ----------------------------------------------------------------------------------------------------


def write(path: Path, network: Network, card: ModelCard, facts: Mapping[str, Any], half: bool = True) -> None:
    """Write a trained network for ``load``; the file is loaded as a test before it appears under its name.

    Args:
        path: written atomically.
        network: with the weights to write, in training or evaluation mode.
        card: its card; ``path`` and published files are not written.
        facts: plain data: metrics, training config, ``onnx_sha256`` of the graph beside it, and so on.
        half: store matrices and kernels as float16, which halves the file. Vectors (biases, statistics, slopes) stay
            float32: they are small, and an error in one of them affects a whole feature map.

    Raises:
        UsageError: the name is not allowed.
        ValueError: card or facts cannot be stored.
        ModelUnavailable: the weights are not finite, or do not match the card's network.
        OutputError: it cannot be written.
    """
    from safetensors.torch import save

    check_name(card.name)
    content = {"format": FORMAT, "kind": KIND, "card": card_to_json(card), "facts": dict(facts)}
    content = json.loads(json.dumps(content, allow_nan=False))  # check exactly what will be read
    described = card_from_json(content["card"], None)
    tensors = {name: _stored(value, half).cpu().contiguous() for name, value in _weights(network).items()}
    bare = save(tensors)
    start = 8 + struct.unpack("<Q", bare[:8])[0]
    digest = _start_digest(content, parse_json(bare[8:start]))
    digest.update(bare[start:])  # the weights, whose layout does not depend on the metadata
    whole = save(tensors, {KEY: json.dumps({**content, "sha256": digest.hexdigest()})})
    with name_failed_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_when_done(path) as partial:
            partial.write_bytes(whole)
            try:
                _check_loads(described, partial)
            except ModelUnavailable as error:
                raise ModelUnavailable(f"{path}: {str(error).removeprefix(f'{partial}: ')}") from error


def _check_loads(card: ModelCard, path: Path) -> None:
    """Load a file that was just written and run it on one blank face."""
    import torch

    from .conversion import spec_of

    spec, network = spec_of(card), load(card, path)
    try:
        with torch.inference_mode():
            scores, embeddings = network(torch.zeros(1, 3, spec.size, spec.size))
    except RuntimeError as error:
        raise ModelUnavailable(f"it does not run on {spec.size} pixels ({str(error)[:200]}).") from error
    got = tuple(scores.shape), tuple(embeddings.shape)
    if got != ((1, spec.outputs), (1, spec.embedding_size)):
        raise ModelUnavailable(f"on {spec.size} pixels it gives scores and embeddings of shapes {got}.")


def rounded(network: Network) -> Network:
    """A copy on the CPU in evaluation mode, with weights rounded as ``write`` stores and ``load`` returns them."""
    import torch

    result = copy.deepcopy(network).cpu().float().eval()
    with torch.no_grad():
        for value in _weights(result).values():
            value.copy_(_stored(value, half=True))
    return result


def _weights(network: Network) -> dict[str, Tensor]:
    """Name -> values of all weights, without the counts of training batches."""
    state = network.body.state_dict()
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _stored(value: Tensor, half: bool) -> Tensor:
    """A weight as it is stored."""
    value = value.detach().float()
    return value.half() if half and value.ndim >= 2 and value.abs().max() <= LARGEST_HALF else value


def _start_digest(content: Mapping[str, Any], table: Mapping[str, Any]) -> Any:
    """SHA-256 of the description and the table of tensors, to be continued with the weights."""
    signed = [{key: value for key, value in content.items() if key != "sha256"}, table]
    return hashlib.sha256(json.dumps(signed, sort_keys=True, separators=(",", ":")).encode() + b"\0")
