"""Which dataset came from which, and how each hop was protected: read out of OpenLineage events."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from sys import intern
from typing import Any

from ..errors import ConfigurationError
from ..model import AtRest, DatasetRef, DatasetStatus, Evidence, InTransit, Status
from .facets import ENCRYPTION


@dataclass(frozen=True, slots=True)
class Column:
    """
    :ivar classification: as the event says; ``None`` where it does not.
    :ivar protection: the same; ``unknown`` where nobody looked.
    """

    name: str
    classification: str | None
    protection: str


@dataclass(frozen=True, slots=True)
class End:
    """One end of a hop.

    :ivar status: protected, partial, exposed or unknown; ``unknown`` too where the event does not say.
    """

    namespace: str
    name: str
    status: str
    at_rest: str
    in_transit: str
    columns: tuple[Column, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Hop:
    """What one task run did between these two.

    :ivar masked: target columns that are masked.
    :ivar edges: columns whose values came along: the target's, and the source's.
    """

    source: End
    target: End
    job: str
    run_id: str
    at: datetime
    masked: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "source": _end_as_dict(self.source),
            "target": _end_as_dict(self.target),
            "job": self.job,
            "runId": self.run_id,
            "at": self.at.isoformat(),
            "masked": list(self.masked),
            "columns": [{"target": target, "source": source} for target, source in self.edges],
        }


@dataclass(slots=True)
class _Way:
    """All that one job did between two datasets, by time."""

    source: str
    target: str
    hops: list[Hop] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)

    def at(self, moment: datetime | None) -> Hop | None:
        """The last until then, with the columns of all: what an earlier one has brought may still be there."""
        last = len(self.hops) if moment is None else bisect_right(self.times, moment)
        if not last:
            return None
        hop = self.hops[last - 1]
        if all(each.edges is hop.edges for each in self.hops[:last]):
            return hop
        return replace(
            hop, edges=tuple(dict.fromkeys(edge for each in self.hops[:last] for edge in each.edges))
        )


class Graph:
    """The last hop of each job between two datasets, now or as of a moment.

    :ivar skipped: lines that were no events.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._ways: dict[tuple[str, str, str], _Way] = {}
        self._into: dict[str, list[_Way]] = {}
        self._from: dict[str, list[_Way]] = {}
        self._sorted = True

    def add(self, hop: Hop) -> None:
        source, target = hop.source.uri, hop.target.uri
        way = self._ways.get((hop.job, source, target))
        if way is None:
            way = self._ways[hop.job, source, target] = _Way(source, target)
            self._into.setdefault(target, []).append(way)
            self._from.setdefault(source, []).append(way)
        way.hops.append(hop)
        self._sorted = False

    def hops(self, as_of: datetime | None = None) -> list[Hop]:
        """:param as_of: what was known then: later ones are left out."""
        self._sort()
        return [hop for way in self._ways.values() if (hop := way.at(as_of)) is not None]

    def datasets(self) -> set[str]:
        return self._into.keys() | self._from.keys()

    def find(self, wanted: str) -> str:
        """The dataset of a URI, or of a name that only one has.

        :raises ConfigurationError: for none, or for several.
        """
        known = self.datasets()
        if wanted in known:
            return wanted
        found = sorted(each for each in known if each.endswith((f"/{wanted}", f".{wanted}")))
        if len(found) == 1:
            return found[0]
        if not found:
            raise ConfigurationError(
                f"no event has a dataset {wanted!r}; there are {len(known)}, such as {_some(known)}"
            )
        raise ConfigurationError(
            f"{wanted!r} is the name of {len(found)} datasets: {_some(found)}; give one whole"
        )

    def walk(self, dataset: str, *, upstream: bool, as_of: datetime | None = None) -> list[Hop]:
        """All hops that lead to a dataset, or from it: nearest first, each once."""
        self._sort()
        beside = self._into if upstream else self._from
        found: list[Hop] = []
        seen, waiting = {dataset}, deque([dataset])
        while waiting:
            near = [
                (hop, way.source if upstream else way.target)
                for way in beside.get(waiting.popleft(), ())
                if (hop := way.at(as_of)) is not None
            ]
            near.sort(key=_when, reverse=True)
            for hop, further in near:
                found.append(hop)
                if further not in seen:
                    seen.add(further)
                    waiting.append(further)
        return found

    def _sort(self) -> None:
        if self._sorted:
            return
        for way in self._ways.values():
            if len(way.times) != len(way.hops):
                way.hops.sort(key=lambda hop: hop.at)
                way.times = [hop.at for hop in way.hops]
        self._sorted = True


