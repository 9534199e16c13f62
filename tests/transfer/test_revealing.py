"""Plain values out of ciphertext: only on record, only what can be, all or nothing."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from airflow_secure_provider.errors import ConfigurationError, ContractError, DecryptionError, StoreError
from airflow_secure_provider.stores.ddl import grants
from airflow_secure_provider.transfer.revealing import reveal_contract

from .conftest import Refuses
from .world import COLUMNS, HEADER, World, customers

LOG = "SELECT event, purpose, source, target, columns, keyset_id, rows, task FROM secure_provider.reveal_log ORDER BY id"
BOUND = {
    **COLUMNS,
    "id": {"method": "none", "type": "integer"},
    "birth_date": {"method": "encrypt", "type": "date", "bind_to": "id", "classification": "confidential"},
    "notes": {"method": "redact", "keep_last": 2},
}


@pytest.fixture
def people(world: World) -> World:
    world.load_rows(customers(20), columns=BOUND)
    world.execute("CREATE TABLE crm.case_17 (id bigint, email text, ssn text, birth_date date)")
    return world


def reveal(
    world: World, *columns: str, keep: tuple[str, ...] = ("id",), rows: str | None = None, **settings: Any
) -> Any:
    options = {"reveal_with": world.lake.keyset, "purpose": "case 17"} | settings.pop("options", {})
    with world.database.connect() as connection:
        contract = reveal_contract(connection, "crm.customers", columns, keep)
    return world.load(
        world.table_source(rows=rows, only=[rule.name for rule in contract.rules]), contract, "crm.case_17", mode="replace",
        options=world.options(keyset=None, **options), **settings,
    )  # fmt: skip


def test_values_come_back_on_record(people: World) -> None:
    people.execute("ALTER TABLE crm.customers ADD loaded_at timestamptz DEFAULT now()")  # of no interest
    report = reveal(people, "email", "ssn", "birth_date")

    shown = people.query("SELECT id::text, email, ssn, birth_date::text FROM crm.case_17 c ORDER BY c.id")
    assert shown == [row[:4] for row in customers(20)]
    columns = {column.name: column for column in report.target.columns}
    assert (columns["ssn"].classification, columns["ssn"].protection) == ("restricted", "none")
    record = ("case 17", "crm.customers", "crm.case_17", ["email", "ssn", "birth_date"], "customers")
    task = "dag/task/run/-1"
    assert people.query(LOG) == [("begun", *record, None, task), ("done", *record, 20, task)]
    logins = people.query("SELECT DISTINCT login, acting_as FROM secure_provider.reveal_log")
    assert logins == [(people.database.server.superuser,) * 2]


def test_only_some_rows(people: World) -> None:
    assert reveal(people, "ssn", rows="id = 17").rows == 1
    assert people.query("SELECT DISTINCT condition FROM secure_provider.reveal_log") == [("id = 17",)]
    assert people.query("SELECT id::text, ssn, email FROM crm.case_17") == [
        (*customers(20)[16][:1], customers(20)[16][2], None)
    ]


def test_cells_that_are_kept_stay_cells(people: World) -> None:
    reveal(people, "ssn", keep=("id", "email"))
    assert people.query("SELECT count(*) FROM crm.case_17 JOIN crm.customers USING (id, email)") == [(20,)]


def test_the_record_is_there_before_the_first_row(people: World) -> None:
    people.execute("UPDATE crm.customers SET ssn = set_byte(ssn, 30, get_byte(ssn, 30) # 1) WHERE id = 20")
    with pytest.raises(DecryptionError):
        reveal(people, "ssn")
    assert [row[0] for row in people.query(LOG)] == ["begun"]
    assert people.query("SELECT count(*) FROM crm.case_17") == [(0,)]


def test_without_a_record_nothing_is_revealed(people: World) -> None:
    people.execute("DROP TABLE secure_provider.reveal_log")
    with pytest.raises(ConfigurationError, match="the tables of schema secure_provider are missing"):
        reveal(people, "ssn")
    assert people.query("SELECT count(*) FROM crm.case_17") == [(0,)]


def test_the_one_who_reveals_can_only_add_to_the_record(people: World) -> None:
    role = f"revealer_{people.database.name}"
    people.execute(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA crm TO {role}; GRANT SELECT ON crm.customers TO {role}; "
        f"GRANT SELECT, INSERT, DELETE ON crm.case_17 TO {role}; {grants(role)}"
    )
    try:
        reveal(people, "ssn", target={"set_role": role})
        assert people.query("SELECT DISTINCT acting_as FROM secure_provider.reveal_log") == [(role,)]
        for statement in ("DELETE FROM", "TRUNCATE", "SELECT * FROM"):
            with people.database.connect() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SET ROLE {role}; {statement} secure_provider.reveal_log")
        people.execute(f"REVOKE INSERT ON secure_provider.reveal_log FROM {role}")
        with pytest.raises(StoreError, match="lacks a privilege"):
            reveal(people, "ssn", target={"set_role": role}, task="dag/task/another/-1")
    finally:
        people.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    ("columns", "keep", "says"),
    [
        (("notes",), (), "column 'notes' is redact, which nothing undoes"),
        (("id",), (), "column 'id' is none, holds its values already"),
        (("nome",), ("x",), "it has no column 'nome', 'x'"),
        (("ssn", "note"), ("id",), "nothing is recorded of column 'note'"),
    ],
)
def test_what_can_not_be_revealed(
    people: World, columns: tuple[str, ...], keep: tuple[str, ...], says: str
) -> None:
    people.execute("ALTER TABLE crm.customers ADD note text")
    with pytest.raises(ContractError, match=says):
        reveal(people, *columns, keep=keep)


def test_nothing_to_reveal(people: World) -> None:
    with pytest.raises(ConfigurationError, match="reveal= names no column"):
        reveal(people)


@pytest.mark.parametrize("purpose", ["", "  \n"])
def test_an_empty_purpose(people: World, purpose: str) -> None:
    with pytest.raises(ConfigurationError, match="purpose= is empty"):
        reveal(people, "ssn", options={"purpose": purpose})
    assert people.query(LOG) == []


def test_a_mask_does_not_reveal(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.plain (id bigint, notes text)")
    columns = dict.fromkeys(HEADER, "drop") | {"id": "none", "notes": "none"}
    for name in ("email", "ssn"):
        columns[name] = {"method": "drop", "classification": "restricted"}  # type: ignore[assignment]
    refuses(
        ContractError,
        (
            "column 'notes' of the source holds ciphertext and would be stored as plain values",
            "RevealColumnsOperator",
        ),
        lambda: world.load(
            world.table_source(), columns, "crm.plain", options=world.options(reveal_with=world.lake.keyset)
        ),
    )


def test_booleans_of_a_table(world: World) -> None:
    """COPY writes t and f."""
    world.execute(
        "CREATE TABLE crm.flags (id int, active boolean); INSERT INTO crm.flags VALUES (1, true), (2, false), (3, null); "
        "CREATE TABLE crm.copied (id int, active boolean)"
    )
    columns = {"id": "none", "active": {"method": "none", "type": "boolean"}}
    world.load(world.table_source("crm.flags"), columns, "crm.copied")
    assert world.query("SELECT * FROM crm.copied ORDER BY id") == [(1, True), (2, False), (3, None)]
