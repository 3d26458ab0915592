"""The files that come of one annotated source: what each is called, decided in one place."""

from __future__ import annotations

from collections.abc import Iterable


def output_names(name: str, formats: Iterable[str], overlay: bool = False, report: bool = False) -> dict[str, str]:
    """Kind -> file name: the tables by their formats, "raw", "overlay" and "report" if there shall be one, "sidecar".

    Args:
        name: the stem of all of them.
        formats: of the table, from ``table.WRITERS``.
    """
    tables = {format_: f"{name}.{format_}" for format_ in formats}
    video = {"overlay": f"{name}.overlay.mp4"} if overlay else {}
    page = {"report": f"{name}.html"} if report else {}
    return {**tables, "raw": f"{name}.raw.npz", **video, **page, "sidecar": f"{name}.json"}
