"""Moving protected columns to a keyset's newest version, while everybody goes on reading and joining them.

1. Deterministic values: for each domain a map from old to new values is filled in batches, each of which is kept, so that
   a run that was broken off goes on where it was. Then all columns of the domain switch in one transaction.
2. Encrypted cells are changed in place, batch by batch: each says its version, and readers cope with several.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from ..contract.contract import quoted
from ..contract.policy import BUILT_IN, Policy
from ..crypto.keyset import Keyset
from ..crypto.symbols import Alphabet
from ..errors import ConfigurationError, ContractError
from ..model import ColumnRule, ColumnStatus, DatasetStatus, Protection
from ..protection.columns import expanded
from ..protection.plan import ColumnStep, reversible
from ..reports import ReprotectionReport
from ..stores import postgres
from ..stores import reprotection as sql
from ..stores.at_rest import StoreFacts
from ..stores.postgres import Connection, TableName
from ..stores.postgres_errors import postgres_failures
from ..stores.reprotection import HeldColumn
from ..stores.states import lock_domain, lock_states, read_states
from .checks import Options
from .revealing import LOGICAL
from .to_table import TableTarget, look_at

log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 5.0
_PASSES = 3
BATCH_ROWS = 25_000


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be moved, and what can't be."""

    mapped: list[HeldColumn]
    encrypted: list[HeldColumn]
    kept: dict[str, str]


def reprotect(
    target: TableTarget,
    options: Options,
    domains: Collection[str] | None = None,
    *,
    task: str | None = None,
    on_tables: Callable[[Sequence[DatasetStatus]], None] = lambda tables: None,
    on_connection: Callable[[Connection], None] = lambda connection: None,
    policy: Policy = BUILT_IN,
    batch_rows: int = BATCH_ROWS,
) -> ReprotectionReport:
    """Move every column of one database that is recorded under a keyset to its newest version.

    :param target: the database; its ``table`` and ``mode`` mean nothing here.
    :param options: with the keyset, old versions included.
    :param domains: only these; all of the keyset by default.
    :param policy: what the classes of the columns require.
    :param on_tables: told the tables as they are seen, before anything is done.
    :raises SecureProviderError: what was moved until then stays moved, domain by domain; a further run goes on.
    """
    if options.keyset is None:
        raise ConfigurationError("there is no keyset; set keyset=")
    began = time.perf_counter()
    with postgres_failures("PostgreSQL"):
        raw = target.connect()
    with closing(raw):
        connection = postgres.prepare(raw)
        on_connection(connection)
        run = _Run(connection, target, options, options.keyset, policy, domains, task, batch_rows)
        run.look(on_tables)
        with sql.only_one(connection, options.keyset.id):
            run.move()
        return run.report(time.perf_counter() - began)


