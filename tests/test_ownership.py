"""Files that hsemotion wrote are known by their content, and only they are replaced without being asked to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from known import program

from hsemotion_cli.batch import jsonl
from hsemotion_cli.batch.messages import Failure, Outcome, Task
from hsemotion_cli.commands import extract
from hsemotion_cli.commands.signature import call
from hsemotion_cli.errors import UsageError
from hsemotion_cli.formats.ownership import check_outputs, is_ours
from hsemotion_cli.media.mp4_boxes import encoding_tool
from hsemotion_cli.models import heads
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.reporting import plotting
from hsemotion_cli.reporting.markdown import signed
from hsemotion_cli.runtime.atomic_files import prepare_folder


@pytest.fixture(scope="module")
def ours(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind, written by what writes it."""
    folder = tmp_path_factory.mktemp("ours")
    with Annotator(Settings(Recipe.of("mp-blendshapes"), ("csv", "jsonl", "parquet"), overlay=True)) as annotator:
        annotator.annotate(smile, folder, "smile")
    call(extract.run, videos=[smile], out=folder, every=4, quiet=True)
    failed = Outcome(Task("a.mp4", "a"), "failed", failure=Failure("read", "InputError", "a.mp4: not a video."))
    jsonl.rewrite(folder / "manifest.jsonl", [failed.manifest()])
    jsonl.rewrite(folder / "failures.jsonl", failed.failures())
    with plotting.result_figure(folder / "curves.png", (2, 2), 50) as figure:
        figure.subplots().plot([1, 2])
    part = heads.Part("features", "softmax", ("a", "b"), ((np.zeros((2, 3)), np.zeros(2)),))
    base = heads.Base("mp-blendshapes", None, "face", 3, 0)
    heads.write(heads.Head("head", "", "unitask", base, {"expression": part}, {}), folder / "head.safetensors", "x")
    (folder / "page.md").write_text(signed("# a page"))
    return folder


def test_every_kind_of_file_that_we_write_is_known_as_ours(ours: Path) -> None:
    expected = {
        "smile.csv", "smile.jsonl", "smile.parquet", "smile.raw.npz", "smile.json", "smile.overlay.mp4",
        "smile.features.parquet", "manifest.jsonl", "failures.jsonl", "curves.png", "head.safetensors", "page.md",
    }  # fmt: skip
    names = {path.name for path in ours.iterdir()} - {"head.md"}  # a page that was written without its mark
    assert names == expected
    assert {name for name in names if is_ours(ours / name)} == expected
    check_outputs([ours / name for name in names] + [ours / "new.csv"])


def test_a_plain_reader_finds_the_mark_of_an_overlay_and_of_an_image(ours: Path) -> None:
    assert encoding_tool(ours / "smile.overlay.mp4") == "hsemotion"
    command = [program("ffprobe"), "-v", "error", "-show_entries", "format_tags=encoder", "-of", "json"]
    done = subprocess.run([*command, str(ours / "smile.overlay.mp4")], capture_output=True, check=True)
    assert json.loads(done.stdout)["format"]["tags"]["encoder"] == "hsemotion"
    from PIL import Image

    with Image.open(ours / "curves.png") as image:
        assert image.text["Software"] == "hsemotion"  # type: ignore[attr-defined]


def strangers(folder: Path, smile: Path) -> dict[str, Callable[[Path], Any]]:
    """Files of the user's with names that ours would have, and some that are nearly ours."""
    header = (folder / "smile.csv").read_text().splitlines()[0]
    row = json.loads((folder / "smile.jsonl").read_text().splitlines()[0])
    return {
        "transcript.json": lambda p: p.write_text(json.dumps({"text": "hello", "segments": [], "language": "en"})),
        "recipe.json": lambda p: p.write_text(json.dumps({"recipe": {}, "tool": {"name": "another"}})),
        "no.json": lambda p: p.write_text("{"),
        "list.json": lambda p: p.write_text("[1]"),
        "deep.json": lambda p: p.write_text("[" * 100_000),
        "notes.csv": lambda p: p.write_text("participant,age\n1,34\n"),
        "longer.csv": lambda p: p.write_text(f"{header},my_rating\n"),
        "shorter.csv": lambda p: p.write_text(",".join(header.split(",")[:20]) + "\n"),
        "bytes.csv": lambda p: p.write_bytes(bytes(range(256))),
        "words.jsonl": lambda p: p.write_text('{"word": "a", "start": 0.1}\n'),
        "longer.jsonl": lambda p: p.write_text(json.dumps({**row, "mine": 1}) + "\n"),
        "a.parquet": lambda p: cast_parquet(p, {"age": [34]}),
        "no.parquet": lambda p: p.write_text("PAR1"),
        "a.raw.npz": lambda p: np.savez(p, index=np.arange(3), mine=np.arange(3)),
        "no.raw.npz": lambda p: p.write_text("PK"),
        "film.mp4": lambda p: shutil.copy(smile, p),
        "no.mp4": lambda p: p.write_text("x" * 40),
        "photo.png": lambda p: cv2.imwrite(str(p), np.zeros((4, 4, 3), np.uint8)),
        "no.png": lambda p: p.write_text("a diary"),
        "notes.md": lambda p: p.write_text("# a page\n\n    hsemotion annotate VIDEO --head head.safetensors\n"),
        "mine.toml": lambda p: p.write_text("# for hsemotion: what I want\nmodels = []\n".replace("hsemotion:", "x")),
        "mine.safetensors": lambda p: p.write_bytes((2).to_bytes(8, "little") + b"{}"),
        "submission.txt": lambda p: p.write_text("image,valence,arousal\n"),
    }


