"""OpenLineage events of this Airflow's tasks, read back. An event whose DAG can't be told is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any

from ..lineage.facets import ENCRYPTION
from ..lineage.graph import parse_time
from ..model import Status
from .reports import at_rest, columns, in_transit, mapping, number, text, word
from .runs import Edge, End, TaskRun

LINEAGE_STORE = "lineage store"


def task_run(event: Any, namespace: str) -> TaskRun | None:
    """
    :param namespace: of this Airflow's jobs: another Airflow may have a DAG of the same name.
    :return: ``None`` for an event that moved nothing, of another Airflow, or of no DAG.
    :raises ValueError: if it is no event.
    """
    if not isinstance(event, Mapping) or not isinstance(event.get("job"), Mapping):
        raise ValueError("no OpenLineage event")
    if event.get("eventType") != "COMPLETE" or event["job"].get("namespace") != namespace:
        return None
    told = _whose(event)
    if told is None:
        return None
    at = parse_time(str(event.get("eventTime")).replace("Z", "+00:00")).astimezone(UTC)
    outputs = _datasets(event, "outputs")
    rows = [_statistics(each) for each in outputs]
    return TaskRun(
        *told,
        at,
        LINEAGE_STORE,
        tuple(_end(each) for each in _datasets(event, "inputs")),
        tuple(_end(each) for each in outputs),
        tuple(edge for each in outputs for edge in _edges(each)),
        rows=rows[0] if len(rows) == 1 else None,
    )


def _whose(event: Mapping[str, Any]) -> tuple[str, str, str, int] | None:
    """DAG, run, task and map index, as the stock provider's facet says; the job's name must agree."""
    airflow = mapping(mapping(mapping(event.get("run")).get("facets")).get("airflow"))
    dag_id = text(mapping(airflow.get("dag")).get("dag_id"))
    task_id = text(mapping(airflow.get("task")).get("task_id"))
    run_id = text(mapping(airflow.get("dagRun")).get("run_id"))
    if not (dag_id and task_id and run_id) or event["job"].get("name") != f"{dag_id}.{task_id}":
        return None
    index = number(mapping(airflow.get("taskInstance")).get("map_index"))
    return dag_id, run_id, task_id, -1 if index is None else index


def _datasets(event: Mapping[str, Any], side: str) -> list[Mapping[str, Any]]:
    listed = event.get(side)
    return [
        each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, Mapping) and isinstance(each.get("name"), str)
    ]


def _end(dataset: Mapping[str, Any]) -> End:
    facets = mapping(dataset.get("facets"))
    known = mapping(facets.get(ENCRYPTION))
    listed = columns(known.get("columns"), "keyset", "keyVersion")
    told = known.get("warnings")
    warnings = [str(each) for each in told] if isinstance(told, list) else []
    return End(
        text(dataset.get("namespace")) or "",
        dataset["name"],
        word(Status, known.get("status"), Status.UNKNOWN),
        at_rest(mapping(known.get("atRest")), "keyProvider", "keyId"),
        in_transit(mapping(known.get("inTransit")), "peerVerified"),
        listed or columns(mapping(facets.get("schema")).get("fields")),
        note="; ".join(warnings) or None,
    )


def _statistics(dataset: Mapping[str, Any]) -> int | None:
    return number(mapping(mapping(dataset.get("outputFacets")).get("outputStatistics")).get("rowCount"))


def _edges(dataset: Mapping[str, Any]) -> Iterator[Edge]:
    target = text(dataset.get("namespace")) or "", dataset["name"]
    fields = mapping(mapping(mapping(dataset.get("facets")).get("columnLineage")).get("fields"))
    for column, edge in fields.items():
        legacy = mapping(edge)
        listed = legacy.get("inputFields")
        for each in listed if isinstance(listed, list) else ():
            origin = mapping(each)
            steps = [
                mapping(step) for step in origin.get("transformations") or () if isinstance(step, Mapping)
            ]
            yield Edge(
                (text(origin.get("namespace")) or "", text(origin.get("name")) or ""),
                text(origin.get("field")) or "",
                target,
                str(column),
                next((found for step in steps if (found := text(step.get("description")))), None)
                or text(legacy.get("transformationDescription"))
                or "",
                any(step.get("masking") is True for step in steps)
                or legacy.get("transformationType") == "MASKED",
            )
