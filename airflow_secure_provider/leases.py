"""The leases of the running task: what the secrets backend takes and the listener gives back."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from . import trigger_leases
from .errors import SecureProviderError
from .vault.book import REVOKE_ALL_SECONDS, LeaseBook
from .vault.journal import Journal
from .vault.lease import Held
from .vault.login import Login
from .vault.renewal import Keeper, Renewable

log = logging.getLogger(__name__)

TERMINATION_SECONDS = 3.0  # of the five between SIGTERM and SIGKILL
_ON_KILL_SECONDS = 1.0

JOURNAL = Journal()
# Airflow 3.2 makes a new backend for each look-up, so what must outlast a look-up can't live in one.
BOOK = LeaseBook(on_change=JOURNAL.write)
LOGINS: dict[tuple[str, str, str], Login] = {}  # by address, namespace and who asks
KV: dict[tuple[str, ...], tuple[float, dict[str, Any]]] = {}  # until when, and the secret; in tasks only

_task_process = False
_session_name: str | None = None
_team: str | None = None


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """One credential that the task used; safe to publish. Times are ISO 8601 in UTC.

    :ivar hashed_lease_id: empty for a static role, which has no lease.
    :ivar expires_at: when it ends or ended, unless it was revoked before.
    :ivar renewed_at: the last renewal; None if there was none.
    :ivar revoked_at: None while it lives, and for what is left to its TTL.
    """

    conn_id: str
    engine: str
    role: str
    mount: str
    hashed_lease_id: str
    issued_at: str
    expires_at: str
    ttl_seconds: int
    renewable: bool
    renewals: int
    renewed_at: str | None
    revoked_at: str | None


def enter_task_process(session_name: str | None = None, team: str | None = None) -> None:
    """
    Allow leases in this process from now on, until :func:`revoke_task_leases`.

    For the listener, in ``on_starting`` (of a task runner, no other component) and, since ``airflow dags test``
    and ``airflow tasks test`` call no ``on_starting``, also in ``on_task_instance_running``.

    :param session_name: what the task is called where a credential can carry a name.
    :param team: whose task it is; Airflow does not tell it to backends that tasks ask.
    """
    global _task_process, _session_name, _team
    if not BOOK.is_owner:
        atexit.register(_at_exit)
        _task_process = False
    elif _task_process and session_name and _session_name and session_name != _session_name:
        revoke_task_leases()  # of the task before, in `dags test`, which runs one after the other in one process
    if not _task_process:
        KV.clear()
        BOOK.claim()
        _session_name = _team = None
        for key, login in list(LOGINS.items()):
            if (
                login.made_by and not login.is_ours
            ):  # of the process that this one was forked from: not ours to renew or end
                LOGINS.pop(key, None)
    _task_process = True
    _session_name = session_name or _session_name
    _team = team or _team


def revoke_task_leases(*, deadline_seconds: float = REVOKE_ALL_SECONDS, at_exit: bool = False) -> None:
    """
    Revoke what this task has leased and end its login, and lease no more.

    Never raises. What can't be revoked is named in a warning and ends with its TTL. In a forked child, nothing.
    """
    global _task_process
    if not BOOK.is_owner:
        return
    until = time.monotonic() + deadline_seconds
    _task_process = False
    _KEEPER.stop()
    KV.clear()
    failures = BOOK.revoke_all(deadline_seconds=deadline_seconds, at_exit=at_exit)
    if failures is None:
        return  # another thread is at it, and tells
    for lease, error in failures:
        log.warning(
            trigger_leases.NOT_REVOKED, lease.hashed_id, lease.role, lease.mount, lease.ttl_seconds, error
        )
    _end_logins(until)


def revoke_on_sigterm() -> None:
    """
    Revoke when the task is stopped from outside: Airflow sends SIGTERM, calls ``on_kill``, and five seconds later kills.

    Airflow's handler comes first, so that the statement is cancelled before its user goes; if it takes long, the leases
    are revoked beside it.
    """
    previous = signal.getsignal(signal.SIGTERM)
    if isinstance(previous, _Termination) or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, _Termination(previous))


class _Termination:
    def __init__(self, previous: Any) -> None:
        self._previous = previous
        self._pid = os.getpid()

    def __call__(self, number: int, frame: Any) -> None:
        global _task_process
        if os.getpid() != self._pid or not BOOK.is_owner:
            self._go_on(number, frame)
            return
        _task_process = False
        BOOK.close()  # without its lock, which a look-up may hold that waits for Vault: on_kill must not wait for that
        handled = threading.Event()
        revoking = threading.Thread(target=self._revoke, args=[handled], name="revoke-on-sigterm")
        revoking.start()
        try:
            if callable(self._previous):
                self._previous(number, frame)
        finally:
            handled.set()
            revoking.join(TERMINATION_SECONDS)
        if not callable(self._previous):
            self._go_on(number, frame)

    def _revoke(self, handled: threading.Event) -> None:
        handled.wait(_ON_KILL_SECONDS)
        revoke_task_leases(deadline_seconds=TERMINATION_SECONDS - _ON_KILL_SECONDS)

    def _go_on(self, number: int, frame: Any) -> None:
        if callable(self._previous):
            self._previous(number, frame)
        elif self._previous == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def keep_alive(of: LeaseBook) -> None:
    """Renew, from now on, the leases of this process and the login that they end with."""
    if of.is_owner:
        _KEEPER.start()


def credential_records() -> list[CredentialRecord]:
    """What this task (or the one this process was forked from) was lent, ended or not."""
    return [_record(held) for held in BOOK.history()]


def in_task() -> bool:
    """Whether this process (or the one it was forked from) runs a task now."""
    return _task_process


def session_name() -> str | None:
    return _session_name


def team() -> str | None:
    return _team


def book(*, for_triggers: bool) -> LeaseBook | str:
    """
    Where a lease that is asked for now belongs.

    :param for_triggers: whether triggers may lease.
    :return: the book, or why there is none.
    """
    denial = reason_for_denial()
    if denial is None:
        return BOOK
    number = trigger_leases.trigger_id() if for_triggers else None
    found = trigger_leases.book_of(number) if number is not None else None
    return found or denial


def reason_for_denial() -> str | None:
    """Why this process may not lease anything now; None in a task."""
    if not _task_process:
        return (
            "this process runs no task (it is a scheduler, DAG processor, API server or command line, a triggerer without "
            "triggerer_leases in backend_kwargs, or a task that is being stopped); look the connection up inside a task, and check that the plugin of "
            "airflow-secure-provider is loaded (`airflow plugins`), which tells tasks from other processes"
        )
    if _parses_a_dag_file():  # as a task's own process does before it runs the task
        return "a DAG file is being parsed; look the connection up inside a task"
    return None


def _due() -> list[Renewable]:
    """The logins first: a lease that is renewed ends with its login all the same."""
    logins = [login for login in list(LOGINS.values()) if login.renewer is not None]
    return [
        *logins,
        *(
            held
            for held in [*BOOK.living(), *trigger_leases.living()]
            if held.lease.renewable and held.lease.lease_id
        ),
    ]


_KEEPER = Keeper(_due)


def _end_logins(until: float) -> None:
    """The ones that this process made: thousands of tasks would leave thousands of living tokens in Vault."""
    for key, login in list(LOGINS.items()):
        if login.ender is None or not login.is_ours:
            continue
        LOGINS.pop(key, None)
        if login.ended or time.monotonic() >= until:
            continue
        try:
            login.ender(login.token, until - time.monotonic())
            login.ended = True
        except SecureProviderError as error:
            log.info("the login to Vault was not ended and lives until its TTL has passed: %s", error)


def _at_exit() -> None:
    if BOOK.is_owner:
        revoke_task_leases(at_exit=True)


def _record(held: Held) -> CredentialRecord:
    lease = held.lease
    return CredentialRecord(
        conn_id=held.key.conn_id,
        engine=lease.engine,
        role=lease.role,
        mount=lease.mount,
        hashed_lease_id=lease.hashed_id,
        issued_at=lease.issued_at.isoformat(),
        expires_at=held.expires_at.isoformat(timespec="seconds"),
        ttl_seconds=lease.ttl_seconds,
        renewable=lease.renewable,
        renewals=held.renewals,
        renewed_at=held.renewed_at.isoformat() if held.renewed_at else None,
        revoked_at=held.revoked_at.isoformat() if held.revoked_at else None,
    )


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
