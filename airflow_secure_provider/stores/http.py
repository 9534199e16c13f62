"""An HTTP API: asked with patience, over a connection that is watched, and never quoted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from ..errors import ConfigurationError, FormatError, StoreError, StoreUnavailable
from ..model import Evidence, InTransit
from .tls import transport_of, weaker

log = logging.getLogger(__name__)
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before a request is made again, where the server does not say how long to wait."""
_LONGEST_PAUSE = 300.0
_AGAIN = frozenset({429, 500, 502, 503, 504})
_PIECE_BYTES = 1 << 18


class Authentication(Protocol):
    """Puts credentials into a request's headers."""

    def headers(self) -> Mapping[str, str]: ...

    def renew(self) -> bool:
        """After a 401: take new credentials. :return: whether there can be any."""


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """Where an API is, and who asks.

    :param base_url: ``https://host:port``, perhaps with the beginning of all paths.
    :param verify: whether the server's certificate is checked, or the CA file by which it is.
    :param timeout: seconds to connect, and to wait for more of an answer.
    """

    base_url: str
    authentication: Authentication | None = field(default=None, repr=False)
    verify: bool | str = True
    timeout: float = 60.0

    @property
    def origin(self) -> str:
        return origin_of(self.base_url)

    def url(self, endpoint: str) -> str:
        return f"{self.base_url.rstrip('/')}/{endpoint.lstrip('/')}" if endpoint else self.base_url


def origin_of(url: str) -> str:
    """Scheme, host and port, by which a host is known to be the same.

    :raises ConfigurationError: unless it is an http or https URL without a user.
    """
    with suppress(ValueError, KeyError):
        split = urlsplit(url)
        port = split.port or {"https": 443, "http": 80}[split.scheme]
        if split.hostname and not split.username and not split.password:
            return f"{split.scheme}://{split.hostname}:{port}"
    raise ConfigurationError(f"{without_query(url)!r} is no address of an API, expected https://host/path")


def without_query(url: str) -> str:
    """For messages: what stands behind the question mark may be a secret, and a user before the host is one."""
    try:
        split = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))


