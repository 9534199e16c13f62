"""Encrypt and tokenize: what must hold for every column, and what a moved or changed cell meets."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import DecryptionError, FormatError
from airflow_secure_provider.model import Classification, ColumnRule, Protection
from airflow_secure_provider.protection.reversible import ColumnCipher, from_base64, to_text

from .said import everything_said


def keyset(name: str = "customers", newest: int = 1) -> Keyset:
    keys = {number: hashlib.sha512(f"{name} {number}".encode()).digest() for number in range(1, newest + 1)}
    return Keyset(name, "local", "local:test", newest, keys)


KEYSET = keyset()
TOKENIZE = ColumnRule("email", Classification.INTERNAL, Protection.TOKENIZE, domain="email")
ENCRYPT = ColumnRule("email", Classification.INTERNAL, Protection.ENCRYPT, domain="email", scope="c1/email")
both = pytest.mark.parametrize("rule", [TOKENIZE, ENCRYPT], ids=["tokenize", "encrypt"])

# Lengths around one and two blocks, where the code takes different ways; nulls and empty values often.
texts = st.one_of(st.none(), st.just(""), st.text(max_size=40), st.integers(0, 50).map(lambda n: "x" * n))
columns = st.lists(texts, max_size=50)
quickly = settings(max_examples=60, deadline=None, database=None)


def tokens(
    values: list[str | None], rule: ColumnRule = TOKENIZE, keys: Keyset = KEYSET
) -> list[bytes | None]:
    cells: list[bytes | None] = ColumnCipher(rule, keys).protect(pa.array(values, pa.string())).to_pylist()
    return cells


# what must always hold


@both
@given(values=columns)
@quickly
def test_round_trip(rule: ColumnRule, values: list[str | None]) -> None:
    cipher = ColumnCipher(rule, KEYSET)

    cells = cipher.protect(pa.array(values, pa.string()))
    revealed = cipher.reveal(cells)

    cells.validate(full=True)
    revealed.validate(full=True)
    assert cells.type == pa.binary()
    assert [cell is None for cell in cells.to_pylist()] == [value is None for value in values]
    assert revealed.to_pylist() == values


@given(values=columns, cut=st.integers(0, 50))
@quickly
def test_tokens_do_not_depend_on_the_batch(values: list[str | None], cut: int) -> None:
    whole = tokens(values)

    assert tokens(values[:cut]) + tokens(values[cut:]) == whole
    assert [tokens([value])[0] for value in values] == whole


@given(values=columns)
@quickly
def test_tokens_are_equal_just_where_values_are(values: list[str | None]) -> None:
    assert len(set(tokens(values))) == len(set(values))


@both
@given(values=columns)
@quickly
def test_text_form_is_base64_and_reveals(rule: ColumnRule, values: list[str | None]) -> None:
    cipher = ColumnCipher(rule, KEYSET)
    cells = cipher.protect(pa.array(values, pa.string()))

    text = to_text(cells)

    text.validate(full=True)
    assert text.type == pa.string()
    assert text.to_pylist() == [
        None if cell is None else base64.b64encode(cell).decode() for cell in cells.to_pylist()
    ]
    assert from_base64(text).equals(cells)
    assert cipher.reveal(text).to_pylist() == values


@both
@given(data=st.data(), values=st.lists(st.text(max_size=20), min_size=1, max_size=5))
@quickly
def test_any_changed_bit_is_noticed(rule: ColumnRule, data: st.DataObject, values: list[str]) -> None:
    cipher = ColumnCipher(rule, KEYSET)
    cells = cipher.protect(pa.array(values, pa.string())).to_pylist()
    row = data.draw(st.integers(0, len(values) - 1))
    bit = data.draw(st.integers(0, 8 * len(cells[row]) - 1))
    changed = bytearray(cells[row])
    changed[bit // 8] ^= 1 << (bit % 8)
    cells[row] = bytes(changed)

    with pytest.raises((DecryptionError, FormatError)):
        cipher.reveal(pa.array(cells, pa.binary()))


@given(values=st.lists(texts, min_size=1, max_size=30))
@quickly
def test_encrypted_cells_are_never_alike(values: list[str | None]) -> None:
    cipher = ColumnCipher(ENCRYPT, KEYSET)
    column = pa.array(values, pa.string())

    cells = [cell for _ in range(2) for cell in cipher.protect(column).to_pylist() if cell is not None]

    assert len(set(cells)) == len(cells)


# against another implementation


def test_tokens_equal_another_implementation() -> None:
    values = ["", "a", "Zoë", "x" * 15, "x" * 16, "x" * 17, "ada@example.com" * 5]
    oracle = AESSIV(KEYSET.derive(1, "email", "tokenize"))

    expected = []
    for value in values:
        sealed = oracle.encrypt(value.encode(), [b"\x01", b"email"]) if value else tokens([""])[0][5:]
        expected.append(b"\x01\x00\x00\x00\x01" + sealed)

    assert tokens(values) == expected


def test_encrypted_cells_open_with_another_implementation() -> None:
    values = ["", "a", "Zoë", "x" * 15, "x" * 16, "x" * 17, "ada@example.com" * 5]
    oracle = AESSIV(KEYSET.derive(1, "email", "encrypt"))

    cells = ColumnCipher(ENCRYPT, KEYSET).protect(pa.array(values)).to_pylist()

    for cell, value in zip(cells, values, strict=True):
        assert cell[:5] == b"\x02\x00\x00\x00\x01"
        strings = [b"\x02", b"email", b"c1/email", b"", cell[5:21]]
        assert oracle.decrypt(cell[21:], strings) == value.encode()


# layouts


VALUES = ["", None, "ä", "a value longer than twelve bytes", None, "", "ä", "x" * 16]
LAYOUTS: dict[str, Any] = {
    "string": pa.array(VALUES, pa.string()),
    "large_string": pa.array(VALUES, pa.large_string()),
    "string_view": pa.array(VALUES, pa.string_view()),
    "dictionary": pa.array(VALUES, pa.string()).dictionary_encode(),
    "dictionary-large": pa.array(VALUES, pa.large_string()).dictionary_encode(),
    "dictionary-null": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1, 2, 3, 0, 1, 4]),
        pa.array(["", "ä", "a value longer than twelve bytes", None, "x" * 16]),
    ),
    "binary": pa.array([None if value is None else value.encode() for value in VALUES], pa.binary()),
    "large_binary": pa.array(
        [None if value is None else value.encode() for value in VALUES], pa.large_binary()
    ),
    "binary_view": pa.array(
        [None if value is None else value.encode() for value in VALUES], pa.binary_view()
    ),
}


@both
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, rule: ColumnRule) -> None:
    cipher = ColumnCipher(rule, KEYSET)
    column = LAYOUTS[layout]
    for offset in range(len(VALUES) + 1):
        for length in range(len(VALUES) - offset + 1):
            piece = column.slice(offset, length)
            cells = cipher.protect(piece)
            cells.validate(full=True)
            assert cells.null_count == VALUES[offset : offset + length].count(None)
            assert cipher.reveal(cells).to_pylist() == VALUES[offset : offset + length]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_tokens(layout: str) -> None:
    assert ColumnCipher(TOKENIZE, KEYSET).protect(LAYOUTS[layout]).to_pylist() == tokens(VALUES)


@both
@pytest.mark.parametrize(
    "stored", ["binary", "large_binary", "string", "large_string", "string_view", "dictionary"]
)
def test_stored_layouts_reveal(stored: str, rule: ColumnRule) -> None:
    cipher = ColumnCipher(rule, KEYSET)
    cells = cipher.protect(pa.array(VALUES))
    if stored == "dictionary":
        column = to_text(cells).dictionary_encode()
    else:
        column = (cells if "binary" in stored else to_text(cells)).cast(getattr(pa, stored)())

    for offset in range(len(VALUES)):
        assert cipher.reveal(column.slice(offset, 4)).to_pylist() == VALUES[offset : offset + 4]


@both
@pytest.mark.parametrize(
    "values", [[], [None], [None] * 20, [""], [""] * 3], ids=["empty", "null", "nulls", "blank", "blanks"]
)
def test_columns_without_a_byte(values: list[str | None], rule: ColumnRule) -> None:
    cipher = ColumnCipher(rule, KEYSET)

    cells = cipher.protect(pa.array(values, pa.string()))

    assert len(cells) == len(values)
    assert cells.null_count == values.count(None)
    assert cipher.reveal(cells).to_pylist() == values
    assert cipher.reveal(to_text(cells)).to_pylist() == values


def test_one_value_a_million_times() -> None:
    column = pa.array(["same value"] * 1_000_000)

    encrypted = ColumnCipher(ENCRYPT, KEYSET).protect(column)

    assert len(encrypted.unique()) == 1_000_000
    assert len(ColumnCipher(ENCRYPT, KEYSET).protect(column.dictionary_encode()).unique()) == 1_000_000
    assert len(ColumnCipher(TOKENIZE, KEYSET).protect(column).unique()) == 1
    assert ColumnCipher(ENCRYPT, KEYSET).reveal(encrypted).equals(column)


# domains and scopes


def test_one_named_domain_joins_two_columns_and_default_domains_do_not() -> None:
    buyer = replace(TOKENIZE, name="buyer_email")
    values = ["ada@example.com", "", None]

    assert tokens(values) == tokens(values, buyer)
    apart = [replace(TOKENIZE, domain="customers/email"), replace(TOKENIZE, domain="orders/buyer_email")]
    joined = {tuple(tokens(values[:2], rule)) for rule in [TOKENIZE, *apart]}
    assert len(joined) == 3
    assert not set(tokens(values[:2], apart[0])) & set(tokens(values[:2], apart[1]))


def test_another_keyset_gives_other_tokens() -> None:
    assert tokens(["a"]) != tokens(["a"], keys=keyset("other"))


@pytest.mark.parametrize(
    ("rule", "other", "bound"),
    [
        (TOKENIZE, replace(TOKENIZE, domain="phone"), "domain 'phone'"),
        (ENCRYPT, replace(ENCRYPT, domain="phone"), "domain 'phone', scope 'c1/email'"),
        (ENCRYPT, replace(ENCRYPT, scope="c1/phone"), "domain 'email', scope 'c1/phone'"),
        (
            replace(ENCRYPT, domain="ab", scope="c"),
            replace(ENCRYPT, domain="a", scope="bc"),
            "domain 'a', scope 'bc'",
        ),
    ],
    ids=["token-domain", "cell-domain", "cell-scope", "boundary"],
)
def test_moved_cells_do_not_open(rule: ColumnRule, other: ColumnRule, bound: str) -> None:
    values = ["canary-7f3a91c2", "", None]
    cells = ColumnCipher(rule, KEYSET).protect(pa.array(values))
    assert ColumnCipher(rule, KEYSET).reveal(cells).to_pylist() == values

    with pytest.raises(DecryptionError) as caught:
        ColumnCipher(other, KEYSET).reveal(cells)

    assert str(caught.value) == (
        f"column 'email': 2 of 2 cells do not authenticate under keyset 'customers', {bound}: "
        "they were altered, or protected as another column or domain"
    )
    assert "canary" not in everything_said(caught.value)


def test_another_keyset_does_not_open() -> None:
    with pytest.raises(DecryptionError, match="1 of 1 cells do not authenticate under keyset 'other'"):
        ColumnCipher(TOKENIZE, keyset("other")).reveal(pa.array(tokens(["a"])))


@both
def test_a_swapped_kind_does_not_open(rule: ColumnRule) -> None:
    other = ENCRYPT if rule is TOKENIZE else TOKENIZE
    cells = ColumnCipher(rule, KEYSET).protect(pa.array(["x" * 40, "y" * 40]))

    with pytest.raises(
        FormatError, match=r"column 'email': 2 of 2 values are not (tokens|encrypted cells) of this package"
    ):
        ColumnCipher(other, KEYSET).reveal(cells)


@both
def test_a_rewritten_kind_does_not_open(rule: ColumnRule) -> None:
    other = ENCRYPT if rule is TOKENIZE else TOKENIZE
    (cell,) = ColumnCipher(rule, KEYSET).protect(pa.array(["x" * 40])).to_pylist()
    rewritten = bytes([cell[0] ^ 3]) + cell[1:]

    with pytest.raises(DecryptionError, match="1 of 1"):
        ColumnCipher(other, KEYSET).reveal(pa.array([rewritten]))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["plain canary-7f3a"]),
        pa.array(["canary"]),
        pa.array([b"canary-7f3a"]),
        pa.array([b"canary-7f3a" * 5]),
    ],
    ids=["text", "short-text", "short-bytes", "bytes"],
)
@both
def test_plaintext_does_not_open(column: Any, rule: ColumnRule) -> None:
    with pytest.raises(FormatError, match=r"^column 'email': ") as caught:
        ColumnCipher(rule, KEYSET).reveal(column)

    assert "canary" not in everything_said(caught.value)


# key versions


@both
def test_the_newest_version_is_used(rule: ColumnRule) -> None:
    (cell,) = ColumnCipher(rule, keyset(newest=3)).protect(pa.array(["a"])).to_pylist()

    assert cell[1:5] == b"\x00\x00\x00\x03"


@both
def test_versions_mixed_in_one_column(rule: ColumnRule) -> None:
    keys = keyset(newest=3)
    values = [
        None if number % 7 == 0 else "" if number % 5 == 0 else f"value {number}" * (number % 4)
        for number in range(200)
    ]
    ciphers = [ColumnCipher(rule, keys, version) for version in (1, 2, 3)]
    cells = [
        ciphers[number % 3].protect(pa.array([value], pa.string()))[0].as_py()
        for number, value in enumerate(values)
    ]
    column = pa.array(cells, pa.binary())
    assert {cell[4] for cell in cells if cell} == {1, 2, 3}

    for cipher in ciphers:
        assert cipher.reveal(column).to_pylist() == values
        assert cipher.reveal(to_text(column)).to_pylist() == values


@both
def test_a_bad_cell_among_versions_is_noticed(rule: ColumnRule) -> None:
    keys = keyset(newest=2)
    cells = [ColumnCipher(rule, keys, version).protect(pa.array(["value"]))[0].as_py() for version in (1, 2)]
    cells[0] = cells[0][:-1] + bytes([cells[0][-1] ^ 1])

    with pytest.raises(DecryptionError, match="1 of 1 cells do not authenticate"):
        ColumnCipher(rule, keys).reveal(pa.array(cells))


@both
def test_a_rewritten_version_does_not_open(rule: ColumnRule) -> None:
    keys = keyset(newest=2)
    (cell,) = ColumnCipher(rule, keys, 1).protect(pa.array(["value"])).to_pylist()
    rewritten = cell[:4] + b"\x02" + cell[5:]

    with pytest.raises(DecryptionError, match="1 of 1 cells do not authenticate"):
        ColumnCipher(rule, keys).reveal(pa.array([rewritten]))


@both
def test_an_unknown_version_is_named(rule: ColumnRule) -> None:
    cells = ColumnCipher(rule, keyset(newest=2)).protect(pa.array(["value"]))

    with pytest.raises(
        DecryptionError,
        match=r"column 'email': 1 of 1 cells name key version 2, which is not there \(it has 1\), under keyset 'customers'",
    ):
        ColumnCipher(rule, KEYSET).reveal(cells)


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (replace(TOKENIZE, domain=None), "domain"),
        (replace(ENCRYPT, domain=None), "domain"),
        (replace(ENCRYPT, scope=None), "scope"),
    ],
    ids=["token-domain", "cell-domain", "cell-scope"],
)
def test_a_cipher_needs_its_binding(rule: ColumnRule, missing: str) -> None:
    with pytest.raises(ValueError, match=f"column 'email' has no {missing}"):
        ColumnCipher(rule, KEYSET)


def test_a_cipher_does_not_print_keys() -> None:
    cipher = ColumnCipher(TOKENIZE, KEYSET)
    cipher.protect(pa.array(["a"]))

    assert repr(cipher).startswith("<airflow_secure_provider.protection.reversible.ColumnCipher object")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_bytes_that_are_no_text_are_refused(kind: Any) -> None:
    """They would come back as text that is none."""
    good = ColumnCipher(TOKENIZE, KEYSET).protect(pa.array(["ä".encode(), None], kind))
    assert ColumnCipher(TOKENIZE, KEYSET).reveal(good).to_pylist() == ["ä", None]
    with pytest.raises(FormatError, match=r"some of 2 values are bytes that are no UTF-8 text"):
        ColumnCipher(TOKENIZE, KEYSET).protect(pa.array([b"\xff\xfe", None], kind))
