"""AES-CMAC (RFC 4493, NIST SP 800-38B), a whole column at a time."""

from __future__ import annotations

import numpy as np

from .block import BlockCipher
from .ragged import BLOCK, MASK, PAD, Ragged, Words, windows, words


class Cmac:
    """AES-CMAC under one key of 16, 24 or 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._aes = BlockCipher(key)
        # RFC 4493 section 2.3: K1 = dbl(AES(0^128)), K2 = dbl(K1).
        self._k1 = double(self._aes.encrypt_one(bytes(BLOCK)))
        self._k2 = double(self._k1)

    def one(self, message: bytes) -> bytes:
        """The 16-byte tag of a single message, through the same code as a column."""
        return self.many(Ragged.of([message])).tobytes()

    def one_block_each(self, blocks: Words) -> Words:
        """The tags of messages that are exactly one block long each.

        :param blocks: uint64 (2n,).
        :return: uint64 (2n,).
        """
        return self._aes.encrypt(blocks ^ tiled(self._k1, len(blocks) // 2))

    def many(self, rows: Ragged) -> Words:
        """The tag of every row (RFC 4493 section 2.4).

        :return: uint64 (2n,), two words a tag, in row order.
        """
        count = len(rows)
        # Step 2: the number of blocks; an empty message is one (padded) block.
        blocks = np.maximum(rows.blocks(), 1)
        # Longest rows first, so that the rows that have block i are always a prefix.
        order = np.argsort(-blocks, kind="stable")
        starts, lengths, blocks = rows.starts[order], rows.lengths[order], blocks[order]
        source = windows(rows.data)
        state = np.zeros(2 * count, dtype=np.uint64)  # step 5: X := 0^128
        last = int(blocks[0]) if count else 0
        alive = count
        for position in range(last):
            finishing_from = int(np.searchsorted(-blocks[:alive], -(position + 1), side="left"))
            chunk = words(source[starts[:alive] + BLOCK * position])
            # Steps 3 and 4: the last block is XORed with K1 if it is complete, else padded and with K2.
            left = lengths[finishing_from:alive] - BLOCK * position
            ending = chunk[2 * finishing_from :]
            ending &= words(MASK[left])
            ending ^= words(PAD[left])
            ending ^= np.where(
                np.repeat(left == BLOCK, 2), tiled(self._k1, len(left)), tiled(self._k2, len(left))
            )
            # Step 6: X := AES(X xor M_i)
            state[: 2 * alive] = self._aes.encrypt(state[: 2 * alive] ^ chunk)
            alive = finishing_from
        tags = np.empty(count, dtype="V16")
        tags[order] = state.view("V16")
        return words(tags)


def tiled(block: bytes, count: int) -> Words:
    """The same block for each of *count* rows."""
    return np.tile(np.frombuffer(block, dtype=np.uint64), count)


def double(block: bytes) -> bytes:
    """Multiplication by x in GF(2^128) (RFC 5297 section 2.3)."""
    value = int.from_bytes(block, "big") << 1
    if value >> 128:
        value ^= (1 << 128) | 0x87
    return value.to_bytes(BLOCK, "big")


def double_many(blocks: Words) -> Words:
    """:func:`double` of each block."""
    pairs = blocks.byteswap()
    high, low = pairs[0::2], pairs[1::2]
    out = np.empty_like(pairs)
    out[0::2] = (high << np.uint64(1)) | (low >> np.uint64(63))
    out[1::2] = (low << np.uint64(1)) ^ ((high >> np.uint64(63)) * np.uint64(0x87))
    return out.byteswap()
