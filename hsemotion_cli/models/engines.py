"""Inference engines: normalised faces in, raw scores and embeddings out, with ONNX Runtime, OpenVINO or torch.

All compute in float32 unless a reduced precision is requested, and an exported graph is only used after it gave the
same probabilities as torch.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelUnavailable, OutputError, UsageError
from ..runtime.atomic_files import name_failed_file, replace_when_done
from ..runtime.whole_numbers import whole_number
from . import conversion, graph_file, model_file, onnx_graphs, openvino, weights
from .cards import NetworkSpec
from .registry import ModelCard

if TYPE_CHECKING:
    from torch import Tensor

    from .architectures import Network

Floats = NDArray[np.float32]

BACKENDS = ("auto", "onnx", "openvino", "torch")
PRECISIONS = ("fp32", "bf16", "fp16")

PARITY = 1e-4
"""Largest allowed difference of any probability from the reference, in float32.

The reference of an exported graph is torch; that of OpenVINO is the same graph in ONNX Runtime.
"""


GPU_BATCH = 128
"""Largest batch on a GPU."""

SCORES_AND_EMBEDDINGS = ("scores", "embeddings")
"""The outputs of every exported graph."""


class ExportDiffers(ModelUnavailable):
    """An exported graph gives other results than its network."""


class Engine(Protocol):
    """A loaded network; it may be called from several threads at once.

    Attributes:
        backend: "onnx", "openvino" or "torch".
        device: "cpu", "cuda" or "cuda:N".
        batch: the best batch size.
    """

    backend: str
    device: str
    batch: int

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        """(n, 3, size, size), n > 0 -> raw scores (n, outputs), embeddings (n, d)."""
        ...


class Graph(NamedTuple):
    """An ONNX graph.

    Attributes:
        model: serialised.
        outputs: names of its scores and its embeddings.
        path: of its file, for messages.
    """

    model: bytes
    outputs: tuple[str, str]
    path: Path


def softmax(logits: Floats) -> Floats:
    """(n, classes) -> probabilities; each row has the sum 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """Logits of any shape -> probabilities, without overflow for large logits."""
    powers = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, powers) / (1 + powers)


class OnnxEngine:
    """A graph in ONNX Runtime, on the CPU, in float32; one session serves many threads (``onnx_graphs.session``)."""

    backend = "onnx"
    device = "cpu"
    # Batches gain nothing on the CPU, and with single faces the results do not depend on the other faces.
    batch = 1

    def __init__(self, model: bytes, outputs: tuple[str, str], threads: int | None = None) -> None:
        onnx_graphs.check_alone(model)
        # With a fixed number of faces all shapes are constant, and nodes that compute shapes, such as those of "same"
        # padding, are folded away; they take a seventh of an EfficientNet's time.
        name = onnx_graphs.free_dimension(model)
        sizes = {name: self.batch} if name else {}
        self.session = onnx_graphs.session(onnx_graphs.with_fast_prelu(model), threads or 0, sizes)
        self.outputs = list(outputs)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        rows = [self.session.run(self.outputs, {self.input: images[k : k + 1]}) for k in range(len(images))]
        scores, embeddings = zip(*rows, strict=True)
        return np.concatenate(scores), np.concatenate(embeddings)


