"""Format-preserving encryption of a column: digits stay digits, dashes stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..crypto.ff1 import Ff1
from ..crypto.keyset import Keyset
from ..crypto.symbols import Alphabet, spell
from ..errors import FormatError
from ..model import ColumnRule, Protection
from .columns import by_chunk, expanded, from_ragged, to_ragged
from .reversible import ColumnCipher, to_text

UNFIT_PREFIX = "~"
"""Stands before the cell of a value that FF1 can't take, where ``on_unfit`` is ``encrypt``. No fit value holds one."""
_AES_KEY_BYTES = 32
_SAMPLE = 1_024


class FormatCipher:
    """``fpe`` of one column: FF1 (NIST SP 800-38G), the domain as tweak.

    *What leaks.* Equality in the domain, length, the characters that stay in place, and which values are unfit. There is
    **no integrity**: an altered value, or one of another domain or key, is decrypted to another value unnoticed.

    :param version: the key version; a value does not say it, so all of a domain must be made under one.
    """

    def __init__(self, rule: ColumnRule, keyset: Keyset, version: int | None = None) -> None:
        if rule.domain is None:
            raise ValueError(f"column {rule.name!r} has no domain")
        self.rule = rule
        self.version = keyset.newest if version is None else version
        self.keyset_id = keyset.id
        self.alphabet = Alphabet.named(rule.parameters["alphabet"])
        self._on_unfit: str = rule.parameters["on_unfit"]
        key = keyset.derive(self.version, rule.domain, str(rule.protection))[:_AES_KEY_BYTES]
        self._ff1 = Ff1(key, rule.domain.encode(), self.alphabet)
        unfit = replace(rule, protection=Protection.ENCRYPT, scope=rule.scope or rule.domain, parameters={})
        self._unfit_cipher = ColumnCipher(unfit, keyset, version)

    def protect(self, column: Any, beside: Sequence[Any] = ()) -> Any:
        """Encrypt a text column. Null stays null, "" stays "".

        :return: a string array of the same length.
        :raises FormatError: if values are unfit and ``on_unfit`` is ``refuse``, with their number.
        """
        if isinstance(column, pa.ChunkedArray):
            return by_chunk(self.protect, column, beside)
        if pa.types.is_dictionary(column.type) or _repeats(column):
            # The same value gives the same result: each distinct one once.
            encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            if self._on_unfit != "encrypt" or self._all_fit(encoded.dictionary):
                return self._protect(encoded.dictionary).take(encoded.indices)
            column = expanded(column)  # each unfit value gets a cell of its own, also where it stands twice
        return self._protect(column)

    def reveal(self, column: Any, beside: Sequence[Any] = ()) -> Any:
        """The inverse of :meth:`protect`; what was redacted for being unfit stays so.

        :raises FormatError: if a value is none that :meth:`protect` makes.
        """
        if isinstance(column, pa.ChunkedArray):
            return by_chunk(self.reveal, column, beside)
        column = expanded(column).cast(pa.large_string())
        marked = pc.fill_null(pc.starts_with(column, UNFIT_PREFIX), False)
        others = marked
        if self._on_unfit == "redact":
            others = pc.or_(marked, pc.fill_null(pc.match_substring_regex(column, r"^\*+$"), False))
        fit = pc.if_else(others, pa.scalar(None, pa.large_string()), column)
        spelling = spell(to_ragged(fit), self.alphabet)
        unfit = int(np.count_nonzero(~spelling.fit))
        if unfit:
            raise FormatError(f"column {self.rule.name!r}: {unfit:,} values are none that fpe makes")
        revealed = from_ragged(self._ff1.decrypt(spelling), fit, text=True)
        if not pc.any(others).as_py():
            return revealed
        kept = pc.if_else(marked, pa.scalar(None, pa.large_string()), column)
        if pc.any(marked).as_py():
            cells = pc.if_else(marked, pc.utf8_slice_codeunits(column, 1), pa.scalar(None, pa.large_string()))
            kept = pc.coalesce(self._unfit_cipher.reveal(cells).cast(pa.large_string()), kept)
        return pc.if_else(others, kept, revealed.cast(pa.large_string()))

    def _all_fit(self, column: Any) -> bool:
        return bool(spell(to_ragged(column), self.alphabet).fit.all())

    def _protect(self, column: Any) -> Any:
        spelling = spell(to_ragged(column), self.alphabet)
        fit = spelling.fit
        if fit.all():
            return from_ragged(self._ff1.encrypt(spelling), column, text=True)
        if self._on_unfit == "refuse":
            unfit = int(np.count_nonzero(~fit))
            raise FormatError(
                f"column {self.rule.name!r}: {unfit:,} of {len(fit):,} values are unfit for fpe (off the alphabet "
                f"{self.rule.parameters['alphabet']!r}, or with fewer than {self.alphabet.min_length} characters of it): "
                "correct the source, or set on_unfit to redact or encrypt"
            )
        column = column.cast(pa.large_string())
        whole = np.zeros(len(column), dtype=np.bool_)
        whole[pc.is_valid(column).to_numpy(zero_copy_only=False)] = ~fit
        unfit_rows = pa.array(whole)
        nothing = pa.scalar(None, pa.large_string())
        fitting = pc.if_else(unfit_rows, nothing, column)
        encrypted = self._ff1.encrypt(spell(to_ragged(fitting), self.alphabet))
        made = from_ragged(encrypted, fitting, text=True).cast(pa.large_string())
        unfitting = pc.if_else(unfit_rows, column, nothing)
        return pc.if_else(unfit_rows, self._instead(unfitting), made)

    def _instead(self, unfit: Any) -> Any:
        if self._on_unfit == "redact":
            return pc.binary_repeat(pa.scalar("*", pa.large_string()), pc.utf8_length(unfit))
        cells = to_text(self._unfit_cipher.protect(unfit)).cast(pa.large_string())
        prefix, nothing = (pa.scalar(text, pa.large_string()) for text in (UNFIT_PREFIX, ""))
        return pc.binary_join_element_wise(prefix, cells, nothing)


def _repeats(column: Any) -> bool:
    """Whether most values of a sample stand in it more than once: looking them up is then cheaper than FF1."""
    if len(column) < 4 * _SAMPLE:
        return False
    sample = column.slice(0, _SAMPLE)
    return bool(pc.count_distinct(sample).as_py() * 2 < len(sample))
