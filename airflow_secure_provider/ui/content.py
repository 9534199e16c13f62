"""What the page shows: gathered, limited to what its reader may read, and filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from airflow.configuration import conf
from airflow.utils.session import create_session

from ..model import Status
from .access import Reader
from .lineage_store import stored
from .metadata import (
    MOST_ASSET_EVENTS,
    MOST_CHARACTERS,
    MOST_REPORTS,
    MOST_SECONDS,
    Run,
    asset_events,
    exists,
    in_time,
    reports,
)
from .runs import Seen, TaskRun, merged, with_known_names


@dataclass(frozen=True, slots=True)
class Content:
    """
    :ivar runs: the newest first.
    :ivar notes: what is not shown, and why.
    """

    runs: tuple[TaskRun, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filters:
    """Empty is any. ``attention`` is exposed or unknown."""

    status: str = ""
    evidence: str = ""
    classification: str = ""
    dag: str = ""
    q: str = ""

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def __call__(self, found: Seen) -> bool:
        wanted = (Status.EXPOSED, Status.UNKNOWN) if self.status == "attention" else (self.status,)
        return (
            (not self.status or found.status in wanted)
            and (not self.evidence or found.worst.evidence == self.evidence)
            and (not self.classification or found.classification == self.classification)
            and (not self.dag or self.dag in found.dags)
            and (not self.q or self.q.lower() in _searched(found))
        )

    def query(self, **changed: str) -> str:
        """As a query string."""
        values = {
            "class" if name == "classification" else name: value for name, value in asdict(self).items()
        }
        return urlencode({name: value for name, value in (values | changed).items() if value})


def gather(reader: Reader, run: Run | None = None) -> Content | None:
    """
    :param run: only this DAG run, or task run.
    :return: ``None`` for a run that is not there, or that the reader may not read: nobody can tell which.
    """
    if run is not None and not reader.may_read_runs(run.dag_id):
        return None
    with create_session() as session:
        if run is not None and not exists(session, run):
            return None
        told = in_time(session, lambda: reports(session, reader, run))
        assets = in_time(session, lambda: asset_events(session, reader, run))
    notes = []
    if told.late or assets.late:
        what = " and ".join(name for name, each in (("reports", told), ("asset events", assets)) if each.late)
        notes.append(
            f"The metadata database did not give the {what} within {MOST_SECONDS} s: none of them is shown here. A single run's page "
            "asks for less; `airflow db clean` takes old XComs away."
        )
    if told.cut:
        notes.append(
            f"Only the newest reports in XCom are read, {MOST_REPORTS:,} or {MOST_CHARACTERS // 10**6} MB; older ones are missing here."
        )
    if assets.cut:
        notes.append(
            f"Only the newest {MOST_ASSET_EVENTS:,} asset events are read; older ones are missing here."
        )
    store = conf.get("secure_provider", "lineage_store", fallback="")
    if not store:
        notes.append(
            "No lineage store is named ([secure_provider] lineage_store): what stock operators read and wrote is missing "
            "here, but for their assets."
        )
    lineage = stored(store, _namespace())
    from_store = [each for each in lineage.runs if reader.may_read_runs(each.dag_id)]
    reported = {each.key for each in told.runs}
    # An outlet of our operators names the dataset once more that their report names.
    further = [each for each in assets.runs if each.contract is None or each.key not in reported]
    found = merged(told.runs, from_store, with_known_names(further, told.runs + from_store))
    return Content(tuple(each for each in found if _is_of(each, run)), (*notes, *lineage.notes))


def dags_of(found: Sequence[Seen]) -> list[str]:
    return sorted({dag for each in found for dag in each.dags})


def _is_of(each: TaskRun, run: Run | None) -> bool:
    return run is None or (
        (each.dag_id, each.run_id) == (run.dag_id, run.run_id)
        and run.task_id in (None, each.task_id)
        and run.map_index in (None, each.map_index)
    )


def _searched(found: Seen) -> str:
    keys = (end.at_rest.key_id or "" for end, _ in found.seen)
    return " ".join((found.uri, *found.dags, *(column.name for column in found.columns), *keys)).lower()


def _namespace() -> str:
    from airflow.providers.openlineage.conf import namespace

    return str(namespace())
