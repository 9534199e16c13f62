"""Ends the leases that killed tasks of this machine have left behind, before their TTL does."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..vault.engines import revoke
from ..vault.journal import Entry, Left, left_behind, tidy, write_entries
from .vault_access import VaultAccess


@dataclass(slots=True)
class SweepReport:
    """:ivar counts: ``revoked``, ``failed`` and ``elsewhere`` (of another Vault); ``left``, if nothing was asked of Vault.
    :ivar elsewhere: the addresses of those other Vaults.
    :ivar failures: a line for each that failed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)


def sweep(folder: Path, access: VaultAccess | None) -> SweepReport:
    """
    :param access: whose login revokes; None to only count what would be revoked.
    """
    report = SweepReport()
    if not folder.is_dir():
        return report
    for left in left_behind(folder):
        if left.problem:
            report.counts["failed"] += 1
            report.failures.append(left.problem)
            continue
        kept = [each for each in left.entries if not _is_ended(each, access, report)]
        if access is not None:
            _write_back(left, kept)
    if access is not None:
        tidy(folder)
    return report


def _is_ended(entry: Entry, access: VaultAccess | None, report: SweepReport) -> bool:
    """Whether there is nothing more to do about it. What the file says of its end is old: it may have been renewed since."""
    if access is None:
        report.counts["left"] += 1
        return False
    if (entry.url, entry.namespace) != (access.url, access.namespace):
        report.counts["elsewhere"] += 1
        report.elsewhere.add(entry.url)
        return False
    failure = None
    try:
        revoke(access.client(), entry.lease_id)  # of one that is no more, Vault says the same
    except Exception as error:  # noqa: BLE001 (mapped)
        failure = access.failure(error, "sys/leases/revoke")
    if failure is None:
        report.counts["revoked"] += 1
        return True
    report.counts["failed"] += 1
    report.failures.append(f"a lease of role {entry.role!r} ({entry.mount}): {failure}")
    return False


def _write_back(left: Left, kept: list[Entry]) -> None:
    if not kept:
        left.file.unlink(missing_ok=True)
    elif len(kept) < len(left.entries):
        write_entries(left.file, [asdict(each) for each in kept])
