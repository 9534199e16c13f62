"""Objects that Amazon's own S3 Encryption Client for Python has written, loaded."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.materials.kms_keyring import KmsKeyring
from s3_encryption.materials.materials import AlgorithmSuite, CommitmentPolicy

from airflow_secure_provider.errors import (
    ConfigurationError,
    ContractError,
    DecryptionError,
    KeyringError,
    SecureProviderError,
)
from airflow_secure_provider.transfer import S3Source

from .world import BUCKET, CANARY, World, as_csv, customers

V2 = "ALG_AES_256_GCM_IV12_TAG16_NO_KDF"
V3 = "ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY"
CBC = "ALG_AES_256_CBC_IV16_NO_KDF"
CONTEXT = {"dataset": "crm.customers", "run": "1"}


class Writer:
    """Another program, which writes with the client."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.s3 = world.lake.s3
        self.key = f"s3ec/{secrets.token_hex(6)}.csv"

    @property
    def uri(self) -> str:
        return f"s3://{BUCKET}/{self.key}"

    def write(self, body: bytes, suite: str = V3, context: Mapping[str, str] = CONTEXT) -> str:
        lake = self.world.lake
        policy = "FORBID_ENCRYPT_ALLOW_DECRYPT" if suite == V2 else "REQUIRE_ENCRYPT_REQUIRE_DECRYPT"
        config = S3EncryptionClientConfig(
            keyring=KmsKeyring(lake.aws.client("kms"), lake.key),
            encryption_algorithm=AlgorithmSuite[suite],
            commitment_policy=CommitmentPolicy[policy],
        )
        client = S3EncryptionClient(lake.aws.client("s3"), config)
        client.put_object(Bucket=BUCKET, Key=self.key, Body=body, EncryptionContext=dict(context))
        return self.uri

    def write_cbc(self, body: bytes) -> str:
        """As version 1 of the client did; no client that is maintained writes it."""
        lake = self.world.lake
        key, iv = os.urandom(32), os.urandom(16)
        padder = PKCS7(128).padder()
        cipher = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
        content = cipher.update(padder.update(body) + padder.finalize()) + cipher.finalize()
        described = {"kms_cmk_id": lake.key}
        wrapped = lake.kms.encrypt(KeyId=lake.key, Plaintext=key, EncryptionContext=described)
        self.replace(
            content,
            {
                "x-amz-key-v2": base64.b64encode(wrapped["CiphertextBlob"]).decode(),
                "x-amz-iv": base64.b64encode(iv).decode(),
                "x-amz-cek-alg": "AES/CBC/PKCS5Padding",
                "x-amz-wrap-alg": "kms",
                "x-amz-matdesc": json.dumps(described),
            },
        )
        return self.uri

    def read_raw(self) -> tuple[bytes, dict[str, str]]:
        answer = self.s3.get_object(Bucket=BUCKET, Key=self.key)
        return answer["Body"].read(), answer["Metadata"]

    def replace(self, body: bytes, metadata: Mapping[str, str]) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=self.key, Body=body, Metadata=dict(metadata))

    def use_instruction_file(self) -> None:
        """What the other languages' clients can do: the keys in a file beside the object."""
        body, metadata = self.read_raw()
        stays = {k: v for k, v in metadata.items() if k in ("x-amz-c", "x-amz-d", "x-amz-i")}
        moved = {k: v for k, v in metadata.items() if k not in stays}
        self.replace(body, stays)
        beside = io.BytesIO(json.dumps(moved).encode())
        self.s3.put_object(
            Bucket=BUCKET,
            Key=self.key + ".instruction",
            Body=beside,
            Metadata={"x-amz-crypto-instr-file": ""},
        )

    def source(self, **changes: Any) -> S3Source:
        settings = {"context": {"dataset": "crm.customers"}, "key_arns": [self.world.lake.key], **changes}
        return replace(self.world.source(self.uri), **settings)


@pytest.fixture
def writer(world: World) -> Writer:
    return Writer(world)


@pytest.mark.parametrize("suite", [V2, V3])
@pytest.mark.parametrize("beside", [False, True])
def test_loaded(world: World, writer: Writer, suite: str, beside: bool) -> None:
    writer.write(as_csv(customers(5_000)), suite)
    if beside:
        writer.use_instruction_file()
    report = world.load(writer.source())
    assert report.rows == 5_000
    assert world.query("SELECT count(*), sum(id) FROM crm.customers") == [(5_000, 12_502_500)]
    at_rest = report.source.at_rest
    assert (at_rest.scheme, at_rest.algorithm) == ("client-side", f"Amazon S3 Encryption Client {suite}")
    assert (at_rest.key_id, at_rest.evidence) == (world.lake.key, "observed")
    assert world.load(writer.source()).already_loaded


def test_an_object_of_many_pieces(world: World, writer: Writer) -> None:
    rows = customers(60_000)
    writer.write(as_csv(rows))
    assert world.load(writer.source()).rows == len(rows)


def test_one_of_several_keys(world: World, writer: Writer) -> None:
    writer.write(as_csv(customers(3)))
    source = writer.source(key_arns=[world.lake.other_key, world.lake.key])
    report = world.load(source)
    assert report.source.at_rest.key_id == world.lake.key


def test_a_prefix_with_instruction_files(world: World) -> None:
    folder = f"s3ec/{secrets.token_hex(6)}/"
    for name in ("1.csv", "2.csv"):
        writer = Writer(world)
        writer.key = folder + name
        writer.write(as_csv(customers(3, first=int(name[0]) * 10)))
        writer.use_instruction_file()
    from airflow_secure_provider.transfer import S3Objects

    each = replace(writer.source(), uri=f"s3://{BUCKET}/{folder}")
    assert world.load(S3Objects(each)).rows == 6


