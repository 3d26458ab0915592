"""Makes the canonical face that head poses are measured against: the mean of frontal faces, made symmetric.

    python scripts/make_canonical_face.py ../shared/data/free/london

The folder holds ``labels.csv`` (path, label, subject) and photos of people who face the camera: the Face Research Lab
London Set (DeBruine and Jones 2017, CC BY 4.0). The 478 landmarks of each neutral face, with the depth that the
landmark network estimates, are aligned by similarity transforms (generalised Procrustes analysis) and averaged. The
mean pose of these people is the zero of all angles. Writes hsemotion_cli/assets/canonical_face.json and prints how far
single people are from it.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from hsemotion_cli.faces import mediapipe_onnx
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.faces.head_pose import FILE
from hsemotion_cli.media.images import read_image

TARGET = Path(__file__).resolve().parent.parent / "hsemotion_cli" / "assets" / FILE
EYES = (33, 263)
"""Landmarks of the outer corners of both eyes; their distance is the unit of length."""

Points = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv and photos")
    meshes = neutral_meshes(parser.parse_args().data)
    face = symmetric(mean_face(meshes))
    left, right = EYES
    face = (face - (face[left] + face[right]) / 2) / np.linalg.norm(face[left] - face[right])
    content = {"made_by": "scripts/make_canonical_face.py", "faces": len(meshes), "points": np.round(face, 4).tolist()}
    TARGET.write_text(json.dumps(content, separators=(",", ":")).replace("],[", "],\n[") + "\n", encoding="utf-8")
    angles = np.array([Rotation.from_matrix(align(mesh, face)[1].T).as_euler("ZYX", degrees=True) for mesh in meshes])
    print(f"{len(meshes)} faces; standard deviation of roll, yaw and pitch {angles.std(axis=0).round(1)} degrees")


def neutral_meshes(folder: Path) -> list[Points]:
    """(478, 3) landmarks of each neutral face: x to the right, y down, z away from the camera, in pixels."""
    meshes = []
    with (folder / "labels.csv").open(newline="") as file, FaceDetector(blendshapes=False) as finder:
        for row in csv.DictReader(file):
            if row["label"] != "neutral":
                continue
            image = read_image(folder / row["path"])
            assert image is not None, row["path"]
            mesh, presence = mediapipe_onnx.mesh_and_presence(image, finder.candidates(image)[0])
            if presence > 0:
                meshes.append(mesh.astype(np.float64))
    return meshes


def align(moving: Points, fixed: Points) -> tuple[float, Points, Points]:
    """Scale, rotation and translation that bring points closest to others (Umeyama 1991)."""
    a, b = moving.mean(axis=0), fixed.mean(axis=0)
    u, s, vt = np.linalg.svd((moving - a).T @ (fixed - b))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs @ vt).T
    scale = float((s * signs).sum() / ((moving - a) ** 2).sum())
    return scale, rotation, b - scale * rotation @ a


def mean_face(meshes: list[Points]) -> Points:
    """The mean shape, turned by the mean of the people's rotations."""
    mean = unit(meshes[0])
    for _ in range(10):
        fits = [align(mesh, mean) for mesh in meshes]
        placed = [scale * mesh @ turn.T + shift for mesh, (scale, turn, shift) in zip(meshes, fits, strict=True)]
        mean = unit(np.mean(placed, axis=0))
    u, _, vt = np.linalg.svd(np.mean([turn for _, turn, _ in fits], axis=0))
    return mean @ (u @ vt)


def unit(points: Points) -> Points:
    """Centred and of size 1."""
    centred = points - points.mean(axis=0)
    return centred / np.linalg.norm(centred)


def symmetric(face: Points) -> Points:
    """The mean of a face and its mirror image, with x = 0 as the plane of symmetry."""
    mirror = np.array([-1.0, 1.0, 1.0])
    distance = np.linalg.norm(face[None] - (face * mirror)[:, None], axis=2)
    mate = linear_sum_assignment(distance)[1]
    assert (mate[mate] == np.arange(len(face))).all()
    for _ in range(20):
        _, rotation, _ = align((face * mirror)[mate], face)
        half = Rotation.from_rotvec(Rotation.from_matrix(rotation).as_rotvec() / 2).as_matrix()
        face = face @ half
        face -= [(face + face[mate])[:, 0].mean() / 2, 0.0, 0.0]
        face = (face + (face * mirror)[mate]) / 2
    return face


if __name__ == "__main__":
    main()
