"""Lineage of what goes to Cloud Storage, Azure and Kafka, on a real Airflow."""

from __future__ import annotations

import pytest

from sandbox.ca import Authority
from tests.lineage.azure_server import azure
from tests.lineage.gcs_server import gcs
from tests.lineage.kafka_cluster import Cluster, TlsGate
from tests.tls_server import TlsServer

from .conftest import Stage
from .test_stock import complete

pytestmark = pytest.mark.airflow


def test_what_was_seen_of_them(stage: Stage, authority: Authority) -> None:
    with (
        TlsServer(gcs("https"), "owner", authority) as google,
        TlsServer(azure(), "owner", authority) as microsoft,
        TlsGate(Cluster(), authority) as kafka,
    ):
        given = {"gcs": google.url, "azure": microsoft.url, "kafka": f"127.0.0.1:{kafka.port}"}
        day = stage.next_day()
        run_id = stage.airflow.trigger("clouds", {**given, "ca": str(authority.ca_pem)}, logical_date=day)
        state = stage.airflow.wait("clouds", run_id, 120)
    assert state == "success", stage.airflow.task_log("clouds", run_id, "write")[-3000:]
    outputs = complete(stage, "clouds", "write")["outputs"]
    seen = {
        each["namespace"].partition("://")[0]: each["facets"]["secureProvider_encryption"] for each in outputs
    }
    assert {name: (each["status"], each["atRest"]["scheme"]) for name, each in seen.items()} == {
        "gs": ("protected", "SSE-KMS"),
        "wasbs": ("protected", "SSE"),
        "kafka": ("unknown", "unknown"),
    }
    assert seen["gs"]["atRest"]["keyId"] == "projects/p/k"
    assert {each["inTransit"]["peerVerified"] for each in seen.values()} == {True}
    assert [name for name, content in stage.everything_written() if b"hunter22-kafka" in content] == []
