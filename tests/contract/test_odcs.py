"""ODCS documents, read strictly: what would be dropped without a word elsewhere stops the load here."""

from __future__ import annotations

import re
import traceback
from typing import Any

import pytest
import yaml

from airflow_secure_provider.contract.contract import Contract
from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.errors import ContractError
from airflow_secure_provider.model import Classification, ColumnRule, Protection

CANARY = "canary-7f3a91c2"

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: customers-contract
version: 1.2.0
status: active
schema:
  - name: customers
    physicalName: crm.customers
    properties:
      - name: id
        logicalType: integer
        primaryKey: true
        classification: internal
      - name: email
        logicalType: string
        required: true
        classification: confidential
        customProperties:
          - property: protection
            value: tokenize
      - name: ssn
        classification: restricted
        tags: [pii]
        customProperties:
          - property: owner
            value: legal
          - property: protection
            value:
              method: encrypt
              domain: person.ssn
              scope: ssn
      - name: born
        logicalType: date
        classification: confidential
        customProperties:
          - property: protection
            value: {method: generalize, to: year}
"""


def read(text: str | bytes, dataset: str | None = None) -> Contract:
    return from_odcs(text, "c.yaml", dataset)


def changed(old: str, new: str) -> str:
    """The contract with one place of it written differently."""
    assert CONTRACT.count(old) == 1, old
    return CONTRACT.replace(old, new)


def refusal(text: str | bytes, dataset: str | None = None) -> str:
    with pytest.raises(ContractError) as caught:
        read(text, dataset)
    said = "".join(traceback.format_exception(caught.value))
    assert CANARY not in said
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in f"{error} {error!r} {error.args}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return str(caught.value)


def test_contract() -> None:
    contract = read(CONTRACT)

    assert (contract.ref.id, contract.ref.version, contract.dataset) == (
        "customers-contract",
        "1.2.0",
        "crm.customers",
    )
    assert contract.rules == (
        ColumnRule("id", Classification.INTERNAL, Protection.NONE, "integer", required=True),
        ColumnRule(
            "email",
            Classification.CONFIDENTIAL,
            Protection.TOKENIZE,
            required=True,
            domain="customers-contract/email",
        ),
        ColumnRule("ssn", Classification.RESTRICTED, Protection.ENCRYPT, domain="person.ssn", scope="ssn"),
        ColumnRule(
            "born", Classification.CONFIDENTIAL, Protection.GENERALIZE, "date", parameters={"to": "year"}
        ),
    )


def test_bytes_are_read_as_utf8() -> None:
    text = changed("name: born", "name: geböhren")

    assert read(text.encode()) == read(text)


def test_digest_ignores_layout_and_comments_and_notices_the_rest() -> None:
    digest = read(CONTRACT).ref.digest

    assert read("# a comment\n" + yaml.safe_dump(yaml.safe_load(CONTRACT))).ref.digest == digest
    assert read(changed("version: 1.2.0", "version: 1.2.1")).ref.digest != digest
    assert read(changed("domain: person.ssn", "domain: other")).ref.digest != digest


def test_name_where_there_is_no_physical_name() -> None:
    assert read(changed("    physicalName: crm.customers\n", "")).dataset == "customers"


def test_a_column_without_logical_type_is_text() -> None:
    """The standard's schema makes logicalType optional, whatever its conditions on it."""
    text = changed("        logicalType: integer\n        primaryKey", "        primaryKey")

    assert read(text).rules[0].logical_type == "string"


