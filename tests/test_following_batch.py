"""Two people who cross keep the same ids in every run: by annotate, by several workers, and by one that was killed."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import clips
import pytest
from test_following import draw, person

pytestmark = [pytest.mark.slow, pytest.mark.posix]

HSEMOTION = [sys.executable, "-m", "hsemotion_cli"]
OPTIONS = ["--model", "mp-blendshapes", "-q"]
PATIENCE = 600.0
"""Seconds after which a test gives up waiting; none of them measures speed."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips in which two people cross, one faster than the other."""
    folder = tmp_path_factory.mktemp("study")
    for name, count in (("one.mp4", 25), ("two.mp4", 20)):
        across = 350 / count
        people = [[person(0, 65 + across * k, 135), person(1, 415 - across * k)] for k in range(count)]
        clips.write(folder / name, [draw(both)[0] for both in people], rate=12)
    return folder


@pytest.fixture(scope="module")
def undisturbed(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*HSEMOTION, "annotate", *map(str, sorted(study.iterdir())), "-o", str(out), *OPTIONS], check=True)
    return out


def tables(out: Path) -> dict[str, bytes]:
    found = [*out.rglob("*.csv"), *out.rglob("*.raw.npz")]
    return {path.name: path.read_bytes() for path in found}


def batch(study: Path, out: Path, workers: int) -> list[str]:
    return [*HSEMOTION, "batch", str(study), "-o", str(out), "--workers", str(workers), *OPTIONS]


def test_both_keep_one_id_each(undisturbed: Path) -> None:
    assert sorted(tables(undisturbed)) == ["one.csv", "one.raw.npz", "two.csv", "two.raw.npz"]
    for name in ("one.csv", "two.csv"):
        with (undisturbed / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["face_id"] for row in rows} == {"0", "1"}
        last = {row["face_id"]: float(row["x"]) for row in rows if row["face_id"]}
        assert last["0"] > last["1"], "they have changed sides, and not ids"


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_bytes(study: Path, undisturbed: Path, tmp_path: Path, workers: int) -> None:
    subprocess.run(batch(study, tmp_path, workers), check=True)
    assert tables(tmp_path) == tables(undisturbed)


def test_a_run_that_was_killed_goes_on_with_the_same_bytes(study: Path, undisturbed: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(batch(study, tmp_path, 1))
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.rglob("one.csv")):  # the first is done, the second is not
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "two.csv" not in tables(tmp_path)
    subprocess.run(batch(study, tmp_path, 2), check=True)
    assert tables(tmp_path) == tables(undisturbed)
