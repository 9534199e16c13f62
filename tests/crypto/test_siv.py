"""AES-SIV against RFC 5297, Wycheproof, ``cryptography`` and a plain reading of the RFC."""

from __future__ import annotations

import random
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.cmac import CMAC

from airflow_secure_provider.crypto.planar import Layout, gather, scatter
from airflow_secure_provider.crypto.ragged import BLOCK, Ragged, Words
from airflow_secure_provider.crypto.siv import Siv
from airflow_secure_provider.errors import DecryptionError

from .vectors import case_id, wycheproof

# RFC 5297, appendix A
A1_KEY = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
A1_DATA = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
A1_PLAINTEXT = bytes.fromhex("112233445566778899aabbccddee")
A1_OUTPUT = bytes.fromhex("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c")
A2_KEY = bytes.fromhex("7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f")
A2_DATA = [
    bytes.fromhex("00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100"),
    bytes.fromhex("102030405060708090a0"),
]
A2_NONCE = bytes.fromhex("09f911029d74e35bd84156c5635688c0")
A2_PLAINTEXT = b"this is some plaintext to encrypt using SIV-AES"
A2_OUTPUT = bytes.fromhex(
    "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d"
)


def seal(siv: Siv, values: list[bytes], nonces: bytes | None = None) -> list[bytes]:
    """What RFC 5297 calls the output of each value: V || C."""
    plaintext = Ragged.of(values)
    out = Ragged.packed(plaintext.lengths)
    tags = siv.seal(plaintext, out, _words(nonces)).tobytes()
    return [tags[BLOCK * at : BLOCK * (at + 1)] + text for at, text in enumerate(out.tolist())]


def open_(siv: Siv, outputs: list[bytes], nonces: bytes | None = None) -> list[bytes]:
    tags = np.frombuffer(b"".join(output[:BLOCK] for output in outputs), dtype=np.uint64)
    return siv.open(tags, Ragged.of([output[BLOCK:] for output in outputs]), _words(nonces)).tolist()


def rfc_5297(key: bytes, strings: Sequence[bytes], plaintext: bytes) -> bytes:
    """Sections 2.4 to 2.6 as they are written, a value at a time."""
    half = len(key) // 2

    def cmac(message: bytes) -> bytes:
        mac = CMAC(algorithms.AES(key[:half]))
        mac.update(message)
        return mac.finalize()

    def dbl(block: bytes) -> bytes:
        number = int.from_bytes(block, "big") * 2
        return ((number ^ 0x87) % 2**128 if number >= 2**128 else number).to_bytes(16, "big")

    def xor(left: bytes, right: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(left, right, strict=True))

    d = cmac(bytes(16))
    for text in strings:
        d = xor(dbl(d), cmac(text))
    if len(plaintext) >= 16:
        t = plaintext[:-16] + xor(plaintext[-16:], d)
    else:
        t = xor(dbl(d), (plaintext + b"\x80").ljust(16, b"\0"))
    v = cmac(t)
    q = (int.from_bytes(v, "big") & ~(1 << 31) & ~(1 << 63)).to_bytes(16, "big")
    ctr = Cipher(algorithms.AES(key[half:]), modes.CTR(q)).encryptor()
    return v + ctr.update(plaintext)


def _words(nonces: bytes | None) -> Words | None:
    return None if nonces is None else np.frombuffer(nonces, dtype=np.uint64)


def test_rfc_5297_a1_deterministic() -> None:
    siv = Siv(A1_KEY, [A1_DATA])

    assert seal(siv, [A1_PLAINTEXT]) == [A1_OUTPUT]
    assert open_(siv, [A1_OUTPUT]) == [A1_PLAINTEXT]


def test_rfc_5297_a2_nonce_is_the_last_string() -> None:
    siv = Siv(A2_KEY, A2_DATA)

    assert seal(siv, [A2_PLAINTEXT], A2_NONCE) == [A2_OUTPUT]
    assert open_(siv, [A2_OUTPUT], A2_NONCE) == [A2_PLAINTEXT]
    assert seal(Siv(A2_KEY, [*A2_DATA, A2_NONCE]), [A2_PLAINTEXT]) == [A2_OUTPUT]


def test_the_reference_is_the_rfc() -> None:
    assert rfc_5297(A1_KEY, [A1_DATA], A1_PLAINTEXT) == A1_OUTPUT
    assert rfc_5297(A2_KEY, [*A2_DATA, A2_NONCE], A2_PLAINTEXT) == A2_OUTPUT


@pytest.mark.parametrize("case", wycheproof("Cipher/wycheproof/aes_siv_cmac_test.json"), ids=case_id)
def test_wycheproof(case: dict[str, Any]) -> None:
    siv = Siv(case["key"], [case["aad"]])

    if case["result"] == "valid":
        assert seal(siv, [case["msg"]]) == [case["ct"]]
        assert open_(siv, [case["ct"]]) == [case["msg"]]
    else:
        with pytest.raises(DecryptionError, match="1 of 1 cells"):
            open_(siv, [case["ct"]])


