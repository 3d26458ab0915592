"""What ``batch`` finds, where its results go, who does what, and what is written about it."""

from __future__ import annotations

import io
import json
import ntpath
import os
import re
import sys
import unicodedata
from pathlib import Path, PureWindowsPath

import clips
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsemotion_cli.batch import jsonl, output_paths
from hsemotion_cli.batch.discovery import Discovery, Search, find, parse_suffixes, read_list
from hsemotion_cli.batch.locks import hold_lock
from hsemotion_cli.batch.messages import Failure, Outcome, Task
from hsemotion_cli.batch.output_paths import SourceIdentity, assign_outputs, check_inside, safe
from hsemotion_cli.batch.scheduling import declared_seconds, longest_first
from hsemotion_cli.batch.shards import Shard
from hsemotion_cli.errors import InputError, OutputError, UsageError
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.runtime import atomic_files, resources
from hsemotion_cli.runtime.terminal import printable


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(*inputs: str, lists: tuple[str, ...] = (), **options: object) -> Discovery:
    return find(inputs, [Path(name) for name in lists], Search(Path("out"), **options))  # type: ignore[arg-type]


def placed(finding: Discovery) -> dict[str, str]:
    return {task.path: task.place for task in finding.tasks}


def test_a_folder_keeps_its_tree(here: Path) -> None:
    touch("lab/p10/clip.mp4", "lab/p2/clip.mp4", "lab/p2/notes.txt", "lab/intro.MOV", "lab/p2/deep/er/x.mkv")
    finding = found("lab")
    assert placed(finding) == {
        "lab/intro.MOV": "intro",
        "lab/p2/clip.mp4": "p2/clip",
        "lab/p2/deep/er/x.mkv": "p2/deep/er/x",
        "lab/p10/clip.mp4": "p10/clip",
    }
    assert [task.place for task in finding.tasks] == ["intro", "p2/clip", "p2/deep/er/x", "p10/clip"]
    assert found("lab") == finding
    assert [task.place for task in found("lab", recursive=False).tasks] == ["intro"]
    assert [task.place for task in found("lab", suffixes=parse_suffixes("mkv, .MOV")).tasks] == [
        "intro", "p2/deep/er/x"
    ]  # fmt: skip


def test_equal_names_get_places_of_their_own(here: Path) -> None:
    touch("a/clip.mp4", "a/clip.mov", "b/clip.mp4", "b/other.mp4")
    assert placed(found("a")) == {"a/clip.mov": "clip.mov", "a/clip.mp4": "clip.mp4"}
    assert placed(found("a/clip.mp4", "b/other.mp4")) == {"a/clip.mp4": "clip", "b/other.mp4": "other"}
    assert placed(found("a/clip.mp4", "b")) == {
        "a/clip.mp4": "a/clip",
        "b/clip.mp4": "b/clip",
        "b/other.mp4": "other",
    }
    touch("c/a/clip.mp4")
    assert sorted(placed(found("a/clip.mp4", "c/a")).values()) == ["a/clip.mp4", "c/a/clip.mp4"]
    assert sorted(placed(found("a", "b")).values()) == ["a/clip", "b/clip", "clip.mov", "other"]


def test_names_that_some_file_systems_confuse_are_kept_distinct(here: Path) -> None:
    composed, apart = unicodedata.normalize("NFC", "é.mp4"), unicodedata.normalize("NFD", "é.mkv")
    touch("a/Clip.mp4", "a/clip.mkv", f"a/{composed}", f"a/{apart}")
    keys = [unicodedata.normalize("NFC", place).casefold() for place in placed(found("a")).values()]
    assert len(set(keys)) == 4


def test_the_own_files_of_the_batch_are_never_overwritten_by_a_table(here: Path) -> None:
    touch("a/manifest.mp4", "a/failures.mp4", "a/manifest.2of3.mp4", "a/b/manifest.mp4")
    assert sorted(placed(found("a")).values()) == [
        "b/manifest", "failures.mp4", "manifest.2of3.mp4", "manifest.mp4"
    ]  # fmt: skip


@pytest.mark.posix
def test_what_looks_like_a_video_and_is_none_is_named_with_a_reason(here: Path) -> None:
    touch("a/._clip.mp4", "a/clip.mp4", "a/clip.overlay.mp4", "a/clip.json", "a/.trash/x.mp4", "a/my.overlay.mp4")
    os.mkfifo("a/pipe.mp4")
    os.symlink("nowhere.mp4", "a/broken.mp4")
    os.symlink("..", "a/loop")
    (here / "a" / "folder.mp4").mkdir()
    finding = found("a", "a/clip.mp4")
    assert placed(finding) == {"a/clip.mp4": "clip", "a/my.overlay.mp4": "my.overlay"}
    assert dict(finding.ignored) == {
        "a/._clip.mp4": "hidden",
        "a/clip.overlay.mp4": "an overlay, the result of another video",
        "a/pipe.mp4": "no regular file",
        "a/broken.mp4": "a broken link",
        "a/loop/a": "a link back to a folder above it",
        "a/clip.mp4": "named twice",
    }


