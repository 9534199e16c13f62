"""Rows that do not fit, kept for people instead of stopping the load: in an encrypted object that can be loaded again.

The object's bytes are in S3 before the load commits, as a multipart upload that nobody sees, and it comes to be after the
commit. A retry of a load that was committed makes it come to be, where the first run could not.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from typing import Any

import pyarrow as pa

from ..contract.contract import Contract
from ..errors import ConfigurationError, FormatError, StoreError
from ..files import RecordFile
from ..model import DatasetRef, DatasetStatus
from ..objects.encryption_sdk_keys import RawAesKey, writing_keys
from ..objects.encryption_sdk_writing import encrypted
from ..protection.reversible import to_text
from ..stores.formats import FileFormat
from ..stores.manifest import LoadKey
from ..stores.postgres_values import as_text
from ..stores.s3 import S3Location
from ..stores.s3_pending import PendingObject
from ..stores.s3_writing import WatchedClient
from .to_object import client_side, writing_context

log = logging.getLogger(__name__)
RECORD, REASON = "_reject_record", "_reject_reason"
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RejectTo:
    """Where rows go that do not fit.

    :param client: a boto3 S3 client.
    :param kms_client: gives a boto3 KMS client for a key ARN.
    :param uri: a folder, ``s3://bucket/folder/``; each load has an object of its own in it.
    :param kms_keys: ARNs of KMS keys of which any opens it.
    :param raw_key: a key in no key service, beside them or alone.
    :param most: with one more the load is refused.
    """

    client: Any = field(repr=False)
    kms_client: Callable[[str], Any] = field(repr=False)
    uri: str
    kms_keys: Sequence[str] = ()
    raw_key: RawAesKey | None = None
    most: int = 0

    def check_words(self) -> None:
        """:raises ConfigurationError: for what can't be meant."""
        S3Location.parse(self.uri)
        if not self.uri.endswith("/"):
            raise ConfigurationError(
                f"reject_to {self.uri!r}: each load has an object of its own there, so it is a folder; end it in /"
            )
        if type(self.most) is not int or self.most < 1:
            raise ConfigurationError(
                "reject_to= takes max_rejected_rows=, a number from 1: with more the load is refused"
            )
        if isinstance(self.kms_keys, str) or not (self.kms_keys or self.raw_key):
            raise ConfigurationError(
                f"{self.uri}: name the KMS keys that rejected rows are encrypted under (reject_kms_keys=)"
            )


class Quarantine:
    """The rejected rows of one load."""

    def __init__(self, to: RejectTo, watched: WatchedClient, where: str, identity: str) -> None:
        self._to = to
        self._watched = watched
        self._where = where
        self._location = S3Location.parse(f"{to.uri}{identity}.csv")
        self._rows: list[tuple[Any, int, str]] = []
        self._bytes = 0
        self._pending: PendingObject | None = None

    @property
    def uri(self) -> str | None:
        """The object; ``None`` if nothing was rejected."""
        return self._location.uri if self._rows else None

    @property
    def count(self) -> int:
        return len(self._rows)

    def check(self, contract: Contract) -> None:
        """Judge the way there before the first row. :raises ContractError: if it is weaker than the classes demand."""
        self._watched.look(self._location)
        dataset = DatasetRef(f"s3://{self._location.bucket}", self._location.key, self._location.uri)
        at_rest = client_side(self._to.kms_keys, self._to.raw_key)
        end = DatasetStatus(dataset, at_rest, self._watched.in_transit)
        contract.policy.check_passage(contract.rules, end)

    def add(self, row: Any, record: int, reason: str) -> None:
        """:param row: a batch of one row, as the source gave it.

        :raises FormatError: when they are too many.
        """
        self._rows.append((row, record, reason))
        self._bytes += row.nbytes
        if len(self._rows) > self._to.most or self._bytes > _MOST_BYTES:
            _, first, why = self._rows[0]
            limit = (
                f"max_rejected_rows={self._to.most:,}"
                if len(self._rows) > self._to.most
                else "64 MiB of them"
            )
            raise FormatError(
                f"{self._where}: {len(self._rows):,} rows are rejected, which is more than {limit}; the first is record "
                f"{first:,}: {why}"
            )

    def prepare(self, contract: Contract, task: str | None) -> None:
        """Store the rows where nobody sees them yet."""
        if not self._rows:
            return
        keys = writing_keys(self._to.kms_client, self._to.kms_keys, self._to.raw_key)
        name = self._to.kms_keys[0] if self._to.kms_keys else str(self._to.raw_key)
        context = writing_context(self._location.uri, contract.ref, task)
        body = encrypted(io.BytesIO(self._as_csv()), keys, name, context, self._location.uri)
        PendingObject.abandon_all(self._watched.client, self._location)
        self._pending = PendingObject.begin(self._watched.client, self._location, body)

    def publish(self) -> None:
        """After the commit."""
        if self._pending is not None:
            self._pending.publish()
            log.warning("%s rows were rejected; they are in %s", f"{len(self._rows):,}", self._location.uri)

    def publish_earlier(self) -> None:
        """What an earlier run of the same load has prepared, and not brought to its end after its commit."""
        pending = PendingObject.find(self._watched.client, self._location)
        if pending is not None:
            pending.publish()
            log.warning("rows that an earlier run has rejected are in %s", self._location.uri)

    def abandon(self) -> None:
        """Nothing was committed."""
        if self._pending is not None:
            with suppress(StoreError):  # the next run takes it away
                self._pending.abandon()

    def _as_csv(self) -> bytes:
        out = io.BytesIO()
        names = [name for name in self._rows[0][0].schema.names if name not in (RECORD, REASON)]
        table = pa.Table.from_batches([row.select(names) for row, _, _ in self._rows]).combine_chunks()
        columns = [_text(table.column(name).combine_chunks()) for name in names]
        columns.append(pa.array([str(record) for _, record, _ in self._rows]))
        columns.append(pa.array([reason for _, _, reason in self._rows]))
        file = RecordFile(out, FileFormat.CSV, [*names, RECORD, REASON])
        file.write(columns)
        file.close()
        return out.getvalue()


@contextmanager
def quarantine(to: RejectTo | None, where: str, key: LoadKey) -> Iterator[Quarantine | None]:
    """
    :param where: the source, for messages.
    :param key: what makes two loads the same: they have the same object.
    """
    if to is None:
        yield None
        return
    with WatchedClient(to.client).watching() as watched:
        identity = hashlib.sha256(json.dumps(astuple(key)).encode()).hexdigest()[:24]
        yield Quarantine(to, watched, where, identity)


def _text(column: Any) -> Any:
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    return (to_text(column) if binary else as_text(column)).cast(pa.string())
