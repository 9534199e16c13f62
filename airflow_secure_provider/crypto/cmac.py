"""AES-CMAC (RFC 4493, NIST SP 800-38B), a whole column at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .block import BlockCipher
from .planar import Layout, Planes, gather, unsorted_words
from .ragged import BLOCK, MASK, PAD, Ragged, Words, repeated, words


class Cmac:
    """AES-CMAC under one key of 16, 24 or 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._aes = BlockCipher(key)
        # RFC 4493 section 2.3: K1 = dbl(AES(0^128)), K2 = dbl(K1).
        self._k1 = double(self._aes.encrypt_one(bytes(BLOCK)))
        k2 = double(self._k1)
        # Section 2.4, step 4: a last block of 16 bytes is XORed with K1, a shorter one is padded and XORed with K2.
        last = words(PAD) ^ repeated(k2, BLOCK + 1)
        last[2 * BLOCK :] = np.frombuffer(self._k1, dtype=np.uint64)
        self.last: NDArray[np.void] = last.view("V16")
        """By the number of bytes in the last block: what is XORed into it."""

    @property
    def k1(self) -> bytes:
        return self._k1

    def one(self, message: bytes) -> bytes:
        """The 16-byte tag of a single message, through the same code as a column."""
        return self.many(Ragged.of([message])).tobytes()

    def many(self, rows: Ragged) -> Words:
        """The tag of every row (RFC 4493 section 2.4).

        :return: uint64 (2n,), two words a tag, in row order.
        """
        layout = Layout.of(rows.lengths)
        tags = self.chain(gather(rows, layout), layout, words(self.last[layout.left]), spend=True)
        return unsorted_words(layout, tags)

    def one_block_each(self, blocks: Words) -> Words:
        """The tags of messages that are exactly one block long each.

        :param blocks: uint64 (2n,).
        :return: uint64 (2n,).
        """
        return self._aes.encrypt(blocks ^ repeated(self._k1, len(blocks) // 2))

    def chain(
        self,
        planes: Planes,
        layout: Layout,
        last: Words,
        before_last: Words | None = None,
        *,
        spend: bool = False,
    ) -> Words:
        """Steps 5 to 7: X := 0; X := AES(X xor M_i) for every block; the last X is the tag.

        :param planes: the messages; what lies behind their ends is not looked at.
        :param last: uint64 (2n,), XORed into each row's last block: :attr:`last` for CMAC as it is.
        :param before_last: XORed into the block before the last, of rows that have one, as AES-SIV's xorend needs.
        :param spend: the planes are not needed any more and may be overwritten.
        :return: the tags, uint64 (2n,), in the layout's order.
        """
        tags = np.empty(2 * len(layout), dtype=np.uint64)
        state = tags[:0]
        for plane, blocks in enumerate(planes):
            alive, longer, much_longer = layout.alive[plane : plane + 3]
            chunk = words(blocks if spend else blocks.copy())
            ending = chunk[2 * longer :]
            ending &= words(MASK[layout.left[longer:alive]])
            ending ^= last[2 * longer : 2 * alive]
            if before_last is not None:
                chunk[2 * much_longer : 2 * longer] ^= before_last[2 * much_longer : 2 * longer]
            if plane:
                chunk ^= state
            made = self._aes.encrypt(chunk)
            tags[2 * longer : 2 * alive] = made[2 * longer :]
            state = made[: 2 * longer]
        return tags


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
