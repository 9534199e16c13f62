"""Reading AWS Encryption SDK messages beside the SDK itself, from memory, under a wrapping key in memory."""

from __future__ import annotations

import importlib.metadata
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

from airflow_secure_provider.objects.encryption_sdk import EncryptionSdkStream
from airflow_secure_provider.objects.encryption_sdk_keys import RawAesKey
from airflow_secure_provider.objects.source import Counted

SIZE = 64_000_000
ROUNDS = 7
_SUITES = {
    "": Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    "_signed": Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
}


RAW = RawAesKey("raw", "key", bytes(32))


class _Raw(RawMasterKeyProvider):  # type: ignore[misc]
    provider_id = RAW.namespace

    def _get_raw_key(self, key_id: bytes) -> Any:
        algorithm = WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING
        return WrappingKey(algorithm, RAW.key, EncryptionKeyType.SYMMETRIC)


def _keys() -> _Raw:
    keys = _Raw()
    keys.add_master_key(RAW.name)
    return keys


Take = Callable[[Iterator[bytes]], object]


def _nothing(pieces: Iterator[bytes]) -> None:
    """Read all and keep nothing."""
    for _ in pieces:
        pass


def figures() -> Iterator[tuple[str, float]]:
    print(
        f"# peer of esdk4k: aws-encryption-sdk {importlib.metadata.version('aws-encryption-sdk')}, reading a frame at a time, its fastest"
    )
    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    plain = os.urandom(SIZE)
    for name, suite in _SUITES.items():
        message, _ = client.encrypt(source=plain, key_provider=_keys(), frame_length=4096, algorithm=suite)

        def ours(take: Take = _nothing, message: bytes = message) -> None:
            stream = EncryptionSdkStream(
                Counted(io.BytesIO(message), len(message), "it"), lambda arn: None, {}, raw_key=RAW
            )
            take(iter(lambda: stream.read(1 << 20), b""))
            stream.finish()

        def stock(take: Take = _nothing, message: bytes = message) -> None:
            with client.stream(mode="d", source=io.BytesIO(message), key_provider=_keys()) as stream:
                take(iter(lambda: stream.read(4096), b""))

        pieces: list[bytes] = []
        for read in (ours, stock):
            pieces.clear()
            read(pieces.extend)
            if b"".join(pieces) != plain:
                raise AssertionError("a reader gives something else")
        ratios = [_seconds(stock) / _seconds(ours) for _ in range(ROUNDS)]
        yield f"esdk4k{name}_vs_stock", statistics.median(ratios)
        yield f"esdk4k{name}_mb_per_s", SIZE / 1e6 / _seconds(ours)


def _seconds(read: Callable[[], None]) -> float:
    began = time.perf_counter()
    read()
    return time.perf_counter() - began
