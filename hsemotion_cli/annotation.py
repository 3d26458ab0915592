"""The annotation of one source, in memory: a data frame, its metadata, and methods to save or change it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, UsageError
from .formats import raw_scores, sidecar, table
from .formats.data_frame import fingerprint
from .formats.output_names import output_names
from .formats.ownership import check_outputs
from .formats.results import write_results
from .media.source import DecodeOptions
from .media.video import open_source
from .pipeline import Analysis, rebuild
from .postprocess.recipe import Recipe
from .runtime.atomic_files import atomic_file, prepare_folder
from .timeline import Timeline

if TYPE_CHECKING:
    import pandas

    from .postprocess.refine import Affect

Words = str | float | Mapping[str, str | float] | None
"""A value for all tasks, or task -> value."""

_OTHER_SUFFIXES = frozenset((".json", ".npz", ".mp4", ".tsv", ".txt", ".xlsx", ".xls", ".feather", ".pkl", ".png"))
"""What ``save`` does not take for the name of a folder."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that an annotation was made from, and how to decode it for its overlay, which shows the whole image."""

    path: Path
    decoding: DecodeOptions


class Annotation:
    """The annotation of one video, image, or folder of images.

    ``annotate``, ``annotate_image`` and ``load`` make it.

    Attributes:
        name: stem of the files that ``save`` writes into a folder.
        meta: content of the sidecar: source, versions, models, settings, anything unusual; {} for a table without one.
    """

    def __init__(
        self,
        name: str,
        meta: dict[str, Any],
        *,
        affect: Affect | None = None,
        frame: pandas.DataFrame | None = None,
        raw: Timeline | Path,
        origin: Origin | None = None,
    ) -> None:
        if affect is None and frame is None:
            raise ValueError("an annotation needs its rows")
        self.name = name
        self.meta = meta
        self._affect, self._frame, self._raw, self._origin = affect, frame, raw, origin
        self._unedited: bytes | None = None  # fingerprint of the frame before a caller could change it

    @property
    def frame(self) -> pandas.DataFrame:
        """The table: one row per frame and face, one for a frame without a face; columns as in ``hsemotion schema``.

        Integers, numbers and text have pandas' nullable types, and empty cells are ``<NA>``. Changes that you make to
        it are saved.
        """
        if self._frame is None:
            assert self._affect is not None
            self._frame = table.to_frame(table.blocks(self._affect))
        if self._unedited is None:
            self._unedited = fingerprint(self._frame)
        return self._frame

    @frame.setter
    def frame(self, frame: pandas.DataFrame) -> None:
        _ = self.frame  # what it is compared with when it is saved
        self._frame = frame

    @property
    def edited(self) -> bool:
        """Whether ``frame`` has been changed since it was computed or loaded, or was when it was saved."""
        if self.meta.get("edited", False):
            return True
        return self._frame is not None and self._unedited not in (None, fingerprint(self._frame))

    @property
    def problem(self) -> str:
        """A sentence if the source could not be read to its end, else ""."""
        return sidecar.problem_of(str(self._origin.path if self._origin else self.name), self.meta) if self.meta else ""

    @property
    def coverage(self) -> float:
        """Share of the analysed frames in which a face was detected, in [0, 1]; 0 without any frame."""
        detected = self.frame["frame"][self.frame["face_detected"] == 1]
        return float(detected.nunique() / max(self.frame["frame"].nunique(), 1))

    @property
    def people(self) -> int:
        """Number of face ids; for photos, in which faces are not tracked, the number of faces."""
        ids = self.frame["face_id"].dropna()
        return len(ids) if "file" in self.frame else int(ids.nunique())

    def __repr__(self) -> str:
        frames, people = int(self.frame["frame"].nunique()), self.people
        return (
            f"<Annotation {self.name!r}: {len(self.frame)} rows, {frames} {'frame' if frames == 1 else 'frames'}, "
            f"{people} {'person' if people == 1 else 'people'}, a face in {self.coverage:.1%} of the frames>"
        )

    def save(
        self,
        where: str | Path,
        formats: str | Sequence[str] | None = None,
        overlay: bool = False,
        overwrite: bool = False,
    ) -> dict[str, Path]:
        """Write what the command line writes: the table, the raw scores, the sidecar, and the overlay if asked for.

        The table is ``frame`` as it is now; if you changed it, the sidecar has ``"edited": true``. A table that was
        loaded without raw scores or sidecar is saved without.

        Args:
            where: a folder, or a table ``NAME.csv``, ``NAME.parquet`` or ``NAME.jsonl`` whose name the others share.
            formats: of the table, "csv,parquet" or ["csv", "parquet"]; by default that of ``where``, or CSV.
            overlay: also draw the overlay video, from the source.
            overwrite: also replace existing files that hsemotion did not write.

        Returns:
            kind ("csv", "raw", "sidecar", "overlay", ...) -> path.

        Raises:
            UsageError: a file of yours would be lost, the frame is no table any more, or there is no source for an
                overlay.
            InputError: the raw scores or the source cannot be read.
            OutputError: a file could not be written; nothing is left of those that belong together.
        """
        folder, name, chosen = _place(Path(where), self.name, formats)
        if overlay and self._origin is None:
            raise UsageError(
                f"{self.name}: its source is not known here, so there is no overlay; use hsemotion render."
            )
        timeline, content = self._timeline(), self._content()
        if content is not None and self.edited:
            content["edited"] = True
        names = output_names(name, chosen, overlay)
        check_outputs((folder / file_name for file_name in names.values()), overwrite)
        prepare_folder(folder)
        rows = self.frame if self._affect is None or self._frame is not None else self._affect
        outputs = write_results(rows, timeline, content, folder, name, chosen)
        if overlay:
            outputs["overlay"] = names["overlay"]
            self._render(folder / outputs[chosen[0]], folder / names["overlay"])
        if content is not None:
            timing = {"timing": self.meta["timing"]} if "timing" in self.meta else {}
            with atomic_file(folder / outputs["sidecar"]) as file:
                sidecar.write({**content, "outputs": outputs, **timing}, file)
        return {kind: folder / file_name for kind, file_name in outputs.items()}

    def changed(
        self,
        *,
        recipe: str | Path | None = None,
        blend: Words = None,
        smooth: Words = None,
        max_gap: float | None = None,
        interpolate: float | None = None,
        thresholds: Sequence[str] | Mapping[str, float] = (),
        gate: float | str | None = None,
    ) -> Annotation:
        """A new annotation from the raw scores with other smoothing, blend or thresholds; the video is not needed.

        Settings that are not given stay as they were. Cells that were edited in ``frame`` are computed again.

        Args:
            recipe: TOML, JSON, or a table's sidecar to begin with, instead of the recipe of this annotation.
            blend: weight of the first of two models, in [0, 1].
            smooth: "none", "gaussian:0.2", "box:0.5"; see ``--smooth``.
            max_gap: seconds without a face across which nothing is smoothed.
            interpolate: seconds; shorter gaps are filled with interpolated rows.
            thresholds: action unit -> probability from which it is present, or ["AU12=0.4"].
            gate: where the network itself is surer of an expression than this, it counts instead of its head; or
                "none".

        Raises:
            InputError: raw scores or sidecar of a loaded table are not there.
            UsageError: a value makes no sense.
        """
        given: dict[str, Any] = {
            "recipe": recipe,
            "blend": blend,
            "smooth": smooth,
            "max_gap": max_gap,
            "interpolate": interpolate,
            "gate": gate,
        }
        given = {name: value for name, value in given.items() if value is not None}
        given |= {"thresholds": thresholds} if thresholds else {}
        timeline = self._timeline()
        if timeline is None or not self.meta:
            lacking = self._raw if timeline is None else f"the sidecar {self.name}.json"
            raise InputError(f"{self.name}: {lacking} is not there; annotate writes it beside the table.")
        before = Recipe.read(Path(recipe)) if recipe is not None else sidecar.recipe(self.meta, Path(self.name))
        after = before.changed(
            blend=words(blend),
            smooth=words(smooth),
            max_gap=max_gap,
            interpolate=interpolate,
            thresholds=threshold_words(thresholds),
            gate=words(gate),
        )
        try:
            done, _ = rebuild(timeline, self.meta, after)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        if chosen := {**self.meta.get("options", {}), **recorded(given)}:
            done.content["options"] = chosen
        return Annotation(self.name, done.content, affect=done.affect, raw=timeline, origin=self._origin)

    def _timeline(self) -> Timeline | None:
        """The raw scores, or None if they do not lie beside a loaded table."""
        if isinstance(self._raw, Path):
            if not self._raw.exists():
                return None
            self._raw = raw_scores.read(self._raw)
        return self._raw

    def _content(self) -> dict[str, Any] | None:
        """Of the sidecar, without what belongs to one saving of it."""
        return {k: v for k, v in self.meta.items() if k not in ("outputs", "timing")} if self.meta else None

    def _render(self, rows: Path, out: Path) -> None:
        from .overlay.video import render

        assert self._origin is not None
        render(open_source(self._origin.path, self._origin.decoding), table.read_frames(rows), out)


