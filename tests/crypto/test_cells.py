"""The format of a cell, byte by byte, and its text form against the standard library's base64."""

from __future__ import annotations

import base64
import random

import numpy as np
import pytest

from airflow_secure_provider.crypto import cells
from airflow_secure_provider.crypto.cells import (
    ENCRYPTED,
    TOKEN,
    Cells,
    from_text,
    key_versions,
    parts,
    to_text,
)
from airflow_secure_provider.crypto.ragged import BLOCK, Ragged
from airflow_secure_provider.crypto.siv import Siv
from airflow_secure_provider.errors import FormatError

# "Zoë" under the key 00 01 … 3f, computed by cryptography's AESSIV.
KEY = bytes(range(64))
NONCE = bytes(range(0xA0, 0xB0))
TOKEN_STRINGS = [b"\x01", b"email"]
CELL_STRINGS = [b"\x02", b"email", b"c1/email", b""]
EXAMPLES = {
    TOKEN: "01 00000003 be9387e3df265ecd1ac8c704892a09fa 3a26c593",
    ENCRYPTED: "02 01020304 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 7ba0c13d71bee76cdd01e723020faf64 d5002632",
}


def sealed(
    kind: int, version: int, strings: list[bytes], values: list[bytes], nonces: bytes | None
) -> Ragged:
    words = None if nonces is None else np.frombuffer(nonces, dtype=np.uint64)
    plain = Ragged.of(values)
    room = Cells.room(kind, plain.lengths)
    room.fill(version, Siv(KEY, strings).seal(plain, room.ciphertext, words), words)
    return room.rows


def made(kind: int, lengths: list[int], version: int = 7) -> list[bytes]:
    """Rows that look like cells."""
    rng = random.Random(str(lengths))
    header = bytes([kind]) + version.to_bytes(4, "big")
    return [header + rng.randbytes(cells.overhead(kind) - 5 + length) for length in lengths]


def test_token_bytes() -> None:
    rows = sealed(TOKEN, 3, TOKEN_STRINGS, ["Zoë".encode()], None)

    assert rows.tolist() == [bytes.fromhex(EXAMPLES[TOKEN])]


def test_encrypted_cell_bytes() -> None:
    rows = sealed(ENCRYPTED, 0x01020304, CELL_STRINGS, ["Zoë".encode()], NONCE)

    assert rows.tolist() == [bytes.fromhex(EXAMPLES[ENCRYPTED])]


@pytest.mark.parametrize(("kind", "expected"), [(TOKEN, 21), (ENCRYPTED, 37)], ids=["token", "encrypted"])
def test_overhead(kind: int, expected: int) -> None:
    rows = sealed(kind, 1, [], [b"", b"x"], bytes(2 * BLOCK) if kind == ENCRYPTED else None)

    assert cells.overhead(kind) == expected
    assert rows.lengths.tolist() == [expected, expected + 1]


@pytest.mark.parametrize("version", [0, 1, 255, 256, 2**31, 2**32 - 1])
def test_key_version_is_big_endian(version: int) -> None:
    rows = Ragged.of(made(TOKEN, [0, 3, 40], version))

    assert key_versions(TOKEN, rows).tolist() == [version] * 3


def test_a_batch_keeps_its_rows_apart() -> None:
    rng = random.Random(5)
    values = [rng.randbytes(rng.randrange(60)) for _ in range(500)]
    nonces = rng.randbytes(BLOCK * 500)

    rows = sealed(ENCRYPTED, 9, CELL_STRINGS, values, nonces).tolist()

    for at, (row, value) in enumerate(zip(rows, values, strict=True)):
        assert row[:5].hex() == "0200000009"
        assert row[5:21] == nonces[BLOCK * at : BLOCK * (at + 1)]
        assert len(row) == 37 + len(value)


def test_parts_are_where_the_format_says() -> None:
    rows = made(ENCRYPTED, [0, 5, 33])

    nonces, tags, ciphertexts = parts(ENCRYPTED, Ragged.of(rows))

    assert nonces is not None
    assert nonces.tobytes() == b"".join(row[5:21] for row in rows)
    assert tags.tobytes() == b"".join(row[21:37] for row in rows)
    assert ciphertexts.tolist() == [row[37:] for row in rows]
    assert parts(TOKEN, Ragged.of(made(TOKEN, [4])))[0] is None


