"""What is printed, and how: one way for all of it, whatever is in it and wherever it goes."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stamps import unstamped
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.commands import console, doctor_checks
from hsemotion_cli.runtime import terminal

PACKAGE = Path(console.__file__).parents[1]
PRINTERS = {"commands/console.py", "runtime/terminal.py"}
"""The only files that print."""

ENCODINGS = ["cp1252:strict", "ascii:strict"]


def printing(tree: ast.AST) -> list[str]:
    """Every way to print that a file has: print, sys.stdout and sys.stderr, Typer's, Rich's."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "Console"):
            found.append(node.func.id)
        if isinstance(node, ast.Attribute) and node.attr in ("write", "writelines", "echo", "secho"):
            owner = ast.unparse(node.value)
            if owner in ("sys.stdout", "sys.stderr", "typer", "sys.__stdout__", "sys.__stderr__"):
                found.append(f"{owner}.{node.attr}")
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            allowed = isinstance(node, ast.ImportFrom) and node.module == "rich.progress"
            found += [f"import {name}" for name in names if name.partition(".")[0] == "rich" and not allowed]
    return found


def test_nothing_is_printed_in_another_way() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).as_posix() not in PRINTERS:
            assert not printing(ast.parse(path.read_text(encoding="utf-8"))), path.name


@pytest.mark.parametrize("line", [
    "print('x')", "sys.stderr.write('x')", "typer.echo('x')", "from rich.table import Table", "Console()",
    "import rich", "def f():\n    from rich import print",
])  # fmt: skip
def test_that_test_sees_other_ways(line: str) -> None:
    assert printing(ast.parse(line))


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = console.Table("[bold]what[/]", "of it")
    table.add_row("pip install 'hsemotion-cli[torch]'", "[red]x[/red] :smile:")
    table.add_row("clear \x1b[2J", console.Text("ok", "green"))
    console.print_table(table)
    console.print_text("[link=https://example.org]here[/link] :warning:")
    console.print_line("[torch]\n\x07")
    terminal.say("[torch] [/]")
    shown = capsys.readouterr()
    for words in ("hsemotion-cli[torch]", "[red]x[/red] :smile:", "[bold]what[/]", "[link=", ":warning:", r"\x1b[2J"):
        assert words in shown.out
    assert shown.out.endswith("[torch]\\n\\x07\n") and "\x1b" not in shown.out
    assert unstamped(shown.err) == "hsemotion: [torch] [/]\n"


def test_brackets_are_no_markup_in_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "200")
    with console.progress("[red]a[/].mp4", quiet=False) as report:
        report("annotate", 3, 2, 10)
    with console.counting("[b]n[/b]", "videos", quiet=False) as count:
        count(1, 2, "[i]w[/i]")
    with console.downloading("[u]d[/u]") as fetched:
        fetched(10, 20)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    for words in ("[red]a[/].mp4", "3/10", "2 faces", "[b]n[/b]", "[i]w[/i]", "[u]d[/u]"):
        assert words in text


def test_the_rate_counts_from_the_start_of_a_stage_and_not_from_its_first_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, lines = [100.0], list[str]()
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console, "note", lambda line, shown: lines.append(line))
    with console.progress("a.mp4", quiet=False) as report:
        for later, stage, done in [
            (20.0, "annotate", 1),
            (20.0, "annotate", 81),
            (4.0, "overlay", 9),
            (8.0, "overlay", 240),
        ]:
            now[0] += later
            report(stage, done, 0, None)
    assert lines == [
        "a.mp4: annotate 1 frames, 0.1 frames/s",
        "a.mp4: annotate 81 frames, 2.0 frames/s",
        "a.mp4: overlay 240 frames, 20 frames/s",
    ]


def test_json_has_neither_nan_nor_anything_that_an_encoding_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"a": [float("nan"), 1.5, (float("inf"),)], "日": "ü\udce4", 1: None})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"a": [None, 1.5, [None]], "日": "ü\udce4", "1": None}


def test_doctor_names_an_extra_with_its_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise ModuleNotFoundError("timm: pip install 'hsemotion-cli[torch]'")

    monkeypatch.setattr(doctor_checks, "CHECKS", {"torch (optional)": missing})
    result = CliRunner().invoke(app, ["doctor"])
    assert "pip install 'hsemotion-cli[torch]'" in result.stdout and result.exit_code == 3


# --- encodings --------------------------------------------------------------------------------------------------


