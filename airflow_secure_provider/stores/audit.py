"""The record of what was revealed, by whom and what for: rows that are only ever added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .manifest import manifest_failures
from .postgres import Connection


@dataclass(frozen=True, slots=True)
class Revealing:
    """
    :param task: ``dag/task/run/map index``.
    :param purpose: what the values are needed for, in the author's words.
    :param condition: which rows, as the author wrote it; ``None`` for all.
    :param keyset: id of the keyset that reveals; *key_id* is the key that wraps it.
    """

    task: str | None
    purpose: str
    source: str
    target: str
    columns: Sequence[str]
    condition: str | None
    keyset: str
    key_id: str


def append(connection: Connection, event: str, revealing: Revealing, rows: int | None = None) -> None:
    """Add a record. Outside of a transaction it is committed at once; inside, with the rows that it tells of.

    :param event: ``begun`` or ``done``.
    :raises SecureProviderError: if it can't be written; then nothing may be revealed.
    """
    with manifest_failures(), connection.transaction():
        connection.execute(
            "INSERT INTO secure_provider.reveal_log "
            "(event, task, purpose, source, target, columns, condition, keyset_id, key_id, rows) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                event,
                revealing.task,
                revealing.purpose,
                revealing.source,
                revealing.target,
                list(revealing.columns),
                revealing.condition,
                revealing.keyset,
                revealing.key_id,
                rows,
            ),
        )
