"""Measures the error of head pose and gaze on renderings of real faces whose pose and gaze are known.

    python scripts/measure_pose.py sample_videos/stills/astronaut.png sample_videos/stills/grace_hopper.jpg

Each photo becomes a head: its own 468 landmarks with the depth that the landmark network estimates, aligned with the
canonical face, a rim that recedes for hair and neck, and the photo as texture. The head is turned and rendered in
perspective, and the default detector measures it again. The error of a person's own zero (the shape of a face is
mistaken for a pose) is printed apart from the error of changes. For gaze, the irises of the photo are moved on eyeballs
that turn between the lids, before rendering. What this cannot show: whether the estimated depth is that of the real
head, and how the lids of real eyes move with the gaze.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Delaunay
from scipy.spatial.transform import Rotation

from hsemotion_cli.domain import Frame, Image
from hsemotion_cli.faces import mediapipe_onnx
from hsemotion_cli.faces.detector import FaceDetector, detect_faces
from hsemotion_cli.faces.gaze import EYES, IRIS, RADIUS
from hsemotion_cli.faces.head_pose import Camera, canonical_face
from hsemotion_cli.faces.measures import Optics
from hsemotion_cli.media.images import read_image

SIDE = 640
CAMERAS = ((60, 6.0), (30, 12.0))
"""Degrees of the field of view, and the distance of the face: 49 and 98 cm."""

TURNS = [
    *((0, yaw, 0) for yaw in (0, -60, -45, -30, -15, 15, 30, 45, 60)),
    *((pitch, 0, 0) for pitch in (-30, -20, -10, 10, 20, 30)),
    *((0, 0, roll) for roll in (-40, -20, 20, 40)),
    *((15, 25, 10), (-15, -25, -10), (-15, 25, 20), (10, -30, 5)),
]
GAZES = [(0, 0), (0, -20), (0, -10), (0, 10), (0, 20), (-15, 0), (-8, 0), (8, 0), (15, 0), (8, 12), (-8, -12)]
RIMS = ((1.12, 0.12), (1.3, 0.35), (1.6, 0.7), (1.9, 1.1))
"""Size of each rim around the face, and how far it lies behind its edge."""

Points = NDArray[np.float64]
ANGLES = ("pitch", "yaw", "roll")


@dataclass(frozen=True, eq=False)
class Head:
    """A photo on a surface: points in the axes of the canonical face, the same in the photo, triangles."""

    photo: Image
    points: Points
    texture: Points
    triangles: NDArray[np.intp]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--show", type=Path, help="folder for the renderings")
    options = parser.parse_args()
    with FaceDetector(blendshapes=False) as finder:
        heads = [head(finder, read(path)) for path in options.photos]
        measure_turns(finder, heads, options.show)
        measure_assumption(finder, heads)
        measure_gaze(finder, heads, options.show)


def read(path: Path) -> Image:
    image = read_image(path)
    assert image is not None, path
    return image


def head(finder: FaceDetector, photo: Image) -> Head:
    """The head in a photo."""
    best = max(finder.candidates(photo), key=lambda candidate: candidate.score)
    mesh = mediapipe_onnx.mesh_and_presence(photo, best)[0][:468].astype(np.float64)
    face = canonical_face()[:468]
    a, b = mesh.mean(axis=0), face.mean(axis=0)
    u, s, vt = np.linalg.svd((mesh - a).T @ (face - b))
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation, scale = (u * signs @ vt).T, (s * signs).sum() / ((mesh - a) ** 2).sum()
    points = scale * (mesh - a) @ rotation.T + b
    edge = ConvexHull(points[:, :2]).vertices
    middle = points[edge].mean(axis=0)
    rims = [middle + (points[edge] - middle) * (size, size, 1) + (0, 0, behind) for size, behind in RIMS]
    points = np.concatenate([points, *rims])
    texture = ((points - b) @ rotation / scale + a)[:, :2]
    return Head(photo, points, texture, Delaunay(points[:, :2]).simplices)


def turned(pitch: float, yaw: float, roll: float) -> Points:
    """The rotation with these angles, as the table has them."""
    return Rotation.from_euler("ZYX", [-roll, yaw, -pitch], degrees=True).as_matrix()


def rendered(head: Head, rotation: Points, distance: float, fov: float) -> Image:
    """A head in the middle of an image of ``SIDE`` x ``SIDE`` pixels."""
    placed = head.points @ rotation.T + (0, 0, distance)
    camera = Camera.of(SIDE, SIDE, fov)
    shown = placed[:, :2] / placed[:, 2:] * camera.focal + camera.centre
    depth, texture = np.full((SIDE, SIDE), np.inf), np.zeros((SIDE, SIDE, 2), np.float32)
    for triangle in head.triangles:
        corners = shown[triangle]
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, SIDE)
        sides = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=1)
        if (high <= low).any() or abs(np.linalg.det(sides)) < 1e-9:
            continue
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].reshape(2, -1)
        second, third = np.linalg.solve(sides, np.stack([x, y]) - corners[0][:, None])
        weights = np.stack([1 - second - third, second, third], axis=1) / placed[triangle, 2]
        nearness = weights.sum(axis=1)
        inside = (weights >= -1e-9).all(axis=1) & (nearness > 0)
        y, x, weights, nearness = y[inside], x[inside], weights[inside], nearness[inside]
        first = 1 / nearness < depth[y, x]
        y, x, weights, nearness = y[first], x[first], weights[first], nearness[first]
        depth[y, x] = 1 / nearness
        texture[y, x] = weights @ head.texture[triangle] / nearness[:, None]
    image = cv2.remap(head.photo, texture[..., 0], texture[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    image[np.isinf(depth)] = 110
    return np.asarray(image, np.uint8)


def found(finder: FaceDetector, image: Image, fov: float) -> Points:
    """The five angles of the only face; nan without one."""
    faces = detect_faces(Frame(0, 0.0, image), finder, [], optics=Optics(fov)).faces
    if len(faces) != 1 or faces[0].measures is None:
        return np.full(5, np.nan)
    return faces[0].measures[:5].astype(np.float64)


def measure_turns(finder: FaceDetector, heads: list[Head], show: Path | None) -> None:
    """Prints errors of the pose: of the zero of each face, and of changes from it."""
    zeros, changes, truths = [], [], []
    for number, one in enumerate(heads):
        for fov, distance in CAMERAS:
            errors = []
            for turn in TURNS:
                image = rendered(one, turned(*turn), distance, fov)
                if show:
                    write(show / f"pose_{number}_{fov}_{'_'.join(map(str, turn))}.png", image)
                errors.append(found(finder, image, fov)[:3] - turn)
            zeros.append(errors[0])
            changes += [error - errors[0] for error in errors[1:]]
            truths += TURNS[1:]
    error, truth = np.array(changes), np.array(truths)
    seen = ~np.isnan(error).any(axis=1)
    print(f"{len(error)} turned renderings of {len(heads)} faces, {int((~seen).sum())} not found")
    print("error at zero, mean absolute:", line(np.abs(zeros).mean(axis=0)))
    for name, chosen in (
        ("yaw up to 30", np.abs(truth[:, 1]) <= 30),
        ("yaw 45", np.abs(truth[:, 1]) == 45),
        ("yaw 60", np.abs(truth[:, 1]) == 60),
    ):
        print(f"error of a change, {name}, mean absolute:", line(np.abs(error[chosen & seen]).mean(axis=0)))
    followed = [np.polyfit(truth[seen, k], (truth + error)[seen, k], 1)[0] for k in range(3)]
    print("measured change per degree:", line(np.array(followed)))


def measure_assumption(finder: FaceDetector, heads: list[Head]) -> None:
    """Prints what a wrong field of view does to the angles."""
    for fov in (30, 45, 75, 90):
        differences = []
        for one in heads:
            for turn in TURNS[:17]:
                image = rendered(one, turned(*turn), 6.0, 60)
                differences.append(found(finder, image, fov)[:3] - found(finder, image, 60)[:3])
        print(f"{fov} assumed where it is 60, mean absolute:", line(np.nanmean(np.abs(differences), axis=0)))


def measure_gaze(finder: FaceDetector, heads: list[Head], show: Path | None) -> None:
    """Prints errors of changes of the gaze, for heads that face the camera and turned ones."""
    changes, truths = [], []
    for number, one in enumerate(heads):
        for turn in ((0, 0, 0), (0, 20, 0), (0, -20, 0), (10, 0, 0)):
            errors = []
            for look in GAZES:
                moved = Head(with_gaze(one, *look), one.points, one.texture, one.triangles)
                image = rendered(moved, turned(*turn), 6.0, 60)
                if show:
                    write(show / f"gaze_{number}_{'_'.join(map(str, (*turn, *look)))}.png", image)
                errors.append(found(finder, image, 60)[3:])
            changes += [error - errors[0] for error in errors[1:]]
            truths += GAZES[1:]
    change, truth = np.array(changes), np.array(truths, float)
    seen = ~np.isnan(change).any(axis=1)
    print(f"{len(change)} renderings with turned eyes, {int((~seen).sum())} without gaze")
    print("error of a change of gaze, mean absolute:", line(np.abs(change - truth)[seen].mean(axis=0)))
    followed = [np.polyfit(truth[seen, k], change[seen, k], 1)[0] for k in range(2)]
    print("measured change per degree:", line(np.array(followed)))


def with_gaze(head: Head, up: float, right: float) -> Image:
    """The photo with both irises moved as if the eyes had turned from where they look."""
    photo = head.photo.copy()
    mesh_to_photo = np.linalg.lstsq(
        np.concatenate([head.points[:468], np.ones((468, 1))], axis=1), head.texture[:468], rcond=None
    )[0][:3]
    shift = RADIUS * turned(up, right, 0) @ (0, 0, -1.0) + (0, 0, RADIUS)
    across = shift @ mesh_to_photo
    size = float(np.linalg.norm(mesh_to_photo[0])) * IRIS / 2
    for outer, inner, _ in EYES:
        ring = lids(outer, inner)
        opening = np.zeros(photo.shape[:2], np.uint8)
        cv2.fillPoly(opening, [np.round(head.texture[ring] * 8).astype(np.int32)], 255, shift=3)
        centre = darkest(head.photo, opening, size)
        white = inpainted(head.photo, opening, centre, size)
        photo = blended(photo, white, opening)
        photo = moved(photo, head.photo, opening, centre, across, size)
    return photo


def lids(outer: int, inner: int) -> list[int]:
    """Landmarks along the edge of an eye."""
    left = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
    right = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
    return list(left if outer == left[0] else right)


def darkest(photo: Image, opening: NDArray[np.uint8], size: float) -> Points:
    """The middle of the iris: where a disc of its size is darkest within the lids."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(size) + 1,) * 2).astype(np.float32)
    inside = (opening > 0).astype(np.float32)
    dark = cv2.filter2D((grey - grey[opening > 0].mean()) * inside, -1, disc)
    dark[opening == 0] = np.inf
    y, x = np.unravel_index(int(dark.argmin()), dark.shape)
    return np.array([x, y], float)