def of_analysis(name: str, done: Analysis, timing: Mapping[str, Any], origin: Origin | None = None) -> Annotation:
    """The annotation that a run of the pipeline gave.

    Args:
        timing: wall seconds of the run, for the sidecar.
    """
    meta = {**done.content, "timing": timing}
    return Annotation(name, meta, affect=done.affect, raw=done.timeline, origin=origin)


def load(path: str | Path) -> Annotation:
    """Read a table that hsemotion wrote, also after a spreadsheet or R saved it again.

    ``meta`` comes from the sidecar NAME.json beside it, and ``changed`` needs NAME.raw.npz beside it. Columns that
    tables do not have are left out.

    Args:
        path: .csv, .parquet or .jsonl.

    Raises:
        InputError: there is no such table, or its sidecar is damaged.
    """
    path = Path(path)
    frame = table.load(path)
    beside = path.with_name(f"{path.stem}.json")
    meta = sidecar.read(beside) if beside.exists() else {}
    return Annotation(path.stem, meta, frame=frame, raw=path.with_name(f"{path.stem}.raw.npz"))


def words(value: Words) -> str | None:
    """A value, or one for each of some tasks, as the command line writes it."""
    if isinstance(value, Mapping):
        return ",".join(f"{task}={each}" for task, each in value.items())
    return None if value is None else str(value)


