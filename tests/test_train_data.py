"""Where training data comes from, and whether what was downloaded can be used."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import SHARED
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.commands import train_data_check
from hsemotion_cli.training import ferplus_csv
from hsemotion_cli.training.ferplus_csv import VOTE_NAMES

COLUMNS = ["Usage", "Image name", *(name if name != "nf" else "NF" for name in VOTE_NAMES)]


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["train", "data", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.stdout if code in (0, 4) and result.stdout else result.stderr


def found(*words: object, code: int = 0) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(run(*words, "--json", code=code))
    return data


def write_tables(folder: Path, rows: list[tuple[str, str, np.ndarray, list[int]]]) -> Path:
    """Rows of (usage, image name, pixels, votes) as the two published tables have them."""
    with (folder / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        writer.writerows([0, " ".join(map(str, pixels.ravel())), usage] for usage, _, pixels, _ in rows)
    with (folder / "fer2013new.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([usage, name, *votes] for usage, name, _, votes in rows)
    return folder


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


def votes(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in VOTE_NAMES]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    happy, sad, neither = votes(happiness=8, neutral=2), votes(sadness=10), votes(nf=6, unknown=4)
    return write_tables(tmp_path, [
        ("Training", "a.png", image(1), happy), ("Training", "", image(2), neither),
        ("Training", "b.png", image(3), sad), ("Training", "c.png", image(1), sad),
        ("Training", "d.png", image(9), happy),
        ("PublicTest", "e.png", image(4), sad), ("PublicTest", "f.png", image(3), happy),
        ("PublicTest", "g.png", image(5), neither), ("PrivateTest", "h.png", image(9), happy),
        ("PrivateTest", "i.png", image(6), sad),
    ])  # fmt: skip


def test_the_two_tables_become_the_file_that_plans_read(tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "ferplus.npz"
    facts = found("ferplus", tables, "-o", out)
    with np.load(out) as data:
        assert data["name"].tolist() == ["a.png", "b.png", "e.png", "g.png"]
        assert data["split"].tolist() == ["train", "train", "val", "val"]
        np.testing.assert_array_equal(data["images"], [image(1), image(3), image(4), image(5)])
        assert data["votes"].tolist() == [
            votes(happiness=8, neutral=2), votes(sadness=10), votes(sadness=10), votes(nf=6, unknown=4),
        ]  # fmt: skip
        assert tuple(data["vote_names"]) == VOTE_NAMES
    assert (facts["without_face"], facts["duplicates"], facts["published"]) == (1, 3, False)
    assert facts["rows"] == {"Training": 5, "PublicTest": 3, "PrivateTest": 2}
    assert facts["parts"]["validation"] == 2 and facts["images"] == 4 and facts["without_expression"] == 1
    assert facts["expressions"]["happiness"] == 1 and facts["expressions"]["sadness"] == 2
    assert facts["plan"][0] == "[[source]]" and f'path = "{out}"' in facts["plan"]
    again = found("ferplus", out)
    assert {key: again[key] for key in ("images", "parts", "expressions", "plan")} == {
        key: facts[key] for key in ("images", "parts", "expressions", "plan")
    }


def test_tables_are_checked_without_writing(tables: Path) -> None:
    printed = run("ferplus", tables)
    assert "Training 5, PublicTest 3, PrivateTest 2; not as many as were published" in printed
    assert "1 without a face, 3 duplicates" in printed and "4 images: train 2, val 2" in printed
    assert "sadness 2" in printed and not list(tables.glob("*.npz"))


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("fer2013.csv", "Training", "Trainings", "row 1: Usage is 'Training'"),
        ("fer2013new.csv", "PublicTest", "Training", "do not belong together"),
        ("fer2013.csv", "pixels", "points", "no column 'pixels'"),
        ("fer2013new.csv", "contempt", "disdain", "no column 'contempt'"),
        ("fer2013new.csv", "Training,a.png,2", "Training,a.png,x", "row 1: votes are not whole numbers"),
        ("fer2013new.csv", "Training,a.png,2", "Training,a.png,200", "row 1: votes are not numbers from 0 to 10"),
        ("fer2013.csv", "0,", "0,256 ", "row 1: pixels are not whole numbers from 0 to 255"),
        ("fer2013.csv", "0,", "0,7 ", "row 1: 2305 pixels instead of 2304"),
    ],
)
def test_tables_that_cannot_be_are_refused_by_file_and_row(
    name: str, old: str, new: str, says: str, tables: Path
) -> None:
    text = (tables / name).read_text()
    assert old in text
    (tables / name).write_text(text.replace(old, new, 1))
    assert says in run("ferplus", tables, code=4)


def test_a_table_that_was_cut_short_is_refused(tables: Path) -> None:
    lines = (tables / "fer2013new.csv").read_text().splitlines(keepends=True)
    (tables / "fer2013new.csv").write_text("".join(lines[:-1]))
    assert "fer2013new.csv: it ends before fer2013.csv does" in run("ferplus", tables, code=4)
    (tables / "fer2013new.csv").unlink()
    assert "fer2013new.csv: cannot be read" in run("ferplus", tables, code=4)


def test_the_tables_of_a_known_file_give_that_file_again(tmp_path: Path) -> None:
    path = SHARED / "data" / "ferplus" / "ferplus_train_val.npz"
    if not path.is_file():
        pytest.skip("needs FER+ of ../shared/data/ferplus, which is not here")
    with np.load(path) as data:
        rows = np.r_[0:150, len(data["split"]) - 150 : len(data["split"])]
        kept = {key: data[key][rows] for key in ("images", "votes", "split", "name")}
    usage = {"train": "Training", "val": "PublicTest"}
    columns = zip(*(kept[key] for key in ("split", "name", "images", "votes")), strict=True)
    write_tables(tmp_path, [(usage[part], name, pixels, ballot.tolist()) for part, name, pixels, ballot in columns])
    again = ferplus_csv.read(tmp_path / "fer2013.csv", tmp_path / "fer2013new.csv").arrays()
    for key, values in kept.items():
        np.testing.assert_array_equal(again[key], values, err_msg=key)


def test_a_folder_is_counted_as_training_reads_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for k in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{k}.png"), image(k))
    (tmp_path / "images" / "3.png").write_bytes(b"no image")
    rows = ["0.png,anger,ann,train,0.1,0.2", "1.png,,ann,train,,", "2.png,fear,bob,val,,", "3.png,fear,,val,1,-1"]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,subject,split,valence,arousal", *rows]) + "\n")
    facts = found("folder", tmp_path)
    assert facts["parts"]["validation"] == 2 and facts["images"] == 4
    assert (facts["expressions"]["anger"], facts["expressions"]["fear"], facts["without_expression"]) == (1, 2, 1)
    assert (facts["valence_arousal"], facts["action_units"], facts["people"], facts["unreadable"]) == (2, 0, 2, 1)
    assert "images that cannot be decoded: 1" in run("folder", tmp_path)
    (tmp_path / "labels.csv").write_text("image,label\n9.png,anger\n")
    assert "line 2" in run("folder", tmp_path, code=4) and "9.png" in run("folder", tmp_path, code=4)
    (tmp_path / "labels.csv").write_text("image,label\n")
    assert "has no rows" in run("folder", tmp_path, code=4)


def test_without_a_path_the_source_of_the_data_is_printed() -> None:
    assert "kaggle.com" in run("ferplus") and "github.com/microsoft/FERPlus" in run("ferplus")
    assert "muxspace/facial_expressions" in run("folder")
    assert found("ferplus")["where"] == train_data_check.WHERE["ferplus"]


def test_a_plan_lists_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'name = "n"\narchitecture = "mobilefacenet_first_96"\nsize = 96\nstart = "start.json"\n'
        '[[source]]\nkind = "folder"\npath = "here"\n'
        '[[source]]\nkind = "ferplus"\npath = "f.npz"\n[[stage]]\nepochs = 1\n'
    )
    needs = found("plan", plan, code=4)["needs"]
    assert [(need["name"], need["kind"], need["there"]) for need in needs] == [
        ("folder", "folder", True), ("ferplus", "ferplus", False), ("start", "start", False),
    ]  # fmt: skip
    printed = run("plan", plan, code=4)
    assert "f.npz is missing" in printed and "github.com/microsoft/FERPlus" in printed
    assert "human-models" in printed and "muxspace" not in printed
    (tmp_path / "f.npz").touch()
    (tmp_path / "start.json").touch()
    assert "missing" not in run("plan", plan)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rafdb"], "choose from ferplus, folder, plan"), (["plan"], "give the plan"),
        (["folder", ".", "-o", "x.npz"], "-o:"), (["ferplus", ".", "-o", "x.csv"], "-o:"),
        (["ferplus", "-o", "x.npz"], "-o:"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(words: list[str], says: str) -> None:
    assert says in run(*words, code=2)