def run(encoding: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "120"}
    command = [sys.executable, "-m", "hsemotion_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def foreign(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip and its table, with a name in which no old code page has all characters."""
    folder = tmp_path_factory.mktemp("ordner")
    shutil.copy(smile, folder / "日本ü.mp4")
    done = run("utf-8", "annotate", folder / "日本ü.mp4", "-o", folder / "t", "--every", 4)
    assert done.returncode == 0 and "日本ü.mp4" in done.stdout.decode("utf-8")
    return folder


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_annotate_prints_a_foreign_name_in_any_encoding(encoding: str, foreign: Path, tmp_path: Path) -> None:
    done = run(encoding, "annotate", foreign / "日本ü.mp4", foreign / "無.mp4", "-o", tmp_path, "--every", 4, "-v")
    assert done.returncode == 3, done.stderr
    ü = b"\xfc" if encoding.startswith("cp1252") else b"\\xfc"
    assert b"\\u65e5\\u672c" + ü + b".mp4" in done.stdout and b"\\u7121.mp4" in done.stderr
    assert b"a bug" not in done.stderr and (tmp_path / "日本ü.csv").is_file()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("words", [
    "batch {in} --dry-run -o {out}/b", "batch {in} --dry-run --json -o {out}/b", "smooth {in}/t/日本ü.csv -o {out}",
    "render {in}/日本ü.mp4 {in}/t/日本ü.csv -o {out}/日本ü.mp4", "models path", "schema", "schema --json", "--help",
    "annotate {in}/無.mp4 -o {out}", "annotate --無", "無", "extract {in}/日本ü.mp4 -o {out}",
    "submit --track va --list {in}/無.txt --validate {in}/日.txt",
])  # fmt: skip
def test_no_command_fails_on_a_character(words: str, encoding: str, foreign: Path, tmp_path: Path) -> None:
    arguments = [word.format(**{"in": foreign, "out": tmp_path}) for word in words.split()]
    done = run(encoding, *arguments)
    assert b"UnicodeEncodeError" not in done.stderr and b"a bug" not in done.stderr
    assert done.returncode in (0, 2, 4)
    assert done.stdout or done.stderr
    if "--json" in words:
        assert json.loads(done.stdout)


# --- time stamps and the log ------------------------------------------------------------------------------------


def test_lines_have_times_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.say("something is wrong.")
    line = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d hsemotion: something is wrong\.\n", line)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    terminal.say("something is wrong.")
    assert capsys.readouterr().err == "hsemotion: something is wrong.\n"


def test_the_log_has_everything_with_times(smile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_EVERY", 0.0)
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    words = ["annotate", str(smile), str(tmp_path / "無.mp4"), "-o", str(tmp_path / "o"), "--log", str(log), "-q"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3
    first, *lines = log.read_text(encoding="utf-8").splitlines()
    assert first == "before"
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    assert any("smile.mp4: annotate 12 of 12 frames" in line for line in lines)
    assert any("hsemotion: " in line and "無.mp4" in line for line in lines)
    assert "annotate 12" not in result.stderr and "無.mp4" in result.stderr
    assert not terminal.logged()


def test_a_log_that_cannot_be_written_is_refused_before_any_work(smile: Path, tmp_path: Path) -> None:
    words = ["annotate", str(smile), "-o", str(tmp_path / "o"), "--log", str(tmp_path / "no" / "log.txt")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3 and "--log" in result.stderr and not (tmp_path / "o").exists()


def test_a_log_gets_the_lines_of_a_bar_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(console, "_EVERY", 0.0)
    with terminal.logging_to(tmp_path / "log.txt"):
        with console.progress("a.mp4", quiet=False) as report:
            report("annotate", 3, 2, 10)
        with console.counting("tune", "steps", quiet=False) as count:
            count(2, 2, "done")
    text = (tmp_path / "log.txt").read_text()
    assert "a.mp4: annotate 3 of 10 frames" in text and "tune: 2 of 2 steps, done" in text
    assert "3 of 10 frames" not in screen.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which this system lacks")
def test_a_log_on_a_full_disk_ends_and_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.logging_to(Path("/dev/full")):
        terminal.say("one.")
        terminal.say("two.")
    said = unstamped(capsys.readouterr().err).splitlines()
    assert said[0] == "hsemotion: one." and said[2:] == ["hsemotion: two."]
    assert "/dev/full: cannot be written any more (No space left on device)" in said[1]
