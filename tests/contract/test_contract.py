"""A contract against a source's columns, and the short form in a DAG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from airflow_secure_provider.contract.contract import Contract, from_columns
from airflow_secure_provider.errors import ContractError
from airflow_secure_provider.model import Classification, ColumnRule, Protection

SOURCE = "s3://lake/customers.csv"


@pytest.fixture
def contract() -> Contract:
    return from_columns({"id": "none", "email": "tokenize", "notes": "drop"}, "crm.customers")


def test_inline_defaults(contract: Contract) -> None:
    assert contract.rules == (
        ColumnRule("id", Classification.INTERNAL, Protection.NONE),
        ColumnRule(
            "email", Classification.INTERNAL, Protection.TOKENIZE, domain="inline%3Acrm.customers/email"
        ),
        ColumnRule("notes", Classification.INTERNAL, Protection.DROP),
    )
    assert (contract.ref.id, contract.ref.version, contract.dataset) == (
        "inline:crm.customers",
        "inline",
        "crm.customers",
    )


def test_inline_options() -> None:
    columns = {
        "ssn": {"method": "encrypt", "classification": "restricted", "scope": "ssn"},
        "born": {"method": "generalize", "to": "year", "type": "date"},
    }

    ssn, born = from_columns(columns, "t").rules

    assert (ssn.classification, ssn.scope) == (Classification.RESTRICTED, "ssn")
    assert (born.logical_type, born.parameters) == ("date", {"to": "year"})
    assert columns["ssn"]["classification"] == "restricted"  # the author's mapping is left alone


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "contract columns= classifies no column"),
        ({"a": "drop", "b": "drop"}, "contract columns= drops every column; keep one at least"),
        ({"a": "tokenise"}, "columns=: column 'a': protection 'tokenise', expected one of"),
        (
            {"a": {"method": "none", "clasification": "public"}},
            "columns=: column 'a': unknown parameter 'clasification' of none",
        ),
        (
            {"a": {"method": "none", "classification": "top"}},
            "columns=: column 'a': classification 'top', expected one of",
        ),
        (
            {"a": {"method": "none", "type": "blob"}},
            "columns=: column 'a': logicalType 'blob' can't be loaded",
        ),
        ({"a": {"classification": "public"}}, "columns=: column 'a': protection needs a method"),
        (
            {"a": {"method": "none", "classification": "restricted"}},
            "contract columns=: column 'a' is restricted and has no protection; set one of encrypt, tokenize, fpe, pseudonymize, redact,",
        ),
        (
            {"a": {"method": "generalize", "prefix": 1, "classification": "restricted"}},
            "contract columns=: column 'a' is restricted and has protection generalize; set one of encrypt, tokenize",
        ),
    ],
    ids=[
        "none",
        "all-dropped",
        "method",
        "typo",
        "class",
        "type",
        "no-method",
        "restricted",
        "restricted-generalize",
    ],
)
def test_inline_refusals(columns: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match="^" + re.escape(message)):
        from_columns(columns, "t")


def test_every_weak_column_in_one_message() -> None:
    weak = {"method": "none", "classification": "restricted"}

    with pytest.raises(ContractError) as caught:
        from_columns({"ssn": weak, "id": "none", "card": weak}, "t")

    assert "column 'ssn' is restricted" in str(caught.value)
    assert "column 'card' is restricted" in str(caught.value)
    assert "'id'" not in str(caught.value)


def test_digest_is_of_the_meaning_of_the_document() -> None:
    columns = {"id": "none", "email": {"method": "tokenize", "domain": "d"}}
    digest = from_columns(columns, "t").ref.digest

    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert from_columns(dict(reversed(columns.items())), "t").ref.digest == digest
    assert from_columns({**columns, "id": "drop"}, "t").ref.digest != digest
    assert from_columns({**columns, "email": {"method": "tokenize", "domain": "e"}}, "t").ref.digest != digest
    assert from_columns(columns, "u").ref.digest != digest


# match


def test_rules_come_in_the_order_of_the_source(contract: Contract) -> None:
    assert [rule.name for rule in contract.match(["notes", "id", "email"], SOURCE)] == [
        "notes",
        "id",
        "email",
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["id", "email"], "column 'notes' of contract 'inline:crm.customers' is missing: add it to the source, or remove it from the contract"),
        (["id", "email", "notes", "phone"], "column 'phone' is not classified: add it to contract 'inline:crm.customers', or set extra_columns='drop'"),
        (["id", "email", "notes", "id"], "column 'id' stands twice in its header: rename or remove one"),
        (["ID", "email", "notes"], "column 'id' of contract 'inline:crm.customers' is missing: add it to the source, or remove it from the contract; column 'ID' is not classified: add it to contract 'inline:crm.customers', or set extra_columns='drop'"),
        ([], "column 'id', 'email', 'notes' of contract 'inline:crm.customers' is missing: add it to the source, or remove it from the contract"),
    ],
    ids=["missing", "extra", "twice", "case", "nothing"],
)  # fmt: skip
def test_columns_that_do_not_match(contract: Contract, columns: list[str], message: str) -> None:
    with pytest.raises(ContractError) as caught:
        contract.match(columns, SOURCE)

    assert str(caught.value) == f"{SOURCE}: {message}"


@pytest.mark.parametrize("extra_columns", ["refuse", "drop"])
def test_a_first_record_of_values_is_not_told(contract: Contract, extra_columns: str) -> None:
    """A CSV without a header: what would be quoted as names of columns are somebody's data."""
    with pytest.raises(ContractError) as caught:
        contract.match(["7", "ana@example.com", "ana@example.com"], SOURCE, extra_columns=extra_columns)
    assert "ana" not in str(caught.value)
    assert str(caught.value).startswith(
        f"{SOURCE}: none of the 3 names in its header is a column of contract 'inline:crm.customers', "
        "which has 'id', 'email', 'notes'; "
    )


