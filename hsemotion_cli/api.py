"""The Python interface: annotate videos and images without the command line, with the same results.

``import hsemotion_cli as hs`` gives these names as ``hs.annotate`` and so on, and loads nothing before one is used.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict, Unpack

from .annotation import Annotation, Origin, Words, load, of_analysis, recorded, threshold_words, words
from .errors import HsemotionWarning, UsageError
from .faces.tracking import parse_faces
from .formats import sidecar, table
from .formats.people import read_people
from .live.in_turn import TimedImages, in_turn, live_settings
from .live.newest import DEFAULT, check_causal
from .live.outputs import rows_of
from .media.arrays import ArraySource
from .media.discovery import discover, parse_time
from .media.photos import is_photo
from .media.source import DecodeOptions, Sampling
from .media.video import Source, open_source
from .models.predict import InferenceOptions
from .pipeline import Annotator, Progress, Settings
from .postprocess.model_choice import choose
from .runtime.executor import SerialExecutor
from .runtime.stage_timer import StageClock

__all__ = ["Annotation", "Session", "annotate", "annotate_image", "annotate_stream", "load", "rows"]

Rows = Generator[dict[str, Any], None, None]
"""Rows of a table, column name -> value; ``close`` stops the analysis."""

_OWN_LINE = 3
"""Frames of the stack from a warning to the line of the user's program."""


class ImageOptions(TypedDict, total=False):
    """What can be chosen about an image. Names, meanings and defaults are those of the command line.

    Attributes:
        model: one model, or two to blend ("a,b"); also FILE.safetensors or NAME=FILE.
        recipe: TOML, JSON, or a table's sidecar.
        head: heads made by ``train heads``.
        blend: weight of the first of two models, for all tasks or task -> weight.
        thresholds: action unit -> probability from which it is present, or ["AU12=0.4"].
        faces: "all", "largest", or a number of faces to keep in each frame.
        rotate: "auto" turns and mirrors as the file asks; degrees counter-clockwise, 0 to 270, replace that.
        region: x, y, width, height in pixels; only this part is analysed.
        crops: the images are faces already; nothing is detected.
        detector: "landmarks", "fast" or "mediapipe".
        min_face: pixels of the smallest face to detect.
        det_threshold: lowest probability of being a face that counts.
        fov: degrees that the longer side of the image shows, for head poses and gaze.
        backend: "auto", "onnx", "openvino" or "torch".
        device: "auto", "cpu" or "cuda".
        precision: "fp32", "bf16" or "fp16".
        threads: CPU cores to use; None for all.
        offline: never download a model.
    """

    model: str | None
    recipe: str | Path | None
    head: Sequence[str | Path]
    blend: Words
    thresholds: Sequence[str] | Mapping[str, float]
    faces: str | int
    rotate: str | int
    region: tuple[int, int, int, int] | None
    crops: bool
    detector: str
    min_face: int | None
    det_threshold: float
    fov: float
    backend: str
    device: str
    precision: str
    threads: int | None
    offline: bool


class Options(ImageOptions, total=False):
    """What can be chosen about a video.

    Attributes:
        smooth: "none", "gaussian:0.2" or "box:0.5", for all tasks or task -> filter.
        max_gap: seconds without a face across which nothing is smoothed.
        interpolate: seconds; gaps up to this long are filled with interpolated rows.
        gate: where the network itself is surer of an expression than this, it counts instead of its head.
        start, end: seconds, or "1:30.5".
        fps: at most this many frames per second.
        every: every n-th frame.
        image_fps: frame rate of a folder of numbered images.
        stream: video stream of a file with several: its number, from 0, or its language.
        video_fps: frame rate that replaces the time stamps of a video.
        deinterlace: "auto", "on" or "off".
        clock: add a column with date and time of day.
        detect_every: detect faces in every n-th frame and interpolate between.
        stride: run networks on every n-th frame and interpolate between.
        batch_size: faces per inference batch; affects speed only.
        audio_head: head trained on features of the sound.
        audio_weights: weights of wav2vec 2.0 or WavLM that it belongs to.
        identify: link face ids of one person across cuts and absences; needs the whole video (biometric).
        people: CSV file with names of face ids, given by hand.
        gallery: folder of people to recognise.
    """

    smooth: Words
    max_gap: float | None
    interpolate: float | None
    gate: float | str | None
    start: float | str | None
    end: float | str | None
    fps: float | None
    every: int
    image_fps: float
    stream: str | int | None
    video_fps: float | None
    deinterlace: str
    clock: bool
    detect_every: int
    stride: int
    batch_size: int | None
    audio_head: str | Path | None
    audio_weights: str | None
    identify: bool
    people: str | Path | None
    gallery: str | Path | None


