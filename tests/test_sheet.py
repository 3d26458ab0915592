"""The contact sheet: which moments it shows, what the page saves, and the accuracy that its marks give."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import Opened, chromium, opened
from hypothesis import given, settings
from hypothesis import strategies as st
from report_tables import face, numbered_clip, varying_times, write_sidecar, write_table
from scipy import stats
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError
from hsemotion_cli.evaluation.proportion import wilson
from hsemotion_cli.formats.ownership import is_ours
from hsemotion_cli.formats.sheet_marks import read_sheet_marks
from hsemotion_cli.reporting.report_table import read_report_table
from hsemotion_cli.reporting.sheet_choice import APART, SheetSize, choose

__all__ = ["chromium"]  # the fixture

COUNT = 120
TIMES = varying_times(COUNT)


def command(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["sheet", *map(str, arguments)])
    return done.exit_code, done.output


def rows_of(number: int) -> list[dict[str, Any]]:
    """Two faces; one of them interpolated in some frames."""
    unsure = round(float(np.random.default_rng(number).uniform()), 4)
    lost = number % 7 == 3
    return [
        face(0, number, uncertainty_expression=unsure),
        face(
            1, number, uncertainty_expression="" if lost else 0.5, interpolated=int(lost), face_detected=int(not lost)
        ),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that shows its frame numbers, its table, and its sheet."""
    folder = tmp_path_factory.mktemp("sheet")
    numbered_clip(folder / "talk.mp4", TIMES)
    write_table(folder / "talk.csv", [(k, t, rows_of(k)) for k, t in enumerate(TIMES)])
    write_sidecar(folder / "talk.json", name="talk.mp4")
    code, output = command(folder / "talk.csv", "--random", 12, "--uncertain", 5, "--typical", 8)
    assert code == 0, output
    assert "12 random, 5 uncertain, 8 typical" in output and "seed 0" in output
    return folder


def facts_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def cards(page: Path) -> dict[str, list[dict[str, Any]]]:
    return {group["kind"]: group["cards"] for group in facts_of(page)["groups"]}


# --- the choice -----------------------------------------------------------------------------------------------------


def test_the_uncertain_moments_have_the_highest_uncertainty(folder: Path) -> None:
    shown = [
        (card["frame"], card["face"], card["uncertainty"]) for card in cards(folder / "talk.sheet.html")["uncertain"]
    ]
    able = [
        (row["uncertainty_expression"], k, row["face_id"])
        for k in range(COUNT)
        for row in rows_of(k)
        if row["face_detected"]
    ]
    left = sorted(able, reverse=True)
    for frame, key, value in shown:
        assert left[0] == (value, frame, key)
        left = [one for one in left if one[2] != key or abs(TIMES[one[1]] - TIMES[frame]) >= APART]


def test_the_typical_moments_are_the_best_of_each_expression_in_turn(folder: Path) -> None:
    shown = cards(folder / "talk.sheet.html")["typical"]
    rows = [(k, row) for k in range(COUNT) for row in rows_of(k) if row["face_detected"]]
    labels = {row["expression"] for _, row in rows}
    assert {card["label"] for card in shown[: len(labels)]} == labels
    for card in shown[: len(labels)]:
        best = max(row["expression_score"] for _, row in rows if row["expression"] == card["label"])
        assert card["score"] == pytest.approx(best, abs=1e-4)


def test_random_moments_are_a_fair_sample_of_the_seen_ones(folder: Path) -> None:
    recording = read_report_table(folder / "talk.csv")
    able = set(np.flatnonzero(recording.detected & (recording.expression >= 0)).tolist())
    assert len(able) == 2 * COUNT - len(range(3, COUNT, 7))
    hits = np.zeros(len(recording.row))
    for seed in range(400):
        chosen = choose(recording, SheetSize(random=20, seed=seed)).rows["random"]
        assert len(set(chosen)) == 20 and set(chosen) <= able and chosen == sorted(chosen)
        hits[chosen] += 1
    # Each of n rows is drawn in 20 / n of the samples: a chi-squared test, exact enough with 35 expected draws.
    assert stats.chisquare(hits[sorted(able)]).pvalue > 1e-3
    again = [choose(recording, SheetSize(random=20, seed=3)).rows["random"] for _ in range(2)]
    assert again[0] == again[1]


def test_a_table_without_uncertainty_says_what_stands_in_for_it(folder: Path, tmp_path: Path) -> None:
    frames = [(k, t, [face(0, k)]) for k, t in enumerate(TIMES)]
    table = write_table(tmp_path / "talk.csv", frames)
    code, output = command(table, "--video", folder / "talk.mp4", "--uncertain", 1)
    assert code == 0 and "lowest scores" in output
    (card,) = cards(tmp_path / "talk.sheet.html")["uncertain"]
    assert card["uncertainty"] is None
    assert card["score"] == pytest.approx(min(row["expression_score"] for _, _, (row,) in frames), abs=1e-4)


