"""Airflow's own API application in this process, with its auth manager, teams and a metadata database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from sandbox.environment import short_directory
from tests.ui import facts

USERS = "ana:viewer:crm,bob:viewer:sales,root:admin"


@pytest.fixture(scope="package")
def airflow_app() -> Iterator[Any]:
    """Two teams: crm has the DAGs ``load`` and ``=cmd``, sales has ``sell``; ``open`` is nobody's."""
    with short_directory() as home:
        settings = {
            "AIRFLOW__CORE__MULTI_TEAM": "True",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of this test alone, long enough for HMAC-SHA512, as it should be.",
            "AIRFLOW__OPENLINEAGE__NAMESPACE": facts.NAMESPACE,
        }
        with mock.patch.dict(os.environ, settings):
            drop = _make_database()
            from airflow.api_fastapi.app import create_app, purge_cached_app

            try:
                yield create_app(apps="core")
            finally:
                purge_cached_app()
                drop()


@pytest.fixture
def client(airflow_app: Any) -> Callable[..., Any]:
    """``client("ana")`` is logged in, ``client()`` is not."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from starlette.testclient import TestClient

    teams = {"ana": ["crm"], "bob": ["sales"]}

    def logged_in(name: str = "") -> Any:
        found = TestClient(airflow_app, raise_server_exceptions=True)
        if name:
            role = "admin" if name == "root" else "viewer"
            user = SimpleAuthManagerUser(username=name, role=role, teams=teams.get(name))
            found.headers["Authorization"] = f"Bearer {get_auth_manager().generate_jwt(user)}"
        return found

    return logged_in


@pytest.fixture
def told(airflow_app: Any) -> Iterator[Callable[..., None]]:
    """Puts a task run into the metadata database, with what it returned and the assets that it updated."""
    from airflow.utils.session import create_session

    clock = iter(datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=n) for n in range(10_000))

    def tell(
        dag_id: str,
        value: Any = None,
        *,
        task_id: str = "task",
        run_id: str = "run-1",
        map_index: int = -1,
        assets: dict[str, Any] | None = None,
    ) -> None:
        with create_session() as session:
            facts.add_run(session, dag_id, run_id, task_id, map_index, value, assets or {}, next(clock))

    yield tell
    with create_session() as session:
        facts.clear(session)


@pytest.fixture(autouse=True)
def no_store() -> Iterator[None]:
    """Nothing is kept from one test to the next."""
    from airflow_secure_provider.ui import lineage_store

    lineage_store._KEPT.clear()
    yield
    lineage_store._KEPT.clear()


def _make_database() -> Callable[[], None]:
    """:return: what drops it again."""
    from airflow import settings
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.utils.session import create_session

    import_all_models()
    settings.configure_orm()
    Base.metadata.create_all(settings.engine)
    with create_session() as session:
        facts.add_dags(session, {"load": "crm", "=cmd": "crm", "sell": "sales", "open": None})
    return lambda: Base.metadata.drop_all(settings.engine)
