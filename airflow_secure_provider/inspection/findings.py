"""What an inspection has found, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a line ends. ``unknown``: it could not be looked at, and nothing is claimed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    :ivar part: what was looked at: ``vault``, ``postgres``, ``keyset``, ``s3``, ``lineage``, ``airflow``.
    :ivar subject: which of them; never a secret.
    :ivar detail: what was found, and for what is not ok, what to do.
    """

    part: str
    subject: str
    verdict: Verdict
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Findings = Iterator[Finding]


def ok(part: str, subject: str, detail: str) -> Finding:
    return Finding(part, subject, Verdict.OK, detail)


def warning(part: str, subject: str, detail: str) -> Finding:
    return Finding(part, subject, Verdict.WARNING, detail)


def failed(part: str, subject: str, detail: str) -> Finding:
    return Finding(part, subject, Verdict.FAILED, detail)


def unknown(part: str, subject: str, detail: str) -> Finding:
    return Finding(part, subject, Verdict.UNKNOWN, detail)
