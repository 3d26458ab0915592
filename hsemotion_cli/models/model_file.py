"""A trained network as one file that describes itself: its card in the header, then its weights.

The file is safetensors; it holds tensors under the names of ``Network.body.state_dict()``, float16 or float32, and
its metadata has one key, ``hsemotion``, whose value is JSON:

    {"format": 1, "kind": "network",
     "card": {name, paper_name, crop, licence, training_data, citation, au_thresholds,
              network: {architectures, size, mean, std, classes, valence_arousal, action_units,
                        embedding_size, embedding_source}},
     "facts": {whatever is worth knowing: figures, how it was trained, the commit, "onnx_sha256"},
     "sha256": of all this, of the table of tensors and of the weights; checked where it is there}

A graph of the same network may lie beside it under the same name with ``.onnx``, or, without the weights that the file
holds, with ``.graph`` (``shared_bytes``); ``facts["onnx_sha256"]`` tells whether it is the right one. Reading a card
takes the header only, and neither safetensors nor torch.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelUnavailable, UsageError
from ..runtime.atomic_files import name_failed_file, replace_when_done
from ..runtime.cache_folder import home
from ..tasks import ACTION_UNITS, EXPRESSIONS
from . import delta
from .cards import CROP_RECIPE, RESIZE, ModelCard, NetworkSpec

if TYPE_CHECKING:
    from torch import Tensor

    from .architectures import Network

FORMAT = 1
KIND = "network"
KEY = "hsemotion"
SUFFIX = ".safetensors"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a network may be called: it becomes a file's name and a word of the command line."""

MAX_HEADER = 1 << 22
"""Bytes; the table of tensors of the largest network here takes 108,000."""

MAX_DEPTH = 32
"""Of tables in tables in its header."""

LARGEST_HALF = 65504.0
"""The largest number that float16 holds."""

_BYTES = {"F16": 2, "F32": 4}
_TEXTS = ("paper_name", "licence", "training_data", "citation")
_CARD = {"name", *_TEXTS, "crop", "au_thresholds", "network"}
_NETWORK = {
    "architectures", "size", "mean", "std", "classes", "valence_arousal", "action_units", "embedding_size",
    "embedding_source",
}  # fmt: skip