class Http:
    """Requests to one API.

    A request is made again after a broken connection, a time-out, 429 and 5xx, after the time that the server asks for or
    a growing one; after 401 once with renewed credentials. Redirects are not followed, and no other host is asked: the
    credentials are for this one.

    :ivar in_transit: the weakest of the connections that were used.
    :ivar requests: how many were made.
    :ivar bytes_read: of bodies, as they came over the wire or decoded.
    """

    def __init__(self, access: HttpAccess, sleep: Callable[[float], None] = time.sleep) -> None:
        import requests

        if access.authentication is not None and access.origin.startswith("http://"):
            raise ConfigurationError(
                f"{access.origin} would get the credentials over plaintext http; use an https address"
            )
        if access.authentication is not None and access.verify is False:
            raise ConfigurationError(
                f"{access.origin} would get the credentials unverified; name its CA in the connection (verify)"
            )
        self.access = access
        plaintext = access.origin.startswith("http://")  # known before anything is asked
        self.in_transit = InTransit(protocol="none", evidence=Evidence.OBSERVED) if plaintext else InTransit()
        self.requests = 0
        self.bytes_read = 0
        self._sleep = sleep
        self._session = requests.Session()
        self._session.trust_env = False  # a ~/.netrc would take the place of the credentials
        self._session.proxies = requests.utils.get_environ_proxies(access.base_url)
        self._session.verify = access.verify

    def close(self) -> None:
        self._session.close()

    def get(self, url: str, params: Mapping[str, Any], headers: Mapping[str, str], most_bytes: int) -> Page:
        """A whole answer, at most *most_bytes* of it. A connection that breaks in its middle is tried again too.

        :raises StoreUnavailable: when it was tried often enough.
        :raises StoreError: for an answer that won't change.
        """

        def read(response: Any) -> Page:
            pieces, got = [], 0
            for piece in self._pieces(response):
                got += len(piece)
                if got > most_bytes:
                    raise FormatError(
                        f"{without_query(url)}: a page of over {most_bytes:,} bytes; ask for smaller ones"
                    )
                pieces.append(piece)
            return Page(response.url, b"".join(pieces), response.links.get("next", {}).get("url"))

        page: Page = self._patiently(url, params, headers, read)
        return page

    @contextmanager
    def stream(
        self, url: str, params: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Iterator[Iterator[bytes]]:
        """The body of an answer, piece by piece. Once it has begun it is not tried again here.

        :raises StoreUnavailable: also from the pieces, if the connection breaks.
        """
        response = self._patiently(url, params, headers, lambda response: response, keep=True)
        try:
            yield self._outside(url, self._pieces(response))
        finally:
            response.close()

    # --- inside ---------------------------------------------------------------------------------------------

    def _patiently(
        self,
        url: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str],
        take: Callable[[Any], Any],
        *,
        keep: bool = False,
    ) -> Any:
        where = without_query(url)
        if origin_of(url) != self.access.origin:
            raise StoreError(
                f"{self.access.origin} sends on to {origin_of(url)}, which would get its credentials; set the connection to it"
            )
        renewed = False
        tried = 0
        while True:
            failure, wait, unverified = "", None, False
            try:
                response = self._ask(url, params, headers)
                status = response.status_code
                if status == 200:
                    taken = take(response)
                    if not keep:
                        response.close()
                    return taken
                wait = _asked_to_wait(response)
                response.close()
                failure = f"answered {status}"
            except StoreUnavailable as error:  # of the token endpoint
                status, failure = 0, str(error)
            except _broken() as error:
                status, failure = 0, f"broke ({type(error).__name__})"
                unverified = "CERTIFICATE_VERIFY_FAILED" in str(error)
            if unverified:
                raise StoreError(
                    f"{where}: its certificate does not verify; name the CA file in the connection's extra (verify)"
                )
            authentication = self.access.authentication
            if status == 401 and not renewed and authentication is not None and authentication.renew():
                renewed = True
                continue
            if status and status not in _AGAIN:
                raise StoreError(f"{where} {failure}; {_remedy(status)}")
            if tried == len(_PAUSES):
                raise StoreUnavailable(f"{where} {failure}, also when asked again {tried} times")
            pause = _PAUSES[tried] if wait is None else wait
            if pause > _LONGEST_PAUSE:
                raise StoreUnavailable(f"{where} {failure} and asks to come again in {pause:,.0f} s")
            log.warning("%s %s; asking again in %.0f s", where, failure, pause)
            self._sleep(pause)
            tried += 1

    def _ask(self, url: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        authentication = self.access.authentication
        sent = {**headers, **(authentication.headers() if authentication is not None else {})}
        self.requests += 1
        response = self._session.get(
            url,
            params=params,
            headers=sent,
            timeout=self.access.timeout,
            allow_redirects=False,
            stream=True,
        )
        seen = transport_of(getattr(response.raw, "connection", None), response.raw)
        unseen = self.in_transit.evidence is Evidence.UNKNOWN
        self.in_transit = seen if unseen else weaker(self.in_transit, seen)
        return response

    def _pieces(self, response: Any) -> Iterator[bytes]:
        for piece in response.iter_content(_PIECE_BYTES):
            self.bytes_read += len(piece)
            yield piece

    def _outside(self, url: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
        failure = ""
        try:
            yield from pieces
        except _broken() as error:
            failure = type(error).__name__
        if failure:
            raise StoreUnavailable(
                f"{without_query(url)}: the connection broke after {self.bytes_read:,} bytes ({failure})"
            )


@dataclass(frozen=True, slots=True)
class Page:
    """One whole answer.

    :param next: what its ``Link`` header says is the next one.
    """

    url: str
    content: bytes = field(repr=False)
    next: str | None = field(repr=False)


def _broken() -> tuple[type[Exception], ...]:
    import requests
    from urllib3.exceptions import HTTPError

    return (requests.RequestException, HTTPError, OSError)


def _asked_to_wait(response: Any) -> float | None:
    """``Retry-After`` in seconds (RFC 9110, section 10.2.3); ``None`` if it is not there or makes no sense."""
    said = str(response.headers.get("Retry-After", "")).strip()
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _remedy(status: int) -> str:
    if status in (301, 302, 303, 307, 308):
        return "redirects are not followed: set the connection to the address that it is sent on to"
    if status == 401:
        return "the credentials of the connection are not accepted"
    if status == 403:
        return "the credentials of the connection do not allow it"
    if status in (404, 410):
        return "there is nothing: check endpoint="
    if status in (400, 414, 422):
        return "the API does not take the request: check endpoint= and params="
    return "only 200 is an answer with content"
