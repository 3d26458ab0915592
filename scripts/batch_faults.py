"""Faults on purpose: batches are killed, starved and disturbed, then resumed, and every file is compared.

A small study is annotated once undisturbed. Then for each fault the same batch runs into an empty folder, meets the
fault, is resumed, and must end with the same files, byte for byte (sidecars but for times and options), each input once
in the manifest, and nothing left over. What was there right after the fault must be whole as well. Prints a Markdown
table and exits with 1 if anything was lost. With --clips it is one large folder of tiny clips instead, killed three
times.
Run: python scripts/batch_faults.py [--kills 20] [--only NAME ...] [--seed 0]
     python scripts/batch_faults.py --clips 1000
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import clips

HSEMOTION = [sys.executable, "-m", "hsemotion_cli"]
OPTIONS = ["--model", "mp-blendshapes", "--format", "csv,parquet,jsonl", "--workers", "2", "--threads", "1", "--quiet"]
BOOKS = {"manifest.jsonl", "failures.jsonl"}
LOCKS = {f".hsemotion-batch.{kind}" for kind in ("lock", "owner", "gate")}
OWN = BOOKS | LOCKS
PATIENCE = 300.0
"""Seconds after which waiting for something counts as a failure."""


class Broken(Exception):
    """A promise that was not kept."""


@dataclasses.dataclass
class Study:
    """Clips, and what an undisturbed batch makes of them.

    Attributes:
        folder: of the clips.
        inputs: how many there are.
        files: name below the output folder -> bytes of each result; of a sidecar, what ``plain`` leaves.
        seconds: that the batch took.
    """

    folder: Path
    inputs: int
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def command(self, out: Path, *more: str) -> list[str]:
        return [*HSEMOTION, "batch", str(self.folder), "-o", str(out), *OPTIONS, *more]

    def start(self, out: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(out, *more), stderr=subprocess.PIPE, text=True, **options)

    def resume(self, out: Path, *more: str, expected: int = 0) -> None:
        done = subprocess.run(self.command(out, *more), capture_output=True, text=True)
        if done.returncode != expected or "Traceback" in done.stderr:
            raise Broken(f"resuming ended with {done.returncode}: {done.stderr.strip()[-300:]}")

    def check_whole(self, out: Path, sidecars: bool = True) -> None:
        """What lies at a final place is what an undisturbed batch puts there."""
        for name, data in results(out).items():
            if data != self.files.get(name) and (sidecars or not name.endswith(".json")):
                raise Broken(f"{name} is torn or differs")

    def check_complete(self, out: Path) -> None:
        """All is there, nothing else is, and the manifest has each input once."""
        found = results(out)
        if found != self.files:
            wrong = [name for name in self.files | found if self.files.get(name) != found.get(name)]
            raise Broken(f"{len(wrong)} files are missing, too many or differ: {', '.join(sorted(wrong)[:5])}")
        left = [path.name for path in out.rglob(".*") if path.name not in OWN]
        if left:
            raise Broken(f"left over: {', '.join(left[:5])}")
        lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
        outputs = [line["output"] for line in lines]
        if len(outputs) != self.inputs or len(set(outputs)) != self.inputs:
            raise Broken(f"the manifest has {len(outputs)} lines about {len(set(outputs))} of {self.inputs} inputs")
        if any(line["state"] not in ("done", "skipped") for line in lines):
            raise Broken("the manifest has inputs that are not done")
        if {f"{place}.json" for place in outputs} != {name for name in self.files if name.endswith(".json")}:
            raise Broken("the manifest names other places than those that were written")
        if (out / "failures.jsonl").read_text():
            raise Broken("the list of failures is not empty")


def results(out: Path) -> dict[str, bytes]:
    """Everything at a final place, without the batch's own books."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name not in OWN:
            data = path.read_bytes()
            found[str(path.relative_to(out))] = plain(data) if path.suffix == ".json" else data
    return found


def plain(sidecar: bytes) -> bytes:
    """A sidecar without what differs from run to run: the seconds it took, and options such as --workers."""
    content = json.loads(sidecar)
    content.pop("timing", None)
    content.pop("options", None)
    return json.dumps(content).encode()


def draw(folder: Path, count: int, frames: int, size: tuple[int, int]) -> Study:
    """Small clips of a portrait that moves, each another, in folders of a hundred."""
    for k in range(count):
        path = folder / f"{k // 100:02d}" / f"clip{k:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures = [clips.portrait(*size, shift=(7 * k + 2 * j) % 40 - 20) for j in range(frames + k % 3)]
        clips.write(path, pictures, options={"preset": "ultrafast"})
    return Study(folder, count)


def undisturbed(study: Study, out: Path) -> None:
    """Run once without any fault, and keep what comes of it."""
    began = time.monotonic()
    study.resume(out)
    study.seconds = time.monotonic() - began
    study.files = results(out)
    study.check_complete(out)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"waited in vain for {what}")
        time.sleep(0.01)


