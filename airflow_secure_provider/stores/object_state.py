"""How an object's columns are protected, in its own metadata. ``docs/formats/object-metadata.md`` fixes it."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence

from ..errors import ConfigurationError, DecryptionError, FormatError
from ..model import ColumnStatus, recorded_status

COLUMNS = "secure-provider-columns"
BOUND = "secure-provider:columns"
"""In the encryption context of a message: the digest of what its metadata says of its columns."""
LOAD = "secure-provider-load"
CONTRACT = "secure-provider-contract"
_MOST_BYTES = 1_500  # S3 takes 2 KB of metadata in all
_MOST_PLAIN_BYTES = 1_000_000


def state_metadata(columns: Sequence[ColumnStatus], where: str) -> dict[str, str]:
    """
    :raises ConfigurationError: if it is more than S3 takes.
    """
    rows = [
        [
            column.name,
            str(column.classification),
            str(column.protection),
            column.domain,
            column.scope,
            column.keyset_id,
            column.key_version,
            dict(column.parameters),
        ]
        for column in columns
    ]
    text = json.dumps([1, rows], ensure_ascii=False, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    if len(packed) > _MOST_BYTES:
        raise ConfigurationError(
            f"{where}: what there is to say of its {len(columns)} columns takes {len(packed):,} bytes, and S3 leaves "
            f"{_MOST_BYTES:,} for it: write fewer columns, with shorter names of columns and domains"
        )
    return {COLUMNS: packed}


def digest(metadata: Mapping[str, str]) -> str:
    """SHA-256, hex, of what the metadata says of the columns."""
    return hashlib.sha256(metadata[COLUMNS].encode()).hexdigest()


def check_bound(metadata: Mapping[str, str], context: Mapping[str, str], where: str) -> None:
    """Hold the metadata of a message to the message, which is authenticated and the metadata is not.

    :param context: the message's encryption context.
    :raises DecryptionError: if they are not of one another.
    """
    said = digest(metadata) if COLUMNS in metadata else None
    if said != context.get(BOUND):
        raise DecryptionError(
            f"{where}: its metadata {COLUMNS!r} is not what was written with it, so nobody knows what its columns hold: it "
            "was changed, or lost in copying; copy the object with its metadata"
        )


def read_state(metadata: Mapping[str, str], where: str) -> dict[str, ColumnStatus]:
    """What an object's metadata says of its columns; empty if it says nothing.

    :raises FormatError: if it can't be read: unknown is not unprotected.
    """
    packed = metadata.get(COLUMNS)
    if packed is None:
        return {}
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(base64.b64decode(packed, validate=True), _MOST_PLAIN_BYTES)
        version, rows = json.loads(text)
        if version != 1:
            raise ValueError
        states = [recorded_status(*row) for row in rows]
    except (ValueError, TypeError, zlib.error, RecursionError):
        raise FormatError(
            f"{where}: its metadata {COLUMNS!r} can't be read, so nobody knows what its columns hold; write it again"
        ) from None
    return {state.name: state for state in states}
