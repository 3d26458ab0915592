"""Some hundreds of mutated files; scripts/fuzz.py does as many thousands as there is time for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits address space and forks, as Linux does"),
]


def row(text: str, kind: str) -> list[int]:
    """Cases and outcomes of a kind: fine, early, refused, unclear, traceback, memory, hang, crash."""
    found = re.search(rf"^\| {kind} \|(.*)\|$", text, re.M)
    assert found, text
    return [int(cell) for cell in found[1].split("|")]


def test_mutated_files_end_in_a_result_or_in_one_clear_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "fuzz.py"), "--cases", "300", "--seed", "7", "--keep", str(tmp_path)]
    done = subprocess.run([*command, "--jobs", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    cases, fine, early, refused, *bad = row(done.stdout, "all")
    assert cases == 300
    assert bad == [0, 0, 0, 0, 0]
    # It would prove nothing if all were refused at the first byte, or if nothing were damaged.
    assert min(fine, early, refused) > 20
    assert list(tmp_path.iterdir()) == []


WRONG = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
import fuzz
from hsemotion_cli.errors import InputError
def case(run):
    return (1, lambda corpus, chance, folder: lambda: run(folder))
def say(text):
    raise InputError(text)
def use(folder):
    bytearray(64 << 30)
fuzz.SECONDS = 2.0
fuzz.KINDS = {
    "fine": case(lambda folder: "fine"), "refused": case(lambda folder: say(f"{folder}/a.mp4: is no video.")),
    "unclear": case(lambda folder: say("something is wrong")), "traceback": case(lambda folder: 1 / 0),
    "memory": case(use), "hang": case(lambda folder: fuzz.time.sleep(600)), "crash": case(lambda folder: os.abort()),
}
work, keep = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
for kind in fuzz.KINDS:
    counts, _ = fuzz.fuzz(
        fuzz.Corpus(), work, keep, seed=0, first=0, cases=1, minutes=1, jobs=1, kinds=[kind]
    )
    assert counts == {(kind, kind): 1}, counts
print(len(list(keep.iterdir())))
"""


def test_every_bad_outcome_is_noticed_and_its_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "keep").mkdir()
    command = [sys.executable, "-c", WRONG, str(SCRIPTS), str(tmp_path / "work"), str(tmp_path / "keep")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "5"