def settings_of(
    *,
    model: str | None = None, recipe: str | Path | None = None, head: Sequence[str | Path] = (), blend: Words = None,
    thresholds: Sequence[str] | Mapping[str, float] = (), faces: str | int = "all", rotate: str | int = "auto",
    region: tuple[int, int, int, int] | None = None, crops: bool = False,
    detector: str = "landmarks", min_face: int | None = None, det_threshold: float = 0.75, fov: float = 60.0,
    backend: str = "auto", device: str = "auto", precision: str = "fp32", threads: int | None = None,
    offline: bool = False, smooth: Words = None, max_gap: float | None = None, interpolate: float | None = None,
    start: float | str | None = None, end: float | str | None = None, fps: float | None = None, every: int = 1,
    image_fps: float = 30.0, stream: str | int | None = None, video_fps: float | None = None,
    deinterlace: str = "auto", clock: bool = False, detect_every: int = 1, stride: int = 1,
    batch_size: int | None = None, audio_head: str | Path | None = None, audio_weights: str | None = None,
    identify: bool = False, people: str | Path | None = None, gallery: str | Path | None = None,
    gate: float | str | None = None,
) -> Settings:  # fmt: skip
    """The settings that ``Options`` describe; these are the defaults of the command line.

    Raises:
        UsageError: options that make no sense.
        ModelUnavailable: a head or a trained file that cannot be used.
    """
    heads, listening = [Path(each) for each in head], None if audio_head is None else Path(audio_head)
    chosen = choose(
        model, None if recipe is None else Path(recipe), heads, listening, audio_weights, detector, words(blend)
    )
    for sentence in chosen.warnings:
        warnings.warn(sentence, HsemotionWarning, stacklevel=_OWN_LINE + 1)
    return Settings(
        recipe=chosen.recipe.changed(
            blend=words(blend),
            smooth=words(smooth),
            max_gap=max_gap,
            interpolate=interpolate,
            thresholds=threshold_words(thresholds),
            gate=words(gate),
        ),
        faces=parse_faces(str(faces)),
        sampling=Sampling(_seconds(start, "--start"), _seconds(end, "--end"), fps, every),
        crops=crops,
        decoding=DecodeOptions(
            image_fps, None if stream is None else str(stream), video_fps, deinterlace, str(rotate), region, clock
        ),
        detector=detector,
        detect_every=detect_every,
        stride=stride,
        min_face=min_face,
        threshold=det_threshold,
        fov=fov,
        batch_size=batch_size,
        running=InferenceOptions(backend, device, precision, threads, offline, chosen.files, heads=chosen.heads),
        audio_head=chosen.audio_head,
        audio_weights=audio_weights,
        identify=identify,
        names=() if people is None else tuple(read_people(Path(people))),
        gallery=None if gallery is None else Path(gallery),
    )


class StreamOptions(ImageOptions, total=False):
    """What can be chosen about a stream of images.

    Attributes:
        smooth: "none" or "causal:0.2", for all tasks or task -> filter; "causal:0.2" unless this or a recipe chooses.
        max_gap: seconds without a face across which nothing is smoothed.
    """

    smooth: Words
    max_gap: float | None


