"""The leases of one process: issued once, shared, and revoked by the process that owns them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ..errors import StoreUnavailable
from .journal import runs
from .lease import Held, Lease, LeaseDenied, LeaseKey, Lender

log = logging.getLogger(__name__)

REVOKE_ALL_SECONDS = 10.0
_REVOKERS = 4
_LATE_SECONDS = 3.0


class LeaseBook:
    """
    The leases of one process, which owns them.

    Forked children have the parent's leases. They neither take new ones nor renew nor revoke: what they took would
    be left behind when they end, and what they revoked would break their parent.

    :param on_change: told all leases that have not ended whenever they change; for a journal that outlives the process.
    """

    def __init__(self, on_change: Callable[[list[Held]], None] | None = None) -> None:
        # Reentrant: a signal handler that revokes may have interrupted a look-up of the same thread.
        self._lock = threading.RLock()
        self._revoking = threading.Lock()
        self._owner_pid: int | None = None
        self._current: dict[LeaseKey, Held] = {}
        self._retired: list[Held] = []
        self._ending: list[Held] = []
        self._ended: list[Held] = []
        self._left: list[Held] = []  # not revoked, and told: for the journal, whatever this process does next
        self._closed = False
        self._on_change = on_change
        this = weakref.ref(self)  # the interpreter keeps what it is given for ever
        os.register_at_fork(after_in_child=lambda: _renew_locks(this()))

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
                self._ending.clear()
                self._left.clear()

    @property
    def is_owner(self) -> bool:
        return self._owner_pid == os.getpid()

    def close(self) -> None:
        """Take no more leases; without waiting for anybody, as a signal handler must."""
        self._closed = True

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
                return self._inherited(key, held)
            if self._closed:
                raise LeaseDenied("the task is being stopped")
            if held is not None and not held.is_stale():
                return held.lease
            made = Held(key, issue(), lender)
            before = self._current.get(key)  # not `held`: what interrupted us may have taken one too
            if before is not None:
                self._retired.append(before)
            self._current[key] = made
            self._changed()
            log.info(
                "took a credential of role %r (%s) for connection %r, for %d s: lease %s",
                made.lease.role,
                key.mount,
                key.conn_id,
                made.lease.ttl_seconds,
                made.lease.hashed_id,
            )
        if self._closed:  # by a signal that came while it was issued
            self.revoke_all()
            if made.revoked_at is None:  # who has closed the book had no time left for it
                _revoke_one(made, time.monotonic() + _LATE_SECONDS, _LATE_SECONDS)
                self._left = [held for held in self._left if held is not made]
            raise LeaseDenied("the task is being stopped")
        return made.lease

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
            return [*self._ending, *self._retired, *self._current.values()]

    def history(self) -> list[Held]:
        """Everything that this process was lent, ended or not."""
        with self._lock:
            return [*self._ended, *self.living()]

    def revoke_all(
        self, *, deadline_seconds: float = REVOKE_ALL_SECONDS, at_exit: bool = False
    ) -> list[tuple[Lease, Exception]] | None:
        """
        Revoke all leases and take no more; in a process that does not own them, nothing.

        One at a time: who comes while another does it waits for that.

        :param at_exit: the interpreter is ending, and starts no more threads.
        :return: those that are left to their TTL, and why; None if another has not got through with it in time. Nothing is
            raised: the work is done, and it was good.
        """
        if not self.is_owner:
            return []
        self._closed = True
        until = time.monotonic() + deadline_seconds
        if not self._revoking.acquire(timeout=deadline_seconds):
            return None
        try:
            with self._lock:
                self._ending += [*self._retired, *self._current.values()]
                self._retired, self._current = [], {}
                ending = list(self._ending)
            due = [held for held in ending if held.lease.lease_id and held.seconds_left() > 0]
            revoke = self._revoke_in_turn if at_exit or len(due) < 2 else self._revoke
            failures = revoke(due, until, deadline_seconds)
            left = [held for held, _ in failures]
            with self._lock:
                self._ended += ending
                self._ending = []
                self._left += left
                self._changed()
        finally:
            self._revoking.release()
        return [(held.lease, error) for held, error in failures]

    # --- inside ---------------------------------------------------------------------------------------------

    def _inherited(self, key: LeaseKey, held: Held | None) -> Lease:
        if held is not None:
            renewed = held.lease.renewable and self._owner_pid is not None and runs(self._owner_pid)
            if held.seconds_left() > 0 or renewed:  # its owner's renewals can't be seen from here
                return held.lease
        raise LeaseDenied(
            f"this forked process has inherited no living lease of role {key.role!r} for connection "
            f"{key.conn_id!r}, and does not take its own, which nobody would revoke; look the connection "
            "up in the task's own process before it forks"
        )

    def _revoke_in_turn(
        self, due: list[Held], until: float, deadline_seconds: float
    ) -> list[tuple[Held, Exception]]:
        failures: list[tuple[Held, Exception]] = []
        for held in due:
            try:
                _revoke_one(held, until, deadline_seconds)
            except Exception as error:  # noqa: BLE001 - collected for the caller, who warns
                failures.append((held, error))
        return failures

    def _revoke(self, due: list[Held], until: float, deadline_seconds: float) -> list[tuple[Held, Exception]]:
        failures: list[tuple[Held, Exception]] = []
        pool = ThreadPoolExecutor(min(_REVOKERS, len(due)), thread_name_prefix="revoke")
        try:
            waiting = [(held, pool.submit(_revoke_one, held, until, deadline_seconds)) for held in due]
            for held, future in waiting:
                try:
                    future.result(timeout=max(0.0, until - time.monotonic()))
                except TimeoutError:
                    failures.append((held, _late(deadline_seconds)))
                except Exception as error:  # noqa: BLE001 - collected for the caller, who warns
                    failures.append((held, error))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return failures

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self.living() + self._left)


def _revoke_one(held: Held, until: float, deadline_seconds: float) -> None:
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise _late(deadline_seconds)
    held.lender.revoke(held.lease, seconds)
    held.revoked_at = datetime.now(UTC)
    log.info("gave back lease %s of role %r (%s)", held.lease.hashed_id, held.lease.role, held.lease.mount)


def _late(seconds: float) -> StoreUnavailable:
    return StoreUnavailable(f"not revoked within {seconds:g} s of the task's end")


def _renew_locks(book: LeaseBook | None) -> None:
    """Another thread of the parent may have held them while we were forked."""
    if book is not None:
        book._lock = threading.RLock()
        book._revoking = threading.Lock()
