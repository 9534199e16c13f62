"""
Tests see neither the caller's accounts nor the caller's Airflow; the servers they need start when first asked for.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Iterator

import pytest

from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.environment import isolate_this_process, short_directory
from sandbox.postgres import Database, Postgres

_scratch = contextlib.ExitStack()
# A skipped test is a failed one: "all", or only those with one of these marks, as in "marquez,airflow"; "all,!marquez" but for these.
_REQUIRED = set(filter(None, os.environ.get("REQUIRE", "").replace(" ", "").split(",")))


def _isolate() -> None:
    """Airflow reads its settings when it is imported, which a test module may do: before that, so here."""
    home = _scratch.enter_context(short_directory())
    isolate_this_process(
        home,
        AIRFLOW_HOME=str(home / "airflow"),
        AIRFLOW__CORE__DAGS_FOLDER=str(home / "airflow" / "dags"),
        AIRFLOW__CORE__FERNET_KEY=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home / 'airflow' / 'airflow.db'}",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        **{
            n: value for n, value in os.environ.items() if n.startswith("TESTBED_") or n == "OPENLINEAGE_SPEC"
        },
    )


_isolate()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With REQUIRE, as in CI, a part that was skipped was not tested, so it fails."""
    outcome = yield
    report = outcome.get_result()
    required = sorted(name for name in _REQUIRED if name == "all" or item.get_closest_marker(name))
    excused = any(name[0] == "!" and item.get_closest_marker(name[1:]) for name in _REQUIRED)
    if required and not excused and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although REQUIRE={required[0]}: {report.longrepr}"


def pytest_unconfigure() -> None:
    _scratch.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres"), authority) as server:
        yield server


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Aws]:
    with Aws(tmp_path_factory.mktemp("aws"), authority) as services:
        yield services


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    """A database of the test's own."""
    with postgres.temporary_database() as database:
        yield database