def inpainted(photo: Image, opening: NDArray[np.uint8], centre: Points, size: float) -> Image:
    """The photo with white of the eye in place of the iris."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    iris = (np.hypot(x - centre[0], y - centre[1]) < 1.25 * size) & (opening > 0)
    white = (opening > 0) & ~iris
    bright = white & (grey >= np.percentile(grey[white], 60))
    out = photo.copy()
    out[iris] = photo[bright].mean(axis=0)
    return np.asarray(cv2.GaussianBlur(out, (0, 0), 0.8), np.uint8)


def blended(photo: Image, other: Image, opening: NDArray[np.uint8]) -> Image:
    """``other`` within the lids."""
    share = cv2.GaussianBlur(opening, (0, 0), 0.6)[..., None] / 255
    return np.asarray(np.round(photo * (1 - share) + other * share), np.uint8)


def moved(
    photo: Image, source: Image, opening: NDArray[np.uint8], centre: Points, across: Points, size: float
) -> Image:
    """The iris of ``source`` within the lids of ``photo``, shifted."""
    height, width = photo.shape[:2]
    matrix = np.array([[1, 0, across[0]], [0, 1, across[1]]], float)
    shifted = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    y, x = np.mgrid[:height, :width]
    disc = np.clip(1.05 * size + 0.5 - np.hypot(x - centre[0] - across[0], y - centre[1] - across[1]), 0, 1)
    # Where a lid covered the iris there is none in the photo: its mean colour stands in.
    covered = cv2.warpAffine(opening, matrix, (width, height)) == 0
    y, x = np.mgrid[:height, :width]
    visible = (np.hypot(x - centre[0], y - centre[1]) < 0.9 * size) & (opening > 0)
    shifted[covered] = source[visible].mean(axis=0)
    share = (disc * cv2.GaussianBlur(opening, (0, 0), 0.6) / 255)[..., None]
    return np.asarray(np.round(photo * (1 - share) + shifted * share), np.uint8)


def line(values: Points) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(ANGLES, values, strict=False))


def write(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


if __name__ == "__main__":
    main()
