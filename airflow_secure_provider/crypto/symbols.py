"""Text as numerals of an alphabet, and back, with everything else left where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .planar import repacked
from .ragged import SLACK, Bytes, Index, Ragged

NAMED = {"digits": "0123456789", "alphanumeric": "0123456789abcdefghijklmnopqrstuvwxyz"}
RESERVED = "~"
_SMALLEST_DOMAIN = 1_000_000  # SP 800-38G Revision 1: radix^length at least
_MOST_CHARACTERS = 65_536  # SP 800-38G section 5.1: radix at most 2^16
_UNFIT, _FORMAT, _NUMERAL = 0, 1, 2


@dataclass(frozen=True)
class Alphabet:
    """The characters that FF1 permutes; the numeral of each is its place.

    Printable ASCII characters that are neither letters nor digits are *formatting* unless they are in the alphabet:
    they stay where they are, as the dashes of ``123-45-6789``. ``~`` is reserved for other uses.
    """

    characters: str

    def __post_init__(self) -> None:
        if len(set(self.characters)) != len(self.characters):
            raise ValueError("a character stands twice in the alphabet")
        if not 2 <= len(self.characters) <= _MOST_CHARACTERS:
            raise ValueError(
                f"an alphabet has 2 to {_MOST_CHARACTERS:,} characters, got {len(self.characters):,}"
            )
        if any(0xD800 <= ord(character) <= 0xDFFF for character in self.characters):
            raise ValueError("half of a surrogate pair is no character")
        if RESERVED in self.characters:
            raise ValueError(f"{RESERVED!r} is reserved and can't be in an alphabet")

    @classmethod
    def named(cls, name: str) -> Alphabet:
        """``digits``, ``alphanumeric`` (0–9, then a–z), or the characters themselves.

        :raises ValueError: if these are no alphabet.
        """
        if not isinstance(name, str):
            raise ValueError(f"expected {', '.join(NAMED)} or the characters in order")
        return cls(NAMED.get(name, name))

    @property
    def radix(self) -> int:
        return len(self.characters)

    @cached_property
    def min_length(self) -> int:
        """The least number of numerals: radix^min_length ≥ 1,000,000."""
        length = 1
        while self.radix**length < _SMALLEST_DOMAIN:
            length += 1
        return length

    @property
    def is_decimal(self) -> bool:
        return self.characters == NAMED["digits"]

    @cached_property
    def narrow(self) -> bool:
        """Whether all is ASCII, so that bytes are characters."""
        return self.characters.isascii()

    @cached_property
    def codes(self) -> NDArray[Any]:
        """The character of each numeral, as a byte or a code point."""
        return np.array([ord(each) for each in self.characters], dtype=np.uint8 if self.narrow else np.uint32)

    @cached_property
    def kinds(self) -> bytes:
        """For each byte: whether it is a numeral, formatting, or makes a value unfit."""
        kinds = np.full(256, _UNFIT, dtype=np.uint8)
        for code in range(0x20, 0x7F):
            if not chr(code).isalnum() and chr(code) != RESERVED:
                kinds[code] = _FORMAT
        for character in self.characters:
            if ord(character) < 128:
                kinds[ord(character)] = _NUMERAL
        return kinds.tobytes()

    @cached_property
    def numerals(self) -> NDArray[np.uint16]:
        """The numeral of each byte of a narrow alphabet."""
        table = np.zeros(256, dtype=np.uint16)
        table[self.codes] = np.arange(self.radix)
        return table

    @cached_property
    def sorted_codes(self) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """Code points in order, with the numeral of each."""
        order = np.argsort(self.codes)
        return self.codes[order].astype(np.uint32), order.astype(np.uint16)


@dataclass(frozen=True, slots=True)
class Spelling:
    """A column as characters.

    :param characters: of all rows one behind the other: bytes, or code points.
    :param moving: which of them are numerals; ``None`` if all are.
    :param counts: int64 (n,): how many numerals each row has.
    :param fit: which rows may be permuted: empty, or of numerals and formatting only, with enough numerals.
    :param lengths: int64 (n,): characters of each row.
    """

    characters: NDArray[Any]
    moving: NDArray[np.bool_] | None
    counts: Index
    fit: NDArray[np.bool_]
    lengths: Index


def spell(rows: Ragged, alphabet: Alphabet) -> Spelling:
    """Split a column of UTF-8 text into characters."""
    packed = rows if _is_packed(rows) else repacked(rows)
    flat = packed.data[: int(packed.lengths.sum())]
    lengths, enough = packed.lengths, alphabet.min_length
    characters: NDArray[Any] = flat
    if (
        alphabet.is_decimal and (flat - np.uint8(ord("0")) < 10).all()
    ):  # the usual case, sixteen bytes at a time
        return Spelling(flat, None, lengths, (lengths >= enough) | (lengths == 0), lengths)
    if alphabet.narrow:
        kinds = np.frombuffer(flat.tobytes().translate(alphabet.kinds), dtype=np.uint8)
    else:
        characters = np.frombuffer(flat.tobytes().decode().encode("utf-32-le"), dtype=np.uint32)
        lengths = _sums((flat & 0xC0) != 0x80, packed.lengths)
        kinds = _wide_kinds(characters, alphabet)
    moving = kinds == _NUMERAL
    if moving.all():
        return Spelling(characters, None, lengths, (lengths >= enough) | (lengths == 0), lengths)
    counts = _sums(moving, lengths)
    fit = (counts >= enough) | (lengths == 0)
    if (kinds == _UNFIT).any():
        fit &= _sums(kinds == _UNFIT, lengths) == 0
    return Spelling(characters, moving, counts, fit, lengths)


def unspell(spelling: Spelling, characters: NDArray[Any], alphabet: Alphabet) -> Ragged:
    """The column with these numerals' characters in place of its own."""
    made = characters
    if spelling.moving is not None:
        made = spelling.characters.copy()
        made[spelling.moving] = characters
    lengths = spelling.lengths
    if not alphabet.narrow:
        widths = 1 + (made >= 0x80).astype(np.int64) + (made >= 0x800) + (made >= 0x10000)
        lengths = _sums(widths, lengths)
        made = np.frombuffer(made.tobytes().decode("utf-32-le").encode(), dtype=np.uint8)
    data: Bytes = np.empty(len(made) + SLACK, dtype=np.uint8)
    data[: len(made)] = made
    data[len(made) :] = 0
    return Ragged(data, np.cumsum(lengths) - lengths, lengths)


def _wide_kinds(characters: NDArray[Any], alphabet: Alphabet) -> NDArray[np.uint8]:
    kinds = np.full(len(characters), _UNFIT, dtype=np.uint8)
    ascii_ = characters < 128
    kinds[ascii_] = np.frombuffer(alphabet.kinds, dtype=np.uint8)[characters[ascii_]]
    codes, _ = alphabet.sorted_codes
    place = np.minimum(np.searchsorted(codes, characters), len(codes) - 1)
    kinds[codes[place] == characters] = _NUMERAL
    return kinds


def _is_packed(rows: Ragged) -> bool:
    return bool(np.array_equal(rows.starts, np.cumsum(rows.lengths) - rows.lengths))


def _sums(values: NDArray[Any], lengths: Index) -> Index:
    """The sum of each row's values, of rows that lie one behind the other."""
    running = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=running[1:])
    ends = np.cumsum(lengths)
    sums: Index = running[ends] - running[ends - lengths]
    return sums
