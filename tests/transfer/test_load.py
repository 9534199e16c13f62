"""The main job on real servers: what arrives, what is reported, and what happens the second time."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from aws_encryption_sdk.identifiers import Algorithm
from pyarrow import parquet

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import (
    ConfigurationError,
    ContractError,
    LoadError,
    StoreError,
    StoreUnavailable,
)
from airflow_secure_provider.model import AtRest, Classification, Evidence, Status
from airflow_secure_provider.stores.formats import FileFormat
from sandbox.ca import Authority
from sandbox.postgres import Database, Postgres

from .conftest import Refuses
from .world import (
    BUCKET,
    CANARY,
    COLUMNS,
    CONTEXT,
    HEADER,
    SIGNED,
    UNSIGNED,
    Watched,
    World,
    as_csv,
    customers,
    in_background,
    parsed,
    reveal,
    wait_until,
)

EMAIL = COLUMNS["email"]


def count(world: World, table: str = "crm.customers") -> int:
    return int(world.query(f"SELECT count(*) FROM {table}")[0][0])


def revealed(world: World) -> list[tuple[str | None, ...]]:
    """crm.customers as it was in the source."""
    rows = world.query(
        "SELECT id::text, email, ssn, birth_date, amount::text, notes FROM crm.customers c ORDER BY c.id"
    )
    columns = dict(zip(HEADER, map(list, zip(*rows, strict=True)), strict=True))
    for name in ("email", "ssn", "birth_date", "notes"):
        columns[name] = world.reveal(name, columns[name])
    return list(zip(*(columns[name] for name in HEADER), strict=True))


# --- objects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("frame_length", [0, 128, 1_152, 4_096, 1 << 20], ids=lambda size: f"frame={size}")
def test_an_encrypted_object_arrives_whole(world: World, suite: Algorithm, frame_length: int) -> None:
    rows = customers(60)
    message = world.lake.encrypt(as_csv(rows), suite=suite, frame_length=frame_length)
    report = world.load(message.data)
    assert report.rows == 60
    assert report.bytes_read == len(message.data)
    assert revealed(world) == rows
    assert report.source.at_rest == AtRest(
        "client-side", f"AWS Encryption SDK {suite.name}", "aws-kms", world.lake.key, Evidence.OBSERVED
    )
    assert report.source.in_transit.protocol == "TLSv1.3"
    assert report.source.in_transit.verified
    assert report.source.status is Status.PROTECTED
    assert report.target.status is Status.PROTECTED


def test_an_object_of_several_blocks_arrives_in_order(world: World) -> None:
    # More than six blocks; the frames of 4 KiB are the SDK's own default.
    rows = customers(130_000)
    plain = as_csv(rows)
    assert len(plain) > 12 << 20
    report = world.load(world.lake.encrypt(plain).data)
    assert report.rows == 130_000
    assert revealed(world) == rows


@pytest.mark.parametrize(
    ("put", "scheme", "key"),
    [
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "the key"}, "SSE-KMS", True),
        ({"ServerSideEncryption": "AES256"}, "SSE-S3", False),
    ],
    ids=["SSE-KMS", "SSE-S3"],
)
def test_what_s3_says_of_an_object_is_observed(
    world: World, put: dict[str, str], scheme: str, key: bool
) -> None:
    if key:
        put = {**put, "SSEKMSKeyId": world.lake.key}
    uri = world.lake.put(as_csv(customers(5)), **put)
    columns = {**COLUMNS, "email": {**EMAIL, "classification": "confidential"}, "ssn": "tokenize"}
    report = world.load(world.source(uri, context={}), columns)
    assert (report.rows, report.source.at_rest.scheme) == (5, scheme)
    assert report.source.at_rest.evidence is Evidence.OBSERVED
    assert report.source.at_rest.key_id == (world.lake.key if key else None)
    assert report.source.status is Status.PROTECTED


def test_a_restricted_column_needs_a_key_of_the_customers(world: World) -> None:
    under_sse_kms = world.lake.put(
        as_csv(customers(5)), ServerSideEncryption="aws:kms", SSEKMSKeyId=world.lake.key
    )
    assert world.load(world.source(under_sse_kms, context={})).rows == 5
    under_sse_s3 = world.lake.put(as_csv(customers(5, first=6)), ServerSideEncryption="AES256")
    with pytest.raises(ContractError, match="must be client-side or customer-key encrypted; it is SSE-S3"):
        world.load(world.source(under_sse_s3, context={}))


# --- values ----------------------------------------------------------------------------------------------


def test_null_is_not_empty(world: World) -> None:
    rows = [("1", None, "", None, None, ""), ("2", "", None, "1990-01-02", "0.00", None)]
    world.load_rows(rows)
    assert revealed(world) == rows
    stored = world.query("SELECT email IS NULL, ssn IS NULL, notes IS NULL FROM crm.customers ORDER BY id")
    assert stored == [(True, False, False), (False, True, True)]


def test_quotes_newlines_and_other_alphabets(world: World) -> None:
    notes = [
        'a "quoted" word',
        "two\nlines",
        "comma, comma",
        "Łódź, 東京, 🦓",
        "\r\nbegins",
        " spaces ",
        "'; --",
    ]
    rows = [(str(n), f"é{n}@example.com", note, None, "1.00", note) for n, note in enumerate(notes, 1)]
    plain = as_csv(rows)
    assert [row[5] for row in parsed(plain)[1:]] == notes
    world.load(world.lake.encrypt(plain).data)
    assert revealed(world) == rows


_OWN_TYPES = """
CREATE TYPE crm.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN crm.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN crm.short_text AS varchar(5);
CREATE DOMAIN crm.decimal_place AS numeric(12,2);
CREATE DOMAIN crm.narrow AS crm.decimal_place;
CREATE TYPE crm.point_of AS (a int, b text);
"""
_TYPES = [
    # PostgreSQL's type, what the CSV holds, what PostgreSQL then shows
    ("boolean", ["true", "false"], ["true", "false"]),
    ("smallint", ["-32768", "32767"], ["-32768", "32767"]),
    ("integer", ["-2147483648", "2147483647"], ["-2147483648", "2147483647"]),
    ("bigint", ["-9223372036854775808", "9223372036854775807"], ["-9223372036854775808", "9223372036854775807"]),
    ("real", ["1.5", "-0.25"], ["1.5", "-0.25"]),
    ("double precision", ["0.1", "1e300"], ["0.1", "1e+300"]),
    ("text", ["é", ""], ["é", ""]),
    ("varchar(3)", ["abc", "ö"], ["abc", "ö"]),
    ("char(3)", ["abc", "ö"], ["abc", "ö"]),
    ("bytea", ["plain", ""], ["\\x706c61696e", "\\x"]),
    ("date", ["1999-12-31", "0001-01-01"], ["1999-12-31", "0001-01-01"]),
    ("timestamp", ["1999-12-31 23:59:59", "2024-02-29T00:00:00.123456"], ["1999-12-31 23:59:59", "2024-02-29 00:00:00.123456"]),
    ("timestamptz", ["1999-12-31T23:59:59Z", "2024-02-29 01:00:00+01:00"], ["1999-12-31 23:59:59+00", "2024-02-29 00:00:00+00"]),
    ("time", ["23:59:59", "00:00:00.000001"], ["23:59:59", "00:00:00.000001"]),
    ("numeric", ["12345.67890123456789", "-1", "1e3", "NaN", "9" * 60], ["12345.67890123456789", "-1", "1000", "NaN", "9" * 60]),
    ("numeric(50,20)", ["1.5"], ["1.50000000000000000000"]),
    ("numeric(3,-2)", ["12345"], ["12300"]),
    ("uuid", ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}"], ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"] * 2),
    ("json", ['{"a": [1, "é"]}', "null"], ['{"a": [1, "é"]}', "null"]),
    ("jsonb", ['{"b":1,"a":[1,"é\\n"]}', "1"], ['{"a": [1, "é\\n"], "b": 1}', "1"]),
    ("xml", ["<a>é</a>"], ["<a>é</a>"]),
    ("interval", ["1 day 02:03:04", "P1Y2M"], ["1 day 02:03:04", "1 year 2 mons"]),
    ("inet", ["192.168.0.1/24", "::1"], ["192.168.0.1/24", "::1/128"]),
    ("cidr", ["10.0.0.0/8"], ["10.0.0.0/8"]),
    ("macaddr", ["08:00:2b:01:02:03"], ["08:00:2b:01:02:03"]),
    ("timetz", ["04:05:06+02"], ["04:05:06+02"]),
    ("bit varying(5)", ["101"], ["101"]),
    ("money", ["12.34"], ["$12.34"]),
    ("point", ["(1,2)"], ["(1,2)"]),
    ("int4range", ["[1,5)"], ["[1,5)"]),
    ("integer[]", ["{1,NULL,3}", "{}"], ["{1,NULL,3}", "{}"]),
    ("text[]", ['{"a,b","c\\"d",NULL,"\\\\"}'], ['{"a,b","c\\"d",NULL,"\\\\"}']),
    ("crm.mood", ["sad", "ok"], ["sad", "ok"]),
    ("crm.mood[]", ["{sad,ok}"], ["{sad,ok}"]),
    ("crm.positive", ["5"], ["5"]),
    ("crm.short_text", ["é"], ["é"]),
    ("crm.narrow", ["1.5"], ["1.50"]),
    ("crm.point_of", ["(1,x)"], ["(1,x)"]),
    ("numeric(12,2)", ["9999999999.99", "-0.5"], ["9999999999.99", "-0.50"]),
    ("numeric(38,0)", ["9" * 38, "0"], ["9" * 38, "0"]),
]  # fmt: skip


@pytest.mark.parametrize(("type_name", "written", "shown"), _TYPES, ids=[each[0] for each in _TYPES])
def test_every_type_comes_out_of_text(
    world: World, type_name: str, written: list[str], shown: list[str]
) -> None:
    world.execute(_OWN_TYPES + f"CREATE TABLE crm.typed (id int, value {type_name})")
    rows = [*((str(n), value) for n, value in enumerate(written)), ("9", None)]
    message = world.lake.encrypt(as_csv(rows, ["id", "value"]))
    world.load(message.data, {"id": "none", "value": "none"}, "crm.typed")
    with world.database.connect(options="-c timezone=UTC") as connection:
        got = connection.execute("SELECT value::text FROM crm.typed ORDER BY id").fetchall()
    assert [value for (value,) in got] == [*shown, None]


def test_what_travels_as_text_is_the_same_as_what_does_not(world: World) -> None:
    """A column that binary COPY can't carry beside all that it can: nothing else changes."""
    others = [each for each in _TYPES if each[0] not in ("numeric", "bytea")]
    columns = ", ".join(f"c{n} {each[0]}" for n, each in enumerate(others))
    world.execute(
        _OWN_TYPES + f"CREATE TABLE crm.typed (id int, away interval, raw bytea, note text, {columns})"
    )
    awkward = 'tab\t, newline\n, \\N, \\., \\\\, quote" é\r'
    rows = [
        ("1", "1 day", "raw\\", awkward, *(each[1][0] for each in others)),
        ("2", None, None, None, *(None for _ in others)),
        ("3", None, "", "", *(each[1][-1] for each in others)),
    ]
    names = ["id", "away", "raw", "note", *(f"c{n}" for n in range(len(others)))]
    world.load(world.lake.encrypt(as_csv(rows, names)).data, dict.fromkeys(names, "none"), "crm.typed")
    with world.database.connect(options="-c timezone=UTC") as connection:
        select = ", ".join(f"{name}::text" for name in names)
        got = connection.execute(f"SELECT {select} FROM crm.typed ORDER BY id").fetchall()
    assert got[0] == ("1", "1 day", "\\x7261775c", awkward, *(each[2][0] for each in others))
    assert got[1] == ("2", *[None] * (len(names) - 1))
    assert got[2] == ("3", None, "\\x", "", *(each[2][-1] for each in others))


