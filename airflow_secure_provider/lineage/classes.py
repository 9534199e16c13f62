"""How sensitive a column is by what it came from: classes travel along column lineage.

Identity, cast, concat, join and aggregate keep a class, and so does whatever is not known to take values away. A class may sink
only where a step of this package made the values coarser or took them away: then the facet says by which protection.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..model import Classification, Protection
from .graph import End, Hop

# What leaves nothing of the value, or as much as the class policy lets through. A pseudonym or a token still stands for its
# person, and a number with noise near its own.
_TAKES_AWAY = frozenset(
    map(
        str, (Protection.REDACT, Protection.GENERALIZE, Protection.ROUND, Protection.NULLIFY, Protection.DROP)
    )
)

Place = tuple[str, str]  # the dataset's URI, and the column


@dataclass(frozen=True, slots=True)
class ColumnClass:
    """
    :ivar stated: what the events say of the column itself; ``None`` for nothing.
    :ivar effective: the strictest of it and of all that it came from.
    :ivar origin: the column that brought the effective class here, if that is not the stated one.
    """

    stated: Classification | None
    effective: Classification
    origin: Place | None = None

    @property
    def sank(self) -> bool:
        """The column is called less than what arrives in it."""
        return self.stated is not None and self.stated.rank < self.effective.rank


def column_classes(hops: Iterable[Hop]) -> dict[Place, ColumnClass]:
    """The class of each column of which something is known.

    :param hops: of one moment, such as those of :meth:`Graph.hops`.
    """
    ordered = sorted(hops, key=lambda hop: hop.at)
    stated = _stated(ordered)
    effective: dict[Place, tuple[Classification, Place | None]] = {
        place: (classification, None) for place, classification in stated.items()
    }
    onward = _onward(ordered)
    waiting = deque(effective)
    while waiting:
        place = waiting.popleft()
        classification, origin = effective[place]
        for further in onward.get(place, ()):
            before = effective.get(further)
            if before is None or before[0].rank < classification.rank:
                effective[further] = classification, origin or place
                waiting.append(further)
    return {
        place: ColumnClass(stated.get(place), classification, origin)
        for place, (classification, origin) in effective.items()
    }


def strictest(classes: Mapping[Place, ColumnClass], dataset: str) -> Classification | None:
    """Of a dataset's columns; ``None`` if nothing is known of any."""
    found = [each.effective for (uri, _), each in classes.items() if uri == dataset]
    return max(found, key=lambda each: each.rank, default=None)


def warnings(classes: Mapping[Place, ColumnClass], dataset: str) -> list[str]:
    """Columns that are called less than what arrives in them, in words."""
    return [sank(name, each) for (uri, name), each in sorted(classes.items()) if uri == dataset and each.sank]


def sank(name: str, found: ColumnClass) -> str:
    uri, column = found.origin or ("", "")
    return f"column {name!r} is called {found.stated}, and {found.effective} arrives in it from {column!r} of {uri}"


def _stated(ordered: Iterable[Hop]) -> dict[Place, Classification]:
    """The strictest that any of them says of the column: two contracts, or two tools, may differ."""
    found: dict[Place, Classification] = {}
    for hop in ordered:
        for end in (hop.source, hop.target):
            for column in end.columns:
                if column.classification not in _KNOWN:
                    continue
                classification = Classification(column.classification)
                before = found.get((end.uri, column.name))
                if before is None or before.rank < classification.rank:
                    found[end.uri, column.name] = classification
    return found


def _onward(hops: Iterable[Hop]) -> dict[Place, list[Place]]:
    onward: dict[Place, list[Place]] = defaultdict(list)
    for hop in hops:
        source, target = hop.source.uri, hop.target.uri
        taken = set(_taken_away(hop.target))
        for to, comes_from in hop.edges:
            if to not in taken:
                onward[source, comes_from].append((target, to))
    return onward


def _taken_away(end: End) -> Iterator[str]:
    for column in end.columns:
        if column.protection in _TAKES_AWAY:
            yield column.name


_KNOWN = frozenset(map(str, Classification))
