"""What the columns of a source hold, and the contract that this suggests. Counts and names come out of it, never a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from ..discovery.columns import ColumnLook
from ..discovery.judging import Finding, judge
from ..discovery.kinds import Kind
from ..discovery.persons import Persons
from ..errors import ContractError
from ..model import Classification, Protection


class Columns(Protocol):
    @property
    def columns(self) -> Sequence[str]: ...

    def batches(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class Scan:
    """
    :ivar rows: that were read.
    :ivar whole: whether these are all.
    """

    findings: tuple[Finding, ...]
    rows: int
    whole: bool


def scan(source: Columns, where: str, most_rows: int | None = None) -> Scan:
    """Look at every column.

    :param most_rows: stop after so many.
    :raises ContractError: if its header has no names, or holds what should be values.
    """
    names = list(source.columns)
    _check_header(names, where)
    looks = [ColumnLook(name) for name in names]
    rows, whole = 0, True
    for batch in source.batches():
        if most_rows is not None and rows + batch.num_rows > most_rows:
            batch, whole = batch.slice(0, most_rows - rows), False
        for look, name in zip(looks, names, strict=True):
            look.look(batch.column(batch.schema.get_field_index(name)))
        rows += batch.num_rows
        if not whole:
            break
    findings = tuple(map(judge, looks))
    _check_names_of_persons(findings, where)
    return Scan(findings, rows, whole)


def _check_header(names: Sequence[str], where: str) -> None:
    """Names are printed, so they must be names."""
    twice = sorted({name for name in names if names.count(name) > 1})
    look = ColumnLook("")
    look.look(pa.array(names, pa.string()))
    sure = [
        tally.right
        for detector, tally in look.whole.items()
        if detector.certain and detector.what != "IPv4 address"
    ]
    inside = [tally.right for held, tally in look.held.items() if held.kind is not Kind.IP_ADDRESS]
    if any(sure) or any(inside) or look.types["number"] or look.types["date"]:
        raise _no_header(where)
    unusable = [n for n, name in enumerate(names, 1) if name in twice or not name.strip()]
    if unusable:  # by their numbers: what stands there may be values
        which = ", ".join(map(str, unusable))
        raise ContractError(
            f"{where}: a column has no name, or two have the same: rename them (numbers {which})"
        )


def _check_names_of_persons(findings: Sequence[Finding], where: str) -> None:
    """A record of persons has no other sign: what stands above a column of names is one itself."""
    above = [each.column for each in findings if not each.hinted and each.kind is Kind.PERSON_NAME]
    looks = Persons()
    looks.look(pa.array(above, pa.string()))
    if looks.known:
        raise _no_header(where)


def _no_header(where: str) -> ContractError:
    return ContractError(
        f"{where}: its first record looks like values, not like names of columns; if it has no header, say --no-header"
    )


@dataclass(frozen=True, slots=True)
class Words:
    """What the author says of what the values don't tell.

    :param assume: the class of columns that are asked about; they are left open without it.
    :param default: the class of columns in which nothing was found; they are left open without it.
    """

    assume: Classification | None = None
    default: Classification | None = None


def proposal(done: Scan, name: str, physical: str | None, words: Words) -> tuple[dict[str, Any], list[str]]:
    """
    An ODCS document, and the columns whose class is left to the author. These have none in it, so that no load takes it
    before they do.
    """
    left: list[str] = []
    properties = []
    for finding in done.findings:
        column = _column(finding, words)
        if "classification" not in column:
            left.append(finding.column)
        properties.append(column)
    schema: dict[str, Any] = {"name": name, "physicalType": "table", "properties": properties}
    if physical:
        schema["physicalName"] = physical
    body = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": name,
        "version": "0.1.0",
        "status": "draft",
        "schema": [schema],
    }
    return body, left


def _column(finding: Finding, words: Words) -> dict[str, Any]:
    from ..discovery.kinds import PROPOSALS

    column: dict[str, Any] = {"name": finding.column, "logicalType": finding.logical_type}
    custom: list[dict[str, Any]] = []
    if finding.verdict == "found" and finding.kind is not None:
        proposed = PROPOSALS[finding.kind]
        column |= {
            "logicalType": "string",
            "classification": str(proposed.classification),
            "tags": ["pii", str(finding.kind)],
        }
        custom.append({"property": "protection", "value": str(proposed.protection)})
    else:
        chosen = words.assume if finding.verdict == "ask" else words.default
        if chosen is not None:
            column["classification"] = str(chosen)
        if chosen is Classification.RESTRICTED:
            column["logicalType"] = "string"
            custom.append({"property": "protection", "value": str(Protection.ENCRYPT)})
    if finding.verdict != "nothing":
        custom.append({"property": "piiEvidence", "value": _evidence(finding)})
    if custom:
        column["customProperties"] = custom
    return column


def _evidence(finding: Finding) -> dict[str, Any]:
    told: dict[str, Any] = {"verdict": finding.verdict}
    if finding.kind is not None:
        told["kind"] = str(finding.kind)
    told["columnName"] = finding.hinted
    if finding.why:
        told["why"] = finding.why
    if finding.evidence:
        told["values"] = [each.as_dict() for each in finding.evidence]
    return told
