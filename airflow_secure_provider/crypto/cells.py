"""The format of one protected cell, as bytes and as text. ``docs/formats/cells.md`` is the specification.

::

    token      01 | key version (4 bytes, big endian) | synthetic IV (16) | ciphertext (as long as the value)
    encrypted  02 | key version (4 bytes, big endian) | nonce (16) | synthetic IV (16) | ciphertext

The text form is standard base64 with padding (RFC 4648 section 4), so that PostgreSQL's
``decode(cell, 'base64')`` reads it.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from .planar import copy, repacked
from .ragged import BLOCK, Index, Ragged, Words, windows, words

TOKEN = 1
ENCRYPTED = 2

HEADER = struct.Struct(
    ">"  # big endian
    "B"  # format: TOKEN or ENCRYPTED
    "I"  # key version
)


def overhead(kind: int) -> int:
    """How many bytes a cell is longer than its value: 21 for a token, 37 for an encrypted cell."""
    return HEADER.size + BLOCK * (2 if kind == ENCRYPTED else 1)


@dataclass(frozen=True, slots=True)
class Cells:
    """Room for the cells of a column: the rows, and within each its ciphertext."""

    rows: Ragged
    ciphertext: Ragged
    kind: int

    @classmethod
    def room(cls, kind: int, lengths: Index) -> Cells:
        extra = overhead(kind)
        rows = Ragged.packed(lengths + extra)
        return cls(rows, Ragged(rows.data, rows.starts + extra, lengths), kind)

    def fill(self, key_version: int, tags: Words, nonces: Words | None) -> None:
        """Write header, nonce and tag of every cell; to be called after the ciphertexts are written."""
        rows, view = self.rows, windows(self.rows.data)
        if nonces is not None:
            view[rows.starts + HEADER.size] = nonces.view("V16")
        view[rows.starts + (overhead(self.kind) - BLOCK)] = tags.view("V16")
        heads = windows(rows.data, HEADER.size)
        heads[rows.starts] = np.frombuffer(HEADER.pack(self.kind, key_version), dtype=heads.dtype)


def key_versions(kind: int, cells: Ragged) -> NDArray[np.uint32]:
    """The key version that each cell names, after checking that every row is a cell of this kind.

    :raises FormatError: with the number of rows that are too short or have another format.
    """
    short = int(np.count_nonzero(cells.lengths < overhead(kind)))
    if short:
        raise FormatError(f"{short} of {len(cells)} values are too short to be protected cells")
    head = windows(cells.data)[cells.starts].view(np.uint8).reshape(-1, BLOCK)
    other = int(np.count_nonzero(head[:, 0] != kind))
    if other:
        name = {TOKEN: "tokens", ENCRYPTED: "encrypted cells"}[kind]
        raise FormatError(f"{other} of {len(cells)} values are not {name} of this package")
    return np.ascontiguousarray(head[:, 1 : HEADER.size]).view(">u4").astype(np.uint32).reshape(-1)


def parts(kind: int, cells: Ragged) -> tuple[Words | None, Words, Ragged]:
    """Nonces (or ``None``), tags and ciphertexts of cells that :func:`key_versions` has checked."""
    view, extra = windows(cells.data), overhead(kind)
    nonces = words(view[cells.starts + HEADER.size]) if kind == ENCRYPTED else None
    tags = words(view[cells.starts + (extra - BLOCK)])
    return nonces, tags, Ragged(cells.data, cells.starts + extra, cells.lengths - extra)


# --- base64: rows that begin at every third byte have texts that begin at every fourth character -----------

_EQUALS, _ZERO = ord("="), ord("A")
_IN_ALPHABET = np.zeros(256, dtype=np.bool_)
_IN_ALPHABET[
    np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", dtype=np.uint8)
] = True


def to_text(cells: Ragged) -> Ragged:
    """Standard base64 with padding of every row: one call of the standard library for all."""
    groups = (cells.lengths + 2) // 3
    padded = Ragged.packed(groups * 3)
    copy(cells, Ragged(padded.data, padded.starts, cells.lengths))
    missing = groups * 3 - cells.lengths
    ends = padded.starts + cells.lengths
    for count in (1, 2):  # copying left rubbish in the one or two bytes behind a row
        padded.data[(ends + (count - 1))[missing >= count]] = 0
    size = int(groups.sum())
    text = Ragged.packed(groups * 4)
    written = binascii.b2a_base64(padded.data[: size * 3].data, newline=False)
    text.data[: size * 4] = np.frombuffer(written, dtype=np.uint8)
    text_ends = text.starts + text.lengths
    for count in (1, 2):
        text.data[(text_ends - count)[missing >= count]] = _EQUALS
    return text


def from_text(text: Ragged) -> Ragged:
    """The inverse of :func:`to_text`, as packed rows. A cell has one spelling: no line breaks, and zeros in unused bits.

    :raises FormatError: with the number of rows whose length is no multiple of four; or saying that some character
        is outside the alphabet, or some unused bit set.
    """
    odd = int(np.count_nonzero(text.lengths % 4))
    if odd:
        raise FormatError(f"{odd} of {len(text)} values are not base64 text of a cell")
    packed = repacked(text)
    ends = packed.starts + packed.lengths
    padding = ((packed.data[ends - 1] == _EQUALS) & (packed.lengths > 0)).astype(np.int64)
    padding += (padding == 1) & (packed.data[ends - 2] == _EQUALS)
    for count in (1, 2):
        packed.data[(ends - count)[padding >= count]] = _ZERO
    characters = packed.data[: int(packed.lengths.sum())]
    if not _IN_ALPHABET[characters].all():
        raise FormatError(f"some of {len(text)} values are not base64 text of a cell")
    out = Ragged.packed(packed.lengths // 4 * 3)
    read = binascii.a2b_base64(characters.data)
    out.data[: len(read)] = np.frombuffer(read, dtype=np.uint8)
    if any((out.data[(out.starts + out.lengths - count)[padding >= count]] != 0).any() for count in (1, 2)):
        raise FormatError(f"some of {len(text)} values are not base64 text of a cell")
    return repacked(Ragged(out.data, out.starts, out.lengths - padding))
