"""What a page says in words: one line of figures, warnings, and how the table was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import __version__
from .derived_series import Derived
from .report_table import ReportTable
from .wording import few

_LOW_COVERAGE = 0.5


def summary(recording: ReportTable, meta: Mapping[str, Any]) -> str:
    """A line of figures: duration, frames, people, coverage."""
    frames, ids = len(recording.frame), len(recording.ids)
    seconds = float(recording.time[-1] - recording.time[0])
    words = [
        f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.1f} s",
        f"{frames:,} analysed {'frame' if frames == 1 else 'frames'}",
        f"{ids:,} face {'id' if ids == 1 else 'ids'}",
        f"a face in {recording.coverage:.1%} of the frames",
    ]
    models = [str(model.get("name", "")) for model in meta.get("models", [])]
    return " · ".join(words + ([" + ".join(models)] if models else []))


def warnings(recording: ReportTable, meta: Mapping[str, Any]) -> list[str]:
    """Sentences that a reader should know before believing the curves."""
    found = []
    frames = meta.get("frames", {})
    if not meta:
        found.append("There is no sidecar beside the table, so nothing is known about how it was made.")
    if recording.clock == "row":
        found.append("The table's times do not rise, so the axis counts its rows at 25 per second.")
    if recording.coverage < _LOW_COVERAGE:
        found.append(f"Low coverage: a face was seen in {recording.coverage:.1%} of the analysed frames only.")
    if frames.get("variable_frame_rate"):
        found.append("The frame rate varies; the axis shows the time stamp of each frame.")
    if frames.get("ended_early"):
        found.append(f"The video is not complete: {frames['ended_early']}.")
    if frames.get("decode_failures"):
        found.append(f"{frames['decode_failures']:,} frames could not be decoded and have no row.")
    if frames.get("corrupt"):
        found.append(f"{frames['corrupt']:,} decoded frames are damaged.")
    if frames.get("guessed_times"):
        found.append(f"{frames['guessed_times']:,} frames have no time stamp; their times follow from the frame rate.")
    if frames.get("clock_jumps"):
        found.append(f"The clock of the video jumps ({frames['clock_jumps']:,} times); time goes on across jumps.")
    every = meta.get("sampling", {}).get("every") or 1
    if every > 1:
        found.append(f"Only every {every}-th frame was analysed.")
    return found + [f"{str(note)[:1].upper()}{str(note)[1:]}" for note in meta.get("source", {}).get("notes", [])]


def about(
    table: str, recording: ReportTable, meta: Mapping[str, Any], derived: Derived, levels: int
) -> list[tuple[str, str]]:
    """(heading, text) of how the table and the page were made."""
    rows: list[tuple[str, str]] = [("Table", f"{table}, {len(recording.row):,} rows with a face")]
    source, tool = meta.get("source", {}), dict(meta.get("tool", {}))
    if source:
        rows.append(("Source", f"{source.get('name')}, SHA-256 {source.get('sha256')}"))
        picture = f"{source.get('width')} x {source.get('height')} pixels, {source.get('codec')}"
        rate = f", {source['fps']:.3f} frames/s on average" if source.get("fps") else ""
        rows.append(("Video", f"{picture}{rate}; times from the {source.get('clock')}"))
    for model in meta.get("models", []):
        rows.append(("Model", _model(model)))
    if detector := meta.get("detector"):
        rows.append(("Detector", f"{detector.get('kind')}: {few(detector.get('networks', {}))}"))
    if recipe := meta.get("recipe"):
        rows += _recipe(recipe)
    if tool:
        name, version = tool.pop("name", "hsemotion"), tool.pop("version", "")
        rows.append(("Versions", f"{name} {version}; " + ", ".join(f"{k} {v}" for k, v in tool.items())))
    if derived.sentence:
        rows.append(("Lines", derived.sentence))
    step = f"{50 / (levels - 1):.2g} % of its range"
    drawn = "areas show means, lines minima and maxima, action units maxima, of the frames of a pixel"
    rows.append(("Page", f"hsemotion {__version__}; each value is stored to within {step}; {drawn}."))
    rows.append(("Colours", "Okabe and Ito's for classes, viridis from 0 to 1 for action units; ticks: present."))
    return rows


def _model(model: Mapping[str, Any]) -> str:
    parts = [str(model.get("name")), f"licence {model.get('licence')}", f"trained on {model.get('training_data')}"]
    return "; ".join([*parts, f"{model.get('file')}, SHA-256 {model.get('sha256')}"])


def _recipe(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name in ("blend", "smoothing", "thresholds"):
        values = recipe.get(name)
        if isinstance(values, Mapping) and values:
            rows.append((name.capitalize(), ", ".join(f"{key} {value}" for key, value in values.items())))
    gap, interpolate = recipe.get("max_gap"), recipe.get("interpolate")
    return [
        *rows,
        ("Gaps", f"nothing is smoothed across more than {gap} s; filled by interpolation up to {interpolate} s"),
    ]
