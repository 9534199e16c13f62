"""Who asks an API: an API key, a user with a password, or OAuth 2.0 client credentials."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from ..errors import ConfigurationError, StoreError, StoreUnavailable
from .http import origin_of, without_query

_MARGIN_SECONDS = 30.0
_USUAL_SECONDS = 300.0  # RFC 6749 lets a server leave the life of a token out


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A fixed header.

    :param prefix: what stands before the key in the header, such as ``Bearer``.
    """

    key: str = field(repr=False)
    header: str = "X-API-Key"
    prefix: str = ""

    def headers(self) -> Mapping[str, str]:
        return {self.header: f"{self.prefix} {self.key}".strip()}

    def renew(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Basic:
    """RFC 7617."""

    user: str
    password: str = field(repr=False)

    def headers(self) -> Mapping[str, str]:
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    def renew(self) -> bool:
        return False


class ClientCredentials:
    """OAuth 2.0 client credentials (RFC 6749, section 4.4): a bearer token, taken anew before it expires.

    :param extra: what else the token endpoint wants, such as ``scope`` or ``audience``.
    :param in_body: the client's id and secret go into the form instead of an ``Authorization`` header.
    :param on_token: told each token, to have it masked in logs.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        extra: Mapping[str, str],
        *,
        in_body: bool = False,
        verify: bool | str = True,
        timeout: float = 60.0,
        on_token: Callable[[str], None] = lambda token: None,
    ) -> None:
        if not origin_of(token_url).startswith("https://"):
            raise ConfigurationError(
                f"{without_query(token_url)} would get the client's secret over plaintext http; use an https address"
            )
        self._url = token_url
        self._id = client_id
        self._secret = client_secret
        self._extra = dict(extra)
        self._in_body = in_body
        self._verify = verify
        self._timeout = timeout
        self._on_token = on_token
        self._token = ""
        self._until = 0.0

    def headers(self) -> Mapping[str, str]:
        """:raises StoreError: if the token endpoint refuses; StoreUnavailable, if it can't be reached."""
        if time.monotonic() >= self._until:
            self._take()
        return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        self._until = 0.0
        return True

    def _take(self) -> None:
        import requests

        where = without_query(self._url)
        form = {"grant_type": "client_credentials", **self._extra}
        headers = {"Accept": "application/json"}
        if self._in_body:
            form |= {"client_id": self._id, "client_secret": self._secret}
        else:  # section 2.3.1: both are encoded before they are joined
            pair = f"{quote_plus(self._id)}:{quote_plus(self._secret)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        failure = ""
        answer: Any = None
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.proxies = requests.utils.get_environ_proxies(self._url)
                answer = session.post(
                    self._url,
                    data=form,
                    headers=headers,
                    timeout=self._timeout,
                    verify=self._verify,
                    allow_redirects=False,
                )
        except requests.RequestException as error:
            failure = type(error).__name__
        if failure:
            raise StoreUnavailable(f"token endpoint {where}: no answer ({failure})")
        if answer.status_code == 429 or answer.status_code >= 500:
            raise StoreUnavailable(f"token endpoint {where} answered {answer.status_code}")
        token, seconds = _token_in(answer)
        if token is None:
            raise StoreError(
                f"token endpoint {where} answered {answer.status_code} and gave no bearer token; check login (client id), "
                "password (client secret), scope and token_url of the connection"
            )
        self._on_token(token)
        self._token = token
        self._until = time.monotonic() + max(0.0, seconds - min(_MARGIN_SECONDS, seconds / 2))


def _token_in(answer: Any) -> tuple[str | None, float]:
    """Section 5.1. What else there is in the answer is nobody's business."""
    if answer.status_code != 200:
        return None, 0.0
    try:
        body = answer.json()
        token, kind = body["access_token"], str(body.get("token_type", "bearer"))
        seconds = float(body.get("expires_in", _USUAL_SECONDS))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, 0.0
    good = isinstance(token, str) and token and kind.lower() == "bearer"
    return (token if good else None), seconds
