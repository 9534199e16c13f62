"""PostgreSQL table → protect or reveal and generalise columns → PostgreSQL table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._from_table import FromTableOperator


class MaskColumnsOperator(FromTableOperator):
    """Make a table from another one with fewer, coarser or protected columns, in one transaction.

    A column that the source is known to hold protected just as the rule wants passes through unchanged, so tokens go on
    joining. Redacting, generalising or re-protecting ciphertext needs ``reveal_with``.

    :param source: the table to read, ``schema.table``. (templated)
    :param table: the target, ``schema.table``. (templated)
    :param where: an SQL condition: only rows for which it holds are read. It stands in Airflow's rendered fields, so put no
        personal data into it. (templated)
    :param source_conn_id: where the source is; ``postgres_conn_id`` if not given. (templated)
    :param reveal_with: the keyset that opens the source's ciphertext where a rule needs the value. (templated)
    :param contract: see :class:`EncryptedS3ToPostgresOperator`, as for all other parameters.
    """

    template_fields: Sequence[str] = (
        "source",
        "table",
        "keyset",
        "reveal_with",
        "aws_conn_id",
        "postgres_conn_id",
        "source_conn_id",
        "set_role",
        "where",
    )

    def __init__(self, *, reveal_with: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reveal_with = reveal_with