def test_results_are_no_inputs(here: Path) -> None:
    touch("a.mp4", "out/a.overlay.mp4", "out/deep/b.mp4")
    assert placed(found(".")) == {"./a.mp4": "a"}
    assert placed(found("*")) == {"a.mp4": "a"}


def test_patterns(here: Path) -> None:
    touch("lab/p1/cam1.mp4", "lab/p1/cam2.mp4", "lab/p2/cam1.mp4", "lab/p2/cam1.csv", "lab/[x].mp4")
    assert placed(found("lab/*/cam1.*")) == {"lab/p1/cam1.mp4": "p1/cam1", "lab/p2/cam1.mp4": "p2/cam1"}
    assert sorted(placed(found("lab/**")).values()) == ["[x]", "p1/cam1", "p1/cam2", "p2/cam1"]
    assert sorted(placed(found("lab/p*")).values()) == ["p1/cam1", "p1/cam2", "p2/cam1"]
    assert placed(found("lab/[x].mp4")) == {"lab/[x].mp4": "[x]"}, "a file of that very name comes first"
    ((path, error),) = found("lab/*.webm").faults
    assert path == "lab/*.webm"
    assert isinstance(error, InputError)


def test_folders_of_numbered_images_are_sources(here: Path) -> None:
    touch("crops/v1/00001.jpg", "crops/v1/00002.jpg", "crops/v2/00001.png", "crops/v2/extra.mp4", "crops/film.mp4")
    assert placed(found("crops")) == {"crops/film.mp4": "film", "crops/v1": "v1", "crops/v2": "v2"}
    assert placed(found("crops", crops=True)) == {"crops/v1": "v1", "crops/v2": "v2"}
    assert placed(found("crops/v1")) == {"crops/v1": "v1"}
    assert ("crops/v2/extra.mp4", "beside numbered images") in found("crops").ignored


@pytest.mark.posix
def test_what_is_named_and_cannot_be_used_is_a_fault_of_its_own(here: Path) -> None:
    touch("good.mp4", "empty/notes.txt")
    os.mkfifo("pipe.mp4")
    finding = found("gone.mp4", "empty", "pipe.mp4", "good.mp4")
    assert placed(finding) == {"good.mp4": "good"}
    assert {path: str(error).split(": ", 1)[1] for path, error in finding.faults} == {
        "gone.mp4": "cannot be used (No such file or directory).",
        "empty": "no video or image in this folder.",
        "pipe.mp4": "neither a file nor a folder.",
    }


def test_lists(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("s1/clip.mp4", "s2/clip.mp4", "s3/_up/x.mp4", "# 1.mp4")
    outside = here.parent / f"{here.name}-outside.mp4"
    outside.touch()
    lines = ["s1/clip.mp4", "s2", f"../{outside.name}", str(outside), "s3/_up/x.mp4", "", "# 1.mp4"]
    Path("list.txt").write_text("\r\n".join(lines))
    expected = {
        "s1/clip.mp4": "s1/clip",
        "s2/clip.mp4": "s2/clip",
        f"../{outside.name}": f"_up/{outside.stem}",
        "s3/_up/x.mp4": "s3/__up/x",
        "# 1.mp4": "# 1",
    }
    assert placed(found("@list.txt")) == expected, "the absolute path names a file that was named before"
    assert placed(found(lists=("list.txt",))) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("list.txt").read_bytes())))
    assert placed(found("-")) == expected
    Path("absolute.txt").write_text(str(outside))
    (place,) = placed(found("@absolute.txt")).values()
    assert place == f"_abs{outside.with_suffix('')}"
    with pytest.raises(UsageError, match=r"gone\.txt: the list cannot be read"):
        found("@gone.txt")


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a.mp4\n\n b .mp4 \n", ["a.mp4", " b .mp4 "]),
        (b"a\nb.mp4\0c.mp4\0", ["a\nb.mp4", "c.mp4"]),
        (b"\xef\xbb\xbfa.mp4\r\nb.mp4", ["a.mp4", "b.mp4"]),
        ("é.mp4\r\nb.mp4\r\n".encode("utf-16"), ["é.mp4", "b.mp4"]),
        (b"\xff.mp4\n", ["\udcff.mp4"]),
        (b"", []),
    ],
)
def test_lists_from_any_system_are_read(data: bytes, paths: list[str]) -> None:
    assert read_list(data) == paths


