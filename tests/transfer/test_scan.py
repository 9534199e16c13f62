"""``airflow-secure scan`` of tables and S3 objects, on real servers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.contract.odcs import from_odcs
from sandbox.aws import Aws
from sandbox.postgres import Database

from .world import CANARY, Lake, customers

BODY = "id,mail,sum\n" + "".join(f"{n},{CANARY}.{n}@example.com,{n}.25\n" for n in range(200))


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["scan", *arguments])
    assert CANARY not in done.output + done.stderr
    return done


def kinds(done: Result) -> dict[str, Any]:
    assert done.exit_code == 3, done.stderr
    return {each["name"]: each["kind"] for each in json.loads(done.stdout)["columns"]}


@pytest.fixture
def connected(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(aws.airflow_connection()))


@pytest.mark.usefixtures("connected")
def test_an_encrypted_object(lake: Lake) -> None:
    uri = lake.put(lake.encrypt(BODY.encode()).data)
    assert kinds(run(uri, "--aws-conn-id", "lake", "--json")) == {"id": None, "mail": "email", "sum": None}


@pytest.mark.usefixtures("connected")
def test_another_connection_does_not_take_the_place_of_a_misspelt_one(lake: Lake) -> None:
    done = run(lake.put(lake.encrypt(BODY.encode()).data), "--aws-conn-id", "lake_x")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no connection 'lake_x'" in done.stderr


@pytest.mark.usefixtures("connected")
def test_an_altered_object_tells_nothing(lake: Lake) -> None:
    message = lake.encrypt(BODY.encode(), frame_length=1024)
    done = run(lake.put(message.flipped(message.last_frame + 40)), "--aws-conn-id", "lake")
    assert done.exit_code == 1
    assert not done.stdout
    assert "DecryptionError" in done.stderr


@pytest.mark.usefixtures("connected")
def test_a_plain_object_without_header(lake: Lake) -> None:
    uri = lake.put(BODY.partition("\n")[2].encode())
    done = run(uri, "--aws-conn-id", "lake", "--json", "--no-header")
    assert kinds(done) == {"column_1": None, "column_2": "email", "column_3": None}


def people(database: Database) -> None:
    with database.connect() as there:
        there.execute("DROP TABLE IF EXISTS people")
        there.execute("CREATE TABLE people (id int, mail text, born date, extra jsonb, sum numeric(9,2))")
        for row in customers(50):
            there.execute(
                "INSERT INTO people VALUES (%s, %s, %s, '{}', %s)", (row[0], row[1], row[3], row[4])
            )


def test_a_table(database: Database) -> None:
    people(database)
    found = kinds(run("people", "--database", database.conninfo(), "--json"))
    assert (found["id"], found["mail"], found["sum"]) == (None, "email", None)
    done = run("people", "--database", database.conninfo(), "--assume", "restricted", "--default", "internal")
    assert done.exit_code == 0, done.stderr
    assert from_odcs(done.stdout, "people", "public.people").dataset == "people"


def test_a_table_by_an_airflow_connection(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    people(database)
    server = database.server
    connection = server.airflow_connection(
        database.name, login=server.superuser, password=server.superuser_password
    )
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(connection))
    assert kinds(run("people", "--conn-id", "crm", "--rows", "10", "--json"))["mail"] == "email"


def test_what_is_not_there_ends_in_one_line(database: Database) -> None:
    done = run("nobody", "--database", database.conninfo())
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nobody" in done.stderr
    assert run("people", "--database", "x", "--conn-id", "y").exit_code == 2
