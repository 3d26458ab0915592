"""Every command of the documentation runs, page by page, in a folder with the files that the page names."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import clips
import cv2
import pytest
from pages import ROOT, Block, blocks, hsemotion_commands
from typer.testing import CliRunner

from hsemotion_cli.cli import app

RUN = [block for block in blocks("sh") if block.runs and any(hsemotion_commands(line) for line in block.lines)]
PYTHON = [block for block in blocks("python") if block.runs]


def by_page(found: list[Block]) -> list[tuple[str, list[Block]]]:
    """Blocks of one page together: later ones use what earlier ones wrote."""
    return [(name, [b for b in found if b.page.name == name]) for name in sorted({b.page.name for b in found})]


@pytest.fixture
def folder(smile: Path, nobody: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the pages name, in a folder that commands run in; a cache of its own, and nothing is fetched."""
    for name in ("talk.mp4", "lab/first.mp4", "lab/second.mp4", "study/p1/cam1.mp4", "study/p2/cam1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(smile, tmp_path / name)
    shutil.copy(nobody, tmp_path / "no_face.mp4")
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "sample_videos" / "stills" / "astronaut.png", tmp_path / "photos")
    cv2.imwrite(str(tmp_path / "face.png"), cv2.cvtColor(clips.portrait(), cv2.COLOR_RGB2BGR))
    (tmp_path / "people.csv").write_text("recording,face_id,person\ntalk,0,Ann\n")
    (tmp_path / "marks.csv").write_text("recording,person,onset,offset,kind,label\ntalk,Ann,0.1,0.2,label,greeting\n")
    (tmp_path / "more.txt").write_text("talk.mp4\n")
    crops = tmp_path / "cropped_aligned" / "45-24-1280x720"
    crops.mkdir(parents=True)
    for number in range(1, 4):
        cv2.imwrite(str(crops / f"{number:05d}.jpg"), cv2.cvtColor(clips.portrait(112, 112), cv2.COLOR_RGB2BGR))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HSEMOTION_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HSEMOTION_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("HSEMOTION_OFFLINE", "1")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("page", "found"), by_page(RUN), ids=[name for name, _ in by_page(RUN)])
def test_every_documented_command_runs(page: str, found: list[Block], folder: Path) -> None:
    for line in (line for block in found for line in block.lines):
        if line.startswith("hsemotion "):
            arguments = shlex.split(line, comments=True)[1:]
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, f"{page}: {line}\n{result.output}"
        elif hsemotion_commands(line):
            run_in_shell(line, folder)
        else:
            assert line.split()[0] in {"pip", "uv", "source", "make"}, f"{page}: {line}"


def run_in_shell(line: str, folder: Path) -> None:
    """Run a line with pipes; ``hsemotion`` in it is the program that is tested."""
    if shutil.which("bash") is None:
        pytest.skip(f"needs bash for: {line}")
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "hsemotion").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hsemotion_cli "$@"\n')
    (tools / "hsemotion").chmod(0o755)
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("block", PYTHON, ids=[f"{block.page.name}-{k}" for k, block in enumerate(PYTHON)])
def test_every_documented_python_snippet_runs(block: Block, folder: Path) -> None:
    exec(compile(block.text, str(block.page), "exec"), {})
