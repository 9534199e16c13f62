"""Redact, generalize, nullify: nothing brings the values back."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..model import ColumnRule

_LEAST_HIDDEN = 4  # characters, for a restricted column
_TELLING = r"[\pL\pM\pN]"  # letters with their marks, and digits: what a format does not consist of


def redact(column: Any, rule: ColumnRule) -> Any:
    """Replace characters by a mark, keeping some at the ends if the rule says so.

    The length of each value shows, and so do the characters that are kept: so many at the ends, and with
    ``keep_format`` also what is neither letter nor digit, as the dashes of ``***-**-6789``. A value that is not longer
    than what would be kept is hidden wholly. For a restricted column at least half of the characters, and at least
    four, are hidden (with ``keep_format``: of the letters and digits); where that can't be, the value is hidden wholly,
    its format too. Null stays null, "" stays "".

    :param column: text.
    """
    first, last = rule.parameters["keep_first"], rule.parameters["keep_last"]
    mark, keep_format = rule.parameters["mark"], rule.parameters.get("keep_format", False)
    length = pc.utf8_length(column)
    whole = pc.binary_repeat(mark, length)
    if not (first or last or keep_format):
        return whole
    between = pc.subtract(length, pa.scalar(first + last, pa.int32()))
    head = pc.utf8_slice_codeunits(column, 0, first) if first else _empty(column)
    tail = pc.utf8_slice_codeunits(column, -last) if last else _empty(column)
    if keep_format:
        inside = (
            pc.utf8_slice_codeunits(column, first, -last) if last else pc.utf8_slice_codeunits(column, first)
        )
        middle = pc.replace_substring_regex(inside, _TELLING, mark.replace("\\", r"\\"))
        hidden = pc.count_substring_regex(inside, _TELLING)
        total = pc.count_substring_regex(column, _TELLING)
    else:
        middle = pc.binary_repeat(mark, pc.max_element_wise(between, pa.scalar(0, pa.int32())))
        hidden, total = between, length
    enough = pc.greater(between, 0)
    if rule.parameters["hide_half"]:
        half = pc.greater_equal(pc.multiply(hidden, pa.scalar(2, pa.int32())), total)
        enough = pc.and_(enough, pc.and_(pc.greater_equal(hidden, _LEAST_HIDDEN), half))
    return pc.if_else(enough, pc.binary_join_element_wise(head, middle, tail, ""), whole)


def generalize(column: Any, rule: ColumnRule) -> Any:
    """Make values coarser: dates to their month, quarter, year or decade, numbers to a bin, text to its first characters.

    :param column: dates or timestamps for ``to``, numbers for ``bins``, text for ``prefix``.
    :return: ``2024-05``, ``2024-Q2``, int32 years and decades (1980), bin labels such as ``[100,500)``, or text.
    """
    parameters = rule.parameters
    if "to" in parameters:
        return _coarser_date(column, parameters["to"])
    if "prefix" in parameters:
        return _prefix(column, parameters["prefix"])
    edges = parameters["bins"]
    exact = [str(edge).removesuffix(".0") for edge in edges]  # two edges never look alike
    inner = [f"[{low},{high})" for low, high in itertools.pairwise(exact)]
    labels = [f"<{exact[0]}", *inner, f">={exact[-1]}"]
    # Beyond 2^53 the nearest float will do; a checked cast would fail there and quote the value.
    numbers = column.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False)
    missing = pc.is_null(column).to_numpy(zero_copy_only=False)
    bins = pa.array(np.searchsorted(np.asarray(edges, dtype=float), numbers, side="right"), mask=missing)
    return pa.array(labels).take(bins)


def nullify(column: Any) -> Any:
    """All null."""
    return pa.nulls(len(column), pa.string())


def _prefix(column: Any, kept: int) -> Any:
    """The first characters; a value that is not longer than these would stay whole, so nothing of it is kept."""
    nothing = _empty(column)
    if not kept:
        return nothing
    longer = pc.greater(pc.utf8_length(column), pa.scalar(kept, pa.int32()))
    return pc.if_else(longer, pc.utf8_slice_codeunits(column, 0, kept), nothing)


def _coarser_date(column: Any, to: str) -> Any:
    year = pc.year(column).cast(pa.int32())
    if to == "year":
        return year
    if to == "decade":
        return pc.multiply(pc.divide(year, pa.scalar(10, pa.int32())), pa.scalar(10, pa.int32()))
    if to == "month":
        return pc.strftime(column.cast(pa.timestamp("s"), safe=False), format="%Y-%m")
    quarter = pc.quarter(column).cast(pa.string())
    return pc.binary_join_element_wise(year.cast(pa.string()), quarter, "-Q")


def _empty(column: Any) -> Any:
    return pc.if_else(pc.is_valid(column), "", column)
