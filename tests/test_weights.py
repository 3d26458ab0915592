"""Weights arrive whole and verified or not at all, over a real HTTP server on this machine."""

from __future__ import annotations

import errno
import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hsemotion_cli.errors import ModelUnavailable, OutputError
from hsemotion_cli.models import weights
from hsemotion_cli.models.cards import WeightFile
from hsemotion_cli.models.registry import card

CONTENT = bytes(range(256)) * 2000


class Shelf(ThreadingHTTPServer):
    """Serves one file, and misbehaves on request.

    Attributes:
        content: what it serves.
        plan: for each request to come, one of "cut" (send half, hang up), "busy" (503), "whole" (ignore the
            range asked for), "gone" (404); afterwards it behaves.
        asked: the Range header of every request, or None.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Reply)
        self.content = CONTENT
        self.plan: list[str] = []
        self.asked: list[str | None] = []

    def file(self, name: str = "net.pt", **changes: Any) -> WeightFile:
        blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
        facts = {"url": f"http://127.0.0.1:{self.server_port}/{name}", "git_blob": blob, **changes}
        return WeightFile(name, "pt", **facts)


class Reply(BaseHTTPRequestHandler):
    server: Shelf

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        todo = self.server.plan.pop(0) if self.server.plan else "behave"
        if todo in ("busy", "gone"):
            self.send_error({"busy": 503, "gone": 404}[todo])
            return
        start = int(wanted[6:-1]) if wanted and todo != "whole" else 0
        body = self.server.content[start:]
        if wanted and todo != "whole" and not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if todo == "cut" else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setenv("HSEMOTION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HSEMOTION_OFFLINE", raising=False)
    monkeypatch.setattr(weights, "BACKOFF", 0.001)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Shelf()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_fetched_once_with_progress_and_noted(shelf: Shelf) -> None:
    told: list[tuple[int, int | None]] = []
    path = weights.ensure(shelf.file(), progress=lambda have, total: told.append((have, total)))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert weights.ensure(shelf.file()) == path
    assert len(shelf.asked) == 1
    assert hashlib.sha256(CONTENT).hexdigest() in Path(f"{path}.json").read_text()
    assert not list(path.parent.glob("*.part"))


def test_a_broken_connection_is_resumed_where_it_broke(shelf: Shelf) -> None:
    shelf.plan = ["cut"]
    assert weights.ensure(shelf.file()).read_bytes() == CONTENT
    assert shelf.asked == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_part_left_by_an_earlier_run_is_continued(shelf: Shelf) -> None:
    part = Path(f"{weights.place(shelf.file())}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    assert weights.ensure(shelf.file()).read_bytes() == CONTENT
    assert shelf.asked == ["bytes=1000-"]


def test_a_complete_part_is_not_mistaken_for_a_failure(shelf: Shelf) -> None:
    part = Path(f"{weights.place(shelf.file())}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert weights.ensure(shelf.file()).read_bytes() == CONTENT


def test_a_part_of_something_else_is_thrown_away(shelf: Shelf) -> None:
    part = Path(f"{weights.place(shelf.file())}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    assert weights.ensure(shelf.file()).read_bytes() == CONTENT
    assert shelf.asked == ["bytes=1000-", None]


def test_a_server_that_ignores_the_range_is_understood(shelf: Shelf) -> None:
    shelf.plan = ["cut", "whole"]
    assert weights.ensure(shelf.file()).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(shelf: Shelf) -> None:
    shelf.plan = ["busy", "busy"]
    assert weights.ensure(shelf.file()).read_bytes() == CONTENT
    assert len(shelf.asked) == 3


def test_a_server_that_stays_busy_is_given_up(shelf: Shelf) -> None:
    shelf.plan = ["busy"] * 9
    with pytest.raises(ModelUnavailable, match=r"net\.pt cannot be downloaded: 127\.0\.0\.1 failed after 4 attempts"):
        weights.ensure(shelf.file())
    assert len(shelf.asked) == weights.ATTEMPTS


def test_a_file_that_has_moved_is_reported_at_once(shelf: Shelf) -> None:
    shelf.plan = ["gone"] * 9
    with pytest.raises(
        ModelUnavailable, match=r"the file has moved \(HTTP 404 from http://127.*put a copy at .*net\.pt"
    ):
        weights.ensure(shelf.file())
    assert len(shelf.asked) == 1


def test_no_lock_is_left_whether_a_file_arrives_or_not(shelf: Shelf) -> None:
    shelf.plan = ["gone"]
    with pytest.raises(ModelUnavailable):
        weights.ensure(shelf.file())
    folder = weights.place(shelf.file()).parent
    assert list(folder.iterdir()) == []
    weights.ensure(shelf.file())
    assert sorted(path.name for path in folder.iterdir()) == ["net.pt", "net.pt.json"]


def test_no_network_is_reported_in_one_sentence(shelf: Shelf) -> None:
    file = shelf.file(url="http://127.0.0.1:9/net.pt")  # the discard port: nothing listens
    with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1 failed after 4 attempts"):
        weights.ensure(file)


def test_an_address_that_is_not_on_the_web_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(CONTENT)
    with pytest.raises(ModelUnavailable, match="is not a web address"):
        weights.ensure(shelf.file(url=(tmp_path / "net.pt").as_uri()))


@pytest.mark.parametrize(("field", "kind"), [("git_blob", "git blob id"), ("sha256", "SHA-256")])
def test_a_wrong_file_never_takes_its_place(shelf: Shelf, field: str, kind: str) -> None:
    file = shelf.file(**{field: "0" * 40})
    with pytest.raises(
        ModelUnavailable, match=rf"its {kind} is \w+, expected 0{{40}}; remove it and download it again"
    ):
        weights.ensure(file)
    assert not weights.place(file).exists()
    assert not Path(f"{weights.place(file)}.part").exists()


@pytest.mark.parametrize("by_environment", [False, True])
def test_offline_makes_no_request_and_says_where_to_put_the_file(
    shelf: Shelf, by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_environment:
        monkeypatch.setenv("HSEMOTION_OFFLINE", "1")
    file = shelf.file()
    with pytest.raises(ModelUnavailable) as caught:
        weights.ensure(file, offline=not by_environment)
    assert file.url in str(caught.value)
    assert str(weights.place(file)) in str(caught.value)
    assert caught.value.exit_code == 5
    assert shelf.asked == []


def test_offline_is_content_with_what_is_there(shelf: Shelf) -> None:
    path = weights.ensure(shelf.file())
    assert weights.ensure(shelf.file(), offline=True) == path


def test_a_file_put_there_by_hand_is_verified(shelf: Shelf) -> None:
    path = weights.place(shelf.file())
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ModelUnavailable, match="git blob id"):
        weights.ensure(shelf.file(), offline=True)
    path.write_bytes(CONTENT)
    assert weights.ensure(shelf.file(), offline=True) == path


@pytest.mark.parametrize("blob", ["published", None])
def test_one_flipped_bit_is_found(shelf: Shelf, blob: str | None) -> None:
    file = shelf.file() if blob else shelf.file(git_blob=None)
    path = weights.ensure(file)
    assert weights.verify(file) == hashlib.sha256(CONTENT).hexdigest()
    content = bytearray(CONTENT)
    content[123_456] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=f"SHA-256 is .* expected {hashlib.sha256(CONTENT).hexdigest()}"):
        weights.verify(file)
    with pytest.raises(ModelUnavailable):
        weights.ensure(file)


def test_verify_says_that_a_file_is_missing(shelf: Shelf) -> None:
    with pytest.raises(ModelUnavailable, match="is missing: download it"):
        weights.verify(shelf.file())


def test_a_full_disk_is_reported(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights, "_copy", full)
    with pytest.raises(OutputError, match="the disk is full; free some space or set HSEMOTION_HOME"):
        weights.ensure(shelf.file())


def test_a_cache_that_cannot_be_written_is_reported(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HSEMOTION_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        weights.ensure(shelf.file())


def test_many_at_once_fetch_one_whole_file(shelf: Shelf) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(weights.ensure(shelf.file()).read_bytes())) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4


def test_the_published_checksums_are_well_formed_and_the_names_differ() -> None:
    rows = weights.cached()
    assert len({row.file.name for row in rows}) == len(rows) == 21
    for row in rows:
        assert row.file.url.startswith("https://github.com/")
        assert len(row.file.git_blob or "") == 40
        int(row.file.git_blob or "", 16)
        assert row.file.kind == row.path.suffix[1:]


def test_the_state_of_the_cache_is_listed_and_a_model_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSEMOTION_HOME", str(tmp_path))
    assert all(row.size is None for row in weights.cached())
    model = card("enet_b0_8_best")
    mine = [weights.place(weights.published(model)[0]), weights.derived("enet_b0_8_best.0123.onnx")]
    other = weights.derived("enet_b0_8_best_vgaf.0123.onnx")
    for path in (*mine, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    assert [(row.model, row.size) for row in weights.cached() if row.size] == [("enet_b0_8_best", 4)]
    assert weights.remove(model) == mine
    assert weights.remove(model) == []
    assert other.exists()


def test_a_file_made_here_is_intact_until_a_bit_flips(tmp_path: Path) -> None:
    path = tmp_path / "made.onnx"
    assert not weights.intact(path)
    path.write_bytes(CONTENT)
    assert not weights.intact(path), "there is no note yet"
    weights.stamp(path)
    assert weights.intact(path)
    path.write_bytes(CONTENT[:-1] + b"\0")
    assert not weights.intact(path)


@pytest.mark.parametrize(
    ("platform", "variable", "value", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "/caches", "/caches/hsemotion"),
        ("darwin", "HOME", "/Users/me", "/Users/me/Library/Caches/hsemotion"),
        ("win32", "LOCALAPPDATA", "/local", "/local/hsemotion"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(
    platform: str, variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HSEMOTION_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, value)
    assert weights.home() == Path(expected)
