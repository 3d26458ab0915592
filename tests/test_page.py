"""Pages of recordings, opened in a real browser: what they show is what the table says, in step with the video."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Opened, chromium, opened
from report_tables import face, number_in, numbered_clip, varying_times, write_sidecar, write_table
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS

__all__ = ["chromium"]  # the fixture

COUNT = 120
GAP = range(50, 70)  # frames without the first face
TIMES = varying_times(COUNT)


def report(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def rows_of(number: int) -> list[dict[str, Any]]:
    first = [] if number in GAP else [face(0, number)]
    return [*first, face(1, number, interpolated=int(number == 9), face_detected=int(number != 9))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a varying frame rate that shows its frame numbers, its table and page, and one with the clip inside."""
    folder = tmp_path_factory.mktemp("page")
    numbered_clip(folder / "talk.mp4", TIMES)
    write_table(folder / "talk.csv", [(k, t, rows_of(k)) for k, t in enumerate(TIMES)])
    report(folder / "talk.csv", "--video", folder / "talk.mp4")
    report(folder / "talk.csv", "--video", folder / "talk.mp4", "--embed-video", "-o", folder / "whole.html", "-q")
    return folder


@pytest.fixture(scope="module")
def talk(chromium: Any, folder: Path) -> Iterator[Opened]:
    with opened(chromium, folder / "talk.html", color_scheme="light") as page:
        yield page


def settled(page: Opened, wanted: str = "!document.querySelector('video').seeking") -> None:
    page.page.wait_for_function(f"() => {wanted}", timeout=10_000)


def resting(page: Opened) -> int:
    """The frame number in words, once the video has come to rest and the words do not change any more."""
    settled(page)
    found = -2
    for _ in range(40):
        before, found = found, page.frame()
        if before == found:
            break
        page.page.wait_for_timeout(100)
    return found


def shown_number(page: Opened) -> tuple[int, int]:
    """The number in the image and the number in words, once both have come to rest."""
    settled(page)
    found = (-2, -3)
    for _ in range(40):
        found = number_in(page.picture("#video")), page.frame()
        if found[0] == found[1]:
            break
        page.page.wait_for_timeout(50)
    return found


# --- in step --------------------------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_but_its_video(talk: Opened, folder: Path) -> None:
    assert set(talk.requests) == {(folder / name).as_uri() for name in ("talk.html", "talk.mp4")}
    assert talk.complaints == []


def test_the_frame_in_the_image_is_the_row_that_is_shown(talk: Opened) -> None:
    talk.page.uncheck("#with-boxes")
    for share in np.random.default_rng(8).uniform(0.01, 0.99, 20):
        talk.seek(float(share))
        picture, words = shown_number(talk)
        whole = TIMES[-1] + float(np.median(np.diff(TIMES)))
        wanted = int(np.searchsorted(TIMES, share * whole, side="right")) - 1
        assert picture == words, f"at {share:.3f}"
        assert abs(words - wanted) <= 1, f"at {share:.3f}"  # a click is exact to a pixel
    talk.page.check("#with-boxes")


def test_the_row_follows_while_the_video_plays(chromium: Any, folder: Path) -> None:
    script = """() => new Promise((done) => {
        const video = document.querySelector("video"), pairs = [];
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [80, 45];
        const context = canvas.getContext("2d", { willReadFrequently: true });
        const look = () => {
            context.drawImage(video, 0, 0, 80, 45);
            const row = context.getImageData(0, 40, 80, 1).data;
            let number = 0;
            for (let k = 0; k < 8; k++) number |= (row[4 * (10 * k + 5)] > 128) << k;
            queueMicrotask(() => setTimeout(() => pairs.push([number, document.querySelector("#now").textContent])));
            if (pairs.length < 40 && !video.ended) video.requestVideoFrameCallback(look);
            else setTimeout(() => { video.pause(); done(pairs); }, 50);
        };
        video.requestVideoFrameCallback(look);
        video.playbackRate = 0.5;
        video.play();
    })"""
    with opened(chromium, folder / "whole.html") as page:
        settled(page, "document.querySelector('video').readyState >= 2")
        pairs = page.page.evaluate(script)
        assert page.requests[0].endswith("whole.html") and all(each.startswith("blob:") for each in page.requests[1:])
        assert page.complaints == []
    numbers = [int(words.rpartition(" ")[2]) for _, words in pairs]
    assert len(set(numbers)) > 15
    # A frame may come to the screen between the two looks; never more than one.
    assert max(abs(picture - number) for (picture, _), number in zip(pairs, numbers, strict=True)) <= 1
    assert np.mean([picture == number for (picture, _), number in zip(pairs, numbers, strict=True)]) > 0.8


