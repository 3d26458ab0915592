"""The challenge in miniature, word for word as docs/abaw.md has it: from images to checked submissions."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.postprocess.recipe import Recipe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "abaw.md").read_text()
BLOCK = re.search(r"<!-- miniature -->\n```sh\n(.*?)```", PAGE, re.S)[1]  # type: ignore[index]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder, and what each command printed."""
    folder = tmp_path_factory.mktemp("challenge")
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        first, *commands = BLOCK.splitlines()
        assert first == "python scripts/make_challenge.py mini"
        runpy.run_path(str(ROOT / "scripts" / "make_challenge.py"))["main"](Path("mini"))
        for command in commands:
            name, *arguments = shlex.split(command)
            assert name == "hsemotion"
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, f"{command}\n{result.output}"
            said[command] = result.output
    return folder / "mini", said


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")[:-1]


def test_every_listed_row_is_there_and_nothing_else(mini: tuple[Path, dict[str, str]]) -> None:
    folder, said = mini
    for track, fields in (("expr", 2), ("va", 3), ("au", 13), ("mtl", 16), ("ce", 2)):
        wanted, found = lines(folder / "lists" / f"{track}.txt"), lines(folder / f"{track}.txt")
        assert found[0] == wanted[0]
        assert [row.split(",")[0] for row in found] == [row.split(",")[0] for row in wanted]
        assert {len(row.split(",")) for row in found[1:]} == {fields}
    good = [output for command, output in said.items() if "--validate" in command]
    assert len(good) == 5 and all("good" in output for output in good)


def test_gaps_are_filled_and_the_frame_beyond_the_last_repeats_it(mini: tuple[Path, dict[str, str]]) -> None:
    folder, said = mini
    values = {row.split(",")[0]: np.array(row.split(",")[1:], float) for row in lines(folder / "va.txt")[1:]}
    videos = {name.split("/")[0] for name in values}
    assert len(videos) == 4
    for video in videos:
        at = [values[f"{video}/{number:05d}.jpg"] for number in range(1, 42)]
        np.testing.assert_array_equal(at[40], at[39])
        # Frames 11 to 15 have no image: a straight line from 10 to 16.
        line = np.linspace(at[9], at[15], 7)
        np.testing.assert_allclose(at[9:16], line, atol=2e-6)
    written = next(output for command, output in said.items() if "submit mini/tables --track va" in command)
    assert "4 lie after the last frame" in re.sub(r"\s+", " ", written)


def test_the_score_is_that_of_scikit_learn(mini: tuple[Path, dict[str, str]]) -> None:
    folder, said = mini
    predicted = {row.split(",")[0]: int(row.split(",")[1]) for row in lines(folder / "expr.txt")[1:]}
    truth, answer = [], []
    for path in sorted((folder / "EXPR_Recognition_Challenge" / "Validation_Set").iterdir()):
        for number, row in enumerate(lines(path)[1:], 1):
            if row != "-1":
                truth.append(int(row))
                answer.append(predicted[f"{path.stem}/{number:05d}.jpg"])
    score = f1_score(truth, answer, average="macro", labels=range(8), zero_division=0)
    assert 0.1 < score < 0.95
    of_tables, of_file = (output for command, output in said.items() if "evaluate" in command and "expr" in command)
    assert f"{score:.4f}" in of_tables and f"{score:.4f}" in of_file


def test_the_recipe_is_one_and_says_where_it_comes_from(mini: tuple[Path, dict[str, str]]) -> None:
    folder, _ = mini
    recipe = Recipe.read(folder / "recipe.toml")
    assert recipe.thresholds and set(recipe.blend) <= {"expression", "valence_arousal", "action_units"}
    text = (folder / "recipe.toml").read_text()
    assert "track mtl" in text and "cross-validated" in text
    for picture in ("surface.png", "va.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_videos_are_annotated_on_the_way(samples: Path, tmp_path: Path) -> None:
    """The same file as from tables, which stay; the frame beyond the last repeats it."""
    count = sum(1 for _ in VideoFile(samples / "two_faces.mp4").frames())
    header, listed = "image_location,valence,arousal", tmp_path / "list.txt"
    names = [f"two_faces_{side}/{k:05d}.jpg" for side in ("left", "right") for k in range(1, count + 2)]
    listed.write_text("\n".join([header, *names, ""]))
    options = ["--track", "va", "--list", str(listed), "-o"]
    for given, out in ((samples / "two_faces.mp4", "a.txt"), (tmp_path / "a.txt.tables", "b.txt")):
        done = CliRunner().invoke(app, ["submit", str(given), *options, str(tmp_path / out)])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()
    assert {path.name for path in (tmp_path / "a.txt.tables").iterdir()} == {
        "two_faces.csv", "two_faces.json", "two_faces.raw.npz"
    }  # fmt: skip
    rows = lines(tmp_path / "a.txt")[1:]
    left, right = rows[: count + 1], rows[count + 1 :]
    assert [row.split("/")[1].split(",", 1)[1] for row in left] != [row.split("/")[1].split(",", 1)[1] for row in right]
    assert left[-1].split(",", 1)[1] == left[-2].split(",", 1)[1]
    assert not (tmp_path / "b.txt.tables").exists()


def test_submit_decodes_videos_with_the_input_options(samples: Path, tmp_path: Path) -> None:
    listed, out = tmp_path / "list.txt", tmp_path / "a.txt"
    listed.write_text("image_location,valence,arousal\ntwo_faces/00001.jpg\n")
    options = ["--rotate", "0", "--region", "0,0,320,180", "--deinterlace", "off"]
    video = samples / "two_faces.mp4"
    done = CliRunner().invoke(
        app, ["submit", str(video), "--track", "va", "--list", str(listed), "-o", str(out), *options]
    )
    assert done.exit_code == 0, done.output
    decoding = json.loads((tmp_path / "a.txt.tables" / "two_faces.json").read_text())["decoding"]
    assert (decoding["rotate"], decoding["region"], decoding["deinterlace"]) == ("0", [0, 0, 320, 180], "off")


def test_a_folder_with_nothing_to_submit(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("image_location,valence,arousal\na/00001.jpg,\n")
    done = CliRunner().invoke(
        app, ["submit", str(tmp_path / "empty"), "--track", "va", "--list", str(tmp_path / "list.txt"), "-o", "x.txt"]
    )
    assert done.exit_code == 4
    assert "no video or image" in done.output
