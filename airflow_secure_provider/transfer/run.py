"""One transfer, from checks to commit."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa

from ..contract.contract import Contract
from ..contract.policy import check_ahead
from ..errors import ConfigurationError, FormatError
from ..model import ColumnEdge, DatasetStatus, Protection, TransferReport, algorithm
from ..protection.conversion import convert
from ..protection.plan import ColumnStep, fit
from ..protection.reversible import as_bytes
from ..stores import audit, manifest, postgres, states
from ..stores.postgres import Connection, CopyWriter, TableName
from ..stores.postgres_errors import postgres_failures
from ..stores.postgres_types import is_text
from .checks import Checked, Options, Target, check, check_words, look_at
from .pipeline import Timings, ahead
from .sources import OpenSource, Source

log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 5.0


def transfer(
    source: Source,
    contract: Contract,
    target: Target,
    options: Options | None = None,
    *,
    task: str | None = None,
    on_ends: Callable[[DatasetStatus, DatasetStatus], None] = lambda source, target: None,
    on_connection: Callable[[Connection], None] = lambda connection: None,
) -> TransferReport:
    """Move one source into one table, all or nothing.

    :param task: ``dag/task/run/map index``; identifies the load where the source has no version.
    :param on_ends: told both ends as soon as they are seen, and again when their columns are known, for the lineage of
        a run that fails later.
    :param on_connection: given the target's connection, so that it can be cancelled from outside.
    :return: names, counts, key ids and evidence.
    :raises SecureProviderError: and nothing was written.
    """
    chosen = options or Options()
    check_words(target, chosen)
    check_ahead(contract.rules, source.transport_ahead, source.where)
    began = time.perf_counter()
    table = TableName.parse(target.table)
    with postgres_failures(str(table)):
        raw = target.connect()
    with closing(raw):
        connection = postgres.prepare(raw)
        on_connection(connection)
        reached = look_at(connection, table, chosen.declared_at_rest)
        postgres.act_as(connection, target.set_role)
        with closing(source.open(chosen.declared_at_rest)) as opened:
            on_ends(opened.status, reached)
            checked = check(opened, contract, connection, reached, target, chosen)
            for warning in checked.warnings:
                log.warning("%s", warning)
            on_ends(checked.source, checked.target)
            revealing = _revealing(opened, checked, chosen, task, source.where, table)
            if revealing is not None:
                audit.append(connection, "begun", revealing)
            run = _Run(opened, contract, connection, table, target.mode, checked, task, began, revealing)
            return run.run()


def _revealing(
    opened: OpenSource, checked: Checked, options: Options, task: str | None, source: str, table: TableName
) -> audit.Revealing | None:
    """What is to be put on record: plain values out of ciphertext."""
    columns = [step.rule.name for step in checked.steps if step.reveals]
    if not columns or options.purpose is None or options.reveal_with is None:
        return None
    keys = options.reveal_with
    return audit.Revealing(
        task, options.purpose, source, str(table), columns, opened.selection, keys.id, keys.key_id
    )


class _Run:
    """The rows of one transfer and its transaction."""

    def __init__(
        self,
        opened: OpenSource,
        contract: Contract,
        connection: Connection,
        table: TableName,
        mode: str,
        checked: Checked,
        task: str | None,
        began: float,
        revealing: audit.Revealing | None = None,
    ) -> None:
        self._opened = opened
        self._contract = contract
        self._connection = connection
        self._table = table
        self._mode = mode
        self._checked = checked
        self._task = task
        self._began = began
        self._revealing = revealing
        self._timings = Timings()
        self._where = checked.source.dataset.uri

    def run(self) -> TransferReport:
        log.info("loading %s into %s (%s)", self._where, self._table, self._mode)
        log.info("columns: %s", ", ".join(map(_in_words, self._checked.steps)))
        key = self._load_key()
        writer = CopyWriter(self._connection, self._table, self._checked.schema)
        with postgres_failures(str(self._table)), self._connection.transaction():
            besides = self._table if self._mode == "replace" else None
            states.hold_domains(self._connection, self._checked.target.columns, besides=besides)
            claimed = manifest.claim(
                self._connection, key, self._mode, self._task, versioned=self._opened.version is not None
            )
            if claimed is not None:
                self._load(writer, claimed)
            if self._revealing is not None:
                audit.append(self._connection, "done", self._revealing, writer.rows)
        if claimed is None and self._opened.version is None:
            log.warning(
                "this task run has appended %s to %s before, and the source has no version to tell whether it has "
                "changed since: nothing was loaded; mode='replace' reads it again in every run",
                self._where,
                self._table,
            )
        elif claimed is None:
            log.info("this version of %s is in %s already: nothing to do", self._where, self._table)
        else:
            log.info("committed: %s", self._progress(writer.rows))
        return self._report(writer.rows, already_loaded=claimed is None)

    def _load(self, writer: CopyWriter, claimed: int) -> None:
        replaced = self._mode == "replace"
        if replaced:
            postgres.delete_all(self._connection, self._table)
        columns = self._checked.target.columns
        states.record_states(self._connection, self._table, columns, self._contract.ref, replaced=replaced)
        with ahead(self._produce) as batches, writer.open() as write:
            logged = time.perf_counter()
            for batch in batches:
                with self._timings.measure("encode and send"):
                    write(batch)
                if time.perf_counter() - logged >= _PROGRESS_SECONDS:
                    logged = time.perf_counter()
                    log.info("%s", self._progress(writer.rows))
        manifest.complete(self._connection, claimed, writer.rows)

    def _produce(self) -> Iterator[Any]:
        """Batches as the table takes them. It ends only after the source has proved to be whole."""
        record = 1
        batches = self._opened.batches()
        while True:
            with self._timings.measure("read, decrypt and parse"):
                batch = next(batches, None)
            if batch is None:
                break
            with self._timings.measure("protect and convert"):
                made = self._protect(batch, record)
            record += batch.num_rows
            yield made
        with self._timings.measure("authenticate the end"):
            self._opened.finish()

    def _protect(self, batch: Any, first_record: int) -> Any:
        arrays = []
        for step in self._checked.steps:
            failed = False
            try:
                arrays.append(self._protect_column(step, batch, first_record))
            except pa.ArrowException:  # it may quote a value
                failed = True
            if failed:
                name = step.rule.name
                raise FormatError(
                    f"{self._where}: column {name!r}, behind record {first_record - 1:,}: a value does not fit "
                    f"{step.rule.protection} of a {step.rule.logical_type}; check the type in the contract and the source"
                )
        return pa.RecordBatch.from_arrays(arrays, schema=self._checked.schema)

    def _protect_column(self, step: ColumnStep, batch: Any, first_record: int) -> Any:
        name = step.rule.name
        column = self._checked.columns[name]
        made = step.apply(batch, first_record=first_record, where=self._where)
        if step.passes and column.base == "bytea" and step.rule.protection.in_cells:
            made = as_bytes(made)
        made = fit(made, text_target=is_text(column))
        what = f"a value of {column.type}"
        wanted = self._checked.schema.field(name).type
        return convert(made, wanted, name=name, what=what, first_record=first_record, where=self._where)

    def _load_key(self) -> manifest.LoadKey:
        version = self._opened.version
        if version is None:
            if not self._task:
                raise ConfigurationError(
                    f"{self._where} has no version, so the load needs the name of its task run"
                )
            version = f"run:{self._task}"
        columns = sorted(self._checked.target.columns, key=lambda column: column.name)
        decisive: list[Any] = [
            [c.name, str(c.protection), c.domain, c.scope, dict(c.parameters)] for c in columns
        ]
        if self._opened.selection is not None:
            decisive.append(["where", self._opened.selection])
        keysets = sorted({f"{c.keyset_id}:{c.key_version}" for c in columns if c.keyset_id})
        return manifest.LoadKey(
            target=str(self._table),
            source=self._where,
            source_version=version,
            options=hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
            contract_digest=self._contract.ref.digest,
            keysets=", ".join(keysets),
        )

    def _progress(self, rows: int) -> str:
        seconds = time.perf_counter() - self._began
        megabytes = self._opened.bytes_read / 1e6
        return f"{rows:,} rows, {megabytes:,.1f} MB in {seconds:,.1f} s, {rows / seconds:,.0f} rows/s"

    def _report(self, rows: int, *, already_loaded: bool) -> TransferReport:
        return TransferReport(
            source=self._checked.source,
            target=self._checked.target,
            contract=self._contract.ref,
            rows=rows,
            bytes_read=self._opened.bytes_read,
            seconds=time.perf_counter() - self._began,
            already_loaded=already_loaded,
            mode=self._mode,
            edges=tuple(map(edge, self._checked.steps)),
            timings=self._timings.as_dict(),
            warnings=self._checked.warnings,
        )


def edge(step: ColumnStep) -> ColumnEdge:
    """Which source column a target column comes from, and whether the way masks it."""
    rule = step.rule
    if step.passes:
        what = f"passed through, {rule.protection} before"
    elif standard := algorithm(rule.protection, rule.parameters):
        what = f"{rule.protection}: {standard}"
    else:
        what = "unchanged" if rule.protection is Protection.NONE else str(rule.protection)
    if step.revealer:
        what = f"revealed, then {what}"
    return ColumnEdge(rule.name, rule.name, rule.protection, rule.protection is not Protection.NONE, what)


def _in_words(step: ColumnStep) -> str:
    return f"{step.rule.name} {'as it is' if step.passes else step.rule.protection}"
