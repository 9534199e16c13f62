"""Many byte strings of different lengths in one buffer, and 16-byte windows onto them.

A column of strings is one flat buffer plus a start and a length for each row, as in Arrow. A window is 16 bytes at any
offset, read and written through a ``V16`` view with a stride of one byte, so that one NumPy call gathers or scatters a
block of thousands of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
SLACK = 32
"""Bytes behind the last row, so that a window of its last partial block stays inside the buffer."""

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Index = NDArray[np.int64]

# MASK[r] keeps the first r bytes of a block; PAD[r] is the 10* padding of RFC 4493 behind r bytes.
_mask_bytes = np.tril(np.full((BLOCK + 1, BLOCK), 0xFF, dtype=np.uint8), -1)
_pad_bytes = np.zeros((BLOCK + 1, BLOCK), dtype=np.uint8)
_pad_bytes[np.arange(BLOCK), np.arange(BLOCK)] = 0x80
MASK: NDArray[np.void] = _mask_bytes.reshape(-1).view("V16")
PAD: NDArray[np.void] = _pad_bytes.reshape(-1).view("V16")


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of bytes.

    :param data: uint8, at least ``SLACK`` bytes longer than the end of the last row.
    :param starts: int64 (n,), ascending; rows do not overlap.
    :param lengths: int64 (n,), in bytes.
    """

    data: Bytes
    starts: Index
    lengths: Index

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def packed(cls, lengths: Index) -> Ragged:
        """Zeroed room for rows of these lengths, one behind the other."""
        ends = np.cumsum(lengths, dtype=np.int64)
        total = int(ends[-1]) if len(ends) else 0
        return cls(np.zeros(total + SLACK, dtype=np.uint8), ends - lengths, lengths)

    @classmethod
    def of(cls, values: list[bytes]) -> Ragged:
        """From Python values: for tests and single cells, not for columns."""
        rows = cls.packed(np.array([len(value) for value in values], dtype=np.int64))
        joined = b"".join(values)
        rows.data[: len(joined)] = np.frombuffer(joined, dtype=np.uint8)
        return rows

    def tolist(self) -> list[bytes]:
        if not len(self):
            return []
        raw = self.data[: int(self.starts[-1] + self.lengths[-1])].tobytes()
        return [raw[s : s + n] for s, n in zip(self.starts.tolist(), self.lengths.tolist(), strict=True)]

    def select(self, rows: NDArray[Any]) -> Ragged:
        """Some of the rows, on the same buffer."""
        return Ragged(self.data, self.starts[rows], self.lengths[rows])


def windows(data: Bytes, size: int = BLOCK) -> NDArray[np.void]:
    """Every window of *size* bytes of a buffer, by its offset. Writing through it writes the buffer."""
    return np.ndarray(shape=(len(data) - (size - 1),), dtype=f"V{size}", buffer=data, strides=(1,))


def words(blocks: NDArray[np.void]) -> Words:
    """The same blocks as pairs of 64-bit words, for XOR."""
    return blocks.view(np.uint64)


def repeated(block: bytes, count: int) -> Words:
    """The same block for each of *count* rows."""
    out = np.empty(count, dtype="V16")
    out[:] = np.frombuffer(block, dtype="V16")
    return words(out)
