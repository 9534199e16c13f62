"""OpenMetadata: a table entity, or a list of them, as ``/api/v1/tables?fields=columns,tags`` gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ContractError
from .foreign import ForeignColumn, ForeignDataset, Imported, items, json_of, unique


def read_openmetadata(text: bytes, where: str) -> Imported:
    """:raises ContractError: for a document without tables and their columns."""
    body = json_of(text, where)
    tables = body if isinstance(body, list) else items(body, "data") or [body]
    datasets = [_dataset(table) for table in tables if isinstance(table, Mapping) and items(table, "columns")]
    if not datasets:
        raise ContractError(f"{where} holds no table of OpenMetadata with columns")
    return Imported(tuple(datasets))


def _dataset(table: Mapping[str, Any]) -> ForeignDataset:
    full = str(table.get("fullyQualifiedName") or table.get("name"))
    left = [f"tag {tag!r} of the whole table" for tag in _tags(table)]
    for column in items(table, "columns"):
        left += [
            f"tag {tag!r} of nested field {path!r}" for path, tag in _nested(column, str(column.get("name")))
        ]
    columns = tuple(
        ForeignColumn(str(column.get("name")), unique(list(_tags(column))), column.get("dataType"))
        for column in items(table, "columns")
    )
    return ForeignDataset(str(table.get("name")), ".".join(full.split(".")[-2:]), columns, tuple(left))


def _nested(column: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for child in items(column, "children"):
        below = f"{path}.{child.get('name')}"
        yield from ((below, tag) for tag in _tags(child))
        yield from _nested(child, below)


def _tags(entity: Mapping[str, Any]) -> Iterator[str]:
    yield from (str(tag.get("tagFQN")) for tag in items(entity, "tags"))
