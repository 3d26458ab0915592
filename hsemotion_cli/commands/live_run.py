"""The work of ``hsemotion live``: options -> a source, outputs and a window -> a session -> a summary."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..analysis.video_summary import VideoSummary
from ..errors import HsemotionError, OutputError, UsageError, exit_code_of
from ..formats.output_names import output_names
from ..formats.ownership import check_outputs
from ..live.annotator import Live, LiveAnnotator
from ..live.in_turn import live_settings
from ..live.newest import DEFAULT, check_causal
from ..live.open_source import open_live, parse_size
from ..live.outputs import Datagrams, GrowingTable, JsonLines, Output, parse_address
from ..live.recorder import QUALITIES, Recorder
from ..live.session import watch
from ..live.window import Window, why_no_window
from ..postprocess.recipe import Recipe
from ..runtime.atomic_files import prepare_folder
from .annotate_view import print_summaries
from .console import note, print_json, say
from .live_options import RecordingOptions, SendingOptions, SourceOptions
from .options import FaceOptions, InputOptions, ModelOptions, OutputOptions, RunningOptions, SmoothingOptions
from .settings import chosen_settings
from .unread_options import refuse

T = TypeVar("T", Output, Recorder)

_EVERY = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options that only ``live`` has."""

    source: SourceOptions
    recording: RecordingOptions
    sending: SendingOptions
    window: str


def run_live(
    wishes: Wishes, faces: FaceOptions, models: ModelOptions, smoothing: SmoothingOptions,
    output: OutputOptions, running: RunningOptions,
) -> int:  # fmt: skip
    """Everything that ``hsemotion live`` does; returns the exit code."""
    _check(wishes)
    if to_stdout(wishes) and output.json:
        raise UsageError("--jsonl - and --json both write to stdout; choose one.")
    if smoothing.smooth is None and smoothing.recipe is None:
        smoothing = replace(smoothing, smooth=DEFAULT)
    settings = chosen_settings(InputOptions(), faces, models, smoothing, output, running)
    recording, sending = wishes.recording, wishes.sending
    name = recording.name or time.strftime("live-%Y%m%d-%H%M%S")
    growing, film = output.out / f"{name}.live.csv", output.out / f"{name}.mkv"
    names = [output.out / each for each in output_names(name, settings.formats).values()]
    places = [*names, growing, *([film] if recording.record else [])]
    if sending.jsonl is not None and not to_stdout(wishes):
        places += [sending.jsonl]
    _check_places(places, output.overwrite)
    check_causal(settings.recipe)
    address = None if sending.udp is None else parse_address(sending.udp)
    prepare_folder(output.out)
    wanted = wishes.source
    source = open_live(wanted.camera, None if wanted.size is None else parse_size(wanted.size), wanted.rate)
    live = Live(source, seconds=wanted.seconds)
    with ExitStack() as stack:
        stack.callback(live.capture.close)
        size = (live.origin.info.width, live.origin.info.height)
        annotator = LiveAnnotator(live_settings(settings, size), live)
        stack.enter_context(annotator)
        # Files are made, and sockets opened, when nothing else can fail any more.
        live.outputs = [_closed(stack, one) for one in _outputs(wishes, address, settings.recipe, growing)]
        live.recorder = recorder = (
            _closed(stack, Recorder(film, recording.record_quality)) if recording.record else None
        )
        summary = _watched(annotator, live, wishes, output, name)
    summary.outputs["growing"] = str(growing)
    if recorder is not None:
        summary.outputs["recording"] = str(film)
    return _ended(annotator, live, summary, output, table=not to_stdout(wishes))


def _check_places(places: list[Path], overwrite: bool) -> None:
    """Make sure that no file is replaced, not even one of ours: a session cannot be repeated as a video can.

    Named pipes and devices may be there.

    Raises:
        UsageError: a file is, and may not be replaced, or a name cannot be one.
    """
    there = [path for path in places if path.is_file() and path.stat().st_size]
    if there and not overwrite:
        raise UsageError(
            f"{there[0]}: already there, and a live session cannot be repeated; choose another --name or --out, or "
            "give --overwrite to replace."
        )
    check_outputs([path for path in places if not path.exists() or path.is_file()], overwrite)


