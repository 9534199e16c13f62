"""Columns and tags as another catalog has them, whichever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import ContractError


@dataclass(frozen=True, slots=True)
class ForeignColumn:
    """
    :param tags: everything that is said of it, such as ``pii``, ``classification=restricted``, ``PII.Sensitive``.
    :param type: as the catalog writes it.
    """

    name: str
    tags: tuple[str, ...] = ()
    type: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignDataset:
    """
    :param left: what is said of it that no contract of ours can say, in words.
    :param tags: what is said of it as a whole, and so of each of its columns.
    """

    name: str
    physical: str
    columns: tuple[ForeignColumn, ...]
    left: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """
    :param protections: what the catalog itself says is done to columns with a tag.
    :param left: what could not be taken over, in words.
    """

    datasets: tuple[ForeignDataset, ...] = ()
    protections: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def json_of(text: bytes, where: str) -> Any:
    """:raises ContractError: for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    raise ContractError(f"{where} is not JSON")


def items(body: Any, key: str) -> list[Any]:
    """The mappings in the list at *key*, whatever else stands there."""
    found = body.get(key) if isinstance(body, Mapping) else None
    if isinstance(found, Mapping):
        found = list(found.values())
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, Sequence) else []


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, Sequence) else []


def flags(meta: Any, prefix: str = "") -> Iterator[str]:
    """A mapping as tags: ``pii`` for a key that is true, else ``key=value``."""
    for key, value in meta.items() if isinstance(meta, Mapping) else ():
        name = f"{prefix}{key}"
        if value is True:
            yield name
        elif isinstance(value, Mapping):
            yield from flags(value, f"{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from (f"{name}={_text(each)}" for each in value)
        elif value is not None:
            yield f"{name}={_text(value)}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def unique(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))
