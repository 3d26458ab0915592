"""Segments in other programs' formats, read back by other programs' readers."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
import pyxdf
import tables
import webvtt
from browser import chromium as chromium
from eaf_rules import violations
from known import program
from praatio import textgrid
from pympi.Elan import Eaf
from typer.testing import CliRunner

from hsemotion_cli.analysis.rules import Rules
from hsemotion_cli.cli import app
from hsemotion_cli.exports.eeg import _records, write_edf
from hsemotion_cli.exports.intervals import Interval, tiers
from hsemotion_cli.exports.segments import with_intervals
from hsemotion_cli.exports.source_table import open_table
from hsemotion_cli.exports.subtitles import _escaped
from hsemotion_cli.formats.events import read_events

FORMATS = "elan,textgrid,webvtt,srt,lrc,edf,mne,boris,datavyu,xdf,bids"
START = 1.4

# What BORIS 8 and 9 write for observations without modifiers and independent variables (boris/export_events.py).
BORIS = ["Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)"]
BORIS += ["Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject"]
BORIS += ["Observation duration by subject by observation", "Behavior", "Behavioral category", "Behavior type"]
BORIS += ["Start (s)", "Stop (s)", "Duration (s)", "Media file name", "Image index start", "Image index stop"]
BORIS += ["Image file path start", "Image file path stop", "Comment start", "Comment stop"]


def export(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def milli(time: float) -> int:
    """Whole milliseconds since the first frame."""
    return round((time - START) * 1000)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 seconds from container time 1.4 on: a smile that comes and goes every two seconds; then no face."""
    rows = [tables.face(k, START + k / 25) for k in range(250)]
    rows += [tables.nobody(k, START + k / 25) for k in range(250, 300)]
    return tables.write_table(tmp_path_factory.mktemp("in") / "talk.csv", rows, start=START, source="a talk & co.mp4")


@pytest.fixture(scope="module")
def expected(table: Path) -> list[Interval]:
    """Its segments, with times since the first frame of the video."""
    found = with_intervals(open_table(table), Rules()).intervals
    assert len(found) > 20 and {one.person for one in found} == {"face 0"}
    return sorted(found, key=lambda one: (one.onset, one.offset, one.label))


