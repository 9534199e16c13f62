"""The reports that our operators leave in XCom, read back. Nothing in them is trusted to have its shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeGuard, TypeVar

from ..model import SCHEMES, AtRest, Classification, Evidence, InTransit, Protection, Status
from .runs import UNCLASSIFIED, UNKNOWN, Column, Edge, End, TaskRun

_Word = TypeVar("_Word", bound=StrEnum)
XCOM = "XCom"
_CLASSES = {str(each): str(each) for each in Classification}
_PROTECTIONS = {str(each): str(each) for each in Protection}


def task_run(
    value: Any, dag_id: str, run_id: str, task_id: str, map_index: int, at: datetime
) -> TaskRun | None:
    """:return: ``None`` for what is no report of ours."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, Mapping):
        return None
    source, target = value.get("source"), value.get("target")
    sources: tuple[End, ...] = ()
    targets: tuple[End, ...]
    edges: tuple[Edge, ...] = ()
    if _is_end(source) and _is_end(target):
        sources = tuple(_end(part) for part in _parts(source))
        targets = (_end(target),)
        edges = tuple(_edges(value.get("edges"), _end(source), targets[0]))
    elif isinstance(value.get("tables"), list) and "keyset_id" in value:  # a re-protection
        targets = tuple(_end(table) for table in value["tables"] if _is_end(table))
        if not targets:
            return None
    else:
        return None
    contract = mapping(value.get("contract"))
    return TaskRun(
        dag_id,
        run_id,
        task_id,
        map_index,
        at,
        XCOM,
        sources,
        targets,
        edges,
        contract=" ".join(filter(None, (text(contract.get("id")), text(contract.get("version"))))) or None,
        rows=number(value.get("rows")),
    )


def at_rest(facts: Mapping[str, Any], provider: str = "key_provider", key: str = "key_id") -> AtRest:
    scheme = text(facts.get("scheme"))
    return AtRest(
        scheme if scheme in SCHEMES else UNKNOWN,
        text(facts.get("algorithm")),
        text(facts.get(provider)),
        text(facts.get(key)),
        word(Evidence, facts.get("evidence"), Evidence.UNKNOWN),
        text(facts.get("note")),
    )


def in_transit(facts: Mapping[str, Any], verified: str = "peer_verified") -> InTransit:
    return InTransit(
        text(facts.get("protocol")),
        text(facts.get("cipher")),
        flag(facts.get(verified)),
        flag(facts.get("mutual")),
        word(Evidence, facts.get("evidence"), Evidence.UNKNOWN),
    )


def columns(listed: Any, keyset: str = "keyset_id", key_version: str = "key_version") -> tuple[Column, ...]:
    return tuple(
        Column(
            str(each["name"]),
            _known(_CLASSES, each.get("classification"), UNCLASSIFIED),
            _known(_PROTECTIONS, each.get("protection"), UNKNOWN),
            text(each.get("algorithm")),
            flag(each.get("reversible")),
            text(each.get("domain")),
            text(each.get(keyset)),
            text(each.get(key_version)),
        )
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, Mapping) and each.get("name")
    )


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int, float)) and str(value) else None


def number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def word(kind: type[_Word], value: Any, otherwise: _Word) -> _Word:
    try:
        return kind(value)
    except ValueError:
        return otherwise


def _known(words: Mapping[Any, str], value: Any, otherwise: str) -> str:
    return words.get(value, otherwise) if isinstance(value, str) else otherwise


def _is_end(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("dataset"), Mapping)
        and isinstance(value["dataset"].get("name"), str)
        and isinstance(value.get("at_rest"), Mapping)
        and isinstance(value.get("in_transit"), Mapping)
    )


def _parts(source: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of a query: the tables that it reads."""
    listed = source.get("parts")
    return [part for part in listed if _is_end(part)] or [source] if isinstance(listed, list) else [source]


def _end(status: Mapping[str, Any]) -> End:
    dataset = status["dataset"]
    return End(
        text(dataset.get("namespace")) or "",
        dataset["name"],
        word(Status, status.get("status"), Status.PROTECTED),  # without one, the facts alone count
        at_rest(status["at_rest"]),
        in_transit(status["in_transit"]),
        columns(status.get("columns")),
        asset_uri=text(dataset.get("uri")),
    )


def _edges(listed: Any, source: End, target: End) -> Iterator[Edge]:
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, Mapping):
            continue
        dataset = mapping(each.get("dataset"))
        origin = (
            (text(dataset.get("namespace")) or "", str(dataset["name"]))
            if dataset.get("name")
            else source.key
        )
        yield Edge(
            origin,
            text(each.get("source")) or "",
            target.key,
            text(each.get("target")) or "",
            text(each.get("description")) or "",
            each.get("masking") is True,
        )
