"""AES-SIV (RFC 5297), a whole column at a time.

Every byte equals what ``cryptography``'s :class:`AESSIV` gives for the row alone.

Bounds per derived key: ``docs/formats/cells.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DecryptionError
from .block import BlockCipher
from .cmac import Cmac, double, double_many
from .planar import Layout, Planes, gather, scatter, sorted_words, unsorted_words
from .ragged import BLOCK, PAD, Ragged, Words, repeated, windows, words

_MAX_ASSOCIATED_DATA = 126  # RFC 5297 section 7
_CLEARED = np.frombuffer(bytes.fromhex("7fffffff7fffffff"), dtype=np.uint64)[
    0
]  # the last 8 bytes of section 2.5's mask


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
        self._strings = len(associated_data)
        half = len(key) // 2
        self._mac = Cmac(key[:half])
        self._ctr = BlockCipher(key[half:])
        # S2V (section 2.4) over the fixed strings: D = CMAC(0); D = dbl(D) xor CMAC(S_i).
        state = self._mac.one(bytes(BLOCK))
        for text in associated_data:
            state = _xor(double(state), self._mac.one(text))
        self._fixed = state
        # The same without a nonce for all rows, by the number of bytes r in the last block: xorend puts the last r bytes
        # of D at the beginning of the last block, and the others at the end of the block before it.
        many = [state[BLOCK - r :] + bytes(BLOCK - r) for r in range(BLOCK + 1)]
        before = [bytes(r) + state[: BLOCK - r] for r in range(BLOCK + 1)]
        single = [double(state)] * BLOCK + [state]
        pad = words(PAD) ^ repeated(self._mac.k1, BLOCK + 1)
        self._last_of_many = (_table(many) ^ words(self._mac.last)).view("V16")
        self._before_last = _table(before).view("V16")
        self._last_of_single = (_table(single) ^ pad).view("V16")

    def seal(
        self, plaintext: Ragged, out: Ragged, nonces: Words | None = None, bound: Ragged | None = None
    ) -> Words:
        """Encrypt each row (section 2.6).

        :param plaintext: the rows.
        :param out: where the ciphertexts go: rows of the same lengths. Up to 15 bytes behind each row are overwritten
            with rubbish: write what belongs there afterwards.
        :param nonces: uint64 (2n,): one more associated-data string of 16 bytes for each row, the last one.
        :param bound: with nonces only: one more string for each row, before the nonce.
        :return: the synthetic IVs, uint64 (2n,).
        """
        self._check_strings(nonces, bound)
        layout = Layout.of(plaintext.lengths)
        planes = gather(plaintext, layout)
        tags = self._s2v(planes, layout, nonces, bound)
        scatter(self._keystream_xor(tags, planes, layout), layout, out)
        return unsorted_words(layout, tags)

    def open(
        self, tags: Words, ciphertext: Ragged, nonces: Words | None = None, bound: Ragged | None = None
    ) -> Ragged:
        """Decrypt each row and verify all of them (section 2.7).

        All 16 bytes of all rows are compared before any plaintext is released.

        :raises DecryptionError: with the number of rows that do not authenticate, and no plaintext.
        """
        self._check_strings(nonces, bound)
        layout = Layout.of(ciphertext.lengths)
        given = sorted_words(layout, tags)
        planes = self._keystream_xor(given, gather(ciphertext, layout), layout)
        differs = self._s2v(planes, layout, nonces, bound) ^ given
        wrong = int(np.count_nonzero(differs[0::2] | differs[1::2]))
        if wrong:
            raise DecryptionError(f"{wrong} of {len(ciphertext)} cells do not authenticate")
        plaintext = Ragged.packed(ciphertext.lengths)
        scatter(planes, layout, plaintext)
        plaintext.data[int(plaintext.lengths.sum()) :] = 0
        return plaintext

    def _check_strings(self, nonces: Words | None, bound: Ragged | None) -> None:
        if bound is not None and nonces is None:
            raise ValueError("a string for each row goes before a nonce, and there is none")
        count = self._strings + (nonces is not None) + (bound is not None)
        if count > _MAX_ASSOCIATED_DATA:
            raise ValueError(f"at most {_MAX_ASSOCIATED_DATA} associated-data strings, got {count}")

    def _s2v(self, planes: Planes, layout: Layout, nonces: Words | None, bound: Ragged | None) -> Words:
        """Section 2.4 with the plaintext as the last string S_n.

        T = S_n xorend D if S_n has 16 bytes or more, which touches its last two blocks; else T = dbl(D) xor pad(S_n).
        Both XORs are put together with CMAC's own of the last block: V = CMAC(T).
        """
        single, left = layout.single_from, layout.left
        if nonces is None:
            last = words(self._last_of_many[left])
            last[2 * single :] = words(self._last_of_single[left[single:]])
            before_last = words(self._before_last[left])
            return self._mac.chain(planes, layout, last, before_last)
        state = sorted_words(layout, self._row_state(nonces, bound))
        last = words(self._mac.last[left])
        # D between zeros, so that a window at the right offset is D shifted by whole bytes.
        room = np.zeros((single, 3 * BLOCK), dtype=np.uint8)
        room[:, BLOCK : 2 * BLOCK] = state[: 2 * single].view(np.uint8).reshape(-1, BLOCK)
        shifted = windows(room.reshape(-1)) if single else state.view("V16")
        first = np.arange(single, dtype=np.int64) * (3 * BLOCK) - left[:single]
        last[: 2 * single] ^= words(shifted[first + 2 * BLOCK])
        before_last = words(shifted[first + BLOCK])
        # A single block: D itself where it is complete, else dbl(D) and padding; T is complete in both cases, so K1.
        ending = state[2 * single :]
        incomplete = np.repeat(left[single:] < BLOCK, 2)
        last[2 * single :] = np.where(incomplete, double_many(ending) ^ words(PAD[left[single:]]), ending)
        last[2 * single :] ^= repeated(self._mac.k1, len(layout) - single)
        return self._mac.chain(planes, layout, last, before_last)

    def _row_state(self, nonces: Words, bound: Ragged | None) -> Words:
        """D of each row after its own strings: D = dbl(D) xor CMAC(S_i)."""
        doubled = repeated(double(self._fixed), len(nonces) // 2)
        if bound is not None:
            doubled = double_many(doubled ^ self._mac.many(bound))
        # The nonce is the last string before the plaintext; a 16-byte message is one complete CMAC block.
        return doubled ^ self._mac.one_block_each(nonces)

    def _keystream_xor(self, tags: Words, planes: Planes, layout: Layout) -> Planes:
        # Section 2.5: Q = V with bits 31 and 63 (counted from the right) cleared; the counter can't carry out of its
        # last 32 bits, since their top bit is clear and a row has far fewer than 2^31 blocks.
        counters = tags.copy()
        counters[1::2] &= _CLEARED
        low = counters[1::2].byteswap()
        made = []
        for plane, blocks in enumerate(planes):
            count = layout.alive[plane]
            block = counters[: 2 * count]
            if plane:
                block = block.copy()
                block[1::2] = (low[:count] + np.uint64(plane)).byteswap()
            stream = self._ctr.encrypt(block)
            stream ^= words(blocks)
            made.append(stream.view("V16"))
        return made


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _table(blocks: list[bytes]) -> Words:
    return np.frombuffer(b"".join(blocks), dtype=np.uint64)
