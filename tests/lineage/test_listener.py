"""The listener: it may fail, and must not be noticed when it does."""

from __future__ import annotations

import logging

import pytest

from airflow_secure_provider import leases
from airflow_secure_provider.lineage import listener


class TaskRunnerMarker:
    """As Airflow's own, by its name."""


class SchedulerMarker:
    pass


def test_only_a_task_runner_may_lease() -> None:
    listener.on_starting(SchedulerMarker())
    assert "runs no task" in (leases.reason_for_denial() or "")
    listener.on_starting(TaskRunnerMarker())
    assert leases.reason_for_denial() is None
    listener.before_stopping(SchedulerMarker())
    assert leases.reason_for_denial() is None
    listener.before_stopping(TaskRunnerMarker())
    assert "runs no task" in (leases.reason_for_denial() or "")


def test_a_failure_becomes_a_warning_without_its_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a password perhaps")

    monkeypatch.setattr(leases, "enter_task_process", broken)
    with caplog.at_level(logging.WARNING):
        listener.on_starting(TaskRunnerMarker())
    assert "on_starting" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "password" not in caplog.text
