"""The file formats of records, by name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import ConfigurationError


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Compression(StrEnum):
    GZIP = "gzip"
    ZSTD = "zstd"

    @classmethod
    def of_key(cls, key: str) -> Compression | None:
        """Of an object, by its key's ending: ``.gz``, ``.zst``."""
        return {".gz": cls.GZIP, ".zst": cls.ZSTD}.get(PurePosixPath(key).suffix.lower())


class FileFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @classmethod
    def of(cls, path: Path | None, given: str | None = None) -> FileFormat:
        """By name, or by the file's ending: ``.csv``; ``.jsonl``, ``.ndjson``; ``.parquet``.

        :raises ConfigurationError: if neither tells.
        """
        if given is not None:
            return cls(given)
        ending = path.suffix.lower() if path is not None else ""
        if ending not in _ENDINGS:
            raise ConfigurationError(
                f"{path}: the ending {ending!r} does not tell the format; name it with --format csv, jsonl or parquet"
            )
        return _ENDINGS[ending]

    @classmethod
    def known(cls, path: Path) -> bool:
        """Whether the ending tells."""
        return path.suffix.lower() in _ENDINGS

    @classmethod
    def of_key(cls, key: str) -> FileFormat:
        """Of an object, by its key's ending before that of a compression; CSV for an unknown one."""
        path = PurePosixPath(key)
        inner = path.with_suffix("") if Compression.of_key(key) and path.stem else path
        return _ENDINGS.get(inner.suffix.lower(), cls.CSV)

    @property
    def holds_bytes(self) -> bool:
        """Whether cells are bytes there; else they are base64 text."""
        return self is FileFormat.PARQUET


_ENDINGS = {
    ".csv": FileFormat.CSV,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".parquet": FileFormat.PARQUET,
}
