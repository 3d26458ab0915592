"""Gather images without faces from Debian packages: the backgrounds that ``collect_candidates.py`` takes.

    python scripts/gather_backgrounds.py packages -o backgrounds

``packages`` holds the .deb files that ``plans/face-classifier.json`` lists with their SHA-256 (``apt-get download
NAME=VERSION`` fetches them). Photos, cut-out objects with a transparent background, and textures are written as
``photo``, ``object`` and ``texture``. Files whose path speaks of people are left out, and the files that the plan names
under ``excluded``: all that a face detector found something in was looked at, and these show faces or parts of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

PLAN = Path(__file__).resolve().parent.parent / "plans" / "face-classifier.json"

PEOPLE = (
    *("/people/", "symbols/faces", "human", "/face", "person", "skull", "/portrait", "body", "reallusion"),
    *("mannequin", "doll", "statue", "bust", "buddha", "monalisa"),
)
"""Parts of a path that speak of people."""

PEOPLE_OF_GAMES = ("player", "face", "skull", "portrait", "icon")
"""The same for the files within archives of a game."""

SMALLEST, LARGEST = 64, 2560
"""Sides of an image in pixels: smaller ones are left out, larger ones shrunk."""

Found = tuple[str, str, bytes]
"""Kind (photo or texture), name, and encoded image."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="a folder with the .deb files of the plan")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    plan = json.loads(PLAN.read_text(encoding="utf-8"))
    Image.MAX_IMAGE_PIXELS = None
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for file, sha256 in plan["packages"].items():
            package = options.packages / file
            if hashlib.sha256(package.read_bytes()).hexdigest() != sha256:
                raise SystemExit(f"{package} is not the file of the plan")
            subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
        for kind, name, encoded in images(Path(folder)):
            counts.update(kept(options.out, kind, name, encoded, seen, plan["excluded"]))
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))


def images(folder: Path) -> Iterator[Found]:
    """Every image of the unpacked packages, in the order of their paths, but for those of people."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        lower = str(path.relative_to(folder)).lower()
        if any(word in lower for word in PEOPLE):
            continue
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
            yield "photo", lower.split("share/")[-1], path.read_bytes()
        elif path.suffix == ".pk3":
            yield from members(path, "texture", (".jpg", ".png", ".tga"), PEOPLE_OF_GAMES)
        elif path.suffix == ".sh3f":  # furniture: an image of each piece, and below it the textures of its model
            yield from (found for found in members(path, "photo", (".png",), PEOPLE) if found[1].count("/") == 1)
        elif path.suffix == ".rcc":
            yield from embedded(path)


def members(path: Path, kind: str, suffixes: tuple[str, ...], people: tuple[str, ...]) -> Iterator[Found]:
    """The images in a ZIP archive."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            lower = member.lower()
            if lower.endswith(suffixes) and not any(word in lower for word in people):
                yield kind, lower, archive.read(member)


def embedded(path: Path) -> Iterator[Found]:
    """The images in a resource file of Qt, in which four bytes before each file give its size."""
    content = path.read_bytes()
    for mark in (rb"\xff\xd8\xff[\xe0\xe1\xdb]", rb"\x89PNG\r\n\x1a\n"):
        for match in re.finditer(mark, content):
            start = match.start()
            size = int.from_bytes(content[start - 4 : start], "big")
            if 3000 < size < 5_000_000:
                yield "photo", f"{path.stem}{start}", content[start : start + size]


def kept(out: Path, kind: str, name: str, encoded: bytes, seen: set[str], excluded: list[str]) -> list[str]:
    """Write an image unless it is small, damaged, excluded, or there already; its kind, or nothing."""
    try:
        image: Image.Image = Image.open(io.BytesIO(encoded))
        image.load()
    except (OSError, SyntaxError, ValueError):  # as Pillow names damaged files
        return []
    if min(image.size) < SMALLEST:
        return []
    image.thumbnail((LARGEST, LARGEST))
    clear = image.mode in ("RGBA", "LA", "P")
    image = image.convert("RGBA" if clear else "RGB")
    if clear and np.asarray(image)[..., 3].min() > 250:
        image, clear = image.convert("RGB"), False
    look = hashlib.sha256(np.asarray(image.resize((16, 16))).tobytes()).hexdigest()
    stem = re.sub(r"\W+", "_", name)[-60:] + "_" + look[:6]
    if look in seen or stem in excluded:
        return []
    seen.add(look)
    kind = "object" if clear else kind
    (out / kind).mkdir(parents=True, exist_ok=True)
    if clear:
        image.save(out / kind / f"{stem}.png")
    else:
        image.save(out / kind / f"{stem}.jpg", quality=92)
    return [kind]


if __name__ == "__main__":
    main()
