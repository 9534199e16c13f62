"""How many rows are alike: columns as codes, and how often each combination of codes occurs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ContractError, FormatError
from ..protection.anonymity import Entries, Hierarchy
from ..protection.hierarchies import Level
from .required import Required

MOST_ENTRIES = 20_000_000
_MERGED_AT = 4_000_000

Held = tuple[Mapping[str, Any], Any]
"""Classes that a target holds: quasi-identifiers and sensitive columns, and the number of rows of each."""


def counted(
    required: Required, columns: Iterator[Mapping[str, Any]], held: Iterator[Held]
) -> tuple[dict[str, Coder], Any, bool]:
    """:return: the columns' codes, how often each combination of them occurs, and whether anything was held."""
    names = [*required.ladders, *required.sensitive]
    coders = {name: Coder(name) for name in names}
    counter = _Counter(names)
    for batch in columns:
        counter.add([coders[name].learned(batch[name]) for name in names], None, held=False)
    anything_held = False
    for batch, numbers in held:
        anything_held = anything_held or len(numbers) > 0
        counter.add([coders[name].learned(batch[name]) for name in names], numbers, held=True)
    return coders, counter.table(), anything_held


class Coder:
    """A number for each different value of a column; null has one too."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: Any = None

    def learned(self, column: Any) -> Any:
        """Codes of a column, whose new values are new codes."""
        column = flat(column)
        if self._known is None:
            self._known = column.slice(0, 0)
        if column.type != self._known.type:
            column = column.cast(self._known.type)
        new = pc.unique(column)
        new = new.filter(pc.invert(pc.is_in(new, value_set=self._known)))
        if len(new):
            self._known = pa.concat_arrays([self._known, new])
        return self._of(column)

    def codes(self, column: Any) -> Any:
        """:raises FormatError: for a value that was not there in the first pass."""
        column = flat(column)
        found = self._of(column.cast(self._known.type) if column.type != self._known.type else column)
        if (found < 0).any():
            raise FormatError(
                f"column {self._name!r}: the source has changed between the pass that counted and this one; run the task again"
            )
        return found

    def values(self) -> Any:
        return self._known if self._known is not None else pa.array([], pa.string())

    def _of(self, column: Any) -> Any:
        return (
            pc.index_in(column, value_set=self._known)
            .fill_null(-1)
            .to_numpy(zero_copy_only=False)
            .astype(np.int64)
        )


def flat(column: Any) -> Any:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


class _Counter:
    """How often each combination of codes occurs. Its memory grows with the different ones, not with the rows."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [f"c{index}" for index in range(len(names))]
        self._parts: list[Any] = []
        self._pending = 0

    def add(self, codes: Sequence[Any], numbers: Any, *, held: bool) -> None:
        """:raises ContractError: for more combinations than there is room for."""
        ones = (
            np.ones(len(codes[0]), dtype=np.int64) if numbers is None else np.asarray(numbers, dtype=np.int64)
        )
        columns = {
            name: pa.array(code.astype(np.int32)) for name, code in zip(self._names, codes, strict=True)
        }
        columns["rows"] = pa.array(ones * (0 if held else 1))
        columns["held"] = pa.array(ones * (1 if held else 0))
        part = self._summed(pa.table(columns))
        self._parts.append(part)
        self._pending += len(part)
        if self._pending >= _MERGED_AT:
            merged = self.table()
            if len(merged) > MOST_ENTRIES:
                raise ContractError(
                    f"require: the quasi-identifiers and sensitive columns have more than {MOST_ENTRIES:,} different rows, so next to "
                    "none has a class: generalize them in the contract first"
                )
            self._pending = len(merged) // 2  # so that what is large is merged seldom

    def table(self) -> Any:
        if not self._parts:
            return pa.table(
                {
                    **{name: pa.array([], pa.int32()) for name in self._names},
                    "rows": pa.array([], pa.int64()),
                    "held": pa.array([], pa.int64()),
                }
            )
        self._parts = [self._summed(pa.concat_tables(self._parts))]
        return self._parts[0]

    def _summed(self, table: Any) -> Any:
        found = table.group_by(self._names).aggregate([("rows", "sum"), ("held", "sum")])
        return found.rename_columns([name.removesuffix("_sum") for name in found.column_names]).select(
            [*self._names, "rows", "held"]
        )


class Steps:
    """A quasi-identifier's values at each of its levels."""

    def __init__(self, values: Any, levels: tuple[Level, ...]) -> None:
        self._values = [values, *(level(values) for level in levels)]
        codes = [np.arange(len(values), dtype=np.int64)]
        for each in self._values[1:]:
            encoded = pc.dictionary_encode(flat(each), null_encoding="encode")
            codes.append(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64))
        self.hierarchy = Hierarchy(tuple(codes))

    def at(self, level: int, codes: Any) -> Any:
        return flat(self._values[level]).take(pa.array(codes))


def entries_of(required: Required, coders: Mapping[str, Coder], table: Any) -> Entries:
    columns = [table[f"c{index}"].to_numpy().astype(np.int64) for index in range(len(coders))]
    number = len(required.ladders)
    quasi, sensitive = columns[:number], columns[number:]
    ordered = []
    for index, name in enumerate(required.sensitive):
        values = flat(coders[name].values())
        is_number = (
            pa.types.is_integer(values.type)
            or pa.types.is_floating(values.type)
            or pa.types.is_decimal(values.type)
        )
        ordered.append(bool(is_number))
        if is_number and len(values):  # codes in the order of the values
            ranks = np.empty(len(values), dtype=np.int64)
            ranks[pc.array_sort_indices(values).to_numpy()] = np.arange(len(values))
            sensitive[index] = ranks[sensitive[index]]
    return Entries(
        _stacked(quasi, len(table)),
        _stacked(sensitive, len(table)),
        ordered,
        table["rows"].to_numpy(),
        table["held"].to_numpy(),
    )


def _stacked(columns: Sequence[Any], rows: int) -> Any:
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0), dtype=np.int64)