@pytest.mark.parametrize(
    ("kind", "name"), [(TOKEN, "tokens"), (ENCRYPTED, "encrypted cells")], ids=["token", "cell"]
)
@pytest.mark.parametrize("first", [0, 1, 2, 3, 255])
def test_another_kind_is_refused(kind: int, name: str, first: int) -> None:
    good, changed = made(kind, [50, 50])
    if first == kind:
        assert key_versions(kind, Ragged.of([good])).tolist() == [7]
        return

    with pytest.raises(FormatError, match=f"^1 of 2 values are not {name} of this package$"):
        key_versions(kind, Ragged.of([good, bytes([first]) + changed[1:]]))


@pytest.mark.parametrize("kind", [TOKEN, ENCRYPTED], ids=["token", "encrypted"])
def test_short_rows_are_refused(kind: int) -> None:
    full = made(kind, [0])[0]
    key_versions(kind, Ragged.of([full]))
    for length in range(len(full)):
        with pytest.raises(FormatError, match=r"^1 of 2 values are too short to be protected cells$"):
            key_versions(kind, Ragged.of([full, full[:length]]))


def test_no_cells_have_no_versions() -> None:
    assert key_versions(TOKEN, Ragged.of([])).tolist() == []


# base64


@pytest.mark.parametrize("length", range(101))
def test_text_equals_base64_at_every_length(length: int) -> None:
    rng = random.Random(length)
    values = [rng.randbytes(length) for _ in range(5)]

    text = to_text(Ragged.of(values))

    assert text.tolist() == [base64.b64encode(value) for value in values]
    assert from_text(text).tolist() == values


@pytest.mark.parametrize("seed", range(5))
def test_text_equals_base64_in_mixed_batches(seed: int) -> None:
    rng = random.Random(seed)
    values = [rng.randbytes(rng.randrange(rng.choice((3, 40, 200)))) for _ in range(3000)]

    text = to_text(Ragged.of(values))

    assert text.tolist() == [base64.b64encode(value) for value in values]
    assert from_text(text).tolist() == values


def test_every_pair_of_characters() -> None:
    values = [number.to_bytes(3, "big") for number in range(0, 2**24, 4093)]

    assert to_text(Ragged.of(values)).tolist() == [base64.b64encode(value) for value in values]


def test_text_of_rows_with_gaps() -> None:
    wide = Ragged.of([b"head" + value for value in (b"", b"a", b"bc", b"def")])
    rows = Ragged(wide.data, wide.starts + 4, wide.lengths - 4)

    assert to_text(rows).tolist() == [b"", b"YQ==", b"YmM=", b"ZGVm"]


@pytest.mark.parametrize(
    "text", [b"A", b"AA", b"AAA", b"AAAAA", b"AAAA\n"], ids=["1", "2", "3", "5", "newline"]
)
def test_a_length_that_is_no_multiple_of_four_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match=r"^1 of 3 values are not base64 text of a cell$"):
        from_text(Ragged.of([b"AAAA", text, b""]))


@pytest.mark.parametrize(
    "text",
    [
        b"====",
        b"A===",
        b"=AAA",
        b"A=AA",
        b"AA=A",
        b"AA==AAAA",
        b"AA-_",
        b"AAA\n",
        b"AAA ",
        b"A\x00AA",
        "Aé!".encode(),
        b"YR==",
        b"YmN=",
    ],
    ids=[
        "pads",
        "3-pads",
        "pad-1",
        "pad-2",
        "pad-3",
        "pad-inside",
        "url-safe",
        "newline",
        "space",
        "nul",
        "non-ascii",
        "unused-bits-4",
        "unused-bits-2",
    ],
)
def test_characters_outside_the_alphabet_are_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match=r"^some of 2 values are not base64 text of a cell$"):
        from_text(Ragged.of([b"AAAA", text]))


def test_every_other_byte_is_refused() -> None:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for byte in set(range(256)) - set(alphabet):
        for at in range(3):
            text = bytearray(b"AAAA")
            text[at] = byte
            with pytest.raises(FormatError, match="base64"):
                from_text(Ragged.of([bytes(text)]))


def test_refusals_do_not_quote() -> None:
    canary = b"canary-7f3a"
    with pytest.raises(FormatError) as caught:
        from_text(Ragged.of([canary + b"!"]))

    assert "canary" not in str(caught.value)
