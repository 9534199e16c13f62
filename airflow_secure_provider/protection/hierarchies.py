"""How a quasi-identifier may be made coarser, step by step, beyond what its contract does already."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ConfigurationError
from ..model import Classification, ColumnRule, Protection
from .irreversible import generalize

Level = Callable[[Any], Any]

ANY = "any"
_DATES = ("month", "quarter", "year", "decade")
_COARSE = {"month": r"^\d{4}-\d\d$", "quarter": r"^\d{4}-Q[1-4]$", "year": r"^\d{4}$"}
_WORDS = {pa.date32(): "dates", pa.float64(): "numbers", pa.large_string(): "text"}


def ladder(name: str, given: Any, read: Callable[[str], bytes]) -> tuple[Level, ...]:
    """
    :param given: steps, each coarser than the one before: ``month``, ``quarter``, ``year``, ``decade`` for dates; a number of first
        characters for text; a list of edges for numbers; ``any`` for nothing at all, as the last; or the name of a hierarchy file.
    :param read: a hierarchy file's content by its name: CSV without a header, a value and what becomes of it at each level.
    :return: for each step what makes a column of distinct values so coarse. Null stays null.
    :raises ConfigurationError: for what is none of it.
    """
    where = f"require, quasi-identifier {name!r}"
    if isinstance(given, str) and given.lower().endswith(".csv"):
        return _of_file(read(given), given, where)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigurationError(f"{where}: {given!r} is neither a list of steps nor the name of a .csv file")
    for before, after in itertools.pairwise(given):
        if _is_finer(before, after):
            raise ConfigurationError(
                f"{where}: step {after!r} is not coarser than {before!r}, which stands before it: steps go from finer to coarser"
            )
    return tuple(_step(each, last=index == len(given) - 1, where=where) for index, each in enumerate(given))


def _step(given: Any, *, last: bool, where: str) -> Level:
    if given == ANY and last:
        return lambda column: pa.nulls(len(column), column.type)
    parameters: Mapping[str, Any] | None = None
    kind: Any = pa.large_string()
    if given in _DATES:
        parameters, kind = {"to": given}, pa.date32()
    elif isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        parameters = {"prefix": given}
    elif isinstance(given, Sequence) and not isinstance(given, str) and _rising(given):
        parameters, kind = {"bins": list(given)}, pa.float64()
    if parameters is None:
        raise ConfigurationError(
            f"{where}: step {given!r}; expected {', '.join(_DATES)}, a number of first characters, a list of rising edges, or "
            f"{ANY!r} as the last"
        )
    rule = ColumnRule("", Classification.INTERNAL, Protection.GENERALIZE, parameters=parameters)

    def level(column: Any) -> Any:
        return generalize(_as(column, kind, given, where), rule)

    return level


def _is_finer(before: Any, after: Any) -> bool:
    """Or as fine. Steps of different kinds can't be held against each other."""
    if before in _DATES and after in _DATES:
        return _DATES.index(after) <= _DATES.index(before)
    if isinstance(before, int) and isinstance(after, int):
        return after >= before
    if isinstance(before, list | tuple) and isinstance(after, list | tuple) and _rising(before):
        return not set(after) < set(before)
    return False


def _as(column: Any, kind: Any, step: Any, where: str) -> Any:
    """:raises ConfigurationError: if the column's values are none of that kind."""
    if pa.types.is_date32(kind):
        if pa.types.is_timestamp(column.type) or pa.types.is_date32(column.type):
            return column
        column = _days(column.cast(pa.large_string()), step, where)
    converted = None
    with contextlib.suppress(pa.ArrowException):  # it may quote a value
        converted = column.cast(kind, safe=False)
    if (
        converted is not None
        and pa.types.is_floating(converted.type)
        and pc.any(pc.is_nan(converted)).as_py()
    ):
        converted = None  # it is in no bin
    if converted is None:
        raise ConfigurationError(
            f"{where}: step {step!r} takes {_WORDS[kind]}, and some values of the column are none"
        )
    return converted


def _days(text: Any, step: str, where: str) -> Any:
    """What ``generalize`` has made of dates, as the first day of it.

    :raises ConfigurationError: if the step is not coarser than that: it would invent what is not known.
    """
    for kind, pattern in _COARSE.items():
        there = pc.match_substring_regex(text, pattern)
        if pc.any(there).as_py() and _DATES.index(step) <= _DATES.index(kind):
            raise ConfigurationError(
                f"{where}: step {step!r} is not coarser than the column's values, which are of a {kind} each"
            )
    text = pc.replace_substring_regex(text, r"^(\d{4})$", r"\1-01-01")
    for quarter, month in enumerate(("01", "04", "07", "10"), 1):
        text = pc.replace_substring_regex(text, rf"^(\d{{4}})-Q{quarter}$", rf"\1-{month}-01")
    return pc.replace_substring_regex(text, r"^(\d{4}-\d\d)$", r"\1-01")


def _rising(edges: Sequence[Any]) -> bool:
    numbers = all(
        isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
        for each in edges
    )
    return numbers and len(edges) > 0 and list(edges) == sorted(set(edges))


def _of_file(content: bytes, name: str, where: str) -> tuple[Level, ...]:
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error):
        rows = []
    width = len(rows[0]) if rows else 0
    if width < 2 or any(len(row) != width for row in rows):
        raise ConfigurationError(
            f"{where}: {name} is no hierarchy: expected CSV in UTF-8, without a header, a value and at least one level in each row"
        )
    if len({row[0] for row in rows}) != len(rows):
        raise ConfigurationError(f"{where}: {name} has a value twice")
    values = pa.array([row[0] for row in rows], pa.large_string())
    return tuple(
        _looked_up(values, pa.array([row[level] for row in rows], pa.large_string()), name, where)
        for level in range(1, width)
    )


def _looked_up(values: Any, becomes: Any, name: str, where: str) -> Level:
    def level(column: Any) -> Any:
        found = pc.index_in(column.cast(pa.large_string()), value_set=values)
        missing = pc.sum(pc.and_(pc.is_null(found), pc.is_valid(column))).as_py() or 0
        if missing:
            raise ConfigurationError(f"{where}: {missing:,} different values of the column are not in {name}")
        return becomes.take(found)

    return level
