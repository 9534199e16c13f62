"""Rubbish of every kind: only documented errors come out, in time, and no value stands in them."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_secure_provider.contract import policy_document
from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.crypto.keyset import Keyset, KeysetDocument
from airflow_secure_provider.errors import SecureProviderError
from airflow_secure_provider.model import AtRest, recorded_status
from airflow_secure_provider.objects.opening import open_object
from airflow_secure_provider.objects.source import Counted
from airflow_secure_provider.protection.plan import plan
from airflow_secure_provider.stores import object_manifest, object_state
from airflow_secure_provider.stores.csv_dialect import CsvDialect
from airflow_secure_provider.stores.files import json_types, open_reader
from airflow_secure_provider.stores.formats import FileFormat
from tests.objects.test_encryption_sdk_frames import SIGNED, UNSIGNED, encrypt, raw_keys

__all__ = ["raw_keys"]  # a fixture: a wrapping key in memory in KMS's place
CANARY = "Zq7canary"
SECONDS = 5.0
"""For one input; what takes longer hangs."""
ROUNDS = [pytest.param(150, id="150"), pytest.param(4_000, id="4000", marks=pytest.mark.long)]
KEYS = Keyset("k", "local", "local:test", 1, {1: bytes(range(64))})
RULES = [
    column_rule("id", "internal", "none", contract_id="c", logical_type="integer"),
    column_rule("email", "restricted", "tokenize", contract_id="c"),
    column_rule("born", "confidential", "encrypt", contract_id="c", logical_type="date"),
    column_rule("card", "restricted", {"method": "fpe", "on_unfit": "encrypt"}, contract_id="c"),
    column_rule("note", "restricted", "redact", contract_id="c"),
]
NAMES = [rule.name for rule in RULES]
ROWS = [
    (
        str(n),
        f"{CANARY}{n}@x.org",
        f"19{n % 90 + 10}-01-0{n % 9 + 1}",
        f"4111-1111-{n:04d}",
        f'say "{CANARY}"\n',
    )
    for n in range(60)
]
TABLE = pa.table({name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)})


def as_csv() -> bytes:
    lines = [",".join(NAMES)]
    lines += [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in ROWS]
    return ("\n".join(lines) + "\n").encode()


def as_jsonl() -> bytes:
    rows = [dict(zip(NAMES, row, strict=True)) | {"id": int(row[0])} for row in ROWS]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(compression: str = "zstd") -> bytes:
    out = io.BytesIO()
    parquet.write_table(TABLE, out, compression=compression, row_group_size=20)
    return out.getvalue()


CONTRACT = b"""
apiVersion: v3.1.0
kind: DataContract
id: crm
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, classification: internal, primaryKey: true}
      - name: email
        classification: restricted
        tags: [pii]
        customProperties: [{property: protection, value: {method: tokenize, domain: person-email}}]
      - {name: born, logicalType: date, classification: confidential, customProperties: [{property: protection, value: encrypt}]}
"""
POLICY = b"kind: ClassPolicy\nid: house\nversion: 1.0.0\nclasses:\n  internal: {transit: verified, atRest: encrypted}\n"
_STATE = object_state.state_metadata(
    [recorded_status("email", "restricted", "tokenize", "d", None, "k", 1, {})], "it"
)


def changed(rng: random.Random, data: bytes) -> bytes:
    """Some of the things that happen to bytes."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(made) + 1)
        end = min(len(made), at + rng.choice((0, 1, 4, 40, 400)))
        match rng.randrange(7):
            case 0 if made:
                made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
            case 1:
                made[at:end] = b""
            case 2:
                made[at:at] = rng.randbytes(rng.choice((1, 3, 50)))
            case 3:
                made[at:at] = made[at:end]
            case 4:
                made[at:at] = rng.choice(
                    (
                        b"\0",
                        b'"',
                        b"\n",
                        b"\r",
                        b",",
                        b"\xff",
                        b"\xef\xbb\xbf",
                        b"{",
                        b"[" * 2_000,
                        b"\\u0000",
                    )
                )
            case 5:
                del made[at:]
            case _:
                made[at:end] = rng.randbytes(end - at)
    return bytes(made)


