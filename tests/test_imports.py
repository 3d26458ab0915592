"""Other programs' files become tables, whatever their encoding, separators and gaps; what is left out is named."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hsemotion_cli import load
from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError
from hsemotion_cli.formats import sidecar
from hsemotion_cli.formats.table_reader import check_cells, read_blocks
from hsemotion_cli.imports.catalogue import recognise
from hsemotion_cli.imports.job import compact
from hsemotion_cli.imports.rows import TableRows

UNITS_R = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
UNITS_C = tuple(sorted((*UNITS_R, 28)))
AXES = [f"{axis}_{k}" for axis in "xyXYZ" for k in range(68)]
GAZE = [f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"]
POSE = [f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"]
UNITS = [f"AU{unit:02d}_r" for unit in UNITS_R] + [f"AU{unit:02d}_c" for unit in UNITS_C]
OPENFACE_2 = ["frame", "face_id", "timestamp", "confidence", "success", *GAZE, "gaze_angle_x", "gaze_angle_y"]
OPENFACE_2 += [f"eye_lmk_{axis}_{k}" for axis in "xyXYZ" for k in range(56)] + POSE + AXES
OPENFACE_2 += ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty", *(f"p_{k}" for k in range(34)), *UNITS]
"""The header of the documentation's page "Output Format": 714 columns and face_id."""

