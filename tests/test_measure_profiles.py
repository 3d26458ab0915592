"""Recall on pasted images: which faces count as found, and where."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import clips
import cv2
import numpy as np
import pytest
from conftest import ROOT
from numpy.typing import NDArray

from hsemotion_cli.domain import Face
from hsemotion_cli.faces.detector import FaceDetector


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("measure_profiles")


def save(path: Path, image: NDArray[np.uint8]) -> Path:
    cv2.imwrite(str(path), image[..., ::-1])
    return path


def test_a_face_that_is_found_counts_and_a_blank_image_does_not(script: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo = save(tmp_path / "photos" / "plain.png", np.full((720, 1280, 3), 120, np.uint8))
    faces = [save(tmp_path / f"{name}.png", clips.portrait(240, 240)) for name in "ab"]
    nobody = save(tmp_path / "c.png", np.full((240, 240, 3), 90, np.uint8))
    scenes = script.composed([*faces, nobody], [photo], 120)
    for scene, (left, top, wide, high) in scenes:
        assert scene.shape == (720, 1280, 3) and wide == high == round(120 / script.SHARE)
        x, y = round(left), round(top)
        assert (scene[: max(y - 1, 0)] == 120).all() and (scene[:, : max(x - 1, 0)] == 120).all()
    with FaceDetector(blendshapes=False) as detector:
        counts = script.measured(detector, scenes)
    assert counts["found"] == counts["with landmarks"] == 2 and counts["false"] == 0


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((110.0, 110.0, 60.0, 60.0), True),
        ((110.0, 110.0, 24.0, 24.0), False),  # less than a quarter as wide
        ((60.0, 110.0, 60.0, 60.0), False),  # its centre lies beside the image
        ((110.0, 175.0, 60.0, 60.0), False),
    ],
)
def test_where_a_face_counts(script: Any, box: tuple[float, float, float, float], expected: bool) -> None:
    assert script.is_at(Face(box, 1.0), (100.0, 100.0, 100.0, 100.0)) is expected


def test_each_name_is_that_of_one_image(script: Any, tmp_path: Path) -> None:
    names = script.PROFILES.read_text().split()
    assert len(set(names)) == len(names) == 65
    for name in ("ab1.jpg", "ab2.jpg", "c.jpg"):
        (tmp_path / name).touch()
    assert script.named(tmp_path, "ab1").name == "ab1.jpg"
    for name in ("ab", "d"):
        with pytest.raises(SystemExit, match="files have a name"):
            script.named(tmp_path, name)
