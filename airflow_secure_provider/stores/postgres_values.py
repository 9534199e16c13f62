"""Values in the forms that PostgreSQL reads: the binary form of some types, and rows of text COPY."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import FormatError
from .postgres import TableColumn

_UUID_DIGITS = 32
_JSONB_VERSION = b"\x01"
_NULL = "\\N"


def prepared(column: Any, there: TableColumn, wanted: Any, *, first_record: int, where: str) -> Any:
    """A column on its way to a type that Arrow's casts do not know.

    Lists, structs and maps become PostgreSQL's arrays or JSON; durations text; UUIDs and jsonb their binary form, if they
    travel so.

    :param wanted: the Arrow type as which it travels.
    :raises FormatError: naming the first record that is no UUID.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        made = _array_literal if there.base.startswith("_") else _json_text
        column = pa.array(
            [None if value is None else made(value) for value in column.to_pylist()], pa.string()
        )
    if pa.types.is_duration(column.type):
        count = column.cast(pa.duration("us")).cast(pa.int64()).cast(pa.string())
        column = pc.binary_join_element_wise(count, "microseconds", " ")
    if there.base == "uuid":
        raw = _uuid_bytes(column, there.name, first_record, where)
        return raw if pa.types.is_binary(wanted) else _uuid_text(raw)
    if there.base == "jsonb" and pa.types.is_binary(wanted):
        text = column.cast(pa.string()).cast(pa.binary())
        return pc.binary_join_element_wise(pa.scalar(_JSONB_VERSION), text, pa.scalar(b""))
    return column


def as_text(column: Any) -> Any:
    """Any column as text: lists, structs and maps as JSON."""
    if pa.types.is_nested(column.type):
        values = [None if value is None else _json_text(value) for value in column.to_pylist()]
        return pa.array(values, pa.string())
    return column.cast(pa.string())


def _uuid_bytes(column: Any, name: str, first_record: int, where: str) -> Any:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column, kind = column.storage, column.type.storage_type
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == _UUID_DIGITS // 2:
        return column.cast(pa.binary())
    text = pc.replace_substring_regex(column.cast(pa.string()), r"^\{(.*)\}$", r"\1")
    text = pc.replace_substring_regex(
        text,
        "^([0-9a-fA-F]{8})-([0-9a-fA-F]{4})-([0-9a-fA-F]{4})-([0-9a-fA-F]{4})-([0-9a-fA-F]{12})$",
        r"\1\2\3\4\5",
    )
    good = pc.fill_null(pc.match_substring_regex(text, "^[0-9a-fA-F]{32}$"), True)
    bad = pc.index(good, False).as_py()
    if bad >= 0:
        raise FormatError(
            f"{where}: column {name!r}, record {first_record + bad:,}: the value is not a value of uuid; correct it in the source"
        )
    valid = text.drop_null()
    digits = "".join(valid.to_pylist())
    raw = binascii.unhexlify(digits)
    lengths = pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False) // 2
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    nulls = pc.is_null(text)
    made = pa.Array.from_buffers(pa.binary(), len(text), [None, pa.py_buffer(offsets), pa.py_buffer(raw)])
    return pc.if_else(nulls, pa.scalar(None, pa.binary()), made)


def _uuid_text(raw: Any) -> Any:
    return hexadecimal(raw)


def hexadecimal(column: Any) -> Any:
    """Of a binary column, as text."""
    column = column.cast(pa.large_binary())
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int64)[
        column.offset : column.offset + len(column) + 1
    ]
    data = column.buffers()[2]
    digits = binascii.hexlify(memoryview(data)[offsets[0] : offsets[-1]]) if data is not None else b""
    made = pa.Array.from_buffers(
        pa.large_string(), len(column), [None, pa.py_buffer(2 * (offsets - offsets[0])), pa.py_buffer(digits)]
    )
    return pc.if_else(pc.is_null(column), pa.scalar(None, pa.large_string()), made)


def _array_literal(value: Any) -> str:
    """As PostgreSQL's array_in reads it: ``{"a",NULL,"b \\" c"}``."""
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return "{" + ",".join(map(_array_literal, value)) + "}"
    text = _json_text(value) if isinstance(value, dict) else _plain(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


# --- rows of text COPY ------------------------------------------------------------------------------------------


def copy_text(batch: Any) -> Any:
    """A record batch as lines of COPY's text format: tabs between columns, backslashes before what means something."""
    columns = [_copied(column) for column in batch.columns]
    lines = pc.binary_join_element_wise(*columns, pa.scalar("\t", pa.large_string()))
    lines = pc.binary_join_element_wise(
        lines, pa.scalar("", pa.large_string()), pa.scalar("\n", pa.large_string())
    )
    offsets = np.frombuffer(lines.buffers()[1], dtype=np.int64)
    begin, end = int(offsets[lines.offset]), int(offsets[lines.offset + len(lines)])
    return memoryview(lines.buffers()[2])[begin:end]


def _copied(column: Any) -> Any:
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        text = pc.binary_join_element_wise(
            pa.scalar("\\\\x", pa.large_string()), hexadecimal(column), pa.scalar("", pa.large_string())
        )
    else:
        text = column.cast(pa.large_string())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            text = _escaped(text)
    return pc.fill_null(text, pa.scalar(_NULL, pa.large_string()))


_ESCAPES: tuple[tuple[str, str], ...] = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))


def _escaped(text: Any) -> Any:
    replace: Callable[..., Any] = pc.replace_substring
    for character, instead in _ESCAPES:
        if pc.any(pc.match_substring(text, character)).as_py():
            text = replace(text, character, instead)
    return text
