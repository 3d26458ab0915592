"""What a worker does with a task: annotate it. The other modules about workers know nothing about videos."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import HsemotionError, InputError, OutputError, UsageError
from ..formats import sidecar
from ..formats.output_names import output_names
from ..formats.schema import SCHEMA_VERSION
from ..models import model_file, registry
from ..pipeline import Annotator, Progress, Settings
from ..runtime.atomic_files import prepare_folder
from .exporting import ExportPlan, export_recording
from .messages import Task
from .output_paths import check_inside
from .resume import ExpectedResults, SourceStamp, settings_of

OPENER = "hsemotion_cli.batch.job:opened"
"""The dotted name by which workers find ``opened``."""


@dataclasses.dataclass(frozen=True, slots=True)
class JobConfig:
    """What every worker needs to start.

    Attributes:
        settings: for the annotator.
        out: the output folder.
        exports: what is exported of each recording.
    """

    settings: Settings
    out: Path
    exports: ExportPlan = dataclasses.field(default_factory=ExportPlan)

    def wanted(self, made: dict[str, Any]) -> ExpectedResults:
        """The results that this batch makes.

        Args:
            made: everything that results depend on, from a worker.
        """
        settings = self.settings
        return ExpectedResults(
            made, f"file numbers / {settings.decoding.image_fps:g}", settings.formats, settings.overlay
        )


class BatchJob:
    """Annotates one task after another with models that are loaded once."""

    def __init__(self, annotator: Annotator, out: Path, exports: ExportPlan | None = None) -> None:
        self._annotator, self._out, self._exports = annotator, out, exports or ExportPlan()

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that results depend on, as ``resume.settings_of`` reads it from their sidecars."""
        chosen = self._annotator.settings
        models = list(self._annotator.models.values())
        if self._annotator.listener is not None:
            models.append(self._annotator.listener)  # type: ignore[arg-type]
        content = {
            "schema_version": SCHEMA_VERSION,
            "tool": {"version": __version__, **sidecar.libraries()},
            "recipe": chosen.recipe.to_json(),
            "models": [
                {"name": m.card.name, **m.provenance, "crop": m.card.crop, "tasks": list(m.card.tasks)} for m in models
            ],
            **self._annotator.conditions,
        }
        return settings_of(content)

    def __call__(self, task: Task, report: Progress) -> dict[str, Any]:
        """Annotate one source; returns the facts of its ``Outcome``.

        Raises:
            InputError: it cannot be used, or is not yet complete.
            UsageError: its place lies outside of the output folder.
            OutputError: a result cannot be written.
        """
        folder = task.folder(self._out)
        check_inside(self._out, folder, output_names(task.name, self._annotator.settings.formats, True).values())
        before = _stamp(task)
        try:
            prepare_folder(folder)
        except UsageError as error:  # it was writable when the batch began, and may be again
            raise OutputError(str(error)) from error
        place = folder / f"{task.name}.json"
        earlier = _written(place)
        try:
            summary = self._annotator.annotate(Path(task.path), folder, task.name, report)
        except HsemotionError:
            if _changed(task, before) and _written(place) != earlier:
                place.unlink(missing_ok=True)  # the overlay failed, but the table had been written already
            raise
        if _changed(task, before):
            place.unlink(missing_ok=True)  # without it the table does not pass for one of the whole video
            raise InputError(f"{task.path}: it was changed while it was read; run again when it is complete.")
        return {
            "frames": summary.frames["analysed"],
            "coverage": summary.coverage,
            "faces": summary.faces,
            "problem": summary.problem,
            "decoding": " ".join(summary.notes),
            "unreadable": len(summary.frames.get("failed_files", ())),
            "size": before.size,
            "mtime_ns": before.mtime_ns,
            "sha256": sidecar.read(place)["source"]["sha256"],
            **self._exported(task, report),
        }

    def _exported(self, task: Task, report: Progress) -> dict[str, Any]:
        """Facts about the exports of a recording that is annotated."""
        if not self._exports.formats:
            return {}
        report("export", 0, 0, None)
        return export_recording(task, self._out, self._exports, self._exports.formats)


@contextlib.contextmanager
def opened(config: JobConfig, progress: Any) -> Iterator[BatchJob]:
    """Load everything that is needed; ``progress`` receives the progress of downloads.

    Raises:
        ModelUnavailable, UsageError: as ``Annotator``.
    """
    settings = config.settings
    for path in settings.running.files.values():
        if model_file.describes_itself(path):
            registry.add(path)
    settings = dataclasses.replace(settings, running=dataclasses.replace(settings.running, progress=progress))
    with Annotator(settings) as annotator:
        yield BatchJob(annotator, config.out, config.exports)


def _written(place: Path) -> int | None:
    """When a file was written, in nanoseconds; None if there is none."""
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return None


def _changed(task: Task, before: SourceStamp) -> bool:
    """Whether a source has changed, or is gone."""
    try:
        return SourceStamp.of(task.path) != before
    except (OSError, InputError):
        return True


def _stamp(task: Task) -> SourceStamp:
    try:
        return SourceStamp.of(task.path)
    except OSError as error:
        raise InputError(f"{task.path}: cannot be used ({error.strerror}).") from error
