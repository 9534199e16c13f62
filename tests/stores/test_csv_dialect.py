"""CSV as other programs write it."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

import pytest

from airflow_secure_provider.errors import ConfigurationError, FormatError
from airflow_secure_provider.stores.csv import CsvReader
from airflow_secure_provider.stores.csv_dialect import CsvDialect


def read(data: bytes, names: Any = (), block: int = 64, **options: Any) -> list[dict[str, Any]]:
    reader = CsvReader(io.BytesIO(data), "it", block, dialect=CsvDialect.of(options), names=names)
    return [row for batch in reader.batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", " "])
@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "cp1252"])
def test_it_reads_what_python_writes(delimiter: str, quote: str, encoding: str) -> None:
    rng = random.Random(f"{delimiter}{quote}{encoding}")
    alphabet = "ab\n,;\t|'\"é " + delimiter + quote
    rows = [["".join(rng.choices(alphabet, k=rng.randrange(1, 9))) for _ in range(3)] for _ in range(300)]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quotechar=quote, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b", "c"], *rows])
    options = {"delimiter": delimiter, "quote": quote, "encoding": encoding}
    got = read(out.getvalue().encode(encoding), **options)
    assert [list(row.values()) for row in got] == rows


def test_without_a_header_the_contract_names_the_columns() -> None:
    assert read(b"1,2\n3,4\n", names=["x", "y"], header=False) == [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}]
    with pytest.raises(FormatError, match="record 1 has 3 fields, expected 2"):
        read(b"1,2,3\n", names=["x", "y"], header=False)


def test_nulls_as_they_are_written() -> None:
    data = b'a;b;c\nNULL;"NULL";\\N\n;"";x\n'
    assert read(data, delimiter=";", null_values=["NULL", "\\N"]) == [
        {"a": None, "b": "NULL", "c": None},
        {"a": "", "b": "", "c": "x"},
    ]


def test_a_quote_of_the_other_kind_is_a_character() -> None:
    assert read(b"a;b\n'x;y';\"\n", delimiter=";", quote="'") == [{"a": "x;y", "b": '"'}]
    with pytest.raises(FormatError, match="stands bare inside a field"):
        read(b"a;b\nx'y;1\nz';2\n", delimiter=";", quote="'")


def test_what_is_not_of_the_encoding_is_said() -> None:
    with pytest.raises(
        FormatError, match=r"it: not utf-16, behind byte 0; check csv_options encoding"
    ) as caught:
        read(b"a,b\n1,2\n3", encoding="utf-16-le".replace("-le", ""))
    assert caught.value.__cause__ is None
    with pytest.raises(FormatError, match="not ascii"):
        read("a,b\né,2\n".encode(), encoding="ascii")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delimitr": ";"}, "csv_options 'delimitr', expected one of delimiter, quote, header"),
        ({"delimiter": ";;"}, "csv_options delimiter: expected one printable ASCII character"),
        ({"delimiter": "\n"}, "csv_options delimiter"),
        ({"quote": ""}, "csv_options quote"),
        ({"quote": None}, "csv_options quote"),
        ({"quote": ","}, "delimiter and quote are the same"),
        ({"header": "no"}, "csv_options header: expected true or false"),
        ({"encoding": "utf-9"}, "Python knows no such encoding"),
        ({"null_values": "NULL"}, "csv_options null_values: expected a list of texts"),
    ],
)
def test_what_is_no_dialect(options: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        CsvDialect.of(options)
