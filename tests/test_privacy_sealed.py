"""Commands that live for more than 40 seconds reach no network, and leave no file outside our folders.

All of them run at once and mostly sleep: see ``sealed``, ``contained`` and ``held/sitecustomize``, which do the work.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import challenge
import contained
import cv2
import numpy as np
import pytest
import sealed
from known import known

from hsemotion_cli.models.architectures import mend_torchvision
from hsemotion_cli.models.registry import ASSETS
from hsemotion_cli.runtime import privacy

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SECONDS = 42
"""From the import of a network library to the end of its process. ONNX Runtime needs about ten."""
AWAKE = 3
"""Commands that work at the same time; any number of them wait at the same time."""
PATIENCE = 600

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() not in sealed.SOCKET_CALL, reason="seccomp is Linux's"
    ),
]

API = """
import sys
from pathlib import Path
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe
with Annotator(Settings(recipe=Recipe.usual(), overlay=True)) as annotator:
    annotator.annotate(Path(sys.argv[1]), Path(sys.argv[2]), "clip")
"""
SCRIPT = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
BARE = "import onnxruntime, time; time.sleep(20)"
SEALED, PLAIN = [sys.executable, str(TESTS / "sealed.py")], [sys.executable, "-c"]
CLI = [sys.executable, "-m", "hsemotion_cli"]


@dataclass(frozen=True)
class Case:
    """A command, and what must have been loaded in one of its processes for more than 40 seconds.

    Attributes:
        arguments: CLIP, VIDEO, STILLS, CROPS, TRAINING, FEATURES, SOUND stand for inputs; OUT for a folder to write to.
        start: what runs them.
        needs: modules without which there is nothing to run.
        contained: it opens sockets, so that only a network of its own shows where it sends.
    """

    arguments: str
    loads: set[str] = field(default_factory=lambda: {"onnxruntime"})
    start: list[str] = field(default_factory=lambda: SEALED)
    needs: tuple[str, ...] = ()
    contained: bool = False


ANNOTATE = "annotate CLIP -o OUT --overlay --format csv,parquet --min-face 60"
EXTRACT = "extract CLIP -o OUT --model mt-mobilefacenet --backend"
CASES = {
    "unguarded": Case("--unguarded"),
    "unguarded-contained": Case("", start=[*PLAIN, BARE], contained=True),
    "batch-ray": Case("batch CLIP -o OUT --engine ray --address local", start=CLI, needs=("ray",), contained=True),
    "annotate": Case("annotate VIDEO -o OUT --overlay"),
    "annotate-landmarks": Case(f"{ANNOTATE} --detector landmarks"),
    # ONNX Runtime is what must have lived long enough here; MediaPipe's own 40 seconds are those of "doctor".
    "annotate-mediapipe": Case(f"{ANNOTATE} --detector mediapipe"),
    "annotate-openvino": Case(
        "annotate CLIP -o OUT --model mt-mobilefacenet --backend openvino --every 6",
        {"onnxruntime", "openvino"},
        needs=("openvino",),
    ),
    "batch": Case("batch STILLS -o OUT --workers 2 --format csv,parquet"),
    "extract-onnx": Case(f"{EXTRACT} onnx"),
    "extract-openvino": Case(f"{EXTRACT} openvino", {"onnxruntime", "openvino"}, needs=("openvino",)),
    "extract-torch": Case(f"{EXTRACT} torch", {"onnxruntime", "torch"}, needs=("torch", "timm")),
    "extract-audio": Case("extract CLIP -o OUT --audio --weights SOUND", {"transformers"}, needs=("transformers",)),
    "train-finetune": Case(
        "train finetune TRAINING/plan.toml -o OUT --threads 1 --workers 1", {"torch"}, needs=("torch", "matplotlib")
    ),
    "train-heads": Case(
        "train heads FEATURES -o OUT/h.safetensors --truth CROPS/training_set_annotations.txt --epochs 1 -q",
        {"torch"},
        needs=("torch",),
    ),
    "doctor": Case("doctor", {"mediapipe", "onnxruntime"}),
    "live": Case("live --camera VIDEO -o OUT --window none --record --jsonl OUT/rows.jsonl --seconds 5"),
    "python": Case("CLIP OUT", start=[*SEALED, "--run", API]),
    "script": Case("SCRIPTS/fuzz.py --cases 4 --keep OUT", start=[*SEALED, "--run", SCRIPT]),
}
REPORTING = {"unguarded", "unguarded-contained"}


@dataclass(frozen=True)
class Run:
    """Outcome of a command: exit code, what it sent (None: not watched), and the files it left."""

    code: int
    printed: str
    report: Mapping[str, Any] | None
    waits: list[dict[str, Any]]
    folder: Path

    def files(self, name: str) -> list[str]:
        top = self.folder / name
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir())


def make_training(folder: Path) -> None:
    """24 faces with labels, and a plan beside them."""
    face = cv2.resize(known(cv2.imread(str(ASSETS / "doctor_face.jpg"))), (128, 128))
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "split"])
        for k in range(24):
            cv2.imwrite(str(folder / f"{k}.png"), np.clip(face * (0.4 + 0.05 * k), 0, 255).astype(np.uint8))
            writer.writerow([f"{k}.png", ("neutral", "happiness")[k % 2], "val" if k % 4 == 3 else "train"])
    (folder / "plan.toml").write_text(
        'name = "tiny"\narchitecture = "mobilefacenet_first_48"\nsize = 48\nluminance = true\nlicence = "CC0"\n'
        '[[source]]\nkind = "folder"\npath = "."\nunits = "blendshapes"\ncalibration = 0.2\nterms = "ours"\n'
        "[[stage]]\nepochs = 1\nbatch = 8\n"
    )


def make_sound_network(folder: Path) -> None:
    """A small network of wav2vec's class, untrained, where transformers is installed."""
    if not installed("transformers"):
        return
    mend_torchvision()  # before transformers imports it
    import transformers

    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