def check_name(name: str) -> None:
    """Raise UsageError unless a trained network may be called so."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a network: give up to 64 letters, digits, - and _.")


# --- where they are kept ----------------------------------------------------------------------------------------


def place(name: str) -> Path:
    """Where ``models add`` keeps the file of a trained network."""
    return home() / "models" / f"{name}{SUFFIX}"


def graph_path(path: Path) -> Path:
    """Where the graph of a trained file lies as a file of its own, if there is one."""
    return path.with_suffix(".onnx")


def delta_graph_path(path: Path) -> Path:
    """Where the graph of a trained file lies without the weights that the file holds, if there is one."""
    return path.with_suffix(".graph")


# --- reading ----------------------------------------------------------------------------------------------------


def describes_itself(path: Path) -> bool:
    """Whether a file is, or was meant to be, a trained one; it may still be cut short or of another version."""
    try:
        return path.is_file() and KEY in _metadata(_header(path)[0])
    except (OSError, ValueError):
        return False


def read_card(path: Path) -> tuple[ModelCard, dict[str, Any]]:
    """The card of a trained file, whose ``path`` is that file, and the facts beside it; only the header is read.

    Raises:
        ModelUnavailable: it cannot be read, is no such file, is cut short, or its card makes no sense.
    """
    content, _, _ = _described(path)
    try:
        return _card(content["card"], path), content["facts"]
    except ValueError as error:
        raise ModelUnavailable(f"{path}: its description of the network cannot be used: {error}.") from error


def verify(path: Path) -> str:
    """Compare a trained file with the checksum in its header, which covers its card, its facts and its weights.

    Returns:
        the SHA-256 of the whole file, hexadecimal.

    Raises:
        ModelUnavailable: as ``read_card``, or it has been changed since it was written.
    """
    read_card(path)
    content, table, start = _described(path)
    try:
        with open(path, "rb") as file:
            whole = hashlib.sha256(file.read(start))
            inner = _digest_of(content, table)
            while chunk := file.read(1 << 20):
                whole.update(chunk)
                inner.update(chunk)
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror or error}).") from error
    if content.get("sha256", inner.hexdigest()) != inner.hexdigest():
        raise ModelUnavailable(
            f"{path}: it is damaged: its content has the SHA-256 {inner.hexdigest()}, expected {content['sha256']}; "
            "copy it again from where it came."
        )
    return whole.hexdigest()


def graph(path: Path) -> bytes | None:
    """The graph that lies beside a trained file, if it is the one that the file names.

    Raises:
        ModelUnavailable: as ``read_card``.
    """
    expected = read_card(path)[1].get("onnx_sha256")
    for read in (_own_graph, _told_graph) if isinstance(expected, str) else ():
        try:
            content = read(path)
        except (OSError, ValueError):
            continue
        if hashlib.sha256(content).hexdigest() == expected:
            return content
    return None


def _own_graph(path: Path) -> bytes:
    return graph_path(path).read_bytes()


def _told_graph(path: Path) -> bytes:
    return delta.decode(delta_graph_path(path).read_bytes(), path.read_bytes())


def write_delta_graph(path: Path) -> bytes:
    """The content of ``told_graph_path`` for a trained file that has its graph beside it.

    Raises:
        ModelUnavailable: as ``read_card``, or the right graph is not there.
    """
    whole = graph(path)
    if whole is None:
        raise ModelUnavailable(f"{graph_path(path)} is not there, or not the graph of {path.name}.")
    _, table, start = _described(path)
    places = [(start + begin, start + end) for begin, end in (entry["data_offsets"] for entry in table.values())]
    return delta.encode(whole, path.read_bytes(), places)


def load(card: ModelCard, path: Path) -> Network:
    """The network with the weights of a trained file, as float32.

    Raises:
        ModelUnavailable: as ``verify``, or its weights are not those of the card's network, or torch is missing.
    """
    from . import conversion

    try:
        architectures = conversion.torch_side(card)
    except ModelUnavailable as error:
        beside = graph_path(path)
        raise ModelUnavailable(f"{error} Without torch it takes {beside} as it was written with the file.") from error
    verify(path)
    found, _ = read_card(path)
    if (found.name, found.network) != (card.name, card.network):
        raise ModelUnavailable(f"{path}: it is another network than when its card was read; start again.")
    state = _tensors(path)
    expected = conversion.spec_of(card)
    problems = []
    for architecture in expected.architectures:
        if not architectures.known(architecture):
            problems.append(f"{architecture}: this version does not know it; update hsemotion.")
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
    raise ModelUnavailable(f"{path}: its weights do not fit its description: {' '.join(problems)}")


def _tensors(path: Path) -> dict[str, Tensor]:
    """Name -> values of a file whose header has been read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError) as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error}).") from error
    for name, value in state.items():
        if not value.isfinite().all():
            raise ModelUnavailable(f"{path}: {name} holds values that are not finite numbers.")
    return state


