"""doctor says that a good installation is good, and what is wrong with a bad one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

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
    assert all(row["ok"] for row in found.values())
    assert "50 frames" in found["end to end"]["says"]
    printed = CliRunner().invoke(app, ["doctor"]).output
    assert "FAILS" not in printed
    assert "opencv-python-headless" in printed


@pytest.mark.parametrize(
    ("check", "target", "value", "says"),
    [
        ("one OpenCV", "distributions", lambda: map(SimpleNamespace, ()), "0 OpenCV"),
        ("one OpenCV", "distributions", lambda: [SimpleNamespace(name=f"opencv-{k}") for k in (1, 2)], "2 OpenCV"),
        ("codecs", "_has", lambda codec, mode: codec != "libx264", "libx264 encoder"),
    ],
)
def test_what_is_wrong_is_said(
    check: str, target: str, value: object, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, target, value)
    monkeypatch.setattr(doctor, "CHECKS", {check: doctor.CHECKS[check]})
    row = results(1)[check]
    assert not row["ok"]
    assert says in row["says"]


def test_a_damaged_model_fails_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = replace(registry.card("mp-blendshapes"), sha256="0" * 64)
    monkeypatch.setitem(registry.MODELS, "mp-blendshapes", damaged)
    found = results(1)
    assert "mp_blendshapes.safetensors is damaged" in found["model files"]["says"]
    assert "is not the file it should be" in found["end to end"]["says"]
    assert found["codecs"]["ok"]


@pytest.mark.parametrize(
    ("suffix", "says"),
    [(".safetensors", "it is damaged"), (".graph", "missing or damaged"), (None, "there is no such file")],
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
    row = results(1)["model files"]
    assert not row["ok"] and says in row["says"]


def test_a_mediapipe_that_reports_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import mediapipe

    monkeypatch.setattr(mediapipe, "__version__", "0.10.35")
    monkeypatch.setattr(doctor, "CHECKS", {"privacy": doctor.CHECKS["privacy"]})
    assert "reports usage over the network" in results(1)["privacy"]["says"]


def test_libraries_that_do_not_import_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setattr(doctor, "CHECKS", {"libraries": doctor.CHECKS["libraries"]})
    assert "pyarrow" in results(1)["libraries"]["says"]
