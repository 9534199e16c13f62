"""``airflow-secure scan`` of tables with odd names: the contract describes just the table that was looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.contract.registry import Registry
from airflow_secure_provider.model import Classification
from sandbox.postgres import Database

TABLES = """
CREATE SCHEMA IF NOT EXISTS "We ird"; DROP TABLE IF EXISTS "We ird"."Pe""ople", odd_people;
CREATE TABLE "We ird"."Pe""ople" ("e-Mail" text, "a""b: c" text, "Ünï" text, "SELECT" text);
CREATE TABLE odd_people ("e-Mail" text, "a""b: c" text, "Ünï" text, "SELECT" text);
"""


@pytest.fixture
def tables(database: Database) -> Database:
    with database.connect() as connection:
        connection.execute(TABLES)
        for table in ('"We ird"."Pe""ople"', "odd_people"):
            connection.execute(
                f"INSERT INTO {table} SELECT n || '@example.com', 'x', 'y', 'z' FROM generate_series(1, 30) n"
            )
    return database


def scanned(database: Database, table: str) -> Result:
    return CliRunner().invoke(
        cli,
        ["scan", table, "--database", database.conninfo(), "--assume", "restricted", "--default", "internal"],
    )


@pytest.mark.parametrize(
    ("table", "known"),
    [
        ('"We ird"."Pe""ople"', 'We ird.Pe"ople'),
        ("odd_people", "public.odd_people"),
        ("Public.ODD_People", "public.odd_people"),
        ('"public"."odd_people"', "public.odd_people"),
    ],
)
def test_the_contract_describes_the_table(tables: Database, table: str, known: str, tmp_path: Path) -> None:
    done = scanned(tables, table)
    assert done.exit_code == 0, done.output
    made = from_odcs(done.stdout, known)
    assert [rule.name for rule in made.rules] == ["e-Mail", 'a"b: c', "Ünï", "SELECT"]
    (tmp_path / "people.odcs.yaml").write_text(done.stdout)
    classes = Registry.read(tmp_path).classes("postgres://anywhere:5432", f"crm.{known}")
    assert classes["e-Mail"] is Classification.RESTRICTED


@pytest.mark.parametrize("table", ['"', "a.b.c", "people; DROP TABLE x", "x'--", "", '"a"b'])
def test_what_is_no_table_is_refused(tables: Database, table: str) -> None:
    assert scanned(tables, table).exit_code in (1, 2)