def test_nested_values_of_parquet(world: World) -> None:
    world.execute(
        "CREATE TABLE crm.typed (id int, tags text[], grid int[], about jsonb, kept json, took interval, key uuid, ratio numeric)"
    )
    about = {"a": ["1", None, 'é"\\'], "when": datetime.date(2024, 2, 29)}
    key = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int32()),
            "tags": pa.array([["a,b", 'c"d', None, "\\", ""], None], pa.list_(pa.string())),
            "grid": pa.array([[[1, 2], [3, None]], None], pa.list_(pa.list_(pa.int64()))),
            "about": pa.array([about, None]),
            "kept": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
            "took": pa.array([datetime.timedelta(days=1, microseconds=5), None], pa.duration("us")),
            "key": pa.array([key.bytes, None], pa.binary(16)),
            "ratio": pa.array([decimal.Decimal("1.50"), None]),
        }
    )
    out = io.BytesIO()
    parquet.write_table(table, out)
    source = replace(world.source(world.lake.put(out.getvalue()), context={}), kind=FileFormat.PARQUET)
    world.load(source, dict.fromkeys(table.column_names, "none"), "crm.typed")
    got = world.query("SELECT tags, grid, about, kept, took, key, ratio FROM crm.typed ORDER BY id")
    assert got[0] == (
        ["a,b", 'c"d', None, "\\", ""],
        [[1, 2], [3, None]],
        {"a": ["1", None, 'é"\\'], "when": "2024-02-29"},
        [["k", 1]],
        datetime.timedelta(days=1, microseconds=5),
        key,
        decimal.Decimal("1.50"),
    )
    assert got[1] == (None,) * 7


