"""The documentation and the program agree."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import DOCS, PAGES, ROOT, anchors, blocks, hsemotion_commands
from typer.testing import CliRunner

from hsemotion_cli import __version__
from hsemotion_cli.cli import app
from hsemotion_cli.formats import schema
from hsemotion_cli.postprocess.recipe import Recipe

README = (ROOT / "README.md").read_text(encoding="utf-8")


def every_command(group: Any, prefix: str = "") -> dict[str, Any]:
    """Full name -> command; "models list" and the like are commands as well."""
    found: dict[str, Any] = {}
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        inner = hasattr(command, "list_commands")
        found |= every_command(command, f"{prefix}{name} ") if inner else {f"{prefix}{name}": command}
    return found


GROUP = typer.main.get_command(app)
COMMANDS = every_command(GROUP)
SHELL = blocks("sh")
WRITTEN = [(block, line) for block in SHELL for line in block.lines]


def split(arguments: list[str]) -> tuple[str, list[str]]:
    """The name of the command, and what is given to it."""
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    return " ".join(arguments[:words]), arguments[words:]


def script(name: str) -> dict[str, Any]:
    """What a script defines."""
    return runpy.run_path(str(ROOT / "scripts" / name))


def test_the_generated_pages_are_what_the_program_has_now() -> None:
    for path, text in script("make_reference.py")["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python scripts/make_reference.py"


def test_every_command_and_option_is_on_the_page_of_commands() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## hsemotion ([^\n]*)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == {name for name, command in COMMANDS.items() if not command.hidden}
    for name, text in sections.items():
        for parameter in COMMANDS[name].params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help" and not parameter.hidden:
                    assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"hsemotion {name} {option}"


def test_every_command_is_shown_in_use() -> None:
    used = {
        split(words)[0]
        for block, line in WRITTEN
        if block.page.name != "commands.md"
        for words in hsemotion_commands(line)
    }
    assert set(COMMANDS) - used == set()


@pytest.mark.parametrize("line", sorted({line for _, line in WRITTEN if "hsemotion " in line}))
def test_every_command_line_is_understood(line: str) -> None:
    for arguments in hsemotion_commands(line):
        name, given = split(arguments)
        # Parsing alone raises on an unknown option, a bad value or a missing argument.
        assert COMMANDS[name].make_context(name, given).params


def test_scripts_and_make_targets_in_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    inline = re.findall(r"`(python scripts/[^`]*|make [a-z-]+)`", "\n".join(page.read_text() for page in PAGES))
    for line in [*(line for _, line in WRITTEN), *inline]:
        if match := re.match(r"python (scripts/\w+\.py)(.*)", line):
            path = ROOT / match[1]
            assert path.is_file(), line
            for option in re.findall(r"--[a-z-]+", match[2]):
                assert f'"{option}"' in path.read_text(encoding="utf-8"), f"{line}: {match[1]} has no {option}"
        elif match := re.match(r"make ([a-z-]+)", line):
            assert re.search(rf"^{match[1]}:", makefile, re.MULTILINE), line


def test_commands_that_no_test_runs_say_why() -> None:
    for block in SHELL:
        assert not block.mark or block.mark == "miniature" or re.fullmatch(r"not run: \w.*", block.mark), block.mark


def test_exit_codes_are_documented() -> None:
    page = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    for code in ("0", "1", "2", "3", "4", "5", "6", "130"):
        assert f"| {code} |" in page
        assert code in CliRunner().invoke(app, ["--help"]).output


def test_schema_prints_every_column() -> None:
    printed = CliRunner().invoke(app, ["schema"]).output
    for column in schema.COLUMNS:
        assert column.name in printed
        assert column.meaning.endswith(".")


def test_links_lead_to_files_and_headings_that_exist() -> None:
    for page in [*PAGES, *ROOT.glob("*.md"), ROOT / "sample_videos" / "README.md"]:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\((?!https?:|mailto:)<?([^)>]+)>?\)", text):
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_pages_of_the_site_link_only_to_each_other() -> None:
    for page in DOCS.rglob("*.md"):
        for link in re.findall(r"\]\((?!https?:|#)<?([^)#>]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).resolve().is_relative_to(DOCS), f"{page.name}: {link} is not on the site"


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_the_readme_keeps_its_shape() -> None:
    headings = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert headings == [
        "Install",
        "Annotate a video",
        "Five more things",
        "Python",
        "Models and their terms",
        "Limits and ethics",
        "Links",
    ]
    assert len(README.splitlines()) <= 130
    before = README.partition("## Install")[0]
    assert before.count("![") == 1
    assert re.search(r"^make demo .*\n^make test ", README, re.MULTILINE)


def test_the_readme_shows_columns_and_figures_of_today() -> None:
    readme = script("make_readme.py")
    assert set(readme["COLUMNS"]) <= set(schema.NAMES)
    assert f"| {' | '.join(readme['COLUMNS'])} |" in README
    assert readme["with_figures"](README) == README, "run python scripts/make_readme.py"
    figures = json.loads((DOCS / "models" / "embedded.json").read_text(encoding="utf-8"))
    best = figures["figures"][",".join(figures["default"]["models"])]["ferplus"]
    assert f"| {best['accuracy']:.3f} | {best['f1']:.3f} |" in README


@pytest.mark.parametrize("text", [block.text for block in blocks("toml") if block.text.startswith("models =")])
def test_recipes_on_the_pages_are_recipes(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    assert Recipe.read(path).models


def test_the_drawing_of_the_architecture_is_true() -> None:
    drawn = script("draw_architecture.py")
    assert (DOCS / "architecture.svg").read_text(encoding="utf-8") == drawn["drawing"](), "run the script"
    package = ROOT / "hsemotion_cli"
    assert [name for name in drawn["BOXES"] if not (package / name).exists()] == []
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", page)
    assert named and [name for name in named if not ((package / name).exists() or (ROOT / name).exists())] == []


def test_the_version_has_an_entry_in_the_changelog() -> None:
    assert re.search(rf"^## \[?{re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_exactly_one_opencv_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    assert [name for name in asked if "opencv" in name] == ["opencv-python-headless>=4.9"]
    assert not any(re.match(r"torch|timm", name) for name in project["dependencies"])