def read(lines: Iterable[str]) -> Graph:
    """:param lines: a JSON event each, in any order."""
    graph, reader = Graph(), _Reader()
    for line in lines:
        if not line.strip():
            continue
        try:
            hops = list(reader.hops(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            graph.skipped += 1
            continue
        for hop in hops:
            graph.add(hop)
    return graph


def hops_of(event: Mapping[str, Any]) -> list[Hop]:
    """Of one event; none if it is not of something that was done."""
    return list(_Reader().hops(event))


def parse_time(text: str) -> datetime:
    """ISO 8601; without a zone it is UTC. :raises ConfigurationError: for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time such as 2026-11-21T12:00:00+01:00") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _when(found: tuple[Hop, str]) -> datetime:
    return found[0].at


class _Reader:
    """From events to hops. What many events say alike is in memory once."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def hops(self, event: Mapping[str, Any]) -> Iterator[Hop]:
        """Only of what was done: a START or a FAIL moved nothing."""
        if event["eventType"] != "COMPLETE":
            return
        at = parse_time(event["eventTime"].replace("Z", "+00:00"))
        job = intern(f"{event['job']['namespace']}.{event['job']['name']}")
        run_id = str(event["run"]["runId"])
        sources = [self._end(each) for each in event.get("inputs") or ()]
        for output in event.get("outputs") or ():
            target = self._end(output)
            fields = ((output.get("facets") or {}).get("columnLineage") or {}).get("fields") or {}
            masked = self._once(
                tuple(sorted(intern(name) for name, edge in fields.items() if _is_masked(edge)))
            )
            edges = _edges(fields)
            for source in sources:
                along = self._once(tuple(edges.get((source.namespace, source.name), ())))
                yield Hop(source, target, job, run_id, at, masked, along)

    def _end(self, dataset: Mapping[str, Any]) -> End:
        facets = dataset.get("facets") or {}
        facet = facets.get(ENCRYPTION) or {}
        rest, transit = facet.get("atRest") or {}, facet.get("inTransit") or {}
        carried = str(transit.get("protocol") or "unknown")
        if transit.get("protocol") not in (None, "none") and transit.get("peerVerified") is not True:
            carried += ", peer not verified"
        end: End = self._once(
            End(
                intern(dataset["namespace"]),
                intern(dataset["name"]),
                intern(_status(facet, rest, transit)),
                f"{rest.get('scheme') or 'unknown'} ({rest.get('evidence') or 'unknown'})",
                carried,
                tuple(self._once(each) for each in _columns(facet, facets)),
                tuple(map(str, facet.get("warnings") or ())),
            )
        )
        return end

    def _once(self, value: Any) -> Any:
        return self._known.setdefault(value, value)


def _status(facet: Mapping[str, Any], rest: Mapping[str, Any], transit: Mapping[str, Any]) -> str:
    """As the event says it, but never better than the facts that it gives for it."""
    evidence = {str(each) for each in Evidence}
    facts = DatasetStatus(
        DatasetRef("", "", ""),
        AtRest(
            str(rest.get("scheme") or "unknown"),
            evidence=Evidence(rest["evidence"]) if rest.get("evidence") in evidence else Evidence.UNKNOWN,
        ),
        InTransit(
            transit.get("protocol"),
            peer_verified=transit.get("peerVerified") is True,
            evidence=Evidence(transit["evidence"])
            if transit.get("evidence") in evidence
            else Evidence.UNKNOWN,
        ),
    )
    stated = str(facet.get("status") or "unknown")
    return (
        stated
        if stated in _WORST_FIRST and _WORST_FIRST.index(stated) <= _WORST_FIRST.index(facts.status)
        else str(facts.status)
    )


_WORST_FIRST = [str(each) for each in (Status.EXPOSED, Status.UNKNOWN, Status.PARTIAL, Status.PROTECTED)]


def _columns(facet: Mapping[str, Any], facets: Mapping[str, Any]) -> Iterator[Column]:
    """Of our facet; and of those that it leaves out, what the standard's tags say."""
    named = set()
    for each in facet.get("columns") or ():
        named.add(each["name"])
        yield Column(
            intern(each["name"]), each.get("classification"), intern(str(each.get("protection") or "unknown"))
        )
    for tag in (facets.get("tags") or {}).get("tags") or ():
        if tag.get("key") == "classification" and tag.get("field") and tag["field"] not in named:
            yield Column(intern(tag["field"]), str(tag.get("value")), "unknown")


def _edges(fields: Mapping[str, Any]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """By source dataset. What only decides which rows there are (``INDIRECT``) carries no value."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for target, edge in fields.items():
        for each in edge.get("inputFields") or ():
            steps = each.get("transformations") or ()
            if "field" not in each or (steps and all(step.get("type") == "INDIRECT" for step in steps)):
                continue
            found.setdefault((each["namespace"], each["name"]), []).append(
                (intern(target), intern(each["field"]))
            )
    return found


def _is_masked(edge: Mapping[str, Any]) -> bool:
    steps = [step for each in edge.get("inputFields") or () for step in each.get("transformations") or ()]
    return any(step.get("masking") for step in steps) or edge.get("transformationType") == "MASKED"


def _end_as_dict(end: End) -> dict[str, Any]:
    return {
        "namespace": end.namespace,
        "name": end.name,
        "status": end.status,
        "atRest": end.at_rest,
        "inTransit": end.in_transit,
        "warnings": list(end.warnings),
    }


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:5])
