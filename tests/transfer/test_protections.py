"""Keyed protections through real loads: what joins, what reveals, what is noticed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.errors import ContractError, DecryptionError, FormatError
from airflow_secure_provider.protection.reversible import ColumnCipher

from .conftest import Refuses
from .world import CANARY, World, as_csv

HEADER = ("id", "card", "email", "patient", "admitted", "discharged", "salary")
COLUMNS: dict[str, Any] = {
    "id": {"method": "none", "type": "integer"},
    "card": {"method": "fpe", "domain": "card", "on_unfit": "encrypt", "classification": "restricted"},
    "email": {"method": "pseudonymize", "domain": "person", "classification": "restricted"},
    "patient": "drop",
    "admitted": {"method": "shift_date", "subject": "patient", "type": "date"},
    "discharged": {"method": "shift_date", "subject": "patient", "type": "date"},
    "salary": {"method": "encrypt", "domain": "pay", "scope": "pay", "bind_to": "id", "classification": "restricted"},
}  # fmt: skip
ROWS = [
    ("1", "4111 1111 1111 1111", f"{CANARY}1@x.org", "ana", "2024-01-01", "2024-01-08", "100"),
    ("002", "n/a", f"{CANARY}1@x.org", "bo", "2024-01-01", None, "200"),
    ("3", None, None, "ana", "2024-02-01", "2024-02-08", None),
]


@pytest.fixture
def stays(world: World) -> World:
    world.execute(
        "CREATE TABLE crm.stays (id int, card text, email bytea, admitted date, discharged date, salary text)"
    )
    world.load(world.lake.encrypt(as_csv(ROWS, HEADER)).data, COLUMNS, "crm.stays")
    return world


def test_a_renamed_or_copied_table_still_reveals(stays: World) -> None:
    """Cells depend on the author's names, not on where they lie."""
    cells = "SELECT salary FROM crm.{} ORDER BY id"
    stays.execute(
        "CREATE TABLE crm.copied AS SELECT * FROM crm.stays; ALTER TABLE crm.stays RENAME TO visits"
    )
    contract = from_columns(COLUMNS, "crm.customers")
    for table in ("copied", "visits"):
        held = [row[0] for row in stays.query(cells.format(table))]
        cipher = ColumnCipher(next(r for r in contract.rules if r.name == "salary"), stays.lake.keyset)
        assert cipher.reveal(pa.array(held), [pa.array(["1", "2", "3"])]).to_pylist() == ["100", "200", None]


def revealed(world: World, *names: str, table: str = "crm.stays", **options: Any) -> list[tuple[Any, ...]]:
    """Through a share that reveals, as MaskColumnsOperator makes it."""
    world.execute(f"CREATE TABLE IF NOT EXISTS crm.open ({', '.join(f'{name} text' for name in names)})")
    kept = dict.fromkeys(names, "none")
    columns = {name: kept.get(name, "drop") for name in HEADER if name != "patient"}
    columns = {
        name: {"method": method, "classification": COLUMNS[name].get("classification", "internal")}
        if name != "id"
        else {"method": method, "type": "integer"}
        for name, method in columns.items()
    }
    for name in names:
        if columns[name].get("classification") == "restricted":
            columns[name] = {
                "method": "encrypt",
                "classification": "restricted",
                "scope": "open",
                "domain": "open",
            }
    world.load(
        world.table_source(table), columns, "crm.open", mode="replace",
        options=world.options(reveal_with=world.lake.keyset), **options,
    )  # fmt: skip
    return world.query(f"SELECT {', '.join(names)} FROM crm.open ORDER BY 1")


def test_what_is_stored(stays: World) -> None:
    rows = stays.query(
        "SELECT card, email, admitted::text, discharged::text, salary FROM crm.stays ORDER BY id"
    )

    assert [len(rows[0][0]), rows[0][0][4], rows[1][0][:1], rows[2][0]] == [19, " ", "~", None]
    assert rows[0][0] != "4111 1111 1111 1111"
    assert rows[0][1] == rows[1][1]
    assert len(rows[0][1]) == 16
    days = stays.query("SELECT discharged - admitted FROM crm.stays WHERE discharged IS NOT NULL")
    assert days == [(7,), (7,)]
    assert stays.query("SELECT max(admitted) - min(admitted) FROM crm.stays WHERE id <> 2") == [(31,)]
    assert not any(CANARY in str(cell) for row in rows for cell in row)


