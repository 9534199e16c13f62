"""Apache Ranger: tags of columns (``ServiceTags``), and masks of tag policies.

Ranger masks what some users read; a contract says what is stored, for all. So a mask is taken over only where it holds for
everybody (group ``public``), without conditions, and where a protection of ours gives the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ContractError
from .foreign import ForeignColumn, ForeignDataset, Imported, items, json_of, texts, unique

_MASKS: Mapping[str, Any] = {
    "MASK_NULL": "nullify",
    "MASK_SHOW_LAST_4": {"method": "redact", "keep_last": 4},
    "MASK_SHOW_FIRST_4": {"method": "redact", "keep_first": 4},
    "MASK_DATE_SHOW_YEAR": {"method": "generalize", "to": "year"},
}
# Not MASK (which shows letters and digits as such), not MASK_HASH (without a key), not CUSTOM.
_OTHER_ITEMS = (
    "policyItems", "denyPolicyItems", "allowExceptions", "denyExceptions", "rowFilterPolicyItems",
)  # fmt: skip
_TABLE = (
    {"database", "table", "column"},
    {"schema", "table", "column"},
    {"catalog", "schema", "table", "column"},
)


def read_ranger(text: bytes, where: str) -> Imported:
    """:raises ContractError: for a document that has neither tagged resources nor policies."""
    body = json_of(text, where)
    if not isinstance(body, Mapping) or not ({"serviceResources", "policies"} & set(body)):
        raise ContractError(f"{where} holds no serviceResources and no policies of Ranger")
    datasets, left = _datasets(body)
    protections: dict[str, Any] = {}
    for policy in items(body, "policies"):
        name = f"policy {policy.get('name')!r}"
        for tag, mask in _masks(policy, name, left):
            if protections.setdefault(tag, mask) != mask:
                left.append(f"{name}: a second mask for tag {tag!r}")
    return Imported(tuple(datasets), protections, tuple(left))


def _datasets(body: Mapping[str, Any]) -> tuple[list[ForeignDataset], list[str]]:
    kinds = {key: str(tag.get("type")) for key, tag in (body.get("tags") or {}).items()}
    of = body.get("resourceToTagIds") or {}
    tables: dict[str, dict[str, list[str]]] = {}
    left: list[str] = []
    for resource in items(body, "serviceResources"):
        tags = [kinds[str(number)] for number in of.get(str(resource.get("id")), ()) if str(number) in kinds]
        elements = resource.get("resourceElements") or {}
        place = _column(elements)
        if place is None:
            words = ", ".join(
                f"{key} {'/'.join(texts(each.get('values') or ()))}" for key, each in elements.items()
            )
            left += [f"tag {tag!r} of {words}: no single column" for tag in tags]
        else:
            tables.setdefault(place[0], {}).setdefault(place[1], []).extend(tags)
    datasets = [
        ForeignDataset(
            table.rpartition(".")[2],
            table,
            tuple(ForeignColumn(name, unique(tags)) for name, tags in columns.items()),
            ("columns without tags are not in Ranger's document: add them",),
        )
        for table, columns in tables.items()
    ]
    return datasets, left


def _column(elements: Mapping[str, Any]) -> tuple[str, str] | None:
    """Table and column, where it is just one."""
    values: dict[str, str] = {}
    for key, each in elements.items():
        named = texts(each.get("values") or ())
        if len(named) != 1 or each.get("isExcludes") or set("*?") & set(named[0]):
            return None
        values[key] = named[0]
    if set(values) not in _TABLE:
        return None
    return f"{values.get('schema') or values['database']}.{values['table']}", values["column"]


def _masks(policy: Mapping[str, Any], name: str, left: list[str]) -> Iterator[tuple[str, Any]]:
    if policy.get("isEnabled") is False:
        return
    left += [f"{name}: {kind}, which say who may read" for kind in _OTHER_ITEMS if policy.get(kind)]
    resources = policy.get("resources") or {}
    tag = resources.get("tag") or {}
    tags = texts(tag.get("values") or ())
    plain = (
        set(resources) == {"tag"}
        and not tag.get("isExcludes")
        and not any(set("*?") & set(each) for each in tags)
    )
    limited = any(policy.get(key) for key in ("conditions", "validitySchedules"))
    for item in items(policy, "dataMaskPolicyItems"):
        kind = str((item.get("dataMaskInfo") or {}).get("dataMaskType")).rpartition(":")[2]
        everybody = "public" in texts(item.get("groups") or ()) and not item.get("conditions")
        if not plain or limited or not everybody:
            left.append(f"{name}: mask {kind}, which does not hold for everybody, always, and one tag")
        elif kind not in _MASKS:
            left.append(f"{name}: mask {kind}, which no protection gives in the same way")
        else:
            yield from ((each, _MASKS[kind]) for each in tags)
