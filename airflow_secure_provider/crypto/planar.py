"""A column block by block: block 0 of every row, then block 1 of every row that has one, each plane one flat array.

Rows are worked on in the order of their number of blocks, most first, so that the rows that have a block j are always
the first ones and every step is plain arithmetic on contiguous memory. Only reading from and writing to a
:class:`Ragged` gathers and scatters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ragged import BLOCK, Index, Ragged, Words, windows, words

_FEW = 8  # so many look-ups of one number cost less than a sort
_RADIX_LIMIT = 1 << 16  # NumPy sorts integers of 16 bits by radix, six times as fast as longer ones

Planes = list[NDArray[np.void]]


@dataclass(frozen=True, slots=True)
class Layout:
    """In which order the rows of a column are worked on.

    :param order: the rows by their number of blocks, most first; ``None`` if all have the same number.
    :param left: int64 (n,), in this order: bytes in each row's last block, 1 to 16; 0 for an empty row.
    :param alive: how many rows have a block 0, a block 1, …; ends with two zeros. An empty row has a block 0 of no
        bytes.
    """

    order: Index | None
    left: Index
    alive: tuple[int, ...]

    @classmethod
    def of(cls, lengths: Index) -> Layout:
        count = len(lengths)
        blocks = (lengths + (BLOCK - 1)) >> 4
        np.maximum(blocks, 1, out=blocks)
        most = int(blocks.max()) if count else 0
        order, alive = _most_first(blocks, most)
        if order is not None:
            lengths, blocks = lengths[order], blocks[order]
        return cls(order, lengths - ((blocks - 1) << 4), (*alive, 0))

    @property
    def single_from(self) -> int:
        """The place from which on rows have a single block."""
        return self.alive[1]

    def __len__(self) -> int:
        return len(self.left)

    def sort(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value a row, from the rows' own order into this one."""
        return values if self.order is None else values[self.order]

    def unsort(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`sort`."""
        if self.order is None:
            return values
        out = np.empty_like(values)
        out[self.order] = values
        return out


def _most_first(blocks: Index, most: int) -> tuple[Index | None, list[int]]:
    """The rows by their number of blocks, and how many have a block 0, 1, …; no order where all have the same."""
    if most <= _FEW:
        small = blocks.astype(np.uint8)
        places = [np.flatnonzero(small == number) for number in range(most, 0, -1)]
        alive = [0] * (most + 1)
        for number, place in zip(range(most, 0, -1), places, strict=True):
            alive[number - 1] = alive[number] + len(place)
        return (np.concatenate(places) if most and alive[most - 1] != len(blocks) else None), alive
    # Rows with more than j blocks are all but those with 0 to j.
    alive = (len(blocks) - np.cumsum(np.bincount(blocks))).tolist()
    if alive[most - 1] == len(blocks):
        return None, alive
    key = most - blocks
    return np.argsort(key.astype(np.uint16) if most < _RADIX_LIMIT else key, kind="stable"), alive


def sorted_words(layout: Layout, blocks: Words) -> Words:
    return words(layout.sort(blocks.view("V16")))


def unsorted_words(layout: Layout, blocks: Words) -> Words:
    return words(layout.unsort(blocks.view("V16")))


def gather(rows: Ragged, layout: Layout) -> Planes:
    """The planes of a column. Behind the end of a row its last block holds whatever the buffer does."""
    source, starts = windows(rows.data), layout.sort(rows.starts)
    return [source[starts[:count] + BLOCK * plane] for plane, count in enumerate(layout.alive) if count]


def scatter(planes: Planes, layout: Layout, target: Ragged) -> None:
    """Write planes into *target*, whose rows have the lengths that the layout was made of.

    The last block of a row is written whole and so spoils up to 15 bytes behind the row's end. They belong to block 0
    of the rows behind it, or to nobody's: block 0 is written last and row by row, which puts right what it covers.
    """
    sink, starts = windows(target.data), layout.sort(target.starts)
    for plane in range(len(planes) - 1, 0, -1):
        sink[starts[: layout.alive[plane]] + BLOCK * plane] = planes[plane]
    if planes:
        sink[target.starts] = layout.unsort(planes[0])


def copy(source: Ragged, target: Ragged) -> None:
    """Copy every row into *target*, whose rows have the same lengths."""
    layout = Layout.of(source.lengths)
    scatter(gather(source, layout), layout, target)


def repacked(rows: Ragged) -> Ragged:
    """The same rows with no gaps between them, as an Arrow array needs them."""
    packed = Ragged.packed(rows.lengths)
    copy(rows, packed)
    return packed
