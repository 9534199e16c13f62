"""What happens to each column, decided before the first row."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import ConfigurationError, ContractError, DecryptionError, FormatError
from airflow_secure_provider.model import ColumnRule, ColumnStatus, Protection
from airflow_secure_provider.protection.formatted import FormatCipher
from airflow_secure_provider.protection.plan import ColumnStep, fit, plain_parameters, plan
from airflow_secure_provider.protection.reversible import ColumnCipher

from .said import everything_said

CANARY = "canary-7f3a91c2"


def keyset(name: str) -> Keyset:
    return Keyset(
        name, "local", "local:test", 2, {n: hashlib.sha512(f"{name}{n}".encode()).digest() for n in (1, 2)}
    )


CRM, ANALYTICS = keyset("crm"), keyset("analytics")


def rule(protection: Any, logical_type: str = "string", **options: Any) -> ColumnRule:
    return column_rule(
        "email", "confidential", protection, contract_id="c1", logical_type=logical_type, **options
    )


def state(of: ColumnRule, version: int = 2) -> ColumnStatus:
    """How a column that was loaded by a rule is recorded."""
    keyed = of.protection.keyed
    return ColumnStatus(
        of.name, of.classification, of.protection, domain=of.domain, scope=of.scope,
        keyset_id="crm" if keyed else None, key_version=version if keyed else None,
        parameters=plain_parameters(of.parameters),
    )  # fmt: skip


def only(given: ColumnRule, source: ColumnStatus | None = None, **keysets: Any) -> ColumnStep:
    states = {given.name: source} if source else None
    (step,) = plan([given], keysets.get("keyset"), states, keysets.get("reveal_with"))
    return step


def applied(step: ColumnStep, values: list[Any], kind: Any = None) -> list[Any]:
    result: list[Any] = apply(step, pa.array(values, kind or pa.string())).to_pylist()
    return result


def apply(step: ColumnStep, column: Any, first_record: int = 1, where: str = "w", **beside: list[Any]) -> Any:
    batch = pa.RecordBatch.from_arrays(
        [column, *(pa.array(values) for values in beside.values())], [step.rule.name, *beside]
    )
    return step.apply(batch, first_record=first_record, where=where)


# from plaintext


def test_dropped_columns_have_no_step() -> None:
    rules = from_columns({"id": "none", "notes": "drop", "email": "tokenize"}, "t").rules

    assert [step.rule.name for step in plan(rules, CRM)] == ["id", "email"]


@pytest.mark.parametrize("protection", ["tokenize", "encrypt"])
def test_no_keyset(protection: str) -> None:
    with pytest.raises(
        ConfigurationError,
        match=f"column 'email' has protection {protection} and there is no keyset; set keyset=",
    ):
        plan([rule(protection)], None)


@pytest.mark.parametrize(
    "protection", ["none", "nullify", "redact", {"method": "generalize", "prefix": 1}], ids=str
)
def test_no_keyset_needed(protection: Any) -> None:
    assert only(rule(protection)).key == (None, None)


@pytest.mark.parametrize(
    ("given", "values", "expected"),
    [
        (rule("none"), ["a", None, ""], ["a", None, ""]),
        (rule("nullify"), ["a", None, ""], [None, None, None]),
        (rule({"method": "redact", "keep_last": 1}), ["abc", None, ""], ["**c", None, ""]),
        (rule("redact", "date"), ["1987-12-31", None], ["**********", None]),
        (rule({"method": "generalize", "to": "year"}, "date"), ["1987-12-31", None], [1987, None]),
        (rule({"method": "generalize", "bins": [0, 5]}, "integer"), ["3", None, "9"], ["[0,5)", None, ">=5"]),
        (rule({"method": "generalize", "prefix": 2}), ["10115", None, ""], ["10", None, ""]),
    ],
    ids=["none", "nullify", "redact", "redact-date", "year", "bins", "prefix"],
)
def test_unkeyed_steps(given: ColumnRule, values: list[Any], expected: list[Any]) -> None:
    assert applied(only(given), values) == expected


@pytest.mark.parametrize("protection", ["tokenize", "encrypt"])
@pytest.mark.parametrize(
    ("logical_type", "written", "revealed"),
    [
        ("string", "Ada ", "Ada "),
        ("date", "1987-12-31", "1987-12-31"),
        ("integer", "007", "7"),
        ("integer", "7", "7"),
        ("number", "1.00", "1.00"),
        ("boolean", "TRUE", "true"),
        ("time", "23:59:58", "23:59:58.000000"),
    ],
    ids=["string", "date", "padded", "integer", "number", "boolean", "time"],
)
def test_typed_values_are_protected_in_their_canonical_text(
    logical_type: str, written: str, revealed: str, protection: str
) -> None:
    given = rule(protection, logical_type)
    step = only(given, keyset=CRM)

    cells = apply(step, pa.array([written, None]))

    assert step.key == ("crm", 2)
    assert ColumnCipher(given, CRM).reveal(cells).to_pylist() == [revealed, None]


@pytest.mark.parametrize(
    ("logical_type", "what"),
    [
        ("date", "a date (YYYY-MM-DD)"),
        ("timestamp", "a timestamp (YYYY-MM-DD hh:mm:ss)"),
        ("time", "a time (hh:mm:ss)"),
        ("integer", "a whole number"),
        ("number", "a number"),
        ("boolean", "true or false"),
    ],
)
@pytest.mark.parametrize("protection", ["tokenize", "encrypt", "redact"])
def test_values_of_another_type_are_refused_before_they_are_hidden(
    protection: str, logical_type: str, what: str
) -> None:
    step = only(rule(protection, logical_type), keyset=CRM)

    with pytest.raises(FormatError) as caught:
        apply(step, pa.array([None, CANARY]), first_record=101, where="s3://lake/c.csv")

    assert str(caught.value) == (
        f"s3://lake/c.csv: column 'email', record 102: the value is not {what}; correct it in the source"
    )
    assert CANARY not in everything_said(caught.value)


@pytest.mark.parametrize("protection", ["none", "tokenize", "encrypt", "redact"])
def test_required_columns_have_values(protection: str) -> None:
    step = only(rule(protection, required=True), keyset=CRM)
    assert len(applied(step, ["a", ""])) == 2

    with pytest.raises(FormatError, match="column 'email' is required and record 12 has no value"):
        apply(step, pa.array(["a", None]), first_record=11)


# from protected columns


TOKEN, CELL = rule("tokenize"), rule("encrypt")
MASK = rule({"method": "redact", "keep_last": 2})
BINS = rule({"method": "generalize", "bins": [1, 2]}, "integer")


PSEUDONYM = rule("pseudonymize")


@pytest.mark.parametrize(
    "given", [TOKEN, CELL, PSEUDONYM, MASK, BINS], ids=["token", "cell", "pseudonym", "redacted", "bins"]
)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_column_protected_as_its_rule_wants_passes_unchanged(given: ColumnRule, as_text: bool) -> None:
    step = only(given, state(given))
    values = only(given, keyset=CRM).apply(
        pa.RecordBatch.from_arrays([pa.array(["1.5", None, "2"])], ["email"]), first_record=1, where="w"
    ) if given is not BINS else pa.array(["[1, 2)", None, "[2, ∞)"])  # fmt: skip
    values = fit(values, text_target=as_text)

    assert step.passes
    assert step.key == (("crm", 2) if given.protection.keyed else (None, None))
    assert apply(step, values).equals(values)


@pytest.mark.parametrize("given", [TOKEN, CELL, PSEUDONYM], ids=["token", "cell", "pseudonym"])
@pytest.mark.parametrize("value", [CANARY, "", "YWJj", f"\\x{CANARY}"])
def test_what_is_recorded_as_ciphertext_and_is_none_does_not_pass(given: ColumnRule, value: str) -> None:
    step = only(given, state(given))
    with pytest.raises(
        FormatError, match=rf"'email' is recorded as {given.protection}, and behind record 10 "
    ) as caught:
        apply(step, pa.array([None, value]), first_record=11)
    assert CANARY not in everything_said(caught.value)


def test_a_token_of_another_version_or_a_cell_of_another_kind_does_not_pass() -> None:
    made = ColumnCipher(TOKEN, CRM, 1).protect(pa.array(["a", "b"]))
    with pytest.raises(FormatError, match="2 of 2 tokens are not under key version 2"):
        apply(only(TOKEN, state(TOKEN)), made)
    with pytest.raises(FormatError, match="2 of 2 values are not encrypted cells"):
        apply(only(CELL, state(CELL)), ColumnCipher(TOKEN, CRM).protect(pa.array(["a" * 40, "b" * 40])))


def test_cells_of_several_versions_pass_where_they_are_encrypted() -> None:
    made = pa.concat_arrays([ColumnCipher(CELL, CRM, n).protect(pa.array(["a"])) for n in (1, 2)])
    assert apply(only(CELL, state(CELL)), made).equals(made)


@pytest.mark.parametrize(
    ("was", "wanted"),
    [
        (MASK, rule("redact")),
        (MASK, rule({"method": "redact", "keep_last": 2, "mark": "#"})),
        (MASK, TOKEN),
        (MASK, rule("none")),
        (BINS, rule({"method": "generalize", "bins": [1, 3]}, "integer")),
        (BINS, CELL),
    ],
    ids=["less-kept", "mark", "tokenize", "none", "bins", "encrypt"],
)
def test_what_nothing_undoes(was: ColumnRule, wanted: ColumnRule) -> None:
    with pytest.raises(ContractError) as caught:
        only(wanted, state(was), keyset=ANALYTICS, reveal_with=CRM)

    assert str(caught.value) == (
        f"column 'email' of the source is {was.protection} already, which nothing undoes; its rule wants "
        f"{wanted.protection}: give it the same rule as in the source, or drop it"
    )


@pytest.mark.parametrize(
    ("was", "wanted"),
    [
        (TOKEN, rule({"method": "tokenize", "domain": "other"})),
        (TOKEN, CELL),
        (TOKEN, rule("none")),
        (CELL, rule({"method": "encrypt", "scope": "other"})),
        (CELL, rule({"method": "generalize", "to": "year"}, "date")),
    ],
    ids=["domain", "encrypt", "none", "scope", "year"],
)
def test_ciphertext_needs_a_keyset_that_may_reveal_it(was: ColumnRule, wanted: ColumnRule) -> None:
    with pytest.raises(ContractError) as caught:
        only(wanted, state(was), keyset=ANALYTICS)

    assert str(caught.value) == (
        f"column 'email' of the source holds ciphertext ({was.protection}), and its rule wants {wanted.protection}: "
        "name the keyset that may reveal it in reveal_with=, or give it the source's domain"
    )


def test_a_keyset_to_protect_with_reveals_nothing() -> None:
    with pytest.raises(ContractError, match="reveal_with="):
        only(rule("none"), state(CELL), keyset=CRM)


@pytest.mark.parametrize("was", [TOKEN, CELL], ids=["token", "cell"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (rule("none"), ["1987-12-31", None]),
        (rule({"method": "generalize", "to": "year"}, "date"), [1987, None]),
        (rule({"method": "redact", "keep_first": 4}), ["1987******", None]),
    ],
    ids=["none", "year", "redact"],
)
@pytest.mark.parametrize("version", [1, 2])
def test_revealed_and_protected_anew(
    was: ColumnRule, wanted: ColumnRule, expected: list[Any], version: int
) -> None:
    cells = ColumnCipher(was, CRM, version).protect(pa.array(["1987-12-31", None]))
    step = only(wanted, state(was, version), reveal_with=CRM)

    assert apply(step, cells).to_pylist() == expected
    assert step.key == (None, None)


def test_revealed_and_tokenized_under_another_keyset() -> None:
    other = replace(TOKEN, domain="analytics.email")
    cells = ColumnCipher(TOKEN, CRM).protect(pa.array(["a", None]))
    step = only(other, state(TOKEN), keyset=ANALYTICS, reveal_with=CRM)

    assert step.key == ("analytics", 2)
    assert apply(step, cells).equals(ColumnCipher(other, ANALYTICS).protect(pa.array(["a", None])))


def test_revealed_columns_need_a_keyset_to_be_protected_again() -> None:
    with pytest.raises(ConfigurationError, match="there is no keyset; set keyset="):
        only(CELL, state(TOKEN), reveal_with=CRM)


@pytest.mark.parametrize("was", [TOKEN, CELL, MASK], ids=["token", "cell", "redacted"])
def test_any_column_can_be_nullified_or_dropped_unrevealed(was: ColumnRule) -> None:
    step = only(rule("nullify"), state(was))

    assert step.revealer is None
    assert applied(step, [b"\x01", None], pa.binary()) == [None, None]
    assert plan([rule("drop")], None, {"email": state(was)}) == ()


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.NULLIFY])
def test_a_plain_or_empty_source_column_is_protected_as_plaintext(protection: Protection) -> None:
    step = only(TOKEN, ColumnStatus("email", None, protection), keyset=CRM)

    assert not step.passes
    assert step.revealer is None
    assert applied(step, ["a"]) == ColumnCipher(TOKEN, CRM).protect(pa.array(["a"])).to_pylist()


def test_steps_print_no_key() -> None:
    said = repr(only(TOKEN, state(CELL), keyset=ANALYTICS, reveal_with=CRM))

    assert "ColumnCipher" not in said
    assert re.search(r"[0-9a-f]{32}|\\x", said) is None


# fit


def test_cells_fit_their_target() -> None:
    cells, text, numbers = pa.array([b"\x01\x02", None, b""]), pa.array(["a"]), pa.array([1])

    assert fit(cells, text_target=True).to_pylist() == ["AQI=", None, ""]
    assert fit(cells.cast(pa.large_binary()), text_target=True).to_pylist() == ["AQI=", None, ""]
    assert fit(cells, text_target=False) is cells
    assert fit(text, text_target=True) is text
    assert fit(numbers, text_target=True) is numbers


# columns beside


def steps(
    columns: dict[str, Any], source: dict[str, ColumnStatus] | None = None, **keysets: Any
) -> dict[str, ColumnStep]:
    rules = from_columns(columns, "t").rules
    return {
        each.rule.name: each
        for each in plan(rules, keysets.get("keyset"), source, keysets.get("reveal_with"))
    }


BOUND = {"salary": {"method": "encrypt", "bind_to": ["id", "day"]}, "id": {"method": "none", "type": "integer"},
         "day": {"method": "none", "type": "date"}}  # fmt: skip


def test_bound_cells_reveal_from_the_canonical_form_of_what_is_beside() -> None:
    """As it was written in the source, or as the table gives it back."""
    cells = apply(
        steps(BOUND, keyset=CRM)["salary"], pa.array(["10", "20"]), id=["007", "8"], day=["2024-01-02", None]
    )
    recorded = {"salary": state(from_columns(BOUND, "t").rules[0])}
    reveal = {**BOUND, "salary": "none"}
    step = steps(reveal, recorded, reveal_with=CRM)["salary"]

    assert apply(step, cells, id=["7", "8"], day=["2024-01-02", None]).to_pylist() == ["10", "20"]
    with pytest.raises(DecryptionError, match="bound to 'id', 'day'"):
        apply(step, cells, id=["7", "9"], day=["2024-01-02", None])


def test_bound_to_a_column_that_the_source_holds_protected() -> None:
    recorded = {"id": state(column_rule("id", "internal", "tokenize", contract_id="c"))}
    with pytest.raises(
        ContractError, match=r"column 'salary' needs the values of column 'id' .* protected .*tokenize"
    ):
        steps(
            {"salary": {"method": "encrypt", "bind_to": "id"}, "id": "none"},
            recorded,
            keyset=CRM,
            reveal_with=CRM,
        )


def test_dates_are_shifted_by_the_subject_beside() -> None:
    columns = {"born": {"method": "shift_date", "subject": "patient", "type": "date"}, "patient": "drop"}
    dates = pa.array(["2024-01-01", "2024-01-11", None])
    moved = apply(steps(columns, keyset=CRM)["born"], dates, patient=["ana", "ana", None]).to_pylist()

    assert (moved[1] - moved[0]).days == 10
    assert moved[2] is None


@pytest.mark.parametrize("protection", ["fpe", "pseudonymize"])
def test_other_keyed_protections(protection: str) -> None:
    step = only(rule(protection), keyset=CRM)

    assert step.key == ("crm", 2)
    (made,) = applied(step, ["123456"])
    assert made != "123456"


def test_fpe_reveals_under_the_version_that_is_recorded() -> None:
    was = rule({"method": "fpe", "domain": "card"})
    (old,) = FormatCipher(was, CRM, 1).protect(pa.array(["4111111111111111"])).to_pylist()
    step = only(rule("none"), state(was, version=1), reveal_with=CRM)

    assert applied(step, [old]) == ["4111111111111111"]


def test_pseudonyms_pass_and_are_not_revealed() -> None:
    was = rule({"method": "pseudonymize", "domain": "person"})

    assert only(was, state(was)).passes
    with pytest.raises(ContractError, match="is pseudonymize already, which nothing undoes"):
        only(rule("none"), state(was), reveal_with=CRM)
