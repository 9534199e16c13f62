"""What went wrong between us and Vault, as one of our errors."""

from __future__ import annotations

import os
import ssl
from typing import Any
from urllib.parse import urlsplit

from ..errors import (
    ConfigurationError,
    SecureProviderError,
    StoreError,
    StoreUnavailable,
)

_WRITTEN = frozenset({"sts", "encrypt", "decrypt", "rewrap", "plaintext"})


def vault_failure(error: BaseException, *, path: str, url: str) -> SecureProviderError:
    """
    What went wrong between us and Vault, as one of our errors.

    The message names the path, the status and the remedy. It quotes neither the answer nor the request:
    either may hold a secret.

    :param path: what was asked for; the error's own path has precedence, since it may have been the login that failed.
    """
    import requests
    from hvac import exceptions as hvac

    if isinstance(error, SecureProviderError):
        return error
    error = _innermost_status(error)
    path = _requested_path(error) or path
    login = path.startswith("auth/") and "/login" in path
    where = f"Vault at {url} for {path!r}"

    # 1. No answer. TLS first: requests counts it among the failed connections.
    if isinstance(error, requests.exceptions.SSLError):
        return StoreError(
            f"no trust in the TLS certificate of {where}: {_tls_reason(error)}; set ca_cert (or verify) to the CA that "
            "issued the certificate, and url to a host name that it was issued for"
        )
    if isinstance(error, requests.exceptions.ReadTimeout) or _timed_out(error):
        return StoreUnavailable(
            f"no answer in time from {where}; see Vault's load and log, and for a database role whether the "
            "database answers"
        )
    if isinstance(error, requests.exceptions.RequestException):
        return StoreUnavailable(
            f"could not reach {where} ({_connection_reason(error)}); check that it runs, the url in backend_kwargs, "
            "and network and proxy between here and there"
        )

    # 2. An answer of 4xx or 5xx.
    if isinstance(error, (hvac.InvalidRequest, hvac.InternalServerError)) and path == "sys/leases/revoke":
        status = 400 if isinstance(error, hvac.InvalidRequest) else 500
        return StoreError(
            f"status {status} from {where}: the role's revocation statements could not be carried out; see Vault's log. Often the "
            "login owns something "
            "that it has made without SET ROLE: in PostgreSQL, REASSIGN OWNED BY it TO the stable owner, and Vault's next try "
            "drops it"
        )
    if isinstance(error, hvac.VaultDown):
        sealed = any("sealed" in str(each) for each in error.errors or ())
        return StoreUnavailable(
            f"status 503 from {where}: "
            + (
                "Vault is sealed; have its operators unseal it"
                if sealed
                else "it is not serving; see its log"
            )
        )
    if isinstance(error, hvac.RateLimitExceeded):
        return StoreUnavailable(
            f"status 429 from {where}: it throttles; run fewer tasks at once or raise the rate limit quota"
        )
    if isinstance(error, (hvac.InternalServerError, hvac.BadGateway, hvac.VaultNotInitialized)):
        status = {hvac.InternalServerError: 500, hvac.BadGateway: 502}.get(type(error), 501)
        return StoreUnavailable(
            f"status {status} from {where}; Vault's log has the reason. For a database role it is often that the "
            "database refused a creation statement, or that the connection does not allow the role"
        )
    if isinstance(error, (hvac.Forbidden, hvac.Unauthorized)):
        status = 403 if isinstance(error, hvac.Forbidden) else 401
        return StoreError(
            f"status {status} (permission denied) from {where}; give the token a policy with "
            f'`path "{path}" {{ capabilities = ["{capability_of(path)}"] }}`, and check that it has not expired or been revoked'
            if not login
            else f"status {status} (permission denied) from {where}; check the role, its bound networks and who logs in"
        )
    if isinstance(error, hvac.InvalidPath):
        return StoreError(
            f"status 404 from {where}: nothing is there; check mount and path, and that it was created"
        )
    if isinstance(error, hvac.InvalidRequest):
        remedy = (
            "login was refused; check role_id and secret_id (expired, used up or destroyed?) or what else logs in"
            if login
            else "Vault does not know what was asked for; check that this role exists on this mount"
        )
        return StoreError(f"status 400 from {where}: {remedy}")
    if isinstance(error, hvac.VaultError):
        return StoreUnavailable(
            f"an unexpected answer ({type(error).__name__}) from {where}; see Vault's log"
        )

    # 3. On our side.
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        name = f"{error.filename!r}: " if isinstance(error.filename, str) else ""
        return ConfigurationError(
            f"could not ask {where}: {name}{reason}; make it a file that this process can read"
        )
    return StoreError(
        f"could not make use of what {where} gave: {type(error).__name__}; check that the secret and the engine "
        "version (kv_engine_version) are what the backend is configured for"
    )


def capability_of(path: str) -> str:
    """What a policy must allow, by the verb that the path is asked with."""
    parts = path.split("/")
    if parts[-1] in ("lookup-self", "health") or "data" in parts[1:2]:
        return "read"
    writes = parts[0] in ("sys", "auth") or (len(parts) > 2 and parts[-2] in _WRITTEN)
    return "update" if writes else "read"


def _innermost_status(error: BaseException) -> BaseException:
    """The hashicorp provider raises a bare VaultError from the Forbidden that says more."""
    from hvac.exceptions import VaultError

    while type(error) is VaultError and error.__cause__ is not None:
        error = error.__cause__
    return error


def _requested_path(error: BaseException) -> str:
    """The path below /v1/ of the request that failed, if the error knows it; never its query or body."""
    known = getattr(error, "url", None) or getattr(getattr(error, "request", None), "url", None) or ""
    return urlsplit(str(known)).path.partition("/v1/")[2]


def _causes(error: BaseException) -> list[BaseException]:
    """The error and all below it, also where libraries keep it in ``args`` or ``reason``."""
    found: list[BaseException] = []
    pending: list[Any] = [error]
    while pending:
        each = pending.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            pending += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return found


def _timed_out(error: BaseException) -> bool:
    """After the last try requests calls it a failed connection."""
    from urllib3.exceptions import ReadTimeoutError

    return any(isinstance(each, ReadTimeoutError) for each in _causes(error))


def _tls_reason(error: BaseException) -> str:
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError) and each.reason:
            return each.reason
    return "TLS handshake failed"


def _connection_reason(error: BaseException) -> str:
    import socket

    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "connection timed out"
    for each in _causes(error):
        if isinstance(each, socket.gaierror):
            return "host name not found"
        if isinstance(each, OSError) and each.errno:
            return os.strerror(each.errno).lower()
    return type(error).__name__
