"""What the compose file says to Airflow, and what its ``bootstrap`` makes, on servers of this machine instead of containers.

Vault is a real one where its binary is on PATH, the S3 server that of the compose file where ``versitygw`` is; otherwise the
stand-in, and moto. The images themselves are not tried here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml

from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.compose.bootstrap import DAY, Places, bootstrap
from sandbox.compose.generated import generate
from sandbox.demo import why
from sandbox.environment import REPOSITORY, Process, clean_environment, free_port
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn
from tests.lineage.server import LineageServer
from tests.real_vault import binary
from tests.waiting import eventually

pytestmark = [pytest.mark.airflow, pytest.mark.slow]
_PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
FILE = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())


@dataclass(frozen=True)
class Stack:
    folder: Path
    places: Places
    postgres: Postgres


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    folder = home / "compose"
    authority = Authority(home / "ca")
    generate(folder, 1000, 1000)
    with contextlib.ExitStack() as owned:
        postgres = owned.enter_context(Postgres(home / "postgres", authority))
        (folder / "secrets" / "postgres-password").write_text(postgres.superuser_password)
        vault = owned.enter_context(running_vault(home, folder, authority))
        s3 = owned.enter_context(running_s3(home, folder, authority))
        places = Places(
            postgres.host, postgres.port, vault, s3, authority.ca_pem,
            folder / "secrets", folder / "state", folder / "airflow",
        )  # fmt: skip
        yield Stack(folder, places, postgres)


@contextlib.contextmanager
def running_vault(home: Path, folder: Path, authority: Authority) -> Iterator[str]:
    """As docker/vault/vault.hcl has it, sealed and empty; or the stand-in."""
    program = binary()
    if program is None:
        with VaultStandIn(home / "vault", authority) as stand_in:
            kept = {"unseal_key": stand_in.unseal_key, "root_token": stand_in.root_token}
            (folder / "state" / "vault.json").write_text(json.dumps(kept))
            yield stand_in.url
        return
    certificate, key = authority.server("vault")
    port, cluster = free_port(), free_port()
    settings = (REPOSITORY / "docker/vault/vault.hcl").read_text()
    for said, here in {
        "/run/secrets/vault.pem": str(certificate),
        "/run/secrets/vault.key": str(key),
        "0.0.0.0:8200": f"127.0.0.1:{port}",
        "/vault/file": str(folder / "data/vault"),
        "vault:8200": f"127.0.0.1:{port}",
        "vault:8201": f"127.0.0.1:{cluster}",
    }.items():
        assert settings.count(said) == 1
        settings = settings.replace(said, here)
    (home / "vault.hcl").write_text(settings)
    command = [program, *FILE["services"]["vault"]["command"][:-1], f"-config={home / 'vault.hcl'}"]
    with Process("Vault", command, log=home / "vault.log", environment=clean_environment(home / "home")):
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def running_s3(home: Path, folder: Path, authority: Authority) -> Iterator[str]:
    program = shutil.which("versitygw")
    if program is None:
        with Aws(home / "aws", authority) as aws:
            yield aws.endpoint_url
        return
    certificate, key = authority.server("s3")
    port = free_port()
    given = dict(line.split("=", 1) for line in (folder / "secrets/s3.env").read_text().splitlines())
    command = [program, *FILE["services"]["s3"]["command"]]
    places = {":7070": f"127.0.0.1:{port}", "/run/secrets/s3.pem": certificate, "/run/secrets/s3.key": key}
    for said, here in places.items():
        command = [part.replace(said, str(here)) for part in command]
    command[-1] = str(folder / "data/s3")
    environment = clean_environment(home / "home", **given)
    with Process("versitygw", command, log=home / "s3.log", environment=environment) as process:
        health = f"https://127.0.0.1:{port}/health"
        process.wait_until_ready(lambda: answers(health, authority.ca_pem))
        yield f"https://127.0.0.1:{port}"


def answers(url: str, ca: Path) -> bool:
    try:
        return requests.get(url, verify=str(ca), timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_bootstrap_makes_what_the_dag_needs(stack: Stack) -> None:
    bootstrap(stack.places)
    kept = json.loads((stack.folder / "state" / "vault.json").read_text())
    assert set(kept) == {"unseal_key"}, "the root token must not stay"
    for file in ("state/vault.json", "airflow/secret-id"):
        assert stat.S_IMODE((stack.folder / file).stat().st_mode) == 0o600
    secret_id = (stack.folder / "airflow" / "secret-id").read_text()
    with stack.postgres.connect(dbname="crm") as connection:
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'crm'")
        assert owners.fetchall() == [("crm_owner",)]
    for name in ("airflow", "marquez"):
        password = stack.places.said(f"{name}-db-password")
        with stack.postgres.connect(name, password, name) as own:
            own.execute("CREATE TABLE mine (x int)")
            own.rollback()
        other = "marquez" if name == "airflow" else "airflow"
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            stack.postgres.connect(name, password, other)
        with (
            stack.postgres.connect(name, password, "crm") as crm,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            crm.execute("SELECT FROM crm.customers")

    bootstrap(stack.places)  # once more changes nothing
    assert (stack.folder / "airflow" / "secret-id").read_text() == secret_id


def test_bootstrap_says_what_to_do_without_the_unseal_key(stack: Stack) -> None:
    file = stack.folder / "state" / "vault.json"
    away = file.rename(file.with_suffix(".away"))
    try:
        with pytest.raises(SystemExit, match="begin anew without"):
            bootstrap(stack.places)
    finally:
        away.rename(file)


def test_the_demo_dag_runs_as_the_compose_file_has_it(stack: Stack, tmp_path: Path) -> None:
    bootstrap(stack.places)
    with LineageServer() as lineage, contextlib.ExitStack() as owned:
        port = free_port()
        environment = airflow_environment(stack, tmp_path, lineage.url, port)

        def airflow(name: str, *command: str) -> Process:
            arguments = [*FILE["services"][f"airflow-{name}"]["command"], *command]
            log = tmp_path / f"{name}.log"
            process = Process(
                f"airflow {name}",
                [sys.executable, "-m", "airflow", *arguments],
                log=log,
                environment=environment if name == "api" else {**environment, _PASSWORDS: "/not/mounted"},
                directory=tmp_path,
            )
            return owned.enter_context(process)

        airflow("init").wait(120)
        api = airflow("api", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
        scheduler = airflow("scheduler")
        processor = airflow("dag-processor")
        triggerer = airflow("triggerer")
        client = Api(f"http://127.0.0.1:{port}")
        api.wait_until_ready(lambda: client.answers("/api/v2/monitor/health"), 90)
        health = (
            f"http://127.0.0.1:{environment['AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT']}/health"
        )
        scheduler.wait_until_ready(lambda: Api(health).answers(""), 60)

        assert client.status("GET", "/auth/token") in (401, 403), "there must be no login without a password"
        client.log_in("admin", stack.places.said("airflow-admin-password"))
        processor.wait_until_ready(lambda: client.answers("/api/v2/dags/secure_customers"), 90)
        run = client.ask(
            "POST", "/api/v2/dags/secure_customers/dagRuns", {"logical_date": f"{DAY}T00:00:00Z"}
        )
        where = f"/api/v2/dags/secure_customers/dagRuns/{run['dag_run_id']}"

        def ended() -> bool:
            scheduler.check()
            return client.ask("GET", where)["state"] in ("success", "failed")

        assert eventually(ended, 150)
        logs = "".join(texts_below(stack.folder / "data"))
        assert client.ask("GET", where)["state"] == "success", why(logs)
        for process in (api, scheduler, processor, triggerer):
            process.check()
        alive = client.ask("GET", "/api/v2/monitor/health")
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        assert {alive[part]["status"] for part in parts} == {"healthy"}
        for name in ("dag-processor", "triggerer"):
            kind, check = FILE["services"][f"airflow-{name}"]["healthcheck"]["test"]
            assert kind == "CMD-SHELL"
            asked = {**environment, "HOSTNAME": socket.gethostname()}
            command = check.replace("$$", "$").replace("airflow", f"'{sys.executable}' -m airflow", 1)
            subprocess.run(["sh", "-c", command], env=asked, check=True, timeout=60)
        with stack.postgres.connect(dbname="crm") as connection:
            assert connection.execute("SELECT count(*) FROM crm.customers").fetchone() == (20_000,)
            shared = connection.execute(
                "SELECT sum(number), min(number) FROM (SELECT count(*) AS number FROM analytics.customers GROUP BY birth_date, postcode) c"
            ).fetchone()
            assert shared is not None
            assert 19_800 <= shared[0] <= 20_000
            assert shared[1] >= 5
            plain = connection.execute(
                "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'airflow' AND NOT ssl"
            )
            assert plain.fetchone() == (0,)
            left = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'"
            assert eventually(lambda: connection.execute(left).fetchone() == (0,), 20)
        # Each twice: Marquez gets a run's end once more, with the news that its credentials were revoked.
        assert eventually(lambda: len(completed(lineage.events)) == 6, 20)
        assert len({event["run"]["runId"] for event in completed(lineage.events)}) == 3
        for event in completed(lineage.events):
            for dataset in event["inputs"] + event["outputs"]:
                assert dataset["facets"]["secureProvider_encryption"]["status"] == "protected", dataset

        told = logs + json.dumps(lineage.events)
        told += "".join(file.read_text(errors="replace") for file in tmp_path.glob("*.log"))
        for file in (*(stack.folder / "secrets").iterdir(), stack.folder / "airflow" / "secret-id"):
            if file.suffix not in (".pem", ".env", ".yml"):
                assert file.read_text() not in told, file.name


def airflow_environment(stack: Stack, home: Path, lineage: str, port: int) -> dict[str, str]:
    """That of the compose file, with the places of this machine instead of those in the containers."""
    folder, places = stack.folder, stack.places
    here = {
        "/run/secrets/ca.pem": str(places.ca),
        "/run/secrets": str(places.secrets),
        "/var/lib/airflow/login": str(folder / "airflow"),
        "/var/lib/airflow/admin": str(folder / "admin"),
        "/var/lib/airflow/logs": str(folder / "data/airflow-logs"),
        "/var/lib/airflow/leases": str(folder / "data/leases"),
        "/var/lib/airflow/lineage": str(folder / "data/lineage"),
        "https://vault:8200": places.vault,
        "http://marquez:5000": lineage,
        "http://airflow-api:8080": f"http://127.0.0.1:{port}",
        "postgres:5432": f"{places.postgres_host}:{places.postgres_port}",
    }

    def placed(text: str) -> str:
        for said, instead in here.items():
            text = text.replace(said, instead)
        return text

    for uri in ("airflow-db-uri", "airflow-db-uri-async"):
        file = places.secrets / uri
        file.write_text(placed(file.read_text()))
    told = {name: placed(value) for name, value in FILE["x-airflow-environment"].items()}
    told |= {"AIRFLOW_HOME": str(home / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags")}
    del told["HOME"]
    ports = {
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }
    return clean_environment(home / "home", **told, **ports)


def texts_below(folder: Path) -> Iterator[str]:
    """Without an event that has been sent meanwhile."""
    for name in ("airflow-logs", "lineage", "leases"):
        for file in (folder / name).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file():
                    yield file.read_text(errors="replace")


def completed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        event
        for event in events
        if event["eventType"] == "COMPLETE" and event["job"]["name"].startswith("secure_customers.")
    ]


class Api:
    def __init__(self, url: str) -> None:
        self.url = url
        self._headers: dict[str, str] = {}

    def status(self, method: str, path: str, body: Any = None) -> int:
        answer = requests.request(
            method, self.url + path, json=body, headers=self._headers, timeout=30, proxies={"http": ""}
        )
        self.last = answer
        return answer.status_code

    def answers(self, path: str) -> bool:
        try:
            return self.status("GET", path) == 200
        except requests.RequestException:
            return False

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        status = self.status(method, path, body)
        assert 200 <= status < 300, (status, self.last.text[:2000])
        return self.last.json()

    def log_in(self, user: str, password: str) -> None:
        token = self.ask("POST", "/auth/token", {"username": user, "password": password})["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}