@pytest.fixture(scope="module")
def inputs(smile: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "stills").mkdir()
    for k in range(2):
        shutil.copy(samples / "stills" / "astronaut.png", folder / "stills" / f"{k}.png")
    make_training(folder / "training")
    make_sound_network(folder / "sound")
    challenge.make_mtl(folder / "crops", videos=3, frames=6, validation=1)
    crops, out = folder / "crops" / "cropped_aligned", folder / "features"
    features = [*CLI, "extract", str(crops), "-o", str(out), "--crops", "-q"]
    subprocess.run(
        [*features, "--model", "mt-mobilefacenet"], check=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    names = {name: str(folder / name.lower()) for name in ("STILLS", "TRAINING", "SOUND", "CROPS", "FEATURES")}
    return names | {"CLIP": str(smile), "VIDEO": str(samples / "langer_pexels.mp4"), "SCRIPTS": str(ROOT / "scripts")}


@pytest.fixture(scope="module")
def runs(inputs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All commands, most of the time at once: another one is started as soon as few of them are not yet waiting."""
    top = tmp_path_factory.mktemp("sealed")
    keep = ":".join([*{str(ROOT), sys.prefix, sys.base_prefix, str(top.parent), str(Path(inputs["CLIP"]).parent)}])
    guard = [sys.executable, str(TESTS / "contained.py")]
    able = subprocess.run([*guard, str(top / "able.json"), keep, "true"], capture_output=True).returncode == 0
    started: dict[str, subprocess.Popen[bytes]] = {}
    found = {}

    def awake() -> int:
        asleep = {path.parent.name for path in top.glob("*/waits.asleep")}
        return sum(process.poll() is None and name not in asleep for name, process in started.items())

    try:
        for name, case in CASES.items():
            if not all(map(installed, case.needs)) or (case.contained and not able):
                continue
            while awake() >= AWAKE:
                time.sleep(0.1)
            started[name] = start(case, top / name, inputs, [*guard, str(top / f"{name}.json"), keep] if able else [])
        for name, process in started.items():
            process.wait(PATIENCE)
            found[name] = finished(top / name, process.returncode)
        yield found
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def start(case: Case, folder: Path, inputs: Mapping[str, str], guard: list[str]) -> subprocess.Popen[bytes]:
    for name in ("home", "work", "tmp"):
        (folder / name).mkdir(parents=True)
    words = case.arguments.split()
    for name, value in {**inputs, "OUT": "out"}.items():
        words = [word.replace(name, value) for word in words]
    # Nothing else of this environment: what an own place for a cache, CI=true and the like change is not looked at.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "USER": "somebody",  # as after a login; torch would ask a daemon of the machine for the name, over a socket
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": f"{ROOT}:{TESTS / 'held'}",
        "SEALED_SECONDS": str(SECONDS),
        "SEALED_LOG": str(folder / "waits"),
        "OMP_NUM_THREADS": "1",
        "RAY_raylet_start_wait_time_s": str(PATIENCE),  # others work at the same time
    }
    with (folder / "printed").open("wb") as file:
        return subprocess.Popen(
            [*guard, *case.start, *words], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            env=environment, cwd=folder / "work",
        )  # fmt: skip


def finished(folder: Path, code: int) -> Run:
    at = folder.with_suffix(".json")
    report = json.loads(at.read_text()) if at.is_file() else None
    waits = folder / "waits"
    lines = [json.loads(line) for line in waits.read_text().splitlines()] if waits.is_file() else []
    printed = (folder / "printed").read_text(errors="replace")
    return Run(code if report is None else report["code"], printed, report, lines, folder)


def result(runs: Mapping[str, Run], name: str) -> Run:
    if name not in runs:
        case = CASES[name]
        missing = [module for module in case.needs if not installed(module)]
        pytest.skip(f"needs {', '.join(missing)}" if missing else "needs root or user namespaces, to see what is sent")
    return runs[name]


@pytest.mark.parametrize("name", [name for name in CASES if name not in REPORTING])
def test_nothing_leaves_the_machine_and_no_file_appears_outside_our_folders(name: str, runs: dict[str, Run]) -> None:
    run = result(runs, name)
    assert run.code == 0, run.printed
    if run.report is not None:
        assert run.report["sent"] == {}
        assert run.report["lost"] == 0
        assert run.report["files"] == []
    assert [path for path in run.files("home") if not path.startswith(".cache/hsemotion/")] == []
    assert run.files("tmp") == []
    results = run.files("work")
    assert [path for path in results if not path.startswith("out/")] == []
    assert results or name in ("doctor", "script"), "a command that did nothing would leave nothing, too"
    assert any(path.endswith(".overlay.mp4") for path in results) == (
        "--overlay" in CASES[name].arguments or name == "python"
    )


@pytest.mark.parametrize("name", [name for name in CASES if name not in REPORTING])
def test_it_lived_long_enough_to_show_that(name: str, runs: dict[str, Run]) -> None:
    run = result(runs, name)
    lived = [wait for wait in run.waits if CASES[name].loads <= wait["loaded"].keys()]
    assert lived, f"no process of it has loaded {CASES[name].loads}: {run.waits}"
    assert all(min(wait["loaded"][module] for module in CASES[name].loads) > 40 for wait in lived)
    if name.startswith("batch"):
        assert any("batch.worker" in wait["command"] for wait in lived), "it is the workers that run models"
    assert all(wait["home"] == str(run.folder / "home") for wait in lived)


def test_the_seal_ends_onnx_runtime_unless_its_reports_are_switched_off(
    runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = result(runs, "unguarded")
    assert run.code == -signal.SIGSYS, "the seal must catch what it is for"
    monkeypatch.setenv("HOME", str(run.folder / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("TMPDIR", str(run.folder / "tmp"))
    files = {run.folder / top / path for top in ("home", "tmp", "work") for path in run.files(top)}
    assert {"deviceid", "onnxruntime.db", ".ses"} <= {path.name for path in files}
    left = privacy.leftovers()  # doctor looks where it writes
    assert all(any(path.is_relative_to(place) for place in left) for path in files)


def test_a_network_of_its_own_shows_that_it_asks_for_an_address(runs: dict[str, Run]) -> None:
    report = result(runs, "unguarded-contained").report
    assert report is not None and any(receiver.endswith("port 53") for receiver in report["sent"])


def test_the_namespaces_show_what_is_sent_and_left(tmp_path: Path) -> None:
    code = (
        "import socket\nopen('/tmp/left', 'w').close()\nopen('/dev/shm/left', 'w').close()\n"
        "sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nsender.sendto(b'x', ('192.0.2.7', 9))\n"
        "server = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(server.getsockname())\n"
    )
    keep = ":".join([str(ROOT), sys.prefix, sys.base_prefix, str(tmp_path)])
    command = [sys.executable, str(TESTS / "contained.py"), str(tmp_path / "report.json"), keep, *PLAIN, code]
    if subprocess.run(command).returncode == contained.CANNOT:
        pytest.skip("needs root or user namespaces")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == {"code": 0, "sent": {"192.0.2.7 port 9": 1}, "lost": 0, "files": ["/dev/shm/left", "/tmp/left"]}
    assert not Path("/tmp/left").exists()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
def test_the_seal_catches_every_kind_of_socket(family: str) -> None:
    code = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM)"
    assert subprocess.run([*SEALED, "--run", code]).returncode == -signal.SIGSYS
