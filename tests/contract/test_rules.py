"""What an author may write about one column, and what is said to the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_secure_provider.contract.rules import LOGICAL_TYPES, column_rule
from airflow_secure_provider.errors import ContractError
from airflow_secure_provider.model import Classification, ColumnRule, Protection


def rule(protection: Any, classification: str = "internal", **options: Any) -> ColumnRule:
    return column_rule("email", classification, protection, contract_id="c1", where="contract f, ", **options)


def generalize(logical_type: str = "string", **parameters: Any) -> ColumnRule:
    return rule({"method": "generalize", **parameters}, logical_type=logical_type)


@pytest.mark.parametrize(
    ("protection", "expected"),
    [
        ("none", ColumnRule("email", Classification.INTERNAL, Protection.NONE)),
        ("tokenize", ColumnRule("email", Classification.INTERNAL, Protection.TOKENIZE, domain="c1/email")),
        (
            {"method": "tokenize", "domain": "person.email"},
            ColumnRule("email", Classification.INTERNAL, Protection.TOKENIZE, domain="person.email"),
        ),
        (
            "encrypt",
            ColumnRule(
                "email", Classification.INTERNAL, Protection.ENCRYPT, domain="c1/email", scope="c1/email"
            ),
        ),
        (
            {"method": "encrypt", "domain": "d", "scope": "s"},
            ColumnRule("email", Classification.INTERNAL, Protection.ENCRYPT, domain="d", scope="s"),
        ),
        ("nullify", ColumnRule("email", Classification.INTERNAL, Protection.NULLIFY)),
        ("drop", ColumnRule("email", Classification.INTERNAL, Protection.DROP)),
    ],
    ids=["none", "tokenize", "domain", "encrypt", "domain-scope", "nullify", "drop"],
)
def test_rules(protection: Any, expected: ColumnRule) -> None:
    assert rule(protection) == expected


def test_default_domains_of_different_columns_differ_whatever_their_names() -> None:
    pairs = [("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c"), ("a", "b%2Fc"), ("é", "ü"), ("a b", "c")]

    domains = {column_rule(name, "internal", "tokenize", contract_id=cid).domain for cid, name in pairs}

    assert len(domains) == len(pairs)
    assert all(domain is not None and domain.count("/") == 1 for domain in domains)


@pytest.mark.parametrize("key", ["domain", "scope"])
@pytest.mark.parametrize("value", ["", "c1/email", "/", 5, ["a"], True], ids=str)
def test_a_domain_or_scope_must_be_a_name(key: str, value: Any) -> None:
    with pytest.raises(ContractError) as caught:
        rule({"method": "encrypt", key: value})

    assert str(caught.value) == (
        f"contract f, column 'email': {key} must be a non-empty text without '/' (which marks the default ones)"
    )


@pytest.mark.parametrize("classification", ["secret", "", "Public", "INTERNAL", None, 3, ["public"]], ids=str)
def test_unknown_classification(classification: Any) -> None:
    with pytest.raises(ContractError) as caught:
        rule("none", classification)

    assert str(caught.value) == (
        f"contract f, column 'email': classification {classification!r}, expected one of public, internal, "
        "confidential, restricted"
    )


@pytest.mark.parametrize("logical_type", ["object", "array", "map", "String", ""], ids=str)
def test_logical_type_that_cannot_be_loaded(logical_type: str) -> None:
    with pytest.raises(
        ContractError, match=f"column 'email': logicalType '{logical_type}' can't be loaded, expected one"
    ):
        rule("encrypt", logical_type=logical_type)


@pytest.mark.parametrize("logical_type", ["object", "array"])
@pytest.mark.parametrize("protection", ["none", "drop", "nullify"])
def test_nested_values_go_as_they_are_or_not_at_all(logical_type: str, protection: str) -> None:
    assert rule(protection, logical_type=logical_type).logical_type == "string"


@pytest.mark.parametrize("logical_type", LOGICAL_TYPES)
def test_logical_types(logical_type: str) -> None:
    assert rule("tokenize", logical_type=logical_type).logical_type == logical_type


@pytest.mark.parametrize("method", ["hash", "md5", "sha1", "sha256", "sha-256", "sha512"])
def test_unkeyed_hash(method: str) -> None:
    with pytest.raises(
        ContractError,
        match="column 'email': an unkeyed hash of personal data is undone by trying all values; take pseudonymize, which is keyed",
    ):
        rule(method)


@pytest.mark.parametrize("method", ["tokenise", "Tokenize", "", "mask", "null"])
def test_unknown_method(method: str) -> None:
    with pytest.raises(
        ContractError,
        match=f"column 'email': protection '{method}', expected one of none, encrypt, tokenize, fpe, pseudonymize, shift_date, noise, round, redact, generalize, "
        "nullify, drop",
    ):
        rule(method)


@pytest.mark.parametrize(
    "protection",
    [
        None,
        3,
        True,
        ["tokenize"],
        {},
        {"domain": "d"},
        {"method": None},
        {"method": ["tokenize"]},
        {"method": {}},
    ],
    ids=[
        "null",
        "number",
        "true",
        "list",
        "empty",
        "no-method",
        "null-method",
        "list-method",
        "mapping-method",
    ],
)
def test_no_method(protection: Any) -> None:
    with pytest.raises(
        ContractError, match="column 'email': protection needs a method, one of none, encrypt, tokenize"
    ):
        rule(protection)


@pytest.mark.parametrize(
    ("protection", "message"),
    [
        ({"method": "tokenize", "scope": "s"}, "unknown parameter 'scope' of tokenize; it takes domain"),
        ({"method": "tokenize", "domian": "s"}, "unknown parameter 'domian' of tokenize; it takes domain"),
        (
            {"method": "encrypt", "bind": "id"},
            "unknown parameter 'bind' of encrypt; it takes bind_to, domain, scope",
        ),
        ({"method": "none", "domain": "d"}, "unknown parameter 'domain' of none; it takes no parameters"),
        ({"method": "nullify", "x": 1}, "unknown parameter 'x' of nullify; it takes no parameters"),
        ({"method": "drop", "x": 1}, "unknown parameter 'x' of drop; it takes no parameters"),
        (
            {"method": "redact", "keep": 1},
            "unknown parameter 'keep' of redact; it takes keep_first, keep_format, keep_last, mark",
        ),
        (
            {"method": "generalize", "year": 1},
            "unknown parameter 'year' of generalize; it takes bins, prefix, to",
        ),
        ({"method": "tokenize", 1: "x", "y": 2}, "unknown parameter '1' of tokenize; it takes domain"),
    ],
    ids=["scope", "typo", "bind", "none", "nullify", "drop", "redact", "generalize", "number"],
)
def test_unknown_parameter(protection: dict[Any, Any], message: str) -> None:
    with pytest.raises(ContractError) as caught:
        rule(protection)

    assert str(caught.value) == f"contract f, column 'email': {message}"


def test_required_and_nullified() -> None:
    assert rule("nullify").protection is Protection.NULLIFY
    with pytest.raises(
        ContractError,
        match="column 'email' is required and would be nullified; choose drop, redact or encrypt",
    ):
        rule("nullify", required=True)


# redact


@pytest.mark.parametrize(
    ("parameters", "classification", "expected"),
    [
        (
            {},
            "internal",
            {"keep_first": 0, "keep_last": 0, "keep_format": False, "mark": "*", "hide_half": False},
        ),
        (
            {"keep_last": 4},
            "confidential",
            {"keep_first": 0, "keep_last": 4, "keep_format": False, "mark": "*", "hide_half": False},
        ),
        (
            {"keep_first": 1, "mark": "•"},
            "restricted",
            {"keep_first": 1, "keep_last": 0, "keep_format": False, "mark": "•", "hide_half": True},
        ),
    ],
    ids=["default", "confidential", "restricted"],
)
def test_redact(parameters: dict[str, Any], classification: str, expected: dict[str, Any]) -> None:
    assert rule({"method": "redact", **parameters}, classification).parameters == expected


@pytest.mark.parametrize("key", ["keep_first", "keep_last"])
@pytest.mark.parametrize("value", [-1, 1.5, "4", None, True], ids=str)
def test_redact_keeps_a_number_of_characters(key: str, value: Any) -> None:
    with pytest.raises(
        ContractError, match=f"column 'email': redact {key} must be a number of characters from 0"
    ):
        rule({"method": "redact", key: value})


@pytest.mark.parametrize("mark", ["", "**", 5, None, ["*"]], ids=str)
def test_redact_mark_is_one_character(mark: Any) -> None:
    with pytest.raises(ContractError, match="column 'email': redact mark must be one character"):
        rule({"method": "redact", "mark": mark})


# generalize


@pytest.mark.parametrize(
    ("logical_type", "parameters", "expected"),
    [
        ("date", {"to": "year"}, {"to": "year"}),
        ("timestamp", {"to": "year"}, {"to": "year"}),
        ("date", {"to": "month"}, {"to": "month"}),
        ("date", {"to": "quarter"}, {"to": "quarter"}),
        ("timestamp", {"to": "decade"}, {"to": "decade"}),
        ("integer", {"bins": [0, 10]}, {"bins": (0, 10)}),
        ("number", {"bins": [-1.5, 0, 2.5]}, {"bins": (-1.5, 0, 2.5)}),
        ("string", {"prefix": 2}, {"prefix": 2}),
        ("string", {"prefix": 0}, {"prefix": 0}),
    ],
    ids=["date", "timestamp", "month", "quarter", "decade", "integer", "number", "prefix", "no-prefix"],
)
def test_generalize(logical_type: str, parameters: dict[str, Any], expected: dict[str, Any]) -> None:
    assert generalize(logical_type, **parameters).parameters == expected


@pytest.mark.parametrize(
    "parameters",
    [{}, {"to": "year", "prefix": 1}, {"bins": [1, 2], "prefix": 1}],
    ids=["none", "to-prefix", "bins-prefix"],
)
def test_generalize_takes_exactly_one_way(parameters: dict[str, Any]) -> None:
    with pytest.raises(
        ContractError,
        match=r"column 'email': generalize takes exactly one of to: month\|quarter\|year\|decade \(dates\), bins",
    ):
        generalize("date", **parameters)


@pytest.mark.parametrize(
    ("logical_type", "to"),
    [
        ("string", "year"),
        ("time", "year"),
        ("integer", "year"),
        ("date", "week"),
        ("date", "Year"),
        ("date", None),
    ],
)
def test_generalize_to_anything_but_a_part_of_a_date(logical_type: str, to: Any) -> None:
    with pytest.raises(
        ContractError,
        match=f"column 'email': generalize to {to!r} of a {logical_type}; expected one of month, quarter, year, decade, of a date or timestamp",
    ):
        generalize(logical_type, to=to)


@pytest.mark.parametrize(
    ("logical_type", "bins"),
    [
        ("integer", []), ("integer", [1]), ("integer", [2, 1]), ("integer", [1, 1]), ("integer", ["1", "2"]),
        ("integer", [False, True]), ("integer", 5), ("integer", None), ("integer", {1: 2}), ("integer", "12"),
        ("string", [1, 2]), ("date", [1, 2]),
    ],
)  # fmt: skip
def test_bins_must_ascend(logical_type: str, bins: Any) -> None:
    with pytest.raises(
        ContractError,
        match="column 'email': generalize bins must be two or more ascending numbers, of an integer or number",
    ):
        generalize(logical_type, bins=bins)


@pytest.mark.parametrize(
    ("logical_type", "prefix"),
    [
        ("string", -1),
        ("string", "2"),
        ("string", 1.0),
        ("string", True),
        ("string", None),
        ("integer", 2),
        ("date", 4),
    ],
)
def test_prefix_is_a_number_of_characters_of_a_string(logical_type: str, prefix: Any) -> None:
    with pytest.raises(
        ContractError,
        match="column 'email': generalize prefix must be a number of characters from 0 to 1,000,000, of a string",
    ):
        generalize(logical_type, prefix=prefix)


# fpe, pseudonymize, shift_date, bind_to


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fpe", {"alphabet": "digits", "on_unfit": "refuse"}),
        (
            {"method": "fpe", "alphabet": "abc", "on_unfit": "redact"},
            {"alphabet": "abc", "on_unfit": "redact"},
        ),
        ("pseudonymize", {"algorithm": "aes-cmac"}),
        ({"method": "pseudonymize", "algorithm": "hmac-sha256"}, {"algorithm": "hmac-sha256"}),
        ({"method": "encrypt", "bind_to": "id"}, {"bind_to": ("id",)}),
        ({"method": "encrypt", "bind_to": ["id", "day"]}, {"bind_to": ("id", "day")}),
    ],
)
def test_keyed_parameters(given: Any, expected: dict[str, Any]) -> None:
    made = rule(given)

    assert made.parameters == expected
    assert made.domain


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"method": "fpe", "alphabet": "a"}, "fpe alphabet: an alphabet has 2 to 65,536 characters, got 1"),
        ({"method": "fpe", "alphabet": 10}, "fpe alphabet: expected digits, alphanumeric or the characters in order"),
        ({"method": "fpe", "alphabet": "ab~"}, "fpe alphabet: '~' is reserved"),
        ({"method": "fpe", "alphabet": "*#", "on_unfit": "redact"}, "fpe with on_unfit redact writes '*' for what is unfit, so it can't be in the alphabet"),
        ({"method": "fpe", "alphabet": "ab\ud800"}, "fpe alphabet: half of a surrogate pair is no character"),
        ({"method": "fpe", "on_unfit": "drop"}, "fpe on_unfit 'drop', expected one of refuse, redact, encrypt"),
        ({"method": "pseudonymize", "algorithm": "sha256"}, "pseudonymize algorithm 'sha256', expected one of aes-cmac, hmac-sha256"),
        ({"method": "encrypt", "bind_to": []}, "bind_to must be a column's name, or a list of different ones"),
        ({"method": "encrypt", "bind_to": ["a", "a"]}, "bind_to must be"),
        ({"method": "encrypt", "bind_to": 7}, "bind_to must be"),
        ({"method": "tokenize", "bind_to": "id"}, "unknown parameter 'bind_to' of tokenize"),
        ({"method": "shift_date", "subject": "id"}, "shift_date of a string; expected a date or timestamp"),
    ],
)  # fmt: skip
def test_keyed_parameters_that_are_wrong(given: Any, problem: str) -> None:
    with pytest.raises(ContractError, match=f"column 'email': {re.escape(problem)}"):
        rule(given)


def test_shift_date() -> None:
    made = rule({"method": "shift_date", "subject": "patient", "days": 10}, logical_type="date")

    assert made.parameters == {"subject": "patient", "days": 10}
    assert (
        made.domain == rule({"method": "shift_date", "subject": "patient"}, logical_type="timestamp").domain
    )
    assert made.domain != rule({"method": "shift_date", "subject": "other"}, logical_type="date").domain


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "shift_date needs subject: the column that says whose date it is"),
        ({"subject": "id", "days": 0}, "shift_date days must be a number from 1 to 36,500"),
        ({"subject": "id", "days": 40_000}, "shift_date days must be"),
        ({"subject": "id", "days": "7"}, "shift_date days must be"),
    ],
)
def test_shift_date_that_is_wrong(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContractError, match=f"column 'email': {re.escape(problem)}"):
        rule({"method": "shift_date", **given}, logical_type="date")


# round, noise


def test_round_and_noise() -> None:
    assert rule({"method": "round", "to": 100.0}, logical_type="integer").parameters == {"to": 100}
    assert rule({"method": "round", "to": 0.05}, logical_type="number").parameters == {"to": 0.05}
    made = rule({"method": "noise", "scale": 250, "subject": "id"}, logical_type="integer")
    assert made.parameters == {"subject": "id", "scale": 250, "to": 10}
    assert made.beside == ("id",)
    assert made.domain


@pytest.mark.parametrize(
    ("given", "logical_type", "problem"),
    [
        ({"method": "round"}, "integer", "round to None, expected a whole number above 0"),
        ({"method": "round", "to": 0}, "number", "round to 0, expected a number of at most 9 decimals, above 0"),
        ({"method": "round", "to": 0.5}, "integer", "round to 0.5, expected a whole number"),
        ({"method": "round", "to": True}, "number", "round to True, expected a number"),
        ({"method": "round", "to": 1e-10}, "number", "round to 1e-10, expected a number of at most 9 decimals"),
        ({"method": "round", "to": float("nan")}, "number", "round to nan, expected a number"),
        ({"method": "round", "to": 10}, "string", "round of a string; expected an integer or number"),
        ({"method": "round", "to": 10, "digits": 2}, "number", "unknown parameter 'digits' of round; it takes to"),
        ({"method": "noise", "scale": 5}, "number", "noise needs subject: the column that says whose number it is"),
        ({"method": "noise", "subject": "id"}, "number", "noise needs scale, a number above 0"),
        ({"method": "noise", "subject": "id", "scale": float("inf")}, "number", "noise needs scale"),
        ({"method": "noise", "subject": "id", "scale": 0}, "number", "noise needs scale"),
        ({"method": "noise", "subject": "id", "scale": 1e9, "to": 1e-9}, "number", "noise of scale 1e+09 with 9 decimals is more than can be calculated exactly"),
        ({"method": "noise", "subject": "id", "scale": 5}, "date", "noise of a date; expected an integer or number"),
    ],
)  # fmt: skip
def test_round_and_noise_that_are_wrong(given: dict[str, Any], logical_type: str, problem: str) -> None:
    with pytest.raises(ContractError, match=f"column 'email': {re.escape(problem)}"):
        rule(given, logical_type=logical_type)
