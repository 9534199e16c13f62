"""Rounded numbers against ``decimal``; noise against its promises and a reference."""

from __future__ import annotations

import decimal
import math
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import FormatError
from airflow_secure_provider.model import ColumnRule
from airflow_secure_provider.protection.numbers import NoiseAdder, check_roundable, rounded

KEYSET = Keyset("crm", "local", "local:test", 2, {1: bytes(range(64)), 2: bytes(range(100, 164))})


def rounding(to: float, kind: str = "number") -> ColumnRule:
    return column_rule(
        "pay", "confidential", {"method": "round", "to": to}, contract_id="c", logical_type=kind
    )


def noise(scale: float = 500, kind: str = "number", **options: Any) -> ColumnRule:
    wanted = {"method": "noise", "scale": scale, "subject": "person", "domain": "pay", **options}
    return column_rule("pay", "confidential", wanted, contract_id="c", logical_type=kind)


def noisy(values: list[Any], subjects: list[str | None], rule: ColumnRule, version: int = 2) -> list[Any]:
    column = pa.array(values, pa.int64() if rule.logical_type == "integer" else pa.float64())
    return NoiseAdder(rule, KEYSET, version).protect(column, [pa.array(subjects, pa.string())]).to_pylist()  # type: ignore[no-any-return]


# round


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-(2**52), 2**52)), st.integers(1, 10**12))
def test_whole_numbers_as_decimal_rounds_them(values: list[int | None], to: int) -> None:
    exact = [
        None if value is None else int((Decimal(value) / to).quantize(1, decimal.ROUND_HALF_EVEN)) * to
        for value in values
    ]

    assert rounded(pa.array(values, pa.int64()), rounding(to, "integer")).to_pylist() == exact


@settings(deadline=None)
@given(
    st.lists(st.none() | st.floats(-1e6, 1e6)),
    st.sampled_from([0.001, 0.01, 0.05, 0.25, 0.5, 1, 2.5, 10, 1000]),
)
def test_numbers_are_the_nearest_multiple(values: list[float | None], to: float) -> None:
    step = Decimal(str(to))
    for value, made in zip(
        values, rounded(pa.array(values, pa.float64()), rounding(to)).to_pylist(), strict=True
    ):
        if value is None:
            assert made is None
        else:
            assert made % step == 0
            assert abs(made - Decimal(value)) <= step / 2 * Decimal("1.000000001")


def test_halves_go_to_the_even_multiple_and_decimals_are_plain() -> None:
    numbers = pa.array([0.25, 0.75, 1.25, -0.25, -0.0, 12.34])

    assert [str(each) for each in rounded(numbers, rounding(0.5)).to_pylist()] == [
        "0.0",
        "1.0",
        "1.0",
        "0.0",
        "0.0",
        "12.5",
    ]
    assert rounded(numbers, rounding(0.05)).to_pylist()[-1] == Decimal("12.35")
    assert rounded(pa.array([5, 15, -5, -15, 25]), rounding(10, "integer")).to_pylist() == [0, 20, 0, -20, 20]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e16])
def test_what_is_not_to_be_rounded(value: float) -> None:
    with pytest.raises(
        FormatError,
        match=r"s3://b/k: column 'pay', record 12: the value is not a finite number below 9.01e\+15",
    ) as refused:
        check_roundable(pa.array([1.0, None, value]), rounding(1000), first_record=10, where="s3://b/k")
    assert str(value) not in str(refused.value)


def test_whole_numbers_that_are_too_large() -> None:
    with pytest.raises(FormatError, match="record 2"):
        check_roundable(pa.array([1, 2**63 - 1]), rounding(10, "integer"), first_record=1, where="f")
    with pytest.raises(FormatError, match="record 2"):
        check_roundable(pa.array([1, -(2**63)]), rounding(10, "integer"), first_record=1, where="f")
    check_roundable(pa.array([1, None, 2**52]), rounding(10, "integer"), first_record=1, where="f")


# noise


def reference(value: int | float, subject: str, scale: float, version: int = 2) -> float:
    mac = CMAC(algorithms.AES(KEYSET.derive(version, "pay", "noise")[:32]))
    mac.update(struct.pack(">q" if isinstance(value, int) else ">d", value) + subject.encode())
    tag = mac.finalize()
    size = -math.log(((int.from_bytes(tag[:8], "big") >> 11) + 0.5) / 2**53)
    return scale * (size if tag[8] & 1 else -size)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.text(max_size=5)), max_size=20))
def test_as_documented(rows: list[tuple[int, str]]) -> None:
    made = noisy([value for value, _ in rows], [name for _, name in rows], noise(500, "integer", to=1))

    assert made == [value + round(reference(value, name, 500)) for value, name in rows]


def test_the_documented_example() -> None:
    """docs/formats/values.md"""
    assert noisy([52345], ["ana"], noise(500, "integer"), version=1) == [52240]
    assert noisy([1.5], ["ana"], noise(0.5), version=1) == [Decimal("1.20")]
    assert reference(1.5, "ana", 1, version=1) == pytest.approx(-0.5925406658648573)


def test_one_noise_for_one_number_of_one_subject() -> None:
    made = noisy([100.0, 100, 100, 101, None], ["ana", "ana", "bo", "ana", "ana"], noise())

    assert made[0] == made[1]
    assert len({made[0], made[2], made[3]}) == 3
    assert made[4] is None
    assert noisy([100.0], ["ana"], noise()) != noisy([100.0], ["ana"], noise(), version=1)
    assert noisy([100.0], ["ana"], noise()) != noisy([100.0], ["ana"], noise(domain="other"))


def test_its_distribution() -> None:
    """Of 40,000: mean 0, mean size the scale, half of them beyond 0.69 scales."""
    count, scale = 40_000, 500
    made = np.array(
        noisy([7] * count, [str(each) for each in range(count)], noise(scale, "integer", to=1)), dtype=float
    )
    size = np.abs(made - 7)

    assert abs((made - 7).mean()) < 5 * scale * math.sqrt(2 / count)
    assert abs(size.mean() - scale) < 5 * scale / math.sqrt(count)
    assert abs((size > scale * math.log(2)).mean() - 0.5) < 5 * 0.5 / math.sqrt(count)
    assert abs((size > 3 * scale).mean() - math.exp(-3)) < 0.01


def test_results_lie_on_the_grid() -> None:
    """So that the last digits of a result tell nothing of the number."""
    assert noise(500).parameters["to"] == 10
    assert noise(3).parameters["to"] == 0.1
    assert noise(3, "integer").parameters["to"] == 1
    made = noisy([float(each) / 7 for each in range(200)], [str(each) for each in range(200)], noise(3))
    assert all(each == each.quantize(Decimal("0.1")) for each in made)


def test_a_number_without_subject() -> None:
    with pytest.raises(
        FormatError, match=r"column 'pay': 1 numbers have no 'person', by which their noise is drawn"
    ):
        noisy([1.0, None], [None, None], noise())


def test_chunks_and_nothing() -> None:
    rule = noise(500, "integer")
    column, people = pa.array([1, None, 3, 4]), pa.array(["a", "b", "c", "d"])
    whole = NoiseAdder(rule, KEYSET).protect(column, [people]).to_pylist()
    chunked = pa.chunked_array([column[:1], column[1:]])

    assert NoiseAdder(rule, KEYSET).protect(chunked, [pa.chunked_array([people])]).to_pylist() == whole
    assert rounded(chunked, rounding(2, "integer")).to_pylist() == [0, None, 4, 4]
    assert noisy([], [], rule) == []
    assert noisy([None], ["a"], noise()) == [None]
