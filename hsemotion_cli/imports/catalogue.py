"""Every format that tables are made from, and which of them a file is: by its content, not its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..formats.ownership import is_ours
from .facereader import FACEREADER, FACEREADER_STATE
from .imotions import IMOTIONS
from .libreface import LIBREFACE
from .openface import OPENFACE, OPENFACE_1
from .pyfeat import PYFEAT
from .source import Source
from .text import Text, find_header

SOURCES: Mapping[str, tuple[Source, ...]] = {
    "openface": (OPENFACE,),
    "openface1": (OPENFACE_1,),
    "pyfeat": (PYFEAT,),
    "libreface": (LIBREFACE,),
    "facereader": (FACEREADER, FACEREADER_STATE),
    "imotions": (IMOTIONS,),
}
"""``--from`` -> its formats; besides, "csv" with ``--map``."""


def recognise(path: Path, forced: Sequence[Source] | None = None, name: str = "") -> tuple[Source, Text]:
    """Which format a file has, and where its header is.

    Args:
        forced: only these formats.
        name: of ``--from`` for the message.

    Raises:
        InputError: it has none of them.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder.")
    sources = forced or [each for group in SOURCES.values() for each in group]
    text = find_header(path, lambda header: any(source.is_header(header) for source in sources))
    if text is not None:
        return next(source for source in sources if source.is_header(text.header)), text
    if path.suffix.lower() in (".csv", ".parquet", ".jsonl") and is_ours(path):
        raise InputError(f"{path}: is a table of hsemotion already; use it as it is.")
    what = f"no header of {name}" if forced else f"not a file of {', '.join(SOURCES)}"
    raise InputError(f"{path}: {what}; describe its columns with --from csv --map FILE.toml.")