class TorchEngine:
    """A torch module, the reference for the others, on the CPU or a CUDA device.

    Its number of CPU threads is a setting of the whole process.
    """

    backend = "torch"

    def __init__(self, network: Network, device: str, precision: str = "fp32", threads: int | None = None) -> None:
        import torch

        self.torch = torch
        self.device = device
        # One face at a time on the CPU, like ``OnnxEngine``. That would waste a GPU, so there the last bits may differ.
        self.batch = GPU_BATCH if device.startswith("cuda") else 1
        self.reduced = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        if threads:
            torch.set_num_threads(threads)
        if device.startswith("cuda") and self.reduced is None:
            # By default, newer GPUs round the factors of convolutions to ten bits (TF32), which is not float32.
            torch.backends.cudnn.allow_tf32 = False
        self.network = network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def __call__(self, images: Floats | Tensor) -> tuple[Floats, Floats]:
        """As ``Engine``; also accepts faces that are already on the device."""
        torch = self.torch
        batch = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
        if self.device.startswith("cuda") and not batch.is_cuda:
            batch = batch.pin_memory()  # page-locked memory is copied without the CPU
        batch = batch.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        kind = self.device.partition(":")[0]
        try:
            with torch.inference_mode(), torch.autocast(kind, self.reduced, enabled=self.reduced is not None):
                embeddings = self.network.look(batch)
            with torch.inference_mode():  # in float32: the head is small, and reduced precision would hurt it most
                embeddings = embeddings.float()
                scores = self.network.score(embeddings)
            return scores.cpu().numpy(), embeddings.cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise ModelUnavailable(
                f"--device {self.device}: its memory is too small for {len(batch)} faces at once; give --precision "
                "fp16, or --device cpu."
            ) from error


def resolve_device(device: str, backend: str) -> str:
    """The device to use.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" is the GPU if torch can use one, else the CPU.
        backend: of ``BACKENDS``; "onnx" and "openvino" run on the CPU.

    Raises:
        UsageError: there is no such device, or the backend does not support it.
        ModelUnavailable: the GPU was requested and is not available.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or whole_number(number) is None)):
        raise UsageError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:N.")
    graph_only = backend in ("onnx", "openvino")
    if kind == "cpu" or (kind == "auto" and (graph_only or not _may_have_cuda())):
        return "cpu"
    if graph_only:
        raise UsageError(f"--backend {backend} runs on the CPU: use --device cpu, or --backend torch for the GPU.")
    count = _cuda_devices(needed=kind == "cuda")
    if kind == "auto":
        return "cuda" if count else "cpu"
    if int(number or 0) >= count:
        raise ModelUnavailable(f"--device {device}: torch sees {count} CUDA devices here; use --device cpu.")
    return device


def _may_have_cuda() -> bool:
    """Whether torch may find a GPU, so that importing it (a second or two) is worth it."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _cuda_devices(needed: bool) -> int:
    try:
        import torch
    except ImportError as error:
        if not needed:
            return 0
        raise ModelUnavailable(f"--device cuda needs torch ({error}): pip install 'hsemotion-cli[torch]'.") from error
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def start(
    card: ModelCard,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    offline: bool = False,
    path: Path | None = None,
    threads: int | None = None,
    progress: weights.Progress | None = None,
) -> tuple[Engine, Path]:
    """Get the weights of a network and load it.

    "auto" is ONNX Runtime on the CPU and torch on a GPU; OpenVINO must be requested. ONNX Runtime and OpenVINO use the
    authors' graph if they published one, else one that is exported once from our module; torch uses the authors'
    checkpoint. Files in the cache take precedence. A card from a trained file uses that file, and the graph beside it
    if there is one.

    Args:
        precision: of ``PRECISIONS``; anything but "fp32" is torch's autocast or OpenVINO's "bf16" and changes scores.
        offline: never access the internet.
        path: the user's own weight file, instead of the published ones or the trained one.
        threads: CPU threads; None leaves it to the backend.

    Returns:
        the engine, and the weight file that it was made from.

    Raises:
        UsageError: the options contradict each other.
        ModelUnavailable: weights, device or packages are missing or unusable.
        OutputError: the cache cannot be written.
    """
    spec = conversion.spec_of(card)
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}: choose from {', '.join(BACKENDS)}.")
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: choose from {', '.join(PRECISIONS)}.")
    if precision != "fp32" and backend == "onnx":
        raise UsageError(
            f"--precision {precision} needs --backend torch or openvino: the onnx backend computes in fp32."
        )
    device = resolve_device(device, backend)
    if backend == "openvino":
        openvino.check(precision)
    by_torch = backend == "torch" or device != "cpu" or (precision != "fp32" and backend != "openvino")
    source = _source(card, by_torch, offline, path, progress)
    if not by_torch:
        try:
            graph = _graph(card, source, threads)
            return _run(graph, spec, backend, precision, threads), source
        except ExportDiffers:
            if backend != "auto":
                raise
    elif source.suffix.lower() == ".onnx":
        raise UsageError(f"{source}: an ONNX file needs --backend onnx, on the CPU and in fp32.")
    return TorchEngine(_network(card, source), device, precision, threads), source


