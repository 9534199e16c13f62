"""An HTTP API over TLS with OAuth 2.0 client credentials and pages of records, and the faults that APIs have."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from sandbox.ca import Authority
from tests.tls_server import TlsServer

CLIENT_ID, CLIENT_SECRET = "loader:eu", "s3cret/+ %"
API_KEY = "key-5f1d7c"
Fault = Callable[["Handler"], bool]


class Api(TlsServer):
    """
    :ivar records: what it gives, in pages of :attr:`page_size`.
    :ivar faults: each is given one request, in their order; it returns whether it has answered it.
    :ivar seen: path with query and headers of each request.
    :ivar make_token: what a token is.
    :ivar life: seconds that a token lives, as it is told and as it is held.
    """

    def __init__(self, authority: Authority, *, tls: bool = True) -> None:
        self.records: list[dict[str, Any]] = []
        self.page_size = 100
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, Mapping[str, str]]] = []
        self.life = 300.0
        self.make_token: Callable[[], str] = lambda: secrets.token_urlsafe(24)
        self.tokens: dict[str, float] = {}
        self.forms: list[dict[str, str]] = []
        self.ca = str(authority.ca_pem)
        super().__init__(Handler, "api", authority if tls else None)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]

    def airflow_connection(self) -> str:
        """As in ``AIRFLOW_CONN_…``."""
        return json.dumps(
            {
                "conn_type": "http",
                "host": self.url,
                "login": CLIENT_ID,
                "password": CLIENT_SECRET,
                "extra": {
                    "auth": "oauth2",
                    "token_url": f"{self.url}/token",
                    "scope": "read",
                    "verify": self.ca,
                },
            }
        )


class Handler(BaseHTTPRequestHandler):
    api: Api
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        given = {name: values[0] for name, values in parse_qs(form).items()}
        self.api.forms.append(given)
        if self._fault():
            return
        basic = self.headers.get("Authorization", "").removeprefix("Basic ")
        if basic:
            client, _, secret = base64.b64decode(basic).decode().partition(":")
            who = unquote_plus(client), unquote_plus(secret)
        else:
            who = given.get("client_id", ""), given.get("client_secret", "")
        if who != (CLIENT_ID, CLIENT_SECRET) or given.get("grant_type") != "client_credentials":
            self.answer(401, {"error": "invalid_client", "error_description": f"no client {who}"})
            return
        token = self.api.make_token()
        self.api.tokens[token] = time.monotonic() + self.api.life
        self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": self.api.life})

    def do_GET(self) -> None:
        self.api.seen.append((self.path, dict(self.headers.items())))
        if self._fault():
            return
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        if split.path.startswith(("/secure", "/v1")) and not self._known():
            self.answer(401, {"error": "invalid_token"})
            return
        if split.path == "/file.bin":
            self.send(200, b"".join(json.dumps(each).encode() for each in self.api.records))
            return
        getattr(self, f"_by_{split.path.rpartition('/')[2]}")(split.path, query)

    def _known(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        until = self.api.tokens.get(given, 0.0)
        return time.monotonic() < until or self.headers.get("X-API-Key") == API_KEY

    def _fault(self) -> bool:
        return bool(self.api.faults) and self.api.faults.pop(0)(self)

    # --- pages ---------------------------------------------------------------------------------------------

    def _page(self, start: int) -> tuple[list[dict[str, Any]], int | None]:
        end = start + self.api.page_size
        return self.api.records[start:end], end if end < len(self.api.records) else None

    def _by_link(self, path: str, query: Mapping[str, str]) -> None:
        records, end = self._page(int(query.get("start", 0)))
        headers = {} if end is None else {"Link": f'<{path}?start={end}>; rel="next", </>; rel="first"'}
        self.answer(200, records, headers)

    def _by_url(self, path: str, query: Mapping[str, str]) -> None:
        records, end = self._page(int(query.get("start", 0)))
        following = None if end is None else f"{self.api.url}{path}?start={end}"
        self.answer(200, {"data": {"items": records}, "paging": {"next": following}})

    _by_people = _by_url

    def _by_cursor(self, path: str, query: Mapping[str, str]) -> None:
        start = int(base64.b64decode(query["after"]).decode()) if "after" in query else 0
        records, end = self._page(start)
        cursor = None if end is None else base64.b64encode(str(end).encode()).decode()
        self.answer(200, {"items": records, "meta": {"next": cursor}})

    def _by_page(self, path: str, query: Mapping[str, str]) -> None:
        self.answer(200, self._page((int(query["page"]) - 1) * self.api.page_size)[0])

    def _by_offset(self, path: str, query: Mapping[str, str]) -> None:
        self.answer(200, self._page(int(query.get("offset", 0)))[0])

    # --- answers -------------------------------------------------------------------------------------------

    def answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)


def status(code: int, **headers: str) -> Fault:
    def fault(request: Handler) -> bool:
        request.answer(
            code, {"error": "x"}, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        return True

    return fault


def body(content: bytes, **headers: str) -> Fault:
    def fault(request: Handler) -> bool:
        request.send(200, content, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def cut(request: Handler) -> bool:
    """A body that breaks off."""
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    request.wfile.write(b'[{"id": 1}')
    request.wfile.flush()
    request.close_connection = True
    request.connection.close()
    return True


def hang_up(request: Handler) -> bool:
    """No answer at all."""
    request.close_connection = True
    request.connection.close()
    return True


def nothing(request: Handler) -> bool:
    """No fault this time."""
    return False


def forget_tokens(request: Handler) -> bool:
    """What was given out is not accepted any more."""
    request.api.tokens.clear()
    return False
