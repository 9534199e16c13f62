"""What happens around every task: leases are allowed, reported, and given back.

Nothing here may fail a task or silence another listener: whatever goes wrong becomes a warning.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from airflow.listeners import hookimpl

from .. import leases

log = logging.getLogger(__name__)


def _harmless(hook: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(hook)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            hook(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (a listener that raises silences the others)
            log.warning(
                "the listener of airflow-secure-provider failed in %s: %s",
                hook.__name__,
                type(error).__name__,
            )

    return guarded


@hookimpl
@_harmless
def on_starting(component: Any) -> None:
    """In a task's own process, before its DAG file is parsed."""
    if type(component).__name__ == "TaskRunnerMarker":
        leases.enter_task_process()


@hookimpl(tryfirst=True)
@_harmless
def on_task_instance_running(previous_state: Any, task_instance: Any) -> None:
    """``dags test`` and ``tasks test`` call no ``on_starting``."""
    leases.enter_task_process()


@hookimpl
@_harmless
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    _report_credentials(task_instance)


@hookimpl
@_harmless
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:
    _report_credentials(task_instance)


@hookimpl
@_harmless
def before_stopping(component: Any) -> None:
    """At a task process's normal end, after the lineage of its last state has used the connection."""
    if type(component).__name__ == "TaskRunnerMarker":
        leases.revoke_task_leases()


def _report_credentials(task_instance: Any) -> None:
    """Our own operators carry the facet on their COMPLETE or FAIL event; other tasks get an event of their own."""
    task = getattr(task_instance, "task", None)
    if task is None or getattr(task, "reports_credentials", False) or not leases.credential_records():
        return
    from .emission import emit_credentials

    emit_credentials(task_instance)
