"""Serves one encrypted object over TLS, as S3 would, and makes it while it is read: nobody ever holds it whole."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_encryption_sdk
import boto3
import numpy as np
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import KMSMasterKey
from botocore.config import Config

from benchmarks._serving import KEY, Served, serve

CONTEXT = {"dataset": "crm.customers"}
_PIECE_BYTES = 1 << 20
HEADER = b"id,email,ssn,birth_date,amount,notes\n"
_NOTE = b'a note with ""quotes"" and commas, as people write them, of middling length'
_ROW = b'00000000,customer.00000000@example.com,00000000,1980-01-02,1234.56,"' + _NOTE + b'"\n'
_NUMBER_AT = (0, _ROW.index(b".0") + 1, _ROW.index(b",00000000,") + 1)
ROW_BYTES = len(_ROW)
_ROWS_AT_ONCE = 4_096


class Rows(io.RawIOBase):
    """Header and *count* rows of equal length, each with its number in id, email and ssn."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0
        self._ready = HEADER

    def __len__(self) -> int:
        return len(HEADER) + self._count * ROW_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces, got = [self._ready], len(self._ready)
        while got < size and self._next < self._count:
            piece = self._make()
            pieces.append(piece)
            got += len(piece)
        joined = b"".join(pieces)
        self._ready = joined[size:]
        return joined[:size]

    def _make(self) -> bytes:
        numbers = np.arange(self._next, min(self._next + _ROWS_AT_ONCE, self._count))
        self._next += len(numbers)
        rows = np.tile(np.frombuffer(_ROW, dtype=np.uint8), (len(numbers), 1))
        for digit in range(8):
            value = (numbers // 10 ** (7 - digit) % 10 + ord("0")).astype(np.uint8)
            for start in _NUMBER_AT:
                rows[:, start + digit] = value
        return rows.tobytes()


def client(settings: dict[str, Any], service: str, endpoint: str) -> Any:
    session = boto3.session.Session(
        settings["access_key"], settings["secret_key"], region_name=settings["region"]
    )
    config = Config(s3={"addressing_style": "path"}, proxies={}, retries={"max_attempts": 1})
    return session.client(service, endpoint_url=endpoint, verify=settings["ca"], config=config)


def encrypted(settings: dict[str, Any]) -> Any:
    """A stream of the message; it knows its length."""
    rows = Rows(settings["rows"])
    kms = client(settings, "kms", settings["kms_endpoint"])
    sdk = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    return sdk.stream(
        mode="e",
        source=rows,
        source_length=len(rows),
        key_provider=KMSMasterKey(key_id=settings["kms_key"], client=kms),
        encryption_context=CONTEXT,
        frame_length=settings["frame_bytes"],
        algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    )


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    length = encrypted(settings).ciphertext_length()

    def pieces(first: int, end: int) -> Iterator[bytes]:
        if (first, end) != (0, length):
            raise ValueError("this object is made as it is read, from its beginning")
        with encrypted(settings) as message:
            while piece := message.read(_PIECE_BYTES):
                yield piece

    served = Served(length, hashlib.sha256(str(length).encode()).hexdigest()[:32], pieces)
    serve(settings, lambda key: served if key == KEY else None)


if __name__ == "__main__":
    main(sys.argv[1])