def test_partitions_defaults_identities_and_generated_columns(world: World) -> None:
    world.execute(
        "CREATE TABLE crm.typed (day date NOT NULL, id bigint GENERATED BY DEFAULT AS IDENTITY, amount int DEFAULT 7, "
        "twice int GENERATED ALWAYS AS (amount * 2) STORED, loaded timestamptz DEFAULT now()) PARTITION BY RANGE (day); "
        "CREATE TABLE crm.typed_2024 PARTITION OF crm.typed FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); "
        "CREATE TABLE crm.typed_rest PARTITION OF crm.typed DEFAULT"
    )
    body = world.lake.encrypt(as_csv([("2024-02-29", "5"), ("1999-01-01", "6")], ["day", "amount"])).data
    world.load(body, {"day": {"method": "none", "type": "date"}, "amount": "none"}, "crm.typed")
    assert world.query("SELECT tableoid::regclass::text, id, amount, twice FROM crm.typed ORDER BY id") == [
        ("crm.typed_2024", 1, 5, 10),
        ("crm.typed_rest", 2, 6, 12),
    ]
    body = world.lake.encrypt(as_csv([("2024-03-01", "77")], ["day", "id"])).data
    world.load(body, {"day": {"method": "none", "type": "date"}, "id": "none"}, "crm.typed")
    assert world.query("SELECT id, amount FROM crm.typed WHERE day = '2024-03-01'") == [(77, 7)]


# --- once ------------------------------------------------------------------------------------------------


def test_append_twice_is_append_once(world: World) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(20))).data)
    first = world.load(uri)
    before = world.state()
    second = world.load(uri, task="dag/task/another run/-1")
    assert (first.rows, first.already_loaded) == (20, False)
    assert (second.rows, second.already_loaded) == (0, True)
    assert world.state() == before


def test_another_version_of_the_object_is_another_load(world: World) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(20))).data)
    key = uri.removeprefix(f"s3://{BUCKET}/")
    world.load(uri)
    again = world.lake.encrypt(as_csv(customers(20, first=21)))
    world.lake.s3.put_object(Bucket=BUCKET, Key=key, Body=again.data)
    assert world.load(uri).rows == 20
    assert count(world) == 40


def test_another_contract_is_another_load(world: World) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(20))).data)
    world.load(uri)
    stricter = {**COLUMNS, "amount": {"method": "none", "classification": "confidential"}}
    assert from_columns(stricter, "crm.customers").ref != from_columns(COLUMNS, "crm.customers").ref
    report = world.load(uri, stricter, mode="replace")
    assert (report.rows, report.already_loaded) == (20, False)
    assert count(world) == 20


def test_append_takes_an_object_once_under_a_later_key_version_too(world: World) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(20))).data)
    world.load(uri)
    options = world.options(keyset=rotated(world.lake.keyset))
    again = world.load(uri, options=options)
    assert (again.rows, again.already_loaded) == (0, True)
    assert count(world) == 20
    replaced = world.load(uri, options=options, mode="replace")
    assert (replaced.rows, replaced.already_loaded) == (20, False)
    assert count(world) == 20


