"""The credentials that a task worked with, as a run facet."""

from __future__ import annotations

from .. import leases
from .facets import CREDENTIALS, CredentialsRunFacet


def credential_facets() -> dict[str, CredentialsRunFacet]:
    """The run facet of this task's leases; empty if it has none."""
    records = leases.credential_records()
    if not records:
        return {}
    described = [
        {
            "connection": record.conn_id,
            "engine": record.engine,
            "mount": record.mount,
            "role": record.role,
            **({"leaseIdSha256": record.hashed_lease_id} if record.hashed_lease_id else {}),
            "issuedAt": record.issued_at,
            "expiresAt": record.expires_at,
            "ttlSeconds": record.ttl_seconds,
            "renewable": record.renewable,
            "renewals": record.renewals,
            **({"renewedAt": record.renewed_at} if record.renewed_at else {}),
            **({"revokedAt": record.revoked_at} if record.revoked_at else {}),
        }
        for record in records
    ]
    return {CREDENTIALS: CredentialsRunFacet(credentials=described)}
