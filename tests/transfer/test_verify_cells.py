"""``verify_cells``: what is in the table is looked at before the commit."""

from __future__ import annotations

import pytest

from airflow_secure_provider.errors import ConfigurationError, LoadError
from airflow_secure_provider.transfer import TableTarget

from .conftest import Refuses
from .world import CANARY, World, customers

LOOK = {"verify_cells": 50}
# After the row is protected and before it is stored: what a trigger of somebody else may do.
_UNDO = """
CREATE FUNCTION crm.undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} ; RETURN NEW; END $$;
CREATE TRIGGER undo BEFORE INSERT ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.undo();
"""


def test_the_report_says_how_many_were_seen(world: World) -> None:
    report = world.load_rows(customers(300), target=LOOK)
    seen = {column.name: column.verified_cells for column in report.target.columns}
    assert seen["email"] == seen["ssn"] == 50
    assert (seen["id"], seen["amount"]) == (None, None)
    assert "verify" in report.timings


def test_few_rows_are_all_looked_at(world: World) -> None:
    report = world.load_rows(customers(7), target=LOOK)
    assert {column.verified_cells for column in report.target.columns if column.name == "email"} == {7}


def test_without_it_nothing_is_claimed(world: World) -> None:
    assert {column.verified_cells for column in world.load_rows(customers(3)).target.columns} == {None}


@pytest.mark.parametrize(
    ("undo", "column", "says"),
    [
        (f"NEW.email := '{CANARY}'", "email", "are not base64 text of a cell"),
        (f"NEW.ssn := '{CANARY}'::bytea", "ssn", "too short to be protected cells"),
        # A cell of the other kind, and a token of another key version.
        ("NEW.ssn := NEW.birth_date", "ssn", "are not tokens of this package"),
        ("NEW.ssn := set_byte(NEW.ssn, 4, 9)", "ssn", "tokens are not under key version 1"),
    ],
)
def test_what_is_no_ciphertext_is_not_committed(
    world: World, refuses: Refuses, undo: str, column: str, says: str
) -> None:
    world.execute(_UNDO.format(undo))
    rows = customers(40)
    refuses(
        LoadError,
        (f"crm.customers, column {column!r}", says, "nothing was committed"),
        lambda: world.load_rows(rows, target=LOOK),
    )


def test_plain_values_from_before_are_found_too(world: World, refuses: Refuses) -> None:
    world.execute(f"INSERT INTO crm.customers (id, email) VALUES (1, '{CANARY}')")
    refuses(LoadError, ("column 'email'",), lambda: world.load_rows(customers(5, first=50), target=LOOK))


def test_partitions_are_sampled_together(world: World) -> None:
    world.execute(
        "DROP TABLE crm.customers; CREATE TABLE crm.customers (id bigint, email text, ssn bytea, birth_date bytea, "
        "amount numeric(12,2), notes text) PARTITION BY RANGE (id); "
        "CREATE TABLE crm.few PARTITION OF crm.customers FOR VALUES FROM (0) TO (20); "
        "CREATE TABLE crm.others PARTITION OF crm.customers DEFAULT"
    )
    report = world.load_rows(customers(60), target=LOOK)
    assert {column.verified_cells for column in report.target.columns if column.name == "email"} == {50}


def test_a_view_can_not_be_sampled(world: World, refuses: Refuses) -> None:
    world.execute(
        "ALTER TABLE crm.customers RENAME TO people; CREATE VIEW crm.customers AS SELECT * FROM crm.people"
    )
    refuses(
        ConfigurationError,
        ("crm.customers is no table of its own",),
        lambda: world.load_rows(customers(3), mode="replace", target=LOOK),
    )


@pytest.mark.parametrize("wrong", [-1, True, 10**9])
def test_the_number_is_checked(wrong: int) -> None:
    target = TableTarget(lambda: None, "crm.customers", verify_cells=wrong)
    with pytest.raises(ConfigurationError, match="expected a number of cells up to 100,000"):
        target.check_words()
