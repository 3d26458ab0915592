"""Shape of a face: targets added to the base mesh, the head turned, and what is measured on it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .assets import Assets, Mesh, Vertices

Values = NDArray[np.floating]


def moved(start: Values, targets: Mapping[str, Vertices], weights: Mapping[str, float]) -> Values:
    """Vertices (n, 3) after targets were added with weights.

    The sum is in 32 bits until NumPy raises it to 64 at the first np.float64 among the weights. Another precision would
    change some pixels of a seed.
    """
    offsets = (targets[name] * weight for name, weight in weights.items())
    return np.asarray(start + sum(offsets, np.zeros(start.shape, np.float32)))


def eyes(mesh: Mesh, vertices: Values) -> tuple[Values, float]:
    """The point between the eyes (3,), and the distance of the eyes' centres in decimetres."""
    left, right = (vertices[np.unique(mesh.groups[f"helper-{side}-eye"][:, :, 0])].mean(axis=0) for side in "lr")
    return (left + right) / 2, float(np.linalg.norm(left - right))


def turned(vertices: Vertices, yaw: float, pitch: float, roll: float, pivot: Values) -> Vertices:
    """Vertices (n, 3) turned around a point (3,); angles in radians."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(angle), np.sin(angle)) for angle in (yaw, pitch, roll))
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return np.asarray((vertices - pivot) @ (around_z @ around_y @ around_x).T + pivot).astype(np.float32)


def lip_pairs(assets: Assets, half_width: float = 0.06, beside: float = 0.02) -> list[tuple[int, int]]:
    """Vertices of the upper and of the lower lip, opposite each other in the middle of the mouth: up to three pairs.

    Those that move most with the lips' face units are searched; the closest and foremost pairs are chosen, because
    lips touch there when the mouth is shut.

    Args:
        half_width: largest distance from the middle, in decimetres.
        beside: largest sideways distance of the vertices of a pair.
    """
    upper, lower = (
        assets.targets[f"arkit/mouth{lip}Left"] + assets.targets[f"arkit/mouth{lip}Right"]
        for lip in ("UpperUp", "LowerDown")
    )
    start = assets.mesh.vertices
    inside = np.zeros(len(start), bool)
    inside[np.unique(assets.mesh.groups["body"][:, :, 0])] = True
    inside &= np.abs(start[:, 0]) < half_width
    up = np.flatnonzero(inside & (upper[:, 1] > 0.3 * upper[:, 1].max()))
    down = np.flatnonzero(inside & (lower[:, 1] < 0.3 * lower[:, 1].min()))
    found = [
        (np.linalg.norm(start[i] - start[j]) - 0.5 * start[i, 2], int(i), int(j))
        for i in up
        for j in down
        if abs(start[i, 0] - start[j, 0]) < beside
    ]
    return [(i, j) for _, i, j in sorted(found)[:3]]


def lip_gap(vertices: Values, pairs: list[tuple[int, int]]) -> float:
    """Mean height of the upper lip above the lower one, in decimetres."""
    return float(np.mean([vertices[i, 1] - vertices[j, 1] for i, j in pairs]))
