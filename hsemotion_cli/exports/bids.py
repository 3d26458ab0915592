"""Tables -> a BIDS dataset (1.11): a signal for each person of each recording, and events if there are intervals.

Signals are ``_physio.tsv.gz`` in ``beh/``, at a constant rate, with ``SamplingFrequency``, ``StartTime`` and
``Columns`` in the JSON file beside them. A table whose name has BIDS entities (``sub-01_ses-2_task-rest_run-1``) keeps
them; for any other, the whole name is the subject.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..errors import InputError
from .delimited import Cell, write_rows
from .intervals import in_order
from .sampling import Signal, resample
from .source_table import KNOWN, SourceTable, lost, measures, need_times

VERSION = "1.11.0"
"""Of the BIDS specification."""

Opener = Callable[[Path], AbstractContextManager[IO[bytes]]]

_LABEL = 40
"""Characters of a person in file names, of which file systems mostly allow 255."""

_ENTITY = re.compile(r"(sub|ses|task|run)-([A-Za-z0-9]+)")
_NAME = re.compile(r"sub-[A-Za-z0-9]+(_(ses|task|run)-[A-Za-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recording stands in the dataset.

    Attributes:
        subject: label without ``sub-``.
        folder: relative to the dataset.
        stem: of its files, up to the task and the run.
    """

    subject: str
    folder: Path
    stem: str


def places(recordings: Sequence[SourceTable]) -> list[Place]:
    """A place for each recording.

    Raises:
        InputError: two recordings have the same, or a name has no letter or digit.
    """
    found: dict[str, SourceTable] = {}
    result = []
    for recording in recordings:
        place = _place(recording)
        if other := found.get(str(place.folder / place.stem).lower()):
            raise InputError(f"{other.path} and {recording.path} have the same BIDS name {place.stem}; rename one.")
        found[str(place.folder / place.stem).lower()] = recording
        result.append(place)
    return result


def _place(recording: SourceTable) -> Place:
    entities = dict(_ENTITY.findall(recording.name)) if _NAME.fullmatch(recording.name) else {}
    subject = entities.get("sub") or re.sub(r"[^A-Za-z0-9]", "", recording.name)
    if not subject:
        raise InputError(f"{recording.path}: BIDS names have letters and digits, and this name has none; rename it.")
    session, run = entities.get("ses"), entities.get("run")
    folder = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []), "beh")
    parts = [f"sub-{subject}", *([f"ses-{session}"] if session else []), f"task-{entities.get('task', 'video')}"]
    return Place(subject, folder, "_".join([*parts, *([f"run-{run}"] if run else [])]))


def paths(recordings: Sequence[SourceTable]) -> list[Path]:
    """Every file of the dataset, relative to its folder."""
    found = [Path(name) for name in ("dataset_description.json", "README", "participants.tsv", "participants.json")]
    for recording, place in zip(recordings, places(recordings), strict=True):
        for name in _signal_names(place, recording.people).values():
            found += [place.folder / f"{name}_physio.tsv.gz", place.folder / f"{name}_physio.json"]
        if recording.intervals:
            found += [place.folder / f"{place.stem}_events.tsv", place.folder / f"{place.stem}_events.json"]
    return found


def write(recordings: Sequence[SourceTable], folder: Path, opened: Opener, rate: float | None = None) -> list[str]:
    """Write the dataset; returns what the format cannot hold, in sentences.

    Args:
        opened: opens a file to be written, see ``runtime.atomic_files``.
        rate: samples per second; None for each recording's own.

    Raises:
        InputError: see ``places``; or a table of photos.
    """
    sentences: dict[str, None] = {}
    with_places = list(zip(recordings, places(recordings), strict=True))
    for recording, place in with_places:
        need_times(recording, "BIDS")
        columns = measures(recording)
        held = {"frame", "time", "face_id", "person", "face_detected", *(column.name for column in columns)}
        sentences |= dict.fromkeys(lost(recording, held))
        names = _signal_names(place, recording.people)
        for signal in resample(recording, columns, rate):
            _write_signal(recording, signal, folder / place.folder / names[signal.person], opened)
        if recording.intervals:
            _write_events(recording, folder / place.folder / place.stem, opened)
    _write_root(with_places, folder, opened)
    return [*sentences, "absent: the number of the frame; times are those of a constant rate (see each JSON file)."]


