"""Leases from HashiCorp Vault or OpenBao: issued once, shared, and revoked by the process that owns them.

Nothing here knows Airflow, and hvac is imported only where a client is made.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_secure_provider.errors import (
    ConfigurationError,
    SecureProviderError,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    import hvac
    import requests

CONNECT_TIMEOUT_SECONDS = 3.05  # just above TCP's first retransmission at 3 s
READ_TIMEOUT_SECONDS = 8.0
REVOKE_TIMEOUT_SECONDS = 3.0
REVOKE_ALL_SECONDS = 10.0

# A lease is replaced once a tenth of its life, or 5 s, is all that is left; a very short one at half of its life.
_MARGIN_FRACTION = 0.1
_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Lease:
    engine: str
    role: str
    mount: str
    lease_id: str = field(repr=False)
    username: str = field(repr=False)
    password: str = field(repr=False)
    issued_at: datetime
    ttl_seconds: int
    renewable: bool
    started: float = field(
        repr=False, compare=False
    )  # time.monotonic(), which all processes of a machine share

    @property
    def hashed_id(self) -> str:
        """SHA-256 in hex: names the lease in logs, lineage and audits without letting anyone renew or revoke it."""
        return hashlib.sha256(self.lease_id.encode()).hexdigest()

    def seconds_left(self) -> float:
        return self.started + self.ttl_seconds - time.monotonic()

    def is_stale(self) -> bool:
        """Whether so little of its life is left that the next connection should have another."""
        margin = min(max(self.ttl_seconds * _MARGIN_FRACTION, _MARGIN_SECONDS), self.ttl_seconds / 2)
        return self.seconds_left() < margin


@dataclass(frozen=True, slots=True)
class LeaseKey:
    """What two look-ups must have in common to share a lease."""

    url: str
    namespace: str
    identity: str  # who asks: see fingerprint()
    mount: str
    role: str
    team: str
    conn_id: str


class LeaseDenied(StoreError):
    """This process may use a lease that it inherited, but may not take one."""


def fingerprint(*parts: object) -> str:
    """A name for who asks Vault, from which what they authenticate with can't be read."""
    return hashlib.sha256("\x00".join(map(repr, parts)).encode()).hexdigest()[:16]


def session(
    *, verify: bool | str = True, cert: Any = None, proxies: Any = None, retry_answers: bool = True
) -> requests.Session:
    """
    A session that gives up in bounded time.

    :param retry_answers: also try again when the request may have been carried out (no answer in time, 429, 5xx).
        Not for what issues leases: the answer that was lost may have been a credential, which nobody would revoke.
    """
    from requests import Session
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=2,
        read=1 if retry_answers else 0,
        status=2 if retry_answers else 0,
        other=0,
        backoff_factor=0.2,
        status_forcelist=[412, 429, 500, 502, 503] if retry_answers else [],
        raise_on_status=False,
        respect_retry_after_header=False,  # it may say an hour
    )
    made = Session()
    for scheme in ("https://", "http://"):
        made.mount(scheme, HTTPAdapter(max_retries=retry))
    made.verify, made.cert = verify, cert
    if proxies:
        made.proxies = dict(proxies)
    return made


def issue_database_lease(client: hvac.Client, mount: str, role: str) -> Lease:
    """Have the database engine make a user; what ``client`` raises is the caller's to map."""
    # Before the request, so that the lease never seems to live longer than it does.
    started, issued_at = time.monotonic(), datetime.now(UTC)
    response = client.secrets.database.generate_credentials(name=role, mount_point=mount)
    return Lease(
        engine="database",
        role=role,
        mount=mount,
        lease_id=response["lease_id"],
        username=response["data"]["username"],
        password=response["data"]["password"],
        issued_at=issued_at,
        ttl_seconds=int(response["lease_duration"]),
        renewable=bool(response["renewable"]),
        started=started,
    )


def revoke(client: hvac.Client, lease: Lease) -> None:
    """End the lease; returns once Vault has dropped the user (``sync``), not when it has queued that."""
    client.adapter.put("/v1/sys/leases/revoke", json={"lease_id": lease.lease_id, "sync": True})


@dataclass(slots=True)
class _Entry:
    lease: Lease
    revoke: Callable[[Lease], None]


class LeaseBook:
    """
    The leases of one process, which owns them.

    Forked children have the parent's leases. They neither take new ones nor revoke: what they took would be
    left behind when they end, and what they revoked would break their parent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner_pid: int | None = None
        self._entries: dict[LeaseKey, _Entry] = {}
        self._retired: list[_Entry] = []
        os.register_at_fork(after_in_child=self._renew_lock)

    def claim(self) -> None:
        """
        Make this process the owner.

        Claimed again by another process (a forked one that starts work of its own), the book starts empty:
        the leases in it are the first owner's.
        """
        with self._lock:
            if self._owner_pid != os.getpid():
                self._owner_pid = os.getpid()
                self._entries.clear()
                self._retired.clear()

    @property
    def is_owner(self) -> bool:
        return self._owner_pid == os.getpid()

    def obtain(self, key: LeaseKey, issue: Callable[[], Lease], revoke: Callable[[Lease], None]) -> Lease:
        """
        The lease for the key: the one at hand, or a new one when there is none or it is near its end.

        A replaced lease is not cut short, since a connection may be at work under it: it ends by itself, or
        with the others in :meth:`revoke_all`.

        :param revoke: how the owner ends the lease that ``issue`` made.
        :raises LeaseDenied: in a process that does not own the book and has inherited no living lease.
        """
        with self._lock:
            entry = self._entries.get(key)
            if not self.is_owner:
                if entry is not None and entry.lease.seconds_left() > 0:
                    return entry.lease
                raise LeaseDenied(
                    f"this forked process has inherited no living lease of role {key.role!r} for connection "
                    f"{key.conn_id!r}, and does not take its own, which nobody would revoke; look the connection "
                    "up in the task's own process before it forks"
                )
            if entry is not None and not entry.lease.is_stale():
                return entry.lease
            made = issue()
            if entry is not None:
                self._retired.append(entry)
            self._entries[key] = _Entry(made, revoke)
            return made

    def leases(self) -> list[tuple[LeaseKey, Lease]]:
        """What is in use now."""
        with self._lock:
            return [(key, entry.lease) for key, entry in self._entries.items()]

    def revoke_all(self, *, deadline_seconds: float = REVOKE_ALL_SECONDS) -> list[tuple[Lease, Exception]]:
        """
        Revoke all leases and forget them; in a process that does not own them, nothing.

        :return: those that are left to their TTL, and why. Nothing is raised: the work is done, and it was good.
        """
        with self._lock:
            if not self.is_owner:
                return []
            ending = [*self._retired, *self._entries.values()]
            self._retired, self._entries = [], {}
        until = time.monotonic() + deadline_seconds
        failures: list[tuple[Lease, Exception]] = []
        for entry in ending:
            if entry.lease.seconds_left() <= 0:
                continue
            try:
                if time.monotonic() > until:
                    raise StoreUnavailable(f"not revoked within {deadline_seconds:g} s of the task's end")
                entry.revoke(entry.lease)
            except Exception as error:  # noqa: BLE001 - collected for the caller, who warns
                failures.append((entry.lease, error))
        return failures

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()  # another thread of the parent may have held it while we were forked


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
    if isinstance(error, requests.exceptions.ReadTimeout):
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
            f'`path "{path}" {{ capabilities = ["read"] }}`, and check that it has not expired or been revoked'
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
