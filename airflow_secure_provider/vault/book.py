"""The leases of one process: issued once, shared, and revoked by the process that owns them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ..errors import StoreUnavailable
from .lease import Held, Lease, LeaseDenied, LeaseKey, Lender

REVOKE_ALL_SECONDS = 10.0
_REVOKERS = 4


class LeaseBook:
    """
    The leases of one process, which owns them.

    Forked children have the parent's leases. They neither take new ones nor renew nor revoke: what they took would
    be left behind when they end, and what they revoked would break their parent.

    :param on_change: told the ids of all living leases whenever they change; for a journal that outlives the process.
    """

    def __init__(self, on_change: Callable[[list[Held]], None] | None = None) -> None:
        # Reentrant: a signal handler that revokes may have interrupted a look-up of the same thread.
        self._lock = threading.RLock()
        self._owner_pid: int | None = None
        self._current: dict[LeaseKey, Held] = {}
        self._retired: list[Held] = []
        self._ended: list[Held] = []
        self._closed = False
        self._on_change = on_change
        os.register_at_fork(after_in_child=self._renew_lock)

    def claim(self) -> None:
        """
        Make this process the owner, for a task that begins.

        Claimed again by another process (a forked one that starts work of its own), the book starts empty:
        the leases in it are the first owner's.
        """
        with self._lock:
            self._closed = False
            self._ended.clear()
            if self._owner_pid != os.getpid():
                self._owner_pid = os.getpid()
                self._current.clear()
                self._retired.clear()

    @property
    def is_owner(self) -> bool:
        return self._owner_pid == os.getpid()

    def obtain(self, key: LeaseKey, issue: Callable[[], Lease], lender: Lender) -> Lease:
        """
        The lease for the key: the one at hand, or a new one when there is none or it is near its end.

        A replaced lease is not cut short, since a connection may be at work under it: it ends by itself, or
        with the others in :meth:`revoke_all`.

        :raises LeaseDenied: in a process that does not own the book and has inherited no living lease.
        """
        with self._lock:
            held = self._current.get(key)
            if not self.is_owner:
                if held is not None and held.seconds_left() > 0:
                    return held.lease
                raise LeaseDenied(
                    f"this forked process has inherited no living lease of role {key.role!r} for connection "
                    f"{key.conn_id!r}, and does not take its own, which nobody would revoke; look the connection "
                    "up in the task's own process before it forks"
                )
            if held is not None and not held.is_stale():
                return held.lease
            made = issue()
            if self._closed:  # by a signal that came while it was issued
                lender.revoke(made)
                raise LeaseDenied("the task is being stopped")
            if held is not None:
                self._retired.append(held)
            self._current[key] = Held(key, made, lender)
            self._changed()
            return made

    def note(self, key: LeaseKey, lease: Lease, lender: Lender) -> None:
        """Remember what was used and is not ours to end: the password of a static role."""
        with self._lock:
            if self.is_owner:
                self._current[key] = Held(key, lease, lender)

    def retire(self, conn_id: str) -> int:
        """Let the next look-up of the connection take a new lease. :return: how many are retired."""
        with self._lock:
            if not self.is_owner:
                return 0
            keys = [key for key in self._current if key.conn_id == conn_id]
            self._retired += [self._current.pop(key) for key in keys]
            return len(keys)

    def living(self) -> list[Held]:
        """What has not ended, the ones that have been replaced included."""
        with self._lock:
            return [*self._retired, *self._current.values()]

    def history(self) -> list[Held]:
        """Everything that this process was lent, ended or not."""
        with self._lock:
            return [*self._ended, *self._retired, *self._current.values()]

    def revoke_all(
        self, *, deadline_seconds: float = REVOKE_ALL_SECONDS, at_exit: bool = False
    ) -> list[tuple[Lease, Exception]]:
        """
        Revoke all leases; in a process that does not own them, nothing.

        :param at_exit: the interpreter is ending, and starts no more threads.
        :return: those that are left to their TTL, and why. Nothing is raised: the work is done, and it was good.
        """
        with self._lock:
            if not self.is_owner:
                return []
            self._closed = True
            ending = [*self._retired, *self._current.values()]
            self._retired, self._current = [], {}
            self._ended += ending
        due = [held for held in ending if held.lease.lease_id and held.seconds_left() > 0]
        revoke = self._revoke_in_turn if at_exit or len(due) < 2 else self._revoke
        failures = revoke(due, deadline_seconds)
        self._changed(left=[held for held, _ in failures])
        return [(held.lease, error) for held, error in failures]

    def _revoke_in_turn(self, due: list[Held], deadline_seconds: float) -> list[tuple[Held, Exception]]:
        until = time.monotonic() + deadline_seconds
        failures: list[tuple[Held, Exception]] = []
        for held in due:
            try:
                if time.monotonic() > until:
                    raise _late(deadline_seconds)
                held.lender.revoke(held.lease)
                held.revoked_at = datetime.now(UTC)
            except Exception as error:  # noqa: BLE001 - collected for the caller, who warns
                failures.append((held, error))
        return failures

    def _revoke(self, due: list[Held], deadline_seconds: float) -> list[tuple[Held, Exception]]:
        until = time.monotonic() + deadline_seconds
        failures: list[tuple[Held, Exception]] = []
        pool = ThreadPoolExecutor(min(_REVOKERS, len(due)), thread_name_prefix="revoke")
        try:
            for held, future in [(held, pool.submit(held.lender.revoke, held.lease)) for held in due]:
                try:
                    future.result(timeout=max(0.0, until - time.monotonic()))
                    held.revoked_at = datetime.now(UTC)
                except TimeoutError:
                    failures.append((held, _late(deadline_seconds)))
                except Exception as error:  # noqa: BLE001 - collected for the caller, who warns
                    failures.append((held, error))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return failures

    def _changed(self, left: list[Held] | None = None) -> None:
        if self._on_change is not None:
            self._on_change(self.living() + (left or []))

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()  # another thread of the parent may have held it while we were forked


def _late(seconds: float) -> StoreUnavailable:
    return StoreUnavailable(f"not revoked within {seconds:g} s of the task's end")