def to_stdout(wishes: Wishes) -> bool:
    """Whether rows go to stdout, so that nothing else may."""
    return wishes.sending.jsonl is not None and str(wishes.sending.jsonl) == "-"


def _check(wishes: Wishes) -> None:
    seconds, rate, name = wishes.source.seconds, wishes.source.rate, wishes.recording.name
    quality = wishes.recording.record_quality
    if wishes.window not in ("auto", "none"):
        raise UsageError(f"--window {wishes.window}: choose auto or none.")
    if quality not in QUALITIES:
        raise UsageError(f"--record-quality {quality}: choose from {', '.join(QUALITIES)}.")
    if not wishes.recording.record:
        refuse(["record-quality"], "it is the quality of --record, which is not given")
    if seconds is not None and not 0 < seconds < math.inf:
        raise UsageError(f"--seconds {seconds:g}: give a number above 0.")
    if rate is not None and not 0 < rate < math.inf:
        raise UsageError(f"--rate {rate:g}: give frames per second, above 0.")
    if name is not None and (not name or Path(name).name != name):
        raise UsageError(f"--name {name}: give a name without folders; --out chooses the folder.")


def _closed(stack: ExitStack, one: T) -> T:
    """An output or recorder that is closed at the end of a stack."""
    stack.callback(one.close)
    return one


def _outputs(wishes: Wishes, address: tuple[str, int] | None, recipe: Recipe, growing: Path) -> Iterator[Output]:
    """What rows are sent to, the growing table last."""
    if address is not None:
        yield Datagrams(address)
    if wishes.sending.lsl:
        from ..live.lab_streams import LabStreams

        yield LabStreams(wishes.recording.name or "hsemotion", recipe)
    jsonl = wishes.sending.jsonl
    if to_stdout(wishes):
        yield JsonLines(sys.stdout.buffer, "stdout", owned=False)
    elif jsonl is not None:
        try:
            file = jsonl.open("wb", buffering=0)
        except OSError as error:
            raise OutputError(f"--jsonl {jsonl}: cannot be written ({error.strerror or error}).") from error
        yield JsonLines(file, str(jsonl), owned=True)
    yield GrowingTable(growing)


def _watched(annotator: LiveAnnotator, live: Live, wishes: Wishes, output: OutputOptions, name: str) -> VideoSummary:
    """Run the session, with a window where there may be one."""
    window = None
    quiet = output.quiet or output.json
    if wishes.window == "auto":
        if problem := why_no_window():
            if not quiet:
                say(f"no window is shown: {problem}.")
        else:
            window = Window(f"hsemotion live: {live.origin.path.name}", lambda: _status(live))
            live.show = window.show
    last = time.monotonic()

    def progress(_stage: str, done: int, _faces: int, _total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            note(f"{name}: {_status(live)}", shown=not quiet)

    try:
        return watch(lambda: annotator.run(output.out, name, progress), annotator.stop, window)
    finally:
        if window is not None:
            window.destroy()


def _status(live: Live) -> str:
    p50, p95 = live.latency.recent()
    return (
        f"{live.latency.rate():.1f} frames/s, latency {p50:.0f} ms (95 %: {p95:.0f} ms), {live.capture.dropped} of "
        f"{live.capture.captured} frames dropped"
    )


def _ended(annotator: LiveAnnotator, live: Live, summary: VideoSummary, output: OutputOptions, table: bool) -> int:
    """Print what became of the session, and return the exit code."""
    figures, capture = live.latency.summary(), live.capture
    if output.json:
        extra = {"captured": capture.captured, "dropped": capture.dropped, "latency_ms": figures}
        print_json({**asdict(summary), "live": extra})
    elif not output.quiet:
        if table:
            print_summaries([summary], verbose=True)
        say(
            f"frames: {capture.captured} arrived, {capture.dropped} dropped; latency: {figures['p50']} ms (median), "
            f"{figures['p95']} ms (95 %), {figures['worst']} ms (worst)."
        )
    failures: list[HsemotionError] = [*annotator.problems]
    if summary.problem:
        failures.append(OutputError(summary.problem))
    for failure in failures:
        say(str(failure))
    return exit_code_of(failures, some_succeeded=True)
