"""Events out of Marquez, for the graph of who came from whom."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, StoreError, StoreUnavailable
from .graph import parse_time
from .names import decoded, renamed

_PAGE = 200
_MOST_PER_PAGE = 1_000_000
_TIMEOUT_SECONDS = 60.0
_TICK = timedelta(microseconds=1)  # what its database tells apart
_END_OF_TIME = datetime(9000, 1, 1, tzinfo=UTC)  # it would stop at 2030 by itself


def events(
    url: str, as_of: datetime | None = None, *, token: str | None = None, page: int = _PAGE
) -> Iterator[dict[str, Any]]:
    """
    All events of runs, newest first, each once; names as they were before ``server: marquez``.

    :param url: of Marquez, without ``/api/v1``.
    :param as_of: no later ones.
    :param token: for a proxy before it; Marquez itself knows no login.
    :param page: events in one answer.
    :raises ConfigurationError: for what is no such URL.
    :raises StoreError: for an answer that is not Marquez's; StoreUnavailable, if there is none.
    """
    import requests

    where = _checked(url)
    before = (as_of or _END_OF_TIME) + _TICK
    seen: set[str] = set()  # of the page's last moment: the next page has it again
    with requests.Session() as session:
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        size = page
        while True:
            found = _page(session, where, before, size)
            keys = [json.dumps(each, sort_keys=True) for each in found]
            for key, event in zip(keys, found, strict=True):
                if key not in seen:
                    yield renamed(event, decoded)
            if len(found) < size:
                return
            last = _moment(found[-1])
            seen = {key for key, each in zip(keys, found, strict=True) if _moment(each) <= last + _TICK}
            if last + 2 * _TICK < before:
                before, size = last + 2 * _TICK, page
            elif size < _MOST_PER_PAGE:
                size *= 2  # they all happened at once
            else:
                raise StoreError(f"{where} has more than {size} events of one moment")


def _page(session: Any, where: str, before: datetime, size: int) -> list[dict[str, Any]]:
    import requests

    asked = {"limit": size, "before": before.isoformat(), "sortDirection": "desc"}
    address = f"{where}/api/v1/events/lineage"
    try:
        answer = session.get(address, params=asked, timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        reason = type(error).__name__
    else:
        return _events_of(answer, address)
    raise StoreUnavailable(f"no answer of {address}: {reason}")


def _events_of(answer: Any, address: str) -> list[dict[str, Any]]:
    if answer.status_code != 200:
        raise StoreError(f"{address} answered with status {answer.status_code}, expected 200")
    try:
        found = answer.json()["events"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise StoreError(f"{address} answered with something other than Marquez's events")
    return found


def _moment(event: Mapping[str, Any]) -> datetime:
    return parse_time(str(event.get("eventTime")).replace("Z", "+00:00"))


def _checked(url: str) -> str:
    """Without a path of the API. :raises ConfigurationError: for another scheme, and for a URL with a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"expected a URL of Marquez such as https://marquez.example.com, got {parts.scheme or 'no'} scheme"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            "the URL of Marquez takes no user, password or query; a token goes into MARQUEZ_TOKEN"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/").removesuffix("/api/v1")
