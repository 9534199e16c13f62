"""Tables that a load makes of its contract; and what differs between file, contract and table, told at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.errors import ContractError, LoadError, SecureProviderError, StoreError

from .world import COLUMNS, HEADER, World, as_csv, customers, in_background

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: crm-people
version: 1.0.0
status: active
schema:
  - name: people
    description: Who we know
    properties:
      - {name: id, logicalType: integer, classification: internal, primaryKey: true, primaryKeyPosition: 2}
      - name: email
        logicalType: string
        classification: restricted
        primaryKey: true
        primaryKeyPosition: 1
        description: "Where it's sent"
        tags: [pii, contact]
        customProperties: [{property: protection, value: {method: tokenize, domain: person-email}}]
      - {name: born, logicalType: date, classification: confidential, required: true, customProperties: [{property: protection, value: {method: generalize, to: year}}]}
      - {name: amount, logicalType: number, physicalType: "numeric(12,2)", classification: internal, required: true}
      - {name: seen, logicalType: timestamp, physicalType: timestamp with time zone, classification: internal}
      - {name: active, logicalType: boolean, classification: internal}
      - {name: note, logicalType: string, classification: confidential, customProperties: [{property: protection, value: encrypt}]}
      - {name: tags, logicalType: array, items: {logicalType: string}, physicalType: "text[]", classification: internal}
      - {name: phone, logicalType: string, classification: restricted, customProperties: [{property: protection, value: fpe}]}
      - {name: gone, logicalType: string, classification: restricted, customProperties: [{property: protection, value: drop}]}
"""
NAMES = ["id", "email", "born", "amount", "seen", "active", "note", "tags", "phone", "gone"]
ROWS = [
    (
        "1",
        "ana@example.com",
        "1980-01-02",
        "1.5",
        "2024-02-29T00:00:00Z",
        "true",
        "hm",
        "{a}",
        "123-45-6789",
        "x",
    ),
    ("2", "bea@example.com", "1990-01-02", "2.5", None, None, None, None, None, None),
]


def contract(text: str = CONTRACT, table: str = "crm.people") -> Any:
    return from_odcs(text, "people.yaml", table)


def load(world: World, rows: Any = ROWS, *, text: str = CONTRACT, target: Any = None, **settings: Any) -> Any:
    body = world.lake.encrypt(as_csv(rows, NAMES)).data
    made = {"create_table": True, **(target or {})}
    return world.load(body, contract(text), "crm.people", target=made, **settings)


def columns_of(world: World) -> list[tuple[Any, ...]]:
    return world.query(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum) "
        "FROM pg_attribute WHERE attrelid = 'crm.people'::regclass AND attnum > 0 ORDER BY attnum"
    )


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_table_as_its_contract_says(world: World, mode: str) -> None:
    assert load(world, mode=mode).rows == 2
    assert columns_of(world) == [
        ("id", "bigint", True, "[internal; protection: none]"),
        ("email", "bytea", True, "Where it's sent [restricted; protection: tokenize; tags: pii, contact]"),
        ("born", "integer", True, "[confidential; protection: generalize]"),
        ("amount", "numeric(12,2)", True, "[internal; protection: none]"),
        ("seen", "timestamp with time zone", False, "[internal; protection: none]"),
        ("active", "boolean", False, "[internal; protection: none]"),
        ("note", "bytea", False, "[confidential; protection: encrypt]"),
        ("tags", "text[]", False, "[internal; protection: none]"),
        ("phone", "text", False, "[restricted; protection: fpe]"),
    ]
    assert world.query("SELECT obj_description('crm.people'::regclass)") == [("Who we know",)]
    key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'crm.people'::regclass AND contype = 'p'"
    assert world.query(key) == [("PRIMARY KEY (email, id)",)]
    assert world.query("SELECT born, amount::text, tags FROM crm.people ORDER BY id") == [
        (1980, "1.50", ["a"]),
        (1990, "2.50", None),
    ]
    assert load(world, [(*ROWS[0][:1], "eve@example.com", *ROWS[0][2:])], mode=mode).rows == 1


def test_upsert_by_the_key_of_the_contract(world: World) -> None:
    target = {"key_columns": ["id", "email"]}
    assert load(world, mode="upsert", target=target).rows == 2
    assert load(world, [(*ROWS[0][:3], "9.5", *ROWS[0][4:])], mode="upsert", target=target).rows == 1
    assert world.query("SELECT amount::text FROM crm.people ORDER BY id") == [("9.50",), ("2.50",)]


def test_of_columns_in_the_dag(world: World) -> None:
    world.execute("DROP TABLE crm.customers")
    body = world.lake.encrypt(as_csv(customers(3))).data
    assert world.load(body, COLUMNS, target={"create_table": True}).rows == 3


def test_a_load_that_fails_makes_no_table(world: World) -> None:
    with pytest.raises(LoadError, match="23505"):
        load(world, [ROWS[0], ROWS[0]])
    assert world.query("SELECT to_regclass('crm.people')") == [(None,)]
    assert world.query("SELECT count(*) FROM secure_provider.column_state WHERE target = 'crm.people'") == [
        (0,)
    ]


def test_without_it_nothing_is_made(world: World) -> None:
    with pytest.raises(StoreError, match="does not exist in database"):
        load(world, target={"create_table": False})
    assert world.query("SELECT to_regclass('crm.people')") == [(None,)]


def test_two_at_a_time(world: World) -> None:
    gate = threading.Barrier(2)

    def one(rows: Any) -> Any:
        gate.wait(30)
        return load(world, rows)

    reports = in_background(lambda: one(ROWS[:1]), lambda: one(ROWS[1:]))
    assert [getattr(report, "rows", report) for report in reports] == [1, 1]
    assert world.query("SELECT count(*) FROM crm.people") == [(2,)]


@pytest.mark.parametrize(
    ("old", "new", "kind", "says"),
    [
        ('physicalType: "numeric(12,2)"', 'physicalType: "int); DROP TABLE crm.customers; --"', ContractError, "which is no type"),
        ('physicalType: "numeric(12,2)"', "physicalType: varchar2", StoreError, "SQLSTATE 42704"),
        ("name: people", "name: people\n    physicalName: nowhere.people", SecureProviderError, "."),
    ],
)  # fmt: skip
def test_what_makes_no_table(
    world: World, old: str, new: str, kind: type[SecureProviderError], says: str
) -> None:
    table = "nowhere.people" if "nowhere" in new else "crm.people"
    body = world.lake.encrypt(as_csv(ROWS, NAMES)).data
    with pytest.raises(kind, match=says):
        world.load(body, contract(CONTRACT.replace(old, new), table), table, target={"create_table": True})
    assert world.query("SELECT count(*) FROM pg_tables WHERE tablename = 'customers'") == [(1,)]


def test_all_that_differs_is_told_at_once(world: World) -> None:
    """File, contract and table each lack something, and one message says all of it."""
    world.execute("ALTER TABLE crm.customers DROP notes, DROP ssn, ADD ssn integer, ADD must text NOT NULL")
    names = [name if name != "birth_date" else "born" for name in HEADER]
    body = world.lake.encrypt(as_csv(customers(3), names)).data
    before = world.state()
    with pytest.raises(ContractError) as raised:
        world.load(body)
    said = str(raised.value)
    for part in (
        "column 'birth_date' of contract 'inline:crm.customers' is missing",
        "column 'born' is not classified",
        "target crm.customers: it has no column 'notes'",
        "column 'must' needs a value and gets none",
        "column 'ssn' is to hold ciphertext",
    ):
        assert part in said
    assert world.state() == before