@pytest.fixture(scope="module")
def out(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    (folder / "videos").mkdir()
    export(table, "--to", FORMATS, "-o", folder, "-q", "--media", folder / "videos")
    return folder


def test_elan_has_a_tier_for_each_person_and_measure(out: Path, expected: list[Interval]) -> None:
    eaf = Eaf(str(out / "talk.eaf"))
    found = sorted(
        (start, end, value)
        for name in eaf.get_tier_names()
        for start, end, value, *_ in eaf.get_annotation_data_for_tier(name)
    )
    assert found == sorted((milli(one.onset), milli(one.offset), one.label) for one in expected)
    parameters = eaf.get_parameters_for_tier("face 0 expression")
    assert parameters["PARTICIPANT"] == "face 0" and parameters["ANNOTATOR"] == "hsemotion"
    (media,) = eaf.get_linked_files()
    assert media["RELATIVE_MEDIA_URL"] == "./a talk & co.mp4" and media["MIME_TYPE"] == "video/mp4"
    assert media["MEDIA_URL"] == (out / "videos" / "a talk & co.mp4").as_uri()
    entries = eaf.get_cv_entries("expression")
    assert sorted(value for values, _ in entries.values() for value, *_ in values) == ["happiness", "neutral"]


def test_elan_files_keep_the_rules_of_their_schema(out: Path) -> None:
    """EAF 3.0: order of the parts, ids that are there once, references that lead to something, times in order."""
    root = ET.parse(out / "talk.eaf").getroot()
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LANGUAGE", "CONTROLLED_VOCABULARY"]
    places = [order.index(part.tag) for part in root]
    assert places == sorted(places) and set(places) == set(range(len(order)))
    slots = {each.get("TIME_SLOT_ID"): int(each.get("TIME_VALUE", "")) for each in root.iter("TIME_SLOT")}
    annotations = list(root.iter("ALIGNABLE_ANNOTATION"))
    ids = [each.get("ANNOTATION_ID") for each in annotations]
    assert len(set(ids)) == len(ids) and len(slots) == 2 * len(ids) and len(set(slots)) == len(slots)
    types = {
        each.get("LINGUISTIC_TYPE_ID"): each.get("CONTROLLED_VOCABULARY_REF") for each in root.iter("LINGUISTIC_TYPE")
    }
    entries = {
        each.get("CV_ID"): {entry.get("CVE_ID"): entry.findtext("CVE_VALUE") for entry in each.iter("CV_ENTRY_ML")}
        for each in root.iter("CONTROLLED_VOCABULARY")
    }
    assert len({each.get("TIER_ID") for each in root.iter("TIER")}) == len(list(root.iter("TIER")))
    for tier in root.iter("TIER"):
        words = entries[types[tier.get("LINGUISTIC_TYPE_REF")]]
        last = 0
        for each in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = (slots[each.get(f"TIME_SLOT_REF{k}")] for k in (1, 2))
            assert last <= start < end
            last = end
            assert words[each.get("CVE_REF")] == each.findtext("ANNOTATION_VALUE")
    assert root.find("HEADER/PROPERTY") is not None and root.get("FORMAT") == "3.0"


def test_elan_files_break_no_rule_of_the_format(out: Path, tmp_path: Path) -> None:
    """By rules of our own; and by the schema itself where it is at hand."""
    assert not violations(out / "talk.eaf")
    text = (out / "talk.eaf").read_text(encoding="utf-8")
    for good, bad in (
        ('TIME_SLOT_ID="ts1"', 'TIME_SLOT_ID="1"'),
        ('TIME_VALUE="', 'TIME_VALUE="-'),
        ('TIME_SLOT_REF1="ts1"', 'TIME_SLOT_REF1="ts0"'),
        ('LINGUISTIC_TYPE_REF="expression"', 'LINGUISTIC_TYPE_REF="mood"'),
        ('LANG_ID="eng"', 'LANG_ID="deu"'),
        (' MIME_TYPE="video/mp4"', ""),
        ("<TIME_ORDER>", "<PROPERTY/><TIME_ORDER>"),
        ('TIME_ALIGNABLE="true"', 'TIME_ALIGNABLE="yes"'),
        ('ANNOTATION_ID="a2"', 'ANNOTATION_ID="a1"'),
    ):
        assert good in text
        (tmp_path / "bad.eaf").write_text(text.replace(good, bad, 1), encoding="utf-8")
        assert violations(tmp_path / "bad.eaf"), bad


def test_elan_files_are_valid_by_the_schema_of_its_authors(out: Path) -> None:
    schema = os.environ.get("HSEMOTION_EAF_SCHEMA")
    if not schema:
        pytest.skip("HSEMOTION_EAF_SCHEMA names no EAFv3.0.xsd, which is in the source archive of pympi-ling, in test/")
    etree = pytest.importorskip("lxml.etree")
    checked = etree.XMLSchema(etree.parse(schema))
    assert checked.validate(etree.parse(str(out / "talk.eaf"))), checked.error_log


def test_our_own_readers_of_events_read_elan_boris_and_bids(out: Path, expected: list[Interval]) -> None:
    names = ("talk.eaf", "talk.boris.csv", "bids/sub-talk/beh/sub-talk_task-video_events.tsv")
    for name in names:
        found = read_events(out / name)
        assert len(found) == len(expected), name
        np.testing.assert_allclose(
            sorted(one.onset for one in found), [one.onset - START for one in expected], atol=0.00051
        )
        assert sorted(one.label for one in found) == sorted(one.label for one in expected)


def test_praat_tiers_have_no_holes(out: Path, expected: list[Interval]) -> None:
    grid = textgrid.openTextgrid(str(out / "talk.TextGrid"), includeEmptyIntervals=False)
    found = sorted((e.start, e.end, e.label) for name in grid.tierNames for e in grid.getTier(name).entries)
    wanted = sorted((one.onset - START, one.offset - START, one.label) for one in expected)
    np.testing.assert_allclose([e[:2] for e in found], [e[:2] for e in wanted], atol=1e-5)
    assert [e[2] for e in found] == [e[2] for e in wanted]
    whole = textgrid.openTextgrid(str(out / "talk.TextGrid"), includeEmptyIntervals=True)
    for name in whole.tierNames:
        entries = whole.getTier(name).entries
        assert entries[0].start == 0 and entries[-1].end == whole.maxTimestamp
        assert all(a.end == b.start for a, b in itertools.pairwise(entries))


def test_subtitles_name_the_person(out: Path, expected: list[Interval]) -> None:
    cues = webvtt.read(str(out / "talk.vtt")).captions
    assert len(cues) == len(expected)
    first = expected[0]
    np.testing.assert_allclose([cue.start_in_seconds for cue in cues], [one.onset - START for one in expected], atol=1)
    assert sorted(cue.text for cue in cues) == sorted(one.label for one in expected)
    assert {cue.voice for cue in cues} == {"face 0"}
    lines = webvtt.from_srt(str(out / "talk.srt")).captions
    assert [line.start for line in lines] == [cue.start for cue in cues]
    assert sorted(line.text for line in lines) == sorted(f"{one.person}: {one.label}" for one in expected)
    assert cues[0].start == f"00:00:{first.onset - START:06.3f}"


def test_lyrics_say_at_each_change_what_is_there(out: Path, expected: list[Interval]) -> None:
    """Read by ffmpeg, whose packets have the start of each line, and the text."""
    command = [
        "ffprobe",
        "-v",
        "error",
        "-f",
        "lrc",
        "-show_packets",
        "-show_data",
        "-of",
        "json",
        str(out / "talk.lrc"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    packets = json.loads(done.stdout)["packets"]
    edges = sorted({round(milli(t) / 10) for one in expected for t in (one.onset, one.offset)})
    lines = re.findall(r"^\[(\d+):(\d+)\.(\d\d)\](.*)$", (out / "talk.lrc").read_text(encoding="utf-8"), re.M)
    starts = [int(m) * 6000 + int(s) * 100 + int(h) for m, s, h, _ in lines]
    assert starts == edges
    assert [round(float(packet["pts_time"]) * 100) for packet in packets] == [
        start for start, line in zip(starts, lines, strict=True) if line[3] or start
    ]
    for start, (*_, text) in zip(starts, lines, strict=True):
        there = [one.label for one in expected if round(milli(one.onset) / 10) <= start < round(milli(one.offset) / 10)]
        said = [label for part in text.split("; ") if part for label in part.partition(": ")[2].split(", ")]
        assert sorted(said) == sorted(set(there)), start


def test_a_browser_shows_the_cues_over_a_video(chromium: Any, out: Path, expected: list[Interval]) -> None:
    address = "data:text/vtt;base64," + base64.b64encode((out / "talk.vtt").read_bytes()).decode()
    page = chromium.new_page()
    page.set_content(f'<video><track default src="{address}"></video>')
    page.wait_for_function("document.querySelector('track').readyState >= 2", timeout=20_000)
    cues = page.evaluate(
        "[...document.querySelector('track').track.cues]"
        ".map((cue) => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent])"
    )
    page.close()
    wanted = [[milli(one.onset) / 1000, milli(one.offset) / 1000, one.label] for one in expected]
    assert sorted(cues) == sorted(wanted)


def test_mne_reads_annotations_of_text_and_of_edf(out: Path, expected: list[Interval]) -> None:
    for name in ("talk_annot.txt", "talk.annotations.edf"):
        found = mne.read_annotations(out / name)
        assert len(found) == len(expected), name
        np.testing.assert_allclose(sorted(found.onset), [one.onset - START for one in expected], atol=1e-5)
        np.testing.assert_allclose(
            sorted(found.duration), sorted(one.offset - one.onset for one in expected), atol=1e-5
        )
        assert sorted(found.description) == sorted(f"{o.measure}/{o.label}/{o.person}" for o in expected)


def test_annotations_begin_at_the_date_of_the_clock(table: Path, tmp_path: Path, expected: list[Interval]) -> None:
    clock = "start=2026-03-01T10:00:00.250+01:00"
    export(table, "--to", "edf,mne,xdf", "-o", tmp_path, "-q", "--clock", clock)
    began = datetime(2026, 3, 1, 9, 0, 0, 250000, UTC)
    text = mne.read_annotations(tmp_path / "talk_annot.txt")
    assert text.orig_time == began
    np.testing.assert_allclose(min(text.onset), expected[0].onset - START, atol=1e-5)
    edf = (tmp_path / "talk.annotations.edf").read_bytes()
    assert edf[88:168].rstrip() == b"Startdate 01-MAR-2026 X hsemotion X"
    assert edf[168:184] == b"01.03.2610.00.00" and edf[192:197] == b"EDF+C"
    assert edf[512:].startswith(b"+0.250000\x14\x14\0")
    first = edf[512:].split(b"\0")[1]  # onsets count from the whole second of the header
    assert float(first.split(b"\x15")[0]) == pytest.approx(expected[0].onset - START + 0.25, abs=1e-6)
    streams, _ = pyxdf.load_xdf(str(tmp_path / "talk.xdf"))
    np.testing.assert_allclose(streams[0]["time_stamps"][0], began.timestamp(), atol=1e-6)


def test_many_annotations_fill_several_records(tmp_path: Path) -> None:
    records = _records([b"x" * 1000] * 200)
    assert sum(map(len, records)) == 200 and len(records) == 4
    assert max(sum(map(len, record)) for record in records) <= 61440 - 64
    path = tables.write_table(tmp_path / "long.csv", [tables.face(k, k / 25) for k in range(50)])
    many = tuple(Interval(k * 0.5, k * 0.5 + 0.25, "face 0", "expression", "happiness") for k in range(5000))
    with (tmp_path / "long.edf").open("wb") as file:
        write_edf(replace(open_table(path), intervals=many), file)
    head = (tmp_path / "long.edf").read_bytes()[:256]
    assert int(head[236:244]) > 2
    found = mne.read_annotations(tmp_path / "long.edf")
    np.testing.assert_allclose(found.onset, [one.onset for one in many], atol=1e-6)


def test_boris_and_datavyu_have_their_columns(out: Path, expected: list[Interval]) -> None:
    boris = pd.read_csv(out / "talk.boris.csv")
    assert boris["Subject"].unique().tolist() == ["face 0"]
    np.testing.assert_allclose(boris["Start (s)"], [one.onset - START for one in expected], atol=0.00051)
    np.testing.assert_allclose(boris["Duration (s)"], boris["Stop (s)"] - boris["Start (s)"], atol=1e-9)
    assert (boris["FPS (frame/s)"] == 25).all() and (boris["Media file name"] == "a talk & co.mp4").all()
    assert list(boris) == BORIS and (boris["Source"] == "player #1:a talk & co.mp4").all()
    spans = [round(one.offset - START, 3) - round(one.onset - START, 3) for one in expected]
    assert boris["Observation duration by subject by observation"].iloc[0] == pytest.approx(sum(spans), abs=0.001)
    assert boris["Coding duration"].iloc[0] == pytest.approx(max(one.offset for one in expected) - expected[0].onset)
    datavyu = pd.read_csv(out / "talk.datavyu.csv")
    own = [one for one in expected if one.measure == "expression"]
    assert datavyu["face_0_expression.code01"].dropna().tolist() == [one.label for one in own]
    onsets = datavyu["face_0_expression.onset"].dropna()
    np.testing.assert_allclose(onsets, [(one.onset - START) * 1000 for one in own], atol=0.51)


def test_markers_of_xdf_stand_at_onsets_and_offsets(out: Path, expected: list[Interval]) -> None:
    streams, _ = pyxdf.load_xdf(str(out / "talk.xdf"))
    (markers,) = [stream for stream in streams if stream["info"]["type"] == ["Markers"]]
    times = sorted([one.onset - START for one in expected] + [one.offset - START for one in expected])
    np.testing.assert_allclose(markers["time_stamps"], times, atol=1e-9)
    assert markers["time_series"][0][0].startswith("onset ")


def test_bids_events_have_levels(out: Path, expected: list[Interval]) -> None:
    stem = out / "bids" / "sub-talk" / "beh" / "sub-talk_task-video_events"
    events = pd.read_csv(stem.with_suffix(".tsv"), sep="\t", na_values="n/a")
    np.testing.assert_allclose(events["onset"], [one.onset - START for one in expected], atol=1e-6)
    about = json.loads(stem.with_suffix(".json").read_text())
    assert set(about["trial_type"]["Levels"]) == {one.label for one in expected}


def test_what_would_overlap_in_a_tier_gets_a_further_one() -> None:
    spans = [(0.0, 2.0, "a"), (1.0, 3.0, "b"), (2.0, 4.0, "c"), (2.5, 2.6, "d")]
    found = tiers(Interval(on, off, "x", "m", label) for on, off, label in spans)
    assert [(tier.name, [one.label for one in tier.intervals]) for tier in found] == [
        ("x m", ["a", "c"]),
        ("x m 2", ["b"]),
        ("x m 3", ["d"]),
    ]


def test_names_that_need_care(tmp_path: Path) -> None:
    """Markup, quotes and line ends in the name of a video or a person change nothing around them."""
    name = 'a "b" <c> & d\n-->.mp4'
    rows = [tables.face(k, k / 25) for k in range(50)]
    path = tables.write_table(tmp_path / "t.csv", rows, source=name)
    export(path, "--to", "elan,textgrid,webvtt,srt,boris", "-o", tmp_path / "out", "-q")
    (media,) = Eaf(str(tmp_path / "out" / "t.eaf")).get_linked_files()
    assert media["RELATIVE_MEDIA_URL"].startswith('./a "b" <c> & d')
    assert len(webvtt.read(str(tmp_path / "out" / "t.vtt"))) > 0
    assert _escaped("a --> <b>\n& c") == "a --&gt; &lt;b&gt; &amp; c"
    assert pd.read_csv(tmp_path / "out" / "t.boris.csv")["Source"].iloc[0] == f"player #1:{name}"


HARD = ("=cmd|'/c calc'!A1, \"x\"", "Zoë \U0001f600\n[00:01.00] <b>&--></b>;\t#q", "n" * 400)


def test_every_reader_takes_names_that_nobody_should_have(tmp_path: Path) -> None:
    """Formulas, quotes, separators, line ends, markup, an emoji and 400 letters, as names of three people."""
    rows = [tables.face(k, k / 25, f, person=HARD[f], person_score=0.9) for k in range(50) for f in range(3)]
    path = tables.write_table(tmp_path / "t.csv", rows)
    output = export(path, "--to", FORMATS + ",openface,pyfeat,xlsx", "-o", tmp_path)
    count = len(with_intervals(open_table(path), Rules()).intervals)
    plain = [" ".join(name.split()) for name in HARD]
    eaf = Eaf(str(tmp_path / "t.eaf"))
    assert {eaf.get_parameters_for_tier(tier)["PARTICIPANT"] for tier in eaf.get_tier_names()} == set(HARD)
    assert len(webvtt.read(str(tmp_path / "t.vtt"))) == len(webvtt.from_srt(str(tmp_path / "t.srt"))) == count
    grid = textgrid.openTextgrid(str(tmp_path / "t.TextGrid"), includeEmptyIntervals=False)
    assert {name.partition(" expression")[0] for name in grid.tierNames if "expression" in name} == set(plain)
    names = [stream["info"]["name"][0] for stream in pyxdf.load_xdf(str(tmp_path / "t.xdf"))[0]]
    assert names == [*(f"t {name}" for name in HARD), "t markers"]
    edf = mne.read_annotations(tmp_path / "t.annotations.edf").description
    assert {each.split("/", 2)[2] for each in edf} == set(plain)
    text = mne.read_annotations(tmp_path / "t_annot.txt").description
    assert {each.split("/", 2)[2][:4] for each in text} == {"=cmd", "Zoe ", "nnnn"} and len(text) == count
    assert "MNE reads ASCII without , and # in this file, so names were changed." in output
    for suffix, column in (("boris", "Subject"), ("fex", "Identity")):
        found = set(pd.read_csv(tmp_path / f"t.{suffix}.csv")[column])
        assert found == {f"'{HARD[0]}", *HARD[1:]}, "an apostrophe keeps spreadsheets from computing it"
    events = (tmp_path / "bids" / "sub-t" / "beh" / "sub-t_task-video_events.tsv").read_text(encoding="utf-8")
    assert {line.count("\t") for line in events.splitlines()} == {6} and len(events.splitlines()) == count + 1
    command = [program("bids-validator-deno"), str(tmp_path / "bids"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not [each for each in json.loads(done.stdout)["issues"]["issues"] if each["severity"] == "error"]
    assert max(len(path.name) for path in (tmp_path / "bids").rglob("*")) < 120


def test_a_recording_without_segments_is_said_and_gives_files_that_can_be_read(tmp_path: Path) -> None:
    path = tables.write_table(tmp_path / "one.csv", [tables.face(0, 0.0)])
    output = export(path, "--to", "elan,textgrid,webvtt,lrc,edf,mne,boris", "-o", tmp_path)
    assert "no segments were found in one, so formats of intervals and events hold nothing of it." in output
    grid = textgrid.openTextgrid(str(tmp_path / "one.TextGrid"), includeEmptyIntervals=False)
    assert grid.tierNames == ("segments",) and not grid.getTier("segments").entries
    assert not Eaf(str(tmp_path / "one.eaf")).get_tier_names()
    assert not webvtt.read(str(tmp_path / "one.vtt")).captions
    assert not len(mne.read_annotations(tmp_path / "one.annotations.edf"))
    assert pd.read_csv(tmp_path / "one.boris.csv").empty


def test_an_export_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    row = tables.face(0, 0.0, file="a.jpg", image_width=4, image_height=4)
    tables.write_table(tmp_path / "photos.csv", [row])
    assert "photos have no time" in export(tmp_path / "photos.csv", "--to", "bids", "-o", tmp_path / "out", code=4)
    assert not list((tmp_path / "out").iterdir())


def test_rules_of_segments_count(table: Path, tmp_path: Path) -> None:
    export(table, "--to", "srt", "-o", tmp_path, "-q", "--kinds", "no_face")
    assert (tmp_path / "talk.srt").read_text() == "1\n00:00:10,000 --> 00:00:12,000\nface 0: no_face\n"


def test_photos_have_no_intervals(tmp_path: Path) -> None:
    row = tables.face(0, 0.0, file="a.jpg", image_width=4, image_height=4)
    tables.write_table(tmp_path / "photos.csv", [row])
    for name in ("elan", "edf", "boris", "textgrid", "webvtt", "srt", "lrc", "mne", "datavyu"):
        output = export(tmp_path / "photos.csv", "--to", name, "-o", tmp_path / "out", code=4)
        assert "photos have no time" in output
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_file()]
