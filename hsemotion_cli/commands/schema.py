"""``hsemotion schema``: the data dictionary."""

from __future__ import annotations

from typing import Annotated

from .options import Only, OutputOptions


def run(output: Annotated[OutputOptions, Only("json")]) -> None:
    """Print the data dictionary: each column of the table with its unit, range and meaning."""
    import dataclasses

    from ..formats.schema import COLUMNS, OPTIONAL, PHOTOS, SCHEMA_VERSION
    from .console import Table, print_json, print_table

    if output.json:
        columns = [dataclasses.asdict(column) for column in COLUMNS]
        optional = [dataclasses.asdict(column) for column in OPTIONAL]
        print_json({"schema_version": SCHEMA_VERSION, "columns": columns, "optional_columns": optional})
        return
    table = Table(title=f"Table schema {SCHEMA_VERSION}")
    for name in ("column", "type", "unit", "range", "meaning"):
        table.add_column(name, overflow="fold")
    for column in COLUMNS:
        table.add_row(column.name, column.type, column.unit or "-", column.range, column.meaning)
    table.add_section()
    for column in OPTIONAL:
        name = f"{column.name} ({'photos' if column in PHOTOS else '--clock'})"
        table.add_row(name, column.type, column.unit or "-", column.range, column.meaning)
    print_table(table)