@pytest.mark.parametrize("strings", [0, 1, 2, 3, 17, 125])
@pytest.mark.parametrize("with_nonce", [False, True], ids=["no-nonce", "nonce"])
@pytest.mark.parametrize("key_bytes", [32, 48, 64])
def test_equals_cryptography_at_every_length(key_bytes: int, with_nonce: bool, strings: int) -> None:
    rng = random.Random(f"{key_bytes} {with_nonce} {strings}")
    key = rng.randbytes(key_bytes)
    data = [rng.randbytes(rng.randrange(40)) for _ in range(strings)]
    values = [rng.randbytes(length) for length in range(301)]
    rng.shuffle(values)
    nonces = [rng.randbytes(BLOCK) for _ in values] if with_nonce else []
    oracle = AESSIV(key)

    outputs = seal(Siv(key, data), values, b"".join(nonces) if nonces else None)

    for at, (value, output) in enumerate(zip(values, outputs, strict=True)):
        strings_here = [*data, *nonces[at : at + 1]]
        assert output == rfc_5297(key, strings_here, value)
        if value:  # some releases of cryptography refuse an empty plaintext
            assert output == oracle.encrypt(value, strings_here)
    assert open_(Siv(key, data), outputs, b"".join(nonces) if nonces else None) == values


def test_the_nonce_and_the_bound_string_count_too() -> None:
    siv = Siv(bytes(64), [b"x"] * 126)
    values = Ragged.of([b"a"])
    with pytest.raises(ValueError, match="at most 126 associated-data strings, got 127"):
        siv.seal(values, Ragged.packed(values.lengths), _words(bytes(16)))
    with pytest.raises(ValueError, match="goes before a nonce, and there is none"):
        Siv(bytes(64), []).seal(values, Ragged.packed(values.lengths), None, Ragged.of([b"b"]))


def test_126_strings_are_the_most() -> None:
    data = [bytes([number]) for number in range(127)]

    assert seal(Siv(A1_KEY, data[:126]), [b"value"]) == [AESSIV(A1_KEY).encrypt(b"value", data[:126])]
    with pytest.raises(ValueError, match="at most 126"):
        Siv(A1_KEY, data)


@pytest.mark.parametrize("key_bytes", [0, 16, 31, 33, 65, 128])
def test_other_key_sizes_are_refused(key_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"32, 48 or 64 bytes, got {key_bytes}"):
        Siv(bytes(key_bytes), [])


@pytest.mark.parametrize("rows", [0, 1, 2, 1000, 70_000])
def test_equals_cryptography_at_every_batch_size(rows: int) -> None:
    rng = random.Random(rows)
    key, data = rng.randbytes(64), [b"\x01", b"domain"]
    lengths = (1, 2, 9, 15, 16, 17, 31, 32, 33, 64)
    values = [
        rng.randbytes(rng.choice(lengths) if rng.random() < 0.9 else rng.randrange(1, 200))
        for _ in range(rows)
    ]
    for at in range(0, rows, 7):
        values[at] = b""
    empty, oracle = rfc_5297(key, data, b""), AESSIV(key)

    outputs = seal(Siv(key, data), values)

    assert outputs == [oracle.encrypt(value, data) if value else empty for value in values]
    assert open_(Siv(key, data), outputs) == values


def test_all_rows_empty() -> None:
    outputs = seal(Siv(A1_KEY, [b"x"]), [b""] * 5)

    assert outputs == [rfc_5297(A1_KEY, [b"x"], b"")] * 5
    assert open_(Siv(A1_KEY, [b"x"]), outputs) == [b""] * 5


def test_a_long_row_counts_through_its_blocks() -> None:
    value = random.Random(1).randbytes(1_000_003)

    assert seal(Siv(A1_KEY, []), [b"a", value, b"b"])[1] == AESSIV(A1_KEY).encrypt(value, None)


def test_counters_at_their_highest() -> None:
    # A synthetic IV that no one can search for: all ones, of which section 2.5 clears bits 31 and 63.
    key, value = bytes(range(64)), random.Random(3).randbytes(100)
    rows = Ragged.of([value, value[:17]])
    layout = Layout.of(rows.lengths)
    out = Ragged.packed(rows.lengths)

    stream = Siv(key, [])._keystream_xor(np.full(4, 2**64 - 1, dtype=np.uint64), gather(rows, layout), layout)
    scatter(stream, layout, out)

    first = bytes.fromhex("ffffffffffffffff7fffffff7fffffff")
    ctr = Cipher(algorithms.AES(key[32:]), modes.CTR(first)).encryptor()
    expected = ctr.update(value)
    assert out.tolist() == [expected, expected[:17]]


