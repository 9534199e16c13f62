"""Which Arrow type binary COPY wants for a PostgreSQL column. Anything else would be refused or, worse, misread."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from ..errors import ConfigurationError
from .postgres import TableColumn

_ARROW: dict[str, Any] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bpchar": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
}
_UNBOUNDED_NUMERIC = pa.decimal128(38, 10)


def arrow_type(column: TableColumn, table: str) -> Any:
    """:raises ConfigurationError: for a type that can't be loaded, naming those that can."""
    if column.base in _ARROW:
        return _ARROW[column.base]
    if column.base == "numeric":
        bounds = re.fullmatch(r"numeric\((\d+),(-?\d+)\)", column.type)
        if not bounds:
            return _UNBOUNDED_NUMERIC
        if int(bounds[1]) <= 38 and 0 <= int(bounds[2]) <= int(bounds[1]):
            return pa.decimal128(int(bounds[1]), int(bounds[2]))
    raise ConfigurationError(
        f"column {column.name!r} of {table} is {column.type}, which can't be loaded in this version; "
        f"it loads {', '.join(_ARROW)} and numeric of up to 38 digits"
    )


def is_text(column: TableColumn) -> bool:
    return column.base in ("text", "varchar", "bpchar")
