"""Rounded numbers and numbers with noise, in tables and in objects."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest
from pyarrow import parquet

from airflow_secure_provider.errors import FormatError

from .conftest import Refuses
from .test_objects import decrypted, mask, target
from .world import CANARY, World, as_csv

HEADER = ("id", "person", "salary", "height")
ROWS = [
    ("1", "ana", "52345", "1.736"),
    ("2", "bo", None, "1.66"),
    ("3", "ana", "52345", "1.64"),
    ("4", "cy", "0", None),
]
COLUMNS: dict[str, Any] = {
    "id": {"method": "none", "type": "integer"},
    "person": "drop",
    "salary": {"method": "noise", "subject": "person", "scale": 500, "type": "integer", "classification": "confidential"},
    "height": {"method": "round", "to": 0.05, "type": "number", "classification": "confidential"},
}  # fmt: skip
PLAIN = {
    name: {"method": "none", **({"type": COLUMNS[name]["type"]} if name != "person" else {})}
    for name in HEADER
}


@pytest.mark.parametrize(
    ("salary", "height"),
    [("int", "numeric(5,2)"), ("bigint", "double precision"), ("numeric(12,2)", "numeric"), ("text", "text")],
)
def test_into_a_table(world: World, salary: str, height: str) -> None:
    world.execute(f"CREATE TABLE crm.people (id int, salary {salary}, height {height})")
    report = world.load(world.lake.encrypt(as_csv(ROWS, HEADER)).data, COLUMNS, "crm.people")
    rows = world.query("SELECT id, salary::numeric::int, height::numeric FROM crm.people ORDER BY id")

    assert report.rows == 4
    assert [row[2] for row in rows] == [Decimal("1.75"), Decimal("1.65"), Decimal("1.65"), None]
    first, none, again, nothing = (row[1] for row in rows)
    assert first == again
    assert none is None
    assert (first % 10, nothing % 10) == (0, 0)
    assert first != 52345
    assert abs(first - 52345) < 38 * 500
    recorded = dict(world.query("SELECT column_name, parameters FROM secure_provider.column_state"))
    assert recorded["salary"] == {"subject": "person", "scale": 500, "to": 10}
    edges = {edge.target: (edge.masking, edge.protection) for edge in report.edges}
    assert edges["salary"] == (True, "noise")
    assert edges["height"] == (True, "round")


def test_a_table_that_is_made_of_the_contract(world: World) -> None:
    world.load(
        world.lake.encrypt(as_csv(ROWS, HEADER)).data, COLUMNS, "crm.made", target={"create_table": True}
    )

    types = world.query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'made' ORDER BY 1"
    )
    assert types == [("height", "numeric"), ("id", "bigint"), ("salary", "bigint")]


def test_a_second_load_has_the_same_noise(world: World) -> None:
    world.execute("CREATE TABLE crm.people (id int, salary int, height numeric)")
    for mode in ("append", "append"):
        world.load(world.lake.encrypt(as_csv(ROWS, HEADER)).data, COLUMNS, "crm.people", mode=mode)

    assert world.query(
        "SELECT max(n) FROM (SELECT count(DISTINCT salary) n FROM crm.people GROUP BY id) x"
    ) == [(1,)]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_out_of_a_table_into_an_object(world: World, ending: str) -> None:
    """Typed columns: numeric, double precision and integer."""
    world.execute("CREATE TABLE crm.plain (id int, person text, salary int, height numeric)")
    world.load(world.lake.encrypt(as_csv(ROWS, HEADER)).data, PLAIN, "crm.plain")
    there = target(world, ending)
    mask(world, world.table_source("crm.plain"), there, COLUMNS)
    text, _ = decrypted(world, there.uri)
    if ending == "parquet":
        rows = parquet.read_table(io.BytesIO(text)).to_pylist()
        assert [str(row["height"]) for row in sorted(rows, key=lambda row: row["id"])] == [
            "1.75",
            "1.65",
            "1.65",
            "None",
        ]
    else:
        assert b"1.75" in text
        assert b"52345" not in text
        assert text.count(b"1.65") == 2


@pytest.mark.parametrize("value", ["NaN", "inf", "9" * 17])
def test_what_can_not_be_rounded(world: World, refuses: Refuses, value: str) -> None:
    world.execute("CREATE TABLE crm.people (id int, salary int, height double precision)")
    rows = [*ROWS, ("5", CANARY, "1", value)]
    refuses(
        FormatError,
        ("column 'height'", "record 5", "not a finite number"),
        lambda: world.load(world.lake.encrypt(as_csv(rows, HEADER)).data, COLUMNS, "crm.people"),
    )
