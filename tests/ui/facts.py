"""Reports, events and rows of the metadata database, as tests want them."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any
from uuid import uuid4

from airflow_secure_provider.model import (
    AtRest,
    Classification,
    ColumnEdge,
    ColumnStatus,
    ContractRef,
    DatasetRef,
    DatasetStatus,
    Evidence,
    InTransit,
    Protection,
)
from airflow_secure_provider.reports import TransferReport

NAMESPACE = "tests"
TLS = InTransit("TLSv1.3", "TLS_AES_256_GCM_SHA384", True, False, Evidence.OBSERVED)
PLAINTEXT = InTransit("none", None, None, None, Evidence.OBSERVED)
KMS = AtRest("SSE-KMS", "AES-256", "aws-kms", "arn:aws:kms:eu-central-1:1:key/k1", Evidence.OBSERVED)
VOLUME = AtRest("volume", "AES-256-XTS", None, None, Evidence.DECLARED)
NAMELESS = AtRest()


def ref(name: str) -> DatasetRef:
    if name.startswith("s3://"):
        bucket, _, key = name.removeprefix("s3://").partition("/")
        return DatasetRef(f"s3://{bucket}", key, name)
    return DatasetRef("postgres://db:5432", name, f"postgres://db:5432/{name.replace('.', '/')}")


def report(
    source: str = "s3://lake/people.csv",
    target: str = "crm.crm.people",
    *,
    source_at_rest: AtRest = KMS,
    at_rest: AtRest = VOLUME,
    in_transit: InTransit = TLS,
    names: tuple[str, ...] = ("id", "email"),
) -> dict[str, Any]:
    """What a load returns: its first column is public and as it is, the others restricted and tokenized."""

    def columns(protection: Protection) -> tuple[ColumnStatus, ...]:
        return tuple(
            ColumnStatus(
                name,
                Classification.RESTRICTED if index else Classification.PUBLIC,
                protection if index else Protection.NONE,
                algorithm="AES-SIV-256 (RFC 5297), deterministic" if index else None,
                domain="person-email" if index else None,
                keyset_id="people" if index else None,
                key_version=3 if index else None,
            )
            for index, name in enumerate(names)
        )

    return TransferReport(
        DatasetStatus(ref(source), source_at_rest, TLS, columns(Protection.NONE)),
        DatasetStatus(ref(target), at_rest, in_transit, columns(Protection.TOKENIZE)),
        ContractRef("people", "1.0.0", "d" * 64),
        rows=1234,
        bytes_read=1,
        seconds=1.0,
        edges=tuple(ColumnEdge(name, name, Protection.TOKENIZE, True, "tokenize") for name in names),
    ).as_dict()


def event(
    dag_id: str,
    task_id: str = "task",
    *,
    run_id: str = "run-1",
    namespace: str = NAMESPACE,
    at: str = "2026-04-01T10:00:00.000Z",
    inputs: tuple[str, ...] = ("s3://lake/in.csv",),
    outputs: tuple[str, ...] = ("crm.crm.stock",),
    facet: dict[str, Any] | None = None,
    kind: str = "COMPLETE",
) -> dict[str, Any]:
    """As the stock provider sends it, cut to what matters."""

    def dataset(name: str) -> dict[str, Any]:
        known = ref(name)
        facets = {"secureProvider_encryption": copy.deepcopy(facet)} if facet else {}
        return {"namespace": known.namespace, "name": known.name, "facets": facets}

    return {
        "eventType": kind,
        "eventTime": at,
        "run": {
            "runId": "01890000-0000-7000-8000-000000000000",
            "facets": {
                "airflow": {
                    "dag": {"dag_id": dag_id},
                    "dagRun": {"dag_id": dag_id, "run_id": run_id},
                    "task": {"task_id": task_id},
                    "taskInstance": {"try_number": 1, "map_index": None},
                }
            },
        },
        "job": {"namespace": namespace, "name": f"{dag_id}.{task_id}"},
        "inputs": [dataset(name) for name in inputs],
        "outputs": [dataset(name) for name in outputs],
    }


def add_dags(session: Any, teams: dict[str, str | None]) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.team import Team

    known: dict[str, Any] = {name: Team(name=name) for name in teams.values() if name}
    for dag_id, team in teams.items():
        bundle = DagBundleModel(name=f"bundle of {dag_id}")
        bundle.teams = [known[team]] if team else []
        session.add(bundle)
        session.flush()
        session.add(
            DagModel(
                dag_id=dag_id, bundle_name=bundle.name, is_stale=False, is_paused=False, fileloc="dag.py"
            )
        )


def add_run(
    session: Any,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int,
    value: Any,
    assets: dict[str, Any],
    at: datetime,
) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import insert, select

    runs = DagRun.__table__  # the table, since the model would refuse hostile names
    same = runs.c.dag_id == dag_id, runs.c.run_id == run_id
    if session.scalar(select(runs.c.id).where(*same)) is None:
        session.execute(
            insert(runs).values(
                dag_id=dag_id, run_id=run_id, run_type="manual", run_after=at, state="success"
            )
        )
    dag_run_id = session.scalar(select(runs.c.id).where(*same))
    table = TaskInstance.__table__
    known = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    required = {
        "pool": "default_pool",
        "pool_slots": 1,
        "try_number": 1,
        "max_tries": 0,
        "executor_config": {},
    }
    ids = {"id": uuid4()}
    present = session.execute(
        select(table.c.task_id).where(*(table.c[name] == value_ for name, value_ in known.items()))
    ).first()
    if present is None:
        session.execute(insert(table).values(**known, **required, **ids))
    if value is not None:
        session.add(XComModel(dag_run_id=dag_run_id, key="return_value", value=value, timestamp=at, **known))
    for uri, extra in assets.items():
        asset = session.scalar(select(AssetModel).where(AssetModel.uri == uri))
        if asset is None:
            asset = AssetModel(name=uri, uri=uri, group="asset", extra={})
            session.add(asset)
            session.flush()
        session.add(
            AssetEvent(
                asset_id=asset.id,
                extra=extra,
                source_dag_id=dag_id,
                source_run_id=run_id,
                source_task_id=task_id,
                source_map_index=map_index,
                timestamp=at,
            )
        )


def clear(session: Any) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import delete

    for model in (XComModel, AssetEvent, AssetModel, TaskInstance, DagRun):
        session.execute(delete(model))
