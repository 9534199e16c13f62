"""PostgreSQL table → reveal columns, on record → PostgreSQL table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._from_table import FromTableOperator

if TYPE_CHECKING:
    from ..contract.contract import Contract
    from ._settings import Clients


class RevealColumnsOperator(FromTableOperator):
    """Give back the values of protected columns, into a table of its own, with a record of who did it and what for.

    The record is committed to ``secure_provider.reveal_log`` of the target's database before the first row is read; if it
    can't be written, nothing is revealed. Whether the task may reveal is the key service's decision: it needs the
    permission to unwrap the keyset, best given to a role of its own (``reveal_aws_conn_id``).

    :param source: the table to read, ``schema.table``. (templated)
    :param table: the target, ``schema.table``. Its columns keep the classes that they have in the source. (templated)
    :param reveal: the columns whose values are given back. One that nothing can undo is refused by its name.
    :param keep: columns that go along as they are. All others are left out.
    :param purpose: what the values are needed for; for the record. No personal data, please. (templated)
    :param reveal_with: the keyset. (templated)
    :param reveal_aws_conn_id: the connection that may unwrap it; ``aws_conn_id`` if not given. (templated)
    :param where: an SQL condition: only rows for which it holds are read. (templated)
    :param source_conn_id: where the source is; ``postgres_conn_id`` if not given. (templated)
    """

    template_fields: Sequence[str] = (
        "source",
        "table",
        "purpose",
        "reveal_with",
        "aws_conn_id",
        "vault_conn_id",
        "reveal_aws_conn_id",
        "postgres_conn_id",
        "source_conn_id",
        "set_role",
        "where",
    )

    def __init__(
        self,
        *,
        table: str,
        reveal: Sequence[str],
        purpose: str,
        reveal_with: str,
        keep: Sequence[str] = (),
        reveal_aws_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.reveal = reveal
        self.keep = keep
        self.purpose = purpose
        self.reveal_with = reveal_with
        self.reveal_aws_conn_id = reveal_aws_conn_id

    @property
    def target_name(self) -> str:
        return self.table

    def make_contract(self, clients: Clients) -> Contract:
        from contextlib import closing

        from ..stores import postgres
        from ..transfer.revealing import reveal_contract

        with closing(postgres.prepare(clients.connect(self.read_conn_id))) as connection:
            postgres.act_as(connection, self.read_role)
            contract = reveal_contract(
                connection, self.source_table, self.reveal, self.keep, clients.policy()
            )
        self._only = [rule.name for rule in contract.rules]
        return contract
