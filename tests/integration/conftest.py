"""One world and one real Airflow for all integration tests."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from airflow_secure_provider.lineage.setup import EXTRACTORS
from sandbox.airflow import Airflow
from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, short_directory
from sandbox.making import DATABASE, LAKE
from sandbox.world import World, encrypt, running_world
from tests.api_server import Api

CANARY = "Kanarì/integration-7f3a91"
ROWS = [("1", f"ana@{CANARY}", f"note {CANARY}"), ("2", "", "x"), ("3", f"eve@{CANARY}", f'say "{CANARY}"')]
_DDL = """
SET ROLE crm_owner;
CREATE TABLE crm.people (id bigint PRIMARY KEY, email text, notes bytea);
CREATE TABLE crm.people_masked (id bigint PRIMARY KEY, email text);
CREATE TABLE crm.people_open (id bigint PRIMARY KEY, email text);
RESET ROLE;
"""


@dataclass(frozen=True)
class Stage:
    """The world, its Airflow, and short words for what the tests do with them."""

    world: World
    airflow: Airflow
    api: Api

    def run(self, dag_id: str, timeout_seconds: float = 90) -> str:
        """Run a DAG to its end. :return: its run id."""
        run_id = self.airflow.trigger(dag_id, logical_date=self.next_day())
        self.airflow.wait(dag_id, run_id, timeout_seconds)
        return run_id

    def next_day(self) -> datetime:
        _DAYS.append(_DAYS[-1] + timedelta(days=1))
        return _DAYS[-1]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.world.postgres.connect(dbname=DATABASE) as connection:
            return list(connection.execute(statement.encode()).fetchall())

    def events(self, dag_id: str, run_id: str = "") -> list[dict[str, Any]]:
        """Lineage events of a DAG's tasks."""
        lines = self.world.events.read_text().splitlines() if self.world.events.exists() else []
        found = [json.loads(line) for line in lines]
        return [each for each in found if each["job"]["name"].startswith(f"{dag_id}.")]

    def put(self, key: str, body: bytes) -> None:
        self.world.aws.client("s3").put_object(Bucket=LAKE, Key=key, Body=body)

    def everything_written(self) -> Iterator[tuple[str, bytes]]:
        """All logs, events and the metadata database."""
        folders = (self.airflow.logs_directory, self.airflow.process_logs_directory, self.world.events.parent)
        for folder in folders:
            for path in folder.rglob("*"):
                if path.is_file():
                    yield str(path.name), path.read_bytes()
        for path in self.airflow.home.glob("airflow.db*"):
            yield path.name, path.read_bytes()


def connection_without_vault(world: World) -> str:
    password = secrets.token_urlsafe(16)
    with world.postgres.connect(dbname=DATABASE, autocommit=True) as connection:
        statement = sql.SQL("CREATE ROLE env_user LOGIN SUPERUSER PASSWORD {}")
        connection.execute(statement.format(password))
    return json.dumps(world.postgres.airflow_connection(DATABASE, login="env_user", password=password))


def _for_sqlalchemy_too(connection: str) -> str:
    """PostgresHook gives SQLAlchemy none of a connection's extras but these."""
    body = json.loads(connection)
    names = ("sslmode", "sslrootcert")
    body["extra"] = body["extra"] | {"sqlalchemy_query": {name: body["extra"][name] for name in names}}
    return json.dumps(body)


def _contracts(folder: Path) -> Path:
    """What is known of two of the datasets that stock operators touch: the table is called less than what is loaded into it."""
    folder.mkdir()
    for name, place, column in (
        ("in", f"s3://{LAKE}/stock.csv", "restricted"),
        ("people", "crm.stock_people", "internal"),
    ):
        columns = [{"name": "id", "classification": "internal"}, {"name": "name", "classification": column}]
        schema = [{"name": name, "physicalName": place, "properties": columns}]
        body = {
            "apiVersion": "v3.1.0",
            "kind": "DataContract",
            "id": name,
            "version": "1.0.0",
            "status": "active",
            "schema": schema,
        }
        (folder / f"{name}.odcs.json").write_text(json.dumps(body))
    return folder


_DAYS = [datetime(2026, 1, 1, tzinfo=UTC)]


def csv_of(rows: list[tuple[str, str, str]]) -> bytes:
    lines = ["id,email,notes"]
    lines += [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in rows]
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with short_directory() as directory, running_world(directory) as world:
        with world.postgres.connect(dbname=DATABASE, autocommit=True) as connection:
            connection.execute(_DDL.encode())
        environment = dict(world.airflow_environment)
        backend = json.loads(environment["AIRFLOW__SECRETS__BACKEND_KWARGS"])
        backend["dynamic"]["denied"] = {
            "engine": "database",
            "role": "forbidden",
            "template": "connections/crm",
        }
        crm = backend["dynamic"]["crm"]
        by_name = world.postgres.airflow_connection(DATABASE) | {"host": "localhost"}
        backend["dynamic"]["crm_by_name"] = {**crm, "connection": by_name}
        del backend["dynamic"]["crm_by_name"]["template"]
        backend["triggerer_leases"] = True
        environment["AIRFLOW__SECRETS__BACKEND_KWARGS"] = json.dumps(backend)
        environment["PYTHONPATH"] = str(directory / "test-dags")  # triggers are imported by name
        environment["AIRFLOW__CORE__PARALLELISM"] = "20"
        environment["AIRFLOW__OPENLINEAGE__EXTRACTORS"] = EXTRACTORS
        environment["AIRFLOW__SECURE_PROVIDER__CONTRACTS"] = str(_contracts(directory / "contracts"))
        environment["AIRFLOW__SECURE_PROVIDER__LINEAGE_STORE"] = world.events.as_uri()
        environment["AIRFLOW_CONN_CRM_ENV"] = connection_without_vault(world)
        environment["AIRFLOW_CONN_CRM_VERIFIED"] = _for_sqlalchemy_too(environment["AIRFLOW_CONN_CRM_ENV"])
        environment["AIRFLOW_VAR_PUBLISH_KEY"] = world.kms_key
        kms = world.aws.client("kms")
        good = encrypt(csv_of(ROWS), world.kms_key, kms, {"dataset": "crm.people"})
        s3 = world.aws.client("s3")
        objects = dict.fromkeys(
            (
                "good",
                "bad_context",
                "unclassified",
                "weak",
                "unknown_rest",
                "sealed",
                "denied",
                "unreachable",
            ),
            good,
        )
        objects["tampered"] = good[:-5] + bytes([good[-5] ^ 1]) + good[-4:]
        objects["plain"] = csv_of(ROWS)
        many = [(str(n), f"p{n}@{CANARY}", f"note {n}") for n in range(1_000, 401_000)]
        objects["slow"] = encrypt(csv_of(many), world.kms_key, kms, {"dataset": "crm.people"})
        for name, body in objects.items():
            s3.put_object(Bucket=LAKE, Key=f"{name}.csv", Body=body)
        dags = shutil.copytree(Path(__file__).parent / "dags", directory / "test-dags")
        shutil.copy(REPOSITORY / "dags" / "api_to_s3.py", dags)
        with Api(Authority(directory / "api")) as api:
            environment["AIRFLOW_VAR_LAKE_KEY"] = world.kms_key
            environment["AIRFLOW_CONN_PEOPLE_API"] = api.airflow_connection()
            with Airflow(directory, dags, environment, triggerer=True) as airflow:
                yield Stage(world, airflow, api)
