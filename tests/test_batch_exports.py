"""Exports of a batch: with each table, again after a run that was cut short, and never over the user's work."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import clips
import cv2
import openpyxl
import pytest
from pympi.Elan import Eaf
from typer.testing import CliRunner, Result

from hsemotion_cli.batch import jsonl
from hsemotion_cli.cli import app

QUICK = ("--model", "mp-blendshapes", "--every", "3", "--workers", "1", "-q")
ODD = os.fsdecode(b"sub/odd \xff '\".mp4") if os.name == "posix" else "sub/odd '.mp4"
NAMES = {"one.mp4", "two.mp4", ODD}


def batch(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments), *QUICK])


def lines(path: Path) -> dict[str, dict[str, Any]]:
    return {str(record["output"]): record for record in jsonl.read(path)}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "sub").mkdir()
    for name in NAMES:
        clips.write(folder / name, [clips.portrait(shift=k) for k in range(7)])
    return folder


@pytest.fixture(scope="module")
def made(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one run with formats of both kinds."""
    out = tmp_path_factory.mktemp("made")
    result = batch(study, "-o", out, "--format", "csv,elan,openface,xlsx")
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "out")  # with times, by which results are judged
    return tmp_path / "out"


def test_each_recording_is_exported_and_recorded(study: Path, made: Path) -> None:
    manifest = lines(made / "manifest.jsonl")
    assert len(manifest) == 3
    for place, record in manifest.items():
        name = place.rpartition("/")[2]
        assert record["exports"] == {"elan": f"{name}.eaf", "openface": f"{name}.openface.csv"}
        beside = json.loads((made / f"{place}.exports.json").read_text(encoding="utf-8"))
        assert beside["exported"] == ["elan", "openface"] and set(beside["files"]) == set(record["exports"].values())
        assert Eaf(str(made / f"{place}.eaf")).get_linked_files()[0]["MEDIA_URL"].startswith("file://")
    assert not list(jsonl.read(made / "failures.jsonl"))
    sheets = openpyxl.load_workbook(made / "tables.xlsx").sheetnames
    assert len(sheets) == 4 and sheets[0] == "one" and sheets[-1] == "columns"


def test_the_tables_are_those_without_exports(study: Path, made: Path, tmp_path: Path) -> None:
    assert batch(study / "one.mp4", "-o", tmp_path).exit_code == 0
    assert (tmp_path / "one.csv").read_bytes() == (made / "one.csv").read_bytes()
    assert "exports" not in lines(tmp_path / "manifest.jsonl")["one"]
    assert not (tmp_path / "one.exports.json").exists()


def test_what_is_exported_already_is_left_alone(study: Path, out: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix != ".jsonl" and path.name[0] != "."
    }
    result = batch(study, "-o", out, "--format", "csv,elan,openface,xlsx")
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    manifest = lines(out / "manifest.jsonl")
    assert {record["state"] for record in manifest.values()} == {"skipped"}
    assert manifest["one"]["exports"] == {"elan": "one.eaf", "openface": "one.openface.csv"}


def test_what_a_killed_run_left_is_exported_without_annotating_again(study: Path, out: Path) -> None:
    """As if it had been killed between the table and its exports, and in the middle of them."""
    for name in ("one.exports.json", "one.eaf", "two.openface.csv", "tables.xlsx"):
        (out / name).unlink()
    (out / "one.openface.csv").write_text("half a l")
    table = (out / "one.csv").stat().st_mtime_ns
    dry = CliRunner().invoke(
        app, ["batch", str(study), "-o", str(out), "--format", "elan,openface", "--dry-run", *QUICK]
    )
    assert "done already, to be exported to openface" in " ".join(dry.output.split())
    result = batch(study, "-o", out, "--format", "csv,elan,openface,xlsx")
    assert result.exit_code == 3  # the half file is not known to be an export
    assert "one.openface.csv: already there" in result.output.replace("\n", "")
    assert (out / "two.openface.csv").exists() and (out / "tables.xlsx").exists()
    (out / "one.openface.csv").unlink()
    result = batch(study, "-o", out, "--format", "csv,elan,openface,xlsx")
    assert result.exit_code == 0, result.output
    assert (out / "one.eaf").exists() and (out / "one.openface.csv").exists()
    assert (out / "one.csv").stat().st_mtime_ns == table


