"""The files that come of one annotated source: what each is called, decided in one place."""

from __future__ import annotations

from collections.abc import Iterable


def output_names(name: str, formats: Iterable[str], overlay: bool = False) -> dict[str, str]:
    """Kind -> file name: the tables by their formats, "raw", "overlay" if there shall be one, "sidecar".

    Args:
        name: the stem of all of them.
        formats: of the table, from ``table.WRITERS``.
    """
    tables = {format_: f"{name}.{format_}" for format_ in formats}
    video = {"overlay": f"{name}.overlay.mp4"} if overlay else {}
    return {**tables, "raw": f"{name}.raw.npz", **video, "sidecar": f"{name}.json"}
