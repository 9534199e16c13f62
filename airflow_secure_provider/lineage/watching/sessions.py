"""Sees by which socket the answers of a session of ``requests`` come, as the SDKs of Google and Azure make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...model import InTransit
from ...stores.tls import transport_of

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
