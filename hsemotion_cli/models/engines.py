"""What runs a network: normalised faces in, raw scores and embeddings out; ONNX Runtime, OpenVINO or torch.

All of them compute in float32 unless a reduced precision is asked for, and an exported graph is only used once
it has given the same probabilities as torch.
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
"""Largest difference of any probability from the reference with which what computes in float32 is trusted.

The reference of a graph that is exported here is torch, that of OpenVINO the same graph in ONNX Runtime.
"""


GPU_BATCH = 128
"""Faces at once on a GPU, at most."""

SCORES_AND_EMBEDDINGS = ("scores", "embeddings")
"""The outputs of every graph that is exported here."""


class ExportDiffers(ModelUnavailable):
    """An exported graph that does not give what its network gives."""


class Engine(Protocol):
    """A network that is ready; it may be called from several threads at once.

    Attributes:
        backend: "onnx", "openvino" or "torch".
        device: "cpu", "cuda" or "cuda:N".
        batch: faces that are worth giving it at once.
    """

    backend: str
    device: str
    batch: int

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        """(n, 3, size, size), n > 0 -> raw scores (n, outputs), embeddings (n, d)."""
        ...


class Graph(NamedTuple):
    """An ONNX graph that may be run.

    Attributes:
        model: serialised.
        outputs: names of its scores and of its embeddings.
        path: of the file that it was read from, for messages.
    """

    model: bytes
    outputs: tuple[str, str]
    path: Path


def softmax(logits: Floats) -> Floats:
    """(n, classes) -> probabilities, each row adding up to one."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits: Floats) -> Floats:
    """Logits of any shape -> probabilities, also where they are so far from 0 that their exponential is infinite."""
    powers = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, powers) / (1 + powers)


class OnnxEngine:
    """A graph in ONNX Runtime, on the CPU, in float32; one session may serve many threads (``onnx_graphs.session``)."""

    backend = "onnx"
    device = "cpu"
    # Batches gain nothing on the CPU, and one face at a time gives the same bits whatever else is in its frame.
    batch = 1

    def __init__(self, model: bytes, outputs: tuple[str, str], threads: int | None = None) -> None:
        onnx_graphs.check_alone(model)
        # With a known number of faces all shapes are known, and nothing is left of the nodes that work them out, as
        # those of "same" padding do; they take a seventh of an EfficientNet's time.
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
    """A torch module: the reference; on the CPU or a CUDA device.

    How many threads it computes with on the CPU is a setting of the whole process.
    """

    backend = "torch"

    def __init__(self, network: Network, device: str, precision: str = "fp32", threads: int | None = None) -> None:
        import torch

        self.torch = torch
        self.device = device
        # On the CPU one at a time, as ``OnnxEngine``; a GPU would idle so, and there the last bits may differ.
        self.batch = GPU_BATCH if device.startswith("cuda") else 1
        self.reduced = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        if threads:
            torch.set_num_threads(threads)
        if device.startswith("cuda") and self.reduced is None:
            # Otherwise convolutions round what they multiply to ten bits on newer cards, and nobody asked for that.
            torch.backends.cudnn.allow_tf32 = False
        self.network = network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def __call__(self, images: Floats | Tensor) -> tuple[Floats, Floats]:
        """As ``Engine`` says; also with faces that are on the device already."""
        torch = self.torch
        batch = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
        if self.device.startswith("cuda") and not batch.is_cuda:
            batch = batch.pin_memory()  # page-locked, so that copying it needs no help of the CPU
        batch = batch.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        kind = self.device.partition(":")[0]
        try:
            with torch.inference_mode(), torch.autocast(kind, self.reduced, enabled=self.reduced is not None):
                embeddings = self.network.look(batch)
            with torch.inference_mode():  # the head is small, and reduced precision would cost it most
                embeddings = embeddings.float()
                scores = self.network.score(embeddings)
            return scores.cpu().numpy(), embeddings.cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise ModelUnavailable(
                f"--device {self.device}: its memory is too small for {len(batch)} faces at once; give --precision "
                "fp16, or --device cpu."
            ) from error


