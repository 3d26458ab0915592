"""The scores of a track of the ABAW challenges on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..abaw.evaluation import Report
from ..abaw.scores import ClassRow, ClassScores, FrameCounts, RegressionScores, Score, TaskScores, UnitScores
from ..reporting.wording import few
from .console import Table, print_line, print_table

_VIDEOS = 20
"""Number of videos printed; --json lists them all."""

_MEASURES = {"ccc": "CCC", "pearson": "Pearson's r"}
_SCORES = {
    "expr": "macro F1",
    "va": "mean CCC",
    "au": "mean F1",
    "mtl": "P (mean CCC + macro F1 + mean F1)",
    "ce": "macro F1",
    "emi": "mean Pearson's r",
}
_FIGURES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "valence": "valence",
    "arousal": "arousal",
    "ccc": "CCC",
    "au_f1": "AU F1",
}


def show(report: Report) -> None:
    """Print the score, then each task, each video, and notes."""
    asked = report.settings
    print_line(f"{asked.track.name}: {_SCORES[asked.track.name]} {_with_interval(report.score)}")
    if report.half is not None:
        print_line(f"with all thresholds at 0.5: {_with_interval(report.half)}")
    print_line(_interval(report))
    for task, found in report.tasks.items():
        if len(report.tasks) > 1:
            print_line("")
            print_line(f"{task.replace('_', ' ')}: {_with_interval(found.score)}")
        if task in report.frames:
            print_line(_frames(report.frames[task]))
        _print_task(found)
    if report.clips:
        print_line(f"clips: {report.clips:,}")
    if len(report.videos) > 1:
        _print_videos(report)
    for names, what in (
        (report.left_out, "left out, because there are no predictions for them"),
        (report.faceless, "left out, because no face was seen in any of their frames"),
        (report.ignored, "ignored, because the ground truth does not contain them"),
    ):
        if names:
            print_line(f"{len(names):,} {what}: {few(names)}")
    for sentence in report.notes:
        print_line(sentence)


def _interval(report: Report) -> str:
    """How the intervals were computed, or why there are none."""
    whats = "clips" if report.clips else "recordings"
    if not report.settings.draws:
        return "Intervals are turned off (--bootstrap 0)."
    if report.recordings == 1:
        return f"There is only one of {whats}, so no interval can be estimated."
    return (
        f"In brackets: 95 % bootstrap intervals; {report.recordings:,} {whats} resampled with replacement, "
        f"{report.settings.draws:,} times."
    )


def _frames(frames: FrameCounts) -> str:
    text = f"frames with a label: {frames.valid:,}"
    if frames.seen is not None:
        share = f" ({frames.seen / frames.valid:.1%})" if frames.valid else ""
        text += f"; a face was seen in {frames.seen:,}{share}, {frames.filled:,} lie between such frames or at an end"
        text += f", {frames.beyond:,} come after the last analysed frame"
    return text if frames.scored == frames.valid else f"{text}; scored: {frames.scored:,}"


def _print_task(found: TaskScores) -> None:
    if isinstance(found, ClassScores):
        basic = found.without_other
        more = "" if basic is None else f"; macro F1 of the 7 classes without other {_with_interval(basic)}"
        print_line(f"accuracy {_with_interval(found.accuracy)}{more}")
        print_table(_classes(found))
    elif isinstance(found, UnitScores):
        print_table(_units(found))
    else:
        print_table(_numbers(found))


def _classes(found: ClassScores) -> Table:
    table = _table("class", "F1", "95 %", "precision", "recall", "frames")
    table.add_column("most often confused with")
    for k, (name, row) in enumerate(found.classes.items()):
        cells = (
            f"{row.f1.value:.4f}",
            _interval_of(row.f1),
            f"{row.precision:.4f}",
            f"{row.recall:.4f}",
            f"{row.support:,}",
        )
        table.add_row(name.replace("_", " "), *cells, _confused_with(k, found.confusion[k], list(found.classes), row))
    return table


def _confused_with(k: int, counts: Sequence[int], names: Sequence[str], row: ClassRow) -> str:
    """The most frequent wrong prediction for a class."""
    wrong = [(count, -j) for j, count in enumerate(counts) if j != k and count]
    if not wrong:
        return "-"
    count, j = max(wrong)
    return f"{names[-j].replace('_', ' ')} {count / row.support:.0%}"


def _units(found: UnitScores) -> Table:
    halves = all(row.half is not None for row in found.units.values())
    columns = ("unit", "F1", "95 %", "precision", "recall", "frames with it", "threshold")
    table = _table(*columns, *(["F1 at 0.5"] if halves else []))
    for name, row in found.units.items():
        threshold = "differs" if row.threshold is None else f"{row.threshold:g}"
        cells = [name, f"{row.f1.value:.4f}", _interval_of(row.f1), f"{row.precision:.4f}", f"{row.recall:.4f}"]
        cells += [f"{row.support:,}", threshold if halves else "-"]
        table.add_row(*cells, *([f"{row.half.value:.4f}"] if halves and row.half is not None else []))
    return table


def _numbers(found: RegressionScores) -> Table:
    table = _table("", _MEASURES[found.measure], "95 %")
    for name, score in found.columns.items():
        table.add_row(name.replace("_", " "), f"{score.value:z.4f}", _interval_of(score))
    return table


def _print_videos(report: Report) -> None:
    """Print the videos, worst first; F1 is the mean over the classes that occur in a video."""
    videos = sorted(report.videos, key=lambda video: (video.mean is None, video.mean or 0.0, video.video))
    figures = list(videos[0].scores)
    table = _table("video, worst first", "frames", "face seen", *(_FIGURES[name] for name in figures))
    for video in videos[:_VIDEOS]:
        valid = max(frames.valid for frames in video.frames.values())
        known = [frames.seen for frames in video.frames.values() if frames.seen is not None]
        seen = f"{max(known) / valid:.0%}" if known and valid else "-"
        table.add_row(video.video, f"{valid:,}", seen, *_cells(video.scores, figures))
    print_table(table)
    if len(videos) > _VIDEOS:
        print_line(f"and {len(videos) - _VIDEOS:,} more, which --json has as well.")


def _cells(scores: Mapping[str, float | None], figures: Sequence[str]) -> list[str]:
    values = (scores[name] for name in figures)
    return ["-" if value is None else f"{value:z.4f}" for value in values]


def _table(first: str, *others: str) -> Table:
    table = Table()
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _with_interval(score: Score) -> str:
    ends = _interval_of(score)
    return f"{score.value:z.4f}{f' ({ends})' if ends else ''}"


def _interval_of(score: Score) -> str:
    return "" if score.low is None or score.high is None else f"{score.low:z.3f} to {score.high:z.3f}"