ODD = [b"two words.mp4", b"quote'\"s.mp4", b"new\nline.mp4", b"\xff\xfe.mp4", "\U0001f600.mp4".encode(), b"[red]x.mp4"]


@pytest.mark.posix
def test_odd_names_are_found_and_come_back_from_the_manifest(here: Path) -> None:
    os.mkdir("odd")
    for name in ODD:
        Path(os.fsdecode(b"odd/" + name)).touch()
    tasks = found("odd").tasks
    assert sorted(os.fsencode(task.path) for task in tasks) == sorted(b"odd/" + name for name in ODD)
    jsonl.append(Path("m.jsonl"), [Outcome(task, "done").manifest() for task in tasks])
    read = [record["path"] for record in jsonl.read(Path("m.jsonl"))]
    assert read == [task.path for task in tasks]
    assert Path("m.jsonl").read_bytes().isascii()
    assert len(Path("m.jsonl").read_text().splitlines()) == len(ODD)


def test_nothing_in_a_name_reaches_the_terminal_as_a_command() -> None:
    hostile = "a\x1b[31m\n\r\x07\u202egpj.exe\u2066\x9b2J\udcff\U0001f600 é"
    assert printable(hostile) == "a\\x1b[31m\\n\\r\\x07\\u202egpj.exe\\u2066\\x9b2J\\xff\U0001f600 é"
    assert printable(hostile).isprintable()
    printable(hostile).encode()


PARTS = st.text(st.sampled_from("aA.b_éE\u0301\udc80/\n "), min_size=1, max_size=8)
PATHS = st.one_of(
    PARTS,
    st.sampled_from(["..", "../..", "_up", "__up/x", "_ABS/x", "/etc/x.mp4", "x/../y", "manifest.mp4", "a" * 250]),
).filter(lambda path: safe(path))


@settings(max_examples=300, deadline=None)
@given(st.lists(PATHS, unique_by=os.path.abspath, max_size=12))
def test_places_are_inside_and_never_shared(paths: list[str]) -> None:
    spots = [SourceIdentity(path, safe(path)[-1:], safe(path)) for path in paths]
    chosen = assign_outputs(spots)
    assert chosen == assign_outputs(spots)
    assert len({unicodedata.normalize("NFC", place).casefold() for place in chosen}) == len(paths)
    for place in chosen:
        assert place
        assert not place.startswith("/")
        assert not {"", ".", ".."} & set(place.split("/"))
        assert all(len(os.fsencode(part)) + len(".overlay.mp4") <= 255 for part in place.split("/"))


@settings(max_examples=300, deadline=None)
@given(st.lists(PATHS, min_size=2, max_size=2))
def test_full_places_lose_nothing(paths: list[str]) -> None:
    def plain(path: str) -> tuple[bool, list[str]]:
        return path.startswith("/"), [part for part in path.split("/") if part not in ("", ".")]

    assert (safe(paths[0]) == safe(paths[1])) == (plain(paths[0]) == plain(paths[1]))


@given(st.lists(PARTS, max_size=40), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_every_place_is_in_exactly_one_shard(paths: list[str], count: int) -> None:
    shards = [Shard.parse(f"{k}/{count}") for k in range(1, count + 1)]
    for path in paths:
        assert sum(shard.has(path) for shard in shards) == 1


def test_the_split_is_the_documented_one() -> None:
    number = 0xB957DD5D24D923FB  # printf p2/clip | sha256sum
    assert [Shard(k + 1, 5).has("p2/clip") for k in range(5)] == [k == number % 5 for k in range(5)]
    sizes = [sum(Shard(k + 1, 4).has(f"p{n}/clip") for n in range(4000)) for k in range(4)]
    assert min(sizes) > 900


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2"])
def test_shards_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="write it as 2/8"):
        Shard.parse(text)


