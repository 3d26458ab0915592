"""The documentation and the program say the same."""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hsemotion_cli import __version__
from hsemotion_cli.cli import app
from hsemotion_cli.formats import schema

ROOT = Path(__file__).parent.parent
README = "\n".join((ROOT / page).read_text() for page in ("README.md", "docs/abaw.md"))
"""The README, and the page on the challenges, which has commands of its own."""
GROUP = typer.main.get_command(app)
# "models list" and the like are commands as well.
COMMANDS = {
    f"{name} {sub}".strip(): inner
    for name, command in GROUP.commands.items()  # type: ignore[attr-defined]
    for sub, inner in getattr(command, "commands", {"": command}).items()
}


def test_every_command_and_option_is_in_the_readme() -> None:
    for name, command in COMMANDS.items():
        assert f"hsemotion {name}" in README, name
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert option in README, f"hsemotion {name} {option}"


def split(arguments: list[str]) -> tuple[str, list[str]]:
    """The name of the command, and what is given to it."""
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    return " ".join(arguments[:words]), arguments[words:]


def commands_in(text: str) -> list[list[str]]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)
    lines = [line.strip() for kind, block in blocks if kind in ("sh", "console", "") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("hsemotion ")]


@pytest.mark.parametrize("arguments", commands_in(README), ids=" ".join)
def test_every_command_line_in_the_readme_is_understood(arguments: list[str], tmp_path: Path) -> None:
    name, given = split(arguments)
    # Parsing alone raises on an unknown option, a bad value or a missing argument.
    assert COMMANDS[name].make_context(name, given).params


def test_the_readme_has_command_lines() -> None:
    assert {split(arguments)[0] for arguments in commands_in(README)} == set(COMMANDS)


def test_exit_codes_are_documented() -> None:
    for code in ("0", "1", "2", "3", "4", "5", "6", "130"):
        assert f"| {code} |" in README
        assert code in CliRunner().invoke(app, ["--help"]).output


def test_schema_prints_every_column() -> None:
    printed = CliRunner().invoke(app, ["schema"]).output
    for column in schema.COLUMNS:
        assert column.name in printed
        assert column.meaning.endswith(".")


def test_every_linked_file_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link.strip("<>")).exists(), f"{page.name}: {link}"


def test_the_version_has_an_entry_in_the_changelog() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_exactly_one_opencv_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    assert [name for name in asked if "opencv" in name] == ["opencv-python-headless>=4.9"]
    assert not any(re.match(r"torch|timm", name) for name in project["dependencies"])