OPENFACE_1 = [name for name in OPENFACE_2 if name != "face_id" and not name.startswith(("eye_", "gaze_angle"))]


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def write(path: Path, header: Sequence[str], rows: Iterable[dict[str, Any]], separator: str = ",", **how: Any) -> Path:
    """Rows by name; what is not given is 0."""
    lines = [separator.join(header), *(separator.join(str(row.get(name, 0)) for name in header) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=how.get("encoding", "utf-8"), newline=how.get("newline", "\n")) as file:
        file.write(how.get("before", "") + "\n".join(lines) + "\n")
    return path


def openface_row(frame: int, **more: Any) -> dict[str, Any]:
    """Values like those of the documented example: landmarks 0 and 33 are the corners of the box."""
    marks = {f"x_{k}": 300.0 for k in range(68)} | {f"y_{k}": 200.0 for k in range(68)}
    marks |= {"x_0": 277.276, "y_0": 181.19, "x_16": 380.562, "y_8": 260.935, "y_19": 166.289}
    numbers = {"frame": frame, "timestamp": round((frame - 1) / 30, 3), "confidence": 0.883333, "success": 1}
    return {**numbers, **marks, "AU12_c": 1, "AU12_r": 2.5, "AU04_c": 1, "pose_Rx": 0.29759, **more}


# --- OpenFace -------------------------------------------------------------------------------------------------


def test_openface_2_becomes_a_table(tmp_path: Path) -> None:
    rows = [openface_row(1), openface_row(2, success=0, confidence=0.02), openface_row(3, AU12_c=0)]
    output = run(write(tmp_path / "p01.csv", OPENFACE_2, rows), "-o", tmp_path / "out")
    table = load(tmp_path / "out" / "p01.csv").frame
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["time"].tolist() == [0.0, 0.033, 0.067]
    assert table["face_detected"].tolist() == [1, 0, 1] and table["face_id"].isna().tolist() == [False, True, False]
    assert table["AU12_c"].tolist()[::2] == [1, 0] and table["AU04_c"].tolist()[0] == 1
    assert table["AU12_p"].isna().all() and table["p_happiness"].isna().all() and table["AU24_c"].isna().all()
    box = [table[name].iloc[0] for name in "xywh"]
    assert box == pytest.approx([277.28, 166.29, 103.29, 94.65])
    assert table["det_score"].iloc[0] == 0.8833
    assert "AU26_r, AU45_r, intensities from 0 to 5, which are no probabilities." in output
    assert "1 of 3 rows have no face: success is 0." in output


def test_the_sidecar_names_what_has_no_place(tmp_path: Path) -> None:
    source = write(tmp_path / "p01.csv", OPENFACE_2, [openface_row(1), openface_row(2)])
    run(source, "-o", tmp_path / "out", "-q")
    meta = json.loads((tmp_path / "out" / "p01.json").read_text())
    assert meta["imported"]["format"] == "OpenFace 2" and meta["recipe"] is None
    unheld = meta["imported"]["columns_without_counterpart"]
    assert {"X_0", "Z_67", "p_scale", "pose_Tx", "AU28_c", "eye_lmk_x_55"} <= set(unheld)
    refused = meta["imported"]["columns_refused"]
    parts = [unheld, meta["imported"]["columns_read"], list(refused)]
    assert sorted(name for part in parts for name in part) == sorted(OPENFACE_2)  # each column is in one of the three
    import hashlib

    assert meta["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert meta["faces"] == {"coverage": 1.0, "rows": 2, "ids": 1, "fleeting_tracks": 0}
    assert "X_0 ... X_67" in " ".join(meta["source"]["notes"])


def test_several_faces_keep_their_ids_and_a_lost_one_has_no_row(tmp_path: Path) -> None:
    rows = [
        openface_row(1, face_id=1), openface_row(1, face_id=0, AU12_c=0), openface_row(2, face_id=0, success=0),
        openface_row(2, face_id=1), openface_row(3, face_id=0, success=0), openface_row(3, face_id=1, success=0),
    ]  # fmt: skip
    run(write(tmp_path / "two.csv", OPENFACE_2, rows), "-o", tmp_path / "out", "-q")
    table = load(tmp_path / "out" / "two.csv").frame
    assert table["frame"].tolist() == [0, 0, 1, 2] and table["face_id"].fillna(-1).tolist() == [0, 1, 1, -1]
    assert table["AU12_c"].tolist()[:2] == [0, 1]


def test_a_face_that_is_there_twice_in_a_frame_is_counted(tmp_path: Path) -> None:
    rows = [openface_row(1), openface_row(1, AU12_c=0), openface_row(2)]
    output = run(write(tmp_path / "twice.csv", OPENFACE_2, rows), "-o", tmp_path / "out")
    assert "1 rows repeat a face of the same frame and were left out." in output
    assert load(tmp_path / "out" / "twice.csv").frame["AU12_c"].tolist() == [1, 1]


def test_openface_1_has_spaces_in_its_header_and_no_face_id(tmp_path: Path) -> None:
    header = [OPENFACE_1[0], *(f" {name}" for name in OPENFACE_1[1:])]
    rows = [{f" {name}" if name != "frame" else name: v for name, v in openface_row(k).items()} for k in (1, 2)]
    run(write(tmp_path / "old.csv", header, rows), "-o", tmp_path / "out", "-q")
    assert json.loads((tmp_path / "out" / "old.json").read_text())["imported"]["format"] == "OpenFace 1"
    assert load(tmp_path / "out" / "old.csv").frame["face_id"].tolist() == [0, 0]


def test_an_export_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = [tables.face(k, k / 25) for k in range(30)] + [tables.nobody(30, 1.2), tables.face(31, 1.24)]
    source = tables.write_table(tmp_path / "talk.csv", rows)
    result = CliRunner().invoke(
        app, ["export", str(source), "--to", "openface,pyfeat", "-o", str(tmp_path / "x"), "-q"]
    )
    assert result.exit_code == 0, result.output
    before = load(source).frame
    for name, columns in (
        ("openface", ["frame", "time", "face_id", "face_detected", "det_score", "AU12_c", "AU26_c"]),
        ("fex", ["frame", "time", "face_id", "face_detected", "det_score", "x", "h", "AU12_p", "AU24_p", "valence",
                 "arousal", "p_happiness", "p_neutral", "expression", "expression_score"]),
    ):  # fmt: skip
        run(tmp_path / "x" / f"talk.{name}.csv", "-o", tmp_path / name, "-q")
        after = load(tmp_path / name / f"talk.{name}.csv").frame
        pd.testing.assert_frame_equal(after[columns], before[columns])


# --- py-feat, LibreFace, FaceReader, iMotions -----------------------------------------------------------------


FEX = [
    "frame",
    "FaceRectX",
    "FaceRectY",
    "FaceRectWidth",
    "FaceRectHeight",
    "FaceScore",
    "Pitch",
    "AU01",
    "AU12",
    "AU43",
]
FEX += ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "input", "approx_time"]


def test_pyfeat_has_probabilities_and_needs_a_frame_rate(tmp_path: Path) -> None:
    seen = {"FaceRectX": 10.5, "FaceRectWidth": 90, "FaceScore": 0.99, "AU12": 0.75, "happiness": 0.8, "neutral": 0.2}
    empty = {name: "" for name in FEX} | {"frame": 24, "FaceScore": 0.0}
    source = write(tmp_path / "fex.csv", FEX, [{"frame": 0, **seen}, empty, {"frame": 48, **seen}])
    assert "there is no time; give --fps" in run(source, "-o", tmp_path / "out", code=4)
    output = run(source, "-o", tmp_path / "out", "--fps", "24")
    table = load(tmp_path / "out" / "fex.csv").frame
    assert table["time"].tolist() == [0.0, 1.0, 2.0] and table["face_detected"].tolist() == [1, 0, 1]
    assert table["AU12_p"].iloc[0] == 0.75 and table["expression"].iloc[0] == "happiness"
    assert "left out: Pitch, its unit differs between versions of py-feat." in output and "AU43" in output


def test_names_of_py_feat_are_names_of_people(tmp_path: Path) -> None:
    """Its own ``Person_1`` is a face id; a name that somebody gave stays, and comes back out of our own export."""
    header = ["frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Identity"]
    rows = [{"frame": 0, "FaceRectX": k, "Identity": who} for k, who in enumerate(("Ann", "Person_4", "Ben", "face 7"))]
    run(write(tmp_path / "f.csv", header, rows), "-o", tmp_path / "out", "--fps", "25", "-q")
    table = load(tmp_path / "out" / "f.csv").frame.set_index("x")
    assert table["face_id"].to_dict() == {0.0: 0, 1.0: 4, 2.0: 1, 3.0: 7}
    assert table["person"].fillna("").to_dict() == {0.0: "Ann", 1.0: "", 2.0: "Ben", 3.0: ""}
    done = CliRunner().invoke(app, ["export", str(tmp_path / "out"), "--to", "pyfeat", "-o", str(tmp_path / "x"), "-q"])
    assert done.exit_code == 0, done.output
    assert set(pd.read_csv(tmp_path / "x" / "f.fex.csv")["Identity"]) == {"Ann", "face 4", "Ben", "face 7"}


def test_libreface_has_presence_and_a_name(tmp_path: Path) -> None:
    header = ["frame_idx", "frame_time_in_ms", "au_1", "au_12", "au_12_intensity", "facial_expression", "pitch"]
    rows = [
        {"frame_idx": 0, "frame_time_in_ms": 0, "au_12": 1, "au_12_intensity": 3.2, "facial_expression": "Happiness"},
        {"frame_idx": 1, "frame_time_in_ms": 33.4, "facial_expression": "Neutral"},
    ]
    run(write(tmp_path / "l.csv", header, rows), "-o", tmp_path / "out", "-q")
    table = load(tmp_path / "out" / "l.csv").frame
    assert table["expression"].tolist() == ["happiness", "neutral"] and table["AU12_c"].tolist() == [1, 0]
    assert table["time"].tolist() == [0.0, 0.0334]


FACEREADER = ["Video Time", "Neutral", "Happy", "Sad", "Angry", "Surprised", "Scared", "Disgusted", "Contempt"]
FACEREADER += ["Valence", "Arousal", "Stimulus", "Action Unit 12 - Lip Corner Puller"]
PREAMBLE = "Video analysis detailed log\nFace Model:\tGeneral\nFilename:\tC:\\studies\\p 1.avi\nFrame rate:\t25\n\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "cp1252", "utf-16-le"])
def test_facereader_failures_are_frames_without_a_face(tmp_path: Path, encoding: str) -> None:
    failed = {name: "FIND_FAILED" for name in FACEREADER[1:]}
    rows = [
        {"Video Time": "00:00:00.000", "Neutral": "0,25", "Happy": "0,75", "Valence": "0,75",
         "Stimulus": "Bär", "Action Unit 12 - Lip Corner Puller": "C"},
        {**failed, "Video Time": "00:00:00.040"},
        {**failed, "Neutral": "FIT_FAILED", "Video Time": "00:00:00.080"},
        {"Video Time": "00:01:00.120", "Neutral": "0,9", "Action Unit 12 - Lip Corner Puller": "NotActive"},
    ]  # fmt: skip
    how = {"encoding": encoding, "newline": "\r\n", "before": PREAMBLE}
    output = run(write(tmp_path / "log.txt", FACEREADER, rows, "\t", **how), "-o", tmp_path / "out")
    table = load(tmp_path / "out" / "log.csv").frame
    assert table["time"].tolist() == [0.0, 0.04, 0.08, 60.12]
    assert table["face_detected"].tolist() == [1, 0, 0, 1]
    assert table["p_happiness"].iloc[0] == 0.75 and table["p_neutral"].tolist()[::3] == [0.25, 0.9]
    assert table["expression"].tolist()[::3] == ["happiness", "neutral"] and table["AU12_c"].tolist()[::3] == [1, 0]
    assert table["arousal"].isna().all()
    for reason in ("FIND_FAILED", "FIT_FAILED"):
        assert f"1 of 4 rows have no face: {reason}." in output
    assert "left out: Arousal, its scale is 0 to 1." in output
    assert "do not sum to 1" in output and "varies from 0.0400 to 60.0400 seconds" in output


@pytest.mark.parametrize("column", ["Dominant Expression", "Emotion"])
def test_facereader_states(tmp_path: Path, column: str) -> None:
    """As FaceReader 9 writes them: lines about the analysis, and a last row that says when the video ends."""
    rows = [
        {"Video Time": "00:00:00.000", column: "Unknown"},
        {"Video Time": "00:00:01.500", column: "Neutral"},
        {"Video Time": "00:00:02.000", column: "Scared"},
        {"Video Time": "00:06:54.033", column: "END"},
    ]
    before = "Video analysis state log\n\nFace Model\tGeneral\nFrame rate\t30.000000000\n\n\n\n"
    source = write(tmp_path / "state.txt", ["Video Time", column], rows, "\t", before=before)
    output = run(source, "-o", tmp_path / "out")
    table = load(tmp_path / "out" / "state.csv").frame
    assert table["expression"].fillna("").tolist() == ["", "neutral", "fear"]
    assert table["face_detected"].tolist() == [0, 1, 1]
    assert "1 of 4 rows were left out: the end of the video." in output


def test_facereader_says_who_and_which_analysis_in_columns_that_are_named(tmp_path: Path) -> None:
    """A log of FaceReader 9 without valence and action units, but with columns about the participant."""
    header = [*FACEREADER[:8], "Gender", "Age", "Glasses", "Participant Name", "Analysis Index"]
    rows = [
        {**{name: "FIND_FAILED" for name in header[1:11]}, "Video Time": "00:00:00.000", "Participant Name": "R."},
        {"Video Time": "00:00:00.033", "Neutral": "0.389905800", "Happy": "0.007862101", "Sad": "0.671909500"},
    ]
    output = run(write(tmp_path / "d.txt", header, rows, "\t"), "-o", tmp_path / "out")
    table = load(tmp_path / "out" / "d.csv").frame
    assert table["expression"].fillna("").tolist() == ["", "sadness"] and table["p_neutral"].iloc[1] == 0.389906
    assert "5 columns have no counterpart in a table: Gender, Age, Glasses, Participant Name, Analysis Index." in output


IMOTIONS_10 = """Row Timestamp EventSource SlideEvent StimType Duration CollectionPhase SourceStimuliName EventSource
SampleNumber Anger Contempt Disgust Fear Joy Sadness Surprise Engagement Valence Sentimentality Confusion Neutral
Attention Brow_Furrow Brow_Raise Cheek_Raise Chin_Raise Dimpler Eye_Closure Eye_Widen Inner_Brow_Raise Jaw_Drop
Lip_Corner_Depressor Lip_Press Lip_Pucker Lip_Stretch Lip_Suck Lid_Tighten Mouth_Open Nose_Wrinkle Smile Smirk
Upper_Lip_Raise Blink BlinkRate Pitch Yaw Roll Interocular_Distance Respondent_Annotations_active"""


def test_imotions_10_writes_these_columns(tmp_path: Path) -> None:
    header = [name.replace("_", " ") for name in IMOTIONS_10.split()]
    numbers = {name: str(k) for k, name in enumerate(header)} | {"Blink": "1", "Valence": "-50"}
    lines = [f"# {k}" for k in range(24)]
    lines += [",".join(header), ",".join(numbers[name] for name in header)]
    (tmp_path / "001_R3.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    output = run(tmp_path / "001_R3.csv", "-o", tmp_path / "out")
    first = load(tmp_path / "out" / "001_R3.csv").frame.iloc[0]
    units = {"AU01": "Inner Brow Raise", "AU02": "Brow Raise", "AU04": "Brow Furrow", "AU06": "Cheek Raise",
             "AU07": "Lid Tighten", "AU10": "Upper Lip Raise", "AU12": "Smile", "AU15": "Lip Corner Depressor",
             "AU24": "Lip Press", "AU25": "Mouth Open", "AU26": "Jaw Drop"}  # fmt: skip
    assert {unit: first[f"{unit}_p"] for unit in units} == {u: header.index(name) / 100 for u, name in units.items()}
    assert first["valence"] == -0.5 and first["blink"] == 1 and first["p_anger"] == 0.1
    assert "left out: Pitch, Yaw, Roll, its sign is not documented." in output


def test_py_feat_2_names_emotions_otherwise(tmp_path: Path) -> None:
    header = ["frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "AU12"]
    header += ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "valence", "arousal", "approx_time"]
    row = {"frame": 0, "FaceRectX": 1, "FaceRectWidth": 2, "FaceScore": 1, "Happy": 0.75, "Sad": 0.25, "valence": 0.5}
    run(write(tmp_path / "f.csv", header, [row]), "-o", tmp_path / "out", "--fps", "25", "-q")
    first = load(tmp_path / "out" / "f.csv").frame.iloc[0]
    assert (first["p_happiness"], first["p_sadness"], first["expression"]) == (0.75, 0.25, "happiness")


def test_imotions_rows_of_other_sensors_are_no_frames(tmp_path: Path) -> None:
    header = ["Row", "Timestamp", "EventSource", "Number of faces", "Anger", "Contempt", "Disgust", "Fear", "Joy"]
    header += ["Sadness", "Surprise", "Engagement", "Valence", "Smile", "GSR RAW"]
    blank = {name: "" for name in header}
    rows = [
        {"Row": 1, "Timestamp": 0, "Number of faces": 1, "Joy": 80, "Valence": -25.5, "Smile": 90.0, "GSR RAW": ""},
        {**blank, "Row": 2, "Timestamp": 4, "GSR RAW": 3.3},
        {**blank, "Row": 3, "Timestamp": 8, "GSR RAW": 3.4},
        {**blank, "Row": 4, "Timestamp": 33.3, "Number of faces": 0},
    ]
    before = "#INFO\n#Study name,Pilot\n#METADATA\n#DATA\n"
    output = run(write(tmp_path / "i.csv", header, rows, before=before), "-o", tmp_path / "out")
    table = load(tmp_path / "out" / "i.csv").frame
    assert table["time"].tolist() == [0.0, 0.0333] and table["face_detected"].tolist() == [1, 0]
    first = table.iloc[0]
    assert (first["p_happiness"], first["valence"], first["AU12_p"]) == (0.8, -0.255, 0.9)
    assert "2 of 4 rows were left out: samples of other sensors." in output and "GSR RAW" in output


# --- any file, by a map ---------------------------------------------------------------------------------------


MAP = """
[columns]
time = { from = "Time (ms)", scale = 0.001 }
p_happiness = { from = "Freude", scale = 0.01 }
valence = { from = "V", scale = 0.5, shift = -1 }
face_id = "Person"
expression = "Ausdruck"
[missing]
column = "Status"
values = ["LOST"]
"""


def test_a_map_reads_semicolons_decimal_commas_and_a_wrong_suffix(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP)
    header = ["Time (ms)", "Freude", "V", "Person", "Ausdruck", "Status", "Größe"]
    rows: list[dict[str, Any]] = [
        {"Time (ms)": "0", "Freude": "87,5", "V": "3,0", "Person": 2, "Ausdruck": "Happy", "Status": "OK"},
        {"Time (ms)": "0", "Freude": "12,5", "V": "1", "Person": 1, "Ausdruck": "neutral", "Status": "OK"},
        {"Time (ms)": "40", "Status": "LOST", "Ausdruck": "LOST", "Freude": "LOST"},
    ]
    source = write(tmp_path / "data.xls", header, rows, ";", encoding="utf-16", newline="\r\n")
    output = run(source, "--map", tmp_path / "map.toml", "-o", tmp_path / "out", "-f", "csv,jsonl,parquet")
    frames = [load(tmp_path / "out" / f"data.{suffix}").frame for suffix in ("csv", "jsonl", "parquet")]
    for other in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], other)
    table = frames[0]
    assert table["face_id"].fillna(-1).tolist() == [1, 2, -1] and table["frame"].tolist() == [0, 0, 1]
    assert table["p_happiness"].tolist()[:2] == [0.125, 0.875] and table["valence"].tolist()[:2] == [-0.5, 0.5]
    assert table["expression"].tolist()[:2] == ["neutral", "happiness"]
    assert "1 column has no counterpart in a table: Größe." in output
    assert "1 of 3 rows have no face: Status is LOST." in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[columns]\nsmile = 'Joy'\n", "smile is not a column of tables"),
        ("[columns]\nvalence = 'V'\n", "map time, or frame and give --fps"),
        ("[columns]\ntime = 't'\nvalence = 't'\n", "'t' of the file is used twice"),
        ("[columns]\ntime = { from = 't', scale = 'x' }\n", "scale, shift and first are numbers"),
        ("[columns]\ntime = 3\n", "give a column's name"),
        ("[columns\n", "not TOML"),
        ("time = 't'\n", "give a table [columns]"),
        ("[columns]\ntime = 't'\n[missing]\ncolumn = 's'\n", "[missing] has column"),
    ],
)
def test_maps_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    source = write(tmp_path / "d.csv", ["t", "V"], [{}])
    assert message in run(source, "--map", tmp_path / "map.toml", "-o", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AU12_c": 7}, "line 3: AU12_c: '7' is neither 0 nor 1."),
        ({"timestamp": "soon"}, "line 3: timestamp: 'soon' is not a number."),
        ({"timestamp": ""}, "line 3: there is no time"),
        ({"confidence": 88.3}, "line 3: det_score would be 88.3, outside 0 to 1; is the scale another one?"),
        ({"face_id": 0.5}, "line 3: face_id: '0.5' is not a whole number."),
        ({"timestamp": "inf"}, "line 3: timestamp: 'inf' is not finite."),
    ],
)
def test_a_cell_that_makes_no_sense_is_named_with_its_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    source = write(tmp_path / "p.csv", OPENFACE_2, [openface_row(1), openface_row(2, **change)])
    output = run(source, "-o", tmp_path / "out", code=4)
    assert f"p.csv: {message}" in output
    assert not list((tmp_path / "out").iterdir())


