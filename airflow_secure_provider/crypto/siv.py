"""AES-SIV (RFC 5297), a whole column at a time.

Every byte equals what ``cryptography``'s :class:`AESSIV` gives for the row alone.

Bounds per derived key: the synthetic IV has 128 bits, so some two of n different inputs share one with a probability
of about n²/2^129; at 2^40 cells that is below 2^-48.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DecryptionError
from .block import BlockCipher
from .cmac import Cmac, double, double_many, tiled
from .ragged import BLOCK, MASK, PAD, Ragged, Words, planes, windows, words

_MAX_ASSOCIATED_DATA = 126  # RFC 5297 section 7


class Siv:
    """AES-SIV under one key with fixed associated data.

    :param key: 32, 48 or 64 bytes: the first half for S2V, the second for CTR (section 2.2).
    :param associated_data: the strings before the nonce, at most 126 with it.
    """

    def __init__(self, key: bytes, associated_data: Sequence[bytes]) -> None:
        if len(key) not in (32, 48, 64):
            raise ValueError(f"an AES-SIV key has 32, 48 or 64 bytes, got {len(key)}")
        if len(associated_data) > _MAX_ASSOCIATED_DATA:
            raise ValueError(
                f"at most {_MAX_ASSOCIATED_DATA} associated-data strings, got {len(associated_data)}"
            )
        half = len(key) // 2
        self._mac = Cmac(key[:half])
        self._ctr = BlockCipher(key[half:])
        # S2V (section 2.4) over the fixed strings: D = CMAC(0); D = dbl(D) xor CMAC(S_i).
        state = self._mac.one(bytes(BLOCK))
        for text in associated_data:
            state = _xor(double(state), self._mac.one(text))
        self._fixed = state

    def seal(self, plaintext: Ragged, out: Ragged, nonces: Words | None = None) -> Words:
        """Encrypt each row (section 2.6).

        :param plaintext: the rows.
        :param out: where the ciphertexts go: rows of the same lengths. Up to 15 bytes behind each row are overwritten
            with rubbish: write what belongs there afterwards.
        :param nonces: uint64 (2n,): one more associated-data string of 16 bytes for each row, the last one.
        :return: the synthetic IVs, uint64 (2n,).
        """
        tags = self._s2v(plaintext, nonces)
        self._keystream_xor(tags, plaintext, out)
        return tags

    def open(self, tags: Words, ciphertext: Ragged, nonces: Words | None = None) -> Ragged:
        """Decrypt each row and verify all of them (section 2.7).

        All 16 bytes of all rows are compared before any plaintext is released.

        :raises DecryptionError: with the number of rows that do not authenticate, and no plaintext.
        """
        plaintext = Ragged.packed(ciphertext.lengths)
        self._keystream_xor(tags, ciphertext, plaintext)
        plaintext.data[int(plaintext.lengths.sum()) :] = 0
        differs = ((self._s2v(plaintext, nonces) ^ tags).reshape(-1, 2) != 0).any(axis=1)
        wrong = int(np.count_nonzero(differs))
        if wrong:
            raise DecryptionError(f"{wrong} of {len(ciphertext)} cells do not authenticate")
        return plaintext

    def _s2v(self, rows: Ragged, nonces: Words | None) -> Words:
        count = len(rows)
        if nonces is None:
            state, doubled = tiled(self._fixed, count), tiled(double(self._fixed), count)
        else:
            # The nonce is the last string before the plaintext; a 16-byte message is one complete CMAC block.
            state = tiled(double(self._fixed), count) ^ self._mac.one_block_each(nonces)
            doubled = double_many(state)
        result = np.empty(count, dtype="V16")
        short = rows.lengths < BLOCK
        if short.any():
            # T = dbl(D) xor pad(S_n), always one complete block
            where = np.flatnonzero(short)
            lengths = rows.lengths[where]
            block = words(windows(rows.data)[rows.starts[where]]) & words(MASK[lengths])
            block ^= words(PAD[lengths]) ^ words(doubled.view("V16")[where])
            result[where] = self._mac.one_block_each(block).view("V16")
        if not short.all():
            # T = S_n xorend D, on a copy
            where = np.flatnonzero(~short)
            copy = Ragged(rows.data.copy(), rows.starts[where], rows.lengths[where])
            tail = copy.starts + copy.lengths - BLOCK
            view = windows(copy.data)
            view[tail] = (words(view[tail]) ^ words(state.view("V16")[where])).view("V16")
            result[where] = self._mac.many(copy).view("V16")
        return words(result)

    def _keystream_xor(self, tags: Words, source: Ragged, target: Ragged) -> None:
        # Section 2.5: Q = V with bits 31 and 63 (counted from the right) cleared; the counter can't carry out of its
        # last 32 bits, since their top bit is clear and a row has far fewer than 2^31 blocks.
        counters = tags.view(np.uint8).reshape(-1, BLOCK).copy()
        counters[:, 8] &= 0x7F
        counters[:, 12] &= 0x7F
        low = counters.view(">u4")[:, 3].astype(np.uint32)
        start = counters.reshape(-1).view("V16")
        read, write = windows(source.data), windows(target.data)
        for plane, rows in planes(source.blocks()):
            block = start[rows]
            if plane:
                block.view(">u4").reshape(-1, 4)[:, 3] = low[rows] + np.uint32(plane)
            stream = self._ctr.encrypt(words(block))
            stream ^= words(read[source.starts[rows] + BLOCK * plane])
            write[target.starts[rows] + BLOCK * plane] = stream.view("V16")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