def test_append_of_an_object_under_another_contract_is_refused(world: World) -> None:
    """Nobody knows whether its rows are meant to be there twice."""
    world.execute("ALTER TABLE crm.customers DROP CONSTRAINT customers_pkey")
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(20))).data)
    world.load(uri)
    columns = {**COLUMNS, "amount": {"method": "none", "classification": "confidential"}}
    before = world.state()
    with pytest.raises(
        ContractError, match=r"is in crm\.customers already, under another contract \(digest .* force=True"
    ):
        world.load(uri, columns)
    assert world.state() == before
    assert world.load(uri, columns, target={"force": True}).rows == 20
    assert count(world) == 40
    assert world.load(uri, columns).already_loaded
    assert world.load(uri, columns, mode="replace").rows == 20
    assert count(world) == 20


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_what_was_loaded_is_loaded_again_on_purpose(world: World, mode: str) -> None:
    world.execute("ALTER TABLE crm.customers DROP CONSTRAINT customers_pkey")
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(20))).data)
    world.load(uri, mode=mode)
    assert world.load(uri, mode=mode).already_loaded
    assert world.load(uri, mode=mode, target={"force": True}).rows == 20
    assert count(world) == (40 if mode == "append" else 20)
    assert world.load(uri, mode=mode).already_loaded
    current = world.query("SELECT count(*) FROM secure_provider.load_manifest WHERE superseded_at IS NULL")
    assert current == [(1,)]


@pytest.mark.parametrize("replace_with", ["staging", "delete"])
def test_readers_of_what_is_replaced(world: World, replace_with: str) -> None:
    """One in REPEATABLE READ sees the old rows to its end, and nobody ever sees none, or a mixture."""
    world.load_rows(customers(3_000))
    body = world.lake.put(world.lake.encrypt(as_csv(customers(5_000, first=10_001))).data)
    seen: set[tuple[int, int]] = set()
    held: list[str] = []
    look = "SELECT count(*), min(id) FROM crm.customers"

    def watch(number: int) -> None:
        with world.database.connect() as other:
            seen.add(other.execute(look).fetchone())
            held.extend(
                mode
                for (mode,) in other.execute(
                    "SELECT mode FROM pg_locks WHERE relation = 'crm.customers'::regclass AND pid <> pg_backend_pid() "
                    "AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%')"
                )
            )

    with world.database.connect() as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        before = reader.execute(look).fetchone()
        source = Watched(world.source(body), on_batch=watch)
        report = world.load(source, mode="replace", target={"replace_with": replace_with})
        assert report.rows == 5_000
        assert reader.execute(look).fetchone() == before == (3_000, 1)
        reader.rollback()
        assert reader.execute(look).fetchone() == (5_000, 10_001)
    assert seen == {(3_000, 1)}
    assert ("RowExclusiveLock" in held) == (replace_with == "delete")
    assert "AccessExclusiveLock" not in held


def test_a_role_without_temporary_tables(world: World) -> None:
    world.load_rows(customers(3))
    world.execute(
        "DROP ROLE IF EXISTS narrow; CREATE ROLE narrow; GRANT USAGE ON SCHEMA crm, secure_provider TO narrow; "
        "GRANT ALL ON ALL TABLES IN SCHEMA crm, secure_provider TO narrow; "
        f'REVOKE TEMPORARY ON DATABASE "{world.database.name}" FROM PUBLIC'
    )
    try:
        body = world.lake.put(world.lake.encrypt(as_csv(customers(5))).data)
        target = {"set_role": "narrow"}
        with pytest.raises(StoreError, match=r"a temporary table \(GRANT TEMPORARY ON DATABASE …\)"):
            world.load(body, mode="replace", target=target)
        assert world.load(body, mode="replace", target={**target, "replace_with": "delete"}).rows == 5
    finally:
        world.execute(
            f'GRANT TEMPORARY ON DATABASE "{world.database.name}" TO PUBLIC; DROP OWNED BY narrow; DROP ROLE narrow'
        )


def test_a_lock_that_somebody_else_holds(world: World) -> None:
    body = world.lake.put(world.lake.encrypt(as_csv(customers(5))).data)
    with world.database.connect() as other:
        other.execute("LOCK TABLE crm.customers")
        with pytest.raises(StoreUnavailable, match=r"SQLSTATE 55P03.*another session holds a lock"):
            world.load(body, target={"timeouts": {"lock_timeout": 0.2}})
    assert world.load(body, target={"timeouts": {"lock_timeout": 0.2}}).rows == 5


