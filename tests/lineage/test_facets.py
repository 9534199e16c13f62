"""Golden facets: what a report becomes, to the letter. After a wanted change: delete the file and run again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import attr
import pytest
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from airflow_secure_provider import leases
from airflow_secure_provider.lineage.completion import completed
from airflow_secure_provider.lineage.credentials import credential_facets
from airflow_secure_provider.lineage.facets import (
    contract_facet,
    input_datasets,
    named_dataset,
    output_dataset,
)
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
    Owner,
    Protection,
    algorithm,
)
from airflow_secure_provider.reports import TransferReport

from . import official

GOLDEN = Path(__file__).parent / "golden"
TLS = InTransit("TLSv1.3", "TLS_AES_256_GCM_SHA384", True, False, Evidence.OBSERVED)
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SOURCE = DatasetStatus(
    DatasetRef("s3://lake", "people.csv", "s3://lake/people.csv", "v1"),
    AtRest("client-side", "AWS Encryption SDK", "aws-kms", KEY, Evidence.OBSERVED),
    TLS,
    (
        ColumnStatus("id", Classification.INTERNAL, Protection.NONE, "text"),
        ColumnStatus("email", Classification.RESTRICTED, Protection.NONE, "text"),
    ),
)
TARGET = DatasetStatus(
    DatasetRef("postgres://db:5432", "crm.crm.people", "postgres://db:5432/crm/crm/people"),
    AtRest("volume", evidence=Evidence.DECLARED),
    TLS,
    (
        ColumnStatus("id", Classification.INTERNAL, Protection.NONE, "bigint"),
        ColumnStatus(
            "email",
            Classification.RESTRICTED,
            Protection.TOKENIZE,
            "text",
            algorithm(Protection.TOKENIZE, {}),
            True,
            "person-email",
            None,
            "customers",
            1,
        ),
    ),
)
REPORT = TransferReport(
    SOURCE,
    TARGET,
    ContractRef("people", "1.0.0", "ab" * 32, (Owner("crm", "team"), Owner("ana", "owner"))),
    rows=3,
    bytes_read=700,
    seconds=0.5,
    edges=(
        ColumnEdge("id", "id", Protection.NONE, False, "none"),
        ColumnEdge("email", "email", Protection.TOKENIZE, True, "tokenize: AES-SIV"),
    ),
)


def as_json(dataset: Any) -> Any:
    """As the client serialises it, without the producer, which names versions."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: strip(item) for key, item in value.items() if key != "_producer" and item is not None
            }
        return [strip(item) for item in value] if isinstance(value, (list, tuple)) else value

    return strip(json.loads(json.dumps(attr.asdict(dataset))))


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("input", input_datasets(SOURCE, REPORT.contract, REPORT)[0]),
        ("input_with_rejects", input_datasets(SOURCE, REPORT.contract, replace(REPORT, rejected=2))[0]),
        ("input_of_a_failure", input_datasets(SOURCE, REPORT.contract)[0]),
        ("output", output_dataset(TARGET, REPORT.contract, REPORT)),
        ("output_of_a_failure", output_dataset(TARGET, REPORT.contract, None)),
        ("unseen", named_dataset("s3://lake", "people.csv")),
    ],
)
def test_golden(name: str, dataset: Any) -> None:
    path = GOLDEN / f"{name}.json"
    got = json.dumps(as_json(dataset), indent=2, sort_keys=True) + "\n"
    if not path.exists():
        path.write_text(got)
        pytest.fail(f"{path.name} was missing and is written now: read it, commit it")
    assert got == path.read_text()


if official.SPEC:

    def test_events_meet_the_official_schemas() -> None:
        event = RunEvent(
            eventType=RunState.COMPLETE,
            eventTime="2026-01-01T00:00:00Z",
            run=Run(
                "00000000-0000-4000-8000-000000000001",
                facets=dict(contract_facet(REPORT.contract, "met", "built-in")),
            ),
            job=Job("prod", "dag.task"),
            producer="https://example.com",
            inputs=input_datasets(SOURCE, REPORT.contract, replace(REPORT, rejected=2)),
            outputs=[output_dataset(TARGET, REPORT.contract, REPORT)],
        )
        made = completed(Serde.to_dict(event), lambda namespace, name: {"id": Classification.INTERNAL})
        assert official.problems(made) == []
        assert official.problems({**made, "eventType": "DONE"}) != []  # it does look


def test_the_report_is_json_and_states_both_ends() -> None:
    report = json.loads(json.dumps(REPORT.as_dict()))
    assert (report["source"]["status"], report["target"]["status"]) == ("protected", "protected")
    assert report["rows_per_second"] == 6


def test_no_lease_no_facet() -> None:
    leases.enter_task_process()  # what a task before had is none of this one's
    assert leases.credential_records() == []
    assert credential_facets() == {}
    leases.revoke_task_leases()


@pytest.mark.parametrize(
    ("rest", "transit", "status"),
    [
        (AtRest("SSE-KMS", evidence=Evidence.OBSERVED), TLS, "protected"),
        (AtRest("volume", evidence=Evidence.DECLARED), TLS, "protected"),
        (AtRest(), TLS, "unknown"),
        (AtRest("none", evidence=Evidence.OBSERVED), TLS, "exposed"),
        (AtRest("SSE-S3", evidence=Evidence.OBSERVED), InTransit(), "unknown"),
        (
            AtRest("SSE-S3", evidence=Evidence.OBSERVED),
            InTransit("none", evidence=Evidence.OBSERVED),
            "exposed",
        ),
        (
            AtRest("SSE-S3", evidence=Evidence.OBSERVED),
            InTransit("TLSv1.3", "c", False, False, Evidence.OBSERVED),
            "partial",
        ),
        (AtRest("SSE-S3", evidence=Evidence.UNKNOWN), TLS, "unknown"),
    ],
)
def test_nothing_is_protected_by_default(rest: AtRest, transit: InTransit, status: str) -> None:
    assert DatasetStatus(SOURCE.dataset, rest, transit).status == status
