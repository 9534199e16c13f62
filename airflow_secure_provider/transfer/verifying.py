"""``verify_cells``: whether the table holds ciphertext where it is said to, seen by looking, before the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from ..errors import FormatError, LoadError
from ..protection.plan import ColumnStep
from ..protection.reversible import check_cells
from ..stores.postgres import Connection, TableName
from ..stores.sample import sample


def verify_cells(
    connection: Connection, table: TableName, steps: Sequence[ColumnStep], cells: int
) -> Mapping[str, int]:
    """Look at some cells of each column whose form tells: encrypt, tokenize, pseudonymize. Nothing is opened.

    :param cells: at most so many of each column, of what was there before too.
    :return: how many were looked at, by column; nulls don't count.
    :raises LoadError: with the column and the number of cells that are something else.
    """
    telling = [step for step in steps if step.rule.protection.in_cells]
    if not telling:
        return {}
    rows = sample(connection, table, [step.rule.name for step in telling], cells)
    seen: dict[str, int] = {}
    for step, values in zip(telling, zip(*rows, strict=True) if rows else [()] * len(telling), strict=True):
        name = step.rule.name
        there = [value for value in values if value is not None]
        column = pa.array(
            there, pa.large_string() if there and isinstance(there[0], str) else pa.large_binary()
        )
        try:
            check_cells(column, step.rule, step.key[1])
        except FormatError as error:
            raise LoadError(
                f"{table}, column {name!r}: it is to hold what {step.rule.protection} makes, and in a sample {error}; "
                "nothing was committed"
            ) from None
        seen[name] = len(there)
    return seen