# typos


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("        tags: [pii]", "        clasification: public"), "contract c.yaml at schema[0].properties[2] breaks ODCS v3.1: unknown key 'clasification'; is it misspelt?"),
        (changed("        logicalType: date", "        logicaltype: date"), "contract c.yaml at schema[0].properties[3] breaks ODCS v3.1: unknown key 'logicaltype'; is it misspelt?"),
        (changed("        primaryKey: true", "        primarykey: true"), "contract c.yaml at schema[0].properties[0] breaks ODCS v3.1: unknown key 'primarykey'; is it misspelt?"),
        (changed("    properties:", "    propertys:"), "contract c.yaml at schema[0] breaks ODCS v3.1: unknown key 'propertys'; is it misspelt?"),
        (changed("status: active", "staus: active"), "contract c.yaml breaks ODCS v3.1: unknown key 'staus'; is it misspelt?"),
        (changed("status: active", "status: active\n1: x"), "contract c.yaml breaks ODCS v3.1: unknown key '1'; is it misspelt?"),
        (changed("            value: tokenize", "            valeu: tokenize"), "contract c.yaml at schema[0].properties[1].customProperties[0] breaks ODCS v3.1: "),
        (changed("            value: tokenize\n", ""), "contract c.yaml at schema[0].properties[1].customProperties[0] breaks ODCS v3.1: key 'value' is missing"),
        (changed("          - property: protection\n            value: tokenize", "          - value: tokenize"), "contract c.yaml at schema[0].properties[1].customProperties[0] breaks ODCS v3.1: key 'property' is missing"),
        (changed("id: customers-contract\n", ""), "contract c.yaml breaks ODCS v3.1: key 'id' is missing"),
        (changed("version: 1.2.0", "version: 1.2"), "contract c.yaml at version breaks ODCS v3.1: expected a value of type string"),
        (changed("name: ssn", "name: 5"), "contract c.yaml at schema[0].properties[2].name breaks ODCS v3.1: expected a value of type string"),
        (changed("kind: DataContract", "kind: Contract"), "contract c.yaml at kind breaks ODCS v3.1: expected one of DataContract"),
        (changed("apiVersion: v3.1.0", "apiVersion: v9"), "contract c.yaml at apiVersion breaks ODCS v3.1: expected one of "),
        (changed("logicalType: date", "logicalType: dates"), "contract c.yaml at schema[0].properties[3].logicalType breaks ODCS v3.1: expected one of "),
        (changed("        required: true", "        required: yes please"), "contract c.yaml at schema[0].properties[1].required breaks ODCS v3.1: expected a value of type boolean"),
    ],
    ids=[
        "classification", "logicalType", "primaryKey", "properties", "status", "number", "value", "no-value",
        "no-property", "no-id", "version", "name", "kind", "apiVersion", "type", "required",
    ],
)  # fmt: skip
def test_breaks_of_the_standard(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize("name", ["protections", "Protection", "protect", "protecton", "PROTECTION"])
def test_misspelt_protection(name: str) -> None:
    text = changed(
        "          - property: protection\n            value: tokenize",
        f"          - property: {name}\n            value: tokenize",
    )

    assert (
        refusal(text)
        == f"contract c.yaml, column 'email': custom property '{name}', did you mean 'protection'?"
    )


def test_two_protections() -> None:
    text = changed(
        "            value: tokenize",
        "            value: tokenize\n          - property: protection\n            value: none",
    )

    assert refusal(text) == "contract c.yaml, column 'email' has two protections; keep one"


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        (changed("        tags: [pii]", "        classification: public"), "classification", 23),
        (changed("status: active", "status: active\nid: other"), "id", 6),
        (changed("              scope: ssn", "              method: none"), "method", 31),
        (
            changed("{method: generalize, to: year}", "{method: generalize, to: year, method: none}"),
            "method",
            37,
        ),
        (changed("tags: [pii]", "customProperties: []"), "customProperties", 24),
    ],
    ids=["column", "top", "protection", "flow", "list"],
)
def test_duplicate_keys(text: str, key: str, line: int) -> None:
    assert (
        refusal(text)
        == f"contract c.yaml: key '{key}' stands twice, the second time in line {line}; remove one"
    )


# columns