@pytest.mark.parametrize("start", [0.0, 5.0])
def test_a_video_that_does_not_begin_at_zero(chromium: Any, tmp_path: Path, start: float) -> None:
    times = varying_times(40, start)
    numbered_clip(tmp_path / "late.mp4", times)
    write_table(tmp_path / "late.csv", [(k, t, [face(0, k)]) for k, t in enumerate(times) if k % 3 == 0])
    write_sidecar(tmp_path / "late.json", name="late.mp4")
    report(tmp_path / "late.csv", "--no-images")
    with opened(chromium, tmp_path / "late.html") as page:
        page.page.uncheck("#with-boxes")
        for share in (0.2, 0.5, 0.8):
            page.seek(share)
            settled(page)
            page.page.wait_for_timeout(150)
            # Between two analysed frames the row of the one before is shown.
            assert number_in(page.picture("#video")) // 3 * 3 == page.frame()
        assert page.complaints == []


def test_keys_step_by_frames_seconds_and_events(talk: Opened) -> None:
    talk.seek(0.001)
    assert resting(talk) == 0
    for key, frame in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)]:
        talk.page.keyboard.press(key)
        assert resting(talk) == frame
    talk.page.keyboard.press("Shift+ArrowRight")
    assert resting(talk) == int(np.searchsorted(TIMES, TIMES[1] + 1, side="right")) - 1
    talk.page.select_option("#event-kind", "gaps")
    talk.page.keyboard.press("1")
    talk.page.keyboard.press("]")
    assert resting(talk) == GAP[0]
    assert "no face found" in talk.text("#values tbody tr")
    talk.page.keyboard.press("0")


# --- the table's numbers ------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_table(talk: Opened, folder: Path) -> None:
    table = pd.read_csv(folder / "talk.csv").set_index(["frame", "face_id"])
    for share in np.random.default_rng(3).uniform(0, 1, 8):
        talk.seek(float(share))
        settled(talk)
        frame = talk.frame()
        cells = talk.page.eval_on_selector_all("#values tbody td", "cells => cells.map((cell) => cell.textContent)")
        for k, person in enumerate((0, 1)):
            label, score, valence, arousal, units = cells[5 * k : 5 * k + 5]
            if (frame, person) not in table.index:
                assert label == "no face found" and score == valence == "\u2013"
                continue
            row = table.loc[(frame, person)]
            assert label.split()[0] == row["expression"]
            assert ("interpolated" in label) == bool(row["interpolated"])
            shown = [float(text.replace("\u2212", "-")) for text in (score, valence, arousal)]
            assert shown == pytest.approx([row["expression_score"], row["valence"], row["arousal"]], abs=6e-4)
            assert units.split() == [unit for unit in ACTION_UNITS if row[f"{unit}_c"] == 1]


