"""Detect faces with MediaPipe's own tasks: the same networks as ``mediapipe_onnx``, slower; for comparison."""

from __future__ import annotations

import contextlib
import os
import sys
import zipfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from ..domain import Image
from ..errors import ModelUnavailable
from ..runtime import signals
from ..tasks import BLENDSHAPES
from . import face_classifier, mediapipe_onnx
from .detector import THRESHOLD, FaceDetector, Shape
from .mediapipe_onnx import Candidate
from .verification import LOWEST

BUNDLE = "face_landmarker.task"
_SURE = 4.0
"""Logit of presence that stands for the task's yes, and its negative for no."""

BUNDLE_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"


class MediaPipeDetector(FaceDetector):
    """Finds faces with a Face Detector and a Face Landmarker, both in IMAGE mode; see ``FaceDetector``.

    One thread may use it at a time.

    Raises:
        ModelUnavailable: MediaPipe's library cannot be loaded, or its bundle is not the one that this was made for.
    """

    NETWORKS = {  # noqa: RUF012
        BUNDLE: BUNDLE_SHA256,
        mediapipe_onnx.FULL_RANGE: mediapipe_onnx.NETWORKS[mediapipe_onnx.FULL_RANGE],
        **face_classifier.NETWORKS,
    }
    lowest = 0.3  # the task places landmarks wherever it sees a face in a region, not at the candidate

    def __init__(self, min_face: int | None = None, threshold: float = THRESHOLD, blendshapes: bool = True) -> None:
        super().__init__(min_face, threshold, blendshapes)
        self._names_checked = False
        self._tasks: list[Any] = []

    def __enter__(self) -> MediaPipeDetector:
        try:
            with signals.defer_interrupt():
                self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give both tasks back; harmless when there are none."""
        with signals.defer_interrupt(), _muted_stderr():
            for task in self._tasks:
                task.close()
            self._tasks.clear()

    def _open(self) -> None:
        # TensorFlow Lite and absl write to file descriptor 2 when a task is made and at its first call.
        with bundle() as path, _muted_stderr():
            self._open_detector(path)
            self._open_landmarker(path)
            self.find_in_crop(np.zeros((64, 64, 3), np.uint8))

    def _open_detector(self, path: Any) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        with zipfile.ZipFile(path) as archive:
            detector = archive.read("face_detector.tflite")
        self._detector = vision.FaceDetector.create_from_options(
            vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=detector), min_detection_confidence=min(self.threshold, 0.5)
            )
        )
        self._tasks.append(self._detector)
        self.detect(np.zeros((64, 64, 3), np.uint8), LOWEST)

    def _open_landmarker(self, path: Any) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        self._landmarker = vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=os.fspath(path)), output_face_blendshapes=True, num_faces=1
            )
        )
        self._tasks.append(self._landmarker)

    def detect(self, image: Image, threshold: float = LOWEST) -> list[Candidate]:
        """Candidates of the short-range network in one look at a whole image."""
        height, width = image.shape[:2]
        return [
            Candidate(
                (float(b.origin_x), float(b.origin_y), float(b.width), float(b.height)),
                d.categories[0].score,
                np.array([(mark.x * width, mark.y * height) for mark in d.keypoints], np.float32),
            )
            for d in self._detector.detect(_as_mediapipe(image)).detections
            if (b := d.bounding_box).width > 0 and b.height > 0 and d.categories[0].score >= threshold
        ]

    def fills(self, image: Image) -> bool:
        """Always true: the task has no cheaper look than the one that is to follow."""
        return True

    def _placed(self, image: Image, candidate: Candidate) -> Shape:
        """See ``FaceDetector``: by the task as well."""
        return self._landmark(image, candidate)

    def _landmark(self, region: Image, near: Candidate) -> Shape:
        """See ``FaceDetector``; the task gives no presence, so one that is as usual for a face, or for none."""
        result = self._landmarker.detect(_as_mediapipe(region))
        if not result.face_landmarks:
            return np.zeros((478, 2), np.float32), None, -_SURE
        height, width = region.shape[:2]
        points = np.array([(p.x, p.y) for p in result.face_landmarks[0]], np.float32) * np.array(
            (width, height), np.float32
        )
        shapes = result.face_blendshapes[0]
        if not self._names_checked:
            if tuple(s.category_name for s in shapes) != BLENDSHAPES:
                raise ModelUnavailable(f"{BUNDLE}: its blendshapes are not the 52 expected ones; reinstall hsemotion.")
            self._names_checked = True
        return points, np.array([s.score for s in shapes], np.float32), _SURE


@contextlib.contextmanager
def bundle() -> Iterator[Any]:
    """The path of MediaPipe's model bundle, which is part of the package."""
    resource = files("hsemotion_cli").joinpath("assets", BUNDLE)
    if not resource.is_file():
        raise ModelUnavailable(f"{BUNDLE} is missing from the installation; reinstall hsemotion.")
    with as_file(resource) as path:
        yield path


def _as_mediapipe(image: Image) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


@contextlib.contextmanager
def _muted_stderr() -> Iterator[None]:
    """Point file descriptor 2 at nothing for a moment; Python's own messages are flushed first."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
