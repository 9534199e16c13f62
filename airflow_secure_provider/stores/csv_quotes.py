"""Follows the quotes of a CSV through its blocks, since pyarrow forgives what would merge records.

pyarrow takes a quote in the middle of a field as text, and one left open as a field that reaches to the next quote or to
the end of the file; the records in between are then one. Here a quote opens a field only at its start and closes it only
at its end (RFC 4180 section 2, rules 5 to 7).

One bit stands for a byte, 64 of them in a word, so that what is asked of each byte is asked of 64 at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEED, _RETURN = ord("\n"), ord("\r")
_BOM = b"\xef\xbb\xbf"
_WORD = 64
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ONE, _LAST = np.uint64(1), np.uint64(63)
_DOUBLINGS = tuple(np.uint64(1 << power) for power in range(6))

Bits = NDArray[np.uint64]


class Quotes:
    """
    :ivar stray_at: offset of the first quote that stands where none may; ``None`` if there is none.
    """

    def __init__(self, delimiter: str = ",", quote: str = '"') -> None:
        self.stray_at: int | None = None
        self._looks_for_blank_lines = self._blank_line = False
        self._delimiter, self._quote = ord(delimiter), ord(quote)
        self._quote_byte = quote.encode()
        self._open = False
        self._before = _FEED  # the byte before the next block; a file begins as a line does
        self._offset = 0

    @property
    def left_open(self) -> bool:
        return self._open

    def follow(self, block: bytes) -> int:
        """Take the next block of the file into account.

        :return: the offset in it behind its last record's end, 0 if none ends in it.
        """
        skipped = len(_BOM) if self._offset == 0 and block.startswith(_BOM) else 0
        characters = np.frombuffer(block, dtype=np.uint8)[skipped:]
        if not len(characters):
            self._offset += skipped
            return 0
        if not self._open and self._before != self._quote and self._is_plain(block):
            self._before = block[-1]
            self._offset += len(block)
            return block.rfind(b"\n") + 1
        return self._follow_bits(characters, skipped)

    def has_blank_line(self, records: bytes) -> bool:
        """Whether there is a blank line outside of quotes in whole records, wherever they stand in the file."""
        alone = Quotes(chr(self._delimiter), chr(self._quote))
        alone._looks_for_blank_lines = True
        alone._offset = 1  # it is not the file's beginning, which may be a byte order mark
        alone._follow_bits(np.frombuffer(records, dtype=np.uint8), 0)
        return alone._blank_line

    def _follow_bits(self, characters: NDArray[np.uint8], skipped: int) -> int:
        quotes, feeds, returns, delimiters = (
            _bits(characters == code) for code in (self._quote, _FEED, _RETURN, self._delimiter)
        )
        inside = self._inside(quotes)
        ends = feeds | returns
        beside = ends | delimiters | quotes
        self._find_stray(quotes, inside, beside, int(characters[0]), len(characters), skipped)
        if self._looks_for_blank_lines and not self._blank_line:
            first_of_two = _behind(ends, self._before in (_FEED, _RETURN))
            carriage = _behind(returns, self._before == _RETURN)
            self._blank_line = bool((ends & first_of_two & ~(feeds & carriage) & ~inside).any())
        self._open = bool(
            inside[(len(characters) - 1) // _WORD] >> np.uint64((len(characters) - 1) % _WORD) & _ONE
        )
        self._before = int(characters[-1])
        self._offset += skipped + len(characters)
        last = _last(feeds & ~inside)
        return 0 if last < 0 else skipped + last + 1

    def _is_plain(self, block: bytes) -> bool:
        """Nothing in the block needs a second look: neither a quote nor a carriage return."""
        return self._quote_byte not in block and b"\r" not in block

    def _inside(self, quotes: Bits) -> Bits:
        """For each byte, whether an odd number of quotes stands before or at it."""
        inside = quotes.copy()
        for shift in _DOUBLINGS:
            inside ^= inside << shift
        odd = inside >> _LAST  # whether a word as a whole turns it over
        turned = np.bitwise_xor.accumulate(odd) ^ odd ^ np.uint64(self._open)
        inside ^= np.where(turned, _ALL, np.uint64(0))
        return inside

    def _find_stray(
        self, quotes: Bits, inside: Bits, beside: Bits, first: int, count: int, skipped: int
    ) -> None:
        if self.stray_at is not None:
            return
        near = (self._quote, self._delimiter, _FEED, _RETURN)
        # A closing quote at the end of the block before: what follows it is known only now.
        if self._before == self._quote and not self._open and first not in near:
            self.stray_at = self._offset - 1
            return
        opening, closing = quotes & inside, quotes & ~inside
        closing[(count - 1) // _WORD] &= ~(_ONE << np.uint64((count - 1) % _WORD))
        bad = opening & ~_behind(beside, self._before in near)
        bad |= closing & ~_before(beside)
        at = _first(bad)
        if at >= 0:
            self.stray_at = self._offset + skipped + at


def _bits(mask: NDArray[np.bool_]) -> Bits:
    packed = np.packbits(mask, bitorder="little")
    words = np.zeros(-(-len(mask) // _WORD), dtype="<u8")
    words.view(np.uint8)[: len(packed)] = packed
    return words


def _behind(bits: Bits, carried: bool) -> Bits:
    """For each byte, what stands for the one before it."""
    shifted = bits << _ONE
    shifted[1:] |= bits[:-1] >> _LAST
    shifted[0] |= np.uint64(carried)
    return shifted


def _before(bits: Bits) -> Bits:
    """For each byte, what stands for the one behind it."""
    shifted = bits >> _ONE
    shifted[:-1] |= bits[1:] << _LAST
    return shifted


def _first(bits: Bits) -> int:
    words = np.flatnonzero(bits)
    if not len(words):
        return -1
    word = int(bits[words[0]])
    return int(words[0]) * _WORD + (word & -word).bit_length() - 1


def _last(bits: Any) -> int:
    words = np.flatnonzero(bits)
    return int(words[-1]) * _WORD + int(bits[words[-1]]).bit_length() - 1 if len(words) else -1
