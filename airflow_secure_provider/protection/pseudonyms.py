"""Pseudonymize and shift_date: keyed, and no key brings the values back as they were."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..crypto.cmac import Cmac
from ..crypto.keyset import Keyset
from ..crypto.ragged import BLOCK, Ragged
from ..errors import FormatError
from ..model import ColumnRule
from .columns import by_chunk, expanded, from_ragged, to_ragged

_AES_KEY_BYTES = 32
_HMAC_BYTES = 32


class Pseudonymizer:
    """``pseudonymize`` of one column: AES-CMAC (RFC 4493) of the value, or HMAC-SHA256 where a partner needs it.

    *What leaks.* Equality in the domain. Nobody computes a value from its pseudonym; but who holds the key can try
    values, and so can anyone for whom values are pseudonymized on demand.

    :param version: the key version; a pseudonym does not say it, so all of a domain must be made under one.
    """

    def __init__(self, rule: ColumnRule, keyset: Keyset, version: int | None = None) -> None:
        if rule.domain is None:
            raise ValueError(f"column {rule.name!r} has no domain")
        self.version = keyset.newest if version is None else version
        self.keyset_id = keyset.id
        self._with_hmac = rule.parameters.get("algorithm") == "hmac-sha256"
        purpose = f"{rule.protection}-hmac-sha256" if self._with_hmac else str(rule.protection)
        self._key = keyset.derive(self.version, rule.domain, purpose)
        self._cmac = Cmac(self._key[:_AES_KEY_BYTES])

    def protect(self, column: Any, beside: Sequence[Any] = ()) -> Any:
        """Pseudonyms of a string or binary column: 16 bytes each (HMAC: 32). Null stays null; "" gets one too.

        :return: a binary array of the same length.
        """
        if isinstance(column, pa.ChunkedArray):
            return by_chunk(self.protect, column, beside)
        column = expanded(column)
        values = to_ragged(column)
        if self._with_hmac:
            joined = b"".join(hmac.digest(self._key, value, "sha256") for value in values.tolist())
            tags, size = np.frombuffer(joined, dtype=np.uint8), _HMAC_BYTES
        else:
            tags, size = self._cmac.many(values).view(np.uint8), BLOCK
        lengths = np.full(len(values), size, dtype=np.int64)
        return from_ragged(Ragged(tags, np.cumsum(lengths) - size, lengths), column, text=False)


class DateShifter:
    """``shift_date`` of one column: every date moves by a number of days that depends on its subject alone.

    Intervals between the dates of one subject stay as they are; that is what it is for. *What leaks.* The date to
    within the range; the intervals; and with one true date of a subject known, all of them. The key undoes it.

    :param rule: with the parameter ``days``, the most by which a date moves.
    """

    def __init__(self, rule: ColumnRule, keyset: Keyset, version: int | None = None) -> None:
        if rule.domain is None:
            raise ValueError(f"column {rule.name!r} has no domain")
        self.rule = rule
        self.version = keyset.newest if version is None else version
        self.keyset_id = keyset.id
        self._most: int = rule.parameters["days"]
        self._cmac = Cmac(keyset.derive(self.version, rule.domain, str(rule.protection))[:_AES_KEY_BYTES])

    def protect(self, column: Any, beside: Sequence[Any] = ()) -> Any:
        """Dates or timestamps, each shifted by whole days. Null stays null.

        :param beside: the subject's column, as text; a row with a date needs one.
        :return: an array of the same type.
        :raises FormatError: if a date has no subject.
        """
        (subject,) = beside
        orphaned = pc.sum(pc.and_(pc.is_valid(column), pc.is_null(subject))).as_py()
        if orphaned:
            raise FormatError(
                f"column {self.rule.name!r}: {orphaned:,} dates have no {self.rule.parameters['subject']!r}, by which "
                "they are shifted; complete the source, or nullify the column"
            )
        days = np.zeros(len(column), dtype=np.int64)
        valid = pc.is_valid(subject).to_numpy(zero_copy_only=False)
        tags = self._cmac.many(to_ragged(subject))
        # The first 8 bytes as a number modulo 2·days + 1: some shifts are likelier than others by less than 1 in 2^47.
        drawn = tags[0::2].byteswap() % np.uint64(2 * self._most + 1)
        days[valid] = drawn.astype(np.int64) - self._most
        if pa.types.is_date32(column.type):
            return pc.add(column.cast(pa.int32()), pa.array(days.astype(np.int32))).cast(pa.date32())
        return pc.add(column, pa.array(days * 86_400_000_000, pa.duration("us")))
