"""A whole collection at once: what is done, what is repeated, and the messages about it."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clips
import cv2
import pytest
from stamps import unstamped
from typer.testing import CliRunner, Result

from hsemotion_cli.batch import jsonl
from hsemotion_cli.batch.job import BatchJob
from hsemotion_cli.batch.locks import hold_lock
from hsemotion_cli.batch.messages import Task
from hsemotion_cli.batch.resume import ExpectedResults, ResumeDecision, SourceStamp, judge, notes, settings_of
from hsemotion_cli.batch.shards import Shard
from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.formats import sidecar
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import Source
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe

# Windows allows neither bytes that are no text nor quotes and line ends in a name.
ODD = os.fsdecode(b"b/odd \xff '\"\n\xf0\x9f\x98\x80.mp4") if os.name == "posix" else "b/odd '\U0001f600.mp4"
QUICK = ("--model", "mp-blendshapes", "--every", "3", "--workers", "1")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def batch(*arguments: object, options: tuple[str, ...] = QUICK) -> Result:
    return invoke("batch", *arguments, *options)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of one name, one of an odd name, one that is cut off, and one that is no video."""
    folder = tmp_path_factory.mktemp("study")
    for name, count in (("a/clip.mp4", 6), ("b/clip.mp4", 7)):
        (folder / name).parent.mkdir(exist_ok=True)
        clips.write(folder / name, [clips.portrait(shift=k) for k in range(count)])
    front = {"container_options": {"movflags": "+faststart"}, "options": {"g": "5"}}
    clips.write(folder / "long.mp4", [clips.portrait(shift=k) for k in range(60)], **front)  # type: ignore[arg-type]
    data = (folder / "long.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "long.mp4").unlink()
    (folder / ODD).write_bytes((folder / "a/clip.mp4").read_bytes())
    (folder / "text.mp4").write_text("no video, but a diary")
    return folder


@pytest.fixture(scope="module")
def done(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of one run over them, and its output."""
    out = tmp_path_factory.mktemp("done")
    return out, batch(study, "-o", out, "--json")


def tables(out: Path) -> dict[str, bytes]:
    found = [*out.rglob("*.csv"), *out.rglob("*.raw.npz")]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def test_every_video_has_the_table_that_annotate_makes(study: Path, done: tuple[Path, Result], tmp_path: Path) -> None:
    out, result = done
    assert result.exit_code == 3, result.output
    settings = Settings(recipe=Recipe.of("mp-blendshapes"), sampling=Sampling(every=3))
    with Annotator(settings) as annotator:
        for name in ("a/clip.mp4", "b/clip.mp4", ODD, "cut.mp4"):
            folder = (tmp_path / name).parent
            annotator.annotate(study / name, folder, Path(name).stem)
    assert tables(out) == tables(tmp_path)
    assert len(tables(out)) == 8


def test_the_workbook_holds_everything(study: Path, done: tuple[Path, Result]) -> None:
    out, result = done
    told = {record["output"]: record for record in jsonl.read(out / "manifest.jsonl")}
    stem = ODD.removesuffix(".mp4")
    assert list(told) == ["cut", "text", "a/clip", "b/clip", stem], "in the order in which they were found"
    assert {place: record["state"] for place, record in told.items()} == {
        "cut": "done", "text": "failed", "a/clip": "done", "b/clip": "done", stem: "done"
    }  # fmt: skip
    assert told[stem]["path"] == str(study / ODD)
    assert (told["a/clip"]["frames"], told["b/clip"]["frames"]) == (2, 3)
    assert told["a/clip"]["coverage"] == 1.0
    assert told["a/clip"]["source"]["size"] == (study / "a/clip.mp4").stat().st_size
    failed = {record["output"]: record for record in jsonl.read(out / "failures.jsonl")}
    assert {place: (r["error"], r["stage"], r["attempts"]) for place, r in failed.items()} == {
        "text": ("InputError", "read", 1), "cut": ("EndedEarly", "read", 1)
    }  # fmt: skip
    assert "not a readable video" in failed["text"]["sentence"]
    assert "frames before that are written" in failed["cut"]["sentence"]
    printed = json.loads(result.stdout)
    assert printed["counts"] == {"done": 4, "skipped": 0, "failed": 1, "left": 0}
    assert printed["results"] == list(told.values())
    assert all(line.startswith("hsemotion: ") and line.isprintable() for line in unstamped(result.stderr).splitlines())


def test_what_is_done_is_left_alone_and_what_is_wrong_stays_wrong(study: Path, done: tuple[Path, Result]) -> None:
    out, _ = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("[!.]*.*") if path.suffix != ".jsonl"}
    result = batch(study, "-o", out)
    assert result.exit_code == 3, result.output
    told = {record["output"]: record["state"] for record in jsonl.read(out / "manifest.jsonl")}
    assert list(told.values()) == ["skipped", "failed", "skipped", "skipped", "skipped"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {record["output"] for record in jsonl.read(out / "failures.jsonl")} == {"text", "cut"}
    assert "done before" in result.stdout


def test_a_dry_run_says_what_would_be_done_and_leaves_no_trace(
    study: Path, done: tuple[Path, Result], tmp_path: Path
) -> None:
    result = batch(study, "-o", tmp_path / "new", "--dry-run")
    assert result.exit_code == 0
    assert not (tmp_path / "new").exists()
    lines = result.stdout.splitlines()
    assert lines[-1] == "annotate 5, skip 0, ignore 0, fail 0"
    assert len(lines) == 6, "one line each, whatever is in a name"
    assert f"annotate: {study}/a/clip.mp4 -> {tmp_path}/new/a/clip (new)" in lines
    assert any("odd \\xff '\"\\n\U0001f600.mp4" in line for line in lines)
    out, _ = done
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*"))
    content = json.loads(batch(study, "-o", out, "--dry-run", "--json").stdout)
    assert content["counts"] == {"annotate": 1, "skip": 4, "ignore": 0, "fail": 0}
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*")) == before


def test_a_table_of_annotate_counts_as_done_if_it_was_made_alike(study: Path, tmp_path: Path) -> None:
    made = invoke("annotate", study / "a/clip.mp4", "-o", tmp_path, "--model", "mp-blendshapes", "--every", "3", "-q")
    assert made.exit_code == 0
    for more, kind in (((), "skip"), (("--smooth", "box:1"), "annotate"), (("--min-face", "40"), "annotate")):
        (line,) = json.loads(batch(study / "a/clip.mp4", "-o", tmp_path, "--dry-run", "--json", *more).stdout)["inputs"]
        assert (line["action"], line["output"]) == (kind, "clip"), more


def test_what_would_come_out_differently_is_done_again(study: Path, tmp_path: Path) -> None:
    arguments = (study / "a/clip.mp4", "-o", tmp_path)
    assert batch(*arguments).exit_code == 0
    plain = tables(tmp_path)
    assert batch(*arguments, "--smooth", "box:1", "--format", "csv,jsonl").exit_code == 0
    (record,) = jsonl.read(tmp_path / "manifest.jsonl")
    assert record["state"] == "done"
    assert tables(tmp_path)["clip.csv"] != plain["clip.csv"]
    assert batch(*arguments).exit_code == 0
    assert tables(tmp_path) == plain


def test_the_number_of_workers_and_threads_changes_no_byte(study: Path, tmp_path: Path) -> None:
    videos = (study / "a", study / "b")
    for name, options in {"one": ("--workers", "1"), "two": ("--workers", "2", "--threads", "1")}.items():
        assert batch(*videos, "-o", tmp_path / name, options=("--every", "3", *options)).exit_code == 0
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    assert len(tables(tmp_path / "one")) == 6


def test_shards_share_the_work_and_the_folder(study: Path, done: tuple[Path, Result], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hsemotion_cli", "batch", str(study), "-o", str(tmp_path), *QUICK, "-q"]
    processes = [subprocess.Popen([*command, "--shard", f"{k}/2"], stderr=subprocess.DEVNULL) for k in (1, 2)]
    codes = {process.wait() for process in processes}
    assert codes <= {0, 3, 4}
    manifests = [list(jsonl.read(tmp_path / f"manifest.{k}of2.jsonl")) for k in (1, 2)]
    places = [[record["output"] for record in records] for records in manifests]
    assert not set(places[0]) & set(places[1])
    assert sorted([*places[0], *places[1]]) == sorted(r["output"] for r in jsonl.read(done[0] / "manifest.jsonl"))
    assert all(Shard(k + 1, 2).has(place) for k in (0, 1) for place in places[k])
    assert tables(tmp_path) == tables(done[0])


def test_two_at_once_in_one_folder_is_exit_2(study: Path, tmp_path: Path) -> None:
    with hold_lock(tmp_path, Shard()):
        for more in ((), ("--shard", "1/2")):
            result = batch(study, "-o", tmp_path, *more)
            assert result.exit_code == 2
            assert "writes there already" in result.stderr
    assert tables(tmp_path) == {}


def test_the_first_failure_stops_all_if_that_is_wished(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for k in range(3):
        (tmp_path / "in" / f"{k}.mp4").write_text("no video")
    result = batch(tmp_path / "in", "-o", tmp_path / "out", "--fail-fast", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["counts"] == {"done": 0, "skipped": 0, "failed": 1, "left": 2}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "nothing was named"),
        (["{in}", "--shard", "3/2"], 2, "write it as 2/8"),
        (["{in}", "--timeout", "0"], 2, "above 0"),
        (["{in}", "--memory", "-1"], 2, "above 0"),
        (["{in}", "--extensions", "m p 4"], 2, "write them as mp4,mov"),
        (["{in}", "--smooth", "median:3"], 2, "choose none"),
        (["@gone.txt"], 2, "the list cannot be read"),
        (["gone-*.mp4", "--dry-run"], 4, None),
    ],
)
def test_options_that_cannot_work(
    study: Path, tmp_path: Path, arguments: list[str], code: int, says: str | None
) -> None:
    result = batch(*(a.replace("{in}", str(study)) for a in arguments), "-o", tmp_path / "out")
    assert result.exit_code == code, result.output
    assert says is None or says in result.stderr
    assert not (tmp_path / "out").exists()


# --- when a video is done ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Made:
    """The results of one video, to be changed."""

    out: Path
    task: Task
    content: dict[str, Any]

    def wanted(self, **changes: Any) -> ExpectedResults:
        return dataclasses.replace(
            ExpectedResults(settings_of(self.content), "file numbers / 30", ("csv",), False), **changes
        )

    def write(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the sidecar, which stays the newest file."""
        content = copy.deepcopy(self.content)
        change(content)
        with (self.out / "clip.json").open("wb") as file:
            sidecar.write(content, file)

    def judged(self, wanted: ExpectedResults | None = None) -> ResumeDecision:
        stamp = SourceStamp.of(self.task.path)
        return judge(self.task, self.out, wanted or self.wanted(), stamp, notes(self.out).get("clip"))


@pytest.fixture
def made(study: Path, tmp_path: Path, done: tuple[Path, Result]) -> Made:
    (tmp_path / "out").mkdir()
    (tmp_path / "clip.mp4").write_bytes((study / "a/clip.mp4").read_bytes())
    for name in ("clip.csv", "clip.raw.npz", "clip.json"):
        (tmp_path / "out" / name).write_bytes((done[0] / "a" / name).read_bytes())
    return Made(tmp_path / "out", Task(str(tmp_path / "clip.mp4"), "clip"), sidecar.read(tmp_path / "out/clip.json"))


def test_a_sidecar_proves_that_a_video_is_done(made: Made) -> None:
    verdict = made.judged()
    assert verdict.done, verdict.reason
    assert (verdict.facts["frames"], verdict.facts["coverage"], verdict.facts["problem"]) == (2, 1.0, "")
    made.write(lambda content: content["models"][0].update(licence="another", training_data="described better"))
    assert made.judged().done, "words about a model change nothing"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["recipe"].update(max_gap=0.6), "another recipe"),
        (lambda c: c["models"][0].update(sha256="0" * 64), "other models"),
        (lambda c: c["detector"].update(threshold=0.4), "other options of the detector"),
        (lambda c: c["sampling"].update(every=2), "another choice of frames"),
        (lambda c: c["tool"].update(mediapipe="0.0.1"), "other versions"),
        (lambda c: c["tool"].update(version="0.0.1"), "other versions"),
        (lambda c: c.update(schema_version=0), "another version"),
        (lambda c: c["source"].update(sha256="0" * 64), "its source has changed"),
        (lambda c: c["source"].update(kind="pictures", clock="file numbers / 25"), "another --image-fps"),
        (lambda c: c["outputs"].pop("csv"), "clip.csv is missing"),
        (lambda c: c.pop("tool"), "its sidecar cannot be used"),
        (lambda c: c.update(models=7), "its sidecar cannot be used"),
    ],
)
def test_any_difference_is_seen(made: Made, change: Callable[[dict[str, Any]], None], says: str) -> None:
    made.write(change)
    verdict = made.judged()
    assert not verdict.done
    assert says in verdict.reason


