"""COPY into a table, and out of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from copy import copy
from typing import Any

import psycopg
from psycopg import sql
from psycopg.copy import LibpqWriter

from ..errors import LoadError
from .postgres import Connection, TableColumn, TableName, plain_forms
from .postgres_errors import postgres_failures
from .postgres_values import copy_text


class CopyWriter:
    """Record batches into a table through COPY.

    :param schema: an Arrow schema whose types are exactly what the table's columns take.
    :param as_text: in COPY's text format, which PostgreSQL parses; else in its binary one.
    :param where: in messages, instead of the table.
    """

    def __init__(
        self,
        connection: Connection,
        table: TableName,
        schema: Any,
        *,
        as_text: bool = False,
        where: str | None = None,
    ) -> None:
        self._where = where or str(table)
        self._as_text = as_text
        self._connection = connection
        self._table = table
        self._schema = schema
        self.rows = 0

    @contextmanager
    def open(self, measure: Callable[[str], AbstractContextManager[None]]) -> Iterator[Any]:
        """Yield a function that encodes and sends one batch; at the end compare rows sent and rows stored.

        :param measure: takes the time of the steps ``encode``, ``send`` (as long as the server lets us wait with it), and
            ``server``: what it does after the last row.
        :raises LoadError: if the server refused a row or stored another number of rows.
        """
        encoder = _Text() if self._as_text else _Binary(self._schema)
        columns = sql.SQL(", ").join(map(sql.Identifier, self._schema.names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {}, ENCODING 'UTF8')").format(
            self._table.identifier, columns, sql.SQL(encoder.format)
        )
        plain_forms(self._connection)
        with self._connection.cursor() as cursor:
            quiet = _QuietWriter(cursor)
            with postgres_failures(self._where), ExitStack() as ended:
                copy = ended.enter_context(cursor.copy(statement, writer=quiet))
                copy.write(encoder.begin())

                def write(batch: Any) -> None:
                    with measure("encode"):
                        rows = encoder.rows(batch)
                    with measure("send"):
                        copy.write(rows)
                    self.rows += batch.num_rows

                yield write
                copy.write(encoder.end())
                with measure("server"):
                    ended.close()
            stored = cursor.rowcount
        if stored != self.rows:
            raise LoadError(
                f"{self._where}: sent {self.rows:,} rows and PostgreSQL stored {stored:,}; nothing was committed"
            )


class _Binary:
    format = "binary"

    def __init__(self, schema: Any) -> None:
        import pgpq

        self._encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
        self.begin: Callable[[], bytes] = self._encoder.write_header
        self.rows: Callable[[Any], bytes] = self._encoder.write_batch
        self.end: Callable[[], bytes] = self._encoder.finish


class _Text:
    format = "text"

    def begin(self) -> bytes:
        return b""

    def rows(self, batch: Any) -> Any:
        return copy_text(batch)

    def end(self) -> bytes:
        return b""


class _QuietWriter(LibpqWriter):
    """Ends a COPY that is given up without a word of data.

    psycopg would send the text of our error to the server's log, and put the server's own error, which quotes the row,
    into the log here if there has been one too.
    """

    def finish(self, exc: BaseException | None = None) -> None:
        if exc is None:
            super().finish()
            return
        with suppress(psycopg.Error):
            super().finish(RuntimeError("the load was given up"))


class CopyReader:
    """Columns as a CSV stream out of COPY. ``bytea`` comes as base64, which is the text form of cells.

    :param rows: what stands behind FROM: a table, or a query in parentheses with its alias.
    :param where: the rows' name, for messages.
    :param condition: checked SQL for the rows to be read; all if ``None``.
    """

    def __init__(
        self,
        connection: Connection,
        rows: sql.Composable,
        columns: Sequence[TableColumn],
        where: str,
        condition: sql.Composable | None = None,
    ) -> None:
        self._connection = connection
        self._where = where
        fields = [
            sql.SQL("translate(encode({0}, 'base64'), E'\\n', '') AS {0}").format(sql.Identifier(column.name))
            if column.base == "bytea"
            else sql.SQL("{0}::text AS {0}").format(
                sql.Identifier(column.name)
            )  # true, where COPY alone says t
            if column.base == "bool"
            else sql.Identifier(column.name)
            for column in columns
        ]
        select = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(fields), rows)
        if condition is not None:
            select += sql.SQL(" WHERE {}").format(condition)
        self._statement = sql.SQL(
            "COPY ({}) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *, ENCODING 'UTF8')"
        ).format(select)
        self._pieces: Iterator[bytes] | None = None
        self._rest = b""
        self.bytes_read = 0

    def again(self) -> CopyReader:
        """The same rows from the first on, in the transaction that is open."""
        other = copy(self)
        other._pieces, other._rest, other.bytes_read = None, b"", 0
        return other

    def _stream(self) -> Iterator[bytes]:
        with postgres_failures(self._where):
            plain_forms(self._connection)
            with self._connection.cursor() as cursor, cursor.copy(self._statement) as copy:
                for piece in copy:
                    yield bytes(piece)

    def read(self, size: int, /) -> bytes:
        if self._pieces is None:
            self._pieces = self._stream()
        pieces, got = [self._rest], len(self._rest)
        while got < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            pieces.append(piece)
            got += len(piece)
        joined = b"".join(pieces)
        self._rest = joined[size:]
        self.bytes_read += min(size, len(joined))
        return joined[:size]
