"""What the page shows, for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from .runs import Column, End, Seen, TaskRun

CSV_COLUMNS = (
    "status",
    "namespace",
    "name",
    "class",
    "evidence",
    "at_rest_scheme",
    "at_rest_algorithm",
    "key_provider",
    "key_id",
    "at_rest_evidence",
    "in_transit_protocol",
    "in_transit_cipher",
    "peer_verified",
    "in_transit_evidence",
    "columns",
    "columns_protected",
    "tasks",
    "last_dag_id",
    "last_task_id",
    "last_run_id",
    "last_seen",
    "told_by",
    "note",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_csv(found: Iterable[Seen]) -> str:
    """A row a dataset. No cell is a formula to a spreadsheet: one that could be begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for each in found:
        writer.writerow([harmless(cell) for cell in _row(each)])
    return text.getvalue()


def harmless(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def as_json(each: Seen) -> dict[str, Any]:
    return {
        "namespace": each.namespace,
        "name": each.name,
        "status": str(each.status),
        "class": each.classification,
        "evidence": str(each.worst.evidence),
        **_facts(each.worst),
        "columns": [column_as_json(column) for column in each.columns],
        "seen": [
            {"status": str(end.status), "evidence": str(end.evidence), **_task(run)} for end, run in each.seen
        ],
    }


def run_as_json(run: TaskRun) -> dict[str, Any]:
    return {
        **_task(run),
        "contract": run.contract,
        "rows": run.rows,
        "sources": [_end(end) for end in run.sources],
        "targets": [_end(end) for end in run.targets],
        "columns": [
            {
                "source": {"namespace": edge.source[0], "name": edge.source[1], "column": edge.source_column},
                "target": {"namespace": edge.target[0], "name": edge.target[1], "column": edge.target_column},
                "description": edge.description,
                "masking": edge.masking,
            }
            for edge in run.edges
        ],
    }


def column_as_json(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "class": column.classification,
        "protection": column.protection,
        "algorithm": column.algorithm,
        "reversible": column.reversible,
        "domain": column.domain,
        "keyset": column.keyset,
        "keyVersion": column.key_version,
    }


def _end(end: End) -> dict[str, Any]:
    return {
        "namespace": end.namespace,
        "name": end.name,
        "status": str(end.status),
        "evidence": str(end.evidence),
        **_facts(end),
        "columns": [column_as_json(column) for column in end.columns],
    }


def _facts(end: End) -> dict[str, Any]:
    rest, transit = end.at_rest, end.in_transit
    return {
        "atRest": {
            "scheme": rest.scheme,
            "algorithm": rest.algorithm,
            "keyProvider": rest.key_provider,
            "keyId": rest.key_id,
            "evidence": str(rest.evidence),
            "note": rest.note,
        },
        "inTransit": {
            "protocol": transit.protocol,
            "cipher": transit.cipher,
            "peerVerified": transit.peer_verified,
            "mutual": transit.mutual,
            "evidence": str(transit.evidence),
        },
        "note": end.note,
    }


def _task(run: TaskRun) -> dict[str, Any]:
    return {
        "dagId": run.dag_id,
        "taskId": run.task_id,
        "runId": run.run_id,
        "mapIndex": run.map_index,
        "at": run.at.isoformat(),
        "toldBy": run.told_by,
    }


def _row(each: Seen) -> list[Any]:
    end, last = each.worst, each.last
    rest, transit = end.at_rest, end.in_transit
    return [
        end.status,
        each.namespace,
        each.name,
        each.classification,
        end.evidence,
        rest.scheme,
        rest.algorithm,
        rest.key_provider,
        rest.key_id,
        rest.evidence,
        transit.protocol or "unknown",
        transit.cipher,
        transit.peer_verified,
        transit.evidence,
        len(each.columns),
        sum(column.protected for column in each.columns),
        len(each.seen),
        last.dag_id,
        last.task_id,
        last.run_id,
        last.at.isoformat(),
        last.told_by,
        end.note or rest.note,
    ]