def test_rows_out_of_order_are_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "p.csv", OPENFACE_2, [openface_row(2), openface_row(1)])
    assert "line 3: frame 0 comes after frame 1; sort the rows by frame" in run(source, "-o", tmp_path / "out", code=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "is an Excel workbook or another archive, not text; save it as CSV first."),
        (b"PAR1rest", "is a Parquet file"),
        (b"", "is empty."),
        (b"a,b\n1,2\n", "describe its columns with --from csv --map FILE.toml."),
        (b"frame,timestamp,confidence\n1,0,1\n", "not a file of openface"),
        (b"frame,timestamp,confidence,success\n", "there are no rows below its header."),
        (b"frame,timestamp,confidence,success\n1,0,1\n", "line 2 has 3 cells, but the header has 4."),
    ],
)
def test_files_that_are_none_of_the_formats(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    assert message in run(tmp_path / "x.csv", "-o", tmp_path / "out", code=4)


def test_one_bad_file_of_many_does_not_stop_the_others(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a" / "p.csv", OPENFACE_1, [openface_row(1)])
    write(tmp_path / "in" / "b" / "p.csv", OPENFACE_1, [openface_row(1)])
    (tmp_path / "in" / "notes.txt").write_text("nothing to see")
    output = run(tmp_path / "in", "-o", tmp_path / "out", code=3)
    assert "notes.txt: not a file of openface" in output
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.csv")) == [
        "a/p.csv",
        "b/p.csv",
    ]
    assert "would both become p" in run(
        tmp_path / "in/a/p.csv", tmp_path / "in/b/p.csv", "-o", tmp_path / "other", code=2
    )


def test_a_table_of_ours_is_recognised(tmp_path: Path) -> None:
    source = tables.write_table(tmp_path / "talk.csv", [tables.face(0, 0.0)])
    assert "is a table of hsemotion already" in run(source, "-o", tmp_path / "out", code=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "spss"], "--from spss: choose from openface"),
        (["--from", "csv"], "--from csv: describe the columns with --map"),
        (["--fps", "0"], "--fps 0: give a rate above 0."),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, arguments: list[str], message: str) -> None:
    source = write(tmp_path / "p.csv", OPENFACE_1, [openface_row(1)])
    assert message in run(source, *arguments, "-o", tmp_path / "out", code=2)


