"""Round and noise: numbers that are less exact."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..crypto.cmac import Cmac
from ..crypto.keyset import Keyset
from ..errors import FormatError
from ..model import ColumnRule
from .columns import by_chunk, to_ragged

_AES_KEY_BYTES = 32
_FLOAT_BITS = 53
_EXACT = 2.0**_FLOAT_BITS  # whole numbers up to it are floats
_LARGEST_NOISE = 38  # scales: the logarithm of the smallest number drawn is above -38
_DIGITS = 38


def rounded(column: Any, rule: ColumnRule) -> Any:
    """The nearest multiple of the rule's ``to``; one that lies in the middle goes to the even multiple.

    *What leaks.* The value to within half of ``to``; nulls.

    :param column: int64, or float64; a float is taken as its binary value, so that 0.15 may not count as the middle.
    :return: int64, or decimal128 with the decimals of ``to``. Null stays null.
    """
    if isinstance(column, pa.ChunkedArray):
        return by_chunk(lambda chunk, _: rounded(chunk, rule), column, ())
    values, missing = _values(column)
    return _multiples(values, rule.parameters["to"], missing)


class NoiseAdder:
    """``noise`` of one column: a number plus Laplace noise of the rule's ``scale``, rounded to multiples of its ``to``.

    The noise is drawn by AES-CMAC from the value and its subject. So the same value of one subject has the same noise in
    every load, and loading it often averages nothing out; a value that changes has another noise, so that their difference
    tells nothing exact.

    *What leaks.* The value, more or less: with probability 1 - exp(-x) it lies within x scales of what is stored. Totals and means
    stay nearly as they are. Equal rows of one subject stay equal; nulls. Whoever has the keyset, or can have rows of the
    same subject loaded and see what they become, can try values until one fits, which undoes it. This is not differential privacy: nothing is bounded by sensitivity or counted against a budget, and
    an extreme value stays extreme.

    :param rule: of an integer or number.
    """

    def __init__(self, rule: ColumnRule, keyset: Keyset, version: int | None = None) -> None:
        if rule.domain is None:
            raise ValueError(f"column {rule.name!r} has no domain")
        self.rule = rule
        self.version = keyset.newest if version is None else version
        self.keyset_id = keyset.id
        self._cmac = Cmac(keyset.derive(self.version, rule.domain, str(rule.protection))[:_AES_KEY_BYTES])

    def protect(self, column: Any, beside: Sequence[Any] = ()) -> Any:
        """Numbers with noise. Null stays null.

        :param column: int64 or float64, which :func:`check_roundable` lets through.
        :param beside: the subject's column, as text; a row with a number needs one.
        :return: int64 or decimal128, as :func:`rounded`.
        :raises FormatError: if a number has no subject.
        """
        if isinstance(column, pa.ChunkedArray):
            return by_chunk(self.protect, column, beside)
        (subject,) = beside
        orphaned = pc.sum(pc.and_(pc.is_valid(column), pc.is_null(subject))).as_py()
        if orphaned:
            raise FormatError(
                f"column {self.rule.name!r}: {orphaned:,} numbers have no {self.rule.parameters['subject']!r}, by which "
                "their noise is drawn; complete the source, or nullify the column"
            )
        values, missing = _values(column)
        noise = np.zeros(len(values))
        present = pc.and_(pc.is_valid(column), pc.is_valid(subject)).to_numpy(zero_copy_only=False)
        message = pc.binary_join_element_wise(_eight_bytes(values), subject.cast(pa.binary()), b"")
        drawn = self._cmac.many(to_ragged(message.filter(pa.array(present))))
        noise[present] = self.rule.parameters["scale"] * _laplace(drawn)
        if values.dtype == np.int64:
            noise = np.rint(noise).astype(np.int64)
        return _multiples(values + noise, self.rule.parameters["to"], missing)


def check_roundable(column: Any, rule: ColumnRule, *, first_record: int, where: str) -> None:
    """What is no finite number, or too large to be rounded exactly.

    :raises FormatError: naming the first such record.
    """
    to, scale = rule.parameters["to"], rule.parameters.get("scale", 0)
    most = _EXACT / 10 ** _decimals(to) - _LARGEST_NOISE * scale - to
    numbers = column if pa.types.is_floating(column.type) else column.cast(pa.float64(), safe=False)
    bad = pc.invert(pc.less_equal(pc.abs(numbers), most))  # NaN is not below it either
    index = pc.index(bad, True).as_py()
    if index >= 0:
        raise FormatError(
            f"{where}: column {rule.name!r}, record {first_record + index:,}: the value is not a finite number below "
            f"{max(most, 0):.3g}, which {rule.protection} to {to} needs; correct it in the source, or take a larger to"
        )


def _laplace(tags: NDArray[np.uint64]) -> NDArray[np.float64]:
    """One number of the standard Laplace distribution for each tag: its first 8 bytes give the size, the ninth the sign.

    :param tags: two words each.
    """
    drawn = (tags[0::2].byteswap() >> np.uint64(64 - _FLOAT_BITS)).astype(np.float64)
    size = -np.log((drawn + 0.5) / _EXACT)
    return np.where(tags[1::2] & np.uint64(1), size, -size)


def _eight_bytes(values: NDArray[Any]) -> Any:
    """Each number as it is in binary, the most significant byte first."""
    data = pa.py_buffer(values.byteswap())
    return pa.Array.from_buffers(pa.binary(8), len(values), [None, data]).cast(pa.binary())


def _values(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """int64 or float64, 0 for null; and where null is."""
    missing = pc.is_null(column).to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return values + 0, missing  # which makes 0.0 of -0.0


def _multiples(values: NDArray[Any], to: float, missing: NDArray[np.bool_]) -> Any:
    if values.dtype == np.int64:
        whole, rest = np.divmod(values, int(to))
        up = (2 * rest > to) | ((2 * rest == to) & (whole % 2 == 1))
        return pa.array((whole + up) * int(to), mask=missing)
    decimals = _decimals(to)
    units = int(Decimal(str(to)).scaleb(decimals))
    return _decimal(np.rint(values / to).astype(np.int64) * units, decimals, missing)


def _decimal(unscaled: NDArray[np.int64], decimals: int, missing: NDArray[np.bool_]) -> Any:
    """Arrow makes decimals of numbers one by one only; their layout is 128-bit integers."""
    words = np.empty((len(unscaled), 2), dtype="<i8")
    words[:, 0], words[:, 1] = unscaled, unscaled >> 63
    validity = pa.array(~missing).buffers()[1]
    return pa.Array.from_buffers(
        pa.decimal128(_DIGITS, decimals), len(unscaled), [validity, pa.py_buffer(words)]
    )


def _decimals(to: float) -> int:
    exponent = Decimal(str(to)).normalize().as_tuple().exponent
    return max(0, -int(exponent))