def shares_of(page: Opened) -> dict[str, list[str]]:
    rows = page.page.eval_on_selector_all(
        "#shares tbody tr", "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return {row[0]: row[1:] for row in rows}


def expected_shares(rows: pd.DataFrame, frames: int) -> list[str]:
    shares = [f"{100 * (rows['expression'] == name).mean():.1f} %" for name in BASIC_EXPRESSIONS]
    means = [f"{rows[name].mean():+.3f}".replace("-", "\u2212") for name in ("valence", "arousal")]
    return [f"{len(rows):,}", f"{100 * (rows['face_detected'] == 1).sum() / frames:.1f} %", *shares, *means]


def test_shares_and_means_are_those_of_the_table(talk: Opened, folder: Path) -> None:
    table = pd.read_csv(folder / "talk.csv")
    for name, person in (("Face 0", 0), ("Face 1", 1)):
        assert shares_of(talk)[name] == expected_shares(table[table["face_id"] == person], COUNT)


def test_strips_show_the_gap_and_the_colours_of_the_labels(talk: Opened, folder: Path) -> None:
    table = pd.read_csv(folder / "talk.csv")
    first = table[table["face_id"] == 0].set_index("frame")
    colours = talk.page.evaluate("() => JSON.parse(document.getElementById('facts').textContent).palette.expressions")
    talk.page.keyboard.press("0")
    talk.page.wait_for_timeout(100)
    labels = talk.strips()[1]
    whole = TIMES[-1] + float(np.median(np.diff(TIMES)))
    wide = [k for k in range(COUNT - 1) if TIMES[k + 1] - TIMES[k] > 4 * whole / labels.shape[1]]
    assert len(wide) > 60
    for k in wide:
        pixel = labels[2, int((TIMES[k] + TIMES[k + 1]) / 2 / whole * labels.shape[1]), :3]
        if k in GAP:
            assert "#{:02x}{:02x}{:02x}".format(*pixel) not in colours.values()
        else:
            assert "#{:02x}{:02x}{:02x}".format(*pixel) == colours[first.loc[k, "expression"]]


# --- people and marks ---------------------------------------------------------------------------------------------


def rename(page: Opened, person: str, name: str) -> None:
    page.page.click(f"#persons button.rename:text-is('{person}')")
    page.page.fill("#persons .person-head input", name)
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector(f"#persons button.rename:text-is({json.dumps(name)})")


def test_names_and_merges_survive_a_round_trip(chromium: Any, folder: Path, tmp_path: Path) -> None:
    with opened(chromium, folder / "talk.html") as page:
        rename(page, "Face 0", 'Ann, "the" <b>chair</b>')
        page.page.select_option("#people-list tbody tr:nth-child(2) select", index=1)
        page.page.wait_for_selector("#persons section:only-of-type")
        assert "perhaps two people" in page.text("#persons")
        saved = page.download("#save-people")
        assert page.complaints == []
    names = pd.read_csv(pd.io.common.StringIO(saved))
    assert names.to_dict("records") == [
        {"recording": "talk", "face_id": k, "person": 'Ann, "the" <b>chair</b>'} for k in (0, 1)
    ]
    (tmp_path / "people.csv").write_text(saved)
    report(folder / "talk.csv", "--video", folder / "talk.mp4", "--people", tmp_path / "people.csv", "-o",
           tmp_path / "named.html")  # fmt: skip
    with opened(chromium, tmp_path / "named.html") as page:
        assert page.text("#persons button.rename") == 'Ann, "the" <b>chair</b>'
        assert page.page.locator("#persons section").count() == 1
        assert page.download("#save-people") == saved


def test_a_hidden_person_is_drawn_nowhere(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "talk.html") as page:
        page.page.click("button[aria-label='Hide Face 0']")
        page.page.wait_for_selector("#persons section:only-of-type")
        assert list(shares_of(page)) == ["Face 1"]
        page.page.check("input[aria-label='Show Face 0']")
        page.page.wait_for_selector("#persons section:nth-of-type(2)")


def test_marks_survive_a_round_trip_and_excluded_spans_do_not_count(
    chromium: Any, folder: Path, tmp_path: Path
) -> None:
    with opened(chromium, folder / "talk.html") as page:
        page.seek(0.25)
        resting(page)
        page.page.keyboard.press("m")
        page.seek(0.75)
        resting(page)
        onset, offset = page.page.evaluate("() => 0"), page.text("#now").split(" ")[0]
        page.page.keyboard.press("m")
        page.page.select_option("#mark-kind", "exclude")
        page.page.fill("#mark-label", "talks, =1+1")
        page.page.select_option("#mark-person", "Face 1")
        page.page.click("#mark-form button[type=submit]")
        saved = page.download("#save-marks")
        counted = shares_of(page)
        assert page.complaints == []
    marks = pd.read_csv(pd.io.common.StringIO(saved))
    assert list(marks) == ["recording", "person", "onset", "offset", "kind", "label"]
    mark = marks.iloc[0]
    assert (mark["recording"], mark["person"], mark["kind"], mark["label"]) == (
        "talk",
        "Face 1",
        "exclude",
        "talks, =1+1",
    )
    minutes, seconds = offset.split(":")
    assert 60 * int(minutes) + float(seconds) == pytest.approx(mark["offset"], abs=6e-4)
    onset = mark["onset"]
    table = pd.read_csv(folder / "talk.csv")
    inside = (table["time"] >= onset) & (table["time"] <= mark["offset"])
    left = table[(table["face_id"] == 1) & ~inside]
    assert counted["Face 1"] == expected_shares(left, table.loc[~inside, "frame"].nunique())
    assert counted["Face 0"] == expected_shares(table[table["face_id"] == 0], COUNT)
    (tmp_path / "marks.csv").write_text(saved)
    report(folder / "talk.csv", "--video", folder / "talk.mp4", "--marks", tmp_path / "marks.csv", "-o",
           tmp_path / "marked.html", "--no-images")  # fmt: skip
    with opened(chromium, tmp_path / "marked.html") as page:
        assert "talks, =1+1" in page.text("#marks-list")
        assert shares_of(page) == counted
        assert page.download("#save-marks") == saved


def test_events_of_segments_are_jumped_to_and_those_of_others_are_not(
    chromium: Any, folder: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["segments", str(folder / "talk.csv"), "-o", str(tmp_path / "seg"), "-q"])
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "seg" / "segments.csv", dtype={"person": str})
    label = str(found[found["person"] == "1"]["label"].value_counts().index[0])
    own = (found["person"] == "1") & (found["label"] == label)
    wanted = sorted(found[own & (found["onset"] > 0)]["onset"])  # those that are still to come
    other = found[own].assign(person="0", onset=wanted[0] + 0.6, offset=wanted[0] + 0.9)
    pd.concat([found, other]).to_csv(tmp_path / "seg" / "segments.csv", index=False)
    report(folder / "talk.csv", "--video", folder / "talk.mp4", "--events", tmp_path / "seg" / "segments.csv", "-o",
           tmp_path / "events.html", "--no-images")  # fmt: skip
    with opened(chromium, tmp_path / "events.html") as page:
        page.page.keyboard.press("2")  # the second person
        page.page.select_option("#event-kind", f"event: {label}")
        assert page.text("#event-count") == f"{found[own]['onset'].nunique()} of Face 1"
        page.page.locator("#event-kind").blur()
        seen = []
        for _ in set(wanted):
            page.page.keyboard.press("]")
            resting(page)
            minutes, seconds = page.text("#now").split(" ")[0].split(":")
            seen.append(60 * int(minutes) + float(seconds))
        assert seen == pytest.approx(sorted(set(wanted)), abs=0.13)  # to the frame
        assert page.page.locator("#mark-areas div.event").count() > 0
        page.page.select_option("#event-kind", "gaps")
        assert page.page.locator("#mark-areas div.event").count() == 0
        assert page.download("#save-marks").count("\n") == 1, "events are no marks"
        assert page.complaints == []


