"""Models of the network family: faces with their crops in, named scores and embeddings out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PIL

from ..domain import Face, Image, Scores
from ..errors import UsageError
from ..tasks import ACTION_UNITS, EXPRESSIONS
from . import engines, weights
from .cards import NetworkSpec
from .conversion import spec_of
from .devices import is_gpu
from .engines import Floats, sigmoid, softmax
from .registry import ModelCard

RESIZE_RULES = ("pil-bilinear", "cv2-bilinear")


def resize(image: Image, size: int, rule: str) -> Image:
    """Resize a face to the size of a network's input, without keeping its aspect ratio.

    Args:
        image: (height, width, 3) uint8 RGB.
        rule: "pil-bilinear" is antialiased when downscaling (Pillow's bilinear filter, as in torchvision's Resize,
            which all these networks were trained with); "cv2-bilinear" uses only four pixels (OpenCV's default, as in
            emotiefflib's onnx engine).

    Returns:
        (size, size, 3) uint8 RGB.
    """
    if rule == "pil-bilinear":
        return np.asarray(PIL.fromarray(image).resize((size, size), PIL.Resampling.BILINEAR))
    if rule == "cv2-bilinear":
        return np.asarray(cv2.resize(image, (size, size)), np.uint8)
    raise UsageError(f"unknown resize rule {rule!r}: choose from {', '.join(RESIZE_RULES)}.")


def prepare(images: Sequence[Image], spec: NetworkSpec, rule: str) -> Floats:
    """Faces of any size -> (n, 3, size, size) float32, normalised for the network."""
    batch = np.empty((len(images), 3, spec.size, spec.size), np.float32)
    # The steps and their order are those of torchvision, so that inputs are bit for bit the same; computed once for
    # each of the 256 values instead of for each pixel.
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    tables = [(values - np.float32(mean)) / np.float32(std) for mean, std in zip(spec.mean, spec.std, strict=True)]
    for row, image in zip(batch, images, strict=True):
        planes = cv2.split(resize(image, spec.size, rule))
        for channel, (plane, table) in enumerate(zip(planes, tables, strict=True)):
            row[channel] = cv2.LUT(plane, table)
    return batch


def interpret(raw: Floats, spec: NetworkSpec) -> dict[str, Floats]:
    """Raw outputs -> scores by task, columns in the order of ``tasks.TASKS``.

    The softmax is over the expression outputs only. Classes and action units that the network lacks (such as contempt,
    for those with seven classes) are nan. Valence and arousal are linear outputs trained on labels in [-1, 1]; they may
    leave that range slightly and are clipped.

    Args:
        raw: (n, outputs).

    Returns:
        task -> (n, columns of the task), for the tasks that the network has.
    """
    scores = {}
    count = len(spec.classes)
    if spec.classes:
        scores["expression"] = _reorder(softmax(raw[:, :count]), spec.classes, EXPRESSIONS)
    if spec.valence_arousal:
        scores["valence_arousal"] = np.clip(raw[:, count : count + 2], -1, 1)
    if spec.action_units:
        first = spec.outputs - len(spec.action_units)
        scores["action_units"] = _reorder(sigmoid(raw[:, first:]), spec.action_units, ACTION_UNITS)
    return scores


def _reorder(values: Floats, own: Sequence[str], all_of_them: Sequence[str]) -> Floats:
    """Columns in a network's order -> columns in our order, nan for those that it lacks."""
    placed = np.full((len(values), len(all_of_them)), np.nan, np.float32)
    placed[:, [all_of_them.index(name) for name in own]] = values
    return placed


class NetworkModel:
    """A network of HSEmotion, DDAMFN, or a trained one.

    Results do not depend on the backend: all use the resize rule of the training, unless another one is given. On the
    CPU the scores of a face do not depend on the other faces, bit for bit; on a GPU up to rounding. It may be called
    from several threads at once.

    Args:
        card: of the family "network".
        backend: "auto", "onnx", "openvino" or "torch".
        device: "auto", "cpu", "cuda" or "cuda:N"; an unavailable one is an error.
        offline: never access the internet.
        path: the user's own weight file, instead of the published one.
        precision: "fp32", or "bf16" or "fp16" for torch's autocast, or "bf16" for OpenVINO.
        threads: CPU threads; None leaves it to the backend.
        resize: a rule of ``RESIZE_RULES`` instead of that of the training ("cv2-bilinear" reproduces emotiefflib's onnx
            engine).
        progress: called during a download.

    Attributes:
        card: as given.
        provenance: name and SHA-256 of the weight file, backend, device, precision and resize rule.
        device: "cpu", "cuda" or "cuda:N".
        batch: the batch size; more faces are split into batches.

    Raises:
        UsageError: the options contradict each other.
        ModelUnavailable: weights, device or packages are missing or unusable.
        OutputError: the cache cannot be written.
    """

    def __init__(
        self,
        card: ModelCard,
        backend: str = "auto",
        device: str = "auto",
        offline: bool = False,
        path: Path | None = None,
        precision: str = "fp32",
        threads: int | None = None,
        resize: str | None = None,
        progress: weights.Progress | None = None,
    ) -> None:
        self.card = card
        self.spec = spec_of(card)
        self.resize = resize or self.spec.resize["torch"]
        if self.resize not in RESIZE_RULES:
            raise UsageError(f"unknown resize rule {self.resize!r}: choose from {', '.join(RESIZE_RULES)}.")
        self.engine, source = engines.start(card, backend, device, precision, offline, path, threads, progress)
        self.batch, self.device = self.engine.batch, self.engine.device
        self._prepare = self._make_preprocessor()
        self.provenance = {
            "file": source.name,
            "sha256": weights.checksums(source)[0],
            "backend": self.engine.backend,
            "device": self.device,
            "precision": precision,
            "resize": self.resize,
        }

    def __repr__(self) -> str:
        return f"NetworkModel({self.card.name}, {self.engine.backend} on {self.engine.device})"

    def _make_preprocessor(self) -> Callable[[Sequence[Image]], Any]:
        """The preprocessing for the engine: on the GPU if that gives the same bits, else on the CPU."""
        if is_gpu(self.device) and self.resize == "pil-bilinear":
            from .gpu_preprocess import GpuPreprocessor

            return GpuPreprocessor(self.spec, self.engine.device)
        return partial(prepare, spec=self.spec, rule=self.resize)

    def __call__(self, faces: Sequence[Face]) -> Scores:
        """Score faces; those without the crop that the network needs get a row of nan."""
        crop = self.card.crop
        crops = [face.crops.get(crop) if crop else None for face in faces]
        seen = np.array([crop_image is not None for crop_image in crops], bool)
        raw, embeddings = self.infer([crop_image for crop_image in crops if crop_image is not None])
        return Scores(interpret(raw, self.spec), embeddings, raw).spread(seen)

    def infer(self, images: Sequence[Image]) -> tuple[Floats, Floats]:
        """Raw outputs of the network, as in its authors' code.

        Args:
            images: uint8 RGB faces of any size.

        Returns:
            (n, outputs) logits of the classes, then valence and arousal, then logits of the action units, as far as the
            network has them; (n, d) embeddings.
        """
        raw = np.empty((len(images), self.spec.outputs), np.float32)
        embeddings = np.empty((len(images), self.spec.embedding_size), np.float32)
        for start in range(0, len(images), self.batch):
            part = slice(start, start + self.batch)
            raw[part], embeddings[part] = self.engine(self._prepare(images[part]))
        return raw, embeddings
