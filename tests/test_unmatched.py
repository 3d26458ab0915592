"""What train heads did not use, because only the features or only the annotations have it, is said and recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("transformers", reason="sound needs transformers")

from test_joint import plant
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.training.unmatched import unmatched_clips

OPTIONS = ("--val-share", "0.34", "--tasks", "expression", "--epochs", "1")


def train(folder: Path, *more: str, truth: str = "truth.txt") -> tuple[str, str]:
    """What is printed on stderr in one line, and the page of the head."""
    given = ["train", "heads", str(folder / "faces"), "--truth", str(folder / truth), *OPTIONS, *more]
    result = CliRunner().invoke(app, [*given, "-o", str(folder / "head.safetensors")])
    assert result.exit_code == 0, result.output
    return " ".join(result.stderr.split()), (folder / "head.md").read_text()


def test_complete_data_need_no_sentence(tmp_path: Path) -> None:
    plant(tmp_path, ["a", "b", "c"], 24, 3)
    said, page = train(tmp_path, "--sound", str(tmp_path / "sound"))
    assert "no features" not in said and "not used" not in said and "Left out" not in page


@pytest.mark.parametrize("kind", ["joint", "static"])
def test_labels_beyond_the_end_of_a_video_are_counted(kind: str, tmp_path: Path) -> None:
    """30 labels too many, of which 10 have none for the task that is trained."""
    plant(tmp_path, ["a", "b", "c"], 24, 3)
    whole = (tmp_path / "truth.txt").read_text().splitlines()
    more = [f"{video}/{k:05d}.jpg,-5,-5,{1 if k > 34 else -1},{','.join(['-1'] * 12)}" for video in "abc" for k in range(25, 55)]  # noqa: E501  # fmt: skip
    (tmp_path / "long.txt").write_text("\n".join([*whole, *more, ""]))
    sound = ("--sound", str(tmp_path / "sound")) if kind == "joint" else ()
    said, page = train(tmp_path, *sound, truth="long.txt")
    assert "train: no features for 40 of 88 labelled frames (" in said
    assert "validation: no features for 20 of 44 labelled frames (" in said
    assert "Left out: train: no features for 40 of 88 labelled frames" in page
    assert "labelled frames" not in train(tmp_path, *sound, "-q", truth="long.txt")[0]


def test_names_of_one_side_only_are_named(tmp_path: Path) -> None:
    plant(tmp_path, ["a", "b", "c", "d"], 24, 3, silent=["b"])
    text = (tmp_path / "truth.txt").read_text().replace("\na/", "\nother/")
    (tmp_path / "renamed.txt").write_text(text)
    said, _ = train(tmp_path, "--sound", str(tmp_path / "sound"), truth="renamed.txt")
    assert "train: no features for 1 of 3 annotated videos (other)." in said
    assert "features that were not used, because no annotations have their name: a." in said
    assert "no features of sound for 1 of 3 videos (b); they count as silent." in said
    assert "features of sound that were not used, because no faces with labels have their name: a." in said


def test_clips_are_compared_by_their_number() -> None:
    from hsemotion_cli.training.features import ClipFeatures

    data = {"train": ClipFeatures(np.array(["1"]), np.zeros((1, 4), np.float32), np.zeros((1, 6), np.float32))}
    said = unmatched_clips(["00001", "00007"], {"train": {"1": (), "2": ()}}, data)
    assert said == [
        "train: no features for 1 of 2 annotated clips (2).",
        "features that were not used, because no annotations have their name: 00007.",
    ]