class _Run:
    def __init__(
        self,
        connection: Connection,
        target: TableTarget,
        options: Options,
        keyset: Keyset,
        policy: Policy,
        domains: Collection[str] | None,
        task: str | None,
        batch_rows: int,
    ) -> None:
        self._connection = connection
        self._target = target
        self._options = options
        self._keyset = keyset
        self._policy = policy
        self._domains = domains
        self._task = task
        self._batch_rows = batch_rows
        self._seen: dict[TableName, DatasetStatus] = {}
        self._moved: dict[str, int] = {}
        self._kept: dict[str, str] = {}
        self._warnings: list[str] = []

    # --- before anything is done ----------------------------------------------------------------------------

    def look(self, on_tables: Callable[[Sequence[DatasetStatus]], None]) -> None:
        """See every table and hold it to its columns' classes.

        :raises ContractError: with everything that stands in the way.
        """
        connection = self._connection
        first = look_at(
            connection,
            TableName("public", ""),
            StoreFacts(self._options.declared_at_rest, ask=self._options.ask_at_rest),
        )
        postgres.act_as(connection, self._target.set_role)
        postgres.plain_forms(connection)
        held = sql.held_columns(connection, self._keyset.id)
        if not held:
            raise ConfigurationError(
                f"no column of database {connection.info.dbname!r} is recorded under keyset {self._keyset.id!r}; is it the "
                "right database, and the right keyset?"
            )
        for table in dict.fromkeys(column.table for column in held):
            columns = tuple(read_states(connection, table).values())
            self._seen[table] = replace(first, dataset=postgres.dataset(connection, table), columns=columns)
        on_tables(tuple(self._seen.values()))
        for status in self._seen.values():
            rules = [_rule(column) for column in status.columns]
            self._warnings += self._policy.check_target(
                rules, status, allow_insecure_transport=self._target.allow_insecure_transport
            )
        work = self._work(held)
        self._kept = work.kept
        problems = [problem for column in work.mapped for problem in sql.obstacles(connection, column)]
        if problems:
            raise ContractError("; ".join(dict.fromkeys(problems)))
        for name, why in work.kept.items():
            log.warning("%s stays: %s", name, why)

    def _work(self, held: Sequence[HeldColumn]) -> _Work:
        newest = self._keyset.newest
        wanted = self._in_domains(held)
        work = _Work([], [], {})
        for column in wanted:
            status = column.status
            version = status.key_version or 0
            if version > newest:
                raise ConfigurationError(
                    f"column {column.name} stands under key version {version}, and keyset {self._keyset.id!r} ends at {newest}: "
                    "it is an older document; give the newest"
                )
            if status.protection is Protection.ENCRYPT:
                work.encrypted.append(column)
            elif version == newest:
                continue
            elif status.protection.reversible:
                work.mapped.append(column)
            else:
                work.kept[column.name] = (
                    f"it is {status.protection} under key version {version}, which nothing undoes; only its source can be "
                    "protected anew: load it with mode='replace'"
                )
        if self._domains is not None and not any(each.status.protection.reversible for each in wanted):
            why = "nothing gives their values back; only their source can be protected anew, with mode='replace'"
            names = ", ".join(f"{each.name} ({each.status.protection})" for each in wanted)
            raise ContractError(f"what {names} hold can't be re-protected: {why}")
        return work

    def _in_domains(self, held: Sequence[HeldColumn]) -> list[HeldColumn]:
        if self._domains is None:
            return list(held)
        known = sorted({str(column.status.domain) for column in held})
        unknown = [domain for domain in self._domains if domain not in known]
        if unknown:
            raise ConfigurationError(
                f"nothing is recorded of domain {quoted(unknown)} under keyset {self._keyset.id!r}; there are {quoted(known)}"
            )
        return [column for column in held if column.status.domain in self._domains]

    # --- the work -------------------------------------------------------------------------------------------

    def move(self) -> None:
        sql.forget_maps(self._connection)
        held = self._held()
        by_domain = _grouped(held.mapped, lambda column: (column.status.protection, column.status.domain))
        for (protection, domain), columns in by_domain.items():
            self._move_domain(protection, str(domain), columns)
        for column in held.encrypted:
            self._move_cells(column)

    def _held(self) -> _Work:
        return self._work(sql.held_columns(self._connection, self._keyset.id))

    def _move_domain(self, protection: Protection, domain: str, columns: Sequence[HeldColumn]) -> None:
        began = time.perf_counter()
        names = ", ".join(column.name for column in columns)
        log.info("domain %r (%s): %s to key version %d", domain, protection, names, self._keyset.newest)
        for same in _grouped(columns, lambda column: sql.same_map(column.status)).values():
            self._fill(same, held=True)
        connection = self._connection
        with postgres_failures(f"domain {domain!r}"), connection.transaction():
            lock_domain(connection, self._keyset.id, protection, domain, shared=False)
            # Nobody loads into this domain now. A table may have come to it meanwhile.
            now = [
                column
                for column in self._held().mapped
                if (column.status.protection, column.status.domain) == (protection, domain)
            ]
            tables = sorted({column.table for column in now}, key=str)
            for table in tables:
                lock_states(connection, table, shared=False)
            sql.hold_tables(connection, tables)
            total = 0
            for same in _grouped(now, lambda column: sql.same_map(column.status)).values():
                job = self._fill(same, held=False)
                rows = {column.name: self._switch(job, column) for column in same}
                sql.finish(connection, job, sum(rows.values()))
                self._moved |= rows
                total += sum(rows.values())
        sql.forget_maps(connection)
        log.info(
            "domain %r (%s) switched to key version %d: %s values in %.1f s",
            domain, protection, self._keyset.newest, f"{total:,}", time.perf_counter() - began,
        )  # fmt: skip

    def _fill(self, columns: Sequence[HeldColumn], *, held: bool) -> int:
        """The number of the map of columns for which one is enough, with every value that they hold."""
        connection, first = self._connection, columns[0]
        job = sql.begin(connection, first.status, self._keyset.newest, self._task)
        step = self._step(first, ", ".join(column.name for column in columns))
        count, began, logged = 0, time.perf_counter(), time.perf_counter()
        for old in sql.unmapped(connection, job, columns, self._batch_rows, held=held):
            sql.remember(connection, job, old, _through(step, old))
            count += len(old)
            if time.perf_counter() - logged >= _PROGRESS_SECONDS:
                logged = time.perf_counter()
                log.info("%s distinct values, %s a second", f"{count:,}", f"{count / (logged - began):,.0f}")
        if count:
            log.info("%s distinct values of %s have their new ones", f"{count:,}", first.status.domain)
        return job

    def _switch(self, job: int, column: HeldColumn) -> int:
        parameters = column.status.parameters
        fpe = column.status.protection is Protection.FPE
        alphabet = Alphabet.named(parameters["alphabet"]).characters if fpe else None
        count = sql.switch(self._connection, job, column, alphabet)
        sql.record_version(self._connection, column, self._keyset.newest)
        return count

    def _move_cells(self, column: HeldColumn) -> None:
        """In place. Another pass takes what tasks with an older document have written meanwhile."""
        connection, newest = self._connection, self._keyset.newest
        left = sql.count_old_cells(connection, column, newest)
        if left:
            log.info("%s: %s cells to key version %d", column.name, f"{left:,}", newest)
        moved = 0
        for _ in range(_PASSES):
            if not left:
                break
            for part in sql.parts_of(connection, column.table):
                moved += self._move_cells_of(part, column)
            left = sql.count_old_cells(connection, column, newest)
        if left:
            self._warnings.append(
                f"{column.name}: {left:,} cells are under an older key version again: a task protects with an older keyset "
                "document"
            )
            log.warning("%s", self._warnings[-1])
            return
        if moved or column.status.key_version != newest:
            with connection.transaction():
                lock_states(connection, column.table, shared=False)
                sql.record_version(connection, column, newest)
            self._moved[column.name] = moved

    def _move_cells_of(self, part: Any, column: HeldColumn) -> int:
        connection = self._connection
        step = self._step(column, column.name)
        end, moved, logged = sql.page_count(connection, part), 0, time.perf_counter()
        for start in range(0, end, sql.PAGES):
            while True:
                with postgres_failures(column.name), connection.transaction():
                    pages = range(start, start + sql.PAGES)
                    rows = sql.old_cells(
                        connection, part, column, pages, self._keyset.newest, self._batch_rows
                    )
                    if not rows:
                        break
                    places, old, *beside = zip(*rows, strict=True)
                    sql.put_cells(connection, part, column, places, _through(step, old, beside))
                moved += len(rows)
                if time.perf_counter() - logged >= _PROGRESS_SECONDS:
                    logged = time.perf_counter()
                    share = min(1.0, (start + sql.PAGES) / end)
                    log.info("%s: %s cells, %.0f %% of the table", column.name, f"{moved:,}", 100 * share)
        return moved

    def _step(self, column: HeldColumn, name: str) -> ColumnStep:
        """From a cell under any version to one under the newest."""
        status = column.status
        rule = replace(_rule(status), name=name)
        bases = {each.name: each.base for each in postgres.describe(self._connection, column.table)}
        beside = tuple(
            ColumnRule(
                other, rule.classification, Protection.NONE, LOGICAL.get(bases.get(other, ""), "string")
            )
            for other in rule.beside
        )
        return ColumnStep(
            rule,
            status,
            revealer=reversible(rule, self._keyset, status.key_version),
            keyed=reversible(rule, self._keyset),
            beside=beside,
            source_beside=beside,
        )

    def report(self, seconds: float) -> ReprotectionReport:
        tables = tuple(
            replace(status, columns=tuple(read_states(self._connection, table).values()))
            for table, status in self._seen.items()
        )
        return ReprotectionReport(
            self._keyset.id,
            self._keyset.newest,
            tables,
            self._moved,
            self._kept,
            seconds,
            tuple(self._warnings),
        )