def test_exports_that_are_older_than_their_table_are_made_again(study: Path, out: Path) -> None:
    """As if a run had been killed when it had replaced the table, but not yet its exports."""
    for name in ("one.csv", "one.json"):
        os.utime(out / name)
    before = (out / "one.eaf").stat().st_mtime_ns
    assert batch(study, "-o", out, "--format", "csv,elan").exit_code == 0
    assert lines(out / "manifest.jsonl")["one"]["state"] == "skipped"
    assert (out / "one.eaf").stat().st_mtime_ns > before


def test_another_format_is_added_to_finished_tables(study: Path, out: Path) -> None:
    result = batch(study, "-o", out, "--format", "csv,elan,srt")
    assert result.exit_code == 0, result.output
    assert {record["state"] for record in lines(out / "manifest.jsonl").values()} == {"skipped"}
    assert (out / "one.srt").exists()
    beside = json.loads((out / "one.exports.json").read_text())
    assert beside["exported"] == ["elan", "openface", "srt"]


def test_a_table_that_is_made_again_is_exported_again(study: Path, out: Path) -> None:
    old = (out / "one.openface.csv").read_bytes()
    arguments = (study, "-o", out, "--format", "csv,openface", "--fps", "5")
    assert batch(*arguments).exit_code == 0
    assert (out / "one.openface.csv").read_bytes() != old
    assert json.loads((out / "one.exports.json").read_text())["exported"] == ["openface"]  # elan is out of date


def test_an_annotation_that_somebody_edited_is_not_lost(study: Path, out: Path) -> None:
    (out / "one.eaf").write_text("my own work")
    assert batch(study, "-o", out, "--format", "csv,elan").exit_code == 0
    assert (out / "one.eaf").read_text() == "my own work"
    refused = batch(study, "-o", out, "--format", "csv,elan", "--fps", "5")
    assert refused.exit_code == 3 and "one.eaf: already there" in refused.output.replace("\n", "")
    assert (out / "one.eaf").read_text() == "my own work"
    failed = [line for line in jsonl.read(out / "failures.jsonl") if line["output"] == "one"]
    assert [line["stage"] for line in failed] == ["write"]
    assert lines(out / "manifest.jsonl")["two"]["state"] == "done"
    assert batch(study, "-o", out, "--format", "csv,elan", "--fps", "5", "--overwrite").exit_code == 0
    assert "ANNOTATION_DOCUMENT" in (out / "one.eaf").read_text()


def test_an_export_that_fails_leaves_the_table(tmp_path: Path) -> None:
    """Photos have no time, so ELAN cannot hold them; the table is there all the same."""
    photos = tmp_path / "in" / "photos"
    photos.mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(photos / f"{name}.png"), clips.portrait())
    result = batch(tmp_path / "in", "-o", tmp_path / "out", "--format", "csv,elan,openface")
    assert result.exit_code == 3
    assert "photos have no time, which ELAN needs" in " ".join(result.output.split())
    (record,) = lines(tmp_path / "out" / "manifest.jsonl").values()
    assert record["state"] == "done" and set(record["exports"]) == {"openface"}
    (failure,) = jsonl.read(tmp_path / "out" / "failures.jsonl")
    assert failure["stage"] == "export" and failure["error"] == "NotExported"
    assert list((tmp_path / "out").rglob("*.csv"))


def test_exports_of_all_recordings_need_all_of_them(study: Path, tmp_path: Path) -> None:
    result = batch(study, "-o", tmp_path, "--format", "csv,bids", "--shard", "1/2")
    assert result.exit_code == 2 and "a shard has only some of them" in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_no_export_takes_the_name_of_a_table(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "in")
    shutil.copy(study / "one.mp4", tmp_path / "in" / "one.openface.mp4")
    result = batch(tmp_path / "in", "-o", tmp_path / "out", "--format", "csv,openface")
    assert result.exit_code == 2 and "name of another recording's result" in " ".join(result.output.split())
