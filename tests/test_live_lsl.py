"""Streams of the Lab Streaming Layer, read back by another process; markers as the segments of the same table."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from test_live import run, table, wait_for

from hsemotion_cli.formats.schema import NAMES
from hsemotion_cli.live.episodes import Episodes
from hsemotion_cli.tasks import EXPRESSIONS

READER = """
import json, sys, pylsl
name, count = sys.argv[1], int(sys.argv[2])
found = {}
for wanted in (name, name + "-markers"):
    streams = pylsl.resolve_byprop("name", wanted, timeout=60)
    found[wanted] = pylsl.StreamInlet(streams[0])
info = found[name].info()
channel, labels = info.desc().child("channels").child("channel"), []
while not channel.empty():
    labels.append([channel.child_value("label"), channel.child_value("unit")])
    channel = channel.next_sibling()
print(json.dumps({"type": info.type(), "rate": info.nominal_srate(), "labels": labels,
                  "recipe": json.loads(info.desc().child_value("recipe"))}), flush=True)
for _ in range(count):
    sample, when = found[name].pull_sample(timeout=60)
    print(json.dumps([when, [None if v != v else v for v in sample]]), flush=True)
marker, when = found[name + "-markers"].pull_sample(timeout=60)
print(json.dumps([when, marker]), flush=True)
"""


def row(face: int | None, **scores: float) -> dict[str, Any]:
    return {"face_id": face} | {f"p_{label}": scores.get(label, 0.0) for label in EXPRESSIONS}


def markers(curve: list[tuple[float, float | None]]) -> list[tuple[float, str]]:
    """Of one face; None where it is not seen."""
    episodes, found = Episodes(), []
    for time, value in curve:
        found += episodes.add(time, [row(None) if value is None else row(0, happiness=value)])
    return [(round(marker.time, 6), marker.text) for marker in [*found, *episodes.finish()]]


def test_an_expression_begins_and_ends_as_its_rule_says() -> None:
    values = [0.2, 0.6, 0.45, 0.6, *[0.7] * 6, 0.3, 0.6, 0.3, 0.3, 0.3, 0.3, 0.3]
    found = markers([(k / 10, value) for k, value in enumerate(values)])
    assert found == [(0.1, "happiness/onset/0"), (1.2, "happiness/offset/0")]


def test_what_is_short_is_not_announced() -> None:
    assert markers([(k / 10, 0.9 if 3 <= k < 7 else 0.1) for k in range(20)]) == []


def test_a_short_absence_does_not_end_an_expression_and_a_long_one_does() -> None:
    short = [(k / 10, None if k in (8, 9) else 0.9) for k in range(15)]
    assert markers(short) == [(0.0, "happiness/onset/0"), (1.5, "happiness/offset/0")]
    long = [(k / 10, None if 8 <= k < 13 else 0.9) for k in range(16)]
    assert markers(long)[:2] == [(0.0, "happiness/onset/0"), (0.8, "happiness/offset/0")]


@pytest.mark.parametrize("seed", range(8))
def test_markers_are_the_segments_of_the_table(seed: int, tmp_path: Path) -> None:
    """Of a table that ``segments`` reads, with a curve that wanders, and frames in which the face is away."""
    rng = np.random.default_rng(seed)
    value = np.clip(0.45 + np.cumsum(rng.normal(0, 0.06, 400)), 0, 1)
    value = np.abs((value + 1) % 2 - 1)  # folded back into [0, 1]
    away = np.zeros(400, bool)
    for start in rng.integers(10, 380, 4):
        away[start : start + rng.integers(1, 4)] = True
    lines = [",".join(NAMES)]
    curve: list[tuple[float, float | None]] = []
    for k in range(400):
        time, p = round(k * 0.04, 6), round(float(value[k]), 6)
        curve.append((time, None if away[k] else p))
        cells = {"frame": str(k), "time": f"{time:.6f}", "face_detected": "0", "interpolated": "0"}
        if not away[k]:
            cells |= {f"p_{label}": "0.000000" for label in EXPRESSIONS}
            cells |= {"face_id": "0", "face_detected": "1", "p_happiness": f"{p:.6f}"}
        lines.append(",".join(cells.get(name, "") for name in NAMES))
    episodes: list[tuple[float, float]] = []
    found = markers(curve)
    for (begin, _), (end, _) in zip(found[::2], found[1::2], strict=True):
        episodes.append((round(begin, 6), round(end, 6)))
    assert episodes == expected_segments(lines, tmp_path)


def expected_segments(lines: list[str], folder: Path) -> list[tuple[float, float]]:
    """By ``hsemotion segments``, whose share that may be missing is set aside."""
    from hsemotion_cli.analysis.evidence import evidence
    from hsemotion_cli.analysis.recordings import read_recording
    from hsemotion_cli.analysis.rules import Rules
    from hsemotion_cli.analysis.segments import segments
    from hsemotion_cli.postprocess.recipe import Smoothing

    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    rules = Rules(("expression",), changes={"expression": {"max_missing": 1.0}}, smoothing=Smoothing())
    recording = read_recording(folder / "t.csv", [f"p_{label}" for label in EXPRESSIONS])
    assert list(evidence(recording, rules))
    return [(round(s.onset, 6), round(s.offset, 6)) for s in segments(recording, rules) if s.label == "happiness"]


@pytest.mark.posix
def test_samples_and_markers_reach_another_process_with_their_times(tmp_path: Path) -> None:
    try:
        importlib.import_module("pylsl")
    except (ImportError, RuntimeError) as error:  # the second where it finds no liblsl
        pytest.skip(f"needs pylsl and liblsl, of the extra lsl ({error})")
    path = tmp_path / "long.mp4"
    comes_and_goes = [*[clips.portrait(shift=k) for k in range(16)], *[clips.blank()] * 10]
    clips.write(path, comes_and_goes * 20, rate=8)
    name = f"test-{tmp_path.name}-{tmp_path.parent.name}"
    command = ["live", "--camera", path, "-o", tmp_path, "--name", name, "--window", "none", "--lsl"]
    live = subprocess.Popen([sys.executable, "-m", "hsemotion_cli", *map(str, command)], stderr=subprocess.PIPE)
    try:
        growing = tmp_path / f"{name}.live.csv"
        wait_for(lambda: growing.exists() and growing.read_bytes().count(b"\n") > 1, 120)
        reader = [sys.executable, "-c", READER, name, "4"]
        read = subprocess.run(reader, capture_output=True, text=True, timeout=200, check=False)
    finally:
        live.send_signal(signal.SIGINT)
        errors = live.communicate(timeout=120)[1]
    assert live.returncode == 0, errors.decode()
    assert read.returncode == 0, read.stderr
    head, *samples, marker = map(json.loads, read.stdout.splitlines())
    assert (head["type"], head["rate"]) == ("Affect", 0.0)
    labels = [label for label, _ in head["labels"]]
    assert dict(head["labels"])["x"] == "px" and head["recipe"]["smoothing"]["expression"] == "causal:0.2"
    rows = {int(r["frame"]): r for r in table(growing, set())}
    assert len(samples) == 4
    for when, sample in samples:
        values = dict(zip(labels, sample, strict=True))
        expected = rows[int(values["frame"])]
        assert when == pytest.approx(int(expected["monotonic_ns"]) / 1e9, abs=0.002)
        for label in labels:
            cell = expected[label] or ("-1" if label == "face_id" else "")
            assert values[label] == (None if cell == "" else pytest.approx(float(cell), abs=1e-9)), label
    when, (text,) = marker
    label, event, face = text.split("/")
    assert label in EXPRESSIONS and event in ("onset", "offset") and face.isdigit()
    assert min(abs(when - int(r["monotonic_ns"]) / 1e9) for r in rows.values()) < 0.002


def test_without_pylsl_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylsl", None)
    clips.write(tmp_path / "v.mp4", [clips.blank()] * 3)
    found = run("live", "--camera", tmp_path / "v.mp4", "-o", tmp_path / "out", "--lsl", "--window", "none")
    assert found.exit_code == 2 and "hsemotion-cli[lsl]" in found.output
