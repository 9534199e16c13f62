"""FF1 of Ubiq Security, another library of PyPI, as an oracle.

It takes its AES from M2Crypto, which is not built for PyPI; here it gets the same from ``cryptography``.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class _Evp:
    """AES-CBC encryption as M2Crypto.EVP.Cipher offers it."""

    def __init__(self, *, alg: str, key: bytes, iv: bytes, op: int) -> None:
        assert op == 1
        assert alg == f"aes_{8 * len(key)}_cbc"
        self._encryptor = Cipher(algorithms.AES(bytes(key)), modes.CBC(bytes(iv))).encryptor()

    def update(self, data: bytes) -> bytes:
        return self._encryptor.update(bytes(data))


def ff1(key: bytes, tweak: bytes, alphabet: str) -> Any:
    """An object with ``Encrypt`` and ``Decrypt``."""
    module: Any = types.ModuleType("M2Crypto")
    module.EVP = types.SimpleNamespace(Cipher=_Evp)
    sys.modules.setdefault("M2Crypto", module)
    from ubiq_security_fpe.ff1 import Context

    return Context(key, tweak, 0, 2**20, len(alphabet), alphabet)
