"""Redact, generalize, nullify: what is left of a value, for every length."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.model import ColumnRule
from airflow_secure_provider.protection.irreversible import generalize, nullify, redact


def redacting(classification: str = "internal", **parameters: Any) -> ColumnRule:
    return column_rule("ssn", classification, {"method": "redact", **parameters}, contract_id="c1")


def generalizing(logical_type: str, **parameters: Any) -> ColumnRule:
    return column_rule(
        "x", "internal", {"method": "generalize", **parameters}, contract_id="c1", logical_type=logical_type
    )


def redacted(value: str | None, rule: ColumnRule) -> str | None:
    (result,) = redact(pa.array([value], pa.string()), rule).to_pylist()
    return result  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("parameters", "value", "expected"),
    [
        ({}, "secret", "******"),
        ({"mark": "•"}, "Zoë Ö", "•••••"),
        ({"keep_last": 4}, "4111111111111111", "************1111"),
        ({"keep_first": 2}, "ada@example.com", "ad*************"),
        ({"keep_first": 1, "keep_last": 1}, "Łukasz", "Ł****z"),
        ({"keep_first": 1, "keep_last": 2, "mark": "#"}, "日本語文字列", "日###字列"[:1] + "###" + "字列"),
        ({"keep_last": 1}, "a😀", "*😀"),
        ({"keep_first": 1}, "😀b", "😀*"),
        ({"keep_last": 4}, "1234", "****"),
        ({"keep_last": 4}, "123", "***"),
        ({"keep_first": 2, "keep_last": 2}, "abcd", "****"),
        ({"keep_first": 2, "keep_last": 2}, "abcde", "ab*de"),
        ({"keep_first": 9, "keep_last": 9}, "abc", "***"),
        ({"keep_last": 4}, "", ""),
        ({}, "", ""),
        ({}, None, None),
        ({"keep_first": 1, "keep_last": 1}, None, None),
        ({}, "a\nb", "***"),
    ],
    ids=[
        "all", "mark", "last", "first", "both", "cjk", "emoji-last", "emoji-first", "as-long", "shorter", "both-as-long",
        "both-longer", "far-longer", "empty", "empty-all", "null-all", "null", "newline",
    ],
)  # fmt: skip
def test_redact(parameters: dict[str, Any], value: str | None, expected: str | None) -> None:
    assert redacted(value, redacting(**parameters)) == expected


LETTERS = "äbcdefghijkl"


@pytest.mark.parametrize("length", range(13))
@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 0), (1, 0), (0, 1), (2, 0), (0, 4), (2, 2), (1, 3), (3, 3), (5, 0), (0, 8), (6, 6), (13, 0)],
)
def test_restricted_columns_hide_half_and_four(first: int, last: int, length: int) -> None:
    value = LETTERS[:length]
    rule = redacting("restricted", keep_first=first, keep_last=last)
    hidden = length - first - last
    keeps = hidden >= 4 and hidden * 2 >= length

    result = redacted(value, rule)

    assert result is not None
    assert len(result) == length
    if keeps:
        assert result == value[:first] + "*" * hidden + (value[-last:] if last else "")
        assert result.count("*") * 2 >= length
        assert result.count("*") >= 4
    else:
        assert result == "*" * length


@pytest.mark.parametrize(
    ("classification", "expected"), [("confidential", "12345*789"), ("restricted", "*********")]
)
def test_only_restricted_columns_hide_half(classification: str, expected: str) -> None:
    assert redacted("123456789", redacting(classification, keep_first=5, keep_last=3)) == expected


@given(
    values=st.lists(st.one_of(st.none(), st.text(alphabet="aé日😀\n", max_size=14)), max_size=20),
    first=st.integers(0, 8),
    last=st.integers(0, 8),
    classification=st.sampled_from(["internal", "restricted"]),
    cut=st.integers(0, 20),
)
@settings(max_examples=100, deadline=None, database=None)
def test_redaction_shows_length_and_ends_only(
    values: list[str | None], first: int, last: int, classification: str, cut: int
) -> None:
    rule = redacting(classification, keep_first=first, keep_last=last)
    column = pa.array(values, pa.string())

    results = redact(column, rule).to_pylist()

    assert redact(column.slice(cut), rule).to_pylist() == results[cut:]
    for value, result in zip(values, results, strict=True):
        if value is None:
            assert result is None
            continue
        assert len(result) == len(value)
        middle = result[first : len(result) - last] if len(value) > first + last else result
        assert middle == "*" * len(middle)


@pytest.mark.parametrize("values", [[], [None, None]], ids=["empty", "nulls"])
@pytest.mark.parametrize("rule", [redacting(), redacting("restricted", keep_last=4)], ids=["whole", "last"])
def test_redact_nothing(rule: ColumnRule, values: list[None]) -> None:
    assert redact(pa.array(values, pa.string()), rule).to_pylist() == values


# generalize


def test_years() -> None:
    dates = pa.array(
        [datetime.date(1987, 12, 31), None, datetime.date(2000, 1, 1), datetime.date(1899, 6, 1)]
    )
    times = pa.array([datetime.datetime(1999, 12, 31, 23, 59, 59), None], pa.timestamp("us"))  # noqa: DTZ001

    years = generalize(dates, generalizing("date", to="year"))

    assert years.type == pa.int32()
    assert years.to_pylist() == [1987, None, 2000, 1899]
    assert generalize(times, generalizing("timestamp", to="year")).to_pylist() == [1999, None]


@pytest.mark.parametrize(
    ("number", "label"),
    [(-5, "<0"), (-1, "<0"), (0, "[0,100)"), (99, "[0,100)"), (100, "[100,500)"), (499, "[100,500)"), (500, ">=500"), (10**9, ">=500"), (2**53 + 1, ">=500"), (None, None)],
)  # fmt: skip
def test_bins_of_whole_numbers(number: int | None, label: str | None) -> None:
    rule = generalizing("integer", bins=[0, 100, 500])

    assert generalize(pa.array([number], pa.int64()), rule).to_pylist() == [label]


def test_bins_of_numbers() -> None:
    rule = generalizing("number", bins=[-0.5, 0.25, 2])
    column = pa.array([-0.51, -0.5, None, 0.2499, 0.25, 1.99, 2.0, float("inf"), float("-inf")])

    labels = ["<-0.5", "[-0.5,0.25)", None, "[-0.5,0.25)", "[0.25,2)", "[0.25,2)", ">=2", ">=2", "<-0.5"]
    assert generalize(column, rule).to_pylist() == labels
    assert generalize(column.slice(2, 3), rule).to_pylist() == labels[2:5]


def test_labels_of_close_bins_differ() -> None:
    rule = generalizing("integer", bins=[1_000_000, 1_000_001, 1_000_002])

    labels = generalize(pa.array([999_999, 1_000_000, 1_000_001, 1_000_002]), rule).to_pylist()

    assert labels == ["<1000000", "[1000000,1000001)", "[1000001,1000002)", ">=1000002"]


@pytest.mark.parametrize(
    ("prefix", "value", "expected"),
    [(2, "10115", "10"), (2, "1", ""), (2, "10", ""), (2, "101", "10"), (2, "Łódź", "Łó"), (1, "😀b", "😀"), (3, "", ""), (3, None, None), (0, "x", ""), (0, None, None), (0, "", "")],
)  # fmt: skip
def test_prefix(prefix: int, value: str | None, expected: str | None) -> None:
    rule = generalizing("string", prefix=prefix)

    assert generalize(pa.array([value], pa.string()), rule).to_pylist() == [expected]


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (generalizing("date", to="year"), pa.date32()),
        (generalizing("integer", bins=[1, 2]), pa.int64()),
        (generalizing("string", prefix=2), pa.string()),
        (generalizing("string", prefix=0), pa.string()),
    ],
    ids=["year", "bins", "prefix", "no-prefix"],
)
@pytest.mark.parametrize("values", [[], [None, None]], ids=["empty", "nulls"])
def test_generalize_nothing(rule: ColumnRule, kind: Any, values: list[None]) -> None:
    assert generalize(pa.array(values, kind), rule).to_pylist() == values


def test_nullify() -> None:
    result = nullify(pa.array(["a", None, ""]))

    assert result.to_pylist() == [None] * 3
    assert result.type == pa.string()


# formats


@pytest.mark.parametrize(
    ("parameters", "value", "expected"),
    [
        ({}, "123-45-6789", "***-**-****"),
        ({"keep_last": 4}, "123-45-6789", "***-**-6789"),
        ({"keep_first": 2, "keep_last": 2}, "+41 44 668 18 00", "+4* ** *** ** 00"),
        ({}, "Zoë O'Neill", "*** *'*****"),
        ({"keep_first": 1}, "e\u0301clair", "e******"),
        ({"keep_last": 2, "mark": "\\"}, "a-bcd", "\\-\\cd"),
        ({"keep_last": 4}, "1-23", "****"),
        ({}, "", ""),
        ({}, "--", "--"),
        ({}, None, None),
    ],
)
def test_keep_format(parameters: dict[str, Any], value: str | None, expected: str | None) -> None:
    assert redacted(value, redacting(keep_format=True, **parameters)) == expected


@pytest.mark.parametrize(
    ("parameters", "value", "expected"),
    [
        ({"keep_last": 4}, "123-45-6789", "***-**-6789"),  # 5 of 9 digits
        ({"keep_last": 5}, "123-45-6789", "***-**-6789"),  # a dash is no digit
        ({"keep_last": 6}, "123-45-6789", "***********"),  # 4 of 9
        ({"keep_last": 4}, "12-34", "*****"),
        ({}, "--", "**"),
        ({}, "a@b.c", "*****"),  # 3 letters
        ({}, "ab@cd.ch", "**@**.**"),
    ],
)
def test_keep_format_of_a_restricted_column(parameters: dict[str, Any], value: str, expected: str) -> None:
    assert redacted(value, redacting("restricted", keep_format=True, **parameters)) == expected


@pytest.mark.parametrize(
    ("to", "expected"),
    [("month", "1987-02"), ("quarter", "1987-Q1"), ("year", 1987), ("decade", 1980)],
)
@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us")])
def test_parts_of_a_date(kind: Any, to: str, expected: Any) -> None:
    column = pa.array([datetime.date(1987, 2, 28), None]).cast(kind)
    rule = generalizing("date" if kind == pa.date32() else "timestamp", to=to)

    assert generalize(column, rule).to_pylist() == [expected, None]