def test_missing_classification() -> None:
    assert refusal(changed("        classification: restricted\n", "")) == (
        "contract c.yaml, column 'ssn' has no classification; set one of public, internal, confidential, restricted"
    )
    without = re.sub(" *classification: .*\n", "", CONTRACT)
    assert "columns 'id', 'email', 'ssn'" in refusal(without)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("classification: restricted", "classification: secret"), "contract c.yaml, column 'ssn': classification 'secret', expected one of public, internal, confidential, restricted"),
        (changed("value: tokenize", "value: sha256"), "contract c.yaml, column 'email': an unkeyed hash of personal data is undone by trying all values; take pseudonymize, which is keyed"),
        (changed("value: tokenize", "value: {method: fpe, alphabet: aa}"), "contract c.yaml, column 'email': fpe alphabet: a character stands twice in the alphabet"),
        (changed("value: tokenize", "value: nullify"), "contract c.yaml, column 'email' is required and would be nullified; choose drop, redact or encrypt"),
        (changed("value: tokenize", "value: [tokenize]"), "contract c.yaml, column 'email': protection needs a method, one of none, encrypt"),
        (changed("value: tokenize", "value: null"), "contract c.yaml, column 'email': protection needs a method, one of none, encrypt"),
        (changed("method: encrypt", "method: none").replace("              domain: person.ssn\n              scope: ssn\n", ""), "contract c.yaml: column 'ssn' is restricted and has no protection; set one of encrypt, tokenize, fpe, pseudonymize, redact, nullify, drop"),
        (changed("method: encrypt", "method: generalize").replace("              domain: person.ssn\n              scope: ssn\n", "              prefix: 1\n"), "contract c.yaml: column 'ssn' is restricted and has protection generalize; set one of encrypt, tokenize, fpe, pseudonymize, redact, nullify, drop"),
        (changed("name: ssn", "name: id"), "contract c.yaml: column 'id' is defined twice"),
        (changed("logicalType: date", "logicalType: array"), "contract c.yaml, column 'born': logicalType 'array' can't be loaded, expected one of string"),
        (changed("              scope: ssn", "              scop: ssn"), "contract c.yaml, column 'ssn': unknown parameter 'scop' of encrypt; it takes bind_to, domain, scope"),
    ],
    ids=["class", "hash", "later", "nullify", "list", "null", "none", "generalize", "twice", "array", "parameter"],
)  # fmt: skip
def test_columns_refused(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_a_primary_key_is_required() -> None:
    text = changed(
        "        primaryKey: true\n        classification: internal\n",
        "        primaryKey: true\n        classification: internal\n"
        "        customProperties:\n          - property: protection\n            value: nullify\n",
    )

    assert "column 'id' is required and would be nullified" in refusal(text)


def test_no_columns() -> None:
    assert refusal(CONTRACT.split("    properties:")[0]) == "contract c.yaml classifies no column"


def test_all_dropped() -> None:
    document: dict[str, Any] = yaml.safe_load(CONTRACT)
    for column in document["schema"][0]["properties"]:
        column["customProperties"] = [{"property": "protection", "value": "drop"}]

    assert refusal(yaml.safe_dump(document)) == "contract c.yaml drops every column; keep one at least"


# schema objects


ORDERS = """\
  - name: orders
    properties:
      - name: id
        classification: internal
"""


@pytest.mark.parametrize(
    ("dataset", "columns"),
    [("crm.customers", 4), ("customers", 4), ("orders", 1), ("crm.orders", 1)],
    ids=["physical-name", "name", "other", "name-behind-a-schema"],
)
def test_one_of_several_objects(dataset: str, columns: int) -> None:
    assert len(read(CONTRACT + ORDERS, dataset).rules) == columns


@pytest.mark.parametrize("dataset", ["crm.people", None])
def test_none_of_several_objects(dataset: str | None) -> None:
    assert refusal(CONTRACT + ORDERS, dataset) == (
        f"contract c.yaml describes 'customers', 'orders', and not {dataset!r}: "
        "give the one that is meant this physicalName"
    )


def test_the_only_object_is_another_table() -> None:
    assert "and not 'crm.people': give it this physicalName" in refusal(CONTRACT, "crm.people")


def test_no_object() -> None:
    assert refusal(CONTRACT.split("schema:")[0], "t").startswith("contract c.yaml describes nothing")


# not a contract


@pytest.mark.parametrize(
    "text", ["", "[]", "text", "3", "- a: 1"], ids=["empty", "list", "text", "number", "list-of-mappings"]
)
def test_not_a_mapping(text: str) -> None:
    assert refusal(text) == "contract c.yaml is not a mapping of keys to values"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"id: x\na: [{CANARY}", r"contract c\.yaml is not YAML in line \d+ \(ParserError\)"),
        (f"id: x\n{CANARY}\nb: c", r"contract c\.yaml is not YAML in line 3 \(ScannerError\)"),
        (f"id: {CANARY}\x00", r"contract c\.yaml is not YAML \(ReaderError\)"),
        (CANARY.encode() + b"\xff: a", r"contract c\.yaml is not YAML \(ReaderError\)"),
        (f"a: !!python/object/apply:os.system [{CANARY}]", r"contract c\.yaml is not YAML in line 1 \(ConstructorError\)"),
        (f"a: *{CANARY}", r"contract c\.yaml is not YAML in line 1 \(ComposerError\)"),
        (f"? [{CANARY}]\n: b", r"contract c\.yaml is not YAML in line 1 \(ConstructorError\)"),
        ("a: 2026-13-77", r"contract c\.yaml is not YAML \(ValueError\)"),
        ("[" * 5000, r"contract c\.yaml is not YAML"),
    ],
    ids=["open", "no-key", "nul", "not-utf8", "python", "alias", "list-key", "date", "deep"],
)  # fmt: skip
def test_broken_yaml(text: str | bytes, message: str) -> None:
    assert re.match(message, refusal(text))