def test_the_state_of_each_column(stays: World) -> None:
    recorded = dict(stays.query("SELECT column_name, parameters FROM secure_provider.column_state"))

    assert recorded["card"] == {"alphabet": "digits", "on_unfit": "encrypt"}
    assert recorded["salary"] == {"bind_to": ["id"]}
    assert recorded["admitted"] == {"subject": "patient", "days": 182}
    versions = stays.query(
        "SELECT DISTINCT keyset_id, key_version FROM secure_provider.column_state WHERE column_name <> 'id'"
    )
    assert versions == [("customers", 1)]


def test_a_bound_cell_in_another_row_is_noticed(stays: World) -> None:
    """The salary is bound to the id as the table holds it: 2, written 002 in the source."""
    stays.execute("CREATE TABLE crm.pay (id int, salary bytea)")
    columns = {name: "drop" for name in HEADER if name != "patient"} | {
        "id": {"method": "none", "type": "integer"},
        "card": {"method": "drop", "classification": "restricted"},
        "email": {"method": "drop", "classification": "restricted"},
        "salary": {"method": "encrypt", "scope": "other", "domain": "other", "classification": "restricted"},
    }
    options = stays.options(reveal_with=stays.lake.keyset)
    assert (
        stays.load(stays.table_source("crm.stays"), columns, "crm.pay", mode="replace", options=options).rows
        == 3
    )
    stays.execute(
        "UPDATE crm.stays a SET salary = b.salary FROM crm.stays b WHERE (a.id, b.id) IN ((1, 2), (2, 1))"
    )
    with pytest.raises(DecryptionError, match=r"column 'salary': 2 of 2 cells .* bound to 'id'"):
        stays.load(stays.table_source("crm.stays"), columns, "crm.pay", mode="replace", options=options)


def test_a_copy_under_another_name_reveals(stays: World) -> None:
    """Nothing depends on the name of the table; who copies it copies what is known of its columns."""
    stays.execute(
        "CREATE TABLE crm.kept AS SELECT * FROM crm.stays; INSERT INTO secure_provider.column_state "
        "SELECT 'crm.kept', column_name, classification, protection, domain, scope, keyset_id, key_version, parameters, "
        "contract_id, contract_version, contract_digest FROM secure_provider.column_state WHERE target = 'crm.stays'"
    )
    assert len(revealed(stays, "id", "card", "salary", table="crm.kept")) == 3


def test_pseudonyms_are_not_revealed(stays: World) -> None:
    with pytest.raises(ContractError, match="column 'email' of the source is pseudonymize already"):
        revealed(stays, "id", "email")


def test_unfit_values_in_a_load(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.cards (id int, card text)")
    columns = {"id": "none", "card": {"method": "fpe", "classification": "restricted"}}
    refuses(
        FormatError,
        ("column 'card'", "1 of 2 values are unfit for fpe", "on_unfit"),
        lambda: world.load(
            world.lake.encrypt(f"id,card\n1,4111111111\n2,{CANARY}\n".encode()).data, columns, "crm.cards"
        ),
    )


@pytest.mark.parametrize(
    ("type_", "columns", "says"),
    [
        ("bigint", {"method": "fpe"}, "column 'card' is to hold characters: make it text or varchar"),
        ("varchar(20)", {"method": "fpe", "on_unfit": "encrypt"}, "the cells of unfit values too"),
        ("int", "pseudonymize", "column 'card' is to hold pseudonyms: make it bytea or text"),
        (
            "text",
            {"method": "encrypt", "bind_to": "id"},
            "column 'card' is bound to column 'id', a string in the contract and integer",
        ),
    ],
)
def test_columns_that_can_not_hold_it(
    world: World, refuses: Refuses, type_: str, columns: Any, says: str
) -> None:
    world.execute(f"CREATE TABLE crm.cards (id int, card {type_})")
    refuses(
        ContractError,
        (says,),
        lambda: world.load(
            world.lake.encrypt(b"id,card\n1,4111111111\n").data, {"id": "none", "card": columns}, "crm.cards"
        ),
    )