def _source(
    card: ModelCard, by_torch: bool, offline: bool, path: Path | None, progress: weights.Progress | None
) -> Path:
    """The weight file to use."""
    path = path or card.path
    if path is not None:
        if not path.is_file():
            raise ModelUnavailable(f"{path}: no such file.")
        return path
    files = weights.published(card)
    if not files:
        raise ModelUnavailable(
            f"the weights of {card.name} are not published: give your own file, as --model {card.name}=FILE."
        )
    # The published graph needs no torch; but a checkpoint in the cache saves fetching the graph.
    kinds = ("pt", "pth") if by_torch else ("onnx", "pt", "pth")
    usable = sorted((file for file in files if file.kind in kinds), key=lambda file: kinds.index(file.kind))
    cached = [file for file in usable if weights.place(file).exists()]
    return weights.ensure((cached or usable)[0], offline, progress)


def _graph(card: ModelCard, source: Path, threads: int | None) -> Graph:
    """The graph in a weight file, beside it, or exported from it.

    Raises:
        ExportDiffers: it was just exported and gives other results than torch.
    """
    if source == card.path and (graph := graph_file.read_graph(source)) is not None:
        return Graph(graph, SCORES_AND_EMBEDDINGS, model_file.graph_path(source))
    if source.suffix.lower() != ".onnx":
        exported = _ensure_exported(card, source, threads)
        return Graph(exported.read_bytes(), SCORES_AND_EMBEDDINGS, exported)
    try:
        return Graph(*onnx_graphs.with_embeddings(source.read_bytes()), source)
    except OSError as error:
        raise ModelUnavailable(f"{source}: cannot be read ({error.strerror or error}).") from error
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{source}: {error}") from error


def _run(graph: Graph, spec: NetworkSpec, backend: str, precision: str, threads: int | None) -> Engine:
    """The engine for a graph, tested with a blank face; OpenVINO in float32 is also compared with ONNX Runtime."""
    try:
        reference = OnnxEngine(graph.model, graph.outputs, threads)
        _check_columns(reference, spec)
        if backend != "openvino":
            return reference
        engine = openvino.OpenVinoEngine(graph.model, graph.outputs, spec.size, precision, threads)
    except ModelUnavailable as error:
        raise type(error)(f"{graph.path}: {error}") from error
    # OpenVINO's results depend on its version and on the CPU, so the comparison is made in every run.
    difference = _difference(engine, reference, spec)
    if precision == "fp32" and not difference < PARITY:
        raise ModelUnavailable(
            f"{graph.path}: OpenVINO differs from ONNX Runtime by {difference:.1e} in a probability (at most "
            f"{PARITY:.0e} is allowed); use --backend onnx."
        )
    return engine


def _check_columns(engine: OnnxEngine, spec: NetworkSpec) -> None:
    """Run one blank face through a graph and check the shapes of its outputs."""
    blank = np.zeros((1, 3, spec.size, spec.size), np.float32)
    try:
        scores, embeddings = engine(blank)
    except Exception as error:  # the exceptions of onnxruntime have no other common parent
        raise ModelUnavailable(f"it does not run on {spec.size} pixels ({str(error)[:200]}).") from error
    got, expected = (scores.shape, embeddings.shape), ((1, spec.outputs), (1, spec.embedding_size))
    if got != expected:
        raise ModelUnavailable(f"it gives scores and embeddings of shapes {got} instead of {expected}.")


def _network(card: ModelCard, source: Path) -> Network:
    """The torch module with the weights of a checkpoint, or of the card's trained file."""
    return (
        model_file.load(card, source) if source == card.path else conversion.load(card, _ensure_converted(card, source))
    )