def resolve_device(device: str, backend: str) -> str:
    """The device that will be used.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" is the GPU where torch can use one, else the CPU.
        backend: of ``BACKENDS``; "onnx" and "openvino" run on the CPU.

    Raises:
        UsageError: there is no such device, or the backend does not run on it.
        ModelUnavailable: the GPU was asked for and cannot be had.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or whole_number(number) is None)):
        raise UsageError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:N.")
    of_graphs = backend in ("onnx", "openvino")
    if kind == "cpu" or (kind == "auto" and (of_graphs or not _may_have_cuda())):
        return "cpu"
    if of_graphs:
        raise UsageError(f"--backend {backend} runs on the CPU: use --device cpu, or --backend torch for the GPU.")
    count = _cuda_devices(needed=kind == "cuda")
    if kind == "auto":
        return "cuda" if count else "cpu"
    if int(number or 0) >= count:
        raise ModelUnavailable(f"--device {device}: torch sees {count} CUDA devices here; use --device cpu.")
    return device


def _may_have_cuda() -> bool:
    """Whether importing torch (a second or two) is worth it to look for a GPU."""
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
    """Get the weights of a network and make it ready.

    On the CPU "auto" is ONNX Runtime, on a GPU torch; OpenVINO must be asked for. ONNX Runtime and OpenVINO use the
    authors' graph where they published one, else one that is exported from our module once; torch uses the authors'
    checkpoint. What is in the cache already comes first. A card that was read from a trained file has its weights
    there, and perhaps a graph beside it.

    Args:
        precision: of ``PRECISIONS``; anything but "fp32" is torch's autocast, or OpenVINO's "bf16", and changes scores.
        offline: never touch the network.
        path: a weight file that the user has, instead of the published ones or the trained one.
        threads: of the CPU; None leaves it to the backend.

    Returns:
        what runs the network, and the weight file that it was made from.

    Raises:
        UsageError: the options do not go together.
        ModelUnavailable: weights, device or packages cannot be had, or are not what they should be.
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
    """The weight file to start from."""
    path = path or card.path
    if path is not None:
        if not path.is_file():
            raise ModelUnavailable(f"{path}: no such file.")
        return path
    files = weights.published(card)
    if not files:
        raise ModelUnavailable(
            f"the weights of {card.name} are not published: bring a file of your own, as --model {card.name}=FILE."
        )
    # The published graph needs no torch; a checkpoint that is there already is no reason to fetch a graph.
    kinds = ("pt", "pth") if by_torch else ("onnx", "pt", "pth")
    fitting = sorted((file for file in files if file.kind in kinds), key=lambda file: kinds.index(file.kind))
    here = [file for file in fitting if weights.place(file).exists()]
    return weights.ensure((here or fitting)[0], offline, progress)


def _graph(card: ModelCard, source: Path, threads: int | None) -> Graph:
    """The graph that a weight file is, has beside it, or is exported to.

    Raises:
        ExportDiffers: it was exported now and does not give what torch gives.
    """
    if source == card.path and (graph := graph_file.read_graph(source)) is not None:
        return Graph(graph, SCORES_AND_EMBEDDINGS, model_file.graph_path(source))
    if source.suffix.lower() != ".onnx":
        exported = _exported(card, source, threads)
        return Graph(exported.read_bytes(), SCORES_AND_EMBEDDINGS, exported)
    try:
        return Graph(*onnx_graphs.with_embeddings(source.read_bytes()), source)
    except OSError as error:
        raise ModelUnavailable(f"{source}: cannot be read ({error.strerror or error}).") from error
    except ModelUnavailable as error:
        raise ModelUnavailable(f"{source}: {error}") from error


def _run(graph: Graph, spec: NetworkSpec, backend: str, precision: str, threads: int | None) -> Engine:
    """What runs a graph, after it has seen a blank face; OpenVINO in float32 also after a comparison."""
    try:
        reference = OnnxEngine(graph.model, graph.outputs, threads)
        _check_columns(reference, spec)
        if backend != "openvino":
            return reference
        engine = openvino.OpenVinoEngine(graph.model, graph.outputs, spec.size, precision, threads)
    except ModelUnavailable as error:
        raise type(error)(f"{graph.path}: {error}") from error
    # What OpenVINO makes of a graph depends on its version and on the CPU, so this is not kept from run to run.
    difference = _difference(engine, reference, spec)
    if precision == "fp32" and not difference < PARITY:
        raise ModelUnavailable(
            f"{graph.path}: OpenVINO differs from ONNX Runtime by {difference:.1e} in a probability (at most "
            f"{PARITY:.0e} is allowed); use --backend onnx."
        )
    return engine


