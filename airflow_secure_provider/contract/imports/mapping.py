"""Tags to classes, as the author maps them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigurationError
from ...model import Classification, Protection
from .foreign import ForeignColumn, Imported


@dataclass(frozen=True, slots=True)
class Meaning:
    classification: Classification
    protection: Protection | None = None

    @classmethod
    def parse(cls, text: str) -> tuple[str, Meaning]:
        """Of ``TAG=CLASS`` or ``TAG=CLASS:PROTECTION``; a tag may hold ``=`` itself.

        :raises ConfigurationError: for an unknown class or protection.
        """
        tag, _, meaning = text.rpartition("=")
        level, _, protection = meaning.partition(":")
        if (
            not tag
            or level not in list(Classification)
            or (protection and protection not in list(Protection))
        ):
            raise ConfigurationError(
                f"{text!r}: expected TAG=CLASS or TAG=CLASS:PROTECTION, a class of {', '.join(Classification)} and a "
                f"protection of {', '.join(Protection)}"
            )
        return tag, cls(Classification(level), Protection(protection) if protection else None)


def contract_document(
    imported: Imported,
    contract_id: str,
    meanings: Mapping[str, Meaning],
    default: Classification | None = None,
    ignored: Collection[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """
    An ODCS document; and in words, all that is not in it. A column without tags has no class in it unless *default* is given,
    nor has one with a tag that nobody explained: no load takes it.

    :param ignored: tags that say nothing of the class.
    """
    left = list(imported.left)
    schema = []
    for dataset in imported.datasets:
        left += [f"{dataset.name}: {each}" for each in dataset.left]
        left += [
            f"{dataset.name}: tag {tag!r} of the whole table"
            for tag in dataset.tags
            if tag not in meanings and tag not in ignored
        ]
        of_all = [meanings[tag] for tag in dataset.tags if tag in meanings]
        properties = []
        for column in dataset.columns:
            made, problems = _property(column, imported.protections, meanings, default, ignored, of_all)
            left += [f"{dataset.name}.{column.name}: {each}" for each in problems]
            properties.append(made)
        schema.append(
            {
                "name": dataset.name,
                "physicalName": dataset.physical,
                "physicalType": "table",
                "properties": properties,
            }
        )
    body = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": contract_id,
        "version": "0.1.0",
        "status": "draft",
        "schema": schema,
    }
    return body, list(dict.fromkeys(left))


def _property(
    column: ForeignColumn,
    protections: Mapping[str, Any],
    meanings: Mapping[str, Meaning],
    default: Classification | None,
    ignored: Collection[str],
    of_all: Sequence[Meaning],
) -> tuple[dict[str, Any], list[str]]:
    """:param of_all: what is said of the table as a whole."""
    made: dict[str, Any] = {"name": column.name, "logicalType": _logical_type(column.type)}
    if column.type:
        made["physicalType"] = column.type
    if column.tags:
        made["tags"] = list(column.tags)
    problems = [
        f"tag {tag!r} is not mapped" for tag in column.tags if tag not in meanings and tag not in ignored
    ]
    mapped = [meanings[tag] for tag in column.tags if tag in meanings] + list(of_all)
    level = max((each.classification for each in mapped), key=lambda each: each.rank, default=None)
    if problems and level is not Classification.RESTRICTED:
        level = None  # the tag that nobody explained may mean a stricter one
    elif level is None:
        level = default
    if level is None:
        return made, [*problems, "has no class"]
    made["classification"] = str(level)
    said = [each.protection for each in mapped if each.protection and each.classification is level]
    wanted = list(dict.fromkeys(map(str, said))) or _distinct(
        [protections[tag] for tag in column.tags if tag in protections]
    )
    if len(wanted) > 1:
        problems.append("its tags ask for different protections, so none was taken")
    elif wanted and wanted[0] != "none":
        made["customProperties"] = [{"property": "protection", "value": wanted[0]}]
    return made, problems


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if value not in values[:number]]


_TYPES = (
    (r"(?:tiny|small|medium|big)?int(?:eger|\d*)?\b|serial|bigserial|long\b", "integer"),
    (r"numeric|decimal|number|float|double|real|money", "number"),
    (r"bool", "boolean"),
    (r"timestamp|datetime", "timestamp"),
    (r"date\b", "date"),
    (r"time\b", "time"),
)


def _logical_type(written: str | None) -> str:
    """Text, where it is not known to be something else."""
    return next((name for pattern, name in _TYPES if re.match(pattern, (written or "").lower())), "string")
