"""Text to typed columns and back, with errors that name column and record and never the value."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import FormatError

LOGICAL: dict[str, Any] = {
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "time": pa.time64("us"),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}


def convert(column: Any, target: Any, *, name: str, what: str, first_record: int, where: str) -> Any:
    """Cast a column, exactly.

    :param what: what is expected, in words: ``a date (YYYY-MM-DD)``, ``int4``.
    :param first_record: the number of the column's first record in the source, from 1.
    :raises FormatError: naming column, record and *what*; the value stays unsaid.
    """
    if column.type == target:
        return column
    if pa.types.is_integer(column.type) and pa.types.is_temporal(target):
        # Arrow would take the year 1980 for a number of days.
        raise _can_not_become(what, column, name, where)
    index = None
    if pa.types.is_integer(target) and pa.types.is_string(column.type) and _may_hold_x(column):
        # Arrow also reads 0xFF, and as two's complement: as another number.
        index = pc.index(pc.match_substring(column, "x", ignore_case=True), True).as_py()
        if index >= 0:
            raise _not_what(what, name, first_record + index, where)
    try:
        made = _cast(column, target)
    except pa.ArrowNotImplementedError:
        pass
    except pa.ArrowInvalid:
        index = _first_bad(column, target)
    else:
        index = _first_overflow(column, made)
        if index < 0:
            return made
    if index is None:
        raise _can_not_become(what, column, name, where)
    raise _not_what(what, name, first_record + index, where)


def _may_hold_x(column: Any) -> bool:
    """Without a look at each value: whether the letter stands anywhere in the buffer."""
    data = column.buffers()[2] if isinstance(column, pa.Array) else None
    if data is None:
        return isinstance(column, pa.ChunkedArray)
    text = bytes(data)
    return b"x" in text or b"X" in text


def _can_not_become(what: str, column: Any, name: str, where: str) -> FormatError:
    return FormatError(
        f"{where}: column {name!r} is {column.type} and can't become {what}; change the table's type"
    )


def _not_what(what: str, name: str, record: int, where: str) -> FormatError:
    return FormatError(
        f"{where}: column {name!r}, record {record:,}: the value is not {what}; correct it in the source"
    )


def check_required(column: Any, *, name: str, first_record: int, where: str) -> None:
    """:raises FormatError: naming the first record with a null."""
    if column.null_count:
        record = first_record + pc.index(pc.is_null(column), True).as_py()
        raise FormatError(f"{where}: column {name!r} is required and record {record:,} has no value")


def check_comparable(column: Any, *, name: str, first_record: int, where: str) -> None:
    """Not-a-number is neither below nor above any bin.

    :param column: numbers.
    :raises FormatError: naming the first record with NaN.
    """
    if pa.types.is_floating(column.type):
        index = pc.index(pc.is_nan(column), True).as_py()
        if index >= 0:
            raise FormatError(
                f"{where}: column {name!r}, record {first_record + index:,}: the value is NaN and fits in no bin; "
                "correct it in the source"
            )


def canonical_text(column: Any) -> Any:
    """The text form under which a typed value is protected: ISO 8601 dates, plain whole numbers."""
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _cast(column: Any, target: Any) -> Any:
    if pa.types.is_time(target) and pa.types.is_string(column.type):
        # Arrow reads no time of day in text, but timestamps: let it be one of some day.
        column = pc.binary_join_element_wise("1970-01-01", column, " ").cast(pa.timestamp("us"))
    if pa.types.is_decimal(target) and pa.types.is_integer(column.type):
        # Arrow judges by what the type could hold: to it no int64 fits in ten digits.
        column = column.cast(pa.string())
    return column.cast(target)


def _first_overflow(column: Any, made: Any) -> int:
    """The index of the first number that became infinite though it was none; -1 if there is none.

    Arrow's cast makes an infinity of what the target's floats can't hold, and says nothing.
    """
    if not pa.types.is_floating(made.type):
        return -1
    infinite = pc.fill_null(pc.is_inf(made), False)
    if not pc.any(infinite).as_py():
        return -1
    if pa.types.is_string(column.type):
        meant = pc.match_substring(column, "inf", ignore_case=True)
    else:
        meant = pc.is_inf(column) if pa.types.is_floating(column.type) else pa.scalar(False)
    return int(pc.index(pc.and_not(infinite, meant), True).as_py())


def _first_bad(column: Any, target: Any) -> int:
    """The index of the first value that does not cast, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(column.slice(low, middle - low), target)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low
