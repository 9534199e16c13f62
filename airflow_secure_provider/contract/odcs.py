"""Data contracts in the Open Data Contract Standard (ODCS) v3.1, read strictly.

The standard's own models drop a misspelt nested key without a word, which would leave a column unprotected. So a
document passes three gates: YAML without duplicate keys, the JSON Schema that the standard publishes, and our own
reading of ``classification`` and of the custom property ``protection``.
"""

from __future__ import annotations

import difflib
import importlib.resources
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from ..errors import ContractError
from ..model import Classification, ColumnDefinition, Protection
from .contract import Contract, checked, quoted, reference
from .policy import BUILT_IN, Policy
from .rules import column_rule
from .servers import declared_at_rest, owners
from .strict_yaml import strict_yaml


def from_odcs(
    text: str | bytes, where: str, dataset: str | None = None, policy: Policy = BUILT_IN
) -> Contract:
    """Read a contract document and check it.

    :param where: the document's name, for messages.
    :param dataset: which object of ``schema`` is meant, by ``name`` or ``physicalName``.
    :param policy: what the classes require.
    :raises ContractError: for a typo, a duplicate key, an unclassified column or a protection too weak for its class.
    """
    body = strict_yaml(text, f"contract {where}")
    _check_standard(body, where)
    schema = _choose(body.get("schema") or [], dataset, where)
    _check_classified(schema, where)
    rules = []
    for column in schema.get("properties") or []:
        place = f"contract {where}, column {column['name']!r}"
        rules.append(
            column_rule(
                column["name"],
                column["classification"],
                _protection(column, place),
                contract_id=body["id"],
                logical_type=column.get("logicalType", "string"),
                required=bool(column.get("required", False) or column.get("primaryKey", False)),
                where=f"contract {where}, ",
            )
        )
    contract = Contract(
        reference(body, owners(body)),
        schema.get("physicalName") or schema["name"],
        tuple(rules),
        policy,
        {column["name"]: _definition(column) for column in schema.get("properties") or []},
        schema.get("description"),
        declared_at_rest(body, where),
    )
    return checked(contract, where)


def _definition(column: Mapping[str, Any]) -> ColumnDefinition:
    place = column.get("primaryKeyPosition", 0) if column.get("primaryKey") else None
    return ColumnDefinition(
        column.get("description"),
        column.get("physicalType"),
        place,
        tuple(map(str, column.get("tags") or ())),
    )


def _protection(column: Mapping[str, Any], place: str) -> Any:
    custom = column.get("customProperties") or []
    found = [item for item in custom if item["property"] == "protection"]
    near = [
        item["property"]
        for item in custom
        if item["property"] != "protection"
        and difflib.get_close_matches(item["property"].lower(), ["protection"], cutoff=0.75)
    ]
    if near:
        raise ContractError(f"{place}: custom property {near[0]!r}, did you mean 'protection'?")
    if len(found) > 1:
        raise ContractError(f"{place} has two protections; keep one")
    return found[0]["value"] if found else Protection.NONE


def _check_classified(schema: dict[str, Any], where: str) -> None:
    """All at once: of a contract that `airflow-secure scan` has made there may be many."""
    names = [column["name"] for column in schema.get("properties") or [] if "classification" not in column]
    if names:
        have = f"column {names[0]!r} has" if len(names) == 1 else f"columns {quoted(names)} have"
        raise ContractError(
            f"contract {where}, {have} no classification; set one of {', '.join(Classification)}"
        )


def _choose(schema: list[dict[str, Any]], dataset: str | None, where: str) -> dict[str, Any]:
    is_object = dataset is not None and dataset.startswith("s3://")
    table = dataset.rpartition(".")[2] if dataset and not is_object else None
    chosen = [item for item in schema if dataset and dataset in (item["name"], item.get("physicalName"))]
    if not chosen and is_object:  # a folder, or the only one: the names of objects change by the day
        chosen = [item for item in schema if _is_folder_of(str(item.get("physicalName")), str(dataset))]
        chosen = chosen or (schema if len(schema) == 1 else [])
    chosen = chosen or [item for item in schema if dataset is None or item["name"] == table]
    if len(chosen) != 1:
        known = quoted([item["name"] for item in schema]) or "nothing"
        which = "it" if len(schema) == 1 else "the one that is meant"
        raise ContractError(
            f"contract {where} describes {known}, and not {dataset!r}: give {which} this physicalName"
        )
    return chosen[0]


def _is_folder_of(physical: str, dataset: str) -> bool:
    return physical.startswith("s3://") and physical.endswith("/") and dataset.startswith(physical)


# --- gate 2: the published JSON Schema ----------------------------------------------------------------------


def _check_standard(body: Any, where: str) -> None:
    import jsonschema

    if not isinstance(body, dict):
        raise ContractError(f"contract {where} is not a mapping of keys to values")
    errors = list(_validator().iter_errors(body))
    if not errors:
        return
    # Where one key breaks a rule, its neighbours count as unevaluated: an echo, which would hide the cause.
    causes = [each for each in errors if each.validator != "unevaluatedProperties" or _unknown_keys(each)]
    error = jsonschema.exceptions.best_match(causes or errors)
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    ).lstrip(".")
    at = f" at {path}" if path else ""
    # jsonschema's messages quote the document; say the rule instead.
    raise ContractError(f"contract {where}{at} breaks ODCS v3.1: {_explain(error)}")


def _explain(error: Any) -> str:
    if error.validator == "required":
        return f"key {quoted([key for key in error.validator_value if key not in error.instance])} is missing"
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        unknown = _unknown_keys(error)
        return (
            f"unknown key {quoted(unknown)}; is it misspelt?"
            if unknown
            else "a key in it is misspelt or misplaced"
        )
    if error.validator == "enum":
        return f"expected one of {', '.join(map(str, error.validator_value))}"
    if error.validator == "type":
        return f"expected a value of type {error.validator_value}"
    return f"it does not meet {error.validator!r}"


def _unknown_keys(error: Any) -> list[str]:
    known = _known_keys(error.schema)
    return [str(key) for key in error.instance if key not in known]


def _known_keys(schema: Mapping[str, Any]) -> set[str]:
    known = set(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        known |= _known_keys(part)
    if "$ref" in schema:
        known |= _known_keys(_standard_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    return known


@cache
def _standard_schema() -> dict[str, Any]:
    text = importlib.resources.files("open_data_contract_standard").joinpath("schema.json").read_text()
    schema: dict[str, Any] = json.loads(text)
    # Its conditions on logicalType hold for a column that has none too, which would then need a `map`: the standard
    # makes logicalType optional, so let them hold only where it stands.
    for part in schema["$defs"]["SchemaBaseProperty"].get("allOf", []):
        condition = part.get("if", {})
        for each in condition.get("anyOf", [condition]):
            each["required"] = ["logicalType"]
    return schema


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft201909Validator(_standard_schema())
