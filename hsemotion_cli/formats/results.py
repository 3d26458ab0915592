"""The files of one video together: table, raw scores and sidecar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..postprocess.refine import Affect
from ..runtime.atomic_files import write_together
from ..timeline import Timeline
from . import raw_scores, sidecar, table
from .output_names import output_names

if TYPE_CHECKING:
    import pandas


def write_results(
    rows: Affect | pandas.DataFrame,
    timeline: Timeline | None,
    content: Mapping[str, Any] | None,
    folder: Path,
    name: str,
    formats: Iterable[str],
) -> dict[str, str]:
    """Write the table in each format, the raw scores and the sidecar, all or none; returns kind -> file name.

    Args:
        rows: of the table; a data frame as it is.
        timeline: the raw scores, or None to write none.
        content: of the sidecar, or None to write none.

    Raises:
        OutputError: one of them could not be written.
        UsageError: the data frame is not a table.
    """
    formats = tuple(formats)
    outputs = output_names(name, formats)
    missing = {kind for kind, part in (("raw", timeline), ("sidecar", content)) if part is None}
    outputs = {kind: file_name for kind, file_name in outputs.items() if kind not in missing}
    with write_together() as opened:
        for format_ in formats:
            with opened(folder / outputs[format_]) as file:
                table.WRITERS[format_](rows, file)
        if timeline is not None:
            with opened(folder / outputs["raw"]) as file:
                raw_scores.write(timeline, file)
        if content is not None:
            with opened(folder / outputs["sidecar"]) as file:
                sidecar.write({**content, "outputs": outputs}, file)
    return outputs
