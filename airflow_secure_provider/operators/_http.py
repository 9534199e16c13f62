"""An Airflow connection to an HTTP API, as its access; and what an author may not put into a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigurationError
from ..stores.http import Authentication, HttpAccess
from ..stores.http_authentication import ApiKey, Basic, ClientCredentials

_COMMON = {"auth", "verify", "timeout"}
_TAKES = {
    "none": set[str](),
    "basic": set[str](),
    "api_key": {"header", "prefix"},
    "oauth2": {"token_url", "scope", "audience", "resource", "client_auth"},
}
_SECRET_HEADERS = ("authorization", "cookie", "token", "secret", "api-key", "apikey", "password", "signature")
_SECRET_PARAMS = frozenset(
    {"access_token", "token", "auth_token", "auth", "secret", "client_secret", "password", "api_key", "apikey", "api-key",
     "key", "sig", "signature"}
)  # fmt: skip


def http_access(connection: Any, on_token: Callable[[str], None]) -> HttpAccess:
    """
    :param connection: host (perhaps with scheme and path), port, schema (``https`` if not given), login, password and extra.
    :param on_token: told each OAuth token, to have it masked.
    :raises ConfigurationError: for a setting that is missing, unknown or means nothing.
    """
    where = f"connection {connection.conn_id!r}"
    extra = dict(connection.extra_dejson)
    kind = extra.get("auth") or ("basic" if connection.login or connection.password else "none")
    if kind not in _TAKES:
        raise ConfigurationError(f"{where}: auth {kind!r}, expected one of {', '.join(_TAKES)}")
    unknown = sorted(set(extra) - _COMMON - _TAKES[kind])
    if unknown:
        known = ", ".join(sorted(_COMMON | _TAKES[kind]))
        raise ConfigurationError(
            f"{where}: its extra has {unknown[0]!r}, which auth {kind!r} does not take; it takes {known}"
        )
    verify, timeout = extra.get("verify", True), extra.get("timeout", 60)
    if (
        not isinstance(verify, (bool, str))
        or isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
    ):
        raise ConfigurationError(
            f"{where}: verify is true, false or the path of a CA file, timeout a number of seconds"
        )
    return HttpAccess(
        _base_url(connection, where),
        _authentication(connection, where, kind, extra, verify, float(timeout), on_token),
        verify,
        float(timeout),
    )


def _base_url(connection: Any, where: str) -> str:
    host = connection.host or ""
    if not host:
        raise ConfigurationError(f"{where} has no host; it is that of the API")
    scheme, _, rest = host.rpartition("://")
    scheme = scheme or connection.schema or "https"
    name, slash, path = rest.partition("/")
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme}://{name}{port}{slash}{path}"


def _authentication(
    connection: Any,
    where: str,
    kind: str,
    extra: Mapping[str, Any],
    verify: bool | str,
    timeout: float,
    on_token: Callable[[str], None],
) -> Authentication | None:
    login, password = connection.login or "", connection.password or ""
    if kind == "none":
        return None
    if not password or (kind != "api_key" and not login):
        needs = "password (the key)" if kind == "api_key" else "login and password"
        raise ConfigurationError(f"{where}: auth {kind!r} needs its {needs}")
    texts = {name: str(value) for name, value in extra.items() if name not in _COMMON}
    if kind == "basic":
        return Basic(login, password)
    if kind == "api_key":
        return ApiKey(password, texts.get("header", "X-API-Key"), texts.get("prefix", ""))
    client_auth = texts.pop("client_auth", "header")
    token_url = texts.pop("token_url", "")
    if not token_url or client_auth not in ("header", "body"):
        raise ConfigurationError(f"{where}: auth 'oauth2' needs token_url, and client_auth is header or body")
    return ClientCredentials(
        token_url,
        login,
        password,
        texts,
        in_body=client_auth == "body",
        verify=verify,
        timeout=timeout,
        on_token=on_token,
    )


def check_headers(headers: Mapping[str, str], task_id: str) -> dict[str, str]:
    """:raises ConfigurationError: for one that carries a secret, which would show in Airflow's interface."""
    for name in headers:
        if any(word in name.lower() for word in _SECRET_HEADERS):
            raise ConfigurationError(
                f"task {task_id!r}: the header {name!r} is for credentials, which belong into the connection; see its auth"
            )
    return dict(headers)


def check_params(params: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    """:raises ConfigurationError: for one that carries a secret, which would show in interfaces and logs of many."""
    for name in params:
        if name.lower() in _SECRET_PARAMS:
            raise ConfigurationError(
                f"task {task_id!r}: query_params has {name!r}, which is for a secret; put it into the connection, to be sent as a "
                "header (auth api_key)"
            )
    return dict(params)