def test_each_image_is_the_face_in_its_own_frame(folder: Path) -> None:
    """The clip shows its frame number as bars of 40 pixels; the box of face 1 begins at 50, that of face 0 at 10."""
    checked = 0
    for card in cards(folder / "talk.sheet.html")["random"]:
        content = base64.b64decode(card["image"].partition(",")[2])
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None and max(image.shape) == 184
        left = max(0.0, (25, 65)[card["face"]] - 1.1 * 40)
        width = (25, 65)[card["face"]] + 1.1 * 40 - left
        for bit in range(8):
            at = (bit * 40 + 20 - left) / width
            if 0.05 < at < 0.95:
                assert (image[len(image) // 2, int(at * image.shape[1])] > 128) == bool(card["frame"] >> bit & 1)
                checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--video", "no.mp4"], "no such video"), (["-o", "a.png"], "ends in .html"),
     (["--random", "0", "--uncertain", "0", "--typical", "0"], "at least one")],
)  # fmt: skip
def test_what_cannot_be_made_is_said(folder: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    code, output = command(folder / "talk.csv", "-o", tmp_path / "out.html", *arguments)
    assert code != 0 and said in " ".join(output.split())
    assert not (tmp_path / "out.html").exists()


def test_a_table_without_its_video_asks_for_it(tmp_path: Path) -> None:
    table = write_table(tmp_path / "talk.csv", [(0, 0.0, [face(0, 0)])])
    code, output = command(table)
    assert code != 0 and "give --video" in " ".join(output.split())


def test_a_video_that_is_too_short_is_refused(folder: Path, tmp_path: Path) -> None:
    numbered_clip(tmp_path / "short.mp4", TIMES[:30])
    code, output = command(folder / "talk.csv", "--video", tmp_path / "short.mp4", "-o", tmp_path / "out.html")
    assert code != 0 and "has no frame" in " ".join(output.split())


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sheet(chromium: Any, folder: Path) -> Iterator[Opened]:
    with opened(chromium, folder / "talk.sheet.html", color_scheme="light") as page:
        yield page


def saved(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_page_asks_for_nothing_and_complains_of_nothing(sheet: Opened, folder: Path) -> None:
    assert sheet.requests and {address for address in sheet.requests if not address.startswith("data:")} == {
        (folder / "talk.sheet.html").as_uri()
    }
    assert sheet.complaints == [] and is_ours(folder / "talk.sheet.html")
    assert sheet.page.locator(".card").count() == 25
    assert "seed 0" in sheet.text("#groups")


def test_marks_by_mouse_and_keyboard_are_saved_and_read_again(chromium: Any, folder: Path, tmp_path: Path) -> None:
    random = cards(folder / "talk.sheet.html")["random"]
    with opened(chromium, folder / "talk.sheet.html") as page:
        first = page.page.locator("#groups section").first.locator(".card")
        first.nth(0).get_by_role("button", name="Right").click()
        first.nth(1).focus()
        page.page.keyboard.press("r")  # and on to the next
        page.page.keyboard.press("u")
        page.page.keyboard.press("w")  # the choice of the right label has the focus
        wanted = next(
            name for name in facts_of(folder / "talk.sheet.html")["expressions"] if name != random[3]["label"]
        )
        assert page.page.evaluate("document.activeElement.tagName") == "SELECT"
        page.page.locator("select:focus").select_option(wanted)
        first.nth(4).focus()
        page.page.keyboard.press("r")
        page.page.keyboard.press("ArrowLeft")
        page.page.keyboard.press("x")
        assert "4 of 12 random moments marked: 2 right, 1 wrong, 1 unsure" in page.text("#counts")
        text = page.download("#save")
        assert page.complaints == []
    own = [line for line in saved(text) if line["group"] == "random"]
    assert [(int(line["frame"]), int(line["face_id"]), line["label"]) for line in own] == [
        (card["frame"], card["face"], card["label"]) for card in random[:4]
    ]
    assert [(line["mark"], line["correct"]) for line in own] == [
        ("right", ""), ("right", ""), ("unsure", ""), ("wrong", wanted)
    ]  # fmt: skip
    (tmp_path / "marks.csv").write_text(text)
    code, output = command(folder / "talk.csv", "--marks", tmp_path / "marks.csv")
    low, high = wilson(2, 3)
    assert code == 0 and f"66.7%, 95 % interval {low:.1%} to {high:.1%}" in " ".join(output.split())
    assert f"{random[3]['label']} instead of {wanted} 1" in " ".join(output.split())


def test_a_moment_in_two_groups_has_one_mark(chromium: Any, folder: Path, tmp_path: Path) -> None:
    page_path = tmp_path / "all.html"
    assert command(folder / "talk.csv", "-o", page_path, "--random", 300, "--uncertain", 1, "--typical", 1)[0] == 0
    with opened(chromium, page_path) as page:
        card = page.page.locator("[aria-labelledby=group-uncertain] .card")
        card.get_by_role("button", name="Wrong").click()
        lines = saved(page.download("#save"))
    assert sorted(line["group"] for line in lines)[:2] == ["random", "uncertain"]
    assert len({(line["frame"], line["face_id"]) for line in lines}) == 1


def test_axe_finds_nothing_serious_and_nothing_is_cut_on_a_phone(chromium: Any, folder: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    for scheme, viewport in (("light", (1280, 900)), ("dark", (390, 844))):
        given = {"color_scheme": scheme, "viewport": {"width": viewport[0], "height": viewport[1]}, "bypass_csp": True}
        with opened(chromium, folder / "talk.sheet.html", **given) as page:
            page.page.locator(".card").first.get_by_role("button", name="Wrong").click()
            found = axe.run(page.page).response["violations"]
            assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
            assert page.page.evaluate("document.documentElement.scrollWidth") <= viewport[0]


def test_names_with_markup_are_only_text(chromium: Any, folder: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text('recording,face_id,person\ntalk,0,"<img src=x onerror=alert(1)></script>"\n')
    assert command(folder / "talk.csv", "-o", tmp_path / "a.html", "--people", people)[0] == 0
    with opened(chromium, tmp_path / "a.html") as page:
        assert page.complaints == [] and "<img src=x onerror=alert(1)></script>" in page.text("#groups")


# --- the accuracy ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 500), st.data())
@settings(max_examples=80, deadline=None)
def test_the_interval_is_that_of_scipy(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_options_of_the_page_are_refused_beside_marks(folder: Path, tmp_path: Path) -> None:
    path = marks(folder, tmp_path / "marks.csv", [("random", "right", "")])
    code, output = command(folder / "talk.csv", "--marks", path, "--seed", 3)
    assert code == 2 and "--seed: --marks makes no page" in " ".join(output.split())


def test_without_trials_everything_is_possible() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


HEAD = "recording,group,frame,time,face_id,label,mark,correct\n"


def marks(folder: Path, path: Path, given_marks: list[tuple[str, str, str]]) -> Path:
    """Marks of the first rows of the table: (group, mark, right label)."""
    lines = []
    for k, (group, mark, right) in enumerate(given_marks):
        lines.append(f"talk,{group},{k},{TIMES[k]},0,{rows_of(k)[0]['expression']},{mark},{right}\n")
    path.write_text(HEAD + "".join(lines))
    return path


def test_only_random_moments_count(folder: Path, tmp_path: Path) -> None:
    given_marks = [("random", "right", "")] * 7 + [("random", "wrong", "")] * 2 + [("random", "unsure", "")] * 3
    given_marks += [("uncertain", "wrong", "")] * 5 + [("typical", "right", "")] * 4
    path = marks(folder, tmp_path / "marks.csv", given_marks)
    code, output = command(folder / "talk.csv", "--marks", path, "--json")
    assert code == 0
    found = json.loads(output)
    assert found["accuracy"] == pytest.approx(7 / 9)
    assert (found["low"], found["high"]) == pytest.approx(wilson(7, 9))
    assert found["counts"]["uncertain"] == {"right": 0, "wrong": 5, "unsure": 0}
    words = " ".join(command(folder / "talk.csv", "--marks", path)[1].split())
    assert "from 9 random moments. 3 unsure ones are left out. The other groups were selected" in words
    path = marks(folder, tmp_path / "marks.csv", [("uncertain", "wrong", "")])
    code, output = command(folder / "talk.csv", "--marks", path)
    assert code == 0 and "no accuracy" in output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "no column recording, group"),
        (HEAD + "talk,random,0,0,0,happiness,maybe,\n", "mark is 'maybe'"),
        (HEAD + "talk,random,0.5,0,0,happiness,right,\n", "frame is '0.5'"),
        (HEAD + "talk,best,0,0,0,happiness,right,\n", "group is 'best'"),
        (HEAD + "talk,random,0,0,0,happiness,right,fear\n", "does not fit"),
        (HEAD + "talk,random,0,0,0,happiness,wrong,happiness\n", "does not fit"),
        (HEAD + 2 * "talk,random,0,0,0,happiness,right,\n", "marked twice"),
    ],
)
def test_marks_that_make_no_sense_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "marks.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_sheet_marks(tmp_path / "marks.csv")


def test_marks_of_another_table_are_refused(folder: Path, tmp_path: Path) -> None:
    wrong = next(name for name in ("fear", "anger") if name != rows_of(0)[0]["expression"])
    for text, said in (
        (f"other,random,0,0,0,{wrong},right,\n", "none of the marks is of talk"),
        (f"talk,random,0,0,0,{wrong},right,\n", "make a new sheet"),
        (f"talk,random,{COUNT + 5},0,0,{wrong},right,\n", "has no expression"),
    ):
        (tmp_path / "marks.csv").write_text(HEAD + text)
        code, output = command(folder / "talk.csv", "--marks", tmp_path / "marks.csv")
        assert code != 0 and said in " ".join(output.split())