def test_from_forces_a_format(tmp_path: Path) -> None:
    source = write(tmp_path / "p.csv", OPENFACE_1, [openface_row(1)])
    assert "no header of facereader" in run(source, "--from", "facereader", "-o", tmp_path / "out", code=4)
    run(source, "--from", "openface1", "-o", tmp_path / "out", "-q")


def test_a_file_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    source = write(tmp_path / "p.csv", OPENFACE_1, [openface_row(1)])
    assert "not recognised as written by hsemotion" in run(source, "-o", tmp_path, code=2)
    run(source, "-o", tmp_path / "out", "-q")
    run(source, "-o", tmp_path / "out", "-q")  # its own results are


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for count in (1500, 6000):
        source = write(tmp_path / f"{count}.csv", OPENFACE_1[:4], [openface_row(k + 1) for k in range(count)])
        found, text = recognise(source)
        rows = TableRows(text, found, found.reading(text.header, text.preamble), None)
        tracemalloc.start()
        for _ in rows.blocks():
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows.counts.frames == count
    assert peaks[1] < 1.5 * peaks[0]


def test_imported_tables_are_read_by_the_other_commands(tmp_path: Path) -> None:
    rows = [openface_row(k + 1, AU12_c=int(20 <= k < 60)) for k in range(90)]
    run(write(tmp_path / "p.csv", OPENFACE_1, rows), "-o", tmp_path / "out", "-q")
    assert sum(len(block["frame"]) for block in read_blocks(tmp_path / "out" / "p.csv")) == 90
    assert load(tmp_path / "out" / "p.csv").coverage == 1.0
    found = CliRunner().invoke(
        app, ["segments", str(tmp_path / "out"), "-o", str(tmp_path / "found"), "--kinds", "no_face"]
    )
    assert found.exit_code == 0, found.output
    found = CliRunner().invoke(
        app, ["segments", str(tmp_path / "out"), "-o", str(tmp_path / "units"), "--smooth", "none"]
    )
    assert found.exit_code == 0, found.output
    segments = pd.read_csv(tmp_path / "units" / "segments.csv").query("label == 'AU12'")
    assert segments[["onset", "offset"]].values.tolist() == [[0.667, 2.0]]  # frames 20 to 59, by presence alone
    shown = CliRunner().invoke(app, ["report", str(tmp_path / "out" / "p.csv"), "-o", str(tmp_path / "p.html"), "-q"])
    assert shown.exit_code == 0 and (tmp_path / "p.html").stat().st_size > 1000, shown.output
    cited = CliRunner().invoke(app, ["cite", str(tmp_path / "out" / "p.csv")])
    assert cited.exit_code == 0 and "MediaPipe" not in cited.output
    with pytest.raises(InputError, match="imported from another program, so it has no recipe"):
        sidecar.recipe(sidecar.read(tmp_path / "out" / "p.json"), tmp_path / "out" / "p.json")
    result = CliRunner().invoke(app, ["smooth", str(tmp_path / "out" / "p.csv"), "-o", str(tmp_path / "again")])
    assert result.exit_code == 4 and "p.raw.npz" in result.output.replace("\n", "")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_before_the_header_may_hold_any_character(tmp_path: Path, end: str) -> None:
    before = f"Study:\tA\u2028B\x0bC\x85D{end}{end}"
    (tmp_path / "log.txt").write_bytes(f"{before}Video Time\tEmotion{end}00:00:01.0\tHappy{end}".encode())
    run(tmp_path / "log.txt", "-o", tmp_path / "out", "-q")
    assert load(tmp_path / "out" / "log.csv").frame["expression"].tolist() == ["happiness"]


@given(st.sampled_from([OPENFACE_1[:6], FACEREADER, FEX]), st.lists(st.binary(max_size=40), max_size=6), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_a_file_is_a_table_or_one_sentence(
    header: list[str], rows: list[bytes], quoted: bool
) -> None:
    content = "\t".join(header).encode() + b"\n" + b"\n".join(rows if not quoted else [b'"' + row for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(content)
        found, text = recognise(path)
        try:
            for block in TableRows(text, found, found.reading(text.header, text.preamble), 25.0).blocks():
                check_cells(block)
        except InputError as error:
            assert "x.csv: line " in str(error)


def test_runs_of_names_are_shortened() -> None:
    assert compact(["a", "x_0", "x_1", "x_2", "b1", "b2"]) == "a, x_0 ... x_2, b1, b2"
    assert compact(["AU05_c", "AU09_c", "AU14_c"]) == "AU05_c, AU09_c, AU14_c"  # those between them are not meant
    assert compact(map(str.upper, "abc"), most=2) == "A, B and 1 more"