def test_cbc_only_if_asked_for(world: World, writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
    writer.write_cbc(as_csv(customers(2_000)))
    before = world.state()
    with pytest.raises(DecryptionError, match=r"legacy"):
        world.load(writer.source(context={}))
    assert world.state() == before
    report = world.load(writer.source(context={}, allow_unauthenticated=True))
    assert (report.rows, report.source.at_rest.algorithm) == (2_000, f"Amazon S3 Encryption Client {CBC}")
    assert report.source.at_rest.note == "its alteration would not be noticed"
    assert "nothing notices an alteration" in caplog.text


def flip(position: int) -> Any:
    def spoil(writer: Writer) -> None:
        body, metadata = writer.read_raw()
        changed = bytearray(body)
        changed[position] ^= 1
        writer.replace(bytes(changed), metadata)

    return spoil


def cut(writer: Writer) -> None:
    body, metadata = writer.read_raw()
    writer.replace(body[:-1], metadata)


def append(writer: Writer) -> None:
    body, metadata = writer.read_raw()
    writer.replace(body + b"x", metadata)


def empty(writer: Writer) -> None:
    writer.replace(b"", writer.read_raw()[1])


def other_commitment(writer: Writer) -> None:
    body, metadata = writer.read_raw()
    writer.replace(body, {**metadata, "x-amz-d": base64.b64encode(bytes(28)).decode()})


def other_context(writer: Writer) -> None:
    body, metadata = writer.read_raw()
    changed = json.loads(metadata["x-amz-t"]) | {"run": "2"}
    writer.replace(body, {**metadata, "x-amz-t": json.dumps(changed)})


def no_base64(writer: Writer) -> None:
    body, metadata = writer.read_raw()
    writer.replace(body, {**metadata, "x-amz-i": "%"})


def both_formats(writer: Writer) -> None:
    body, metadata = writer.read_raw()
    writer.replace(body, {**metadata, "x-amz-key-v2": "AAAA", "x-amz-cek-alg": "AES/GCM/NoPadding"})


def unknown_wrap(writer: Writer) -> None:
    body, metadata = writer.read_raw()
    writer.replace(body, {**metadata, "x-amz-w": "02"})


def no_instruction_file(writer: Writer) -> None:
    writer.use_instruction_file()
    writer.s3.delete_object(Bucket=BUCKET, Key=writer.key + ".instruction")


def spoilt_instruction_file(writer: Writer) -> None:
    writer.use_instruction_file()
    writer.s3.put_object(Bucket=BUCKET, Key=writer.key + ".instruction", Body=b"{")


@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (flip(0), SecureProviderError, r"."),
        (flip(200), SecureProviderError, r"."),
        (flip(-1), DecryptionError, r"does not authenticate: it was altered, truncated"),
        (cut, DecryptionError, r"does not authenticate: it was altered, truncated"),
        (append, DecryptionError, r"does not authenticate: it was altered, truncated"),
        (empty, DecryptionError, r"Incomplete GCM data"),
        (other_commitment, DecryptionError, r"."),
        (other_context, KeyringError, r"InvalidCiphertextException"),
        (no_base64, DecryptionError, r"\."),
        (both_formats, DecryptionError, r"Unable to determine S3 Encryption Client message format"),
        (unknown_wrap, DecryptionError, r"wrapped by AES/GCM, expected a KMS key"),
        (no_instruction_file, DecryptionError, r"there is no instruction file .*\.csv\.instruction"),
        (spoilt_instruction_file, DecryptionError, r"\.csv\.instruction"),
    ],
)
def test_what_was_altered(
    world: World, writer: Writer, spoil: Any, kind: type[SecureProviderError], says: str
) -> None:
    writer.write(as_csv(customers(50)))
    spoil(writer)
    before = world.state()
    with pytest.raises(kind, match=says) as raised:
        world.load(writer.source())
    assert writer.uri in str(raised.value)
    assert CANARY not in str(raised.value)
    assert world.state() == before


def test_written_for_something_else(world: World, writer: Writer) -> None:
    writer.write(as_csv(customers(3)), context={"dataset": "crm.orders"})
    with pytest.raises(
        DecryptionError, match=r"has dataset='crm\.orders', expected dataset='crm\.customers'"
    ):
        world.load(writer.source())


def test_no_context_where_one_is_expected(world: World, writer: Writer) -> None:
    writer.write_cbc(as_csv(customers(3)))
    with pytest.raises(DecryptionError, match=r"has no 'dataset', expected"):
        world.load(writer.source(allow_unauthenticated=True))


def test_the_key_must_be_named(world: World, writer: Writer) -> None:
    writer.write(as_csv(customers(3)))
    with pytest.raises(ConfigurationError, match=r"do not name their key: name it in kms_key_arns="):
        world.load(writer.source(key_arns=None))
    with pytest.raises(KeyringError, match=r"KMS Decrypt with key .* refused"):
        world.load(writer.source(key_arns=[world.lake.other_key]))


def test_a_plain_object_is_still_refused(world: World, writer: Writer) -> None:
    writer.replace(as_csv(customers(3)), {})
    with pytest.raises(ContractError, match=r"is not an AWS Encryption SDK message or an object of the S3"):
        world.load(writer.source())


def test_without_the_client(world: World, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write(as_csv(customers(3)))
    monkeypatch.setitem(sys.modules, "s3_encryption", None)
    with pytest.raises(
        ConfigurationError, match=r"pip install 'airflow-secure-provider\[s3-encryption-client\]'"
    ):
        world.load(writer.source())
