"""Files of Parquet Modular Encryption, written by pyarrow under keys of KMS, loaded."""

from __future__ import annotations

import base64
import io
import random
import secrets
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from pyarrow.parquet import encryption

from airflow_secure_provider.errors import (
    ContractError,
    DecryptionError,
    FormatError,
    KeyringError,
    SecureProviderError,
)
from airflow_secure_provider.transfer import S3Source

from .world import BUCKET, CANARY, COLUMNS, HEADER, World, customers

ROWS = customers(3_000)


class Writer:
    def __init__(self, world: World) -> None:
        self.world = world
        self.key = f"pme/{secrets.token_hex(6)}.parquet"
        self.uri = f"s3://{BUCKET}/{self.key}"

    def encrypted(self, footer_key: str | None = None, **settings: Any) -> bytes:
        lake = self.world.lake

        class Kms(encryption.KmsClient):  # type: ignore[misc]
            def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
                answer = lake.kms.encrypt(KeyId=master_key_identifier, Plaintext=key_bytes)
                return base64.b64encode(answer["CiphertextBlob"])

            def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
                raise AssertionError("the writer only wraps")

        factory = encryption.CryptoFactory(lambda _: Kms())
        columns = settings.pop("column_keys", None)
        how = {"column_keys": columns} if columns else {"uniform_encryption": True}
        configuration = encryption.EncryptionConfiguration(footer_key or lake.key, **how, **settings)
        properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
        out = io.BytesIO()
        columns_of = dict(zip(HEADER, zip(*ROWS, strict=True), strict=True))
        table = pa.table({name: pa.array(values, pa.string()) for name, values in columns_of.items()})
        with parquet.ParquetWriter(out, table.schema, encryption_properties=properties) as writer:
            writer.write_table(table, row_group_size=1_000)
        return out.getvalue()

    def put(self, body: bytes, **settings: Any) -> S3Source:
        self.world.lake.s3.put_object(Bucket=BUCKET, Key=self.key, Body=body, **settings)
        return replace(self.world.source(self.uri), context={}, key_arns=[self.world.lake.key])


def key_id(world: World) -> str:
    """pyarrow takes no ARN for a column: it has colons."""
    return world.lake.key.rpartition("/")[2]


def refusal_of(step: Callable[[], Any]) -> str | None:
    try:
        step()
    except SecureProviderError as error:
        return str(error)
    return None


@pytest.fixture
def writer(world: World) -> Writer:
    return Writer(world)


@pytest.mark.parametrize("algorithm", ["AES_GCM_V1", "AES_GCM_CTR_V1"])
@pytest.mark.parametrize("double_wrapping", [True, False])
@pytest.mark.parametrize("own_keys", [True, False])
def test_loaded(world: World, writer: Writer, algorithm: str, double_wrapping: bool, own_keys: bool) -> None:
    columns = {key_id(world): list(HEADER)} if own_keys else None
    body = writer.encrypted(
        column_keys=columns, encryption_algorithm=algorithm, double_wrapping=double_wrapping
    )
    assert CANARY.encode() not in body
    source = replace(writer.put(body), allow_unauthenticated="CTR" in algorithm)
    report = world.load(source)
    assert report.rows == len(ROWS)
    assert world.query("SELECT count(*), sum(id) FROM crm.customers") == [(3_000, 4_501_500)]
    at_rest = report.source.at_rest
    assert (at_rest.scheme, at_rest.algorithm) == ("client-side", f"Parquet Modular Encryption {algorithm}")
    assert (at_rest.key_id, at_rest.evidence) == (world.lake.key, "observed")
    assert (at_rest.note is None) == (algorithm == "AES_GCM_V1")


@pytest.mark.parametrize("open_column", ["email", "id"])
def test_one_column_that_is_not_encrypted(world: World, writer: Writer, open_column: str) -> None:
    """Then it is as the store has it, whatever is said of the file."""
    body = writer.encrypted(column_keys={key_id(world): [name for name in HEADER if name != open_column]})
    before = world.state()
    source = writer.put(body)
    with pytest.raises(
        ContractError, match=rf"column '{open_column}' is not encrypted in it, and kms_key_arns="
    ):
        world.load(source)
    with pytest.raises(ContractError, match=r"restricted"):
        world.load(replace(source, key_arns=None))
    assert world.state() == before
    source = writer.put(body, ServerSideEncryption="aws:kms", SSEKMSKeyId=world.lake.key)
    assert world.load(replace(source, key_arns=None)).source.at_rest.scheme == "SSE-KMS"


