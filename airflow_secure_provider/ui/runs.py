"""What task runs said of their datasets, in one shape, whoever told it; and the datasets that follow from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from ..model import AtRest, Classification, DatasetRef, DatasetStatus, Evidence, InTransit, Protection, Status

UNCLASSIFIED = "unclassified"
UNKNOWN = "unknown"
WORST_FIRST = (Status.EXPOSED, Status.UNKNOWN, Status.PARTIAL, Status.PROTECTED)
_WEAKEST_FIRST = (Evidence.CONTRADICTED, Evidence.UNKNOWN, Evidence.DECLARED, Evidence.OBSERVED)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset.

    :ivar classification: ``unclassified`` where nobody says a class that we know.
    :ivar protection: ``unknown`` where nobody says a protection that we know.
    """

    name: str
    classification: str = UNCLASSIFIED
    protection: str = UNKNOWN
    algorithm: str | None = None
    reversible: bool | None = None
    domain: str | None = None
    keyset: str | None = None
    key_version: str | None = None

    @property
    def protected(self) -> bool:
        return self.protection not in (Protection.NONE, UNKNOWN)


@dataclass(frozen=True)
class End:
    """A dataset as one task run saw it.

    :ivar stated: the status that was told. It counts only where it is worse than what follows from the facts.
    """

    namespace: str
    name: str
    stated: Status = Status.UNKNOWN
    at_rest: AtRest = field(default_factory=AtRest)
    in_transit: InTransit = field(default_factory=InTransit)
    columns: tuple[Column, ...] = ()
    note: str | None = None
    asset_uri: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def uri(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def asset_uris(self) -> set[str]:
        """How an Airflow asset of it may be called: a table has dots in OpenLineage, and slashes in Airflow."""
        table = (
            f"{self.namespace}/{self.name.replace('.', '/')}"
            if self.namespace.startswith("postgres")
            else self.uri
        )
        return {self.uri, table, self.asset_uri or self.uri}

    @cached_property
    def status(self) -> Status:
        ref = DatasetRef(self.namespace, self.name, self.uri)
        return worst((self.stated, DatasetStatus(ref, self.at_rest, self.in_transit).status))

    @property
    def evidence(self) -> Evidence:
        """Of the weaker of both facts."""
        return min(self.at_rest.evidence, self.in_transit.evidence, key=_WEAKEST_FIRST.index)


@dataclass(frozen=True, slots=True)
class Edge:
    """One target column comes from one source column. Both ends by the key of their dataset."""

    source: tuple[str, str]
    source_column: str
    target: tuple[str, str]
    target_column: str
    description: str = ""
    masking: bool = False


@dataclass(frozen=True)
class TaskRun:
    """What one task run did, as far as it is told.

    :ivar told_by: XCom, lineage store or asset event.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    at: datetime
    told_by: str
    sources: tuple[End, ...] = ()
    targets: tuple[End, ...] = ()
    edges: tuple[Edge, ...] = ()
    contract: str | None = None
    rows: int | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.dag_id, self.run_id, self.task_id, self.map_index

    @property
    def task(self) -> str:
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.task_id}{index}"

    @property
    def ends(self) -> tuple[End, ...]:
        return self.sources + self.targets


@dataclass(frozen=True)
class Seen:
    """A dataset and who saw it, the newest first: of each task what its last run saw."""

    namespace: str
    name: str
    seen: tuple[tuple[End, TaskRun], ...]

    @property
    def uri(self) -> str:
        return self.seen[0][0].uri

    @cached_property
    def worst(self) -> End:
        return min((end for end, _ in self.seen), key=lambda end: WORST_FIRST.index(end.status))

    @property
    def status(self) -> Status:
        return self.worst.status

    @property
    def disputed(self) -> bool:
        return len({end.status for end, _ in self.seen}) > 1

    @property
    def last(self) -> TaskRun:
        return self.seen[0][1]

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """As the newest run saw them that saw any."""
        return next((end.columns for end, _ in self.seen if end.columns), ())

    @cached_property
    def classification(self) -> str:
        """The strictest class of any column; one column without a class leaves it open."""
        classes = {column.classification for end, _ in self.seen for column in end.columns}
        known = [each for each in reversed(Classification) if each in classes]
        if known and known[0] is Classification.RESTRICTED:
            return known[0]  # there is none above it
        if UNCLASSIFIED in classes:
            return UNCLASSIFIED
        return known[0] if known else UNKNOWN

    @property
    def dags(self) -> tuple[str, ...]:
        return tuple(sorted({run.dag_id for _, run in self.seen}))


def worst(statuses: Iterable[Status]) -> Status:
    return min(statuses, key=WORST_FIRST.index, default=Status.UNKNOWN)


def merged(*tellers: Iterable[TaskRun]) -> list[TaskRun]:
    """One for each task run. Who comes first is believed, and of each teller the newest; others add what it left out."""
    found: dict[tuple[str, str, str, int], TaskRun] = {}
    for runs in tellers:
        for run in sorted(runs, key=lambda run: run.at, reverse=True):
            found[run.key] = _added(found[run.key], run) if run.key in found else run
    return sorted(found.values(), key=lambda run: run.at, reverse=True)


def with_known_names(assets: Iterable[TaskRun], runs: Iterable[TaskRun]) -> Iterator[TaskRun]:
    """Task runs that know only an asset, under the name that others gave its dataset."""
    names = {uri: end for run in runs for end in run.ends for uri in end.asset_uris}
    for run in assets:
        ends = (
            replace(end, namespace=names[end.name].namespace, name=names[end.name].name)
            if end.name in names
            else end
            for end in run.targets
        )
        yield replace(run, targets=tuple(ends))


def datasets(runs: Iterable[TaskRun]) -> list[Seen]:
    """The worst first, then by name.

    Of each task its last run counts. What is worse of several counts: one task that sees a dataset in plaintext is not
    made good by another that does not.
    """
    by_dataset: dict[tuple[str, str], dict[tuple[str, str], tuple[End, TaskRun]]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.at, reverse=True):
        for end in run.ends:
            tasks = by_dataset[end.key]
            mine = run.dag_id, run.task_id
            known = tasks.get(mine)
            if known is None:
                tasks[mine] = end, run
            elif known[1].run_id == run.run_id and _worse(end, known[0]):
                tasks[mine] = end, run  # both ends of one run, or another mapped one of it
    found = [
        Seen(*key, tuple(sorted(tasks.values(), key=lambda each: each[1].at, reverse=True)))
        for key, tasks in by_dataset.items()
    ]
    return sorted(found, key=lambda each: (WORST_FIRST.index(each.status), each.uri))


def counts(found: Iterable[Seen]) -> Mapping[Status, int]:
    numbers = dict.fromkeys(WORST_FIRST, 0)
    for each in found:
        numbers[each.status] += 1
    return numbers


def _worse(end: End, than: End) -> bool:
    return WORST_FIRST.index(end.status) < WORST_FIRST.index(than.status)


def _added(first: TaskRun, later: TaskRun) -> TaskRun:
    """Both tell of one task run. What only the later one knows is added; of a dataset that both know the worse counts."""
    return replace(
        first, sources=_both(first.sources, later.sources), targets=_both(first.targets, later.targets)
    )


def _both(first: tuple[End, ...], later: tuple[End, ...]) -> tuple[End, ...]:
    def same(end: End) -> End | None:
        names = {("", name) for name in end.asset_uris}
        return next((each for each in later if each.key == end.key or each.key in names), None)

    pairs = [(end, same(end)) for end in first]
    known = {other.key for _, other in pairs if other is not None}
    return (
        *(end if other is None else _held_against(end, other) for end, other in pairs),
        *(end for end in later if end.key not in known),
    )


def _held_against(end: End, other: End) -> End:
    notes = list(dict.fromkeys(each.note for each in (end, other) if each.note))
    # Who knows nothing says nothing against it.
    says_something = other.status is not Status.UNKNOWN or other.at_rest.evidence is Evidence.CONTRADICTED
    if says_something and _worse(other, end):
        end = replace(end, stated=other.status, at_rest=other.at_rest, in_transit=other.in_transit)
    return replace(end, note="; ".join(notes) or None)