def _rule(status: ColumnStatus) -> ColumnRule:
    if status.classification is None:
        raise ContractError(f"column {status.name!r} is recorded without a class; correct its record")
    return ColumnRule(
        status.name,
        status.classification,
        status.protection,
        domain=status.domain,
        scope=status.scope,
        parameters=status.parameters,
    )


def _through(step: ColumnStep, old: Sequence[bytes], beside: Sequence[Sequence[Any]] = ()) -> list[bytes]:
    """New values of old ones."""
    column = pa.array(old, pa.binary())
    if step.rule.protection is Protection.FPE:
        column = column.cast(pa.string())
    others = [pa.array(values, pa.string()) for values in beside]
    names = [step.rule.name, *(rule.name for rule in step.beside)]
    batch = pa.RecordBatch.from_arrays([column, *others], names=names)
    made = expanded(step.apply(batch, first_record=1, where=step.rule.name))
    cells: list[bytes] = made.cast(pa.large_binary()).to_pylist()
    return cells


def _grouped(columns: Sequence[HeldColumn], key: Callable[[HeldColumn], Any]) -> dict[Any, list[HeldColumn]]:
    groups: dict[Any, list[HeldColumn]] = defaultdict(list)
    for column in columns:
        groups[key(column)].append(column)
    return dict(groups)
