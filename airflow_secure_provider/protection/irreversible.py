"""Redact, generalize, nullify: nothing brings the values back."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..model import ColumnRule

_LEAST_HIDDEN = 4  # characters, for a restricted column


def redact(column: Any, rule: ColumnRule) -> Any:
    """Replace characters by a mark, keeping some at the ends if the rule says so.

    The length of each value shows, and so do the characters that are kept. A value that is not longer than what would
    be kept is hidden wholly. For a restricted column at least half of the characters, and at least four, are hidden;
    where that can't be, the value is hidden wholly. Null stays null, "" stays "".

    :param column: text.
    """
    first, last = rule.parameters["keep_first"], rule.parameters["keep_last"]
    mark = rule.parameters["mark"]
    length = pc.utf8_length(column)
    whole = pc.binary_repeat(mark, length)
    if not first and not last:
        return whole
    hidden = pc.subtract(length, pa.scalar(first + last, pa.int32()))
    enough = pc.greater(hidden, 0)
    if rule.parameters["hide_half"]:
        half = pc.greater_equal(pc.multiply(hidden, pa.scalar(2, pa.int32())), length)
        enough = pc.and_(pc.greater_equal(hidden, _LEAST_HIDDEN), half)
    head = pc.utf8_slice_codeunits(column, 0, first) if first else _empty(column)
    tail = pc.utf8_slice_codeunits(column, -last) if last else _empty(column)
    middle = pc.binary_repeat(mark, pc.max_element_wise(hidden, pa.scalar(0, pa.int32())))
    return pc.if_else(enough, pc.binary_join_element_wise(head, middle, tail, ""), whole)


def generalize(column: Any, rule: ColumnRule) -> Any:
    """Make values coarser: dates to their year, numbers to a bin, text to its first characters.

    :param column: dates or timestamps for ``to``, numbers for ``bins``, text for ``prefix``.
    :return: int32 years, bin labels such as ``[100,500)``, or text.
    """
    parameters = rule.parameters
    if "to" in parameters:
        return pc.year(column).cast(pa.int32())
    if "prefix" in parameters:
        return (
            pc.utf8_slice_codeunits(column, 0, parameters["prefix"])
            if parameters["prefix"]
            else _empty(column)
        )
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


def _empty(column: Any) -> Any:
    return pc.if_else(pc.is_valid(column), "", column)