def cast_parquet(path: Path, columns: dict[str, list[int]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)


def test_a_file_of_the_user_s_is_never_taken_for_ours(ours: Path, smile: Path, tmp_path: Path) -> None:
    for name, write in strangers(ours, smile).items():
        write(tmp_path / name)
        assert not is_ours(tmp_path / name), name
        with pytest.raises(UsageError, match=r"already there, and not recognised as written by hsemotion.*--overwrite"):
            check_outputs([tmp_path / name])
        check_outputs([tmp_path / name], overwrite=True)
    with pytest.raises(UsageError, match=r"film\.mp4, .*no\.csv, .*no\.json and 1 more: already there"):
        (tmp_path / "no.csv").write_text("x")
        check_outputs([tmp_path / name for name in ("film.mp4", "no.csv", "no.json", "notes.md", "new.csv")])


def test_a_manifest_that_was_cut_off_in_its_first_line_is_ours(ours: Path, tmp_path: Path) -> None:
    whole = (ours / "manifest.jsonl").read_bytes()
    (tmp_path / "manifest.jsonl").write_bytes(whole[:30])
    assert is_ours(tmp_path / "manifest.jsonl")
    (tmp_path / "manifest.jsonl").write_bytes(whole[:30] + b"\n" + whole)
    assert is_ours(tmp_path / "manifest.jsonl"), "the batch went on"
    (tmp_path / "manifest.jsonl").write_bytes(whole[:30] + b'\n{"word": 1}\n')
    assert not is_ours(tmp_path / "manifest.jsonl")


def test_an_empty_file_may_be_replaced(tmp_path: Path) -> None:
    for name in ("a.csv", "a.txt", "failures.jsonl"):
        (tmp_path / name).touch()
        check_outputs([tmp_path / name])


def test_a_higher_layer_can_add_a_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ours")
    check_outputs([tmp_path / "a.txt"], False, lambda path: path.read_text() == "ours")
    with pytest.raises(UsageError):
        check_outputs([tmp_path / "a.txt"], False, lambda path: path.read_text() == "theirs")


def test_an_overlay_without_a_mark_is_ours_if_our_sidecar_lists_it(ours: Path, smile: Path, tmp_path: Path) -> None:
    shutil.copy(smile, tmp_path / "smile.overlay.mp4")
    assert not is_ours(tmp_path / "smile.overlay.mp4")
    shutil.copy(ours / "smile.json", tmp_path)
    assert is_ours(tmp_path / "smile.overlay.mp4")
    (tmp_path / "other.json").write_bytes((ours / "smile.json").read_bytes())
    shutil.copy(smile, tmp_path / "other.overlay.mp4")
    assert not is_ours(tmp_path / "other.overlay.mp4")


@pytest.mark.posix
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_cannot_be_one_is_refused_before_any_work(tmp_path: Path, overwrite: bool) -> None:
    for where in (tmp_path, tmp_path / "not" / "made"):
        check_outputs([where / ("a" * 247 + ".raw.npz")], overwrite)
        with pytest.raises(UsageError, match=r"too long.*rename the input"):
            check_outputs([where / ("a" * 248 + ".raw.npz")], overwrite)
    with pytest.raises(UsageError, match=r"too long.*rename the input"):
        check_outputs([tmp_path / ("a" * 256) / "a.csv"], overwrite)
    with pytest.raises(UsageError, match=r"too long.*rename the input"):
        check_outputs([tmp_path.joinpath(*["a" * 200] * 21, "a.csv")], overwrite)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.posix
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(UsageError, match=r"a\.csv: cannot be written \(Is a directory\); a folder has this name"):
        check_outputs([tmp_path / "a.csv"], overwrite)
    os.mkfifo(tmp_path / "b.csv")
    with pytest.raises(UsageError, match=r"b\.csv: is not a regular file"):
        check_outputs([tmp_path / "b.csv"], overwrite)
    (tmp_path / "file").write_text("x")
    check_outputs([tmp_path / "file" / "a.csv"], overwrite)
    with pytest.raises(UsageError, match="a file has the name of one of its folders"):
        prepare_folder(tmp_path / "file" / "b")
