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
    left, columns = [], []
    for column in items(table, "columns"):
        name = str(column.get("name"))
        nested = list(_nested(column, name))
        left += [f"tag {tag!r} of nested field {path!r}" for path, tag in nested]
        # What holds a tagged field is at least as much as that.
        tags = unique([*_tags(column), *(tag for _, tag in nested)])
        columns.append(ForeignColumn(name, tags, column.get("dataType")))
    physical = ".".join(full.split(".")[-2:])
    return ForeignDataset(
        str(table.get("name")), physical, tuple(columns), tuple(left), unique(list(_tags(table)))
    )


def _nested(column: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for child in items(column, "children"):
        below = f"{path}.{child.get('name')}"
        yield from ((below, tag) for tag in _tags(child))
        yield from _nested(child, below)


def _tags(entity: Mapping[str, Any]) -> Iterator[str]:
    yield from (str(tag.get("tagFQN")) for tag in items(entity, "tags"))
