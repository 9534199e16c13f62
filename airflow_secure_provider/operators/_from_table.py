"""What operators that read a PostgreSQL table share."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ._base import SecureTransferOperator

if TYPE_CHECKING:
    from ..transfer import Source
    from ._settings import Clients


class FromTableOperator(SecureTransferOperator):
    """Reads a table, perhaps of another server, perhaps only some of its rows; not for DAGs."""

    _only: Collection[str] | None = None

    def __init__(
        self,
        *,
        source_conn_id: str | None = None,
        where: str | None = None,
        mode: str = "replace",
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, **kwargs)
        self.source_conn_id = source_conn_id
        self.where = where

    def make_source(self, clients: Clients) -> Source:
        from ..transfer import PostgresSource

        return PostgresSource(
            lambda: clients.connect(self.read_conn_id),
            self.source_table,
            set_role=self.read_role,
            rows=self.where,
            only=self._only,
        )

    @property
    def source_table(self) -> str:
        if not isinstance(self.source, str):
            raise TypeError(f"source={self.source!r}: expected the name of a table")
        return self.source

    @property
    def read_conn_id(self) -> str:
        return self.source_conn_id or self.postgres_conn_id

    @property
    def read_role(self) -> str | None:
        """``set_role`` is a role of the target's server."""
        return self.set_role if self.read_conn_id == self.postgres_conn_id else None
