"""Whether an existing file was written by hsemotion: only such files are replaced without being asked to.

Decided by what is in the file, never by its name: a sidecar by its tool, a table by its columns, archives by their
arrays, videos, images, pages and weights by a mark (``runtime.file_marks``). A file that carries no mark of any kind,
such as a submission, counts as the user's.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import HsemotionError, UsageError
from ..media.mp4_boxes import encoding_tool
from ..runtime.atomic_files import check_names
from ..runtime.file_marks import PAGE_MARK, TOOL
from .npz import DAMAGE
from .raw_scores import ARRAYS, EXTRA, MEASURED, OPTIONAL_ARRAYS, PEOPLE
from .schema import ADDED, NAMES, OPTIONAL

_MOST_JSON = 1 << 24  # bytes
_MOST_LINE = 1 << 20
_SHOWN = 3
_BOOK_KEYS = ({"path", "output", "state", "settings"}, {"path", "output", "stage", "sentence"})
"""Keys of each line of a batch's manifest, and of its list of failures."""

_BOOK_START = b'{"path": "'

Recogniser = Callable[[Path], bool]
"""Whether a file is ours; raising one of ``npz.DAMAGE`` means that it is not."""


def check_outputs(paths: Iterable[Path], overwrite: bool = False, *recognisers: Recogniser) -> None:
    """Make sure, before any work, that files can be written at these places and that none of the user's is lost.

    Args:
        paths: what will be written.
        overwrite: replace whatever is there.
        recognisers: for files of formats that only a higher layer knows.

    Raises:
        UsageError: the name cannot be one, something other than a file has it, or a file of the user's.
    """
    paths = list(paths)
    check_names(paths)
    if overwrite:
        return
    foreign = [path for path in paths if os.path.exists(path) and not is_ours(path, *recognisers)]
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        names = ", ".join(map(str, foreign[:_SHOWN]))
        raise UsageError(
            f"{names}{more}: already there, and not recognised as written by hsemotion; choose another place, or give "
            "--overwrite to replace."
        )


def is_ours(path: Path, *recognisers: Recogniser) -> bool:
    """Whether hsemotion wrote an existing file; an empty one counts, since nothing is lost with it.

    Args:
        recognisers: see ``check_outputs``.
    """
    known = _BY_SUFFIX.get(path.suffix.lower())
    return any(_holds(recognise, path) for recognise in (_is_empty, *([known] if known else []), *recognisers))


def _holds(recognise: Recogniser, path: Path) -> bool:
    try:
        return recognise(path)
    except (*DAMAGE, HsemotionError):  # what cannot be read as one of our files is not one of ours
        return False


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _is_sidecar_or_recipe(path: Path) -> bool:
    if path.stat().st_size > _MOST_JSON:
        return False
    content = json.loads(path.read_text(encoding="utf-8"))
    tool = content["tuned"]["tool"] if "tuned" in content else content["tool"]
    return tool["name"] == TOOL and "recipe" in content


def _is_table(path: Path) -> bool:
    return _are_columns(_first_line(path).split(","))


def _is_table_or_book(path: Path) -> bool:
    with path.open("rb") as file:
        line, second = file.readline(_MOST_LINE), file.readline(_MOST_LINE)
    try:
        keys = json.loads(line).keys()
    except ValueError:  # a batch was killed in the middle of its first line, or met a full disk, and perhaps went on
        if not line.startswith(_BOOK_START):
            return False
        keys = json.loads(second).keys() if second else _BOOK_KEYS[0]
    return _are_columns(list(keys)) or any(wanted <= keys for wanted in _BOOK_KEYS)


def _are_columns(names: list[str]) -> bool:
    """All columns of a table and no other: one that the user added is the user's work."""
    return set(NAMES) - set(ADDED) <= set(names) <= {*NAMES, *(column.name for column in OPTIONAL)}


def _is_parquet(path: Path) -> bool:
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    return TOOL.encode() in (schema.metadata or {}) or _are_columns(schema.names)


def _is_archive(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    known = {*ARRAYS, *OPTIONAL_ARRAYS}
    return set(ARRAYS) <= names and all(
        name in known or name.startswith(("scores/", EXTRA, MEASURED, PEOPLE)) for name in names
    )


def _is_overlay(path: Path) -> bool:
    """By its mark; those of versions that left none are listed in the sidecar beside them."""
    if encoding_tool(path) == TOOL:
        return True
    beside = path.with_name(path.name.removesuffix(".overlay.mp4") + ".json")
    listed = path.name.endswith(".overlay.mp4") and _is_sidecar_or_recipe(beside)
    return listed and json.loads(beside.read_text(encoding="utf-8"))["outputs"].get("overlay") == path.name


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        return any(kind == b"tEXt" and data == f"Software\0{TOOL}".encode() for kind, data in _png_texts(file))


def _png_texts(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the small chunks of a PNG file that come before its pixels."""
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return
    while len(head := file.read(8)) == 8 and (kind := head[4:]) != b"IDAT":
        data = file.read(min(int.from_bytes(head[:4]), _MOST_LINE))
        file.seek(4, 1)  # the checksum
        yield kind, data


def _is_pdf(path: Path) -> bool:
    content = path.read_bytes() if path.stat().st_size <= _MOST_JSON else b""
    return content.startswith(b"%PDF-") and f"/Creator ({TOOL})".encode() in content


def _is_svg(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4096)
    return b"<svg" in start and f"<dc:title>{TOOL}</dc:title>".encode() in start


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 200, 0))
        return file.read().rstrip().endswith(PAGE_MARK.encode())


def _is_toml(path: Path) -> bool:
    first = _first_line(path)
    return first.startswith("#") and TOOL in first.split()


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: Any = json.loads(file.read(size)) if size <= _MOST_JSON else {}
    return TOOL in header["__metadata__"]


def _is_graph(path: Path) -> bool:
    """A graph carries no mark; the weights beside it name it by its checksum."""
    from ..models import graph_file

    weights = path.with_suffix(".safetensors")
    return _is_safetensors(weights) and graph_file.read_graph(weights) == path.read_bytes()


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(_MOST_LINE).decode("utf-8-sig").rstrip("\r\n")


_BY_SUFFIX: dict[str, Recogniser] = {
    ".json": _is_sidecar_or_recipe,
    ".csv": _is_table,
    ".jsonl": _is_table_or_book,
    ".parquet": _is_parquet,
    ".npz": _is_archive,
    ".mp4": _is_overlay,
    ".png": _is_image,
    ".pdf": _is_pdf,
    ".svg": _is_svg,
    ".md": _is_page,
    ".html": _is_page,
    ".htm": _is_page,
    ".toml": _is_toml,
    ".safetensors": _is_safetensors,
    ".onnx": _is_graph,
}
