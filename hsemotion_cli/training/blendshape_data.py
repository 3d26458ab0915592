"""Data sets of labelled images -> blendshapes with class shares: what ``blendshape_head`` is trained and measured on.

Parts: "fit", 9 in 10 of FER+'s training part, for the weights; "calibration", the rest of it, for temperature, class
biases and thresholds; "validation", FER+'s own, only for reported metrics; "muxspace-fit" and "muxspace", 6 and 4 in
10 of muxspace's people, another source to compare configs on.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..faces.detector import FaceDetector
from ..media.source import Sampling
from ..media.video import VideoFile
from ..tasks import BASIC_EXPRESSIONS
from .dataset_readers import find_faces


@dataclass(frozen=True, slots=True, eq=False)
class LabelledBlendshapes:
    """The blendshapes and labels of the images of one source.

    Attributes:
        shapes: (n, 52) blendshapes in [0, 1]; a row of nan if no face was found.
        shares: (n, 8) expression shares, rows sum to 1, or to 0 if most raters chose none of the eight.
        clear: (n,) whether the most frequent of the eight counts as the true label.
        part: (n,) as described above.
    """

    shapes: NDArray[np.float32]
    shares: NDArray[np.float64]
    clear: NDArray[np.bool_]
    part: NDArray[np.str_]

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,) whether a face was found."""
        return np.isfinite(self.shapes[:, 0])

    def rows(self, part: str, clear: bool = False) -> NDArray[np.bool_]:
        """(n,) the usable images of a part: a face was found and most raters chose one of the eight."""
        usable = self.found & (self.shares.sum(axis=1) > 0) & (self.part == part)
        return usable & self.clear if clear else usable


def find_blendshapes(data: Path, workers: int) -> dict[str, NDArray[np.float32]]:
    """Blendshapes of all images and of every third frame of the MEAD clips: "ferplus", "muxspace", "mead_EMOTION".

    Args:
        data: folder with ferplus/ferplus_train_val.npz, muxspace/labels.csv and images/, and videos/mead/.
        workers: processes that search for faces.
    """
    images = np.load(_ferplus_file(data))["images"]
    found = {"ferplus": find_faces([cv2.imencode(".png", image)[1].tobytes() for image in images], workers)[2]}
    files = [data / "muxspace" / "images" / row["image"] for row in _muxspace_rows(data)]
    found["muxspace"] = find_faces([path.read_bytes() for path in files], workers)[2]
    for video in sorted((data / "videos" / "mead").glob("M030_*_level*.mp4")):
        found[f"mead_{video.name.split('_')[1]}"] = clip_blendshapes(video)
    return found


def clip_blendshapes(path: Path) -> NDArray[np.float32]:
    """(frames with a face, 52) blendshapes of the widest face in every third frame, as ``annotate`` detects it."""
    found = []
    with FaceDetector() as detector:
        for frame in VideoFile(path).frames(Sampling(every=3)):
            faces = detector.find(frame.image)
            if faces:
                found.append(max(faces, key=lambda face: face.box[2]).blendshapes)
    return np.array(found, np.float32)


def ferplus(data: Path, shapes: NDArray[np.float32]) -> LabelledBlendshapes:
    """FER+ with shares of the eight expressions; images that most raters found unclear have none."""
    file = np.load(_ferplus_file(data))
    names = [str(name) for name in file["vote_names"]]
    votes = file["votes"].astype(np.float64)
    eight = votes[:, [names.index(name) for name in BASIC_EXPRESSIONS]]
    counted = np.where((eight.sum(axis=1) > votes.sum(axis=1) / 2)[:, None], eight, 0)
    shares = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
    held_out = np.random.default_rng(0).random(len(votes)) < 0.1
    part = np.where(file["split"] == "val", "validation", np.where(held_out, "calibration", "fit"))
    return LabelledBlendshapes(shapes, shares, eight.max(axis=1) >= 5, part)


def muxspace(data: Path, shapes: NDArray[np.float32]) -> LabelledBlendshapes:
    """muxspace, one label per image, split by person."""
    rows = _muxspace_rows(data)
    shares = np.eye(len(BASIC_EXPRESSIONS))[[BASIC_EXPRESSIONS.index(row["label"]) for row in rows]]
    people = np.array([row["subject"] or row["image"] for row in rows])
    names = np.unique(people)
    kept = names[np.random.default_rng(1).random(len(names)) < 0.4]
    part = np.where(np.isin(people, kept), "muxspace", "muxspace-fit")
    return LabelledBlendshapes(shapes, shares, np.ones(len(rows), bool), part)


def _ferplus_file(data: Path) -> Path:
    return data / "ferplus" / "ferplus_train_val.npz"


def _muxspace_rows(data: Path) -> list[dict[str, str]]:
    with (data / "muxspace" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))
