"""What goes wrong with workers, and with the process that commands them: it costs one video at most, and tears none."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import batch_jobs
import clips
import cv2
import pytest

from hsemotion_cli.batch import jsonl
from hsemotion_cli.batch.job import BatchJob
from hsemotion_cli.batch.local_engine import LocalEngine
from hsemotion_cli.batch.messages import Outcome, Progress, Task
from hsemotion_cli.batch.worker import WorkerConfig
from hsemotion_cli.errors import InputError, ModelUnavailable
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.posix]

HSEMOTION = [sys.executable, "-m", "hsemotion_cli"]
PATIENCE = 900.0
"""Seconds after which a test gives up waiting; none of them measures speed."""


def engine(out: Path, opener: str = "opened", **options: object) -> LocalEngine:
    return LocalEngine(WorkerConfig(f"{batch_jobs.__name__}:{opener}", out, 1), out, **options)  # type: ignore[arg-type]


def run(out: Path, names: Sequence[str], opener: str = "opened", **options: object) -> dict[str, Outcome]:
    with engine(out, opener, **options) as started:
        return {o.task.place: o for o in started.run([Task(name, name) for name in names], lambda _: None)}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def lives(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".*.part"))


def test_each_fault_costs_one_video_and_no_other(tmp_path: Path) -> None:
    names = ["good-1", "crash-1", "input-1", "good-2", "output-1", "once-1", "bug-1", "memory-1", "good-3"]
    found = run(tmp_path, names, workers=2, retries=1)
    assert {name: o.state for name, o in found.items()} == {
        name: "done" if name.split("-")[0] in ("good", "once") else "failed" for name in names
    }
    told = {
        name: (o.attempts, o.failure.error, o.failure.stage, o.failure.usual) for name, o in found.items() if o.failure
    }
    assert told == {
        "crash-1": (2, "Crash", "annotate", False),
        "input-1": (1, "InputError", "annotate", True),
        "output-1": (2, "OutputError", "write", False),
        "bug-1": (2, "ValueError", "annotate", False),
        "memory-1": (2, "MemoryError", "annotate", False),
    }
    assert found["once-1"].attempts == 2
    assert "SIGSEGV" in found["crash-1"].failure.sentence  # type: ignore[union-attr]
    assert found["crash-1"].failure.sentence.startswith("crash-1: ")  # type: ignore[union-attr]
    assert found["memory-1"].failure.sentence.startswith("memory-1: there is not enough memory")  # type: ignore[union-attr]
    assert "a bug: ValueError: seven" in found["bug-1"].failure.sentence  # type: ignore[union-attr]
    assert {p.name for p in tmp_path.glob("*.txt")} == {"good-1.txt", "good-2.txt", "good-3.txt", "once-1.txt"}
    assert parts(tmp_path) == []


def test_a_video_that_hangs_is_given_up_and_its_worker_replaced(tmp_path: Path) -> None:
    found = run(tmp_path, ["hang-1", "good-1", "good-2"], workers=1, retries=0, timeout=5)
    assert [found[name].state for name in ("hang-1", "good-1", "good-2")] == ["failed", "done", "done"]
    failure = found["hang-1"].failure
    assert failure is not None
    assert (failure.error, failure.stage) == ("Timeout", "annotate")
    assert "longer than --timeout 5 s" in failure.sentence
    assert found["good-1"].facts["worker"] == found["good-2"].facts["worker"], "one worker did both"
    assert not lives(int((tmp_path / "hang-1.tried").read_text()))
    assert parts(tmp_path) == [], "what the killed one had begun is gone"


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(news: Progress | None) -> None:
        if news and news.task.place == "slow-1" and not killed:
            wait_until(lambda: parts(tmp_path))
            killed.append(int((tmp_path / "slow-1.tried").read_text()))
            os.kill(killed[0], signal.SIGKILL)

    with engine(tmp_path, workers=1, retries=1) as started:
        found = {o.task.place: o for o in started.run([Task(n, n) for n in ("slow-1", "good-1")], kill)}
    assert killed
    assert (found["slow-1"].state, found["slow-1"].attempts, found["good-1"].state) == ("done", 2, "done")
    assert (tmp_path / "slow-1.txt").read_text() == "half of slow-1"
    assert parts(tmp_path) == []


def test_without_retries_a_killed_worker_says_what_may_have_killed_it(tmp_path: Path) -> None:
    def kill(news: Progress | None) -> None:
        if news:
            wait_until(lambda: parts(tmp_path))
            os.kill(int((tmp_path / "slow-1.tried").read_text()), signal.SIGKILL)

    with engine(tmp_path, workers=1, retries=0) as started:
        (outcome,) = started.run([Task("slow-1", "slow-1")], kill)
    assert outcome.failure is not None
    assert "memory" in outcome.failure.sentence


def test_what_the_first_worker_cannot_load_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"weights\.bin is missing; fetch it\."):
        run(tmp_path, ["good-1"], "refused")


@pytest.mark.parametrize(("opener", "says"), [("only_once", "weights.bin is gone"), ("other_weights", "are not those")])
def test_when_no_worker_can_start_any_more_the_rest_fails_with_a_reason(tmp_path: Path, opener: str, says: str) -> None:
    found = run(tmp_path, ["good-1", "crash-1", "good-2"], opener, workers=1, retries=0)
    assert {name: o.state for name, o in found.items()} == {
        "good-1": "done", "crash-1": "failed", "good-2": "failed"
    }  # fmt: skip
    assert says in found["good-2"].failure.sentence  # type: ignore[union-attr]
    assert "no worker can start" in found["good-2"].failure.sentence  # type: ignore[union-attr]
    assert not (tmp_path / "good-2.txt").exists()


def test_leaving_early_stops_all_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    with engine(tmp_path, workers=2) as started:
        outcomes = started.run([Task(n, n) for n in ("good-1", "slow-1", "slow-2")], lambda _: None)
        assert next(outcomes).task.place == "good-1"
        workers = [worker.process.pid for worker in started._running]
    assert workers
    assert not any(map(lives, workers))
    assert parts(tmp_path) == []
    assert [p.name for p in tmp_path.glob("*.txt")] == ["good-1.txt"]


COMMANDING = """
import sys
from pathlib import Path
from hsemotion_cli.batch.local_engine import LocalEngine
from hsemotion_cli.batch.messages import Task
from hsemotion_cli.batch.worker import WorkerConfig
sys.path.insert(0, sys.argv[2])
out = Path(sys.argv[1])
with LocalEngine(WorkerConfig("batch_jobs:opened", out, 1), out, workers=2) as engine:
    list(engine.run([Task(f"hang-{k}", f"hang-{k}") for k in range(2)], lambda _: None))