def children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def none_lives(processes: Iterable[int]) -> bool:
    return not any(map(lives, processes))


def lives(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def begun(out: Path, process: subprocess.Popen[str], tables: int = 1) -> None:
    """Wait until there are this many tables."""
    wait_until(lambda: len(list(out.rglob("*.csv"))) >= tables or process.poll() is not None, "a table")
    if process.poll() is not None:
        raise Broken(f"the batch was over before the fault: {process.communicate()[1][-300:]}")


def fails(process: subprocess.Popen[str], *codes: int) -> str:
    """Wait for the end with one of these exit codes; returns what it printed."""
    told = process.communicate()[1]
    if process.returncode not in codes or "Traceback" in told or "a bug" in told:
        raise Broken(f"it ended with {process.returncode}: {told.strip()[-300:]}")
    return told


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A small file system of its own.

    Raises:
        PermissionError: it may not be mounted here.
    """
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        raise PermissionError("a tmpfs may not be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# --- the faults: each takes a study, an empty folder, chance, and how often; returns how often it happened -----------


def kill_main(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """kill -9 of the main process at a random moment, from its start on"""
    for k in range(times):
        out = place / str(k)
        process = study.start(out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, study.seconds))
        workers = children(process.pid)
        process.kill()
        process.communicate()
        wait_until(partial(none_lives, workers), "the workers to end with the main process")
        study.check_whole(out)
        study.resume(out)
        study.check_complete(out)
    return times


def stop_main(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """SIGTERM and Ctrl-C to the main process at a random moment after the first table"""
    times = max(times // 5, 1)
    for k in range(times):
        out = place / str(k)
        process = study.start(out, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        begun(out, process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, study.seconds / 4))
        process.send_signal(signal.SIGTERM if k % 2 else signal.SIGINT)
        fails(process, 130, 0)  # 0 where it had done all just before
        study.check_whole(out)
        study.resume(out)
        study.check_complete(out)
    return times


def kill_workers(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """kill -9 of a worker at a random moment"""
    return _hit_workers(study, place, chance, times, signal.SIGKILL)


def crash_workers(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """native crash (SIGSEGV) of a worker at a random moment"""
    return _hit_workers(study, place, chance, times, signal.SIGSEGV)


def _hit_workers(study: Study, place: Path, chance: random.Random, times: int, number: signal.Signals) -> int:
    hit = turn = 0
    while hit < times:
        out = place / str(turn)
        turn += 1
        # Attempts of one video may all be hit; that is no fault of the batch.
        process = study.start(out, "--retries", "99")
        while process.poll() is None and hit < times:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.5, study.seconds / 2))
            if workers := children(process.pid):
                os.kill(chance.choice(workers), number)
                hit += 1
        fails(process, 0, 5)  # 5: the first worker had not yet reported its models
        study.check_whole(out)
        study.resume(out)
        study.check_complete(out)
    return hit


def hanging_worker(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """a worker that hangs in the middle of a video (SIGSTOP), with --timeout 15"""
    for k in range(2):
        out = place / str(k)
        process = study.start(out, "--timeout", "15", "--retries", "9")
        begun(out, process)
        workers = children(process.pid)
        stopped = chance.choice(workers)
        os.kill(stopped, signal.SIGSTOP)
        fails(process, 0)
        if lives(stopped):
            raise Broken("the worker that hangs outlived the batch")
        study.check_complete(out)
    return 2


def full_disk(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """output on a full disk (tmpfs), then with space again"""
    size = sum(map(len, study.files.values()))
    for k, share in enumerate((0.2, 0.6, 0.9)):
        out = place / str(k)
        with mounted(out, f"{int(size * share) >> 10}k"):
            told = fails(study.start(out, "--retries", "0"), 3)
            if "No space left on device" not in told:
                raise Broken(f"it did not say that the disk is full: {told[-300:]}")
            study.check_whole(out)
            subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
            study.resume(out)
            study.check_complete(out)
    return 3


def limited_files(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """files may not grow over 3 kB (RLIMIT_FSIZE), then without the limit"""
    out = place / "0"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # else bytecode is cut off as well
    told = fails(
        study.start(out, env=environment, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))),
        3,
    )
    if "could not be written" not in told:
        raise Broken(f"it did not say what could not be written: {told[-300:]}")
    study.check_whole(out)
    study.resume(out)
    study.check_complete(out)
    return 1


def read_only(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """output folder made read-only in mid-run (without root's rights), then writable again"""
    # Root may write everywhere, unless the rights that make it root are taken from it.
    ordinary = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if ordinary and subprocess.run([*ordinary, "true"], capture_output=True).returncode:
        raise PermissionError("it takes setpriv to do without root's rights")
    for k in range(2):
        out = place / str(k)
        process = subprocess.Popen([*ordinary, *study.command(out)], stderr=subprocess.PIPE, text=True)
        begun(out, process)
        folders = [out, *(path for path in out.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        told = fails(process, 3)
        for folder in folders:
            folder.chmod(0o755)
        if "Permission denied" not in told:
            raise Broken(f"it did not say that it may not write: {told[-300:]}")
        study.check_whole(out)
        study.resume(out)
        study.check_complete(out)
    return 2


def deleted_inputs(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """all inputs deleted at a random moment, then put back"""
    return _disturb(study, place, chance, times, lambda path: path.unlink())


def growing_inputs(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """all inputs grow at a random moment, then as they were"""

    def grow(path: Path) -> None:
        with path.open("ab") as file:
            file.write(bytes(1000))

    return _disturb(study, place, chance, times, grow)


def _disturb(study: Study, place: Path, chance: random.Random, times: int, change: Callable[[Path], None]) -> int:
    """Change all inputs while some of them are read, and some are not yet."""
    times = max(times // 4, 1)
    inputs = {path: (path.read_bytes(), path.stat()) for path in sorted(study.folder.rglob("*.mp4"))}
    for k in range(times):
        out = place / str(k)
        process = study.start(out)
        try:
            begun(out, process)
            time.sleep(chance.uniform(0, 0.3))
            for path in inputs:
                change(path)
            fails(process, 0, 3)  # 0 where all had been read
            # A sidecar of what had grown before it was read has another checksum of its source, and rightly so.
            study.check_whole(out, sidecars=False)
        finally:
            for path, (data, status) in inputs.items():
                path.write_bytes(data)
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        study.resume(out)
        study.check_complete(out)
    return times


def two_at_once(study: Study, place: Path, chance: random.Random, times: int) -> int:
    """a second batch on the same output folder"""
    for k in range(3):
        out = place / str(k)
        both = [study.start(out), study.start(out)]
        codes = []
        for process in both:
            told = process.communicate()[1]
            codes.append(process.returncode)
            if process.returncode == 2 and "writes there already" not in told:
                raise Broken(told[-300:])
        if sorted(codes) not in ([0, 2], [0, 0]):  # the second may come when the first is through
            raise Broken(f"they ended with {codes}")
        study.check_complete(out)
    return 3


FAULTS = {
    function.__name__: function
    for function in (
        kill_main, stop_main, kill_workers, crash_workers, hanging_worker, full_disk, limited_files, read_only,
        deleted_inputs, growing_inputs, two_at_once,
    )
}  # fmt: skip


def table(study: Study, folder: Path, names: list[str], kills: int, seed: int) -> bool:
    """Do the faults one after another, a line for each; returns whether all was well."""
    print(f"{study.inputs} clips, {len(study.files)} files, {study.seconds:.1f} s undisturbed, seed {seed}\n")
    print("| fault | times | lost or torn | after resuming |")
    print("|---|---|---|---|", flush=True)
    good = True
    for name in names:
        place = folder / name
        place.mkdir()
        place.chmod(0o755)
        try:
            count = FAULTS[name](study, place, random.Random(f"{seed} {name}"), kills)
            row = (str(count), "nothing", f"all {len(study.files)} files identical")
        except PermissionError as error:
            row = ("0", "-", f"skipped: {error}")
        except Broken as error:
            good = False
            row = ("-", "**broken**", str(error))
        print(f"| {FAULTS[name].__doc__} | {' | '.join(row)} |", flush=True)
    return good


def many(study: Study, folder: Path, seed: int) -> bool:
    """One large folder, killed three times at random moments of its three quarters."""
    chance, out = random.Random(seed), folder / "many"
    began = time.monotonic()
    for k in range(3):
        process = study.start(out)
        wanted = int(study.inputs * (k + chance.uniform(0.2, 0.9)) / 4)
        begun(out, process, wanted)
        process.kill()
        process.communicate()
        study.check_whole(out)
        there = len(list(out.rglob("*.csv")))
        lines = len((out / "manifest.jsonl").read_text().splitlines())
        print(f"killed at {there} tables, {lines} lines in the manifest, none torn", flush=True)
    study.resume(out)
    study.check_complete(out)
    states = [json.loads(line)["state"] for line in (out / "manifest.jsonl").read_text().splitlines()]
    print(
        f"finished after {time.monotonic() - began:.0f} s ({study.seconds:.0f} s undisturbed): manifest with "
        f"{len(states)} lines for {study.inputs} inputs ({states.count('skipped')} skipped, {states.count('done')} "
        f"done), all {len(study.files)} files identical to the undisturbed run, nothing left over"
    )
    return True


def main() -> None:
    """Draw the clips, do the faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of the main process, and of workers")
    parser.add_argument("--clips", type=int, help="one large folder instead")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        study = (
            draw(folder / "study", options.clips, 2, (160, 120))
            if options.clips
            else draw(folder / "study", 8, 30, (320, 240))
        )
        undisturbed(study, folder / "undisturbed")
        good = (
            many(study, folder, options.seed)
            if options.clips
            else table(study, folder, options.only, options.kills, options.seed)
        )
    sys.exit(not good)


if __name__ == "__main__":
    main()
