"""Write and check the submission file of a track, and print a summary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..abaw import emi, submission, validation
from ..abaw.lists import FrameList
from ..abaw.predictions import RAW, find
from ..abaw.submission import VideoRows
from ..errors import OutputError, UsageError
from ..formats.output_names import output_names
from ..formats.ownership import check_outputs
from ..media.discovery import find_jobs
from ..media.video import VIDEO_SUFFIXES
from ..postprocess.compound import MEANS, divergence
from ..postprocess.recipe import Recipe
from ..reporting.wording import few
from ..runtime.atomic_files import prepare_folder
from ..tasks import COMPOUNDS
from .console import Table, counting, print_json, print_line, print_table, progress
from .options import InputOptions, OutputOptions
from .unread_options import DECODING, refuse, refuse_for_sources

_SHOWN = 100
"""Number of problems printed; all are counted."""


def annotated(
    paths: Sequence[Path], out: Path, recipe: Recipe | None, input: InputOptions, output: OutputOptions
) -> list[Path]:
    """The given tables; videos and images are annotated first, and their tables stay in OUT.tables."""
    videos = [path for path in paths if _is_source(path)]
    tables = [path for path in paths if path not in videos]
    if not videos:
        refuse(DECODING, "only tables were given, and their videos are not decoded again")
        return tables
    folder = out.with_name(f"{out.name}.tables")
    from ..pipeline import Annotator, Settings  # takes a quarter of a second, which validation does not need
    from .settings import decode_options

    jobs = find_jobs(videos, crops=input.crops)
    refuse_for_sources((job.path for job in jobs), crops=input.crops)
    settings = Settings(recipe=recipe or Recipe.usual(), crops=input.crops, decoding=decode_options(input))
    names = (name for job in jobs for name in output_names(job.name, settings.formats).values())
    check_outputs((folder / name for name in names), output.overwrite)
    prepare_folder(folder)
    with Annotator(settings) as annotator:
        for job in jobs:
            with progress(job.path.name, output.quiet or output.json) as report:
                annotator.annotate(job.path, folder, job.name, report)
    return [*tables, *(folder / f"{job.name}.csv" for job in jobs)]


def _is_source(path: Path) -> bool:
    """Whether a path must be annotated first: a video, or a folder without raw scores in it."""
    if path.is_dir():
        return not any(path.glob(f"*{RAW}"))
    return path.suffix.lower() in VIDEO_SUFFIXES


def frames(
    rows: FrameList, tables: Sequence[Path], out: Path, settings: submission.SubmissionSettings, layout: str,
    extra: int, quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write the predictions for frames, and return a summary of them."""
    every = layout == "per-video"
    raws = find(tables)
    prepare_folder(out if every else out.parent)

    def answer(settings: submission.SubmissionSettings) -> list[VideoRows]:
        with counting(rows.path.name, "videos", quiet) as report:
            return submission.submission_rows(
                rows, raws, settings, every_frame=every, extra_frames=extra, progress=report
            )

    parts = answer(settings)
    if every:
        submission.write_per_video(rows.track, parts, out)
    else:
        submission.write(rows, submission.gather(rows, parts), out)
    summary = _summary(rows, out, sum(len(part.frames) for part in parts))
    summary["videos"] = {
        part.video: {"rows": len(part.frames), "seen": part.seen, "filled": part.filled, "beyond": part.beyond}
        for part in parts
    }
    if settings.override is not None:
        summary["overridden"] = sum(part.overridden for part in parts)
    if rows.track.name == "ce":
        summary["mean"] = settings.mean
        summary["means"] = {
            mean: _shares(parts if mean == settings.mean else answer(replace(settings, mean=mean))) for mean in MEANS
        }
    return summary


def _shares(parts: Sequence[VideoRows]) -> dict[str, Any]:
    """The share of each compound expression, and its divergence from the published distribution."""
    labels = np.concatenate([part.values[:, 0] for part in parts]).astype(np.int64)
    shares = np.bincount(labels, minlength=len(COMPOUNDS)) / len(labels)
    far = divergence(labels)
    return {
        "shares": dict(zip(COMPOUNDS, shares.tolist(), strict=True)),
        "divergence": far if math.isfinite(far) else None,
    }


@dataclass(frozen=True, slots=True)
class Sound:
    """Audio inputs of ``submit --track emi``.

    Attributes:
        head: trained on audio features; None without audio.
        features: files of ``extract --audio``, or folders.
        weights: weight of the audio head, W or CLASS=W each.
    """

    head: Path | None
    features: Sequence[Path]
    weights: Sequence[str]


