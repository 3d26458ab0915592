"""The files around the program: packaging, hosted checks, templates, container, citation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

from hsemotion_cli import __version__

yaml = pytest.importorskip("yaml", reason="comes with the extra [docs]")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def installed(*packages: str) -> list[str]:
    """The calls that install them."""
    return ["apt-get update", f"apt-get install -y --no-install-recommends {' '.join(packages)}"]


def load(name: str) -> Any:
    """A YAML file of the project."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_hosted_checks_cover_every_system_and_python_that_is_promised() -> None:
    jobs = load(".github/workflows/ci.yml")["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    promised = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert matrix["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"
    for job in jobs.values():
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            # Windows has no make, and its shell does not know this syntax.
            assert "make" not in step.get("run", "").split()
            assert "if" in step or "\\\n" not in step.get("run", "")


def test_the_hosted_checks_are_those_of_make_check() -> None:
    steps = [step.get("run") for step in load(".github/workflows/ci.yml")["jobs"]["check"]["steps"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    check = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    commands = [line.strip().removeprefix("$(BIN)/") for line in check.splitlines()[1:]]
    assert len(commands) == 3 and set(commands) <= set(steps)


def test_issue_forms_are_forms() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert [form.name for form in forms] == ["bug.yml", "config.yml", "idea.yml"]
    for form in forms:
        if form.name == "config.yml":
            continue
        content = load(str(form.relative_to(ROOT)))
        assert {"name", "description", "body"} <= set(content)
        ids = [part["id"] for part in content["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids))
        for part in content["body"]:
            assert part["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
            assert part["attributes"]["value" if part["type"] == "markdown" else "label"]


def test_hooks_run_what_the_environment_has() -> None:
    for repository in load(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system" and hook["entry"].split()[0] in {"ruff", "python"}
            re.compile(hook.get("files", ""))


def test_the_citation_is_of_this_version() -> None:
    citation = load("CITATION.cff")
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["license"]
    assert citation["cff-version"] == "1.2.0" and citation["title"] and citation["authors"] and citation["message"]


def test_the_container_copies_what_is_there_and_is_given_to_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    given = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()]
    assert set(copied) == set(given)
    assert all((ROOT / name).exists() for name in copied)
    # What pyproject.toml names must be among them, or the package cannot be built.
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= set(copied)
    assert "HSEMOTION_OFFLINE=1" in dockerfile and re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("tools", "uid", "expected"),
    [
        ({"ffmpeg", "ffprobe", "chromium", "Xvfb", "apt-get"}, 0, ["make check", "make test"]),
        ({"apt-get"}, 0, [*installed("ffmpeg", "chromium", "xvfb"), "make check", "make test"]),
        ({"ffmpeg", "chromium", "Xvfb", "apt-get"}, 0, [*installed("ffmpeg"), "make check", "make test"]),
        ({"ffmpeg", "ffprobe", "Xvfb", "apt-get"}, 0, [*installed("chromium"), "make check", "make test"]),
        ({"apt-get"}, 1000, ["make check", "make test"]),
        (set(), 0, ["make check", "make test"]),
    ],
)
def test_the_checks_install_programs_that_are_missing_where_they_can(
    tools: set[str], uid: int, expected: list[str], tmp_path: Path
) -> None:
    assert run_checks(tmp_path, dict.fromkeys(tools | {"make"}, 0), uid) == (0, expected)


def test_tests_that_need_ffmpeg_are_skipped_without_it() -> None:
    calls = re.compile(r'\["ff(mpeg|probe)"')
    for path in (ROOT / "tests").glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        assert not calls.search(text) or "shutil.which(" in text, f"{path.name}: use known.program"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_failed_check_is_a_failed_run(tmp_path: Path) -> None:
    code, called = run_checks(tmp_path, {"ffmpeg": 0, "ffprobe": 0, "make": 7}, 0)
    assert (code, called) == (7, ["make check"])


def run_checks(folder: Path, tools: Mapping[str, int], uid: int) -> tuple[int, list[str]]:
    """Run .ci/run with stand-ins for programs (name -> exit code); returns its exit code, and which were called how."""
    programs, log = folder / "bin", folder / "log"
    programs.mkdir()
    for name, code in tools.items():
        (programs / name).write_text(f'#!{shutil.which("bash")}\necho "{name} $*" >> "{log}"\nexit {code}\n')
    (programs / "id").write_text(f"#!{shutil.which('bash')}\necho {uid}\n")
    (programs / "dirname").symlink_to(str(shutil.which("dirname")))
    for program in programs.iterdir():
        if not program.is_symlink():
            program.chmod(0o755)
    bash = str(shutil.which("bash"))
    done = subprocess.run([bash, str(ROOT / ".ci" / "run")], env={**os.environ, "PATH": str(programs)}, check=False)
    return done.returncode, log.read_text().splitlines()


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="builds the wheel without downloading anything")
    copied = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")
    for name in copied:
        shutil.copy(ROOT / name, tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "hsemotion_cli", tmp_path / "hsemotion_cli", ignore=ignored)
    files = {str(path.relative_to(tmp_path)) for path in (tmp_path / "hsemotion_cli").rglob("*") if path.is_file()}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "out", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("hsemotion_cli/")}
    assert held == files
