"""Files of events: CSV, BIDS, ELAN and BORIS, and what is wrong with them in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsemotion_cli.errors import InputError
from hsemotion_cli.formats.events import Event, assumption, check_recordings, for_recording, read_events

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/lab%20videos/talk.mp4" MIME_TYPE="video/mp4"/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
    <TIME_SLOT TIME_SLOT_ID="ts2"/>
    <TIME_SLOT TIME_SLOT_ID="ts3"/>
    <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4000"/>
  </TIME_ORDER>
  <TIER TIER_ID="smiles" PARTICIPANT="Ann" ANNOTATOR="bob" LINGUISTIC_TYPE_REF="default">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>smile</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="notes" PARENT_REF="smiles" LINGUISTIC_TYPE_REF="note">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>wide</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="default" TIME_ALIGNABLE="true" GRAPHIC_REFERENCES="false"/>
  <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="note" TIME_ALIGNABLE="false" GRAPHIC_REFERENCES="false"
    CONSTRAINTS="Symbolic_Association"/>
</ANNOTATION_DOCUMENT>
"""


def brief(events: list[Event]) -> list[tuple[str, str, float, float, str]]:
    return [(e.recording, e.person, round(e.onset, 6), round(e.offset, 6), e.label) for e in events]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_file_is_read_with_any_separator(tmp_path: Path, separator: str) -> None:
    lines = ["recording,onset,offset,duration,label,person", "talk,1.5,3,,question,Ann", "", ",0,,2,baseline,"]
    path = written(tmp_path / "events.csv", "\n".join(lines).replace(",", separator))
    events = read_events(path)
    assert brief(events) == [("talk", "Ann", 1.5, 3.0, "question"), ("", "", 0.0, 2.0, "baseline")]
    assert brief(for_recording(events, "other")) == [("", "", 0.0, 2.0, "baseline")]


def test_decimal_commas_beside_semicolons_and_utf16_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("onset;duration;label\n1,25;0,5;smile\n", encoding="utf-16")
    assert brief(read_events(path)) == [("", "", 1.25, 1.75, "smile")]


def test_bids_events_take_their_recording_from_the_file_name(tmp_path: Path) -> None:
    text = "onset\tduration\ttrial_type\tresponse_time\n1.2\t0.6\tgo\t1.4\n5.6\tn/a\tstop\tn/a\n"
    events = read_events(written(tmp_path / "sub-01_task-talk_events.tsv", text))
    assert brief(events) == [("sub-01_task-talk", "", 1.2, 1.8, "go"), ("sub-01_task-talk", "", 5.6, 5.6, "stop")]


def test_elan_tiers_unaligned_slots_and_references_are_read(tmp_path: Path) -> None:
    events = read_events(written(tmp_path / "coding.eaf", EAF))
    assert brief(events) == [
        ("talk", "Ann", 1.0, 2.0, "smile"), ("talk", "Ann", 3.0, 4.0, "smiles"), ("talk", "", 1.0, 2.0, "wide"),
    ]  # fmt: skip
    assert [(e.tier, e.coder) for e in events] == [("smiles", "bob"), ("smiles", "bob"), ("notes", "")]


BORIS_8 = (
    "Observation id,Observation date,Subject,Behavior,Behavioral category,Behavior type,Time,Media file name\n"
    "o1,2026-01-01,Ann,smile,face,START,1.000,/videos/talk.mp4\n"
    "o1,2026-01-01,No focal subject,cough,,POINT,1.5,/videos/talk.mp4\n"
    "o1,2026-01-01,Ann,smile,face,STOP,2.25,/videos/talk.mp4\n"
)
BORIS_7 = (
    "Observation id\to1\n\nMedia file(s)\n\nTime\tMedia file path\tSubject\tBehavior\tBehavioral category\tStatus\n"
    "1.0\tC:\\videos\\talk.mp4\tAnn\tsmile\tface\tSTART\n2.25\tC:\\videos\\talk.mp4\tAnn\tsmile\tface\tSTOP\n"
)
BORIS_AGGREGATED = (
    "Observation id,Media file name,Subject,Behavior,Behavior type,Start (s),Stop (s),Duration (s)\n"
    "o1,talk.mp4,Ann,smile,STATE,1.0,2.25,1.25\no1,talk.mp4,No focal subject,cough,POINT,1.5,1.5,NA\n"
)


