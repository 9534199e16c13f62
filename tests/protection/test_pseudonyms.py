"""Pseudonyms against ``cryptography``; shifted dates against their promises."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import FormatError
from airflow_secure_provider.model import ColumnRule
from airflow_secure_provider.protection.pseudonyms import DateShifter, Pseudonymizer

KEYSET = Keyset("crm", "local", "local:test", 2, {1: bytes(range(64)), 2: bytes(range(100, 164))})
VALUES = ["ana@example.com", None, "", "ü" * 40, "ana@example.com"]


def pseudonymize(**options: Any) -> ColumnRule:
    return column_rule("email", "restricted", {"method": "pseudonymize", **options}, contract_id="c")


def shift(**options: Any) -> ColumnRule:
    given = {"method": "shift_date", "subject": "patient", **options}
    return column_rule("admitted", "confidential", given, contract_id="c", logical_type="date")


def test_cmac_of_the_value() -> None:
    given = Pseudonymizer(pseudonymize(domain="person"), KEYSET).protect(pa.array(VALUES)).to_pylist()

    def reference(value: str) -> bytes:
        mac = CMAC(algorithms.AES(KEYSET.derive(2, "person", "pseudonymize")[:32]))
        mac.update(value.encode())
        return mac.finalize()

    assert given == [None if value is None else reference(value) for value in VALUES]


def test_hmac_of_the_value() -> None:
    rule = pseudonymize(domain="person", algorithm="hmac-sha256")
    given = Pseudonymizer(rule, KEYSET).protect(pa.array(VALUES)).to_pylist()

    key = KEYSET.derive(2, "person", "pseudonymize-hmac-sha256")
    assert given == [
        None if value is None else hmac.new(key, value.encode(), hashlib.sha256).digest() for value in VALUES
    ]


def test_equal_in_a_domain_and_not_across() -> None:
    def made(domain: str | None, version: int = 2) -> list[bytes]:
        rule = pseudonymize(domain=domain) if domain else pseudonymize()
        return Pseudonymizer(rule, KEYSET, version).protect(pa.array(["ana"])).to_pylist()  # type: ignore[no-any-return]

    assert made("a") == made("a")
    assert len({tuple(each) for each in (made("a"), made("b"), made(None), made("a", 1))}) == 4


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
def test_layouts(kind: Any) -> None:
    column = pa.array(VALUES).cast(pa.binary()) if kind == pa.binary() else pa.array(VALUES, kind)
    expected = Pseudonymizer(pseudonymize(), KEYSET).protect(pa.array(VALUES)).to_pylist()

    assert Pseudonymizer(pseudonymize(), KEYSET).protect(column).to_pylist() == expected
    assert (
        Pseudonymizer(pseudonymize(), KEYSET).protect(pa.array(VALUES).dictionary_encode()).to_pylist()
        == expected
    )


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_to_do(values: list[None]) -> None:
    assert Pseudonymizer(pseudonymize(), KEYSET).protect(pa.array(values, pa.string())).to_pylist() == values


def shifted(dates: list[Any], subjects: list[str | None], rule: ColumnRule, kind: Any = None) -> list[Any]:
    column = pa.array(dates, kind or pa.date32())
    return DateShifter(rule, KEYSET).protect(column, [pa.array(subjects, pa.string())]).to_pylist()  # type: ignore[no-any-return]


def test_one_shift_for_one_subject() -> None:
    day = datetime.date(2024, 2, 28)
    dates = [day, day + datetime.timedelta(10), day, None, day + datetime.timedelta(400)]
    moved = shifted(dates, ["ana", "ana", "bo", "bo", "ana"], shift())

    assert moved[1] - moved[0] == datetime.timedelta(10)
    assert moved[4] - moved[0] == datetime.timedelta(400)
    assert moved[3] is None
    assert moved[2] - day != moved[0] - day  # true of these two


def test_dates_of_a_subject_keep_their_intervals_across_columns() -> None:
    columns = {
        name: {"method": "shift_date", "subject": "patient", "type": "date"}
        for name in ("admitted", "discharged")
    }
    rules = {rule.name: rule for rule in from_columns({**columns, "patient": "drop"}, "t").rules}
    day = [datetime.date(2024, 1, 1)]

    assert shifted(day, ["ana"], rules["admitted"]) == shifted(day, ["ana"], rules["discharged"])


def test_every_shift_of_the_range_and_no_other() -> None:
    day = datetime.date(2024, 2, 28)
    moved = shifted([day] * 2_000, [str(number) for number in range(2_000)], shift(days=3))

    counts = {days: moved.count(day + datetime.timedelta(days)) for days in range(-3, 4)}
    assert sum(counts.values()) == 2_000
    assert min(counts.values()) > 200  # 286 each on average; the standard deviation is 16


def test_timestamps_move_by_whole_days() -> None:
    moment = datetime.datetime(2024, 2, 28, 13, 14, 15, 16)  # noqa: DTZ001
    (moved,) = shifted([moment], ["ana"], shift(), pa.timestamp("us"))
    (day,) = shifted([moment.date()], ["ana"], shift())

    assert moved == datetime.datetime.combine(day, moment.time())


def test_a_date_without_a_subject() -> None:
    with pytest.raises(
        FormatError, match=r"column 'admitted': 1 dates have no 'patient', by which they are shifted"
    ):
        shifted([datetime.date(2024, 1, 1), None], [None, None], shift())


def test_keys_and_domains_shift_otherwise() -> None:
    day = [datetime.date(2024, 1, 1)] * 50
    subjects = [str(number) for number in range(50)]

    assert shifted(day, subjects, shift()) != shifted(day, subjects, shift(domain="other"))
