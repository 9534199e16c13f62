"""CSV as a stream of Arrow record batches, every column as text.

Unquoted empty is null, quoted empty is "" (RFC 4180 with PostgreSQL's reading of nulls). Columns stay text here: they
are converted by their rules later, so that an error names column and record and never quotes the row, as pyarrow's do.
"""

from __future__ import annotations

import csv as python_csv
import functools
import io
import re
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ..errors import FormatError, SecureProviderError
from .csv_quotes import Quotes

BLOCK_BYTES = 2 * 1024 * 1024
"""pyarrow reads 32 blocks ahead: a load of 1 GiB peaks at 300 MiB, where 4 MiB peak at 430–495 and are no faster."""

_HEADER_BYTES = 64 * 1024


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class CsvReader:
    """Reads a CSV with a header, in UTF-8.

    :param source: plain bytes.
    :param where: the object or table, for messages.
    :raises FormatError: if there is no header that can be read.
    """

    def __init__(self, source: Readable, where: str, block_bytes: int = BLOCK_BYTES) -> None:
        failure: Exception
        self._where = where
        self._bad_row: Any = None
        self._file = _ReadableFile(source)
        self._done = 0
        self.columns: list[str] = []
        try:
            # Every column is text; pyarrow takes types by name, so the header is read ahead.
            names = self._file.header()
            self._reader = csv.open_csv(
                self._file,
                read_options=csv.ReadOptions(use_threads=False, block_size=block_bytes),
                parse_options=csv.ParseOptions(
                    newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=self._remember
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=[""],
                    check_utf8=True,
                ),
            )
            self.columns = list(self._reader.schema.names)
        except (pa.ArrowException, UnicodeDecodeError, SecureProviderError) as error:
            failure = self._explain(error)
        else:
            if self.columns == names:
                return
            failure = FormatError(f"{where}: its header can't be read; write it as plain or quoted names")
        raise failure

    def batches(self) -> Iterator[Any]:
        """Record batches of text columns.

        :raises FormatError: naming the record and what is wrong with it, never its content.
        """
        while True:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                break
            except (pa.ArrowException, SecureProviderError) as error:
                failure = self._explain(error)
            else:
                self._refuse_blank_line(batch)
                self._done += batch.num_rows
                yield batch
                continue
            raise failure
        self._expect_good_quotes()

    def close(self) -> None:
        """Stop reading: pyarrow reads ahead in a thread of its own, which must not outlive the source."""
        self._file.closed = True

    def _refuse_blank_line(self, batch: Any) -> None:
        # pyarrow reads a blank line as a record of nulls, like ",,". It is one field, and so too short, unless the file
        # has a single column. A record of nulls is taken for one if the file has a blank line at all.
        if (
            not self._file.quotes.blank_line
            or batch.num_columns == 1
            or not all(c.null_count for c in batch.columns)
        ):
            return
        empty = functools.reduce(pc.and_, [pc.is_null(column) for column in batch.columns])
        index = pc.index(empty, True).as_py()
        if index >= 0:
            raise FormatError(f"{self._where}: record {self._done + index + 1:,} is a blank line; remove it")

    def _expect_good_quotes(self) -> None:
        quotes = self._file.quotes
        if quotes.stray_at is not None:
            raise FormatError(
                f"{self._where}: the quote at byte {quotes.stray_at:,} stands bare inside a field, or one before it was "
                'left open; quote such fields and double the quotes in them ("")'
            )
        if quotes.left_open:
            raise FormatError(f"{self._where}: a quote is left open at its end; close it")

    def _remember(self, row: Any) -> str:
        self._bad_row = row
        return "error"

    def _explain(self, error: Exception) -> Exception:
        if self._file.failure is not None:
            return self._file.failure
        behind = f"behind record {self._done:,}"
        if self._bad_row is not None:
            got, expected, number = (
                self._bad_row.actual_columns,
                self._bad_row.expected_columns,
                self._bad_row.number,
            )
            record = f"record {number - 1:,}" if number else f"a record {behind}"
            length = "short" if got < expected else "long"
            return FormatError(
                f"{self._where}: {record} has {got} fields, expected {expected}: it is too {length}"
            )
        message = str(error)
        if isinstance(error, UnicodeDecodeError) or "UTF8" in message or "UTF-8" in message:
            column = re.search(r"In CSV column #(\d+)", message)
            place = f" in column {self.columns[int(column[1])]!r}" if column and self.columns else ""
            return FormatError(f"{self._where}: not UTF-8{place}, {behind}; convert it to UTF-8")
        if "Empty CSV file" in message and not self._file.quotes.left_open:
            return FormatError(f"{self._where} is empty; a header with the columns' names is expected")
        return FormatError(
            f"{self._where}: can't be read as CSV {behind}; is a quote left open, or a record over 2 MiB?"
        )


class _ReadableFile:
    """What pyarrow needs of a Python file; keeps the error that its C++ side would wrap; follows the quotes."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ahead = b""
        self.failure: Exception | None = None
        self.quotes = Quotes()
        self.closed = False

    def header(self) -> list[str]:
        """The names in the first record, without taking it."""
        while b"\n" not in self._ahead or self._ahead.count(b'"') % 2:
            piece = self._take(_HEADER_BYTES)
            if not piece and b"\n" not in self._ahead and self._ahead:
                self._ahead += b"\n"  # nothing but a header
            if not piece or len(self._ahead) > BLOCK_BYTES:
                break
            self._ahead += piece
        # Decoded leniently: where it is not UTF-8, the comparison with pyarrow's own reading fails.
        text = self._ahead.decode("utf-8-sig", errors="replace")
        try:
            return next(python_csv.reader(io.StringIO(text, newline="")), [])
        except python_csv.Error:  # a name of over 128 KiB: a quote left open
            return []

    def read(self, size: int = -1) -> bytes:
        wanted = size if size >= 0 else BLOCK_BYTES
        pieces, self._ahead = [self._ahead[:wanted]], self._ahead[wanted:]
        missing = wanted - len(pieces[0])
        while missing and (more := self._take(missing)):  # a frame of an encrypted object may have 4 KiB
            pieces.append(more)
            missing -= len(more)
        piece = b"".join(pieces)
        if piece.endswith(b"\r") and len(piece) > 1:
            # pyarrow takes a line feed at the start of a block for the end of the block before, also inside a field.
            piece, self._ahead = piece[:-1], b"\r" + self._ahead
        self.quotes.follow(piece)
        return piece

    def _take(self, size: int) -> bytes:
        if self.closed:
            return b""
        try:
            return self._source.read(size)
        except Exception as error:
            self.failure = error
            raise

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
