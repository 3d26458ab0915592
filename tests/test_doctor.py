"""doctor says that a good installation is good, and what is wrong with a bad one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.commands import doctor_checks as doctor
from hsemotion_cli.models import registry


def results(code: int) -> dict[str, dict]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == code, result.output
    return {row["check"]: row for row in json.loads(result.stdout)}


def test_a_working_installation_passes_and_is_shown_as_a_table() -> None:
    found = results(0)
    assert list(found) == list(doctor.CHECKS)
    assert all(row["ok"] and row["state"] == "ok" for row in found.values())
    assert "50 frames" in found["end to end"]["says"]
    printed = CliRunner().invoke(app, ["doctor"]).output
    assert "FAILS" not in printed
    assert "opencv-python-headless" in printed


@pytest.mark.parametrize(
    ("check", "target", "value", "says"),
    [
        ("one OpenCV", "packages_distributions", dict, "no OpenCV is installed: pip install opencv-python-headless"),
        ("codecs", "_has", lambda codec, mode: codec != "libx264", "libx264 encoder"),
    ],
)
def test_problems_are_reported(
    check: str, target: str, value: object, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, target, value)
    monkeypatch.setattr(doctor, "CHECKS", {check: doctor.CHECKS[check]})
    row = results(3)[check]
    assert not row["ok"]
    assert says in row["says"]


def test_a_damaged_model_fails_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = replace(registry.card("mp-blendshapes"), sha256="0" * 64)
    monkeypatch.setitem(registry.MODELS, "mp-blendshapes", damaged)
    found = results(3)
    assert "mp_blendshapes.safetensors is damaged" in found["model files"]["says"]
    assert "has the wrong checksum" in found["end to end"]["says"]
    assert found["codecs"]["ok"]


@pytest.mark.parametrize(
    ("suffix", "says"),
    [(".safetensors", "it is damaged"), (".graph", "missing or damaged"), (None, "no such file")],
)
def test_a_damaged_network_fails_its_check(
    suffix: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in registry.SHIPPED if suffix else ():
        for kind in (".safetensors", ".graph"):
            content = bytearray((registry.ASSETS / name).with_suffix(kind).read_bytes())
            content[-9] ^= kind == suffix
            (tmp_path / name).with_suffix(kind).write_bytes(content)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    monkeypatch.setattr(doctor, "CHECKS", {"model files": doctor.CHECKS["model files"]})
    row = results(3)["model files"]
    assert not row["ok"] and says in row["says"]


def test_a_mediapipe_that_reports_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import mediapipe

    monkeypatch.setattr(mediapipe, "__version__", "0.10.35")
    monkeypatch.setattr(doctor, "CHECKS", {"privacy": doctor.CHECKS["privacy"]})
    assert "reports usage over the network" in results(3)["privacy"]["says"]


def test_libraries_that_do_not_import_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setattr(doctor, "CHECKS", {"libraries": doctor.CHECKS["libraries"]})
    assert "pyarrow" in results(3)["libraries"]["says"]


# --- beside other packages --------------------------------------------------------------------------------------


def distribution(folder: Path, name: str, module: str, requires: str = "") -> None:
    """A package as pip leaves it, which owns a module without having it."""
    info = folder / f"{name.replace('-', '_')}-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n{requires}")
    (info / "top_level.txt").write_text(module + "\n")


def beside(folder: Path, *words: str) -> tuple[int, dict[str, dict]]:
    """Doctor in a process that finds more packages first."""
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", str(Path(doctor.__file__).parents[2]))])
    command = [sys.executable, "-m", "hsemotion_cli", "doctor", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=300)
    assert done.stderr == ""
    return done.returncode, {row["check"]: row for row in json.loads(done.stdout)}


def test_a_second_opencv_is_a_warning_that_names_who_brought_it(tmp_path: Path) -> None:
    distribution(tmp_path, "opencv-python", "cv2")
    distribution(tmp_path, "Some.Tool", "some_tool", "Requires-Dist: opencv_python>=4\n")
    distribution(tmp_path, "other", "other", "Requires-Dist: opencv-python>=4; extra == 'all'\n")
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("raise ImportError('made for another torch')\n")
    code, found = beside(tmp_path)
    assert code == 0
    row = found["one OpenCV"]
    assert (row["ok"], row["state"]) == (True, "warning")
    assert "opencv-python 9.9 and opencv-python-headless" in row["says"]
    # Whatever else is installed here may need it as well.
    (needing,) = re.findall(r"opencv-python came with (.*?)\. It works", row["says"])
    assert "some-tool" in needing.split(", ") and "other" not in needing.split(", ")
    assert "pip uninstall -y opencv-python opencv-python-headless" in row["says"]
    row = found["torch (optional)"]
    assert row["state"] == "warning"
    assert row["says"].startswith("timm is installed but does not import (ImportError: made for another torch)")
    assert found["end to end"]["state"] == "ok"


@pytest.mark.parametrize("absent", ["torchvision", "timm"])
def test_torch_without_what_belongs_to_it_is_a_warning_that_names_it(
    absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == absent else real(name))
    monkeypatch.setattr(doctor, "CHECKS", {"torch (optional)": doctor.CHECKS["torch (optional)"]})
    row = results(0)["torch (optional)"]
    assert row["state"] == "warning" and f" without {absent}, which" in row["says"]
    assert "pip install 'hsemotion-cli[torch]'" in row["says"]