def threshold_words(thresholds: Sequence[str] | Mapping[str, float]) -> list[str]:
    """Thresholds as the command line writes them."""
    if isinstance(thresholds, str):
        return [thresholds]
    if isinstance(thresholds, Mapping):
        return [f"{unit}={value}" for unit, value in thresholds.items()]
    return list(thresholds)


def recorded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the sidecar records them: by the names of the command line, files without their folders."""
    found = {}
    for name, value in sorted(options.items()):
        if name == "thresholds":
            name, value = "threshold", threshold_words(value)
        elif name in ("head", "recipe", "audio_head"):
            value = [Path(each).name for each in value] if name == "head" else Path(value).name
        elif isinstance(value, Mapping):
            value = words(value)
        elif isinstance(value, tuple):
            value = ",".join(map(str, value))
        elif isinstance(value, str):  # NAME=FILE of a model, or a folder of weights
            value = re.sub(r"[^,=]*[/\\]", "", value)
        found[name.replace("_", "-")] = {"value": value, "from": "Python"}
    return found


def _place(where: Path, name: str, formats: str | Sequence[str] | None) -> tuple[Path, str, tuple[str, ...]]:
    """(folder, stem, formats) that ``save`` writes."""
    asked = None if formats is None else table.parse_formats(formats if isinstance(formats, str) else ",".join(formats))
    suffix = where.suffix.lower()
    if where.is_dir() or (suffix.lstrip(".") not in table.WRITERS and suffix not in _OTHER_SUFFIXES):
        return where, name, asked or ("csv",)
    own = suffix.lstrip(".")
    if own not in table.WRITERS or own not in (asked or (own,)):
        raise UsageError(
            f"{where}: give a folder, or a table whose name ends in one of "
            f"{', '.join(f'.{each}' for each in asked or table.WRITERS)}."
        )
    return where.parent, where.stem, asked or (own,)