def test_a_statement_that_takes_too_long(world: World) -> None:
    body = world.lake.put(world.lake.encrypt(as_csv(customers(50))).data)

    def wait(number: int) -> None:
        time.sleep(0.6)

    before = world.state()
    with pytest.raises(StoreError, match=r"ran into statement_timeout"):
        world.load(
            Watched(world.source(body), on_batch=wait), target={"timeouts": {"statement_timeout": 0.2}}
        )
    assert world.state() == before


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"replace_with": "swap"}, "replace_with 'swap', expected one of staging, delete"),
        ({"timeouts": {"lock": 5}}, "'lock' is 5; it takes statement_timeout"),
        ({"timeouts": {"lock_timeout": "5s"}}, "'lock_timeout' is '5s'"),
        ({"timeouts": {"lock_timeout": 0}}, "'lock_timeout' is 0"),
    ],
)
def test_words_of_the_target(world: World, target: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        world.load_rows(customers(1), target=target)


def rotated(keys: Keyset) -> Keyset:
    material = {**keys._keys, keys.newest + 1: secrets.token_bytes(64)}
    return Keyset(keys.id, keys.provider, keys.key_id, keys.newest + 1, material)


def test_append_keeps_the_higher_class(world: World) -> None:
    """Rows of both lie side by side."""
    confidential = {**COLUMNS, "amount": {"method": "none", "classification": "confidential"}}
    classes = []
    for first, columns in ((1, COLUMNS), (21, confidential), (41, COLUMNS)):
        world.load_rows(customers(20, first=first), columns=columns)
        classes += world.query(
            "SELECT classification FROM secure_provider.column_state WHERE column_name = 'amount'"
        )
    assert classes == [("internal",), ("confidential",), ("confidential",)]


def test_a_class_that_another_contract_gives_may_not_sink(world: World, refuses: Refuses) -> None:
    def known(namespace: str, name: str) -> dict[str, Classification]:
        return {"notes": Classification.RESTRICTED} if namespace == f"s3://{BUCKET}" else {}

    refuses(
        ContractError,
        ("column 'notes' is known as restricted and the contract calls it internal", "source s3://"),
        lambda: world.load_rows(customers(2), options=world.options(known_classes=known)),
    )


def test_of_what_is_recorded_and_what_a_contract_says_the_stricter_counts(world: World) -> None:
    world.load_rows(customers(2))
    world.execute("CREATE TABLE crm.copy (id bigint, notes text)")
    columns = dict.fromkeys(COLUMNS, "drop") | {
        "id": COLUMNS["id"],
        "notes": {"method": "encrypt", "scope": "customers.notes"},
    }

    def known(namespace: str, name: str) -> dict[str, Classification]:
        return {"notes": Classification.RESTRICTED} if name.endswith("crm.customers") else {}

    with pytest.raises(ContractError, match="column 'notes' is known as restricted"):
        world.load(world.table_source(), columns, "crm.copy", options=world.options(known_classes=known))
    assert world.load(world.table_source(), columns, "crm.copy").rows == 2


def test_replace_leaves_only_the_new_rows(world: World) -> None:
    world.load_rows(customers(20))
    replacing = world.lake.put(world.lake.encrypt(as_csv(customers(5, first=100))).data)
    assert world.load(replacing, mode="replace").rows == 5
    assert [row[0] for row in revealed(world)] == ["100", "101", "102", "103", "104"]
    assert world.load(replacing, mode="replace").already_loaded
    assert count(world) == 5


def test_replace_with_what_was_appended_last_takes_the_others_away(world: World) -> None:
    world.load_rows(customers(20))
    last = world.lake.put(world.lake.encrypt(as_csv(customers(5, first=100))).data)
    world.load(last)
    assert world.load(last, mode="replace").rows == 5
    assert count(world) == 5
    world.load_rows(customers(3, first=200))
    assert world.load(last, mode="replace").rows == 5
    assert world.load(last, mode="replace").already_loaded
    assert count(world) == 5


def test_what_was_replaced_may_be_loaded_again(world: World) -> None:
    first = world.lake.put(world.lake.encrypt(as_csv(customers(20))).data)
    world.load(first)
    world.load_rows(customers(5, first=100), mode="replace")
    assert world.load(first).rows == 20
    assert count(world) == 25


def test_replace_may_change_the_rules_and_append_may_not(world: World) -> None:
    world.load_rows(customers(20))
    other_domain = {
        **COLUMNS,
        "ssn": {"method": "tokenize", "domain": "other", "classification": "restricted"},
    }
    before = world.state()
    with pytest.raises(
        ContractError, match=r"column 'ssn' .* one column can't hold both; use mode='replace'"
    ):
        world.load_rows(customers(5, first=100), columns=other_domain)
    assert world.state() == before
    assert world.load_rows(customers(5, first=100), columns=other_domain, mode="replace").rows == 5


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_second_loader_waits_and_loads_nothing(world: World, mode: str) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(3_000))).data)
    second_waits = threading.Event()

    def hold(number: int) -> None:
        if number == 2:
            assert second_waits.wait(30)

    def first() -> Any:
        return world.load(Watched(world.source(uri), on_batch=hold), mode=mode)

    def second() -> Any:
        wait_until(lambda: _sessions(world, "state = 'active' AND query LIKE 'COPY%'"))
        return world.load(uri, mode=mode)

    def watch() -> None:
        wait_until(lambda: _sessions(world, "wait_event_type = 'Lock'"))
        second_waits.set()

    one, two, _ = in_background(first, second, watch)
    assert (one.rows, one.already_loaded) == (3_000, False)
    assert (two.rows, two.already_loaded) == (0, True)
    assert count(world) == 3_000


def test_a_second_loader_takes_over_from_one_that_failed(world: World) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(3_000))).data)
    second_waits = threading.Event()

    def fail() -> None:
        assert second_waits.wait(30)
        raise RuntimeError("the first loader gives up")

    def second() -> Any:
        wait_until(lambda: _sessions(world, "state = 'active' AND query LIKE 'COPY%'"))
        return world.load(uri)

    def watch() -> None:
        wait_until(lambda: _sessions(world, "wait_event_type = 'Lock'"))
        second_waits.set()

    one, two, _ = in_background(lambda: world.load(Watched(world.source(uri), on_end=fail)), second, watch)
    assert isinstance(one, RuntimeError)
    assert (two.rows, two.already_loaded) == (3_000, False)
    assert count(world) == 3_000


def _sessions(world: World, condition: str) -> int:
    with world.database.connect() as connection:
        row = connection.execute(
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            f"AND pid <> pg_backend_pid() AND {condition}"
        ).fetchone()
    return int(row[0]) if row else 0


# --- tables and domains ----------------------------------------------------------------------------------


