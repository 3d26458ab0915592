"""No command replaces a file of the user's without --overwrite, and each says so before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hsemotion_cli.abaw import evaluation, tuning_data
from hsemotion_cli.batch import jsonl
from hsemotion_cli.batch.local_engine import LocalEngine
from hsemotion_cli.cli import app
from hsemotion_cli.pipeline import Annotator
from hsemotion_cli.training import dataset_readers, head_trainer

QUICK = ("--model", "mp-blendshapes", "--every", "4", "-q")
MINE = "written by somebody else\n"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(result: Result, path: Path) -> None:
    assert result.exit_code == 2, result.output
    assert f"{path}: already there, and not recognised as written by hsemotion" in result.stderr
    assert "--overwrite" in result.stderr
    assert path.read_text() == MINE


def mine(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(MINE)
    return path


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes long fails the test."""

    def work(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(Annotator, "__enter__", work)
    monkeypatch.setattr(LocalEngine, "__enter__", work)
    monkeypatch.setattr("hsemotion_cli.overlay.video.render", work)
    monkeypatch.setattr("hsemotion_cli.postprocess.refine.refine", work)
    monkeypatch.setattr(evaluation, "evaluate", work)
    monkeypatch.setattr(tuning_data, "gather", work)
    monkeypatch.setattr(head_trainer, "train", work)
    monkeypatch.setattr(dataset_readers, "gather", work)


@pytest.fixture(scope="module")
def made(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of annotate, and features."""
    folder = tmp_path_factory.mktemp("made")
    assert invoke("annotate", smile, "-o", folder, *QUICK).exit_code == 0
    assert invoke("extract", smile, "-o", folder / "features", "--every", "4", "-q").exit_code == 0
    return folder


@pytest.mark.parametrize("kind", ["json", "csv", "raw.npz", "overlay.mp4"])
def test_annotate(smile: Path, tmp_path: Path, no_work: None, kind: str) -> None:
    path = mine(tmp_path / f"smile.{kind}")
    refused(invoke("annotate", smile, "-o", tmp_path, "--overlay", *QUICK), path)
    assert list(tmp_path.iterdir()) == [path]


def test_annotate_replaces_what_it_wrote_and_with_overwrite_anything(smile: Path, tmp_path: Path) -> None:
    assert invoke("annotate", smile, "-o", tmp_path, "--overlay", *QUICK).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".json"}
    assert invoke("annotate", smile, "-o", tmp_path, "--overlay", *QUICK).exit_code == 0
    for name in before:
        mine(tmp_path / name)
    assert invoke("annotate", smile, "-o", tmp_path, "--overlay", *QUICK).exit_code == 2
    assert invoke("annotate", smile, "-o", tmp_path, "--overlay", "--overwrite", *QUICK).exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".json"} == before


@pytest.mark.posix
def test_annotate_says_at_once_that_a_name_is_too_long(smile: Path, tmp_path: Path, no_work: None) -> None:
    video = tmp_path / ("a" * 248 + ".mp4")
    video.symlink_to(smile)
    result = invoke("annotate", video, "-o", tmp_path / "out", *QUICK)
    assert result.exit_code == 2
    assert "too long" in result.stderr and "rename the input" in result.stderr
    assert "space" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_smooth_and_render(made: Path, smile: Path, tmp_path: Path, no_work: None) -> None:
    path = mine(tmp_path / "smile.json")
    refused(invoke("smooth", made / "smile.csv", "-o", tmp_path, "--smooth", "box:1"), path)
    path = mine(tmp_path / "film.mp4")
    refused(invoke("render", smile, made / "smile.csv", "-o", path), path)
    assert len(list(tmp_path.iterdir())) == 2


def test_smooth_over_its_own_table(made: Path, smile: Path, tmp_path: Path) -> None:
    assert invoke("annotate", smile, "-o", tmp_path, *QUICK).exit_code == 0
    assert invoke("smooth", tmp_path / "smile.csv", "-o", tmp_path, "--smooth", "box:1", "-q").exit_code == 0
    assert invoke("render", smile, tmp_path / "smile.csv", "-o", tmp_path / "a.mp4", "-q").exit_code == 0
    assert invoke("render", smile, tmp_path / "smile.csv", "-o", tmp_path / "a.mp4", "-q").exit_code == 0
    mine(tmp_path / "a.mp4")
    done = invoke("render", smile, tmp_path / "smile.csv", "-o", tmp_path / "a.mp4", "-q", "--overwrite")
    assert done.exit_code == 0 and (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"


def test_extract(smile: Path, tmp_path: Path, no_work: None) -> None:
    path = mine(tmp_path / "smile.features.parquet")
    refused(invoke("extract", smile, "-o", tmp_path), path)


def test_evaluate_and_tune(made: Path, tmp_path: Path, no_work: None) -> None:
    path = mine(tmp_path / "plot.png")
    options = ("--truth", tmp_path, "--track", "expr")
    refused(invoke("evaluate", made, *options, "--plot", path), path)
    refused(invoke("tune", made, *options, "-o", tmp_path / "recipe.toml", "--surface", path), path)
    path = mine(tmp_path / "recipe.toml")
    refused(invoke("tune", made, *options, "-o", path), path)


@pytest.mark.parametrize("suffix", ["safetensors", "md"])
def test_train_heads(made: Path, tmp_path: Path, no_work: None, suffix: str) -> None:
    path = mine(tmp_path / f"head.{suffix}")
    arguments = ("train", "heads", made / "features", "--truth", tmp_path, "-o", tmp_path / "head.safetensors")
    refused(invoke(*arguments), path)


PLAN = """
name = "tiny"
architecture = "mobilefacenet_first_48"
size = 48
luminance = true
licence = "none"
[[source]]
kind = "folder"
name = "a"
path = "faces"
terms = "drawn"
[[stage]]
epochs = 1
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    (tmp_path / "faces").mkdir()
    return path


@pytest.mark.parametrize(
    "name",
    [
        "best.pt",
        "log.csv",
        "curves.png",
        "confusion-a.png",
        "tiny.safetensors",
        "tiny.onnx",
        "tiny.md",
        "checkpoint.pt",
    ],
)
def test_train_finetune(tmp_path: Path, no_work: None, name: str, plan: Path) -> None:
    path = mine(tmp_path / "run" / name)
    refused(invoke("train", "finetune", plan, "-o", tmp_path / "run"), path)


def test_train_pack(tmp_path: Path, no_work: None, plan: Path) -> None:
    path = mine(tmp_path / "a.npz")
    refused(invoke("train", "pack", plan, "-o", path), path)


def test_submit(made: Path, tmp_path: Path, no_work: None) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\nsmile/00001.jpg\n")
    path = mine(tmp_path / "expr.txt")
    refused(invoke("submit", made, "--track", "expr", "--list", listed, "-o", path), path)
    path = mine(tmp_path / "per-video" / "smile.txt")
    options = ("--list", listed, "-o", tmp_path / "per-video", "--layout", "per-video")
    refused(invoke("submit", made, "--track", "expr", *options), path)


# --- batch -----------------------------------------------------------------------------------------------------------


def test_batch_refuses_one_video_before_any_work_and_does_the_others(smile: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.mp4").write_bytes(smile.read_bytes())
    path = mine(tmp_path / "out" / "a.csv")
    arguments = ("batch", tmp_path / "in", "-o", tmp_path / "out", "--workers", "1", *QUICK)
    dry = json.loads(invoke(*arguments, "--dry-run", "--json").stdout)
    assert [(line["action"], Path(line["path"]).name) for line in dry["inputs"]] == [
        ("annotate", "b.mp4"), ("fail", "a.mp4")
    ]  # fmt: skip
    result = invoke(*arguments)
    assert result.exit_code == 3, result.output
    assert f"{path}: already there, and not recognised" in result.stderr
    assert path.read_text() == MINE
    assert {p.name for p in (tmp_path / "out").glob("[!.]*")} == {
        "a.csv", "b.csv", "b.json", "b.raw.npz", "manifest.jsonl", "failures.jsonl"
    }  # fmt: skip
    told = list(jsonl.read(tmp_path / "out" / "manifest.jsonl"))
    assert [(record["output"], record["state"], record["attempts"]) for record in told] == [
        ("a", "failed", 0), ("b", "done", 1)
    ]  # fmt: skip
    (failure,) = jsonl.read(tmp_path / "out" / "failures.jsonl")
    assert (failure["output"], failure["stage"], failure["error"]) == ("a", "write", "UsageError")
    assert invoke(*arguments, "--overwrite").exit_code == 0
    assert path.read_text() != MINE


@pytest.mark.parametrize("name", ["manifest.jsonl", "failures.jsonl"])
def test_batch_keeps_a_file_with_the_name_of_its_books(smile: Path, tmp_path: Path, no_work: None, name: str) -> None:
    path = mine(tmp_path / name)
    for more in ((), ("--dry-run",)):
        refused(invoke("batch", smile, "-o", tmp_path, *QUICK, *more), path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.posix
def test_batch_says_which_names_it_shortened(smile: Path, tmp_path: Path) -> None:
    video = tmp_path / ("a" * 248 + ".mp4")
    video.symlink_to(smile)
    arguments = ("batch", video, "-o", tmp_path / "out", "--workers", "1", *QUICK[:-1])
    assert "name shortened" in invoke(*arguments, "--dry-run").stdout
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    (table,) = (tmp_path / "out").glob("*.csv")
    assert "the name of one input is too long for results and shortened" in result.stderr
    assert table.stem in result.stderr and "manifest.jsonl" in result.stderr


def test_batch_has_the_exit_code_of_annotate_for_low_coverage(smile: Path, nobody: Path, tmp_path: Path) -> None:
    for command in ("annotate", "batch"):
        out = tmp_path / command
        arguments = (command, smile, nobody, "-o", out, *QUICK)
        assert invoke(*arguments, "--min-coverage", "0").exit_code == 0
        for _ in range(2):  # batch: as it is done, and when it is done already
            result = invoke(*arguments, "--min-coverage", "0.5")
            assert result.exit_code == 6, result.output
            assert f"{nobody}: a face was seen in 0.0% of its frames, below --min-coverage 0.5." in result.stderr
            assert str(smile) not in result.stderr
    notes = {record["output"]: record["note"] for record in jsonl.read(tmp_path / "batch" / "manifest.jsonl")}
    assert notes["smile"] == "" and "below --min-coverage 0.5." in notes["nobody"]
    (line,) = jsonl.read(tmp_path / "batch" / "failures.jsonl")
    assert (line["output"], line["stage"], line["error"]) == ("nobody", "annotate", "LowCoverage")
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    result = invoke("batch", nobody, bad, "-o", tmp_path / "b", *QUICK, "--min-coverage", "0.5", "--workers", "1")
    assert result.exit_code == 3, "a failure counts more"