def read_records(data: bytes, kind: FileFormat, dialect: CsvDialect | None = None) -> None:
    """As a load does it: parsed, checked and protected."""
    reader = open_reader(io.BytesIO(data), "it", kind, json_types(RULES), dialect, NAMES)
    rules = [rule for rule in RULES if rule.name in reader.columns]
    steps = plan(rules, KEYS)
    record = 1
    for batch in reader.batches():
        if len(set(batch.schema.names)) == len(batch.schema.names):
            for step in steps:
                _guarded(step, batch, record)
        record += batch.num_rows


def _guarded(step: Any, batch: Any, record: int) -> None:
    """The transfer turns what Arrow says, which may quote, into an error of ours; see transfer/rows.py."""
    try:
        step.apply(batch, first_record=record, where="it")
    except pa.ArrowException:
        return


def open_message(data: bytes) -> None:
    stream = open_object(
        Counted(io.BytesIO(data), len(data), "it"),
        {},
        AtRest(),
        kms_client=lambda arn: None,
        context={"a": "b"},
        key_arns=None,
    )
    while stream.read(1 << 16):
        pass
    stream.finish()


CASES: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
    "csv": (as_csv, lambda data: read_records(data, FileFormat.CSV)),
    "csv by semicolons": (
        lambda: as_csv().replace(b",", b";"),
        lambda data: read_records(
            data, FileFormat.CSV, CsvDialect.of({"delimiter": ";", "encoding": "cp1252"})
        ),
    ),
    "jsonl": (as_jsonl, lambda data: read_records(data, FileFormat.JSONL)),
    "parquet": (as_parquet, lambda data: read_records(data, FileFormat.PARQUET)),
    "plain parquet": (lambda: as_parquet("none"), lambda data: read_records(data, FileFormat.PARQUET)),
    "message": (lambda: encrypt(as_csv(), 128, UNSIGNED), open_message),
    "signed message": (lambda: encrypt(as_csv(), 1024, SIGNED), open_message),
    "contract": (lambda: CONTRACT, lambda data: from_odcs(data, "c.yaml", "people")),
    "policy": (lambda: POLICY, lambda data: policy_document.from_document(data, "p.yaml")),
    "keyset": (
        lambda: json.dumps(
            {
                "format": "airflow-secure-provider/keyset/1",
                "id": "k",
                "provider": "local",
                "keyId": "local:x",
                "keys": [{"version": 1, "created": "x", "wrapped": "AAAA"}],
                "mac": "AAAA",
            }
        ).encode(),
        lambda data: KeysetDocument.from_json(data, "k.json"),
    ),
    "manifest": (
        lambda: b'{"entries": [{"url": "s3://b/1", "meta": {"content_length": 5}}]}',
        lambda data: object_manifest.parse(data, "m"),
    ),
    "object metadata": (
        lambda: _STATE[object_state.COLUMNS].encode(),
        lambda data: object_state.read_state({object_state.COLUMNS: data.decode("latin-1")}, "o"),
    ),
}


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("case", CASES)
def test_changed_input(case: str, rounds: int) -> None:
    make, read = CASES[case]
    good = make()
    rng = random.Random(case)
    refused = 0
    for number in range(rounds):
        data = changed(rng, good) if number % 10 else rng.randbytes(rng.randrange(3_000))
        began = time.perf_counter()
        said = said_of(read, data)
        assert time.perf_counter() - began < SECONDS, (case, number)
        refused += said is not None
        assert CANARY not in (said or ""), (case, number)
    assert refused > rounds // 20, "nothing was refused: does the reader look at all?"


@pytest.mark.parametrize("case", CASES)
def test_unchanged_input(case: str) -> None:
    """Else the test would look at refusals only."""
    make, read = CASES[case]
    read(make())


def said_of(read: Callable[[bytes], Any], data: bytes) -> str | None:
    """What an error says; any but ours ends the test."""
    try:
        read(data)
    except SecureProviderError as error:
        parts = [
            str(error),
            repr(error.__cause__),
            "" if error.__suppress_context__ else repr(error.__context__),
        ]
        return " ".join(parts)
    return None
