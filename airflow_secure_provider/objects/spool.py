"""A stream made seekable. What does not fit into memory lies on disk under a key that only this process has."""

from __future__ import annotations

import io
import secrets
import tempfile
from typing import IO, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .source import ByteStream

_BLOCK = 1024 * 1024  # of plaintext; each is sealed on its own
_TAG = 16
_IN_MEMORY_BLOCKS = 64


class EncryptedSpool(io.RawIOBase):
    """The whole of a stream, to be read from anywhere.

    Up to 64 MiB stay in memory. More goes block by block into a file without a name, sealed by AES-256-GCM under a key
    that is made for it and never leaves this object: plaintext is not written to disk, and what is read back is what was
    written. A block's nonce is its number; each is sealed once under its key.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cipher = AESGCM(secrets.token_bytes(32))
        self._memory: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._size = 0
        self._position = 0
        self._block: tuple[int, bytes] = (-1, b"")

    @classmethod
    def of(cls, stream: ByteStream) -> Self:
        spool = cls()
        rest = bytearray()
        while piece := stream.read(_BLOCK):
            rest += piece
            while len(rest) >= _BLOCK:
                spool._append(bytes(rest[:_BLOCK]))
                del rest[:_BLOCK]
        if rest:
            spool._append(bytes(rest))
        return spool

    def _append(self, block: bytes) -> None:
        number = (self._size + _BLOCK - 1) // _BLOCK
        self._size += len(block)
        if number < _IN_MEMORY_BLOCKS:
            self._memory.append(block)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with this object)
        self._file.write(self._cipher.encrypt(_nonce(number), block, None))

    def _read_block(self, number: int) -> bytes:
        if number < len(self._memory):
            return self._memory[number]
        if self._block[0] != number and self._file is not None:
            self._file.seek((number - _IN_MEMORY_BLOCKS) * (_BLOCK + _TAG))
            sealed = self._file.read(_BLOCK + _TAG)
            self._block = number, self._cipher.decrypt(_nonce(number), sealed, None)
        return self._block[1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        done = 0
        while done < len(view) and self._position < self._size:
            number, within = divmod(self._position, _BLOCK)
            piece = self._read_block(number)[within : within + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def close(self) -> None:
        self._memory.clear()
        self._block = (-1, b"")
        if self._file is not None:
            self._file.close()
        super().close()


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
