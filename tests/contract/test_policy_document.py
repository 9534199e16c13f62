"""A class policy of one's own: it may ask for more, and what it can't mean or must not is refused."""

from __future__ import annotations

import pytest

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.contract.policy import BUILT_IN
from airflow_secure_provider.contract.policy_document import from_document
from airflow_secure_provider.errors import ContractError
from airflow_secure_provider.model import Classification, ColumnRule, Protection

from .test_policy import PLAINTEXT, UNVERIFIED, dataset

HEAD = "kind: ClassPolicy\nid: acme\nversion: 1.2.0\n"
GENERALIZE = HEAD + (
    "classes:\n  restricted:\n"
    "    protections: [encrypt, tokenize, fpe, pseudonymize, redact, nullify, drop, generalize]\n"
)
YEAR = {"born": {"method": "generalize", "to": "year", "type": "date", "classification": "restricted"}}


def test_generalize_is_for_restricted_columns_where_it_is_listed() -> None:
    with pytest.raises(ContractError, match="'born' is restricted and has protection generalize"):
        from_columns(YEAR, "t")
    contract = from_columns(YEAR, "t", from_document(GENERALIZE, "p.yaml"))
    assert contract.rules[0].protection is Protection.GENERALIZE
    text = (
        "apiVersion: v3.1.0\nkind: DataContract\nid: c\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n"
        "    properties:\n      - {name: born, logicalType: date, classification: restricted, customProperties: "
        "[{property: protection, value: {method: generalize, to: year}}]}\n"
    )
    with pytest.raises(ContractError, match="has protection generalize"):
        from_odcs(text, "c")
    assert from_odcs(text, "c", None, from_document(GENERALIZE, "p")).policy.name.startswith("acme 1.2.0 ")


def test_round_is_for_restricted_columns_where_it_is_listed_and_noise_never() -> None:
    columns = {"pay": {"method": "round", "to": 1000, "type": "integer", "classification": "restricted"}}
    with pytest.raises(ContractError, match="'pay' is restricted and has protection round"):
        from_columns(columns, "t")
    policy = from_document(GENERALIZE.replace("generalize]", "round]"), "p.yaml")
    assert from_columns(columns, "t", policy).rules[0].protection is Protection.ROUND
    noise = {
        "method": "noise",
        "scale": 5,
        "subject": "id",
        "type": "integer",
        "classification": "restricted",
    }
    with pytest.raises(ContractError, match="'pay' is restricted and has protection noise"):
        from_columns({"pay": noise, "id": "drop"}, "t", policy)


def test_what_is_not_named_is_as_built_in() -> None:
    made = from_document(GENERALIZE, "p").requirements
    for level in ("public", "internal", "confidential"):
        assert made[Classification(level)] == BUILT_IN.requirements[Classification(level)]
    assert made[Classification.RESTRICTED].source_key_control


def test_more_can_be_asked_for() -> None:
    policy = from_document(
        HEAD + "classes:\n  public: {transit: tls}\n  internal: {transit: verified}\n"
        "  confidential: {source: key-controlled, protections: [encrypt, tokenize, drop]}\n"
        "  restricted: {protections: [encrypt, drop]}\n",
        "p",
    )
    internal = [ColumnRule("a", Classification.INTERNAL, Protection.NONE)]
    BUILT_IN.check_target(internal, dataset(UNVERIFIED))
    with pytest.raises(ContractError, match="needs TLS with a verified peer"):
        policy.check_target(internal, dataset(UNVERIFIED))
    with pytest.raises(ContractError, match="needs TLS"):
        policy.check_source([ColumnRule("a", Classification.PUBLIC, Protection.NONE)], dataset(PLAINTEXT))
    with pytest.raises(
        ContractError, match="'a' is confidential and has no protection; set one of encrypt, tokenize"
    ):
        from_columns({"a": {"method": "none", "classification": "confidential"}}, "t", policy)
    with pytest.raises(
        ContractError, match="'a' is restricted and has protection tokenize; set one of encrypt, drop"
    ):
        from_columns({"a": {"method": "tokenize", "classification": "restricted"}}, "t", policy)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ("  secret: {transit: tls}", "class 'secret', expected one of public, internal"),
        ("  internal: {transit: any}", "class internal requires less than the built-in policy in transit"),
        ("  confidential: {transit: tls}", "requires less than the built-in policy in transit"),
        ("  confidential: {atRest: any}", "requires less than the built-in policy in atRest"),
        ("  restricted: {source: any}", "requires less than the built-in policy in source"),
        ("  restricted: {protections: any}", "requires less than the built-in policy in protections"),
        (
            "  restricted: {protections: [none, drop]}",
            "requires less than the built-in policy in protections",
        ),
        (
            "  restricted: {protections: [shift_date]}",
            "requires less than the built-in policy in protections",
        ),
        ("  restricted: {protections: [noise]}", "requires less than the built-in policy in protections"),
        ("  public: {transit: verified}", "class internal requires less than class public in transit"),
        (
            "  confidential: {protections: [drop]}",
            "class restricted requires less than class confidential in protections",
        ),
        ("  internal: {atRest: encrypted, sourc: any}", "unknown key 'sourc', expected one of transit"),
        ("  internal: {transit: TLSv1.3}", "transit 'TLSv1.3', expected one of any, tls, verified"),
        ("  internal: {atRest: true}", "atRest True, expected one of any, encrypted"),
        ("  internal: {protections: [hash]}", "protections 'hash', expected any, or a list of none, encrypt"),
        ("  internal: {protections: []}", "expected any, or a list of"),
        ("  internal: 5", "expected a mapping of transit"),
        ("  internal: {transit: tls}\n  internal: {transit: tls}", "key 'internal' stands twice"),
        ("", "classes is empty"),
    ],
)
def test_what_it_must_not_say(classes: str, says: str) -> None:
    with pytest.raises(ContractError, match=r"class policy p\.yaml") as caught:
        from_document(f"{HEAD}classes:\n{classes}\n", "p.yaml")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: DataContract", "expected kind: ClassPolicy"),
        ("- a", "expected kind: ClassPolicy"),
        ("{", "is not YAML"),
        ("kind: ClassPolicy\nversion: 1\nclasses: {public: {}}", "has no id"),
        ("kind: ClassPolicy\nid: a\nclasses: {public: {}}", "has no version"),
        (HEAD + "class: {}", "unknown key 'class'"),
    ],
)
def test_what_is_no_policy(text: str, says: str) -> None:
    with pytest.raises(ContractError) as caught:
        from_document(text, "p.yaml")
    assert says in str(caught.value)


def test_its_digest_is_of_what_it_says() -> None:
    spaced = GENERALIZE.replace("[encrypt, ", "[ encrypt,  ")
    assert from_document(GENERALIZE, "a").name == from_document(spaced, "b").name
    assert from_document(GENERALIZE, "a").name != from_document(GENERALIZE.replace("acme", "other"), "a").name