def test_tokens_join_across_tables_of_one_domain(world: World) -> None:
    world.execute("CREATE TABLE crm.orders (id bigint PRIMARY KEY, buyer_email bytea, total numeric(12,2))")
    world.load_rows(customers(50))
    orders = [(str(n), customers(1, first=n % 70 + 1)[0][1], "1.00") for n in range(200)]
    message = world.lake.encrypt(
        as_csv(orders, ["id", "buyer_email", "total"]), context={"dataset": "crm.orders"}
    )
    source = world.source(world.lake.put(message.data), context={"dataset": "crm.orders"})
    world.load(source, {"id": "none", "buyer_email": EMAIL, "total": "none"}, "crm.orders")
    join = "SELECT o.id, c.id FROM crm.orders o JOIN crm.customers c ON decode(c.email, 'base64') = o.buyer_email"
    emails = {row[1]: int(row[0] or 0) for row in customers(50)}
    expected = {(int(order), emails[email]) for order, email, _ in orders if email in emails}
    assert set(world.query(join)) == expected
    assert len(expected) > 100


ANALYTICS: Mapping[str, Any] = {
    "id": {"method": "none", "type": "integer"},
    "email": EMAIL,
    "ssn": "drop",
    "birth_date": {"method": "generalize", "to": "year", "type": "date"},
    "amount": {"method": "generalize", "bins": [100, 500], "type": "number"},
    "notes": "drop",
}


def test_from_table_to_table(world: World) -> None:
    world.execute("CREATE TABLE crm.shared (id bigint, email text, birth_date smallint, amount text)")
    rows = customers(300)
    world.load_rows(rows)
    report = world.load(
        world.table_source(),
        ANALYTICS,
        "crm.shared",
        mode="replace",
        options=world.options(reveal_with=world.lake.keyset),
    )
    assert report.rows == 300
    assert report.source.status is Status.PROTECTED
    assert world.query(
        "SELECT count(*) FROM crm.shared s JOIN crm.customers c ON s.id = c.id AND s.email = c.email"
    ) == [(300,)]
    shared = world.query("SELECT id, birth_date, amount FROM crm.shared ORDER BY id")
    assert shared == [(int(r[0] or 0), int((r[3] or "")[:4]), _bin(float(r[4] or 0))) for r in rows]
    edges = {edge.target: edge.description for edge in report.edges}
    assert edges == {
        "id": "unchanged",
        "email": "passed through, tokenize before",
        "birth_date": "revealed, then generalize",
        "amount": "generalize",
    }
    states = {column.name: column for column in report.target.columns}
    assert (states["email"].keyset_id, states["email"].key_version) == ("customers", 1)


def _bin(amount: float) -> str:
    return "<100" if amount < 100 else "[100,500)" if amount < 500 else ">=500"


def test_from_table_to_table_under_another_key(world: World) -> None:
    """Ciphertext is opened and sealed again where the rule names another domain; nulls and "" stay what they are."""
    world.execute("CREATE TABLE crm.copy (id bigint, email bytea, notes bytea)")
    rows = [("1", None, None, None, None, ""), ("2", "", None, None, None, None), *customers(5, first=3)]
    world.load_rows(rows)
    columns = {
        "id": "none",
        "email": {"method": "tokenize", "domain": "partner", "classification": "restricted"},
        "ssn": "drop", "birth_date": "drop", "amount": "drop",
        "notes": {"method": "encrypt", "scope": "copy.notes", "domain": "copy"},
    }  # fmt: skip
    world.load(
        world.table_source(),
        columns,
        "crm.copy",
        options=world.options(reveal_with=world.lake.keyset),
        task="a/b/c/1",
    )
    stored = world.query("SELECT id, email, notes FROM crm.copy ORDER BY id")
    contract = from_columns(columns, "crm.customers")
    assert reveal(world.lake.keyset, contract, "email", [row[1] for row in stored]) == [
        row[1] for row in rows
    ]
    assert reveal(world.lake.keyset, contract, "notes", [row[2] for row in stored]) == [
        row[5] for row in rows
    ]


def test_a_table_has_no_version_so_the_task_run_names_the_load(world: World) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    world.load_rows(customers(10))
    only_id = {name: "none" if name == "id" else "drop" for name in HEADER}
    share = [
        world.load(world.table_source(), only_id, "crm.ids", task=f"dag/share/{run}/-1") for run in "112"
    ]
    assert [report.rows for report in share] == [10, 0, 10]


def test_replace_reads_a_table_again_in_the_same_task_run(world: World) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    only_id = {name: "none" if name == "id" else "drop" for name in HEADER}
    for rows in (10, 13):
        world.load_rows(customers(rows, first=1 if rows == 10 else 1_001), mode="replace")
        assert world.load(world.table_source(), only_id, "crm.ids", mode="replace").rows == rows
    assert world.query("SELECT count(*) FROM crm.ids") == [(13,)]


def test_only_some_rows_of_a_table(world: World) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    world.load_rows(customers(10))
    only_id = {name: "none" if name == "id" else "drop" for name in HEADER}
    for condition, rows in (
        ("id % 2 = 0", 5),
        ("id <= 3 AND ')' <> 'it''s ;'", 3),
        ("id IN (SELECT 1) OR id = 7", 2),
    ):
        source = world.table_source(rows=condition)
        assert world.load(source, only_id, "crm.ids", mode="replace").rows == rows
    assert world.query("SELECT id FROM crm.ids ORDER BY id") == [(1,), (7,)]
    # Another condition is another load of the same task run.
    assert world.load(world.table_source(rows="id = 2"), only_id, "crm.ids").rows == 1
    assert world.load(world.table_source(rows="id = 2"), only_id, "crm.ids").already_loaded
    assert world.load(world.table_source(rows="id = 3"), only_id, "crm.ids").rows == 1


def test_append_of_a_table_twice_in_a_task_run_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    world.load_rows(customers(10))
    only_id = {name: "none" if name == "id" else "drop" for name in HEADER}
    for _ in range(2):
        world.load(world.table_source(), only_id, "crm.ids")
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "this task run has appended" in warning
    assert "mode='replace' reads it again" in warning


