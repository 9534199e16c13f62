"""What travels between the layers: small frozen values, none of which can hold a cell, a key or a credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Classification(StrEnum):
    """How sensitive a column is. Each class requires at least all that the one before it does."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"

    @property
    def rank(self) -> int:
        return list(Classification).index(self)


class Evidence(StrEnum):
    """How an encryption fact is known."""

    OBSERVED = "observed"
    DECLARED = "declared"
    CONTRADICTED = "contradicted"  # what is declared is not what is observed
    UNKNOWN = "unknown"


class Protection(StrEnum):
    """What is done to a column."""

    NONE = "none"
    ENCRYPT = "encrypt"
    TOKENIZE = "tokenize"
    FPE = "fpe"
    PSEUDONYMIZE = "pseudonymize"
    SHIFT_DATE = "shift_date"
    NOISE = "noise"
    ROUND = "round"
    REDACT = "redact"
    GENERALIZE = "generalize"
    NULLIFY = "nullify"
    DROP = "drop"

    @property
    def reversible(self) -> bool:
        """Whether the holder of the keyset gets the values back."""
        return self in (Protection.ENCRYPT, Protection.TOKENIZE, Protection.FPE)

    @property
    def in_cells(self) -> bool:
        """Whether it makes bytes, which a text column holds as base64."""
        return self in (Protection.ENCRYPT, Protection.TOKENIZE, Protection.PSEUDONYMIZE)

    @property
    def keyed(self) -> bool:
        """Whether it takes a keyset, and has a domain."""
        return self.reversible or self in (Protection.PSEUDONYMIZE, Protection.SHIFT_DATE, Protection.NOISE)

    @property
    def deterministic(self) -> bool:
        """Keyed, and equal values stay equal: all of a domain must be under one key version."""
        return self.keyed and self is not Protection.ENCRYPT


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What one column is and what happens to it.

    :param logical_type: the ODCS logical type the values are checked and converted by.
    :param domain: where equal values get equal tokens; ``None`` where nothing is keyed.
    :param scope: the author's stable name that binds an encrypted cell to its column.
    :param parameters: of the protection, already checked.
    """

    name: str
    classification: Classification
    protection: Protection
    logical_type: str = "string"
    required: bool = False
    domain: str | None = None
    scope: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def beside(self) -> tuple[str, ...]:
        """The columns whose values in the same row take part: what the cell is bound to, or whose dates are shifted."""
        bound: tuple[str, ...] = tuple(self.parameters.get("bind_to", ()))
        subject = self.parameters.get("subject")
        return (*bound, subject) if subject else bound


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """What a contract says of a column beside its protection, for a table to be made.

    :param physical_type: the column's type in the store, in its own words; ``None`` where it follows from the logical one.
    :param primary_key: its place in the primary key; ``None`` for no part of it.
    """

    description: str | None = None
    physical_type: str | None = None
    primary_key: int | None = None
    tags: tuple[str, ...] = ()


_ALGORITHMS = {
    Protection.ENCRYPT: "AES-SIV-256 (RFC 5297), 128-bit nonce per cell",
    Protection.TOKENIZE: "AES-SIV-256 (RFC 5297), deterministic",
    Protection.FPE: "FF1, AES-256 (NIST SP 800-38G)",
    Protection.PSEUDONYMIZE: "AES-256-CMAC (RFC 4493)",
    Protection.SHIFT_DATE: "days from AES-256-CMAC (RFC 4493) of the subject",
    Protection.NOISE: "Laplace noise from AES-256-CMAC (RFC 4493) of the value and its subject",
}


def algorithm(protection: Protection, parameters: Mapping[str, Any]) -> str | None:
    """The standard behind a keyed protection, for reports."""
    if protection is Protection.PSEUDONYMIZE and parameters.get("algorithm") == "hmac-sha256":
        return "HMAC-SHA256 (RFC 2104)"
    return _ALGORITHMS.get(protection)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who answers for a dataset. :param kind: ``team`` or ``owner``."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class ContractRef:
    """Which contract was applied. ``digest`` is the SHA-256 of its canonical form, in hex."""

    id: str
    version: str
    digest: str
    owners: tuple[Owner, ...] = ()


SCHEMES = ("client-side", "SSE-KMS", "DSSE-KMS", "SSE-S3", "SSE-C", "volume", "none", "unknown")


@dataclass(frozen=True, slots=True)
class AtRest:
    """How a store keeps the bytes.

    :param scheme: client-side, SSE-KMS, DSSE-KMS, SSE-S3, SSE-C, volume, none or unknown.
    """

    scheme: str = "unknown"
    algorithm: str | None = None
    key_provider: str | None = None
    key_id: str | None = None
    evidence: Evidence = Evidence.UNKNOWN
    note: str | None = None

    @property
    def encrypted(self) -> bool:
        return (
            self.scheme in SCHEMES
            and self.scheme not in ("none", "unknown")
            and self.evidence in (Evidence.OBSERVED, Evidence.DECLARED)
        )


@dataclass(frozen=True, slots=True)
class InTransit:
    """How the bytes travelled between this process and the store."""

    protocol: str | None = None  # "TLSv1.3", or "none" for plaintext
    cipher: str | None = None
    peer_verified: bool | None = None
    mutual: bool | None = None
    evidence: Evidence = Evidence.UNKNOWN

    @property
    def encrypted(self) -> bool:
        return self.protocol not in (None, "none") and self.evidence is Evidence.OBSERVED

    @property
    def verified(self) -> bool:
        return self.encrypted and self.peer_verified is True


@dataclass(frozen=True, slots=True)
class ColumnStatus:
    """How one column stands in one dataset.

    :param verified_cells: how many of its cells were looked at in the store, and are what the protection makes.
    """

    name: str
    classification: Classification | None
    protection: Protection
    type: str | None = None
    algorithm: str | None = None
    reversible: bool | None = None
    domain: str | None = None
    scope: str | None = None
    keyset_id: str | None = None
    key_version: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    verified_cells: int | None = None


def recorded_status(
    name: str,
    classification: str,
    protection: str,
    domain: str | None,
    scope: str | None,
    keyset_id: str | None,
    key_version: int | None,
    parameters: Mapping[str, Any],
) -> ColumnStatus:
    """A column's status out of its record, in the order in which records have it.

    :raises ValueError: for a class or a protection that is unknown.
    """
    kind = Protection(protection)
    return ColumnStatus(
        name=name,
        classification=Classification(classification),
        protection=kind,
        algorithm=algorithm(kind, parameters),
        reversible=kind.reversible,
        domain=domain,
        scope=scope,
        keyset_id=keyset_id,
        key_version=key_version,
        parameters=parameters,
    )


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """A dataset by its OpenLineage name.

    :param uri: the Airflow asset URI of the same dataset.
    :param version: the store's own version of it (an S3 VersionId), where it has one.
    """

    namespace: str
    name: str
    uri: str
    version: str | None = None


class Status(StrEnum):
    """The one-word summary of a dataset's protection in one hop."""

    PROTECTED = "protected"
    PARTIAL = "partial"
    EXPOSED = "exposed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """One end of a hop: the dataset, and how it is encrypted, with the evidence.

    :param parts: of a query: the tables that it reads.
    """

    dataset: DatasetRef
    at_rest: AtRest
    in_transit: InTransit
    columns: tuple[ColumnStatus, ...] = ()
    parts: tuple[DatasetStatus, ...] = ()

    @property
    def status(self) -> Status:
        """Nothing is protected by default.

        1. exposed: seen to travel in plaintext, or known to rest in plaintext;
        2. unknown: the transport or the storage was neither observed nor declared;
        3. partial: encrypted, but the peer was not verified;
        4. protected: encrypted at rest and carried over TLS from or to a verified peer.
        """
        if self.in_transit.protocol == "none" or self.at_rest.scheme == "none":
            return Status.EXPOSED
        if not self.in_transit.encrypted or not self.at_rest.encrypted:
            return Status.UNKNOWN
        return Status.PROTECTED if self.in_transit.verified else Status.PARTIAL


@dataclass(frozen=True, slots=True)
class ColumnEdge:
    """One target column comes from one source column.

    :param dataset: the source column's, where that is not the source itself but a table that it reads.
    """

    source: str
    target: str
    protection: Protection
    masking: bool
    description: str
    dataset: DatasetRef | None = None
