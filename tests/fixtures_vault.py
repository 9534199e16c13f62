"""Vault for tests: the stand-in, and a real server where there is one.

A real server (HashiCorp Vault or OpenBao) is one of our own, if ``bao`` or ``vault`` is on PATH; or the one that
``TESTBED_VAULT_ADDR`` and ``TESTBED_VAULT_TOKEN`` (root) name, trusted through ``TESTBED_VAULT_CACERT``. Every test has
mounts of its own there and removes them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hvac
import psycopg
import pytest
from psycopg import sql

from sandbox.ca import Authority
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn
from tests.real_vault import RealVault, binary

CREATION = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE crm_owner"
)
_VAULT_PASSWORD = secrets.token_urlsafe(16)
REVOCATION = 'DROP ROLE IF EXISTS "{{name}}"'


@dataclass(frozen=True)
class VaultServer:
    """What the contract suite needs of a server, stand-in or real."""

    description: str
    url: str
    root_token: str
    verify: str | bool

    def client(self, token: str | None = None) -> hvac.Client:
        return hvac.Client(
            url=self.url, token=self.root_token if token is None else token, verify=self.verify, timeout=10
        )


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[VaultStandIn]:
    """The stand-in; one for the session, so take mounts and policies with names of your own."""
    with VaultStandIn(tmp_path_factory.mktemp("vault"), authority) as stand_in:
        yield stand_in


_NAMED = os.environ.get("TESTBED_VAULT_ADDR", ""), os.environ.get("TESTBED_VAULT_TOKEN", "")


@pytest.fixture(scope="session")
def real_vault(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[RealVault]:
    """A server of our own; it can be restarted. Only what is there if a binary is asks for it."""
    with RealVault(tmp_path_factory.mktemp("real-vault"), authority) as real:
        yield real


@pytest.fixture(scope="session", params=["stand-in", "real"] if all(_NAMED) or binary() else ["stand-in"])
def vault_server(request: pytest.FixtureRequest) -> VaultServer:
    """The stand-in, and then a real server if there is one."""
    if request.param == "stand-in":
        stand_in: VaultStandIn = request.getfixturevalue("vault")
        server = VaultServer("the stand-in", stand_in.url, stand_in.root_token, str(stand_in.ca_pem))
    else:
        if all(_NAMED):
            address, token = _NAMED
            verify: str | bool = os.environ.get("TESTBED_VAULT_CACERT") or True
        else:
            own: RealVault = request.getfixturevalue("real_vault")
            address, token, verify = own.url, own.root_token, str(own.ca_pem)
        client = hvac.Client(url=address, token=token, verify=verify, timeout=10)
        version = client.sys.read_health_status(method="GET")["version"]
        client.adapter.close()
        server = VaultServer(f"a real server, version {version}, at {address}", address, token, verify)
    used = request.config.stash.setdefault(USED, [])
    if server.description not in used:
        used.append(server.description)
    return server


USED: pytest.StashKey[list[str]] = pytest.StashKey()


@dataclass(frozen=True)
class DatabaseEngine:
    """A database engine whose role ``loader`` makes members of ``crm_owner``."""

    mount: str
    role: str
    postgres: Postgres

    def config(self) -> dict[str, Any]:
        return database_config(self.postgres)

    def role_exists(self, name: str) -> bool:
        return self.value("SELECT count(*) FROM pg_roles WHERE rolname = %s", name) == 1

    def value(self, query: str, *parameters: Any) -> Any:
        with self.postgres.connect() as connection:
            row = connection.execute(query.encode(), parameters).fetchone()
            return row[0] if row else None


def database_config(postgres: Postgres) -> dict[str, Any]:
    return {
        "name": "crm",
        "plugin_name": "postgresql-database-plugin",
        "allowed_roles": ["loader"],
        "connection_url": (
            f"postgresql://{{{{username}}}}:{{{{password}}}}@{postgres.host}:{postgres.port}/postgres"
            f"?sslmode=verify-full&sslrootcert={postgres.ca_pem}"
        ),
        "username": "vault",
        "password": _VAULT_PASSWORD,
    }


def unique(name: str) -> str:
    return f"{name}-{secrets.token_hex(4)}"


def enable_database(
    client: hvac.Client, postgres: Postgres, *, ttl: str = "1h", max_ttl: str = "2h"
) -> DatabaseEngine:
    """Mount a database engine with the role ``loader``; its own account is no superuser, as in the how-to."""
    with postgres.connect(autocommit=True) as connection:
        for role in ("crm_owner", "vault"):
            with contextlib.suppress(psycopg.errors.DuplicateObject):
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("ALTER ROLE vault LOGIN CREATEROLE PASSWORD {}").format(_VAULT_PASSWORD))
        connection.execute("GRANT crm_owner TO vault WITH ADMIN OPTION")
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS crm AUTHORIZATION crm_owner"))
    mount = unique("database")
    client.sys.enable_secrets_engine("database", path=mount)
    client.secrets.database.configure(mount_point=mount, **database_config(postgres))
    create_role(client, mount, "loader", ttl=ttl, max_ttl=max_ttl)
    return DatabaseEngine(mount, "loader", postgres)


def create_role(client: hvac.Client, mount: str, name: str, *, ttl: str, max_ttl: str) -> None:
    client.secrets.database.create_role(
        name=name,
        db_name="crm",
        creation_statements=[CREATION],
        revocation_statements=[REVOCATION],
        default_ttl=ttl,
        max_ttl=max_ttl,
        mount_point=mount,
    )
