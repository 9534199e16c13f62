"""dbt: ``manifest.json``, or a file of properties (``schema.yml``). Tags and ``meta`` of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ContractError
from ..strict_yaml import strict_yaml
from .foreign import ForeignColumn, ForeignDataset, Imported, flags, items, json_of, texts, unique

_KINDS = ("models", "seeds", "snapshots")
_RESOURCES = ("model", "seed", "snapshot", "source")


def read_dbt(text: bytes, where: str) -> Imported:
    """:raises ContractError: for a document that is neither."""
    if where.endswith(".json"):
        body = json_of(text, where)
        nodes = [*items(body, "nodes"), *items(body, "sources")]
        found = [_dataset(node, _relation(node)) for node in nodes if node.get("resource_type") in _RESOURCES]
    else:
        body = strict_yaml(text, where)
        found = list(_properties(body))
    if not isinstance(body, Mapping) or not found:
        raise ContractError(f"{where} is no manifest.json or schema.yml of dbt with models or sources in it")
    return Imported(tuple(found))


def _properties(body: Any) -> Iterator[ForeignDataset]:
    for kind in _KINDS:
        for node in items(body, kind):
            yield _dataset(node, str(node.get("name")))
    for source in items(body, "sources"):
        schema = str(source.get("schema") or source.get("name"))
        for table in items(source, "tables"):
            yield _dataset(table, f"{schema}.{table.get('identifier') or table.get('name')}")


def _relation(node: Mapping[str, Any]) -> str:
    table = node.get("alias") or node.get("identifier") or node.get("name")
    return f"{node['schema']}.{table}" if node.get("schema") else str(table)


def _dataset(node: Mapping[str, Any], physical: str) -> ForeignDataset:
    columns = tuple(
        ForeignColumn(str(column.get("name")), unique(_tags(column)), column.get("data_type"))
        for column in items(node, "columns")
    )
    return ForeignDataset(str(node.get("name")), physical, columns, tags=unique(_tags(node)))


def _tags(node: Mapping[str, Any]) -> list[str]:
    """Since dbt 1.10 they stand in ``config``."""
    places = [node, node["config"]] if isinstance(node.get("config"), Mapping) else [node]
    return [tag for place in places for tag in (*texts(place.get("tags") or ()), *flags(place.get("meta")))]
