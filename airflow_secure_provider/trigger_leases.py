"""Leases of triggers, which share one process: a book for each, closed when the trigger ends. Opt-in."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from typing import Any

from .vault.book import LeaseBook
from .vault.lease import Held

log = logging.getLogger(__name__)

NOT_REVOKED = (
    "lease %s of role %r (%s) was not revoked; Vault ends it when its TTL of %d s has passed, if it can: %s"
)

_books: dict[int, LeaseBook] = {}
_lock = threading.Lock()
_CLOSING_SECONDS = 10.0


def trigger_id() -> int | None:
    """Of the trigger that asks, which Airflow binds to the log of all that runs in it, other threads included."""
    import structlog.contextvars

    found = structlog.contextvars.get_contextvars().get("trigger_id")
    return found if isinstance(found, int) else None


def book_of(number: int) -> LeaseBook | None:
    """The trigger's book; None if its end can't be watched, so that nobody would revoke what it is lent."""
    with _lock:
        book = _books.get(number)
        if book is not None:
            return book
        runner = _runner()
        task = runner.triggers.get(number, {}).get("task") if runner is not None else None
        if task is None:
            return None
        book = _books[number] = LeaseBook()
        book.claim()
        # Of all that asyncio has, only this may be called from another thread.
        task.get_loop().call_soon_threadsafe(task.add_done_callback, lambda _: _close_apart(number))
        return book


def living() -> list[Held]:
    """Of all triggers of this process."""
    with _lock:
        books = list(_books.values())
    return [held for book in books for held in book.living()]


def _close_apart(number: int) -> None:
    """In a thread: the event loop is other triggers' too."""
    threading.Thread(target=_close, args=[number], name=f"revoke-trigger-{number}").start()


def _close(number: int, *, at_exit: bool = False) -> None:
    with _lock:
        book = _books.pop(number, None)
    failures = (
        book.revoke_all(deadline_seconds=_CLOSING_SECONDS, at_exit=at_exit) if book is not None else None
    )
    for lease, error in failures or ():
        log.warning(NOT_REVOKED, lease.hashed_id, lease.role, lease.mount, lease.ttl_seconds, error)


def _close_all() -> None:
    for number in list(_books):
        _close(number, at_exit=True)


atexit.register(_close_all)


def _runner() -> Any:
    """Airflow's TriggerRunner, which the main thread is inside of for as long as there are triggers."""
    main = threading.main_thread().ident
    frame = sys._current_frames().get(main) if main is not None else None
    while frame is not None:
        found = frame.f_locals.get("self")
        if type(found).__name__ == "TriggerRunner" and isinstance(getattr(found, "triggers", None), dict):
            return found
        frame = frame.f_back
    return None
