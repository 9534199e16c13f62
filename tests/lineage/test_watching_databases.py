"""Hooks of other databases: what the socket of their driver tells, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, clean_environment
from tests.tls_server import TlsServer

# A hook as of another provider, which is imported after the watching has begun; its driver keeps its socket as redshift_connector does.
SCRIPT = """
import json, socket, ssl, sys
from airflow_secure_provider.lineage.watching.install import watch
from airflow_secure_provider.lineage.observations import OBSERVED
host, port, ca, how = sys.argv[1:]
watch()
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.providers.openlineage.sqlparser import DatabaseInfo

class Connection:
    def __init__(self):
        raw = socket.create_connection((host, int(port)))
        context = ssl.create_default_context(cafile=ca)
        if how == "unverified":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._usock = raw if how == "plain" else context.wrap_socket(raw, server_hostname=host)

class Silent:
    pass

class OtherHook(DbApiHook):
    conn_name_attr, default_conn_name, conn_type = "other_conn_id", "other", "other"
    def get_conn(self):
        return Silent() if how == "silent" else Connection()
    def get_openlineage_database_info(self, connection):
        if how == "broken":
            raise RuntimeError("of the hook")
        return DatabaseInfo(scheme="other", authority=f"{connection.host}:{connection.port}")

assert OtherHook("db").get_conn() is not None
print(json.dumps(OBSERVED.facet(f"other://{host}:{port}", "a.b.c")))
"""


class Nothing(BaseHTTPRequestHandler):
    owner: Any


@pytest.fixture(scope="module")
def authority_here(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority_here: Authority) -> Iterator[TlsServer]:
    with TlsServer(Nothing, "owner", authority_here) as started:
        yield started


@pytest.mark.parametrize(
    ("how", "protocol", "verified"),
    [
        ("verified", "TLSv1.3", True),
        ("unverified", "TLSv1.3", False),
        ("plain", "none", None),
        ("silent", None, None),
        ("broken", None, None),
    ],
)
def test_another_hook(
    server: TlsServer,
    authority_here: Authority,
    tmp_path: Path,
    how: str,
    protocol: str | None,
    verified: bool | None,
) -> None:
    host, _, port = server.url.removeprefix("https://").partition(":")
    connection = {"conn_type": "other", "host": host, "port": int(port)}
    environment = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW_CONN_DB": json.dumps(connection)}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), host, port, str(authority_here.ca_pem), how],
        env=clean_environment(tmp_path / "home", **environment),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))["inTransit"]
    assert (found.get("protocol"), found.get("peerVerified")) == (protocol, verified)
    assert found["evidence"] == ("observed" if protocol else "unknown")
