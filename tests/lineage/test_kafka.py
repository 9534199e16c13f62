"""Events to Kafka, with librdkafka's own brokers: those that answer, those that refuse, and those that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_secure_provider.errors import ConfigurationError
from airflow_secure_provider.lineage import kafka
from airflow_secure_provider.lineage.transport import SecureConfig, SecureTransport, send_once, transport_of

from .test_spool import RUNS, config, event


def made(spool: Path, settings: dict[str, str], **more: Any) -> SecureTransport:
    inner = {"type": "kafka", "topic": "lineage", "config": settings, **more}
    return transport_of({**config("", spool), "transport": inner})


BROKERS = {"test.mock.num.brokers": "1", "bootstrap.servers": "mock"}
NOBODY = {"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": "500"}


def test_what_a_broker_has_confirmed_is_sent(tmp_path: Path) -> None:
    transport = made(tmp_path, BROKERS)
    transport.emit(event())
    assert transport.flush().left == 0
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("seconds", [10.0, 0.1])
def test_without_a_broker_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Whether the message expires while it is waited for, or is still in the queue."""
    monkeypatch.setattr(kafka, "_SECONDS", seconds)
    transport = made(tmp_path, NOBODY)
    transport.emit(event())
    flushed = transport.flush()
    assert (flushed.taken, flushed.left) == (0, 1)
    (kept,) = tmp_path.glob("*.json")
    assert json.loads(kept.read_text())["run"]["runId"] == RUNS[0]


def test_the_check_tells_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_SECONDS", 1.0)
    with pytest.raises(kafka.NotDelivered):
        send_once({"type": "kafka", "topic": "t", "config": NOBODY}, {"run": {"runId": RUNS[0]}})
    send_once({"type": "kafka", "topic": "t", "config": dict(BROKERS)}, {"run": {"runId": RUNS[0]}})


def test_who_does_not_wait_for_the_broker_is_refused() -> None:
    inner = {"type": "kafka", "topic": "t", "config": BROKERS, "flush": False}
    with pytest.raises(ConfigurationError, match="when it is queued"):
        SecureConfig.from_dict({"spool": "/x", "transport": inner})