class Session:
    """Models that are loaded once, for one source after another; use it as a context manager.

    Args:
        options: see ``Options``.

    Raises:
        UsageError: options that make no sense.
        ModelUnavailable: weights are missing or damaged.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        settings = settings_of(**options)
        defaults = inspect.signature(settings_of).parameters
        given = {name: value for name, value in options.items() if value != defaults[name].default}
        self._annotator = Annotator(replace(settings, options=recorded(given)))
        self._running = threading.Lock()
        self._open = False

    def __enter__(self) -> Session:
        self._annotator.__enter__()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._annotator.__exit__(kind, error, trace)

    def annotate(self, source: str | Path, *, progress: Progress | None = None) -> Annotation:
        """As the function ``annotate``."""
        path, name = _one_source(source, self._annotator.settings.crops)
        return self._annotated(open_source(path, self._annotator.settings.decoding), name, progress)

    def annotate_image(self, image: object) -> Annotation:
        """As the function ``annotate_image``."""
        source, name = _image_source(image, self._annotator.settings.decoding)
        return self._annotated(source, name, None)

    def rows(self, source: str | Path, *, progress: Progress | None = None) -> Rows:
        """As the function ``rows``; the session takes no other source until the iterator is finished or closed."""
        path, _ = _one_source(source, self._annotator.settings.crops)
        return self._rows(open_source(path, self._annotator.settings.decoding), progress)

    def _rows(self, source: Source, progress: Progress | None) -> Rows:
        frames = 0
        with self._alone(source):
            for affect in self._annotator.frame_by_frame(source, progress):
                frames += 1
                for block in table.blocks(affect):
                    for values in zip(*block.values(), strict=True):
                        yield dict(zip(block, values, strict=True))
        content = {"frames": {"analysed": frames, **sidecar.report(source.report)}}
        if problem := sidecar.problem_of(str(source.path), content):
            warnings.warn(problem, HsemotionWarning, stacklevel=_OWN_LINE)

    def _annotated(self, source: Source, name: str, progress: Progress | None) -> Annotation:
        settings, clock = self._annotator.settings, StageClock()
        with self._alone(source):
            done = self._annotator.analyse(source, clock, progress, name)
        origin = (
            None if isinstance(source, ArraySource) else Origin(source.path, replace(settings.decoding, region=None))
        )
        annotation = of_analysis(name, done, clock.timing(), origin)
        if annotation.problem:
            warnings.warn(annotation.problem, HsemotionWarning, stacklevel=_OWN_LINE + 1)
        return annotation

    @contextmanager
    def _alone(self, source: Source) -> Generator[None, None, None]:
        """One source at a time, and only while the session is open."""
        if not self._open:
            raise UsageError(f"{source.path}: the session is not open; use it as: with hs.Session() as session.")
        if not self._running.acquire(blocking=False):
            raise UsageError(
                f"{source.path}: the session is still busy with another source; finish or close its rows first, or "
                "use a second session."
            )
        try:
            yield
        finally:
            self._running.release()


def annotate(source: str | Path, *, progress: Progress | None = None, **options: Unpack[Options]) -> Annotation:
    """Annotate one video, image, or folder of images; the same numbers as ``hsemotion annotate``, nothing is written.

    Args:
        source: path of it.
        progress: called with (stage, frames done, faces so far, frames in all or None).
        options: see ``Options``.

    Raises:
        InputError: the source cannot be used.
        UsageError: options that make no sense, a folder with several sources, or no frame in the chosen part.
        ModelUnavailable: weights are missing or damaged.

    Warns:
        HsemotionWarning: the source could not be read to its end, or models or heads may not be as expected.
    """
    with Session(**options) as session:
        return session.annotate(source, progress=progress)


def rows(source: str | Path, *, progress: Progress | None = None, **options: Unpack[Options]) -> Rows:
    """The rows of a table one by one, each as soon as its frame is analysed; a row also for a frame without a face.

    Values are those of the table without smoothing and interpolation, which need later frames: ``smooth`` and
    ``interpolate`` change nothing here. For the same reason, short tracks that ``annotate`` leaves out are included.

    Args:
        source: path of a video, image, or folder of images.
        progress, options: as for ``annotate``.

    Returns:
        an iterator over column name -> int, float, str, or None for an empty cell. Its ``close`` stops the analysis.

    Raises:
        HsemotionError: as ``annotate``; problems with options or the file at once, others while it runs.
    """
    session = Session(**options)
    settings = session._annotator.settings
    path, _ = _one_source(source, settings.crops)
    return _rows(session, open_source(path, settings.decoding), progress)


def annotate_stream(
    frames: Iterable[tuple[float, object]], **options: Unpack[StreamOptions]
) -> Generator[list[dict[str, Any]], None, None]:
    """Annotate images as they come, as ``hsemotion live`` does: for each image, its rows before the next is asked for.

    Nothing looks ahead, and no image is left out: whoever gives the images decides which. The values are those of the
    table that ``annotate`` makes of a lossless video of the images with the same recipe, ``blink`` and ``speaking``
    excepted, which are judged by the past only.

    Args:
        frames: pairs of a time in seconds, rising, and an image: uint8, RGB (height, width, 3) or grey. OpenCV gives
            BGR: convert it with ``image[..., ::-1]``.
        options: see ``StreamOptions``. Unless ``min_face`` is given, faces narrower than 1/12 of the image's longer
            side are not searched for.

    Returns:
        an iterator over lists of rows, column name -> value; one row without a face for an image of nobody.

    Raises:
        UsageError: options that make no sense or need later images, an image that cannot be used, or a time that is not
            after the one before. Options are checked at once, the rest while it runs.
        ModelUnavailable: weights are missing or damaged.
    """
    if options.get("smooth") is None and options.get("recipe") is None:
        options["smooth"] = DEFAULT
    settings = settings_of(**options)
    check_causal(settings.recipe)
    return _streamed(frames, settings)


def _streamed(
    frames: Iterable[tuple[float, object]], settings: Settings
) -> Generator[list[dict[str, Any]], None, None]:
    images = TimedImages(frames, settings)
    cores = settings.running.threads or 1  # more threads of one network mostly wait for each other
    with Annotator(live_settings(settings, images.size), lambda _all: SerialExecutor(cores)) as annotator:
        for _, affect in in_turn(annotator, images.frames(), images.size, StageClock()):
            yield rows_of(affect)


def annotate_image(image: object, **options: Unpack[ImageOptions]) -> Annotation:
    """Annotate a single image.

    Args:
        image: uint8 array, RGB (height, width, 3) or grey (height, width); or the path of an image file. OpenCV gives
            BGR: convert it with ``image[..., ::-1]``.
        options: see ``ImageOptions``.

    Raises:
        UsageError: an array of another type or shape; the message says how to convert it. Or options that make no
            sense.
        InputError: the file cannot be read as an image.
        ModelUnavailable: weights are missing or damaged.
    """
    with Session(**options) as session:
        return session.annotate_image(image)


def _rows(session: Session, source: Source, progress: Progress | None) -> Rows:
    with session:
        yield from session._rows(source, progress)


def _one_source(source: str | Path, crops: bool) -> tuple[Path, str]:
    """The source at a path, and the stem of its results, as for the command line."""
    path = Path(source)
    found = discover([path], crops=crops)
    if len(found.jobs) > 1:
        raise UsageError(
            f"{path}: a folder with {len(found.jobs)} sources, such as {found.jobs[0].path.name}; annotate them one by "
            "one in a Session, or with hsemotion batch."
        )
    for passed, reason in found.passed_over:
        warnings.warn(f"{passed}: skipped: {reason}", HsemotionWarning, stacklevel=_OWN_LINE + 1)
    return found.jobs[0].path, found.jobs[0].name


def _image_source(image: object, decoding: DecodeOptions) -> tuple[Source, str]:
    """A single image as a source, and the stem of its results."""
    if not isinstance(image, str | Path):
        source = ArraySource([image], name="image", options=decoding)
        return source, source.path.name
    path = Path(image)
    if path.exists() and not is_photo(path):
        raise UsageError(f"{path}: not an image; use annotate.")
    return open_source(path, decoding), path.stem


def _seconds(value: float | str | None, option: str) -> float | None:
    return parse_time(value, option) if isinstance(value, str) else value


def _show_options(function: Callable[..., Any], kind: type) -> None:
    """Let ``help`` and editors show the single options with their defaults instead of ``**options``."""
    defaults = inspect.signature(settings_of).parameters
    own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    shown = [parameter for name, parameter in defaults.items() if name in kind.__annotations__]
    signature = inspect.signature(function).replace(parameters=[*own, *shown])
    function.__signature__ = signature  # type: ignore[attr-defined]


for _function, _kind in (
    (annotate, Options),
    (rows, Options),
    (annotate_image, ImageOptions),
    (annotate_stream, StreamOptions),
):
    _show_options(_function, _kind)