def test_only_shards_of_one_split_work_side_by_side(tmp_path: Path) -> None:
    with hold_lock(tmp_path, Shard(1, 4)) as locked, hold_lock(tmp_path, Shard(2, 4)):
        assert locked
        for other in (Shard(1, 4), Shard(1, 3), Shard(2, 4), Shard()):
            with (
                pytest.raises(UsageError, match=f"process {os.getpid()} on .* writes there already"),
                hold_lock(tmp_path, other),
            ):
                pass
        with hold_lock(tmp_path, Shard(3, 4)):
            pass
    with hold_lock(tmp_path, Shard()), pytest.raises(UsageError), hold_lock(tmp_path, Shard(1, 4)):
        pass
    with hold_lock(tmp_path, Shard()):
        pass


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("kept")
    for name in (".hsemotion-batch.lock", "manifest.jsonl"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError), hold_lock(tmp_path / "out", Shard()):
        pass
    with pytest.raises(OutputError):
        jsonl.append(tmp_path / "out" / "manifest.jsonl", [{"a": 1}])
    jsonl.rewrite(tmp_path / "out" / "manifest.jsonl", [{"a": 1}])
    assert (tmp_path / "precious").read_text() == "kept"


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "inside").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (out / "away").symlink_to(tmp_path / "elsewhere")
    (out / "near").symlink_to("inside")
    (out / "x.csv").symlink_to(tmp_path / "elsewhere" / "x.csv")
    check_inside(out, out / "near" / "deeper", ["x.csv"])
    check_inside(out, out, ["y.csv"])
    for folder, name in ((out / "away", "y.csv"), (out / "away" / "deeper", "y.csv"), (out, "x.csv")):
        with pytest.raises(UsageError, match="leads out of the output folder"):
            check_inside(out, folder, [name])


def test_a_journal_outlives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    jsonl.append(path, [{"n": 1}])
    with path.open("ab") as file:
        file.write(b'{"n": 2, "torn')
    jsonl.append(path, [{"n": 3}, {"n": 4}])
    assert [record["n"] for record in jsonl.read(path)] == [1, 3, 4]
    jsonl.rewrite(path, [{"n": 5}])
    assert path.read_text() == '{"n": 5}\n'
    assert list(jsonl.read(tmp_path / "none.jsonl")) == []


def test_records_say_all_that_is_needed() -> None:
    failure = Failure("read", "InputError", "a.mp4: not a video.", usual=True)
    failed = Outcome(Task("x/a.mp4", "a"), "failed", 2, 1.23456, failure=failure)
    assert failed.failures() == [
        {"path": "x/a.mp4", "output": "a", "stage": "read", "error": "InputError", "sentence": "a.mp4: not a video.",
         "attempts": 2}
    ]  # fmt: skip
    early = Outcome(Task("x/a.mp4", "a"), "skipped", facts={"frames": 3, "problem": "it ended early"})
    assert (early.failures()[0]["error"], early.manifest()["note"]) == ("EndedEarly", "it ended early")
    assert Outcome(Task("x/a.mp4", "a"), "done", 1, facts={"frames": 3}).failures() == []
    assert json.dumps(failed.manifest())


def test_the_longest_comes_first(tmp_path: Path) -> None:
    seconds = {"short": 4, "long": 40, "middle": 12}
    for name, frames in seconds.items():
        clips.write(tmp_path / f"{name}.mp4", [clips.blank(32, 32)] * frames)
        declared = declared_seconds(str(tmp_path / f"{name}.mp4"))
        assert declared == pytest.approx(VideoFile(tmp_path / f"{name}.mp4").info.duration, abs=0.05)
    (tmp_path / "none.mkv").write_bytes(b"\0" * 20)
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\1moov" + b"\xff" * 8 + b"\0\0\0\0mvhd")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "long.mp4").read_bytes()[:50])
    assert [declared_seconds(str(tmp_path / n)) for n in ("none.mkv", "bad.mp4", "cut.mp4", "gone.mp4")] == [None] * 4
    tasks = [Task(str(path), path.stem) for path in sorted(tmp_path.glob("*.mp4")) if path.stem in seconds]
    huge = Task(str(tmp_path / "none.mkv"), "huge")
    sizes = {task.path: os.path.getsize(task.path) for task in tasks} | {huge.path: 10**9}
    order = [task.place for task in longest_first([*tasks, huge], sizes)]
    assert order == ["huge", "long", "middle", "short"]


