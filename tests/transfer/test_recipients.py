"""Messages under several keys, under a key of several Regions, and under a raw AES key: written by the library, read by us,
and the other way round."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.identifiers import CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.base import MasterKeyProvider, MasterKeyProviderConfig
from aws_encryption_sdk.key_providers.kms import KMSMasterKey
from aws_encryption_sdk.key_providers.raw import RawMasterKey, RawMasterKeyConfig

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.errors import ConfigurationError, DecryptionError, KeyringError
from airflow_secure_provider.objects.encryption_sdk_keys import RawAesKey
from airflow_secure_provider.transfer import ObjectTarget, S3Source, transfer

from .world import BUCKET, COLUMNS, CONTEXT, World, as_csv, customers

RAW = RawAesKey("acme", "lake-2026", bytes(range(32)))
GONE = "arn:aws:kms:us-west-2:123456789012:key/99999999-9999-9999-9999-999999999999"


class Recipients(MasterKeyProvider):  # type: ignore[misc]
    """The library's own way to wrap one data key several times."""

    provider_id = "several"
    _config_class = MasterKeyProviderConfig

    def _new_master_key(self, key_id: Any) -> Any:
        raise AssertionError


def library_raw_key(raw: RawAesKey = RAW) -> RawMasterKey:
    wrapping = WrappingKey(
        WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, raw.key, EncryptionKeyType.SYMMETRIC
    )
    config = RawMasterKeyConfig(key_id=raw.name, provider_id=raw.namespace, wrapping_key=wrapping)
    return RawMasterKey(config=config)


CLIENT = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
)


def written(world: World, *keys: Any, rows: int = 20) -> S3Source:
    recipients = Recipients()
    recipients.add_master_key_providers_from_list(keys)
    body, _ = CLIENT.encrypt(
        source=as_csv(customers(rows)), key_provider=recipients, encryption_context=CONTEXT
    )
    return world.source(world.lake.put(body))


def kms_key(world: World, arn: str, client: Any = None) -> KMSMasterKey:
    return KMSMasterKey(key_id=arn, client=client or world.lake.kms)


def test_any_of_several_recipients_opens_it(world: World) -> None:
    source = written(world, kms_key(world, world.lake.other_key), kms_key(world, world.lake.key))
    for arn in (world.lake.key, world.lake.other_key):
        report = world.load(replace(source, key_arns=[arn]), mode="replace")
        assert (report.rows, report.source.at_rest.key_id) == (20, arn)
        world.execute("DELETE FROM secure_provider.load_manifest")


def test_a_recipient_that_is_not_ours_is_passed_over(world: World) -> None:
    """KMS refuses the first key, and the second one opens it."""
    source = written(world, kms_key(world, world.lake.other_key), kms_key(world, world.lake.key))
    real = world.lake.kms

    def client(arn: str) -> Any:
        if arn != world.lake.other_key:
            return real
        elsewhere = world.lake.aws.client("kms")
        elsewhere.meta.events.register(
            "provide-client-params.kms.Decrypt", lambda params, **_: {**params, "KeyId": GONE}
        )
        return elsewhere

    report = world.load(replace(source, kms_client=client, key_arns=None))
    assert report.source.at_rest.key_id == world.lake.key


def region_of(arn: str) -> str:
    return arn.split(":")[3]


def by_region(world: World) -> Callable[[str], Any]:
    """Clients of KMS as it is with multi-Region keys: moto can make them, and can't decrypt with them.

    Behind each Region's key stands one of moto's, and the answers name the key that was asked for.
    """

    def client(arn: str) -> Any:
        kms = world.lake.aws.client("kms")
        asked = []

        def ask(params: dict[str, Any], **_: Any) -> dict[str, Any]:
            assert region_of(params["KeyId"]) == region_of(arn)
            asked.append(params["KeyId"])
            return {**params, "KeyId": world.lake.other_key}

        def answer(parsed: dict[str, Any], **_: Any) -> None:
            parsed["KeyId"] = asked[-1]

        for action in ("GenerateDataKey", "Encrypt", "Decrypt"):
            kms.meta.events.register(f"provide-client-params.kms.{action}", ask)
            kms.meta.events.register(f"after-call.kms.{action}", answer)
        return kms

    return client


PRIMARY = "arn:aws:kms:eu-central-1:123456789012:key/mrk-0544cb21b4504a51b2fcfa12140055d3"
REPLICA = PRIMARY.replace(":eu-central-1:", ":eu-west-1:")


def test_a_replica_opens_what_its_primary_has_wrapped(world: World) -> None:
    clients = by_region(world)
    source = replace(written(world, kms_key(world, PRIMARY, clients(PRIMARY))), kms_client=clients)
    report = world.load(replace(source, key_arns=[REPLICA]))
    assert (report.rows, report.source.at_rest.key_id) == (20, REPLICA)


def test_keys_of_two_regions_that_are_not_related(world: World) -> None:
    source = written(world, kms_key(world, world.lake.key))
    other = world.lake.key.replace(":eu-central-1:", ":eu-west-1:")
    with pytest.raises(
        DecryptionError, match=r"has no data key that an accepted key opens; accepted: arn:.*eu-west-1"
    ):
        world.load(replace(source, kms_client=by_region(world), key_arns=[other]))


