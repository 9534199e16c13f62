from __future__ import annotations

from collections.abc import Iterator

import hvac
import pytest

from airflow_secure_provider import leases
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import (
    USED,
    DatabaseEngine,
    VaultServer,
    enable_database,
    real_vault,
    vault,
    vault_server,
)
from tests.vault.backends import Backends, make_backends, stand_in_backends

__all__ = ["real_vault", "vault", "vault_server"]


@pytest.fixture
def root(vault_server: VaultServer) -> Iterator[hvac.Client]:
    client = vault_server.client()
    yield client
    client.adapter.close()


@pytest.fixture
def engine(root: hvac.Client, postgres: Postgres) -> Iterator[DatabaseEngine]:
    made = enable_database(root, postgres)
    yield made
    root.sys.disable_secrets_engine(made.mount)


@pytest.fixture
def backends(vault_server: VaultServer, root: hvac.Client, engine: DatabaseEngine) -> Iterator[Backends]:
    made = make_backends(vault_server, root, engine)
    yield made
    made.close()


@pytest.fixture
def stand_in(vault: VaultStandIn, postgres: Postgres) -> Iterator[Backends]:
    with stand_in_backends(vault, postgres) as made:
        yield made


@pytest.fixture
def task() -> Iterator[None]:
    """This process is a task for the length of the test."""
    leases.enter_task_process()
    yield
    leases.revoke_task_leases()
    leases.LOGINS.clear()
    leases.BOOK._left.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for description in config.stash.get(USED, []):
        terminalreporter.write_line(f"the Vault contract suite ran against {description}")
    if not any("real" in description for description in config.stash.get(USED, ["real"])):
        terminalreporter.write_line(
            "no real Vault: neither bao nor vault is on PATH, and TESTBED_VAULT_ADDR names none"
        )