def test_names_in_another_case_are_names(contract: Contract) -> None:
    with pytest.raises(ContractError, match="column 'ID', 'Email' is not classified"):
        contract.match(["ID", "Email"], SOURCE)


def test_everything_that_is_off_in_one_message(contract: Contract) -> None:
    with pytest.raises(ContractError) as caught:
        contract.match(["id", "id", "phone", "phone", "fax"], SOURCE)

    assert str(caught.value) == (
        f"{SOURCE}: column 'id', 'phone' stands twice in its header: rename or remove one; "
        "column 'email', 'notes' of contract 'inline:crm.customers' is missing: add it to the source, or remove it "
        "from the contract; column 'phone', 'fax' is not classified: add it to contract "
        "'inline:crm.customers', or set extra_columns='drop'"
    )


def test_dropped_extra_columns_count_as_restricted(contract: Contract) -> None:
    rules = contract.match(["phone", "id", "email", "notes"], SOURCE, extra_columns="drop")

    assert rules[0] == ColumnRule("phone", Classification.RESTRICTED, Protection.DROP)
    assert [rule.name for rule in rules] == ["phone", "id", "email", "notes"]


@pytest.mark.parametrize(
    "columns", [["id", "email", "x"], ["id", "email", "notes", "x", "x"]], ids=["missing", "twice"]
)
def test_dropping_extra_columns_waives_nothing_else(contract: Contract, columns: list[str]) -> None:
    with pytest.raises(ContractError, match=r"is missing|stands twice"):
        contract.match(columns, SOURCE, extra_columns="drop")


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"a": {"method": "encrypt", "bind_to": "x"}}, "column 'a' names column 'x', which must be another of the contract"),
        ({"a": {"method": "encrypt", "bind_to": "a"}}, "column 'a' names column 'a', which must be another"),
        ({"a": {"method": "encrypt", "bind_to": "b"}, "b": "tokenize"}, "column 'a' is bound to column 'b', which is tokenize"),
        ({"a": {"method": "encrypt", "bind_to": "b"}, "b": {"method": "none", "type": "number"}}, "column 'a' names column 'b', a number"),
        ({"a": {"method": "shift_date", "subject": "x", "type": "date"}}, "column 'a' names column 'x'"),
    ],
)  # fmt: skip
def test_columns_beside(columns: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContractError, match=problem):
        from_columns(columns, "t")


def test_a_subject_may_be_dropped() -> None:
    made = from_columns({"a": {"method": "shift_date", "subject": "b", "type": "date"}, "b": "drop"}, "t")
    assert [(rule.protection, rule.beside) for rule in made.rules] == [("shift_date", ("b",)), ("drop", ())]
