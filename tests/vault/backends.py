"""What tests of the backend need on any server: an engine, a login that may little, and backends made as airflow.cfg would."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import hvac
import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

from airflow_secure_provider import leases
from airflow_secure_provider.secrets.vault import VaultSecretsBackend
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import DatabaseEngine, VaultServer, enable_database, unique

POLICY = """
path "secret/data/connections/*" {{ capabilities = ["read"] }}
path "secret/data/variables/*" {{ capabilities = ["read"] }}
path "secret/data/config/*" {{ capabilities = ["read"] }}
path "secret/data/connections/forbidden" {{ capabilities = ["deny"] }}
path "{mount}/creds/*" {{ capabilities = ["read"] }}
path "{mount}/static-creds/*" {{ capabilities = ["read"] }}
path "sys/leases/revoke" {{ capabilities = ["update"] }}
"""


def connection_fields(postgres: Postgres) -> dict[str, Any]:
    return postgres.airflow_connection("postgres")


@dataclass
class Backends:
    """Makes backends that an AppRole of few rights logs in, with the dynamic connection ``crm``."""

    server: VaultServer
    root: hvac.Client
    engine: DatabaseEngine
    mount: str
    login: dict[str, str]
    made: list[VaultSecretsBackend] = field(default_factory=list)

    def __call__(self, **kwargs: Any) -> VaultSecretsBackend:
        entry = {"role": "loader", "mount": self.engine.mount}
        given = {
            "url": self.server.url,
            "auth_type": "approle",
            "ca_cert": self.server.verify,
            "dynamic": {"crm": {**entry, "connection": connection_fields(self.engine.postgres)}},
            "auth_mount_point": self.mount,
            **self.login,
            **kwargs,
        }
        self.made.append(
            VaultSecretsBackend(**{key: value for key, value in given.items() if value is not None})
        )
        self.made[-1]._set_connection_class(Connection)
        return self.made[-1]

    def let_login_live(self, ttl: str, max_ttl: str) -> None:
        self.root.auth.approle.create_or_update_approle(
            "airflow",
            token_policies=[self.mount],
            token_ttl=ttl,
            token_max_ttl=max_ttl,
            mount_point=self.mount,
        )

    def allow(self, policy: str) -> None:
        self.root.sys.create_or_update_acl_policy(self.mount, policy)

    def put(self, path: str, **data: Any) -> None:
        self.root.secrets.kv.v2.create_or_update_secret(path, data, mount_point="secret")

    def close(self) -> None:
        leases.revoke_task_leases()  # before the login that they end with
        for each in self.made:
            each.vault_client.close()
        self.root.sys.disable_auth_method(self.mount)


def make_backends(
    server: VaultServer, root: hvac.Client, engine: DatabaseEngine, *, seconds: int = 3600
) -> Backends:
    mount = unique("approle")
    root.sys.enable_auth_method("approle", path=mount)
    root.sys.create_or_update_acl_policy(mount, POLICY.format(mount=engine.mount))
    root.auth.approle.create_or_update_approle(
        "airflow", token_policies=[mount], token_ttl=seconds, token_max_ttl=2 * seconds, mount_point=mount
    )
    role_id = root.auth.approle.read_role_id("airflow", mount_point=mount)["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id("airflow", mount_point=mount)["data"]["secret_id"]
    return Backends(server, root, engine, mount, {"role_id": role_id, "secret_id": secret_id})


@contextmanager
def stand_in_backends(vault: VaultStandIn, postgres: Postgres, **lifetimes: str) -> Iterator[Backends]:
    """On the stand-in, for what only it can do: faults, counts. :param lifetimes: of the role: ``ttl`` and ``max_ttl``."""
    root = vault.client()
    server = VaultServer("the stand-in", vault.url, vault.root_token, str(vault.ca_pem))
    made = make_backends(server, root, enable_database(root, postgres, **lifetimes))
    try:
        yield made
    finally:
        vault.inject()
        made.close()
        leases.LOGINS.clear()
        root.adapter.close()


def denied(look_up: Callable[[], object]) -> str:
    """The message of the denial, once nothing secret was found in all that hangs on it."""
    with pytest.raises(AirflowSecretsBackendAccessDenied) as caught:
        look_up()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    text = "".join(traceback.format_exception(caught.value))
    assert "hvs." not in text
    return str(caught.value)


def in_child(action: Callable[[], str]) -> str:
    """What the action returns, or how it fails, in a forked child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = action()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer
