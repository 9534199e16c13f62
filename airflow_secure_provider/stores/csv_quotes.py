"""Follows the quotes of a CSV through its blocks, since pyarrow forgives what would merge records.

pyarrow takes a quote in the middle of a field as text, and one left open as a field that reaches to the next quote or to
the end of the file; the records in between are then one. Here a quote opens a field only at its start and closes it only
at its end (RFC 4180 section 2, rules 5 to 7).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_QUOTE, _FEED, _RETURN = ord('"'), ord("\n"), ord("\r")
_BOM = b"\xef\xbb\xbf"


def _table(characters: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[np.frombuffer(characters, dtype=np.uint8)] = True
    return table


_BESIDE_A_QUOTED_FIELD = _table(b',\n\r"')  # a quote: the other half of a doubled one


class Quotes:
    """
    :ivar stray_at: offset of the first quote that stands where none may; ``None`` if there is none.
    :ivar blank_line: whether there is a blank line outside of quotes.
    """

    def __init__(self) -> None:
        self.stray_at: int | None = None
        self.blank_line = False
        self._open = False
        self._before = b"\n"  # the byte before the next block; a file begins as a line does
        self._offset = 0

    @property
    def left_open(self) -> bool:
        return self._open

    def follow(self, block: bytes) -> None:
        """Take the next block of the file into account."""
        if not block:
            return
        if self._offset == 0 and block.startswith(_BOM):
            self._offset, block = len(_BOM), block[len(_BOM) :]
        if not block:
            return
        characters = np.frombuffer(self._before + block, dtype=np.uint8)  # index 0 is the byte before
        positions = np.flatnonzero(characters[1:] == _QUOTE) + 1
        opens = (np.arange(len(positions)) % 2 == 0) ^ self._open
        self._find_stray(characters, positions, opens)
        if not self.blank_line:
            self.blank_line = self._has_blank_line(characters, positions)
        self._open ^= len(positions) % 2 == 1
        self._before = block[-1:]
        self._offset += len(block)

    def _find_stray(
        self, characters: NDArray[np.uint8], positions: NDArray[np.intp], opens: NDArray[np.bool_]
    ) -> None:
        if self.stray_at is not None:
            return
        bad = []
        # A closing quote at the end of the block before: what follows it is known only now.
        if characters[0] == _QUOTE and not self._open and not _BESIDE_A_QUOTED_FIELD[characters[1]]:
            bad.append(0)
        starts = positions[opens]
        bad += starts[~_BESIDE_A_QUOTED_FIELD[characters[starts - 1]]][:1].tolist()
        ends = positions[~opens]
        ends = ends[ends < len(characters) - 1]
        bad += ends[~_BESIDE_A_QUOTED_FIELD[characters[ends + 1]]][:1].tolist()
        if bad:
            self.stray_at = self._offset + min(bad) - 1

    def _has_blank_line(self, characters: NDArray[np.uint8], positions: NDArray[np.intp]) -> bool:
        feeds = characters == _FEED
        returns = characters == _RETURN
        ends = feeds | returns
        pairs = np.flatnonzero(ends[1:] & ends[:-1] & ~(returns[:-1] & feeds[1:]))
        outside = (np.searchsorted(positions, pairs) % 2 == 0) ^ self._open
        return bool(outside.any())
