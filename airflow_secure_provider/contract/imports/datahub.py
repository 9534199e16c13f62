"""DataHub: a file of its metadata (the file sink's list of events, or one entity's aspects). Tags and glossary terms of fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ContractError
from .foreign import ForeignColumn, ForeignDataset, Imported, items, json_of, unique

_URN = re.compile(r"^urn:li:dataset:\(urn:li:dataPlatform:[^,]+,(?P<name>.+),[^,]+\)$")
_SCHEMA, _EDITED = "schemametadata", "editableschemametadata"


def read_datahub(text: bytes, where: str) -> Imported:
    """:raises ContractError: for a document without datasets and their fields."""
    fields: dict[str, dict[str, ForeignColumn]] = {}
    left: list[str] = []
    whole: dict[str, list[str]] = {}
    body = json_of(text, where)
    for urn, kind, aspect in _aspects(body if isinstance(body, list) else [body]):
        name = found["name"] if (found := _URN.match(urn)) else urn
        columns = fields.setdefault(name, {})
        for each in items(aspect, "fields" if kind == _SCHEMA else "editableSchemaFieldInfo"):
            path = _path(str(each.get("fieldPath")))
            tags = tuple(_names(each))
            if "." in path:
                left += [f"tag {tag!r} of nested field {path!r} of {name}" for tag in tags]
                path, each = path.partition(".")[0], {}  # what holds it is at least as much as that
                if not tags:
                    continue
            before = columns.get(path, ForeignColumn(path))
            kind_of = each.get("nativeDataType") or before.type
            columns[path] = ForeignColumn(path, unique([*before.tags, *tags]), kind_of)
        if kind not in (_SCHEMA, _EDITED):
            whole.setdefault(name, []).extend(_names({"globalTags": aspect, "glossaryTerms": aspect}))
    datasets = [
        ForeignDataset(
            name.rpartition(".")[2],
            ".".join(name.split(".")[-2:]),
            tuple(columns.values()),
            tags=unique(whole.get(name, [])),
        )
        for name, columns in fields.items()
        if columns
    ]
    if not datasets:
        raise ContractError(f"{where} holds no schemaMetadata of a DataHub dataset")
    return Imported(tuple(datasets), left=tuple(left))


def _aspects(events: list[Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """URN, name and content of each aspect, of proposals (MCP), snapshots (MCE), and an entity as its API gives it."""
    for event in events:
        if not isinstance(event, Mapping):
            continue
        if "aspectName" in event:
            yield str(event.get("entityUrn")), str(event["aspectName"]).lower(), _content(event.get("aspect"))
        for snapshot in items(event, "proposedSnapshot"):
            for aspect in items(snapshot, "aspects"):
                for name, content in aspect.items():
                    yield str(snapshot.get("urn")), name.rpartition(".")[2].lower(), _content(content)
        urn = str(event.get("urn") or event.get("entityUrn"))
        aspects = event.get("aspects") if isinstance(event.get("aspects"), Mapping) else event
        for name, content in aspects.items():  # type: ignore[union-attr]
            if name.lower() in (_SCHEMA, _EDITED, "globaltags", "glossaryterms") and isinstance(
                content, Mapping
            ):
                yield urn, name.lower(), _content(content)


def _content(aspect: Any) -> Mapping[str, Any]:
    if not isinstance(aspect, Mapping):
        return {}
    inner = aspect.get("json") or aspect.get("value") or aspect
    if isinstance(inner, str):
        inner = json_of(inner.encode(), "an aspect's value")
    return inner if isinstance(inner, Mapping) else {}


def _names(field: Mapping[str, Any]) -> Iterator[str]:
    """The ends of URNs: ``pii`` of ``urn:li:tag:pii``."""
    for each in items(field.get("globalTags"), "tags"):
        yield _last(each.get("tag"))
    for each in items(field.get("glossaryTerms"), "terms"):
        yield _last(each.get("urn") or each.get("term"))


def _last(urn: Any) -> str:
    text = urn.get("urn") or urn.get("name") if isinstance(urn, Mapping) else urn
    return re.sub(r"^urn:li:(?:tag|glossaryTerm):", "", str(text))


def _path(path: str) -> str:
    """Without the types of version 2: ``[version=2.0].[type=string].email``."""
    return ".".join(part for part in path.split(".") if not part.startswith("[") and not part.endswith("]"))
