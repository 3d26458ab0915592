"""The work of ``hsemotion people``: sources -> tracks -> people, people.csv and the gallery."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..analysis.recordings import find_tables
from ..analysis.track_images import from_table, from_video
from ..errors import InputError, UsageError
from ..faces.identify import Known, Recorded, identify
from ..formats import sidecar
from ..formats.gallery import enrolled, forget, read_gallery, write_gallery
from ..formats.ownership import check_outputs
from ..formats.people import PersonName, names_for, read_people
from ..formats.table_source import SUFFIXES, decoding_of, find_video
from ..media.discovery import discover
from ..media.video import open_source
from ..runtime.atomic_files import atomic_file, prepare_folder
from ..timeline import People
from .console import print_line, progress
from .options import OutputOptions
from .table_inputs import tables_in
from .unread_options import refuse

Progress = Callable[[str, int, int | None], None]
"""Called with the name of a recording, frames done and, if known, frames in all."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of ``hsemotion people``."""

    sources: tuple[Path, ...]
    out: Path | None
    people: Path | None
    videos: Path | None
    gallery: Path | None
    enrol: bool
    forget: tuple[str, ...]
    output: OutputOptions


def run(request: Request) -> None:
    """Link, enrol or forget people, and say what was done.

    Raises:
        UsageError: options that do not fit together.
        InputError, OutputError: a file that cannot be read or written.
    """
    _check(request)
    out, gallery, output = request.out, request.gallery, request.output
    if request.forget and gallery is not None:
        for name in forget(gallery, request.forget):
            print_line(f"{gallery}: forgot {'everyone' if name == 'all' else name}.")
        return
    if gallery is not None and not request.enrol:
        read_gallery(gallery)  # before the first frame
    if out is not None:
        check_outputs([out], output.overwrite)
    names = read_people(request.people)
    with progress("people", output.quiet) as report:
        recordings = tracks_of(
            request.sources, request.videos, names, lambda name, done, total: report(name, done, 0, total)
        )
    if request.enrol and gallery is not None:
        for name in enrol(recordings, gallery):
            print_line(f"{gallery}: enrolled {name}.")
    if out is not None:
        found = linked(recordings, gallery)
        write_people(out, found)
        if not output.quiet:
            persons = {str(person) for who in found.values() for person in who.person} - {""}
            ids = sum(len(who.face_id) for who in found.values())
            print_line(f"{out}: {len(persons)} people in {ids} face ids of {len(found)} recordings.")


def _check(request: Request) -> None:
    if request.forget:
        others = (request.sources, request.enrol, request.out, request.people, request.videos)
        if request.gallery is None or any(others):
            raise UsageError("--forget deletes people from a gallery: give it with --gallery and nothing else.")
        return
    if not request.sources or (request.out is None and not request.enrol):
        raise UsageError("people: give tables or videos, and -o people.csv or --enrol; or --forget.")
    if request.enrol and (request.gallery is None or request.people is None):
        raise UsageError("--enrol: give --gallery FOLDER to enrol in, and --people FILE with the names.")


def tracks_of(
    sources: Sequence[Path], videos: Path | None, names: Sequence[PersonName], report: Progress
) -> dict[str, Recorded]:
    """Recording -> its tracks, of tables, of videos, and of folders of either.

    Args:
        videos: folder in which the videos of tables lie, or None to look beside the tables.

    Raises:
        InputError: a source cannot be read, the video of a table is not there, or two have one name.
    """
    tables = [path for path in sources if (_holds_tables(path) if path.is_dir() else path.suffix.lower() in SUFFIXES)]
    if not tables:
        refuse(["videos"], "it is where the videos of tables are, and no table was given")
    found: dict[str, Recorded] = {}
    for table in tables_in(tables) if tables else []:
        meta = sidecar.read(table.with_suffix(".json"))
        video = find_video(table, meta, videos)
        if video is None:
            name = meta.get("source", {}).get("name") or "of this table"
            raise InputError(f"{table}: its video {name} was not found; give its folder with --videos.")
        source = open_source(video, decoding_of(meta))
        found[table.stem] = from_table(table, source, partial(report, table.stem))
    for job in discover([path for path in sources if path not in tables]).jobs if len(tables) < len(sources) else []:
        if job.name in found:
            raise InputError(f"{job.path}: a table of {job.name} is given as well; give only one of them.")
        source = open_source(job.path)
        found[job.name] = from_video(source, partial(report, job.name))
    return {name: replace(one, names=names_for(names, name)) for name, one in found.items()}


def _holds_tables(folder: Path) -> bool:
    """Whether a folder is one of tables; else it is one of videos."""
    try:
        return bool(find_tables([folder]))
    except InputError:
        return any(folder.glob("*.raw.npz"))  # tables without sidecars: the message says so


def linked(recordings: Mapping[str, Recorded], gallery: Path | None) -> dict[str, People]:
    """Recording -> who its face ids are."""
    known = None if gallery is None else read_gallery(gallery)
    return dict(zip(recordings, identify(list(recordings.values()), known), strict=True))


def write_people(path: Path, people: Mapping[str, People]) -> None:
    """Write people.csv: recording, face_id, person, person_score, person_second.

    Raises:
        OutputError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("recording", "face_id", "person", "person_score", "person_second"))
    for recording, who in people.items():
        for face, person, score, second in zip(who.face_id, who.person, who.score, who.second, strict=True):
            if person:
                writer.writerow((recording, int(face), str(person), _cell(score), _cell(second)))
    prepare_folder(path.parent)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def enrol(recordings: Mapping[str, Recorded], gallery: Path) -> list[str]:
    """Add the tracks that have a name given by hand to a gallery, which is made if it is not there.

    Returns:
        the names.

    Raises:
        UsageError: no track has a name.
        InputError: the gallery is damaged.
    """
    named = [
        (one.names[track.face_id], track)
        for one in recordings.values()
        for track in one.tracks
        if track.face_id in one.names and track.mean is not None
    ]
    if not named:
        raise UsageError("--enrol: none of the face ids that --people names has an image that is good enough.")
    means = np.array([track.mean for _, track in named], np.float32)
    weights = np.array([track.weight for _, track in named], np.float32)
    more = Known(tuple(name for name, _ in named), means, weights)
    try:
        before = read_gallery(gallery)
    except InputError:
        if gallery.exists() and any(gallery.iterdir()):
            raise
        before = None
    write_gallery(gallery, enrolled(before, more))
    return list(dict.fromkeys(more.name))