def test_a_raw_aes_key(world: World) -> None:
    source = written(world, library_raw_key())
    report = world.load(replace(source, raw_key=RAW))
    at_rest = report.source.at_rest
    assert (at_rest.scheme, at_rest.key_provider, at_rest.key_id) == (
        "client-side",
        "raw-aes",
        "acme/lake-2026",
    )
    assert RAW.key.hex() not in repr(replace(source, raw_key=RAW)) + str(RAW)
    assert repr(RAW.key) not in repr(RAW)


@pytest.mark.parametrize(
    "raw",
    [
        RawAesKey("acme", "lake-2026", bytes(32)),
        RawAesKey("acme", "lake-2025", RAW.key),
        RawAesKey("acme.eu", "lake-2026", RAW.key),
        RawAesKey("acme", "lake-2026", RAW.key[:16]),
    ],
)
def test_another_raw_aes_key(world: World, raw: RawAesKey) -> None:
    source = written(world, library_raw_key())
    with pytest.raises(
        DecryptionError, match=r"has no data key that an accepted key opens; accepted: the raw AES"
    ):
        world.load(replace(source, raw_key=raw))


def test_with_a_raw_key_alone_no_kms_key_is_accepted(world: World) -> None:
    source = written(world, kms_key(world, world.lake.key))
    with pytest.raises(DecryptionError, match=r"accepted: the raw AES key acme/lake-2026"):
        world.load(replace(source, raw_key=RAW))
    assert world.load(replace(source, raw_key=RAW, key_arns=[world.lake.key])).rows == 20


@pytest.mark.parametrize(
    ("namespace", "name", "key"),
    [("acme", "k", bytes(31)), ("", "k", bytes(32)), ("acme", "", bytes(32)), ("aws-kms", "k", bytes(32))],
)
def test_what_is_no_raw_aes_key(namespace: str, name: str, key: bytes) -> None:
    with pytest.raises(ConfigurationError, match="raw AES key"):
        RawAesKey(namespace, name, key)


def target(world: World, **settings: Any) -> ObjectTarget:
    uri = f"s3://{BUCKET}/out/{secrets.token_hex(6)}.csv"
    return ObjectTarget(world.lake.s3, lambda arn: world.lake.kms, uri, **settings)


def write(world: World, to: ObjectTarget) -> Any:
    source = world.source(world.lake.put(world.lake.encrypt(as_csv(customers(20))).data))
    columns = {name: {"method": "none", "classification": "confidential"} for name in COLUMNS}
    return transfer(source, from_columns(columns, "out"), to, world.options(), task="dag/task/run/-1")


def plain_of(world: World, to: ObjectTarget, key: Any) -> bytes:
    """As the library reads it, with one key."""
    body = world.lake.s3.get_object(Bucket=BUCKET, Key=to.uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    plain, header = CLIENT.decrypt(source=body, key_provider=key)
    assert header.encryption_context["secure-provider:run"] == "dag/task/run/-1"
    return bytes(plain)


def test_written_for_several(world: World) -> None:
    to = target(world, kms_keys=[world.lake.key, world.lake.other_key], raw_key=RAW)
    asked: list[str] = []
    report = write(world, replace(to, kms_client=lambda arn: asked.append(arn) or world.lake.kms))  # type: ignore[func-returns-value]
    assert asked == [world.lake.key, world.lake.other_key]
    plain = {
        plain_of(world, to, key)
        for key in (kms_key(world, world.lake.key), kms_key(world, world.lake.other_key), library_raw_key())
    }
    assert len(plain) == 1
    at_rest = report.target.at_rest
    assert at_rest.key_id == world.lake.key
    assert at_rest.note == f"opened by any of these keys too: {world.lake.other_key}, acme/lake-2026"


def test_written_under_a_raw_key_alone(world: World) -> None:
    to = target(world, raw_key=RAW)
    at_rest = write(world, to).target.at_rest
    assert (at_rest.key_provider, at_rest.key_id, at_rest.note) == ("raw-aes", "acme/lake-2026", None)
    assert plain_of(world, to, library_raw_key()).startswith(b'"id"')


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kms_keys": "arn:aws:kms:…"}, "a list of ARNs"),
        ({"kms_keys": ["a", "b"], "encryption": "SSE-KMS"}, "SSE-KMS takes one KMS key"),
        ({"raw_key": RAW, "encryption": "SSE-KMS"}, "SSE-KMS takes one KMS key"),
        ({"kms_keys": ["a"] * 11}, "under 1 to 10 keys"),
    ],
)
def test_recipients_that_can_not_be(world: World, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        write(world, target(world, **settings))


def test_one_of_the_keys_refuses(world: World) -> None:
    to = target(world, kms_keys=[world.lake.key, GONE.replace("us-west-2", "eu-central-1")])
    with pytest.raises(KeyringError, match=r"Encrypt"):
        write(world, to)
