"""Digits of other scripts, superscripts and endless numbers end in a clear message, never in a bug."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsemotion_cli.abaw import validation
from hsemotion_cli.batch.locks import hold_lock
from hsemotion_cli.batch.shards import Shard
from hsemotion_cli.commands import train_heads
from hsemotion_cli.errors import UsageError
from hsemotion_cli.faces.tracking import parse_faces
from hsemotion_cli.models.engines import resolve_device
from hsemotion_cli.runtime.atomic_files import machine_name, remove_leftovers
from hsemotion_cli.runtime.whole_numbers import whole_number
from hsemotion_cli.training import config

ODD = ["²", "1²", "٣", "๓", "①", "½", "9" * 5000, "-1", "+1", " 1", "1_0", "1.0", ""]


@pytest.mark.parametrize("text", ODD)
def test_only_short_plain_digits_are_a_number(text: str) -> None:
    assert whole_number(text) is None
    assert [whole_number(digits) for digits in ("0", "7", "0042", "9" * 18)] == [0, 7, 42, 10**18 - 1]


@given(st.text(max_size=25))
def test_no_text_raises(text: str) -> None:
    number = whole_number(text)
    assert number is None or (text.isascii() and int(text) == number)


@pytest.mark.parametrize("text", ODD)
def test_options_that_take_numbers_refuse_what_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--faces"):
        parse_faces(text)
    with pytest.raises(UsageError, match="write it as 2/8"):
        Shard.parse(f"{text}/8")
    with pytest.raises(UsageError, match="a whole number from 1"):
        train_heads._counts("--epochs", f"expression={text}", ["expression"])
    if text:
        with pytest.raises(UsageError, match="unknown device"):
            resolve_device(f"cuda:{text}", "torch")


@pytest.mark.parametrize("text", ["²", "٣", "9" * 5000])
def test_an_address_of_a_cluster_needs_a_port(text: str) -> None:
    engine = pytest.importorskip("hsemotion_cli.batch.ray_engine", reason="needs Ray, the extra ray")
    with pytest.raises(UsageError, match="give HOST:PORT"):
        engine._check_address(f"127.0.0.1:{text}")


def test_a_name_in_a_submission_may_end_in_any_digits() -> None:
    assert validation._normalised("A/000.jpg") == "a/0.jpg"
    assert validation._normalised("A/00012.jpg") == "a/12.jpg"
    long = "7" * 5000
    assert validation._normalised(f"a/00{long}.jpg") == f"a/{long}.jpg"
    validation._normalised("a/².jpg")


def test_odd_numbers_in_names_of_the_output_folder_are_no_bug(tmp_path: Path) -> None:
    for number in ("²", "٣", "9" * 100, "99999999999"):
        (tmp_path / f".x.{machine_name()}.{number}.part").touch()
        (tmp_path / f".hsemotion-batch.{number}of{number}.lock").touch()
    before = sorted(os.listdir(tmp_path))
    remove_leftovers(tmp_path, float("inf"))
    with hold_lock(tmp_path, Shard()):
        pass
    assert set(before) <= {*os.listdir(tmp_path)}


def test_a_plan_with_an_endless_number_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(f"seed = {'9' * 5000}\n")
    with pytest.raises(UsageError, match="not TOML"):
        config.read(tmp_path / "plan.toml")


def test_no_module_asks_a_text_whether_it_is_a_number_in_another_way() -> None:
    """``isdigit`` and its like accept what ``int`` refuses, and a pattern with \\d more than expected."""
    package = Path(__file__).parent.parent / "hsemotion_cli"
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            asks = isinstance(node, ast.Attribute) and node.attr in ("isdigit", "isnumeric", "isdecimal")
            digits = isinstance(node, ast.Constant) and isinstance(node.value, str) and r"\d" in node.value
            docstring = digits and "``" in node.value  # type: ignore[attr-defined]
            # One reads what Linux itself writes; the other tests isascii, and makes no number of it.
            guarded = path.name in ("resources.py", "ground_truth.py")
            assert not (asks and not guarded) and not (digits and not docstring), (
                f"{path.name}:{getattr(node, 'lineno', 0)}"
            )
