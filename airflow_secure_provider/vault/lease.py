"""What Vault lends: a credential and for how long."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from ..errors import StoreError
from .login import Login

# A lease is replaced once a tenth of its life, or 5 s, is all that is left; a very short one at a quarter of its life.
_MARGIN_FRACTION = 0.1
_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A credential as it was issued.

    :ivar engine: ``database``, ``database-static`` (a password that Vault rotates; no lease of Vault's) or ``aws``.
    :ivar lease_id: Vault's; empty where there is nothing to renew or to revoke.
    :ivar secrets: ``login``, ``password`` and perhaps ``token``.
    :ivar ttl_seconds: as issued; how long it lives after renewals is known to its :class:`Held`.
    """

    engine: str
    role: str
    mount: str
    lease_id: str = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)
    issued_at: datetime
    ttl_seconds: int
    renewable: bool
    started: float = field(
        repr=False, compare=False
    )  # time.monotonic(), which all processes of a machine share
    masked: list[bool] = field(default_factory=list, repr=False, compare=False)  # in the logs of this process

    @property
    def username(self) -> str:
        return self.secrets["login"]

    @property
    def password(self) -> str:
        return self.secrets["password"]

    @property
    def hashed_id(self) -> str:
        """SHA-256 in hex: names the lease in logs, lineage and audits without letting anyone renew or revoke it."""
        return hashlib.sha256(self.lease_id.encode()).hexdigest() if self.lease_id else ""


@dataclass(frozen=True, slots=True)
class LeaseKey:
    """What two look-ups must have in common to share a lease."""

    url: str
    namespace: str
    identity: str  # who asks: see login.fingerprint()
    mount: str
    role: str
    team: str
    conn_id: str


class LeaseDenied(StoreError):
    """This process may use a lease that it inherited, but may not take one."""


class Lender(Protocol):
    """Who issued a lease, and may change it. Each call has requests of its own and a bounded time."""

    def renew(self, lease: Lease, seconds: float | None = None) -> int:
        """Ask for so many seconds, or for what it was issued for. :return: those that Vault gives, from now."""

    def revoke(self, lease: Lease, seconds: float) -> None:
        """End it; returns once the credential is gone. :param seconds: to be done in."""

    def seconds_left(self) -> float:
        """Of the login that leases end with."""

    def is_ending(self) -> bool:
        """Whether that login is about to end."""

    @property
    def login(self) -> Login | None:
        """That login, once something was issued."""


@dataclass(slots=True)
class Held:
    """A lease in somebody's hands, and what became of it."""

    key: LeaseKey
    lease: Lease
    lender: Lender = field(repr=False)
    expires: float = 0.0  # time.monotonic()
    span: float = 0.0  # how long the last answer gave it
    renewals: int = 0
    renewed_at: datetime | None = None
    revoked_at: datetime | None = None

    def __post_init__(self) -> None:
        self.span = float(self.lease.ttl_seconds)
        self.expires = self.lease.started + self.span

    def seconds_left(self) -> float:
        """A lease ends with the login that it was issued to."""
        return min(self.own_seconds_left(), self.lender.seconds_left())

    def own_seconds_left(self) -> float:
        """Without regard to the login, which is renewed by itself."""
        return self.expires - time.monotonic()

    def is_stale(self) -> bool:
        """Whether so little of its life is left that the next connection should have another."""
        margin = min(max(self.span * _MARGIN_FRACTION, _MARGIN_SECONDS), self.span / 4)
        return self.own_seconds_left() < margin or self.lender.is_ending()

    def renew(self, seconds: float | None = None) -> None:
        """:raises Exception: of the lender; nothing is changed then."""
        started = time.monotonic()  # before the request, so that it never seems to live longer than it does
        self.span = float(self.lender.renew(self.lease, seconds))
        self.expires = started + self.span
        self.renewals += 1
        self.renewed_at = datetime.now(UTC)

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.expires - time.monotonic(), UTC)
