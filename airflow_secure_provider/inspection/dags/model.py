"""What the rules see of a DAG, wherever it was read; and what they say of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

HOLE: Final = "\x00"  # stands in a text for the part that only a run tells


class Unknown:
    """The type of what is told by a run only."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = Unknown()


class Level(StrEnum):
    """As in SARIF. A note alone ends no check with a failure."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Lines and columns count from 1; 0 is unknown. The end is where the last character stands."""

    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0


@dataclass(frozen=True, slots=True)
class Argument:
    """:ivar value: a literal, maybe with :data:`HOLE` and :data:`UNKNOWN` in it."""

    value: Any = field(repr=False)
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """
    :ivar name: of the class or function, without its module.
    :ivar qualified: with it, as imports tell; of a method of something unknown, ``?.name``.
    :ivar arguments: by keyword, or by position: ``"0"``, ``"1"``.
    :ivar complete: no argument is hidden in a ``**`` that could not be resolved.
    """

    name: str
    qualified: str
    arguments: Mapping[str, Argument]
    complete: bool
    place: Place

    def value(self, *names: str) -> Any:
        """Of the first argument that is there; else ``None``."""
        return next((self.arguments[name].value for name in names if name in self.arguments), None)


@dataclass(frozen=True, slots=True)
class Literal:
    """
    :ivar name: the keyword, key or variable that it stands under, if any.
    :ivar within: the call that it is an argument of, if any.
    :ivar origins: where it is written, and then the names that are parts of it; none if that is not known.
    """

    name: str | None
    value: str | bool = field(repr=False)
    within: str | None
    place: Place
    origins: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """
    :ivar path: of the file, as it is shown.
    :ivar folder: where relative paths begin, unless it is in an archive.
    :ivar attributes: dotted names that the code uses, such as ``ssl.CERT_NONE``.
    """

    path: str
    folder: Path | None
    calls: tuple[Call, ...]
    literals: tuple[Literal, ...]
    attributes: tuple[tuple[str, Place], ...] = ()


@dataclass(frozen=True, slots=True)
class Alarm:
    """One place that breaks one rule. Neither text quotes a value that might be a secret."""

    rule: str
    level: Level
    path: str
    place: Place
    reason: str
    fix: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Told = tuple[Place, str]


def once(found: Iterable[tuple[Literal, str]]) -> Iterator[Told]:
    """Where a value is written and where its name stands are told of as one."""
    told: set[Place] = set()
    for literal, reason in found:
        if told.isdisjoint(literal.origins):
            # Not its parts, which another one may have beside a secret of its own.
            told.update(literal.origins[:1])
            yield literal.place, reason
