"""Classes that are set in an event, of stock operators above all."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from airflow_secure_provider.lineage.classifying import classify
from airflow_secure_provider.model import Classification
from sandbox.environment import REPOSITORY

SCHEMA = json.loads((REPOSITORY / "docs/formats/EncryptionDatasetFacet.json").read_text())
LAKE, DB = "s3://lake", "postgres://db:5432"
_UNKNOWN = {
    "_producer": "p",
    "_schemaURL": "urn:airflow-secure-provider:facet:EncryptionDatasetFacet:1-2-0",
    "status": "unknown",
    "atRest": {"scheme": "unknown", "evidence": "unknown"},
    "inTransit": {"evidence": "unknown"},
    "columns": [],
}
KNOWN: Mapping[tuple[str, str], Mapping[str, Classification]] = {
    (LAKE, "people.csv"): {"id": Classification.INTERNAL, "email": Classification.RESTRICTED},
    (DB, "crm.crm.open"): {"mail": Classification.PUBLIC},
}


def known(namespace: str, name: str) -> Mapping[str, Classification]:
    return KNOWN.get((namespace, name), {})


def dataset(
    namespace: str, name: str, edges: Mapping[str, str] | None = None, **facets: Any
) -> dict[str, Any]:
    made = {"secureProvider_encryption": copy.deepcopy(_UNKNOWN), **facets}
    if edges:
        made["columnLineage"] = {
            "fields": {
                to: {"inputFields": [{"namespace": LAKE, "name": "people.csv", "field": of}]}
                for to, of in edges.items()
            }
        }
    return {"namespace": namespace, "name": name, "facets": made}


def event(source: dict[str, Any], target: dict[str, Any], kind: str = "COMPLETE") -> dict[str, Any]:
    made = {
        "eventType": kind,
        "eventTime": "2026-01-01T00:00:00Z",
        "job": {"namespace": "n", "name": "d.t"},
        "run": {"runId": "r"},
        "inputs": [source],
        "outputs": [target],
    }
    classify(made, known)
    for each in (source, target):
        jsonschema.validate(each["facets"]["secureProvider_encryption"], SCHEMA)
    return made


def columns(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    facet = found["facets"]["secureProvider_encryption"]
    return {each["name"]: (each["classification"], each["protection"]) for each in facet["columns"]}


def tags(found: dict[str, Any]) -> dict[str, str]:
    told = found["facets"].get("tags", {"tags": []})["tags"]
    return {each["field"]: each["value"] for each in told if each["key"] == "classification"}


def test_what_a_contract_says_is_there_and_what_comes_of_it_inherits() -> None:
    source, target = dataset(LAKE, "people.csv"), dataset(DB, "crm.crm.copy", {"key": "id", "mail": "email"})
    event(source, target)
    assert columns(source) == {"id": ("internal", "unknown"), "email": ("restricted", "unknown")}
    assert columns(target) == {"key": ("internal", "unknown"), "mail": ("restricted", "unknown")}
    assert tags(target) == {"key": "internal", "mail": "restricted"}
    assert "warnings" not in target["facets"]["secureProvider_encryption"]


def test_a_lower_class_is_flagged(caplog: pytest.LogCaptureFixture) -> None:
    target = dataset(DB, "crm.crm.open", {"mail": "email"})
    with caplog.at_level(logging.WARNING):
        event(dataset(LAKE, "people.csv"), target)
    assert columns(target) == {"mail": ("public", "unknown")}
    (warning,) = target["facets"]["secureProvider_encryption"]["warnings"]
    assert (
        warning
        == "column 'mail' is called public, and restricted arrives in it from 'email' of s3://lake/people.csv"
    )
    assert f"{DB}/crm.crm.open: {warning}" in caplog.text


def test_what_the_event_says_is_left_as_it_is() -> None:
    own = dataset(LAKE, "people.csv")
    own["facets"]["secureProvider_encryption"]["columns"] = [
        {"name": "email", "classification": "confidential", "protection": "tokenize"}
    ]
    theirs = {
        "_producer": "x",
        "_schemaURL": "y",
        "tags": [{"key": "classification", "value": "mine", "field": "id"}, {"key": "a", "value": "b"}],
    }
    own["facets"]["tags"] = copy.deepcopy(theirs)
    event(own, dataset(DB, "x"))
    assert columns(own)["email"] == ("confidential", "tokenize")
    assert own["facets"]["tags"] == theirs


def test_before_it_is_done_nothing_has_moved() -> None:
    source, target = dataset(LAKE, "people.csv"), dataset(DB, "crm.crm.copy", {"mail": "email"})
    event(source, target, "START")
    assert columns(source) != {}
    assert columns(target) == {}


def test_without_contracts_an_event_stays_as_it_is() -> None:
    source, target = dataset(LAKE, "other.csv"), dataset(DB, "crm.crm.copy", {"mail": "email"})
    before = copy.deepcopy([source, target])
    event(source, target)
    assert [source, target] == before