@pytest.mark.parametrize(
    "rule",
    [
        {"method": "generalize", "to": "year", "type": "date"},
        {"method": "redact", "type": "date"},
        {"method": "nullify"},
        {"method": "drop"},
    ],
    ids=["generalize", "redact", "nullify", "drop"],
)
def test_a_lower_class_for_what_no_longer_holds_the_values(world: World, rule: dict[str, Any]) -> None:
    world.execute("CREATE TABLE crm.years (id bigint, birth_date text)")
    world.load_rows(customers(10))
    columns = dict.fromkeys(HEADER, "drop") | {
        "id": "none",
        "birth_date": {**rule, "classification": "public"},
    }
    options = world.options(reveal_with=world.lake.keyset)
    assert world.load(world.table_source(), columns, "crm.years", options=options).rows == 10


def test_the_stable_owner_acts(world: World) -> None:
    role = f"owner_{world.database.name}"
    world.execute(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA crm, secure_provider TO {role}; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA crm, secure_provider TO {role}; "
        f"CREATE TABLE crm.written_by (name text DEFAULT current_user, id bigint); GRANT INSERT ON crm.written_by TO {role}"
    )
    try:
        world.load(
            world.lake.encrypt(b"id\n1\n").data, {"id": "none"}, "crm.written_by", target={"set_role": role}
        )
        assert world.query("SELECT name FROM crm.written_by") == [(role,)]
    finally:
        world.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


# --- reports ---------------------------------------------------------------------------------------------


def test_the_report_is_json_without_values(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="airflow_secure_provider")
    rows = customers(200)
    told: list[Any] = []
    report = world.load_rows(rows, on_ends=lambda source, target: told.append((source, target)))
    text = json.dumps(report.as_dict())
    assert json.loads(text) == report.as_dict()
    for said in (text, repr(report), caplog.text, repr(told)):
        assert CANARY not in said
        assert "@example.com" not in said
    assert json.loads(text)["rows"] == 200
    assert json.loads(text)["target"]["status"] == "protected"
    assert set(report.timings) == {
        "read", "decrypt", "parse", "look", "protect", "authenticate the end", "encode", "send", "server",
    }  # fmt: skip
    assert [len(target.columns) for _, target in told] == [0, 6]
    # The search does find a value where there is one.
    assert CANARY in json.dumps(rows)


def test_where_the_time_went_is_told_on_demand(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="airflow_secure_provider")
    world.load_rows(customers(20_000))
    (said,) = [each.message for each in caplog.records if each.message.startswith("where the time went: ")]
    assert re.search(
        r"read \d+\.\d\d s, decrypt .* s, .*protect .* s, .*encode .* s, send .* s, server .* s", said
    )


def test_at_rest_unknown_is_unknown(world: World) -> None:
    public = dict.fromkeys(HEADER, "drop") | {"id": {"method": "none", "classification": "public"}}
    report = world.load_rows(customers(5), columns=public, options=world.options(declared_at_rest={}))
    assert report.target.status is Status.UNKNOWN
    assert report.target.at_rest == AtRest()


def test_an_unverified_server_is_partial(world: World) -> None:
    internal = {name: "none" if name == "id" else "drop" for name in HEADER}
    target = {"connect": lambda: world.database.connect(sslmode="require")}
    report = world.load_rows(customers(5), columns=internal, target=target)
    assert report.target.status is Status.PARTIAL
    assert report.target.in_transit.peer_verified is False


def test_waived_transport_shows_as_exposed(
    world: World, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Postgres(tmp_path / "plaintext", authority, allow_plaintext=True) as server:
        there = World.made(world.lake, Database(server, "postgres"))
        target = {
            "connect": lambda: there.database.connect(sslmode="disable"),
            "allow_insecure_transport": True,
        }
        report = there.load_rows(customers(5), target=target)
        assert report.rows == count(there) == 5
    assert report.target.status is Status.EXPOSED
    assert report.target.in_transit.protocol == "none"
    (warning,) = report.warnings
    assert "allow_insecure_transport=True: column 'email' is restricted" in warning
    assert warning in caplog.text


def test_context_is_not_needed_where_none_is_expected(world: World) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(5)), context={**CONTEXT, "day": "1"}).data)
    assert world.load(world.source(uri, context={})).rows == 5
    assert world.load(world.source(uri)).already_loaded


def test_extra_columns_may_be_dropped(world: World) -> None:
    rows = [(*row, CANARY) for row in customers(5)]
    message = world.lake.encrypt(as_csv(rows, [*HEADER, "surprise"]))
    assert world.load(message.data, options=world.options(extra_columns="drop")).rows == 5


def test_the_given_connection_is_closed(world: World) -> None:
    given: list[psycopg.Connection[Any]] = []
    world.load_rows(customers(5), on_connection=given.append)
    assert [connection.closed for connection in given] == [True]


def test_a_declaration_counts_where_s3_shows_no_encryption(world: World) -> None:
    """As on a compatible store whose disks are encrypted. It stays a declaration, and is not enough for restricted."""
    uri = world.lake.put(as_csv(customers(5)))
    columns = {**COLUMNS, "email": {**EMAIL, "classification": "confidential"}, "ssn": "tokenize"}
    with pytest.raises(ContractError, match="must be encrypted at rest; it is none"):
        world.load(world.source(uri, context={}), columns)
    declared = {**world.declared, f"s3://{BUCKET}": AtRest("volume", "LUKS", evidence=Evidence.DECLARED)}
    options = world.options(declared_at_rest=declared)
    report = world.load(world.source(uri, context={}), columns, options=options)
    assert (report.source.at_rest.scheme, report.source.at_rest.evidence) == ("volume", Evidence.DECLARED)
    assert "HeadObject shows no encryption" in (report.source.at_rest.note or "")
    with pytest.raises(ContractError, match=r"must be client-side or customer-key encrypted; it is volume"):
        world.load(world.source(uri, context={}), COLUMNS, options=options)