@pytest.mark.parametrize(
    "text",
    [
        changed("version: 1.2.0", f"version: [{CANARY}]"),
        changed("kind: DataContract", f"kind: {CANARY}"),
        changed("status: active", f"description: {CANARY}"),
        changed("tags: [pii]", f"tags: {CANARY}"),
        changed("tags: [pii]", f"examples: {CANARY}"),
        changed("name: ssn", f"name: [{CANARY}]"),
        changed("required: true", f"required: {CANARY}"),
        changed("primaryKey: true", f"primaryKey: {{{CANARY}: 1}}"),
        changed("property: owner", f"property: [{CANARY}]"),
        changed("to: year", f"bins: [{CANARY}]"),
        changed("domain: person.ssn", f"domain: {CANARY}/x"),
        changed("value: tokenize", f"value: [{CANARY}]"),
        changed("value: tokenize", f"value: {{method: [{CANARY}]}}"),
        changed("value: tokenize", f"value: {{method: redact, mark: {CANARY}}}"),
    ],
    ids=[
        "version", "kind", "description", "tags", "examples", "name", "required", "primaryKey", "property", "bins",
        "domain", "protection-list", "method-list", "mark",
    ],
)  # fmt: skip
def test_values_in_the_wrong_place_are_not_quoted(text: str) -> None:
    assert refusal(text)  # which looks for the canary


TWO = """\
apiVersion: v3.1.0
kind: DataContract
id: c
version: 1.0.0
status: active
schema:
  - name: people
    physicalName: s3://lake/people/
    properties: [{name: id, classification: public}]
  - name: orders
    physicalName: s3://lake/orders.csv
    properties: [{name: id, classification: internal}]
"""


@pytest.mark.parametrize(
    ("uri", "chosen"),
    [
        ("s3://lake/people/2026-11-21.csv", "s3://lake/people/"),
        ("s3://lake/orders.csv", "s3://lake/orders.csv"),
        ("s3://lake/orders.csv.1", None),
        ("s3://lake/peoples/1.csv", None),
        ("s3://other/people.csv", None),
    ],
)
def test_an_object_is_found_by_its_uri_or_folder(uri: str, chosen: str | None) -> None:
    if chosen is not None:
        assert from_odcs(TWO, "c", uri).dataset == chosen
        return
    with pytest.raises(ContractError, match="give the one that is meant this physicalName"):
        from_odcs(TWO, "c", uri)


def test_the_only_dataset_is_the_objects() -> None:
    assert from_odcs(CONTRACT, "c", "s3://lake/2026-11-21.csv").dataset == "crm.customers"
