"""From a keyset's URI to the keyset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_secure_provider.crypto.keyset import Keyset, KeysetDocument, create
from airflow_secure_provider.errors import ConfigurationError, DecryptionError, FormatError, KeyringError
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring
from airflow_secure_provider.keyrings.local import create_key_file
from airflow_secure_provider.keyrings.opening import KeysetUri, local_key_path, open_keyset
from sandbox.aws import Aws


def no_kms(arn: str) -> Any:
    raise AssertionError(f"asked for {arn}")


def read(location: str) -> bytes:
    return Path(location).read_bytes()


def opened(uri: str) -> Keyset:
    return open_keyset(uri, read, no_kms)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "customers.json"
    path.write_text(create("customers", create_key_file(local_key_path(path))).to_json())
    return path


def test_a_relative_path_begins_in_the_given_folder(
    local: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Document and key both; the working folder of a task is nobody's choice."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    keys = open_keyset(f"{local.name}?id=customers", read, no_kms, local.parent)
    assert keys.id == "customers"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("keys/customers.json", ("keys/customers.json", None, 1)),
        ("/keys/customers.json?id=customers", ("/keys/customers.json", "customers", 1)),
        ("file:///keys/customers.json?min_version=3", ("/keys/customers.json", None, 3)),
        ("s3://bucket/a/b.json", ("s3://bucket/a/b.json", None, 1)),
        ("s3://bucket/b.json?id=a%20b&min_version=12", ("s3://bucket/b.json", "a b", 12)),
        ("s3://bucket/b.json?id=", ("s3://bucket/b.json", "", 1)),
    ],
    ids=["relative", "absolute-id", "file-version", "s3", "s3-both", "empty-id"],
)
def test_uri(uri: str, expected: tuple[str, str | None, int]) -> None:
    parsed = KeysetUri.parse(uri)

    assert (parsed.location, parsed.id, parsed.min_version) == expected


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://host/k.json", r"scheme 'https', expected a path, file:// or s3://"),
        ("gs://bucket/k.json", r"scheme 'gs', expected"),
        ("k.json?version=3", r"unknown option 'version', expected id, min_version or key"),
        ("k.json?min-version=3", r"unknown option 'min-version', expected id, min_version or key"),
        ("k.json?id=a&x", r"unknown option 'x', expected id, min_version or key"),
        ("k.json?min_version=0", r"min_version is '0', expected a number from 1"),
        ("k.json?min_version=-1", r"min_version is '-1', expected a number from 1"),
        ("k.json?min_version=two", r"min_version is 'two', expected a number from 1"),
        ("k.json?min_version=", r"min_version is '', expected a number from 1"),
        ("k.json?min_version=3&min_version=1", r"min_version stands there twice"),
        ("k.json?key=a&key=b", r"key stands there twice"),
        ("k.json?min_version=1.5", r"min_version is '1.5', expected a number from 1"),
    ],
)
def test_uri_refused(uri: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        KeysetUri.parse(uri)

    assert repr(uri) in str(caught.value)


def test_local_keyset(local: Path) -> None:
    for uri in (str(local), f"file://{local}", f"{local}?id=customers&min_version=1"):
        assert opened(uri).id == "customers"


def test_local_key_lies_beside_its_keyset() -> None:
    assert local_key_path(Path("/a/customers.json")) == Path("/a/customers.key")


def test_pins(local: Path) -> None:
    with pytest.raises(ConfigurationError, match="keyset 'customers' where 'orders' is expected"):
        opened(f"{local}?id=orders")
    with pytest.raises(ConfigurationError, match="keyset 'customers' where '' is expected"):
        opened(f"{local}?id=")
    with pytest.raises(DecryptionError, match="ends at version 1, at least 2 is expected"):
        opened(f"{local}?min_version=2")


def test_the_wrapping_key_can_be_pinned(local: Path) -> None:
    named = KeysetDocument.from_json(local.read_text(), "it").key_id
    assert opened(f"{local}?key={named}").id == "customers"
    with pytest.raises(
        ConfigurationError, match=rf"is wrapped under '{named}' where 'arn:aws:kms:eu:1:key/x' is"
    ):
        opened(f"{local}?key=arn:aws:kms:eu:1:key/x")


def test_no_key_file(local: Path) -> None:
    local_key_path(local).rename(local.with_name("elsewhere.key"))

    with pytest.raises(ConfigurationError, match=r"key file .*customers\.key can't be read: No such file"):
        opened(str(local))


def test_another_key_file(local: Path) -> None:
    local_key_path(local).rename(local.with_name("elsewhere.key"))
    create_key_file(local_key_path(local))

    with pytest.raises(KeyringError, match="check which key file lies beside the keyset"):
        opened(str(local))


def test_a_local_key_does_not_go_with_s3(local: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="wrapped by a local key file; keep both in one local folder"
    ):
        open_keyset("s3://bucket/k.json", lambda _: local.read_bytes(), no_kms)


def test_unknown_provider(local: Path) -> None:
    local.write_text(json.dumps({**json.loads(local.read_text()), "provider": "hsm"}))

    with pytest.raises(ConfigurationError, match="provider 'hsm', expected aws-kms, vault-transit or local"):
        opened(str(local))


def test_not_a_keyset(local: Path) -> None:
    local.write_text("{}")

    with pytest.raises(FormatError, match=rf"keyset {local} is not a keyset document"):
        opened(str(local))


def test_kms_keyset_in_s3(aws: Aws) -> None:
    kms, s3 = aws.client("kms"), aws.client("s3")
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    s3.create_bucket(Bucket="keysets", CreateBucketConfiguration={"LocationConstraint": aws.region})
    document = create("customers", AwsKmsKeyring(arn, kms))
    s3.put_object(Bucket="keysets", Key="a/customers.json", Body=document.to_json().encode())
    asked = []

    def read_s3(location: str) -> bytes:
        asked.append(location)
        return bytes(s3.get_object(Bucket="keysets", Key="a/customers.json")["Body"].read())

    def kms_client(key: str) -> Any:
        asked.append(key)
        return kms

    keyset = open_keyset("s3://keysets/a/customers.json?id=customers", read_s3, kms_client)

    assert (keyset.id, keyset.provider, keyset.key_id) == ("customers", "aws-kms", arn)
    assert asked == ["s3://keysets/a/customers.json", arn]
