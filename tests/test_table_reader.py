"""Our tables as other programs write them again: R, spreadsheets, data frames."""

from __future__ import annotations

import codecs
import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_table import example

from hsemotion_cli.errors import InputError
from hsemotion_cli.formats import schema, table

INTEGERS = [column.name for column in schema.COLUMNS if column.type == "integer"]
NUMBERS = [column.name for column in schema.COLUMNS if column.type == "number"]


def rows() -> list[list[str]]:
    """A table as annotate writes it, header first."""
    buffer = io.BytesIO()
    table.write_csv(example()[1], buffer)
    return list(csv.reader(io.StringIO(buffer.getvalue().decode())))


def blocks(path: Path) -> list[table.Block]:
    return list(table.read_blocks(path))


@pytest.fixture
def expected(tmp_path: Path) -> list[table.Block]:
    with (tmp_path / "own.csv").open("wb") as file:
        table.write_csv(example()[1], file)
    return blocks(tmp_path / "own.csv")


def written(
    path: Path, *, separator: str = ",", missing: str = "", comma: bool = False, quoted: bool = False, end: str = "\n",
    encoding: str = "utf-8", numbered: bool = False, number: str = "{}",
) -> Path:  # fmt: skip
    """The table as another program writes it."""
    header, *content = rows()

    def cell(name: str, text: str) -> str:
        if text == "":
            return missing
        if name in INTEGERS:
            return number.format(int(text))
        if name in NUMBERS:
            text = repr(float(text))
            return text.replace(".", ",") if comma else text
        return f'"{text}"' if quoted else text

    def mark(text: str) -> str:
        return f'"{text}"' if quoted else text

    lines = [[mark(""), *map(mark, header)] if numbered else list(map(mark, header))]
    for k, line in enumerate(content, 1):
        cells = [cell(name, text) for name, text in zip(header, line, strict=True)]
        lines.append([mark(str(k)), *cells] if numbered else cells)
    path.write_bytes("".join(separator.join(line) + end for line in lines).encode(encoding))
    return path


@pytest.mark.parametrize(
    "how",
    [
        {"missing": "NA", "quoted": True, "numbered": True},  # R: write.csv(d, "t.csv")
        {"missing": "NA", "quoted": True, "end": "\r\n"},  # R on Windows: write.csv(d, "t.csv", row.names = FALSE)
        {
            "missing": "NA",
            "separator": ";",
            "comma": True,
            "quoted": True,
            "numbered": True,
        },  # R: write.csv2(d, "t.csv")
        {"missing": "NA", "separator": "\t", "quoted": True, "numbered": True},  # R: write.table(d, sep = "\t")
        {"missing": "NA"},  # readr: write_csv(d, "t.csv")
        {"missing": "NA", "separator": ";", "comma": True},  # readr: write_csv2(d, "t.csv")
        {"separator": ";", "comma": True, "encoding": "utf-8-sig", "end": "\r\n"},  # a spreadsheet, German, "CSV UTF-8"
        {"encoding": "utf-8-sig", "end": "\r\n"},  # the same, English
        {"separator": "\t", "encoding": "utf-16", "end": "\r\n"},  # a spreadsheet: "Unicode text"
        {"missing": "nan", "number": "{}.0"},  # numpy, pandas with na_rep="nan"
        {"missing": "NaN", "number": "{}.0"},
        {"missing": "<NA>"},
        {"missing": "#N/A", "end": "\r\n"},
        {"missing": "NULL", "number": "{:e}"},
        {"number": "{},0", "separator": ";", "comma": True},
        {"end": "\r\n\r\n"},
    ],
)
def test_a_table_that_another_program_wrote_is_the_same(
    tmp_path: Path, expected: list[table.Block], how: dict[str, str]
) -> None:
    path = written(tmp_path / "t.csv", **how)  # type: ignore[arg-type]
    assert blocks(path) == expected
    assert list(table.read_frames(path)) == list(table.read_frames(tmp_path / "own.csv"))
    pd.testing.assert_frame_equal(table.load(path), table.load(tmp_path / "own.csv"))


def test_pandas_itself_writes_what_is_read(tmp_path: Path, expected: list[table.Block]) -> None:
    frame = table.load(tmp_path / "own.csv")
    frame.to_csv(tmp_path / "semicolon.csv", sep=";", decimal=",", na_rep="NA", index=False)
    frame.to_csv(tmp_path / "index.csv", encoding="utf-8-sig", lineterminator="\r\n")
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True, double_precision=15)
    for name in ("semicolon.csv", "index.csv", "t.parquet", "t.jsonl"):
        assert blocks(tmp_path / name) == expected, name


def test_r_writes_na_into_json_lines_as_text(tmp_path: Path, expected: list[table.Block]) -> None:
    with (tmp_path / "own.jsonl").open("wb") as file:
        table.write_jsonl(example()[1], file)
    lines = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    lines = [{name: "NA" if value is None else value for name, value in line.items()} for line in lines]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "t.jsonl").write_bytes(codecs.BOM_UTF8 + text.encode())
    assert blocks(tmp_path / "t.jsonl") == expected


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("frame", "", "the column frame holds ''"),
        ("frame", "NA", "the column frame holds 'NA'"),
        ("frame", "²", "the column frame holds '²'"),
        ("frame", "9" * 5000, "the column frame holds '9999"),
        ("frame", "1e300", "the column frame holds a number that is too large"),
        ("frame", "99999999999999999", "the column frame holds a number that is too large"),
        ("frame", "1.5", "the column frame holds '1.5'"),
        ("face_id", "1,5", "the column face_id holds '1,5'"),
        ("time", "1.234,5", "the column time holds '1.234,5'"),
        ("time", "1,234,567", "the column time holds '1,234,567'"),
        ("time", "inf", "the column time holds a number that is not finite"),
        ("time", "zwei", "the column time holds 'zwei'"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, name: str, value: str, says: str) -> None:
    header, *content = rows()
    content[1][header.index(name)] = value
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, *content])
    with pytest.raises(InputError, match=says[:60]):
        blocks(tmp_path / "t.csv")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    header, *content = rows()
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*header, "valence"], *([*line, "0.5"] for line in content)])
    with pytest.raises(InputError, match="the column valence is there twice"):
        blocks(tmp_path / "t.csv")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "t.csv"
    path.write_bytes((",".join(schema.NAMES) + "\n").encode() + data)
    try:
        blocks(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
