"""AES over many blocks at once: one ECB call of the ``cryptography`` package for a whole array.

ECB is the raw block cipher here, the building brick of CMAC and CTR; nothing is ever encrypted "in ECB mode".
"""

from __future__ import annotations

import os
import sys

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if sys.byteorder != "little":
    raise ImportError("the columns' cryptography is written for little-endian machines")

from .memory import keep_freed_memory
from .ragged import BLOCK, Words

_UPDATE_INTO_EXTRA = BLOCK - 1  # update_into refuses an output that is not this much longer


class BlockCipher:
    """AES with one key. Not safe to share between threads."""

    def __init__(self, key: bytes) -> None:
        keep_freed_memory()
        self._encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (see the module)

    def encrypt(self, blocks: Words) -> Words:
        """Encrypt each 16-byte block.

        :param blocks: contiguous uint64 (2n,), two words a block.
        :return: uint64 (2n,), a new array.
        """
        size = blocks.nbytes
        out = np.empty(size + BLOCK, dtype=np.uint8)
        if size:
            self._encryptor.update_into(blocks.view(np.uint8).data, out[: size + _UPDATE_INTO_EXTRA].data)
        return out[:size].view(np.uint64)

    def encrypt_one(self, block: bytes) -> bytes:
        """Encrypt a single 16-byte block."""
        return self._encryptor.update(block)


def fresh_blocks(count: int) -> Words:
    """So many random 16-byte blocks, no two alike.

    The keystream of AES-256-CTR (SP 800-38A) under a key out of the operating system's random numbers, which is used for
    this call only and forgotten: ten times as fast as asking the system for all of it.

    :return: uint64 (2 * count,).
    """
    keystream = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(BLOCK))).encryptor()
    return np.frombuffer(keystream.update(bytes(BLOCK * count)), dtype=np.uint64)