def test_the_page_says_how_sure_it_is_who_somebody_is(chromium: Any, folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(folder / "talk.csv")
    who = {0: ("Ann", 0.913, 0.204), 1: ("Bob", None, -0.051)}
    for k, column in enumerate(("person", "person_score", "person_second")):
        values = table["face_id"].map(lambda face, k=k: who[face][k] if face in who else None)
        table.insert(list(table).index("face_id") + 1 + k, column, values)
    table.to_csv(tmp_path / "talk.csv", index=False)
    report(tmp_path / "talk.csv", "--video", folder / "talk.mp4", "--no-images")
    with opened(chromium, tmp_path / "talk.html") as page:
        lines = page.page.locator("#people-list tbody tr").all_inner_texts()
        assert [line.split("\t")[3:5] for line in lines] == [["0.91", "0.20"], ["\u2013", "\u22120.05"]]
        assert page.complaints == []
    with opened(chromium, folder / "talk.html") as page:
        assert "similar" not in page.text("#people-list")


# --- for all eyes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "scheme"), [((1280, 900), "dark"), ((390, 844), "light"), ((3840, 2160), "dark")])
def test_screens_of_every_size_and_scheme(chromium: Any, folder: Path, size: tuple[int, int], scheme: str) -> None:
    viewport = {"width": size[0], "height": size[1]}
    with opened(chromium, folder / "talk.html", viewport=viewport, color_scheme=scheme) as page:
        assert page.page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
        ground = page.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        light = np.mean([int(value) for value in re.findall(r"\d+", ground)[:3]])
        assert (light > 200) == (scheme == "light")
        for strip in page.page.locator("#persons canvas").all():
            strip.scroll_into_view_if_needed()
        page.page.wait_for_timeout(150)
        assert all(len(np.unique(strip[..., :3].reshape(-1, 3), axis=0)) > 1 for strip in page.strips())
        page.page.select_option("#theme", "dark" if scheme == "light" else "light")
        turned = page.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert turned != ground and page.complaints == []


def test_a_printed_page_is_light_and_has_no_buttons(chromium: Any, folder: Path) -> None:
    with opened(chromium, folder / "talk.html", color_scheme="dark") as page:
        page.page.emulate_media(media="print")
        page.page.wait_for_timeout(200)
        assert page.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.page.locator("#save-marks").is_visible() and not page.page.locator("#play").is_visible()
        assert page.strips()[2][..., :3].mean() > 150  # a light strip, although the screen is dark
        assert len(page.page.pdf()) > 20_000


@pytest.mark.parametrize("name", ["talk.html", "index.html"])
def test_axe_finds_nothing_serious(chromium: Any, folder: Path, name: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    if name == "index.html" and not (folder / name).exists():
        report(folder, "--no-images", "-q")
    for scheme in ("light", "dark"):
        with opened(chromium, folder / name, color_scheme=scheme, bypass_csp=True) as page:
            found = axe.run(page.page).response["violations"]
            serious = [one for one in found if one["impact"] in ("serious", "critical")]
            assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in serious] == []


# --- tables of all kinds --------------------------------------------------------------------------------------------


def people(count: int) -> list[tuple[int, float, list[dict[str, Any]]]]:
    return [(k, k / 25, [face(3 * p, k) for p in range(count) if (k + p) % 2]) for k in range(4)]


HOSTILE: dict[str, list[tuple[int, float, list[dict[str, Any]]]]] = {
    "one row": [(0, 0.0, [face(0, 0)])],
    "no face at all": [(k, k / 25, []) for k in range(30)],
    "300 people": people(300),
    "huge numbers": [(2**52 + k, 1e8 + k, [face(2**50, k, x=1e300, y=-1e300, valence=1e308)]) for k in range(5)],
    "times that fall": [(k, 5.0 - k, [face(0, k)]) for k in range(5)],
    "times that stand still": [(k, 1.0, [face(0, k)]) for k in range(5)],
    "nothing but boxes": [(k, k / 25, [{"face_id": 0, "face_detected": 1, "interpolated": 0}]) for k in range(5)],
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_strange_table_does_no_harm(chromium: Any, tmp_path: Path, kind: str) -> None:
    name = "<img src=x onerror=hacked=1>'\"&lt;" if kind == "one row" else "table"
    table = write_table(tmp_path / f"{name}.csv", HOSTILE[kind])
    write_sidecar(tmp_path / f"{name}.json", name="</script><script>hacked=1</script>", notes=["<b>bold</b><!--"])
    names = tmp_path / "names.csv"
    names.write_text('recording,face_id,person\n,0,"</script><script>hacked=1</script>"\n')
    report(table, "--people", names, "-o", tmp_path / "page.html", "-q")
    with opened(chromium, tmp_path / "page.html") as page:
        assert page.page.title().startswith(name) and page.text("#name") == name
        assert page.page.evaluate("() => typeof hacked") == "undefined"
        assert page.page.locator("b, img[src=x]").count() == 0
        for key in ("ArrowRight", "]", "+", "0", " "):
            page.page.keyboard.press(key)
        assert page.complaints == [] and page.requests == [(tmp_path / "page.html").as_uri()]
        if kind == "no face at all":
            assert "No face was found" in page.text("#persons")
        if kind == "300 people":
            assert "292 more people are not shown" in page.text("#persons")


# --- folders ------------------------------------------------------------------------------------------------------


def test_the_index_of_thousands_of_lines_sorts_and_searches(chromium: Any, folder: Path, tmp_path: Path) -> None:
    from hsemotion_cli.reporting.folder_page import FolderEntry, Manifest, write_index

    person = {"seen": 0.5, "expression": "fear", "share": 0.7, "arousal": None, "labels": [3] * 48, "curve": [0.1] * 48}
    entries = [
        FolderEntry(f"clip{k}", Path(f"clip{k}.html"), k, 0.5, [], [{**person, "name": f"P{k}", "valence": -k / 5000}])
        for k in range(4000)
    ]
    manifest = Manifest(tmp_path, ({"path": "a<b>.mp4", "state": "failed", "note": "no video"},))
    write_index(tmp_path / "index.html", "study", entries, manifest, [])
    with opened(chromium, tmp_path / "index.html") as page:
        lines = "#rows tr:not(.gap)"
        assert page.page.locator(lines).count() < 80
        assert page.text("#failure-list") == "a<b>.mp4: no video"
        page.page.click("#heads button:has-text('valence')")
        assert page.text(f"{lines} >> nth=0").split()[0] == "clip3999"
        page.page.evaluate("() => document.querySelector('#list').scrollTo(0, 1e9)")
        page.page.wait_for_function("() => document.querySelector('#rows').innerText.includes('clip0\\t')")
        page.page.fill("#search", "clip123 fear")
        assert page.text("#counts") == "11 of 4,000 lines"
        assert page.complaints == [] and page.requests == [(tmp_path / "index.html").as_uri()]


def test_a_folder_has_a_page_for_each_table(chromium: Any, folder: Path) -> None:
    if not (folder / "index.html").exists():
        report(folder, "--no-images", "-q")
    with opened(chromium, folder / "index.html") as page:
        assert page.page.locator("#rows tr:not(.gap)").count() == 2
        page.page.click("#rows a >> nth=0")
        page.page.wait_for_selector("html[data-ready] #strips")
        assert page.text("#name") == "talk"
        page.page.click("#index-link")
        page.page.wait_for_selector("#rows")
        assert page.complaints == []
