"""The leases of the running task: what the secrets backend takes and the listener gives back."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any

from airflow_secure_provider.vault import LeaseBook, LeaseKey

log = logging.getLogger(__name__)

# Airflow 3.2 makes a new backend for each look-up, so what must outlast a look-up can't live in one.
BOOK = LeaseBook()
TEMPLATES: dict[
    LeaseKey, dict[str, Any]
] = {}  # what was merged with a lease, for as long as it is in the book

_task_process = False


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """One credential that the task used; safe to publish."""

    conn_id: str
    engine: str
    role: str
    mount: str
    hashed_lease_id: str
    issued_at: str  # ISO 8601, UTC
    ttl_seconds: int
    renewable: bool


def enter_task_process() -> None:
    """
    Allow leases in this process from now on, until :func:`revoke_task_leases`.

    For the listener, in ``on_starting`` (of a task runner, no other component) and, since ``airflow dags test``
    and ``airflow tasks test`` call no ``on_starting``, also in ``on_task_instance_running``.
    """
    global _task_process
    if not BOOK.is_owner:
        TEMPLATES.clear()
    BOOK.claim()
    _task_process = True


def revoke_task_leases() -> None:
    """
    Revoke what this task has leased, and lease no more; for the listener, in ``before_stopping``.

    Never raises. What can't be revoked is named in a warning and ends with its TTL. In a forked child, nothing.
    """
    global _task_process
    if not BOOK.is_owner:
        return
    _task_process = False
    for lease, error in BOOK.revoke_all():
        log.warning(
            "lease %s of role %r (%s) was not revoked and lives up to %d s more: %s",
            lease.hashed_id,
            lease.role,
            lease.mount,
            max(0, lease.seconds_left()),
            error,
        )
    TEMPLATES.clear()


def credential_records() -> list[CredentialRecord]:
    """What this task (or the one this process was forked from) holds leases of; empty once they are revoked."""
    return [
        CredentialRecord(
            conn_id=key.conn_id,
            engine=lease.engine,
            role=lease.role,
            mount=lease.mount,
            hashed_lease_id=lease.hashed_id,
            issued_at=lease.issued_at.isoformat(),
            ttl_seconds=lease.ttl_seconds,
            renewable=lease.renewable,
        )
        for key, lease in BOOK.leases()
    ]


def reason_for_denial() -> str | None:
    """Why this process may not lease anything now; None in a task."""
    if not _task_process:
        return (
            "this process runs no task (it is a scheduler, DAG processor, triggerer, API server or command line); "
            "look the connection up inside a task, and check that the plugin of airflow-secure-provider is loaded "
            "(`airflow plugins`), which tells tasks from other processes"
        )
    if _parses_a_dag_file():  # as a task's own process does before it runs the task
        return "a DAG file is being parsed; look the connection up inside a task"
    return None


def _parses_a_dag_file() -> bool:
    """Airflow's own sign of it, an environment variable, stays set when the parsing is over; the stack does not."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(
            ("airflow.dag_processing.", "airflow.models.dagbag")
        ):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
