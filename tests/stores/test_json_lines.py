"""JSON Lines as a stream: bounded memory, whatever the object is."""

from __future__ import annotations

import io
from typing import Any

import pytest

from airflow_secure_provider.errors import FormatError
from airflow_secure_provider.stores.files import open_reader
from airflow_secure_provider.stores.formats import FileFormat


def read(content: Any) -> list[Any]:
    return list(open_reader(content, "s3://b/k.jsonl", FileFormat.JSONL, {}).batches())


class Endless(io.RawIOBase):
    """A file without an end and without a line feed."""

    given = 0

    def read(self, size: int = -1) -> bytes:
        self.given += size
        return b"[" * size


def test_a_line_without_an_end_is_refused_early() -> None:
    source = Endless()
    with pytest.raises(
        FormatError,
        match=r"s3://b/k\.jsonl: behind record 0 stands no end of a line for over 16 MiB: JSON Lines has one record in each line",
    ):
        read(source)
    assert source.given <= 24 * 1024 * 1024


def test_a_record_of_many_blocks() -> None:
    value = "x" * (9 * 1024 * 1024)
    (first, second) = read(io.BytesIO(f'{{"a": "{value}"}}\n{{"a": "y"}}'.encode()))

    assert [first.num_rows, second.num_rows] == [1, 1]
    assert first.column("a")[0].as_py() == value
