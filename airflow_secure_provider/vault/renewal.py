"""Renews, while the task works, what would otherwise end under it."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable
from typing import Protocol

from .lease import Held

log = logging.getLogger(__name__)

_DUE = 1 / 3  # renewed when a third of its life is left
_RETRY_SECONDS = 5.0
_IDLE_SECONDS = 30.0
_LEAST_SECONDS = 0.1


class Renewable(Protocol):
    """A login or a lease."""

    span: float

    def own_seconds_left(self) -> float: ...

    def renew(self) -> None: ...


class Keeper:
    """A thread of the process that owns the leases; it never runs in a forked child.

    :param due: what may be renewed now, asked anew each time.
    """

    def __init__(self, due: Callable[[], list[Renewable]]) -> None:
        self._due = due
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._stopped = False
        self._due_at = _DUE
        self._refused: dict[int, Renewable] = {}  # by identity; kept, so that none is taken for another

    def start(self) -> None:
        """If it does not run in this process yet; otherwise have it look at what there is now."""
        runs = self._pid == os.getpid() and self._thread is not None and self._thread.is_alive()
        if not runs or self._stopped:
            self._pid, self._stopped = os.getpid(), False
            # Not all tasks that began together shall ask together.
            self._due_at = _DUE * random.uniform(1.0, 1.25)  # noqa: S311 (no secret)
            self._wake = threading.Event()
            self._refused = {}
            self._thread = threading.Thread(
                target=self._run, args=[self._wake], name="vault-renewal", daemon=True
            )
            self._thread.start()
        else:
            self._wake.set()

    def stop(self) -> None:
        """Begin no more renewals; one that is under way is not waited for."""
        self._stopped = True
        self._wake.set()

    def _run(self, wake: threading.Event) -> None:
        while not self._stopped and self._wake is wake:  # another thread's, once this one was stopped
            try:
                wait = self._renew_what_is_due()
            except Exception as error:  # noqa: BLE001 (a thread that dies unseen would let every lease lapse)
                log.warning("renewal of leases failed, and is tried again: %s", type(error).__name__)
                wait = _RETRY_SECONDS
            wake.wait(wait)
            wake.clear()

    def _renew_what_is_due(self) -> float:
        """:return: seconds until something is due."""
        soonest = _IDLE_SECONDS
        for each in self._due():
            if self._stopped or id(each) in self._refused or each.own_seconds_left() <= 0:
                continue
            at: float | None = each.span * self._due_at
            if each.own_seconds_left() <= each.span * self._due_at:
                at = self._renew(each)
            if at is not None:
                soonest = min(soonest, max(_LEAST_SECONDS, each.own_seconds_left() - at))
        return soonest

    def _renew(self, each: Renewable) -> float | None:
        """:return: with how many seconds left it is due again; None if never."""
        before = each.own_seconds_left()
        try:
            each.renew()
        except Exception as error:  # noqa: BLE001 (whatever it is: the lease lives on for what it has left)
            from ..errors import TransientError

            if isinstance(error, TransientError) and before > _LEAST_SECONDS:
                return max(0.0, before - min(_RETRY_SECONDS, before / 4))
            self._refused[id(each)] = each
            log.warning(
                "%s can't be renewed, and ends in %d s: %s",
                _name(each),
                max(0, each.own_seconds_left()),
                error,
            )
            return None
        if each.own_seconds_left() <= before + 1:
            self._refused[id(each)] = each
            log.info(
                "%s is at its maximum TTL and ends in %d s; the next connection gets another credential",
                _name(each),
                max(0, each.own_seconds_left()),
            )
            return None
        return each.span * self._due_at


def _name(each: Renewable) -> str:
    if isinstance(each, Held):
        return f"lease {each.lease.hashed_id} of role {each.lease.role!r} ({each.lease.mount})"
    return "the login to Vault"
