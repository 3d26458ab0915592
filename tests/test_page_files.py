"""What pages are made from, and which files come of it: tiles, copies of videos, names of people, the commands."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import pandas as pd
import pytest
from browser import chromium, opened
from report_tables import face, number_in, numbered_clip, varying_times, write_sidecar, write_table
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError
from hsemotion_cli.formats.ownership import is_ours
from hsemotion_cli.formats.people import PersonName, names_for, read_people
from hsemotion_cli.media.video import open_source
from hsemotion_cli.reporting import page_data, page_media
from hsemotion_cli.reporting.report_table import read_report_table

__all__ = ["chromium"]  # the fixture


def command(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    return done.exit_code, done.output


def facts_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def frames_with_gaps(count: int) -> list[tuple[int, float, list[dict[str, Any]]]]:
    """Two faces that come and go, at frames that are not consecutive."""
    return [(3 * k, k / 10, [face(f, k) for f in (2, 7) if (k // 4 + f) % 3]) for k in range(count)]


# --- tiles ----------------------------------------------------------------------------------------------------------


def tile(packed: page_data.Packed, name: str) -> bytes:
    return zlib.decompress(base64.b64decode(packed.tiles[name]), wbits=-15)


def planes(content: bytes, count: int) -> np.ndarray:
    """The inverse of the differences in two planes, by numpy."""
    low, high = np.frombuffer(content[: 2 * count], np.uint8).reshape(2, count).astype(np.uint16)
    return np.cumsum(low + (high << 8), dtype=np.uint16)


@pytest.mark.parametrize("levels", [page_data.FINE, page_data.COARSE])
def test_tiles_hold_every_value_to_half_a_step(tmp_path: Path, levels: int) -> None:
    path = write_table(tmp_path / "talk.csv", frames_with_gaps(60))
    table = pd.read_csv(path)
    packed = page_data.pack(read_report_table(path), {}, levels)
    ranges = {one["name"]: (one["low"], one["high"]) for one in packed.facts["series"]}
    assert {"valence", "AU12_p", "p_fear", "x"} <= ranges.keys()
    steps = np.frombuffer(tile(packed, packed.facts["times"]["tile"]), "<i4")
    times = np.cumsum([packed.facts["times"]["first"], *steps]) / 1e6
    assert times == pytest.approx(table.drop_duplicates("frame")["time"].to_numpy())
    order = {number: k for k, number in enumerate(table["frame"].unique())}
    for about in packed.facts["faces"]:
        rows, count = table[table["face_id"] == about["id"]], about["count"]
        at = rows["frame"].map(order).to_numpy() - about["start"]
        content = tile(packed, about["tile"])
        assert len(content) == (4 + 2 * len(about["series"])) * count
        assert np.flatnonzero(np.frombuffer(content[:count], np.uint8)).tolist() == at.tolist()
        for k, name in enumerate(about["series"]):
            codes = planes(content[(4 + 2 * k) * count :], count)
            low, high = ranges[name]
            values = low + (codes[at] - 1.0) / (levels - 1) * (high - low)
            assert values == pytest.approx(rows[name].to_numpy(), abs=0.5001 * (high - low) / (levels - 1))
            assert np.setdiff1d(np.flatnonzero(codes), at).size == 0


def test_a_table_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    twice = write_table(tmp_path / "twice.csv", [(0, 0.0, [face(1, 0), face(1, 0)])])
    with pytest.raises(InputError, match="occurs twice in a frame"):
        read_report_table(twice)
    turned = write_table(tmp_path / "turned.csv", [(1, 0.0, [face(1, 0)]), (0, 0.1, [face(1, 0)])])
    with pytest.raises(InputError, match="not sorted by frame"):
        read_report_table(turned)
    empty = write_table(tmp_path / "empty.csv", [])
    assert command("report", empty)[0] == 4


def test_a_single_frame_is_seen_in_an_hour(chromium: Any, tmp_path: Path) -> None:
    """Zoomed out, a pixel stands for many frames; what is strongest in them must not vanish."""
    usual = face(0, 0, AU12_p=0.02)
    frames = [(k, k / 25, [{**usual, "AU12_p": 0.99 if k == 3001 else 0.02}]) for k in range(5_000)]
    write_table(tmp_path / "long.csv", frames)
    assert command("report", tmp_path / "long.csv", "--no-images")[0] == 0
    # Narrow, so that a pixel stands for more frames than are read one by one.
    with opened(chromium, tmp_path / "long.html", viewport={"width": 390, "height": 844}) as page:
        page.page.locator("#persons canvas").nth(4).scroll_into_view_if_needed()
        page.page.wait_for_timeout(150)
        heat = next(strip for strip in page.strips() if len(strip) == 120)
        row = heat[10 * 6 + 3, :, :3].astype(int)  # AU12 is the seventh action unit
        bright = np.flatnonzero(row[:, 0] > 200)  # the end of viridis is yellow
        assert 1 <= len(bright) <= 3
        assert bright / len(row) == pytest.approx(3001 / 5_000, abs=2 / len(row))


# --- videos ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("embed", [False, True])
def test_a_video_that_browsers_do_not_play_is_transcoded_and_this_is_reported(
    chromium: Any, tmp_path: Path, embed: bool
) -> None:
    times = varying_times(50, 2.0)
    numbered_clip(tmp_path / "old.mkv", times)
    write_table(tmp_path / "old.csv", [(k, t, [face(0, k)]) for k, t in enumerate(times)])
    write_sidecar(tmp_path / "old.json", name="old.mkv", width=320, height=180)
    code, words = command("report", tmp_path / "old.csv", *(["--embed-video"] if embed else []))
    assert code == 0 and "browsers do not all play h264 in mkv files" in words
    assert (tmp_path / "old.video.mp4").exists() != embed
    if not embed:
        with av.open(str(tmp_path / "old.video.mp4")) as container:
            assert container.streams.video[0].codec_context.name == "h264"
    with opened(chromium, tmp_path / "old.html") as page:
        page.page.uncheck("#with-boxes")
        for share in (0.31, 0.77):
            page.seek(share)
            page.page.wait_for_function("() => !document.querySelector('video').seeking")
            page.page.wait_for_timeout(200)
            assert number_in(page.picture("#video")) == page.frame()
        assert page.complaints == []


def test_peaks_are_cut_out_of_the_right_frame(tmp_path: Path) -> None:
    times = varying_times(40)
    numbered_clip(tmp_path / "talk.mp4", times)
    rows = [(k, t, [face(0, k, x=0, y=0, w=320, h=180)]) for k, t in enumerate(times)]
    write_table(tmp_path / "talk.csv", rows)
    recording = read_report_table(tmp_path / "talk.csv")
    found = page_media.peaks(recording)
    assert len(found) > 4
    seen = page_media.look(open_source(tmp_path / "talk.mp4"), {peak.frame for peak in found}, to_the_end=False)
    for peak in found:
        of = [row for _, _, (row,) in rows if row["expression"] == peak.expression]
        assert peak.score == max(row[f"p_{peak.expression}"] for row in of)
        assert number_in(seen.images[peak.frame]) == peak.frame
        assert page_media.thumbnail(seen.images[peak.frame], peak.box).startswith("data:image/jpeg;base64,")


def test_cuts_are_noted_while_a_video_is_read(tmp_path: Path) -> None:
    images = [clips.portrait() if (k // 10) % 2 else clips.blank() for k in range(30)]
    clips.write(tmp_path / "scenes.mp4", images)
    source = open_source(tmp_path / "scenes.mp4")
    assert len(list(source.frames())) == 30
    assert source.report.cuts == [0.4, 0.8]
    write_table(tmp_path / "scenes.csv", [(k, k / 25, []) for k in range(30)])
    assert command("report", tmp_path / "scenes.csv", "--video", tmp_path / "scenes.mp4")[0] == 0
    assert facts_of(tmp_path / "scenes.html")["cuts"] == [0.4, 0.8]


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_page_allows_its_own_code_only_and_no_connection(tmp_path: Path) -> None:
    write_table(tmp_path / "talk.csv", frames_with_gaps(5))
    assert command("report", tmp_path / "talk.csv")[0] == 0
    text = (tmp_path / "talk.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    allowed = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
    assert allowed["default-src"] == allowed["connect-src"] == "'none'"
    for kind, pattern in (
        ("script-src", r'<script type="module">(.*?)</script>'),
        ("style-src", r"<style>(.*?)</style>"),
    ):
        content = re.search(pattern, text, re.DOTALL)
        assert content is not None
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert allowed[kind] == f"'sha256-{digest}'"
    assert not re.search(r"https?://", text)
    assert is_ours(tmp_path / "talk.html")
    (tmp_path / "talk.html").write_text("<p>mine")
    assert command("report", tmp_path / "talk.csv")[0] == 2
    assert (tmp_path / "talk.html").read_text() == "<p>mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["talk.csv", "-o", "page.pdf"], "ends in .html"),
        (["talk.csv", "--video", "none.mp4"], "no such video"),
        (["none.mp4"], "no such table, video or folder"),
        (["none.csv"], "no such table"),
        (["talk.csv", "--people", "bad.csv"], "face_id is 'one'"),
        (["talk.csv", "--marks", "bad.csv"], "onset"),
        ([".", "-o", "page.html"], "a folder of tables becomes a folder of pages"),
    ],
)
def test_what_cannot_be_shown_is_reported(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("talk.csv"), frames_with_gaps(5))
    Path("bad.csv").write_text("recording,face_id,person\ntalk,one,Ann\n")
    code, output = command("report", *arguments)
    assert code in (2, 4) and words in " ".join(output.split())
    assert not list(tmp_path.glob("*.html"))


def test_names_of_people_are_read_as_spreadsheets_save_them(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("\ufeffrecording;face_id;person\ntalk;3.0;Ann\n;3;Bob\n;4;Eve\n", encoding="utf-8")
    rows = read_people(path)
    assert rows == [PersonName("talk", 3, "Ann"), PersonName("", 3, "Bob"), PersonName("", 4, "Eve")]
    assert names_for(rows, "talk") == {3: "Ann", 4: "Eve"} and names_for(rows, "other") == {3: "Bob", 4: "Eve"}
    path.write_text("recording,face_id,person\ntalk,3,Ann\ntalk,3,Bob\n")
    with pytest.raises(InputError, match="has two names"):
        read_people(path)


def test_annotate_and_batch_make_pages(smile: Path, nobody: Path, tmp_path: Path) -> None:
    code, words = command("annotate", smile, "-o", tmp_path / "one", "--report", "--every", 4)
    assert code == 0 and "to look at it, open" in words
    facts = facts_of(tmp_path / "one" / "smile.html")
    assert facts["data"]["frames"] == 3 and facts["peaks"] and facts["about"][0][1] == "smile.csv, 3 rows with a face"
    assert (tmp_path / "one" / facts["video"]["address"]).resolve() == smile.resolve()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    command("batch", nobody, broken, smile, "-o", tmp_path / "all", "--report", "--every", 4, "--workers", 1)
    index = facts_of(tmp_path / "all" / "index.html")
    assert [(one["name"], len(one["people"])) for one in index["recordings"]] == [("nobody", 0), ("smile", 1)]
    assert len(index["failures"]) == 1 and "broken.mp4" in index["failures"][0]
    assert facts_of(tmp_path / "all" / "smile.html")["index"] == "index.html"


def test_a_video_is_annotated_unless_its_table_is_there(smile: Path, tmp_path: Path) -> None:
    code, words = command("report", smile, "-o", tmp_path / "page" / "smile.html", "--no-images")
    assert code == 0, words
    table = tmp_path / "page" / "smile.csv"
    before = table.read_bytes()
    table.write_bytes(before.replace(b",happiness,", b",surprise,"))
    code, words = command("report", smile, "-o", tmp_path / "page" / "smile.html", "--no-images")
    assert code == 0 and "its table is there already" in words
    assert table.read_bytes() != before


def test_a_video_that_the_table_was_not_made_from_is_reported(smile: Path, nobody: Path, tmp_path: Path) -> None:
    """A renamed copy is the same video; a table without a sidecar names none."""
    folder = tmp_path / "results"
    assert command("annotate", smile, "-o", folder, "-q", "--every", 10)[0] == 0
    table, copy = folder / "smile.csv", tmp_path / "copy.mp4"
    copy.write_bytes(smile.read_bytes())
    page = ("-o", tmp_path / "page.html", "--no-images")
    code, words = command("report", table, "--video", nobody, *page)
    assert code == 0 and "not the file that" in words and "smile.mp4" in words
    assert "not the file that" not in command("report", table, "--video", copy, *page)[1]
    alone = tmp_path / "alone.csv"
    alone.write_bytes(table.read_bytes())
    code, words = command("report", alone, *page)
    assert code == 0 and "no sidecar names its video, so the page has none" in " ".join(words.split())
