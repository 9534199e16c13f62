"""Encrypt and tokenize: Arrow column in, Arrow column of cells out, and back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..crypto import cells
from ..crypto.block import fresh_blocks
from ..crypto.cells import Cells
from ..crypto.keyset import Keyset
from ..crypto.ragged import Ragged
from ..crypto.siv import Siv
from ..errors import DecryptionError, FormatError
from ..model import ColumnRule, Protection
from .binding import bound_rows
from .columns import by_chunk, expanded, from_ragged, to_ragged

_CMAC_BYTES, _HMAC_BYTES = 16, 32
_NO_BINDING = b""  # what an encrypted cell is bound to beside domain and scope, where nothing is named


class ColumnCipher:
    """``encrypt`` or ``tokenize`` of one column under one keyset.

    *What leaks.* ``tokenize`` is deterministic: equal values in one domain have equal tokens. ``encrypt`` hides
    equality. Both show the length of each value, and which values are null.

    :param rule: with protection encrypt or tokenize, a domain and, for encrypt, a scope.
    :param version: the key version that new cells get; the keyset's newest by default.
    """

    def __init__(self, rule: ColumnRule, keyset: Keyset, version: int | None = None) -> None:
        if rule.domain is None:
            raise ValueError(f"column {rule.name!r} has no domain")
        self.rule = rule
        self.version = keyset.newest if version is None else version
        self._keyset = keyset
        self._domain = rule.domain
        self._binds = bool(rule.parameters.get("bind_to"))
        if rule.protection is Protection.ENCRYPT:
            if rule.scope is None:
                raise ValueError(f"column {rule.name!r} has no scope")
            self._kind = cells.ENCRYPTED
            self._associated = [bytes([self._kind]), rule.domain.encode(), rule.scope.encode()]
            if not self._binds:
                self._associated.append(_NO_BINDING)
        else:
            self._kind = cells.TOKEN
            self._associated = [bytes([self._kind]), rule.domain.encode()]
        self._ciphers: dict[int, Siv] = {}

    @property
    def keyset_id(self) -> str:
        return self._keyset.id

    def protect(self, column: Any, beside: Sequence[Any] = ()) -> Any:
        """Cells of a string or binary column.

        :param column: text of any Arrow layout, chunked or not, or its bytes in UTF-8. Null stays null; an empty value
            becomes a cell.
        :param beside: the columns of ``bind_to``, as canonical text.
        :return: a binary array of the same length.
        :raises FormatError: for bytes that are no UTF-8.
        """
        if isinstance(column, pa.ChunkedArray):
            return by_chunk(self.protect, column, beside)
        if pa.types.is_dictionary(column.type) and self._kind == cells.TOKEN:
            return self.protect(column.dictionary).take(column.indices)  # each distinct value once
        column = _as_text(expanded(column), self.rule.name)
        plain = to_ragged(column)
        nonces = None
        if self._kind == cells.ENCRYPTED:
            nonces = fresh_blocks(len(plain))  # one for every non-null row, never taken from the caller
        room = Cells.room(self._kind, plain.lengths)
        bound = bound_rows(beside, column) if self._binds else None
        tags = self._cipher(self.version).seal(plain, room.ciphertext, nonces, bound)
        room.fill(self.version, tags, nonces)
        return from_ragged(room.rows, column, text=False)

    def reveal(self, column: Any, beside: Sequence[Any] = ()) -> Any:
        """The text that :meth:`protect` was given. No value is released unless all authenticate.

        :param column: cells, as binary or as base64 text, with or without the line breaks of PostgreSQL's ``encode()``.
        :param beside: the columns of ``bind_to``, as canonical text.
        :return: a string array.
        :raises FormatError: if a value is not a cell of this protection.
        :raises DecryptionError: if a cell does not authenticate under this keyset, domain and scope.
        """
        if isinstance(column, pa.ChunkedArray):
            return by_chunk(self.reveal, column, beside)
        column = expanded(column)
        try:
            plain = self._open(_as_cells(column), bound_rows(beside, column) if self._binds else None)
        except DecryptionError as error:
            raise DecryptionError(
                f"column {self.rule.name!r}: {error} under keyset {self._keyset.id!r}, {self._bound_to()}: "
                f"they were altered, or protected as another column{', row' if self._binds else ''} or domain"
            ) from None
        except FormatError as error:
            raise FormatError(f"column {self.rule.name!r}: {error}") from None
        return from_ragged(plain, column, text=True)

    def _bound_to(self) -> str:
        words = [f"domain {self.rule.domain!r}"]
        if self.rule.scope:
            words.append(f"scope {self.rule.scope!r}")
        if self._binds:
            words.append(f"bound to {', '.join(map(repr, self.rule.beside))}")
        return ", ".join(words)

    def _open(self, rows: Ragged, bound: Ragged | None) -> Ragged:
        versions = cells.key_versions(self._kind, rows)
        used = np.unique(versions).tolist()
        unknown = [version for version in used if version not in self._keyset.versions]
        if unknown:
            count = int(np.count_nonzero(np.isin(versions, unknown)))
            raise DecryptionError(
                f"{count} of {len(rows)} cells name key version {unknown[0]}, which is not there (it has "
                f"{', '.join(map(str, self._keyset.versions))}),"
            )
        if len(used) <= 1:
            return self._open_version(used[0], rows, bound) if used else rows
        # Cells of several key versions, as during a rotation: each version on its own, then back in order.
        plain = Ragged.packed(rows.lengths - cells.overhead(self._kind))
        opened: list[bytes] = [b""] * len(rows)
        for version in used:
            where = np.flatnonzero(versions == version)
            some = self._open_version(
                version, rows.select(where), None if bound is None else bound.select(where)
            )
            for index, value in zip(where.tolist(), some.tolist(), strict=True):
                opened[index] = value
        joined = b"".join(opened)
        plain.data[: len(joined)] = np.frombuffer(joined, dtype=np.uint8)
        return plain

    def _open_version(self, version: int, rows: Ragged, bound: Ragged | None) -> Ragged:
        """One version's cells; a message counts these alone."""
        nonces, tags, ciphertext = cells.parts(self._kind, rows)
        return self._cipher(version).open(tags, ciphertext, nonces, bound)

    def _cipher(self, version: int) -> Siv:
        if version not in self._ciphers:
            key = self._keyset.derive(version, self._domain, str(self.rule.protection))
            self._ciphers[version] = Siv(key, self._associated)
        return self._ciphers[version]


