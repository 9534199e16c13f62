"""Credentials of Vault's database and AWS engines. What ``client`` raises is the caller's to map."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .lease import Lease

if TYPE_CHECKING:
    import hvac


def issue_database_lease(client: hvac.Client, mount: str, role: str) -> Lease:
    """Have the database engine make a user."""
    return _lease(client, "database", mount, role, f"{mount}/creds/{quote(role)}")


def read_static_credential(client: hvac.Client, mount: str, role: str) -> Lease:
    """The user of a static role, with its password of now. It lives until the next rotation."""
    started = time.monotonic()
    data = client.adapter.get(f"/v1/{mount}/static-creds/{quote(role)}")["data"]
    return Lease(
        engine="database-static",
        role=role,
        mount=mount,
        lease_id="",
        secrets={"login": data["username"], "password": data["password"]},
        issued_at=_rotated_at(data),
        ttl_seconds=int(data.get("ttl") or 0),
        renewable=False,
        started=started,
    )


def issue_aws_lease(
    client: hvac.Client,
    mount: str,
    role: str,
    *,
    role_arn: str | None = None,
    ttl: str | None = None,
    session_name: str | None = None,
) -> Lease:
    """Have the AWS engine ask STS for credentials.

    :param session_name: of an assumed role; shows in CloudTrail. Vault passes it on for roles of that type only.
    """
    asked = {"role_arn": role_arn, "ttl": ttl, "role_session_name": session_name}
    parameters = {name: value for name, value in asked.items() if value}
    # Always by POST, which is "update" to a policy: whether there are parameters must not change what is allowed.
    return _lease(client, "aws", mount, role, f"{mount}/sts/{quote(role)}", parameters)


def renew(client: hvac.Client, lease: Lease, seconds: float | None = None) -> int:
    """Ask for so many seconds, or for what it was issued for. :return: those that Vault gives it from now."""
    body = {"lease_id": lease.lease_id, "increment": int(seconds or lease.ttl_seconds)}
    return int(client.adapter.put("/v1/sys/leases/renew", json=body)["lease_duration"])


def revoke(client: hvac.Client, lease_id: str) -> None:
    """End a lease; returns once Vault has dropped the user (``sync``), not when it has queued that."""
    client.adapter.put("/v1/sys/leases/revoke", json={"lease_id": lease_id, "sync": True})


def _lease(
    client: hvac.Client, engine: str, mount: str, role: str, path: str, body: dict[str, Any] | None = None
) -> Lease:
    # Before the request, so that the lease never seems to live longer than it does.
    started, issued_at = time.monotonic(), datetime.now(UTC)
    answer = (
        client.adapter.post(f"/v1/{path}", json=body)
        if body is not None
        else client.adapter.get(f"/v1/{path}")
    )
    data = answer["data"]
    if engine == "aws":
        secrets = {
            "login": data["access_key"],
            "password": data["secret_key"],
            "token": data.get("security_token") or data.get("session_token") or "",
        }
    else:
        secrets = {"login": data["username"], "password": data["password"]}
    return Lease(
        engine=engine,
        role=role,
        mount=mount,
        lease_id=answer["lease_id"],
        secrets=secrets,
        issued_at=issued_at,
        ttl_seconds=int(answer["lease_duration"]),
        renewable=bool(answer["renewable"]),
        started=started,
    )


def _rotated_at(data: dict[str, Any]) -> datetime:
    """Vault writes up to nine digits of fractions, Python reads six."""
    text = str(data.get("last_vault_rotation") or "")
    whole, _, fraction = text.rstrip("Z").partition(".")
    try:
        return datetime.fromisoformat(f"{whole}.{(fraction or '0')[:6].ljust(6, '0')}+00:00")
    except ValueError:
        return datetime.now(UTC)
