"""Tables in other programs' formats, read back by other programs' readers."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
import pyxdf
import tables
from known import program
from typer.testing import CliRunner

from hsemotion_cli import load
from hsemotion_cli.cli import app
from hsemotion_cli.exports import openface, xlsx
from hsemotion_cli.exports.catalogue import FORMATS
from hsemotion_cli.exports.sampling import resample, usual_rate
from hsemotion_cli.exports.source_table import open_table

# The order of OpenFace's page "Output Format", as far as a table can fill it.
OPENFACE_ORDER = ["frame", "face_id", "timestamp", "confidence", "success", "gaze_angle_x", "gaze_angle_y"]
OPENFACE_ORDER += ["pose_Rx", "pose_Ry", "pose_Rz"]
OPENFACE_ORDER += [f"AU{unit:02d}_r" for unit in openface.UNITS if unit != 28]
OPENFACE_ORDER += [f"AU{unit:02d}_c" for unit in openface.UNITS]

# Column lists of py-feat: what Fex objects look up by name.
FEX_BOX = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
FEX_EMOTIONS = {"Neutral": "neutral", "Happy": "happiness", "Sad": "sadness", "Surprise": "surprise", "Fear": "fear"}
FEX_EMOTIONS |= {"Disgust": "disgust", "Anger": "anger"}
FEX_OTHERS = ["valence", "arousal", "input", "frame", "approx_time", "Identity"]


def export(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """50 frames at 25 frames per second from container time 1.4 on; two people, of whom one leaves for 0.4 seconds."""
    rows: list[dict[str, Any]] = []
    for frame in range(50):
        time = 1.4 + frame / 25
        rows.append(tables.face(frame, time, 0))
        if not 20 <= frame < 30:
            rows.append(tables.face(frame, time, 3, p_happiness=0.25, AU12_p=None, AU12_c=None))
    return tables.write_table(tmp_path / "in" / "talk.csv", rows, start=1.4)


@pytest.fixture
def gap(tmp_path: Path) -> Path:
    """No face in the middle, and uneven times."""
    rows = [
        tables.face(0, 0.0),
        tables.face(1, 0.04),
        tables.nobody(2, 0.09),
        tables.face(3, 0.12),
        tables.face(4, 0.2),
    ]
    return tables.write_table(tmp_path / "in" / "gap.csv", rows)


def test_openface_has_its_columns_in_its_order_and_no_probability_among_intensities(talk: Path, tmp_path: Path) -> None:
    output = export(talk, "--to", "openface", "-o", tmp_path / "out")
    read = pd.read_csv(tmp_path / "out" / "talk.openface.csv")
    assert list(read) == [name for name in OPENFACE_ORDER if name in set(read)]
    assert not [name for name in read if name.endswith("_r")]
    assert [name for name in read if name.endswith("_c")] == [
        f"AU{unit}_c" for unit in ("01", "02", "04", "06", "07", "10", "12", "15", "23", "25", "26")
    ]
    assert read["frame"].tolist()[:3] == [1, 1, 2]
    assert read["face_id"].unique().tolist() == [0, 3]
    assert read["timestamp"].iloc[0] == 0.0 and read["timestamp"].iloc[-1] == pytest.approx(49 / 25)
    source = pd.read_csv(talk)
    assert read["AU12_c"].tolist()[:20:2] == source["AU12_c"].tolist()[:20:2]
    assert read["confidence"].eq(0.9876).all() and read["success"].eq(1).all()
    for word in ("AU05, AU09, AU14, AU17, AU20, AU28, AU45", "probabilities, which are not intensities", "AU24_c"):
        assert word in output


def test_openface_marks_frames_without_a_face(gap: Path, tmp_path: Path) -> None:
    export(gap, "--to", "openface", "-o", tmp_path, "-q")
    read = pd.read_csv(tmp_path / "gap.openface.csv")
    assert read["success"].tolist() == [1, 1, 0, 1, 1]
    assert read["confidence"].iloc[2] == 0
    assert read["AU12_c"].isna().tolist() == [False, False, True, False, False]


def test_fex_has_the_names_that_py_feat_looks_up(talk: Path, tmp_path: Path) -> None:
    export(talk, "--to", "pyfeat", "-o", tmp_path, "-q")
    read, source = pd.read_csv(tmp_path / "talk.fex.csv"), pd.read_csv(talk)
    units = [name for name in read if name.startswith("AU")]
    assert units == [f"AU{unit}" for unit in ("01", "02", "04", "06", "07", "10", "12", "15", "23", "24", "25", "26")]
    for name in [*FEX_BOX, *FEX_EMOTIONS, *FEX_OTHERS]:
        assert name in read, name
    np.testing.assert_allclose(read["AU12"], source["AU12_p"])
    for name, ours in FEX_EMOTIONS.items():
        np.testing.assert_allclose(read[name], source[f"p_{ours}"])
    np.testing.assert_allclose(read["timestamp"], source["time"] - 1.4, atol=1e-6)
    assert read["frame"].tolist() == source["frame"].tolist()
    assert read["approx_time"].tolist()[-1] == "00:01"
    assert set(read["Identity"]) == {"face 0", "face 3"}


def test_fex_of_a_table_without_valence_has_the_names_of_version_1(tmp_path: Path) -> None:
    """By valence and arousal, ``read_feat`` decides which names it looks up."""
    rows = [tables.face(k, k / 25, valence=None, arousal=None) for k in range(3)]
    export(tables.write_table(tmp_path / "t.csv", rows), "--to", "pyfeat", "-o", tmp_path, "-q")
    read = pd.read_csv(tmp_path / "t.fex.csv")
    assert not {"valence", "arousal", *FEX_EMOTIONS} & set(read)
    assert set(FEX_EMOTIONS.values()) < set(read)


def signals(path: Path) -> list[Any]:
    """The streams of numbers of an XDF file."""
    return [stream for stream in pyxdf.load_xdf(str(path))[0] if stream["info"]["type"] == ["Affect"]]


def test_xdf_streams_have_the_true_times_of_each_person(talk: Path, tmp_path: Path) -> None:
    export(talk, "--to", "xdf", "-o", tmp_path, "-q", "--clock", "offset=1000")
    streams = signals(tmp_path / "talk.xdf")
    source = pd.read_csv(talk)
    assert [stream["info"]["name"][0] for stream in streams] == ["talk face 0", "talk face 3"]
    for stream, face_id in zip(streams, (0, 3), strict=True):
        own = source[source["face_id"] == face_id]
        np.testing.assert_allclose(stream["time_stamps"], own["time"] - 1.4 + 1000, atol=1e-9)
        labels = [channel["label"][0] for channel in stream["info"]["desc"][0]["channels"][0]["channel"]]
        assert stream["time_series"].shape == (len(own), len(labels))
        for name in ("p_happiness", "valence", "AU12_p", "x"):
            np.testing.assert_allclose(stream["time_series"][:, labels.index(name)], own[name])


def test_xdf_of_a_long_recording_has_several_chunks(tmp_path: Path) -> None:
    rows = [tables.face(frame, frame / 30) for frame in range(1300)]
    export(tables.write_table(tmp_path / "long.csv", rows), "--to", "xdf", "-o", tmp_path / "out", "-q")
    (stream,) = signals(tmp_path / "out" / "long.xdf")
    np.testing.assert_allclose(stream["time_stamps"], np.round(np.arange(1300) / 30, 6))


def test_a_workbook_has_a_sheet_for_each_table_with_a_frozen_header(talk: Path, gap: Path, tmp_path: Path) -> None:
    export(talk, gap, "--to", "xlsx", "-o", tmp_path, "-q")
    book = openpyxl.load_workbook(tmp_path / "tables.xlsx")
    assert book.sheetnames == ["gap", "talk", "columns"]
    for path in (talk, gap):
        sheet, source = book[path.stem], pd.read_csv(path)
        rows = [list(row) for row in sheet.iter_rows(values_only=True)]
        assert rows[0] == list(source) and sheet.freeze_panes == "A2"
        expected = source.astype(object).where(source.notna(), None).values.tolist()
        assert rows[1:] == [[None if v is None else v for v in row] for row in expected]
    meanings = {row[0]: row[4] for row in book["columns"].iter_rows(min_row=2, values_only=True)}
    assert list(meanings) == list(pd.read_csv(talk))
    assert meanings["AU12_p"] == "AU12, lip corner puller: probability that it is present."


def test_a_sheet_holds_no_formula_and_no_name_that_excel_refuses(tmp_path: Path) -> None:
    names = ["=cmd|calc!A1", "a/b\\c[d]*?:", "x" * 40, "X" * 40, "columns"]
    assert xlsx._sheet_names(names) == [
        "=cmd|calc!A1",
        "a_b_c_d____",
        "x" * 31,
        "X" * 29 + "~2",
        "columns~2",
        "columns",
    ]
    row = tables.face(0, 0.0, file='=HYPERLINK("http://x")\x07', taken=None, image_width=4, image_height=4)
    tables.write_table(tmp_path / "photos.csv", [row])
    export(tmp_path / "photos.csv", "--to", "xlsx,openface,pyfeat", "-o", tmp_path / "out", "-q")
    sheet = openpyxl.load_workbook(tmp_path / "out" / "tables.xlsx")["photos"]
    assert sheet["C2"].data_type != "f" and sheet["C2"].value == '=HYPERLINK("http://x")�'


def test_names_that_a_spreadsheet_would_compute_are_harmless_in_csv(tmp_path: Path) -> None:
    tables.write_table(tmp_path / "t.csv", [tables.face(0, 0.0)], source='=1+2,"x".mp4')
    export(tmp_path / "t.csv", "--to", "pyfeat", "-o", tmp_path / "out", "-q")
    assert pd.read_csv(tmp_path / "out" / "t.fex.csv")["input"].tolist() == ['\'=1+2,"x".mp4']


def test_photos_have_no_time_so_formats_of_time_refuse_them(tmp_path: Path) -> None:
    row = tables.face(0, 0.0, file="a.jpg", image_width=4, image_height=4)
    tables.write_table(tmp_path / "photos.csv", [row])
    output = export(tmp_path / "photos.csv", "--to", "openface,xdf", "-o", tmp_path / "out", code=3)
    assert "photos have no time, which XDF needs" in output
    assert (tmp_path / "out" / "photos.openface.csv").exists() and not (tmp_path / "out" / "photos.xdf").exists()


def test_people_have_the_names_that_the_user_gives(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("recording,face_id,person\ntalk,3,Ann\n,0,Ben B.\n")
    export(talk, "--to", "xdf,pyfeat,bids,webvtt", "-o", tmp_path / "out", "-q", "--people", tmp_path / "people.csv")
    assert [stream["info"]["name"][0] for stream in signals(tmp_path / "out" / "talk.xdf")] == [
        "talk Ben B.",
        "talk Ann",
    ]
    assert set(pd.read_csv(tmp_path / "out" / "talk.fex.csv")["Identity"]) == {"Ann", "Ben B."}
    labels = {path.name.split("_")[2] for path in (tmp_path / "out" / "bids" / "sub-talk" / "beh").glob("*.gz")}
    assert labels == {"recording-Ann", "recording-BenB"}
    voices = {line.split(">")[0] for line in (tmp_path / "out" / "talk.vtt").read_text().splitlines() if "<v " in line}
    assert voices == {"<v Ann", "<v Ben B."}


def test_the_column_person_joins_the_ids_of_a_person(tmp_path: Path) -> None:
    rows = [tables.face(k, k / 25, int(k >= 25), person="person 1", person_score=0.8) for k in range(50)]
    source = tables.write_table(tmp_path / "t.csv", rows)
    export(source, "--to", "xdf,pyfeat,bids,elan,openface", "-o", tmp_path / "out", "-q")
    (stream,) = signals(tmp_path / "out" / "t.xdf")
    assert stream["info"]["name"] == ["t person 1"] and len(stream["time_stamps"]) == 50
    assert set(pd.read_csv(tmp_path / "out" / "t.fex.csv")["Identity"]) == {"person 1"}
    assert pd.read_csv(tmp_path / "out" / "t.openface.csv")["face_id"].tolist() == [0] * 25 + [1] * 25
    (path,) = (tmp_path / "out" / "bids" / "sub-t" / "beh").glob("*.gz")
    assert "recording-person1_" in path.name
    assert 'PARTICIPANT="person 1"' in (tmp_path / "out" / "t.eaf").read_text()


# --- a constant rate ------------------------------------------------------------------------------------------


def test_a_constant_frame_rate_is_resampled_to_itself(talk: Path) -> None:
    recording = open_table(talk)
    assert usual_rate(recording) == 25.0
    columns = [_column("p_happiness"), _column("AU01_c")]
    first, second = resample(recording, columns)
    own = pd.read_csv(talk).query("face_id == 0")
    assert first.distance < 1e-9 and first.start == 0.0
    np.testing.assert_allclose(first.values, own[["p_happiness", "AU01_c"]].to_numpy())
    assert np.isnan(second.values[20:30]).all() and np.isfinite(second.values[[19, 30]]).all()


def test_uneven_times_are_interpolated_only_between_faces(gap: Path) -> None:
    recording = open_table(gap)
    (signal,) = resample(recording, [_column("valence"), _column("AU12_c")], rate=50.0)
    source = pd.read_csv(gap)
    times, grid = source["time"].to_numpy(), np.arange(11) / 50
    inside = (grid <= 0.04) | (grid >= 0.12)
    expected = np.interp(grid, times, source["valence"].interpolate())
    np.testing.assert_allclose(signal.values[inside, 0], expected[inside], atol=1e-9)
    assert np.isnan(signal.values[~inside]).all()
    assert signal.distance == pytest.approx(0.04)  # 0.16 lies between 0.12 and 0.2
    assert set(signal.values[inside, 1]) == {0.0}


@pytest.mark.parametrize(
    ("rate", "digits"), [(25.0, 6), (30.0, 6), (30000 / 1001, 6), (30000 / 1001, 3), (59.94005994, 6), (12.5, 3)]
)
@pytest.mark.parametrize("count", [3, 50, 2000])
def test_a_constant_rate_is_found_through_the_rounding_of_time_stamps(
    tmp_path: Path, rate: float, digits: int, count: int
) -> None:
    """Every frame is a sample then, also beside a frame without a face."""
    rows = [tables.face(k, round(k / rate, digits)) if k % 10 != 5 else tables.nobody(k, round(k / rate, digits))
            for k in range(count)]  # fmt: skip
    recording = open_table(tables.write_table(tmp_path / "t.csv", rows))
    found = usual_rate(recording)
    if count > 3 or digits > 3:
        assert found == pytest.approx(rate, abs=1e-6)
        (signal,) = resample(recording, [_column("valence")])
        assert len(signal.values) == count
        own = pd.read_csv(tmp_path / "t.csv")["valence"]
        np.testing.assert_allclose(signal.values[:, 0], own, atol=1e-9)


def _column(name: str) -> Any:
    from hsemotion_cli.exports.source_table import KNOWN

    return KNOWN[name]


# --- BIDS -----------------------------------------------------------------------------------------------------


def test_bids_signals_say_rate_start_and_columns(talk: Path, gap: Path, tmp_path: Path) -> None:
    export(talk, gap, "--to", "bids", "-o", tmp_path, "-q", "--clock", "offset=12.5")
    folder = tmp_path / "bids" / "sub-talk" / "beh"
    about = json.loads((folder / "sub-talk_task-video_recording-face3_physio.json").read_text())
    assert about["SamplingFrequency"] == 25.0 and about["StartTime"] == 12.5
    read = pd.read_csv(
        folder / "sub-talk_task-video_recording-face3_physio.tsv.gz",
        sep="\t", header=None, names=about["Columns"], na_values="n/a",
    )  # fmt: skip
    own = pd.read_csv(talk).query("face_id == 3")
    np.testing.assert_allclose(read["valence"].dropna(), own["valence"])
    assert len(read) == 50 and read["valence"].isna().sum() == 10
    assert about["valence"]["Description"] == "Unpleasant (-1) to pleasant (1)."
    gap_about = json.loads((tmp_path / "bids/sub-gap/beh/sub-gap_task-video_recording-face0_physio.json").read_text())
    assert "at most" not in gap_about["Description"] and "ms from its frame" in gap_about["Description"]


def test_bids_names_follow_entities_in_the_name_of_the_table(tmp_path: Path) -> None:
    for name in ("sub-01_ses-2_task-rest_run-1", "a talk (2)"):
        tables.write_table(tmp_path / f"{name}.csv", [tables.face(0, 0.0), tables.face(1, 0.04)])
    export(*sorted(tmp_path.glob("*.csv")), "--to", "bids", "-o", tmp_path / "out", "-q")
    found = {path.relative_to(tmp_path / "out/bids").as_posix() for path in (tmp_path / "out/bids").rglob("*.gz")}
    assert found == {
        "sub-01/ses-2/beh/sub-01_ses-2_task-rest_run-1_recording-face0_physio.tsv.gz",
        "sub-atalk2/beh/sub-atalk2_task-video_recording-face0_physio.tsv.gz",
    }


def test_two_tables_of_the_same_bids_name_are_an_error_before_anything_is_written(tmp_path: Path) -> None:
    for name in ("a b", "ab"):
        tables.write_table(tmp_path / f"{name}.csv", [tables.face(0, 0.0)])
    output = export(tmp_path / "a b.csv", tmp_path / "ab.csv", "--to", "bids", "-o", tmp_path / "out", code=4)
    assert "have the same BIDS name sub-ab_task-video" in " ".join(output.split())
    assert not (tmp_path / "out").exists()


def test_the_bids_validator_passes_a_dataset(talk: Path, gap: Path, tmp_path: Path) -> None:
    validator = program("bids-validator-deno")
    tables.write_table(tmp_path / "sub-02_ses-1_task-rest.csv", [tables.face(0, 0.0), tables.face(1, 0.04)])
    export(talk, gap, tmp_path / "sub-02_ses-1_task-rest.csv", "--to", "bids", "-o", tmp_path / "out", "-q")
    command = [validator, str(tmp_path / "out" / "bids"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert done.returncode == 0 and not [issue for issue in issues if issue["severity"] == "error"], done.stdout


# --- files ----------------------------------------------------------------------------------------------------


def test_the_record_names_tables_files_and_what_is_lost(talk: Path, tmp_path: Path) -> None:
    export(talk, "--to", "openface", "-o", tmp_path, "-q")
    export(talk, "--to", "pyfeat", "-o", tmp_path, "-q")
    record = json.loads((tmp_path / "export.json").read_text())
    assert set(record["files"]) == {"talk.openface.csv", "talk.fex.csv"}
    assert record["exported"] == ["openface", "pyfeat"]
    assert (
        "absent: AU intensities (_r); the table has probabilities, which are not intensities."
        in record["lost"]["openface"]
    )
    assert record["tables"]["talk"]["clock"]["zero"] == 1.4
    assert record["options"]["to"]["value"] == "pyfeat"


def test_lost_columns_are_named_as_series(talk: Path, tmp_path: Path) -> None:
    """Each once, "AU01_p to AU26_p" for neighbours of one kind; nothing between the two ends is written."""
    export(talk, "--to", "openface", "-o", tmp_path, "-q")
    lost = json.loads((tmp_path / "export.json").read_text())["lost"]["openface"]
    (sentence,) = [line for line in lost if line.startswith("not in this format")]
    assert "p_neutral to p_contempt, valence, arousal, AU01_p to AU26_p" in sentence
    assert "p_fear," not in sentence and "AU12_p" not in sentence and sentence.count("AU24_c") == 1


def test_an_export_that_was_edited_is_not_replaced_without_being_asked(talk: Path, tmp_path: Path) -> None:
    export(talk, "--to", "openface", "-o", tmp_path, "-q")
    export(talk, "--to", "openface", "-o", tmp_path, "-q")
    path = tmp_path / "talk.openface.csv"
    path.write_text(path.read_text() + "# my own\n")
    output = export(talk, "--to", "openface", "-o", tmp_path, "-q", code=2)
    assert "not recognised as written by hsemotion" in " ".join(output.split())
    assert path.read_text().endswith("# my own\n")
    export(talk, "--to", "openface", "-o", tmp_path, "-q", "--overwrite")
    assert not path.read_text().endswith("# my own\n")


def test_the_same_table_gives_the_same_bytes(talk: Path, tmp_path: Path) -> None:
    formats = ",".join(FORMATS)
    for name in ("one", "two"):
        export(talk, "--to", formats, "-o", tmp_path / name, "-q")
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path


def test_a_damaged_table_does_not_stop_the_others(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("not,a,table\n1,2,3\n")
    output = export(talk, tmp_path / "bad.csv", "--to", "openface", "-o", tmp_path / "out", code=3)
    assert "bad.csv: not a table made by annotate" in " ".join(output.split())
    assert (tmp_path / "out" / "talk.openface.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "spss"], "--to spss: choose from openface"),
        (["--to", ","], "choose from openface"),
        (["--to", "bids", "--rate", "0"], "--rate 0: give a rate above 0."),
        (["--to", "openface", "--clock", "noon"], "--clock noon: give video, container"),
        (["--to", "elan", "--media", "nowhere"], "--media nowhere: no such folder."),
    ],
)
def test_options_that_make_no_sense(talk: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    output = export(talk, *arguments, "-o", tmp_path / "out", code=2)
    assert message in " ".join(output.split())
    assert not (tmp_path / "out").exists()


def test_angles_are_radians_in_the_camera_frame_of_openface_and_come_back(tmp_path: Path) -> None:
    """Ours: up, the person's right, the person's right shoulder. OpenFace: y points down, x to the image's right."""
    angles: dict[str, Any] = {
        "head_pitch": 10.0,
        "head_yaw": 20.0,
        "head_roll": 30.0,
        "gaze_pitch": 5.0,
        "gaze_yaw": -15.0,
    }
    source = tables.write_table(tmp_path / "t.csv", [tables.face(0, 0.0, **angles), tables.face(1, 0.04)])
    export(source, "--to", "openface,pyfeat", "-o", tmp_path / "out", "-q")
    read = pd.read_csv(tmp_path / "out" / "t.openface.csv")
    expected = {"pose_Rx": -10, "pose_Ry": 20, "pose_Rz": -30, "gaze_angle_x": 15, "gaze_angle_y": -5}
    for name, degrees in expected.items():
        assert read[name].iloc[0] == pytest.approx(math.radians(degrees), abs=1e-6), name
        assert math.isnan(read[name].iloc[1])
    assert pd.read_csv(tmp_path / "out" / "t.fex.csv")["Yaw"].iloc[0] == pytest.approx(math.radians(20), abs=1e-6)
    result = CliRunner().invoke(app, ["import", str(tmp_path / "out/t.openface.csv"), "-o", str(tmp_path / "in")])
    assert result.exit_code == 0, result.output
    back = load(tmp_path / "in" / "t.openface.csv").frame
    assert {name: back[name].iloc[0] for name in angles} == pytest.approx(angles, abs=0.011)


# --- annotate --format ----------------------------------------------------------------------------------------


def test_annotate_exports_what_it_has_written(nobody: Path, tmp_path: Path) -> None:
    arguments = ["annotate", str(nobody), "-o", str(tmp_path), "--format", "elan,xlsx,openface", "--every", "3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    names = {path.name for path in tmp_path.iterdir()}
    assert {"nobody.csv", "nobody.eaf", "tables.xlsx", "nobody.openface.csv", "export.json"} <= names
    assert "OpenFace 2 CSV: absent: AU intensities" in result.output
    assert f'MEDIA_URL="{nobody.as_uri()}"' in (tmp_path / "nobody.eaf").read_text()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (tmp_path / "nobody.eaf").write_text("my own work")
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2 and "nobody.eaf" in refused.output.replace("\n", "")
    wrong = CliRunner().invoke(app, [*arguments[:5], "elan,spss"])
    assert wrong.exit_code == 2 and "choose from csv, parquet, jsonl" in " ".join(wrong.output.split())