def check_cells(column: Any, rule: ColumnRule, version: int | None) -> None:
    """Whether a column holds what encrypt, tokenize or pseudonymize makes, as far as its form shows; nothing is opened.

    :param column: as its store holds it: bytes, or base64 text.
    :param version: the key version of tokens.
    :raises FormatError: with the number of values that are something else.
    """
    if isinstance(column, pa.ChunkedArray):
        for chunk in column.chunks:
            check_cells(chunk, rule, version)
        return
    rows = _as_cells(expanded(column))
    if rule.protection is Protection.PSEUDONYMIZE:
        wanted = _HMAC_BYTES if rule.parameters.get("algorithm") == "hmac-sha256" else _CMAC_BYTES
        other = int(np.count_nonzero(rows.lengths != wanted))
        if other:
            raise FormatError(f"{other:,} of {len(rows):,} values are no pseudonyms of {wanted} bytes")
        return
    kind = cells.TOKEN if rule.protection is Protection.TOKENIZE else cells.ENCRYPTED
    versions = cells.key_versions(kind, rows)
    other = int(np.count_nonzero(versions != version)) if kind == cells.TOKEN and version else 0
    if other:
        raise FormatError(f"{other:,} of {len(rows):,} tokens are not under key version {version}")


def to_text(column: Any) -> Any:
    """Cells as base64 text, for a text column of the target."""
    return from_ragged(cells.to_text(to_ragged(column)), column, text=True)


def from_base64(column: Any) -> Any:
    """The binary column of which this is the base64 text.

    :raises FormatError: if a value is not base64.
    """
    return from_ragged(cells.from_text(to_ragged(column)), column, text=False)


def as_bytes(column: Any) -> Any:
    """Cells as a bytea column holds them, of a column that may hold them as text."""
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    return column if binary else from_base64(column)


def _as_text(column: Any, name: str) -> Any:
    """Bytes only as far as they are text, since as text they come back."""
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        return column
    text = None
    with suppress(pa.ArrowInvalid):
        text = column.cast(pa.large_string())
    if text is None:
        raise FormatError(f"column {name!r}: some of {len(column):,} values are bytes that are no UTF-8 text")
    return text


def _as_cells(column: Any) -> Ragged:
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()):
        return to_ragged(column)
    if kind == pa.string_view():
        column = column.cast(pa.large_string())  # the text functions know no views
    escaped = pc.sum(pc.starts_with(column, "\\x")).as_py()
    if escaped:
        raise FormatError(
            f"{escaped} of {len(column)} values are bytea as psql prints it (\\x…); select encode(column, 'base64')"
        )
    if pc.any(pc.match_substring(column, "\n")).as_py():
        column = pc.replace_substring(column, "\n", "")
    return cells.from_text(to_ragged(column))