def test_ctr_only_if_asked_for(world: World, writer: Writer) -> None:
    with pytest.raises(
        DecryptionError, match=r"AES_GCM_CTR_V1, in whose pages nothing notices an alteration"
    ):
        world.load(writer.put(writer.encrypted(encryption_algorithm="AES_GCM_CTR_V1")))


def test_keys_that_are_not_accepted(world: World, writer: Writer) -> None:
    body = writer.encrypted(footer_key=world.lake.other_key)
    source = writer.put(body)
    with pytest.raises(KeyringError, match=r"wants the key 'arn:.*', accepted: arn:"):
        world.load(source)
    assert world.load(replace(source, key_arns=None)).source.at_rest.key_id == world.lake.other_key


def test_what_kms_refuses(world: World, writer: Writer) -> None:
    body = writer.encrypted()
    key = world.lake.key.rpartition("/")[2].encode()
    source = writer.put(body.replace(key, str(uuid.uuid4()).encode()))
    with pytest.raises(KeyringError, match=r"KMS Decrypt with key arn:.* refused"):
        world.load(replace(source, key_arns=None))


def test_every_alteration_is_noticed(world: World, writer: Writer) -> None:
    """But in the padding of the format, which means nothing: there the rows are the same."""
    body = writer.encrypted()
    before = world.state()
    chosen = random.Random(7).sample(range(len(body)), 60)
    noticed = 0
    for position in [0, 3, len(body) - 1, len(body) - 5, len(body) - 8, *chosen]:
        changed = bytearray(body)
        changed[position] ^= 1
        source = writer.put(bytes(changed))
        said = refusal_of(partial(world.load, source, mode="replace"))
        if said is not None:
            noticed += 1
            assert writer.uri in said
            assert CANARY not in said
            assert world.state() == before
        else:
            rows = world.query("SELECT count(*), sum(id) FROM crm.customers")
            assert rows == [(3_000, 4_501_500)], position
            world.execute("DELETE FROM crm.customers; DELETE FROM secure_provider.load_manifest")
    assert noticed >= 60


@pytest.mark.parametrize(
    ("cut", "kind", "says"),
    [
        (slice(None, -1), FormatError, "truncated"),
        (slice(None, 4), FormatError, "truncated"),
        (slice(4), SecureProviderError, "."),
        (slice(100, None), ContractError, "is not an AWS Encryption SDK message"),
    ],
)
def test_truncated(
    world: World, writer: Writer, cut: slice, kind: type[SecureProviderError], says: str
) -> None:
    before = world.state()
    with pytest.raises(kind, match=says):
        world.load(writer.put(writer.encrypted()[cut]))
    assert world.state() == before


def test_a_plaintext_footer(world: World, writer: Writer) -> None:
    body = writer.encrypted(plaintext_footer=True, column_keys={key_id(world): list(HEADER)})
    with pytest.raises(FormatError, match="can't be read as Parquet"):
        world.load(replace(writer.put(body), key_arns=None), dict.fromkeys(COLUMNS, "none"))


def test_a_context_is_not_of_this_format(world: World, writer: Writer) -> None:
    source = replace(writer.put(writer.encrypted()), context={"dataset": "crm.customers"})
    with pytest.raises(ContractError, match=r"encryption_context=.* expects one"):
        world.load(source)


def test_a_plain_file_that_is_damaged(world: World, writer: Writer) -> None:
    out = io.BytesIO()
    parquet.write_table(pa.table({"id": [1, 2], "note": [CANARY, CANARY]}), out, compression="zstd")
    body = bytearray(out.getvalue())
    body[40:80] = bytes(40)
    source = replace(writer.put(bytes(body)), key_arns=None)
    with pytest.raises(SecureProviderError) as raised:
        world.load(source, {"id": "none", "note": "none"})
    assert CANARY not in str(raised.value)