def _signal_names(place: Place, people: Sequence[str]) -> dict[str, str]:
    """Person -> stem of the signal; BIDS labels have letters and digits only, so two names may need a number."""
    found: dict[str, str] = {}
    for person in people:
        label = re.sub(r"[^A-Za-z0-9]", "", person)[:_LABEL] or "person"
        name, count = f"{place.stem}_recording-{label}", 1
        while name.lower() in (other.lower() for other in found.values()):
            count += 1
            name = f"{place.stem}_recording-{label}x{count}"
        found[person] = name
    return found


def _write_signal(recording: SourceTable, signal: Signal, stem: Path, opened: Opener) -> None:
    columns = measures(recording)
    with (
        opened(stem.with_name(f"{stem.name}_physio.tsv.gz")) as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
    ):
        for values in signal.values.tolist():
            cells = ["n/a" if v != v else _digits(v, c.decimals, c.type) for v, c in zip(values, columns, strict=True)]
            packed.write(("\t".join(cells) + "\n").encode())
    described = {c.name: {"Description": c.meaning, **({"Units": c.unit} if c.unit else {})} for c in columns}
    about = {
        "SamplingFrequency": signal.rate,
        "StartTime": round(signal.start, 6) + 0.0,
        "TaskName": _task(stem.name),
        "PhysioType": "generic",
        "Columns": [column.name for column in columns],
        "SoftwareVersions": f"hsemotion {__version__}",
        "Description": (
            f"{signal.person} in {recording.source or recording.name}. Linear interpolation between neighbouring "
            "frames that both show the face, flags of the nearer frame; n/a where the face is missing. The farthest "
            f"sample lies {signal.distance * 1000:.3f} ms from its frame."
        ),
        **described,
    }
    _json(about, stem.with_name(f"{stem.name}_physio.json"), opened)


def _task(name: str) -> str:
    return dict(_ENTITY.findall(name))["task"]


def _digits(value: float, decimals: int, kind: str) -> str:
    return str(round(value)) if kind == "integer" else repr(round(value, decimals) + 0.0)


def _write_events(recording: SourceTable, stem: Path, opened: Opener) -> None:
    header = ("onset", "duration", "trial_type", "measure", "person", "peak", "score")
    with opened(stem.with_name(f"{stem.name}_events.tsv")) as file:
        write_rows(file, header, _events(recording), "\t", "n/a")
    levels = sorted({each.label for each in recording.intervals})
    about: dict[str, Any] = {
        "TaskName": _task(stem.name),
        "onset": {"Description": "Begin of the interval.", "Units": "s"},
        "duration": {"Description": "Length of the interval.", "Units": "s"},
        "trial_type": {"Description": "What is shown.", "Levels": {level: _meaning(level) for level in levels}},
        "measure": {"Description": "What was measured."},
        "person": {"Description": "Who shows it."},
        "peak": {"Description": "Time of the highest value.", "Units": "s"},
        "score": {"Description": "The highest value in the interval."},
    }
    _json(about, stem.with_name(f"{stem.name}_events.json"), opened)


def _events(recording: SourceTable) -> Iterator[Sequence[Cell]]:
    clock = recording.clock
    for each in in_order(recording.intervals):
        onset, offset = clock.seconds(each.onset), clock.seconds(each.offset)
        peak = None if each.peak is None else round(clock.seconds(each.peak), 6)
        yield round(onset, 6), round(offset - onset, 6), each.label, each.measure, each.person, peak, each.score


def _meaning(level: str) -> str:
    known = KNOWN.get(f"p_{level}") or KNOWN.get(f"{level}_p")
    return known.meaning if known else level


def _write_root(recordings: Sequence[tuple[SourceTable, Place]], folder: Path, opened: Opener) -> None:
    about = {
        "Name": "Facial behaviour measured by hsemotion",
        "BIDSVersion": VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "hsemotion", "Version": __version__}],
    }
    _json(about, folder / "dataset_description.json", opened)
    with opened(folder / "README") as file:
        file.write(_README.encode())
    subjects = sorted({place.subject for _, place in recordings})
    with opened(folder / "participants.tsv") as file:
        write_rows(file, ("participant_id",), ((f"sub-{subject}",) for subject in subjects), "\t", "n/a")
    _json({"participant_id": {"Description": "Label of the participant."}}, folder / "participants.json", opened)


_README = """Facial behaviour measured by hsemotion

Each recording of a participant has a signal for every person in the video (recording-...), at a constant rate. The
JSON file beside a signal names its columns, with their units and meaning, and says how its times were made. Add who
collected the videos, how, and with which consent before you share this dataset.
"""


def _json(content: Mapping[str, Any], path: Path, opened: Opener) -> None:
    with opened(path) as file:
        file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
