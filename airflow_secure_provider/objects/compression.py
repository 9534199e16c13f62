"""Compressed content, inflated as it streams."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa

from ..errors import FormatError
from ..model import AtRest
from .source import PlainStream


class Decompressed:
    """
    :param codec: ``gzip`` or ``zstd``.
    :param where: the object, for messages.
    """

    def __init__(self, stream: PlainStream, codec: str, where: str) -> None:
        self._stream = stream
        self._codec = codec
        self._where = where
        self._inflated: Any = pa.CompressedInputStream(pa.PythonFile(_File(stream), mode="r"), codec)

    @property
    def at_rest(self) -> AtRest:
        return self._stream.at_rest

    def read(self, size: int, /) -> bytes:
        """:raises FormatError: for what is damaged, truncated or no such compression."""
        problem = ""
        try:
            piece: bytes = self._inflated.read(size)
        except (OSError, pa.ArrowException) as error:
            truncated = "Truncated" in str(error)
            problem = "ends in the middle: it is truncated" if truncated else "is damaged, or is none"
        else:
            return piece
        raise FormatError(f"{self._where}: its {self._codec} stream {problem}")

    def finish(self) -> None:
        self._stream.finish()


class _File(io.RawIOBase):
    """A stream as Arrow wants a file: never more than was asked for."""

    def __init__(self, stream: PlainStream) -> None:
        super().__init__()
        self._stream = stream
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        if not self._rest:
            self._rest = self._stream.read(size)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece
