"""How a CSV is written."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError, FormatError
from .formats import Readable

_KNOWN = ("delimiter", "quote", "header", "encoding", "null_values")
_UTF_8 = "utf-8"


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """
    :param delimiter: one ASCII character between fields.
    :param quote: one ASCII character around fields; doubled, it stands for itself.
    :param header: whether the first record names the columns. If not, they are the contract's, in its order.
    :param encoding: as Python names it.
    :param null_values: what is null where it stands unquoted.
    """

    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    encoding: str = _UTF_8
    null_values: tuple[str, ...] = ("",)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> CsvDialect:
        """:raises ConfigurationError: for an unknown option, or a value that it can't have."""
        unknown = [name for name in given if name not in _KNOWN]
        if unknown:
            raise ConfigurationError(f"csv_options {unknown[0]!r}, expected one of {', '.join(_KNOWN)}")
        made = cls(**{**given, "null_values": _texts(given.get("null_values", ("",)))})
        for name in ("delimiter", "quote"):
            character = getattr(made, name)
            printable = isinstance(character, str) and len(character) == 1 and " " <= character <= "~"
            if not printable and character != "\t":
                raise ConfigurationError(
                    f"csv_options {name}: expected one printable ASCII character, or a tab"
                )
        if made.delimiter == made.quote:
            raise ConfigurationError("csv_options: delimiter and quote are the same")
        if not isinstance(made.header, bool):
            raise ConfigurationError("csv_options header: expected true or false")
        try:
            codecs.lookup(made.encoding)
        except (LookupError, TypeError):
            raise ConfigurationError(
                f"csv_options encoding {made.encoding!r}: Python knows no such encoding"
            ) from None
        return made

    def as_utf8(self, source: Readable, where: str) -> Readable:
        if codecs.lookup(self.encoding).name == _UTF_8:
            return source
        return _Recoded(source, self.encoding, where)


def _texts(given: Any) -> tuple[str, ...]:
    good = (
        isinstance(given, Sequence)
        and not isinstance(given, str)
        and all(isinstance(each, str) for each in given)
    )
    if not good:
        raise ConfigurationError("csv_options null_values: expected a list of texts")
    return tuple(given)


class _Recoded:
    """A stream in another encoding, as UTF-8."""

    def __init__(self, source: Readable, encoding: str, where: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._where = where
        self._taken = 0
        self._ended = False

    def read(self, size: int, /) -> bytes:
        while not self._ended:
            piece = self._source.read(size)
            self._ended = not piece
            text = ""
            good = True
            try:
                text = self._decoder.decode(piece, final=self._ended)
            except UnicodeError:  # it holds the bytes
                good = False
            if not good:
                raise FormatError(
                    f"{self._where}: not {self._encoding}, behind byte {self._taken:,}; check csv_options encoding"
                )
            self._taken += len(piece)
            if text:
                return text.encode()
        return b""
