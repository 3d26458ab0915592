"""Figures by group in the model card: skin lightness from pixels, a bias that is planted, and the images that count."""

from __future__ import annotations

import csv
import importlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import clips
import cv2
import numpy as np
import pytest
from conftest import ROOT, SHARED
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from hsemotion_cli.errors import UsageError
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.models import registry
from hsemotion_cli.models.model_file import read_card
from hsemotion_cli.models.weights import checksums
from hsemotion_cli.training.dataset import Dataset, pack
from hsemotion_cli.training.dataset_readers import find_face

SHIPPED = registry.ASSETS / "mt-mobilefacenet.safetensors"
LIGHT, BROWN = (236, 188, 160), (120, 78, 58)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


def lab_by_definition(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """CIELAB of an sRGB colour: IEC 61966-2-1, and CIE 15 with the white D65."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
    matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(m * c for m, c in zip(row, linear, strict=True)) for row in matrix]
    x, y, z = (
        t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29
        for t in (v / w for v, w in zip(xyz, (0.95047, 1.0, 1.08883), strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


PUBLISHED = {
    (255, 255, 255): (100, 0, 0), (0, 0, 0): (0, 0, 0), (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18), (0, 0, 255): (32.30, 79.19, -107.86), (128, 128, 128): (53.59, 0, 0),
}  # fmt: skip
"""CIELAB of sRGB colours (D65, 2 degrees) as tables of colours give it."""


@pytest.mark.parametrize("rgb", [LIGHT, BROWN, (60, 40, 30), (10, 200, 90), (200, 20, 160), (5, 3, 9), *PUBLISHED])
def test_colours_are_those_of_published_tables_and_definitions(script: Any, rgb: tuple[int, int, int]) -> None:
    (found,) = script("measure_groups").lab(np.array([rgb], np.uint8))
    np.testing.assert_allclose(found, lab_by_definition(rgb), atol=0.01)
    np.testing.assert_allclose(found, PUBLISHED.get(rgb, found), atol=0.03)
    opencv = cv2.cvtColor(np.array([[rgb]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    np.testing.assert_allclose(found, opencv, atol=0.4)


def test_the_angle_is_that_of_its_definition(script: Any) -> None:
    given = np.array(
        [[70, 5, 20], [50, 5, 20], [30, 5, 20], [70, 5, 20 / math.sqrt(3)], [70, 5, 0], [70, 5, -3]], float
    )
    found = script("measure_groups").typology_angle(given)
    np.testing.assert_allclose(found, [45, 0, -45, 60, math.nan, math.nan])


def face_of(photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    with FaceDetector(blendshapes=False) as detector:
        face = find_face(detector, photo)
    assert face is not None and face.landmarks is not None
    return face.landmarks


def test_the_angle_of_a_face_is_that_of_its_skin(script: Any) -> None:
    """Eyes, mouth, hair and background do not count, and neither do spots on the skin."""
    groups = script("measure_groups")
    photo = clips.portrait()
    landmarks = face_of(photo)
    for rgb in (LIGHT, BROWN):
        painted = photo.copy()
        for outline in (groups.FOREHEAD, *groups.CHEEKS):
            hull = cv2.convexHull(np.round(landmarks[list(outline)]).astype(np.int32))
            cv2.fillPoly(painted, [hull], rgb)
        x, y = np.round(landmarks[50]).astype(int)
        cv2.circle(painted, (int(x), int(y)), 3, (255, 255, 255), -1)
        lightness, _, yellow = lab_by_definition(rgb)
        expected = math.degrees(math.atan2(lightness - 50, yellow))
        assert abs(groups.skin_angle(painted, landmarks) - expected) < 0.2


def test_grey_and_blue_faces_have_no_angle(script: Any) -> None:
    groups = script("measure_groups")
    photo = clips.portrait()
    landmarks = face_of(photo)
    assert not math.isnan(groups.skin_angle(photo, landmarks))
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    encoded = cv2.imdecode(cv2.imencode(".jpg", np.repeat(grey[..., None], 3, axis=2))[1], cv2.IMREAD_COLOR)
    for without in (grey, np.repeat(grey[..., None], 3, axis=2), encoded, photo[..., ::-1]):
        assert math.isnan(groups.skin_angle(np.ascontiguousarray(without), landmarks))


def planted(script: Any, wrong: bool, subject: str = "") -> tuple[str, list[list[str]]]:
    """The tables of 200 light and 200 dark faces of two expressions; half of the dark ones are predicted as neutral."""
    groups = script("measure_groups")
    truth = np.tile([0, 4], 200)
    dark = np.arange(400) >= 200
    label = np.where(wrong & dark & (np.arange(400) % 4 == 1), 0, truth)
    scores = np.full((400, 8), 0.02)
    scores[np.arange(400), label] = 0.86
    nan = np.full((400, 12), np.nan, np.float32)
    faces = Dataset(
        *pack([b""] * 400), points=np.zeros((400, 5, 2), np.float32), boxes=np.zeros((400, 4), np.float32),
        blendshapes=np.zeros((400, 52), np.float32), expression=np.eye(8, dtype=np.float32)[truth],
        valence_arousal=nan[:, :2], action_units=nan, clear=np.ones(400, bool), source=np.full(400, "made"),
        subject=np.full(400, subject), part=np.full(400, "validation"),
    )  # fmt: skip
    traits = {name: np.where(dark, -40.0, 60.0) for name in list(groups.GROUPS)[:1]}
    text = groups.as_markdown(registry.card("mt-mobilefacenet"), faces, scores, traits, False)
    return text, [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d\.\d+", cell)]


def test_a_planted_bias_shows_in_its_group_only(script: Any) -> None:
    _, rows = planted(script, wrong=True)
    light = next(row for row in rows if row[0].startswith("very light"))
    dark = next(row for row in rows if row[0].startswith("dark"))
    assert light[1] == dark[1] == "200"
    assert numbers(light[2]) == [1, 1, 1]
    accuracy, low, high = numbers(dark[2])
    assert accuracy == 0.75 and low < 0.75 < high < float(dark[3]) == 0.875
    assert 0.04 < high - low < 0.16  # 2 * 1.96 * sqrt(0.75 * 0.25 / 200) = 0.12
    assert numbers(light[6])[0] == 0.5 and numbers(dark[6])[0] == 0.75
    assert light[7] == dark[7] == "0.625"
    assert numbers(dark[4])[0] == pytest.approx(f1_of_planted(), abs=1e-3)


def f1_of_planted() -> float:
    truth = np.tile([0, 4], 100)
    return float(f1_score(truth, np.where(np.arange(200) % 4 == 1, 0, truth), average="macro"))


def test_without_a_bias_no_group_is_below_what_is_expected(script: Any) -> None:
    text, rows = planted(script, wrong=False)
    both = [row for row in rows if row[0].startswith(("very light", "dark"))]
    assert all(numbers(row[2]) == [1, 1, 1] and row[3] == "1.000" for row in both)
    assert checksums(SHIPPED)[0] in text
    assert [row[1] for row in rows if row[0].startswith(("tan", "none: grey"))] == ["0", "0"]


def test_images_of_one_person_are_drawn_together(script: Any) -> None:
    """All of one person: every resample is the same, so the interval has no width."""
    _, rows = planted(script, wrong=True, subject="one")
    dark = next(row for row in rows if row[0].startswith("dark"))
    assert numbers(dark[2]) == [0.75, 0.75, 0.75]


def test_only_images_that_were_not_trained_on_count(script: Any, tmp_path: Path) -> None:
    groups = script("measure_groups")
    plan = read_card(SHIPPED)[1]["plan"]
    photo = cv2.cvtColor(clips.portrait(), cv2.COLOR_RGB2BGR)
    for name in ("other", "muxspace", "london"):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "labels.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", "label", "subject"])
            for k in range(12):
                cv2.imwrite(str(tmp_path / name / f"{k}.png"), photo)
                table.writerow([f"{k}.png", "happiness", f"person {k}"])
    faces, traits = groups.gathered([tmp_path / "other", tmp_path / "muxspace"], plan, None)
    counts = dict(zip(*np.unique(faces.source, return_counts=True), strict=True))
    assert counts["other"] == 12 and 0 < counts["muxspace"] < 12
    lightness, width, yaw = traits.values()
    assert (width > 40).all() and (yaw < 45).all() and len(set(np.round(lightness, 6))) == 1
    with pytest.raises(UsageError, match="was trained on all of it"):
        groups.gathered([tmp_path / "london"], plan, None)


def test_the_section_of_a_card_is_replaced_and_its_page_stays(script: Any) -> None:
    ship = script("ship_weights")
    page = "# A\n\n## Evaluation\n\nx\n\n## Calibration\n\ny\n"
    once = ship.with_groups(page, "| 1 |\n")
    assert once.index("x") < once.index("| 1 |") < once.index("## Calibration")
    assert ship.with_groups(once, "| 2 |\n") == ship.with_groups(page, "| 2 |\n")
    start, end = once.index(ship.GROUPS_BEGIN), once.index(ship.GROUPS_END) + len(ship.GROUPS_END)
    assert once[:start] + once[end:] == page


@pytest.mark.skipif(not (SHARED / "models" / "faceres.json").exists(), reason="needs the network that predicts ages")
def test_apparent_ages_of_known_people(script: Any) -> None:
    """Grace Hopper was 77 in the photo, and Eileen Collins in her forties at most."""
    ages = script("apparent_age")
    found = []
    for name in ("grace_hopper.jpg", "astronaut.png"):
        photo = clips.still(ROOT / "sample_videos" / "stills" / name)
        with FaceDetector(blendshapes=False) as detector:
            box = max(detector.find(photo), key=lambda face: face.box[2]).box
        found.append(ages.framed(photo, box))
    old, young = ages.AgeNetwork(SHARED / "models" / "faceres.json").ages(found)
    assert 55 < old < 90 and 22 < young < 50
