"""Names as Marquez can carry them. That it does is seen in ``tests/integration/test_marquez.py``."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_secure_provider.lineage.names import carried, decoded, encoded, renamed

TEXT = st.text(max_size=20) | st.text("@0123ABCabc:/#%é\n", max_size=12)


@pytest.mark.parametrize(
    ("name", "carried"),
    [
        (("s3://lake", "customers/2026-11-20.csv"), ("s3://lake", "customers/2026-11-20.csv")),
        (("postgres://db:5432", "crm.crm.people"), ("postgres://db:5432", "crm.crm.people")),
        (("abfss://box@account.dfs", "a b/ü%20;=.csv"), ("abfss://box@account.dfs", "a b/ü%20;=.csv")),
        (("s3://lake", "2026/11.csv"), ("s3://lake", "@32026/11.csv")),
        (("s3://lake", "//x"), ("s3://lake", "@2F/x")),
        (("production", "2026_load.task"), ("production", "2026_load.task")),
        (("s3://lake", "a#1:2.csv"), ("s3://lake", "a@231@3A2.csv")),
        (("s3://lake", "a\nb\u2028"), ("s3://lake", "a@0Ab@E2@80@A8")),
        (("arn:aws:glue:eu-central-1:123", "t/db/x"), ("arn@3Aaws@3Aglue@3Aeu-central-1:123", "t/db/x")),
        (("postgres://[::1]:5432", "a.b.c"), ("postgres://@5B@3A:1@5D:5432", "a.b.c")),
        (("prod:", "1x"), ("prod@3A", "1x")),
        (("10.0.0.1:9092", "topic"), ("@310.0.0.1:9092", "topic")),
        (("s3://lake", "me@ACME@home"), ("s3://lake", "me@40ACME@home")),
        (("s3://lake", "me@acme"), ("s3://lake", "me@acme")),
    ],
)
def test_what_is_carried(name: tuple[str, str], carried: tuple[str, str]) -> None:
    assert encoded(*name) == carried
    assert decoded(*carried) == name


@given(TEXT, TEXT)
@example("@3A", "@40")
@example("0:0", "")
@example("@", "3A#")
@example("a:1", "@31")
@example("0:0", "a")
@example("//a:0", "0")
def test_it_is_found_again_and_can_be_addressed(namespace: str, name: str) -> None:
    there = encoded(namespace, name)
    assert decoded(*there) == (namespace, name)
    assert re.fullmatch(r"[A-Za-z0-9_\-.@+:;=/]*", there[0])
    # As Marquez takes an address apart: by every colon, or if that gives too much by those with neither // nor a digit behind.
    address = f"dataset:{there[0]}:{there[1]}"
    assert "\n" not in address
    assert "#" not in address
    simply = address.split(":")
    assert tuple(simply[1:] if len(simply) == 3 else re.split(r":(?!//|[0-9])", address)[1:]) == there


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_two_never_become_one(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (encoded(*one) == encoded(*other)) == (one == other)


@pytest.mark.parametrize(
    "name", [("s3://lake", "a@41"), ("s3://lake", "a@FF"), ("a@2Fb", "c"), ("n", "@31x")]
)
def test_what_was_never_encoded_is_left(name: tuple[str, str]) -> None:
    assert decoded(*name) == name


def test_all_names_of_an_event() -> None:
    odd = {"namespace": "arn:x", "name": "#"}
    event = {
        "eventType": "COMPLETE",
        "run": {"runId": "r", "facets": {"parent": {"job": odd, "root": {"job": odd}}, "own": {"of": odd}}},
        "job": odd,
        "inputs": [{**odd, "facets": {"symlinks": {"identifiers": [{**odd, "type": "TABLE"}]}}}],
        "outputs": [
            {
                **odd,
                "facets": {
                    "columnLineage": {
                        "fields": {"a#": {"inputFields": [{**odd, "field": "b#"}]}},
                        "dataset": [{**odd, "field": "c"}],
                    },
                    "schema": {"fields": [{"name": "a#", "type": "text"}]},
                },
            }
        ],
    }
    carried = renamed(event, encoded)
    safe = {"namespace": "arn@3Ax", "name": "@23"}
    assert carried["run"]["facets"] == {"parent": {"job": safe, "root": {"job": safe}}, "own": {"of": odd}}
    assert carried["job"] == safe
    assert carried["inputs"] == [
        {**safe, "facets": {"symlinks": {"identifiers": [{**safe, "type": "TABLE"}]}}}
    ]
    facets = carried["outputs"][0]["facets"]
    assert facets["columnLineage"]["fields"] == {"a#": {"inputFields": [{**safe, "field": "b#"}]}}
    assert facets["columnLineage"]["dataset"] == [{**safe, "field": "c"}]
    assert facets["schema"] == {"fields": [{"name": "a#", "type": "text"}]}
    assert renamed(carried, decoded) == event
    assert renamed({"eventType": "START", "run": {"runId": "r"}}, encoded) == {
        "eventType": "START",
        "run": {"runId": "r"},
    }


def test_a_column_has_a_type() -> None:
    facets = {"schema": {"fields": [{"name": "a"}, {"name": "b", "type": "text"}]}}
    event = {
        "inputs": [{"namespace": "s", "name": "#", "facets": facets}],
        "outputs": [{"facets": {"schema": None}}, {}],
    }
    (source, *_) = carried(event)["inputs"]
    assert source["name"] == "@23"
    assert source["facets"]["schema"]["fields"] == [{"name": "a", "type": ""}, {"name": "b", "type": "text"}]
    assert facets["schema"]["fields"][0] == {"name": "a"}  # the event itself is as it was
