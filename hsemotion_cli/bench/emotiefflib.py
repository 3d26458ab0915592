"""The documented pipeline of emotiefflib: MTCNN on each frame, then its recogniser on the detected faces.

Both are used as their README shows, with two exceptions in their favour: MTCNN is constructed once and not for each
frame, and all faces of a frame go through the recogniser together. The user must install facenet-pytorch and
emotiefflib; neither is a dependency. Nothing is downloaded: the weights are those that our own run used.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelUnavailable, UsageError
from ..media.video import open_source
from ..runtime.processes import peak_memory
from .records import BenchmarkResult

_LEAST = 0.9
"""Lowest probability at which its README accepts a box as a face."""


def run(path: Path, model: str, weights: Path) -> BenchmarkResult:
    """Annotate a clip with emotiefflib.

    Args:
        model: one of its model names.
        weights: file of that model; .pt runs in torch, .onnx in ONNX Runtime.

    Raises:
        ModelUnavailable: a package or the model is missing.
    """
    with _at_home(model, weights):
        detector, recogniser = _started(model, "onnx" if weights.suffix == ".onnx" else "torch")
        cpu, start, faces, frames, first = time.process_time(), time.perf_counter(), 0, 0, 0.0
        for frame in open_source(path).frames():
            crops = list(_crops(detector, frame.image))
            if crops:
                recogniser.predict_emotions(crops, logits=True)
            faces += len(crops)
            frames += 1
            first = first or time.process_time()
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return BenchmarkResult(frames, faces, wall, cpu, first, peak_memory(), {}, {})


def _started(model: str, engine: str) -> tuple[Any, Any]:
    try:
        from ..models.architectures import import_timm

        import_timm()
        from emotiefflib.facial_analysis import EmotiEffLibRecognizer
        from facenet_pytorch import MTCNN
    except ImportError as error:
        raise ModelUnavailable(
            f"--peer compares with emotiefflib and MTCNN ({error}): pip install 'hsemotion-cli[torch]' requests tqdm, "
            "then pip install --no-deps emotiefflib facenet-pytorch."
        ) from error
    _mend_nms()
    try:
        recogniser = EmotiEffLibRecognizer(engine=engine, model_name=model, device="cpu")
    except Exception as error:  # it raises whatever its libraries raise
        raise ModelUnavailable(f"--peer: emotiefflib does not start with {model} ({error}).") from error
    return MTCNN(keep_all=True, post_process=False, min_face_size=40, device="cpu"), recogniser


def _crops(detector: Any, image: np.ndarray) -> Iterator[np.ndarray]:
    boxes, probabilities = detector.detect(image, landmarks=False)
    if boxes is None:
        return
    for box in boxes[probabilities > _LEAST].astype(int):
        left, top = max(box[0], 0), max(box[1], 0)
        crop = image[top : box[3], left : box[2]]
        if crop.size:
            yield crop


def _mend_nms() -> None:
    """Replace torchvision's NMS by OpenCV's if torchvision's library does not match the installed torch.

    OpenCV's is compiled as well, so the comparison stays fair.
    """
    import cv2
    import torch
    from torchvision.ops import boxes

    try:
        boxes.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        return
    except (RuntimeError, NotImplementedError):
        pass

    def nms(corners: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
        sides = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
        kept = cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), 0.0, threshold)
        return torch.as_tensor(np.array(kept, np.int64).reshape(-1))

    boxes.nms = nms


@contextmanager
def _at_home(model: str, weights: Path) -> Iterator[None]:
    """A home folder with these weights where emotiefflib looks for its download."""
    if weights.suffix not in (".pt", ".onnx"):
        raise UsageError(f"--peer: emotiefflib cannot use {weights.name}; give --model {model}=FILE.pt or FILE.onnx.")
    names = ("HOME", "USERPROFILE")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="hsemotion-peer-") as folder:
        cache = Path(folder) / ".emotiefflib"
        cache.mkdir()
        place = cache / f"{model}{weights.suffix}"
        try:
            place.symlink_to(weights.resolve())
        except OSError:  # on Windows not every user may make links
            shutil.copyfile(weights, place)
        os.environ.update(dict.fromkeys(names, folder))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
