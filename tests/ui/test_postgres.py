"""The page's queries on PostgreSQL, which is what most metadata databases are; SQLite, in the other tests, forgives more."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.postgres import Database
from tests.ui import facts


@pytest.fixture
def session(database: Database) -> Iterator[Any]:
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    import_all_models()
    engine = create_engine("postgresql+psycopg://", creator=lambda: database.connect())
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        facts.add_dags(opened, {"load": None, "sell": None})
        yield opened
    engine.dispose()


def test_the_queries(session: Any) -> None:
    from airflow_secure_provider.ui.metadata import Run, asset_events, exists, reports

    reader: Any = SimpleNamespace(
        dag_ids={"load"},
        may_read_runs=lambda dag: dag == "load",
        may_read_xcoms=lambda dag: dag == "load",
        may_read_asset=lambda _: True,
    )
    moments = (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=each) for each in itertools.count())
    told = [
        ("load", "run-1", "task", -1, facts.report(target="crm.a.first"), {"s3://lake/x": {}}),
        ("load", "run-2", "task", 2, facts.report(target="crm.a.second"), {}),
        ("load", "run-2", "other", -1, {"at_rest": "in_transit"}, {}),
        ("load", "run-2", "another", -1, ["something", 5], {}),
        ("sell", "run-1", "task", -1, facts.report(target="crm.a.theirs"), {"s3://lake/y": {}}),
    ]
    for each in told:
        facts.add_run(session, *each, next(moments))
    session.flush()
    found = reports(session, reader)
    assert [run.targets[0].name for run in found.runs] == ["crm.a.second", "crm.a.first"]
    assert not found.cut
    (one,) = reports(session, reader, Run("load", "run-2")).runs
    assert one.key == ("load", "run-2", "task", 2)
    assert [run.targets[0].name for run in asset_events(session, reader).runs] == ["s3://lake/x"]
    assert exists(session, Run("load", "run-2", "task", 2))
    assert not exists(session, Run("load", "run-2", "task", 1))
    assert not exists(session, Run("load", "run-3"))


def test_a_database_that_takes_too_long(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement is ended by the server, and the session goes on."""
    from sqlalchemy import text

    from airflow_secure_provider.ui import metadata

    monkeypatch.setattr(metadata, "MOST_SECONDS", 0.2)

    def slow() -> metadata.Told:
        session.execute(text("SELECT pg_sleep(30)"))
        return metadata.Told([])

    began = time.monotonic()
    assert metadata.in_time(session, slow).late
    assert time.monotonic() - began < 10
    assert not metadata.in_time(session, lambda: metadata.Told([])).late
    assert not metadata.exists(session, metadata.Run("load", "run-3"))


def test_another_error_of_the_database_is_not_silent(session: Any) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from airflow_secure_provider.ui import metadata

    def wrong() -> metadata.Told:
        session.execute(text("SELECT 1/0"))
        return metadata.Told([])

    with pytest.raises(DBAPIError, match="division by zero"):
        metadata.in_time(session, wrong)