def _described(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The value of the key ``hsemotion``, the table of tensors, and where the weights begin.

    Raises:
        ModelUnavailable: the file cannot be read, or is not one of format ``FORMAT``.
    """
    if not path.is_file():
        raise ModelUnavailable(f"{path}: there is no such file.")
    try:
        header, start, size = _header(path)
        metadata = _metadata(header)
        if KEY not in metadata:
            raise ValueError("it does not say which network it holds; a network of the program takes it as NAME=FILE")
        content = _json(metadata[KEY])
        if not isinstance(content, dict):
            raise ValueError("its description is not a table of keys and values")
        version, kind = content.get("format"), content.get("kind")
        if version != FORMAT or isinstance(version, bool):
            raise ValueError(f"it has the format {version!r}, and this version reads {FORMAT}; update hsemotion")
        if kind != KIND:
            raise ValueError(f"it holds a {kind!r}, not a {KIND}")
        for part in ("card", "facts"):
            if not isinstance(content.get(part), dict):
                raise ValueError(f"its description has no {part}")
        _keys("its description", {**content, "sha256": ""}, {"format", "kind", "card", "facts", "sha256"})
        table = {name: entry for name, entry in header.items() if name != "__metadata__"}
        _check_table(table, size - start)
    except ValueError as error:
        raise ModelUnavailable(f"{path}: {error}.") from error
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror or error}).") from error
    return content, table, start


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header of a safetensors file, where it ends, and the size of the file in bytes."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError("it is not a safetensors file, or only a part of one")
        header = _json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("it is not a safetensors file: its header is not a table")
    return header, 8 + length, size


def _metadata(header: Mapping[str, Any]) -> dict[str, Any]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("it is not a safetensors file: its metadata are not a table")
    return metadata


def _json(text: str | bytes) -> Any:
    """Strict JSON, in UTF-8 where it is bytes."""
    if not isinstance(text, str | bytes):
        raise ValueError("its description is not text")
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is not JSON ({error})") from error
    if _deeper(value, MAX_DEPTH):
        raise ValueError(f"its header is nested more than {MAX_DEPTH} deep")
    return value


def _deeper(value: Any, depth: int) -> bool:
    """Whether plain data is nested deeper than so; what handles it later may be recursive."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(_deeper(part, depth - 1) for part in inner)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _check_table(table: Mapping[str, Any], size: int) -> None:
    """Make sure that the tensors lie one behind another in ``size`` bytes, which they fill."""
    places = []
    for name, entry in table.items():
        try:
            kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            if kind not in _BYTES:
                raise ValueError(f"its tensor {name[:80]!r} is of kind {kind!r}; choose F16 or F32")
            if not all(_whole(n, 0, 1 << 40) for n in (*shape, begin, end)):
                raise ValueError(f"its tensor {name[:80]!r} has no place")
        except (TypeError, KeyError) as error:
            raise ValueError(f"its tensor {name[:80]!r} has no kind, shape or place") from error
        if end - begin != math.prod(shape) * _BYTES[kind]:
            raise ValueError(f"its tensor {name[:80]!r} is not as long as its shape says")
        places.append((begin, end))
    places.sort()
    if not places:
        raise ValueError("it holds no weights")
    if places[0][0] != 0 or any(one[1] != other[0] for one, other in itertools.pairwise(places)):
        raise ValueError("its tensors do not lie one behind another")
    if places[-1][1] != size:
        raise ValueError(f"it has {size:,} bytes of weights where {places[-1][1]:,} belong; copy it again")


def _card(content: Mapping[str, Any], path: Path | None) -> ModelCard:
    """The card that a file's header describes.

    Raises:
        ValueError: it is not one; the message says what is wrong, without a full stop.
    """
    _keys("the card", content, _CARD)
    name = content["name"]
    _need(isinstance(name, str) and bool(NAME.fullmatch(name)), f"{name!r} cannot be the name of a network")
    for key in _TEXTS:
        _need(_printable(content[key]), f"{key} is not a line of text")
    crop, thresholds = content["crop"], content["au_thresholds"]
    _need(isinstance(crop, str) and bool(re.fullmatch(CROP_RECIPE, crop)), f"{crop!r} is no crop recipe")
    spec = _spec(content["network"])
    _need(isinstance(thresholds, dict), "au_thresholds is not a table")
    for unit, threshold in thresholds.items():
        _need(unit in spec.action_units, f"there is a threshold of {unit!r}, which the network does not give")
        _need(_real(threshold, 0, 1), f"the threshold of {unit} is not between 0 and 1")
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


def _spec(content: Any) -> NetworkSpec:
    _need(isinstance(content, dict), "network is not a table")
    _keys("the network", content, _NETWORK)
    architectures, mean, std = (content[key] for key in ("architectures", "mean", "std"))
    _need(
        isinstance(architectures, list) and bool(architectures) and all(map(_printable, architectures)),
        "architectures is not a list of names",
    )
    _need(_whole(content["size"], 16, 1024), "size is not a number of pixels from 16 to 1024")
    _need(_whole(content["embedding_size"], 1, 1 << 16), "embedding_size is not a number of columns")
    _need(_printable(content["embedding_source"]), "embedding_source is not a line of text")
    _need(isinstance(content["valence_arousal"], bool), "valence_arousal is neither true nor false")
    for key, values, least in (("mean", mean, -100.0), ("std", std, 1e-6)):
        three = isinstance(values, list) and len(values) == 3 and all(_real(value, least, 100) for value in values)
        _need(three, f"{key} is not three numbers, one for each colour")
    for key, known in (("classes", EXPRESSIONS), ("action_units", ACTION_UNITS)):
        names = content[key]
        _need(isinstance(names, list), f"{key} is not a list")
        for name in names:
            _need(name in known, f"{name!r} of its {key} is unknown to this version, which knows {', '.join(known)}")
        _need(len(set(names)) == len(names), f"one of its {key} is there twice")
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
    _need(spec.outputs > 0, "it has no outputs")
    return spec


def _need(fulfilled: bool, otherwise: str) -> None:
    if not fulfilled:
        raise ValueError(otherwise)


def _keys(what: str, content: Mapping[str, Any], expected: set[str]) -> None:
    """A key too many may change what a network means, so it is as bad as one too few."""
    for key in sorted(set(content) ^ expected):
        raise ValueError(f"{what} {'lacks' if key in expected else 'has the unknown key'} {key!r}")


def _printable(value: Any) -> bool:
    """A line of text that does nothing to a terminal."""
    return isinstance(value, str) and value.isprintable() and len(value) <= 2000


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _real(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


# --- writing ----------------------------------------------------------------------------------------------------


def write(path: Path, network: Network, card: ModelCard, facts: Mapping[str, Any], half: bool = True) -> None:
    """Write a trained network so that ``load`` gives it back; it is read again before it takes its place.

    Args:
        path: replaced in one step, or left as it was.
        network: with the weights to be written; whether it is in training does not matter.
        card: what is known of it; its ``path`` and its published files are not written.
        facts: plain data: figures, how it was trained, ``onnx_sha256`` of the graph beside it.
        half: matrices and kernels as float16, which halves the file. Vectors (biases, statistics, slopes) stay
            float32: they take no room, and an error in one of them is an error in a whole map.

    Raises:
        UsageError: the name cannot be one.
        ValueError: card or facts are not what the format holds.
        ModelUnavailable: the weights are not finite, or not those of the card's network.
        OutputError: it cannot be written.
    """
    from safetensors.torch import save

    check_name(card.name)
    content = {"format": FORMAT, "kind": KIND, "card": _plain(card), "facts": dict(facts)}
    content = json.loads(json.dumps(content, allow_nan=False))  # what is checked here is what will be read
    described = _card(content["card"], None)
    tensors = {name: _stored(value, half).cpu().contiguous() for name, value in _weights(network).items()}
    bare = save(tensors)
    start = 8 + struct.unpack("<Q", bare[:8])[0]
    digest = _digest_of(content, _json(bare[8:start]))
    digest.update(bare[start:])  # the weights, which lie the same with metadata
    whole = save(tensors, {KEY: json.dumps({**content, "sha256": digest.hexdigest()})})
    with name_failed_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_when_done(path) as partial:
            partial.write_bytes(whole)
            try:
                _try_out(described, partial)
            except ModelUnavailable as error:
                raise ModelUnavailable(f"{path}: {str(error).removeprefix(f'{partial}: ')}") from error


def _try_out(card: ModelCard, path: Path) -> None:
    """Load a file that was just written, and show it one blank face."""
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
    """A copy on the CPU, ready to infer, with the weights that ``write`` stores and ``load`` gives back."""
    import torch

    result = copy.deepcopy(network).cpu().float().eval()
    with torch.no_grad():
        for value in _weights(result).values():
            value.copy_(_stored(value, half=True))
    return result


def write_graph(network: Network, size: int, target: Path) -> None:
    """Write a network as an ONNX graph with float16 weights: "input" (n, 3, size, size) -> "scores", "embeddings".

    ONNX Runtime widens the weights once, when it reads the graph, and computes in float32. Only weights that float16
    holds exactly are written so. The exporter would multiply normalisations into the kernels before them, and the
    products are no longer such numbers; so it is told to leave the graph as it is, and ONNX Runtime does that too.

    Args:
        network: as ``rounded`` gives it.

    Raises:
        ModelUnavailable: torch cannot export it, or the ``onnx`` package is missing.
    """
    from .onnx_graphs import export

    try:
        import onnx
    except ImportError as error:
        raise ModelUnavailable(
            f"writing a graph with half-precision weights needs the onnx package ({error}): pip install onnx."
        ) from error
    export(network, size, target, fold=False)
    model = onnx.load(str(target))
    _halve(model.graph)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _halve(graph: Any) -> None:
    """Store the weights of a graph as float16 where that loses nothing, each with a node that widens it."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    kept, widening = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            short = values.astype(np.float16)
        if values.dtype == np.float32 and values.ndim >= 2 and np.array_equal(short.astype(np.float32), values):
            kept.append(numpy_helper.from_array(short, f"{tensor.name}.half"))
            widening.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
        else:
            kept.append(tensor)
    nodes = [*widening, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _weights(network: Network) -> dict[str, Tensor]:
    """Name -> values of all weights; the count of training batches is none."""
    state = network.body.state_dict()
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _stored(value: Tensor, half: bool) -> Tensor:
    """A weight as it is stored."""
    value = value.detach().float()
    return value.half() if half and value.ndim >= 2 and value.abs().max() <= LARGEST_HALF else value


def _plain(card: ModelCard) -> dict[str, Any]:
    """A card as the plain data that ``_card`` reads."""
    spec = card.network
    if spec is None or spec.resize != RESIZE:
        raise ValueError(f"{card.name} is not a network that is fed by the usual resize rule")
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


def _digest_of(content: Mapping[str, Any], table: Mapping[str, Any]) -> Any:
    """SHA-256 so far, of what a header says of its network and its tensors; the weights follow."""
    said = [{key: value for key, value in content.items() if key != "sha256"}, table]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode() + b"\0")
