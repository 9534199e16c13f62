"""CSV as a stream of Arrow record batches, every column as text.

Unquoted empty is null, quoted empty is "" (RFC 4180 with PostgreSQL's reading of nulls). Columns stay text here: they
are converted by their rules later, so that an error names column and record and never quotes the row, as pyarrow's do.
"""

from __future__ import annotations

import csv as python_csv
import functools
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ..errors import FormatError
from .csv_dialect import CsvDialect
from .csv_quotes import Quotes
from .formats import Readable
from .utf8 import is_utf8

BLOCK_BYTES = 4 * 1024 * 1024
"""About 27,000 records of 150 bytes: inside the 16–32 thousand rows at which column protection is fastest."""
LONGEST_RECORD_BYTES = 16 * 1024 * 1024
_UTF_8 = "convert it to UTF-8, or name its encoding (csv_options of operators, --encoding of commands)"


class CsvReader:
    """Reads a CSV with a header, in UTF-8.

    Blocks are cut at the end of a record here and parsed one by one. pyarrow's own streaming reader would read ahead in
    a thread, 32 blocks far, which holds memory, and hangs the interpreter at its end if the file is Python's.

    :param source: plain bytes.
    :param where: the object or table, for messages.
    :param dialect: how it is written; RFC 4180 with commas by default.
    :param names: of the columns, where the dialect has no header.
    :raises FormatError: if there is no header that can be read.
    """

    def __init__(
        self,
        source: Readable,
        where: str,
        block_bytes: int = BLOCK_BYTES,
        *,
        dialect: CsvDialect | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self._dialect = dialect or CsvDialect()
        self._where = where
        self._block_bytes = block_bytes
        self._bad_row: Any = None
        self._done = 0
        self._source = self._dialect.as_utf8(source, where)
        self._quotes = Quotes(self._dialect.delimiter, self._dialect.quote)
        self._ahead = b""
        self._cut = 0  # where the last whole record ends in it
        self._ended = False
        self.columns: list[str] = self._read_header() if self._dialect.header else list(names)

    def batches(self) -> Iterator[Any]:
        """Record batches of text columns.

        :raises FormatError: naming the record and what is wrong with it, never its content.
        """
        while block := self._next_block():
            batch = self._parse(block)
            self._refuse_blank_line(batch, block)
            self._done += batch.num_rows
            yield batch
        self._expect_good_quotes()

    def _read_header(self) -> list[str]:
        quote = self._dialect.quote.encode()
        while (
            (end := _first_record_end(self._ahead, quote)) < 0
            and len(self._ahead) <= BLOCK_BYTES
            and self._read_more()
        ):
            pass
        if not self._ahead:
            raise FormatError(f"{self._where} is empty; a header with the columns' names is expected")
        record = self._ahead if end < 0 else self._ahead[:end]
        if record.count(quote) % 2 or len(record) > BLOCK_BYTES:
            raise self._unreadable()
        if b"\r" in record.rstrip(b"\r\n"):
            raise FormatError(
                f"{self._where}: its lines end in bare carriage returns; end them in line feeds"
            )
        try:
            text = record.decode("utf-8-sig")
            lines = io.StringIO(text.rstrip("\r\n"), newline="")
            dialect = self._dialect
            names = next(python_csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote), [])
        except UnicodeDecodeError:
            names = None
        except python_csv.Error:  # a name of over 128 KiB
            names = []
        if names is None:
            raise FormatError(f"{self._where}: not UTF-8, in its header; {_UTF_8}")
        if not names:
            raise FormatError(f"{self._where}: its header can't be read; write it as plain or quoted names")
        self._ahead = self._ahead[len(record) :]
        self._cut = max(0, self._cut - len(record))
        return names

    def _next_block(self) -> bytes:
        """Whole records, about a block of them; empty at the end."""
        while True:
            if len(self._ahead) >= self._block_bytes or self._ended:
                if self._ended:
                    self._expect_good_quotes()
                cut = len(self._ahead) if self._ended else self._cut
                if cut or self._ended:
                    block, self._ahead, self._cut = self._ahead[:cut], self._ahead[cut:], 0
                    return block
                if len(self._ahead) > LONGEST_RECORD_BYTES:
                    self._expect_good_quotes()
                    raise self._unreadable()
            self._read_more()

    def _read_more(self) -> bool:
        """About another block. :return: whether there was anything."""
        wanted = self._block_bytes
        pieces, length = [self._ahead], len(self._ahead)
        while wanted > 0 and (
            piece := self._source.read(wanted)
        ):  # a frame of an encrypted object may have 4 KiB
            end = self._quotes.follow(piece)
            if end:
                self._cut = length + end
            pieces.append(piece)
            length += len(piece)
            wanted -= len(piece)
        self._ended = wanted > 0
        self._ahead = b"".join(pieces)
        return len(pieces) > 1

    def _parse(self, block: bytes) -> Any:
        text = is_utf8(block)
        try:
            table = csv.read_csv(
                pa.BufferReader(block),
                read_options=csv.ReadOptions(
                    use_threads=False, column_names=self.columns, block_size=len(block) + 1
                ),
                parse_options=csv.ParseOptions(
                    delimiter=self._dialect.delimiter,
                    quote_char=self._dialect.quote,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=self._remember if text else None,  # it is given rows as text
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, pa.string()),
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    null_values=list(self._dialect.null_values),
                    check_utf8=not text,
                ),
            )
        except pa.ArrowException as error:
            failure = self._explain(error, text)
        else:
            batches = table.combine_chunks().to_batches()
            return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
        raise failure

    def _refuse_blank_line(self, batch: Any, block: bytes) -> None:
        # pyarrow reads a blank line as a record of nulls, like ",,". It is one field, and so too short, unless the file
        # has a single column. A record of nulls is taken for one if its block has a blank line at all.
        if batch.num_columns == 1 or not all(column.null_count for column in batch.columns):
            return
        empty = functools.reduce(pc.and_, [pc.is_null(column) for column in batch.columns])
        index = pc.index(empty, True).as_py()
        if index >= 0 and self._quotes.has_blank_line(block):
            raise FormatError(f"{self._where}: record {self._done + index + 1:,} is a blank line; remove it")

    def _expect_good_quotes(self) -> None:
        quotes = self._quotes
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

    def _explain(self, error: Exception, text: bool) -> FormatError:
        behind = f"behind record {self._done:,}"
        bad = self._bad_row
        if bad is not None:
            record = f"record {self._done + bad.number:,}" if bad.number else f"a record {behind}"
            length = "short" if bad.actual_columns < bad.expected_columns else "long"
            return FormatError(
                f"{self._where}: {record} has {bad.actual_columns} fields, expected {bad.expected_columns}: "
                f"it is too {length}"
            )
        message = str(error)
        if not text or "UTF8" in message or "UTF-8" in message:
            column = re.search(r"In CSV column #(\d+)", message)
            place = f" in column {self.columns[int(column[1])]!r}" if column else ""
            return FormatError(f"{self._where}: not UTF-8{place}, {behind}; {_UTF_8}")
        return self._unreadable()

    def _unreadable(self) -> FormatError:
        limit = LONGEST_RECORD_BYTES // (1024 * 1024)
        return FormatError(
            f"{self._where}: can't be read as CSV behind record {self._done:,}; is a quote left open, or a record over "
            f"{limit} MiB?"
        )


def _first_record_end(data: bytes, quote: bytes) -> int:
    """The offset behind the first line feed outside of quotes; -1 if there is none."""
    inside, start = False, 0
    while (at := data.find(b"\n", start)) >= 0:
        inside ^= data.count(quote, start, at) % 2 == 1
        if not inside:
            return at + 1
        start = at + 1
    return -1
