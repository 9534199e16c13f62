"""What the metadata database knows: reports in XCom, asset events, and which task runs there are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import Text, cast, func, select
from sqlalchemy import text as sql_text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from ..model import Status
from .access import Reader
from .reports import mapping, task_run, text, word
from .runs import End, TaskRun

MOST_REPORTS = 2000
MOST_ASSET_EVENTS = 2000
MOST_SECONDS = 10
MOST_CHARACTERS = 16_000_000
_MOST_OF_ONE = 1_000_000  # a report with a thousand columns has some 700,000
_ROWS_AT_ONCE = 100
ASSET_EVENT = "asset event"
_QUERY_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run, or one task run of it."""

    dag_id: str
    run_id: str
    task_id: str | None = None
    map_index: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """
    :ivar cut: that there are more.
    :ivar late: that the database was not done in time, and what it found is not known.
    """

    runs: list[TaskRun]
    cut: bool = False
    late: bool = False


def in_time(session: Session, read: Callable[[], Told]) -> Told:
    """What is read within :data:`MOST_SECONDS` of each statement, as far as the database keeps time (PostgreSQL does).

    Reports are found by their text, for which no database has an index.
    """
    if session.get_bind().dialect.name != "postgresql":
        return read()
    try:
        with session.begin_nested():
            session.execute(sql_text(f"SET LOCAL statement_timeout = {int(MOST_SECONDS * 1000)}"))
            return read()
    except OperationalError as error:
        if _QUERY_CANCELED not in (
            getattr(error.orig, "sqlstate", None),
            getattr(error.orig, "pgcode", None),
        ):
            raise
    return Told([], late=True)


def exists(session: Session, run: Run) -> bool:
    if run.task_id is None:
        query = select(DagRun.run_id).where(DagRun.dag_id == run.dag_id, DagRun.run_id == run.run_id)
    else:
        query = select(TaskInstance.run_id).where(
            TaskInstance.dag_id == run.dag_id,
            TaskInstance.run_id == run.run_id,
            TaskInstance.task_id == run.task_id,
        )
        if run.map_index is not None:
            query = query.where(TaskInstance.map_index == run.map_index)
    return session.execute(query.limit(1)).first() is not None


def reports(session: Session, reader: Reader, run: Run | None = None) -> Told:
    """What our operators returned, the newest first."""
    value = cast(XComModel.value, Text)
    query = (
        select(
            XComModel.value,
            XComModel.dag_id,
            XComModel.run_id,
            XComModel.task_id,
            XComModel.map_index,
            XComModel.timestamp,
            func.length(value),
        )
        .where(
            XComModel.key == "return_value",
            # A report is told by its shape, not by its operator's name, which a subclass changes.
            value.like("%at_rest%"),
            value.like("%in_transit%"),
            func.length(value) < _MOST_OF_ONE,
        )
        .order_by(XComModel.timestamp.desc())
        .limit(MOST_REPORTS + 1)
    )
    query = query.where(_within(XComModel.dag_id, XComModel.run_id, reader.dag_ids, run))
    found: list[TaskRun] = []
    read = characters = 0
    with session.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)) as rows:
        for *row, length in rows:
            read, characters = read + 1, characters + length
            if read > MOST_REPORTS or characters > MOST_CHARACTERS:
                return Told(found, cut=True)
            told = task_run(*row) if reader.may_read_xcoms(row[1]) else None
            if told is not None:
                found.append(told)
    return Told(found)


def asset_events(session: Session, reader: Reader, run: Run | None = None) -> Told:
    """Which assets task runs have updated. Of most of them nothing else is known, and that is said, too."""
    query = (
        select(AssetEvent, AssetModel.uri)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetEvent.source_task_id.is_not(None), AssetEvent.source_run_id.is_not(None))
        .order_by(AssetEvent.id.desc())
        .limit(MOST_ASSET_EVENTS + 1)
    )
    query = query.where(_within(AssetEvent.source_dag_id, AssetEvent.source_run_id, reader.dag_ids, run))
    rows = session.execute(query).all()
    return Told(
        [
            _of_asset(event, uri)
            for event, uri in rows[:MOST_ASSET_EVENTS]
            if reader.may_read_runs(str(event.source_dag_id)) and reader.may_read_asset(event.asset_id)
        ],
        len(rows) > MOST_ASSET_EVENTS,
    )


def _within(dag: Any, run_of: Any, dag_ids: Collection[str], run: Run | None) -> Any:
    if run is None:
        return dag.in_(dag_ids)
    return (dag == run.dag_id) & (run_of == run.run_id)


def _of_asset(event: AssetEvent, uri: str) -> TaskRun:
    extra = mapping(event.extra)
    ours = text(extra.get("contract")) if "contract_digest" in extra else None
    said = word(Status, extra.get("status"), Status.UNKNOWN) if ours else Status.UNKNOWN
    note = None
    if said not in (Status.UNKNOWN, Status.EXPOSED):
        note = f"The asset event says {said!s}; the report with the evidence for it is gone, so it counts as unknown."
    end = End("", uri, Status.EXPOSED if said is Status.EXPOSED else Status.UNKNOWN, note=note, asset_uri=uri)
    index = event.source_map_index
    return TaskRun(
        str(event.source_dag_id),
        str(event.source_run_id),
        str(event.source_task_id),
        -1 if index is None else index,
        event.timestamp,
        ASSET_EVENT,
        targets=(end,),
        contract=ours,  # only our operators' events have one
    )
