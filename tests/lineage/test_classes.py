"""Classes travel along column lineage, and sink only by what the package itself did."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_secure_provider.lineage.classes import ColumnClass, column_classes, strictest, warnings
from airflow_secure_provider.lineage.graph import read
from airflow_secure_provider.model import Classification

LAKE = "s3://lake"
RANK = list(Classification)


def dataset(name: str, columns: dict[str, str | tuple[str | None, str]] | None = None) -> dict[str, Any]:
    told = [
        {
            "name": column,
            "classification": each if isinstance(each, str) else each[0],
            "protection": "none" if isinstance(each, str) else each[1],
        }
        for column, each in (columns or {}).items()
    ]
    return {"namespace": LAKE, "name": name, "facets": {"secureProvider_encryption": {"columns": told}}}


def event(
    source: dict[str, Any],
    target: dict[str, Any],
    edges: dict[str, list[str]],
    kind: str = "DIRECT",
    minute: int = 0,
) -> str:
    fields = {
        to: {
            "inputFields": [
                {
                    "namespace": LAKE,
                    "name": source["name"],
                    "field": field,
                    "transformations": [{"type": kind, "subtype": "IDENTITY"}],
                }
                for field in comes_from
            ]
        }
        for to, comes_from in edges.items()
    }
    target = {**target, "facets": {**target["facets"], "columnLineage": {"fields": fields}}}
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-01-01T00:{minute:02d}:00Z",
            "job": {"namespace": "prod", "name": f"{source['name']}-{target['name']}"},
            "run": {"runId": f"run-{minute}"},
            "inputs": [source],
            "outputs": [target],
        }
    )


def classes(*events: str) -> dict[str, ColumnClass]:
    found = column_classes(read(events).hops())
    return {f"{uri.removeprefix(LAKE + '/')}.{column}": each for (uri, column), each in found.items()}


PEOPLE = dataset("people", {"id": "internal", "email": "restricted", "born": "confidential"})


def test_a_derived_column_has_the_strictest_class_of_its_inputs() -> None:
    found = classes(
        event(PEOPLE, dataset("joined"), {"key": ["id", "email"], "age": ["born"]}),
        event(dataset("joined"), dataset("far"), {"any": ["key"]}),
    )
    assert found["joined.key"].effective == found["far.any"].effective == "restricted"
    assert found["joined.age"].effective == "confidential"
    assert found["far.any"].origin == (f"{LAKE}/people", "email")
    assert found["far.any"].stated is None


@pytest.mark.parametrize(
    ("protection", "effective"),
    [
        ("none", "restricted"),
        ("unknown", "restricted"),
        ("tokenize", "restricted"),
        ("encrypt", "restricted"),
        ("fpe", "restricted"),
        ("pseudonymize", "restricted"),
        ("shift_date", "restricted"),
        ("noise", "restricted"),
        ("round", "internal"),
        ("redact", "internal"),
        ("generalize", "internal"),
        ("nullify", "internal"),
    ],
)
def test_only_what_takes_values_away_lets_a_class_sink(protection: str, effective: str) -> None:
    found = classes(
        event(PEOPLE, dataset("share", {"email": ("internal", protection)}), {"email": ["email"]})
    )
    assert found["share.email"].effective == effective
    assert found["share.email"].sank == (effective == "restricted")


def test_a_class_that_sank_is_told() -> None:
    graph = read([event(PEOPLE, dataset("share", {"mail": "public"}), {"mail": ["email"]})])
    found = column_classes(graph.hops())
    assert warnings(found, f"{LAKE}/share") == [
        "column 'mail' is called public, and restricted arrives in it from 'email' of s3://lake/people"
    ]
    assert warnings(found, f"{LAKE}/people") == []
    assert strictest(found, f"{LAKE}/share") == "restricted"
    assert strictest(found, f"{LAKE}/nowhere") is None


def test_what_only_chooses_rows_carries_no_class() -> None:
    assert "x.n" not in classes(event(PEOPLE, dataset("x"), {"n": ["email"]}, "INDIRECT"))


def test_circles_end() -> None:
    found = classes(
        event(PEOPLE, dataset("a"), {"x": ["email"]}),
        event(dataset("a"), dataset("b"), {"x": ["x"]}),
        event(dataset("b"), dataset("a"), {"x": ["x"]}),
    )
    assert found["a.x"].effective == found["b.x"].effective == "restricted"


def test_of_two_words_on_a_column_the_stricter_counts() -> None:
    later = dataset("people", {"email": "confidential"})
    found = classes(
        event(PEOPLE, dataset("a"), {"x": ["email"]}, minute=1),
        event(later, dataset("b"), {"x": ["email"]}, minute=2),
    )
    assert found["a.x"].effective == found["b.x"].effective == "restricted"


def test_tags_of_others_count() -> None:
    tagged = {
        "namespace": LAKE,
        "name": "t",
        "facets": {
            "tags": {
                "tags": [
                    {"key": "classification", "value": "restricted", "field": "x"},
                    {"key": "y", "value": "z"},
                ]
            }
        },
    }
    assert classes(event(tagged, dataset("a"), {"b": ["x"]}))["a.b"].effective == "restricted"


def test_an_unknown_word_is_no_class() -> None:
    assert classes(event(dataset("odd", {"x": "secret"}), dataset("a"), {"b": ["x"]})) == {}


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20),
    st.dictionaries(st.integers(0, 7), st.sampled_from(RANK), max_size=8),
)
def test_no_column_has_less_than_what_reaches_it(ways: list[tuple[int, int]], stated: dict[int, str]) -> None:
    """Against the definition, computed the slow way: the strictest class of everything upstream."""
    events = [
        event(
            dataset(f"d{a}", {"x": stated[a]} if a in stated else {}),
            dataset(f"d{b}", {"x": stated[b]} if b in stated else {}),
            {"x": ["x"]},
        )
        for a, b in ways
    ]
    found = classes(*events)
    told = {n for way in ways for n in way if n in stated}
    for node in {n for way in ways for n in way}:
        upstream, grown = {node}, True
        while grown:
            more = {a for a, b in ways if b in upstream} - upstream
            grown = bool(more)
            upstream |= more
        expected = max((RANK.index(Classification(stated[n])) for n in upstream & told), default=None)
        got = found.get(f"d{node}.x")
        assert (got.effective.rank if got else None) == expected
