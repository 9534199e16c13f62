"""Column protection against the obvious loop."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from airflow_secure_provider.crypto import cells
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.model import Classification, ColumnRule, Protection
from airflow_secure_provider.protection.reversible import ColumnCipher

VALUES = 1_000_000
BATCH = 25_000  # about what a CSV block of 4 MiB holds
DOMAIN = "person-email"


def figures() -> Iterator[tuple[str, float]]:
    keys = Keyset("bench", "local", "local:bench", 1, {1: secrets.token_bytes(64)})
    rule = ColumnRule("email", Classification.RESTRICTED, Protection.TOKENIZE, domain=DOMAIN)
    emails = [f"customer.{number * 7919 % VALUES}@example.com" for number in range(VALUES)]
    batches = [pa.array(emails[start : start + BATCH]) for start in range(0, VALUES, BATCH)]
    plain = [email.encode() for email in emails]

    cipher = ColumnCipher(rule, keys)
    cipher.protect(batches[0])
    began = time.perf_counter()
    tokens = [cipher.protect(batch) for batch in batches]
    ours = time.perf_counter() - began

    loop = AESSIV(keys.derive(1, DOMAIN, "tokenize"))
    associated = [bytes([cells.TOKEN]), DOMAIN.encode()]
    header = cells.HEADER.pack(cells.TOKEN, 1)
    began = time.perf_counter()
    expected = [header + loop.encrypt(value, associated) for value in plain]
    theirs = time.perf_counter() - began

    if [token for batch in tokens for token in batch.to_pylist()] != expected:
        raise AssertionError("the two ways gave different tokens")
    yield "siv_tokenize", theirs / ours
    yield "siv_tokenize_ns", ours / VALUES * 1e9