"""


def test_no_worker_outlives_the_process_that_commands_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMANDING, str(tmp_path), str(Path(__file__).parent)]
    process = subprocess.Popen(command)
    wait_until(lambda: len(parts(tmp_path)) == 2)
    workers = [int(path.read_text()) for path in tmp_path.glob("*.tried")]
    assert all(map(lives, workers))
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(lives, workers)))


# --- the whole command, on videos ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips, two with the same name."""
    folder = tmp_path_factory.mktemp("study")
    for k, name in enumerate(("a/clip", "b/clip", "b/two", "three", "four")):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        clips.write(path, [clips.portrait(shift=3 * k + 2 * j) for j in range(6)])
    return folder


def batch(study: Path, out: Path, *more: str) -> list[str]:
    options = ["--model", "mp-blendshapes", "--every", "2", "--format", "csv,parquet", *more]
    return [*HSEMOTION, "batch", str(study), "-o", str(out), *options]


def tables(out: Path) -> dict[str, bytes]:
    found = [*out.rglob("*.csv"), *out.rglob("*.parquet"), *out.rglob("*.raw.npz")]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def undisturbed(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(batch(study, out, "--workers", "1"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(
    study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    chance = random.Random(7)
    for k in range(3):  # scripts/batch_faults.py does it twenty times
        process = subprocess.Popen(batch(study, tmp_path, "--workers", "2"), stderr=subprocess.DEVNULL)
        # Count from the first event, since loading times vary.
        before = len(list(tmp_path.rglob("*")))

        def begun(least: int = before + 2, running: subprocess.Popen[bytes] = process) -> bool:
            return len(list(tmp_path.rglob("*"))) > least or running.poll() is not None

        wait_until(begun)
        time.sleep(chance.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL if k % 2 == 0 else signal.SIGTERM)
        process.wait()
        for name, data in tables(tmp_path).items():
            assert data == tables(undisturbed)[name], f"{name} was torn"
    done = subprocess.run(batch(study, tmp_path, "--workers", "2"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path) == tables(undisturbed)
    assert parts(tmp_path) == []
    records = list(jsonl.read(tmp_path / "manifest.jsonl"))
    assert sorted(record["output"] for record in records) == ["a/clip", "b/clip", "b/two", "four", "three"]
    assert {record["state"] for record in records} <= {"done", "skipped"}
    assert (tmp_path / "failures.jsonl").read_text() == ""


def test_workers_that_are_killed_at_random_change_no_byte(study: Path, undisturbed: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    process = subprocess.Popen(batch(study, tmp_path, "--workers", "2", "--retries", "9"), stderr=subprocess.DEVNULL)
    for _ in range(3):
        wait_until(lambda: children(process.pid) or process.poll() is not None)
        time.sleep(chance.uniform(0, 1.5))
        for child in children(process.pid)[:1]:
            os.kill(child, signal.SIGKILL)
    process.wait()
    if process.returncode == 5:  # the first worker was killed before it had reported its models
        process = subprocess.Popen(batch(study, tmp_path), stderr=subprocess.DEVNULL)
        process.wait()
    assert process.returncode == 0
    assert tables(tmp_path) == tables(undisturbed)
    assert parts(tmp_path) == []


def children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def hearing_ctrl_c() -> None:
    """Called in the child: a shell that runs the tests in the background may ignore the signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_is_exit_130_and_what_was_done_is_whole(study: Path, undisturbed: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        batch(study, tmp_path, "--workers", "1"), stderr=subprocess.PIPE, text=True, preexec_fn=hearing_ctrl_c
    )
    wait_until(lambda: list(tmp_path.rglob("*.csv")) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert parts(tmp_path) == []
    for name, data in tables(tmp_path).items():
        assert data == tables(undisturbed)[name]
    done = {record["output"] for record in jsonl.read(tmp_path / "manifest.jsonl") if record["state"] == "done"}
    assert {str(path.relative_to(tmp_path).with_suffix("")) for path in tmp_path.rglob("*.csv")} >= done


def went_on(study: Path, undisturbed: Path, out: Path) -> None:
    """The same command again ends with the same bytes, and nothing is left over."""
    done = subprocess.run(batch(study, out, "--workers", "2"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tables(out) == tables(undisturbed)
    assert parts(out) == []
    assert (out / "failures.jsonl").read_text() == ""
    assert len(list(jsonl.read(out / "manifest.jsonl"))) == 5


def test_a_folder_that_may_not_be_written_any_more_fails_and_reports_it(
    study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    # Root may write everywhere, unless what makes it root is taken from it.
    ordinary = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if ordinary and (not shutil.which("setpriv") or subprocess.run([*ordinary, "true"]).returncode):
        pytest.skip("root may write everywhere, and setpriv is not there to change that")
    process = subprocess.Popen(
        [*ordinary, *batch(study, tmp_path, "--workers", "2")], stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: list(tmp_path.rglob("*.csv")) or process.poll() is not None)
    folders = [tmp_path, *(path for path in tmp_path.iterdir() if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    told = process.communicate()[1]
    for folder in folders:
        folder.chmod(0o755)
    assert process.returncode == 3, told
    assert "Permission denied" in told
    assert "Traceback" not in told
    assert all(data == tables(undisturbed)[name] for name, data in tables(tmp_path).items())
    went_on(study, undisturbed, tmp_path)


def limited() -> None:
    """In a process to be: no file may grow over 3 kB."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


def test_a_full_disk_costs_what_does_not_fit_and_no_more(study: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    out.mkdir()
    fits = sum(len(data) for data in tables(undisturbed).values()) // 2
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={fits}", "tmpfs", str(out)], capture_output=True)
    mounted = not made.returncode
    # Where nothing may be mounted, files that may not grow stand for it; bytecode must not be cut off as well.
    limit = None if mounted else (limited)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            batch(study, out, "--workers", "2", "--retries", "0"),
            capture_output=True, text=True, preexec_fn=limit, env=environment,
        )  # fmt: skip
        assert done.returncode == 3, done.stderr
        assert ("No space left on device" if mounted else "File too large") in done.stderr
        assert "Traceback" not in done.stderr
        assert parts(out) == []
        assert all(data == tables(undisturbed)[name] for name, data in tables(out).items())
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=16m", str(out)], check=True)
        went_on(study, undisturbed, out)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(out)], check=True)


def test_a_file_in_the_way_fails_one_video_and_is_tried_twice(study: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("in the way")
    done = subprocess.run(batch(study, tmp_path, "--workers", "1"), capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    failed = {record["output"]: record for record in jsonl.read(tmp_path / "failures.jsonl")}
    assert failed.keys() == {"b/clip", "b/two"}
    assert {(record["attempts"], record["error"]) for record in failed.values()} == {(2, "OutputError")}
    assert {path.name for path in tmp_path.glob("*.csv")} == {"three.csv", "four.csv"}


# --- a source that does not stay as it is, in this process ------------------------------------------------------------


@pytest.fixture(scope="module")
def annotator() -> Iterator[Annotator]:
    with Annotator(Settings(recipe=Recipe.of("mp-blendshapes"), overlay=True)) as ready:
        yield ready


def deleted(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def grown(path: Path) -> None:
    for file in [*path.iterdir()] if path.is_dir() else [path]:
        with file.open("ab") as opened:
            opened.write(bytes(100))


def cut(path: Path) -> None:
    for file in [*path.iterdir()] if path.is_dir() else [path]:
        os.truncate(file, file.stat().st_size // 3)


@pytest.mark.parametrize("change", [deleted, grown, cut])
@pytest.mark.parametrize("stage", ["annotate", "overlay"])
@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_a_source_that_changes_while_it_is_read_fails_alone_and_is_not_taken_for_done(
    annotator: Annotator, study: Path, tmp_path: Path, kind: str, stage: str, change: Callable[[Path], None]
) -> None:
    source = tmp_path / ("talk.mp4" if kind == "video" else "talk")
    if kind == "video":
        shutil.copy(study / "three.mp4", source)
    else:
        source.mkdir()
        for k in range(4):
            cv2.imwrite(str(source / f"{k}.png"), clips.portrait(96, 72, shift=k))
    changed: list[str] = []

    def report(now: str, *_: object) -> None:
        if now == stage and not changed:
            change(source)
            changed.append(now)

    with pytest.raises(InputError, match="talk"):
        BatchJob(annotator, tmp_path / "out")(Task(str(source), "talk"), report)
    assert changed
    assert not (tmp_path / "out" / "talk.json").exists(), "nobody takes what is there for whole"
    assert parts(tmp_path) == []
