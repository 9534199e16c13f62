"""Everything that is decided, and refused, before the first row moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ..contract.contract import Contract, quoted
from ..contract.policy import check_classes, check_source, check_target
from ..crypto.keyset import Keyset
from ..errors import ConfigurationError, ContractError
from ..model import AtRest, ColumnRule, ColumnStatus, DatasetStatus, Protection, algorithm
from ..protection.plan import ColumnStep, plain_parameters, plan
from ..stores import postgres
from ..stores.postgres import Connection, TableColumn, TableName
from ..stores.postgres_types import arrow_type
from ..stores.states import Domain, read_domain_versions
from .sources import OpenSource

MODES = ("append", "replace")
EXTRA_COLUMNS = ("refuse", "drop")


@dataclass(frozen=True, slots=True)
class Target:
    """A PostgreSQL table.

    :param connect: gives a new psycopg 3 connection.
    :param mode: ``append``, or ``replace`` what the table holds.
    :param set_role: the stable owner's role to act as; a leased user owns nothing itself.
    :param allow_insecure_transport: load although the connection is weaker than the class demands; the report shows it.
    """

    connect: Callable[[], Any] = field(repr=False)
    table: str
    mode: str = "append"
    set_role: str | None = None
    allow_insecure_transport: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What else an author chose.

    :param keyset: for the columns to be encrypted or tokenized.
    :param reveal_with: opens the source's ciphertext where a rule needs the value.
    :param purpose: what plain values out of ciphertext are needed for; without it there are none.
    :param extra_columns: source columns outside the contract: ``refuse`` or ``drop``.
    :param declared_at_rest: what people declared of stores, by dataset namespace.
    """

    keyset: Keyset | None = None
    reveal_with: Keyset | None = None
    purpose: str | None = None
    extra_columns: str = "refuse"
    declared_at_rest: Mapping[str, AtRest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checked:
    """All that was decided before the first row."""

    steps: tuple[ColumnStep, ...]
    columns: Mapping[str, TableColumn]
    schema: Any
    source: DatasetStatus
    target: DatasetStatus
    warnings: tuple[str, ...]


def check_words(target: Target, options: Options) -> None:
    """:raises ConfigurationError: for an option that is none of the known ones."""
    if target.mode not in MODES:
        raise ConfigurationError(f"mode {target.mode!r}, expected one of {', '.join(MODES)}")
    if options.extra_columns not in EXTRA_COLUMNS:
        raise ConfigurationError(
            f"extra_columns {options.extra_columns!r}, expected one of {', '.join(EXTRA_COLUMNS)}"
        )


def look_at(connection: Connection, table: TableName, declared: Mapping[str, AtRest]) -> DatasetStatus:
    """The target before anything is known of its columns. Before the connection takes on another role."""
    dataset = postgres.dataset(connection, table)
    return DatasetStatus(dataset, declared.get(dataset.namespace, AtRest()), postgres.observe(connection))


def check(
    opened: OpenSource,
    contract: Contract,
    connection: Connection,
    reached: DatasetStatus,
    target: Target,
    options: Options,
) -> Checked:
    """Hold source, contract and target together.

    :param reached: the target as :func:`look_at` saw it.
    :raises ContractError: if a column, the source or the target does not meet what is required.
    """
    table = TableName.parse(target.table)
    # Before the first byte of the source's content is asked for: its columns are.
    check_classes(contract.rules, opened.states, opened.status.dataset.uri)
    check_source(contract.rules, opened.status, opened.states)
    rules = contract.match(opened.columns, opened.status.dataset.uri, extra_columns=options.extra_columns)
    versions = _versions(rules, options.keyset, connection, table, target.mode)
    steps = plan(rules, options.keyset, opened.states, options.reveal_with, versions)
    _check_purpose(steps, options.purpose)
    _check_passing(steps, connection, table, target.mode)
    columns = {column.name: column for column in postgres.describe(connection, table)}
    _check_table(steps, columns, table)
    schema = pa.schema([(step.rule.name, arrow_type(columns[step.rule.name], str(table))) for step in steps])
    source = DatasetStatus(
        opened.status.dataset,
        opened.status.at_rest,
        opened.status.in_transit,
        tuple(
            opened.states.get(rule.name)
            or ColumnStatus(rule.name, rule.classification, Protection.NONE, "text")
            for rule in rules
        ),
    )
    reached = replace(reached, columns=tuple(_status(step, columns[step.rule.name]) for step in steps))
    check_source(rules, source, opened.states)
    warnings = check_target(
        [step.rule for step in steps], reached, allow_insecure_transport=target.allow_insecure_transport
    )
    return Checked(steps, columns, schema, source, reached, tuple(warnings))


def _check_purpose(steps: Sequence[ColumnStep], purpose: str | None) -> None:
    plain = [step.rule.name for step in steps if step.reveals]
    if plain and purpose is None:
        raise ContractError(
            f"column {quoted(plain)} of the source holds ciphertext and would be stored as plain values: give it a "
            "protection, or reveal it with RevealColumnsOperator, which records the purpose"
        )
    if purpose is not None and not purpose.strip():
        raise ConfigurationError("purpose= is empty; say what the values are needed for, such as the ticket")


def _versions(
    rules: Sequence[ColumnRule], keyset: Keyset | None, connection: Connection, table: TableName, mode: str
) -> Mapping[Domain, int]:
    """Deterministic values keep the key version of their domain, or they would not join."""
    wanted = {
        (rule.protection, rule.domain) for rule in rules if rule.protection.deterministic and rule.domain
    }
    if keyset is None or not wanted:
        return {}
    besides = table if mode == "replace" else None
    return read_domain_versions(connection, keyset.id, wanted, besides=besides)


def _check_passing(steps: Sequence[ColumnStep], connection: Connection, table: TableName, mode: str) -> None:
    """Tokens that pass as they are must be under the version that their domain has where they go."""
    besides = table if mode == "replace" else None
    for step in steps:
        keyset_id, version = step.key
        domain = step.rule.protection, step.rule.domain or ""
        if not step.passes or not step.rule.protection.deterministic or keyset_id is None:
            continue
        there = read_domain_versions(connection, keyset_id, [domain], besides=besides).get(domain)
        if there not in (None, version):
            raise ContractError(
                f"column {step.rule.name!r} of the source stands under key version {version} of keyset {keyset_id!r}, and its "
                f"domain {step.rule.domain!r} under {there} in the target's database, so they would not join: move both to "
                "one version with ReprotectColumnsOperator"
            )


def _check_table(steps: Sequence[ColumnStep], columns: Mapping[str, TableColumn], table: TableName) -> None:
    rules = [step.rule for step in steps]
    names = [rule.name for rule in rules]
    missing = [name for name in names if name not in columns]
    generated = [name for name in names if name in columns and columns[name].generated]
    unfilled = [
        column.name
        for column in columns.values()
        if column.required and not (column.has_default or column.generated or column.name in names)
    ]
    unfit = [
        f"column {rule.name!r} is to hold {problem}"
        for rule in rules
        if rule.name in columns and (problem := _unfit(rule, columns[rule.name]))
    ]
    problems = []
    if missing:
        problems.append(
            f"it has no column {quoted(missing)}: add it to the table, or drop it in the contract"
        )
    if generated:
        problems.append(f"column {quoted(generated)} is generated by the table: drop it in the contract")
    if unfilled:
        problems.append(
            f"column {quoted(unfilled)} needs a value and gets none: give it a default, or load it"
        )
    problems += unfit + _loosely_bound(rules, columns)
    if problems:
        raise ContractError(f"target {table}: " + "; ".join(problems))


_WRITTEN_ALIKE = {
    "string": ("text", "varchar"),
    "integer": ("int2", "int4", "int8"),
    "date": ("date",),
    "timestamp": ("timestamp",),
    "time": ("time",),
    "boolean": ("bool",),
}


def _loosely_bound(rules: Sequence[ColumnRule], columns: Mapping[str, TableColumn]) -> list[str]:
    """Columns that cells are bound to must come out of the table as they are bound, or nothing reveals the cells."""
    by_name = {rule.name: rule for rule in rules}
    problems = []
    for rule in rules:
        for name in rule.parameters.get("bind_to", ()):
            other, column = by_name.get(name), columns.get(name)
            if other and column and column.base not in _WRITTEN_ALIKE.get(other.logical_type, ()):
                problems.append(
                    f"column {rule.name!r} is bound to column {name!r}, a {other.logical_type} in the contract and "
                    f"{column.type} in the table, which may write it otherwise: make both the same type"
                )
    return problems


def _unfit(rule: ColumnRule, column: TableColumn) -> str:
    """What a column is to hold, and the fix, if its type can't."""
    if rule.protection is Protection.FPE:
        if rule.parameters["on_unfit"] == "encrypt" and column.type != "text":
            return "the cells of unfit values too (on_unfit: encrypt), of any length: make it text"
        return "" if column.base in ("text", "varchar", "bpchar") else "characters: make it text or varchar"
    in_cells = rule.protection.reversible or rule.protection is Protection.PSEUDONYMIZE
    if in_cells and column.base not in ("bytea", "text", "varchar"):
        what = "ciphertext" if rule.protection.reversible else "pseudonyms"
        return f"{what}: make it bytea or text"
    return ""


def _status(step: ColumnStep, column: TableColumn) -> ColumnStatus:
    rule = step.rule
    keyset_id, key_version = step.key
    return ColumnStatus(
        name=rule.name,
        classification=rule.classification,
        protection=rule.protection,
        type=column.type,
        algorithm=algorithm(rule.protection, rule.parameters),
        reversible=rule.protection.reversible,
        domain=rule.domain,
        scope=rule.scope,
        keyset_id=keyset_id,
        key_version=key_version,
        parameters=plain_parameters(rule.parameters),
    )
