"""Every format that tables are exported to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import UsageError
from ..runtime.comma_list import comma_list
from . import bids, coding, eeg, elan, lrc, openface, pyfeat, subtitles, textgrid, xdf, xlsx
from .source_table import SourceTable

Opener = bids.Opener


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        title: for people.
        intervals: whether it holds intervals; the recordings then need them.
        paths: its files for some recordings, relative to the output folder.
        write: (recordings, folder, opener, samples per second) -> sentences about what the format cannot hold.
        together: whether all recordings make one result.
        suffix: of a format with one file for each table.
        constant_rate: whether it is sampled at a constant rate, so that ``--rate`` has an effect.
        links_media: whether it links the video, so that ``--media`` has an effect.
    """

    title: str
    intervals: bool
    paths: Callable[[Sequence[SourceTable]], list[Path]]
    write: Callable[[Sequence[SourceTable], Path, Opener, float | None], list[str]]
    together: bool = False
    suffix: str = ""
    constant_rate: bool = False
    links_media: bool = False


def _single(
    title: str,
    suffix: str,
    write: Callable[[SourceTable, IO[bytes]], list[str]],
    intervals: bool = False,
    links_media: bool = False,
) -> Format:
    """A format with one file for each table."""

    def paths(recordings: Sequence[SourceTable]) -> list[Path]:
        return [Path(f"{recording.name}{suffix}") for recording in recordings]

    def write_all(recordings: Sequence[SourceTable], folder: Path, opened: Opener, rate: float | None) -> list[str]:
        sentences: dict[str, None] = {}
        for recording, path in zip(recordings, paths(recordings), strict=True):
            with opened(folder / path) as file:
                sentences |= dict.fromkeys(write(recording, file))
        return list(sentences)

    return Format(title, intervals, paths, write_all, suffix=suffix, links_media=links_media)


def _write_book(recordings: Sequence[SourceTable], folder: Path, opened: Opener, rate: float | None) -> list[str]:
    with opened(folder / "tables.xlsx") as file:
        return xlsx.write(recordings, file)


def _write_dataset(recordings: Sequence[SourceTable], folder: Path, opened: Opener, rate: float | None) -> list[str]:
    return bids.write(recordings, folder / "bids", opened, rate)


FORMATS: Mapping[str, Format] = {
    "openface": _single("OpenFace 2 CSV", ".openface.csv", openface.write),
    "pyfeat": _single("py-feat Fex CSV", ".fex.csv", pyfeat.write),
    "bids": Format(
        "BIDS dataset",
        True,
        lambda recordings: [Path("bids") / p for p in bids.paths(recordings)],
        _write_dataset,
        True,
        constant_rate=True,
    ),
    "xdf": _single("XDF", ".xdf", xdf.write, intervals=True),
    "xlsx": Format("Excel workbook", False, lambda recordings: [Path("tables.xlsx")], _write_book, True),
    "elan": _single("ELAN", ".eaf", elan.write, intervals=True, links_media=True),
    "textgrid": _single("Praat TextGrid", ".TextGrid", textgrid.write, intervals=True),
    "webvtt": _single("WebVTT", ".vtt", subtitles.write_webvtt, intervals=True),
    "srt": _single("SubRip", ".srt", subtitles.write_srt, intervals=True),
    "lrc": _single("LRC", ".lrc", lrc.write, intervals=True),
    "edf": _single("EDF+ annotations", ".annotations.edf", eeg.write_edf, intervals=True),
    "mne": _single("MNE annotations", "_annot.txt", eeg.write_mne, intervals=True),
    "boris": _single("BORIS aggregated events", ".boris.csv", coding.write_boris, intervals=True),
    "datavyu": _single("Datavyu columns", ".datavyu.csv", coding.write_datavyu, intervals=True),
}
"""Name -> format."""


def parse_targets(text: str) -> tuple[str, ...]:
    """Read "openface,bids".

    Raises:
        UsageError: an unknown format, or none.
    """
    names = comma_list(text)
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise UsageError(f"--to {text}: choose from {', '.join(FORMATS)}, separated by commas.")
    return names
