"""The wiring for one video: path -> table, raw scores, sidecar, overlay."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .analysis.video_summary import VideoSummary, summarise
from .analysis.who import described, identified, identity_conditions
from .domain import Frame, Reading, Sighting
from .errors import UsageError
from .faces import identity_network, interpolation, tracking
from .faces.blazeface_detector import BlazeFaceDetector
from .faces.crops import check_recipe
from .faces.detector import (
    BLOCK,
    THRESHOLD,
    FaceDetector,
    block_size,
    blocks,
    detect_faces,
    detect_in_block,
    detect_in_turn,
    smallest_tiled_face,
)
from .faces.head_pose import DEFAULT_FOV, check_fov
from .faces.measures import Optics
from .faces.mediapipe_detector import MediaPipeDetector
from .faces.remarks import remarks
from .faces.track_embeddings import TrackEmbeddings
from .formats import sidecar, table
from .formats.gallery import read_gallery
from .formats.output_names import output_names
from .formats.people import PersonName, names_for
from .formats.results import write_results
from .formats.schema import SCHEMA_VERSION, WALL_TIME
from .media.photos import PhotoFolder
from .media.source import DecodeOptions, Sampling
from .media.video import Source, open_source
from .media.wall_clock import wall_clock_note, wall_times
from .models import frame_skipping, joint, predict, registry, temporal_stream
from .models.audio import AudioModel, AudioScores
from .models.devices import is_gpu
from .models.heads import Head
from .models.temporal_stream import rate_note
from .models.wav2vec import Wav2Vec2
from .postprocess.recipe import Recipe
from .postprocess.refine import Affect, photo_note, refine
from .runtime import resources
from .runtime.atomic_files import atomic_file, prepare_folder
from .runtime.executor import Executor, Run, ThreadedExecutor
from .runtime.stage_timer import StageClock
from .timeline import Timeline, gather, without_fleeting

Progress = Callable[[str, int, int, int | None], None]
"""Called with (stage, frames done, faces so far, frames in all if they are known)."""

DETECTORS: dict[str, type[FaceDetector]] = {
    "landmarks": FaceDetector,
    "fast": BlazeFaceDetector,
    "mediapipe": MediaPipeDetector,
}
"""What ``--detector`` may be."""

_PICTURES = 64 << 20
"""Bytes of decoded images that may wait for a detector."""

_CPU_BATCH, _GPU_BATCH = 8, 128
"""Faces that are scored together: a few, so that all cores have work soon; many, so that a GPU has enough."""

_MOST_DETECTORS = 8
"""Detectors that work on one video, however many cores there are: each takes some 30 MB."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the user can choose about annotating.

    Attributes:
        recipe: models, blend, smoothing, thresholds.
        formats: table formats to write.
        overlay: also write the overlay video.
        faces: faces kept in each frame, the largest; None keeps all.
        sampling: frames analysed.
        crops: the images are cropped faces; nothing is detected.
        decoding: how sources are decoded.
        detector: of ``DETECTORS``.
        detect_every: frames from one search for faces to the next; those between are interpolated.
        stride: frames from one look of the networks at a face to the next; those between are interpolated.
        min_face: pixels of the smallest face that must be found, or None.
        fov: degrees that the longer side of the image shows, for head poses.
        threshold: detector confidence from which a candidate counts.
        batch_size: faces scored together; None for what suits the device.
        running: what runs networks, and where.
        audio_head: a head on sound, where the recipe blends with it.
        audio_weights: folder or name of what that head, or a joint head, stands on; see ``models.wav2vec.Wav2Vec2``.
        identify: link face ids that are the same person (``analysis.who``).
        names: of face ids, given by hand.
        gallery: folder of people with names to recognise, or None.
        options: option -> its value and where that comes from, for the sidecar; nothing else depends on it.
    """

    recipe: Recipe
    formats: tuple[str, ...] = ("csv",)
    overlay: bool = False
    faces: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    crops: bool = False
    decoding: DecodeOptions = field(default_factory=DecodeOptions)
    detector: str = "landmarks"
    detect_every: int = 1
    stride: int = 1
    min_face: int | None = None
    threshold: float = THRESHOLD
    fov: float = DEFAULT_FOV
    batch_size: int | None = None
    running: predict.InferenceOptions = field(default_factory=predict.InferenceOptions)
    audio_head: Head | None = None
    audio_weights: str | None = None
    identify: bool = False
    names: tuple[PersonName, ...] = ()
    gallery: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.recipe.models
        sounds = tuple(name for name in names if name in registry.SOUNDS)
        if sounds != (() if self.audio_head is None else (self.audio_head.base.model,)) or sounds == names:
            raise UsageError(
                f"the models are {' and '.join(names)}: {' and '.join(sounds) or 'sound'} needs a model for faces "
                "beside it, and the head that --audio-head names."
            )
        if self.audio_head is not None and any(head.base.sound for head in self.running.heads):
            raise UsageError(
                f"--audio-head {self.audio_head.name}: the joint head in --head already uses the sound; "
                "leave one of them out."
            )
        if self.recipe.gate is not None and not any(map(_replaces_expression, self.running.heads)):
            raise UsageError(
                f"--gate {self.recipe.gate:g}: it chooses between the expressions of a network and those of its head, "
                "and there is no such head; give one with --head, or --gate none."
            )
        if self.stride > 1 and any(head.temporal for head in self.running.heads):
            raise UsageError(f"--stride {self.stride}: a temporal head needs every frame; leave it out.")
        if self.detector not in DETECTORS:
            raise UsageError(f"unknown detector {self.detector!r}: choose from {', '.join(DETECTORS)}.")
        check_fov(self.fov)
        interpolation.check(self.detect_every)
        frame_skipping.check(self.stride)
        if self.crops and self.detect_every > 1:
            raise UsageError(f"--detect-every {self.detect_every}: with --crops nothing is detected; leave it out.")
        if self.identify and self.crops:
            raise UsageError("--identify: with --crops all images of a folder show one person; leave it out.")
        if self.gallery is not None:
            if not self.identify:
                raise UsageError("--gallery: needs --identify; give both.")
            read_gallery(self.gallery)  # before the first frame
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size}: give 1 or more.")


def _replaces_expression(head: Head) -> bool:
    """Whether a head takes the place of a network's own expressions."""
    return "expression" in head.parts and "expression" in registry.card(head.base.model).tasks


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Everything that is known of one annotated source.

    Attributes:
        timeline: the raw scores.
        affect: the rows of the table.
        content: of the sidecar, except names of files and timing.
    """

    timeline: Timeline
    affect: Affect
    content: dict[str, Any]


class Annotator:
    """Detectors and models, loaded once, for one video after another; use it as a context manager.

    Args:
        settings: what to do.
        executor: makes the executor, given the number of cores. ``SerialExecutor`` has the same results, and is what
            ``hsemotion bench`` compares with.

    Raises:
        ModelUnavailable: weights are missing or damaged.
        UsageError: the settings ask for what the models or this machine cannot do.
    """

    def __init__(self, settings: Settings, executor: Callable[[int], Executor] = ThreadedExecutor) -> None:
        self.settings = settings
        self.cards = {name: registry.card(name) for name in settings.recipe.models if name not in registry.SOUNDS}
        if settings.detector == "fast":
            for name, card in self.cards.items():
                if card.network is None:
                    raise UsageError(f"--detector fast: {name} reads landmarks, which it does not find; use networks.")
        crops = {card.crop for card in self.cards.values() if card.crop}
        self.crops = sorted(crops | ({identity_network.CROP} if settings.identify else set()))
        for recipe in self.crops:
            check_recipe(recipe)
        self._temporal_heads = {head.base.model: head for head in settings.running.heads if head.temporal}
        self._joint_heads: dict[str, list[Head]] = {}
        for head in settings.running.heads:
            if head.base.sound:
                self._joint_heads.setdefault(head.base.model, []).append(head)
        self._executor = executor(settings.running.threads or resources.cores())

    def __enter__(self) -> Annotator:
        settings = self.settings
        with ExitStack() as stack:
            if self._executor.threads == 1:
                stack.callback(cv2.setNumThreads, cv2.getNumThreads())  # restores the caller's setting
                cv2.setNumThreads(1)  # OpenCV's own threads would compete with the other stages
            running = replace(settings.running, threads=self._executor.threads)
            self.models = predict.load_all(self.cards.values(), running)
            self.listener = _listener(settings) if settings.audio_head is not None else None
            self._joint_listener = _joint_listener(settings) if self._joint_heads else None
            shapes = any(card.network is None for card in self.cards.values())

            def detector() -> FaceDetector:
                made = DETECTORS[settings.detector](settings.min_face, settings.threshold, shapes)
                return stack.enter_context(made)

            self._detectors = self._executor.workers(detector, most=_MOST_DETECTORS)
            # Frames between two detections are interpolated in the tracking thread.
            self._spare_detector = detector() if settings.detect_every > 1 else None
            # A GPU has two callers, so that one prepares faces while the other's are computed.
            self._gpu = any(is_gpu(model.device) for model in self.models.values())
            callers = {"least": 2, "most": 2} if self._gpu else {}
            self._readers = self._executor.workers(lambda: self._read, **callers)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def conditions(self) -> dict[str, Any]:
        """What results depend on besides recipe, models and source, as recorded in the sidecar."""
        settings = self.settings
        detector = {
            "networks": dict(DETECTORS[settings.detector].NETWORKS),
            "mode": "image",
            "kind": settings.detector,
            "used": not settings.crops,
            "every": settings.detect_every,
            "threshold": settings.threshold,
            "min_face": settings.min_face,
            "faces_kept": settings.faces,
            "fov": None if settings.crops else settings.fov,
        }
        # The rate of numbered images is in the source's clock.
        decoding = {k: v for k, v in asdict(settings.decoding).items() if k != "image_fps"}
        decoding["region"] = decoding["region"] and list(decoding["region"])  # as JSON gives it back
        heard = {} if self._joint_listener is None else {"joint_sound": self._joint_listener.provenance}
        return {
            **heard,
            **identity_conditions(settings.identify, settings.names, settings.gallery),
            "sampling": {**asdict(settings.sampling), "network_stride": settings.stride},
            "decoding": decoding,
            "detector": detector,
        }

    def annotate(self, path: Path, folder: Path, name: str, progress: Progress | None = None) -> VideoSummary:
        """Annotate one source and write ``folder / name.*``.

        The table and the raw scores are complete before the overlay is begun, and stay if that fails.

        Raises:
            InputError: the source cannot be used.
            UsageError: no frame of it lies in the chosen part.
            OutputError: a result could not be written.
        """
        return self.annotate_source(open_source(path, self.settings.decoding), folder, name, progress)

    def annotate_source(
        self, source: Source, folder: Path, name: str, progress: Progress | None = None
    ) -> VideoSummary:
        """The same for a source that is open already."""
        clock, settings = StageClock(), self.settings
        prepare_folder(folder)
        progress = progress or _silent
        done = self.analyse(source, clock, progress, name)
        content = done.content
        with clock.busy("write"):
            outputs = write_results(done.affect, done.timeline, content, folder, name, settings.formats)
        if settings.overlay:
            outputs["overlay"] = output_names(name, settings.formats, overlay=True)["overlay"]
            with clock.busy("overlay"):
                self._render(source, folder / outputs[settings.formats[0]], folder / outputs["overlay"], progress)
        with atomic_file(folder / outputs["sidecar"]) as file:
            sidecar.write({**content, "outputs": outputs, "timing": clock.timing()}, file)
        written = {kind: str(folder / file_name) for kind, file_name in outputs.items()}
        return summarise(source.path, done.timeline, done.affect, written, content, clock)

    def analyse(
        self, source: Source, clock: StageClock | None = None, progress: Progress | None = None, name: str = ""
    ) -> Analysis:
        """Everything that is written about one source, without writing it.

        Args:
            name: of the table, by which names given by hand are found.

        Raises:
            InputError: the source cannot be used.
            UsageError: no frame of it lies in the chosen part.
        """
        clock, progress, settings = clock or StageClock(), progress or _silent, self.settings
        heard = self._listen(source.path, clock, progress)
        photos = isinstance(source, PhotoFolder)
        if photos and self._temporal_heads:
            raise UsageError(f"{source.path}: photos have no neighbours in time, which a temporal head needs.")
        if photos and settings.identify:
            raise UsageError(f"{source.path}: --identify links the face ids of videos; leave it out for photos.")
        tracks = TrackEmbeddings() if settings.identify else None
        timeline = gather(self.readings(source, clock, progress, tracks))
        if not len(timeline.index):
            raise settings.sampling.no_frames(source.path, source.report.decoded)
        timeline = self.with_extra(timeline, source)
        _note_extra(timeline, source, settings)
        fleeting = 0
        if source.info.kind == "video":
            timeline, fleeting = without_fleeting(timeline)
        if tracks is not None or (settings.names and not photos):
            embeddings = None if tracks is None else tracks.result()
            timeline = identified(timeline, embeddings, names_for(settings.names, name), settings.gallery)
        if not settings.crops:
            source.report.notes += remarks(timeline, _smallest(timeline, source, settings))
        if heard is not None:
            timeline = heard.added_to(timeline)
        source.report.notes += [
            note for head in self._temporal_heads.values() if (note := rate_note(head, timeline.step))
        ]
        affect = refine(timeline, settings.recipe)
        with clock.busy("write"):
            content = self.description(source, timeline, fleeting)
        return Analysis(timeline, affect, content)

    def frame_by_frame(self, source: Source, progress: Progress | None = None) -> Iterator[Affect]:
        """The scores of each frame as soon as it is analysed: blended, but neither smoothed nor interpolated.

        Tracks of a video that turn out to be too short to be a person are among them, because only later frames show
        that they are. Closing the iterator stops all stages.

        Raises:
            InputError: the source cannot be used.
            UsageError: no frame of it lies in the chosen part.
        """
        clock, progress, settings = StageClock(), progress or _silent, self.settings
        if settings.identify or settings.names:
            raise UsageError(f"{source.path}: --identify needs the complete video; annotate it as a whole.")
        heard = self._listen(source.path, clock, progress)
        some = False
        with closing(self.readings(source, clock, progress)) as readings:
            for reading in readings:
                some = True
                timeline = _with_extra(gather([reading]), source, settings.decoding.clock)
                # A timeline of one frame has nothing to smooth or to interpolate.
                yield refine(timeline if heard is None else heard.added_to(timeline), settings.recipe)
        if not some:
            raise settings.sampling.no_frames(source.path, source.report.decoded)

    def readings(
        self, source: Source, clock: StageClock, progress: Progress, tracks: TrackEmbeddings | None = None
    ) -> Generator[Reading, None, None]:
        """The models' predictions for each analysed frame, in order.

        Full images are kept until detection only; later stages pass on crops.

        Args:
            tracks: collects embeddings on the way.
        """
        settings = self.settings
        hearing = self._hear(source.path, clock, progress)
        with self._executor.run(clock) as run:
            frames = clock.stage("decode", source.frames(settings.sampling))
            followed = self._followed(self._seen(frames, source, run), isinstance(source, PhotoFolder))
            sightings = clock.stage("tracks", followed if tracks is None else tracks.watch(followed))
            batch = settings.batch_size or (_GPU_BATCH if self._gpu else _CPU_BATCH)
            groups = predict.grouped(frame_skipping.schedule(sightings, settings.stride), batch)
            read = run.map("models", groups, self._readers, room=len(self._readers))
            readings = (one for group in read for one in group)
            if hearing is not None:
                readings = ((joint.scored(one, self._joint_heads, hearing), scored) for one, scored in readings)
            whole = frame_skipping.interpolate(readings)
            if self._temporal_heads:
                whole = temporal_stream.stream(whole, self._temporal_heads)
            if isinstance(source, PhotoFolder):
                whole = tracking.count_within_frames(whole)
            yield from _watched(whole, progress, settings.sampling.expected(source.info.frames))
        if hearing is not None and hearing.note:
            source.report.notes.append(hearing.note)

    def readings_in_turn(
        self, frames: Iterable[Frame], size: tuple[int, int], clock: StageClock
    ) -> Generator[Reading, None, None]:
        """The same predictions, each as soon as it is there, for sources that go on: frames are neither grouped nor
        read ahead. A threaded executor finds the faces of one frame while models score those of the frame before.

        Args:
            size: width and height of the displayed image.
        """
        settings, block = self.settings, block_size(size[0] * size[1])
        optics = Optics(settings.fov, size, settings.crops)
        seen = detect_in_turn(frames, block, self._detectors[0], self.crops, given=settings.crops, optics=optics)
        followed = self._followed(clock.stage("faces", seen), photos=False)
        alone = ([frame_skipping.ScheduledSighting(one, (True,) * len(one.faces))] for one in followed)
        with self._executor.run(clock) as run:
            for group in run.map("models", alone, [self._read], room=0):
                yield group[0][0]

    def with_extra(self, timeline: Timeline, source: Source) -> Timeline:
        """The timeline with the optional columns of the table."""
        return _with_extra(timeline, source, self.settings.decoding.clock)

    def _seen(self, frames: Iterator[Frame], source: Source, run: Run) -> Iterator[Sighting]:
        """The faces of each frame."""
        settings = self.settings
        size = None if isinstance(source, PhotoFolder) else (source.info.width, source.info.height)
        optics = Optics(settings.fov, size, settings.crops)
        room = max(1, min(8, _PICTURES // max(source.info.width * source.info.height * 3, 1)))
        if self._spare_detector is None:
            workers = [
                partial(detect_in_block, finder=f, recipes=self.crops, given=settings.crops, optics=optics)
                for f in self._detectors
            ]
            grouped = blocks(frames, source.info.width * source.info.height)
            found = run.map("faces", grouped, workers, max(1, room // BLOCK))
            return (sighting for block in found for sighting in block)
        searches = [
            partial(_search, finder=detector, recipes=self.crops, optics=optics) for detector in self._detectors
        ]
        searched = run.map("faces", interpolation.schedule(frames, settings.detect_every), searches, room)
        return interpolation.interpolate(searched, self._spare_detector, self.crops, optics)

    def _followed(self, sightings: Iterator[Sighting], photos: bool) -> Iterator[Sighting]:
        """Sightings with track ids, limited to the wanted number of faces; photos are not linked."""
        settings = self.settings
        same = settings.crops and not photos
        sightings = tracking.one_person(sightings) if same else tracking.follow(sightings)
        return sightings if settings.faces is None else tracking.keep_largest(sightings, settings.faces)

    def _read(self, group: list[frame_skipping.ScheduledSighting]) -> list[tuple[Reading, tuple[bool, ...]]]:
        readings = predict.predict(group, self.models)
        return [(reading, one.scored) for reading, one in zip(readings, group, strict=True)]

    def _listen(self, path: Path, clock: StageClock, progress: Progress) -> AudioScores | None:
        """Scores of the sound, computed first so that a video without sound fails at once."""
        if self.listener is None:
            return None
        with clock.busy("sound"):
            return self.listener(path, lambda done, total: progress("sound", done, 0, total))

    def _hear(self, path: Path, clock: StageClock, progress: Progress) -> joint.Hearing | None:
        """The sound for joint heads; None without any."""
        if self._joint_listener is None:
            return None
        with clock.busy("sound"):
            return self._joint_listener(path, lambda done, total: progress("sound", done, 0, total))

    def _render(self, source: Source, rows: Path, out: Path, progress: Progress) -> None:
        from .overlay.video import render

        total = replace(self.settings.sampling, every=1).expected(source.info.frames)
        if self.settings.decoding.region is not None:  # the overlay shows the whole image
            source = open_source(source.path, replace(self.settings.decoding, region=None))
        render(source, table.read_frames(rows), out, progress=lambda done: progress("overlay", done, 0, total))

    def description(self, source: Source, timeline: Timeline, fleeting: int) -> dict[str, Any]:
        settings = self.settings
        models: dict[str, Any] = dict(self.models)
        if self.listener is not None:
            models[self.listener.card.name] = self.listener
        content = sidecar.describe(source, timeline, settings.recipe, models, self.conditions, fleeting)
        if timeline.who is not None and settings.identify:
            content["identity"] = described(timeline.who, settings.gallery is not None)
        return {**content, "options": dict(settings.options)} if settings.options else content


def _with_extra(timeline: Timeline, source: Source, clock: bool) -> Timeline:
    """The timeline with the optional columns of the table: names, times and sizes of photos; the date and time of day
    of each frame where ``clock`` asks for it."""
    extra = dict(timeline.extra)
    if isinstance(source, PhotoFolder):
        columns = source.columns(timeline.index.tolist())
        extra |= {name: np.array(["" if v is None else v for v in values]) for name, values in columns.items()}
    if clock:
        extra[WALL_TIME.name] = wall_times(timeline.time, source.info)
    return replace(timeline, extra=extra)


def _note_extra(timeline: Timeline, source: Source, settings: Settings) -> None:
    """Add notes about the optional columns to the source's own."""
    if isinstance(source, PhotoFolder) and (note := photo_note(timeline, settings.recipe)):
        source.report.notes.append(note)
    if settings.decoding.clock:
        source.report.notes.append(wall_clock_note(source.info))