def _ensure_converted(card: ModelCard, source: Path) -> Path:
    """The safetensors file converted from a checkpoint; converted now unless it is in the cache."""
    target = weights.derived(f"{card.name}.{_digest(source)[:16]}.safetensors")
    if not weights.intact(target):
        conversion.convert(card, source, target)
        _stamp(target, source=source.name)
    return target


def _ensure_exported(card: ModelCard, source: Path, threads: int | None) -> Path:
    """The graph exported from a checkpoint; exported and compared with torch now unless it is in the cache."""
    spec = conversion.spec_of(card)
    target = weights.derived(f"{card.name}.{_digest(source)[:16]}.onnx")
    if not weights.intact(target):
        network = _network(card, source)
        with name_failed_file(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            partial = Path(folder) / target.name
            onnx_graphs.export(network, spec.size, partial)
            difference = _check_parity(partial, network, spec, card.name, threads)
            os.replace(partial, target)
        _stamp(target, source=source.name, largest_difference_from_torch=difference)
    return target


def export_half(network: Network, spec: NetworkSpec, target: Path) -> str:
    """Write the graph beside a trained file, with float16 weights.

    It computes in float32 with the weights as ``model_file.write`` rounds them, so nothing more is lost; the difference
    from torch is measured as for every exported graph.

    Args:
        network: as given to ``model_file.write``; it is not changed.
        target: the trained file's name with ``.onnx``; written atomically.

    Returns:
        its SHA-256, hexadecimal, for ``facts["onnx_sha256"]`` of the trained file.

    Raises:
        ModelUnavailable: it cannot be exported, differs from torch, or the ``onnx`` package is missing.
        OutputError: it cannot be written.
    """
    rounded = model_file.rounded(network)
    with name_failed_file(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replace_when_done(target) as partial:
            graph_file.write_graph(rounded, spec.size, partial)
            _check_parity(partial, rounded, spec, target.stem, None)
            sha256 = weights.checksums(partial)[0]
    return sha256


def _check_parity(graph: Path, network: Network, spec: NetworkSpec, name: str, threads: int | None) -> float:
    """The difference of a new graph from torch.

    Raises:
        ExportDiffers: it is too large.
    """
    difference = _parity(OnnxEngine(graph.read_bytes(), SCORES_AND_EMBEDDINGS, threads), network, spec)
    if not difference < PARITY:
        raise ExportDiffers(
            f"the graph exported from {name} differs from torch by {difference:.1e} in a probability "
            f"(at most {PARITY:.0e} is allowed); use --backend torch."
        )
    return difference


def _parity(engine: Engine, network: Network, spec: NetworkSpec) -> float:
    """The difference of an engine from torch."""
    return _difference(engine, TorchEngine(network, "cpu"), spec)


def _difference(engine: Engine, reference: Engine, spec: NetworkSpec) -> float:
    """Largest difference of a probability, or of valence and arousal, on fixed random images."""
    # Smooth like faces: on pure noise, which is far from any training data, rounding alone can change scores.
    noise = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    patches = [cv2.resize(patch, (spec.size, spec.size)).transpose(2, 0, 1) for patch in noise]
    images = np.ascontiguousarray(patches, np.float32)
    ours, theirs = (_final_scores(each(images)[0], spec) for each in (engine, reference))
    return float(np.abs(ours - theirs).max())


def _final_scores(scores: Floats, spec: NetworkSpec) -> Floats:
    """Raw scores -> probabilities of the classes, clipped valence and arousal, probabilities of action units."""
    classes, units = len(spec.classes), spec.outputs - len(spec.action_units)
    parts = [np.clip(scores[:, classes:units], -1, 1), sigmoid(scores[:, units:])]
    return np.concatenate([softmax(scores[:, :classes]), *parts] if classes else parts, axis=1)


def _digest(path: Path) -> str:
    try:
        return weights.checksums(path)[0]
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror or error}).") from error


def _stamp(path: Path, **facts: Any) -> None:
    try:
        weights.stamp(path, **facts)
    except OSError as error:
        raise OutputError(f"{path}.json: cannot be written ({error.strerror or error}).") from error
