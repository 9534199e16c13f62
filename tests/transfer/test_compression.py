"""Compressed objects: read as they stream, and what is damaged is noticed before anything is committed."""

from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from airflow_secure_provider.errors import ConfigurationError, DecryptionError, FormatError
from airflow_secure_provider.stores.csv_dialect import CsvDialect
from airflow_secure_provider.stores.formats import Compression, FileFormat

from .test_objects import mask, target
from .world import BUCKET, CONTEXT, HEADER, World, as_csv, customers

Codec = Callable[[bytes], bytes]
CODECS: dict[str, Codec] = {
    "gz": gzip.compress,
    "zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}
ROWS = 30_000


def put(world: World, body: bytes, ending: str) -> str:
    key = f"in/{secrets.token_hex(6)}.{ending}"
    world.lake.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    return f"s3://{BUCKET}/{key}"


@pytest.mark.parametrize(
    ("key", "kind", "compression"),
    [
        ("a/b.csv", "csv", None),
        ("a/b.csv.gz", "csv", "gzip"),
        ("b.JSONL.ZST", "jsonl", "zstd"),
        ("b.parquet.gz", "parquet", "gzip"),
        ("b.gz", "csv", "gzip"),
        (".gz", "csv", None),
        ("a.parquet/b", "csv", None),
        ("b.ndjson", "jsonl", None),
    ],
)
def test_endings(key: str, kind: str, compression: str | None) -> None:
    assert (FileFormat.of_key(key), Compression.of_key(key)) == (kind, compression)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "plain"])
def test_a_compressed_object_is_loaded(world: World, codec: str, encrypted: bool) -> None:
    data = CODECS[codec](as_csv(customers(ROWS)))
    body = world.lake.encrypt(data, frame_length=65_536).data if encrypted else data
    settings: dict[str, Any] = (
        {} if encrypted else {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": world.lake.key}
    )
    key = f"in/{secrets.token_hex(6)}.csv.{codec}"
    world.lake.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **settings)
    source = world.source(f"s3://{BUCKET}/{key}", context=CONTEXT if encrypted else {})
    assert world.load(source).rows == ROWS
    assert world.query("SELECT count(DISTINCT id), min(id), max(id) FROM crm.customers") == [(ROWS, 1, ROWS)]


@pytest.mark.parametrize("codec", CODECS)
def test_json_lines_in_several_members(world: World, codec: str) -> None:
    rows = [{**dict(zip(HEADER, row, strict=True)), "id": number} for number, row in enumerate(customers(60))]
    parts = [
        CODECS[codec]("".join(json.dumps(row) + "\n" for row in rows[start : start + 20]).encode())
        for start in (0, 20, 40)
    ]
    assert world.load(put(world, world.lake.encrypt(b"".join(parts)).data, f"jsonl.{codec}")).rows == 60


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-5], "it is truncated"),
        (lambda data: data[: len(data) // 2], "it is truncated"),
        (lambda data: data + b"appended", "is damaged, or is none"),
        (lambda data: b"id,email\n1,2\n", "is damaged, or is none"),
    ],
    ids=["end", "half", "appended", "not compressed"],
)
def test_what_is_damaged_is_refused(world: World, codec: str, damage: Codec, says: str) -> None:
    body = world.lake.encrypt(damage(CODECS[codec](as_csv(customers(ROWS))))).data
    before = world.state()
    with pytest.raises(FormatError, match=says):
        world.load(put(world, body, f"csv.{codec}"))
    assert world.state() == before


@pytest.mark.parametrize("codec", CODECS)
def test_a_ciphertext_that_was_altered_is_said_to_be_that(world: World, codec: str) -> None:
    message = world.lake.encrypt(CODECS[codec](as_csv(customers(ROWS))), frame_length=4096)
    for position in (message.last_frame // 2, message.footer - 20):
        with pytest.raises(DecryptionError, match="does not authenticate"):
            world.load(put(world, message.flipped(position), f"csv.{codec}"))
    assert world.state()["crm.customers"] == []


def test_a_csv_of_another_dialect_without_a_header(world: World) -> None:
    lines = "".join(";".join(str(value) for value in row) + "\r\n" for row in customers(50))
    uri = put(world, world.lake.encrypt(gzip.compress(lines.encode("utf-16"))).data, "txt.gz")
    dialect = CsvDialect.of({"delimiter": ";", "header": False, "encoding": "utf-16"})
    assert world.load(replace(world.source(uri), dialect=dialect)).rows == 50
    emails = [row[0] for row in world.query("SELECT email FROM crm.customers ORDER BY id")]
    assert world.reveal("email", emails) == [row[1] for row in customers(50)]


def test_a_target_is_not_named_for_what_it_is_not(world: World) -> None:
    with pytest.raises(ConfigurationError, match="objects are not compressed here as a whole"):
        mask(world, world.table_source(), target(world, "csv.gz"))
