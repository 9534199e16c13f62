"""How a column's values travel to PostgreSQL: as which Arrow type, in binary COPY or, where that can't carry them, in text."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from .postgres import TableColumn

_BINARY: dict[str, Any] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
}
_TEXT_INSIDE = ("text", "varchar", "bpchar", "citext", "json", "xml")
"""Types whose binary form is their text."""
_OF_BYTES = ("uuid", "jsonb")
"""Types whose binary form :mod:`.postgres_values` makes."""
_ENUM = "e"


def needs_text(column: TableColumn) -> bool:
    """Whether binary COPY can't carry it: intervals, arrays, ranges, addresses, numeric without bounds and so on."""
    if (
        column.base in _BINARY
        or column.base in _TEXT_INSIDE
        or column.base in _OF_BYTES
        or column.kind == _ENUM
    ):
        return False
    return _decimal(column) is None


def arrow_type(column: TableColumn, *, as_text: bool) -> Any:
    """What binary COPY wants for the column; anything else would be refused or, worse, misread.

    :param as_text: the rows travel as text, so that what has no type here is as PostgreSQL reads it.
    """
    if column.base in _BINARY:
        return _BINARY[column.base]
    if column.base in _OF_BYTES and not as_text:
        return pa.binary()
    return _decimal(column) or pa.string()


def is_text(column: TableColumn) -> bool:
    return column.base in ("text", "varchar", "bpchar")


def _decimal(column: TableColumn) -> Any:
    bounds = re.fullmatch(r"numeric\((\d+),(-?\d+)\)", column.base_type or column.type)
    if bounds and int(bounds[1]) <= 38 and 0 <= int(bounds[2]) <= int(bounds[1]):
        return pa.decimal128(int(bounds[1]), int(bounds[2]))
    return None