def test_results_that_are_not_whole_are_none(made: Made) -> None:
    assert "clip.parquet is missing" in made.judged(made.wanted(formats=("csv", "parquet"))).reason
    assert "clip.overlay.mp4 is missing" in made.judged(made.wanted(overlay=True)).reason
    os.utime(made.out / "clip.csv", ns=(0, (made.out / "clip.json").stat().st_mtime_ns + 1))
    assert made.judged().reason == "clip.csv is newer than its sidecar"
    os.utime(made.out / "clip.csv", ns=(0, 0))
    (made.out / "clip.raw.npz").write_bytes(b"")
    assert made.judged().reason == "clip.raw.npz is missing"
    (made.out / "clip.json").write_text((made.out / "clip.json").read_text()[:500])
    assert made.judged().reason == "its sidecar cannot be used"
    (made.out / "clip.json").unlink()
    assert made.judged().reason == "new"


def test_a_source_is_known_by_its_content_or_cheaply_by_size_and_time(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(made.task.path, ns=(0, 5))
    assert made.judged().done, "only touched"
    source = {"size": SourceStamp.of(made.task.path).size, "mtime_ns": 5, "sha256": made.content["source"]["sha256"]}
    jsonl.append(made.out / "manifest.3of7.jsonl", [{"path": made.task.path, "output": "clip", "source": source}])
    hashed: list[Path] = []
    read = sidecar.source_hash

    def hash_of(source: Source) -> str:
        hashed.append(source.path)
        return read(source)

    monkeypatch.setattr(sidecar, "source_hash", hash_of)
    assert made.judged().done
    assert hashed == []
    os.utime(made.task.path, ns=(0, 6))
    assert made.judged().done
    assert hashed == [Path(made.task.path)]
    data = Path(made.task.path).read_bytes()
    Path(made.task.path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert made.judged().reason == "its source has changed"


def test_a_folder_of_images_is_recognised_by_its_content(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in (1, 2):
        cv2.imwrite(str(folder / f"{k}.png"), clips.portrait(64, 64))
    from hsemotion_cli.media.images import ImageSequence

    known = sidecar.source_hash(ImageSequence(folder, 30))
    made.write(lambda c: c["source"].update(kind="pictures", clock="file numbers / 30", sha256=known))
    made.task = Task(str(folder), "clip")
    assert made.judged().done
    cv2.imwrite(str(folder / "3.png"), clips.portrait(64, 64))
    assert made.judged().reason == "its source has changed"


def test_results_behind_a_link_that_leads_out_are_not_looked_at(made: Made, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (made.out / "clip.csv").rename(tmp_path / "elsewhere" / "clip.csv")
    (made.out / "clip.csv").symlink_to(tmp_path / "elsewhere" / "clip.csv")
    assert not made.judged().done


class Fake:
    """Stands for an Annotator: copies results that are there, and does something to the source meanwhile."""

    def __init__(self, made: Made, meanwhile: Callable[[Path], object]) -> None:
        self.settings = Settings(recipe=Recipe.of("mp-blendshapes"))
        self._made, self._meanwhile = made, meanwhile

    def annotate(self, path: Path, folder: Path, name: str, report: object) -> Any:
        self._meanwhile(path)
        facts = {"frames": {"analysed": 2}, "coverage": 1.0, "faces": 1, "problem": "", "notes": []}
        return type("Summary", (), facts)


def test_a_video_that_grows_while_it_is_read_is_not_done(made: Made) -> None:
    facts = BatchJob(Fake(made, lambda path: None), made.out)(made.task, lambda *_: None)  # type: ignore[arg-type]
    assert facts["sha256"] == made.content["source"]["sha256"]

    def grow(path: Path) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(InputError, match="changed while it was read"):
        BatchJob(Fake(made, grow), made.out)(made.task, lambda *_: None)  # type: ignore[arg-type]
    assert not (made.out / "clip.json").exists(), "nobody takes the rest for whole"


def test_a_worker_writes_through_no_link_that_leads_out(made: Made, tmp_path: Path) -> None:
    (made.out / "away").symlink_to(tmp_path)
    task = Task(made.task.path, "away/clip")
    with pytest.raises(UsageError, match="leads out of the output folder"):
        BatchJob(Fake(made, lambda path: pytest.fail("read it")), made.out)(task, lambda *_: None)  # type: ignore[arg-type]
