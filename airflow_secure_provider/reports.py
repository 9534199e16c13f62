"""What a run says of itself when it is done; like the facts that it is made of, none of it can hold a cell, a key or a credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from .model import ColumnEdge, ContractRef, DatasetStatus


@dataclass(frozen=True, slots=True)
class AnonymityReport:
    """What the anonymity gate has reached in the target, and what it has cost.

    :param rows: of this load that were written.
    :param suppressed: of this load that were left out.
    :param loss: from 0 (nothing) to 1 (everything): how much coarser the quasi-identifiers have become beyond the contract, and a
        row that was left out counts as lost wholly (Iyengar's loss metric).
    :param levels: by quasi-identifier, how many of its steps were taken.
    :param required: what was asked for: k, l, t.
    """

    quasi_identifiers: tuple[str, ...]
    sensitive: tuple[str, ...]
    k: int
    l_diversity: int | None
    t_closeness: float | None
    classes: int
    rows: int
    suppressed: int
    loss: float
    levels: Mapping[str, int]
    required: Mapping[str, float]

    def in_words(self) -> str:
        reached = [f"k={self.k}"]
        reached += [f"l={self.l_diversity}"] if self.l_diversity is not None else []
        reached += [f"t={self.t_closeness:.3f}"] if self.t_closeness is not None else []
        steps = ", ".join(f"{name} by {level}" for name, level in self.levels.items() if level)
        return (
            f"{', '.join(reached)} in {self.classes:,} classes; {self.suppressed:,} rows left out; loss {self.loss:.3f}"
            + (f"; coarser: {steps}" if steps else "")
        )


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What a transfer did: names, counts, key ids and evidence; never a value.

    :param rows: rows committed by this run; 0 where an earlier run had loaded them already.
    :param bytes_read: bytes as stored (ciphertext for an encrypted object).
    :param seconds: wall-clock time from opening the source to the commit.
    :param timings: seconds spent in each step; steps run in threads of their own, so they add up to more.
    :param policy: what the classes required: ``built-in``, or the class policy's id, version and digest.
    :param rejected: rows that did not fit and went into quarantine.
    :param rejected_to: the object that they are in.
    """

    source: DatasetStatus
    target: DatasetStatus
    contract: ContractRef
    rows: int
    bytes_read: int
    seconds: float
    already_loaded: bool = False
    mode: str = "append"
    edges: tuple[ColumnEdge, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    policy: str = "built-in"
    rejected: int = 0
    rejected_to: str | None = None
    anonymity: AnonymityReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, for XCom."""
        plain: dict[str, Any] = _plain(asdict(self))
        for side, status in (("source", self.source.status), ("target", self.target.status)):
            plain[side]["status"] = str(status)
        plain["rows_per_second"] = round(self.rows / self.seconds) if self.seconds else 0
        return plain


@dataclass(frozen=True, slots=True)
class LandingReport:
    """What was encrypted into an object; names, counts, key ids and evidence, never content.

    :param contract: ``None`` where none was given.
    :param bytes_read: of the source.
    :param bytes_written: of the message.
    :param counts: what else there is, by name: requests, pages, records.
    """

    source: DatasetStatus
    target: DatasetStatus
    contract: ContractRef | None
    bytes_read: int
    bytes_written: int
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)
    policy: str = "built-in"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, for XCom."""
        plain: dict[str, Any] = _plain(asdict(self))
        for side, status in (("source", self.source.status), ("target", self.target.status)):
            plain[side]["status"] = str(status)
        return plain


@dataclass(frozen=True, slots=True)
class ReprotectionReport:
    """What a re-protection did: names, counts and key versions; never a value.

    :param tables: as they stand after it, with the columns that are recorded under the keyset.
    :param rows: values that are under the new key version now, by ``schema.table.column``.
    :param kept: columns that can't be moved, and why.
    """

    keyset_id: str
    version: int
    tables: tuple[DatasetStatus, ...]
    rows: Mapping[str, int]
    kept: Mapping[str, str]
    seconds: float
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, for XCom."""
        plain: dict[str, Any] = _plain(asdict(self))
        for there, table in zip(plain["tables"], self.tables, strict=True):
            there["status"] = str(table.status)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, float):
        return round(value, 3)
    return value