def _smallest(timeline: Timeline, source: Source, settings: Settings) -> float | NDArray[np.float64]:
    """Width in pixels of the smallest face that was searched for; of photos, in each."""
    if settings.min_face is not None:
        return float(settings.min_face)
    if isinstance(source, PhotoFolder):
        sizes = zip(timeline.extra["image_width"].tolist(), timeline.extra["image_height"].tolist(), strict=True)
        return np.array([smallest_tiled_face(width, height) for width, height in sizes], np.float64)
    return float(smallest_tiled_face(source.info.width, source.info.height))


def _search(
    plan: interpolation.ScheduledFrame, finder: FaceDetector, recipes: Sequence[str], optics: Optics
) -> Sighting | Frame:
    """A frame's faces, or the frame itself if it is not scheduled for detection."""
    return detect_faces(plan.frame, finder, recipes, optics=optics) if plan.searched else plan.frame


def _listener(settings: Settings) -> AudioModel:
    assert settings.audio_head is not None
    return AudioModel(settings.audio_head, _sound_network(settings))


def _joint_listener(settings: Settings) -> joint.Listener:
    heads = [head for head in settings.running.heads if head.base.sound]
    return joint.Listener(heads, _sound_network(settings))


def _sound_network(settings: Settings) -> Wav2Vec2:
    running = settings.running
    return Wav2Vec2(settings.audio_weights, offline=running.offline, device=running.device, threads=running.threads)


def rebuild(timeline: Timeline, content: Mapping[str, Any], recipe: Recipe) -> tuple[Analysis, str]:
    """The results by another recipe, from raw scores.

    Args:
        content: of the sidecar so far.

    Returns:
        the results, and a sentence about what the recipe asks for and this source does not get, or "".

    Raises:
        InputError: there are no raw scores of a model that the recipe names.
    """
    affect = refine(timeline, recipe)
    content = {key: value for key, value in content.items() if key != "edited"}  # cells are computed, none is edited
    content |= {"schema_version": SCHEMA_VERSION, "recipe": recipe.to_json()}
    note = photo_note(timeline, recipe)
    if note:
        source = content["source"]
        content["source"] = {**source, "notes": list(dict.fromkeys([*source.get("notes", ()), note]))}
    return Analysis(timeline, affect, content), note


def _watched(readings: Iterable[Reading], progress: Progress, total: int | None) -> Iterator[Reading]:
    faces = 0
    for done, reading in enumerate(readings, 1):
        faces += len(reading.faces)
        progress("annotate", done, faces, total)
        yield reading


def _silent(_stage: str, _frames: int, _faces: int, _total: int | None) -> None:
    """Progress callback that does nothing."""
