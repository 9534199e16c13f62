"""Local files of records: CSV, JSON Lines and Parquet, as streams of Arrow record batches."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import FormatError
from ..model import ColumnRule
from .csv import LONGEST_RECORD_BYTES, CsvReader
from .csv_dialect import CsvDialect
from .formats import FileFormat, Readable
from .utf8 import is_utf8

BATCH_ROWS = 25_000  # inside the 16–32 thousand rows at which column protection is fastest
_BLOCK_BYTES = 4 * 1024 * 1024


class Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...


class Reader(Protocol):
    columns: list[str]

    def batches(self) -> Iterator[Any]: ...


class Writer(Protocol):
    def write(self, batch: Any) -> None: ...

    def close(self) -> None: ...


_JSON_TYPES = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


def json_types(rules: Sequence[ColumnRule]) -> dict[str, Any]:
    """As what JSON Lines of these columns are read before anything is done to them."""
    return {rule.name: _JSON_TYPES.get(rule.logical_type, pa.string()) for rule in rules}


def open_reader(
    source: Readable,
    where: str,
    kind: FileFormat,
    types: Mapping[str, Any],
    dialect: CsvDialect | None = None,
    names: Sequence[str] = (),
) -> Reader:
    """
    :param source: for Parquet it must be seekable.
    :param names: of the columns of a CSV without a header.
    :param types: of the columns that are known, for JSON Lines: the Arrow type that each is read as."""
    if kind is FileFormat.CSV:
        return CsvReader(source, where, dialect=dialect, names=names)
    if kind is FileFormat.JSONL:
        return _JsonLines(source, where, types)
    return _open_parquet(source, where)


def open_writer(out: Writable, kind: FileFormat, schema: Any) -> Writer:
    if kind is FileFormat.CSV:
        return _CsvWriter(out, schema)
    if kind is FileFormat.JSONL:
        return _JsonLinesWriter(out)
    return _ParquetWriter(out, schema)


class _JsonLines:
    """One object a line. The columns are those that its first block names; more of them later are refused."""

    def __init__(self, source: Readable, where: str, types: Mapping[str, Any]) -> None:
        self._source = source
        self._where = where
        self._done = 0
        self._ahead = b""
        self._first = self._next_lines()
        seen = self._parse(self._first, {}).schema if self._first.strip() else pa.schema(list(types.items()))
        self.columns: list[str] = seen.names
        self._known = {field.name: types.get(field.name) or _plain_type(field.type) for field in seen}

    def batches(self) -> Iterator[Any]:
        lines = self._first
        while lines:
            if lines.strip():
                table = self._parse(lines, self._known)
                for batch in table.select(self.columns).combine_chunks().to_batches(max_chunksize=BATCH_ROWS):
                    self._done += batch.num_rows
                    yield batch
            lines = self._next_lines()

    def _next_lines(self) -> bytes:
        """About a block of whole lines; empty at the end."""
        while piece := self._source.read(_BLOCK_BYTES):
            lines, feed, self._ahead = (self._ahead + piece).rpartition(b"\n")
            if feed:
                return lines + feed
            if len(self._ahead) > LONGEST_RECORD_BYTES:
                limit = LONGEST_RECORD_BYTES // (1024 * 1024)
                raise FormatError(
                    f"{self._where}: behind record {self._done:,} stands no end of a line for over {limit} MiB: JSON Lines has one record in "
                    "each line"
                )
        rest, self._ahead = self._ahead, b""
        return rest

    def _parse(self, lines: bytes, types: Mapping[str, Any]) -> Any:
        """:param types: empty for what pyarrow makes of it, to learn the names."""
        from pyarrow import json

        problem = ""
        if not is_utf8(lines):
            raise FormatError(f"{self._where}: not UTF-8, behind record {self._done:,}; convert it to UTF-8")
        if _may_be_deep(lines):
            self._refuse_deep(lines)
        try:
            return json.read_json(
                pa.BufferReader(lines),
                read_options=json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                parse_options=json.ParseOptions(
                    explicit_schema=pa.schema(list(types.items())) if types else None,
                    unexpected_field_behavior="error" if types else "infer",
                ),
            )
        except pa.ArrowException:  # it quotes the document
            problem = self._explain(lines, types)
        raise FormatError(f"{self._where}: {problem}")

    def _refuse_deep(self, lines: bytes) -> None:
        """pyarrow's parser goes down with the nesting, and ends the whole process where the stack does."""
        import json

        for number, line in enumerate(lines.split(b"\n"), self._done + 1):
            if line.count(b"[") + line.count(b"{") > _DEEP:
                problem = ""
                try:
                    json.loads(line, strict=False)
                except RecursionError:
                    problem = "nested too deeply to be read"
                except ValueError:  # and nobody knows how deep it goes
                    problem = "not JSON"
                if problem:
                    raise FormatError(f"{self._where}: record {number:,} is {problem}")

    def _explain(self, lines: bytes, types: Mapping[str, Any]) -> str:
        import json

        for number, line in enumerate(lines.splitlines(), self._done + 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                return f"record {number:,} is not JSON"
            if not isinstance(record, dict):
                return f"record {number:,} is not a JSON object"
            unknown = [name for name in record if types and name not in types]
            if unknown:
                return (
                    f"record {number:,} has the column {unknown[0]!r}, which no record had in the beginning"
                )
        return f"behind record {self._done:,}: a value is not of the type that the contract says, or types are mixed"


_DEEP = 500  # levels; Python's own parser, which counts them, gives up at about 1,000


def _may_be_deep(lines: bytes) -> bool:
    """A look at the numbers of brackets, which costs next to nothing; a flat record has one."""
    return lines.count(b"[") + lines.count(b"{") > lines.count(b"\n") + _DEEP


def _plain_type(inferred: Any) -> Any:
    """Numbers and truth values as they are, and all else as text: pyarrow takes what looks like a date for one."""
    plain = pa.types.is_integer(inferred) or pa.types.is_floating(inferred) or pa.types.is_boolean(inferred)
    return inferred if plain else pa.string()


class ParquetReader:
    """Batches of an open Parquet file.

    :param guard: runs a step, and turns what pyarrow says, which may quote values, into an error of ours.
    """

    def __init__(
        self, file: Any, where: str, guard: Callable[[Callable[[], Any]], Any] | None = None
    ) -> None:
        self._file = file
        self._guard = guard or partial(_guarded, where)
        self.columns: list[str] = file.schema_arrow.names

    def batches(self) -> Iterator[Any]:
        batches = self._file.iter_batches(batch_size=BATCH_ROWS, use_threads=False)
        while (batch := self._guard(lambda: next(batches, None))) is not None:
            yield batch


def _open_parquet(source: Readable, where: str) -> ParquetReader:
    from pyarrow import parquet

    return ParquetReader(_guarded(where, lambda: parquet.ParquetFile(source)), where)


def _guarded(where: str, step: Callable[[], Any]) -> Any:
    try:
        return step()
    except (pa.ArrowException, OSError):
        pass
    raise FormatError(f"{where} can't be read as Parquet: it is damaged, or something else")


class _CsvWriter:
    """Null is empty, "" is quoted."""

    def __init__(self, out: Writable, schema: Any) -> None:
        from pyarrow import csv

        self._schema = schema
        self._writer = csv.CSVWriter(out, schema)

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


class _JsonLinesWriter:
    """Dates and times as ISO 8601 text."""

    def __init__(self, out: Writable) -> None:
        self._out = out

    def write(self, batch: Any) -> None:
        import json

        names = batch.schema.names
        columns = [_jsonable(column).to_pylist() for column in batch.columns]
        text = io.StringIO()
        for row in zip(*columns, strict=True):
            text.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n")
        self._out.write(text.getvalue().encode())

    def close(self) -> None:
        pass


class _ParquetWriter:
    def __init__(self, out: Writable, schema: Any) -> None:
        from pyarrow import parquet

        self._writer = parquet.ParquetWriter(out, schema)

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


def _jsonable(column: Any) -> Any:
    kind = column.type
    plain = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if pa.types.is_floating(kind) and pc.any(pc.invert(pc.is_finite(column))).as_py():
        raise FormatError("a number is infinite or NaN, which JSON can't say; write CSV or Parquet")
    return column if plain or pa.types.is_string(kind) else column.cast(pa.string())