SECRET = b"the secret value of the middle row"


@pytest.mark.parametrize("at", range(BLOCK + len(SECRET)))
def test_any_changed_byte_is_noticed(at: int) -> None:
    siv = Siv(A1_KEY, [A1_DATA])
    outputs = seal(siv, [b"first", SECRET, b""])
    changed = bytearray(outputs[1])
    changed[at] ^= 1 << (at % 8)

    with pytest.raises(DecryptionError) as caught:
        open_(siv, [outputs[0], bytes(changed), outputs[2]])

    assert str(caught.value) == "1 of 3 cells do not authenticate"
    said = "".join(traceback.format_exception(caught.value))
    assert SECRET.decode() not in said
    assert SECRET[:8].decode() not in said


def test_any_changed_bit_of_the_tag_of_an_empty_row_is_noticed() -> None:
    siv = Siv(A1_KEY, [])
    (output,) = seal(siv, [b""])
    for bit in range(128):
        changed = (int.from_bytes(output, "big") ^ (1 << bit)).to_bytes(BLOCK, "big")
        with pytest.raises(DecryptionError, match="1 of 1"):
            open_(siv, [changed])


@pytest.mark.parametrize(
    ("key", "data", "nonce"),
    [
        (A1_KEY, A2_DATA, A2_NONCE),
        (A2_KEY, A2_DATA[:1], A2_NONCE),
        (A2_KEY, A2_DATA[::-1], A2_NONCE),
        (A2_KEY, [*A2_DATA, b""], A2_NONCE),
        (A2_KEY, [A2_DATA[0] + A2_DATA[1]], A2_NONCE),
        (A2_KEY, A2_DATA, A2_NONCE[::-1]),
        (A2_KEY, A2_DATA, None),
        (A2_KEY, [*A2_DATA, A2_NONCE], A2_NONCE),
    ],
    ids=[
        "key",
        "string-missing",
        "strings-swapped",
        "empty-string-more",
        "strings-joined",
        "nonce",
        "no-nonce",
        "nonce-twice",
    ],
)
def test_everything_authenticated_must_be_the_same(
    key: bytes, data: list[bytes], nonce: bytes | None
) -> None:
    with pytest.raises(DecryptionError, match="1 of 1"):
        open_(Siv(key, data), [A2_OUTPUT], nonce)


def test_swapped_rows_of_a_batch_are_noticed() -> None:
    siv = Siv(A1_KEY, [])
    first, second = seal(siv, [b"first value", b"other value"])
    mixed = [first[:BLOCK] + second[BLOCK:], second[:BLOCK] + first[BLOCK:]]

    with pytest.raises(DecryptionError, match="2 of 2"):
        open_(siv, mixed)


def test_seal_leaves_the_plaintext_alone() -> None:
    rows = Ragged.of([b"a" * 40, b"", b"short"])
    before = rows.data.copy()

    Siv(A1_KEY, []).seal(rows, Ragged.packed(rows.lengths))

    assert np.array_equal(rows.data, before)


def test_open_leaves_no_keystream_behind_the_last_row() -> None:
    siv = Siv(A1_KEY, [])
    output = seal(siv, [b"abc"])[0]

    rows = siv.open(np.frombuffer(output[:BLOCK], dtype=np.uint64), Ragged.of([output[BLOCK:]]))

    assert rows.data[:3].tobytes() == b"abc"
    assert not rows.data[3:].any()


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_a_bound_string_of_each_row(rows: int) -> None:
    """It stands before the nonce."""
    rng = random.Random(rows)
    key, data = rng.randbytes(64), [b"\x02", b"domain", b"scope"]
    values = [rng.randbytes(rng.randrange(70)) for _ in range(rows)]
    bound = [rng.randbytes(rng.randrange(70)) for _ in range(rows)]
    nonces = [rng.randbytes(BLOCK) for _ in range(rows)]
    plaintext, siv = Ragged.of(values), Siv(key, data)
    out = Ragged.packed(plaintext.lengths)

    tags = siv.seal(plaintext, out, _words(b"".join(nonces)), Ragged.of(bound))

    sealed = [tags.tobytes()[BLOCK * at : BLOCK * (at + 1)] + text for at, text in enumerate(out.tolist())]
    assert sealed == [
        rfc_5297(key, [*data, each, nonce], value)
        for value, each, nonce in zip(values, bound, nonces, strict=True)
    ]
    assert siv.open(tags, out, _words(b"".join(nonces)), Ragged.of(bound)).tolist() == values
    if rows > 1:
        swapped = Ragged.of([bound[1], bound[0], *bound[2:]])
        with pytest.raises(DecryptionError, match=f"2 of {rows} cells"):
            siv.open(tags, out, _words(b"".join(nonces)), swapped)
