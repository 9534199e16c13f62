"""Text to types: the right record is named and the value is not."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_secure_provider.errors import FormatError
from airflow_secure_provider.protection.conversion import LOGICAL, canonical_text, check_required, convert

from .said import everything_said

CANARY = "canary-7f3a91c2"


def converted(values: list[str | None], logical_type: str, first_record: int = 1) -> Any:
    return convert(
        pa.array(values, pa.string()),
        LOGICAL[logical_type],
        name="amount",
        what="a good value",
        first_record=first_record,
        where="s3://lake/c.csv",
    )


@pytest.mark.parametrize(
    ("logical_type", "text", "value"),
    [
        ("date", "1987-12-31", datetime.date(1987, 12, 31)),
        ("timestamp", "1987-12-31 23:59:58", datetime.datetime(1987, 12, 31, 23, 59, 58)),  # noqa: DTZ001
        ("timestamp", "1987-12-31T23:59:58.25", datetime.datetime(1987, 12, 31, 23, 59, 58, 250_000)),  # noqa: DTZ001
        ("time", "23:59:58", datetime.time(23, 59, 58)),
        ("time", "00:00:00.000001", datetime.time(0, 0, 0, 1)),
        ("integer", "-42", -42),
        ("integer", "9223372036854775807", 2**63 - 1),
        ("number", "1.50", 1.5),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("string", "text", "text"),
    ],
)
def test_conversions(logical_type: str, text: str, value: Any) -> None:
    assert converted([text, None], logical_type).to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("logical_type", "good", "bad"),
    [
        ("date", "1987-12-31", "1987-02-30"), ("date", "1987-12-31", "31.12.1987"), ("date", "1987-12-31", CANARY),
        ("date", "1987-12-31", ""), ("timestamp", "1987-12-31 00:00:00", f"1987-12-31 {CANARY}"),
        ("time", "00:00:00", "24:00:00"), ("time", "00:00:00", "12:00:00Z"),
        ("time", "00:00:00", ""), ("time", "00:00:00", f"12:00:00 {CANARY}"), ("integer", "1", "1.5"), ("integer", "1", "9223372036854775808"),
        ("integer", "1", CANARY), ("integer", "1", ""), ("integer", "1", "0x10"), ("integer", "1", "0XFFFFFFFF"), ("number", "1.5", "1,5"), ("number", "1.5", CANARY),
        ("boolean", "true", CANARY),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at", [0, 1, 499, 998, 999])
def test_the_record_is_exact_and_the_value_unsaid(logical_type: str, good: str, bad: str, at: int) -> None:
    values: list[str | None] = [good] * 1000
    values[at] = bad
    assert converted(values[:at] + values[at + 1 :], logical_type).null_count == 0

    with pytest.raises(FormatError) as caught:
        converted(values, logical_type, first_record=30_001)

    assert str(caught.value) == (
        f"s3://lake/c.csv: column 'amount', record {30_001 + at:,}: the value is not a good value; "
        "correct it in the source"
    )
    assert not bad or bad not in everything_said(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(bad=st.lists(st.booleans(), min_size=1, max_size=70))
@settings(max_examples=100, deadline=None, database=None)
def test_the_first_bad_record_is_named(bad: list[bool]) -> None:
    values = [CANARY if each else None if number % 3 == 0 else "7" for number, each in enumerate(bad)]

    if not any(bad):
        assert converted(values, "integer").null_count == values.count(None)
        return
    with pytest.raises(FormatError, match=f"record {bad.index(True) + 1}: "):
        converted(values, "integer")


def test_the_record_is_exact_in_a_slice() -> None:
    column = pa.array(["x", "1", None, "2", "x"]).slice(1)

    with pytest.raises(FormatError, match="record 13: "):
        convert(column, pa.int64(), name="n", what="int8", first_record=10, where="w")


def test_numbers_into_narrower_types() -> None:
    with pytest.raises(FormatError, match="column 'n', record 3: the value is not int4") as caught:
        convert(pa.array([1, 2, 7_777_777_777]), pa.int32(), name="n", what="int4", first_record=1, where="w")

    assert "7777777777" not in everything_said(caught.value)


def test_types_that_do_not_convert() -> None:
    with pytest.raises(FormatError) as caught:
        convert(pa.array([True]), pa.date32(), name="n", what="a date", first_record=1, where="w")

    assert str(caught.value) == "w: column 'n' is bool and can't become a date; change the table's type"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("at", [0, 1, 99])
def test_required(at: int) -> None:
    values: list[str | None] = [""] * 100
    check_required(pa.array(values), name="id", first_record=1, where="w")
    values[at] = None

    with pytest.raises(FormatError) as caught:
        check_required(pa.array(values, pa.string()), name="id", first_record=5001, where="w")

    assert str(caught.value) == f"w: column 'id' is required and record {5001 + at:,} has no value"


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([datetime.date(1987, 2, 1), None]), ["1987-02-01", None]),
        (pa.array([1, -2, None]), ["1", "-2", None]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([True, False]), ["true", "false"]),
    ],
    ids=["date", "integer", "large", "dictionary", "boolean"],
)
def test_canonical_text(column: Any, texts: list[str | None]) -> None:
    text = canonical_text(column)

    assert text.type == pa.string()
    assert text.to_pylist() == texts


def test_whole_numbers_become_decimals_where_they_fit() -> None:
    given = {"name": "n", "what": "numeric(5,2)", "first_record": 1, "where": "f"}
    made = convert(pa.array([7, None, -123]), pa.decimal128(5, 2), **given)

    assert [str(each) for each in made.to_pylist()] == ["7.00", "None", "-123.00"]
    with pytest.raises(FormatError, match=r"column 'n', record 2: the value is not numeric\(5,2\)"):
        convert(pa.array([7, 1234]), pa.decimal128(5, 2), **given)
