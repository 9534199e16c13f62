"""Sees by which socket the answers of a session of ``requests`` come, as the SDKs of Google and Azure make them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..model import InTransit
from ..stores.tls import transport_of

log = logging.getLogger(__name__)

Look = Callable[..., None]


def attend(session: Any, look: Look) -> None:
    """Give *look* each answer of a session, once however often this is called.

    ``requests`` calls it before the body is read: afterwards the connection is back in its pool, and nobody knows which it was.
    """
    present = session.hooks.get("response") or []
    present = [present] if callable(present) else list(present)
    if look not in present:
        session.hooks["response"] = [*present, look]


def how_it_came(answer: Any) -> InTransit:
    """:param answer: whose body is not read yet."""
    raw = answer.raw
    return transport_of(getattr(raw, "connection", None), raw)


def harmless(look: Look) -> Look:
    """The same, and no fault of it reaches the task."""

    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            look(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (a task must not fail by being watched)
            log.debug("%s has not looked: %s", look.__qualname__, type(error).__name__)

    return guarded