def test_the_machine_has_something(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= resources.cores() <= (os.cpu_count() or 1)
    assert resources.free_memory() is None or resources.free_memory() > 0  # type: ignore[operator]
    monkeypatch.setattr(resources, "cores", lambda: 16)
    monkeypatch.setattr(resources, "free_memory", lambda: 4.0)
    assert [resources.usual_workers(gb) for gb in (0.1, 0.8, 100)] == [16, 4, 1]


def test_long_names_have_temporary_ones_of_their_own(tmp_path: Path) -> None:
    stem = "ü" * 110  # 220 bytes
    with atomic_files.write_together() as opened:
        for kind in ("csv", "raw.npz", "json", "overlay.mp4"):
            with opened(tmp_path / f"{stem}.{kind}") as file:
                file.write(kind.encode())
    assert {path.name[len(stem) + 1 :]: path.read_text() for path in tmp_path.iterdir()} == {
        kind: kind for kind in ("csv", "raw.npz", "json", "overlay.mp4")
    }


def test_only_what_dead_processes_of_this_machine_left_is_removed(tmp_path: Path) -> None:
    dead = 2**22 + 5  # above the highest number that Linux gives
    own, theirs = (atomic_files.temporary(tmp_path / name) for name in ("a.csv", "b.csv"))
    host = own.name.removeprefix(".a.csv.").removesuffix(f".{os.getpid()}.part")
    assert re.fullmatch(r"[A-Za-z0-9-]+", host)
    gone = tmp_path / f".c.csv.{host}.{dead}.part"
    others = [tmp_path / f".c.csv.{host}x.{dead}.part", tmp_path / f"c.csv.{host}.{dead}.part", tmp_path / "d.part"]
    link = tmp_path / f".e.csv.{host}.{dead}.part"
    for path in (own, theirs, gone, *others):
        path.write_text("half")
    link.symlink_to(own)
    assert atomic_files.remove_leftovers(tmp_path, before=0) == 0, "all are younger"
    assert atomic_files.remove_leftovers(tmp_path, float("inf")) == 1
    assert not gone.exists()
    assert all(path.exists() for path in (own, theirs, *others, link))
    assert atomic_files.remove_leftovers(tmp_path, float("inf"), {os.getpid()}) == 2
    assert not own.exists()
    assert atomic_files.remove_leftovers(tmp_path / "none", float("inf")) == 0


def test_suffixes_that_make_no_sense() -> None:
    for text in ("", "mp4,,mov", "a/b"):
        with pytest.raises(UsageError, match="write them as mp4,mov"):
            parse_suffixes(text)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (r"C:\data\lab\x.mp4", ("_abs", "C", "data", "lab", "x.mp4")),
        (r"C:x.mp4", ("C", "x.mp4")),
        (r"\\server\share\x.mp4", ("_abs", "server", "share", "x.mp4")),
        (r"lab\..\..\x.mp4", ("lab", "_up", "_up", "x.mp4")),
        ("lab/p1\\x.mp4", ("lab", "p1", "x.mp4")),
        ("a:b?.mp4", ("a", "b_.mp4")),
        ("ab:c?.mp4", ("ab_c_.mp4",)),
        ("CON.mp4", ("_CON.mp4",)),
        ("nul", ("_nul",)),
        ("com1 .x.mp4", ("_com1 .x.mp4",)),
        ("console.mp4", ("console.mp4",)),
        ("dir. /x .mp4.", ("dir._", "x .mp4_")),
        ("_ABS\\x.mp4", ("__ABS", "x.mp4")),
    ],
)
def test_places_on_windows_have_names_that_windows_allows(path: str, parts: tuple[str, ...]) -> None:
    assert output_paths.safe(path, windows=True) == parts
    assert output_paths.safe(path, windows=False) != parts or not any(c in path for c in "\\:?")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('aC.: \\/?*|"<>_bCONnul\x01'), max_size=12))
def test_no_path_of_windows_leads_out_of_the_output_folder(path: str) -> None:
    parts = output_paths.safe(path, windows=True)
    assert not {"", ".", ".."} & set(parts)
    joined = PureWindowsPath("D:/out", *parts)
    assert joined.parts == ("D:\\", "out", *parts) and not any(PureWindowsPath(part).is_reserved() for part in parts)
    assert not any(re.search(r'[<>:"|?*\x00-\x1f]|[. ]$', part) for part in parts)


def test_another_drive_is_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(output_paths.os.path, "commonpath", ntpath.commonpath)
    monkeypatch.setattr(output_paths.os.path, "realpath", lambda path: "C:/out" if path == tmp_path else f"D:/{path}")
    with pytest.raises(UsageError, match="leads out of the output folder"):
        check_inside(tmp_path, Path("x"), ["x.csv"])


def test_the_levels_of_a_place() -> None:
    spot = SourceIdentity("/data/x.mp4", ("x.mp4",), ("_abs", "data", "x.mp4"))
    assert [spot.at(level) for level in range(5)] == ["x", "x.mp4", "data/x", "data/x.mp4", "_abs/data/x.mp4"]
    assert re.fullmatch(r"_abs/data/x\.mp4-[0-9a-f]{16}", spot.at(5))
    assert output_paths.safe("a/../b/./c//d") == ("a", "_up", "b", "c", "d")