def mimicry(rows: FrameList, tables: Sequence[Path], out: Path, head: Path | None, sound: Sound) -> dict[str, Any]:
    """Write the predictions for clips, and return a summary of them."""
    from ..training.features import find_files

    if head is None:
        raise UsageError("--track emi needs --head HEAD.safetensors, and files of extract instead of tables.")
    if (sound.head is None) != (not sound.features) or (sound.weights and sound.head is None):
        raise UsageError("--audio-head, --audio and --audio-weight go together: a head, and features of sound for it.")
    weights = emi.parse_weights(sound.weights)
    faces = emi.predict_clips(emi.clip_head(head, "--head"), find_files(tables), rows.names)
    from_sound = None
    if sound.head is not None:
        from_sound = emi.predict_clips(
            emi.clip_head(sound.head, "--audio-head"), find_files(sound.features), rows.names
        )
    fused = emi.fuse(rows, faces, from_sound, weights)
    prepare_folder(out.parent)
    submission.write(rows, fused.values, out)
    summary = _summary(rows, out, len(rows.names))
    summary |= {"faces_and_sound": fused.both, "faces_alone": list(fused.faces), "sound_alone": list(fused.sound)}
    if from_sound is not None:
        summary["audio_weights"] = weights
    return summary


def _summary(rows: FrameList, out: Path, count: int) -> dict[str, Any]:
    return {"track": rows.track.name, "out": str(out), "rows": count, "notes": list(rows.notes)}


def validated(path: Path, rows: FrameList, quiet: bool, as_json: bool) -> int:
    problems = validation.validate(path, rows)
    wrong = [problem for problem in problems if not problem.warning]
    if as_json:
        shown = [{"line": p.line, "reason": p.reason, "warning": p.warning} for p in problems[:_SHOWN]]
        print_json({"file": str(path), "valid": not wrong, "total": len(problems), "problems": shown}, indent=None)
    elif not quiet:
        for problem in problems[:_SHOWN]:
            print_line(f"{path}:{problem.line}: {'warning: ' if problem.warning else ''}{problem.reason}.")
        if len(problems) > _SHOWN:
            print_line(f"... and {len(problems) - _SHOWN:,} more.")
        things = "clips" if rows.track.name == "emi" else f"rows of {len(rows.videos):,} videos"
        verdict = f"{len(wrong):,} problems" if wrong else f"good, {len(rows.names):,} {things}"
        print_line(f"{path}: {verdict}.")
    return OutputError.exit_code if wrong else 0


def show(summary: Mapping[str, Any]) -> None:
    for note in summary["notes"]:
        print_line(f"the list: {note}.")
    if "means" in summary:
        _print_means(summary)
    print_line(_counts(summary) if "videos" in summary else _of_clips(summary))
    if "overridden" in summary:
        print_line(f"{summary['overridden']:,} rows have the label of the second model.")
    print_line(summary["out"])


def _counts(summary: Mapping[str, Any]) -> str:
    videos = summary["videos"]
    seen, filled, beyond = (sum(counts[kind] for counts in videos.values()) for kind in ("seen", "filled", "beyond"))
    text = (
        f"{summary['rows']:,} rows of {len(videos):,} videos: a face was seen in {seen:,}, {filled:,} are filled from "
        f"the frames around them, {beyond:,} lie after the last frame"
    )
    longer = [f"{name} {counts['beyond']:,}" for name, counts in videos.items() if counts["beyond"]]
    return f"{text} ({few(longer)})." if longer else f"{text}."


def _of_clips(summary: Mapping[str, Any]) -> str:
    if "audio_weights" not in summary:
        return f"{summary['rows']:,} clips, all from faces."
    parts = [f"{summary['faces_and_sound']:,} from faces and sound"]
    for kind in ("faces", "sound"):
        if names := summary[f"{kind}_alone"]:
            parts.append(f"{len(names):,} from {kind} alone ({few(names)})")
    return f"{summary['rows']:,} clips: {', '.join(parts)}."


def _print_means(summary: Mapping[str, Any]) -> None:
    """Print a column for each mean: the share of each expression, and its divergence from C-EXPR-DB."""
    means = summary["means"]
    table = Table()
    table.add_column("share of the rows")
    for mean in means:
        table.add_column(f"{mean} (written)" if mean == summary["mean"] else mean, justify="right")
    for name in COMPOUNDS:
        table.add_row(name.replace("_", " "), *(f"{found['shares'][name]:.1%}" for found in means.values()))
    table.add_section()
    far = [found["divergence"] for found in means.values()]
    table.add_row("KL divergence from C-EXPR-DB", *("infinite" if d is None else f"{d:.4f}" for d in far))
    print_table(table)
