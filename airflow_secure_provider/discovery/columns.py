"""A look at the values of one column, a batch at a time. It counts; it keeps no value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .detectors import DETECTORS, HELD, Detector, Held
from .kinds import Kind
from .persons import Persons

_CLOSELY = 1024
"""Values of a batch that are looked at closely, drawn evenly. All others are looked at for an @ and for digits, and so many
of those that have them are searched for what text may hold."""
_FIRST_BATCHES = 4
_THEN_EVERY = 4
"""Batch is looked at closely: after the first ones only some, since to compile the patterns costs as much as to run them."""
_SEARCHED_LATER = 256
_LONGEST_VALUE = 256  # bytes of what a value can be; longer ones are text
_LONGEST_TEXT = 8192  # characters of a text that are looked at
_FEWEST_DIGITS = 7


@dataclass
class Tally:
    """How many had the shape, and how many of these were right; in text, of how many that were searched, and of how many that
    had an @ or digits and so might have been."""

    shaped: int = 0
    right: int = 0
    searched: int = 0
    marked: int = 0

    def add(self, found: tuple[int, int]) -> None:
        self.shaped += found[0]
        self.right += found[1]


@dataclass
class ColumnLook:
    """
    :ivar values: that are not null and not empty, in all batches.
    :ivar looked: of these, how many were looked at closely.
    :ivar long: of all values, how many are longer than what is looked at of a text.
    :ivar unread: why nobody can tell, where the type can't be looked into.
    """

    name: str
    values: int = 0
    looked: int = 0
    batches: int = 0
    characters: int = 0
    spaces: int = 0
    distinct: int = 0
    long: int = 0
    unread: str | None = None
    whole: dict[Detector, Tally] = field(default_factory=dict)
    held: dict[Held, Tally] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    years: Counter[int] = field(default_factory=Counter)
    wide_addresses: int = 0
    persons: Persons = field(default_factory=Persons)

    def look(self, column: Any, closely: int | None = None) -> None:
        """
        :param column: an Arrow array.
        :param closely: how many values at most, if not the usual number.
        """
        try:
            self._look(column, closely)
        except (
            pa.ArrowException,
            ValueError,
        ):  # a type without text, or text that is none; its message may quote a value
            self.unread = f"of type {column.type}, and can't be read as text"

    def _look(self, column: Any, closely: int | None) -> None:
        self.batches += 1
        first = self.batches <= _FIRST_BATCHES
        begun = self.looked < _SEARCHED_LATER  # the first batches may hold nothing in this column
        most = closely or (_CLOSELY if first or begun or self.batches % _THEN_EVERY == 0 else 0)
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        if pa.types.is_nested(kind) or _is_bytes(kind):
            self.unread = "bytes" if _is_bytes(kind) else "nested"
            return
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        text = _Text(column) if is_text else None
        self.values += text.values if text else len(column) - column.null_count
        self.long += text.longer_than(_LONGEST_TEXT) if text else 0
        if pa.types.is_boolean(kind) or pa.types.is_null(kind):
            return
        if most:
            drawn = _evenly(column.drop_null(), most)
            self._look_closely(drawn if is_text else _plain_numbers(drawn).cast(pa.string()))
        if text and not self._is_told:
            self._search(column, text, closely or (_CLOSELY if first else _SEARCHED_LATER))

    @property
    def _is_told(self) -> bool:
        """Whether nearly all values are of one kind, so that nothing else need be searched for in them."""
        return any(
            tally.right > 0.95 * self.looked
            for detector, tally in self.whole.items()
            if detector.certain and self.looked > _SEARCHED_LATER
        )

    def _look_closely(self, drawn: Any) -> None:
        drawn = drawn.filter(pc.not_equal(drawn, ""))
        self.looked += len(drawn)
        if not len(drawn):
            return
        self.characters += pc.sum(pc.utf8_length(drawn)).as_py()
        self.spaces += pc.sum(pc.count_substring(drawn, " ")).as_py()
        if not self.distinct:
            self.distinct = pc.count_distinct(drawn).as_py()
        short = drawn.filter(pc.less_equal(pc.binary_length(drawn), _LONGEST_VALUE))
        trimmed = pc.utf8_trim_whitespace(short)
        self._count_types(trimmed)
        trimmed = pc.replace_substring_regex(trimmed, _WHOLE, r"\1")
        number = _Text(trimmed).digits
        spaced = pc.greater(pc.count_substring_regex(trimmed, r"\s"), 0).to_numpy(zero_copy_only=False)
        for detector in DETECTORS:
            least, most = detector.digits
            fit = (number >= least) & (number <= most)
            if detector.kind is Kind.ADDRESS:  # whose patterns are the dearest
                fit &= spaced
            if fit.any():
                found = detector.find(trimmed if fit.all() else trimmed.filter(pa.array(fit)))
                if found[0]:
                    self.whole.setdefault(detector, Tally()).add(found)
        self.persons.look(trimmed)

    def _count_types(self, values: Any) -> None:
        """Of what a contract may call the column; and the years of dates."""
        for name, pattern in _TYPES.items():
            self.types[name] += pc.sum(pc.match_substring_regex(values, pattern)).as_py() or 0
        dates = values.filter(pc.match_substring_regex(values, _WITH_YEAR))
        if len(dates):
            years = pc.struct_field(pc.extract_regex(dates, _WITH_YEAR), "year").cast(pa.int64())
            found, numbers = np.unique(years.to_numpy(), return_counts=True)
            self.years.update(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
        self.wide_addresses += pc.sum(pc.match_substring_regex(values, _WIDE_ADDRESS)).as_py() or 0

    def _search(self, column: Any, text: _Text, most: int) -> None:
        with_at, with_digits = text.marked
        for rows, kinds in ((with_at, _WITH_AT), (with_digits, _WITH_DIGITS)):
            found = np.flatnonzero(rows)
            if not len(found):
                continue
            chosen = found[np.linspace(0, len(found) - 1, min(most, len(found))).astype(np.int64)]
            values = pc.utf8_slice_codeunits(column.take(pa.array(chosen)), 0, _LONGEST_TEXT)
            for held in kinds:
                tally = self.held.setdefault(held, Tally())
                tally.add(held.find(values))
                tally.searched += len(values)
                tally.marked += len(found)


_TYPES = {
    "integer": r"^(?:0|-?[1-9]\d{0,17})$",
    "number": r"^-?(?:0|[1-9]\d{0,17})(?:\.\d{1,18})?$",
    "date": r"^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$",
    "timestamp": r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+\-]\d\d:?\d\d)?$",
    "boolean": r"^(?i:true|false)$",
}
_WHOLE = r"^(\d{6,})\.0+$"  # a number that went through floats, as columns with gaps do
_WITH_YEAR = r"(?:^|[\-/. ])(?P<year>(?:18|19|20)\d\d)(?:[\-/.]|$|[T ]00)"
_WIDE_ADDRESS = r"^(?:[12]\d\d\.|(?:\d{1,3}\.){1,2}[12]\d\d\.|(?:\d{1,3}\.){3}[12]\d\d$)"


class _Text:
    """Facts of all values of a text column, out of its bytes."""

    def __init__(self, column: Any) -> None:
        wide = pa.types.is_large_string(column.type)
        _, offsets, data = column.buffers()
        kind = np.int64 if wide else np.int32
        ends = (
            np.frombuffer(offsets, dtype=kind)[column.offset : column.offset + len(column) + 1]
            if offsets is not None
            else np.zeros(len(column) + 1, dtype=kind)
        )
        start, end = (int(ends[0]), int(ends[-1])) if len(ends) else (0, 0)
        self._ends = ends - start
        self._bytes = np.frombuffer(data, dtype=np.uint8)[start:end] if data is not None else _NO_BYTES

    @property
    def values(self) -> int:
        return int(np.count_nonzero(np.diff(self._ends)))

    def longer_than(self, most: int) -> int:
        """In bytes."""
        return int(np.count_nonzero(np.diff(self._ends) > most))

    @cached_property
    def digits(self) -> Any:
        """ASCII digits of each value."""
        sums = np.zeros(len(self._bytes) + 1, dtype=np.int32)
        np.cumsum((self._bytes - np.uint8(48)) < 10, dtype=np.int32, out=sums[1:])
        return np.diff(sums[self._ends])

    @property
    def marked(self) -> Any:
        """Two flags for each row: whether it has an @, and several digits."""
        at = np.zeros(len(self._ends) - 1, dtype=bool)
        at[np.searchsorted(self._ends, np.flatnonzero(self._bytes == 64), side="right") - 1] = True
        return at, self.digits >= _FEWEST_DIGITS


_WITH_AT = [held for held in HELD if held.kind is Kind.EMAIL]
_WITH_DIGITS = [held for held in HELD if held.kind is not Kind.EMAIL]
_EXACT = 2**53
_NO_BYTES = np.zeros(0, dtype=np.uint8)


def _plain_numbers(values: Any) -> Any:
    """Whole floats without an exponent."""
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        if len(numbers) and (np.abs(numbers) < _EXACT).all() and (numbers == np.floor(numbers)).all():
            return values.cast(pa.int64())
    return values


def _is_bytes(kind: Any) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )


def _evenly(values: Any, most: int) -> Any:
    if len(values) <= most:
        return values
    return values.take(pa.array(np.linspace(0, len(values) - 1, most).astype(np.int64)))
