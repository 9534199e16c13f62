"""AWS KMS as moto plays it, over TLS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from airflow_secure_provider.crypto.keyset import create, unwrap
from airflow_secure_provider.errors import DecryptionError, KeyringError, KeyringUnavailable, TransientError
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring, kms_failure
from sandbox.aws import Aws

CONTEXT = {"secure-provider:keyset": "customers", "secure-provider:version": "1"}
DATA_KEY = bytes(range(64))


@pytest.fixture(scope="module")
def client(aws: Aws) -> Any:
    return aws.client("kms")


@pytest.fixture(scope="module")
def key_id(client: Any) -> str:
    return str(client.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of which it is certain that nobody listens: it is bound and does not accept."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_wrap_and_unwrap(client: Any, key_id: str) -> None:
    keyring = AwsKmsKeyring(key_id, client)

    wrapped = keyring.wrap(DATA_KEY, CONTEXT)

    assert keyring.provider == "aws-kms"
    assert DATA_KEY not in wrapped
    assert keyring.unwrap(wrapped, CONTEXT) == DATA_KEY
    direct = client.decrypt(CiphertextBlob=wrapped, EncryptionContext=CONTEXT)
    assert (direct["Plaintext"], direct["KeyId"]) == (DATA_KEY, key_id)


@pytest.mark.parametrize(
    "context",
    [{**CONTEXT, "secure-provider:version": "2"}, {**CONTEXT, "secure-provider:keyset": "orders"}, {}],
    ids=["version", "keyset", "none"],
)
def test_another_context_is_refused(client: Any, key_id: str, context: dict[str, str]) -> None:
    keyring = AwsKmsKeyring(key_id, client)
    wrapped = keyring.wrap(DATA_KEY, CONTEXT)

    with pytest.raises(
        KeyringError,
        match=f"KMS Decrypt with key {key_id} refused: InvalidCiphertextException; the data key was wrapped under "
        "another key or encryption context; check what it was written for",
    ) as caught:
        keyring.unwrap(wrapped, context)

    assert not isinstance(caught.value, TransientError)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("action", ["Encrypt", "Decrypt"])
def test_an_unknown_key(client: Any, key_id: str, action: str) -> None:
    unknown = key_id.rsplit("/", 1)[0] + "/00000000-0000-0000-0000-000000000000"
    wrapped = AwsKmsKeyring(key_id, client).wrap(DATA_KEY, CONTEXT)
    keyring = AwsKmsKeyring(unknown, client)
    call, given = (keyring.wrap, DATA_KEY) if action == "Encrypt" else (keyring.unwrap, wrapped)

    with pytest.raises(
        KeyringError, match=f"KMS {action} with key {unknown} refused: NotFoundException"
    ) as caught:
        call(given, CONTEXT)

    assert "there is no such key in this account and region" in str(caught.value)
    assert not isinstance(caught.value, TransientError)


def test_endpoint_down(aws: Aws, key_id: str, closed_port: int) -> None:
    once = Config(retries={"total_max_attempts": 1}, connect_timeout=5, proxies={})
    client = aws.client("kms", endpoint_url=f"https://127.0.0.1:{closed_port}", config=once)

    with pytest.raises(
        KeyringUnavailable, match="EndpointConnectionError; check the endpoint, CA and credentials"
    ):
        AwsKmsKeyring(key_id, client).wrap(DATA_KEY, CONTEXT)


def test_unknown_authority(aws: Aws, key_id: str) -> None:
    once = Config(retries={"total_max_attempts": 1}, connect_timeout=5, proxies={})
    client = aws.client("kms", verify=True, config=once)

    with pytest.raises(KeyringUnavailable, match="SSLError; check the endpoint, CA and credentials"):
        AwsKmsKeyring(key_id, client).wrap(DATA_KEY, CONTEXT)


@pytest.mark.parametrize(
    ("code", "status", "transient", "remedy"),
    [
        ("ThrottlingException", 400, True, "it may work later"),
        ("KMSInternalException", 500, True, "it may work later"),
        ("SomethingNew", 503, True, "it may work later"),
        (
            "AccessDeniedException",
            400,
            False,
            "allow kms:Decrypt on this key to the principal of the AWS connection",
        ),
        ("IncorrectKeyException", 400, False, "wrapped under another key or encryption context"),
        ("DisabledException", 400, False, "the key is disabled or about to be deleted"),
        ("KMSInvalidStateException", 400, False, "the key is disabled or about to be deleted"),
        ("SomethingNew", 400, False, "see the KMS documentation of this code"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) and " " not in value else "",
)
def test_answers_of_kms(code: str, status: int, transient: bool, remedy: str) -> None:
    answer = {
        "Error": {"Code": code, "Message": "canary-7f3a"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }

    error = kms_failure(ClientError(answer, "Decrypt"), "Decrypt", "arn:k")  # type: ignore[arg-type]

    assert isinstance(error, TransientError) is transient
    assert str(error).startswith("KMS Decrypt with key arn:k")
    assert code in str(error)
    assert remedy in str(error)
    assert "canary" not in str(error)


def test_no_credentials() -> None:
    error = kms_failure(NoCredentialsError(), "Encrypt", "arn:k")

    assert "NoCredentialsError; check key id and credentials of the AWS connection" in str(error)
    assert not isinstance(error, TransientError)


def test_a_keyset_under_kms(client: Any, key_id: str) -> None:
    keyring = AwsKmsKeyring(key_id, client)
    document = create("customers", keyring)

    keyset = unwrap(document, keyring, keyset_id="customers")

    assert (keyset.provider, keyset.key_id, keyset.versions) == ("aws-kms", key_id, (1,))
    # The wrap itself is bound to the keyset and the version, as CloudTrail shows them.
    raw = client.decrypt(CiphertextBlob=document.keys[0].wrapped, EncryptionContext=CONTEXT)
    assert len(raw["Plaintext"]) == 64


def test_a_changed_document_under_kms(client: Any, key_id: str) -> None:
    from dataclasses import replace

    keyring = AwsKmsKeyring(key_id, client)
    document = create("customers", keyring)

    with pytest.raises(KeyringError, match="InvalidCiphertextException"):
        unwrap(replace(document, id="orders"), keyring)
    with pytest.raises(DecryptionError, match="does not authenticate"):
        unwrap(replace(document, key_id="arn:other"), keyring)


def test_the_client_does_not_print(client: Any, key_id: str) -> None:
    assert repr(AwsKmsKeyring(key_id, client)) == f"AwsKmsKeyring(key_id={key_id!r}, provider='aws-kms')"