@pytest.mark.parametrize(("name", "text"), [("b.csv", BORIS_8), ("b.tsv", BORIS_7), ("b.csv", BORIS_AGGREGATED)])
def test_exports_of_boris_are_read(tmp_path: Path, name: str, text: str) -> None:
    events = brief(read_events(written(tmp_path / name, text)))
    assert events[0] == ("talk", "Ann", 1.0, 2.25, "smile")
    assert events[1:] == ([] if text == BORIS_7 else [("talk", "", 1.5, 1.5, "cough")])


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("e.csv", "onset,offset,label\n1,2,a\n-1,2,b\n", "e.csv, row 3: the onset -1 is negative"),
        ("e.csv", "onset,offset,label\n3,2,a\n", "e.csv, row 2: it ends at 2 s, before its onset at 3 s"),
        ("e.csv", "onset,offset,label\nx,2,a\n", "e.csv, row 2: onset is 'x', not a number"),
        ("e.csv", "onset,offset,label\ninf,inf,a\n", "e.csv, row 2: onset and offset must be finite"),
        ("e.csv", "onset,offset,label\n1,2,\n", "e.csv, row 2: it has no label"),
        ("e.csv", "onset,offset,label\n1,2\n", "e.csv, row 2: 2 cells, but the header has 3"),
        ("e.csv", "onset,offset,label,kind\n1,2,a,thing\n", "e.csv, row 2: kind is 'thing'; choose from"),
        ("e.csv", "begin,label\n1,a\n", "e.csv: no columns onset, and offset or duration"),
        ("e.csv", "onset,offset\n1,2\n", "e.csv: no column label"),
        ("e.csv", "", "e.csv: empty"),
        ("e.docx", "x", "e.docx: not a file of events"),
        ("e.eaf", "<html/>", "e.eaf: not a file of ELAN"),
        ("e.eaf", "<a", "e.eaf: not XML"),
        ("e.eaf", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "e.eaf: it declares a document type"),
        ("e.eaf", EAF.replace('TIME_VALUE="4000"', ""), "tier smiles, annotation a1: its time slot 'ts2' has no time"),
        ("e.eaf", EAF.replace('ANNOTATION_REF="a1"', 'ANNOTATION_REF="a3"'), "annotation a3: .* lead in a circle"),
        ("e.csv", BORIS_8.replace("STOP", "START"), "e.csv, row 4: smile starts again before it stopped"),
        ("e.csv", BORIS_8.replace("START", "STOP"), "e.csv, row 2: smile stops, but did not start"),
        ("e.csv", "\n".join(BORIS_8.splitlines()[:2]), "e.csv, row 2: smile starts, but never stops"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_file_and_row(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_events(written(tmp_path / name, text))


def test_a_missing_file_and_an_unknown_recording_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: cannot be read"):
        read_events(tmp_path / "gone.csv")
    events = read_events(written(tmp_path / "e.csv", "recording,onset,offset,label\ntlak,1,2,a\n"))
    with pytest.raises(InputError, match=r"e\.csv, row 2: no table of the recording 'tlak'"):
        check_recordings(events, ["talk"])


def test_what_another_reader_of_elan_finds_is_found(tmp_path: Path) -> None:
    elan = pytest.importorskip("pympi.Elan", reason="needs pympi-ling, of the extra [dev]")
    path = written(tmp_path / "coding.eaf", EAF.replace('"ts2"/>', '"ts2" TIME_VALUE="1500"/>').replace(
        '"ts3"/>', '"ts3" TIME_VALUE="2500"/>'))  # fmt: skip
    theirs = elan.Eaf(str(path)).get_annotation_data_for_tier("smiles")
    ours = [e for e in read_events(path) if e.tier == "smiles"]
    assert [(round(1000 * e.onset), round(1000 * e.offset)) for e in ours] == [(a, b) for a, b, *_ in theirs]
    assert [e.label if e.label != "smiles" else "" for e in ours] == [label or "" for _, _, label, *_ in theirs]


@pytest.mark.parametrize(
    ("name", "header", "says"),
    [
        ("talk.csv", "onset,offset,label", "its rows belong to the recording talk, by its name"),
        ("talk_events.tsv", "onset\tduration\ttrial_type", "its rows belong to the recording talk, by its name"),
        ("windows.csv", "onset,offset,label", "its rows belong to every recording"),
        ("talk.csv", "recording,onset,offset,label", ""),
        ("talk.csv", "Observation id,Behavior,Start (s),Stop (s)", ""),
    ],
)
def test_what_a_file_without_a_recording_is_taken_for_is_said(
    tmp_path: Path, name: str, header: str, says: str
) -> None:
    (tmp_path / name).write_text(header + "\n")
    found = assumption(tmp_path / name)
    assert found == (f"{tmp_path / name}: it has no column recording, so {says}." if says else "")


def test_segments_are_read_as_labels_of_the_tier_that_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "segments.csv"
    path.write_text(
        "recording,person,kind,label,onset,peak,offset,duration,mean,maximum,area,rise,coverage,frames,first_row,last_row\n"
        "talk,0,expression,happiness,1.0,1.5,2.0,1.0,0.9,0.9,0.9,0.5,1.0,25,1,25\n"
    )
    (one,) = read_events(path)
    assert (one.recording, one.person, one.kind, one.tier, one.label) == (
        "talk",
        "0",
        "label",
        "expression",
        "happiness",
    )
    assert (one.onset, one.offset) == (1.0, 2.0)
