"""The world's fixtures, and the one way in which a bad load is judged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_secure_provider.errors import SecureProviderError
from sandbox.aws import Aws
from sandbox.postgres import Database, Postgres
from tests.protection.said import everything_said

from .world import CANARY, Lake, World, customers

Refuses = Callable[..., SecureProviderError]


@pytest.fixture(scope="session")
def lake(aws: Aws) -> Lake:
    return Lake.made(aws)


@pytest.fixture(scope="session")
def database(postgres: Postgres) -> Iterator[Database]:
    """One for all of these tests: each makes its schemas anew, which takes a tenth of a new database's time."""
    with postgres.temporary_database() as database:
        yield database


@pytest.fixture
def world(lake: Lake, database: Database) -> World:
    return World.made(lake, database)


@pytest.fixture
def refuses(world: World, caplog: pytest.LogCaptureFixture) -> Refuses:
    """Hold a load to: this very error, a message that says this, no value told anywhere, the target unchanged.

    The target holds three rows of an earlier load, so that also a lost row would show.
    """
    caplog.set_level(logging.DEBUG, logger="airflow_secure_provider")
    world.load_rows(customers(3, first=9_000_001))

    def check(
        kind: type[SecureProviderError],
        says: tuple[str, ...],
        load: Callable[[], Any],
        *,
        canaries: tuple[str, ...] = (),
        settle: Callable[[], Any] = lambda: None,
    ) -> SecureProviderError:
        before = world.state()
        caplog.clear()
        with pytest.raises(SecureProviderError) as caught:
            load()
        settle()
        error = caught.value
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        for phrase in says:
            assert phrase in str(error)
        told = everything_said(error) + caplog.text + "".join(map(repr, caplog.records))
        for canary in (CANARY, *canaries):
            assert canary not in told
        assert world.state() == before
        return error

    return check
