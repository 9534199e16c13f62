"""AES-CMAC against RFC 4493, Wycheproof and ``cryptography``."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC

from airflow_secure_provider.crypto.cmac import Cmac, double, double_many
from airflow_secure_provider.crypto.ragged import BLOCK, Ragged

from .vectors import case_id, wycheproof

# RFC 4493 section 4
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
RFC_4493 = [
    (0, "bb1d6929e95937287fa37d129b756746"),
    (16, "070a16b46b4d4144f79bdd9dd04a287c"),
    (40, "dfa66747de9ae63030ca32611497c827"),
    (64, "51f0bebf7e3b9d92fc49741779363cfe"),
]


def reference(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def tags(cmac: Cmac, messages: list[bytes]) -> list[bytes]:
    raw = cmac.many(Ragged.of(messages)).tobytes()
    return [raw[at : at + BLOCK] for at in range(0, len(raw), BLOCK)]


@pytest.mark.parametrize(("length", "tag"), RFC_4493, ids=[f"{length}-bytes" for length, _ in RFC_4493])
def test_rfc_4493(length: int, tag: str) -> None:
    assert Cmac(KEY).one(MESSAGE[:length]).hex() == tag


def test_rfc_4493_as_one_batch() -> None:
    messages = [MESSAGE[:length] for length, _ in RFC_4493]

    assert [tag.hex() for tag in tags(Cmac(KEY), messages)] == [tag for _, tag in RFC_4493]


@pytest.mark.parametrize("case", wycheproof("Hash/wycheproof/aes_cmac_test.json"), ids=case_id)
def test_wycheproof(case: dict[str, Any]) -> None:
    if len(case["key"]) not in (16, 24, 32):
        with pytest.raises(ValueError, match="key size"):
            Cmac(case["key"])
        return

    tag = Cmac(case["key"]).one(case["msg"])[: case["tagSize"] // 8]

    assert (tag == case["tag"]) is (case["result"] == "valid")


@pytest.mark.parametrize("key_bytes", [16, 24, 32])
def test_equals_cryptography_at_every_length(key_bytes: int) -> None:
    rng = random.Random(key_bytes)
    key = rng.randbytes(key_bytes)
    messages = [rng.randbytes(length) for length in range(301)]
    rng.shuffle(messages)

    assert tags(Cmac(key), messages) == [reference(key, message) for message in messages]


@pytest.mark.parametrize("rows", [0, 1, 2, 1000, 20_000])
def test_equals_cryptography_at_every_batch_size(rows: int) -> None:
    rng = random.Random(rows)
    key = rng.randbytes(32)
    messages = [
        rng.randbytes(rng.choice((0, 1, 15, 16, 17, 31, 32, 33, rng.randrange(80)))) for _ in range(rows)
    ]

    assert tags(Cmac(key), messages) == [reference(key, message) for message in messages]


def test_leaves_its_input_alone() -> None:
    rows = Ragged.of([b"a" * 20, b"", b"b" * 16])
    before = rows.data.copy()

    Cmac(KEY).many(rows)

    assert np.array_equal(rows.data, before)


def test_one_block_each() -> None:
    messages = [MESSAGE[at : at + BLOCK] for at in range(0, 64, BLOCK)]

    raw = Cmac(KEY).one_block_each(np.frombuffer(MESSAGE, dtype=np.uint64)).tobytes()

    assert raw == b"".join(reference(KEY, message) for message in messages)


def test_doubling() -> None:
    # RFC 4493 section 4, subkey generation: AES(0) doubles to K1, K1 to K2.
    zero, k1, k2 = (
        bytes.fromhex(text)
        for text in (
            "7df76b0c1ab899b33e42f047b91b546f",
            "fbeed618357133667c85e08f7236a8de",
            "f7ddac306ae266ccf90bc11ee46d513b",
        )
    )

    assert double(zero) == k1
    assert double(k1) == k2
    assert double_many(np.frombuffer(zero + k1, dtype=np.uint64)).tobytes() == k1 + k2
