"""No library reports usage: the switches are set in time, everywhere, and what reports is known by version.

That nothing is sent or left behind in practice is what ``test_privacy_sealed.py`` shows.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hsemotion_cli.commands import doctor_checks
from hsemotion_cli.runtime import privacy

ROOT = Path(__file__).parent.parent
VARIABLES = [switch.variable for switch in privacy.SWITCHES]

# What each dependency is known to send or write on its own, and the versions in which somebody looked: first and last.
# A new pin fails here. Then look at the release notes and at the strings of its libraries, run
# ``pytest tests/test_privacy_sealed.py``, and only then widen the range. SECURITY.md says the same in words.
CHECKED = {
    # Reports over HTTPS from about ten seconds after its import; keeps a device id and a database of events.
    "onnxruntime": ("1.32.0", "1.32.0"),
    # Reports every hour from the head of a cluster. With that off, it still asks the cloud's metadata service.
    "ray": ("2.60.0", "2.60.0"),
    # Names libraries and versions in its downloads; hf-xet reports on transfers.
    "huggingface-hub": ("2.4.0", "2.4.0"),
    "hf-xet": ("1.8.0", "1.8.0"),
    # openvino imports its reporter when it converts models.
    "openvino": ("2026.4.1", "2026.4.1"),
    "openvino-telemetry": ("2025.2.0", "2025.2.0"),
    # Reports from 0.10.35 on. Imports sounddevice, which runs gcc and ldconfig to look for PortAudio.
    "mediapipe": ("0.10.31", "0.10.31"),
    # Keeps a list of fonts in the user's cache.
    "matplotlib": ("3.11.2", "3.11.2"),
    # Holds OpenTelemetry, which sends nothing unless ARROW_TRACING_BACKEND names a place.
    "pyarrow": ("26.0.1", "26.0.1"),
    # Offers streams to the local network, which is what it is for; loaded for live --lsl only.
    "pylsl": ("1.18.6", "1.18.6"),
    # Nothing was found in these; they are large, and load or fetch models.
    "torch": ("2.13.0", "2.13.0"),
    "torchvision": ("0.28.0", "0.28.0"),
    "timm": ("1.0.31", "1.0.31"),
    "transformers": ("5.23.0", "5.23.0"),
    "opencv-python-headless": ("5.0.0.93", "5.0.0.93"),
}


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


@pytest.mark.parametrize("name", CHECKED)
def test_what_reports_was_looked_at_in_the_version_that_is_pinned(name: str) -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    first, last = CHECKED[name]
    assert name in pins, "what may report is pinned, so that a new version is noticed"
    assert version(first) <= version(pins[name]) <= version(last), f"look at {name} {pins[name]}; see the comment above"


def test_everything_that_is_switched_off_is_in_the_list() -> None:
    names = {switch.library for switch in privacy.SWITCHES} | set(privacy.BLOCKED)
    assert {name.replace("_", "-") for name in names} <= set(CHECKED)


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, whose environment has none of the switches but those given."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"PYTHONPATH": str(ROOT), "CI": "true"} | variables  # under CI=true ONNX Runtime reports nothing
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd="/"
    )


SHOW = f"import os; print(*(os.environ.get(name, '-') for name in {VARIABLES!r}))"


def test_importing_any_part_sets_every_switch() -> None:
    done = python("import hsemotion_cli.errors\n" + SHOW)
    assert (done.stdout.split(), done.stderr) == (["1", "1", "0"], "")
    assert python(SHOW).stdout.split() == ["-", "-", "-"], "else the line above shows nothing"


@pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
def test_a_user_who_has_switched_off_reports_hears_nothing(value: str) -> None:
    done = python("import hsemotion_cli", ORT_DISABLE_TELEMETRY=value, RAY_USAGE_STATS_ENABLED="0")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("variable", "value", "library"),
    [
        ("ORT_DISABLE_TELEMETRY", "0", "onnxruntime"),
        ("HF_HUB_DISABLE_TELEMETRY", "no", "huggingface_hub"),
        ("RAY_USAGE_STATS_ENABLED", "1", "ray"),
    ],
)
def test_a_user_who_enabled_usage_reports_is_informed_once(variable: str, value: str, library: str) -> None:
    # A second time in the same process, and in a child: as a worker or a Ray actor would do it.
    code = (
        "import importlib, subprocess, sys, hsemotion_cli\nimportlib.reload(hsemotion_cli)\n"
        "subprocess.run([sys.executable, '-c', 'import hsemotion_cli'], check=True)\n"
    )
    done = python(code + SHOW, **{variable: value})
    assert done.stdout.split() == ["1", "1", "0"]
    assert done.stderr.count("\n") == 1
    assert f"{variable}={value!r} is replaced" in done.stderr and library in done.stderr


def test_the_command_line_reports_it_too_and_escapes_what_it_quotes() -> None:
    code = "import sys; sys.argv = ['hsemotion', '--version']\nfrom hsemotion_cli.cli import main\nmain()"
    done = python(code, ORT_DISABLE_TELEMETRY="\x1b[31m0")
    assert done.stdout.startswith("hsemotion ")
    assert "\x1b" not in done.stderr and r"'\x1b[31m0'" in done.stderr


def test_a_library_that_was_imported_too_early_is_named() -> None:
    late = python("import onnxruntime, hsemotion_cli").stderr
    assert "onnxruntime was imported before hsemotion" in late and late.count("\n") == 1
    assert python("import onnxruntime, hsemotion_cli", ORT_DISABLE_TELEMETRY="1").stderr == ""
    assert python("import hsemotion_cli, onnxruntime").stderr == ""


def test_a_host_program_may_silence_the_sentence() -> None:
    code = "import logging; logging.getLogger('hsemotion_cli').setLevel('ERROR'); import onnxruntime, hsemotion_cli"
    assert python(code).stderr == ""


@pytest.mark.parametrize(("value", "reports"), [("", True), ("1", True), ("0", False)])
def test_the_cluster_s_head_is_asked_for_its_own_setting_and_not_for_ours(
    value: str, reports: bool, tmp_path: Path
) -> None:
    given = {"RAY_USAGE_STATS_ENABLED": value} if value else {}
    code = "from hsemotion_cli.batch.ray_actor import reports_usage; print(reports_usage())"
    done = python(code, RAY_USAGE_STATS_CONFIG_PATH=str(tmp_path / "none.json"), **given)
    assert done.stdout.split() == [str(reports)]


def imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [(node.module or "").partition(".")[0]] if isinstance(node, ast.ImportFrom) and not node.level else []


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_scripts_import_us_before_what_reports(script: Path) -> None:
    starting = {"onnxruntime", "emotiefflib"}  # the second imports the first
    tree = ast.parse(script.read_text())
    at_once = [name for node in tree.body for name in imported(node) if name in {"hsemotion_cli", *starting}]
    anywhere = {name for node in ast.walk(tree) if isinstance(node, ast.stmt) for name in imported(node)}
    if starting & anywhere:
        assert at_once[:1] == ["hsemotion_cli"], "else ONNX Runtime starts to report before we can switch that off"


def test_tests_import_us_before_what_reports() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert not {"onnxruntime", "openvino"} & privacy._reported, "conftest.py has to import hsemotion_cli first"


# --- what earlier revisions have left ----------------------------------------------------------------------------


def test_doctor_finds_what_onnx_runtime_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, cache, temporary = (tmp_path / name for name in ("home", "own cache", "tmp"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("TMPDIR", str(temporary))
    temporary.mkdir()
    session = temporary / ".ses"
    session.write_text("somebody else's\n")
    here = {path for path in privacy.leftovers() if path.is_relative_to(tmp_path)}  # /tmp of this machine may have one
    assert here == set()
    left = [folder / "Microsoft/DeveloperTools/.onnxruntime" for folder in (home / ".cache", cache)]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "deviceid").touch()
    session.write_text("1795921700739\n889e8688-5d64-bec0-d466-ce2f22e7e3b2\n")
    monkeypatch.setattr(privacy, "_is_session", lambda path, known=privacy._is_session: path == session and known(path))
    assert privacy.leftovers() == sorted([*left, session])
    said = doctor_checks.CHECKS["usage data"]()
    command = said.partition("to delete them: ")[2]
    assert "device id" in said and command.startswith("rm -r ")
    subprocess.run(command, shell=True, check=True)  # what is advised does it, with a space in a name as well
    assert privacy.leftovers() == []
    assert "no leftovers" in doctor_checks.CHECKS["usage data"]()
    assert cache.is_dir() and temporary.is_dir()
