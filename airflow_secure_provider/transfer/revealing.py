"""Revealing a table's columns on purpose: which may be, under which rules, and the record of it."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.contract import Contract, quoted, reference
from ..contract.policy import BUILT_IN, Policy
from ..errors import ConfigurationError, ContractError
from ..model import ColumnRule, ColumnStatus, Protection
from ..stores import postgres
from ..stores.postgres import Connection, TableName
from ..stores.states import read_states

LOGICAL = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "bool": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "time": "time",
}


def reveal_contract(
    connection: Connection,
    source: str,
    reveal: Sequence[str],
    keep: Sequence[str],
    policy: Policy = BUILT_IN,
) -> Contract:
    """What happens to each column of a table that is to be revealed, by what is recorded of it.

    :param reveal: columns whose values are given back.
    :param keep: columns that go along as they are, cells and tokens too. All others are left out.
    :raises ContractError: naming every column that nothing can reveal, or of which nothing is recorded.
    """
    table = TableName.parse(source)
    columns = {column.name: column for column in postgres.describe(connection, table)}
    states = read_states(connection, table)
    if not reveal:
        raise ConfigurationError("reveal= names no column")
    _refuse(table, columns, states, reveal, keep)
    beside = {other for name in reveal for other in states[name].parameters.get("bind_to", ())}
    rules = []
    for name, column in columns.items():
        state = states.get(name)
        if name not in {*reveal, *keep, *beside} or state is None or state.classification is None:
            continue
        kept = ColumnRule(
            name,
            state.classification,
            state.protection if name in keep else Protection.NONE if name in reveal else Protection.DROP,
            LOGICAL.get(column.base, "string") if state.protection is Protection.NONE else "string",
            domain=state.domain if name in keep else None,
            scope=state.scope if name in keep else None,
            parameters=state.parameters if name in keep else {},
        )
        rules.append(kept)
    body = {"id": f"reveal:{table}", "version": "recorded", "reveal": list(reveal), "keep": list(keep)}
    return Contract(reference(body), str(table), tuple(rules), policy)


def _refuse(
    table: TableName,
    columns: Sequence[str] | dict[str, postgres.TableColumn],
    states: dict[str, ColumnStatus],
    reveal: Sequence[str],
    keep: Sequence[str],
) -> None:
    problems = []
    missing = [name for name in (*reveal, *keep) if name not in columns]
    if missing:
        problems.append(f"it has no column {quoted(missing)}")
    unknown = [name for name in (*reveal, *keep) if name in columns and name not in states]
    if unknown:
        problems.append(f"nothing is recorded of column {quoted(unknown)}")
    for name in reveal:
        state = states.get(name)
        if state is not None and not state.protection.reversible:
            why = (
                "holds its values already" if state.protection is Protection.NONE else "which nothing undoes"
            )
            problems.append(f"column {name!r} is {state.protection}, {why}")
    if problems:
        raise ContractError(f"source {table}: " + "; ".join(problems))
