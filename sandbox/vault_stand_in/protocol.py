"""What travels: requests, answers, tokens and leases."""

from __future__ import annotations

import secrets
import string
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SERVER_NAME = "airflow-secure-provider-vault-stand-in"
DEFAULT_TTL_SECONDS = 32 * 24 * 3600

JSON = dict[str, Any]


class Refused(Exception):
    """An answer of 4xx or 5xx, with Vault's ``{"errors": […]}``."""

    def __init__(self, status: int, *errors: str, data: JSON | None = None) -> None:
        super().__init__(*errors)
        self.status, self.errors, self.data = status, list(errors), data


@dataclass(slots=True)
class Request:
    verb: str  # GET, LIST, POST, PUT or DELETE
    path: str  # below /v1/
    body: JSON
    query: Mapping[str, str]
    headers: Mapping[str, str]
    token: Token | None = None
    certificate: bytes | None = None  # of the client, DER

    @property
    def writes(self) -> bool:
        return self.verb in ("POST", "PUT")

    def required(self, name: str) -> Any:
        if name not in self.body:
            raise Refused(400, f"missing {name}")
        return self.body[name]


@dataclass(slots=True)
class Answer:
    """What a request gets: ``envelope`` is the whole body, ``data`` only its data."""

    data: JSON | None = None
    envelope: JSON | None = None
    auth: JSON | None = None
    lease: Lease | None = None
    status: int = 0

    def rendered(self) -> tuple[int, JSON | None]:
        if self.envelope is not None:
            return self.status or 200, self.envelope
        if self.data is None and self.auth is None:
            return self.status or 204, None
        lease = self.lease
        return self.status or 200, {
            "request_id": str(uuid.uuid4()),
            "lease_id": lease.lease_id if lease else "",
            "lease_duration": lease.ttl_seconds if lease else 0,
            "renewable": lease.renewable if lease else False,
            "data": self.data,
            "auth": self.auth,
            "wrap_info": None,
            "warnings": None,
        }


@dataclass(slots=True, eq=False)
class Token:
    token: str
    policies: list[str]
    ttl_seconds: int  # 0: never expires
    path: str
    display_name: str
    max_ttl_seconds: int = DEFAULT_TTL_SECONDS
    renewable: bool = True
    uses: int = 0  # 0: any number
    parent: Token | None = None
    meta: JSON | None = None
    accessor: str = field(default_factory=lambda: random_text(24))
    created_at: float = field(default_factory=time.time)
    expires_at: float | None = None  # monotonic

    def auth(self) -> JSON:
        return {
            "client_token": self.token,
            "accessor": self.accessor,
            "policies": self.policies,
            "token_policies": self.policies,
            "metadata": self.meta,
            "lease_duration": self.ttl_seconds,
            "renewable": self.renewable,
            "entity_id": "",
            "token_type": "service",
            "orphan": self.parent is None,
            "num_uses": self.uses,
        }

    def looked_up(self) -> JSON:
        expires = None
        if self.expires_at is not None:
            expires = iso(time.time() + self.expires_at - time.monotonic())
        return {
            "id": self.token,
            "accessor": self.accessor,
            "policies": self.policies,
            "path": self.path,
            "display_name": self.display_name,
            "meta": self.meta,
            "creation_time": int(self.created_at),
            "creation_ttl": self.ttl_seconds,
            "ttl": remaining(self.expires_at),
            "expire_time": expires,
            "explicit_max_ttl": 0,
            "renewable": self.renewable,
            "num_uses": self.uses,
            "orphan": self.parent is None,
            "type": "service",
            "entity_id": "",
        }


@dataclass(slots=True, eq=False)
class Lease:
    lease_id: str
    token: Token
    ttl_seconds: int
    max_ttl_seconds: int
    revoke: Callable[[], None]
    extend: Callable[[float], None]  # to so many seconds from now
    renewable: bool = True
    issued_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    expires_at: float = 0.0  # monotonic
    state: str = "active"  # active, revoked
    renewals: int = 0

    def looked_up(self) -> JSON:
        return {
            "id": self.lease_id,
            "issue_time": iso(self.issued_at),
            "expire_time": iso(time.time() + self.expires_at - time.monotonic()),
            "last_renewal": None,
            "renewable": self.renewable,
            "ttl": remaining(self.expires_at),
        }


def random_text(length: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def new_token() -> str:
    return f"hvs.{random_text(24)}"


def remaining(expires_at: float | None) -> int:
    return 0 if expires_at is None else max(0, round(expires_at - time.monotonic()))


def iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")


def unsupported(request: Request) -> Refused:
    return Refused(405, f"unsupported operation: {request.verb} {request.path} (by the stand-in)")
