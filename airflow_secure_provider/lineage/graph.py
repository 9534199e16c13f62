"""Which dataset came from which, and how each hop was protected: read out of OpenLineage events."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..errors import ConfigurationError
from .facets import ENCRYPTION


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

    @property
    def uri(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Hop:
    """What one task run did: the last that a job did between these two.

    :ivar masked: target columns that are masked.
    """

    source: End
    target: End
    job: str
    run_id: str
    at: datetime
    masked: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "source": _end_as_dict(self.source),
            "target": _end_as_dict(self.target),
            "job": self.job,
            "runId": self.run_id,
            "at": self.at.isoformat(),
            "masked": list(self.masked),
        }


@dataclass(slots=True)
class Graph:
    """
    :ivar skipped: lines that were no events.
    """

    hops: dict[tuple[str, str, str], Hop] = field(default_factory=dict)
    skipped: int = 0

    def datasets(self) -> set[str]:
        return {end.uri for hop in self.hops.values() for end in (hop.source, hop.target)}

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

    def walk(self, dataset: str, *, upstream: bool) -> list[Hop]:
        """All hops that lead to a dataset, or from it: nearest first, each once."""
        beside: dict[str, list[Hop]] = defaultdict(list)
        for hop in self.hops.values():
            beside[hop.target.uri if upstream else hop.source.uri].append(hop)
        found: list[Hop] = []
        seen, waiting = {dataset}, deque([dataset])
        while waiting:
            for hop in sorted(beside[waiting.popleft()], key=lambda each: each.at, reverse=True):
                found.append(hop)
                further = hop.source.uri if upstream else hop.target.uri
                if further not in seen:
                    seen.add(further)
                    waiting.append(further)
        return found


def read(lines: Iterable[str], as_of: datetime | None = None) -> Graph:
    """
    :param lines: a JSON event each, in any order.
    :param as_of: what was known then: later events are left out.
    """
    graph = Graph()
    for line in lines:
        if not line.strip():
            continue
        try:
            hops = list(_hops(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            graph.skipped += 1
            continue
        for hop in hops:
            key = hop.job, hop.source.uri, hop.target.uri
            before = graph.hops.get(key)
            if (as_of is None or hop.at <= as_of) and (before is None or before.at <= hop.at):
                graph.hops[key] = hop
    return graph


def parse_time(text: str) -> datetime:
    """ISO 8601; without a zone it is UTC. :raises ConfigurationError: for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time such as 2026-11-21T12:00:00+01:00") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def mermaid(hops: Iterable[Hop]) -> str:
    """A Mermaid flowchart; datasets that are exposed or unknown are marked."""
    numbers: dict[str, str] = {}
    lines = ["flowchart LR"]
    edges = []
    for hop in hops:
        for end in (hop.source, hop.target):
            if end.uri not in numbers:
                numbers[end.uri] = f"d{len(numbers)}"
                lines.append(f'  {numbers[end.uri]}["{_plain(end.uri)}<br/>{end.status}"]:::{end.status}')
        edges.append(f'  {numbers[hop.source.uri]} -->|"{_plain(hop.job)}"| {numbers[hop.target.uri]}')
    styles = [
        "  classDef protected stroke:#2e7d32",
        "  classDef partial stroke:#f9a825",
        "  classDef exposed stroke:#c62828,stroke-width:3px",
        "  classDef unknown stroke:#757575,stroke-dasharray:4",
    ]
    return "\n".join([*lines, *edges, *styles])


def _hops(event: Mapping[str, Any]) -> Iterator[Hop]:
    """Only of what was done: a START or a FAIL moved nothing."""
    if event["eventType"] != "COMPLETE":
        return
    at = parse_time(str(event["eventTime"]).replace("Z", "+00:00"))
    job = f"{event['job']['namespace']}.{event['job']['name']}"
    for output in event.get("outputs") or ():
        edges = ((output.get("facets") or {}).get("columnLineage") or {}).get("fields") or {}
        masked = tuple(sorted(name for name, edge in edges.items() if _is_masked(edge)))
        for source in event.get("inputs") or ():
            yield Hop(_end(source), _end(output), job, str(event["run"]["runId"]), at, masked)


def _end(dataset: Mapping[str, Any]) -> End:
    facet = (dataset.get("facets") or {}).get(ENCRYPTION) or {}
    rest, transit = facet.get("atRest") or {}, facet.get("inTransit") or {}
    carried = str(transit.get("protocol") or "unknown")
    if transit.get("protocol") not in (None, "none") and transit.get("peerVerified") is not True:
        carried += ", peer not verified"
    return End(
        str(dataset["namespace"]),
        str(dataset["name"]),
        str(facet.get("status") or "unknown"),
        f"{rest.get('scheme') or 'unknown'} ({rest.get('evidence') or 'unknown'})",
        carried,
    )


def _is_masked(edge: Mapping[str, Any]) -> bool:
    steps = [step for each in edge.get("inputFields") or () for step in each.get("transformations") or ()]
    return any(step.get("masking") for step in steps) or edge.get("transformationType") == "MASKED"


def _end_as_dict(end: End) -> dict[str, str]:
    return {
        "namespace": end.namespace,
        "name": end.name,
        "status": end.status,
        "atRest": end.at_rest,
        "inTransit": end.in_transit,
    }


def _plain(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;").replace("\n", " ")


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:5])