@pytest.mark.parametrize("source_type", ["text", "bytea"])
@pytest.mark.parametrize("target_type", ["text", "bytea"])
def test_cells_pass_between_text_and_bytea(world: World, source_type: str, target_type: str) -> None:
    columns = {
        "id": "none",
        "email": {"method": "tokenize", "domain": "d"},
        "notes": {"method": "encrypt", "domain": "d", "scope": "s"},
        "person": {"method": "pseudonymize", "domain": "d"},
    }
    for name, kind in (("source", source_type), ("target", target_type)):
        world.execute(f"CREATE TABLE crm.{name} (id bigint, email {kind}, notes {kind}, person {kind})")
    world.load(world.lake.encrypt(b"id,email,notes,person\n1,a,b,c\n2,,,\n").data, columns, "crm.source")
    world.load(world.table_source("crm.source"), columns, "crm.target")

    def cell(kind: str, name: str) -> str:
        return f"decode({name}, 'base64')" if kind == "text" else name

    fields = [
        ", ".join(cell(kind, name) for name in ("email", "notes", "person"))
        for kind in (source_type, target_type)
    ]
    assert world.query(f"SELECT {fields[0]} FROM crm.source ORDER BY id") == world.query(
        f"SELECT {fields[1]} FROM crm.target ORDER BY id"
    )


def test_a_source_is_read_as_of_one_moment(world: World) -> None:
    """What is recorded of its columns and its rows belong together, whatever is loaded meanwhile."""
    world.execute(
        "CREATE TABLE crm.source (id bigint, email text); CREATE TABLE crm.target (id bigint, email text)"
    )
    tokens = {"id": "none", "email": {"method": "tokenize", "domain": "d"}}
    world.load(world.lake.encrypt(b"id,email\n1,a\n2,b\n").data, tokens, "crm.source")
    replaced: list[Any] = []

    def replace(*ends: Any) -> None:
        if not replaced:
            plain = {"id": "none", "email": "none"}
            replaced.append(
                world.load(
                    world.lake.encrypt(b"id,email\n3,c\n").data,
                    plain,
                    "crm.source",
                    mode="replace",
                    task="other",
                )
            )

    world.load(world.table_source("crm.source"), tokens, "crm.target", on_ends=replace)
    assert replaced
    stored = world.query("SELECT id, length(email) FROM crm.target ORDER BY id")
    assert stored == [(1, 32), (2, 32)]


def test_appends_of_two_rules_at_a_time_do_not_mix(world: World) -> None:
    world.execute("CREATE TABLE crm.mixed (id bigint, email text)")
    rules = ({"method": "tokenize", "domain": "d"}, {"method": "none"})
    loads = [
        (lambda rule=rule, at=at: world.load(
            world.lake.encrypt(f"id,email\n{at},a\n".encode()).data, {"id": "none", "email": rule}, "crm.mixed", task=f"t{at}"
        ))
        for at, rule in enumerate(rules)
    ]  # fmt: skip
    results = in_background(*loads)
    refused = [each for each in results if isinstance(each, ContractError)]
    assert len(refused) == 1
    assert "one column can't hold both" in str(refused[0])
    assert count(world, "crm.mixed") == 1


def test_appends_of_one_rule_go_on_side_by_side(world: World) -> None:
    world.load_rows(customers(10))
    (first, second) = (
        world.lake.put(world.lake.encrypt(as_csv(customers(5, first=at))).data) for at in (100, 200)
    )
    inside, waited = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        inside.set()
        assert waited.wait(20), "the second append waited for the first"

    def load_second() -> Any:
        assert inside.wait(20)
        done = world.load(second, task="t2")
        waited.set()
        return done

    results = in_background(
        lambda: world.load(Watched(world.source(first), on_batch=hold), task="t1"), load_second
    )
    assert [each.rows for each in results] == [5, 5]


def test_replace_where_delete_is_swallowed(world: World) -> None:
    world.load_rows(customers(3))
    world.execute(
        "CREATE FUNCTION crm.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER keep BEFORE DELETE ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.keep()"
    )
    with pytest.raises(LoadError, match="rows are left after DELETE"):
        world.load_rows(customers(3, first=10), mode="replace")
    assert count(world) == 3


def test_floats_and_times_of_a_table_as_they_are(world: World) -> None:
    """Whatever the settings of the database say about printing them."""
    world.execute(
        f"ALTER DATABASE {world.database.name} SET extra_float_digits = -10; "
        f"ALTER DATABASE {world.database.name} SET timezone = 'Europe/Amsterdam'; "
        "CREATE TABLE crm.source (x float8, at timestamptz); CREATE TABLE crm.target (x float8, at timestamptz); "
        "INSERT INTO crm.source VALUES (0.1::float8 + 0.2::float8, '1890-01-01 00:00:00Z')"
    )
    try:
        columns = {"x": "none", "at": "none"}
        world.load(world.table_source("crm.source"), columns, "crm.target")
        assert world.query("SELECT count(*) FROM crm.source NATURAL JOIN crm.target") == [(1,)]
    finally:
        world.execute(f"ALTER DATABASE {world.database.name} RESET ALL")


def test_a_month_of_a_timestamp_with_fractions(world: World) -> None:
    world.execute("CREATE TABLE crm.months (at text)")
    columns = {"at": {"method": "generalize", "to": "month", "type": "timestamp"}}
    world.load(world.lake.encrypt(b"at\n2024-05-06 07:08:09.123456\n").data, columns, "crm.months")
    assert world.query("SELECT at FROM crm.months") == [("2024-05",)]
