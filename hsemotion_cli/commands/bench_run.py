"""A clip -> how fast each way of annotating it is, where the time goes, and tables of both."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..bench import synthetic_clip
from ..bench.measure import ScoreAgreement, compare, variants
from ..bench.records import BenchmarkJob, BenchmarkResult
from ..bench.runner import Measurements, measure
from ..errors import InputError, ModelUnavailable, UsageError
from ..formats import sidecar
from ..media.video import Source, open_source
from ..models import registry, weights
from ..pipeline import Settings
from ..runtime import resources
from .console import Table, counting, print_table, print_text

FIRST, PEER = "as chosen", "emotiefflib"


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """The synthetic clip that is drawn when no video is given.

    Attributes:
        people: faces in it.
        height: pixels, 16:9.
        seconds: length.
    """

    people: int
    height: int
    seconds: float


def report(
    settings: Settings, video: Path | None, clip: Clip, *, repeat: int, only: str | None, peer: bool,
    minutes: float | None, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Measure every variant, as plain data.

    Args:
        minutes: length of the longest clip for the scaling runs; None for no such runs.
    """
    with tempfile.TemporaryDirectory(prefix="hsemotion-bench-") as name:
        folder = Path(name)
        drawn = folder / "drawn.mp4"
        if video is None:
            synthetic_clip.write(drawn, clip.people, clip.height // 2 * 2, clip.seconds)
        source = open_source(video or drawn)
        orders = _chosen(variants(settings, source.path), only)
        if peer:
            orders[PEER] = BenchmarkJob(source.path, "peer", settings, weights=_weights(settings))
        for k, (key, order) in enumerate(orders.items()):
            if order.kind == "annotate":
                orders[key] = replace(order, keep=folder / str(k))
        measured = _measured(orders, repeat, quiet)
        cores = settings.running.threads or resources.cores()
        found = {
            "host": _host(cores),
            "clip": {"drawn": video is None, "people": clip.people if video is None else None, **_clip(source)},
            "models": list(settings.recipe.models),
            "rounds": repeat,
            "variants": _rows(orders, measured, cores, source),
        }
        if minutes is not None:
            found["scaling"] = _scaling(settings, folder, minutes, quiet)
    return found


def _rows(
    orders: Mapping[str, BenchmarkJob], measured: Mapping[str, Measurements], cores: int, source: Source
) -> dict[str, Any]:
    """Variant -> its figures, and how closely its results agree with those of the first."""
    reference = orders[FIRST].keep if FIRST in orders else None
    agreement = {
        key: compare(order.keep, reference)
        for key, order in orders.items()
        if reference and order.keep and key != FIRST
    }
    return {key: _row(key, measured, agreement, cores, source) for key in measured}


def _chosen(orders: dict[str, BenchmarkJob], only: str | None) -> dict[str, BenchmarkJob]:
    if only is None:
        return orders
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in orders:
            raise UsageError(f"--only {name}: choose from {', '.join(orders)}.")
    return {name: order for name, order in orders.items() if name in names}


def _weights(settings: Settings) -> Path:
    """The weight file of the first model, for emotiefflib to run too."""
    name = settings.recipe.models[0]
    card = registry.card(name)
    if card.network is None or card.path is not None:
        raise UsageError(f"--peer: emotiefflib has no {name}; choose one of its models, as --model enet_b0_8_va_mtl.")
    if name in settings.running.files:
        return settings.running.files[name]
    here = [weights.place(file) for file in weights.published(card)]
    found = next((path for path in here if path.exists() and path.suffix in (".onnx", ".pt")), None)
    if found is None:
        raise ModelUnavailable(f"--peer: the weights of {name} are not here; run hsemotion models download {name}.")
    return found


def _measured(orders: Mapping[str, BenchmarkJob], repeat: int, quiet: bool) -> dict[str, Measurements]:
    for order in orders.values():
        if order.keep:
            order.keep.mkdir()
    with counting("bench", "runs", quiet) as report:
        return measure(orders, repeat, report)


def _host(cores: int) -> dict[str, Any]:
    names = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
    return {
        "system": platform.platform(terse=True),
        "processor": _of_processor("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in names if name in _of_processor("flags").split()],
        "cores": cores,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        **sidecar.libraries(),
    }


def _of_processor(field: str) -> str:
    """A field of /proc/cpuinfo for the first processor; "" if it is not there."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(field):
                return line.partition(":")[2].strip()
    return ""


def _clip(source: Source) -> dict[str, Any]:
    info = source.info
    return {
        "name": source.path.name,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "frames": info.frames,
        "codec": info.codec,
    }


def _row(
    name: str, measured: Mapping[str, Measurements], agreement: Mapping[str, ScoreAgreement], cores: int, source: Source
) -> dict[str, Any]:
    """All figures of one variant, rounded, as plain data."""
    own = measured[name]
    last = own.runs[-1]
    if not last.frames:
        raise InputError(f"{source.path}: none of its frames could be decoded.")
    middle, least, most = own.ratios(measured[FIRST]) if FIRST in measured else (None, None, None)
    times = source.info.fps
    busy = {stage: own.middle(partial(_per_frame, "busy", stage)) for stage in last.busy}
    row = {
        "frames_per_second": own.rate,
        "times_real_time": own.rate / times if times else None,
        "ratio": {"median": middle, "min": least, "max": most},
        "cpu_ms_per_frame": own.cpu * 1e3,
        "floor_frames_per_second": cores / own.cpu,
        "efficiency": own.efficiency(cores),
        "faces_per_frame": last.faces / last.frames,
        "first_result_cpu_s": own.middle(lambda f: f.first),
        "peak_memory_mb": own.middle(lambda f: f.memory) / 1e6,
        "busy_ms_per_frame": {stage: seconds * 1e3 for stage, seconds in busy.items()},
        "waits_ms_per_frame": {
            what: own.middle(partial(_per_frame, "waits", what)) * 1e3 for what in sorted(last.waits)
        },
        "slowest_stage": max(busy, key=lambda stage: busy[stage]) if busy else None,
        "agreement": dataclasses.asdict(agreement[name]) if name in agreement else None,
    }
    return _rounded(row)


def _per_frame(kind: str, name: str, figures: BenchmarkResult) -> float:
    return getattr(figures, kind).get(name, 0.0) / figures.frames


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return (round(value, 4) if value == value else None) if isinstance(value, float) else value


def _scaling(settings: Settings, folder: Path, minutes: float, quiet: bool) -> list[dict[str, Any]]:
    """One run each of synthetic clips with more faces, other sizes and more length."""
    found = []
    for what, people, height, seconds in _sizes(minutes):
        path = folder / "scaled.mp4"
        synthetic_clip.write(path, people, height, seconds)
        # Three or more faces in one image are too small for the search of the whole image.
        small = height // (5 * math.isqrt(people - 1) + 5) if people > 2 else None
        chosen = replace(settings, min_face=settings.min_face or small)
        (own,) = _measured({what: variants(chosen, path)[FIRST]}, 1, quiet).values()
        (only,) = own.runs
        found.append(
            _rounded(
                {
                    "what": what,
                    "frames_per_second": own.rate,
                    "cpu_ms_per_frame": own.cpu * 1e3,
                    "faces_per_frame": only.faces / only.frames,
                    "peak_memory_mb": only.memory / 1e6,
                }
            )
        )
    return found


def _sizes(minutes: float) -> Iterator[tuple[str, int, int, float]]:
    """(name, faces, height, seconds)."""
    for people in (1, 2, 4, 8):
        yield f"{people} faces, 720p" if people > 1 else "1 face, 720p", people, 720, 6.0
    for height in (360, 1080, 2160):
        yield f"1 face, {height}p", 1, height, 6.0
    for length in sorted({1.0, minutes}):
        yield f"1 face, 720p, {length:g} min", 1, 720, 60 * length


def show(report: Mapping[str, Any]) -> None:
    """Print what ``report`` measured."""
    host, shown = report["host"], report["clip"]
    print_text(
        f"{host['processor']}, {host['cores']} cores, load {host['load']}, {', '.join(host['instructions'])}; "
        f"Python {host['python']}, onnxruntime {host.get('onnxruntime')}, mediapipe {host.get('mediapipe')}"
    )
    drawn = f" (synthetic, faces: {shown['people']}; real faces move differently)" if shown["drawn"] else ""
    print_text(
        f"{shown['name']}{drawn}: {shown['width']}x{shown['height']}, {shown['codec']}, {shown['frames']} frames; "
        f"{' and '.join(report['models'])}; {report['rounds']} rounds, median"
    )
    _print_variants(report["variants"])
    first = next(iter(report["variants"].values()))
    for title, key in (("stage", "busy_ms_per_frame"), ("waiting", "waits_ms_per_frame")):
        if first[key]:
            table = Table(title, "ms per frame")
            for name, value in first[key].items():
                table.add_row(name + (" (the slowest)" if name == first["slowest_stage"] else ""), f"{value:.2f}")
            print_table(table)
    if report.get("scaling"):
        table = Table("clip", "frames/s", "CPU ms/frame", "faces/frame", "peak MB")
        for row in report["scaling"]:
            table.add_row(
                row["what"],
                f"{row['frames_per_second']:.1f}",
                f"{row['cpu_ms_per_frame']:.1f}",
                f"{row['faces_per_frame']:.2f}",
                f"{row['peak_memory_mb']:.0f}",
            )
        print_table(table)


def _print_variants(rows: Mapping[str, Mapping[str, Any]]) -> None:
    columns = ("variant", "frames/s", "real time", "ratio (min-max)", "CPU ms/frame", "of the floor", "faces/frame")
    table = Table(*columns, "peak MB", "same label", "VA apart")
    for name, row in rows.items():
        ratio, agreement = row["ratio"], row["agreement"] or {}
        table.add_row(
            name,
            f"{row['frames_per_second']:.1f}",
            _or_dash(row["times_real_time"], ".1f", "x"),
            f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio["median"] else "-",
            f"{row['cpu_ms_per_frame']:.1f}",
            f"{row['efficiency']:.2f}",
            f"{row['faces_per_frame']:.2f}",
            f"{row['peak_memory_mb']:.0f}",
            _or_dash(agreement.get("expression"), ".3f"),
            _or_dash(agreement.get("valence_arousal"), ".3f"),
        )
    print_table(table)


def _or_dash(value: float | None, how: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{how}}{unit}"
