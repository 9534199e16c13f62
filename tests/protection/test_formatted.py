"""Format-preserving encryption of Arrow columns: what is unfit, and the way back."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from ffx import FF1 as Libffx

from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import DecryptionError, FormatError
from airflow_secure_provider.model import ColumnRule
from airflow_secure_provider.protection.formatted import FormatCipher

from .said import everything_said

KEYSET = Keyset("crm", "local", "local:test", 2, {1: bytes(range(64)), 2: bytes(range(100, 164))})
CANARY = "7391640825"
CARDS = ["4111 1111 1111 1111", None, "", "378282246310005", "4111 1111 1111 1111"]


def fpe(**options: Any) -> ColumnRule:
    return column_rule("card", "restricted", {"method": "fpe", **options}, contract_id="c")


def cipher(version: int | None = None, **options: Any) -> FormatCipher:
    return FormatCipher(fpe(**options), KEYSET, version)


def test_the_standard_under_the_derived_key_with_the_domain_as_tweak() -> None:
    oracle = Libffx(KEYSET.derive(2, "person-card", "fpe")[:32], radix=10)

    made = cipher(domain="person-card").protect(pa.array(["4111111111111111", "37-8282"])).to_pylist()

    assert made[0] == oracle.encrypt("4111111111111111", tweak=b"person-card")
    assert made[1].replace("-", "") == oracle.encrypt("378282", tweak=b"person-card")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), "dictionary", "chunked"])
def test_layouts(kind: Any) -> None:
    column = pa.array(CARDS)
    given = {
        "dictionary": column.dictionary_encode(),
        "chunked": pa.chunked_array([column.slice(0, 2), column.slice(2)]),
    }.get(kind) if isinstance(kind, str) else column.cast(kind)  # fmt: skip

    made = cipher().protect(given)

    assert made.to_pylist() == cipher().protect(column).to_pylist()
    assert made.to_pylist()[1:3] == [None, ""]
    assert made.to_pylist()[0] == made.to_pylist()[4]
    assert cipher().reveal(made).to_pylist() == CARDS


@pytest.mark.parametrize("offset", range(len(CARDS)))
def test_slices(offset: int) -> None:
    made = cipher().protect(pa.array(CARDS).slice(offset, 3))

    assert cipher().reveal(made).to_pylist() == CARDS[offset : offset + 3]


def test_a_column_of_few_values_gives_the_same() -> None:
    """Each distinct one is encrypted once there."""
    rng = random.Random(1)
    few = [f"{rng.randrange(10**6, 10**6 + 40)}" for _ in range(10_000)]
    made = cipher().protect(pa.array([*few, None])).to_pylist()

    one_by_one = {value: cipher().protect(pa.array([value])).to_pylist()[0] for value in set(few)}
    assert made == [*(one_by_one[value] for value in few), None]


def test_equal_in_a_domain_and_not_across() -> None:
    def made(**options: Any) -> str:
        return str(cipher(**options).protect(pa.array(["4111111111111111"])).to_pylist()[0])

    assert made(domain="a") == made(domain="a")
    assert len({made(domain="a"), made(domain="b"), made(), made(domain="a", version=1)}) == 4


@pytest.mark.parametrize("unfit", ["12345", f"x{CANARY}", f"{CANARY}~", "n/a"])
def test_unfit_values_are_refused(unfit: str) -> None:
    with pytest.raises(
        FormatError,
        match=r"column 'card': 1 of 2 values are unfit for fpe \(off the alphabet 'digits', or with fewer than 6",
    ) as caught:
        cipher().protect(pa.array(["123456", None, unfit]))

    assert CANARY not in everything_said(caught.value)


def test_unfit_values_are_redacted() -> None:
    given = ["123456", None, "n/a", "", "12345", "é"]
    made = cipher(on_unfit="redact").protect(pa.array(given)).to_pylist()

    assert made[1:] == [None, "***", "", "*****", "*"]
    assert cipher(on_unfit="redact").reveal(pa.array(made)).to_pylist() == [
        "123456", None, "***", "", "*****", "*",
    ]  # fmt: skip


def test_unfit_values_are_encrypted_and_come_back() -> None:
    given = ["123456", None, "n/a", "", "~12345", "é" * 300, "12-34-56"]
    coder = cipher(on_unfit="encrypt")
    made = coder.protect(pa.array(given)).to_pylist()

    assert [value[:1] == "~" for value in made if value is not None] == [
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert made[2] != coder.protect(pa.array(given)).to_pylist()[2]  # a nonce each
    assert coder.reveal(pa.array(made)).to_pylist() == given
    assert coder.reveal(pa.array(made, pa.large_string()).slice(2, 3)).to_pylist() == given[2:5]


@pytest.mark.parametrize("layout", ["repeating", "dictionary"])
def test_equal_unfit_values_get_cells_of_their_own(layout: str) -> None:
    column = pa.array(["ab"] * 5_000 + ["4111 1111 1111 1111"] * 5_000)
    given = column.dictionary_encode() if layout == "dictionary" else column
    made = cipher(on_unfit="encrypt").protect(given)
    assert len(set(made.to_pylist()[:5_000])) == 5_000
    assert len(set(made.to_pylist()[5_000:])) == 1
    assert cipher(on_unfit="encrypt").reveal(made).to_pylist() == column.to_pylist()


def test_an_altered_cell_of_an_unfit_value_is_noticed() -> None:
    coder = cipher(on_unfit="encrypt")
    (made,) = coder.protect(pa.array(["n/a"])).to_pylist()
    altered = made[:40] + ("A" if made[40] != "A" else "B") + made[41:]

    with pytest.raises(DecryptionError, match="column 'card': 1 of 1 cells do not authenticate"):
        coder.reveal(pa.array([altered]))


@pytest.mark.parametrize("on_unfit", ["refuse", "redact", "encrypt"])
def test_what_fpe_does_not_make_is_not_revealed(on_unfit: str) -> None:
    with pytest.raises(FormatError, match="column 'card': 1 values are none that fpe makes") as caught:
        cipher(on_unfit=on_unfit).reveal(pa.array(["123456", f"a{CANARY}"]))

    assert CANARY not in everything_said(caught.value)


def test_a_longer_alphabet() -> None:
    given = ["абвгде", None, "где-жз аб"]
    coder = cipher(alphabet="абвгдежзий")
    made = coder.protect(pa.array(given))

    assert made.to_pylist()[2][3] == "-"
    assert coder.reveal(made).to_pylist() == given


@pytest.mark.parametrize("values", [[], [None], ["", None]])
def test_nothing_to_do(values: list[str | None]) -> None:
    made = cipher().protect(pa.array(values, pa.string()))

    assert made.to_pylist() == values
    assert cipher().reveal(made).to_pylist() == values
