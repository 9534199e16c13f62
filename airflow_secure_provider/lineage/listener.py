"""What happens around every task: leases are allowed, reported, and given back.

Nothing here may fail a task or silence another listener: whatever goes wrong becomes a warning.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.configuration import AIRFLOW_HOME
from airflow.listeners import hookimpl

from .. import leases
from ..connections import resolve_connections
from ..log_masking import mask_at_the_source
from ..vault.session_names import role_session_name
from .observations import OBSERVED
from .watching.install import watch

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
        _enter()
        watch()  # a DAG file that takes classes out of their modules would have them unwatched


@hookimpl(tryfirst=True)
@_harmless
def on_task_instance_running(previous_state: Any, task_instance: Any) -> None:
    """Before OpenLineage forks: what is leased now is inherited. ``dags test`` and ``tasks test`` call no ``on_starting``."""
    global _running
    task = getattr(task_instance, "task", None)
    if task is None:  # a state that was set from outside, in the API server
        return
    _running = task_instance
    OBSERVED.clear()
    watch()
    name = ".".join(str(getattr(task_instance, each)) for each in ("dag_id", "task_id", "run_id"))
    _enter(role_session_name(name), _team_of(task_instance))
    leases.revoke_on_sigterm()
    try:
        resolve_connections(task)
        _prepare(task)
    except Exception as error:  # noqa: BLE001 (it comes again, with its message, when the task looks it up)
        log.debug("connections were not looked up ahead: %s", type(error).__name__)


@hookimpl
@_harmless
def before_stopping(component: Any) -> None:
    """At a task process's normal end, after the lineage of its last state has used the connection."""
    if type(component).__name__ != "TaskRunnerMarker":
        return
    leases.revoke_task_leases()
    if _running is not None and leases.credential_records():
        from .emission import emit_credentials

        emit_credentials(_running)


_running: Any = None


def _prepare(task: Any) -> None:
    """What OpenLineage's forks need of us, imported once instead of in each of them; nothing if it does not use us."""
    from airflow.sdk.configuration import conf

    if "SecureTransport" in conf.get("openlineage", "transport", fallback=""):
        from . import completion, transport  # noqa: F401
    extractors = sys.modules.get(f"{__package__}.extractors")  # it has imported them, if they are configured
    if extractors is not None:
        extractors.prepare(task)


def _team_of(task_instance: Any) -> str | None:
    told = getattr(task_instance, "_ti_context_from_server", None)
    team = getattr(getattr(told, "dag_run", None), "team_name", None)
    return team if isinstance(team, str) else None


def _enter(name: str | None = None, team: str | None = None) -> None:
    from airflow.sdk.configuration import conf

    mask_at_the_source()
    if leases.JOURNAL.folder is None:
        folder = conf.get("secure_provider", "lease_journal", fallback="")
        leases.JOURNAL.folder = Path(folder or Path(AIRFLOW_HOME) / "secure_provider_leases")
    leases.enter_task_process(name, team)