def _check_columns(engine: OnnxEngine, spec: NetworkSpec) -> None:
    """Run one blank face through a graph that somebody else made."""
    blank = np.zeros((1, 3, spec.size, spec.size), np.float32)
    try:
        scores, embeddings = engine(blank)
    except Exception as error:  # onnxruntime's own exceptions have no common parent but this one
        raise ModelUnavailable(f"it does not run on {spec.size} pixels ({str(error)[:200]}).") from error
    got, expected = (scores.shape, embeddings.shape), ((1, spec.outputs), (1, spec.embedding_size))
    if got != expected:
        raise ModelUnavailable(f"it gives scores and embeddings of shapes {got} where {expected} are expected.")


def _network(card: ModelCard, source: Path) -> Network:
    """The torch module with the weights of a checkpoint, or of the file that the card was read from."""
    return model_file.load(card, source) if source == card.path else conversion.load(card, _converted(card, source))


def _converted(card: ModelCard, source: Path) -> Path:
    """The safetensors file made from a checkpoint, made now if it is not there."""
    target = weights.derived(f"{card.name}.{_digest(source)[:16]}.safetensors")
    if not weights.intact(target):
        conversion.convert(card, source, target)
        _stamp(target, source=source.name)
    return target


def _exported(card: ModelCard, source: Path, threads: int | None) -> Path:
    """The graph exported from a checkpoint, exported and compared with torch now if it is not there."""
    spec = conversion.spec_of(card)
    target = weights.derived(f"{card.name}.{_digest(source)[:16]}.onnx")
    if not weights.intact(target):
        network = _network(card, source)
        with name_failed_file(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
            partial = Path(folder) / target.name
            onnx_graphs.export(network, spec.size, partial)
            difference = _checked(partial, network, spec, card.name, threads)
            os.replace(partial, target)
        _stamp(target, source=source.name, largest_difference_from_torch=difference)
    return target


def export_half(network: Network, spec: NetworkSpec, target: Path) -> str:
    """Write the graph that lies beside a trained file with half-precision weights, itself half the size.

    It computes in float32 with the weights as ``trained.write`` rounds them, so nothing is lost once more; the
    difference from torch is measured as for every exported graph.

    Args:
        network: as it is given to ``trained.write``; it is not changed.
        target: the trained file's name with ``.onnx``; replaced in one step, or left as it was.

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
            _checked(partial, rounded, spec, target.stem, None)
            sha256 = weights.checksums(partial)[0]
    return sha256


def _checked(graph: Path, network: Network, spec: NetworkSpec, name: str, threads: int | None) -> float:
    """How far a new graph is from torch.

    Raises:
        ExportDiffers: too far.
    """
    difference = _parity(OnnxEngine(graph.read_bytes(), SCORES_AND_EMBEDDINGS, threads), network, spec)
    if not difference < PARITY:
        raise ExportDiffers(
            f"the graph exported from {name} differs from torch by {difference:.1e} in a probability "
            f"(at most {PARITY:.0e} is allowed); use --backend torch."
        )
    return difference


def _parity(engine: Engine, network: Network, spec: NetworkSpec) -> float:
    """How far an engine is from torch."""
    return _difference(engine, TorchEngine(network, "cpu"), spec)


def _difference(engine: Engine, reference: Engine, spec: NetworkSpec) -> float:
    """Largest difference of a probability, or of valence and arousal, on fixed random pictures."""
    # Smooth as faces are: on pure noise, which no training has seen, rounding alone can move scores.
    noise = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    pictures = [cv2.resize(picture, (spec.size, spec.size)).transpose(2, 0, 1) for picture in noise]
    images = np.ascontiguousarray(pictures, np.float32)
    ours, theirs = (_delivered(each(images)[0], spec) for each in (engine, reference))
    return float(np.abs(ours - theirs).max())


def _delivered(scores: Floats, spec: NetworkSpec) -> Floats:
    """Raw scores -> what becomes of them: probabilities of the classes, valence and arousal, those of action units."""
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
