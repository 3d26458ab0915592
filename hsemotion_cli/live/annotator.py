"""A live source -> rows of each frame at once, and at the end the same results as for a video.

``LiveAnnotator`` is ``pipeline.Annotator`` with another way through its stages: one frame at a time, the newest first,
and each frame's rows are handed on before the next frame is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis.video_summary import VideoSummary
from ..domain import Frame, Image, Reading
from ..errors import OutputError
from ..faces.track_embeddings import TrackEmbeddings
from ..formats.schema import MONOTONIC, WALL_TIME
from ..media.live_source import Captured, LiveSource, Stamp
from ..media.paced_file import PacedFile
from ..media.video import Source
from ..pipeline import Annotator, Progress, Settings
from ..postprocess.refine import Affect
from ..runtime.executor import SerialExecutor
from ..runtime.stage_timer import StageClock
from ..timeline import Timeline
from .capture import Capture
from .in_turn import in_turn
from .latency import Latency
from .outputs import Output, Row, rows_of
from .recorder import Recorder

Shown = Callable[[Image, Sequence[Row]], None]
"""Takes each image with its rows, to be shown."""


_THREADS = 1
"""Threads that analyse. Two threads of one network wait for each other longer than they compute: with one face at 720p
they took 59 ms of CPU for each frame, one takes 30 (``scripts/measure_live.py``). Finding the faces of one frame while
models score those of the frame before gained no frames, and made each 20 to 40 % later. The other cores have capture,
recording and the window to do."""


@dataclass
class Live:
    """What a live session does besides annotating.

    Attributes:
        source: its frames.
        outputs: get the rows of each frame.
        recorder: gets each analysed image, or None.
        show: likewise, with its rows; or None.
        seconds: after which the session ends, or None.
    """

    source: LiveSource | PacedFile
    outputs: Sequence[Output] = ()
    recorder: Recorder | None = None
    show: Shown | None = None
    seconds: float | None = None
    capture: Capture = field(init=False)
    latency: Latency = field(init=False, default_factory=Latency)

    def __post_init__(self) -> None:
        self.capture = Capture(self.source, self.seconds)

    @property
    def origin(self) -> Source:
        """The source as the rest of the program knows it."""
        return self.source.source if isinstance(self.source, PacedFile) else self.source


class LiveAnnotator(Annotator):
    """Annotates one live source; use it as a context manager, and call ``run`` once.

    Args:
        settings: of ``live_settings``.
        live: the source, and where its rows go.

    Attributes:
        problems: of outputs and the recording, which then end before the session.
    """

    def __init__(self, settings: Settings, live: Live) -> None:
        super().__init__(settings, lambda _cores: SerialExecutor(_THREADS))
        self._live = live
        self.problems: list[OutputError] = []
        self._stamps: list[Stamp] = []

    def run(self, folder: Path, name: str, progress: Progress | None = None) -> VideoSummary:
        """Annotate until the source ends, its time is over, or ``stop`` is called; then write ``folder / name.*``.

        Raises:
            InputError: no frame arrived.
            OutputError: a result could not be written.
        """
        return self.annotate_source(self._live.origin, folder, name, progress)

    def stop(self) -> None:
        """End the session; from any thread."""
        self._live.capture.stop()

    def readings(
        self, source: Source, clock: StageClock, progress: Progress, tracks: TrackEmbeddings | None = None
    ) -> Generator[Reading, None, None]:
        """See ``Annotator.readings``; the rows of each frame are handed on before the next frame is taken."""
        live, faces = self._live, 0
        self._outputs, self._recorder = list(live.outputs), live.recorder
        with ExitStack() as stack:
            for output in live.outputs:
                stack.callback(output.close)
            if live.recorder is not None:
                stack.callback(self._guarded, live.recorder.close, live.recorder)
            stack.enter_context(live.capture)
            taken: deque[Captured] = deque()
            frames, size = clock.stage("wait", self._frames(taken)), (source.info.width, source.info.height)
            for reading, affect in in_turn(self, frames, size, clock, lambda: _columns(taken[0].stamp)):
                self._hand_on(affect, taken.popleft())
                faces += len(reading.faces)
                progress("annotate", len(self._stamps), faces, None)
                yield reading

    def _frames(self, taken: deque[Captured]) -> Iterator[Frame]:
        """The newest frames; each is appended to ``taken`` as well."""
        for number, one in enumerate(self._live.capture):
            frame = one.frame
            if self._live.recorder is not None:  # numbers and times are those of the recording
                frame = replace(frame, index=number, time=round(frame.time, 3))
            taken.append(replace(one, frame=frame))
            yield frame

    def _hand_on(self, affect: Affect, captured: Captured) -> None:
        live, stamp, image = self._live, captured.stamp, captured.frame.image
        self._stamps.append(stamp)
        rows = rows_of(affect)
        for output in list(self._outputs):
            self._guarded(lambda output=output: output.send(rows, affect, stamp), output)  # type: ignore[misc]
        live.latency.add((Stamp.now().monotonic - stamp.monotonic) / 1e6)
        if live.show is not None:
            live.show(image, rows)
        recorder = self._recorder
        if recorder is not None:
            self._guarded(lambda: recorder.add(image, captured.frame.time, stamp), recorder)

    def _guarded(self, work: Callable[[], None], whose: Output | Recorder) -> None:
        """Hand something on; what fails once is left out from then on, and the session goes on without it."""
        try:
            work()
        except BrokenPipeError:  # the reader of stdout has seen enough
            self.stop()
        except OutputError as error:
            self.problems.append(error)
            self._outputs = [output for output in self._outputs if output is not whose]
            if whose is self._recorder:
                self._recorder = None

    def with_extra(self, timeline: Timeline, source: Source) -> Timeline:
        """See ``Annotator.with_extra``: when each frame arrived."""
        wall = np.array([stamp.wall_text for stamp in self._stamps])
        monotonic = np.array([stamp.monotonic for stamp in self._stamps], np.int64)
        return replace(timeline, extra={**timeline.extra, WALL_TIME.name: wall, MONOTONIC.name: monotonic})

    def description(self, source: Source, timeline: Timeline, fleeting: int) -> dict[str, Any]:
        """See ``Annotator.description``, with what happened while the source went on."""
        live = self._live
        recording = None
        if live.recorder is not None:
            recording = {"file": live.recorder.path.name, "quality": live.recorder.quality}
        return {
            **super().description(source, timeline, fleeting),
            "live": {
                "captured": live.capture.captured,
                "dropped": live.capture.dropped,
                "latency_ms": live.latency.summary(),
                "paced_file": isinstance(live.source, PacedFile),
                "recording": recording,
                "outputs": [output.description for output in live.outputs],
            },
        }


def _columns(stamp: Stamp) -> dict[str, object]:
    """The optional columns of a frame."""
    return {WALL_TIME.name: stamp.wall_text, MONOTONIC.name: stamp.monotonic}
